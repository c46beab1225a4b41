//! The virtual tables of `system.status`: the engine's state as rows, read with the same SQL as everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, Column, Result, Schema, TableId, TypeKind, Value};
use gridhouse_flow::connector::SourceLag;
use gridhouse_sql::plan::Plan;
use gridhouse_store::TableSnapshot;

use crate::catalog::{Catalog, SYSTEM_CATALOG};
use crate::core::Core;
use crate::dml::SystemRows;
use crate::engine::Engine;
use crate::job::Branch;
use crate::outcome::Outcome;
use crate::records::{CatalogRecord, DatabaseRecord, JobState, ObjectRecord};
use crate::retention::Consumer;
use crate::shared::lock;
use crate::stream::{Stream, StreamState};
use crate::trace::Step;
use crate::wiring::sink_name;

/// The database of the virtual tables.
const STATUS: &str = "status";
/// Ids of virtual tables are counted down from here; the store counts up from 1.
const FIRST_ID: u32 = u32::MAX;

/// A virtual table: name, columns (`?` marks one that may be NULL), rows.
struct Virtual {
    name: &'static str,
    columns: &'static [(&'static str, TypeKind, bool)],
    rows: fn(&Core) -> Vec<Vec<Value>>,
}

const TABLES: &[Virtual] = &[
    Virtual {
        name: "jobs",
        columns: &[
            ("job_id", TypeKind::BigInt, false),
            ("name", TypeKind::STRING, false),
            ("state", TypeKind::STRING, false),
            ("rows_in", TypeKind::BigInt, false),
            ("rows_out", TypeKind::BigInt, false),
            ("state_bytes", TypeKind::BigInt, false),
            ("spilled_bytes", TypeKind::BigInt, false),
            ("kept_bytes", TypeKind::BigInt, true),
            ("kept_written_bytes", TypeKind::BigInt, true),
            ("kept_ms", TypeKind::Double, true),
            ("busy_ms", TypeKind::BigInt, false),
            ("began", TypeKind::STRING, false),
            ("error", TypeKind::STRING, true),
            ("statement", TypeKind::STRING, false),
        ],
        rows: job_rows,
    },
    Virtual {
        name: "tables",
        columns: &[
            ("table_name", TypeKind::STRING, false),
            ("kind", TypeKind::STRING, false),
            ("row_count", TypeKind::BigInt, false),
            ("changes", TypeKind::BigInt, false),
            ("bytes", TypeKind::BigInt, false),
            ("delay_ms", TypeKind::Double, true),
            ("last_commit", TypeKind::BigInt, true),
        ],
        rows: table_rows,
    },
    Virtual {
        name: "sources",
        columns: &[
            ("source_id", TypeKind::BigInt, false),
            ("stream", TypeKind::STRING, false),
            ("tables", TypeKind::STRING, false),
            ("state", TypeKind::STRING, false),
            ("position", TypeKind::STRING, true),
            ("rows_in", TypeKind::BigInt, false),
            ("idle_ms", TypeKind::BigInt, true),
            ("lag_bytes", TypeKind::BigInt, true),
            ("lag_ms", TypeKind::Double, true),
            ("kept_bytes", TypeKind::BigInt, true),
            ("cap_bytes", TypeKind::BigInt, true),
            ("keeper", TypeKind::STRING, true),
            ("error", TypeKind::STRING, true),
        ],
        rows: source_rows,
    },
    Virtual {
        name: "sinks",
        columns: &[
            ("sink_id", TypeKind::STRING, false),
            ("target", TypeKind::STRING, false),
            ("state", TypeKind::STRING, false),
            ("upto", TypeKind::BigInt, false),
            ("rows_out", TypeKind::BigInt, false),
            ("delay_ms", TypeKind::Double, true),
            ("lag_bytes", TypeKind::BigInt, true),
            ("lag_ms", TypeKind::Double, true),
            ("error", TypeKind::STRING, true),
        ],
        rows: sink_rows,
    },
    Virtual {
        name: "consumers",
        columns: &[
            ("consumer", TypeKind::STRING, false),
            ("table_name", TypeKind::STRING, false),
            ("state", TypeKind::STRING, false),
            ("upto", TypeKind::BigInt, false),
            ("lag_rows", TypeKind::BigInt, false),
            ("lag_bytes", TypeKind::BigInt, false),
            ("lag_ms", TypeKind::Double, false),
            ("cap_bytes", TypeKind::BigInt, true),
            ("cap_ms", TypeKind::Double, false),
        ],
        rows: consumer_rows,
    },
    Virtual {
        name: "storage",
        columns: &[
            ("table_name", TypeKind::STRING, false),
            ("live_rows", TypeKind::BigInt, false),
            ("dead_rows", TypeKind::BigInt, false),
            ("memory_bytes", TypeKind::BigInt, false),
            ("disk_bytes", TypeKind::BigInt, false),
            ("live_bytes", TypeKind::BigInt, false),
            ("segments", TypeKind::BigInt, false),
            ("space_amplification", TypeKind::Double, true),
            ("sealed_bytes", TypeKind::BigInt, false),
            ("compacted_bytes", TypeKind::BigInt, false),
        ],
        rows: storage_rows,
    },
    Virtual {
        name: "trace",
        columns: &[
            ("commit_id", TypeKind::BigInt, false),
            ("changed_at", TypeKind::TimestampLtz(6), false),
            ("number", TypeKind::BigInt, false),
            ("step", TypeKind::STRING, false),
            ("what", TypeKind::STRING, true),
            ("took_us", TypeKind::BigInt, false),
            ("after_us", TypeKind::BigInt, false),
        ],
        rows: trace_rows,
    },
    Virtual {
        name: "disk",
        columns: &[
            ("checkpoints", TypeKind::BigInt, false),
            ("log_bytes", TypeKind::BigInt, false),
            ("sealed_bytes", TypeKind::BigInt, false),
            ("compacted_bytes", TypeKind::BigInt, false),
            ("write_amplification", TypeKind::Double, true),
            ("disk_bytes", TypeKind::BigInt, false),
            ("live_bytes", TypeKind::BigInt, false),
            ("space_amplification", TypeKind::Double, true),
        ],
        rows: disk_rows,
    },
];

