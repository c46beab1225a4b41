//! Ascending lists of numbers with weights, one per group, in a few flat buffers ([`crate::blocks`]).
//!
//! Made for a great many short lists. A list is named by its head, which the owner keeps. A single number of weight 1 is kept
//! by the owner and takes nothing here. Numbers of weight 0 are gone at once. A head is marked where a number of positive
//! weight is there.

use super::number::Number;
use crate::blocks::{Blocks, FEW, FEW_AGAIN, Head, Kept, Trees};
use crate::sorted::Sorted;

/// What a number in a tree costs beside itself: its share of what is free in chunks.
const TREE_BYTES: usize = 16;

/// The lists.
pub(super) struct Lists<K> {
    blocks: Blocks<(K, i64)>,
    trees: Trees<Sorted<K, i64>>,
    items: usize,
    items_in_trees: usize,
}

impl<K: Number> Default for Lists<K> {
    fn default() -> Self {
        Self { blocks: Blocks::default(), trees: Trees::default(), items: 0, items_in_trees: 0 }
    }
}

impl<K: Number> Lists<K> {
    /// Adds `weight` (not 0) times `value` to a list. `one` is the number that the owner keeps, if it does. Returns the list's
    /// new head and the largest (`largest`) or smallest number of positive weight; where the form is now that of a single
    /// number, that is the one that the owner has to keep.
    #[inline]
    pub fn add(&mut self, head: Head, one: K, value: K, weight: i64, largest: bool) -> (Head, Option<K>) {
        match head.kept() {
            Kept::Nothing if weight == 1 => {
                self.items += 1;
                (Head::new(Kept::One, 0, 0).marked(true), Some(value))
            }
            Kept::Nothing => {
                self.items += 1;
                let head = self.blocks.put(&[(value, weight)]);
                self.in_block(head, largest)
            }
            Kept::One if one == value && weight == -1 => {
                self.items -= 1;
                (Head::EMPTY, None)
            }
            Kept::One if one == value => {
                let head = self.blocks.put(&[(value, 1 + weight)]);
                self.in_block(head, largest)
            }
            Kept::One => {
                self.items += 1;
                let (one, other) = ((one, 1), (value, weight));
                let head = self.blocks.put(&if one < other { [one, other] } else { [other, one] });
                self.in_block(head, largest)
            }
            Kept::Block(class) => self.add_to_block(head, class, value, weight, largest),
            Kept::Tree => self.add_to_tree(head, value, weight, largest),
        }
    }

    fn add_to_block(&mut self, head: Head, class: usize, value: K, weight: i64, largest: bool) -> (Head, Option<K>) {
        let items = self.blocks.items_mut(head, class);
        let head = match items.binary_search_by(|(held, _)| held.cmp(&value)) {
            Ok(at) => {
                items[at].1 += weight;
                if items[at].1 == 0 {
                    self.items -= 1;
                    self.blocks.remove(head, class, at)
                } else {
                    head
                }
            }
            Err(at) => {
                self.items += 1;
                match self.blocks.insert(head, class, at, (value, weight)) {
                    Ok(head) => head,
                    Err(items) => {
                        self.items_in_trees += items.len();
                        let head = self.trees.put(Sorted::of(items));
                        return self.in_tree(head, largest);
                    }
                }
            }
        };
        self.in_block(head, largest)
    }

    /// The head, in the right form, and the extreme of a list that is in a block or gone.
    #[inline]
    fn in_block(&mut self, head: Head, largest: bool) -> (Head, Option<K>) {
        let Kept::Block(class) = head.kept() else { return (head, None) };
        let items = self.blocks.items(head, class);
        if let [(only, 1)] = *items {
            self.blocks.free(head, class);
            return (Head::new(Kept::One, 0, 0).marked(true), Some(only));
        }
        let positive = |&(value, weight): &(K, i64)| (weight > 0).then_some(value);
        let extreme = if largest { items.iter().rev().find_map(positive) } else { items.iter().find_map(positive) };
        (head.marked(extreme.is_some()), extreme)
    }

