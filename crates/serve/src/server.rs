//! Listens on the data directory's socket and gives every connection a session on a thread of its own.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gridhouse_base::panics::contained;
use gridhouse_base::random::Random;
use gridhouse_base::{Error, Result};
use gridhouse_engine::StatementReport;

use crate::connection::{Connection, Greeting, greet};
use crate::frame::Held;
use crate::{SOCKET_NAME, address};

/// A session's way to run a script: reports each statement, and stops where the callback breaks.
pub type RunScript = Box<dyn FnMut(&str, &mut dyn FnMut(StatementReport) -> ControlFlow<()>)>;

/// Makes the session of a new connection, on the connection's own thread; what it is given becomes true when the client wants
/// the statement under way to end.
pub type NewSession = Arc<dyn Fn(&Arc<AtomicBool>) -> RunScript + Send + Sync>;

/// Each connection is a thread with a session; people and their tools need tens.
const MAX_CONNECTIONS: usize = 100;

/// How long a stop waits for statements that run; what is left then ends with the process.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long the listener rests after an error of the system (no descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server. Dropping it without [`Server::stop`] leaves its threads to the end of the process.
pub struct Server {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
    data_dir: PathBuf,
}

struct Shared {
    new_session: NewSession,
    stopping: AtomicBool,
    connections: Mutex<Connections>,
    /// Told whenever a connection ends or the server stops.
    changed: Condvar,
    /// What messages of all connections hold.
    held: Held,
}

struct Connections {
    open: HashMap<u64, Open>,
    next: u64,
    keys: Random,
}

struct Open {
    stream: UnixStream,
    key: i32,
    cancelled: Arc<AtomicBool>,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Begins to listen in `data_dir`, whose lock the caller holds. `keys` draws the keys that cancel requests must know.
    ///
    /// # Errors
    /// `Unavailable` where the socket cannot be made.
    pub fn start(data_dir: &Path, new_session: NewSession, keys: Random) -> Result<Self> {
        let unavailable = |error: io::Error| {
            let path = data_dir.join(SOCKET_NAME);
            Error::unavailable(format!("the socket {} cannot be opened", path.display())).caused_by(error)
        };
        let listener = address::listen(data_dir).map_err(unavailable)?;
        let shared = Arc::new(Shared {
            new_session,
            stopping: AtomicBool::new(false),
            connections: Mutex::new(Connections { open: HashMap::new(), next: 0, keys }),
            changed: Condvar::new(),
            held: Held::default(),
        });
        let accepting = Arc::clone(&shared);
        let listener = std::thread::Builder::new()
            .name("serve-listen".into())
            .spawn(move || accept(&listener, &accepting))
            .map_err(unavailable)?;
        Ok(Self { shared, listener, data_dir: data_dir.into() })
    }

    /// Stops listening, ends every connection, and removes the socket. Statements that run get a few seconds.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The listener waits for a connection; it gets one. Where that fails it has ended.
        let woken = address::connect(&self.data_dir).ok().flatten().is_some();
        if woken && self.listener.join().is_err() {
            tracing::error!("the listener ended by a panic");
        }
        let connections = self.shared.connections();
        for open in connections.open.values() {
            open.cancelled.store(true, Ordering::SeqCst);
            // The thread finds the stream ended and goes; an error means that it has gone.
            let _ = open.stream.shutdown(Shutdown::Both);
        }
        let all_gone = |connections: &mut Connections| !connections.open.is_empty();
        let waited = self.shared.changed.wait_timeout_while(connections, STOP_PATIENCE, all_gone);
        let (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !connections.open.is_empty() {
            tracing::warn!(connections = connections.open.len(), "statements still run and end with the process");
        }
        drop(connections);
        if let Err(error) = std::fs::remove_file(self.data_dir.join(SOCKET_NAME)) {
            tracing::warn!(%error, "the socket could not be removed");
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let started = accepted.and_then(|(stream, _)| start_connection(stream, shared));
        if let Err(error) = started {
            tracing::warn!(%error, "a connection could not be accepted");
            let connections = shared.connections();
            drop(shared.changed.wait_timeout(connections, ACCEPT_PAUSE));
        }
    }
}

fn start_connection(stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let (number, key) = {
        let mut connections = shared.connections();
        if connections.open.len() >= MAX_CONNECTIONS {
            drop(connections);
            let message = format!("{MAX_CONNECTIONS} connections are open, which is the most");
            return Connection::new(&stream, false, &cancelled, &shared.held).refuse("53300", &message);
        }
        let number = connections.next;
        connections.next += 1;
        let key = connections.keys.bits() as i32;
        let open = Open { stream: stream.try_clone()?, key, cancelled: Arc::clone(&cancelled) };
        connections.open.insert(number, open);
        (number, key)
    };
    let ending = Ending { shared: Arc::clone(shared), number };
    std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
        let ending = ending;
        // A client that goes without a word is not news.
        match contained(|| Ok(converse(&stream, key, &ending.shared, &cancelled))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, connection = number, "a connection ended"),
            Err(defect) => tracing::error!(error = %defect, connection = number, "a connection broke off"),
        }
    })?;
    Ok(())
}

fn converse(stream: &UnixStream, key: i32, shared: &Shared, cancelled: &Arc<AtomicBool>) -> io::Result<()> {
    match greet(stream)? {
        Greeting::Gone => Ok(()),
        Greeting::Cancel { key } => {
            if let Some(open) = shared.connections().open.values().find(|open| open.key == key) {
                open.cancelled.store(true, Ordering::SeqCst);
            }
            Ok(())
        }
        Greeting::Client { reports } => {
            let mut session = (shared.new_session)(cancelled);
            let served = Connection::new(stream, reports, cancelled, &shared.held).serve(key, &mut session);
            match served {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    Connection::new(stream, reports, cancelled, &shared.held).refuse("08P01", &error.to_string())
                }
                other => other,
            }
        }
    }
}

/// Takes a connection out of the list however its thread ends, and closes the stream.
struct Ending {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let gone = self.shared.connections().open.remove(&self.number);
        if let Some(open) = gone {
            let _ = open.stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}
