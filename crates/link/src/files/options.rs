//! The options of `filesystem` and its formats: Flink's own keys, and `on-error`, which is ours.

use std::path::PathBuf;
use std::time::Duration;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result};
use regex::Regex;

use crate::options::{Keys, Options, Use};

const VISIBLE: &str = "what a write of commits brings is visible at once";
const COMMITTED: &str = "there is nobody to tell that a partition is complete";

static KEYS: Keys = Keys {
    connector: "filesystem",
    known: &[
        ("path", Use::Effect),
        ("format", Use::Effect),
        ("on-error", Use::Effect),
        ("partition.default-name", Use::Effect),
        ("source.monitor-interval", Use::Effect),
        ("source.path.regex-pattern", Use::Effect),
        ("source.report-statistics", Use::Noted("queries do not use statistics of files")),
        ("sink.rolling-policy.file-size", Use::Effect),
        ("sink.rolling-policy.rollover-interval", Use::Noted(VISIBLE)),
        ("sink.rolling-policy.inactivity-interval", Use::Noted(VISIBLE)),
        ("sink.rolling-policy.check-interval", Use::Noted(VISIBLE)),
        ("auto-compaction", Use::Noted("files are not merged")),
        ("compaction.file-size", Use::Noted("files are not merged")),
        ("compaction.parallelism", Use::Noted("files are not merged")),
        ("sink.shuffle-by-partition.enable", Use::Noted("a sink has one writer")),
        ("sink.parallelism", Use::Noted("a sink has one writer")),
        ("json.ignore-parse-errors", Use::Effect),
        ("json.fail-on-missing-field", Use::Effect),
        ("json.timestamp-format.standard", Use::Effect),
        ("json.map-null-key.mode", Use::Effect),
        ("json.map-null-key.literal", Use::Effect),
        ("json.encode.decimal-as-plain-number", Use::Effect),
        ("json.encode.ignore-null-fields", Use::Effect),
        ("json.decode.json-parser.enabled", Use::Noted("there is one way of reading, which gives the same")),
        ("csv.field-delimiter", Use::Effect),
        ("csv.disable-quote-character", Use::Effect),
        ("csv.quote-character", Use::Effect),
        ("csv.allow-comments", Use::Effect),
        ("csv.ignore-parse-errors", Use::Effect),
        ("csv.array-element-delimiter", Use::Effect),
        ("csv.escape-character", Use::Effect),
        ("csv.null-literal", Use::Effect),
        ("csv.write-bigdecimal-in-scientific-notation", Use::Effect),
    ],
    prefixes: &[
        ("sink.partition-commit.", COMMITTED),
        ("partition.time-extractor.", COMMITTED),
        ("sink.rolling-policy.", VISIBLE),
    ],
};

/// Flink's default of `sink.rolling-policy.file-size`.
const FILE_BYTES: u64 = 128 * 1024 * 1024;

/// What the options of a table say.
#[derive(Clone, Debug)]
pub(crate) struct FileOptions {
    /// A directory, or for reading a file.
    pub path: PathBuf,
    /// The format.
    pub format: Format,
    /// What becomes of a row that cannot be read.
    pub on_error: OnError,
    /// The directory's name for NULL in a partition column.
    pub default_partition: String,
    /// How often the directory is looked through for new files; `None`: once.
    pub monitor: Option<Duration>,
    /// What the whole path of a file must match.
    pub pattern: Option<Regex>,
    /// Bytes after which a file that is written is followed by another.
    pub file_bytes: u64,
}

/// What becomes of a row that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The reading ends with an error.
    Fail,
    /// As in Flink: values that do not fit are NULL, rows that cannot be read are left out.
    Ignore,
    /// The row is handed to the engine, which keeps it apart.
    DeadLetter,
}

/// How rows are written.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// A JSON object per line.
    Json(JsonOptions),
    /// Comma-separated values.
    Csv(CsvOptions),
}

/// `json.*`
#[derive(Clone, Debug)]
pub(crate) struct JsonOptions {
    /// Whether a field that is not there is an error instead of NULL.
    pub fail_on_missing: bool,
    /// What stands between date and time: `T` for `ISO-8601`, a blank for `SQL`.
    pub separator: char,
    /// What becomes of a map's entry whose key is NULL.
    pub null_key: NullKey,
    /// Decimals without exponents.
    pub plain_decimals: bool,
    /// Fields that are NULL are left out.
    pub leave_out_nulls: bool,
}

/// What becomes of a map's entry whose key is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NullKey {
    /// The write fails.
    Fail,
    /// The entry is left out.
    Drop,
    /// The key is this text.
    Literal(String),
}

/// `csv.*`
#[derive(Clone, Debug)]
pub(crate) struct CsvOptions {
    /// Between fields.
    pub delimiter: char,
    /// Around fields.
    pub quote: Option<char>,
    /// Whether lines that begin with `#` are left out.
    pub comments: bool,
    /// Between elements of an array.
    pub array_delimiter: String,
    /// Before a character that is to be taken as it is.
    pub escape: Option<char>,
    /// The text that stands for NULL.
    pub null_literal: Option<String>,
    /// Decimals with exponents where Java writes them so.
    pub scientific: bool,
}

