//! The writer's side of sealing, checkpoints and compaction: deciding what is due, and putting in place what has been made.
//!
//! All of it happens between ticks; a tick that seals ahead takes a seal that is under way first. What the keeper has made stands in for entries that have not changed since; deaths that
//! came meanwhile are carried over. The view is replaced by one of the same tick, so that memory and files are let go of as
//! soon as the last reader of the older one is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gridhouse_base::{CommitId, Error, Result, TableId};

use crate::bits::Bits;
use crate::bucket_view::BucketView;
use crate::checkpoint::attached::{Attached, Attachment};
use crate::checkpoint::compact::{Compacted, Compaction, Usage, choose};
use crate::checkpoint::keeper::Keeper;
use crate::checkpoint::replacement::Replacement;
use crate::checkpoint::seal::{Seal, Sealed};
use crate::checkpoint::{ReplayStart, SegmentEntry, attachment_name, checkpoint_name};
use crate::group::{Entries, LiveGroup};
use crate::segment::{GROUP_ROWS, Segment, file_name};
use crate::snapshot::View;
use crate::state::State;
use crate::store::Store;
use crate::table::Table;
use crate::wal::place::FramePlace;
use crate::wal::verify::LogSpan;

/// What decides when the store's files are worked on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A checkpoint is due when the log has grown by this many bytes since the last one: so much is mostly read at a
    /// restart (up to four times of it where the keeper is behind), and some two to four times as much is held in memory.
    pub checkpoint_log_bytes: u64,
    /// The key indexes of all tables may take this many bytes of memory; keys beyond that are looked up in segments. Keys of
    /// rows in memory stay in any case. Where they alone are more, rows are sealed when the log has grown by an eighth of
    /// `checkpoint_log_bytes`; what is above this is therefore no more than the keys of rows that so much log holds, and of those
    /// that are written while it is sealed.
    pub index_bytes: usize,
    /// Compaction writes at most this many bytes a second; 0: no limit.
    pub compaction_bytes_per_second: u64,
    /// How many segments of one level become one of the next, at least 2. A row is written about once per factor that a table
    /// is larger than the log's share: with 8, three times at 500 MB and four times at 4 GB.
    pub compaction_factor: usize,
    /// The most entries in a group of a segment, from 1 to 65,536.
    pub group_rows: usize,
    /// The log of a tick is written out in pieces of about this many bytes: a tick of any size needs this much memory for it.
    pub tick_piece_bytes: usize,
    /// A tick holds at most about this many bytes of the entries that it appends in memory; what is more is sealed before the tick
    /// is published.
    pub tick_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            checkpoint_log_bytes: 64 << 20,
            index_bytes: 512 << 20,
            compaction_bytes_per_second: 0,
            compaction_factor: 8,
            group_rows: GROUP_ROWS,
            tick_piece_bytes: 8 << 20,
            tick_bytes: 64 << 20,
        }
    }
}

/// Who writes faster than the keeper seals waits for it once the log has grown by this many times what makes a checkpoint due:
/// else what is in memory would grow without end, and a restart with it.
const MOST_BEHIND: u64 = 2;

/// Where the keys of rows in memory alone exceed the budget of the key indexes, rows are sealed once the log has grown by this
/// share of what makes a checkpoint due: not sooner, since a segment of few rows costs as much to find keys in as a large one.
const PRESSED_SHARE: u64 = 8;

/// What could not be forgotten of the key indexes is tried again once they have grown by this share of their budget.
const INDEX_STEP: usize = 16;

/// What has been written to disk since the store was opened, and what lies there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes of log frames.
    pub log_bytes: u64,
    /// Bytes of first-level segments and checkpoints.
    pub sealed_bytes: u64,
    /// Bytes of merged segments.
    pub compacted_bytes: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
}

impl Written {
    /// Bytes written in all for each byte of the log; `None` before anything has been logged.
    pub fn amplification(&self) -> Option<f64> {
        let all = self.log_bytes + self.sealed_bytes + self.compacted_bytes;
        (self.log_bytes > 0).then(|| all as f64 / self.log_bytes as f64)
    }
}

