//! The log of a table in a snapshot, read commit by commit.

use std::collections::HashMap;
use std::sync::Arc;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::{CommitId, Error, Result};

use crate::delta::take_rows;
use crate::group::Entries;
use crate::snapshot::TableSnapshot;
use crate::tail::TailBatch;

impl TableSnapshot {
    /// The log above commit `after`, commit by commit: `+I`, `+U` and `-D` entries for a primary-key table (`-D` rows hold
    /// the key only), all appended rows for a log table. Superseded entries may be missing where no cursor keeps them.
    ///
    /// # Errors
    /// `Conflict` if entries above `after` have been reclaimed: the reader must start over from a snapshot.
    pub fn changes(&self, after: CommitId) -> Result<Changes> {
        let start = self.log_start();
        if after < start {
            let name = &self.spec().name;
            return Err(Error::conflict(format!(
                "the log of table {name} after {after} is gone, it begins at {start}"
            ))
            .hint("read the table's rows first, then the log from that commit on; a cursor keeps it"));
        }
        let mut runs = Vec::new();
        for (b, bucket) in self.view.buckets.iter().enumerate() {
            let first = bucket.groups.partition_point(|group| group.entries.last_commit() <= after);
            for (g, group) in bucket.groups.iter().enumerate().skip(first) {
                for (commit, from, to) in group.entries.runs().into_iter().filter(|run| run.0 > after) {
                    runs.push(Run { commit, bucket: b, group: g, from, to });
                }
            }
        }
        runs.sort_unstable();
        Ok(Changes { table: self.clone(), runs: runs.into_iter(), opened: HashMap::new(), only_last: false })
    }

    /// As [`TableSnapshot::changes`], without the rows that were replaced or deleted since: of each key the row that lives, behind
    /// deletions of what it had before, or deletions alone. For whoever wants to know what it all comes to, in bounded memory.
    ///
    /// # Errors
    /// As [`TableSnapshot::changes`].
    pub fn last_changes(&self, after: CommitId) -> Result<Changes> {
        Ok(Changes { only_last: true, ..self.changes(after)? })
    }
}

/// Entries of one commit that lie side by side; ordered as they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    commit: CommitId,
    bucket: usize,
    group: usize,
    from: usize,
    to: usize,
}

/// Log entries in commit order; made by [`TableSnapshot::changes`]. A commit may come in several batches.
#[derive(Debug)]
pub struct Changes {
    table: TableSnapshot,
    runs: std::vec::IntoIter<Run>,
    /// The sealed group of each bucket that was read last, in memory: a group has entries of many commits.
    opened: HashMap<usize, (usize, Arc<TailBatch>)>,
    /// Leaves out rows that are dead.
    only_last: bool,
}

impl Changes {
    fn batch(&mut self, bucket: usize, group: usize) -> Result<Arc<TailBatch>> {
        let entries = &self.table.view.buckets[bucket].groups[group].entries;
        if let Entries::Tail(batch) = entries {
            return Ok(batch.clone());
        }
        if let Some((_, batch)) = self.opened.get(&bucket).filter(|(opened, _)| *opened == group) {
            return Ok(batch.clone());
        }
        let batch = entries.to_batch()?;
        self.opened.insert(bucket, (group, batch.clone()));
        Ok(batch)
    }
}

impl Iterator for Changes {
    type Item = Result<(CommitId, KindBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Run { commit, bucket, group, from, to } = self.runs.next()?;
        let batch = match self.batch(bucket, group) {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        if to == batch.len {
            // Nothing more of the group is wanted.
            self.opened.remove(&bucket);
        }
        if !self.only_last {
            let columns = batch.columns.iter().map(|column| column.slice(from, to - from)).collect();
            return Some(Ok((commit, KindBatch { columns, kinds: (from..to).map(|i| batch.kind(i)).collect() })));
        }
        let alive = &self.table.view.buckets[bucket].groups[group].alive;
        let is_wanted = |i: usize| alive.get(i) || batch.is_delete(i);
        let rows: Vec<u32> = (from..to).filter(|&i| is_wanted(i)).map(|i| i as u32).collect();
        let columns = if rows.len() == to - from {
            Ok(batch.columns.iter().map(|column| column.slice(from, to - from)).collect())
        } else {
            take_rows(&batch.columns, &rows)
        };
        let kinds: Arc<[_]> = rows.iter().map(|&i| batch.kind(i as usize)).collect();
        Some(columns.map(|columns| (commit, KindBatch { columns, kinds })))
    }
}
