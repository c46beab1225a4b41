//! A few rules that make a plan smaller without changing its rows.
//!
//! In this order: sorts that nobody sees go, constants are computed, filters move towards the tables and become join keys on the
//! way, columns that nobody reads go, projections merge. Random values are never duplicated or moved across a filter.

mod merge;
mod prune;
mod pushdown;
mod sorts;
#[cfg(test)]
mod tests;

use chrono_tz::Tz;
use gridhouse_base::Value;
use gridhouse_expr::{EvalContext, Expr};

use crate::plan::{Aggregate, Filter, Join, Limit, Plan, Project, Sort, UnionAll, Values};

/// The tidy form of `plan`; schema and rows stay. `zone` is the session's: texts that stand for instants are read in it.
/// `ordered` says whether somebody sees the order of the rows.
pub(crate) fn optimize(plan: Plan, zone: Tz, ordered: bool) -> Plan {
    let plan = sorts::drop_unseen(plan, ordered);
    let plan = map_exprs(plan, &|expr| fold(expr, zone));
    let plan = pushdown::push(plan, Vec::new());
    let plan = prune::prune(plan);
    let plan = merge::merge(plan);
    // Moved together, expressions may have become constant.
    without_true(map_exprs(plan, &|expr| fold(expr, zone)))
}

/// `plan` without filters that let every row pass.
fn without_true(plan: Plan) -> Plan {
    match map_inputs(plan, &mut without_true) {
        Plan::Filter(node) if node.predicate.as_literal() == Some(&Value::Boolean(true)) => *node.input,
        plan => plan,
    }
}

/// `expr` with what is constant computed.
pub(crate) fn fold(expr: &Expr, zone: Tz) -> Expr {
    // Only what is pure is computed here, so neither clock nor seed can matter.
    expr.fold(&EvalContext { now_micros: 0, zone, seed: 0, first_row: 0 })
}

/// The same plan over other inputs.
pub(crate) fn map_inputs(plan: Plan, f: &mut impl FnMut(Plan) -> Plan) -> Plan {
    let mut map = |input: Box<Plan>| Box::new(f(*input));
    match plan {
        Plan::Scan(_) | Plan::Values(_) => plan,
        Plan::Filter(node) => Plan::Filter(Filter { input: map(node.input), ..node }),
        Plan::Project(node) => Plan::Project(Project { input: map(node.input), ..node }),
        Plan::UnionAll(node) => Plan::UnionAll(UnionAll { inputs: node.inputs.into_iter().map(f).collect(), ..node }),
        Plan::Aggregate(node) => Plan::Aggregate(Aggregate { input: map(node.input), ..node }),
        Plan::Join(node) => Plan::Join(Join { left: map(node.left), right: map(node.right), ..node }),
        Plan::Sort(node) => Plan::Sort(Sort { input: map(node.input), ..node }),
        Plan::Limit(node) => Plan::Limit(Limit { input: map(node.input), ..node }),
    }
}

/// The same plan with every expression mapped by `f`, which keeps types.
fn map_exprs(plan: Plan, f: &impl Fn(&Expr) -> Expr) -> Plan {
    match map_inputs(plan, &mut |input| map_exprs(input, f)) {
        Plan::Filter(node) => Plan::Filter(Filter { predicate: f(&node.predicate), ..node }),
        Plan::Project(node) => Plan::Project(Project { exprs: node.exprs.iter().map(f).collect(), ..node }),
        Plan::Join(node) => Plan::Join(Join { residual: node.residual.as_ref().map(f), ..node }),
        Plan::Values(node) => {
            let rows = node.rows.iter().map(|row| row.iter().map(f).collect()).collect();
            Plan::Values(Values { rows, ..node })
        }
        plan => plan,
    }
}

/// The operands of the AND that `expr` is.
fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::And(operands) => operands.into_iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// The AND of `exprs`; `None` where there are none.
fn conjunction(mut exprs: Vec<Expr>) -> Option<Expr> {
    match exprs.len() {
        0 | 1 => exprs.pop(),
        _ => Some(Expr::And(exprs)),
    }
}

/// `plan` under a filter of all `predicates`.
fn filtered(plan: Plan, predicates: Vec<Expr>) -> Plan {
    match conjunction(predicates) {
        Some(predicate) => plan.filter(predicate),
        None => plan,
    }
}
