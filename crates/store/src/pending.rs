//! Source commits that wait for a tick, and how a tick takes them in: in steps of a bounded number of rows.
//!
//! What waits needs bounded memory, whatever the size of a commit. Rows of its stages are kept as places in the log and read back one frame at a
//! time; the rows of the commit's own frame are kept in memory as long as few wait, and else read back likewise. Where a
//! stage replaces a table, what goes is found by one bit per entry of the table. What always holds: the steps of a tick
//! apply the same rows in the same order and pieces whether they are taken live or replayed, so that row ids agree; and a
//! tick ends between two commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::DataType;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{ChangeBatch, CommitId, Result, RowKind, TableId};

use crate::codec::damaged;
use crate::delta::{Effect, consolidate, counted, take_rows};
use crate::payload::{read_source, read_stage};
use crate::scan::Scan;
use crate::snapshot::TableSnapshot;
use crate::source::{Part, StageUse};
use crate::state::State;
use crate::table::Detail;
use crate::wal::place::FramePlace;

/// How many bytes of waiting commits are kept in memory, as the log counts them; what comes on top is read back from the log.
/// One tick takes what has gathered during the one before: this much is some hundred thousand rows, more than a tick
/// of a tenth of a second takes.
const WAITING_BYTES: usize = 32 << 20;

/// How much one step of a tick takes at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepLimit {
    pub rows: usize,
    /// Their bytes in memory, reckoned by the mean row of their part: no more rows are taken than fit, but one always.
    pub bytes: usize,
}

/// A source commit that no tick has applied yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub commit: CommitId,
    /// The frame that holds it.
    pub frame: FramePlace,
    pub stages: Vec<(StageUse, Arc<Stage>)>,
    /// Its own rows; `None`: its frame has them.
    pub parts: Option<Arc<[Part]>>,
}

/// Rows of a commit under construction: the frames that hold them, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    pub frames: Vec<FramePlace>,
}

/// How far the first waiting commit has been applied in the tick under way.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Stages of the commit, and frames of the next stage, that are done.
    stage: usize,
    frame: usize,
    /// The old rows that the stage under way does not hold, where it replaces a table.
    gone: Option<Scan>,
    /// Whether the commit's own rows are at hand, or done.
    is_own: bool,
    /// What is at hand, and how many parts, and rows of the next part, of it are done.
    parts: Arc<[Part]>,
    part: usize,
    row: usize,
    /// Log tables that an earlier step has given rows of this commit.
    begun: BTreeSet<TableId>,
    is_begun: bool,
}

impl Progress {
    fn lay_up(&mut self, parts: Arc<[Part]>) {
        (self.parts, self.part, self.row) = (parts, 0, 0);
    }

    /// Some rows of what is at hand, one at least; `None` if it is done. `left` is what may still be taken, and becomes less; where
    /// bytes end the rows, none of them are left.
    fn next(&mut self, left: &mut StepLimit) -> Option<Part> {
        let part = self.parts.get(self.part)?;
        let fit = if left.bytes == usize::MAX {
            usize::MAX
        } else {
            let row_bytes = part.bytes().div_ceil(part.batch.len().max(1)).max(1);
            let fit = (left.bytes / row_bytes).max(1);
            left.bytes = left.bytes.saturating_sub(row_bytes.saturating_mul(part.batch.len() - self.row));
            fit
        };
        let taken = self.cut(left.rows.min(fit))?;
        left.rows -= taken.batch.len();
        Some(taken)
    }

    /// Up to `limit` rows of the next part.
    fn cut(&mut self, limit: usize) -> Option<Part> {
        let part = self.parts.get(self.part)?;
        let (from, left) = (self.row, part.batch.len() - self.row);
        if left <= limit {
            (self.part, self.row) = (self.part + 1, 0);
        } else {
            self.row += limit;
        }
        if from == 0 && left <= limit {
            return Some(part.clone());
        }
        let len = left.min(limit);
        let columns = part.batch.columns.iter().map(|column| column.slice(from, len)).collect();
        let batch = KindBatch::new(columns, part.batch.kinds[from..from + len].to_vec());
        Some(Part { batch, table: part.table, columns: part.columns.clone() })
    }

    fn has_rows(&mut self) -> bool {
        while self.parts.get(self.part).is_some_and(|part| part.batch.is_empty()) {
            self.part += 1;
        }
        self.part < self.parts.len()
    }
}

