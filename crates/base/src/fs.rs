//! The file system as an argument: the few calls that durable code needs, and nothing that a simulation could not own.
//!
//! Contract (what an implementation promises, and what the simulated one takes advantage of): a write is durable only
//! after `sync_data` of its file has returned; a created, renamed or removed name is durable only after `sync_dir` of its
//! directory has returned. After a failed sync nothing is known of the bytes written since the last good one.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// An open file, read and written at offsets.
pub trait File: Send + Sync {
    /// Reads exactly `buffer.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buffer` at `offset`, growing the file if needed.
    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all bytes written so far durable.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file with zeros to `len` bytes, and reserves the space on disk.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// The file's bytes as they are now, read when they are touched. Only for a file that is finished: nobody may write to
    /// it or cut it again, though it may be removed.
    fn map(&self) -> io::Result<Bytes>;
}

/// A held lock; dropping it releases.
pub trait Lock: Send + Sync {}

/// Directories and files below a root that the owner chose.
pub trait FileSystem: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Creates a file, which must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Creates a directory and its parents where they are missing.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Renames a file, replacing one that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on the file `path`, creating it; `WouldBlock` if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct DiskFileSystem;

struct DiskFile(std::fs::File);

impl File for DiskFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len <= now {
            return self.0.set_len(len);
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), now, len - now) {
            // Some file systems cannot reserve; the file then grows as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(len),
            other => other.map_err(io::Error::from),
        }
    }

    #[expect(unsafe_code, reason = "a file is mapped into memory")]
    fn map(&self) -> io::Result<Bytes> {
        if self.is_empty()? {
            return Ok(Bytes::new());
        }
        // SAFETY: The bytes of a mapping must not change while they are borrowed. `map` is called for finished files only:
        // segments and states, which this process writes once, before it maps them, and removes but never writes to or cuts again (a
        // removed file's pages stay until the mapping goes). The data directory is locked, so no other Gridhouse writes
        // there; whoever else cuts a file of it breaks the store with or without a mapping.
        let mapping = unsafe { memmap2::Mmap::map(&self.0)? };
        Ok(Bytes::from_owner(mapping))
    }
}

struct DiskLock(#[expect(dead_code, reason = "held open: closing it releases the lock")] std::fs::File);

impl Lock for DiskLock {}

impl FileSystem for DiskFileSystem {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(std::fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(DiskLock(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_shows_the_file_and_outlives_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("finished");
        let file = DiskFileSystem.create(&path).unwrap();
        assert!(file.map().unwrap().is_empty(), "an empty file maps to nothing");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let mapped = file.map().unwrap();
        drop(file);
        DiskFileSystem.remove(&path).unwrap();
        assert_eq!(mapped.slice(5_000..100_000), bytes[5_000..]);
    }
}
