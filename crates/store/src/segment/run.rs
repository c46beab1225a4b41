//! Key runs: where in a section the entries of a key may be, as a static hash table in the file.
//!
//! A run has cells, about eight entries in each, chosen by the upper half of the key's hash. A directory tells where each
//! cell begins; a cell holds a 16-bit fragment of the hash (its lowest bits) for each entry, then the entries' places: group
//! within the section (16 bits) and position in the group (16 bits). That is 6.5 bytes an entry, and a look-up touches two
//! places: the directory and the cell. An absent key yields a wrong candidate once in about 8,000 look-ups; candidates are
//! compared with the row's key by whoever looks.
//!
//! Within a cell newer entries come first. Not in a run are deletions, and entries that a later entry of the same run is
//! known to have killed: whoever sees the section sees them dead. A row that is updated again and again does therefore not
//! fill its cell.
//!
//! A run is built in memory, from at most [`MAX_RUN_ENTRIES`] entries or one group more; a larger section has several runs,
//! which are all looked at.

use std::ops::Range;

use gridhouse_base::Result;

use super::footer::ALIGN;
use crate::codec::damaged;
use crate::tail::{NO_ROW, TailBatch};

/// Entries in a run before the next one begins. Building one takes up to 16 bytes an entry, 64 MB.
pub(super) const MAX_RUN_ENTRIES: usize = 4 << 20;

/// Entries in a cell on average: their fragments fill 16 bytes, and the directory costs half a byte an entry.
const CELL_ENTRIES: usize = 8;

const DIRECTORY_BYTES: usize = 4;
const FRAGMENT_BYTES: usize = 2;
const PLACE_BYTES: usize = 4;
const ENTRY_BYTES: usize = FRAGMENT_BYTES + PLACE_BYTES;

/// The length of a run.
pub(super) fn run_bytes(cells: u32, entries: u32) -> u64 {
    let directory = (u64::from(cells) + 1) * DIRECTORY_BYTES as u64;
    (directory + u64::from(entries) * ENTRY_BYTES as u64).next_multiple_of(ALIGN as u64)
}

/// The cell of a hash, by its upper 32 bits.
fn cell_of(hash: u64, cells: u32) -> u32 {
    (((hash >> 32) * u64::from(cells)) >> 32) as u32
}

/// A run under construction.
#[derive(Debug, Default)]
pub(super) struct RunBuilder {
    /// The hashes of all entries, those that are left out included.
    hashes: Vec<u64>,
    /// Which entries are left out, one bit each.
    skipped: Vec<u64>,
    skipped_count: usize,
    groups: Vec<BuiltGroup>,
}

#[derive(Debug)]
struct BuiltGroup {
    /// Its number in the section.
    number: u16,
    /// The number of its first entry in `hashes`.
    start: usize,
    len: usize,
    first_seq: u64,
    /// Whether its sequence numbers are consecutive, so that an entry can be found by its number.
    is_dense: bool,
}

/// A run that is ready to be written.
pub(super) struct BuiltRun {
    pub cells: u32,
    pub entries: u32,
    pub bytes: Vec<u8>,
}

