//! Changes valid bytes by chance, so that they stay near enough to valid ones to get far.

use gridhouse_base::random::Random;

/// Inputs do not become longer than this by themselves, so that a decoder's work stays small.
const MAX_BYTES: usize = 16 << 10;

/// Numbers at the edges of what lengths and counts can say.
const EDGES: [u64; 12] =
    [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff];

/// Numbers as text, at the edges of types and beyond.
pub const NUMBERS: [&str; 28] = [
    "0",
    "-0",
    "1",
    "-1",
    "00",
    "1e0",
    "1e9999",
    "1e-9999",
    "0.000000000000000000000000000000000000000000001",
    "127",
    "128",
    "-129",
    "32768",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "170141183460469231731687303715884105727.5",
    "NaN",
    "Infinity",
    "-Infinity",
    "1.7976931348623157e309",
    ".",
];

/// One of `words`.
pub fn one_of<'a>(words: &[&'a str], random: &mut Random) -> &'a str {
    let word: &&str = random.pick(words);
    word
}

/// One of `pieces`.
fn piece_of<'a>(pieces: &[&'a [u8]], random: &mut Random) -> &'a [u8] {
    let piece: &&[u8] = random.pick(pieces);
    piece
}

/// Changes `bytes` in one to four places. `other` is another valid input, `words` what counts in the format.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    for _ in 0..=random.below(4) {
        once(bytes, other, words, random);
    }
    bytes.truncate(MAX_BYTES);
}

fn once(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(piece_of(words, random));
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    let upto = (at + 1 + random.below(24) as usize).min(bytes.len());
    match random.below(14) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.bits() as u8,
        2 => bytes[at] = bytes[at].wrapping_add(*random.pick(&[1, 0xff])),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..upto)),
        5 => drop(bytes.splice(at..at, piece_of(words, random).iter().copied())),
        6 => drop(bytes.splice(at..upto, piece_of(words, random).iter().copied())),
        7 => lie(bytes, at, random),
        8 => {
            // The beginning of one and the end of another.
            let from = random.below(other.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        9 => {
            let from = random.below(other.len() as u64 + 1) as usize;
            let piece = &other[from..(from + 40).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        10 => {
            // The same again and again: many elements, deep nesting.
            let most = *random.pick(&[3, 30, 3_000]);
            let times = 1 + random.below(most) as usize;
            let piece = bytes[at..upto].repeat(times);
            let room = MAX_BYTES.saturating_sub(bytes.len());
            bytes.splice(at..at, piece.into_iter().take(room));
        }
        11 => {
            let most = *random.pick(&[3, 300, 30_000]);
            let times = 1 + random.below(most) as usize;
            let piece = piece_of(words, random).repeat(times);
            let room = MAX_BYTES.saturating_sub(bytes.len());
            bytes.splice(at..at, piece.into_iter().take(room));
        }
        12 => number(bytes, at, random),
        _ => bytes[at..upto].reverse(),
    }
}

/// A length or count, in one of its usual forms, that is not true.
fn lie(bytes: &mut [u8], at: usize, random: &mut Random) {
    let left = (bytes.len() - at) as u64;
    let number = match random.below(3) {
        0 => *random.pick(&EDGES),
        1 => left.wrapping_add(random.below(9)).wrapping_sub(4),
        _ => random.below(70_000),
    };
    let width = *random.pick(&[1, 2, 4, 8]);
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    let form = if random.chance(0.2) { &little[..width] } else { &big[8 - width..] };
    for (byte, new) in bytes[at..].iter_mut().zip(form) {
        *byte = *new;
    }
}

/// Replaces the number in text that is at or behind `at`.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, one_of(&NUMBERS, random).bytes());
}

/// Changes the order of `pieces`, doubles some or leaves some out.
pub fn shuffle<T: Clone>(pieces: &mut Vec<T>, random: &mut Random) {
    if pieces.is_empty() {
        return;
    }
    let at = random.below(pieces.len() as u64) as usize;
    match random.below(4) {
        0 => drop(pieces.remove(at)),
        1 => pieces.insert(at, pieces[at].clone()),
        2 => {
            let other = random.below(pieces.len() as u64) as usize;
            pieces.swap(at, other);
        }
        _ => pieces.truncate(at),
    }
}
