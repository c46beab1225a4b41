//! The socket: conversations of PostgreSQL clients, damaged, with a server that goes on serving others.
//!
//! Whatever one connection sends, the server ends it or answers in whole messages; then an honest client is answered.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Error, Position, Schema, TypeKind, Value};
use gridhouse_engine::{Outcome, StatementReport};
use gridhouse_serve::{Client, RunScript, SOCKET_NAME, Server};

use crate::mutate::{mutate, one_of, shuffle};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "socket",
    cases: 60_000,
    few: 1_500,
    batch: 500,
    // Of both sides; what many connections take together is asked in `tests/connections.rs`.
    memory: Memory { bytes: 4 << 20, per_byte: 200 },
    begin: || Box::new(Conversing::new()),
};

/// How long an answer may take: far longer than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const WORDS: [&[u8]; 18] = [
    b"Q\0\0\0\x0dSELECT 1\0",
    b"X\0\0\0\x04",
    b"P\0\0\0\x08\0\0\0\0",
    b"S\0\0\0\x04",
    b"H\0\0\0\x04",
    b"d\0\0\0\x05x",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x08\x04\xd2\x16\x30",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x09\0\x03\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x04\0\0\0",
    b"\0",
    b"user\0me\0",
    b"_pq_.gridhouse_reports\0on\0",
    b"\xff\xfe",
    b"BEGIN;",
];

/// A message with its type.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], (body.len() as u32 + 4).to_be_bytes().as_slice(), body].concat()
}

/// The first message of a client.
pub(crate) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
        body.extend(text.bytes());
        body.push(0);
    }
    body.push(0);
    [(body.len() as u32 + 4).to_be_bytes().as_slice(), &body].concat()
}

/// A session that answers by the first word.
pub(crate) fn session() -> RunScript {
    Box::new(|script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>| {
        for text in script.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let position = Position { line: 1, column: 1 };
            let outcome = match text.split_whitespace().next().unwrap_or_default() {
                "SELECT" => {
                    let schema = Schema::new(vec![Column::new("区域", TypeKind::STRING.nullable())]);
                    let column = Value::array_of(&[&Value::Text("华东".into()), &Value::Null], &TypeKind::STRING);
                    Ok(Outcome::Rows {
                        schema: Arc::new(schema),
                        batches: vec![ChangeBatch::insertions(vec![column], 2)],
                    })
                }
                "INSERT" => Ok(Outcome::Affected { tag: "INSERT".into(), rows: 3 }),
                _ => Err(Error::invalid("this is no statement").at(position).hint("write one")),
            };
            let failed = outcome.is_err();
            let (notices, elapsed) = (vec!["said".to_owned()], Duration::ZERO);
            let report = StatementReport { position, text: text.into(), notices, outcome, elapsed };
            if each(report).is_break() || failed {
                return;
            }
        }
    })
}

struct Conversing {
    directory: tempfile::TempDir,
    server: Option<Server>,
    honest: Client,
}

impl Conversing {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = Arc::new(|_: &Arc<AtomicBool>| session());
        let server = Server::start(directory.path(), made, Random::new(1)).expect("the server starts");
        let honest = Client::connect(directory.path()).expect("the server answers").expect("the server listens");
        Self { directory, server: Some(server), honest }
    }
}

impl Drop for Conversing {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

impl Decoder for Conversing {
    fn draw(&mut self, random: &mut Random) -> Input {
        let mut messages = Vec::new();
        if random.chance(0.2) {
            messages.push([8_u32.to_be_bytes(), random.pick(&[80_877_103_u32, 80_877_104]).to_be_bytes()].concat());
        }
        let parameters = [("user", "me"), ("database", "any"), ("_pq_.gridhouse_reports", "on")];
        messages.push(startup(&parameters[..random.below(4) as usize]));
        for _ in 0..random.below(6) {
            messages.push(match random.below(9) {
                0 => message(b'X', b""),
                1 => message(b'P', b"\0SELECT $1\0\0\0"),
                2 => message(b'S', b""),
                3 => message(b'H', b""),
                4 => message(b'd', b"copied"),
                5 => message(b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
                6 => message(b'p', b"secret\0"),
                _ => {
                    let texts =
                        ["SELECT 1", "INSERT x; SELECT 2", "nothing", "", ";", "SET a = b", "BEGIN", "SELECT '中文'"];
                    message(b'Q', &[one_of(&texts, random).as_bytes(), b"\0"].concat())
                }
            });
        }
        if random.chance(0.1) {
            shuffle(&mut messages, random);
        }
        let mut bytes = messages.concat();
        if random.chance(0.85) {
            let other = message(b'Q', b"SELECT 1;INSERT 2\0");
            mutate(&mut bytes, &other, &WORDS, random);
        }
        // It comes in pieces, and the other side may have to wait for the rest.
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let most = *random.pick(&[20, 100_000]);
            let rest = bytes.split_off((1 + random.below(most) as usize).min(bytes.len()));
            pieces.push(std::mem::replace(&mut bytes, rest));
        }
        pieces
    }

    fn decode(&mut self, input: &Input) -> bool {
        let mut stream = UnixStream::connect(self.directory.path().join(SOCKET_NAME)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time out can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time out can be set");
        for piece in input {
            // The server may have ended the conversation by now.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            // It goes without having read all that came.
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the conversation comes to an end: {error}");
        }
        let rows = self.honest.rows("SELECT 1").expect("others are served");
        assert_eq!(rows.len(), 2);
        whole_messages(&answer)
    }
}

/// Checks that an answer is made of whole messages; whether the client was welcomed.
fn whole_messages(answer: &[u8]) -> bool {
    let mut rest = answer;
    // Encryption is refused by a byte of its own.
    while let [b'N', after @ ..] = rest
        && !matches!(after, [0, 0, ..])
    {
        rest = after;
    }
    let mut welcomed = false;
    while let Some((&kind, after)) = rest.split_first() {
        let length = after.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
        let length = length.filter(|&length| (4..=after.len()).contains(&length));
        let Some(length) = length else {
            panic!("half a message of type {}: {}", kind.escape_ascii(), answer.escape_ascii())
        };
        welcomed |= kind == b'Z';
        rest = &after[length..];
    }
    welcomed
}
