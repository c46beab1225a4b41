//! The first output of a dataflow that is built anew.
//!
//! Its inputs are taken as they stand; what comes out is written whole where the target knows nothing of the job yet, is
//! compared with what the target holds where the job is its only writer, and is left out where the target has it already. A
//! target that only grows gets what came after the job's cursor.
//!
//! Where rows of an input have expired that the job has not seen, or whose results would be withdrawn because nothing is left
//! to compute them from, that is told and refused, unless the user has accepted it.

use gridhouse_base::{ChangeBatch, CommitId, Error, Result};
use gridhouse_flow::{Piece, TickContext, consolidate};
use gridhouse_store::Snapshot;

use crate::dead::Letter;
use crate::deltas::{Delta, Deltas};
use crate::job::Flow;
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
}

impl Build<'_> {
    /// Feeds the inputs as they stand, and gives what is to be written, and all rows of theirs that cannot be computed. `deltas` holds what other `INSERT`s of the same job
    /// have written in this tick, which the snapshot does not show yet; `outside` what was read of outside tables for this one
    /// run.
    pub(crate) fn first_output(
        &self,
        flow: &mut Flow,
        snapshot: &Snapshot,
        deltas: &Deltas,
        outside: &OutsideRows,
    ) -> Result<(Vec<ChangeBatch>, Vec<Letter>)> {
        let context = TickContext { now_micros: self.now_micros, zone: flow.zone };
        let growing = flow.target.key.is_empty();
        if self.gaps == Gaps::Refused {
            self.refuse_gap(flow, snapshot, growing)?;
        }
        if growing && self.output != Output::Whole {
            // The target only grows: what came after the cursor is new, everything before is there.
            let cursor = if self.was_running { snapshot.commit() } else { self.cursor };
            self.feed_log(flow, snapshot, cursor, false)?;
            let (_, mut letters) = flow.finish(&context)?;
            self.feed_log(flow, snapshot, cursor, true)?;
            feed_deltas(flow, deltas)?;
            let (out, new_letters) = flow.finish(&context)?;
            letters.extend(new_letters);
            if flow.target.kinds_inside && self.was_running {
                return Ok((Vec::new(), letters));
            }
            return Ok((out, letters));
        }
        for i in 0..flow.inputs.len() {
            let input = flow.inputs[i].clone();
            for batch in outside.rows(input.table).unwrap_or_default() {
                flow.push(i, batch.project(&input.columns), Piece::default())?;
            }
            let Ok(table) = snapshot.table(input.table) else { continue };
            if input.in_order {
                let mut last = None;
                for entry in table.changes(table.log_start())? {
                    let (commit, batch) = entry?;
                    let columns = input.columns.iter().map(|&c| batch.columns[c].clone()).collect();
                    // What came in one tick is judged as one.
                    let piece = Piece { continues: last.replace(commit) == Some(commit), goes_on: false };
                    flow.push(i, ChangeBatch::insertions(columns, batch.len()), piece)?;
                }
                continue;
            }
            for batch in table.scan(Some(&input.columns)) {
                flow.push(i, batch?, Piece::default())?;
            }
        }
        feed_deltas(flow, deltas)?;
        let (out, letters) = flow.finish(&context)?;
        let comparable = self.sole && flow.target.columns.is_none();
        let out = match self.output {
            Output::Whole => out,
            Output::Nothing => Vec::new(),
            Output::Difference if comparable => {
                let mut all = out;
                if let Ok(table) = snapshot.table(flow.target.table) {
                    for batch in table.scan(None) {
                        all.push(batch?.negated());
                    }
                }
                let difference = consolidate(&all, &flow.target.schema)?;
                if !difference.is_empty() {
                    tracing::info!(
                        target_table = flow.target.name,
                        rows = difference.len(),
                        "the rebuilt job corrects its target"
                    );
                }
                vec![difference]
            }
            Output::Difference if self.was_running => Vec::new(),
            Output::Difference => out,
        };
        Ok((out, letters))
    }

    /// Refuses where rows of a log have expired that are missing then.
    fn refuse_gap(&self, flow: &Flow, snapshot: &Snapshot, growing: bool) -> Result<()> {
        for input in &flow.inputs {
            let Ok(table) = snapshot.table(input.table) else { continue };
            let (start, name) = (table.log_start(), &table.spec().name);
            if table.spec().log_ttl_ms.is_none() || start == CommitId(0) {
                continue;
            }
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
                    return Err(Error::conflict(format!(
                        "job {job} has to be built anew, and rows of {name} up to {start} have expired ('table.log.ttl'): what it has made of them would be withdrawn from {}",
                        flow.target.name
                    ))
                    .hint(format!(
                        "{accept}, to have what the rows that are left come to; or DROP JOB, and let a new job write into another table"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Feeds the rows that log inputs took up to `cursor`, or after it. An input with a key is fed as it stands, before.
    fn feed_log(&self, flow: &mut Flow, snapshot: &Snapshot, cursor: CommitId, after: bool) -> Result<()> {
        for i in 0..flow.inputs.len() {
            let input = flow.inputs[i].clone();
            let Ok(table) = snapshot.table(input.table) else { continue };
            if !table.spec().primary_key.is_empty() {
                if !after {
                    for batch in table.scan(Some(&input.columns)) {
                        flow.push(i, batch?, Piece::default())?;
                    }
                }
                continue;
            }
            // A log that was emptied begins behind what it held; there is nothing older to take.
            let start = table.log_start();
            let mut last = None;
            for entry in table.changes(if after { cursor.max(start) } else { start })? {
                let (commit, batch) = entry?;
                if !after && commit > cursor {
                    break;
                }
                let columns = input.columns.iter().map(|&c| batch.columns[c].clone()).collect();
                let piece = Piece { continues: last.replace(commit) == Some(commit), goes_on: false };
                flow.push(i, ChangeBatch::insertions(columns, batch.len()), piece)?;
            }
        }
        Ok(())
    }
}

fn feed_deltas(flow: &mut Flow, deltas: &Deltas) -> Result<()> {
    for i in 0..flow.inputs.len() {
        let (table, columns) = (flow.inputs[i].table, flow.inputs[i].columns.clone());
        for Delta { rows, piece } in deltas.of(table) {
            flow.push(i, rows.project(&columns), *piece)?;
        }
    }
    Ok(())
}
