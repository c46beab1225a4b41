//! The strict language: `java.time.format.DateTimeFormatter` as its `ofPattern` makes it, with English names.
//!
//! Reading resolves as `ResolverStyle.SMART` does: a day up to 31 is cut to the month's length, `24:00` is the next day. A zone
//! can be read, and says nothing about a local time; a local time has none to write, so that a pattern with a zone can only read.

use gridhouse_base::{Error, Result};

use super::{LocalTime, MONTHS, Parts, Run, WEEKDAYS, digits, no_meaning, padded, runs};
use crate::calendar::{civil, day_of_year, days, days_in_month, iso_weekday};

/// How a number may exceed its letters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sign {
    /// Exactly as many digits as letters, or between two widths; no sign.
    Never,
    /// A minus sign, any number of digits.
    Minus,
    /// A plus sign where there are more digits than letters.
    Exceeds,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    /// A number of `min` to `max` digits; `reserved` digits behind it belong to the numbers that follow without separator.
    Number {
        letter: char,
        min: usize,
        max: usize,
        sign: Sign,
        reserved: usize,
    },
    /// Exactly two digits of a year of this century.
    ShortYear(char),
    /// Exactly as many fraction digits of a second.
    Fraction(usize),
    /// A name: of a month, a day, a half of the day, a quarter or an era.
    Name(char, usize),
    /// An offset from UTC.
    Offset,
    /// A part that may be missing.
    Optional(Vec<Piece>),
}

/// A compiled pattern of the strict language.
#[derive(Clone, Debug)]
pub struct Formatter {
    pieces: Vec<Piece>,
}

impl Formatter {
    /// Compiles `pattern`, to write with it or to read.
    ///
    /// # Errors
    /// `Invalid` where a letter has no meaning; the message shows pattern and letters.
    pub fn new(pattern: &str) -> Result<Self> {
        let formatter = Self::for_reading(pattern)?;
        if has_offset(&formatter.pieces) {
            return Err(Error::invalid(format!("the pattern \"{pattern}\" shows a zone, and a TIMESTAMP has none"))
                .hint("leave out the letters V, z, O, X, x and Z"));
        }
        Ok(formatter)
    }

    /// Compiles `pattern` to read with it only: it may hold an offset.
    ///
    /// # Errors
    /// As [`Formatter::new`].
    pub fn for_reading(pattern: &str) -> Result<Self> {
        // The pieces of the whole and of every part that is open.
        let mut open: Vec<Vec<Piece>> = vec![Vec::new()];
        for run in runs(pattern)? {
            match run {
                Run::Literal(text) if text == "[" => open.push(Vec::new()),
                Run::Literal(text) if text == "]" => {
                    let part = open.pop().unwrap_or_default();
                    let Some(outer) = open.last_mut() else {
                        return Err(Error::invalid(format!("the pattern \"{pattern}\" closes a ] that is not open"))
                            .hint("put brackets that are text in single quotes"));
                    };
                    outer.push(Piece::Optional(part));
                }
                Run::Literal(text) if matches!(text.as_str(), "{" | "}" | "#") => {
                    return Err(Error::invalid(format!("{text} is reserved in the pattern \"{pattern}\""))
                        .hint("put it in single quotes"));
                }
                Run::Literal(text) => push(&mut open, Piece::Literal(text)),
                Run::Letters(letter, count) => {
                    let piece = piece(letter, count).ok_or_else(|| no_meaning(pattern, letter, count))?;
                    push(&mut open, piece);
                }
            }
        }
        // What is still open ends with the pattern, as in Java.
        while open.len() > 1 {
            let part = open.pop().unwrap_or_default();
            push(&mut open, Piece::Optional(part));
        }
        Ok(Self { pieces: open.pop().unwrap_or_default() })
    }

    /// Appends `time` in this form.
    pub fn write(&self, out: &mut String, time: LocalTime) {
        write_pieces(&self.pieces, out, &Parts::new(time));
    }

    /// Reads `text`, all of it; what the pattern does not name is 1970-01-01 00:00:00. `None` where it does not fit.
    pub fn read(&self, text: &str) -> Option<LocalTime> {
        let mut fields = Fields::default();
        let rest = read_pieces(&self.pieces, text, &mut fields)?;
        if rest.is_empty() { fields.resolve() } else { None }
    }
}

