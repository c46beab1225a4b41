//! Jobs that write into one table: none of them takes the rows of another, whether that runs, rests or is yet to be built, and at
//! the outside none begins before the one that leaves has ended.

use crate::house::{House, await_rows, await_that, fails, ok, rows};

const TABLES: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
INSERT INTO a VALUES (1, 'a');
INSERT INTO b VALUES (1, 'b');
";

#[test]
fn a_job_that_is_built_anew_after_a_kill_leaves_the_rows_of_those_yet_to_be_built() {
    let mut house = House::new();
    let session = &mut house.session();
    ok(session, TABLES);
    ok(session, "INSERT INTO t SELECT id, LOWER(v) FROM a; INSERT INTO t SELECT id + 10, LOWER(v) FROM b;");
    assert_eq!(rows(session, "SELECT * FROM t"), ["11|b", "1|a"]);
    house.crash();
    let session = &mut house.session();
    assert_eq!(rows(session, "SELECT * FROM t"), ["11|b", "1|a"]);
    ok(session, "INSERT INTO a VALUES (2, 'c'); DELETE FROM b WHERE id = 1;");
    await_rows(session, "SELECT * FROM t", &["1|a", "2|c"]);
}

#[test]
fn a_job_that_is_built_anew_after_a_kill_leaves_the_rows_of_a_source_that_lands_beside_it() {
    let mut house = House::new();
    let session = &mut house.session();
    ok(session, TABLES);
    house.outside.commit(&[(21, Some("c"))]);
    ok(session, "INSERT INTO t SELECT id, LOWER(v) FROM a; INSERT INTO t SELECT * FROM tap;");
    await_rows(session, "SELECT * FROM t", &["1|a", "21|c"]);
    house.crash();
    assert_eq!(rows(&mut house.session(), "SELECT * FROM t"), ["1|a", "21|c"]);
}

/// Contents that come again are those of the source, and not of a job that happens not to run.
#[test]
fn contents_that_come_again_leave_the_rows_of_a_job_that_rests() {
    let mut house = House::new();
    let session = &mut house.session();
    ok(session, TABLES);
    house.outside.commit(&[(21, Some("c"))]);
    ok(session, "INSERT INTO t SELECT * FROM tap; INSERT INTO t SELECT id, LOWER(v) FROM a;");
    await_rows(session, "SELECT * FROM t", &["1|a", "21|c"]);
    ok(session, "STOP JOB 2; STOP JOB 1;");
    house.outside.commit(&[(22, Some("d"))]);
    ok(session, "START JOB 1");
    await_rows(session, "SELECT * FROM t", &["1|a", "21|c", "22|d"]);
    house.restart();
    let session = &mut house.session();
    house.outside.truncate();
    await_rows(session, "SELECT state FROM system.status.jobs", &["FAILED", "STOPPED"]);
    assert_eq!(rows(session, "SELECT * FROM t"), ["1|a", "21|c", "22|d"]);
    ok(session, "DELETE FROM t WHERE id > 20; START JOB 1; START JOB 2; INSERT INTO a VALUES (2, 'e');");
    await_rows(session, "SELECT * FROM t", &["1|a", "2|e"]);
    let refused = fails(session, "INSERT INTO t SELECT id + 30, v FROM b");
    assert!(refused.contains("already writes into"), "{refused}");
}

#[test]
fn after_a_restart_too_a_writer_waits_for_the_one_before_it_and_for_no_other() {
    let mut house = House::new();
    let drain = "CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');";
    let session = &mut house.session();
    ok(session, TABLES);
    ok(
        session,
        &format!(
            "{drain} INSERT INTO drain SELECT * FROM a;
             CREATE TEMPORARY TABLE pipe (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
             INSERT INTO pipe SELECT * FROM a;"
        ),
    );
    let holds = |house: &House, sink: &str, row: &str| {
        await_that(|| house.outside.sink(sink).iter().any(|held| held == row))
            .unwrap_or_else(|()| panic!("{}", house.status()));
    };
    holds(&house, "drain", "1=1|a");
    holds(&house, "pipe", "1=1|a");
    house.restart();
    let session = &mut house.session();
    ok(session, "STOP JOB 2");
    house.outside.hold("1/0/drain");
    ok(session, "INSERT INTO a VALUES (2, 'c')");
    await_that(|| house.outside.is_held_up("1/0/drain")).expect("it is being written");
    ok(session, "DROP JOB 1; START JOB 2");
    holds(&house, "pipe", "2=2|c");
    ok(session, &format!("{drain} INSERT INTO drain SELECT id, UPPER(v) FROM a"));
    await_that(|| house.status().contains("the writer before is still in its last transaction")).expect("it waits");
    house.outside.let_go("1/0/drain");
    holds(&house, "drain", "2=2|C");
}
