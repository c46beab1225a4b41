//! What connections hold in the server's memory that announce much, send little and then say nothing.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::random::Random;
use gridhouse_engine::{Outcome, StatementReport};
use gridhouse_serve::{Client, RunScript, SOCKET_NAME, Server};
use gridhouse_sim::memory::{Counting, held_by_all};

#[global_allocator]
static MEMORY: Counting = Counting;

/// Nearly all that a server takes at a time.
const CONNECTIONS: usize = 90;

/// What each sends of its message: more than a socket holds by itself, so that the server has read most of it.
const SENT_BYTES: usize = 600 << 10;

/// What each announces: just below what the server refuses at once.
const ANNOUNCED_BYTES: u32 = 60 << 20;

/// What a connection holds whatever it sends: its buffers, its thread's and its session's.
const OWN_BYTES: isize = 200 << 10;

const PATIENCE: Duration = Duration::from_secs(60);

fn session() -> RunScript {
    Box::new(|script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>| {
        let position = gridhouse_base::Position { line: 1, column: 1 };
        let outcome = Ok(Outcome::Done { tag: "SET".into() });
        let _ = each(StatementReport {
            position,
            text: script.into(),
            notices: Vec::new(),
            outcome,
            elapsed: Duration::ZERO,
        });
    })
}

#[test]
fn what_is_announced_takes_no_memory_and_what_is_sent_is_given_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = Arc::new(|_: &Arc<AtomicBool>| session());
    let server = Server::start(directory.path(), made, Random::new(1)).expect("the server starts");
    let mut honest = Client::connect(directory.path()).expect("the server answers").expect("the server listens");
    honest.rows("a").expect("the server serves");
    let before = held_by_all();

    let mut message = [9_u32.to_be_bytes(), 196_608_u32.to_be_bytes()].concat();
    message.extend(b"\0Q");
    message.extend(ANNOUNCED_BYTES.to_be_bytes());
    message.resize(message.len() + SENT_BYTES, b'x');
    let streams: Vec<UnixStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = UnixStream::connect(directory.path().join(SOCKET_NAME)).expect("the server listens");
            stream.set_write_timeout(Some(PATIENCE)).expect("a time out can be set");
            stream.write_all(&message).expect("the server reads what comes");
            stream
        })
        .collect();
    let held = held_by_all() - before;
    let (sent, many) = ((CONNECTIONS * SENT_BYTES) as isize, CONNECTIONS as isize);
    assert!(held > sent / 4, "the server has read what was sent: it holds {held} of {sent} bytes");
    // A buffer is made twice as large when it is full, and is there twice meanwhile.
    assert!(held < 3 * sent + many * OWN_BYTES, "{held} bytes are held for {sent} that were sent");
    honest.rows("b").expect("others are served meanwhile");

    drop(streams);
    let clock = SystemClock::new();
    while held_by_all() - before > many * OWN_BYTES / 10 {
        let held = held_by_all() - before;
        assert!(clock.monotonic() < PATIENCE, "{held} bytes are still held");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    honest.rows("c").expect("others are served afterwards");
    server.stop();
}
