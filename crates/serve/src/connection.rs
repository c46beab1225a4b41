//! One client's connection: start-up, then simple queries one after the other, each answered as its statements end.
//!
//! Always holds: every query is followed by exactly one `ReadyForQuery`; a statement's notices come before its result; after
//! an error no further statement of the text runs. Deliberately absent: encryption and passwords (the socket belongs to the
//! owner of the data directory alone), `COPY`, and the extended protocol, which is refused with the way out.

use std::io::{self, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::{ChangeBatch, Position, Schema};
use gridhouse_engine::{Outcome, StatementReport};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, RowDescription};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey, Startup};

use crate::frame::{self, Held};
use crate::server::RunScript;
use crate::{report, sqlstate, text, types};

/// How long a client may take to say who it is; PostgreSQL's `authentication_timeout`.
const STARTUP_PATIENCE: Duration = Duration::from_secs(60);

/// How long a client may be silent within a message: its own machine does not take longer to hand over what it has written.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(60);

/// Answers are sent when this much has gathered; a few hundred rows, so that a large result needs little memory here.
const SEND_BYTES: usize = 64 << 10;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// A client asks for TLS and for GSS at most, before it goes on without.
const MAX_ENCRYPTION_REQUESTS: usize = 2;

/// What the version of PostgreSQL's protocol and of its catalog should be taken for; psql compares it with its own.
const SERVER_VERSION: &str = concat!("15.0 (Gridhouse ", env!("CARGO_PKG_VERSION"), ")");

/// How a connection begins.
pub(crate) enum Greeting {
    /// A client that wants to run SQL; whether it asked for reports.
    Client { reports: bool },
    /// A request to cancel what the connection with this key does.
    Cancel { key: i32 },
    /// The other side has gone, or is no PostgreSQL client.
    Gone,
}

/// A stream that is read from for so long and not longer, however little comes at a time.
struct Patient<'a> {
    stream: &'a UnixStream,
    clock: SystemClock,
    patience: Duration,
}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.patience.saturating_sub(self.clock.monotonic());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(into)
    }
}

/// Reads what the other side wants.
pub(crate) fn greet(stream: &UnixStream) -> io::Result<Greeting> {
    greet_within(stream, STARTUP_PATIENCE)
}

fn greet_within(stream: &UnixStream, patience: Duration) -> io::Result<Greeting> {
    let mut from = Patient { stream, clock: SystemClock::new(), patience };
    // Of a bound of its own.
    let held = Held::default();
    let mut body = frame::read_body(&mut from, frame::MAX_STARTUP_BYTES, &mut held.share())?;
    for _ in 0..MAX_ENCRYPTION_REQUESTS {
        if !matches!(frame::number_at(&body, 0), Some(SSL_REQUEST | GSS_REQUEST)) {
            break;
        }
        (&mut &*stream).write_all(b"N")?;
        body = frame::read_body(&mut from, frame::MAX_STARTUP_BYTES, &mut held.share())?;
    }
    stream.set_read_timeout(None)?;
    match frame::number_at(&body, 0) {
        Some(CANCEL_REQUEST) => Ok(frame::number_at(&body, 8).map_or(Greeting::Gone, |key| Greeting::Cancel { key })),
        Some(version) if version >> 16 == i32::from(Startup::PG_PROTOCOL_LATEST) => {
            let mut reports = false;
            let mut rest = &body[4..];
            while let Some((name, after)) = frame::text(rest).filter(|(name, _)| !name.is_empty()) {
                let Some((_, after)) = frame::text(after) else { break };
                reports |= name == report::OPTION.as_bytes();
                rest = after;
            }
            // The answer to a newer minor version is the newest that is spoken here: 3.0.
            if version & 0xffff != 0 {
                negotiate_down(stream)?;
            }
            Ok(Greeting::Client { reports })
        }
        _ => Ok(Greeting::Gone),
    }
}

/// `NegotiateProtocolVersion`: minor version 0, no option refused by name.
fn negotiate_down(mut stream: &UnixStream) -> io::Result<()> {
    let mut message = vec![b'v'];
    message.extend(12_u32.to_be_bytes());
    message.extend(Startup::PROTOCOL_VERSION_3_0.to_be_bytes());
    message.extend(0_u32.to_be_bytes());
    stream.write_all(&message)
}

/// A greeted connection.
pub(crate) struct Connection<'a> {
    stream: &'a UnixStream,
    out: BytesMut,
    reports: bool,
    in_transaction: bool,
    cancelled: &'a AtomicBool,
    held: &'a Held,
}

