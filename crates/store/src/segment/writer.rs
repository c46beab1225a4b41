//! Writes a segment file from front to back.
//!
//! Memory: a buffer of about [`BUFFER_BYTES`], one chunk being encoded, the footer so far, and the key run being built. A file
//! that is given up, because something failed or the process ended, has no trailer and no one who names it; its writer
//! removes it if it still can.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, Int64Array};
use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::{CommitId, Error, Result, TableId};

use super::encoding::{CHUNK_ROWS, Effort, Encoded, GroupTexts, encode, encode_within};
use super::ends::{HEAD_BYTES, Identity, Trailer};
use super::file::Segment;
use super::footer::{
    ALIGN, FooterBuilder, GroupRecord, MAX_SECTION_GROUPS, Piece, RUN_BLOCK_BYTES, RunRecord, SectionRecord, Spread,
};
use super::run::RunBuilder;
use super::statistics::encode_bounds;
use super::{GROUP_ROWS, file_name};
use crate::codec::align;
use crate::table::TableShape;
use crate::tail::{NO_ROW, TailBatch};
use crate::wal::writer::disk_error;

/// What is gathered before it is written: large enough that the system call costs nothing beside the encoding.
const BUFFER_BYTES: usize = 1 << 20;

/// A segment file under construction.
pub(crate) struct SegmentWriter {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    path: PathBuf,
    identity: Identity,
    file: Arc<dyn File>,
    /// What has not been written yet; it begins at `written`.
    buffer: Vec<u8>,
    written: u64,
    footer: FooterBuilder,
    shapes: HashMap<TableId, Arc<TableShape>>,
    section: Option<OpenSection>,
    effort: Effort,
    is_finished: bool,
}

/// The section that groups go to.
struct OpenSection {
    shape: Arc<TableShape>,
    bucket: u16,
    groups: usize,
    runs: usize,
    builder: RunBuilder,
}

