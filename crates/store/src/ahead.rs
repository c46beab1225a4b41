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
use crate::checkpoint::replacement::Drafts;
use crate::maintenance::{Files, Limits};
use crate::segment::{SegmentWriter, file_name};
use crate::state::State;
use crate::store::Store;

/// Where a store's segments lie, and what bounds them.
pub(crate) struct Home<'a> {
    pub fs: &'a Arc<dyn FileSystem>,
    pub dir: &'a Path,
    /// The store's id.
    pub store: u128,
    /// What a group, a tick and the key indexes may hold.
    pub limits: &'a Limits,
}

impl State {
    /// Bytes of the entries in memory that the tick under way has appended.
    pub fn fresh_bytes(&self) -> usize {
        self.touched.iter().filter_map(|id| self.tables.get(id)).map(|table| table.fresh_bytes).sum()
    }

    /// Whether these are more than a tick may hold in memory.
    pub fn is_to_be_sealed_ahead(&self, limits: &Limits) -> bool {
        self.fresh_bytes() > limits.tick_bytes
    }
}

impl Files {
    /// Seals what the tables that the tick under way has changed hold in memory, and keeps the key indexes to their budget;
    /// `time_micros` is the tick's clock. When it is time for that is told by [`State::is_to_be_sealed_ahead`].
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; the tick is then as it was.
    pub fn seal_ahead(&mut self, state: &mut State, home: &Home<'_>, time_micros: i64) -> Result<()> {
        let number = self.take_segment_number();
        let begin = || Ok(SegmentWriter::create(home.fs.clone(), home.dir, number, home.store)?.quickly());
        let mut drafts = Drafts::new(home.limits.group_rows, &begin);
        let times = (self.checkpoint_micros, time_micros);
        for table in state.touched.iter().filter_map(|id| state.tables.get(id)) {
            for (b, bucket) in table.buckets.iter().enumerate() {
                let old = bucket.groups[bucket.sealed_groups()..].to_vec();
                // No more is left out than the log does without already: a reader may still register in this tick.
                drafts.add((&table.shape, b as u16), old, bucket.reclaimed, times, &|_| Ok(()))?;
            }
        }
        let (segment, replacements) = drafts.finish()?;
        for replacement in replacements {
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
        state.shrink_indexes(home.limits.index_bytes);
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
        if !self.state.is_to_be_sealed_ahead(&self.limits) {
            return Ok(());
        }
        self.take_seal_under_way()?;
        let home = Home { fs: &self.fs, dir: &self.dir, store: self.id, limits: &self.limits };
        self.files.seal_ahead(&mut self.state, &home, time_micros)
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
