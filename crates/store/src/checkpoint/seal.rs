//! Sealing: what the tables of a view hold in memory becomes a first-level segment, and the view becomes a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::{CommitId, Result, SourceId, TableId};

use super::attached::{Attached, Attachment};
use super::file::{Checkpoint, SavedBucket, SavedTable};
use super::replacement::{Drafts, Replacement};
use super::{ReplayStart, SegmentEntry, checkpoint_name};
use crate::bits::Bits;
use crate::group::Entries;
use crate::segment::{Group, Segment, SegmentWriter};
use crate::snapshot::{TableView, View};
use crate::source::SourcePosition;
use crate::sync::Shared;
use crate::wal::writer::disk_error;

/// Everything that sealing needs.
pub(crate) struct Seal {
    pub fs: Arc<dyn FileSystem>,
    pub dir: PathBuf,
    pub shared: Arc<Shared>,
    pub store: u128,
    pub secret: [u64; 2],
    pub number: u64,
    pub segment_number: u64,
    pub view: Arc<View>,
    /// The clock of the checkpoint before: no entry that is sealed now is older.
    pub since_micros: i64,
    /// Per table the commit up to which nobody needs dead entries.
    pub floors: BTreeMap<TableId, CommitId>,
    /// The most entries in a group.
    pub group_rows: usize,
    pub segments: Vec<SegmentEntry>,
    pub positions: Arc<BTreeMap<SourceId, SourcePosition>>,
    pub next_table: u32,
    pub start: ReplayStart,
    pub attachment: Option<Attachment>,
    /// What is attached to the checkpoint before.
    pub attached: Attached,
}

/// What sealing came to.
pub(crate) struct Sealed {
    pub number: u64,
    pub time_micros: i64,
    pub start: ReplayStart,
    /// The new segment, if there was anything to seal.
    pub segment: Option<Arc<Segment>>,
    pub replacements: Vec<Replacement>,
    /// The numbers of the segments that the checkpoint names.
    pub named: BTreeSet<u64>,
    pub attached: Attached,
    /// Bytes of the segment, the checkpoint and what is attached.
    pub bytes: u64,
}

impl Seal {
    /// Writes segment, attachment and checkpoint, each durable before the next.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; what has been written is removed, or named by nobody. Where even that is not
    /// known, the store has failed.
    pub fn carry_out(mut self) -> Result<Sealed> {
        // The log up to the view's tick: a checkpoint must never know more than it does.
        self.shared.sync()?;
        let (segment, replacements) = self.seal()?;
        let mut bytes = segment.as_ref().map_or(0, |segment| segment.file_bytes());
        let attached = match self.attachment.take() {
            None => Attached::default(),
            Some(write) => Attached::write(self.fs.as_ref(), &self.dir, self.number, &self.attached, write)?,
        };
        bytes += attached.own().map_or(0, |own| own.len() as u64);
        let checkpoint = self.checkpoint(segment.as_deref(), &replacements, &attached).encode();
        bytes += checkpoint.len() as u64;
        let path = self.dir.join(checkpoint_name(self.number));
        write_named(self.fs.as_ref(), &path, &checkpoint)?;
        if let Err(error) = self.fs.sync_dir(&self.dir) {
            // The checkpoint may count or not after a crash, so that neither it nor what it names may be touched any more.
            return Err(self.shared.fail(&disk_error("could not sync", &self.dir, error)));
        }
        Ok(Sealed {
            number: self.number,
            time_micros: self.view.time_micros,
            start: self.start,
            named: self.segments.iter().map(|entry| &entry.segment).chain(&segment).map(|s| s.number()).collect(),
            segment,
            replacements,
            attached,
            bytes,
        })
    }

    fn seal(&self) -> Result<(Option<Arc<Segment>>, Vec<Replacement>)> {
        let begin = || {
            let fs = self.fs.clone();
            Ok(SegmentWriter::create(fs, &self.dir, self.segment_number, self.store)?.quickly())
        };
        let mut drafts = Drafts::new(self.group_rows, &begin);
        let times = (self.since_micros, self.view.time_micros);
        for table in &self.view.tables {
            let floor = self.floors.get(&table.shape.id).copied().unwrap_or(self.view.commit);
            for (b, bucket) in table.buckets.iter().enumerate() {
                let old = bucket.groups[bucket.sealed_groups()..].to_vec();
                drafts.add((&table.shape, b as u16), old, floor, times, &|_| Ok(()))?;
            }
        }
        drafts.finish()
    }

    fn checkpoint(&self, segment: Option<&Segment>, replacements: &[Replacement], attached: &Attached) -> Checkpoint {
        let mut sealed: BTreeMap<(TableId, u16), &Replacement> = BTreeMap::new();
        sealed.extend(replacements.iter().map(|made| ((made.table, made.bucket), made)));
        let table = |table: &Arc<TableView>| {
            let bucket = |(b, bucket): (usize, &Arc<crate::bucket_view::BucketView>)| {
                let old = bucket.groups.iter().filter_map(|group| match &group.entries {
                    Entries::Tail(_) => None,
                    Entries::Sealed(sealed) => Some((sealed, group.alive.as_ref())),
                });
                let made = sealed.get(&(table.shape.id, b as u16));
                let new = made.into_iter().flat_map(|made| &made.new).map(|(group, alive)| (group, alive));
                let named = |(group, alive): (&Group, &Bits)| {
                    (group.segment().number(), group.index_in_section() as u32, alive.clone())
                };
                let reclaimed = made.map_or(CommitId(0), |made| made.reclaimed).max(bucket.reclaimed);
                SavedBucket { next_seq: bucket.next_seq, reclaimed, groups: old.chain(new).map(named).collect() }
            };
            SavedTable {
                id: table.shape.id,
                spec: table.shape.spec.clone(),
                live_rows: table.live_rows,
                buckets: table.buckets.iter().enumerate().map(bucket).collect(),
            }
        };
        let segments = self.segments.iter().map(|entry| (entry.segment.number(), entry.level));
        let cursors = self.view.cursors.iter().map(|(consumer, table, upto)| (consumer.to_owned(), table, upto));
        Checkpoint {
            number: self.number,
            store: self.store,
            secret: self.secret,
            commit: self.view.commit,
            as_of: self.view.as_of,
            time_micros: self.view.time_micros,
            start: self.start,
            next_table: self.next_table,
            next_segment: self.segment_number + 1,
            segments: segments.chain(segment.map(|segment| (segment.number(), 0))).collect(),
            tables: self.view.tables.iter().map(table).collect(),
            cursors: cursors.collect(),
            positions: self.positions.iter().map(|(source, position)| (*source, position.clone())).collect(),
            attached: attached.entries(),
        }
    }
}

/// Writes a file under a temporary name, makes it durable, and gives it its name.
fn write_named(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let file = create(fs, &temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        fs.rename(&temporary, path)
    };
    write().map_err(|error| {
        // Left over, it would be removed at the next start; the space may be wanted before.
        let _ = fs.remove(&temporary);
        disk_error("could not write", path, error)
    })
}

/// Creates a file anew: what an earlier attempt left under the name is nobody's.
pub(super) fn create(fs: &dyn FileSystem, path: &Path) -> std::io::Result<Arc<dyn File>> {
    match fs.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs.remove(path)?;
            fs.create(path)
        }
        other => other,
    }
}
