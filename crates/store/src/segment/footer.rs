//! The footer of a segment file: everything that is needed to find data and to judge whether to read it. `docs/formats.md` has
//! the byte tables.
//!
//! Its tables have rows of fixed width and are read in place, from the mapped file; in memory stay a few words for each group, none for each row or chunk.
//! Reading trusts nothing: what [`Footer::read`] lets pass points into the file only, and its counts fit each other.

use bytes::Bytes;
use gridhouse_base::{CommitId, Result, TableId};

use super::GROUP_ROWS;
use super::encoding::CHUNK_ROWS;
use super::ends::HEAD_BYTES;
use crate::codec::{Input, damaged, put_u16, put_u32, put_u64};

/// Everything with a checksum of its own starts at a multiple of this.
pub(super) const ALIGN: usize = 8;
/// A key run is checked block by block: reading one cell for the first time touches no more than this.
pub(super) const RUN_BLOCK_BYTES: usize = 65_536;
/// The most groups in a section: a place in a key run has 16 bits for the group.
pub(super) const MAX_SECTION_GROUPS: usize = 65_536;

const COUNTS_BYTES: usize = 24;
const SECTION_BYTES: usize = 16;
const GROUP_BYTES: usize = 64;
const RUN_BYTES: usize = 40;
const BLOCK_BYTES: usize = 4;
const PIECE_BYTES: usize = 24;
/// Row ids have 48 bits for the sequence number.
const SEQ_LIMIT: u64 = 1 << 48;

/// How a property is spread over the entries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    None,
    /// A bitmap says which.
    Some,
    All,
}

impl Spread {
    pub fn of(count: usize, len: usize) -> Self {
        match count {
            0 => Self::None,
            count if count == len => Self::All,
            _ => Self::Some,
        }
    }

    fn pieces(self) -> usize {
        usize::from(self == Self::Some)
    }
}

/// The groups of one bucket of a table in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SectionRecord {
    pub table: TableId,
    pub bucket: u16,
    pub columns: u16,
    pub groups: u32,
    pub runs: u32,
}

/// One group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupRecord {
    pub len: usize,
    pub first_seq: u64,
    pub last_seq: u64,
    pub first_commit: CommitId,
    pub last_commit: CommitId,
    pub time_micros: (i64, i64),
    /// The number of commits.
    pub commits: usize,
    /// The number of its first piece.
    pub pieces: usize,
    pub deletes: Spread,
    pub updates: Spread,
    /// Whether each entry says which one it killed.
    pub has_prev: bool,
}

impl GroupRecord {
    pub fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK_ROWS)
    }

    pub fn has_gaps(&self) -> bool {
        self.last_seq - self.first_seq != self.len as u64 - 1
    }

    /// The chunks of each of the two columns that list commits; a single commit is not listed.
    pub fn commit_chunks(&self) -> usize {
        if self.commits == 1 { 0 } else { self.commits.div_ceil(CHUNK_ROWS) }
    }

    /// The pieces of the group, by what they hold, for a table of `columns` columns.
    pub fn places(&self, columns: usize) -> PiecePlaces {
        let chunks = self.chunks();
        let deletes = self.pieces + columns * chunks;
        let updates = deletes + self.deletes.pieces();
        let seqs = updates + self.updates.pieces();
        let starts = seqs + if self.has_gaps() { chunks } else { 0 };
        let commits = starts + self.commit_chunks();
        let prev = commits + self.commit_chunks();
        PiecePlaces {
            deletes,
            updates,
            seqs,
            starts,
            commits,
            prev,
            end: prev + if self.has_prev { chunks } else { 0 },
        }
    }
}

/// The numbers of a group's pieces: first the columns' chunks, column by column, then what belongs to the entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct PiecePlaces {
    pub deletes: usize,
    pub updates: usize,
    pub seqs: usize,
    pub starts: usize,
    pub commits: usize,
    pub prev: usize,
    pub end: usize,
}

