//! A bitmap with a count: which entries of a group live, which of them are deletions.

use arrow_buffer::{BooleanBuffer, Buffer};

/// One bit per entry of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
    set: usize,
}

impl Bits {
    pub fn filled(len: usize, value: bool) -> Self {
        let mut words = vec![if value { u64::MAX } else { 0 }; len.div_ceil(64)];
        if value && !len.is_multiple_of(64) {
            *words.last_mut().expect("there is a last word") = (1 << (len % 64)) - 1;
        }
        Self { words, len, set: if value { len } else { 0 } }
    }

    pub fn from_fn(len: usize, bit: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::filled(len, false);
        for i in (0..len).filter(|&i| bit(i)) {
            bits.words[i / 64] |= 1 << (i % 64);
            bits.set += 1;
        }
        bits
    }

    pub fn get(&self, i: usize) -> bool {
        self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// Clears bit `i`, which is set.
    pub fn clear(&mut self, i: usize) {
        assert!(self.get(i), "an entry dies once");
        self.words[i / 64] &= !(1 << (i % 64));
        self.set -= 1;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn count(&self) -> usize {
        self.set
    }

    pub fn is_full(&self) -> bool {
        self.set == self.len
    }

    /// Bits `start..start + len`; `start` is at the beginning of a word.
    pub fn range(&self, start: usize, len: usize) -> BooleanBuffer {
        debug_assert!(start.is_multiple_of(64) && start + len <= self.len, "bits {start} and {len} on of {}", self.len);
        let words = &self.words[start / 64..(start + len).div_ceil(64)];
        BooleanBuffer::new(Buffer::from_slice_ref(words), 0, len)
    }

    /// The bits as words, the first in the lowest bit of the first word; those behind the last one are 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The bits in `words`, as [`Bits::words`] gives them; `None` if their number is wrong or bits behind the last are set.
    pub fn of_words(words: Vec<u64>, len: usize) -> Option<Self> {
        let beyond = if len.is_multiple_of(64) { 0 } else { words.last()? >> (len % 64) };
        (words.len() == len.div_ceil(64) && beyond == 0).then(|| {
            let set = words.iter().map(|word| word.count_ones() as usize).sum();
            Self { words, len, set }
        })
    }

    /// The positions that are set here and not in `other`, which is as long.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        assert_eq!(self.len, other.len, "two bitmaps of the same entries");
        let words = self.words.iter().zip(&other.words).enumerate();
        words.filter(|(_, (a, b))| *a & !*b != 0).flat_map(|(i, (a, b))| {
            let left = a & !b;
            (0..64).filter(move |bit| left >> bit & 1 == 1).map(move |bit| i * 64 + bit)
        })
    }
}
