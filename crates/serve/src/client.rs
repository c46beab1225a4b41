//! The other end of the socket, for this program's own commands: one script at a time, answers as they come.
//!
//! Blocking and single-threaded; [`Interrupt`] is the part that another thread or a signal may use.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use gridhouse_base::{Error, Position, Result};
use pgwire::messages::Message;
use pgwire::messages::startup::Startup;

use crate::report::{self, Report};
use crate::{address, frame, sqlstate, types};

/// How long the process that holds the directory may take to greet a client.
const GREETING_PATIENCE: Duration = Duration::from_secs(10);

/// One row of a result as text; `None` is NULL.
pub type RowText = Vec<Option<String>>;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// The name.
    pub name: String,
    /// Whether it holds numbers.
    pub is_number: bool,
}

/// What a script brings about, in order: for each statement its notices, its report, then columns and rows if it has a
/// result, then that it is complete or an error, which ends the script.
#[derive(Debug)]
pub enum Event {
    /// What the user should know.
    Notice(String),
    /// The statement that ended.
    Report(Report),
    /// A result begins.
    Columns(Vec<ResultColumn>),
    /// A row of the result.
    Row(RowText),
    /// The statement was carried out; the command tag.
    Complete(String),
    /// The statement failed; its position is within the script.
    Failed(Error),
}

/// A connection to the process that holds a data directory.
pub struct Client {
    stream: UnixStream,
    from: BufReader<UnixStream>,
    data_dir: PathBuf,
    process: i32,
    key: i32,
}

/// Asks the server to stop what a client's connection does, from another thread.
#[derive(Clone, Debug)]
pub struct Interrupt {
    data_dir: PathBuf,
    process: i32,
    key: i32,
}

