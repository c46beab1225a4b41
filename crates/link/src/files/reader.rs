//! Reads the rows of a file from a place within it, a batch at a time.
//!
//! A place is an offset where a record begins, so that a reading can go on exactly after what was delivered. A row that
//! cannot be read costs itself only: after an open quote the reading goes on with the line after the one that opened it.
//! What was looked through behind such a quote is not looked through again for each of these lines (`DeadEnd`), so that a
//! file is read about twice at most.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::ArrayRef;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, Value};

use super::csv::{self, Splitter};
use super::json;
use super::layout::{self, FileInfo, cannot};
use super::options::{FileOptions, Format, OnError};
use super::row::{Misread, Origin, RowField, fields, origins};
use super::scalar::cut;

/// Rows of a batch at most: one chunk of the engine.
const BATCH_ROWS: usize = 16_384;

/// Bytes of text of a batch at most, so that batches of wide rows stay small too.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of a record at most: what is longer is not a row but a file that is none of this format.
const RECORD_BYTES: u64 = 16 * 1024 * 1024;

/// Characters of a row that a message shows.
const SHOWN: usize = 200;

/// How rows become columns.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan {
    definition: Arc<TableDef>,
    options: FileOptions,
    fields: Vec<RowField>,
    /// The columns that are wanted, as indices of the definition.
    columns: Vec<usize>,
    origins: Vec<Origin>,
    /// The places of the fields that are wanted, in the order of the columns, and these fields.
    wanted: Vec<usize>,
    wanted_fields: Vec<RowField>,
}

impl ReadPlan {
    /// A plan for the columns at `columns` of the definition.
    pub(crate) fn new(definition: Arc<TableDef>, options: FileOptions, columns: Vec<usize>) -> Result<Self> {
        let origins = origins(&definition, &columns)?;
        let field = |origin: &Origin| if let Origin::Field(at) = origin { Some(*at) } else { None };
        let wanted: Vec<usize> = origins.iter().filter_map(field).collect();
        let fields = fields(&definition);
        let wanted_fields = wanted.iter().map(|&at| fields[at].clone()).collect();
        Ok(Self { fields, definition, options, columns, origins, wanted, wanted_fields })
    }

    /// What the options say.
    pub(crate) fn options(&self) -> &FileOptions {
        &self.options
    }
}

/// A place in a file where a record begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The offset.
    pub offset: u64,
    /// How many lines are before it.
    pub line: u64,
}

/// Rows of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The columns.
    pub columns: Vec<ArrayRef>,
    /// The number of rows.
    pub len: usize,
    /// Rows that could not be read, with the reason.
    pub rejected: Vec<(String, Error)>,
    /// Whether the file ends with it.
    pub ended: bool,
}

/// A file that is read.
pub(crate) struct FileReader {
    plan: Arc<ReadPlan>,
    file: FileInfo,
    input: BufReader<File>,
    place: Place,
    partition: Vec<Value>,
    dead_end: Option<DeadEnd>,
}

/// Where a record with an open quote came to nothing. A later record that leaves a quote open at the end of a line before that
/// is split from there on as the first one was, since only the open quote counts, and so it comes to the same.
#[derive(Clone, Debug)]
struct DeadEnd {
    /// Where the line begins that could not be taken.
    offset: u64,
    /// Why.
    what: String,
}

/// A record, or why there is none.
enum Record {
    /// A row's fields.
    Row(Vec<Value>),
    /// A line that is no row: blank in JSON, or a comment.
    Nothing,
    /// A row that cannot be read.
    Bad(String, Misread),
    /// The end of the file.
    End,
}

