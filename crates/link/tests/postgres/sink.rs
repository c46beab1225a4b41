//! The sink: exactly once, fenced, and clear about rows that do not fit.

use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, ErrorKind, TypeKind, Value};
use gridhouse_flow::connector::{Sink, SinkConnector, SinkWriter};
use gridhouse_link::{JdbcWriter, LinkContext, Owner};

use crate::describe::report;
use crate::setup::{Db, context, with};
use crate::types::batch;

pub fn columns() -> [(&'static str, TypeKind); 3] {
    [("Region", TypeKind::STRING), ("day", TypeKind::Date), ("orders", TypeKind::BigInt)]
}

pub fn open(db: &Db, store: u128) -> Box<dyn Sink> {
    let definition = Arc::new(report(db, &columns(), &["Region", "day"]));
    JdbcWriter::new(&context())
        .open(definition, SinkWriter { store, sink: "ads".into(), history: 1, written: false })
        .unwrap()
}

pub fn rows(kind: RowKind, rows: &[(&str, i64)]) -> KindBatch {
    let row = |(region, orders): &(&str, i64)| {
        vec![Value::Text((*region).into()), Value::Integer(20_000), Value::Integer(*orders)]
    };
    batch(&columns(), &rows.iter().map(row).collect::<Vec<_>>(), kind)
}

pub fn prepared(name: &str) -> Db {
    let db = Db::new(name);
    db.sql("CREATE TABLE report (region varchar(10), day date, orders int, PRIMARY KEY (region, day))");
    db
}

pub fn contents(db: &Db) -> String {
    db.sql("SELECT region, orders FROM report ORDER BY 1").replace('\n', " ")
}

#[test]
fn a_commit_is_written_once_and_the_position_survives() {
    let db = prepared("sink_once");
    let mut sink = open(&db, 1);
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    let changes = [rows(RowKind::UpdateAfter, &[("a", 5), ("c", 3)]), rows(RowKind::Delete, &[("b", 2)])];
    sink.write(CommitId(4), CommitId(9), &changes).unwrap();
    assert_eq!(contents(&db), "a|5 c|3");
    // A commit without rows moves the position only.
    sink.write(CommitId(9), CommitId(10), &[]).unwrap();
    // The same stretch again is refused, whole.
    let again = sink.write(CommitId(4), CommitId(9), &[rows(RowKind::Insert, &[("z", 1)])]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable);
    assert_eq!(
        again.message(),
        "sink public.report stands at commit 10 instead of 4: its database was restored; it is claimed anew"
    );
    assert_eq!(contents(&db), "a|5 c|3");
    assert_eq!(sink.position().unwrap(), CommitId(10));
    sink.write(CommitId(10), CommitId(11), &[rows(RowKind::Delete, &[("a", 0)])]).unwrap();
    assert_eq!(contents(&db), "c|3");
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(11));
}

/// The sink as a process of that number writes it, under a role.
fn open_as(db: &Db, store: u128, process: u32, role: &str) -> Box<dyn Sink> {
    let owner = Owner { host: "east".into(), process, data_dir: format!("/data/{store}") };
    let definition = report(db, &columns(), &["Region", "day"]);
    let definition =
        if role.is_empty() { definition } else { with(with(definition, "username", role), "password", role) };
    let writer = SinkWriter { store, sink: "ads".into(), history: 1, written: false };
    JdbcWriter::new(&LinkContext { owner, ..context() }).open(Arc::new(definition), writer).unwrap()
}

/// What a sink says whose write is refused.
fn fenced(sink: &mut dyn Sink, from: u64) -> String {
    let change = [rows(RowKind::Insert, &[("a", 9)])];
    let error = sink.write(CommitId(from), CommitId(from + 1), &change).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    error.message().to_owned()
}