/// What has been written of a table to segments since the store was opened, key runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableWritten {
    /// Bytes in first-level segments.
    pub sealed_bytes: u64,
    /// Bytes in merged segments.
    pub compacted_bytes: u64,
}

/// What the writer knows of the store's files.
#[derive(Default)]
pub(crate) struct Files {
    /// Segments in the order of their entries.
    pub segments: Vec<SegmentEntry>,
    pub next_segment: u64,
    /// The last checkpoint, 0 if there is none.
    pub checkpoint: u64,
    /// The clock of its tick.
    pub checkpoint_micros: i64,
    /// Where a restart begins to read the log.
    pub start: Option<ReplayStart>,
    /// Segments that the last checkpoint names: they stay until the next one, whether or not they are still in use.
    pub named: BTreeSet<u64>,
    /// What is attached to the last checkpoint.
    pub attached: Attached,
    /// Segments that a checkpoint names that is being made.
    pub being_named: BTreeSet<u64>,
    /// Segments of the tick under way, in the order of their entries: they count once it is published.
    pub ahead: Vec<SegmentEntry>,
    /// The segments that are being written: to be removed if that fails.
    pub sealing: Option<PathBuf>,
    pub merging: Option<PathBuf>,
    /// Files that are to go, and could not be removed yet.
    pub doomed: Vec<PathBuf>,
    pub written: Written,
    /// What of that went to segments, by table.
    pub written_of: BTreeMap<TableId, TableWritten>,
    /// Bytes of the log at the last checkpoint that was begun, or failed.
    pub log_bytes_then: u64,
    /// Whether segments have been merged since the last checkpoint was begun: those that went still take their space.
    pub has_merged: bool,
    /// The bytes of the key indexes after keys have been forgotten since the last checkpoint, 0 if none have.
    pub index_bytes_then: usize,
    /// What is worth merging changes as segments come and go: whether any have since that was looked at.
    pub may_merge: bool,
}

impl Files {
    /// Those of a new store. Segments are numbered from 1.
    pub fn new() -> Self {
        Self { next_segment: 1, ..Self::default() }
    }

    /// Notes for each table what a first-level segment has of it.
    pub fn note_sealed(&mut self, segment: &Segment) {
        for (table, bytes) in segment.bytes_by_table() {
            self.written_of.entry(table).or_default().sealed_bytes += bytes;
        }
    }

    /// A number for a new segment.
    pub fn take_segment_number(&mut self) -> u64 {
        self.next_segment += 1;
        self.next_segment - 1
    }
}

impl Store {
    /// A handle for the work on segments and checkpoints, for a thread of its own.
    pub fn keeper(&self) -> Keeper {
        Keeper(self.workshop.clone())
    }

    /// What has been written since the store was opened.
    pub fn written(&self) -> Written {
        Written { log_bytes: self.wal.bytes_written(), ..self.files.written }
    }

    /// What has been written of `table` to segments since the store was opened.
    pub fn written_of(&self, table: TableId) -> TableWritten {
        self.files.written_of.get(&table).copied().unwrap_or_default()
    }

    /// The frames of the log that a restart would read now, to be checked on any thread while this one goes on.
    ///
    /// # Errors
    /// `Unavailable` if a file cannot be opened.
    pub fn log_span(&self) -> Result<LogSpan> {
        self.wal.span(self.files.start.map(|start| start.first))
    }

    /// The memory that the key indexes of all tables take.
    pub fn index_bytes(&self) -> usize {
        self.state.index_bytes()
    }

