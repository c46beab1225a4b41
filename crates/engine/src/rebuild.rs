//! The first output of a dataflow that is built anew.
//!
//! Its inputs are taken as they stand; what comes out is written whole where the target knows nothing of the job yet, is
//! compared with what the target holds where the job is its only writer, and is left out where the target has it already. A
//! target that only grows gets what came after the job's cursor.
//!
//! Where rows of an input have expired that the job has not seen, or whose results would be withdrawn because nothing is left
//! to compute them from, that is told and refused, unless the user has accepted it.
//!
//! All of it is one tick of the operators, but they are given their inputs in rounds, and what comes out is summed up with
//! what the target holds in lots that go to disk where they are many ([`Difference`]). So memory is needed for what the
//! operators hold, which spills, and not for what they are built from. Where a table is looked up in by rows that come from
//! itself, so that there is no order in which one input could be taken after the other, they are taken at once.

use std::sync::Arc;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result};
use gridhouse_flow::{Difference, Governor, Piece, TickContext};
use gridhouse_store::{Snapshot, TableSnapshot, Tick};

use crate::dead::Letter;
use crate::deltas::{Delta, Deltas};
use crate::job::{Flow, of_operators};
use crate::outside::OutsideRows;

/// Whether a job's output is written or only its state built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Everything: the target knows nothing of the job yet.
    Whole,
    /// What differs from the target.
    Difference,
    /// Nothing: the target holds it.
    Nothing,
}

/// What is to happen where rows of an input have expired that the job's results need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// The job does not go on.
    Refused,
    /// The job goes on with the rows that are left.
    Accepted,
}

/// The session's setting for it.
pub(crate) const GAPS: &str = "job.gaps";

/// The error that a job cannot be built anew from rows of `source` that landed elsewhere before, and that `option` leaves out.
pub(crate) fn does_not_come_again(job: &str, (source, option): (&ObjectPath, &str), target: &ObjectPath) -> Error {
    Error::conflict(format!(
        "job {job} would have to be built anew from rows of {source} that do not come again ('{option}'): what it has made of them would \
         be withdrawn from {target}"
    ))
    .hint(format!(
        "let the INSERT stand as it was, or SET '{GAPS}' = 'accept' first, to have what the rows from now on come to"
    ))
}

/// How the first output of a rebuilt dataflow is found.
pub(crate) struct Build<'a> {
    /// The job's name.
    pub(crate) job: &'a str,
    pub(crate) gaps: Gaps,
    pub(crate) output: Output,
    pub(crate) sole: bool,
    pub(crate) cursor: CommitId,
    pub(crate) was_running: bool,
    pub(crate) now_micros: i64,
    /// Keeps what does not fit into memory.
    pub(crate) governor: Arc<Governor>,
    /// Whether anybody in this tick takes in what is written.
    pub(crate) is_read: bool,
    /// How many rows a round takes.
    pub(crate) round_rows: usize,
}

/// Whether rows of a log are gone because of their age.
pub(crate) fn has_expired(log: &TableSnapshot) -> bool {
    log.spec().log_ttl_ms.is_some() && log.log_start() > CommitId(0)
}

/// The error that a job cannot be built anew from the log `log`.
pub(crate) fn would_withdraw(job: &str, log: &TableSnapshot, target: &str) -> Error {
    let (name, start) = (&log.spec().name, log.log_start());
    Error::conflict(format!(
        "job {job} has to be built anew, and rows of {name} up to {start} have expired ('table.log.ttl'): what it has made of them would be withdrawn from {target}"
    ))
}

/// Where a tick of the first output stands.
struct Filling<'a> {
    flow: &'a mut Flow,
    context: TickContext,
    /// The order in which inputs are taken one after the other, if that is possible.
    order: Option<Vec<usize>>,
    /// Rows since the last round, and how many a round takes.
    rows: usize,
    round_rows: usize,
    /// Takes what comes out; `None` where it waits for the end of the tick.
    given: Option<Given>,
    /// Whether what has come out is written in the end.
    is_written: bool,
}

/// What becomes of rows that come out.
enum Given {
    /// Nothing.
    Dropped,
    /// They are summed up.
    Summed(Box<Difference>),
}

