//! A few rules that make a plan smaller without changing its rows.
//!
//! In this order: sorts that nobody sees go, constants are computed, filters move towards the tables and become join keys on the
//! way, columns that nobody reads go, what is unique already is not made so again, projections merge. Random values are never duplicated or moved across a filter.

mod merge;
mod prune;
mod pushdown;
mod rank;
mod sorts;
#[cfg(test)]
mod tests;
mod time;
mod unique;

use chrono_tz::Tz;
use gridhouse_base::Value;
use gridhouse_expr::{EvalContext, Expr};

use crate::plan::{Plan, conjunction, conjuncts, filtered};

/// The tidy form of `plan`; schema and rows stay. `zone` is the session's: texts that stand for instants are read in it.
/// `ordered` says whether somebody sees the order of the rows.
pub(crate) fn optimize(plan: Plan, zone: Tz, ordered: bool) -> Plan {
    let plan = sorts::drop_unseen(plan, ordered);
    let plan = plan.map_exprs(&|expr| fold(expr, zone));
    let plan = pushdown::push(plan, Vec::new());
    let plan = unique::without_needless(prune::prune(plan));
    let plan = merge::merge(plan);
    // Moved together, expressions may have become constant.
    let plan = without_true(plan.map_exprs(&|expr| fold(expr, zone)));
    time::bound(plan)
}

/// `plan` without filters that let every row pass.
fn without_true(plan: Plan) -> Plan {
    match plan.map_inputs(&mut without_true) {
        Plan::Filter(node) if node.predicate.as_literal() == Some(&Value::Boolean(true)) => *node.input,
        plan => plan,
    }
}

/// `expr` with what is constant computed.
pub(crate) fn fold(expr: &Expr, zone: Tz) -> Expr {
    // Only what is pure is computed here, so neither clock nor seed can matter.
    expr.fold(&EvalContext { now_micros: 0, zone, seed: 0, first_row: 0 })
}