    /// To be called between ticks, often: takes what the [`Keeper`] has done and lays out what is due next. `attach` is asked
    /// for what is to be kept with a checkpoint when one is begun. Cheap when there is nothing to do. Returns whether
    /// something has been taken or laid out. Waits where the keeper is far behind.
    ///
    /// # Errors
    /// `Unavailable` if the disk failed for good. That the keeper found the disk full is no error here: it tries again.
    pub fn maintain(&mut self, attach: &mut dyn FnMut() -> Option<Attachment>) -> Result<bool> {
        let mut taken = self.take_done()?;
        let mut laid_out = false;
        let grown = self.wal.bytes_written() - self.files.log_bytes_then;
        if grown >= self.limits.checkpoint_log_bytes.saturating_mul(MOST_BEHIND) && !self.workshop.is_free_to_seal() {
            self.workshop.finish_seal();
            taken |= self.take_done()?;
        }
        let is_pressed =
            self.keep_to_index_budget() && grown >= (self.limits.checkpoint_log_bytes / PRESSED_SHARE).max(1);
        let is_due = grown >= self.limits.checkpoint_log_bytes || self.files.has_merged || is_pressed;
        if is_due && self.workshop.is_free_to_seal() {
            self.begin_checkpoint(attach());
            laid_out = true;
        }
        if self.files.may_merge && self.workshop.is_free_to_merge() {
            self.files.may_merge = false;
            laid_out |= self.begin_compaction();
        }
        Ok(taken || laid_out)
    }

    /// Forgets keys as soon as the indexes exceed their budget. Returns whether they still do: the keys of rows in memory are not
    /// forgotten.
    fn keep_to_index_budget(&mut self) -> bool {
        let (budget, bytes) = (self.limits.index_bytes, self.state.index_bytes());
        if bytes <= budget {
            return false;
        }
        let then = self.files.index_bytes_then;
        if then <= budget || bytes > then.saturating_add(budget / INDEX_STEP) {
            self.state.shrink_indexes(budget);
            self.files.index_bytes_then = self.state.index_bytes();
        }
        self.files.index_bytes_then > budget
    }

    /// Makes a checkpoint now, on this thread, waiting for the keeper if it is at work. Nothing if the last one says it all.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails.
    pub fn checkpoint(&mut self, attach: &mut dyn FnMut() -> Option<Attachment>) -> Result<()> {
        // One that is under way says less than is to be said now.
        self.workshop.finish_seal();
        self.take_done()?;
        let is_said = self.files.start.is_some_and(|start| start.tick_frame >= self.state.tick_frame);
        if is_said && !self.files.has_merged {
            return Ok(());
        }
        self.begin_checkpoint(attach());
        self.workshop.finish_seal();
        self.take_done()?;
        self.last_trouble.take().map_or(Ok(()), Err)
    }

    /// Takes what the keeper has done; false if there was nothing.
    fn take_done(&mut self) -> Result<bool> {
        let (sealed, merged) = (self.workshop.take_sealed(), self.workshop.take_merged());
        self.shared.check()?;
        if sealed.is_none() && merged.is_none() {
            return Ok(false);
        }
        self.take(sealed, merged);
        Ok(true)
    }

    /// Puts in place what the keeper has done.
    pub(crate) fn take(&mut self, sealed: Option<Result<Sealed>>, merged: Option<Result<Compacted>>) {
        // Merged first: its inputs are older than what has just been sealed.
        match merged {
            Some(Ok(merged)) => self.place_compacted(merged),
            Some(Err(error)) => self.give_up_merge(error),
            None => {}
        }
        match sealed {
            Some(Ok(sealed)) => self.place_sealed(sealed),
            Some(Err(error)) => self.give_up_seal(error),
            None => {}
        }
        self.shared.replace_view(self.state.view.clone());
        self.remove_doomed();
    }

    /// What a failed seal has left is nobody's; the next attempt takes another number for its segment.
    fn give_up_seal(&mut self, error: Error) {
        self.files.being_named.clear();
        self.files.doomed.extend(self.files.sealing.take());
        self.files.doomed.push(self.dir.join(attachment_name(self.files.checkpoint + 1)));
        self.last_trouble = Some(error);
    }

    fn give_up_merge(&mut self, error: Error) {
        self.files.doomed.extend(self.files.merging.take());
        self.last_trouble = Some(error);
    }

    /// Why the keeper could not do its work the last time, if it could not; taken once.
    pub fn take_trouble(&mut self) -> Option<Error> {
        self.last_trouble.take()
    }

    /// Per table the commit up to which nobody needs dead entries.
    fn floors(&self) -> BTreeMap<TableId, CommitId> {
        let commit = self.state.view.commit;
        let floor = |id: &TableId| (*id, self.state.log_floor(*id).unwrap_or_default().min(commit));
        self.state.tables.keys().map(floor).collect()
    }

