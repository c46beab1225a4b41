//! Several that write one table, and a table that is another one than was written: nobody goes on with rows that are not what it
//! wrote.

use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::{CommitId, Error, ErrorKind, TypeKind, Value};
use gridhouse_flow::connector::{Sink, SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{Db, context};
use crate::sink::{columns, contents, open, prepared, rows};
use crate::sink_faults::{conflict, lines, open_log, typed};
use crate::types::batch;

/// A sink of store 1 under a name.
fn named(db: &Db, sink: &str, key: &[&str]) -> Box<dyn Sink> {
    let writer = SinkWriter { store: 1, sink: sink.into(), history: 1, written: false };
    JdbcWriter::new(&context()).open(Arc::new(report(db, &columns(), key)), writer).unwrap()
}

#[test]
fn an_owner_that_comes_back_does_not_go_on_with_what_another_one_wrote() {
    let db = prepared("sink_back");
    let (mut first, mut second) = (open(&db, 1), open(&db, 2));
    first.position().unwrap();
    first.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    // One that has claimed the table and written nothing is in nobody's way.
    assert_eq!(second.position().unwrap(), CommitId(0));
    assert_eq!(first.position().unwrap(), CommitId(4));
    assert_eq!(second.position().unwrap(), CommitId(0));
    second.write(CommitId(0), CommitId(3), &[rows(RowKind::Insert, &[("b", 9), ("c", 3)])]).unwrap();

    let told = conflict(first.position());
    assert_eq!(
        told.0,
        "table public.report was written by another data directory (process 7 on host here, data directory /data) up to commit 3 of \
         its own, since this one wrote it up to commit 4: what that one changed would stay, or be there twice"
    );
    assert_eq!(conflict(open(&db, 1).position()), told);
    second.write(CommitId(3), CommitId(5), &[rows(RowKind::Insert, &[("d", 4)])]).expect("nobody has fenced it");
    db.sql(typed(&told.1, "to have it written anew, type there `"));
    assert_eq!(first.position().unwrap(), CommitId(0));
    first.write(CommitId(0), CommitId(6), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    assert_eq!(contents(&db), "a|1 b|2");
    // And it is as it was, for its own restarts.
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(6));

    let told = conflict(second.position());
    db.sql(typed(&told.1, "to go on with its rows as they are, type there `"));
    assert_eq!(second.position().unwrap(), CommitId(5));
    assert_eq!(contents(&db), "a|1 b|2");
}

#[test]
fn a_claim_that_is_refused_fences_nobody() {
    let db = prepared("sink_refused");
    let (mut owner, mut copy) = (open(&db, 1), open(&db, 1));
    owner.position().unwrap();
    owner.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    let refused = copy.claim(&|standing| {
        assert_eq!((standing.upto, standing.history), (CommitId(4), Some(1)));
        Err(Error::conflict(format!("type there `{}`", standing.emptied_by.as_deref().unwrap())))
    });
    let told = conflict(refused.map_err(|error| error.hint("none")));
    owner.write(CommitId(4), CommitId(5), &[rows(RowKind::Insert, &[("b", 2)])]).expect("nobody has fenced it");
    db.sql(typed(&told.0, "type there `"));
    copy.claim(&|standing| {
        assert_eq!((standing.upto, standing.history), (CommitId(0), None));
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_owner_that_comes_back_to_a_table_without_a_key_adds_nothing_to_what_another_one_wrote() {
    let db = Db::new("sink_back_keyless");
    db.sql("CREATE TABLE report (line text)");
    let (mut first, mut second) = (open_log(&db, 1, false, "postgres"), open_log(&db, 2, false, "postgres"));
    first.position().unwrap();
    first.write(CommitId(0), CommitId(4), &[lines(&["a", "b"])]).unwrap();
    db.sql("TRUNCATE report");
    assert_eq!(second.position().unwrap(), CommitId(0));
    second.write(CommitId(0), CommitId(3), &[lines(&["a", "b", "c"])]).unwrap();
    let told = conflict(first.position());
    assert!(told.0.contains("was written by another data directory"), "{told:?}");
    db.sql(typed(&told.1, "to have it written anew, type there `"));
    assert_eq!(first.position().unwrap(), CommitId(0));
    first.write(CommitId(0), CommitId(5), &[lines(&["a", "b", "c"])]).unwrap();
    assert_eq!(db.sql("SELECT string_agg(line, ' ' ORDER BY line) FROM report"), "a b c");
}

#[test]
fn all_sinks_of_a_table_that_is_emptied_fill_it_again_whoever_looks_first() {
    let db = prepared("sink_siblings");
    let key = &["Region", "day"];
    let (mut north, mut south, mut log) = (named(&db, "north", key), named(&db, "south", key), named(&db, "log", &[]));
    for (sink, region) in [(&mut north, "n"), (&mut south, "s"), (&mut log, "l")] {
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[(region, 1)])]).unwrap();
    }
    db.sql("TRUNCATE report");
    assert_eq!(north.position().unwrap(), CommitId(0));
    north.write(CommitId(0), CommitId(5), &[rows(RowKind::Insert, &[("n", 1)])]).unwrap();
    // One that is at work is told with its next write, and one that is not as it begins.
    let again = south.write(CommitId(4), CommitId(5), &[rows(RowKind::Insert, &[("s2", 2)])]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable, "{again}");
    for mut sink in [named(&db, "south", key), south] {
        assert_eq!(sink.position().unwrap(), CommitId(0));
    }
    assert_eq!(named(&db, "north", key).position().unwrap(), CommitId(5), "that one has");
    assert_eq!(log.position().unwrap(), CommitId(4), "what is only added to is not filled again");
}

#[test]
fn a_table_that_was_replaced_is_filled_again_though_a_failure_and_a_restart_come_between() {
    let db = prepared("sink_replaced");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    db.sql("CREATE TABLE older AS SELECT * FROM report WHERE region = 'a'; DROP TABLE report; ALTER TABLE older RENAME TO report");
    let change = [rows(RowKind::Insert, &[("c", 3)])];
    assert_eq!(sink.write(CommitId(4), CommitId(5), &change).unwrap_err().kind(), ErrorKind::Unavailable);
    let keyless = sink.position().unwrap_err();
    assert_eq!(keyless.kind(), ErrorKind::Invalid, "{keyless}");
    db.sql(keyless.remedy().unwrap());
    let mut sink = open(&db, 1);
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(5), &[rows(RowKind::Insert, &[("a", 1), ("b", 2), ("c", 3)])]).unwrap();
    assert_eq!(contents(&db), "a|1 b|2 c|3");
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(5), "once is enough");

    // Restored together with the bookkeeping, it is what that says.
    db.sql(
        "CREATE TABLE a (LIKE report INCLUDING ALL); INSERT INTO a SELECT * FROM report; \
         CREATE TABLE b (LIKE gridhouse_sink INCLUDING ALL); INSERT INTO b SELECT * FROM gridhouse_sink; \
         DROP TABLE report, gridhouse_sink; ALTER TABLE a RENAME TO report; ALTER TABLE b RENAME TO gridhouse_sink",
    );
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(5));
    // And an entry of an earlier version does not tell.
    db.sql(
        "UPDATE gridhouse_sink SET shape = regexp_replace(shape, '^(\\d+)[^\\n]*', '\\1'); \
         CREATE TABLE a (LIKE report INCLUDING ALL); INSERT INTO a SELECT * FROM report; \
         DROP TABLE report; ALTER TABLE a RENAME TO report",
    );
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(5));
}