fn id_of(i: usize) -> TableId {
    TableId(FIRST_ID - i as u32)
}

/// The schema of columns that are given by name, kind and whether NULL belongs to them.
pub(crate) fn schema_of(columns: &[(&str, TypeKind, bool)]) -> Schema {
    let column = |(name, kind, nullable): &(&str, TypeKind, bool)| {
        let kind = kind.clone();
        Column::new(*name, if *nullable { kind.nullable() } else { kind.not_null() })
    };
    Schema::new(columns.iter().map(column).collect())
}

/// Puts the virtual tables into a catalog.
pub(crate) fn add(catalog: &mut Catalog) {
    let record = CatalogRecord { options: BTreeMap::new(), default_database: STATUS.into() };
    catalog.catalogs.insert(SYSTEM_CATALOG.into(), record);
    catalog.databases.insert((SYSTEM_CATALOG.into(), STATUS.into()), DatabaseRecord::default());
    for (i, table) in TABLES.iter().enumerate() {
        let schema = schema_of(table.columns);
        let path = ObjectPath::new(SYSTEM_CATALOG, STATUS, table.name);
        let definition = TableDef {
            path: path.clone(),
            column_kinds: vec![ColumnKind::Physical; schema.len()],
            schema,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            watermark: None,
            options: BTreeMap::new(),
            comment: None,
        };
        catalog.objects.insert(path, ObjectRecord::Table { definition: Arc::new(definition), table: Some(id_of(i)) });
    }
}

/// Whether a table is one of these.
pub(crate) fn is_system(path: &ObjectPath) -> bool {
    path.catalog == SYSTEM_CATALOG
}

