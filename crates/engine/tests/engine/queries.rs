//! Queries of every form: what a job keeps up to date while its inputs change is what the query gives at once.
//!
//! That the plans mean what SQL says is tested beside the optimiser, against PostgreSQL's answers.

use crate::house::{House, await_rows, fails, ok, rows, run};

const TABLES: &str = "
    CREATE TABLE t (id BIGINT, a INT, b INT, s STRING, PRIMARY KEY (id) NOT ENFORCED);
    CREATE TABLE u (id BIGINT, a INT, d BIGINT, s STRING, PRIMARY KEY (id) NOT ENFORCED);
    CREATE TABLE k (id INT, a INT, PRIMARY KEY (id) NOT ENFORCED);";

/// The columns of a target, its key first, and a query for it.
const QUERIES: &[(&str, &str)] = &[
    ("id BIGINT, v BIGINT", "SELECT id, (SELECT MAX(d) FROM u WHERE u.a = t.a) FROM t"),
    ("id BIGINT, v BIGINT", "SELECT id, (SELECT COUNT(*) FROM u WHERE u.a = t.a) FROM t"),
    ("id BIGINT, v BIGINT", "SELECT id, (SELECT COUNT(*) FROM u WHERE u.a < t.a AND u.d > 1) FROM t"),
    ("id BIGINT, v INT", "SELECT id, (SELECT k.a FROM k WHERE k.id = t.a) FROM t"),
    ("id BIGINT, v BOOLEAN", "SELECT id, a NOT IN (SELECT a FROM u WHERE u.s = t.s) FROM t"),
    ("id BIGINT, v BOOLEAN", "SELECT id, EXISTS (SELECT 1 FROM u WHERE u.a > t.a) OR b IN (SELECT d FROM u) FROM t"),
    ("id BIGINT, v INT", "SELECT id, a FROM t WHERE (a, s) NOT IN (SELECT a, s FROM u WHERE d > 5) OR b > 30"),
    (
        "id BIGINT, v INT",
        "SELECT id, b FROM t WHERE b > (SELECT AVG(d) FROM u) AND NOT EXISTS (SELECT 1 FROM k WHERE k.a = t.a)",
    ),
    (
        "s STRING, v BIGINT",
        "SELECT s, COUNT(*) FROM t WHERE s IS NOT NULL GROUP BY s HAVING COUNT(*) >= (SELECT MIN(id) FROM k)",
    ),
    ("id BIGINT, v BIGINT", "SELECT id, (SELECT d FROM u WHERE u.a <= t.a ORDER BY d DESC, u.id LIMIT 1) FROM t"),
    (
        "id BIGINT, v BIGINT",
        "SELECT t.id, x.d FROM t LEFT JOIN LATERAL (SELECT MAX(d) AS d FROM u WHERE u.s = t.s) AS x ON TRUE",
    ),
    ("a INT, v INT", "SELECT a, 1 FROM (SELECT a FROM t WHERE a IS NOT NULL INTERSECT SELECT a FROM u) q"),
    ("a INT, v INT", "SELECT a, 1 FROM (SELECT a FROM t WHERE a IS NOT NULL EXCEPT SELECT a FROM u) q"),
    (
        "s STRING, v BIGINT",
        "SELECT s, id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY s ORDER BY b DESC, id) AS rn FROM t WHERE s IS NOT NULL) q WHERE rn = 1",
    ),
    (
        "id BIGINT, v BIGINT",
        "SELECT id, rn FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY s ORDER BY b, id) AS rn FROM t) q WHERE rn <= 2",
    ),
    (
        "id BIGINT, v INT",
        "SELECT id, b FROM (SELECT id, b, ROW_NUMBER() OVER (ORDER BY b DESC, id) AS rn FROM t) q WHERE rn BETWEEN 2 AND 3",
    ),
    (
        "id BIGINT, v BIGINT",
        "WITH x AS (SELECT a, SUM(d) AS n FROM u GROUP BY a) SELECT id, (SELECT n FROM x WHERE x.a = t.a) + (SELECT COUNT(*) FROM x) FROM t",
    ),
];

