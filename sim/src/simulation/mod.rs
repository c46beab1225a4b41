//! Random operations on a store, with crashes, compared with the model after every step that can be seen.
//!
//! What is checked: a reader sees the model at the tick that it claims to see, for as long as it holds on to it; after a crash
//! the store is at a tick that was ordered, at or after the last durable one; each source is at or after its last durable
//! position, and exactly its commits up to there are applied or waiting, so that it goes on without loss or repetition; the
//! log of a table is whole from where it says that it begins, and begins nowhere above a consumer's cursor, whatever was merged
//! before and after a restart; effective changes are exact; a check of what is sound finds nothing; a failed write changes
//! nothing; a failed sync ends everything.

mod keeping;
mod sources;
mod ticks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::clock::ManualClock;
use gridhouse_base::random::Random;
use gridhouse_base::{Error, ErrorKind, RowKind, SourceId};
use gridhouse_store::{Attached, Limits, Snapshot, Store, StoreOptions};

use crate::file_system::SimFileSystem;
use crate::model::{Entry, LARGE_IDS, Model, NAMES, Row, SMALL_IDS, faults};
pub(crate) use keeping::MOST_EARLIER;
use keeping::{Follower, draw_limits, draw_wide_limits};
use sources::{SourceStep, Staged};

/// The data directory on the simulated disk.
pub const DIR: &str = "/data";

/// Small enough that a run fills several files.
const WAL_FILE_BYTES: u64 = 8192;

/// The same where tables are large.
const WIDE_WAL_FILE_BYTES: u64 = 1 << 20;

/// The sources that commit.
const SOURCES: [SourceId; 2] = [SourceId(7), SourceId(8)];

/// How many old snapshots are held at most.
const MAX_HELD: usize = 3;

/// How far each source has come: the number of its commits.
type Positions = BTreeMap<SourceId, u64>;

/// A run of the simulation.
pub struct Simulation {
    /// The disk.
    pub fs: SimFileSystem,
    /// Whether each step is told on standard error.
    pub is_told: bool,
    /// Whether the disk has been tampered with, so that a refusal for damage is right.
    pub is_damaged: bool,
    random: Random,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    /// The model at every tick.
    history: BTreeMap<u64, Arc<Model>>,
    /// Source commits that the store holds, by commit.
    commits: BTreeMap<u64, SourceStep>,
    /// Where each source stands.
    positions: Positions,
    durable_tick: u64,
    durable_positions: Positions,
    /// Stages that are open.
    stages: BTreeMap<u64, Staged>,
    /// Snapshots that some reader has not let go of, each with what it must show.
    held: Vec<(Snapshot, Arc<Model>)>,
    limits: Limits,
    /// Ids of rows are below this.
    ids: u64,
    /// Whether a consumer keeps the log of every table.
    keeps_log: bool,
    /// Whether something is attached to checkpoints.
    attaches: bool,
    store_id: Option<u128>,
}

/// The machine or the disk has failed in the middle of something; the store has to be opened again.
#[derive(Debug)]
pub struct Stopped;

pub(crate) type Step<T = ()> = Result<T, Stopped>;

