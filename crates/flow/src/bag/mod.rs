//! The Bag: per slot an ordered multiset of rows, which are bytes here, with a weight each.
//!
//! Made for many small multisets and a few large ones, without a piece of memory for each: a slot has one word; rows lie in
//! one sequence of pages ([`slab`]); where a slot has several, up to 32 are listed in a block in their order ([`crate::blocks`]). More
//! are in a tree, which holds the rows too. Rows of weight 0 are gone at once. Weights may be negative for a while, since
//! within a tick a withdrawal can overtake its insertion; whether a negative weight is left at the end is for the operator to
//! say.

mod frozen;
mod slab;

use gridhouse_base::{Error, Result};

use crate::blocks::{Blocks, FEW, FEW_AGAIN, Head, Kept, Trees};
use crate::keys::{NO_SLOT, Slot};
use crate::pages::Pages;
use crate::sorted::{Entries, Sorted};
use slab::{RowId, Slab};

/// What a row in a tree costs beside itself and its weight: its share of what is free in chunks, and the rounding and head of
/// the allocator.
const TREE_BYTES: usize = 40;

/// What is remembered of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// How many times the row is there.
    pub weight: i64,
    /// For rows of a join: the weight of the rows on the other side that match. Else 0.
    pub matches: i64,
}

type Tree = Sorted<Box<[u8]>, Weight>;

/// A multiset of rows per slot.
pub(crate) struct Bag {
    heads: Pages<Head, 12>,
    slab: Slab,
    blocks: Blocks<RowId>,
    trees: Trees<Tree>,
    rows: usize,
    rows_in_trees: usize,
    /// Bytes of the rows in trees.
    tree_bytes: usize,
}

impl Bag {
    /// An empty bag; only where `counts_matches` they are kept.
    pub fn new(counts_matches: bool) -> Self {
        Self {
            heads: Pages::default(),
            slab: Slab::new(counts_matches),
            blocks: Blocks::default(),
            trees: Trees::default(),
            rows: 0,
            rows_in_trees: 0,
            tree_bytes: 0,
        }
    }

    /// Makes room for slots below `end`.
    pub fn resize(&mut self, end: usize) {
        self.heads.resize(end, Head::EMPTY);
    }

    /// Makes sure that `rows` more rows of `bytes` together can be added, and that not too much memory lies idle.
    ///
    /// # Errors
    /// `Invalid` where they would be more than a bag can hold.
    pub fn room_for(&mut self, rows: usize, bytes: usize) -> Result<()> {
        if self.slab.is_wasteful() {
            self.move_rows();
        }
        // Head and rounding of a row are 24 bytes at most, and a size is an eighth above the row's at most.
        let needed = (bytes + 24 * rows) / 8 * 9;
        if !self.slab.has_room_for(needed) {
            return Err(Error::invalid("one input of an operator cannot keep more than 32 GiB of rows")
                .hint("let fewer rows or columns in: add a condition, or name the columns that are needed"));
        }
        Ok(())
    }

    /// Moves all rows to a new buffer.
    fn move_rows(&mut self) {
        let fresh = Slab::new(self.slab.counts_matches());
        let old = std::mem::replace(&mut self.slab, fresh);
        for head in self.heads.iter_mut() {
            let mut moved = |id| self.slab.put(old.row(id), old.weight_and_matches(id));
            match head.kept() {
                Kept::One => *head = Head::new(Kept::One, 0, moved(head.index())),
                Kept::Block(class) => self.blocks.items_mut(*head, class).iter_mut().for_each(|id| *id = moved(*id)),
                Kept::Nothing | Kept::Tree => {}
            }
        }
    }

