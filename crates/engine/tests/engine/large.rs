//! Queries over tables that are large enough for DataFusion: the rows are those that the operators of jobs give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridhouse_engine::{QueryPath, Session};

use crate::house::{House, fails, ok};

/// 100,000 rows by a cross join: every number from 0, with columns that are derived from it.
const FILL: &str = "
    CREATE TABLE digit (d INT, PRIMARY KEY (d) NOT ENFORCED);
    INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
    CREATE TABLE reading (
        id BIGINT, device INT, at TIMESTAMP(3), load_mw DOUBLE, price DECIMAL(12, 2), note STRING,
        PRIMARY KEY (id) NOT ENFORCED
    ) WITH ('bucket.num' = '3');
    CREATE TABLE device (device INT, name STRING, PRIMARY KEY (device) NOT ENFORCED);
    SET 'execution.runtime-mode' = 'batch';
    INSERT INTO reading
        SELECT n, CAST(MOD(n, 97) AS INT), TIMESTAMPADD(SECOND, CAST(n AS INT), TIMESTAMP '2026-01-01 00:00:00'),
            CASE WHEN MOD(n, 11) > 0 THEN n * 0.1e0 END, CAST(MOD(n, 1000) AS DECIMAL(12, 2)) / 4,
            CASE WHEN MOD(n, 5) > 0 THEN CONCAT('r', CAST(MOD(n, 7) AS STRING)) END
        FROM (
            SELECT CAST(a.d AS BIGINT) + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
            FROM digit a, digit b, digit c, digit e, digit f
        ) q;
    INSERT INTO device SELECT DISTINCT device, CONCAT('d', CAST(device AS STRING)) FROM reading WHERE device > 3;
    UPDATE reading SET load_mw = load_mw + 1, note = 'new' WHERE MOD(id, 3) = 0;
    DELETE FROM reading WHERE MOD(id, 1000) = 500;";

const QUERIES: &[&str] = &[
    "SELECT COUNT(*) FROM reading",
    "SELECT device, COUNT(*), COUNT(load_mw), SUM(load_mw), AVG(load_mw), MIN(load_mw), MAX(load_mw) FROM reading GROUP BY device",
    "SELECT note, SUM(price), AVG(price), MAX(price), MIN(note), SUM(device), AVG(id), MAX(at) FROM reading GROUP BY note",
    "SELECT note, COUNT(*), SUM(load_mw), AVG(price), MAX(at) FROM reading GROUP BY note",
    "SELECT note, COUNT(*), AVG(load_mw) FROM reading WHERE id > 500 AND id < 90000 GROUP BY note",
    "SELECT note, MIN(id) FROM reading WHERE load_mw < 0 OR id = 3 GROUP BY note",
    "SELECT SUM(device), COUNT(DISTINCT note), AVG(price) FROM reading WHERE id < 0",
    "SELECT COUNT(*) FILTER (WHERE device > 50), COUNT(DISTINCT device) FROM reading WHERE note <> 'r3'",
    "SELECT * FROM reading WHERE at >= TIMESTAMP '2026-01-01 05:00:00' AND at < TIMESTAMP '2026-01-01 05:01:00'",
    "SELECT id, price FROM reading WHERE price > 249.12 AND price <= 249.5 AND id > 90000.5",
    "SELECT id FROM reading WHERE note IN ('r1', 'r2', 'new') AND load_mw IS NULL AND id BETWEEN 10 AND 3000",
    "SELECT note, load_mw, id FROM reading ORDER BY note DESC, load_mw LIMIT 20 OFFSET 5",
    "SELECT device, note FROM reading GROUP BY device, note ORDER BY 1, 2 LIMIT 30",
    "SELECT d.name, SUM(r.price) FROM reading r JOIN device d ON r.device = d.device WHERE r.id < 40000 GROUP BY d.name",
    "SELECT r.device, COUNT(d.name), COUNT(*) FROM reading r LEFT JOIN device d ON r.device = d.device AND r.id > 500 GROUP BY r.device",
    "SELECT COUNT(*) FROM reading r WHERE r.device NOT IN (SELECT device FROM device)",
    "SELECT COUNT(*) FROM reading r WHERE EXISTS (SELECT 1 FROM device d WHERE d.device = r.device AND d.name > 'd5')",
    "SELECT id, rn FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY device ORDER BY price DESC) AS rn FROM reading) q WHERE rn <= 2",
    "SELECT device FROM reading EXCEPT SELECT device FROM device",
    "SELECT note FROM reading WHERE id < 70000 INTERSECT SELECT note FROM reading WHERE id > 30000",
    "SELECT note, id FROM reading WHERE id < 20 UNION ALL SELECT name, device FROM device",
    "SELECT id FROM reading WHERE price > (SELECT AVG(price) FROM reading) AND MOD(id, 1000) > 997",
    "SELECT UPPER(note), COUNT(*) FROM reading WHERE CHAR_LENGTH(note) = 2 GROUP BY UPPER(note) HAVING COUNT(*) > 10",
];

