//! The bytes of a frozen state: appended in blocks, read from front to back.
//!
//! A writer only gathers bytes in memory, so that freezing between two ticks is quick; checksums are made when the blocks
//! are handed on, by whoever does that. A reader checks a block before it gives out a byte of it, and never asks for more
//! memory than the bytes that are left account for.

use std::io::Write;
use std::sync::Arc;

use gridhouse_base::{Error, Result};

use crate::spill::SpillFile;

/// What a frozen state begins with.
const MAGIC: [u8; 8] = *b"GRIDFLW\0";

/// The version of the frame around the nodes' own forms.
const VERSION: u32 = 1;

/// Bytes of the beginning: magic and version.
const HEAD_BYTES: usize = 12;

/// Bytes before every block: its length and its checksum.
const BLOCK_HEAD_BYTES: usize = 8;

/// The most bytes of a block: large enough that its eight bytes of frame do not count, small enough to be checked at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// Gathers bytes.
#[derive(Default)]
pub(crate) struct StateWriter {
    full: Vec<Piece>,
    last: Vec<u8>,
}

/// A part of the content.
enum Piece {
    /// At most [`BLOCK_BYTES`].
    Block(Vec<u8>),
    /// The content of a state that lies in a file, with a frame of its own.
    File(Arc<SpillFile>),
}

impl StateWriter {
    /// Appends bytes as they are.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while self.last.len() + bytes.len() > BLOCK_BYTES {
            let (now, later) = bytes.split_at(BLOCK_BYTES - self.last.len());
            self.last.extend_from_slice(now);
            self.full.push(Piece::Block(std::mem::take(&mut self.last)));
            bytes = later;
        }
        self.last.extend_from_slice(bytes);
    }

    /// Appends a number of few bytes where it is small.
    #[inline]
    pub fn varint(&mut self, value: u64) {
        let mut rest = value;
        let (mut bytes, mut len) = ([0; 10], 0);
        loop {
            bytes[len] = (rest as u8 & 0x7f) | if rest > 0x7f { 0x80 } else { 0 };
            rest >>= 7;
            len += 1;
            if rest == 0 {
                return self.put(&bytes[..len]);
            }
        }
    }

    /// Appends a number of few bytes where it is near 0.
    #[inline]
    pub fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Appends yes or no.
    pub fn flag(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    /// Appends bytes with their length.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.put(bytes);
    }

    /// Appends the content of a state that lies in a file. It stays there until it is written.
    pub fn file(&mut self, file: Arc<SpillFile>) {
        if !self.last.is_empty() {
            self.full.push(Piece::Block(std::mem::take(&mut self.last)));
        }
        self.full.push(Piece::File(file));
    }

    /// Appends what another writer has gathered.
    pub fn append(&mut self, other: &Self) {
        for piece in &other.full {
            match piece {
                Piece::Block(block) => self.put(block),
                Piece::File(file) => self.file(file.clone()),
            }
        }
        self.put(&other.last);
    }

    /// How many bytes [`StateWriter::write`] writes.
    pub fn written_bytes(&self) -> u64 {
        let framed = |len: usize| (BLOCK_HEAD_BYTES + len) as u64;
        let of = |piece: &Piece| match piece {
            Piece::Block(block) => framed(block.len()),
            // Its blocks, without its beginning and its end.
            Piece::File(file) => file.len() - (HEAD_BYTES + BLOCK_HEAD_BYTES) as u64,
        };
        let last = if self.last.is_empty() { 0 } else { framed(self.last.len()) };
        (HEAD_BYTES + BLOCK_HEAD_BYTES) as u64 + self.full.iter().map(of).sum::<u64>() + last
    }

    /// Whether both hold the same few bytes in memory; false where they are many.
    pub fn is_same(&self, other: &Self) -> bool {
        self.full.is_empty() && other.full.is_empty() && self.last == other.last
    }

    /// Hands the state on, with its frame and checksums.
    ///
    /// # Errors
    /// Those of `out`, as `Unavailable`; those of reading what lies in files.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[8..].copy_from_slice(&VERSION.to_le_bytes());
        let mut blocks = Blocks { out, number: 0 };
        blocks.put(&head)?;
        for piece in &self.full {
            match piece {
                Piece::Block(block) => blocks.block(block)?,
                Piece::File(file) => blocks.file(file)?,
            }
        }
        if !self.last.is_empty() {
            blocks.block(&self.last)?;
        }
        blocks.block(&[])
    }
}

