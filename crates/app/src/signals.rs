//! Ctrl-C, SIGTERM and a closed terminal: the first asks for a clean stop, the second ends the process at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_serve::Interrupt;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a process that a second Ctrl-C ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// Tells whether the user wants to stop.
#[derive(Clone)]
pub struct Signals {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    stop: bool,
    /// The process should end, not only a statement.
    fatal: bool,
    interrupt: Option<Interrupt>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// `Unavailable` where the system refuses.
    pub fn listen() -> Result<Self> {
        let refused = |error: std::io::Error| Error::unavailable("signals cannot be received").caused_by(error);
        let signals = Self { state: Arc::default() };
        let heard = signals.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(refused)?;
        drop(entered);
        let listening = move || {
            runtime.block_on(async {
                loop {
                    let fatal = tokio::select! {
                        _ = interrupt.recv() => false,
                        _ = terminate.recv() => true,
                        _ = hang_up.recv() => true,
                    };
                    heard.hear(fatal);
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(listening).map_err(refused)?;
        Ok(signals)
    }

    fn hear(&self, fatal: bool) {
        let mut state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            std::process::exit(INTERRUPTED);
        }
        state.stop = true;
        state.fatal = fatal;
        let interrupt = state.interrupt.clone();
        drop(state);
        self.state.1.notify_all();
        if let Some(Err(error)) = interrupt.map(|interrupt| interrupt.send()) {
            tracing::debug!(%error, "the script could not be interrupted");
        }
    }

    /// What the first signal interrupts from now on.
    pub fn interrupts(&self, interrupt: Option<Interrupt>) {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).interrupt = interrupt;
    }

    /// Whether a signal came.
    pub fn stop(&self) -> bool {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// A Ctrl-C so far was meant for a statement, not for the program.
    pub fn forget(&self) {
        let mut state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stop = state.fatal;
    }

    /// Waits until the process should end.
    pub fn wait_for_end(&self) {
        let state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.state.1.wait_while(state, |state| !state.fatal).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for a signal, at most `patience`; whether one came.
    pub fn wait(&self, patience: Duration) -> bool {
        let state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.state.1.wait_timeout_while(state, patience, |state| !state.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Waits for a signal.
    pub fn wait_for_stop(&self) {
        let state = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.state.1.wait_while(state, |state| !state.stop).unwrap_or_else(PoisonError::into_inner));
    }
}
