//! Compaction: neighbouring segments become one that holds only what is still needed.
//!
//! Row ids never change, so nothing outside the bucket's list of groups notices. The merge works on a view; what dies
//! meanwhile is carried over when the writer puts the new groups in the place of the old ones. No log record is needed: a
//! restart goes back to the segments that the last checkpoint names, which are still there, and merges anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::fs::FileSystem;
use gridhouse_base::{CommitId, Error, Result, TableId};

use super::SegmentEntry;
use super::keeper::Workshop;
use super::replacement::{Drafts, Replacement};
use crate::group::{Entries, LiveGroup};
use crate::segment::SegmentWriter;
use crate::snapshot::View;

/// Segments are not merged to more than this: above it merging saves neither files nor look-ups worth the writing.
const MAX_MERGED_BYTES: u64 = 2 << 30;

/// A segment of which less than half is still needed is rewritten, so that tables take at most about twice their live rows'
/// space; every further row written costs at most one row rewritten.
const MIN_NEEDED: f64 = 0.5;

/// A merge that waits for its rate looks up this often, to seal or to end.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Segments to be merged.
pub(crate) struct Compaction {
    pub fs: Arc<dyn FileSystem>,
    pub clock: Arc<dyn Clock>,
    pub dir: PathBuf,
    pub store: u128,
    pub segment_number: u64,
    pub view: Arc<View>,
    pub floors: BTreeMap<TableId, CommitId>,
    /// The most entries in a group.
    pub group_rows: usize,
    pub inputs: Vec<SegmentEntry>,
    /// The level of what they become.
    pub level: u8,
    /// Bytes to be written in a second at most; 0: no limit.
    pub bytes_per_second: u64,
}

/// What a merge came to.
pub(crate) struct Compacted {
    /// The numbers of the segments that were merged.
    pub inputs: Vec<u64>,
    /// What they became; `None` if nothing in them was needed.
    pub output: Option<SegmentEntry>,
    pub replacements: Vec<Replacement>,
    /// The floors that entries were left out by.
    pub floors: BTreeMap<TableId, CommitId>,
    pub bytes: u64,
}

/// How much of a segment is in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub entries: u64,
    pub needed: u64,
}

/// Chooses neighbouring segments to merge, if any are worth it, and the level of what they become; `segments` in order, each
/// with its usage. `factor` of one level are worth it.
pub(crate) fn choose(segments: &[(SegmentEntry, Usage)], factor: usize) -> Option<(Range<usize>, u8)> {
    // One alone would be merged for ever.
    let factor = factor.max(2);
    let mut start = 0;
    while start < segments.len() {
        let level = segments[start].0.level;
        let run = segments[start..].iter().take_while(|(entry, _)| entry.level == level).count();
        let bytes =
            |range: Range<usize>| segments[range].iter().map(|(entry, _)| entry.segment.file_bytes()).sum::<u64>();
        if run >= factor && bytes(start..start + factor) <= MAX_MERGED_BYTES {
            return Some((start..start + factor, level + 1));
        }
        start += run;
    }
    let is_thin = |(_, usage): &(SegmentEntry, Usage)| (usage.needed as f64) < usage.entries as f64 * MIN_NEEDED;
    let thin = segments.iter().position(is_thin)?;
    let end = thin + segments[thin..].iter().take_while(|segment| is_thin(segment)).count();
    let level = segments[thin..end].iter().map(|(entry, _)| entry.level).max()?;
    Some((thin..end, level))
}

impl Compaction {
    /// Writes the merged segment.
    ///
    /// # Errors
    /// `Unavailable` if the disk is full or fails; `Corrupt` if a segment is damaged.
    pub fn carry_out(self, workshop: &Workshop) -> Result<Compacted> {
        let inputs: BTreeSet<u64> = self.inputs.iter().map(|entry| entry.segment.number()).collect();
        let started = self.clock.monotonic();
        let begin = || SegmentWriter::create(self.fs.clone(), &self.dir, self.segment_number, self.store);
        let mut drafts = Drafts::new(self.group_rows, &begin);
        let written = |bytes| {
            workshop.seal();
            self.keep_to_rate(workshop, started, bytes)
        };
        for table in &self.view.tables {
            let floor = self.floors.get(&table.shape.id).copied().unwrap_or(self.view.commit);
            for (b, bucket) in table.buckets.iter().enumerate() {
                let is_input = |group: &&LiveGroup| match &group.entries {
                    Entries::Tail(_) => false,
                    Entries::Sealed(sealed) => inputs.contains(&sealed.segment().number()),
                };
                let old: Vec<LiveGroup> = bucket.groups.iter().filter(is_input).cloned().collect();
                let times = times_of(&old);
                drafts.add((&table.shape, b as u16), old, floor, times, &written)?;
            }
        }
        let (segment, replacements) = drafts.finish()?;
        let bytes = segment.as_ref().map_or(0, |segment| segment.file_bytes());
        let output = segment.map(|segment| SegmentEntry { segment, level: self.level });
        Ok(Compacted { inputs: inputs.into_iter().collect(), output, replacements, floors: self.floors, bytes })
    }

    /// Waits where more has been written than the rate allows.
    ///
    /// # Errors
    /// `Unavailable` where the store has been closed meanwhile: nobody would take the result.
    fn keep_to_rate(&self, workshop: &Workshop, started: Duration, bytes: u64) -> Result<()> {
        loop {
            if workshop.is_closed() {
                return Err(Error::unavailable("the store has been closed while segments were merged"));
            }
            let due = bytes.checked_mul(1_000_000).and_then(|bytes| bytes.checked_div(self.bytes_per_second));
            let due = Duration::from_micros(due.unwrap_or(0));
            let ahead = due.saturating_sub(self.clock.monotonic().saturating_sub(started));
            if ahead.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(ahead.min(LONGEST_PAUSE));
            workshop.seal();
        }
    }
}

/// The time range of all `groups`.
fn times_of(groups: &[LiveGroup]) -> (i64, i64) {
    let times = groups.iter().filter_map(|group| match &group.entries {
        Entries::Tail(_) => None,
        Entries::Sealed(sealed) => Some(sealed.time_micros()),
    });
    times.fold((i64::MAX, i64::MIN), |all, one| (all.0.min(one.0), all.1.max(one.1)))
}
