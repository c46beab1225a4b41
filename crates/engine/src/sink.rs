//! A sink at work: reads the durable change log of one table and writes it outside, transaction by transaction.
//!
//! The outside itself says up to which commit it was written, so a crash on either side repeats nothing and loses nothing. A
//! slow or absent outside delays this sink alone; what gathers meanwhile is merged, each key once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_select::take::take;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::clock::Clock;
use gridhouse_base::{CommitId, Error, ErrorKind, JobId, Result, TableId};
use gridhouse_expr::EvalContext;
use gridhouse_flow::connector::{ChangelogMode, Sink, Standing};
use gridhouse_store::{Reader, Snapshot, TableSnapshot};

use crate::core::{Core, Message};
use crate::handover::{Before, taken_over};
use crate::held::Held;
use crate::history::{Counts, History};
use crate::landing::Landing;
use crate::lineage::Lineage;
use crate::passing::{NetByCommit, joined};
use crate::shared::{Shared, lock};
use crate::stream::with_remedy;
use crate::trace::WriteNote;
use crate::worker::{Outgoing, Turn, Worker, Workers};
use crate::writers::OutsideWriter;

/// The first pause after the outside did not answer; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: a server that comes back is used again within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a sink that rests looks whether it should stop.
const REST_LOOK: Duration = Duration::from_millis(50);
/// How long an idle sink sleeps before it looks whether it should stop.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How often a sink that has nothing to write looks whether the outside is there and as it was left: one that was restored, or has
/// ended, is noticed within that time, for a query of a row.
const OUTSIDE_LOOK: Duration = Duration::from_secs(10);
/// How often, in written transactions, a sink tells the core how far it has come, so that the log can be reclaimed.
const REPORT_EVERY: u64 = 64;
/// And how often in time, where others keep the store busy: what it has not told counts as not written.
const SETTLE_EVERY: Duration = Duration::from_secs(10);

/// What a sink has to write is gathered as one up to this many rows; what is more passes batch by batch, so that a transaction of
/// any size needs bounded memory. Rows of 100 bytes take some 6 MB.
const GATHERED_ROWS: u64 = 65_536;
/// And up to this many bytes, as far as the log tells.
const GATHERED_BYTES: u64 = 16 << 20;

/// What a sink reads and how it turns it into the outside's rows.
pub(crate) struct SinkPlan {
    /// The sink's name, unique within the store.
    pub(crate) name: String,
    /// Whose output it writes.
    pub(crate) job: JobId,
    /// The table whose log is read.
    pub(crate) table: TableId,
    /// The projection of its rows; `None` where the table has the sink's own columns.
    pub(crate) projection: Option<Landing>,
    /// Key columns of the outside's rows; empty where there is no key.
    pub(crate) key: Vec<usize>,
    /// What the outside takes.
    pub(crate) mode: ChangelogMode,
    /// Whether the last column of the table holds the rows' kinds (a log of changes that has no key).
    pub(crate) kinds_inside: bool,
    /// The tick that made the table, or a later one: before it is durable there is nothing to read.
    pub(crate) since: CommitId,
    /// How far the outside was written, as the store remembers it.
    pub(crate) reached: CommitId,
    /// From where on its log has been kept for an outside that loses its last transactions, and how far it may be behind in bytes.
    /// `None` for an outside that does not tell where it stands.
    pub(crate) held: Option<(Option<CommitId>, u64)>,
    /// Where to go on, for an outside that does not keep that itself.
    pub(crate) goes_on_at: CommitId,
    /// The table that the outside was written from before, if it has yet to be taken over, or may go back behind that.
    pub(crate) before: Option<Before>,
    /// How far an outside that holds rows must have been written, so that the table tells all that it lacks.
    pub(crate) tells_from: CommitId,
    /// What the store has been through: whether what the outside was written up to is still here.
    pub(crate) lineage: Lineage,
    /// The job's zone and clock for the projection.
    pub(crate) context: EvalContext,
}

