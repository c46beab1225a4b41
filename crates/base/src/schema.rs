//! Named, typed columns.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::SqlType;

/// A column: a name (case-sensitive) and a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name, case-sensitive.
    pub name: String,
    /// The type.
    pub sql_type: SqlType,
}

impl Column {
    /// A column of `name` and `sql_type`.
    pub fn new(name: impl Into<String>, sql_type: SqlType) -> Self {
        Self { name: name.into(), sql_type }
    }
}

/// The columns of a table or of a relation, in order. Relations may repeat a name; tables may not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schema {
    /// The columns, in order.
    pub columns: Vec<Column>,
}

impl Schema {
    /// A schema of `columns`.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The first column called `name`, exactly.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The columns at `indices`, in that order.
    pub fn project(&self, indices: &[usize]) -> Self {
        Self::new(indices.iter().map(|&i| self.columns[i].clone()).collect())
    }

    /// The Arrow schema that holds rows of this schema.
    pub fn arrow(&self) -> arrow_schema::SchemaRef {
        let fields: Vec<_> = self.columns.iter().map(|c| c.sql_type.arrow_field(&c.name)).collect();
        Arc::new(arrow_schema::Schema::new(fields))
    }
}
