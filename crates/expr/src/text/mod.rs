//! The text form of every value, the one that CAST to STRING gives, and values from text.
//!
//! Result tables, the print sink and the wire protocol show values in this form. Source: Flink 1.20, "Data Types" and the
//! cast rules (`TRUE`, `1.0E10`, `2021-09-24 12:34:56.100`, `[1, NULL]`, `{a=1}`, `(1, x)`, bytes in hexadecimal).

pub mod datetime;
pub mod javaregex;
pub mod json;
pub mod jsonpath;
pub mod number;
pub mod pattern;

use std::fmt::Write;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, StringArray, cast::AsArray, types as at};
use chrono_tz::Tz;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, TypeKind, Value};

use crate::calendar::Zone;

/// The text of the value at `row` of `array`, whose SQL kind is `kind`; `None` for NULL. TIMESTAMP_LTZ is shown in `zone`.
///
/// # Panics
/// If `array` is not of `kind`'s Arrow type.
pub fn format_value(array: &dyn Array, row: usize, kind: &TypeKind, zone: Tz) -> Option<String> {
    if *kind == TypeKind::Null || array.is_null(row) {
        return None;
    }
    let mut out = String::new();
    write_value(&mut out, array, row, kind, &mut Zone::new(zone));
    Some(out)
}

/// The texts of all values of `array` as CAST gives them; NULL stays NULL. Byte strings are read as UTF-8 (results show them
/// in hexadecimal).
///
/// # Panics
/// If `array` is not of `kind`'s Arrow type.
pub fn array_to_text(array: &ArrayRef, kind: &TypeKind, zone: Tz) -> StringArray {
    if kind.is_text() {
        return array.as_string::<i32>().clone();
    }
    if kind.is_bytes() {
        let texts = array.as_binary::<i32>().iter();
        return texts.map(|bytes| bytes.map(String::from_utf8_lossy)).collect();
    }
    let mut zone = Zone::new(zone);
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut scratch = String::new();
    for row in 0..array.len() {
        if *kind == TypeKind::Null || array.is_null(row) {
            builder.append_null();
        } else {
            scratch.clear();
            write_form(&mut scratch, array, row, kind, Bytes::Utf8, &mut zone);
            builder.append_value(&scratch);
        }
    }
    builder.finish()
}

/// How byte strings are written.
#[derive(Clone, Copy)]
enum Bytes {
    /// As results show them.
    Hexadecimal,
    /// As CAST reads them.
    Utf8,
}

/// Appends the text of the value at `row`, which is not NULL.
///
/// # Panics
/// If `array` is not of `kind`'s Arrow type.
pub fn write_value(out: &mut String, array: &dyn Array, row: usize, kind: &TypeKind, zone: &mut Zone) {
    write_form(out, array, row, kind, Bytes::Hexadecimal, zone);
}

fn write_form(out: &mut String, array: &dyn Array, row: usize, kind: &TypeKind, bytes: Bytes, zone: &mut Zone) {
    match kind {
        TypeKind::Null => out.push_str("NULL"),
        TypeKind::Boolean => out.push_str(if array.as_boolean().value(row) { "TRUE" } else { "FALSE" }),
        TypeKind::TinyInt => write_display(out, array.as_primitive::<at::Int8Type>().value(row)),
        TypeKind::SmallInt => write_display(out, array.as_primitive::<at::Int16Type>().value(row)),
        TypeKind::Int => write_display(out, array.as_primitive::<at::Int32Type>().value(row)),
        TypeKind::BigInt => write_display(out, array.as_primitive::<at::Int64Type>().value(row)),
        TypeKind::Float => number::write_float(out, array.as_primitive::<at::Float32Type>().value(row)),
        TypeKind::Double => number::write_double(out, array.as_primitive::<at::Float64Type>().value(row)),
        TypeKind::Decimal { scale, .. } => {
            number::write_decimal(out, array.as_primitive::<at::Decimal128Type>().value(row), *scale);
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => out.push_str(array.as_string::<i32>().value(row)),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => match (bytes, array.as_binary::<i32>().value(row)) {
            (Bytes::Hexadecimal, value) => write_hex(out, value),
            (Bytes::Utf8, value) => out.push_str(&String::from_utf8_lossy(value)),
        },
        TypeKind::Array(element) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for i in 0..items.len() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_nested(out, &items, i, &element.kind, bytes, zone);
            }
            out.push(']');
        }
        TypeKind::Map(key, value) => {
            let entries = array.as_map().value(row);
            out.push('{');
            for i in 0..entries.len() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_nested(out, entries.column(0), i, &key.kind, bytes, zone);
                out.push('=');
                write_nested(out, entries.column(1), i, &value.kind, bytes, zone);
            }
            out.push('}');
        }
        TypeKind::Row(fields) => {
            let columns = array.as_struct().columns();
            out.push('(');
            for (i, (column, field)) in columns.iter().zip(fields).enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_nested(out, column, row, &field.sql_type.kind, bytes, zone);
            }
            out.push(')');
        }
        _ => match Value::from_array(array, row, kind) {
            Value::Integer(value) => write_integer(out, value, kind, zone),
            other => debug_assert!(false, "{other:?} is no whole number"),
        },
    }
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