/// Inserts, updates, deletes; every table becomes empty once.
const CHANGES: &[&str] = &[
    "INSERT INTO t VALUES (1, 1, 10, 'x'), (2, 1, 10, 'x'), (3, 2, 20, NULL), (4, NULL, 30, 'y'), (5, 3, NULL, 'z'), (6, 4, 40, 'y')",
    "INSERT INTO u VALUES (1, 1, 1, 'x'), (2, 2, 5, 'y'), (3, 2, 6, NULL), (4, NULL, 7, 'x'), (5, 5, NULL, 'z'), (6, 4, 40, 'y')",
    "INSERT INTO k VALUES (1, 1), (2, 1), (3, NULL), (10, 4)",
    "UPDATE u SET d = 100, s = 'z' WHERE a = 2",
    "UPDATE t SET b = 15, a = 2 WHERE id < 3",
    "DELETE FROM u WHERE a IS NULL",
    "INSERT INTO t VALUES (1, 5, 50, 'y'), (7, 1, 1, 'w')",
    "DELETE FROM k WHERE id = 1",
    "TRUNCATE TABLE u",
    "INSERT INTO u VALUES (7, 1, 3, 'w'), (8, NULL, NULL, NULL)",
    "DELETE FROM t WHERE s = 'y'",
    "TRUNCATE TABLE k",
    "DELETE FROM t",
];

#[test]
fn jobs_keep_every_query_up_to_date() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    for (i, (columns, query)) in QUERIES.iter().enumerate() {
        let key = columns.split(' ').next().expect("a column");
        ok(
            &mut session,
            &format!("CREATE TABLE o{i} ({columns}, PRIMARY KEY ({key}) NOT ENFORCED); INSERT INTO o{i} {query}"),
        );
    }
    for (n, change) in CHANGES.iter().enumerate() {
        ok(&mut session, change);
        if n == CHANGES.len() / 2 {
            house.restart();
            session = house.session();
        }
        for (i, (_, query)) in QUERIES.iter().enumerate() {
            let expected = rows(&mut session, query);
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            await_rows(&mut session, &format!("SELECT * FROM o{i}"), &expected);
        }
    }
}

#[test]
fn a_value_is_one_row() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(
        &mut session,
        "INSERT INTO t VALUES (1, 1, 10, 'x'), (2, 2, 20, 'y'); INSERT INTO u VALUES (1, 1, 5, 'x'), (2, 1, 6, 'x')",
    );
    let message = fails(&mut session, "SELECT id, (SELECT d FROM u WHERE u.a = t.a) FROM t");
    assert!(message.contains("more than one row"), "{message}");
    ok(&mut session, "DELETE FROM u WHERE id = 2");
    assert_eq!(rows(&mut session, "SELECT id, (SELECT d FROM u WHERE u.a = t.a) FROM t"), ["1|5", "2|NULL"]);
    assert_eq!(ok(&mut session, "SELECT COUNT(*) FROM t HAVING COUNT(*) > (SELECT COUNT(*) FROM u)"), "2");
}

