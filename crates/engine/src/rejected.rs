//! Rows that a source itself could not read: they become dead letters of the jobs that read the source.
//!
//! They gather with their transaction and are written just before it is logged, so that after a crash one may be counted twice
//! and none is lost. A transaction that is void takes its own with it.

use gridhouse_base::{Error, JobId, Result, SourceId, TableId};

use crate::boot::bind;
use crate::core::Core;
use crate::dead::{self, Letter};
use crate::job::{Branch, Job};
use crate::prepare::Prepared;
use crate::records::STREAMS;

/// How many gather before they are written: at a few hundred bytes each, some hundred kilobytes.
const GATHERED: usize = 1_024;

/// A row that a source could not read.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The number of the table within its stream.
    pub(crate) table: u32,
    /// The row as the outside has it.
    pub(crate) row: String,
    pub(crate) error: Error,
}

impl Core {
    /// Takes a row that a source could not read.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn reject(&mut self, source: SourceId, rejected: Rejected) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(()) };
        tracing::warn!(stream = stream.record.stream_key, row = rejected.row, "left out: {}", rejected.error);
        // From here on, not only from the commit that puts it on record.
        stream.presence.entry(rejected.table).or_default();
        let gathered = stream.gather_rejected(rejected);
        if gathered >= GATHERED { self.keep_rejected(source) } else { Ok(()) }
    }

    /// Where each `INSERT` of a job keeps its dead letters, if it does. What a source delivers lands for a job that rests too, and so
    /// must what it could not read: it goes on behind both.
    fn letter_tables(&self, job: &Job) -> Vec<Option<TableId>> {
        if job.branches.is_empty() {
            // One that cannot be bound any more does not go on either.
            let inserts = bind(self, &job.record).unwrap_or_default();
            let kept_in = |insert: &Prepared| {
                insert.dead_letters.then(|| self.catalog.letters_of(&insert.bound.target.path)).flatten()
            };
            return inserts.iter().map(kept_in).collect();
        }
        let kept_in = |branch: &Branch| match branch {
            Branch::Landing { letters } => *letters,
            Branch::Flow(flow) => flow.dead_letters,
            Branch::Relay { .. } => None,
        };
        job.branches.iter().map(kept_in).collect()
    }

    /// Writes the rejected rows of a stream's open transaction into the tables of the jobs that read them.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn keep_rejected(&mut self, source: SourceId) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(()) };
        let rejected = stream.take_rejected();
        if rejected.is_empty() {
            return Ok(());
        }
        let mut letters: Vec<(TableId, JobId, Vec<Letter>)> = Vec::new();
        for job in self.jobs.values() {
            for (insert, kept_in) in job.record.inserts.iter().zip(self.letter_tables(job)) {
                let Some(kept_in) = kept_in else { continue };
                let mut own = Vec::new();
                for used in insert.sources.iter().filter(|used| used.source == source) {
                    let of_table = rejected.iter().filter(|row| row.table == used.table);
                    own.extend(of_table.map(|row| Letter::of_source(&used.path, row.row.clone(), &row.error)));
                }
                if !own.is_empty() {
                    letters.push((kept_in, job.record.id, own));
                }
            }
        }
        let now_micros = self.clock.now_micros();
        let stream = self.streams.get_mut(&source).expect("it gathered rows just now");
        let record = stream.may_lack(|table| rejected.iter().any(|row| row.table == table.id));
        self.tick_writing(|tick, deltas| {
            if let Some((key, text)) = &record {
                tick.put(STREAMS, key, Some(text));
            }
            for (table, job, own) in letters {
                let effective = dead::add(tick, table, job, now_micros, own)?;
                deltas.push(table, effective);
            }
            Ok(())
        })
        .map(|_| ())
    }
}
