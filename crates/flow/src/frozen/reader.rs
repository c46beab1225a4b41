//! Reading a state from front to back.
//!
//! A block is checked before a byte of it is given out, and never more memory is asked for than the bytes that are left account
//! for. The bytes may lie in several places, one part after the other.

use gridhouse_base::{Error, Result};

use super::bytes::{BLOCK_BYTES, BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC, NESTED, VERSION, block_head, checksum};

/// Reads what a [`super::StateWriter`] has written.
pub(crate) struct StateReader<'a> {
    all: usize,
    /// What follows the block: what is left of a part, and the parts behind it.
    rest: &'a [u8],
    later: std::slice::Iter<'a, &'a [u8]>,
    /// How many bytes these are.
    rest_bytes: usize,
    block: Vec<u8>,
    /// How much of the block has been given out.
    at: usize,
    number: u64,
    /// The number of the next block around the state that is being read, where there is one around it.
    around: Option<u64>,
    /// Whether the block that ends the state has been seen.
    ended: bool,
}

impl<'a> StateReader<'a> {
    /// Reads the bytes in `parts` from their front.
    ///
    /// # Errors
    /// `Corrupt` where they do not begin like a state; `Conflict` where another version wrote them.
    pub fn new(parts: &'a [&'a [u8]]) -> Result<Self> {
        let all = parts.iter().map(|part| part.len()).sum();
        let (block, rest) = (Vec::new(), &[][..]);
        let later = parts.iter();
        let mut reader =
            Self { all, rest, later, rest_bytes: all, block, at: 0, number: 0, around: None, ended: false };
        reader.head()?;
        Ok(reader)
    }

    fn head(&mut self) -> Result<()> {
        let mut head = [0; HEAD_BYTES];
        self.raw(&mut head)?;
        if head[..8] != MAGIC {
            return Err(self.damaged("it does not begin like one"));
        }
        let version = u32::from_le_bytes(head[8..].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(Error::conflict(format!(
                "the frozen state is of version {version}, and this program reads version {VERSION}"
            ))
            .hint("the job is rebuilt from its inputs instead"));
        }
        Ok(())
    }

    /// The error for bytes that no program of this version has written.
    pub fn damaged(&self, what: &str) -> Error {
        let at = self.all - self.left();
        Error::corrupt(format!("the frozen state is damaged before its byte {at}: {what}"))
    }

    /// Fills `out` from behind the block.
    fn raw(&mut self, out: &mut [u8]) -> Result<()> {
        if out.len() > self.rest_bytes {
            return Err(self.damaged("it ends too early"));
        }
        let mut filled = 0;
        while filled < out.len() {
            if self.rest.is_empty() {
                self.rest = self.later.next().copied().unwrap_or_default();
                continue;
            }
            let len = self.rest.len().min(out.len() - filled);
            let (now, later) = self.rest.split_at(len);
            out[filled..filled + len].copy_from_slice(now);
            self.rest = later;
            filled += len;
        }
        self.rest_bytes -= filled;
        Ok(())
    }

    /// Goes on to the next block; false at the end of the state.
    fn next_block(&mut self) -> Result<bool> {
        while !self.ended {
            let mut head = [0; BLOCK_HEAD_BYTES];
            self.raw(&mut head)?;
            let (len, sum) = block_head(&head);
            let is_nested = len == NESTED as usize && self.around.is_none();
            if len > BLOCK_BYTES.min(self.rest_bytes) && !is_nested {
                return Err(self.damaged("a block is too long"));
            }
            let mut block = std::mem::take(&mut self.block);
            self.at = 0;
            block.resize(if is_nested { 0 } else { len }, 0);
            self.raw(&mut block)?;
            if checksum(self.number, &block) != sum {
                return Err(self.damaged("a block does not fit its checksum"));
            }
            self.block = block;
            self.number += 1;
            if is_nested {
                self.around = Some(std::mem::take(&mut self.number));
                self.head()?;
            } else if !self.block.is_empty() {
                return Ok(true);
            } else if let Some(number) = self.around.take() {
                self.number = number;
            } else {
                self.ended = true;
            }
        }
        Ok(false)
    }

    /// The most bytes that may still come.
    pub fn left(&self) -> usize {
        self.block.len() - self.at + self.rest_bytes
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// `Corrupt` where the state ends before.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            if self.at == self.block.len() && !self.next_block()? {
                return Err(self.damaged("it ends too early"));
            }
            let block = &self.block[self.at..];
            let len = block.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&block[..len]);
            self.at += len;
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
        match self.block.get(self.at..self.at + N) {
            Some(now) => {
                bytes.copy_from_slice(now);
                self.at += N;
            }
            None => self.fill(&mut bytes)?,
        }
        Ok(bytes)
    }

    /// A number as [`super::StateWriter::varint`] writes it.
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

    /// A number as [`super::StateWriter::signed`] writes it.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    #[inline]
    pub fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// How often something has happened: far enough from the end of numbers that it may go on.
    ///
    /// # Errors
    /// `Corrupt` where there is no such number.
    pub fn tally(&mut self) -> Result<u64> {
        let tally = self.varint()?;
        if tally > u64::MAX / 2 {
            return Err(self.damaged("nothing has happened that often"));
        }
        Ok(tally)
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
        if let Some(now) = self.block[self.at..].get(..len) {
            self.at += len;
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
        if self.at < self.block.len() || self.next_block()? || self.rest_bytes > 0 {
            return Err(self.damaged("something follows its end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::ErrorKind;
    use gridhouse_base::random::Random;

    use super::super::StateWriter;
    use super::super::bytes::Plain;
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
        writer.write(&mut Plain(&mut bytes)).unwrap();
        let read = |bytes: &[u8]| -> Result<()> {
            // It does not matter where it is cut into parts.
            let (one, rest) = bytes.split_at(bytes.len() / 3);
            let parts = [one, &[], &rest[..rest.len() / 2], &rest[rest.len() / 2..]];
            let mut reader = StateReader::new(&parts)?;
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
