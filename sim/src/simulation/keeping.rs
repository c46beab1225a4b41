//! Segments, checkpoints and what is kept with them: the keeper's work, one piece at a time, and following the log's end after
//! a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, TableId};
use gridhouse_store::{Attached, Attaching, Attachment, Follow, Limits, Snapshot, TableKind};

use super::{Simulation, Step};
use crate::model::{Model, ModelTable, assert_rows};

/// What is attached begins with the commit and the number of earlier files that are needed, 8 bytes each, and their numbers; the
/// rest repeats the commit's lowest byte.
const MAX_ATTACHED_BYTES: u64 = 5000;

/// The most earlier files that are named.
pub(crate) const MOST_EARLIER: usize = 3;

/// The commit of a tick that is followed, as long as it is not known: later than all others.
const UNDER_WAY: u64 = u64::MAX;

/// Limits so small that a few steps cross them.
pub(super) fn draw_limits(random: &mut Random) -> Limits {
    Limits {
        checkpoint_log_bytes: *random.pick(&[600, 2_000, 6_000]),
        index_bytes: *random.pick(&[0, 400, 3_000, 1 << 20]),
        compaction_bytes_per_second: 0,
        compaction_factor: *random.pick(&[2, 3, 8]),
        group_rows: *random.pick(&[2, 16, 65_536]),
        tick_piece_bytes: *random.pick(&[1, 300, 8 << 20]),
        tick_bytes: *random.pick(&[0, 200, 1_000, 1 << 20]),
    }
}

/// Limits for large tables: groups and chunks as they really are, or groups that end within a chunk.
pub(super) fn draw_wide_limits(random: &mut Random) -> Limits {
    Limits {
        checkpoint_log_bytes: *random.pick(&[200_000, 1_000_000]),
        index_bytes: *random.pick(&[0, 200_000, 1 << 20]),
        group_rows: *random.pick(&[10_000, 65_536]),
        tick_piece_bytes: *random.pick(&[100_000, 8 << 20]),
        tick_bytes: *random.pick(&[50_000, 1 << 30]),
        ..draw_limits(random)
    }
}

impl Simulation {
    /// The writer takes what the keeper has done, and lays out what is due.
    pub(super) fn maintain(&mut self) -> Step {
        let mut attach = self.attachment();
        let result = self.store().maintain(&mut || attach.take());
        self.tell(|| format!("maintain: {result:?}"));
        self.observe();
        // Where the keeper was far behind, its work has been done here.
        self.learn_durable();
        if let Err(error) = result {
            self.refused(&error)?;
        }
        self.take_trouble()
    }

    /// The keeper does what was laid out.
    pub(super) fn work(&mut self) -> Step {
        let worked = self.store().keeper().work();
        self.tell(|| format!("the keeper works: {worked}"));
        self.learn_durable();
        Ok(())
    }

    /// A checkpoint at once.
    pub(super) fn checkpoint(&mut self) -> Step {
        self.tell(|| "checkpoint".into());
        let mut attach = self.attachment();
        let result = self.store().checkpoint(&mut || attach.take());
        self.observe();
        if let Err(error) = result {
            self.refused(&error)?;
        }
        self.learn_durable();
        self.take_trouble()
    }

    /// Lets the store and its keeper do all that is due.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    pub fn settle(&mut self) -> Step {
        self.tell(|| "settle".into());
        loop {
            let mut attach = self.attachment();
            let has_maintained = match self.store().maintain(&mut || attach.take()) {
                Ok(has_maintained) => has_maintained,
                Err(error) => return self.stopped(&error),
            };
            self.observe();
            let has_worked = self.store().keeper().work();
            self.learn_durable();
            if !has_maintained && !has_worked {
                return self.take_trouble();
            }
        }
    }

    /// Ends everything that holds the log: stages, commits that wait; then makes a checkpoint and settles.
    ///
    /// # Errors
    /// `Stopped` if the machine stops.
    pub fn tidy_up(&mut self) -> Step {
        for stage in std::mem::take(&mut self.stages).into_keys() {
            if let Err(error) = self.store().drop_stage(stage) {
                return self.stopped(&error);
            }
        }
        let before = self.store().ordered_snapshot().commit();
        while self.store().pending_count() > 0 || self.store().ordered_snapshot().commit() == before {
            self.tick()?;
        }
        self.checkpoint()?;
        self.settle()
    }

    /// What the keeper could not do, it could not do for a reason.
    fn take_trouble(&mut self) -> Step {
        match self.store().take_trouble() {
            Some(error) => self.refused(&error),
            None => Ok(()),
        }
    }

    pub(super) fn attachment(&mut self) -> Option<Attachment> {
        if !self.attaches || self.random.chance(0.1) {
            return None;
        }
        let commit = self.store.as_ref()?.ordered_snapshot().commit().0;
        let (more, seed) = (self.random.below(MAX_ATTACHED_BYTES) as usize, self.random.bits());
        // In pieces, as whoever writes a state does.
        Some(Box::new(move |Attaching { number, earlier, out }| {
            assert!(earlier.numbers().all(|other| other < number), "checkpoint {number} comes after {earlier:?}");
            let mut random = Random::new(seed);
            let mut needed: Vec<u64> = earlier.numbers().filter(|_| random.chance(0.7)).collect();
            needed.drain(..needed.len().saturating_sub(MOST_EARLIER));
            attached(commit, &needed, more)
                .chunks(700)
                .try_for_each(|chunk| out.write_all(chunk))
                .map_err(|error| Error::unavailable("could not write what is attached").caused_by(error))?;
            Ok(BTreeSet::from_iter(needed))
        }))
    }
}

