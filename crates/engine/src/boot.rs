//! What happens before the core's first message: records are read, jobs rebuilt, streams started.
//!
//! Nothing here asks the outside; a database that is away delays its own stream only.

use std::collections::BTreeMap;

use gridhouse_base::{Error, JobId, Result, SourceId};
use gridhouse_sql::ast::Statement;
use gridhouse_sql::{Binder, NameContext, parse_script};
use gridhouse_store::Snapshot;

use crate::catalog::{Catalog, DEFAULT_CATALOG, DEFAULT_DATABASE, Scope};
use crate::core::Core;
use crate::dead::ON_ERROR;
use crate::dml::ONCE;
use crate::follow::Kept;
use crate::job::Job;
use crate::launch::{JOB_COUNTER, SOURCE_COUNTER};
use crate::place;
use crate::prepare::{Prepared, Remembered, prepare};
use crate::query::zone_of;
use crate::records::{
    CATALOGS, COUNTERS, CatalogRecord, DATABASES, JOBS, JobRecord, JobState, OBJECTS, ObjectRecord, STREAMS,
    StreamRecord, WAY_BACK, WAY_BACK_OF_JOB, database_key, decode, encode, object_key,
};
use crate::retention::Moments;
use crate::stream::Stream;
use crate::system;
use crate::wiring::hidden_landing_of;

/// Brings the core to where the last process left off, and begins a history; `seed` is for what is random in that.
///
/// # Errors
/// `Corrupt` where a record cannot be read; those of the store.
pub(crate) fn boot(core: &mut Core, seed: u64) -> Result<()> {
    let snapshot = core.store.ordered_snapshot();
    core.shared.set_durable(snapshot.commit());
    core.moments = Moments::of(&snapshot, &*core.clock);
    core.catalog = read_catalog(&snapshot)?;
    if !core.catalog.catalogs.contains_key(DEFAULT_CATALOG) {
        found(core)?;
    }
    take_arrived(core, &snapshot)?;
    let snapshot = core.store.ordered_snapshot();
    core.begin_history(seed)?;
    system::add(&mut core.catalog);
    core.shared.set_catalog(core.catalog.clone(), core.ordered());
    for (key, text) in snapshot.list(STREAMS) {
        let mut record: StreamRecord = decode(STREAMS, &key, &text)?;
        place::keep(&mut record, &core.connectors);
        let position = core.store.source_position(record.id).map(|at| at.position);
        record.has_place |= position.is_some();
        let mut stream = Stream::new(record, position);
        // What lands for whoever reads it goes on landing, also while those do not run: they would miss it when they go on.
        for table in stream.record.tables.iter().filter(|table| table.job.is_none()) {
            stream.landings.insert(table.id, hidden_landing_of(&table.definition));
        }
        core.streams.insert(stream.record.id, stream);
    }
    let mut records: Vec<JobRecord> = Vec::new();
    for (key, text) in snapshot.list(JOBS) {
        records.push(decode(JOBS, &key, &text)?);
    }
    let counted = |name| snapshot.get(COUNTERS, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    core.job_counter = records.iter().map(|record| record.id.0).max().unwrap_or(0).max(counted(JOB_COUNTER));
    core.source_counter = core.streams.keys().map(|id| id.0).max().unwrap_or(0).max(counted(SOURCE_COUNTER));
    core.pending = core.store.pending_count() > 0;
    let once = |record: &JobRecord| record.inserts.iter().any(|insert| insert.fingerprint.contains(ONCE));
    let (interrupted, records): (Vec<_>, Vec<_>) = records.into_iter().partition(once);
    let (running, resting): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.state == JobState::Running);
    // Those that are still to be built too: whoever is built before them is not alone in writing what they write as well.
    for record in resting.into_iter().chain(running.iter().cloned()) {
        core.jobs.insert(record.id, Job::resting(record));
    }
    rebuild_all(core, running)?;
    core.kept = Kept::default();
    core.starting = false;
    core.tick()?;
    let waiting = |job: &Job| matches!(job.record.state, JobState::Waiting(_)) && job.wait.is_none();
    let waiting: Vec<_> = core.jobs.iter().filter(|(_, job)| waiting(job)).map(|(id, _)| *id).collect();
    for id in waiting {
        core.wait_on(id)?;
    }
    for record in interrupted {
        // Its statement was never answered, and nobody waits for it any more. It goes once the other jobs are known.
        let id = record.id;
        core.jobs.insert(id, Job::resting(record));
        core.drop_job(id)?;
    }
    let streams: Vec<SourceId> = core.streams.keys().copied().collect();
    for source in &streams {
        if core.streams.get(source).is_some_and(|stream| stream.record.leaving.is_some()) {
            core.begin_leaving(*source)?;
        }
    }
    streams.into_iter().try_for_each(|source| core.start_or_fail(source))?;
    core.want_sync();
    Ok(())
}

