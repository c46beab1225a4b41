//! The write-ahead log: one sequence of checksummed frames over preallocated files, the only durable form that the store
//! has. `docs/formats.md` has the byte tables.
//!
//! What always holds, and recovery relies on it:
//! - Frames are numbered from 1 without gaps, over all files.
//! - A file's header is written, and made durable, only after every frame of the files before it is durable. So a valid
//!   header proves all frames below its `first_frame`, and only the last file can have a torn end.
//! - Each start begins a new file. Whatever a crash left behind the last good frame of the old one is thereby cut off for
//!   good: a file is read only up to the `first_frame` of the next, and each file has a salt of its own.
//! - A frame carries `synced_upto`, a frame number that was known to be durable when it was written.

pub(crate) mod frame;
pub(crate) mod place;
pub(crate) mod recovery;
pub(crate) mod verify;
pub(crate) mod writer;

use std::path::PathBuf;

/// The name of log file `number` within the data directory.
pub(crate) fn file_name(number: u64) -> PathBuf {
    PathBuf::from(format!("wal-{number:010}"))
}

/// The number of the log file called `name`, if it is one.
pub(crate) fn file_number(name: &std::path::Path) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("wal-")?;
    (digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}
