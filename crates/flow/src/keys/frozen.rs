//! Keys in a frozen state: one after the other, in the order of their slots, which are numbered anew from 0.
//!
//! Only live slots are written, so free ones take no room and the index comes back dense. Hashes are made again when the
//! keys are read, so it does not matter how the writer hashed. Packed keys are written as their words (see
//! [`crate::packing`] for what lies where), others as their row bytes.

use arrow_array::ArrayRef;
use gridhouse_base::{Error, Result};

use super::{Bytes, Fixed, Keys, Slot, Slots, Store};
use crate::frozen::{StateReader, StateWriter};

/// The form of row bytes; packed keys have the number of their words.
const ROW_BYTES: u64 = 0;

impl Keys {
    /// The slots that have a key, in ascending order.
    pub fn live_slots(&self) -> Vec<Slot> {
        self.slots.iter().collect()
    }

    /// Writes the keys at `slots`. Where the first column (UINT32) is a number that is given anew, `first` holds it.
    pub fn freeze(&self, slots: &[Slot], first: Option<&[u32]>, out: &mut StateWriter) {
        out.varint(match &self.store {
            Store::One(_) => 1,
            Store::Two(_) => 2,
            Store::Three(_) => 3,
            Store::Bytes(_) => ROW_BYTES,
        });
        out.varint(slots.len() as u64);
        match &self.store {
            Store::One(store) => store.freeze(slots, first, out),
            Store::Two(store) => store.freeze(slots, first, out),
            Store::Three(store) => store.freeze(slots, first, out),
            Store::Bytes(store) => store.freeze(slots, first, out),
        }
    }

    /// Reads keys into this index, which holds none, and tells how many they are: their slots are the numbers below that.
    ///
    /// # Errors
    /// `Corrupt` where they are not keys of this index's form, or one is there twice.
    pub fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<usize> {
        if self.slots.end() > 0 {
            return Err(Error::internal("keys can only be read into an index that is empty"));
        }
        let form = from.varint()?;
        let own = match &self.store {
            Store::One(_) => 1,
            Store::Two(_) => 2,
            Store::Three(_) => 3,
            Store::Bytes(_) => ROW_BYTES,
        };
        if form != own {
            return Err(from.damaged("its keys are of another form"));
        }
        let count = from.count()?;
        self.slots = Slots::all_live(count);
        match &mut self.store {
            Store::One(store) => store.thaw(count, from)?,
            Store::Two(store) => store.thaw(count, from)?,
            Store::Three(store) => store.thaw(count, from)?,
            Store::Bytes(store) => store.thaw(count, from)?,
        }
        Ok(count)
    }

    /// The first key column of all slots, which are all live.
    pub fn first_column(&self) -> Result<ArrayRef> {
        let slots: Vec<Slot> = (0..self.end() as Slot).collect();
        self.columns(&slots)?.into_iter().next().ok_or_else(|| Error::internal("keys have no columns"))
    }
}

impl<const N: usize> Fixed<N> {
    fn freeze(&self, slots: &[Slot], first: Option<&[u32]>, out: &mut StateWriter) {
        for (i, &slot) in slots.iter().enumerate() {
            let mut key = self.keys[slot as usize];
            if let Some(first) = first {
                self.packing.columns[0].replace_u32(&mut key, first[i]);
            }
            key.iter().for_each(|word| out.put(&word.to_le_bytes()));
        }
        let null = self.null_slot.and_then(|null| slots.iter().position(|&slot| slot == null));
        out.varint(null.map_or(0, |place| place as u64 + 1));
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        if count > from.left() / (8 * N) {
            return Err(from.damaged("more keys are announced than follow"));
        }
        for _ in 0..count {
            let mut key = [0; N];
            for word in &mut key {
                *word = u64::from_le_bytes(from.array()?);
            }
            self.keys.push(key);
        }
        let null = from.varint()?;
        if null > if self.packing.null_outside { count as u64 } else { 0 } {
            return Err(from.damaged("a key that is not there is NULL"));
        }
        self.null_slot = null.checked_sub(1).map(|place| place as Slot);
        for (slot, &key) in self.keys.iter().enumerate() {
            if self.null_slot == Some(slot as Slot) {
                continue;
            }
            let hash = self.mode.words(key);
            if self.table.find(hash, |other| self.keys[other as usize] == key).is_some() {
                return Err(from.damaged("a key is there twice"));
            }
            self.table.insert(hash, slot as Slot);
        }
        Ok(())
    }
}

impl Bytes {
    fn freeze(&self, slots: &[Slot], first: Option<&[u32]>, out: &mut StateWriter) {
        for (i, &slot) in slots.iter().enumerate() {
            let key = self.arena.get(slot as usize);
            match first {
                None => out.bytes(key),
                Some(first) => {
                    // A row begins with the byte that says that its first column is there, then that in big-endian bytes.
                    out.varint(key.len() as u64);
                    out.put(&key[..1]);
                    out.put(&first[i].to_be_bytes());
                    out.put(&key[5..]);
                }
            }
        }
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count {
            let key = from.bytes()?;
            if !self.codec.is_row(&key) {
                return Err(from.damaged("a key is not a row"));
            }
            let hash = self.mode.bytes(&key);
            if self.table.find(hash, |other| self.arena.get(other as usize) == &*key).is_some() {
                return Err(from.damaged("a key is there twice"));
            }
            self.table.insert(hash, slot as Slot);
            self.arena.set(slot, &key);
        }
        Ok(())
    }
}
