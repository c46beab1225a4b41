//! The entries of a bucket at one moment, oldest first.
//!
//! A reader holds a [`BucketView`] and sees it unchanged for as long as it likes: batches are never written to again, and
//! bitmaps and lists are copied when a view shares them. Small batches are merged by eights (1k → 8k → 64k rows), so
//! a row is copied at most once per level. While batches are merged or rewritten, entries that no reader of the log needs
//! any more (dead, and at or below every cursor) are left out.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result};

use crate::bits::Bits;
use crate::group::{Entries, LiveGroup};
use crate::segment::Section;
use crate::tail::{Kept, MAX_BATCH_ROWS, TailBatch, merge_batches};

/// Batches are not merged beyond this, so that 32-bit offsets of text columns cannot overflow.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// How many batches of one size become one of the next.
const MERGE_FACTOR: usize = 8;

/// The size class of batches that are not merged any more: 64k rows, or an eighth of the byte limit.
const TOP_LEVEL: u32 = 6;

/// A bucket at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct BucketView {
    /// The sequence number of the next entry.
    pub next_seq: u64,
    /// Ascending: first what lies in segments, then what is in memory.
    pub groups: Vec<LiveGroup>,
    /// The sections that the sealed groups lie in, oldest first, for look-ups by key (`find.rs`): one after the other, their groups are
    /// those that are sealed. None for log tables.
    pub sections: Vec<Section>,
    /// Entries below this sequence number lie in segments or are on their way there: batches of them stay as they are.
    pub sealing: u64,
    /// The newest commit of which an entry has been left out; the log can be read from there on.
    pub reclaimed: CommitId,
}

impl BucketView {
    /// Appends entries; deletions are dead from the start.
    pub fn append(&mut self, batch: TailBatch) {
        debug_assert_eq!(batch.first_seq, self.next_seq, "entries are numbered without gaps");
        self.next_seq += batch.len as u64;
        let alive = Bits::filled(batch.len, batch.deletes.is_none());
        self.groups.push(LiveGroup::tail(batch, alive));
    }

    /// The group and the position of entry `seq`, which has not been reclaimed.
    pub fn locate(&self, seq: u64) -> (usize, usize) {
        self.find_seq(seq).expect("an entry that is looked for is there")
    }

    /// The group and the position of entry `seq`, if it is still there.
    pub fn find_seq(&self, seq: u64) -> Option<(usize, usize)> {
        let group = self.groups.partition_point(|group| group.first_seq <= seq).checked_sub(1)?;
        Some((group, self.groups[group].entries.position(seq)?))
    }

    /// Marks an entry dead.
    pub fn kill(&mut self, group: usize, position: usize) {
        Arc::make_mut(&mut self.groups[group].alive).clear(position);
    }

    /// How many of the groups, the first ones, lie in segments.
    pub fn sealed_groups(&self) -> usize {
        self.groups.partition_point(|group| matches!(group.entries, Entries::Sealed(_)))
    }

    /// The first sequence number that may belong to an entry in memory.
    pub fn sealed_end(&self) -> u64 {
        self.groups.get(self.sealed_groups()).map_or(self.next_seq, |group| group.first_seq)
    }

    /// The first group in memory that may still be merged or rewritten.
    fn open_tail(&self) -> usize {
        self.groups.partition_point(|group| group.first_seq < self.sealing)
    }

    /// The number of live entries.
    pub fn live_rows(&self) -> u64 {
        self.groups.iter().map(|group| group.alive.count() as u64).sum()
    }

    /// Merges small batches at the end and rewrites batches that are mostly dead. Dead entries of commits up to `floor`
    /// are left out of whatever is copied.
    pub fn maintain(&mut self, floor: CommitId) -> Result<()> {
        self.merge_small(floor)?;
        self.rewrite_dead(floor)
    }

    fn merge_small(&mut self, floor: CommitId) -> Result<()> {
        let open = self.open_tail();
        for level in 0..TOP_LEVEL {
            let suffix = self.groups[open..].iter().rev().take_while(|group| level_of(group) <= level).count();
            let start = self.groups.len() - suffix;
            let full = self.groups[start..].iter().filter(|group| level_of(group) == level).count();
            if full >= MERGE_FACTOR {
                let merged = self.merge(start..self.groups.len(), floor)?;
                self.groups.truncate(start);
                self.groups.extend(merged);
            }
        }
        Ok(())
    }