/// The rows, at this moment, of the virtual tables that `plan` reads.
///
/// # Errors
/// `Unavailable` where the engine has stopped.
pub(crate) fn rows_of(plan: &Plan, engine: &Engine) -> Result<SystemRows> {
    let read: Vec<String> =
        plan.tables().iter().filter(|t| is_system(&t.path)).map(|t| t.path.object.clone()).collect();
    if read.is_empty() {
        return Ok(SystemRows::new());
    }
    engine.call(move |core| {
        let mut rows = SystemRows::new();
        for (i, table) in TABLES.iter().enumerate().filter(|(_, table)| read.iter().any(|name| name == table.name)) {
            rows.insert(id_of(i), batch_of(table.columns, (table.rows)(core)));
        }
        rows
    })
}

/// Rows as columns of the given kinds.
pub(crate) fn batch_of(columns: &[(&str, TypeKind, bool)], rows: Vec<Vec<Value>>) -> ChangeBatch {
    let column = |i: usize| {
        let values: Vec<&Value> = rows.iter().map(|row| &row[i]).collect();
        Value::array_of(&values, &columns[i].1)
    };
    ChangeBatch::insertions((0..columns.len()).map(column).collect(), rows.len())
}

/// The answer to `SHOW JOBS`.
///
/// # Errors
/// `Unavailable` where the engine has stopped.
pub(crate) fn show_jobs(engine: &Engine) -> Result<Outcome> {
    let jobs = &TABLES[0];
    let batch = engine.call(|core| batch_of(jobs.columns, job_rows(core)))?;
    Ok(Outcome::Rows { schema: schema_of(jobs.columns).into(), batches: vec![batch] })
}

pub(crate) fn text(value: impl AsRef<str>) -> Value {
    Value::Text(value.as_ref().into())
}

pub(crate) fn optional(value: Option<impl AsRef<str>>) -> Value {
    value.map_or(Value::Null, text)
}

fn millis(micros: Option<i64>) -> Value {
    micros.map_or(Value::Null, |micros| Value::Double(micros.max(0) as f64 / 1000.0))
}

fn job_rows(core: &Core) -> Vec<Vec<Value>> {
    let now_micros = core.clock.now_micros();
    let row = |job: &crate::job::Job| {
        let (mut rows_in, mut busy_nanos) = (0, 0);
        for branch in &job.branches {
            if let Branch::Flow(flow) = branch {
                for node in flow.dataflow.stats() {
                    busy_nanos += node.busy_nanos;
                    if node.inputs.is_empty() {
                        rows_in += node.rows_out;
                    }
                }
            }
        }
        let landed: u64 = core.streams.values().map(|stream| stream.rows_landed(job.record.id)).sum();
        let sent: u64 = job.sinks.iter().map(|sink| lock(&sink.status).rows_out).sum();
        let rows_out = job.rows_out.max(landed).max(sent);
        let statement: Vec<String> = job.record.inserts.iter().map(|i| gridhouse_sql::redact(&i.text)).collect();
        let error = match &job.record.state {
            JobState::Failed(why) | JobState::Waiting(why) => Some(why.as_str()),
            _ => None,
        };
        let kept = job.last_kept.get();
        vec![
            Value::Integer(i64::from(job.record.id.0)),
            text(&job.record.name),
            text(job.record.state.word()),
            Value::Integer((rows_in + landed) as i64),
            Value::Integer(rows_out as i64),
            Value::Integer(job.state_bytes() as i64),
            Value::Integer(job.spilled_bytes() as i64),
            kept.map_or(Value::Null, |kept| Value::Integer(kept.bytes as i64)),
            kept.map_or(Value::Null, |kept| Value::Integer(kept.written as i64)),
            millis(kept.map(|kept| now_micros - kept.micros)),
            Value::Integer((busy_nanos / 1_000_000) as i64),
            text(job.began.word()),
            optional(error),
            text(statement.join(";\n")),
        ]
    };
    core.jobs.values().map(row).collect()
}

