//! Equalities with the query around, taken out of a subquery: what is inside is computed per value of its own side.
//!
//! Where the rows of a subquery depend on the query around only by `own = outer`, the subquery over all rows, grouped by
//! `own`, holds the answer for every row around. Anything else (another comparison, an aggregate without groups, which has a
//! row where there is none) is left to [`spread`](super::spread).

use std::sync::Arc;

use gridhouse_base::{Schema, TypeKind};
use gridhouse_expr::Expr;

use super::{OUTER, Tie, Tied, conjuncts, filtered, is_correlated, lifted, named, names_outer, names_own};
use crate::plan::{
    Aggregate, Join, JoinKey, JoinKind, Lookup, Plan, Probe, Rank, SetOperation, SortKey, UnionAll, Unnest,
};

/// `plan` tied by equalities; `None` where that is not possible. Names of queries further out are left as they are.
pub(super) fn pull(plan: &Plan) -> Option<Tied> {
    if !is_correlated(plan) {
        return Some(Tied::new(plan.clone(), Vec::new()));
    }
    match plan {
        Plan::Filter(node) => restricted(pull(&node.input)?, conjuncts(node.predicate.clone())),
        Plan::Project(node) => {
            let input = pull(&node.input)?;
            let exprs = node.exprs.iter().map(|expr| localized(expr, &input)).collect::<Option<Vec<_>>>()?;
            let names = node.schema.columns.iter().map(|column| column.name.clone());
            let own: Vec<_> = names.zip(exprs).collect();
            let ties = input.ties.len();
            let columns = named(&input.plan).take(ties).chain(own).collect();
            Some(Tied::new(input.plan.project(columns), input.ties))
        }
        Plan::Aggregate(node) if !node.grand_total => Some(grouped(node, pull(&node.input)?)),
        Plan::Rank(node) => Some(ranked(node, pull(&node.input)?)),
        Plan::Limit(node) => {
            let (below, order) = match node.input.as_ref() {
                Plan::Sort(sort) => (sort.input.as_ref(), sort.keys.as_slice()),
                other => (other, [].as_slice()),
            };
            let input = pull(below)?;
            let ties = input.ties.len();
            let order = order.iter().map(|key| SortKey { column: key.column + ties, ..*key }).collect();
            let plan = Plan::rank(input.plan, (0..ties).collect(), order, (node.offset, node.fetch), None);
            Some(Tied::new(plan, input.ties))
        }
        Plan::Sort(node) => pull(&node.input),
        Plan::Join(node) => joined(node),
        Plan::UnionAll(node) => {
            let inputs = node.inputs.iter().map(pull).collect::<Option<Vec<_>>>()?;
            let ties = same_ties(&inputs)?;
            let schema = widened(&inputs, &ties, &node.schema);
            let inputs = inputs.into_iter().map(|input| input.plan).collect();
            Some(Tied::new(Plan::UnionAll(UnionAll { inputs, schema }), ties))
        }
        Plan::SetOperation(SetOperation { kind, all, left, right, schema }) => {
            let inputs = vec![pull(left)?, pull(right)?];
            let ties = same_ties(&inputs)?;
            let schema = widened(&inputs, &ties, schema);
            let mut plans = inputs.into_iter().map(|input| input.plan);
            let (left, right) = (plans.next()?, plans.next()?);
            Some(Tied::new(Plan::set_operation(*kind, *all, left, right, schema), ties))
        }
        Plan::Unnest(node) => {
            let input = pull(&node.input)?;
            let ties = input.ties.len();
            let plan = unnested(node, input.plan, ties);
            Some(Tied::new(plan, input.ties))
        }
        Plan::Probe(node) if !is_correlated(&node.right) && !node.residual.as_ref().is_some_and(names_outer) => {
            let left = pull(&node.left)?;
            let ties = left.ties.len();
            let plan = probed(node, left.plan, ties);
            Some(Tied::new(plan, left.ties))
        }
        Plan::Lookup(node) if !node.residual.as_ref().is_some_and(names_outer) => {
            let input = pull(&node.input)?;
            let ties = input.ties.len();
            let plan = looked_up(node, input.plan, ties);
            Some(Tied::new(plan, input.ties))
        }
        _ => None,
    }
}

