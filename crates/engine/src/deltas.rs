//! What changed in the tick under way, by table, one round at a time.
//!
//! A tick takes what waits in rounds of a bounded number of rows; each round goes through all jobs before the next. What
//! belongs together (the rows of one source commit in a log table; what jobs and statements write into a table in one tick)
//! is told to be so though it comes in pieces, since rows are judged late by what they came with.

use std::collections::{BTreeMap, BTreeSet};

use gridhouse_base::{ChangeBatch, JobId, TableId};
use gridhouse_flow::Piece;
use gridhouse_store::AppliedRows;

/// Changes of one table that came together, or a piece of them.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    pub(crate) rows: ChangeBatch,
    pub(crate) piece: Piece,
}

/// Who writes into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writer {
    Job(JobId),
    /// A source, or a statement.
    Other,
}

/// The changes of a tick's round.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    round: BTreeMap<TableId, Vec<Delta>>,
    /// Another round follows in this tick.
    goes_on: bool,
    /// Tables that have been written in this tick, by whom, with the number of changed rows.
    written: BTreeMap<TableId, (BTreeSet<Writer>, u64)>,
}

impl Deltas {
    /// Begins a round; the changes of the one before are let go.
    pub(crate) fn begin_round(&mut self, goes_on: bool) {
        self.round.clear();
        self.goes_on = goes_on;
    }

    /// Takes in what a source has changed.
    pub(crate) fn applied(&mut self, change: AppliedRows) {
        let AppliedRows { table, rows, continues, goes_on } = change;
        self.add(table, Delta { rows, piece: Piece { continues, goes_on } }, Writer::Other);
    }

    /// Takes in what a statement has changed.
    pub(crate) fn push(&mut self, table: TableId, rows: ChangeBatch) {
        self.push_by(Writer::Other, table, rows);
    }

    /// Takes in what somebody has changed. All of it that a table gets in a tick belongs together.
    pub(crate) fn push_by(&mut self, writer: Writer, table: TableId, rows: ChangeBatch) {
        let piece = Piece { continues: self.written.contains_key(&table), goes_on: self.goes_on };
        self.add(table, Delta { rows, piece }, writer);
    }

    /// Notes that a statement has changed so many rows of a table that nobody in this tick reads.
    pub(crate) fn note(&mut self, table: TableId, rows: usize) {
        if rows > 0 {
            let (writers, noted) = self.written.entry(table).or_default();
            writers.insert(Writer::Other);
            *noted += rows as u64;
        }
    }

    fn add(&mut self, table: TableId, delta: Delta, writer: Writer) {
        if delta.rows.is_empty() {
            return;
        }
        let (writers, rows) = self.written.entry(table).or_default();
        writers.insert(writer);
        *rows += delta.rows.len() as u64;
        self.round.entry(table).or_default().push(delta);
    }

    /// What has changed in a table in this round.
    pub(crate) fn of(&self, table: TableId) -> &[Delta] {
        self.round.get(&table).map_or(&[], Vec::as_slice)
    }

    /// Whether `writer` has changed a table in this tick.
    pub(crate) fn has_written(&self, writer: Writer, table: TableId) -> bool {
        self.written.get(&table).is_some_and(|(writers, _)| writers.contains(&writer))
    }

    /// Who has changed a table in this tick.
    pub(crate) fn writers(&self, table: TableId) -> impl Iterator<Item = Writer> + '_ {
        self.written.get(&table).into_iter().flat_map(|(writers, _)| writers.iter().copied())
    }

    /// Forgets what has changed in a table: it is as it was before the tick.
    pub(crate) fn take_back(&mut self, table: TableId) {
        self.round.remove(&table);
        self.written.remove(&table);
    }

    /// The tables that have changed in the tick, and how many changed rows each has.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (TableId, u64)> + '_ {
        self.written.iter().map(|(table, (_, rows))| (*table, *rows))
    }
}
