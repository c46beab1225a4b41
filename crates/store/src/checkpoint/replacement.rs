//! Groups of a bucket that take the place of others: what sealing and compaction come to.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result, TableId};

use super::regroup::Regroup;
use crate::bits::Bits;
use crate::group::LiveGroup;
use crate::segment::{Group, Segment};
use crate::tail::TailBatch;

/// Groups of a bucket that take the place of others.
pub(crate) struct Replacement {
    pub table: TableId,
    pub bucket: u16,
    /// What was there when the work began.
    pub old: Vec<LiveGroup>,
    /// What has been made of it, with the entries that lived when the work began.
    pub new: Vec<(Group, Bits)>,
    /// The newest commit of an entry that has been left out.
    pub reclaimed: CommitId,
}

/// A replacement whose groups are on their way into a segment that is not finished.
pub(crate) struct Draft {
    table: TableId,
    bucket: u16,
    old: Vec<LiveGroup>,
    alive: Vec<Bits>,
    reclaimed: CommitId,
}

impl Draft {
    /// Regroups `old` into groups of at most `group_rows` entries, leaving out dead ones of commits up to `floor`; `write` puts a group into the segment, and is told
    /// of the first of them.
    pub fn write(
        (table, bucket): (TableId, u16),
        old: Vec<LiveGroup>,
        (floor, group_rows): (CommitId, usize),
        write: &mut dyn FnMut(&TailBatch, bool) -> Result<()>,
    ) -> Result<Self> {
        let mut regroup = Regroup::new(floor, group_rows);
        let mut alive: Vec<Bits> = Vec::new();
        let mut take = |(batch, bits): (TailBatch, Bits)| {
            let is_first = alive.is_empty();
            alive.push(bits);
            write(&batch, is_first)
        };
        for group in &old {
            regroup.push(group, &mut take)?;
        }
        regroup.flush(&mut take)?;
        Ok(Self { table, bucket, old, alive, reclaimed: regroup.reclaimed })
    }

    /// The replacements that `drafts` come to: their groups are those of `segment`, in order. No segment was made where there
    /// was nothing to write.
    pub fn finish(drafts: Vec<Self>, segment: Option<&Arc<Segment>>) -> Vec<Replacement> {
        let mut next = 0;
        let mut replacements = Vec::with_capacity(drafts.len());
        for Self { table, bucket, old, alive, reclaimed } in drafts {
            let mut new = Vec::with_capacity(alive.len());
            for bits in alive {
                let segment = segment.expect("what has been written is in a segment");
                new.push((segment.group(next), bits));
                next += 1;
            }
            replacements.push(Replacement { table, bucket, old, new, reclaimed });
        }
        replacements
    }
}
