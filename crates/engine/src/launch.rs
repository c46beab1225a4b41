//! How a job begins, goes on after a stop or a restart, and ends.
//!
//! A new job's tables, record and first results are one tick: after a crash there is either all of it or nothing. A job
//! that goes on is rebuilt: its dataflow takes its inputs as they stand in one hidden tick, and what comes out is compared
//! with what its target holds, so that only differences are written. Where the target has other writers, or the query reads
//! the clock, there is nothing to compare with: the stored rows stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, CommitId, Error, JobId, Result, Schema, SourceId, TableId, TypeKind};
use gridhouse_expr::EvalContext;
use gridhouse_flow::connector::{ChangelogMode, SinkDescription, SinkWriter, SourceTable};
use gridhouse_flow::{TickContext, consolidate};
use gridhouse_sql::plan::{BoundInsert, written_columns};
use gridhouse_store::{Snapshot, TableSpec, Tick};

use crate::core::Core;
use crate::job::{Branch, Flow, Job, Target};
use crate::landing::Landing;
use crate::lower::lower;
use crate::prepare::{Prepared, PreparedSource, Route};
use crate::query::zone_of;
use crate::records::{
    COUNTERS, Environment, InsertRecord, JOBS, JobRecord, JobState, STREAMS, SourceUse, StreamRecord,
    StreamTableRecord, encode,
};
use crate::sink::{SinkHandle, SinkPlan};
use crate::stream::{Stream, StreamState};
use crate::tick::order_jobs;

/// The column in which a log of changes without key keeps their kinds.
const KIND_COLUMN: &str = "__kind";

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
}

/// Whether a job's output is written or only its state built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Everything: the target knows nothing of the job yet.
    Whole,
    /// What differs from the target.
    Difference,
    /// Nothing: the target holds it.
    Nothing,
}

