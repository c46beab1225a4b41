//! `EXPLAIN ANALYZE JOB` leads from an empty board to what drops everything.

use crate::house::{House, await_rows, fails, ok};

const TABLES: &str = "
CREATE TABLE device (id BIGINT, status STRING, region STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE region (code STRING, name STRING, PRIMARY KEY (code) NOT ENFORCED);
CREATE TABLE board (name STRING, n BIGINT, PRIMARY KEY (name) NOT ENFORCED);
INSERT INTO board SELECT r.name, COUNT(*) FROM device d JOIN region r ON d.region = r.code
  WHERE d.status = 'RUNNING' GROUP BY r.name;
";

/// The cells of the line of an operator, without its state and time.
fn line(answer: &str, operator: &str) -> Vec<String> {
    let found = answer.lines().find(|line| line.trim_start().starts_with(operator));
    let line = found.unwrap_or_else(|| panic!("no line of {operator} in\n{answer}"));
    let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
    [&cells[1..5], &cells[8..]].concat()
}

#[test]
fn a_filter_that_drops_everything_is_named_with_the_values_that_came() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO region VALUES ('E', 'East'), ('W', 'West')");
    ok(&mut session, "INSERT INTO device VALUES (1, 'running', 'E'), (2, 'stopped', 'W'), (3, NULL, 'W')");
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert_eq!(line(&answer, "Filter"), ["3", "0", "3", "0", "lets no row pass"], "{answer}");
    assert_eq!(line(&answer, "Join"), ["2", "0", "2", "0", "NULL"], "{answer}");
    assert_eq!(line(&answer, "Insert")[1], "0", "{answer}");
    let notice = answer.lines().find(|line| line.starts_with("note: Filter")).unwrap_or_default();
    assert!(notice.contains("status is 'running', 'stopped', NULL"), "{answer}");

    // Once a row passes, nothing is remarked any more.
    ok(&mut session, "UPDATE device SET status = 'RUNNING' WHERE id = 2");
    await_rows(&mut session, "SELECT * FROM board", &["West|1"]);
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert_eq!(line(&answer, "Filter"), ["5", "1", "5", "1", "NULL"], "{answer}");
    assert_eq!(line(&answer, "Insert"), ["1", "1", "1", "1", "NULL"], "{answer}");
    assert!(!answer.contains("note:"), "{answer}");
}

#[test]
fn a_join_that_never_matches_is_named_with_the_keys_of_both_sides() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TABLES);
    ok(&mut session, "INSERT INTO region VALUES ('CN-E', 'East')");
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert_eq!(line(&answer, "Scan default_catalog.default_database.device")[4], "no row has come from here");
    ok(&mut session, "INSERT INTO device VALUES (1, 'RUNNING', 'E')");
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert_eq!(line(&answer, "Join")[4], "lets no row pass", "{answer}");
    assert!(answer.contains("left region is 'E'; right code is 'CN-E'"), "{answer}");
}

#[test]
fn sources_and_sinks_are_part_of_the_picture() {
    let house = House::new();
    let mut session = house.session();
    house.outside.commit(&[(1, Some("a")), (2, Some("b"))]);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ods SELECT * FROM tap WHERE id > 1;
         INSERT INTO drain SELECT v, COUNT(*) FROM ods GROUP BY v;
         INSERT INTO drain /*+ OPTIONS('second' = 'yes') */ SELECT v, COUNT(*) FROM tap GROUP BY v;
         CREATE TABLE ids (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ids SELECT id FROM tap WHERE id > 1;",
    );
    await_rows(&mut session, "SELECT * FROM ods", &["2|b"]);
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 1");
    assert_eq!(line(&answer, "Filter")[..2], ["2", "1"], "{answer}");
    // Without texts, rows are left out as they land.
    await_rows(&mut session, "SELECT * FROM ids", &["2"]);
    let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 4");
    assert_eq!(line(&answer, "Source")[..2], ["2", "1"], "{answer}");
    crate::house::await_that(|| {
        let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 2");
        line(&answer, "Sink")[..2] == ["1", "1"]
    })
    .expect("the sink takes the row");
    crate::house::await_that(|| {
        let answer = ok(&mut session, "EXPLAIN ANALYZE JOB 3");
        line(&answer, "Source")[..2] == ["2", "2"]
    })
    .expect("its own landing gets the source's rows");
    ok(&mut session, "STOP JOB 2");
    assert!(ok(&mut session, "EXPLAIN ANALYZE JOB 2").contains("does not run: STOPPED"));
    assert!(fails(&mut session, "EXPLAIN ANALYZE JOB 9").contains("there is no job 9"));
}
