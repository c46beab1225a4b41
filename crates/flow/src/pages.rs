//! Growing sequences in pages that a copy shares with its original until one of them changes a page.
//!
//! So a copy costs a pointer a page, however much is held, and what a change costs more after it is bounded by a page: that is
//! how a state is frozen while nobody may wait for it ([`crate::frozen`]). A page of one's own is found by one look into a
//! list of pages that stays in the processor's caches.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Bytes of a page of byte strings, and about those of others: few enough that copying one is a matter of microseconds, enough
/// that a gigabyte has no more than some ten thousand.
pub(crate) const PAGE_BYTES: usize = 32 * 1024;

/// Some items side by side.
pub(crate) enum Page<T> {
    /// Nobody else has them.
    Own(Vec<T>),
    /// A copy may have them too.
    Shared(Arc<Vec<T>>),
}

impl<T: Clone> Page<T> {
    /// A page of one's own, empty, with room for so many items.
    pub fn with_capacity(items: usize) -> Self {
        Self::Own(Vec::with_capacity(items))
    }

    /// The items.
    #[inline]
    pub fn items(&self) -> &[T] {
        match self {
            Self::Own(items) => items,
            Self::Shared(items) => items,
        }
    }

    /// The items, to be changed.
    #[inline]
    pub fn items_mut(&mut self) -> &mut Vec<T> {
        if matches!(self, Self::Shared(_)) {
            self.part();
        }
        match self {
            Self::Own(items) => items,
            Self::Shared(_) => unreachable!("a page that was parted is one's own"),
        }
    }

    /// Makes the page one's own: by taking it, where no copy has it any more, else by copying it.
    #[cold]
    fn part(&mut self) {
        let Self::Shared(shared) = std::mem::replace(self, Self::Own(Vec::new())) else { return };
        let copy = |shared: Arc<Vec<T>>| {
            let mut items = Vec::with_capacity(shared.capacity());
            items.extend_from_slice(&shared);
            items
        };
        *self = Self::Own(Arc::try_unwrap(shared).unwrap_or_else(copy));
    }

    /// The same page for a copy.
    pub fn share(&mut self) -> Self {
        if let Self::Own(items) = self {
            *self = Self::Shared(Arc::new(std::mem::take(items)));
        }
        match self {
            Self::Shared(items) => Self::Shared(items.clone()),
            Self::Own(_) => unreachable!("it is shared just now"),
        }
    }
}

/// Items by number, `2^SHIFT` of them in a page. The first page grows as it is filled, so that few items take little.
pub(crate) struct Pages<T, const SHIFT: u32> {
    pages: Vec<Page<T>>,
    len: usize,
}

impl<T, const SHIFT: u32> Default for Pages<T, SHIFT> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T: Clone, const SHIFT: u32> Pages<T, SHIFT> {
    const ITEMS: usize = 1 << SHIFT;

    /// The number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an item.
    pub fn push(&mut self, item: T) {
        self.resize(self.len + 1, item);
    }

    /// Appends copies of an item until there are `len`, if there are fewer.
    pub fn resize(&mut self, len: usize, item: T) {
        while self.len < len {
            let page = self.len >> SHIFT;
            if page == self.pages.len() {
                self.pages.push(Page::with_capacity(if page == 0 { 0 } else { Self::ITEMS }));
            }
            let upto = (len - (page << SHIFT)).min(Self::ITEMS);
            self.pages[page].items_mut().resize(upto, item.clone());
            self.len = (page << SHIFT) + upto;
        }
    }

    /// `len` items from `from` on, all of which lie in one page.
    #[inline]
    pub fn slice(&self, from: usize, len: usize) -> &[T] {
        &self.pages[from >> SHIFT].items()[from & (Self::ITEMS - 1)..][..len]
    }

    /// As [`Pages::slice`], to be changed.
    #[inline]
    pub fn slice_mut(&mut self, from: usize, len: usize) -> &mut [T] {
        &mut self.pages[from >> SHIFT].items_mut()[from & (Self::ITEMS - 1)..][..len]
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(Page::items)
    }

    /// All items in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flat_map(Page::items_mut)
    }

    /// A copy, which has the same pages until they are changed here or there.
    pub fn share(&mut self) -> Self {
        Self { pages: self.pages.iter_mut().map(Page::share).collect(), len: self.len }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let items = match &self.pages[..] {
            [] => 0,
            [Page::Own(items)] => items.capacity(),
            [Page::Shared(items)] => items.capacity(),
            pages => pages.len() << SHIFT,
        };
        items * size_of::<T>() + self.pages.capacity() * size_of::<Page<T>>()
    }
}

