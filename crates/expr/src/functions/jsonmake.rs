//! Making JSON: JSON_STRING, JSON_OBJECT, JSON_ARRAY, JSON_QUOTE and JSON_UNQUOTE.
//!
//! Texts are written without blanks, the keys of an object in order. The result of JSON_OBJECT or JSON_ARRAY inside another
//! one is taken as it is; any other text is a string.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use chrono_tz::Tz;
use gridhouse_base::{Error, Result, TypeKind, Value};

use super::encoding::write_base64;
use super::json::{json, text_result};
use super::kernel::{make_texts, texts};
use super::{Call, Function};
use crate::cast::implicit_cast;
use crate::expr::Expr;
use crate::text::format_value;
use crate::text::json::{Json, write_double, write_text};

pub(crate) static FUNCTIONS: &[Function] = &[
    json("JSON_STRING", &["JSON_STRING(x)"], bind_string, string),
    json(
        "JSON_OBJECT",
        &["JSON_OBJECT('key' VALUE x, … [NULL|ABSENT ON NULL])", "JSON_OBJECT('key' : x, …)"],
        bind_object,
        object,
    ),
    json("JSON_ARRAY", &["JSON_ARRAY(x, … [NULL|ABSENT ON NULL])"], bind_array, array),
    json("JSON_QUOTE", &["JSON_QUOTE(text)"], bind_text, quote),
    json("JSON_UNQUOTE", &["JSON_UNQUOTE(text)"], bind_text, unquote),
];

/// Whether values of `kind` have a form in JSON.
fn writable(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::Array(element) => writable(&element.kind),
        TypeKind::Map(key, value) => key.kind.is_text() && writable(&value.kind),
        TypeKind::Row(fields) => fields.iter().all(|field| writable(&field.sql_type.kind)),
        TypeKind::Boolean | TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => true,
        other => other.is_numeric() || other.is_text() || other.is_bytes(),
    }
}

fn unwritable(kind: &TypeKind) -> Error {
    Error::invalid(format!("{kind} has no form in JSON")).hint("write CAST(… AS STRING)")
}

/// A decimal as Java's `BigDecimal.toString` shows it without trailing zeros: `1.5`, `1E+2`.
fn write_decimal(out: &mut String, mut unscaled: i128, mut scale: i64) {
    if unscaled == 0 {
        out.push('0');
        return;
    }
    while unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    if unscaled < 0 {
        out.push('-');
    }
    let digits = unscaled.unsigned_abs().to_string();
    let exponent = digits.len() as i64 - 1 - scale;
    if scale < 0 || exponent < -6 {
        out.push_str(&digits[..1]);
        if digits.len() > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        out.push_str(&format!("E{exponent:+}"));
        return;
    }
    let scale = scale as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    out.push_str(whole);
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
}

/// A moment as ISO 8601 has it, with as many fraction digits as it needs.
fn write_moment(out: &mut String, shown: &str, suffix: &str) {
    let shown = match shown.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        },
        None => shown.to_owned(),
    };
    out.push('"');
    out.push_str(&shown.replacen(' ', "T", 1));
    out.push_str(suffix);
    out.push('"');
}

