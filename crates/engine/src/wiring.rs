//! Where an `INSERT`'s rows come in and where they go: tables of streams, hidden landing tables, targets and outboxes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{CommitId, Error, JobId, Result, Schema, SourceId, TableId, TypeKind};
use gridhouse_flow::connector::{ChangelogMode, SourceTable};
use gridhouse_sql::plan::{BoundInsert, written_columns};
use gridhouse_store::{TableSpec, Tick};

use crate::dead::{self, ON_ERROR, ON_ERROR_VALUES};
use crate::job::Target;
use crate::landing::Landing;
use crate::place;
use crate::prepare::{Connectors, Prepared, PreparedSource};
use crate::records::{InsertRecord, JobRecord, SourceUse, StreamRecord, StreamTableRecord};

/// The column in which a log of changes without key keeps their kinds.
const KIND_COLUMN: &str = "__kind";

/// The name under which a sink's cursor is kept, here and at the outside.
pub(crate) fn sink_name(job: JobId, i: usize, target: &ObjectPath) -> String {
    format!("{}/{}/{}", job.0, i, target.object)
}

/// The `INSERT` that stood at this place of a job before, if it wrote to the same target.
pub(crate) fn insert_of<'a>(old: Option<&'a JobRecord>, i: usize, target: &ObjectPath) -> Option<&'a InsertRecord> {
    old?.inserts.get(i).filter(|insert| insert.target == *target)
}

pub(crate) fn gone(path: &ObjectPath) -> Error {
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

pub(crate) fn start_of(record: &StreamTableRecord) -> SourceTable {
    SourceTable { id: record.id, definition: Arc::new(record.definition.clone()), snapshot: record.snapshot.clone() }
}

/// Who a stream belongs to, where each reader of the source has one of its own.
pub(crate) fn owner_of(source: &PreparedSource, job: JobId, i: usize) -> Option<String> {
    (!source.description.shared).then(|| format!("{}/{i}", job.0))
}

/// The table of a stream that lands in `landing` for `job`; made if it is not there. What is `taken` belongs to an earlier `INSERT`
/// of the job that writes into the same table.
pub(crate) fn land(
    streams: &mut BTreeMap<SourceId, StreamRecord>,
    counter: &mut u32,
    source: &PreparedSource,
    owner: Option<String>,
    (landing, job): (TableId, Option<JobId>),
    taken: &[InsertRecord],
    connectors: &Connectors,
) -> (SourceId, u32) {
    let key = &source.description.stream_key;
    let mut known = streams.values().filter(|stream| stream.leaving.is_none());
    let id = match known.find(|stream| stream.stream_key == *key && stream.owner == owner) {
        Some(stream) => stream.id,
        None => {
            *counter += 1;
            let id = SourceId(*counter);
            let connector = source.definition.connector().unwrap_or_default().to_owned();
            let (stream_key, tables) = (key.clone(), Vec::new());
            let (next_table, options, has_place, leaving) = (1, None, false, None);
            let record =
                StreamRecord { id, connector, stream_key, owner, tables, next_table, options, has_place, leaving };
            streams.insert(id, record);
            id
        }
    };
    let stream = streams.get_mut(&id).expect("it was found or made just now");
    let is_taken = |table: u32| {
        taken.iter().flat_map(|insert| &insert.sources).any(|used| used.source == id && used.table == table)
    };
    let same = |t: &&StreamTableRecord| {
        t.landing == landing && t.job == job && t.table_key == source.description.table_key && !is_taken(t.id)
    };
    if let Some(table) = stream.tables.iter().find(same).map(|table| table.id) {
        place::define(stream, table, &source.definition, connectors);
        return (id, table);
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
        arriving: None,
        may_lack: false,
    });
    (id, table)
}

/// Has the table of a stream that is one reader's own come once more from its beginning.
pub(crate) fn read_anew(streams: &mut BTreeMap<SourceId, StreamRecord>, (source, table): (SourceId, u32)) {
    let Some(stream) = streams.get_mut(&source).filter(|stream| stream.owner.is_some()) else { return };
    stream.tables.iter_mut().filter(|record| record.id == table).for_each(|record| record.snapshot = None);
}

