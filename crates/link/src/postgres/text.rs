//! PostgreSQL's text form of single values, read straight from bytes.
//!
//! The session has `DateStyle ISO`, `IntervalStyle postgres`, `TimeZone UTC`, `bytea_output hex`; the readers know these
//! forms only. A text that is not a value of the wanted type is a [`Misfit`] that says why; the caller adds table and
//! column. `infinity` and `-infinity` become the ends of Flink's range, 9999-12-31 and 0001-01-01.

/// Why a text is not a value of the declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit(pub String);

/// The longest part of a value that a message shows.
const SHOWN_BYTES: usize = 60;

pub(crate) fn misfit(text: &[u8], wanted: &str) -> Misfit {
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN_BYTES)]);
    let more = if text.len() > SHOWN_BYTES { "…" } else { "" };
    Misfit(format!("the value '{shown}{more}' {wanted}"))
}

/// A whole number within `min..=max`; a fraction of zeros is allowed (`numeric` prints its scale).
pub(crate) fn integer(text: &[u8], min: i64, max: i64) -> Result<i64, Misfit> {
    let negative = text.first() == Some(&b'-');
    let digits = &text[usize::from(negative)..];
    let whole = digits.iter().position(|&c| c == b'.').unwrap_or(digits.len());
    if digits[whole..].iter().skip(1).any(|&c| c != b'0') || whole == 0 {
        return Err(misfit(text, "is not a whole number"));
    }
    let mut value = 0_i64;
    for &c in &digits[..whole] {
        if !c.is_ascii_digit() {
            return Err(misfit(text, "is not a whole number"));
        }
        let digit = i64::from(c - b'0');
        let next =
            value.checked_mul(10).and_then(|v| if negative { v.checked_sub(digit) } else { v.checked_add(digit) });
        value = next.ok_or_else(|| misfit(text, "is outside the range of the declared type"))?;
    }
    if value < min || value > max {
        return Err(misfit(text, "is outside the range of the declared type"));
    }
    Ok(value)
}

/// A floating-point number, NaN and the infinities among them.
pub(crate) fn float<F: std::str::FromStr>(text: &[u8]) -> Result<F, Misfit> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| misfit(text, "is not a number"))
}

/// `DECIMAL(precision, scale)` without its point. Digits beyond the scale are rounded half up (away from zero), as Flink's
/// `DecimalData` does.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: u8) -> Result<i128, Misfit> {
    let too_big = || misfit(text, &format!("does not fit DECIMAL({precision}, {scale})"));
    let negative = text.first() == Some(&b'-');
    let body = &text[usize::from(negative)..];
    let (mantissa, exponent) = match body.iter().position(|&c| c == b'e' || c == b'E') {
        Some(at) => (&body[..at], signed(&body[at + 1..]).ok_or_else(|| misfit(text, "is not a number"))?),
        None => (body, 0),
    };
    if !mantissa.iter().any(u8::is_ascii_digit) || !mantissa.iter().all(|&c| c.is_ascii_digit() || c == b'.') {
        return Err(misfit(
            text,
            &format!("has no DECIMAL({precision}, {scale}); declare the column as STRING or DOUBLE"),
        ));
    }
    let point = mantissa.iter().position(|&c| c == b'.').unwrap_or(mantissa.len()) as i64;
    // The number of digits to keep: those before the point, moved by the exponent, and the scale.
    let keep = point + exponent + i64::from(scale);
    let (mut value, mut kept, mut round) = (0_i128, 0_i64, false);
    for &c in mantissa.iter().filter(|&&c| c != b'.') {
        if kept >= keep {
            round = kept == keep && c >= b'5';
            break;
        }
        value = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(c - b'0'))).ok_or_else(too_big)?;
        kept += 1;
    }
    while kept < keep && value != 0 {
        value = value.checked_mul(10).ok_or_else(too_big)?;
        kept += 1;
    }
    let value = value.checked_add(i128::from(round)).ok_or_else(too_big)?;
    if value >= 10_i128.pow(u32::from(precision)) {
        return Err(too_big());
    }
    Ok(if negative { -value } else { value })
}

fn signed(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse::<i64>().ok().filter(|e| e.unsigned_abs() < 10_000)
}

/// `t` or `f`; a single bit counts too.
pub(crate) fn boolean(text: &[u8]) -> Result<bool, Misfit> {
    match text {
        b"t" | b"1" | b"true" => Ok(true),
        b"f" | b"0" | b"false" => Ok(false),
        _ => Err(misfit(text, "is not a truth value")),
    }
}

