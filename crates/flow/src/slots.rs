//! The slots of a key index, and the table that leads from a key's hash to its slot.
//!
//! The table knows no keys: an entry is the low half of the hash and the slot, and the caller tells whether the key at a slot
//! is the one that it looks for. So an entry takes one word, growing needs no key, and a whole block of look-ups can be begun
//! before the first is decided ([`SlotTable::first`]): the processor then waits for many places of memory at once instead of
//! one after the other.

use crate::pages::Pages;

/// The index of a key's state.
pub(crate) type Slot = u32;

/// Stands in the place of a slot for rows that have none.
pub(crate) const NO_SLOT: Slot = Slot::MAX;

/// Which slots are live; released ones are given out again, last first.
#[derive(Default)]
pub(crate) struct Slots {
    live: Pages<bool, 15>,
    free: Vec<Slot>,
}

impl Slots {
    /// So many slots, all live.
    pub fn all_live(count: usize) -> Self {
        let mut live = Pages::default();
        live.resize(count, true);
        Self { live, free: Vec::new() }
    }

    /// The live slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.live.iter().enumerate().filter(|(_, live)| **live).map(|(slot, _)| slot as Slot)
    }

    /// A slot that is live from now on.
    pub fn take(&mut self) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.live[slot as usize] = true;
            return slot;
        }
        self.live.push(true);
        (self.live.len() - 1) as Slot
    }

    /// Gives a slot back; tells whether it was live.
    pub fn release(&mut self, slot: Slot) -> bool {
        let was_live = self.live[slot as usize];
        if was_live {
            self.live[slot as usize] = false;
            self.free.push(slot);
        }
        was_live
    }

    /// A copy to be read: it has the same live slots, and none to give out again.
    pub fn share(&mut self) -> Self {
        Self { live: self.live.share(), free: Vec::new() }
    }

    /// One past the largest slot ever taken.
    pub fn end(&self) -> usize {
        self.live.len()
    }

    /// The number of live slots.
    pub fn live(&self) -> usize {
        self.live.len() - self.free.len()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.live.bytes() + self.free.capacity() * size_of::<Slot>()
    }
}

/// An entry that holds nothing. No entry looks like this, since no slot is [`NO_SLOT`].
const FREE: u64 = u64::MAX;

/// The places of an empty table.
const FEWEST_PLACES: usize = 16;

/// Hash → slot, by open addressing: an entry lies at the place that its hash names or, where others lie there, in the row of
/// entries behind it. At most three quarters of the places are taken, so such rows are short; on average a key costs 11 to 21
/// bytes.
pub(crate) struct SlotTable {
    /// The low half of the hash in the high half of the word, the slot in the low half.
    entries: Vec<u64>,
    len: usize,
}

impl Default for SlotTable {
    fn default() -> Self {
        Self { entries: vec![FREE; FEWEST_PLACES], len: 0 }
    }
}

impl SlotTable {
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// The entry at the place that `hash` names, whatever it is; to be given to [`SlotTable::candidate`].
    #[inline]
    pub fn first(&self, hash: u64) -> u64 {
        self.entries[hash as usize & self.mask()]
    }

    /// The slot of an entry that may be that of `hash`.
    #[inline]
    pub fn candidate(entry: u64, hash: u64) -> Option<Slot> {
        (entry >> 32 == hash & 0xffff_ffff && entry != FREE).then_some(entry as Slot)
    }

    /// The slot of `hash` for which `same` holds.
    #[inline]
    pub fn find(&self, hash: u64, same: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut place = hash as usize & self.mask();
        loop {
            let entry = self.entries[place];
            if entry == FREE {
                return None;
            }
            if let Some(slot) = Self::candidate(entry, hash).filter(|&slot| same(slot)) {
                return Some(slot);
            }
            place = (place + 1) & self.mask();
        }
    }

    /// Adds a slot, which is not there yet.
    pub fn insert(&mut self, hash: u64, slot: Slot) {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            let grown = vec![FREE; self.entries.len() * 2];
            for entry in std::mem::replace(&mut self.entries, grown).into_iter().filter(|&entry| entry != FREE) {
                self.put(entry);
            }
        }
        self.put(hash << 32 | u64::from(slot));
        self.len += 1;
    }

    fn put(&mut self, entry: u64) {
        let mut place = (entry >> 32) as usize & self.mask();
        while self.entries[place] != FREE {
            place = (place + 1) & self.mask();
        }
        self.entries[place] = entry;
    }

    /// Removes a slot, if it is there. Entries behind it move up, so that none stands behind a gap.
    pub fn remove(&mut self, hash: u64, slot: Slot) {
        let wanted = hash << 32 | u64::from(slot);
        let mask = self.mask();
        let mut gap = hash as usize & mask;
        while self.entries[gap] != wanted {
            if self.entries[gap] == FREE {
                return;
            }
            gap = (gap + 1) & mask;
        }
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let entry = self.entries[place];
            if entry == FREE {
                break;
            }
            // It may move unless its own place lies between the gap and where it is.
            let own = (entry >> 32) as usize & mask;
            if place.wrapping_sub(own) & mask >= place.wrapping_sub(gap) & mask {
                self.entries[gap] = entry;
                gap = place;
            }
        }
        self.entries[gap] = FREE;
        self.len -= 1;
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn the_table_agrees_with_a_plain_map_however_hashes_collide() {
        for (seed, bits) in [(1, 64), (2, 9), (3, 3), (4, 0)] {
            let mut random = Random::new(seed);
            let hash = |slot: Slot| {
                if bits == 0 { u64::MAX } else { u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits) }
            };
            let (mut table, mut plain) = (SlotTable::default(), BTreeMap::new());
            for round in 0..20_000 {
                let slot = random.below(600) as Slot;
                if plain.remove(&slot).is_some() {
                    table.remove(hash(slot), slot);
                } else {
                    plain.insert(slot, ());
                    table.insert(hash(slot), slot);
                }
                let asked = random.below(600) as Slot;
                let found = table.find(hash(asked), |slot| slot == asked);
                assert_eq!(found, plain.get(&asked).map(|()| asked), "seed {seed}, round {round}");
                assert_eq!(table.len, plain.len(), "seed {seed}, round {round}");
            }
        }
    }
}
