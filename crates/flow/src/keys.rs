//! The key index: key → slot, through a table of hashes ([`crate::slots`]).
//!
//! A slot is a small number that the columns of state are indexed by; every live key has exactly one, and slots of
//! released keys are given out again. Keys of up to 24 bytes (null bits included) are packed into words, 8 and 16 bytes
//! among them; a single 8-byte column keeps its NULL outside the word, so that it stays at 8 bytes. All other keys are
//! `arrow-row` bytes in an arena. Two NULLs are the same key here; where SQL says otherwise (joins) the caller leaves such
//! rows out.
//!
//! What a slot means (accumulators, a bag of rows) is no concern of this file.

mod frozen;
mod parts;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{Error, Result};

use crate::arena::ByteArena;
use crate::hash::HashMode;
use crate::packing::{Packed, Packing};
use crate::pages::Pages;
use crate::rows::RowCodec;
pub(crate) use crate::slots::{NO_SLOT, Slot};
use crate::slots::{SlotTable, Slots};

/// How many keys are looked up side by side: enough to keep the memory busy, few enough to stay in the first cache.
const BLOCK_KEYS: usize = 256;

/// Key → slot.
pub(crate) struct Keys {
    slots: Slots,
    store: Store,
}

enum Store {
    One(Fixed<1>),
    Two(Fixed<2>),
    Three(Fixed<3>),
    Bytes(Bytes),
}

impl Keys {
    /// An index over keys of these column types.
    pub fn new(types: &[DataType], mode: HashMode) -> Result<Self> {
        let store = match Packing::of(types) {
            Some(packing) if packing.words == 1 => Store::One(Fixed::new(packing, mode)),
            Some(packing) if packing.words == 2 => Store::Two(Fixed::new(packing, mode)),
            Some(packing) => Store::Three(Fixed::new(packing, mode)),
            None => Store::Bytes(Bytes::new(types, mode)?),
        };
        Ok(Self { slots: Slots::default(), store })
    }

    /// Writes the slot of every row's key to `out`, making slots for new keys. Rows that are null in `present` get
    /// [`NO_SLOT`].
    pub fn resolve(
        &mut self,
        columns: &[ArrayRef],
        len: usize,
        present: Option<&NullBuffer>,
        out: &mut Vec<Slot>,
    ) -> Result<()> {
        if self.slots.end() + len >= NO_SLOT as usize {
            return Err(Error::invalid("an operator cannot hold more than 4,294,967,294 different keys")
                .hint("let fewer rows in: add a condition, or use keys with fewer values"));
        }
        out.clear();
        out.reserve(len);
        match &mut self.store {
            Store::One(store) => store.resolve(&mut self.slots, columns, len, present, out),
            Store::Two(store) => store.resolve(&mut self.slots, columns, len, present, out),
            Store::Three(store) => store.resolve(&mut self.slots, columns, len, present, out),
            Store::Bytes(store) => store.resolve(&mut self.slots, columns, len, present, out)?,
        }
        Ok(())
    }

    /// The key columns of the keys at `slots`, all of them live.
    pub fn columns(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        match &self.store {
            Store::One(store) => store.columns(slots),
            Store::Two(store) => store.columns(slots),
            Store::Three(store) => store.columns(slots),
            Store::Bytes(store) => store.codec.decode(slots.iter().map(|&slot| store.arena.get(slot as usize))),
        }
    }

    /// Forgets the key at `slot`, if it is live; its slot will be given out again.
    pub fn release(&mut self, slot: Slot) {
        if !self.slots.release(slot) {
            return;
        }
        match &mut self.store {
            Store::One(store) => store.remove(slot),
            Store::Two(store) => store.remove(slot),
            Store::Three(store) => store.remove(slot),
            Store::Bytes(store) => store.remove(slot),
        }
    }

    /// A copy for writing the keys down, which has the same pages until they change. No key can be looked up in it.
    pub fn share(&mut self) -> Self {
        let store = match &mut self.store {
            Store::One(store) => Store::One(store.share()),
            Store::Two(store) => Store::Two(store.share()),
            Store::Three(store) => Store::Three(store.share()),
            Store::Bytes(store) => Store::Bytes(store.share()),
        };
        Self { slots: self.slots.share(), store }
    }

    /// One past the largest slot ever given out: the length that columns of state need.
    pub fn end(&self) -> usize {
        self.slots.end()
    }

    /// The number of live keys.
    pub fn live(&self) -> usize {
        self.slots.live()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let store = match &self.store {
            Store::One(store) => store.bytes(),
            Store::Two(store) => store.bytes(),
            Store::Three(store) => store.bytes(),
            Store::Bytes(store) => store.table.bytes() + store.arena.memory_bytes(),
        };
        store + self.slots.bytes()
    }
}

/// Keys of `N` words.
struct Fixed<const N: usize> {
    packing: Packing,
    mode: HashMode,
    table: SlotTable,
    /// The key of every slot.
    keys: Pages<[u64; N], 11>,
    /// The slot of NULL where it is kept outside the words.
    null_slot: Option<Slot>,
}

impl<const N: usize> Fixed<N> {
    fn new(packing: Packing, mode: HashMode) -> Self {
        Self { packing, mode, table: SlotTable::default(), keys: Pages::default(), null_slot: None }
    }

