//! Scripts as Flink's users write them, sessions, and what a wrong statement is answered.

use crate::house::{House, fails, ok, rows, run};

#[test]
fn a_script_can_be_run_again() {
    let mut house = House::new();
    let script = "
        CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = 'somewhere:9123');
        USE CATALOG fluss;
        CREATE DATABASE IF NOT EXISTS 电网;
        USE 电网;
        -- 设备表
        CREATE TABLE `设备` (`编号` BIGINT, `名称` STRING COMMENT '设备名称', PRIMARY KEY (`编号`) NOT ENFORCED);
        SET execution.runtime-mode = batch;
        INSERT INTO `设备` VALUES (1, '变压器'), (2, '断路器');
        /* 查询 */ SELECT * FROM fluss.`电网`.`设备` WHERE `名称` = '变压器';
        /* a comment left open";
    assert_eq!(ok(&mut house.session(), script), "1|变压器");
    let again = run(&mut house.session(), script);
    assert!(again.iter().all(|answer| !answer.starts_with("error")), "{again:?}");
    assert!(again.iter().any(|answer| answer.contains("is there already")), "{again:?}");
    house.restart();
    assert_eq!(rows(&mut house.session(), "SELECT * FROM fluss.`电网`.设备"), ["1|变压器", "2|断路器"]);
}

#[test]
fn what_is_defined_otherwise_is_a_conflict() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, "CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);");
    let message = fails(&mut session, "CREATE TABLE t (id BIGINT, v INT, PRIMARY KEY (id) NOT ENFORCED);");
    assert!(
        message.contains("defined otherwise") && message.contains('v') && message.contains("DROP TABLE"),
        "{message}"
    );
    let notice = ok(&mut session, "CREATE TABLE IF NOT EXISTS t (id BIGINT);");
    assert!(notice.contains("nothing was changed"), "{notice}");
}

#[test]
fn rows_are_inserted_updated_and_deleted() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t (id BIGINT, site STRING, load_mw DOUBLE, PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '2');
         INSERT INTO t VALUES (1, 'north', 10.5), (2, 'south', 20.5), (3, 'east', 30.5), (4, 'west', 40.5);",
    );
    assert_eq!(ok(&mut session, "UPDATE t SET load_mw = load_mw + 1 WHERE id = 2;"), "UPDATE 1");
    assert_eq!(ok(&mut session, "DELETE FROM t WHERE id = 4;"), "DELETE 1");
    ok(&mut session, "INSERT INTO t (id, site) VALUES (3, 'far east'), (5, 'new');");
    assert_eq!(
        rows(&mut session, "SELECT * FROM t"),
        ["1|north|10.5", "2|south|21.5", "3|far east|30.5", "5|new|NULL"]
    );
    assert_eq!(ok(&mut session, "SELECT COUNT(*), SUM(load_mw) FROM t WHERE id < 3"), "2|32.0");
    assert_eq!(ok(&mut session, "SELECT id FROM t ORDER BY load_mw DESC LIMIT 2"), "3\n2");
    assert_eq!(ok(&mut session, "SELECT site FROM t WHERE id < 4 ORDER BY id DESC"), "far east\nsouth\nnorth");
    assert_eq!(ok(&mut session, "SELECT 1 + 1, 'x'"), "2|x");
    ok(&mut session, "CREATE TABLE s (id INT, at_time TIMESTAMP(3)); INSERT INTO s VALUES (1, CURRENT_TIMESTAMP);");
    assert_eq!(ok(&mut session, "SELECT id FROM s WHERE at_time > TIMESTAMP '2020-01-01 00:00:00'"), "1");
}

#[test]
fn temporary_objects_and_settings_end_with_the_session() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t (id BIGINT); CREATE TEMPORARY VIEW v AS SELECT id + 1 AS n FROM t; SET 'a.b' = 'c'; INSERT INTO t VALUES (1);",
    );
    assert_eq!(ok(&mut session, "SELECT n FROM v"), "2");
    let mut other = house.session();
    let message = fails(&mut other, "SELECT n FROM v");
    assert!(message.contains("there is no table or view"), "{message}");
    assert_eq!(ok(&mut other, "SET"), "");
}

#[test]
fn jobs_outlive_the_temporary_tables_that_they_name() {
    let mut house = House::new();
    ok(
        &mut house.session(),
        "CREATE TABLE t (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TEMPORARY VIEW doubled AS SELECT id * 2 AS id FROM t;
         CREATE TABLE u (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO u SELECT id FROM doubled;",
    );
    house.restart();
    let mut session = house.session();
    ok(&mut session, "INSERT INTO t VALUES (4);");
    crate::house::await_rows(&mut session, "SELECT * FROM u", &["8"]);
}

#[test]
fn what_ran_before_a_wrong_statement_stays() {
    let house = House::new();
    let mut session = house.session();
    let answers = run(&mut session, "CREATE TABLE t (id BIGINT);\nINSERT INTO t VALUES (1);\nSELEC 1;\nDROP TABLE t;");
    assert_eq!(answers.len(), 3);
    assert!(answers[2].starts_with("error at 3:1"), "{}", answers[2]);
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1"]);
}

#[test]
fn wrong_statements_say_what_to_do() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE l (id BIGINT, name STRING);
         CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
         CREATE TEMPORARY TABLE other (id BIGINT) WITH ('connector' = 'tapp');",
    );
    let cases: &[(&str, &[&str])] = &[
        ("SELECT * FROM tt", &["there is no table or view", "did you mean t?"]),
        ("SELECT nme FROM t", &["nme", "did you mean name?"]),
        ("INSERT INTO t VALUES (1)", &["column"]),
        ("INSERT INTO t VALUES (1, 'a', 2)", &["column"]),
        ("INSERT INTO l SELECT name, COUNT(*) FROM t GROUP BY name", &[""]),
        ("INSERT INTO l SELECT COUNT(*), name FROM t GROUP BY name", &["only takes new rows", "PRIMARY KEY"]),
        ("INSERT INTO t SELECT id, 'x' FROM other", &["there is no connector 'tapp'", "did you mean 'tap'?"]),
        ("SELECT * FROM other", &[".other: there is no connector 'tapp'", "did you mean 'tap'?"]),
        ("SELECT * FROM tap", &["it is outside", "INSERT INTO"]),
        (
            "CREATE TABLE x (id BIGINT) WITH ('bucket.nun' = '2')",
            &["there is no option 'bucket.nun'", "did you mean 'bucket.num'?"],
        ),
        ("CREATE TABLE x (id BIGINT) WITH ('bucket.num' = 'two')", &["'two' is not a number of buckets"]),
        ("CREATE TABLE nowhere.x (id BIGINT)", &["there is no database", "CREATE DATABASE"]),
        ("CREATE CATALOG c WITH ('type' = 'flus')", &["there is no catalog type 'flus'", "'fluss'"]),
        ("USE CATALOG fluss", &["there is no catalog fluss"]),
        ("UPDATE t SET id = 2", &["part of the primary key", "DELETE"]),
        ("DELETE FROM l", &["has no primary key"]),
        ("STOP JOB nine", &["there is no job nine", "SHOW JOBS"]),
        ("SET 'execution.runtime-mode' = 'fast'", &["cannot be 'fast'", "streaming"]),
        ("SET 'table.local-time-zone' = 'Mars/Base'", &["there is no time zone 'Mars/Base'"]),
        ("DROP DATABASE default_database", &["is not empty", "CASCADE"]),
        ("CREATE TEMPORARY TABLE x (id BIGINT)", &["names no connector"]),
    ];
    for (statement, parts) in cases {
        let message = fails(&mut session, statement);
        for part in *parts {
            assert!(message.contains(part), "{statement}\n  gave: {message}\n  which lacks: {part}");
        }
        assert!(message.starts_with("error at 1:"), "{statement} gave no position: {message}");
    }
}

#[test]
fn things_are_shown() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE t (id BIGINT, name VARCHAR(20), PRIMARY KEY (id) NOT ENFORCED) WITH ('bucket.num' = '3');
         CREATE VIEW v AS SELECT id FROM t;
         CREATE TEMPORARY TABLE s (id BIGINT) WITH ('connector' = 'tap', 'password' = 'open sesame');",
    );
    assert_eq!(ok(&mut session, "SHOW TABLES"), "s\nt\nv");
    assert_eq!(ok(&mut session, "SHOW VIEWS"), "v");
    assert_eq!(ok(&mut session, "SHOW CATALOGS"), "default_catalog\nsystem");
    assert_eq!(
        ok(&mut session, "DESCRIBE t"),
        "id|BIGINT|FALSE|PRI(id)|NULL|NULL\nname|VARCHAR(20)|TRUE|NULL|NULL|NULL"
    );
    let created = ok(&mut session, "SHOW CREATE TABLE t");
    assert!(created.contains("PRIMARY KEY (id) NOT ENFORCED") && created.contains("'bucket.num' = '3'"), "{created}");
    let created = ok(&mut session, "SHOW CREATE TABLE s");
    assert!(!created.contains("sesame"), "{created}");
    let notes = ok(&mut session, "EXPLAIN PORTABILITY SELECT name AS n, COUNT(*) FROM t GROUP BY n");
    assert!(notes.contains("1:"), "an alias in GROUP BY is ours alone: {notes}");
    let plan = ok(&mut session, "EXPLAIN SELECT name, COUNT(*) FROM t GROUP BY name");
    assert!(plan.contains("t"), "{plan}");
}
