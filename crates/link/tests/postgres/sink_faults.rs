//! What becomes of a sink when its table or its bookkeeping is changed by someone else: written anew where that is right, else
//! told with the remedy.

use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, ErrorKind, TypeKind, Value};
use gridhouse_flow::connector::{Sink, SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::setup::{Db, context, decimal, with};
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
    let mut sink = JdbcWriter::new(&context()).open(definition.clone(), writer).unwrap();
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

    // Taken back under the sink.
    let on_table = "GRANT SELECT, INSERT, UPDATE ON public.gridhouse_sink TO bookless";
    let cases = [
        ("REVOKE UPDATE ON gridhouse_sink FROM bookless", "lacks UPDATE on table public.gridhouse_sink", on_table),
        ("REVOKE SELECT ON gridhouse_sink FROM bookless", "lacks SELECT on table public.gridhouse_sink", on_table),
        (
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
            "lacks USAGE on schema public",
            "GRANT USAGE ON SCHEMA public TO bookless",
        ),
    ];
    for (at, (taken, told, given)) in (1..).zip(cases) {
        db.sql(taken);
        let change = [rows(RowKind::Insert, &[("a", at), ("b", at)])];
        let (from, upto) = (CommitId(at as u64), CommitId(at as u64 + 1));
        for refused in [sink.write(from, upto, &change).unwrap_err(), sink.position().unwrap_err()] {
            assert_eq!((refused.kind(), refused.remedy()), (ErrorKind::Unavailable, Some(given)), "{refused}");
            assert!(refused.message().starts_with(&format!("role 'bookless' {told}")), "{refused}");
        }
        let refused = JdbcWriter::new(&context()).describe(&definition).unwrap_err();
        assert_eq!((refused.kind(), refused.remedy()), (ErrorKind::Invalid, Some(given)), "{refused}");
        db.sql(given);
        assert_eq!(sink.position().unwrap(), from, "nothing of that write stays");
        sink.write(from, upto, &change).unwrap();
    }
    // One that has the rights on some columns only is not refused what the server lets it do.
    db.sql("REVOKE UPDATE ON gridhouse_sink FROM bookless; GRANT UPDATE (upto, epoch, history, target, claimed_at, claimed_by, shape) ON gridhouse_sink TO bookless");
    assert_eq!(sink.position().unwrap(), CommitId(4));
    sink.write(CommitId(4), CommitId(5), &[rows(RowKind::Delete, &[("b", 3)])]).unwrap();
    assert_eq!(contents(&db), "a|3");
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
fn a_look_at_an_outside_that_rests_finds_what_a_write_would() {
    let db = prepared("sink_looked_at");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.look(CommitId(0)).unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    let before = db.sql("SELECT *, xmin FROM gridhouse_sink");
    sink.look(CommitId(4)).unwrap();
    sink.look(CommitId(4)).unwrap();
    assert_eq!(db.sql("SELECT *, xmin FROM gridhouse_sink"), before, "nothing is written");
    let mut look = |at: u64| {
        let found = sink.look(CommitId(at)).unwrap_err();
        assert_eq!(found.kind(), ErrorKind::Unavailable, "{found}");
        assert_eq!(
            sink.look(CommitId(at)).unwrap_err().kind(),
            ErrorKind::Unavailable,
            "its position is asked for first"
        );
        (found.message().to_owned(), sink.position())
    };
    db.sql("UPDATE gridhouse_sink SET upto = 2");
    let (told, at) = look(4);
    assert_eq!(
        told,
        "sink public.report stands at commit 2 instead of 4: its database was restored; it is claimed anew"
    );
    assert_eq!(at.unwrap(), CommitId(2));
    db.sql("ALTER TABLE report RENAME TO away; CREATE TABLE report (LIKE away INCLUDING ALL)");
    let (told, at) = look(2);
    assert_eq!(told, "table public.report was dropped or replaced while it was written; it is looked at again");
    assert_eq!(at.unwrap(), CommitId(0), "the new one is empty");
    db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    let (told, at) = look(0);
    assert!(told.starts_with("sink public.report: "), "{told}");
    assert_eq!(at.unwrap(), CommitId(0));
    let mut other = open(&db, 2);
    other.position().unwrap();
    let fenced = sink.look(CommitId(0)).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Conflict, "{fenced}");
    assert!(
        fenced.message().starts_with("sink public.report is fenced: another process has taken it over"),
        "{fenced}"
    );
}