    fn begin_checkpoint(&mut self, attachment: Option<Attachment>) {
        let floors = self.floors();
        self.state.freeze_tails();
        self.state.refresh_view();
        self.shared.replace_view(self.state.view.clone());
        let tick_end = self.state.tick_end;
        let oldest = self.state.oldest_needed_frame().map(FramePlace::log_place);
        let first = oldest.filter(|oldest| oldest.frame < tick_end.frame).unwrap_or(tick_end);
        let start = ReplayStart { first, tick_frame: self.state.tick_frame };
        self.files.log_bytes_then = self.wal.bytes_written();
        self.files.has_merged = false;
        self.files.being_named = self.files.segments.iter().map(|entry| entry.segment.number()).collect();
        if attachment.is_some() {
            // An attempt that failed may have left a file of this name that could not be removed: it is written anew now.
            let own = self.dir.join(attachment_name(self.files.checkpoint + 1));
            self.files.doomed.retain(|path| *path != own);
        }
        let segment_number = self.files.take_segment_number();
        self.files.sealing = Some(self.dir.join(file_name(segment_number)));
        let seal = Seal {
            fs: self.fs.clone(),
            dir: self.dir.clone(),
            shared: self.shared.clone(),
            store: self.id,
            secret: self.state.secret,
            number: self.files.checkpoint + 1,
            segment_number,
            view: self.state.view.clone(),
            since_micros: self.files.checkpoint_micros,
            floors,
            group_rows: self.limits.group_rows,
            segments: self.files.segments.clone(),
            positions: self.state.positions.clone(),
            next_table: self.state.next_table,
            start,
            attachment,
            attached: self.files.attached.clone(),
        };
        self.workshop.lay_out_seal(seal);
    }

    /// Lays out a merge if one is worth it.
    fn begin_compaction(&mut self) -> bool {
        let floors = self.floors();
        let usage = self.usage(&floors);
        let Some((range, level)) = choose(&usage, self.limits.compaction_factor) else { return false };
        let inputs = usage[range].iter().map(|(entry, _)| entry.clone()).collect();
        let segment_number = self.files.take_segment_number();
        self.files.merging = Some(self.dir.join(file_name(segment_number)));
        let compaction = Compaction {
            fs: self.fs.clone(),
            clock: self.clock.clone(),
            dir: self.dir.clone(),
            store: self.id,
            segment_number,
            view: self.state.view.clone(),
            floors,
            group_rows: self.limits.group_rows,
            inputs,
            level,
            bytes_per_second: self.limits.compaction_bytes_per_second,
        };
        self.workshop.lay_out_merge(compaction);
        true
    }

    /// How much of each segment is still needed. Groups that a cursor may still read count whole.
    fn usage(&self, floors: &BTreeMap<TableId, CommitId>) -> Vec<(SegmentEntry, Usage)> {
        let mut by_number: BTreeMap<u64, Usage> = BTreeMap::new();
        for (id, table) in &self.state.tables {
            let floor = floors.get(id).copied().unwrap_or_default();
            for group in table.buckets.iter().flat_map(|bucket| &bucket.groups) {
                let Entries::Sealed(sealed) = &group.entries else { continue };
                let usage = by_number.entry(sealed.segment().number()).or_default();
                let is_read = sealed.last_commit() > floor;
                usage.needed += if is_read { sealed.len() } else { group.alive.count() } as u64;
            }
        }
        let with_usage = |entry: &SegmentEntry| {
            let mut usage = by_number.get(&entry.segment.number()).copied().unwrap_or_default();
            usage.entries = entry.segment.entries();
            (entry.clone(), usage)
        };
        self.files.segments.iter().map(with_usage).collect()
    }

