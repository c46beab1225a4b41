//! Faults of what is around the program: each is healed, or told with a remedy that works when it is followed.

use std::path::{Path, PathBuf};
use std::process::Command;

use gridhouse_link::testing::{Cluster, Proxy, SUPERUSER};

use crate::program::{Program, await_equal, postgres, text};

/// A chain of a source table, an ODS, a summed-up DWS and two sinks; source and sink may be reached by other ports.
pub fn chain(program: &Program, name: &str, source: u16, sink: u16) -> PathBuf {
    let (user, password) = SUPERUSER;
    let login = format!("'username' = '{user}', 'password' = '{password}'");
    let url = format!("'connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{sink}/{name}', {login}");
    let script = format!(
        "CREATE TABLE IF NOT EXISTS ods (id INT, region STRING, amount DECIMAL(10, 2), PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE IF NOT EXISTS dws (region STRING, n BIGINT, amount DECIMAL(20, 2), PRIMARY KEY (region) NOT ENFORCED);
CREATE TEMPORARY TABLE orders (id INT, region STRING, amount DECIMAL(10, 2), PRIMARY KEY (id) NOT ENFORCED) WITH
  ('connector' = 'postgres-cdc', 'hostname' = '127.0.0.1', 'port' = '{source}', {login}, 'database-name' = '{name}',
   'schema-name' = 'public', 'table-name' = 'orders', 'slot.name' = '{name}_slot', 'heartbeat.interval.ms' = '1000');
CREATE TEMPORARY TABLE board (region STRING, n BIGINT, amount DECIMAL(20, 2), PRIMARY KEY (region) NOT ENFORCED) WITH
  ({url}, 'table-name' = 'board');
CREATE TEMPORARY TABLE copy (id INT, region STRING, amount DECIMAL(10, 2), PRIMARY KEY (id) NOT ENFORCED) WITH
  ({url}, 'table-name' = 'copy');
INSERT INTO ods SELECT * FROM orders;
INSERT INTO dws SELECT region, COUNT(*), SUM(amount) FROM ods GROUP BY region;
INSERT INTO board SELECT * FROM dws;
INSERT INTO copy SELECT * FROM ods;
"
    );
    program.script("chain.sql", &script)
}

const SOURCE: &str = "CREATE TABLE orders (id int PRIMARY KEY, region text, amount numeric(10, 2)); \
                      INSERT INTO orders SELECT i, 'region-' || i % 5, i FROM generate_series(1, 1000) i";
const COPY: &str = "CREATE TABLE copy (id int PRIMARY KEY, region text, amount numeric(10, 2))";
const BOARD: &str = "CREATE TABLE board (region text PRIMARY KEY, n bigint, amount numeric(20, 2))";

/// A database with the tables of the source and of the sink.
pub fn prepared(cluster: &Cluster, name: &str) {
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(name, &format!("{SOURCE}; {COPY}; {BOARD}"));
}

/// Waits until the sink holds what the source says.
pub fn await_sink(cluster: &Cluster, name: &str) {
    await_sink_of(cluster, cluster, name);
}

/// As [`await_sink`], where the sink is on another server.
pub fn await_sink_of(source: &Cluster, sink: &Cluster, name: &str) {
    let copy = || sink.sql(name, "SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM copy c");
    await_equal("the copy", copy, || {
        source.sql(name, "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o")
    });
    let board = || sink.sql(name, "SELECT region, n, amount FROM board ORDER BY 1");
    await_equal("the board", board, || {
        source.sql(name, "SELECT region, count(*), sum(amount) FROM orders GROUP BY 1 ORDER BY 1")
    });
}

/// Waits until the job with a label like `name` has failed, and gives why.
pub fn await_failure(program: &Program, name: &str) -> String {
    let failed = format!("SELECT error FROM system.status.jobs WHERE state = 'FAILED' AND name LIKE '%{name}'");
    // What was seen then: a script that is being run again starts a failed job anew.
    let mut told = Vec::new();
    await_equal(
        "the failure",
        || {
            told = program.query(&failed);
            told.len()
        },
        || 1,
    );
    told.concat()
}

/// Types what a message says is to be typed: at the sink, then here.
pub fn follow(program: &Program, cluster: &Cluster, name: &str, told: &str) {
    let (_, rest) = told.split_once("type there `").unwrap_or_else(|| panic!("nothing is to be typed: {told}"));
    let (there, rest) = rest.split_once("`, then ").unwrap_or_else(|| panic!("nothing follows: {told}"));
    let here = rest.strip_suffix(" here").unwrap_or_else(|| panic!("nothing is to be typed here: {told}"));
    cluster.sql(name, there);
    program.query(here);
}

fn jobs(program: &Program) -> Vec<String> {
    program.query("SELECT job_id, state FROM system.status.jobs")
}

