//! Rows written to files, exactly once.
//!
//! A write of commits puts its rows into hidden files (`.part-….inprogress`), one per partition, and makes them and the
//! directories above them durable. Then it replaces the writer's [`Book`], which holds the commit up to which the table was
//! written and the files that are to be made visible: this is the moment at which the write has happened. Then the files are
//! renamed, and the book is told so: whoever takes them from here may move them on. Who opens the sink carries out what the book
//! still asks for, and removes hidden files that it does not name. So after a crash at any moment each row is visible exactly
//! once, and the book tells where to go on. Readers pass over names with `.` and `_`.
//!
//! Claiming the sink raises the book's epoch; a writer that finds another one stops. Claims and writes lock a file beside the
//! book from their first look at it to its replacement and the names of the files, so that none comes into the midst of another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::fs::File;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{CommitId, Error, Result, Value};
use gridhouse_flow::connector::{MayGoOn, Sink, SinkChanges, SinkWriter, Standing};

use super::book::{BOOKS, Book, Pending, Shelf};
use super::csv;
use super::disk::Disk;
use super::json;
use super::layout::{cannot, directory};
use super::options::{FileOptions, Format};
use super::row::{RowField, fields};

pub(crate) struct FileSink {
    definition: Arc<TableDef>,
    options: FileOptions,
    disk: Disk,
    shelf: Shelf,
    fields: Vec<RowField>,
    /// The indices of the fields and of the partition columns in batches.
    places: (Vec<usize>, Vec<usize>),
    epoch: u64,
    /// The store's history now, and that under which the files were last written.
    histories: (u64, Option<u64>),
}

impl FileSink {
    pub(crate) fn new(definition: Arc<TableDef>, options: FileOptions, writer: &SinkWriter, disk: Disk) -> Self {
        let physical: Vec<usize> = definition.physical().collect();
        let place = |wanted: &dyn Fn(usize) -> bool| (0..physical.len()).filter(|&at| wanted(physical[at])).collect();
        let own =
            |i: usize| definition.column_kinds[i] == ColumnKind::Physical && !definition.partitioned_by.contains(&i);
        let partition = definition.partitioned_by.iter().filter_map(|i| physical.iter().position(|p| p == i)).collect();
        let places = (place(&own), partition);
        let shelf = Shelf::of(options.path.clone(), writer, disk.clone());
        Self {
            fields: fields(&definition),
            definition,
            options,
            disk,
            shelf,
            places,
            epoch: 0,
            histories: (writer.history, None),
        }
    }

    /// The book as this writer has left it, at `upto`.
    fn own_book(&self, upto: CommitId) -> Result<Book> {
        let root = self.options.path.display();
        match self.shelf.book()? {
            Some(book) if book.epoch == self.epoch && book.upto == upto.0 => Ok(book),
            Some(_) => Err(self.fenced()),
            None => Err(Error::unavailable(format!("the book of sink {root} is gone; it is looked at again"))),
        }
    }

    fn fenced(&self) -> Error {
        let root = self.options.path.display();
        Error::conflict(format!("sink {root} is fenced: another process has taken it over"))
            .hint("stop the other process that writes it, then START JOB here")
    }

    /// Replaces the book.
    fn put(&self, book: &Book) -> Result<()> {
        let path = self.shelf.path();
        let hidden = path.with_extension("new");
        self.disk.put(&hidden, &Shelf::text(book)?)?;
        if !self.disk.rename(&hidden, &path)? {
            return Err(Error::unavailable(format!("{} has been removed by somebody else", hidden.display())));
        }
        self.disk.sync_directory(&self.options.path.join(BOOKS))
    }

    /// Makes visible what the book asks for.
    fn publish(&self, book: &Book) -> Result<()> {
        let mut touched = BTreeSet::new();
        for (below, hidden, name) in &book.pending {
            let directory = self.options.path.join(below);
            let visible = directory.join(name);
            // What has its name was renamed before, which may not be durable yet.
            if !self.disk.rename(&directory.join(hidden), &visible)? && !self.disk.is_there(&visible)? {
                return Err(self.shelf.gone(&visible));
            }
            touched.insert(directory);
        }
        touched.iter().try_for_each(|directory| self.disk.sync_if_there(directory))
    }

    /// Checks that the book goes with the files of this writer that are visible.
    fn check(&self, book: Option<&Book>, directory: &Path, depth: usize) -> Result<()> {
        for name in self.disk.list(directory)? {
            self.shelf.check_visible(book, directory, &name.to_string_lossy())?;
            if depth > 0 {
                self.check(book, &directory.join(name), depth - 1)?;
            }
        }
        Ok(())
    }