/// Appends the value at `row` of `array`, whose SQL kind is `kind`.
fn write_value(out: &mut String, array: &dyn Array, row: usize, kind: &TypeKind) {
    if *kind == TypeKind::Null || array.is_null(row) {
        out.push_str("null");
        return;
    }
    match kind {
        TypeKind::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        TypeKind::Double => write_double(out, array.as_primitive::<at::Float64Type>().value(row)),
        TypeKind::Float => {
            let shown = format_value(array, row, kind, Tz::UTC).unwrap_or_default();
            let quote = if array.as_primitive::<at::Float32Type>().value(row).is_finite() { "" } else { "\"" };
            out.push_str(&format!("{quote}{shown}{quote}"));
        }
        TypeKind::Decimal { scale, .. } => {
            write_decimal(out, array.as_primitive::<at::Decimal128Type>().value(row), i64::from(*scale));
        }
        TypeKind::Char(_) | TypeKind::Varchar(_) => write_text(out, array.as_string::<i32>().value(row)),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            out.push('"');
            write_base64(array.as_binary::<i32>().value(row), out);
            out.push('"');
        }
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let suffix = if matches!(kind, TypeKind::TimestampLtz(_)) { "Z" } else { "" };
            write_moment(out, &format_value(array, row, kind, Tz::UTC).unwrap_or_default(), suffix);
        }
        TypeKind::Array(element) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for i in 0..items.len() {
                out.push_str(if i == 0 { "" } else { "," });
                write_value(out, &items, i, &element.kind);
            }
            out.push(']');
        }
        TypeKind::Map(_, value) => {
            let entries = array.as_map().value(row);
            let keys = entries.column(0).as_string::<i32>();
            let mut places: Vec<usize> = (0..entries.len()).collect();
            places.sort_by(|&a, &b| in_java_order(keys.value(a), keys.value(b)));
            let pairs = places.into_iter().map(|i| {
                let mut text = String::new();
                write_value(&mut text, entries.column(1), i, &value.kind);
                (keys.value(i).to_owned(), text)
            });
            write_pairs(out, pairs);
        }
        TypeKind::Row(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let pairs = columns.map(|(column, field)| {
                let mut text = String::new();
                write_value(&mut text, column, row, &field.sql_type.kind);
                (field.name.clone(), text)
            });
            write_pairs(out, pairs);
        }
        other => out.push_str(&format_value(array, row, other, Tz::UTC).unwrap_or_default()),
    }
}

/// Java compares strings by their UTF-16 units.
fn in_java_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

fn write_pairs(out: &mut String, pairs: impl Iterator<Item = (String, String)>) {
    out.push('{');
    for (i, (key, value)) in pairs.enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        write_text(out, &key);
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
}

fn bind_string(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !writable(arg.kind()) {
        return Err(unwritable(arg.kind()));
    }
    let sql_type = text_result(std::slice::from_ref(&arg));
    Ok(function.call(vec![arg], sql_type))
}

