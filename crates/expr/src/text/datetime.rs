//! Dates, times, timestamps and intervals as text and back, as Flink's casts write and read them.

use std::fmt::Write;

use crate::calendar::{self, Civil, MILLIS_PER_DAY, Zone};

fn two(out: &mut String, value: i64) {
    out.push(char::from(b'0' + (value / 10 % 10) as u8));
    out.push(char::from(b'0' + (value % 10) as u8));
}

/// Appends `yyyy-MM-dd`; years beyond 9999 have more digits, years before 0 a sign.
pub fn write_date(out: &mut String, days: i64) {
    let Civil { year, month, day } = calendar::civil(days);
    if (0..=9_999).contains(&year) {
        two(out, year / 100);
        two(out, year % 100);
    } else {
        let _ = write!(out, "{year:05}");
    }
    out.push('-');
    two(out, month.into());
    out.push('-');
    two(out, day.into());
}

fn write_clock(out: &mut String, seconds: i64) {
    two(out, seconds / 3_600);
    out.push(':');
    two(out, seconds / 60 % 60);
    out.push(':');
    two(out, seconds % 60);
}

/// Appends `HH:mm:ss` and, for a precision above 0, a fraction of at least one digit without trailing zeros.
pub fn write_time(out: &mut String, millis: i64, precision: u8) {
    let millis = millis.rem_euclid(MILLIS_PER_DAY);
    write_clock(out, millis / 1_000);
    let mut rest = millis % 1_000;
    if precision > 0 {
        out.push('.');
    }
    for _ in 0..precision {
        out.push(char::from(b'0' + (rest / 100) as u8));
        rest = rest % 100 * 10;
        if rest == 0 {
            break;
        }
    }
}

/// Appends `yyyy-MM-dd HH:mm:ss` and a fraction of `precision` digits, or more where the value has more.
pub fn write_timestamp(out: &mut String, value: i64, per_second: i64, precision: u8) {
    let seconds = value.div_euclid(per_second);
    write_date(out, seconds.div_euclid(86_400));
    out.push(' ');
    write_clock(out, seconds.rem_euclid(86_400));
    let mut nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let mut width = 9;
    while width > precision && nanos % 10 == 0 {
        nanos /= 10;
        width -= 1;
    }
    if width > 0 {
        let _ = write!(out, ".{nanos:0width$}", width = width.into());
    }
}

/// Appends `+years-months`.
pub fn write_months(out: &mut String, months: i64) {
    let size = months.unsigned_abs();
    let _ = write!(out, "{}{}-{:02}", if months < 0 { '-' } else { '+' }, size / 12, size % 12);
}

/// Appends `+days HH:mm:ss.SSS`.
pub fn write_millis(out: &mut String, millis: i64) {
    let size = millis.unsigned_abs();
    let seconds = size / 1_000;
    let _ = write!(out, "{}{} ", if millis < 0 { '-' } else { '+' }, seconds / 86_400);
    write_clock(out, (seconds % 86_400) as i64);
    let _ = write!(out, ".{:03}", size % 1_000);
}

fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The day of a valid calendar date between the years 0 and 9999.
pub fn checked_day(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = u8::try_from(month).ok().filter(|m| (1..=12).contains(m))?;
    let valid = (0..=9_999).contains(&year) && day >= 1 && day <= calendar::days_in_month(year, month).into();
    valid.then(|| calendar::days(year, month, day))
}

/// Reads `yyyy[-M[-d]]`; what stands behind a blank is ignored.
pub fn parse_date(text: &str) -> Option<i64> {
    let date = match text.find(' ') {
        Some(at) if at > 0 => &text[..at],
        _ => text,
    };
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?)?;
    let month = parts.next().map_or(Some(1), number)?;
    let day = parts.next().map_or(Some(1), number)?;
    checked_day(year, month, day)
}

/// Reads `H[:m[:s[.fraction]]]`, and an offset `+h[:m]` that is added, into milliseconds of the day. Minutes and seconds beyond
/// 59 carry over; a fraction is rounded. `None` where the sum is not a time of one day.
pub fn parse_time(text: &str) -> Option<i64> {
    let (clock, zone) = match text.find('-').or_else(|| text.find('+')) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let mut parts = clock.splitn(3, ':');
    let hour = number(parts.next()?)?;
    let minute = parts.next().map_or(Some(0), number)?;
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (number(seconds)?, 0),
            Some((second, fraction)) => (number(second)?, rounded_millis(fraction.trim())?),
        },
    };
    let mut millis = ((hour * 60 + minute) * 60 + second) * 1_000 + fraction;
    if let Some(zone) = zone {
        let (hours, minutes) = zone[1..].split_once(':').unwrap_or((&zone[1..], "0"));
        let offset = (number(hours)? * 60 + number(minutes)?) * 60_000;
        millis += if zone.starts_with('-') { -offset } else { offset };
    }
    (0..MILLIS_PER_DAY).contains(&millis).then_some(millis)
}

