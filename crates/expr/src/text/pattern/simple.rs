//! The lenient language: `java.text.SimpleDateFormat`, with English names.
//!
//! Reading takes what the pattern needs and ignores the rest of the text; values beyond their range roll over (February 30 is
//! March 1). `S` stands for milliseconds as a number, `u` for the day of the week. Years of two digits lie in the hundred years
//! from 1946 on, which is what Java has in 2026; it moves them with its clock, and a value must not depend on that.

use gridhouse_base::Result;

use super::{LocalTime, MONTHS, Parts, Run, ShownZone, WEEKDAYS, digits, no_meaning, padded, runs, write_offset};
use crate::calendar::days;

const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";

/// The year in which the hundred years of `yy` begin.
const CENTURY_START: i64 = 1946;

/// The largest number of digits of a value that is read; more would not be a date.
const MAX_DIGITS: usize = 9;

/// A compiled pattern of the lenient language.
#[derive(Clone, Debug)]
pub struct SimpleFormat {
    runs: Vec<Run>,
}

impl SimpleFormat {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// `Invalid` where a letter has no meaning; the message shows pattern and letters.
    pub fn new(pattern: &str) -> Result<Self> {
        let mut compiled: Vec<Run> = Vec::new();
        for run in runs(pattern)? {
            match (compiled.last_mut(), run) {
                (_, Run::Letters(letter, count)) if !LETTERS.contains(letter) || (letter == 'X' && count > 3) => {
                    return Err(no_meaning(pattern, letter, count));
                }
                (Some(Run::Literal(last)), Run::Literal(text)) => last.push_str(&text),
                (_, run) => compiled.push(run),
            }
        }
        Ok(Self { runs: compiled })
    }

    /// Whether the form shows the zone.
    pub fn shows_zone(&self) -> bool {
        self.runs.iter().any(|run| matches!(run, Run::Letters('z' | 'Z' | 'X', _)))
    }

    /// Appends `time`, which is local in `zone`, in this form.
    pub fn write(&self, out: &mut String, time: LocalTime, zone: &ShownZone) {
        let parts = Parts::new(time);
        for run in &self.runs {
            match run {
                Run::Literal(text) => out.push_str(text),
                Run::Letters(letter, count) => write_letters(out, &parts, *letter, *count, zone),
            }
        }
    }

    /// Reads the beginning of `text`: the local time, and the offset from UTC in seconds if the text names one. What the pattern
    /// does not name is 1970-01-01 00:00:00. `None` where it does not fit.
    pub fn read(&self, text: &str) -> Option<(LocalTime, Option<i64>)> {
        let mut fields = Fields::default();
        let mut rest = text;
        for (i, run) in self.runs.iter().enumerate() {
            match run {
                Run::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Run::Letters(letter, count) => {
                    // Numbers side by side share the digits by the number of letters.
                    let joined = matches!(self.runs.get(i + 1), Some(Run::Letters(..)));
                    rest = rest.trim_start_matches([' ', '\t']);
                    rest = fields.read(rest, *letter, *count, joined)?;
                }
            }
        }
        Some((fields.resolve()?, fields.offset))
    }
}

