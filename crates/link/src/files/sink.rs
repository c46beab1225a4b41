//! Rows written to files, exactly once.
//!
//! A write of commits puts its rows into hidden files (`.part-….inprogress`), one per partition, and makes them durable.
//! Then it replaces the writer's book (`_gridhouse/<writer>`), which holds the commit up to which the table was written and
//! the files that are to be made visible: this is the moment at which the write has happened. Then the files are renamed. Who
//! opens the sink carries out what the book still asks for, and removes hidden files that it does not name. So after a crash at
//! any moment each row is visible exactly once, and the book tells where to go on. Readers pass over names with `.` and `_`.
//!
//! Claiming the sink raises the book's epoch; a writer that finds another one stops.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{CommitId, Error, Result, Value};
use gridhouse_flow::connector::{Sink, SinkChanges, SinkWriter};
use serde::{Deserialize, Serialize};

use super::csv;
use super::json;
use super::layout::{cannot, directory};
use super::options::{FileOptions, Format};
use super::row::{RowField, fields};

/// Where books are kept, below the table's directory.
const BOOKS: &str = "_gridhouse";

/// How far a writer is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Book {
    store: String,
    sink: String,
    epoch: u64,
    upto: u64,
    /// Files that are to be made visible: directory below the table's, hidden name, name.
    pending: Vec<(PathBuf, String, String)>,
}

pub(crate) struct FileSink {
    definition: Arc<TableDef>,
    options: FileOptions,
    writer: SinkWriter,
    /// Names the writer's files.
    name: String,
    fields: Vec<RowField>,
    /// The indices of the fields and of the partition columns in batches.
    places: (Vec<usize>, Vec<usize>),
    epoch: u64,
}

impl FileSink {
    pub(crate) fn new(definition: Arc<TableDef>, options: FileOptions, writer: SinkWriter) -> Self {
        let physical: Vec<usize> = definition.physical().collect();
        let place = |wanted: &dyn Fn(usize) -> bool| (0..physical.len()).filter(|&at| wanted(physical[at])).collect();
        let own =
            |i: usize| definition.column_kinds[i] == ColumnKind::Physical && !definition.partitioned_by.contains(&i);
        let partition = definition.partitioned_by.iter().filter_map(|i| physical.iter().position(|p| p == i)).collect();
        let places = (place(&own), partition);
        let name = format!("{:016x}", fingerprint(&writer));
        Self { fields: fields(&definition), definition, options, writer, name, places, epoch: 0 }
    }

    fn book_path(&self) -> PathBuf {
        self.options.path.join(BOOKS).join(&self.name)
    }

