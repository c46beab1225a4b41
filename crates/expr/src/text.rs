//! The text forms of values.

use arrow_array::Array;
use chrono_tz::Tz;
use gridhouse_base::{Error, Result, TypeKind, Value};

/// A value as a SQL literal, for EXPLAIN.
pub(crate) fn format_literal(value: &Value, _kind: &TypeKind) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Boolean(v) => v.to_string(),
        Value::Integer(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Decimal(v) => v.to_string(),
        Value::Text(v) => format!("'{}'", v.replace('\'', "''")),
        other => format!("{other:?}"),
    }
}

/// The text that Flink's CAST to STRING gives for the value at `row`; `None` for NULL.
pub fn format_value(array: &dyn Array, row: usize, kind: &TypeKind, _zone: Tz) -> Option<String> {
    match Value::from_array(array, row, kind) {
        Value::Null => None,
        Value::Text(text) => Some(text.to_string()),
        value => Some(format_literal(&value, kind)),
    }
}

/// The value of `kind` that `text` stands for.
///
/// # Errors
/// `Invalid` where `text` is not such a value; the message shows it.
pub fn parse_value(text: &str, kind: &TypeKind, _zone: Tz) -> Result<Value> {
    match kind {
        TypeKind::Char(_) | TypeKind::Varchar(_) => Ok(Value::Text(text.into())),
        kind if kind.is_integer() => text.trim().parse().map(Value::Integer).map_err(|_| refused(text, kind)),
        _ => Err(refused(text, kind)),
    }
}

fn refused(text: &str, kind: &TypeKind) -> Error {
    Error::invalid(format!("'{text}' is not a {kind}"))
}