impl FileReader {
    /// Opens `file` at `place`.
    pub(crate) fn open(plan: Arc<ReadPlan>, file: FileInfo, place: Place) -> Result<Self> {
        let partition = layout::partition(&plan.definition, &plan.options, &file.path)?;
        let mut input = BufReader::new(File::open(&file.path).map_err(|error| cannot(&file.path, error))?);
        input.seek(SeekFrom::Start(place.offset)).map_err(|error| cannot(&file.path, error))?;
        let mut reader = Self { plan, file, input, place, partition, dead_end: None };
        if place.offset == 0 {
            // A mark of byte order is not text.
            let marked =
                reader.input.fill_buf().map_err(|error| cannot(&reader.file.path, error))?.starts_with(b"\xef\xbb\xbf");
            if marked {
                reader.input.consume(3);
                reader.place.offset = 3;
            }
        }
        Ok(reader)
    }

    /// Where the next record begins.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The next rows; those that cannot be read are handled as the options say.
    ///
    /// # Errors
    /// `Invalid` for a row that cannot be read, naming file, line and column; `Unavailable` where the file cannot be.
    pub(crate) fn piece(&mut self) -> Result<Piece> {
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let (mut rejected, mut ended) = (Vec::new(), false);
        let from = self.place.offset;
        while rows.len() < BATCH_ROWS && rejected.len() < BATCH_ROWS && self.place.offset - from < BATCH_BYTES {
            let line = self.place.line + 1;
            let record = self.record().map_err(|error| cannot(&self.file.path, error))?;
            let (text, misread) = match record {
                Record::Nothing => continue,
                Record::End => {
                    ended = true;
                    break;
                }
                Record::Bad(text, misread) => (text, misread),
                Record::Row(values) => match self.null_where_none_may_be(&values) {
                    None => {
                        rows.push(values);
                        continue;
                    }
                    Some(misread) => {
                        let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                        (shown.join(", "), misread)
                    }
                },
            };
            let error = self.error(line, &text, &misread);
            match self.plan.options.on_error {
                OnError::Fail => return Err(error),
                OnError::Ignore => {}
                OnError::DeadLetter => rejected.push((text, error)),
            }
        }
        Ok(Piece { columns: self.columns(&rows), len: rows.len(), rejected, ended })
    }

    fn error(&self, line: u64, text: &str, misread: &Misread) -> Error {
        let format = if matches!(self.plan.options.format, Format::Json(_)) { "json" } else { "csv" };
        Error::invalid(format!(
            "file {}, line {line}, {}; the row is: {}",
            self.file.path.display(),
            misread.text(),
            cut(text, SHOWN)
        ))
        .hint(format!(
            "mend the row, or set '{format}.ignore-parse-errors' = 'true' (leaves it out) or 'on-error' = 'dead-letter' (keeps it apart)"
        ))
    }

    /// A column without NULL that has one.
    fn null_where_none_may_be(&self, values: &[Value]) -> Option<Misread> {
        let mut fields = values.iter();
        for (&i, origin) in self.plan.columns.iter().zip(&self.plan.origins) {
            let column = &self.plan.definition.schema.columns[i];
            let null = match origin {
                Origin::Field(_) => fields.next().is_none_or(Value::is_null),
                Origin::Partition(at) => self.partition[*at].is_null(),
                _ => false,
            };
            if null && !column.sql_type.nullable {
                let what = "NULL stands in a column that is declared NOT NULL".to_owned();
                return Some(Misread { column: Some(column.name.clone()), what });
            }
        }
        None
    }

    fn columns(&self, rows: &[Vec<Value>]) -> Vec<ArrayRef> {
        let mut next_field = 0;
        let column = |(&i, origin): (&usize, &Origin)| {
            let kind = &self.plan.definition.schema.columns[i].sql_type.kind;
            let constant = match origin {
                Origin::Field(_) => {
                    let values: Vec<&Value> = rows.iter().map(|row| &row[next_field]).collect();
                    next_field += 1;
                    return Value::array_of(&values, kind);
                }
                Origin::Partition(at) => self.partition[*at].clone(),
                Origin::Path => Value::Text(self.file.path.to_string_lossy().into()),
                Origin::Name => Value::Text(self.file.path.file_name().unwrap_or_default().to_string_lossy().into()),
                Origin::Size => Value::Integer(self.file.bytes as i64),
                Origin::Modified => {
                    let per_second = match kind {
                        gridhouse_base::TypeKind::TimestampLtz(p) => {
                            gridhouse_base::types::timestamp_units_per_second(*p)
                        }
                        _ => 1_000,
                    };
                    Value::Integer(self.file.modified_millis.saturating_mul(per_second / 1_000))
                }
            };
            constant.to_array(kind, rows.len())
        };
        self.plan.columns.iter().zip(&self.plan.origins).map(column).collect()
    }

