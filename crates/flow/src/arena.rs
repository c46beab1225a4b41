//! Byte strings by small index in one growing buffer.
//!
//! The bytes of cleared entries stay until more than half of the buffer is dead; then the living ones move to a new one.
//! So memory is at most about twice the living bytes, and setting and clearing cost amortised constant time per byte.

/// Below this many dead bytes moving is not worth its while.
const COMPACT_AT_LEAST: usize = 64 * 1024;

/// Byte strings by index.
#[derive(Default)]
pub(crate) struct ByteArena {
    bytes: Vec<u8>,
    /// Offset and length per index; length 0 with offset 0 where nothing was set.
    spans: Vec<(u64, u32)>,
    dead: usize,
}

impl ByteArena {
    /// The bytes at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let (offset, len) = self.spans[index];
        &self.bytes[offset as usize..offset as usize + len as usize]
    }

    /// The first byte at `index`, 0 where there is none; to have the bytes fetched from memory.
    #[inline]
    pub fn touch(&self, index: usize) -> u8 {
        self.get(index).first().copied().unwrap_or(0)
    }

    /// Sets the bytes at `index`, which holds none.
    pub fn set(&mut self, index: usize, bytes: &[u8]) {
        if index >= self.spans.len() {
            self.spans.resize(index + 1, (0, 0));
        }
        debug_assert_eq!(self.spans[index].1, 0, "an entry is cleared before it is set again");
        self.spans[index] = (self.bytes.len() as u64, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the bytes at `index`.
    pub fn clear(&mut self, index: usize) {
        self.dead += self.spans[index].1 as usize;
        self.spans[index] = (0, 0);
        if self.dead > COMPACT_AT_LEAST && self.dead > self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<(u64, u32)>()
    }

    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead);
        for (offset, len) in &mut self.spans {
            let from = *offset as usize;
            *offset = bytes.len() as u64;
            bytes.extend_from_slice(&self.bytes[from..from + *len as usize]);
        }
        self.bytes = bytes;
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
