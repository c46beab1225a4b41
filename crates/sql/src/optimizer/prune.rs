//! Columns that nobody reads are not delivered.

use std::collections::BTreeSet;
use std::sync::Arc;

use gridhouse_expr::Expr;

use crate::plan::{
    Aggregate, Filter, Join, JoinKey, JoinKind, Limit, Lookup, Plan, Probe, Project, Rank, SetOperation, Sort, SortKey,
    UnionAll, Unnest, Values,
};

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
        // Rows are compared as wholes.
        Plan::SetOperation(node) => {
            let all: Vec<usize> = (0..node.schema.len()).collect();
            let (left, right) = (Box::new(exactly(*node.left, &all)), Box::new(exactly(*node.right, &all)));
            (Plan::SetOperation(SetOperation { left, right, ..node }), all)
        }
        Plan::Rank(node) => prune_rank(node, needed),
        Plan::Unnest(node) => prune_unnest(node, needed),
        Plan::Probe(node) => prune_probe(node, needed),
        Plan::Lookup(node) => prune_lookup(node, needed),
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

/// Two inputs, the conditions between them, and which of their columns are left: left ones, and all.
struct Pair {
    left: Plan,
    right: Plan,
    keys: Vec<JoinKey>,
    residual: Option<Expr>,
    left_kept: Vec<usize>,
    kept: Vec<usize>,
}

fn prune_pair(left: Plan, right: Plan, keys: &[JoinKey], residual: Option<Expr>, needed: &Needed) -> Pair {
    let left_width = left.schema().len();
    let (mut of_left, mut of_right) = (Needed::new(), Needed::new());
    let mut need = |i: usize| {
        if i < left_width {
            of_left.insert(i)
        } else {
            of_right.insert(i - left_width)
        };
    };
    needed.iter().for_each(|&i| need(i));
    if let Some(residual) = &residual {
        residual.for_each_column(&mut need);
    }
    for key in keys {
        of_left.insert(key.left);
        of_right.insert(key.right);
    }
    let (left, left_kept) = prune_to(left, &of_left);
    let (right, right_kept) = prune_to(right, &of_right);
    let moved_key =
        |key: &JoinKey| JoinKey { left: place(key.left, &left_kept), right: place(key.right, &right_kept), ..*key };
    let keys = keys.iter().map(moved_key).collect();
    let mut kept = left_kept.clone();
    kept.extend(right_kept.iter().map(|i| i + left_width));
    let residual = residual.map(|residual| moved(&residual, &kept));
    Pair { left, right, keys, residual, left_kept, kept }
}

fn prune_join(node: Join, needed: &Needed) -> (Plan, Vec<usize>) {
    let pair = prune_pair(*node.left, *node.right, &node.keys, node.residual, needed);
    let plan = Plan::join(node.kind, pair.left, pair.right, pair.keys, pair.residual);
    let kept = if matches!(node.kind, JoinKind::Semi | JoinKind::Anti) { pair.left_kept } else { pair.kept };
    (plan, kept)
}

fn prune_probe(node: Probe, needed: &Needed) -> (Plan, Vec<usize>) {
    let pair = prune_pair(*node.left, *node.right, &node.keys, node.residual, needed);
    (Plan::probe(pair.left, pair.right, node.outer, pair.keys, pair.residual), pair.kept)
}

fn prune_lookup(mut node: Lookup, needed: &Needed) -> (Plan, Vec<usize>) {
    let width = node.input.schema().len();
    let mut all = needed.clone();
    node.residual.iter().for_each(|residual| {
        residual.for_each_column(|i| {
            all.insert(i);
        });
    });
    let (mut of_input, mut read): (Needed, Vec<usize>) = (Needed::new(), Vec::new());
    for i in all {
        if i < width {
            of_input.insert(i);
        } else {
            read.push(i);
        }
    }
    if read.is_empty() && !node.columns.is_empty() {
        // A row that was found is seen by one of its columns.
        read.push(width);
    }
    of_input.extend(node.keys.iter().map(|(input, _)| input));
    let (input, mut kept) = prune_to(*node.input, &of_input);
    node.keys.iter_mut().for_each(|(column, _)| *column = place(*column, &kept));
    node.columns = read.iter().map(|i| node.columns[i - width]).collect();
    kept.extend(read);
    node.residual = node.residual.map(|residual| moved(&residual, &kept));
    (Plan::lookup(Lookup { input: Box::new(input), ..node }), kept)
}

fn prune_rank(node: Rank, needed: &Needed) -> (Plan, Vec<usize>) {
    let width = node.input.schema().len();
    let rank = node.rank && needed.contains(&width);
    if !rank && node.offset == 0 && node.limit.is_none() {
        // Nobody asks for the places, and no row is left out.
        return prune_to(*node.input, &needed.iter().copied().filter(|&i| i < width).collect());
    }
    let mut inner: Needed = needed.iter().copied().filter(|&i| i < width).collect();
    inner.extend(node.partition.iter().copied().chain(node.order.iter().map(|key| key.column)));
    if rank && inner.is_empty() && width > 0 {
        inner.insert(0);
    }
    let (input, mut kept) = prune_to(*node.input, &inner);
    let partition = node.partition.iter().map(|&column| place(column, &kept)).collect();
    let order = node.order.iter().map(|key| SortKey { column: place(key.column, &kept), ..*key }).collect();
    let name = rank.then(|| node.schema.columns[width].name.as_str());
    let plan = Plan::rank(input, partition, order, (node.offset, node.limit), name);
    if rank {
        kept.push(width);
    }
    (plan, kept)
}

fn prune_unnest(node: Unnest, needed: &Needed) -> (Plan, Vec<usize>) {
    let width = node.input.schema().len();
    let mut inner: Needed = needed.iter().copied().filter(|&i| i < width).collect();
    inner.insert(node.column);
    let (input, mut kept) = prune_to(*node.input, &inner);
    let column = place(node.column, &kept);
    kept.extend(width..node.schema.len());
    let schema = Arc::new(node.schema.project(&kept));
    (Plan::Unnest(Unnest { input: Box::new(input), column, schema, ..node }), kept)
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
