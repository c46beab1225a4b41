//! Rows that cannot be computed: they fail their job, by name, or go into a table of their own; nothing else is harmed.

use crate::house::{House, await_rows, await_that, fails, ok, rows};

const TABLES: &str = "
CREATE TABLE t (id BIGINT, total INT, n INT, label STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE share (id BIGINT, share INT, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE labels (id BIGINT, label STRING NOT NULL, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE sums (label STRING, shares INT, PRIMARY KEY (label) NOT ENFORCED);
";
const SHARES: &str = "INSERT INTO share SELECT id, total / n FROM t";
const LETTERS: &str = "SELECT row_text, error, times FROM share_dead_letter";

#[test]
fn a_row_that_cannot_be_computed_fails_its_job_alone_and_is_named() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, SHARES);
    ok(&mut session, "INSERT INTO labels SELECT id, COALESCE(label, '?') FROM t");
    ok(&mut session, "INSERT INTO t VALUES (1, 10, 2, 'a'), (2, 7, 0, 'b')");
    // Its neighbour has the rows.
    assert_eq!(rows(&mut session, "SELECT * FROM labels"), ["1|a", "2|b"]);
    let state = rows(&mut session, "SELECT job_id, state, error FROM system.status.jobs WHERE state <> 'RUNNING'");
    assert_eq!(state.len(), 1);
    assert!(state[0].starts_with("1|FAILED|") && state[0].contains("by zero"), "{state:?}");
    assert!(state[0].contains("in row (") && state[0].contains("7, 0"), "the row is named: {state:?}");
    ok(&mut session, "UPDATE t SET n = 7 WHERE id = 2");
    ok(&mut session, "START JOB 1");
    assert_eq!(rows(&mut session, "SELECT * FROM share"), ["1|5", "2|1"]);
}

#[test]
fn dead_letters_stand_as_long_as_the_row_does() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO t VALUES (1, 10, 2, 'a'), (2, 7, 0, 'b')");
    ok(&mut session, "SET 'on-error' = 'dead-letter'");
    let answer = ok(&mut session, SHARES);
    assert!(answer.contains("rows that cannot be computed go into default_catalog.default_database.share_dead_letter"));
    ok(
        &mut session,
        "INSERT INTO sums SELECT t.label, SUM(s.share) FROM share s JOIN t ON s.id = t.id GROUP BY t.label",
    );
    ok(&mut session, "INSERT INTO t VALUES (3, 9, 0, 'c'), (4, 9, 3, 'a'), (5, 8, 0, 'c')");
    let letters = rows(&mut session, LETTERS);
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(letters.iter().all(|letter| letter.contains("by zero") && letter.ends_with("|1")), "{letters:?}");
    assert_eq!(rows(&mut session, "SELECT * FROM share"), ["1|5", "4|3"]);
    assert_eq!(rows(&mut session, "SELECT * FROM sums"), ["a|8"]);

    // Corrected, deleted, and wrong again.
    ok(&mut session, "UPDATE t SET n = 1 WHERE id = 2");
    ok(&mut session, "DELETE FROM t WHERE id = 3");
    ok(&mut session, "UPDATE t SET n = 0 WHERE id = 4");
    await_rows(&mut session, "SELECT * FROM share", &["1|5", "2|7"]);
    let letters = rows(&mut session, LETTERS);
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters.iter().any(|letter| letter.contains("8, 0")), "{letters:?}");

    // Neither a stop nor a crash counts a letter twice, and what was corrected meanwhile is gone.
    house.restart();
    assert_eq!(rows(&mut house.session(), LETTERS), letters);
    house.crash();
    let mut session = house.session();
    assert_eq!(rows(&mut session, LETTERS), letters);
    ok(&mut session, "STOP JOB 1");
    ok(&mut session, "UPDATE t SET n = 2 WHERE id = 5");
    assert_eq!(rows(&mut session, LETTERS), letters);
    ok(&mut session, "START JOB 1");
    await_that(|| rows(&mut session, LETTERS).len() == 1).expect("the corrected row's letter goes");
    assert_eq!(rows(&mut session, "SELECT * FROM share"), ["1|5", "2|7", "5|4"]);
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert!(answer.contains("cannot compute"), "{answer}");
}

#[test]
fn null_where_none_may_be_is_a_dead_letter_too() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO labels /*+ OPTIONS('on-error' = 'dead-letter') */ SELECT id, label FROM t");
    ok(&mut session, "INSERT INTO t VALUES (1, 0, 0, 'a'), (2, 0, 0, NULL)");
    assert_eq!(rows(&mut session, "SELECT * FROM labels"), ["1|a"]);
    let letters = rows(&mut session, "SELECT operator, row_text, error FROM labels_dead_letter");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].contains("(2, NULL)") && letters[0].contains("column label is NOT NULL"), "{letters:?}");
    ok(&mut session, "UPDATE t SET label = 'b' WHERE id = 2");
    assert_eq!(rows(&mut session, "SELECT * FROM labels"), ["1|a", "2|b"]);
    assert!(rows(&mut session, "SELECT * FROM labels_dead_letter").is_empty());
}

#[test]
fn an_outside_target_has_its_letters_too() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE drain (id BIGINT, share INT, PRIMARY KEY (id) NOT ENFORCED)
           WITH ('connector' = 'drain', 'on-error' = 'dead-letter');
         INSERT INTO drain SELECT id, total / n FROM t;
         INSERT INTO t VALUES (1, 10, 2, 'a'), (2, 7, 0, 'b')",
    );
    await_that(|| house.outside.sink("drain") == ["1=1|5"]).expect("the sound row arrives");
    assert_eq!(rows(&mut session, "SELECT times FROM drain_dead_letter"), ["1"]);
    ok(&mut session, "UPDATE t SET n = 7 WHERE id = 2");
    await_that(|| house.outside.sink("drain") == ["1=1|5", "2=2|1"]).expect("the corrected row arrives");
    assert!(rows(&mut session, "SELECT * FROM drain_dead_letter").is_empty());
}

