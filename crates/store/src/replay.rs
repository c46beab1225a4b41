//! Turns the frames of the log back into state.
//!
//! Frames come in order and whole; what they say was valid when it was written. So anything that does not fit (a table that
//! is not there, a stage that was never begun) is `Corrupt`, whatever kind the live path would give it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use gridhouse_base::{CommitId, Error, ErrorKind, Result, SourceId, TableId};

use crate::codec::{Input, damaged};
use crate::payload::{Op, read_drop_stage, read_op, read_source, read_stage};
use crate::pending::Pending;
use crate::source::{SourcePosition, StageUse};
use crate::state::State;
use crate::wal::frame::{Frame, FrameKind};
use crate::wal::place::FramePlace;

/// Applies frames to a state.
pub(crate) struct Replay<'a> {
    pub state: &'a mut State,
    /// Pieces of a tick that has not ended yet, by frame number.
    pub pieces: BTreeMap<u64, Vec<u8>>,
}

impl Replay<'_> {
    /// Applies one frame.
    pub fn take(&mut self, frame: &Frame<'_>, place: &FramePlace) -> Result<()> {
        self.apply(frame, place).map_err(|error| match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Unavailable => error,
            _ => damaged("a frame contradicts those before it").caused_by(error),
        })
    }

    fn apply(&mut self, frame: &Frame<'_>, place: &FramePlace) -> Result<()> {
        match frame.head.kind {
            FrameKind::Source => self.source(frame, place),
            FrameKind::Tick => self.tick(frame),
            FrameKind::TickPiece => {
                self.pieces.insert(frame.head.number, frame.payload.to_vec());
                Ok(())
            }
            FrameKind::Stage => {
                let (stage, part) = read_stage(frame.payload, &|id| self.state.logged_types(id))?;
                part.iter().try_for_each(|part| self.check(part))?;
                self.state.stages.entry(stage).or_default().frames.push(place.clone());
                Ok(())
            }
            FrameKind::DropStage => {
                self.state.stages.remove(&read_drop_stage(frame.payload)?);
                Ok(())
            }
            FrameKind::SyncNote => Ok(()),
        }
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

    fn source(&mut self, frame: &Frame<'_>, place: &FramePlace) -> Result<()> {
        let commit = self.next_commit(frame)?;
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

    fn tick(&mut self, frame: &Frame<'_>) -> Result<()> {
        let commit = self.next_commit(frame)?;
        let mut input = Input::new(frame.payload);
        let first_piece = input.u64()?;
        let pieces = std::mem::take(&mut self.pieces);
        if first_piece != 0 {
            for payload in pieces.range(first_piece..).map(|(_, payload)| payload) {
                self.operations(&mut Input::new(payload), commit)?;
            }
        }
        self.operations(&mut input, commit)?;
        if !self.state.is_between_commits() {
            return Err(damaged("a tick ends in the middle of a source's commit"));
        }
        self.state.finish_tick(commit, frame.head.as_of, frame.head.time_micros)
    }

    fn operations(&mut self, input: &mut Input<'_>, commit: CommitId) -> Result<()> {
        while !input.is_at_end() {
            match read_op(input, &|id| types_of(self.state, id))? {
                Op::ApplyPending(upto, limit) => drop(self.state.apply_step(upto, commit, limit)?),
                Op::CreateTable(id, spec) => self.state.create_table(id, spec)?,
                Op::DropTable(id) => drop(self.state.drop_table(id)?),
                Op::Rows(part) => {
                    self.check(&part)?;
                    self.state.apply_part(&part, commit, false)?;
                }
                Op::Truncate(id) => drop(self.state.truncate(id, commit)?),
                Op::Restore(id) => self.state.restore(id)?,
                Op::SetCursor(consumer, table, upto) => self.state.set_cursor(&consumer, table, upto),
                Op::ForgetCursor(consumer, table) => self.state.forget_cursor(&consumer, table),
            }
        }
        Ok(())
    }
}

fn types_of(state: &State, id: TableId) -> Option<Vec<DataType>> {
    state.tables.get(&id).map(|table| table.shape.types.clone())
}

/// An error of the replay always names the log, so it needs a way back that the caller adds.
pub(crate) fn with_way_back(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt && error.remedy().is_none() {
        return error.hint("restore the data directory from a backup");
    }
    error
}
