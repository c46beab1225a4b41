//! Texts as codes of short pieces that recur in them, each text for itself.
//!
//! After FSST (Boncz, Neumann, Leis: "FSST: Fast Random Access String Compression", VLDB 2020): up to 255 symbols of one to
//! eight bytes; a code is one byte, and 255 says that the next byte stands for itself. The symbols of a column are found in a
//! few rounds over a sample: in each, what follows each other often is joined, and the pieces that cover most are kept.
//! Written here and not taken from a library because the known one trusts its input; this one reads any bytes without harm.
//!
//! Symbols are written by ascending length, so that eight counts say where each lies:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | how many symbols have 1, 2, … 8 bytes; 255 in all at most |
//! | … | the symbols, in the order of their codes |

use bytes::Bytes;
use gridhouse_base::Result;

use super::flat::Flat;
use super::reader::Reader;
use crate::codec::damaged;

/// The code before a byte that stands for itself.
const ESCAPE: u8 = 255;
/// The most symbols.
const MOST: usize = 255;
/// How much text the symbols are found in, how much of it in one place, and in how many rounds. The paper takes 16 KiB
/// and 5; half of that loses less than a hundredth on names and remarks, and a chunk is small.
const SAMPLE_BYTES: usize = 8 * 1024;
const SAMPLE_PIECE: usize = 128;
const ROUNDS: usize = 4;
/// How many bytes of a single text are put together before they are appended.
const PAGE: usize = 256;
/// Slots for symbols of three bytes and more, by their first three.
const SLOTS: usize = 1024;

/// Up to eight bytes, the first in the lowest bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    word: u64,
    length: u8,
}

impl Symbol {
    fn byte(byte: u8) -> Self {
        Self { word: u64::from(byte), length: 1 }
    }

    fn joined(self, next: Self) -> Option<Self> {
        let length = self.length + next.length;
        (length <= 8).then(|| Self { word: self.word | next.word << (8 * self.length), length })
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(self.length))
    }
}

