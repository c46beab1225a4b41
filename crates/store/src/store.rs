//! The store as its one writer thread owns it: opening and recovery, commits of sources, stages.
//!
//! Ticks are in `tick.rs`; what readers and the syncer hold is in `sync.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::clock::Clock;
use gridhouse_base::fs::{FileSystem, Lock};
use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, Error, ErrorKind, Result, SourceId};

use crate::checkpoint::attached::{Attached, Attachment};
use crate::checkpoint::keeper::Workshop;
use crate::checkpoint::load::{last_checkpoint, last_segment, leftovers};
use crate::follow::{Follow, Nobody};
use crate::maintenance::{Files, Limits};
use crate::payload::{drop_stage_payload, source_payload, stage_payload};
use crate::pending::Pending;
use crate::replay::{Replay, with_way_back};
use crate::snapshot::Snapshot;
use crate::source::{Part, SourceCommit, SourcePosition, StageUse};
use crate::state::State;
use crate::sync::{Boundary, Reader, Shared, Syncer};
use crate::tick::Tick;
use crate::wal::frame::{FILE_HEAD_BYTES, Frame, FrameKind};
use crate::wal::place::{FramePlace, LogPlace};
use crate::wal::recovery::read_log;
use crate::wal::writer::{FrameNote, MAX_FILE_BYTES, WalWriter, disk_error};

/// The name of the lock file within the data directory.
const LOCK_FILE: &str = "LOCK";

/// The smallest log file: below this, beginning files would cost more than writing frames.
const MIN_FILE_BYTES: u64 = 4096;

/// The first log file's size unless the options say otherwise.
pub const DEFAULT_WAL_FILE_BYTES: u64 = 1 << 20;

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// The data directory; created if it is missing.
    pub dir: PathBuf,
    /// The file system that `dir` is on.
    pub fs: Arc<dyn FileSystem>,
    /// The clock that stamps ticks.
    pub clock: Arc<dyn Clock>,
    /// Where the store's randomness starts: the id of a new store, salts of log files, secrets of key hashing. Different at
    /// every start, except in a simulation.
    pub seed: u64,
    /// The size of the first log file that this start writes; each further one is twice as large, up to 64 MiB.
    pub wal_file_bytes: u64,
    /// When segments and checkpoints are made, and how much memory the key indexes may take.
    pub limits: Limits,
}

impl StoreOptions {
    /// Options for `dir` with the default sizes.
    pub fn new(dir: impl Into<PathBuf>, fs: Arc<dyn FileSystem>, clock: Arc<dyn Clock>, seed: u64) -> Self {
        let (wal_file_bytes, limits) = (DEFAULT_WAL_FILE_BYTES, Limits::default());
        Self { dir: dir.into(), fs, clock, seed, wal_file_bytes, limits }
    }
}

/// The store. One thread owns it and writes; any number of threads read through [`Reader`].
pub struct Store {
    pub(crate) id: u128,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wal: WalWriter,
    pub(crate) state: State,
    pub(crate) shared: Arc<Shared>,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) files: Files,
    pub(crate) workshop: Arc<Workshop>,
    /// Why the keeper could not do its work the last time.
    pub(crate) last_trouble: Option<Error>,
    /// The last frame is a sync note, so another would say nothing new.
    noted: bool,
    _lock: Box<dyn Lock>,
}

impl Store {
    /// Opens the store in `options.dir`, creating or recovering it. Takes the directory's lock.
    ///
    /// # Errors
    /// `Conflict` if another process has it open or another version wrote it, `Corrupt` if what was durable is damaged
    /// (with file, offset and the way back), `Unavailable` if the disk does not answer or is full.
    pub fn open(options: StoreOptions) -> Result<Self> {
        Self::open_with(options, |_, _| Ok(None::<Nobody>)).map(|(store, _)| store)
    }