/// Where an `INSERT` keeps its dead letters, if it does.
///
/// # Errors
/// `NotFound` where the table is gone.
pub(crate) fn letters_of(catalog: &crate::catalog::Catalog, insert: &Prepared) -> Result<Option<TableId>> {
    if !insert.dead_letters {
        return Ok(None);
    }
    let path = dead::table_of(&insert.bound.target.path).path;
    catalog.table_id(&path).ok_or_else(|| gone(&path)).map(Some)
}

/// What an option of a source says, and what it means where it is left out.
fn option<'a>(definition: &'a TableDef, (key, default): (&str, &'a str)) -> &'a str {
    definition.options.get(key).map_or(default, String::as_str)
}

/// The options that say which rows of a source come.
fn choosing(connectors: &Connectors, definition: &TableDef) -> &'static [(&'static str, &'static str)] {
    let connector = definition.connector().and_then(|name| connectors.sources.get(name));
    connector.map_or(&[][..], |connector| connector.choosing_options())
}

/// Whether the same rows of a source come by both definitions.
pub(crate) fn chosen_alike(connectors: &Connectors, a: &TableDef, b: &TableDef) -> bool {
    choosing(connectors, b).iter().all(|chosen| option(a, *chosen) == option(b, *chosen))
}

/// The option by which a source is asked for other rows than all that it has, if it is: those that are left out do not come again.
pub(crate) fn left_out_by(connectors: &Connectors, definition: &TableDef) -> Option<&'static str> {
    let chosen = choosing(connectors, definition).iter().find(|chosen| option(definition, **chosen) != chosen.1);
    chosen.map(|(name, _)| *name)
}

/// Whether the rows of an `INSERT` have come through a hidden table so far.
pub(crate) fn lands_hidden(
    streams: &BTreeMap<SourceId, StreamRecord>,
    insert: &Prepared,
    before: Option<&InsertRecord>,
) -> bool {
    let is_hidden = |used: &SourceUse| {
        let mut tables = streams.get(&used.source).into_iter().flat_map(|stream| &stream.tables);
        tables.any(|table| table.id == used.table && table.job.is_none())
    };
    before.is_some_and(|before| before.fingerprint == insert.fingerprint && before.sources.iter().any(is_hidden))
}

/// How rows of a source come into its hidden table.
pub(crate) fn hidden_landing_of(definition: &TableDef) -> Landing {
    Landing::identity(&physical_schema(definition), definition.primary_key.is_empty())
}

