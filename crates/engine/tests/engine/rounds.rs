//! Transactions that go through the jobs in several rounds: seen whole or not at all, whatever fails on the way.

use crate::house::{House, await_rows, await_that, ok, rows};

const TABLES: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '2');
CREATE TABLE per_v (v STRING, n BIGINT, total BIGINT, PRIMARY KEY (v) NOT ENFORCED);
CREATE TABLE in_all (one INT, n BIGINT, total BIGINT, PRIMARY KEY (one) NOT ENFORCED);
INSERT INTO ods SELECT * FROM tap;
INSERT INTO per_v SELECT v, COUNT(*), SUM(id) FROM ods GROUP BY v;
INSERT INTO in_all SELECT 1, SUM(n), SUM(total) FROM per_v;
";

fn transaction(ids: std::ops::Range<i64>, value: impl Fn(i64) -> &'static str) -> Vec<(i64, Option<&'static str>)> {
    ids.map(|id| (id, Some(value(id)))).collect()
}

#[test]
fn a_transaction_of_many_rounds_is_seen_whole_or_not_at_all() {
    let mut house = House::in_rounds_of(7);
    ok(&mut house.session(), TABLES);
    for round in 1..=20_i64 {
        let values = |id: i64| if (id + round) % 3 == 0 { "a" } else { "b" };
        house.outside.commit(&transaction(0..100 * round, values));
        let mut session = house.session();
        let seen = await_that(|| {
            let all = rows(&mut session, "SELECT COUNT(*), SUM(id) FROM ods");
            let layers = rows(&mut session, "SELECT n, total FROM in_all");
            for counts in all.iter().chain(&layers) {
                let n: i64 = counts.split('|').next().unwrap().parse().unwrap_or(0);
                assert_eq!(n % 100, 0, "a transaction is seen in part: {counts}");
            }
            // The two were read one after the other, so they may be a transaction apart.
            all == layers && all[0].starts_with(&format!("{}|", 100 * round))
        });
        seen.unwrap_or_else(|()| panic!("{}", house.status()));
        if round % 5 == 0 {
            house.crash();
        }
    }
    // What a rebuild makes of it is what is there.
    let before = rows(&mut house.session(), "SELECT * FROM per_v");
    house.restart();
    await_rows(&mut house.session(), "SELECT * FROM per_v", &before.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_job_that_fails_in_a_later_round_has_written_nothing_of_the_tick() {
    let house = House::in_rounds_of(5);
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
        CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
        CREATE TABLE numbers (id BIGINT, n INT, PRIMARY KEY (id) NOT ENFORCED);
        CREATE TABLE per_n (n INT, c BIGINT, PRIMARY KEY (n) NOT ENFORCED);
        CREATE TABLE per_v (v STRING, c BIGINT, PRIMARY KEY (v) NOT ENFORCED);
        INSERT INTO ods SELECT * FROM tap;
        INSERT INTO numbers SELECT id, CAST(v AS INT) FROM ods;
        INSERT INTO per_n SELECT n, COUNT(*) FROM numbers GROUP BY n;
        INSERT INTO per_v SELECT v, COUNT(*) FROM ods GROUP BY v",
    );
    house.outside.commit(&transaction(0..10, |_| "7"));
    await_rows(&mut session, "SELECT * FROM per_n", &["7|10"]);
    house.outside.commit(&transaction(5..50, |id| if id == 42 { "no number" } else { "8" }));
    await_rows(&mut session, "SELECT * FROM per_v", &["7|5", "8|44", "no number|1"]);
    let states = "SELECT job_id, state FROM system.status.jobs ORDER BY job_id";
    await_rows(&mut session, states, &["1|RUNNING", "2|FAILED", "3|RUNNING", "4|RUNNING"]);
    // Neither it nor what is made from it shows a part of the transaction.
    assert_eq!(rows(&mut session, "SELECT COUNT(*), MIN(n), MAX(n) FROM numbers"), ["10|7|7"]);
    assert_eq!(rows(&mut session, "SELECT * FROM per_n"), ["7|10"]);
    house.outside.commit(&[(42, Some("9"))]);
    await_rows(&mut session, "SELECT * FROM per_v", &["7|5", "8|44", "9|1"]);
    ok(&mut session, "START JOB '2'");
    await_rows(&mut session, "SELECT * FROM per_n", &["7|5", "8|44", "9|1"]);
    house.outside.commit(&transaction(0..20, |_| "6"));
    await_rows(&mut session, "SELECT * FROM per_n", &["6|20", "8|29", "9|1"]);
}

#[test]
fn a_sink_takes_what_is_too_much_for_one_batch_in_one_transaction() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
        CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
        CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '2');
        INSERT INTO ods SELECT * FROM tap;
        INSERT INTO drain SELECT * FROM ods",
    );
    house.outside.commit(&transaction(0..70_000, |_| "first"));
    await_that(|| house.outside.sink("drain").len() == 70_000).unwrap_or_else(|()| panic!("{}", house.status()));
    // What came and went, what came again and what was changed twice, over several commits that are written as one.
    house.outside.set_absent(true);
    house.outside.commit(&transaction(70_000..140_000, |_| "second"));
    let gone: Vec<_> = (0..20_000).chain(100_000..140_000).map(|id| (id, None)).collect();
    house.outside.commit(&gone);
    house.outside.commit(&transaction(10_000..80_000, |_| "third"));
    await_rows(&mut session, "SELECT COUNT(*) FROM ods WHERE v = 'third'", &["70000"]);
    house.outside.set_absent(false);
    let expected = |id: i64| format!("{id}={id}|{}", if id < 80_000 { "third" } else { "second" });
    let mut expected: Vec<String> = (10_000..100_000).map(expected).collect();
    expected.sort();
    await_that(|| house.outside.sink("drain") == expected).unwrap_or_else(|()| panic!("{}", house.status()));
}
