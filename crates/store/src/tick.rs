//! A tick: source commits applied, rows written, tables and metadata changed, all published at once by one frame.
//!
//! Changes go straight into the writer's tables, which readers do not see, and into the payload of the frame. A payload that
//! grows large is written out in pieces, which count only if the tick's own frame follows. A tick that is dropped, or whose
//! frame cannot be written, is undone: touched tables go back to the last published view and their key indexes are rebuilt
//! from it, which costs time in proportion to their live rows and happens on errors only. What it appends is sealed ahead where
//! it is too much to hold in memory (`ahead.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::take::take;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{ChangeBatch, CommitId, Error, ErrorKind, Result, RowKind, TableId};

use crate::delta::Effect;
use crate::meta::{SYSTEM_TABLE, meta_columns};
use crate::payload::put;
use crate::pending::{AppliedStep, StepLimit};
use crate::snapshot::TableSnapshot;
use crate::spec::TableSpec;
use crate::store::Store;
use crate::table::{Detail, Intent, Rows, Table};
use crate::tail::{MAX_BATCH_ROWS, rearrange_error};
use crate::wal::frame::FrameKind;
use crate::wal::writer::FrameNote;

/// Bytes of rows that a step of [`Tick::apply_step_for`] takes: 65,536 rows of 250 bytes. Each layer that they go through needs as
/// much again for as long as the step lasts.
const STEP_BYTES: usize = 16 << 20;

/// A tick under construction. Nothing of it is visible, or survives a crash, before [`Tick::publish`].
#[derive(Debug)]
pub struct Tick<'a> {
    store: &'a mut Store,
    commit: CommitId,
    as_of: CommitId,
    time_micros: i64,
    /// Operations that are not written out yet.
    operations: Vec<u8>,
    operation_count: u32,
    /// The frame number of the first piece, 0 if there is none.
    first_piece: u64,
    puts: BTreeMap<(String, String), Option<String>>,
    dropped: Vec<Table>,
    /// Something failed halfway, so the tick must not be published.
    broken: bool,
    published: bool,
}

impl<'a> Tick<'a> {
    pub(crate) fn new(store: &'a mut Store) -> Self {
        Self {
            commit: store.state.last_commit.next(),
            as_of: store.state.view.as_of,
            time_micros: store.clock.now_micros(),
            store,
            operations: Vec::new(),
            operation_count: 0,
            first_piece: 0,
            puts: BTreeMap::new(),
            dropped: Vec::new(),
            broken: false,
            published: false,
        }
    }

    /// The commit id that the tick will have.
    pub fn commit(&self) -> CommitId {
        self.commit
    }

    /// The newest source commit that the tick reflects so far.
    pub fn as_of(&self) -> CommitId {
        self.as_of
    }

    /// The tick's clock in microseconds since the epoch: the one time that all its rows see.
    pub fn time_micros(&self) -> i64 {
        self.time_micros
    }

    /// Bytes of the entries that the tick has appended and holds in memory; the others are sealed ahead.
    pub fn bytes_in_memory(&self) -> usize {
        self.store.state.fresh_bytes()
    }

