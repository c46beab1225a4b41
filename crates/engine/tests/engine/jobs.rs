//! Identity, rerun, stop, start, replace and drop of jobs.

use crate::house::{House, await_rows, await_that, fails, ok, rows, run};

const TABLES: &str = "
CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE c (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
";

#[test]
fn the_same_insert_is_the_same_job() {
    let mut house = House::new();
    let script = format!("{TABLES} INSERT INTO b SELECT * FROM a;");
    assert_eq!(ok(&mut house.session(), &script), "JOB 1");
    let again = ok(&mut house.session(), &script);
    assert!(again.contains("JOB 1 again"), "{again}");
    house.restart();
    let again = ok(&mut house.session(), &script);
    assert!(again.contains("JOB 1 again"), "{again}");
    assert_eq!(rows(&mut house.session(), "SELECT job_id, state FROM system.status.jobs"), ["1|RUNNING"]);
}

#[test]
fn another_query_into_the_same_table_is_a_conflict() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, &format!("{TABLES} INSERT INTO b SELECT * FROM a;"));
    let message = fails(&mut session, "INSERT INTO b SELECT id, UPPER(v) FROM a;");
    assert!(message.contains("already writes into") && message.contains("REPLACE JOB 1"), "{message}");
    // Within one script several writers are normal.
    let mut other = house.session();
    ok(&mut other, "INSERT INTO c SELECT v, 1 FROM a WHERE id = 1; INSERT INTO c SELECT v, 2 FROM a WHERE id = 2;");
    ok(&mut session, "SET 'writer' = 'additional'; INSERT INTO b SELECT id + 100, v FROM a;");
    ok(&mut session, "INSERT INTO a VALUES (1, 'x');");
    await_rows(&mut session, "SELECT * FROM b", &["101|x", "1|x"]);
}

#[test]
fn a_replaced_job_corrects_its_table() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        &format!("{TABLES} INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z'); INSERT INTO b SELECT * FROM a;"),
    );
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO b SELECT id, UPPER(v) FROM a WHERE id < 3;");
    assert_eq!(rows(&mut session, "SELECT * FROM b"), ["1|X", "2|Y"]);
    ok(&mut session, "INSERT INTO a VALUES (1, 'w');");
    await_rows(&mut session, "SELECT * FROM b", &["1|W", "2|Y"]);
}

#[test]
fn a_stopped_job_catches_up() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        &format!(
            "{TABLES} INSERT INTO c SELECT v, COUNT(*) FROM a GROUP BY v; INSERT INTO a VALUES (1, 'x'), (2, 'y');"
        ),
    );
    ok(&mut session, "STOP JOB 1;");
    ok(&mut session, "INSERT INTO a VALUES (3, 'x'); DELETE FROM a WHERE id = 2;");
    assert_eq!(rows(&mut session, "SELECT * FROM c"), ["x|1", "y|1"]);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["STOPPED"]);
    ok(&mut session, "START JOB 1;");
    assert_eq!(rows(&mut session, "SELECT * FROM c"), ["x|2"]);
    ok(&mut session, "INSERT INTO a VALUES (4, 'z');");
    await_rows(&mut session, "SELECT * FROM c", &["x|2", "z|1"]);
}

#[test]
fn a_job_over_a_log_goes_on_behind_what_it_has_seen() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE l (id BIGINT, v STRING);
         CREATE TABLE m (id BIGINT, v STRING);
         INSERT INTO m SELECT * FROM l WHERE id > 1;
         INSERT INTO l VALUES (1, 'a'), (2, 'b');",
    );
    await_rows(&mut session, "SELECT * FROM m", &["2|b"]);
    ok(&mut session, "STOP JOB 1; INSERT INTO l VALUES (3, 'c');");
    house.restart();
    let mut session = house.session();
    ok(&mut session, "START JOB 1;");
    await_rows(&mut session, "SELECT * FROM m", &["2|b", "3|c"]);
    house.restart();
    assert_eq!(rows(&mut house.session(), "SELECT * FROM m"), ["2|b", "3|c"]);
}

