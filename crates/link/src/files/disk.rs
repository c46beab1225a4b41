//! What the sink of files asks of the file system, each with the error that names the file and its remedy.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::Result;
use gridhouse_base::fs::{File, FileSystem, Lock};

use super::layout::cannot;

/// The file system, for a sink.
#[derive(Clone)]
pub(super) struct Disk(Arc<dyn FileSystem>);

/// Whether something was there; nothing is under a name that there cannot be.
fn found<T>(path: &Path, done: io::Result<T>) -> Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename | ErrorKind::InvalidInput => {
                Ok(None)
            }
            _ => Err(cannot(path, error)),
        },
    }
}

impl Disk {
    pub(super) fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self(fs)
    }

    /// What a file holds, where there is one.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let read = || {
            let file = self.0.open(path)?;
            let mut bytes = vec![0; file.len()? as usize];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        found(path, read())
    }

    pub(super) fn is_there(&self, path: &Path) -> Result<bool> {
        Ok(found(path, self.0.open(path))?.is_some())
    }

    /// An empty file, in the place of any that has its name.
    pub(super) fn create(&self, path: &Path) -> Result<()> {
        self.remove(path)?;
        self.0.create(path).map(|_| ()).map_err(|error| cannot(path, error))
    }

    /// Writes into a file that is there, and leaves it open.
    pub(super) fn write_at(&self, path: &Path, bytes: &[u8], offset: u64) -> Result<Arc<dyn File>> {
        let write = || {
            let file = self.0.open(path)?;
            file.write_all_at(bytes, offset)?;
            Ok(file)
        };
        write().map_err(|error| cannot(path, error))
    }

    /// Makes a file that holds `bytes` durable, but for its name.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.create(path)?;
        self.write_at(path, bytes, 0)?.sync_data().map_err(|error| cannot(path, error))
    }

    /// Renames a file within its directory. False where it is not there.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        Ok(found(from, self.0.rename(from, to))?.is_some())
    }

    /// Removes a file if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        found(path, self.0.remove(path)).map(|_| ())
    }

    /// The names in a directory; none in what is no directory.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<PathBuf>> {
        Ok(found(path, self.0.list(path))?.unwrap_or_default())
    }

    pub(super) fn create_directory(&self, path: &Path) -> Result<()> {
        self.0.create_dir_all(path).map_err(|error| cannot(path, error))
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_directory(&self, path: &Path) -> Result<()> {
        self.0.sync_dir(path).map_err(|error| cannot(path, error))
    }

    /// As [`Self::sync_directory`], of a directory that others may have emptied and removed since.
    pub(super) fn sync_if_there(&self, path: &Path) -> Result<()> {
        found(path, self.0.sync_dir(path)).map(|_| ())
    }

    /// Makes the name of a directory durable, and those of all above it. Which of them a process that was killed has made is not
    /// known; it was none in a directory that cannot be opened or synced.
    pub(super) fn sync_above(&self, path: &Path) -> Result<()> {
        for above in path.ancestors().skip(1) {
            match self.0.sync_dir(above) {
                Err(error) if !is_of_others(error.kind()) => return Err(cannot(above, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the lock that a file is; `None` where somebody else has it.
    pub(super) fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        match self.0.lock(path) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(cannot(path, error)),
        }
    }
}

fn is_of_others(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported)
}