#[test]
fn looked_up_rows_stay_what_they_were() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE orders (id BIGINT, item BIGINT, proctime AS PROCTIME());
         CREATE TABLE items (item BIGINT, price INT, doubled AS price * 2, PRIMARY KEY (item) NOT ENFORCED);
         CREATE TABLE priced (id BIGINT, price INT, doubled INT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO items VALUES (1, 10);
         INSERT INTO priced SELECT o.id, i.price, i.doubled FROM orders AS o
           LEFT JOIN items FOR SYSTEM_TIME AS OF o.proctime AS i ON i.item = o.item;
         INSERT INTO orders VALUES (100, 1), (101, 2);",
    );
    await_rows(&mut session, "SELECT * FROM priced", &["100|10|20", "101|NULL|NULL"]);
    ok(
        &mut session,
        "UPDATE items SET price = 11 WHERE item = 1; INSERT INTO items VALUES (2, 5); INSERT INTO orders VALUES (102, 1), (103, 2)",
    );
    await_rows(&mut session, "SELECT * FROM priced", &["100|10|20", "101|NULL|NULL", "102|11|22", "103|5|10"]);
    let now = "SELECT o.id, i.price FROM orders AS o JOIN items FOR SYSTEM_TIME AS OF PROCTIME() AS i ON i.item = o.item AND i.price > 5";
    assert_eq!(rows(&mut session, now), ["100|11", "102|11"]);
}

#[test]
fn a_row_that_is_there_gets_what_the_statement_says() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE tickets (id BIGINT, agent STRING, status STRING, seen INT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO tickets VALUES (1001, 'a', 'in_progress', 1) ON DUPLICATE KEY UPDATE status = 'resolved';",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM tickets"), ["1001|a|in_progress|1"]);
    ok(
        &mut session,
        "INSERT INTO tickets VALUES (1001, 'b', 'in_progress', 5), (1002, 'c', 'new', 1)
         ON DUPLICATE KEY UPDATE status = 'resolved', seen = seen + VALUES(seen)",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM tickets"), ["1001|a|resolved|6", "1002|c|new|1"]);
    ok(
        &mut session,
        "INSERT INTO tickets (id, agent) VALUES (1003, 'd'), (1003, 'e'), (1002, 'f')
         ON CONFLICT (id) DO UPDATE SET agent = tickets.agent || EXCLUDED.agent, seen = COALESCE(seen, 0) + 10",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM tickets"), ["1001|a|resolved|6", "1002|cf|new|11", "1003|de|NULL|10"]);
    ok(&mut session, "INSERT INTO tickets VALUES (1003, 'x', 'x', 0), (1004, 'y', 'y', 0) ON CONFLICT DO NOTHING");
    let expected = ["1001|a|resolved|6", "1002|cf|new|11", "1003|de|NULL|10", "1004|y|y|0"];
    assert_eq!(rows(&mut session, "SELECT * FROM tickets"), expected);
    ok(&mut session, "CREATE TABLE other (id BIGINT, agent STRING, status STRING, seen INT)");
    let message = fails(&mut session, "INSERT INTO tickets SELECT * FROM other ON DUPLICATE KEY UPDATE status = 'x'");
    assert!(message.contains("replaces the row") && message.contains("VALUES"), "{message}");
}

#[test]
fn one_subquery_may_stand_on_both_sides_of_a_group() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t2 (a INT, b INT); CREATE TABLE u2 (c INT, d INT);
         INSERT INTO t2 VALUES (1, 10), (2, 20), (2, 20); INSERT INTO u2 VALUES (1, 10), (1, 11), (2, 5)",
    );
    let both = "SELECT a, SUM((SELECT COUNT(*) FROM u2 WHERE u2.c = t2.a)) s,
        (SELECT COUNT(*) FROM u2 WHERE u2.c = t2.a) q, MAX(b) m, COUNT(*) k FROM t2 GROUP BY a";
    assert_eq!(rows(&mut session, both), ["1|2|2|10|1", "2|2|1|20|2"]);
    let key = "SELECT a + (SELECT MAX(d) FROM u2) k, (SELECT MAX(d) FROM u2) q, MAX(b) m FROM t2
        GROUP BY a + (SELECT MAX(d) FROM u2)";
    assert_eq!(rows(&mut session, key), ["12|11|10", "13|11|20"]);
    assert_eq!(
        rows(&mut session, "SELECT SUM((SELECT COUNT(*) FROM u2)) s, (SELECT COUNT(*) FROM u2) q FROM t2"),
        ["9|3"]
    );
    let filter = "SELECT a, COUNT(*) FILTER (WHERE EXISTS (SELECT 1 FROM u2 WHERE u2.c = t2.a)) s,
        EXISTS (SELECT 1 FROM u2 WHERE u2.c = t2.a) q FROM t2 GROUP BY a";
    assert_eq!(rows(&mut session, filter), ["1|1|TRUE", "2|2|TRUE"]);
    let having = "SELECT a FROM t2 GROUP BY a HAVING SUM((SELECT COUNT(*) FROM u2)) > 3
        ORDER BY (SELECT COUNT(*) FROM u2)";
    assert_eq!(rows(&mut session, having), ["2"]);
}

