//! The running stream of one database: a thread with one replication connection.
//!
//! The worker connects, hands over (see `handover.rs`), then decodes what arrives until the connection is lost, and tries
//! again with growing pauses for as long as it runs: every error of the outside is told as `Waiting` and heals by itself
//! once its cause is gone. Only what the user must decide ends the stream (`Failed`).
//!
//! What always holds: the slot is acknowledged only up to what the engine acknowledged *and* this session has received; a
//! lost connection resumes after the last `Commit` or `Idle` that was sent; the engine's queue is bounded, and while it is
//! full the server is still told that we live.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{Error, Result, SourceId};
use gridhouse_flow::connector::{SourceEvent, SourceEvents, StreamPlace};
use tokio::sync::Notify;

use super::cdc_options::CdcOptions;
use super::client::Fault;
use super::connection::Connection;
use super::decode::{CdcTable, Decoder};
use super::look::Watch;
use super::pgoutput::{Frame, Lsn, PG_EPOCH_MICROS, frame};
use super::publication::Publication;
use super::timeline::Place;

/// How often the server hears of us. PostgreSQL's `wal_sender_timeout` is 60 s; values below 20 s would need this lower.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// After this part of the silence that the options allow, the server is asked for a sign of life.
const ASK_AFTER: u32 = 3;

/// How often an idle stream without tables reports its position.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Work between two looks at the socket (contents, a full queue) after which the silence says nothing about the server.
const WORKED_LONG: Duration = Duration::from_secs(1);

/// Pauses between attempts to connect: the first is short because most failures are restarts, the longest bounds how long
/// a healed source stays unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses while the engine's queue is full: it drains in ticks of milliseconds.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_QUEUE_PAUSE: Duration = Duration::from_millis(16);

/// Why a session ended.
pub(crate) enum End {
    /// It was asked to.
    Stopped,
    /// The outside failed; try again.
    Lost(Error),
    /// Only the user can go on.
    Failed(Error),
}

/// What the owner of a stream tells its worker.
pub(crate) enum Command {
    /// Bring this table in.
    Add(Box<CdcTable>),
    /// Leave this table out.
    Remove(u32),
    /// Read the contents of this table again.
    ReadAgain(u32),
}

/// What owner and worker share. The commands are bounded by the number of tables that exist.
#[derive(Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    acknowledged: Mutex<Place>,
    commands: Mutex<Vec<Command>>,
    wake: Notify,
}

impl Shared {
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn acknowledge(&self, place: Place) {
        let mut known = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if known.timeline != place.timeline || known.lsn < place.lsn {
            *known = place;
        }
        drop(known);
        self.wake.notify_one();
    }

    fn acknowledged(&self) -> Place {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.wake.notify_one();
    }

    fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How the server lists the streams of a store (`application_name`): by it they are told from those of others.
pub(super) fn session_name(store: u128) -> String {
    format!("{SESSIONS}{store:032x}")
}

/// How the name of every such session begins.
pub(super) const SESSIONS: &str = "gridhouse ";

/// The worker of one stream.
pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) source: SourceId,
    pub(super) stream_key: String,
    /// How the server lists its connections.
    pub(super) name: String,
    pub(super) events: SourceEvents,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) decoder: Decoder,
    /// The options of the table that names slot and publication: the first, even when it is left out later.
    pub(super) options: CdcOptions,
    /// Where to resume; `None` until there is a slot.
    pub(super) position: Option<Place>,
    /// The publication, as it was when contents were last asked for.
    pub(super) published: Publication,
    /// Whether the slot was seen to be read by another store.
    pub(super) is_others: bool,
    /// Why the slot cannot be read on, where the server said so.
    pub(super) unreadable: Option<String>,
    /// Tables whose contents are partly sent.
    pub(super) half_sent: Vec<u32>,
    /// When the server was last told of us, and what it was told to be durable.
    status_at: Duration,
    status_durable: Lsn,
    heard_at: Duration,
    idle_at: Duration,
    idle_wanted: bool,
    pause: Duration,
    /// What is looked at beside the stream.
    pub(super) watch: Watch,
}

