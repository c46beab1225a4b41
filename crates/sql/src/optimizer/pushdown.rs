//! Filters move towards the tables; equalities between the two sides of a join become its keys.

use gridhouse_base::TypeKind;
use gridhouse_expr::cast::cast;
use gridhouse_expr::types::merged_type;
use gridhouse_expr::{Expr, Volatility};

use super::rank::push_rank;
use super::{conjunction, conjuncts, filtered};
use crate::plan::{
    Aggregate, Join, JoinKey, JoinKind, Limit, Lookup, Plan, Probe, Project, SetOperation, Sort, UnionAll, Unnest,
};

/// `plan` under `predicates`, which are over its columns, with every filter as deep as it goes.
pub(super) fn push(plan: Plan, mut predicates: Vec<Expr>) -> Plan {
    match plan {
        Plan::Filter(node) => {
            let mut all = conjuncts(node.predicate);
            all.append(&mut predicates);
            // A random condition is asked once per row, in its place.
            if all.iter().any(|predicate| predicate.volatility() == Volatility::Random) {
                return filtered(push(*node.input, vec![]), all);
            }
            push(*node.input, all)
        }
        Plan::Project(node) => {
            let random = |expr: &Expr| expr.volatility() == Volatility::Random;
            let (stay, go): (Vec<_>, Vec<_>) = predicates.into_iter().partition(|predicate| {
                let mut over_random = random(predicate);
                predicate.for_each_column(|i| over_random |= random(&node.exprs[i]));
                over_random
            });
            let go = go.iter().map(|predicate| predicate.substitute(&node.exprs)).collect();
            let input = Box::new(push(*node.input, go));
            filtered(Plan::Project(Project { input, ..node }), stay)
        }
        Plan::UnionAll(node) => {
            let inputs = node.inputs.into_iter().map(|input| push_retyped(input, &predicates));
            Plan::UnionAll(UnionAll { inputs: inputs.collect(), ..node })
        }
        Plan::Aggregate(node) => {
            let over_keys = |predicate: &Expr| {
                let mut keys = !node.grand_total && predicate.volatility() == Volatility::Pure;
                predicate.for_each_column(|i| keys &= i < node.keys.len());
                keys
            };
            let (go, stay): (Vec<_>, Vec<_>) = predicates.into_iter().partition(over_keys);
            let go = go.iter().map(|predicate| predicate.map_columns(|i| node.keys[i])).collect();
            let input = Box::new(push(*node.input, go));
            filtered(Plan::Aggregate(Aggregate { input, ..node }), stay)
        }
        Plan::Join(node) => push_join(node, predicates),
        Plan::Sort(node) => Plan::Sort(Sort { input: Box::new(push(*node.input, predicates)), ..node }),
        Plan::Limit(node) => {
            let input = Box::new(push(*node.input, vec![]));
            filtered(Plan::Limit(Limit { input, ..node }), predicates)
        }
        Plan::SetOperation(node) => {
            let (go, stay): (Vec<_>, Vec<_>) = predicates.into_iter().partition(is_pure);
            let (left, right) = (Box::new(push_retyped(*node.left, &go)), Box::new(push_retyped(*node.right, &go)));
            filtered(Plan::SetOperation(SetOperation { left, right, ..node }), stay)
        }
        Plan::Rank(node) => push_rank(node, predicates),
        Plan::Unnest(node) => {
            let width = node.input.schema().len();
            let (go, stay) = predicates.into_iter().partition(|predicate| reads_only(predicate, width));
            let input = Box::new(push(*node.input, go));
            filtered(Plan::Unnest(Unnest { input, ..node }), stay)
        }
        Plan::Probe(node) => push_probe(node, predicates),
        Plan::Lookup(node) => {
            let width = node.input.schema().len();
            let (go, stay) = predicates.into_iter().partition(|predicate| reads_only(predicate, width));
            let input = Box::new(push(*node.input, go));
            filtered(Plan::Lookup(Lookup { input, ..node }), stay)
        }
        leaf @ (Plan::Scan(_) | Plan::Values(_)) => filtered(leaf, predicates),
    }
}

/// `input`, one of several that are put together, under `predicates` over what they become.
fn push_retyped(input: Plan, predicates: &[Expr]) -> Plan {
    // A column of one input may be NOT NULL where that of the result is not.
    let retyped: Vec<Expr> = (0..input.schema().len()).map(|i| input.column(i)).collect();
    let own = predicates.iter().map(|predicate| predicate.substitute(&retyped)).collect();
    push(input, own)
}

pub(super) fn is_pure(predicate: &Expr) -> bool {
    predicate.volatility() == Volatility::Pure
}

/// Whether a pure predicate reads none but the first `width` columns.
fn reads_only(predicate: &Expr, width: usize) -> bool {
    let mut only = is_pure(predicate);
    predicate.for_each_column(|i| only &= i < width);
    only
}

fn push_probe(node: Probe, predicates: Vec<Expr>) -> Plan {
    let width = node.left.schema().len();
    let (to_left, stay) = predicates.into_iter().partition(|predicate| reads_only(predicate, width));
    let mut residual = Vec::new();
    let mut to_right = Vec::new();
    for condition in node.residual.into_iter().flat_map(conjuncts) {
        match sides(&condition, width) {
            (false, true) if is_pure(&condition) => to_right.push(condition.map_columns(|i| i - width)),
            _ => residual.push(condition),
        }
    }
    let (left, right) = (push(*node.left, to_left), push(*node.right, to_right));
    filtered(Plan::probe(left, right, node.outer, node.keys, conjunction(residual)), stay)
}

