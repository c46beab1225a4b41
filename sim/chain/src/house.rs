//! An engine on a simulated disk, whose workers have their turns here; it can be killed, crashed, stopped and opened again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_base::{Error, Result};
use gridhouse_engine::worker::Workers;
use gridhouse_engine::{ConsumerCap, DEFAULT_STATE_BYTES, Engine, EngineOptions, Outcome, Tuning};
use gridhouse_flow::connector::{SinkConnector, SourceConnector};
use gridhouse_sim::SimFileSystem;
use gridhouse_store::{Limits, StoreOptions};

use crate::clock::SimClock;
use crate::outside::{Outside, Row, rows_of};
use crate::turns::{CORE, SYNC, Turns};

/// The data directory on the simulated disk.
pub const DIR: &str = "/data";

/// Small enough that a run fills several files.
const WAL_FILE_BYTES: u64 = 16_384;

/// How long the thread that takes turns sleeps while a session computes.
const STATEMENT_LOOK: Duration = Duration::from_micros(20);

/// An engine, its disk, and the outside as it sees it.
pub struct House {
    /// The disk.
    pub fs: SimFileSystem,
    /// The outside.
    pub outside: Outside,
    /// The clock.
    pub clock: Arc<SimClock>,
    /// How results come about.
    pub tuning: Tuning,
    /// When files are worked on.
    pub limits: Limits,
    /// The workers.
    pub turns: Turns,
    engine: Option<Engine>,
    /// Why nothing can be promised any more.
    fatal: Arc<Mutex<Option<Error>>>,
    /// How many times it was opened.
    starts: u64,
    seed: u64,
}

/// What a statement gave: rows, or nothing but success.
pub type Answer = Result<Vec<Row>>;

impl House {
    /// A house that has never been opened.
    pub fn new(fs: SimFileSystem, outside: Outside, seed: u64) -> Self {
        Self {
            fs,
            outside,
            clock: Arc::new(SimClock::default()),
            tuning: Tuning::default(),
            limits: Limits::default(),
            turns: Turns::new(seed),
            engine: None,
            fatal: Arc::default(),
            starts: 0,
            seed,
        }
    }

    /// Another process on `fs`, beside this one: the same outside, clock and tuning.
    pub fn beside(&self, fs: SimFileSystem, seed: u64) -> Self {
        let mut other = Self::new(fs, self.outside.clone(), seed);
        (other.clock, other.tuning, other.limits) = (self.clock.clone(), self.tuning, self.limits);
        other
    }

    /// Options for the store in this house.
    pub fn store_options(&self, fs: SimFileSystem) -> StoreOptions {
        // Seeds of starts that follow each other are not to resemble each other: histories take their numbers from them.
        let seed = Random::new(self.seed.wrapping_add(self.starts)).bits();
        let options = StoreOptions::new(DIR, Arc::new(fs), self.clock.clone(), seed);
        StoreOptions { limits: self.limits, wal_file_bytes: WAL_FILE_BYTES, ..options }
    }

    /// Opens the engine.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(&mut self) -> Result<()> {
        self.kill();
        self.starts += 1;
        let source: Arc<dyn SourceConnector> = Arc::new(self.outside.clone());
        let sink: Arc<dyn SinkConnector> = Arc::new(self.outside.clone());
        let fatal = self.fatal.clone();
        let options = EngineOptions {
            store: self.store_options(self.fs.clone()),
            clock: self.clock.clone(),
            sources: BTreeMap::from([("tap", source)]),
            sinks: BTreeMap::from([("drain", sink)]),
            scans: BTreeMap::new(),
            lookups: BTreeMap::new(),
            state_bytes: DEFAULT_STATE_BYTES,
            consumer_cap: ConsumerCap::default(),
            on_fatal: Arc::new(move |error| {
                fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }),
        };
        let workers: Arc<dyn Workers> = Arc::new(self.turns.clone());
        let opened = Engine::open_with(options, self.tuning, workers);
        match opened {
            Ok(engine) => {
                self.engine = Some(engine);
                Ok(())
            }
            Err(error) => {
                self.kill();
                Err(error)
            }
        }
    }

    /// Whether an engine is open that can still promise something.
    pub fn is_alive(&self) -> bool {
        self.engine.is_some() && !self.is_over()
    }

    /// Whether the machine has stopped, or the engine has given up.
    pub fn is_over(&self) -> bool {
        self.fs.is_crashed() || self.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Why the engine has given up, if it has.
    pub fn take_fatal(&self) -> Option<Error> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the process without any notice. What it wrote stays in the system's memory.
    pub fn kill(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.abandon();
        }
        self.turns.kill();
    }

    /// Gives all workers turns until they rest, or the process is over.
    pub fn until_quiet(&self) {
        self.turns.until_quiet(None, &mut |_, _| self.is_over());
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn stop(&mut self) -> Result<()> {
        let Some(engine) = self.engine.clone() else { return Ok(()) };
        let stopped = self.drive(move || engine.stop());
        self.kill();
        stopped
    }

    /// Runs a script to its end; gives what its last statement gave, or why one failed.
    ///
    /// # Errors
    /// Those of its first statement that failed.
    pub fn run(&self, script: &str) -> Answer {
        let Some(engine) = self.engine.clone() else { return Err(Error::unavailable("nothing is open")) };
        self.drive(move || {
            let mut answer = Ok(Vec::new());
            engine.session().run(script, &mut |report| {
                answer = report.outcome.map(|outcome| match outcome {
                    Outcome::Rows { schema, batches } => {
                        batches.iter().flat_map(|batch| rows_of(batch.columns(), &schema, batch.len())).collect()
                    }
                    _ => Vec::new(),
                });
                ControlFlow::Continue(())
            });
            answer
        })
    }

    /// Lets a session work on a thread of its own, as sessions do, and gives turns meanwhile: to the core as long as the session
    /// may ask it for something, to the others when it waits for the disk, and at last to what lets it go on. So the order of
    /// everything is the same each time, however fast the session's thread is.
    fn drive<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let session = scope.spawn(work);
            let engine = self.engine.as_ref().expect("whoever drives has an engine");
            while !session.is_finished() {
                if self.is_over() {
                    engine.abandon();
                    self.turns.kill();
                    break;
                }
                if engine.is_asked() {
                    self.turns.give_to(CORE);
                } else if engine.is_waited_for() {
                    self.release(engine);
                } else {
                    std::thread::park_timeout(STATEMENT_LOOK);
                }
            }
            let given = session.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.settle_core();
            given
        })
    }

    /// Gives the core turns until it has nothing to do: how many it has had by now depends on how fast the session's thread is.
    fn settle_core(&self) {
        while !self.is_over() && self.turns.give_to(CORE) {}
    }

    /// Makes durable what a session waits for, and lets it go on when nothing else is under way.
    fn release(&self, engine: &Engine) {
        while engine.is_waited_for() && !self.is_over() {
            self.settle_core();
            self.turns.until_quiet(Some(SYNC), &mut |_, _| self.is_over());
            self.turns.give_to(SYNC);
        }
    }
}

/// The core knows who gives it its turns, and would keep itself and its disk in memory.
impl Drop for House {
    fn drop(&mut self) {
        self.kill();
    }
}
