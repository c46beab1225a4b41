//! CSV rows: splitting into fields, reading and writing.
//!
//! A splitter of our own, because Flink's (Jackson's) takes escapes outside quotes too, which the `csv` crate does not. A
//! quote counts only at the beginning of a field; within quotes a doubled quote is one, and a line may end.

use gridhouse_base::{TypeKind, Value};

use super::options::CsvOptions;
use super::row::{Misread, RowField};
use super::scalar::{self, Style};

const STYLE: Style = Style { separator: ' ', milliseconds: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    Start,
    Unquoted,
    Quoted,
    /// After a quote within quotes: the end of the field, or a quote that is doubled.
    Closing,
}

/// Splits a record, which may have several lines, into fields.
pub(crate) struct Splitter<'a> {
    options: &'a CsvOptions,
    state: State,
    field: String,
    /// The finished fields, up to one per declared column.
    pub fields: Vec<String>,
    /// How many fields the record has.
    pub count: usize,
    most: usize,
}

impl<'a> Splitter<'a> {
    /// A splitter of records that should have `most` fields; what stands behind these is counted, not kept.
    pub(crate) fn new(options: &'a CsvOptions, most: usize) -> Self {
        Self { options, state: State::Start, field: String::new(), fields: Vec::new(), count: 0, most }
    }

    /// Takes a line without its newline; whether the record ends with it. Otherwise a quote is open and the next line belongs to
    /// the record too.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(crate) fn line(&mut self, line: &str) -> Result<bool, String> {
        // A carriage return before the newline is part of the end, except within quotes.
        let body = line.strip_suffix('\r').unwrap_or(line);
        let mut chars = body.chars();
        while let Some(c) = chars.next() {
            let escaped = Some(c) == self.options.escape && self.state != State::Closing;
            match self.state {
                _ if escaped => {
                    let next = chars.next().ok_or("an escape character stands at the end of the line")?;
                    self.field.push(match next {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        '0' => '\0',
                        other => other,
                    });
                    if self.state == State::Start {
                        self.state = State::Unquoted;
                    }
                }
                State::Start if Some(c) == self.options.quote => self.state = State::Quoted,
                State::Start | State::Unquoted | State::Closing if c == self.options.delimiter => self.end_field(),
                State::Start | State::Unquoted => {
                    self.field.push(c);
                    self.state = State::Unquoted;
                }
                State::Quoted if Some(c) == self.options.quote => self.state = State::Closing,
                State::Quoted => self.field.push(c),
                State::Closing if Some(c) == self.options.quote => {
                    self.field.push(c);
                    self.state = State::Quoted;
                }
                State::Closing if c == ' ' => {}
                State::Closing => return Err(format!("'{c}' stands after a closing quote")),
            }
        }
        if self.state == State::Quoted {
            self.field.push_str(if body.len() < line.len() { "\r\n" } else { "\n" });
            return Ok(false);
        }
        self.end_field();
        Ok(true)
    }

    fn end_field(&mut self) {
        self.count += 1;
        if self.fields.len() < self.most {
            self.fields.push(std::mem::take(&mut self.field));
        }
        self.field.clear();
        self.state = State::Start;
    }
}

/// Reads the fields of a row that are wanted: `wanted` are their places among `fields`, in any order.
pub(crate) fn read(
    record: &Splitter<'_>,
    fields: &[RowField],
    wanted: &[usize],
    options: &CsvOptions,
    lenient: bool,
) -> Result<Vec<Value>, Misread> {
    let texts = &record.fields;
    if record.count > fields.len() || record.count < fields.len() && !lenient {
        let what = format!("{} fields where {} are declared", record.count, fields.len());
        return Err(Misread { column: None, what });
    }
    let field = |&i: &usize| {
        let Some(text) = texts.get(i) else { return Ok(Value::Null) };
        match value(text, &fields[i].kind, options, lenient) {
            Err(_) if lenient => Ok(Value::Null),
            Err(mut what) => {
                if text.is_empty() && options.null_literal.is_none() {
                    what.push_str("; with 'csv.null-literal' = '' an empty field is NULL");
                }
                Err(Misread { column: Some(fields[i].name.clone()), what })
            }
            read => Ok(read.unwrap_or(Value::Null)),
        }
    };
    wanted.iter().map(field).collect()
}