impl<'a> Connection<'a> {
    /// `held` counts what messages of all connections hold.
    pub(crate) fn new(stream: &'a UnixStream, reports: bool, cancelled: &'a AtomicBool, held: &'a Held) -> Self {
        Self { stream, out: BytesMut::new(), reports, in_transaction: false, cancelled, held }
    }

    /// Refuses the client with one message.
    pub(crate) fn refuse(&mut self, code: &str, message: &str) -> io::Result<()> {
        self.error("FATAL", code, message, None, None);
        self.flush()
    }

    /// Serves the client until it goes.
    pub(crate) fn serve(&mut self, key: i32, run: &mut RunScript) -> io::Result<()> {
        self.welcome(key)?;
        let mut from = BufReader::new(self.stream);
        // After an error in the extended protocol everything up to the next `Sync` is skipped.
        let mut skipping = false;
        while let Some(kind) = frame::read_kind(&mut from)? {
            let mut share = self.held.share();
            // Between messages a client may rest for as long as it likes; a message that has begun is not waited for for ever.
            let is_partial = !frame::is_whole(from.buffer());
            if is_partial {
                self.stream.set_read_timeout(Some(MESSAGE_PATIENCE))?;
            }
            let body = frame::read_body(&mut from, frame::MAX_MESSAGE_BYTES, &mut share)?;
            if is_partial {
                self.stream.set_read_timeout(None)?;
            }
            match kind {
                b'X' => return Ok(()),
                b'S' => {
                    skipping = false;
                    self.ready()?;
                }
                b'H' => self.flush()?,
                // Copy data may still be on its way when a copy was refused.
                b'd' | b'c' | b'f' => {}
                b'P' | b'B' | b'D' | b'E' | b'C' if skipping => {}
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    skipping = true;
                    self.refuse_extended();
                    self.flush()?;
                }
                b'F' => {
                    self.refuse_extended();
                    self.ready()?;
                }
                b'Q' => self.query(&body, run)?,
                _ => return self.refuse("08P01", &format!("message type {kind} is unknown")),
            }
        }
        Ok(())
    }

    fn welcome(&mut self, key: i32) -> io::Result<()> {
        self.put(&Authentication::Ok);
        let parameters = [
            ("server_version", SERVER_VERSION),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, YMD"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
            ("is_superuser", "on"),
            ("session_authorization", "gridhouse"),
            ("default_transaction_read_only", "off"),
            ("in_hot_standby", "off"),
        ];
        for (name, value) in parameters {
            self.put(&ParameterStatus::new(name.into(), value.into()));
        }
        self.put(&BackendKeyData::new(std::process::id() as i32, SecretKey::I32(key)));
        self.ready()
    }

    fn query(&mut self, body: &[u8], run: &mut RunScript) -> io::Result<()> {
        // A cancellation that came before this query was meant for an earlier one.
        self.cancelled.store(false, Ordering::SeqCst);
        let script = match frame::text(body).map(|(script, _)| std::str::from_utf8(script)) {
            Some(Ok(script)) => script,
            Some(Err(_)) => {
                let hint = Some("send the text in UTF-8 (psql: \\encoding UTF8)");
                self.error("ERROR", "22021", "the text is not valid UTF-8", hint, None);
                return self.ready();
            }
            None => {
                self.error("ERROR", "08P01", "a query ends with a zero byte", None, None);
                return self.ready();
            }
        };
        if let Some(chatter) = Chatter::of(script) {
            self.small_talk(chatter);
            return self.ready();
        }
        if asks_postgresql_catalog(script) {
            let message = "PostgreSQL's own catalog is not kept here, so that psql's \\d, \\dt and \\l have no answer";
            let hint = "SHOW TABLES, SHOW DATABASES, DESCRIBE name and SELECT * FROM system.status.tables tell it";
            self.error("ERROR", "0A000", message, Some(hint), None);
            return self.ready();
        }
        let mut statements = 0_u64;
        let mut failed = Ok(());
        let mut each = |statement: StatementReport| {
            statements += 1;
            failed = self.statement(script, &statement);
            if failed.is_ok() && self.cancelled.swap(false, Ordering::SeqCst) && statement.outcome.is_ok() {
                self.error("ERROR", "57014", "cancelled on request; what ran before stays", None, None);
                return ControlFlow::Break(());
            }
            if failed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        run(script, &mut each);
        failed?;
        if statements == 0 {
            self.put(&EmptyQueryResponse::new());
        }
        self.ready()
    }

    fn statement(&mut self, script: &str, statement: &StatementReport) -> io::Result<()> {
        for notice in &statement.notices {
            self.notice("NOTICE", notice);
        }
        if self.reports {
            let fields = report::encode(statement);
            self.put(&NoticeResponse::new(fields));
        }
        match &statement.outcome {
            Ok(Outcome::Rows { schema, batches }) => self.rows(schema, batches)?,
            Ok(Outcome::Done { tag }) => self.complete(tag.clone()),
            Ok(Outcome::Affected { tag, rows }) if tag == "INSERT" => self.complete(format!("INSERT 0 {rows}")),
            Ok(Outcome::Affected { tag, rows }) => self.complete(format!("{tag} {rows}")),
            Ok(Outcome::Job { id, name, resumed }) => {
                if !self.reports {
                    let how = if *resumed { "goes on" } else { "has begun" };
                    self.notice("NOTICE", &format!("job {id} ({name}) {how}; SHOW JOBS lists it, STOP JOB ends it"));
                }
                self.complete("INSERT 0 0".into());
            }
            Err(error) => {
                let index = error.position().and_then(|position| character_index(script, position));
                self.error("ERROR", sqlstate::of_kind(error.kind()), &error.to_string(), error.remedy(), index);
            }
        }
        self.flush()
    }

    fn rows(&mut self, schema: &Schema, batches: &[ChangeBatch]) -> io::Result<()> {
        let fields = schema.columns.iter().map(|column| types::field(&column.name, &column.sql_type)).collect();
        self.put(&RowDescription::new(fields));
        let mut row_message = DataRow::new(BytesMut::new(), schema.len() as i16);
        let mut value = Vec::new();
        let mut count = 0_u64;
        for batch in batches {
            for row in 0..batch.len() {
                row_message.data.clear();
                for (array, column) in batch.columns().iter().zip(&schema.columns) {
                    if array.is_null(row) || array.data_type().is_null() {
                        row_message.data.put_i32(-1);
                        continue;
                    }
                    value.clear();
                    text::append(&mut value, array, row, &column.sql_type.kind);
                    row_message.data.put_i32(value.len() as i32);
                    row_message.data.put_slice(&value);
                }
                self.put(&row_message);
                if self.out.len() >= SEND_BYTES {
                    self.flush()?;
                }
            }
            count += batch.len() as u64;
        }
        self.complete(format!("SELECT {count}"));
        Ok(())
    }

    fn small_talk(&mut self, chatter: Chatter) {
        match chatter {
            Chatter::Begin => {
                self.in_transaction = true;
                self.complete("BEGIN".into());
            }
            Chatter::Commit => {
                self.in_transaction = false;
                self.complete("COMMIT".into());
            }
            Chatter::Rollback => {
                self.in_transaction = false;
                self.notice("WARNING", "every statement took effect when it ran; nothing is rolled back");
                self.complete("ROLLBACK".into());
            }
            Chatter::Set => self.complete("SET".into()),
            Chatter::Discard => self.complete("DISCARD ALL".into()),
        }
    }

    fn refuse_extended(&mut self) {
        let hint = "use the simple query protocol: psycopg without parameters, JDBC with preferQueryMode=simple, \
                    tokio-postgres with simple_query";
        self.error("ERROR", "0A000", "prepared statements and parameters are not supported", Some(hint), None);
    }

    fn ready(&mut self) -> io::Result<()> {
        let status = if self.in_transaction { TransactionStatus::Transaction } else { TransactionStatus::Idle };
        self.put(&ReadyForQuery::new(status));
        self.flush()
    }

    fn complete(&mut self, tag: String) {
        self.put(&CommandComplete::new(frame::without_zero(&tag)));
    }

    fn notice(&mut self, severity: &str, message: &str) {
        let fields = [(b'S', severity), (b'V', severity), (b'C', "00000"), (b'M', message)];
        self.put(&NoticeResponse::new(fields.map(|(code, value)| (code, frame::without_zero(value))).to_vec()));
    }

    fn error(&mut self, severity: &str, code: &str, message: &str, hint: Option<&str>, index: Option<usize>) {
        let mut fields = vec![(b'S', severity.into()), (b'V', severity.into()), (b'C', code.into())];
        fields.push((b'M', frame::without_zero(message)));
        fields.extend(hint.map(|hint| (b'H', frame::without_zero(hint))));
        fields.extend(index.map(|index| (b'P', index.to_string())));
        self.put(&ErrorResponse::new(fields));
    }

    fn put(&mut self, message: &impl Message) {
        let start = self.out.len();
        if let Err(error) = message.encode(&mut self.out) {
            // Only a single value of gigabytes does not fit into a message.
            self.out.truncate(start);
            tracing::warn!(%error, "an answer does not fit into a message of the protocol");
            self.error("ERROR", "54000", "a value is too large for the protocol", None, None);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        sent
    }
}

/// What drivers send of their own accord and what means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chatter {
    Begin,
    Commit,
    Rollback,
    Set,
    Discard,
}

