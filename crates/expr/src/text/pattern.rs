//! Java's date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`): compiled once, then used to write or to read.
//!
//! Source: the pattern letters of `java.time.format.DateTimeFormatter`, with English names. Reading is a little more
//! lenient: a number that is not followed by another one may have fewer digits than letters.

use std::fmt::Write;

use gridhouse_base::{Error, Result};

use crate::calendar::{Civil, civil, day_of_year, days, iso_weekday};
use crate::text::datetime::checked_day;

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
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    /// A letter and how often it stands.
    Field(char, usize),
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

/// A local date and time, as a pattern writes and reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Nanoseconds within the day.
    pub nanos: i64,
}

impl Pattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// `Invalid` where a letter has no meaning here; the message shows pattern and letter.
    pub fn new(pattern: &str) -> Result<Self> {
        let mut pieces: Vec<Piece> = Vec::new();
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
                push_literal(&mut pieces, &literal);
            } else if c.is_ascii_alphabetic() {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                if !"yuYMLdDHhKkmsSnNaEeQqw".contains(c) {
                    let error = Error::invalid(format!("the letter {c} has no meaning in the pattern \"{pattern}\""));
                    return Err(error.hint("use yyyy MM dd HH mm ss SSS, and put other text in single quotes"));
                }
                pieces.push(Piece::Field(c, count));
            } else if c != '[' && c != ']' {
                push_literal(&mut pieces, c.encode_utf8(&mut [0; 4]));
            }
        }
        Ok(Self { pieces })
    }

    /// Appends `time` in this form.
    pub fn write(&self, out: &mut String, time: LocalTime) {
        let date = civil(time.day);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field(letter, count) => write_field(out, *letter, *count, date, time),
            }
        }
    }

    /// Reads `text`, all of it; what the pattern does not name is 1970-01-01 00:00:00. `None` where it does not fit.
    pub fn read(&self, text: &str) -> Option<LocalTime> {
        let mut fields = Fields::default();
        let mut rest = text.trim();
        for (i, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Piece::Field(letter, count) => {
                    let number = |piece: Option<&Piece>| matches!(piece, Some(Piece::Field(letter, _)) if !"aE".contains(*letter));
                    let joined = number(self.pieces.get(i + 1)) || (i > 0 && number(self.pieces.get(i - 1)));
                    rest = fields.read(*letter, *count, joined, rest)?;
                }
            }
        }
        if rest.is_empty() { fields.resolve() } else { None }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Literal(last)) => last.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_owned())),
    }
}

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

/// The year and week as they are counted in the United States: weeks start on Sunday, week 1 holds January 1.
fn sunday_week(day: i64) -> (i64, i64) {
    let from_sunday = i64::from(iso_weekday(day)) % 7;
    let sunday = day.saturating_sub(from_sunday);
    let year = civil(sunday.saturating_add(6)).year;
    let first = days(year, 1, 1);
    let first_sunday = first - i64::from(iso_weekday(first)) % 7;
    (year, (sunday - first_sunday) / 7 + 1)
}