    fn add_to_tree(&mut self, head: Head, value: K, weight: i64, largest: bool) -> (Head, Option<K>) {
        let tree = self.trees.tree_mut(head);
        let before = tree.len();
        match tree.find(&value) {
            Ok(place) => {
                let held = tree.value_mut(place);
                *held += weight;
                if *held == 0 {
                    tree.remove_at(place);
                }
            }
            Err(place) => tree.insert_at(place, value, weight),
        }
        let after = tree.len();
        self.items = self.items - before + after;
        self.items_in_trees = self.items_in_trees - before + after;
        if after <= FEW_AGAIN {
            self.items_in_trees -= after;
            let items: Vec<(K, i64)> = self.trees.take(head).iter().copied().collect();
            let head = self.blocks.put(&items);
            return self.in_block(head, largest);
        }
        self.in_tree(head, largest)
    }

    fn in_tree(&self, head: Head, largest: bool) -> (Head, Option<K>) {
        let tree = self.trees.tree(head);
        let positive = |&(value, weight): &(K, i64)| (weight > 0).then_some(value);
        let extreme = if largest { tree.iter().rev().find_map(positive) } else { tree.iter().find_map(positive) };
        (head.marked(extreme.is_some()), extreme)
    }

    /// The numbers of a list in order, with their weights; `one` is the number that the owner keeps, if it does.
    pub fn items_of(&self, head: Head, one: K) -> Vec<(K, i64)> {
        match head.kept() {
            Kept::Nothing => Vec::new(),
            Kept::One => vec![(one, 1)],
            Kept::Block(class) => self.blocks.items(head, class).to_vec(),
            Kept::Tree => self.trees.tree(head).iter().copied().collect(),
        }
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        let (items, items_in_trees) = (self.items, self.items_in_trees);
        Self { blocks: self.blocks.share(), trees: self.trees.share(), items, items_in_trees }
    }

    /// A list of numbers that are in order, all different and with a weight; returns what [`Lists::add`] does.
    pub fn restore(&mut self, items: Vec<(K, i64)>, largest: bool) -> (Head, Option<K>) {
        self.items += items.len();
        match items.len() {
            0 => (Head::EMPTY, None),
            len if len <= FEW => {
                let head = self.blocks.put(&items);
                self.in_block(head, largest)
            }
            len => {
                self.items_in_trees += len;
                let head = self.trees.put(Sorted::of(items));
                self.in_tree(head, largest)
            }
        }
    }

    /// Reads the beginning of a list, so that it is at hand when it is changed soon after.
    #[inline]
    pub fn touch(&self, head: Head) -> i64 {
        match head.kept() {
            Kept::Block(class) => self.blocks.items(head, class)[0].1,
            _ => 0,
        }
    }

    /// The number of different numbers in all lists.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Bytes of memory held, those in trees estimated.
    pub fn bytes(&self) -> usize {
        self.blocks.bytes() + self.trees.bytes() + self.items_in_trees * (size_of::<(K, i64)>() + TREE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn every_form_agrees_with_a_plain_map() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let largest = seed % 2 == 0;
            let mut lists = Lists::<i64>::default();
            let mut heads = [(Head::EMPTY, 0); 3];
            let mut plain: [BTreeMap<i64, i64>; 3] = Default::default();
            let range = [2, 20, 200][(seed % 3) as usize];
            for round in 0..3_000 {
                let list = random.below(3) as usize;
                // Now and then the lists run dry, so that trees become blocks again.
                let held = plain[list].iter().next().map(|(&value, &weight)| (value, -weight));
                let drawn = (random.between(0, range), *random.pick(&[-2, -1, 1, 1, 1, 2]));
                let (value, weight) = held.filter(|_| round / 300 % 2 == 1).unwrap_or(drawn);
                let (head, one) = heads[list];
                let (head, extreme) = lists.add(head, one, value, weight, largest);
                heads[list] = (head, extreme.unwrap_or_default());
                *plain[list].entry(value).or_default() += weight;
                plain[list].retain(|_, weight| *weight != 0);
                let mut positive = plain[list].iter().filter(|(_, weight)| **weight > 0).map(|(value, _)| *value);
                let expected = if largest { positive.next_back() } else { positive.next() };
                assert_eq!(extreme, expected, "seed {seed}, round {round}");
                assert_eq!((head.is_marked(), head.is_empty()), (extreme.is_some(), plain[list].is_empty()));
                assert_eq!(lists.items(), plain.iter().map(BTreeMap::len).sum::<usize>(), "seed {seed}, round {round}");
            }
            let in_blocks = heads.iter().filter(|(head, _)| matches!(head.kept(), Kept::Block(_))).count();
            assert_eq!(lists.blocks.in_use(), in_blocks, "seed {seed}: no block is lost");
        }
    }
}