fn attached(commit: u64, needed: &[u64], more: usize) -> Vec<u8> {
    let numbers = [commit, needed.len() as u64].into_iter().chain(needed.iter().copied());
    let mut bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    bytes.resize(bytes.len() + more, commit as u8);
    bytes
}

/// Checks that all files are there as they were given, and gives the commit of the last one.
fn commit_of(files: &Attached) -> u64 {
    let mut last = 0;
    for number in files.numbers() {
        let bytes = files.file(number).expect("a file that is listed is there");
        let number_at = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
        let (commit, count) = (number_at(0), number_at(1) as usize);
        let needed: Vec<u64> = (2..2 + count).map(number_at).collect();
        assert_eq!(bytes, attached(commit, &needed, bytes.len() - 8 * (2 + count)), "a file is as it was given");
        if Some(number) == files.number() {
            let others: Vec<u64> = files.numbers().filter(|other| *other != number).collect();
            assert_eq!(others, needed, "the earlier files that it needs are there, and no others");
            last = commit;
        }
    }
    last
}

/// Follows the ticks of the log's end and holds each against the model of its tick.
pub(super) struct Follower {
    history: BTreeMap<u64, Arc<Model>>,
    /// The last tick that it has seen.
    pub commit: u64,
    /// The tables' rows at that tick, and as the one after it has left them so far.
    then: BTreeMap<TableId, ModelTable>,
    now: BTreeMap<TableId, ModelTable>,
}

impl Follower {
    /// Begins at a checkpoint with what was attached to it.
    pub fn begin(
        history: &BTreeMap<u64, Arc<Model>>,
        snapshot: &Snapshot,
        files: &Attached,
        seed: u64,
    ) -> Result<Self> {
        let commit = snapshot.commit().0;
        assert_eq!(commit_of(files), commit, "what is attached is of the checkpoint's commit");
        let model = history.get(&commit).unwrap_or_else(|| panic!("a checkpoint of {commit}, which was never ordered"));
        model.check(snapshot, &mut Random::new(seed))?;
        let now: BTreeMap<_, _> = model.tables.values().map(|table| (table.id, ModelTable::clone(table))).collect();
        Ok(Self { history: history.clone(), commit, then: now.clone(), now })
    }

    fn table(&mut self, id: TableId) -> Option<&mut ModelTable> {
        if !self.now.contains_key(&id) {
            // The tick has made it; which one it is, some model knows.
            let mut models = self.history.values().flat_map(|model| &model.tables);
            let name = models.find(|(_, table)| table.id == id)?.0;
            self.now.insert(id, ModelTable::new(name, id));
        }
        self.now.get_mut(&id)
    }
}

impl Follow for Follower {
    fn change(&mut self, table: TableId, change: &ChangeBatch) -> Result<()> {
        if let Some(table) = self.table(table) {
            table.follow(UNDER_WAY, change);
        }
        Ok(())
    }

    fn restored(&mut self, table: TableId) -> Result<()> {
        if let Some(before) = self.then.get(&table) {
            self.now.insert(table, before.clone());
        }
        Ok(())
    }

    fn tick(&mut self, commit: CommitId, as_of: CommitId, time_micros: i64) -> Result<()> {
        let model = self.history.get(&commit.0).unwrap_or_else(|| panic!("tick {commit} was never ordered"));
        assert_eq!((as_of.0, time_micros), (model.as_of, model.time_micros), "tick {commit} is what it was");
        let tables: Vec<_> = model.tables.clone().into_iter().collect();
        for (name, table) in tables {
            let followed = self.table(table.id).expect("the table is in a model");
            if let Some(entries) = followed.log.remove(&UNDER_WAY) {
                followed.log.insert(commit.0, entries);
            }
            // That rows expire is no change.
            if table.kind == TableKind::Log {
                followed.trim(table.begins);
            }
            let what = format!("the changes of tick {commit} lead to the rows of {name}");
            assert_rows(&followed.sorted(), &table.sorted(), &what);
        }
        self.commit = commit.0;
        self.then = self.now.clone();
        Ok(())
    }
}
