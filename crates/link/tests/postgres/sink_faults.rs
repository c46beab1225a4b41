//! What becomes of a sink when its table or its bookkeeping is changed by someone else: written anew where that is right, else
//! told with the remedy.

use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::{CommitId, ErrorKind};
use gridhouse_flow::connector::{SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{context, with};
use crate::sink::{columns, contents, open, prepared, rows};

const TABLE: &str = "CREATE TABLE report (region varchar(10), day date, orders int, PRIMARY KEY (region, day))";

#[test]
fn a_table_that_was_made_anew_or_emptied_is_written_from_the_start() {
    let db = prepared("sink_remade");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    assert_eq!(sink.history(), Some(1));
    db.sql(&format!("DROP TABLE report; {TABLE}"));
    let refused = sink.write(CommitId(4), CommitId(5), &[rows(RowKind::Insert, &[("c", 3)])]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(
        refused.message(),
        "table public.report was dropped or replaced while it was written; it is looked at again"
    );
    assert_eq!(contents(&db), "", "nothing of that write stays");
    assert_eq!((sink.position().unwrap(), sink.history()), (CommitId(0), Some(1)));
    sink.write(CommitId(0), CommitId(5), &[rows(RowKind::Insert, &[("a", 1), ("b", 2), ("c", 3)])]).unwrap();
    // Filled by someone else meanwhile: its rows are not those that were written.
    db.sql(&format!("DROP TABLE report; {TABLE}; INSERT INTO report VALUES ('x', '2024-10-04', 9)"));
    sink.write(CommitId(5), CommitId(6), &[]).unwrap_err();
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(6), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1 x|9");
    // Emptied while nobody was connected.
    db.sql("TRUNCATE report");
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(0));
}

#[test]
fn a_changed_table_is_told_with_its_remedy() {
    let db = prepared("sink_changed");
    let mut sink = open(&db, 1);
    let told = |sink: &mut Box<dyn gridhouse_flow::connector::Sink>, sql: &str| {
        let at = sink.position().unwrap();
        db.sql(sql);
        let first = sink.write(at, CommitId(at.0 + 1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap_err();
        assert_eq!(first.kind(), ErrorKind::Unavailable, "{first}");
        let error = sink.position().expect_err("the table does not fit");
        format!("{error} [{}]", error.remedy().unwrap_or_default())
    };
    let renamed = told(&mut sink, "ALTER TABLE report RENAME orders TO n");
    assert!(renamed.contains("table public.report has no column 'orders'"), "{renamed}");
    db.sql("ALTER TABLE report RENAME n TO orders");
    let keyless = told(&mut sink, "ALTER TABLE report DROP CONSTRAINT report_pkey");
    assert!(keyless.contains("has no primary key and no unique index"), "{keyless}");
    assert!(keyless.contains("ALTER TABLE public.report ADD PRIMARY KEY"), "{keyless}");
    db.sql("ALTER TABLE report ADD PRIMARY KEY (region, day)");
    let added = told(&mut sink, "ALTER TABLE report ADD needed int NOT NULL");
    assert_eq!(
        added,
        "column public.report.needed is NOT NULL without a default, and default_catalog.default_database.report does not declare it \
         [declare it, or ALTER TABLE public.report ALTER COLUMN needed DROP NOT NULL]"
    );
    db.sql(added.rsplit_once(" or ").unwrap().1.trim_end_matches(']'));
    let dropped = told(&mut sink, "DROP TABLE report");
    assert!(
        dropped.contains("has no table 'public.report'") && dropped.contains("CREATE TABLE public.report"),
        "{dropped}"
    );
    db.sql(TABLE);
    let at = sink.position().unwrap();
    sink.write(at, CommitId(9), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
}

#[test]
fn a_role_that_may_not_keep_the_books_is_told_how_it_may() {
    let db = prepared("sink_books");
    db.sql("CREATE ROLE bookless LOGIN PASSWORD 'bookless'; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    db.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON report TO bookless");
    let definition = with(report(&db, &columns(), &["Region", "day"]), "username", "bookless");
    let definition = Arc::new(with(definition, "password", "bookless"));
    let writer = SinkWriter { store: 1, sink: "ads".into(), history: 1, written: false };
    let mut sink = JdbcWriter::new(&context()).open(definition, writer).unwrap();
    let refused = sink.position().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(
        refused.message(),
        "role 'bookless' may not create the table public.gridhouse_sink, in which a sink keeps how far it was written"
    );
    assert_eq!(refused.remedy(), Some("GRANT CREATE ON SCHEMA public TO bookless"));
    db.sql(refused.remedy().unwrap());
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
}

#[test]
fn a_database_that_was_restored_is_claimed_anew() {
    let db = prepared("sink_restored");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    let backup = "CREATE TABLE saved AS SELECT * FROM report; CREATE TABLE saved_books AS SELECT * FROM gridhouse_sink";
    db.sql(backup);
    sink.write(CommitId(4), CommitId(7), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap();
    db.sql("DELETE FROM report; INSERT INTO report SELECT * FROM saved; DELETE FROM gridhouse_sink; INSERT INTO gridhouse_sink SELECT * FROM saved_books");
    let refused = sink.write(CommitId(7), CommitId(8), &[]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(
        refused.message(),
        "sink public.report stands at commit 4 instead of 7: its database was restored; it is claimed anew"
    );
    assert_eq!(sink.position().unwrap(), CommitId(4), "from here the rows are written again");
    // Without its bookkeeping nobody knows what its rows are.
    db.sql("DELETE FROM gridhouse_sink");
    let gone = sink.write(CommitId(4), CommitId(8), &[]).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
    assert_eq!(sink.position().unwrap_err().kind(), ErrorKind::Conflict, "it has written them itself");
    let definition = Arc::new(report(&db, &columns(), &["Region", "day"]));
    let writer = SinkWriter { store: 1, sink: "ads".into(), history: 2, written: true };
    let mut known = JdbcWriter::new(&context()).open(definition, writer).unwrap();
    let unknown = known.position().unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Conflict);
    assert!(unknown.message().contains("but table public.report holds rows"), "{unknown}");
    assert!(unknown.remedy().unwrap().contains("TRUNCATE \"public\".\"report\""), "{unknown:?}");
    db.sql("TRUNCATE report");
    assert_eq!(known.position().unwrap(), CommitId(0));
}

#[test]
fn who_holds_a_lock_is_told() {
    let db = prepared("sink_locked");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    let holder = db.clone();
    let hold = std::thread::spawn(move || {
        holder.sql("BEGIN; LOCK TABLE report IN SHARE MODE; SELECT pg_sleep(60); COMMIT");
    });
    db.until_one("SELECT count(*) FROM pg_stat_activity WHERE datname = 'sink_locked' AND wait_event = 'PgSleep'");
    let waits = sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::Unavailable);
    assert!(waits.message().starts_with("sink public.report waits: a lock on it is held by process "), "{waits}");
    assert!(waits.remedy().unwrap().contains("SELECT pg_terminate_backend("), "{waits:?}");
    db.sql(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = 'sink_locked' AND wait_event = 'PgSleep'",
    );
    assert!(hold.join().is_err(), "the holder was told to give up");
    let at = sink.position().unwrap();
    sink.write(at, CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
}
