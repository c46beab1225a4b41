//! What is changed in the source's catalog under a stream or while it is stopped: tables replaced, renamed, unpublished, retyped,
//! settings of the server changed.
//!
//! Remedies are taken out of the messages and executed as they stand.

use std::sync::Arc;

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;
use gridhouse_link::testing::Cluster;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with};

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
fn tables_that_were_dropped_or_replaced_while_stopped_are_compared() {
    let db = prepared("swapped_stopped");
    db.sql("CREATE TABLE meter_1 (id int PRIMARY KEY, v text); INSERT INTO meter_1 VALUES (1, 'one')");
    db.sql("CREATE TABLE meter_2 (id int PRIMARY KEY, v text); INSERT INTO meter_2 VALUES (2, 'two')");
    // Others' publication: what comes under a name is published at once, and looks as if it had always been.
    db.sql("CREATE PUBLICATION everything FOR ALL TABLES");
    let public = |name| with(table(&db, name), "debezium.publication.name", "everything");
    let tables = [public("t"), public("meter_[0-9]+")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    engine.until_rows(2, &["1|one", "2|two"]);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    let durable = engine.stop();
    db.sql("BEGIN; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (LIKE t_old INCLUDING ALL); INSERT INTO t VALUES (2, 'c'); COMMIT");
    db.sql("DROP TABLE meter_2; INSERT INTO meter_1 VALUES (3, 'three')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(1, &["2|c"]);
    engine.until_rows(2, &["1|one", "3|three"]);
    let others = "table public.t is another one than before: it was replaced, or more or fewer match; \
                  table public.meter_[0-9]+ is another one than before: it was replaced, or more or fewer match; \
                  its contents are read again and compared";
    assert_eq!((engine.waiting[0].as_str(), engine.outdated), (others, 2));
    db.sql("INSERT INTO t VALUES (4, 'd')");
    engine.until_rows(1, &["2|c", "4|d"]);
    let durable = engine.stop();
    // Once compared, they are those of before.
    let mut engine = Engine::resume(&key, &tables, durable);
    db.sql("INSERT INTO t VALUES (5, 'e')");
    engine.until_rows(1, &["2|c", "4|d", "5|e"]);
    assert_eq!((engine.snapshots, engine.outdated, engine.waiting.len()), (0, 0, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_table_that_was_out_of_the_publication_while_stopped_is_compared() {
    let db = prepared("unpublished_stopped");
    db.sql("CREATE PUBLICATION own FOR TABLE t");
    let tables = [with(table(&db, "t"), "debezium.publication.name", "own")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    let durable = engine.stop();
    // Nothing in the stream tells of this row.
    db.sql("ALTER PUBLICATION own DROP TABLE t");
    db.sql("INSERT INTO t VALUES (2, 'b')");
    db.sql("ALTER PUBLICATION own ADD TABLE t");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(1, &["1|a", "2|b"]);
    let told = "publication 'own' did not hold table public.t for a while; its contents are read again and compared";
    assert_eq!((engine.waiting[0].as_str(), engine.outdated), (told, 1));
    let durable = engine.stop();
    // Once compared, it is held as before.
    let mut engine = Engine::resume(&key, &tables, durable);
    db.sql("INSERT INTO t VALUES (3, 'c')");
    engine.until_rows(1, &["1|a", "2|b", "3|c"]);
    assert_eq!((engine.snapshots, engine.outdated, engine.waiting.len()), (0, 0, 0), "{:?}", engine.waiting);
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
    let failed = engine.until_table_failed(1);
    assert_eq!(
        failed,
        "database 'one_fails' has no table 'public.t' [it is called public.elsewhere now: ALTER TABLE public.elsewhere RENAME TO t; \
         then START JOB]"
    );
    engine.until_rows(2, &["1|x", "2|y"]);
    db.sql("UPDATE elsewhere SET v = 'meanwhile'");
    db.sql(remedy(&failed));
    engine.add(1, table(&db, "t"));
    engine.until_rows(1, &["3|meanwhile"]);
    engine.stop();
}

/// The statements of a message's remedy: behind what says who or why, before what is to be done here.
pub fn remedy(message: &str) -> &str {
    let text = message.rsplit_once(" [").expect("a remedy").1.trim_end_matches(']');
    let text = text.split("; then").next().unwrap();
    text.rsplit_once(": ").map_or(text, |(_, statements)| statements)
}

#[test]
fn tables_that_do_not_serve_any_more_at_a_start_fail_alone() {
    let db = prepared("start_alone");
    db.sql("CREATE TABLE dropped (id int PRIMARY KEY, v text); CREATE TABLE mute (id int PRIMARY KEY, v text)");
    db.sql("CREATE TABLE keyless (id int, v text); ALTER TABLE keyless REPLICA IDENTITY FULL");
    db.sql("CREATE TABLE retyped (id int PRIMARY KEY, v text); CREATE TABLE fine (id int PRIMARY KEY, v text)");
    let mut tables: Vec<TableDef> =
        ["t", "dropped", "mute", "keyless", "retyped", "fine"].iter().map(|name| table(&db, name)).collect();
    tables[3].primary_key.clear();
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until("the contents", |e| e.snapshots == 6);
    db.sql("INSERT INTO mute VALUES (1, 'a'); INSERT INTO keyless VALUES (1, 'a'); INSERT INTO fine VALUES (1, 'a')");
    engine.until_rows(6, &["1|a"]);
    let durable = engine.stop();
    // One of these faults after the other, and then a change of the table that serves.
    db.sql("ALTER TABLE t RENAME TO t_old; DROP TABLE dropped; ALTER TABLE mute REPLICA IDENTITY NOTHING");
    db.sql("ALTER TABLE keyless REPLICA IDENTITY DEFAULT; ALTER TABLE retyped ALTER v TYPE bytea USING v::bytea");
    db.sql("INSERT INTO mute VALUES (2, 'b'); INSERT INTO keyless VALUES (2, 'b'); INSERT INTO fine VALUES (2, 'b')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(6, &["1|a", "2|b"]);
    assert_eq!((engine.snapshots, engine.missed), (0, 0), "the others are not read again: {:?}", engine.waiting);
    assert!(engine.waiting.is_empty(), "nor do they wait: {:?}", engine.waiting);
    let said: Vec<String> = (1..6).map(|id| engine.until_table_failed(id)).collect();
    assert_eq!(
        said,
        [
            "database 'start_alone' has no table 'public.t' [tables of this schema: fine, keyless, mute, retyped, t_old]",
            "database 'start_alone' has no table 'public.dropped' [tables of this schema: fine, keyless, mute, retyped, t_old]",
            "the declared key column 'id' is not told by deletes and updates: table public.mute has no replica identity \
             [ALTER TABLE public.mute REPLICA IDENTITY FULL]",
            "table public.keyless is declared without a primary key, and its replica identity does not tell whole old rows \
             [ALTER TABLE public.keyless REPLICA IDENTITY FULL]",
            "column public.retyped.v has the type bytea, which cannot be read as STRING [declare `v` as BYTES]",
        ]
    );
    // Each is mended and brought in again, which compares its contents; the stream goes on all the while.
    db.sql("ALTER TABLE t_old RENAME TO t; CREATE TABLE dropped (id int PRIMARY KEY, v text)");
    db.sql(remedy(&said[2]));
    db.sql(remedy(&said[3]));
    db.sql("ALTER TABLE retyped ALTER v TYPE text USING 'x'");
    for (id, definition) in (1..6).zip(&tables) {
        engine.add(id, definition.clone());
    }
    let both = ["1|a", "2|b"];
    engine.until("their contents", |e| e.snapshots == 5);
    for (id, rows) in [(1, &both[..1]), (2, &[]), (3, &both[..]), (4, &both[..]), (5, &[])] {
        engine.until_rows(id, rows);
    }
    db.sql(
        "UPDATE mute SET v = 'c' WHERE id = 2; DELETE FROM keyless WHERE id = 2; INSERT INTO dropped VALUES (9, 'z')",
    );
    engine.until_rows(3, &["1|a", "2|c"]);
    engine.until_rows(4, &["1|a"]);
    engine.until_rows(2, &["9|z"]);
    assert_eq!(engine.connected, 1);
    engine.stop();
}

#[test]
fn a_table_that_may_not_be_published_or_read_any_more_fails_alone() {
    let db = prepared("not_owned");
    db.sql(
        "CREATE TABLE u (id int PRIMARY KEY, v text); CREATE ROLE feeder LOGIN REPLICATION PASSWORD 'feeder'; \
         GRANT CREATE ON DATABASE not_owned TO feeder; ALTER TABLE t OWNER TO feeder; ALTER TABLE u OWNER TO feeder",
    );
    let by_feeder = |name| with(with(table(&db, name), "username", "feeder"), "password", "feeder");
    let tables = [by_feeder("t"), by_feeder("u")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    let durable = engine.stop();
    db.sql("ALTER PUBLICATION gridhouse_not_owned_slot DROP TABLE t; ALTER TABLE t OWNER TO postgres");
    db.sql("INSERT INTO t VALUES (2, 'missed'); INSERT INTO u VALUES (1, 'x')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(2, &["1|x"]);
    let refused = engine.until_table_failed(1);
    assert_eq!(
        refused,
        "table public.t cannot be added to publication 'gridhouse_not_owned_slot': must be owner of table t \
         [as a superuser: ALTER PUBLICATION \"gridhouse_not_owned_slot\" ADD TABLE ONLY \"public\".\"t\"; then START JOB]"
    );
    db.sql(remedy(&refused));
    engine.add(1, tables[0].clone());
    let refused = engine.until_table_failed(1);
    assert_eq!(refused, "role 'feeder' may not read table public.t [GRANT SELECT ON public.t TO feeder]");
    db.sql(remedy(&refused));
    engine.add(1, tables[0].clone());
    engine.until_rows(1, &["1|a", "2|missed"]);
    db.sql("UPDATE t SET v = 'seen' WHERE id = 2; INSERT INTO u VALUES (2, 'y')");
    engine.until_rows(1, &["1|a", "2|seen"]);
    engine.until_rows(2, &["1|x", "2|y"]);
    // Without the publication none of the tables can go on, so the stream waits, and heals by itself.
    let durable = engine.stop();
    db.sql("DROP PUBLICATION gridhouse_not_owned_slot; REVOKE CREATE ON DATABASE not_owned FROM feeder; ALTER TABLE t OWNER TO feeder");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until("the wait", |e| !e.waiting.is_empty());
    let waits = engine.waiting[0].clone();
    assert_eq!(
        waits,
        "role 'feeder' may not create the publication 'gridhouse_not_owned_slot' [GRANT CREATE ON DATABASE not_owned TO feeder]"
    );
    db.sql(&format!("DELETE FROM u; {}", remedy(&waits)));
    engine.until_rows(2, &[]);
    engine.until_rows(1, &["1|a", "2|seen"]);
    engine.stop();
}

#[test]
fn a_table_that_is_dropped_under_the_stream_fails_alone_and_comes_back() {
    let db = prepared("dropped_table");
    db.sql("CREATE TABLE others (id int PRIMARY KEY, v text)");
    let tables = [table(&db, "t"), table(&db, "others")];
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until("both contents", |e| e.snapshots == 2);
    // Its last changes are still to be read, also those of the transaction that drops it.
    db.sql(
        "INSERT INTO t VALUES (2, 'b'); \
         BEGIN; INSERT INTO t VALUES (3, 'c'); INSERT INTO others VALUES (1, 'x'); DROP TABLE t; INSERT INTO others VALUES (2, 'y'); COMMIT; \
         INSERT INTO others VALUES (3, 'z')",
    );
    engine.until_rows(2, &["1|x", "2|y", "3|z"]);
    let failed = engine.until_table_failed(1);
    assert_eq!(failed, "database 'dropped_table' has no table 'public.t' [tables of this schema: others]");
    assert_eq!(engine.rows(1), ["1|a", "2|b", "3|c"], "its rows stay");
    // As a back-up brings it back.
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (2, 'b'), (4, 'd'); INSERT INTO others VALUES (4, 'w')");
    engine.add(1, tables[0].clone());
    engine.until_rows(1, &["2|b", "4|d"]);
    db.sql("DELETE FROM t WHERE id = 2; DELETE FROM others WHERE id < 4");
    engine.until_rows(1, &["4|d"]);
    engine.until_rows(2, &["4|w"]);
    assert_eq!((engine.missed, engine.failed.as_deref()), (0, None), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn rights_that_are_taken_away_under_the_stream_are_told_and_given_back() {
    let db = prepared("no_rights");
    db.sql(
        "CREATE SCHEMA s; CREATE TABLE s.w (id int PRIMARY KEY, v text); INSERT INTO s.w VALUES (1, 'a'); \
         CREATE ROLE guest LOGIN REPLICATION PASSWORD 'guest'; GRANT USAGE ON SCHEMA s TO guest; GRANT SELECT ON s.w, t TO guest; \
         CREATE PUBLICATION gridhouse_no_rights_slot FOR TABLE s.w, t WITH (publish_via_partition_root = true)",
    );
    let by_guest = |name| with(with(table(&db, name), "username", "guest"), "password", "guest");
    let tables = [with(by_guest("w"), "schema-name", "s"), by_guest("t")];
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    engine.until_rows(2, &["1|a"]);
    // What is needed for its contents alone: changes come on, and when contents are to be compared the table fails alone.
    let cases = [
        ("REVOKE SELECT ON s.w FROM guest", "role 'guest' may not read table s.w [GRANT SELECT ON s.w TO guest]"),
        (
            "REVOKE USAGE ON SCHEMA s FROM guest",
            "role 'guest' lacks USAGE on schema s [GRANT USAGE ON SCHEMA s TO guest]",
        ),
        (
            "ALTER TABLE s.w ENABLE ROW LEVEL SECURITY",
            "row-level security may hide rows of table s.w from role 'guest' [ALTER ROLE guest BYPASSRLS]",
        ),
    ];
    for (id, (taken, told)) in (2..).zip(cases) {
        db.sql(&format!("{taken}; UPDATE s.w SET v = '{id}'; UPDATE t SET v = '{id}'"));
        engine.until_rows(1, &[&format!("1|{id}")]);
        db.sql(&format!(
            "ALTER PUBLICATION gridhouse_no_rights_slot DROP TABLE s.w; UPDATE s.w SET v = 'again {id}'; \
             ALTER PUBLICATION gridhouse_no_rights_slot ADD TABLE s.w"
        ));
        assert_eq!(engine.until_table_failed(1), told);
        let refused = PostgresCdc::new(&context()).describe(&tables[0]).unwrap_err();
        assert_eq!(format!("{refused} [{}]", refused.remedy().unwrap()), told);
        db.sql(&format!("UPDATE t SET v = 'beside {id}'"));
        engine.until_rows(2, &[&format!("1|beside {id}")]);
        db.sql(remedy(told));
        engine.add(1, tables[0].clone());
        engine.until_rows(1, &[&format!("1|again {id}")]);
    }
    // What the whole stream needs: it goes on until it connects anew, waits, and goes on by itself.
    let cut = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'no_rights_slot'";
    let cases = [
        (
            "ALTER ROLE guest NOREPLICATION",
            "role 'guest' may not read the stream of changes [ALTER ROLE guest REPLICATION]",
        ),
        ("REVOKE CONNECT ON DATABASE no_rights FROM PUBLIC", " [GRANT CONNECT ON DATABASE no_rights TO guest]"),
        ("ALTER ROLE guest NOLOGIN", " [let the role log in there: ALTER ROLE guest LOGIN; or create it: "),
    ];
    for (id, (taken, told)) in (20..).zip(cases) {
        let before = engine.waiting.len();
        db.sql(&format!("{taken}; UPDATE t SET v = '{id}'"));
        db.sql(cut);
        engine.until(told, |e| e.waiting[before..].iter().any(|waits| waits.contains(told)));
        let statement = told.rsplit_once(['[', ':']).map_or("", |(_, text)| text);
        let statement =
            if told.contains("LOGIN;") { "ALTER ROLE guest LOGIN" } else { statement.trim_end_matches(']') };
        db.sql(&format!("{statement}; UPDATE s.w SET v = '{id}'"));
        engine.until_rows(1, &[&format!("1|{id}")]);
        engine.until_rows(2, &[&format!("1|{id}")]);
    }
    assert_eq!((engine.missed, engine.failed.as_deref()), (0, None), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_server_whose_settings_do_not_serve_any_more_is_waited_for() {
    let cluster = Arc::new(Cluster::start(&["max_replication_slots = 2"]));
    let db = Db::within(cluster.clone(), "settings");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let tables = [table(&db, "t")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    let durable = engine.stop();
    db.sql("SELECT pg_drop_replication_slot('settings_slot')");
    db.sql("ALTER SYSTEM SET wal_level = 'replica'");
    cluster.down("fast");
    cluster.up();
    db.sql("INSERT INTO t VALUES (2, 'b')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until("the wait", |e| !e.waiting.is_empty());
    let waits = engine.waiting[0].clone();
    assert!(waits.contains(" has wal_level 'replica', and changes can be read only with 'logical' ["), "{waits}");
    db.sql(remedy(&waits));
    cluster.down("fast");
    cluster.up();
    engine.until_rows(1, &["1|a", "2|b"]);
    let durable = engine.stop();
    // Others take every slot.
    db.sql("SELECT pg_drop_replication_slot('settings_slot'); DELETE FROM t WHERE id = 1");
    db.sql("SELECT pg_create_physical_replication_slot('one'), pg_create_physical_replication_slot('two')");
    let mut engine = Engine::resume(&key, &tables, durable);
    let full = " has no free replication slot: all 2 are used [drop one that is not needed (nobody reads 'one', 'two' now): \
                SELECT pg_drop_replication_slot('…'); or ALTER SYSTEM SET max_replication_slots = 4; then restart the server]";
    engine.until("the wait", |e| e.waiting.iter().any(|waits| waits.ends_with(full)));
    let refused = PostgresCdc::new(&context()).describe(&tables[0]).unwrap_err();
    assert!(full.starts_with(refused.message().split_once(')').unwrap().1), "{refused}");
    let (raise, _) = full.split_once(" or ").unwrap().1.split_once("; then").unwrap();
    db.sql(raise);
    cluster.down("fast");
    cluster.up();
    engine.until_rows(1, &["2|b"]);
    // Nothing bounds what the server keeps for a reader that is stopped.
    let notices = || PostgresCdc::new(&context()).describe(&tables[0]).unwrap().notices;
    let told = notices().into_iter().find(|notice| notice.contains("without limit; to protect its disk:")).unwrap();
    let statements: Vec<&str> = told.split('`').skip(1).step_by(2).collect();
    assert_eq!(statements.len(), 2, "{told}");
    statements
        .iter()
        .for_each(|statement| assert_eq!(db.sql(statement), "t".repeat(statement.matches("SELECT").count())));
    db.until_one("SELECT count(*) FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting = '10240'");
    assert!(!notices().iter().any(|notice| notice.contains("without limit")), "{:?}", notices());
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

#[test]
fn a_replica_identity_that_is_changed_under_a_stream_fails_that_table_alone() {
    let db = prepared("identity");
    db.sql("CREATE UNIQUE INDEX by_v ON t (v); ALTER TABLE t ALTER v SET NOT NULL");
    db.sql("CREATE TABLE keyless (id int NOT NULL, v text); ALTER TABLE keyless REPLICA IDENTITY FULL; CREATE UNIQUE INDEX by_id ON keyless (id)");
    db.sql("INSERT INTO keyless VALUES (1, 'a'), (2, 'b'); CREATE TABLE u (id int PRIMARY KEY, v text)");
    let mut tables = [table(&db, "t"), table(&db, "keyless"), table(&db, "u")];
    tables[1].primary_key.clear();
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until("the contents", |e| e.snapshots == 3);
    db.sql("ALTER TABLE t REPLICA IDENTITY USING INDEX by_v; ALTER TABLE keyless REPLICA IDENTITY USING INDEX by_id");
    // Rows that come need no old ones.
    db.sql("INSERT INTO t VALUES (2, 'b'); INSERT INTO keyless VALUES (3, 'c'); INSERT INTO u VALUES (1, 'x')");
    engine.until_rows(1, &["1|a", "2|b"]);
    engine.until_rows(2, &["1|a", "2|b", "3|c"]);
    // The server does not tell which row had the old key.
    db.sql("UPDATE t SET id = 10 WHERE id = 1; UPDATE keyless SET v = 'z' WHERE id = 3; INSERT INTO u VALUES (2, 'y')");
    let (keyed, keyless) = (engine.until_table_failed(1), engine.until_table_failed(2));
    assert_eq!(
        keyed,
        "the declared key column 'id' is not told by deletes and updates any more: table public.t has another replica identity \
         [ALTER TABLE public.t REPLICA IDENTITY FULL; then START JOB]"
    );
    assert_eq!(
        keyless,
        "table public.keyless tells no whole old rows any more [ALTER TABLE public.keyless REPLICA IDENTITY FULL; then START JOB]"
    );
    engine.until_rows(3, &["1|x", "2|y"]);
    db.sql(remedy(&keyed));
    db.sql(remedy(&keyless));
    engine.add(1, tables[0].clone());
    engine.add(2, tables[1].clone());
    engine.until_rows(1, &["10|a", "2|b"]);
    engine.until_rows(2, &["1|a", "2|b", "3|z"]);
    db.sql("UPDATE t SET id = 1 WHERE id = 10; DELETE FROM keyless WHERE id = 1");
    engine.until_rows(1, &["1|a", "2|b"]);
    engine.until_rows(2, &["2|b", "3|z"]);
    assert_eq!((engine.connected, engine.waiting.len()), (1, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn what_nobody_tells_of_single_partitions_is_compared_by_the_statements_of_the_documents() {
    let db = Db::new("partitions");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20); \
         INSERT INTO t VALUES (1, 'a'), (11, 'b')",
    );
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a", "11|b"]);
    // New partitions and changes of all kinds come by the root.
    db.sql("CREATE TABLE top PARTITION OF t FOR VALUES FROM (20) TO (30); INSERT INTO t VALUES (21, 'c'); UPDATE t SET id = 2 WHERE id = 11");
    engine.until_rows(1, &["1|a", "21|c", "2|b"]);
    // Of these PostgreSQL says nothing.
    db.sql("TRUNCATE low; ALTER TABLE t DETACH PARTITION top; INSERT INTO t VALUES (12, 'd')");
    engine.until_rows(1, &["1|a", "12|d", "21|c", "2|b"]);
    assert_eq!((engine.snapshots, engine.truncates, engine.waiting.len()), (1, 0, 0));

    db.sql("ALTER PUBLICATION gridhouse_partitions_slot DROP TABLE public.t");
    db.sql("ALTER PUBLICATION gridhouse_partitions_slot ADD TABLE public.t");
    engine.until_rows(1, &["12|d"]);
    assert_eq!((engine.snapshots, engine.missed), (2, 0), "this table's alone");
    assert!(engine.waiting[0].ends_with("; its contents are read again and compared"), "{:?}", engine.waiting);
    db.sql("TRUNCATE t; INSERT INTO t VALUES (13, 'e')");
    engine.until_rows(1, &["13|e"]);
    assert_eq!(engine.truncates, 1);
    engine.stop();
}