/// `\x` and hexadecimal digits, into `out`.
pub(crate) fn bytes(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.clear();
    let wrong = || misfit(text, "is not bytea in hexadecimal form");
    let digits = text.strip_prefix(b"\\x").ok_or_else(wrong)?;
    if digits.len() % 2 != 0 {
        return Err(wrong());
    }
    for pair in digits.chunks_exact(2) {
        let nibble = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else { return Err(wrong()) };
        out.push(high << 4 | low);
    }
    Ok(())
}

/// Days between 1970-01-01 and a proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// 9999-12-31 in days.
const LAST_DAY: i64 = 2_932_896;
/// 0001-01-01 in days.
const FIRST_DAY: i64 = -719_162;
const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Result<i32, Misfit> {
    let days = match text {
        b"infinity" => Some(LAST_DAY),
        b"-infinity" => Some(FIRST_DAY),
        _ => {
            let (body, bc) = without_era(text);
            civil(body, bc)
        }
    };
    days.and_then(|days| i32::try_from(days).ok()).ok_or_else(|| misfit(text, "is not a date"))
}

/// Microseconds since 1970-01-01 00:00:00, in UTC where the text has a zone.
pub(crate) fn timestamp_micros(text: &[u8]) -> Result<i64, Misfit> {
    match text {
        b"infinity" => return Ok((LAST_DAY + 1) * DAY_MICROS - 1),
        b"-infinity" => return Ok(FIRST_DAY * DAY_MICROS),
        _ => {}
    }
    let read = || {
        let (body, bc) = without_era(text);
        let blank = body.iter().position(|&c| c == b' ')?;
        let days = civil(&body[..blank], bc)?;
        let clock = &body[blank + 1..];
        let zone = clock.iter().position(|&c| c == b'+' || c == b'-').unwrap_or(clock.len());
        let offset_seconds = if zone == clock.len() { 0 } else { zone_seconds(&clock[zone..])? };
        days.checked_mul(DAY_MICROS)?
            .checked_add(clock_micros(&clock[..zone])?)?
            .checked_sub(offset_seconds * 1_000_000)
    };
    read().ok_or_else(|| misfit(text, "is not a timestamp"))
}

/// Milliseconds since midnight; parts of a millisecond are cut off.
pub(crate) fn time_millis(text: &[u8]) -> Result<i32, Misfit> {
    match clock_micros(text) {
        Some(micros) if micros < DAY_MICROS => Ok((micros / 1000) as i32),
        _ => Err(misfit(text, "is not a time of day below 24:00")),
    }
}

fn without_era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(body) => (body, true),
        None => (text, false),
    }
}

fn civil(text: &[u8], bc: bool) -> Option<i64> {
    let mut parts = text.split(|&c| c == b'-');
    let (year, month, day) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 6_000_000 {
        return None;
    }
    Some(days_from_civil(if bc { 1 - year } else { year }, month, day))
}

fn clock_micros(text: &[u8]) -> Option<i64> {
    let point = text.iter().position(|&c| c == b'.').unwrap_or(text.len());
    let mut parts = text[..point].split(|&c| c == b':');
    let (hour, minute, second) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let fraction = match text.get(point + 1..) {
        None => 0,
        Some(fraction) if fraction.len() <= 6 => digits(fraction)? * 10_i64.pow(6 - fraction.len() as u32),
        Some(_) => return None,
    };
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

fn zone_seconds(text: &[u8]) -> Option<i64> {
    let sign = if text[0] == b'-' { -1 } else { 1 };
    let mut seconds = 0;
    for (i, part) in text[1..].split(|&c| c == b':').enumerate() {
        seconds += digits(part)? * *[3600, 60, 1].get(i)?;
    }
    Some(sign * seconds)
}

/// One to nine digits.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0, |value, &c| c.is_ascii_digit().then(|| value * 10 + i64::from(c - b'0')))
}