/// PostgreSQL's own parameters that drivers set; Gridhouse's are quoted or carry a dot.
const DRIVER_PARAMETERS: [&str; 12] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "session",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
];

impl Chatter {
    /// What `script` is if it is nothing else. `BEGIN STATEMENT SET` is SQL of ours.
    fn of(script: &str) -> Option<Self> {
        /// Longer than anything that a driver says; keeps large scripts from being searched.
        const MAX_CHATTER_BYTES: usize = 200;
        let text = script.trim().trim_end_matches(';').trim_end();
        if text.len() > MAX_CHATTER_BYTES || text.contains(';') {
            return None;
        }
        let mut words = text.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
        let (first, second) = (words.next()?.to_ascii_lowercase(), words.next().unwrap_or("").to_ascii_lowercase());
        let modes = ["", "transaction", "work", "isolation", "read", "deferrable", "not"];
        match first.as_str() {
            "begin" if modes.contains(&second.as_str()) => Some(Self::Begin),
            "start" if second == "transaction" => Some(Self::Begin),
            "commit" if ["", "transaction", "work"].contains(&second.as_str()) => Some(Self::Commit),
            // A lone END closes a transaction in PostgreSQL; within a statement set it comes with the set's text.
            "end" if ["", "transaction", "work"].contains(&second.as_str()) => Some(Self::Commit),
            "rollback" | "abort" => Some(Self::Rollback),
            "set" if DRIVER_PARAMETERS.contains(&second.as_str()) => Some(Self::Set),
            "discard" if second == "all" => Some(Self::Discard),
            _ => None,
        }
    }
}

