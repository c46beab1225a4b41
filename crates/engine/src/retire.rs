//! How a job ends, for now or for good.
//!
//! A stopped or failed job keeps its record, its target's rows and its place at the outside; a dropped one leaves nothing
//! but its target's rows. Streams without tables are taken leave of (`place.rs`), so that no replication slot holds back a server's
//! log.

use std::collections::BTreeSet;

use gridhouse_base::{CommitId, Error, JobId, Result, SourceId, TableId};

use crate::core::Core;
use crate::dead::{self, letters_under};
use crate::handover::TakenOver;
use crate::held::{forget_sink, held_name};
use crate::job::{Branch, Job};
use crate::place;
use crate::rebuild::Gaps;
use crate::records::{InsertRecord, JOBS, JobRecord, JobState, STREAMS, StreamRecord, StreamTableRecord, encode};
use crate::retention::{LostRecord, lost_consumers};
use crate::shared::lock;
use crate::tick::order_jobs;
use crate::wiring::sink_name;

/// Why a job waits in whose place another query, or the same by another way, is being put. Should the process end before that is
/// there, it goes on by itself.
pub(crate) const REPLACED: &str = "another takes its place";

impl Core {
    /// Takes a job out of the ticks because of an error; it waits for `START JOB`.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn fail_job(&mut self, id: JobId, error: Error) -> Result<()> {
        self.halt(id, JobState::Failed(crate::stream::with_remedy(&error)))
    }

    /// Stops a job; `START JOB` goes on from there.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub(crate) fn halt(&mut self, id: JobId, state: JobState) -> Result<()> {
        self.set_aside(id, state)?;
        self.leave_streams(id)
    }

    /// Stops a job that goes on at once, in the same call; what its sources deliver lands meanwhile.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub(crate) fn set_aside(&mut self, id: JobId, state: JobState) -> Result<()> {
        self.tick()?;
        self.note_reached(id);
        self.save_cursors()?;
        let cursor = self.ordered();
        let job = self.jobs.get_mut(&id).ok_or_else(|| Error::not_found(format!("there is no job {}", id.0)))?;
        match &state {
            JobState::Failed(why) => tracing::error!(job = job.record.name, "{why}"),
            JobState::Waiting(why) if why == REPLACED => tracing::info!(job = job.record.name, "{why}"),
            JobState::Waiting(why) => tracing::warn!(job = job.record.name, "it waits, and goes on by itself: {why}"),
            _ => {}
        }
        if job.record.state == JobState::Running {
            job.record.cursor = cursor;
        }
        job.detach(state);
        self.order = order_jobs(&self.jobs)?;
        Ok(())
    }

    /// Takes jobs that failed in a tick out of their streams: what these still deliver is not to land, and is taken anew when
    /// the job goes on.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn leave_failed(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.failed) {
            if self.jobs.get(&id).is_none_or(|job| job.record.state == JobState::Running) {
                // It has been dropped, or started again at once.
                continue;
            }
            self.leave_streams(id)?;
            self.begin_asking(id)?;
        }
        // They left only because of another's error, and go on from the last tick.
        for id in std::mem::take(&mut self.followers) {
            let Some(record) = self.jobs.get(&id).map(|job| job.record.clone()) else { continue };
            if record.state == JobState::Running {
                continue;
            }
            if let Err(error) = self.resume_as(&record, Gaps::Refused) {
                self.give_up(id, error)?;
            }
        }
        Ok(())
    }

    /// Forgets a job. Its target keeps its rows.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub(crate) fn drop_job(&mut self, id: JobId) -> Result<()> {
        self.halt(id, JobState::Stopped)?;
        let job = self.jobs.remove(&id).expect("a job that was halted exists");
        self.order = order_jobs(&self.jobs)?;
        let used: BTreeSet<(SourceId, u32)> = self.jobs.values().flat_map(|job| source_tables(&job.record)).collect();
        let left = part_with(self.streams.values_mut().map(|stream| &mut stream.record), &used);
        let mut records = Vec::new();
        for left in &left {
            let record = &mut self.streams.get_mut(&left.source).expect("what was left is a stream's").record;
            let stays = place::leave(record, left, &self.connectors);
            records.push((left.source, stays.then(|| encode(&*record))));
        }
        let names: Vec<String> =
            job.record.inserts.iter().enumerate().map(|(i, insert)| sink_name(id, i, &insert.target)).collect();
        let under = letters_under(&job.record);
        let letters: Vec<_> = if under == id {
            job.record.inserts.iter().filter_map(|insert| self.catalog.letters_of(&insert.target)).collect()
        } else {
            Vec::new()
        };
        self.tick_writing(|tick, deltas| {
            tick.put(JOBS, &id.0.to_string(), None);
            for table in letters {
                let effective = dead::clear(tick, table, under)?;
                deltas.push(table, effective);
            }
            for (source, record) in &records {
                tick.put(STREAMS, &source.0.to_string(), record.as_deref());
            }
            for landing in left.iter().flat_map(Left::hidden) {
                tick.drop_table(landing)?;
            }
            for name in &names {
                forget_sink(tick, name, None)?;
            }
            for table in job.record.inserts.iter().flat_map(InsertRecord::hidden) {
                tick.drop_table(table)?;
            }
            Ok(())
        })?;
        self.leave_behind(left)
    }

    /// Leaves the tables of streams that are nobody's any more, and streams that have no others.
    ///
    /// # Errors
    /// Those of the store; `Unavailable` where there is no thread to be had.
    pub(crate) fn leave_behind(&mut self, left: Vec<Left>) -> Result<()> {
        for left in left {
            let source = left.source;
            let Some(stream) = self.streams.get_mut(&source) else { continue };
            let stages: Vec<u64> = left.tables.iter().flat_map(|table| stream.leave(table.id)).collect();
            for stage in stages {
                self.store.drop_stage(stage)?;
            }
            let Some(stream) = self.streams.get_mut(&source).filter(|_| left.is_all) else { continue };
            if place::leave(&mut stream.record, &left, &self.connectors) {
                stream.record.tables.clear();
                self.begin_leaving(source)?;
            } else if let Some(stream) = self.streams.remove(&source) {
                stream.stop();
            }
        }
        Ok(())
    }

    /// Takes the job's own tables out of their streams; contents that others' streams bring are taken anew when it goes on. Its
    /// record goes into the same tick as theirs, since it knows its tables by their numbers.
    pub(crate) fn leave_streams(&mut self, id: JobId) -> Result<()> {
        let mut changed = Vec::new();
        for source in self.streams.keys().copied().collect::<Vec<_>>() {
            let tables = &self.streams[&source].record.tables;
            let own: Vec<u32> = tables.iter().filter(|t| t.job == Some(id)).map(|t| t.id).collect();
            if own.is_empty() {
                continue;
            }
            for table in own {
                self.leave_under_new_number(source, table)?;
            }
            changed.push((source, encode(&self.streams[&source].record)));
        }
        let job = self.jobs.get(&id).map(|job| encode(&job.record));
        self.tick_with(|tick| {
            for (source, record) in &changed {
                tick.put(STREAMS, &source.0.to_string(), Some(record));
            }
            if let Some(job) = &job {
                tick.put(JOBS, &id.0.to_string(), Some(job));
            }
        })
    }

    /// Fails every job that the stream feeds, or that one table of it does.
    pub(crate) fn fail_jobs_of(&mut self, source: SourceId, table: Option<u32>, error: &Error) -> Result<()> {
        let uses = |job: &Job| {
            let mut used = job.record.inserts.iter().flat_map(|insert| &insert.sources);
            used.any(|used| used.source == source && table.is_none_or(|table| used.table == table))
        };
        let fed: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.record.state == JobState::Running && uses(job))
            .map(|(id, _)| *id)
            .collect();
        for id in fed {
            self.halt(id, JobState::Failed(crate::stream::with_remedy(error)))?;
        }
        Ok(())
    }

    /// How far a sink's outside has come, and from where on its log is to be kept; told by its thread.
    pub(crate) fn sink_reached(&mut self, name: &str, upto: CommitId, kept: Option<CommitId>) {
        let before = self.reached.get(name).and_then(|(_, kept)| *kept);
        self.reached.insert(name.to_owned(), (upto, kept.or(before)));
    }

    /// Notes how far the sinks of a job have come, as far as they have said.
    pub(crate) fn note_reached(&mut self, id: JobId) {
        let mut noted = Vec::new();
        for sink in self.jobs.get(&id).into_iter().flat_map(|job| &job.sinks) {
            let upto = lock(&sink.status).upto;
            if upto > CommitId(0) {
                noted.push((sink.name.clone(), upto));
            }
        }
        noted.into_iter().for_each(|(name, upto)| self.sink_reached(&name, upto, None));
    }

    /// Writes down how far the sinks have come, so that logs can be reclaimed.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn save_cursors(&mut self) -> Result<()> {
        if self.reached.is_empty() {
            return Ok(());
        }
        let reached = std::mem::take(&mut self.reached);
        let snapshot = self.store.ordered_snapshot();
        let lost = lost_consumers(&snapshot);
        let mut cursors = Vec::new();
        for (id, job) in &self.jobs {
            for (i, insert) in job.record.inserts.iter().enumerate() {
                let name = sink_name(*id, i, &insert.target);
                // A running job has one branch per `INSERT`, in order.
                let relayed = match job.branches.get(i) {
                    Some(Branch::Relay { table }) => Some(*table),
                    _ => None,
                };
                if let (Some((upto, kept)), Some(table)) = (reached.get(&name), insert.outbox.or(relayed)) {
                    let lost_at = lost.iter().find(|lost| lost.consumer == name && lost.table == table);
                    let is_cut_off = |at: &LostRecord| {
                        *upto <= at.upto || snapshot.table(table).is_ok_and(|log| log.lag(*upto).is_lost)
                    };
                    if lost_at.is_some_and(is_cut_off) {
                        // It still stands before what is gone, and must not be taken for one that stands behind it.
                        continue;
                    }
                    cursors.push((name, table, (*upto, *kept), lost_at.is_some() && insert.forgets));
                }
            }
        }
        let taken_over = self.taken_over(&reached);
        self.tick_writing(|tick, _| {
            for TakenOver { sink, before, is_let_go, job } in &taken_over {
                if !is_let_go {
                    // Nobody is behind in its log, which is kept for an outside that goes back.
                    let (read, held) = (snapshot.cursor(sink, before.table), held_name(sink));
                    if let Some(read) = read.filter(|_| snapshot.cursor(&held, before.table).is_none()) {
                        tick.set_cursor(&held, before.table, read)?;
                    }
                    tick.forget_cursor(sink, Some(before.table))?;
                } else {
                    forget_sink(tick, sink, Some(before.table))?;
                    if before.hidden {
                        tick.drop_table(before.table)?;
                    }
                }
                tick.put(JOBS, &job.id.0.to_string(), Some(&encode(job)));
            }
            for (name, table, (upto, kept), must_reach) in &cursors {
                let set = tick.set_cursor(name, *table, *upto)?;
                if *must_reach && set > *upto {
                    // Where it goes on is told by this alone, and what lies between is not kept: it catches up first.
                    forget_sink(tick, name, Some(*table))?;
                } else if let Some(kept) = kept {
                    tick.set_cursor(&held_name(name), *table, *kept)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Tables of a stream that are nobody's any more.
pub(crate) struct Left {
    pub(crate) source: SourceId,
    pub(crate) tables: Vec<StreamTableRecord>,
    /// Whether it has no others.
    pub(crate) is_all: bool,
}

impl Left {
    /// The hidden tables among those in which they land, which go with them; a user's own table stays.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.iter().filter(|table| table.job.is_none()).map(|table| table.landing)
    }
}

/// Takes out of the streams' records, and gives, the tables that are not among those that are `used`.
pub(crate) fn part_with<'a>(
    streams: impl Iterator<Item = &'a mut StreamRecord>,
    used: &BTreeSet<(SourceId, u32)>,
) -> Vec<Left> {
    let mut left = Vec::new();
    for stream in streams {
        let source = stream.id;
        let is_used = |table: &StreamTableRecord| used.contains(&(source, table.id));
        let (kept, tables): (Vec<_>, Vec<_>) = std::mem::take(&mut stream.tables).into_iter().partition(is_used);
        let is_all = kept.is_empty();
        stream.tables = kept;
        if !tables.is_empty() {
            left.push(Left { source, tables, is_all });
        }
    }
    left
}

/// The tables of streams that a job uses.
pub(crate) fn source_tables(record: &JobRecord) -> impl Iterator<Item = (SourceId, u32)> + '_ {
    record.inserts.iter().flat_map(|insert| insert.sources.iter().map(|used| (used.source, used.table)))
}