/// Adds a piece, and lets a number before it know of the digits that are not its own.
fn push(open: &mut [Vec<Piece>], piece: Piece) {
    let Some(pieces) = open.last_mut() else { return };
    let width = match piece {
        Piece::Number { min, max, sign: Sign::Never, .. } if min == max => min,
        Piece::ShortYear(_) => 2,
        Piece::Fraction(count) => count,
        _ => 0,
    };
    if width > 0 {
        let fixed = |piece: &Piece| match piece {
            Piece::Number { min, max, sign, .. } => *sign == Sign::Never && min == max,
            Piece::ShortYear(_) | Piece::Fraction(_) => true,
            _ => false,
        };
        let first_fixed = pieces.iter().rposition(|piece| !fixed(piece));
        if let Some(Piece::Number { reserved, .. }) = first_fixed.and_then(|at| pieces.get_mut(at)) {
            *reserved += width;
        }
    }
    pieces.push(piece);
}

fn has_offset(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Offset => true,
        Piece::Optional(part) => has_offset(part),
        _ => false,
    })
}

fn piece(letter: char, count: usize) -> Option<Piece> {
    let number = |min, max, sign| Some(Piece::Number { letter, min, max, sign, reserved: 0 });
    match (letter, count) {
        ('u' | 'y' | 'Y', 2) => Some(Piece::ShortYear(letter)),
        ('u' | 'y' | 'Y', 1 | 3) => number(count, 19, Sign::Minus),
        ('u' | 'y' | 'Y', 4..=19) => number(count, 19, Sign::Exceeds),
        ('M' | 'L' | 'Q' | 'q', 3..=5) | ('E', 1..=5) | ('e' | 'c', 3..=5) | ('G', 1..=5) | ('a', 1) => {
            Some(Piece::Name(letter, count))
        }
        ('F' | 'W', 1) | ('e' | 'c', 1) => number(1, 1, Sign::Never),
        ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' | 'w', 1) => number(1, 19, Sign::Minus),
        ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' | 'w' | 'e', 2) => number(2, 2, Sign::Never),
        ('D', 1) => number(1, 19, Sign::Minus),
        ('D', 2 | 3) => number(count, 3, Sign::Never),
        ('S', 1..=9) => Some(Piece::Fraction(count)),
        ('n' | 'N' | 'A', 1..=19) => number(count, 19, Sign::Never),
        ('X' | 'x', 1..=5) | ('Z', 1..=5) => Some(Piece::Offset),
        _ => None,
    }
}

fn write_pieces(pieces: &[Piece], out: &mut String, parts: &Parts) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Number { letter, min, sign, .. } => {
                let value = number(parts, *letter);
                if *sign == Sign::Exceeds && value >= 10i64.saturating_pow(*min as u32) {
                    out.push('+');
                }
                padded(out, value, *min);
            }
            Piece::ShortYear(letter) => padded(out, parts.number(*letter).rem_euclid(100), 2),
            Piece::Fraction(count) => {
                padded(out, parts.nanos % 1_000_000_000 / 10i64.pow(9 - *count as u32), *count);
            }
            Piece::Name(letter, count) => write_name(out, parts, *letter, *count),
            Piece::Offset => {}
            Piece::Optional(part) => write_pieces(part, out, parts),
        }
    }
}

fn number(parts: &Parts, letter: char) -> i64 {
    match letter {
        'n' => parts.nanos % 1_000_000_000,
        'N' => parts.nanos,
        'A' => parts.nanos / 1_000_000,
        // The week starts on Sunday.
        'e' | 'c' => (parts.weekday_index() as i64 + 1) % 7 + 1,
        'F' => (i64::from(parts.date.day) - 1) % 7 + 1,
        _ => parts.number(letter),
    }
}

/// `name` in full, short or as one letter, by the number of letters of the pattern.
fn styled(name: &'static str, count: usize) -> &'static str {
    match count {
        4 => name,
        5 => &name[..1],
        _ => &name[..3],
    }
}

fn write_name(out: &mut String, parts: &Parts, letter: char, count: usize) {
    match letter {
        'M' | 'L' => out.push_str(styled(MONTHS[parts.month_index()], count)),
        'E' | 'e' | 'c' => out.push_str(styled(WEEKDAYS[parts.weekday_index()], count)),
        'Q' | 'q' => out.push_str(quarter_name(parts.quarter(), count)),
        'G' => out.push_str(era_name(parts.date.year > 0, count)),
        _ => out.push_str(if parts.hour() < 12 { "AM" } else { "PM" }),
    }
}

fn quarter_name(quarter: i64, count: usize) -> &'static str {
    let names = match count {
        3 => ["Q1", "Q2", "Q3", "Q4"],
        4 => ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"],
        _ => ["1", "2", "3", "4"],
    };
    names[(quarter - 1) as usize & 3]
}