/// A part of a section's key run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunRecord {
    pub offset: u64,
    pub bytes: u64,
    pub entries: u32,
    pub cells: u32,
    /// [`crate::key_hash::KeyHasher::fingerprint`] of the secret that the hashes were made under.
    pub fingerprint: u64,
    /// The number of its first block.
    pub blocks: usize,
}

impl RunRecord {
    pub fn block_count(&self) -> usize {
        (self.bytes as usize).div_ceil(RUN_BLOCK_BYTES)
    }
}

/// A column chunk, or a bitmap: bytes with a checksum of their own, and what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub offset: u64,
    pub bytes: u32,
    pub checksum: u32,
    pub nulls: u16,
    pub is_sorted: bool,
    /// Where its bounds begin among the footer's bounds, and how long they are; 0 bytes if there are none.
    pub bounds: (u32, u8),
}

/// A footer under construction.
#[derive(Debug, Default)]
pub(super) struct FooterBuilder {
    pub sections: Vec<SectionRecord>,
    pub groups: Vec<GroupRecord>,
    pub runs: Vec<RunRecord>,
    pub blocks: Vec<u32>,
    pub pieces: Vec<Piece>,
    pub bounds: Vec<u8>,
}

impl FooterBuilder {
    /// The footer's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let counts = [self.sections.len(), self.groups.len(), self.runs.len(), self.blocks.len(), self.pieces.len()];
        for count in counts.into_iter().chain([self.bounds.len()]) {
            put_u32(&mut out, u32::try_from(count).expect("the writer keeps counts within 32 bits"));
        }
        for section in &self.sections {
            put_u32(&mut out, section.table.0);
            put_u16(&mut out, section.bucket);
            put_u16(&mut out, section.columns);
            put_u32(&mut out, section.groups);
            put_u32(&mut out, section.runs);
        }
        for group in &self.groups {
            let spread = |spread| spread as u32;
            put_u32(&mut out, group.len as u32);
            put_u32(&mut out, spread(group.deletes) | spread(group.updates) << 8 | u32::from(group.has_prev) << 16);
            put_u64(&mut out, group.first_seq);
            put_u64(&mut out, group.last_seq);
            put_u64(&mut out, group.first_commit.0);
            put_u64(&mut out, group.last_commit.0);
            put_u64(&mut out, group.time_micros.0 as u64);
            put_u64(&mut out, group.time_micros.1 as u64);
            put_u32(&mut out, group.commits as u32);
            put_u32(&mut out, group.pieces as u32);
        }
        for run in &self.runs {
            put_u64(&mut out, run.offset);
            put_u64(&mut out, run.bytes);
            put_u32(&mut out, run.entries);
            put_u32(&mut out, run.cells);
            put_u64(&mut out, run.fingerprint);
            put_u32(&mut out, run.blocks as u32);
            put_u32(&mut out, 0);
        }
        self.blocks.iter().for_each(|&block| put_u32(&mut out, block));
        for piece in &self.pieces {
            put_u64(&mut out, piece.offset);
            put_u32(&mut out, piece.bytes);
            put_u32(&mut out, piece.checksum);
            put_u32(&mut out, piece.bounds.0);
            put_u16(&mut out, piece.nulls);
            out.push(piece.bounds.1);
            out.push(u8::from(piece.is_sorted));
        }
        out.extend_from_slice(&self.bounds);
        out
    }
}

/// A footer that has been checked, over the mapped file.
#[derive(Debug)]
pub(super) struct Footer {
    pub sections: Vec<SectionRecord>,
    pub groups: Vec<GroupRecord>,
    pub runs: Vec<RunRecord>,
    blocks: Bytes,
    pieces: Bytes,
    bounds: Bytes,
}

