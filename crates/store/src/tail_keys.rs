//! Where the keys of a batch in memory are: a table for look-ups, made when the first one asks the batch.
//!
//! Most of the batches that are asked do not have the key. To say so takes one place of memory: a slot is four bytes, the
//! position of an entry and above it as many bits of its key's hash as are left, and every other slot is free. Beside the slots
//! stand the keys' low 64 bits by position; with two slots an entry that is 16 bytes each, for batches that are asked only.

use crate::key_hash::KeyHasher;
use crate::tail::{NO_ROW, TailBatch};

/// A slot that no entry has: positions never have all of their bits set.
const FREE: u32 = u32::MAX;

/// The keys of a batch.
#[derive(Debug)]
pub(crate) struct TailKeys {
    slots: Box<[u32]>,
    keys: Box<[u64]>,
    /// How many bits of a slot are the position.
    position_bits: u32,
}

impl TailKeys {
    /// The table for `batch`, whose entries have `keys`. Deletions are left out, and what a later entry of the batch has killed:
    /// neither is ever found alive.
    pub fn new(batch: &TailBatch, keys: &[u128], hasher: KeyHasher) -> Self {
        assert!(batch.len == keys.len() && batch.len < FREE as usize, "a batch has {} keys", keys.len());
        let mut is_dead = vec![false; batch.len];
        if let Some(prev) = &batch.prev {
            let killed = prev.iter().filter(|&&seq| seq != NO_ROW && seq >= batch.first_seq);
            killed.filter_map(|&seq| batch.position(seq)).for_each(|position| is_dead[position] = true);
        }
        let mut table = Self {
            slots: vec![FREE; 2 * batch.len.max(1)].into(),
            keys: keys.iter().map(|&key| key as u64).collect(),
            position_bits: u32::BITS - (batch.len as u32).leading_zeros(),
        };
        for (position, &key) in keys.iter().enumerate() {
            if !is_dead[position] && !batch.is_delete(position) {
                table.insert(hasher.hash(key), position as u32);
            }
        }
        table
    }

    fn insert(&mut self, hash: u64, position: u32) {
        let mut at = self.start(hash);
        while self.slots[at] != FREE {
            at = self.next(at);
        }
        self.slots[at] = self.fragment(hash) | position;
    }

    fn start(&self, hash: u64) -> usize {
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    fn fragment(&self, hash: u64) -> u32 {
        ((hash << self.position_bits) & u64::from(u32::MAX)) as u32
    }

    /// Reads the slot where a look-up of `hash` begins, so that it is at hand.
    #[inline]
    pub fn touch(&self, hash: u64) -> u32 {
        self.slots[self.start(hash)]
    }

    /// The positions of the entries whose key may be `key`, which has `hash`: all 64 low bits of theirs are its.
    pub fn positions(&self, hash: u64, key: u128) -> impl Iterator<Item = usize> + '_ {
        let fragment = self.fragment(hash);
        let mask = ((1_u64 << self.position_bits) - 1) as u32;
        let mut at = self.start(hash);
        std::iter::from_fn(move || {
            loop {
                let slot = self.slots[at];
                if slot == FREE {
                    return None;
                }
                at = self.next(at);
                let position = (slot & mask) as usize;
                if slot & !mask == fragment && self.keys[position] == key as u64 {
                    return Some(position);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use gridhouse_base::CommitId;

    use super::*;

    fn batch(len: usize, prev: Vec<u64>) -> TailBatch {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![0; len]))];
        TailBatch::new(100, columns, len, false, Some(prev.into()), CommitId(1))
    }

    #[test]
    fn every_entry_that_may_live_is_found_and_nothing_else() {
        let hasher = KeyHasher::new(7);
        for len in [1, 2, 3, 255, 256, 257, 70_000] {
            let keys: Vec<u128> = (0..len as u128).map(|i| i * 3).collect();
            let table = TailKeys::new(&batch(len, vec![NO_ROW; len]), &keys, hasher);
            let found = |key: u128| table.positions(hasher.hash(key), key).collect::<Vec<_>>();
            assert!((0..len).all(|i| found(keys[i]) == [i]), "{len} entries");
            assert!((0..len).all(|i| found(keys[i] + 1).is_empty()), "{len} entries");
        }
    }

    #[test]
    fn a_row_that_is_updated_all_the_time_takes_one_slot() {
        let (len, hasher) = (50_000, KeyHasher::new(7));
        // Key 5 is written again and again; every write kills the one before.
        let prev = (0..len as u64).map(|i| if i == 0 { 3 } else { 99 + i }).collect();
        let table = TailKeys::new(&batch(len, prev), &vec![5; len], hasher);
        assert_eq!(table.slots.iter().filter(|slot| **slot != FREE).count(), 1);
        assert_eq!(table.positions(hasher.hash(5), 5).collect::<Vec<_>>(), [len - 1]);
    }
}
