//! What is known of a column chunk without reading it.

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use gridhouse_base::Result;

use super::encoding::Encoded;
use crate::codec::{Input, decode_columns, encode_columns};

/// Bounds that take more bytes are left out: a text of about 100 bytes says little by which a chunk could be skipped, and the
/// footer stays small whatever is stored.
const MAX_BOUNDS_BYTES: usize = 255;

/// What is known of the rows of a column chunk, deletions included (whose values outside the key are NULL).
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkStats {
    /// How many rows are NULL.
    pub nulls: usize,
    /// One row that no value is smaller than, if one is known.
    pub min: Option<ArrayRef>,
    /// One row that no value is larger than, if one is known.
    pub max: Option<ArrayRef>,
    /// Whether there is no NULL and no value is smaller than the one before it.
    pub is_sorted: bool,
}

/// The smallest and the largest value as bytes; none if they are not both known, or long.
pub(super) fn encode_bounds(encoded: &Encoded) -> Vec<u8> {
    let (Some(min), Some(max)) = (&encoded.min, &encoded.max) else { return Vec::new() };
    let mut bytes = Vec::new();
    encode_columns(&[min.clone(), max.clone()], &mut bytes);
    if bytes.len() > MAX_BOUNDS_BYTES { Vec::new() } else { bytes }
}

/// The bounds in `bytes`, both without NULL.
///
/// # Errors
/// `Corrupt` if they are not such bounds.
pub(super) fn decode_bounds(bytes: &[u8], data_type: &DataType) -> Result<[ArrayRef; 2]> {
    let mut input = Input::new(bytes);
    let bounds = decode_columns(&[data_type.clone(), data_type.clone()], 1, &mut input)?;
    if !input.is_at_end() || bounds.iter().any(|bound| bound.null_count() > 0) {
        return Err(crate::codec::damaged("the bounds of a column chunk are not two values"));
    }
    Ok(bounds.try_into().expect("two columns were decoded"))
}