impl Core {
    /// Begins a job, or goes on with the one that is already there. Gives the job, the tick that holds it, and whether it
    /// was there.
    ///
    /// # Errors
    /// `Conflict` where an earlier script's job writes into the target, or the job would feed itself.
    pub(crate) fn submit(&mut self, submission: Submission) -> Result<(JobId, CommitId, bool)> {
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
            job.script = submission.script;
            if job.record.state != JobState::Running {
                self.resume(id, submission.inserts)?;
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
        let record = JobRecord {
            id,
            name: submission.name,
            inserts: Vec::new(),
            environment: submission.environment,
            state: JobState::Running,
            cursor: CommitId(0),
        };
        let old = submission.replace.and_then(|id| self.jobs.get(&id)).map(|job| job.record.clone());
        if let Some(old) = &old {
            self.leave_streams(old.id)?;
            if let Some(job) = self.jobs.get_mut(&old.id) {
                job.detach(JobState::Stopped);
            }
        }
        let output = if old.is_some() { Output::Difference } else { Output::Whole };
        self.assemble(record, submission.inserts, old.as_ref(), output, submission.script)?;
        Ok((id, self.ordered(), false))
    }

    fn next_job(&self) -> JobId {
        JobId(self.job_counter.max(self.jobs.keys().last().map_or(0, |id| id.0)) + 1)
    }

    /// Goes on with a job that was stopped or failed.
    ///
    /// # Errors
    /// Those of the store, and of a row that the query cannot compute.
    pub(crate) fn resume(&mut self, id: JobId, inserts: Vec<Prepared>) -> Result<()> {
        let job = self.jobs.get(&id).ok_or_else(|| Error::not_found(format!("there is no job {}", id.0)))?;
        let mut record = job.record.clone();
        let (old, script) = (record.clone(), job.script);
        record.state = JobState::Running;
        self.assemble(record, inserts, Some(&old), Output::Difference, script)
    }

    /// Rebuilds a job that was running when the process ended; what it had written is there.
    ///
    /// # Errors
    /// Those of the store, and of a row that the query cannot compute.
    pub(crate) fn rebuild(&mut self, record: JobRecord, inserts: Vec<Prepared>) -> Result<()> {
        let old = record.clone();
        let output = if inserts.iter().all(|insert| insert.is_pure) { Output::Difference } else { Output::Nothing };
        self.assemble(record, inserts, Some(&old), output, 0)
    }

    /// Builds the job's branches, writes its first output in one tick with its record, and starts its streams and sinks.
    fn assemble(
        &mut self,
        mut record: JobRecord,
        inserts: Vec<Prepared>,
        old: Option<&JobRecord>,
        output: Output,
        script: u64,
    ) -> Result<()> {
        self.check_circle(record.id, &inserts)?;
        // What waits is applied first, so that the inputs' last state is all that the new job has to take.
        self.tick()?;
        let snapshot = self.store.ordered_snapshot();
        let catalog = self.catalog.clone();
        let mut streams: BTreeMap<SourceId, StreamRecord> =
            self.streams.iter().map(|(id, stream)| (*id, stream.record.clone())).collect();
        let sole =
            inserts.iter().map(|insert| self.is_sole_writer(record.id, &insert.bound.target.path)).collect::<Vec<_>>();
        let now_micros = self.clock.now_micros();
        let store_changes = old.map_or(CommitId(0), |old| old.cursor);
        let was_running = old.is_some_and(|old| old.state == JobState::Running);
        let mut branches = Vec::new();
        let mut sinks = Vec::new();
        let mut rows_out = 0;
        let branches_out = &mut branches;
        let sinks_out = &mut sinks;
        let record_out = &mut record;
        let streams_out = &mut streams;
        let rows = &mut rows_out;
        let zone = zone_of(&record_out.environment.settings)?;
        let mut counter = self.source_counter;
        let counter_out = &mut counter;
        self.tick_writing(|tick, deltas| {
            let mut records = Vec::new();
            for (i, insert) in inserts.iter().enumerate() {
                let target_def = &insert.bound.target;
                let mut insert_record = InsertRecord {
                    text: insert.text.clone(),
                    target: target_def.path.clone(),
                    fingerprint: insert.fingerprint.clone(),
                    outbox: old.and_then(|old| old.inserts.get(i)).and_then(|insert| insert.outbox),
                    sources: Vec::new(),
                    sink: insert.sink.as_ref().map(|sink| sink.mode.into()),
                };
                match &insert.route {
                    Route::Landing(landing) => {
                        let target = catalog.table_id(&target_def.path).ok_or_else(|| gone(&target_def.path))?;
                        let source = &insert.sources[0];
                        let owner = owner_of(source, record_out.id, i);
                        let id = land(streams_out, counter_out, source, owner, target, Some(record_out.id));
                        insert_record.sources.push(SourceUse {
                            path: source.definition.path.clone(),
                            source: id.0,
                            table: id.1,
                        });
                        branches_out.push((Branch::Landing, Some((id, landing.clone()))));
                    }
                    Route::Relay { path, projection } => {
                        let table = catalog.table_id(path).ok_or_else(|| gone(path))?;
                        if old.is_none() {
                            // Kept from the start, so that nothing is reclaimed before the sink has seen it.
                            tick.set_cursor(&sink_name(record_out.id, i, &target_def.path), table, CommitId(0))?;
                        }
                        sinks_out.push((i, table, Some(projection.clone()), false));
                        branches_out.push((Branch::Relay { table }, None));
                    }
                    Route::Flow => {
                        let mut landed: BTreeMap<ObjectPath, TableId> = BTreeMap::new();
                        for source in &insert.sources {
                            let owner = owner_of(source, record_out.id, i);
                            let id = hidden_landing(tick, streams_out, counter_out, source, owner)?;
                            let stream = &streams_out[&id.0];
                            let table =
                                stream.tables.iter().find(|t| t.id == id.1).expect("it was found or made just now");
                            landed.insert(source.definition.path.clone(), table.landing);
                            let path = source.definition.path.clone();
                            insert_record.sources.push(SourceUse { path, source: id.0, table: id.1 });
                            let landing = Landing::identity(
                                &physical_schema(&source.definition),
                                source.definition.primary_key.is_empty(),
                            );
                            branches_out.push((Branch::Landing, Some((id, landing))));
                        }
                        let target = target_of(tick, &catalog, insert, &mut insert_record, record_out.id, i)?;
                        let table_of = |path: &ObjectPath| landed.get(path).copied().or_else(|| catalog.table_id(path));
                        let (dataflow, inputs) = lower(&insert.bound.plan, &table_of)?;
                        if insert.sink.is_some() {
                            sinks_out.push((i, target.table, None, target.kinds_inside));
                        }
                        let mut flow = Flow { dataflow, inputs, target, zone };
                        let how = Build { output, sole: sole[i], cursor: store_changes, was_running, now_micros };
                        for batch in how.first_output(&mut flow, &snapshot)? {
                            *rows += batch.len() as u64;
                            let effective = flow.target.write(tick, &batch)?;
                            deltas.entry(flow.target.table).or_default().push(effective);
                        }
                        branches_out.push((Branch::Flow(Box::new(flow)), None));
                    }
                }
                records.push(insert_record);
            }
            record_out.inserts = records;
            tick.put(COUNTERS, SOURCE_COUNTER, Some(&counter_out.to_string()));
            for (id, stream) in streams_out.iter() {
                tick.put(STREAMS, &id.0.to_string(), Some(&encode(stream)));
            }
            tick.put(JOBS, &record_out.id.0.to_string(), Some(&encode(&*record_out)));
            Ok(())
        })?;
        self.job_counter = self.job_counter.max(record.id.0);
        self.source_counter = counter;
        let id = record.id;
        self.enter(record, streams, branches, script, rows_out)?;
        self.start_sinks(id, inserts, sinks)
    }

    /// Takes the built job into the ticks and starts what feeds it.
    #[expect(clippy::type_complexity, reason = "the pairs live for these few lines")]
    fn enter(
        &mut self,
        record: JobRecord,
        streams: BTreeMap<SourceId, StreamRecord>,
        branches: Vec<(Branch, Option<((SourceId, u32), Landing)>)>,
        script: u64,
        rows_out: u64,
    ) -> Result<()> {
        for (id, stream_record) in streams {
            match self.streams.get_mut(&id) {
                Some(stream) => stream.record = stream_record,
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
            if !matches!((&branch, &landing), (Branch::Landing, Some((id, _))) if self.is_hidden(*id)) {
                kept.push(branch);
            }
            feeds.extend(landing);
        }
        let id = record.id;
        self.jobs.insert(id, Job { record, branches: kept, sinks: Vec::new(), script, rows_out });
        self.order = order_jobs(&self.jobs)?;
        for ((source, table), landing) in feeds {
            self.feed(source, table, landing)?;
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

    /// Starts a stream with every table that has a landing.
    ///
    /// # Errors
    /// Those of the connector.
    pub(crate) fn start_stream(&mut self, source: SourceId) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(()) };
        let tables: Vec<SourceTable> =
            stream.record.tables.iter().filter(|t| stream.landings.contains_key(&t.id)).map(start_of).collect();
        if tables.is_empty() || stream.handle.is_some() {
            return Ok(());
        }
        let connector = self.connectors.sources.get(stream.record.connector.as_str()).ok_or_else(|| {
            Error::invalid(format!("there is no source connector '{}' in this build", stream.record.connector))
        })?;
        let position = stream.position.clone();
        let handle = connector.start(source, &stream.record.stream_key, tables, position, self.events.clone())?;
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
        &self,
        job: JobId,
        i: usize,
        target: &Arc<TableDef>,
        description: &SinkDescription,
        table: TableId,
        projection: Option<Landing>,
        kinds_inside: bool,
    ) -> Result<SinkHandle> {
        let connector = self.connectors.sink(target)?;
        let name = sink_name(job, i, &target.path);
        let sink = connector.open(target.clone(), SinkWriter { store: self.store.id(), sink: name.clone() })?;
        let written = written_columns(target);
        let key = target.primary_key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect();
        let context = EvalContext { now_micros: self.clock.now_micros(), zone: chrono_tz::UTC, seed: 0, first_row: 0 };
        let since = self.ordered();
        let plan = SinkPlan { name, table, projection, key, mode: description.mode, kinds_inside, since, context };
        SinkHandle::start(
            plan,
            sink,
            self.store.reader(),
            self.shared.clone(),
            self.clock.clone(),
            self.messages.clone(),
            move |core, error| {
                if let Err(error) = core.fail_job(job, error) {
                    core.fatal(error);
                }
            },
        )
    }

    /// Refuses a job whose output would reach one of its inputs.
    fn check_circle(&self, id: JobId, inserts: &[Prepared]) -> Result<()> {
        let tables = |paths: Vec<Arc<TableDef>>| {
            paths.iter().filter_map(|t| self.catalog.table_id(&t.path)).collect::<BTreeSet<_>>()
        };
        let mut reached: BTreeSet<TableId> =
            inserts.iter().filter_map(|insert| self.catalog.table_id(&insert.bound.target.path)).collect();
        loop {
            let before = reached.len();
            for (other, job) in &self.jobs {
                if *other != id && !job.read().is_disjoint(&reached) {
                    reached.extend(job.written());
                }
            }
            if reached.len() == before {
                break;
            }
        }
        for insert in inserts {
            if !tables(insert.bound.plan.tables()).is_disjoint(&reached) {
                return Err(Error::conflict(format!("this INSERT into {} would feed itself", insert.bound.target.path))
                    .hint("write into a table that none of its inputs is made from, or run it once: SET 'execution.runtime-mode' = 'batch'"));
            }
        }
        Ok(())
    }

    fn is_sole_writer(&self, id: JobId, target: &ObjectPath) -> bool {
        !self
            .jobs
            .iter()
            .any(|(other, job)| *other != id && job.record.inserts.iter().any(|insert| insert.target == *target))
    }

    /// Takes a job out of the ticks because of an error; it waits for `START JOB`.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn fail_job(&mut self, id: JobId, error: Error) -> Result<()> {
        self.halt(id, JobState::Failed(crate::stream::with_remedy(&error)))
    }

    /// Stops a job; `START JOB` goes on from there.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub(crate) fn halt(&mut self, id: JobId, state: JobState) -> Result<()> {
        self.tick()?;
        let cursor = self.ordered();
        let job = self.jobs.get_mut(&id).ok_or_else(|| Error::not_found(format!("there is no job {}", id.0)))?;
        if let JobState::Failed(why) = &state {
            tracing::error!(job = job.record.name, "{why}");
        }
        if job.record.state == JobState::Running {
            job.record.cursor = cursor;
        }
        job.detach(state);
        let text = encode(&job.record);
        self.leave_streams(id)?;
        self.order = order_jobs(&self.jobs)?;
        self.tick_with(|tick| tick.put(JOBS, &id.0.to_string(), Some(&text)))
    }

