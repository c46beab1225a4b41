//! Sources of which each reader has a stream of its own: it stands still with its reader, and goes on where that was. And jobs that
//! have an end.

use gridhouse_flow::connector::SourceEvent;

use crate::house::{House, await_rows, await_that, ok, rows, run};

const OWN: &str = "
CREATE TEMPORARY TABLE own (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap', 'own' = '');
CREATE TEMPORARY TABLE own_log (id BIGINT, v STRING) WITH ('connector' = 'tap', 'own' = '');
CREATE TABLE IF NOT EXISTS t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE IF NOT EXISTS log (id BIGINT, v STRING);
CREATE TABLE IF NOT EXISTS numbers (id BIGINT, n BIGINT);
";

#[test]
fn contents_are_not_added_once_more_when_a_job_goes_on() {
    let mut house = House::new();
    let session = &mut house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(session, OWN);
    ok(session, "INSERT INTO log SELECT * FROM own_log");
    await_rows(session, "SELECT * FROM log", &["1|a"]);
    ok(session, "STOP JOB 1");
    house.outside.commit(&[(2, Some("b"))]);
    ok(session, "START JOB 1");
    await_rows(session, "SELECT * FROM log", &["1|a", "2|b"]);
    ok(session, "STOP JOB 1");
    house.outside.commit(&[(3, Some("c"))]);
    house.restart();
    let session = &mut house.session();
    ok(session, OWN);
    ok(session, "START JOB 1");
    await_rows(session, "SELECT * FROM log", &["1|a", "2|b", "3|c"]);
    // Another query goes on from there too, since what the log has taken in stays.
    ok(session, "REPLACE JOB 1 AS INSERT INTO log SELECT id, UPPER(v) FROM own_log");
    house.outside.commit(&[(4, Some("d"))]);
    await_rows(session, "SELECT * FROM log", &["1|a", "2|b", "3|c", "4|D"]);
}

#[test]
fn a_source_whose_contents_would_come_empty_takes_nothing_away_when_its_job_goes_on() {
    let house = House::new();
    let session = &mut house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(session, OWN);
    ok(session, "INSERT INTO t SELECT * FROM own");
    await_rows(session, "SELECT * FROM t", &["1|a"]);
    ok(session, "STOP JOB 1");
    // One that has only what comes, files for instance, is not asked for what it brought before.
    house.outside.deliver_by_hand();
    house.outside.commit(&[(2, Some("b"))]);
    ok(session, "START JOB 1");
    await_rows(session, "SELECT * FROM t", &["1|a", "2|b"]);
}

#[test]
fn a_row_that_does_not_fit_comes_again_once_another_query_takes_it() {
    let house = House::new();
    let session = &mut house.session();
    ok(session, OWN);
    ok(session, "INSERT INTO numbers SELECT id, CAST(v AS BIGINT) FROM own_log");
    house.outside.commit(&[(1, Some("7"))]);
    await_rows(session, "SELECT * FROM numbers", &["1|7"]);
    house.outside.commit(&[(2, Some("x"))]);
    await_rows(session, "SELECT state FROM system.status.jobs", &["FAILED"]);
    ok(session, "REPLACE JOB 1 AS INSERT INTO numbers SELECT id, TRY_CAST(v AS BIGINT) FROM own_log");
    await_rows(session, "SELECT * FROM numbers", &["1|7", "2|NULL"]);
}

#[test]
fn another_query_into_a_table_with_a_key_reads_its_source_from_the_beginning() {
    let house = House::new();
    let session = &mut house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(session, OWN);
    ok(session, "INSERT INTO t SELECT * FROM own");
    await_rows(session, "SELECT * FROM t", &["1|a", "2|b"]);
    ok(session, "REPLACE JOB 1 AS INSERT INTO t SELECT id + 10, v FROM own");
    await_rows(session, "SELECT * FROM t", &["11|a", "12|b"]);
}

#[test]
fn a_job_has_not_ended_before_its_sink_has_what_an_earlier_process_left() {
    let mut house = House::new();
    let session = &mut house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("a"))]);
    house.outside.set_absent(true);
    ok(session, OWN);
    ok(
        session,
        "CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO drain SELECT v, COUNT(*) FROM own GROUP BY v",
    );
    await_rows(session, "SELECT rows_in FROM system.status.sources", &["2"]);
    house.restart();
    let session = &mut house.session();
    house.outside.send_one(SourceEvent::Finished);
    await_rows(session, "SELECT state FROM system.status.sources", &["FINISHED"]);
    assert_eq!(rows(session, "SELECT state FROM system.status.jobs"), ["RUNNING"]);
    house.outside.set_absent(false);
    await_that(|| house.outside.sink("drain") == ["a=a|2"]).expect("the sink takes what was left for it");
    await_rows(session, "SELECT state FROM system.status.jobs", &["FINISHED"]);
}

#[test]
fn a_statement_whose_job_is_stopped_does_not_say_that_its_rows_have_arrived() {
    let house = House::new();
    house.outside.set_absent(true);
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE drain (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO t VALUES (1, 'a')",
    );
    std::thread::scope(|scope| {
        let statement = scope.spawn(|| {
            let batch = "SET 'execution.runtime-mode' = 'batch'; INSERT INTO drain SELECT * FROM t";
            run(&mut house.session(), batch).pop().expect("an answer")
        });
        await_rows(&mut session, "SELECT state FROM system.status.jobs", &["RUNNING"]);
        ok(&mut session, "STOP JOB 1");
        let told = statement.join().expect("the statement is answered");
        assert!(told.contains("was stopped before its rows had arrived"), "{told}");
    });
}
