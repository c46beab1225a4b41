//! Segments: immutable files of entries, column by column, read through the page cache.
//!
//! A segment has *sections*, one for each bucket of a table that it holds entries of; a section has *groups* of at most
//! [`GROUP_ROWS`] entries in order of sequence number; a group has for each column *chunks* of [`encoding::CHUNK_ROWS`] rows,
//! each encoded, summed up and checksummed on its own. A section of a primary-key table has *key runs* that lead from a key to
//! its entries. The footer says where everything is. `docs/formats.md` has every byte.
//!
//! What always holds:
//! - A file is written once, from front to back, and made durable before anyone hears of it. Nothing changes it afterwards,
//!   so that it can be mapped; what lives and what is dead is told by bitmaps elsewhere.
//! - An entry's sequence number, values, commit and what it killed are the same in every file that the entry passes through.
//! - Nothing read from a file is believed before its checksum has been compared: head, footer, and what tells entries
//!   apart (sequence numbers, kinds, commits) when the file is opened; each column chunk and each block of a key run when it is
//!   first touched. Damage is an error that names file and offset, never a panic and never a wrong row.
//!
//! Segments do not know which of them are in use; whoever names them removes those that nobody names.

pub mod encoding;
mod ends;
mod file;
mod footer;
mod group;
#[cfg(test)]
mod measure;
mod pick;
mod run;
mod section;
mod statistics;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

pub(crate) use file::Segment;
pub(crate) use group::{Group, KnownTexts};
pub(crate) use pick::Picks;
pub(crate) use section::{Probe, Section, probe};
pub(crate) use writer::SegmentWriter;

/// The most entries in a group, the unit that has a bitmap of its live entries: 8 KB, copied when a reader shares it.
pub(crate) const GROUP_ROWS: usize = crate::tail::MAX_BATCH_ROWS;

/// The name of segment `number` within the data directory.
pub(crate) fn file_name(number: u64) -> PathBuf {
    PathBuf::from(format!("seg-{number:016x}.ghs"))
}

/// The number of the segment called `name`, if it is one.
pub(crate) fn file_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("seg-")?.strip_suffix(".ghs")?;
    let is_number = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_number.then(|| u64::from_str_radix(digits, 16).ok())?
}
