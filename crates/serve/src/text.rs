//! Values as PostgreSQL writes them: what psql shows and drivers parse.
//!
//! Differs from Flink's `CAST(… AS STRING)` where PostgreSQL's clients would misread it: booleans are `t` and `f`, bytes
//! are `\x…`, instants carry their offset (always UTC here), arrays stand in braces, maps and rows are JSON.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::{Array, types as at};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{TypeKind, Value};

const SECONDS_PER_DAY: i64 = 86_400;

/// Appends the value at `row` of `array`, which is not NULL.
pub(crate) fn append(out: &mut Vec<u8>, array: &dyn Array, row: usize, kind: &TypeKind) {
    match kind {
        TypeKind::Int => put(out, format_args!("{}", array.as_primitive::<at::Int32Type>().value(row))),
        TypeKind::BigInt => put(out, format_args!("{}", array.as_primitive::<at::Int64Type>().value(row))),
        TypeKind::Char(_) | TypeKind::Varchar(_) => out.extend(array.as_string::<i32>().value(row).as_bytes()),
        _ => append_value(out, &Value::from_array(array, row, kind), kind),
    }
}

/// Appends `value`, which is not NULL outside of arrays, maps and rows.
fn append_value(out: &mut Vec<u8>, value: &Value, kind: &TypeKind) {
    match value {
        Value::Null => out.extend(b"NULL"),
        Value::Boolean(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Integer(value) => append_integer(out, *value, kind),
        Value::Float(value) => append_float(out, f64::from(*value), format_args!("{value}")),
        Value::Double(value) => append_float(out, *value, format_args!("{value}")),
        Value::Decimal(value) => append_decimal(out, *value, kind),
        Value::Text(value) => out.extend(value.as_bytes()),
        Value::Bytes(value) => {
            out.extend(b"\\x");
            for byte in value.iter() {
                put(out, format_args!("{byte:02x}"));
            }
        }
        Value::Array(items) => append_array(out, items, kind),
        Value::Map(_) | Value::Row(_) => append_json(out, value, kind),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes every byte");
}

fn append_integer(out: &mut Vec<u8>, value: i64, kind: &TypeKind) {
    match kind {
        TypeKind::Date => append_date(out, value),
        TypeKind::Time(p) => append_clock(out, value, 1_000, (*p).min(3)),
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
            let per_day = timestamp_units_per_second(*p) * SECONDS_PER_DAY;
            append_date(out, value.div_euclid(per_day));
            out.push(b' ');
            append_clock(out, value.rem_euclid(per_day), timestamp_units_per_second(*p), *p);
            if matches!(kind, TypeKind::TimestampLtz(_)) {
                out.extend(b"+00");
            }
        }
        TypeKind::IntervalYearMonth => put(out, format_args!("{} years {} mons", value / 12, value % 12)),
        TypeKind::IntervalDayTime => {
            let per_day = SECONDS_PER_DAY * 1_000;
            let sign = if value % per_day < 0 { "-" } else { "" };
            put(out, format_args!("{} days {sign}", value / per_day));
            append_clock(out, (value % per_day).abs(), 1_000, 3);
        }
        _ => put(out, format_args!("{value}")),
    }
}

/// Days since 1970-01-01 as `yyyy-mm-dd`. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`.
fn append_date(out: &mut Vec<u8>, days: i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    put(out, format_args!("{year:04}-{month:02}-{day:02}"));
}

/// A time of day in units of `1 / per_second` seconds, with `digits` of fraction.
fn append_clock(out: &mut Vec<u8>, units: i64, per_second: i64, digits: u8) {
    let (seconds, fraction) = (units / per_second, units % per_second);
    put(out, format_args!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60));
    if digits > 0 {
        let width = per_second.ilog10() as usize;
        let text = format!("{fraction:0width$}");
        put(out, format_args!(".{}", &text[..width.min(usize::from(digits))]));
    }
}

fn append_float(out: &mut Vec<u8>, value: f64, shortest: std::fmt::Arguments<'_>) {
    if value.is_nan() {
        out.extend(b"NaN");
    } else if value.is_infinite() {
        out.extend(if value > 0.0 { b"Infinity".as_slice() } else { b"-Infinity" });
    } else {
        put(out, shortest);
    }
}