fn era_name(common: bool, count: usize) -> &'static str {
    match (common, count) {
        (true, 4) => "Anno Domini",
        (true, 5) => "A",
        (true, _) => "AD",
        (false, 4) => "Before Christ",
        (false, 5) => "B",
        (false, _) => "BC",
    }
}

fn read_pieces<'a>(pieces: &[Piece], text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    let mut rest = text;
    for piece in pieces {
        rest = match piece {
            Piece::Literal(literal) => rest.strip_prefix(literal.as_str())?,
            Piece::Number { letter, min, max, sign, reserved } => {
                let (value, after) = read_number(rest, *min, *max, *sign, *reserved)?;
                fields.set(*letter, value)?;
                after
            }
            Piece::ShortYear(letter) => {
                let (value, after) = read_number(rest, 2, 2, Sign::Never, 0)?;
                fields.set(*letter, 2_000 + value)?;
                after
            }
            Piece::Fraction(count) => {
                let (value, after) = read_number(rest, *count, *count, Sign::Never, 0)?;
                fields.set('n', value * 10i64.pow(9 - *count as u32))?;
                after
            }
            Piece::Name(letter, count) => read_name(rest, *letter, *count, fields)?,
            Piece::Offset => read_offset(rest)?,
            Piece::Optional(part) => {
                let mut tried = fields.clone();
                match read_pieces(part, rest, &mut tried) {
                    Some(after) => {
                        *fields = tried;
                        after
                    }
                    None => rest,
                }
            }
        };
    }
    Some(rest)
}

fn read_number(text: &str, min: usize, max: usize, sign: Sign, reserved: usize) -> Option<(i64, &str)> {
    let (negative, plus, unsigned) = match text.as_bytes().first() {
        Some(b'-') if sign != Sign::Never => (true, false, &text[1..]),
        Some(b'+') if sign == Sign::Exceeds => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let found = digits(unsigned, max + reserved);
    // The digits of the numbers behind are given back.
    let width = if reserved > 0 { found.saturating_sub(reserved).max(min) } else { found };
    if found < min || width > found || width == 0 {
        return None;
    }
    if sign == Sign::Exceeds && !negative && (width > min) != plus {
        return None;
    }
    let value: i64 = unsigned[..width].parse().ok()?;
    Some((if negative { -value } else { value }, &unsigned[width..]))
}

fn read_name<'a>(text: &'a str, letter: char, count: usize, fields: &mut Fields) -> Option<&'a str> {
    let (index, rest) = match letter {
        'M' | 'L' => among(text, MONTHS.iter().map(|name| styled(name, count))),
        'E' | 'e' | 'c' => among(text, WEEKDAYS.iter().map(|name| styled(name, count))),
        'Q' | 'q' => among(text, (1..=4).map(|quarter| quarter_name(quarter, count))),
        'G' => among(text, [true, false].into_iter().map(|common| era_name(common, count))),
        _ => among(text, ["AM", "PM"].into_iter()),
    }?;
    match letter {
        'M' | 'L' => fields.set('M', index + 1)?,
        'E' | 'e' | 'c' => fields.set('E', index + 1)?,
        'Q' | 'q' => fields.set('Q', index + 1)?,
        other => fields.set(other, index)?,
    }
    Some(rest)
}

/// Which of `names` the text begins with.
fn among(text: &str, names: impl Iterator<Item = &'static str>) -> Option<(i64, &str)> {
    let (index, name) = names.enumerate().find(|(_, name)| text.starts_with(name))?;
    Some((index as i64, &text[name.len()..]))
}

/// `Z`, `+08`, `+0800`, `+08:00`; it is read over.
fn read_offset(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some(rest);
    }
    let signed = text.strip_prefix(['+', '-'])?;
    let rest = signed.get(2..).filter(|_| digits(signed, 2) == 2)?;
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    Some(if digits(minutes, 2) == 2 { &minutes[2..] } else { rest })
}

/// What has been read so far.
#[derive(Clone, Default)]
struct Fields {
    year: Option<i64>,
    before_christ: Option<bool>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    quarter: Option<i64>,
    weekday: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    nanos: Option<i64>,
    nanos_of_day: Option<i64>,
}

