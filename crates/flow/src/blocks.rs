//! Blocks of few places in flat buffers, and the words that name them.
//!
//! What a group or key holds is mostly one item or a few. A [`Head`], one word that stands where the group's or key's state
//! stands, says how many and where: a single item it names itself, up to [`FEW`] lie side by side in a block of 2, 4, 8, 16 or
//! 32 places, and blocks of one size lie side by side; more are in a tree.

use crate::pages::Pages;

/// Up to this many items are in a block: an insertion moves little, and a look-up touches few lines of memory.
pub(crate) const FEW: usize = 32;

/// A tree goes back into a block where no more items are left than this, so that a list at the border does not change its
/// form with every change.
pub(crate) const FEW_AGAIN: usize = FEW / 2;

/// Blocks have 2, 4, 8, 16 or 32 places.
const CLASSES: usize = FEW.ilog2() as usize;

/// Items of a page, as a power of two; a multiple of the largest block.
const PAGE_SHIFT: u32 = 11;

/// Trees of a page, as a power of two: what is copied with one of them stays a matter of microseconds.
const TREES_SHIFT: u32 = 6;

/// How many items there are and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head(u64);

/// How items are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// There is none.
    Nothing,
    /// There is one.
    One,
    /// There are some, in a block of this class.
    Block(usize),
    /// There are many.
    Tree,
}

impl Head {
    /// Nothing; its word is 0.
    pub const EMPTY: Self = Self(0);
    const MARK: u64 = 1 << 63;
    const KEPT_SHIFT: u32 = 56;
    const LENGTH_SHIFT: u32 = 48;

    /// A head, with the number of items where they are in a block, and the number of the item, block or tree.
    #[inline]
    pub fn new(kept: Kept, len: usize, index: u32) -> Self {
        let kept = match kept {
            Kept::Nothing => 0,
            Kept::One => 1,
            Kept::Tree => 2,
            Kept::Block(class) => 3 + class as u64,
        };
        Self(kept << Self::KEPT_SHIFT | (len as u64) << Self::LENGTH_SHIFT | u64::from(index))
    }

    /// The head that was kept as this word.
    #[inline]
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to keep.
    #[inline]
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// Whether there is nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Whether the owner's mark is set.
    #[inline]
    pub fn is_marked(self) -> bool {
        self.0 & Self::MARK != 0
    }

    /// The same with the owner's mark set or not.
    #[inline]
    pub fn marked(self, mark: bool) -> Self {
        Self(if mark { self.0 | Self::MARK } else { self.0 & !Self::MARK })
    }

    /// How they are kept.
    #[inline]
    pub fn kept(self) -> Kept {
        match self.0 >> Self::KEPT_SHIFT & 0xf {
            0 => Kept::Nothing,
            1 => Kept::One,
            2 => Kept::Tree,
            class => Kept::Block(class as usize - 3),
        }
    }

    /// The number of items in the block.
    #[inline]
    pub fn len(self) -> usize {
        (self.0 >> Self::LENGTH_SHIFT & 0xff) as usize
    }

    /// The number of the item, block or tree.
    #[inline]
    pub fn index(self) -> u32 {
        self.0 as u32
    }
}

/// Blocks of all sizes.
pub(crate) struct Blocks<T> {
    classes: [Class<T>; CLASSES],
}

/// Blocks of one size.
struct Class<T> {
    places: usize,
    items: Pages<T, PAGE_SHIFT>,
    free: Vec<u32>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        let class = |class: usize| Class { places: 2 << class, items: Pages::default(), free: Vec::new() };
        Self { classes: std::array::from_fn(class) }
    }
}

impl<T: Copy + Default> Blocks<T> {
    /// Puts items (1 to [`FEW`]) into a block of the smallest size that holds them.
    pub fn put(&mut self, items: &[T]) -> Head {
        let class = (items.len().next_power_of_two().max(2).ilog2() - 1) as usize;
        let Class { places, items: all, free } = &mut self.classes[class];
        let index = free.pop().unwrap_or_else(|| {
            all.resize(all.len() + *places, T::default());
            (all.len() / *places - 1) as u32
        });
        all.slice_mut(index as usize * *places, items.len()).copy_from_slice(items);
        Head::new(Kept::Block(class), items.len(), index)
    }

