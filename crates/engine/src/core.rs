//! The core: the one worker that changes anything. It owns the store, the jobs and the source streams, and does everything
//! in one order, so that nothing here needs a lock.
//!
//! Work arrives as messages: events of sources, calls of sessions, news of the disk. The core takes what has arrived, logs
//! it, runs one tick over all of it and goes on; the more has gathered, the larger the tick. Syncing to disk is another's work
//! (`worker.rs`), on a thread of its own meanwhile, so that the core never waits for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{CommitId, Error, JobId, Result, SourceId, TableId};
use gridhouse_flow::Governor;
use gridhouse_flow::connector::{SourceEvent, SourceEvents};
use gridhouse_store::Store;

use crate::awaiting::LastAway;
use crate::catalog::Catalog;
use crate::engine::Tuning;
use crate::follow::Kept;
use crate::job::{Branch, Job};
use crate::kept::attachment;
use crate::lineage::Lineage;
use crate::prepare::Connectors;
use crate::retention::{ConsumerCap, Moments};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::trace::Arrival;
use crate::worker::{Carrier, Turn, Worker, Workers, next_message};
use crate::writers::OutsideWriter;

/// How many messages wait for the core at most. A source event holds up to 65,536 rows of some 100 bytes, so 16 of them are
/// about 100 MB in the worst case; sessions send one each and wait for the answer.
pub(crate) const QUEUE_MESSAGES: usize = 16;

/// How many messages one tick takes at most: enough to gather what arrives while a tick runs, few enough that a session's
/// call is answered soon.
const MESSAGES_PER_TICK: usize = 256;

/// How often the core looks after itself.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// What the core is told.
pub(crate) enum Message {
    /// A session, or a sink, wants something done.
    Call(Box<dyn FnOnce(&mut Core) + Send>),
    /// A source stream has news.
    /// The number is that of the stream's start: what an earlier start still had under way is not listened to.
    Source(SourceId, u64, SourceEvent),
    /// Everything up to the commit is on disk.
    Durable(CommitId),
    /// Stop cleanly, then answer.
    Stop(SyncSender<Result<()>>),
}

/// What is known of a table since the process started, for its users' eyes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableStats {
    /// Changed rows.
    pub(crate) changes: u64,
    /// The last tick that changed it.
    pub(crate) last_commit: CommitId,
    /// From the source's commit to the durable tick, of the last change.
    pub(crate) delay_micros: Option<i64>,
}

/// Everything that changes.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) connectors: Connectors,
    /// What did not answer the operators of a job.
    pub(crate) away: LastAway,
    pub(crate) tuning: Tuning,
    /// How many times a stream has been started.
    pub(crate) starts: u64,
    pub(crate) messages: SyncSender<Message>,
    pub(crate) sync_wanted: SyncSender<()>,
    pub(crate) catalog: Catalog,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) order: Vec<JobId>,
    pub(crate) streams: BTreeMap<SourceId, Stream>,
    pub(crate) stats: BTreeMap<TableId, TableStats>,
    /// How far a consumer of a log may be behind.
    pub(crate) consumer_cap: ConsumerCap,
    /// Which process wrote which commits.
    pub(crate) lineage: Lineage,
    /// When commits were made.
    pub(crate) moments: Moments,
    /// How far sinks have come, and from where on their logs are to be kept, as they last said; not yet written down.
    pub(crate) reached: BTreeMap<String, (CommitId, Option<CommitId>)>,
    /// The last job number given out.
    pub(crate) job_counter: u32,
    /// The last stream number given out. Positions are kept by it, so it is never used again.
    pub(crate) source_counter: u32,
    /// What was kept of the jobs that ran when the last process ended; taken while the directory is being opened.
    pub(crate) kept: Kept,
    /// Watches over the memory of what jobs hold.
    pub(crate) governor: Arc<Governor>,
    /// While the directory is being opened, streams wait until all their tables are known.
    pub(crate) starting: bool,
    /// Jobs that failed in a tick and have yet to take leave of their streams.
    pub(crate) failed: Vec<JobId>,
    /// Jobs that left a tick with one that failed, and have yet to go on.
    pub(crate) followers: Vec<JobId>,
    /// Whether source commits wait for a tick.
    pub(crate) pending: bool,
    /// The oldest source time among them.
    pub(crate) pending_event_time: Option<i64>,
    /// How the one of them came here whose rows changed first at their source; first contents are not counted.
    pub(crate) pending_arrival: Option<Arrival>,
    /// Ticks that are not durable yet, with the tables that each changed and the source time that it reflects.
    pub(crate) undurable: Vec<(CommitId, Vec<TableId>, Option<i64>)>,
    pub(crate) on_fatal: Arc<dyn Fn(Error) + Send + Sync>,
    /// Who writes outside tables, or has done so.
    pub(crate) writers: Vec<OutsideWriter>,
    /// Who does what does not belong to the core itself.
    pub(crate) workers: Arc<dyn Workers>,
}

