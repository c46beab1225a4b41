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

/// Reads `yyyy[-M[-d]]`; a time after a blank is ignored.
pub fn parse_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = text.split([' ', 'T']).next()?;
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?)?;
    let month = parts.next().map_or(Some(1), number)?;
    let day = parts.next().map_or(Some(1), number)?;
    checked_day(year, month, day)
}

/// Reads `H[:m[:s[.fraction]]]` into milliseconds of the day.
pub fn parse_time(text: &str) -> Option<i64> {
    Some(clock(text.trim())? / 1_000_000)
}

/// Nanoseconds of the day.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hour = number(parts.next()?)?;
    let minute = parts.next().map_or(Some(0), number)?;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (number(seconds)?, 0),
            Some((second, fraction)) => (number(second)?, nanos(fraction)?),
        },
    };
    let valid = hour < 24 && minute < 60 && second < 60;
    valid.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
}

fn nanos(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(9)];
    let value: i64 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    Some(value * 10i64.pow(9 - kept.len() as u32))
}

/// A day, nanoseconds within it, and the offset from UTC in seconds if the text names one.
struct Moment {
    day: i64,
    nanos: i64,
    offset: Option<i64>,
}

fn moment(text: &str) -> Option<Moment> {
    let text = text.trim();
    let (date, time) = match text.find([' ', 'T']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim())),
        None => (text, None),
    };
    // A bare year is no timestamp.
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let day = checked_day(number(year)?, number(month)?, number(day)?)?;
    let Some(time) = time else {
        return Some(Moment { day, nanos: 0, offset: None });
    };
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (time[..at].trim_end(), Some(zone_offset(&time[at..])?)),
        None => (time, None),
    };
    if !time.contains(':') {
        return None;
    }
    Some(Moment { day, nanos: clock(time)?, offset })
}

/// Reads `Z`, `+08`, `+0800` or `+08:00`.
fn zone_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        1 | 2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
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

/// Reads `yyyy-M-d[ H:m[:s[.fraction]]]` as a local time; further fraction digits are cut. `None` also where the time does
/// not fit 64 bits of the unit (nanoseconds end in 2262).
pub fn parse_timestamp(text: &str, per_second: i64, precision: u8) -> Option<i64> {
    let moment = moment(text)?;
    if moment.offset.is_some() {
        return None;
    }
    in_units(moment.day, moment.nanos, per_second, precision)
}

/// Reads the same as an instant: in `zone`, unless the text names an offset.
pub fn parse_instant(text: &str, per_second: i64, precision: u8, zone: &mut Zone) -> Option<i64> {
    let moment = moment(text)?;
    let local = in_units(moment.day, moment.nanos, per_second, precision)?;
    match moment.offset {
        Some(offset) => local.checked_sub(offset * per_second),
        None => Some(zone.to_utc(local, per_second)),
    }
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
        let millis = parse_timestamp("2021-9-4 1:2:3.1", 1_000, 3).unwrap();
        assert_eq!(text(|o| write_timestamp(o, millis, 1_000, 3)), "2021-09-04 01:02:03.100");
        let seconds = parse_timestamp("1969-12-31 23:59:59.9", 1_000, 0).unwrap();
        assert_eq!(text(|o| write_timestamp(o, seconds, 1_000, 0)), "1969-12-31 23:59:59");
        assert_eq!(text(|o| write_timestamp(o, i64::MIN, 1_000_000_000, 9)), "1677-09-21 00:12:43.145224192");
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for bad in
            ["", "123", "2021/09/27", "2021-02-29", "2021-01-01 25:00:00", "2021-01-01 12", "中文-01-01", "10000-01-01"]
        {
            assert_eq!(parse_timestamp(bad, 1_000, 3), None, "{bad}");
        }
        assert_eq!(parse_timestamp("9999-01-01", 1_000_000_000, 9), None);
        assert_eq!(parse_date("2021/09/27"), None);
        assert_eq!(parse_date("123"), Some(calendar::days(123, 1, 1)));
        assert_eq!(parse_time("12:34:56.123456789"), Some(45_296_123));
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
    fn instants_take_an_offset_or_the_zone() {
        let mut zone = Zone::new(chrono_tz::Tz::Asia__Shanghai);
        assert_eq!(parse_instant("1970-01-01 08:00:00", 1_000, 3, &mut zone), Some(0));
        assert_eq!(parse_instant("1970-01-01T00:00:00Z", 1_000, 3, &mut zone), Some(0));
        assert_eq!(parse_instant("1970-01-01 01:00:00+01:00", 1_000, 3, &mut zone), Some(0));
    }
}
