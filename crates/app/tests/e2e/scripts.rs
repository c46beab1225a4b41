//! Scripts as Flink's users write them, exit codes, and the way through the socket.

use crate::program::{Program, address, database, postgres, text};

const AS_USERS_WRITE: &str = "
-- 电网设备:从 PostgreSQL 到看板
SET execution.runtime-mode = batch;
SET 'sql-client.execution.result-mode' = 'tableau';
CREATE CATALOG fluss_catalog WITH (
  'type' = 'fluss',
  'bootstrap.servers' = 'coordinator-server:9123'
);
USE CATALOG fluss_catalog;
CREATE DATABASE IF NOT EXISTS sgcc;
USE sgcc;
CREATE TABLE `设备状态` (
  `设备编号` BIGINT,
  `状态` STRING COMMENT '运行状态',  -- 运行 / 停运
  `负荷` DECIMAL(10, 2),
  PRIMARY KEY (`设备编号`) NOT ENFORCED
) WITH ('bucket.num' = '4', 'bucket.key' = '设备编号');
INSERT INTO `设备状态` VALUES (1, '运行', 10.50), (2, '停运', 0.00), (3, '运行', 99.99);
CREATE TABLE fluss_catalog.sgcc.汇总 (`状态` STRING, n BIGINT, total DECIMAL(38, 2), PRIMARY KEY (`状态`) NOT ENFORCED);
EXECUTE STATEMENT SET BEGIN
  INSERT INTO 汇总 SELECT `状态`, COUNT(*), SUM(`负荷`) FROM fluss_catalog.sgcc.`设备状态` GROUP BY `状态`;
END;
SELECT * FROM 汇总 ORDER BY n DESC;
/* 以后再写
";

#[test]
fn a_script_as_users_write_it_runs_unchanged_and_again() {
    let program = Program::new();
    let script = program.script("grid.sql", AS_USERS_WRITE);
    for round in 0..2 {
        let output = program.run(&["run", "-f", &script.display().to_string()]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "round {round}: {shown}\n{}", text(&output.stderr));
        assert!(shown.contains("110.49"), "{shown}");
    }
}

#[test]
fn rows_that_are_given_are_printed_and_the_statement_returns() {
    let program = Program::new();
    let script = "CREATE TABLE p (id INT) WITH ('connector' = 'print'); INSERT INTO p VALUES (5);";
    for command in ["run", "sql"] {
        let output = program.run(&[command, "-e", script]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("+I[5]"), "{}", text(&output.stdout));
    }
}

#[test]
fn exit_codes_are_true() {
    let program = Program::new();
    let code = |arguments: &[&str]| program.run(arguments).status.code();
    assert_eq!(code(&["run", "-e", "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1); SELECT * FROM t;"]), Some(0));
    assert_eq!(code(&["run", "-e", "SELECT * FROM nowhere;"]), Some(1));
    assert_eq!(code(&["run", "--no-such-flag"]), Some(2));
    assert!(matches!(code(&["run", "-f", "missing.sql"]), Some(1 | 2)));
    let closed =
        "CREATE TEMPORARY TABLE s (id BIGINT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'postgres-cdc',
        'hostname' = '127.0.0.1', 'port' = '1', 'username' = 'u', 'password' = 'p', 'database-name' = 'd',
        'schema-name' = 'public', 'table-name' = 't', 'slot.name' = 's');
        CREATE TABLE o (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
        INSERT INTO o SELECT * FROM s;";
    assert_eq!(code(&["run", "--wait", "0", "-e", closed]), Some(4));
}

#[test]
fn a_job_that_fails_is_told_by_the_exit_code() {
    let program = Program::new();
    let script = "CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
        CREATE TABLE d (id BIGINT, n INT, PRIMARY KEY (id) NOT ENFORCED);
        INSERT INTO d SELECT id, CAST(v AS INT) FROM a;
        INSERT INTO a VALUES (1, 'seven');";
    let output = program.run(&["run", "-e", script]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{}\n{err}", text(&output.stdout));
    assert!(err.contains("seven") && err.contains("START JOB"), "{err}");
}

#[test]
fn a_second_process_talks_to_the_first() {
    database("second");
    postgres()
        .sql("second", "CREATE TABLE t (id bigint PRIMARY KEY, v text); INSERT INTO t VALUES (1, '一'), (2, 'two')");
    let mut program = Program::new();
    let text_of = format!(
        "CREATE TEMPORARY TABLE src (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'postgres-cdc', {},
           'database-name' = 'second', 'schema-name' = 'public', 'table-name' = 't', 'slot.name' = 'second_slot');
         CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO ods SELECT * FROM src;",
        address()
    );
    let script = program.script("s.sql", &text_of);
    program.start(&script);
    crate::program::await_equal("the socket", || program.path("data/.s.PGSQL.5432").exists(), || true);
    crate::program::await_equal(
        "the rows",
        || program.query("SELECT v FROM ods"),
        || vec!["two".to_owned(), "一".to_owned()],
    );
    let answer = program.run(&["run", "-e", "SELECT COUNT(*) AS n FROM ods; SHOW JOBS;"]);
    assert_eq!(answer.status.code(), Some(0), "{}", text(&answer.stderr));
    assert!(text(&answer.stdout).contains("RUNNING"), "{}", text(&answer.stdout));
    let status = program.run(&["status"]);
    assert_eq!(status.status.code(), Some(0));
    assert!(text(&status.stdout).contains("ods"), "{}", text(&status.stdout));
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
