//! Another query takes over an outside table, or a table comes between: nothing is lost, nothing there twice, nothing left behind.

use std::collections::BTreeMap;

use gridhouse_base::CommitId;

use crate::house::{House, await_rows, await_that, fails, ok, rows};

const KEYED: &str = "
CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z');
INSERT INTO drain SELECT * FROM a;
";

const GROWING: &str = "
CREATE TABLE l (v STRING);
CREATE TABLE none (n INT);
CREATE TEMPORARY TABLE drain (n INT) WITH ('connector' = 'drain');
INSERT INTO l VALUES ('1'), ('2');
INSERT INTO drain SELECT CAST(v AS INT) FROM l;
";

fn holds(house: &House, expected: &[&str]) {
    await_that(|| house.outside.sink("drain") == expected)
        .unwrap_or_else(|()| panic!("{:?}\n{}", house.outside.sink("drain"), house.status()));
}

#[test]
fn rows_that_another_query_does_not_give_go_from_the_outside() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a WHERE id < 3;");
    holds(&house, &["1=1|X", "2=2|Y"]);
    ok(&mut session, "DELETE FROM a WHERE id = 1; INSERT INTO a VALUES (0, 'n'), (9, 'o')");
    holds(&house, &["0=0|N", "2=2|Y"]);
    house.restart();
    ok(&mut house.session(), "DELETE FROM a WHERE id = 2");
    holds(&house, &["0=0|N"]);
}

/// What the old query has not written yet goes too, also over a restart before the outside answers.
#[test]
fn an_outside_that_is_away_is_taken_over_when_it_is_back() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    house.outside.set_absent(true);
    ok(&mut session, "DELETE FROM a WHERE id = 2; INSERT INTO a VALUES (3, 'q'), (4, 'r')");
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a WHERE id <> 1");
    ok(&mut session, "INSERT INTO a VALUES (5, 's'); DELETE FROM a WHERE id = 4");
    house.restart();
    house.outside.set_absent(false);
    holds(&house, &["3=3|Q", "5=5|S"]);
    // Nothing holds back the log any more.
    let mut session = house.session();
    ok(&mut session, "DROP JOB 1; DROP TABLE a");
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM system.status.tables"), ["0"]);
}

#[test]
fn an_outside_table_that_is_declared_otherwise_is_taken_over() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a");
    holds(&house, &["1=1|X", "2=2|Y", "3=3|Z"]);
    house.outside.set_absent(true);
    ok(&mut session, "DELETE FROM a WHERE id = 2");
    ok(
        &mut session,
        "DROP TEMPORARY TABLE drain;
         CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, n INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         REPLACE JOB 1 AS INSERT INTO drain SELECT id, v, 7 FROM a WHERE id < 3",
    );
    house.outside.set_absent(false);
    holds(&house, &["1=1|x|7"]);
}

#[test]
fn a_version_of_a_row_that_is_none_any_more_does_not_fail_a_copy() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TEMPORARY TABLE drain (id BIGINT, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO a VALUES (1, '1');
         INSERT INTO drain SELECT id, CAST(v AS INT) FROM a;",
    );
    holds(&house, &["1=1|1"]);
    ok(&mut session, "INSERT INTO a VALUES (1, 'one'), (2, '2')");
    await_rows(&mut session, "SELECT state FROM system.status.jobs", &["FAILED"]);
    ok(&mut session, "UPDATE a SET v = '11' WHERE id = 1");
    ok(&mut session, "START JOB 1");
    holds(&house, &["1=1|11", "2=2|2"]);
}

