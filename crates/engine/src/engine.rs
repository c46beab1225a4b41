//! The engine's handle: opens a data directory, starts the core and its helpers, hands out sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{Error, Result};
use gridhouse_flow::connector::{LookupConnector, ScanConnector, SinkConnector, SourceConnector};
use gridhouse_flow::{Governor, HashMode};
use gridhouse_sql::NameContext;
use gridhouse_store::{Reader, Store, StoreOptions};

use crate::awaiting::LastAway;
use crate::batch::Queries;
use crate::boot;
use crate::catalog::{DEFAULT_CATALOG, DEFAULT_DATABASE};
use crate::core::{Core, CoreWorker, Message, QUEUE_MESSAGES};
use crate::follow::{Follower, Means};
use crate::lineage::Lineage;
use crate::prepare::Connectors;
use crate::retention::{ConsumerCap, Moments};
use crate::session::Session;
use crate::shared::{Shared, lock};
use crate::tick::ROUND_ROWS;
use crate::worker::{KeepWorker, Outgoing, SyncWorker, Threads, Workers};

/// Where spilled state lies in the data directory.
const SPILL_DIR: &str = "spill";

/// How much memory the state of jobs may take by default: what a machine with 8 GB can spare beside tables and queries.
pub const DEFAULT_STATE_BYTES: usize = 1 << 30;

/// How long [`Engine::settle`] sleeps between looks at the sinks.
const SINK_LOOK: Duration = Duration::from_millis(1);

/// What an engine is opened with.
pub struct EngineOptions {
    /// The data directory and what lies under it.
    pub store: StoreOptions,
    /// The clock of ticks, delays and pauses.
    pub clock: Arc<dyn Clock>,
    /// The connectors that can be read, by the name in the `connector` option.
    pub sources: BTreeMap<&'static str, Arc<dyn SourceConnector>>,
    /// The connectors that can be written.
    pub sinks: BTreeMap<&'static str, Arc<dyn SinkConnector>>,
    /// The connectors whose tables can be read to their end.
    pub scans: BTreeMap<&'static str, Arc<dyn ScanConnector>>,
    /// The connectors in whose tables rows can be looked up.
    pub lookups: BTreeMap<&'static str, Arc<dyn LookupConnector>>,
    /// How many bytes of memory the state of all jobs may take; what is more goes to disk.
    pub state_bytes: usize,
    /// How far a consumer of a log may be behind before the log is no longer kept for it.
    pub consumer_cap: ConsumerCap,
    /// Called when nothing can be promised any more (the disk failed): the process should end at once.
    pub on_fatal: Arc<dyn Fn(Error) + Send + Sync>,
}

/// What only tests turn: it changes how results come about, never what they are.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How jobs hash the keys of their state.
    pub hash: HashMode,
    /// How many source rows a tick passes through the jobs at once.
    pub round_rows: usize,
    /// State has no memory at all, and is cut into so many parts.
    pub state_parts: Option<u32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { hash: HashMode::Seeded(0), round_rows: ROUND_ROWS, state_parts: None }
    }
}

/// One data directory, its jobs, sources and sinks. Cloning gives another handle on the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) messages: SyncSender<Message>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connectors: Connectors,
    /// Where ad-hoc queries run.
    pub(crate) queries: Queries,
    scripts: AtomicU64,
}

impl Engine {
    /// Opens a data directory: recovers its tables, rebuilds its jobs, and lets them go on.
    ///
    /// # Errors
    /// `Conflict` where another process holds the directory; `Corrupt` where what is stored is damaged.
    pub fn open(options: EngineOptions) -> Result<Self> {
        Self::open_tuned(options, Tuning::default())
    }

