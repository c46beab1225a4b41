//! Moments at which a row could get lost or be counted twice.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::{RowKind, SourceId};
use gridhouse_store::{Part, SourceCommit, Store, StoreOptions};

use crate::house::{House, await_rows, await_that, fails, ok, rows};

const LOGS: &str = "CREATE TABLE l (v STRING); CREATE TABLE m (n INT);";

#[test]
fn a_job_that_failed_has_seen_what_came_before() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, &format!("{LOGS} INSERT INTO m SELECT CAST(v AS INT) FROM l; INSERT INTO l VALUES ('1'), ('2');"));
    ok(&mut session, "INSERT INTO l VALUES ('x');");
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["FAILED"]);
    house.restart();
    let mut session = house.session();
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO m SELECT TRY_CAST(v AS INT) FROM l;");
    assert_eq!(rows(&mut session, "SELECT * FROM m"), ["1", "2", "NULL"]);
}

#[test]
fn a_replacement_that_fails_leaves_the_old_job_at_work() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, &format!("{LOGS} INSERT INTO m SELECT CAST(v AS INT) FROM l; INSERT INTO l VALUES ('1');"));
    let message =
        fails(&mut session, "REPLACE JOB 1 AS INSERT INTO m SELECT CAST(CONCAT(v, 'x') AS INT) FROM l WHERE v <> '';");
    assert!(message.contains("1x"), "{message}");
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["RUNNING"]);
    ok(&mut session, "INSERT INTO l VALUES ('2');");
    assert_eq!(rows(&mut session, "SELECT * FROM m"), ["1", "2"]);
}

#[test]
fn a_log_that_was_emptied_meanwhile_is_read_on() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, &format!("{LOGS} INSERT INTO m SELECT CAST(v AS INT) FROM l; INSERT INTO l VALUES ('1');"));
    ok(&mut session, "STOP JOB 1; TRUNCATE TABLE l; INSERT INTO l VALUES ('2'); START JOB 1;");
    assert_eq!(rows(&mut session, "SELECT * FROM m"), ["1", "2"]);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["RUNNING"]);
    ok(&mut session, "INSERT INTO l VALUES ('3');");
    assert_eq!(rows(&mut session, "SELECT * FROM m"), ["1", "2", "3"]);
}

#[test]
fn two_inserts_of_a_set_may_share_a_table() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO a VALUES (1, 'x');
         BEGIN STATEMENT SET;
         INSERT INTO b SELECT id, v FROM a;
         INSERT INTO b SELECT id + 10, v FROM a;
         END;",
    );
    assert_eq!(rows(&mut session, "SELECT * FROM b"), ["11|x", "1|x"]);
    house.restart();
    let mut session = house.session();
    ok(&mut session, "INSERT INTO a VALUES (2, 'y');");
    assert_eq!(rows(&mut session, "SELECT * FROM b"), ["11|x", "12|y", "1|x", "2|y"]);
}

#[test]
fn what_was_committed_but_not_ticked_reaches_every_layer() {
    let mut house = House::new();
    ok(
        &mut house.session(),
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE seen (id BIGINT, at TIMESTAMP_LTZ(3), PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ods SELECT * FROM tap;
         INSERT INTO seen SELECT id, CURRENT_TIMESTAMP FROM ods;",
    );
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(&mut house.session(), "SELECT id FROM seen", &["1"]);
    house.stop();
    commit_without_tick(&house, 2, "b", 2);
    house.open();
    await_rows(&mut house.session(), "SELECT id FROM ods", &["1", "2"]);
    await_rows(&mut house.session(), "SELECT id FROM seen", &["1", "2"]);
}

#[test]
fn contents_with_a_row_that_does_not_fit_are_taken_anew() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("7")), (2, Some("seven"))]);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE ods (id BIGINT, n INT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ods SELECT id, CAST(v AS INT) FROM tap;",
    );
    await_rows(&mut session, "SELECT state FROM system.status.jobs", &["FAILED"]);
    house.outside.commit(&[(2, Some("8"))]);
    ok(&mut session, "START JOB 1;");
    await_rows(&mut session, "SELECT * FROM ods", &["1|7", "2|8"]);
}

