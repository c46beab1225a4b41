//! The keeper: work on the store's files beside its writer, one piece at a time.
//!
//! The writer lays out a piece of work (seal and checkpoint, or merge segments), a thread of its owner's carries it out, and
//! the writer takes the result at its next tick boundary. Nothing is shared meanwhile but what cannot change. A piece that
//! fails (the disk is full) leaves nothing behind but files that nobody names; the writer tries again later.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gridhouse_base::{Error, Result};

use super::compact::{Compacted, Compaction};
use super::seal::{Seal, Sealed};

/// Work to be done.
pub(crate) enum Task {
    Seal(Box<Seal>),
    Compact(Box<Compaction>),
}

/// Work that has been done.
pub(crate) enum Done {
    Sealed(Box<Sealed>),
    Compacted(Box<Compacted>),
}

#[derive(Default)]
struct Desk {
    task: Option<Task>,
    /// A task has been taken and is not done yet.
    busy: bool,
    done: Option<Result<Done>>,
    closed: bool,
}

/// What the writer and the keeper share.
#[derive(Default)]
pub(crate) struct Workshop {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Workshop {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task may be laid out: none waits, is under way, or has a result to be taken.
    pub fn is_free(&self) -> bool {
        let desk = self.desk();
        desk.task.is_none() && !desk.busy && desk.done.is_none()
    }

    /// Lays out a task.
    pub fn lay_out(&self, task: Task) {
        let mut desk = self.desk();
        assert!(desk.task.is_none() && !desk.busy && desk.done.is_none(), "one task at a time");
        desk.task = Some(task);
        self.changed.notify_all();
    }

    /// The result of a task, if there is one to be taken.
    pub fn take_done(&self) -> Option<Result<Done>> {
        self.desk().done.take()
    }

    /// Waits until no task is under way; one that nobody has begun stays.
    pub fn wait_for_keeper(&self) {
        let mut desk = self.desk();
        while desk.busy {
            desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn close(&self) {
        self.desk().closed = true;
        self.changed.notify_all();
    }

    /// Carries out the task that waits; false if there is none.
    pub fn work(&self) -> bool {
        let task = {
            let mut desk = self.desk();
            let Some(task) = desk.task.take() else { return false };
            desk.busy = true;
            task
        };
        let done = Busy(self).carry_out(task);
        self.desk().done = Some(done);
        true
    }
}

/// A task under way. Dropping it says that it is over, however it ended.
struct Busy<'a>(&'a Workshop);

impl Busy<'_> {
    fn carry_out(&self, task: Task) -> Result<Done> {
        match task {
            Task::Seal(seal) => seal.carry_out().map(|sealed| Done::Sealed(Box::new(sealed))),
            Task::Compact(compaction) => compaction.carry_out().map(|merged| Done::Compacted(Box::new(merged))),
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        desk.busy = false;
        if std::thread::panicking() {
            desk.done = Some(Err(Error::internal("the keeper of segments has panicked")));
        }
        drop(desk);
        self.0.changed.notify_all();
    }
}

/// Does the store's work on segments and checkpoints, from a thread of its own or between other work.
#[derive(Clone)]
pub struct Keeper(pub(crate) Arc<Workshop>);

impl Keeper {
    /// Carries out the piece of work that waits; false if there is none.
    pub fn work(&self) -> bool {
        self.0.work()
    }

    /// Works until the store is closed: the body of a thread.
    pub fn run(&self) {
        loop {
            self.work();
            let mut desk = self.0.desk();
            while desk.task.is_none() {
                if desk.closed {
                    return;
                }
                desk = self.0.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