/// The first eight bytes of `text`, or fewer and zeros.
#[inline(always)]
fn front(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

fn slot_of(word: u64) -> usize {
    ((word & 0xFF_FFFF).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
}

/// Symbols in the form in which they are looked for.
pub(super) struct Finder {
    symbols: Vec<Symbol>,
    /// By the first three bytes: a symbol of at least three, and its code. Of two that meet here the better one stays.
    long: Vec<(Symbol, u8)>,
    /// By two bytes: the code of that symbol, else the escape.
    short: Vec<u8>,
    /// By a byte: the code of that symbol, else the escape.
    single: [u8; 256],
}

impl Finder {
    /// Finds `symbols`, the best of which come first.
    fn new(best_first: &[Symbol]) -> Self {
        let mut taken = vec![false; SLOTS];
        let mut symbols: Vec<Symbol> = best_first
            .iter()
            .copied()
            .filter(|symbol| symbol.length < 3 || !std::mem::replace(&mut taken[slot_of(symbol.word)], true))
            .take(MOST)
            .collect();
        symbols.sort_by_key(|symbol| symbol.length);
        let mut long = vec![(Symbol { word: u64::MAX, length: 8 }, ESCAPE); SLOTS];
        let mut short = vec![ESCAPE; 1 << 16];
        let mut single = [ESCAPE; 256];
        for (symbol, code) in symbols.iter().zip(0_u8..) {
            match symbol.length {
                1 => single[symbol.word as usize] = code,
                2 => short[symbol.word as usize] = code,
                _ => long[slot_of(symbol.word)] = (*symbol, code),
            }
        }
        Self { symbols, long, short, single }
    }

    /// The code of the longest symbol found at the start of `text`, which is not empty, and its length; the escape has one.
    #[inline(always)]
    fn find(&self, text: &[u8]) -> (u8, usize) {
        let word = front(text);
        let (symbol, code) = self.long[slot_of(word)];
        let length = usize::from(symbol.length);
        if word & symbol.mask() == symbol.word && length <= text.len() && code != ESCAPE {
            return (code, length);
        }
        let code = self.short[usize::from(word as u16)];
        if code != ESCAPE && text.len() > 1 {
            return (code, 2);
        }
        (self.single[usize::from(word as u8)], 1)
    }

    /// The symbols that cover most of a sample of `texts`, which have `total` bytes, if that saves a fifth of it.
    pub fn train<'a>(texts: impl Iterator<Item = &'a [u8]>, total: usize) -> Option<Self> {
        let sample = sample(texts, total);
        let mut finder = Self::new(&[]);
        let mut pairs = Pairs::new();
        for round in 0..ROUNDS {
            finder = Self::new(&finder.better(&sample, &mut pairs, round + 1 == ROUNDS));
        }
        let before: usize = sample.iter().map(|text| text.len()).sum();
        let mut after = Vec::new();
        sample.iter().for_each(|text| finder.compress(text, &mut after));
        (after.len() * 5 < before * 4).then_some(finder)
    }

    /// Symbols that would have covered more of `sample`, the best first.
    fn better(&self, sample: &[&[u8]], pairs: &mut Pairs, is_last: bool) -> Vec<Symbol> {
        let mut singles = vec![0_u32; Pairs::SIDE];
        for mut text in sample.iter().copied() {
            let mut before = None;
            while !text.is_empty() {
                let (code, length) = self.find(text);
                let piece = if code == ESCAPE { 256 + usize::from(text[0]) } else { usize::from(code) };
                singles[piece] += 1;
                if length > 1 {
                    singles[256 + usize::from(text[0])] += 1;
                }
                if let Some(before) = before.replace(piece).filter(|_| !is_last) {
                    pairs.count(before, piece);
                }
                text = &text[length..];
            }
        }
        let symbol = |piece: usize| match piece {
            256.. => Symbol::byte((piece - 256) as u8),
            code => self.symbols[code],
        };
        // A code saves what it covers but for itself; a single byte saves its escape.
        let gain = |symbol: Symbol, count: u32| u64::from(count) * u64::from(symbol.length.max(2) - 1);
        let mut found: Vec<(Symbol, u64)> = Vec::new();
        for (piece, count) in singles.into_iter().enumerate().filter(|(_, count)| *count > 1) {
            found.push((symbol(piece), gain(symbol(piece), count)));
        }
        pairs.drain(|first, second, count| {
            if count > 1
                && let Some(joined) = symbol(first).joined(symbol(second))
            {
                found.push((joined, gain(joined, count)));
            }
        });
        // Twice as many as can be kept are enough: the same symbol may have come about in two ways, or lose its slot.
        if found.len() > 2 * MOST {
            found.select_nth_unstable_by(2 * MOST, |(a, a_gain), (b, b_gain)| b_gain.cmp(a_gain).then(a.cmp(b)));
            found.truncate(2 * MOST);
        }
        found.sort_unstable_by(|(a, a_gain), (b, b_gain)| a.cmp(b).then(b_gain.cmp(a_gain)));
        found.dedup_by_key(|(symbol, _)| *symbol);
        found.sort_by(|(_, a), (_, b)| b.cmp(a));
        found.into_iter().map(|(symbol, _)| symbol).collect()
    }

    /// Appends `text` as codes.
    pub fn compress(&self, mut text: &[u8], out: &mut Vec<u8>) {
        while !text.is_empty() {
            let (code, length) = self.find(text);
            out.push(code);
            if code == ESCAPE {
                out.push(text[0]);
            }
            text = &text[length..];
        }
    }

    /// Appends the symbols.
    pub fn write(&self, out: &mut Vec<u8>) {
        let count = |length: u8| self.symbols.iter().filter(|symbol| symbol.length == length).count() as u8;
        out.extend((1..=8).map(count));
        for symbol in &self.symbols {
            out.extend_from_slice(&symbol.word.to_le_bytes()[..usize::from(symbol.length)]);
        }
    }
}

/// Pieces of `texts`, which have `total` bytes, from all over.
fn sample<'a>(texts: impl Iterator<Item = &'a [u8]>, total: usize) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let (mut taken, mut passed) = (0, 0);
    for text in texts.filter(|text| !text.is_empty()) {
        // As much of what has been passed as the sample is of the whole.
        if taken * total <= passed * SAMPLE_BYTES {
            let piece = &text[..text.len().min(SAMPLE_PIECE)];
            taken += piece.len();
            pieces.push(piece);
        }
        passed += text.len();
    }
    pieces
}

