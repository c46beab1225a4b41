//! A job that looks rows up in a PostgreSQL which goes away: it waits, all others go on, and it catches up by itself.

use gridhouse_link::testing::{Cluster, SUPERUSER};

use crate::program::{Program, await_equal};

#[test]
fn a_look_up_waits_for_its_server_and_catches_up_by_itself() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE looked");
    cluster.sql("looked", "CREATE TABLE classes (class int PRIMARY KEY, name text)");
    cluster.sql("looked", "INSERT INTO classes SELECT i, 'class ' || i FROM generate_series(0, 4) i");
    let program = &mut Program::new();
    let (user, password) = SUPERUSER;
    let script = program.script(
        "looked.sql",
        &format!(
            "CREATE TABLE readings (id INT, class INT, at_time AS PROCTIME(), PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE named (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE counted (class INT, n BIGINT, PRIMARY KEY (class) NOT ENFORCED);
CREATE TEMPORARY TABLE classes (class INT, name STRING, PRIMARY KEY (class) NOT ENFORCED) WITH
  ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{}/looked', 'username' = '{user}', 'password' = '{password}',
   'table-name' = 'classes', 'lookup.max-retries' = '0');
INSERT INTO named SELECT r.id, c.name FROM readings r
  LEFT JOIN classes FOR SYSTEM_TIME AS OF r.at_time AS c ON r.class = c.class;
INSERT INTO counted SELECT class, COUNT(*) FROM readings GROUP BY class;
INSERT INTO readings VALUES (1, 1), (2, 2);
",
            cluster.port()
        ),
    );
    program.start(&script);
    let named = "SELECT id, name FROM named";
    await_equal("the first rows", || program.query(named), || vec!["1|class 1".into(), "2|class 2".into()]);

    cluster.kill();
    program.query("INSERT INTO readings VALUES (3, 3)");
    let states = "SELECT job_id, state FROM system.status.jobs";
    let waiting = || vec!["1|WAITING".to_owned(), "2|RUNNING".to_owned()];
    await_equal("the wait", || program.query(states), waiting);
    program.query("INSERT INTO readings VALUES (4, 4)");
    let counted = "SELECT SUM(n) FROM counted";
    await_equal("the other job", || program.query(counted), || vec!["4".to_owned()]);
    let why = program.query("SELECT error FROM system.status.jobs WHERE state = 'WAITING'").concat();
    assert!(
        why.contains("look-up in")
            && (why.contains("check that the server runs") || why.contains("whether its server runs")),
        "{why}"
    );

    // It is on record: killed and started again it waits on.
    program.kill();
    program.start(&script);
    await_equal("the wait", || program.query(states), waiting);
    cluster.up();
    let all = || (1..=4).map(|id| format!("{id}|class {id}")).collect::<Vec<_>>();
    await_equal("all rows", || program.query(named), all);
    assert_eq!(program.query(states), ["1|RUNNING", "2|RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
