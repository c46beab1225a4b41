//! Numbers that look random and are functions of (seed, column, row), so that every program makes the same rows in any order.
//!
//! `peers/rows.py` has the same functions; [`digest`] proves before every run that both give the same bytes.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// 2^64 over the golden ratio, odd: the step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64 bits for a column and a row: SplitMix64's finish over a sum of odd multiples.
pub fn draw(seed: u64, column: u64, row: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .wrapping_add(column.wrapping_mul(0xa076_1d64_78bd_642f))
        .wrapping_add(row.wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The numbers below `count` in an order that looks random: multiplications by odd numbers and shifts are one-to-one on the
/// next power of two, and what falls outside is put through again.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    count: u64,
    bits: u32,
    factors: [u64; 3],
}

impl Shuffle {
    /// An order of the numbers below `count`, which is at least 1.
    pub fn new(seed: u64, count: u64) -> Self {
        let bits = (64 - (count - 1).leading_zeros()).max(2);
        Self { count, bits, factors: [0, 1, 2].map(|round| draw(seed, 1000 + round, 0) | 1) }
    }

    /// The number at place `place`, which is below the count.
    pub fn at(&self, place: u64) -> u64 {
        let mask = (1 << self.bits) - 1;
        let shift = self.bits.div_ceil(2);
        let mut x = place;
        loop {
            for factor in self.factors {
                x ^= x >> shift;
                x = x.wrapping_mul(factor) & mask;
            }
            x ^= x >> shift;
            if x < self.count {
                return x;
            }
        }
    }
}

/// A wave that rises to `half` and falls to 0 again.
pub fn wave(x: u64, half: u64) -> u64 {
    let m = x % (2 * half);
    if m <= half { m } else { 2 * half - m }
}

/// `value` in decimal, zeros in front up to `width`.
pub fn put_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for at in (start..start + width).rev() {
        out[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The lowest `width` hexadecimal digits of `value`.
pub fn put_hex(out: &mut Vec<u8>, value: u64, width: usize) {
    out.extend((0..width).rev().map(|at| b"0123456789abcdef"[(value >> (4 * at)) as usize & 15]));
}

/// A number per column that depends on every byte of its values and on their order; NULLs count as whatever lies under them,
/// which is zero or empty here.
pub fn digest(columns: &[ArrayRef]) -> Vec<u64> {
    let sum = |bytes: &mut dyn Iterator<Item = u8>| {
        let term = |(i, byte): (u64, u8)| (u64::from(byte) + 1).wrapping_mul(i.wrapping_mul(GOLDEN) | 1);
        (0..).zip(bytes).map(term).fold(0, u64::wrapping_add)
    };
    let column = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8 => sum(&mut column.as_string::<i32>().value_data().iter().copied()),
        DataType::Boolean => sum(&mut column.as_boolean().values().iter().map(u8::from)),
        _ => sum(&mut column.to_data().buffers()[0].as_slice().iter().copied()),
    };
    columns.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_names_every_number_once() {
        for count in [1, 2, 3, 1000, 4096, 4097] {
            let shuffle = Shuffle::new(3, count);
            let mut seen: Vec<u64> = (0..count).map(|place| shuffle.at(place)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
