//! Appends frames to the log and opens new files as they fill.
//!
//! The writer does not decide what is durable: it tells the [`Shared`] state which file the syncer has to sync, and syncs
//! a full file itself before it opens the next. A frame that could not be written leaves the log as it was: its number
//! and place go to the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, Error, Result};

use super::file_name;
use super::frame::{FILE_HEAD_BYTES, FRAME_HEAD_BYTES, FileHead, FrameHead, FrameKind, MAX_PAYLOAD_BYTES};
use super::place::{FramePlace, LogPlace};
use super::verify::{LogSpan, SpanFile};
use crate::sync::Shared;

/// Files grow to this size, each twice as large as the one before: at 100 MB/s a new file every 0.6 s, and at most this
/// much space held in reserve.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a frame says besides its place in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameNote {
    pub kind: FrameKind,
    pub commit: CommitId,
    pub as_of: CommitId,
    pub time_micros: i64,
    pub origin: u32,
    pub pieces: u32,
}

impl FrameNote {
    /// A frame that is no commit.
    pub fn plain(kind: FrameKind, time_micros: i64) -> Self {
        Self { kind, commit: CommitId(0), as_of: CommitId(0), time_micros, origin: 0, pieces: 1 }
    }
}

/// The end of the log.
pub(crate) struct WalWriter {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    store: u128,
    random: Random,
    shared: Arc<Shared>,
    file: Arc<dyn File>,
    head: FileHead,
    offset: u64,
    file_bytes: u64,
    next_frame: u64,
    /// Offset and bytes of the last frame.
    last: (u64, usize),
    /// The files that are there, each with its first frame; ascending.
    files: Vec<(u64, u64)>,
    /// Bytes of all frames appended since the start.
    written: u64,
}

impl WalWriter {
    /// Begins file `number`, whose first frame will be `first_frame`; all frames before it are durable, in `files`.
    pub fn begin(
        fs: Arc<dyn FileSystem>,
        dir: PathBuf,
        (store, mut random): (u128, Random),
        shared: Arc<Shared>,
        (number, first_frame): (u64, u64),
        mut files: Vec<(u64, u64)>,
        file_bytes: u64,
    ) -> Result<Self> {
        let head = FileHead { number, first_frame, salt: random.bits(), store };
        let file = reserve_file(fs.as_ref(), &dir, &head, file_bytes)?;
        write_head(fs.as_ref(), &dir, &head, file.as_ref())?;
        shared.set_file(file.clone());
        let offset = FILE_HEAD_BYTES as u64;
        files.push((number, first_frame));
        Ok(Self {
            fs,
            dir,
            store,
            random,
            shared,
            file,
            head,
            offset,
            file_bytes,
            next_frame: first_frame,
            last: (0, 0),
            files,
            written: 0,
        })
    }

