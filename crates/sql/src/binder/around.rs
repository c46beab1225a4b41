//! What a query sees of the queries around it: common table expressions, and columns.

use gridhouse_base::error::nearest;

use super::correlate::deepened;
use super::scope::Scope;
use crate::ast::ObjectName;
use crate::plan::Plan;

/// The surroundings of a query.
#[derive(Default)]
pub(super) struct Around<'a> {
    outer: Option<&'a Around<'a>>,
    own: Vec<(String, Plan)>,
    /// The columns of the query around, where this one is a subquery.
    pub scope: Option<&'a Scope<'a>>,
    /// How many queries with columns there are around.
    level: usize,
}

impl<'a> Around<'a> {
    /// The same surroundings, with room for more common table expressions.
    pub fn inside(outer: &'a Around<'a>) -> Self {
        Self { outer: Some(outer), own: Vec::new(), scope: outer.scope, level: outer.level }
    }

    /// The surroundings of a subquery that may name the columns of `scope`.
    pub fn subquery(outer: &'a Around<'a>, scope: &'a Scope<'a>) -> Self {
        Self { outer: Some(outer), own: Vec::new(), scope: Some(scope), level: outer.level + 1 }
    }

    /// Adds a common table expression.
    pub fn add(&mut self, name: &str, plan: Plan) {
        self.own.push((name.to_owned(), plan));
    }

    /// Whether this level itself has the name.
    pub fn has_own(&self, name: &str) -> bool {
        self.own.iter().any(|(known, _)| known == name)
    }

    /// The common table expression called `name`; columns of queries around are those as seen from here.
    pub fn find(&self, name: &str) -> Option<Plan> {
        let mut seen = Some(self);
        while let Some(around) = seen {
            if let Some((_, plan)) = around.own.iter().rev().find(|(known, _)| known == name) {
                return Some(deepened(plan.clone(), self.level - around.level));
            }
            seen = around.outer;
        }
        None
    }

    /// The expression whose name is nearest to `name`.
    pub fn nearest(&self, name: &ObjectName) -> Option<&str> {
        let near = nearest(&name.last().name, self.own.iter().map(|(known, _)| known.as_str()));
        near.or_else(|| self.outer.and_then(|outer| outer.nearest(name)))
    }
}