#[test]
fn what_a_copy_without_key_has_not_written_is_not_lost_with_its_query() {
    for (query, expected) in [
        // As a plain copy again.
        ("REPLACE JOB 1 AS INSERT INTO drain SELECT TRY_CAST(v AS INT) FROM l", &["1", "2", "3", "NULL", "4"][..]),
        // By operators.
        (
            "REPLACE JOB 1 AS INSERT INTO drain SELECT TRY_CAST(v AS INT) FROM l UNION ALL SELECT n FROM none",
            &["1", "2", "3", "NULL", "4"][..],
        ),
        // The same query, with its bad rows kept apart.
        ("SET 'on-error' = 'dead-letter'; INSERT INTO drain SELECT CAST(v AS INT) FROM l", &["1", "2", "3", "4"][..]),
    ] {
        let mut house = House::new();
        let mut session = house.session();
        ok(&mut session, GROWING);
        holds(&house, &["000000=+I1", "000001=+I2"]);
        house.outside.set_absent(true);
        ok(&mut session, "INSERT INTO l VALUES ('3')");
        ok(&mut session, "INSERT INTO l VALUES ('x'), ('4')");
        house.outside.set_absent(false);
        await_rows(&mut session, "SELECT state FROM system.status.jobs", &["FAILED"]);
        ok(&mut session, query);
        let lines: Vec<String> = expected.iter().enumerate().map(|(i, n)| format!("{i:06}=+I{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        holds(&house, &lines);
        house.restart();
        ok(&mut house.session(), "INSERT INTO l VALUES ('5')");
        let next = format!("{:06}=+I5", lines.len());
        holds(&house, &[&lines[..], &[next.as_str()]].concat());
    }
}

#[test]
fn where_it_is_not_known_how_far_a_copy_without_key_was_written_it_is_not_guessed() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, GROWING);
    holds(&house, &["000000=+I1", "000001=+I2"]);
    ok(&mut session, "STOP JOB 1");
    house.restart();
    let mut session = house.session();
    ok(&mut session, "INSERT INTO l VALUES ('3')");
    let apart = "SET 'on-error' = 'dead-letter'; INSERT INTO drain SELECT CAST(v AS INT) FROM l";
    let drain = "CREATE TEMPORARY TABLE drain (n INT) WITH ('connector' = 'drain');";
    let error = fails(&mut session, &format!("{drain} {apart}"));
    assert!(error.contains("how far sink 1/0/drain was written is not known here for sure"), "{error}");
    // The remedy, as it is printed.
    ok(&mut session, "RESET 'on-error'; START JOB 1");
    holds(&house, &["000000=+I1", "000001=+I2", "000002=+I3"]);
    ok(&mut session, "STOP JOB 1");
    ok(&mut session, apart);
    ok(&mut session, "INSERT INTO l VALUES ('4')");
    holds(&house, &["000000=+I1", "000001=+I2", "000002=+I3", "000003=+I4"]);
}

/// The outside is away for a moment, and then stands as `standby`, which the sink notices as it asks.
fn fail_over(house: &House, standby: &Standby, meanwhile: &str) {
    house.outside.set_absent(true);
    ok(&mut house.session(), meanwhile);
    await_that(|| house.status().contains("the drain does not answer")).expect("it is missed");
    house.outside.fail_over(standby.clone());
    house.outside.set_absent(false);
}

type Standby = BTreeMap<String, (BTreeMap<String, String>, CommitId)>;

/// Job 1 fails with an error that says each of `told`.
fn fails_with(house: &House, told: &[&str]) {
    let mut session = house.session();
    await_rows(&mut session, "SELECT state FROM system.status.jobs WHERE job_id = 1", &["FAILED"]);
    let error = rows(&mut session, "SELECT error FROM system.status.jobs WHERE job_id = 1").join("");
    assert!(told.iter().all(|told| error.contains(told)), "{error}");
}

#[test]
fn an_outside_that_goes_back_behind_its_take_over_is_taken_over_again() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    let standby = house.outside.standby();
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a WHERE id < 3");
    holds(&house, &["1=1|X", "2=2|Y"]);
    ok(&mut session, "DELETE FROM a WHERE id = 1");
    holds(&house, &["2=2|Y"]);
    await_rows(&mut session, "SELECT consumer, state FROM system.status.consumers", &["1/0/drain|CURRENT"]);
    fail_over(&house, &standby, "INSERT INTO a VALUES (0, 'n')");
    holds(&house, &["0=0|N", "2=2|Y"]);
    house.restart();
    fail_over(&house, &standby, "INSERT INTO a VALUES (0, 'm')");
    holds(&house, &["0=0|M", "2=2|Y"]);
    // Another query again, right after the first.
    ok(
        &mut house.session(),
        "CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, n INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         REPLACE JOB 1 AS INSERT INTO drain SELECT id, v, 7 FROM a WHERE id > 0",
    );
    holds(&house, &["2=2|y|7", "3=3|z|7"]);
    fail_over(&house, &standby, "INSERT INTO a VALUES (4, 'p')");
    fails_with(&house, &["from another table than now", "empty the outside, then START JOB 1"]);
}

