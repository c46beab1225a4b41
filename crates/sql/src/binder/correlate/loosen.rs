//! Conditions on the query around, taken out of a subquery of which only the existence of rows matters.

use gridhouse_expr::Expr;

use super::{OUTER, conjunction, conjuncts, filtered, is_correlated, lifted_plan, names_outer};
use crate::plan::{JoinKind, Plan};

/// A subquery without names of the query around, and what must hold besides.
pub(in crate::binder) struct Loose {
    /// The rows that may do.
    pub plan: Plan,
    /// What the subquery selects, over `plan` and the query around (whose columns are marked as outer ones).
    pub columns: Vec<Expr>,
    /// What must hold, over the same.
    pub conditions: Vec<Expr>,
}

/// `plan` loosened; `None` where its conditions cannot be taken out.
pub(in crate::binder) fn loosen(plan: &Plan) -> Option<Loose> {
    let loose = inner(plan)?;
    Some(Loose { plan: lifted_plan(loose.plan), ..loose })
}

fn inner(plan: &Plan) -> Option<Loose> {
    if !is_correlated(plan) {
        let columns = (0..plan.schema().len()).map(|i| plan.column(i)).collect();
        return Some(Loose { plan: plan.clone(), columns, conditions: Vec::new() });
    }
    match plan {
        Plan::Filter(node) => Some(restricted(inner(&node.input)?, node.predicate.clone())),
        Plan::Project(node) => {
            let input = inner(&node.input)?;
            let columns = node.exprs.iter().map(|expr| expr.substitute(&input.columns)).collect();
            Some(Loose { columns, ..input })
        }
        // Which of equal rows stay, and in which order, does not matter.
        Plan::Aggregate(node) if node.calls.is_empty() && !node.grand_total => {
            let input = inner(&node.input)?;
            let columns = node.keys.iter().map(|&key| input.columns[key].clone()).collect();
            Some(Loose { columns, ..input })
        }
        Plan::Sort(node) => inner(&node.input),
        Plan::Join(node) if node.kind == JoinKind::Inner && node.keys.is_empty() => {
            let (left, right) = (inner(&node.left)?, inner(&node.right)?);
            let width = left.plan.schema().len();
            let moved = |expr: &Expr| expr.map_columns(|i| if i < OUTER { i + width } else { i });
            let columns = left.columns.iter().cloned().chain(right.columns.iter().map(moved)).collect();
            let conditions = left.conditions.iter().cloned().chain(right.conditions.iter().map(moved)).collect();
            let plan = Plan::join(JoinKind::Inner, left.plan, right.plan, vec![], None);
            let loose = Loose { plan, columns, conditions };
            Some(match &node.residual {
                Some(residual) => restricted(loose, residual.clone()),
                None => loose,
            })
        }
        Plan::Join(node) if matches!(node.kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti) => {
            if is_correlated(&node.right) || !node.keys.is_empty() {
                return None;
            }
            let left = inner(&node.left)?;
            let (before, width) = (left.columns.len(), left.plan.schema().len());
            let mut both = left.columns.clone();
            both.extend((0..node.right.schema().len()).map(|i| super::shifted_column(&node.right, i, width)));
            let residual = node.residual.as_ref().map(|residual| residual.substitute(&both));
            if residual.as_ref().is_some_and(names_outer) {
                return None;
            }
            let plan = Plan::join(node.kind, left.plan, (*node.right).clone(), vec![], residual);
            let mut columns = left.columns;
            columns.extend((before..node.schema.len()).map(|i| plan.column(width + i - before)));
            Some(Loose { plan, columns, conditions: left.conditions })
        }
        _ => None,
    }
}

fn restricted(loose: Loose, predicate: Expr) -> Loose {
    let Loose { plan, columns, mut conditions } = loose;
    let mut own = Vec::new();
    for conjunct in conjuncts(predicate) {
        let conjunct = conjunct.substitute(&columns);
        if names_outer(&conjunct) { conditions.push(conjunct) } else { own.push(conjunct) }
    }
    debug_assert!(conjunction(own.clone()).is_none_or(|own| !names_outer(&own)), "what names the query around is kept");
    Loose { plan: filtered(plan, own), columns, conditions }
}