impl Fields {
    /// Takes a value; `None` where it is out of range, or the field has another value already.
    fn set(&mut self, letter: char, value: i64) -> Option<()> {
        let one = |field: &mut Option<i64>, range: std::ops::RangeInclusive<i64>, value: i64| {
            (range.contains(&value) && field.is_none_or(|old| old == value)).then(|| *field = Some(value))
        };
        match letter {
            'y' => one(&mut self.year, 1..=999_999_999, value),
            'u' => one(&mut self.year, -999_999_999..=999_999_999, value),
            'M' | 'L' => one(&mut self.month, 1..=12, value),
            'd' => one(&mut self.day, 1..=31, value),
            'D' => one(&mut self.day_of_year, 1..=366, value),
            'Q' | 'q' => one(&mut self.quarter, 1..=4, value),
            'E' => one(&mut self.weekday, 1..=7, value),
            'e' | 'c' => one(&mut self.weekday, 1..=7, (value + 5) % 7 + 1),
            'H' => one(&mut self.hour, 0..=24, value),
            'k' => (1..=24).contains(&value).then(|| one(&mut self.hour, 0..=23, value % 24))?,
            'h' => (1..=12).contains(&value).then(|| one(&mut self.half_hour, 0..=11, value % 12))?,
            'K' => one(&mut self.half_hour, 0..=11, value),
            'm' => one(&mut self.minute, 0..=59, value),
            's' => one(&mut self.second, 0..=59, value),
            'n' => one(&mut self.nanos, 0..=999_999_999, value),
            'N' => one(&mut self.nanos_of_day, 0..=86_399_999_999_999, value),
            'A' => one(&mut self.nanos_of_day, 0..=86_399_999_999_999, value.checked_mul(1_000_000)?),
            'a' => {
                self.afternoon = Some(value == 1);
                Some(())
            }
            'G' => {
                self.before_christ = Some(value == 1);
                Some(())
            }
            // Weeks do not make a date here, as nothing of Flink's asks for them.
            _ => Some(()),
        }
    }

    fn resolve(self) -> Option<LocalTime> {
        let (day, whole) = self.date()?;
        let half = self.half_hour.zip(self.afternoon).map(|(hour, afternoon)| hour + if afternoon { 12 } else { 0 });
        let hour = self.hour.or(half).unwrap_or(0);
        let (minute, second, nanos) = (self.minute.unwrap_or(0), self.second.unwrap_or(0), self.nanos.unwrap_or(0));
        let clock = ((hour % 24 * 60 + minute) * 60 + second) * 1_000_000_000 + nanos;
        if hour == 24 && clock != 0 {
            return None;
        }
        // Midnight at the end of a day is the next day, where there is a day.
        let day = if hour == 24 && whole { day + 1 } else { day };
        Some(LocalTime { day, nanos: self.nanos_of_day.unwrap_or(clock) })
    }

    /// The day, and whether the text named all of it.
    fn date(&self) -> Option<(i64, bool)> {
        let year = match (self.year, self.before_christ) {
            (Some(year), Some(true)) => Some(1 - year),
            (year, _) => year,
        };
        let in_range = |year: i64| (-9_999..=999_999).contains(&year).then_some(year);
        let (day, whole) = match (year, self.month, self.day, self.day_of_year) {
            (Some(year), Some(month), Some(day), _) => {
                let month = month as u8;
                let day = day.min(days_in_month(year, month).into());
                (days(in_range(year)?, month, day), true)
            }
            (Some(year), None, None, Some(number)) => {
                let day = days(in_range(year)?, 1, number);
                (day, civil(day).year == year).1.then_some((day, true))?
            }
            _ => {
                let (year, month) = (in_range(year.unwrap_or(1970))?, self.month.unwrap_or(1) as u8);
                let day = self.day.unwrap_or(1);
                (day <= days_in_month(year, month).into()).then(|| (days(year, month, day), false))?
            }
        };
        let date = civil(day);
        let agrees = !whole
            || (self.weekday.is_none_or(|weekday| weekday == i64::from(iso_weekday(day)))
                && self.quarter.is_none_or(|quarter| quarter == i64::from(date.month + 2) / 3)
                && self.day_of_year.is_none_or(|number| number == day_of_year(day)));
        agrees.then_some((day, whole))
    }
}
