//! Look-ups by key that a session has been asked for, by the text of the whole script.
//!
//! Reading, binding and optimising a look-up takes several times as long as finding the row. A plan is used again only over the
//! catalog that it was bound over; any statement that is no query forgets all of them, since it may change what the text
//! means to this session.

use std::collections::HashMap;
use std::sync::Arc;

use gridhouse_base::Position;
use gridhouse_sql::plan::Plan;

use crate::catalog::Catalog;

/// How many look-ups a session remembers: some kilobytes each. When there are more, all are forgotten; what is asked for often
/// is soon there again.
const MOST: usize = 256;

/// A longer text is not remembered: an `IN` list of a thousand keys is hardly written twice.
const LONGEST_TEXT: usize = 4_096;

/// The remembered look-ups.
#[derive(Default)]
pub(crate) struct Known {
    by_text: HashMap<String, LookUp>,
    /// What the statement under way turned out to be.
    noted: Option<(Arc<Catalog>, Plan)>,
    /// Whether a statement of the script under way has been run.
    begun: bool,
}

struct LookUp {
    position: Position,
    text: String,
    catalog: Arc<Catalog>,
    plan: Arc<Plan>,
}

impl Known {
    /// Where the statement that `script` is begins, its text, and its plan.
    pub(crate) fn of(&mut self, script: &str, catalog: &Arc<Catalog>) -> Option<(Position, String, Arc<Plan>)> {
        (self.begun, self.noted) = (false, None);
        let found = self.by_text.get(script)?;
        if !Arc::ptr_eq(&found.catalog, catalog) {
            self.by_text.clear();
            return None;
        }
        Some((found.position, found.text.clone(), found.plan.clone()))
    }

    /// A statement of the script begins; gives whether it is the first.
    pub(crate) fn begin(&mut self) -> bool {
        self.noted = None;
        !std::mem::replace(&mut self.begun, true)
    }

    /// The statement under way is a look-up.
    pub(crate) fn note(&mut self, catalog: Arc<Catalog>, plan: Plan) {
        self.noted = Some((catalog, plan));
    }

    /// The script was the one statement at `position`.
    pub(crate) fn keep(&mut self, script: &str, position: Position, text: String) {
        let Some((catalog, plan)) = self.noted.take().filter(|_| script.len() <= LONGEST_TEXT) else { return };
        if self.by_text.len() >= MOST {
            self.by_text.clear();
        }
        self.by_text.insert(script.to_owned(), LookUp { position, text, catalog, plan: Arc::new(plan) });
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.by_text.clear();
    }
}