impl FileOptions {
    /// Reads the options of `definition`.
    pub(crate) fn read(definition: &TableDef, notices: &mut Vec<String>) -> Result<Self> {
        let options = Options::check(&KEYS, &definition.options, notices)?;
        let name = options.required("format")?;
        let (format, ignore) = match name {
            "json" => (Format::Json(json(&options)?), options.flag("json.ignore-parse-errors", false)?),
            "csv" => (Format::Csv(csv(&options)?), options.flag("csv.ignore-parse-errors", false)?),
            other => {
                return Err(Error::invalid(format!("option 'format' of connector 'filesystem' is '{other}'"))
                    .hint("write 'json' or 'csv'"));
            }
        };
        for key in definition.options.keys() {
            let foreign = if name == "json" { "csv." } else { "json." };
            if key.starts_with(foreign) {
                notices.push(format!("option '{key}' has no effect: the format is '{name}'"));
            }
        }
        let on_error = match (options.word("on-error", "fail", &["fail", "dead-letter"])?, ignore) {
            ("fail", false) => OnError::Fail,
            ("fail", true) => OnError::Ignore,
            (_, false) => OnError::DeadLetter,
            (_, true) => {
                return Err(Error::invalid(format!(
                    "options '{name}.ignore-parse-errors' and 'on-error' = 'dead-letter' contradict each other"
                ))
                .hint("leave one of them out: the first drops what cannot be read, the second keeps it apart"));
            }
        };
        let monitor =
            options.get("source.monitor-interval").map(|_| options.duration("source.monitor-interval", Duration::ZERO));
        let monitor = monitor.transpose()?;
        if monitor.is_some_and(|interval| interval.is_zero()) {
            return Err(
                Error::invalid("option 'source.monitor-interval' is zero").hint("write a duration, as in '10 s'")
            );
        }
        let pattern = options.get("source.path.regex-pattern").filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|pattern| {
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                Error::invalid(format!("option 'source.path.regex-pattern' is not a regular expression: {error}"))
                    .hint("it is compared with the whole path, as in '.*/readings_.*[.]csv'")
            })
        });
        Ok(Self {
            path: path(options.required("path")?)?,
            format,
            on_error,
            default_partition: options.get("partition.default-name").unwrap_or("__DEFAULT_PARTITION__").to_owned(),
            monitor,
            pattern: pattern.transpose()?,
            file_bytes: options.bytes("sink.rolling-policy.file-size", FILE_BYTES)?.max(1),
        })
    }
}

/// A local path; other places are refused.
fn path(text: &str) -> Result<PathBuf> {
    let local = match text.split_once(':') {
        Some(("file", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some((scheme, rest)) if rest.starts_with("//") => {
            return Err(Error::invalid(format!("option 'path' names a place of the kind '{scheme}'"))
                .hint("files are read and written on this machine: write 'file:///…' or a plain path"));
        }
        _ => text,
    };
    let path = PathBuf::from(local);
    std::path::absolute(&path).map_err(|error| {
        Error::invalid(format!("option 'path' is '{text}', which is no path"))
            .caused_by(error)
            .hint("write 'file:///…'")
    })
}

fn json(options: &Options<'_>) -> Result<JsonOptions> {
    let standard = options.word("json.timestamp-format.standard", "SQL", &["SQL", "ISO-8601"])?;
    let mode = options.word("json.map-null-key.mode", "FAIL", &["FAIL", "DROP", "LITERAL"])?;
    Ok(JsonOptions {
        fail_on_missing: options.flag("json.fail-on-missing-field", false)?,
        separator: if standard == "SQL" { ' ' } else { 'T' },
        null_key: match mode {
            "FAIL" => NullKey::Fail,
            "DROP" => NullKey::Drop,
            _ => NullKey::Literal(options.get("json.map-null-key.literal").unwrap_or("null").to_owned()),
        },
        plain_decimals: options.flag("json.encode.decimal-as-plain-number", false)?,
        leave_out_nulls: options.flag("json.encode.ignore-null-fields", false)?,
    })
}

fn csv(options: &Options<'_>) -> Result<CsvOptions> {
    let character =
        |key: &str| -> Result<Option<char>> {
            let Some(text) = options.get(key) else { return Ok(None) };
            let text = unescaped(text);
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Some(c)),
                _ => Err(Error::invalid(format!("option '{key}' is '{text}'"))
                    .hint(r"write one character, as in ';' or '\t'")),
            }
        };
    let disabled = options.flag("csv.disable-quote-character", false)?;
    let quote = character("csv.quote-character")?;
    if disabled && quote.is_some() {
        return Err(Error::invalid(
            "options 'csv.disable-quote-character' and 'csv.quote-character' contradict each other",
        )
        .hint("leave one of them out"));
    }
    let array_delimiter = unescaped(options.get("csv.array-element-delimiter").unwrap_or(";"));
    if array_delimiter.is_empty() {
        return Err(Error::invalid("option 'csv.array-element-delimiter' is empty").hint("write a text, as in ';'"));
    }
    let delimiter = character("csv.field-delimiter")?.unwrap_or(',');
    let quote = if disabled { None } else { Some(quote.unwrap_or('"')) };
    let escape = character("csv.escape-character")?;
    if Some(delimiter) == quote || Some(delimiter) == escape || matches!(delimiter, '\n' | '\r') {
        return Err(Error::invalid(format!(
            "option 'csv.field-delimiter' is {delimiter:?}, which has another meaning"
        ))
        .hint("choose a character that is neither quote, escape nor end of line"));
    }
    Ok(CsvOptions {
        delimiter,
        quote,
        comments: options.flag("csv.allow-comments", false)?,
        array_delimiter,
        escape,
        null_literal: options.get("csv.null-literal").map(str::to_owned),
        scientific: options.flag("csv.write-bigdecimal-in-scientific-notation", true)?,
    })
}

/// Undoes Java's escapes: `\t`, `\\`, `\u0001`.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                out.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
