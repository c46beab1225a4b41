//! Publications that leave something out.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;

use crate::catalog_faults::remedy;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with};

fn table(db: &Db, name: &str) -> TableDef {
    let definition = db.cdc(name, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"]);
    with(with(definition, "heartbeat.interval.ms", "500"), "debezium.publication.name", "own")
}

/// Why a table cannot be read, with the remedy in brackets.
fn refused(definition: &TableDef) -> String {
    let error = PostgresCdc::new(&context()).describe(definition).unwrap_err();
    format!("{error} [{}]", error.remedy().unwrap_or_default())
}

#[test]
fn kinds_of_changes_that_are_left_out_are_waited_for_and_then_compared() {
    let db = Db::new("kinds");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    db.sql("CREATE PUBLICATION own FOR TABLE t WITH (publish = 'insert, truncate')");
    let tables = [table(&db, "t")];
    let leaves_out = "publication 'own' leaves out changes of the kind update, delete \
                      [as its owner: ALTER PUBLICATION own SET (publish = 'insert, update, delete, truncate')]";
    let told = refused(&tables[0]);
    assert_eq!(told, leaves_out);
    db.sql(remedy(&told));
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a", "2|b"]);
    // Under the stream: nothing tells of these.
    db.sql("ALTER PUBLICATION own SET (publish = 'insert, truncate'); UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2");
    engine.until("the wait", |e| !e.waiting.is_empty());
    assert_eq!(engine.waiting[0], leaves_out);
    db.sql(remedy(leaves_out));
    engine.until_rows(1, &["1|c"]);
    let altered = "publication 'own' was altered, and may have left out changes of table public.t for a while; \
                   its contents are read again and compared";
    assert_eq!((engine.waiting.last().map(String::as_str), engine.outdated), (Some(altered), 1));
    let durable = engine.stop();
    // A spell that is over before anybody looks.
    db.sql("ALTER PUBLICATION own SET (publish = 'truncate')");
    db.sql("INSERT INTO t VALUES (3, 'missed')");
    db.sql(remedy(leaves_out));
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(1, &["1|c", "3|missed"]);
    assert_eq!((engine.waiting.as_slice(), engine.outdated), ([altered.to_owned()].as_slice(), 1));
    let durable = engine.stop();
    // Once compared, it publishes as before.
    let mut engine = Engine::resume(&key, &tables, durable);
    db.sql("DELETE FROM t WHERE id = 3");
    engine.until_rows(1, &["1|c"]);
    assert_eq!((engine.snapshots, engine.outdated, engine.waiting.len()), (0, 0, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn rows_and_columns_that_are_left_out_are_refused_by_name() {
    let db = Db::new("some_only");
    if db.sql("SELECT current_setting('server_version_num')::int < 150000") == "t" {
        return;
    }
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (20, 'b')");
    db.sql("CREATE TABLE u (id int PRIMARY KEY, v text, secret text); INSERT INTO u VALUES (1, 'a', 's')");
    db.sql("CREATE PUBLICATION own FOR TABLE t WHERE (id < 10), u (id, secret)");
    let tables = [table(&db, "t"), table(&db, "u")];
    let told = [refused(&tables[0]), refused(&tables[1])];
    assert_eq!(
        told,
        [
            "publication 'own' holds table public.t with a condition, and leaves out changes of other rows [as its owner: \
             ALTER PUBLICATION own DROP TABLE ONLY public.t; ALTER PUBLICATION own ADD TABLE ONLY public.t]",
            "publication 'own' leaves out the declared column public.u.v [as its owner: \
             ALTER PUBLICATION own DROP TABLE ONLY public.u; ALTER PUBLICATION own ADD TABLE ONLY public.u]",
        ]
    );
    told.iter().for_each(|told| drop(db.sql(remedy(told))));
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a", "20|b"]);
    engine.until_rows(2, &["1|a"]);
    // Under the stream that table fails alone; a column that is not declared may be left out.
    db.sql("ALTER PUBLICATION own SET TABLE t WHERE (id < 10), u (id, v)");
    db.sql("UPDATE t SET v = 'c'; UPDATE u SET v = 'c'");
    let failed = engine.until_table_failed(1);
    assert_eq!(failed, told[0]);
    engine.until_rows(2, &["1|c"]);
    db.sql(remedy(&failed));
    engine.add(1, tables[0].clone());
    engine.until_rows(1, &["1|c", "20|c"]);
    db.sql("DELETE FROM t WHERE id = 20; UPDATE u SET v = 'd'");
    engine.until_rows(1, &["1|c"]);
    engine.until_rows(2, &["1|d"]);
    engine.stop();
}

#[test]
fn partitions_that_are_published_by_their_own_names_are_refused() {
    let db = Db::new("by_leaf");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)");
    db.sql("INSERT INTO t VALUES (1, 'a'); CREATE PUBLICATION own FOR TABLE t");
    let tables = [table(&db, "t")];
    let by_leaf = "publication 'own' publishes the partitions of table public.t each by its own name \
                   [as its owner: ALTER PUBLICATION own SET (publish_via_partition_root = true)]";
    assert_eq!(refused(&tables[0]), by_leaf);
    db.sql(remedy(by_leaf));
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    db.sql("ALTER PUBLICATION own SET (publish_via_partition_root = false); UPDATE t SET v = 'b'");
    let failed = engine.until_table_failed(1);
    assert_eq!(failed, by_leaf);
    db.sql(remedy(&failed));
    engine.add(1, tables[0].clone());
    engine.until_rows(1, &["1|b"]);
    db.sql("UPDATE t SET v = 'c'");
    engine.until_rows(1, &["1|c"]);
    engine.stop();
}

#[test]
fn a_schema_that_was_out_of_the_publication_for_a_while_is_compared() {
    let db = Db::new("by_schema");
    if db.sql("SELECT current_setting('server_version_num')::int < 150000") == "t" {
        return;
    }
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    db.sql("CREATE PUBLICATION own FOR TABLES IN SCHEMA public");
    let tables = [table(&db, "t")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    let mut durable = engine.stop();
    // An earlier version kept the publication's own number.
    let publication: u32 = db.sql("SELECT oid FROM pg_publication").parse().unwrap();
    let snapshot = durable.tables.get_mut(&1).unwrap().snapshot.as_mut().unwrap();
    snapshot.truncate(24);
    snapshot.extend(publication.to_be_bytes());
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until("the mark", |e| e.left_out == 1);
    assert_eq!((engine.snapshots, engine.waiting.len()), (0, 0), "{:?}", engine.waiting);
    let durable = engine.stop();
    db.sql("ALTER PUBLICATION own DROP TABLES IN SCHEMA public");
    db.sql("INSERT INTO t VALUES (2, 'b')");
    db.sql("ALTER PUBLICATION own ADD TABLES IN SCHEMA public");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(1, &["1|a", "2|b"]);
    assert!(engine.waiting[0].starts_with("publication 'own' did not hold table public.t for a while"));
    engine.stop();
}