fn string(call: &Call<'_>) -> Result<ArrayRef> {
    let (operand, kind) = (&call.args[0], call.kind(0));
    let made = make_texts(call, |i, out| {
        write_value(out, operand.array.as_ref(), operand.at(i), kind);
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// Marks the values that are JSON already behind the clause, as their calls may be folded away: `NULL 01`.
fn marked(function: &'static Function, clause: &Expr, values: &[&Expr]) -> Result<Expr> {
    let clause = match clause.as_literal() {
        Some(Value::Text(clause)) if matches!(clause.as_ref(), "NULL" | "ABSENT") => clause,
        _ => return Err(function.wrong_types(std::slice::from_ref(clause))),
    };
    let is_json = |value: &&Expr| matches!(value, Expr::Call { function, .. } if matches!(function.name, "JSON_OBJECT" | "JSON_ARRAY"));
    let marks: String = values.iter().map(|value| if is_json(value) { '1' } else { '0' }).collect();
    Ok(Expr::text(&format!("{clause} {marks}")))
}

/// Whether NULLs are left out, and which of `count` values are JSON already.
fn marks(call: &Call<'_>, count: usize) -> (bool, Vec<bool>) {
    let text = match call.exprs[0].as_literal() {
        Some(Value::Text(text)) => text.as_ref(),
        _ => "",
    };
    let (clause, marks) = text.split_once(' ').unwrap_or((text, ""));
    let mut json: Vec<bool> = marks.chars().map(|mark| mark == '1').collect();
    json.resize(count, false);
    (clause == "ABSENT", json)
}

/// The clause (`NULL` or `ABSENT`), then keys and values by turns.
fn bind_object(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.len().is_multiple_of(2) {
        return Err(function.wrong_count(args.len()));
    }
    for i in (1..args.len()).step_by(2) {
        if !args[i].kind().is_text() {
            let error = Error::invalid(format!("a key of a JSON object is a text, not {}", args[i].kind()));
            return Err(error.hint("write JSON_OBJECT('key' VALUE x)"));
        }
        if args[i].as_literal() == Some(&Value::Null)
            || args[i].sql_type().nullable && args[i].is_constant() && matches!(args[i], Expr::Cast { .. })
        {
            return Err(Error::invalid("a key of a JSON object is NULL").hint("write JSON_OBJECT('key' VALUE x)"));
        }
        args[i] = implicit_cast(args[i].clone(), &TypeKind::STRING.nullable())?;
        if !writable(args[i + 1].kind()) {
            return Err(unwritable(args[i + 1].kind()));
        }
    }
    let values: Vec<&Expr> = args.iter().skip(2).step_by(2).collect();
    args[0] = marked(function, &args[0], &values)?;
    Ok(function.call(args, TypeKind::STRING.not_null()))
}

fn write_argument(out: &mut String, call: &Call<'_>, arg: usize, i: usize, is_json: bool) {
    let operand = &call.args[arg];
    let row = operand.at(i);
    if is_json && operand.array.is_valid(row) {
        out.push_str(operand.array.as_string::<i32>().value(row));
    } else {
        write_value(out, operand.array.as_ref(), row, call.kind(arg));
    }
}

/// The value at row `i` of argument `arg` is NULL.
fn is_null(call: &Call<'_>, arg: usize, i: usize) -> bool {
    *call.kind(arg) == TypeKind::Null || call.args[arg].array.is_null(call.args[arg].at(i))
}

fn object(call: &Call<'_>) -> Result<ArrayRef> {
    let (absent, json) = marks(call, (call.args.len() - 1) / 2);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 32);
    for i in 0..call.len {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (pair, &is_json) in json.iter().enumerate() {
            let (key, value) = (1 + 2 * pair, 2 + 2 * pair);
            if is_null(call, key, i) {
                return Err(Error::invalid("a key of a JSON object is NULL").hint("use COALESCE for the key"));
            }
            if absent && is_null(call, value, i) {
                continue;
            }
            let operand = &call.args[key];
            let name = operand.array.as_string::<i32>().value(operand.at(i)).to_owned();
            let mut text = String::new();
            write_argument(&mut text, call, value, i, is_json);
            match pairs.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = text,
                None => pairs.push((name, text)),
            }
        }
        pairs.sort_by(|(a, _), (b, _)| in_java_order(a, b));
        let mut out = String::new();
        write_pairs(&mut out, pairs.into_iter());
        builder.append_value(out);
    }
    Ok(Arc::new(builder.finish()))
}

/// The clause (`NULL` or `ABSENT`), then the values.
fn bind_array(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Err(function.wrong_count(0));
    }
    if let Some(arg) = args[1..].iter().find(|arg| !writable(arg.kind())) {
        return Err(unwritable(arg.kind()));
    }
    let values: Vec<&Expr> = args.iter().skip(1).collect();
    args[0] = marked(function, &args[0], &values)?;
    Ok(function.call(args, TypeKind::STRING.not_null()))
}

fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let (absent, json) = marks(call, call.args.len() - 1);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 32);
    let mut out = String::new();
    for i in 0..call.len {
        out.clear();
        out.push('[');
        for (item, &is_json) in json.iter().enumerate() {
            if absent && is_null(call, item + 1, i) {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            write_argument(&mut out, call, item + 1, i, is_json);
        }
        out.push(']');
        builder.append_value(&out);
    }
    Ok(Arc::new(builder.finish()))
}

fn bind_text(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !arg.kind().is_text() && *arg.kind() != TypeKind::Null {
        return Err(function.wrong_types(&[arg]));
    }
    let arg = implicit_cast(arg, &TypeKind::STRING.nullable())?;
    let sql_type = text_result(std::slice::from_ref(&arg));
    Ok(function.call(vec![arg], sql_type))
}

fn quote(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let made = make_texts(call, |i, out| {
        write_text(out, text.at(i));
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// What is no JSON string stays as it is.
fn unquote(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let made = make_texts(call, |i, out| {
        match Json::parse(text.at(i)) {
            Some(Json::Text(inner)) if text.at(i).ends_with('"') => out.push_str(&inner),
            _ => out.push_str(text.at(i)),
        }
        Ok(true)
    })?;
    Ok(Arc::new(made))
}
