//! The Cells: a group's accumulators of fixed width side by side, so that a change touches one or two lines of memory for all
//! of them.
//!
//! A cell is a row of words of 64 bits; a group's cell is found by its slot, and each accumulator knows where its words lie
//! in every cell ([`Layout`]). All words 0 is the cell of a group of which nothing is known.

use crate::keys::Slot;

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
        Cells { stride: self.words, words: Vec::new() }
    }
}

/// A cell per slot.
pub(crate) struct Cells {
    stride: usize,
    words: Vec<u64>,
}

impl Cells {
    /// Makes room for slots below `end`; new cells are empty.
    pub fn resize(&mut self, end: usize) {
        let words = end * self.stride;
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
    }

    /// `N` words of a cell from `at` on.
    #[inline]
    pub fn at<const N: usize>(&self, slot: Slot, at: usize) -> &[u64; N] {
        self.words[slot as usize * self.stride + at..].first_chunk().expect("a cell has the words that were laid out")
    }

    /// `N` words of a cell from `at` on, to be changed.
    #[inline]
    pub fn at_mut<const N: usize>(&mut self, slot: Slot, at: usize) -> &mut [u64; N] {
        self.words[slot as usize * self.stride + at..]
            .first_chunk_mut()
            .expect("a cell has the words that were laid out")
    }

    /// Sets words of a cell, which are numbers.
    pub fn set<const N: usize>(&mut self, slot: Slot, at: usize, numbers: [i64; N]) {
        *self.at_mut(slot, at) = numbers.map(|number| number as u64);
    }

    /// A word of a cell as a number.
    #[inline]
    pub fn number(&self, slot: Slot, at: usize) -> i64 {
        self.words[slot as usize * self.stride + at] as i64
    }

    /// Adds to a word of a cell, which is a number, and returns it.
    #[inline]
    pub fn add(&mut self, slot: Slot, at: usize, number: i64) -> i64 {
        let word = &mut self.words[slot as usize * self.stride + at];
        *word = word.wrapping_add(number as u64);
        *word as i64
    }

    /// One past the last slot that has a cell.
    pub fn end(&self) -> usize {
        self.words.len() / self.stride
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}
