//! Durations and sizes as text, in Flink's form: a whole number and a unit.

use std::time::Duration;

/// A duration: milliseconds where the unit is left out. `None` if the text is none, or too long to count in nanoseconds.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let nanos = match unit.as_str() {
        "ns" | "nano" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "micro" | "microsecond" | "microseconds" => 1_000,
        "" | "ms" | "milli" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000_u64,
        _ => return None,
    };
    Some(Duration::from_nanos(number.checked_mul(nanos)?))
}

/// A number of bytes: single ones where the unit is left out, and powers of 1024. `None` if the text is none, or too large.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let power = match unit.as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 1,
        "m" | "mb" | "mebibytes" => 2,
        "g" | "gb" | "gibibytes" => 3,
        "t" | "tb" | "tebibytes" => 4,
        _ => return None,
    };
    number.checked_mul(1024_u64.pow(power))
}

/// The number and, in small letters, what stands behind it.
fn split(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    Some((text[..digits].parse().ok()?, text[digits..].trim().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_in_flink() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5 min"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250"), Some(Duration::from_millis(250)));
        assert_eq!(duration("7 D"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("5 lightyears"), None);
        assert_eq!(duration("99999999999999999999 d"), None);
        assert_eq!((bytes("128MB"), bytes("1 kb"), bytes("x")), (Some(128 << 20), Some(1024), None));
    }
}
