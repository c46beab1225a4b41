//! What is known of a table by its definition: names, columns, key, options.
//!
//! One definition serves tables of the store (no `connector` option) and outside tables (with one).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::Schema;
use crate::types::SqlType;

/// A full name: catalog, database, object; each case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectPath {
    /// The catalog.
    pub catalog: String,
    /// The database within the catalog.
    pub database: String,
    /// The table or view within the database.
    pub object: String,
}

impl ObjectPath {
    /// A path of the three parts.
    pub fn new(catalog: impl Into<String>, database: impl Into<String>, object: impl Into<String>) -> Self {
        Self { catalog: catalog.into(), database: database.into(), object: object.into() }
    }
}

/// `catalog.database.object`, parts back-quoted where they are not plain identifiers.
impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", quoted(&self.catalog), quoted(&self.database), quoted(&self.object))
    }
}

/// `name` as it must be written in SQL: back-quoted unless it is a plain identifier.
pub fn quoted(name: &str) -> std::borrow::Cow<'_, str> {
    let plain = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if plain { name.into() } else { format!("`{}`", name.replace('`', "``")).into() }
}

/// The definition of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableDef {
    /// The full name.
    pub path: ObjectPath,
    /// All columns in declared order: physical, metadata and computed.
    pub schema: Schema,
    /// How each column comes to its value; as long as `schema`.
    pub column_kinds: Vec<ColumnKind>,
    /// Indices of the primary-key columns in `schema`, in declared key order; empty for a table without key.
    pub primary_key: Vec<usize>,
    /// Indices of the partition columns in `schema`.
    pub partitioned_by: Vec<usize>,
    /// The declared watermark.
    pub watermark: Option<WatermarkDef>,
    /// The `WITH` options, Flink's and Fluss's own keys.
    pub options: BTreeMap<String, String>,
    /// The table's comment.
    pub comment: Option<String>,
}

impl TableDef {
    /// The `connector` option; a table without one is managed by the store.
    pub fn connector(&self) -> Option<&str> {
        self.options.get("connector").map(String::as_str)
    }

    /// Indices of the columns that are stored or exchanged: everything but computed columns.
    pub fn physical(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.schema.len()).filter(|&i| !matches!(self.column_kinds[i], ColumnKind::Computed { .. }))
    }
}

/// How a column comes to its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnKind {
    /// Stored or exchanged as it is.
    Physical,
    /// `name type METADATA [FROM 'key'] [VIRTUAL]`
    Metadata {
        /// The connector's metadata key.
        key: String,
        /// Whether it is left out when writing.
        is_virtual: bool,
    },
    /// `name AS expression`; the text is bound again where it is used.
    Computed {
        /// The expression's SQL text.
        expression: String,
    },
}

/// `WATERMARK FOR column AS expression`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkDef {
    /// The row-time column.
    pub column: usize,
    /// The expression's SQL text.
    pub expression: String,
    /// The row-time column's type.
    pub sql_type: SqlType,
}