/// The core at work.
pub(crate) struct CoreWorker {
    /// Until it has been told to stop.
    core: Option<Core>,
    inbox: Receiver<Message>,
    /// When it last looked after itself.
    kept: Duration,
}

impl CoreWorker {
    pub(crate) fn new(core: Core, inbox: Receiver<Message>) -> Self {
        let kept = core.clock.monotonic();
        Self { core: Some(core), inbox, kept }
    }
}

impl Core {
    fn handle(&mut self, message: Message) -> Option<SyncSender<Result<()>>> {
        match message {
            Message::Call(call) => call(self),
            Message::Source(source, start, event) => {
                if self.streams.get(&source).is_none_or(|stream| stream.start != start) {
                    return None;
                }
                if let Err(error) = self.source_event(source, event) {
                    self.fatal(error);
                }
            }
            Message::Durable(commit) => self.durable(commit),
            Message::Stop(answer) => {
                self.shared.note_asked(-1);
                return Some(answer);
            }
        }
        None
    }

    /// The last tick.
    pub(crate) fn ordered(&self) -> CommitId {
        self.store.ordered_snapshot().commit()
    }

    /// A channel for the events of one start of a stream, and the number of that start.
    ///
    /// # Errors
    /// `Unavailable` where there is no thread to be had.
    pub(crate) fn listen(&mut self) -> Result<(SourceEvents, u64)> {
        self.starts += 1;
        let start = self.starts;
        let (events, incoming) = sync_channel(QUEUE_MESSAGES);
        let message = move |(source, event)| Message::Source(source, start, event);
        let carrier = Carrier::new(incoming, self.messages.clone(), message);
        self.workers.start(format!("source start {start}"), Box::new(carrier))?;
        Ok((events, start))
    }

    /// Asks for a sync; one request covers everything that is ordered when it is carried out.
    pub(crate) fn want_sync(&self) {
        // A full channel means that a request waits already.
        let _ = self.sync_wanted.try_send(());
    }

    /// The store itself is in trouble: nothing can be promised any more.
    pub(crate) fn fatal(&mut self, error: Error) {
        if self.shared.is_closed() {
            return;
        }
        self.shared.close();
        (self.on_fatal)(error);
    }

    fn durable(&mut self, commit: CommitId) {
        let now = self.clock.now_micros();
        let done = self.undurable.partition_point(|(tick, ..)| *tick <= commit);
        for (_, tables, event_time) in self.undurable.drain(..done) {
            let Some(event_time) = event_time else { continue };
            for table in tables {
                self.stats.entry(table).or_default().delay_micros = Some(now - event_time);
            }
        }
        for stream in self.streams.values_mut() {
            stream.durable(commit);
        }
    }

    fn housekeep(&mut self) {
        let kept = self.finish_jobs().and_then(|()| self.save_cursors()).and_then(|()| self.keep_logs());
        if let Err(error) = kept.and_then(|()| self.store.note_idle()) {
            self.fatal(error);
        }
    }

