//! What a source commits: rows for tables, the position that it has reached, and rows that were staged before.

use gridhouse_base::batch::KindBatch;
use gridhouse_base::{CommitId, SourceId, TableId};

/// Rows for one table, with a kind each.
///
/// For a primary-key table `+I` and `+U` upsert, `-U` and `-D` delete the row's key (a `-U` that is followed by a `+U` of the
/// same key is thereby an update), and the last row of a key decides. A log table takes `+I` and `+U` only.
#[derive(Clone, Debug)]
pub struct Part {
    /// The table.
    pub table: TableId,
    /// The rows: all columns, or those in `columns`.
    pub batch: KindBatch,
    /// The columns that the batch has, in its order; `None` means all. Others keep their old values, or are NULL in new rows.
    pub columns: Option<Vec<usize>>,
}

impl Part {
    /// Whole rows for `table`.
    pub fn new(table: TableId, batch: KindBatch) -> Self {
        Self { table, batch, columns: None }
    }

    /// The memory that the rows take, in bytes.
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }
}

/// What a commit does with a stage's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageUse {
    /// The rows are applied like the commit's own parts, before them.
    Append,
    /// The stage's rows for this table are its whole new contents: they are compared with what is there, and only the
    /// differences are applied. The stage's rows for other tables are appended.
    Replace(TableId),
}

/// One commit of a source: it becomes visible at the next tick, whole or not at all.
#[derive(Clone, Debug)]
pub struct SourceCommit {
    /// The source.
    pub source: SourceId,
    /// Where the source goes on after a restart, in its own words (an LSN, a file offset).
    pub position: Vec<u8>,
    /// When it happened at the source, in microseconds since the epoch.
    pub event_time_micros: i64,
    /// The rows, applied in this order.
    pub parts: Vec<Part>,
    /// Stages that become part of the commit, applied in this order, before `parts`.
    pub stages: Vec<(u64, StageUse)>,
}

/// How far a source has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The source's own position.
    pub position: Vec<u8>,
    /// The event time of the last commit, in microseconds since the epoch.
    pub event_time_micros: i64,
    /// The last commit.
    pub commit: CommitId,
}
