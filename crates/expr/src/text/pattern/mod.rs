//! Java's date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`): compiled once, then used to write or to read.
//!
//! Flink knows two languages that look alike: [`Formatter`] (`java.time.format.DateTimeFormatter`, strict) where a TIMESTAMP is
//! written or read, [`SimpleFormat`] (`java.text.SimpleDateFormat`, lenient) where the function takes texts or seconds. This
//! file holds what they share: names in English, weeks that start on Sunday, and the numbers behind the letters.

mod formatter;
mod simple;

use std::fmt::Write;

use gridhouse_base::{Error, Result};

use crate::calendar::{Civil, civil, day_of_year, days, iso_weekday};
pub use formatter::Formatter;
pub use simple::SimpleFormat;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Monday, as the days of ISO 8601 are counted.
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A local date and time, as a pattern writes and reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Nanoseconds within the day.
    pub nanos: i64,
}

/// The zone in which a local time is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownZone {
    /// Seconds ahead of UTC.
    pub offset_seconds: i64,
    /// The short name: `CST`.
    pub name: String,
}

/// What a pattern is made of before its letters get a meaning: a letter and how often it stands, or other text.
#[derive(Clone, Debug, PartialEq)]
enum Run {
    Literal(String),
    Letters(char, usize),
}

/// Cuts a pattern into runs; text in single quotes is literal, two quotes are one.
fn runs(pattern: &str) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            let mut literal = String::new();
            if chars.next_if_eq(&'\'').is_some() {
                literal.push('\'');
            } else {
                loop {
                    match chars.next() {
                        Some('\'') if chars.next_if_eq(&'\'').is_some() => literal.push('\''),
                        Some('\'') => break,
                        Some(c) => literal.push(c),
                        None => {
                            return Err(Error::invalid(format!("the pattern \"{pattern}\" leaves a quote open"))
                                .hint("a single quote in the text is written twice"));
                        }
                    }
                }
            }
            push_literal(&mut runs, &literal);
        } else if c.is_ascii_alphabetic() {
            let mut count = 1;
            while chars.next_if_eq(&c).is_some() {
                count += 1;
            }
            runs.push(Run::Letters(c, count));
        } else if "[]{}#".contains(c) {
            // Each is a run of its own: the strict language gives them a meaning.
            runs.push(Run::Literal(c.into()));
        } else {
            push_literal(&mut runs, c.encode_utf8(&mut [0; 4]));
        }
    }
    Ok(runs)
}

fn push_literal(runs: &mut Vec<Run>, text: &str) {
    match runs.last_mut() {
        Some(Run::Literal(last)) if !matches!(last.as_str(), "[" | "]" | "{" | "}" | "#") => last.push_str(text),
        _ => runs.push(Run::Literal(text.to_owned())),
    }
}

fn no_meaning(pattern: &str, letter: char, count: usize) -> Error {
    let letters: String = std::iter::repeat_n(letter, count.min(20)).collect();
    Error::invalid(format!("{letters} has no meaning in the pattern \"{pattern}\""))
        .hint("use yyyy MM dd HH mm ss SSS, and put other text in single quotes")
}

/// A moment with the numbers that letters stand for.
struct Parts {
    date: Civil,
    day: i64,
    nanos: i64,
}

impl Parts {
    fn new(time: LocalTime) -> Self {
        Self { date: civil(time.day), day: time.day, nanos: time.nanos }
    }

    fn hour(&self) -> i64 {
        self.nanos / 3_600_000_000_000
    }

    /// Index into [`MONTHS`].
    fn month_index(&self) -> usize {
        usize::from(self.date.month) - 1
    }

    /// Index into [`WEEKDAYS`].
    fn weekday_index(&self) -> usize {
        usize::from(iso_weekday(self.day)) - 1
    }

    fn quarter(&self) -> i64 {
        i64::from(self.date.month + 2) / 3
    }

