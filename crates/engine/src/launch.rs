//! How a job begins, and goes on after a stop or a restart.
//!
//! A new job's tables, record and first results are one tick: after a crash there is either all of it or nothing. A job
//! that goes on is rebuilt: its dataflow takes its inputs as they stand in one hidden tick, and what comes out is compared
//! with what its target holds, so that only differences are written. Where the target has other writers, or the query reads
//! the clock, there is nothing to compare with: the stored rows stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{CommitId, Error, ErrorKind, JobId, Result, SourceId, TableId};
use gridhouse_expr::EvalContext;
use gridhouse_flow::TickContext;
use gridhouse_flow::connector::{SinkDescription, SinkWriter, SourceTable, StreamPlace};
use gridhouse_sql::plan::written_columns;

use crate::core::Core;
use crate::dead::{self, Letter, letters_under};
use crate::dml::ONCE;
use crate::handover::{Before, Handover};
use crate::held::{forget_sink, held_name};
use crate::history::History;
use crate::job::{Began, Branch, Flow, Job};
use crate::landing::Landing;
use crate::lower::{Ground, Lowered, lower};
use crate::place;
use crate::prepare::{Prepared, Route};
use crate::query::zone_of;
use crate::rebuild::{Build, GAPS, Gaps, Output, does_not_come_again, has_expired, would_withdraw};
use crate::records::{
    COUNTERS, Environment, InsertRecord, JOBS, JobRecord, JobState, STREAMS, SourceUse, StreamRecord, encode,
};
use crate::retire::{Left, REPLACED, part_with, source_tables};
use crate::sink::{Place, SinkHandle, SinkPlan, Surroundings};
use crate::stream::{Stream, StreamState};
use crate::tick::order_jobs;
use crate::wiring::{
    gone, hidden_landing, hidden_landing_of, insert_of, land, lands_hidden, left_out_by, letters_of, owner_of,
    read_anew, sink_name, start_of, target_of,
};
use crate::writers::OutsideWriter;

/// The counter of job numbers. The outside knows a sink by its job's number, so that is never used again.
pub(crate) const JOB_COUNTER: &str = "job";

/// The counter of stream numbers.
pub(crate) const SOURCE_COUNTER: &str = "source";

/// A job to begin.
pub(crate) struct Submission {
    pub(crate) inserts: Vec<Prepared>,
    pub(crate) name: String,
    pub(crate) environment: Environment,
    /// The run of a script that it comes from.
    pub(crate) script: u64,
    /// Whether other jobs may write into the same targets.
    pub(crate) additional: bool,
    /// The job that it takes the place of.
    pub(crate) replace: Option<JobId>,
    /// What is to happen where rows that it needs have expired.
    pub(crate) gaps: Gaps,
}

/// The `INSERT`s of a job so that each comes behind those that write its inputs; where there is a circle, as they are.
fn in_order(mut inserts: Vec<Prepared>) -> Vec<Prepared> {
    let mut ordered = Vec::with_capacity(inserts.len());
    while !inserts.is_empty() {
        let waits = |i: &usize| {
            let tables = inserts[*i].bound.plan.tables();
            let feeds =
                |(j, other): (usize, &Prepared)| j != *i && tables.iter().any(|t| t.path == other.bound.target.path);
            inserts.iter().enumerate().any(feeds)
        };
        let next = (0..inserts.len()).find(|i| !waits(i)).unwrap_or(0);
        ordered.push(inserts.remove(next));
    }
    ordered
}