/// Which sides of a join an expression reads.
pub(super) fn sides(expr: &Expr, left_width: usize) -> (bool, bool) {
    let (mut left, mut right) = (false, false);
    expr.for_each_column(|i| if i < left_width { left = true } else { right = true });
    (left, right)
}

fn push_join(node: Join, predicates: Vec<Expr>) -> Plan {
    let left_width = node.left.schema().len();
    let (mut to_left, mut to_right, mut on, mut above) = (vec![], vec![], vec![], vec![]);
    for predicate in predicates {
        let pure = predicate.volatility() != Volatility::Random;
        match (sides(&predicate, left_width), node.kind) {
            // An inner join's filters are its condition.
            (_, JoinKind::Inner) if pure => on.push(predicate),
            ((_, false), JoinKind::Left | JoinKind::Semi | JoinKind::Anti) if pure => to_left.push(predicate),
            ((false, true), JoinKind::Right) if pure => to_right.push(predicate.map_columns(|i| i - left_width)),
            _ => above.push(predicate),
        }
    }
    on.splice(0..0, node.residual.into_iter().flat_map(conjuncts));
    // Conditions are over the columns as the inputs have them, before the join fills a side up with NULL.
    let own: Vec<Expr> = (0..left_width)
        .map(|i| node.left.column(i))
        .chain((0..node.right.schema().len()).map(|i| retarget(node.right.column(i), left_width)))
        .collect();
    let mut keys = node.keys;
    let mut residual = Vec::new();
    let (mut left, mut right) = (Side::new(*node.left), Side::new(*node.right));
    for condition in on {
        let condition = condition.substitute(&own);
        if condition.volatility() == Volatility::Random {
            residual.push(condition);
            continue;
        }
        let shift = |expr: &Expr| expr.map_columns(|i| i - left_width);
        match (sides(&condition, left_width), node.kind) {
            ((true, false), JoinKind::Inner | JoinKind::Right | JoinKind::Semi) => to_left.push(condition),
            ((false, true), JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti) => {
                to_right.push(shift(&condition))
            }
            ((true, true), _) => match equality(&condition, left_width) {
                Some((of_left, of_right, null_safe)) => {
                    let (left, right) = (left.column(of_left), right.column(shift(&of_right)));
                    keys.push(JoinKey { left, right, null_safe });
                }
                None => residual.push(condition),
            },
            ((false, false), JoinKind::Inner | JoinKind::Semi) => to_left.push(condition),
            _ => residual.push(condition),
        }
    }
    let (left_extra, right_width) = (left.extra.len(), right.width);
    let left = push(left.plan(), to_left.iter().map(|p| p.substitute(&own[..left_width])).collect());
    let right = push(right.plan(), to_right);
    let residual =
        conjunction(residual).map(|expr| expr.map_columns(|i| if i < left_width { i } else { i + left_extra }));
    let join = Plan::join(node.kind, left, right, keys, residual);
    // The columns that were added to compare by are left out again.
    let mut shown: Vec<usize> = (0..left_width).collect();
    if !matches!(node.kind, JoinKind::Semi | JoinKind::Anti) {
        shown.extend((0..right_width).map(|i| left_width + left_extra + i));
    }
    filtered(join.select(&shown), above)
}

fn retarget(expr: Expr, offset: usize) -> Expr {
    expr.map_columns(|i| i + offset)
}

/// An input of a join, and expressions over it that it is compared by.
struct Side {
    input: Plan,
    width: usize,
    extra: Vec<Expr>,
}

impl Side {
    fn new(input: Plan) -> Self {
        Self { width: input.schema().len(), input, extra: Vec::new() }
    }

    /// The column that holds `expr`.
    fn column(&mut self, expr: Expr) -> usize {
        if let Some(index) = expr.as_column() {
            return index;
        }
        let index = self.extra.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.extra.push(expr);
            self.extra.len() - 1
        });
        self.width + index
    }

    fn plan(self) -> Plan {
        if self.extra.is_empty() {
            return self.input;
        }
        let columns =
            self.input.schema().columns.iter().enumerate().map(|(i, c)| (c.name.clone(), self.input.column(i)));
        let extra = self.extra.iter().enumerate().map(|(i, expr)| (format!("$j{i}"), expr.clone()));
        let named = columns.chain(extra).collect();
        self.input.project(named)
    }
}

/// The two sides of an equality between left and right columns, cast to one kind, and whether NULL equals NULL.
pub(crate) fn equality(condition: &Expr, left_width: usize) -> Option<(Expr, Expr, bool)> {
    let Expr::Call { function, args, .. } = condition else { return None };
    let [a, b] = args.as_slice() else { return None };
    let null_safe = match function.name {
        "=" => false,
        // Where neither can be NULL the two are the same.
        "IS NOT DISTINCT FROM" => a.sql_type().nullable && b.sql_type().nullable,
        _ => return None,
    };
    let (left, right) = match (sides(a, left_width), sides(b, left_width)) {
        ((true, false), (false, true)) => (a, b),
        ((false, true), (true, false)) => (b, a),
        _ => return None,
    };
    if left.kind() == right.kind() {
        return Some((left.clone(), right.clone(), null_safe));
    }
    let common = merged_type(&[left.sql_type().clone(), right.sql_type().clone()])?;
    let kept = |kind: &TypeKind| match (kind, &common.kind) {
        (TypeKind::Decimal { precision: p, scale: s }, TypeKind::Decimal { precision, scale }) => {
            s <= scale && p - s <= precision - scale
        }
        (from, to) => from == to || (from.is_text() && to.is_text() && !matches!(from, TypeKind::Char(_))),
    };
    if !kept(left.kind()) || !kept(right.kind()) {
        return None;
    }
    Some((cast(left.clone(), &common, false).ok()?, cast(right.clone(), &common, false).ok()?, null_safe))
}