    /// Takes what the keeper has made of the store's files, and lays out what is due next; gives whether there was anything.
    fn keep_files(&mut self) -> Result<bool> {
        let Self { store, jobs, clock, .. } = self;
        let has_kept = store.maintain(&mut || attachment(jobs, clock.now_micros()))?;
        if let Some(trouble) = self.store.take_trouble() {
            tracing::warn!("tables could not be sealed or merged; it is tried again: {trouble}");
        }
        Ok(has_kept)
    }

    fn shut_down(&mut self) -> Result<()> {
        self.leave_last()?;
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.stop();
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        jobs.into_iter().for_each(|id| self.note_reached(id));
        self.save_cursors()?;
        self.look_last()?;
        for job in self.jobs.values_mut() {
            job.stop_sinks();
        }
        let commit = self.store.sync()?;
        let Self { store, jobs, clock, .. } = self;
        if let Err(error) = store.checkpoint(&mut || attachment(jobs, clock.now_micros())) {
            // The log holds everything all the same; the next start reads more of it.
            tracing::warn!("no checkpoint could be made: {error}");
        }
        self.store.note_idle()?;
        self.store.sync()?;
        self.shared.set_durable(commit);
        self.shared.close();
        Ok(())
    }
}

impl Worker for CoreWorker {
    /// Takes what has arrived, runs one tick over all of it, and does what is due besides. It ends when it is told to stop, when
    /// the disk has failed, or when nobody is left who could tell it anything.
    fn turn(&mut self, may_wait: bool) -> Turn {
        let Some(core) = &mut self.core else { return Turn::Ended };
        if core.shared.is_closed() {
            return Turn::Ended;
        }
        let mut next = match next_message(&self.inbox, may_wait.then_some(HOUSEKEEPING)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Turn::Ended,
        };
        let (mut stop, idle) = (None, next.is_none());
        for _ in 0..MESSAGES_PER_TICK {
            let Some(message) = next.take() else { break };
            // Whoever asks goes on as soon as it is answered. Where turns are taken one by one, what it asks for then is for the next.
            let is_last = !may_wait && matches!(message, Message::Call(_));
            stop = core.handle(message);
            if is_last || stop.is_some() || core.shared.is_closed() {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        if core.shared.is_closed() {
            // What went wrong may stand in memory half done, and must not be put on record.
            return Turn::Ended;
        }
        let kept_files = core.tick().and_then(|()| core.leave_failed()).and_then(|()| core.keep_files());
        let mut has_worked = !idle;
        match kept_files {
            Ok(has_kept) => has_worked |= has_kept,
            Err(error) => core.fatal(error),
        }
        if core.shared.is_closed() {
            return Turn::Ended;
        }
        // Under load nothing ever times out, and logs must be reclaimed all the same.
        let now = core.clock.monotonic();
        let is_due = (idle && may_wait) || now.saturating_sub(self.kept) >= HOUSEKEEPING;
        if stop.is_none() && is_due {
            self.kept = now;
            core.housekeep();
            has_worked = true;
        }
        if let Some(answer) = stop {
            let done = core.shut_down();
            // The directory is free once the answer is there.
            self.core = None;
            // Whoever asked may have gone; the work is done all the same.
            let _ = answer.send(done);
            return Turn::Ended;
        }
        if has_worked { Turn::Worked } else { Turn::Idle }
    }
}

/// Lets state that was not touched for long leave memory, where that is short. To be called when no job is within a round.
pub(crate) fn relieve(governor: &Governor, jobs: &mut BTreeMap<JobId, Job>) {
    if !governor.choose() {
        return;
    }
    for job in jobs.values_mut() {
        for branch in &mut job.branches {
            let Branch::Flow(flow) = branch else { continue };
            if let Err(error) = flow.dataflow.relieve() {
                // It stays in memory, and is tried again after the next round.
                tracing::warn!(job = job.record.name, "its state cannot be spilled: {error}");
            }
        }
    }
}
