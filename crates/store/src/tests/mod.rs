//! Tests through the public interface, on a real directory: what tables do, and what a restart finds.

mod ahead;
mod checkpoints;
mod expiry;
mod recovery;
mod scans;
mod steps;
mod tables;

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::ManualClock;
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::{ChangeBatch, Column, RowKind, Schema, SourceId, TableId, TypeKind, Value};

use crate::{Part, SourceCommit, Store, StoreOptions, TableKind, TableSnapshot, TableSpec};

/// A row of the test tables: id, name, load.
type Row = (i64, &'static str, Option<i64>);

fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(dir, Arc::new(DiskFileSystem), Arc::new(ManualClock::new(1_000)), 42)
}

fn open(dir: &Path) -> Store {
    Store::open(options(dir)).unwrap()
}

fn schema() -> Schema {
    let column = |name: &str, kind: TypeKind| Column::new(name, kind.nullable());
    Schema::new(vec![
        column("id", TypeKind::BigInt),
        column("name", TypeKind::STRING),
        column("load_mw", TypeKind::Int),
    ])
}

/// A primary-key table on `id` with three buckets.
fn keyed(name: &str) -> TableSpec {
    TableSpec { bucket_count: 3, ..TableSpec::primary_key(name, schema(), vec![0]) }
}

fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let values = |value: &dyn Fn(&Row) -> Value, kind: TypeKind| {
        let values: Vec<Value> = rows.iter().map(value).collect();
        Value::array_of(&values.iter().collect::<Vec<_>>(), &kind)
    };
    vec![
        values(&|row| Value::Integer(row.0), TypeKind::BigInt),
        values(&|row| Value::Text(row.1.into()), TypeKind::STRING),
        values(&|row| row.2.map_or(Value::Null, Value::Integer), TypeKind::Int),
    ]
}

fn change(rows: &[(i32, Row)]) -> ChangeBatch {
    let values: Vec<Row> = rows.iter().map(|row| row.1).collect();
    let diff: Int32Array = rows.iter().map(|row| row.0).collect();
    ChangeBatch::new(columns(&values), rows.len(), Some(diff))
}

fn part(table: TableId, rows: &[(RowKind, Row)]) -> Part {
    let values: Vec<Row> = rows.iter().map(|row| row.1).collect();
    let kinds: Vec<RowKind> = rows.iter().map(|row| row.0).collect();
    Part::new(table, KindBatch::new(columns(&values), kinds))
}

fn commit(position: u8, parts: Vec<Part>) -> SourceCommit {
    SourceCommit { source: SourceId(1), position: vec![position], event_time_micros: 5, parts, stages: Vec::new() }
}

/// Rows in a form that compares and prints well, sorted.
fn shown(batch: &ChangeBatch) -> Vec<String> {
    let kinds: Vec<TypeKind> = schema().columns.into_iter().map(|column| column.sql_type.kind).collect();
    let value = |c: usize, row: usize| match Value::from_array(batch.column(c), row, &kinds[c]) {
        Value::Null => "NULL".to_string(),
        Value::Integer(v) => v.to_string(),
        Value::Text(v) => v.to_string(),
        other => format!("{other:?}"),
    };
    let row = |row: usize| format!("{:+} {} {} {}", batch.weight(row), value(0, row), value(1, row), value(2, row));
    let mut rows: Vec<String> = (0..batch.len()).map(row).collect();
    rows.sort();
    rows
}

fn live(table: &TableSnapshot) -> Vec<String> {
    let batches: Vec<ChangeBatch> = table.scan(None).map(Result::unwrap).collect();
    let mut rows: Vec<String> = batches.iter().flat_map(shown).collect();
    rows.sort();
    assert_eq!(rows.len() as u64, table.row_count(), "the count agrees with the rows");
    rows
}

/// The log from `after` on: commit, kind and id of each entry.
fn log(table: &TableSnapshot, after: u64) -> Vec<String> {
    let mut entries = Vec::new();
    for entry in table.changes(gridhouse_base::CommitId(after)).unwrap() {
        let (commit, batch) = entry.unwrap();
        for (row, kind) in batch.kinds.iter().enumerate() {
            let id = Value::from_array(&batch.columns[0], row, &TypeKind::BigInt);
            let Value::Integer(id) = id else { panic!("the key is never NULL") };
            entries.push(format!("{commit} {} {id}", kind.short()));
        }
    }
    entries
}

fn create(store: &mut Store, spec: TableSpec) -> TableId {
    let mut tick = store.tick().unwrap();
    let id = tick.create_table(spec).unwrap();
    tick.publish().unwrap();
    id
}

fn log_table(name: &str) -> TableSpec {
    let spec = TableSpec::log(name, schema());
    assert_eq!(spec.kind, TableKind::Log);
    spec
}
