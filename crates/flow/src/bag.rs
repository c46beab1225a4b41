//! The Bag: per slot an ordered multiset, item → weight.
//!
//! Made for many small multisets and a few large ones: one item is kept inline, up to [`FEW`] in a sorted list, more in a
//! tree. Items with weight 0 are gone at once. Weights may be negative for a while, since within a tick a withdrawal can
//! overtake its insertion; whether a negative weight is left at the end is for the operator to say.

mod frozen;

use std::collections::BTreeMap;

use gridhouse_base::Result;

use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

/// Up to this many items a sorted list is smaller and faster than a tree: an insertion moves at most 1 KiB.
const FEW: usize = 32;

/// An item's place in an ordered multiset, and what is remembered with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// How many times the item is there.
    pub weight: i64,
    /// For rows of a join: the weight of the rows on the other side that match. Else 0.
    pub matches: i64,
}

/// One multiset, ordered by item.
#[derive(Default)]
pub(crate) enum Multiset<K> {
    #[default]
    Empty,
    One(K, Weight),
    Few(Vec<(K, Weight)>),
    Many(BTreeMap<K, Weight>),
}

impl<K: Ord> Multiset<K> {
    /// Adds `weight` times the item that `probe` is or stands for, made by `item` where it is new, and returns its weight
    /// before and after. An item without weight is dropped.
    pub fn add<Q: Ord + ?Sized>(&mut self, probe: &Q, weight: i64, matches: i64, item: impl FnOnce() -> K) -> (i64, i64)
    where
        K: std::borrow::Borrow<Q>,
    {
        if weight == 0 {
            let now = self.get(probe).map_or(0, |w| w.weight);
            return (now, now);
        }
        let added = Weight { weight, matches };
        match self {
            Self::Empty => {
                *self = Self::One(item(), added);
                (0, weight)
            }
            Self::One(key, held) => {
                if (*key).borrow() == probe {
                    let before = held.weight;
                    held.weight += weight;
                    let after = held.weight;
                    if after == 0 {
                        *self = Self::Empty;
                    }
                    return (before, after);
                }
                let Self::One(key, held) = std::mem::take(self) else { unreachable!("just matched") };
                let before = key.borrow() < probe;
                let (old, new) = ((key, held), (item(), added));
                *self = Self::Few(if before { vec![old, new] } else { vec![new, old] });
                (0, weight)
            }
            Self::Few(items) => match items.binary_search_by(|(key, _)| key.borrow().cmp(probe)) {
                Ok(at) => {
                    let before = items[at].1.weight;
                    items[at].1.weight += weight;
                    let after = items[at].1.weight;
                    if after == 0 {
                        items.remove(at);
                        if items.is_empty() {
                            *self = Self::Empty;
                        }
                    }
                    (before, after)
                }
                Err(at) => {
                    items.insert(at, (item(), added));
                    if items.len() > FEW {
                        let Self::Few(items) = std::mem::take(self) else { unreachable!("just matched") };
                        *self = Self::Many(items.into_iter().collect());
                    }
                    (0, weight)
                }
            },
            Self::Many(items) => {
                let (before, after) = match items.get_mut(probe) {
                    Some(held) => {
                        held.weight += weight;
                        (held.weight - weight, held.weight)
                    }
                    None => {
                        items.insert(item(), added);
                        (0, weight)
                    }
                };
                if after == 0 {
                    items.remove(probe);
                    if items.is_empty() {
                        *self = Self::Empty;
                    }
                }
                (before, after)
            }
        }
    }

    /// What is remembered of an item.
    pub fn get<Q: Ord + ?Sized>(&self, probe: &Q) -> Option<Weight>
    where
        K: std::borrow::Borrow<Q>,
    {
        match self {
            Self::Empty => None,
            Self::One(key, weight) => (key.borrow() == probe).then_some(*weight),
            Self::Few(items) => items.binary_search_by(|(key, _)| key.borrow().cmp(probe)).ok().map(|at| items[at].1),
            Self::Many(items) => items.get(probe).copied(),
        }
    }

