//! The beginning of a log table's log is dropped, commit by commit: what is older than the table's `table.log.ttl`.
//!
//! Exact whatever batches the entries lie in: what remains of a batch that is cut in the middle is dead from then on, so a
//! replay that has merged otherwise shows the same rows.

use std::sync::Arc;

use gridhouse_base::CommitId;

use crate::bucket_view::BucketView;
use crate::table::Table;

impl Table {
    /// Drops the entries of commits up to `upto`, behind which the log begins; gives how many rows they were.
    pub fn trim(&mut self, upto: CommitId) -> u64 {
        let mut rows = 0;
        for bucket in &mut self.buckets {
            if bucket.reclaimed < upto || bucket.groups.first().is_some_and(|g| g.entries.first_commit() <= upto) {
                rows += Arc::make_mut(bucket).trim(upto);
            }
        }
        self.live_rows -= rows;
        rows
    }
}

impl BucketView {
    fn trim(&mut self, upto: CommitId) -> u64 {
        let gone = self.groups.iter().take_while(|group| group.entries.last_commit() <= upto).count();
        let mut rows: usize = self.groups.drain(..gone).map(|group| group.alive.count()).sum();
        if let Some(first) = self.groups.first() {
            let runs = first.entries.runs().into_iter().take_while(|(commit, ..)| *commit <= upto);
            let expired = runs.last().map_or(0, |(.., to)| to);
            for i in 0..expired {
                if self.groups[0].alive.get(i) {
                    self.kill(0, i);
                    rows += 1;
                }
            }
        }
        self.reclaimed = self.reclaimed.max(upto);
        rows as u64
    }
}
