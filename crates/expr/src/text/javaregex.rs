//! Java's regular expressions on the `regex` crate, and on `fancy-regex` where they look around, refer back, or do not give
//! back what they took.
//!
//! Translated are: the classes `\d \w \s \h \v \R` and `\p{Alpha}` (ASCII, as in Java), `\Q…\E`, `\uXXXX`, `\Z`, and the dot,
//! which stops at every line terminator; `$` is the end, or the place before a line terminator that ends the text. Not the same:
//! Unicode blocks (`\p{InGreek}`) are unknown. Without the fancy parts a match takes time linear in the text's length; with them the
//! number of steps is bounded, and what needs more is an error.

use std::borrow::Cow;

use gridhouse_base::{Error, Result};

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Regex {
    engine: Engine,
    /// The same for texts that end with a line terminator, where the expression has a `$`.
    ending: Option<Engine>,
}

#[derive(Clone, Debug)]
enum Engine {
    /// Linear in time.
    Plain(regex::Regex),
    /// With backtracking, for what automata cannot do.
    Fancy(Box<fancy_regex::Regex>),
}

/// Where a match stands, with its groups, as byte ranges.
#[derive(Clone, Debug)]
pub struct Match {
    groups: Vec<Option<(usize, usize)>>,
}

impl Match {
    /// The part of `text` that group `i` took; group 0 is the whole.
    pub fn group<'t>(&self, text: &'t str, i: usize) -> Option<&'t str> {
        self.groups.get(i).copied().flatten().map(|(from, to)| &text[from..to])
    }

    /// Where the whole match starts and ends.
    pub fn range(&self) -> (usize, usize) {
        self.groups.first().copied().flatten().unwrap_or_default()
    }
}

fn too_hard(error: fancy_regex::Error) -> Error {
    Error::invalid("a regular expression takes too many steps on a text")
        .hint("avoid nested repetitions, or leave look-around and back-references out")
        .caused_by(error)
}

impl Engine {
    fn new(source: &Translated) -> std::result::Result<Self, Box<fancy_regex::Error>> {
        let plain = if source.possessive { None } else { regex::Regex::new(&source.pattern).ok() };
        match plain {
            Some(plain) => Ok(Self::Plain(plain)),
            None => {
                fancy_regex::Regex::new(&source.pattern).map(|fancy| Self::Fancy(Box::new(fancy))).map_err(Box::new)
            }
        }
    }
}

impl Regex {
    /// Compiles `source`, an expression in Java's form.
    ///
    /// # Errors
    /// `Invalid` where it is none; the message shows it.
    pub fn new(source: &str) -> Result<Self> {
        let first = translate(source, "$");
        let engine = Engine::new(&first).map_err(|error| {
            Error::invalid(format!("'{source}' is not a regular expression"))
                .hint(format!("{error}; a sign meant as itself has a \\ before it"))
        })?;
        let before_end = format!("(?=(?:\\r\\n|[{LINE_ENDS}])?\\z)");
        let ending = if first.dollar { Engine::new(&translate(source, &before_end)).ok() } else { None };
        Ok(Self { engine, ending })
    }

    fn engine(&self, text: &str) -> &Engine {
        let ends = text.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        self.ending.as_ref().filter(|_| ends).unwrap_or(&self.engine)
    }

    /// Whether the expression is the empty one.
    pub fn is_empty(&self) -> bool {
        match &self.engine {
            Engine::Plain(regex) => regex.as_str().is_empty(),
            Engine::Fancy(regex) => regex.as_str().is_empty(),
        }
    }

    /// How many groups there are, the whole match among them.
    pub fn groups(&self) -> usize {
        match &self.engine {
            Engine::Plain(regex) => regex.captures_len(),
            Engine::Fancy(regex) => regex.captures_len(),
        }
    }

    /// Whether the expression matches somewhere in `text`.
    ///
    /// # Errors
    /// `Invalid` where it takes too many steps.
    pub fn is_match(&self, text: &str) -> Result<bool> {
        match self.engine(text) {
            Engine::Plain(regex) => Ok(regex.is_match(text)),
            Engine::Fancy(regex) => regex.is_match(text).map_err(too_hard),
        }
    }