/// Rows that a step has changed in one table.
#[derive(Clone, Debug)]
pub struct AppliedRows {
    /// The table.
    pub table: TableId,
    /// -1 for rows that went, +1 for rows that came, at most one of each per key; in a log table the rows of one commit. Without
    /// columns where nobody wanted them.
    pub rows: ChangeBatch,
    /// The rows belong to the same commit as the last ones of this table in the step before; in a log table only.
    pub continues: bool,
    /// More rows of the commit may follow in the next step; in a log table only.
    pub goes_on: bool,
}

/// What one step of a tick has applied.
#[derive(Clone, Debug)]
pub struct AppliedStep {
    /// What changed: one entry per table with a key, and for log tables one per commit, in order.
    pub changes: Vec<AppliedRows>,
    /// Nothing waits any more.
    pub is_last: bool,
}

impl State {
    /// Lets a commit wait for a tick; `bytes` is the size of its frame.
    pub fn wait(&mut self, mut pending: Pending) {
        let bytes = pending.frame.bytes;
        if self.waiting_bytes + bytes > WAITING_BYTES {
            pending.parts = None;
        }
        self.waiting_bytes += pending.bytes_in_memory();
        self.last_commit = self.last_commit.max(pending.commit);
        self.pending.push_back(pending);
    }

    /// Whether one step of `rows` rows takes everything that waits. Says no where that is not known without reading the log.
    pub fn waits_for_one_step(&self, rows: usize) -> bool {
        let mut left = rows;
        self.pending.iter().all(|pending| {
            let own = pending.parts.as_ref().map(|parts| parts.iter().map(|part| part.batch.len()).sum::<usize>());
            match own {
                Some(own) if pending.stages.is_empty() && own <= left => {
                    left -= own;
                    true
                }
                _ => false,
            }
        })
    }

    /// The first frame of the log that is still read while the store runs, or that a restart would need; `None` if there is
    /// none: stages that are open, and source commits that no tick has applied.
    pub fn oldest_needed_frame(&self) -> Option<&FramePlace> {
        let open = self.stages.values().filter_map(|stage| stage.frames.first());
        let waiting = self.pending.iter().chain(&self.applied).flat_map(|pending| {
            let staged = pending.stages.iter().filter_map(|(_, stage)| stage.frames.first());
            staged.chain([&pending.frame])
        });
        open.chain(waiting).min_by_key(|place| place.frame)
    }

    /// Whether no commit has been applied in part only.
    pub fn is_between_commits(&self) -> bool {
        !self.progress.is_begun
    }

    /// Applies rows of the source commits up to `upto` that wait, `limit` of them at most, in tick `commit`. `None` if nothing
    /// waits. An error leaves the tick half done. Second, the number of rows by which the same step is taken again.
    ///
    /// The entries carry the tick's commit, not the source's: they become visible with the tick, and whoever has read the
    /// log up to an earlier tick must find them above it, even if that tick came after the source's commit.
    pub fn apply_step(
        &mut self,
        upto: CommitId,
        commit: CommitId,
        limit: StepLimit,
        wants: &dyn Fn(TableId) -> bool,
    ) -> Result<(Option<AppliedStep>, usize)> {
        let waits = |state: &Self| state.pending.front().filter(|pending| pending.commit <= upto).cloned();
        if waits(self).is_none() {
            return Ok((None, limit.rows));
        }
        let rows = limit.rows.max(1);
        let (mut left, mut again) = (StepLimit { rows, ..limit }, rows);
        let mut effects: BTreeMap<TableId, Vec<Effect>> = BTreeMap::new();
        let mut changes = Vec::new();
        let mut is_last = true;
        while let Some(pending) = waits(self) {
            let mut progress = std::mem::take(&mut self.progress);
            progress.is_begun = true;
            let mut is_over = false;
            while !is_over && left.rows > 0 {
                is_over = !self.lay_up_rows(&mut progress, &pending)?;
                if is_over {
                    continue;
                }
                let Some(part) = progress.next(&mut left) else { continue };
                if left.bytes == 0 {
                    again = rows - left.rows;
                    left.rows = 0;
                }
                // A table that was dropped after the source had committed takes no rows any more.
                if self.tables.contains_key(&part.table) {
                    let detail = if wants(part.table) { Detail::Rows } else { Detail::Effective };
                    let effect = self.apply_part(&part, commit, detail)?;
                    effects.entry(part.table).or_default().push(effect);
                }
            }
            // A commit that ends just where the step does is over, so that the last step is known to be the last.
            is_over = is_over || !self.lay_up_rows(&mut progress, &pending)?;
            // Rows of log tables stay apart by commit: whether a row is late is judged commit by commit.
            for (&table, effects) in &mut effects {
                if self.tables.get(&table).is_some_and(|table| !table.shape.is_keyed())
                    && let Some(rows) = consolidate(std::mem::take(effects), false)?
                {
                    let continues = !progress.begun.insert(table);
                    changes.push(AppliedRows { table, rows, continues, goes_on: !is_over });
                }
            }
            if !is_over {
                self.progress = progress;
                is_last = false;
                break;
            }
            let done = self.pending.pop_front().expect("the commit waited just now");
            self.waiting_bytes -= done.bytes_in_memory();
            self.applied.push(done);
        }
        for (table, effects) in effects {
            let keyed = self.tables.get(&table).is_some_and(|table| table.shape.is_keyed());
            let rows = if wants(table) { consolidate(effects, keyed)? } else { counted(&effects) };
            if let Some(rows) = rows {
                changes.push(AppliedRows { table, rows, continues: false, goes_on: false });
            }
        }
        Ok((Some(AppliedStep { changes, is_last }), again))
    }