/// How a sink is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkStatus {
    pub(crate) upto: CommitId,
    /// Everything up to here has been looked at, whether or not there was anything to write.
    pub(crate) read: CommitId,
    pub(crate) rows_out: u64,
    /// What was written in the last minute.
    pub(crate) history: History,
    pub(crate) delay_micros: Option<i64>,
    /// Why it waits, or why it has given up.
    pub(crate) error: Option<String>,
    pub(crate) failed: bool,
}

/// A running sink. Dropping it stops its worker without waiting.
pub(crate) struct SinkHandle {
    pub(crate) name: String,
    stop: Arc<AtomicBool>,
    pub(crate) status: Arc<Mutex<SinkStatus>>,
    shared: Arc<Shared>,
}

impl SinkHandle {
    /// Has `workers` take over the work. `failed` is called on the core when the sink gives up.
    pub(crate) fn start(
        plan: SinkPlan,
        sink: Box<dyn Sink>,
        reader: Reader,
        place: Place,
        surroundings: Surroundings<'_>,
        failed: impl FnOnce(&mut Core, Error) + Send + 'static,
    ) -> Result<Self> {
        let Surroundings { shared, clock, core, workers } = surroundings;
        let Place { stop, writer, predecessors } = place;
        let status = Arc::new(Mutex::new(SinkStatus::default()));
        let name = plan.name.clone();
        let held = plan.held.map(|(kept, cap)| Held::new(kept, clock.monotonic(), cap));
        let worker = SinkWorker {
            held,
            is_owed: plan.before.as_ref().is_some_and(|before| before.is_owed),
            plan,
            sink,
            reader,
            shared: shared.clone(),
            clock,
            core: Outgoing::to(core),
            stop: stop.clone(),
            status: status.clone(),
            reading: None,
            pause: FIRST_PAUSE,
            rests_until: None,
            failed: Some(Box::new(failed)),
            writer,
            predecessors,
        };
        workers.start(format!("sink {name}"), Box::new(worker))?;
        Ok(Self { name, stop, status, shared })
    }

    /// Tells the worker to stop after the transaction that it is in.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// A sink among those that write the same outside table.
pub(crate) struct Place {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) writer: OutsideWriter,
    /// Who has yet to leave.
    pub(crate) predecessors: Vec<OutsideWriter>,
}

/// What a sink works among.
pub(crate) struct Surroundings<'a> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) core: SyncSender<Message>,
    pub(crate) workers: &'a dyn Workers,
}

struct SinkWorker {
    /// What of its log is kept though it is written.
    held: Option<Held>,
    /// Whether the outside has yet to be taken over, wherever it stands.
    is_owed: bool,
    plan: SinkPlan,
    sink: Box<dyn Sink>,
    reader: Reader,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    core: Outgoing,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<SinkStatus>>,
    /// What is known since the outside was last asked where it stands.
    reading: Option<Reading>,
    /// How long the next rest is, after the outside did not answer.
    pause: Duration,
    /// The end of the rest that is being taken, in monotonic time.
    rests_until: Option<Duration>,
    /// What the core is to do when the sink gives up; gone once it is told.
    failed: Option<Box<GivingUp>>,
    writer: OutsideWriter,
    /// Who wrote the outside table and has yet to end.
    predecessors: Vec<OutsideWriter>,
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.writer.end(self.reading.as_ref().map(|reading| reading.upto));
    }
}

/// What the core does when a sink has given up.
type GivingUp = dyn FnOnce(&mut Core, Error) + Send;

/// How far a sink has read and written since it asked the outside.
struct Reading {
    /// How far the outside is written.
    upto: CommitId,
    /// How far the log was read; rows that do not concern the outside are passed over without writing.
    read: CommitId,
    /// The newest durable commit that was looked at.
    heard: CommitId,
    /// When nothing had been heard for as long as an idle sink waits, or something was, in monotonic time.
    since: Duration,
    /// When the outside and the core were last told how far all is, in monotonic time.
    settled: Duration,
    /// When the outside last answered, in monotonic time.
    answered: Duration,
    /// How many transactions were written.
    written: u64,
    /// How far the core was told, and from where on the log is to be kept.
    reported: (CommitId, CommitId),
    /// How far the outside had been written before, as is remembered here.
    known: CommitId,
    /// Whether the outside held rows. Where no rows were written yet, none are missing.
    was_filled: bool,
    /// What is typed at the outside so that it is written from its beginning.
    emptied_by: Option<String>,
}