impl Footer {
    /// Reads the footer `bytes`; data lies between the file's head and `data_end`.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not a footer, or it points outside the data.
    pub fn read(bytes: &Bytes, data_end: u64) -> Result<Self> {
        let counts = bytes.get(..COUNTS_BYTES).ok_or_else(|| damaged("the footer ends in its counts"))?;
        let count = |i: usize| u32_at(counts, i * 4) as usize;
        let widths = [SECTION_BYTES, GROUP_BYTES, RUN_BYTES, BLOCK_BYTES, PIECE_BYTES, 1];
        let mut tables = Vec::with_capacity(widths.len());
        let mut at = COUNTS_BYTES;
        for (i, width) in widths.into_iter().enumerate() {
            // A count has 32 bits and a width is below 100, so that nothing overflows.
            let end = at + count(i) * width;
            if end > bytes.len() {
                return Err(damaged("the footer is shorter than its counts say"));
            }
            tables.push(bytes.slice(at..end));
            at = end;
        }
        if at != bytes.len() {
            return Err(damaged("the footer is longer than its counts say"));
        }
        let rows = |table: usize| tables[table].chunks_exact(widths[table]);
        let footer = Self {
            sections: rows(0).map(read_section).collect::<Result<_>>()?,
            groups: rows(1).map(read_group).collect::<Result<_>>()?,
            runs: rows(2).map(read_run).collect::<Result<_>>()?,
            blocks: tables[3].clone(),
            pieces: tables[4].clone(),
            bounds: tables[5].clone(),
        };
        footer.check_counts()?;
        footer.check_places(data_end)?;
        Ok(footer)
    }

    pub fn piece_count(&self) -> usize {
        self.pieces.len() / PIECE_BYTES
    }

    pub fn block_count(&self) -> usize {
        self.blocks.len() / BLOCK_BYTES
    }

    pub fn piece(&self, number: usize) -> Piece {
        let row = &self.pieces[number * PIECE_BYTES..(number + 1) * PIECE_BYTES];
        Piece {
            offset: u64_at(row, 0),
            bytes: u32_at(row, 8),
            checksum: u32_at(row, 12),
            bounds: (u32_at(row, 16), row[22]),
            nulls: u16_at(row, 20),
            is_sorted: row[23] == 1,
        }
    }

    pub fn block_checksum(&self, number: usize) -> u32 {
        u32_at(&self.blocks, number * BLOCK_BYTES)
    }

    /// The bytes of a piece's bounds, if it has any.
    pub fn bounds(&self, piece: &Piece) -> Option<&[u8]> {
        let (from, bytes) = piece.bounds;
        (bytes > 0).then(|| &self.bounds[from as usize..from as usize + usize::from(bytes)])
    }

    /// Sections, groups, runs, pieces and blocks follow each other without gaps, and each kind is used up.
    fn check_counts(&self) -> Result<()> {
        let (mut group, mut run, mut piece, mut block) = (0_usize, 0_usize, 0, 0);
        let mut last = None;
        for section in &self.sections {
            let name = (section.table, section.bucket);
            if last >= Some(name) {
                return Err(damaged("sections do not ascend by table and bucket"));
            }
            last = Some(name);
            let (groups, runs) = (section.groups as usize, section.runs as usize);
            let groups = self.groups.get(group..group.saturating_add(groups)).filter(|groups| !groups.is_empty());
            let groups = groups.ok_or_else(|| damaged("a section has groups that are not there"))?;
            let runs = self.runs.get(run..run.saturating_add(runs));
            let runs = runs.ok_or_else(|| damaged("a section has key runs that are not there"))?;
            if groups.len() > MAX_SECTION_GROUPS {
                return Err(damaged("a section has too many groups"));
            }
            for (i, next) in groups.iter().enumerate() {
                if i > 0 && next.first_seq <= groups[i - 1].last_seq {
                    return Err(damaged("groups do not ascend by sequence number"));
                }
                if i > 0 && next.first_commit < groups[i - 1].last_commit {
                    return Err(damaged("groups do not ascend by commit"));
                }
                if next.pieces != piece {
                    return Err(damaged("a group's pieces do not follow those of the group before it"));
                }
                piece = next.places(usize::from(section.columns)).end;
            }
            for next in runs {
                if next.blocks != block {
                    return Err(damaged("a key run's blocks do not follow those of the run before it"));
                }
                block += next.block_count();
            }
            group += groups.len();
            run += runs.len();
        }
        let counted = (group, run, piece, block);
        if counted != (self.groups.len(), self.runs.len(), self.piece_count(), self.block_count()) {
            return Err(damaged("the footer has groups, runs, pieces or blocks that belong to nothing"));
        }
        Ok(())
    }

