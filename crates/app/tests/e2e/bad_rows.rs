//! One row of a source that a job cannot compute: the job fails by name, its neighbours and their sinks go on, and each remedy
//! brings everything in line again.

use std::path::PathBuf;

use gridhouse_link::testing::{Cluster, SUPERUSER};

use crate::faults::{await_failure, chain, prepared};
use crate::layers::{await_layers, rows};
use crate::program::{Program, await_equal, postgres, text};

/// Readings as text, cast to numbers on their way to a second layer; each layer has a sink. Beside [`chain`], on its slot.
fn readings(program: &Program, name: &str) -> PathBuf {
    let (port, (user, password)) = (postgres().port(), SUPERUSER);
    let login = format!("'username' = '{user}', 'password' = '{password}'");
    let sink = format!("'connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{port}/{name}', {login}");
    let script = format!(
        "CREATE TABLE IF NOT EXISTS ods_readings (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE IF NOT EXISTS dwd_readings (id INT, v INT, PRIMARY KEY (id) NOT ENFORCED);
CREATE TEMPORARY TABLE readings (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH
  ('connector' = 'postgres-cdc', 'hostname' = '127.0.0.1', 'port' = '{port}', {login}, 'database-name' = '{name}',
   'schema-name' = 'public', 'table-name' = 'readings', 'slot.name' = '{name}_slot');
CREATE TEMPORARY TABLE raw (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({sink}, 'table-name' = 'raw');
CREATE TEMPORARY TABLE numbers (id INT, v INT, PRIMARY KEY (id) NOT ENFORCED) WITH ({sink}, 'table-name' = 'numbers');
INSERT INTO ods_readings SELECT * FROM readings;
INSERT INTO dwd_readings SELECT id, CAST(v AS INT) FROM ods_readings;
INSERT INTO raw SELECT * FROM ods_readings;
INSERT INTO numbers SELECT * FROM dwd_readings;
"
    );
    program.script("readings.sql", &script)
}

/// Waits until the layers and sinks of [`readings`] hold the source's rows, those cast as `number` says.
fn await_readings(program: &Program, cluster: &Cluster, name: &str, number: &str) {
    await_raw(program, cluster, name);
    let numbers = || rows(cluster, name, &format!("SELECT id, {number} FROM readings"));
    await_equal("the numbers", || rows(cluster, name, "SELECT id, v FROM numbers"), numbers);
    assert_eq!(program.query("SELECT id, v FROM dwd_readings"), numbers());
}

fn await_raw(program: &Program, cluster: &Cluster, name: &str) {
    let readings = || rows(cluster, name, "SELECT id, v FROM readings");
    await_equal("the raw copy", || rows(cluster, name, "SELECT id, v FROM raw"), readings);
    assert_eq!(program.query("SELECT id, v FROM ods_readings"), readings());
}

#[test]
fn a_bad_cast_in_one_row_of_a_source_fails_one_job_until_a_remedy() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "bad_rows");
    prepared(cluster, name);
    cluster.sql(
        name,
        "CREATE TABLE readings (id int PRIMARY KEY, v text); INSERT INTO readings SELECT i, i FROM generate_series(1, 50) i; \
         CREATE TABLE raw (id int PRIMARY KEY, v text); CREATE TABLE numbers (id int PRIMARY KEY, v int)",
    );
    let scripts = [chain(program, name, cluster.port(), cluster.port()), readings(program, name)];
    program.start_all(&scripts);
    await_readings(program, cluster, name, "v::int");
    let before = rows(cluster, name, "SELECT id, v FROM numbers");
    let fails = || {
        let told = await_failure(program, "dwd_readings");
        let message = "'seven' is not a valid INT in row (61, seven)";
        assert_eq!(told, format!("map (Project id, v=CAST(`v` AS INT)): {message}; TRY_CAST gives NULL instead"));
        // The neighbours and their sinks go on, the transaction with the bad row included.
        cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 50 = 7");
        await_layers(program, cluster, cluster, name);
        await_raw(program, cluster, name);
        assert_eq!(program.query("SELECT COUNT(*) FROM system.status.jobs WHERE state = 'RUNNING'"), ["7"]);
        assert_eq!(program.query("SELECT state FROM system.status.sources"), ["RUNNING"]);
        let status = text(&program.run(&["status"]).stdout);
        assert!(status.contains(message), "{status}");
        program.query("SELECT job_id FROM system.status.jobs WHERE state = 'FAILED'").concat()
    };

    // The row is mended at its source.
    cluster.sql(name, "BEGIN; INSERT INTO readings VALUES (60, '60'), (61, 'seven'); UPDATE readings SET v = '100' WHERE id = 1; COMMIT");
    let job = fails();
    assert_eq!(rows(cluster, name, "SELECT id, v FROM numbers"), before, "nothing of the transaction");
    cluster.sql(name, "UPDATE readings SET v = '7' WHERE id = 61; DELETE FROM readings WHERE id = 2");
    await_raw(program, cluster, name);
    program.query(&format!("START JOB {job}"));
    await_readings(program, cluster, name, "v::int");

    // Another job takes its place, which casts what it can.
    cluster.sql(name, "UPDATE readings SET v = 'seven' WHERE id = 61; UPDATE readings SET v = '33' WHERE id = 3");
    let job = fails();
    program.query(&format!(
        "REPLACE JOB {job} AS INSERT INTO dwd_readings SELECT id, TRY_CAST(v AS INT) FROM ods_readings"
    ));
    let cast = "CASE WHEN v ~ '^[0-9]+$' THEN v::int END";
    await_readings(program, cluster, name, cast);

    // Or one that keeps such rows apart until they are mended.
    let apart = "SET 'on-error' = 'dead-letter'; \
                 REPLACE JOB dwd_job AS INSERT INTO dwd_readings SELECT id, CAST(v AS INT) FROM ods_readings";
    let job = program.query("SELECT job_id FROM system.status.jobs WHERE name LIKE '%dwd_readings'").concat();
    program.query(&apart.replace("dwd_job", &job));
    let kept = || program.query("SELECT row_text, error FROM dwd_readings_dead_letter").concat();
    await_equal("the dead letter", || kept().contains("seven"), || true);
    cluster.sql(name, "UPDATE readings SET v = 'eight' WHERE id = 8; UPDATE readings SET v = '99' WHERE id = 9");
    await_equal("the other one", || kept().contains("eight"), || true);
    let numbers = || rows(cluster, name, "SELECT id, v::int FROM readings WHERE v ~ '^[0-9]+$'");
    await_equal("the numbers", || rows(cluster, name, "SELECT id, v FROM numbers"), numbers);
    await_raw(program, cluster, name);
    cluster.sql(name, "UPDATE readings SET v = '8' WHERE id IN (8, 61)");
    await_equal("no dead letter", kept, String::new);
    await_readings(program, cluster, name, "v::int");
    await_layers(program, cluster, cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}