fn write_field(out: &mut String, letter: char, count: usize, date: Civil, time: LocalTime) {
    let seconds = time.nanos / 1_000_000_000;
    let (hour, fraction) = (seconds / 3_600, time.nanos % 1_000_000_000);
    let month = usize::from(date.month) - 1;
    let weekday = usize::from(iso_weekday(time.day)) - 1;
    match letter {
        'y' | 'u' | 'Y' => {
            let year = if letter == 'Y' { sunday_week(time.day).0 } else { date.year };
            if count == 2 { padded(out, year.rem_euclid(100), 2) } else { padded(out, year, count) }
        }
        'M' | 'L' => match count {
            1 | 2 => padded(out, date.month.into(), count),
            3 => out.push_str(&MONTHS[month][..3]),
            4 => out.push_str(MONTHS[month]),
            _ => out.push_str(&MONTHS[month][..1]),
        },
        'E' => match count {
            1..=3 => out.push_str(&WEEKDAYS[weekday][..3]),
            4 => out.push_str(WEEKDAYS[weekday]),
            _ => out.push_str(&WEEKDAYS[weekday][..1]),
        },
        'Q' | 'q' => {
            let quarter = i64::from(date.month + 2) / 3;
            match count {
                1 | 2 => padded(out, quarter, count),
                3 => {
                    out.push('Q');
                    padded(out, quarter, 1);
                }
                _ => out.push_str(["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"][quarter as usize - 1]),
            }
        }
        'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'S' => {
            let kept = count.min(9);
            padded(out, fraction / 10i64.pow(9 - kept as u32), kept);
            out.extend(std::iter::repeat_n('0', count - kept));
        }
        _ => {
            let value = match letter {
                'd' => date.day.into(),
                'D' => day_of_year(time.day),
                'H' => hour,
                'k' => {
                    if hour == 0 {
                        24
                    } else {
                        hour
                    }
                }
                'K' => hour % 12,
                'h' => {
                    if hour % 12 == 0 {
                        12
                    } else {
                        hour % 12
                    }
                }
                'm' => seconds / 60 % 60,
                's' => seconds % 60,
                'n' => fraction,
                'N' => time.nanos,
                'e' => (weekday as i64 + 1) % 7 + 1,
                _ => sunday_week(time.day).1,
            };
            padded(out, value, count);
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanos: i64,
}

impl Fields {
    /// Reads one field and returns what is left; `joined` where another number stands beside it without a separator.
    fn read<'a>(&mut self, letter: char, count: usize, joined: bool, text: &'a str) -> Option<&'a str> {
        match letter {
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = Some(if half.eq_ignore_ascii_case("pm") {
                    true
                } else if half.eq_ignore_ascii_case("am") {
                    false
                } else {
                    return None;
                });
                return Some(&text[2..]);
            }
            'M' | 'L' if count >= 3 => {
                let (month, rest) = name(text, &MONTHS, count)?;
                self.month = Some(month as i64 + 1);
                return Some(rest);
            }
            'E' => return name(text, &WEEKDAYS, count).map(|(_, rest)| rest),
            _ => {}
        }
        let available = text.bytes().take_while(u8::is_ascii_digit).count();
        let width = match letter {
            _ if joined => count,
            // A fraction has as many digits as there are letters, or fewer.
            'S' => available.min(count.max(9)),
            _ => available.min(9),
        };
        if width == 0 || width > available || width > 18 {
            return None;
        }
        let value: i64 = text[..width].parse().ok()?;
        match letter {
            'y' | 'u' | 'Y' => self.year = Some(if count == 2 && width == 2 { 2_000 + value } else { value }),
            'M' | 'L' => self.month = Some(value),
            'd' => self.day = Some(value),
            'D' => self.day_of_year = Some(value),
            'H' => self.hour = Some(value),
            'k' => self.hour = Some(value % 24),
            'h' | 'K' => self.half_hour = Some(value % 12),
            'm' => self.minute = value,
            's' => self.second = value,
            'S' => self.nanos = value.checked_mul(10i64.checked_pow(9u32.checked_sub(width as u32)?)?)?,
            'n' => self.nanos = value,
            _ => {}
        }
        Some(&text[width..])
    }

    fn resolve(self) -> Option<LocalTime> {
        let year = self.year.unwrap_or(1970);
        let day = match self.day_of_year {
            Some(number) if self.month.is_none() => {
                let first = checked_day(year, 1, 1)?;
                (1..=366).contains(&number).then_some(first + number - 1)?
            }
            _ => checked_day(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let half = self.half_hour.map(|hour| hour + if self.afternoon == Some(true) { 12 } else { 0 });
        let hour = self.hour.or(half).unwrap_or(0);
        if hour > 23 || self.minute > 59 || self.second > 59 || self.nanos > 999_999_999 {
            return None;
        }
        Some(LocalTime { day, nanos: ((hour * 60 + self.minute) * 60 + self.second) * 1_000_000_000 + self.nanos })
    }
}

fn name<'a>(text: &'a str, names: &[&str], count: usize) -> Option<(usize, &'a str)> {
    let length = |name: &str| if count >= 4 { name.len() } else { 3 };
    let fits =
        |name: &str| text.get(..length(name)).is_some_and(|start| start.eq_ignore_ascii_case(&name[..length(name)]));
    let index = names.iter().position(|name| fits(name))?;
    Some((index, &text[length(names[index])..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> LocalTime {
        Pattern::new("yyyy-MM-dd HH:mm:ss.SSS").unwrap().read(text).unwrap()
    }

    #[test]
    fn patterns_write_what_java_writes() {
        let time = at("2024-03-05 14:07:09.123");
        let cases = [
            ("yyyy-MM-dd", "2024-03-05"),
            ("yyyyMMddHHmmssSSS", "20240305140709123"),
            ("yy/M/d H:m:s", "24/3/5 14:7:9"),
            ("hh:mm a", "02:07 PM"),
            ("EEE, d MMM yyyy", "Tue, 5 Mar 2024"),
            ("EEEE MMMM", "Tuesday March"),
            ("yyyy'年'MM'月'dd'日'", "2024年03月05日"),
            ("yyyy年MM月", "2024年03月"),
            ("'o''clock'", "o'clock"),
            ("D Q QQQ", "65 1 Q1"),
            ("YYYY w", "2024 10"),
            ("SSSSSS", "123000"),
        ];
        for (pattern, text) in cases {
            let mut out = String::new();
            Pattern::new(pattern).unwrap().write(&mut out, time);
            assert_eq!(out, text, "{pattern}");
        }
    }

    #[test]
    fn patterns_read_what_they_write() {
        let read = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().read(text);
        assert_eq!(read("yyyyMMdd", "20240305").unwrap().day, at("2024-03-05 00:00:00.0").day);
        assert_eq!(read("yyyy-MM-dd HH:mm:ss", "1999-9-10 05:20:10"), Some(at("1999-09-10 05:20:10.000")));
        assert_eq!(read("dd MMM yyyy", "05 Mar 2024").unwrap().day, at("2024-03-05 00:00:00.0").day);
        assert_eq!(read("HH:mm", "12:30").unwrap(), LocalTime { day: 0, nanos: 45_000_000_000_000 });
        for (pattern, text) in [
            ("yyyy-MM-dd", "2024-02-30"),
            ("yyyy-MM-dd", "中文"),
            ("yyyyMMdd", "2024035"),
            ("yyyy", "2024x"),
            ("yyyy-MM-dd", ""),
        ] {
            assert_eq!(read(pattern, text), None, "{pattern} {text}");
        }
        assert!(Pattern::new("yyyy-MM-ddThh").is_err());
        assert!(Pattern::new("yyyy'").is_err());
    }
}