    /// Forgets a job. Its target keeps its rows.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub(crate) fn drop_job(&mut self, id: JobId) -> Result<()> {
        self.halt(id, JobState::Stopped)?;
        let job = self.jobs.remove(&id).expect("a job that was halted exists");
        self.order = order_jobs(&self.jobs)?;
        let used: BTreeSet<(SourceId, u32)> = self.jobs.values().flat_map(|job| source_tables(&job.record)).collect();
        let (mut records, mut landings) = (Vec::new(), Vec::new());
        for stream in self.streams.values_mut() {
            let source = stream.record.id;
            let kept = |table: &StreamTableRecord| table.job != Some(id) && used.contains(&(source, table.id));
            let (kept, left): (Vec<_>, Vec<_>) = std::mem::take(&mut stream.record.tables).into_iter().partition(kept);
            stream.record.tables = kept;
            if left.is_empty() {
                continue;
            }
            for table in &left {
                stream.landings.remove(&table.id);
                if let Some(handle) = &stream.handle {
                    handle.remove_table(table.id);
                }
            }
            // A hidden table goes with the last job that reads it; a user's own table stays.
            landings.extend(left.iter().filter(|table| table.job.is_none()).map(|table| table.landing));
            let record = (!stream.record.tables.is_empty()).then(|| encode(&stream.record));
            records.push((source, record, left.iter().map(start_of).collect::<Vec<_>>()));
        }
        let names: Vec<String> =
            job.record.inserts.iter().enumerate().map(|(i, insert)| sink_name(id, i, &insert.target)).collect();
        self.tick_writing(|tick, _| {
            tick.put(JOBS, &id.0.to_string(), None);
            for (source, record, _) in &records {
                tick.put(STREAMS, &source.0.to_string(), record.as_deref());
            }
            for landing in &landings {
                tick.drop_table(*landing)?;
            }
            for name in &names {
                tick.forget_cursor(name, None)?;
            }
            for outbox in job.record.inserts.iter().filter_map(|insert| insert.outbox) {
                tick.drop_table(outbox)?;
            }
            Ok(())
        })?;
        for (source, record, tables) in records {
            if record.is_none()
                && let Some(mut stream) = self.streams.remove(&source)
            {
                // A stream that does not run is begun once more, only to take leave of the outside.
                if stream.handle.is_none()
                    && let Some(connector) = self.connectors.sources.get(stream.record.connector.as_str())
                {
                    let (key, position) = (&stream.record.stream_key, stream.position.clone());
                    stream.handle = connector.start(source, key, tables, position, self.events.clone()).ok();
                }
                stream.forget();
            }
        }
        Ok(())
    }

    /// Takes the job's own tables out of their streams; contents must be taken anew when it goes on.
    fn leave_streams(&mut self, id: JobId) -> Result<()> {
        let mut changed = Vec::new();
        for stream in self.streams.values_mut() {
            let own: Vec<u32> = stream.record.tables.iter().filter(|t| t.job == Some(id)).map(|t| t.id).collect();
            for table in own {
                stream.landings.remove(&table);
                if let Some(handle) = &stream.handle {
                    handle.remove_table(table);
                }
                for record in stream.record.tables.iter_mut().filter(|t| t.id == table) {
                    record.snapshot = None;
                }
                changed.push((stream.record.id, encode(&stream.record)));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.tick_with(|tick| {
            for (source, record) in &changed {
                tick.put(STREAMS, &source.0.to_string(), Some(record));
            }
        })
    }

    /// Fails every job that the stream feeds.
    pub(crate) fn fail_jobs_of_stream(&mut self, source: SourceId, error: &Error) -> Result<()> {
        let uses =
            |job: &Job| job.record.inserts.iter().any(|insert| insert.sources.iter().any(|s| s.source == source));
        let fed: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.record.state == JobState::Running && uses(job))
            .map(|(id, _)| *id)
            .collect();
        for id in fed {
            self.halt(id, JobState::Failed(crate::stream::with_remedy(error)))?;
        }
        Ok(())
    }
}

