//! What the types of rows are to the encodings.

use arrow_schema::{DataType, IntervalUnit};

/// How a type's values lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Physical {
    /// There is only NULL.
    Null,
    /// Bits.
    Bool,
    /// Whole numbers of 1 byte.
    I8,
    /// Whole numbers of 2 bytes.
    I16,
    /// Whole numbers of 4 bytes.
    I32,
    /// Whole numbers of 8 bytes.
    I64,
    /// Whole numbers of 16 bytes.
    I128,
    /// Floating-point numbers of 4 bytes.
    F32,
    /// Floating-point numbers of 8 bytes.
    F64,
    /// Texts.
    Text,
    /// Byte strings.
    Binary,
    /// Lists, maps, structures.
    Nested,
}

impl Physical {
    /// That of `data_type`, if columns of it are stored.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::I8,
            DataType::Int16 => Self::I16,
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Interval(IntervalUnit::YearMonth) => {
                Self::I32
            }
            DataType::Int64 | DataType::UInt64 | DataType::Timestamp(_, _) | DataType::Duration(_) => Self::I64,
            DataType::Decimal128(_, _) => Self::I128,
            DataType::Float32 => Self::F32,
            DataType::Float64 => Self::F64,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            DataType::List(_) | DataType::Map(_, _) | DataType::Struct(_) => Self::Nested,
            _ => return None,
        })
    }
}