impl Worker for SinkWorker {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if let Some(turn) = self.core.send_held(may_wait) {
            return turn;
        }
        if self.stopped() {
            if let Some(reading) = &self.reading {
                let (upto, now) = (reading.upto, self.clock.monotonic());
                let kept = self.held.as_mut().map_or(upto, |held| held.kept(upto, now));
                self.report(upto, kept);
            }
            return Turn::Ended;
        }
        if self.failed.is_none() {
            return Turn::Ended;
        }
        if let Some(until) = self.rests_until {
            let now = self.clock.monotonic();
            if now < until {
                if may_wait {
                    std::thread::park_timeout((until - now).min(REST_LOOK));
                }
                return Turn::Idle;
            }
            self.rests_until = None;
        }
        self.predecessors.retain(OutsideWriter::is_leaving);
        if !self.predecessors.is_empty() {
            lock(&self.status).error = Some("the writer before is still in its last transaction".to_owned());
            if may_wait {
                std::thread::park_timeout(REST_LOOK);
            }
            return Turn::Idle;
        }
        match self.step(may_wait) {
            Ok(turn) => turn,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let (told, pause) = (with_remedy(&error), self.pause);
                tracing::warn!(sink = self.plan.name, "{told}; next try in {} ms", pause.as_millis());
                lock(&self.status).error = Some(told);
                self.reading = None;
                self.rests_until = Some(self.clock.monotonic() + pause);
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                Turn::Worked
            }
            Err(error) => self.give_up(error, may_wait),
        }
    }
}

impl SinkWorker {
    /// The sink cannot go on without the user.
    fn give_up(&mut self, error: Error, may_wait: bool) -> Turn {
        let Some(failed) = self.failed.take().filter(|_| !self.stopped()) else {
            // Whoever stopped it may have begun another in its place, which fences this one; that is no failure.
            return Turn::Ended;
        };
        {
            let mut status = lock(&self.status);
            status.error = Some(with_remedy(&error));
            status.failed = true;
        }
        let stop = self.stop.clone();
        let call = Message::Call(Box::new(move |core: &mut Core| {
            // The job may have been stopped or dropped while the news was under way.
            if !stop.load(Ordering::SeqCst) {
                failed(core, error);
            }
        }));
        // A core that is gone has nothing to fail.
        self.core.send(call, may_wait)
    }

    /// Asks the outside where it stands, or takes it on by what has become durable since.
    fn step(&mut self, may_wait: bool) -> Result<Turn> {
        match self.reading.take() {
            None => self.reading = Some(self.begin()?),
            Some(mut reading) => {
                let turn = self.read_on(&mut reading, may_wait);
                // A row that is refused was not written. After any other error it is not known where the outside stands.
                if turn.as_ref().map_or_else(|error| error.kind() == ErrorKind::Invalid, |_| true) {
                    self.reading = Some(reading);
                }
                return turn;
            }
        }
        Ok(Turn::Worked)
    }

    /// Asks the outside where it stands.
    fn begin(&mut self) -> Result<Reading> {
        let (plan, reader) = (&self.plan, &self.reader);
        let upto = self.sink.claim(&|standing| plan.may_go_on(&reader.snapshot(), standing))?.max(plan.goes_on_at);
        let known = lock(&self.status).upto.max(self.plan.reached);
        let emptied_by = self.sink.emptied_by();
        {
            let mut status = lock(&self.status);
            if upto < status.upto {
                // What it had been given is to be given again.
                status.read = upto;
            }
            status.upto = upto;
            status.error = None;
        }
        self.pause = FIRST_PAUSE;
        Ok(Reading {
            upto,
            read: upto,
            heard: CommitId(self.plan.since.0.saturating_sub(1)),
            since: self.clock.monotonic(),
            settled: self.clock.monotonic(),
            answered: self.clock.monotonic(),
            written: 0,
            reported: (upto, CommitId(0)),
            known,
            was_filled: self.sink.was_filled(),
            emptied_by,
        })
    }

