//! Tables of a source's stream come and go while the stream delivers; what others get of it is not touched.

use gridhouse_base::{Error, RowKind};
use gridhouse_flow::connector::SourceEvent;

use crate::house::{House, await_rows, await_that, batch_of, encode, fails, ok, rows};

const TAP: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TEMPORARY TABLE far (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap', 'shift' = '100');
CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE counts (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
";

fn contents(table: u32, of: &[(i64, &str)]) -> SourceEvent {
    let rows: Vec<_> = of.iter().map(|(key, value)| (*key, Some((*value).to_owned()))).collect();
    let mut batch = batch_of(&rows);
    batch.kinds = vec![RowKind::Insert; rows.len()].into();
    SourceEvent::SnapshotRows { table, batch }
}

#[test]
fn a_job_may_be_dropped_in_the_midst_of_a_transaction() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TAP);
    ok(&mut session, "INSERT INTO t SELECT * FROM tap; INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v;");
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(&mut session, "SELECT * FROM counts", &["a|1"]);
    house.outside.begin(&[(2, Some("b"))], &mut session);
    ok(&mut session, "DROP JOB 2");
    house.outside.end();
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b"]);
    house.outside.commit(&[(3, Some("c"))]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b", "3|c"]);
}

#[test]
fn a_job_may_be_dropped_in_the_midst_of_its_contents() {
    let house = House::new();
    let mut session = house.session();
    house.outside.deliver_by_hand();
    ok(&mut session, TAP);
    ok(&mut session, "INSERT INTO t SELECT * FROM tap; INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v;");
    await_that(|| house.outside.tables().len() == 2).expect("both tables are wanted");
    house.outside.send(|table| contents(table, &[(1, "a")]));
    await_rows(&mut session, "SELECT rows_in FROM system.status.sources", &["2"]);
    ok(&mut session, "DROP JOB 2");
    house.outside.send(|table| contents(table, &[(2, "b")]));
    house.outside.send(|table| SourceEvent::SnapshotDone { table, position: encode(1) });
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b"]);
}

#[test]
fn who_shares_a_target_keeps_his_rows_when_another_stops() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TAP);
    ok(&mut session, "INSERT INTO t SELECT * FROM tap; INSERT INTO t SELECT * FROM far;");
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "1|a"]);
    house.outside.begin(&[(2, Some("b"))], &mut session);
    ok(&mut session, "STOP JOB 1");
    house.outside.end();
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "102|b", "1|a"]);
    ok(&mut session, "START JOB 1");
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "102|b", "1|a", "2|b"]);
}

#[test]
fn one_set_may_write_a_target_from_several_sources() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(&mut session, TAP);
    ok(&mut session, "BEGIN STATEMENT SET; INSERT INTO t SELECT * FROM tap; INSERT INTO t SELECT * FROM far; END;");
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "1|a"]);
    house.restart();
    let mut session = house.session();
    house.outside.commit(&[(2, Some("b"))]);
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "102|b", "1|a", "2|b"]);
    ok(&mut session, "STOP JOB 1");
    house.outside.commit(&[(3, Some("c"))]);
    ok(&mut session, "START JOB 1");
    await_rows(&mut session, "SELECT * FROM t", &["101|a", "102|b", "103|c", "1|a", "2|b", "3|c"]);
}

#[test]
fn one_source_does_not_land_in_one_table_by_two_conditions() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TAP);
    ok(&mut session, "CREATE TABLE ids (id BIGINT, PRIMARY KEY (id) NOT ENFORCED)");
    ok(&mut session, "INSERT INTO ids SELECT id FROM tap WHERE id < 10");
    let second = "SET 'writer' = 'additional'; INSERT INTO ids SELECT id FROM tap WHERE id >= 10;";
    let error = fails(&mut session, second);
    assert!(error.contains("two INSERTs let different rows of"), "{error}");
    assert!(error.contains("UNION ALL"), "{error}");
    ok(&mut session, "DROP JOB 1");
    ok(&mut session, "INSERT INTO ids SELECT id FROM tap WHERE id < 10 UNION ALL SELECT id FROM tap WHERE id >= 10");
    house.outside.commit(&[(1, Some("a")), (11, Some("b"))]);
    await_rows(&mut session, "SELECT * FROM ids", &["1", "11"]);
}

/// What a condition leaves out is kept beside the table then, so that an update that brings a row in finds all of it.
#[test]
fn with_large_values_one_source_may_go_into_one_table_by_two_conditions() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, TAP);
    ok(&mut session, "INSERT INTO t SELECT * FROM tap WHERE id < 10; INSERT INTO t SELECT * FROM tap WHERE id >= 10;");
    house.outside.commit(&[(1, Some("a")), (11, Some("b"))]);
    await_rows(&mut session, "SELECT * FROM t", &["11|b", "1|a"]);
    house.restart();
    house.outside.commit(&[(1, Some("c")), (11, None)]);
    await_rows(&mut house.session(), "SELECT * FROM t", &["1|c"]);
}

#[test]
fn contents_begin_again_after_a_stream_has_failed() {
    let house = House::new();
    let mut session = house.session();
    house.outside.deliver_by_hand();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING) WITH ('connector' = 'tap');
         CREATE TABLE counts (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v;",
    );
    house.outside.send(|table| contents(table, &[(1, "a")]));
    house.outside.send_one(SourceEvent::Failed { error: Error::invalid("row 2 does not fit") });
    await_rows(&mut session, "SELECT state FROM system.status.jobs", &["FAILED"]);
    ok(&mut session, "START JOB 1");
    house.outside.send(|table| contents(table, &[(1, "a"), (2, "b")]));
    house.outside.send(|table| SourceEvent::SnapshotDone { table, position: encode(1) });
    await_rows(&mut session, "SELECT * FROM counts", &["a|1", "b|1"]);
}

#[test]
fn what_is_under_way_of_contents_is_not_taken_for_those_after_a_failure() {
    let house = House::new();
    let mut session = house.session();
    house.outside.deliver_by_hand();
    ok(&mut session, TAP);
    ok(&mut session, "INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v");
    let first = house.outside.tables()[0];
    house.outside.send(|table| contents(table, &[(1, "a")]));
    house.outside.send(|table| SourceEvent::TableFailed { table, error: Error::invalid("row 2 does not fit") });
    await_rows(&mut session, "SELECT state FROM system.status.jobs", &["FAILED"]);
    ok(&mut session, "START JOB 1");
    await_that(|| house.outside.tables().iter().any(|table| *table != first)).expect("it is wanted anew");
    // The reader of the first attempt was further than it knew.
    house.outside.send_one(contents(first, &[(3, "c")]));
    house.outside.send_one(SourceEvent::SnapshotDone { table: first, position: encode(1) });
    let again = *house.outside.tables().last().expect("a table");
    house.outside.send_one(contents(again, &[(1, "a"), (2, "b"), (3, "c")]));
    assert_eq!(rows(&mut session, "SELECT * FROM counts"), Vec::<String>::new(), "not before all of it is there");
    house.outside.send_one(SourceEvent::SnapshotDone { table: again, position: encode(2) });
    await_rows(&mut session, "SELECT * FROM counts", &["a|1", "b|1", "c|1"]);
}