    fn book(&self) -> Result<Option<Book>> {
        let path = self.book_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(&path, error)),
        };
        let book: Book = serde_json::from_slice(&text).map_err(|error| {
            Error::corrupt(format!("{} is not the book of a sink", path.display()))
                .caused_by(error)
                .hint("restore it, or remove it and the sink's files, and write the table anew")
        })?;
        if book.store != format!("{:032x}", self.writer.store) || book.sink != self.writer.sink {
            return Err(Error::conflict(format!("{} is the book of another sink", path.display()))
                .hint("choose another 'path'"));
        }
        Ok(Some(book))
    }

    /// Replaces the book.
    fn put(&self, book: &Book) -> Result<()> {
        let path = self.book_path();
        let hidden = path.with_extension("new");
        let text =
            serde_json::to_vec(book).map_err(|error| Error::internal("a book cannot be written").caused_by(error))?;
        write_file(&hidden, &text)?;
        fs::rename(&hidden, &path).map_err(|error| cannot(&path, error))?;
        sync_directory(&self.options.path.join(BOOKS))
    }

    /// Makes visible what the book asks for.
    fn publish(&self, book: &Book) -> Result<()> {
        let mut touched: Vec<PathBuf> = Vec::new();
        for (below, hidden, name) in &book.pending {
            let directory = self.options.path.join(below);
            match fs::rename(directory.join(hidden), directory.join(name)) {
                Ok(()) => {}
                // It was renamed before, and may have been moved on since.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot(&directory, error)),
            }
            if !touched.contains(&directory) {
                touched.push(directory);
            }
        }
        touched.iter().try_for_each(|directory| sync_directory(directory))
    }

    /// Removes hidden files of this writer that no book names.
    fn clean(&self, directory: &Path, depth: usize) -> Result<()> {
        for entry in fs::read_dir(directory).map_err(|error| cannot(directory, error))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with(&format!(".part-{}-", self.name)) && name.ends_with(".inprogress") {
                fs::remove_file(&path).map_err(|error| cannot(&path, error))?;
            } else if depth > 0 && path.is_dir() {
                self.clean(&path, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Writes the rows of `changes` to hidden files.
    fn write_parts(&self, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<Vec<(PathBuf, String, String)>> {
        let mut open: BTreeMap<PathBuf, Part> = BTreeMap::new();
        let mut finished = Vec::new();
        let mut text = String::new();
        for batch in changes {
            let batch = batch?;
            for row in 0..batch.len() {
                if batch.kinds[row] != RowKind::Insert {
                    return Err(Error::invalid(format!(
                        "files take only insertions, and a change '{}' is to be written to {}",
                        batch.kinds[row].short(),
                        self.options.path.display()
                    ))
                    .hint("write a query that never takes a row back"));
                }
                let value = |at: usize, kind| Value::from_array(&batch.columns[at], row, kind);
                let partition: Vec<Value> = self
                    .definition
                    .partitioned_by
                    .iter()
                    .zip(&self.places.1)
                    .map(|(&i, &at)| value(at, &self.definition.schema.columns[i].sql_type.kind))
                    .collect();
                let below = directory(&self.definition, &self.options, &partition);
                text.clear();
                let cells = self.fields.iter().zip(&self.places.0);
                let written = match &self.options.format {
                    Format::Json(options) => {
                        let cells =
                            cells.map(|(field, &at)| (field.name.as_str(), &field.kind, value(at, &field.kind)));
                        json::write(cells, options, &mut text)
                    }
                    Format::Csv(options) => {
                        csv::write(cells.map(|(field, &at)| (&field.kind, value(at, &field.kind))), options, &mut text)
                    }
                };
                written.map_err(|misread| {
                    Error::invalid(format!(
                        "a row cannot be written to {}: {}",
                        self.options.path.display(),
                        misread.text()
                    ))
                    .hint("change the query or the option that the message names")
                })?;
                text.push('\n');
                let number = finished.len() + open.len();
                let part = match open.remove(&below) {
                    Some(part) => part,
                    None => {
                        Part::create(&self.options.path, &below, format!("part-{}-{}-{number}", self.name, upto.0))?
                    }
                };
                let part = part.write(text.as_bytes())?;
                if part.bytes >= self.options.file_bytes {
                    finished.push(part.finish()?);
                } else {
                    open.insert(below, part);
                }
            }
        }
        for part in open.into_values() {
            finished.push(part.finish()?);
        }
        Ok(finished)
    }
}

/// A file under construction.
struct Part {
    below: PathBuf,
    directory: PathBuf,
    name: String,
    /// Opened for each buffer: a write may have more partitions than a process may have open files.
    buffer: Vec<u8>,
    bytes: u64,
}

/// Bytes of a part that wait to be written.
const BUFFER_BYTES: usize = 256 * 1024;

impl Part {
    fn create(root: &Path, below: &Path, name: String) -> Result<Self> {
        let directory = root.join(below);
        fs::create_dir_all(&directory).map_err(|error| cannot(&directory, error))?;
        let part = Self { below: below.to_owned(), directory, name, buffer: Vec::new(), bytes: 0 };
        write_file(&part.hidden(), b"")?;
        Ok(part)
    }

    fn hidden(&self) -> PathBuf {
        self.directory.join(format!(".{}.inprogress", self.name))
    }

    fn write(mut self, text: &[u8]) -> Result<Self> {
        self.buffer.extend_from_slice(text);
        self.bytes += text.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(self)
    }

    fn flush(&mut self) -> Result<File> {
        let path = self.hidden();
        let mut file = File::options().append(true).open(&path).map_err(|error| cannot(&path, error))?;
        file.write_all(&self.buffer).map_err(|error| cannot(&path, error))?;
        self.buffer.clear();
        Ok(file)
    }

    fn finish(mut self) -> Result<(PathBuf, String, String)> {
        self.flush()?.sync_data().map_err(|error| cannot(&self.directory, error))?;
        sync_directory(&self.directory)?;
        Ok((self.below, format!(".{}.inprogress", self.name), self.name))
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(|error| cannot(path, error))?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|error| cannot(path, error))
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| cannot(path, error))
}

/// FNV-1a with 64 bits of store and sink; the book holds both in full and is compared.
fn fingerprint(writer: &SinkWriter) -> u64 {
    let bytes = writer.store.to_be_bytes().into_iter().chain(writer.sink.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Sink for FileSink {
    fn position(&mut self) -> Result<CommitId> {
        let books = self.options.path.join(BOOKS);
        fs::create_dir_all(&books).map_err(|error| cannot(&books, error))?;
        let mut book = self.book()?.unwrap_or_else(|| Book {
            store: format!("{:032x}", self.writer.store),
            sink: self.writer.sink.clone(),
            ..Book::default()
        });
        self.publish(&book)?;
        self.clean(&self.options.path, self.definition.partitioned_by.len())?;
        (book.epoch, book.pending) = (book.epoch + 1, Vec::new());
        self.put(&book)?;
        self.epoch = book.epoch;
        Ok(CommitId(book.upto))
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let book = self.book()?.filter(|book| book.epoch == self.epoch && book.upto == from.0).ok_or_else(|| {
            Error::conflict(format!(
                "sink {} is fenced: another process has taken it over",
                self.options.path.display()
            ))
        })?;
        let pending = self.write_parts(upto, changes)?;
        let book = Book { upto: upto.0, pending, ..book };
        self.put(&book)?;
        // From here the rows are written. What cannot be made visible now, the next opening makes visible.
        self.publish(&book)
    }
}
