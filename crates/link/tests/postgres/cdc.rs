//! Contents, then changes, exactly once.

use gridhouse_base::TypeKind;

use crate::engine::{Durable, Engine};
use crate::setup::{Db, with, with_metadata};

fn orders() -> Vec<(&'static str, TypeKind)> {
    vec![
        ("id", TypeKind::BigInt),
        ("region", TypeKind::STRING),
        ("amount", TypeKind::Decimal { precision: 12, scale: 2 }),
    ]
}

#[test]
fn contents_then_inserts_updates_deletes_and_truncate() {
    let db = Db::new("basics");
    db.sql(
        "CREATE TABLE orders (id bigint PRIMARY KEY, region text, amount numeric(12,2));
            INSERT INTO orders VALUES (1, 'north', 1.50), (2, E'tab\\tand \\\\', NULL)",
    );
    let mut engine = Engine::start(&[db.cdc("orders", &orders(), &["id"])], Durable::default());
    engine.until_rows(1, &["1|north|150", "2|tab\tand \\|"]);
    db.sql("INSERT INTO orders VALUES (3, 'süd', 3)");
    engine.until_rows(1, &["1|north|150", "2|tab\tand \\|", "3|süd|300"]);
    db.sql("BEGIN; UPDATE orders SET amount = 7 WHERE id = 2; DELETE FROM orders WHERE id = 1; COMMIT");
    engine.until_rows(1, &["2|tab\tand \\|700", "3|süd|300"]);
    db.sql("UPDATE orders SET id = 30 WHERE id = 3");
    engine.until_rows(1, &["2|tab\tand \\|700", "30|süd|300"]);
    db.sql("BEGIN; TRUNCATE orders; INSERT INTO orders VALUES (9, 'new', 0); COMMIT");
    engine.until_rows(1, &["9|new|0"]);
    assert_eq!((engine.truncates, engine.snapshots, engine.waiting.len()), (1, 1, 0));
    engine.forget();
    assert_eq!(db.sql("SELECT count(*) FROM pg_replication_slots WHERE database = 'basics'"), "0");
    assert_eq!(db.sql("SELECT count(*) FROM pg_publication"), "0");
}

#[test]
fn a_transaction_over_two_tables_is_one_commit_and_names_match_without_case() {
    let db = Db::new("two_tables");
    db.sql("CREATE TABLE a (\"Id\" int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)");
    let columns = [("id", TypeKind::Int), ("V", TypeKind::STRING)];
    let tables = [db.cdc("a", &columns, &["id"]), db.cdc("b", &columns, &["id"])];
    let mut engine = Engine::start(&tables, Durable::default());
    engine.until("both snapshots", |e| e.snapshots == 2 && e.connected == 1);
    for i in 0..50 {
        db.sql(&format!("BEGIN; INSERT INTO a VALUES ({i}, 'x'); INSERT INTO b VALUES ({i}, 'x'); COMMIT"));
    }
    let mut seen = 0;
    while seen < 50 {
        let before = engine.commits;
        engine.until("a commit", |e| e.commits > before);
        seen = engine.rows(1).len();
        assert_eq!(seen, engine.rows(2).len(), "both tables agree at every commit");
    }
    let slots = db.sql("SELECT count(*) FROM pg_replication_slots WHERE database = 'two_tables'");
    assert_eq!(slots, "1", "tables of one database share a slot");
    engine.stop();
}

#[test]
fn unchanged_large_values_keep_what_is_stored() {
    let db = Db::new("toast");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
            INSERT INTO t VALUES (1, 1, repeat('x', 10000)), (2, 2, repeat('y', 10000))",
    );
    let columns = [("id", TypeKind::Int), ("n", TypeKind::Int), ("big", TypeKind::STRING)];
    let mut engine = Engine::start(&[db.cdc("t", &columns, &["id"])], Durable::default());
    let (x, y) = ("x".repeat(10_000), "y".repeat(10_000));
    engine.until_rows(1, &[&format!("1|1|{x}"), &format!("2|2|{y}")]);
    db.sql("UPDATE t SET n = 10 WHERE id = 1");
    engine.until_rows(1, &[&format!("1|10|{x}"), &format!("2|2|{y}")]);
    assert_eq!(engine.partial, 1);
    // A changed key with an unchanged large value: nobody tells the value under the new key, so it is read again.
    db.sql("UPDATE t SET id = 20 WHERE id = 2");
    engine.until_rows(1, &[&format!("1|10|{x}"), &format!("20|2|{y}")]);
    assert_eq!(engine.outdated, 1, "on record, for a process that ends before they are read");
    // With full old rows the old row tells it.
    db.sql("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET id = 21 WHERE id = 20");
    engine.until_rows(1, &[&format!("1|10|{x}"), &format!("21|2|{y}")]);
    assert_eq!(engine.snapshots, 2);
    engine.stop();
}

#[test]
fn a_table_without_key_delivers_whole_old_rows() {
    let db = Db::new("no_key");
    db.sql(
        "CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'x'), (1, 'x')",
    );
    let columns = [("a", TypeKind::Int), ("b", TypeKind::STRING)];
    let mut engine = Engine::start(&[db.cdc("t", &columns, &[])], Durable::default());
    engine.until_rows(1, &["1|x", "1|x"]);
    db.sql("UPDATE t SET b = 'y' WHERE ctid = (SELECT min(ctid) FROM t)");
    engine.until_rows(1, &["1|x", "1|y"]);
    db.sql("DELETE FROM t WHERE b = 'x'");
    engine.until_rows(1, &["1|y"]);
    engine.stop();
}

