//! The connector `filesystem`: files of JSON or CSV rows, read and written.

mod book;
mod csv;
mod disk;
mod json;
mod layout;
mod options;
mod reader;
mod row;
mod scalar;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use gridhouse_base::clock::Clock;
use gridhouse_base::fs::FileSystem;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{ChangeBatch, Error, Result, SourceId};
use gridhouse_flow::connector::{
    ChangelogMode, ScanConnector, ScanRequest, ScanRows, Sink, SinkConnector, SinkDescription, SinkWriter,
    SourceConnector, SourceDescription, SourceEvents, SourcePosition, SourceStream, SourceTable, StreamPlace,
};

use self::disk::Disk;
use self::layout::FileInfo;
use self::options::FileOptions;
use self::reader::{FileReader, Place, ReadPlan};
use crate::LinkContext;

/// Files as sources and scans, `'connector' = 'filesystem'`.
pub struct FilesReader {
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for FilesReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesReader")
    }
}

impl FilesReader {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { clock: context.clock.clone() }
    }
}

impl SourceConnector for FilesReader {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let mut notices = Vec::new();
        let options = FileOptions::read(definition, &mut notices)?;
        row::check_types(definition, &options)?;
        ReadPlan::new(Arc::new(definition.clone()), options.clone(), definition.physical().collect())?;
        layout::list(&options)?;
        Ok(SourceDescription {
            stream_key: format!("filesystem{}", options.path.display()),
            table_key: options.path.display().to_string(),
            shared: false,
            bounded: options.monitor.is_none(),
            // Rows of one key follow each other: the last stands.
            mode: if definition.primary_key.is_empty() { ChangelogMode::InsertOnly } else { ChangelogMode::Upsert },
            notices,
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        source::start(source, tables, position, events, self.clock.clone())
    }
}

impl ScanConnector for FilesReader {
    fn scan(&self, definition: &TableDef, request: &ScanRequest) -> Result<ScanRows> {
        let options = FileOptions::read(definition, &mut Vec::new())?;
        row::check_types(definition, &options)?;
        let files = layout::list(&options)?.into_iter();
        let plan = Arc::new(ReadPlan::new(Arc::new(definition.clone()), options, request.columns.clone())?);
        let left = request.limit.filter(|_| request.filters.is_empty()).unwrap_or(u64::MAX);
        Ok(Box::new(Rows { plan, files, reader: None, left }))
    }
}

/// The rows of all files, one file after the other.
struct Rows {
    plan: Arc<ReadPlan>,
    files: std::vec::IntoIter<FileInfo>,
    reader: Option<FileReader>,
    /// How many rows are still wanted.
    left: u64,
}

impl Rows {
    fn advance(&mut self) -> Result<Option<ChangeBatch>> {
        while self.left > 0 {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    let Some(file) = self.files.next() else { return Ok(None) };
                    self.reader.insert(FileReader::open(self.plan.clone(), file, Place::default())?)
                }
            };
            let piece = reader.piece()?;
            if piece.ended {
                self.reader = None;
            }
            if piece.len > 0 {
                let batch = ChangeBatch::insertions(piece.columns, piece.len);
                let wanted = self.left.min(piece.len as u64);
                self.left -= wanted;
                return Ok(Some(batch.slice(0, wanted as usize)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Rows {
    type Item = Result<ChangeBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            // An error ends the scan.
            self.left = 0;
        }
        next.transpose()
    }
}

/// Files as sinks, `'connector' = 'filesystem'`.
pub struct FilesWriter {
    fs: Arc<dyn FileSystem>,
}

impl fmt::Debug for FilesWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesWriter")
    }
}

impl FilesWriter {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { fs: context.fs.clone() }
    }

    fn options(definition: &TableDef, notices: &mut Vec<String>) -> Result<FileOptions> {
        let options = FileOptions::read(definition, notices)?;
        row::check_types(definition, &options)?;
        let written = |kind: &&ColumnKind| matches!(kind, ColumnKind::Metadata { is_virtual: false, .. });
        if definition.column_kinds.iter().any(|kind| written(&kind)) {
            return Err(
                Error::invalid("metadata of files cannot be written").hint("declare the columns as METADATA VIRTUAL")
            );
        }
        if options.path.is_file() {
            return Err(Error::invalid(format!(
                "{} is a file, and rows are written to a directory",
                options.path.display()
            ))
            .hint("name a directory in 'path'"));
        }
        Ok(options)
    }
}

/// Whether files can be made in a directory, or in the nearest one above it that is there.
fn writable(path: &Path) -> Result<()> {
    let mut at = path;
    while !at.exists() {
        let Some(above) = at.parent() else { break };
        at = above;
    }
    let mode = std::fs::metadata(at).map_err(|error| layout::cannot(at, error))?;
    if mode.permissions().readonly() {
        return Err(Error::invalid(format!("{} may not be written", at.display())).hint("change its permissions"));
    }
    Ok(())
}

impl SinkConnector for FilesWriter {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mut notices = Vec::new();
        let options = Self::options(definition, &mut notices)?;
        writable(&options.path)?;
        Ok(SinkDescription {
            target_key: format!("filesystem{}", options.path.display()),
            mode: ChangelogMode::InsertOnly,
            exactly_once: true,
            notices,
        })
    }

    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>> {
        let options = Self::options(&definition, &mut Vec::new())?;
        Ok(Box::new(sink::FileSink::new(definition, options, &writer, Disk::new(self.fs.clone()))))
    }
}
