//! A segment file that has been opened: mapped, its footer checked, and what tells entries apart at hand.
//!
//! Pieces of the file are given out only after their checksum has been compared, once in the life of the process: one bit
//! each remembers it. Bits may be set twice by two threads that touch a piece at once, which only costs time.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use bytes::Bytes;
use gridhouse_base::fs::FileSystem;
use gridhouse_base::{Error, Result, TableId};

use super::encoding::{CHUNK_ROWS, EncodedColumn};
use super::ends::{HEAD_BYTES, Identity, TRAILER_BYTES, Trailer};
use super::file_name;
use super::footer::{Footer, GroupRecord, Piece, RUN_BLOCK_BYTES, RunRecord, Spread};
use super::group::Group;
use super::run::Run;
use super::section::Section;
use crate::table::TableShape;
use crate::wal::writer::disk_error;

/// The groups of one bucket of a table.
#[derive(Clone, Debug)]
pub(crate) struct SectionMeta {
    /// The table.
    pub shape: Arc<TableShape>,
    /// The bucket.
    pub bucket: u16,
    /// The groups, by their numbers in the segment.
    pub groups: Range<usize>,
    /// All entries, deletions included.
    pub entries: u64,
    pub(super) runs: Vec<RunRecord>,
}

impl SectionMeta {
    /// The bytes of the key runs.
    pub fn run_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }

    /// The table's id.
    pub fn table(&self) -> TableId {
        self.shape.id
    }
}

/// What stays in memory of a group: where it is, and its own columns, ready to be read in place.
#[derive(Debug)]
pub(super) struct GroupState {
    pub record: GroupRecord,
    /// The number of its section.
    pub section: usize,
    /// The bytes of all its pieces.
    pub bytes: usize,
    /// Sequence numbers, if they have gaps; by chunk.
    pub seqs: Box<[EncodedColumn]>,
    /// The first of each chunk of them.
    pub chunk_firsts: Box<[u64]>,
    /// The positions at which commits begin, and the commits, if there are several; by chunk of commits.
    pub starts: Box<[EncodedColumn]>,
    pub commits: Box<[EncodedColumn]>,
    /// Which entries are deletions, and which killed another one: bitmaps in the file.
    pub deletes: Option<Bytes>,
    pub updates: Option<Bytes>,
    /// What each entry killed; read when it is first asked for.
    pub prev: OnceLock<Box<[EncodedColumn]>>,
}

/// A finished segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    number: u64,
    path: PathBuf,
    bytes: Bytes,
    pub(super) footer: Footer,
    sections: Vec<SectionMeta>,
    pub(super) groups: Vec<GroupState>,
    /// Which pieces and, after them, which blocks of key runs have been compared with their checksums.
    compared: Box<[AtomicU64]>,
}

impl Segment {
    /// Opens segment `number` of the store `store` in `dir`. Sections of tables for which `shape_of` knows no shape are left
    /// out.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged or unfinished, `Conflict` if another version of the program wrote it,
    /// `Unavailable` if it cannot be read.
    pub fn open(
        fs: &dyn FileSystem,
        dir: &Path,
        number: u64,
        store: u128,
        shape_of: &dyn Fn(TableId) -> Option<Arc<TableShape>>,
    ) -> Result<Arc<Self>> {
        let path = dir.join(file_name(number));
        let mapped = fs.open(&path).and_then(|file| file.map());
        let bytes = mapped.map_err(|error| disk_error("could not read", &path, error))?;
        check_head(&path, &bytes, Identity { number, store })?;
        let footer = read_footer(&path, &bytes, number)?;
        let words = (footer.piece_count() + footer.block_count()).div_ceil(64);
        let compared = (0..words).map(|_| AtomicU64::new(0)).collect();
        let mut segment = Self { number, path, bytes, footer, sections: Vec::new(), groups: Vec::new(), compared };
        segment.take_sections(shape_of)?;
        Ok(Arc::new(segment))
    }