    fn place_sealed(&mut self, sealed: Sealed) {
        self.files.may_merge = true;
        for replacement in &sealed.replacements {
            self.state.replace(replacement);
        }
        let files = &mut self.files;
        if let Some(segment) = sealed.segment {
            files.note_sealed(&segment);
            files.segments.push(SegmentEntry { segment, level: 0 });
        }
        files.doomed.extend((files.checkpoint > 0).then(|| self.dir.join(checkpoint_name(files.checkpoint))));
        let attached = std::mem::replace(&mut files.attached, sealed.attached);
        let name = |number| self.dir.join(attachment_name(number));
        let gone = attached.numbers().filter(|number| files.attached.file(*number).is_none());
        files.doomed.extend(gone.map(name));
        let in_use: BTreeSet<u64> = files.segments.iter().map(|entry| entry.segment.number()).collect();
        // A merge that has been put in place since the checkpoint was begun is not in it.
        let before = std::mem::replace(&mut files.named, sealed.named);
        files.being_named.clear();
        files.sealing = None;
        let gone = before.difference(&files.named).filter(|number| !in_use.contains(number));
        files.doomed.extend(gone.map(|number| self.dir.join(file_name(*number))));
        files.checkpoint = sealed.number;
        files.checkpoint_micros = sealed.time_micros;
        files.start = Some(sealed.start);
        files.written.sealed_bytes += sealed.bytes;
        files.written.checkpoints += 1;
        files.doomed.extend(self.wal.retire_below(sealed.start.first.file));
        self.state.shrink_indexes(self.limits.index_bytes);
        self.files.index_bytes_then = 0;
    }

    fn place_compacted(&mut self, compacted: Compacted) {
        self.files.written.compacted_bytes += compacted.bytes;
        (self.files.merging, self.files.may_merge) = (None, true);
        let now = self.floors();
        let is_held_back = |(id, floor): (&TableId, &CommitId)| now.get(id).is_some_and(|now| now < floor);
        assert!(!compacted.floors.iter().any(is_held_back), "whoever registers does so above the floors");
        for replacement in &compacted.replacements {
            self.state.replace(replacement);
        }
        let files = &mut self.files;
        files.has_merged = true;
        let is_input = |entry: &SegmentEntry| compacted.inputs.contains(&entry.segment.number());
        let at = files.segments.iter().position(is_input).unwrap_or(files.segments.len());
        files.segments.retain(|entry| !is_input(entry));
        if let Some(output) = compacted.output {
            for (table, bytes) in output.segment.bytes_by_table() {
                files.written_of.entry(table).or_default().compacted_bytes += bytes;
            }
            // Of a table that is gone nobody asks any more.
            files.written_of.retain(|table, _| self.state.tables.contains_key(table));
            files.segments.insert(at.min(files.segments.len()), output);
        }
        let is_named = |number: &u64| files.named.contains(number) || files.being_named.contains(number);
        let gone = compacted.inputs.iter().filter(|number| !is_named(number));
        files.doomed.extend(gone.map(|number| self.dir.join(file_name(*number))));
    }

    /// Removes files that nobody names any more. One that cannot be removed now is tried again the next time, and at the next
    /// start.
    pub(crate) fn remove_doomed(&mut self) {
        let fs = self.fs.clone();
        self.files.doomed.retain(|path| {
            let removed = fs.remove(path);
            !matches!(&removed, Ok(())) && !matches!(&removed, Err(e) if e.kind() == std::io::ErrorKind::NotFound)
        });
    }
}

impl State {
    /// The memory that the key indexes of all tables take.
    fn index_bytes(&self) -> usize {
        self.tables.values().map(Table::index_bytes).sum()
    }

    /// Keeps the key indexes of all tables within `budget` bytes.
    pub fn shrink_indexes(&mut self, budget: usize) {
        let bytes = self.index_bytes();
        if bytes <= budget {
            return;
        }
        // Every table gives in proportion to what it holds.
        let share = budget as f64 / bytes as f64;
        for table in self.tables.values_mut() {
            let budget = (table.index_bytes() as f64 * share) as usize;
            table.shrink_index(budget);
        }
    }

    /// Marks everything in memory as on its way to a segment.
    fn freeze_tails(&mut self) {
        for (id, table) in &mut self.tables {
            for bucket in table.buckets.iter_mut().filter(|bucket| bucket.sealing < bucket.next_seq) {
                let bucket = Arc::make_mut(bucket);
                bucket.sealing = bucket.next_seq;
                self.touched.insert(*id);
            }
        }
    }

