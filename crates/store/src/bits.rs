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
}