    /// Takes the sections of known tables from the footer.
    fn take_sections(&mut self, shape_of: &dyn Fn(TableId) -> Option<Arc<TableShape>>) -> Result<()> {
        let (mut next_group, mut next_run) = (0, 0);
        for record in self.footer.sections.clone() {
            let groups = next_group..next_group + record.groups as usize;
            let runs = next_run..next_run + record.runs as usize;
            (next_group, next_run) = (groups.end, runs.end);
            let Some(shape) = shape_of(record.table) else { continue };
            let name = format!("table {} bucket {}", shape.spec.name, record.bucket);
            if usize::from(record.columns) != shape.types.len() {
                let (given, known) = (record.columns, shape.types.len());
                return Err(self.footer_damage(&format!("{name} has {given} columns here, the table has {known}")));
            }
            let runs = self.footer.runs[runs].to_vec();
            let fingerprint = shape.codec.hasher().fingerprint();
            if shape.is_keyed() == runs.is_empty() {
                return Err(self.footer_damage(&format!("{name} has no key run, or one that it should not have")));
            }
            if runs.iter().any(|run| run.fingerprint != fingerprint) {
                return Err(Error::conflict(format!(
                    "{}: the key run of {name} was made under another secret than the store's",
                    self.path.display()
                ))
                .hint("restore all files of the data directory from the same backup"));
            }
            let mut meta = SectionMeta { shape, bucket: record.bucket, groups: self.groups.len()..0, entries: 0, runs };
            for group in groups {
                let state = self.take_group(self.footer.groups[group], &meta)?;
                meta.entries += state.record.len as u64;
                self.groups.push(state);
            }
            meta.groups.end = self.groups.len();
            self.sections.push(meta);
        }
        Ok(())
    }

    /// Compares and parses what tells the entries of a group apart.
    fn take_group(&self, record: GroupRecord, section: &SectionMeta) -> Result<GroupState> {
        let columns = section.shape.types.len();
        let places = record.places(columns);
        if record.has_prev != section.shape.is_keyed() {
            return Err(self.footer_damage("a group says what its entries killed, or does not, unlike its table"));
        }
        let bytes = (record.pieces..places.end).map(|piece| self.footer.piece(piece).bytes as usize).sum();
        let bitmap = |spread: Spread, piece: usize| match spread {
            Spread::Some => self.bitmap(section, piece, record.len).map(Some),
            Spread::None | Spread::All => Ok(None),
        };
        let seqs = self.numbers(section, places.seqs..places.starts, record.len, "sequence numbers")?;
        let starts = self.numbers(section, places.starts..places.commits, record.commits, "positions of commits")?;
        let commits = self.numbers(section, places.commits..places.prev, record.commits, "commits")?;
        // Entries are found by halving, so the order is believed later on.
        let last_start = starts.last().map_or(0, |chunk| chunk.u64_at((record.commits - 1) % CHUNK_ROWS));
        let ends = [
            (&seqs, places.seqs, record.first_seq, record.last_seq, "sequence numbers"),
            (&starts, places.starts, 0, last_start.min(record.len as u64 - 1), "positions of commits"),
            (&commits, places.commits, record.first_commit.0, record.last_commit.0, "commits"),
        ];
        for (chunks, piece, first, last, what) in ends {
            self.check_order(section, chunks, piece, (first, last), what)?;
        }
        Ok(GroupState {
            record,
            section: self.sections.len(),
            bytes,
            deletes: bitmap(record.deletes, places.deletes)?,
            updates: bitmap(record.updates, places.updates)?,
            chunk_firsts: seqs.iter().map(|chunk| chunk.u64_at(0)).collect(),
            seqs,
            starts,
            commits,
            prev: OnceLock::new(),
        })
    }