    /// The items of a block.
    #[inline]
    pub fn items(&self, head: Head, class: usize) -> &[T] {
        let Class { places, items, .. } = &self.classes[class];
        items.slice(head.index() as usize * places, head.len())
    }

    /// The items of a block, to be changed.
    #[inline]
    pub fn items_mut(&mut self, head: Head, class: usize) -> &mut [T] {
        let Class { places, items, .. } = &mut self.classes[class];
        items.slice_mut(head.index() as usize * *places, head.len())
    }

    /// Inserts an item into a block. `Err` with all the items where there are then more than [`FEW`], and the block is gone.
    pub fn insert(&mut self, head: Head, class: usize, at: usize, item: T) -> Result<Head, Vec<T>> {
        let len = head.len();
        let Class { places, items, .. } = &mut self.classes[class];
        if len < *places {
            let block = items.slice_mut(head.index() as usize * *places, len + 1);
            block.copy_within(at..len, at + 1);
            block[at] = item;
            return Ok(Head::new(Kept::Block(class), len + 1, head.index()));
        }
        let mut items = Vec::with_capacity(len + 1);
        let block = self.items(head, class);
        items.extend_from_slice(&block[..at]);
        items.push(item);
        items.extend_from_slice(&block[at..]);
        self.free(head, class);
        if items.len() <= FEW { Ok(self.put(&items)) } else { Err(items) }
    }

    /// Removes an item from a block, which takes a smaller one where a quarter of its places is left, and none where nothing is.
    pub fn remove(&mut self, head: Head, class: usize, at: usize) -> Head {
        let items = self.items_mut(head, class);
        let len = items.len() - 1;
        items.copy_within(at + 1.., at);
        if len == 0 {
            self.free(head, class);
            return Head::EMPTY;
        }
        let head = Head::new(Kept::Block(class), len, head.index());
        if len * 4 <= self.classes[class].places {
            let items = self.items(head, class).to_vec();
            self.free(head, class);
            return self.put(&items);
        }
        head
    }

    /// Gives a block back.
    pub fn free(&mut self, head: Head, class: usize) {
        self.classes[class].free.push(head.index());
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let of = |class: &Class<T>| class.items.bytes() + class.free.capacity() * size_of::<u32>();
        self.classes.iter().map(of).sum()
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        let mut copy = Self::default();
        for (class, own) in copy.classes.iter_mut().zip(&mut self.classes) {
            class.items = own.items.share();
        }
        copy
    }

    /// The number of blocks in use.
    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.classes.iter().map(|class| class.items.len() / class.places - class.free.len()).sum()
    }
}

/// Trees by number.
pub(crate) struct Trees<T> {
    trees: Pages<T, TREES_SHIFT>,
    free: Vec<u32>,
}

impl<T> Default for Trees<T> {
    fn default() -> Self {
        Self { trees: Pages::default(), free: Vec::new() }
    }
}

impl<T: Clone + Default> Trees<T> {
    /// Puts a tree.
    pub fn put(&mut self, tree: T) -> Head {
        let index = self.free.pop().unwrap_or_else(|| {
            self.trees.push(T::default());
            (self.trees.len() - 1) as u32
        });
        self.trees[index as usize] = tree;
        Head::new(Kept::Tree, 0, index)
    }

    /// The tree that a head names.
    pub fn tree(&self, head: Head) -> &T {
        &self.trees[head.index() as usize]
    }

    /// The tree that a head names, to be changed.
    pub fn tree_mut(&mut self, head: Head) -> &mut T {
        &mut self.trees[head.index() as usize]
    }

    /// Takes a tree out.
    pub fn take(&mut self, head: Head) -> T {
        self.free.push(head.index());
        std::mem::take(&mut self.trees[head.index() as usize])
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        Self { trees: self.trees.share(), free: Vec::new() }
    }

    /// Bytes of memory held beside what is in the trees.
    pub fn bytes(&self) -> usize {
        self.trees.bytes() + self.free.capacity() * size_of::<u32>()
    }
}
