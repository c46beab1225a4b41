//! Following a restart: whoever has kept something with a checkpoint sees what the log's end does to the tables.

use gridhouse_base::{ChangeBatch, CommitId, Result, TableId};

use crate::pending::AppliedRows;

/// Sees the ticks that are read again after a checkpoint, in order. An error ends the opening of the store.
pub trait Follow {
    /// What a tick did to a table: one of its operations, effective, with weights. The operations of a tick come in the order
    /// in which they were carried out.
    ///
    /// # Errors
    /// Whatever keeps the follower from going on at all; that it has lost the thread it is to remember itself.
    fn change(&mut self, table: TableId, change: &ChangeBatch) -> Result<()>;

    /// What a tick took of what sources had committed, in a table: of a log table the rows of one commit, or a piece of them.
    ///
    /// # Errors
    /// As [`Follow::change`].
    fn applied(&mut self, applied: &AppliedRows) -> Result<()> {
        self.change(applied.table, &applied.rows)
    }

    /// A tick took back all that it had done to a table before.
    ///
    /// # Errors
    /// As [`Follow::change`].
    fn restored(&mut self, table: TableId) -> Result<()>;

    /// The tick is at its end: its commit, the newest source commit that it reflects, and its clock.
    ///
    /// # Errors
    /// As [`Follow::change`].
    fn tick(&mut self, commit: CommitId, as_of: CommitId, time_micros: i64) -> Result<()>;
}

/// Follows nothing.
#[derive(Debug)]
pub struct Nobody;

impl Follow for Nobody {
    fn change(&mut self, _: TableId, _: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    fn restored(&mut self, _: TableId) -> Result<()> {
        Ok(())
    }

    fn tick(&mut self, _: CommitId, _: CommitId, _: i64) -> Result<()> {
        Ok(())
    }
}
