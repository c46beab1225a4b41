//! The two ends of a segment file: the head, which says which file it is, and the trailer, which a file has once it is finished.
//! `docs/formats.md` has the byte tables.

use super::footer::{u32_at, u64_at};

const MAGIC: [u8; 8] = *b"GRIDSEG\0";
const END_MAGIC: [u8; 8] = *b"GRIDEND\0";
/// The version of everything in the file.
const VERSION: u32 = 2;
pub(super) const HEAD_BYTES: usize = 64;
pub(super) const TRAILER_BYTES: usize = 40;

/// Which file this is: the number in its name and the store that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub number: u64,
    pub store: u128,
}

impl Identity {
    /// The file's first bytes.
    pub fn head(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..40].copy_from_slice(&self.store.to_le_bytes());
        let checksum = head_checksum(&out);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The identity in the head `bytes`; `Err` with the version if the head is whole but of another version.
    pub fn of_head(bytes: &[u8]) -> Result<Option<Self>, u32> {
        let Some(bytes) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
        if bytes[..8] != MAGIC || head_checksum(bytes) != u32_at(bytes, 12) {
            return Ok(None);
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(u32_at(bytes, 8));
        }
        let store = u128::from(u64_at(bytes, 24)) | u128::from(u64_at(bytes, 32)) << 64;
        Ok(Some(Self { number: u64_at(bytes, 16), store }))
    }
}

/// The checksum of a head: all of it but the checksum itself.
fn head_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEAD_BYTES])
}

/// Where the footer is: the last bytes of a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub footer_offset: u64,
    pub footer_bytes: u64,
    pub footer_checksum: u32,
    pub number: u64,
}

impl Trailer {
    pub fn bytes(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(&self.footer_offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.footer_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.footer_checksum.to_le_bytes());
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..].copy_from_slice(&END_MAGIC);
        let checksum = trailer_checksum(&out);
        out[20..24].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The trailer at the end of `file`, if it is whole.
    pub fn of_end(file: &[u8]) -> Option<Self> {
        let bytes = file.last_chunk::<TRAILER_BYTES>()?;
        if bytes[32..] != END_MAGIC || trailer_checksum(bytes) != u32_at(bytes, 20) {
            return None;
        }
        Some(Self {
            footer_offset: u64_at(bytes, 0),
            footer_bytes: u64_at(bytes, 8),
            footer_checksum: u32_at(bytes, 16),
            number: u64_at(bytes, 24),
        })
    }
}

fn trailer_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..20]), &bytes[24..])
}