    /// Removes hidden files of this writer that no book names.
    fn clean(&self, directory: &Path, depth: usize) -> Result<()> {
        for name in self.disk.list(directory)? {
            let path = directory.join(&name);
            if self.shelf.is_hidden(&name.to_string_lossy()) {
                self.disk.remove(&path)?;
            } else if depth > 0 {
                self.clean(&path, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Writes the rows of `changes` to hidden files.
    fn write_parts(&self, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<Vec<Pending>> {
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
                    None => Part::create(&self.disk, &self.options.path, &below, self.shelf.file_name(upto, number))?,
                };
                let part = part.write(&self.disk, text.as_bytes())?;
                if part.bytes >= self.options.file_bytes {
                    finished.push(part.finish(&self.disk)?);
                } else {
                    open.insert(below, part);
                }
            }
        }
        for part in open.into_values() {
            finished.push(part.finish(&self.disk)?);
        }
        self.sync_names(&finished)?;
        Ok(finished)
    }

    /// Makes the names of hidden files durable, and those of the directories that lead to them.
    fn sync_names(&self, parts: &[Pending]) -> Result<()> {
        let directories: BTreeSet<&Path> = parts.iter().flat_map(|(below, ..)| below.ancestors()).collect();
        directories.into_iter().try_for_each(|below| self.disk.sync_directory(&self.options.path.join(below)))
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
    fn create(disk: &Disk, root: &Path, below: &Path, name: String) -> Result<Self> {
        let directory = root.join(below);
        disk.create_directory(&directory)?;
        let part = Self { below: below.to_owned(), directory, name, buffer: Vec::new(), bytes: 0 };
        disk.create(&part.hidden())?;
        Ok(part)
    }

    fn hidden(&self) -> PathBuf {
        self.directory.join(Shelf::hidden(&self.name))
    }

    fn write(mut self, disk: &Disk, text: &[u8]) -> Result<Self> {
        self.buffer.extend_from_slice(text);
        self.bytes += text.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush(disk)?;
        }
        Ok(self)
    }

    fn flush(&mut self, disk: &Disk) -> Result<Arc<dyn File>> {
        let written = self.bytes - self.buffer.len() as u64;
        let file = disk.write_at(&self.hidden(), &self.buffer, written)?;
        self.buffer.clear();
        Ok(file)
    }

    fn finish(mut self, disk: &Disk) -> Result<Pending> {
        self.flush(disk)?.sync_data().map_err(|error| cannot(&self.hidden(), error))?;
        Ok((self.below, Shelf::hidden(&self.name), self.name))
    }
}

impl Sink for FileSink {
    fn claim(&mut self, may_go_on: MayGoOn<'_>) -> Result<CommitId> {
        let books = self.options.path.join(BOOKS);
        self.disk.create_directory(&books)?;
        // Whoever is in a write has it through, or ends with it in doubt: only then the book tells.
        let Some(_lock) = self.shelf.lock()? else {
            let root = self.options.path.display();
            return Err(Error::unavailable(format!("sink {root} is being written by another that claimed it before"))
                .hint("its write is waited for; stop the other process that writes it if that is not to go on"));
        };
        let book = self.shelf.book()?;
        match book {
            // It is believed from here on, and whoever wrote it may have been killed before its name was durable.
            Some(_) => self.disk.sync_directory(&books)?,
            None => self.disk.sync_above(&books)?,
        }
        self.check(book.as_ref(), &self.options.path, self.definition.partitioned_by.len())?;
        let mut book = book.unwrap_or_else(|| self.shelf.new_book());
        let (upto, history) = (CommitId(book.upto), book.history);
        may_go_on(&Standing { upto, history, emptied_by: self.emptied_by() })?;
        self.publish(&book)?;
        self.clean(&self.options.path, self.definition.partitioned_by.len())?;
        (book.epoch, book.pending) = (book.epoch + 1, Vec::new());
        self.put(&book)?;
        self.epoch = book.epoch;
        self.histories.1 = book.history;
        Ok(CommitId(book.upto))
    }

    fn history(&self) -> Option<u64> {
        self.histories.1
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        // Whoever holds it claims the sink, or has claimed it since.
        let Some(_lock) = self.shelf.lock()? else { return Err(self.fenced()) };
        self.own_book(from)?;
        let pending = self.write_parts(upto, changes)?;
        // Once more, since a lock is lost with its file.
        let book = self.own_book(from)?;
        let history = Some(self.histories.0);
        let mut book = Book { upto: upto.0, history, pending, ..book };
        self.put(&book)?;
        self.histories.1 = history;
        // From here the rows are written. What cannot be made visible now, the next opening makes visible.
        self.publish(&book)?;
        if book.pending.is_empty() {
            return Ok(());
        }
        book.pending.clear();
        self.put(&book)
    }

    fn look(&mut self, upto: CommitId) -> Result<()> {
        self.own_book(upto).map(|_| ())
    }

    fn emptied_by(&self) -> Option<String> {
        Some(self.shelf.emptied_by())
    }
}
