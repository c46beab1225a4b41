//! A plain model of the store: rows in maps, one after the other, no columns, no log, no cleverness.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, StringArray};
use gridhouse_base::{ChangeBatch, Column, CommitId, RowKind, Schema, TableId, TypeKind};
use gridhouse_store::{Snapshot, TableKind, TableSnapshot, TableSpec};

/// A row of every simulated table: `id`, `name`, `load_mw`.
pub type Row = (i64, Option<String>, Option<i32>);

/// The key of a row: `id`, or `name` and `id`.
pub type Key = (String, i64);

/// The simulated tables.
pub const TABLES: [&str; 3] = ["keyed", "named", "events"];

/// The definition of a simulated table: an exact key over three buckets, a hashed key over two, and a log over two.
pub fn spec(name: &str) -> TableSpec {
    let column = |name: &str, kind: TypeKind| Column::new(name, kind.nullable());
    let columns =
        vec![column("id", TypeKind::BigInt), column("name", TypeKind::STRING), column("load_mw", TypeKind::Int)];
    let schema = Schema::new(columns);
    match name {
        "keyed" => TableSpec { bucket_count: 3, ..TableSpec::primary_key(name, schema, vec![0]) },
        "named" => {
            TableSpec { bucket_count: 2, bucket_key: vec![1], ..TableSpec::primary_key(name, schema, vec![1, 0]) }
        }
        _ => TableSpec { bucket_count: 2, ..TableSpec::log(name, schema) },
    }
}

/// Columns of `rows`, all or those at `listed`.
pub fn columns(rows: &[Row], listed: Option<&[usize]>) -> Vec<ArrayRef> {
    let all: [ArrayRef; 3] = [
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
    ];
    match listed {
        None => all.to_vec(),
        Some(listed) => listed.iter().map(|&c| all[c].clone()).collect(),
    }
}

/// Rows from their columns.
pub fn rows(columns: &[ArrayRef]) -> Vec<Row> {
    let ids = columns[0].as_primitive::<Int64Type>();
    let names = columns[1].as_string::<i32>();
    let loads = columns[2].as_primitive::<Int32Type>();
    let name = |i: usize| names.is_valid(i).then(|| names.value(i).to_string());
    (0..ids.len()).map(|i| (ids.value(i), name(i), loads.is_valid(i).then(|| loads.value(i)))).collect()
}

/// A table of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelTable {
    /// Which table of the name it is: rows for one that was dropped do not go to the next.
    pub id: TableId,
    kind: TableKind,
    by_name: bool,
    /// Of a primary-key table.
    keyed: BTreeMap<Key, Row>,
    /// Of a log table, sorted.
    appended: Vec<Row>,
}

impl ModelTable {
    /// An empty table.
    pub fn new(name: &str, id: TableId) -> Self {
        let by_name = name == "named";
        Self { id, kind: spec(name).kind, by_name, keyed: BTreeMap::new(), appended: Vec::new() }
    }

    fn key(&self, row: &Row) -> Key {
        if self.by_name { (row.1.clone().unwrap_or_default(), row.0) } else { (String::new(), row.0) }
    }

    /// Applies one row as a source gives it; `listed` are the columns that it has.
    pub fn apply(&mut self, kind: RowKind, row: &Row, listed: Option<&[usize]>) {
        if self.kind == TableKind::Log {
            self.appended.push(row.clone());
            self.appended.sort();
            return;
        }
        let key = self.key(row);
        if matches!(kind, RowKind::Delete | RowKind::UpdateBefore) {
            self.keyed.remove(&key);
            return;
        }
        let old = self.keyed.get(&key).cloned().unwrap_or((row.0, None, None));
        let has = |column| listed.is_none_or(|listed: &[usize]| listed.contains(&column));
        let name = if has(1) { row.1.clone() } else { old.1 };
        let load = if has(2) { row.2 } else { old.2 };
        self.keyed.insert(key, (row.0, name, load));
    }

    /// Applies a consolidated change: upserts beat deletions of the same key.
    pub fn write(&mut self, change: &[(i32, Row)]) {
        let upserted: Vec<Key> = change.iter().filter(|c| c.0 > 0).map(|c| self.key(&c.1)).collect();
        for (weight, row) in change {
            match (self.kind, *weight > 0) {
                (TableKind::PrimaryKey, false) if upserted.contains(&self.key(row)) => {}
                (TableKind::PrimaryKey, false) => self.apply(RowKind::Delete, row, None),
                (TableKind::PrimaryKey, true) => self.apply(RowKind::Insert, row, None),
                (TableKind::Log, _) => (0..*weight).for_each(|_| self.apply(RowKind::Insert, row, None)),
            }
        }
    }

    /// Makes `rows` the whole contents.
    pub fn replace(&mut self, rows: &[Row]) {
        self.keyed.clear();
        rows.iter().for_each(|row| self.apply(RowKind::Insert, row, None));
    }

    /// Removes all rows.
    pub fn truncate(&mut self) {
        self.keyed.clear();
        self.appended.clear();
    }

