//! The tick: everything committed since the last one goes through every affected job, layer by layer, and one frame
//! publishes it all. It goes in rounds of a bounded number of rows, each through all jobs before the next, so that a source's
//! transaction of any size needs bounded memory; readers see nothing before the last.
//!
//! What always holds: jobs run in an order in which each comes after the jobs that write its inputs, so all layers agree at
//! the end of a tick; the outputs of a job's branches are computed before any is written (where one branch reads what another
//! writes: layer by layer). A job that errs loses its state and waits for `START JOB` (or for the outside that did not answer it),
//! is rebuilt and corrects what its tables hold by the difference; its neighbours never notice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridhouse_base::{ChangeBatch, CommitId, Error, JobId, Result, TableId};
use gridhouse_flow::TickContext;
use gridhouse_store::Tick;

use crate::awaiting::{LookupPlace, Wait};
use crate::core::{Core, relieve};
use crate::dead::{self, letters_under};
use crate::deltas::{Delta, Deltas, Writer};
use crate::job::{Branch, Job, Target};
use crate::records::{JOBS, JobState, encode};
use crate::trace::{TickNote, Work};

/// How many source rows a round takes: some 10 MB at a hundred bytes a row, and as much again for each layer that they go
/// through; large enough that what each round costs anew does not count.
pub(crate) const ROUND_ROWS: usize = 65_536;

impl Core {
    /// Runs a tick if anything waits for one.
    pub(crate) fn tick(&mut self) -> Result<()> {
        if self.pending && !self.starting { self.tick_with(|_| {}) } else { Ok(()) }
    }

