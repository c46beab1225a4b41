//! A replication connection: start-up, simple queries, and the copy stream in both directions.
//!
//! Ordinary client libraries do not speak the replication protocol; this is the small part of it that a CDC stream needs,
//! over the message formats of `postgres-protocol`. It hands out the raw bytes of the copy stream, so that they are decoded
//! straight into columns, and it tells when the socket has run dry, so that a batch ends exactly where waiting would begin.
//! Plain TCP only. It does not retry: an error ends the connection.

use std::io;

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{CONNECT_TIMEOUT, Fault, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, SESSION, Target};
use super::pgoutput::Lsn;

/// How much is read from the socket at once: large enough that a busy stream costs few system calls, small enough that a
/// batch of it stays in the cache.
const READ_BYTES: usize = 256 * 1024;

/// The longest frame of the copy stream: PostgreSQL makes no message longer than what it allocates at once (`MaxAllocSize` in its
/// `memutils.h`, 1 GB).
const FRAME_BYTES: usize = 1 << 30;

/// The longest message beside it, and the longest answer to a question: the history of a server that was promoted ten thousand times,
/// 60 bytes each, has room in it twice.
const ANSWER_BYTES: usize = 1 << 20;

/// What is said of a server that ends the copy stream in order.
pub(crate) const STREAM_ENDED: &str = "the server ended the replication stream";

/// A row of a simple query.
pub(crate) type TextRow = Vec<Option<String>>;