/// Writes blocks with their frames.
struct Blocks<'a> {
    out: &'a mut dyn Write,
    number: u64,
}

impl Blocks<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Error::unavailable("a state could not be written").caused_by(error))
    }

    fn block(&mut self, block: &[u8]) -> Result<()> {
        self.put(&(block.len() as u32).to_le_bytes())?;
        self.put(&checksum(self.number, block).to_le_bytes())?;
        self.number += 1;
        self.put(block)
    }

    /// Writes the blocks of a file anew, checked, with numbers that go on here.
    fn file(&mut self, file: &SpillFile) -> Result<()> {
        let (mut at, mut head, mut block) = (HEAD_BYTES as u64, [0; BLOCK_HEAD_BYTES], Vec::new());
        for number in 0.. {
            file.read_at(&mut head, at)?;
            let (len, sum) = block_head(&head);
            if len == 0 {
                break;
            }
            block.resize(len.min(BLOCK_BYTES), 0);
            file.read_at(&mut block, at + BLOCK_HEAD_BYTES as u64)?;
            if len > BLOCK_BYTES || checksum(number, &block) != sum {
                return Err(Error::corrupt("spilled state does not fit its checksum"));
            }
            self.block(&block)?;
            at += (BLOCK_HEAD_BYTES + len) as u64;
        }
        Ok(())
    }
}

/// Length and checksum of a block.
fn block_head(head: &[u8; BLOCK_HEAD_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

/// The checksum of the `number`-th block. The number is a part of it, so that blocks cannot change places.
fn checksum(number: u64, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), block)
}

/// Reads what a [`StateWriter`] has written.
pub(crate) struct StateReader<'a> {
    all: usize,
    /// What follows the block.
    rest: &'a [u8],
    /// What is left of the block.
    block: &'a [u8],
    number: u64,
    /// Whether the block that ends the state has been seen.
    ended: bool,
}