impl Core {
    /// Begins a job, or goes on with the one that is already there. Gives the job, the tick that holds it, and whether it
    /// was there.
    ///
    /// # Errors
    /// `Conflict` where an earlier script's job writes into the target, or the job would feed itself.
    pub(crate) fn submit(&mut self, mut submission: Submission) -> Result<(JobId, CommitId, bool)> {
        submission.inserts = in_order(submission.inserts);
        let same = |job: &Job| {
            let inserts = &job.record.inserts;
            inserts.len() == submission.inserts.len()
                && inserts
                    .iter()
                    .zip(&submission.inserts)
                    .all(|(a, b)| a.target == b.bound.target.path && a.fingerprint == b.fingerprint)
        };
        let finished = self.jobs.values().find(|job| same(job) && job.record.state == JobState::Finished);
        if let Some(id) = finished.map(|job| job.record.id) {
            // Its input had an end, so the statement means: once more.
            self.drop_job(id)?;
        }
        if let Some((id, job)) = self.jobs.iter_mut().find(|(_, job)| same(job)) {
            let id = *id;
            let was_wanted = job.record.state.is_wanted();
            job.script = submission.script;
            let mut former = None;
            let mut is_taken_up = !was_wanted;
            if job.record.environment != submission.environment {
                // The same job by another way, a new password perhaps: it goes on by the way that was named last.
                former = Some(std::mem::replace(&mut job.record.environment, submission.environment));
                if was_wanted {
                    self.make_way(id, self.reads_on(id, &submission.inserts))?;
                }
                is_taken_up = true;
            }
            if is_taken_up {
                self.away.take();
                let resumed = self.resume(id, submission.inserts, submission.gaps);
                if let Err(error) = resumed {
                    let told = error.again();
                    if let Some(former) = former.filter(|_| error.kind() == ErrorKind::Conflict) {
                        // It cannot go on by that way, and does by the one before.
                        self.go_back(id, former, was_wanted)?;
                    } else if was_wanted && self.jobs[&id].is_replaced() {
                        // Nobody has stopped it: it waits for what is away, as it would have without this, or has failed.
                        self.give_up(id, error)?;
                    }
                    return Err(told);
                }
            }
            return Ok((id, self.ordered(), true));
        }
        let targets: BTreeSet<&ObjectPath> =
            submission.inserts.iter().map(|insert| &insert.bound.target.path).collect();
        for job in self.jobs.values() {
            let Some(shared) = job.record.inserts.iter().find(|insert| targets.contains(&insert.target)) else {
                continue;
            };
            if submission.additional || job.script == submission.script || submission.replace == Some(job.record.id) {
                continue;
            }
            let (name, id) = (&job.record.name, job.record.id.0);
            return Err(Error::conflict(format!("job {name} ({id}) already writes into {} with another query", shared.target))
                .hint(format!(
                    "put REPLACE JOB {id} AS before the INSERT to take its place, DROP JOB {id} first, or SET 'writer' = 'additional' to let both write"
                )));
        }
        let id = match submission.replace {
            Some(id) => id,
            None => self.next_job(),
        };
        self.check_filters(id, &submission.inserts)?;
        let record = JobRecord {
            id,
            name: submission.name,
            inserts: Vec::new(),
            environment: submission.environment,
            state: JobState::Running,
            cursor: CommitId(0),
        };
        if submission.replace.is_some() {
            self.take_place(record, submission.inserts, submission.script, submission.gaps)?;
        } else {
            self.assemble(record, submission.inserts, None, (Output::Whole, submission.gaps), submission.script)?;
        }
        Ok((id, self.ordered(), false))
    }