    /// Runs a tick that also carries what `add` puts into it.
    pub(crate) fn tick_with(&mut self, add: impl FnOnce(&mut Tick<'_>)) -> Result<()> {
        let carried = self.carry_out(|tick, _| {
            add(tick);
            Ok(())
        });
        carried.map(|_| ())
    }

    /// Runs a tick in which `write` changes tables itself, before the jobs run; it adds the effective changes to the deltas.
    /// An error of `write` publishes nothing of it; one after that is fatal, since jobs have seen what is undone then.
    pub(crate) fn tick_writing(
        &mut self,
        write: impl FnOnce(&mut Tick<'_>, &mut Deltas) -> Result<()>,
    ) -> Result<CommitId> {
        if !self.starting && !self.store.waits_for_one_step(self.tuning.round_rows) {
            // `write` may fail, and must not find jobs that have seen part of its tick.
            self.tick()?;
        }
        self.carry_out(write)
    }

    fn carry_out(&mut self, write: impl FnOnce(&mut Tick<'_>, &mut Deltas) -> Result<()>) -> Result<CommitId> {
        if self.shared.is_closed() {
            return Err(Error::unavailable("the engine has stopped"));
        }
        let mut seen = false;
        let published = self.write_and_publish(write, &mut seen);
        match published {
            Err(error) if seen => {
                let told = error.again();
                self.fatal(error);
                Err(told)
            }
            other => other,
        }
    }

    /// One tick; `seen` is set once jobs have seen something of it.
    fn write_and_publish(
        &mut self,
        write: impl FnOnce(&mut Tick<'_>, &mut Deltas) -> Result<()>,
        seen: &mut bool,
    ) -> Result<CommitId> {
        let before = self.ordered();
        let mut work = Work { begun: self.clock.now_micros(), ..Work::default() };
        let mut tick = self.store.tick()?;
        // The tick's own clock, so that who reads it in the log later has the same.
        let now = (tick.time_micros(), self.clock.monotonic());
        let mut deltas = Deltas::default();
        let mut write = Some(write);
        // While the engine opens, jobs are rebuilt as of the last tick of the process before. What had been committed but not
        // ticked then waits until all of them are there: applied now, jobs that come later would take it for seen.
        let applies = !self.starting;
        let read: BTreeSet<TableId> = self.jobs.values().flat_map(Job::flow_inputs).collect();
        let mut moment = now.1;
        self.away.take();
        loop {
            let step = if applies {
                tick.apply_step_for(self.tuning.round_rows, &|table| read.contains(&table))?
            } else {
                None
            };
            let is_last = step.as_ref().is_none_or(|step| step.is_last);
            deltas.begin_round(!is_last);
            step.into_iter().flat_map(|step| step.changes).for_each(|change| deltas.applied(change));
            if let Some(write) = write.take_if(|_| is_last) {
                write(&mut tick, &mut deltas)?;
            }
            *seen = true;
            // How long something has taken since the last time that this was asked.
            let clock = self.clock.clone();
            let mut lap = || {
                let before = std::mem::replace(&mut moment, clock.monotonic());
                moment.saturating_sub(before)
            };
            work.applying += lap();
            for id in &self.order {
                let job = self.jobs.get_mut(id).expect("the order names jobs that exist");
                let run = job.run(&mut tick, &mut deltas, now);
                let took = lap();
                let error = match run {
                    Err(error) => error,
                    Ok(had_work) => {
                        if had_work {
                            work.job(*id, took);
                        }
                        continue;
                    }
                };
                // What the store could not read or write is no fault of the job, and the tick cannot go on without it.
                if error.kind() == gridhouse_base::ErrorKind::Unavailable || tick.is_broken() {
                    return Err(error);
                }
                let left = leave(&mut self.jobs, *id, (&error, self.away.take()), &mut tick, &mut deltas, before)?;
                self.followers.extend(left.iter().filter(|follower| *follower != id));
                self.failed.extend(left);
            }
            relieve(&self.governor, &mut self.jobs);
            if is_last {
                break;
            }
        }
        let commit = tick.publish()?;
        self.pending &= !applies;
        let arrival = self.pending_arrival.take();
        let event_time = self.pending_event_time.take();
        for (table, changes) in deltas.changed() {
            let stats = self.stats.entry(table).or_default();
            stats.changes += changes;
            stats.last_commit = commit;
        }
        if let Some(time) = event_time {
            self.shared.note_event_time(commit, time);
        }
        if let Some(arrival) = arrival {
            self.shared.trace().ticked(TickNote::new(commit, arrival, work, self.clock.now_micros()));
        }
        self.undurable.push((commit, deltas.changed().map(|(table, _)| table).collect(), event_time));
        self.want_sync();
        Ok(commit)
    }
}

/// Takes a job that has failed out of the tick; gives the jobs that have left. What it has written in the rounds before is
/// taken back, so that it has seen everything up to the last tick and nothing of this one. Jobs that have taken in some of
/// that leave with it, and those that wrote into the same tables.
fn leave(
    jobs: &mut BTreeMap<JobId, Job>,
    failed: JobId,
    (error, mut away): (&Error, Option<LookupPlace>),
    tick: &mut Tick<'_>,
    deltas: &mut Deltas,
    before: CommitId,
) -> Result<BTreeSet<JobId>> {
    let wrote = |id: JobId, job: &Job| -> Vec<TableId> {
        job.targets().filter(|table| deltas.has_written(Writer::Job(id), *table)).collect()
    };
    let mut leaving = BTreeSet::from([failed]);
    let mut undone: BTreeSet<TableId> = wrote(failed, &jobs[&failed]).into_iter().collect();
    loop {
        let touched = |(id, job): &(&JobId, &Job)| {
            !leaving.contains(*id)
                && (job.flow_inputs().any(|table| undone.contains(&table))
                    || wrote(**id, job).iter().any(|table| undone.contains(table)))
        };
        let more: Vec<JobId> = jobs.iter().filter(touched).map(|(id, _)| *id).collect();
        if more.is_empty() {
            break;
        }
        undone.extend(more.iter().flat_map(|id| wrote(*id, &jobs[id])));
        leaving.extend(more);
    }
    for table in undone {
        if deltas.writers(table).all(|writer| matches!(writer, Writer::Job(id) if leaving.contains(&id))) {
            tick.restore(table)?;
            deltas.take_back(table);
        } else {
            tracing::warn!(%table, "a source wrote in the same transaction what a failed job wrote; both stand");
        }
    }
    let name = jobs[&failed].record.name.clone();
    for id in &leaving {
        let job = jobs.get_mut(id).expect("jobs that leave are there");
        job.record.cursor = before;
        let why = crate::stream::with_remedy(error);
        if *id != failed {
            // It goes on by itself at once, and if the process ends before, when the next one begins.
            job.detach(JobState::Waiting(format!(
                "job {name} ({}), whose rows it takes in, failed in the middle of a transaction",
                failed.0
            )));
        } else if let Some(away) = away.take() {
            tracing::warn!(job = name, "it waits, and goes on by itself: {why}");
            job.detach(JobState::Waiting(why));
            job.wait = Some(Wait::new(away));
        } else {
            tracing::error!(job = name, "{why}");
            job.detach(JobState::Failed(why));
        }
        tick.put(JOBS, &id.0.to_string(), Some(&encode(&job.record)));
    }
    Ok(leaving)
}

impl Job {
    /// Passes the round's changes through this job and writes what comes out; gives whether there were any. `now` is the time of
    /// day in microseconds, and that of a monotonic clock.
    fn run(&mut self, tick: &mut Tick<'_>, deltas: &mut Deltas, now: (i64, Duration)) -> Result<bool> {
        let (mut outputs, mut had_work) = (Vec::new(), false);
        let id = self.record.id;
        for branch in &mut self.branches {
            let Branch::Flow(flow) = branch else { continue };
            // A layer that another branch of this job writes must stand before the next is made from it.
            let fed =
                |(target, _): &(Target, Vec<ChangeBatch>)| flow.inputs.iter().any(|read| read.table == target.table);
            if outputs.iter().any(fed) {
                self.rows_out += write_all(id, std::mem::take(&mut outputs), tick, deltas)?;
            }
            // What was left open by the round before is ended, if by nothing else.
            let mut touched = std::mem::take(&mut flow.is_open);
            for input in 0..flow.inputs.len() {
                let (table, columns) = (flow.inputs[input].table, flow.inputs[input].columns.clone());
                for Delta { rows, piece } in deltas.of(table) {
                    touched = true;
                    flow.is_open |= piece.goes_on;
                    flow.push(input, rows.project(&columns), *piece)?;
                }
            }
            if !touched {
                continue;
            }
            had_work = true;
            let context = TickContext { now_micros: now.0, zone: flow.zone };
            let (out, letters) = flow.finish(&context)?;
            flow.note(now.1);
            if let Some(table) = flow.dead_letters.filter(|_| !letters.is_empty()) {
                let effective = dead::add(tick, table, letters_under(&self.record), now.0, letters)?;
                deltas.push(table, effective);
            }
            outputs.push((flow.target.clone(), out));
        }
        self.rows_out += write_all(id, outputs, tick, deltas)?;
        Ok(had_work)
    }
}

/// Writes a job's outputs into their targets; gives how many rows they had.
fn write_all(
    job: JobId,
    outputs: Vec<(Target, Vec<ChangeBatch>)>,
    tick: &mut Tick<'_>,
    deltas: &mut Deltas,
) -> Result<u64> {
    let mut rows = 0;
    for (target, out) in outputs {
        for batch in out {
            rows += batch.len() as u64;
            let effective = target.write(tick, &batch)?;
            deltas.push_by(Writer::Job(job), target.table, effective);
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