impl<'a> StateReader<'a> {
    /// Reads `bytes` from their front.
    ///
    /// # Errors
    /// `Corrupt` where they do not begin like a state; `Conflict` where another version wrote them.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Self { all: bytes.len(), rest: bytes, block: &[], number: 0, ended: false };
        let head = reader.raw(HEAD_BYTES)?;
        if head[..8] != MAGIC {
            return Err(reader.damaged("it does not begin like one"));
        }
        let version = u32::from_le_bytes(head[8..].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(Error::conflict(format!(
                "the frozen state is of version {version}, and this program reads version {VERSION}"
            ))
            .hint("the job is rebuilt from its inputs instead"));
        }
        Ok(reader)
    }

    /// The error for bytes that no program of this version has written.
    pub fn damaged(&self, what: &str) -> Error {
        let at = self.all - self.rest.len() - self.block.len();
        Error::corrupt(format!("the frozen state is damaged before its byte {at}: {what}"))
    }

    fn raw(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((now, later)) = self.rest.split_at_checked(len) else {
            return Err(self.damaged("it ends too early"));
        };
        self.rest = later;
        Ok(now)
    }

    /// Goes on to the next block; false at the end of the state.
    fn next_block(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let (len, sum) = block_head(self.raw(BLOCK_HEAD_BYTES)?.try_into().expect("it is as long as a head"));
        if len > BLOCK_BYTES {
            return Err(self.damaged("a block is too long"));
        }
        let block = self.raw(len)?;
        if checksum(self.number, block) != sum {
            return Err(self.damaged("a block does not fit its checksum"));
        }
        self.number += 1;
        self.block = block;
        self.ended = block.is_empty();
        Ok(!self.ended)
    }

    /// The most bytes that may still come.
    pub fn left(&self) -> usize {
        self.block.len() + self.rest.len()
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// `Corrupt` where the state ends before.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            if self.block.is_empty() && !self.next_block()? {
                return Err(self.damaged("it ends too early"));
            }
            let len = self.block.len().min(out.len() - filled);
            let (now, later) = self.block.split_at(len);
            out[filled..filled + len].copy_from_slice(now);
            self.block = later;
            filled += len;
        }
        Ok(())
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Corrupt` where the state ends before.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.block.split_at_checked(N) {
            Some((now, later)) => {
                bytes.copy_from_slice(now);
                self.block = later;
            }
            None => self.fill(&mut bytes)?,
        }
        Ok(bytes)
    }

    /// A number as [`StateWriter::varint`] writes it.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    #[inline]
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number is too long"))
    }

    /// A number as [`StateWriter::signed`] writes it.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    #[inline]
    pub fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Yes or no.
    ///
    /// # Errors
    /// `Corrupt` where there is neither.
    pub fn flag(&mut self) -> Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.damaged("neither yes nor no")),
        }
    }

    /// A number of things that follow, each of which takes a byte at least.
    ///
    /// # Errors
    /// `Corrupt` where that many cannot follow.
    pub fn count(&mut self) -> Result<usize> {
        let count = self.varint()?;
        if count > self.left() as u64 {
            return Err(self.damaged("more is announced than follows"));
        }
        Ok(count as usize)
    }

    /// Bytes with their length.
    ///
    /// # Errors
    /// `Corrupt` where the state ends before.
    pub fn bytes(&mut self) -> Result<Box<[u8]>> {
        let len = self.count()?;
        if let Some((now, later)) = self.block.split_at_checked(len) {
            self.block = later;
            return Ok(now.into());
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes.into())
    }

    /// A text with its length.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    pub fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.into_vec()).map_err(|_| self.damaged("a text is not UTF-8"))
    }

    /// Makes sure that nothing follows.
    ///
    /// # Errors
    /// `Corrupt` where something does.
    pub fn end(mut self) -> Result<()> {
        if !self.block.is_empty() || self.next_block()? || !self.rest.is_empty() {
            return Err(self.damaged("something follows its end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::ErrorKind;
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn what_was_written_is_read_across_blocks_and_every_flipped_bit_is_found() {
        let mut random = Random::new(1);
        let numbers: Vec<u64> = (0..200_000).map(|_| random.bits() >> random.below(64)).collect();
        let long = vec![7; 2 * BLOCK_BYTES + 5];
        let mut writer = StateWriter::default();
        numbers.iter().for_each(|&number| writer.varint(number));
        numbers.iter().for_each(|&number| writer.signed(number as i64));
        writer.bytes(&long);
        numbers.iter().for_each(|number| writer.put(&number.to_le_bytes()));
        writer.flag(true);
        let mut bytes = Vec::new();
        writer.write(&mut bytes).unwrap();
        let read = |bytes: &[u8]| -> Result<()> {
            let mut reader = StateReader::new(bytes)?;
            for &number in &numbers {
                assert_eq!(reader.varint()?, number);
            }
            for &number in &numbers {
                assert_eq!(reader.signed()?, number as i64);
            }
            assert!(*reader.bytes()? == *long);
            for &number in &numbers {
                assert_eq!(u64::from_le_bytes(reader.array()?), number);
            }
            assert!(reader.flag()?);
            reader.end()
        };
        read(&bytes).unwrap();
        for _ in 0..40 {
            let (at, bit) = (random.below(bytes.len() as u64) as usize, 1 << random.below(8));
            bytes[at] ^= bit;
            let kind = read(&bytes).unwrap_err().kind();
            assert!(kind == ErrorKind::Corrupt || (8..12).contains(&at), "byte {at}: {kind}");
            bytes[at] ^= bit;
            assert_eq!(read(&bytes[..at]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        bytes.push(0);
        assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