    /// As [`Store::open`]. If the last checkpoint has something attached, `begin` gets it, with the tables as of then, and may
    /// return a follower that sees all ticks from there on; it is handed back with the open store.
    ///
    /// # Errors
    /// As [`Store::open`], and what `begin` and the follower return.
    pub fn open_with<F: Follow>(
        options: StoreOptions,
        begin: impl FnOnce(&Snapshot, &Attached) -> Result<Option<F>>,
    ) -> Result<(Self, Option<F>)> {
        let StoreOptions { dir, fs, clock, seed, wal_file_bytes, limits } = options;
        let mut random = Random::new(seed);
        let lock = prepare_directory(fs.as_ref(), &dir)?;
        let (found, damage) = last_checkpoint(fs.as_ref(), &dir)?;
        let (mut state, start, store, mut files) = match found {
            Some(loaded) => loaded.into_parts(),
            None => (State::new(&mut random)?, None, None, Files::new()),
        };
        // A file that is there already may be all that is left of a checkpoint that is damaged.
        files.next_segment = files.next_segment.max(last_segment(fs.as_ref(), &dir)? + 1);
        let mut follower = if files.attached.is_empty() {
            None
        } else {
            begin(&Snapshot { view: state.view.clone() }, &files.attached)?
        };
        let mut replay = Replay {
            state: &mut state,
            start,
            follow: follower.as_mut().map(|follower| follower as &mut dyn Follow),
            pieces: BTreeMap::new(),
            files: &mut files,
            fs: &fs,
            dir: &dir,
            limits: &limits,
        };
        let mut take = |frame: &Frame<'_>, place: &FramePlace, store: u128| replay.take(frame, place, store);
        let read = read_log(fs.as_ref(), &dir, (store, start), &mut take);
        let read = read.map_err(with_way_back);
        // Without its checkpoint a log that has been cut cannot be read: then the checkpoint is what is damaged.
        let end = match (read, damage) {
            (Err(error), Some(damage)) if error.kind() == ErrorKind::Corrupt => return Err(with_way_back(damage)),
            // Nor is there anything to go on with where there is no log at all.
            (Ok(end), Some(damage)) if end.files.is_empty() => return Err(with_way_back(damage)),
            (read, _) => read?,
        };
        let id = end.store.unwrap_or_else(|| u128::from(random.bits()) << 64 | u128::from(random.bits()));
        let checkpoint = (files.checkpoint > 0).then_some(files.checkpoint);
        let left = leftovers(fs.as_ref(), &dir, checkpoint, &files.segments, &files.attached)?;
        if let Some(path) = left.first().filter(|_| end.files.is_empty()) {
            return Err(with_way_back(Error::corrupt(format!(
                "{} belongs to a store of which neither the log nor the checkpoint is there",
                path.display()
            ))));
        }
        for path in left {
            // What cannot be removed now is found again at the next start.
            let _ = fs.remove(&path);
        }

        let boundary = Boundary {
            commit: state.last_commit,
            frame: end.next_frame - 1,
            view: state.view.clone(),
            positions: state.positions.clone(),
        };
        let shared = Arc::new(Shared::new(boundary));
        let place = (end.files.last().map_or(0, |file| file.0) + 1, end.next_frame);
        let end_files_first = end.files.first().map(|file| file.0);
        let file_bytes = wal_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES);
        let wal =
            WalWriter::begin(fs.clone(), dir.clone(), (id, random), shared.clone(), place, end.files, file_bytes)?;
        if let Some((file, length)) = end.tail {
            // What lies behind the last good frame is of no use to anyone now; failing to free it harms nobody.
            let _ = file.allocate(length);
        }
        if state.tick_frame == 0 {
            let first = end_files_first.unwrap_or(place.0);
            state.tick_end = LogPlace { file: first, offset: FILE_HEAD_BYTES as u64, frame: 1 };
        }
        let workshop = Arc::default();
        let mut store = Self {
            id,
            clock,
            wal,
            state,
            shared,
            fs,
            dir,
            limits,
            files,
            workshop,
            last_trouble: None,
            noted: false,
            _lock: lock,
        };
        // Stages that a crash left open are dropped in writing, so that their numbers can be used again.
        let open: Vec<u64> = store.state.stages.keys().copied().collect();
        for stage in open {
            store.drop_stage(stage)?;
        }
        store.sync()?;
        Ok((store, follower))
    }

    /// The store's id: random, made once, and the same ever after.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// A handle for readers on any thread.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// A handle that makes commits durable, for a thread of its own.
    pub fn syncer(&self) -> Syncer {
        Syncer(self.shared.clone())
    }

    /// The last ordered tick, which may not be durable yet: for the writer's own work, never for the outside.
    pub fn ordered_snapshot(&self) -> Snapshot {
        Snapshot { view: self.shared.ordered_view() }
    }

    /// The last commit of any kind.
    pub fn last_commit(&self) -> CommitId {
        self.state.last_commit
    }

    /// How many source commits wait for the next tick.
    pub fn pending_count(&self) -> usize {
        self.state.pending.len()
    }

    /// The lowest frame of the log that is still read while the store runs, or that a restart would need; `None` if there is
    /// none: stages that are open, and source commits that no tick has applied.
    pub fn oldest_needed_frame(&self) -> Option<u64> {
        self.state.oldest_needed_frame().map(|place| place.frame)
    }

    /// Whether one step of at most `rows` rows ([`Tick::apply_step`]) would apply everything that waits.
    pub fn waits_for_one_step(&self, rows: usize) -> bool {
        self.state.waits_for_one_step(rows)
    }

    /// The last durable position of `source`: what may be acknowledged to it, and where it goes on after a restart.
    pub fn source_position(&self, source: SourceId) -> Option<SourcePosition> {
        self.reader().source_position(source)
    }

    /// Makes everything ordered so far durable, on this thread.
    ///
    /// # Errors
    /// As [`Syncer::sync`].
    pub fn sync(&self) -> Result<CommitId> {
        self.shared.sync()
    }

    /// Logs a source's commit. Its rows become visible with the next tick that applies pending commits, all at once. Stages
    /// that it uses are consumed.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` if the rows do not fit their tables, or a table is to be replaced that has no primary key;
    /// `Unavailable` if the disk is full or has failed. The store is then as before.
    pub fn append_source(&mut self, commit: SourceCommit) -> Result<CommitId> {
        for part in &commit.parts {
            self.check_part(part)?;
        }
        for (i, (stage, stage_use)) in commit.stages.iter().enumerate() {
            if commit.stages[..i].iter().any(|(other, _)| other == stage) {
                return Err(Error::invalid(format!("stage {stage} is used twice in one commit")));
            }
            if let StageUse::Replace(table) = *stage_use {
                let shape = &self.state.table(table)?.shape;
                if !shape.is_keyed() {
                    let name = &shape.spec.name;
                    return Err(Error::invalid(format!("table {name} has no primary key, so it cannot be replaced")));
                }
            }
        }
        let id = self.state.last_commit.next();
        let note = FrameNote {
            kind: FrameKind::Source,
            commit: id,
            as_of: id,
            time_micros: self.clock.now_micros(),
            origin: commit.source.0,
            pieces: commit.parts.len() as u32,
        };
        let frame = self.append(note, &source_payload(&commit))?;
        let place = self.wal.last_place();
        let SourceCommit { source, position, event_time_micros, parts, stages } = commit;
        let position = SourcePosition { position, event_time_micros, commit: id };
        Arc::make_mut(&mut self.state.positions).insert(source, position);
        let taken = |(stage, stage_use)| (stage_use, Arc::new(self.state.stages.remove(&stage).unwrap_or_default()));
        let stages = stages.into_iter().map(taken).collect();
        self.state.wait(Pending { commit: id, frame: place, stages, parts: Some(parts.into()) });
        self.publish_boundary(frame);
        Ok(id)
    }

    /// Logs rows of a commit that is still being put together, under a number that the caller chooses. They are invisible
    /// until a source commit names the stage, and are discarded by a restart before that.
    ///
    /// # Errors
    /// As [`Store::append_source`].
    pub fn stage(&mut self, stage: u64, part: Part) -> Result<()> {
        self.check_part(&part)?;
        let note = FrameNote::plain(FrameKind::Stage, self.clock.now_micros());
        let frame = self.append(note, &stage_payload(stage, &part))?;
        self.state.stages.entry(stage).or_default().frames.push(self.wal.last_place());
        self.publish_boundary(frame);
        Ok(())
    }

    /// Discards a stage's rows. A stage that does not exist is no error.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed.
    pub fn drop_stage(&mut self, stage: u64) -> Result<()> {
        if !self.state.stages.contains_key(&stage) {
            return Ok(());
        }
        let note = FrameNote::plain(FrameKind::DropStage, self.clock.now_micros());
        let frame = self.append(note, &drop_stage_payload(stage))?;
        self.state.stages.remove(&stage);
        self.publish_boundary(frame);
        Ok(())
    }

    /// Begins a tick. Until it is published, readers see nothing of it; if it is dropped instead, the store is as before.
    ///
    /// # Errors
    /// `Unavailable` if the disk has failed.
    pub fn tick(&mut self) -> Result<Tick<'_>> {
        self.shared.check()?;
        Ok(Tick::new(self))
    }

    /// To be called when there is nothing else to do: writes down what is durable, so that recovery can tell a torn end from
    /// a rotten one. Cheap, and nothing if it has been said already.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed.
    pub fn note_idle(&mut self) -> Result<()> {
        if self.noted || self.shared.is_behind() || self.shared.check()? == 0 {
            return Ok(());
        }
        let note = FrameNote::plain(FrameKind::SyncNote, self.clock.now_micros());
        let frame = self.append(note, &[])?;
        self.noted = true;
        self.publish_boundary(frame);
        Ok(())
    }

    /// Makes everything durable, with a checkpoint, so that the next start has nothing to read again.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or has failed.
    pub fn close(self) -> Result<()> {
        self.close_with(&mut || None)
    }

    /// As [`Store::close`]; `attach` gives what is to be kept with the checkpoint.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close_with(mut self, attach: &mut dyn FnMut() -> Option<Attachment>) -> Result<()> {
        self.sync()?;
        let checkpoint = self.checkpoint(attach);
        self.note_idle()?;
        self.sync()?;
        // The log holds everything all the same; but whoever closes wants to know.
        checkpoint
    }

    /// Checks that the rows of `part` fit their table, as [`Store::append_source`] and [`Store::stage`] do.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` if they do not.
    pub fn check_part(&self, part: &Part) -> Result<()> {
        let table = self.state.table(part.table)?;
        table.shape.check_source_rows(&part.batch, part.columns.as_deref())
    }

    pub(crate) fn append(&mut self, note: FrameNote, payload: &[u8]) -> Result<u64> {
        let frame = self.wal.append(note, payload)?;
        self.noted = false;
        Ok(frame)
    }

    /// Tells syncer and readers that the log now ends with `frame`.
    pub(crate) fn publish_boundary(&self, frame: u64) {
        self.shared.set_ordered(Boundary {
            commit: self.state.last_commit,
            frame,
            view: self.state.view.clone(),
            positions: self.state.positions.clone(),
        });
    }
}

/// Whoever waits for a commit of this store must not wait for ever.
impl Drop for Store {
    fn drop(&mut self) {
        self.shared.close();
        self.workshop.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("id", &self.id)
            .field("last_commit", &self.state.last_commit)
            .finish_non_exhaustive()
    }
}

/// Makes the directory and its name durable, and takes its lock.
fn prepare_directory(fs: &dyn FileSystem, dir: &Path) -> Result<Box<dyn Lock>> {
    fs.create_dir_all(dir).map_err(|error| disk_error("could not create", dir, error))?;
    let lock_path = dir.join(LOCK_FILE);
    let lock = fs.lock(&lock_path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            return Error::conflict(format!("data directory {} is in use by another process", dir.display()))
                .hint("stop the other gridhouse, or give this one a directory of its own");
        }
        disk_error("could not lock", &lock_path, error)
    })?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs.sync_dir(parent).map_err(|error| disk_error("could not sync", parent, error))?;
    fs.sync_dir(dir).map_err(|error| disk_error("could not sync", dir, error))?;
    Ok(lock)
}
