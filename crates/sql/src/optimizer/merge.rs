//! Projections over projections become one, filters over filters too, and projections that change nothing go.

use gridhouse_expr::Expr;

use super::{conjuncts, filtered};
use crate::plan::{Plan, Project};

pub(super) fn merge(plan: Plan) -> Plan {
    match plan.map_inputs(&mut merge) {
        Plan::Project(node) => match *node.input {
            Plan::Project(inner) if can_merge(&node.exprs, &inner.exprs) => {
                let exprs = node.exprs.iter().map(|expr| expr.substitute(&inner.exprs)).collect();
                merge_identity(Project { input: inner.input, exprs, schema: node.schema })
            }
            input => merge_identity(Project { input: Box::new(input), ..node }),
        },
        Plan::Filter(node) => match *node.input {
            Plan::Filter(inner) => {
                let mut all = conjuncts(inner.predicate);
                all.extend(conjuncts(node.predicate));
                filtered(*inner.input, all)
            }
            input => input.filter(node.predicate),
        },
        plan => plan,
    }
}

/// A projection, unless it delivers its input's columns under the same names.
fn merge_identity(node: Project) -> Plan {
    let same = node.exprs.iter().enumerate().all(|(i, expr)| expr.as_column() == Some(i));
    if same && node.schema == *node.input.schema() { *node.input } else { Plan::Project(node) }
}

/// Whether nothing is computed more often afterwards.
fn can_merge(outer: &[Expr], inner: &[Expr]) -> bool {
    let mut uses = vec![0_usize; inner.len()];
    for expr in outer {
        expr.for_each_column(|i| uses[i] += 1);
    }
    let free = |expr: &Expr| matches!(expr, Expr::Column { .. } | Expr::Literal { .. });
    inner.iter().zip(uses).all(|(expr, uses)| uses <= 1 || free(expr))
}
