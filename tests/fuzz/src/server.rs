//! A replication connection to a server that sends anything, from the log-in to the end of its copy stream: it ends with an error, or
//! with the frames that were sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gridhouse_base::random::Random;
use gridhouse_link::testing::read_server;

use crate::mutate::mutate;
use crate::socket::message;
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "server",
    cases: 60_000,
    few: 1_000,
    batch: 1_000,
    // What is read from the socket at once has its room whatever comes. An empty value of a row is four bytes.
    memory: Memory { bytes: 2 << 20, per_byte: 40 },
    begin: || Box::new(Serving::new()),
};

const WORDS: [&[u8]; 16] = [
    b"R\0\0\0\x08\0\0\0\0",
    b"R\0\0\0\x08\0\0\0\x03",
    b"R\0\0\0\x0c\0\0\0\x05salt",
    b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
    b"R\0\0\0\x10\0\0\0\x0br=x,s=x,",
    b"Z\0\0\0\x05I",
    b"D\0\0\0\x06\0\0",
    b"D\0\0\0\x0a\x7f\xff\0\0\0\x01",
    b"E\0\0\0\x05\0",
    b"W\0\0\0\x07\0\0\0",
    b"d\xff\xff\xff\xff",
    b"d\0\0\0\x04",
    b"c\0\0\0\x04",
    b"\x7f\xff\xff\xff",
    b"\t0/FFFFFFFFFFFFFFFFF\n",
    b"4294967296",
];

/// A server that says what it is given, to one connection after the other.
struct Serving {
    port: u16,
    said: SyncSender<Vec<u8>>,
}

impl Serving {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let (said, says): (_, Receiver<Vec<u8>>) = sync_channel(1);
        std::thread::spawn(move || {
            for answer in says {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // The other end may have had enough by now.
                let _ = stream.write_all(&answer);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        Self { port, said }
    }
}

/// A row of text values.
fn row(values: &[&str]) -> Vec<u8> {
    let value = |text: &&str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let values: Vec<u8> =
        [(values.len() as u16).to_be_bytes().to_vec(), values.iter().flat_map(value).collect()].concat();
    message(b'D', &values)
}

/// What a server sends that asks for no more than it gets.
fn conversation(random: &mut Random) -> Vec<Vec<u8>> {
    let ready = || message(b'Z', b"I");
    let done = || message(b'C', b"SELECT 1\0");
    let mut messages = match random.below(4) {
        0 => vec![message(b'R', &3_u32.to_be_bytes())],
        1 => vec![message(b'R', &[&5_u32.to_be_bytes()[..], b"salt"].concat())],
        _ => Vec::new(),
    };
    messages.extend([
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015.0\0"),
        message(b'K', &[1; 8]),
        ready(),
    ]);
    let timeline = *random.pick(&["1", "3"]);
    messages.extend([row(&["7301234567890123456", timeline, "0/16B3748", "recorded"]), done(), ready()]);
    if timeline != "1" {
        let left = "1\t0/3000060\tno recovery target specified\n\n2\t0/5000148\tbefore 2024-10-04 00:00:00+00\n";
        messages.extend([row(&["00000003.history", left]), done(), ready()]);
    }
    messages.push(message(b'W', &[0; 3]));
    for _ in 0..random.below(5) {
        messages.push(match random.below(4) {
            0 => message(b'd', &[b"k".as_slice(), &[0; 16], &[1]].concat()),
            1 => message(b'N', b"SNOTICE\0C00000\0Msaid\0\0"),
            _ => message(b'd', &[b"w".as_slice(), &[0; 24], b"B", &[7; 20]].concat()),
        });
    }
    messages.push(message(b'c', b""));
    messages
}

impl Decoder for Serving {
    fn draw(&mut self, random: &mut Random) -> Input {
        let mut bytes = conversation(random).concat();
        if random.chance(0.85) {
            let other = conversation(random).concat();
            mutate(&mut bytes, &other, &WORDS, random);
        }
        vec![bytes]
    }

    fn decode(&mut self, input: &Input) -> bool {
        self.said.send(input[0].clone()).expect("the server runs");
        let read = read_server(self.port);
        if let Ok(frames) = &read {
            let bytes: usize = frames.iter().map(Vec::len).sum();
            assert!(bytes < input[0].len(), "no frame is longer than what was sent");
        }
        read.is_ok()
    }
}
