//! What counters stood at a minute ago.
//!
//! After every tick the counters are noted; within one second only the last note stays. So the note that is newest among those a
//! minute old or older says what the counters stood at a minute ago, whether ticks are dense or hours apart, to within a second.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back "lately" goes.
pub(crate) const LATELY: Duration = Duration::from_secs(60);

/// Rows taken and rows given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
}

/// Notes of the last minute: at most one per second and one older.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    notes: VecDeque<(Duration, Vec<Counts>)>,
}

impl History {
    /// Notes what the counters stand at; `now` is of a monotonic clock.
    pub(crate) fn note(&mut self, now: Duration, counts: Vec<Counts>) {
        match self.notes.back_mut() {
            Some((at, last)) if at.as_secs() == now.as_secs() => *last = counts,
            _ => self.notes.push_back((now, counts)),
        }
        // The newest note that is old enough is the one to compare with; those before it are of no use any more.
        while self.notes.get(1).is_some_and(|(at, _)| is_old(*at, now)) {
            self.notes.pop_front();
        }
    }

    /// How much counter `i`, which stands at `counts`, has gained lately.
    pub(crate) fn lately(&self, i: usize, counts: Counts, now: Duration) -> Counts {
        let old = self.notes.iter().rev().find(|(at, _)| is_old(*at, now));
        let base = old.and_then(|(_, noted)| noted.get(i)).copied().unwrap_or_default();
        Counts {
            rows_in: counts.rows_in.saturating_sub(base.rows_in),
            rows_out: counts.rows_out.saturating_sub(base.rows_out),
        }
    }
}

fn is_old(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) >= LATELY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rows: u64) -> Counts {
        Counts { rows_in: rows, rows_out: rows / 2 }
    }

    #[test]
    fn a_minute_is_a_minute_however_ticks_come() {
        let mut history = History::default();
        let second = Duration::from_secs;
        assert_eq!(history.lately(0, at(8), second(5)), at(8), "everything is new at first");
        for tick in 0..300 {
            history.note(second(tick), vec![at(tick * 10)]);
            assert!(history.notes.len() <= 62, "old notes go");
        }
        // Counters stood at 2390 after the tick of second 239.
        assert_eq!(history.lately(0, at(2990), second(299)), at(600));
        // Then nothing for a while: what came 50 seconds ago counts, what came longer ago does not.
        assert_eq!(history.lately(0, at(2990), second(349)), at(100));
        assert_eq!(history.lately(0, at(2990), second(400)), at(0));
        // A tick after a long rest.
        history.note(second(1000), vec![at(3000)]);
        assert_eq!(history.lately(0, at(3000), second(1030)), at(10));
        assert_eq!(history.lately(0, at(3000), second(1060)), at(0));
    }

    #[test]
    fn within_a_second_the_last_note_stays() {
        let mut history = History::default();
        history.note(Duration::from_millis(100), vec![at(10)]);
        history.note(Duration::from_millis(900), vec![at(20)]);
        assert_eq!(history.lately(0, at(50), Duration::from_secs(70)), at(30));
    }
}
