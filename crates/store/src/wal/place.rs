//! Where a frame stands in the log, so that rows that wait there need not be kept in memory.
//!
//! Files are never written over, and a place holds on to its open file: one that is removed meanwhile can still be read. What is
//! read back is checked like any frame.

use std::sync::Arc;

use gridhouse_base::fs::File;
use gridhouse_base::{Error, Result};

use super::file_name;
use super::frame::{FRAME_HEAD_BYTES, read_frame};

/// The place of one frame.
#[derive(Clone)]
pub(crate) struct FramePlace {
    pub file: Arc<dyn File>,
    /// The number of the file, for messages.
    pub file_number: u64,
    /// Where in the file the frame begins.
    pub offset: u64,
    /// The bytes of the frame, without padding.
    pub bytes: usize,
    /// The file's salt.
    pub salt: u64,
    /// The frame's number.
    pub frame: u64,
}

/// Where a frame stands, or will stand, in the log, whether it is there or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// The file.
    pub file: u64,
    /// Where in the file: at its end, the frame is the first one of the next file.
    pub offset: u64,
    /// The frame's number.
    pub frame: u64,
}

impl FramePlace {
    /// The same, without the file.
    pub fn log_place(&self) -> LogPlace {
        LogPlace { file: self.file_number, offset: self.offset, frame: self.frame }
    }

    /// The frame's payload.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not answer; `Corrupt` if the frame is not there any more as it was written.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        let (name, offset) = (file_name(self.file_number), self.offset);
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| {
            Error::unavailable(format!("could not read {} at offset {offset}", name.display()))
                .hint("check the disk and the file system, then start again")
                .caused_by(error)
        })?;
        match read_frame(&bytes, self.salt) {
            Ok(frame) if frame.head.number == self.frame => {
                bytes.drain(..FRAME_HEAD_BYTES);
                Ok(bytes)
            }
            _ => Err(Error::corrupt(format!(
                "the log is damaged: {} at offset {offset}: frame {} is not as it was written",
                name.display(),
                self.frame
            ))
            .hint("restore the data directory from a backup")),
        }
    }
}

impl std::fmt::Debug for FramePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "frame {} in {} at {}", self.frame, file_name(self.file_number).display(), self.offset)
    }
}