    /// Lets the commits of a tick that was given up wait again.
    pub fn wait_again(&mut self) {
        self.progress = Progress::default();
        for pending in std::mem::take(&mut self.applied).into_iter().rev() {
            self.waiting_bytes += pending.bytes_in_memory();
            self.pending.push_front(pending);
        }
    }

    /// Puts the commit's next rows at hand; false if it has none left.
    fn lay_up_rows(&self, progress: &mut Progress, pending: &Pending) -> Result<bool> {
        while !progress.has_rows() {
            let Some((stage_use, stage)) = pending.stages.get(progress.stage) else {
                if progress.is_own {
                    return Ok(false);
                }
                progress.is_own = true;
                progress.lay_up(match &pending.parts {
                    Some(parts) => parts.clone(),
                    None => read_source(&pending.frame.read()?, &|id| self.logged_types(id))?.parts.into(),
                });
                continue;
            };
            if let Some(place) = stage.frames.get(progress.frame) {
                progress.frame += 1;
                progress.lay_up(self.staged(place)?.into_iter().collect());
                continue;
            }
            if let StageUse::Replace(table) = *stage_use
                && self.tables.contains_key(&table)
            {
                if progress.gone.is_none() {
                    progress.gone = Some(self.rows_without(table, stage)?);
                }
                if let Some(rows) = progress.gone.as_mut().and_then(Iterator::next) {
                    let rows = rows?;
                    let kinds = vec![RowKind::Delete; rows.len()];
                    let batch = KindBatch::new(rows.columns().to_vec(), kinds);
                    progress.lay_up([Part::new(table, batch)].into());
                    continue;
                }
            }
            (progress.stage, progress.frame, progress.gone) = (progress.stage + 1, 0, None);
        }
        Ok(true)
    }

    /// The rows of a frame of a stage; `None` if their table is gone.
    fn staged(&self, place: &FramePlace) -> Result<Option<Part>> {
        Ok(read_stage(&place.read()?, &|id| self.logged_types(id))?.1)
    }

    /// The live rows of `table` whose keys are not in `stage`.
    fn rows_without(&self, table: TableId, stage: &Stage) -> Result<Scan> {
        let target = self.table(table)?;
        let mut gone = target.view();
        for place in &stage.frames {
            let Some(part) = self.staged(place)?.filter(|part| part.table == table) else { continue };
            let columns = target.shape.key_columns(&part.batch.columns, part.columns.as_deref());
            let keys = target.shape.codec.keys(&columns)?;
            for row in target.rows_of(&|which| take_rows(&columns, which), &keys)?.0.into_iter().flatten() {
                let bucket = &mut gone.buckets[usize::from(row.bucket())];
                let (group, position) = bucket.locate(row.seq());
                if bucket.groups[group].alive.get(position) {
                    Arc::make_mut(bucket).kill(group, position);
                }
            }
        }
        Ok(TableSnapshot { view: Arc::new(gone) }.scan(None))
    }

    /// The types of a table that a logged row belongs to; `None` if it has been dropped since.
    ///
    /// # Errors
    /// `Corrupt` if there has never been such a table.
    pub fn logged_types(&self, id: TableId) -> Result<Option<Vec<DataType>>> {
        match self.tables.get(&id) {
            Some(table) => Ok(Some(table.shape.types.clone())),
            None if id.0 < self.next_table => Ok(None),
            None => Err(damaged("rows belong to a table that has never been there")),
        }
    }
}

impl Pending {
    fn bytes_in_memory(&self) -> usize {
        if self.parts.is_some() { self.frame.bytes } else { 0 }
    }
}