    /// Numbers of our own, in the pieces from `piece` on, begin and end as they should, and each is larger than the one before.
    fn check_order(
        &self,
        section: &SectionMeta,
        chunks: &[EncodedColumn],
        piece: usize,
        (first, last): (u64, u64),
        what: &str,
    ) -> Result<()> {
        let mut before: Option<u64> = None;
        for (k, chunk) in chunks.iter().enumerate() {
            let place = place_of(section, what);
            let numbers = chunk.decode().map_err(|error| self.located(error, piece + k, &place))?;
            let is_last = k + 1 == chunks.len();
            let numbers = numbers.as_primitive::<Int64Type>().values();
            let ascend = numbers.iter().all(|&number| {
                let number = number as u64;
                let fits = before.map_or(number == first, |before| before < number);
                before = Some(number);
                fits
            });
            if !ascend || is_last && before != Some(last) {
                let offset = self.footer.piece(piece + k).offset;
                return Err(self.damage(offset, &place, "they are not in order, or not those that the footer says"));
            }
        }
        Ok(())
    }

    fn bitmap(&self, section: &SectionMeta, piece: usize, len: usize) -> Result<Bytes> {
        let bytes = self.piece_bytes(piece, || place_of(section, "kinds"))?;
        if bytes.len() != len.div_ceil(64) * 8 {
            return Err(self.damage(
                self.footer.piece(piece).offset,
                &place_of(section, "kinds"),
                "its length is wrong",
            ));
        }
        Ok(bytes)
    }

    /// A column of numbers of our own, `count` in all, in the pieces `pieces`.
    pub(super) fn numbers(
        &self,
        section: &SectionMeta,
        pieces: Range<usize>,
        count: usize,
        what: &str,
    ) -> Result<Box<[EncodedColumn]>> {
        let chunk = |(k, piece): (usize, usize)| {
            let rows = (count - k * CHUNK_ROWS).min(CHUNK_ROWS);
            let column = self.parse_piece(piece, &DataType::Int64, rows, || place_of(section, what))?;
            if column.is_whole_numbers() {
                return Ok(column);
            }
            Err(self.damage(self.footer.piece(piece).offset, &place_of(section, what), "they have NULLs"))
        };
        pieces.enumerate().map(chunk).collect()
    }

    /// The column in `piece`, compared with its checksum; `place` says what it is, for messages.
    pub(super) fn parse_piece(
        &self,
        piece: usize,
        data_type: &DataType,
        rows: usize,
        place: impl Fn() -> String,
    ) -> Result<EncodedColumn> {
        let bytes = self.piece_bytes(piece, &place)?;
        EncodedColumn::parse(bytes, data_type, rows).map_err(|error| self.located(error, piece, &place()))
    }

    /// The same for a column of a table, which may be codes of what is in `first`, the piece of its group's first chunk;
    /// `place` says what either is.
    pub(super) fn parse_chunk(
        &self,
        (piece, first): (usize, usize),
        data_type: &DataType,
        rows: usize,
        place: impl Fn(usize) -> String,
    ) -> Result<EncodedColumn> {
        let bytes = self.piece_bytes(piece, || place(piece))?;
        let is_of_first = Cell::new(false);
        let dictionary = || {
            let bytes = self.piece_bytes(first, || place(first));
            bytes.inspect_err(|_| is_of_first.set(true))
        };
        let column = EncodedColumn::parse_within(bytes, data_type, rows, &dictionary);
        // What is wrong with the first piece says itself where that is.
        column.map_err(|error| if is_of_first.get() { error } else { self.located(error, piece, &place(piece)) })
    }

    /// Whether what stands where `piece` begins meets `test`.
    pub(super) fn begins_with(&self, piece: usize, test: impl FnOnce(&[u8]) -> bool) -> bool {
        self.bytes.get(self.footer.piece(piece).offset as usize..).is_some_and(test)
    }

    /// The bytes of `piece`, compared with their checksum.
    fn piece_bytes(&self, piece: usize, place: impl Fn() -> String) -> Result<Bytes> {
        let Piece { offset, bytes, checksum, .. } = self.footer.piece(piece);
        let bytes = self.bytes.slice(offset as usize..offset as usize + bytes as usize);
        if !self.is_compared(piece) {
            self.compare(&bytes, checksum, offset, place)?;
            self.set_compared(piece);
        }
        Ok(bytes)
    }

