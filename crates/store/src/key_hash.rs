//! The hash by which keys are spread: over the sub-tables of the key index in memory, over the cells of key runs on disk.
//!
//! It depends on a secret of the store, so that nobody outside can choose keys that meet in one place. Runs hold what it
//! yields, so for one secret it is the same for ever.

/// Spreads key numbers over all 64 bits under a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher(u64);

impl KeyHasher {
    /// The hasher under `secret`.
    pub fn new(secret: u64) -> Self {
        Self(secret)
    }

    /// The hasher under a secret of 128 bits, all of which matter.
    pub fn of_secret(secret: [u64; 2]) -> Self {
        Self(mix(mix(secret[0]).wrapping_add(secret[1])))
    }

    /// The hash of a key number.
    ///
    /// Two folded multiplications (the finish of wyhash): exact keys are often consecutive, and directories (top bits), hash
    /// tables (low and top bits) and the fragments in runs (low bits) need all of them mixed.
    pub fn hash(self, key: u128) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let high = (key >> 64) as u64;
        let once = fold(key as u64 ^ self.0, 0x9e37_79b9_7f4a_7c15);
        fold(once ^ high, 0xd6e8_feb8_6659_fd93 ^ self.0)
    }

    /// A number by which a file recognises the secret that it was written under, without giving it away.
    pub fn fingerprint(self) -> u64 {
        mix(self.hash(0x6772_6964_686f_7573_655f_7275_6e73))
    }
}

/// The finish of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_fingerprints_are_those_that_files_hold() {
        let hasher = KeyHasher::of_secret([1, 2]);
        assert_eq!(
            [hasher.hash(0), hasher.hash(1), hasher.hash(1 << 64), hasher.fingerprint()],
            [
                2_973_477_179_935_981_396,
                16_766_695_787_551_372_262,
                13_813_811_782_466_632_555,
                8_660_916_865_032_507_621
            ],
            "a key run holds these; a change of the function makes every file unreadable"
        );
        assert_ne!(hasher.fingerprint(), KeyHasher::of_secret([2, 1]).fingerprint());
    }

    #[test]
    fn consecutive_keys_spread_over_top_and_low_bits() {
        let hasher = KeyHasher::of_secret([3, 4]);
        let (mut top, mut low) = ([0_u32; 256], [0_u32; 256]);
        for key in 0..256_000 {
            let hash = hasher.hash(key);
            top[(hash >> 56) as usize] += 1;
            low[(hash & 255) as usize] += 1;
        }
        // 1,000 are expected in each; six standard deviations are 190.
        assert!(top.iter().chain(&low).all(|count| (810..1190).contains(count)), "{top:?} {low:?}");
    }
}