#[test]
fn a_fenced_owner_names_the_newer_one_where_the_books_tell() {
    let db = prepared("sink_owners");
    // As an earlier version, or an administrator, made it, for a role that may not change it.
    db.sql(
        "CREATE TABLE gridhouse_sink (store text, sink text, target text NOT NULL, upto bigint NOT NULL, epoch bigint NOT NULL, \
         claimed_at timestamptz NOT NULL DEFAULT now(), history text, PRIMARY KEY (store, sink)); \
         CREATE ROLE book_writer LOGIN PASSWORD 'book_writer'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
         GRANT SELECT, INSERT, UPDATE ON gridhouse_sink TO book_writer; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON report TO book_writer",
    );
    let column =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'gridhouse_sink'::regclass AND attname = 'claimed_by'";
    let mut first = open_as(&db, 1, 11, "book_writer");
    assert_eq!(first.position().unwrap(), CommitId(0));
    first.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    let mut second = open_as(&db, 1, 12, "book_writer");
    assert_eq!(second.position().unwrap(), CommitId(1));
    let told = fenced(&mut *first, 1);
    let nameless = "sink public.report is fenced: another process has taken it over (claimed 20";
    assert!(told.starts_with(nameless) && told.ends_with(" UTC)"), "{told}");
    assert_eq!(db.sql(column), "0");

    // Its owner adds what is missing, and the role goes on with it.
    let mut third = open_as(&db, 1, 13, "");
    assert_eq!(third.position().unwrap(), CommitId(1));
    assert_eq!(db.sql(column), "1");
    let taken = |told: &str, store: u32, process: u32| {
        let who = format!(
            "sink public.report is fenced: another process has taken it over: process {process} on host east, data directory \
             /data/{store} (claimed 20"
        );
        assert!(told.starts_with(&who) && told.ends_with(" UTC)"), "{told}");
    };
    taken(&fenced(&mut *second, 1), 1, 13);
    let mut other = open_as(&db, 2, 14, "book_writer");
    assert_eq!(other.position().unwrap(), CommitId(0));
    taken(&fenced(&mut *third, 1), 2, 14);
    assert_eq!(second.position().unwrap(), CommitId(1));
    taken(&fenced(&mut *other, 0), 1, 12);
    second.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("a", 2)])]).unwrap();
    assert_eq!(contents(&db), "a|2");
}

#[test]
fn the_older_of_two_owners_is_fenced() {
    let db = prepared("sink_fence");
    let (mut old, mut new, mut other_store) = (open(&db, 1), open(&db, 1), open(&db, 2));
    old.position().unwrap();
    old.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(new.position().unwrap(), CommitId(1));
    let fenced = old.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("a", 99)])]).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Conflict);
    assert!(
        fenced.message().starts_with("sink public.report is fenced: another process has taken it over"),
        "{fenced}"
    );
    new.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("a", 2)])]).unwrap();
    assert_eq!(contents(&db), "a|2");
    // Another store that claims the same table fences this one; its commits count from 0.
    assert_eq!(other_store.position().unwrap(), CommitId(0));
    assert_eq!(new.write(CommitId(2), CommitId(3), &[]).unwrap_err().kind(), ErrorKind::Conflict);
    other_store.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 3)])]).unwrap();
    assert_eq!(contents(&db), "a|3");
}

#[test]
fn a_row_that_does_not_fit_is_named_and_nothing_is_written() {
    let db = prepared("sink_misfit");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    let many: Vec<(String, i64)> = (0..1000).map(|i| (format!("r{i}"), if i == 777 { 1 << 40 } else { i })).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(region, n)| (region.as_str(), *n)).collect();
    let error = sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &many)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.message(),
        "sink public.report, column orders, row (region = r777, day = 2024-10-04): integer out of range"
    );
    let remedy = |error: &Error| {
        let remedy = error.remedy().unwrap();
        let rest = " there, or make the value fit in the query; then START JOB";
        remedy.strip_suffix(rest).unwrap_or_else(|| panic!("{remedy}")).to_owned()
    };
    assert_eq!(remedy(&error), "ALTER TABLE \"public\".\"report\" ALTER COLUMN \"orders\" TYPE bigint");
    let long =
        sink.position().and_then(|at| sink.write(at, CommitId(1), &[rows(RowKind::Insert, &[("much too long", 1)])]));
    let long = long.unwrap_err();
    assert_eq!(
        long.message(),
        "sink public.report, column region, row (region = much too long, day = 2024-10-04): \
         value too long for type character varying(10)"
    );
    assert_eq!(contents(&db), "");
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
    // The statements of the messages, as they stand.
    db.sql(&format!("{}; {}", remedy(&error), remedy(&long)));
    assert_eq!(sink.position().unwrap(), CommitId(1));
    sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("much too long", 1 << 40)])]).unwrap();
    assert_eq!(contents(&db), "a|1 much too long|1099511627776");
}

