//! The writers of outside tables, until they have ended.
//!
//! A writer that is told to stop ends with the transaction that it is in, which may take its time. What always holds: no writer begins
//! on an outside table before those that were told to leave it have ended; and of one that has ended it is known how far the
//! outside was written, unless that was in doubt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::CommitId;

use crate::core::Core;
use crate::shared::lock;

/// How long the core waits for a writer to end that must have ended: about as long as a small transaction takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a writer has ended.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    has_ended: bool,
    /// How far the outside was written, where that was known.
    upto: Option<CommitId>,
}

/// One writer, as those who wait for it see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutsideWriter {
    /// The sink's name.
    sink: String,
    /// The outside table that it writes.
    target: String,
    stop: Arc<AtomicBool>,
    end: Arc<(Mutex<End>, Condvar)>,
}

impl OutsideWriter {
    /// The writer of `sink` into the outside table `target`, which ends where `stop` is set.
    pub(crate) fn new(sink: &str, target: &str, stop: Arc<AtomicBool>) -> Self {
        Self { sink: sink.to_owned(), target: target.to_owned(), stop, end: Arc::default() }
    }

    /// Says that the writer has ended, and how far the outside was written, where that is known.
    pub(crate) fn end(&self, upto: Option<CommitId>) {
        let (end, over) = &*self.end;
        *lock(end) = End { has_ended: true, upto };
        over.notify_all();
    }

    /// Whether it was told to leave and has not.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stop.load(Ordering::SeqCst) && !lock(&self.end.0).has_ended
    }
}

impl Core {
    /// Takes a writer in; gives those that are about to leave the same outside table.
    pub(crate) fn take_in(&mut self, writer: OutsideWriter) -> Vec<OutsideWriter> {
        let before = self.writers.iter().filter(|other| other.target == writer.target && other.is_leaving());
        let before = before.cloned().collect();
        let is_over = |other: &OutsideWriter| lock(&other.end.0).has_ended;
        let jobs: Vec<String> = self.jobs.keys().map(|id| format!("{}/", id.0)).collect();
        let is_known =
            |other: &OutsideWriter| other.sink != writer.sink && jobs.iter().any(|job| other.sink.starts_with(job));
        self.writers.retain(|other| !is_over(other) || is_known(other));
        self.writers.push(writer);
        before
    }

    /// How far the outside of a sink was written, where its last writer has ended in this process and knew it.
    pub(crate) fn written_upto(&self, sink: &str) -> Option<CommitId> {
        let writer = self.writers.iter().rfind(|writer| writer.sink == sink)?;
        let (end, over) = &*writer.end;
        let mut known = lock(end);
        if writer.stop.load(Ordering::SeqCst) {
            let waited = over.wait_timeout_while(known, PATIENCE, |end| !end.has_ended);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        known.has_ended.then_some(known.upto).flatten()
    }
}