#[test]
fn an_outside_that_goes_back_further_than_is_kept_is_not_filled_up() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    let standby = house.outside.standby();
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a WHERE id < 3");
    holds(&house, &["1=1|X", "2=2|Y"]);
    house.let_pass(400);
    ok(&mut session, "INSERT INTO a VALUES (0, 'n')");
    holds(&house, &["0=0|N", "1=1|X", "2=2|Y"]);
    await_rows(&mut session, "SELECT state FROM system.status.consumers", &["CURRENT"]);
    house.restart();
    fail_over(&house, &standby, "DELETE FROM a WHERE id = 1");
    fails_with(&house, &["from another table than now", "empty the outside, then START JOB 1"]);
    // The remedy, as it is printed.
    house.outside.fail_over(Standby::new());
    ok(&mut house.session(), "START JOB 1");
    holds(&house, &["0=0|N", "2=2|Y"]);
}

#[test]
fn rows_without_key_that_went_with_the_query_before_are_not_passed_over() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, GROWING);
    holds(&house, &["000000=+I1", "000001=+I2"]);
    let standby = house.outside.standby();
    ok(&mut session, "INSERT INTO l VALUES ('3')");
    holds(&house, &["000000=+I1", "000001=+I2", "000002=+I3"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT CAST(v AS INT) FROM l UNION ALL SELECT n FROM none");
    ok(&mut session, "INSERT INTO l VALUES ('4')");
    holds(&house, &["000000=+I1", "000001=+I2", "000002=+I3", "000003=+I4"]);
    fail_over(&house, &standby, "INSERT INTO l VALUES ('5')");
    fails_with(
        &house,
        &["from another table than now", "DROP JOB 1 here, empty the outside, then run the INSERT again"],
    );
    // Nor is one that was emptied filled from the middle.
    house.outside.fail_over(Standby::new());
    ok(&mut session, "START JOB 1");
    fails_with(&house, &["is no longer kept", "DROP JOB 1 here"]);
    ok(&mut session, "DROP JOB 1; INSERT INTO drain SELECT CAST(v AS INT) FROM l UNION ALL SELECT n FROM none");
    await_that(|| house.outside.sink("drain").len() == 5).expect("a new job gives all of its rows");
}

/// A writer that is late writes rows of the query before after the new one has begun.
#[test]
fn a_take_over_is_owed_wherever_the_outside_stands() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    let mut late = house.outside.standby();
    house.outside.set_absent(true);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM a WHERE id < 3");
    for n in 0..100 {
        ok(&mut session, &format!("UPDATE a SET v = 'v{n}' WHERE id = 1"));
    }
    late.values_mut().for_each(|(_, commit)| commit.0 += 50);
    await_that(|| house.status().contains("the drain does not answer")).expect("it is missed");
    house.outside.fail_over(late);
    house.outside.set_absent(false);
    holds(&house, &["1=1|V99", "2=2|Y"]);
}

#[test]
fn a_copy_does_not_go_on_from_another_table_of_the_same_name() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, KEYED);
    holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
    ok(
        &mut session,
        "STOP JOB 1; DROP TABLE a;
         CREATE TABLE a (id BIGINT, v VARCHAR(9), PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO a VALUES (1, 'n');
         START JOB 1",
    );
    fails_with(&house, &["was dropped and made anew", "empty the outside, then START JOB 1"]);
    house.outside.fail_over(Standby::new());
    ok(&mut session, "START JOB 1");
    holds(&house, &["1=1|n"]);
}

#[test]
fn an_outside_whose_table_before_is_gone_is_told_to_be_written_anew() {
    for replaced_first in [true, false] {
        let house = House::new();
        let mut session = house.session();
        ok(&mut session, KEYED);
        holds(&house, &["1=1|x", "2=2|y", "3=3|z"]);
        ok(
            &mut session,
            "CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED); INSERT INTO b VALUES (7, 'b')",
        );
        house.outside.set_absent(true);
        let replace = "REPLACE JOB 1 AS INSERT INTO drain SELECT id, UPPER(v) FROM b";
        if replaced_first {
            ok(&mut session, &format!("{replace}; STOP JOB 1; DROP TABLE a; START JOB 1"));
        } else {
            ok(&mut session, &format!("STOP JOB 1; DROP TABLE a; {replace}"));
        }
        house.outside.set_absent(false);
        fails_with(&house, &["from another table than now", "empty the outside, then START JOB 1"]);
        house.outside.fail_over(Standby::new());
        ok(&mut session, "START JOB 1");
        holds(&house, &["7=7|B"]);
    }
}
