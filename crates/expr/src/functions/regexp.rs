//! Patterns: LIKE and SIMILAR TO with their escapes, and regular expressions.
//!
//! Regular expressions are Java's, see [`crate::text::javaregex`]. A pattern that is none is an error that names it (Flink gives
//! NULL or false, and nobody learns of it).

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, types as at};
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::{Texts, make_texts, numbers, rows, texts, valid_rows};
use super::string::fixed;
use super::{Binding, Call, Family, Function, Notation, Nulls, Param, Volatility, returns};
use crate::cast::implicit_cast;
use crate::expr::Expr;
use crate::text::javaregex::{Match, Regex};

const fn matcher(
    name: &'static str,
    signatures: &'static [&'static str],
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Regexp,
        volatility: Volatility::Pure,
        notation: Notation::Infix,
        signatures,
        binding: Binding::Custom(bind_matcher),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    matcher("LIKE", &["text LIKE pattern", "text LIKE pattern ESCAPE character"], |c| like(c, false)),
    matcher("NOT LIKE", &["text NOT LIKE pattern"], |c| like(c, true)),
    matcher("SIMILAR TO", &["text SIMILAR TO pattern"], |c| similar(c, false)),
    matcher("NOT SIMILAR TO", &["text NOT SIMILAR TO pattern"], |c| similar(c, true)),
    fixed(
        "REGEXP",
        &["RLIKE", "REGEXP_LIKE"],
        &["REGEXP(text, regex)"],
        &[Param::AnyText, Param::Text],
        2,
        returns::boolean,
        Nulls::Strict,
        regexp,
    ),
    fixed(
        "REGEXP_EXTRACT",
        &[],
        &["REGEXP_EXTRACT(text, regex)", "REGEXP_EXTRACT(text, regex, group)"],
        &[Param::AnyText, Param::Text, Param::Int],
        2,
        returns::string,
        Nulls::Always,
        extract,
    ),
    fixed(
        "REGEXP_REPLACE",
        &[],
        &["REGEXP_REPLACE(text, regex, replacement)"],
        &[Param::AnyText, Param::Text, Param::Text],
        3,
        returns::string,
        Nulls::Strict,
        replace,
    ),
    fixed(
        "REGEXP_COUNT",
        &[],
        &["REGEXP_COUNT(text, regex)"],
        &[Param::AnyText, Param::Text],
        2,
        returns::int,
        Nulls::Strict,
        count,
    ),
    fixed(
        "REGEXP_INSTR",
        &[],
        &["REGEXP_INSTR(text, regex)"],
        &[Param::AnyText, Param::Text],
        2,
        returns::int,
        Nulls::Strict,
        place,
    ),
    fixed(
        "REGEXP_SUBSTR",
        &[],
        &["REGEXP_SUBSTR(text, regex)"],
        &[Param::AnyText, Param::Text],
        2,
        returns::string,
        Nulls::Always,
        extract,
    ),
    fixed(
        "REGEXP_EXTRACT_ALL",
        &[],
        &["REGEXP_EXTRACT_ALL(text, regex)", "REGEXP_EXTRACT_ALL(text, regex, group)"],
        &[Param::AnyText, Param::Text, Param::Int],
        2,
        |_| TypeKind::Array(Box::new(TypeKind::STRING.nullable())),
        Nulls::Always,
        extract_all,
    ),
];

fn bind_matcher(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 && args.len() != 3 {
        return Err(function.wrong_count(args.len()));
    }
    let text = |arg: &Expr| arg.kind().is_text() || *arg.kind() == TypeKind::Null;
    if !args.iter().all(text) {
        return Err(function.wrong_types(&args));
    }
    let text =
        |arg: Expr| if arg.kind().is_text() { Ok(arg) } else { implicit_cast(arg, &TypeKind::STRING.nullable()) };
    let args = args.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    Ok(function.call(args, SqlType { kind: TypeKind::Boolean, nullable }))
}

/// One step of a LIKE pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Is(char),
    One,
    Any,
}

