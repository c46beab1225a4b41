//! Look-up joins: a row meets what a table holds at the moment when it comes, and keeps it. Joins bounded in time let go of what
//! no row can meet any more.

use gridhouse_engine::Session;

use crate::house::{House, await_rows, await_that, fails, ok, rows};

const TABLES: &str = "
CREATE TEMPORARY TABLE shelf (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'shelf');
CREATE TABLE names (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE t (k BIGINT, id BIGINT, at_time AS PROCTIME(), PRIMARY KEY (k) NOT ENFORCED);
CREATE TABLE outside_board (k BIGINT, v STRING, PRIMARY KEY (k) NOT ENFORCED);
CREATE TABLE own_board (k BIGINT, v STRING, PRIMARY KEY (k) NOT ENFORCED);
";
const OUTSIDE: &str = "INSERT INTO outside_board
  SELECT t.k, s.v FROM t LEFT JOIN shelf FOR SYSTEM_TIME AS OF t.at_time AS s ON t.id = s.id";
const OWN: &str = "INSERT INTO own_board
  SELECT t.k, n.v FROM t JOIN names FOR SYSTEM_TIME AS OF t.at_time AS n ON t.id = n.id";

/// A house with a job that looks up in the outside, where one row is.
fn asking() -> (House, Session) {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("one"))]);
    ok(&mut session, TABLES);
    ok(&mut session, OUTSIDE);
    (house, session)
}

#[test]
fn a_row_keeps_what_it_found() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("one")), (2, Some("two"))]);
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO names VALUES (1, 'eins')");
    ok(&mut session, OUTSIDE);
    ok(&mut session, OWN);
    ok(&mut session, "INSERT INTO t VALUES (10, 1), (20, 2), (30, 3), (40, CAST(NULL AS BIGINT))");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one", "20|two", "30|NULL", "40|NULL"]);
    assert_eq!(rows(&mut session, "SELECT * FROM own_board"), ["10|eins"]);
    // What the tables do afterwards is for the rows that come afterwards.
    house.outside.commit(&[(1, Some("ONE")), (3, Some("three"))]);
    ok(&mut session, "INSERT INTO names VALUES (1, 'EINS'), (2, 'zwei')");
    ok(&mut session, "INSERT INTO t VALUES (11, 1), (20, 3)");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one", "11|ONE", "20|three", "30|NULL", "40|NULL"]);
    await_rows(&mut session, "SELECT * FROM own_board", &["10|eins", "11|EINS"]);
    // A row that goes takes with it what it had found.
    ok(&mut session, "DELETE FROM t WHERE k = 10");
    await_rows(&mut session, "SELECT * FROM own_board", &["11|EINS"]);
    // At once it is the same query over what stands now.
    let query = "SELECT t.k, s.v FROM t JOIN shelf FOR SYSTEM_TIME AS OF t.at_time AS s ON t.id = s.id";
    assert_eq!(rows(&mut session, query), ["11|ONE", "20|three", "30|three"]);
    assert!(ok(&mut session, &format!("EXPLAIN {OUTSIDE}")).contains("recorded"));
}

#[test]
fn an_outside_that_is_away_is_waited_for_by_its_job_alone() {
    let (house, mut session) = asking();
    ok(&mut session, "INSERT INTO names SELECT id, 'x' FROM t");
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    assert_eq!(rows(&mut session, "SELECT * FROM names"), ["1|x"]);
    let state = rows(&mut session, "SELECT state, error FROM system.status.jobs WHERE job_id = 1");
    assert!(state[0].starts_with("WAITING|") && state[0].contains("the shelf does not answer"), "{state:?}");
    assert!(fails(&mut session, "START JOB 1").contains("the shelf does not answer"));
    // What it reads stays, since it goes on.
    assert!(fails(&mut session, "DROP TABLE t").contains("reads"));
    // The same script again leaves it as it is.
    ok(&mut session, OUTSIDE);
    house.outside.set_absent(false);
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one"]);
    assert_eq!(rows(&mut session, "SELECT state, error FROM system.status.jobs WHERE job_id = 1"), ["RUNNING|NULL"]);
}

#[test]
fn a_job_waits_for_its_outside_over_restarts_and_stops_when_told() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("one")), (2, Some("two"))]);
    ok(&mut session, TABLES);
    ok(&mut session, OUTSIDE);
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one"]);
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (20, 2)");
    house.restart();
    let mut session = house.session();
    let state = "SELECT state FROM system.status.jobs";
    assert_eq!(rows(&mut session, state), ["WAITING"], "it was on record as waiting");
    assert_eq!(rows(&mut session, "SELECT * FROM outside_board"), ["10|one"]);
    house.outside.set_absent(false);
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one", "20|two"]);
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (30, 1)");
    assert_eq!(rows(&mut session, state), ["WAITING"]);
    ok(&mut session, "STOP JOB 1");
    house.outside.set_absent(false);
    assert_eq!(rows(&mut session, state), ["STOPPED"]);
    // Longer than the first pause: nobody asks any more.
    std::thread::park_timeout(std::time::Duration::from_millis(700));
    assert_eq!(rows(&mut session, state), ["STOPPED"]);
    ok(&mut session, "START JOB 1");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one", "20|two", "30|one"]);
}

