//! Unsigned numbers of one width in a row, the lowest bit first.
//!
//! Number i takes the bits from i × width; behind the last come seven spare bytes, so that every number can be read by one
//! eight-byte load, wherever it starts. That holds for widths up to 56 bits; wider numbers take 64 and are not packed. Eight
//! numbers start at whole bytes: unpacking goes by eights, and a copy of its loop for each width has nothing left to compute
//! but constant shifts.

/// The widest numbers that are packed.
const MAX_PACKED_WIDTH: u8 = 56;
/// The width of numbers that are not.
const FULL_WIDTH: u8 = 64;
/// Bytes behind packed numbers: a load of eight bytes at the last byte of the last number stays within.
const SPARE_BYTES: usize = 7;

/// The width that holds every number up to `largest`.
pub(super) fn width_of(largest: u64) -> u8 {
    let width = (u64::BITS - largest.leading_zeros()) as u8;
    if width > MAX_PACKED_WIDTH { FULL_WIDTH } else { width }
}

/// Whether numbers can have this width.
pub(super) fn is_width(width: u8) -> bool {
    width <= MAX_PACKED_WIDTH || width == FULL_WIDTH
}

/// How many bytes `count` numbers take.
pub(super) fn packed_bytes(count: usize, width: u8) -> usize {
    match width {
        0 => 0,
        FULL_WIDTH => count * 8,
        width => (count * usize::from(width)).div_ceil(8) + SPARE_BYTES,
    }
}

/// Appends `numbers`, each of which has at most `width` bits.
pub(super) fn pack(numbers: impl ExactSizeIterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    let end = out.len() + packed_bytes(numbers.len(), width);
    out.reserve(end + 8 - out.len());
    if width > 0 {
        let width = u32::from(width);
        let (mut word, mut used) = (0_u64, 0);
        for number in numbers {
            debug_assert!(width == 64 || number >> width == 0, "{number} has more than {width} bits");
            word |= number << used;
            used += width;
            if used >= 64 {
                out.extend_from_slice(&word.to_le_bytes());
                used -= 64;
                word = if used == 0 { 0 } else { number >> (width - used) };
            }
        }
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.resize(end, 0);
}

/// Number `i` of those in `bytes`.
#[inline(always)]
pub(super) fn get(bytes: &[u8], width: u8, i: usize) -> u64 {
    if width == 0 {
        return 0;
    }
    let bit = i * usize::from(width);
    let word = load(bytes, bit / 8);
    // The first shift is at most 7, except for the full width, where it is 0.
    (word >> (bit % 8)) & (u64::MAX >> (64 - u32::from(width)))
}

#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were taken"))
}

/// How many numbers are unpacked at once: 4 KiB of them stay in the first-level cache until they are used.
pub(super) const BLOCK: usize = 512;

/// Hands the first `count` numbers of `bytes` to `take`, a block at a time: where it begins, and the numbers.
pub(super) fn unpack(bytes: &[u8], width: u8, count: usize, mut take: impl FnMut(usize, &[u64])) {
    let mut block = [0; BLOCK];
    for start in (0..count).step_by(BLOCK) {
        let numbers = &mut block[..BLOCK.min(count - start)];
        // Blocks start at whole bytes, as eights do.
        unpack_block(&bytes[start / 8 * usize::from(width)..], width, numbers);
        take(start, numbers);
    }
}

fn unpack_block(bytes: &[u8], width: u8, out: &mut [u64]) {
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                0 => out.fill(0),
                FULL_WIDTH => {
                    for (slot, word) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                        *slot = u64::from_le_bytes(*word);
                    }
                }
                $($w => unpack_by_eights::<$w>(bytes, out),)*
                other => unreachable!("numbers of {other} bits are never packed"),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38
        39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56);
}

fn unpack_by_eights<const WIDTH: usize>(bytes: &[u8], out: &mut [u64]) {
    let (eights, rest) = out.as_chunks_mut::<8>();
    let done = eights.len();
    for (group, slots) in eights.iter_mut().enumerate() {
        let window = &bytes[group * WIDTH..(group + 1) * WIDTH + SPARE_BYTES];
        *slots = std::array::from_fn(|i| {
            let bit = i * WIDTH;
            (load(window, bit / 8) >> (bit % 8)) & ((1 << WIDTH) - 1)
        });
    }
    for (i, slot) in rest.iter_mut().enumerate() {
        *slot = get(bytes, WIDTH as u8, done * 8 + i);
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn numbers_of_every_width_come_back_whole_and_singly() {
        let mut random = Random::new(1);
        for width in (0..=64).filter(|width| is_width(*width)) {
            for count in [0, 1, 7, 8, 9, 64, 1001] {
                let mask = if width == 0 { 0 } else { u64::MAX >> (64 - u32::from(width)) };
                let numbers: Vec<u64> = (0..count).map(|_| random.bits() & mask).collect();
                let mut bytes = vec![0xAA; 3];
                pack(numbers.iter().copied(), width, &mut bytes);
                assert_eq!(bytes.len() - 3, packed_bytes(count, width), "{count} numbers of {width} bits");
                let mut back = Vec::new();
                unpack(&bytes[3..], width, count, |start, numbers| {
                    assert_eq!(start, back.len());
                    back.extend_from_slice(numbers);
                });
                assert_eq!(back, numbers, "{count} numbers of {width} bits");
                assert!((0..count).all(|i| get(&bytes[3..], width, i) == numbers[i]), "{count} of {width} bits");
            }
        }
    }
}