    /// Reads the first byte of `piece`, and what tells whether it has been compared.
    pub(super) fn touch_piece(&self, piece: usize) -> u8 {
        let first = self.bytes.get(self.footer.piece(piece).offset as usize).copied().unwrap_or_default();
        first ^ u8::from(self.is_compared(piece))
    }

    fn is_compared(&self, bit: usize) -> bool {
        self.compared[bit / 64].load(Ordering::Relaxed) >> (bit % 64) & 1 == 1
    }

    fn set_compared(&self, bit: usize) {
        self.compared[bit / 64].fetch_or(1 << (bit % 64), Ordering::Relaxed);
    }

    /// Compares `piece` with its checksum, whether that has happened or not.
    pub(super) fn recompare_piece(&self, piece: usize, place: impl Fn() -> String) -> Result<()> {
        let Piece { offset, bytes, checksum, .. } = self.footer.piece(piece);
        self.compare(&self.bytes[offset as usize..offset as usize + bytes as usize], checksum, offset, place)
    }

    fn compare(&self, bytes: &[u8], checksum: u32, offset: u64, place: impl Fn() -> String) -> Result<()> {
        if crc32c::crc32c(bytes) == checksum {
            Ok(())
        } else {
            Err(self.damage(offset, &place(), "its checksum is wrong"))
        }
    }

    /// Run `run` of a section; its bytes must be compared before they are believed.
    pub(super) fn run(&self, run: &RunRecord) -> Run<'_> {
        let bytes = &self.bytes[run.offset as usize..(run.offset + run.bytes) as usize];
        Run { cells: run.cells, entries: run.entries, bytes }
    }

    /// Compares the blocks of `run` that hold its bytes `range`, as far as that has not happened yet.
    pub(super) fn touch_run(&self, section: &SectionMeta, run: &RunRecord, range: Range<usize>) -> Result<()> {
        for block in range.start / RUN_BLOCK_BYTES..=range.end.max(range.start + 1).div_ceil(RUN_BLOCK_BYTES) - 1 {
            let bit = self.footer.piece_count() + run.blocks + block;
            if !self.is_compared(bit) {
                self.recompare_block(section, run, block)?;
                self.set_compared(bit);
            }
        }
        Ok(())
    }

    /// Compares block `block` of `run` with its checksum.
    pub(super) fn recompare_block(&self, section: &SectionMeta, run: &RunRecord, block: usize) -> Result<()> {
        let from = block * RUN_BLOCK_BYTES;
        let to = (from + RUN_BLOCK_BYTES).min(run.bytes as usize);
        let offset = run.offset + from as u64;
        let bytes = &self.bytes[offset as usize..run.offset as usize + to];
        let checksum = self.footer.block_checksum(run.blocks + block);
        self.compare(bytes, checksum, offset, || place_of(section, "key run"))
    }

    /// The number in the file's name.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The file's length.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The sections of known tables, by table and bucket.
    pub fn sections(&self) -> &[SectionMeta] {
        &self.sections
    }

    /// Section number `section` of [`Segment::sections`].
    pub fn section(self: &Arc<Self>, section: usize) -> Section {
        Section::new(self.clone(), section)
    }

    /// The section of a bucket, if there is one.
    pub fn section_of(self: &Arc<Self>, table: TableId, bucket: u16) -> Option<Section> {
        let found = self.sections.binary_search_by_key(&(table, bucket), |meta| (meta.table(), meta.bucket)).ok()?;
        Some(self.section(found))
    }

    /// Every section's table, with the bytes of its rows and key runs.
    pub fn bytes_by_table(&self) -> impl Iterator<Item = (TableId, u64)> + '_ {
        self.sections.iter().map(|meta| {
            let groups = &self.groups[meta.groups.clone()];
            (meta.table(), groups.iter().map(|group| group.bytes as u64).sum::<u64>() + meta.run_bytes())
        })
    }

    /// How many entries there are, in sections of unknown tables too.
    pub fn entries(&self) -> u64 {
        self.footer.groups.iter().map(|group| group.len as u64).sum()
    }

    /// Group number `group`; sections say which are theirs.
    pub fn group(self: &Arc<Self>, group: usize) -> Group {
        Group::new(self.clone(), group)
    }

    /// Puts file and place in front of an error that was found in `piece`.
    pub(super) fn located(&self, error: Error, piece: usize, place: &str) -> Error {
        let offset = self.footer.piece(piece).offset;
        error.context(format!("segment {} at offset {offset}: {place}", self.path.display())).hint(REMEDY)
    }

    /// Puts file and place in front of an error that was found in a key run.
    pub(super) fn located_run(&self, error: Error, run: &RunRecord, place: &str) -> Error {
        error.context(format!("segment {} at offset {}: {place}", self.path.display(), run.offset)).hint(REMEDY)
    }

    pub(super) fn damage(&self, offset: u64, place: &str, what: &str) -> Error {
        damage(&self.path, offset, &format!("{place}: {what}"))
    }

    fn footer_damage(&self, what: &str) -> Error {
        let offset = Trailer::of_end(&self.bytes).map_or(0, |trailer| trailer.footer_offset);
        damage(&self.path, offset, what)
    }
}