fn table_rows(core: &Core) -> Vec<Vec<Value>> {
    let snapshot = core.store.ordered_snapshot();
    let mut rows = Vec::new();
    for record in core.catalog.objects.values() {
        let ObjectRecord::Table { definition, table: Some(id) } = record else { continue };
        let Ok(table) = snapshot.table(*id) else { continue };
        let stats = core.stats.get(id).copied().unwrap_or_default();
        rows.push(vec![
            text(definition.path.to_string()),
            text(if definition.primary_key.is_empty() { "log" } else { "primary key" }),
            Value::Integer(table.row_count() as i64),
            Value::Integer(stats.changes as i64),
            Value::Integer(table.bytes() as i64),
            millis(stats.delay_micros),
            if stats.last_commit.0 == 0 { Value::Null } else { Value::Integer(stats.last_commit.0 as i64) },
        ]);
    }
    rows
}

/// Every reader of a log: where it stands, how far it is behind, and how far it may be.
fn consumer_rows(core: &Core) -> Vec<Vec<Value>> {
    let snapshot = core.store.ordered_snapshot();
    let row = |consumer: Consumer| {
        let name = snapshot.table(consumer.table).map(|table| table.spec().name.clone()).unwrap_or_default();
        let state = match (consumer.is_lost, consumer.lag.rows) {
            (true, _) => "LOST",
            (false, 0) => "CURRENT",
            (false, _) => "BEHIND",
        };
        vec![
            text(&consumer.name),
            text(name),
            text(state),
            Value::Integer(consumer.upto.0 as i64),
            Value::Integer(consumer.lag.rows as i64),
            Value::Integer(consumer.lag.bytes as i64),
            millis(Some(consumer.lag_micros)),
            consumer.cap_bytes.map_or(Value::Null, |bytes| Value::Integer(i64::try_from(bytes).unwrap_or(i64::MAX))),
            millis(Some(consumer.cap_micros)),
        ]
    };
    core.consumers().into_iter().chain(core.readers_of_expiring_logs()).map(row).collect()
}

/// What every table takes, hidden ones too, and what has been written of it to segments since the engine was opened.
fn storage_rows(core: &Core) -> Vec<Vec<Value>> {
    let row = |table: TableSnapshot| {
        let (storage, written) = (table.storage(), core.store.written_of(table.id()));
        vec![
            text(&table.spec().name),
            Value::Integer(storage.live_rows as i64),
            Value::Integer(storage.dead_rows as i64),
            Value::Integer(storage.memory_bytes as i64),
            Value::Integer(storage.disk_bytes as i64),
            Value::Integer(storage.live_bytes as i64),
            Value::Integer(storage.segments as i64),
            share(storage.disk_bytes, storage.live_bytes),
            Value::Integer(written.sealed_bytes as i64),
            Value::Integer(written.compacted_bytes as i64),
        ]
    };
    core.store.ordered_snapshot().tables().map(row).collect()
}

/// Every step of the last ticks that carried a source's commit, the oldest first.
fn trace_rows(core: &Core) -> Vec<Vec<Value>> {
    let row = |step: Step| {
        let job = step.job.map(|id| core.jobs.get(&id).map_or_else(|| id.to_string(), |job| job.record.name.clone()));
        vec![
            Value::Integer(step.commit.0 as i64),
            Value::Integer(step.changed),
            Value::Integer(step.number as i64),
            text(step.word),
            optional(job.or(step.sink)),
            Value::Integer(step.micros),
            Value::Integer(step.after_micros),
        ]
    };
    core.shared.trace().steps().into_iter().map(row).collect()
}

