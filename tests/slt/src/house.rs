//! An engine on a simulated disk with its [`Outside`], opened, stopped and killed at will.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gridhouse_base::clock::{Clock, ManualClock};
use gridhouse_base::{Position, SqlType};
use gridhouse_engine::{DEFAULT_STATE_BYTES, Engine, EngineOptions, Outcome, QueryPath, Session, Tuning};
use gridhouse_flow::HashMode;
use gridhouse_flow::connector::{LookupConnector, ScanConnector, SinkConnector, SourceConnector};
use gridhouse_sim::SimFileSystem;
use gridhouse_store::{Limits, StoreOptions};

use crate::outside::{Outside, Transaction};
use crate::rows::{Row, row_at, types_of};

/// How far the log grows between two checkpoints: a few ticks.
const CHECKPOINT_BYTES: u64 = 4_096;

/// When the house's clock starts: 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;

/// The rows that a query gave.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The columns' types.
    pub types: Vec<SqlType>,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// An engine and what is around it.
pub struct House {
    /// What feeds it and what it feeds.
    pub outside: Outside,
    disk: SimFileSystem,
    clock: Arc<ManualClock>,
    /// How far the clock moves with a tick.
    pace: Duration,
    tuning: Tuning,
    starts: AtomicU64,
    open: Option<Open>,
}

struct Open {
    engine: Engine,
    session: Session,
    killed: Arc<AtomicBool>,
}

impl House {
    /// A new house; `seed` owns its disk, `constant_hash` sends all keys of state to one place, and ticks take `round_rows`
    /// source rows at once (0: as many as usual).
    ///
    /// # Panics
    /// If the engine does not open.
    pub fn new(seed: u64, constant_hash: bool, round_rows: usize) -> Self {
        let usual = Tuning::default();
        let tuning = Tuning {
            hash: if constant_hash { HashMode::Constant } else { usual.hash },
            round_rows: if round_rows == 0 { usual.round_rows } else { round_rows },
            // In every third house state has no memory and lies in files, in three parts.
            state_parts: (seed % 3 == 2).then_some(3),
        };
        let mut house = Self {
            outside: Outside::default(),
            disk: SimFileSystem::new(seed),
            clock: Arc::new(ManualClock::new(START_MICROS)),
            pace: Duration::from_secs(1),
            tuning,
            starts: AtomicU64::new(seed),
            open: None,
        };
        house.open();
        house
    }

    fn open(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let seed = self.starts.fetch_add(1, Ordering::SeqCst);
        let store = StoreOptions {
            wal_file_bytes: 1 << 16,
            // Checkpoints come often, so that a kill finds one with some ticks behind it.
            limits: Limits { checkpoint_log_bytes: CHECKPOINT_BYTES, ..Limits::default() },
            ..StoreOptions::new(PathBuf::from("/house"), Arc::new(self.disk.clone()), clock.clone(), seed)
        };
        let source: Arc<dyn SourceConnector> = Arc::new(self.outside.clone());
        let sink: Arc<dyn SinkConnector> = Arc::new(self.outside.clone());
        let scan: Arc<dyn ScanConnector> = Arc::new(self.outside.clone());
        let lookup: Arc<dyn LookupConnector> = Arc::new(self.outside.clone());
        let killed = Arc::new(AtomicBool::new(false));
        let seen = killed.clone();
        let options = EngineOptions {
            store,
            clock,
            sources: BTreeMap::from([("feed", source)]),
            sinks: BTreeMap::from([("collect", sink)]),
            scans: BTreeMap::from([("known", scan)]),
            lookups: BTreeMap::from([("known", lookup)]),
            state_bytes: DEFAULT_STATE_BYTES,
            consumer_cap: Default::default(),
            on_fatal: Arc::new(move |error| {
                assert!(seen.load(Ordering::SeqCst), "the engine failed: {error}");
            }),
        };
        let engine = Engine::open_tuned(options, self.tuning).expect("the engine opens");
        let session = engine.session();
        self.open = Some(Open { engine, session, killed });
    }

    /// Lets the clock stand still from now on, so that two houses tell the same time.
    pub fn hold_clock(&mut self) {
        self.pace = Duration::ZERO;
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("the engine is open")
    }