impl Interrupt {
    /// Sends the request and waits until it has taken effect; the statement that runs is the last of its script.
    ///
    /// # Errors
    /// `Unavailable` where the process does not answer.
    pub fn send(&self) -> Result<()> {
        let sent = address::connect(&self.data_dir).and_then(|stream| {
            let Some(mut stream) = stream else { return Ok(()) };
            let mut message = Vec::new();
            for number in [16, 80_877_102, self.process, self.key] {
                message.extend(number.to_be_bytes());
            }
            stream.write_all(&message)?;
            // The server closes the stream once the request has taken effect.
            stream.set_read_timeout(Some(GREETING_PATIENCE))?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        sent.map_err(|error| broken(&self.data_dir, error))
    }
}

impl Client {
    /// Connects to the process that holds `data_dir`; `None` where no process does, or it ended just now: the kernel still lets
    /// a client connect to the socket of a process that was killed, and breaks the connection off.
    ///
    /// # Errors
    /// `Unavailable` where the process does not answer as expected.
    pub fn connect(data_dir: &Path) -> Result<Option<Self>> {
        let stream = match address::connect(data_dir) {
            Ok(None) => return Ok(None),
            Ok(Some(stream)) => stream,
            Err(error) => return Err(broken(data_dir, error)),
        };
        let greeted = || -> io::Result<(UnixStream, UnixStream)> {
            stream.set_read_timeout(Some(GREETING_PATIENCE))?;
            Ok((stream.try_clone()?, stream))
        };
        let (from, stream) = greeted().map_err(|error| broken(data_dir, error))?;
        let from = BufReader::new(from);
        let mut client = Self { stream, from, data_dir: data_dir.into(), process: 0, key: 0 };
        match client.greet() {
            Err(error) if is_broken_off(&error) => return Ok(None),
            greeted => greeted?,
        }
        client.stream.set_read_timeout(None).map_err(|error| broken(data_dir, error))?;
        Ok(Some(client))
    }

    fn greet(&mut self) -> Result<()> {
        let mut startup = Startup::new();
        for (name, value) in [("user", "gridhouse"), ("application_name", "gridhouse"), (report::OPTION, "on")] {
            startup.parameters.insert(name.into(), value.into());
        }
        self.send(&startup)?;
        loop {
            let (kind, body) = self.receive()?;
            match kind {
                b'K' => {
                    self.process = frame::number_at(&body, 0).unwrap_or_default();
                    self.key = frame::number_at(&body, 4).unwrap_or_default();
                }
                b'E' => return Err(self.error(&body, "")?),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    /// The number of the process at the other end.
    pub fn process(&self) -> i32 {
        self.process
    }

    /// The way to interrupt this connection from another thread.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt { data_dir: self.data_dir.clone(), process: self.process, key: self.key }
    }

    /// Runs `script` and hands over what it brings about as it comes. A failed statement is an event, not an error.
    ///
    /// # Errors
    /// `Invalid` for a script with a zero byte; `Unavailable` where the process at the other end has gone.
    pub fn run(&mut self, script: &str, each: &mut dyn FnMut(Event)) -> Result<()> {
        if let Some(at) = script.find('\0') {
            let line = script[..at].matches('\n').count() as u32 + 1;
            let column = script[..at].chars().rev().take_while(|&c| c != '\n').count() as u32 + 1;
            return Err(Error::invalid("the script holds a zero byte").at(Position { line, column }));
        }
        let mut message = vec![b'Q'];
        message.extend((script.len() as u32 + 5).to_be_bytes());
        message.extend(script.as_bytes());
        message.push(0);
        self.stream.write_all(&message).map_err(|error| broken(&self.data_dir, error))?;
        loop {
            let (kind, body) = self.receive()?;
            match kind {
                b'Z' => return Ok(()),
                b'N' => each(self.notice(&body)?),
                b'T' => each(Event::Columns(columns(&body).ok_or_else(|| self.garbled())?)),
                b'D' => each(Event::Row(row(&body).ok_or_else(|| self.garbled())?)),
                b'C' => {
                    let (tag, _) = frame::text(&body).ok_or_else(|| self.garbled())?;
                    each(Event::Complete(String::from_utf8_lossy(tag).into_owned()));
                }
                b'E' => each(Event::Failed(self.error(&body, script)?)),
                _ => {}
            }
        }
    }

    /// Runs one statement and gathers its rows.
    ///
    /// # Errors
    /// What the statement failed with, or as [`Client::run`].
    pub fn rows(&mut self, statement: &str) -> Result<Vec<RowText>> {
        self.table(statement).map(|(_, rows)| rows)
    }

    /// Runs one statement and gathers its columns and rows.
    ///
    /// # Errors
    /// As [`Client::rows`].
    pub fn table(&mut self, statement: &str) -> Result<(Vec<ResultColumn>, Vec<RowText>)> {
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        let mut failed = Ok(());
        self.run(statement, &mut |event| match event {
            Event::Columns(found) => columns = found,
            Event::Row(row) => rows.push(row),
            Event::Failed(error) => failed = Err(error),
            _ => {}
        })?;
        failed.map(|()| (columns, rows))
    }

    fn notice(&self, body: &[u8]) -> Result<Event> {
        let fields = fields(body).ok_or_else(|| self.garbled())?;
        let field = |code| fields.iter().find(|(c, _)| *c == code).map_or("", |(_, value)| value.as_str());
        let report = (field(b'S') == report::SEVERITY).then(|| report::decode(field(b'M'), field(b'D'))).flatten();
        Ok(report.map_or_else(|| Event::Notice(field(b'M').into()), Event::Report))
    }

    fn error(&self, body: &[u8], script: &str) -> Result<Error> {
        let fields = fields(body).ok_or_else(|| self.garbled())?;
        let field = |code| fields.iter().find(|(c, _)| *c == code).map(|(_, value)| value.as_str());
        let mut error =
            Error::new(sqlstate::to_kind(field(b'C').unwrap_or("")), field(b'M').unwrap_or("unknown error"));
        if let Some(hint) = field(b'H') {
            error = error.hint(hint);
        }
        if let Some(index) = field(b'P').and_then(|index| index.parse().ok()) {
            error = error.at(position_of(script, index));
        }
        Ok(error)
    }

    fn send(&mut self, message: &impl Message) -> Result<()> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes).map_err(|error| Error::internal("a message cannot be encoded").caused_by(error))?;
        self.stream.write_all(&bytes).map_err(|error| broken(&self.data_dir, error))
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        // What the server of this program sends is bounded by the values of its tables.
        let received = frame::read(&mut self.from, i32::MAX as usize);
        match received.map_err(|error| broken(&self.data_dir, error))? {
            Some(frame) => Ok((frame.kind, frame.body)),
            None => Err(broken(&self.data_dir, io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn garbled(&self) -> Error {
        Error::corrupt(format!("the process that holds {} sent what is no answer", self.data_dir.display()))
    }
}

/// The fields of an error or a notice: code and value, until a code of zero; none where they break off.
fn fields(body: &[u8]) -> Option<Vec<(u8, String)>> {
    let (mut fields, mut rest) = (Vec::new(), body);
    loop {
        let (&code, after) = rest.split_first()?;
        if code == 0 {
            return Some(fields);
        }
        let (value, after) = frame::text(after)?;
        fields.push((code, String::from_utf8_lossy(value).into_owned()));
        rest = after;
    }
}

/// The columns of a result: a count, then for each its name and 18 bytes, with the type's number in the middle.
fn columns(body: &[u8]) -> Option<Vec<ResultColumn>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, after) = frame::text(rest)?;
        let (about, after) = after.split_first_chunk::<18>()?;
        let oid = u32::from_be_bytes([about[6], about[7], about[8], about[9]]);
        columns
            .push(ResultColumn { name: String::from_utf8_lossy(name).into_owned(), is_number: types::is_number(oid) });
        rest = after;
    }
    Some(columns)
}

/// A row: a count, then for each value its length, which is negative for NULL, and its text.
fn row(body: &[u8]) -> Option<RowText> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push(None);
            rest = after;
            continue;
        };
        let (value, after) = after.split_at_checked(length)?;
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = after;
    }
    Some(values)
}

