//! Jobs on their way from a checkpoint to the last tick: their kept states take part in the ticks that the store reads again.
//!
//! Every running job's operators are built as of the checkpoint and thawed. What a tick has done to their inputs goes through
//! them; what they give out is not written, since the log holds it, but compared with it by an order-free sum. A job that
//! gives out anything else, that would have to ask the outside again, or that was changed meanwhile has lost the thread: it
//! is rebuilt, and says why. Each job is followed alone, since what the jobs before it wrote stands in the log too.
//!
//! What a tick did is told in the pieces in which it was done, so that rows which are judged late by what they came with are
//! judged again as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::Int32Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int8Type;
use gridhouse_base::batch::RowKind;
use gridhouse_base::clock::Clock;
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, CommitId, Error, JobId, Result, SourceId, TableId};
use gridhouse_flow::{Governor, HashMode, Piece, RowSum, TickContext};
use gridhouse_store::{AppliedRows, Attached, Follow, Snapshot};

use crate::awaiting::LastAway;
use crate::boot::{bind_in, read_catalog};
use crate::catalog::Catalog;
use crate::history::History;
use crate::job::Flow;
use crate::kept::{InsertKey, states};
use crate::lower::{Ground, Lowered, lower};
use crate::prepare::{Connectors, Prepared, Route};
use crate::query::zone_of;
use crate::records::{InsertRecord, JOBS, JobRecord, JobState, STREAMS, StreamRecord, decode};
use crate::wiring::known_target;

/// The table of metadata, which always exists.
const METADATA: TableId = TableId(0);

/// The most rows of one tick that a job is followed through: their columns are in memory at once, some hundreds of megabytes
/// at a hundred bytes a row. A job with a larger tick is rebuilt.
const MOST_ROWS: usize = 4_000_000;

/// What jobs are followed with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) connectors: Connectors,
    pub(crate) away: LastAway,
    pub(crate) hash: HashMode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) governor: Arc<Governor>,
}

/// The jobs that are followed.
pub(crate) struct Follower {
    flows: BTreeMap<InsertKey, Followed>,
    lost: BTreeMap<JobId, String>,
    governor: Arc<Governor>,
    /// The tables that the tick has changed so far.
    changed: BTreeSet<TableId>,
}

/// What became of the kept states.
#[derive(Default)]
pub(crate) struct Kept {
    /// Operators as the last tick has left them.
    pub(crate) flows: BTreeMap<InsertKey, Flow>,
    /// Why jobs are rebuilt.
    pub(crate) lost: BTreeMap<JobId, String>,
}

impl Kept {
    /// What was kept of a job's `INSERT`s, by their place, or why nothing was.
    pub(crate) fn take(&mut self, job: JobId) -> (BTreeMap<usize, Flow>, Option<String>) {
        let mut flows = self.flows.split_off(&(job, 0));
        let mut others = flows.split_off(&(JobId(job.0 + 1), 0));
        self.flows.append(&mut others);
        let lost = self.lost.remove(&job);
        (flows.into_iter().map(|((_, insert), flow)| (insert, flow)).collect(), lost)
    }
}

/// The operators of one `INSERT`.
struct Followed {
    flow: Flow,
    /// Whether look-ups outside are refused.
    refuses: Arc<AtomicBool>,
    /// Sums up what the target gets, where nobody else writes into it.
    sum: Option<RowSum>,
    /// The sum of what the tick did to the target.
    written: u128,
    /// The tick's changes of the inputs.
    waiting: Vec<(usize, ChangeBatch, Piece)>,
    rows: usize,
}

impl Follower {
    /// Builds the jobs of a checkpoint's `snapshot` and thaws what was kept of them.
    ///
    /// # Errors
    /// `Corrupt` where a record or what is attached cannot be read; `Conflict` where another version wrote it.
    pub(crate) fn begin(snapshot: &Snapshot, attached: &Attached, means: &Means) -> Result<Self> {
        let mut kept = states(attached)?;
        let catalog = read_catalog(snapshot)?;
        let mut streams: BTreeMap<SourceId, StreamRecord> = BTreeMap::new();
        for (key, text) in snapshot.list(STREAMS) {
            let record: StreamRecord = decode(STREAMS, &key, &text)?;
            streams.insert(record.id, record);
        }
        let mut records: Vec<JobRecord> = Vec::new();
        for (key, text) in snapshot.list(JOBS) {
            records.push(decode(JOBS, &key, &text)?);
        }
        let mut follower = Self {
            flows: BTreeMap::new(),
            lost: BTreeMap::new(),
            governor: means.governor.clone(),
            changed: BTreeSet::new(),
        };
        let ground = World { catalog: &catalog, streams: &streams, records: &records, means };
        for record in records.iter().filter(|record| record.state == JobState::Running) {
            let mine: BTreeMap<usize, Vec<&[u8]>> =
                kept.extract_if(.., |(job, _), _| *job == record.id).map(|((_, i), parts)| (i, parts)).collect();
            match ground.thaw(record, &mine) {
                Ok(flows) => follower.flows.extend(flows.into_iter().map(|(i, flow)| ((record.id, i), flow))),
                Err(error) => follower.lose(record.id, &error.to_string()),
            }
            follower.relieve();
        }
        Ok(follower)
    }