    /// Reads a line, without its newline; `None` at the end of the file. A line beyond the limit is passed over, and only its
    /// beginning is given, with `false`.
    fn line(&mut self) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(RECORD_BYTES).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.place.offset += read;
        self.place.line += 1;
        let whole = line.ends_with(b"\n") || read < RECORD_BYTES;
        if !whole {
            let mut rest = Vec::new();
            loop {
                rest.clear();
                let more = (&mut self.input).take(BATCH_BYTES).read_until(b'\n', &mut rest)? as u64;
                self.place.offset += more;
                if more == 0 || rest.ends_with(b"\n") {
                    break;
                }
            }
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        Ok(Some((line, whole)))
    }

    fn record(&mut self) -> std::io::Result<Record> {
        let Some((line, whole)) = self.line()? else { return Ok(Record::End) };
        let misread = |what: String| Misread { column: None, what };
        if !whole {
            let text = String::from_utf8_lossy(&line[..1_024]).into_owned();
            return Ok(Record::Bad(
                text,
                misread(format!("the line is longer than {} MB", RECORD_BYTES / 1024 / 1024)),
            ));
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Ok(Record::Bad(
                String::from_utf8_lossy(&line).into_owned(),
                misread("the text is not UTF-8".into()),
            ));
        };
        let (ended_by_two, text) = (text, text.strip_suffix('\r').unwrap_or(text));
        let plan = self.plan.clone();
        let lenient = plan.options.on_error == OnError::Ignore;
        match &plan.options.format {
            Format::Json(_) if text.trim().is_empty() => Ok(Record::Nothing),
            Format::Json(options) => Ok(match json::read(text, &plan.wanted_fields, options, lenient) {
                Ok(values) => Record::Row(values),
                Err(misread) => Record::Bad(text.to_owned(), misread),
            }),
            Format::Csv(options) if options.comments && text.starts_with('#') => Ok(Record::Nothing),
            Format::Csv(options) => {
                let after_first = self.place;
                let mut splitter = Splitter::new(options, plan.fields.len());
                let split = self.split(&mut splitter, ended_by_two)?;
                if let Err(what) = split {
                    // What follows may be rows of their own.
                    if self.place != after_first {
                        self.input.seek(SeekFrom::Start(after_first.offset))?;
                        self.place = after_first;
                    }
                    return Ok(Record::Bad(text.to_owned(), misread(what)));
                }
                Ok(match csv::read(&splitter, &plan.fields, &plan.wanted, options, lenient) {
                    Ok(values) => Record::Row(values),
                    Err(misread) => Record::Bad(text.to_owned(), misread),
                })
            }
        }
    }

    /// Splits a record that begins with the line `first`.
    fn split(&mut self, splitter: &mut Splitter<'_>, first: &str) -> std::io::Result<Result<(), String>> {
        let from = self.place.offset;
        let mut ended = splitter.line(first);
        while ended == Ok(false) {
            let offset = self.place.offset;
            if let Some(known) = self.dead_end.as_ref().filter(|known| offset <= known.offset) {
                return Ok(Err(known.what.clone()));
            }
            let open = "a quote is left open".to_owned();
            ended = if offset - from > RECORD_BYTES {
                Err(open)
            } else {
                match self.line()? {
                    Some((line, true)) => match std::str::from_utf8(&line) {
                        Ok(line) => splitter.line(line),
                        Err(_) => Err("the text is not UTF-8".into()),
                    },
                    _ => Err(open),
                }
            };
            if let Err(what) = &ended {
                self.dead_end = Some(DeadEnd { offset, what: what.clone() });
            }
        }
        Ok(ended.map(|_| ()))
    }
}
