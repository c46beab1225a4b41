//! The hot tail of a bucket: immutable batches of log entries, with a bitmap of those that are alive.
//!
//! A reader holds a [`BucketView`] and sees it unchanged for as long as it likes: batches are never written to again, and
//! bitmaps and batch lists are copied when a view shares them. Small batches are merged by eights (1k → 8k → 64k rows), so
//! a row is copied at most once per level. While batches are merged or rewritten, entries that no reader of the log needs
//! any more (dead, and at or below every cursor) are left out; a batch with gaps lists its sequence numbers.
//!
//! This is all the table storage there is so far; segments on disk will take over what has become cold.

use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_select::{concat::concat, take::take};
use gridhouse_base::{CommitId, Error, Result, RowKind};

/// Rows in a batch that is not merged further.
pub(crate) const MAX_BATCH_ROWS: usize = 65_536;

/// Batches are not merged beyond this, so that 32-bit offsets of text columns cannot overflow.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// How many batches of one size become one of the next.
const MERGE_FACTOR: usize = 8;

/// "This entry killed nothing."
pub(crate) const NO_ROW: u64 = u64::MAX;

/// Names an entry of a table for ever: its bucket (16 bits) and its sequence number within the bucket (48 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub(crate) u64);

impl RowId {
    pub(crate) fn new(bucket: u16, seq: u64) -> Self {
        assert!(seq < 1 << 48, "a bucket has at most 2^48 entries");
        Self(u64::from(bucket) << 48 | seq)
    }

