//! The key index of the Cells: key → slot, by open addressing on the key's hash.
//!
//! A slot is a small number that the columns of state are indexed by; every live key has exactly one, and slots of
//! released keys are given out again. Keys of up to 24 bytes (null bits included) are packed into words and live inside
//! the table, 8 and 16 bytes among them; a single 8-byte column keeps its NULL outside the word, so that it stays at
//! 8 bytes. All other keys are `arrow-row` bytes in an arena. Two NULLs are the same key here; where SQL says otherwise
//! (joins) the caller leaves such rows out.
//!
//! What a slot means (accumulators, a bag of rows) is no concern of this file.

mod frozen;
mod parts;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{Error, Result};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use crate::arena::ByteArena;
use crate::hash::HashMode;
use crate::packing::{Packed, Packing};
use crate::rows::RowCodec;

/// The index of a key's state.
pub(crate) type Slot = u32;

/// Stands in the place of a slot for rows that have none.
pub(crate) const NO_SLOT: Slot = Slot::MAX;

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

    /// One past the largest slot ever given out: the length that columns of state need.
    pub fn end(&self) -> usize {
        self.slots.end()
    }

    /// The number of live keys.
    pub fn live(&self) -> usize {
        self.slots.end() - self.slots.free.len()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let store = match &self.store {
            Store::One(store) => store.bytes(),
            Store::Two(store) => store.bytes(),
            Store::Three(store) => store.bytes(),
            Store::Bytes(store) => store.table.allocation_size() + store.arena.memory_bytes(),
        };
        store + self.slots.live.capacity() + self.slots.free.capacity() * size_of::<Slot>()
    }
}

/// Which slots are live; released ones are given out again, last first.
#[derive(Default)]
struct Slots {
    live: Vec<bool>,
    free: Vec<Slot>,
}

impl Slots {
    fn take(&mut self) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.live[slot as usize] = true;
            return slot;
        }
        self.live.push(true);
        (self.live.len() - 1) as Slot
    }

    fn release(&mut self, slot: Slot) -> bool {
        let was_live = std::mem::replace(&mut self.live[slot as usize], false);
        if was_live {
            self.free.push(slot);
        }
        was_live
    }

    fn end(&self) -> usize {
        self.live.len()
    }
}

/// Keys of `N` words, inside the table.
struct Fixed<const N: usize> {
    packing: Packing,
    mode: HashMode,
    table: HashTable<FixedEntry<N>>,
    /// The key of every slot.
    keys: Vec<[u64; N]>,
    /// The slot of NULL where it is kept outside the words.
    null_slot: Option<Slot>,
}

struct FixedEntry<const N: usize> {
    key: [u64; N],
    slot: Slot,
}

impl<const N: usize> Fixed<N> {
    fn new(packing: Packing, mode: HashMode) -> Self {
        Self { packing, mode, table: HashTable::new(), keys: Vec::new(), null_slot: None }
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
        for (i, &key) in packed.iter().enumerate() {
            if present.is_some_and(|present| present.is_null(i)) {
                out.push(NO_SLOT);
                continue;
            }
            if outside.is_some_and(|nulls| nulls.is_null(i)) {
                let slot = match self.null_slot {
                    Some(slot) => slot,
                    None => self.add_key(slots.take(), key),
                };
                self.null_slot = Some(slot);
                out.push(slot);
                continue;
            }
            let hash = mode.words(key);
            let slot = match self.table.entry(hash, |entry| entry.key == key, |entry| mode.words(entry.key)) {
                TableEntry::Occupied(entry) => entry.get().slot,
                TableEntry::Vacant(entry) => {
                    let slot = slots.take();
                    entry.insert(FixedEntry { key, slot });
                    self.add_key(slot, key)
                }
            };
            out.push(slot);
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
        let hash = self.mode.words(self.keys[slot as usize]);
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.slot == slot) {
            entry.remove();
        }
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
        self.table.allocation_size() + self.keys.capacity() * size_of::<[u64; N]>()
    }
}

/// Keys as `arrow-row` bytes in an arena.
struct Bytes {
    codec: RowCodec,
    mode: HashMode,
    table: HashTable<BytesEntry>,
    arena: ByteArena,
}

/// The whole hash is kept: it makes growing cheap and spares most comparisons of bytes.
struct BytesEntry {
    hash: u64,
    slot: Slot,
}

impl Bytes {
    fn new(types: &[DataType], mode: HashMode) -> Result<Self> {
        let codec = RowCodec::new(types.iter().map(|t| (t.clone(), SortOptions::default())))?;
        Ok(Self { codec, mode, table: HashTable::new(), arena: ByteArena::default() })
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
        for i in 0..len {
            if present.is_some_and(|present| present.is_null(i)) {
                out.push(NO_SLOT);
                continue;
            }
            let key = rows.row(i);
            let hash = self.mode.bytes(key);
            let arena = &mut self.arena;
            let same = |entry: &BytesEntry| entry.hash == hash && arena.get(entry.slot as usize) == key;
            let slot = match self.table.entry(hash, same, |entry| entry.hash) {
                TableEntry::Occupied(entry) => entry.get().slot,
                TableEntry::Vacant(entry) => {
                    let slot = slots.take();
                    entry.insert(BytesEntry { hash, slot });
                    arena.set(slot as usize, key);
                    slot
                }
            };
            out.push(slot);
        }
        Ok(())
    }

    fn remove(&mut self, slot: Slot) {
        let hash = self.mode.bytes(self.arena.get(slot as usize));
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.slot == slot) {
            entry.remove();
        }
        self.arena.clear(slot as usize);
    }
}
