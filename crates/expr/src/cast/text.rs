//! Casts to and from text, and among byte strings.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray, StringArray, cast::AsArray,
    types as at,
};
use chrono_tz::Tz;
use gridhouse_base::types::{MAX_LENGTH, timestamp_units_per_second};
use gridhouse_base::{Error, Result, TypeKind};

use super::unknown;
use crate::calendar::Zone;
use crate::text::{self, datetime, number};

/// Text forms, cut to the length of `to` and padded where it is CHAR.
pub(super) fn to_text(array: &ArrayRef, from: &TypeKind, to: &TypeKind, zone: Tz) -> ArrayRef {
    let texts = text::array_to_text(array, from, zone);
    match (from, to) {
        (_, TypeKind::Varchar(MAX_LENGTH)) => Arc::new(texts),
        (TypeKind::Char(m) | TypeKind::Varchar(m), TypeKind::Varchar(n)) if m <= n => Arc::new(texts),
        (_, TypeKind::Varchar(n)) => fit(&texts, *n, false),
        (_, TypeKind::Char(n)) => fit(&texts, *n, true),
        _ => Arc::new(texts),
    }
}

fn fit(texts: &StringArray, n: u32, padded: bool) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        match text {
            None => builder.append_null(),
            Some(text) if padded => builder.append_value(text::fitted(text, n, true)),
            Some(text) => builder.append_value(match text.char_indices().nth(n as usize) {
                Some((end, _)) => &text[..end],
                None => text,
            }),
        }
    }
    Arc::new(builder.finish())
}

fn read<T: ArrowPrimitiveType>(
    texts: &StringArray,
    to: &TypeKind,
    safe: bool,
    mut parse: impl FnMut(&str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        values.push(match text {
            None => None,
            Some(text) => match parse(text) {
                None if !safe => return Err(refused(text, to)),
                value => value,
            },
        });
    }
    Ok(values.into_iter().collect())
}

fn refused(text: &str, to: &TypeKind) -> Error {
    // Nanoseconds since 1970 end in 2262.
    let readable = datetime::parse_timestamp(text, 1_000, 3).is_some();
    if readable && matches!(to, TypeKind::Timestamp(7..) | TypeKind::TimestampLtz(7..)) {
        return Error::invalid(format!("'{text}' does not fit {to}, which ends in 2262"))
            .hint("use a precision of at most 6, whose range is wider");
    }
    text::malformed(text, to).hint("TRY_CAST gives NULL instead")
}

pub(super) fn from_text(array: &ArrayRef, to: &TypeKind, safe: bool, zone: Tz) -> Result<ArrayRef> {
    let texts = array.as_string::<i32>();
    let integer = |text: &str| number::parse_integer(text, to);
    Ok(match to {
        TypeKind::TinyInt => Arc::new(read::<at::Int8Type>(texts, to, safe, |t| integer(t).map(|v| v as i8))?),
        TypeKind::SmallInt => Arc::new(read::<at::Int16Type>(texts, to, safe, |t| integer(t).map(|v| v as i16))?),
        TypeKind::Int => Arc::new(read::<at::Int32Type>(texts, to, safe, |t| integer(t).map(|v| v as i32))?),
        TypeKind::BigInt => Arc::new(read::<at::Int64Type>(texts, to, safe, integer)?),
        TypeKind::Float => Arc::new(read::<at::Float32Type>(texts, to, safe, number::parse_float)?),
        TypeKind::Double => Arc::new(read::<at::Float64Type>(texts, to, safe, number::parse_double)?),
        TypeKind::Decimal { precision, scale } => decimals(texts, to, *precision, *scale, safe)?,
        TypeKind::Boolean => booleans(texts, safe)?,
        TypeKind::Date => {
            Arc::new(read::<at::Date32Type>(texts, to, safe, |t| datetime::parse_date(t).map(|v| v as i32))?)
        }
        TypeKind::Time(p) => {
            let time = |t: &str| datetime::parse_time(t).map(|v| datetime::cut(v, 1_000, *p) as i32);
            Arc::new(read::<at::Time32MillisecondType>(texts, to, safe, time)?)
        }
        TypeKind::Timestamp(p) => {
            let per_second = timestamp_units_per_second(*p);
            let values = read::<at::Int64Type>(texts, to, safe, |t| datetime::parse_timestamp(t, per_second, *p))?;
            retyped(values, to)
        }
        TypeKind::TimestampLtz(p) => {
            let per_second = timestamp_units_per_second(*p);
            let mut zone = Zone::new(zone);
            let parse = |t: &str| datetime::parse_instant(t, per_second, *p, &mut zone);
            retyped(read::<at::Int64Type>(texts, to, safe, parse)?, to)
        }
        // The bytes of a text are its UTF-8 form.
        to if to.is_bytes() => bytes_to_bytes(&(Arc::new(BinaryArray::from(texts.clone())) as ArrayRef), to),
        _ => return Err(unknown(&TypeKind::STRING, to)),
    })
}

/// The same 64-bit values under the timestamp type of `to`.
pub(crate) fn retyped(values: PrimitiveArray<at::Int64Type>, to: &TypeKind) -> ArrayRef {
    use arrow_schema::TimeUnit;
    let (TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) = to else { return Arc::new(values) };
    match gridhouse_base::types::timestamp_unit(*p) {
        TimeUnit::Millisecond => {
            Arc::new(values.reinterpret_cast::<at::TimestampMillisecondType>().with_data_type(to.arrow()))
        }
        TimeUnit::Microsecond => {
            Arc::new(values.reinterpret_cast::<at::TimestampMicrosecondType>().with_data_type(to.arrow()))
        }
        _ => Arc::new(values.reinterpret_cast::<at::TimestampNanosecondType>().with_data_type(to.arrow())),
    }
}

fn decimals(texts: &StringArray, to: &TypeKind, precision: u8, scale: u8, safe: bool) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        values.push(match text.map(|text| (text, number::parse_decimal(text, precision, scale))) {
            Some((_, Ok(value))) => Some(value),
            Some((text, Err(number::NoDecimal::Malformed))) if !safe => return Err(refused(text, to)),
            Some((text, Err(number::NoDecimal::TooLarge))) if !safe => {
                return Err(Error::invalid(format!("'{text}' is too large for {to}"))
                    .hint(format!("{} digits fit before the point; TRY_CAST gives NULL instead", precision - scale)));
            }
            _ => None,
        });
    }
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<at::Decimal128Type>>().with_data_type(to.arrow())))
}

fn booleans(texts: &StringArray, safe: bool) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        values.push(match text.map(|text| (text, text::parse_boolean(text))) {
            Some((text, None)) if !safe => return Err(refused(text, &TypeKind::Boolean)),
            Some((_, value)) => value,
            None => None,
        });
    }
    Ok(Arc::new(BooleanArray::from(values)))
}

/// Byte strings cut to the length of `to` and filled up with zeros where it is BINARY.
pub(super) fn bytes_to_bytes(array: &ArrayRef, to: &TypeKind) -> ArrayRef {
    let (n, padded) = match to {
        TypeKind::Binary(n) => (*n as usize, true),
        TypeKind::Varbinary(n) => (*n as usize, false),
        _ => (usize::MAX, false),
    };
    let mut builder = BinaryBuilder::new();
    for bytes in array.as_binary::<i32>() {
        match bytes {
            None => builder.append_null(),
            Some(bytes) => {
                let mut bytes = bytes[..bytes.len().min(n)].to_vec();
                if padded {
                    bytes.resize(n, 0);
                }
                builder.append_value(bytes);
            }
        }
    }
    Arc::new(builder.finish())
}