/// The hidden table in which a source lands for any job that needs it whole; made if it is not there, which is told. One that `is_own`
/// says is this job's alone goes on where what becomes of unfit rows is declared otherwise now: what it holds may not come again.
pub(crate) fn hidden_landing(
    tick: &mut Tick<'_>,
    streams: &mut BTreeMap<SourceId, StreamRecord>,
    counter: &mut u32,
    source: &PreparedSource,
    owner: Option<String>,
    connectors: &Connectors,
    is_own: &dyn Fn((SourceId, u32)) -> bool,
) -> Result<((SourceId, u32), bool)> {
    let (description, wanted) = (&source.description, &source.definition);
    let on_error = (ON_ERROR, ON_ERROR_VALUES[0]);
    let is_of = |stream: &StreamRecord| stream.stream_key == description.stream_key && stream.owner == owner;
    let tables = streams.values().filter(|stream| is_of(stream)).flat_map(|stream| {
        let id = stream.id;
        stream.tables.iter().map(move |table| ((id, table.id), table))
    });
    let fits = |(_, table): &(_, &StreamTableRecord)| {
        table.job.is_none()
            && table.table_key == description.table_key
            && table.definition.schema == wanted.schema
            && table.definition.primary_key == wanted.primary_key
            && chosen_alike(connectors, &table.definition, wanted)
    };
    let fitting: Vec<_> = tables.filter(fits).collect();
    let same = fitting.iter().find(|(_, table)| option(&table.definition, on_error) == option(wanted, on_error));
    if let Some(id) = same.or(fitting.iter().find(|(id, _)| is_own(*id))).map(|(id, _)| *id) {
        let stream = streams.get_mut(&id.0).expect("it was found just now");
        place::define(stream, id.1, wanted, connectors);
        return Ok((id, false));
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
    let (id, number) = land(streams, counter, source, owner, (TableId(0), None), &[], connectors);
    let name = format!("landing/{}/{number}", id.0);
    let table = tick.create_table(TableSpec { hidden: true, ..spec(name, schema, key) })?;
    let stream = streams.get_mut(&id).expect("the table landed in it just now");
    for record in stream.tables.iter_mut().filter(|record| record.id == number) {
        record.landing = table;
    }
    Ok(((id, number), true))
}

/// A stored table with or without key, in one bucket.
pub(crate) fn spec(name: String, schema: Schema, key: Vec<usize>) -> TableSpec {
    if key.is_empty() { TableSpec::log(name, schema) } else { TableSpec::primary_key(name, schema, key) }
}

/// The columns and the key of the hidden table that an outside target is read from.
pub(crate) fn stored_in_outbox(insert: &Prepared) -> (Schema, Vec<usize>) {
    let definition = &insert.bound.target;
    let mut stored = definition.schema.project(&written_columns(definition));
    let target = outside(insert, TableId(0));
    if target.kinds_inside {
        stored.columns.push(gridhouse_base::Column::new(KIND_COLUMN, TypeKind::TinyInt.not_null()));
    }
    (stored, target.key)
}

/// Where an `INSERT`'s operators write: the user's table, or the hidden table that an outside target is read from.
pub(crate) fn target_of(
    tick: &mut Tick<'_>,
    catalog: &crate::catalog::Catalog,
    insert: &Prepared,
    record: &mut InsertRecord,
    job: JobId,
    i: usize,
) -> Result<Target> {
    let definition = &insert.bound.target;
    if insert.sink.is_none() {
        return inside(catalog, insert);
    }
    let (stored, key) = stored_in_outbox(insert);
    let target = outside(insert, TableId(0));
    let mut name = format!("outbox/{}", sink_name(job, i, &definition.path));
    if let Some(outbox) = record.outbox {
        let there = tick.table(outbox)?;
        if there.spec().schema != stored || there.spec().primary_key != key {
            // A temporary table of the same name may have been defined otherwise since.
            name = format!("{name}/after-{}", outbox.0);
            if record.before.as_ref().is_none_or(|before| before.table != outbox) {
                // The outside is not taken over from it.
                tick.drop_table(outbox)?;
            }
            record.outbox = None;
        }
    }
    let table = match record.outbox {
        Some(table) => table,
        None => {
            let spec = TableSpec { hidden: true, ..spec(name, stored, key) };
            let table = tick.create_table(spec)?;
            // Kept from the start, so that nothing is reclaimed before the sink has seen it.
            record.begun = tick.set_cursor(&sink_name(job, i, &definition.path), table, CommitId(0))?;
            record.outbox = Some(table);
            table
        }
    };
    Ok(Target { table, ..target })
}

/// Where an `INSERT`'s operators wrote when its record was made.
///
/// # Errors
/// `NotFound` where the table is gone.
pub(crate) fn known_target(
    catalog: &crate::catalog::Catalog,
    insert: &Prepared,
    record: &InsertRecord,
) -> Result<Target> {
    match record.outbox {
        Some(table) if insert.sink.is_some() => Ok(outside(insert, table)),
        _ => inside(catalog, insert),
    }
}

/// The user's table as a target.
fn inside(catalog: &crate::catalog::Catalog, insert: &Prepared) -> Result<Target> {
    let definition = &insert.bound.target;
    let table = catalog.table_id(&definition.path).ok_or_else(|| gone(&definition.path))?;
    Ok(Target::of(&insert.bound, table))
}

/// The hidden table that an outside target is read from.
fn outside(insert: &Prepared, table: TableId) -> Target {
    let bound: &BoundInsert = &insert.bound;
    let definition = &bound.target;
    let written = written_columns(definition);
    let key: Vec<usize> = definition.primary_key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect();
    Target {
        table,
        name: definition.path.to_string(),
        columns: bound.columns.clone(),
        kinds_inside: key.is_empty() && insert.retracts,
        key,
        schema: bound.plan.schema().clone(),
        not_null: bound.not_null.clone(),
    }
}
