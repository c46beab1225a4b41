//! Checks the log beside the writer: what a restart would read now, frame by frame.
//!
//! The writer says which frames those are and opens their files; they are read on another thread, one frame in memory at a time.
//! Files that are removed meanwhile can still be read, and what the writer appends meanwhile is not looked at: only frames that
//! were durable when the check began must be there whole. What the frames say of rows is not decoded again; that was checked
//! when they were made, and their checksums prove that it still stands.

use std::path::PathBuf;
use std::sync::Arc;

use gridhouse_base::fs::File;
use gridhouse_base::{CommitId, Result};

use super::frame::{
    FILE_HEAD_BYTES, FRAME_ALIGN, FRAME_HEAD_BYTES, FileHead, FrameKind, MAX_PAYLOAD_BYTES, payload_bytes, read_frame,
};
use super::place::LogPlace;
use super::writer::disk_error;
use crate::check::Checked;

/// The frames that a restart would read, as of one moment.
pub struct LogSpan {
    /// The files, ascending, each with its number and the frame that it begins with.
    pub(crate) files: Vec<SpanFile>,
    /// The store's id.
    pub(crate) store: u128,
    /// The first frame.
    pub(crate) first: LogPlace,
    /// The last frame that is durable.
    pub(crate) last_frame: u64,
}

/// A file of the log.
pub(crate) struct SpanFile {
    pub number: u64,
    pub first_frame: u64,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
}

/// What has been read of the log so far.
struct Progress {
    next_frame: u64,
    last_commit: CommitId,
    bytes: u64,
}

impl LogSpan {
    /// Checks every frame; a part per file.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not answer. What is wrong with the log is no error of the check.
    pub fn check(&self) -> Result<Vec<Checked>> {
        let mut progress = Progress { next_frame: self.first.frame, last_commit: CommitId(0), bytes: 0 };
        let mut parts = Vec::with_capacity(self.files.len());
        for (i, file) in self.files.iter().enumerate() {
            let before = progress.next_frame;
            progress.bytes = 0;
            // A file is read up to the first frame of the next.
            let end = self.files.get(i + 1).map_or(u64::MAX, |next| next.first_frame).min(self.last_frame + 1);
            let fault = self.file_fault(file, i == 0, end, &mut progress)?;
            let (rows, bytes) = (progress.next_frame - before, progress.bytes);
            let is_damaged = fault.is_some();
            parts.push(Checked { bucket: None, what: "log", rows, bytes, fault });
            if is_damaged {
                // A restart would refuse here, and read nothing behind it.
                break;
            }
        }
        Ok(parts)
    }

    fn file_fault(&self, file: &SpanFile, is_first: bool, end: u64, progress: &mut Progress) -> Result<Option<String>> {
        let path = file.path.display();
        let fault = |at: u64, what: &str| Ok(Some(format!("{path} at offset {at}: {what}")));
        let length = file.file.len().map_err(|error| disk_error("could not read", &file.path, error))?;
        let read = |at: u64, count: usize| {
            let mut bytes = vec![0; count];
            let read = file.file.read_exact_at(&mut bytes, at);
            read.map(|()| bytes).map_err(|error| disk_error("could not read", &file.path, error))
        };
        if length < FILE_HEAD_BYTES as u64 {
            return fault(0, "it ends within its header");
        }
        let head = match FileHead::decode(&read(0, FILE_HEAD_BYTES)?) {
            Ok(Some(head)) => head,
            Ok(None) | Err(_) => return fault(0, "its header is damaged"),
        };
        if (head.number, head.first_frame, head.store) != (file.number, file.first_frame, self.store) {
            return fault(0, "its header is that of another file");
        }
        progress.bytes += FILE_HEAD_BYTES as u64;
        let mut at = if is_first { self.first.offset } else { FILE_HEAD_BYTES as u64 };
        while progress.next_frame < end {
            let number = progress.next_frame;
            let left = length.saturating_sub(at);
            if left < FRAME_HEAD_BYTES as u64 {
                return fault(at, &format!("the file ends before frame {number}"));
            }
            let start = read(at, FRAME_HEAD_BYTES)?;
            let payload = payload_bytes(&start);
            let whole = FRAME_HEAD_BYTES + payload;
            if payload > MAX_PAYLOAD_BYTES || whole as u64 > left {
                return fault(at, &format!("frame {number} is damaged: it says that it has {payload} bytes"));
            }
            let bytes = read(at, whole)?;
            let Ok(frame) = read_frame(&bytes, head.salt) else {
                return fault(at, &format!("frame {number} is damaged: its checksum or its head is wrong"));
            };
            if frame.head.number != number {
                return fault(at, &format!("frame {} stands where {number} belongs", frame.head.number));
            }
            if frame.head.synced_upto >= number {
                return fault(at, &format!("frame {number} says that it was durable before it was written"));
            }
            if matches!(frame.head.kind, FrameKind::Source | FrameKind::Tick) {
                if frame.head.commit <= progress.last_commit {
                    let (commit, last) = (frame.head.commit, progress.last_commit);
                    return fault(at, &format!("frame {number} is {commit}, which does not follow {last}"));
                }
                progress.last_commit = frame.head.commit;
            }
            progress.next_frame += 1;
            progress.bytes += whole as u64;
            at += (whole as u64).next_multiple_of(FRAME_ALIGN as u64);
        }
        Ok(None)
    }
}

impl std::fmt::Debug for LogSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "frames {} to {} in {} files", self.first.frame, self.last_frame, self.files.len())
    }
}