    /// The first match at or behind byte `from`.
    ///
    /// # Errors
    /// `Invalid` where it takes too many steps.
    pub fn find_at(&self, text: &str, from: usize) -> Result<Option<Match>> {
        match self.engine(text) {
            Engine::Plain(regex) => Ok(regex.captures_at(text, from).map(|found| Match {
                groups: found.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect(),
            })),
            Engine::Fancy(regex) => {
                let found = regex.captures_from_pos(text, from).map_err(too_hard)?;
                Ok(found.map(|found| Match {
                    groups: found.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect(),
                }))
            }
        }
    }

    /// All matches that do not overlap; an empty one moves on by a character.
    ///
    /// # Errors
    /// `Invalid` where it takes too many steps.
    pub fn all(&self, text: &str) -> Result<Vec<Match>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at <= text.len() {
            let Some(next) = self.find_at(text, at)? else { break };
            let (from, to) = next.range();
            at = if to > from { to } else { to + text[to..].chars().next().map_or(1, char::len_utf8) };
            found.push(next);
        }
        Ok(found)
    }

    /// `text` with every match replaced by `new`, taken as it is.
    ///
    /// # Errors
    /// `Invalid` where it takes too many steps.
    pub fn replace_all<'t>(&self, text: &'t str, new: &str) -> Result<Cow<'t, str>> {
        let all = self.all(text)?;
        if all.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for found in all {
            let (from, to) = found.range();
            out.push_str(&text[at..from]);
            out.push_str(new);
            at = to;
        }
        out.push_str(&text[at..]);
        Ok(Cow::Owned(out))
    }

    /// The parts of `text` between matches, at most `limit`; an empty match parts nothing.
    ///
    /// # Errors
    /// `Invalid` where it takes too many steps.
    pub fn split<'t>(&self, text: &'t str, limit: usize) -> Result<Vec<&'t str>> {
        let (mut parts, mut at) = (Vec::new(), 0);
        for found in self.all(text)? {
            let (from, to) = found.range();
            if parts.len() + 1 == limit {
                break;
            }
            if to > from {
                parts.push(&text[at..from]);
                at = to;
            }
        }
        parts.push(&text[at..]);
        Ok(parts)
    }
}

/// What ends a line in Java.
const LINE_ENDS: &str = r"\n\r\u{85}\u{2028}\u{2029}";

struct Translated {
    pattern: String,
    possessive: bool,
    /// Whether there is a `$` that means the end of the text.
    dollar: bool,
}

