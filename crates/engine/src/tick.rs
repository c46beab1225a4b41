//! The tick: everything committed since the last one goes through every affected job, layer by layer, and one frame
//! publishes it all.
//!
//! What always holds: jobs run in an order in which each comes after the jobs that write its inputs, so all layers agree at
//! the end of a tick; the outputs of a job's branches are computed before any is written (where one branch reads what another
//! writes: layer by layer). A job that errs loses its state and waits for `START JOB`, which rebuilds it and corrects what its
//! tables hold by the difference; its neighbours never notice.

use std::collections::BTreeMap;
use std::time::Duration;

use gridhouse_base::{ChangeBatch, CommitId, Error, JobId, Result, TableId};
use gridhouse_flow::TickContext;
use gridhouse_store::Tick;

use crate::core::Core;
use crate::dead::{self, letters_under};
use crate::job::{Branch, Job, Target};
use crate::records::{JOBS, JobState, encode};

/// What changed in this tick, by table.
pub(crate) type Deltas = BTreeMap<TableId, Vec<ChangeBatch>>;

impl Core {
    /// Runs a tick if anything waits for one.
    pub(crate) fn tick(&mut self) -> Result<()> {
        if self.pending && !self.starting { self.tick_with(|_| {}) } else { Ok(()) }
    }

