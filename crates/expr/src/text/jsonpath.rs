//! SQL/JSON paths as Flink's engine (Jayway JsonPath) reads them: `$.a.b[0]`, `['a b']`, `[*]`, `[1:3]`, `[0,2]`, `..name`,
//! `[?(@.price < 10 && @.kind == 'x')]`, and the functions `length()`, `min()`, `max()`, `avg()`, `sum()` at the end.
//!
//! `lax` and `strict` stand before a path; without either it is strict: what is not there is an error, which the function's
//! `ON ERROR` clause answers. A path with a wildcard, slice, list, scan or filter always gives an array.

use gridhouse_base::{Error, Result};
use regex::Regex;

use super::json::Json;

/// How deep conditions may nest, so that no text exhausts the stack.
const MAX_DEPTH: usize = 64;

/// How often a path may scan (`..`): each multiplies the work by the depth of the value.
const MAX_SCANS: usize = 3;

/// A compiled path.
#[derive(Clone, Debug)]
pub struct Path {
    /// Whether what is not there is nothing instead of an error.
    pub lax: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Names(Vec<String>),
    Any,
    Index(i64),
    Indexes(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    /// `..`: this value and all below it.
    Scan,
    Filter(Condition),
    Function(Function),
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Length,
    Min,
    Max,
    Avg,
    Sum,
}

#[derive(Clone, Debug)]
enum Condition {
    Or(Vec<Condition>),
    And(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Term),
    Compare(Term, Comparison, Term),
    Matches(Term, Regex),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Clone, Debug)]
enum Term {
    /// A path from the element under test, or from the root.
    Path {
        root: bool,
        steps: Vec<Step>,
    },
    Value(Json),
}

/// What a path finds, or why it finds nothing.
pub type Found = std::result::Result<Option<Json>, String>;

fn malformed(path: &str) -> Error {
    Error::invalid(format!("'{path}' is not a JSON path"))
        .hint("write it like '$.name', '$.list[0].name' or 'lax $.name'")
}

impl Path {
    /// Compiles `text`.
    ///
    /// # Errors
    /// `Invalid` where it is no path; the message shows it.
    pub fn new(text: &str) -> Result<Self> {
        let (mode, rest) = text.trim_start().split_once(char::is_whitespace).unwrap_or(("", text));
        let (lax, path) = match mode.to_ascii_lowercase().as_str() {
            "lax" => (true, rest.trim()),
            "strict" => (false, rest.trim()),
            _ => (false, text),
        };
        let rooted = path.strip_prefix(['$', '@']).map_or_else(|| format!(".{path}"), str::to_owned);
        let chars: Vec<char> = rooted.chars().collect();
        let mut reader = Reader { chars: &chars, at: 0 };
        let steps = reader.steps(0).filter(|_| reader.at == chars.len()).ok_or_else(|| malformed(text))?;
        Ok(Self { lax, steps })
    }

    /// What the path finds in `root`.
    pub fn find(&self, root: &Json) -> Found {
        let found = read(&self.steps, root, root);
        match found {
            Err(_) if self.lax && is_definite(&self.steps) => Ok(None),
            Err(_) if self.lax => Ok(Some(Json::Array(Vec::new()))),
            found => found,
        }
    }
}

fn is_definite(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Name(_) | Step::Names(_) | Step::Index(_) | Step::Function(_)))
}

fn read(steps: &[Step], start: &Json, root: &Json) -> Found {
    let (steps, function) = match steps.split_last() {
        Some((Step::Function(function), rest)) => (rest, Some(*function)),
        _ => (steps, None),
    };
    let definite = is_definite(steps);
    let mut found = Vec::new();
    walk(steps, start, root, true, &mut found)?;
    let value = match (definite, found.len()) {
        (true, 0) => return Err("the path leads to nothing".into()),
        (true, _) => found.swap_remove(0),
        (false, _) => Json::Array(found),
    };
    match function {
        Some(function) => apply(function, &value),
        None => Ok(Some(value)),
    }
}

