//! JSON rows, an object per line.
//!
//! Numbers keep the text in which they are written until their type is known, so decimals are exact. A nested value that is
//! declared as a text is that value's JSON without blanks. Depth is limited by the declared type.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use gridhouse_base::{Field, TypeKind, Value};
use serde::Deserializer;
use serde::de::{Deserialize, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::options::{JsonOptions, NullKey};
use super::row::{Misread, RowField};
use super::scalar::{self, Style, cut};

impl JsonOptions {
    fn style(&self) -> Style {
        Style { separator: self.separator, milliseconds: false }
    }
}

/// The entries of an object in their order.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Entries<'a> {
    /// Of several with one name the last counts, as in Flink.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Reads the fields of a row; `lenient`: a value that does not fit is NULL.
pub(crate) fn read(
    text: &str,
    fields: &[RowField],
    options: &JsonOptions,
    lenient: bool,
) -> Result<Vec<Value>, Misread> {
    let entries: Entries<'_> = serde_json::from_str(text)
        .map_err(|error| Misread { column: None, what: format!("not a JSON object: {error}") })?;
    let field = |field: &RowField| {
        let read = match entries.get(&field.name) {
            None if options.fail_on_missing => Err("the field is missing".to_owned()),
            None => return Ok(Value::Null),
            Some(raw) => value(raw.get(), &field.kind, options, lenient),
        };
        match read {
            Err(_) if lenient => Ok(Value::Null),
            Err(what) => Err(Misread { column: Some(field.name.clone()), what }),
            read => Ok(read.unwrap_or(Value::Null)),
        }
    };
    fields.iter().map(field).collect()
}

fn nullable(raw: &str, kind: &TypeKind, options: &JsonOptions, lenient: bool) -> Result<Value, String> {
    match value(raw, kind, options, lenient) {
        Err(_) if lenient => Ok(Value::Null),
        read => read,
    }
}

fn value(raw: &str, kind: &TypeKind, options: &JsonOptions, lenient: bool) -> Result<Value, String> {
    let raw = raw.trim();
    let first = raw.bytes().next().unwrap_or(b'n');
    let wrong = |wanted: &str| format!("'{}' is not {wanted}", cut(raw, 60));
    if raw == "null" {
        return Ok(Value::Null);
    }
    match kind {
        TypeKind::Array(element) => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong("an array"))?;
            let items = items.iter().map(|item| nullable(item.get(), &element.kind, options, lenient));
            return Ok(Value::Array(items.collect::<Result<_, _>>()?));
        }
        TypeKind::Map(key_type, value_type) => {
            let entries: Entries<'_> = serde_json::from_str(raw).map_err(|_| wrong("an object"))?;
            let mut map: Vec<(Value, Value)> = Vec::new();
            // Keys are texts, so that each is itself.
            let mut places: HashMap<String, usize> = HashMap::new();
            for (text, raw) in entries.0 {
                let key = scalar::read(&text, &key_type.kind, options.style())?;
                let value = nullable(raw.get(), &value_type.kind, options, lenient)?;
                match places.entry(text) {
                    Entry::Occupied(known) => map[*known.get()].1 = value,
                    Entry::Vacant(new) => {
                        new.insert(map.len());
                        map.push((key, value));
                    }
                }
            }
            return Ok(Value::Map(map));
        }
        TypeKind::Row(fields) => {
            let entries: Entries<'_> = serde_json::from_str(raw).map_err(|_| wrong("an object"))?;
            let field = |field: &Field| match entries.get(&field.name) {
                None if options.fail_on_missing => Err(format!("the field '{}' is missing", field.name)),
                None => Ok(Value::Null),
                Some(raw) => nullable(raw.get(), &field.sql_type.kind, options, lenient),
            };
            return Ok(Value::Row(fields.iter().map(field).collect::<Result<_, _>>()?));
        }
        _ => {}
    }
    match (first, kind) {
        (b'"', kind) => {
            let text: String = serde_json::from_str(raw).map_err(|_| wrong("a text"))?;
            scalar::read(&text, kind, options.style())
        }
        (b'{' | b'[', kind) if kind.is_text() => Ok(Value::Text(tidied(raw).into())),
        (b'{' | b'[', kind) => Err(wrong(&format!("a value of {kind}"))),
        // A fraction of a number is cut off.
        (_, TypeKind::Int | TypeKind::BigInt) if raw.contains(['.', 'e', 'E']) => {
            let number = raw.parse::<f64>().map_err(|_| wrong("a number"))?.trunc();
            let (low, high) = gridhouse_expr::text::number::integer_range(kind);
            // The bounds of BIGINT are no doubles: what rounds to them is beyond.
            let fits =
                number > low as f64 - 1.0 && number < high as f64 + 1.0 && number.abs() < 9.223_372_036_854_775e18;
            if fits { Ok(Value::Integer(number as i64)) } else { Err(wrong(&format!("within the range of {kind}"))) }
        }
        (_, kind) => scalar::read(raw, kind, options.style()),
    }
}