    fn resolve(
        &mut self,
        slots: &mut Slots,
        columns: &[ArrayRef],
        len: usize,
        present: Option<&NullBuffer>,
        out: &mut Vec<Slot>,
    ) {
        let packed: Vec<[u64; N]> = self.packing.pack(columns, len);
        let outside = if self.packing.null_outside { columns[0].nulls() } else { None };
        let mode = self.mode;
        let (mut hashes, mut entries) = ([0; BLOCK_KEYS], [0; BLOCK_KEYS]);
        for (block, keys) in packed.chunks(BLOCK_KEYS).enumerate() {
            let (hashes, entries) = (&mut hashes[..keys.len()], &mut entries[..keys.len()]);
            keys.iter().zip(&mut *hashes).for_each(|(&key, hash)| *hash = mode.words(key));
            hashes.iter().zip(&mut *entries).for_each(|(&hash, entry)| *entry = self.table.first(hash));
            let found = entries.iter().zip(&*hashes).filter_map(|(&entry, &hash)| SlotTable::candidate(entry, hash));
            std::hint::black_box(found.fold(0, |read, slot| read ^ self.keys[slot as usize][0]));
            for (i, &key) in keys.iter().enumerate() {
                let row = block * BLOCK_KEYS + i;
                if present.is_some_and(|present| present.is_null(row)) {
                    out.push(NO_SLOT);
                    continue;
                }
                if outside.is_some_and(|nulls| nulls.is_null(row)) {
                    let slot = match self.null_slot {
                        Some(slot) => slot,
                        None => self.add_key(slots.take(), key),
                    };
                    self.null_slot = Some(slot);
                    out.push(slot);
                    continue;
                }
                let hash = hashes[i];
                let same = |slot: Slot| self.keys[slot as usize] == key;
                let first = SlotTable::candidate(entries[i], hash).filter(|&slot| same(slot));
                let slot = match first.or_else(|| self.table.find(hash, same)) {
                    Some(slot) => slot,
                    None => {
                        let slot = slots.take();
                        self.table.insert(hash, slot);
                        self.add_key(slot, key)
                    }
                };
                out.push(slot);
            }
        }
    }

    fn add_key(&mut self, slot: Slot, key: [u64; N]) -> Slot {
        let at = slot as usize;
        if at == self.keys.len() {
            self.keys.push(key);
        } else {
            self.keys[at] = key;
        }
        slot
    }

    fn remove(&mut self, slot: Slot) {
        if self.null_slot == Some(slot) {
            self.null_slot = None;
            return;
        }
        self.table.remove(self.mode.words(self.keys[slot as usize]), slot);
    }

    fn columns(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let keys: Vec<[u64; N]> = slots.iter().map(|&slot| self.keys[slot as usize]).collect();
        let column = |packed: &Packed| {
            let valid: NullBuffer = if self.packing.null_outside {
                slots.iter().map(|&slot| Some(slot) != self.null_slot).collect()
            } else {
                keys.iter().map(|key| (key[packed.null_word] >> packed.null_shift) & 1 == 0).collect()
            };
            packed.unpack(&keys, (valid.null_count() > 0).then_some(valid))
        };
        self.packing.columns.iter().map(column).collect()
    }

    fn bytes(&self) -> usize {
        self.table.bytes() + self.keys.bytes()
    }

    fn share(&mut self) -> Self {
        let (packing, table) = (self.packing.clone(), SlotTable::default());
        Self { packing, mode: self.mode, table, keys: self.keys.share(), null_slot: self.null_slot }
    }
}

/// Keys as `arrow-row` bytes in an arena.
struct Bytes {
    codec: Arc<RowCodec>,
    mode: HashMode,
    table: SlotTable,
    arena: ByteArena,
}

impl Bytes {
    fn new(types: &[DataType], mode: HashMode) -> Result<Self> {
        let codec = RowCodec::new(types.iter().map(|t| (t.clone(), SortOptions::default())))?;
        Ok(Self { codec: Arc::new(codec), mode, table: SlotTable::default(), arena: ByteArena::default() })
    }

    fn resolve(
        &mut self,
        slots: &mut Slots,
        columns: &[ArrayRef],
        len: usize,
        present: Option<&NullBuffer>,
        out: &mut Vec<Slot>,
    ) -> Result<()> {
        let rows = self.codec.encode(columns)?;
        let (mut hashes, mut entries) = ([0; BLOCK_KEYS], [0; BLOCK_KEYS]);
        for from in (0..len).step_by(BLOCK_KEYS) {
            let block = from..len.min(from + BLOCK_KEYS);
            let (hashes, entries) = (&mut hashes[..block.len()], &mut entries[..block.len()]);
            block.clone().zip(&mut *hashes).for_each(|(row, hash)| *hash = self.mode.bytes(rows.row(row)));
            hashes.iter().zip(&mut *entries).for_each(|(&hash, entry)| *entry = self.table.first(hash));
            let found = entries.iter().zip(&*hashes).filter_map(|(&entry, &hash)| SlotTable::candidate(entry, hash));
            std::hint::black_box(found.fold(0, |read, slot| read ^ self.arena.touch(slot as usize)));
            for row in block {
                if present.is_some_and(|present| present.is_null(row)) {
                    out.push(NO_SLOT);
                    continue;
                }
                let (key, hash) = (rows.row(row), hashes[row - from]);
                let same = |slot: Slot| self.arena.get(slot as usize) == key;
                let first = SlotTable::candidate(entries[row - from], hash).filter(|&slot| same(slot));
                let slot = match first.or_else(|| self.table.find(hash, same)) {
                    Some(slot) => slot,
                    None => {
                        let slot = slots.take();
                        self.table.insert(hash, slot);
                        self.arena.set(slot as usize, key);
                        slot
                    }
                };
                out.push(slot);
            }
        }
        Ok(())
    }

    fn share(&mut self) -> Self {
        let table = SlotTable::default();
        Self { codec: self.codec.clone(), mode: self.mode, table, arena: self.arena.share() }
    }

    fn remove(&mut self, slot: Slot) {
        self.table.remove(self.mode.bytes(self.arena.get(slot as usize)), slot);
        self.arena.clear(slot as usize);
    }
}
