//! Source streams on the core's side: what they deliver becomes durable commits, and what is durable is acknowledged.
//!
//! Rows gather until the stream says that its transactions are whole; then they are one commit. A transaction too large to
//! gather is staged in the log piece by piece. The contents of a table under a snapshot are staged apart and swapped in by one
//! commit that applies only the differences, so a snapshot can be taken again at any time.

use std::collections::{BTreeMap, VecDeque};

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, ErrorKind, JobId, Result, SourceId, TableId};
use gridhouse_expr::EvalContext;
use gridhouse_flow::connector::{SourceEvent, SourceLag, SourcePosition, SourceStream};
use gridhouse_store::{Part, SourceCommit, StageUse};

use crate::core::Core;
use crate::history::{Counts, History};
use crate::lacking::Presence;
use crate::landing::Landing;
use crate::place::Leave;
use crate::records::{JOBS, JobRecord, STREAMS, StreamRecord, encode};
use crate::rejected::Rejected;
use crate::retire::source_tables;
use crate::trace::Arrival;

/// How many rows of one transaction gather in memory before they are staged in the log: at some 100 bytes a row, 6 MB.
const GATHERED_ROWS: usize = 65_536;

/// How many bytes of them, where rows are wide: one frame of the log holds what gathers.
const GATHERED_BYTES: usize = 16 << 20;

/// A source stream.
pub(crate) struct Stream {
    pub(crate) record: StreamRecord,
    pub(crate) handle: Option<Box<dyn SourceStream>>,
    pub(crate) landings: BTreeMap<u32, Landing>,
    pub(crate) state: StreamState,
    /// The start that is listened to.
    pub(crate) start: u64,
    pub(crate) position: Option<SourcePosition>,
    pub(crate) rows_in: u64,
    /// Rows that landed since the process started, by table.
    landed: BTreeMap<u32, Landed>,
    pub(crate) last_event_time: Option<i64>,
    /// How far it is behind the outside, as was last told.
    pub(crate) lag: Option<SourceLag>,
    open: Open,
    /// Stages of the snapshots under way, by table.
    snapshots: BTreeMap<u32, u64>,
    /// Which rows there are, of tables from which some may be missing.
    pub(crate) presence: BTreeMap<u32, Presence>,
    /// That its outside is to forget it.
    pub(crate) leave: Option<Leave>,
    /// Positions to acknowledge once the commit is durable.
    unacknowledged: VecDeque<(CommitId, SourcePosition)>,
    next_stage: u64,
}

/// What has landed of a table: rows as they came, and those that its landing let pass.
#[derive(Default)]
pub(crate) struct Landed {
    pub(crate) counts: Counts,
    pub(crate) history: History,
}

/// The transaction that is being gathered.
#[derive(Default)]
struct Open {
    /// With the number of the table that each is of: several may land in one.
    parts: Vec<(u32, Part)>,
    rows: usize,
    bytes: usize,
    /// Stages of what was too much to gather, by where it lands: a table that is left takes its part with it.
    staged: BTreeMap<TableId, u64>,
    /// Stages that replace a truncated table, by table.
    replaced: BTreeMap<u32, u64>,
    /// Rows that the source could not read.
    rejected: Vec<Rejected>,
}

impl Open {
    /// The stages that hold its rows.
    fn stages(self) -> impl Iterator<Item = u64> {
        self.staged.into_values().chain(self.replaced.into_values())
    }
}

/// How a stream is doing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamState {
    /// Its first contents have not been taken over yet.
    Starting,
    Running,
    /// The outside does not answer; it is tried again.
    Waiting(String),
    Failed(String),
    Finished,
    /// It is nobody's any more, and its outside is to forget it; why it has not yet.
    Leaving(Option<String>),
}

impl StreamState {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Waiting(_) => "WAITING",
            Self::Failed(_) => "FAILED",
            Self::Finished => "FINISHED",
            Self::Leaving(_) => "LEAVING",
        }
    }

    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Waiting(error) | Self::Failed(error) => Some(error),
            Self::Leaving(error) => error.as_deref(),
            _ => None,
        }
    }
}

