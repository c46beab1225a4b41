//! A file system in memory that behaves as badly as the contract in `gridhouse_base::fs` allows.
//!
//! At a crash each sector of 512 bytes that was written since its file's last sync independently keeps all, some or none of
//! its writes (in order, so an older version may be the one that survives); an unsynced length is old or new; an unsynced
//! name is there or not. Writes and syncs can be made to fail, the disk can be made full, and bits can be flipped. What is
//! not simulated: directories that vanish, and reads that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gridhouse_base::fs::{File, FileSystem, Lock};
use gridhouse_base::random::Random;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A simulated disk; clones share it.
#[derive(Clone)]
pub struct SimFileSystem(Arc<Mutex<Disk>>);

struct Disk {
    random: Random,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    capacity: Option<u64>,
    crashed: bool,
    /// Counts crashes; what was opened before one is dead.
    epoch: u64,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync: offset and bytes.
    writes: Vec<(usize, Vec<u8>)>,
}

/// What an operation is to do.
enum Fate {
    Succeed,
    Fail,
    Crash,
}

impl SimFileSystem {
    /// An empty disk whose whims come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            locks: BTreeSet::new(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            capacity: None,
            crashed: false,
            epoch: 0,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of changing operations so far.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Stops the machine in the middle of changing operation number `operation`: it and all later ones fail.
    pub fn crash_at(&self, operation: u64) {
        self.disk().crash_at = Some(operation);
    }

    /// Makes changing operation number `operation` fail, once.
    pub fn fail_at(&self, operation: u64) {
        self.disk().fail_at = Some(operation);
    }

    /// Forgets planned crashes and failures.
    pub fn clear_faults(&self) {
        let mut disk = self.disk();
        (disk.crash_at, disk.fail_at) = (None, None);
    }

    /// Limits the bytes of all files; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// The bytes of all files.
    pub fn used(&self) -> u64 {
        let disk = self.disk();
        disk.names.values().map(|&inode| disk.inodes[inode].now.len() as u64).sum()
    }

    /// Whether the machine has stopped.
    pub fn is_crashed(&self) -> bool {
        self.disk().crashed
    }

    /// The machine stops (if it has not yet) and starts again with what the disk happened to keep.
    pub fn restart(&self) {
        let mut disk = self.disk();
        let disk = &mut *disk;
        for inode in &mut disk.inodes {
            inode.crash(&mut disk.random);
        }
        let changed: BTreeSet<PathBuf> = disk.names.keys().chain(disk.durable_names.keys()).cloned().collect();
        for name in changed {
            let (now, durable) = (disk.names.get(&name).copied(), disk.durable_names.get(&name).copied());
            let kept = if now == durable || disk.random.chance(0.5) { now } else { durable };
            match kept {
                Some(inode) => drop(disk.names.insert(name, inode)),
                None => drop(disk.names.remove(&name)),
            }
        }
        disk.durable_names = disk.names.clone();
        disk.locks.clear();
        disk.crash_at = None;
        disk.fail_at = None;
        disk.crashed = false;
        disk.epoch += 1;
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
        let inode = &mut disk.inodes[inode];
        inode.now[bit / 8] ^= 1 << (bit % 8);
        inode.synced = inode.now.clone();
        inode.writes.clear();
    }

    /// A copy of the disk as it is.
    pub fn fork(&self) -> Self {
        let disk = self.disk();
        Self(Arc::new(Mutex::new(Disk {
            random: disk.random.clone(),
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            locks: BTreeSet::new(),
            ..*disk
        })))
    }
}

fn stopped() -> io::Error {
    io::Error::other("simulated: the machine has stopped")
}

fn failed() -> io::Error {
    io::Error::other("simulated: the disk failed")
}