    /// A table as the tick has left it so far.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    pub fn table(&self, id: TableId) -> Result<TableSnapshot> {
        Ok(TableSnapshot { view: Arc::new(self.store.state.table(id)?.view()) })
    }

    /// The table called `name`, if the tick has it.
    pub fn table_id(&self, name: &str) -> Option<TableId> {
        self.store.state.names.get(name).copied()
    }

    /// Applies every source commit that waits, in order, and returns per table what changed in all: -1 for rows that went,
    /// +1 for rows that came, at most one of each per key; an update to the same row is none. A log table has a change for each
    /// commit that added to it, in their order. Memory is needed for all of it at once; [`Tick::apply_step`] bounds it.
    ///
    /// # Errors
    /// As [`Tick::apply_step`].
    pub fn apply_pending(&mut self) -> Result<Vec<(TableId, ChangeBatch)>> {
        let step = self.apply_step(usize::MAX)?;
        Ok(step.into_iter().flat_map(|step| step.changes).map(|change| (change.table, change.rows)).collect())
    }

    /// Applies the next source commits that wait, at most `limit` rows of them, and returns what changed; `None` if nothing
    /// waits. A commit may take several steps; the tick cannot be published before its last one. Within a step, changes of
    /// a table with a key are reduced to one old and one new row per key; those of a log table come commit by commit.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed, `Corrupt` if rows that waited in the log are damaged. The tick cannot be
    /// published then.
    pub fn apply_step(&mut self, limit: usize) -> Result<Option<AppliedStep>> {
        self.step(StepLimit { rows: limit, bytes: usize::MAX }, &|_| true)
    }

    /// As [`Tick::apply_step`], but a step also ends where its rows take 16 MB, and of tables that nobody `wants` the rows of, only
    /// their number and weights are told, without columns, and an update counts as a row that went and one that came: old rows
    /// need not be read.
    ///
    /// # Errors
    /// As [`Tick::apply_step`].
    pub fn apply_step_for(&mut self, limit: usize, wants: &dyn Fn(TableId) -> bool) -> Result<Option<AppliedStep>> {
        self.step(StepLimit { rows: limit, bytes: STEP_BYTES }, wants)
    }

    fn step(&mut self, limit: StepLimit, wants: &dyn Fn(TableId) -> bool) -> Result<Option<AppliedStep>> {
        let Some(upto) = self.store.state.pending.back().map(|pending| pending.commit) else { return Ok(None) };
        let step = self.store.state.apply_step(upto, self.commit, limit, wants);
        let (step, rows) = step.inspect_err(|_| self.broken = true)?;
        if let Some(last) = self.store.state.applied.last() {
            self.as_of = last.commit;
        }
        put::apply_pending(&mut self.operations, upto, rows);
        self.operation_done()?;
        self.seal_ahead()?;
        Ok(step)
    }

    /// Creates a table.
    ///
    /// # Errors
    /// `Conflict` if one with that name exists, `Invalid` if the definition cannot be stored.
    pub fn create_table(&mut self, spec: TableSpec) -> Result<TableId> {
        let id = TableId(self.store.state.next_table);
        let mut operation = Vec::new();
        put::create_table(&mut operation, id, &spec);
        self.store.state.create_table(id, spec)?;
        self.operations.extend_from_slice(&operation);
        self.operation_done()?;
        Ok(id)
    }

    /// Drops a table with all its rows and cursors. Source commits for it that still wait lose those rows.
    ///
    /// # Errors
    /// `NotFound` if it does not exist, `Invalid` for the system table.
    pub fn drop_table(&mut self, id: TableId) -> Result<()> {
        let table = self.store.state.drop_table(id)?;
        self.dropped.push(table);
        put::drop_table(&mut self.operations, id);
        self.operation_done()
    }

    /// Writes a change and returns what it came to.
    ///
    /// In a primary-key table rows of positive weight are upserted (the last of a key wins) and keys that have rows of
    /// negative weight only are deleted; upserts of the row that is there already are dropped. In a log table a row is
    /// appended as often as its weight says.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if the columns do not fit, a key is NULL, or a log table gets a negative weight.
    pub fn write(&mut self, table: TableId, change: &ChangeBatch) -> Result<ChangeBatch> {
        let shape = self.store.state.table(table)?.shape.clone();
        shape.check_columns(change.columns(), None)?;
        let repeated;
        let mut change = change;
        if !shape.is_keyed() && change.diff().is_some() {
            repeated = repeat_by_weight(change, &shape.spec.name)?;
            change = &repeated;
        }
        let intent = |row: usize| match change.weight(row) {
            0 => Intent::Nothing,
            weight if weight > 0 => Intent::Upsert,
            _ => Intent::Delete,
        };
        let rows =
            Rows { columns: change.columns(), listed: None, len: change.len(), intent: &intent, upsert_wins: true };
        self.write_rows(table, &rows)
    }

    /// Upserts or deletes by `batch`, whose columns are those at `columns`: others keep their old values, or are NULL in new
    /// rows. The last row of a key wins. Returns what it came to.
    ///
    /// # Errors
    /// As [`Tick::write`]; `Invalid` if a key column is missing or the table has no primary key.
    pub fn upsert_columns(&mut self, table: TableId, columns: &[usize], batch: &KindBatch) -> Result<ChangeBatch> {
        let shape = self.store.state.table(table)?.shape.clone();
        shape.check_source_rows(batch, Some(columns))?;
        let intent = |row: usize| match batch.kinds[row] {
            RowKind::Insert | RowKind::UpdateAfter => Intent::Upsert,
            RowKind::UpdateBefore | RowKind::Delete => Intent::Delete,
        };
        let rows = Rows {
            columns: &batch.columns,
            listed: Some(columns),
            len: batch.len(),
            intent: &intent,
            upsert_wins: false,
        };
        self.write_rows(table, &rows)
    }

    fn write_rows(&mut self, table: TableId, rows: &Rows<'_>) -> Result<ChangeBatch> {
        let commit = self.commit;
        let result = self.store.state.apply(table, rows, commit, Detail::Rows);
        let effect = self.guard(result)?;
        if effect.is_empty() {
            return Ok(ChangeBatch::empty(&self.store.state.table(table)?.shape.spec.schema));
        }
        self.log_effect(table, &effect)?;
        self.seal_ahead()?;
        effect.into_batch()
    }

    /// Writes the new rows, then the keys that were deleted.
    fn log_effect(&mut self, table: TableId, effect: &Effect) -> Result<()> {
        let inserts = vec![RowKind::Insert; effect.new.len.min(MAX_BATCH_ROWS)];
        for start in (0..effect.new.len).step_by(MAX_BATCH_ROWS) {
            let len = MAX_BATCH_ROWS.min(effect.new.len - start);
            let columns: Vec<ArrayRef> = effect.new.columns.iter().map(|column| column.slice(start, len)).collect();
            put::rows(&mut self.operations, table, &columns, None, &inserts[..len]);
            self.operation_done()?;
        }
        let shape = self.store.state.table(table)?.shape.clone();
        let deleted_from = effect.replaced;
        let key = &shape.spec.primary_key;
        for start in (deleted_from..effect.old.len).step_by(MAX_BATCH_ROWS) {
            let len = MAX_BATCH_ROWS.min(effect.old.len - start);
            let columns: Vec<ArrayRef> = key.iter().map(|&c| effect.old.columns[c].slice(start, len)).collect();
            put::rows(&mut self.operations, table, &columns, Some(key), &vec![RowKind::Delete; len]);
            self.operation_done()?;
        }
        Ok(())
    }

    /// Removes all rows of a table and returns them with weight -1. The log of a primary-key table shows the deletions; that
    /// of a log table starts anew.
    ///
    /// # Errors
    /// `NotFound` if the table does not exist, `Invalid` for the system table.
    pub fn truncate(&mut self, table: TableId) -> Result<ChangeBatch> {
        let commit = self.commit;
        let result = self.store.state.truncate(table, commit);
        let change = self.guard(result)?;
        put::truncate(&mut self.operations, table);
        self.operation_done()?;
        self.seal_ahead()?;
        match change {
            Some(change) => Ok(change),
            None => Ok(ChangeBatch::empty(&self.store.state.table(table)?.shape.spec.schema)),
        }
    }

    /// Drops the rows of commits up to `upto` from a log table: its log begins behind them, and a reader that has not come so far
    /// has lost them. Gives how many there were. It is no change: jobs are not told.
    ///
    /// # Errors
    /// `NotFound` if the table does not exist; `Invalid` if it has a primary key, or `upto` is not before this tick.
    pub fn trim_log(&mut self, table: TableId, upto: CommitId) -> Result<u64> {
        if upto >= self.commit {
            return Err(Error::invalid(format!(
                "the log of table {table} cannot be cut at {upto} by tick {}",
                self.commit
            ))
            .hint("cut it at an earlier commit"));
        }
        let result = self.store.state.trim_log(table, upto);
        let rows = self.guard(result)?;
        put::trim_log(&mut self.operations, table, upto);
        self.operation_done()?;
        Ok(rows)
    }

    /// Takes back everything that this tick has done to a table, rows of sources' commits included: it is again as the last
    /// tick left it. Costs time in proportion to its live rows.
    ///
    /// # Errors
    /// `NotFound` if the table does not exist, `Invalid` if it was made in this tick, or for the system table.
    pub fn restore(&mut self, table: TableId) -> Result<()> {
        let result = self.store.state.restore(table);
        self.guard(result)?;
        put::restore(&mut self.operations, table);
        self.operation_done()
    }

    /// Whether something has failed in it that may have left it half done, so that it cannot be published: the disk, or bytes
    /// that are damaged.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sets the metadata value under `space` and `key`, or removes it.
    pub fn put(&mut self, space: &str, key: &str, value: Option<&str>) {
        self.puts.insert((space.to_string(), key.to_string()), value.map(str::to_string));
    }

    /// The metadata value under `space` and `key` as the tick has left it so far.
    pub fn get(&self, space: &str, key: &str) -> Option<Arc<str>> {
        match self.puts.get(&(space.to_string(), key.to_string())) {
            Some(value) => value.as_deref().map(Into::into),
            None => self.store.state.meta.get(space, key),
        }
    }

    /// Records that `consumer` needs nothing of `table`'s log up to `upto` any more, and returns the commit from which on the
    /// log is kept for it: `upto`, or a later one where nobody has kept the log that far back. A consumer registers by its
    /// first call.
    ///
    /// Of a log table everything is kept that has not expired; of other logs, what the slowest cursor of the last tick has not
    /// read, or nothing. More may be there now and may be read, but a restart merges otherwise and may leave it out.
    ///
    /// # Errors
    /// `NotFound` if the table does not exist.
    pub fn set_cursor(&mut self, consumer: &str, table: TableId, upto: CommitId) -> Result<CommitId> {
        let upto = upto.max(self.store.state.log_floor(table)?);
        self.store.state.set_cursor(consumer, table, upto);
        put::set_cursor(&mut self.operations, consumer, table, upto);
        self.operation_done()?;
        Ok(upto)
    }

    /// Forgets `consumer`'s cursor on `table`, or on every table. One that does not exist is no error.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed.
    pub fn forget_cursor(&mut self, consumer: &str, table: Option<TableId>) -> Result<()> {
        self.store.state.forget_cursor(consumer, table);
        put::forget_cursor(&mut self.operations, consumer, table);
        self.operation_done()
    }

    /// Orders the tick: its frame is in the log and the writer's own snapshot shows it. Readers see it once it is durable. A
    /// tick that changed nothing writes nothing and returns the last tick's commit.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed; `Internal` after an internal error in the tick. The store is then as
    /// it was before the tick.
    pub fn publish(mut self) -> Result<CommitId> {
        if self.broken {
            return Err(Error::internal("a tick that failed halfway cannot be published"));
        }
        if !self.store.state.is_between_commits() {
            return Err(Error::internal("a tick cannot end in the middle of a source's commit"));
        }
        self.write_puts()?;
        if self.operation_count == 0 {
            return Ok(self.store.state.view.commit);
        }
        let mut payload = Vec::with_capacity(self.operations.len() + 8);
        payload.extend_from_slice(&self.first_piece.to_le_bytes());
        // Rows are aligned from the start of the payload, and these eight bytes keep that.
        payload.extend_from_slice(&self.operations);
        let frame = self.store.append(self.note(FrameKind::Tick), &payload)?;
        // The frame counts from here on: undoing the tick would contradict the log.
        self.published = true;
        let end = self.store.wal.end();
        let finished = self.store.state.finish_tick(self.commit, self.as_of, self.time_micros, end);
        finished.map_err(|error| self.store.shared.fail(&error))?;
        self.store.files.keep_ahead();
        self.store.publish_boundary(frame);
        Ok(self.commit)
    }

    fn note(&self, kind: FrameKind) -> FrameNote {
        FrameNote {
            kind,
            commit: self.commit,
            as_of: self.as_of,
            time_micros: self.time_micros,
            origin: 0,
            pieces: self.operation_count,
        }
    }

    /// Turns the metadata that was put into rows of the system table.
    fn write_puts(&mut self) -> Result<()> {
        if self.puts.is_empty() {
            return Ok(());
        }
        let puts = std::mem::take(&mut self.puts);
        let removed: Vec<bool> = puts.values().map(Option::is_none).collect();
        let columns = meta_columns(&puts);
        let intent = |row: usize| if removed[row] { Intent::Delete } else { Intent::Upsert };
        let rows = Rows { columns: &columns, listed: None, len: removed.len(), intent: &intent, upsert_wins: false };
        self.write_rows(SYSTEM_TABLE, &rows).map(|_| ())
    }

    /// Counts an operation, and writes a piece if there is enough for one.
    fn operation_done(&mut self) -> Result<()> {
        self.operation_count += 1;
        if self.operations.len() < self.store.limits.tick_piece_bytes {
            return Ok(());
        }
        let note = self.note(FrameKind::TickPiece);
        let result = self.store.append(note, &self.operations);
        let frame = self.guard(result)?;
        self.store.publish_boundary(frame);
        self.operations.clear();
        if self.first_piece == 0 {
            self.first_piece = frame;
        }
        Ok(())
    }

    /// Seals what the tick has appended where that is too much to hold in memory.
    fn seal_ahead(&mut self) -> Result<()> {
        let result = self.store.seal_ahead(self.time_micros);
        self.guard(result)
    }

    /// Marks the tick as broken if something failed that may have left it half done. Refused input changes nothing.
    fn guard<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict)
        {
            self.broken = true;
        }
        result
    }
}

impl Drop for Tick<'_> {
    fn drop(&mut self) {
        if self.published
            || (self.operation_count == 0
                && self.store.state.touched.is_empty()
                && self.store.state.applied.is_empty()
                && self.store.state.is_between_commits())
        {
            return;
        }
        self.store.drop_ahead();
        let dropped = std::mem::take(&mut self.dropped);
        if let Err(error) = self.store.state.revert(dropped) {
            // The published view is whole; the writer's side is not, so it must not go on.
            self.store.shared.fail(&error.context("a tick could not be undone"));
        }
    }
}

/// Each row as often as its weight says.
fn repeat_by_weight(change: &ChangeBatch, table: &str) -> Result<ChangeBatch> {
    let mut rows = Vec::with_capacity(change.len());
    for row in 0..change.len() {
        let weight = change.weight(row);
        if weight < 0 {
            return Err(Error::invalid(format!("table {table} is append-only, rows cannot be withdrawn from it"))
                .hint("declare a primary key"));
        }
        rows.extend(std::iter::repeat_n(row as u32, weight as usize));
    }
    let rows = UInt32Array::from(rows);
    let columns = change.columns().iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>();
    Ok(ChangeBatch::insertions(columns.map_err(rearrange_error)?, rows.len()))
}