fn write_nested(out: &mut String, array: &ArrayRef, row: usize, kind: &TypeKind, bytes: Bytes, zone: &mut Zone) {
    if array.is_null(row) {
        out.push_str("NULL");
    } else {
        write_form(out, array, row, kind, bytes, zone);
    }
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Appends a value that is kept as a whole number.
fn write_integer(out: &mut String, value: i64, kind: &TypeKind, zone: &mut Zone) {
    match kind {
        TypeKind::Date => datetime::write_date(out, value),
        TypeKind::Time(p) => datetime::write_time(out, value, *p),
        TypeKind::Timestamp(p) => datetime::write_timestamp(out, value, timestamp_units_per_second(*p), *p),
        TypeKind::TimestampLtz(p) => {
            let per_second = timestamp_units_per_second(*p);
            datetime::write_timestamp(out, zone.to_local(value, per_second), per_second, *p);
        }
        TypeKind::IntervalYearMonth => datetime::write_months(out, value),
        TypeKind::IntervalDayTime => datetime::write_millis(out, value),
        _ => write_display(out, value),
    }
}

/// A value as a SQL literal, for EXPLAIN and plan identity; TIMESTAMP_LTZ is shown in UTC.
pub(crate) fn format_literal(value: &Value, kind: &TypeKind) -> String {
    let mut text = String::new();
    match (value, kind) {
        (Value::Null, _) => return "NULL".into(),
        (Value::Text(text), _) => return format!("'{}'", text.replace('\'', "''")),
        (Value::Bytes(bytes), _) => {
            write_hex(&mut text, bytes);
            return format!("x'{text}'");
        }
        _ => {
            let array = value.to_array(kind, 1);
            write_value(&mut text, &array, 0, kind, &mut Zone::new(Tz::UTC));
        }
    }
    match kind {
        TypeKind::Date => format!("DATE '{text}'"),
        TypeKind::Time(_) => format!("TIME '{text}'"),
        TypeKind::Timestamp(_) => format!("TIMESTAMP '{text}'"),
        TypeKind::TimestampLtz(_) => format!("TIMESTAMP_LTZ '{text}Z'"),
        TypeKind::IntervalYearMonth => format!("INTERVAL '{text}' YEAR TO MONTH"),
        TypeKind::IntervalDayTime => format!("INTERVAL '{text}' DAY TO SECOND"),
        // Literals of these types have no spelling of their own in SQL.
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::BigInt | TypeKind::Float => format!("{text}:{kind}"),
        TypeKind::Double if !text.contains(['E', 'N', 'I']) => format!("{text}E0"),
        TypeKind::Array(_) => format!("ARRAY{text}"),
        TypeKind::Map(..) => format!("MAP{text}"),
        TypeKind::Row(_) => format!("ROW{text}"),
        _ => text,
    }
}

/// The value of `kind` that `text` stands for, read as CAST reads it; TIMESTAMP_LTZ is read in `zone`.
///
/// # Errors
/// `Invalid` where `text` is not such a value; the message shows it.
pub fn parse_value(text: &str, kind: &TypeKind, zone: Tz) -> Result<Value> {
    let value = match kind {
        TypeKind::Boolean => parse_boolean(text).map(Value::Boolean),
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => {
            number::parse_integer(text, kind).map(Value::Integer)
        }
        TypeKind::Float => number::parse_float(text).map(Value::Float),
        TypeKind::Double => number::parse_double(text).map(Value::Double),
        TypeKind::Decimal { precision, scale } => match number::parse_decimal(text, *precision, *scale) {
            Ok(unscaled) => Some(Value::Decimal(unscaled)),
            Err(number::NoDecimal::TooLarge) => {
                let hint = format!("{} digits fit before the point", precision - scale);
                return Err(Error::invalid(format!("'{text}' is too large for {kind}")).hint(hint));
            }
            Err(number::NoDecimal::Malformed) => None,
        },
        TypeKind::Char(n) => Some(Value::Text(fitted(text, *n, true).into())),
        TypeKind::Varchar(n) => Some(Value::Text(fitted(text, *n, false).into())),
        TypeKind::Binary(n) => parse_hex(text).map(|mut bytes| {
            bytes.resize(*n as usize, 0);
            Value::Bytes(bytes.into())
        }),
        TypeKind::Varbinary(n) => parse_hex(text).map(|mut bytes| {
            bytes.truncate(*n as usize);
            Value::Bytes(bytes.into())
        }),
        TypeKind::Date => datetime::parse_date(text).map(Value::Integer),
        TypeKind::Time(_) => datetime::parse_time(text).map(Value::Integer),
        TypeKind::Timestamp(p) => {
            datetime::parse_timestamp(text, timestamp_units_per_second(*p), *p).map(Value::Integer)
        }
        TypeKind::TimestampLtz(p) => {
            let per_second = timestamp_units_per_second(*p);
            datetime::parse_instant(text, per_second, *p, &mut Zone::new(zone)).map(Value::Integer)
        }
        _ => return Err(Error::invalid(format!("{kind} cannot be read from text"))),
    };
    value.ok_or_else(|| malformed(text, kind))
}

/// The error for a text that is no value of `kind`.
pub(crate) fn malformed(text: &str, kind: &TypeKind) -> Error {
    // A page of text in a message helps nobody.
    let shown: String = text.chars().take(80).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    Error::invalid(format!("'{shown}{dots}' is not a valid {kind}"))
}

/// Reads the spellings of a truth value that Flink's CAST knows.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is(["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// `text` cut to `n` characters and, where `padded`, filled up with blanks.
pub fn fitted(text: &str, n: u32, padded: bool) -> String {
    let mut out: String = text.chars().take(n as usize).collect();
    if padded {
        let count = out.chars().count();
        out.extend(std::iter::repeat_n(' ', (n as usize).saturating_sub(count)));
    }
    out
}

/// Reads pairs of hexadecimal digits.
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    bytes.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}
