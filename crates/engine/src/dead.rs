//! Dead letters: rows that a job cannot compute, kept in a table of their own instead of failing the job.
//!
//! Asked for by `'on-error' = 'dead-letter'`, as a setting, as an option of the target or the source, or as a hint. The table is an
//! ordinary one beside the target, `<target>_dead_letter`. It holds what is wrong now, not what ever was: a row stands there
//! with the number of times that it is among the job's input, and goes when it is corrected or deleted there. A row that a
//! source itself could not read has no successor that could be told, so it stays until somebody deletes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, Column, Error, JobId, Result, Schema, TableId, TypeKind, Value};
use gridhouse_flow::RowError;
use gridhouse_sql::plan::BoundInsert;
use gridhouse_store::Tick;

use crate::dml::ONCE;
use crate::records::JobRecord;

/// The setting, option or hint.
pub(crate) const ON_ERROR: &str = "on-error";
/// Its value that asks for dead letters.
const DEAD_LETTER: &str = "dead-letter";
/// Its values.
pub(crate) const ON_ERROR_VALUES: &[&str] = &["fail", DEAD_LETTER];
/// What the names of the tables end with.
const SUFFIX: &str = "_dead_letter";
/// What the operator of a source's own letters begins with.
const FROM_SOURCE: &str = "Source ";

/// Columns of the tables; the first four are the key.
const COLUMNS: &[(&str, TypeKind)] = &[
    ("job_id", TypeKind::BigInt),
    ("operator", TypeKind::STRING),
    ("row_text", TypeKind::STRING),
    ("error", TypeKind::STRING),
    ("times", TypeKind::BigInt),
    ("last_seen", TypeKind::TimestampLtz(3)),
];
const KEY_COLUMNS: usize = 4;
const TIMES: usize = 4;

/// A row that could not be computed.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// Which part of the job could not.
    pub(crate) operator: String,
    /// The row in words.
    pub(crate) row: String,
    pub(crate) error: String,
    /// How many times it came; negative where it was withdrawn.
    pub(crate) weight: i64,
}

impl Letter {
    /// A row that a source could not read.
    pub(crate) fn of_source(source: &ObjectPath, row: String, error: &Error) -> Self {
        Self { operator: format!("{FROM_SOURCE}{source}"), row, error: error.to_string(), weight: 1 }
    }
}

impl From<RowError> for Letter {
    fn from(error: RowError) -> Self {
        Self { operator: error.operator, row: error.row, error: error.error.to_string(), weight: error.weight }
    }
}

/// Whether an `INSERT` under `setting` keeps dead letters.
///
/// # Errors
/// `Invalid` for another value than those that there are.
pub(crate) fn is_wanted(bound: &BoundInsert, setting: Option<&str>) -> Result<bool> {
    let mut given: Vec<(String, String)> = Vec::new();
    let mut see = |what: String, value: Option<&str>| given.extend(value.map(|value| (what, value.to_owned())));
    see("the session".into(), setting);
    let option = |options: &BTreeMap<String, String>| options.get(ON_ERROR).cloned();
    see(bound.target.path.to_string(), option(&bound.target.options).as_deref());
    see(format!("the hint of {}", bound.target.path), option(&bound.hints).as_deref());
    for table in bound.plan.tables().iter().filter(|table| table.connector().is_some()) {
        see(table.path.to_string(), option(&table.options).as_deref());
    }
    let mut wanted = false;
    for (what, value) in given {
        if !ON_ERROR_VALUES.contains(&value.as_str()) {
            return Err(Error::invalid(format!("{what}: '{ON_ERROR}' cannot be '{value}'"))
                .hint(format!("one of: {}", ON_ERROR_VALUES.join(", "))));
        }
        wanted |= value == DEAD_LETTER;
    }
    Ok(wanted)
}

/// The definition without what is said here: connectors know nothing of it.
pub(crate) fn plain(definition: Arc<TableDef>) -> Arc<TableDef> {
    if !definition.options.contains_key(ON_ERROR) || definition.connector().is_none() {
        return definition;
    }
    let mut plain = (*definition).clone();
    plain.options.remove(ON_ERROR);
    Arc::new(plain)
}

/// The table for what cannot be written into `target`.
pub(crate) fn table_of(target: &ObjectPath) -> TableDef {
    let path = ObjectPath::new(&target.catalog, &target.database, format!("{}{SUFFIX}", target.object));
    let column = |(name, kind): &(&str, TypeKind)| Column::new(*name, kind.clone().not_null());
    TableDef {
        path,
        schema: Schema::new(COLUMNS.iter().map(column).collect()),
        column_kinds: vec![ColumnKind::Physical; COLUMNS.len()],
        primary_key: (0..KEY_COLUMNS).collect(),
        partitioned_by: Vec::new(),
        watermark: None,
        options: BTreeMap::new(),
        comment: Some(format!("rows that could not be written into {target}")),
    }
}

