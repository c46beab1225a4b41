//! The resident key index of a primary-key table: key number → row id of the live row.
//!
//! Extendible hashing: a directory of sub-tables chosen by the top bits of the key's hash. A sub-table that is full splits
//! in two, so growth moves at most [`SUB_TABLE_KEYS`] keys at once, however large the table is. Slots hold 16 bytes for
//! exact keys and 24 for hashed ones. The index belongs to the writer; it is never shared and never on disk.
//!
//! Every key whose live row is in memory is always here. Keys whose rows lie in segments are found there by the segments' key
//! runs; here they are kept as far as the budget allows. A sub-table that holds all keys of its range is *complete*: what it
//! does not have, nobody has. A new table's index is complete; one that has been opened again, or has had to forget, is not.

use gridhouse_base::random::Random;

use crate::cells::{Cells, NO_ROW_ID, Slot};
use crate::key_hash::KeyHasher;
use crate::tail::RowId;

/// Keys in a sub-table before it splits, which fill 65,536 slots: about half a millisecond of work and a megabyte to move.
const SUB_TABLE_KEYS: usize = 52_428;

/// The directory's largest depth, 2^20 sub-tables: room for 3 × 10^10 keys, beyond what row ids are used for.
const MAX_DEPTH: u32 = 20;

#[derive(Clone, Copy, Debug)]
struct NarrowSlot(u64, RowId);

#[derive(Clone, Copy, Debug)]
struct WideSlot([u64; 2], RowId);

impl Slot for NarrowSlot {
    const FREE: Self = Self(0, NO_ROW_ID);
    fn new(key: u128, row: RowId) -> Self {
        Self(key as u64, row)
    }
    fn key(&self) -> u128 {
        u128::from(self.0)
    }
    fn row(&self) -> RowId {
        self.1
    }
}

impl Slot for WideSlot {
    const FREE: Self = Self([0; 2], NO_ROW_ID);
    fn new(key: u128, row: RowId) -> Self {
        Self([key as u64, (key >> 64) as u64], row)
    }
    fn key(&self) -> u128 {
        u128::from(self.0[0]) | (u128::from(self.0[1]) << 64)
    }
    fn row(&self) -> RowId {
        self.1
    }
}

/// What the index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The live row.
    Row(RowId),
    /// There is no live row.
    Nothing,
    /// A live row may lie in a segment.
    Unknown,
}

/// The key index of one table.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    hasher: KeyHasher,
    slots: Slots,
    /// Whether keys of sealed rows may still be kept.
    has_room: bool,
}

#[derive(Debug)]
enum Slots {
    Narrow(Directory<NarrowSlot>),
    Wide(Directory<WideSlot>),
}

impl KeyIndex {
    /// An empty index, for exact keys or for hashed ones; `complete` if there are no rows that it does not know of.
    pub fn new(exact: bool, secret: u64, complete: bool) -> Self {
        let slots = if exact { Slots::Narrow(Directory::new(complete)) } else { Slots::Wide(Directory::new(complete)) };
        Self { hasher: KeyHasher::new(Random::new(secret).bits()), slots, has_room: true }
    }

    /// What is known of `key`.
    pub fn get(&self, key: u128) -> Found {
        let hash = self.hasher.hash(key);
        match &self.slots {
            Slots::Narrow(directory) => directory.get(hash, key),
            Slots::Wide(directory) => directory.get(hash, key),
        }
    }

    /// Keeps in mind that the live row of `key` is `row`, which lies in a segment, if there is room.
    pub fn remember(&mut self, key: u128, row: RowId) {
        if self.has_room {
            self.set(key, row);
        }
    }

    /// The memory of all sub-tables in bytes.
    pub fn bytes(&self) -> usize {
        match &self.slots {
            Slots::Narrow(directory) => directory.bytes(),
            Slots::Wide(directory) => directory.bytes(),
        }
    }

    /// Forgets sub-table by sub-table until at most `budget` bytes are held; keys of rows that are `in_memory` stay.
    pub fn shrink(&mut self, budget: usize, in_memory: &dyn Fn(RowId) -> bool) {
        let hasher = self.hasher;
        match &mut self.slots {
            Slots::Narrow(directory) => directory.shrink(budget, in_memory, hasher),
            Slots::Wide(directory) => directory.shrink(budget, in_memory, hasher),
        }
        // Between two calls the index grows by what is written; an eighth of the budget is left for that.
        self.has_room = self.bytes() <= budget - budget / 8;
    }

    /// Points `key` to `row`.
    pub fn set(&mut self, key: u128, row: RowId) {
        let hash = self.hasher.hash(key);
        let hasher = self.hasher;
        match &mut self.slots {
            Slots::Narrow(directory) => directory.set(hash, key, row, hasher),
            Slots::Wide(directory) => directory.set(hash, key, row, hasher),
        }
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: u128) {
        let hasher = self.hasher;
        let hash = hasher.hash(key);
        match &mut self.slots {
            Slots::Narrow(directory) => directory.remove(hash, key, hasher),
            Slots::Wide(directory) => directory.remove(hash, key, hasher),
        }
    }
}

/// Sub-tables by the top bits of the hash. A sub-table of depth `d` serves all 2^(depth - d) directory entries whose top
/// `d` bits are its own.
#[derive(Debug)]
struct Directory<S> {
    depth: u32,
    entries: Vec<u32>,
    tables: Vec<SubTable<S>>,
}