#[test]
fn a_row_that_cannot_be_computed_stops_its_job_alone() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        &format!(
            "{TABLES} CREATE TABLE d (id BIGINT, n INT, PRIMARY KEY (id) NOT ENFORCED);
             INSERT INTO d SELECT id, CAST(v AS INT) FROM a;
             INSERT INTO b SELECT * FROM a;
             INSERT INTO a VALUES (1, '7'), (2, 'seven');"
        ),
    );
    await_rows(&mut session, "SELECT * FROM b", &["1|7", "2|seven"]);
    assert_eq!(rows(&mut session, "SELECT job_id, state FROM system.status.jobs"), ["1|FAILED", "2|RUNNING"]);
    let error = ok(&mut session, "SELECT error FROM system.status.jobs WHERE job_id = 1");
    assert!(error.contains("seven"), "{error}");
    ok(&mut session, "UPDATE a SET v = '8' WHERE id = 2; START JOB 1;");
    await_rows(&mut session, "SELECT * FROM d", &["1|7", "2|8"]);
}

#[test]
fn a_job_cannot_feed_itself() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    let message = fails(&mut session, "INSERT INTO a SELECT id + 1, v FROM a;");
    assert!(message.contains("feed itself"), "{message}");
    ok(&mut session, "INSERT INTO b SELECT * FROM a;");
    let message = fails(&mut session, "INSERT INTO a SELECT * FROM b;");
    assert!(message.contains("feed itself"), "{message}");
}

#[test]
fn a_table_with_a_job_stays() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, &format!("{TABLES} INSERT INTO b SELECT * FROM a;"));
    for table in ["a", "b"] {
        let message = fails(&mut session, &format!("DROP TABLE {table};"));
        assert!(message.contains("(1)") && message.contains("DROP JOB 1"), "{message}");
    }
    ok(&mut session, "DROP JOB 1; DROP TABLE a; DROP TABLE b;");
}

#[test]
fn a_statement_set_is_one_job() {
    let mut house = House::new();
    let mut session = house.session();
    let set =
        "BEGIN STATEMENT SET; INSERT INTO b SELECT * FROM a; INSERT INTO c SELECT v, COUNT(*) FROM a GROUP BY v; END;";
    assert_eq!(ok(&mut session, &format!("{TABLES} {set}")), "JOB 1");
    ok(&mut session, "INSERT INTO a VALUES (1, 'x');");
    house.restart();
    let mut session = house.session();
    let again = ok(&mut session, set);
    assert!(again.contains("JOB 1 again"), "{again}");
    ok(&mut session, "INSERT INTO a VALUES (2, 'x');");
    await_rows(&mut session, "SELECT * FROM c", &["x|2"]);
    await_rows(&mut session, "SELECT * FROM b", &["1|x", "2|x"]);
}

#[test]
fn bounded_inserts_into_an_outside_table_end() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');",
    );
    assert_eq!(ok(&mut session, "INSERT INTO drain VALUES ('x', 1), ('y', 2);"), "INSERT 2");
    assert_eq!(house.outside.sink("drain"), ["x=x|1", "y=y|2"]);
    assert_eq!(run(&mut session, "SELECT * FROM system.status.jobs"), [""]);
}

#[test]
fn a_sink_without_key_sees_every_change() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        &format!(
            "{TABLES} CREATE TEMPORARY TABLE drain (v STRING, n BIGINT) WITH ('connector' = 'drain');
             INSERT INTO drain SELECT v, COUNT(*) FROM a GROUP BY v;
             INSERT INTO a VALUES (1, 'x');"
        ),
    );
    let seen = |expected: &[&str]| {
        await_that(|| house.outside.sink("drain") == expected)
            .unwrap_or_else(|()| panic!("{:?}", house.outside.sink("drain")));
    };
    seen(&["000000=+Ix|1"]);
    ok(&mut session, "INSERT INTO a VALUES (2, 'x');");
    seen(&["000000=+Ix|1", "000001=-Dx|1", "000002=+Ix|2"]);
}