#[test]
fn letters_of_several_inserts_stand_side_by_side_and_leave_with_their_job() {
    let mut house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "CREATE TABLE u (id BIGINT, n INT, PRIMARY KEY (id) NOT ENFORCED)");
    ok(&mut session, "INSERT INTO t VALUES (1, 10, 0, 'a'); INSERT INTO u VALUES (11, 0), (12, 5)");
    ok(
        &mut session,
        "SET 'on-error' = 'dead-letter';
         EXECUTE STATEMENT SET BEGIN
           INSERT INTO share SELECT id, total / n FROM t;
           INSERT INTO share SELECT id, 10 / n FROM u;
         END",
    );
    assert_eq!(rows(&mut session, LETTERS).len(), 2);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, LETTERS).len(), 2);
    ok(&mut session, "UPDATE t SET n = 1 WHERE id = 1");
    assert_eq!(rows(&mut session, LETTERS).len(), 1);
    // Stopped, robbed of its table, and started again.
    ok(&mut session, "STOP JOB 1; DROP TABLE share_dead_letter; START JOB 1");
    assert_eq!(rows(&mut session, LETTERS).len(), 1);
    ok(&mut session, "DROP JOB 1");
    assert!(rows(&mut session, LETTERS).is_empty(), "nobody's letters are nobody's");
}

#[test]
fn a_bounded_insert_leaves_the_letters_of_its_last_run() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO t VALUES (1, 10, 0, 'a'), (2, 10, 5, 'b'), (3, 9, 0, 'c')");
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE drain (id BIGINT, share INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         SET 'execution.runtime-mode' = 'batch'; SET 'on-error' = 'dead-letter'",
    );
    let once = "INSERT INTO drain SELECT id, total / n FROM t";
    ok(&mut session, once);
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM drain_dead_letter"), ["2"]);
    ok(&mut session, "UPDATE t SET n = 1 WHERE id = 3");
    ok(&mut session, once);
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM drain_dead_letter"), ["1"]);
}

#[test]
fn a_job_does_not_read_its_own_letters() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "SET 'on-error' = 'dead-letter'");
    ok(&mut session, SHARES);
    ok(&mut session, "DROP JOB 1");
    let message = fails(&mut session, "INSERT INTO share SELECT times, times / (times - 1) FROM share_dead_letter");
    assert!(message.contains("feed itself"), "{message}");
}

#[test]
fn what_a_source_could_not_read_stays_until_somebody_deletes_it() {
    let mut house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a"))]);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
           WITH ('connector' = 'tap', 'on-error' = 'dead-letter');
         CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ods SELECT * FROM tap",
    );
    await_rows(&mut session, "SELECT * FROM ods", &["1|a"]);
    house.outside.reject("x,b");
    let letters = "SELECT operator, row_text, error, times FROM ods_dead_letter";
    let expected = ["Source default_catalog.default_database.tap|x,b|'x' is no BIGINT|1"];
    await_rows(&mut session, letters, &expected);
    assert!(fails(&mut session, "DROP TABLE ods_dead_letter").contains("job"), "a live job writes it");
    house.restart();
    let mut session = house.session();
    house.outside.commit(&[(2, Some("b"))]);
    await_rows(&mut session, "SELECT * FROM ods", &["1|a", "2|b"]);
    assert_eq!(rows(&mut session, letters), expected, "a restart keeps it");
    ok(&mut session, "DELETE FROM ods_dead_letter WHERE error LIKE '%BIGINT%'");
    assert!(rows(&mut session, letters).is_empty());
}

#[test]
fn what_a_source_could_not_read_while_its_job_rested_is_kept_for_it() {
    let house = House::new();
    let session = &mut house.session();
    ok(
        session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
           WITH ('connector' = 'tap', 'on-error' = 'dead-letter');
         CREATE TABLE counts (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO counts SELECT v, COUNT(*) FROM tap GROUP BY v; STOP JOB 1;",
    );
    house.outside.reject("x,b");
    house.outside.commit(&[(1, Some("a"))]);
    await_rows(session, "SELECT rows_in FROM system.status.sources", &["1"]);
    let letters = "SELECT row_text, error, times FROM counts_dead_letter";
    await_rows(session, letters, &["x,b|'x' is no BIGINT|1"]);
    ok(session, "START JOB 1");
    assert_eq!(rows(session, "SELECT * FROM counts"), ["a|1"]);
    assert_eq!(rows(session, letters), ["x,b|'x' is no BIGINT|1"]);
}

#[test]
fn what_is_asked_for_is_checked() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    let message = fails(&mut session, "SET 'on-error' = 'dead-leter'");
    assert!(message.contains("fail, dead-letter"), "{message}");
    ok(&mut session, "CREATE TABLE share_dead_letter (a INT)");
    let message = fails(&mut session, &format!("SET 'on-error' = 'dead-letter'; {SHARES}"));
    assert!(message.contains("share_dead_letter, which is there already and is something else"), "{message}");
    ok(&mut session, "DROP TABLE share_dead_letter");
    ok(&mut session, SHARES);
    let message = fails(&mut session, "DROP TABLE share_dead_letter");
    assert!(message.contains("job"), "a live job writes it: {message}");
}