/// The number under which the letters of a job stand. Statements that run once share one, so that what the last of them could
/// not compute takes the place of what the one before it could not.
pub(crate) fn letters_under(record: &JobRecord) -> JobId {
    let once = record.inserts.iter().any(|insert| insert.fingerprint.contains(ONCE));
    if once { JobId(0) } else { record.id }
}

/// Removes all letters of a job, its sources' too; gives what changed.
///
/// # Errors
/// Those of the store.
pub(crate) fn clear(tick: &mut Tick<'_>, table: TableId, job: JobId) -> Result<ChangeBatch> {
    let mut changes = Changes::default();
    for batch in tick.table(table)?.scan(None) {
        let batch = batch?;
        for row in 0..batch.len() {
            let value = |c: usize| Value::from_array(batch.column(c), row, &COLUMNS[c].1);
            if value(0) == Value::Integer(i64::from(job.0)) {
                changes.rows.push((0..COLUMNS.len()).map(value).collect());
                changes.weights.push(-1);
            }
        }
    }
    changes.write(tick, table)
}

/// A letter's place: the part of the job, the row and the error.
type Place = (String, String, String);

fn summed(letters: Vec<Letter>) -> BTreeMap<Place, i64> {
    let mut sums = BTreeMap::new();
    for letter in letters {
        *sums.entry((letter.operator, letter.row, letter.error)).or_default() += letter.weight;
    }
    sums
}

/// Adds letters of a job to what its table holds; gives what changed.
///
/// # Errors
/// Those of the store.
pub(crate) fn add(
    tick: &mut Tick<'_>,
    table: TableId,
    job: JobId,
    now_micros: i64,
    letters: Vec<Letter>,
) -> Result<ChangeBatch> {
    let there = tick.table(table)?;
    let mut changes = Changes::default();
    for (place, weight) in summed(letters) {
        if weight == 0 {
            continue;
        }
        let old = there.get(&key_of(job, &place))?;
        let times = old.as_ref().map_or(0, |row| times_of(row)) + weight;
        changes.put(job, place, old, times, now_micros);
    }
    changes.write(tick, table)
}

/// Makes `letters` all that the table holds of a job's own parts; gives what changed.
///
/// # Errors
/// Those of the store.
pub(crate) fn replace(
    tick: &mut Tick<'_>,
    table: TableId,
    job: JobId,
    now_micros: i64,
    letters: Vec<Letter>,
) -> Result<ChangeBatch> {
    let mut wanted = summed(letters);
    let mut changes = Changes::default();
    let mut kept = BTreeSet::new();
    for batch in tick.table(table)?.scan(None) {
        let batch = batch?;
        for row in 0..batch.len() {
            let value = |c: usize| Value::from_array(batch.column(c), row, &COLUMNS[c].1);
            let old: Vec<Value> = (0..COLUMNS.len()).map(value).collect();
            let place = (words(&old[1]), words(&old[2]), words(&old[3]));
            if old[0] != Value::Integer(i64::from(job.0)) || place.0.starts_with(FROM_SOURCE) {
                continue;
            }
            let times = wanted.get(&place).copied().unwrap_or(0);
            if times == times_of(&old) {
                kept.insert(place);
            } else {
                wanted.remove(&place);
                changes.put(job, place, Some(old), times, now_micros);
            }
        }
    }
    for (place, times) in wanted {
        if !kept.contains(&place) {
            changes.put(job, place, None, times, now_micros);
        }
    }
    changes.write(tick, table)
}

fn words(value: &Value) -> String {
    if let Value::Text(text) = value { text.to_string() } else { String::new() }
}

fn times_of(row: &[Value]) -> i64 {
    if let Value::Integer(times) = row[TIMES] { times } else { 0 }
}

fn key_of(job: JobId, (operator, row, error): &Place) -> [Value; KEY_COLUMNS] {
    let text = |text: &str| Value::Text(text.into());
    [Value::Integer(i64::from(job.0)), text(operator), text(row), text(error)]
}

/// Rows that come and go.
#[derive(Default)]
struct Changes {
    rows: Vec<Vec<Value>>,
    weights: Vec<i32>,
}

impl Changes {
    fn put(&mut self, job: JobId, place: Place, old: Option<Vec<Value>>, times: i64, now_micros: i64) {
        if times > 0 {
            let mut row = key_of(job, &place).to_vec();
            row.extend([Value::Integer(times), Value::Integer(now_micros.div_euclid(1000))]);
            self.rows.push(row);
            self.weights.push(1);
        } else if let Some(old) = old {
            self.rows.push(old);
            self.weights.push(-1);
        }
    }

    fn write(self, tick: &mut Tick<'_>, table: TableId) -> Result<ChangeBatch> {
        let column = |c: usize| {
            let values: Vec<&Value> = self.rows.iter().map(|row| &row[c]).collect();
            Value::array_of(&values, &COLUMNS[c].1)
        };
        let columns = (0..COLUMNS.len()).map(column).collect();
        tick.write(table, &ChangeBatch::new(columns, self.rows.len(), Some(self.weights.into())))
    }
}
