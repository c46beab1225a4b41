//! What the store knows of a table: its columns, its key and how its rows are spread over buckets.
//!
//! A spec never changes after the table has been created; it is kept as JSON in the log of the tick that creates the
//! table. SQL options, comments and computed columns are the catalog's business and live in metadata rows.

use gridhouse_base::{Error, Result, Schema, TypeKind};
use serde::{Deserialize, Serialize};

use crate::bucket::BucketFunction;
use crate::key::KeyCodec;

/// The most columns that a table may have: column numbers are 16 bits wide in the log.
pub const MAX_COLUMNS: usize = 4096;

/// The most buckets that a table may have; a row id has 16 bits for the bucket.
pub const MAX_BUCKETS: u16 = 4096;

/// The two kinds of table, in Fluss's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TableKind {
    /// Append-only: every row stays until it is truncated away.
    Log,
    /// At most one live row per key: a row with the key of an older one replaces it.
    PrimaryKey,
}

/// The definition of a stored table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// The name, unique among the tables that exist at one time.
    pub name: String,
    /// The stored columns. Nullability is the business of whoever accepts rows; the store checks only key columns.
    pub schema: Schema,
    /// Log or primary-key table.
    pub kind: TableKind,
    /// Columns of the primary key, in key order; empty for a log table.
    pub primary_key: Vec<usize>,
    /// Columns whose values decide the bucket. Empty: the primary key, or for a log table one bucket per commit in turn.
    pub bucket_key: Vec<usize>,
    /// The number of buckets, `bucket.num`.
    pub bucket_count: u16,
    /// Whether the table is the program's own (not listed to users). A hidden log table is cut at its slowest cursor.
    pub hidden: bool,
    /// How long the rows of a log table are kept, `table.log.ttl`, in milliseconds; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_ttl_ms: Option<u64>,
}

impl TableSpec {
    /// A log table with one bucket.
    pub fn log(name: impl Into<String>, schema: Schema) -> Self {
        Self {
            name: name.into(),
            schema,
            kind: TableKind::Log,
            primary_key: Vec::new(),
            bucket_key: Vec::new(),
            bucket_count: 1,
            hidden: false,
            log_ttl_ms: None,
        }
    }

    /// A primary-key table with one bucket.
    pub fn primary_key(name: impl Into<String>, schema: Schema, primary_key: Vec<usize>) -> Self {
        Self { kind: TableKind::PrimaryKey, primary_key, ..Self::log(name, schema) }
    }

    /// The columns that decide the bucket; empty if rows are spread by commit.
    pub fn bucket_columns(&self) -> &[usize] {
        if self.bucket_key.is_empty() { &self.primary_key } else { &self.bucket_key }
    }

    /// Checks that a table can be stored by this definition.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid(format!("table {}: {what}", self.name)));
        if self.name.is_empty() {
            return Err(Error::invalid("a table needs a name"));
        }
        if self.schema.is_empty() || self.schema.len() > MAX_COLUMNS {
            return wrong(format!("has {} columns, 1 to {MAX_COLUMNS} can be stored", self.schema.len()));
        }
        for (i, column) in self.schema.columns.iter().enumerate() {
            if column.sql_type.kind == TypeKind::Null {
                return wrong(format!("column {} has no type; CAST it to one", column.name));
            }
            if self.schema.index_of(&column.name) != Some(i) {
                return wrong(format!("column {} appears twice", column.name));
            }
        }
        if self.bucket_count == 0 || self.bucket_count > MAX_BUCKETS {
            return wrong(format!("'bucket.num' is {}, it must be 1 to {MAX_BUCKETS}", self.bucket_count));
        }
        for key in [&self.primary_key, &self.bucket_key] {
            for (i, &column) in key.iter().enumerate() {
                if column >= self.schema.len() {
                    return wrong(format!("key column {column} does not exist"));
                }
                if key[..i].contains(&column) {
                    return wrong(format!("key column {} appears twice", self.schema.columns[column].name));
                }
            }
        }
        if self.log_ttl_ms == Some(0) {
            return wrong("'table.log.ttl' is 0, so no row would be kept".into());
        }
        match self.kind {
            TableKind::Log if !self.primary_key.is_empty() => return wrong("a log table has no primary key".into()),
            TableKind::PrimaryKey if self.primary_key.is_empty() => {
                return wrong("a primary-key table needs key columns".into());
            }
            TableKind::PrimaryKey => {
                if let Some(&stray) = self.bucket_key.iter().find(|column| !self.primary_key.contains(column)) {
                    let name = &self.schema.columns[stray].name;
                    return wrong(format!("'bucket.key' column {name} does not belong to the primary key"));
                }
                KeyCodec::new(self, [0; 2]).map(|_| ())?;
            }
            TableKind::Log => {}
        }
        BucketFunction::new(self).map(|_| ())
    }
}