impl Worker {
    /// A worker that has not started.
    #[allow(clippy::too_many_arguments, reason = "each is told once, by the one caller")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        source: SourceId,
        place: StreamPlace<'_>,
        events: SourceEvents,
        clock: Arc<dyn Clock>,
        options: CdcOptions,
        tables: Vec<CdcTable>,
        position: Option<Place>,
    ) -> Self {
        let mut decoder = Decoder::new(options.target.database.clone());
        decoder.tables = tables;
        Self {
            shared,
            source,
            stream_key: place.key.to_owned(),
            name: session_name(place.store),
            is_others: false,
            events,
            clock,
            decoder,
            options,
            position,
            published: Publication::default(),
            unreadable: None,
            half_sent: Vec::new(),
            status_at: Duration::ZERO,
            status_durable: Lsn(0),
            heard_at: Duration::ZERO,
            idle_at: Duration::ZERO,
            idle_wanted: false,
            pause: FIRST_PAUSE,
            watch: Watch::default(),
        }
    }

    /// Runs until stopped; the body of the stream's thread.
    pub(crate) fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.attempts());
                // Look-ups of names may still run on a helper thread; nobody waits for them.
                runtime.shutdown_background();
            }
            Err(error) => {
                let error = Error::internal("the thread of a source stream could not start").caused_by(error);
                let _ = self.events.send((self.source, SourceEvent::Failed { error }));
            }
        }
    }

    async fn attempts(&mut self) {
        loop {
            let end = self.session().await;
            let ended = match end {
                Err(End::Stopped) => return,
                Err(End::Lost(error)) => self.lost(error).await,
                Err(End::Failed(error)) => {
                    let told = self.fail(error).await;
                    told.and(or_stop(&self.shared, std::future::pending::<()>()).await)
                }
                Ok(never) => match never {},
            };
            if ended.is_err() {
                return;
            }
        }
    }

    async fn lost(&mut self, error: Error) -> Result<(), End> {
        self.decoder.reset(self.position.unwrap_or_default().lsn);
        self.abort_contents(None).await?;
        self.emit_events(&mut None).await?;
        self.emit(SourceEvent::Waiting { error }, None).await?;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        or_stop(&self.shared, tokio::time::sleep(pause)).await
    }

    async fn fail(&mut self, error: Error) -> Result<(), End> {
        self.abort_contents(None).await?;
        self.emit(SourceEvent::Failed { error }, None).await
    }

    /// Voids contents that were partly sent.
    pub(super) async fn abort_contents(&mut self, mut connection: Option<&mut Connection>) -> Result<(), End> {
        for table in std::mem::take(&mut self.half_sent) {
            self.emit(SourceEvent::SnapshotAborted { table }, connection.as_deref_mut()).await?;
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, End> {
        self.take_commands();
        let mut connection = self.connect().await?;
        self.pause = FIRST_PAUSE;
        self.emit(SourceEvent::Connected, Some(&mut connection)).await?;
        let result = self.stream(&mut connection).await;
        if let Err(End::Stopped) = &result {
            // The last acknowledgement goes out, so that the slot does not hold WAL needlessly, and the slot is free at once.
            let _ = self.status(&mut connection, false).await;
            connection.close().await;
        }
        result
    }

    async fn stream(&mut self, connection: &mut Connection) -> Result<std::convert::Infallible, End> {
        let now = self.clock.monotonic();
        (self.heard_at, self.idle_at, self.status_durable) = (now, now, Lsn(0));
        self.watch.begin();
        loop {
            let begun = self.clock.monotonic();
            while let Some(bytes) = connection.next_frame().map_err(|fault| self.stream_fault(fault))? {
                match frame(&bytes).map_err(End::Lost)? {
                    Frame::Data { payload } => {
                        self.decoder.message(payload).map_err(by_kind)?;
                        if !self.decoder.events.is_empty() {
                            self.emit_events(&mut Some(&mut *connection)).await?;
                        }
                        if self.decoder.group_is_full() && !self.decoder.in_transaction() {
                            self.end_group(connection).await?;
                        }
                    }
                    Frame::KeepAlive { end, reply } => {
                        if !self.decoder.in_transaction() {
                            self.decoder.reached = self.decoder.reached.max(end);
                        }
                        if reply {
                            self.idle_wanted = true;
                            self.status(connection, false).await?;
                        }
                    }
                }
            }
            if self.shared.stopped() {
                return Err(End::Stopped);
            }
            let now = self.clock.monotonic();
            self.status_if_due(connection).await?;
            if !self.decoder.in_transaction() {
                // Under load too: what is looked at may be wrong for as long as nobody looks.
                self.look_if_due(connection).await?;
            }
            // That has listened here too: a server that is silent to both is silent.
            let listened = self.clock.monotonic();
            if connection.take_available().map_err(lost)? {
                self.heard_at = listened;
                self.decoder.received_micros = self.clock.now_micros();
                continue;
            }
            if !self.decoder.in_transaction() {
                self.end_group(connection).await?;
                self.take_commands();
                self.deliver_contents(connection).await?;
                self.idle(connection, now).await?;
            }
            let after = self.clock.monotonic();
            // Not the look between, which has waited for the same server.
            let worked = now.saturating_sub(begun) + after.saturating_sub(listened);
            if worked >= WORKED_LONG {
                // Nobody listened meanwhile: silence counts from here.
                self.heard_at = after;
                continue;
            }
            self.wait(connection).await?;
        }
    }

    /// Waits for bytes, for the owner, or for the next thing to do by the clock.
    async fn wait(&mut self, connection: &mut Connection) -> Result<(), End> {
        if self.durable() != self.status_durable {
            self.status(connection, false).await?;
        }
        let silence = self.clock.monotonic().saturating_sub(self.heard_at);
        let limit = self.options.target.silence;
        if silence >= limit {
            return Err(End::Lost(self.options.target.silent()));
        }
        let look = (STATUS_EVERY / 2).min(limit / ASK_AFTER);
        if silence >= limit / ASK_AFTER && self.clock.monotonic().saturating_sub(self.status_at) >= look {
            self.status(connection, true).await?;
        }
        let shared = self.shared.clone();
        tokio::select! {
            readable = connection.readable() => readable.map_err(lost),
            () = shared.wake.notified() => Ok(()),
            () = tokio::time::sleep(look) => Ok(()),
        }
    }

    /// An error that the server sent into the stream. A slot whose history lacks the publication (dropped and made again)
    /// can never be read on.
    fn stream_fault(&mut self, fault: Fault) -> End {
        if fault.code.as_deref() == Some("42704") {
            self.unreadable = Some(fault.message.clone());
        }
        lost(fault)
    }

    /// Sends the group gathered so far.
    async fn end_group(&mut self, connection: &mut Connection) -> Result<(), End> {
        self.decoder.end_group();
        self.emit_events(&mut Some(connection)).await
    }

    /// Sends what the decoder has to say. An event leaves the decoder only once it is sent: some are told once, and neither a
    /// connection that is lost meanwhile nor a wait that is given up may take them along.
    pub(super) async fn emit_events(&mut self, running: &mut Option<&mut Connection>) -> Result<(), End> {
        let mut pause = QUEUE_PAUSE;
        while let Some(event) = self.decoder.events.pop_front() {
            let position = match &event {
                SourceEvent::Commit { position, .. } => Some(Place::from_position(position).map_err(End::Failed)?),
                _ => None,
            };
            match self.offer(event)? {
                None => (self.position, pause) = (position.or(self.position), QUEUE_PAUSE),
                Some(back) => {
                    self.decoder.events.push_front(back);
                    self.wait_for_room(&mut pause, running).await?;
                }
            }
        }
        Ok(())
    }

    /// How often the source's tables want to hear of it.
    pub(super) fn heartbeat(&self) -> Duration {
        self.decoder.tables.iter().map(|table| table.options.heartbeat).min().unwrap_or(HEARTBEAT)
    }

    /// Tells the engine how far an idle stream is: every so often, and at once when the server waits for it (it does when
    /// it is being shut down).
    async fn idle(&mut self, connection: &mut Connection, now: Duration) -> Result<(), End> {
        let due = self.idle_wanted || now.saturating_sub(self.idle_at) >= self.heartbeat();
        if !due || self.position.is_some_and(|position| self.decoder.reached <= position.lsn) {
            return Ok(());
        }
        (self.idle_wanted, self.idle_at) = (false, now);
        let reached = self.decoder.place(self.decoder.reached);
        self.emit(SourceEvent::Idle { position: reached.position() }, Some(connection)).await?;
        self.position = Some(reached);
        Ok(())
    }

    /// Takes tables in and leaves tables out.
    fn take_commands(&mut self) {
        let commands = self.shared.take_commands();
        if commands.is_empty() {
            return;
        }
        for command in commands {
            match command {
                Command::Add(table) => self.decoder.tables.push(*table),
                Command::Remove(id) => self.decoder.tables.retain(|table| table.id != id),
                Command::ReadAgain(id) => {
                    let wanted = |table: &&mut CdcTable| table.id == id && !table.failed;
                    for table in self.decoder.tables.iter_mut().filter(wanted) {
                        // The owner knows that they are outdated.
                        table.want_contents();
                    }
                }
            }
        }
        self.decoder.rebind();
    }

    /// What the slot may forget: what the engine acknowledged of this timeline, but never more than this session has received
    /// (after a restore of the source, old acknowledgements lie in its future).
    pub(super) fn durable(&self) -> Lsn {
        let acknowledged = self.shared.acknowledged();
        let of_this = acknowledged.timeline == self.decoder.timeline;
        if of_this { acknowledged.lsn.min(self.decoder.reached) } else { Lsn(0) }
    }

    async fn status(&mut self, connection: &mut Connection, reply: bool) -> Result<(), End> {
        let (reached, durable) = (self.decoder.reached, self.durable());
        let now = self.clock.now_micros() - PG_EPOCH_MICROS;
        connection.send_status(reached, durable, now, reply).await.map_err(lost)?;
        (self.status_at, self.status_durable) = (self.clock.monotonic(), durable);
        Ok(())
    }

    pub(super) async fn status_if_due(&mut self, connection: &mut Connection) -> Result<(), End> {
        if self.clock.monotonic().saturating_sub(self.status_at) >= STATUS_EVERY {
            self.status(connection, false).await?;
        }
        Ok(())
    }

    /// Sends an event to the engine, waiting while its queue is full. Where that is given up, the event is lost.
    pub(super) async fn emit(
        &mut self,
        mut event: SourceEvent,
        mut connection: Option<&mut Connection>,
    ) -> Result<(), End> {
        let mut pause = QUEUE_PAUSE;
        while let Some(back) = self.offer(event)? {
            event = back;
            self.wait_for_room(&mut pause, &mut connection).await?;
        }
        Ok(())
    }

    /// Sends an event if the engine's queue has room; else gives it back.
    fn offer(&self, event: SourceEvent) -> Result<Option<SourceEvent>, End> {
        match self.events.try_send((self.source, event)) {
            Ok(()) => Ok(None),
            Err(TrySendError::Disconnected(_)) => Err(End::Stopped),
            Err(TrySendError::Full((_, back))) => Ok(Some(back)),
        }
    }

    /// Waits a moment for room in the engine's queue, while the server of the running stream hears of us.
    async fn wait_for_room(&mut self, pause: &mut Duration, running: &mut Option<&mut Connection>) -> Result<(), End> {
        if self.shared.stopped() {
            return Err(End::Stopped);
        }
        if let Some(connection) = running.as_deref_mut() {
            self.status_if_due(connection).await?;
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_QUEUE_PAUSE);
        Ok(())
    }

    /// Waits for `work`, while the server of the running stream hears of us.
    pub(super) async fn meanwhile<T>(
        &mut self,
        connection: &mut Option<&mut Connection>,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        loop {
            let shared = self.shared.clone();
            let round = async {
                tokio::select! {
                    done = &mut work => Some(done),
                    () = shared.wake.notified() => None,
                    () = tokio::time::sleep(STATUS_EVERY) => None,
                }
            };
            if let Some(done) = round.await {
                return Ok(done);
            }
            if self.shared.stopped() {
                return Err(End::Stopped);
            }
            if let Some(connection) = connection.as_deref_mut() {
                self.status_if_due(connection).await?;
            }
        }
    }
}

/// Waits for `work` unless the stream is stopped first.
pub(super) async fn or_stop<T>(shared: &Shared, work: impl Future<Output = T>) -> Result<T, End> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = shared.wake.notified() => {}
        }
        if shared.stopped() {
            return Err(End::Stopped);
        }
    }
}

