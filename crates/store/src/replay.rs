//! Turns the frames of the log back into state.
//!
//! Frames come in order and whole; what they say was valid when it was written. So anything that does not fit (a table that
//! is not there, a stage that was never begun) is `Corrupt`, whatever kind the live path would give it.
//!
//! Memory is bounded whatever the size of a tick: its pieces are read back one by one once it is known to be whole, and what it
//! appends is sealed ahead, as it was when the tick was made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::DataType;
use gridhouse_base::fs::FileSystem;
use gridhouse_base::{ChangeBatch, CommitId, Error, ErrorKind, Result, SourceId, TableId};

use crate::ahead::Home;
use crate::checkpoint::ReplayStart;
use crate::codec::{Input, damaged};
use crate::follow::Follow;
use crate::maintenance::{Files, Limits};
use crate::payload::{Op, read_drop_stage, read_op, read_source, read_stage};
use crate::pending::{Pending, StepLimit};
use crate::source::{SourcePosition, StageUse};
use crate::state::State;
use crate::table::Detail;
use crate::wal::frame::{Frame, FrameKind};
use crate::wal::place::{FramePlace, LogPlace};

/// Applies frames to a state.
pub(crate) struct Replay<'a> {
    pub state: &'a mut State,
    /// Where the checkpoint is that the state comes from.
    pub start: Option<ReplayStart>,
    /// Who sees what becomes of the tables.
    pub follow: Option<&'a mut dyn Follow>,
    /// Where pieces of a tick stand that has not ended yet, by frame number.
    pub pieces: BTreeMap<u64, FramePlace>,
    /// The store's files, among them segments that the ticks need.
    pub files: &'a mut Files,
    pub fs: &'a Arc<dyn FileSystem>,
    pub dir: &'a Path,
    pub limits: &'a Limits,
}

