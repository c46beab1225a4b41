//! Our own client against a server that sends anything: it ends with an error or with what it was told.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gridhouse_base::random::Random;
use gridhouse_serve::{Client, SOCKET_NAME};

use crate::mutate::mutate;
use crate::socket::message;
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "client",
    cases: 100_000,
    few: 3_000,
    batch: 1_000,
    // An empty row is seven bytes, and NULL in a row is four.
    memory: Memory { bytes: 4 << 20, per_byte: 200 },
    begin: || Box::new(Asking::new()),
};

const WORDS: [&[u8]; 14] = [
    b"Z\0\0\0\x05I",
    b"D\0\0\0\x06\0\0",
    b"D\0\0\0\x0a\x7f\xff\0\0\0\x01",
    b"T\0\0\0\x06\0\0",
    b"T\0\0\0\x06\x7f\xff",
    b"C\0\0\0\x05\0",
    b"E\0\0\0\x05\0",
    b"N\0\0\0\x05\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0",
    b"SREPORT\0",
    b"D1 1 1 j\0",
    b"\xff\xfe",
];

/// A server that says what it is given, to one client after the other.
struct Asking {
    directory: tempfile::TempDir,
    said: SyncSender<Vec<u8>>,
}

impl Asking {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join(SOCKET_NAME)).expect("the socket can be made");
        let (said, says): (_, Receiver<Vec<u8>>) = sync_channel(1);
        std::thread::spawn(move || {
            for answer in says {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // The client may have had enough by now.
                let _ = stream.write_all(&answer);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        Self { directory, said }
    }
}

/// The fields of an error or a notice.
fn fields(fields: &[(u8, &str)]) -> Vec<u8> {
    let field = |(code, text): &(u8, &str)| [&[*code], text.as_bytes(), b"\0"].concat();
    [fields.iter().flat_map(field).collect::<Vec<u8>>(), vec![0]].concat()
}

impl Decoder for Asking {
    fn draw(&mut self, random: &mut Random) -> Input {
        let ready = || message(b'Z', b"I");
        let mut messages =
            vec![message(b'R', &[0; 4]), message(b'S', b"server_version\x0015.0\0"), message(b'K', &[1; 8]), ready()];
        let column = [b"region\0".as_slice(), &[0; 6], &25_u32.to_be_bytes(), &[0xff; 2], &[0xff; 4], &[0; 2]].concat();
        for _ in 0..random.below(7) {
            messages.push(match random.below(8) {
                0 => message(b'N', &fields(&[(b'S', "NOTICE"), (b'C', "00000"), (b'M', "said 中文")])),
                1 => message(b'N', &fields(&[(b'S', "REPORT"), (b'M', "SELECT 1"), (b'D', "3 1 1500 7 1 a job")])),
                2 => message(b'T', &[b"\0\x02".as_slice(), &column, &column].concat()),
                3 | 4 => message(b'D', b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff"),
                5 => message(b'C', b"SELECT 2\0"),
                6 => message(b'E', &fields(&[(b'C', "42601"), (b'M', "wrong"), (b'H', "mend it"), (b'P', "7")])),
                _ => message(b'A', b"unknown"),
            });
        }
        messages.push(ready());
        let mut bytes = messages.concat();
        if random.chance(0.85) {
            let other = message(b'D', b"\0\x01\0\0\0\x01x");
            mutate(&mut bytes, &other, &WORDS, random);
        }
        vec![bytes]
    }

    fn decode(&mut self, input: &Input) -> bool {
        self.said.send(input[0].clone()).expect("the server runs");
        match Client::connect(self.directory.path()) {
            Ok(Some(mut client)) => client.rows("SELECT 1\n, 2").is_ok(),
            // A greeting that is cut off is that of a process which has just ended.
            Ok(None) | Err(_) => false,
        }
    }
}
