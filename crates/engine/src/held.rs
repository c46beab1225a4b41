//! How much of its log a sink has kept that it has already written: for an outside that loses its last transactions.
//!
//! A sink that is failed over to a standby stands where that had come to, some seconds back; what it lacks can be written again
//! only from the log. So a sink tells two places: how far it has come, and from where on its log is to be kept, which follows
//! some minutes behind, as far as that is not much. The second is kept as a cursor under a name of its own.

use std::collections::VecDeque;
use std::time::Duration;

use gridhouse_base::{CommitId, Result, TableId};
use gridhouse_store::Tick;

/// How long what was written is kept: a standby that is further behind than minutes is not failed over to without a thought.
const HELD_FOR: Duration = Duration::from_secs(300);
/// How many bytes of rows at most: half a minute of a thousand rows a second. Beside it a store with a hundred sinks stays small.
const HELD_BYTES: u64 = 4 << 20;
/// The part of what a consumer may be behind that this may take.
const CAP_SHARE: u64 = 4;
/// How far apart the places are that are remembered.
const STEP: Duration = Duration::from_secs(1);

/// The name of the cursor for what a sink has kept.
pub(crate) fn held_name(sink: &str) -> String {
    format!("held/{sink}")
}

/// Whether a cursor is one for what a sink has kept.
pub(crate) fn is_held(cursor: &str) -> bool {
    cursor.starts_with("held/")
}

/// Keeps no log of `table`, or of any, for a sink any more.
///
/// # Errors
/// Those of the store.
pub(crate) fn forget_sink(tick: &mut Tick<'_>, sink: &str, table: Option<TableId>) -> Result<()> {
    tick.forget_cursor(sink, table)?;
    tick.forget_cursor(&held_name(sink), table)
}

/// The places that a sink has come to in the last minutes.
#[derive(Debug)]
pub(crate) struct Held {
    /// When the outside stood where, in monotonic time, and how many bytes had been written by then.
    places: VecDeque<(Duration, CommitId, u64)>,
    bytes: u64,
    most_bytes: u64,
}

impl Held {
    /// For a sink whose log has been kept from `kept` on, and may be behind by `cap_bytes`.
    pub(crate) fn new(kept: Option<CommitId>, now: Duration, cap_bytes: u64) -> Self {
        let places = kept.map(|kept| (now, kept, 0)).into_iter().collect();
        Self { places, bytes: 0, most_bytes: HELD_BYTES.min(cap_bytes / CAP_SHARE) }
    }

    /// Rows of so many bytes have been written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The outside stands at `upto`: from where on the log is to be kept.
    pub(crate) fn kept(&mut self, upto: CommitId, now: Duration) -> CommitId {
        if self.places.back().is_none_or(|(at, ..)| now.saturating_sub(*at) >= STEP) {
            self.places.push_back((now, upto, self.bytes));
        }
        let is_over = |(at, _, bytes): &(Duration, CommitId, u64)| {
            now.saturating_sub(*at) > HELD_FOR || self.bytes - bytes > self.most_bytes
        };
        while self.places.front().is_some_and(is_over) {
            self.places.pop_front();
        }
        self.places.front().map_or(upto, |(_, kept, _)| upto.min(*kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_kept_for_minutes_and_megabytes() {
        let second = Duration::from_secs;
        let mut held = Held::new(Some(CommitId(7)), second(0), 1 << 40);
        assert_eq!(held.kept(CommitId(10), second(1)), CommitId(7));
        assert_eq!(held.kept(CommitId(20), second(200)), CommitId(7));
        assert_eq!(held.kept(CommitId(30), second(301)), CommitId(10), "the first is too old");
        held.wrote(3 << 20);
        assert_eq!(held.kept(CommitId(40), second(302)), CommitId(20));
        held.wrote(2 << 20);
        assert_eq!(held.kept(CommitId(50), second(303)), CommitId(40), "all before is more than is kept");
        // An outside that went back stands there.
        assert_eq!(held.kept(CommitId(35), second(304)), CommitId(35));
        let mut small = Held::new(None, second(0), 4_000);
        assert_eq!(small.kept(CommitId(1), second(0)), CommitId(1));
        small.wrote(1_001);
        assert_eq!(small.kept(CommitId(2), second(1)), CommitId(2));
    }
}
