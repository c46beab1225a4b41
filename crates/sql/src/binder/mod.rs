//! From names to definitions, from written expressions to typed ones, from queries to plans.
//!
//! A binder lives for one statement. It reads the catalog, changes nothing, and keeps notes on what it accepted beyond Flink.
//! Errors carry the place in the statement's text; those inside a view's text name the view instead.

mod aggregate;
mod answer;
mod around;
mod compared;
mod correlate;
mod define;
mod expr;
mod from;
mod insert;
mod interval;
mod literal;
mod lookup;
mod on_key;
mod over;
mod pending;
mod per_row;
mod query;
mod scope;
mod select;
mod subquery;

pub use compared::{Compared, compared};
pub(crate) use interval::interval;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use chrono_tz::Tz;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, ErrorKind, Position, Result};

use crate::ast::{Note, ObjectName, Query};
use crate::catalog::{Catalog, NameContext, Relation, resolve};
use crate::optimizer::optimize;
use crate::plan::Plan;

/// How deep views may be made of views. A view's text is parsed and bound again inside the query that names it, each level
/// with the stack of a whole statement; a cycle (a view replaced by one over itself) ends here too.
const MAX_VIEW_DEPTH: usize = 8;

/// Resolves one statement.
pub struct Binder<'a> {
    catalog: &'a dyn Catalog,
    names: NameContext,
    zone: Tz,
    notes: RefCell<Vec<Note>>,
    view_depth: Cell<usize>,
    optimizing: bool,
    /// Where the first `ROW_NUMBER()` stands.
    ranked_at: Cell<Option<Position>>,
}

impl<'a> Binder<'a> {
    /// A binder that looks names up in `catalog`; `zone` is the session's, for texts that stand for instants.
    pub fn new(catalog: &'a dyn Catalog, names: NameContext, zone: Tz) -> Self {
        Self {
            catalog,
            names,
            zone,
            notes: RefCell::default(),
            view_depth: Cell::new(0),
            optimizing: true,
            ranked_at: Cell::new(None),
        }
    }

    /// The same binder, with or without the optimiser; tests compare what both plans give.
    pub fn optimizing(self, optimizing: bool) -> Self {
        Self { optimizing, ..self }
    }

    /// The plan of a query, optimised.
    ///
    /// # Errors
    /// `NotFound` for unknown names with the nearest one; `Invalid` for everything else that is wrong with the query.
    pub fn query(&self, query: &Query) -> Result<Plan> {
        let plan = self.bind_query(query, &around::Around::default())?;
        Ok(self.tidied(plan, true))
    }

    /// `plan`, optimised unless this binder does not, with what Flink would say against it noted; `ordered` says whether somebody
    /// sees the order of the rows.
    fn tidied(&self, plan: Plan, ordered: bool) -> Plan {
        let plan = if self.optimizing { optimize(plan, self.zone, ordered) } else { plan };
        if let Some(at) = self.ranked_at.get() {
            let mut unlimited = false;
            plan.visit(&mut |node| unlimited |= matches!(node, Plan::Rank(rank) if rank.rank && rank.limit.is_none()));
            if unlimited {
                self.note("Flink's streams want ROW_NUMBER() limited: filter rn <= n in a query around it", at);
            }
        }
        plan
    }

    /// The plan as it was bound.
    #[cfg(test)]
    pub(crate) fn plain(&self, query: &Query) -> Result<Plan> {
        self.bind_query(query, &around::Around::default())
    }

    /// The table that `name` means; a view is an error.
    ///
    /// # Errors
    /// `NotFound` with the nearest name; `Invalid` for a view.
    pub fn table(&self, name: &ObjectName) -> Result<Arc<TableDef>> {
        match resolve(self.catalog, &self.names, name)? {
            Relation::Table(table) => Ok(table),
            Relation::View(view) => Err(Error::invalid(format!("{} is a view", view.path))
                .hint("name the table behind it; a view can only be read")
                .at(name.at())),
        }
    }

    /// What was accepted that Flink would reject.
    pub fn take_notes(&self) -> Vec<Note> {
        self.notes.take()
    }

    fn note(&self, message: impl Into<String>, at: Position) {
        let note = Note { message: message.into(), at };
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// An error in the text of a definition, told at the place that uses the definition.
fn inside(error: Error, what: &str, at: Position) -> Error {
    let kind = if error.kind() == ErrorKind::NotFound { ErrorKind::Invalid } else { error.kind() };
    let place = error.position().map(|p| format!(" (at {p} of its text)")).unwrap_or_default();
    let outer = Error::new(kind, format!("{what}: {}{place}", error.message())).at(at);
    match error.remedy() {
        Some(hint) => outer.hint(hint),
        None => outer,
    }
}
