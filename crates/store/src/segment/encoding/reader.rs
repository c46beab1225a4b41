//! Reads the parts of an encoded column, as slices of shared bytes.

use bytes::Bytes;
use gridhouse_base::Result;

use crate::codec::damaged;

/// A reader that never runs past the end of its bytes.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// Reads `bytes` from their start.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<Bytes> {
        if count > self.bytes.len() - self.at {
            return Err(damaged("an encoded column ends in the middle of a value"));
        }
        self.at += count;
        Ok(self.bytes.slice(self.at - count..self.at))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.bytes[self.at..].first_chunk::<N>().copied();
        let taken = taken.ok_or_else(|| damaged("an encoded column ends in the middle of a value"))?;
        self.at += N;
        Ok(taken)
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian `i64`.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Skips padding to a multiple of 8.
    pub fn align(&mut self) -> Result<()> {
        let at = self.at.next_multiple_of(8);
        if at > self.bytes.len() {
            return Err(damaged("an encoded column ends in the middle of a value"));
        }
        self.at = at;
        Ok(())
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        self.bytes.slice(std::mem::replace(&mut self.at, self.bytes.len())..)
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<()> {
        if self.at != self.bytes.len() { Err(damaged("an encoded column has bytes behind its end")) } else { Ok(()) }
    }
}
