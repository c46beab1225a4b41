//! A section of a segment: the entries of one bucket of a table, and the way from keys to them.

use std::ops::Range;
use std::sync::Arc;

use gridhouse_base::Result;

use super::file::{SectionMeta, Segment, place_of};
use super::footer::RunRecord;
use super::group::Group;

/// Look-ups whose memory accesses overlap: enough to hide the time that one takes, few enough to stay in registers and the
/// first-level cache.
const OVERLAPPING: usize = 32;

/// A section of a segment, which it keeps open.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    segment: Arc<Segment>,
    index: usize,
}

/// An entry that may be the row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The group's number in the section.
    pub group: usize,
    /// The entry's position in the group.
    pub position: usize,
    /// The number of the key that is looked for.
    pub key: usize,
}

impl Section {
    /// Section number `index` of `segment`.
    pub(super) fn new(segment: Arc<Segment>, index: usize) -> Self {
        assert!(index < segment.sections().len(), "a segment has {} sections", segment.sections().len());
        Self { segment, index }
    }

    /// Whether `other` is the same section.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment) && self.index == other.index
    }

    /// The segment.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// What is known of the section.
    pub fn meta(&self) -> &SectionMeta {
        &self.segment.sections()[self.index]
    }

    /// The groups, by their numbers in the segment.
    pub fn groups(&self) -> Range<usize> {
        self.meta().groups.clone()
    }

    /// Group number `group` of the section.
    pub fn group(&self, group: usize) -> Group {
        self.segment.group(self.meta().groups.start + group)
    }

    /// [`Section::candidates_of`] for one hash.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    #[cfg(test)]
    pub fn candidates(&self, hash: u64, take: &mut dyn FnMut(usize, usize)) -> Result<()> {
        self.candidates_of(&[hash], &mut |_, group, position| take(group, position))
    }

    /// Gives `take` every entry whose key may have one of `hashes` (by the hasher of the table's key codec), as number of the
    /// hash, group of the section and position. Deletions are not among them, nor are entries that no reader of this segment
    /// sees alive; of entries with the same hash in one key run, newer ones come first.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn candidates_of(&self, hashes: &[u64], take: &mut dyn FnMut(usize, usize, usize)) -> Result<()> {
        let meta = self.meta();
        for record in meta.runs.iter().rev() {
            for (first, some) in hashes.chunks(OVERLAPPING).enumerate() {
                self.probe(record, some, &mut |i, group, position| take(first * OVERLAPPING + i, group, position))?;
            }
        }
        Ok(())
    }

    /// Looks for at most [`OVERLAPPING`] hashes in one run. First all directory slots are read and then all cells, so that
    /// the processor waits for several of them at once.
    fn probe(&self, record: &RunRecord, hashes: &[u64], take: &mut dyn FnMut(usize, usize, usize)) -> Result<()> {
        let meta = self.meta();
        let run = self.segment.run(record);
        let damaged = |error| self.segment.located_run(error, record, &place_of(meta, "key run"));
        let mut cells: [Range<usize>; OVERLAPPING] = std::array::from_fn(|_| 0..0);
        for (cell, &hash) in cells.iter_mut().zip(hashes) {
            let slot = run.directory_slot(hash);
            self.segment.touch_run(meta, record, slot.clone())?;
            *cell = run.cell(slot).map_err(damaged)?;
        }
        for (i, (cell, &hash)) in cells.into_iter().zip(hashes).enumerate().filter(|(_, (cell, _))| !cell.is_empty()) {
            self.segment.touch_run(meta, record, cell.clone())?;
            for (group, position) in run.places(cell, hash) {
                let state = self.segment.groups[meta.groups.clone()].get(group);
                if state.is_none_or(|state| position >= state.record.len) {
                    let what = "it points to an entry that is not there";
                    return Err(self.segment.damage(record.offset, &place_of(meta, "key run"), what));
                }
                take(i, group, position);
            }
        }
        Ok(())
    }

    /// Looks for the live entries of `keys` (numbers of the table's key codec): `is_alive` tells of group and position
    /// whether the entry is alive, and `found` takes what has been found. At most one entry of a key is alive.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn find(
        &self,
        keys: &[u128],
        is_alive: &dyn Fn(usize, usize) -> bool,
        found: &mut dyn FnMut(Candidate),
    ) -> Result<()> {
        let shape = &self.meta().shape;
        let hasher = shape.codec.hasher();
        let hashes: Vec<u64> = keys.iter().map(|&key| hasher.hash(key)).collect();
        let mut candidates = Vec::new();
        self.candidates_of(&hashes, &mut |key, group, position| {
            if is_alive(group, position) {
                candidates.push(Candidate { group, position, key });
            }
        })?;
        candidates.sort_unstable();
        for members in candidates.chunk_by(|a, b| a.group == b.group) {
            let positions: Vec<u32> = members.iter().map(|member| member.position as u32).collect();
            let columns = self.group(members[0].group).rows(&shape.spec.primary_key, &positions)?;
            let numbers = shape.codec.keys(&columns)?;
            members
                .iter()
                .zip(numbers)
                .filter(|(member, number)| keys[member.key] == *number)
                .for_each(|(m, _)| found(*m));
        }
        Ok(())
    }
}
