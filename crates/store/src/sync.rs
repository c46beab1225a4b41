//! Ordered and durable: what the writer has put into the log, how much of it a sync has made safe, and who may see it.
//!
//! One mutex guards two small records of shared pointers; it is held for a few moves, never while the disk works. A failed
//! sync is final: what had been written since the last good one is in an unknown state (the system may have dropped it and
//! say "fine" next time), so the store refuses everything from then on and the process must end.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gridhouse_base::fs::File;
use gridhouse_base::{CommitId, Error, Result, SourceId};

use crate::snapshot::{Snapshot, View};
use crate::source::SourcePosition;

/// A moment of the log.
#[derive(Clone)]
pub(crate) struct Boundary {
    /// The last commit, source commits included.
    pub commit: CommitId,
    /// The last frame.
    pub frame: u64,
    /// The last tick's view.
    pub view: Arc<View>,
    /// Each source's last committed position.
    pub positions: Arc<BTreeMap<SourceId, SourcePosition>>,
}

struct State {
    ordered: Boundary,
    durable: Boundary,
    file: Option<Arc<dyn File>>,
    failed: Option<String>,
    closed: bool,
}

/// What the writer, the syncer and the readers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Everything up to `boundary` is durable.
    pub fn new(boundary: Boundary) -> Self {
        let state = State { ordered: boundary.clone(), durable: boundary, file: None, failed: None, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A panic while the lock was held cannot have left the records half written: they are replaced whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses if a sync has failed; else the last durable frame.
    pub fn check(&self) -> Result<u64> {
        let state = self.state();
        state.usable()?;
        Ok(state.durable.frame)
    }

    pub fn set_file(&self, file: Arc<dyn File>) {
        self.state().file = Some(file);
    }

    /// The writer has put frames up to `boundary` into the current file.
    pub fn set_ordered(&self, boundary: Boundary) {
        self.state().ordered = boundary;
    }

    /// `view` is that of the last tick in another form: whoever may see that tick sees it in this form from now on.
    pub fn replace_view(&self, view: Arc<View>) {
        let mut state = self.state();
        if state.durable.view.commit == view.commit {
            state.durable.view = view.clone();
        }
        state.ordered.view = view;
    }

    pub fn ordered_view(&self) -> Arc<View> {
        self.state().ordered.view.clone()
    }

    /// Whether something is ordered that is not durable yet.
    pub fn is_behind(&self) -> bool {
        let state = self.state();
        state.durable.frame < state.ordered.frame
    }

    /// Poisons the store and returns the error to report.
    pub fn fail(&self, error: &Error) -> Error {
        let message = error.to_string();
        self.state().failed.get_or_insert(message.clone());
        self.changed.notify_all();
        poisoned(&message)
    }

    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Makes everything ordered so far durable.
    pub fn sync(&self) -> Result<CommitId> {
        let (target, file) = {
            let state = self.state();
            state.usable()?;
            if state.durable.frame >= state.ordered.frame {
                return Ok(state.durable.commit);
            }
            (state.ordered.clone(), state.file.clone())
        };
        // The writer makes a full file durable before it moves on, so the current file at that moment is all there is to do.
        if let Some(file) = file
            && let Err(error) = file.sync_data()
        {
            return Err(self.fail(&Error::unavailable("could not sync the log").caused_by(error)));
        }
        let mut state = self.state();
        state.usable()?;
        let commit = target.commit;
        if state.durable.frame < target.frame {
            state.durable = target;
        }
        drop(state);
        self.changed.notify_all();
        Ok(commit)
    }
}

impl State {
    fn usable(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |message| Err(poisoned(message)))
    }
}

fn poisoned(message: &str) -> Error {
    Error::unavailable(format!("the store has stopped because the disk failed: {message}"))
        .hint("check the disk, then start again; nothing that was acknowledged is lost")
}

/// Reads the store from any thread.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<Shared>);

impl Reader {
    /// The last durable tick.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { view: self.0.state().durable.view.clone() }
    }

    /// The last durable commit: every commit up to it survives a crash. Source commits may be ahead of the last tick.
    pub fn durable(&self) -> CommitId {
        self.0.state().durable.commit
    }

    /// The last ordered commit.
    pub fn ordered(&self) -> CommitId {
        self.0.state().ordered.commit
    }

    /// The last durable position of `source`.
    pub fn source_position(&self, source: SourceId) -> Option<SourcePosition> {
        self.0.state().durable.positions.get(&source).cloned()
    }

    /// Blocks until `commit` is durable.
    ///
    /// # Errors
    /// `Unavailable` if the store has failed or has been closed before that.
    pub fn wait_durable(&self, commit: CommitId) -> Result<()> {
        let mut state = self.0.state();
        loop {
            if state.durable.commit >= commit {
                return Ok(());
            }
            state.usable()?;
            if state.closed {
                return Err(Error::unavailable(format!("the store was closed before {commit} became durable")));
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Makes commits durable, from a thread of its own or between other work.
#[derive(Clone)]
pub struct Syncer(pub(crate) Arc<Shared>);

impl Syncer {
    /// Makes everything that was ordered at this moment durable, publishes it to readers, and returns its last commit.
    /// Returns at once if there is nothing to do.
    ///
    /// # Errors
    /// `Unavailable` if the disk failed. The store refuses everything from then on; the process must end.
    pub fn sync(&self) -> Result<CommitId> {
        self.0.sync()
    }
}