    /// The multiset at `slot`.
    #[inline]
    pub fn set(&self, slot: Slot) -> Multiset<'_> {
        Multiset { bag: self, head: self.heads[slot as usize] }
    }

    /// Reads the beginnings of the rows at some slots. Done for a block of slots before they are worked on one by one, this
    /// lets the processor fetch them from memory side by side.
    pub fn touch(&self, slots: &[Slot]) {
        let mut read = 0;
        for &slot in slots.iter().filter(|&&slot| slot != NO_SLOT) {
            let head = self.heads[slot as usize];
            read ^= match head.kept() {
                Kept::One => self.slab.touch(head.index()),
                Kept::Block(class) => self.slab.touch(self.blocks.items(head, class)[0]),
                Kept::Nothing | Kept::Tree => 0,
            };
        }
        std::hint::black_box(read);
    }

    /// Adds `weight` times a row at `slot` and returns its weight before and after. `matches` is remembered with a row that
    /// is new, where they are counted.
    pub fn add(&mut self, slot: Slot, row: &[u8], weight: i64, matches: i64) -> (i64, i64) {
        let head = self.heads[slot as usize];
        // A tree would remember them all the same, and a frozen state with them would not be one of such a bag.
        let added = Weight { weight, matches: if self.slab.counts_matches() { matches } else { 0 } };
        if weight == 0 {
            let now = self.set(slot).weight(row);
            return (now, now);
        }
        let (head, change) = match head.kept() {
            Kept::Nothing => (Head::new(Kept::One, 0, self.put(row, added)), (0, weight)),
            Kept::One if self.slab.row(head.index()) == row => {
                let change = self.weigh(head.index(), weight);
                (if change.1 == 0 { Head::EMPTY } else { head }, change)
            }
            Kept::One => {
                let (old, new) = (head.index(), self.put(row, added));
                let in_order = self.slab.row(old) < row;
                (self.blocks.put(&if in_order { [old, new] } else { [new, old] }), (0, weight))
            }
            Kept::Block(class) => match self.find(head, class, row) {
                Ok(at) => {
                    let change = self.weigh(self.blocks.items(head, class)[at], weight);
                    (if change.1 == 0 { self.unlist(head, class, at) } else { head }, change)
                }
                Err(at) => {
                    let id = self.put(row, added);
                    let head = self.blocks.insert(head, class, at, id).unwrap_or_else(|ids| self.plant(&ids));
                    (head, (0, weight))
                }
            },
            Kept::Tree => {
                let change = self.add_to_tree(head, row, added);
                (self.shrunk(head), change)
            }
        };
        self.heads[slot as usize] = head;
        change
    }

    fn put(&mut self, row: &[u8], weight: Weight) -> RowId {
        self.rows += 1;
        self.slab.put(row, weight)
    }

    fn free(&mut self, id: RowId) {
        self.rows -= 1;
        self.slab.free(id);
    }

    /// Adds to the weight of a row, which goes if none is left.
    fn weigh(&mut self, id: RowId, weight: i64) -> (i64, i64) {
        let before = self.slab.weight(id);
        let after = before + weight;
        if after == 0 {
            self.free(id);
        } else {
            self.slab.set_weight(id, after);
        }
        (before, after)
    }

    /// Where a row is in a block, or where it would be.
    fn find(&self, head: Head, class: usize, row: &[u8]) -> Result<usize, usize> {
        self.blocks.items(head, class).binary_search_by(|&id| self.slab.row(id).cmp(row))
    }

    /// Takes a row that is gone from a block. A single row that is left needs none.
    fn unlist(&mut self, head: Head, class: usize, at: usize) -> Head {
        let head = self.blocks.remove(head, class, at);
        let Kept::Block(class) = head.kept() else { return head };
        let &[only] = self.blocks.items(head, class) else { return head };
        self.blocks.free(head, class);
        Head::new(Kept::One, 0, only)
    }

    /// Keeps rows, which are in order, all different and with a weight, in a form that suits their number.
    fn kept(&mut self, rows: Vec<(Box<[u8]>, Weight)>) -> Head {
        if rows.len() > FEW {
            self.rows += rows.len();
            self.rows_in_trees += rows.len();
            self.tree_bytes += rows.iter().map(|(row, _)| row.len()).sum::<usize>();
            return self.trees.put(Tree::of(rows));
        }
        let ids: Vec<RowId> = rows.iter().map(|(row, weight)| self.put(row, *weight)).collect();
        match ids[..] {
            [] => Head::EMPTY,
            [only] => Head::new(Kept::One, 0, only),
            _ => self.blocks.put(&ids),
        }
    }

    /// Makes a tree of rows in their order.
    fn plant(&mut self, ids: &[RowId]) -> Head {
        let mut rows: Vec<(Box<[u8]>, Weight)> = Vec::with_capacity(ids.len());
        for &id in ids {
            let row = self.slab.row(id);
            self.tree_bytes += row.len();
            rows.push((row.into(), self.slab.weight_and_matches(id)));
            self.slab.free(id);
        }
        self.rows_in_trees += ids.len();
        self.trees.put(Tree::of(rows))
    }

    fn add_to_tree(&mut self, head: Head, row: &[u8], added: Weight) -> (i64, i64) {
        let tree = self.trees.tree_mut(head);
        let place = match tree.find(row) {
            Ok(place) => place,
            Err(place) => {
                tree.insert_at(place, row.into(), added);
                self.rows += 1;
                self.rows_in_trees += 1;
                self.tree_bytes += row.len();
                return (0, added.weight);
            }
        };
        let held = tree.value_mut(place);
        let before = held.weight;
        held.weight += added.weight;
        let after = held.weight;
        if after == 0 {
            tree.remove_at(place);
            self.uproot(1, row.len());
        }
        (before, after)
    }

    /// Rows that left a tree are no longer counted.
    fn uproot(&mut self, rows: usize, bytes: usize) {
        self.rows -= rows;
        self.rows_in_trees -= rows;
        self.tree_bytes -= bytes;
    }

    /// A tree, in the form of a block where few rows are left.
    fn shrunk(&mut self, head: Head) -> Head {
        let left = self.trees.tree(head).len();
        if left > FEW_AGAIN {
            return head;
        }
        let tree = self.trees.take(head);
        self.uproot(left, row_bytes(&tree));
        self.kept(tree.iter().cloned().collect())
    }

    /// Calls `f` with every row at `slot`, in order, and with its matches, which it may change.
    pub fn for_each_match(&mut self, slot: Slot, mut f: impl FnMut(&[u8], i64, &mut i64)) {
        let head = self.heads[slot as usize];
        let one = [head.index()];
        let ids = match head.kept() {
            Kept::Nothing => return,
            Kept::Tree => {
                let tree = self.trees.tree_mut(head);
                return tree.for_each_mut(|row, held| f(row, held.weight, &mut held.matches));
            }
            Kept::One => &one[..],
            Kept::Block(class) => self.blocks.items(head, class),
        };
        for &id in ids {
            let Weight { weight, mut matches } = self.slab.weight_and_matches(id);
            f(self.slab.row(id), weight, &mut matches);
            self.slab.set_matches(id, matches);
        }
    }

    /// Removes all rows below `bound` at `slot`.
    pub fn drop_below(&mut self, slot: Slot, bound: &[u8]) {
        let mut head = self.heads[slot as usize];
        head = match head.kept() {
            Kept::Tree => {
                let gone = self.trees.tree_mut(head).take_below(bound);
                self.uproot(gone.len(), row_bytes(&gone));
                self.shrunk(head)
            }
            _ => {
                while let Some(first) = self.first_id(head).filter(|&id| self.slab.row(id) < bound) {
                    self.free(first);
                    head = match head.kept() {
                        Kept::Block(class) => self.unlist(head, class, 0),
                        _ => Head::EMPTY,
                    };
                }
                head
            }
        };
        self.heads[slot as usize] = head;
    }

    fn first_id(&self, head: Head) -> Option<RowId> {
        match head.kept() {
            Kept::One => Some(head.index()),
            Kept::Block(class) => self.blocks.items(head, class).first().copied(),
            Kept::Nothing | Kept::Tree => None,
        }
    }

    /// Removes the largest row at `slot`.
    pub fn pop_last(&mut self, slot: Slot) {
        let head = self.heads[slot as usize];
        self.heads[slot as usize] = match head.kept() {
            Kept::Nothing => head,
            Kept::One => {
                self.free(head.index());
                Head::EMPTY
            }
            Kept::Block(class) => {
                let last = head.len() - 1;
                self.free(self.blocks.items(head, class)[last]);
                self.unlist(head, class, last)
            }
            Kept::Tree => {
                if let Some((row, _)) = self.trees.tree_mut(head).pop_last() {
                    self.uproot(1, row.len());
                }
                self.shrunk(head)
            }
        };
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        let (heads, slab, blocks) = (self.heads.share(), self.slab.share(), self.blocks.share());
        Self { heads, slab, blocks, trees: self.trees.share(), ..*self }
    }

    /// The number of different rows in all slots.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory held, those of trees estimated.
    pub fn bytes(&self) -> usize {
        let trees = self.tree_bytes + self.rows_in_trees * (size_of::<(Box<[u8]>, Weight)>() + TREE_BYTES);
        self.heads.bytes() + self.slab.bytes() + self.blocks.bytes() + self.trees.bytes() + trees
    }
}

