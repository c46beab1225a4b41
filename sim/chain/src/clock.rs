//! The simulated clock: stands still until it is moved; the time of day can be set, what counts durations only goes on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use gridhouse_base::clock::Clock;

/// When simulations begin, microseconds since the epoch.
const BEGIN_MICROS: i64 = 1_700_000_000_000_000;

/// A clock that a simulation moves.
#[derive(Debug, Default)]
pub struct SimClock {
    passed_micros: AtomicU64,
    set_by_micros: AtomicI64,
}

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.passed_micros.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
    }

    /// Sets the time of day, by so many microseconds forward or back.
    pub fn set_by(&self, micros: i64) {
        self.set_by_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_micros(&self) -> i64 {
        BEGIN_MICROS + self.passed_micros.load(Ordering::SeqCst) as i64 + self.set_by_micros.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.passed_micros.load(Ordering::SeqCst))
    }
}
