//! From a checkpoint file to the store's state, and which files of a data directory are nobody's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::fs::FileSystem;
use gridhouse_base::{Error, ErrorKind, Result, TableId};

use super::attached::Attached;
use super::file::{Checkpoint, SavedTable};
use super::{ReplayStart, SegmentEntry, checkpoint_name, number_in};
use crate::bucket_view::BucketView;
use crate::codec::damaged;
use crate::cursors::Cursors;
use crate::group::{Entries, LiveGroup};
use crate::maintenance::Files;
use crate::meta::{Meta, SYSTEM_TABLE};
use crate::segment::{Group, Segment, file_number};
use crate::snapshot::{TableView, View};
use crate::state::State;
use crate::table::{Table, TableShape};
use crate::wal::writer::disk_error;

/// A bucket that has come farther than this has not come there by itself: a row id has 48 bits for the sequence number, and
/// a million entries a second fill half of them in four years.
const MAX_NEXT_SEQ: u64 = 1 << 47;

const REMEDY: &str = "restore the data directory from a backup; or remove it and run the scripts again, which reads everything \
                      from the sources";

/// A checkpoint with its segments.
pub(crate) struct Loaded {
    pub checkpoint: Checkpoint,
    pub segments: Vec<SegmentEntry>,
    pub state: State,
    pub attached: Attached,
}