    /// The items in order.
    pub fn iter(&self) -> Iter<'_, K> {
        match self {
            Self::Empty => Iter::One(None),
            Self::One(key, weight) => Iter::One(Some((key, weight))),
            Self::Few(items) => Iter::Few(items.iter()),
            Self::Many(items) => Iter::Many(items.iter()),
        }
    }

    /// Calls `f` on every item in the order of [`Multiset::iter`].
    pub fn for_each_mut(&mut self, mut f: impl FnMut(&K, &mut Weight)) {
        match self {
            Self::Empty => {}
            Self::One(key, weight) => f(key, weight),
            Self::Few(items) => items.iter_mut().for_each(|(key, weight)| f(key, weight)),
            Self::Many(items) => items.iter_mut().for_each(|(key, weight)| f(key, weight)),
        }
    }

    /// The smallest item with a positive weight.
    pub fn first(&self) -> Option<&K> {
        self.iter().find(|(_, w)| w.weight > 0).map(|(key, _)| key)
    }

    /// The largest item with a positive weight.
    pub fn last(&self) -> Option<&K> {
        match self {
            Self::Empty => None,
            Self::One(key, w) => (w.weight > 0).then_some(key),
            Self::Few(items) => items.iter().rev().find(|(_, w)| w.weight > 0).map(|(key, _)| key),
            Self::Many(items) => items.iter().rev().find(|(_, w)| w.weight > 0).map(|(key, _)| key),
        }
    }

    /// Removes all items below `bound`, handing each to `gone`.
    pub fn drop_below<Q: Ord + ?Sized>(&mut self, bound: &Q, mut gone: impl FnMut(&K))
    where
        K: std::borrow::Borrow<Q>,
    {
        match self {
            Self::Empty => {}
            Self::One(key, _) => {
                if (*key).borrow() < bound {
                    gone(key);
                    *self = Self::Empty;
                }
            }
            Self::Few(items) => {
                let below = items.partition_point(|(key, _)| key.borrow() < bound);
                items.drain(..below).for_each(|(key, _)| gone(&key));
                if items.is_empty() {
                    *self = Self::Empty;
                }
            }
            Self::Many(items) => {
                let rest = items.split_off(bound);
                std::mem::replace(items, rest).keys().for_each(gone);
                if items.is_empty() {
                    *self = Self::Empty;
                }
            }
        }
    }

    /// Removes the largest item.
    pub fn pop_last(&mut self) -> Option<(K, Weight)> {
        match self {
            Self::Empty => None,
            Self::One(..) => match std::mem::take(self) {
                Self::One(key, weight) => Some((key, weight)),
                _ => None,
            },
            Self::Few(items) => {
                let last = items.pop();
                if items.is_empty() {
                    *self = Self::Empty;
                }
                last
            }
            Self::Many(items) => {
                let last = items.pop_last();
                if items.is_empty() {
                    *self = Self::Empty;
                }
                last
            }
        }
    }

    /// The largest item.
    pub fn peek_last(&self) -> Option<(&K, &Weight)> {
        match self {
            Self::Empty => None,
            Self::One(key, weight) => Some((key, weight)),
            Self::Few(items) => items.last().map(|(key, weight)| (key, weight)),
            Self::Many(items) => items.last_key_value(),
        }
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The number of different items.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Few(items) => items.len(),
            Self::Many(items) => items.len(),
        }
    }
}

/// Items of a multiset in order.
pub(crate) enum Iter<'a, K> {
    One(Option<(&'a K, &'a Weight)>),
    Few(std::slice::Iter<'a, (K, Weight)>),
    Many(std::collections::btree_map::Iter<'a, K, Weight>),
}

impl<'a, K> Iterator for Iter<'a, K> {
    type Item = (&'a K, &'a Weight);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(item) => item.take(),
            Self::Few(items) => items.next().map(|(key, weight)| (key, weight)),
            Self::Many(items) => items.next(),
        }
    }
}

/// A multiset per slot, with the number of items and the bytes they hold on the heap.
pub(crate) struct Bag<K> {
    sets: Vec<Multiset<K>>,
    items: usize,
    heap_bytes: usize,
}

/// What can be an item: how much it holds on the heap, for accounting, and how it stands in a frozen state.
pub(crate) trait Item: Ord {
    /// Heap bytes of this item.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Appends the item.
    fn freeze(&self, out: &mut StateWriter);