fn on(session: &mut Session, path: QueryPath, sql: &str) -> Vec<String> {
    session.set_query_path(path);
    let answer = ok(session, sql);
    session.set_query_path(QueryPath::Chosen);
    answer.lines().map(str::to_owned).collect()
}

#[test]
fn large_tables_give_on_datafusion_what_the_operators_give() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, FILL);
    compare(&mut session);
    // The same in segments, where texts are codes and numbers have bounds.
    drop(session);
    house.restart();
    compare(&mut house.session());
}

fn compare(session: &mut Session) {
    for sql in QUERIES {
        let explained = ok(session, &format!("EXPLAIN {sql}"));
        assert!(explained.contains("runs on: DataFusion"), "{sql}\n{explained}");
        let mut streamed = on(session, QueryPath::Operators, sql);
        let mut at_once = on(session, QueryPath::DataFusion, sql);
        if !sql.contains("ORDER BY 1") && !sql.contains("LIMIT") {
            streamed.sort();
            at_once.sort();
        }
        assert!(!streamed.is_empty(), "{sql} gives rows");
        assert_eq!(at_once, streamed, "{sql}");
    }
}

#[test]
fn what_runs_where_is_told_and_a_row_without_result_is_named() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, FILL);
    let explained = ok(&mut session, "EXPLAIN SELECT * FROM device");
    assert!(explained.contains("runs on: the operators of jobs, for 93 rows in its tables"), "{explained}");
    let explained = ok(&mut session, "EXPLAIN SELECT load_mw, COUNT(*) FROM reading GROUP BY load_mw");
    assert!(explained.contains("runs on: the operators of jobs, for floating-point keys"), "{explained}");

    let failing = "SELECT 7 / (id - 4711) FROM reading WHERE id > 4000";
    session.set_query_path(QueryPath::Operators);
    let expected = fails(&mut session, failing);
    session.set_query_path(QueryPath::Chosen);
    assert_eq!(fails(&mut session, failing), expected);
    assert!(expected.to_string().contains("4711"), "{expected}");
    // An earlier condition keeps the row out, wherever it is applied.
    let spared = "SELECT COUNT(*) FROM reading WHERE id <> 4711 AND 7 / (id - 4711) = 0";
    let (streamed, at_once) =
        (on(&mut session, QueryPath::Operators, spared), on(&mut session, QueryPath::DataFusion, spared));
    assert_eq!(at_once, streamed);
}

#[test]
fn a_query_that_nobody_waits_for_ends() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, FILL);
    let cancelled = Arc::new(AtomicBool::new(false));
    session.cancel_by(cancelled.clone());
    // Ten thousand million pairs: more than the test would wait for.
    let endless = "SELECT COUNT(*) FROM reading a JOIN reading b ON a.price + b.price < 0";
    let canceller = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(300));
        cancelled.store(true, Ordering::SeqCst);
    });
    let error = fails(&mut session, endless);
    assert!(error.contains("the query was cancelled"), "{error}");
    canceller.join().expect("the canceller ends");
}
