//! What sources do: commits of random parts, and stages that grow over several steps.

use std::sync::Arc;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::{RowKind, SourceId, TableId};
use gridhouse_store::{Part, SourceCommit, StageUse};

use super::{SOURCES, Simulation, Step};
use crate::model::{Entry, Model, QUEUE, columns};

/// Stages have numbers from 1 to this, used again and again.
const STAGES: u64 = 4;

/// A source's commit, as the model has to apply it.
#[derive(Clone, Debug)]
pub(super) struct SourceStep {
    pub source: SourceId,
    pub acts: Arc<Vec<Act>>,
}

/// One thing that a source commit does to the model. A table that is not there any more takes nothing.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A part is applied.
    Apply { table: TableId, part: Vec<Entry>, listed: Option<Vec<usize>> },
    /// What a replaced table has beside the rows of these parts is deleted.
    DeleteOthers { table: TableId, parts: Vec<Vec<Entry>> },
}

/// How a tick takes in what waits: some rows at a time, whatever part or commit they belong to. Where a part is cut, a key
/// that is on both sides has two entries.
pub(super) struct Steps {
    limit: usize,
    left: usize,
}

impl Steps {
    pub fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    /// How many of `rows` rows still belong to this step; they are taken.
    fn take(&mut self, rows: usize) -> usize {
        let taken = rows.min(self.left);
        self.left -= taken;
        if self.left == 0 {
            self.left = self.limit;
        }
        taken
    }
}

impl Act {
    pub fn table(&self) -> TableId {
        match self {
            Self::Apply { table, .. } | Self::DeleteOthers { table, .. } => *table,
        }
    }

    pub fn apply(&self, commit: u64, model: &mut Model, steps: &mut Steps) {
        let Some(target) = model.table_mut(self.table()) else { return };
        match self {
            Self::Apply { part, listed, .. } => {
                let mut rest = part.as_slice();
                while !rest.is_empty() {
                    let (piece, others) = rest.split_at(steps.take(rest.len()));
                    target.apply(commit, piece, listed.as_deref());
                    rest = others;
                }
            }
            Self::DeleteOthers { parts, .. } => {
                let mut gone = target.delete_others(commit, parts);
                while gone > 0 {
                    gone -= steps.take(gone);
                }
            }
        }
    }
}

/// Rows of a stage that is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    parts: Vec<(TableId, Vec<Entry>)>,
    /// The table that the stage is going to replace; its rows there are all insertions.
    replaces: Option<TableId>,
}

const ALL_KINDS: [RowKind; 6] = [
    RowKind::Insert,
    RowKind::UpdateAfter,
    RowKind::UpdateAfter,
    RowKind::Insert,
    RowKind::UpdateBefore,
    RowKind::Delete,
];

impl Simulation {
    /// A table that exists, by name and id.
    fn any_table(&mut self) -> Option<(String, TableId)> {
        let tables: Vec<(String, TableId)> =
            self.latest().tables.iter().map(|(name, table)| (name.clone(), table.id)).collect();
        (!tables.is_empty()).then(|| self.random.pick(&tables).clone())
    }

    fn entries(&mut self, table: &str) -> Vec<Entry> {
        let rows = self.rows();
        let is_log = table == "events" || table == QUEUE;
        let kind = |row| (if is_log { RowKind::Insert } else { *self.random.pick(&ALL_KINDS) }, row);
        rows.into_iter().map(kind).collect()
    }

    /// Random rows for a source's part, with the columns that they have.
    fn part(&mut self, table: &str) -> (Vec<Entry>, Option<Vec<usize>>) {
        let listed = match table {
            "keyed" if self.random.chance(0.3) => Some(vec![2, 0]),
            "named" if self.random.chance(0.3) => Some(vec![1, 0]),
            _ => None,
        };
        (self.entries(table), listed)
    }