    /// As [`Engine::open`], tuned as a test wants it.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_tuned(options: EngineOptions, tuning: Tuning) -> Result<Self> {
        Self::open_with(options, tuning, Arc::new(Threads))
    }

    /// As [`Engine::open_tuned`], with the turns of all work in the hands of `workers`.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_with(options: EngineOptions, tuning: Tuning, workers: Arc<dyn Workers>) -> Result<Self> {
        let connectors = Connectors {
            sources: options.sources,
            sinks: options.sinks,
            scans: options.scans,
            lookups: options.lookups,
        };
        let clock = options.clock;
        let seed = options.store.seed;
        let (fs, spilled, bytes) = (options.store.fs.clone(), options.store.dir.join(SPILL_DIR), options.state_bytes);
        let govern = || match tuning.state_parts {
            Some(parts) => Governor::cut_into(fs.clone(), &spilled, 0, parts, 1),
            None => Governor::new(fs.clone(), &spilled, bytes),
        };
        let away = LastAway::default();
        // Made only once the directory is ours, since it empties its own.
        let mut governor = None;
        let (store, follower) = Store::open_with(options.store, |snapshot, attached| {
            let governor: &mut Arc<Governor> = governor.insert(govern()?);
            let (connectors, away, clock) = (connectors.clone(), away.clone(), clock.clone());
            let means = Means { connectors, away, hash: tuning.hash, clock, governor: governor.clone() };
            Ok(Follower::begin(snapshot, attached, &means)
                .inspect_err(|error| tracing::warn!("what was kept of jobs is of no use: {error}"))
                .ok())
        })?;
        let governor = match governor {
            Some(governor) => governor,
            None => govern()?,
        };
        let kept = follower.map(Follower::end).unwrap_or_default();
        let shared = Arc::new(Shared::default());
        let reader = store.reader();
        let (messages, inbox) = sync_channel::<Message>(QUEUE_MESSAGES);
        let (sync_wanted, sync_requests) = sync_channel::<()>(1);
        let sync = SyncWorker {
            syncer: store.syncer(),
            requests: sync_requests,
            outgoing: Outgoing::to(messages.clone()),
            shared: shared.clone(),
            clock: clock.clone(),
            on_fatal: options.on_fatal.clone(),
            untold: None,
        };
        workers.start("sync".to_owned(), Box::new(sync))?;
        workers.start("keeper".to_owned(), Box::new(KeepWorker(store.keeper())))?;

        let mut core = Core {
            store,
            clock: clock.clone(),
            shared: shared.clone(),
            connectors: connectors.clone(),
            away,
            tuning,
            starts: 0,
            messages: messages.clone(),
            sync_wanted,
            catalog: Default::default(),
            jobs: BTreeMap::new(),
            order: Vec::new(),
            streams: BTreeMap::new(),
            stats: BTreeMap::new(),
            consumer_cap: options.consumer_cap,
            lineage: Lineage::default(),
            moments: Moments::default(),
            reached: BTreeMap::new(),
            writers: Vec::new(),
            job_counter: 0,
            source_counter: 0,
            kept,
            governor,
            starting: true,
            failed: Vec::new(),
            followers: Vec::new(),
            pending: false,
            pending_event_time: None,
            pending_arrival: None,
            undurable: Vec::new(),
            on_fatal: options.on_fatal,
            workers: workers.clone(),
        };
        boot::boot(&mut core, seed)?;
        workers.start("core".to_owned(), Box::new(CoreWorker::new(core, inbox)))?;
        let (queries, scripts) = (Queries::default(), AtomicU64::new(1));
        let inner = Inner { messages, shared, reader, clock, connectors, queries, scripts };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A new session: current catalog `default_catalog`, database `default_database`, no temporary objects.
    pub fn session(&self) -> Session {
        let context = NameContext { catalog: DEFAULT_CATALOG.into(), database: DEFAULT_DATABASE.into() };
        Session::new(self.clone(), context)
    }

    /// Stops sources, jobs and sinks cleanly, makes everything durable and releases the directory.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn stop(&self) -> Result<()> {
        let (answer, done) = sync_channel(1);
        if !self.ask(Message::Stop(answer)) {
            return Ok(());
        }
        done.recv().unwrap_or(Ok(()))
    }

    /// Lets go of everybody who waits for something to become durable: nothing will any more, because whoever simulates has killed
    /// the process.
    pub fn abandon(&self) {
        self.inner.shared.close();
    }

    /// Whether a session has asked the core for something, and waits for its turn. For whoever takes the turns of workers.
    pub fn is_asked(&self) -> bool {
        self.inner.shared.is_asked()
    }

    /// Whether a session waits for something that is not durable yet: it does nothing else then. For whoever takes the turns of workers.
    pub fn is_waited_for(&self) -> bool {
        self.inner.shared.is_waited_for()
    }

    /// Waits until what has been committed so far has gone through all jobs, is durable, and has been taken by every sink of a
    /// running job. A sink that does not answer is waited for.
    ///
    /// # Errors
    /// `Unavailable` where the engine stops before.
    pub fn settle(&self) -> Result<()> {
        let commit = self.call(|core| core.tick().map(|()| core.ordered()))??;
        if !self.inner.shared.wait_durable(commit) {
            return Err(Error::unavailable("the engine stopped before everything was durable"));
        }
        let behind = move |core: &mut Core| {
            let sinks = core.jobs.values().flat_map(|job| &job.sinks);
            sinks.map(|sink| lock(&sink.status)).any(|status| !status.failed && status.read < commit)
        };
        while self.call(behind)? {
            std::thread::park_timeout(SINK_LOOK);
        }
        Ok(())
    }

    /// The number of a new run of a script.
    pub(crate) fn next_script(&self) -> u64 {
        self.inner.scripts.fetch_add(1, Ordering::SeqCst)
    }

    /// Has the core do something and waits for the answer.
    ///
    /// # Errors
    /// `Unavailable` where the engine has stopped.
    pub(crate) fn call<T: Send + 'static>(&self, what: impl FnOnce(&mut Core) -> T + Send + 'static) -> Result<T> {
        let stopped = || Error::unavailable("the engine has stopped");
        let (answer, done) = sync_channel(1);
        let call = Message::Call(Box::new(move |core: &mut Core| {
            core.shared.note_asked(-1);
            // Whoever asked may have gone.
            let _ = answer.send(what(core));
        }));
        if !self.ask(call) {
            return Err(stopped());
        }
        done.recv().map_err(|_| stopped())
    }

    /// Sends the core a message that somebody waits for the answer to; false where the core is gone.
    fn ask(&self, message: Message) -> bool {
        let is_sent = self.inner.messages.send(message).is_ok();
        if is_sent {
            self.inner.shared.note_asked(1);
        }
        is_sent
    }
}