fn append_decimal(out: &mut Vec<u8>, value: i128, kind: &TypeKind) {
    let scale = if let TypeKind::Decimal { scale, .. } = kind { usize::from(*scale) } else { 0 };
    if value < 0 {
        out.push(b'-');
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend(whole.as_bytes());
    if scale > 0 {
        put(out, format_args!(".{fraction}"));
    }
}

/// PostgreSQL's array literal: elements quoted where they hold anything but plain characters.
fn append_array(out: &mut Vec<u8>, items: &[Value], kind: &TypeKind) {
    let TypeKind::Array(element) = kind else { return };
    out.push(b'{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let start = out.len();
        append_value(out, item, &element.kind);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-:_".contains(byte) || *byte >= 0x80;
        let word = out[start..].iter().all(plain) && out.len() > start && !out[start..].eq_ignore_ascii_case(b"null");
        if item.is_null() || matches!(item, Value::Array(_)) || word {
            continue;
        }
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if byte == b'"' || byte == b'\\' {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
}

fn append_json(out: &mut Vec<u8>, value: &Value, kind: &TypeKind) {
    match (value, kind) {
        (Value::Null, _) => out.extend(b"null"),
        (Value::Boolean(value), _) => put(out, format_args!("{value}")),
        (Value::Integer(_), kind) if kind.is_integer() => append_value(out, value, kind),
        (Value::Decimal(_), _) => append_value(out, value, kind),
        (Value::Float(number), _) if number.is_finite() => append_value(out, value, kind),
        (Value::Double(number), _) if number.is_finite() => append_value(out, value, kind),
        (Value::Array(items), TypeKind::Array(element)) => {
            separated(out, b"[]", items, |out, item| append_json(out, item, &element.kind));
        }
        (Value::Map(entries), TypeKind::Map(key_type, value_type)) => {
            separated(out, b"{}", entries, |out, (key, value)| {
                let mut name = Vec::new();
                append_value(&mut name, key, &key_type.kind);
                append_json_text(out, &name);
                out.extend(b": ");
                append_json(out, value, &value_type.kind);
            })
        }
        (Value::Row(items), TypeKind::Row(fields)) => {
            let named: Vec<_> = items.iter().zip(fields).collect();
            separated(out, b"{}", &named, |out, (value, field)| {
                append_json_text(out, field.name.as_bytes());
                out.extend(b": ");
                append_json(out, value, &field.sql_type.kind);
            });
        }
        _ => {
            let mut text = Vec::new();
            append_value(&mut text, value, kind);
            append_json_text(out, &text);
        }
    }
}

fn separated<T>(out: &mut Vec<u8>, brackets: &[u8; 2], items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(brackets[0]);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend(b", ");
        }
        each(out, item);
    }
    out.push(brackets[1]);
}

fn append_json_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            0..0x20 => put(out, format_args!("\\u{byte:04x}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use gridhouse_base::Field;

    use super::*;

    fn text(value: Value, kind: &TypeKind) -> String {
        let array = value.to_array(kind, 1);
        let mut out = Vec::new();
        append(&mut out, &array, 0, kind);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_read_as_postgresql_writes_them() {
        let decimal = TypeKind::Decimal { precision: 12, scale: 2 };
        let cases = [
            (Value::Boolean(true), TypeKind::Boolean, "t"),
            (Value::Integer(-5), TypeKind::TinyInt, "-5"),
            (Value::Integer(i64::MIN), TypeKind::BigInt, "-9223372036854775808"),
            (Value::Decimal(-5), decimal.clone(), "-0.05"),
            (Value::Decimal(123_456), decimal.clone(), "1234.56"),
            (Value::Decimal(7), TypeKind::Decimal { precision: 5, scale: 0 }, "7"),
            (Value::Double(0.1), TypeKind::Double, "0.1"),
            (Value::Float(0.1), TypeKind::Float, "0.1"),
            (Value::Double(f64::NEG_INFINITY), TypeKind::Double, "-Infinity"),
            (Value::Bytes([0, 255].as_slice().into()), TypeKind::BYTES, "\\x00ff"),
            (Value::Integer(0), TypeKind::Date, "1970-01-01"),
            (Value::Integer(-1), TypeKind::Date, "1969-12-31"),
            (Value::Integer(20_512), TypeKind::Date, "2026-02-28"),
            (Value::Integer(19_782), TypeKind::Date, "2024-02-29"),
            (Value::Integer(45_296_789), TypeKind::Time(3), "12:34:56.789"),
            (Value::Integer(45_296_000), TypeKind::Time(0), "12:34:56"),
            (Value::Integer(1_767_225_600_250), TypeKind::Timestamp(3), "2026-01-01 00:00:00.250"),
            (Value::Integer(-1), TypeKind::Timestamp(6), "1969-12-31 23:59:59.999999"),
            (Value::Integer(1_000), TypeKind::TimestampLtz(0), "1970-01-01 00:00:01+00"),
            (Value::Integer(90_061_001), TypeKind::IntervalDayTime, "1 days 01:01:01.001"),
            (Value::Integer(14), TypeKind::IntervalYearMonth, "1 years 2 mons"),
        ];
        for (value, kind, expected) in cases {
            assert_eq!(text(value, &kind), expected, "{kind}");
        }
    }

    #[test]
    fn nested_values_can_be_parsed_back() {
        let texts = TypeKind::Array(Box::new(TypeKind::STRING.nullable()));
        let items = ["plain", "a b", "say \"x\\y\"", "", "null", "中文"].map(|item| Value::Text(item.into())).to_vec();
        let items = [items, vec![Value::Null]].concat();
        assert_eq!(text(Value::Array(items), &texts), r#"{plain,"a b","say \"x\\y\"","","null",中文,NULL}"#);
        let row = TypeKind::Row(vec![
            Field { name: "a".into(), sql_type: TypeKind::Int.nullable() },
            Field { name: "b\"".into(), sql_type: TypeKind::STRING.nullable() },
        ]);
        let value = Value::Row(vec![Value::Integer(1), Value::Text("x\ny".into())]);
        assert_eq!(text(value, &row), r#"{"a": 1, "b\"": "x\ny"}"#);
        let map = TypeKind::Map(Box::new(TypeKind::Int.not_null()), Box::new(TypeKind::Date.nullable()));
        let value = Value::Map(vec![(Value::Integer(1), Value::Integer(0)), (Value::Integer(2), Value::Null)]);
        assert_eq!(text(value, &map), r#"{"1": "1970-01-01", "2": null}"#);
    }
}
