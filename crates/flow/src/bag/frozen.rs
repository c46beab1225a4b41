//! A Bag in a frozen state: slot by slot the number of items, then each item with its weight and that of its matches.

use gridhouse_base::{Error, Result};

use super::{Bag, FEW, Item, Multiset, Weight};
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

impl<K: Item> Bag<K> {
    /// Writes the multisets at `slots`.
    pub fn freeze(&self, slots: &[Slot], out: &mut StateWriter) {
        for &slot in slots {
            let set = &self.sets[slot as usize];
            out.varint(set.len() as u64);
            for (item, held) in set.iter() {
                item.freeze(out);
                out.signed(held.weight);
                out.signed(held.matches);
            }
        }
    }

    /// Reads the multisets of the slots below `count` into this Bag, which has none. Items that `accept` does not are damage.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not such multisets.
    pub fn thaw(&mut self, count: usize, from: &mut StateReader<'_>, accept: impl Fn(&K) -> bool) -> Result<()> {
        if !self.sets.is_empty() {
            return Err(Error::internal("rows can only be read into a state that is empty"));
        }
        self.sets.reserve_exact(count);
        for _ in 0..count {
            let len = from.count()?;
            let mut items: Vec<(K, Weight)> = Vec::new();
            for _ in 0..len {
                let item = K::thaw(from)?;
                let held = Weight { weight: from.signed()?, matches: from.signed()? };
                let in_order = items.last().is_none_or(|(last, _)| *last < item);
                if !in_order || held.weight == 0 || !accept(&item) {
                    return Err(from.damaged("an item is out of order, without weight, or not of its type"));
                }
                self.heap_bytes += item.heap_bytes();
                items.push((item, held));
            }
            self.items += len;
            self.sets.push(Multiset::of_sorted(items));
        }
        Ok(())
    }
}

impl<K: Ord> Multiset<K> {
    /// The multiset of items that are in order and all different.
    fn of_sorted(mut items: Vec<(K, Weight)>) -> Self {
        match items.len() {
            0 => Self::Empty,
            1 => items.pop().map_or(Self::Empty, |(item, held)| Self::One(item, held)),
            len if len <= FEW => Self::Few(items),
            _ => Self::Many(items.into_iter().collect()),
        }
    }
}