    /// Nothing new has become durable.
    fn rest(&mut self, at: &mut Reading, may_wait: bool) -> Result<Turn> {
        let now = self.clock.monotonic();
        if !may_wait && now.saturating_sub(at.since) < IDLE_LOOK {
            return Ok(Turn::Idle);
        }
        at.since = now;
        self.settle(at, now)
    }

    /// Tells outside and core how far all is.
    fn settle(&mut self, at: &mut Reading, now: Duration) -> Result<Turn> {
        at.settled = now;
        let mut turn = Turn::Idle;
        if at.read > at.upto {
            // The outside is told that there was nothing for it, so that the log need not be kept for it.
            self.sink.write(at.upto, at.read, &[])?;
            (at.upto, at.answered) = (at.read, now);
            turn = Turn::Worked;
        } else if now.saturating_sub(at.answered) >= OUTSIDE_LOOK {
            self.sink.look(at.upto)?;
            at.answered = now;
        }
        if self.report_new(at) {
            turn = Turn::Worked;
        }
        Ok(turn)
    }

    /// Takes the outside on to what is durable.
    fn read_on(&mut self, at: &mut Reading, may_wait: bool) -> Result<Turn> {
        let turn = self.read_durable(at, may_wait)?;
        let now = self.clock.monotonic();
        if now.saturating_sub(at.settled) >= SETTLE_EVERY {
            self.settle(at, now)?;
        }
        Ok(turn)
    }

    fn read_durable(&mut self, at: &mut Reading, may_wait: bool) -> Result<Turn> {
        let limit = if may_wait { IDLE_LOOK } else { Duration::ZERO };
        let durable = self.shared.wait_newer(at.heard, limit, &self.stop);
        if durable <= at.heard {
            return self.rest(at, may_wait);
        }
        (at.heard, at.since) = (durable, self.clock.monotonic());
        let woke = self.clock.now_micros();
        let snapshot = self.reader.snapshot();
        if self.stopped() {
            // What came after it was told to leave is for whoever writes in its place.
            return Ok(Turn::Worked);
        }
        let seen = snapshot.commit();
        let table = snapshot.table(self.plan.table)?;
        let left = self.plan.left(at, self.is_owed, &snapshot, &table)?;
        let takes_over = left.is_some();
        if let Some(held) = self.held.as_mut().filter(|_| takes_over) {
            // It may go back to where it stands now.
            held.kept(at.upto, self.clock.monotonic());
        }
        let mut changes = self.plan.changes(&table, left, at.read, at.emptied_by.as_deref())?.peekable();
        if changes.peek().is_none() && !takes_over {
            lock(&self.status).read = seen;
            return Ok(Turn::Worked);
        }
        let mut changes = self.plan.outside_rows(changes, &table.spec().primary_key)?.peekable();
        at.read = seen;
        if changes.peek().is_none() {
            drop(changes);
            if takes_over {
                // Nothing has come, and nothing is to go.
                self.sink.write(at.upto, seen, &[])?;
                (at.upto, at.answered) = (seen, self.clock.monotonic());
                self.took_over();
            }
            lock(&self.status).read = seen;
            return Ok(Turn::Worked);
        }
        if at.upto < at.known && at.written == 0 && at.was_filled {
            tracing::warn!(
                sink = self.plan.name,
                "the outside stands at {} and had been written up to {}: it was restored from a back-up, failed over, or was emptied; what it lacks is written again",
                at.upto,
                at.known
            );
        }
        let ready = self.clock.now_micros();
        let (mut rows, mut bytes) = (0, 0);
        let mut counted = changes.inspect(|batch| {
            rows += batch.as_ref().map_or(0, KindBatch::len);
            bytes += batch.as_ref().map_or(0, KindBatch::bytes);
        });
        self.sink.write_changes(at.upto, seen, &mut counted)?;
        drop(counted);
        self.took_over();
        self.held.iter_mut().for_each(|held| held.wrote(bytes));
        let (sink, from, now) = (self.plan.name.clone(), at.upto, self.clock.now_micros());
        self.shared.trace().wrote(WriteNote { sink, from, upto: seen, woke, read: ready, written: now });
        let delay = self.shared.event_time(at.upto, seen).map(|time| now - time);
        (at.upto, at.answered) = (seen, self.clock.monotonic());
        at.written += 1;
        if let Some(held) = &mut self.held {
            held.kept(at.upto, at.answered);
        }
        {
            let mut status = lock(&self.status);
            status.upto = at.upto;
            status.read = seen;
            status.rows_out += rows as u64;
            let counts = Counts { rows_in: status.rows_out, rows_out: status.rows_out };
            status.history.note(self.clock.monotonic(), vec![counts]);
            status.delay_micros = delay.or(status.delay_micros);
            status.error = None;
        }
        if at.written.is_multiple_of(REPORT_EVERY) {
            self.report_new(at);
        }
        Ok(Turn::Worked)
    }

