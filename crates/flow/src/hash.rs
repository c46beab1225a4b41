//! The hash of keys: 64 bits, the same on every machine and in every build.
//!
//! State will be spilled and snapshotted by fixed hash partitions (a power of two), so the hash must not depend on the
//! processor or on a library's version; that is why it is written out here. A partition is the top bits of the hash; the
//! tables in memory use its low bits and, for their tags, the seven highest.
//!
//! [`HashMode::Constant`] sends every key to one place; tests use it to show that nothing relies on hashes being different.

/// How keys are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashMode {
    /// A hash that depends on a seed.
    Seeded(u64),
    /// The same hash for every key; for tests.
    Constant,
}

/// Odd constants with well-mixed bits: the fractional parts of the square roots of 2, 3 and 5.
const MIX_A: u64 = 0x6a09_e667_f3bc_c909;
const MIX_B: u64 = 0xbb67_ae85_84ca_a73b;
const MIX_C: u64 = 0x3c6e_f372_fe94_f82b;

/// Multiplies to 128 bits and folds the halves: every input bit reaches every output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A hash with one more word taken in.
#[inline]
pub(crate) fn fold_in(state: u64, word: u64) -> u64 {
    fold(state ^ word, MIX_B).wrapping_add(MIX_C)
}

impl HashMode {
    /// The hash of fixed-width key `words`.
    #[inline]
    pub fn words<const N: usize>(self, words: [u64; N]) -> u64 {
        let Self::Seeded(seed) = self else { return 0 };
        let mut state = seed ^ MIX_A;
        for word in words {
            state = fold_in(state, word);
        }
        fold(state, MIX_A)
    }

    /// The hash of key `bytes`.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> u64 {
        let Self::Seeded(seed) = self else { return 0 };
        let mut state = seed ^ MIX_A ^ (bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight bytes"));
            state = fold_in(state, word);
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            state = fold_in(state, u64::from_le_bytes(word));
        }
        fold(state, MIX_A)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_spread_over_low_and_high_bits() {
        let mode = HashMode::Seeded(7);
        let (mut low, mut high) = ([0_u32; 64], [0_u32; 64]);
        for i in 0..6400_u64 {
            let hash = mode.words([i]);
            low[(hash & 63) as usize] += 1;
            high[(hash >> 58) as usize] += 1;
        }
        assert!(low.iter().chain(&high).all(|&n| (50..=160).contains(&n)), "{low:?} {high:?}");
    }

    #[test]
    fn a_trailing_zero_byte_changes_the_hash() {
        let mode = HashMode::Seeded(7);
        assert_ne!(mode.bytes(b"ab"), mode.bytes(b"ab\0"));
        assert_eq!(HashMode::Constant.bytes(b"a"), HashMode::Constant.bytes(b"b"));
    }
}