/// JSON without blanks between its parts, texts and fractions written as Java's library writes them.
fn tidied(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                let token = &rest[..end.map_or(rest.len(), |end| end + 2)];
                match serde_json::from_str::<String>(token) {
                    Ok(decoded) => text(&decoded, &mut out),
                    Err(_) => out.push_str(token),
                }
                token.len()
            }
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
                let token = &rest[..end.unwrap_or(rest.len())];
                match token.parse::<f64>().ok().filter(|x| token.contains(['.', 'e', 'E']) && x.is_finite()) {
                    Some(number) => gridhouse_expr::text::number::write_double(&mut out, number),
                    None => out.push_str(token),
                }
                token.len()
            }
            c if c.is_ascii_whitespace() => 1,
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// Appends a row.
///
/// # Errors
/// What cannot be written, and in which field.
pub(crate) fn write<'a>(
    fields: impl Iterator<Item = (&'a str, &'a TypeKind, Value)>,
    options: &JsonOptions,
    out: &mut String,
) -> Result<(), Misread> {
    out.push('{');
    let mut first = true;
    for (name, kind, value) in fields {
        if value.is_null() && options.leave_out_nulls {
            continue;
        }
        if !std::mem::replace(&mut first, false) {
            out.push(',');
        }
        text(name, out);
        out.push(':');
        write_value(&value, kind, options, out).map_err(|what| Misread { column: Some(name.to_owned()), what })?;
    }
    out.push('}');
    Ok(())
}

fn text(text: &str, out: &mut String) {
    // Writing a text to a string does not fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn write_value(value: &Value, kind: &TypeKind, options: &JsonOptions, out: &mut String) -> Result<(), String> {
    match (value, kind) {
        (Value::Null, _) => out.push_str("null"),
        (Value::Array(items), TypeKind::Array(element)) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_value(item, &element.kind, options, out)?;
            }
            out.push(']');
        }
        (Value::Map(entries), TypeKind::Map(key_type, value_type)) => {
            out.push('{');
            let mut first = true;
            for (key, value) in entries {
                let key = match (key, &options.null_key) {
                    (Value::Null, NullKey::Drop) => continue,
                    (Value::Null, NullKey::Literal(literal)) => literal.clone(),
                    (Value::Null, NullKey::Fail) => {
                        return Err("a key of the map is NULL; set 'json.map-null-key.mode' to DROP or LITERAL".into());
                    }
                    (key, _) => {
                        let mut shown = String::new();
                        scalar::write(key, &key_type.kind, options.style(), &mut shown);
                        shown
                    }
                };
                if !std::mem::replace(&mut first, false) {
                    out.push(',');
                }
                text(&key, out);
                out.push(':');
                write_value(value, &value_type.kind, options, out)?;
            }
            out.push('}');
        }
        (Value::Row(items), TypeKind::Row(fields)) => {
            let fields = fields.iter().zip(items);
            let fields = fields.map(|(field, item)| (field.name.as_str(), &field.sql_type.kind, item.clone()));
            write(fields, options, out).map_err(|misread| misread.what)?;
        }
        (Value::Decimal(n), TypeKind::Decimal { scale, .. }) => {
            scalar::decimal(*n, *scale, options.plain_decimals, out);
        }
        (Value::Boolean(_) | Value::Integer(_), kind) if !kind.is_datetime() => {
            scalar::write(value, kind, options.style(), out);
        }
        (Value::Double(x), _) if x.is_finite() => scalar::write(value, kind, options.style(), out),
        (Value::Float(x), _) if x.is_finite() => scalar::write(value, kind, options.style(), out),
        (value, kind) => {
            let mut shown = String::new();
            scalar::write(value, kind, options.style(), &mut shown);
            text(&shown, out);
        }
    }
    Ok(())
}
