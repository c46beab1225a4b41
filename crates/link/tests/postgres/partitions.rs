//! Partitioned tables: what is told of an old row is set for each leaf, and published under the name of the root.

use gridhouse_base::TypeKind;
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;

use crate::catalog_faults::remedy;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, with};

fn table(db: &Db, name: &str, key: &[&str]) -> TableDef {
    let columns = [("day", TypeKind::Int), ("id", TypeKind::Int), ("v", TypeKind::STRING)];
    with(db.cdc(name, &columns, key), "heartbeat.interval.ms", "500")
}

/// Table `t` by days, its rows told apart by `id` alone, which no index of it can say.
fn by_day(name: &str) -> Db {
    let db = Db::new(name);
    db.sql(
        "CREATE TABLE t (day int, id int NOT NULL, v text, PRIMARY KEY (day, v)) PARTITION BY RANGE (day); \
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); \
         CREATE TABLE \"High\" PARTITION OF t FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (day); \
         CREATE TABLE \"High 1\" PARTITION OF \"High\" FOR VALUES FROM (10) TO (20); \
         INSERT INTO t VALUES (1, 1, 'a'), (11, 2, 'b')",
    );
    db
}

fn refused(definition: &TableDef) -> String {
    let error = PostgresCdc::new(&context()).describe(definition).unwrap_err();
    format!("{error} [{}]", error.remedy().unwrap_or_default())
}

#[test]
fn leaves_that_do_not_tell_the_declared_key_are_refused_each_with_its_statement() {
    let db = by_day("leaves_refused");
    db.sql("CREATE UNIQUE INDEX low_id ON low (id); ALTER TABLE low REPLICA IDENTITY USING INDEX low_id");
    let keyed = table(&db, "t", &["id"]);
    // What the root itself has is nothing to its leaves.
    for root in ["FULL", "DEFAULT", "NOTHING"] {
        db.sql(&format!("ALTER TABLE t REPLICA IDENTITY {root}"));
        assert_eq!(
            refused(&keyed),
            "the declared key column 'id' is not told by deletes and updates: partition public.High 1 of table public.t has a \
             replica identity without it [ALTER TABLE public.\"High 1\" REPLICA IDENTITY FULL]",
            "{root}"
        );
        PostgresCdc::new(&context()).describe(&table(&db, "t", &["day"])).expect_err("the index of low has no day");
    }
    // An index that is the replica identity no more: the server then tells nothing.
    db.sql("DROP INDEX low_id");
    let both = "the declared key column 'id' is not told by deletes and updates: partition public.High 1 and 1 more of table public.t \
                have a replica identity without it [ALTER TABLE public.\"High 1\" REPLICA IDENTITY FULL; \
                ALTER TABLE public.low REPLICA IDENTITY FULL]";
    assert_eq!(refused(&keyed), both);
    let keyless = table(&db, "t", &[]);
    assert_eq!(
        refused(&keyless),
        "table public.t is declared without a primary key, and partition public.High 1 and 1 more do not tell whole old rows \
         [ALTER TABLE public.\"High 1\" REPLICA IDENTITY FULL; ALTER TABLE public.low REPLICA IDENTITY FULL; \
         or declare PRIMARY KEY (day, v) NOT ENFORCED]"
    );
    // Many of them have one statement for all.
    db.sql("DO $$ BEGIN FOR i IN 20..28 LOOP EXECUTE format('CREATE TABLE p%s PARTITION OF \"High\" FOR VALUES FROM (%s) TO (%s)', i, i, i + 1); END LOOP; END $$");
    let many = refused(&keyed);
    assert!(many.contains("partition public.High 1 and 10 more of table public.t have"), "{many}");
    db.sql(many.split_once(" [").unwrap().1.trim_end_matches(']'));
    for definition in [keyed, keyless] {
        PostgresCdc::new(&context()).describe(&definition).unwrap();
    }
}

