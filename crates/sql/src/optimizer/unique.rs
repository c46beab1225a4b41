//! What is unique already is not made so again: groups that are single rows, and the one value of at most one row.
//!
//! Only now, with filters in their places and the keys of joins found, it is known which rows are told apart by which columns.

use gridhouse_expr::{AggregateFunction, Expr};

use crate::plan::{Aggregate, Plan};
use crate::properties::upsert_keys;

/// `plan` without such aggregations.
pub(super) fn without_needless(plan: Plan) -> Plan {
    match plan.map_inputs(&mut without_needless) {
        Plan::Aggregate(node) if is_needless(&node) => {
            let exprs = node.keys.iter().copied().chain(node.calls.iter().map(|call| call.args[0]));
            let columns = node.schema.columns.iter().zip(exprs);
            let named = columns.map(|(column, index)| {
                // The value of a group is declared nullable, though it may stem from a column that is not.
                (column.name.clone(), Expr::Column { index, sql_type: column.sql_type.clone() })
            });
            let named = named.collect();
            node.input.project(named)
        }
        plan => plan,
    }
}

/// Whether every group is one row, and nothing is computed from it.
fn is_needless(node: &Aggregate) -> bool {
    let values = node.calls.iter().all(|call| call.function == AggregateFunction::SingleValue && call.filter.is_none());
    values && !node.grand_total && upsert_keys(&node.input).iter().any(|key| key.iter().all(|c| node.keys.contains(c)))
}
