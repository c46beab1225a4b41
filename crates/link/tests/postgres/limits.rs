//! What an administrator bounds, what others hold, and what is broken there: it holds up no more than it must, and is told by name.

use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::table::TableDef;
use gridhouse_base::{CommitId, TypeKind};
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;
use gridhouse_link::testing::Cluster;

use crate::catalog_faults::remedy;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with};
use crate::sink::{contents, open, prepared, rows};

fn table(db: &Db, name: &str) -> TableDef {
    db.cdc(name, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"])
}

fn by(role: &str, definition: TableDef) -> TableDef {
    with(with(definition, "username", role), "password", role)
}

/// A session that holds what it wrote, until it is ended or gone.
fn hold(db: &Db, seconds: &str) -> std::thread::JoinHandle<Result<String, String>> {
    let holder = db.clone();
    let sql = format!("BEGIN; INSERT INTO t VALUES (0, 'held'); SELECT pg_sleep({seconds}); COMMIT");
    let hold = std::thread::spawn(move || holder.cluster.try_sql(&holder.name, &sql));
    db.until_one(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        db.name
    ));
    hold
}

#[test]
fn limits_of_time_cut_neither_a_snapshot_nor_what_it_waits_for() {
    const ROWS: usize = 300_000;
    let db = Db::new("limited");
    db.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, {ROWS}) i"
    ));
    let hold = hold(&db, "2");
    for limit in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"] {
        db.sql(&format!("ALTER DATABASE limited SET {limit} = '500ms'"));
    }
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until("a part of the contents", |e| e.staged(1) > 0 || !e.waiting.is_empty());
    // Nothing is taken for longer than the limits, so that the copy stands, and beside it the session that exported its snapshot.
    db.until_one(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'limited' AND query LIKE 'COPY%' \
         AND now() - query_start > '700ms'",
    );
    engine.until("the contents", |e| e.snapshots == 1 || !e.waiting.is_empty());
    db.sql("INSERT INTO t VALUES (-1, 'last')");
    engine.until("a change", |e| e.commits == 1 || !e.waiting.is_empty());
    assert!(engine.waiting.is_empty(), "{:?}", engine.waiting);
    assert_eq!((engine.durable.tables[&1].rows.len(), engine.aborted), (ROWS + 2, 0));
    hold.join().unwrap().expect("its own session had no limits yet");
    engine.stop();
}

#[test]
fn limits_of_time_cut_no_write_of_a_sink() {
    let db = prepared("limited_sink");
    db.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END'; \
         CREATE TRIGGER slow AFTER INSERT ON report FOR EACH STATEMENT EXECUTE FUNCTION slow(); \
         ALTER DATABASE limited_sink SET statement_timeout = '300ms'",
    );
    let mut sink = open(&db, 1);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(4), &[rows(RowKind::Insert, &[("a", 1)])]).unwrap();
    assert_eq!(contents(&db), "a|1");
}

#[test]
fn a_table_whose_contents_cannot_be_read_fails_alone() {
    let db = Db::within(Arc::new(Cluster::start(&[])), "broken");
    db.sql(
        "CREATE TABLE broken (id int PRIMARY KEY, v text); ALTER TABLE broken ALTER v SET STORAGE EXTERNAL; \
         CREATE TABLE fine (id int PRIMARY KEY, v text); INSERT INTO fine VALUES (1, 'a')",
    );
    // Its large values are lost: what held them is as it was before they came.
    let files = db.sql(
        "SELECT pg_relation_filepath(f) FROM pg_class c, unnest(ARRAY[c.reltoastrelid, \
         (SELECT indexrelid FROM pg_index WHERE indrelid = c.reltoastrelid)]) f WHERE c.relname = 'broken'",
    );
    let files: Vec<_> = files.lines().map(|file| db.cluster.directory().join("data").join(file)).collect();
    db.sql("CHECKPOINT");
    let before: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    db.sql("INSERT INTO broken VALUES (1, 'small'), (2, repeat('x', 100000))");
    db.cluster.down("fast");
    files.iter().zip(before).for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    db.cluster.up();

    let mut engine = Engine::start(&[table(&db, "broken"), table(&db, "fine")], Durable::default());
    engine.until_rows(2, &["1|a"]);
    let told = engine.until_table_failed(1);
    assert!(
        told.starts_with("the contents of public.broken cannot be copied: missing chunk number 0 for toast value "),
        "{told}"
    );
    assert!(told.contains("restore the table from a back-up, or delete or update the damaged rows"), "{told}");
    let look = remedy(&told);
    let refused = db.cluster.try_sql(&db.name, look).unwrap_err();
    assert!(refused.contains("missing chunk number 0"), "{refused}");
    db.sql("INSERT INTO fine VALUES (2, 'b')");
    engine.until_rows(2, &["1|a", "2|b"]);
    assert_eq!(engine.waiting.len(), 1, "it was tried once more: {:?}", engine.waiting);

    db.sql("UPDATE broken SET v = 'again' WHERE id = 2");
    db.sql(look);
    engine.bring_back(1);
    engine.until_rows(1, &["1|small", "2|again"]);
    engine.stop();
}