    /// Runs a tick that also carries what `add` puts into it.
    pub(crate) fn tick_with(&mut self, add: impl FnOnce(&mut Tick<'_>)) -> Result<()> {
        self.tick_writing(|tick, _| {
            add(tick);
            Ok(())
        })
        .map(|_| ())
    }

    /// Runs a tick in which `write` changes tables itself, before the jobs run; it adds the effective changes to the deltas.
    /// An error of `write` publishes nothing of it; one after that is fatal, since jobs have seen what is undone then.
    pub(crate) fn tick_writing(
        &mut self,
        write: impl FnOnce(&mut Tick<'_>, &mut Deltas) -> Result<()>,
    ) -> Result<CommitId> {
        let mut written = false;
        let published = self.write_and_publish(write, &mut written);
        match published {
            Err(error) if written => {
                let told = Error::new(error.kind(), error.to_string());
                self.fatal(error);
                Err(told)
            }
            other => other,
        }
    }

    /// One tick; `written` is set once `write` has done its part.
    fn write_and_publish(
        &mut self,
        write: impl FnOnce(&mut Tick<'_>, &mut Deltas) -> Result<()>,
        written: &mut bool,
    ) -> Result<CommitId> {
        let (now_micros, now) = (self.clock.now_micros(), self.clock.monotonic());
        let before = self.ordered();
        let mut tick = self.store.tick()?;
        let mut deltas = Deltas::new();
        // While the engine opens, jobs are rebuilt as of the last tick of the process before. What had been committed but not
        // ticked then waits until all of them are there: applied now, jobs that come later would take it for seen.
        let applied = !self.starting;
        if applied {
            for (table, batch) in tick.apply_pending()? {
                deltas.entry(table).or_default().push(batch);
            }
        }
        write(&mut tick, &mut deltas)?;
        *written = true;
        for id in &self.order {
            let job = self.jobs.get_mut(id).expect("the order names jobs that exist");
            if let Err(error) = job.run(&mut tick, &mut deltas, now_micros, now) {
                if error.kind() == gridhouse_base::ErrorKind::Unavailable {
                    return Err(error);
                }
                // It has seen everything up to the last tick, and nothing of this one.
                job.record.cursor = before;
                job.detach(JobState::Failed(crate::stream::with_remedy(&error)));
                tick.put(JOBS, &id.0.to_string(), Some(&encode(&job.record)));
                tracing::error!(job = job.record.name, "{error}");
                self.failed.push(*id);
            }
        }
        let changed: Vec<(TableId, u64)> =
            deltas.iter().map(|(table, batches)| (*table, batches.iter().map(|b| b.len() as u64).sum())).collect();
        let commit = tick.publish()?;
        self.pending &= !applied;
        let event_time = self.pending_event_time.take();
        for (table, changes) in &changed {
            let stats = self.stats.entry(*table).or_default();
            stats.changes += changes;
            stats.last_commit = commit;
        }
        if let Some(time) = event_time {
            self.shared.note_event_time(commit, time);
        }
        self.undurable.push((commit, changed.into_iter().map(|(table, _)| table).collect(), event_time));
        self.want_sync();
        Ok(commit)
    }
}

impl Job {
    /// Passes the tick's changes through this job and writes what comes out.
    fn run(&mut self, tick: &mut Tick<'_>, deltas: &mut Deltas, now_micros: i64, now: Duration) -> Result<()> {
        let mut outputs = Vec::new();
        for branch in &mut self.branches {
            let Branch::Flow(flow) = branch else { continue };
            // A layer that another branch of this job writes must stand before the next is made from it.
            let fed =
                |(target, _): &(Target, Vec<ChangeBatch>)| flow.inputs.iter().any(|read| read.table == target.table);
            if outputs.iter().any(fed) {
                self.rows_out += write_all(std::mem::take(&mut outputs), tick, deltas)?;
            }
            let mut touched = false;
            for input in 0..flow.inputs.len() {
                let (table, columns) = (flow.inputs[input].table, flow.inputs[input].columns.clone());
                for batch in deltas.get(&table).into_iter().flatten() {
                    touched |= !batch.is_empty();
                    flow.push(input, batch.project(&columns))?;
                }
            }
            if !touched {
                continue;
            }
            let context = TickContext { now_micros, zone: flow.zone };
            let (out, letters) = flow.finish(&context)?;
            flow.note(now);
            if let Some(table) = flow.dead_letters.filter(|_| !letters.is_empty()) {
                let effective = dead::add(tick, table, letters_under(&self.record), now_micros, letters)?;
                deltas.entry(table).or_default().push(effective);
            }
            outputs.push((flow.target.clone(), out));
        }
        self.rows_out += write_all(outputs, tick, deltas)?;
        Ok(())
    }
}

/// Writes outputs into their targets; gives how many rows they had.
fn write_all(outputs: Vec<(Target, Vec<ChangeBatch>)>, tick: &mut Tick<'_>, deltas: &mut Deltas) -> Result<u64> {
    let mut rows = 0;
    for (target, out) in outputs {
        for batch in out {
            rows += batch.len() as u64;
            let effective = target.write(tick, &batch)?;
            if !effective.is_empty() {
                deltas.entry(target.table).or_default().push(effective);
            }
        }
    }
    Ok(rows)
}

/// The order in which jobs run: each after the jobs that write its inputs.
///
/// # Errors
/// `Conflict` where jobs feed each other in a circle.
pub(crate) fn order_jobs(jobs: &BTreeMap<JobId, Job>) -> Result<Vec<JobId>> {
    let mut writers: BTreeMap<TableId, Vec<JobId>> = BTreeMap::new();
    for (id, job) in jobs {
        for table in job.written() {
            writers.entry(table).or_default().push(*id);
        }
    }
    let mut order = Vec::new();
    let mut marks: BTreeMap<JobId, bool> = BTreeMap::new();
    for id in jobs.keys() {
        place(*id, jobs, &writers, &mut marks, &mut order)?;
    }
    Ok(order)
}

/// Puts a job behind the jobs that feed it. A mark is false while the job's feeders are being placed.
fn place(
    id: JobId,
    jobs: &BTreeMap<JobId, Job>,
    writers: &BTreeMap<TableId, Vec<JobId>>,
    marks: &mut BTreeMap<JobId, bool>,
    order: &mut Vec<JobId>,
) -> Result<()> {
    match marks.get(&id) {
        Some(true) => return Ok(()),
        Some(false) => {
            let name = &jobs[&id].record.name;
            return Err(Error::conflict(format!("job {name} would feed itself"))
                .hint("write into a table that none of its inputs is made from"));
        }
        None => {}
    }
    marks.insert(id, false);
    for table in jobs[&id].read() {
        // Branches of one job feed each other inside its own run.
        for feeder in writers.get(&table).into_iter().flatten().filter(|feeder| **feeder != id) {
            place(*feeder, jobs, writers, marks, order)?;
        }
    }
    marks.insert(id, true);
    order.push(id);
    Ok(())
}