/// How the first output of a rebuilt dataflow is found.
struct Build {
    output: Output,
    sole: bool,
    cursor: CommitId,
    was_running: bool,
    now_micros: i64,
}

impl Build {
    /// Feeds the inputs as they stand, and gives what is to be written.
    fn first_output(&self, flow: &mut Flow, snapshot: &Snapshot) -> Result<Vec<ChangeBatch>> {
        let context = TickContext { now_micros: self.now_micros, zone: flow.zone };
        let growing = flow.target.key.is_empty();
        if growing && self.output != Output::Whole {
            // The target only grows: what came after the cursor is new, everything before is there.
            let cursor = if self.was_running { snapshot.commit() } else { self.cursor };
            self.feed_log(flow, snapshot, cursor, false)?;
            flow.dataflow.finish_tick(&context)?;
            self.feed_log(flow, snapshot, cursor, true)?;
            let out = flow.dataflow.finish_tick(&context)?.into_iter().next().unwrap_or_default();
            if flow.target.kinds_inside && self.was_running {
                return Ok(Vec::new());
            }
            flow.target.check(&out)?;
            return Ok(out);
        }
        for i in 0..flow.inputs.len() {
            let input = flow.inputs[i].clone();
            let Ok(table) = snapshot.table(input.table) else { continue };
            for batch in table.scan(Some(&input.columns)) {
                flow.dataflow.push(i, batch?)?;
            }
        }
        let out = flow.dataflow.finish_tick(&context)?.into_iter().next().unwrap_or_default();
        flow.target.check(&out)?;
        let comparable = self.sole && flow.target.columns.is_none();
        match self.output {
            Output::Whole => Ok(out),
            Output::Nothing => Ok(Vec::new()),
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
                Ok(vec![difference])
            }
            Output::Difference if self.was_running => Ok(Vec::new()),
            Output::Difference => Ok(out),
        }
    }

    /// Feeds the rows that log inputs took up to `cursor`, or after it. An input with a key is fed as it stands, before.
    fn feed_log(&self, flow: &mut Flow, snapshot: &Snapshot, cursor: CommitId, after: bool) -> Result<()> {
        for i in 0..flow.inputs.len() {
            let input = flow.inputs[i].clone();
            let Ok(table) = snapshot.table(input.table) else { continue };
            if !table.spec().primary_key.is_empty() {
                if !after {
                    for batch in table.scan(Some(&input.columns)) {
                        flow.dataflow.push(i, batch?)?;
                    }
                }
                continue;
            }
            for (commit, batch) in table.changes(if after { cursor } else { CommitId(0) })? {
                if !after && commit > cursor {
                    break;
                }
                let columns = input.columns.iter().map(|&c| batch.columns[c].clone()).collect();
                flow.dataflow.push(i, ChangeBatch::insertions(columns, batch.len()))?;
            }
        }
        Ok(())
    }
}

