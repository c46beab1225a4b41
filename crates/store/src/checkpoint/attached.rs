//! What others keep with a checkpoint: the state of jobs at its commit, in files that later checkpoints may go on naming.
//!
//! A checkpoint has one file of its own at most, and names those of earlier ones that this one still needs. Each is durable
//! before the checkpoint is, and never changes. One that no checkpoint names is removed, at the latest at the next start. What
//! is attached only saves work: where one of the files is not whole, none counts.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::{Error, Result};

use super::attachment_name;
use super::file::AttachedEntry;
use super::seal::create;
use crate::wal::writer::disk_error;

/// Bytes gathered before they are written: enough that calls to the system do not count.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes what is to be kept with a checkpoint, on the keeper's thread; gives the numbers of the earlier files that are still
/// needed.
pub type Attachment = Box<dyn FnOnce(Attaching<'_>) -> Result<BTreeSet<u64>> + Send>;

/// What an [`Attachment`] is written with.
pub struct Attaching<'a> {
    /// The number of the file that is written.
    pub number: u64,
    /// What is attached to the checkpoint before.
    pub earlier: &'a Attached,
    /// Takes the file's bytes.
    pub out: &'a mut dyn Write,
}

/// The files that are attached to a checkpoint; none where nothing is.
#[derive(Clone, Default)]
pub struct Attached {
    /// By number, ascending; the last is the checkpoint's own.
    files: Vec<AttachedFile>,
}

#[derive(Clone)]
struct AttachedFile {
    entry: AttachedEntry,
    bytes: Bytes,
}

impl Attached {
    /// Whether nothing is attached.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The number of the checkpoint's own file, which is the checkpoint's.
    pub fn number(&self) -> Option<u64> {
        self.files.last().map(|file| file.entry.number)
    }

    /// The checkpoint's own file.
    pub fn own(&self) -> Option<&[u8]> {
        self.files.last().map(|file| &file.bytes[..])
    }

    /// The file of this number, of this checkpoint or an earlier one.
    pub fn file(&self, number: u64) -> Option<&[u8]> {
        let at = self.files.binary_search_by_key(&number, |file| file.entry.number).ok()?;
        Some(&self.files[at].bytes)
    }

    /// The numbers of all files, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.files.iter().map(|file| file.entry.number)
    }

    /// What the checkpoint says of them.
    pub(crate) fn entries(&self) -> Vec<AttachedEntry> {
        self.files.iter().map(|file| file.entry).collect()
    }

    /// The files that checkpoint `number` names, if all of them are whole: they only save work, so that damage is no reason to
    /// refuse.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path, number: u64, entries: &[AttachedEntry]) -> Self {
        let read = |entry: &AttachedEntry| {
            let bytes = fs.open(&dir.join(attachment_name(entry.number))).and_then(|file| file.map()).ok()?;
            let is_whole = bytes.len() as u64 == entry.length && crc32c::crc32c(&bytes) == entry.checksum;
            is_whole.then_some(AttachedFile { entry: *entry, bytes })
        };
        let are_in_order = entries.windows(2).all(|pair| pair[0].number < pair[1].number);
        if !are_in_order || entries.last().is_none_or(|own| own.number != number) {
            return Self::default();
        }
        Self { files: entries.iter().map(read).collect::<Option<Vec<_>>>().unwrap_or_default() }
    }

    /// Writes the file of checkpoint `number`, durably, with `earlier` ones beside it.
    ///
    /// # Errors
    /// `Unavailable` where the disk takes no more, and what `write` says; the file is gone then.
    pub(crate) fn write(
        fs: &dyn FileSystem,
        dir: &Path,
        number: u64,
        earlier: &Self,
        write: Attachment,
    ) -> Result<Self> {
        let path = dir.join(attachment_name(number));
        let file = create(fs, &path).map_err(|error| disk_error("could not create", &path, error))?;
        let mut out = Appender { file: file.as_ref(), buffer: Vec::new(), length: 0, checksum: 0 };
        let written = write(Attaching { number, earlier, out: &mut out }).and_then(|needed| {
            let done = out.flush().and_then(|()| file.sync_data()).and_then(|()| file.map());
            let bytes = done.map_err(|error| disk_error("could not write", &path, error))?;
            let mut files = Vec::new();
            for other in needed {
                let found = earlier.files.iter().find(|file| file.entry.number == other);
                files.push(found.cloned().ok_or_else(|| {
                    Error::internal(format!("checkpoint {number} needs file {other}, which was not attached before"))
                })?);
            }
            let entry = AttachedEntry { number, length: out.length, checksum: out.checksum };
            files.push(AttachedFile { entry, bytes });
            Ok(Self { files })
        });
        // Nobody names it; the space may be wanted.
        written.inspect_err(|_| drop(fs.remove(&path)))
    }
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

/// Writes to a file from its beginning to its end.
struct Appender<'a> {
    file: &'a dyn File,
    buffer: Vec<u8>,
    length: u64,
    checksum: u32,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.length)?;
        self.checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