    /// Opens a stage, adds to one, or gives one up.
    pub(super) fn stage(&mut self) -> Step {
        let stage = 1 + self.random.below(STAGES);
        if self.stages.contains_key(&stage) && self.random.chance(0.1) {
            self.tell(|| format!("drop stage {stage}"));
            return match self.store().drop_stage(stage) {
                Ok(()) => {
                    self.stages.remove(&stage);
                    Ok(())
                }
                Err(error) => self.refused(&error),
            };
        }
        let Some((name, mut table)) = self.any_table() else { return Ok(()) };
        let is_new = !self.stages.contains_key(&stage);
        let mut part = self.entries(&name);
        let replaces = match self.stages.get(&stage) {
            Some(staged) => staged.replaces,
            None => (name != "events" && name != QUEUE && self.random.chance(0.5)).then_some(table),
        };
        if let Some(replaced) = replaces
            && (is_new || self.random.chance(0.7))
        {
            // The table may be gone by now; then the store refuses the rows, and the stage goes another way.
            if self.latest().tables.values().any(|other| other.id == replaced) {
                (table, part) = (replaced, self.insertions());
            }
        } else if replaces == Some(table) {
            part = self.insertions();
        }
        self.tell(|| format!("stage {stage}: {} rows for table {table}", part.len()));
        match self.store().stage(stage, store_part(table, &part, None)) {
            Ok(()) => {
                let staged = self.stages.entry(stage).or_default();
                staged.replaces = replaces;
                staged.parts.push((table, part));
                Ok(())
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A commit of a source, with some parts of its own and now and then a stage or two.
    pub(super) fn source_commit(&mut self) -> Step {
        let mut acts = Vec::new();
        let mut stages = Vec::new();
        let mut used = Vec::new();
        while !self.stages.is_empty() && self.random.chance(0.3) {
            let numbers: Vec<u64> = self.stages.keys().copied().filter(|number| !used.contains(number)).collect();
            if numbers.is_empty() {
                break;
            }
            let number = *self.random.pick(&numbers);
            used.push(number);
            let (stage_use, own) = self.use_of(number);
            stages.push((number, stage_use));
            acts.extend(own);
        }
        let mut parts = Vec::new();
        for _ in 0..self.random.below(4) {
            let Some((name, table)) = self.any_table() else { break };
            let (part, listed) = self.part(&name);
            parts.push(store_part(table, &part, listed.as_deref()));
            acts.push(Act::Apply { table, part, listed });
        }
        let id = self.store().last_commit().next().0;
        let source = *self.random.pick(&SOURCES);
        let position = self.positions.get(&source).copied().unwrap_or_default() + 1;
        self.tell(|| format!("{source} commits {id}: {} parts, stages {used:?}", parts.len()));
        let commit = SourceCommit {
            source,
            position: position.to_le_bytes().to_vec(),
            event_time_micros: position as i64,
            parts,
            stages,
        };
        self.commits.insert(id, SourceStep { source, acts: Arc::new(acts) });
        match self.store().append_source(commit) {
            Ok(commit) => {
                assert_eq!(commit.0, id);
                self.positions.insert(source, position);
                used.iter().for_each(|number| drop(self.stages.remove(number)));
                Ok(())
            }
            Err(error) => {
                self.refused(&error)?;
                self.commits.remove(&id);
                Ok(())
            }
        }
    }

    /// How a commit uses stage `number`, and what that does.
    fn use_of(&self, number: u64) -> (StageUse, Vec<Act>) {
        let staged = &self.stages[&number];
        let exists = |id: TableId| self.latest().tables.values().any(|table| table.id == id);
        let replaced = staged.replaces.filter(|&id| exists(id));
        let own =
            |(table, part): &(TableId, Vec<Entry>)| Act::Apply { table: *table, part: part.clone(), listed: None };
        let mut acts: Vec<Act> = staged.parts.iter().map(own).collect();
        let Some(table) = replaced else { return (StageUse::Append, acts) };
        let kept = staged.parts.iter().filter(|part| part.0 == table).map(|(_, part)| part.clone()).collect();
        acts.push(Act::DeleteOthers { table, parts: kept });
        (StageUse::Replace(table), acts)
    }
}

/// Rows as the store takes them.
fn store_part(table: TableId, part: &[Entry], listed: Option<&[usize]>) -> Part {
    let rows: Vec<_> = part.iter().map(|(_, row)| row.clone()).collect();
    let kinds: Vec<RowKind> = part.iter().map(|(kind, _)| *kind).collect();
    let batch = KindBatch::new(columns(&rows, listed), kinds);
    Part { table, batch, columns: listed.map(<[usize]>::to_vec) }
}