impl Stream {
    pub(crate) fn new(record: StreamRecord, position: Option<SourcePosition>) -> Self {
        // Stage numbers are unique in the process; those of an earlier process were discarded by recovery.
        let next_stage = u64::from(record.id.0) << 32;
        Self {
            record,
            handle: None,
            landings: BTreeMap::new(),
            state: StreamState::Starting,
            start: 0,
            position,
            rows_in: 0,
            landed: BTreeMap::new(),
            last_event_time: None,
            lag: None,
            open: Open::default(),
            snapshots: BTreeMap::new(),
            presence: BTreeMap::new(),
            leave: None,
            unacknowledged: VecDeque::new(),
            next_stage,
        }
    }

    /// Whether a table that it delivers has other options under `record` than it was started with: an address or a password
    /// perhaps, which only a new start takes up.
    pub(crate) fn is_reached_otherwise(&self, record: &StreamRecord) -> bool {
        self.record.tables.iter().any(|known| {
            let mut same = record.tables.iter().filter(|table| table.id == known.id);
            same.any(|table| table.definition.options != known.definition.options)
        })
    }

    /// Acknowledges what is on disk now.
    pub(crate) fn durable(&mut self, commit: CommitId) {
        let done = self.unacknowledged.iter().take_while(|(c, _)| *c <= commit).count();
        if let Some((_, position)) = self.unacknowledged.drain(..done).next_back()
            && let Some(handle) = &self.handle
        {
            handle.acknowledge(position);
        }
    }

    /// Stops the stream without holding up the core: the stream may be waiting for the core to take its events.
    pub(crate) fn stop(mut self) {
        if let Some(handle) = self.handle.take() {
            drop(handle);
        }
    }

    /// How many rows landed for a job since the process started.
    pub(crate) fn rows_landed(&self, job: JobId) -> u64 {
        let own = self.record.tables.iter().filter(|table| table.job == Some(job));
        own.filter_map(|table| self.landed.get(&table.id)).map(|landed| landed.counts.rows_in).sum()
    }

    /// What has landed of a table since the process started.
    pub(crate) fn landed(&self, table: u32) -> Option<&Landed> {
        self.landed.get(&table)
    }

    /// Leaves a table out from now on. What was gathered of its contents, and of its part in a transaction that is under way,
    /// is void: both come anew when it comes back. Gives the stages to drop.
    pub(crate) fn leave(&mut self, table: u32) -> Vec<u64> {
        self.landings.remove(&table);
        self.presence.remove(&table);
        if let Some(handle) = &self.handle {
            handle.remove_table(table);
        }
        let mut stages: Vec<u64> = self.snapshots.remove(&table).into_iter().collect();
        stages.extend(self.open.replaced.remove(&table));
        self.open.parts.retain(|(of, _)| *of != table);
        let landing = self.record.tables.iter().find(|record| record.id == table).map(|record| record.landing);
        if let Some(landing) = landing
            && self.record.tables.iter().filter(|record| record.landing == landing).count() == 1
        {
            stages.extend(self.open.staged.remove(&landing));
        }
        if self.landings.is_empty() {
            // Nobody else takes part in the transaction.
            stages.extend(self.end_transaction().stages());
            if self.record.owner.is_some() {
                // A reader of one table's own brings no other in.
                self.handle = None;
            }
        }
        stages
    }

    /// What was gathered of the transaction, which ends or is void.
    fn end_transaction(&mut self) -> Open {
        self.presence.values_mut().for_each(Presence::end_transaction);
        std::mem::take(&mut self.open)
    }

    /// Gathers a row that the source could not read; gives how many there are.
    pub(crate) fn gather_rejected(&mut self, rejected: Rejected) -> usize {
        self.open.rejected.push(rejected);
        self.open.rejected.len()
    }

    /// The rows gathered so.
    pub(crate) fn take_rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.open.rejected)
    }

    fn new_stage(&mut self) -> u64 {
        self.next_stage += 1;
        self.next_stage
    }
}

