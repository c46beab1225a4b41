//! What a simulated disk holds, what becomes of it in a crash, and which of its operations go wrong.
//!
//! A directory is a journal here: changes of names that were not synced are each kept or lost, a rename as a whole, and those
//! that are kept take effect in their order. A directory is itself a name in the one above it, and what lies in it is lost with
//! that name; those at the top are there from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use gridhouse_base::random::Random;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How much of the operation in which a machine stops has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing of it.
    Before,
    /// Some of it: of a write, the first bytes; anything else has happened or not.
    Within,
    /// All of it, but nobody was told.
    After,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];
}

/// The state behind [`super::SimFileSystem`].
pub(super) struct Disk {
    pub random: Random,
    pub inodes: Vec<Inode>,
    pub names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Directories that were made.
    pub directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    /// Changes of names since their directory's last sync, in order.
    changes: Vec<NameChange>,
    pub locks: BTreeSet<PathBuf>,
    pub operations: u64,
    pub crash_at: Option<(u64, Cut)>,
    pub fail_at: Option<u64>,
    /// The probability with which removing a file fails.
    pub failing_removes: f64,
    pub capacity: Option<u64>,
    pub crashed: bool,
    /// Counts crashes; what was opened before one is dead.
    pub epoch: u64,
    /// A digest of all operations so far, in order.
    pub digest: u64,
}