impl Disk {
    /// Counts a changing operation and decides what becomes of it.
    fn step(&mut self) -> io::Result<Fate> {
        if self.crashed {
            return Err(stopped());
        }
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.crashed = true;
            return Ok(Fate::Crash);
        }
        Ok(if self.fail_at == Some(self.operations) { Fate::Fail } else { Fate::Succeed })
    }

    /// Runs an operation that happens whole or not at all.
    fn whole<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match self.step()? {
            Fate::Succeed => act(self),
            Fate::Fail => Err(failed()),
            Fate::Crash => {
                if self.random.chance(0.5) {
                    let _ = act(self);
                }
                Err(stopped())
            }
        }
    }

    fn check_room(&self, inode: usize, len: usize) -> io::Result<()> {
        let grows = len.saturating_sub(self.inodes[inode].now.len()) as u64;
        let used: u64 = self.names.values().map(|&inode| self.inodes[inode].now.len() as u64).sum();
        match self.capacity {
            Some(capacity) if grows > 0 && used + grows > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.now.len() < offset + bytes.len() {
            self.now.resize(offset + bytes.len(), 0);
        }
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        self.synced = self.now.clone();
        self.writes.clear();
    }

    fn crash(&mut self, random: &mut Random) {
        let mut content = std::mem::take(&mut self.synced);
        if random.chance(0.5) {
            content.resize(self.now.len(), 0);
        }
        // Now and then a crash keeps everything or nothing; else each sector decides for itself.
        let mood = random.below(4);
        let mut sectors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, (offset, bytes)) in self.writes.iter().enumerate() {
            for sector in offset / SECTOR_BYTES..=(offset + bytes.len().max(1) - 1) / SECTOR_BYTES {
                sectors.entry(sector).or_default().push(i);
            }
        }
        for (sector, writes) in sectors {
            let kept = match mood {
                0 => writes.len(),
                1 => 0,
                _ => random.below(writes.len() as u64 + 1) as usize,
            };
            for &i in &writes[..kept] {
                let (offset, bytes) = &self.writes[i];
                let from = (sector * SECTOR_BYTES).max(*offset);
                let to = ((sector + 1) * SECTOR_BYTES).min(offset + bytes.len()).min(content.len());
                if from < to {
                    content[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
                }
            }
        }
        *self = Self { now: content.clone(), synced: content, writes: Vec::new() };
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
        let fate = disk.step()?;
        disk.check_room(self.inode, offset as usize + buffer.len())?;
        let inode = self.inode;
        match fate {
            Fate::Succeed => {
                disk.inodes[inode].write(offset as usize, buffer);
                Ok(())
            }
            // A failing write has written some of it.
            Fate::Fail | Fate::Crash => {
                let part = disk.random.below(buffer.len() as u64 + 1) as usize;
                disk.inodes[inode].write(offset as usize, &buffer[..part]);
                Err(if matches!(fate, Fate::Fail) { failed() } else { stopped() })
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let inode = self.inode;
        self.disk()?.whole(|disk| {
            disk.inodes[inode].sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.inodes[self.inode].now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let inode = self.inode;
        self.disk()?.whole(|disk| {
            disk.check_room(inode, len as usize)?;
            disk.inodes[inode].now.resize(len as usize, 0);
            Ok(())
        })
    }

    fn map(&self) -> io::Result<Bytes> {
        Ok(Bytes::from(self.disk()?.inodes[self.inode].now.clone()))
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
        let inode = self.disk().whole(|disk| {
            if disk.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.inodes.push(Inode::default());
            disk.names.insert(path.to_path_buf(), disk.inodes.len() - 1);
            Ok(disk.inodes.len() - 1)
        })?;
        let epoch = self.disk().epoch;
        Ok(Arc::new(SimFile { fs: self.clone(), inode, epoch }))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk();
        let names = disk.names.keys().filter(|name| name.parent() == Some(path));
        Ok(names.filter_map(|name| name.file_name()).map(PathBuf::from).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().whole(|disk| {
            let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.to_path_buf(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().whole(|disk| disk.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().whole(|disk| {
            disk.durable_names.retain(|name, _| name.parent() != Some(path));
            let names = disk.names.iter().filter(|(name, _)| name.parent() == Some(path));
            disk.durable_names.extend(names.map(|(name, inode)| (name.clone(), *inode)));
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk();
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
}
