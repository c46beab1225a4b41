//! Statements that change stored values, or the name that rows show, without a word in the stream.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with, with_metadata};

fn table(db: &Db, name: &str) -> TableDef {
    let definition = db.cdc(name, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &["id"]);
    with(definition, "heartbeat.interval.ms", "500")
}

/// Waits until the source was looked at, from now on.
fn look(engine: &mut Engine) {
    for _ in 0..2 {
        engine.lag = None;
        engine.until("a look", |e| e.lag.is_some());
    }
}

const ALTERED: &str = "columns of table public.t were altered, and with them values that no change tells; \
                       its contents are read again and compared";

#[test]
fn values_that_are_altered_under_a_stream_are_compared() {
    let db = Db::new("altered");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a", "2|b"]);
    // Another column under the name, then its values, then two that change their names.
    db.sql("ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v text DEFAULT 'anew'");
    engine.until_rows(1, &["1|anew", "2|anew"]);
    db.sql("ALTER TABLE t ALTER v TYPE text USING v || id");
    engine.until_rows(1, &["1|anew1", "2|anew2"]);
    db.sql("ALTER TABLE t ADD COLUMN w text; UPDATE t SET w = 'w'");
    look(&mut engine);
    assert_eq!(engine.waiting, [ALTERED; 2], "an added column is nothing");
    db.sql("BEGIN; ALTER TABLE t RENAME v TO was; ALTER TABLE t RENAME w TO v; COMMIT");
    engine.until_rows(1, &["1|w", "2|w"]);
    assert_eq!(engine.waiting, [ALTERED; 3]);
    // None of these changes a value without saying so.
    db.sql("ALTER TABLE t ALTER v SET DEFAULT 'x', ALTER v SET STATISTICS 7; ALTER TABLE t ALTER v SET NOT NULL");
    look(&mut engine);
    db.sql("ALTER TABLE t RENAME v TO x; ALTER TABLE t RENAME x TO v");
    look(&mut engine);
    db.sql("CREATE INDEX ON t (v); ANALYZE t");
    db.sql("VACUUM t");
    look(&mut engine);
    db.sql("INSERT INTO t (id, v) VALUES (3, 'c')");
    engine.until_rows(1, &["1|w", "2|w", "3|c"]);
    assert_eq!((engine.snapshots, engine.missed, engine.connected), (4, 0, 4), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn a_table_that_is_emptied_or_packed_is_not_read_again() {
    let db = Db::new("packed");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let mut engine = Engine::start(&[table(&db, "t")], Durable::default());
    engine.until_rows(1, &["1|a", "2|b"]);
    db.sql("TRUNCATE t");
    db.sql("INSERT INTO t VALUES (3, 'c')");
    engine.until_rows(1, &["3|c"]);
    look(&mut engine);
    db.sql("VACUUM FULL t");
    look(&mut engine);
    db.sql("CLUSTER t USING t_pkey");
    look(&mut engine);
    assert_eq!((engine.snapshots, engine.waiting.len()), (1, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn values_that_are_altered_while_stopped_are_compared() {
    let db = Db::new("altered_stopped");
    db.sql(
        "CREATE TYPE state AS ENUM ('on', 'off'); CREATE TABLE t (id int PRIMARY KEY, v state); \
         CREATE TABLE cut (id int PRIMARY KEY, v varchar(9)) PARTITION BY RANGE (id); \
         CREATE TABLE cut_low PARTITION OF cut FOR VALUES FROM (0) TO (10); CREATE TABLE same (id int PRIMARY KEY, v text); \
         INSERT INTO t VALUES (1, 'on'); INSERT INTO cut VALUES (1, 'abcdef'); INSERT INTO same VALUES (1, 'same')",
    );
    let tables = [table(&db, "t"), table(&db, "cut"), table(&db, "same")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|on"]);
    engine.until_rows(2, &["1|abcdef"]);
    engine.until_rows(3, &["1|same"]);
    let durable = engine.stop();
    db.sql("ALTER TYPE state RENAME VALUE 'on' TO 'closed'; ALTER TABLE cut ALTER v TYPE varchar(3) USING left(v, 3)");
    // Partitions come and go each day.
    db.sql("CREATE TABLE cut_high PARTITION OF cut FOR VALUES FROM (10) TO (20); INSERT INTO same VALUES (2, 'more')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(1, &["1|closed"]);
    engine.until_rows(2, &["1|abc"]);
    engine.until_rows(3, &["1|same", "2|more"]);
    let told = "columns of table public.t were altered, and with them values that no change tells; \
                columns of table public.cut were altered, and with them values that no change tells; \
                its contents are read again and compared";
    assert_eq!((engine.waiting[0].as_str(), engine.outdated, engine.snapshots), (told, 2, 2));
    let durable = engine.stop();
    // Once compared, they are those of before.
    db.sql("CREATE TABLE cut_top PARTITION OF cut FOR VALUES FROM (20) TO (30); INSERT INTO cut VALUES (21, 'new')");
    let mut engine = Engine::resume(&key, &tables, durable);
    engine.until_rows(2, &["1|abc", "21|new"]);
    look(&mut engine);
    assert_eq!((engine.snapshots, engine.outdated, engine.waiting.len()), (0, 0, 0), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn contents_of_earlier_versions_are_marked_without_being_read_again() {
    let db = Db::new("unmarked");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let tables = [table(&db, "t")];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until_rows(1, &["1|a"]);
    let mut durable = engine.stop();
    let marked = durable.tables[&1].snapshot.clone().unwrap();
    // A place alone, a place with its timeline, that with the table and its entry in the publication.
    for kept in [8, 20, 28] {
        durable.tables.get_mut(&1).unwrap().snapshot = Some(marked[..kept].to_vec());
        let mut engine = Engine::resume(&key, &tables, durable);
        engine.until("the mark", |e| e.durable.tables[&1].snapshot.as_ref().is_some_and(|now| *now == marked));
        look(&mut engine);
        assert_eq!((engine.snapshots, engine.outdated, engine.left_out), (0, 0, 1), "{:?}", engine.waiting);
        durable = engine.stop();
    }
    let mut engine = Engine::resume(&key, &tables, durable);
    look(&mut engine);
    assert_eq!((engine.snapshots, engine.left_out), (0, 0), "it is marked now");
    db.sql("ALTER TABLE t ALTER v TYPE text USING upper(v)");
    engine.until_rows(1, &["1|A"]);
    assert_eq!(engine.waiting, [ALTERED]);
    engine.stop();
}

#[test]
fn a_table_that_is_renamed_within_its_pattern_is_compared_where_rows_show_the_name() {
    let db = Db::new("renamed_within");
    db.sql("CREATE TABLE m_1 (id int PRIMARY KEY, v text); INSERT INTO m_1 VALUES (1, 'a'), (2, 'b')");
    let plain = table(&db, "m_[0-9]+");
    let mut shown = with_metadata(plain.clone(), "t", TypeKind::STRING, "table_name");
    shown.primary_key = vec![2, 0];
    let mut engine = Engine::start(&[shown, plain], Durable::default());
    engine.until_rows(1, &["1|a|m_1", "2|b|m_1"]);
    engine.until_rows(2, &["1|a", "2|b"]);
    db.sql("ALTER TABLE m_1 RENAME TO m_9; UPDATE m_9 SET v = 'c' WHERE id = 1; DELETE FROM m_9 WHERE id = 2");
    engine.until_rows(1, &["1|c|m_9"]);
    engine.until_rows(2, &["1|c"]);
    let told = "table public.m_[0-9]+ is called otherwise than before, and its rows show the name; \
                its contents are read again and compared";
    assert_eq!((engine.waiting.as_slice(), engine.snapshots), ([told.to_owned()].as_slice(), 3));
    engine.stop();
}