/// How often a piece followed another.
struct Pairs {
    counts: Vec<u16>,
    seen: Vec<u32>,
}

impl Pairs {
    /// Codes, then single bytes.
    const SIDE: usize = 512;

    fn new() -> Self {
        Self { counts: vec![0; Self::SIDE * Self::SIDE], seen: Vec::new() }
    }

    fn count(&mut self, first: usize, second: usize) {
        let pair = first * Self::SIDE + second;
        if self.counts[pair] == 0 {
            self.seen.push(pair as u32);
        }
        // A sample has fewer pieces than a count can hold.
        self.counts[pair] += 1;
    }

    /// Hands every pair to `take` and forgets it.
    fn drain(&mut self, mut take: impl FnMut(usize, usize, u32)) {
        for pair in self.seen.drain(..) {
            let pair = pair as usize;
            take(pair / Self::SIDE, pair % Self::SIDE, std::mem::take(&mut self.counts[pair]).into());
        }
    }
}

/// Symbols as they were written, over shared bytes.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    /// The code behind the last symbol of 1, 2, … 8 bytes.
    ends: [u8; 8],
    /// Where the symbols of 1, 2, … 8 bytes begin.
    starts: [u16; 8],
    bytes: Bytes,
}

impl Symbols {
    /// Reads symbols.
    pub fn parse(input: &mut Reader) -> Result<Self> {
        let counts: [u8; 8] = input.array()?;
        let (mut ends, mut starts) = ([0; 8], [0; 8]);
        let (mut end, mut bytes) = (0, 0);
        for (i, count) in counts.iter().map(|count| usize::from(*count)).enumerate() {
            end += count;
            if end > MOST {
                return Err(damaged("texts have more than 255 symbols"));
            }
            // 255 symbols of 8 bytes are the most.
            (ends[i], starts[i]) = (end as u8, bytes as u16);
            bytes += count * (i + 1);
        }
        Ok(Self { ends, starts, bytes: input.bytes(bytes)? })
    }

    /// Where the symbol of a code lies, and its length.
    #[inline]
    fn place(&self, code: u8) -> Option<(usize, usize)> {
        let shorter = self.ends.iter().map(|end| usize::from(*end <= code)).sum::<usize>();
        let start = usize::from(*self.starts.get(shorter)?);
        let first = if shorter == 0 { 0 } else { self.ends[shorter - 1] };
        Some((start + usize::from(code - first) * (shorter + 1), shorter + 1))
    }

    fn symbol(&self, code: u8) -> Option<&[u8]> {
        let (start, length) = self.place(code)?;
        self.bytes.get(start..start + length)
    }

    /// Appends the text that `codes` stand for; for a few texts.
    pub fn expand(&self, codes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut page = [0_u8; PAGE];
        let mut used = 0;
        let mut codes = codes.iter();
        while let Some(&code) = codes.next() {
            // What is written behind a symbol the next one goes over.
            let room: &mut [u8; 8] =
                page[used..].first_chunk_mut().expect("a page is handed on before it has fewer than eight bytes");
            used += match self.place(code) {
                Some((start, length)) => {
                    match self.bytes.get(start..start + room.len()) {
                        Some(bytes) => room.copy_from_slice(bytes),
                        None => room[..length].copy_from_slice(&self.bytes[start..start + length]),
                    }
                    length
                }
                None if code == ESCAPE => {
                    room[0] = *codes.next().ok_or_else(unknown)?;
                    1
                }
                None => return Err(unknown()),
            };
            if used > PAGE - 8 {
                out.extend_from_slice(&page[..used]);
                used = 0;
            }
        }
        out.extend_from_slice(&page[..used]);
        Ok(())
    }