impl<T: Clone, const SHIFT: u32> Index<usize> for Pages<T, SHIFT> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.pages[at >> SHIFT].items()[at & (Self::ITEMS - 1)]
    }
}

impl<T: Clone, const SHIFT: u32> IndexMut<usize> for Pages<T, SHIFT> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.pages[at >> SHIFT].items_mut()[at & (Self::ITEMS - 1)]
    }
}

/// Byte strings in pages, found by their address. None lies across the end of a page; one that is longer than a page has
/// several to itself.
#[derive(Default)]
pub(crate) struct BytePages {
    pages: Vec<Page<u8>>,
    /// One past the last address that was given out.
    end: usize,
}

impl BytePages {
    /// Makes room for `len` bytes, all 0 at first, and gives their address.
    pub fn place(&mut self, len: usize) -> usize {
        let (mut page, mut offset) = (self.end / PAGE_BYTES, self.end % PAGE_BYTES);
        if offset > 0 && offset + len > PAGE_BYTES {
            (page, offset) = (page + 1, 0);
        }
        if page == self.pages.len() {
            self.pages.push(Page::with_capacity(if page == 0 { 0 } else { len.max(PAGE_BYTES) }));
        }
        self.pages[page].items_mut().resize(offset + len, 0);
        let address = page * PAGE_BYTES + offset;
        self.end = address + len;
        if len > PAGE_BYTES {
            self.pages.resize_with(self.end.div_ceil(PAGE_BYTES), || Page::with_capacity(0));
            self.end = self.pages.len() * PAGE_BYTES;
        }
        address
    }

    /// The bytes from an address on, up to the end of what lies in its page.
    #[inline]
    pub fn at(&self, address: usize) -> &[u8] {
        &self.pages[address / PAGE_BYTES].items()[address % PAGE_BYTES..]
    }

    /// As [`BytePages::at`], to be changed.
    #[inline]
    pub fn at_mut(&mut self, address: usize) -> &mut [u8] {
        &mut self.pages[address / PAGE_BYTES].items_mut()[address % PAGE_BYTES..]
    }

    /// One past the last address that was given out, which is about how many bytes are held.
    pub fn end(&self) -> usize {
        self.end
    }

    /// A copy, which has the same pages until they are changed here or there.
    pub fn share(&mut self) -> Self {
        Self { pages: self.pages.iter_mut().map(Page::share).collect(), end: self.end }
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn copies_keep_what_they_were_made_of_whatever_happens_to_the_original() {
        let mut random = Random::new(1);
        let (mut pages, mut plain) = (Pages::<u32, 4>::default(), Vec::new());
        let mut copies: Vec<(Pages<u32, 4>, Vec<u32>)> = Vec::new();
        for round in 0..5_000 {
            match random.below(10) {
                0 => {
                    let len = plain.len() + random.below(30) as usize;
                    pages.resize(len, round);
                    plain.resize(len, round);
                }
                1 if round % 10 == 0 => copies.push((pages.share(), plain.clone())),
                2 if copies.len() > 3 => {
                    let (copy, plain) = copies.remove(random.below(3) as usize);
                    assert!(copy.iter().eq(&plain), "round {round}");
                }
                _ if !plain.is_empty() => {
                    let at = random.below(plain.len() as u64) as usize;
                    assert_eq!(pages[at], plain[at], "round {round}");
                    (pages[at], plain[at]) = (round, round);
                }
                _ => {}
            }
        }
        assert!(pages.len() == plain.len() && pages.iter().eq(&plain) && copies.len() >= 3);
        assert!(copies.iter().all(|(copy, plain)| copy.iter().eq(plain)));
        drop(copies);
        pages.iter_mut().zip(&mut plain).for_each(|(one, other)| (*one, *other) = (*one + 1, *other + 1));
        assert!(pages.iter().eq(&plain));
    }

    #[test]
    fn byte_strings_of_any_length_lie_in_one_piece() {
        let mut random = Random::new(2);
        let (mut pages, mut plain) = (BytePages::default(), Vec::new());
        for _ in 0..600 {
            let longest = if random.chance(0.02) { 3 * PAGE_BYTES as u64 } else { 500 };
            let bytes: Vec<u8> = (0..random.below(longest)).map(|_| random.bits() as u8).collect();
            let address = pages.place(bytes.len());
            assert!(pages.at(address)[..bytes.len()].iter().all(|&byte| byte == 0));
            pages.at_mut(address)[..bytes.len()].copy_from_slice(&bytes);
            plain.push((address, bytes));
        }
        let copy = pages.share();
        plain.iter().for_each(|(address, bytes)| pages.at_mut(*address)[..bytes.len()].fill(7));
        assert!(plain.iter().all(|(address, bytes)| copy.at(*address)[..bytes.len()] == bytes[..]));
    }
}