/// Names what is read, for messages.
pub(super) fn place_of(section: &SectionMeta, what: &str) -> String {
    format!("{what} of table {} bucket {}", section.shape.spec.name, section.bucket)
}

const REMEDY: &str = "restore the data directory from a backup; if the table can be filled again from its sources, drop it and \
                      create it anew instead, or, where the process ends before that can be typed, remove the data directory \
                      and run the scripts again";

fn damage(path: &Path, offset: u64, what: &str) -> Error {
    Error::corrupt(format!("segment {} is damaged at offset {offset}: {what}", path.display())).hint(REMEDY)
}

fn check_head(path: &Path, bytes: &[u8], expected: Identity) -> Result<()> {
    let head = Identity::of_head(bytes).map_err(|version| {
        let path = path.display();
        Error::conflict(format!("segment {path} has format version {version}, which this program does not read"))
            .hint("open the data directory with the version of gridhouse that wrote it")
    })?;
    match head {
        None => Err(damage(path, 0, "its head is damaged")),
        Some(head) if head.number != expected.number => {
            Err(damage(path, 0, &format!("its head says that it is segment {:x}", head.number)))
        }
        Some(head) if head.store != expected.store => Err(damage(path, 0, "it belongs to another store")),
        Some(_) => Ok(()),
    }
}

fn read_footer(path: &Path, bytes: &Bytes, number: u64) -> Result<Footer> {
    let end = bytes.len() as u64;
    let trailer = Trailer::of_end(bytes);
    let trailer =
        trailer.ok_or_else(|| damage(path, end, "it ends without a trailer: cut short, or never finished"))?;
    let footer_end = trailer.footer_offset.checked_add(trailer.footer_bytes);
    let is_placed = footer_end == end.checked_sub(TRAILER_BYTES as u64);
    if trailer.number != number || !is_placed || trailer.footer_offset < HEAD_BYTES as u64 {
        return Err(damage(path, end, "its trailer does not belong to it"));
    }
    let footer = bytes.slice(trailer.footer_offset as usize..(trailer.footer_offset + trailer.footer_bytes) as usize);
    if crc32c::crc32c(&footer) != trailer.footer_checksum {
        return Err(damage(path, trailer.footer_offset, "the checksum of the footer is wrong"));
    }
    Footer::read(&footer, trailer.footer_offset).map_err(|error| {
        error.context(format!("segment {} at offset {}", path.display(), trailer.footer_offset)).hint(REMEDY)
    })
}
