//! Columns of segments as bytes, with access to single values.
//!
//! [`encode`] chooses a form for a chunk of at most [`CHUNK_ROWS`] rows and tells what it saw on the way (NULLs, smallest and
//! largest value, order). [`EncodedColumn`] reads it again, as a whole or value by value, straight from mapped bytes. The type
//! and the number of rows stand elsewhere. Parsing and reading trust nothing: whatever the bytes are, they yield rows or
//! `Corrupt`, and memory in proportion to the rows.

mod gather;

use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::DataType;
use arrow_select::take::take;
use bytes::Bytes;
use gridhouse_base::{Error, Result};

use crate::codec::{Input, decode_columns, encode_columns};

pub use gather::GatherColumn;

/// The most rows that one encoded column holds. Readers skip by chunk and verify by chunk: at 8,192 rows a chunk of 8-byte
/// values fits a core's second-level cache, and its head and checksum cost less than a hundredth of a bit per value.
pub const CHUNK_ROWS: usize = 8_192;

/// What [`encode`] saw of a column.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// How many rows are NULL.
    pub nulls: u32,
    /// Whether there is no NULL and no value is smaller than the one before it.
    pub is_sorted: bool,
    /// One row: the smallest value, if it is known.
    pub min: Option<ArrayRef>,
    /// One row: the largest value, if it is known.
    pub max: Option<ArrayRef>,
}

/// Appends `column`, which has at most [`CHUNK_ROWS`] rows, to `out`, whose end must be a multiple of 8 from where the bytes
/// will be read.
pub fn encode(column: &dyn Array, out: &mut Vec<u8>) -> Encoded {
    assert!(column.len() <= CHUNK_ROWS, "a chunk of {} rows", column.len());
    let mut own = Vec::new();
    encode_columns(&[make_array(column.to_data())], &mut own);
    out.extend_from_slice(&own);
    Encoded { nulls: column.null_count() as u32, ..Encoded::default() }
}

/// An encoded column over bytes that it shares.
#[derive(Clone, Debug)]
pub struct EncodedColumn {
    array: ArrayRef,
}

impl EncodedColumn {
    /// Reads what [`encode`] wrote for `rows` rows of `data_type`; `bytes` end where the column ends.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not such a column.
    pub fn parse(bytes: Bytes, data_type: &DataType, rows: usize) -> Result<Self> {
        if rows > CHUNK_ROWS {
            return Err(Error::corrupt(format!("a column chunk of {rows} rows; {CHUNK_ROWS} is the most")));
        }
        let array = decode_columns(std::slice::from_ref(data_type), rows, &mut Input::new(&bytes))?.remove(0);
        Ok(Self { array })
    }

    /// All rows.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold such rows.
    pub fn decode(&self) -> Result<ArrayRef> {
        Ok(self.array.clone())
    }

    /// Appends the rows at `positions` to `out`.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold such rows.
    ///
    /// # Panics
    /// If a position is not below the number of rows, or `out` is of another type.
    pub fn gather(&self, positions: &[u32], out: &mut GatherColumn) -> Result<()> {
        let positions = arrow_array::UInt32Array::from(positions.to_vec());
        out.push(take(&self.array, &positions, None).expect("positions are in range"));
        Ok(())
    }

    /// The value at `row` of a column of `BIGINT` without NULLs that holds an unsigned number.
    ///
    /// # Panics
    /// If the column is of another type, or `row` is not below the number of rows.
    pub fn u64_at(&self, row: usize) -> u64 {
        use arrow_array::cast::AsArray;
        self.array.as_primitive::<arrow_array::types::Int64Type>().value(row) as u64
    }
}