#[test]
fn contents_of_a_source_leave_the_rows_of_other_writers() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("x"))]);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO a VALUES (7, 'a');
         INSERT INTO ods SELECT id, v FROM a;
         INSERT INTO ods SELECT id, v FROM tap;",
    );
    await_rows(&mut session, "SELECT * FROM ods", &["1|x", "7|a"]);
}

#[test]
fn the_number_of_a_dropped_job_is_not_given_out_again() {
    let mut house = House::new();
    let mut session = house.session();
    let drain = "CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED)
                 WITH ('connector' = 'drain');";
    ok(
        &mut session,
        &format!(
            "CREATE TABLE a (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
             {drain} INSERT INTO a VALUES ('x', 1); INSERT INTO drain SELECT * FROM a;"
        ),
    );
    await_that(|| house.outside.sink("drain") == ["x=x|1"]).expect("the row arrives");
    ok(&mut session, "DROP JOB 1;");
    house.restart();
    let again = ok(&mut house.session(), &format!("{drain} INSERT INTO drain SELECT v, n + 1 FROM a;"));
    assert_eq!(again, "JOB 2");
}

#[test]
fn a_replaced_query_reaches_the_outside() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO a VALUES ('x', 1), ('y', 2);
         INSERT INTO drain SELECT * FROM a;",
    );
    let holds = |house: &House, expected: &[&str]| {
        await_that(|| house.outside.sink("drain") == expected)
            .unwrap_or_else(|()| panic!("{:?}\n{}", house.outside.sink("drain"), house.status()));
    };
    holds(&house, &["x=x|1", "y=y|2"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT v, n * 10 FROM a;");
    holds(&house, &["x=x|10", "y=y|20"]);
    house.restart();
    ok(&mut house.session(), "DELETE FROM a WHERE v = 'y'; INSERT INTO a VALUES ('z', 3);");
    holds(&house, &["x=x|10", "z=z|30"]);
}

#[test]
fn a_job_outlives_the_view_that_it_was_made_with() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        &format!(
            "{LOGS} CREATE VIEW w AS SELECT CAST(v AS INT) AS n FROM l;
             INSERT INTO m SELECT n FROM w; DROP VIEW w; INSERT INTO l VALUES ('1');"
        ),
    );
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["RUNNING"]);
    ok(&mut session, "INSERT INTO l VALUES ('2');");
    assert_eq!(rows(&mut session, "SELECT * FROM m"), ["1", "2"]);
}

#[test]
fn a_plain_copy_to_the_outside_keeps_the_zone_of_its_job() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "SET 'table.local-time-zone' = 'Asia/Shanghai';
         CREATE TABLE a (id BIGINT, at TIMESTAMP_LTZ(0), PRIMARY KEY (id) NOT ENFORCED);
         CREATE TEMPORARY TABLE drain (id BIGINT, at STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO a VALUES (1, CAST('2026-01-01 08:00:00' AS TIMESTAMP_LTZ(0)));
         INSERT INTO drain SELECT id, CAST(at AS STRING) FROM a;",
    );
    await_that(|| house.outside.sink("drain") == ["1=1|2026-01-01 08:00:00"])
        .unwrap_or_else(|()| panic!("{:?}", house.outside.sink("drain")));
}

/// Commits a row of the tap into a closed store, as a process does that is killed before its next tick.
fn commit_without_tick(house: &House, id: i64, v: &str, position: u64) {
    house.outside.commit(&[(id, Some(v))]);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = StoreOptions::new(house.dir.path().to_path_buf(), Arc::new(DiskFileSystem), clock, 7);
    let mut store = Store::open(options).expect("the store opens");
    let table = store.ordered_snapshot().table_named("default_catalog.default_database.ods").expect("ods is there");
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![id])), Arc::new(StringArray::from(vec![v]))];
    let parts = vec![Part::new(table.id(), KindBatch::new(columns, vec![RowKind::UpdateAfter]))];
    let (source, position) = (SourceId(1), position.to_be_bytes().to_vec());
    let commit = SourceCommit { source, position, event_time_micros: 1, parts, stages: Vec::new() };
    store.append_source(commit).expect("the commit is taken");
    store.close().expect("the store closes");
}
