//! The histories of a data directory: which process wrote which commits.
//!
//! Commit ids alone do not tell a directory that was restored from an older copy: it counts on from where the copy was made,
//! and soon has commits of its own under ids that an outside table has seen before. So every start begins a *history* under a
//! number of its own, on record with the commit at which it began. The outside keeps, beside the commit up to which it was
//! written, the history that wrote it. What always holds: an outside that was written under a history may stand at most where
//! the next history of the same directory began. Beyond that, or under a history that is not on record here, it has seen
//! commits that this directory has lost.

use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, Error, Result};
use gridhouse_store::Snapshot;

use crate::core::Core;
use crate::records::WAY_BACK;

/// The metadata space of histories; keys are ordinals.
const HISTORIES: &str = "histories";

/// How many histories stay on record. An outside that was last written longer ago than this many starts is taken for
/// unknown; some 40 bytes each.
const MOST_HISTORIES: usize = 4_096;

/// The histories that are on record, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    /// The number of each and the commit at which it began.
    histories: Vec<(u64, CommitId)>,
}

impl Lineage {
    fn of(snapshot: &Snapshot) -> Result<Self> {
        let history = |(key, value): (String, std::sync::Arc<str>)| {
            let read = || {
                let (number, begin) = value.split_once(' ')?;
                Some((u64::from_str_radix(number, 16).ok()?, CommitId(begin.parse().ok()?)))
            };
            read().ok_or_else(|| unreadable(&key))
        };
        Ok(Self { histories: snapshot.list(HISTORIES).into_iter().map(history).collect::<Result<_>>()? })
    }

    /// The number of the history that goes on now.
    pub(crate) fn own(&self) -> u64 {
        self.histories.last().map_or(0, |(number, _)| *number)
    }

    /// An outside that was written up to `upto` under `history` has seen nothing that is lost here; `newest` is the last
    /// commit that there is, before which nothing of this history can have been written.
    ///
    /// # Errors
    /// `Conflict` where it has.
    pub(crate) fn check(&self, sink: &str, history: Option<u64>, upto: CommitId, newest: CommitId) -> Result<()> {
        let opened = self.histories.last().map_or(newest, |(_, begin)| *begin);
        let at = history.map(|number| self.histories.iter().position(|(known, _)| *known == number));
        let limit = match at {
            // Written by an earlier version, or kept nowhere: by nothing that this process has not found when it began.
            None => newest.max(opened),
            Some(Some(at)) => self.histories.get(at + 1).map_or(newest, |(_, begin)| *begin),
            Some(None) => CommitId(0),
        };
        if upto <= limit {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "sink {sink} was written up to {upto} by a later state, or another copy, of this data directory, which itself only goes to {}",
            limit.max(opened)
        )))
    }
}

fn unreadable(key: &str) -> Error {
    Error::corrupt(format!("the record `{key}` of `{HISTORIES}` cannot be read")).hint(WAY_BACK)
}

impl Core {
    /// Begins a history.
    ///
    /// # Errors
    /// Those of the store; `Corrupt` where a record cannot be read.
    pub(crate) fn begin_history(&mut self, seed: u64) -> Result<()> {
        let snapshot = self.store.ordered_snapshot();
        let mut lineage = Lineage::of(&snapshot)?;
        // A fixed seed gives the same numbers at each start; the clock, and where it was set back the commit, tell them apart.
        let begin = snapshot.commit();
        let moment = (self.clock.now_micros() as u64).rotate_left(20) ^ begin.0;
        let number = Random::new(seed ^ moment).bits() | 1;
        let keys: Vec<String> = snapshot.list(HISTORIES).into_iter().map(|(key, _)| key).collect();
        let next = match keys.last() {
            Some(key) => key.parse::<u64>().map_err(|_| unreadable(key))? + 1,
            None => 0,
        };
        let gone = (keys.len() + 1).saturating_sub(MOST_HISTORIES);
        self.tick_with(|tick| {
            for key in keys.iter().take(gone) {
                tick.put(HISTORIES, key, None);
            }
            tick.put(HISTORIES, &format!("{next:020}"), Some(&format!("{number:016x} {}", begin.0)));
        })?;
        lineage.histories.push((number, begin));
        self.lineage = lineage;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_stands_at_most_where_the_next_history_began() {
        let lineage = Lineage { histories: vec![(11, CommitId(0)), (22, CommitId(100)), (33, CommitId(250))] };
        let check = |history, upto| lineage.check("s", history, CommitId(upto), CommitId(300)).is_ok();
        assert!(check(Some(11), 100) && check(Some(22), 250) && check(Some(33), 300) && check(None, 260));
        assert!(!check(Some(11), 101), "the copy was made in the first history, which went on elsewhere");
        assert!(!check(Some(44), 5), "another directory's history");
        assert!(!check(Some(33), 301) && !check(None, 301));
    }
}