impl SegmentWriter {
    /// Begins segment `number` of the store `store` in `dir`. What an earlier attempt left under its name is removed.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails.
    pub fn create(fs: Arc<dyn FileSystem>, dir: &Path, number: u64, store: u128) -> Result<Self> {
        let path = dir.join(file_name(number));
        let file = match fs.create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                fs.remove(&path).and_then(|()| fs.create(&path))
            }
            other => other,
        };
        let file = file.map_err(|error| disk_error("could not create", &path, error))?;
        let identity = Identity { number, store };
        let mut buffer = Vec::with_capacity(BUFFER_BYTES * 2);
        buffer.extend_from_slice(&identity.head());
        Ok(Self {
            fs,
            dir: dir.to_path_buf(),
            path,
            identity,
            file,
            buffer,
            written: 0,
            footer: FooterBuilder::default(),
            shapes: HashMap::new(),
            section: None,
            effort: Effort::Small,
            is_finished: false,
        })
    }

    /// The same, with as little work as can be: for a first-level segment, which is merged into another soon.
    pub fn quickly(self) -> Self {
        // A struct with `Drop` is not taken apart, hence no update syntax.
        let mut quick = self;
        quick.effort = Effort::Quick;
        quick
    }

    /// Begins the section of `bucket` of a table. Sections come in ascending order of table and bucket; one without groups
    /// leaves no trace.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails.
    pub fn begin_section(&mut self, shape: &Arc<TableShape>, bucket: u16) -> Result<()> {
        self.end_section()?;
        if let Some(last) = self.footer.sections.last() {
            assert!((last.table, last.bucket) < (shape.id, bucket), "sections come in ascending order");
        }
        self.shapes.insert(shape.id, shape.clone());
        let (shape, builder) = (shape.clone(), RunBuilder::default());
        self.section = Some(OpenSection { shape, bucket, groups: 0, runs: 0, builder });
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends entries as one group, or as several where there are more than [`GROUP_ROWS`]. They follow those before them by
    /// sequence number and commit; their oldest and newest commits were made at `time_micros`.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the file must then be given up.
    pub fn push(&mut self, entries: &TailBatch, time_micros: (i64, i64)) -> Result<()> {
        for start in (0..entries.len).step_by(GROUP_ROWS) {
            self.push_group(entries, start..entries.len.min(start + GROUP_ROWS), time_micros)?;
        }
        Ok(())
    }

    fn push_group(&mut self, entries: &TailBatch, range: Range<usize>, time_micros: (i64, i64)) -> Result<()> {
        let mut section = self.section.take().expect("a section has begun");
        let pushed = self.push_to(&mut section, entries, range, time_micros);
        self.section = Some(section);
        pushed
    }

    fn push_to(
        &mut self,
        section: &mut OpenSection,
        entries: &TailBatch,
        range: Range<usize>,
        time_micros: (i64, i64),
    ) -> Result<()> {
        if section.groups == MAX_SECTION_GROUPS {
            let (name, bucket) = (&section.shape.spec.name, section.bucket);
            return Err(Error::internal(format!(
                "table {name} bucket {bucket} does not fit a segment: it has more than {MAX_SECTION_GROUPS} groups"
            )));
        }
        if section.groups > 0 {
            let last = self.footer.groups.last().expect("the section has a group");
            assert!(last.last_seq < entries.seq(range.start), "groups come in order of sequence number");
            assert!(last.last_commit <= entries.commit_at(range.start), "groups come in order of commit");
        }
        assert_eq!(entries.columns.len(), section.shape.types.len(), "entries have the columns of their table");
        let record = self.write_group(&section.shape, entries, range.clone(), time_micros)?;
        self.footer.groups.push(record);
        if section.shape.is_keyed() {
            self.index_group(section, entries, range)?;
        }
        section.groups += 1;
        Ok(())
    }

    /// Writes the pieces of a group, in the order of [`GroupRecord::places`].
    fn write_group(
        &mut self,
        shape: &TableShape,
        entries: &TailBatch,
        range: Range<usize>,
        time_micros: (i64, i64),
    ) -> Result<GroupRecord> {
        let len = range.len();
        let prev = entries.prev.as_ref().map(|prev| &prev[range.clone()]);
        assert_eq!(prev.is_some(), shape.is_keyed(), "entries of a primary-key table say what they killed");
        let deletes = range.clone().filter(|&i| entries.is_delete(i)).count();
        let updates = prev.map_or(0, |prev| prev.iter().filter(|&&prev| prev != NO_ROW).count());
        let commits: Vec<(usize, CommitId)> = runs_within(entries, &range).collect();
        let record = GroupRecord {
            len,
            first_seq: entries.seq(range.start),
            last_seq: entries.seq(range.end - 1),
            first_commit: commits[0].1,
            last_commit: commits[commits.len() - 1].1,
            time_micros,
            commits: commits.len(),
            pieces: self.footer.pieces.len(),
            deletes: Spread::of(deletes, len),
            updates: Spread::of(updates, len),
            has_prev: prev.is_some(),
        };
        for column in &entries.columns {
            let column = column.slice(range.start, len);
            let group = GroupTexts::of(column.as_ref());
            for start in (0..len).step_by(CHUNK_ROWS) {
                let chunk = column.slice(start, CHUNK_ROWS.min(len - start));
                let group = group.as_ref().map(|group| (group, start));
                self.write_column(chunk.as_ref(), group, true)?;
            }
        }
        if record.deletes == Spread::Some {
            self.write_bitmap(len, |i| entries.is_delete(range.start + i))?;
        }
        if record.updates == Spread::Some {
            self.write_bitmap(len, |i| prev.is_some_and(|prev| prev[i] != NO_ROW))?;
        }
        if record.has_gaps() {
            self.write_numbers(len, |i| entries.seq(range.start + i))?;
        }
        if commits.len() > 1 {
            self.write_numbers(commits.len(), |i| commits[i].0 as u64)?;
            self.write_numbers(commits.len(), |i| commits[i].1.0)?;
        }
        if let Some(prev) = prev {
            self.write_numbers(len, |i| prev[i])?;
        }
        assert_eq!(
            self.footer.pieces.len(),
            record.places(shape.types.len()).end,
            "pieces are written as they are found"
        );
        Ok(record)
    }

    /// Writes a chunk of a column, whose group may have a dictionary.
    fn write_column(
        &mut self,
        chunk: &dyn Array,
        group: Option<(&GroupTexts<'_>, usize)>,
        has_bounds: bool,
    ) -> Result<()> {
        let start = self.buffer.len();
        let encoded = match group {
            Some(group) => encode_within(chunk, self.effort, group, &mut self.buffer),
            None => encode(chunk, self.effort, &mut self.buffer),
        };
        self.end_piece(start, &encoded, has_bounds)
    }

    fn write_numbers(&mut self, count: usize, number: impl Fn(usize) -> u64) -> Result<()> {
        for start in (0..count).step_by(CHUNK_ROWS) {
            let numbers: Int64Array = (start..count.min(start + CHUNK_ROWS)).map(|i| Some(number(i) as i64)).collect();
            self.write_column(&numbers, None, false)?;
        }
        Ok(())
    }

    fn write_bitmap(&mut self, len: usize, bit: impl Fn(usize) -> bool) -> Result<()> {
        let start = self.buffer.len();
        for word in (0..len).step_by(64) {
            let bits = (word..len.min(word + 64)).filter(|&i| bit(i)).fold(0_u64, |bits, i| bits | 1 << (i - word));
            self.buffer.extend_from_slice(&bits.to_le_bytes());
        }
        self.end_piece(start, &Encoded::default(), false)
    }

    /// Notes the piece that begins at `start` of the buffer.
    fn end_piece(&mut self, start: usize, encoded: &Encoded, has_bounds: bool) -> Result<()> {
        let bytes = &self.buffer[start..];
        let bounds = if has_bounds { encode_bounds(encoded) } else { Vec::new() };
        let piece = Piece {
            offset: self.written + start as u64,
            bytes: u32::try_from(bytes.len()).map_err(|_| {
                Error::invalid(format!("{CHUNK_ROWS} rows take {} bytes in one column", bytes.len()))
                    .hint("a column holds at most 4 GiB in so many rows; split larger values over several rows")
            })?,
            checksum: crc32c::crc32c(bytes),
            nulls: encoded.nulls as u16,
            is_sorted: encoded.is_sorted,
            bounds: (self.footer.bounds.len() as u32, bounds.len() as u8),
        };
        self.footer.bounds.extend_from_slice(&bounds);
        self.footer.pieces.push(piece);
        align(&mut self.buffer, ALIGN);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all_at(&self.buffer, self.written);
        written.map_err(|error| disk_error("could not write", &self.path, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Adds the entries of a group to the key run.
    fn index_group(&mut self, section: &mut OpenSection, entries: &TailBatch, range: Range<usize>) -> Result<()> {
        let columns = section.shape.key_columns(&entries.columns, None);
        let columns: Vec<_> = columns.iter().map(|column| column.slice(range.start, range.len())).collect();
        let numbers = section.shape.codec.keys(&columns)?;
        let hasher = section.shape.codec.hasher();
        section.builder.push(section.groups as u16, entries, range, numbers.into_iter().map(|key| hasher.hash(key)));
        if section.builder.is_full() { self.write_run(section) } else { Ok(()) }
    }

    fn write_run(&mut self, section: &mut OpenSection) -> Result<()> {
        let run = section.builder.finish();
        self.flush()?;
        self.footer.runs.push(RunRecord {
            offset: self.written,
            bytes: run.bytes.len() as u64,
            entries: run.entries,
            cells: run.cells,
            fingerprint: section.shape.codec.hasher().fingerprint(),
            blocks: self.footer.blocks.len(),
        });
        self.footer.blocks.extend(run.bytes.chunks(RUN_BLOCK_BYTES).map(crc32c::crc32c));
        section.runs += 1;
        self.buffer = run.bytes;
        self.flush()
    }

    fn end_section(&mut self) -> Result<()> {
        let Some(mut section) = self.section.take() else { return Ok(()) };
        if section.groups == 0 {
            return Ok(());
        }
        if !section.builder.is_empty() {
            self.write_run(&mut section)?;
        }
        self.footer.sections.push(SectionRecord {
            table: section.shape.id,
            bucket: section.bucket,
            columns: section.shape.types.len() as u16,
            groups: section.groups as u32,
            runs: section.runs as u32,
        });
        Ok(())
    }

    /// Completes the file, makes it and its name durable, and opens it.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the file is then given up.
    pub fn finish(mut self) -> Result<Arc<Segment>> {
        self.end_section()?;
        let footer = self.footer.bytes();
        let trailer = Trailer {
            footer_offset: self.written + self.buffer.len() as u64,
            footer_bytes: footer.len() as u64,
            footer_checksum: crc32c::crc32c(&footer),
            number: self.identity.number,
        };
        debug_assert!(trailer.footer_offset >= HEAD_BYTES as u64, "the head is the first that is written");
        self.buffer.extend_from_slice(&footer);
        self.buffer.extend_from_slice(&trailer.bytes());
        self.flush()?;
        let synced = self.file.sync_data().and_then(|()| self.fs.sync_dir(&self.dir));
        synced.map_err(|error| disk_error("could not sync", &self.path, error))?;
        let Identity { number, store } = self.identity;
        let segment = Segment::open(self.fs.as_ref(), &self.dir, number, store, &|id| self.shapes.get(&id).cloned())?;
        self.is_finished = true;
        Ok(segment)
    }
}

impl Drop for SegmentWriter {
    /// Gives the space of an unfinished file back; if that fails, whoever opens the store next does it.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.fs.remove(&self.path);
        }
    }
}

/// The commits in `range` of a batch, each with the position of its first entry from the start of the range.
fn runs_within<'a>(entries: &'a TailBatch, range: &Range<usize>) -> impl Iterator<Item = (usize, CommitId)> + use<'a> {
    let range = range.clone();
    let within = range.clone();
    let runs = entries.runs().filter(move |&(_, from, to)| from < within.end && to > within.start);
    runs.map(move |(commit, from, _)| (from.max(range.start) - range.start, commit))
}
