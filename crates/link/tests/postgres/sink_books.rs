//! The table `gridhouse_sink` altered by somebody: it is told with what mends it, and after that the sink goes on with rows right.

use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::{CommitId, ErrorKind};
use gridhouse_flow::connector::{SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{Db, context, with};
use crate::sink::{columns, contents, open, prepared, rows};
use crate::sink_faults::{conflict, lines, open_log, typed};

/// `gridhouse_sink` as it is after a copy without what is not a row: no key, no default, no `NOT NULL`.
const COPIED: &str = "CREATE TABLE copied AS SELECT * FROM gridhouse_sink; DROP TABLE gridhouse_sink; ALTER TABLE copied RENAME TO gridhouse_sink";

const ADD_KEY: &str = "ALTER TABLE public.gridhouse_sink ADD PRIMARY KEY (store, sink)";

#[test]
fn what_keeps_the_entries_is_mended_by_the_statement_that_is_told() {
    let db = prepared("books_mended");
    let definition = report(&db, &columns(), &["Region", "day"]);
    let cases = [
        (
            "ALTER TABLE gridhouse_sink ALTER upto TYPE numeric",
            "has column upto of the type numeric instead of bigint",
            "ALTER TABLE public.gridhouse_sink ALTER COLUMN upto TYPE bigint USING upto::bigint",
        ),
        (
            "ALTER TABLE gridhouse_sink ALTER upto TYPE int, ALTER epoch TYPE text, ALTER epoch SET DEFAULT 'x'",
            "has column upto of the type integer instead of bigint and has column epoch of the type text instead of bigint",
            "ALTER TABLE public.gridhouse_sink ALTER COLUMN upto TYPE bigint USING upto::bigint, ALTER COLUMN epoch DROP DEFAULT, \
             ALTER COLUMN epoch TYPE bigint USING epoch::bigint",
        ),
        (
            "ALTER TABLE gridhouse_sink ALTER claimed_at TYPE text",
            "has column claimed_at of the type text instead of timestamp with time zone",
            "ALTER TABLE public.gridhouse_sink ALTER COLUMN claimed_at DROP DEFAULT, ALTER COLUMN claimed_at TYPE timestamp with time zone \
             USING claimed_at::timestamp with time zone",
        ),
        (
            "ALTER TABLE gridhouse_sink ALTER history TYPE jsonb USING to_jsonb(history), ALTER target TYPE varchar(20)",
            "has column target of the type character varying(20) instead of text and has column history of the type jsonb instead of text",
            "ALTER TABLE public.gridhouse_sink ALTER COLUMN target TYPE text USING target::text, \
             ALTER COLUMN history TYPE text USING history #>> '{}'",
        ),
        (COPIED, "has no primary key over store and sink", ADD_KEY),
        (
            "ALTER TABLE gridhouse_sink DROP CONSTRAINT gridhouse_sink_pkey, ADD PRIMARY KEY (store, sink) DEFERRABLE",
            "has the deferrable constraint gridhouse_sink_pkey and has no primary key over store and sink",
            "ALTER TABLE public.gridhouse_sink DROP CONSTRAINT gridhouse_sink_pkey, ADD PRIMARY KEY (store, sink)",
        ),
        (
            "ALTER TABLE gridhouse_sink DROP CONSTRAINT gridhouse_sink_pkey, ADD id serial PRIMARY KEY",
            "has no primary key over store and sink",
            "ALTER TABLE public.gridhouse_sink ADD UNIQUE (store, sink)",
        ),
        (
            "ALTER TABLE gridhouse_sink DROP epoch",
            "has no column epoch",
            "ALTER TABLE public.gridhouse_sink ADD COLUMN epoch bigint NOT NULL DEFAULT extract(epoch FROM now())::bigint",
        ),
        (
            "ALTER TABLE gridhouse_sink ADD \"Note\" text NOT NULL DEFAULT ''; ALTER TABLE gridhouse_sink ALTER \"Note\" DROP DEFAULT",
            "has column Note that takes no NULL",
            "ALTER TABLE public.gridhouse_sink ALTER COLUMN \"Note\" DROP NOT NULL",
        ),
    ];
    let mut first = open(&db, 1);
    first.position().unwrap();
    first.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    for (at, (altered, told, mended)) in (1..).zip(cases) {
        db.sql(altered);
        let mut sink = open(&db, 1);
        let refused = sink.position().expect_err(altered);
        assert_eq!(
            (refused.kind(), refused.message(), refused.remedy()),
            (
                ErrorKind::Unavailable,
                format!("table public.gridhouse_sink, in which a sink keeps how far it was written, {told}").as_str(),
                Some(mended)
            )
        );
        let described = JdbcWriter::new(&context()).describe(&definition).expect_err(altered);
        assert_eq!((described.kind(), described.remedy()), (ErrorKind::Invalid, Some(mended)));
        db.sql(mended);
        assert_eq!(sink.position().expect(altered), CommitId(at));
        assert_eq!((sink.history(), sink.was_filled()), (Some(1), true), "{altered}");
        let changes = [rows(RowKind::Insert, &[("b", at as i64)]), rows(RowKind::Delete, &[("a", 1)])];
        sink.write(CommitId(at), CommitId(at + 1), &changes).expect(altered);
        assert_eq!(contents(&db), format!("b|{at}"));
    }
}

#[test]
fn of_entries_that_were_restored_twice_the_newest_stays() {
    let db = prepared("books_doubled");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    db.sql("CREATE TABLE dumped AS SELECT * FROM gridhouse_sink");
    assert_eq!(sink.position().unwrap(), CommitId(4));
    sink.write(CommitId(4), CommitId(5), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap();
    db.sql(COPIED);
    db.sql("INSERT INTO gridhouse_sink SELECT * FROM dumped; INSERT INTO gridhouse_sink SELECT * FROM gridhouse_sink");
    db.sql("INSERT INTO gridhouse_sink (target) VALUES ('public.report')");
    let refused = sink.position().unwrap_err();
    let remedy = refused.remedy().unwrap();
    assert!(remedy.starts_with("DELETE FROM ") && remedy.ends_with(ADD_KEY), "{refused}");
    db.sql(remedy);
    assert_eq!(db.sql("SELECT count(*) FROM gridhouse_sink"), "1");
    assert_eq!(sink.position().unwrap(), CommitId(5));
    sink.write(CommitId(5), CommitId(6), &[rows(RowKind::Delete, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "b|2");
}

#[test]
fn entries_that_tell_nothing_any_more_are_given_up_and_rows_are_there_once() {
    let altered = [
        ("ALTER TABLE gridhouse_sink DROP upto", "has no column upto"),
        ("ALTER TABLE gridhouse_sink DROP sink", "has no column sink"),
        ("ALTER TABLE gridhouse_sink ALTER upto TYPE real", "has column upto of the type real instead of bigint"),
    ];
    for (case, (altered, told)) in altered.into_iter().enumerate() {
        let db = Db::new(&format!("books_lost_{case}"));
        db.sql("CREATE TABLE report (line text)");
        let mut sink = open_log(&db, 1, false, "postgres");
        sink.position().unwrap();
        sink.write(CommitId(0), CommitId(4), &[lines(&["a", "b"])]).unwrap();
        db.sql(altered);
        let refused = sink.position().unwrap_err();
        assert!(refused.message().ends_with(told), "{refused}");
        db.sql(typed(refused.remedy().unwrap(), "type there `"));
        let lost = conflict(sink.position());
        assert!(lost.0.contains("holds rows"), "{lost:?}");
        let (_, emptied) = lost.1.split_once("it is written anew: ").unwrap();
        db.sql(emptied.strip_suffix("; then START JOB here").unwrap());
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(5), &[lines(&["a", "b", "c"])]).unwrap();
        assert_eq!(db.sql("SELECT string_agg(line, ' ' ORDER BY line) FROM report"), "a b c");
    }
}

#[test]
fn an_entry_without_its_commit_is_told_and_another_relation_under_the_name_too() {
    let db = prepared("books_null");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    db.sql("ALTER TABLE gridhouse_sink ALTER upto DROP NOT NULL; UPDATE gridhouse_sink SET upto = NULL");
    let refused = sink.position().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.message().contains("has NULL in column upto"), "{refused}");
    db.sql(typed(refused.remedy().unwrap(), "type there `"));
    assert!(conflict(sink.position()).0.contains("is gone, but table public.report holds rows"));
    db.sql("TRUNCATE report");
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(5), &[rows(RowKind::Insert, &[("b", 2)])]).unwrap();

    db.sql("ALTER TABLE gridhouse_sink RENAME TO entries; CREATE VIEW gridhouse_sink AS SELECT * FROM entries");
    let refused = sink.position().unwrap_err();
    assert!(refused.message().starts_with("public.gridhouse_sink is no table"), "{refused}");
    db.sql(refused.remedy().unwrap());
    db.sql("ALTER TABLE entries RENAME TO gridhouse_sink");
    assert_eq!(sink.position().unwrap(), CommitId(5));
    assert_eq!(contents(&db), "b|2");
}

#[test]
fn what_is_altered_under_a_write_is_told_as_it_is() {
    let db = prepared("books_under");
    let (mut first, mut second) = (open(&db, 1), open(&db, 2));
    first.position().unwrap();
    first.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    second.position().unwrap();
    // Whoever is fenced learns just that, of whatever type the numbers are.
    db.sql("ALTER TABLE gridhouse_sink ALTER upto TYPE numeric, ALTER epoch TYPE int");
    let change = [rows(RowKind::Insert, &[("b", 2)])];
    let fenced = first.write(CommitId(4), CommitId(5), &change).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Conflict, "{fenced}");
    assert!(fenced.message().contains("is fenced"), "{fenced}");
    db.sql("ALTER TABLE gridhouse_sink ALTER upto TYPE bigint, ALTER epoch TYPE bigint");

    db.sql("CREATE TABLE other (LIKE report INCLUDING ALL)");
    let definition = with(report(&db, &columns(), &["Region", "day"]), "table-name", "other");
    let writer = SinkWriter { store: 1, sink: "other".into(), history: 1, written: false };
    let mut other = JdbcWriter::new(&context()).open(Arc::new(definition), writer).unwrap();
    for altered in ["ALTER TABLE gridhouse_sink DROP epoch", "ALTER TABLE gridhouse_sink ALTER epoch TYPE text"] {
        for looks in [true, false] {
            let from = other.position().unwrap();
            db.sql(altered);
            let refused = if looks { other.look(from) } else { other.write(from, CommitId(from.0 + 1), &change) };
            let refused = refused.expect_err(altered);
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
            assert!(refused.message().contains("column epoch"), "{refused}");
            db.sql(refused.remedy().unwrap());
            assert_eq!(other.position().unwrap(), from, "nothing of that write stays");
            other.write(from, CommitId(from.0 + 1), &change).unwrap();
        }
    }
    assert_eq!(db.sql("SELECT region, orders FROM other"), "b|2");
}
