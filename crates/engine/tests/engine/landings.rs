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

/// How many rows are more than what gathers in memory of one transaction.
const MANY_ROWS: i64 = 66_000;

#[test]
fn a_table_that_fails_within_a_large_transaction_takes_in_nothing_of_it() {
    let house = House::new();
    let session = &mut house.session();
    ok(session, TAP);
    ok(session, "CREATE TABLE u (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)");
    ok(session, "INSERT INTO t SELECT * FROM tap; INSERT INTO u SELECT * FROM far;");
    house.outside.commit(&[(-1, Some("before"))]);
    await_rows(session, "SELECT id FROM t UNION ALL SELECT id FROM u", &["-1", "99"]);
    let first = house.outside.tables()[0];
    let many: Vec<_> = (0..MANY_ROWS).map(|id| (id, Some("x"))).collect();
    house.outside.begin(&many, session);
    house.outside.send_one(SourceEvent::TableFailed { table: first, error: Error::invalid("the last does not fit") });
    await_rows(session, "SELECT state FROM system.status.jobs", &["FAILED", "RUNNING"]);
    house.outside.end();
    let count = "SELECT COUNT(*) FROM t UNION ALL SELECT COUNT(*) FROM u";
    await_rows(session, count, &["1", &(MANY_ROWS + 1).to_string()]);
}

#[test]
fn uses_of_one_source_that_read_different_rows_of_it_land_apart() {
    let house = House::new();
    let session = &mut house.session();
    let tap = |name: &str, option: &str| {
        format!(
            "CREATE TEMPORARY TABLE {name} (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'tap'{option});
             CREATE TABLE {name}_counts (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
             INSERT INTO {name}_counts SELECT v, COUNT(*) FROM {name} GROUP BY v;"
        )
    };
    let tables = || house.outside.tables().len();
    ok(session, &tap("whole", ""));
    ok(session, &tap("alike", ", 'scan.startup.mode' = 'initial', 'on-error' = 'fail'"));
    ok(session, &tap("newest", ", 'scan.startup.mode' = 'latest-offset'"));
    await_that(|| tables() == 2).expect("who reads no contents does not share with who reads them");
    ok(session, &tap("kept", ", 'on-error' = 'dead-letter'"));
    await_that(|| tables() == 3).expect("who keeps bad rows apart does not share with whom they stop");
    house.outside.commit(&[(1, Some("a"))]);
    for name in ["whole", "alike", "newest", "kept"] {
        await_rows(session, &format!("SELECT * FROM {name}_counts"), &["a|1"]);
    }
}

/// `tap` with more options, and the job `insert` over it.
fn over_tap(options: &str, insert: &str) -> String {
    format!(
        "DROP TEMPORARY TABLE IF EXISTS tap;
         CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap'{options});
         {insert};"
    )
}

/// Bad rows are kept apart from now on, after one has failed the job; what came of the others stands meanwhile.
#[test]
fn rows_stand_where_a_source_keeps_bad_rows_apart_from_now_on() {
    for own in ["", ", 'own' = 'true'"] {
        let house = House::new();
        let session = &mut house.session();
        ok(session, TAP);
        let inserts = "INSERT INTO t SELECT * FROM tap; INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v";
        ok(session, &over_tap(own, inserts));
        house.outside.commit(&[(1, Some("a"))]);
        let both = "SELECT v, 0 FROM t UNION ALL SELECT v, n FROM counts";
        await_rows(session, both, &["a|0", "a|1"]);
        house.outside.deliver_by_hand();
        house.outside.send(|table| SourceEvent::TableFailed { table, error: Error::invalid("'x' is no number") });
        await_rows(session, "SELECT state FROM system.status.jobs", &["FAILED", "FAILED"]);
        ok(session, &over_tap(&format!("{own}, 'on-error' = 'dead-letter'"), inserts));
        await_rows(session, "SELECT state FROM system.status.jobs", &["RUNNING", "RUNNING"]);
        assert_eq!(rows(session, both), ["a|0", "a|1"], "{own}");
    }
}

/// What came of a source that is asked for no contents does not come again.
#[test]
fn rows_that_do_not_come_again_are_not_withdrawn() {
    let house = House::new();
    let session = &mut house.session();
    ok(session, TAP);
    let (latest, insert) = (", 'scan.startup.mode' = 'latest-offset'", "INSERT INTO t SELECT id, UPPER(v) FROM tap");
    ok(session, &over_tap(latest, insert));
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(session, "SELECT * FROM t", &["1|A"]);
    ok(session, "STOP JOB 1");
    house.outside.deliver_by_hand();
    let apart = over_tap(&format!("{latest}, 'on-error' = 'dead-letter'"), insert);
    let error = fails(session, &apart);
    assert!(error.contains("do not come again") && error.contains("SET 'job.gaps' = 'accept'"), "{error}");
    assert_eq!(rows(session, "SELECT * FROM t"), ["1|A"]);
    ok(session, &format!("SET 'job.gaps' = 'accept'; {apart}"));
    await_rows(session, "SELECT * FROM t", &[]);
}

/// A job that runs and is declared otherwise misses nothing, and has nothing come again.
#[test]
fn a_job_that_runs_reads_on_where_its_source_is_declared_otherwise() {
    let house = House::new();
    let session = &mut house.session();
    ok(session, TAP);
    let (latest, insert) = (", 'scan.startup.mode' = 'latest-offset'", "INSERT INTO t SELECT * FROM tap");
    ok(session, &over_tap(latest, insert));
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(session, "SELECT * FROM t", &["1|a"]);
    let tables = house.outside.tables();
    house.outside.deliver_by_hand();
    for more in [", 'on-error' = 'dead-letter'", ", 'password' = 'new'", ""] {
        ok(session, &over_tap(&format!("{latest}{more}"), insert));
        assert_eq!(house.outside.tables(), tables, "{more}");
    }
    house.outside.commit(&[(2, Some("b"))]);
    await_rows(session, "SELECT * FROM t", &["1|a", "2|b"]);
    ok(session, "REPLACE JOB 1 AS INSERT INTO t SELECT id, UPPER(v) FROM tap");
    assert_eq!(house.outside.tables(), tables, "replaced");
    house.outside.commit(&[(3, Some("c"))]);
    await_rows(session, "SELECT * FROM t", &["1|a", "2|b", "3|C"]);
    ok(session, &over_tap("", "INSERT INTO t SELECT id, UPPER(v) FROM tap"));
    assert_ne!(house.outside.tables(), tables, "its contents are wanted now");
}
