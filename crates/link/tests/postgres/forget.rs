//! How a server forgets a stream: only what is the stream's own goes, and what cannot go is told with the statement that does it.

use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::table::TableDef;
use gridhouse_base::{ErrorKind, TypeKind};
use gridhouse_flow::connector::{SourceConnector, StreamPlace};
use gridhouse_link::PostgresCdc;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with, without};

fn forget(key: &str, definition: &TableDef) -> gridhouse_base::Result<()> {
    PostgresCdc::new(&context()).forget(StreamPlace { key, definition, store: 7 })
}

fn prepared(name: &str) -> (Db, TableDef, String) {
    let db = Db::new(name);
    db.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let definition = db.cdc("t", &[("id", TypeKind::Int)], &["id"]);
    let key = PostgresCdc::new(&context()).describe(&definition).unwrap().stream_key;
    (db, definition, key)
}

#[test]
fn a_slot_that_is_in_use_is_told_with_the_statement_that_drops_it() {
    let (db, definition, key) = prepared("forget_used");
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until("the stream", |e| e.connected == 1);
    let error = forget(&key, &definition).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("replication slot 'forget_used_slot' of postgresql at source-host:"), "{told}");
    assert!(told.contains("is not dropped yet, and holds back WAL there: it cannot be dropped: "), "{told}");
    let remedy = error.remedy().unwrap();
    let statement = "SELECT pg_drop_replication_slot('forget_used_slot')";
    assert_eq!(remedy, format!("it is tried again; or type there: {statement}"));
    engine.stop();
    db.until_one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'forget_used_slot' AND NOT active");
    db.sql(statement);
    // What is gone is forgotten.
    forget(&key, &definition).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "0");
    forget(&key, &definition).unwrap();
}

#[test]
fn what_belongs_to_others_stays() {
    let (db, definition, key) = prepared("forget_others");
    db.sql("CREATE ROLE forget_owner; GRANT CREATE ON DATABASE forget_others TO forget_owner");
    db.sql("CREATE PUBLICATION gridhouse_forget_others_slot FOR TABLE t WITH (publish_via_partition_root = true)");
    db.sql("ALTER PUBLICATION gridhouse_forget_others_slot OWNER TO forget_owner");
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'forget_others%'";
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until("the stream", |e| e.connected == 1);
    engine.stop();
    // The address leads to another cluster by now: what is called alike there is not the stream's.
    let (rest, database) = key.rsplit_once('/').unwrap();
    let elsewhere = format!("{}/{database}", rest.replace(|c: char| c.is_ascii_digit(), "9"));
    forget(&elsewhere, &definition).unwrap();
    assert_eq!(db.sql(slots), "1");
    forget(&key, &definition).unwrap();
    assert_eq!((db.sql(slots).as_str(), db.sql("SELECT count(*) FROM pg_publication").as_str()), ("0", "1"));
    // One of the same name in another database, or of another kind.
    let other = Db::within(db.cluster.clone(), "forget_elsewhere");
    other.sql("SELECT pg_create_logical_replication_slot('forget_others_slot', 'pgoutput')");
    forget(&key, &definition).unwrap();
    assert_eq!(db.sql(slots), "1");
    other.sql("SELECT pg_drop_replication_slot('forget_others_slot')");
    db.sql("SELECT pg_create_physical_replication_slot('forget_others_slot')");
    forget(&key, &definition).unwrap();
    assert_eq!(db.sql(slots), "1");
    db.sql("SELECT pg_drop_replication_slot('forget_others_slot')");
    // A publication that the options name was not made for the stream.
    db.sql("ALTER PUBLICATION gridhouse_forget_others_slot OWNER TO CURRENT_USER");
    forget(&key, &with(definition.clone(), "debezium.publication.name", "gridhouse_forget_others_slot")).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "1");
    forget(&key, &definition).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "0");
    db.sql("DROP OWNED BY forget_owner; DROP ROLE forget_owner");
}

#[test]
fn a_role_that_may_not_drop_slots_any_more_is_told_so() {
    let (db, definition, key) = prepared("forget_right");
    db.sql("CREATE ROLE forgetful LOGIN PASSWORD 'secret'");
    db.sql("SELECT pg_create_logical_replication_slot('forget_right_slot', 'pgoutput')");
    let definition = with(with(definition, "username", "forgetful"), "password", "secret");
    let error = forget(&key, &definition).unwrap_err();
    let remedy = error.remedy().unwrap();
    let (statement, _) = remedy.split_once("; it is tried again").unwrap_or_else(|| panic!("{remedy}"));
    assert_eq!(statement, "ALTER ROLE forgetful REPLICATION");
    db.sql(statement);
    forget(&key, &definition).unwrap();
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'forget_right_slot'";
    assert_eq!(db.sql(slots), "0");
    db.sql("DROP ROLE forgetful");
}

