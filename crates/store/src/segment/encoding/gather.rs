//! A column that grows by values from any number of encoded chunks.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, BinaryBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{ArrayRef, NullArray, PrimitiveArray, make_array, new_empty_array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::{DataType, TimeUnit};
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
            Physical::Text => Values::Text(StringBuilder::with_capacity(capacity, text_room(capacity))),
            Physical::Binary => Values::Binary(BinaryBuilder::with_capacity(capacity, text_room(capacity))),
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
    pub fn finish(self) -> Result<ArrayRef> {
        let rows = self.len();
        if rows == 0 {
            return Ok(new_empty_array(&self.data_type));
        }
        let (mut nulls, data_type) = (self.nulls, self.data_type);
        let buffers: Vec<Buffer> = match self.values {
            Values::Null => return Ok(Arc::new(NullArray::new(rows))),
            Values::Nested(pieces) => {
                let pieces: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
                let joined = concat(&pieces);
                return joined.map_err(|error| Error::internal("gathered pieces do not fit together").caused_by(error));
            }
            Values::Bool(mut bits) => vec![bits.finish().into_inner()],
            Values::I8(values) if data_type == DataType::Int8 => {
                return Ok(array_of::<Int8Type>(values, nulls.finish(), data_type));
            }
            Values::I16(values) if data_type == DataType::Int16 => {
                return Ok(array_of::<Int16Type>(values, nulls.finish(), data_type));
            }
            Values::I32(values) if data_type == DataType::Int32 => {
                return Ok(array_of::<Int32Type>(values, nulls.finish(), data_type));
            }
            Values::I32(values) if data_type == DataType::Date32 => {
                return Ok(array_of::<Date32Type>(values, nulls.finish(), data_type));
            }
            Values::I64(values) => match data_type {
                DataType::Int64 => return Ok(array_of::<Int64Type>(values, nulls.finish(), data_type)),
                DataType::Timestamp(unit, _) => {
                    let nulls = nulls.finish();
                    return Ok(match unit {
                        TimeUnit::Second => array_of::<TimestampSecondType>(values, nulls, data_type),
                        TimeUnit::Millisecond => array_of::<TimestampMillisecondType>(values, nulls, data_type),
                        TimeUnit::Microsecond => array_of::<TimestampMicrosecondType>(values, nulls, data_type),
                        TimeUnit::Nanosecond => array_of::<TimestampNanosecondType>(values, nulls, data_type),
                    });
                }
                _ => vec![values.into()],
            },
            Values::I128(values) if matches!(data_type, DataType::Decimal128(..)) => {
                return Ok(array_of::<Decimal128Type>(values, nulls.finish(), data_type));
            }
            Values::F32(values) => return Ok(array_of::<Float32Type>(values, nulls.finish(), data_type)),
            Values::F64(values) => return Ok(array_of::<Float64Type>(values, nulls.finish(), data_type)),
            Values::I8(values) => vec![values.into()],
            Values::I16(values) => vec![values.into()],
            Values::I32(values) => vec![values.into()],
            Values::I128(values) => vec![values.into()],
            Values::Text(mut texts) => return Ok(Arc::new(texts.finish())),
            Values::Binary(mut texts) => return Ok(Arc::new(texts.finish())),
        };
        let nulls = nulls.finish().map(|nulls| nulls.into_inner().into_inner());
        let data = ArrayData::try_new(data_type, rows, nulls, 0, buffers, Vec::new());
        data.map(make_array).map_err(|error| Error::internal("gathered values are no column").caused_by(error))
    }
}

/// Values of the type that they are kept in, without the detour over untyped data, which takes longer than a single row does.
fn array_of<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>, data_type: DataType) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type))
}

/// Room for the bytes of `count` texts: what short ones take, and that of one text that is not.
fn text_room(count: usize) -> usize {
    (8 * count).max(ONE_TEXT)
}

/// Bytes that the allocator of Arrow gives at least.
const ONE_TEXT: usize = 64;
