//! Changes in motion: columns with a weight per row.
//!
//! Inside the program a change is a weight, not a kind: an inserted row weighs +1, a withdrawn one -1. Kinds exist only
//! at sources, at sinks and in changelogs; [`RowKind`] names them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, UInt32Array, new_empty_array};
use arrow_select::{concat::concat, filter::filter, take::take};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::Schema;

/// Rows in columns, with a weight per row. All columns have `len` rows; there may be no columns at all.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    columns: Vec<ArrayRef>,
    len: usize,
    diff: Option<Int32Array>,
}

impl ChangeBatch {
    /// A batch of `len` rows; `diff` holds their weights (no NULL), `None` means that every row weighs +1.
    ///
    /// # Panics
    /// If a column or `diff` has another length than `len`.
    pub fn new(columns: Vec<ArrayRef>, len: usize, diff: Option<Int32Array>) -> Self {
        for column in &columns {
            assert_eq!(column.len(), len, "every column of a batch has the batch's length");
        }
        if let Some(diff) = &diff {
            assert_eq!(diff.len(), len, "there is one weight per row");
            assert_eq!(diff.null_count(), 0, "a weight is never NULL");
        }
        Self { columns, len, diff }
    }

    /// A batch of insertions.
    pub fn insertions(columns: Vec<ArrayRef>, len: usize) -> Self {
        Self::new(columns, len, None)
    }

    /// A batch without rows.
    pub fn empty(schema: &Schema) -> Self {
        let columns = schema.columns.iter().map(|c| new_empty_array(&c.sql_type.kind.arrow())).collect();
        Self::new(columns, 0, None)
    }

    /// The columns, in the order of the schema.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Column `i`.
    pub fn column(&self, i: usize) -> &ArrayRef {
        &self.columns[i]
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The weights; `None` means that every row weighs +1.
    pub fn diff(&self) -> Option<&Int32Array> {
        self.diff.as_ref()
    }

    /// The weight of row `i`.
    pub fn weight(&self, i: usize) -> i32 {
        self.diff.as_ref().map_or(1, |diff| diff.value(i))
    }

    /// The same weights over other columns.
    pub fn with_columns(&self, columns: Vec<ArrayRef>) -> Self {
        Self::new(columns, self.len, self.diff.clone())
    }

    /// The columns at `indices`, in that order.
    pub fn project(&self, indices: &[usize]) -> Self {
        self.with_columns(indices.iter().map(|&i| self.columns[i].clone()).collect())
    }

    /// The same rows with opposite weights.
    pub fn negated(&self) -> Self {
        let diff = (0..self.len).map(|i| -self.weight(i)).collect();
        Self { columns: self.columns.clone(), len: self.len, diff: Some(diff) }
    }

    /// Rows `offset..offset + len`, without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            columns: self.columns.iter().map(|column| column.slice(offset, len)).collect(),
            len,
            diff: self.diff.as_ref().map(|diff| diff.slice(offset, len)),
        }
    }

    /// The rows where `mask` is true.
    ///
    /// # Errors
    /// `Internal` if Arrow refuses (a mask of another length).
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        if mask.true_count() == self.len {
            return Ok(self.clone());
        }
        let columns = self.columns.iter().map(|c| filter(c, mask)).collect::<Result<Vec<_>, _>>().map_err(arrow)?;
        let diff = match &self.diff {
            Some(diff) => {
                Some(filter(diff, mask).map_err(arrow)?.as_any().downcast_ref::<Int32Array>().unwrap().clone())
            }
            None => None,
        };
        Ok(Self::new(columns, mask.true_count(), diff))
    }

    /// The rows at `indices` (no NULL), in that order.
    ///
    /// # Errors
    /// `Internal` if Arrow refuses (an index out of range).
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let columns =
            self.columns.iter().map(|c| take(c, indices, None)).collect::<Result<Vec<_>, _>>().map_err(arrow)?;
        let diff = self.diff.as_ref().map(|diff| indices.values().iter().map(|&i| diff.value(i as usize)).collect());
        Ok(Self::new(columns, indices.len(), diff))
    }

    /// All rows of `batches` one after the other; `batches` is not empty.
    ///
    /// # Errors
    /// `Internal` if Arrow refuses (columns of different types).
    pub fn concat(batches: &[Self]) -> Result<Self> {
        if let [only] = batches {
            return Ok(only.clone());
        }
        let len = batches.iter().map(Self::len).sum();
        let mut columns = Vec::with_capacity(batches[0].columns.len());
        for i in 0..batches[0].columns.len() {
            let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.columns[i].as_ref()).collect();
            columns.push(concat(&parts).map_err(arrow)?);
        }
        let diff = batches
            .iter()
            .any(|batch| batch.diff.is_some())
            .then(|| batches.iter().flat_map(|batch| (0..batch.len).map(|i| batch.weight(i))).collect::<Int32Array>());
        Ok(Self::new(columns, len, diff))
    }

    /// Bytes of memory that the batch keeps alive.
    pub fn memory_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.get_array_memory_size()).sum();
        columns + self.diff.as_ref().map_or(0, |diff| diff.get_array_memory_size())
    }
}

fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::internal("a batch could not be rearranged").caused_by(error)
}

/// The kind of a change where kinds exist: in a source's stream, in a table's log, at a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`, a new row (in an upsert stream: a new or changed one).
    Insert = 0,
    /// `-U`, the row before an update.
    UpdateBefore = 1,
    /// `+U`, the row after an update.
    UpdateAfter = 2,
    /// `-D`, a deleted row; outside the key its columns may be NULL.
    Delete = 3,
}

impl RowKind {
    /// The kind with the number `byte`.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Insert, Self::UpdateBefore, Self::UpdateAfter, Self::Delete].get(usize::from(byte)).copied()
    }

    /// Flink's two-character name.
    pub fn short(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }
}

/// Bytes of the values of these columns: of an array that is part of a larger one, its own part alone.
pub fn bytes_of(columns: &[ArrayRef]) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
    columns.iter().map(bytes).sum()
}

/// Rows with a kind each, as sources deliver them, logs keep them and sinks take them.
#[derive(Clone, Debug)]
pub struct KindBatch {
    /// The columns, in the order of the schema.
    pub columns: Vec<ArrayRef>,
    /// One kind per row.
    pub kinds: Arc<[RowKind]>,
}

impl KindBatch {
    /// A batch of rows with their kinds.
    ///
    /// # Panics
    /// If a column has another length than `kinds`.
    pub fn new(columns: Vec<ArrayRef>, kinds: impl Into<Arc<[RowKind]>>) -> Self {
        let kinds = kinds.into();
        for column in &columns {
            assert_eq!(column.len(), kinds.len(), "there is one kind per row");
        }
        Self { columns, kinds }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The memory that the rows take, in bytes.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.columns) + self.len()
    }
}