    /// Reads an item.
    fn thaw(from: &mut StateReader<'_>) -> Result<Self>
    where
        Self: Sized;
}

impl Item for i64 {
    fn freeze(&self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }
}

impl Item for i128 {
    fn freeze(&self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }
}

impl Item for Box<[u8]> {
    fn freeze(&self, out: &mut StateWriter) {
        out.bytes(self);
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        from.bytes()
    }

    fn heap_bytes(&self) -> usize {
        // The allocator's own rounding and header, about 16 bytes, are part of what a small row costs.
        self.len() + 16
    }
}

impl<K: Item> Default for Bag<K> {
    fn default() -> Self {
        Self { sets: Vec::new(), items: 0, heap_bytes: 0 }
    }
}

impl<K: Item> Bag<K> {
    /// Makes room for slots below `end`.
    pub fn resize(&mut self, end: usize) {
        if self.sets.len() < end {
            self.sets.resize_with(end, Multiset::default);
        }
    }

    /// The multiset at `slot`.
    #[inline]
    pub fn set(&self, slot: Slot) -> &Multiset<K> {
        &self.sets[slot as usize]
    }

    /// Adds `weight` times an item at `slot` and returns its weight before and after; see [`Multiset::add`].
    pub fn add<Q: Ord + ?Sized>(
        &mut self,
        slot: Slot,
        probe: &Q,
        weight: i64,
        matches: i64,
        item: impl FnOnce() -> K,
    ) -> (i64, i64)
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut new_bytes = 0;
        let set = &mut self.sets[slot as usize];
        let before = set.len();
        let change = set.add(probe, weight, matches, || {
            let item = item();
            new_bytes = item.heap_bytes();
            item
        });
        let after = set.len();
        if after > before {
            self.items += 1;
            self.heap_bytes += new_bytes;
        } else if after < before {
            self.items -= 1;
            // Items of one bag are about alike, so the mean is a fair account of what left.
            self.heap_bytes -= self.heap_bytes / (self.items + 1);
        }
        change
    }

    /// The multiset at `slot`, to change what is remembered with its items (not their weights).
    pub fn set_mut(&mut self, slot: Slot) -> &mut Multiset<K> {
        &mut self.sets[slot as usize]
    }

    /// Removes all items below `bound` at `slot`.
    pub fn drop_below<Q: Ord + ?Sized>(&mut self, slot: Slot, bound: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let (mut items, mut bytes) = (0, 0);
        self.sets[slot as usize].drop_below(bound, |item| {
            items += 1;
            bytes += item.heap_bytes();
        });
        self.items -= items;
        self.heap_bytes = self.heap_bytes.saturating_sub(bytes);
    }

    /// Removes the largest item at `slot`.
    pub fn pop_last(&mut self, slot: Slot) {
        if let Some((item, _)) = self.sets[slot as usize].pop_last() {
            self.items -= 1;
            self.heap_bytes = self.heap_bytes.saturating_sub(item.heap_bytes());
        }
    }

    /// The number of different items in all slots.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Bytes of memory held, estimated: slots, items with their weights, what items hold on the heap.
    pub fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<Multiset<K>>() + self.items * size_of::<(K, Weight)>() + self.heap_bytes
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn every_form_agrees_with_a_plain_map() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut bag, mut plain) = (Bag::<i64>::default(), BTreeMap::<i64, i64>::new());
            bag.resize(1);
            let range = [2, 20, 200][(seed % 3) as usize];
            for _ in 0..2000 {
                let item = random.between(0, range);
                let weight = random.between(-2, 2);
                let before = plain.get(&item).copied().unwrap_or(0);
                assert_eq!(bag.add(0, &item, weight, 0, || item), (before, before + weight), "seed {seed}");
                plain.insert(item, before + weight);
                plain.retain(|_, weight| *weight != 0);
                assert_eq!(bag.items(), plain.len(), "seed {seed}");
                let held: Vec<_> = bag.set(0).iter().map(|(k, w)| (*k, w.weight)).collect();
                assert_eq!(held, plain.iter().map(|(k, w)| (*k, *w)).collect::<Vec<_>>(), "seed {seed}");
                assert_eq!(bag.set(0).first(), plain.iter().find(|(_, w)| **w > 0).map(|(k, _)| k), "seed {seed}");
                assert_eq!(bag.set(0).last(), plain.iter().rfind(|(_, w)| **w > 0).map(|(k, _)| k), "seed {seed}");
            }
        }
    }
}