    /// The bucket.
    pub fn bucket(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The entry's sequence number within the bucket.
    pub fn seq(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

/// One bit per entry of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
    set: usize,
}

impl Bits {
    pub fn filled(len: usize, value: bool) -> Self {
        let mut words = vec![if value { u64::MAX } else { 0 }; len.div_ceil(64)];
        if value && !len.is_multiple_of(64) {
            *words.last_mut().expect("there is a last word") = (1 << (len % 64)) - 1;
        }
        Self { words, len, set: if value { len } else { 0 } }
    }

    pub fn from_fn(len: usize, bit: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::filled(len, false);
        for i in (0..len).filter(|&i| bit(i)) {
            bits.words[i / 64] |= 1 << (i % 64);
            bits.set += 1;
        }
        bits
    }

    pub fn get(&self, i: usize) -> bool {
        self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// Clears bit `i`, which is set.
    fn clear(&mut self, i: usize) {
        assert!(self.get(i), "an entry dies once");
        self.words[i / 64] &= !(1 << (i % 64));
        self.set -= 1;
    }

    pub fn count(&self) -> usize {
        self.set
    }

    pub fn is_full(&self) -> bool {
        self.set == self.len
    }

    pub fn to_mask(&self) -> BooleanArray {
        BooleanArray::new(BooleanBuffer::new(Buffer::from_slice_ref(&self.words), 0, self.len), None)
    }
}

/// Immutable entries of one bucket, in order of sequence number.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub first_seq: u64,
    /// The sequence numbers, if they have gaps.
    seqs: Option<Arc<[u64]>>,
    pub len: usize,
    pub columns: Vec<ArrayRef>,
    /// Which entries are deletions; `None` if there is none.
    deletes: Option<Bits>,
    /// For primary-key tables, the sequence number that each entry killed, or [`NO_ROW`].
    prev: Option<Arc<[u64]>>,
    /// The commits, each with the position of its first entry; ascending.
    commits: Vec<(u32, CommitId)>,
    pub bytes: usize,
    /// Key number and position of every entry that is no deletion, ascending; made when the first look-up needs it.
    pub lookup: OnceLock<Box<[(u64, u32)]>>,
}

impl TailBatch {
    /// Entries of one commit with consecutive sequence numbers.
    pub fn new(
        first_seq: u64,
        columns: Vec<ArrayRef>,
        len: usize,
        deletes: bool,
        prev: Option<Arc<[u64]>>,
        commit: CommitId,
    ) -> Self {
        let deletes = deletes.then(|| Bits::filled(len, true));
        Self::build(first_seq, None, columns, len, deletes, prev, vec![(0, commit)])
    }

    fn build(
        first_seq: u64,
        seqs: Option<Arc<[u64]>>,
        columns: Vec<ArrayRef>,
        len: usize,
        deletes: Option<Bits>,
        prev: Option<Arc<[u64]>>,
        commits: Vec<(u32, CommitId)>,
    ) -> Self {
        let size = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
        let bytes = columns.iter().map(size).sum::<usize>() + len * 8;
        Self { first_seq, seqs, len, columns, deletes, prev, commits, bytes, lookup: OnceLock::new() }
    }

    pub fn seq(&self, i: usize) -> u64 {
        self.seqs.as_ref().map_or(self.first_seq + i as u64, |seqs| seqs[i])
    }

    fn position(&self, seq: u64) -> Option<usize> {
        match &self.seqs {
            None => usize::try_from(seq.checked_sub(self.first_seq)?).ok().filter(|&i| i < self.len),
            Some(seqs) => seqs.binary_search(&seq).ok(),
        }
    }

    pub fn is_delete(&self, i: usize) -> bool {
        self.deletes.as_ref().is_some_and(|deletes| deletes.get(i))
    }

    /// The entry's kind: an entry that killed another one is an update.
    pub fn kind(&self, i: usize) -> RowKind {
        if self.is_delete(i) {
            RowKind::Delete
        } else if self.prev.as_ref().is_some_and(|prev| prev[i] != NO_ROW) {
            RowKind::UpdateAfter
        } else {
            RowKind::Insert
        }
    }

    fn commit_at(&self, i: usize) -> CommitId {
        let run = self.commits.partition_point(|&(start, _)| start as usize <= i);
        self.commits[run - 1].1
    }

    pub fn last_commit(&self) -> CommitId {
        self.commits.last().expect("a batch has entries").1
    }

    fn first_commit(&self) -> CommitId {
        self.commits[0].1
    }

    /// The commits with the entries `from..to` of each.
    pub fn runs(&self) -> impl Iterator<Item = (CommitId, usize, usize)> + '_ {
        self.commits.iter().enumerate().map(|(i, &(start, commit))| {
            let end = self.commits.get(i + 1).map_or(self.len, |&(next, _)| next as usize);
            (commit, start as usize, end)
        })
    }
}

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
        let merged = merge_batches(inputs, &keep)?;
        self.reclaimed = reclaimed;
        Ok(merged)
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

/// Copies the entries that `keep` names (`None`: all) of each batch into one.
fn merge_batches(inputs: &[BatchRef], keep: &[Option<Vec<u32>>]) -> Result<Option<BatchRef>> {
    let kept = |i: usize| keep[i].as_ref().map_or(inputs[i].data.len, Vec::len);
    let total: usize = (0..inputs.len()).map(kept).sum();
    if total == 0 {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(inputs[0].data.columns.len());
    for c in 0..inputs[0].data.columns.len() {
        let mut parts = Vec::with_capacity(inputs.len());
        for (batch, keep) in inputs.iter().zip(keep) {
            let column = &batch.data.columns[c];
            parts.push(match keep {
                None => column.clone(),
                Some(rows) => take(column, &UInt32Array::from(rows.clone()), None).map_err(rearrange_error)?,
            });
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        columns.push(concat(&parts).map_err(rearrange_error)?);
    }
    let mut seqs = Vec::with_capacity(total);
    let mut prev = inputs[0].data.prev.is_some().then(|| Vec::with_capacity(total));
    let mut deletes = Vec::with_capacity(total);
    let mut alive = Vec::with_capacity(total);
    let mut commits: Vec<(u32, CommitId)> = Vec::new();
    for (batch, keep) in inputs.iter().zip(keep) {
        let mut push = |i: usize| {
            let commit = batch.data.commit_at(i);
            if commits.last().is_none_or(|&(_, last)| last != commit) {
                commits.push((seqs.len() as u32, commit));
            }
            seqs.push(batch.data.seq(i));
            deletes.push(batch.data.is_delete(i));
            alive.push(batch.alive.get(i));
            if let (Some(out), Some(own)) = (&mut prev, &batch.data.prev) {
                out.push(own[i]);
            }
        };
        match keep {
            None => (0..batch.data.len).for_each(&mut push),
            Some(rows) => rows.iter().for_each(|&i| push(i as usize)),
        }
    }
    let first_seq = seqs[0];
    let has_gaps = seqs[total - 1] - first_seq != total as u64 - 1;
    let deletes = deletes.contains(&true).then(|| Bits::from_fn(total, |i| deletes[i]));
    let alive = Bits::from_fn(total, |i| alive[i]);
    let seqs = has_gaps.then(|| seqs.into());
    let data = TailBatch::build(first_seq, seqs, columns, total, deletes, prev.map(Into::into), commits);
    Ok(Some(BatchRef { data: Arc::new(data), alive: Arc::new(alive) }))
}

/// Arrow refused to copy rows: a defect here, not something that the user did.
pub(crate) fn rearrange_error(error: arrow_schema::ArrowError) -> Error {
    Error::internal("rows could not be rearranged").caused_by(error)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};

    use super::*;

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
