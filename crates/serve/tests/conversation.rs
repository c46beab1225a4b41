//! Conversations over a real socket: with our own client, with psql, and with bytes that are no conversation.
//!
//! The session behind the server is a small one of the test's own; what it gives is what an engine may give.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Error, ErrorKind, JobId, Position, Schema, TypeKind, Value};
use gridhouse_engine::{Outcome, StatementReport};
use gridhouse_serve::{Client, Event, RunScript, SOCKET_NAME, Server};

/// Statements end at `;`. The first word decides what a statement gives.
fn session() -> RunScript {
    Box::new(|script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>| {
        let mut line = 1;
        for piece in script.split(';') {
            let text = piece.trim();
            let start = line + piece.chars().take_while(|c| c.is_whitespace()).filter(|&c| c == '\n').count() as u32;
            line += piece.matches('\n').count() as u32;
            if text.is_empty() {
                continue;
            }
            let position = Position { line: start, column: 1 };
            let outcome = outcome(text, position);
            let failed = outcome.is_err();
            let notices = if text.starts_with("NOTICE") { vec!["done already".to_owned()] } else { Vec::new() };
            let elapsed = Duration::from_micros(1_500);
            let report = StatementReport { position, text: text.into(), notices, outcome, elapsed };
            if each(report).is_break() || failed {
                return;
            }
        }
    })
}

fn outcome(text: &str, position: Position) -> gridhouse_base::Result<Outcome> {
    match text.split_whitespace().next().unwrap_or("") {
        "SELECT" => {
            let schema = Schema::new(vec![
                Column::new("id", TypeKind::BigInt.not_null()),
                Column::new("区域", TypeKind::STRING.nullable()),
                Column::new("amount", TypeKind::Decimal { precision: 12, scale: 2 }.nullable()),
                Column::new("ok", TypeKind::Boolean.nullable()),
            ]);
            let columns = vec![
                Value::array_of(&[&Value::Integer(1), &Value::Integer(2)], &TypeKind::BigInt),
                Value::array_of(&[&Value::Text("华东".into()), &Value::Null], &TypeKind::STRING),
                Value::array_of(&[&Value::Decimal(150), &Value::Null], &TypeKind::Decimal { precision: 12, scale: 2 }),
                Value::array_of(&[&Value::Boolean(true), &Value::Boolean(false)], &TypeKind::Boolean),
            ];
            Ok(Outcome::Rows { schema: schema.into(), batches: vec![ChangeBatch::insertions(columns, 2)] })
        }
        "MANY" => {
            let ids: Vec<Value> = (0..100_000).map(Value::Integer).collect();
            let column = Value::array_of(&ids.iter().collect::<Vec<_>>(), &TypeKind::BigInt);
            let schema = Schema::new(vec![Column::new("id", TypeKind::BigInt.not_null())]);
            Ok(Outcome::Rows { schema: schema.into(), batches: vec![ChangeBatch::insertions(vec![column], 100_000)] })
        }
        "INSERT" => Ok(Outcome::Affected { tag: "INSERT".into(), rows: 3 }),
        "JOB" => Ok(Outcome::Job { id: JobId(7), name: "两 words".into(), resumed: true }),
        "FAIL" => {
            let at = Position { line: position.line, column: 6 };
            Err(Error::not_found("table `x` does not exist").at(at).hint("did you mean `y`?"))
        }
        _ => Ok(Outcome::Done { tag: "CREATE TABLE".into() }),
    }
}

fn serving(data_dir: &Path) -> Server {
    Server::start(data_dir, Arc::new(|_: &Arc<AtomicBool>| session()), Random::new(1)).unwrap()
}

fn run(client: &mut Client, script: &str) -> Vec<Event> {
    let mut events = Vec::new();
    client.run(script, &mut |event| events.push(event)).unwrap();
    events
}

