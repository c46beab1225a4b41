//! The bytes of a frame and of a file header: encoding, and decoding that believes nothing before the checksum is right.

use gridhouse_base::CommitId;

/// The first bytes of a frame, "GHFR" in little-endian order.
pub(crate) const FRAME_MAGIC: u32 = 0x5246_4847;
/// The version of frames, their payloads included.
pub(crate) const FRAME_VERSION: u16 = 1;
/// Bytes before a frame's payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 72;
/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;
/// The largest payload; whoever has more splits it into stages or parts of a tick, so memory stays bounded on the way back.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// The first bytes of a log file.
const FILE_MAGIC: [u8; 8] = *b"GRIDWAL\0";
/// The version of log files.
pub(crate) const FILE_VERSION: u32 = 1;
/// Bytes of a file header; the first frame follows.
pub(crate) const FILE_HEAD_BYTES: usize = 64;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// A commit of a source: position and rows, applied by a later tick.
    Source = 1,
    /// A tick: everything that it changed, or the last piece of it.
    Tick = 2,
    /// An earlier piece of a tick that is too large for one frame.
    TickPiece = 3,
    /// Rows of a commit under construction.
    Stage = 4,
    /// A stage that will never be committed.
    DropStage = 5,
    /// Nothing but its `synced_upto`, written when the store is idle.
    SyncNote = 6,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        use FrameKind::{DropStage, Source, Stage, SyncNote, Tick, TickPiece};
        [Source, Tick, TickPiece, Stage, DropStage, SyncNote].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub kind: FrameKind,
    /// The frame's number, from 1.
    pub number: u64,
    /// The salt of the file that the frame was written to.
    pub salt: u64,
    /// The commit; 0 where there is none.
    pub commit: CommitId,
    /// For a tick: the newest source commit that it reflects.
    pub as_of: CommitId,
    /// The highest frame number known to be durable when this one was written.
    pub synced_upto: u64,
    /// Microseconds since the epoch when the frame was written.
    pub time_micros: i64,
    /// The source of a source commit; for other frames 0 (room for the job of a staged output).
    pub origin: u32,
    /// How many pieces the payload has; what a piece is depends on the kind.
    pub pieces: u32,
}

impl FrameHead {
    /// The whole frame, padded.
    pub fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity((FRAME_HEAD_BYTES + payload.len()).next_multiple_of(FRAME_ALIGN));
        out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&FRAME_VERSION.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        for value in [self.number, self.salt, self.commit.0, self.as_of.0, self.synced_upto] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.time_micros.to_le_bytes());
        out.extend_from_slice(&self.origin.to_le_bytes());
        out.extend_from_slice(&self.pieces.to_le_bytes());
        debug_assert_eq!(out.len(), FRAME_HEAD_BYTES);
        out.extend_from_slice(payload);
        let checksum = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        out.resize(out.len().next_multiple_of(FRAME_ALIGN), 0);
        out
    }
}

/// A good frame within a file's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub head: FrameHead,
    pub payload: &'a [u8],
    /// Bytes from this frame to the next one.
    pub size: usize,
}

/// Why there is no good frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// Zeros, too few bytes, a wrong checksum or another file's salt: nothing was ever completed here.
    Torn,
    /// A good checksum under a version or kind that this program does not know.
    Unknown(u16),
}

/// How many bytes of payload a frame says it has; `head` begins with its head.
pub(crate) fn payload_bytes(head: &[u8]) -> usize {
    u32::from_le_bytes(head[12..16].try_into().expect("4 bytes")) as usize
}

/// The frame at the start of `bytes`, if it is whole and carries `salt`.
pub(crate) fn read_frame(bytes: &[u8], salt: u64) -> Result<Frame<'_>, BadFrame> {
    let head = bytes.get(..FRAME_HEAD_BYTES).ok_or(BadFrame::Torn)?;
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    if u32_at(0) != FRAME_MAGIC {
        return Err(BadFrame::Torn);
    }
    let length = payload_bytes(head);
    let whole = bytes.get(..FRAME_HEAD_BYTES.saturating_add(length)).ok_or(BadFrame::Torn)?;
    if length > MAX_PAYLOAD_BYTES || u64_at(24) != salt || crc32c::crc32c(&whole[8..]) != u32_at(4) {
        return Err(BadFrame::Torn);
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    let Some(kind) = FrameKind::from_byte(head[10]).filter(|_| version == FRAME_VERSION) else {
        return Err(BadFrame::Unknown(version));
    };
    let head = FrameHead {
        kind,
        number: u64_at(16),
        salt,
        commit: CommitId(u64_at(32)),
        as_of: CommitId(u64_at(40)),
        synced_upto: u64_at(48),
        time_micros: u64_at(56) as i64,
        origin: u32_at(64),
        pieces: u32_at(68),
    };
    let size = whole.len().next_multiple_of(FRAME_ALIGN).min(bytes.len());
    Ok(Frame { head, payload: &whole[FRAME_HEAD_BYTES..], size })
}

/// The checksum of a file header: all of it but the checksum itself.
fn file_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// What stands at the beginning of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHead {
    /// The file's number, as in its name.
    pub number: u64,
    /// The number of the first frame in this file; every frame below it was durable when this header was written.
    pub first_frame: u64,
    /// The file's salt.
    pub salt: u64,
    /// The store's id.
    pub store: u128,
}

impl FileHead {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; FILE_HEAD_BYTES] {
        let mut out = [0; FILE_HEAD_BYTES];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_frame.to_le_bytes());
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..56].copy_from_slice(&self.store.to_le_bytes());
        let checksum = file_checksum(&out);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The header in `bytes`; `Err` with the version if it is whole but of another version.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, u32> {
        let Some(bytes) = bytes.get(..FILE_HEAD_BYTES) else { return Ok(None) };
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        if bytes[..8] != FILE_MAGIC || file_checksum(bytes) != u32_at(12) {
            return Ok(None);
        }
        if u32_at(8) != FILE_VERSION {
            return Err(u32_at(8));
        }
        let store = u128::from_le_bytes(bytes[40..56].try_into().expect("16 bytes"));
        Ok(Some(Self { number: u64_at(16), first_frame: u64_at(24), salt: u64_at(32), store }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_makes_a_frame_bad() {
        let head = FrameHead {
            kind: FrameKind::Tick,
            number: 3,
            salt: 77,
            commit: CommitId(9),
            as_of: CommitId(8),
            synced_upto: 2,
            time_micros: -5,
            origin: 1,
            pieces: 2,
        };
        let bytes = head.encode(b"payload");
        let frame = read_frame(&bytes, 77).unwrap();
        assert_eq!((frame.head, frame.payload, frame.size), (head, &b"payload"[..], 80));
        assert!(read_frame(&bytes, 78).is_err());
        for bit in 0..(FRAME_HEAD_BYTES + 7) * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(read_frame(&broken, 77).is_err(), "bit {bit}");
        }
    }
}
