//! A file system in memory that behaves as badly as the contract in `gridhouse_base::fs` allows.
//!
//! At a crash each sector of 512 bytes that was written since its file's last sync independently keeps all, some or none of
//! its writes (in order, so an older version may be the one that survives); an unsynced length is old or new; an unsynced
//! change of a name has happened or not, a rename as a whole; with the name of a directory that was made goes what is in it. Writes, syncs and removals can be made to fail, the disk can be
//! made full, and bits can be flipped. After a failed sync some of the bytes are on the disk, the rest never will be, and the
//! next sync says that all is well. What is not simulated: directories that are removed, and reads that fail.

mod disk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gridhouse_base::fs::{File, FileSystem, Lock};

pub use disk::Cut;
use disk::{Disk, Fate, failed, stopped};

/// A simulated disk; clones share it.
#[derive(Clone)]
pub struct SimFileSystem(Arc<Mutex<Disk>>);

impl SimFileSystem {
    /// An empty disk whose whims come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk::new(seed))))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of changing operations so far: writes, syncs, and changes of names and lengths.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// A digest of all changing operations so far, with their bytes: equal for runs that did the same.
    pub fn digest(&self) -> u64 {
        self.disk().digest
    }

    /// Stops the machine in changing operation number `operation`: it and all later ones fail.
    pub fn crash_at(&self, operation: u64, cut: Cut) {
        self.disk().crash_at = Some((operation, cut));
    }

    /// Makes changing operation number `operation` fail, once.
    pub fn fail_at(&self, operation: u64) {
        self.disk().fail_at = Some(operation);
    }

    /// Makes each removal of a file fail with probability `probability`.
    pub fn set_failing_removes(&self, probability: f64) {
        self.disk().failing_removes = probability;
    }

    /// Forgets planned crashes and failures.
    pub fn clear_faults(&self) {
        let mut disk = self.disk();
        (disk.crash_at, disk.fail_at, disk.failing_removes) = (None, None, 0.0);
    }

    /// Limits the bytes of all files; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// The bytes of all files.
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Whether the machine has stopped.
    pub fn is_crashed(&self) -> bool {
        self.disk().crashed
    }

    /// The machine stops (if it has not yet) and starts again with what the disk happened to keep.
    pub fn restart(&self) {
        self.disk().restart();
    }

    /// The process ends where [`Self::crash_at`] says, and the machine does not: another process finds all that was done.
    pub fn kill(&self) {
        self.disk().start_process();
    }

    /// The files, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let disk = self.disk();
        disk.names.iter().map(|(name, &inode)| (name.clone(), disk.inodes[inode].now.len())).collect()
    }

    /// Flips bit `bit` of file `path`, durably.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        let mut disk = self.disk();
        let inode = disk.names[path];
        disk.inodes[inode].flip(bit);
    }

    /// What file `path` holds.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn bytes_of(&self, path: &Path) -> Vec<u8> {
        let disk = self.disk();
        disk.inodes[disk.names[path]].now.clone()
    }

    /// Makes `bytes` what file `path` holds, durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn replace(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let inode = disk.names[path];
        disk.inodes[inode] = disk::Inode::of(bytes);
    }

    /// A copy of the disk as it is.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.disk().fork())))
    }
}

struct SimFile {
    fs: SimFileSystem,
    inode: usize,
    epoch: u64,
}

impl SimFile {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.fs.disk();
        if disk.epoch == self.epoch { Ok(disk) } else { Err(stopped()) }
    }
}

