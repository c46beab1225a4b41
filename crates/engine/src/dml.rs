//! Statements that read and change rows, and those that begin and end jobs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, CommitId, Error, JobId, Result, TableId};
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_flow::TickContext;
use gridhouse_sql::ast::{Delete, Insert, JobName, ObjectName, Query, Statement, Update};
use gridhouse_sql::compared;
use gridhouse_sql::plan::{BoundInsert, Plan};
use gridhouse_store::Snapshot;

use crate::batch::{FEW_ROWS, QUERY_THREADS, Running, obstacle};
use crate::boot::{bind, find_job};
use crate::catalog::Catalog;
use crate::ddl::stored;
use crate::dead::ON_ERROR;
use crate::keyed::Keyed;
use crate::known::Noted;
use crate::launch::Submission;
use crate::on_key::settled;
use crate::outcome::Outcome;
use crate::outside::OutsideRows;
use crate::prepare::{Prepared, prepare, unique_at_once};
use crate::query::{Reading, execute, zone_of};
use crate::rebuild::{GAPS, Gaps};
use crate::records::{Environment, JobState, ObjectRecord, STREAMS};
use crate::session::{Session, done};
use crate::shared::lock;
use crate::system;

/// Settings that shape a plan or its meaning, and so belong to a job.
const SHAPING_SETTINGS: &[&str] = &["table.local-time-zone", ON_ERROR];

/// What sets the identity of a bounded `INSERT` into an outside table apart from that of a continuous one.
pub(crate) const ONCE: &str = "/once ";

/// How long a bounded `INSERT` into an outside table sleeps between looks whether it has arrived.
const ARRIVAL_LOOK: Duration = Duration::from_millis(50);

impl Session {
    pub(crate) fn query(&mut self, query: &Query) -> Result<Outcome> {
        // Taken first: a plan may have been bound over a newer one, and is not used again then.
        let catalog = self.catalog();
        let plan = self.bind(|binder| binder.query(query))?;
        let schema = plan.schema().clone();
        if let Some(found) = self.look_up(&plan, &self.catalog()) {
            let batches = found?;
            let (compared, zone) = (compared(query), zone_of(&self.settings)?);
            self.known.note(Noted { catalog, plan, compared, zone });
            return Ok(Outcome::Rows { schema, batches });
        }
        let batches = self.read(plan)?;
        Ok(Outcome::Rows { schema, batches })
    }

    /// The rows of a plan over the last durable tick, if it names the whole key of the one table that it reads.
    pub(crate) fn look_up(&self, plan: &Plan, catalog: &Catalog) -> Option<Result<Vec<ChangeBatch>>> {
        let keyed = Keyed::of(plan)?;
        let table = catalog.table_id(&keyed.scan.table.path)?;
        let found = || {
            let context = EvalContext {
                now_micros: self.engine.inner.clock.now_micros(),
                zone: zone_of(&self.settings)?,
                seed: 0,
                first_row: 0,
            };
            keyed.rows(plan, &self.snapshot()?.table(table)?, &context)
        };
        Some(found())
    }

    /// The rows of a plan over the last durable tick, and over outside tables as they are now.
    fn read(&self, plan: Plan) -> Result<Vec<ChangeBatch>> {
        let catalog = self.catalog();
        let (plan, outside) = OutsideRows::read(plan, &self.engine.inner.connectors)?;
        let system = system::rows_of(&plan, &self.engine)?;
        let context = self.tick_context()?;
        let snapshot = self.snapshot()?;
        let table_of = |path: &ObjectPath| outside.table_id(path).or_else(|| catalog.table_id(path));
        let given = |table: TableId| match system.get(&table) {
            Some(rows) => Some(vec![rows.clone()]),
            None => outside.rows(table).map(<[ChangeBatch]>::to_vec),
        };
        let connectors = &self.engine.inner.connectors;
        let (shared, cancelled) = (&self.engine.inner.shared, self.cancelled());
        let is_cancelled = || cancelled.load(Ordering::Relaxed) || shared.is_closed();
        let running =
            Running { queries: &self.engine.inner.queries, path: self.query_path(), is_cancelled: &is_cancelled };
        let reading = Reading {
            snapshot: &snapshot,
            table_of: &table_of,
            given: &given,
            connectors,
            context: &context,
            running: Some(running),
        };
        execute(&plan, None, reading)
    }