#[test]
fn our_client_learns_everything_of_each_statement() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Client::connect(dir.path()).unwrap().is_none(), "nobody holds the directory yet");
    let server = serving(dir.path());
    let mut client = Client::connect(dir.path()).unwrap().unwrap();
    assert_eq!(client.process(), std::process::id() as i32);

    let events = run(&mut client, "NOTICE x;\nSELECT 1;\n\n JOB a;\nINSERT 1;");
    let mut seen = events.iter();
    assert!(matches!(seen.next(), Some(Event::Notice(text)) if text == "done already"));
    assert!(matches!(seen.next(), Some(Event::Report(report)) if report.text == "NOTICE x" && report.job.is_none()));
    assert!(matches!(seen.next(), Some(Event::Complete(tag)) if tag == "CREATE TABLE"));
    let Some(Event::Report(report)) = seen.next() else { panic!("{events:?}") };
    assert_eq!((report.position.line, report.elapsed), (2, Duration::from_micros(1_500)));
    let Some(Event::Columns(columns)) = seen.next() else { panic!("{events:?}") };
    assert_eq!(
        columns.iter().map(|c| (c.name.as_str(), c.is_number)).collect::<Vec<_>>(),
        [("id", true), ("区域", false), ("amount", true), ("ok", false)]
    );
    let text = |items: [Option<&str>; 4]| items.map(|item| item.map(str::to_owned)).to_vec();
    let first = text([Some("1"), Some("华东"), Some("1.50"), Some("t")]);
    assert!(matches!(seen.next(), Some(Event::Row(row)) if *row == first));
    assert!(matches!(seen.next(), Some(Event::Row(row)) if *row == text([Some("2"), None, None, Some("f")])));
    assert!(matches!(seen.next(), Some(Event::Complete(tag)) if tag == "SELECT 2"));
    let Some(Event::Report(report)) = seen.next() else { panic!("{events:?}") };
    let job = report.job.as_ref().unwrap();
    assert_eq!((job.id, job.resumed, job.name.as_str(), report.position.line), (JobId(7), true, "两 words", 4));

    assert_eq!(client.rows("MANY").unwrap().len(), 100_000);
    server.stop();
    assert!(!dir.path().join(SOCKET_NAME).exists(), "a stopped server leaves no socket");
    assert_eq!(client.rows("SELECT 1").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn an_error_stops_the_script_and_keeps_kind_place_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let mut client = Client::connect(dir.path()).unwrap().unwrap();
    let events = run(&mut client, "CREATE 中;\nFAIL x;\nCREATE b;");
    let Some(Event::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.position(), Some(Position { line: 2, column: 6 }));
    assert_eq!((error.message(), error.remedy()), ("table `x` does not exist", Some("did you mean `y`?")));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Complete(_))).count(), 1);
    assert_eq!(client.rows("SELECT 1").unwrap().len(), 2, "the session goes on");
    server.stop();
}

#[test]
fn psql_shows_tables_tags_notices_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let psql = |args: &[&str]| {
        let mut command = Command::new("psql");
        command.arg("-X").arg("-h").arg(dir.path()).args(["-U", "anyone", "-d", "any"]).args(args);
        let output = command.output().expect("psql is installed");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (ok, text) =
        psql(&["-c", "SELECT 1", "-c", "BEGIN", "-c", "INSERT x", "-c", "COMMIT", "-c", "JOB x", "-c", "NOTICE"]);
    assert!(ok, "{text}");
    for expected in ["区域", "华东", "1.50", "(2 rows)", "BEGIN", "INSERT 0 3", "job j7", "NOTICE:  done already"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let (ok, text) = psql(&["-v", "VERBOSITY=verbose", "-c", "FAIL x"]);
    assert!(!ok);
    for expected in ["42704: table `x` does not exist", "LINE 1: FAIL x", "HINT:  did you mean `y`?"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    server.stop();
}

#[test]
fn hostile_bytes_end_only_their_own_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let path = dir.path().join(SOCKET_NAME);
    let startup = {
        let mut bytes = Vec::from(9_u32.to_be_bytes());
        bytes.extend(196_608_u32.to_be_bytes());
        bytes.push(0);
        bytes
    };
    let mut drawn = Random::new(42);
    for round in 0..200 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if round % 2 == 1 {
            stream.write_all(&startup).unwrap();
        }
        let noise: Vec<u8> = (0..drawn.below(300)).map(|_| drawn.bits() as u8).collect();
        // The server may have closed the stream by now.
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut client = Client::connect(dir.path()).unwrap().unwrap();
    assert_eq!(client.rows("SELECT 1").unwrap().len(), 2);
    server.stop();
}

#[test]
fn prepared_statements_are_refused_with_the_way_out_and_the_session_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let mut stream = UnixStream::connect(dir.path().join(SOCKET_NAME)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::from(9_u32.to_be_bytes());
    bytes.extend(196_608_u32.to_be_bytes());
    bytes.push(0);
    // Parse of an unnamed statement, Sync, then a simple query, then Terminate.
    for (kind, body) in [(b'P', b"\0SELECT 1\0\0\0".as_slice()), (b'S', b""), (b'Q', b"INSERT x\0"), (b'X', b"")] {
        bytes.push(kind);
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
    }
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("preferQueryMode=simple"), "{text}");
    assert!(text.contains("INSERT 0 3"), "{text}");
    server.stop();
}

#[test]
fn a_cancel_request_ends_the_script_after_the_statement_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = serving(dir.path());
    let mut client = Client::connect(dir.path()).unwrap().unwrap();
    let interrupt = client.interrupt();
    let mut complete = 0;
    let mut failed = None;
    // The first result fills the socket, so that the statements after it wait until this side reads on.
    client
        .run("MANY; MANY; MANY; MANY", &mut |event| match event {
            Event::Columns(_) if complete == 0 => interrupt.send().unwrap(),
            Event::Complete(_) => complete += 1,
            Event::Failed(error) => failed = Some(error),
            _ => {}
        })
        .unwrap();
    assert!(complete < 4, "the script was cut short");
    assert!(failed.unwrap().message().contains("cancelled on request"));
    server.stop();
}