#[test]
fn a_job_waits_also_where_its_script_is_run_again_by_another_way() {
    let (house, mut session) = asking();
    house.outside.set_absent(true);
    let by = |password: &str| {
        format!(
            "DROP TEMPORARY TABLE shelf;
             CREATE TEMPORARY TABLE shelf (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'shelf', 'password' = '{password}');
             {OUTSIDE}"
        )
    };
    let state = "SELECT state FROM system.status.jobs";
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    assert_eq!(rows(&mut session, state), ["WAITING"]);
    assert!(fails(&mut session, &by("new")).contains("the shelf does not answer"));
    assert_eq!(rows(&mut session, state), ["WAITING"], "as before");
    house.outside.set_absent(false);
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one"]);
    // The same of one that runs, and by a way that leads nowhere: it says so, and is not left as if somebody had stopped it.
    house.outside.set_absent(true);
    assert!(fails(&mut session, &by("newer")).contains("the shelf does not answer"));
    assert_eq!(rows(&mut session, state), ["WAITING"]);
    house.outside.set_needed_password("newest");
    house.outside.set_absent(false);
    await_that(|| rows(&mut session, state) == ["FAILED"]).expect("it says so");
    ok(&mut session, &by("newest"));
    assert_eq!(rows(&mut session, state), ["RUNNING"]);
    assert!(fails(&mut session, &by("wrong")).contains("the shelf does not take this password"));
    assert_eq!(rows(&mut session, state), ["FAILED"]);
}

#[test]
fn a_job_waits_where_what_was_to_replace_it_could_not_begin() {
    let (house, mut session) = asking();
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one"]);
    house.outside.set_absent(true);
    let other = OUTSIDE.replace("s.v", "UPPER(s.v)");
    assert!(fails(&mut session, &format!("REPLACE JOB 1 AS {other}")).contains("the shelf does not answer"));
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["WAITING"]);
    house.outside.set_absent(false);
    ok(&mut session, "INSERT INTO t VALUES (20, 1)");
    await_rows(&mut session, "SELECT * FROM outside_board", &["10|one", "20|one"]);
}

#[test]
fn an_outside_that_refuses_is_not_waited_for() {
    let (house, mut session) = asking();
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    let state = "SELECT state, error FROM system.status.jobs";
    assert!(rows(&mut session, state)[0].starts_with("WAITING|"));
    // It comes back with another password: nobody else will mend that.
    house.outside.set_needed_password("new");
    house.outside.set_absent(false);
    await_that(|| rows(&mut session, state)[0].starts_with("FAILED|")).expect("it says so");
    assert!(rows(&mut session, state)[0].contains("the shelf does not take this password"));
}

#[test]
fn a_waiting_job_goes_on_by_the_way_that_the_script_names_last() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("one"))]);
    ok(&mut session, TABLES);
    let script = |host: &str| {
        format!(
            "DROP TEMPORARY TABLE shelf;
             CREATE TEMPORARY TABLE shelf (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'shelf', 'hostname' = '{host}');
             {OUTSIDE}"
        )
    };
    ok(&mut session, &script("nowhere"));
    ok(&mut session, "INSERT INTO t VALUES (10, 1)");
    let state = "SELECT job_id, state FROM system.status.jobs";
    assert_eq!(rows(&mut session, state), ["1|WAITING"]);
    ok(&mut session, &script("here"));
    assert_eq!(rows(&mut session, state), ["1|RUNNING"]);
    assert_eq!(rows(&mut session, "SELECT * FROM outside_board"), ["10|one"]);
    house.restart();
    let mut session = house.session();
    ok(&mut session, "INSERT INTO t VALUES (20, 1)");
    assert_eq!(rows(&mut session, "SELECT * FROM outside_board"), ["10|one", "20|one"], "it is on record");
}