impl Core {
    /// Takes one event. An error is the store's; what is wrong with the event itself stops the jobs concerned.
    pub(crate) fn source_event(&mut self, source: SourceId, event: SourceEvent) -> Result<()> {
        // A stream that was stopped may still have had events under way.
        let Some(stream) = self.streams.get_mut(&source).filter(|stream| stream.handle.is_some()) else {
            return Ok(());
        };
        match event {
            SourceEvent::SnapshotRows { table, batch } => self.snapshot_rows(source, table, batch),
            SourceEvent::SnapshotDone { table, position } => self.snapshot_done(source, table, position, false),
            SourceEvent::SnapshotLeftOut { table, position } => self.snapshot_done(source, table, position, true),
            SourceEvent::SnapshotAborted { table } => match stream.snapshots.remove(&table) {
                Some(stage) => self.store.drop_stage(stage),
                None => Ok(()),
            },
            SourceEvent::Rows { table, columns, batch } => self.rows(source, table, columns, batch),
            SourceEvent::Rejected { table, row, error } => self.reject(source, Rejected { table, row, error }),
            SourceEvent::Truncate { table } => self.truncated(source, table),
            SourceEvent::Missed { tables } => {
                for record in stream.record.tables.iter_mut().filter(|record| tables.contains(&record.id)) {
                    record.snapshot = None;
                }
                stream.position = None;
                let (key, text) = (source.0.to_string(), encode(&stream.record));
                self.tick_with(|tick| tick.put(STREAMS, &key, Some(&text)))
            }
            SourceEvent::Outdated { table } => self.outdate(source, table),
            SourceEvent::Placed => self.has_taken_place(source),
            SourceEvent::Lag(lag) => {
                stream.lag = Some(lag);
                Ok(())
            }
            SourceEvent::Commit { position, event_time_micros, received_micros } => {
                self.source_commit(source, position, event_time_micros, received_micros)
            }
            SourceEvent::Idle { position } => {
                stream.state = StreamState::Running;
                if stream.position.as_ref() == Some(&position) {
                    return Ok(());
                }
                stream.position = Some(position.clone());
                // The outside may forget only what is durable here, so an idle position is a commit without rows.
                let event_time_micros = stream.last_event_time.unwrap_or_else(|| self.clock.now_micros());
                let (parts, stages) = (Vec::new(), Vec::new());
                self.append(source, SourceCommit { source, position, event_time_micros, parts, stages }, None)
            }
            SourceEvent::Waiting { error } => {
                tracing::warn!(stream = stream.record.stream_key, "{}", with_remedy(&error));
                stream.state = StreamState::Waiting(with_remedy(&error));
                self.forget_open(source)
            }
            SourceEvent::Connected => {
                stream.state = StreamState::Running;
                Ok(())
            }
            SourceEvent::TableFailed { table, error } => {
                let record =
                    stream.record.tables.iter().find(|t| t.id == table && stream.landings.contains_key(&table));
                let Some(job) = record.map(|record| record.job) else { return Ok(()) };
                tracing::error!(stream = stream.record.stream_key, "{}", with_remedy(&error));
                self.fail_landing(source, table, job, error)
            }
            SourceEvent::Failed { error } => {
                tracing::error!(stream = stream.record.stream_key, "{}", with_remedy(&error));
                stream.state = StreamState::Failed(with_remedy(&error));
                self.break_off(source)?;
                self.fail_jobs_of(source, None, &error)
            }
            SourceEvent::Finished => {
                stream.state = StreamState::Finished;
                self.finish_jobs()
            }
        }
    }