impl Build<'_> {
    /// Feeds the inputs as they stand, writes what is to be written, and gives how many rows that were and all rows of the inputs
    /// that cannot be computed. `deltas` holds what other `INSERT`s of the same job have written in this tick, which the snapshot
    /// does not show yet; `outside` what was read of outside tables for this one run.
    ///
    /// # Errors
    /// Those of the operators and of the store.
    pub(crate) fn first_output(
        &self,
        flow: &mut Flow,
        snapshot: &Snapshot,
        (tick, deltas): (&mut Tick<'_>, &mut Deltas),
        outside: &OutsideRows,
    ) -> Result<(u64, Vec<Letter>)> {
        let growing = flow.target.key.is_empty();
        if self.gaps == Gaps::Refused {
            self.refuse_gap(flow, snapshot, growing)?;
        }
        if growing && self.output != Output::Whole {
            return self.grow(flow, snapshot, (tick, deltas));
        }
        let comparable = self.sole && flow.target.columns.is_none();
        let is_written = match self.output {
            Output::Whole => true,
            Output::Nothing => false,
            Output::Difference => comparable || !self.was_running,
        };
        let mut filling = self.filling(flow, is_written)?;
        for i in filling.order() {
            filling.take_outside(i, outside)?;
            filling.take_table(i, snapshot)?;
            filling.take_deltas(i, deltas)?;
        }
        let against = self.output == Output::Difference && comparable;
        let target = if against { snapshot.table(filling.flow.target.table).ok() } else { None };
        if let (Some(Given::Summed(difference)), Some(table)) = (&mut filling.given, &target) {
            for batch in table.scan(None) {
                difference.add(&batch?.negated()).map_err(of_operators)?;
            }
        }
        let (rows, letters) = filling.end(&mut |flow, batch| self.write(flow, batch, (&mut *tick, &mut *deltas)))?;
        if against && rows > 0 {
            tracing::info!(target_table = flow.target.name, rows, "the rebuilt job corrects its target");
        }
        Ok((rows, letters))
    }

    /// Refuses where rows of a log have expired that are missing then.
    fn refuse_gap(&self, flow: &Flow, snapshot: &Snapshot, growing: bool) -> Result<()> {
        for input in &flow.inputs {
            let Ok(table) = snapshot.table(input.table) else { continue };
            if !has_expired(&table) {
                continue;
            }
            let (start, name) = (table.log_start(), &table.spec().name);
            let (job, accept) = (self.job, format!("SET '{GAPS}' = 'accept', then START JOB"));
            match self.output {
                Output::Difference if growing && !self.was_running && self.cursor < start => {
                    return Err(Error::conflict(format!(
                        "job {job} has read the log of {name} up to {}, and rows up to {start} have expired meanwhile ('table.log.ttl'): it would skip them",
                        self.cursor
                    ))
                    .hint(format!("{accept}, to go on without them; give {name} a longer 'table.log.ttl' than jobs stand still")));
                }
                Output::Difference if !growing => {
                    return Err(would_withdraw(job, &table, &flow.target.name).hint(format!(
                        "{accept}, to have what the rows that are left come to; or DROP JOB, and let a new job write into another table"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The first output into a target that only grows: what came after the cursor is new, everything before is there.
    fn grow(
        &self,
        flow: &mut Flow,
        snapshot: &Snapshot,
        (tick, deltas): (&mut Tick<'_>, &mut Deltas),
    ) -> Result<(u64, Vec<Letter>)> {
        let cursor = if self.was_running { snapshot.commit() } else { self.cursor };
        let mut filling = self.filling(flow, false)?;
        for i in filling.order() {
            filling.take_log(i, snapshot, cursor, false)?;
        }
        let (_, mut letters) = filling.end(&mut |_, _| Ok(()))?;
        let is_written = !(flow.target.kinds_inside && self.was_running);
        let mut filling = self.filling(flow, is_written)?;
        for i in filling.order() {
            filling.take_log(i, snapshot, cursor, true)?;
            filling.take_deltas(i, deltas)?;
        }
        let (rows, new_letters) =
            filling.end(&mut |flow, batch| self.write(flow, batch, (&mut *tick, &mut *deltas)))?;
        letters.extend(new_letters);
        Ok((rows, letters))
    }

    fn filling<'a>(&self, flow: &'a mut Flow, is_written: bool) -> Result<Filling<'a>> {
        let context = TickContext { now_micros: self.now_micros, zone: flow.zone };
        let order = flow.dataflow.fill_order();
        // Rows that cannot be written are kept elsewhere, whether the others are written or not.
        let is_seen = is_written || flow.dead_letters.is_some() && !flow.target.not_null.is_empty();
        let given = if is_seen { self.summed(flow)? } else { Some(Given::Dropped) };
        Ok(Filling { flow, context, order, rows: 0, round_rows: self.round_rows, given, is_written })
    }

    /// The sum of what comes out, where rows have a key by which they can be told apart.
    fn summed(&self, flow: &Flow) -> Result<Option<Given>> {
        let target = &flow.target;
        let place = |column: &usize| match &target.columns {
            Some(columns) => columns.iter().position(|brought| brought == column),
            None => Some(*column),
        };
        match target.key.iter().map(place).collect::<Option<Vec<usize>>>() {
            Some(key) if !key.is_empty() && !target.kinds_inside => {
                let difference = Difference::new(&target.schema, key, self.governor.clone())?;
                Ok(Some(Given::Summed(Box::new(difference))))
            }
            _ => Ok(None),
        }
    }

    fn write(&self, flow: &Flow, batch: &ChangeBatch, (tick, deltas): (&mut Tick<'_>, &mut Deltas)) -> Result<()> {
        let effective = flow.target.write(tick, batch)?;
        if self.is_read {
            deltas.push(flow.target.table, effective);
        } else {
            deltas.note(flow.target.table, effective.len());
        }
        Ok(())
    }
}

impl Filling<'_> {
    /// The inputs in the order in which they are to be taken.
    fn order(&self) -> Vec<usize> {
        self.order.clone().unwrap_or_else(|| (0..self.flow.inputs.len()).collect())
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, piece: Piece) -> Result<()> {
        self.rows += batch.len();
        self.flow.push(input, batch, piece)?;
        if self.rows >= self.round_rows && self.order.is_some() {
            self.rows = 0;
            self.flow.work(&self.context)?;
            self.take_given()?;
        }
        Ok(())
    }

    /// Takes what has come out in this round.
    fn take_given(&mut self) -> Result<()> {
        match &mut self.given {
            None => Ok(()),
            Some(Given::Dropped) => {
                drop(self.flow.dataflow.take_given(0));
                Ok(())
            }
            Some(Given::Summed(difference)) => self
                .flow
                .dataflow
                .take_given(0)
                .iter()
                .try_for_each(|batch| difference.add(batch).map_err(of_operators)),
        }
    }

    fn take_outside(&mut self, input: usize, outside: &OutsideRows) -> Result<()> {
        let read = self.flow.inputs[input].clone();
        for batch in outside.rows(read.table).unwrap_or_default() {
            self.push(input, batch.project(&read.columns), Piece::default())?;
        }
        Ok(())
    }

    fn take_table(&mut self, input: usize, snapshot: &Snapshot) -> Result<()> {
        let read = self.flow.inputs[input].clone();
        let Ok(table) = snapshot.table(read.table) else { return Ok(()) };
        if read.in_order {
            return self.take_changes(input, table.changes(table.log_start())?, CommitId(u64::MAX));
        }
        for batch in table.scan(Some(&read.columns)) {
            self.push(input, batch?, Piece::default())?;
        }
        Ok(())
    }

    /// Feeds the rows that a log took up to `cursor`, or after it. A table with a key is fed as it stands, before.
    fn take_log(&mut self, input: usize, snapshot: &Snapshot, cursor: CommitId, after: bool) -> Result<()> {
        let read = self.flow.inputs[input].clone();
        let Ok(table) = snapshot.table(read.table) else { return Ok(()) };
        if !table.spec().primary_key.is_empty() {
            if !after {
                for batch in table.scan(Some(&read.columns)) {
                    self.push(input, batch?, Piece::default())?;
                }
            }
            return Ok(());
        }
        // A log that was emptied begins behind what it held; there is nothing older to take.
        let start = table.log_start();
        let (from, upto) = if after { (cursor.max(start), CommitId(u64::MAX)) } else { (start, cursor) };
        self.take_changes(input, table.changes(from)?, upto)
    }

    /// Feeds rows of a log up to a commit; those that came in one are judged as one.
    fn take_changes(
        &mut self,
        input: usize,
        changes: impl Iterator<Item = Result<(CommitId, KindBatch)>>,
        upto: CommitId,
    ) -> Result<()> {
        let columns = self.flow.inputs[input].columns.clone();
        let (mut last, mut held) = (None, None::<(CommitId, ChangeBatch)>);
        for entry in changes {
            let (commit, batch) = entry?;
            if commit > upto {
                break;
            }
            let taken = columns.iter().map(|&column| batch.columns[column].clone()).collect();
            let next = (commit, ChangeBatch::insertions(taken, batch.len()));
            // Only the next one tells whether more of a commit follows.
            if let Some((before, rows)) = held.replace(next) {
                let piece = Piece { continues: last.replace(before) == Some(before), goes_on: before == commit };
                self.push(input, rows, piece)?;
            }
        }
        if let Some((commit, rows)) = held {
            self.push(input, rows, Piece { continues: last == Some(commit), goes_on: false })?;
        }
        Ok(())
    }

    fn take_deltas(&mut self, input: usize, deltas: &Deltas) -> Result<()> {
        let (table, columns) = (self.flow.inputs[input].table, self.flow.inputs[input].columns.clone());
        for Delta { rows, piece } in deltas.of(table) {
            self.push(input, rows.project(&columns), *piece)?;
        }
        Ok(())
    }

    /// Ends the tick and writes what has come out; gives how many rows were written, and those that cannot be computed.
    fn end(mut self, write: &mut dyn FnMut(&Flow, &ChangeBatch) -> Result<()>) -> Result<(u64, Vec<Letter>)> {
        let (out, mut letters) = self.flow.finish_unchecked(&self.context)?;
        let (mut written, is_written) = (0, self.is_written);
        let mut write = |flow: &Flow, out: Vec<ChangeBatch>| {
            for batch in out.iter().filter(|_| is_written) {
                written += batch.len() as u64;
                write(flow, batch)?;
            }
            Ok(())
        };
        match self.given.take() {
            Some(Given::Dropped) => {}
            Some(Given::Summed(mut difference)) => {
                out.iter().try_for_each(|batch| difference.add(batch).map_err(of_operators))?;
                let flow = &*self.flow;
                difference.finish(|batch| {
                    let (out, unsound) = flow.checked(vec![batch])?;
                    letters.extend(unsound);
                    write(flow, out)
                })?;
            }
            None => {
                let (out, unsound) = self.flow.checked(out)?;
                letters.extend(unsound);
                write(self.flow, out)?;
            }
        }
        Ok((written, letters))
    }
}
