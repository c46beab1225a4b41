//! The writers of outside tables, until they have ended.
//!
//! A writer that is told to stop ends with the transaction that it is in, which may take its time. What always holds: no writer begins
//! on an outside table before those that were told to leave it have ended; and of one that has ended it is known how far the
//! outside was written, unless that was in doubt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::table::ObjectPath;
use gridhouse_base::{CommitId, TableId};

use crate::core::Core;
use crate::handover::Before;
use crate::shared::lock;

/// How long the core waits for a writer to end that must have ended: about as long as a small transaction takes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a writer has ended.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    has_ended: bool,
    /// How far the outside was written, where that was known.
    upto: Option<CommitId>,
    /// The table from which it has taken the outside over.
    taken_over: Option<TableId>,
}

/// One writer, as those who wait for it see it.
#[derive(Clone, Debug)]
pub(crate) struct OutsideWriter {
    /// The sink's name.
    sink: String,
    /// The outside table that it writes, and under which name; the first is empty where the record does not tell it.
    target: (String, ObjectPath),
    stop: Arc<AtomicBool>,
    end: Arc<(Mutex<End>, Condvar)>,
}

impl OutsideWriter {
    /// The writer of `sink` into the outside table `target`, which is known here as `path`; it ends where `stop` is set.
    pub(crate) fn new(sink: &str, target: &str, path: &ObjectPath, stop: Arc<AtomicBool>) -> Self {
        Self { sink: sink.to_owned(), target: (target.to_owned(), path.clone()), stop, end: Arc::default() }
    }

    /// Whether the two write one outside table.
    fn meets(&self, other: &Self) -> bool {
        let ((target, path), (others, other_path)) = (&self.target, &other.target);
        if target.is_empty() || others.is_empty() { path == other_path } else { target == others }
    }

    /// Says that the outside, which was written from `table` before, has been taken over from that.
    pub(crate) fn note_taken_over(&self, table: TableId) {
        lock(&self.end.0).taken_over = Some(table);
    }

    /// Whether it writes `sink`, and has taken the outside over from `table`.
    pub(crate) fn has_taken_over(&self, sink: &str, table: TableId) -> bool {
        self.sink == sink && lock(&self.end.0).taken_over == Some(table)
    }

    /// Says that the writer has ended, and how far the outside was written, where that is known.
    pub(crate) fn end(&self, upto: Option<CommitId>) {
        let (end, over) = &*self.end;
        {
            let mut end = lock(end);
            (end.has_ended, end.upto) = (true, upto);
        }
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
        let before = self.writers.iter().filter(|other| other.meets(&writer) && other.is_leaving());
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
        self.end_of(sink).filter(|end| end.has_ended)?.upto
    }

    /// Whether an outside is still to be taken over from the table before, as far as its last writer has told until it ended.
    pub(crate) fn is_owed(&self, sink: &str, before: &Before) -> bool {
        if !before.is_owed {
            return false;
        }
        self.end_of(sink);
        !self.writers.iter().any(|writer| writer.has_taken_over(sink, before.table))
    }

    /// What the last writer of a sink in this process has come to; one that leaves is given the time for that.
    fn end_of(&self, sink: &str) -> Option<End> {
        let writer = self.writers.iter().rfind(|writer| writer.sink == sink)?;
        let (end, over) = &*writer.end;
        let mut known = lock(end);
        if writer.stop.load(Ordering::SeqCst) {
            let waited = over.wait_timeout_while(known, PATIENCE, |end| !end.has_ended);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(*known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_meet_at_one_outside_table_also_where_a_record_does_not_tell_it() {
        let writer = |key: &str, name: &str| {
            let path = ObjectPath { catalog: "c".into(), database: "d".into(), object: name.into() };
            OutsideWriter::new("1/0/s", key, &path, Arc::default())
        };
        assert!(writer("pg/t", "a").meets(&writer("pg/t", "b")), "under two names");
        assert!(!writer("pg/t", "a").meets(&writer("pg/u", "a")), "of one name, declared otherwise");
        assert!(writer("", "a").meets(&writer("pg/t", "a")) && writer("", "a").meets(&writer("", "a")));
        assert!(!writer("", "a").meets(&writer("", "b")) && !writer("", "a").meets(&writer("pg/t", "b")));
    }
}