    /// The outside holds what its table has, and nothing from the one before.
    fn took_over(&mut self) {
        if std::mem::take(&mut self.is_owed)
            && let Some(before) = &self.plan.before
        {
            self.writer.note_taken_over(before.table);
        }
    }

    /// Tells the core how far the outside has come, if that is news.
    fn report_new(&mut self, at: &mut Reading) -> bool {
        let now = self.clock.monotonic();
        let kept = self.held.as_mut().map_or(at.upto, |held| held.kept(at.upto, now));
        let is_new = at.upto > at.reported.0 || kept > at.reported.1 && at.upto > CommitId(0);
        if is_new {
            self.report(at.upto, kept);
            at.reported = (at.upto, kept);
        }
        is_new
    }

    /// Tells the core how far the outside has come, and from where on its log is to be kept. The core may be waiting for this worker
    /// to end, so a full queue is no reason to wait: the next report, or the next start, says the same.
    fn report(&self, upto: CommitId, kept: CommitId) {
        if upto == CommitId(0) {
            // It will get the rows as they stand, for which no log need be kept.
            return;
        }
        let name = self.plan.name.clone();
        let call = Message::Call(Box::new(move |core: &mut Core| core.sink_reached(&name, upto, Some(kept))));
        self.core.offer(call);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.shared.is_closed()
    }
}

/// Changes as they are read.
type Batches<'a> = Box<dyn Iterator<Item = Result<KindBatch>> + 'a>;

impl SinkPlan {
    /// Whether the outside takes what became of each key.
    fn is_upsert(&self) -> bool {
        self.mode == ChangelogMode::Upsert && !self.key.is_empty()
    }

    /// An outside that stands there has seen nothing that is lost here. Asked before it is claimed: whoever went on with what is
    /// lost here must not be fenced by a copy that cannot.
    fn may_go_on(&self, snapshot: &Snapshot, standing: &Standing) -> Result<()> {
        let (upto, newest) = (standing.upto.max(self.goes_on_at), snapshot.commit().max(self.since));
        self.lineage.check(&self.name, standing.history, upto, newest).map_err(|error| {
            let table = snapshot.table(self.table).ok();
            let anew = self.begun_anew(table.as_ref(), standing.emptied_by.as_deref());
            error.hint(format!(
                "the data directory was restored from an older copy; or the one that it was copied from still runs, and is to go on: then stop this one; else {anew}"
            ))
        })
    }

    /// What the user does to have the outside written from its beginning, given what is typed there.
    fn begun_anew(&self, table: Option<&TableSnapshot>, emptied_by: Option<&str>) -> String {
        let (job, typed) = (self.job.0, typed_there(emptied_by));
        if table.is_some_and(|table| self.is_cut_queue(table)) {
            return format!(
                "a new job gives all of its rows: type DROP JOB {job} here, {typed}, then run the INSERT again here"
            );
        }
        format!("to have it written anew {typed}, then START JOB {job} here")
    }

