//! An order is seen by the reader of the result and by a `Limit`, and by nobody else.

use crate::plan::{Limit, Plan, Project};

/// Drops the sorts whose order nobody sees; `seen` says whether the order of `plan` itself is.
pub(super) fn drop_unseen(plan: Plan, seen: bool) -> Plan {
    match plan {
        Plan::Sort(node) if !seen => drop_unseen(*node.input, false),
        Plan::Project(node) => Plan::Project(Project { input: Box::new(drop_unseen(*node.input, seen)), ..node }),
        Plan::Limit(node) => Plan::Limit(Limit { input: Box::new(drop_unseen(*node.input, true)), ..node }),
        plan => plan.map_inputs(&mut |input| drop_unseen(input, false)),
    }
}