/// Bytes of a tree's rows.
fn row_bytes(tree: &Tree) -> usize {
    tree.iter().map(|(row, _)| row.len()).sum()
}

/// The rows at a slot.
#[derive(Clone, Copy)]
pub(crate) struct Multiset<'a> {
    bag: &'a Bag,
    head: Head,
}

impl<'a> Multiset<'a> {
    /// The rows in order, with what is remembered of them.
    #[inline]
    pub fn iter(self) -> Rows<'a> {
        let inner = match self.head.kept() {
            Kept::Nothing => Inner::Block([].iter()),
            Kept::One => Inner::One(Some(self.head.index())),
            Kept::Block(class) => Inner::Block(self.bag.blocks.items(self.head, class).iter()),
            Kept::Tree => Inner::Tree(self.bag.trees.tree(self.head).iter()),
        };
        Rows { slab: &self.bag.slab, inner }
    }

    /// How many times a row is there.
    fn weight(self, row: &[u8]) -> i64 {
        let Self { bag, head } = self;
        match head.kept() {
            Kept::Nothing => 0,
            Kept::One if bag.slab.row(head.index()) != row => 0,
            Kept::One => bag.slab.weight(head.index()),
            Kept::Block(class) => match bag.find(head, class, row) {
                Ok(at) => bag.slab.weight(bag.blocks.items(head, class)[at]),
                Err(_) => 0,
            },
            Kept::Tree => bag.trees.tree(head).get(row).map_or(0, |held| held.weight),
        }
    }

    /// The smallest row with a positive weight.
    pub fn first(self) -> Option<&'a [u8]> {
        self.iter().find(|(_, held)| held.weight > 0).map(|(row, _)| row)
    }

    /// The largest row with a positive weight.
    pub fn last(self) -> Option<&'a [u8]> {
        self.iter().rev().find(|(_, held)| held.weight > 0).map(|(row, _)| row)
    }

    /// The number of different rows.
    pub fn len(self) -> usize {
        match self.head.kept() {
            Kept::Nothing => 0,
            Kept::One => 1,
            Kept::Block(_) => self.head.len(),
            Kept::Tree => self.bag.trees.tree(self.head).len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(self) -> bool {
        self.head.is_empty()
    }
}

/// Rows of a slot in order.
pub(crate) struct Rows<'a> {
    slab: &'a Slab,
    inner: Inner<'a>,
}

enum Inner<'a> {
    One(Option<RowId>),
    Block(std::slice::Iter<'a, RowId>),
    Tree(Entries<'a, Box<[u8]>, Weight>),
}

impl<'a> Iterator for Rows<'a> {
    type Item = (&'a [u8], Weight);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let id = match &mut self.inner {
            Inner::One(id) => id.take()?,
            Inner::Block(ids) => *ids.next()?,
            Inner::Tree(rows) => return rows.next().map(|(row, held)| (&**row, *held)),
        };
        Some((self.slab.row(id), self.slab.weight_and_matches(id)))
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let id = match &mut self.inner {
            Inner::One(id) => id.take()?,
            Inner::Block(ids) => *ids.next_back()?,
            Inner::Tree(rows) => return rows.next_back().map(|(row, held)| (&**row, *held)),
        };
        Some((self.slab.row(id), self.slab.weight_and_matches(id)))
    }
}

#[cfg(test)]
mod tests;