/// A slot and publication are named by the stream, whatever the tables that are read say.
#[test]
fn a_stream_without_tables_lets_its_own_slot_go_on() {
    let (db, definition, key) = prepared("forget_rests");
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until("the stream", |e| e.connected == 1);
    db.sql("INSERT INTO t VALUES (1)");
    engine.until_rows(1, &["1"]);
    let mut durable = engine.stop();
    durable.tables.clear();
    let mut engine = Engine::reached(&key, &definition, durable);
    let at = db.sql("INSERT INTO t SELECT generate_series(2, 100); SELECT pg_current_wal_lsn()");
    let clock = SystemClock::new();
    let confirmed = format!(
        "SELECT confirmed_flush_lsn >= '{at}'::pg_lsn FROM pg_replication_slots WHERE slot_name = 'forget_rests_slot'"
    );
    while db.sql(&confirmed) != "t" {
        assert!(clock.monotonic() < Duration::from_secs(60), "the slot stands still");
        let idles = engine.idles;
        engine.until("a place that is reached", |e| e.idles > idles);
        engine.acknowledge();
    }
    engine.until("what the slot keeps", |e| e.lag.is_some());
    engine.forget();
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "0");
}

/// Another reader has come to have the slot: it is that one's, also while it is away.
#[test]
fn a_slot_that_has_another_reader_stays() {
    let (db, definition, key) = prepared("forget_read");
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until("the stream", |e| e.connected == 1);
    engine.stop();
    let used = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'forget_read_slot' AND active";
    db.until_one(&used.replace("AND active", "AND NOT active"));
    let reader = db.cluster.read_slot("forget_read", "forget_read_slot", "gridhouse_forget_read_slot");
    db.until_one(used);
    forget(&key, &definition).unwrap();
    drop(reader);
    assert_eq!(db.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'forget_read_slot'"), "1");
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "1");
    // So for a role that may not see who others are.
    db.sql("CREATE ROLE forget_blind LOGIN REPLICATION PASSWORD 'secret'");
    let blind = with(with(definition.clone(), "username", "forget_blind"), "password", "secret");
    let reader = db.cluster.read_slot("forget_read", "forget_read_slot", "gridhouse_forget_read_slot");
    db.until_one(used);
    forget(&key, &blind).unwrap();
    drop(reader);
    db.until_one(&used.replace("AND active", "AND NOT active"));
    forget(&key, &definition).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'forget_read_slot'"), "0");
    db.sql("DROP ROLE forget_blind");
}

#[test]
fn a_password_that_is_refused_is_told_with_what_ends_it() {
    let (db, definition, key) = prepared("forget_password");
    db.sql("CREATE ROLE forget_locked LOGIN REPLICATION PASSWORD 'new'");
    let old = with(with(definition, "username", "forget_locked"), "password", "old");
    let error = forget(&key, &old).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let remedy = error.remedy().unwrap();
    assert!(remedy.contains("run the INSERT with them, and DROP JOB again; or type there: SELECT"), "{remedy}");
    assert!(remedy.ends_with("it is tried again in an hour, and at the next start"), "{remedy}");
    forget(&key, &with(old, "password", "new")).unwrap();
    db.sql("DROP ROLE forget_locked");
}

/// Whatever way the options call it, a slot is one of the cluster.
#[test]
fn streams_of_one_slot_have_the_same_place() {
    let (_db, definition, _) = prepared("forget_names");
    let connector = PostgresCdc::new(&context());
    let place = |definition: &TableDef| {
        let key = connector.describe(definition).unwrap().stream_key;
        connector.place_name(StreamPlace { key: &key, definition, store: 7 }).unwrap()
    };
    let default = without(definition.clone(), "slot.name");
    assert_eq!(place(&default), place(&with(definition.clone(), "slot.name", "gridhouse")));
    assert_eq!(place(&definition), place(&with(definition.clone(), "slot.sharing", "false")));
    assert_eq!(place(&definition), place(&with(definition.clone(), "debezium.publication.name", "mine")));
    assert_ne!(place(&definition), place(&default));
}