#[test]
fn who_holds_a_lock_is_told() {
    let db = prepared("sink_locked");
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    let holder = db.clone();
    let hold = std::thread::spawn(move || {
        holder.cluster.try_sql(&holder.name, "BEGIN; LOCK TABLE report IN SHARE MODE; SELECT pg_sleep(60); COMMIT")
    });
    db.until_one("SELECT count(*) FROM pg_stat_activity WHERE datname = 'sink_locked' AND wait_event = 'PgSleep'");
    let waits = sink.write(CommitId(0), CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::Unavailable);
    assert!(waits.message().starts_with("sink public.report waits: a lock on it is held by process "), "{waits}");
    let (_, end) = waits.remedy().unwrap().split_once("end it there: ").unwrap();
    db.sql(end);
    hold.join().unwrap().expect_err("its transaction was ended");
    let at = sink.position().unwrap();
    sink.write(at, CommitId(1), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
}

const LINE: [(&str, TypeKind); 1] = [("line", TypeKind::STRING)];

/// A sink that only adds to its table, as a store that remembers or not that it wrote it, under a role.
pub fn open_log(db: &Db, store: u128, written: bool, role: &str) -> Box<dyn Sink> {
    let definition = with(with(report(db, &LINE, &[]), "username", role), "password", role);
    let writer = SinkWriter { store, sink: "log".into(), history: 1, written };
    JdbcWriter::new(&context()).open(Arc::new(definition), writer).unwrap()
}

pub fn lines(lines: &[&str]) -> KindBatch {
    let line = |line: &&str| vec![Value::Text((*line).into())];
    batch(&LINE, &lines.iter().map(line).collect::<Vec<_>>(), RowKind::Insert)
}

pub fn conflict(refused: Result<CommitId, Error>) -> (String, String) {
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

/// What a write says that is to be tried again once the table was looked at.
fn looked_at(sink: &mut dyn Sink, from: u64, changes: &[KindBatch]) -> String {
    let again = sink.write(CommitId(from), CommitId(from + 1), changes).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable, "{again}");
    again.message().to_owned()
}

const ALTERED: &str = "table public.report was emptied or altered while it was written; it is looked at again";

#[test]
fn a_table_that_is_emptied_under_the_sink_is_filled_again_and_one_that_is_rewritten_is_gone_on_with() {
    let db = prepared("sink_emptied");
    let mut sink = open(&db, 1);
    let change = [rows(RowKind::Insert, &[("c", 3)])];
    for partitioned in [false, true] {
        if partitioned {
            db.sql(
                "DROP TABLE report; DELETE FROM gridhouse_sink; \
                 CREATE TABLE report (region varchar(10), day date, orders int, PRIMARY KEY (region, day)) PARTITION BY RANGE (day); \
                 CREATE TABLE report_some PARTITION OF report FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
            );
            sink = open(&db, 1);
        }
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
        db.sql("TRUNCATE report");
        assert_eq!(looked_at(&mut *sink, 4, &change), ALTERED);
        assert_eq!(contents(&db), "", "nothing of that write stays");
        assert_eq!((sink.position().unwrap(), sink.history()), (CommitId(0), Some(1)));
        sink.write(CommitId(0), CommitId(5), &[rows(RowKind::Insert, &[("a", 1), ("b", 2), ("c", 3)])]).unwrap();
        // The rows stay where they are only moved, or get a column.
        for statement in ["VACUUM FULL report", "ALTER TABLE report ADD note text", "ALTER TABLE report DROP note"] {
            db.sql(statement);
            let at = sink.position().unwrap();
            assert_eq!(at, CommitId(5));
            sink.write(at, CommitId(5), &change).unwrap();
        }
        db.sql(if partitioned { "VACUUM FULL report" } else { "CLUSTER report USING report_pkey" });
        assert_eq!(looked_at(&mut *sink, 5, &change), ALTERED);
        assert_eq!(sink.position().unwrap(), CommitId(5));
        sink.write(CommitId(5), CommitId(6), &[rows(RowKind::Delete, &[("a", 1)])]).unwrap();
        assert_eq!(contents(&db), "b|2 c|3");
        // Whoever is fenced stays so, whatever becomes of the table.
        let mut newer = open(&db, 1);
        assert_eq!(newer.position().unwrap(), CommitId(6));
        db.sql("TRUNCATE report");
        let fenced = sink.write(CommitId(6), CommitId(7), &change).unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Conflict, "{fenced}");
        assert_eq!(looked_at(&mut *newer, 6, &change), ALTERED);
        assert_eq!(newer.position().unwrap(), CommitId(0));
    }
}

/// The statements of a message between the words and the next backtick.
pub fn typed<'a>(told: &'a str, before: &str) -> &'a str {
    let (_, rest) = told.split_once(before).unwrap_or_else(|| panic!("`{before}` is not in {told}"));
    rest.split_once('`').unwrap_or_else(|| panic!("no end in {rest}")).0
}

