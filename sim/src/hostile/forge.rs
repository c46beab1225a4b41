//! Makes checksums right again, as `docs/formats.md` says where they stand; what is not there any more is left alone.

use std::path::Path;

/// Forges the checksums of the file `path`; of a segment's pieces only if `pieces_too`.
pub(super) fn forge(path: &Path, bytes: &mut [u8], pieces_too: bool) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let forged = match name.split('-').next() {
        Some("wal") => log(bytes),
        Some("checkpoint") => checkpoint(bytes),
        Some("seg") => segment(bytes, pieces_too),
        _ => None,
    };
    // Where the file is too short for its own structure there is nothing to be forged.
    forged.unwrap_or_default();
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
}

fn put(bytes: &mut [u8], at: usize, checksum: u32) -> Option<()> {
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&checksum.to_le_bytes());
    Some(())
}

/// The checksum of two ranges, one after the other.
fn sum(bytes: &[u8], first: std::ops::Range<usize>, second: std::ops::Range<usize>) -> Option<u32> {
    Some(crc32c::crc32c_append(crc32c::crc32c(bytes.get(first)?), bytes.get(second)?))
}

/// The header, and every frame that is found.
fn log(bytes: &mut [u8]) -> Option<()> {
    let head = sum(bytes, 0..12, 16..64)?;
    put(bytes, 12, head)?;
    let mut at = 64;
    while at + 72 <= bytes.len() {
        if bytes[at..at + 4] != *b"GHFR" {
            at += 8;
            continue;
        }
        let end = at + 72 + u32_at(bytes, at + 12)?;
        if let Some(frame) = bytes.get(at + 8..end) {
            let checksum = crc32c::crc32c(frame);
            put(bytes, at + 4, checksum)?;
            at = end.next_multiple_of(8);
        } else {
            at += 8;
        }
    }
    Some(())
}

fn checkpoint(bytes: &mut [u8]) -> Option<()> {
    let length = (bytes.len().checked_sub(24)? as u64).to_le_bytes();
    bytes[16..24].copy_from_slice(&length);
    let checksum = sum(bytes, 0..12, 16..bytes.len())?;
    put(bytes, 12, checksum)
}

/// Head, trailer and footer, and what the footer points to.
fn segment(bytes: &mut [u8], pieces_too: bool) -> Option<()> {
    let head = sum(bytes, 0..12, 16..64)?;
    put(bytes, 12, head)?;
    let end = bytes.len().checked_sub(40)?;
    let footer = u32_at(bytes, end)?;
    if footer > end {
        return None;
    }
    // A file that has lost or gained bytes gets a footer that is as long as there is room.
    let length = ((end - footer) as u64).to_le_bytes();
    bytes[end + 8..end + 16].copy_from_slice(&length);
    if pieces_too {
        pieces(bytes, footer);
    }
    let checksum = crc32c::crc32c(bytes.get(footer..end)?);
    put(bytes, end + 16, checksum)?;
    let trailer = sum(bytes, end..end + 20, end + 24..end + 40)?;
    put(bytes, end + 20, trailer)
}

fn pieces(bytes: &mut [u8], footer: usize) -> Option<()> {
    let count = |number: usize| u32_at(bytes, footer + number * 4);
    let (sections, groups, runs, blocks, pieces) = (count(0)?, count(1)?, count(2)?, count(3)?, count(4)?);
    let first_run = footer + 24 + sections * 16 + groups * 64;
    let first_block = first_run + runs * 40;
    let first_piece = first_block + blocks * 4;
    for piece in (0..pieces).map(|number| first_piece + number * 24) {
        let (from, length) = (u32_at(bytes, piece)?, u32_at(bytes, piece + 8)?);
        if let Some(data) = bytes.get(from..from + length) {
            let checksum = crc32c::crc32c(data);
            put(bytes, piece + 12, checksum)?;
        }
    }
    // The key runs of small files have one block each.
    for number in 0..runs.min(blocks) {
        let (from, length) = (u32_at(bytes, first_run + number * 40)?, u32_at(bytes, first_run + number * 40 + 8)?);
        if let Some(data) = bytes.get(from..from + length) {
            let checksum = crc32c::crc32c(data);
            put(bytes, first_block + number * 4, checksum)?;
        }
    }
    Some(())
}