/// A file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    pub now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync: offset and bytes.
    writes: Vec<(usize, Vec<u8>)>,
    /// A sync has failed: what it should have made durable is on the disk or not, and no later sync will change that.
    doubtful: bool,
    /// Somebody has mapped the file, so nobody may write to it any more.
    mapped: bool,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, usize),
    AddDirectory(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl NameChange {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::AddDirectory(path) | Self::Remove(path) | Self::Rename(_, path, _) => {
                path.parent()
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>, directories: &mut BTreeSet<PathBuf>) {
        match self {
            Self::Add(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::AddDirectory(path) => drop(directories.insert(path.clone())),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// What an operation is to do.
pub(super) enum Fate {
    Succeed,
    Fail,
    Crash(Cut),
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("simulated: the machine has stopped")
}

pub(super) fn failed() -> io::Error {
    io::Error::other("simulated: the disk failed")
}

/// Whether a directory is one of those that are there from the start.
fn is_at_the_top(path: &Path) -> bool {
    path.parent().is_none_or(|above| above.parent().is_none())
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            directories: BTreeSet::new(),
            durable_directories: BTreeSet::new(),
            changes: Vec::new(),
            locks: BTreeSet::new(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            failing_removes: 0.0,
            capacity: None,
            crashed: false,
            epoch: 0,
            digest: 0,
        }
    }

    pub fn fork(&self) -> Self {
        Self {
            random: self.random.clone(),
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            directories: self.directories.clone(),
            durable_directories: self.durable_directories.clone(),
            changes: self.changes.clone(),
            locks: BTreeSet::new(),
            ..*self
        }
    }

    /// Counts a changing operation and decides what becomes of it; `what` and `bytes` tell it from others.
    pub fn step(&mut self, what: &str, bytes: &[u8]) -> io::Result<Fate> {
        if self.crashed {
            return Err(stopped());
        }
        self.operations += 1;
        for chunk in what.as_bytes().chunks(8).chain(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.digest = (self.digest.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        match self.crash_at {
            Some((operation, cut)) if operation == self.operations => {
                self.crashed = true;
                Ok(Fate::Crash(cut))
            }
            _ => Ok(if self.fail_at == Some(self.operations) { Fate::Fail } else { Fate::Succeed }),
        }
    }

    /// Runs an operation that happens whole or not at all.
    pub fn whole<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match self.step(what, &[])? {
            Fate::Succeed => act(self),
            Fate::Fail => Err(failed()),
            Fate::Crash(cut) => {
                if cut == Cut::After || (cut == Cut::Within && self.random.chance(0.5)) {
                    let _ = act(self);
                }
                Err(stopped())
            }
        }
    }

    /// Whether there is a directory.
    pub fn has_directory(&self, path: &Path) -> bool {
        is_at_the_top(path) || self.directories.contains(path)
    }

    /// What listing and syncing a directory meets.
    pub fn check_directory(&self, path: &Path) -> io::Result<()> {
        if self.has_directory(path) {
            Ok(())
        } else if self.names.contains_key(path) {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Whether something can be made with this path.
    pub fn check_above(&self, path: &Path) -> io::Result<()> {
        if path.parent().is_none_or(|above| self.has_directory(above)) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub fn add_directory(&mut self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.change_name(NameChange::AddDirectory(path.to_path_buf()));
        Ok(())
    }

    pub fn add_name(&mut self, path: &Path) -> io::Result<usize> {
        self.check_above(path)?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.change_name(NameChange::Add(path.to_path_buf(), inode));
        Ok(inode)
    }

    pub fn remove_name(&mut self, path: &Path) -> io::Result<()> {
        if !self.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "files are renamed within their directory");
        let inode = *self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change_name(NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names, &mut self.directories);
        self.changes.push(change);
    }

    pub fn sync_dir(&mut self, path: &Path) {
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.directory() == Some(path));
        for change in synced {
            change.apply(&mut self.durable_names, &mut self.durable_directories);
        }
        self.changes = rest;
    }

    pub fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].now.len() as u64).sum()
    }

    pub fn check_room(&self, inode: usize, len: usize) -> io::Result<()> {
        let grows = len.saturating_sub(self.inodes[inode].now.len()) as u64;
        match self.capacity {
            Some(capacity) if grows > 0 && self.used() + grows > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// The machine stops, if it has not yet, and starts again with what the disk happened to keep.
    pub fn restart(&mut self) {
        let mut names = std::mem::take(&mut self.durable_names);
        let mut directories = std::mem::take(&mut self.durable_directories);
        let changes = std::mem::take(&mut self.changes);
        // A journal that is written in order keeps the first changes; nothing says that it is.
        let mood = self.random.below(4);
        let first = self.random.below(changes.len() as u64 + 1) as usize;
        for (i, change) in changes.iter().enumerate() {
            let kept = match mood {
                0 => true,
                1 => false,
                2 => i < first,
                _ => self.random.chance(0.5),
            };
            if kept {
                change.apply(&mut names, &mut directories);
            }
        }
        let made = directories.clone();
        let is_reached = |path: &Path| {
            path.ancestors().skip(1).all(|directory| is_at_the_top(directory) || made.contains(directory))
        };
        names.retain(|path, _| is_reached(path));
        directories.retain(|path| is_reached(path));
        self.names = names;
        self.durable_names = self.names.clone();
        self.directories = directories;
        self.durable_directories = self.directories.clone();
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        for (i, inode) in self.inodes.iter_mut().enumerate() {
            if named.contains(&i) {
                inode.crash(&mut self.random);
            } else {
                *inode = Inode::default();
            }
        }
        self.start_process();
    }

    /// A process begins, whatever became of the one before.
    pub fn start_process(&mut self) {
        self.locks.clear();
        self.crash_at = None;
        self.fail_at = None;
        self.failing_removes = 0.0;
        self.crashed = false;
        self.epoch += 1;
    }
}

impl Inode {
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(!self.mapped, "a file that has been mapped is finished");
        if self.now.len() < offset + bytes.len() {
            self.now.resize(offset + bytes.len(), 0);
        }
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    pub fn set_len(&mut self, len: usize) {
        assert!(!self.mapped, "a file that has been mapped is finished");
        self.now.resize(len, 0);
    }

    pub fn map(&mut self) -> Vec<u8> {
        self.mapped = true;
        self.now.clone()
    }

    pub fn sync(&mut self) {
        if self.doubtful {
            self.synced.resize(self.now.len(), 0);
            for (offset, bytes) in &self.writes {
                let end = (offset + bytes.len()).min(self.synced.len());
                if *offset < end {
                    self.synced[*offset..end].copy_from_slice(&bytes[..end - offset]);
                }
            }
        } else {
            self.synced.clone_from(&self.now);
        }
        self.writes.clear();
    }

    /// A sync fails: some of it is on the disk, the rest will never be, though the system shows it until it is restarted.
    pub fn fail_sync(&mut self, random: &mut Random) {
        self.synced = self.survivors(random);
        self.writes.clear();
        self.doubtful = true;
    }

    /// A file that holds `bytes`, durably.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { synced: bytes.clone(), now: bytes, ..Self::default() }
    }

    /// Flips a bit, durably.
    pub fn flip(&mut self, bit: usize) {
        let mut bytes = std::mem::take(&mut self.now);
        bytes[bit / 8] ^= 1 << (bit % 8);
        *self = Self::of(bytes);
    }

    fn crash(&mut self, random: &mut Random) {
        *self = Self::of(self.survivors(random));
    }

    /// What was synced, with whatever the disk took of the writes since.
    fn survivors(&mut self, random: &mut Random) -> Vec<u8> {
        let mut content = std::mem::take(&mut self.synced);
        if random.chance(0.5) {
            content.resize(self.now.len(), 0);
        }
        // Now and then everything or nothing is kept; else each sector decides for itself.
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
        content
    }
}
