//! The bytes of a frozen state: appended in blocks, with a frame that has their checksums.
//!
//! A writer only gathers bytes in memory; checksums are made when the blocks are handed on, by whoever does that. What lies in
//! a spilled file is handed on as it lies there, frame and all, within the frame of the state around it: so its bytes are the
//! same wherever they stand, and need not be read to be kept again ([`super::kept`]).

use std::io::Write;
use std::sync::Arc;

use gridhouse_base::{Error, Result};

use crate::spill::SpillFile;

/// What a frozen state begins with.
pub(super) const MAGIC: [u8; 8] = *b"GRIDFLW\0";

/// The version of the frame around the nodes' own forms.
pub(super) const VERSION: u32 = 2;

/// Bytes of the beginning: magic and version.
pub(super) const HEAD_BYTES: usize = 12;

/// Bytes before every block: its length and its checksum.
pub(super) const BLOCK_HEAD_BYTES: usize = 8;

/// Stands in the place of a block's length where a whole state follows, with a frame of its own; then come further blocks.
pub(super) const NESTED: u32 = u32::MAX;

/// The most bytes of a block: large enough that its eight bytes of frame do not count, small enough to be checked at once.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

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
    /// A state that lies in a file, with a frame of its own.
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

    /// Whether both hold the same few bytes in memory; false where they are many.
    pub fn is_same(&self, other: &Self) -> bool {
        self.full.is_empty() && other.full.is_empty() && self.last == other.last
    }

    /// Hands the content on as a state with its frame and checksums.
    ///
    /// # Errors
    /// Those of `out`, as `Unavailable`; those of reading what lies in files.
    pub fn write(&self, out: &mut dyn StateSink) -> Result<()> {
        let mut blocks = Blocks::begin(out)?;
        blocks.content(self)?;
        blocks.end()
    }
}

/// Takes the bytes of a state, one after the other.
pub(crate) trait StateSink {
    /// Takes bytes.
    fn put(&mut self, bytes: &[u8]) -> Result<()>;

    /// Takes the bytes of a file of spilled state if it knows where they stand; false if it has to be given them.
    fn take_file(&mut self, file: &SpillFile) -> Result<bool> {
        let _ = file;
        Ok(false)
    }
}

/// Takes every byte.
pub(crate) struct Plain<'a>(pub &'a mut dyn Write);

impl StateSink for Plain<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|error| Error::unavailable("a state could not be written").caused_by(error))
    }
}

/// Writes blocks with their frames.
pub(super) struct Blocks<'a> {
    out: &'a mut dyn StateSink,
    number: u64,
}

impl<'a> Blocks<'a> {
    /// Begins a state.
    pub fn begin(out: &'a mut dyn StateSink) -> Result<Self> {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[8..].copy_from_slice(&VERSION.to_le_bytes());
        out.put(&head)?;
        Ok(Self { out, number: 0 })
    }

    /// Writes some content.
    pub fn content(&mut self, content: &StateWriter) -> Result<()> {
        for piece in &content.full {
            match piece {
                Piece::Block(block) => self.block(block)?,
                Piece::File(file) => self.file(file)?,
            }
        }
        if content.last.is_empty() { Ok(()) } else { self.block(&content.last) }
    }

    /// Ends the state.
    pub fn end(mut self) -> Result<()> {
        self.block(&[])
    }

    fn block(&mut self, block: &[u8]) -> Result<()> {
        self.block_head(block.len() as u32, block)?;
        self.out.put(block)
    }

    fn block_head(&mut self, len: u32, block: &[u8]) -> Result<()> {
        let mut head = [0; BLOCK_HEAD_BYTES];
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..].copy_from_slice(&checksum(self.number, block).to_le_bytes());
        self.number += 1;
        self.out.put(&head)
    }

    /// Writes a file as it is: its checksums are made already, and are looked at by whoever reads the state.
    fn file(&mut self, file: &SpillFile) -> Result<()> {
        self.block_head(NESTED, &[])?;
        if self.out.take_file(file)? {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for from in (0..file.len()).step_by(BLOCK_BYTES) {
            bytes.resize((file.len() - from).min(BLOCK_BYTES as u64) as usize, 0);
            file.read_at(&mut bytes, from)?;
            self.out.put(&bytes)?;
        }
        Ok(())
    }
}

/// Length and checksum of a block.
pub(super) fn block_head(head: &[u8; BLOCK_HEAD_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

/// The checksum of the `number`-th block. The number is a part of it, so that blocks cannot change places.
pub(super) fn checksum(number: u64, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), block)
}