/// The tables of streams that a job uses.
fn source_tables(record: &JobRecord) -> impl Iterator<Item = (SourceId, u32)> + '_ {
    record.inserts.iter().flat_map(|insert| insert.sources.iter().map(|used| (used.source, used.table)))
}

/// The name under which a sink's cursor is kept, here and at the outside.
pub(crate) fn sink_name(job: JobId, i: usize, target: &ObjectPath) -> String {
    format!("{}/{}/{}", job.0, i, target.object)
}

fn gone(path: &ObjectPath) -> Error {
    Error::not_found(format!("table {path} has been dropped meanwhile"))
}

/// The columns that a source delivers.
pub(crate) fn physical_schema(definition: &TableDef) -> Schema {
    definition.schema.project(&definition.physical().collect::<Vec<_>>())
}

/// The key as positions among the stored columns.
pub(crate) fn stored_key(definition: &TableDef) -> Vec<usize> {
    let stored: Vec<usize> = definition.physical().collect();
    definition.primary_key.iter().filter_map(|k| stored.iter().position(|s| s == k)).collect()
}

fn start_of(record: &StreamTableRecord) -> SourceTable {
    SourceTable { id: record.id, definition: Arc::new(record.definition.clone()), snapshot: record.snapshot.clone() }
}

/// Who a stream belongs to, where each reader of the source has one of its own.
fn owner_of(source: &PreparedSource, job: JobId, i: usize) -> Option<String> {
    (!source.description.shared).then(|| format!("{}/{i}", job.0))
}

