//! What the core thread and everyone else look at together: the catalog as of the last tick, how far the disk has come, and
//! when commits happened at their source.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use gridhouse_base::CommitId;

use crate::catalog::Catalog;
use crate::trace::Trace;

/// How many commits' source times are remembered: a sink further behind than this shows no delay until it catches up.
const REMEMBERED_COMMITS: usize = 65_536;

/// State that several threads look at.
#[derive(Default)]
pub(crate) struct Shared {
    catalog: RwLock<Arc<Catalog>>,
    catalog_since: AtomicU64,
    progress: Mutex<Progress>,
    moved: Condvar,
    event_times: Mutex<VecDeque<(CommitId, i64)>>,
    trace: Mutex<Trace>,
    /// What sessions have asked the core for and it has not taken up yet.
    asked: AtomicI64,
}

#[derive(Default)]
struct Progress {
    durable: CommitId,
    closed: bool,
    /// What sessions wait for to become durable.
    waiting: Vec<CommitId>,
}

impl Shared {
    /// The catalog as of the last tick.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows the catalog that the tick `since` has changed to all.
    pub(crate) fn set_catalog(&self, catalog: Catalog, since: CommitId) {
        self.catalog_since.store(since.0, Ordering::SeqCst);
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// The tick whose tables the catalog names; it may not be durable yet.
    pub(crate) fn catalog_since(&self) -> CommitId {
        CommitId(self.catalog_since.load(Ordering::SeqCst))
    }

    /// Everything up to `commit` is on disk.
    pub(crate) fn set_durable(&self, commit: CommitId) {
        let mut progress = lock(&self.progress);
        progress.durable = progress.durable.max(commit);
        self.moved.notify_all();
    }

    /// The engine stops; nobody waits any more.
    pub(crate) fn close(&self) {
        lock(&self.progress).closed = true;
        self.moved.notify_all();
    }

    /// Whether the engine stops.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.progress).closed
    }

    /// Waits until `commit` is durable; false if the engine stopped before.
    pub(crate) fn wait_durable(&self, commit: CommitId) -> bool {
        let mut progress = lock(&self.progress);
        if progress.durable < commit {
            progress.waiting.push(commit);
            while progress.durable < commit && !progress.closed {
                progress = self.moved.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(i) = progress.waiting.iter().position(|waiting| *waiting == commit) {
                progress.waiting.swap_remove(i);
            }
        }
        progress.durable >= commit
    }

    /// Notes that a session has asked the core for something, or that the core has taken that up.
    pub(crate) fn note_asked(&self, by: i64) {
        self.asked.fetch_add(by, Ordering::SeqCst);
    }

    /// Whether a session has asked the core for something that it has not taken up.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0
    }

    /// Whether a session waits for something that is not durable yet.
    pub(crate) fn is_waited_for(&self) -> bool {
        let progress = lock(&self.progress);
        !progress.closed && progress.waiting.iter().any(|commit| *commit > progress.durable)
    }

    /// Waits until something newer than `seen` is durable, the engine stops, `stop` is set or `limit` has passed; gives the newest.
    pub(crate) fn wait_newer(&self, seen: CommitId, limit: Duration, stop: &AtomicBool) -> CommitId {
        let progress = lock(&self.progress);
        let waiting =
            |progress: &mut Progress| progress.durable <= seen && !progress.closed && !stop.load(Ordering::SeqCst);
        let (progress, _) =
            self.moved.wait_timeout_while(progress, limit, waiting).unwrap_or_else(PoisonError::into_inner);
        progress.durable
    }

    /// Wakes everyone who waits in [`Self::wait_newer`], because a sink is to stop.
    pub(crate) fn wake(&self) {
        // Whoever has looked already whether to stop waits by the time that the lock is free.
        drop(lock(&self.progress));
        self.moved.notify_all();
    }

    /// Remembers when the newest change that `commit` reflects happened at its source, microseconds since the epoch.
    pub(crate) fn note_event_time(&self, commit: CommitId, event_time_micros: i64) {
        let mut times = lock(&self.event_times);
        if times.len() == REMEMBERED_COMMITS {
            times.pop_front();
        }
        times.push_back((commit, event_time_micros));
    }

    /// What the last ticks did when.
    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    /// When the oldest change after `from` up to `upto` happened at its source.
    pub(crate) fn event_time(&self, from: CommitId, upto: CommitId) -> Option<i64> {
        let times = lock(&self.event_times);
        let first = times.partition_point(|(commit, _)| *commit <= from);
        times.get(first).filter(|(commit, _)| *commit <= upto).map(|(_, time)| *time)
    }
}

/// The guard of `mutex`, whatever became of a thread that held it: the values here are whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever waited so long would be noticed.
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_wait_for_what_is_newer_ends_with_the_stop_of_who_waits() {
        let (shared, stop) = (Shared::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| shared.wait_newer(CommitId(0), HOUR, &stop));
            stop.store(true, Ordering::SeqCst);
            shared.wake();
            assert_eq!(waiter.join().expect("the waiter ends"), CommitId(0));
        });
    }
}
