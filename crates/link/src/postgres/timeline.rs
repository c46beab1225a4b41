//! Which history of a cluster a place in its WAL belongs to.
//!
//! A place in the WAL says nothing by itself: a standby that is promoted, and a server that is restored to a point in time,
//! go on from a place of their own with other transactions under the same numbers. PostgreSQL counts these histories as
//! *timelines*, and keeps of each where it left the one before (documentation, "Timelines" and `TIMELINE_HISTORY` in "Streaming
//! Replication Protocol"). So a position keeps its timeline, and a stream goes on only where the server's history leads
//! through it: what was read before the place at which a timeline was left is part of the new one, and what was read
//! behind it is not.
//!
//! Two servers may each be promoted to timeline 2 when they share no archive. Therefore a timeline is known by its number and by
//! the place at which it begins. What this cannot see: two standbys that were both promoted at the very same place, and a server whose
//! files were copied and that was written to in both places, on one timeline.

use gridhouse_base::{Error, Result};

use super::client::Fault;
use super::connection::Connection;
use super::pgoutput::Lsn;

/// PostgreSQL's code for a file that is not there.
const UNDEFINED_FILE: &str = "58P01";

/// A timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// Its number, from 1.
    pub id: u32,
    /// Where it left the one before; 0 of the first, and where the server does not know.
    pub begin: Lsn,
}

impl Timeline {
    fn is(self, other: Self) -> bool {
        let both_known = self.begin != Lsn(0) && other.begin != Lsn(0);
        self.id == other.id && (self.begin == other.begin || !both_known)
    }
}

/// A place in the WAL of a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The place.
    pub lsn: Lsn,
    /// Its timeline; not known of what earlier versions stored.
    pub timeline: Option<Timeline>,
}

impl Place {
    /// The position of a stream: the place in eight bytes, then the number of its timeline in four and where that begins in eight, all
    /// big-endian, so that positions of a timeline compare as their bytes do.
    pub(crate) fn position(self) -> Vec<u8> {
        let mut bytes = self.lsn.0.to_be_bytes().to_vec();
        if let Some(timeline) = self.timeline {
            bytes.extend(timeline.id.to_be_bytes());
            bytes.extend(timeline.begin.0.to_be_bytes());
        }
        bytes
    }

    /// The reverse of [`Self::position`]. What a position of contents has behind it (`binding.rs`) is passed over.
    ///
    /// # Errors
    /// `Corrupt` for another length.
    pub(crate) fn from_position(position: &[u8]) -> Result<Self> {
        let wrong = || {
            Error::corrupt(format!(
                "a stored position of a postgres-cdc stream has {} bytes instead of 8, 20, or 20 and a multiple of 8",
                position.len()
            ))
        };
        let (lsn, rest) = position.split_first_chunk::<8>().ok_or_else(wrong)?;
        let timeline = match rest.split_first_chunk::<4>() {
            None if rest.is_empty() => None,
            None => return Err(wrong()),
            Some((id, rest)) => {
                let (begin, tables) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
                if tables.len() % 8 != 0 {
                    return Err(wrong());
                }
                Some(Timeline { id: u32::from_be_bytes(*id), begin: Lsn(u64::from_be_bytes(*begin)) })
            }
        };
        Ok(Self { lsn: Lsn(u64::from_be_bytes(*lsn)), timeline })
    }
}

/// The timelines that a server's WAL has gone through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// Those before, each with the place at which it was left.
    passed: Vec<(Timeline, Lsn)>,
    /// The one that is written now.
    pub current: Timeline,
}