#[test]
fn a_dropped_job_takes_leave_of_its_source() {
    let mut house = House::new();
    let script =
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE c (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO b SELECT * FROM tap;
         INSERT INTO c SELECT v, COUNT(*) FROM tap GROUP BY v;";
    house.outside.commit(&[(1, Some("x"))]);
    let mut session = house.session();
    ok(&mut session, script);
    await_rows(&mut session, "SELECT * FROM c", &["x|1"]);
    ok(&mut session, "DROP JOB 1;");
    house.outside.commit(&[(2, Some("x"))]);
    await_rows(&mut session, "SELECT * FROM c", &["x|2"]);
    assert_eq!(rows(&mut session, "SELECT * FROM b"), ["1|x"]);
    assert_eq!(house.outside.forgotten(), 0);
    ok(&mut session, "STOP JOB 2;");
    house.restart();
    let mut session = house.session();
    ok(&mut session, "DROP JOB 2;");
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
    await_rows(&mut session, STREAMS, &[]);
    // Another job over the same source begins at its beginning.
    ok(&mut session, script);
    await_rows(&mut session, "SELECT * FROM b", &["1|x", "2|x"]);
}

const TWO_SOURCES: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TEMPORARY TABLE other (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
  WITH ('connector' = 'tap', 'stream' = 'other');
";
const STREAMS: &str = "SELECT stream FROM system.status.sources";

#[test]
fn a_replaced_job_leaves_the_source_that_it_reads_no_more() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("x")), (2, Some("y"))]);
    ok(&mut session, TABLES);
    ok(&mut session, TWO_SOURCES);
    ok(&mut session, "INSERT INTO b SELECT * FROM tap;");
    await_rows(&mut session, "SELECT * FROM b", &["1|x", "2|y"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO b SELECT id, UPPER(v) FROM other WHERE id > 1;");
    await_rows(&mut session, "SELECT * FROM b", &["2|Y"]);
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
    await_rows(&mut session, STREAMS, &["other"]);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, STREAMS), ["other"]);
    // Nobody else writes the table now, so it is known which rows a truncation takes.
    house.outside.truncate();
    await_rows(&mut session, "SELECT * FROM b", &[]);
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.jobs"), ["RUNNING"]);
    house.outside.commit(&[(3, Some("z"))]);
    await_rows(&mut session, "SELECT * FROM b", &["3|Z"]);
}

#[test]
fn a_hidden_table_goes_with_the_last_job_that_was_replaced() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut session, TABLES);
    ok(&mut session, TWO_SOURCES);
    ok(
        &mut session,
        "CREATE TABLE d (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO c SELECT v, COUNT(*) FROM tap GROUP BY v;
         INSERT INTO d SELECT v, SUM(id) FROM tap GROUP BY v;",
    );
    await_rows(&mut session, "SELECT * FROM d", &["x|1"]);
    // The other job reads it still.
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO c SELECT v, COUNT(*) + 10 FROM other GROUP BY v;");
    await_rows(&mut session, "SELECT * FROM c", &["x|11"]);
    house.outside.commit(&[(2, Some("x"))]);
    await_rows(&mut session, "SELECT * FROM d", &["x|3"]);
    await_rows(&mut session, "SELECT * FROM c", &["x|12"]);
    assert_eq!(house.outside.forgotten(), 0);
    // A job that is stopped can be replaced too.
    ok(&mut session, "STOP JOB 2;");
    house.restart();
    let mut session = house.session();
    ok(&mut session, TWO_SOURCES);
    ok(&mut session, "REPLACE JOB 2 AS INSERT INTO d SELECT v, SUM(id) + 10 FROM other GROUP BY v;");
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
    await_rows(&mut session, STREAMS, &["other"]);
    house.outside.commit(&[(3, Some("x"))]);
    await_rows(&mut session, "SELECT * FROM d", &["x|16"]);
    house.crash();
    await_rows(&mut house.session(), "SELECT * FROM c", &["x|13"]);
}

#[test]
fn a_source_is_known_by_what_it_is_not_by_how_it_is_reached() {
    let mut house = House::new();
    let script = |password: &str| {
        format!(
            "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap',
               'hostname' = '{password}.example', 'password' = '{password}');
             CREATE TABLE IF NOT EXISTS b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
             INSERT INTO b SELECT * FROM tap;"
        )
    };
    house.outside.commit(&[(1, Some("x"))]);
    assert_eq!(ok(&mut house.session(), &script("old")), "JOB 1");
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x"]);
    assert_eq!(ok(&mut house.session(), &script("new")), "JOB 1 again");
    assert_eq!(house.outside.password(), "new", "the way that was named last is taken at once");
    house.outside.commit(&[(1, None), (2, Some("y"))]);
    await_rows(&mut house.session(), "SELECT * FROM b", &["2|y"]);
    // And after a restart.
    house.restart();
    assert_eq!(house.outside.password(), "new");
    house.outside.commit(&[(3, Some("z"))]);
    await_rows(&mut house.session(), "SELECT * FROM b", &["2|y", "3|z"]);
}