    fn lose(&mut self, job: JobId, why: &str) {
        self.flows.retain(|(other, _), _| *other != job);
        self.lost.entry(job).or_insert_with(|| why.to_owned());
    }

    /// Lets state leave memory where that is short; what cannot be written stays.
    fn relieve(&mut self) {
        if !self.governor.choose() {
            return;
        }
        for followed in self.flows.values_mut() {
            if let Err(error) = followed.flow.dataflow.relieve() {
                tracing::warn!("state cannot be spilled: {error}");
            }
        }
    }

    /// The jobs at the last tick; from now on they may ask the outside.
    pub(crate) fn end(self) -> Kept {
        let flow = |(key, followed): (InsertKey, Followed)| {
            followed.refuses.store(false, Ordering::Relaxed);
            (key, followed.flow)
        };
        Kept { flows: self.flows.into_iter().map(flow).collect(), lost: self.lost }
    }
}

impl Follower {
    /// Takes what a tick did to a table.
    fn take(&mut self, table: TableId, change: &ChangeBatch, piece: Piece) {
        self.changed.insert(table);
        if table == METADATA {
            for job in changed_jobs(change) {
                self.lose(job, "it was changed after its state was kept");
            }
            return;
        }
        let mut lost = Vec::new();
        for ((job, _), followed) in &mut self.flows {
            if let Err(why) = followed.take(table, change, piece) {
                lost.push((*job, why.to_string()));
            }
        }
        lost.iter().for_each(|(job, why)| self.lose(*job, why));
    }
}

impl Follow for Follower {
    fn change(&mut self, table: TableId, change: &ChangeBatch) -> Result<()> {
        // All that jobs and statements write into a table in one tick belongs together, as in [`crate::deltas`].
        let piece = Piece { continues: self.changed.contains(&table), goes_on: false };
        self.take(table, change, piece);
        Ok(())
    }

    fn applied(&mut self, applied: &AppliedRows) -> Result<()> {
        let piece = Piece { continues: applied.continues, goes_on: applied.goes_on };
        self.take(applied.table, &applied.rows, piece);
        Ok(())
    }

    fn restored(&mut self, table: TableId) -> Result<()> {
        self.changed.remove(&table);
        self.flows.values_mut().for_each(|followed| followed.forget(table));
        Ok(())
    }

    fn tick(&mut self, commit: CommitId, _as_of: CommitId, time_micros: i64) -> Result<()> {
        self.changed.clear();
        let mut lost = Vec::new();
        for ((job, _), followed) in &mut self.flows {
            if let Err(why) = followed.tick(time_micros) {
                lost.push((*job, format!("at commit {}: {why}", commit.0)));
            }
        }
        lost.iter().for_each(|(job, why)| self.lose(*job, why));
        self.relieve();
        Ok(())
    }
}

/// The jobs whose records changed.
fn changed_jobs(change: &ChangeBatch) -> BTreeSet<JobId> {
    let text = |column: usize, row: usize| change.column(column).as_string_opt::<i32>().map(|texts| texts.value(row));
    let job = |row: usize| {
        let (space, key) = (text(0, row)?, text(1, row)?);
        if space == JOBS { key.parse().ok().map(JobId) } else { None }
    };
    (0..change.len()).filter_map(job).collect()
}

impl Followed {
    /// Takes what a tick did to a table.
    fn take(&mut self, table: TableId, change: &ChangeBatch, piece: Piece) -> Result<()> {
        if table == self.flow.target.table
            && let Some(sum) = &self.sum
        {
            let change = if self.flow.target.kinds_inside { without_kinds(change)? } else { change.clone() };
            self.written = self.written.wrapping_add(sum.of(&change)?);
        }
        for (i, input) in self.flow.inputs.iter().enumerate().filter(|(_, input)| input.table == table) {
            self.rows += change.len();
            if self.rows > MOST_ROWS {
                return Err(Error::conflict(format!("a tick with more than {MOST_ROWS} rows is not followed")));
            }
            self.waiting.push((i, change.project(&input.columns), piece));
        }
        Ok(())
    }

    /// Forgets what the tick did to a table.
    fn forget(&mut self, table: TableId) {
        if table == self.flow.target.table {
            self.written = 0;
        }
        let inputs = &self.flow.inputs;
        self.waiting.retain(|(input, ..)| inputs[*input].table != table);
    }