    /// Appends a frame and returns its number. It is in the log, but durable only after a sync.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the log is then as it was before. A failed sync, and a failed write that
    /// cannot be taken back, poison the store.
    pub fn append(&mut self, note: FrameNote, payload: &[u8]) -> Result<u64> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::invalid(format!("a frame of {} bytes does not fit the log", payload.len()))
                .hint(format!("stage the rows in pieces below {MAX_PAYLOAD_BYTES} bytes")));
        }
        let durable = self.shared.check()?;
        let head = FrameHead {
            kind: note.kind,
            number: self.next_frame,
            salt: self.head.salt,
            commit: note.commit,
            as_of: note.as_of,
            synced_upto: durable,
            time_micros: note.time_micros,
            origin: note.origin,
            pieces: note.pieces,
        };
        let mut bytes = head.encode(payload);
        if self.offset + bytes.len() as u64 > self.file_bytes {
            self.roll(bytes.len() as u64)?;
            bytes = FrameHead { salt: self.head.salt, synced_upto: self.next_frame - 1, ..head }.encode(payload);
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.offset) {
            let error = disk_error("could not write to the log", &self.path(), error);
            return Err(if self.is_erased() { error } else { self.shared.fail(&error) });
        }
        self.last = (self.offset, FRAME_HEAD_BYTES + payload.len());
        self.offset += bytes.len() as u64;
        self.written += bytes.len() as u64;
        self.next_frame += 1;
        Ok(head.number)
    }

    /// Where the frame stands that was appended last.
    pub fn last_place(&self) -> FramePlace {
        let (offset, bytes) = self.last;
        let (file, salt) = (self.file.clone(), self.head.salt);
        FramePlace { file, file_number: self.head.number, offset, bytes, salt, frame: self.next_frame - 1 }
    }

    /// Bytes of all frames appended since the start.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Where the next frame will stand, unless it begins a new file.
    pub fn end(&self) -> LogPlace {
        LogPlace { file: self.head.number, offset: self.offset, frame: self.next_frame }
    }

    /// The durable frames from `first` on, or all that are there, to be checked beside the writer.
    ///
    /// # Errors
    /// `Unavailable` if a file cannot be opened.
    pub fn span(&self, first: Option<LogPlace>) -> Result<LogSpan> {
        let last_frame = self.shared.check()?;
        let (oldest, frame) = self.files[0];
        let first = first.unwrap_or(LogPlace { file: oldest, offset: FILE_HEAD_BYTES as u64, frame });
        let open = |&(number, first_frame): &(u64, u64)| {
            let path = self.dir.join(file_name(number));
            let file = self.fs.open(&path).map_err(|error| disk_error("could not open", &path, error))?;
            Ok(SpanFile { number, first_frame, path, file })
        };
        let files = self.files.iter().filter(|(number, _)| *number >= first.file).map(open);
        Ok(LogSpan { files: files.collect::<Result<_>>()?, store: self.store, first, last_frame })
    }

    /// Forgets the files below `number` and returns their paths: nobody needs them any more.
    pub fn retire_below(&mut self, number: u64) -> Vec<PathBuf> {
        let kept = self.files.partition_point(|&(file, _)| file < number);
        self.files.drain(..kept).map(|(file, _)| self.dir.join(file_name(file))).collect()
    }

    /// Takes back what a failed write has left at the end of the log, durably: the frame may be there whole, and after a
    /// crash it would count, though whoever wrote it was told that it does not.
    fn is_erased(&self) -> bool {
        let written = self.file.write_all_at(&[0; FRAME_HEAD_BYTES], self.offset);
        written.and_then(|()| self.file.sync_data()).is_ok()
    }

    fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.head.number))
    }

    /// Makes the full file durable and begins the next, with room for `frame_bytes`.
    fn roll(&mut self, frame_bytes: u64) -> Result<()> {
        if let Err(error) = self.file.sync_data() {
            return Err(self.shared.fail(&disk_error("could not sync the log", &self.path(), error)));
        }
        let room = FILE_HEAD_BYTES as u64 + frame_bytes;
        let file_bytes = (self.file_bytes * 2).min(MAX_FILE_BYTES).max(room);
        let head = FileHead {
            number: self.head.number + 1,
            first_frame: self.next_frame,
            salt: self.random.bits(),
            store: self.store,
        };
        let file = reserve_file(self.fs.as_ref(), &self.dir, &head, file_bytes)?;
        // From here on the header may be on the disk, and recovery would read the old file only up to its `first_frame`: the
        // log can go on in the new file or nowhere.
        if let Err(error) = write_head(self.fs.as_ref(), &self.dir, &head, file.as_ref()) {
            return Err(self.shared.fail(&error));
        }
        self.file = file;
        self.files.push((head.number, head.first_frame));
        self.head = head;
        self.file_bytes = file_bytes;
        self.offset = FILE_HEAD_BYTES as u64;
        self.shared.set_file(self.file.clone());
        Ok(())
    }
}

/// Creates a log file and reserves its space. What an earlier attempt left under the name is removed: it has no frames, or
/// recovery would have refused.
fn reserve_file(fs: &dyn FileSystem, dir: &Path, head: &FileHead, file_bytes: u64) -> Result<Arc<dyn File>> {
    let path = dir.join(file_name(head.number));
    let create = || {
        let file = match fs.create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                fs.remove(&path)?;
                fs.create(&path)?
            }
            other => other?,
        };
        file.allocate(file_bytes)?;
        Ok(file)
    };
    create().map_err(|error| begin_error(&path, error))
}

/// Makes the header and the name of a log file durable.
fn write_head(fs: &dyn FileSystem, dir: &Path, head: &FileHead, file: &dyn File) -> Result<()> {
    let write = || {
        file.write_all_at(&head.encode(), 0)?;
        file.sync_data()?;
        fs.sync_dir(dir)
    };
    write().map_err(|error| begin_error(&dir.join(file_name(head.number)), error))
}

fn begin_error(path: &Path, error: std::io::Error) -> Error {
    disk_error("could not begin a log file", path, error)
}

/// `Unavailable`, with what the user can do.
pub(crate) fn disk_error(what: &str, path: &Path, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "free disk space, then start again",
        std::io::ErrorKind::PermissionDenied => "give this user the right to write to the data directory",
        _ => "check the disk and the file system, then start again",
    };
    Error::unavailable(format!("{what} {}", path.display())).hint(hint).caused_by(error)
}