/// A LIKE pattern; the usual shapes have forms of their own, as they are plain searches.
#[derive(Debug)]
enum Like {
    Equal(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Steps(Vec<Step>),
}

impl Like {
    fn new(pattern: &str, escape: Option<char>) -> Result<Self> {
        let mut steps = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            steps.push(match c {
                c if Some(c) == escape => match chars.next() {
                    Some(next) if next == '%' || next == '_' || Some(next) == escape => Step::Is(next),
                    _ => {
                        return Err(Error::invalid(format!("the pattern '{pattern}' escapes nothing"))
                            .hint(format!("after {c} stands %, _ or {c}")));
                    }
                },
                '%' => Step::Any,
                '_' => Step::One,
                c => Step::Is(c),
            });
        }
        let plain = |steps: &[Step]| {
            steps.iter().map(|step| if let Step::Is(c) = step { Some(*c) } else { None }).collect::<Option<String>>()
        };
        let simple = match steps.as_slice() {
            [Step::Any, middle @ .., Step::Any] => plain(middle).map(Self::Contains),
            [Step::Any, rest @ ..] => plain(rest).map(Self::Suffix),
            [rest @ .., Step::Any] => plain(rest).map(Self::Prefix),
            all => plain(all).map(Self::Equal),
        };
        Ok(simple.unwrap_or(Self::Steps(steps)))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(whole) => text == whole,
            Self::Prefix(part) => text.starts_with(part),
            Self::Suffix(part) => text.ends_with(part),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Steps(steps) => walk(steps, text),
        }
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Greedy matching that on a mismatch goes back to the last `%` only: an earlier one could not do better.
fn walk(steps: &[Step], text: &str) -> bool {
    let (mut step, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let mut tail = rest.chars();
        let next = tail.next();
        match (steps.get(step), next) {
            (Some(Step::Any), _) => {
                retry = Some((step, rest));
                step += 1;
                continue;
            }
            (None, None) => return true,
            // One character is what a dot matches in Java: no end of a line.
            (Some(Step::One), Some(c)) if !is_line_end(c) => {
                step += 1;
                rest = tail.as_str();
                continue;
            }
            (Some(Step::Is(c)), Some(found)) if *c == found => {
                step += 1;
                rest = tail.as_str();
                continue;
            }
            _ => {}
        }
        let Some((at, from)) = retry else { return false };
        let mut later = from.chars();
        if later.next().is_none() {
            return false;
        }
        rest = later.as_str();
        retry = Some((at, rest));
        step = at + 1;
    }
}

/// Compiled patterns: the last one is kept, as it is nearly always the same for all rows.
struct Compiled<'a, T> {
    source: Option<(&'a str, Option<&'a str>)>,
    pattern: Option<T>,
}

impl<'a, T> Compiled<'a, T> {
    fn new() -> Self {
        Self { source: None, pattern: None }
    }

    fn get(&mut self, source: &'a str, escape: Option<&'a str>, compile: impl FnOnce() -> Result<T>) -> Result<&T> {
        if self.source != Some((source, escape)) || self.pattern.is_none() {
            self.pattern = Some(compile()?);
            self.source = Some((source, escape));
        }
        self.pattern.as_ref().ok_or_else(|| Error::internal("a pattern vanished"))
    }
}

fn test_rows<'a, T>(
    call: &'a Call<'_>,
    negate: bool,
    compile: impl Fn(&str, Option<&str>) -> Result<T>,
    matches: impl Fn(&T, &str) -> Result<bool>,
) -> Result<ArrayRef> {
    let (text, pattern): (Texts<'a>, Texts<'a>) = (texts(call, 0), texts(call, 1));
    let escape = (call.args.len() == 3).then(|| texts(call, 2));
    let valid = valid_rows(call.args, call.len);
    let mut compiled = Compiled::new();
    let mut builder = BooleanBuilder::with_capacity(call.len);
    for i in 0..call.len {
        if valid.as_ref().is_some_and(|valid| valid.is_null(i)) {
            builder.append_null();
            continue;
        }
        let (source, escape) = (pattern.at(i), escape.as_ref().map(|escape| escape.at(i)));
        let pattern = compiled.get(source, escape, || compile(source, escape))?;
        builder.append_value(matches(pattern, text.at(i))? != negate);
    }
    Ok(Arc::new(builder.finish()))
}

fn escape_character(escape: Option<&str>) -> Result<Option<char>> {
    let Some(escape) = escape else { return Ok(None) };
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(Some(c)),
        _ => Err(Error::invalid(format!("the escape '{escape}' is not one character")).hint(r"write ESCAPE '\'")),
    }
}

fn like(call: &Call<'_>, negate: bool) -> Result<ArrayRef> {
    test_rows(call, negate, |p, escape| Like::new(p, escape_character(escape)?), |like, text| Ok(like.matches(text)))
}