fn broken(data_dir: &Path, error: io::Error) -> Error {
    let error =
        Error::unavailable(format!("the process that holds {} does not answer", data_dir.display())).caused_by(error);
    error.hint("it may have ended: `gridhouse status` tells, and its log is gridhouse.log in that directory")
}

/// Whether the other end closed the connection, rather than being silent.
fn is_broken_off(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        )
    })
}

/// Line and column of the one-based character index `index`.
fn position_of(script: &str, index: usize) -> Position {
    let mut position = Position { line: 1, column: 1 };
    for c in script.chars().take(index.saturating_sub(1)) {
        if c == '\n' {
            position = Position { line: position.line + 1, column: 1 };
        } else {
            position.column += 1;
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::character_index;

    #[test]
    fn answers_that_break_off_are_none() {
        assert_eq!(fields(b"Mwrong\0\0"), Some(vec![(b'M', "wrong".to_owned())]));
        for broken in [b"".as_slice(), b"M", b"Mwrong", b"Mwrong\0"] {
            assert_eq!(fields(broken), None, "{}", broken.escape_ascii());
        }
        let column = [b"\0\x01id\0".as_slice(), &[0; 6], &20_u32.to_be_bytes(), &[0; 8]].concat();
        assert_eq!(columns(&column), Some(vec![ResultColumn { name: "id".into(), is_number: true }]));
        assert_eq!(columns(&column[..column.len() - 1]), None);
        assert_eq!(row(b"\0\x02\0\0\0\x01x\xff\xff\xff\xff"), Some(vec![Some("x".into()), None]));
        for broken in [b"\0".as_slice(), b"\0\x01", b"\0\x01\0\0\0\x02x", b"\x7f\xff\0\0\0\0"] {
            assert_eq!(row(broken), None, "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn a_process_that_ends_as_a_client_connects_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let listener = address::listen(directory.path()).unwrap();
        for has_read in [false, true] {
            let dying = listener.try_clone().unwrap();
            let thread = std::thread::spawn(move || {
                let (mut stream, _) = dying.accept().unwrap();
                // What was sent and not read makes a reset of the end; what was read, an end without an answer.
                if has_read {
                    assert_ne!(stream.read(&mut [0; 1_024]).unwrap(), 0);
                }
            });
            assert!(Client::connect(directory.path()).unwrap().is_none(), "read: {has_read}");
            thread.join().unwrap();
        }
    }

    #[test]
    fn positions_survive_the_way_through_character_indices() {
        let script = "SELECT 1;\n-- 中文 🙂\nSELECT x\n";
        for position in [(1, 1), (1, 10), (2, 7), (3, 8)].map(|(line, column)| Position { line, column }) {
            let index = character_index(script, position).unwrap();
            assert_eq!(position_of(script, index), position);
        }
    }
}
