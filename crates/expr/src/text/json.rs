//! JSON texts: read into values and written as Jackson writes them, which is what Flink shows.
//!
//! Whole numbers keep their digits, other numbers are doubles in Java's text form (`1.10` is `1.1`, `1e5` is `100000.0`); of
//! equal keys of an object the last value wins, at the place of the first. What follows a whole value is ignored, as in
//! Flink. Nesting is bounded, so that no text exhausts the stack.

use std::collections::HashMap;
use std::fmt::Write;

use super::number;

/// How deep a text may nest; Jackson's own limit.
const MAX_DEPTH: usize = 1_000;

/// From how many entries on the keys of an object are found by hash.
const INDEXED_ENTRIES: usize = 16;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean(bool),
    /// A number without fraction and exponent, by its digits.
    Integer(String),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`, in the order of the text.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value at the start of `text`; `None` where there is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
        let value = reader.value(0)?;
        // A number or word must end where it seems to: `1x` is no JSON, `1 x` is 1.
        let bare = matches!(value, Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Double(_));
        let ends = reader.bytes.get(reader.at).is_none_or(u8::is_ascii_whitespace);
        (!bare || ends).then_some(value)
    }

    /// Neither an array nor an object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// The value under `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(digits) => digits.parse().ok(),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// Appends the text of the value, without blanks.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(digits) => out.push_str(digits),
            Self::Double(value) => write_double(out, *value),
            Self::Text(text) => write_text(out, text),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    write_text(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Appends a scalar as SQL shows it: a string without quotes.
    pub fn write_scalar(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Double(value) => number::write_double(out, *value),
            other => other.write(out),
        }
    }
}

/// Appends a number; what is no JSON number stands in quotes.
pub fn write_double(out: &mut String, value: f64) {
    let quote = if value.is_finite() { "" } else { "\"" };
    out.push_str(quote);
    number::write_double(out, value);
    out.push_str(quote);
}

/// Appends a string in quotes.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        match self.bytes.get(self.at)? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Json::Text),
            b't' => self.word("true", Json::Boolean(true)),
            b'f' => self.word("false", Json::Boolean(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        self.blanks();
        if self.accept(b'}') {
            return Some(Json::Object(entries));
        }
        loop {
            self.blanks();
            if self.bytes.get(self.at) != Some(&b'"') {
                return None;
            }
            let key = self.string()?;
            self.blanks();
            if !self.accept(b':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            if entries.len() == INDEXED_ENTRIES {
                places = entries.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
            }
            let known = match entries.len() {
                ..INDEXED_ENTRIES => entries.iter().position(|(known, _)| *known == key),
                _ => places.get(&key).copied(),
            };
            match known {
                Some(place) => entries[place].1 = value,
                None => {
                    if entries.len() >= INDEXED_ENTRIES {
                        places.insert(key.clone(), entries.len());
                    }
                    entries.push((key, value));
                }
            }
            self.blanks();
            if self.accept(b'}') {
                return Some(Json::Object(entries));
            }
            if !self.accept(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.accept(b']') {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.accept(b']') {
                return Some(Json::Array(items));
            }
            if !self.accept(b',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.bytes.get(self.at)?, b'"' | b'\\' | 0..b' ') {
                self.at += 1;
            }
            out.push_str(self.text.get(start..self.at)?);
            match self.bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 2;
        Some(match self.bytes.get(self.at - 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if (0xD800..0xDC00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xDC00..0xE000).contains(&second) {
                        return char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
                    }
                    self.at = back;
                }
                // Half of a pair is no character.
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.accept(b'-');
        let first = self.at;
        let count = self.digits();
        if count == 0 || (count > 1 && self.bytes[first] == b'0') {
            return None;
        }
        let mut whole = true;
        if self.accept(b'.') {
            whole = false;
            if self.digits() == 0 {
                return None;
            }
        }
        if self.accept(b'e') || self.accept(b'E') {
            whole = false;
            if !self.accept(b'-') {
                self.accept(b'+');
            }
            if self.digits() == 0 {
                return None;
            }
        }
        let text = &self.text[start..self.at];
        Some(match (whole, text) {
            (true, "-0") => Json::Integer("0".into()),
            (true, digits) => Json::Integer(digits.into()),
            (false, number) => Json::Double(number.parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> Option<String> {
        let mut out = String::new();
        Json::parse(text)?.write(&mut out);
        Some(out)
    }

    #[test]
    fn texts_are_read_and_written() {
        for (text, expected) in [
            (" {\"b\" : [1, 2.50, -0, -0.0, 1e400], \"a\": {}} ", r#"{"b":[1,2.5,0,-0.0,"Infinity"],"a":{}}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#""\u7535\ud83d\ude00\ud83dx\/""#, "\"电😀\u{fffd}x/\""),
            (r#"[true,false,null] rest"#, "[true,false,null]"),
        ] {
            assert_eq!(again(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_nothing() {
        for text in
            ["", "{", "[1,]", "{a:1}", "01", "1.", ".5", "+1", "\"a", "tru", "1x", "\"\\x\"", "\"a\nb\"", "[1 2]"]
        {
            assert_eq!(Json::parse(text), None, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Json::parse(&deep), None);
    }

    #[test]
    fn large_objects_keep_the_last_value_of_a_key() {
        let entries: Vec<String> = (0..40).map(|i| format!("\"k{}\":{i}", i % 20)).collect();
        let value = Json::parse(&format!("{{{}}}", entries.join(","))).unwrap();
        let Json::Object(entries) = &value else { panic!("{value:?}") };
        assert_eq!(entries.len(), 20);
        assert_eq!(value.get("k3"), Some(&Json::Integer("23".into())));
    }
}
