//! Single values as Flink's JSON and CSV formats write and read them.
//!
//! Source: Flink 1.20, documentation of the formats ("Data Type Mapping"). Truth values are `true` or anything else; decimals
//! are rounded half up, and are NULL where they have too many digits; bytes are Base64; times have whole seconds in JSON;
//! instants are in UTC and end with `Z`; intervals are numbers of months or milliseconds.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::text::{datetime, number};

/// What differs between the formats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Between date and time.
    pub separator: char,
    /// Whether times of day keep their milliseconds.
    pub milliseconds: bool,
}

/// Reads the text of a value of `kind`, which is not nested.
///
/// # Errors
/// What the text is not.
pub(crate) fn read(text: &str, kind: &TypeKind, style: Style) -> Result<Value, String> {
    let value = match kind {
        TypeKind::Boolean => Some(Value::Boolean(text.trim().eq_ignore_ascii_case("true"))),
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => {
            let (low, high) = number::integer_range(kind);
            text.trim().parse().ok().filter(|n| (low..=high).contains(n)).map(Value::Integer)
        }
        TypeKind::IntervalYearMonth => text.trim().parse::<i32>().ok().map(|n| Value::Integer(n.into())),
        TypeKind::IntervalDayTime => text.trim().parse().ok().map(Value::Integer),
        TypeKind::Float => number::parse_float(text).map(Value::Float),
        TypeKind::Double => number::parse_double(text).map(Value::Double),
        TypeKind::Decimal { precision, scale } => match number::parse_decimal(text, *precision, *scale) {
            Ok(unscaled) => Some(Value::Decimal(unscaled)),
            Err(number::NoDecimal::TooLarge) => Some(Value::Null),
            Err(number::NoDecimal::Malformed) => None,
        },
        TypeKind::Char(_) | TypeKind::Varchar(_) => Some(Value::Text(text.into())),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
            BASE64.decode(text).ok().map(|bytes| Value::Bytes(bytes.into()))
        }
        TypeKind::Date => date(text, style.milliseconds).map(Value::Integer),
        // Java's formatters read the end of the day as its beginning.
        TypeKind::Time(_) if text == "24:00:00" && !style.milliseconds => Some(Value::Integer(0)),
        TypeKind::Time(precision) => clock(text, !style.milliseconds).map(|nanos| {
            let millis = nanos / 1_000_000;
            let kept = if style.milliseconds { (*precision).min(3) } else { 0 };
            Value::Integer(datetime::cut(millis, 1_000, kept))
        }),
        TypeKind::Timestamp(p) => moment(text, style.separator, *p).map(Value::Integer),
        TypeKind::TimestampLtz(p) => {
            text.strip_suffix('Z').and_then(|text| moment(text, style.separator, *p)).map(Value::Integer)
        }
        TypeKind::Null | TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => None,
    };
    value.ok_or_else(|| format!("'{}' is not a value of {kind}{}", cut(text, 60), example(kind, style)))
}

fn example(kind: &TypeKind, style: Style) -> String {
    match kind {
        TypeKind::Date => " as '2026-01-31'".into(),
        TypeKind::Time(_) => " as '23:59:59'".into(),
        TypeKind::Timestamp(_) => format!(" as '2026-01-31{}23:59:59.123'", style.separator),
        TypeKind::TimestampLtz(_) => format!(" as '2026-01-31{}23:59:59.123Z'", style.separator),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => " in Base64".into(),
        _ => String::new(),
    }
}

/// The first `limit` characters of `text`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn digits(text: &str) -> Option<i64> {
    let fits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|c| c.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// Year, month and day of `yyyy-MM-dd`, not checked.
fn parts(text: &str, short: bool) -> Option<(i64, i64, i64)> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let fits = |part: &str| part.len() == 2 || short && part.len() == 1;
    (year.len() == 4 && fits(month) && fits(day)).then_some((digits(year)?, digits(month)?, digits(day)?))
}

/// A date of the calendar; in CSV, as Java's `Date.valueOf`, with short months and days, and days beyond the month's end
/// count on.
fn date(text: &str, csv: bool) -> Option<i64> {
    let (year, month, day) = parts(text, csv)?;
    if csv && (1..=31).contains(&day) {
        return Some(datetime::checked_day(year, month, 1)? + day - 1);
    }
    datetime::checked_day(year, month, day)
}

/// The date of a timestamp; days beyond the month's end are its last, as Java's formatters resolve them.
fn date_of_moment(text: &str) -> Option<i64> {
    let (year, month, day) = parts(text, false)?;
    let last =
        gridhouse_expr::calendar::days_in_month(year, u8::try_from(month).ok().filter(|m| (1..=12).contains(m))?);
    let day = if (1..=31).contains(&day) { day.min(last.into()) } else { day };
    datetime::checked_day(year, month, day)
}

/// Nanoseconds of the day of `HH:mm:ss[.fraction]`, or without seconds where they are not required.
fn clock(text: &str, seconds_required: bool) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let two = |part: &str| if part.len() == 2 { digits(part) } else { None };
    let (hour, minute) = (two(parts.next()?)?, two(parts.next()?)?);
    let (second, nanos) = match parts.next() {
        None if seconds_required => return None,
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (two(seconds)?, 0),
            Some((second, fraction)) => (two(second)?, digits(fraction)? * 10_i64.pow(9 - fraction.len() as u32)),
        },
    };
    let valid = hour < 24 && minute < 60 && second < 60;
    valid.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
}

