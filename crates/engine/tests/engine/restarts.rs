//! Jobs come back with what they held: from what was kept at the last checkpoint, through the ticks after it. Where that does
//! not go, they are rebuilt from their inputs and say why.

use crate::house::{House, await_rows, await_that, ok, rows};

const TABLES: &str = "
CREATE TABLE a (id BIGINT, v STRING, x DOUBLE, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE dws (v STRING, n BIGINT, most DOUBLE, PRIMARY KEY (v) NOT ENFORCED);
CREATE TABLE ads (n BIGINT, groups_of BIGINT, PRIMARY KEY (n) NOT ENFORCED);
CREATE TABLE pairs (l BIGINT, r BIGINT, PRIMARY KEY (l, r) NOT ENFORCED);
CREATE TABLE seen (id BIGINT, told STRING);
";
/// Layers over each other, a join, and a log with random values: whatever is not restored to the letter shows.
const JOBS: &str = "
CREATE TABLE l (id BIGINT);
INSERT INTO dws SELECT v, COUNT(*), MAX(x) FROM a GROUP BY v;
INSERT INTO ads SELECT n, COUNT(*) FROM dws GROUP BY n;
INSERT INTO pairs SELECT p.id, q.id FROM a AS p JOIN a AS q ON p.v = q.v WHERE p.id < q.id;
INSERT INTO seen SELECT id, CAST(RAND() AS STRING) FROM l;
";
const BOARDS: [&str; 4] =
    ["SELECT * FROM dws", "SELECT * FROM ads", "SELECT * FROM pairs", "SELECT id, told FROM seen"];
const BEGAN: &str = "SELECT job_id, began FROM system.status.jobs";

fn boards(house: &House) -> Vec<Vec<String>> {
    let mut session = house.session();
    BOARDS.iter().map(|board| rows(&mut session, board)).collect()
}

/// The boards computed anew.
fn check(house: &House) {
    let mut session = house.session();
    for (board, query) in [
        ("SELECT * FROM dws", "SELECT v, COUNT(*), MAX(x) FROM a GROUP BY v"),
        ("SELECT * FROM ads", "SELECT n, COUNT(*) FROM (SELECT v, COUNT(*) AS n FROM a GROUP BY v) GROUP BY n"),
        ("SELECT * FROM pairs", "SELECT p.id, q.id FROM a AS p JOIN a AS q ON p.v = q.v WHERE p.id < q.id"),
    ] {
        let wanted = rows(&mut session, query);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        await_rows(&mut session, board, &wanted);
    }
}

fn change(house: &House, round: i64) {
    let mut session = house.session();
    for i in 0..6 {
        let id = round * 4 + i;
        ok(&mut session, &format!("INSERT INTO a VALUES ({id}, 'g{}', {}.5), ({}, 'g0', 1.0)", id % 3, id % 5, id + 1));
    }
    ok(&mut session, &format!("DELETE FROM a WHERE id = {}; INSERT INTO l VALUES ({round})", round * 4 + 2));
    check(house);
}

#[test]
fn jobs_go_on_with_what_they_held_after_a_stop_and_after_a_crash() {
    let mut house = House::new();
    ok(&mut house.session(), TABLES);
    ok(&mut house.session(), JOBS);
    change(&house, 0);
    let restored = ["1|restored from its kept state", "2|restored from its kept state"];
    let restored = [&restored[..], &["3|restored from its kept state", "4|restored from its kept state"]].concat();
    for round in 1..4 {
        let before = boards(&house);
        house.restart();
        assert_eq!(boards(&house), before);
        assert_eq!(rows(&mut house.session(), BEGAN), restored);
        change(&house, 2 * round);
        // The ticks since the stop are in the log alone.
        let before = boards(&house);
        house.crash();
        assert_eq!(boards(&house), before);
        assert_eq!(rows(&mut house.session(), BEGAN), restored);
        change(&house, 2 * round + 1);
    }
    // Every row of the log drew its own number, and keeps it.
    let drawn = rows(&mut house.session(), "SELECT COUNT(*), COUNT(DISTINCT told) FROM seen");
    assert_eq!(drawn, ["7|7"]);
}

#[test]
fn a_job_that_cannot_go_on_is_rebuilt_and_says_why() {
    let mut house = House::new();
    let why = |house: &House, job: u32| {
        rows(&mut house.session(), &format!("SELECT began FROM system.status.jobs WHERE job_id = {job}")).concat()
    };
    ok(&mut house.session(), TABLES);
    ok(&mut house.session(), JOBS);
    change(&house, 0);
    assert_eq!(why(&house, 1), "new");
    // Nothing was kept yet.
    house.crash();
    assert_eq!(why(&house, 1), "rebuilt: no state of it was kept");
    check(&house);
    house.restart();
    // Another query since.
    ok(&mut house.session(), "REPLACE JOB 1 AS INSERT INTO dws SELECT v, COUNT(*), MIN(x) FROM a GROUP BY v");
    house.crash();
    assert_eq!(why(&house, 1), "rebuilt: it was changed after its state was kept");
    // Somebody else wrote into its target: what it gives out alone is not what came to stand there.
    house.restart();
    ok(&mut house.session(), "INSERT INTO pairs VALUES (-1, -1)");
    house.crash();
    assert!(why(&house, 3).contains("it gives out other rows than"), "{}", why(&house, 3));
    assert_eq!(why(&house, 2), "restored from its kept state");
    check_pairs(&house);
}

fn check_pairs(house: &House) {
    let mut session = house.session();
    let wanted = rows(&mut session, "SELECT p.id, q.id FROM a AS p JOIN a AS q ON p.v = q.v WHERE p.id < q.id");
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    // What a start corrects is seen once it is durable.
    await_rows(&mut session, "SELECT * FROM pairs", &wanted);
}

#[test]
fn a_look_up_keeps_its_answers_and_is_not_asked_twice() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("one")), (2, Some("two"))]);
    ok(
        &mut session,
        "CREATE TABLE t (k BIGINT, id BIGINT, at_time AS PROCTIME(), PRIMARY KEY (k) NOT ENFORCED);
         CREATE TABLE board (k BIGINT, v STRING, PRIMARY KEY (k) NOT ENFORCED);
         CREATE TEMPORARY TABLE shelf (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'shelf');
         INSERT INTO board SELECT t.k, s.v FROM t JOIN shelf FOR SYSTEM_TIME AS OF t.at_time AS s ON t.id = s.id;
         INSERT INTO t VALUES (10, 1), (20, 2);",
    );
    house.outside.commit(&[(1, Some("ONE"))]);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, BEGAN), ["1|restored from its kept state"]);
    ok(&mut session, "DELETE FROM t WHERE k = 20");
    await_rows(&mut session, "SELECT * FROM board", &["10|one"]);
    house.crash();
    // A row that went was not asked for.
    let mut session = house.session();
    assert_eq!(rows(&mut session, BEGAN), ["1|restored from its kept state"]);
    ok(&mut session, "INSERT INTO t VALUES (11, 1)");
    await_rows(&mut session, "SELECT * FROM board", &["10|one", "11|ONE"]);
    house.crash();
    let mut session = house.session();
    let began = rows(&mut session, BEGAN);
    assert!(began[0].starts_with("1|rebuilt:") && began[0].contains("would have to be asked again"), "{began:?}");
    await_rows(&mut session, "SELECT * FROM board", &["10|one", "11|ONE"]);
}

