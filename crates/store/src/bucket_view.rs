//! The entries of a bucket at one moment, oldest first.
//!
//! A reader holds a [`BucketView`] and sees it unchanged for as long as it likes: batches are never written to again, and
//! bitmaps and lists are copied when a view shares them. Small batches are merged by eights (1k → 8k → 64k rows), so
//! a row is copied at most once per level. While batches are merged or rewritten, entries that no reader of the log needs
//! any more (dead, and at or below every cursor) are left out.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result};

use crate::bits::Bits;
use crate::tail::{Kept, MAX_BATCH_ROWS, TailBatch, merge_batches};

/// Batches are not merged beyond this, so that 32-bit offsets of text columns cannot overflow.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// How many batches of one size become one of the next.
const MERGE_FACTOR: usize = 8;

/// A batch with its bitmap of live entries.
#[derive(Clone, Debug)]
pub(crate) struct BatchRef {
    pub data: Arc<TailBatch>,
    pub alive: Arc<Bits>,
}

impl BatchRef {
    /// Whether entry `i` is needed by a reader of the live view, or of the log above `floor`.
    fn is_needed(&self, i: usize, floor: CommitId) -> bool {
        self.alive.get(i) || self.data.commit_at(i) > floor
    }

    /// The size class: batches of one class are merged by eights.
    fn level(&self) -> u32 {
        if self.data.bytes >= MAX_BATCH_BYTES / MERGE_FACTOR {
            return TOP_LEVEL;
        }
        self.data.len.max(1).ilog2().div_ceil(3)
    }
}

/// The size class of batches that are not merged any more: 64k rows, or an eighth of the byte limit.
const TOP_LEVEL: u32 = 6;

/// A bucket at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct BucketView {
    /// The sequence number of the next entry.
    pub next_seq: u64,
    /// Ascending.
    pub batches: Vec<BatchRef>,
    /// The newest commit of which an entry has been left out; the log can be read from there on.
    pub reclaimed: CommitId,
}

impl BucketView {
    /// Appends entries; `alive` is false for deletions.
    pub fn append(&mut self, batch: TailBatch) {
        debug_assert_eq!(batch.first_seq, self.next_seq, "entries are numbered without gaps");
        self.next_seq += batch.len as u64;
        let alive = Bits::filled(batch.len, batch.deletes.is_none());
        self.batches.push(BatchRef { data: Arc::new(batch), alive: Arc::new(alive) });
    }

    /// The batch and the position of entry `seq`, which has not been reclaimed.
    pub fn locate(&self, seq: u64) -> (usize, usize) {
        let batch = self.batches.partition_point(|batch| batch.data.first_seq <= seq) - 1;
        let position = self.batches[batch].data.position(seq).expect("an entry that is looked for is there");
        (batch, position)
    }

    /// Marks entry `seq` dead.
    pub fn kill(&mut self, seq: u64) {
        let (batch, position) = self.locate(seq);
        Arc::make_mut(&mut self.batches[batch].alive).clear(position);
    }

    /// Merges small batches at the end and rewrites batches that are mostly dead. Dead entries of commits up to `floor`
    /// are left out of whatever is copied.
    pub fn maintain(&mut self, floor: CommitId) -> Result<()> {
        self.merge_small(floor)?;
        self.rewrite_dead(floor)
    }

    fn merge_small(&mut self, floor: CommitId) -> Result<()> {
        for level in 0..TOP_LEVEL {
            let suffix = self.batches.iter().rev().take_while(|batch| batch.level() <= level).count();
            let start = self.batches.len() - suffix;
            let full = self.batches[start..].iter().filter(|batch| batch.level() == level).count();
            if full >= MERGE_FACTOR {
                let merged = self.merge(start..self.batches.len(), floor)?;
                self.batches.truncate(start);
                self.batches.extend(merged);
            }
        }
        Ok(())
    }

    fn rewrite_dead(&mut self, floor: CommitId) -> Result<()> {
        let mut i = 0;
        while i < self.batches.len() {
            let batch = &self.batches[i];
            if batch.alive.count() * 2 >= batch.data.len || batch.data.last_commit() > floor {
                i += 1;
                continue;
            }
            // Survivors join the batch before them, so that a table whose rows keep changing does not fall into crumbs.
            let joins = i > 0 && {
                let before = &self.batches[i - 1];
                before.data.len + batch.alive.count() <= MAX_BATCH_ROWS / 2
                    && before.data.bytes + batch.data.bytes <= MAX_BATCH_BYTES
                    && before.data.last_commit() <= floor
            };
            let from = if joins { i - 1 } else { i };
            let merged = self.merge(from..i + 1, floor)?;
            let kept = usize::from(merged.is_some());
            self.batches.splice(from..i + 1, merged);
            i = from + kept;
        }
        Ok(())
    }

    /// The needed entries of some batches as one; `None` if no entry is needed.
    fn merge(&mut self, range: std::ops::Range<usize>, floor: CommitId) -> Result<Option<BatchRef>> {
        let inputs = &self.batches[range];
        let mut reclaimed = self.reclaimed;
        let mut keep: Vec<Option<Vec<u32>>> = Vec::with_capacity(inputs.len());
        for batch in inputs {
            let whole = batch.alive.is_full() || batch.data.first_commit() > floor;
            keep.push((!whole).then(|| {
                let mut kept = Vec::with_capacity(batch.data.len);
                for i in 0..batch.data.len {
                    if batch.is_needed(i, floor) {
                        kept.push(i as u32);
                    } else {
                        reclaimed = reclaimed.max(batch.data.commit_at(i));
                    }
                }
                kept
            }));
        }
        let kept = inputs.iter().zip(keep).map(|(batch, rows)| Kept { data: &batch.data, alive: &batch.alive, rows });
        let merged = merge_batches(&kept.collect::<Vec<_>>())?;
        self.reclaimed = reclaimed;
        Ok(merged.map(|(data, alive)| BatchRef { data: Arc::new(data), alive: Arc::new(alive) }))
    }

    /// Drops whole batches of commits up to `floor`, dead or alive: a log that is only a queue between its writer and its
    /// readers. Returns the number of live entries dropped.
    pub fn cut(&mut self, floor: CommitId) -> usize {
        let gone = self.batches.iter().take_while(|batch| batch.data.last_commit() <= floor).count();
        let mut rows = 0;
        for batch in self.batches.drain(..gone) {
            rows += batch.alive.count();
            self.reclaimed = self.reclaimed.max(batch.data.last_commit());
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};

    use super::*;
    use crate::tail::NO_ROW;

    fn entries(bucket: &mut BucketView, values: &[i64], prev: &[u64], commit: u64) {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(values.to_vec()))];
        for &seq in prev.iter().filter(|&&seq| seq != NO_ROW) {
            bucket.kill(seq);
        }
        let first = bucket.next_seq;
        bucket.append(TailBatch::new(first, columns, values.len(), false, Some(prev.into()), CommitId(commit)));
    }

    fn all(bucket: &BucketView) -> Vec<(u64, i64, bool)> {
        let rows = |batch: &BatchRef| {
            let values = batch.data.columns[0].as_primitive::<Int64Type>().clone();
            let batch = batch.clone();
            (0..batch.data.len).map(move |i| (batch.data.seq(i), values.value(i), batch.alive.get(i)))
        };
        bucket.batches.iter().flat_map(rows).collect()
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
        assert!(bucket.batches.len() < 40, "{} batches", bucket.batches.len());
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
            assert_eq!(bucket.batches[batch].data.columns[0].as_primitive::<Int64Type>().value(position), value);
        }
    }
}