#[test]
fn a_stream_that_runs_takes_up_another_way_that_any_of_its_tables_is_given() {
    let house = House::new();
    let query = "CREATE TABLE IF NOT EXISTS c (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
                 INSERT INTO c SELECT v, COUNT(*) FROM tap GROUP BY v;";
    let tap = |kind: &str, password: &str| {
        format!(
            "CREATE {kind} tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'tap', 'password' = '{password}');"
        )
    };
    house.outside.commit(&[(1, Some("x"))]);
    // A temporary table of another session; the table of the query is hidden, so the stream delivers it all the time.
    ok(&mut house.session(), &format!("{} {query}", tap("TEMPORARY TABLE", "old")));
    await_rows(&mut house.session(), "SELECT * FROM c", &["x|1"]);
    assert_eq!(ok(&mut house.session(), &format!("{} {query}", tap("TEMPORARY TABLE", "new"))), "JOB 1 again");
    assert_eq!(house.outside.password(), "new");
    house.outside.commit(&[(2, Some("x"))]);
    await_rows(&mut house.session(), "SELECT * FROM c", &["x|2"]);
    assert_eq!(rows(&mut house.session(), "SELECT state FROM system.status.sources"), ["RUNNING"]);

    // A table that is kept, and is made anew under its name while its job rests.
    assert_eq!(ok(&mut house.session(), &format!("{} {query}", tap("TABLE", "kept"))), "JOB 1 again");
    assert_eq!(house.outside.password(), "kept");
    let anew = tap("TABLE", "anew");
    ok(&mut house.session(), &format!("STOP JOB 1; DROP TABLE tap; {anew} START JOB 1;"));
    assert_eq!(house.outside.password(), "anew");
    house.outside.commit(&[(1, None), (3, Some("y"))]);
    await_rows(&mut house.session(), "SELECT * FROM c", &["x|1", "y|1"]);
    // The same way once more changes nothing.
    let starts = house.outside.starts();
    assert_eq!(ok(&mut house.session(), query), "JOB 1 again");
    assert_eq!(house.outside.starts(), starts);
}

#[test]
fn rows_that_share_the_targets_key_are_kept_apart() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (id INT, g STRING, v INT, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE rk (g STRING, id INT, v INT, PRIMARY KEY (g) NOT ENFORCED);
         CREATE TABLE once (g STRING, id INT, v INT, PRIMARY KEY (g) NOT ENFORCED);",
    );
    let notice = ok(&mut session, "INSERT INTO rk SELECT g, id, v FROM a;");
    assert!(notice.contains("may share a key"), "{notice}");
    ok(&mut session, "INSERT INTO a VALUES (1, 'x', 1), (2, 'x', 2), (3, 'x', 1), (4, 'y', 7);");
    await_rows(&mut session, "SELECT * FROM rk", &["x|3|1", "y|4|7"]);
    ok(&mut session, "DELETE FROM a WHERE id = 1;");
    await_rows(&mut session, "SELECT * FROM rk", &["x|3|1", "y|4|7"]);
    house.restart();
    let mut session = house.session();
    ok(&mut session, "DELETE FROM a WHERE id = 3;");
    await_rows(&mut session, "SELECT * FROM rk", &["x|2|2", "y|4|7"]);
    ok(&mut session, "SET 'execution.runtime-mode' = 'batch'; INSERT INTO once SELECT g, id, v FROM a;");
    assert_eq!(rows(&mut session, "SELECT * FROM once"), ["x|2|2", "y|4|7"]);
}

#[test]
fn a_statement_set_may_hold_layers() {
    let mut house = House::new();
    let mut session = house.session();
    // Written upside down: the order is found.
    let set = "EXECUTE STATEMENT SET BEGIN
        INSERT INTO c SELECT v, COUNT(*) FROM b GROUP BY v;
        INSERT INTO b SELECT id, UPPER(v) FROM a;
        INSERT INTO b SELECT id + 100, v FROM a WHERE id > 1;
        END;";
    ok(&mut session, &format!("{TABLES} INSERT INTO a VALUES (1, 'x'), (2, 'y');"));
    assert!(ok(&mut session, set).ends_with("JOB 1"));
    assert_eq!(rows(&mut session, "SELECT * FROM c"), ["X|1", "Y|1", "y|1"]);
    for round in 0..2 {
        ok(&mut session, &format!("INSERT INTO a VALUES ({}, 'x');", 3 + round));
        if round == 0 {
            await_rows(&mut session, "SELECT * FROM c", &["X|2", "Y|1", "x|1", "y|1"]);
        }
        house.restart();
        session = house.session();
    }
    assert_eq!(rows(&mut session, "SELECT * FROM c"), ["X|3", "Y|1", "x|2", "y|1"]);
    assert_eq!(ok(&mut session, set), "JOB 1 again");
    ok(&mut session, "DELETE FROM a WHERE id = 2;");
    await_rows(&mut session, "SELECT * FROM c", &["X|3", "x|2"]);
}