    /// The symbols laid out for many texts.
    pub fn laid_out(&self) -> Layout {
        let mut layout = Layout { symbols: [([0; 8], 0); 256] };
        for code in 0..ESCAPE {
            if let Some(symbol) = self.symbol(code) {
                layout.symbols[usize::from(code)].0[..symbol.len()].copy_from_slice(symbol);
                layout.symbols[usize::from(code)].1 = symbol.len() as u8;
            }
        }
        layout
    }
}

fn unknown() -> gridhouse_base::Error {
    damaged("a text has a code that stands for nothing")
}

/// Symbols at places that follow from their codes.
pub(super) struct Layout {
    symbols: [([u8; 8], u8); 256],
}

impl Layout {
    /// Appends the text that `codes` stand for.
    pub fn expand(&self, codes: &[u8], out: &mut Flat) -> Result<()> {
        out.reserve(8 * codes.len());
        let mut codes = codes.iter();
        while let Some(&code) = codes.next() {
            let (bytes, length) = &self.symbols[usize::from(code)];
            match length {
                0 if code == ESCAPE => {
                    let byte = *codes.next().ok_or_else(unknown)?;
                    out.word(&u64::from(byte).to_le_bytes(), 1);
                }
                0 => return Err(unknown()),
                length => out.word(bytes, usize::from(*length)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    fn check(texts: &[Vec<u8>]) -> f64 {
        let total: usize = texts.iter().map(Vec::len).sum();
        let finder = Finder::train(texts.iter().map(Vec::as_slice), total).unwrap_or_else(|| Finder::new(&[]));
        let mut written = Vec::new();
        finder.write(&mut written);
        let symbols = Symbols::parse(&mut Reader::new(written.into())).unwrap();
        let layout = symbols.laid_out();
        let mut all = 0;
        for text in texts {
            let mut codes = Vec::new();
            finder.compress(text, &mut codes);
            all += codes.len();
            let (mut singly, mut in_bulk) = (Vec::new(), Flat::default());
            symbols.expand(&codes, &mut singly).unwrap();
            layout.expand(&codes, &mut in_bulk).unwrap();
            assert_eq!((&singly, in_bulk.as_slice()), (text, text.as_slice()));
        }
        total as f64 / all.max(1) as f64
    }

    #[test]
    fn texts_come_back_and_what_recurs_is_small() {
        let mut random = Random::new(8);
        check(&[]);
        check(&[vec![]]);
        check(&[vec![0; 3], vec![0; 700], vec![255; 9], vec![]]);
        let random_bytes: Vec<Vec<u8>> =
            (0..300).map(|_| (0..random.below(90)).map(|_| random.bits() as u8).collect()).collect();
        check(&random_bytes);
        let words = ["变压器", "断路器", "overload", " of ", "line", "restored", "–", "phase A"];
        let remarks: Vec<Vec<u8>> =
            (0..2000).map(|_| (0..5).flat_map(|_| random.pick(&words).bytes()).collect::<Vec<u8>>()).collect();
        let ratio = check(&remarks);
        assert!(ratio > 4.0, "remarks became {ratio} times smaller");
        let numbers: Vec<Vec<u8>> =
            (0..4000).map(|_| format!("feeder {:08}", random.below(10_000_000)).into_bytes()).collect();
        let ratio = check(&numbers);
        assert!(ratio > 2.5, "numbered names became {ratio} times smaller");
    }
}