    /// Everything lies where data may lie.
    fn check_places(&self, data_end: u64) -> Result<()> {
        let is_inside = |offset: u64, bytes: u64| {
            let end = offset.checked_add(bytes);
            offset >= HEAD_BYTES as u64 && offset.is_multiple_of(ALIGN as u64) && end.is_some_and(|end| end <= data_end)
        };
        for number in 0..self.piece_count() {
            let piece = self.piece(number);
            let (from, length) = piece.bounds;
            if !is_inside(piece.offset, u64::from(piece.bytes)) {
                return Err(damaged("a column chunk lies outside the data"));
            }
            if length > 0 && (from as usize).saturating_add(usize::from(length)) > self.bounds.len() {
                return Err(damaged("the bounds of a column chunk lie outside the footer"));
            }
        }
        if self.runs.iter().any(|run| !is_inside(run.offset, run.bytes)) {
            return Err(damaged("a key run lies outside the data"));
        }
        Ok(())
    }
}

fn read_section(row: &[u8]) -> Result<SectionRecord> {
    let mut input = Input::new(row);
    Ok(SectionRecord {
        table: TableId(input.u32()?),
        bucket: input.u16()?,
        columns: input.u16()?,
        groups: input.u32()?,
        runs: input.u32()?,
    })
}

fn read_group(row: &[u8]) -> Result<GroupRecord> {
    let mut input = Input::new(row);
    let len = input.u32()? as usize;
    let flags = input.u32()?;
    let spread = |flags: u32| match flags & 0xff {
        0 => Ok(Spread::None),
        1 => Ok(Spread::Some),
        2 => Ok(Spread::All),
        _ => Err(damaged("a group's flags are unknown")),
    };
    if flags >> 17 != 0 {
        return Err(damaged("a group's flags are unknown"));
    }
    let group = GroupRecord {
        len,
        deletes: spread(flags)?,
        updates: spread(flags >> 8)?,
        has_prev: flags >> 16 == 1,
        first_seq: input.u64()?,
        last_seq: input.u64()?,
        first_commit: CommitId(input.u64()?),
        last_commit: CommitId(input.u64()?),
        time_micros: (input.u64()? as i64, input.u64()? as i64),
        commits: input.u32()? as usize,
        pieces: input.u32()? as usize,
    };
    if len == 0 || len > GROUP_ROWS {
        return Err(damaged("a group has no entries, or too many"));
    }
    let span = group.last_seq.checked_sub(group.first_seq);
    if group.last_seq >= SEQ_LIMIT || span.is_none_or(|span| span < len as u64 - 1) {
        return Err(damaged("a group's sequence numbers do not fit its entries"));
    }
    let single = group.first_commit == group.last_commit;
    if group.first_commit > group.last_commit || !(1..=len).contains(&group.commits) || single != (group.commits == 1) {
        return Err(damaged("a group's commits do not fit its entries"));
    }
    Ok(group)
}

fn read_run(row: &[u8]) -> Result<RunRecord> {
    let mut input = Input::new(row);
    let run = RunRecord {
        offset: input.u64()?,
        bytes: input.u64()?,
        entries: input.u32()?,
        cells: input.u32()?,
        fingerprint: input.u64()?,
        blocks: input.u32()? as usize,
    };
    // Some 30 MB are the most that is written; places in a run have 32 bits.
    if run.bytes > u64::from(u32::MAX) {
        return Err(damaged("a key run is longer than is ever written"));
    }
    if run.cells == 0 || run.bytes != super::run::run_bytes(run.cells, run.entries) {
        return Err(damaged("a key run's length does not fit its entries"));
    }
    Ok(run)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