fn rounded_millis(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digit = |i: usize| i64::from(fraction.as_bytes().get(i).map_or(0, |b| b - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(digit(3) >= 5))
}

/// One or two digits, and what follows.
fn short(text: &str) -> Option<(i64, &str)> {
    let width = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text[..width].parse().ok()?, &text[width..]))
}

/// `H:m:s[.fraction]` as hour and nanoseconds after it, and what follows.
fn clock(text: &str) -> Option<(i64, i64, &str)> {
    let (hour, rest) = short(text)?;
    let (minute, rest) = short(rest.strip_prefix(':')?)?;
    let (second, rest) = short(rest.strip_prefix(':')?)?;
    let (nanos, rest) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let width = rest.bytes().take(9).take_while(u8::is_ascii_digit).count();
            let digits: i64 = if width == 0 { 0 } else { rest[..width].parse().ok()? };
            (digits * 10i64.pow(9 - width as u32), &rest[width..])
        }
    };
    let valid = hour <= 24 && minute < 60 && second < 60;
    valid.then_some((hour, (minute * 60 + second) * 1_000_000_000 + nanos, rest))
}

/// A day and nanoseconds within it, as CAST reads them: `yyyy-M-d[ H:m:s[.fraction]]`. A day up to 31 is cut to the month's length
/// and 24:00:00 is the next day; blanks around the text and the `T` of ISO 8601 are refused.
fn moment(text: &str) -> Option<(i64, i64)> {
    let signed = text.strip_prefix('+');
    let digits = signed.unwrap_or(text);
    let width = digits.bytes().take(10).take_while(u8::is_ascii_digit).count();
    // More than four digits want a sign.
    if width < 4 || (width > 4) != signed.is_some() || width > 6 {
        return None;
    }
    let year: i64 = digits[..width].parse().ok()?;
    let (month, rest) = short(digits[width..].strip_prefix('-')?)?;
    let (day, rest) = short(rest.strip_prefix('-')?)?;
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let month = month as u8;
    let day = calendar::days(year, month, day.min(calendar::days_in_month(year, month).into()));
    if rest.is_empty() {
        return Some((day, 0));
    }
    match clock(rest.strip_prefix(' ')?)? {
        (24, 0, "") => Some((day + 1, 0)),
        (hour, nanos, "") if hour < 24 => Some((day, hour * 3_600_000_000_000 + nanos)),
        _ => None,
    }
}

/// Cuts `value` to `precision` fraction digits, towards the past.
pub fn cut(value: i64, per_second: i64, precision: u8) -> i64 {
    let kept = 10i64.pow(precision.min(9).into());
    if kept >= per_second {
        return value;
    }
    let step = per_second / kept;
    value.div_euclid(step).saturating_mul(step)
}

fn in_units(day: i64, nanos: i64, per_second: i64, precision: u8) -> Option<i64> {
    let units = day.checked_mul(86_400)?.checked_mul(per_second)?.checked_add(nanos / (1_000_000_000 / per_second))?;
    Some(cut(units, per_second, precision))
}

/// Reads `yyyy-M-d[ H:m:s[.fraction]]` as a local time, as CAST does; further fraction digits are cut. `None` also where the time
/// does not fit 64 bits of the unit (nanoseconds end in 2262).
pub fn parse_timestamp(text: &str, per_second: i64, precision: u8) -> Option<i64> {
    let (day, nanos) = moment(text)?;
    in_units(day, nanos, per_second, precision)
}

/// Reads the same as an instant in `zone`.
pub fn parse_instant(text: &str, per_second: i64, precision: u8, zone: &mut Zone) -> Option<i64> {
    Some(zone.to_utc(parse_timestamp(text, per_second, precision)?, per_second))
}

/// Reads what stands behind DATE in a literal: `yyyy-M-d`, a day of the calendar.
pub fn literal_date(text: &str) -> Option<i64> {
    let (day, rest) = calendar_day(text)?;
    rest.is_empty().then_some(day)
}

/// Reads what stands behind TIME in a literal, `H:m:s[.fraction]`, into milliseconds of the day.
pub fn literal_time(text: &str) -> Option<i64> {
    let (hour, nanos, rest) = clock(text)?;
    let fraction = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    (hour < 24 && fraction.is_empty()).then_some(hour * 3_600_000 + nanos / 1_000_000)
}

/// Reads what stands behind TIMESTAMP in a literal: `yyyy-M-d[ H:m:s[.fraction]]`, a day of the calendar. Fraction digits beyond
/// the ninth are cut.
pub fn literal_timestamp(text: &str, per_second: i64, precision: u8) -> Option<i64> {
    let (day, rest) = calendar_day(text)?;
    if rest.is_empty() {
        return in_units(day, 0, per_second, precision);
    }
    let (hour, nanos, rest) = clock(rest.strip_prefix(' ')?)?;
    let fraction = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let valid = hour < 24 && fraction.is_empty();
    valid.then(|| in_units(day, hour * 3_600_000_000_000 + nanos, per_second, precision)).flatten()
}