#[test]
fn joins_bounded_in_time_are_exact_and_let_go() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE alarms (id BIGINT, device BIGINT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time - INTERVAL '10' SECOND);
         CREATE TABLE readings (device BIGINT, load_kw INT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time);
         CREATE TABLE pairs (id BIGINT, load_kw INT);
         INSERT INTO pairs SELECT a.id, r.load_kw FROM alarms a JOIN readings r ON a.device = r.device
           AND a.at_time BETWEEN r.at_time - INTERVAL '5' SECOND AND r.at_time + INTERVAL '5' SECOND",
    );
    let minute = |n: i64| format!("TIMESTAMP '2026-01-01 00:{:02}:00'", n);
    for n in 0..30 {
        ok(&mut session, &format!("INSERT INTO alarms VALUES ({n}, 1, {})", minute(n)));
        ok(&mut session, &format!("INSERT INTO readings VALUES (1, {n}, {})", minute(n)));
    }
    let expected: Vec<String> = (0..30).map(|n| format!("{n}|{n}")).collect();
    let mut seen = rows(&mut session, "SELECT * FROM pairs");
    seen.sort_by_key(|row| row.split('|').next().and_then(|n| n.parse::<i64>().ok()));
    assert_eq!(seen, expected);
    let held = |session: &mut _| -> u64 {
        let answer = ok(session, "EXPLAIN ANALYZE JOB 1");
        let join = answer.lines().find(|line| line.trim_start().starts_with("Join")).expect("a join").to_owned();
        join.split('|').nth(5).and_then(|cell| cell.trim().parse().ok()).expect("rows held")
    };
    assert!(held(&mut session) <= 6, "what no row can meet any more is let go: {}", held(&mut session));
    // A row behind the watermark is left out and counted; one within the delay is not.
    ok(&mut session, &format!("INSERT INTO alarms VALUES (100, 1, {})", minute(3)));
    ok(&mut session, "INSERT INTO alarms VALUES (101, 1, TIMESTAMP '2026-01-01 00:28:56')");
    await_that(|| ok(&mut session, "EXPLAIN ANALYZE JOB 1").contains("left out 1 rows")).expect("it is counted");
    assert_eq!(rows(&mut session, "SELECT * FROM pairs WHERE id >= 100"), ["101|29"]);
    // A restart gives nothing twice.
    house.restart();
    assert_eq!(rows(&mut house.session(), "SELECT COUNT(*) FROM pairs"), ["31"]);
}

#[test]
fn rows_are_late_only_where_that_frees_something() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE orders (id BIGINT, at_time TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED,
                              WATERMARK FOR at_time AS at_time);
         CREATE TABLE clicks (id BIGINT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time);
         CREATE TABLE pairs (id BIGINT, at_time TIMESTAMP(3), PRIMARY KEY (id, at_time) NOT ENFORCED);
         INSERT INTO pairs SELECT o.id, c.at_time FROM orders o JOIN clicks c ON o.id = c.id
           AND c.at_time BETWEEN o.at_time - INTERVAL '1' HOUR AND o.at_time + INTERVAL '1' HOUR;
         INSERT INTO orders VALUES (1, TIMESTAMP '2026-01-01 00:00:00');
         INSERT INTO clicks VALUES (1, TIMESTAMP '2026-01-01 00:30:00');
         INSERT INTO clicks VALUES (1, TIMESTAMP '2026-01-01 00:10:00')",
    );
    // The other side changes its rows, so nothing could be dropped; then nothing is left out either.
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM pairs"), ["2"]);
}

#[test]
fn equal_row_times_join() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (id BIGINT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time);
         CREATE TABLE b (id BIGINT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time);
         CREATE TABLE both_of (id BIGINT);
         INSERT INTO both_of SELECT a.id FROM a JOIN b ON a.id = b.id AND a.at_time = b.at_time;
         INSERT INTO a VALUES (1, TIMESTAMP '2026-01-01 00:00:00');
         INSERT INTO b VALUES (1, TIMESTAMP '2026-01-01 00:00:00'), (1, TIMESTAMP '2026-01-01 00:00:01')",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM both_of"), ["1"]);
    let query = "SELECT a.id FROM a JOIN b ON a.id = b.id AND a.at_time = b.at_time";
    assert_eq!(rows(&mut session, query), ["1"]);
}

#[test]
fn what_a_join_takes_back_within_a_tick_fails_nothing() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE o (id BIGINT, d BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE d (d BIGINT, cap INT, PRIMARY KEY (d) NOT ENFORCED);
         CREATE TABLE load_of (id BIGINT, load INT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO o VALUES (1, 1), (2, 1); INSERT INTO d VALUES (1, 50)",
    );
    let query = "SELECT o.id, 100 / COALESCE(d.cap, 0) AS load FROM o LEFT JOIN d ON o.d = d.d";
    assert_eq!(rows(&mut session, query), ["1|2", "2|2"]);
    ok(&mut session, &format!("INSERT INTO load_of {query}"));
    assert_eq!(rows(&mut session, "SELECT * FROM load_of"), ["1|2", "2|2"]);
    ok(&mut session, "DELETE FROM d WHERE d = 1");
    let state = rows(&mut session, "SELECT state, error FROM system.status.jobs");
    assert!(state[0].starts_with("FAILED|") && state[0].contains("by zero"), "a row that stays does fail: {state:?}");
}
