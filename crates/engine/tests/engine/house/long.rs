//! Transactions at the outside that take as long as a test wants.

use std::sync::MutexGuard;

use gridhouse_base::{Error, Result};

use super::{Inner, Outside, await_that};

impl Outside {
    /// What is written to `sink` from now on takes until it is let go.
    pub fn hold(&self, sink: &str) {
        self.lock().held.insert(sink.to_owned(), false);
    }

    /// Whether something is being written to a sink that is held.
    pub fn is_held_up(&self, sink: &str) -> bool {
        self.lock().held.get(sink) == Some(&true)
    }

    /// What is written to `sink` comes to its end.
    pub fn let_go(&self, sink: &str) {
        self.lock().held.remove(sink);
    }

    /// What is written to, once that is let go.
    pub(super) fn written(&self, sink: &str) -> Result<MutexGuard<'_, Inner>> {
        let is_free = || self.lock().held.get_mut(sink).map(|is_held_up| *is_held_up = true).is_none();
        await_that(is_free).map_err(|()| Error::internal(format!("{sink} was never let go")))?;
        let inner = self.lock();
        if inner.absent {
            return Err(Error::unavailable("the drain does not answer"));
        }
        Ok(inner)
    }
}