/// The checkpoints in `dir`, newest first.
pub(crate) fn checkpoints(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<u64>> {
    let names = fs.list(dir).map_err(|error| disk_error("could not list", dir, error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name, "checkpoint-", ".ghc")).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// Loads checkpoint `number`.
///
/// # Errors
/// `Corrupt` if it or a segment that it names is damaged, with the file; `Unavailable` if the disk does not answer.
pub(crate) fn load(fs: &dyn FileSystem, dir: &Path, number: u64) -> Result<Loaded> {
    let path = dir.join(checkpoint_name(number));
    let bytes = fs.open(&path).and_then(|file| {
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(std::io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|error| disk_error("could not read", &path, error))?;
    let named = |error: Error| match error.kind() {
        ErrorKind::Corrupt => error.context(format!("checkpoint {} is damaged", path.display())).hint(REMEDY),
        _ => error.context(path.display().to_string()),
    };
    let checkpoint = Checkpoint::decode(&bytes).map_err(named)?;
    if checkpoint.number != number {
        return Err(named(damaged("it has another number than its name says")));
    }
    let mut shapes: BTreeMap<TableId, Arc<TableShape>> = BTreeMap::new();
    for table in &checkpoint.tables {
        let shape = TableShape::new(table.id, table.spec.clone(), checkpoint.secret);
        let shape = shape.map_err(|error| named(damaged("a table cannot be what it says").caused_by(error)))?;
        shapes.insert(table.id, Arc::new(shape));
    }
    let mut segments = Vec::new();
    let mut by_number = HashMap::new();
    for &(number, level) in &checkpoint.segments {
        let segment = Segment::open(fs, dir, number, checkpoint.store, &|id| shapes.get(&id).cloned())
            .map_err(|error| missing_is_corrupt(error).context(format!("named by {}", path.display())))?;
        by_number.insert(number, segment.clone());
        segments.push(SegmentEntry { segment, level });
    }
    let mut state = state_of(&checkpoint, &shapes, &by_number).map_err(named)?;
    state.tick_frame = checkpoint.start.tick_frame;
    // If the log is read from before the tick, its frame is met on the way and tells where it ends.
    state.tick_end = checkpoint.start.first;
    let attached = Attached::read(fs, dir, number, &checkpoint.attached);
    Ok(Loaded { checkpoint, segments, state, attached })
}

/// A segment that is not there has been lost: waiting for the disk would not help.
fn missing_is_corrupt(error: Error) -> Error {
    let is_missing = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound);
    if is_missing {
        return Error::corrupt(error.to_string()).hint("restore the data directory from a backup");
    }
    error
}

fn state_of(
    checkpoint: &Checkpoint,
    shapes: &BTreeMap<TableId, Arc<TableShape>>,
    segments: &HashMap<u64, Arc<Segment>>,
) -> Result<State> {
    let mut state = State::with_secret(checkpoint.secret)?;
    let mut cursors = Cursors::default();
    for (consumer, table, upto) in &checkpoint.cursors {
        cursors.set(consumer, *table, *upto);
    }
    let mut views = Vec::new();
    let mut names = HashMap::new();
    for table in &checkpoint.tables {
        let shape = shapes[&table.id].clone();
        names.insert(shape.spec.name.clone(), table.id);
        views.push(Arc::new(table_view(shape, table, segments)?));
    }
    if !views.is_sorted_by_key(|view| view.shape.id) || views.first().is_none_or(|view| view.shape.id != SYSTEM_TABLE) {
        return Err(damaged("the tables are not in order"));
    }
    let mut meta = Meta::default();
    for batch in views[0].live_batches() {
        meta.follow(&batch?);
    }
    for view in &views {
        state.tables.insert(view.shape.id, Table::of_view(view, checkpoint.secret[0])?);
    }
    (state.names, state.meta, state.cursors) = (Arc::new(names), Arc::new(meta), Arc::new(cursors));
    state.next_table = checkpoint.next_table;
    state.positions = Arc::new(checkpoint.positions.iter().cloned().collect());
    state.last_commit = checkpoint.commit;
    state.view = Arc::new(View {
        commit: checkpoint.commit,
        as_of: checkpoint.as_of,
        time_micros: checkpoint.time_micros,
        tables: views,
        names: state.names.clone(),
        meta: state.meta.clone(),
        cursors: state.cursors.clone(),
    });
    Ok(state)
}

fn table_view(shape: Arc<TableShape>, saved: &SavedTable, segments: &HashMap<u64, Arc<Segment>>) -> Result<TableView> {
    let mut buckets = Vec::with_capacity(saved.buckets.len());
    for (b, bucket) in saved.buckets.iter().enumerate() {
        if bucket.next_seq > MAX_NEXT_SEQ {
            return Err(damaged("a bucket has more entries than one can have"));
        }
        let mut view = BucketView {
            next_seq: bucket.next_seq,
            sealing: bucket.next_seq,
            reclaimed: bucket.reclaimed,
            ..BucketView::default()
        };
        let mut last: Option<u64> = None;
        for (segment, index, alive) in &bucket.groups {
            let segment = segments.get(segment).ok_or_else(|| damaged("a group lies in an unknown segment"))?;
            let group = segment
                .section_of(saved.id, b as u16)
                .filter(|section| (*index as usize) < section.groups().len())
                .map(|section| section.group(*index as usize))
                .ok_or_else(|| damaged("a group is not where the checkpoint says"))?;
            let fits = alive.len() == group.len() && last.is_none_or(|last| last < group.first_seq());
            if !fits || group.last_seq() >= bucket.next_seq {
                return Err(damaged("a group does not fit its bucket"));
            }
            last = Some(group.last_seq());
            view.push_sealed(&shape, group, alive.clone());
        }
        buckets.push(Arc::new(view));
    }
    let live_rows = buckets.iter().map(|bucket| bucket.live_rows()).sum::<u64>();
    if live_rows != saved.live_rows {
        return Err(damaged("a table has another number of live rows than the checkpoint says"));
    }
    Ok(TableView { shape, buckets, live_rows })
}

impl BucketView {
    /// Appends a group of a segment, behind which nothing is in memory yet.
    fn push_sealed(&mut self, shape: &TableShape, group: Group, alive: crate::bits::Bits) {
        if shape.is_keyed() && self.sections.last().is_none_or(|section| !section.is_same(&group.home())) {
            self.sections.push(group.home());
        }
        self.groups.push(LiveGroup::new(Entries::Sealed(group), Arc::new(alive)));
    }
}

/// The files of `dir` that a store at `checkpoint` with `segments` and what is `attached` has no use for: what a crash has left
/// half done, and what was to be removed.
pub(crate) fn leftovers(
    fs: &dyn FileSystem,
    dir: &Path,
    checkpoint: Option<u64>,
    segments: &[SegmentEntry],
    attached: &Attached,
) -> Result<Vec<PathBuf>> {
    let names = fs.list(dir).map_err(|error| disk_error("could not list", dir, error))?;
    let is_leftover = |name: &PathBuf| {
        if let Some(number) = file_number(name) {
            return !segments.iter().any(|entry| entry.segment.number() == number);
        }
        if let Some(number) = number_in(name, "state-", ".ghj") {
            return attached.file(number).is_none();
        }
        let number = number_in(name, "checkpoint-", ".ghc");
        number.is_some_and(|number| Some(number) != checkpoint) || number_in(name, "checkpoint-", ".tmp").is_some()
    };
    Ok(names.into_iter().filter(is_leftover).map(|name| dir.join(name)).collect())
}

/// The highest number of a segment in `dir`, 0 if there is none.
pub(crate) fn last_segment(fs: &dyn FileSystem, dir: &Path) -> Result<u64> {
    let names = fs.list(dir).map_err(|error| disk_error("could not list", dir, error))?;
    Ok(names.iter().filter_map(|name| file_number(name)).max().unwrap_or(0))
}

/// The newest checkpoint that is whole, and what is wrong with one that is newer.
///
/// # Errors
/// `Conflict` if another version wrote it, `Unavailable` if the disk does not answer.
pub(crate) fn last_checkpoint(fs: &dyn FileSystem, dir: &Path) -> Result<(Option<Loaded>, Option<Error>)> {
    let mut damage = None;
    for number in checkpoints(fs, dir)? {
        match load(fs, dir, number) {
            Ok(loaded) => return Ok((Some(loaded), damage)),
            Err(error) if error.kind() == ErrorKind::Corrupt => drop(damage.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    Ok((None, damage))
}

/// What a store begins with.
type Parts = (State, Option<ReplayStart>, Option<u128>, Files);

impl Loaded {
    pub fn into_parts(self) -> Parts {
        let Self { checkpoint, segments, state, attached } = self;
        let files = Files {
            named: segments.iter().map(|entry| entry.segment.number()).collect(),
            segments,
            next_segment: checkpoint.next_segment,
            checkpoint: checkpoint.number,
            checkpoint_micros: checkpoint.time_micros,
            start: Some(checkpoint.start),
            attached,
            ..Files::new()
        };
        (state, Some(checkpoint.start), Some(checkpoint.store), files)
    }
}