    /// All rows, sorted.
    pub fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.keyed.values().chain(&self.appended).cloned().collect();
        rows.sort();
        rows
    }

    /// Takes an effective change as the store reports it, and insists that it is one: what goes was there, what comes was
    /// not.
    pub fn follow(&mut self, change: &ChangeBatch) {
        let rows = rows(change.columns());
        for withdrawn in [true, false] {
            for (i, row) in rows.iter().enumerate().filter(|(i, _)| (change.weight(*i) < 0) == withdrawn) {
                assert_eq!(change.weight(i).abs(), 1, "an effective change moves single rows");
                let key = self.key(row);
                match (self.kind, withdrawn) {
                    (TableKind::PrimaryKey, true) => {
                        assert_eq!(self.keyed.remove(&key).as_ref(), Some(row), "a withdrawn row was there");
                    }
                    (TableKind::PrimaryKey, false) => {
                        assert_eq!(self.keyed.insert(key, row.clone()), None, "a row of that key was not there");
                    }
                    (TableKind::Log, true) => {
                        let at = self.appended.iter().position(|other| other == row);
                        self.appended.remove(at.expect("a withdrawn row was there"));
                    }
                    (TableKind::Log, false) => self.appended.push(row.clone()),
                }
            }
        }
        self.appended.sort();
    }
}

/// A whole store at a tick boundary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The newest source commit that is reflected.
    pub as_of: u64,
    /// Tables that exist.
    pub tables: BTreeMap<String, ModelTable>,
    /// Metadata of the one simulated space.
    pub meta: BTreeMap<String, String>,
}

/// The metadata space of the simulation.
pub const SPACE: &str = "jobs";

impl Model {
    /// Checks that `snapshot` shows exactly this, by every way of reading.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.as_of().0, self.as_of, "the snapshot reflects the right source commits");
        let names: Vec<String> =
            snapshot.tables().filter(|t| !t.spec().hidden).map(|t| t.spec().name.clone()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, self.tables.keys().cloned().collect::<Vec<_>>(), "the same tables exist");
        let list: BTreeMap<String, String> =
            snapshot.list(SPACE).into_iter().map(|(k, v)| (k, v.to_string())).collect();
        assert_eq!(list, self.meta, "the same metadata exists");
        for (name, expected) in &self.tables {
            check_table(&snapshot.table_named(name).unwrap(), expected);
        }
    }
}

/// Insists that two sorted lists of rows are equal, and names what one has and the other has not.
///
/// # Panics
/// If they differ.
pub fn assert_rows(found: &[Row], expected: &[Row], what: &str) {
    let mut missing = expected.to_vec();
    let mut extra = Vec::new();
    for row in found {
        match missing.iter().position(|other| other == row) {
            Some(at) => drop(missing.swap_remove(at)),
            None => extra.push(row),
        }
    }
    assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:?}, too many {extra:?}");
}

/// Checks that `table` shows exactly the rows of `expected`: by scan, by key and by its log.
///
/// # Panics
/// If it does not.
pub fn check_table(table: &TableSnapshot, expected: &ModelTable) {
    let name = &table.spec().name;
    let mut found: Vec<Row> = table.scan(None).flat_map(|batch| rows(batch.unwrap().columns())).collect();
    found.sort();
    assert_rows(&found, &expected.sorted(), &format!("table {name} has the rows of the model"));
    assert_eq!(table.row_count(), found.len() as u64, "table {name} counts its rows");
    if expected.kind == TableKind::PrimaryKey {
        let keys: Vec<Row> = (0..24).flat_map(|id| NAMES.map(|name| (id, Some(name.to_string()), None))).collect();
        let (positions, hits) = table.get_batch(&columns(&keys, Some(&table.spec().primary_key))).unwrap();
        let hit = |key: &Row| expected.keyed.get(&expected.key(key)).cloned();
        let expected_hits: Vec<(u32, Row)> =
            keys.iter().enumerate().filter_map(|(i, key)| hit(key).map(|row| (i as u32, row))).collect();
        let hits: Vec<(u32, Row)> = positions.into_iter().zip(rows(hits.columns())).collect();
        assert_eq!(hits, expected_hits, "table {name} finds rows by key");
    }
    // Whoever reads the log from where it begins comes to the same rows, if nothing has been reclaimed from its middle.
    if table.log_start() == CommitId(0) || expected.kind == TableKind::Log {
        let mut replica = ModelTable { keyed: BTreeMap::new(), appended: Vec::new(), ..expected.clone() };
        let mut last = CommitId(0);
        for entry in table.changes(table.log_start()).unwrap() {
            let (commit, batch) = entry.unwrap();
            assert!(commit >= last, "table {name} has its log in order");
            last = commit;
            for (row, kind) in rows(&batch.columns).iter().zip(batch.kinds.iter()) {
                replica.apply(*kind, row, None);
            }
        }
        assert_rows(&replica.sorted(), &expected.sorted(), &format!("table {name} is the sum of its log"));
    }
}

/// The names that rows have.
pub const NAMES: [&str; 4] = ["north", "south", "a name that is longer than eight bytes", "变电站"];