#[test]
fn a_sink_table_that_others_change_is_told_and_written_anew() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "sink_changes");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);

    cluster.sql(
        name,
        "ALTER TABLE copy ALTER region TYPE varchar(8); UPDATE orders SET region = 'far too long' WHERE id = 7",
    );
    let told = await_failure(program, "copy");
    assert!(told.contains("row (id = 7): value too long for type character varying(8)"), "{told}");
    assert!(told.contains("ALTER TABLE \"public\".\"copy\" ALTER COLUMN"), "{told}");
    cluster.sql(name, "ALTER TABLE copy ALTER region TYPE text");
    program.query("START JOB j4");
    await_sink(cluster, name);

    cluster.sql(name, "DROP TABLE copy; UPDATE orders SET amount = amount + 1 WHERE id < 10");
    let told = await_failure(program, "copy");
    let create = "CREATE TABLE public.copy (id integer, region text, amount numeric(10, 2), PRIMARY KEY (id))";
    assert!(told.contains("has no table 'public.copy'") && told.contains(create), "{told}");
    cluster.sql(name, create);
    program.query("START JOB j4");
    await_sink(cluster, name);

    // Dropped and made anew while nobody looks, and emptied: the next write finds out.
    cluster.sql(name, &format!("DROP TABLE copy; {COPY}; UPDATE orders SET amount = amount + 1 WHERE id < 20"));
    await_sink(cluster, name);
    assert!(jobs(program).iter().all(|job| job.contains("RUNNING")), "{:?}", jobs(program));
    assert!(program.log().contains("what it lacks is written again"), "{}", program.log());
    // Whether the run has seen that a job failed depends on when it looked.
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(name, "TRUNCATE copy");
    program.start(&script);
    await_sink(cluster, name);
    program.interrupt();
}

/// A copy of a directory, made while nobody writes it.
pub fn copied(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().expect("cp runs");
    assert!(status.success(), "the directory can be copied");
}

#[test]
fn a_data_directory_or_a_sink_from_an_old_copy_is_noticed() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "old_copies");
    prepared(cluster, name);
    let way = Proxy::start(cluster.port());
    let script = chain(program, name, cluster.port(), way.port());
    program.start(&script);
    await_sink(cluster, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    copied(&program.data_dir(), &program.path("old"));
    let change = |seed: u32| {
        cluster.sql(
            name,
            &format!(
                "UPDATE orders SET amount = amount + 1 WHERE id % 7 = {}; DELETE FROM orders WHERE id = {seed}",
                seed % 7
            ),
        );
    };
    program.start(&script);
    (101..110).for_each(change);
    await_sink(cluster, name);
    cluster.sql(
        name,
        "CREATE TABLE saved AS SELECT * FROM copy; CREATE TABLE saved_books AS SELECT * FROM gridhouse_sink",
    );
    (111..115).for_each(change);
    await_sink(cluster, name);

    // A sink from an old back-up: what it lacks is still in the log.
    cluster.sql(name, "BEGIN; DELETE FROM copy; INSERT INTO copy SELECT * FROM saved; UPDATE gridhouse_sink g SET upto = s.upto FROM saved_books s WHERE s.sink = g.sink AND s.sink LIKE '%copy'; COMMIT");
    change(116);
    await_sink(cluster, name);
    assert!(program.log().contains("its database was restored; it is claimed anew"), "{}", program.log());
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());

    // A directory from an old copy has soon as many commits as the outside has seen; it is noticed all the same.
    std::fs::remove_dir_all(program.data_dir()).expect("the directory can be removed");
    copied(&program.path("old"), &program.data_dir());
    way.lead_to(1);
    let mut serve = program.command(&["serve"]).spawn().expect("the program starts");
    let ods = || program.query("SELECT COUNT(*) FROM ods");
    for seed in 120..160 {
        change(seed);
        let rows = cluster.sql(name, "SELECT count(*) FROM orders");
        await_equal("the ODS", ods, || vec![rows.clone()]);
    }
    way.lead_to(cluster.port());
    for table in ["board", "copy"] {
        let told = await_failure(program, table);
        assert!(told.contains("by a later state, or another copy, of this data directory"), "{told}");
        assert!(told.contains("the data directory was restored from an older copy"), "{told}");
        follow(program, cluster, name, &told);
    }
    await_sink(cluster, name);
    let stopped = program.run(&["stop"]);
    let said = text(&stopped.stdout);
    assert!(
        said.contains(&format!(
            "replication slot '{name}_slot' of postgresql at 127.0.0.1:{} holds back WAL there",
            cluster.port()
        )),
        "{said}"
    );
    assert!(said.contains("without limit, until that server's disk is full"), "{said}");
    serve.wait().expect("the process ends");
}

#[test]
fn databases_that_are_not_up_yet_are_waited_for() {
    let cluster = Cluster::start(&[]);
    prepared(&cluster, "late");
    cluster.down("fast");
    let program = &mut Program::new();
    let script = chain(program, "late", cluster.port(), cluster.port());
    program.start(&script);
    program.await_log("it is tried again for 60 s (--wait); Ctrl-C stops");
    cluster.up();
    await_sink(&cluster, "late");
    program.await_log("4 jobs run");
    // Both go away under the jobs, and come back.
    cluster.down("fast");
    let waits = "SELECT state FROM system.status.sources UNION ALL SELECT state FROM system.status.sinks";
    await_equal("the wait", || program.query(waits).contains(&"WAITING".to_owned()), || true);
    cluster.up();
    cluster.sql("late", "DELETE FROM orders WHERE id < 50");
    await_sink(&cluster, "late");
    let lag = "SELECT CASE WHEN lag_bytes < 1000000 AND lag_ms < 60000 THEN 'near' ELSE 'far' END FROM system.status.sources \
               UNION ALL SELECT CASE WHEN lag_bytes = 0 AND lag_ms = 0 THEN 'near' ELSE 'far' END FROM system.status.sinks";
    await_equal("the lag", || program.query(lag), || vec!["near".to_owned(); 3]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    assert!(program.log().contains("holds back WAL there"), "{}", program.log());
    // Nobody there, and no patience: the message stands alone.
    cluster.down("fast");
    let output = program.run(&["run", "--wait", "0", "-f", &script.display().to_string()]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(
        said.contains("does not answer")
            && said.contains("check that the server runs")
            && !said.contains("tried again"),
        "{said}"
    );
}