    /// Ends the tick; what comes out must be what was written.
    fn tick(&mut self, now_micros: i64) -> Result<()> {
        let written = std::mem::take(&mut self.written);
        self.rows = 0;
        let mut given = 0_u128;
        if !self.waiting.is_empty() {
            for (input, batch, piece) in std::mem::take(&mut self.waiting) {
                self.flow.push(input, batch, piece)?;
            }
            let context = TickContext { now_micros, zone: self.flow.zone };
            let (out, _) = self.flow.finish(&context)?;
            for batch in &out {
                if let Some(sum) = &self.sum {
                    given = given.wrapping_add(sum.of(batch)?);
                }
            }
        }
        if self.sum.is_some() && given != written {
            return Err(Error::conflict(format!("it gives out other rows than {} got", self.flow.target.name)));
        }
        Ok(())
    }
}

/// Changes that are kept as rows, with their kind in the last column, as changes.
fn without_kinds(change: &ChangeBatch) -> Result<ChangeBatch> {
    let odd = || Error::internal("a log of changes has no column of kinds");
    let (kinds, columns) = change.columns().split_last().ok_or_else(odd)?;
    let kinds = kinds.as_primitive_opt::<Int8Type>().ok_or_else(odd)?;
    let weight = |row: usize| {
        let sign = if kinds.value(row) == RowKind::Insert as u8 as i8 { 1 } else { -1 };
        sign * change.weight(row)
    };
    let weights: Int32Array = (0..change.len()).map(weight).collect::<Vec<_>>().into();
    Ok(ChangeBatch::new(columns.to_vec(), change.len(), Some(weights)))
}

/// What jobs were built upon when the checkpoint was made.
struct World<'a> {
    catalog: &'a Catalog,
    streams: &'a BTreeMap<SourceId, StreamRecord>,
    records: &'a [JobRecord],
    means: &'a Means,
}

impl World<'_> {
    /// The operators of a job, with what was kept of them. All of them or none.
    fn thaw(&self, record: &JobRecord, kept: &BTreeMap<usize, Vec<&[u8]>>) -> Result<BTreeMap<usize, Followed>> {
        let mut flows = BTreeMap::new();
        let prepared = bind_in(self.catalog, self.streams.values().collect(), record)?;
        for (i, (insert, known)) in prepared.iter().zip(&record.inserts).enumerate() {
            let is_flow = matches!(insert.route, Route::Flow) || known.outbox.is_some();
            if !is_flow {
                continue;
            }
            let parts = kept.get(&i).ok_or_else(|| Error::not_found("its state was not kept"))?;
            let mut followed = self.build(record, i, insert, known)?;
            followed.flow.dataflow.thaw_parts(parts)?;
            flows.insert(i, followed);
        }
        Ok(flows)
    }

    fn build(&self, record: &JobRecord, i: usize, insert: &Prepared, known: &InsertRecord) -> Result<Followed> {
        let zone = zone_of(&record.environment.settings)?;
        let landed = |path: &ObjectPath| {
            let used = known.sources.iter().find(|used| used.path == *path)?;
            let stream = self.streams.get(&used.source)?;
            Some(stream.tables.iter().find(|table| table.id == used.table)?.landing)
        };
        let table_of = |path: &ObjectPath| landed(path).or_else(|| self.catalog.table_id(path));
        let target = known_target(self.catalog, insert, known)?;
        let refuses = Arc::new(AtomicBool::new(true));
        let ground = Ground {
            table_of: &table_of,
            context: &TickContext { now_micros: 0, zone },
            clock: Some(self.means.clock.clone()),
            hash: self.means.hash,
            governor: Some(&self.means.governor),
            keeps_errors: insert.dead_letters,
            leaves_late_rows_out: true,
            connectors: &self.means.connectors,
            refuses: Some(&refuses),
            away: Some(&self.means.away),
        };
        let Lowered { dataflow, inputs, lines } = lower(&insert.bound.plan, insert.unique.as_deref(), &ground)?;
        let others =
            self.records.iter().flat_map(|other| other.inserts.iter().enumerate().map(move |(j, o)| (other.id, j, o)));
        let sole =
            others.filter(|(id, j, _)| (*id, *j) != (record.id, i)).all(|(_, _, other)| other.target != known.target);
        let sum = if sole && target.columns.is_none() { Some(RowSum::new(&target.schema)?) } else { None };
        let dead_letters = insert.dead_letters.then_some(METADATA);
        let flow =
            Flow { dataflow, inputs, lines, target, dead_letters, zone, history: History::default(), is_open: false };
        Ok(Followed { flow, refuses, sum, written: 0, waiting: Vec::new(), rows: 0 })
    }
}
