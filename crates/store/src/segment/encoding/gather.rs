//! A column that grows by values from any number of encoded chunks.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, NullArray, make_array, new_empty_array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use arrow_select::concat::concat;
use gridhouse_base::{Error, Result};

use super::physical::Physical;

/// A column that grows by values from any number of encoded chunks.
#[derive(Debug)]
pub struct GatherColumn {
    pub(super) data_type: DataType,
    pub(super) values: Values,
    pub(super) nulls: NullBufferBuilder,
}

/// Values so far, those of NULL rows being anything.
#[derive(Debug)]
pub(super) enum Values {
    Null,
    Bool(BooleanBufferBuilder),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// With its own NULLs, as all that follow.
    Text(StringBuilder),
    Binary(BinaryBuilder),
    /// Pieces.
    Nested(Vec<ArrayRef>),
}

impl Values {
    /// Appends `rows` values for rows of NULL in a column of `data_type`.
    pub fn append_nulls(&mut self, rows: usize, data_type: &DataType) {
        fn extend<T: Default + Clone>(values: &mut Vec<T>, rows: usize) {
            values.resize(values.len() + rows, T::default());
        }
        match self {
            Self::Null => {}
            Self::Nested(pieces) => pieces.push(new_null_array(data_type, rows)),
            Self::Bool(bits) => bits.append_n(rows, false),
            Self::I8(values) => extend(values, rows),
            Self::I16(values) => extend(values, rows),
            Self::I32(values) => extend(values, rows),
            Self::I64(values) => extend(values, rows),
            Self::I128(values) => extend(values, rows),
            Self::F32(values) => extend(values, rows),
            Self::F64(values) => extend(values, rows),
            Self::Text(texts) => texts.append_nulls(rows),
            Self::Binary(texts) => texts.append_nulls(rows),
        }
    }
}

impl GatherColumn {
    /// An empty column of `data_type` with room for `capacity` rows.
    ///
    /// # Panics
    /// If `data_type` is none that tables have.
    pub fn new(data_type: &DataType, capacity: usize) -> Self {
        let values = match Physical::of(data_type).expect("columns of tables have one of the stored types") {
            Physical::Null => Values::Null,
            Physical::Bool => Values::Bool(BooleanBufferBuilder::new(capacity)),
            Physical::I8 => Values::I8(Vec::with_capacity(capacity)),
            Physical::I16 => Values::I16(Vec::with_capacity(capacity)),
            Physical::I32 => Values::I32(Vec::with_capacity(capacity)),
            Physical::I64 => Values::I64(Vec::with_capacity(capacity)),
            Physical::I128 => Values::I128(Vec::with_capacity(capacity)),
            Physical::F32 => Values::F32(Vec::with_capacity(capacity)),
            Physical::F64 => Values::F64(Vec::with_capacity(capacity)),
            Physical::Text => Values::Text(StringBuilder::with_capacity(capacity, 8 * capacity)),
            Physical::Binary => Values::Binary(BinaryBuilder::with_capacity(capacity, 8 * capacity)),
            Physical::Nested => Values::Nested(Vec::new()),
        };
        Self { data_type: data_type.clone(), values, nulls: NullBufferBuilder::new(capacity) }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Nested(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
            Values::Text(texts) => texts.len(),
            Values::Binary(texts) => texts.len(),
            _ => self.nulls.len(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column.
    ///
    /// # Errors
    /// None that is expected: what does not fit was refused when it was gathered.
    pub fn finish(mut self) -> Result<ArrayRef> {
        let rows = self.len();
        if rows == 0 {
            return Ok(new_empty_array(&self.data_type));
        }
        let buffers: Vec<Buffer> = match self.values {
            Values::Null => return Ok(Arc::new(NullArray::new(rows))),
            Values::Nested(pieces) => {
                let pieces: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
                let joined = concat(&pieces);
                return joined.map_err(|error| Error::internal("gathered pieces do not fit together").caused_by(error));
            }
            Values::Bool(mut bits) => vec![bits.finish().into_inner()],
            Values::I8(values) => vec![values.into()],
            Values::I16(values) => vec![values.into()],
            Values::I32(values) => vec![values.into()],
            Values::I64(values) => vec![values.into()],
            Values::I128(values) => vec![values.into()],
            Values::F32(values) => vec![values.into()],
            Values::F64(values) => vec![values.into()],
            Values::Text(mut texts) => return Ok(Arc::new(texts.finish())),
            Values::Binary(mut texts) => return Ok(Arc::new(texts.finish())),
        };
        let nulls = self.nulls.finish().map(|nulls| nulls.into_inner().into_inner());
        let data = ArrayData::try_new(self.data_type, rows, nulls, 0, buffers, Vec::new());
        data.map(make_array).map_err(|error| Error::internal("gathered values are no column").caused_by(error))
    }
}