/// A connection in replication mode to one database.
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Connection {
    /// Connects and authenticates in replication mode.
    /// `name` is how the server lists it.
    pub(crate) async fn open(target: &Target, name: &str) -> Result<Self, Fault> {
        match tokio::time::timeout(CONNECT_TIMEOUT.min(target.silence), Self::open_any(target, name)).await {
            Ok(opened) => opened,
            Err(_) => Err(Fault::lost("no answer in time")),
        }
    }

    async fn open_any(target: &Target, name: &str) -> Result<Self, Fault> {
        let mut last = Fault::lost("no host is named");
        for (host, port) in &target.hosts {
            match TcpStream::connect((host.as_str(), *port)).await {
                Ok(stream) => {
                    // Statuses are small and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    // While a command runs long, only the kernel can notice that the server is gone.
                    let socket = SockRef::from(&stream);
                    let _ = socket.set_tcp_keepalive(
                        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL),
                    );
                    let mut connection = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
                    connection.log_in(target, name).await?;
                    return Ok(connection);
                }
                Err(error) => last = Fault::lost(error.to_string()),
            }
        }
        Err(last)
    }

    /// A connection that has logged in over `stream`.
    #[cfg(test)]
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    async fn log_in(&mut self, target: &Target, name: &str) -> Result<(), Fault> {
        let mut parameters = vec![
            ("user", target.username.as_str()),
            ("database", target.database.as_str()),
            ("replication", "database"),
            ("application_name", name),
            ("client_encoding", "UTF8"),
        ];
        parameters.extend(SESSION);
        frontend::startup_message(parameters, &mut self.output).map_err(io_fault)?;
        self.flush().await?;
        let password = target.password.as_deref().map(str::as_bytes);
        let password = || password.ok_or_else(|| Fault::lost("password missing"));
        let mut scram: Option<ScramSha256> = None;
        loop {
            match self.next_message().await? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password()?, &mut self.output).map_err(io_fault)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(target.username.as_bytes(), password()?, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output).map_err(io_fault)?;
                }
                Message::AuthenticationSasl(_) => {
                    let state = ScramSha256::new(password()?, ChannelBinding::unsupported());
                    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, state.message(), &mut self.output)
                        .map_err(io_fault)?;
                    scram = Some(state);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let state = scram.as_mut().ok_or_else(out_of_order)?;
                    state.update(body.data()).map_err(io_fault)?;
                    frontend::sasl_response(state.message(), &mut self.output).map_err(io_fault)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(out_of_order)?.finish(body.data()).map_err(io_fault)?;
                }
                Message::ReadyForQuery(_) => return Ok(()),
                Message::BackendKeyData(_) | Message::ParameterStatus(_) | Message::NoticeResponse(_) => {}
                Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationKerberosV5 => {
                    return Err(Fault::lost(
                        "the server asks for Kerberos, GSSAPI or SSPI; only passwords are supported",
                    ));
                }
                _ => return Err(out_of_order()),
            }
            self.flush().await?;
        }
    }

    /// Runs one statement or replication command; its rows in text form.
    pub(crate) async fn simple(&mut self, sql: &str) -> Result<Vec<TextRow>, Fault> {
        frontend::query(sql, &mut self.output).map_err(io_fault)?;
        self.flush().await?;
        let (mut rows, mut failed) = (Vec::new(), None);
        let mut bytes = 0;
        loop {
            match self.next_raw().await? {
                Message::DataRow(body) => {
                    bytes += body.buffer().len();
                    if bytes > ANSWER_BYTES {
                        return Err(too_long("an answer", bytes, ANSWER_BYTES));
                    }
                    rows.push(text_row(&body)?);
                }
                Message::ErrorResponse(body) => failed = Some(fault_of(&body)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// Starts the copy stream in both directions.
    pub(crate) async fn start_replication(&mut self, slot: &str, publication: &str, from: Lsn) -> Result<(), Fault> {
        let sql = format!(
            "START_REPLICATION SLOT \"{slot}\" LOGICAL {from} (\"proto_version\" '1', \"publication_names\" '\"{publication}\"')"
        );
        frontend::query(&sql, &mut self.output).map_err(io_fault)?;
        self.flush().await?;
        // CopyBothResponse ('W') is unknown to the library: its frame is read here.
        loop {
            if let Some(tag) = self.complete_frame()? {
                if tag == b'W' {
                    let len = self.frame_len();
                    let _ = self.input.split_to(len);
                    return Ok(());
                }
                match Message::parse(&mut self.input).map_err(io_fault)? {
                    Some(Message::ErrorResponse(body)) => return Err(fault_of(&body)),
                    Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                    _ => return Err(out_of_order()),
                }
            } else {
                self.fill().await?;
            }
        }
    }

    /// The next whole frame of the copy stream that has already arrived.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(tag) = self.complete_frame()? {
            if tag == b'd' {
                let len = self.frame_len();
                let mut frame = self.input.split_to(len).freeze();
                return Ok(Some(frame.split_off(5)));
            }
            match Message::parse(&mut self.input).map_err(io_fault)? {
                Some(Message::ErrorResponse(body)) => return Err(fault_of(&body)),
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_)) => {
                    return Err(Fault::lost(STREAM_ENDED));
                }
                _ => return Err(out_of_order()),
            }
        }
        Ok(None)
    }

    /// Takes what the socket holds without waiting; whether there was anything.
    pub(crate) fn take_available(&mut self) -> Result<bool, Fault> {
        self.input.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Err(Fault::lost("the server closed the connection")),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(io_fault(error)),
        }
    }

    /// Waits until the socket holds something. May be cancelled.
    pub(crate) async fn readable(&self) -> Result<(), Fault> {
        self.stream.readable().await.map_err(io_fault)
    }

    /// Tells the server what has been received and what is durable here. Times are microseconds since 2000.
    pub(crate) async fn send_status(
        &mut self,
        received: Lsn,
        durable: Lsn,
        now: i64,
        reply: bool,
    ) -> Result<(), Fault> {
        let mut status = [0_u8; 34];
        status[0] = b'r';
        status[1..9].copy_from_slice(&received.0.to_be_bytes());
        status[9..17].copy_from_slice(&durable.0.to_be_bytes());
        status[17..25].copy_from_slice(&durable.0.to_be_bytes());
        status[25..33].copy_from_slice(&now.to_be_bytes());
        status[33] = u8::from(reply);
        frontend::CopyData::new(status.as_slice()).map_err(io_fault)?.write(&mut self.output);
        self.flush().await
    }

    /// Says good-bye, so that the server frees the slot at once.
    pub(crate) async fn close(mut self) {
        frontend::copy_done(&mut self.output);
        frontend::terminate(&mut self.output);
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        // A peer that takes nothing for this long is gone: what is sent here is small.
        let sent = tokio::time::timeout(CONNECT_TIMEOUT, self.stream.write_all_buf(&mut self.output)).await;
        match sent {
            Ok(result) => result.map_err(io_fault),
            Err(_) => Err(Fault::lost("the server takes no bytes")),
        }
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await.map_err(io_fault)? {
            0 => Err(Fault::lost("the server closed the connection")),
            _ => Ok(()),
        }
    }

    /// The next message; an error message is an error.
    async fn next_message(&mut self) -> Result<Message, Fault> {
        match self.next_raw().await? {
            Message::ErrorResponse(body) => Err(fault_of(&body)),
            message => Ok(message),
        }
    }

    async fn next_raw(&mut self) -> Result<Message, Fault> {
        loop {
            // Parsed as a whole only: room for all that a frame announces would be made at once.
            if self.complete_frame()?.is_some()
                && let Some(message) = Message::parse(&mut self.input).map_err(io_fault)?
            {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The tag of the first frame if it has arrived as a whole. One that announces more than any server sends is refused before
    /// it is gathered.
    fn complete_frame(&self) -> Result<Option<u8>, Fault> {
        if self.input.len() < 5 {
            return Ok(None);
        }
        let (tag, len) = (self.input[0], self.frame_len());
        let longest = if tag == b'd' { FRAME_BYTES } else { ANSWER_BYTES };
        if len > longest {
            return Err(too_long("a message", len, longest));
        }
        Ok((self.input.len() >= len).then_some(tag))
    }

    /// The length of the first frame with its tag. Lengths below that of the length itself are taken as such a frame, and
    /// fail when it is parsed.
    fn frame_len(&self) -> usize {
        let len = u32::from_be_bytes([self.input[1], self.input[2], self.input[3], self.input[4]]);
        (len as usize).max(4) + 1
    }
}

fn text_row(body: &postgres_protocol::message::backend::DataRowBody) -> Result<TextRow, Fault> {
    use postgres_protocol::message::backend::DataRowRanges;
    let mut row = Vec::new();
    let mut ranges: DataRowRanges<'_> = body.ranges();
    while let Some(range) = fallible_next(&mut ranges)? {
        row.push(range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned()));
    }
    Ok(row)
}

fn fallible_next<I: fallible_iterator::FallibleIterator<Error = io::Error>>(
    it: &mut I,
) -> Result<Option<I::Item>, Fault> {
    it.next().map_err(io_fault)
}

fn fault_of(body: &postgres_protocol::message::backend::ErrorResponseBody) -> Fault {
    let mut fault = Fault { code: Some("XX000".into()), ..Fault::lost("") };
    let mut detail = None;
    let mut fields = body.fields();
    while let Ok(Some(field)) = fallible_next(&mut fields) {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => fault.code = Some(value),
            b'M' => fault.message = value,
            b'D' => detail = Some(value),
            b'H' => fault.hint = Some(value),
            b'c' => fault.column = Some(value),
            b'R' => fault.routine = Some(value),
            _ => {}
        }
    }
    if let Some(detail) = detail {
        fault.message = format!("{} ({detail})", fault.message);
    }
    fault
}