/// What all tables have cost the disk since the engine was opened, and what they take of it.
fn disk_rows(core: &Core) -> Vec<Vec<Value>> {
    let written = core.store.written();
    let (mut disk_bytes, mut live_bytes) = (0, 0);
    for table in core.store.ordered_snapshot().tables() {
        let storage = table.storage();
        (disk_bytes, live_bytes) = (disk_bytes + storage.disk_bytes, live_bytes + storage.live_bytes);
    }
    vec![vec![
        Value::Integer(written.checkpoints as i64),
        Value::Integer(written.log_bytes as i64),
        Value::Integer(written.sealed_bytes as i64),
        Value::Integer(written.compacted_bytes as i64),
        written.amplification().map_or(Value::Null, Value::Double),
        Value::Integer(disk_bytes as i64),
        Value::Integer(live_bytes as i64),
        share(disk_bytes, live_bytes),
    ]]
}

/// Bytes on disk for each byte of living rows; NULL where no row lives there.
fn share(disk_bytes: u64, live_bytes: u64) -> Value {
    if live_bytes == 0 { Value::Null } else { Value::Double(disk_bytes as f64 / live_bytes as f64) }
}

fn source_rows(core: &Core) -> Vec<Vec<Value>> {
    let now = core.clock.now_micros();
    let row = |stream: &Stream| {
        let tables: Vec<&str> = stream.record.tables.iter().map(|table| table.table_key.as_str()).collect();
        let connector = core.connectors.sources.get(stream.record.connector.as_str());
        let position = stream.position.as_ref().zip(connector).map(|(at, connector)| connector.position_text(at));
        let lag = |bytes: &dyn Fn(&SourceLag) -> Option<u64>| {
            let bytes = stream.lag.as_ref().and_then(bytes).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            bytes.map_or(Value::Null, Value::Integer)
        };
        vec![
            Value::Integer(i64::from(stream.record.id.0)),
            text(&stream.record.stream_key),
            text(tables.join(", ")),
            text(stream.state.word()),
            optional(position),
            Value::Integer(stream.rows_in as i64),
            stream.last_event_time.map_or(Value::Null, |time| Value::Integer((now - time).max(0) / 1000)),
            lag(&|lag| Some(lag.behind_bytes)),
            stream.lag.as_ref().map_or(Value::Null, |lag| {
                // Nothing was left at the last look, and the next is due: the time since counts only where nobody can look.
                let is_even = lag.behind_bytes == 0 && stream.state == StreamState::Running;
                let since = core.clock.monotonic().saturating_sub(lag.caught_up);
                Value::Double(if is_even { 0.0 } else { since.as_secs_f64() * 1_000.0 })
            }),
            lag(&|lag| Some(lag.kept_bytes)),
            lag(&|lag| lag.cap_bytes),
            optional(stream.lag.as_ref().map(|lag| &lag.keeper)),
            optional(stream.state.error()),
        ]
    };
    core.streams.values().map(row).collect()
}

fn sink_rows(core: &Core) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let consumers: BTreeMap<String, Consumer> =
        core.consumers().into_iter().map(|consumer| (consumer.name.clone(), consumer)).collect();
    for job in core.jobs.values() {
        let outside = job.record.inserts.iter().enumerate().filter(|(_, insert)| insert.sink.is_some());
        for (sink, (i, insert)) in job.sinks.iter().zip(outside) {
            let status = lock(&sink.status).clone();
            let state = match (&status.error, status.failed) {
                (_, true) => "FAILED",
                (Some(_), false) => "WAITING",
                (None, false) => "RUNNING",
            };
            let name = sink_name(job.record.id, i, &insert.target);
            let behind = consumers.get(&name);
            rows.push(vec![
                text(&name),
                text(insert.target.to_string()),
                text(state),
                Value::Integer(status.upto.0 as i64),
                Value::Integer(status.rows_out as i64),
                millis(status.delay_micros),
                behind.map_or(Value::Null, |consumer| Value::Integer(consumer.lag.bytes as i64)),
                millis(behind.map(|consumer| consumer.lag_micros)),
                optional(status.error),
            ]);
        }
    }
    rows
}