fn calendar_day(text: &str) -> Option<(i64, &str)> {
    let width = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
    let year = number(&text[..width])?;
    let (month, rest) = short(text[width..].strip_prefix('-')?)?;
    let (day, rest) = short(rest.strip_prefix('-')?)?;
    Some((checked_day(year, month, day).filter(|_| year > 0)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn timestamps_show_their_precision() {
        let micros = parse_timestamp("2021-09-24 12:34:56.123456", 1_000_000, 6).unwrap();
        assert_eq!(text(|o| write_timestamp(o, micros, 1_000_000, 6)), "2021-09-24 12:34:56.123456");
        let nanos = parse_timestamp("2021-09-24 12:34:56.123456", 1_000_000_000, 7).unwrap();
        assert_eq!(text(|o| write_timestamp(o, nanos, 1_000_000_000, 7)), "2021-09-24 12:34:56.1234560");
        assert_eq!(parse_timestamp("2024-02-30", 1_000, 3), parse_timestamp("2024-02-29", 1_000, 3));
        assert_eq!(parse_timestamp("2024-02-28 24:00:00", 1_000, 3), parse_timestamp("2024-02-29", 1_000, 3));
        let millis = parse_timestamp("2021-9-4 1:2:3.1", 1_000, 3).unwrap();
        assert_eq!(text(|o| write_timestamp(o, millis, 1_000, 3)), "2021-09-04 01:02:03.100");
        let seconds = parse_timestamp("1969-12-31 23:59:59.9", 1_000, 0).unwrap();
        assert_eq!(text(|o| write_timestamp(o, seconds, 1_000, 0)), "1969-12-31 23:59:59");
        assert_eq!(text(|o| write_timestamp(o, i64::MIN, 1_000_000_000, 9)), "1677-09-21 00:12:43.145224192");
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for bad in [
            "",
            "123",
            "2021/09/27",
            "2021-02-32",
            "2021-13-01",
            "0000-01-01",
            "2021-01-01 25:00:00",
            "2021-01-01 24:00:01",
            "2021-01-01 12:00",
            " 2021-01-01",
            "2021-01-01T12:00:00",
            "中文-01-01",
            "10000-01-01",
            "-2021-01-01",
        ] {
            assert_eq!(parse_timestamp(bad, 1_000, 3), None, "{bad}");
        }
        for bad in ["2021-02-29", "2021-01-01 24:00:00", "2021-01-01 12:00", "2021-01-01T12:00:00", "x", "2021-01-01 "]
        {
            assert_eq!(literal_timestamp(bad, 1_000, 3), None, "{bad}");
        }
        assert_eq!(literal_date("2024-2-9"), Some(calendar::days(2024, 2, 9)));
        assert_eq!(literal_time("1:2:3.4567891234"), Some(3_723_456));
        assert_eq!(literal_time("12:34"), None);
        assert_eq!(parse_timestamp("9999-01-01", 1_000_000_000, 9), None);
        assert_eq!(parse_date("2021/09/27"), None);
        assert_eq!(parse_date("123"), Some(calendar::days(123, 1, 1)));
        assert_eq!(parse_time("12:34:56.123456789"), Some(45_296_123));
        assert_eq!(parse_time("12:34:56.1236"), Some(45_296_124));
        assert_eq!(parse_time("12:60:00+01:30"), Some(52_200_000));
        assert_eq!(parse_time("24:00:00"), None);
        assert_eq!(parse_time("2021-09-27"), None);
    }

    #[test]
    fn intervals_and_times_have_flinks_forms() {
        assert_eq!(text(|o| write_months(o, 12_334)), "+1027-10");
        assert_eq!(text(|o| write_months(o, -123)), "-10-03");
        assert_eq!(text(|o| write_millis(o, 123_456_789)), "+1 10:17:36.789");
        assert_eq!(text(|o| write_time(o, 45_296_100, 5)), "12:34:56.1");
        assert_eq!(text(|o| write_time(o, 45_296_000, 3)), "12:34:56.0");
        assert_eq!(text(|o| write_time(o, 45_296_000, 0)), "12:34:56");
    }

    #[test]
    fn instants_are_read_in_the_zone() {
        let mut zone = Zone::new(chrono_tz::Tz::Asia__Shanghai);
        assert_eq!(parse_instant("1970-01-01 08:00:00", 1_000, 3, &mut zone), Some(0));
        assert_eq!(parse_instant("1970-01-01T00:00:00Z", 1_000, 3, &mut zone), None);
    }
}