fn similar(call: &Call<'_>, negate: bool) -> Result<ArrayRef> {
    let compile = |p: &str, escape: Option<&str>| {
        let source = similar_to_regex(p, escape_character(escape)?);
        regex::Regex::new(&source).map_err(|error| {
            Error::invalid(format!("'{p}' is not a pattern of SIMILAR TO"))
                .hint("a sign meant as itself is escaped")
                .caused_by(error)
        })
    };
    test_rows(call, negate, compile, |regex, text| Ok(regex.is_match(text)))
}

/// SIMILAR TO: `%` and `_` as in LIKE, `. | * + ? {} () []` as in regular expressions, everything else itself.
fn similar_to_regex(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut bracket = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => out.push_str(&regex::escape(&chars.next().map(String::from).unwrap_or_default())),
            '[' | ']' => {
                bracket = c == '[';
                out.push(c);
            }
            c if bracket => out.push(c),
            '%' => out.push_str("(?s:.*)"),
            '_' => out.push('.'),
            '.' | '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' => out.push(c),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push_str(")$");
    out
}

fn regexp(call: &Call<'_>) -> Result<ArrayRef> {
    // Nothing is found by an empty pattern, as in Flink.
    test_rows(call, false, |p, _| Regex::new(p), |regex, text| Ok(!regex.is_empty() && regex.is_match(text)?))
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (texts(call, 0), texts(call, 1));
    let group = (call.args.len() == 3).then(|| numbers::<at::Int32Type>(call, 2));
    let mut compiled = Compiled::new();
    let result = make_texts(call, |i, out| {
        let source = pattern.at(i);
        let regex = compiled.get(source, None, || Regex::new(source))?;
        let Ok(group) = usize::try_from(group.as_ref().map_or(0, |group| group.at(i))) else { return Ok(false) };
        let found = regex.find_at(text.at(i), 0)?;
        let found = found.as_ref().and_then(|found| found.group(text.at(i), group));
        out.push_str(found.unwrap_or_default());
        Ok(found.is_some())
    })?;
    Ok(Arc::new(result))
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern, replacement) = (texts(call, 0), texts(call, 1), texts(call, 2));
    let mut compiled = Compiled::new();
    let result = make_texts(call, |i, out| {
        let source = pattern.at(i);
        let regex = compiled.get(source, None, || Regex::new(source))?;
        // Flink takes the replacement as it is: `$1` is no group.
        out.push_str(&regex.replace_all(text.at(i), replacement.at(i))?);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// A number made of all matches of each row.
fn from_matches(call: &Call<'_>, f: impl Fn(&str, &[Match]) -> i32) -> Result<ArrayRef> {
    let (text, pattern) = (texts(call, 0), texts(call, 1));
    let valid = valid_rows(call.args, call.len);
    let mut compiled = Compiled::new();
    let result = rows::<at::Int32Type>(call.len, valid.as_ref(), |i| {
        let source = pattern.at(i);
        let regex = compiled.get(source, None, || Regex::new(source))?;
        Ok(Some(f(text.at(i), &regex.all(text.at(i))?)))
    })?;
    Ok(Arc::new(result))
}

fn count(call: &Call<'_>) -> Result<ArrayRef> {
    from_matches(call, |_, matches| matches.len() as i32)
}

/// Where the first match starts, counted from 1; 0 where there is none.
fn place(call: &Call<'_>) -> Result<ArrayRef> {
    from_matches(call, |text, matches| {
        matches.first().map_or(0, |first| text[..first.range().0].chars().count() as i32 + 1)
    })
}

/// A group of every match; the first group where none is named.
fn extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (texts(call, 0), texts(call, 1));
    let group = (call.args.len() == 3).then(|| numbers::<at::Int32Type>(call, 2));
    let valid = valid_rows(call.args, call.len);
    let field = Arc::new(TypeKind::STRING.nullable().arrow_field("element"));
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    let mut compiled = Compiled::new();
    for i in 0..call.len {
        if valid.as_ref().is_some_and(|valid| valid.is_null(i)) {
            builder.append(false);
            continue;
        }
        let source = pattern.at(i);
        let regex: &Regex = compiled.get(source, None, || Regex::new(source))?;
        let wanted = group.as_ref().map_or(1, |group| group.at(i));
        let Some(wanted) = usize::try_from(wanted).ok().filter(|&wanted| wanted < regex.groups()) else {
            builder.append(false);
            continue;
        };
        for found in regex.all(text.at(i))? {
            builder.values().append_option(found.group(text.at(i), wanted));
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
