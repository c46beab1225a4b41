//! The process that holds a data directory: this one, or another that is reached through its socket.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::{Error, ErrorKind, Result};
use gridhouse_engine::{Engine, StatementReport};
use gridhouse_serve::{Client, NewSession, RunScript, Server};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::wiring;

/// How long a directory that is locked may stay without a socket: its process is starting or stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who holds the directory.
pub enum House {
    /// This process.
    Own {
        /// The engine.
        engine: Engine,
        /// Its socket.
        server: Server,
    },
    /// Another process.
    Other,
}

impl House {
    /// Connects to the process that holds the directory, or becomes that process.
    ///
    /// # Errors
    /// Exit code 5 where the directory is locked by a process that does not answer, or corrupt.
    pub fn enter(settings: &Settings, signals: &Signals) -> Result<(Self, Client), Failure> {
        let clock = SystemClock::new();
        loop {
            if let Some(client) = Client::connect(&settings.data_dir)? {
                return Ok((Self::Other, client));
            }
            match Self::own(settings) {
                Ok(house) => {
                    let client = Client::connect(&settings.data_dir)?;
                    let unreachable = || Error::internal("the socket that was just opened does not answer").into();
                    return client.map(|client| (house, client)).ok_or_else(unreachable);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    if clock.monotonic() > LOCK_PATIENCE || signals.wait(LOOK_EVERY) {
                        return Err(Failure::new(Exit::Directory, error));
                    }
                }
                Err(error) => return Err(of_directory(error)),
            }
        }
    }

    /// Opens the directory and its socket in this process.
    fn own(settings: &Settings) -> Result<Self> {
        let engine = wiring::open(settings)?;
        let sessions = engine.clone();
        let new_session: NewSession = Arc::new(move |cancelled: &Arc<AtomicBool>| -> RunScript {
            let mut session = sessions.session();
            session.cancel_by(cancelled.clone());
            Box::new(move |script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>| {
                session.run(script, each);
            })
        });
        let server = Server::start(&settings.data_dir, new_session, wiring::random(settings))?;
        Ok(Self::Own { engine, server })
    }

    /// Whether this process holds the directory.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Ends connections and stops the engine cleanly; nothing for another process's directory.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn leave(self) -> Result<()> {
        match self {
            Self::Own { engine, server } => {
                server.stop();
                engine.stop()
            }
            Self::Other => Ok(()),
        }
    }
}

/// An error on opening the directory, with its exit code.
fn of_directory(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Conflict => Exit::Directory,
        ErrorKind::Unavailable => Exit::Outside,
        _ => Exit::Statement,
    };
    Failure::new(exit, error)
}

/// The directory as the user can type it again.
pub fn shown(data_dir: &Path) -> String {
    data_dir.display().to_string()
}

/// The directory as an absolute path, for commands that are shown to be typed elsewhere.
pub fn absolute(data_dir: &Path) -> String {
    std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.into()).display().to_string()
}
