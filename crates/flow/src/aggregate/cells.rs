//! The Cells: a group's accumulators of fixed width side by side, so that a change touches one or two lines of memory for all
//! of them.
//!
//! A cell is a row of words of 64 bits; a group's cell is found by its slot, and each accumulator knows where its words lie
//! in every cell ([`Layout`]). All words 0 is the cell of a group of which nothing is known.

use crate::keys::Slot;
use crate::pages::Page;

/// Gives out the words of a cell while accumulators are set up.
#[derive(Default)]
pub(super) struct Layout {
    words: usize,
}

impl Layout {
    /// The place of `words` further words.
    pub fn take(&mut self, words: usize) -> usize {
        self.words += words;
        self.words - words
    }

    /// The cells, none yet.
    pub fn cells(self) -> Cells {
        Cells { stride: self.words, pages: Vec::new(), end: 0 }
    }
}

/// Cells of a page, as a power of two: 32 KiB at eight words a cell.
const PAGE_SHIFT: u32 = 9;

/// A cell per slot.
pub(crate) struct Cells {
    stride: usize,
    pages: Vec<Page<u64>>,
    end: usize,
}

impl Cells {
    /// Makes room for slots below `end`; new cells are empty.
    pub fn resize(&mut self, end: usize) {
        while self.end < end {
            let page = self.end >> PAGE_SHIFT;
            if page == self.pages.len() {
                self.pages.push(Page::with_capacity(if page == 0 { 0 } else { self.stride << PAGE_SHIFT }));
            }
            let upto = (end - (page << PAGE_SHIFT)).min(1 << PAGE_SHIFT);
            self.pages[page].items_mut().resize(upto * self.stride, 0);
            self.end = (page << PAGE_SHIFT) + upto;
        }
    }

    /// The place of a cell in its page.
    #[inline]
    fn place(&self, slot: Slot) -> usize {
        (slot as usize & ((1 << PAGE_SHIFT) - 1)) * self.stride
    }

    /// `N` words of a cell from `at` on.
    #[inline]
    pub fn at<const N: usize>(&self, slot: Slot, at: usize) -> &[u64; N] {
        let words = &self.pages[slot as usize >> PAGE_SHIFT].items()[self.place(slot) + at..];
        words.first_chunk().expect("a cell has the words that were laid out")
    }

    /// `N` words of a cell from `at` on, to be changed.
    #[inline]
    pub fn at_mut<const N: usize>(&mut self, slot: Slot, at: usize) -> &mut [u64; N] {
        let place = self.place(slot) + at;
        let words = &mut self.pages[slot as usize >> PAGE_SHIFT].items_mut()[place..];
        words.first_chunk_mut().expect("a cell has the words that were laid out")
    }

    /// Sets words of a cell, which are numbers.
    pub fn set<const N: usize>(&mut self, slot: Slot, at: usize, numbers: [i64; N]) {
        *self.at_mut(slot, at) = numbers.map(|number| number as u64);
    }

    /// A word of a cell as a number.
    #[inline]
    pub fn number(&self, slot: Slot, at: usize) -> i64 {
        let &[word] = self.at(slot, at);
        word as i64
    }

    /// Adds to a word of a cell, which is a number, and returns it.
    #[inline]
    pub fn add(&mut self, slot: Slot, at: usize, number: i64) -> i64 {
        let [word] = self.at_mut(slot, at);
        *word = word.wrapping_add(number as u64);
        *word as i64
    }

    /// One past the last slot that has a cell.
    pub fn end(&self) -> usize {
        self.end
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        Self { stride: self.stride, pages: self.pages.iter_mut().map(Page::share).collect(), end: self.end }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let words = match &self.pages[..] {
            [page] => page.items().len(),
            pages => pages.len() * (self.stride << PAGE_SHIFT),
        };
        words * size_of::<u64>()
    }
}
