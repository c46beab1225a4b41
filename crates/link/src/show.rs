//! Values as Java shows them, which is how Flink's `print` shows them.

use std::fmt::Write;

use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{TypeKind, Value};

/// Adds the text of `value`, which is of `kind`.
pub(crate) fn value(value: &Value, kind: &TypeKind, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write_value(value, kind, out);
}

fn write_value(value: &Value, kind: &TypeKind, out: &mut String) -> std::fmt::Result {
    match (value, kind) {
        (Value::Null, _) => out.write_str("null"),
        (Value::Boolean(b), _) => write!(out, "{b}"),
        (Value::Integer(days), TypeKind::Date) => date(*days, out),
        (Value::Integer(millis), TypeKind::Time(_)) => clock(*millis, 1000, out),
        (Value::Integer(n), TypeKind::Timestamp(p)) => timestamp(*n, *p, out),
        (Value::Integer(n), TypeKind::TimestampLtz(p)) => {
            timestamp(*n, *p, out)?;
            out.write_char('Z')
        }
        (Value::Integer(n), _) => write!(out, "{n}"),
        (Value::Float(x), _) => float(f64::from(*x), &x.to_string(), &format!("{x:E}"), out),
        (Value::Double(x), _) => float(*x, &x.to_string(), &format!("{x:E}"), out),
        (Value::Decimal(n), TypeKind::Decimal { scale, .. }) => decimal(*n, usize::from(*scale), out),
        (Value::Decimal(n), _) => write!(out, "{n}"),
        (Value::Text(text), _) => out.write_str(text),
        (Value::Bytes(bytes), _) => {
            let signed: Vec<i8> = bytes.iter().map(|&byte| byte as i8).collect();
            write!(out, "{signed:?}")
        }
        (Value::Array(items), TypeKind::Array(element)) => {
            list('[', items.iter().map(|item| (None, item, &element.kind)), ']', out)
        }
        (Value::Map(entries), TypeKind::Map(key_type, value_type)) => {
            let entries = entries.iter().map(|(k, v)| (Some((k, &key_type.kind)), v, &value_type.kind));
            list('{', entries, '}', out)
        }
        (Value::Row(items), TypeKind::Row(fields)) => {
            out.push_str("+I");
            list('[', items.iter().zip(fields).map(|(item, field)| (None, item, &field.sql_type.kind)), ']', out)
        }
        (other, _) => write!(out, "{other:?}"),
    }
}

type Entry<'a> = (Option<(&'a Value, &'a TypeKind)>, &'a Value, &'a TypeKind);

fn list<'a>(open: char, items: impl Iterator<Item = Entry<'a>>, close: char, out: &mut String) -> std::fmt::Result {
    out.push(open);
    for (i, (key, item, kind)) in items.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if let Some((key, key_kind)) = key {
            write_value(key, key_kind, out)?;
            out.push('=');
        }
        write_value(item, kind, out)?;
    }
    out.push(close);
    Ok(())
}

/// `BigDecimal.toPlainString`.
fn decimal(n: i128, scale: usize, out: &mut String) -> std::fmt::Result {
    let sign = if n < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", n.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    write!(out, "{sign}{whole}{point}{fraction}")
}

/// `Double.toString`: plain between 10⁻³ and 10⁷, else with an exponent, always with a fraction.
fn float(x: f64, plain: &str, scientific: &str, out: &mut String) -> std::fmt::Result {
    if x.is_nan() {
        return out.write_str("NaN");
    }
    if x.is_infinite() {
        return out.write_str(if x > 0.0 { "Infinity" } else { "-Infinity" });
    }
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        return write!(out, "{plain}{}", if plain.contains('.') { "" } else { ".0" });
    }
    let (mantissa, exponent) = scientific.split_once('E').unwrap_or((scientific, "0"));
    write!(out, "{mantissa}{}E{exponent}", if mantissa.contains('.') { "" } else { ".0" })
}

/// `LocalDate.toString` (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: i64, out: &mut String) -> std::fmt::Result {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(out, "{year:04}-{month:02}-{day:02}")
}

/// `LocalTime.toString`: seconds and fraction only where they are not zero, the fraction in groups of three digits.
fn clock(units: i64, per_second: i64, out: &mut String) -> std::fmt::Result {
    let (seconds, fraction) = (units / per_second, units % per_second);
    write!(out, "{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
    let nanos = fraction * (1_000_000_000 / per_second);
    if seconds % 60 != 0 || nanos != 0 {
        write!(out, ":{:02}", seconds % 60)?;
    }
    match nanos {
        0 => Ok(()),
        n if n % 1_000_000 == 0 => write!(out, ".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => write!(out, ".{:06}", n / 1_000),
        n => write!(out, ".{n:09}"),
    }
}

/// `LocalDateTime.toString`.
fn timestamp(units: i64, precision: u8, out: &mut String) -> std::fmt::Result {
    let per_second = timestamp_units_per_second(precision);
    let per_day = per_second * 86_400;
    date(units.div_euclid(per_day), out)?;
    out.push('T');
    clock(units.rem_euclid(per_day), per_second, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(v: Value, kind: TypeKind) -> String {
        let mut out = String::new();
        value(&v, &kind, &mut out);
        out
    }

    #[test]
    fn values_as_java_shows_them() {
        let decimal = TypeKind::Decimal { precision: 5, scale: 2 };
        assert_eq!(shown(Value::Decimal(-5), decimal), "-0.05");
        assert_eq!(shown(Value::Double(1.0), TypeKind::Double), "1.0");
        assert_eq!(shown(Value::Double(1e10), TypeKind::Double), "1.0E10");
        assert_eq!(shown(Value::Double(0.00012), TypeKind::Double), "1.2E-4");
        assert_eq!(shown(Value::Float(0.1), TypeKind::Float), "0.1");
        assert_eq!(shown(Value::Integer(-1), TypeKind::Date), "1969-12-31");
        assert_eq!(shown(Value::Integer(1_767_225_600_000), TypeKind::Timestamp(3)), "2026-01-01T00:00");
        assert_eq!(shown(Value::Integer(1_500), TypeKind::TimestampLtz(3)), "1970-01-01T00:00:01.500Z");
        let ints = TypeKind::Array(Box::new(TypeKind::Int.nullable()));
        assert_eq!(shown(Value::Array(vec![Value::Integer(1), Value::Null]), ints), "[1, null]");
    }
}