    /// The number that `letter` stands for in both languages.
    fn number(&self, letter: char) -> i64 {
        let seconds = self.nanos / 1_000_000_000;
        let day = i64::from(self.date.day);
        match letter {
            // The year of the era.
            'y' if self.date.year <= 0 => 1 - self.date.year,
            'y' | 'u' => self.date.year,
            'Y' => sunday_week(self.day).0,
            'M' | 'L' => self.date.month.into(),
            'Q' | 'q' => self.quarter(),
            'd' => day,
            'D' => day_of_year(self.day),
            'w' => sunday_week(self.day).1,
            // Weeks of a month start on Sunday, the first holds the first day.
            'W' => (day - 1 + i64::from(iso_weekday(self.day - day + 1)) % 7) / 7 + 1,
            'H' => self.hour(),
            'k' => (self.hour() + 23) % 24 + 1,
            'K' => self.hour() % 12,
            'h' => (self.hour() + 11) % 12 + 1,
            'm' => seconds / 60 % 60,
            's' => seconds % 60,
            _ => 0,
        }
    }
}

/// The year and week as they are counted in the United States: weeks start on Sunday, week 1 holds January 1.
fn sunday_week(day: i64) -> (i64, i64) {
    let from_sunday = i64::from(iso_weekday(day)) % 7;
    let sunday = day.saturating_sub(from_sunday);
    let year = civil(sunday.saturating_add(6)).year;
    let first = days(year, 1, 1);
    let first_sunday = first - i64::from(iso_weekday(first)) % 7;
    (year, (sunday - first_sunday) / 7 + 1)
}

/// Appends `value` with at least `width` digits.
fn padded(out: &mut String, value: i64, width: usize) {
    let digit = |n: i64| char::from(b'0' + (n % 10) as u8);
    match width {
        2 if (0..100).contains(&value) => out.extend([digit(value / 10), digit(value)]),
        4 if (0..10_000).contains(&value) => {
            out.extend([digit(value / 1_000), digit(value / 100), digit(value / 10), digit(value)]);
        }
        _ => {
            let sign = if value < 0 { "-" } else { "" };
            let _ = write!(out, "{sign}{:0width$}", value.unsigned_abs());
        }
    }
}

/// Appends an offset from UTC: `+08`, `+0800` or `+08:00`.
fn write_offset(out: &mut String, seconds: i64, minutes: bool, colon: bool) {
    out.push(if seconds < 0 { '-' } else { '+' });
    padded(out, seconds.abs() / 3_600, 2);
    if minutes {
        out.push_str(if colon { ":" } else { "" });
        padded(out, seconds.abs() / 60 % 60, 2);
    }
}

