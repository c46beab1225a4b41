//! Tables whose contents are never read (`latest-offset`): what the stream does not tell cannot be made good by comparing. It is
//! said, by name and with the remedy; no row goes, comes or loses a value in silence.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, with};

/// A table that begins with the changes from now on.
fn latest(db: &Db, table: &str, columns: &[(&str, TypeKind)]) -> TableDef {
    with(db.cdc(table, columns, &["id"]), "scan.startup.mode", "latest-offset")
}

fn wide(db: &Db) -> TableDef {
    latest(db, "t", &[("id", TypeKind::Int), ("n", TypeKind::Int), ("big", TypeKind::STRING)])
}

/// A table with large values that updates tell only where they change, two of its rows older than any stream.
const WIDE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; \
                    CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO t VALUES (1, 1, repeat('x', 5000)), (2, 2, repeat('y', 5000))";

/// What is said of an update that leaves the large value of table `t` untold.
const UNTOLD: &str = "table public.t, column big: an update does not tell its large value, which it leaves unchanged, and contents are not read";

/// What `START JOB` does with a table that was given up.
fn then(table: &str) -> String {
    format!(
        "default_catalog.default_database.{table} then goes on with the changes from then on: its 'scan.startup.mode' asks for no \
         contents, so what changed until then is lost for it, and its rows stay"
    )
}

#[test]
fn an_untold_large_value_fails_the_table_and_the_remedy_mends_it() {
    let db = Db::new("latest_large");
    db.sql(WIDE);
    let beside = latest(&db, "beside", &[("id", TypeKind::Int)]);
    let mut engine = Engine::start(&[wide(&db), beside], Durable::default());
    engine.until("the start", |e| e.left_out == 2 && e.connected == 1);
    let z = "z".repeat(5_000);
    db.sql("INSERT INTO t VALUES (3, 3, repeat('z', 5000)); INSERT INTO beside VALUES (1)");
    engine.until_rows(1, &[&format!("3|3|{z}")]);
    let wanted = format!("{UNTOLD} [ALTER TABLE public.t REPLICA IDENTITY FULL; then START JOB; {}]", then("t"));
    // The row that was there before would come with NULL; the one that moves would be gone.
    for change in ["UPDATE t SET n = 10 WHERE id = 1", "UPDATE t SET id = 30 WHERE id = 3"] {
        db.sql(&format!("BEGIN; INSERT INTO t VALUES (90, 9, 'void'); {change}; DELETE FROM t WHERE id = 90; COMMIT"));
        assert_eq!(engine.until_table_failed(1), wanted, "{change}");
        assert_eq!(engine.rows(1), [format!("3|3|{z}")], "nothing of its transaction is here");
        // Its neighbour goes on, and it goes on itself, with what it has.
        engine.bring_back(1);
        engine.until("the table", |e| e.durable.tables[&1].snapshot.is_some());
    }
    db.sql(
        "ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET id = 4, n = 4 WHERE id = 2; INSERT INTO beside VALUES (2)",
    );
    engine.until_rows(2, &["1", "2"]);
    engine.until_rows(1, &[&format!("3|3|{z}"), &format!("4|4|{}", "y".repeat(5_000))]);
    assert_eq!((engine.snapshots, engine.outdated), (0, 0), "contents are not read");
    engine.stop();
}

