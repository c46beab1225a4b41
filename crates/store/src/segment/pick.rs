//! Rows picked from all over segments.
//!
//! A single value takes several places of memory, each found through the one before: the record of its piece in the footer, the
//! head of the piece, the value, for texts also the bytes that a start and lengths lead to. Waiting for them one by one is most
//! of what such a row costs. So a block of pieces goes step by step together, and each step first reads a byte of everything
//! that it will need, in a loop so short that the processor runs ahead through it and waits for all of it at once.

use std::hint::black_box;
use std::ops::Range;

use arrow_array::ArrayRef;
use gridhouse_base::Result;
use smallvec::SmallVec;

use super::encoding::{CHUNK_ROWS, EncodedColumn, GatherColumn};
use super::group::Group;

/// How many pieces go together: more than a processor can wait for at once, few enough that what was touched stays in its
/// first cache until it is used.
const BLOCK: usize = 64;

/// How many parsed pieces lie on the stack: those of a row of a table that is not wide.
const ON_STACK: usize = 12;

/// Rows of groups of one table, in the order in which they are given out.
#[derive(Debug, Default)]
pub(crate) struct Picks<'a> {
    chunks: Vec<Picked<'a>>,
    /// Positions within chunks.
    rows: Vec<u32>,
}

/// Rows of one chunk.
#[derive(Debug)]
struct Picked<'a> {
    group: &'a Group,
    chunk: usize,
    rows: Range<usize>,
}

impl<'a> Picks<'a> {
    /// Adds the row at `position` of `group`. Rows of the same chunk that follow each other are read fastest.
    pub fn push(&mut self, group: &'a Group, position: u32) {
        let (chunk, row) = (position as usize / CHUNK_ROWS, position % CHUNK_ROWS as u32);
        let end = self.rows.len() + 1;
        match self.chunks.last_mut() {
            Some(last) if last.chunk == chunk && last.group.is_same(group) => last.rows.end = end,
            _ => self.chunks.push(Picked { group, chunk, rows: end - 1..end }),
        }
        self.rows.push(row);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The numbers of the rows' primary keys.
    ///
    /// # Errors
    /// As [`Picks::columns`].
    ///
    /// # Panics
    /// If there are no rows.
    pub fn keys(&self) -> Result<Vec<u128>> {
        let shape = self.chunks.first().expect("rows were picked").group.shape();
        shape.codec.keys(&self.columns(&shape.spec.primary_key)?)
    }

    /// The columns `columns` of the rows.
    ///
    /// # Errors
    /// `Corrupt` if a segment is damaged there.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn columns(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let types = &self.chunks.first().expect("rows were picked").group.shape().types;
        let mut out: SmallVec<[GatherColumn; ON_STACK]> = SmallVec::new();
        out.extend(columns.iter().map(|&c| GatherColumn::new(&types[c], self.len())));
        let count = columns.len() * self.chunks.len();
        let piece = |i: usize| (i / self.chunks.len(), &self.chunks[i % self.chunks.len()]);
        let mut parsed: SmallVec<[EncodedColumn; ON_STACK]> = SmallVec::new();
        for from in (0..count).step_by(BLOCK) {
            let block = from..count.min(from + BLOCK);
            let mut seen = 0;
            for (column, picked) in block.clone().map(piece) {
                seen ^= picked.group.touch(columns[column], picked.chunk);
            }
            black_box(seen);
            for (column, picked) in block.clone().map(piece) {
                seen ^= picked.group.touch_first(columns[column], picked.chunk);
            }
            black_box(seen);
            parsed.clear();
            for (column, picked) in block.clone().map(piece) {
                parsed.push(picked.group.encoded(columns[column], picked.chunk)?);
            }
            for step in 0..EncodedColumn::TOUCHES {
                for ((_, picked), encoded) in block.clone().map(piece).zip(&parsed) {
                    for row in &self.rows[picked.rows.clone()] {
                        seen ^= encoded.touch(*row as usize, step);
                    }
                }
                black_box(seen);
            }
            for ((column, picked), encoded) in block.map(piece).zip(&parsed) {
                let gathered = encoded.gather(&self.rows[picked.rows.clone()], &mut out[column]);
                gathered.map_err(|error| picked.group.located(error, columns[column], picked.chunk))?;
            }
        }
        out.into_iter().map(GatherColumn::finish).collect()
    }
}
