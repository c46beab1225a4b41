//! Random operations on a store, with crashes, compared with the model after every step that can be seen.
//!
//! What is checked: a reader sees the model at the tick that it claims to see; after a crash the store is at a tick that was
//! ordered, at or after the last durable one; each source is at or after its last durable position, and exactly its commits
//! up to there are applied or waiting, so that it goes on without loss or repetition; effective changes are exact; a failed
//! write changes nothing; a failed sync ends everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::Int32Array;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::ManualClock;
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, CommitId, ErrorKind, RowKind, SourceId, TableId};
use gridhouse_store::{Part, SourceCommit, StageUse, Store, StoreOptions, Tick};

use crate::file_system::SimFileSystem;
use crate::model::{Model, ModelTable, NAMES, Row, SPACE, TABLES, assert_rows, check_table, columns, spec};

/// The data directory on the simulated disk.
pub const DIR: &str = "/data";

/// Small enough that a run fills several files.
const WAL_FILE_BYTES: u64 = 8192;

const SOURCE: SourceId = SourceId(7);

/// One thing that a source commit does to the model.
#[derive(Clone, Debug)]
enum Act {
    Apply { table: TableId, kind: RowKind, row: Row, listed: Option<Vec<usize>> },
    Replace { table: TableId, rows: Vec<Row> },
}

/// A run of the simulation.
pub struct Simulation {
    /// The disk.
    pub fs: SimFileSystem,
    random: Random,
    store: Option<Store>,
    /// The model at every tick that may be found after a crash.
    history: BTreeMap<u64, Model>,
    /// What each source commit does, by commit; its position is its place in line.
    commits: BTreeMap<u64, Vec<Act>>,
    /// Source commits before the first of `commits` that the store has been seen to hold.
    position: u64,
    durable_tick: u64,
    durable_position: u64,
    next_stage: u64,
    keeps_log: bool,
    store_id: Option<u128>,
}

/// The machine or the disk has failed in the middle of something; the store has to be opened again.
#[derive(Debug)]
pub struct Stopped;

type Step<T = ()> = Result<T, Stopped>;