#[test]
fn a_lost_connection_is_told_and_the_sink_goes_on() {
    let db = prepared("sink_lost");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'sink_lost' AND application_name = 'gridhouse'");
    let lost = sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("b", 1)])]).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost}");
    assert_eq!(sink.write(CommitId(1), CommitId(2), &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(sink.position().unwrap(), CommitId(1));
    sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Insert, &[("b", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1 b|1");
}

#[test]
fn rows_that_come_batch_by_batch_are_one_transaction_or_nothing() {
    let db = prepared("sink_batches");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    let many: Vec<(String, i64)> = (0..60_000).map(|i| (format!("r{i}"), i)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(region, n)| (region.as_str(), *n)).collect();
    let batches = |kind| many.chunks(20_000).map(move |some| Ok(rows(kind, some)));
    let damaged = std::iter::once(Err(Error::corrupt("the log is damaged")));
    let error = sink.write_changes(CommitId(0), CommitId(1), &mut batches(RowKind::Insert).chain(damaged)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(contents(&db), "");
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write_changes(CommitId(0), CommitId(1), &mut batches(RowKind::Insert)).unwrap();
    let whole = "SELECT count(*), count(DISTINCT xmin::text), sum(orders) FROM report";
    assert_eq!(db.sql(whole), "60000|1|1799970000");
    // A key may be withdrawn before it is written, in its own batch or an earlier one.
    let again = batches(RowKind::Delete).chain([Ok(rows(RowKind::Insert, &many[..30_000]))]);
    sink.write_changes(CommitId(1), CommitId(2), &mut again.into_iter()).unwrap();
    assert_eq!(db.sql(whole), "30000|1|449985000");
    assert_eq!(sink.position().unwrap(), CommitId(2));
}

#[test]
fn many_rows_are_one_transaction_and_a_table_without_key_is_added_to() {
    let db = prepared("sink_many");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    let many: Vec<(String, i64)> = (0..50_000).map(|i| (format!("r{i}"), i)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(region, n)| (region.as_str(), *n)).collect();
    let before = db.sql("SELECT pg_current_xact_id()::text::bigint");
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &many)]).unwrap();
    assert_eq!(
        db.sql("SELECT count(*), count(DISTINCT xmin::text), sum(orders) FROM report"),
        "50000|1|1249975000",
        "after {before}"
    );
    sink.write(CommitId(1), CommitId(2), &[rows(RowKind::Delete, &many)]).unwrap();
    assert_eq!(contents(&db), "");

    db.sql("CREATE TABLE log (line text); ALTER TABLE report RENAME TO other; ALTER TABLE log RENAME TO report");
    let columns = [("line", TypeKind::STRING)];
    let definition = Arc::new(report(&db, &columns, &[]));
    let mut log = JdbcWriter::new(&context())
        .open(definition, SinkWriter { store: 1, sink: "log".into(), history: 1, written: false })
        .unwrap();
    let position = log.position().unwrap();
    let lines = |kind| batch(&columns, &[vec![Value::Text("x".into())], vec![Value::Text("x".into())]], kind);
    log.write(position, CommitId(1), &[lines(RowKind::Insert)]).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM report"), "2");
    let refused = log.write(CommitId(1), CommitId(2), &[lines(RowKind::Delete)]).unwrap_err();
    assert_eq!(refused.message(), "table public.report is declared without a key and can only be added to");
}