/// The table of a stream that lands in `landing` for `job`; made if it is not there.
fn land(
    streams: &mut BTreeMap<SourceId, StreamRecord>,
    counter: &mut u32,
    source: &PreparedSource,
    owner: Option<String>,
    landing: TableId,
    job: Option<JobId>,
) -> (SourceId, u32) {
    let key = &source.description.stream_key;
    let id = match streams.values().find(|stream| stream.stream_key == *key && stream.owner == owner) {
        Some(stream) => stream.id,
        None => {
            *counter += 1;
            let id = SourceId(*counter);
            let connector = source.definition.connector().unwrap_or_default().to_owned();
            let (stream_key, tables) = (key.clone(), Vec::new());
            streams.insert(id, StreamRecord { id, connector, stream_key, owner, tables, next_table: 1 });
            id
        }
    };
    let stream = streams.get_mut(&id).expect("it was found or made just now");
    if let Some(table) = stream.tables.iter_mut().find(|t| t.landing == landing && t.job == job) {
        table.definition = (*source.definition).clone();
        return (id, table.id);
    }
    let table = stream.next_table;
    stream.next_table += 1;
    stream.tables.push(StreamTableRecord {
        id: table,
        table_key: source.description.table_key.clone(),
        definition: (*source.definition).clone(),
        landing,
        job,
        snapshot: None,
    });
    (id, table)
}

/// The hidden table in which a source lands for any job that needs it whole; made if it is not there.
fn hidden_landing(
    tick: &mut Tick<'_>,
    streams: &mut BTreeMap<SourceId, StreamRecord>,
    counter: &mut u32,
    source: &PreparedSource,
    owner: Option<String>,
) -> Result<(SourceId, u32)> {
    let description = &source.description;
    let own = |stream: &&mut StreamRecord| stream.stream_key == description.stream_key && stream.owner == owner;
    for stream in streams.values_mut().filter(own) {
        let same = |table: &&mut StreamTableRecord| {
            table.job.is_none()
                && table.table_key == description.table_key
                && table.definition.schema == source.definition.schema
                && table.definition.primary_key == source.definition.primary_key
        };
        if let Some(table) = stream.tables.iter_mut().find(same) {
            table.definition = (*source.definition).clone();
            return Ok((stream.id, table.id));
        }
    }
    let schema = physical_schema(&source.definition);
    let key = stored_key(&source.definition);
    if key.is_empty() && description.mode != ChangelogMode::InsertOnly {
        return Err(Error::invalid(format!(
            "source {} changes and deletes rows but declares no key",
            source.definition.path
        ))
        .hint("add PRIMARY KEY (…) NOT ENFORCED to its definition"));
    }
    let (id, number) = land(streams, counter, source, owner, TableId(0), None);
    let name = format!("landing/{}/{number}", id.0);
    let table = tick.create_table(TableSpec { hidden: true, ..spec(name, schema, key) })?;
    let stream = streams.get_mut(&id).expect("the table landed in it just now");
    for record in stream.tables.iter_mut().filter(|record| record.id == number) {
        record.landing = table;
    }
    Ok((id, number))
}