    /// The table from which an outside that holds rows is to be taken over: it has yet to be, or has gone back behind that.
    ///
    /// # Errors
    /// `Conflict` where it was written from a table that is no longer kept.
    fn left(
        &self,
        at: &Reading,
        is_owed: bool,
        snapshot: &Snapshot,
        table: &TableSnapshot,
    ) -> Result<Option<(&Before, TableSnapshot)>> {
        let before = self.before.as_ref().filter(|before| is_owed || at.upto <= before.until);
        if at.upto == CommitId(0) || before.is_none() && at.upto >= self.tells_from {
            return Ok(None);
        }
        let known = before.filter(|before| at.upto >= before.tells_from);
        if let Some((before, left)) = known.and_then(|before| Some((before, snapshot.table(before.table).ok()?))) {
            return Ok(Some((before, left)));
        }
        let told = format!(
            "sink {} was last written at {}, from another table than now, whose rows are no longer known here: those of them that are to go would stay",
            self.name, at.upto
        );
        Err(Error::conflict(told).hint(format!(
            "it was failed over to a standby, or restored from a back-up, from before another query took its place, or its table here was dropped and made anew; {}",
            self.begun_anew(Some(table), at.emptied_by.as_deref())
        )))
    }

    /// Whether rows that a job has put out without a key are no longer kept: what is left is not what it has come to.
    fn is_cut_queue(&self, table: &TableSnapshot) -> bool {
        let is_queue = table.spec().hidden && table.spec().primary_key.is_empty();
        is_queue && table.log_start().max(self.tells_from) > CommitId(0)
    }

    /// What changed in the table after `upto`. An outside that was never written gets the rows as they stand where the log's
    /// beginning is no longer kept.
    fn changes<'a>(
        &'a self,
        table: &TableSnapshot,
        left: Option<(&Before, TableSnapshot)>,
        upto: CommitId,
        emptied_by: Option<&str>,
    ) -> Result<Batches<'a>> {
        let too_old = |error: Error| {
            Error::conflict(format!(
                "sink {} was last written at {upto}, but the log of its table no longer goes back that far",
                self.name
            ))
            .hint(format!(
                "it was failed over to a standby that was more than minutes or 4 MB behind, was restored from a back-up, or was away for longer than its cap allows (settings `consumer_cap_age` and `consumer_cap_size`); {}",
                self.begun_anew(Some(table), emptied_by)
            ))
            .caused_by(error)
        };
        if let Some((before, left)) = left {
            return Ok(Box::new(taken_over(before, (&left, table), upto).map_err(too_old)?));
        }
        let is_cut_queue = self.is_cut_queue(table);
        if upto == CommitId(0) && (is_cut_queue || table.log_start() > upto) {
            if is_cut_queue {
                return Err(Error::conflict(format!(
                    "sink {} is to be written from its beginning, but what its job put out up to {} is no longer kept",
                    self.name,
                    table.log_start().max(self.tells_from)
                ))
                .hint(self.begun_anew(Some(table), emptied_by)));
            }
            let rows = |batch: Result<gridhouse_base::ChangeBatch>| {
                let batch = batch?;
                let rows = KindBatch::new(batch.columns().to_vec(), vec![RowKind::Insert; batch.len()]);
                Ok(if self.kinds_inside { unpack_kinds(rows) } else { rows })
            };
            return Ok(Box::new(table.scan(None).map(rows)));
        }
        let lag = table.lag(upto);
        let is_large = lag.rows > GATHERED_ROWS || lag.bytes > GATHERED_BYTES;
        let changes = if self.is_upsert() && is_large { table.last_changes(upto) } else { table.changes(upto) };
        let changes = changes.map_err(too_old)?;
        let key = &table.spec().primary_key;
        if self.is_upsert() {
            let batches = changes.map(|entry| entry.map(|(_, batch)| batch));
            if is_large {
                return Ok(Box::new(batches));
            }
            // The whole of it at once, so that each key is told once.
            let batches = batches.collect::<Result<Vec<_>>>()?;
            return Ok(Box::new(joined(batches)?.into_iter().map(Ok)));
        }
        if self.kinds_inside {
            let unpacked = changes.map(|entry| entry.map(|(commit, batch)| (commit, unpack_kinds(batch))));
            return Ok(Box::new(NetByCommit::new(unpacked, Vec::new())));
        }
        if key.is_empty() {
            // Nothing of a log is ever undone.
            return Ok(Box::new(changes.map(|entry| entry.map(|(_, batch)| batch))));
        }
        Ok(Box::new(NetByCommit::new(changes, key.clone())))
    }

    /// The table's changes as the outside takes them: in upsert mode the last change of each key alone, as far as they come in one
    /// batch, projected. Versions of a row that are none any more are left out before, since one may be no value outside. Batches
    /// without rows are left out. A plain copy has the key of the table, `table_key`.
    fn outside_rows<'a>(
        &'a self,
        changes: impl Iterator<Item = Result<KindBatch>> + 'a,
        table_key: &[usize],
    ) -> Result<Batches<'a>> {
        let key = if self.projection.is_some() { table_key.to_vec() } else { self.key.clone() };
        let outside = move |batch: Result<KindBatch>| {
            let rows = if self.is_upsert() { last_of_each_key(batch?, &key)? } else { Some(batch?) };
            let Some(rows) = rows else { return Ok(None) };
            let rows = match &self.projection {
                Some(projection) => projection.apply(None, rows, &self.context)?.0,
                None => rows,
            };
            Ok((!rows.is_empty()).then_some(rows))
        };
        Ok(Box::new(changes.map(outside).filter_map(Result::transpose)))
    }
}

