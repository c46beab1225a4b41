//! What a table takes, and how far a reader of its log is behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use gridhouse_base::CommitId;

use crate::bucket_view::BucketView;
use crate::group::Entries;
use crate::snapshot::TableSnapshot;

/// What a table takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStorage {
    /// Rows that live.
    pub live_rows: u64,
    /// Log entries that are kept and hold no living row: superseded and expired rows, deletions.
    pub dead_rows: u64,
    /// Bytes in memory, key index not counted.
    pub memory_bytes: u64,
    /// Bytes in segments, key runs included.
    pub disk_bytes: u64,
    /// What rows that live take of them without key runs, as far as their share of a group tells.
    pub live_bytes: u64,
    /// Segments that hold some of it.
    pub segments: u64,
}

/// How far a reader of a log is behind its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLag {
    /// Entries that it has not read.
    pub rows: u64,
    /// Their bytes, as far as their share of what they lie in tells.
    pub bytes: u64,
    /// The commit of the oldest of them.
    pub oldest: Option<CommitId>,
    /// Some of what it has not read is gone.
    pub is_lost: bool,
}

impl TableSnapshot {
    /// What the table takes.
    pub fn storage(&self) -> TableStorage {
        let entries = self.entry_count();
        let (mut segments, mut disk_bytes, mut live_bytes) = (BTreeSet::new(), 0, 0);
        for group in self.view.groups() {
            let Entries::Sealed(sealed) = &group.entries else { continue };
            let (bytes, alive) = (sealed.bytes() as u64, group.alive.count() as u128);
            segments.insert(sealed.segment().number());
            disk_bytes += bytes;
            live_bytes += (u128::from(bytes) * alive / sealed.len() as u128) as u64;
        }
        let sections = self.view.buckets.iter().flat_map(|bucket| &bucket.sections);
        disk_bytes += sections.map(|section| section.meta().run_bytes()).sum::<u64>();
        TableStorage {
            live_rows: self.row_count(),
            dead_rows: entries.saturating_sub(self.row_count()),
            memory_bytes: self.bytes(),
            disk_bytes,
            live_bytes,
            segments: segments.len() as u64,
        }
    }

    /// How far a reader that has read the log up to `after` is behind.
    pub fn lag(&self, after: CommitId) -> LogLag {
        let mut lag = LogLag { is_lost: after < self.log_start(), ..LogLag::default() };
        for bucket in &self.view.buckets {
            let read = bucket.groups.partition_point(|group| group.entries.last_commit() <= after);
            for group in &bucket.groups[read..] {
                let unread = group.entries.runs().into_iter().find(|(commit, ..)| *commit > after);
                let Some((commit, from, _)) = unread else { continue };
                let (len, rows) = (group.entries.len() as u64, (group.entries.len() - from) as u64);
                let bytes = match &group.entries {
                    Entries::Tail(batch) => batch.bytes as u64,
                    Entries::Sealed(sealed) => sealed.bytes() as u64,
                };
                lag.rows += rows;
                lag.bytes += (u128::from(bytes) * u128::from(rows) / u128::from(len.max(1))) as u64;
                lag.oldest = Some(lag.oldest.map_or(commit, |oldest| oldest.min(commit)));
            }
        }
        lag
    }

    /// The newest commit up to `upto` of which the table holds an entry.
    pub fn newest_commit(&self, upto: CommitId) -> Option<CommitId> {
        let newest = |bucket: &Arc<BucketView>| {
            let group = bucket.groups.partition_point(|group| group.entries.first_commit() <= upto).checked_sub(1)?;
            let runs = bucket.groups[group].entries.runs().into_iter();
            runs.map(|(commit, ..)| commit).take_while(|commit| *commit <= upto).last()
        };
        self.view.buckets.iter().filter_map(newest).max()
    }

    /// The oldest commit of which the table holds an entry.
    pub fn oldest_commit(&self) -> Option<CommitId> {
        let first = self.view.buckets.iter().filter_map(|bucket| bucket.groups.first());
        first.map(|group| group.entries.first_commit()).min()
    }
}