    fn rewrite_dead(&mut self, floor: CommitId) -> Result<()> {
        let open = self.open_tail();
        let mut i = open;
        while i < self.groups.len() {
            let group = &self.groups[i];
            if group.alive.count() * 2 >= group.entries.len() || group.entries.last_commit() > floor {
                i += 1;
                continue;
            }
            // Survivors join the batch before them, so that a table whose rows keep changing does not fall into crumbs.
            let joins = i > open && {
                let before = &self.groups[i - 1];
                before.entries.len() + group.alive.count() <= MAX_BATCH_ROWS / 2
                    && before.entries.memory_bytes() + group.entries.memory_bytes() <= MAX_BATCH_BYTES
                    && before.entries.last_commit() <= floor
            };
            let from = if joins { i - 1 } else { i };
            let merged = self.merge(from..i + 1, floor)?;
            let kept = usize::from(merged.is_some());
            self.groups.splice(from..i + 1, merged);
            i = from + kept;
        }
        Ok(())
    }

    /// The needed entries of some batches in memory as one; `None` if no entry is needed.
    fn merge(&mut self, range: std::ops::Range<usize>, floor: CommitId) -> Result<Option<LiveGroup>> {
        let mut reclaimed = self.reclaimed;
        let mut kept = Vec::with_capacity(range.len());
        for group in &self.groups[range] {
            let data = group.entries.tail().expect("only batches in memory are merged here");
            let (rows, gone) = group.needed(floor);
            reclaimed = reclaimed.max(gone);
            kept.push(Kept { data, alive: &group.alive, rows });
        }
        let merged = merge_batches(&kept)?;
        self.reclaimed = reclaimed;
        Ok(merged.map(|(data, alive)| LiveGroup::tail(data, alive)))
    }

    /// Drops whole groups of commits up to `floor`, dead or alive: a log that is only a queue between its writer and its
    /// readers. Returns the number of live entries dropped.
    pub fn cut(&mut self, floor: CommitId) -> usize {
        let gone = self.groups.iter().take_while(|group| group.entries.last_commit() <= floor).count();
        let mut rows = 0;
        for group in self.groups.drain(..gone) {
            rows += group.alive.count();
            self.reclaimed = self.reclaimed.max(group.entries.last_commit());
        }
        rows
    }
}

/// The size class: batches of one class are merged by eights.
fn level_of(group: &LiveGroup) -> u32 {
    if group.entries.memory_bytes() >= MAX_BATCH_BYTES / MERGE_FACTOR {
        return TOP_LEVEL;
    }
    group.entries.len().max(1).ilog2().div_ceil(3)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};

    use super::*;
    use crate::tail::NO_ROW;

    fn entries(bucket: &mut BucketView, values: &[i64], prev: &[u64], commit: u64) {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(values.to_vec()))];
        for &seq in prev.iter().filter(|&&seq| seq != NO_ROW) {
            let (group, position) = bucket.locate(seq);
            bucket.kill(group, position);
        }
        let first = bucket.next_seq;
        bucket.append(TailBatch::new(first, columns, values.len(), false, Some(prev.into()), CommitId(commit)));
    }

    fn all(bucket: &BucketView) -> Vec<(u64, i64, bool)> {
        let rows = |group: &LiveGroup| {
            let batch = group.entries.to_batch().unwrap();
            let values = batch.columns[0].as_primitive::<Int64Type>().clone();
            let alive = group.alive.clone();
            (0..batch.len).map(move |i| (batch.seq(i), values.value(i), alive.get(i)))
        };
        bucket.groups.iter().flat_map(rows).collect()
    }

    #[test]
    fn one_row_batches_merge_into_few_and_keep_what_cursors_need() {
        let mut bucket = BucketView::default();
        let mut last = NO_ROW;
        for i in 0..1000 {
            // Key 0 is updated all the time; every third entry is a new row.
            let prev = if i % 3 == 0 { NO_ROW } else { last };
            entries(&mut bucket, &[i as i64], &[prev], i + 1);
            if i % 3 != 0 || last == NO_ROW {
                last = i;
            }
            bucket.maintain(CommitId(0)).unwrap();
        }
        assert!(bucket.groups.len() < 40, "{} batches", bucket.groups.len());
        assert_eq!(all(&bucket).len(), 1000, "a cursor at 0 keeps everything");
        assert_eq!(bucket.reclaimed, CommitId(0));
        let alive: Vec<_> = all(&bucket).into_iter().filter(|row| row.2).collect();

        let frozen = bucket.clone();
        bucket.maintain(CommitId(900)).unwrap();
        entries(&mut bucket, &[-1], &[last], 1001);
        bucket.maintain(CommitId(1000)).unwrap();
        assert_eq!(all(&frozen).len(), 1000, "an older view does not change");
        let rows = all(&bucket);
        let expected: Vec<_> = alive.iter().filter(|row| row.0 != last).copied().chain([(1000, -1, true)]).collect();
        assert_eq!(rows.iter().filter(|row| row.2).copied().collect::<Vec<_>>(), expected);
        assert!(bucket.reclaimed > CommitId(0));
        for &(seq, value, _) in &expected {
            let (batch, position) = bucket.locate(seq);
            assert_eq!(
                bucket.groups[batch].entries.tail().unwrap().columns[0].as_primitive::<Int64Type>().value(position),
                value
            );
        }
    }
}
