//! Arrow columns as PostgreSQL array parameters in binary form.
//!
//! One column of a batch becomes one array parameter, written straight from Arrow's buffers. Types without a plain binary
//! form here (uuid, json, enums, arrays, …) travel as text arrays and are cast in the statement. Binary formats: PostgreSQL
//! source, `array_send`, `numeric_send`, `timestamp_send`; stable since version 8.4.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, types as at};
use arrow_schema::{DataType, TimeUnit};
use bytes::{BufMut, BytesMut};
use gridhouse_base::{TypeKind, Value};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::pgoutput::PG_EPOCH_MICROS;

/// Days between 1970-01-01 and 2000-01-01.
const PG_EPOCH_DAYS: i32 = 10_957;

/// An array parameter in binary form.
#[derive(Debug)]
pub(crate) struct Parameter(BytesMut);

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Parameter {
    /// Bytes of the parameter.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The array type that a column of `kind` travels as.
pub(crate) fn array_type(kind: &TypeKind) -> Type {
    match kind {
        TypeKind::Boolean => Type::BOOL_ARRAY,
        TypeKind::TinyInt | TypeKind::SmallInt => Type::INT2_ARRAY,
        TypeKind::Int => Type::INT4_ARRAY,
        TypeKind::BigInt => Type::INT8_ARRAY,
        TypeKind::Float => Type::FLOAT4_ARRAY,
        TypeKind::Double => Type::FLOAT8_ARRAY,
        TypeKind::Decimal { .. } => Type::NUMERIC_ARRAY,
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => Type::BYTEA_ARRAY,
        TypeKind::Date => Type::DATE_ARRAY,
        TypeKind::Time(_) => Type::TIME_ARRAY,
        TypeKind::Timestamp(_) => Type::TIMESTAMP_ARRAY,
        TypeKind::TimestampLtz(_) => Type::TIMESTAMPTZ_ARRAY,
        _ => Type::TEXT_ARRAY,
    }
}

fn element_oid(kind: &TypeKind) -> u32 {
    match array_type(kind).kind() {
        tokio_postgres::types::Kind::Array(element) => element.oid(),
        _ => Type::TEXT.oid(),
    }
}

/// The rows `rows` of `column`, whose SQL kind is `kind`, as one array.
pub(crate) fn parameter(column: &ArrayRef, kind: &TypeKind, rows: &[usize]) -> Parameter {
    let mut out = BytesMut::with_capacity(20 + rows.len() * 12);
    let has_nulls = rows.iter().any(|&row| column.is_null(row));
    if rows.is_empty() {
        // An empty array has no dimension.
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(element_oid(kind));
        return Parameter(out);
    }
    out.put_i32(1);
    out.put_i32(i32::from(has_nulls));
    out.put_u32(element_oid(kind));
    out.put_i32(rows.len() as i32);
    out.put_i32(1);
    macro_rules! fixed {
        ($arrow:ty, $width:expr, $put:ident, $convert:expr) => {{
            let values = column.as_primitive::<$arrow>();
            for &row in rows {
                if values.is_null(row) {
                    out.put_i32(-1);
                } else {
                    out.put_i32($width);
                    out.$put($convert(values.value(row)));
                }
            }
        }};
    }
    match column.data_type() {
        DataType::Int8 => fixed!(at::Int8Type, 2, put_i16, i16::from),
        DataType::Int16 => fixed!(at::Int16Type, 2, put_i16, |v| v),
        DataType::Int32 => fixed!(at::Int32Type, 4, put_i32, |v| v),
        DataType::Int64 => fixed!(at::Int64Type, 8, put_i64, |v| v),
        DataType::Float32 => fixed!(at::Float32Type, 4, put_f32, |v| v),
        DataType::Float64 => fixed!(at::Float64Type, 8, put_f64, |v| v),
        DataType::Date32 => fixed!(at::Date32Type, 4, put_i32, |v: i32| v.saturating_sub(PG_EPOCH_DAYS)),
        DataType::Time32(_) => fixed!(at::Time32MillisecondType, 8, put_i64, |v| i64::from(v) * 1000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            fixed!(at::TimestampMillisecondType, 8, put_i64, |v: i64| v
                .saturating_mul(1000)
                .saturating_sub(PG_EPOCH_MICROS));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            fixed!(at::TimestampMicrosecondType, 8, put_i64, |v: i64| v.saturating_sub(PG_EPOCH_MICROS));
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            fixed!(at::TimestampNanosecondType, 8, put_i64, |v: i64| v.div_euclid(1000) - PG_EPOCH_MICROS);
        }
        DataType::Decimal128(_, scale) => {
            let values = column.as_primitive::<at::Decimal128Type>();
            for &row in rows {
                if values.is_null(row) { out.put_i32(-1) } else { numeric(values.value(row), *scale as u16, &mut out) }
            }
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            for &row in rows {
                if values.is_null(row) {
                    out.put_i32(-1);
                } else {
                    out.put_i32(1);
                    out.put_u8(u8::from(values.value(row)));
                }
            }
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            for &row in rows {
                bytes((!values.is_null(row)).then(|| values.value(row)), &mut out);
            }
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            for &row in rows {
                bytes((!values.is_null(row)).then(|| values.value(row).as_bytes()), &mut out);
            }
        }
        _ => {
            let mut text = String::new();
            for &row in rows {
                let value = Value::from_array(column, row, kind);
                text.clear();
                literal(&value, kind, &mut text);
                bytes((!value.is_null()).then_some(text.as_bytes()), &mut out);
            }
        }
    }
    Parameter(out)
}

fn bytes(value: Option<&[u8]>, out: &mut BytesMut) {
    match value {
        Some(value) => {
            out.put_i32(value.len() as i32);
            out.extend_from_slice(value);
        }
        None => out.put_i32(-1),
    }
}

/// `numeric` in binary: groups of four decimal digits around the point.
fn numeric(value: i128, scale: u16, out: &mut BytesMut) {
    // The fraction is filled up to whole groups.
    let fill = (4 - u32::from(scale) % 4) % 4;
    let fraction_groups = (u32::from(scale) + fill) / 4;
    let mut rest = value.unsigned_abs();
    // 38 digits and 3 of filling are 41: multiplying could overflow, so the lowest group is taken apart first.
    let mut groups: Vec<i16> = Vec::with_capacity(12);
    if fill > 0 {
        let low = 10_u128.pow(4 - fill);
        groups.push((rest % low * 10_u128.pow(fill)) as i16);
        rest /= low;
    }
    while rest > 0 {
        groups.push((rest % 10_000) as i16);
        rest /= 10_000;
    }
    groups.reverse();
    // Leading groups of zeros are not there; `weight` is the power of 10,000 of the first group.
    let mut weight = groups.len() as i32 - fraction_groups as i32 - 1;
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    weight -= leading as i32;
    let mut groups = &groups[leading..];
    while let Some((&0, front)) = groups.split_last() {
        groups = front;
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i32(8 + 2 * groups.len() as i32);
    out.put_i16(groups.len() as i16);
    out.put_i16(weight as i16);
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_u16(scale);
    groups.iter().for_each(|&group| out.put_i16(group));
}

/// Text of values that travel as text: intervals, and arrays in PostgreSQL's own notation.
fn literal(value: &Value, kind: &TypeKind, out: &mut String) {
    use std::fmt::Write;
    match (kind, value) {
        (_, Value::Null) => out.push_str("NULL"),
        (TypeKind::IntervalYearMonth, Value::Integer(months)) => {
            let _ = write!(out, "{months} mons");
        }
        (TypeKind::IntervalDayTime, Value::Integer(millis)) => {
            let _ = write!(out, "{millis} milliseconds");
        }
        (_, Value::Bytes(bytes)) => {
            out.push_str("\\x");
            bytes.iter().for_each(|byte| {
                let _ = write!(out, "{byte:02x}");
            });
        }
        (TypeKind::Array(element), Value::Array(items)) => {
            out.push('{');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if item.is_null() || matches!(item, Value::Array(_)) {
                    literal(item, &element.kind, out);
                    continue;
                }
                let mut text = String::new();
                literal(item, &element.kind, &mut text);
                let _ = write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            }
            out.push('}');
        }
        _ => crate::show::value(value, kind, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `numeric` back by its definition.
    fn read(bytes: &[u8]) -> (String, u16) {
        let at = |i: usize| i16::from_be_bytes([bytes[4 + 2 * i], bytes[5 + 2 * i]]);
        let (count, weight) = (at(0), i32::from(at(1)));
        let groups: Vec<(i16, i32)> = (0..count).map(|i| (at(4 + i as usize), weight - i32::from(i))).collect();
        (format!("{}{groups:?}", if at(2) == 0x4000 { "-" } else { "" }), at(3) as u16)
    }

    #[test]
    fn numbers_in_groups_of_four_digits() {
        let encoded = |value, scale| {
            let mut out = BytesMut::new();
            numeric(value, scale, &mut out);
            read(&out)
        };
        assert_eq!(encoded(0, 2), ("[]".into(), 2));
        assert_eq!(encoded(150, 2), ("[(1, 0), (5000, -1)]".into(), 2));
        assert_eq!(encoded(-12_345_678, 0), ("-[(1234, 1), (5678, 0)]".into(), 0));
        assert_eq!(encoded(5, 6), ("[(500, -2)]".into(), 6));
        assert_eq!(encoded(10_000, 0), ("[(1, 1)]".into(), 0));
        assert_eq!(encoded(10_i128.pow(38) - 1, 38).1, 38);
    }
}