/// Notes of contents that were about to arrive when the last process ended whether they have: before any other commit.
fn take_arrived(core: &mut Core, snapshot: &Snapshot) -> Result<()> {
    let last = core.store.last_commit();
    let mut changed = Vec::new();
    for (key, text) in snapshot.list(STREAMS) {
        let mut record: StreamRecord = decode(STREAMS, &key, &text)?;
        let mut has_changed = false;
        for table in &mut record.tables {
            let Some((position, commit)) = table.arriving.take() else { continue };
            has_changed = true;
            if commit <= last {
                table.snapshot = Some(position);
            }
        }
        if has_changed {
            changed.push((key, encode(&record)));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    core.tick_with(|tick| changed.iter().for_each(|(key, text)| tick.put(STREAMS, key, Some(text))))
}

/// The catalog as a snapshot holds it.
///
/// # Errors
/// `Corrupt` where a record cannot be read.
pub(crate) fn read_catalog(snapshot: &Snapshot) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    for (key, text) in snapshot.list(CATALOGS) {
        catalog.catalogs.insert(key.clone(), decode(CATALOGS, &key, &text)?);
    }
    for (key, text) in snapshot.list(DATABASES) {
        let (owner, name) = key
            .split_once('\u{1}')
            .ok_or_else(|| Error::corrupt(format!("the database record `{key}` names no catalog")).hint(WAY_BACK))?;
        catalog.databases.insert((owner.to_owned(), name.to_owned()), decode(DATABASES, &key, &text)?);
    }
    for (key, text) in snapshot.list(OBJECTS) {
        let record: ObjectRecord = decode(OBJECTS, &key, &text)?;
        debug_assert_eq!(key, object_key(record.path()), "an object is kept under its name");
        catalog.objects.insert(record.path().clone(), record);
    }
    Ok(catalog)
}

/// Writes what a new data directory holds: Flink's default catalog and database.
fn found(core: &mut Core) -> Result<()> {
    let catalog = CatalogRecord {
        options: BTreeMap::from([("type".to_owned(), "generic_in_memory".to_owned())]),
        default_database: DEFAULT_DATABASE.to_owned(),
    };
    let database = crate::records::DatabaseRecord::default();
    core.tick_with(|tick| {
        tick.put(CATALOGS, DEFAULT_CATALOG, Some(&encode(&catalog)));
        tick.put(DATABASES, &database_key(DEFAULT_CATALOG, DEFAULT_DATABASE), Some(&encode(&database)));
    })?;
    core.catalog.catalogs.insert(DEFAULT_CATALOG.to_owned(), catalog);
    core.catalog.databases.insert((DEFAULT_CATALOG.to_owned(), DEFAULT_DATABASE.to_owned()), database);
    Ok(())
}

/// Rebuilds jobs so that each comes after those that write its inputs.
fn rebuild_all(core: &mut Core, mut waiting: Vec<JobRecord>) -> Result<()> {
    while !waiting.is_empty() {
        // A job is ready when no other waiting job writes what it reads; where jobs feed each other, any will do.
        let reads: Vec<Vec<_>> = waiting
            .iter()
            .map(|record| {
                bind(core, record)
                    .map(|inserts| inserts.iter().flat_map(|i| i.bound.plan.tables()).collect())
                    .unwrap_or_default()
            })
            .collect();
        let ready = (0..waiting.len()).find(|&i| {
            !waiting.iter().enumerate().any(|(j, other)| {
                j != i
                    && other.inserts.iter().any(|insert| {
                        reads[i]
                            .iter()
                            .any(|t: &std::sync::Arc<gridhouse_base::table::TableDef>| t.path == insert.target)
                    })
            })
        });
        let record = waiting.remove(ready.unwrap_or(0));
        let id = record.id;
        core.away.take();
        let rebuilt = bind(core, &record).and_then(|inserts| core.rebuild(record, inserts));
        if let Err(error) = rebuilt {
            core.give_up(id, error)?;
        }
    }
    Ok(())
}

/// The job's statements, bound again as they were when it was made.
///
/// # Errors
/// Where a table that they name is gone.
pub(crate) fn bind(core: &Core, record: &JobRecord) -> Result<Vec<Prepared>> {
    bind_in(&core.catalog, core.streams.values().map(|stream| &stream.record).collect(), record)
}

/// As [`bind`], upon this catalog and these streams.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_in(catalog: &Catalog, streams: Vec<&StreamRecord>, record: &JobRecord) -> Result<Vec<Prepared>> {
    let temporary = record.environment.temporary.iter().map(|object| (object.path().clone(), object.clone())).collect();
    let scope = Scope { catalog, temporary: &temporary };
    let context =
        NameContext { catalog: record.environment.catalog.clone(), database: record.environment.database.clone() };
    let binder = Binder::new(&scope, context, zone_of(&record.environment.settings)?);
    let mut prepared = Vec::new();
    for insert in &record.inserts {
        let parsed = parse_script(&insert.text).next().transpose()?;
        let Some(Statement::Insert(statement)) = parsed.map(|parsed| parsed.statement) else {
            return Err(Error::corrupt(format!("job {} holds no INSERT", record.name)).hint(WAY_BACK_OF_JOB));
        };
        let bound = binder.insert(&statement)?;
        let outside = Remembered { insert, streams: streams.clone() };
        let on_error = record.environment.settings.get(ON_ERROR).map(String::as_str);
        prepared.push(prepare(&insert.text, bound, on_error, insert.fingerprint.contains(ONCE), &outside)?);
    }
    Ok(prepared)
}

/// The job that a user names by number or label.
///
/// # Errors
/// `NotFound` where there is none, `Conflict` where the label is not unique.
pub(crate) fn find_job(core: &Core, name: &str) -> Result<JobId> {
    let known = |number: &str| number.parse().ok().map(JobId).filter(|id| core.jobs.contains_key(id));
    if let Some(job) = known(name) {
        return Ok(job);
    }
    let mut named = core.jobs.values().filter(|job| job.record.name == name).map(|job| job.record.id);
    match (named.next(), named.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Error::conflict(format!("several jobs are called {name}"))
            .hint("name it by its number; SHOW JOBS lists them")),
        // Jobs are shown as `j7` here and there; a job that is called so comes first.
        (None, _) => name
            .strip_prefix(['j', 'J'])
            .and_then(known)
            .ok_or_else(|| Error::not_found(format!("there is no job {name}")).hint("SHOW JOBS lists them")),
    }
}