#[test]
fn whatever_has_no_room_for_another_connection_is_named() {
    let db = Db::within(Arc::new(Cluster::start(&["max_wal_senders = 1"])), "crowded");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
         CREATE ROLE few LOGIN REPLICATION CONNECTION LIMIT 0 PASSWORD 'few'; \
         ALTER TABLE t OWNER TO few; GRANT CREATE ON DATABASE crowded TO few; ALTER DATABASE crowded CONNECTION LIMIT 0",
    );
    let definition = by("few", table(&db, "t"));
    for (whose, statement) in [
        ("role \"few\"", "ALTER ROLE few CONNECTION LIMIT -1"),
        ("database \"crowded\"", "ALTER DATABASE crowded CONNECTION LIMIT -1"),
    ] {
        let error = PostgresCdc::new(&context()).describe(&definition).expect_err("there is no room");
        let told = format!("{error} [{}]", error.remedy().unwrap_or_default());
        assert!(told.contains(&format!("has no free connection: too many connections for {whose}")), "{told}");
        assert_eq!(remedy(&told), statement);
        db.sql(statement);
    }
    db.sql("SELECT pg_create_logical_replication_slot('other', 'pgoutput'); CREATE PUBLICATION other FOR TABLE t");
    let other = db.cluster.read_slot(&db.name, "other", "other");
    db.until_one("SELECT count(*) FROM pg_stat_replication");
    let mut engine = Engine::start(&[definition], Durable::default());
    engine.until("the wait", |e| !e.waiting.is_empty());
    let told = engine.waiting[0].clone();
    assert!(told.contains("exceeds max_wal_senders (currently 1)"), "{told}");
    assert_eq!(remedy(&told), "ALTER SYSTEM SET max_wal_senders = 10");
    db.sql(remedy(&told));
    drop(other);
    engine.until_rows(1, &["1|a"]);
    engine.stop();
}

#[test]
fn a_snapshot_that_waits_names_the_oldest_transaction_whoever_may_see_it() {
    let db = Db::within(Arc::new(Cluster::start(&["max_prepared_transactions = 2"])), "hidden");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
         CREATE ROLE feeder LOGIN REPLICATION PASSWORD 'feeder'; ALTER TABLE t OWNER TO feeder; \
         GRANT CREATE ON DATABASE hidden TO feeder",
    );
    let older = hold(&db, "60");
    // The younger is the feeder's own, of which it is shown everything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = format!("host=127.0.0.1 port={} user=feeder password=feeder dbname=hidden", db.cluster.port());
    let younger = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; INSERT INTO t VALUES (3, 'younger')").await.unwrap();
        client
    });
    let mut engine = Engine::start(&[by("feeder", table(&db, "t"))], Durable::default());
    engine.until("the wait", |e| !e.waiting.is_empty());
    let pid = db.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    let told = engine.waiting[0].clone();
    assert!(
        told.contains(&format!(
            "; the oldest is that of process {pid} (postgres), open since a time that is not shown to role 'feeder' \
             [to be shown what it does: GRANT pg_read_all_stats TO feeder; "
        )),
        "{told}"
    );
    db.sql(remedy(&told));
    older.join().unwrap().expect_err("it was ended");
    runtime.block_on(younger.batch_execute("ROLLBACK")).unwrap();
    engine.until_rows(1, &["1|a"]);
    engine.forget();

    db.sql("BEGIN; INSERT INTO t VALUES (2, 'b'); PREPARE TRANSACTION 'it''s'");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until("the wait", |e| !e.waiting.is_empty());
    let told = engine.waiting[0].clone();
    assert!(told.contains("; the oldest is the prepared transaction 'it''s' (postgres), open for "), "{told}");
    assert!(told.contains("[in database hidden, as postgres or a superuser: COMMIT PREPARED 'it''s', or "), "{told}");
    db.sql(remedy(&told));
    engine.until_rows(1, &["1|a"]);
    engine.stop();
}
