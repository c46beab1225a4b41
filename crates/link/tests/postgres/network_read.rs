//! What `jdbc` tables are read through freezes: each reading ends with an error, and one after it reads all.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, ErrorKind, Result, SourceId, TypeKind, Value};
use gridhouse_flow::connector::{
    LookupConnector, LookupRequest, ScanConnector, ScanRequest, SourceConnector, SourceEvent, SourceTable, StreamPlace,
};
use gridhouse_link::JdbcReader;
use gridhouse_link::testing::Proxy;

use crate::describe::report;
use crate::setup::{Db, context, with};

/// Far more than the buffers on the way hold.
const ROWS: usize = 300_000;

/// Bytes after which a reading is in the midst of them.
const MIDST: u64 = 10_000_000;

/// A database with a table of that many rows, the way to it, and the table as it is read on that way.
fn far(name: &str) -> (Db, Arc<Proxy>, TableDef) {
    let db = Db::new(name);
    db.sql(&format!("CREATE TABLE report AS SELECT n AS id, repeat('x', 200) AS v FROM generate_series(1, {ROWS}) n"));
    let proxy = Arc::new(Proxy::start(db.cluster.port()));
    let url = format!("jdbc:postgresql://source-host:{}/{name}?socketTimeout=2", proxy.port());
    let definition = with(report(&db, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &[]), "url", &url);
    (db, proxy, definition)
}

fn read(definition: &TableDef) -> Result<usize> {
    let request = ScanRequest { columns: vec![0, 1], ..ScanRequest::default() };
    let scan = JdbcReader::new(&context()).scan(definition, &request)?;
    scan.map(|batch| batch.map(|batch| batch.len())).sum()
}

fn told(error: &Error) -> &str {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error.message()
}

#[test]
fn a_scan_that_freezes_is_given_up() {
    let (_db, proxy, definition) = far("frozen_scan");
    proxy.freeze_after(MIDST);
    let error = read(&definition).unwrap_err();
    let place = format!("postgresql at source-host:{0} (mapped to 127.0.0.1:{0})", proxy.port());
    assert!(
        told(&error).starts_with(&format!("table public.report cannot be read: {place} does not answer: ")),
        "{error}"
    );
    // Nor does it hang where it begins, or where the table is described.
    assert!(told(&read(&definition).unwrap_err()).contains("does not answer"));
    let described = SourceConnector::describe(&JdbcReader::new(&context()), &definition);
    assert!(told(&described.unwrap_err()).contains("does not answer"));
    proxy.freeze(false);
    assert_eq!(read(&definition).unwrap(), ROWS);
}

#[test]
fn a_scan_whose_server_waits_in_vain_for_its_rows_to_be_taken_is_given_up() {
    let (db, proxy, definition) = far("stranded_scan");
    proxy.freeze_after(MIDST);
    let strander = std::thread::spawn({
        let proxy = proxy.clone();
        move || {
            while !proxy.is_frozen() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            proxy.strand();
            proxy.freeze(false);
        }
    });
    let error = read(&definition).unwrap_err();
    assert!(told(&error).starts_with("table public.report cannot be read: the connection to postgresql"), "{error}");
    strander.join().unwrap();
    assert_eq!(read(&definition).unwrap(), ROWS, "new connections pass");
    drop(db);
}

#[test]
fn a_server_that_works_for_longer_than_the_silence_is_waited_for() {
    let (db, _proxy, definition) = far("slow_scan");
    db.sql("CREATE VIEW slow AS SELECT 1 AS id, 'x' AS v FROM pg_sleep(7)");
    assert_eq!(read(&with(definition, "table-name", "slow")).unwrap(), 1);
}

#[test]
fn a_job_whose_contents_freeze_waits_and_reads_them_anew() {
    let (_db, proxy, definition) = far("frozen_contents");
    let connector = JdbcReader::new(&context());
    let key = SourceConnector::describe(&connector, &definition).unwrap().stream_key;
    proxy.freeze_after(MIDST);
    let (sender, events) = sync_channel(2);
    let table = SourceTable { id: 4, definition: Arc::new(definition.clone()), snapshot: None };
    let place = StreamPlace { key: &key, definition: &definition, store: 7 };
    let _stream = connector.start(SourceId(1), place, vec![table], None, sender).unwrap();
    let (mut rows, mut aborted, mut waited) = (0, false, false);
    loop {
        match events.recv_timeout(Duration::from_secs(60)).expect("the source says something").1 {
            SourceEvent::SnapshotRows { table: 4, batch } => rows += batch.len(),
            SourceEvent::SnapshotAborted { table: 4 } => (rows, aborted) = (0, true),
            SourceEvent::Waiting { error } => {
                assert!(aborted && told(&error).contains("does not answer"), "{error}");
                waited = true;
                proxy.freeze(false);
            }
            SourceEvent::SnapshotDone { table: 4, .. } | SourceEvent::Connected => {}
            SourceEvent::Finished => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((rows, waited), (ROWS, true));
}

#[test]
fn a_look_up_that_freezes_is_given_up_and_answers_again() {
    let (db, proxy, definition) = far("frozen_lookup");
    db.sql("CREATE INDEX ON report (id)");
    let definition = Arc::new(with(definition, "lookup.max-retries", "0"));
    let request = LookupRequest { keys: vec![0], columns: vec![1] };
    let mut lookup = LookupConnector::open(&JdbcReader::new(&context()), definition, request).unwrap();
    let mut found = || lookup.lookup(&[Value::array_of(&[&Value::Integer(7)], &TypeKind::Int)], 1);
    assert_eq!(found().unwrap().keys.len(), 1);
    proxy.freeze(true);
    // On the connection that it has, and as it makes another.
    for _ in 0..2 {
        let error = found().map(|found| found.keys.len()).unwrap_err();
        assert!(told(&error).contains("answer"), "{error}");
    }
    proxy.freeze(false);
    assert_eq!(found().unwrap().keys.len(), 1);
}