fn value(text: &str, kind: &TypeKind, options: &CsvOptions, lenient: bool) -> Result<Value, String> {
    if options.null_literal.as_deref() == Some(text) {
        return Ok(Value::Null);
    }
    let item = |text: &str, kind: &TypeKind| match value(text, kind, options, lenient) {
        Err(_) if lenient => Ok(Value::Null),
        read => read,
    };
    match kind {
        TypeKind::Array(_) if text.is_empty() => Ok(Value::Array(Vec::new())),
        TypeKind::Array(element) => {
            let items = text.split(&options.array_delimiter).map(|text| item(text, &element.kind));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        TypeKind::Row(fields) => {
            let texts: Vec<&str> = text.split(&options.array_delimiter).collect();
            if texts.len() != fields.len() {
                return Err(format!("{} values where the row has {}", texts.len(), fields.len()));
            }
            let items = texts.iter().zip(fields).map(|(text, field)| item(text, &field.sql_type.kind));
            Ok(Value::Row(items.collect::<Result<_, _>>()?))
        }
        kind => scalar::read(text, kind, STYLE),
    }
}

/// Longer texts are quoted without a look at them, as Flink's writer does.
const LOOKED_AT: usize = 24;

/// Appends a row.
pub(crate) fn write<'a>(
    fields: impl Iterator<Item = (&'a TypeKind, Value)>,
    options: &CsvOptions,
    out: &mut String,
) -> Result<(), Misread> {
    for (i, (kind, value)) in fields.enumerate() {
        if i > 0 {
            out.push(options.delimiter);
        }
        let mut shown = String::new();
        write_value(&value, kind, options, &mut shown);
        let bare = value.is_null()
            || matches!(value, Value::Boolean(_))
            || (kind.is_numeric() && !matches!(kind, TypeKind::Decimal { .. }))
            || kind.is_interval();
        match options.quote {
            Some(quote) if !bare && wants_quotes(&shown, quote, options) => {
                out.push(quote);
                for c in shown.chars() {
                    match options.escape {
                        Some(escape) if c == quote || c == escape => out.push(escape),
                        None if c == quote => out.push(quote),
                        _ => {}
                    }
                    out.push(c);
                }
                out.push(quote);
            }
            None if shown.contains([options.delimiter, '\n', '\r']) && options.escape.is_none() => {
                let what = "the text holds the delimiter or an end of line, and quotes are disabled".to_owned();
                return Err(Misread { column: None, what });
            }
            None => {
                for c in shown.chars() {
                    match (options.escape, c) {
                        (Some(escape), '\n') => out.extend([escape, 'n']),
                        (Some(escape), '\r') => out.extend([escape, 'r']),
                        (Some(escape), c) if c == escape || c == options.delimiter => out.extend([escape, c]),
                        (_, c) => out.push(c),
                    }
                }
            }
            _ => out.push_str(&shown),
        }
    }
    Ok(())
}

/// Whether a text is quoted: where it is long, or holds a character up to the greatest that has a meaning.
fn wants_quotes(text: &str, quote: char, options: &CsvOptions) -> bool {
    let greatest = options.delimiter.max(quote).max(options.escape.unwrap_or('\0')).max('\r');
    let special = |c: char| {
        c <= greatest
            && (greatest < '~' || c == options.delimiter || c == quote || c < ' ' || Some(c) == options.escape)
    };
    text.chars().count() > LOOKED_AT || text.chars().any(special)
}

fn write_value(value: &Value, kind: &TypeKind, options: &CsvOptions, out: &mut String) {
    match (value, kind) {
        (Value::Null, _) => out.push_str(options.null_literal.as_deref().unwrap_or("")),
        (Value::Array(items), TypeKind::Array(element)) => {
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { &options.array_delimiter });
                write_value(item, &element.kind, options, out);
            }
        }
        (Value::Row(items), TypeKind::Row(fields)) => {
            for (i, (item, field)) in items.iter().zip(fields).enumerate() {
                out.push_str(if i == 0 { "" } else { &options.array_delimiter });
                write_value(item, &field.sql_type.kind, options, out);
            }
        }
        (Value::Decimal(n), TypeKind::Decimal { scale, .. }) => scalar::decimal(*n, *scale, !options.scientific, out),
        (value, kind) => scalar::write(value, kind, STYLE, out),
    }
}