impl History {
    /// Asks the server at the other end of a replication connection.
    pub(crate) async fn read(connection: &mut Connection) -> Result<Self, Fault> {
        let rows = connection.simple("IDENTIFY_SYSTEM").await?;
        let field = rows.first().and_then(|row| row.get(1)?.as_deref());
        let id: u32 = field
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Fault::lost("the server does not tell which timeline it is on"))?;
        // The first has no file.
        if id == 1 {
            return Ok(Self::without_file(id));
        }
        match connection.simple(&format!("TIMELINE_HISTORY {id}")).await {
            Ok(rows) => {
                let file = rows.first().and_then(|row| row.get(1)?.as_deref()).unwrap_or_default();
                Ok(Self::parse(id, file).unwrap_or_else(|| Self::without_file(id)))
            }
            Err(fault) if fault.code.as_deref() == Some(UNDEFINED_FILE) => Ok(Self::without_file(id)),
            Err(fault) => Err(fault),
        }
    }

    /// The server knows nothing of before.
    fn without_file(id: u32) -> Self {
        Self { passed: Vec::new(), current: Timeline { id, begin: Lsn(0) } }
    }

    /// Reads a history file: a line for each timeline before, oldest first, with its number and the place at which it was left.
    fn parse(id: u32, file: &str) -> Option<Self> {
        let (mut passed, mut begin) = (Vec::new(), Lsn(0));
        let lines = file.lines().map(str::trim_start);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let id = words.next()?.parse().ok()?;
            let left = Lsn::parse(words.next()?)?;
            passed.push((Timeline { id, begin }, left));
            begin = left;
        }
        Some(Self { passed, current: Timeline { id, begin } })
    }

    /// Why what was read up to `place` is not all part of this history; `None`: it is, as far as can be known.
    pub(crate) fn lacks(&self, place: Place) -> Option<String> {
        let (lsn, timeline) = (place.lsn, place.timeline?);
        let now = self.current.id;
        if self.current.is(timeline) {
            return None;
        }
        match self.passed.iter().find(|(passed, _)| passed.is(timeline)) {
            Some((_, left)) if lsn <= *left => None,
            Some((_, left)) => Some(format!(
                "the source left timeline {} at {left}, before what is stored ({lsn}), and is on timeline {now}: \
                 it was failed over or restored without the last transactions",
                timeline.id
            )),
            None => Some(format!(
                "the source is on timeline {now}, which does not come from timeline {} of what is stored ({lsn}): \
                 it was failed over or restored from another copy",
                timeline.id
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: u32, begin: u64, lsn: u64) -> Place {
        Place { lsn: Lsn(lsn), timeline: Some(Timeline { id, begin: Lsn(begin) }) }
    }

    #[test]
    fn positions_keep_their_timeline_and_compare_as_their_bytes() {
        let at = place(3, 0x16_B374_D848, 0x17_0000_0001);
        assert_eq!(Place::from_position(&at.position()).unwrap(), at);
        let old = Place { lsn: Lsn(256), timeline: None };
        assert_eq!(old.position(), 256_u64.to_be_bytes());
        assert_eq!(Place::from_position(&old.position()).unwrap(), old);
        assert!(place(1, 0, 255).position() < place(1, 0, 256).position());
        assert!(old.position() < place(1, 0, 256).position());
        for bytes in [0, 7, 9, 12, 19, 21, 24] {
            assert!(Place::from_position(&vec![0; bytes]).is_err(), "{bytes} bytes");
        }
    }

    #[test]
    fn a_place_is_part_of_a_history_up_to_where_its_timeline_was_left() {
        let file = "1\t0/3000\tno recovery target specified\n\n# by hand\n 3\t0/5000\tbefore 2024-10-04\n";
        let history = History::parse(4, file).unwrap();
        assert_eq!(history.current, Timeline { id: 4, begin: Lsn(0x5000) });
        let held = [place(1, 0, 0x3000), place(3, 0x3000, 0x5000), place(4, 0x5000, 0x9000), place(3, 0, 0x4000)];
        for at in held {
            assert_eq!(history.lacks(at), None, "{at:?}");
        }
        assert_eq!(history.lacks(Place { lsn: Lsn(0x9000), timeline: None }), None, "nothing is known of it");
        let missed = [place(1, 0, 0x3001), place(3, 0x3000, 0x5001)];
        for at in missed {
            assert!(history.lacks(at).unwrap().contains("without the last transactions"), "{at:?}");
        }
        let foreign = [place(2, 0x3000, 0x3000), place(3, 0x2000, 0x2500), place(4, 0x4000, 0x4500), place(5, 0, 0)];
        for at in foreign {
            assert!(history.lacks(at).unwrap().contains("does not come from timeline"), "{at:?}");
        }
        assert_eq!(History::parse(2, "1 nowhere"), None);
        // A server that has lost the file knows only what it writes now.
        let alone = History::without_file(2);
        assert_eq!(alone.lacks(place(2, 0x3000, 0x4000)), None);
        assert!(alone.lacks(place(1, 0, 0x1000)).is_some());
    }
}