    /// On what a query with this plan runs, in words.
    pub(crate) fn path_text(&self, plan: &Plan) -> String {
        if let Some(why) = obstacle(plan) {
            return format!("runs on: the operators of jobs, for {why}");
        }
        let (catalog, snapshot) = (self.catalog(), self.engine.inner.reader.snapshot());
        let outside = plan.tables().iter().any(|table| table.connector().is_some());
        let mut rows = 0;
        plan.visit(&mut |node| {
            let Plan::Scan(scan) = node else { return };
            let table = catalog.table_id(&scan.table.path).and_then(|table| snapshot.table(table).ok());
            rows += table.map_or(0, |table| table.row_count());
        });
        if rows >= FEW_ROWS {
            format!("runs on: DataFusion, {QUERY_THREADS} threads, {rows} rows in its tables")
        } else if outside {
            format!(
                "runs on: DataFusion where its outside tables give {FEW_ROWS} rows or more, else the operators of jobs"
            )
        } else {
            format!("runs on: the operators of jobs, for {rows} rows in its tables")
        }
    }

    fn tick_context(&self) -> Result<TickContext> {
        Ok(TickContext { now_micros: self.engine.inner.clock.now_micros(), zone: zone_of(&self.settings)? })
    }

    /// Runs `INSERT`s: at once where their input is bounded, else as one job.
    pub(crate) fn insert(&mut self, inserts: &[Insert], replace: Option<JobId>) -> Result<Outcome> {
        let mut bound = Vec::new();
        for insert in inserts {
            bound.push((insert.text.clone(), self.bind(|binder| binder.insert(insert))?));
        }
        let batch = self.setting("execution.runtime-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("batch"));
        let connectors = &self.engine.inner.connectors;
        let all_bounded = batch || bound.iter().all(|(_, insert)| insert.plan.tables().is_empty());
        if batch {
            for table in bound.iter().flat_map(|(_, insert)| insert.plan.tables()) {
                if table.connector().is_some() {
                    connectors.scan(&table).map_err(|error| error.context(format!("table {}", table.path)))?;
                }
            }
        }
        if all_bounded && replace.is_none() {
            return self.insert_once(bound);
        }
        let environment = self.environment(&bound);
        let prepared = self.prepare_all(bound, false)?;
        let name = match self.setting("pipeline.name") {
            Some(name) => name.to_owned(),
            None => format!("insert-into_{}", prepared[0].bound.target.path),
        };
        let additional = self.setting("writer") == Some("additional");
        let (script, gaps) = (self.script, self.gaps());
        let submission =
            Submission { inserts: prepared, name: name.clone(), environment, script, additional, replace, gaps };
        let (id, commit, resumed) = self.engine.call(move |core| core.submit(submission))??;
        self.wait(commit)?;
        if resumed {
            // What was said of its sources and sinks when it was made has been read then.
            self.notices.clear();
        }
        Ok(Outcome::Job { id, name, resumed })
    }

    fn prepare_all(&mut self, bound: Vec<(String, BoundInsert)>, once: bool) -> Result<Vec<Prepared>> {
        let connectors = self.engine.inner.connectors.clone();
        let on_error = self.setting(ON_ERROR).map(str::to_owned);
        let mut prepared = Vec::new();
        for (text, insert) in bound {
            let insert = prepare(&text, insert, on_error.as_deref(), once, &connectors)?;
            if insert.dead_letters {
                self.make_dead_letter_table(&insert.bound.target.path)?;
            }
            for source in &insert.sources {
                source.description.notices.iter().for_each(|notice| self.notice(notice.clone()));
            }
            if insert.unique.is_some() {
                let target = &insert.bound.target.path;
                self.notice(format!(
                    "several rows of the query may share a key of {target}; the largest of them, column by column, stands"
                ));
            }
            if let Some(sink) = &insert.sink {
                sink.notices.iter().for_each(|notice| self.notice(notice.clone()));
            }
            prepared.push(insert);
        }
        Ok(prepared)
    }

    /// What the statements were read under, as far as they need it.
    fn environment(&self, bound: &[(String, BoundInsert)]) -> Environment {
        let mut named: Vec<ObjectPath> = Vec::new();
        for (_, insert) in bound {
            named.push(insert.target.path.clone());
            named.extend(insert.plan.tables().iter().map(|table| table.path.clone()));
        }
        // Views leave no trace in a plan, so all are kept: a job stays what it is when one is dropped or made anew.
        let kept = |record: &&ObjectRecord| matches!(record, ObjectRecord::View(_)) || named.contains(record.path());
        let catalog = self.catalog();
        let hidden = |record: &&ObjectRecord| self.temporary.contains_key(record.path());
        let durable =
            catalog.objects.values().filter(|record| matches!(record, ObjectRecord::View(_)) && !hidden(record));
        let shaping = |key: &&str| self.settings.get(*key).map(|value| ((*key).to_owned(), value.clone()));
        Environment {
            catalog: self.context.catalog.clone(),
            database: self.context.database.clone(),
            settings: SHAPING_SETTINGS.iter().filter_map(shaping).collect(),
            temporary: self.temporary.values().filter(kept).chain(durable).cloned().collect(),
        }
    }

    /// Runs `INSERT`s whose input ends, in one tick.
    fn insert_once(&mut self, bound: Vec<(String, BoundInsert)>) -> Result<Outcome> {
        if bound.iter().any(|(_, insert)| insert.target.connector().is_some()) {
            return self.insert_outside(bound);
        }
        let catalog = self.catalog();
        let context = self.tick_context()?;
        let mut targets = Vec::new();
        for (_, insert) in &bound {
            targets.push(stored(&catalog, &insert.target)?);
            if insert.target.primary_key.is_empty() && !insert.plan.tables().is_empty() {
                self.notice(format!("{} keeps every row: running this again appends them again", insert.target.path));
            }
        }
        // The outside is asked here, so that the core does not wait for it.
        let mut plans = Vec::new();
        for (_, insert) in &bound {
            plans.push(OutsideRows::read(insert.plan.clone(), &self.engine.inner.connectors)?);
        }
        let asks_outside = plans.iter().any(|(plan, _)| {
            let mut asks = false;
            plan.visit(&mut |node| asks |= matches!(node, Plan::Lookup(_)));
            asks
        });
        let connectors = self.engine.inner.connectors.clone();
        let compute = move |snapshot: &Snapshot| {
            let mut writes = Vec::new();
            for (((_, insert), table), (plan, outside)) in bound.iter().zip(&targets).zip(&plans) {
                // Rows that meet one that is there are settled one by one, in their order.
                let unique = if insert.on_key.is_some() { None } else { unique_at_once(insert) };
                let table_of = |path: &ObjectPath| outside.table_id(path).or_else(|| catalog.table_id(path));
                let given = |table: TableId| outside.rows(table).map(<[ChangeBatch]>::to_vec);
                let reading = Reading {
                    snapshot,
                    table_of: &table_of,
                    given: &given,
                    connectors: &connectors,
                    context: &context,
                    running: None,
                };
                let out = execute(plan, unique.as_deref(), reading)?;
                let target = crate::job::Target::of(insert, *table);
                target.check(&out)?;
                let eval = EvalContext { now_micros: context.now_micros, zone: context.zone, seed: 0, first_row: 0 };
                let out = settled(insert, *table, snapshot, out, &eval)?;
                writes.push((target, out));
            }
            Ok::<_, Error>(writes)
        };
        let computed = if asks_outside { Some(compute(&self.snapshot()?)?) } else { None };
        let (commit, rows) = self.engine.call(move |core| {
            core.tick()?;
            let writes = match computed {
                Some(writes) => writes,
                None => compute(&core.store.ordered_snapshot())?,
            };
            let rows = writes.iter().flat_map(|(_, out)| out).map(|batch| batch.len() as u64).sum::<u64>();
            let commit = core.tick_writing(|tick, deltas| {
                for (target, out) in writes {
                    for batch in out {
                        let effective = target.write(tick, &batch)?;
                        deltas.push(target.table, effective);
                    }
                }
                Ok(())
            })?;
            Ok::<_, Error>((commit, rows))
        })??;
        self.wait(commit)?;
        Ok(Outcome::Affected { tag: "INSERT".into(), rows })
    }

    /// Runs `INSERT`s into outside tables: as a job that is forgotten once the outside has everything.
    fn insert_outside(&mut self, bound: Vec<(String, BoundInsert)>) -> Result<Outcome> {
        let environment = self.environment(&bound);
        let mut inside = Vec::with_capacity(bound.len());
        let mut read = Vec::with_capacity(bound.len());
        for (text, mut insert) in bound {
            let (plan, outside) = OutsideRows::read(insert.plan, &self.engine.inner.connectors)?;
            insert.plan = plan;
            inside.push((text, insert));
            read.push(outside);
        }
        let mut prepared = self.prepare_all(inside, true)?;
        for (insert, outside) in prepared.iter_mut().zip(read) {
            insert.outside = outside;
            // Each run is one of its own.
            insert.fingerprint = format!("{}{ONCE}{}", insert.fingerprint, self.script);
            // A snapshot is written; what the input tables do afterwards is no business of this statement.
            insert.route = crate::prepare::Route::Flow;
        }
        let name = format!("insert-into_{}", prepared[0].bound.target.path);
        let submission = Submission {
            inserts: prepared,
            name,
            environment,
            script: self.script,
            additional: true,
            replace: None,
            gaps: Gaps::Refused,
        };
        let (id, commit, _) = self.engine.call(move |core| core.submit(submission))??;
        self.wait(commit)?;
        let rows = self.wait_arrived(id, commit);
        self.engine.call(move |core| core.drop_job(id))??;
        Ok(Outcome::Affected { tag: "INSERT".into(), rows: rows? })
    }

    /// Waits until the sinks of a job have everything up to `commit`; gives the rows that they took.
    fn wait_arrived(&self, id: JobId, commit: CommitId) -> Result<u64> {
        loop {
            let state = self.engine.call(move |core| {
                let job = core.jobs.get(&id)?;
                let sinks: Vec<_> = job.sinks.iter().map(|sink| lock(&sink.status).clone()).collect();
                let sent = job.rows_out;
                Some((job.record.state.clone(), sinks, sent))
            })?;
            let Some((state, sinks, sent)) = state else {
                return Err(Error::not_found("the statement's job was dropped meanwhile"));
            };
            match state {
                JobState::Running => {}
                JobState::Failed(why) | JobState::Waiting(why) => return Err(Error::invalid(why)),
                JobState::Stopped | JobState::Finished => {
                    return Err(Error::conflict(format!(
                        "job {} of this statement was stopped before its rows had arrived",
                        id.0
                    ))
                    .hint("run the statement again"));
                }
            }
            if sent == 0 || sinks.iter().all(|sink| sink.read >= commit) {
                return Ok(sent);
            }
            std::thread::park_timeout(ARRIVAL_LOOK);
        }
    }

    pub(crate) fn replace_job(&mut self, job: Option<&JobName>, body: Statement) -> Result<Outcome> {
        let inserts = match body {
            Statement::Insert(insert) => vec![*insert],
            Statement::StatementSet(inserts) => inserts,
            _ => return Err(Error::invalid("REPLACE JOB takes an INSERT or a statement set")),
        };
        let id = match job {
            Some(name) => self.job(name)?,
            None => {
                let path = self.context.path(&inserts[0].table)?;
                let wanted = path.clone();
                let writers = self.engine.call(move |core| {
                    let writes =
                        |job: &&crate::job::Job| job.record.inserts.iter().any(|insert| insert.target == wanted);
                    core.jobs.values().filter(writes).map(|job| job.record.id).collect::<Vec<_>>()
                })?;
                match writers.as_slice() {
                    [only] => *only,
                    [] => {
                        return Err(Error::not_found(format!("no job writes into {path}")).hint("run the INSERT alone"));
                    }
                    _ => {
                        return Err(Error::conflict(format!("several jobs write into {path}"))
                            .hint("name the one to replace: REPLACE JOB 7 AS INSERT …; SHOW JOBS lists them"));
                    }
                }
            }
        };
        self.insert(&inserts, Some(id))
    }

    pub(crate) fn update(&mut self, update: &Update) -> Result<Outcome> {
        let bound = self.bind(|binder| binder.update(update))?;
        let table = stored(&self.catalog(), &bound.table)?;
        let key = &bound.table.primary_key;
        if key.is_empty() {
            return Err(Error::invalid(format!(
                "{} keeps every row as it came: a table without key cannot be updated",
                bound.table.path
            ))
            .hint("declare a PRIMARY KEY for tables whose rows change"));
        }
        if let Some((column, _)) = bound.assignments.iter().find(|(column, _)| key.contains(column)) {
            let name = &bound.table.schema.columns[*column].name;
            return Err(Error::invalid(format!(
                "column {name} is part of the key of {} and cannot be set",
                bound.table.path
            ))
            .hint("DELETE the row and INSERT it under its new key"));
        }
        let positions: Vec<usize> = bound.table.physical().collect();
        let place = |column: usize| positions.iter().position(|p| *p == column).expect("assigned columns are stored");
        let assignments: Vec<(usize, Expr)> =
            bound.assignments.iter().map(|(column, expr)| (place(*column), expr.map_columns(place))).collect();
        let predicate = bound.predicate.as_ref().map(|expr| expr.map_columns(place));
        let not_null: Vec<usize> = assignments
            .iter()
            .filter(|(c, _)| !bound.table.schema.columns[positions[*c]].sql_type.nullable)
            .map(|(c, _)| *c)
            .collect();
        let schema = std::sync::Arc::new(bound.table.schema.project(&positions));
        let name = bound.table.path.to_string();
        self.change_rows("UPDATE", table, predicate, move |rows, context| {
            let mut columns = rows.columns().to_vec();
            for (column, expr) in &assignments {
                columns[*column] = expr.eval(rows.columns(), rows.len(), context)?;
            }
            let changed = rows.with_columns(columns);
            let target = crate::job::Target::plain(table, name.clone(), schema.clone(), not_null.clone());
            target.check(std::slice::from_ref(&changed))?;
            Ok(changed)
        })
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<Outcome> {
        let bound = self.bind(|binder| binder.delete(delete))?;
        let table = stored(&self.catalog(), &bound.table)?;
        if bound.table.primary_key.is_empty() {
            return Err(Error::invalid(format!(
                "{} keeps every row: rows of a table without key cannot be deleted",
                bound.table.path
            ))
            .hint("TRUNCATE TABLE empties it, or declare a PRIMARY KEY"));
        }
        let positions: Vec<usize> = bound.table.physical().collect();
        let place =
            |column: usize| positions.iter().position(|p| *p == column).expect("columns of a predicate are stored");
        let predicate = bound.predicate.as_ref().map(|expr| expr.map_columns(place));
        self.change_rows("DELETE", table, predicate, |rows, _| Ok(rows.negated()))
    }

    /// Changes the rows of a table for which `predicate` is true, all in one tick that sees the newest state.
    fn change_rows(
        &mut self,
        tag: &str,
        table: TableId,
        predicate: Option<Expr>,
        change: impl Fn(&ChangeBatch, &EvalContext) -> Result<ChangeBatch> + Send + 'static,
    ) -> Result<Outcome> {
        let context = self.tick_context()?;
        let context = EvalContext { now_micros: context.now_micros, zone: context.zone, seed: 0, first_row: 0 };
        let (commit, rows) = self.engine.call(move |core| {
            core.tick()?;
            let snapshot = core.store.ordered_snapshot();
            let mut changes = Vec::new();
            let mut count = 0;
            for batch in snapshot.table(table)?.scan(None) {
                let mut rows = batch?;
                if let Some(predicate) = &predicate {
                    rows = rows.filter(&predicate.eval_mask(rows.columns(), rows.len(), &context)?)?;
                }
                if !rows.is_empty() {
                    count += rows.len() as u64;
                    changes.push(change(&rows, &context)?);
                }
            }
            let records = core.may_lack_of(table);
            let commit = core.tick_writing(|tick, deltas| {
                records.iter().for_each(|(key, text)| tick.put(STREAMS, key, Some(text)));
                for batch in changes {
                    let effective = tick.write(table, &batch)?;
                    deltas.push(table, effective);
                }
                Ok(())
            })?;
            Ok::<_, Error>((commit, count))
        })??;
        self.wait(commit)?;
        Ok(Outcome::Affected { tag: tag.to_owned(), rows })
    }

    pub(crate) fn truncate(&mut self, name: &ObjectName) -> Result<Outcome> {
        let definition = self.bind(|binder| binder.table(name))?;
        let table = stored(&self.catalog(), &definition)?;
        if definition.primary_key.is_empty() {
            let path = definition.path.clone();
            let readers = self.engine.call(move |core| {
                core.jobs
                    .values()
                    .find(|job| core.read_by(job).contains(&table))
                    .map(|job| (job.record.id.0, job.record.name.clone()))
            })?;
            if let Some((id, job)) = readers {
                return Err(Error::conflict(format!(
                    "job {job} ({id}) reads {path}, and what it has made of those rows cannot be withdrawn"
                ))
                .hint(format!("DROP JOB {id} first")));
            }
        }
        self.change(move |core| {
            let records = core.may_lack_of(table);
            core.tick_writing(|tick, deltas| {
                records.iter().for_each(|(key, text)| tick.put(STREAMS, key, Some(text)));
                let effective = tick.truncate(table)?;
                deltas.push(table, effective);
                Ok(())
            })
        })?;
        done("TRUNCATE TABLE")
    }

    fn job(&self, name: &JobName) -> Result<JobId> {
        let wanted = name.name.clone();
        self.engine.call(move |core| find_job(core, &wanted))?.map_err(|error| error.at(name.at))
    }

    pub(crate) fn stop_job(&mut self, name: &JobName) -> Result<Outcome> {
        let id = self.job(name)?;
        let running =
            self.engine.call(move |core| core.jobs.get(&id).is_some_and(|job| job.record.state.is_wanted()))?;
        if !running {
            self.notice(format!("job {} does not run", id.0));
            return done("STOP JOB");
        }
        self.change(move |core| {
            core.halt(id, JobState::Stopped)?;
            Ok(core.ordered())
        })?;
        done("STOP JOB")
    }

    pub(crate) fn start_job(&mut self, name: &JobName) -> Result<Outcome> {
        let id = self.job(name)?;
        let running = self
            .engine
            .call(move |core| core.jobs.get(&id).is_some_and(|job| job.record.state == JobState::Running))?;
        if running {
            self.notice(format!("job {} runs already", id.0));
            return done("START JOB");
        }
        let kept = self.engine.call(move |core| {
            let inserts = core.jobs.get(&id).and_then(|job| bind(core, &job.record).ok()).unwrap_or_default();
            let wanted = inserts.into_iter().filter(|insert| insert.dead_letters);
            wanted.map(|insert| insert.bound.target.path.clone()).collect::<Vec<_>>()
        })?;
        for target in kept {
            self.make_dead_letter_table(&target)?;
        }
        let gaps = self.gaps();
        self.change(move |core| {
            // Another session may have been quicker.
            let gone = || Error::not_found(format!("there is no job {}", id.0));
            let record = &core.jobs.get(&id).ok_or_else(gone)?.record;
            if record.state == JobState::Running {
                return Ok(core.ordered());
            }
            let inserts = bind(core, record)?;
            core.resume(id, inserts, gaps)?;
            Ok(core.ordered())
        })?;
        done("START JOB")
    }

    /// What the session says is to happen where rows have expired that a job needs.
    fn gaps(&self) -> Gaps {
        if self.setting(GAPS) == Some("accept") { Gaps::Accepted } else { Gaps::Refused }
    }

    pub(crate) fn drop_job(&mut self, name: &JobName, if_exists: bool) -> Result<Outcome> {
        let id = match self.job(name) {
            Err(error) if if_exists && error.kind() == gridhouse_base::ErrorKind::NotFound => {
                self.notice(error.to_string());
                return done("DROP JOB");
            }
            other => other?,
        };
        self.change(move |core| {
            core.drop_job(id)?;
            Ok(core.ordered())
        })?;
        done("DROP JOB")
    }
}

/// System tables by id, with their rows at this moment.
pub(crate) type SystemRows = BTreeMap<TableId, ChangeBatch>;