/// `source` in the form of our engines, with `end` for `$`.
fn translate(source: &str, end: &str) -> Translated {
    // A dot matches everything where a flag says so; flags are not followed from group to group.
    let flags = flags(source);
    let (dot_all, lines) = (flags.contains('s'), flags.contains('m'));
    let mut out = String::with_capacity(source.len() * 2);
    let mut chars = source.chars().peekable();
    let (mut class_depth, mut quantified, mut possessive, mut dollar) = (0usize, false, false, false);
    while let Some(c) = chars.next() {
        let was_quantified = std::mem::take(&mut quantified);
        match c {
            '\\' => escape(&mut chars, class_depth > 0, &mut out),
            '[' => {
                class_depth += 1;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that closes at once is meant as itself.
                if class_depth == 1 && chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ']' if class_depth > 0 => {
                class_depth -= 1;
                out.push(']');
            }
            '~' | '#' if class_depth > 0 => {
                out.push('\\');
                out.push(c);
            }
            '$' if class_depth == 0 && !lines => {
                dollar = true;
                out.push_str(end);
            }
            '.' if class_depth == 0 && !dot_all => out.push_str(&format!("[^{LINE_ENDS}]")),
            '*' | '+' | '?' | '}' if class_depth == 0 => {
                possessive |= c == '+' && was_quantified;
                // Behind a quantifier these say how it takes; they are no quantifiers themselves.
                quantified = !(was_quantified && (c == '+' || c == '?'));
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Translated { pattern: out, possessive, dollar }
}

/// All flags that are switched on somewhere: `(?is)`, `(?s:…)`.
fn flags(source: &str) -> String {
    let mut all = String::new();
    for part in source.split("(?").skip(1) {
        all.extend(part.chars().take_while(char::is_ascii_lowercase));
    }
    all
}

/// A class by its members; within a class only the members are wanted.
fn class(out: &mut String, inside: bool, negated: bool, members: &str) {
    match (inside, negated) {
        (true, false) => out.push_str(members),
        (_, true) => out.push_str(&format!("[^{members}]")),
        (false, false) => out.push_str(&format!("[{members}]")),
    }
}

fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, inside: bool, out: &mut String) {
    let Some(c) = chars.next() else {
        out.push('\\');
        return;
    };
    match c {
        'Q' => {
            let mut quoted = String::new();
            while let Some(c) = chars.next() {
                if c == '\\' && chars.next_if_eq(&'E').is_some() {
                    break;
                }
                quoted.push(c);
            }
            out.push_str(&regex::escape(&quoted));
        }
        'd' | 'D' => class(out, inside, c == 'D', "0-9"),
        'w' | 'W' => class(out, inside, c == 'W', "0-9A-Za-z_"),
        's' | 'S' => class(out, inside, c == 'S', r" \t\n\x0B\x0C\r"),
        'h' | 'H' => {
            class(out, inside, c == 'H', r" \t\u{A0}\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}");
        }
        'v' | 'V' => class(out, inside, c == 'V', r"\n\x0B\x0C\r\u{85}\u{2028}\u{2029}"),
        'R' => out.push_str(&format!("(?:\\r\\n|[{LINE_ENDS}\\x0B\\x0C])")),
        'Z' => out.push_str(r"(?:\n?\z)"),
        'e' => out.push_str(r"\x1B"),
        'u' => {
            let digits: String = chars.by_ref().take(4).collect();
            out.push_str(&format!("\\u{{{digits}}}"));
        }
        '0' => {
            let mut digits = String::new();
            while digits.len() < 3
                && let Some(digit) = chars.next_if(|c| ('0'..='7').contains(c))
            {
                digits.push(digit);
            }
            let code = u32::from_str_radix(&digits, 8).unwrap_or(0);
            out.push_str(&format!("\\x{{{code:x}}}"));
        }
        'p' | 'P' => property(chars, inside, c == 'P', out),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
}

/// `\p{…}`: POSIX names are ASCII in Java; `Is` stands before a script or a binary property.
fn property(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, inside: bool, negated: bool, out: &mut String) {
    const POSIX: &[&str] = &[
        "lower", "upper", "ascii", "alpha", "digit", "alnum", "punct", "graph", "print", "blank", "cntrl", "xdigit",
        "space",
    ];
    let name: String = match chars.next_if_eq(&'{') {
        Some(_) => chars.by_ref().take_while(|c| *c != '}').collect(),
        None => chars.next().map(String::from).unwrap_or_default(),
    };
    let lower = name.to_lowercase();
    if POSIX.contains(&lower.as_str()) && name.starts_with(|c: char| c.is_ascii_uppercase()) {
        let sign = if negated { "^" } else { "" };
        let members = format!("[:{sign}{lower}:]");
        out.push_str(&if inside { members } else { format!("[{members}]") });
        return;
    }
    let name = name.strip_prefix("Is").unwrap_or(&name);
    out.push_str(&format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Regex::new(pattern).unwrap().is_match(text).unwrap()
    }

    #[test]
    fn classes_are_javas() {
        for (pattern, text, expected) in [
            (r"^\w+$", "电网", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^[^\d]+$", "ab", true),
            (r"^[\D]+$", "ab", true),
            (r"\p{Alpha}", "é", false),
            (r"\p{IsHan}", "电", true),
            (r"^\P{Digit}$", "a", true),
            (r"a.c", "a\rc", false),
            (r"(?s)a.c", "a\nc", true),
            (r"\Qa.c\E+", "a.cc", true),
            (r"\u7535", "电", true),
            (r"\061", "1", true),
            (r"[]a]", "]", true),
            (r"a++a", "aaa", false),
            (r"a+?b", "aab", true),
            (r"x{2}+x", "xxx", true),
            (r"a$", "a\n", true),
            (r"^a$", "a\r\n", true),
            (r"a$", "a\nb", false),
            (r"[$]", "$", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn matches_are_found_and_replaced() {
        let regex = Regex::new(r"(?<=b)(c)|(x)").unwrap();
        assert_eq!(regex.replace_all("abcxc", "$1").unwrap(), "ab$1$1c");
        let all = regex.all("bcx").unwrap();
        assert_eq!(
            (all[0].group("bcx", 1), all[0].group("bcx", 2), all[1].group("bcx", 2)),
            (Some("c"), None, Some("x"))
        );
        assert_eq!(Regex::new("").unwrap().replace_all("电b", "-").unwrap(), "-电-b-");
        assert_eq!(Regex::new(",").unwrap().split("a,b,c", 2).unwrap(), ["a", "b,c"]);
        assert!(Regex::new("(").is_err());
    }
}