#[test]
fn a_row_with_an_untold_large_value_is_kept_apart_where_that_is_asked_for() {
    let db = Db::new("latest_apart");
    db.sql(WIDE);
    let mut engine = Engine::start(&[with(wide(&db), "on-error", "dead-letter")], Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO t VALUES (3, 3, repeat('z', 5000)), (4, 4, repeat('z', 5000)), (5, 5, 'small')");
    engine.until("the rows", |e| e.rows(1).len() == 3);
    db.sql("UPDATE t SET n = 10 WHERE id = 1; UPDATE t SET n = 30 WHERE id = 3; UPDATE t SET id = 40 WHERE id = 4; UPDATE t SET n = 50 WHERE id = 5");
    engine.until_rows(1, &["5|50|small"]);
    let kept = |row: &str| format!("1: {row}: {UNTOLD}");
    assert_eq!(
        engine.rejected,
        [kept("id = '1', n = '10'"), kept("id = '3', n = '30'"), kept("id = '40', n = '4'")],
        "with what is known of it; its earlier version has gone"
    );
    assert_eq!(engine.failed, None);
    engine.stop();
}

#[test]
fn one_of_several_tables_that_is_truncated_fails_them() {
    let db = Db::new("latest_truncated");
    db.sql("CREATE TABLE m_1 (id int PRIMARY KEY); CREATE TABLE m_2 (id int PRIMARY KEY); CREATE TABLE alone (id int PRIMARY KEY)");
    let id = [("id", TypeKind::Int)];
    let mut engine = Engine::start(&[latest(&db, "m_[0-9]", &id), latest(&db, "alone", &id)], Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO m_1 VALUES (1); INSERT INTO m_2 VALUES (2); INSERT INTO alone VALUES (3)");
    engine.until_rows(1, &["1", "2"]);
    db.sql("TRUNCATE m_1, alone");
    assert_eq!(
        engine.until_table_failed(1),
        format!(
            "table public.m_1 was truncated, one of 2 that match public.m_[0-9]; which rows came from it is not known, since \
             contents are not read [delete here the rows that came from it; then START JOB; {}]",
            then("m__0_9_")
        )
    );
    engine.until_rows(2, &[]);
    engine.bring_back(1);
    engine.until("the table", |e| e.left_out == 3);
    db.sql("INSERT INTO m_1 VALUES (4)");
    engine.until_rows(1, &["1", "2", "4"]);
    engine.stop();
}

#[test]
fn changes_that_nobody_told_are_said_to_be_lost_and_all_others_come() {
    let db = Db::new("latest_unpublished");
    db.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE held (id int PRIMARY KEY)");
    let definition = with(latest(&db, "t", &[("id", TypeKind::Int)]), "heartbeat.interval.ms", "500");
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO t VALUES (1)");
    engine.until_rows(1, &["1"]);

    // What comes while the table is taken in again waits for an open transaction, and is not passed over.
    let hold = std::thread::spawn({
        let db = db.clone();
        move || db.cluster.try_sql(&db.name, "BEGIN; INSERT INTO held VALUES (1); SELECT pg_sleep(300)")
    });
    let sleeps = "FROM pg_stat_activity WHERE datname = 'latest_unpublished' AND wait_event = 'PgSleep'";
    db.until_one(&format!("SELECT count(*) {sleeps}"));
    db.sql("ALTER PUBLICATION gridhouse_latest_unpublished_slot DROP TABLE t");
    engine.until("the look", |e| e.waiting.iter().any(|told| told.contains("does not hold")));
    let lost = "[what changed meanwhile is lost for default_catalog.default_database.t, whose 'scan.startup.mode' asks for no contents]";
    let told = format!("publication 'gridhouse_latest_unpublished_slot' does not hold table public.t any more {lost}");
    assert_eq!(engine.waiting, [told]);
    db.until_one("SELECT count(*) FROM pg_replication_slots WHERE database = 'latest_unpublished' AND temporary");
    db.sql("INSERT INTO t VALUES (2)");
    db.sql(&format!("SELECT pg_terminate_backend(pid) {sleeps}"));
    assert!(hold.join().unwrap().is_err(), "the transaction was ended");
    engine.until_rows(1, &["1", "2"]);
    assert_eq!(engine.left_out, 2);

    // Another table under the name, while nobody looks: said once, and its changes come.
    let durable = engine.stop();
    db.sql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (3)");
    let mut engine = Engine::start(std::slice::from_ref(&definition), durable);
    engine.until("the stream", |e| e.connected == 1);
    let another = "table public.t is another one than before: it was replaced, or more or fewer match";
    assert_eq!(engine.waiting, [format!("{another} {lost}")]);
    db.sql("INSERT INTO t VALUES (4)");
    engine.until_rows(1, &["1", "2", "4"]);
    let durable = engine.stop();
    let mut engine = Engine::start(&[definition], durable);
    engine.until("the stream", |e| e.connected == 1);
    db.sql("DELETE FROM t WHERE id = 4");
    engine.until_rows(1, &["1", "2"]);
    assert!(engine.waiting.is_empty() && engine.snapshots == 0, "{:?}", engine.waiting);
    engine.stop();
}