fn moment(text: &str, separator: char, precision: u8) -> Option<i64> {
    let (day, time) = text.split_once(separator)?;
    let per_second = timestamp_units_per_second(precision);
    let nanos = clock(time, true)?;
    let whole = date_of_moment(day)?.checked_mul(86_400)?.checked_mul(per_second)?;
    Some(datetime::cut(whole.checked_add(nanos / (1_000_000_000 / per_second))?, per_second, precision))
}

/// Appends the text of a value that is neither NULL nor nested; texts as they are.
pub(crate) fn write(value: &Value, kind: &TypeKind, style: Style, out: &mut String) {
    match (value, kind) {
        (Value::Boolean(truth), _) => out.push_str(if *truth { "true" } else { "false" }),
        (Value::Float(x), _) => number::write_float(out, *x),
        (Value::Double(x), _) => number::write_double(out, *x),
        (Value::Text(text), _) => out.push_str(text),
        (Value::Bytes(bytes), _) => BASE64.encode_string(bytes, out),
        (Value::Integer(days), TypeKind::Date) => datetime::write_date(out, *days),
        (Value::Integer(millis), TypeKind::Time(_)) => {
            let kept = if style.milliseconds { *millis } else { millis / 1_000 * 1_000 };
            write_clock(kept * 1_000_000, out);
        }
        (Value::Integer(units), TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) => {
            let per_second = timestamp_units_per_second(*p);
            let per_day = per_second * 86_400;
            datetime::write_date(out, units.div_euclid(per_day));
            out.push(style.separator);
            write_clock(units.rem_euclid(per_day) * (1_000_000_000 / per_second), out);
            if matches!(kind, TypeKind::TimestampLtz(_)) {
                out.push('Z');
            }
        }
        (Value::Integer(n), _) => {
            let _ = write!(out, "{n}");
        }
        (Value::Decimal(n), TypeKind::Decimal { scale, .. }) => decimal(*n, *scale, true, out),
        (Value::Decimal(n), _) => {
            let _ = write!(out, "{n}");
        }
        (Value::Null | Value::Array(_) | Value::Map(_) | Value::Row(_), _) => {}
    }
}

fn write_clock(nanos: i64, out: &mut String) {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// Appends a decimal without zeros at its end, as Java's `BigDecimal` shows it: with an exponent where it has one, or plain.
pub(crate) fn decimal(unscaled: i128, scale: u8, plain: bool, out: &mut String) {
    let (mut digits, mut scale) = (unscaled.unsigned_abs(), i32::from(scale));
    if digits == 0 {
        out.push('0');
        return;
    }
    while digits.is_multiple_of(10) {
        digits /= 10;
        scale -= 1;
    }
    if unscaled < 0 {
        out.push('-');
    }
    let text = digits.to_string();
    let exponent = text.len() as i32 - 1 - scale;
    if !plain && (scale < 0 || exponent < -6) {
        let (first, rest) = text.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let _ = write!(out, "{first}{point}{rest}E{exponent:+}");
    } else if scale <= 0 {
        let _ = write!(out, "{text}{}", "0".repeat(scale.unsigned_abs() as usize));
    } else {
        let padded = format!("{text:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        let _ = write!(out, "{whole}.{fraction}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: Style = Style { separator: ' ', milliseconds: false };

    #[test]
    fn times_and_timestamps_are_strict() {
        let time = |text| read(text, &TypeKind::Timestamp(3), SQL).ok();
        assert_eq!(time("1970-01-02 00:00:01.5678"), Some(Value::Integer(86_401_567)));
        for wrong in [
            "1970-01-02T00:00:01",
            "1970-01-02 00:00",
            "1970-1-2 00:00:01",
            "1970-02-32 00:00:00",
            "1970-01-02 00:00:01Z",
            "",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        assert_eq!(read("1970-01-01 00:00:01Z", &TypeKind::TimestampLtz(0), SQL), Ok(Value::Integer(1_000)));
        assert_eq!(read("00:00:01.9", &TypeKind::Time(3), SQL), Ok(Value::Integer(1_000)));
        let csv = Style { milliseconds: true, ..SQL };
        assert_eq!(read("00:01", &TypeKind::Time(0), csv), Ok(Value::Integer(60_000)));
        assert_eq!(read("00:00:01.987", &TypeKind::Time(1), csv), Ok(Value::Integer(1_900)));
    }

    #[test]
    fn decimals_as_java_shows_them() {
        let shown = |n, scale, plain| {
            let mut out = String::new();
            decimal(n, scale, plain, &mut out);
            out
        };
        assert_eq!((shown(10_000, 2, false).as_str(), shown(10_000, 2, true).as_str()), ("1E+2", "100"));
        assert_eq!((shown(-1050, 2, false).as_str(), shown(0, 2, false).as_str()), ("-10.5", "0"));
        assert_eq!((shown(12, 9, false).as_str(), shown(12, 9, true).as_str()), ("1.2E-8", "0.000000012"));
        assert_eq!(shown(5, 6, false), "0.000005");
        assert_eq!(read("123.455", &TypeKind::Decimal { precision: 5, scale: 2 }, SQL), Ok(Value::Decimal(12_346)));
        assert_eq!(read("12345", &TypeKind::Decimal { precision: 5, scale: 2 }, SQL), Ok(Value::Null));
    }
}