/// `input` where `conditions`, over its columns without ties, hold.
fn restricted(input: Tied, conditions: Vec<Expr>) -> Option<Tied> {
    let (mut equal, mut own, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let shift = input.ties.len();
    for condition in conditions {
        if !names_outer(&condition) {
            own.push(moved(&condition, shift));
        } else if let Some((tie, column)) = equality(&condition) {
            equal.push((tie, moved(&column, shift)));
        } else {
            rest.push(condition);
        }
    }
    let plan = filtered(input.plan, own);
    let columns = equal.iter().enumerate().map(|(i, (_, expr))| (format!("$t{i}"), expr.clone()));
    let columns = columns.chain(named(&plan)).collect();
    let ties = equal.iter().map(|(tie, _)| tie.clone()).chain(input.ties).collect();
    let tied = Tied::new(if equal.is_empty() { plan } else { plan.project(columns) }, ties);
    let rest = rest.iter().map(|condition| localized(condition, &tied)).collect::<Option<Vec<_>>>()?;
    Some(Tied::new(filtered(tied.plan, rest), tied.ties))
}

/// The outer side of an equality, and the own one.
fn equality(condition: &Expr) -> Option<(Tie, Expr)> {
    let Expr::Call { function, args, .. } = condition else { return None };
    let [a, b] = args.as_slice() else { return None };
    let null_safe = match function.name {
        "=" => false,
        "IS NOT DISTINCT FROM" => true,
        _ => return None,
    };
    let of_outer = |expr: &Expr| names_outer(expr) && !names_own(expr);
    let of_own = |expr: &Expr| names_own(expr) && !names_outer(expr);
    let (outer, own) = match (of_outer(a) && of_own(b), of_own(a) && of_outer(b)) {
        (true, _) => (a, b),
        (_, true) => (b, a),
        _ => return None,
    };
    Some((Tie { outer: lifted(outer), null_safe }, own.clone()))
}

/// `expr`, over the columns of a plan, over those behind its ties.
fn moved(expr: &Expr, by: usize) -> Expr {
    expr.map_columns(|i| if i < OUTER { i + by } else { i })
}

/// `expr` over `input`: a column of the query around that is tied is the tie's own column. `None` where one is not tied.
fn localized(expr: &Expr, input: &Tied) -> Option<Expr> {
    let local = super::replaced(&moved(expr, input.ties.len()), &|index, sql_type| {
        let outer = index.checked_sub(OUTER)?;
        // Equal values of different types are not the same value, nor are 0.0 and -0.0.
        let same =
            |own: &Expr| own.kind() == &sql_type.kind && !matches!(own.kind(), TypeKind::Float | TypeKind::Double);
        let tied = |tie: usize| input.ties[tie].outer.as_column() == Some(outer) && same(&input.plan.column(tie));
        (0..input.ties.len()).find(|&tie| tied(tie)).map(|tie| input.plan.column(tie))
    });
    (!names_outer(&local)).then_some(local)
}

/// `node` over `input`, per value of the ties.
pub(super) fn grouped(node: &Aggregate, input: Tied) -> Tied {
    let ties = input.ties.len();
    let plan = aggregated(node, input.plan, ties);
    Tied::new(plan, input.ties)
}

/// `node` over an input with `ties` more columns before, which become keys.
pub(super) fn aggregated(node: &Aggregate, input: Plan, ties: usize) -> Plan {
    let keys = (0..ties).chain(node.keys.iter().map(|key| key + ties)).collect();
    let names = node.schema.columns[node.keys.len()..].iter().map(|column| column.name.clone());
    let calls = node.calls.iter().map(|call| {
        let mut call = call.clone();
        call.args.iter_mut().chain(&mut call.filter).for_each(|column| *column += ties);
        call
    });
    Plan::aggregate(input, keys, names.zip(calls).collect(), false)
}

fn ranked(node: &Rank, input: Tied) -> Tied {
    let ties = input.ties.len();
    let plan = placed(node, input.plan, ties);
    Tied::new(plan, input.ties)
}

/// `node` over an input with `ties` more columns before, which become partition columns.
pub(super) fn placed(node: &Rank, input: Plan, ties: usize) -> Plan {
    let partition = (0..ties).chain(node.partition.iter().map(|column| column + ties)).collect();
    let order = node.order.iter().map(|key| SortKey { column: key.column + ties, ..*key }).collect();
    let name = node.rank.then(|| node.schema.columns[node.schema.len() - 1].name.as_str());
    Plan::rank(input, partition, order, (node.offset, node.limit), name)
}

/// `node` over an input with `ties` more columns before.
pub(super) fn unnested(node: &Unnest, input: Plan, ties: usize) -> Plan {
    let mut schema = Schema::clone(input.schema());
    schema.columns.extend(node.schema.columns[node.input.schema().len()..].iter().cloned());
    let (input, column, schema) = (Box::new(input), node.column + ties, schema.into());
    Plan::Unnest(Unnest { input, column, schema, ..node.clone() })
}

/// `node` over a left input with `ties` more columns before.
pub(super) fn probed(node: &Probe, left: Plan, ties: usize) -> Plan {
    let keys = node.keys.iter().map(|key| JoinKey { left: key.left + ties, ..*key }).collect();
    let residual = node.residual.as_ref().map(|residual| moved(residual, ties));
    Plan::probe(left, (*node.right).clone(), node.outer, keys, residual)
}

/// `node` over an input with `ties` more columns before.
pub(super) fn looked_up(node: &Lookup, input: Plan, ties: usize) -> Plan {
    let keys = node.keys.iter().map(|&(column, of_table)| (column + ties, of_table)).collect();
    let residual = node.residual.as_ref().map(|residual| moved(residual, ties));
    Plan::lookup(Lookup { input: Box::new(input), keys, residual, ..node.clone() })
}

fn joined(node: &Join) -> Option<Tied> {
    let outer_residual = node.residual.as_ref().is_some_and(names_outer);
    if !node.keys.is_empty() {
        return None;
    }
    match node.kind {
        JoinKind::Inner => {
            let (left, right) = (pull(&node.left)?, pull(&node.right)?);
            let (l, lw) = (left.ties.len(), left.plan.schema().len());
            let (r, rw) = (right.ties.len(), right.plan.schema().len());
            let plan = Plan::join(JoinKind::Inner, left.plan, right.plan, vec![], None);
            let order = (0..l).chain(lw..lw + r).chain(l..lw).chain(lw + r..lw + rw).collect::<Vec<_>>();
            let ties = left.ties.into_iter().chain(right.ties).collect();
            let tied = Tied::new(plan.select(&order), ties);
            restricted(tied, node.residual.clone().map(conjuncts).unwrap_or_default())
        }
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti if !is_correlated(&node.right) && !outer_residual => {
            let left = pull(&node.left)?;
            let residual = node.residual.as_ref().map(|residual| moved(residual, left.ties.len()));
            let plan = Plan::join(node.kind, left.plan, (*node.right).clone(), vec![], residual);
            Some(Tied::new(plan, left.ties))
        }
        _ => None,
    }
}

/// The ties of several inputs that are put together, where they are the same and of one kind.
fn same_ties(inputs: &[Tied]) -> Option<Vec<Tie>> {
    let first = inputs.first()?;
    let kinds = |input: &Tied| (0..input.ties.len()).map(|i| input.plan.column(i).kind().clone()).collect::<Vec<_>>();
    let same = inputs.iter().all(|input| input.ties == first.ties && kinds(input) == kinds(first));
    same.then(|| first.ties.clone())
}

/// `schema` behind columns for the ties.
fn widened(inputs: &[Tied], ties: &[Tie], schema: &Schema) -> Arc<Schema> {
    let column = |i: usize| {
        let mut column = inputs[0].plan.schema().columns[i].clone();
        column.sql_type.nullable |= inputs.iter().any(|input| input.plan.schema().columns[i].sql_type.nullable);
        column
    };
    let columns = (0..ties.len()).map(column).chain(schema.columns.iter().cloned()).collect();
    Arc::new(Schema::new(columns))
}