fn apply(function: Function, value: &Json) -> Found {
    if let Function::Length = function {
        return Ok(match value {
            Json::Array(items) => Some(Json::Integer(items.len().to_string())),
            Json::Object(entries) => Some(Json::Integer(entries.len().to_string())),
            _ => None,
        });
    }
    let Json::Array(items) = value else { return Err("the function wants an array of numbers".into()) };
    let numbers: Vec<f64> = items.iter().filter_map(Json::as_number).collect();
    if numbers.is_empty() {
        return Err("the function wants an array of numbers".into());
    }
    let sum: f64 = numbers.iter().sum();
    Ok(Some(Json::Double(match function {
        Function::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
        Function::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Function::Avg => sum / numbers.len() as f64,
        _ => sum,
    })))
}

/// Where an index stands in a list of `length`; negative ones count from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index + length as i64 } else { index };
    usize::try_from(index).ok().filter(|&index| index < length)
}

/// Gathers what `steps` lead to from `node`. While the way is `sure` (nothing before it was optional), a step that does not
/// fit the value is an error; after that it is passed over.
fn walk(
    steps: &[Step],
    node: &Json,
    root: &Json,
    sure: bool,
    found: &mut Vec<Json>,
) -> std::result::Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        found.push(node.clone());
        return Ok(());
    };
    let wrong = |what: &str| if sure { Err(format!("the path wants {what} on its way")) } else { Ok(()) };
    match step {
        Step::Name(name) => match (node, node.get(name)) {
            (_, Some(value)) => walk(rest, value, root, sure, found),
            (Json::Object(_), None) if sure => Err(format!("there is no field {name}")),
            (Json::Object(_), None) => Ok(()),
            _ => wrong("an object"),
        },
        Step::Names(names) => match node {
            Json::Object(_) => {
                let entries = names.iter().filter_map(|name| Some((name.clone(), node.get(name)?.clone())));
                let part = Json::Object(entries.collect());
                walk(rest, &part, root, sure, found)
            }
            _ => wrong("an object"),
        },
        Step::Any => match node {
            Json::Array(items) => items.iter().try_for_each(|item| walk(rest, item, root, false, found)),
            Json::Object(entries) => entries.iter().try_for_each(|(_, item)| walk(rest, item, root, false, found)),
            _ => Ok(()),
        },
        Step::Index(index) => match node {
            Json::Array(items) => match place(*index, items.len()) {
                Some(place) => walk(rest, &items[place], root, sure, found),
                None if sure => Err(format!("there is no element {index}")),
                None => Ok(()),
            },
            _ => wrong("an array"),
        },
        Step::Indexes(indexes) => match node {
            Json::Array(items) => {
                let mut places = indexes.iter().filter_map(|index| place(*index, items.len()));
                places.try_for_each(|place| walk(rest, &items[place], root, false, found))
            }
            _ => wrong("an array"),
        },
        Step::Slice(from, to) => match node {
            Json::Array(items) => {
                let bound = |index: i64| {
                    let index = if index < 0 { index + items.len() as i64 } else { index };
                    index.clamp(0, items.len() as i64) as usize
                };
                let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
                let mut part = items.iter().take(to).skip(from);
                part.try_for_each(|item| walk(rest, item, root, false, found))
            }
            _ => wrong("an array"),
        },
        Step::Scan => {
            let mut all = Vec::new();
            descend(node, &mut all);
            // `..*` names every value once: the children of every value.
            all.into_iter().try_for_each(|value| walk(rest, value, root, false, found))
        }
        Step::Filter(condition) => match node {
            Json::Array(items) => {
                let mut kept = items.iter().filter(|item| condition.holds(item, root));
                kept.try_for_each(|item| walk(rest, item, root, false, found))
            }
            Json::Object(_) if condition.holds(node, root) => walk(rest, node, root, false, found),
            Json::Object(_) => Ok(()),
            _ => wrong("an array or an object"),
        },
        Step::Function(_) => Err("a function stands at the end of a path".into()),
    }
}

fn descend<'a>(node: &'a Json, all: &mut Vec<&'a Json>) {
    all.push(node);
    match node {
        Json::Array(items) => items.iter().for_each(|item| descend(item, all)),
        Json::Object(entries) => entries.iter().for_each(|(_, item)| descend(item, all)),
        _ => {}
    }
}

impl Condition {
    fn holds(&self, node: &Json, root: &Json) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|part| part.holds(node, root)),
            Self::And(parts) => parts.iter().all(|part| part.holds(node, root)),
            Self::Not(part) => !part.holds(node, root),
            Self::Exists(term) => term.value(node, root).is_some(),
            Self::Matches(term, regex) => term.value(node, root).is_some_and(|value| {
                let mut text = String::new();
                value.write_scalar(&mut text);
                value.is_scalar() && regex.is_match(&text)
            }),
            Self::Compare(left, comparison, right) => {
                compare(left.value(node, root).as_ref(), *comparison, right.value(node, root).as_ref())
            }
        }
    }
}