impl Simulation {
    /// A run whose every choice comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let fs = SimFileSystem::new(random.bits());
        let keeps_log = random.chance(0.5);
        Self {
            fs,
            random,
            store: None,
            history: BTreeMap::from([(0, Model::default())]),
            commits: BTreeMap::new(),
            position: 0,
            durable_tick: 0,
            durable_position: 0,
            next_stage: 0,
            keeps_log,
            store_id: None,
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
        let clock = Arc::new(ManualClock::new(1_700_000_000_000_000));
        let mut options = StoreOptions::new(DIR, Arc::new(self.fs.clone()), clock, self.random.bits());
        options.wal_file_bytes = WAL_FILE_BYTES;
        let store = match Store::open(options) {
            Ok(store) => store,
            Err(error) => return self.stopped(&error),
        };
        let snapshot = store.ordered_snapshot();
        let found = snapshot.commit().0;
        assert!(found >= self.durable_tick, "tick {found} is found, but {} was durable", self.durable_tick);
        let model = self.history.get(&found);
        model.unwrap_or_else(|| panic!("tick {found} was never ordered")).check(&snapshot);
        let position = store.source_position(SOURCE).map_or(0, |p| u64::from_le_bytes(p.position.try_into().unwrap()));
        assert!(position >= self.durable_position, "position {position}, but {} was durable", self.durable_position);
        let last = store.last_commit().0;
        let cut = snapshot.as_of().0;
        let pending = self.commits.keys().filter(|&&commit| commit > cut && commit <= last).count();
        assert_eq!(store.pending_count(), pending, "exactly the commits after the tick's cut wait");
        let held = self.commits.range(..=last).count() as u64;
        assert_eq!(position, held, "the source's position is that of its last commit");
        if self.durable_tick > 0 || self.durable_position > 0 {
            assert_eq!(self.store_id, Some(store.id()), "the store is still the same");
        }
        self.store_id = Some(store.id());
        self.history.split_off(&(found + 1));
        self.commits.split_off(&(last + 1));
        (self.durable_tick, self.durable_position, self.position) = (found, position, position);
        self.store = Some(store);
        Ok(())
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
            match self.random.below(20) {
                0..=5 => self.source_commit()?,
                6..=13 => self.tick()?,
                14..=17 => self.sync()?,
                18 => self.idle()?,
                _ => self.check(),
            }
        }
        Ok(())
    }

    /// Stops the machine, or only the process, and lets go of the store.
    pub fn crash(&mut self) {
        let killed = !self.fs.is_crashed() && self.random.chance(0.2);
        self.store = None;
        // A process that is killed leaves its writes in the system's memory.
        if killed {
            self.fs.clear_faults();
        } else {
            self.fs.restart();
        }
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    pub fn close(&mut self) -> Step {
        let Some(store) = self.store.take() else { return Ok(()) };
        let (tick, position) = (store.ordered_snapshot().commit().0, self.position);
        match store.close() {
            Ok(()) => {
                (self.durable_tick, self.durable_position) = (tick, position);
                Ok(())
            }
            Err(error) => self.stopped(&error),
        }
    }

    /// An error is right if the machine has stopped or the disk has failed; anything else is a defect.
    fn stopped<T>(&self, error: &gridhouse_base::Error) -> Step<T> {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        Err(Stopped)
    }

    /// What a failed operation means: the end, or nothing at all (a full disk, one failed write).
    fn refused(&mut self, error: &gridhouse_base::Error) -> Step {
        let is_usable = self.store.as_mut().is_some_and(|store| store.tick().is_ok());
        if self.fs.is_crashed() || !is_usable { self.stopped(error) } else { self.stopped::<()>(error).or(Ok(())) }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open")
    }

    /// Compares what readers see with the model.
    ///
    /// # Panics
    /// If it differs.
    pub fn check(&mut self) {
        let history = self.history.clone();
        let store = self.store();
        for snapshot in [store.ordered_snapshot(), store.reader().snapshot()] {
            history[&snapshot.commit().0].check(&snapshot);
        }
        let reader = store.reader();
        let (tick, position) = (reader.snapshot().commit().0, reader.source_position(SOURCE));
        assert_eq!(tick, self.durable_tick, "readers see the last durable tick");
        let position = position.map_or(0, |p| u64::from_le_bytes(p.position.try_into().unwrap()));
        assert_eq!(position, self.durable_position, "the durable position is the one that was synced");
    }

    fn sync(&mut self) -> Step {
        let store = self.store();
        let tick = store.ordered_snapshot().commit().0;
        match store.syncer().sync() {
            Ok(_) => {
                (self.durable_tick, self.durable_position) = (tick, self.position);
                Ok(())
            }
            Err(error) => {
                assert!(self.store().tick().is_err(), "a failed sync stops the store");
                self.stopped(&error)
            }
        }
    }

    fn idle(&mut self) -> Step {
        match self.store().note_idle() {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&error),
        }
    }

    fn latest(&self) -> Model {
        self.history.last_key_value().expect("there is a model").1.clone()
    }

    fn row(&mut self) -> Row {
        let load = self.random.chance(0.8).then(|| self.random.below(4) as i32);
        (self.random.below(24) as i64, Some((*self.random.pick(&NAMES)).to_string()), load)
    }

    fn rows(&mut self) -> Vec<Row> {
        let count = if self.random.chance(0.05) { 300 } else { 1 + self.random.below(8) };
        (0..count).map(|_| self.row()).collect()
    }

    /// Random rows for a source's part, with the columns that they have.
    fn part_rows(&mut self, table: &str) -> (Vec<Row>, Vec<RowKind>, Option<Vec<usize>>) {
        let rows = self.rows();
        let kinds = match table {
            "events" => vec![RowKind::Insert; rows.len()],
            _ => rows.iter().map(|_| *self.random.pick(&ALL_KINDS)).collect(),
        };
        let listed = match table {
            "keyed" if self.random.chance(0.3) => Some(vec![2, 0]),
            "named" if self.random.chance(0.3) => Some(vec![1, 0]),
            _ => None,
        };
        (rows, kinds, listed)
    }

    fn source_commit(&mut self) -> Step {
        let tables: Vec<String> = self.latest().tables.into_keys().collect();
        if tables.is_empty() {
            return Ok(());
        }
        let mut acts = Vec::new();
        let mut stages = Vec::new();
        if self.random.chance(0.25) {
            self.next_stage = self.next_stage % 3 + 1;
            let table = self.random.pick(&tables).clone();
            let replaces = table != "events" && self.random.chance(0.5);
            if let Some(staged) = self.stage(&table, replaces)? {
                let id = self.store().ordered_snapshot().table_named(&table).unwrap().id();
                stages.push((self.next_stage, if replaces { StageUse::Replace(id) } else { StageUse::Append }));
                acts.extend(staged);
            }
        }
        let mut parts = Vec::new();
        for _ in 0..self.random.below(4) {
            let table = self.random.pick(&tables).clone();
            let (rows, kinds, listed) = self.part_rows(&table);
            let id = self.store().ordered_snapshot().table_named(&table).unwrap().id();
            let batch = KindBatch::new(columns(&rows, listed.as_deref()), kinds.clone());
            parts.push(Part { table: id, batch, columns: listed.clone() });
            let act = |(row, kind)| Act::Apply { table: id, kind, row, listed: listed.clone() };
            acts.extend(rows.into_iter().zip(kinds).map(act));
        }
        let id = self.store().last_commit().next().0;
        let position = self.position + 1;
        let commit = SourceCommit {
            source: SOURCE,
            position: position.to_le_bytes().to_vec(),
            event_time_micros: position as i64,
            parts,
            stages,
        };
        self.commits.insert(id, acts);
        match self.store().append_source(commit) {
            Ok(commit) => {
                assert_eq!(commit.0, id);
                self.position = position;
                Ok(())
            }
            Err(error) => {
                self.refused(&error)?;
                self.commits.remove(&id);
                Ok(())
            }
        }
    }

    /// Stages rows for `table`; `None` if the disk did not take them all.
    fn stage(&mut self, table: &str, replaces: bool) -> Step<Option<Vec<Act>>> {
        let stage = self.next_stage;
        // The number may be in use by a stage that was given up.
        if let Err(error) = self.store().drop_stage(stage) {
            self.refused(&error)?;
            return Ok(None);
        }
        let id = self.store().ordered_snapshot().table_named(table).unwrap().id();
        let mut all = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let rows = self.rows();
            let batch = KindBatch::new(columns(&rows, None), vec![RowKind::Insert; rows.len()]);
            if let Err(error) = self.store().stage(stage, Part::new(id, batch)) {
                self.refused(&error)?;
                return Ok(None);
            }
            all.extend(rows);
        }
        if self.random.chance(0.2) {
            return Ok(None);
        }
        if replaces {
            return Ok(Some(vec![Act::Replace { table: id, rows: all }]));
        }
        let act = |row| Act::Apply { table: id, kind: RowKind::Insert, row, listed: None };
        Ok(Some(all.into_iter().map(act).collect()))
    }

    /// A tick of random contents, published, dropped or refused.
    fn tick(&mut self) -> Step {
        let mut store = self.store.take().expect("the store is open");
        let result = self.tick_on(&mut store);
        self.store = Some(store);
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&error),
        }
    }

    fn tick_on(&mut self, store: &mut Store) -> gridhouse_base::Result<()> {
        let mut model = self.latest();
        let mut tick = store.tick()?;
        let commit = tick.commit().0;
        if model.tables.len() < TABLES.len() && self.random.chance(0.8) {
            self.create_table(&mut tick, &mut model)?;
        }
        if self.random.chance(0.8) {
            self.apply_pending(&mut tick, &mut model)?;
        }
        for _ in 0..self.random.below(4) {
            self.write(&mut tick, &mut model)?;
        }
        while self.random.chance(0.3) {
            let key = self.random.below(5).to_string();
            let value = self.random.chance(0.7).then(|| format!("{{\"n\":{}}}", self.random.below(1000)));
            tick.put(SPACE, &key, value.as_deref());
            match value {
                Some(value) => drop(model.meta.insert(key, value)),
                None => drop(model.meta.remove(&key)),
            }
        }
        if self.random.chance(0.03) && !model.tables.is_empty() {
            let name = self.random.pick(&model.tables.keys().cloned().collect::<Vec<_>>()).clone();
            tick.drop_table(tick.table_id(&name).unwrap())?;
            model.tables.remove(&name);
        }
        if self.random.chance(0.1) {
            return Ok(());
        }
        let before = self.history.last_key_value().map(|(commit, model)| (*commit, model.clone()));
        self.history.insert(commit, model);
        match tick.publish() {
            Ok(published) => {
                if published.0 != commit {
                    // Nothing had changed, so there is no such tick.
                    let nothing = self.history.remove(&commit);
                    assert_eq!(
                        before,
                        nothing.map(|model| (published.0, model)),
                        "a tick without effect changes nothing"
                    );
                }
                Ok(())
            }
            Err(error) => {
                if !self.fs.is_crashed() {
                    self.history.remove(&commit);
                }
                Err(error)
            }
        }
    }

    fn create_table(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        let missing: Vec<&str> = TABLES.into_iter().filter(|name| !model.tables.contains_key(*name)).collect();
        let name = *self.random.pick(&missing);
        let id = tick.create_table(spec(name))?;
        if self.keeps_log {
            tick.set_cursor("replica", id, CommitId(0))?;
        }
        model.tables.insert(name.to_string(), ModelTable::new(name, id));
        Ok(())
    }

    fn apply_pending(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        let before = model.clone();
        let limit = if self.random.chance(0.5) { usize::MAX } else { 1 + self.random.below(5) as usize };
        let mut changes = Vec::new();
        while let Some(step) = tick.apply_step(limit)? {
            changes.extend(step.changes.into_iter().map(|change| (change.table, change.rows)));
        }
        let waiting: Vec<u64> =
            self.commits.range(model.as_of + 1..tick.commit().0).map(|(commit, _)| *commit).collect();
        for commit in waiting {
            for act in &self.commits[&commit] {
                match act {
                    Act::Apply { table, kind, row, listed } => {
                        if let Some(table) = model.tables.values_mut().find(|other| other.id == *table) {
                            table.apply(*kind, row, listed.as_deref());
                        }
                    }
                    Act::Replace { table, rows } => {
                        if let Some(table) = model.tables.values_mut().find(|other| other.id == *table) {
                            table.replace(rows);
                        }
                    }
                }
            }
            model.as_of = commit;
        }
        assert_eq!(tick.as_of().0, model.as_of);
        for (name, table) in &model.tables {
            let id = tick.table_id(name).unwrap();
            let mut followed = before.tables[name].clone();
            changes.iter().filter(|change| change.0 == id).for_each(|change| followed.follow(&change.1));
            assert_rows(
                &followed.sorted(),
                &table.sorted(),
                &format!("the effective change of {name} leads to its rows"),
            );
        }
        Ok(())
    }

    /// Writes random rows to a random table, and checks what it is said to have come to.
    fn write(&mut self, tick: &mut Tick<'_>, model: &mut Model) -> gridhouse_base::Result<()> {
        if model.tables.is_empty() {
            return Ok(());
        }
        let name = self.random.pick(&model.tables.keys().cloned().collect::<Vec<_>>()).clone();
        let id = tick.table_id(&name).unwrap();
        let table = model.tables.get_mut(&name).unwrap();
        let mut followed = table.clone();
        let rows = self.rows();
        let choice = self.random.below(20);
        let effect = if choice == 0 {
            table.truncate();
            tick.truncate(id)?
        } else if choice < 6 && name == "keyed" {
            rows.iter().for_each(|row| table.apply(RowKind::Insert, row, Some(&[0, 2])));
            let batch = KindBatch::new(columns(&rows, Some(&[0, 2])), vec![RowKind::Insert; rows.len()]);
            tick.upsert_columns(id, &[0, 2], &batch)?
        } else {
            let weight = |random: &mut Random| {
                if name == "events" { random.below(3) as i32 } else { random.between(-1, 1) as i32 }
            };
            let change: Vec<(i32, Row)> = rows.into_iter().map(|row| (weight(&mut self.random), row)).collect();
            let change: Vec<(i32, Row)> = change.into_iter().filter(|change| change.0 != 0).collect();
            table.write(&change);
            let rows: Vec<Row> = change.iter().map(|change| change.1.clone()).collect();
            let diff: Int32Array = change.iter().map(|change| change.0).collect();
            tick.write(id, &ChangeBatch::new(columns(&rows, None), rows.len(), Some(diff)))?
        };
        followed.follow(&effect);
        assert_rows(&followed.sorted(), &table.sorted(), &format!("the effective change of {name} leads to its rows"));
        if self.random.chance(0.1) {
            check_table(&tick.table(id)?, table);
        }
        Ok(())
    }
}

const ALL_KINDS: [RowKind; 6] = [
    RowKind::Insert,
    RowKind::UpdateAfter,
    RowKind::UpdateAfter,
    RowKind::Insert,
    RowKind::UpdateBefore,
    RowKind::Delete,
];

/// The log files of the simulated directory.
pub fn log_files(fs: &SimFileSystem) -> Vec<(std::path::PathBuf, usize)> {
    let is_log = |path: &Path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("LOCK"));
    fs.files().into_iter().filter(|(path, _)| is_log(path)).collect()
}