/// An interval in PostgreSQL's own style, `1 year 2 mons -3 days 04:05:06.789`, as months and microseconds (a day is 24
/// hours).
pub(crate) fn interval(text: &[u8]) -> Result<(i64, i64), Misfit> {
    let read = || {
        let (mut months, mut micros) = (0_i64, 0_i64);
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        while let Some(word) = words.next() {
            let (sign, body) = match word.strip_prefix('-') {
                Some(body) => (-1, body),
                None => (1, word.strip_prefix('+').unwrap_or(word)),
            };
            if body.contains(':') {
                let (hours, rest) = body.split_once(':')?;
                let clock = clock_micros(format!("00:{rest}").as_bytes())?;
                let hours = digits(hours.as_bytes())?;
                micros = micros.checked_add(sign * hours.checked_mul(3_600_000_000)?.checked_add(clock)?)?;
                continue;
            }
            let number = sign * digits(body.as_bytes())?;
            match words.next()? {
                "year" | "years" => months = months.checked_add(number.checked_mul(12)?)?,
                "mon" | "mons" => months = months.checked_add(number)?,
                "day" | "days" => micros = micros.checked_add(number.checked_mul(DAY_MICROS)?)?,
                _ => return None,
            }
        }
        Some((months, micros))
    };
    read().ok_or_else(|| misfit(text, "is not an interval"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::random::Random;

    #[test]
    fn whole_numbers() {
        assert_eq!(integer(b"-9223372036854775808", i64::MIN, i64::MAX), Ok(i64::MIN));
        assert_eq!(integer(b"12.00", 0, 99), Ok(12));
        for wrong in ["", "-", "1.5", "x", "9223372036854775808", ".0"] {
            assert!(integer(wrong.as_bytes(), i64::MIN, i64::MAX).is_err(), "{wrong}");
        }
        assert!(integer(b"128", -128, 127).is_err());
    }

    #[test]
    fn decimals_round_half_up_and_never_overflow_silently() {
        assert_eq!(decimal(b"12.345", 5, 2), Ok(1235));
        assert_eq!(decimal(b"-12.345", 5, 2), Ok(-1235));
        assert_eq!(decimal(b"0.004", 5, 2), Ok(0));
        assert_eq!(decimal(b"7", 5, 2), Ok(700));
        assert_eq!(decimal(b"1e2", 5, 2), Ok(10_000));
        assert_eq!(decimal(b"1.5e-2", 5, 2), Ok(2));
        assert_eq!(decimal(b"999.995", 5, 2), Err(Misfit("the value '999.995' does not fit DECIMAL(5, 2)".into())));
        assert!(decimal(b"NaN", 38, 18).is_err());
        assert!(decimal(b"1e9000", 38, 18).is_err());
        let largest = format!("{}.5", i128::MAX);
        assert!(decimal(largest.as_bytes(), 38, 0).is_err(), "rounding does not turn the largest number round");
        assert_eq!(decimal(b"0e9000", 38, 18), Ok(0));
        assert!(decimal(b"1e-9223372036854775808", 38, 18).is_err());
        assert_eq!(decimal(b"99999999999999999999999999999999999999", 38, 0), Ok(10_i128.pow(38) - 1));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(b"1970-01-01"), Ok(0));
        assert_eq!(date(b"2000-03-01"), Ok(11_017));
        assert_eq!(date(b"0001-01-01"), Ok(FIRST_DAY as i32));
        assert_eq!(date(b"infinity"), date(b"9999-12-31"));
        assert_eq!(date(b"0001-12-31 BC"), Ok(FIRST_DAY as i32 - 1));
        assert_eq!(timestamp_micros(b"1970-01-01 00:00:01.5"), Ok(1_500_000));
        assert_eq!(timestamp_micros(b"1970-01-01 02:00:00+02"), Ok(0));
        assert_eq!(timestamp_micros(b"1969-12-31 18:30:00-05:30"), Ok(0));
        assert_eq!(time_millis(b"23:59:59.999999"), Ok(86_399_999));
        assert!(time_millis(b"24:00:00").is_err());
        assert!(timestamp_micros(b"today").is_err());
        assert_eq!(interval(b"1 year 2 mons -3 days -04:05:06.5"), Ok((14, -(3 * DAY_MICROS + 14_706_500_000))));
    }

    #[test]
    fn damaged_texts_never_panic() {
        let mut random = Random::new(3);
        let alphabet = b"0123456789-+:. eEBC\\xnatify{}";
        for _ in 0..200_000 {
            let text: Vec<u8> = (0..random.below(24)).map(|_| *random.pick(alphabet)).collect();
            let _ = (integer(&text, i64::MIN, i64::MAX), decimal(&text, 38, 10), date(&text), timestamp_micros(&text));
            let _ = (time_millis(&text), interval(&text), bytes(&text, &mut Vec::new()), float::<f64>(&text));
        }
    }
}