#[test]
fn the_history_that_wrote_is_known_before_there_are_rows() {
    let db = prepared("sink_history");
    db.sql("INSERT INTO report VALUES ('own', '2020-01-01', 1)");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    assert_eq!((sink.history(), sink.was_filled()), (None, false));
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Delete, &[("a", 1)])]).unwrap();
    assert_eq!((sink.history(), sink.was_filled()), (Some(1), false));
    let known = |at: u64| {
        let mut sink = open(&db, 1);
        assert_eq!(sink.position().unwrap(), CommitId(at));
        (sink.history(), sink.was_filled())
    };
    assert_eq!(known(4), (Some(1), false));
    // As an earlier version left it.
    db.sql("UPDATE gridhouse_sink SET history = NULL");
    assert_eq!(known(4), (None, false));
    sink.position().unwrap();
    sink.write(CommitId(4), CommitId(5), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(db.sql("SELECT history FROM gridhouse_sink"), "0000000000000001", "as an earlier version reads it");
    assert_eq!(known(5), (Some(1), true));
}

#[test]
fn wide_rows_go_in_as_many_statements_as_have_room() {
    let db = Db::new("sink_wide");
    db.sql("CREATE TABLE report (id bigint PRIMARY KEY, body text)");
    let columns = [("id", TypeKind::BigInt), ("body", TypeKind::STRING)];
    let writer = SinkWriter { store: 1, sink: "ads".into(), history: 1, written: false };
    let mut sink = JdbcWriter::new(&context()).open(Arc::new(report(&db, &columns, &["id"])), writer).unwrap();
    sink.position().unwrap();
    // Of 80 MB, in one batch and in batches of which one alone would do.
    let body = "x".repeat(2 << 20);
    let rows = |ids: std::ops::Range<i64>| {
        let row = |id| vec![Value::Integer(id), Value::Text(body.as_str().into())];
        batch(&columns, &ids.map(row).collect::<Vec<_>>(), RowKind::Insert)
    };
    sink.write(CommitId(0), CommitId(1), &[rows(0..40)]).unwrap();
    sink.write(CommitId(1), CommitId(2), &[rows(40..60), rows(60..80)]).unwrap();
    let told = "SELECT xmin::text, count(*), count(DISTINCT cmin::text) > 1, min(length(body)) FROM report GROUP BY 1 ORDER BY min(id)";
    let written: Vec<String> = db.sql(told).lines().map(|line| line.split_once('|').unwrap().1.to_owned()).collect();
    assert_eq!(written, ["40|t|2097152", "40|t|2097152"]);
    assert_eq!(sink.position().unwrap(), CommitId(2));
}

#[test]
fn what_stands_under_the_name_is_told_and_the_exact_schema_comes_first() {
    let db = prepared("sink_name");
    db.sql("CREATE SCHEMA \"Public\"; CREATE TABLE \"Public\".report (LIKE report INCLUDING ALL)");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
    db.sql("DROP SCHEMA \"Public\" CASCADE; ALTER TABLE report SET UNLOGGED");
    let unlogged = sink.position().unwrap_err();
    assert_eq!(unlogged.message(), "table public.report is unlogged: a crash of its server empties it");
    db.sql(unlogged.remedy().unwrap());
    assert_eq!(sink.position().unwrap(), CommitId(4));
    db.sql("ALTER TABLE report RENAME TO rows; CREATE VIEW report AS SELECT * FROM rows");
    let view = sink.position().unwrap_err();
    assert_eq!(view.message(), "public.report is no table, and a sink writes tables alone");
}
