//! Changes travel from a source through layers into a sink, and neither a stop nor a crash makes a difference.

use crate::house::{House, await_rows, await_that, ok, rows};

const CHAIN: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = 'somewhere:9123');
CREATE DATABASE IF NOT EXISTS fluss.shop;
CREATE TABLE fluss.shop.ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '2');
CREATE TABLE fluss.shop.dwd (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE fluss.shop.dws (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
INSERT INTO fluss.shop.ods SELECT * FROM tap;
INSERT INTO fluss.shop.dwd SELECT id, UPPER(v) FROM fluss.shop.ods WHERE id > 0;
INSERT INTO fluss.shop.dws SELECT v, COUNT(*) FROM fluss.shop.dwd GROUP BY v;
INSERT INTO drain SELECT * FROM fluss.shop.dws;
";

fn settle(house: &House, expected: &[&str]) {
    await_that(|| house.outside.sink("drain") == expected).unwrap_or_else(|()| {
        panic!("the sink holds {:?}, not {expected:?}\n{}", house.outside.sink("drain"), house.status())
    });
}

#[test]
fn changes_travel_through_every_layer() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("a")), (3, Some("b"))]);
    ok(&mut session, CHAIN);
    settle(&house, &["A=A|2", "B=B|1"]);
    house.outside.commit(&[(1, Some("b")), (3, None)]);
    house.outside.commit(&[(4, Some("c")), (-1, Some("a"))]);
    settle(&house, &["A=A|1", "B=B|1", "C=C|1"]);
    await_rows(&mut session, "SELECT * FROM fluss.shop.ods", &["-1|a", "1|b", "2|a", "4|c"]);
    await_rows(&mut session, "SELECT * FROM fluss.shop.dwd", &["1|B", "2|A", "4|C"]);
}

#[test]
fn a_change_can_be_followed_step_by_step() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(&mut session, CHAIN);
    settle(&house, &["A=A|1"]);
    house.outside.commit(&[(2, Some("a"))]);
    settle(&house, &["A=A|2"]);
    // In the order of their names, as rows are compared here.
    let steps = [
        "applied|NULL",
        "durable|NULL",
        "handed over|NULL",
        "job|insert-into_fluss.shop.dwd",
        "job|insert-into_fluss.shop.dws",
        "logged|NULL",
        "published|NULL",
        "received|NULL",
        "sink awake|4/0/drain",
        "sink read|4/0/drain",
        "sink written|4/0/drain",
        "tick begun|NULL",
    ];
    let newest = "(SELECT MAX(commit_id) FROM system.status.trace)";
    let trace = format!("SELECT step, what FROM system.status.trace WHERE commit_id = {newest}");
    await_rows(&mut session, &trace, &steps);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(&mut house.session(), CHAIN);
    settle(&house, &["A=A|1", "B=B|1"]);
    for round in 0..4_i64 {
        // What happens while nobody listens is caught up; nothing is counted twice.
        let crash = round % 2 == 0;
        if crash {
            house.outside.cut()
        } else {
            house.stop()
        }
        house.outside.commit(&[(10 + round, Some("a")), (2, Some(if crash { "c" } else { "b" }))]);
        if crash {
            house.crash()
        } else {
            house.open()
        }
        let a = format!("A=A|{}", round + 2);
        settle(&house, &[a.as_str(), if crash { "C=C|1" } else { "B=B|1" }]);
    }
    assert_eq!(rows(&mut house.session(), "SELECT COUNT(*) FROM fluss.shop.ods"), ["6"]);
}

#[test]
fn a_sink_that_is_away_delays_itself_alone() {
    let house = House::new();
    let mut session = house.session();
    house.outside.set_absent(true);
    house.outside.commit(&[(1, Some("a"))]);
    ok(&mut session, CHAIN);
    await_rows(&mut session, "SELECT * FROM fluss.shop.dws", &["A|1"]);
    house.outside.commit(&[(2, Some("a"))]);
    await_rows(&mut session, "SELECT * FROM fluss.shop.dws", &["A|2"]);
    await_rows(&mut session, "SELECT state, error FROM system.status.sinks", &["WAITING|the drain does not answer"]);
    house.outside.set_absent(false);
    settle(&house, &["A=A|2"]);
}

#[test]
fn what_is_durable_is_acknowledged() {
    let house = House::new();
    ok(&mut house.session(), CHAIN);
    house.outside.commit(&[(1, Some("a"))]);
    house.outside.commit(&[(2, Some("a"))]);
    await_that(|| house.outside.acknowledged() == 2).expect("both transactions are acknowledged");
}

#[test]
fn a_job_begun_late_takes_what_is_there() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(&mut session, CHAIN);
    settle(&house, &["A=A|1", "B=B|1"]);
    ok(
        &mut session,
        "CREATE TABLE fluss.shop.late (id BIGINT, v STRING, n BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO fluss.shop.late SELECT d.id, d.v, s.n FROM fluss.shop.dwd d LEFT JOIN fluss.shop.dws s ON d.v = s.v;",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM fluss.shop.late"), ["1|A|1", "2|B|1"]);
    house.outside.commit(&[(2, Some("a"))]);
    await_rows(&mut session, "SELECT * FROM fluss.shop.late", &["1|A|2", "2|A|2"]);
}

#[test]
fn a_source_may_be_aggregated_without_a_layer_between() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(
        &mut house.session(),
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO drain SELECT v, COUNT(*) FROM tap GROUP BY v;",
    );
    settle(&house, &["a=a|1", "b=b|1"]);
    house.outside.commit(&[(1, Some("b"))]);
    settle(&house, &["b=b|2"]);
    house.restart();
    house.outside.commit(&[(3, Some("c"))]);
    settle(&house, &["b=b|2", "c=c|1"]);
}

#[test]
fn a_truncated_source_empties_what_came_from_it() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(&mut session, CHAIN);
    settle(&house, &["A=A|1", "B=B|1"]);
    house.outside.truncate();
    house.outside.commit(&[(3, Some("c"))]);
    settle(&house, &["C=C|1"]);
    await_rows(&mut session, "SELECT * FROM fluss.shop.ods", &["3|c"]);
}

#[test]
fn a_truncated_source_does_not_take_others_rows_with_it() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE more (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO t SELECT * FROM tap;
         INSERT INTO t SELECT * FROM more;
         INSERT INTO more VALUES (9, 'other');",
    );
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "9|other"]);
    house.outside.truncate();
    await_rows(&mut session, "SELECT job_id, state FROM system.status.jobs", &["1|FAILED", "2|RUNNING"]);
    let error = ok(&mut session, "SELECT error FROM system.status.jobs WHERE job_id = 1");
    assert!(error.contains("truncated at the source"), "{error}");
    let delete = "DELETE FROM default_catalog.default_database.t WHERE ";
    assert!(error.contains(&format!("type {delete}… for the rows that came from it, then START JOB 1")), "{error}");
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1|a", "9|other"]);
    ok(&mut session, &format!("{delete}id = 1; START JOB 1"));
    house.outside.commit(&[(2, Some("b"))]);
    await_rows(&mut session, "SELECT * FROM t", &["2|b", "9|other"]);
}
