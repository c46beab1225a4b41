//! Immutable batches of log entries in memory: what the hot tail of a bucket is made of, and the form in which entries pass
//! between memory and segments.
//!
//! A batch is never written to again. Which of its entries live is told by a bitmap beside it (`group.rs`). A batch with gaps,
//! from which entries have been left out, lists its sequence numbers.

use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::{concat::concat, take::take};
use gridhouse_base::{CommitId, Error, Result, RowKind};

use crate::bits::Bits;
use crate::condition::ColumnStatistics;
use crate::tail_keys::TailKeys;

/// Rows in a batch that is not merged further.
pub(crate) const MAX_BATCH_ROWS: usize = 65_536;

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

/// Immutable entries of one bucket, in order of sequence number.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub first_seq: u64,
    /// The sequence numbers, if they have gaps.
    pub seqs: Option<Arc<[u64]>>,
    pub len: usize,
    pub columns: Vec<ArrayRef>,
    /// Which entries are deletions; `None` if there is none.
    pub deletes: Option<Bits>,
    /// For primary-key tables, the sequence number that each entry killed, or [`NO_ROW`].
    pub prev: Option<Arc<[u64]>>,
    /// The commits, each with the position of its first entry; ascending.
    pub commits: Vec<(u32, CommitId)>,
    pub bytes: usize,
    /// Where the keys are; made when the first look-up needs it.
    pub keys: OnceLock<TailKeys>,
    /// What is known of every column; each looked up when the first scan with a condition on it needs it.
    pub statistics: OnceLock<Box<[OnceLock<Option<ColumnStatistics>>]>>,
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

    /// Entries of several commits, perhaps with gaps between their sequence numbers (`seqs`).
    pub fn build(
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
        Self {
            first_seq,
            seqs,
            len,
            columns,
            deletes,
            prev,
            commits,
            bytes,
            keys: OnceLock::new(),
            statistics: OnceLock::new(),
        }
    }

    pub fn seq(&self, i: usize) -> u64 {
        self.seqs.as_ref().map_or(self.first_seq + i as u64, |seqs| seqs[i])
    }

    /// Where the entry with sequence number `seq` is, if the batch has it.
    pub fn position(&self, seq: u64) -> Option<usize> {
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

    /// The commit of entry `i`.
    pub fn commit_at(&self, i: usize) -> CommitId {
        let run = self.commits.partition_point(|&(start, _)| start as usize <= i);
        self.commits[run - 1].1
    }

    pub fn last_commit(&self) -> CommitId {
        self.commits.last().expect("a batch has entries").1
    }

    pub fn first_commit(&self) -> CommitId {
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

/// A batch of which some entries are copied.
pub(crate) struct Kept<'a> {
    pub data: &'a TailBatch,
    pub alive: &'a Bits,
    /// The positions of those entries, ascending; `None` means all.
    pub rows: Option<Vec<u32>>,
}

impl Kept<'_> {
    fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.data.len, Vec::len)
    }
}

/// Copies the kept entries of neighbouring batches into one, with its bitmap of live entries; `None` if there are none.
pub(crate) fn merge_batches(inputs: &[Kept<'_>]) -> Result<Option<(TailBatch, Bits)>> {
    let total: usize = inputs.iter().map(Kept::len).sum();
    if total == 0 {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(inputs[0].data.columns.len());
    for c in 0..inputs[0].data.columns.len() {
        let mut parts = Vec::with_capacity(inputs.len());
        for kept in inputs {
            let column = &kept.data.columns[c];
            parts.push(match &kept.rows {
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
    for Kept { data, alive: live, rows } in inputs {
        let mut push = |i: usize| {
            let commit = data.commit_at(i);
            if commits.last().is_none_or(|&(_, last)| last != commit) {
                commits.push((seqs.len() as u32, commit));
            }
            seqs.push(data.seq(i));
            deletes.push(data.is_delete(i));
            alive.push(live.get(i));
            if let (Some(out), Some(own)) = (&mut prev, &data.prev) {
                out.push(own[i]);
            }
        };
        match rows {
            None => (0..data.len).for_each(&mut push),
            Some(rows) => rows.iter().for_each(|&i| push(i as usize)),
        }
    }
    let first_seq = seqs[0];
    let has_gaps = seqs[total - 1] - first_seq != total as u64 - 1;
    let deletes = deletes.contains(&true).then(|| Bits::from_fn(total, |i| deletes[i]));
    let alive = Bits::from_fn(total, |i| alive[i]);
    let seqs = has_gaps.then(|| seqs.into());
    let data = TailBatch::build(first_seq, seqs, columns, total, deletes, prev.map(Into::into), commits);
    Ok(Some((data, alive)))
}

/// Arrow refused to copy rows: a defect here, not something that the user did.
pub(crate) fn rearrange_error(error: arrow_schema::ArrowError) -> Error {
    Error::internal("rows could not be rearranged").caused_by(error)
}
