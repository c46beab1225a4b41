//! The keeper: work on the store's files beside its writer.
//!
//! The writer lays out a piece of work (seal and checkpoint, or merge segments), a thread of its owner's carries it out, and
//! the writer takes the result at its next tick boundary, or where a tick seals ahead. Nothing is shared meanwhile but what cannot change. Sealing goes
//! first, and a merge under way makes room for it, since what waits to be sealed takes memory and log. A piece that fails
//! (the disk is full) leaves nothing behind but files that nobody names; the writer tries again later.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gridhouse_base::{Error, Result};

use super::compact::{Compacted, Compaction};
use super::seal::{Seal, Sealed};

/// The way of a piece of work from the writer to the keeper and back.
struct Slot<T, D> {
    task: Option<Box<T>>,
    /// A task has been taken and is not done yet.
    is_busy: bool,
    done: Option<Result<D>>,
}

impl<T, D> Default for Slot<T, D> {
    fn default() -> Self {
        Self { task: None, is_busy: false, done: None }
    }
}

impl<T, D> Slot<T, D> {
    fn is_free(&self) -> bool {
        self.task.is_none() && !self.is_busy && self.done.is_none()
    }

    fn lay_out(&mut self, task: T) {
        assert!(self.is_free(), "one task of a kind at a time");
        self.task = Some(Box::new(task));
    }

    fn begin(&mut self) -> Option<Box<T>> {
        let task = self.task.take();
        // Where none waits, another may be under way all the same.
        self.is_busy |= task.is_some();
        task
    }

    fn end(&mut self, done: Result<D>) {
        self.is_busy = false;
        self.done = Some(done);
    }
}

#[derive(Default)]
struct Desk {
    seal: Slot<Seal, Sealed>,
    merge: Slot<Compaction, Compacted>,
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

    /// Whether a seal may be laid out: none waits, is under way, or has a result to be taken.
    pub fn is_free_to_seal(&self) -> bool {
        self.desk().seal.is_free()
    }

    /// Whether a merge may be laid out.
    pub fn is_free_to_merge(&self) -> bool {
        self.desk().merge.is_free()
    }

    pub fn lay_out_seal(&self, seal: Seal) {
        self.desk().seal.lay_out(seal);
        self.changed.notify_all();
    }

    pub fn lay_out_merge(&self, merge: Compaction) {
        self.desk().merge.lay_out(merge);
        self.changed.notify_all();
    }

    /// What a seal came to, if there is something to be taken.
    pub fn take_sealed(&self) -> Option<Result<Sealed>> {
        self.desk().seal.done.take()
    }

    /// What a merge came to, if there is something to be taken.
    pub fn take_merged(&self) -> Option<Result<Compacted>> {
        self.desk().merge.done.take()
    }

    /// Carries out the seal that waits, if nobody has begun it, and waits until it is over.
    pub fn finish_seal(&self) {
        self.seal();
        self.wait_for_seal();
    }

    /// Waits until no seal is under way.
    fn wait_for_seal(&self) {
        let mut desk = self.desk();
        while desk.seal.is_busy {
            desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that no result will be taken any more, and waits until nothing is under way: the directory is free then.
    pub fn close(&self) {
        let mut desk = self.desk();
        desk.closed = true;
        self.changed.notify_all();
        while desk.seal.is_busy || desk.merge.is_busy {
            desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether whoever waits for results is gone, so that a merge need not be carried on.
    pub fn is_closed(&self) -> bool {
        self.desk().closed
    }

    /// Carries out the seal that waits; false if there is none.
    pub fn seal(&self) -> bool {
        let Some(seal) = self.desk().seal.begin() else { return false };
        let mut over = Over { workshop: self, end: |desk, error| desk.seal.end(Err(error)), is_told: false };
        let done = seal.carry_out();
        over.is_told = true;
        self.desk().seal.end(done);
        self.changed.notify_all();
        true
    }

    /// Carries out the merge that waits; false if there is none.
    fn merge(&self) -> bool {
        let Some(merge) = self.desk().merge.begin() else { return false };
        let mut over = Over { workshop: self, end: |desk, error| desk.merge.end(Err(error)), is_told: false };
        let done = merge.carry_out(self);
        over.is_told = true;
        self.desk().merge.end(done);
        self.changed.notify_all();
        true
    }
}

/// Says that a task is over where its own words never come: a panic must not leave the writer waiting.
struct Over<'a> {
    workshop: &'a Workshop,
    end: fn(&mut Desk, Error),
    is_told: bool,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            (self.end)(&mut self.workshop.desk(), Error::internal("the keeper of segments has panicked"));
            self.workshop.changed.notify_all();
        }
    }
}

/// Does the store's work on segments and checkpoints, from a thread of its own or between other work.
#[derive(Clone)]
pub struct Keeper(pub(crate) Arc<Workshop>);

impl Keeper {
    /// Carries out a piece of work that waits; false if there is none.
    pub fn work(&self) -> bool {
        self.0.seal() || self.0.merge()
    }

    /// Works until the store is closed: the body of a thread.
    pub fn run(&self) {
        loop {
            self.work();
            let mut desk = self.0.desk();
            while desk.seal.task.is_none() && desk.merge.task.is_none() {
                if desk.closed {
                    return;
                }
                desk = self.0.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
            if desk.closed {
                return;
            }
        }
    }
}