#[test]
fn a_kept_state_that_is_damaged_costs_a_rebuild_and_nothing_else() {
    let mut house = House::new();
    ok(&mut house.session(), TABLES);
    ok(&mut house.session(), JOBS);
    change(&house, 0);
    let before = boards(&house);
    house.stop();
    let states = std::fs::read_dir(house.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let state = states.filter(|path| path.extension().is_some_and(|e| e == "ghj")).last().expect("a kept state");
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    house.open();
    assert!(rows(&mut house.session(), BEGAN)[0].starts_with("1|rebuilt:"));
    assert_eq!(boards(&house), before);
    change(&house, 1);
    let mut session = house.session();
    await_that(|| rows(&mut session, "SELECT COUNT(*) FROM seen") == ["2"]).expect("the log goes on");
}

#[test]
fn a_clock_that_is_set_changes_nothing_that_is_stored() {
    let mut house = House::new();
    ok(&mut house.session(), TABLES);
    ok(&mut house.session(), JOBS);
    ok(&mut house.session(), "CREATE TABLE short (id BIGINT) WITH ('table.log.ttl' = '1 h')");
    ok(&mut house.session(), "INSERT INTO short VALUES (1)");
    change(&house, 0);
    // A day back, and the process ends there; then on again, beyond where it was.
    for (round, seconds) in [(1, -86_400), (2, -86_400), (3, 60), (4, 0)] {
        house.set_clock(seconds);
        change(&house, round);
        let before = boards(&house);
        match round {
            1 => house.restart(),
            2 => house.crash(),
            _ => {}
        }
        assert_eq!(boards(&house), before);
        check(&house);
        assert_eq!(rows(&mut house.session(), "SELECT id FROM short"), ["1"], "its hour is not over");
    }
}

/// Which rows are late depends on what they came with: that is known of the ticks after the checkpoint too.
#[test]
fn a_join_bounded_in_time_goes_on_though_its_inputs_changed_since_the_checkpoint() {
    let mut house = House::new();
    ok(
        &mut house.session(),
        "CREATE TABLE l (id BIGINT, t TIMESTAMP(3), WATERMARK FOR t AS t - INTERVAL '5' SECOND);
         CREATE TABLE r (id BIGINT, t TIMESTAMP(3), WATERMARK FOR t AS t - INTERVAL '5' SECOND);
         CREATE TABLE met (l BIGINT, r BIGINT);
         INSERT INTO met SELECT l.id, r.id FROM l JOIN r ON l.t BETWEEN r.t - INTERVAL '10' SECOND AND r.t + INTERVAL '10' SECOND;",
    );
    let insert = |house: &House, table: &str, rows: &[(i64, i64)]| {
        let row = |(id, second): &(i64, i64)| {
            format!("({id}, TIMESTAMP '2026-01-01 00:{:02}:{:02}')", second / 60, second % 60)
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        ok(&mut house.session(), &format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
    };
    insert(&house, "l", &[(1, 10)]);
    insert(&house, "r", &[(1, 12)]);
    await_rows(&mut house.session(), "SELECT * FROM met", &["1|1"]);
    house.restart();
    // Rows far apart that come together are not late for each other; one that comes after them is.
    insert(&house, "l", &[(2, 100), (3, 20)]);
    insert(&house, "l", &[(4, 21)]);
    insert(&house, "r", &[(2, 22)]);
    await_rows(&mut house.session(), "SELECT * FROM met", &["1|1", "3|1", "3|2"]);
    house.crash();
    let mut session = house.session();
    assert_eq!(rows(&mut session, BEGAN), ["1|restored from its kept state"]);
    insert(&house, "l", &[(5, 23), (6, 104)]);
    insert(&house, "r", &[(3, 105)]);
    await_rows(&mut session, "SELECT * FROM met", &["1|1", "2|3", "3|1", "3|2", "6|3"]);
}

#[test]
fn a_job_that_does_not_run_misses_nothing_of_its_source_over_a_restart() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE sums (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO sums SELECT v, COUNT(*) FROM tap GROUP BY v",
    );
    house.outside.commit(&[(1, Some("a")), (2, Some("a"))]);
    await_rows(&mut session, "SELECT * FROM sums", &["a|2"]);
    ok(&mut session, "STOP JOB 1");
    house.restart();
    house.outside.commit(&[(2, Some("b")), (3, Some("b"))]);
    house.outside.commit(&[(1, None)]);
    let mut session = house.session();
    // Nobody reads them, and they land all the same.
    await_that(|| house.outside.acknowledged() == 3).expect("the source may forget them");
    ok(&mut session, "START JOB 1");
    await_rows(&mut session, "SELECT * FROM sums", &["b|2"]);
}
