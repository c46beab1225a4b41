//! What lies outside: a database whose changes are the source, and tables that are sinks. It outlives every process and every
//! disk of ours, and has a log of what was asked of it.

mod changes;
mod sink;
mod source;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::ArrayRef;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::random::Random;
use gridhouse_base::{RowKind, Schema, TypeKind, Value};

use crate::faults::Faults;
use crate::tally::Told;
pub use sink::{Board, Target};
pub use source::{Change, Database, SourceTables, Transaction, is_fit};
use stream::Running;
pub use stream::decode;

/// A row as text, column by column; what is absent is `NULL`.
pub type Row = Vec<String>;

/// How `NULL` is written in rows here.
pub const NULL: &str = "NULL";

/// The outside; clones share it.
#[derive(Clone)]
pub struct Outside(Arc<Mutex<World>>);

/// Everything outside.
pub struct World {
    random: Random,
    /// What it does wrong.
    pub faults: Faults,
    /// The source.
    pub database: Database,
    /// Streams that somebody listens to.
    streams: Vec<Running>,
    /// How many streams there have been.
    starts: u64,
    /// The tables that are written, by name.
    pub targets: BTreeMap<String, Target>,
    /// The engine may know less than it acknowledged: its directory is an older copy, or has been damaged.
    pub forgives_loss: bool,
    /// Nobody reads a table without a key, so that contents can be read again at any time.
    pub is_comparable: bool,
    /// What the source has told so far.
    pub told: Told,
}

impl Outside {
    /// An outside whose whims come from `seed`, with nothing in it.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            random: Random::new(seed),
            faults: Faults::default(),
            database: Database::default(),
            streams: Vec::new(),
            starts: 0,
            targets: BTreeMap::new(),
            forgives_loss: false,
            is_comparable: false,
            told: Told::default(),
        })))
    }

    /// Another outside that holds the same, with nobody listening.
    pub fn fork(&self, seed: u64) -> Self {
        let world = self.world();
        Self(Arc::new(Mutex::new(World {
            random: Random::new(seed),
            database: world.database.clone(),
            streams: Vec::new(),
            targets: world.targets.clone(),
            ..*world
        })))
    }

    /// Looks at it, or changes it.
    ///
    /// A panic while the lock was held is a failed run, which only wants to be told.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of text as a batch of the columns' types, `BIGINT` or `STRING`.
fn batch_of(schema: &Schema, rows: &[(RowKind, Row)]) -> KindBatch {
    let column = |(c, column): (usize, &gridhouse_base::Column)| {
        let kind = &column.sql_type.kind;
        let value = |(_, row): &(RowKind, Row)| match (row[c].as_str(), kind) {
            (NULL, _) => Value::Null,
            (text, TypeKind::BigInt) => Value::Integer(text.parse().expect("numbers are in number columns")),
            (text, _) => Value::Text(text.into()),
        };
        let values: Vec<Value> = rows.iter().map(value).collect();
        Value::array_of(&values.iter().collect::<Vec<_>>(), kind)
    };
    let columns: Vec<ArrayRef> = schema.columns.iter().enumerate().map(column).collect();
    KindBatch::new(columns, rows.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
}

/// The rows of arrays of these types as text.
///
/// # Panics
/// If there are other types than `BIGINT` and `STRING`.
pub fn rows_of(columns: &[ArrayRef], schema: &Schema, len: usize) -> Vec<Row> {
    let text = |c: usize, i: usize| match Value::from_array(&columns[c], i, &schema.columns[c].sql_type.kind) {
        Value::Null => NULL.to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?} is of no type that this chain has"),
    };
    (0..len).map(|i| (0..columns.len()).map(|c| text(c, i)).collect()).collect()
}
