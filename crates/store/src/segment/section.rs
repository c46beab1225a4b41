//! A section of a segment: the entries of one bucket of a table, and the way from keys to them.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use gridhouse_base::Result;

use super::file::{SectionMeta, Segment, place_of};
use super::footer::RunRecord;
use super::group::Group;
use super::pick::Picks;

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
        let mut probes = Vec::with_capacity(hashes.len().min(OVERLAPPING));
        for record in self.meta().runs.iter().rev() {
            for (first, some) in hashes.chunks(OVERLAPPING).enumerate() {
                probes.clear();
                probes.extend(some.iter().enumerate().map(|(i, &hash)| Probe::new(self, record, hash, (i, 0))));
                probe(&mut probes, &mut |probe, group, position| {
                    take(first * OVERLAPPING + probe.name().0, group, position);
                })?;
            }
        }
        Ok(())
    }

    /// Probes for `hash` in every run, the newest first; `name` is what whoever looks knows them by.
    pub fn probes(&self, hash: u64, name: (usize, usize)) -> impl Iterator<Item = Probe<'_>> {
        self.meta().runs.iter().rev().map(move |record| Probe::new(self, record, hash, name))
    }

    /// The number of key runs.
    pub fn runs(&self) -> usize {
        self.meta().runs.len()
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
        if candidates.is_empty() {
            return Ok(());
        }
        candidates.sort_unstable();
        let mut groups: Vec<Group> = Vec::new();
        for members in candidates.chunk_by(|a, b| a.group == b.group) {
            groups.push(self.group(members[0].group));
        }
        let mut picks = Picks::default();
        for (members, group) in candidates.chunk_by(|a, b| a.group == b.group).zip(&groups) {
            members.iter().for_each(|member| picks.push(group, member.position as u32));
        }
        candidates.iter().zip(picks.keys()?).filter(|(c, number)| keys[c.key] == *number).for_each(|(c, _)| found(*c));
        Ok(())
    }
}

/// A look-up of one hash in one key run.
#[derive(Clone, Debug)]
pub(crate) struct Probe<'a> {
    section: &'a Section,
    record: &'a RunRecord,
    hash: u64,
    name: (u32, u32),
    /// Where its directory slot begins, and its cell: a run has less than 4 GiB.
    slot: u32,
    cell: Range<u32>,
}

impl<'a> Probe<'a> {
    fn new(section: &'a Section, record: &'a RunRecord, hash: u64, name: (usize, usize)) -> Self {
        let slot = section.segment.run(record).directory_slot(hash).start as u32;
        Self { section, record, hash, name: (name.0 as u32, name.1 as u32), slot, cell: 0..0 }
    }

    /// The number of the key that is looked for, and that of the section's first group, for whoever looks.
    pub fn name(&self) -> (usize, usize) {
        (self.name.0 as usize, self.name.1 as usize)
    }

    fn touch(&self, at: u32) -> u8 {
        self.section.segment.run(self.record).bytes.get(at as usize).copied().unwrap_or_default()
    }

    fn cell(&self) -> Range<usize> {
        self.cell.start as usize..self.cell.end as usize
    }

    fn read_slot(&mut self) -> Result<()> {
        let (segment, meta) = (&self.section.segment, self.section.meta());
        let run = segment.run(self.record);
        let slot = run.directory_slot(self.hash);
        segment.touch_run(meta, self.record, slot.clone())?;
        let cell = run.cell(slot);
        let cell = cell.map_err(|error| segment.located_run(error, self.record, &place_of(meta, "key run")))?;
        self.cell = cell.start as u32..cell.end as u32;
        Ok(())
    }
}

/// Gives `take` the entries that `probes` lead to, as [`Section::candidates_of`] does. First all directory slots are read and
/// then all cells, so that the processor waits for several of them at once.
///
/// # Errors
/// `Corrupt` if a segment is damaged there.
pub(crate) fn probe(probes: &mut [Probe<'_>], take: &mut dyn FnMut(&Probe<'_>, usize, usize)) -> Result<()> {
    black_box(probes.iter().fold(0, |seen, probe| seen ^ probe.touch(probe.slot)));
    for probe in probes.iter_mut() {
        probe.read_slot()?;
    }
    let of_cell = |probe: &Probe<'_>| probe.touch(probe.cell.start) ^ probe.touch(probe.cell.end.saturating_sub(1));
    black_box(probes.iter().fold(0, |seen, probe| seen ^ of_cell(probe)));
    for probe in probes.iter().filter(|probe| !probe.cell.is_empty()) {
        let Section { segment, .. } = probe.section;
        let meta = probe.section.meta();
        segment.touch_run(meta, probe.record, probe.cell())?;
        for (group, position) in segment.run(probe.record).places(probe.cell(), probe.hash) {
            let state = segment.groups[meta.groups.clone()].get(group);
            if state.is_none_or(|state| position >= state.record.len) {
                let what = "it points to an entry that is not there";
                return Err(segment.damage(probe.record.offset, &place_of(meta, "key run"), what));
            }
            take(probe, group, position);
        }
    }
    Ok(())
}
