//! The rows of the simulated tables, and how they come in and out of columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, StringArray};
use gridhouse_base::{Column, Schema, TypeKind, Value};
use gridhouse_store::TableSpec;

/// A row of every simulated table: `id`, `name`, `load_mw`.
pub type Row = (i64, Option<String>, Option<i32>);

/// The key of a row: `id`, or `name` and `id`.
pub type Key = (String, i64);

/// The simulated tables that users could see.
pub const TABLES: [&str; 3] = ["keyed", "named", "events"];

/// The simulated hidden log, which is cut at its slowest cursor.
pub const QUEUE: &str = "queue";

/// The names that rows have.
pub const NAMES: [&str; 4] = ["north", "south", "a name that is longer than eight bytes", "变电站"];

/// Ids of rows are below this, so that keys come again and again.
pub const SMALL_IDS: u64 = 24;

/// Ids of rows are below this where tables are to be large: three buckets of them fill more than a column chunk each.
pub const LARGE_IDS: u64 = 30_000;

/// The definition of a simulated table: an exact key over three buckets, a hashed key over two, a log over two, a hidden log.
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
        QUEUE => TableSpec { hidden: true, ..TableSpec::log(name, schema) },
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

/// Rows from all their columns.
pub fn rows(columns: &[ArrayRef]) -> Vec<Row> {
    projected(columns, &[0, 1, 2])
        .into_iter()
        .map(|(id, name, load)| (id.expect("ids are never NULL"), name, load))
        .collect()
}

/// A row of which only some columns were asked for; the others are NULL.
pub type Projected = (Option<i64>, Option<String>, Option<i32>);

/// Rows from the columns at `projection`.
pub fn projected(columns: &[ArrayRef], projection: &[usize]) -> Vec<Projected> {
    let column = |c: usize| projection.iter().position(|&at| at == c).map(|i| &columns[i]);
    let id = column(0).map(|ids| ids.as_primitive::<Int64Type>());
    let name = column(1).map(|names| names.as_string::<i32>());
    let load = column(2).map(|loads| loads.as_primitive::<Int32Type>());
    let row = |i: usize| {
        (
            id.filter(|ids| ids.is_valid(i)).map(|ids| ids.value(i)),
            name.filter(|names| names.is_valid(i)).map(|names| names.value(i).to_string()),
            load.filter(|loads| loads.is_valid(i)).map(|loads| loads.value(i)),
        )
    };
    (0..columns.first().map_or(0, |column| column.len())).map(row).collect()
}

/// What `row` is in a scan of the columns at `projection`.
pub fn project(row: &Row, projection: &[usize]) -> Projected {
    let has = |c: usize| projection.contains(&c);
    (has(0).then_some(row.0), row.1.clone().filter(|_| has(1)), row.2.filter(|_| has(2)))
}

/// A row from its values.
pub fn from_values(values: &[Value]) -> Row {
    let [Value::Integer(id), name, load] = values else { panic!("{values:?} is no row") };
    let name = match name {
        Value::Text(name) => Some(name.to_string()),
        _ => None,
    };
    let load = match load {
        Value::Integer(load) => Some(i32::try_from(*load).expect("loads are small")),
        _ => None,
    };
    (*id, name, load)
}
