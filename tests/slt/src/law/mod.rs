//! The law of stream = batch on drawn queries and drawn changes: after every tick a job's rows are those that its query gives
//! over the tables as they stand.
//!
//! A round is one engine, the tables of [`crate::generate`], some queries as jobs (half of them from the start, half in the
//! middle, so that they begin on what is there), and a history: transactions over several tables, now and then a restart or a
//! kill. At the end every query is also run without the optimiser, and predicates are checked by splitting rows in three.
//! What fails is run alone, made smaller, and told with its changes and the command that repeats it.

mod case;
mod history;
mod oracle;
mod shrink;
pub mod solutions;

use std::collections::BTreeMap;
use std::fmt;

pub use case::{Verdict, run};
pub use history::{History, Step};
pub use oracle::{differing, splitting};

use crate::draws::Draws;
use crate::generate;

/// How many queries share an engine.
pub const QUERIES_PER_ROUND: u64 = 16;

/// What became of some rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// Queries that were held against the law.
    pub checked: u64,
    /// How often rows of a job were compared with those of its query.
    pub compared: u64,
    /// Rows in those comparisons; were they few, nothing would be proved.
    pub rows: u64,
    /// Queries that were not taken, by why: how many, and one of them.
    pub rejected: BTreeMap<String, (u64, String)>,
    /// What broke the law.
    pub failures: Vec<Failure>,
}

/// A query that broke the law, as small as it was made.
#[derive(Debug)]
pub struct Failure {
    /// The query.
    pub sql: String,
    /// The changes, tick by tick.
    pub history: String,
    /// What differs.
    pub difference: String,
    /// What repeats it.
    pub command: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "query:   {}", self.sql)?;
        write!(f, "changes:\n{}", self.history)?;
        writeln!(f, "{}", self.difference.trim_end())?;
        write!(f, "repeat:  {}", self.command)
    }
}

impl Report {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.compared += other.compared;
        self.rows += other.rows;
        for (why, (times, sample)) in other.rejected {
            self.rejected.entry(why).or_insert((0, sample)).0 += times;
        }
        self.failures.extend(other.failures);
    }

    /// How many queries were not taken.
    pub fn rejections(&self) -> u64 {
        self.rejected.values().map(|(times, _)| times).sum()
    }
}

/// The queries of the round of `seed`, with their tapes.
fn queries_of(seed: u64) -> Vec<(String, Vec<u32>)> {
    let query = |i| {
        let mut draws = Draws::new(seed.wrapping_mul(1_000_003).wrapping_add(i));
        (generate::query(&mut draws), draws.tape().to_vec())
    };
    (0..QUERIES_PER_ROUND).map(query).collect()
}

/// The round of `seed`; with `shrinking`, what fails is made smaller.
pub fn round(seed: u64, shrinking: bool) -> Report {
    let mut report = Report::default();
    let (queries, tapes): (Vec<String>, Vec<Vec<u32>>) = queries_of(seed).into_iter().unzip();
    let mut draws = Draws::new(!seed);
    let history = History::draw(&mut draws);
    let verdicts = match run(&queries, &history) {
        Ok(verdicts) => verdicts,
        // One of them took the engine with it; alone it is found.
        Err(_) => {
            let alone = |sql: &String| match run(std::slice::from_ref(sql), &history) {
                Ok(mut verdicts) => verdicts.remove(0),
                Err(error) => Verdict::Broken(error),
            };
            queries.iter().map(alone).collect()
        }
    };
    for (i, verdict) in verdicts.into_iter().enumerate() {
        match verdict {
            Verdict::Kept { compared, rows } => {
                report.checked += 1;
                report.compared += compared;
                report.rows += rows;
            }
            Verdict::Rejected(why) => report.rejected.entry(why).or_insert((0, queries[i].clone())).0 += 1,
            Verdict::Broken(difference) => {
                report.checked += 1;
                let (sql, history, difference) = if shrinking {
                    shrink::smallest(&tapes[i], &history, difference)
                } else {
                    (queries[i].clone(), history.clone(), difference)
                };
                let command = format!("cargo run -p gridhouse-slt --example law -- --seed {seed} --rounds 1");
                report.failures.push(Failure { sql, history: history.to_string(), difference, command });
            }
        }
    }
    report
}