/// A stored table with or without key, in one bucket.
pub(crate) fn spec(name: String, schema: Schema, key: Vec<usize>) -> TableSpec {
    if key.is_empty() { TableSpec::log(name, schema) } else { TableSpec::primary_key(name, schema, key) }
}

/// Where an `INSERT`'s operators write: the user's table, or the hidden table that an outside target is read from.
fn target_of(
    tick: &mut Tick<'_>,
    catalog: &crate::catalog::Catalog,
    insert: &Prepared,
    record: &mut InsertRecord,
    job: JobId,
    i: usize,
) -> Result<Target> {
    let bound: &BoundInsert = &insert.bound;
    let definition = &bound.target;
    let schema = bound.plan.schema().clone();
    let name = definition.path.to_string();
    let not_null = bound.not_null.clone();
    if insert.sink.is_none() {
        let table = catalog.table_id(&definition.path).ok_or_else(|| gone(&definition.path))?;
        let stored: Vec<usize> = definition.physical().collect();
        let position = |c: &usize| stored.iter().position(|s| s == c).expect("only stored columns are written");
        let columns = bound.columns.as_ref().map(|columns| columns.iter().map(position).collect());
        return Ok(Target { table, name, columns, key: stored_key(definition), schema, not_null, kinds_inside: false });
    }
    let written = written_columns(definition);
    let key: Vec<usize> = definition.primary_key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect();
    let mut stored = definition.schema.project(&written);
    let kinds_inside = key.is_empty() && insert.retracts;
    if kinds_inside {
        stored.columns.push(gridhouse_base::Column::new(KIND_COLUMN, TypeKind::TinyInt.not_null()));
    }
    let table = match record.outbox {
        Some(table) => table,
        None => {
            let spec = TableSpec {
                hidden: true,
                ..spec(format!("outbox/{}", sink_name(job, i, &definition.path)), stored, key.clone())
            };
            let table = tick.create_table(spec)?;
            // Kept from the start, so that nothing is reclaimed before the sink has seen it.
            tick.set_cursor(&sink_name(job, i, &definition.path), table, CommitId(0))?;
            record.outbox = Some(table);
            table
        }
    };
    Ok(Target { table, name, columns: bound.columns.clone(), key, schema, not_null, kinds_inside })
}

impl Core {
    /// How far a sink's outside has come; told by its thread.
    pub(crate) fn sink_reached(&mut self, name: &str, upto: CommitId) {
        self.reached.insert(name.to_owned(), upto);
    }

    /// Writes down how far the sinks have come, so that logs can be reclaimed.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn save_cursors(&mut self) -> Result<()> {
        if self.reached.is_empty() {
            return Ok(());
        }
        let reached = std::mem::take(&mut self.reached);
        let mut cursors = Vec::new();
        for (id, job) in &self.jobs {
            for (i, insert) in job.record.inserts.iter().enumerate() {
                let name = sink_name(*id, i, &insert.target);
                let relayed = job.branches.iter().find_map(|branch| match branch {
                    Branch::Relay { table } => Some(*table),
                    _ => None,
                });
                if let (Some(upto), Some(table)) = (reached.get(&name), insert.outbox.or(relayed)) {
                    cursors.push((name, table, *upto));
                }
            }
        }
        self.tick_writing(|tick, _| {
            cursors.iter().try_for_each(|(name, table, upto)| tick.set_cursor(name, *table, *upto))
        })?;
        Ok(())
    }
}
