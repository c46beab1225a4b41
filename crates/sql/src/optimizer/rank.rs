//! Conditions on the place of a row become the bounds of a Top-N; conditions on whole partitions move below it.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::Expr;

use super::filtered;
use super::pushdown::{is_pure, push};
use crate::plan::{Plan, Rank};

/// Places from the first to the last that a condition lets pass; from 1.
#[derive(Clone, Copy)]
struct Places {
    first: i64,
    last: Option<i64>,
}

/// `node` under `predicates`, which are over its columns.
pub(super) fn push_rank(mut node: Rank, predicates: Vec<Expr>) -> Plan {
    let width = node.input.schema().len();
    let (mut below, mut above) = (Vec::new(), Vec::new());
    for predicate in predicates {
        let mut of_partition = is_pure(&predicate) && !node.partition.is_empty();
        predicate.for_each_column(|i| of_partition &= node.partition.contains(&i));
        match places(&predicate, width).filter(|_| node.rank) {
            Some(places) => narrow(&mut node, places),
            None if of_partition => below.push(predicate),
            None => {
                if let Some(last) = last_of_list(&predicate, width).filter(|_| node.rank) {
                    narrow(&mut node, Places { first: 1, last: Some(last) });
                }
                above.push(predicate);
            }
        }
    }
    let input = push(*node.input, below);
    let name = node.rank.then(|| node.schema.columns[width].name.clone());
    if let Some(name) = &name
        && node.limit == Some(1)
    {
        // There is one place only, so it need not be told.
        let place = Value::Integer(node.offset as i64 + 1);
        let mut columns: Vec<(String, Expr)> =
            (0..width).map(|i| (input.schema().columns[i].name.clone(), input.column(i))).collect();
        columns.push((name.clone(), Expr::literal(place, TypeKind::BigInt.not_null())));
        let first = Plan::rank(input, node.partition, node.order, (node.offset, node.limit), None);
        return filtered(first.project(columns), above);
    }
    let rank = Plan::rank(input, node.partition, node.order, (node.offset, node.limit), name.as_deref());
    filtered(rank, above)
}

/// Cuts the places of `node` to those in `places` too.
fn narrow(node: &mut Rank, places: Places) {
    let first = places.first.max(1).max(node.offset as i64 + 1);
    let end = node.limit.map(|limit| node.offset.saturating_add(limit));
    let last = places.last.map(|last| last.max(0) as u64);
    let last = match (end, last) {
        (Some(end), Some(last)) => Some(end.min(last)),
        (end, last) => end.or(last),
    };
    node.offset = first as u64 - 1;
    node.limit = last.map(|last| last.saturating_sub(node.offset));
}

/// The places that a comparison of column `rank` with a number lets pass.
fn places(predicate: &Expr, rank: usize) -> Option<Places> {
    let Expr::Call { function, args, .. } = predicate else { return None };
    let [a, b] = args.as_slice() else { return None };
    let (number, name) = match (a.as_column(), b.as_literal(), a.as_literal(), b.as_column()) {
        (Some(column), Some(Value::Integer(number)), ..) if column == rank => (*number, function.name),
        (_, _, Some(Value::Integer(number)), Some(column)) if column == rank => {
            let mirrored = match function.name {
                "<" => ">",
                "<=" => ">=",
                ">" => "<",
                ">=" => "<=",
                same => same,
            };
            (*number, mirrored)
        }
        _ => return None,
    };
    Some(match name {
        "=" => Places { first: number, last: Some(number) },
        "<" => Places { first: 1, last: Some(number.saturating_sub(1)) },
        "<=" => Places { first: 1, last: Some(number) },
        ">" => Places { first: number.saturating_add(1), last: None },
        ">=" => Places { first: number, last: None },
        _ => return None,
    })
}

/// The largest number that `rank IN (…)` names.
fn last_of_list(predicate: &Expr, rank: usize) -> Option<i64> {
    let Expr::Call { function, args, .. } = predicate else { return None };
    let (operand, list) = args.split_first()?;
    if function.name != "IN" || operand.as_column() != Some(rank) {
        return None;
    }
    let number = |expr: &Expr| match expr.as_literal() {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    };
    list.iter().map(number).collect::<Option<Vec<_>>>()?.into_iter().max()
}