/// Whether `script` is what psql sends for a backslash command, or a driver to look around.
fn asks_postgresql_catalog(script: &str) -> bool {
    script.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
        && ["FROM pg_catalog.", "from pg_catalog."].iter().any(|from| script.contains(from))
}

/// The one-based index of the character at `position`, as PostgreSQL counts.
pub(crate) fn character_index(script: &str, position: Position) -> Option<usize> {
    let before: usize =
        script.split('\n').take(position.line.checked_sub(1)? as usize).map(|line| line.chars().count() + 1).sum();
    Some(before + position.column as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_by_drips_is_not_waited_for() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let dripping = std::thread::spawn(move || {
            client.write_all(&(frame::MAX_STARTUP_BYTES as u32).to_be_bytes()).unwrap();
            // Each byte comes well within the time that the whole greeting has.
            while client.write_all(b"x").is_ok() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        let Err(error) = greet_within(&server, Duration::from_millis(100)) else { panic!("it is no greeting") };
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        drop(server);
        dripping.join().unwrap();
    }

    #[test]
    fn drivers_chatter_is_told_from_statements() {
        assert_eq!(Chatter::of("BEGIN"), Some(Chatter::Begin));
        assert_eq!(Chatter::of(" begin isolation level serializable; "), Some(Chatter::Begin));
        assert_eq!(Chatter::of("START TRANSACTION READ ONLY"), Some(Chatter::Begin));
        assert_eq!(Chatter::of("COMMIT;"), Some(Chatter::Commit));
        assert_eq!(Chatter::of("set client_encoding to 'UTF8'"), Some(Chatter::Set));
        assert_eq!(Chatter::of("SET datestyle='ISO'"), Some(Chatter::Set));
        for ours in ["BEGIN STATEMENT SET", "BEGIN; SELECT 1", "SET 'pipeline.name' = 'a'", "SET pipeline.name = a", ""]
        {
            assert_eq!(Chatter::of(ours), None, "{ours}");
        }
    }

    #[test]
    fn psqls_own_questions_are_recognized() {
        let psql =
            "SELECT n.nspname as \"Schema\"\nFROM pg_catalog.pg_class c\n     LEFT JOIN pg_catalog.pg_namespace n ON 1";
        assert!(asks_postgresql_catalog(psql));
        for ours in ["SELECT 1", "INSERT INTO a VALUES ('FROM pg_catalog.x')", "SEL", "中文"] {
            assert!(!asks_postgresql_catalog(ours), "{ours}");
        }
    }

    #[test]
    fn positions_count_characters_over_lines() {
        let script = "SELECT '中文',\n  x\n";
        let index = character_index(script, Position { line: 2, column: 3 }).unwrap();
        assert_eq!(script.chars().nth(index - 1), Some('x'));
    }
}