#[test]
fn a_column_that_comes_back_without_its_values_is_not_passed_over() {
    let db = prepared("sink_column");
    let mut sink = open(&db, 1);
    let change = [rows(RowKind::Insert, &[("b", 2)])];
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    db.sql("ALTER TABLE report DROP orders");
    looked_at(&mut *sink, 4, &change);
    let error = sink.position().unwrap_err();
    let told = error.remedy().unwrap();
    assert!(error.message().contains("has no column 'orders'"), "{error}");
    let (add, anew) = told.split_once("; ").unwrap();
    assert_eq!(
        anew,
        "the rows that are in public.report lack the values of orders, unless it is renamed back: to have all of them written anew, \
         empty the table there too; then START JOB here"
    );
    db.sql(add);
    let lost = conflict(sink.position());
    assert_eq!(
        lost.0,
        "table public.report: the values of orders in the rows that are there are lost: dropped and added again, or changed to a type \
         that does not hold them and back"
    );
    assert_eq!(conflict(open(&db, 1).position()), lost);
    // They are to stay.
    db.sql(typed(&lost.1, "to leave its rows as they are, type there `"));
    assert_eq!(sink.position().unwrap(), CommitId(4));
    sink.write(CommitId(4), CommitId(5), &change).unwrap();
    assert_eq!(contents(&db), "a| b|2");
    // Between two writes, so that no statement fails.
    db.sql("ALTER TABLE report DROP orders, ADD orders bigint");
    assert_eq!(looked_at(&mut *sink, 5, &change), ALTERED);
    assert_eq!(conflict(sink.position()), lost);
    db.sql(typed(&lost.1, "to have the table written anew, type there `"));
    let mut sink = open(&db, 1);
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(6), &[rows(RowKind::Insert, &[("a", 1), ("b", 2)])]).unwrap();
    // Emptied alone does as well.
    db.sql("ALTER TABLE report DROP orders, ADD orders bigint; TRUNCATE report");
    assert_eq!(open(&db, 1).position().unwrap(), CommitId(0));
}

#[test]
fn a_column_that_rounds_is_refused_and_what_it_rounded_is_not_passed_over() {
    let db = Db::new("sink_rounds");
    db.sql("CREATE TABLE report (id bigint PRIMARY KEY, amount numeric(12, 2))");
    let columns = [("id", TypeKind::BigInt), ("amount", decimal(12, 2))];
    let definition = Arc::new(report(&db, &columns, &["id"]));
    let amounts = |amounts: &[i64]| {
        let row = |(id, amount): (i64, &i64)| vec![Value::Integer(id), Value::Decimal((*amount).into())];
        batch(&columns, &(1..).zip(amounts).map(row).collect::<Vec<_>>(), RowKind::Insert)
    };
    let open = || {
        let writer = SinkWriter { store: 1, sink: "ads".into(), history: 1, written: true };
        JdbcWriter::new(&context()).open(definition.clone(), writer).unwrap()
    };
    let written = || db.sql("SELECT id, amount FROM report ORDER BY 1").replace('\n', " ");
    let mut sink = open();
    for narrow in ["int", "numeric(12, 0)"] {
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(1), &[amounts(&[7877])]).unwrap();
        // Digits that all values have room in change nothing.
        db.sql("ALTER TABLE report ALTER amount TYPE numeric(15, 3)");
        assert_eq!(looked_at(&mut *sink, 1, &[amounts(&[7877])]), ALTERED);
        assert_eq!(sink.position().unwrap(), CommitId(1));
        sink.write(CommitId(1), CommitId(2), &[amounts(&[7877])]).unwrap();
        assert_eq!(written(), "1|78.770");
        db.sql(&format!("ALTER TABLE report ALTER amount TYPE {narrow}"));
        assert_eq!(looked_at(&mut *sink, 2, &[amounts(&[7877, 7877])]), ALTERED);
        assert_eq!(written(), "1|79", "nothing of that write stays");
        let refused = sink.position().unwrap_err();
        let name = if narrow == "int" { "integer" } else { "numeric(12,0)" };
        assert_eq!(
            refused.message(),
            format!("column public.report.amount has the type {name}, to which DECIMAL(12, 2) cannot be written")
        );
        let told = refused.remedy().unwrap();
        assert!(told.contains("lack the values of amount"), "{told}");
        db.sql(told.split_once(", or CAST").unwrap().0);
        let lost = conflict(open().position());
        assert!(lost.0.contains("the values of amount in the rows that are there are lost"), "{lost:?}");
        db.sql(typed(&lost.1, "to have the table written anew, type there `"));
        sink = open();
    }
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(9), &[amounts(&[7877])]).unwrap();
    assert_eq!(written(), "1|78.77");
}