#[test]
fn what_is_equal_need_not_be_the_same() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE p (id INT, v DECIMAL(6, 2), PRIMARY KEY (id) NOT ENFORCED); CREATE TABLE q (w DECIMAL(12, 4), n INT);
         INSERT INTO p VALUES (1, 1.25), (2, 2.50); INSERT INTO q VALUES (1.25, 1), (2.5, 2)",
    );
    let query = "SELECT id, (SELECT COUNT(*) FROM q WHERE q.w = p.v AND CAST(p.v AS STRING) = '1.25') c FROM p";
    assert_eq!(rows(&mut session, query), ["1|1", "2|0"]);
}

#[test]
fn computed_columns_stand_in_assignments() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE k (id INT, a INT, b INT, c AS a * 10, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO k (id, a, b) VALUES (1, 6, 7);
         INSERT INTO k (id, a, b) VALUES (1, 6, 8) ON DUPLICATE KEY UPDATE b = c + 1",
    );
    assert_eq!(rows(&mut session, "SELECT b FROM k"), ["61"]);
    ok(&mut session, "INSERT INTO k (id, a, b) VALUES (1, 9, 8) ON DUPLICATE KEY UPDATE b = EXCLUDED.c + 1");
    assert_eq!(rows(&mut session, "SELECT b FROM k"), ["91"]);
}