fn io_fault(error: io::Error) -> Fault {
    Fault::lost(error.to_string())
}

fn too_long(what: &str, bytes: usize, longest: usize) -> Fault {
    Fault::lost(format!("the server sends {what} of {bytes} bytes, and none is longer than {longest}"))
}

fn out_of_order() -> Fault {
    Fault::lost("the server sends a message that does not belong here")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A connection to a server that has sent these frames and is gone.
    async fn sent(frames: &[(u8, u32, usize)]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        for (tag, announced, held) in frames {
            bytes.push(*tag);
            bytes.extend(announced.to_be_bytes());
            let end = bytes.len() + held;
            if *tag == b'D' && *held > 6 {
                // One value takes all of the row.
                bytes.extend(1_u16.to_be_bytes());
                bytes.extend((*held as u32 - 6).to_be_bytes());
            }
            bytes.resize(end, 0);
        }
        // More than the socket holds is taken while it is sent. What is asked is read, since a socket that is closed before would take
        // what it has sent along.
        tokio::spawn(async move {
            far.write_all(&bytes).await?;
            far.shutdown().await?;
            tokio::io::copy(&mut far, &mut tokio::io::sink()).await
        });
        Connection::over(near)
    }

    #[tokio::test]
    async fn a_message_longer_than_any_server_sends_is_refused_before_it_is_gathered() {
        let row = ANSWER_BYTES / 2;
        let cases = [
            (&[(b'D', 0x7fff_fff0, 0)][..], "a message of 2147483633 bytes"),
            (&[(b'E', ANSWER_BYTES as u32, 0)], "a message of 1048577 bytes"),
            (&[(b'd', 1 << 30, 0)], "a message of 1073741825 bytes"),
            (&[(b'D', row as u32 + 4, row), (b'D', row as u32 + 4, row), (b'D', row as u32 + 4, row)], "an answer of "),
        ];
        for (frames, told) in cases {
            let refused = sent(frames).await.simple("IDENTIFY_SYSTEM").await.unwrap_err();
            assert!(refused.message.starts_with(&format!("the server sends {told}")), "{refused:?}");
            assert!(refused.message.contains(" bytes, and none is longer than "), "{refused:?}");
            assert!(refused.code.is_none(), "it is tried again");
        }
        for (tag, announced) in [(b'd', u32::MAX), (b'd', 1 << 30), (b'N', 1 << 20)] {
            let mut connection = sent(&[(tag, announced, 0)]).await;
            let refused = loop {
                match connection.next_frame() {
                    Ok(frame) => assert!(frame.is_none(), "there is no whole frame"),
                    Err(refused) => break refused,
                }
                connection.readable().await.unwrap();
                connection.take_available().unwrap();
            };
            assert!(refused.message.contains(" bytes, and none is longer than "), "{refused:?}");
            assert!(connection.input.capacity() <= 2 * READ_BYTES, "no room is made for it");
        }
        let whole = sent(&[(b'd', 104, 100), (b'c', 4, 0)]).await;
        let (mut connection, mut frames) = (whole, Vec::new());
        let ended = loop {
            match connection.next_frame() {
                Ok(Some(frame)) => frames.push(frame.len()),
                Ok(None) => {
                    connection.readable().await.unwrap();
                    connection.take_available().unwrap();
                }
                Err(ended) => break ended,
            }
        };
        assert_eq!((frames, ended.message.as_str()), (vec![100], STREAM_ENDED));
    }
}
