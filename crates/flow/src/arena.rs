//! Byte strings by small index in growing pages.
//!
//! The bytes of cleared entries stay until more than half of all is dead; then the living ones move to new pages.
//! So memory is at most about twice the living bytes, and setting and clearing cost amortised constant time per byte.

use crate::pages::{BytePages, Pages};

/// Below this many dead bytes moving is not worth its while.
const COMPACT_AT_LEAST: usize = 64 * 1024;

/// Byte strings by index.
#[derive(Default)]
pub(crate) struct ByteArena {
    bytes: BytePages,
    /// Address and length per index; length 0 with address 0 where nothing was set.
    spans: Pages<(u64, u32), 11>,
    dead: usize,
}

impl ByteArena {
    /// The bytes at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        match self.spans[index] {
            (_, 0) => &[],
            (address, len) => &self.bytes.at(address as usize)[..len as usize],
        }
    }

    /// The first byte at `index`, 0 where there is none; to have the bytes fetched from memory.
    #[inline]
    pub fn touch(&self, index: usize) -> u8 {
        self.get(index).first().copied().unwrap_or(0)
    }

    /// Sets the bytes at `index`, which holds none.
    pub fn set(&mut self, index: usize, bytes: &[u8]) {
        self.spans.resize(index + 1, (0, 0));
        debug_assert_eq!(self.spans[index].1, 0, "an entry is cleared before it is set again");
        let address = self.bytes.place(bytes.len());
        self.bytes.at_mut(address)[..bytes.len()].copy_from_slice(bytes);
        self.spans[index] = (address as u64, bytes.len() as u32);
    }

    /// Forgets the bytes at `index`.
    pub fn clear(&mut self, index: usize) {
        self.dead += self.spans[index].1 as usize;
        self.spans[index] = (0, 0);
        if self.dead > COMPACT_AT_LEAST && self.dead > self.bytes.end() / 2 {
            self.compact();
        }
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.end() + self.spans.bytes()
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        Self { bytes: self.bytes.share(), spans: self.spans.share(), dead: self.dead }
    }

    fn compact(&mut self) {
        let old = std::mem::take(&mut self.bytes);
        for (address, len) in self.spans.iter_mut().filter(|(_, len)| *len > 0) {
            let (from, len) = (*address as usize, *len as usize);
            *address = self.bytes.place(len) as u64;
            self.bytes.at_mut(*address as usize)[..len].copy_from_slice(&old.at(from)[..len]);
        }
        self.dead = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_bytes_survive_compaction_and_memory_stays_bounded() {
        let mut arena = ByteArena::default();
        let text = |i: usize, round: usize| format!("{i}-{round}-{}", "x".repeat(i % 50)).into_bytes();
        for i in 0..1000 {
            arena.set(i, &text(i, 0));
        }
        for round in 1..200 {
            for i in (round % 3..1000).step_by(3) {
                arena.clear(i);
                arena.set(i, &text(i, round));
            }
        }
        for i in 0..1000 {
            let last = (1..200).rev().find(|round| i % 3 == round % 3).unwrap();
            assert_eq!(arena.get(i), text(i, last));
        }
        assert!(arena.memory_bytes() < 600_000, "{}", arena.memory_bytes());
    }
}
