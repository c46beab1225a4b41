//! What is changed in the source's catalog under a running stream: tables replaced, renamed, unpublished, retyped.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, with};

fn table(db: &Db, name: &str) -> TableDef {
    let definition = db.cdc(name, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"]);
    with(definition, "heartbeat.interval.ms", "1000")
}

fn prepared(name: &str) -> Db {
    let db = Db::new(name);
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    db
}

#[test]
fn another_table_under_the_name_is_noticed_and_compared() {
    let db = prepared("swapped");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("BEGIN; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (2, 'b'); COMMIT");
    engine.until_rows(1, &["2|b"]);
    assert!(
        engine.waiting.iter().any(|told| told.contains("table public.t is another one than before")),
        "{:?}",
        engine.waiting
    );
    db.sql("UPDATE t SET v = 'c'; UPDATE t_old SET v = 'never'");
    engine.until_rows(1, &["2|c"]);
    engine.stop();
}

#[test]
fn a_table_that_left_the_publication_is_noticed_and_compared() {
    let db = prepared("unpublished");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("ALTER PUBLICATION gridhouse_unpublished_slot DROP TABLE t; UPDATE t SET v = 'missed'");
    engine.until_rows(1, &["1|missed"]);
    assert!(
        engine.waiting.iter().any(|told| told.contains("does not hold table public.t any more")),
        "{:?}",
        engine.waiting
    );
    db.sql("UPDATE t SET v = 'seen'");
    engine.until_rows(1, &["1|seen"]);
    assert_eq!(engine.connected, engine.waiting.len() + 1, "one connection all the time");
    engine.stop();
}

#[test]
fn a_table_that_is_gone_or_does_not_fit_any_more_leaves_the_others_running() {
    let db = prepared("one_fails");
    db.sql("CREATE TABLE u (id int PRIMARY KEY, v text)");
    let mut engine = Engine::start(&[table(&db, "t"), table(&db, "u")], Durable::default());
    engine.until("both contents", |e| e.snapshots == 2);
    db.sql("BEGIN; ALTER TABLE t ALTER v TYPE bytea USING v::bytea; UPDATE t SET id = 3; INSERT INTO u VALUES (1, 'x'); COMMIT");
    engine.until_rows(2, &["1|x"]);
    engine.until("the failure", |e| e.failed.is_some());
    let failed = engine.failed.take().unwrap();
    assert!(failed.starts_with("column public.t.v has a new type, which cannot be read as STRING"), "{failed}");
    // Brought in again after it was mended, it passes what the table was in between.
    db.sql("ALTER TABLE t ALTER v TYPE text USING 'b'");
    engine.add(1, table(&db, "t"));
    engine.until_rows(1, &["3|b"]);
    db.sql("ALTER TABLE t RENAME TO elsewhere; INSERT INTO u VALUES (2, 'y')");
    engine.until("the failure", |e| e.failed.is_some());
    let failed = engine.failed.take().unwrap();
    assert!(failed.starts_with("database 'one_fails' has no table 'public.t'"), "{failed}");
    engine.until_rows(2, &["1|x", "2|y"]);
    engine.stop();
}

#[test]
fn an_idle_stream_tells_how_much_the_source_keeps_for_it() {
    let db = prepared("lag");
    let other = Db::new("lag_other");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a"]);
    other.sql("CREATE TABLE o (v text); INSERT INTO o SELECT repeat('x', 1000) FROM generate_series(1, 5000)");
    let written = db.sql("SELECT pg_current_wal_lsn()");
    let kept = format!(
        "SELECT restart_lsn >= '{written}' AND confirmed_flush_lsn >= '{written}' FROM pg_replication_slots WHERE slot_name = 'lag_slot'"
    );
    // Restart points follow running transactions, which the server logs every 15 s or at a checkpoint.
    engine.until("the slot", |_| {
        db.sql("CHECKPOINT");
        db.sql(&kept) == "t"
    });
    engine.until("the lag", |e| {
        e.lag.as_ref().is_some_and(|lag| lag.behind_bytes < 5_000_000 && lag.cap_bytes.is_none())
    });
    assert_eq!((engine.commits, engine.missed), (0, 0));
    engine.stop();
}
