//! Entries on their way into a segment: small or thinned-out groups become full ones.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result};

use crate::bits::Bits;
use crate::group::LiveGroup;
use crate::segment::GROUP_ROWS;
use crate::tail::{Kept, TailBatch, merge_batches};

/// A group is not filled beyond this many bytes of memory: text columns have 32-bit offsets, and memory is to stay small.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// What a group becomes, with the bitmap of the entries that live.
pub(crate) type Regrouped = (TailBatch, Bits);

/// Gathers the entries of one bucket that are needed.
pub(crate) struct Regroup {
    floor: CommitId,
    group_rows: usize,
    waiting: Vec<(Arc<TailBatch>, Arc<Bits>, Vec<u32>)>,
    rows: usize,
    bytes: usize,
    /// The newest commit of an entry that has been left out.
    pub reclaimed: CommitId,
}

impl Regroup {
    /// Dead entries of commits up to `floor` are left out; a group gets at most `group_rows` entries.
    pub fn new(floor: CommitId, group_rows: usize) -> Self {
        let group_rows = group_rows.clamp(1, GROUP_ROWS);
        Self { floor, group_rows, waiting: Vec::new(), rows: 0, bytes: 0, reclaimed: CommitId(0) }
    }

    /// Takes a group and hands out those that are full.
    pub fn push(&mut self, group: &LiveGroup, out: &mut dyn FnMut(Regrouped) -> Result<()>) -> Result<()> {
        let (needed, gone) = group.needed(self.floor);
        self.reclaimed = self.reclaimed.max(gone);
        let needed = needed.unwrap_or_else(|| (0..group.entries.len() as u32).collect());
        if needed.is_empty() {
            return Ok(());
        }
        let batch = group.entries.to_batch()?;
        let row_bytes = batch.bytes / batch.len.max(1) + 1;
        let mut rest = needed.as_slice();
        while !rest.is_empty() {
            let room_rows = self.group_rows - self.rows;
            let room = room_rows.min(MAX_GROUP_BYTES.saturating_sub(self.bytes) / row_bytes);
            if room == 0 && self.rows > 0 {
                self.flush(out)?;
                continue;
            }
            // A single row of any size has to go somewhere.
            let (now, later) = rest.split_at(room.max(1).min(rest.len()));
            self.rows += now.len();
            self.bytes += now.len() * row_bytes;
            self.waiting.push((batch.clone(), group.alive.clone(), now.to_vec()));
            rest = later;
        }
        Ok(())
    }

    /// Hands out what is left.
    pub fn flush(&mut self, out: &mut dyn FnMut(Regrouped) -> Result<()>) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.rows, self.bytes) = (0, 0);
        let kept = waiting.iter().map(|(data, alive, rows)| {
            let rows = (rows.len() < data.len).then(|| rows.clone());
            Kept { data, alive, rows }
        });
        merge_batches(&kept.collect::<Vec<_>>())?.map_or(Ok(()), out)
    }
}