    /// Makes the view of the last tick anew after tables have changed their form, not their rows.
    fn refresh_view(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut view = View::clone(&self.view);
        for table in &mut view.tables {
            let id = table.shape.id;
            if touched.contains(&id)
                && let Some(now) = self.tables.get(&id)
            {
                *table = Arc::new(now.view());
            }
        }
        self.view = Arc::new(view);
    }

    /// Puts new groups in the place of old ones, in the last tick's view and in the writer's tables, which are ahead of it while
    /// a tick is under way. What has died since the work began is dead in the new groups too.
    fn replace(&mut self, replacement: &Replacement) {
        let (id, at) = (replacement.table, usize::from(replacement.bucket));
        let mut table = self.tables.get_mut(&id);
        let view = Arc::make_mut(&mut self.view);
        if let Ok(i) = view.tables.binary_search_by_key(&id, |table| table.shape.id) {
            let is_keyed = view.tables[i].shape.is_keyed();
            let seen = &mut Arc::make_mut(&mut view.tables[i]).buckets[at];
            let is_same = table.as_ref().is_some_and(|table| Arc::ptr_eq(&table.buckets[at], seen));
            Arc::make_mut(seen).replace(replacement, is_keyed);
            if let Some(table) = table.take_if(|_| is_same) {
                table.buckets[at] = seen.clone();
            }
        }
        if let Some(table) = table {
            let is_keyed = table.shape.is_keyed();
            Arc::make_mut(&mut table.buckets[at]).replace(replacement, is_keyed);
        }
    }
}

impl BucketView {
    /// Puts new groups in the place of old ones, as [`State::replace`].
    pub fn replace(&mut self, replacement: &Replacement, is_keyed: bool) {
        let Replacement { old, new, reclaimed, .. } = replacement;
        let Some(first) = old.first() else { return };
        let mut new: Vec<(LiveGroup, Bits)> = new
            .iter()
            .map(|(group, alive)| {
                (LiveGroup::new(Entries::Sealed(group.clone()), Arc::new(alive.clone())), alive.clone())
            })
            .collect();
        // A log table may have lost its first groups, or all of them, meanwhile; others are where they were.
        let at = self.groups.partition_point(|group| group.first_seq < first.first_seq);
        let lost = match self.groups.get(at) {
            Some(now) => old.iter().position(|group| group.first_seq == now.first_seq).unwrap_or(old.len()),
            None => old.len(),
        };
        for (i, before) in old.iter().enumerate() {
            let nothing;
            let now = if i < lost {
                nothing = Bits::filled(before.alive.len(), false);
                &nothing
            } else {
                self.groups[at + i - lost].alive.as_ref()
            };
            for position in before.alive.without(now) {
                let seq = before.entries.seq(position);
                let group = new.partition_point(|(group, _)| group.first_seq <= seq) - 1;
                let (group, alive) = &mut new[group];
                alive.clear(group.entries.position(seq).expect("an entry that lived was taken over"));
            }
        }
        let new = new.into_iter().map(|(group, alive)| LiveGroup::new(group.entries, Arc::new(alive)));
        let new: Vec<LiveGroup> = new
            .filter(|group| is_keyed || group.alive.count() > 0 || group.entries.last_commit() > self.reclaimed)
            .collect();
        if is_keyed {
            self.replace_sections(at, old.len(), &new);
        }
        self.groups.splice(at..at + old.len() - lost, new);
        self.reclaimed = self.reclaimed.max(*reclaimed);
    }

    /// Follows in the list of sections that `count` groups from `at` on become `new`.
    fn replace_sections(&mut self, at: usize, count: usize, new: &[LiveGroup]) {
        let section = |group: &LiveGroup| match &group.entries {
            Entries::Sealed(sealed) => Some(sealed.home()),
            Entries::Tail(_) => None,
        };
        let mut sections = Vec::new();
        let before = self.groups[..at].iter();
        let after = self.groups[at + count..].iter();
        for section in before.chain(new).chain(after).filter_map(section) {
            if sections.last().is_none_or(|last: &crate::segment::Section| !last.is_same(&section)) {
                sections.push(section);
            }
        }
        self.sections = sections;
    }
}
