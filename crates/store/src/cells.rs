//! A sub-table of the key index: slots in one array, by open addressing.
//!
//! A key's slot is the first free one at or behind the place that its hash names, round the end. A look-up mostly touches one
//! line of memory, and with millions of keys nothing else counts: tables with control bytes apart touch two. Between a half
//! and four fifths of the slots are taken, so a key costs 20 to 30 bytes where slots have 16. Removing a key moves those
//! behind it up, so no slot is ever marked as deleted.

use crate::key_hash::KeyHasher;
use crate::tail::RowId;

/// The row id of no row: no table has so many buckets.
pub(crate) const NO_ROW_ID: RowId = RowId(u64::MAX);

/// The smallest array.
const MIN_SLOTS: usize = 8;

/// A key with the row id of its live row, or neither.
pub(crate) trait Slot: Copy {
    /// The slot of no key.
    const FREE: Self;
    fn new(key: u128, row: RowId) -> Self;
    fn key(&self) -> u128;
    fn row(&self) -> RowId;
    fn is_free(&self) -> bool {
        self.row() == NO_ROW_ID
    }
}

/// Keys with their row ids.
#[derive(Debug)]
pub(crate) struct Cells<S> {
    slots: Box<[S]>,
    len: usize,
}

impl<S: Slot> Cells<S> {
    /// None, with room for `keys` keys and a quarter more.
    pub fn with_room(keys: usize) -> Self {
        Self { slots: vec![S::FREE; slots_for(keys + keys / 4)].into(), len: 0 }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The memory of the array.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Keys and row ids, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().filter(|slot| !slot.is_free())
    }

    /// The row id of `key`.
    pub fn get(&self, hash: u64, key: u128) -> Option<RowId> {
        let slot = &self.slots[self.seek(hash, key)];
        (!slot.is_free()).then(|| slot.row())
    }

    /// Points `key` to `row` if it is there.
    pub fn replace(&mut self, hash: u64, key: u128, row: RowId) -> bool {
        let slot = self.seek(hash, key);
        let is_there = !self.slots[slot].is_free();
        if is_there {
            self.slots[slot] = S::new(key, row);
        }
        is_there
    }

    /// Adds a key that is not there.
    pub fn insert(&mut self, hash: u64, key: u128, row: RowId, hasher: KeyHasher) {
        if slots_for(self.len + 1) > self.slots.len() {
            self.rebuild(self.len + 1, hasher, |_| true);
        }
        let slot = self.seek(hash, key);
        debug_assert!(self.slots[slot].is_free(), "a key is added once");
        self.slots[slot] = S::new(key, row);
        self.len += 1;
    }

    /// Forgets `key`, if it is there.
    pub fn remove(&mut self, hash: u64, key: u128, hasher: KeyHasher) {
        let mut hole = self.seek(hash, key);
        if self.slots[hole].is_free() {
            return;
        }
        let behind = |from: usize, to: usize, slots: usize| if to >= from { to - from } else { to + slots - from };
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.slots[at];
            if slot.is_free() {
                break;
            }
            // A key may not stand before the place that its hash names.
            let home = self.place(hasher.hash(slot.key()));
            if behind(home, at, self.slots.len()) >= behind(hole, at, self.slots.len()) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = S::FREE;
        self.len -= 1;
    }

    /// Keeps only the keys that `keep` names, in no more memory than they need.
    pub fn retain(&mut self, hasher: KeyHasher, keep: impl Fn(&S) -> bool) {
        let kept = self.iter().filter(|slot| keep(slot)).count();
        self.rebuild(kept, hasher, keep);
    }

    /// Moves the keys that `keep` names into an array for `keys` keys.
    fn rebuild(&mut self, keys: usize, hasher: KeyHasher, keep: impl Fn(&S) -> bool) {
        let slots = vec![S::FREE; slots_for(keys)].into();
        let old = std::mem::replace(self, Self { slots, len: 0 });
        for slot in old.iter().filter(|slot| keep(slot)) {
            let to = self.seek(hasher.hash(slot.key()), slot.key());
            self.slots[to] = *slot;
            self.len += 1;
        }
    }

    /// Where `key` is, or would be.
    fn seek(&self, hash: u64, key: u128) -> usize {
        let mut at = self.place(hash);
        loop {
            let slot = &self.slots[at];
            if slot.is_free() || slot.key() == key {
                return at;
            }
            at = self.after(at);
        }
    }

    /// The place that a hash names: by its lower half, because the upper one has chosen the sub-table.
    fn place(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// The size of an array for `keys` keys: a power of two or one and a half of it, so that an array that has just grown is more
/// than half full, and one slot in five is free, so that every search ends soon.
fn slots_for(keys: usize) -> usize {
    let least = (keys * 5).div_ceil(4).max(MIN_SLOTS);
    let power = least.next_power_of_two();
    if least <= power / 4 * 3 { power / 4 * 3 } else { power }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhouse_base::random::Random;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct Small(u64, RowId);

    impl Slot for Small {
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

    #[test]
    fn keys_are_there_until_they_are_removed_whatever_their_places() {
        let hasher = KeyHasher::of_secret([1, 2]);
        let mut random = Random::new(5);
        let mut cells = Cells::<Small>::with_room(0);
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..60_000 {
            let key = random.below(900);
            let hash = hasher.hash(u128::from(key));
            if random.chance(0.45) {
                cells.remove(hash, u128::from(key), hasher);
                model.remove(&key);
            } else if cells.replace(hash, u128::from(key), RowId(step)) {
                assert!(model.insert(key, step).is_some(), "key {key} was there");
            } else {
                assert!(model.insert(key, step).is_none(), "key {key} was not there");
                cells.insert(hash, u128::from(key), RowId(step), hasher);
            }
            assert_eq!(cells.len(), model.len());
            if step % 1000 == 0 {
                for key in 0..900 {
                    let found = cells.get(hasher.hash(u128::from(key)), u128::from(key));
                    assert_eq!(found, model.get(&key).map(|&row| RowId(row)), "key {key} at step {step}");
                }
            }
        }
        cells.retain(hasher, |slot| slot.key() % 10 == 0);
        model.retain(|key, _| key % 10 == 0);
        assert_eq!(cells.len(), model.len());
        assert!(cells.bytes() <= model.len() * 40 + 128, "{} bytes for {} keys", cells.bytes(), model.len());
        let mut left: Vec<u64> = cells.iter().map(|slot| slot.key() as u64).collect();
        left.sort_unstable();
        assert_eq!(left, model.into_keys().collect::<Vec<_>>());
    }
}