impl Term {
    fn value(&self, node: &Json, root: &Json) -> Option<Json> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Path { root: from_root, steps } => {
                read(steps, if *from_root { root } else { node }, root).ok().flatten()
            }
        }
    }
}

fn equal(a: &Json, b: &Json) -> bool {
    match (a.as_number(), b.as_number()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn compare(left: Option<&Json>, comparison: Comparison, right: Option<&Json>) -> bool {
    use Comparison::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotEqual, NotIn};
    let (Some(a), Some(b)) = (left, right) else { return comparison == NotEqual };
    let order = match (a, b) {
        (Json::Text(a), Json::Text(b)) => Some(a.cmp(b)),
        _ => a.as_number().zip(b.as_number()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    let within = || matches!(b, Json::Array(items) if items.iter().any(|item| equal(a, item)));
    match comparison {
        Equal => equal(a, b),
        NotEqual => !equal(a, b),
        In => within(),
        NotIn => !within(),
        Less => order.is_some_and(|order| order.is_lt()),
        LessOrEqual => order.is_some_and(|order| order.is_le()),
        Greater => order.is_some_and(|order| order.is_gt()),
        GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

/// Reads a path; `None` anywhere means that the text is none.
struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn accept(&mut self, text: &str) -> bool {
        let wanted: Vec<char> = text.chars().collect();
        let is = self.chars[self.at..].starts_with(&wanted);
        self.at += if is { wanted.len() } else { 0 };
        is
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn while_char(&mut self, f: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&f) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// The steps up to the end, or up to what cannot belong to a path (inside a condition).
    fn steps(&mut self, depth: usize) -> Option<Vec<Step>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut steps = Vec::new();
        loop {
            if self.accept("..") {
                if steps.iter().filter(|step| matches!(step, Step::Scan)).count() == MAX_SCANS {
                    return None;
                }
                steps.push(Step::Scan);
                if self.peek() == Some('[') {
                    steps.push(self.bracket(depth)?);
                } else {
                    steps.push(self.dotted()?);
                }
            } else if self.accept(".") {
                if self.peek() == Some('[') {
                    steps.push(self.bracket(depth)?);
                } else {
                    steps.push(self.dotted()?);
                }
            } else if self.peek() == Some('[') {
                // A bracket that is opened and then nothing is passed over, as in Flink.
                if self.at + 1 == self.chars.len() && !steps.is_empty() {
                    self.at += 1;
                    return Some(steps);
                }
                steps.push(self.bracket(depth)?);
            } else {
                return Some(steps);
            }
        }
    }

    fn dotted(&mut self) -> Option<Step> {
        if self.accept("*") {
            return Some(Step::Any);
        }
        let name = self.while_char(|c| {
            !matches!(c, '.' | '[' | '(' | ')' | '=' | '!' | '<' | '>' | '&' | '|' | ',' | ']') && !c.is_whitespace()
        });
        if self.accept("()") {
            return Some(Step::Function(match name.as_str() {
                "length" | "size" => Function::Length,
                "min" => Function::Min,
                "max" => Function::Max,
                "avg" => Function::Avg,
                "sum" => Function::Sum,
                _ => return None,
            }));
        }
        (!name.is_empty()).then_some(Step::Name(name))
    }

    fn bracket(&mut self, depth: usize) -> Option<Step> {
        self.at += 1;
        self.blanks();
        let step = match self.peek()? {
            '*' => {
                self.at += 1;
                Step::Any
            }
            '?' => {
                self.at += 1;
                self.blanks();
                if !self.accept("(") {
                    return None;
                }
                let condition = self.any_of(depth + 1)?;
                self.blanks();
                if !self.accept(")") {
                    return None;
                }
                Step::Filter(condition)
            }
            '\'' | '"' => {
                let mut names = vec![self.quoted()?];
                self.blanks();
                while self.accept(",") {
                    self.blanks();
                    names.push(self.quoted()?);
                    self.blanks();
                }
                if names.len() == 1 { Step::Name(names.remove(0)) } else { Step::Names(names) }
            }
            _ => self.indexes()?,
        };
        self.blanks();
        self.accept("]").then_some(step)
    }

    fn index(&mut self) -> Option<Option<i64>> {
        self.blanks();
        let digits = self.while_char(|c| c.is_ascii_digit() || c == '-');
        self.blanks();
        if digits.is_empty() { Some(None) } else { digits.parse().ok().map(Some) }
    }

    fn indexes(&mut self) -> Option<Step> {
        let first = self.index()?;
        if self.accept(":") {
            return Some(Step::Slice(first, self.index()?));
        }
        let mut all = vec![first?];
        while self.accept(",") {
            all.push(self.index()??);
        }
        Some(if all.len() == 1 { Step::Index(all[0]) } else { Step::Indexes(all) })
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.peek().filter(|c| matches!(c, '\'' | '"'))?;
        self.at += 1;
        let mut out = String::new();
        loop {
            let c = self.peek()?;
            self.at += 1;
            match c {
                c if c == quote => return Some(out),
                '\\' => {
                    out.push(self.peek()?);
                    self.at += 1;
                }
                c => out.push(c),
            }
        }
    }

    fn any_of(&mut self, depth: usize) -> Option<Condition> {
        let mut parts = vec![self.all_of(depth)?];
        loop {
            self.blanks();
            if !self.accept("||") {
                return Some(if parts.len() == 1 { parts.remove(0) } else { Condition::Or(parts) });
            }
            parts.push(self.all_of(depth)?);
        }
    }

    fn all_of(&mut self, depth: usize) -> Option<Condition> {
        let mut parts = vec![self.one_of(depth)?];
        loop {
            self.blanks();
            if !self.accept("&&") {
                return Some(if parts.len() == 1 { parts.remove(0) } else { Condition::And(parts) });
            }
            parts.push(self.one_of(depth)?);
        }
    }

    fn one_of(&mut self, depth: usize) -> Option<Condition> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        if self.accept("!") {
            return Some(Condition::Not(Box::new(self.one_of(depth + 1)?)));
        }
        if self.accept("(") {
            let inner = self.any_of(depth + 1)?;
            self.blanks();
            return self.accept(")").then_some(inner);
        }
        let left = self.term(depth)?;
        self.blanks();
        if self.accept("=~") {
            self.blanks();
            return Some(Condition::Matches(left, self.regex()?));
        }
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("in ", Comparison::In),
            ("nin ", Comparison::NotIn),
        ];
        match known.into_iter().find(|(sign, _)| self.accept(sign)) {
            Some((_, comparison)) => {
                self.blanks();
                Some(Condition::Compare(left, comparison, self.term(depth)?))
            }
            None => Some(Condition::Exists(left)),
        }
    }

    fn term(&mut self, depth: usize) -> Option<Term> {
        Some(match self.peek()? {
            root @ ('@' | '$') => {
                self.at += 1;
                Term::Path { root: root == '$', steps: self.steps(depth + 1)? }
            }
            '\'' | '"' => Term::Value(Json::Text(self.quoted()?)),
            '[' => {
                self.at += 1;
                let mut items = Vec::new();
                loop {
                    self.blanks();
                    match self.term(depth + 1).filter(|_| depth < MAX_DEPTH)? {
                        Term::Value(item) => items.push(item),
                        Term::Path { .. } => return None,
                    }
                    self.blanks();
                    if self.accept("]") {
                        return Some(Term::Value(Json::Array(items)));
                    }
                    if !self.accept(",") {
                        return None;
                    }
                }
            }
            _ => {
                let word = self.while_char(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
                Term::Value(Json::parse(&word).filter(Json::is_scalar)?)
            }
        })
    }

    fn regex(&mut self) -> Option<Regex> {
        if !self.accept("/") {
            return None;
        }
        let mut pattern = String::new();
        loop {
            let c = self.peek()?;
            self.at += 1;
            match c {
                '/' => break,
                '\\' if self.accept("/") => pattern.push('/'),
                c => pattern.push(c),
            }
        }
        let flags = self.while_char(|c| c.is_ascii_alphabetic());
        let flags: String = flags.chars().filter(|c| "imsx".contains(*c)).collect();
        let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
        Regex::new(&format!("{flags}^(?:{pattern})$")).ok()
    }
}