impl Replay<'_> {
    /// Applies one frame of the log of `store`.
    pub fn take(&mut self, frame: &Frame<'_>, place: &FramePlace, store: u128) -> Result<()> {
        self.apply(frame, place, store).map_err(|error| match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Unavailable => error,
            _ => damaged("a frame contradicts those before it").caused_by(error),
        })
    }

    fn apply(&mut self, frame: &Frame<'_>, place: &FramePlace, store: u128) -> Result<()> {
        if let Some(start) = self.start
            && frame.head.number <= start.tick_frame
        {
            if frame.head.number == start.tick_frame {
                self.state.tick_end = end_of(frame, place);
            }
            return if frame.head.number < start.first.frame { Ok(()) } else { self.before_checkpoint(frame, place) };
        }
        match frame.head.kind {
            FrameKind::Source => {
                let commit = self.next_commit(frame)?;
                self.source(frame, commit, place)
            }
            FrameKind::Tick => self.tick(frame, place, store),
            FrameKind::TickPiece => {
                self.pieces.insert(frame.head.number, place.clone());
                Ok(())
            }
            FrameKind::Stage | FrameKind::DropStage => self.stage(frame, place),
            FrameKind::SyncNote => Ok(()),
        }
    }

    /// A frame that the checkpoint reflects, unless it is a commit that no tick had applied, or rows of one.
    fn before_checkpoint(&mut self, frame: &Frame<'_>, place: &FramePlace) -> Result<()> {
        match frame.head.kind {
            FrameKind::Stage | FrameKind::DropStage => self.stage(frame, place),
            FrameKind::Source if frame.head.commit <= self.state.view.as_of => {
                let record = read_source(frame.payload, &|id| self.state.logged_types(id))?;
                record.stages.iter().for_each(|(stage, _)| drop(self.state.stages.remove(stage)));
                Ok(())
            }
            FrameKind::Source => self.source(frame, frame.head.commit, place),
            FrameKind::Tick | FrameKind::TickPiece | FrameKind::SyncNote => Ok(()),
        }
    }

    fn stage(&mut self, frame: &Frame<'_>, place: &FramePlace) -> Result<()> {
        if frame.head.kind == FrameKind::DropStage {
            self.state.stages.remove(&read_drop_stage(frame.payload)?);
            return Ok(());
        }
        let (stage, part) = read_stage(frame.payload, &|id| self.state.logged_types(id))?;
        part.iter().try_for_each(|part| self.check(part))?;
        self.state.stages.entry(stage).or_default().frames.push(place.clone());
        Ok(())
    }

    fn check(&self, part: &crate::source::Part) -> Result<()> {
        self.state.table(part.table)?.shape.check_source_rows(&part.batch, part.columns.as_deref())
    }

    fn next_commit(&mut self, frame: &Frame<'_>) -> Result<CommitId> {
        let commit = frame.head.commit;
        if commit != self.state.last_commit.next() {
            return Err(damaged("a commit is out of order"));
        }
        Ok(commit)
    }

    fn source(&mut self, frame: &Frame<'_>, commit: CommitId, place: &FramePlace) -> Result<()> {
        let record = read_source(frame.payload, &|id| self.state.logged_types(id))?;
        record.parts.iter().try_for_each(|part| self.check(part))?;
        let mut stages = Vec::new();
        for (stage, stage_use) in record.stages {
            if let StageUse::Replace(table) = stage_use
                && self.state.tables.get(&table).is_some_and(|table| !table.shape.is_keyed())
            {
                return Err(damaged("a log table is replaced"));
            }
            // An empty stage never reached the log.
            stages.push((stage_use, Arc::new(self.state.stages.remove(&stage).unwrap_or_default())));
        }
        let position =
            SourcePosition { position: record.position, event_time_micros: record.event_time_micros, commit };
        Arc::make_mut(&mut self.state.positions).insert(SourceId(frame.head.origin), position);
        self.state.wait(Pending { commit, frame: place.clone(), stages, parts: Some(record.parts.into()) });
        Ok(())
    }

    fn tick(&mut self, frame: &Frame<'_>, place: &FramePlace, store: u128) -> Result<()> {
        let tick = OpenTick { commit: self.next_commit(frame)?, time_micros: frame.head.time_micros, store };
        let commit = tick.commit;
        let mut input = Input::new(frame.payload);
        let first_piece = input.u64()?;
        let pieces = std::mem::take(&mut self.pieces);
        if first_piece != 0 {
            for piece in pieces.range(first_piece..).map(|(_, piece)| piece) {
                self.operations(&mut Input::new(&piece.read()?), &tick)?;
            }
        }
        self.operations(&mut input, &tick)?;
        if !self.state.is_between_commits() {
            return Err(damaged("a tick ends in the middle of a source's commit"));
        }
        self.state.finish_tick(commit, frame.head.as_of, frame.head.time_micros, end_of(frame, place))?;
        self.files.keep_ahead();
        match &mut self.follow {
            Some(follow) => follow.tick(commit, frame.head.as_of, frame.head.time_micros),
            None => Ok(()),
        }
    }

    fn operations(&mut self, input: &mut Input<'_>, tick: &OpenTick) -> Result<()> {
        let commit = tick.commit;
        while !input.is_at_end() {
            match read_op(input, &|id| types_of(self.state, id))? {
                Op::ApplyPending(upto, limit) => {
                    let follows = self.follow.is_some();
                    let limit = StepLimit { rows: limit, bytes: usize::MAX };
                    let (step, _) = self.state.apply_step(upto, commit, limit, &|_| follows)?;
                    for applied in step.into_iter().flat_map(|step| step.changes) {
                        if let Some(follow) = self.follow.as_mut().filter(|_| !applied.rows.is_empty()) {
                            follow.applied(&applied)?;
                        }
                    }
                }
                Op::CreateTable(id, spec) => self.state.create_table(id, spec)?,
                Op::DropTable(id) => drop(self.state.drop_table(id)?),
                Op::Rows(part) => {
                    self.check(&part)?;
                    let detail = if self.follow.is_some() { Detail::Rows } else { Detail::Known };
                    let effect = self.state.apply_part(&part, commit, detail)?;
                    if self.follow.is_some() {
                        self.show(part.table, &effect.into_batch()?)?;
                    }
                }
                Op::Truncate(id) => {
                    if let Some(change) = self.state.truncate(id, commit)? {
                        self.show(id, &change)?;
                    }
                }
                Op::Restore(id) => {
                    self.state.restore(id)?;
                    if let Some(follow) = &mut self.follow {
                        follow.restored(id)?;
                    }
                }
                Op::TrimLog(id, upto) => drop(self.state.trim_log(id, upto)?),
                Op::SetCursor(consumer, table, upto) => self.state.set_cursor(&consumer, table, upto),
                Op::ForgetCursor(consumer, table) => self.state.forget_cursor(&consumer, table),
            }
            if self.state.is_to_be_sealed_ahead(self.limits) {
                let home = Home { fs: self.fs, dir: self.dir, store: tick.store, limits: self.limits };
                self.files.seal_ahead(self.state, &home, tick.time_micros)?;
            }
        }
        Ok(())
    }
}

/// A tick whose operations are being applied.
struct OpenTick {
    commit: CommitId,
    time_micros: i64,
    /// The store that it belongs to.
    store: u128,
}

impl Replay<'_> {
    /// Shows the follower what became of a table.
    fn show(&mut self, table: TableId, change: &ChangeBatch) -> Result<()> {
        match &mut self.follow {
            Some(follow) if !change.is_empty() => follow.change(table, change),
            _ => Ok(()),
        }
    }
}

fn types_of(state: &State, id: TableId) -> Option<Vec<DataType>> {
    state.tables.get(&id).map(|table| table.shape.types.clone())
}

/// Where the log goes on behind a frame.
fn end_of(frame: &Frame<'_>, place: &FramePlace) -> LogPlace {
    LogPlace { file: place.file_number, offset: place.offset + frame.size as u64, frame: frame.head.number + 1 }
}

/// An error of the replay always names the log, so it needs a way back that the caller adds.
pub(crate) fn with_way_back(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt && error.remedy().is_none() {
        return error.hint("restore the data directory from a backup");
    }
    error
}
