//! Faults of the source heal by themselves, and nothing is lost or repeated.

use std::sync::Arc;

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;
use gridhouse_link::testing::Cluster;

use crate::catalog_faults::remedy;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context};

fn table(db: &Db) -> TableDef {
    db.cdc("t", &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"])
}

/// A database with a table of one row, and the name of its stream.
fn prepared(name: &str) -> (Db, String) {
    let db = Db::new(name);
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let key = PostgresCdc::new(&context()).describe(&table(&db)).unwrap().stream_key;
    (db, key)
}

#[test]
fn a_terminated_connection_resumes_without_loss_or_repetition() {
    let (db, _) = prepared("terminated");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    for round in 2..6 {
        db.sql(&format!("INSERT INTO t VALUES ({round}, 'x')"));
        db.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = 'terminated' AND active");
        db.sql(&format!("UPDATE t SET v = 'y' WHERE id = {round}"));
        let wanted: Vec<String> =
            std::iter::once("1|a".to_owned()).chain((2..=round).map(|i| format!("{i}|y"))).collect();
        engine.until_rows(1, &wanted.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(engine.snapshots, 1, "the contents are not read again");
    assert!(!engine.waiting.is_empty(), "the loss is told");
    engine.stop();
}

#[test]
fn a_stopped_engine_goes_on_where_it_was() {
    let (db, key) = prepared("restarted");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    let old = engine.durable.clone();
    db.sql("UPDATE t SET v = 'c' WHERE id = 2");
    engine.until_rows(1, &["1|a", "2|c"]);
    let durable = engine.stop();
    db.sql("INSERT INTO t VALUES (3, 'd')");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|a", "2|c", "3|d"]);
    assert_eq!((engine.snapshots, engine.commits), (0, 1));
    let mut durable = engine.stop();
    // A store of a version that kept no timeline with its positions.
    durable.position.as_mut().unwrap().truncate(8);
    durable.tables.get_mut(&1).unwrap().snapshot.as_mut().unwrap().truncate(8);
    db.sql("UPDATE t SET v = 'e' WHERE id = 3");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|a", "2|c", "3|e"]);
    assert_eq!((engine.snapshots, engine.commits, engine.durable.position.as_ref().unwrap().len()), (0, 1, 20));
    engine.stop();
    // A store that was restored from a back-up is behind the slot: its contents are compared.
    let mut engine = Engine::resume(&key, &[table(&db)], old);
    engine.until_rows(1, &["1|a", "2|c", "3|e"]);
    assert_eq!(engine.snapshots, 1);
    assert!(engine.waiting[0].contains("ahead of what is stored"), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_slot_that_was_dropped_is_healed_by_comparing_contents() {
    let (db, key) = prepared("dropped_slot");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    let durable = engine.stop();
    db.sql("SELECT pg_drop_replication_slot('dropped_slot_slot'); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, 'c')");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["2|b", "3|c"]);
    assert!(engine.waiting[0].contains("replication slot 'dropped_slot_slot' is gone"), "{:?}", engine.waiting);
    let durable = engine.stop();
    db.sql("DROP PUBLICATION gridhouse_dropped_slot_slot; UPDATE t SET v = 'z'");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["2|z", "3|z"]);
    db.sql("INSERT INTO t VALUES (4, 'd')");
    engine.until_rows(1, &["2|z", "3|z", "4|d"]);
    engine.stop();
}

#[test]
fn a_slot_in_use_is_waited_for() {
    let (db, key) = prepared("busy_slot");
    let mut first = Engine::start(&[table(&db)], Durable::default());
    first.until("the start", |e| e.connected == 1);
    let mut second = Engine::resume(&key, &[table(&db)], Durable::default());
    second.until("the wait", |e| !e.waiting.is_empty());
    let told = &second.waiting[0];
    assert!(told.contains("replication slot 'busy_slot_slot' is in use by the server's process"), "{told}");
    assert!(told.contains("SELECT pg_terminate_backend("), "{told}");
    assert!(told.ends_with("or choose another 'slot.name' in the script, and run it again]"), "{told}");
    assert!(first.placed && !second.placed, "it is the first one's");
    let mut durable = first.stop();
    second.until_rows(1, &["1|a"]);
    assert!(second.placed);
    // One that has had it is not led to another by the script alone.
    durable.position = None;
    let mut third = Engine::resume(&key, &[table(&db)], durable);
    third.until("the wait", |e| !e.waiting.is_empty());
    let told = &third.waiting[0];
    assert!(told.contains("or DROP JOB for the jobs that read it"), "{told}");
    third.stop();
    second.stop();
}

#[test]
fn a_value_that_does_not_fit_names_table_column_and_value() {
    let (db, _) = prepared("misfit");
    db.sql("ALTER TABLE t ADD n bigint");
    let definition = db.cdc("t", &[("id", TypeKind::Int), ("n", TypeKind::SmallInt)], &["id"]);
    let mut engine = Engine::start(&[definition], Durable::default());
    engine.until_rows(1, &["1|"]);
    db.sql("INSERT INTO t VALUES (2, 'x', 70000)");
    engine.until("the failure", |e| e.failed.is_some());
    assert_eq!(
        engine.failed.as_deref(),
        Some(
            "table public.t, column n: the value '70000' is outside the range of the declared type [change the row in the \
             source, or have such rows kept apart ('on-error' = 'dead-letter' in default_catalog.default_database.t), or declare `n` \
             there with a type that holds the value]"
        )
    );
    engine.stop();
}

#[test]
fn added_columns_are_ignored_and_dropped_ones_end_the_stream_with_the_remedy() {
    let (db, _) = prepared("altered");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("ALTER TABLE t ADD extra int DEFAULT 5; INSERT INTO t VALUES (2, 'b', 1)");
    engine.until_rows(1, &["1|a", "2|b"]);
    db.sql("ALTER TABLE t RENAME v TO w; INSERT INTO t VALUES (3, 'c', 1)");
    engine.until("the failure", |e| e.failed.is_some());
    let failed = engine.failed.clone().unwrap();
    assert!(failed.starts_with("table public.t has no column 'v' any more"), "{failed}");
    engine.stop();
}

#[test]
fn the_server_restarts_and_crashes_under_the_stream() {
    let cluster = Arc::new(Cluster::start(&["fsync = on"]));
    let db = Db::within(cluster.clone(), "restarts");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    for (id, mode) in [(2, "immediate"), (3, "fast")] {
        db.sql(&format!("INSERT INTO t VALUES ({id}, 'b')"));
        if mode == "fast" {
            // A server that shuts down waits until the stream has acknowledged everything.
            engine.until("the row", |e| e.rows(1).len() == 3);
            let stopper = cluster.clone();
            let stop = std::thread::spawn(move || stopper.down("fast"));
            engine.until("the end of the connection", |e| {
                e.waiting.iter().any(|w| w.contains("ended") || w.contains("closed"))
            });
            stop.join().unwrap();
        } else {
            cluster.down(mode);
        }
        cluster.up();
        db.sql(&format!("UPDATE t SET v = 'c' WHERE id = {id}"));
        let wanted: Vec<String> = std::iter::once("1|a".to_owned()).chain((2..=id).map(|i| format!("{i}|c"))).collect();
        engine.until_rows(1, &wanted.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(engine.snapshots, 1);
    assert!(engine.connected >= 3);
    engine.stop();
}

#[test]
fn an_idle_stream_lets_the_source_forget_its_wal() {
    let (db, _) = prepared("idle");
    db.sql("CREATE TABLE other (v text)");
    let definition = crate::setup::with(table(&db), "heartbeat.interval.ms", "1000");
    let mut engine = Engine::start(&[definition], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
    let written = db.sql("SELECT pg_current_wal_lsn()");
    let confirmed =
        format!("SELECT confirmed_flush_lsn >= '{written}' FROM pg_replication_slots WHERE slot_name = 'idle_slot'");
    engine.until("the position", |engine| engine.idles > 0);
    let reached = (0..200).any(|_| db.sql(&confirmed) == "t");
    assert!(reached, "the slot follows the acknowledged position");
    assert_eq!(engine.commits, 0);
    engine.stop();
}

#[test]
fn a_snapshot_that_waits_for_a_transaction_says_for_which() {
    let (db, _) = prepared("open_transaction");
    let holder = db.clone();
    let (begun, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let hold = std::thread::spawn(move || {
        begun.send(()).unwrap();
        holder.cluster.try_sql(&holder.name, "BEGIN; INSERT INTO t VALUES (2, 'held'); SELECT pg_sleep(60); COMMIT")
    });
    wait.recv().unwrap();
    while db.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'open_transaction' AND wait_event = 'PgSleep'")
        != "1"
    {}
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until("the wait", |e| !e.waiting.is_empty());
    assert!(
        engine.waiting[0].contains("waits for the transactions that run in the source; the oldest"),
        "{:?}",
        engine.waiting
    );
    assert!(engine.placed, "the server may go on making the slot for nobody");
    db.sql(remedy(&engine.waiting[0]));
    engine.until_rows(1, &["1|a"]);
    hold.join().unwrap().expect_err("its transaction was ended");
    engine.stop();
}

#[test]
fn contents_without_a_commit_and_without_a_slot_are_compared() {
    let (db, key) = prepared("no_commit");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    let durable = engine.stop();
    assert!(durable.position.is_none());
    db.sql("SELECT pg_drop_replication_slot('no_commit_slot'); UPDATE t SET v = 'b'");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|b"]);
    engine.stop();
}

#[test]
fn a_publication_that_was_made_again_is_healed() {
    let (db, key) = prepared("republished");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    let durable = engine.stop();
    db.sql("DROP PUBLICATION gridhouse_republished_slot");
    db.sql("INSERT INTO t VALUES (3, 'c')");
    db.sql("CREATE PUBLICATION gridhouse_republished_slot FOR TABLE t");
    db.sql("INSERT INTO t VALUES (4, 'd')");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|a", "2|b", "3|c", "4|d"]);
    assert!(engine.waiting[0].contains("did not hold table public.t for a while"), "{:?}", engine.waiting);
    // What lies between the two publications cannot be read by the slot.
    db.sql("INSERT INTO t VALUES (5, 'e')");
    engine.until_rows(1, &["1|a", "2|b", "3|c", "4|d", "5|e"]);
    assert!(engine.waiting.iter().any(|told| told.contains("cannot be read on")), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_slot_that_the_server_invalidated_is_healed() {
    let settings = ["max_slot_wal_keep_size = 1MB", "min_wal_size = 32MB", "max_wal_size = 32MB"];
    let db = Db::within(Arc::new(Cluster::start(&settings)), "invalidated");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); CREATE TABLE other (v text)");
    let key = PostgresCdc::new(&context()).describe(&table(&db)).unwrap().stream_key;
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    let durable = engine.stop();
    for _ in 0..4 {
        db.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
        db.sql("SELECT pg_switch_wal()");
        db.sql("CHECKPOINT");
    }
    db.sql("DELETE FROM t WHERE id = 1");
    assert_eq!(db.sql("SELECT wal_status FROM pg_replication_slots"), "lost");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["2|b"]);
    assert!(engine.waiting[0].contains("was invalidated by the server"), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_publication_or_slot_that_is_dropped_under_the_stream_is_healed() {
    let (db, _) = prepared("dropped_under");
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    // In the midst of a transaction that changes the table before and after.
    db.sql(
        "BEGIN; INSERT INTO t VALUES (2, 'b'); DROP PUBLICATION gridhouse_dropped_under_slot; \
         INSERT INTO t VALUES (3, 'c'); COMMIT; DELETE FROM t WHERE id = 1",
    );
    engine.until_rows(1, &["2|b", "3|c"]);
    let healed = |engine: &Engine, what: &str| {
        let whole = "; the contents of all tables are read again and compared";
        assert!(engine.waiting.iter().any(|told| told.contains(what) && told.ends_with(whole)), "{:?}", engine.waiting);
    };
    healed(&engine, "publication");
    assert_eq!(engine.missed, 1, "{:?}", engine.waiting);
    db.sql("UPDATE t SET v = 'd' WHERE id = 2");
    engine.until_rows(1, &["2|d", "3|c"]);
    let drop = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = 'dropped_under_slot' AND active; \
                SELECT pg_drop_replication_slot('dropped_under_slot')";
    // The stream may have connected again in between.
    while let Err(refused) = db.cluster.try_sql(&db.name, drop) {
        assert!(refused.contains("is active"), "{refused}");
    }
    db.sql("UPDATE t SET v = 'e' WHERE id = 3; DELETE FROM t WHERE id = 2");
    engine.until_rows(1, &["3|e"]);
    healed(&engine, "replication slot 'dropped_under_slot' is gone");
    assert_eq!(engine.missed, 2, "{:?}", engine.waiting);
    db.sql("INSERT INTO t VALUES (4, 'f')");
    engine.until_rows(1, &["3|e", "4|f"]);
    engine.stop();
}

#[test]
fn a_source_restored_from_a_copy_of_its_files_is_behind_what_is_stored() {
    let cluster = Arc::new(Cluster::start(&[]));
    let db = Db::within(cluster.clone(), "copied");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let key = PostgresCdc::new(&context()).describe(&table(&db)).unwrap().stream_key;
    let mut engine = Engine::start(&[table(&db)], Durable::default());
    engine.until_rows(1, &["1|a"]);
    let durable = engine.stop();
    cluster.down("fast");
    cluster.back_up();
    cluster.up();
    db.sql("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
    db.sql("UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'b')");
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|b", "2|b"]);
    let durable = engine.stop();
    cluster.down("fast");
    cluster.restore();
    cluster.up();
    let mut engine = Engine::resume(&key, &[table(&db)], durable);
    engine.until_rows(1, &["1|a"]);
    let told = &engine.waiting[0];
    assert!(told.starts_with("the source is at ") && told.contains(", behind what is stored ("), "{told}");
    assert!(
        told.ends_with("): it was restored or failed over; the contents of all tables are read again and compared"),
        "{told}"
    );
    db.sql("INSERT INTO t VALUES (3, 'c')");
    engine.until_rows(1, &["1|a", "3|c"]);
    assert_eq!(engine.missed, 1, "{:?}", engine.waiting);
    engine.stop();
}
