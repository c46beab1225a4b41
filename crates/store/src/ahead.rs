//! Sealing ahead: what a tick appends goes into segments before the tick is published, so that a tick of any size needs bounded
//! memory.
//!
//! What always holds: nothing counts before the tick's frame. Its segments are named by no checkpoint until then, a tick that is
//! given up removes them, and those that a crash leaves behind are removed at the next start. The log has every row all the
//! same, so the frames say nothing of them: a replay seals ahead by its own count, into segments of its own. Row ids do
//! not depend on where entries lie.
//!
//! The bytes that count are those of the entries that the tick has appended; what earlier ticks have left in memory in
//! the same tables goes along, so that segments stay in the order of their entries.

use std::path::Path;
use std::sync::Arc;

use gridhouse_base::Result;
use gridhouse_base::fs::FileSystem;

use crate::checkpoint::SegmentEntry;
use crate::checkpoint::replacement::Draft;
use crate::maintenance::Files;
use crate::segment::{SegmentWriter, file_name};
use crate::state::State;
use crate::store::Store;

/// Where a store's segments lie.
pub(crate) struct Home<'a> {
    pub fs: &'a Arc<dyn FileSystem>,
    pub dir: &'a Path,
    /// The store's id.
    pub store: u128,
    /// The most entries in a group.
    pub group_rows: usize,
}

impl State {
    /// Bytes of the entries in memory that the tick under way has appended.
    pub fn fresh_bytes(&self) -> usize {
        self.touched.iter().filter_map(|id| self.tables.get(id)).map(|table| table.fresh_bytes).sum()
    }
}

impl Files {
    /// Seals what the tables that the tick under way has changed hold in memory; `time_micros` is the tick's clock.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the tick is then as it was.
    pub fn seal_ahead(&mut self, state: &mut State, home: &Home<'_>, time_micros: i64) -> Result<()> {
        let number = self.take_segment_number();
        let mut writer: Option<SegmentWriter> = None;
        let mut drafts = Vec::new();
        for (id, table) in state.touched.iter().filter_map(|id| Some((*id, state.tables.get(id)?))) {
            for (b, bucket) in table.buckets.iter().enumerate() {
                let old = bucket.groups[bucket.sealed_groups()..].to_vec();
                if old.is_empty() {
                    continue;
                }
                // No more is left out than the log does without already: a reader may still register in this tick.
                drafts.push(Draft::write(
                    (id, b as u16),
                    old,
                    (bucket.reclaimed, home.group_rows),
                    &mut |batch, is_first| {
                        let writer = match &mut writer {
                            Some(writer) => writer,
                            None => writer.insert(
                                SegmentWriter::create(home.fs.clone(), home.dir, number, home.store)?.quickly(),
                            ),
                        };
                        if is_first {
                            writer.begin_section(&table.shape, b as u16)?;
                        }
                        writer.push(batch, (self.checkpoint_micros, time_micros))
                    },
                )?);
            }
        }
        let segment = writer.map(SegmentWriter::finish).transpose()?;
        for replacement in Draft::finish(drafts, segment.as_ref()) {
            let table = state.tables.get_mut(&replacement.table).expect("only tables that are there are sealed");
            let is_keyed = table.shape.is_keyed();
            let bucket = Arc::make_mut(&mut table.buckets[usize::from(replacement.bucket)]);
            bucket.replace(&replacement, is_keyed);
            bucket.sealing = bucket.next_seq;
        }
        for id in &state.touched {
            if let Some(table) = state.tables.get_mut(id) {
                table.fresh_bytes = 0;
            }
        }
        if let Some(segment) = segment {
            self.written.sealed_bytes += segment.file_bytes();
            self.note_sealed(&segment);
            self.ahead.push(SegmentEntry { segment, level: 0 });
        }
        Ok(())
    }

    /// The tick is published: what was sealed ahead of it counts.
    pub fn keep_ahead(&mut self) {
        self.may_merge |= !self.ahead.is_empty();
        self.segments.append(&mut self.ahead);
    }
}

impl Store {
    /// Seals what the tick under way has appended, if that is more than it may hold in memory.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the tick is then as it was.
    pub(crate) fn seal_ahead(&mut self, time_micros: i64) -> Result<()> {
        if self.state.fresh_bytes() <= self.limits.tick_bytes {
            return Ok(());
        }
        self.take_seal_under_way()?;
        let group_rows = self.limits.group_rows;
        let home = Home { fs: &self.fs, dir: &self.dir, store: self.id, group_rows };
        self.files.seal_ahead(&mut self.state, &home, time_micros)?;
        self.state.shrink_indexes(self.limits.index_bytes);
        Ok(())
    }

    /// What the keeper seals for a checkpoint comes before what the tick has appended since, so it is waited for.
    fn take_seal_under_way(&mut self) -> Result<()> {
        self.workshop.finish_seal();
        let sealed = self.workshop.take_sealed();
        self.shared.check()?;
        if sealed.is_some() {
            self.take(sealed, None);
        }
        Ok(())
    }

    /// The tick is given up: what was sealed ahead of it is nobody's.
    pub(crate) fn drop_ahead(&mut self) {
        let gone = std::mem::take(&mut self.files.ahead);
        if gone.is_empty() {
            return;
        }
        let names = gone.iter().map(|entry| self.dir.join(file_name(entry.segment.number())));
        self.files.doomed.extend(names);
        self.remove_doomed();
    }
}