#[test]
fn several_tables_by_a_pattern_with_metadata() {
    let db = Db::new("patterns");
    db.sql("CREATE TABLE meter_1 (id int PRIMARY KEY); CREATE TABLE meter_2 (id int PRIMARY KEY); CREATE TABLE other (id int);
            INSERT INTO meter_1 VALUES (1); INSERT INTO meter_2 VALUES (2)");
    let mut definition = db.cdc("meter_[0-9]+", &[("id", TypeKind::Int)], &["id"]);
    for (name, key) in [("t", "table_name"), ("s", "schema_name"), ("d", "database_name"), ("k", "row_kind")] {
        definition = with_metadata(definition, name, TypeKind::STRING, key);
    }
    definition = with_metadata(definition, "ts", TypeKind::TimestampLtz(3), "op_ts");
    let mut engine = Engine::start(&[definition], Durable::default());
    engine.until_rows(1, &["1|meter_1|public|patterns|+I|0", "2|meter_2|public|patterns|+I|0"]);
    db.sql("INSERT INTO meter_2 VALUES (3)");
    engine.until("the change", |e| e.rows(1).len() == 3);
    let row = engine.rows(1)[2].clone();
    let millis: i64 = row.strip_prefix("3|meter_2|public|patterns|+I|").unwrap().parse().unwrap();
    assert!(millis > 1_700_000_000_000, "the commit's time: {millis}");
    engine.stop();
}

#[test]
fn a_table_added_later_joins_at_its_snapshot() {
    let db = Db::new("added");
    db.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b SELECT generate_series(1, 3)");
    let columns = [("id", TypeKind::Int)];
    let mut engine = Engine::start(&[db.cdc("a", &columns, &["id"])], Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (4)");
    engine.add(2, db.cdc("b", &columns, &["id"]));
    engine.until_rows(2, &["1", "2", "3", "4"]);
    db.sql("BEGIN; INSERT INTO a VALUES (2); INSERT INTO b VALUES (5); DELETE FROM b WHERE id = 1; COMMIT");
    engine.until_rows(2, &["2", "3", "4", "5"]);
    engine.until_rows(1, &["1", "2"]);
    assert_eq!(engine.connected, 1, "the stream goes on");
    engine.stop();
}

#[test]
fn a_large_transaction_streams_in_bounded_batches() {
    let db = Db::new("large");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let columns = [("id", TypeKind::Int), ("v", TypeKind::STRING)];
    let mut engine = Engine::start(&[db.cdc("t", &columns, &["id"])], Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100000) i");
    engine.until("the transaction", |e| e.durable.tables[&1].rows.len() == 100_000);
    assert_eq!(engine.commits, 1);
    assert!(engine.largest_batch <= 16_384, "{}", engine.largest_batch);
    assert!(engine.rows(1).contains(&"99999|row 99999".to_owned()));
    engine.stop();
}

#[test]
fn from_the_latest_offset_there_are_no_contents() {
    let db = Db::new("latest");
    db.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let definition = with(db.cdc("t", &[("id", TypeKind::Int)], &["id"]), "scan.startup.mode", "latest-offset");
    let mut engine = Engine::start(&[definition], Durable::default());
    engine.until("the start", |e| e.connected == 1);
    db.sql("INSERT INTO t VALUES (2)");
    engine.until_rows(1, &["2"]);
    engine.stop();
}

#[test]
fn rows_that_do_not_fit_are_kept_apart() {
    let db = Db::new("cdc_dead_letters");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v bigint, a int[]); \
         INSERT INTO t VALUES (1, 10, '{1}'), (2, 5000000000, '{2}'), (3, 30, '{{1},{2}}'), (4, 40, '{4}')",
    );
    let ints = TypeKind::Array(Box::new(TypeKind::Int.nullable()));
    let columns = [("id", TypeKind::Int), ("v", TypeKind::Int), ("a", ints)];
    let table = with(db.cdc("t", &columns, &["id"]), "on-error", "dead-letter");
    let mut engine = Engine::start(&[table], Durable::default());
    engine.until("the contents", |e| e.connected == 1 && e.rows(1).len() == 2);
    assert_eq!(engine.rejected.len(), 2, "{:?}", engine.rejected);
    assert_eq!(
        engine.rejected[0],
        "1: id = '2', v = '5000000000', a = '{2}': table public.t, column v: the value '5000000000' is outside the range of the declared type"
    );
    // Good to bad, bad to good, bad to bad, a new bad one, and one that was bad goes.
    db.sql("UPDATE t SET v = 5000000001 WHERE id = 1; UPDATE t SET v = 20 WHERE id = 2");
    db.sql("UPDATE t SET v = 31 WHERE id = 3; INSERT INTO t VALUES (5, 6000000000, NULL); DELETE FROM t WHERE id = 3");
    db.sql("INSERT INTO t VALUES (6, 60, '{6}')");
    engine.until("the changes", |e| e.rejected.len() == 5 && e.rows(1).iter().any(|row| row.starts_with("6|")));
    let ids: Vec<String> =
        engine.rows(1).iter().map(|row| row.split('|').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(ids, ["2 20", "4 40", "6 60"], "what the source has now, without the rows that do not fit");
    engine.stop();
}