#[test]
fn a_leaf_that_tells_less_than_its_root_fails_its_table_before_a_row_is_wrong() {
    let db = by_day("leaf_less");
    db.sql("ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE low REPLICA IDENTITY FULL; ALTER TABLE \"High 1\" REPLICA IDENTITY FULL");
    db.sql("CREATE TABLE u (day int, id int PRIMARY KEY, v text); INSERT INTO u VALUES (0, 0, '')");
    let tables = [table(&db, "t", &["id"]), table(&db, "t", &[]), table(&db, "u", &["id"])];
    let key = PostgresCdc::new(&context()).describe(&tables[0]).unwrap().stream_key;
    let mut engine = Engine::start(&tables, Durable::default());
    let begin = ["1|1|a", "11|2|b"];
    engine.until_rows(1, &begin);
    engine.until_rows(2, &begin);
    // A new partition begins with what its own primary key tells. Rows that come need no old ones.
    db.sql("CREATE TABLE top PARTITION OF \"High\" FOR VALUES FROM (20) TO (30); INSERT INTO t VALUES (21, 3, 'c'), (22, 4, 'd')");
    let three = ["1|1|a", "11|2|b", "21|3|c", "22|4|d"];
    engine.until_rows(1, &three);
    engine.until_rows(2, &three);
    // Nor does a row of another one, where old rows tell the key.
    db.sql("UPDATE t SET id = 5 WHERE id = 1");
    let moved = ["1|5|a", "11|2|b", "21|3|c", "22|4|d"];
    engine.until_rows(1, &moved);
    db.sql("BEGIN; UPDATE t SET id = 30 WHERE id = 3; DELETE FROM t WHERE id = 4; UPDATE u SET v = 'on'; COMMIT");
    let keyed = engine.until_table_failed(1);
    assert_eq!(
        keyed,
        "the declared key column 'id' is not told by deletes and updates: partition public.top of table public.t has a replica \
         identity without it [ALTER TABLE public.top REPLICA IDENTITY FULL; then START JOB]"
    );
    let keyless = engine.until_table_failed(2);
    assert!(
        keyless.contains("declared without a primary key, and partition public.top does not tell whole old rows"),
        "{keyless}"
    );
    assert!(keyless.contains(" [ALTER TABLE public.top REPLICA IDENTITY FULL; "), "{keyless}");
    engine.until_rows(3, &["0|0|on"]);
    // Nothing of it came.
    engine.until_rows(1, &moved);
    db.sql(remedy(&keyed));
    for id in [1, 2] {
        engine.add(id, tables[id as usize - 1].clone());
        engine.until_rows(id, &["1|5|a", "11|2|b", "21|30|c"]);
    }
    // What the stream has told of the leaf is older than the contents, also where another leaf changes first; and what the root is
    // given is nothing to old rows that its leaves tell.
    db.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET id = 6 WHERE id = 5");
    db.sql("UPDATE t SET id = 31 WHERE id = 30; DELETE FROM t WHERE id = 2");
    for id in [1, 2] {
        engine.until_rows(id, &["1|6|a", "21|31|c"]);
    }

    // Under a stream that rests: a spell that is over, and one that is not.
    let durable = engine.stop();
    db.sql("ALTER TABLE low REPLICA IDENTITY DEFAULT; UPDATE t SET id = 7 WHERE id = 6; ALTER TABLE low REPLICA IDENTITY FULL");
    let mut engine = Engine::resume(&key, &tables, durable);
    for id in [1, 2] {
        let failed = engine.until_table_failed(id);
        assert!(failed.contains("partition public.low"), "{failed}");
        assert_eq!(engine.rows(id), ["1|6|a", "21|31|c"]);
        engine.add(id, tables[id as usize - 1].clone());
        engine.until_rows(id, &["1|7|a", "21|31|c"]);
    }
    let durable = engine.stop();
    db.sql("CREATE TABLE extra (LIKE t INCLUDING ALL); ALTER TABLE \"High\" DETACH PARTITION \"High 1\"; ALTER TABLE t DETACH PARTITION \"High\"; \
            ALTER TABLE t ATTACH PARTITION extra FOR VALUES FROM (10) TO (20)");
    let mut engine = Engine::resume(&key, &tables, durable);
    let failed = engine.until_table_failed(1);
    assert_eq!(
        failed,
        "the declared key column 'id' is not told by deletes and updates: partition public.extra of table public.t has a replica \
         identity without it [ALTER TABLE public.extra REPLICA IDENTITY FULL]"
    );
    db.sql(remedy(&failed));
    engine.add(1, tables[0].clone());
    engine.until_rows(1, &["1|7|a"]);
    db.sql("INSERT INTO t VALUES (12, 8, 'x'); UPDATE t SET id = 9 WHERE id = 7");
    db.sql("DELETE FROM t WHERE day = 12");
    engine.until_rows(1, &["1|9|a"]);
    engine.stop();
}

#[test]
fn values_that_a_leaf_does_not_tell_are_kept_whatever_its_root_and_its_neighbours_tell() {
    let db = Db::new("leaf_mix");
    db.sql(
        "CREATE TABLE t (day int, id int, v text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day); ALTER TABLE t ALTER v SET STORAGE EXTERNAL; \
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20); \
         INSERT INTO t VALUES (1, 1, repeat('x', 5000)), (11, 2, repeat('y', 5000))",
    );
    let tables = [table(&db, "t", &["day", "id"])];
    let (x, y) = ("x".repeat(5_000), "y".repeat(5_000));
    let mut engine = Engine::start(&tables, Durable::default());
    let mut id = 2;
    engine.until_rows(1, &[&format!("1|1|{x}"), &format!("11|2|{y}")]);
    for (root, low, high) in [
        ("FULL", "DEFAULT", "DEFAULT"),
        ("FULL", "DEFAULT", "FULL"),
        ("DEFAULT", "FULL", "DEFAULT"),
        ("DEFAULT", "FULL", "FULL"),
        ("FULL", "FULL", "FULL"),
    ] {
        db.sql(&format!("ALTER TABLE t REPLICA IDENTITY {root}; ALTER TABLE low REPLICA IDENTITY {low}; ALTER TABLE high REPLICA IDENTITY {high}"));
        // Both leaves are described anew. Then under another key, with a large value that the update leaves as it was; within a
        // partition, and from one to the other.
        id += 2;
        let asked = engine.snapshots;
        db.sql(&format!(
            "UPDATE t SET id = id; UPDATE t SET id = {id} WHERE day = 1; UPDATE t SET id = {id} + 1 WHERE day = 11"
        ));
        engine.until_rows(1, &[&format!("1|{id}|{x}"), &format!("11|{}|{y}", id + 1)]);
        let is_whole = (low, high) == ("FULL", "FULL");
        assert_eq!(
            engine.snapshots == asked,
            is_whole,
            "{root} {low} {high}: contents are read where a value is not told"
        );
        db.sql("UPDATE t SET day = 12 WHERE day = 1");
        engine.until_rows(1, &[&format!("12|{id}|{x}"), &format!("11|{}|{y}", id + 1)]);
        db.sql("UPDATE t SET day = 1 WHERE day = 12");
        engine.until_rows(1, &[&format!("1|{id}|{x}"), &format!("11|{}|{y}", id + 1)]);
    }
    assert_eq!((engine.connected, engine.failed.as_deref()), (1, None), "{:?}", engine.waiting);
    engine.stop();
}
