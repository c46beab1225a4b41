//! What becomes of a sink when its table or its bookkeeping is changed by someone else: written anew where that is right, else
//! told with the remedy.

use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, ErrorKind, TypeKind, Value};
use gridhouse_flow::connector::{Sink, SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{Db, context, with};
use crate::sink::{columns, contents, open, prepared, rows};
use crate::types::batch;

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
    let told = |sink: &mut Box<dyn Sink>, sql: &str| {
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

const LINE: [(&str, TypeKind); 1] = [("line", TypeKind::STRING)];

/// A sink that only adds to its table, as a store that remembers or not that it wrote it, under a role.
fn open_log(db: &Db, store: u128, written: bool, role: &str) -> Box<dyn Sink> {
    let definition = with(with(report(db, &LINE, &[]), "username", role), "password", role);
    let writer = SinkWriter { store, sink: "log".into(), history: 1, written };
    JdbcWriter::new(&context()).open(Arc::new(definition), writer).unwrap()
}

fn lines(lines: &[&str]) -> KindBatch {
    let line = |line: &&str| vec![Value::Text((*line).into())];
    batch(&LINE, &lines.iter().map(line).collect::<Vec<_>>(), RowKind::Insert)
}

fn conflict(refused: Result<CommitId, Error>) -> (String, String) {
    let error = refused.expect_err("rows would be there twice");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    (error.message().to_owned(), error.remedy().expect("it has a remedy").to_owned())
}

#[test]
fn rows_without_a_key_are_never_written_again_beside_those_that_are_there() {
    let db = Db::new("sink_keyless");
    // Rows of the user's own are added to.
    db.sql("CREATE TABLE report (line text); INSERT INTO report VALUES ('own')");
    let written = || db.sql("SELECT string_agg(line, ' ' ORDER BY line) FROM report");
    let mut sink = open_log(&db, 1, false, "postgres");
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(4), &[lines(&["a"])]).unwrap();
    assert_eq!(written(), "a own");

    // Somebody deletes the entry under the sink, and while nobody is connected.
    db.sql("DELETE FROM gridhouse_sink");
    let gone = sink.write(CommitId(4), CommitId(5), &[lines(&["b"])]).unwrap_err();
    assert!(gone.message().ends_with("in gridhouse_sink is gone; it is claimed anew"), "{gone}");
    let told = conflict(sink.position());
    let entry = "the entry of sink log in \"public\".\"gridhouse_sink\" is gone, but table public.report";
    assert_eq!(
        told.0,
        format!("{entry} holds rows: it was restored without it, or somebody deleted the entry"),
        "{told:?}"
    );
    assert_eq!(
        told.1,
        "empty the table there, and it is written anew: TRUNCATE \"public\".\"report\"; then START JOB here"
    );
    let mut again = open_log(&db, 1, true, "postgres");
    assert_eq!(conflict(again.position()), told);
    assert_eq!(db.sql("SELECT count(*) FROM gridhouse_sink"), "0", "nothing is claimed");

    // A role that may only add does not see whether there are rows.
    db.sql("CREATE ROLE adder LOGIN PASSWORD 'adder'; GRANT INSERT ON report TO adder; GRANT ALL ON gridhouse_sink TO adder");
    let blind = conflict(open_log(&db, 1, true, "adder").position());
    assert_eq!(blind.0, format!("{entry} may hold rows that it wrote, which role 'adder' may not look at"));
    assert_eq!(blind.1, "type there `GRANT SELECT ON public.report TO adder`; then START JOB here");
    assert_eq!(open_log(&db, 3, false, "adder").position().unwrap(), CommitId(0), "a first one needs not look");
    db.sql("DELETE FROM gridhouse_sink; GRANT SELECT ON report TO adder");
    assert_eq!(conflict(open_log(&db, 1, true, "adder").position()), told);
    db.sql("TRUNCATE \"public\".\"report\"");
    assert_eq!(again.position().unwrap(), CommitId(0));
    again.write(CommitId(0), CommitId(5), &[lines(&["a", "b"])]).unwrap();

    // Another data directory comes with the same script.
    let mut other = open_log(&db, 2, false, "postgres");
    let twice = conflict(other.position());
    assert_eq!(
        twice.0,
        "table public.report was written by another data directory (process 7 on host here, data directory /data) up to commit 5, \
         and holds rows: it has no key, so that what both write would be there twice"
    );
    again.write(CommitId(5), CommitId(6), &[lines(&["c"])]).unwrap();
    assert_eq!(written(), "a b c", "the one that wrote it is not fenced by one that may not");
    let (_, anew) = twice.1.split_once("type there `").unwrap();
    let (anew, on_purpose) = anew.split_once('`').unwrap();
    let (truncate, forget) = anew.split_once("; ").unwrap();
    assert_eq!(on_purpose, "; to add to its rows on purpose, the DELETE alone; then START JOB here");
    // On purpose.
    db.sql(forget);
    assert_eq!(other.position().unwrap(), CommitId(0));
    other.write(CommitId(0), CommitId(1), &[lines(&["d"])]).unwrap();
    assert_eq!(written(), "a b c d");
    assert_eq!(other.position().unwrap(), CommitId(1));
    // Anew.
    conflict(open_log(&db, 4, false, "postgres").position());
    db.sql(truncate);
    assert_eq!(open_log(&db, 4, false, "postgres").position().unwrap(), CommitId(0));
}