    /// Stops cleanly and opens again.
    ///
    /// # Errors
    /// Where it does not stop, or a job does not go on as it was.
    pub fn restart(&mut self) -> Result<(), String> {
        let old = self.open.take().expect("the engine is open");
        old.engine.stop().map_err(|error| format!("the engine does not stop: {error}"))?;
        self.open_again()
    }

    /// Stops the machine at this moment and opens on what the disk happened to keep.
    ///
    /// # Errors
    /// Where a job does not go on as it was.
    pub fn kill(&mut self) -> Result<(), String> {
        let old = self.open.take().expect("the engine is open");
        old.killed.store(true, Ordering::SeqCst);
        self.outside.cut();
        let kept = self.disk.fork();
        kept.restart();
        self.disk = kept;
        // The old engine goes on with a disk that nobody will ever read.
        let _ = old.engine.stop();
        self.open_again()
    }

    /// Opens on what there is. That a job is rebuilt hides whatever its kept state lacked, so one whose state cannot be read, or
    /// did not give again what it had written, is an error here.
    fn open_again(&mut self) -> Result<(), String> {
        self.open();
        let strayed = "SELECT name, began FROM system.status.jobs \
                       WHERE began LIKE '%gives out other rows%' OR began LIKE '%damaged%'";
        match self.run(strayed)?.rows.first() {
            Some(row) => Err(format!("a kept state is not what it was: {}", crate::rows::shown(&row.text))),
            None => Ok(()),
        }
    }

    /// Runs SQL of which every statement must succeed; gives the rows of the last.
    ///
    /// # Errors
    /// The message of the first that fails, with its position and remedy.
    pub fn run(&mut self, sql: &str) -> Result<Answer, String> {
        let mut last = Ok(Answer::default());
        self.opened().session.run(sql, &mut |report| {
            last = match report.outcome {
                Ok(Outcome::Rows { schema, batches }) => {
                    let types = types_of(&schema);
                    let rows = batches.iter().flat_map(|batch| {
                        (0..batch.len()).map(|i| row_at(batch.columns(), &types, i)).collect::<Vec<_>>()
                    });
                    Ok(Answer { rows: rows.collect(), types: types.clone() })
                }
                Ok(_) => Ok(Answer::default()),
                Err(error) => {
                    let at = error.position().map(|at: Position| format!(" at {at}")).unwrap_or_default();
                    let hint = error.remedy().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    Err(format!("{}{at}: {error}{hint}", error.kind()))
                }
            };
            ControlFlow::Continue(())
        });
        last
    }

    /// As [`Self::run`], without the optimiser.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_plain(&mut self, sql: &str) -> Result<Answer, String> {
        self.opened().session.set_optimizing(false);
        let answer = self.run(sql);
        self.opened().session.set_optimizing(true);
        answer
    }

    /// As [`Self::run`], with queries on what `path` says.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_on(&mut self, path: QueryPath, sql: &str) -> Result<Answer, String> {
        self.opened().session.set_query_path(path);
        let answer = self.run(sql);
        self.opened().session.set_query_path(QueryPath::Chosen);
        answer
    }

    /// Sends a transaction through the source and waits until its tick has reached all sinks.
    ///
    /// # Errors
    /// Where that does not happen.
    pub fn tick(&mut self, transaction: Transaction) -> Result<(), String> {
        self.clock.advance(self.pace);
        self.outside.commit(transaction)?;
        self.settle()
    }

    /// Waits until everything has reached the sinks; what they complain about, or a job that failed, is an error.
    ///
    /// # Errors
    /// Those.
    pub fn settle(&mut self) -> Result<(), String> {
        self.opened().engine.settle().map_err(|error| error.to_string())?;
        if let Some(complaint) = self.outside.complaints().first() {
            return Err(complaint.clone());
        }
        Ok(())
    }

    /// Jobs that do not run, each with why.
    ///
    /// # Errors
    /// Where the status cannot be read.
    pub fn failed_jobs(&mut self) -> Result<Vec<String>, String> {
        let jobs = self.run("SELECT name, state, error FROM system.status.jobs WHERE state <> 'RUNNING'")?;
        Ok(jobs.rows.iter().map(|row| crate::rows::shown(&row.text)).collect())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.killed.store(true, Ordering::SeqCst);
            let _ = open.engine.stop();
        }
    }
}