impl File for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk()?;
        let from = offset as usize;
        let bytes = disk.inodes[self.inode].now.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk()?;
        let fate = disk.step(&format!("write {} at {offset}", self.inode), buffer)?;
        disk.check_room(self.inode, offset as usize + buffer.len())?;
        let part = match fate {
            Fate::Succeed | Fate::Crash(Cut::After) => buffer.len(),
            Fate::Crash(Cut::Before) => 0,
            // A write that fails has written some of it.
            Fate::Fail | Fate::Crash(Cut::Within) => disk.random.below(buffer.len() as u64 + 1) as usize,
        };
        disk.inodes[self.inode].write(offset as usize, &buffer[..part]);
        match fate {
            Fate::Succeed => Ok(()),
            Fate::Fail => Err(failed()),
            Fate::Crash(_) => Err(stopped()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        let disk = &mut *disk;
        match disk.step(&format!("sync {}", self.inode), &[])? {
            Fate::Succeed => {
                disk.inodes[self.inode].sync();
                Ok(())
            }
            Fate::Fail => {
                disk.inodes[self.inode].fail_sync(&mut disk.random);
                Err(failed())
            }
            Fate::Crash(cut) => {
                if cut == Cut::After {
                    disk.inodes[self.inode].sync();
                }
                Err(stopped())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.inodes[self.inode].now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let inode = self.inode;
        self.disk()?.whole(&format!("allocate {inode} {len}"), |disk| {
            disk.check_room(inode, len as usize)?;
            disk.inodes[inode].set_len(len as usize);
            Ok(())
        })
    }

    fn map(&self) -> io::Result<Bytes> {
        Ok(Bytes::from(self.disk()?.inodes[self.inode].map()))
    }
}

struct SimLock {
    fs: SimFileSystem,
    path: PathBuf,
    epoch: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.fs.disk();
        if disk.epoch == self.epoch {
            disk.locks.remove(&self.path);
        }
    }
}

impl FileSystem for SimFileSystem {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let disk = self.disk();
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { fs: self.clone(), inode, epoch: disk.epoch }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        let inode = disk.whole(&format!("create {}", path.display()), |disk| disk.add_name(path))?;
        Ok(Arc::new(SimFile { fs: self.clone(), inode, epoch: disk.epoch }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let missing: Vec<&Path> = path.ancestors().take_while(|directory| !disk.has_directory(directory)).collect();
        missing.into_iter().rev().try_for_each(|directory| {
            disk.whole(&format!("make directory {}", directory.display()), |disk| disk.add_directory(directory))
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk();
        disk.check_directory(path)?;
        let names = disk.names.keys().chain(&disk.directories).filter(|name| name.parent() == Some(path));
        Ok(names.filter_map(|name| name.file_name()).map(PathBuf::from).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = format!("rename {} to {}", from.display(), to.display());
        self.disk().whole(&what, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().whole(&format!("remove {}", path.display()), |disk| {
            let probability = disk.failing_removes;
            if probability > 0.0 && disk.random.chance(probability) {
                return Err(failed());
            }
            disk.remove_name(path)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().whole(&format!("sync directory {}", path.display()), |disk| {
            disk.check_directory(path)?;
            disk.sync_dir(path);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk();
        disk.check_above(path)?;
        if !disk.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { fs: self.clone(), path: path.to_path_buf(), epoch: disk.epoch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_subset_of_the_rest() {
        let (mut kept, mut lost, mut torn, mut nameless) = (0, 0, 0, 0);
        for seed in 0..200 {
            let fs = SimFileSystem::new(seed);
            let dir = Path::new("d");
            let safe = fs.create(&dir.join("safe")).unwrap();
            safe.write_all_at(&[1; 2000], 0).unwrap();
            safe.sync_data().unwrap();
            fs.sync_dir(dir).unwrap();
            safe.write_all_at(&[2; 1500], 0).unwrap();
            fs.create(&dir.join("new")).unwrap();
            fs.restart();
            assert!(safe.len().is_err(), "what was open before a crash is dead");
            let safe = fs.open(&dir.join("safe")).unwrap();
            let mut bytes = [0; 2000];
            safe.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes[1500..].iter().all(|&b| b == 1), "what was synced stays");
            match bytes[..1500].iter().filter(|&&b| b == 2).count() {
                0 => lost += 1,
                1500 => kept += 1,
                _ => torn += 1,
            }
            nameless += u32::from(fs.open(&dir.join("new")).is_err());
        }
        assert!(kept > 10 && lost > 10 && torn > 10 && nameless > 10, "{kept} {lost} {torn} {nameless}");
    }

    #[test]
    fn a_rename_happens_whole_and_a_removal_can_come_back() {
        let (mut renamed, mut removed) = (0, 0);
        for seed in 0..200 {
            let fs = SimFileSystem::new(seed);
            let [dir, old, new, gone] = ["d", "d/old", "d/new", "d/gone"].map(Path::new);
            fs.create(old).unwrap();
            fs.create(gone).unwrap();
            fs.sync_dir(dir).unwrap();
            fs.rename(old, new).unwrap();
            fs.remove(gone).unwrap();
            fs.restart();
            assert_ne!(fs.open(old).is_ok(), fs.open(new).is_ok(), "a file has one of its names");
            renamed += u32::from(fs.open(new).is_ok());
            removed += u32::from(fs.open(gone).is_err());
            fs.restart();
            assert_ne!(fs.open(old).is_ok(), fs.open(new).is_ok(), "after a restart nothing is in doubt");
        }
        assert!((50..150).contains(&renamed) && (50..150).contains(&removed), "{renamed} {removed}");
    }

    #[test]
    fn a_directory_whose_name_was_not_synced_takes_with_it_what_was() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..200 {
            let fs = SimFileSystem::new(seed);
            let [top, made, deep] = ["d", "d/made", "d/made/deep"].map(Path::new);
            assert_eq!(fs.create(&deep.join("file")).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
            fs.create_dir_all(deep).unwrap();
            let file = fs.create(&deep.join("file")).unwrap();
            file.write_all_at(&[1; 10], 0).unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(deep).unwrap();
            fs.sync_dir(made).unwrap();
            assert_eq!(fs.list(made).unwrap(), [Path::new("deep")]);
            let (in_doubt, safe) = (fs.fork(), fs);
            in_doubt.restart();
            assert_eq!(in_doubt.open(&deep.join("file")).is_ok(), in_doubt.list(made).is_ok());
            *(if in_doubt.list(made).is_ok() { &mut kept } else { &mut lost }) += 1;
            safe.sync_dir(top).unwrap();
            safe.restart();
            assert_eq!(safe.bytes_of(&deep.join("file")), [1; 10]);
        }
        assert!(kept > 50 && lost > 50, "{kept} {lost}");
    }

    #[test]
    fn a_killed_process_leaves_what_it_did() {
        let fs = SimFileSystem::new(1);
        let file = fs.create(Path::new("d/file")).unwrap();
        file.write_all_at(&[1; 600], 0).unwrap();
        fs.crash_at(fs.operations() + 1, Cut::Before);
        file.sync_data().unwrap_err();
        fs.kill();
        assert!(file.len().is_err(), "what was open before is dead");
        assert_eq!(fs.bytes_of(Path::new("d/file")), [1; 600]);
    }

    #[test]
    fn no_sync_makes_up_for_one_that_failed() {
        let mut lost = 0;
        for seed in 0..100 {
            let fs = SimFileSystem::new(seed);
            let path = Path::new("d/file");
            let file = fs.create(path).unwrap();
            fs.sync_dir(Path::new("d")).unwrap();
            file.write_all_at(&[7; 600], 0).unwrap();
            fs.fail_at(fs.operations() + 1);
            file.sync_data().unwrap_err();
            file.write_all_at(&[8; 600], 600).unwrap();
            file.sync_data().unwrap();
            fs.restart();
            let mut bytes = [0; 1200];
            fs.open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes[600..].iter().all(|&b| b == 8), "what was written after the failure is durable");
            lost += u32::from(bytes[..600].iter().any(|&b| b != 7));
        }
        assert!(lost > 20, "{lost}");
    }
}
