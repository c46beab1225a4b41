//! The hash partition of a key, for state that is cut into parts.
//!
//! It depends on the key alone: a row falls into the partition of its key's state in every run of the program, however the
//! index hashes.

use arrow_array::ArrayRef;
use gridhouse_base::Result;

use super::{Keys, Slot, Store};
use crate::hash::HashMode;
use crate::packing::Packing;

/// The hash of partitions. It is a part of what a cut state means on disk, so it never changes.
const PARTITION: HashMode = HashMode::Seeded(0x7061_7274_6974_696f);

/// The part of a hash: the top bits say which, so that whatever uses the low ones stays free to.
fn part(hash: u64, of: u32) -> u32 {
    ((u128::from(hash) * u128::from(of)) >> 64) as u32
}

impl Keys {
    /// The part, of `of`, that the key at `slot` belongs to.
    pub fn part_of_slot(&self, slot: Slot, of: u32) -> u32 {
        let slot = slot as usize;
        let hash = match &self.store {
            Store::One(store) => PARTITION.words(store.keys[slot]),
            Store::Two(store) => PARTITION.words(store.keys[slot]),
            Store::Three(store) => PARTITION.words(store.keys[slot]),
            Store::Bytes(store) => PARTITION.bytes(store.arena.get(slot)),
        };
        part(hash, of)
    }

    /// The part, of `of`, of every row's key.
    ///
    /// # Errors
    /// Only defects of ours.
    pub fn parts_of_rows(&self, columns: &[ArrayRef], len: usize, of: u32) -> Result<Vec<u32>> {
        fn packed<const N: usize>(packing: &Packing, columns: &[ArrayRef], len: usize, of: u32) -> Vec<u32> {
            packing.pack::<N>(columns, len).into_iter().map(|key| part(PARTITION.words(key), of)).collect()
        }
        Ok(match &self.store {
            Store::One(store) => packed::<1>(&store.packing, columns, len, of),
            Store::Two(store) => packed::<2>(&store.packing, columns, len, of),
            Store::Three(store) => packed::<3>(&store.packing, columns, len, of),
            Store::Bytes(store) => {
                let rows = store.codec.encode(columns)?;
                (0..len).map(|i| part(PARTITION.bytes(rows.row(i)), of)).collect()
            }
        })
    }
}
