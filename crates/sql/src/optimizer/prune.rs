//! Columns that nobody reads are not delivered.

use std::collections::BTreeSet;
use std::sync::Arc;

use gridhouse_expr::Expr;

use crate::plan::{Aggregate, Filter, Join, JoinKind, Limit, Plan, Project, Sort, SortKey, UnionAll, Values};

/// `plan` with the same columns, whose nodes deliver no more than is read above them.
pub(super) fn prune(plan: Plan) -> Plan {
    let all: Vec<usize> = (0..plan.schema().len()).collect();
    let (plan, kept) = prune_to(plan, &all.iter().copied().collect());
    debug_assert_eq!(kept, all, "the root delivers every column");
    plan
}

type Needed = BTreeSet<usize>;

/// `plan` with at least the columns `needed`; and which of its columns are left, in order.
fn prune_to(plan: Plan, needed: &Needed) -> (Plan, Vec<usize>) {
    match plan {
        Plan::Scan(node) => {
            let mut kept: Vec<usize> = needed.iter().copied().collect();
            if kept.is_empty() && !node.columns.is_empty() {
                // Rows are counted by their first column.
                kept.push(0);
            }
            let columns = kept.iter().map(|&i| node.columns[i]).collect();
            (Plan::scan(node.table, columns, node.hints), kept)
        }
        Plan::Values(node) => {
            let kept: Vec<usize> = needed.iter().copied().collect();
            let rows = node.rows.into_iter().map(|row| kept.iter().map(|&i| row[i].clone()).collect()).collect();
            (Plan::Values(Values { rows, schema: Arc::new(node.schema.project(&kept)) }), kept)
        }
        Plan::Filter(node) => {
            let mut inner = needed.clone();
            node.predicate.for_each_column(|i| {
                inner.insert(i);
            });
            let (input, kept) = prune_to(*node.input, &inner);
            let predicate = moved(&node.predicate, &kept);
            (Plan::Filter(Filter { input: Box::new(input), predicate }), kept)
        }
        Plan::Project(node) => {
            let kept: Vec<usize> = needed.iter().copied().collect();
            let mut inner = Needed::new();
            for &i in &kept {
                node.exprs[i].for_each_column(|i| {
                    inner.insert(i);
                });
            }
            let (input, below) = prune_to(*node.input, &inner);
            let exprs = kept.iter().map(|&i| moved(&node.exprs[i], &below)).collect();
            let schema = Arc::new(node.schema.project(&kept));
            (Plan::Project(Project { input: Box::new(input), exprs, schema }), kept)
        }
        Plan::UnionAll(node) => {
            let kept: Vec<usize> = needed.iter().copied().collect();
            let inputs = node.inputs.into_iter().map(|input| exactly(input, &kept)).collect();
            (Plan::UnionAll(UnionAll { inputs, schema: Arc::new(node.schema.project(&kept)) }), kept)
        }
        Plan::Aggregate(node) => prune_aggregate(node, needed),
        Plan::Join(node) => prune_join(node, needed),
        Plan::Sort(node) => {
            let mut inner = needed.clone();
            inner.extend(node.keys.iter().map(|key| key.column));
            let (input, kept) = prune_to(*node.input, &inner);
            let keys = node.keys.iter().map(|key| SortKey { column: place(key.column, &kept), ..*key }).collect();
            (Plan::Sort(Sort { input: Box::new(input), keys }), kept)
        }
        Plan::Limit(node) => {
            let (input, kept) = prune_to(*node.input, needed);
            (Plan::Limit(Limit { input: Box::new(input), ..node }), kept)
        }
    }
}

/// `plan` with the columns `kept` and no others.
fn exactly(plan: Plan, kept: &[usize]) -> Plan {
    let (plan, has) = prune_to(plan, &kept.iter().copied().collect());
    let places: Vec<usize> = kept.iter().map(|&i| place(i, &has)).collect();
    plan.select(&places)
}

fn prune_aggregate(node: Aggregate, needed: &Needed) -> (Plan, Vec<usize>) {
    let width = node.keys.len();
    // All keys stay, for they make the groups; a grand total keeps one aggregate, for it makes the row.
    let mut calls: Vec<usize> = (0..node.calls.len()).filter(|i| needed.contains(&(i + width))).collect();
    if calls.is_empty() && node.grand_total && !node.calls.is_empty() {
        calls.push(0);
    }
    let mut inner: Needed = node.keys.iter().copied().collect();
    for &i in &calls {
        inner.extend(node.calls[i].args.iter().chain(&node.calls[i].filter));
    }
    let (mut input, below) = prune_to(*node.input, &inner);
    // Rows are counted as they come; a projection to nothing would only get in the way.
    while inner.is_empty()
        && let Plan::Project(project) = input
    {
        input = *project.input;
    }
    let keys = node.keys.iter().map(|&key| place(key, &below)).collect();
    let kept: Vec<usize> = (0..width).chain(calls.iter().map(|i| i + width)).collect();
    let named = calls.iter().map(|&i| {
        let mut call = node.calls[i].clone();
        call.args.iter_mut().chain(&mut call.filter).for_each(|column| *column = place(*column, &below));
        (node.schema.columns[i + width].name.clone(), call)
    });
    (Plan::aggregate(input, keys, named.collect(), node.grand_total), kept)
}

fn prune_join(node: Join, needed: &Needed) -> (Plan, Vec<usize>) {
    let left_width = node.left.schema().len();
    let (mut left, mut right) = (Needed::new(), Needed::new());
    let mut need = |i: usize| {
        if i < left_width {
            left.insert(i)
        } else {
            right.insert(i - left_width)
        };
    };
    needed.iter().for_each(|&i| need(i));
    if let Some(residual) = &node.residual {
        residual.for_each_column(&mut need);
    }
    for &(of_left, of_right) in &node.keys {
        left.insert(of_left);
        right.insert(of_right);
    }
    let (left, left_kept) = prune_to(*node.left, &left);
    let (right, right_kept) = prune_to(*node.right, &right);
    let keys = node.keys.iter().map(|&(l, r)| (place(l, &left_kept), place(r, &right_kept))).collect();
    let mut both = left_kept.clone();
    both.extend(right_kept.iter().map(|i| i + left_width));
    let residual = node.residual.map(|residual| moved(&residual, &both));
    let plan = Plan::join(node.kind, left, right, keys, residual);
    let kept = if matches!(node.kind, JoinKind::Semi | JoinKind::Anti) { left_kept } else { both };
    (plan, kept)
}

/// Where column `index` is now.
fn place(index: usize, kept: &[usize]) -> usize {
    match kept.binary_search(&index) {
        Ok(place) => place,
        Err(_) => unreachable!("column {index} is needed but was not kept"),
    }
}

fn moved(expr: &Expr, kept: &[usize]) -> Expr {
    expr.map_columns(|i| place(i, kept))
}