impl Simulation {
    /// A run whose every choice comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let fs = SimFileSystem::new(random.bits());
        let (keeps_log, attaches) = (random.chance(0.5), random.chance(0.5));
        let limits = draw_limits(&mut random);
        Self {
            fs,
            is_told: false,
            is_damaged: false,
            random,
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            store: None,
            history: BTreeMap::from([(0, Arc::default())]),
            commits: BTreeMap::new(),
            positions: Positions::new(),
            durable_tick: 0,
            durable_positions: Positions::new(),
            stages: BTreeMap::new(),
            held: Vec::new(),
            limits,
            ids: SMALL_IDS,
            keeps_log,
            attaches,
            store_id: None,
        }
    }

    /// A run as of [`Simulation::new`] with tables of some ten thousand rows, which cross the limits of the real constants.
    pub fn wide(seed: u64) -> Self {
        let mut simulation = Self::new(seed);
        simulation.ids = LARGE_IDS;
        simulation.limits = draw_wide_limits(&mut simulation.random);
        simulation
    }

    /// The same run on a disk of its own from here on, with the store closed.
    pub fn fork(&self, seed: u64) -> Self {
        Self {
            fs: self.fs.fork(),
            random: Random::new(seed),
            clock: self.clock.clone(),
            store: None,
            history: self.history.clone(),
            commits: self.commits.clone(),
            positions: self.positions.clone(),
            durable_positions: self.durable_positions.clone(),
            stages: BTreeMap::new(),
            held: Vec::new(),
            ..*self
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{:5} {}", self.fs.operations(), what());
        }
    }

    /// Opens the store, if it is not open, and checks what it finds.
    ///
    /// # Errors
    /// `Stopped` if the machine stops before it is open.
    ///
    /// # Panics
    /// If the store has lost or made up something.
    pub fn open(&mut self) -> Step {
        if self.store.is_some() {
            return Ok(());
        }
        self.tell(|| "open".into());
        let mut options = StoreOptions::new(DIR, Arc::new(self.fs.clone()), self.clock.clone(), self.random.bits());
        options.limits = self.limits;
        options.wal_file_bytes = if self.is_wide() { WIDE_WAL_FILE_BYTES } else { WAL_FILE_BYTES };
        let seed = self.random.bits();
        let begin =
            |snapshot: &Snapshot, files: &Attached| Follower::begin(&self.history, snapshot, files, seed).map(Some);
        let (store, follower) = match Store::open_with(options, begin) {
            Ok(opened) => opened,
            Err(error) => return self.stopped(&error),
        };
        let snapshot = store.ordered_snapshot();
        let (found, last) = (snapshot.commit().0, store.last_commit().0);
        self.tell(|| format!("opened at tick {found}, last commit {last}"));
        assert!(found >= self.durable_tick, "tick {found} is found, but {} was durable", self.durable_tick);
        assert!(self.history.contains_key(&found), "tick {found} was never ordered");
        if let Some(follower) = follower {
            assert_eq!(follower.commit, found, "whoever follows has seen the last tick");
        }
        for source in SOURCES {
            let position = position_of(&store, source);
            let durable = self.durable_positions.get(&source).copied().unwrap_or_default();
            assert!(position >= durable, "{source} is at position {position}, but {durable} was durable");
            let held = self.commits.range(..=last).filter(|(_, step)| step.source == source).count() as u64;
            assert_eq!(position, held, "the position of {source} is that of its last commit");
            self.positions.insert(source, position);
        }
        let cut = snapshot.as_of().0;
        let pending = self.commits.keys().filter(|&&commit| commit > cut && commit <= last).count();
        assert_eq!(store.pending_count(), pending, "exactly the commits after the tick's cut wait");
        if self.durable_tick > 0 || self.durable_positions.values().any(|&position| position > 0) {
            assert_eq!(self.store_id, Some(store.id()), "the store is still the same");
        }
        self.store_id = Some(store.id());
        self.history.split_off(&(found + 1));
        self.commits.split_off(&(last + 1));
        (self.durable_tick, self.durable_positions) = (found, self.positions.clone());
        self.stages.clear();
        self.store = Some(store);
        self.observe();
        self.compare(&snapshot, found)?;
        self.check_sound(&snapshot)
    }

    /// Does `steps` random things.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    ///
    /// # Panics
    /// If the store does something wrong.
    pub fn run(&mut self, steps: u64) -> Step {
        self.open()?;
        for _ in 0..steps {
            match self.random.below(36) {
                0..=5 => self.source_commit()?,
                6..=8 => self.stage()?,
                9..=16 => self.tick()?,
                17..=20 => self.sync()?,
                21 => self.idle()?,
                22 => self.hold(),
                23 => self.check_held()?,
                24..=27 => self.maintain()?,
                28..=31 => self.work()?,
                32 => self.checkpoint()?,
                33 => self.clock.advance(Duration::from_micros(self.random.below(5_000_000))),
                _ => self.check()?,
            }
        }
        Ok(())
    }

    /// Stops the machine, or only the process, and lets go of the store. Planned faults are forgotten.
    pub fn crash(&mut self) {
        let is_process_only = !self.fs.is_crashed() && self.random.chance(0.2);
        self.kill();
        // A process that is killed leaves its writes in the system's memory.
        if is_process_only {
            self.fs.clear_faults();
        } else {
            self.tell(|| "the machine restarts".into());
            self.fs.restart();
        }
    }

    /// Ends the process without any notice. What it wrote stays in the system's memory.
    pub fn kill(&mut self) {
        self.tell(|| "the process is gone".into());
        self.held.clear();
        self.store = None;
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    pub fn close(&mut self) -> Step {
        self.tell(|| "close".into());
        let mut attach = self.attachment();
        let Some(store) = self.store.take() else { return Ok(()) };
        let tick = store.ordered_snapshot().commit().0;
        match store.close_with(&mut || attach.take()) {
            Ok(()) => {
                (self.durable_tick, self.durable_positions) = (tick, self.positions.clone());
                self.check_held()?;
                self.held.clear();
                Ok(())
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// An error is right if the machine has stopped or the disk has failed; anything else is a defect.
    fn stopped<T>(&self, error: &Error) -> Step<T> {
        self.tell(|| format!("an error: {error}"));
        if self.is_damaged && error.kind() == ErrorKind::Corrupt {
            assert_tells_damage(error);
            return Err(Stopped);
        }
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        Err(Stopped)
    }

    /// What a failed operation means: the end, or nothing at all (a full disk, one failed write).
    fn refused(&mut self, error: &Error) -> Step {
        let is_usable = self.store.as_mut().is_some_and(|store| store.tick().is_ok());
        if self.fs.is_crashed() || !is_usable { self.stopped(error) } else { self.stopped::<()>(error).or(Ok(())) }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    /// Compares what readers see with the model.
    ///
    /// # Errors
    /// `Stopped` if what is to be read is damaged, and may be.
    ///
    /// # Panics
    /// If it differs.
    pub fn check(&mut self) -> Step {
        self.tell(|| "check".into());
        let store = self.store();
        let (ordered, durable) = (store.ordered_snapshot(), store.reader().snapshot());
        assert_eq!(durable.commit().0, self.durable_tick, "readers see the last durable tick");
        for source in SOURCES {
            let position = position_of(self.store(), source);
            let expected = self.durable_positions.get(&source).copied().unwrap_or_default();
            assert_eq!(position, expected, "the durable position of {source} is the one that was synced");
        }
        self.compare(&ordered, ordered.commit().0)?;
        self.compare(&durable, self.durable_tick)?;
        if self.random.chance(0.3) { self.check_sound(&ordered) } else { Ok(()) }
    }

    /// A check of all tables finds nothing; where the disk has been tampered with, what it finds says where.
    fn check_sound(&mut self, snapshot: &Snapshot) -> Step {
        match faults(snapshot) {
            Ok(found) if self.is_damaged => {
                found.iter().for_each(|fault| assert!(fault.contains("seg-"), "which file: {fault}"));
                Ok(())
            }
            Ok(found) => {
                assert!(found.is_empty(), "what is sound is found faulty: {found:?}");
                Ok(())
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// What a check of all tables finds wrong.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    pub fn faults(&mut self) -> Step<Vec<String>> {
        let snapshot = self.store().ordered_snapshot();
        faults(&snapshot).or_else(|error| self.stopped(&error))
    }

    fn compare(&mut self, snapshot: &Snapshot, tick: u64) -> Step {
        match self.history[&tick].check(snapshot, &mut self.random) {
            Ok(()) => Ok(()),
            Err(error) => self.stopped(&error),
        }
    }

    /// Takes a snapshot that will be read again much later.
    fn hold(&mut self) {
        let is_durable = self.random.chance(0.5);
        let store = self.store();
        let snapshot = if is_durable { store.reader().snapshot() } else { store.ordered_snapshot() };
        self.tell(|| format!("hold the snapshot of tick {}", snapshot.commit().0));
        if self.held.len() == MAX_HELD {
            let gone = self.random.below(MAX_HELD as u64) as usize;
            self.held.swap_remove(gone);
        }
        let model = self.history[&snapshot.commit().0].clone();
        self.held.push((snapshot, model));
    }

    /// Snapshots that are held still show what they showed.
    fn check_held(&mut self) -> Step {
        for i in 0..self.held.len() {
            let (snapshot, model) = self.held[i].clone();
            self.tell(|| format!("read the snapshot of tick {}", snapshot.commit().0));
            if let Err(error) = model.check(&snapshot, &mut self.random) {
                return self.stopped(&error);
            }
        }
        Ok(())
    }

    /// Insists that the logs hold what their consumers have not read.
    fn observe(&self) {
        let Some(store) = &self.store else { return };
        let snapshot = store.ordered_snapshot();
        let model = &self.history[&snapshot.commit().0];
        for table in snapshot.tables() {
            let Some(expected) = model.tables.values().find(|expected| expected.id == table.id()) else { continue };
            let (start, name) = (table.log_start().0, &table.spec().name);
            let floor = model.slowest(table.id()).unwrap_or(snapshot.commit().0).max(expected.begins);
            assert!(start <= floor, "the log of table {name} begins at {start}, but is wanted from {floor} on");
        }
    }

    fn sync(&mut self) -> Step {
        self.tell(|| "sync".into());
        let store = self.store();
        let tick = store.ordered_snapshot().commit().0;
        match store.syncer().sync() {
            Ok(_) => {
                (self.durable_tick, self.durable_positions) = (tick, self.positions.clone());
                Ok(())
            }
            Err(error) => {
                assert!(self.store().tick().is_err(), "a failed sync stops the store");
                self.stopped(&error)
            }
        }
    }

    /// Notes what the keeper has made durable: it syncs before it writes anything.
    fn learn_durable(&mut self) {
        let reader = self.store().reader();
        if reader.durable() == reader.ordered() {
            let tick = self.store().ordered_snapshot().commit().0;
            (self.durable_tick, self.durable_positions) = (tick, self.positions.clone());
        }
    }

    fn idle(&mut self) -> Step {
        self.tell(|| "note that nothing happens".into());
        match self.store().note_idle() {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&error),
        }
    }

    fn is_wide(&self) -> bool {
        self.ids > SMALL_IDS
    }

    fn latest(&self) -> &Arc<Model> {
        self.history.last_key_value().expect("there is a model").1
    }

    fn row(&mut self) -> Row {
        let load = self.random.chance(0.8).then(|| self.random.below(4) as i32);
        (self.random.below(self.ids) as i64, Some((*self.random.pick(&NAMES)).to_string()), load)
    }

    fn rows(&mut self) -> Vec<Row> {
        let (often, many) = if self.is_wide() { (0.3, 2_000 + self.random.below(10_000)) } else { (0.05, 300) };
        let count = if self.random.chance(often) { many } else { 1 + self.random.below(8) };
        (0..count).map(|_| self.row()).collect()
    }

    fn insertions(&mut self) -> Vec<Entry> {
        self.rows().into_iter().map(|row| (RowKind::Insert, row)).collect()
    }
}

/// The last durable position of `source`, 0 if it has none.
fn position_of(store: &Store, source: SourceId) -> u64 {
    let position = store.source_position(source);
    position.map_or(0, |p| u64::from_le_bytes(p.position.try_into().expect("positions are numbers here")))
}

/// Insists that a refusal for damage tells where the damage is and what to do.
///
/// # Panics
/// If it does not.
pub fn assert_tells_damage(error: &Error) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
    assert!(error.remedy().is_some(), "what to do about it: {text}");
    assert!(["wal-", "seg-", "checkpoint"].iter().any(|file| text.contains(file)), "which file: {text}");
    // A checkpoint has one checksum over all of it.
    assert!(text.contains("offset") || text.contains("checkpoint"), "where: {text}");
}
