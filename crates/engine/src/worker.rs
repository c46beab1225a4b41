//! Who works: the core, its helper that syncs, the keeper of segments, the sinks and what carries the events of sources, each
//! as a piece of work that is done by turns. Threads are an argument like the clock and the file system: the program gives
//! each of them one ([`Threads`]), a simulation takes the turns itself, in an order that it draws.
//!
//! What always holds: a turn that may not wait never does, neither for work nor for a full queue (what could not be handed on
//! is held until the next turn). So turns may be taken one after the other on one thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};

use gridhouse_base::clock::Clock;
use gridhouse_base::{CommitId, Error, Result};
use gridhouse_store::{Keeper, Syncer};

use crate::core::Message;
use crate::shared::Shared;

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done, or handed on.
    Worked,
    /// There was nothing to do.
    Idle,
    /// Nothing will ever be to do again; the worker may be dropped.
    Ended,
}

/// A piece of the engine that works on its own.
pub trait Worker: Send {
    /// Does what there is to do: a step of it, bounded by what is there. Where there is nothing, it waits for something if it
    /// may, and looks up now and then.
    fn turn(&mut self, may_wait: bool) -> Turn;
}

/// Who lets workers work.
pub trait Workers: Send + Sync {
    /// Takes a worker over. Dropping it instead of giving it turns is what a killed process does to it.
    ///
    /// # Errors
    /// `Unavailable` where nobody is left to work.
    fn start(&self, name: String, worker: Box<dyn Worker>) -> Result<()>;
}

/// A thread for each worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Workers for Threads {
    fn start(&self, name: String, mut worker: Box<dyn Worker>) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.clone());
        let spawned = thread.spawn(move || while worker.turn(true) != Turn::Ended {});
        spawned.map(|_| ()).map_err(|error| Error::unavailable(format!("no thread for {name}")).caused_by(error))
    }
}

/// Messages for the core, of one of its helpers.
pub(crate) struct Outgoing {
    core: SyncSender<Message>,
    /// What found the queue full.
    held: Option<Message>,
}

impl Outgoing {
    pub(crate) fn to(core: SyncSender<Message>) -> Self {
        Self { core, held: None }
    }

    /// Sends a message; `Idle` where the queue is full, then it goes with [`Self::send_held`]. `Ended` where the core is gone.
    pub(crate) fn send(&mut self, message: Message, may_wait: bool) -> Turn {
        if may_wait {
            return self.core.send(message).map_or(Turn::Ended, |()| Turn::Worked);
        }
        match self.core.try_send(message) {
            Ok(()) => Turn::Worked,
            Err(TrySendError::Full(message)) => {
                self.held = Some(message);
                Turn::Idle
            }
            Err(TrySendError::Disconnected(_)) => Turn::Ended,
        }
    }

    /// Sends what is held, if anything is.
    pub(crate) fn send_held(&mut self, may_wait: bool) -> Option<Turn> {
        let held = self.held.take()?;
        Some(self.send(held, may_wait))
    }

    /// Sends a message if there is room for it.
    pub(crate) fn offer(&self, message: Message) {
        let _ = self.core.try_send(message);
    }
}

/// What there is to be received; `Err` is the turn that this comes to.
fn receive<T>(incoming: &Receiver<T>, may_wait: bool) -> Result<T, Turn> {
    if may_wait {
        return incoming.recv().map_err(|_| Turn::Ended);
    }
    incoming.try_recv().map_err(|error| match error {
        TryRecvError::Empty => Turn::Idle,
        TryRecvError::Disconnected => Turn::Ended,
    })
}

/// Carries what arrives over to the core.
pub(crate) struct Carrier<T> {
    incoming: Receiver<T>,
    outgoing: Outgoing,
    message: Box<dyn Fn(T) -> Message + Send>,
}

impl<T: Send> Carrier<T> {
    pub(crate) fn new(
        incoming: Receiver<T>,
        core: SyncSender<Message>,
        message: impl Fn(T) -> Message + Send + 'static,
    ) -> Self {
        Self { incoming, outgoing: Outgoing::to(core), message: Box::new(message) }
    }
}

impl<T: Send> Worker for Carrier<T> {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if let Some(turn) = self.outgoing.send_held(may_wait) {
            return turn;
        }
        match receive(&self.incoming, may_wait) {
            Ok(arrived) => self.outgoing.send((self.message)(arrived), may_wait),
            Err(turn) => turn,
        }
    }
}

/// Makes durable what is ordered, when it is asked to.
pub(crate) struct SyncWorker {
    pub(crate) syncer: Syncer,
    pub(crate) requests: Receiver<()>,
    pub(crate) outgoing: Outgoing,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) on_fatal: Arc<dyn Fn(Error) + Send + Sync>,
    /// What is durable and was told to the core alone so far.
    pub(crate) untold: Option<CommitId>,
}

impl Worker for SyncWorker {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if let Some(turn) = self.outgoing.send_held(may_wait) {
            return turn;
        }
        if let Some(commit) = self.untold.take() {
            self.shared.set_durable(commit);
            return Turn::Worked;
        }
        if let Err(turn) = receive(&self.requests, may_wait) {
            return turn;
        }
        match self.syncer.sync() {
            Ok(commit) => {
                self.shared.trace().synced(commit, self.clock.now_micros());
                if may_wait {
                    self.shared.set_durable(commit);
                } else {
                    // It lets sessions go on, which work on threads of their own: whoever takes turns does so when nothing else
                    // is under way.
                    self.untold = Some(commit);
                }
                self.outgoing.send(Message::Durable(commit), may_wait)
            }
            Err(error) => {
                self.shared.close();
                (self.on_fatal)(error);
                Turn::Ended
            }
        }
    }
}

/// Seals and merges segments, and makes checkpoints.
pub(crate) struct KeepWorker(pub(crate) Keeper);

impl Worker for KeepWorker {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if may_wait {
            self.0.run();
            return Turn::Ended;
        }
        if self.0.work() { Turn::Worked } else { Turn::Idle }
    }
}

/// The next message for the core: waits for it as long as `limit` if it may.
pub(crate) fn next_message(
    inbox: &Receiver<Message>,
    limit: Option<std::time::Duration>,
) -> Result<Message, RecvTimeoutError> {
    match limit {
        Some(limit) => inbox.recv_timeout(limit),
        None => inbox.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        }),
    }
}