/// A fault of the stream's connection.
pub(super) fn lost(fault: Fault) -> End {
    End::Lost(fault.error("the stream of changes"))
}

/// Errors of the outside and of the wire are tried again on a new connection; what does not fit needs the user.
pub(super) fn by_kind(error: Error) -> End {
    use gridhouse_base::ErrorKind as K;
    match error.kind() {
        K::Unavailable | K::NotFound | K::Corrupt => End::Lost(error),
        K::Invalid | K::Conflict | K::Internal => End::Failed(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use gridhouse_base::clock::ManualClock;

    use super::super::decode::tests::decoder;
    use super::*;

    /// A worker with the tables of `decoder`, and what it sends: `room` events before somebody takes them.
    pub(crate) fn worker(decoder: Decoder, room: usize) -> (Worker, Receiver<(SourceId, SourceEvent)>) {
        let (events, sent) = sync_channel(room);
        let (shared, clock) = (Arc::new(Shared::default()), Arc::new(ManualClock::new(0)));
        let options = decoder.tables[0].options.clone();
        let definition = decoder.tables[0].definition.clone();
        let place = StreamPlace { key: "key", definition: &definition, store: 7 };
        let mut worker = Worker::new(shared, SourceId(1), place, events, clock, options, Vec::new(), None);
        worker.decoder = decoder;
        (worker, sent)
    }

    /// What a worker has sent.
    pub(crate) fn told(sent: &Receiver<(SourceId, SourceEvent)>) -> Vec<SourceEvent> {
        sent.try_iter().map(|(_, event)| event).collect()
    }

    /// A connection whose server has gone, unnoticed.
    async fn gone() -> Connection {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        far.set_zero_linger().unwrap();
        drop(far);
        Connection::over(near)
    }

    #[tokio::test]
    async fn what_is_told_once_outlives_a_full_queue() {
        const ROOM: usize = 5;
        let (mut worker, sent) = worker(decoder(vec![0]), ROOM);
        let clock = Arc::new(ManualClock::new(0));
        worker.clock = clock.clone();
        let fill = |worker: &Worker| {
            while worker.events.try_send((SourceId(1), SourceEvent::Connected)).is_ok() {}
        };
        let of_engine = |told: &[SourceEvent]| -> Vec<&str> {
            let named = told.iter().map(|event| match event {
                SourceEvent::Outdated { table: 1 } => "outdated",
                SourceEvent::TableFailed { table: 1, .. } => "failed",
                SourceEvent::Waiting { .. } => "waiting",
                SourceEvent::Connected => "",
                other => panic!("{other:?}"),
            });
            named.filter(|name| !name.is_empty()).collect()
        };
        let outdated = worker.decoder.tables[0].want_contents();
        worker.decoder.events.extend(outdated);
        worker.decoder.fail_table(0, Error::invalid("it does not fit"));
        // A question to the server that takes too long is given up with all that it waits for.
        fill(&worker);
        let unsent = tokio::time::timeout(QUEUE_PAUSE, worker.emit_events(&mut None)).await;
        assert!(unsent.is_err(), "the queue stays full");
        // The connection is lost while the engine takes nothing.
        clock.advance(STATUS_EVERY);
        let mut connection = gone().await;
        let lost = worker.emit_events(&mut Some(&mut connection)).await;
        let Err(End::Lost(error)) = lost else { panic!("the server is gone") };
        assert_eq!(of_engine(&told(&sent)), [""; 0]);
        assert!(worker.lost(error).await.is_ok());
        assert_eq!(of_engine(&told(&sent)), ["outdated", "failed", "waiting"]);
    }
}
