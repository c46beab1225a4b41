//! The way to a server fails: frozen without being closed, cut.

use gridhouse_base::batch::RowKind;
use gridhouse_base::table::TableDef;
use gridhouse_base::{CommitId, ErrorKind, TypeKind};
use gridhouse_flow::connector::{SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;
use gridhouse_link::testing::Proxy;

use crate::describe::report;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with};
use crate::sink::{columns, contents, prepared, rows};

/// A source table that is reached through `proxy` and gives it up after two seconds of silence.
pub fn table(db: &Db, proxy: &Proxy) -> TableDef {
    let definition = db.cdc("t", &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"]);
    let near = with(definition, "port", &proxy.port().to_string());
    with(with(near, "connect.timeout", "2 s"), "heartbeat.interval.ms", "1000")
}

#[test]
fn a_frozen_source_is_given_up_and_found_again() {
    let db = Db::new("frozen_source");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let proxy = Proxy::start(db.cluster.port());
    let mut engine = Engine::start(&[table(&db, &proxy)], Durable::default());
    // Wherever it is then: at the end of its copy, or in the stream.
    engine.until_rows(1, &["1|a"]);
    proxy.freeze(true);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until("the loss", |e| e.waiting.iter().any(|told| told.contains("does not answer: silent for 2 s")));
    // Nor does anything hang while it connects.
    let before = engine.waiting.len();
    engine.until("another try", |e| e.waiting.len() > before + 1);
    proxy.freeze(false);
    engine.until_rows(1, &["1|a", "2|b"]);
    assert_eq!((engine.snapshots, engine.missed), (1, 0));
    engine.stop();
}

#[test]
fn contents_that_are_cut_in_the_midst_are_read_from_the_start() {
    const ROWS: usize = 300_000;
    let db = Db::new("cut_contents");
    // Far more than the buffers on the way hold, and without a key, so that a row that comes twice stays twice.
    db.sql(&format!(
        "CREATE TABLE t (id int, v text); ALTER TABLE t REPLICA IDENTITY FULL; \
         INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, {ROWS}) i"
    ));
    let proxy = Proxy::start(db.cluster.port());
    let mut definition = table(&db, &proxy);
    definition.primary_key.clear();
    let mut engine = Engine::start(&[definition], Durable::default());
    for _ in 0..2 {
        let before = engine.aborted;
        engine.until("a part of the contents", |e| e.staged(1) > 0);
        proxy.lead_to(db.cluster.port());
        engine.until("the end of that part", |e| e.aborted > before);
        assert_eq!((engine.staged(1), engine.snapshots), (0, 0), "nothing of it stays");
    }
    engine.until("the contents", |e| e.snapshots == 1);
    let rows = &engine.durable.tables[&1].rows;
    assert!(rows.len() == ROWS && rows.values().all(|(_, count)| *count == 1), "{} rows", rows.len());
    db.sql("DELETE FROM t WHERE id > 1; UPDATE t SET v = 'last'");
    engine.until("the changes", |e| e.durable.tables[&1].rows.len() == 1 && e.commits > 0);
    engine.until_rows(1, &["1|last"]);
    assert_eq!((engine.snapshots, engine.missed), (1, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_connection_that_is_forgotten_on_the_way_is_told_and_made_again() {
    let db = prepared("forgotten");
    let proxy = Proxy::start(db.cluster.port());
    let url = format!("jdbc:postgresql://source-host:{}/forgotten?socketTimeout=2", proxy.port());
    let definition = std::sync::Arc::new(with(report(&db, &columns(), &["Region", "day"]), "url", &url));
    let writer = SinkWriter { store: 1, sink: "ads".into(), history: 1, written: false };
    let mut sink = JdbcWriter::new(&context()).open(definition, writer).unwrap();
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    proxy.forget();
    let cut = sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Unavailable, "{cut}");
    let place = format!("postgresql at source-host:{0} (mapped to 127.0.0.1:{0})", proxy.port());
    assert_eq!(
        cut.message(),
        format!("sink public.report: the connection to {place} is cut: the server knows nothing of what is waited for")
    );
    let at = sink.position().unwrap();
    assert_eq!(at, CommitId(1), "the server never saw it");
    sink.write(at, CommitId(2), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap();
    assert_eq!(contents(&db), "a|1 b|2");
}

#[test]
fn a_frozen_sink_is_given_up_and_knows_what_was_committed() {
    let db = prepared("frozen_sink");
    let proxy = Proxy::start(db.cluster.port());
    let definition = report(&db, &columns(), &["Region", "day"]);
    let url = format!("jdbc:postgresql://source-host:{}/frozen_sink?socketTimeout=2", proxy.port());
    let definition = std::sync::Arc::new(with(definition, "url", &url));
    let writer = SinkWriter { store: 1, sink: "ads".into(), history: 1, written: false };
    let mut sink = JdbcWriter::new(&context()).open(definition, writer).unwrap();
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    // The server works on it for longer than the silence: that is no reason to give up.
    let slow = db.clone();
    let hold = |seconds: u32| {
        let db = slow.clone();
        let held = std::thread::spawn(move || {
            db.sql(&format!("BEGIN; LOCK TABLE report IN SHARE MODE; SELECT pg_sleep({seconds}); COMMIT"))
        });
        slow.until_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'frozen_sink' AND wait_event = 'PgSleep'",
        );
        held
    };
    let held = hold(4);
    sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap();
    held.join().unwrap();
    // The server commits, and its answer never comes.
    let held = hold(3);
    let thaw = std::thread::spawn({
        let (db, freezer) = (db.clone(), std::sync::Arc::new(proxy));
        let proxy = freezer.clone();
        move || {
            db.until_one(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'frozen_sink' AND wait_event_type = 'Lock'",
            );
            freezer.freeze(true);
            proxy
        }
    });
    let lost = sink.write(CommitId(2), CommitId(3), &[rows(RowKind::Insert, &[("c", 3)])]).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost}");
    assert!(lost.message().contains("sink public.report"), "{lost}");
    held.join().unwrap();
    let proxy = thaw.join().unwrap();
    assert_eq!(sink.position().unwrap_err().kind(), ErrorKind::Unavailable);
    proxy.freeze(false);
    assert_eq!(sink.position().unwrap(), CommitId(3), "the commit that nobody answered for");
    sink.write(CommitId(3), CommitId(4), &[rows(RowKind::Insert, &[("d", 4)])]).unwrap();
    assert_eq!(contents(&db), "a|1 b|2 c|3 d|4");
}
