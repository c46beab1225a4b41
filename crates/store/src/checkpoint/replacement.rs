//! Groups of a bucket that take the place of others: what sealing and compaction come to.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result, TableId};

use super::regroup::Regroup;
use crate::bits::Bits;
use crate::group::LiveGroup;
use crate::segment::{Group, Segment, SegmentWriter};
use crate::table::TableShape;
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
struct Draft {
    table: TableId,
    bucket: u16,
    old: Vec<LiveGroup>,
    alive: Vec<Bits>,
    reclaimed: CommitId,
}

/// Replacements whose groups go into one segment, which is begun with the first of them.
pub(crate) struct Drafts<'a> {
    begin: &'a dyn Fn() -> Result<SegmentWriter>,
    group_rows: usize,
    writer: Option<SegmentWriter>,
    drafts: Vec<Draft>,
}

impl<'a> Drafts<'a> {
    /// None yet; groups will have at most `group_rows` entries, and `begin` begins the segment.
    pub fn new(group_rows: usize, begin: &'a dyn Fn() -> Result<SegmentWriter>) -> Self {
        Self { begin, group_rows, writer: None, drafts: Vec::new() }
    }

    /// Regroups `old`, groups of a bucket whose commits were made at `time_micros`, leaving out dead entries of commits up to
    /// `floor`. Buckets come in ascending order. After each group `written` is told how many bytes the segment has by then.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; `Corrupt` if a segment is damaged; those of `written`.
    pub fn add(
        &mut self,
        (shape, bucket): (&Arc<TableShape>, u16),
        old: Vec<LiveGroup>,
        floor: CommitId,
        time_micros: (i64, i64),
        written: &dyn Fn(u64) -> Result<()>,
    ) -> Result<()> {
        if old.is_empty() {
            return Ok(());
        }
        let mut regroup = Regroup::new(floor, self.group_rows);
        let mut alive: Vec<Bits> = Vec::new();
        let mut take = |(batch, bits): (TailBatch, Bits)| {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                None => self.writer.insert((self.begin)()?),
            };
            if alive.is_empty() {
                writer.begin_section(shape, bucket)?;
            }
            alive.push(bits);
            writer.push(&batch, time_micros)?;
            written(writer.bytes_written())
        };
        for group in &old {
            regroup.push(group, &mut take)?;
        }
        regroup.flush(&mut take)?;
        self.drafts.push(Draft { table: shape.id, bucket, old, alive, reclaimed: regroup.reclaimed });
        Ok(())
    }

    /// The finished segment, if there was something to write, and the replacements: their groups are the segment's, in order.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails.
    pub fn finish(self) -> Result<(Option<Arc<Segment>>, Vec<Replacement>)> {
        let segment = self.writer.map(SegmentWriter::finish).transpose()?;
        let mut next = 0;
        let mut replacements = Vec::with_capacity(self.drafts.len());
        for Draft { table, bucket, old, alive, reclaimed } in self.drafts {
            let mut new = Vec::with_capacity(alive.len());
            for bits in alive {
                let segment = segment.as_ref().expect("what has been written is in a segment");
                new.push((segment.group(next), bits));
                next += 1;
            }
            replacements.push(Replacement { table, bucket, old, new, reclaimed });
        }
        Ok((segment, replacements))
    }
}