/// How many ASCII digits `text` begins with, at most `max`.
fn digits(text: &str, max: usize) -> usize {
    text.bytes().take(max).take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::datetime::checked_day;

    fn at(text: &str) -> LocalTime {
        Formatter::new("yyyy-MM-dd HH:mm:ss.SSS").unwrap().read(text).unwrap()
    }

    #[test]
    fn both_languages_write_what_java_writes() {
        let time = at("2024-03-05 14:07:09.123");
        let zone = ShownZone { offset_seconds: 19_800, name: "IST".into() };
        let cases = [
            ("yyyy-MM-dd", "2024-03-05", "2024-03-05"),
            ("yyyyMMddHHmmssSSS", "20240305140709123", "20240305140709123"),
            ("yy/M/d H:m:s", "24/3/5 14:7:9", "24/3/5 14:7:9"),
            ("hh:mm a K k", "02:07 PM 2 14", "02:07 PM 2 14"),
            ("EEE, d MMM yyyy", "Tue, 5 Mar 2024", "Tue, 5 Mar 2024"),
            ("EEEE MMMM", "Tuesday March", "Tuesday March"),
            ("yyyy'年'MM月dd'日'", "2024年03月05日", "2024年03月05日"),
            ("'o''clock'", "o'clock", "o'clock"),
            ("D YYYY w W F G", "65 2024 10 2 5 AD", "65 2024 10 2 1 AD"),
            ("u", "2024", "2"),
            ("SSSSSS", "123000", "000123"),
            ("S", "1", "123"),
        ];
        for (pattern, strict, simple) in cases {
            let mut out = String::new();
            Formatter::new(pattern).unwrap().write(&mut out, time);
            assert_eq!(out, strict, "{pattern}");
            let mut out = String::new();
            SimpleFormat::new(pattern).unwrap().write(&mut out, time, &zone);
            assert_eq!(out, simple, "{pattern}");
        }
        let mut out = String::new();
        SimpleFormat::new("Z z X XX XXX").unwrap().write(&mut out, time, &zone);
        assert_eq!(out, "+0530 IST +05 +0530 +05:30");
        let mut out = String::new();
        Formatter::new("Q q QQQ QQQQ e c n N A EEEEE[ yyyy]").unwrap().write(&mut out, time);
        assert_eq!(out, "1 1 Q1 1st quarter 3 3 123000000 50829123000000 50829123 T 2024");
    }

    #[test]
    fn the_strict_language_takes_what_java_time_takes() {
        let read = |pattern: &str, text: &str| Formatter::new(pattern).unwrap().read(text);
        assert_eq!(read("yyyyMMdd", "20240305").unwrap().day, at("2024-03-05 00:00:00.000").day);
        assert_eq!(read("yyyyMMddHHmmssSSS", "20240305140709123"), Some(at("2024-03-05 14:07:09.123")));
        assert_eq!(read("dd MMM yyyy", "05 Mar 2024").unwrap().day, at("2024-03-05 00:00:00.000").day);
        assert_eq!(read("HH:mm", "12:30").unwrap(), LocalTime { day: 0, nanos: 45_000_000_000_000 });
        assert_eq!(read("yyyy-MM-dd", "2024-02-30").map(|t| t.day), checked_day(2024, 2, 29));
        assert_eq!(read("yyyy-MM-dd HH:mm", "2024-02-28 24:00").map(|t| t.day), checked_day(2024, 2, 29));
        assert_eq!(read("yyyy-DDD", "2024-060").map(|t| t.day), checked_day(2024, 2, 29));
        assert_eq!(read("yyyy-MM-dd[ HH:mm]", "2024-02-29").map(|t| t.day), checked_day(2024, 2, 29));
        assert_eq!(read("hh:mm a", "12:30 AM").map(|t| t.nanos), Some(1_800_000_000_000));
        for (pattern, text) in [
            ("yyyy-MM-dd", "2024-2-9"),
            ("yyyy-MM-dd", "2024-02-32"),
            ("yyyy-MM-dd", "中文"),
            ("yyyyMMdd", "2024035"),
            ("yyyy", "2024x"),
            ("yyyy", "20245"),
            ("hh:mm a", "01:30 pm"),
            ("HH:mm", "24:01"),
            ("yyyy-MM-dd", ""),
            ("EEE yyyy-MM-dd", "Mon 2024-02-29"),
        ] {
            assert_eq!(read(pattern, text), None, "{pattern} {text}");
        }
    }

    #[test]
    fn the_lenient_language_rolls_over_and_ignores_the_rest() {
        let read = |pattern: &str, text: &str| SimpleFormat::new(pattern).unwrap().read(text).map(|read| read.0);
        let day = |y, m, d| checked_day(y, m, d).unwrap();
        assert_eq!(read("yyyy-MM-dd", "2024-02-30").map(|t| t.day), Some(day(2024, 3, 1)));
        assert_eq!(read("yyyy-MM-dd", "2024-13-1").map(|t| t.day), Some(day(2025, 1, 1)));
        assert_eq!(read("yyyy-MM-dd", "2024-2-9 and more").map(|t| t.day), Some(day(2024, 2, 9)));
        assert_eq!(read("yyyyMMdd", "20240229").map(|t| t.day), Some(day(2024, 2, 29)));
        assert_eq!(read("yy-MM-dd", "24-02-29").map(|t| t.day), Some(day(2024, 2, 29)));
        assert_eq!(read("yy-MM-dd", "50-02-01").map(|t| t.day), Some(day(1950, 2, 1)));
        assert_eq!(read("dd mmm yyyy", "x"), None);
        assert_eq!(read("dd MMM yyyy", "5 MARCH 2024").map(|t| t.day), Some(day(2024, 3, 5)));
        assert_eq!(read("HH:mm", "25:00"), Some(LocalTime { day: 1, nanos: 3_600_000_000_000 }));
        assert_eq!(read("yyyy-MM-dd", "2024/02/29"), None);
        let zoned = SimpleFormat::new("yyyy-MM-dd'T'HH:mm:ssX").unwrap().read("2024-02-29T12:00:00+01").unwrap();
        assert_eq!(zoned.1, Some(3_600));
    }

    #[test]
    fn letters_without_a_meaning_are_named() {
        for pattern in ["yyyy-MM-ddThh", "yyyy'", "{", "HHH", "aa", "z", "XXX yyyy {"] {
            assert!(Formatter::new(pattern).is_err(), "{pattern}");
        }
        for pattern in ["foo", "yyyy'", "Q", "n"] {
            assert!(SimpleFormat::new(pattern).is_err(), "{pattern}");
        }
    }
}