/// How the outside is emptied.
fn typed_there(emptied_by: Option<&str>) -> String {
    emptied_by.map_or_else(|| "empty the outside".to_owned(), |statements| format!("type there `{statements}`"))
}

/// The batch without its last column, which holds the kinds.
fn unpack_kinds(batch: KindBatch) -> KindBatch {
    let mut columns = batch.columns;
    let kinds = columns.pop().expect("a log of kinds has a column of kinds");
    let kinds = kinds.as_any().downcast_ref::<arrow_array::Int8Array>().expect("kinds are TINYINT");
    let kind = |byte: &i8| RowKind::from_byte(*byte as u8).expect("only known kinds are written");
    KindBatch::new(columns, kinds.values().iter().map(kind).collect::<Vec<_>>())
}

/// Each key's last change, in the order of those changes; nothing of a key that came and went.
fn last_of_each_key(batch: KindBatch, key: &[usize]) -> Result<Option<KindBatch>> {
    let internal = |error: arrow_schema::ArrowError| Error::internal("changes could not be merged").caused_by(error);
    let KindBatch { columns, kinds } = batch;
    if kinds.is_empty() {
        return Ok(None);
    }
    let fields = key.iter().map(|&i| SortField::new(columns[i].data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(internal)?;
    let keys: Vec<ArrayRef> = key.iter().map(|&i| columns[i].clone()).collect();
    let rows = converter.convert_columns(&keys).map_err(internal)?;
    // Whether the key was new, and its last change.
    let mut last: HashMap<arrow_row::Row<'_>, (bool, u32)> = HashMap::with_capacity(kinds.len());
    for (i, kind) in kinds.iter().enumerate() {
        if *kind != RowKind::UpdateBefore {
            last.entry(rows.row(i)).or_insert((*kind == RowKind::Insert, 0)).1 = i as u32;
        }
    }
    let passing = |(is_new, i): &(bool, u32)| *is_new && kinds[*i as usize] == RowKind::Delete;
    let mut kept: Vec<u32> = last.into_values().filter(|change| !passing(change)).map(|(_, i)| i).collect();
    kept.sort_unstable();
    let kinds: Vec<RowKind> = kept.iter().map(|&i| kinds[i as usize]).collect();
    let kept = UInt32Array::from(kept);
    let columns =
        columns.iter().map(|column| take(column, &kept, None)).collect::<Result<Vec<_>, _>>().map_err(internal)?;
    Ok(Some(KindBatch::new(columns, kinds)))
}