impl RunBuilder {
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.hashes.len() >= MAX_RUN_ENTRIES
    }

    /// Adds the entries `range` of a batch as group `number` of the section; `hashes` are theirs.
    pub fn push(&mut self, number: u16, entries: &TailBatch, range: Range<usize>, hashes: impl Iterator<Item = u64>) {
        let start = self.hashes.len();
        self.hashes.extend(hashes);
        self.skipped.resize(self.hashes.len().div_ceil(64), 0);
        let (first_seq, last_seq) = (entries.seq(range.start), entries.seq(range.end - 1));
        let is_dense = last_seq - first_seq == range.len() as u64 - 1;
        self.groups.push(BuiltGroup { number, start, len: range.len(), first_seq, is_dense });
        for i in range.clone().filter(|&i| entries.is_delete(i)) {
            self.skip(start + i - range.start);
        }
        let Some(prev) = &entries.prev else { return };
        let oldest = self.groups[0].first_seq;
        let mut last_hit = self.groups.len() - 1;
        for &seq in prev[range.clone()].iter().filter(|&&seq| seq != NO_ROW && seq >= oldest) {
            if !self.groups[last_hit].covers(seq) {
                last_hit = self.groups.partition_point(|group| group.first_seq <= seq) - 1;
            }
            let group = &self.groups[last_hit];
            if group.covers(seq) && group.is_dense {
                self.skip(group.start + (seq - group.first_seq) as usize);
            }
        }
    }

    fn skip(&mut self, entry: usize) {
        let bit = 1 << (entry % 64);
        self.skipped_count += usize::from(self.skipped[entry / 64] & bit == 0);
        self.skipped[entry / 64] |= bit;
    }

    /// The entries that belong in the run, newest first: hash and place.
    fn entries(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.groups.iter().rev().flat_map(move |group| {
            let kept = move |i: &usize| {
                let entry = group.start + i;
                self.skipped[entry / 64] >> (entry % 64) & 1 == 0
            };
            let place = move |i: usize| (self.hashes[group.start + i], u32::from(group.number) << 16 | i as u32);
            (0..group.len).rev().filter(kept).map(place)
        })
    }

    /// The run of all entries so far; the builder is empty afterwards.
    pub fn finish(&mut self) -> BuiltRun {
        let entries = (self.hashes.len() - self.skipped_count) as u32;
        let cells = entries.div_ceil(CELL_ENTRIES as u32).max(1);
        let mut starts = vec![0_u32; cells as usize + 1];
        for (hash, _) in self.entries() {
            starts[cell_of(hash, cells) as usize + 1] += 1;
        }
        for cell in 0..cells as usize {
            starts[cell + 1] += starts[cell];
        }
        let mut bytes = vec![0; run_bytes(cells, entries) as usize];
        let (directory, cell_bytes) = bytes.split_at_mut(starts.len() * DIRECTORY_BYTES);
        for (slot, start) in directory.chunks_exact_mut(DIRECTORY_BYTES).zip(&starts) {
            slot.copy_from_slice(&start.to_le_bytes());
        }
        let mut filled = vec![0_u32; cells as usize];
        for (hash, place) in self.entries() {
            let cell = cell_of(hash, cells) as usize;
            let slots = CellSlots::of(starts[cell], starts[cell + 1]);
            let fragment = slots.fragment(filled[cell] as usize);
            cell_bytes[fragment].copy_from_slice(&(hash as u16).to_le_bytes());
            let slot = slots.place(filled[cell] as usize);
            cell_bytes[slot].copy_from_slice(&place.to_le_bytes());
            filled[cell] += 1;
        }
        *self = Self::default();
        BuiltRun { cells, entries, bytes }
    }
}

impl BuiltGroup {
    fn covers(&self, seq: u64) -> bool {
        seq.checked_sub(self.first_seq).is_some_and(|distance| distance < self.len as u64)
    }
}

/// Where the parts of a cell are, from the end of the directory.
#[derive(Clone, Copy)]
struct CellSlots {
    start: usize,
    len: usize,
}

impl CellSlots {
    fn of(start: u32, end: u32) -> Self {
        Self { start: start as usize * ENTRY_BYTES, len: (end - start) as usize }
    }

    fn fragment(self, i: usize) -> Range<usize> {
        let at = self.start + i * FRAGMENT_BYTES;
        at..at + FRAGMENT_BYTES
    }

    fn place(self, i: usize) -> Range<usize> {
        let at = self.start + self.len * FRAGMENT_BYTES + i * PLACE_BYTES;
        at..at + PLACE_BYTES
    }
}

/// A run in a mapped file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub cells: u32,
    pub entries: u32,
    /// All of its bytes, [`run_bytes`].
    pub bytes: &'a [u8],
}

impl<'a> Run<'a> {
    /// The bytes of the directory that a look-up of `hash` reads.
    pub fn directory_slot(&self, hash: u64) -> Range<usize> {
        let at = cell_of(hash, self.cells) as usize * DIRECTORY_BYTES;
        at..at + 2 * DIRECTORY_BYTES
    }

    /// The bytes of the cell that `directory_slot` points to.
    ///
    /// # Errors
    /// `Corrupt` if that is not within the run.
    pub fn cell(&self, directory_slot: Range<usize>) -> Result<Range<usize>> {
        let start = u32_at(self.bytes, directory_slot.start);
        let end = u32_at(self.bytes, directory_slot.start + DIRECTORY_BYTES);
        if start > end || end > self.entries {
            return Err(damaged("the directory of a key run does not ascend"));
        }
        let cells = (self.cells as usize + 1) * DIRECTORY_BYTES;
        Ok(cells + start as usize * ENTRY_BYTES..cells + end as usize * ENTRY_BYTES)
    }

    /// The places in `cell` whose fragment is that of `hash`, newest first: group in the section and position.
    pub fn places(&self, cell: Range<usize>, hash: u64) -> impl Iterator<Item = (usize, usize)> + use<'a> {
        let cell = &self.bytes[cell];
        let (fragments, places) = cell.split_at(cell.len() / ENTRY_BYTES * FRAGMENT_BYTES);
        let wanted = (hash as u16).to_le_bytes();
        let pairs = fragments.as_chunks::<FRAGMENT_BYTES>().0.iter().zip(places.as_chunks::<PLACE_BYTES>().0);
        pairs.filter(move |(fragment, _)| **fragment == wanted).map(|(_, place)| {
            let place = u32::from_le_bytes(*place);
            ((place >> 16) as usize, (place & 0xffff) as usize)
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}
