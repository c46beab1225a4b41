//! Changes sources as a living business would: calls each solution's `solution_step` again and again, at a set rate.
//!
//! The number of the step is kept in the source, in the transaction of the step: the same first contents and seed give the
//! same rows after the same number of steps, however often the generator was stopped or killed in between. Each transaction
//! shares an advisory lock, so that the check can make the source stand still.

use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::{Error, Result};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::language::Language;
use crate::signals::Signals;
use crate::solution::database::{self, Database};
use crate::status::thousands;

/// The advisory lock that every step shares; any number that nobody else uses. It is part of `solutions/README.md`.
pub const LOCK: i64 = 47_110_001;

/// The table of a source in which the number of the last step is kept: one row.
pub const PROGRESS: &str = "
    CREATE TABLE IF NOT EXISTS gridhouse_progress (
      only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row), steps BIGINT NOT NULL);
    INSERT INTO gridhouse_progress (steps) VALUES (0) ON CONFLICT DO NOTHING;";

/// Rest between two bursts of transactions; short against the delay that people notice.
const REST: Duration = Duration::from_millis(20);

/// Rest before a database that went away is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often one step is tried again after a deadlock or a serialization failure before the generator gives up.
const MAX_TRIES: u32 = 20;

/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How fast and how long.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Changed rows per second of each solution; 0: as fast as the source allows.
    pub rate: u32,
    /// The seed of the steps.
    pub seed: i32,
    /// The end by time.
    pub duration: Option<Duration>,
    /// The end by steps of each solution.
    pub steps: Option<u64>,
    /// The language of what is said.
    pub language: Language,
}

/// Changes all `sources` (each with its solution's name) until a limit is reached or a signal comes. A source that goes away
/// is waited for.
///
/// # Errors
/// `Unavailable` where a source does not answer at the start; `Invalid` where a step fails; then the others end too.
pub async fn generate(sources: Vec<(String, Database)>, limits: Limits, signals: &Signals) -> Result<()> {
    let mut tasks = JoinSet::new();
    for (name, source) in sources {
        let signals = signals.clone();
        tasks.spawn(async move { Generator { name: name.into(), source, limits, signals }.run().await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Error::internal("a generator ended without a result").caused_by(error))??;
    }
    Ok(())
}

/// The generator of one solution.
struct Generator {
    name: Arc<str>,
    source: Database,
    limits: Limits,
    signals: Signals,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    rows: u64,
    steps: u64,
    /// The number of the last step.
    last: i64,
}

impl Generator {
    async fn run(self) -> Result<()> {
        let mut client = self.source.connect().await?;
        let (started, mut done, mut tries) = (Instant::now(), Done::default(), 0);
        let mut told = started;
        while !self.signals.stop() {
            let passed = started.elapsed();
            let Limits { rate, duration, steps, .. } = self.limits;
            if duration.is_some_and(|limit| passed >= limit) || steps.is_some_and(|limit| done.steps >= limit) {
                break;
            }
            let due = (passed.as_secs_f64() * f64::from(rate)) as u64;
            if rate > 0 && done.rows > due {
                tokio::time::sleep(REST).await;
                continue;
            }
            match self.step(&client).await {
                Ok((rows, number)) => {
                    done = Done { rows: done.rows + rows, steps: done.steps + 1, last: number };
                    tries = 0;
                }
                Err(error) if error.is_closed() || client.is_closed() => {
                    eprintln!("{}: {}; it is tried again", self.name, self.source.failed(&error));
                    client = self.reconnect(client).await;
                }
                Err(error) if passes(&error) && tries < MAX_TRIES => {
                    tries += 1;
                    client.batch_execute("ROLLBACK").await.map_err(|error| self.source.failed(&error))?;
                }
                Err(error) => return Err(self.complaint(&error)),
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                println!("{}", self.told(&done, started.elapsed()));
            }
        }
        println!("{}", self.told(&done, started.elapsed()));
        Ok(())
    }

    /// One step: the rows that it changed, and its number.
    async fn step(&self, client: &Client) -> Result<(u64, i64), tokio_postgres::Error> {
        let seed = self.limits.seed;
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock_shared({LOCK});
             WITH next AS (UPDATE gridhouse_progress SET steps = steps + 1 RETURNING steps)
               SELECT solution_step({seed}, steps), steps FROM next;
             COMMIT;"
        );
        let (_, rows) = database::rows(client, &sql).await?;
        let number = |i: usize| rows.first().and_then(|row| row.get(i)?.as_deref()?.parse::<i64>().ok());
        Ok((number(0).unwrap_or(0).max(0) as u64, number(1).unwrap_or(0)))
    }

    async fn reconnect(&self, old: Client) -> Client {
        while !self.signals.stop() {
            tokio::time::sleep(RETRY).await;
            if let Ok(client) = self.source.connect().await {
                return client;
            }
        }
        old
    }

    fn complaint(&self, error: &tokio_postgres::Error) -> Error {
        let name = &self.name;
        let failed = self.source.failed(error).context(format!("a step of {name}"));
        match error.code() {
            Some(&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_FUNCTION) => {
                failed.hint(format!("`gridhouse solution prepare {name}` makes the tables and functions of its source"))
            }
            _ => failed,
        }
    }

    fn told(&self, done: &Done, passed: Duration) -> String {
        let (name, seconds) = (&self.name, passed.as_secs_f64());
        let (rows, steps) = (thousands(&done.rows.to_string()), thousands(&done.steps.to_string()));
        let (rate, last) = (thousands(&format!("{:.0}", done.rows as f64 / seconds.max(0.001))), done.last);
        match self.limits.language {
            Language::English => {
                format!(
                    "{name}: {rows} rows changed in {steps} transactions and {seconds:.1} s: {rate} rows/s, up to step {last}"
                )
            }
            Language::Chinese => {
                format!("{name}：{seconds:.1} 秒内 {steps} 个事务变更 {rows} 行：{rate} 行/秒，至第 {last} 步")
            }
        }
    }
}

/// Whether the same step may succeed at the next try.
fn passes(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}