/// What is answered by looking rows up by their key is what a scan would give.
#[test]
fn queries_by_the_whole_key_look_rows_up() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t (a INT, b STRING, at_ts TIMESTAMP(3), v INT, PRIMARY KEY (b, a) NOT ENFORCED) WITH ('bucket.num' = '3');
        CREATE TABLE d (k DECIMAL(6, 2), v STRING, PRIMARY KEY (k) NOT ENFORCED);
        CREATE TABLE w (t TIMESTAMP(3), c CHAR(3), f DOUBLE, v INT, PRIMARY KEY (t, c) NOT ENFORCED);
        INSERT INTO t VALUES (1, 'x', TIMESTAMP '2026-01-01 00:00:00', 10), (2, 'x', CAST(NULL AS TIMESTAMP(3)), 20),
            (1, 'y', TIMESTAMP '2026-01-02 00:00:00', 30), (3, 'long text', TIMESTAMP '2026-01-03 00:00:00', 0);
        INSERT INTO d VALUES (1.50, 'one and a half'), (-2.00, 'minus two');
        INSERT INTO w VALUES (TIMESTAMP '2026-01-01 00:00:00.5', 'abc', 1.5, 1)",
    );
    let looked_up = |session: &mut gridhouse_engine::Session, query: &str| {
        let plan = rows(session, &format!("EXPLAIN {query}")).join("\n");
        plan.lines().find_map(|line| line.strip_prefix("Look-up: ")).map(str::to_owned)
    };
    let t = "(b, a) of default_catalog.default_database.t";
    for (query, keys, expected) in [
        ("SELECT * FROM t WHERE a = 1 AND b = 'x'", Some(1), vec!["1|x|2026-01-01 00:00:00.000|10"]),
        ("SELECT v + 1 FROM t WHERE b = 'x' AND 2 = a", Some(1), vec!["21"]),
        ("SELECT v FROM t WHERE b = 'x' AND a = 5000000000", Some(1), vec![]),
        ("SELECT v FROM t WHERE b = 'x' AND a = CAST(NULL AS INT)", Some(1), vec![]),
        ("SELECT v FROM t WHERE b = 'x' AND a = 1 AND v > 10", Some(1), vec![]),
        ("SELECT v FROM t WHERE b = 'x' AND a = 1.0", Some(1), vec!["10"]),
        ("SELECT v FROM t WHERE b = 'x' AND a = 1.5", Some(1), vec![]),
        ("SELECT v FROM t WHERE b IN ('y', 'x', 'y') AND a IN (1, 2, 3, 1)", Some(12), vec!["10", "20", "30"]),
        ("SELECT a FROM t WHERE b = 'x' AND a IN (2, 1) ORDER BY a DESC LIMIT 1", Some(2), vec!["2"]),
        ("SELECT v FROM (SELECT b AS name, a, v FROM t) WHERE name = 'y' AND a = 1", Some(1), vec!["30"]),
        ("SELECT v FROM t WHERE b = 'x' AND a IN (1, 2) AND a = 2", Some(1), vec!["20"]),
        ("SELECT v FROM t WHERE b = 'long tex' AND a = 3", Some(1), vec![]),
        ("SELECT 1 / v FROM t WHERE b = 'x' AND a = 1", Some(1), vec!["0"]),
        // Not bound, or not by constants.
        ("SELECT v FROM t WHERE a = 1 AND v > 5", None, vec!["10", "30"]),
        ("SELECT v FROM t WHERE a = 1 AND (b = 'x' OR v = 5)", None, vec!["10"]),
        ("SELECT COUNT(*) FROM t WHERE a = 1 AND b = 'x'", None, vec!["1"]),
    ] {
        assert_eq!(
            looked_up(&mut session, query),
            keys.map(|n| match n {
                1 => format!("1 key {t}"),
                n => format!("{n} keys {t}"),
            }),
            "{query}"
        );
        assert_eq!(rows(&mut session, query), expected, "{query}");
    }
    for (query, expected) in [
        ("SELECT v FROM d WHERE k = 1.5", vec!["one and a half"]),
        ("SELECT v FROM d WHERE k = 1.505", vec![]),
        ("SELECT v FROM d WHERE k IN (-2, 1, 7)", vec!["minus two"]),
        ("SELECT v FROM w WHERE t = TIMESTAMP '2026-01-01 00:00:00.500' AND c = 'abc'", vec!["1"]),
        ("SELECT v FROM w WHERE t = TIMESTAMP '2026-01-01 00:00:00.500001' AND c = 'abc'", vec![]),
    ] {
        assert!(looked_up(&mut session, query).is_some(), "{query}");
        assert_eq!(rows(&mut session, query), expected, "{query}");
    }
}

/// A look-up that is asked for again by the same words sees what has changed meanwhile: rows, tables and names.
#[test]
fn a_look_up_that_is_asked_again_sees_what_has_changed() {
    let house = House::new();
    let (mut session, mut other) = (house.session(), house.session());
    ok(&mut session, "CREATE TABLE t (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED); INSERT INTO t VALUES (1, 'a')");
    let query = "SELECT * FROM t WHERE id = 1";
    for _ in 0..3 {
        assert_eq!(rows(&mut session, query), ["1|a"]);
    }
    ok(&mut other, "INSERT INTO t VALUES (1, 'b')");
    assert_eq!(rows(&mut session, query), ["1|b"]);
    ok(&mut other, "DROP TABLE t; CREATE TABLE t (v INT, id INT, PRIMARY KEY (id) NOT ENFORCED)");
    ok(&mut other, "INSERT INTO t VALUES (7, 1)");
    assert_eq!(rows(&mut session, query), ["7|1"]);
    ok(&mut session, "CREATE DATABASE d; USE d");
    assert!(fails(&mut session, query).contains("there is no table"), "the name means nothing here");
    ok(&mut session, "CREATE TABLE t (id INT, PRIMARY KEY (id) NOT ENFORCED); INSERT INTO t VALUES (1)");
    assert_eq!(rows(&mut session, query), ["1"]);
    // Two statements are not the one, and neither is one with something behind it.
    assert_eq!(rows(&mut session, &format!("SHOW JOBS; {query}")), ["1"]);
    assert!(fails(&mut session, &format!("{query}; SELECT nonsense")).contains("nonsense"));
    assert_eq!(rows(&mut session, query), ["1"]);
}