fn write_letters(out: &mut String, parts: &Parts, letter: char, count: usize, zone: &ShownZone) {
    let name = |names: &'static str| if count >= 4 { names } else { &names[..3] };
    match letter {
        'G' => out.push_str(if parts.date.year > 0 { "AD" } else { "BC" }),
        'y' | 'Y' if count == 2 => padded(out, parts.number(letter).rem_euclid(100), 2),
        'M' | 'L' if count >= 3 => out.push_str(name(MONTHS[parts.month_index()])),
        'E' => out.push_str(name(WEEKDAYS[parts.weekday_index()])),
        'a' => out.push_str(if parts.hour() < 12 { "AM" } else { "PM" }),
        'u' => padded(out, parts.weekday_index() as i64 + 1, count),
        'F' => padded(out, (i64::from(parts.date.day) - 1) / 7 + 1, count),
        'S' => padded(out, parts.nanos % 1_000_000_000 / 1_000_000, count),
        'z' => out.push_str(&zone.name),
        'Z' => write_offset(out, zone.offset_seconds, true, false),
        'X' if zone.offset_seconds == 0 => out.push('Z'),
        'X' => write_offset(out, zone.offset_seconds, count >= 2, count == 3),
        _ => padded(out, parts.number(letter), count),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    /// Named later than month and day, it counts instead of them.
    day_of_year: Option<i64>,
    hour: i64,
    half_hour: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    millis: i64,
    offset: Option<i64>,
}

impl Fields {
    fn read<'a>(&mut self, text: &'a str, letter: char, count: usize, joined: bool) -> Option<&'a str> {
        match letter {
            'G' => {
                let (era, rest) = among(text, &["AD", "BC"])?;
                self.before_christ = era == 1;
                return Some(rest);
            }
            'a' => {
                let (half, rest) = among(text, &["AM", "PM"])?;
                self.afternoon = half == 1;
                return Some(rest);
            }
            'M' | 'L' if count >= 3 => {
                let (month, rest) = named(text, &MONTHS)?;
                (self.month, self.day_of_year) = (Some(month as i64 + 1), None);
                return Some(rest);
            }
            'E' => return named(text, &WEEKDAYS).map(|(_, rest)| rest),
            'z' | 'Z' | 'X' => return self.read_zone(text, letter),
            _ => {}
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let most = if joined { count } else { MAX_DIGITS + 1 };
        let width = digits(unsigned, most);
        if width == 0 || width > MAX_DIGITS || (joined && text.len() < count) {
            return None;
        }
        let number: i64 = unsigned[..width].parse().ok()?;
        let value = if negative { -number } else { number };
        match letter {
            'y' | 'Y' if count <= 2 && width == 2 && !negative => {
                let year = CENTURY_START - CENTURY_START % 100 + value;
                self.year = Some(if year < CENTURY_START { year + 100 } else { year });
            }
            'y' | 'Y' => self.year = Some(value),
            'M' | 'L' => (self.month, self.day_of_year) = (Some(value), None),
            'd' => (self.day, self.day_of_year) = (Some(value), None),
            'D' => self.day_of_year = Some(value),
            'H' => (self.hour, self.half_hour) = (value, None),
            'k' => (self.hour, self.half_hour) = (if value == 24 { 0 } else { value }, None),
            'K' => self.half_hour = Some(value),
            'h' => self.half_hour = Some(if value == 12 { 0 } else { value }),
            'm' => self.minute = value,
            's' => self.second = value,
            'S' => self.millis = value,
            // Weeks and days of the week do not make a date here; days and months do.
            _ => {}
        }
        Some(&unsigned[width..])
    }

    /// `Z`, `UTC`, `GMT`, `GMT+8:00`, `+08`, `+0800`, `+08:00`.
    fn read_zone<'a>(&mut self, text: &'a str, letter: char) -> Option<&'a str> {
        let named = ["GMT", "UTC", "UT"].into_iter().find_map(|name| text.strip_prefix(name));
        if let Some(rest) = text.strip_prefix('Z').filter(|_| letter == 'X') {
            self.offset = Some(0);
            return Some(rest);
        }
        let signed = named.unwrap_or(text);
        let Some(rest) = signed.strip_prefix(['+', '-']) else {
            self.offset = Some(0);
            return named;
        };
        let hours = digits(rest, 2);
        let hour: i64 = rest[..hours].parse().ok()?;
        let after = &rest[hours..];
        let minutes = after.strip_prefix(':').unwrap_or(after);
        let (minute, after) = match digits(minutes, 2) {
            2 => (minutes[..2].parse().ok()?, &minutes[2..]),
            _ => (0, after),
        };
        if hour > 23 || minute > 59 {
            return None;
        }
        let offset = hour * 3_600 + minute * 60;
        self.offset = Some(if signed.starts_with('-') { -offset } else { offset });
        Some(after)
    }

    fn resolve(&self) -> Option<LocalTime> {
        let year = self.year.unwrap_or(1970);
        let year = if self.before_christ { 1 - year } else { year };
        let months = self.month.unwrap_or(1) - 1;
        let first = match self.day_of_year {
            Some(number) => days(year, 1, number),
            None => {
                let month = (months.rem_euclid(12) + 1) as u8;
                days(year + months.div_euclid(12), month, self.day.unwrap_or(1))
            }
        };
        let hour = self.half_hour.map_or(self.hour, |hour| hour + if self.afternoon { 12 } else { 0 });
        let seconds = (hour * 60 + self.minute) * 60 + self.second;
        let millis = seconds * 1_000 + self.millis;
        let day = first + millis.div_euclid(86_400_000);
        Some(LocalTime { day, nanos: millis.rem_euclid(86_400_000) * 1_000_000 })
    }
}

/// Which of `names` the text begins with, ignoring case.
fn among<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    let starts = |name: &&str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let index = names.iter().position(starts)?;
    Some((index, &text[names[index].len()..]))
}

/// Which of `names` the text begins with, in full or by three letters.
fn named<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    among(text, names).or_else(|| {
        let short: Vec<&str> = names.iter().map(|name| &name[..3]).collect();
        among(text, &short)
    })
}