    /// Has a job go on by the way that was named before, if it is to run.
    fn go_back(&mut self, id: JobId, former: Environment, was_wanted: bool) -> Result<()> {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_replaced() || job.record.state == JobState::Stopped)
        else {
            return Ok(());
        };
        job.record.environment = former;
        let record = job.record.clone();
        if !was_wanted {
            return self.tick_with(|tick| tick.put(JOBS, &id.0.to_string(), Some(&encode(&record))));
        }
        self.put_back(&record, Gaps::Refused)
    }

    /// Stops a job in whose place another begins at once; with `reads_on` what its sources deliver lands meanwhile.
    fn make_way(&mut self, id: JobId, reads_on: bool) -> Result<()> {
        let state = JobState::Waiting(REPLACED.into());
        if reads_on { self.set_aside(id, state) } else { self.halt(id, state) }
    }

    /// Has a job go on as it was that is not replaced after all.
    fn put_back(&mut self, record: &JobRecord, gaps: Gaps) -> Result<()> {
        let Err(error) = self.resume_as(record, gaps) else { return Ok(()) };
        tracing::error!(job = record.name, "the job that was to be replaced does not go on: {error}");
        if self.jobs[&record.id].is_replaced() { self.give_up(record.id, error) } else { Ok(()) }
    }

    /// Begins a job in the place of the one that has its number. Where that fails, the old one goes on.
    fn take_place(&mut self, record: JobRecord, mut inserts: Vec<Prepared>, script: u64, gaps: Gaps) -> Result<()> {
        let id = record.id;
        let job = self.jobs.get(&id).ok_or_else(|| Error::not_found(format!("there is no job {}", id.0)))?;
        let was_running = job.record.state == JobState::Running;
        self.check_circle(id, &inserts)?;
        if was_running {
            if gaps == Gaps::Refused {
                self.check_gaps(&record.name, &inserts)?;
            }
            // What would not come again is not given up; anything else comes once more, for the new query.
            let mut sources = inserts.iter().flat_map(|insert| &insert.sources);
            let comes_again = sources.any(|source| left_out_by(&self.connectors, &source.definition).is_none());
            self.make_way(id, !comes_again && self.reads_on(id, &inserts))?;
        }
        let old = self.jobs[&id].record.clone();
        for (i, insert) in inserts.iter_mut().enumerate().filter(|(_, insert)| insert.sink.is_some()) {
            // The outside holds what the old query gave. A table of the new one's own tells what has changed against it; rows
            // without a key do not change.
            if !self.stays_a_copy(&old, i, insert) {
                insert.route = Route::Flow;
            }
        }
        let begun = self.assemble(record, inserts, Some(&old), (Output::Difference, gaps), script);
        if begun.is_err() && was_running && self.jobs[&id].is_replaced() {
            self.put_back(&old, gaps)?;
        }
        begun
    }

    /// Refuses a query that would take the place of a running one, whose operators would then be gone, and could not be built.
    fn check_gaps(&self, job: &str, inserts: &[Prepared]) -> Result<()> {
        let snapshot = self.store.ordered_snapshot();
        for insert in inserts.iter().filter(|insert| !insert.bound.target.primary_key.is_empty()) {
            for table in insert.bound.plan.tables() {
                let log = self.catalog.table_id(&table.path).and_then(|id| snapshot.table(id).ok());
                if let Some(log) = log.filter(has_expired) {
                    let target = insert.bound.target.path.to_string();
                    return Err(would_withdraw(job, &log, &target).hint(format!(
                        "SET '{GAPS}' = 'accept', then replace it again, to have what the rows that are left come to"
                    )));
                }
            }
        }
        Ok(())
    }

    fn next_job(&self) -> JobId {
        JobId(self.job_counter.max(self.jobs.keys().last().map_or(0, |id| id.0)) + 1)
    }

    /// Goes on with a job by what it has on record.
    ///
    /// # Errors
    /// Those of binding its statements, and of [`Self::resume`].
    pub(crate) fn resume_as(&mut self, record: &JobRecord, gaps: Gaps) -> Result<()> {
        self.away.take();
        crate::boot::bind(self, record).and_then(|inserts| self.resume(record.id, inserts, gaps))
    }

    /// Goes on with a job that was stopped or failed.
    ///
    /// # Errors
    /// Those of the store, and of a row that the query cannot compute; `Conflict` where rows have expired that it has not seen, or
    /// whose results it would withdraw.
    pub(crate) fn resume(&mut self, id: JobId, inserts: Vec<Prepared>, gaps: Gaps) -> Result<()> {
        let job = self.jobs.get(&id).ok_or_else(|| Error::not_found(format!("there is no job {}", id.0)))?;
        let mut record = job.record.clone();
        let (old, script) = (record.clone(), job.script);
        record.state = JobState::Running;
        self.assemble(record, inserts, Some(&old), (Output::Difference, gaps), script)
    }

    /// Brings a job back that was running when the process ended; what it had written is there. Operators whose state was
    /// kept go on with it, others are rebuilt.
    ///
    /// # Errors
    /// Those of the store, and of a row that the query cannot compute.
    pub(crate) fn rebuild(&mut self, record: JobRecord, inserts: Vec<Prepared>) -> Result<()> {
        let (old, id) = (record.clone(), record.id);
        let output = if inserts.iter().all(|insert| insert.is_pure) { Output::Difference } else { Output::Nothing };
        self.assemble(record, inserts, Some(&old), (output, Gaps::Refused), 0)?;
        if let Some(job) = self.jobs.get(&id) {
            match &job.began {
                Began::Rebuilt(why) => tracing::info!(job = job.record.name, "rebuilt from its inputs: {why}"),
                began => tracing::info!(job = job.record.name, "{}", began.word()),
            }
        }
        Ok(())
    }

    /// Builds the job's branches, writes its first output in one tick with its record, and starts its streams and sinks.
    fn assemble(
        &mut self,
        mut record: JobRecord,
        inserts: Vec<Prepared>,
        old: Option<&JobRecord>,
        (output, gaps): (Output, Gaps),
        script: u64,
    ) -> Result<()> {
        self.check_circle(record.id, &inserts)?;
        // What waits is applied first, so that the inputs' last state is all that the new job has to take.
        self.tick()?;
        let snapshot = self.store.ordered_snapshot();
        let catalog = self.catalog.clone();
        let (connectors, away) = (self.connectors.clone(), self.away.clone());
        let mut streams: BTreeMap<SourceId, StreamRecord> =
            self.streams.iter().map(|(id, stream)| (*id, stream.record.clone())).collect();
        let handovers = self.handovers(old, &inserts)?;
        let sole = inserts.iter().map(|insert| self.is_sole_writer(record.id, &inserts, insert)).collect::<Vec<_>>();
        let now_micros = self.clock.now_micros();
        let store_changes = old.map_or(CommitId(0), |old| old.cursor);
        let (mut kept, lost) = self.kept.take(record.id);
        // What was kept knows nothing of what jobs before it have corrected since the start.
        let corrected: BTreeSet<TableId> =
            self.stats.iter().filter(|(_, s)| s.changes > 0).map(|(id, _)| *id).collect();
        let mut began = if old.is_some() { Began::Resumed } else { Began::New };
        let began_out = &mut began;
        let governor = self.governor.clone();
        let was_running = old.is_some_and(|old| old.state == JobState::Running);
        let mut branches = Vec::new();
        let mut sinks = Vec::new();
        let mut rows_out = 0;
        let branches_out = &mut branches;
        let sinks_out = &mut sinks;
        let record_out = &mut record;
        let streams_out = &mut streams;
        let rows = &mut rows_out;
        // What is written here is taken in by jobs that run, and by later `INSERT`s of this one.
        let own = inserts.iter().flat_map(|insert| insert.bound.plan.tables());
        let mut read: BTreeSet<TableId> = own.filter_map(|table| catalog.table_id(&table.path)).collect();
        read.extend(self.jobs.values().flat_map(Job::flow_inputs));
        let zone = zone_of(&record_out.environment.settings)?;
        let (clock, hash, round_rows) = (self.clock.clone(), self.tuning.hash, self.tuning.round_rows);
        let mut counter = self.source_counter;
        let counter_out = &mut counter;
        let job_counter = self.job_counter.max(record_out.id.0);
        // What another query in this one's place read may be nobody's from now on. At a start not all jobs are known yet, and each
        // reads what it did.
        let others = self.jobs.values().filter(|job| job.record.id != record_out.id);
        let read_by_others: BTreeSet<(SourceId, u32)> = others.flat_map(|job| source_tables(&job.record)).collect();
        let may_leave = old.is_some() && !self.starting;
        let own = old.filter(|_| may_leave).into_iter().flat_map(source_tables);
        let own: BTreeSet<(SourceId, u32)> = own.filter(|id| !read_by_others.contains(id)).collect();
        let mut left = Vec::new();
        let left_out = &mut left;
        self.tick_writing(|tick, deltas| {
            let mut records = Vec::new();
            let mut letters_by_table: BTreeMap<TableId, Vec<Letter>> = BTreeMap::new();
            let mut goes_on: BTreeSet<TableId> = BTreeSet::new();
            for (i, left) in old.into_iter().flat_map(|old| old.inserts.iter().enumerate()) {
                let next = inserts.get(i).filter(|insert| insert.bound.target.path == left.target);
                let relays = next.is_some_and(|next| matches!(next.route, Route::Relay { .. }));
                if left.outbox.is_some() || !relays {
                    // A user's table that its sink was read from, and is no more: its log is not to be kept for that.
                    let name = sink_name(record_out.id, i, &left.target);
                    for (_, table, _) in snapshot.cursors().filter(|(of, ..)| *of == name || *of == held_name(&name)) {
                        let is_before = |before: &Before| before.table == table;
                        let taken_over = matches!(handovers.get(i), Some(Handover::Whole(before)) if is_before(before));
                        if left.outbox != Some(table) && !taken_over && !left.before.as_ref().is_some_and(is_before) {
                            forget_sink(tick, &name, Some(table))?;
                        }
                    }
                }
                // Gone before a table of the same name is made.
                if next.is_none() {
                    left.hidden().try_for_each(|table| tick.drop_table(table))?;
                }
            }
            for (i, insert) in inserts.iter().enumerate() {
                let target_def = &insert.bound.target;
                let before = insert_of(old, i, &target_def.path);
                let mut insert_record = InsertRecord {
                    text: insert.text.clone(),
                    target: target_def.path.clone(),
                    fingerprint: insert.fingerprint.clone(),
                    outbox: before.and_then(|before| before.outbox),
                    sources: Vec::new(),
                    sink: insert.sink.as_ref().map(|sink| sink.mode.into()),
                    forgets: insert.sink.as_ref().is_some_and(|sink| !sink.exactly_once),
                    target_key: insert.sink.as_ref().map_or_else(String::new, |sink| sink.target_key.clone()),
                    begun: before.map_or(CommitId(0), |before| before.begun),
                    before: before.and_then(|before| before.before.clone()),
                    copied: before.and_then(|before| before.copied),
                    tells_from: before.map_or(CommitId(0), InsertRecord::tells_from),
                };
                let sink = sink_name(record_out.id, i, &target_def.path);
                handovers[i].note(tick, &mut insert_record, &sink)?;
                let route = match &insert.route {
                    // Once a sink has a table of its own, it goes on with that.
                    Route::Relay { .. } if insert_record.outbox.is_some() => &Route::Flow,
                    // One that keeps bad rows apart lands as it did: an earlier version had it read a hidden table.
                    Route::Landing(_) if insert.dead_letters && lands_hidden(streams_out, insert, before) => {
                        &Route::Flow
                    }
                    route => route,
                };
                match route {
                    Route::Landing(landing) => {
                        let target = catalog.table_id(&target_def.path).ok_or_else(|| gone(&target_def.path))?;
                        let source = &insert.sources[0];
                        let owner = owner_of(source, record_out.id, i);
                        let place = (target, Some(record_out.id));
                        let id = land(streams_out, counter_out, source, owner, place, &records, &connectors);
                        let before = old.and_then(|old| old.inserts.get(i)).map(|before| &before.fingerprint);
                        if may_leave && before != Some(&insert.fingerprint) && !target_def.primary_key.is_empty() {
                            // Another query says what is to land. A target that only grows keeps what it has, and goes on.
                            read_anew(streams_out, id);
                        }
                        insert_record.sources.push(SourceUse {
                            path: source.definition.path.clone(),
                            source: id.0,
                            table: id.1,
                        });
                        let letters = letters_of(&catalog, insert)?;
                        let landing = landing.clone().in_zone(zone);
                        branches_out.push((Branch::Landing { letters }, Some((id, landing))));
                    }
                    Route::Relay { path, projection } => {
                        let table = catalog.table_id(path).ok_or_else(|| gone(path))?;
                        let former = insert_record.copied.replace(table).filter(|former| *former != table);
                        if old.is_none() || former.is_some() {
                            // Kept from the start, so that nothing is reclaimed before the sink has seen it.
                            insert_record.begun = tick.set_cursor(&sink, table, CommitId(0))?;
                        }
                        if former.is_some() {
                            // Another of the same name. Nobody knows the rows any more that the outside has of the one before.
                            Handover::Gone(snapshot.commit()).note(tick, &mut insert_record, &sink)?;
                            forget_sink(tick, &sink, former)?;
                        }
                        let projection = projection.clone().in_zone(zone);
                        sinks_out.push((i, table, Some(projection), false));
                        branches_out.push((Branch::Relay { table }, None));
                    }
                    Route::Flow => {
                        insert_record.copied = None;
                        let mut landed: BTreeMap<ObjectPath, TableId> = BTreeMap::new();
                        for source in &insert.sources {
                            let owner = owner_of(source, record_out.id, i);
                            let is_own = |id: (SourceId, u32)| {
                                let mut taken = records.iter().flat_map(|insert: &InsertRecord| &insert.sources);
                                own.contains(&id) && !taken.any(|used| (used.source, used.table) == id)
                            };
                            let (id, is_new) =
                                hidden_landing(tick, streams_out, counter_out, source, owner, &connectors, &is_own)?;
                            let was_read =
                                before.is_some_and(|old| old.sources.iter().any(|u| u.path == source.definition.path));
                            if is_new
                                && was_read
                                && gaps == Gaps::Refused
                                && let Some(option) = left_out_by(&connectors, &source.definition)
                            {
                                let source = (&source.definition.path, option);
                                return Err(does_not_come_again(&record_out.name, source, &target_def.path));
                            }
                            let stream = &streams_out[&id.0];
                            let table =
                                stream.tables.iter().find(|t| t.id == id.1).expect("it was found or made just now");
                            landed.insert(source.definition.path.clone(), table.landing);
                            let path = source.definition.path.clone();
                            insert_record.sources.push(SourceUse { path, source: id.0, table: id.1 });
                            let landing = hidden_landing_of(&source.definition);
                            branches_out.push((Branch::Landing { letters: None }, Some((id, landing))));
                        }
                        let target = target_of(tick, &catalog, insert, &mut insert_record, record_out.id, i)?;
                        let table_of = |path: &ObjectPath| {
                            let here = landed.get(path).copied().or_else(|| catalog.table_id(path));
                            here.or_else(|| insert.outside.table_id(path))
                        };
                        let unique = insert.unique.as_deref();
                        let ground = Ground {
                            table_of: &table_of,
                            context: &TickContext { now_micros, zone },
                            clock: Some(clock.clone()),
                            hash,
                            governor: Some(&governor),
                            keeps_errors: insert.dead_letters,
                            leaves_late_rows_out: true,
                            connectors: &connectors,
                            refuses: None,
                            away: Some(&away),
                        };
                        let Lowered { dataflow, inputs, lines } = lower(&insert.bound.plan, unique, &ground)?;
                        if insert.sink.is_some() {
                            sinks_out.push((i, target.table, None, target.kinds_inside));
                        }
                        let dead_letters = letters_of(&catalog, insert)?;
                        let history = History::default();
                        let mut flow =
                            Flow { dataflow, inputs, lines, target, dead_letters, zone, history, is_open: false };
                        let is_corrected = |table: TableId| corrected.contains(&table) || !deltas.of(table).is_empty();
                        let state = match kept.remove(&i) {
                            None => Err(lost.as_deref().unwrap_or("no state of it was kept")),
                            // Letters of several `INSERT`s in one table cannot be told apart.
                            Some(_) if dead_letters.is_some() && !sole[i] => Err("others write into its target too"),
                            Some(state) => state.go_on(&flow, is_corrected),
                        };
                        match state {
                            Ok(state) => {
                                // What it has written and left out is there already.
                                flow.dataflow = state;
                                if *began_out == Began::Resumed {
                                    *began_out = Began::Restored;
                                }
                                flow.note(clock.monotonic());
                                goes_on.extend(dead_letters);
                                branches_out.push((Branch::Flow(Box::new(flow)), None));
                                records.push(insert_record);
                                continue;
                            }
                            Err(why) if old.is_some() => *began_out = Began::Rebuilt(why.to_owned()),
                            Err(_) => {}
                        }
                        // What came to be while the job rested cannot be told from what it had given before. An outside that
                        // keeps nothing is given all of it anew.
                        let begins_anew = insert_record.forgets && flow.target.kinds_inside && !was_running;
                        let how = Build {
                            job: &record_out.name,
                            gaps,
                            output: if begins_anew { Output::Whole } else { output },
                            sole: sole[i],
                            cursor: match handovers[i] {
                                Handover::After(reached) => reached,
                                _ => store_changes,
                            },
                            was_running,
                            now_micros,
                            governor: governor.clone(),
                            is_read: read.contains(&flow.target.table),
                            round_rows,
                        };
                        let (written, letters) =
                            how.first_output(&mut flow, &snapshot, (tick, deltas), &insert.outside)?;
                        *rows += written;
                        flow.note(clock.monotonic());
                        if insert.fingerprint.contains(ONCE) {
                            // What its inputs do from now on is no business of a statement that is run once.
                            flow.inputs.clear();
                        }
                        if let Some(table) = dead_letters {
                            letters_by_table.entry(table).or_default().extend(letters);
                        }
                        branches_out.push((Branch::Flow(Box::new(flow)), None));
                    }
                }
                records.push(insert_record);
            }
            record_out.inserts = records;
            let held =
                old.into_iter().flat_map(|old| &old.inserts).filter_map(|insert| catalog.letters_of(&insert.target));
            for table in held {
                // What the job kept before and keeps no longer is nobody's.
                if !goes_on.contains(&table) {
                    letters_by_table.entry(table).or_default();
                }
            }
            for (table, letters) in letters_by_table {
                let effective = dead::replace(tick, table, letters_under(record_out), now_micros, letters)?;
                deltas.push(table, effective);
            }
            tick.put(COUNTERS, SOURCE_COUNTER, Some(&counter_out.to_string()));
            tick.put(COUNTERS, JOB_COUNTER, Some(&job_counter.to_string()));
            streams_out.values_mut().for_each(|stream| place::keep(stream, &connectors));
            if may_leave {
                let own = source_tables(record_out);
                *left_out = part_with(streams_out.values_mut(), &read_by_others.iter().copied().chain(own).collect());
                for table in left_out.iter().flat_map(Left::hidden) {
                    tick.drop_table(table)?;
                }
                for left in left_out.iter() {
                    let record = streams_out.get_mut(&left.source).expect("what was left is a stream's");
                    if !place::leave(record, left, &connectors) {
                        streams_out.remove(&left.source);
                        tick.put(STREAMS, &left.source.0.to_string(), None);
                    }
                }
            }
            for (id, stream) in streams_out.iter() {
                tick.put(STREAMS, &id.0.to_string(), Some(&encode(stream)));
            }
            tick.put(JOBS, &record_out.id.0.to_string(), Some(&encode(&*record_out)));
            Ok(())
        })?;
        self.job_counter = job_counter;
        self.source_counter = counter;
        let id = record.id;
        let left = self.leave_behind(left);
        let begun = self.enter(record, streams, branches, (script, rows_out, began));
        let begun = begun.and_then(|()| self.start_sinks(id, inserts, sinks)).and(left);
        if let Err(error) = &begun
            && self.jobs.contains_key(&id)
        {
            // It is on record by now, so it is shown as failed, and can be started again.
            self.fail_job(id, Error::new(error.kind(), crate::stream::with_remedy(error)))?;
        }
        begun
    }

    /// Takes the built job into the ticks and starts what feeds it.
    #[expect(clippy::type_complexity, reason = "the pairs live for these few lines")]
    fn enter(
        &mut self,
        record: JobRecord,
        streams: BTreeMap<SourceId, StreamRecord>,
        branches: Vec<(Branch, Option<((SourceId, u32), Landing)>)>,
        (script, rows_out, began): (u64, u64, Began),
    ) -> Result<()> {
        let mut moved = Vec::new();
        for (id, mut stream_record) in streams {
            match self.streams.get_mut(&id) {
                Some(stream) => {
                    // It may have been handed what another has left.
                    stream_record.has_place |= stream.record.has_place;
                    if stream.handle.is_some() && stream.is_reached_otherwise(&stream_record) {
                        moved.push(id);
                    }
                    stream.record = stream_record;
                }
                // What it had has been handed to another.
                None if stream_record.leaving.is_some() => {}
                None => {
                    let position = self.store.source_position(id).map(|at| at.position);
                    self.streams.insert(id, Stream::new(stream_record, position));
                }
            }
        }
        let mut kept = Vec::new();
        let mut feeds = Vec::new();
        for (branch, landing) in branches {
            // A hidden landing belongs to its stream; only the user's own landings are branches of the job.
            if !matches!((&branch, &landing), (Branch::Landing { .. }, Some((id, _))) if self.is_hidden(*id)) {
                kept.push(branch);
            }
            feeds.extend(landing);
        }
        let id = record.id;
        self.jobs.insert(id, Job { branches: kept, script, rows_out, began, ..Job::resting(record) });
        self.order = order_jobs(&self.jobs)?;
        for source in &moved {
            let stream = self.streams[source].record.stream_key.as_str();
            tracing::info!(stream, "it is reached otherwise from now on, and starts anew");
            self.break_off(*source)?;
        }
        for ((source, table), landing) in feeds {
            self.feed(source, table, landing)?;
        }
        for source in moved {
            self.start_stream(source)?;
        }
        Ok(())
    }

    fn is_hidden(&self, id: (SourceId, u32)) -> bool {
        let table = self.streams.get(&id.0).and_then(|stream| stream.record.tables.iter().find(|t| t.id == id.1));
        table.is_some_and(|table| table.job.is_none())
    }

    /// Makes a table of a stream deliver, starting the stream if it does not run.
    fn feed(&mut self, source: SourceId, table: u32, landing: Landing) -> Result<()> {
        let stream = self.streams.get_mut(&source).expect("the stream was entered just now");
        let known = stream.landings.insert(table, landing).is_some();
        if known && stream.handle.is_some() {
            return Ok(());
        }
        let tables: Vec<SourceTable> =
            stream.record.tables.iter().filter(|t| stream.landings.contains_key(&t.id)).map(start_of).collect();
        match &stream.handle {
            Some(handle) => {
                stream.state = StreamState::Starting;
                if let Some(table) = tables.into_iter().find(|t| t.id == table) {
                    handle.add_table(table);
                }
            }
            None => {
                if self.starting {
                    // While the engine opens, streams start once all their tables are known.
                    return Ok(());
                }
                self.start_stream(source)?;
            }
        }
        Ok(())
    }

    /// Starts a stream with every table that has a landing, perhaps none.
    ///
    /// # Errors
    /// Those of the connector.
    pub(crate) fn start_stream(&mut self, source: SourceId) -> Result<()> {
        let Some(stream) = self.streams.get(&source) else { return Ok(()) };
        let tables: Vec<SourceTable> =
            stream.record.tables.iter().filter(|t| stream.landings.contains_key(&t.id)).map(start_of).collect();
        let is_wanted = !tables.is_empty() || stream.runs_for_its_place(&self.connectors);
        if !is_wanted || stream.handle.is_some() || stream.record.leaving.is_some() || self.awaits_leave(source)? {
            return Ok(());
        }
        let (events, start) = self.listen()?;
        let stream = self.streams.get_mut(&source).expect("it was there just now");
        let connector = self.connectors.sources.get(stream.record.connector.as_str()).ok_or_else(|| {
            Error::invalid(format!("there is no source connector '{}' in this build", stream.record.connector))
        })?;
        let Some(definition) = stream.way(&**connector) else { return Ok(()) };
        let position = stream.position.clone();
        let store = self.store.id();
        let place = StreamPlace { key: &stream.record.stream_key, definition: &definition, store };
        let handle = connector.start(source, place, tables, position, events)?;
        stream.start = start;
        stream.state = StreamState::Starting;
        stream.handle = Some(handle);
        Ok(())
    }

    fn start_sinks(
        &mut self,
        id: JobId,
        inserts: Vec<Prepared>,
        sinks: Vec<(usize, TableId, Option<Landing>, bool)>,
    ) -> Result<()> {
        for (i, table, projection, kinds_inside) in sinks {
            let insert = &inserts[i];
            let Some(description) = &insert.sink else { continue };
            let handle = self.start_sink(id, i, &insert.bound.target, description, table, projection, kinds_inside)?;
            self.jobs.get_mut(&id).expect("the job was entered just now").sinks.push(handle);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one sink, gathered in the line above")]
    fn start_sink(
        &mut self,
        job: JobId,
        i: usize,
        target: &Arc<TableDef>,
        description: &SinkDescription,
        table: TableId,
        projection: Option<Landing>,
        kinds_inside: bool,
    ) -> Result<SinkHandle> {
        let named = |error: Error| error.context(format!("table {}", target.path));
        let connector = self.connectors.sink(target).map_err(named)?;
        let name = sink_name(job, i, &target.path);
        let snapshot = self.store.ordered_snapshot();
        let reached = snapshot.cursor(&name, table).unwrap_or_default();
        let insert = self.jobs.get(&job).and_then(|job| job.record.inserts.get(i));
        let (begun, forgets) = insert.map_or((CommitId(0), false), |insert| (insert.begun, insert.forgets));
        // Where an outside stands that does not tell it is known here alone.
        let tells_from = insert.filter(|_| !forgets).map_or(CommitId(0), InsertRecord::tells_from);
        let before = insert.and_then(|insert| insert.before.clone());
        let held = snapshot.cursor(&held_name(&name), table);
        let held = (!forgets).then_some((held, self.consumer_cap.bytes));
        let goes_on_at = if forgets && reached > begun { reached } else { CommitId(0) };
        let writer = SinkWriter {
            store: self.store.id(),
            sink: name.clone(),
            history: self.lineage.own(),
            written: reached > begun || tells_from > CommitId(0),
        };
        let sink = connector.open(target.clone(), writer)?;
        let written = written_columns(target);
        let key = target.primary_key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect();
        let zone = projection.as_ref().map_or(chrono_tz::UTC, Landing::zone);
        let context = EvalContext { now_micros: self.clock.now_micros(), zone, seed: 0, first_row: 0 };
        let since = self.ordered();
        let (mode, lineage) = (description.mode, self.lineage.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = OutsideWriter::new(&name, &description.target_key, &target.path, stop.clone());
        let predecessors = self.take_in(writer.clone());
        let plan = SinkPlan {
            name,
            job,
            table,
            projection,
            key,
            mode,
            kinds_inside,
            since,
            reached,
            goes_on_at,
            held,
            before,
            tells_from,
            lineage,
            context,
        };
        let surroundings = Surroundings {
            shared: self.shared.clone(),
            clock: self.clock.clone(),
            core: self.messages.clone(),
            workers: &*self.workers,
        };
        let place = Place { stop, writer, predecessors };
        SinkHandle::start(plan, sink, self.store.reader(), place, surroundings, move |core, error| {
            if let Err(error) = core.fail_job(job, error) {
                core.fatal(error);
            }
        })
    }
}