#[derive(Debug)]
struct SubTable<S> {
    depth: u32,
    /// Whether it holds all keys of its range.
    complete: bool,
    cells: Cells<S>,
}

impl<S: Slot> Directory<S> {
    fn new(complete: bool) -> Self {
        Self { depth: 0, entries: vec![0], tables: vec![SubTable { depth: 0, complete, cells: Cells::with_room(0) }] }
    }

    fn bytes(&self) -> usize {
        let tables = self.tables.iter().map(|table| table.cells.bytes() + size_of::<SubTable<S>>());
        tables.sum::<usize>() + self.entries.len() * size_of::<u32>()
    }

    fn shrink(&mut self, budget: usize, in_memory: &dyn Fn(RowId) -> bool, hasher: KeyHasher) {
        let mut bytes = self.bytes();
        // Where to begin moves on with what is held, so that the same ranges are not forgotten every time.
        let first = self.tables.iter().map(|table| table.cells.len()).sum::<usize>() % self.tables.len();
        for i in 0..self.tables.len() {
            if bytes <= budget {
                return;
            }
            let at = (first + i) % self.tables.len();
            let table = &mut self.tables[at];
            let before = table.cells.bytes();
            table.complete = false;
            table.cells.retain(hasher, |slot| in_memory(slot.row()));
            bytes = bytes + table.cells.bytes() - before;
        }
    }

    fn entry(&self, hash: u64) -> usize {
        hash.checked_shr(64 - self.depth).unwrap_or(0) as usize
    }

    fn table(&self, hash: u64) -> usize {
        self.entries[self.entry(hash)] as usize
    }

    fn get(&self, hash: u64, key: u128) -> Found {
        let table = &self.tables[self.table(hash)];
        match table.cells.get(hash, key) {
            Some(row) => Found::Row(row),
            None if table.complete => Found::Nothing,
            None => Found::Unknown,
        }
    }

    fn set(&mut self, hash: u64, key: u128, row: RowId, hasher: KeyHasher) {
        let mut table = self.table(hash);
        if self.tables[table].cells.replace(hash, key, row) {
            return;
        }
        while self.tables[table].cells.len() >= SUB_TABLE_KEYS && self.tables[table].depth < MAX_DEPTH {
            self.split(table, hash, hasher);
            table = self.table(hash);
        }
        self.tables[table].cells.insert(hash, key, row, hasher);
    }

    fn remove(&mut self, hash: u64, key: u128, hasher: KeyHasher) {
        let table = self.table(hash);
        self.tables[table].cells.remove(hash, key, hasher);
    }

    /// Splits sub-table `table`, to which `hash` belongs, by the next bit of the hash.
    fn split(&mut self, table: usize, hash: u64, hasher: KeyHasher) {
        let (depth, complete) = (self.tables[table].depth + 1, self.tables[table].complete);
        if depth > self.depth {
            self.entries = self.entries.iter().flat_map(|&entry| [entry, entry]).collect();
            self.depth = depth;
        }
        let upper = self.tables.len();
        let room = self.tables[table].cells.len() / 2;
        let mut halves = [Cells::with_room(room), Cells::with_room(room)];
        for slot in self.tables[table].cells.iter() {
            let hash = hasher.hash(slot.key());
            halves[(hash >> (64 - depth)) as usize & 1].insert(hash, slot.key(), slot.row(), hasher);
        }
        let [low, high] = halves;
        self.tables[table] = SubTable { depth, complete, cells: low };
        self.tables.push(SubTable { depth, complete, cells: high });
        // The entries whose top bits are the old sub-table's: the second half of them moves to the new one.
        let span = 1usize << (self.depth - depth);
        let first = (self.entry(hash) / (2 * span)) * 2 * span;
        for entry in &mut self.entries[first + span..first + 2 * span] {
            *entry = upper as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_after_many_splits_and_removals() {
        for exact in [true, false] {
            let mut index = KeyIndex::new(exact, 7, true);
            let key = |i: u64| if exact { u128::from(i) } else { u128::from(i) << 64 | u128::from(i * 3) };
            let keys = 200_000;
            for i in 0..keys {
                index.set(key(i), RowId(i));
            }
            for i in (0..keys).step_by(3) {
                index.remove(key(i));
                index.set(key(i + 1), RowId(keys + i));
            }
            for i in 0..keys {
                let expected = match i % 3 {
                    0 => Found::Nothing,
                    1 => Found::Row(RowId(keys + i - 1)),
                    _ => Found::Row(RowId(i)),
                };
                assert_eq!(index.get(key(i)), expected, "key {i}, exact {exact}");
            }
            assert_eq!(index.get(key(keys + 5)), Found::Nothing);
            let full = index.bytes();
            index.shrink(full / 4, &|row| row.0 % 1000 == 2);
            assert!(index.bytes() <= full / 4, "{} of {full} bytes", index.bytes());
            assert_eq!(index.get(key(2)), Found::Row(RowId(2)), "a row in memory is never forgotten");
            let unknown = (0..keys).filter(|&i| index.get(key(i)) == Found::Unknown).count();
            assert!(unknown > 100_000, "{unknown} keys are to be looked up in segments");
        }
    }
}