    /// The contents of a table are outdated, and will be read again. On record before the commit that makes it so: a crash between
    /// that and the contents must not end the wait for them.
    pub(crate) fn outdate(&mut self, source: SourceId, table: u32) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(()) };
        for record in stream.record.tables.iter_mut().filter(|record| record.id == table) {
            record.snapshot = None;
        }
        let (key, text) = (source.0.to_string(), encode(&stream.record));
        self.tick_with(|tick| tick.put(STREAMS, &key, Some(&text)))
    }

    /// All rows of a source table are gone, at this place in its transaction.
    fn truncated(&mut self, source: SourceId, table: u32) -> Result<()> {
        let stream = &self.streams[&source];
        let record = stream.record.tables.iter().find(|t| t.id == table && stream.landings.contains_key(&table));
        let Some((landing, job)) = record.map(|record| (record.landing, record.job)) else { return Ok(()) };
        if self.is_shared(landing) {
            let key = &record.expect("it was found just now").table_key;
            let error = Error::conflict(format!(
                "{key} was truncated at the source, but others write into its target too, so which rows to withdraw is not known"
            ));
            let name = self.store.ordered_snapshot().table(landing)?.spec().name.clone();
            let start = job.map_or_else(|| "START JOB".to_owned(), |job| format!("START JOB {}", job.0));
            let error =
                error.hint(format!("type DELETE FROM {name} WHERE … for the rows that came from it, then {start}"));
            return self.fail_landing(source, table, job, error);
        }
        let stream = self.streams.get_mut(&source).expect("it was there just now");
        let stage = stream.new_stage();
        stream.open.parts.retain(|(of, _)| *of != table);
        if let Some(presence) = stream.presence.get_mut(&table) {
            presence.empty();
        }
        match stream.open.replaced.insert(table, stage) {
            Some(before) => self.store.drop_stage(before),
            None => Ok(()),
        }
    }

    /// The landing's rows of an event; `None` after the landing's job has been failed by a row that does not fit.
    fn landed(
        &mut self,
        source: SourceId,
        table: u32,
        columns: Option<&[usize]>,
        batch: KindBatch,
    ) -> Result<Option<Part>> {
        let context = self.landing_context();
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(None) };
        let Some(landing) = stream.landings.get(&table) else { return Ok(None) };
        let Some(record) = stream.record.tables.iter().find(|t| t.id == table) else { return Ok(None) };
        let context = EvalContext { zone: landing.zone(), ..context };
        stream.rows_in += batch.len() as u64;
        let deletions = |batch: &KindBatch| batch.kinds.iter().filter(|kind| **kind == RowKind::Delete).count();
        let (came, gone) = (batch.len(), deletions(&batch));
        let (target, job) = (record.landing, record.job);
        let now = self.clock.monotonic();
        let counted = stream.landed.entry(table).or_default();
        let part = landing.apply(columns, batch, &context).and_then(|(batch, columns)| {
            // A row that the landing's filter leaves out is missing, or has become a deletion.
            let passed = (batch.len() + gone).saturating_sub(deletions(&batch));
            counted.counts.rows_in += came as u64;
            counted.counts.rows_out += passed as u64;
            counted.history.note(now, vec![counted.counts]);
            let part = Part { table: target, batch, columns };
            self.store.check_part(&part)?;
            Ok(part)
        });
        match part {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.fail_landing(source, table, job, error)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn landing_context(&self) -> EvalContext {
        EvalContext { now_micros: self.clock.now_micros(), zone: chrono_tz::UTC, seed: 0, first_row: 0 }
    }

    fn snapshot_rows(&mut self, source: SourceId, table: u32, batch: KindBatch) -> Result<()> {
        let Some(part) = self.landed(source, table, None, batch)? else { return Ok(()) };
        let stream = self.streams.get_mut(&source).expect("the stream landed a part just now");
        let stage = match stream.snapshots.get(&table) {
            Some(stage) => *stage,
            None => {
                let stage = stream.new_stage();
                stream.snapshots.insert(table, stage);
                stage
            }
        };
        self.store.stage(stage, part)
    }

    /// The contents of a table are here; or they are left out, and what is here stays.
    fn snapshot_done(
        &mut self,
        source: SourceId,
        table: u32,
        position: SourcePosition,
        is_left_out: bool,
    ) -> Result<()> {
        self.keep_rejected(source)?;
        let event_time_micros = self.clock.now_micros();
        let stream = self.streams.get_mut(&source).expect("the event's stream exists");
        if !stream.landings.contains_key(&table) {
            // Its job was stopped, or failed by one of these rows: they are not all here, and are asked for again.
            return Ok(());
        }
        let is_waiting = stream.presence.get(&table).is_some_and(Presence::is_waiting);
        let Some(record) = stream.record.tables.iter_mut().find(|t| t.id == table) else { return Ok(()) };
        if is_left_out && is_waiting && record.snapshot.is_none() {
            // A row is missing, and contents are on their way that may bring it: what is here is not all there is.
            return Ok(());
        }
        let (landing, begins) = (record.landing, record.snapshot.is_none());
        let stage = match stream.snapshots.remove(&table) {
            Some(stage) => stage,
            None => stream.new_stage(),
        };
        if stream.record.owner.is_some() {
            // Of one reader, which has asked for all there is.
            stream.position = Some(position.clone());
        }
        // Before its first transaction the stream stands where its first snapshot does.
        let at = stream.position.get_or_insert(position.clone()).clone();
        stream.state = StreamState::Running;
        // A table that only grows has nothing to compare with: what is delivered of it is new.
        let stored = self.store.ordered_snapshot().table(landing)?;
        let (growing, has_rows) = (stored.spec().primary_key.is_empty(), stored.row_count() > 0);
        // Nor has one that others write too: their rows are not to go.
        let is_added = growing || is_left_out || self.is_shared(landing);
        let contents = if is_added { StageUse::Append } else { StageUse::Replace(landing) };
        if is_left_out && begins && has_rows {
            let name = &stored.spec().name;
            tracing::warn!(
                "{name} goes on without the contents of its source: its rows stay, and what changed meanwhile is lost for it"
            );
        }
        if contents == StageUse::Append {
            self.announce(source, table, &position)?;
        }
        let commit = SourceCommit {
            source,
            position: at,
            event_time_micros,
            parts: Vec::new(),
            stages: vec![(stage, contents)],
        };
        let stream = self.streams.get_mut(&source).expect("the event's stream exists");
        for record in stream.record.tables.iter_mut().filter(|t| t.id == table) {
            record.snapshot = Some(position.clone());
            record.arriving = None;
        }
        let (key, text) = (source.0.to_string(), encode(&stream.record));
        self.append(source, commit, Some(event_time_micros))?;
        // The record says that the contents are here, so it belongs to the tick that puts them there.
        self.tick_with(|tick| tick.put(STREAMS, &key, Some(&text)))?;
        self.note_contents(source, table, landing)
    }

    /// Puts on record which commit is about to bring contents that are added: a crash may leave that commit, and not the tick
    /// behind it which says that they are here.
    fn announce(&mut self, source: SourceId, table: u32, position: &SourcePosition) -> Result<()> {
        let mut commit = self.store.last_commit().next().next();
        loop {
            let stream = self.streams.get_mut(&source).expect("the event's stream exists");
            for record in stream.record.tables.iter_mut().filter(|t| t.id == table) {
                record.arriving = Some((position.clone(), commit));
            }
            let (key, text) = (source.0.to_string(), encode(&stream.record));
            self.tick_with(|tick| tick.put(STREAMS, &key, Some(&text)))?;
            let next = self.store.last_commit().next();
            if next == commit {
                return Ok(());
            }
            commit = next.next();
        }
    }

    /// Whether a landing has other writers than the one table of a stream, be it that they rest: their rows stay.
    fn is_shared(&self, landing: TableId) -> bool {
        let tables = self.streams.values().flat_map(|stream| &stream.record.tables);
        let inserts = self.jobs.values().flat_map(|job| &job.record.inserts);
        let written = inserts.filter(|insert| self.catalog.table_id(&insert.target) == Some(landing));
        tables.filter(|table| table.landing == landing).count() > 1 || written.count() > 1
    }

    fn rows(&mut self, source: SourceId, table: u32, columns: Option<Vec<usize>>, batch: KindBatch) -> Result<()> {
        // Of contents that are outdated nobody knows whether the row is among them: it would be made up of NULLs. They follow,
        // and bring the row as it is then.
        let mut records = self.streams.get(&source).into_iter().flat_map(|stream| &stream.record.tables);
        if columns.is_some() && records.any(|record| record.id == table && record.snapshot.is_none()) {
            return Ok(());
        }
        let landing = self.streams.get(&source).and_then(|stream| stream.landings.get(&table));
        let is_partial = landing.zip(columns.as_deref()).is_some_and(|(landing, known)| landing.lacks_values(known));
        let Some(part) = self.landed(source, table, columns.as_deref(), batch)? else { return Ok(()) };
        let Some(part) = self.without_lacking(source, table, part, is_partial)? else { return Ok(()) };
        let stream = self.streams.get_mut(&source).expect("the stream landed a part just now");
        if let Some(stage) = stream.open.replaced.get(&table) {
            return self.store.stage(*stage, part);
        }
        stream.open.rows += part.batch.len();
        stream.open.bytes += part.bytes();
        stream.open.parts.push((table, part));
        if stream.open.rows < GATHERED_ROWS && stream.open.bytes < GATHERED_BYTES {
            return Ok(());
        }
        (stream.open.rows, stream.open.bytes) = (0, 0);
        for (_, part) in std::mem::take(&mut stream.open.parts) {
            let stage = match stream.open.staged.get(&part.table) {
                Some(stage) => *stage,
                None => {
                    let stage = stream.new_stage();
                    stream.open.staged.insert(part.table, stage);
                    stage
                }
            };
            self.store.stage(stage, part)?;
        }
        Ok(())
    }

    fn source_commit(
        &mut self,
        source: SourceId,
        position: SourcePosition,
        event_time_micros: i64,
        received: i64,
    ) -> Result<()> {
        let taken = self.clock.now_micros();
        self.keep_rejected(source)?;
        let stream = self.streams.get_mut(&source).expect("the event's stream exists");
        let open = stream.end_transaction();
        stream.state = StreamState::Running;
        stream.position = Some(position.clone());
        stream.last_event_time = Some(event_time_micros);
        let mut stages: Vec<(u64, StageUse)> =
            open.staged.into_values().map(|stage| (stage, StageUse::Append)).collect();
        for (table, stage) in open.replaced {
            if let Some(record) = stream.record.tables.iter().find(|t| t.id == table) {
                stages.push((stage, StageUse::Replace(record.landing)));
            }
        }
        let parts = open.parts.into_iter().map(|(_, part)| part).collect();
        let commit = SourceCommit { source, position, event_time_micros, parts, stages };
        self.append(source, commit, Some(event_time_micros))?;
        let arrival = Arrival { changed: event_time_micros, received, taken, logged: self.clock.now_micros() };
        let both = self.pending_arrival.into_iter().chain([arrival]);
        self.pending_arrival = both.min_by_key(|arrival| arrival.changed);
        Ok(())
    }

    /// Logs a commit; the next tick applies it. `event_time` is when its rows changed at the source, if it has any.
    fn append(&mut self, source: SourceId, commit: SourceCommit, event_time: Option<i64>) -> Result<()> {
        let position = commit.position.clone();
        let id = self.store.append_source(commit)?;
        if let Some(stream) = self.streams.get_mut(&source) {
            stream.record.has_place = true;
            stream.unacknowledged.push_back((id, position));
        }
        self.pending = true;
        self.pending_event_time = self.pending_event_time.into_iter().chain(event_time).min();
        Ok(())
    }

    /// Ends a stream, which starts again behind its last commit, if it does. What was gathered since is sent again then, contents
    /// that are partly here too; what is still under way is not listened to.
    pub(crate) fn break_off(&mut self, source: SourceId) -> Result<()> {
        self.forget_open(source)?;
        let stream = self.streams.get_mut(&source).expect("a stream that is broken off exists");
        stream.handle = None;
        for stage in std::mem::take(&mut stream.snapshots).into_values() {
            self.store.drop_stage(stage)?;
        }
        Ok(())
    }

    /// Drops what was gathered of a transaction that will be sent again.
    fn forget_open(&mut self, source: SourceId) -> Result<()> {
        let stream = self.streams.get_mut(&source).expect("the event's stream exists");
        let open = stream.end_transaction();
        for stage in open.stages() {
            self.store.drop_stage(stage)?;
        }
        Ok(())
    }

    fn fail_landing(&mut self, source: SourceId, table: u32, job: Option<JobId>, error: Error) -> Result<()> {
        let table = self.leave_under_new_number(source, table)?;
        let text = encode(&self.streams[&source].record);
        let uses = |record: &JobRecord| source_tables(record).any(|used| used == (source, table));
        let users: Vec<(JobId, String)> = self
            .jobs
            .values()
            .filter(|job| uses(&job.record))
            .map(|job| (job.record.id, encode(&job.record)))
            .collect();
        self.tick_with(|tick| {
            tick.put(STREAMS, &source.0.to_string(), Some(&text));
            for (id, record) in &users {
                tick.put(JOBS, &id.0.to_string(), Some(record));
            }
        })?;
        match job {
            Some(job) => self.fail_job(job, error),
            None => self.fail_jobs_of(source, Some(table), &error),
        }
    }

    /// Leaves a table of a stream out, whose changes pass by from now on: its contents are to be taken anew, under the new number
    /// that is given back, so that nothing that is still under way from the stream is taken for what comes when it is wanted again.
    /// A stream of one reader ends with it, and nothing passes by: it goes on where the reader's rows end. The records that name the
    /// table are the caller's to keep.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn leave_under_new_number(&mut self, source: SourceId, table: u32) -> Result<u32> {
        let stream = self.streams.get_mut(&source).expect("whoever leaves a stream has it");
        for stage in stream.leave(table) {
            self.store.drop_stage(stage)?;
        }
        let is_own = stream.record.owner.is_some();
        let number = stream.record.next_table;
        stream.record.next_table += 1;
        for record in stream.record.tables.iter_mut().filter(|t| t.id == table) {
            if !is_own {
                record.snapshot = None;
            }
            record.id = number;
        }
        let inserts = self.jobs.values_mut().flat_map(|job| &mut job.record.inserts);
        for used in inserts.flat_map(|insert| &mut insert.sources) {
            if used.source == source && used.table == table {
                used.table = number;
            }
        }
        Ok(number)
    }
}

/// The error in one line, with its remedy.
pub(crate) fn with_remedy(error: &Error) -> String {
    match error.remedy() {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}
