//! What a statement gave, for whoever shows it: the terminal, the wire protocol, a test.

use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::{ChangeBatch, JobId, Position, Result, Schema};

/// One statement of a script and what became of it.
#[derive(Debug)]
pub struct StatementReport {
    /// Where the statement begins in the script.
    pub position: Position,
    /// The statement's own text without comments in front of it, passwords redacted.
    pub text: String,
    /// What the user should know, in order: what was taken as done already, what Flink would do otherwise.
    pub notices: Vec<String>,
    /// What it gave. An error's position is within the whole script.
    pub outcome: Result<Outcome>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a successful statement gave.
#[derive(Debug)]
pub enum Outcome {
    /// A result table; every row weighs +1.
    Rows {
        /// The columns.
        schema: Arc<Schema>,
        /// The rows, in order.
        batches: Vec<ChangeBatch>,
    },
    /// Done; the tag names what was done, in capitals: `CREATE TABLE`, `SET`, `USE`.
    Done {
        /// The command tag.
        tag: String,
    },
    /// Rows were written.
    Affected {
        /// The command tag: `INSERT`, `UPDATE`, `DELETE`.
        tag: String,
        /// How many rows were accepted.
        rows: u64,
    },
    /// A continuous job runs now.
    Job {
        /// The job.
        id: JobId,
        /// Its label.
        name: String,
        /// Whether it ran before this statement: the same `INSERT` resumes its job.
        resumed: bool,
    },
}
