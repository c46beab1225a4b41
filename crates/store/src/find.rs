//! Look-ups by key number among the entries of a bucket that lie in segments.
//!
//! Few keys are looked for in all key runs at once, so that the processor waits for all of them at once; many are looked for in
//! one section after the other, the newest first, since what has changed of late is looked for most, and what has been found is
//! not looked for any more.

use gridhouse_base::Result;
use smallvec::SmallVec;

use crate::bucket_view::BucketView;
use crate::group::Entries;
use crate::segment::{Picks, Probe, Section, probe};

/// How many probes go at once: what they touch, two lines each, stays in a first-level cache of 32 KiB.
const MOST_AT_ONCE: usize = 128;

/// How many of them lie on the stack: those of a single key in a table with as many runs as compaction leaves, and some more.
const ON_STACK: usize = 24;

impl BucketView {
    /// For each of `keys`, numbers of primary keys, the group and the position of the live row in a segment.
    ///
    /// # Errors
    /// `Corrupt` if a segment is damaged where it was looked.
    pub fn find_sealed(&self, keys: &[u128]) -> Result<Vec<Option<(u32, u32)>>> {
        if self.are_few(keys.len()) { self.find_few(keys) } else { self.find_many(keys) }
    }

    /// Whether so many keys are looked for in all key runs at once.
    pub fn are_few(&self, keys: usize) -> bool {
        keys * self.sections.iter().map(Section::runs).sum::<usize>() <= MOST_AT_ONCE
    }

    /// The live entries in segments that may be the rows of `keys`, which are few: group, position, and the number of the key.
    /// Their keys have not been compared; of those of one key at most one is its row.
    ///
    /// # Errors
    /// `Corrupt` if a segment is damaged where it was looked.
    pub fn candidates(&self, keys: &[u128]) -> Result<Vec<(usize, usize, usize)>> {
        let mut candidates = Vec::new();
        let Some(shape) = self.sections.first().map(|section| &section.meta().shape) else { return Ok(candidates) };
        let hasher = shape.codec.hasher();
        let mut probes: SmallVec<[Probe<'_>; ON_STACK]> = SmallVec::new();
        let mut end = self.sealed_groups();
        for section in self.sections.iter().rev() {
            end -= section.groups().len();
            for (i, &key) in keys.iter().enumerate() {
                probes.extend(section.probes(hasher.hash(key), (i, end)));
            }
        }
        probe(&mut probes, &mut |probe, group, position| {
            let (key, first) = probe.name();
            if self.groups[first + group].alive.get(position) {
                candidates.push((first + group, position, key));
            }
        })?;
        Ok(candidates)
    }

    fn find_few(&self, keys: &[u128]) -> Result<Vec<Option<(u32, u32)>>> {
        let mut found = vec![None; keys.len()];
        let mut candidates = self.candidates(keys)?;
        if candidates.is_empty() {
            return Ok(found);
        }
        candidates.sort_unstable();
        let mut picks = Picks::default();
        for &(group, position, _) in &candidates {
            let Entries::Sealed(group) = &self.groups[group].entries else {
                unreachable!("sections hold the groups that are sealed");
            };
            picks.push(group, position as u32);
        }
        for ((group, position, key), number) in candidates.into_iter().zip(picks.keys()?) {
            // At most one entry of a key is alive; others only have a hash like its.
            if keys[key] == number {
                found[key] = Some((group as u32, position as u32));
            }
        }
        Ok(found)
    }

    fn find_many(&self, keys: &[u128]) -> Result<Vec<Option<(u32, u32)>>> {
        let mut found = vec![None; keys.len()];
        let mut wanted: Vec<u32> = (0..keys.len() as u32).collect();
        let mut end = self.sealed_groups();
        for section in self.sections.iter().rev() {
            if wanted.is_empty() {
                break;
            }
            let first = end - section.groups().len();
            let is_alive = |group: usize, position: usize| self.groups[first + group].alive.get(position);
            let missing: Vec<u128> = wanted.iter().map(|&i| keys[i as usize]).collect();
            section.find(&missing, &is_alive, &mut |hit| {
                let place = ((first + hit.group) as u32, hit.position as u32);
                found[wanted[hit.key] as usize] = Some(place);
            })?;
            wanted.retain(|&i| found[i as usize].is_none());
            end = first;
        }
        Ok(found)
    }
}