/// A look-up with another constant goes by the plan of those before it: it gives what a session gives that remembers nothing,
/// whatever becomes of the table, the names and the settings meanwhile.
#[test]
fn look_ups_with_other_constants_give_what_reading_them_gives() {
    let house = House::new();
    let (mut session, mut plain) = (house.session(), house.session());
    let mut hold = |session: &mut gridhouse_engine::Session, round: &str| {
        let conditions = (-2_i64..8).map(|i| format!("id = {i}")).chain((0..6).map(|i| format!("id = {i}.0")));
        let lists = (0..5).map(|i| format!("id IN ({i}, 5000000000, {})", i + 1));
        let others = ["id = '1'", "id = 'x'", "id = 2147483648", "id = 99999999999999999999999999999999999999999"];
        let mut answers = Vec::new();
        for condition in conditions.chain(lists).chain(others.map(str::to_owned)) {
            for query in [
                format!("SELECT * FROM t WHERE {condition}"),
                format!("\n  SELECT 10 / v, at_ts FROM t WHERE {condition} LIMIT 2;"),
            ] {
                // Whoever changes how queries are read forgets.
                plain.set_optimizing(true);
                let [given, expected] = [&mut *session, &mut plain].map(|session| run(session, &query));
                assert_eq!(given, expected, "{round}: {query}");
                answers.push(expected);
            }
        }
        answers
    };
    ok(&mut session, "CREATE TABLE t (id INT, v INT, at_ts TIMESTAMP_LTZ(3), PRIMARY KEY (id) NOT ENFORCED)");
    ok(
        &mut session,
        "INSERT INTO t SELECT id, v, CAST(TIMESTAMP '2026-01-01 00:00:00' AS TIMESTAMP_LTZ(3)) FROM (VALUES (1, 2), (2, 0), (3, 5)) AS r (id, v)",
    );
    let ints = hold(&mut session, "INT");
    assert!(
        ints.iter().flatten().any(|told| told.contains("error"))
            && ints.iter().flatten().any(|told| told.contains("2|0|"))
    );
    let mut other = house.session();
    ok(
        &mut other,
        "DROP TABLE t; CREATE TABLE t (v INT, id BIGINT, at_ts TIMESTAMP(0), PRIMARY KEY (id) NOT ENFORCED)",
    );
    ok(&mut other, "INSERT INTO t (id, v) VALUES (1, 7), (5000000000, 1)");
    let long = hold(&mut session, "BIGINT");
    ok(&mut other, "DROP TABLE t; CREATE TABLE t (id DECIMAL(4, 1), v INT, at_ts INT, PRIMARY KEY (id) NOT ENFORCED)");
    ok(&mut other, "INSERT INTO t (id, v) VALUES (1.0, 7), (2.5, 1), (-2, 5)");
    let decimal = hold(&mut session, "DECIMAL");
    ok(&mut other, "DROP TABLE t; CREATE TABLE t (id STRING, v INT, at_ts INT, PRIMARY KEY (id) NOT ENFORCED)");
    ok(&mut other, "INSERT INTO t (id, v) VALUES ('1', 7), ('x', 1)");
    let text = hold(&mut session, "STRING");
    let all = [ints, long, decimal, text];
    assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])), "the tables answer differently");
}
