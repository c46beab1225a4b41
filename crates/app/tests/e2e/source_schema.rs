//! What can happen to the tables of a source under running jobs: columns, names, types, identities, contents. What does not fit
//! fails the jobs of that table alone, and what the message asks for mends them; the neighbours on the same slot go on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gridhouse_link::testing::{Cluster, SUPERUSER};

use crate::faults::{await_failure, chain, prepared};
use crate::layers::{await_layers, await_said, note_writes, rows, statement, writes};
use crate::program::{Program, await_equal, postgres, text};

/// A second chain beside [`chain`], on its slot: wide rows, whose large values PostgreSQL tells only where they change. `select` is
/// what its ODS takes from the source table that is declared with `columns` under the outside name `table`.
fn wide(program: &Program, name: &str, table: &str, columns: &str, select: &str) -> PathBuf {
    let (port, (user, password)) = (postgres().port(), SUPERUSER);
    let login = format!("'username' = '{user}', 'password' = '{password}'");
    let script = format!(
        "CREATE TABLE IF NOT EXISTS ods_wide (id INT, kind STRING, doc STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE IF NOT EXISTS dws_wide (kind STRING, n BIGINT, letters BIGINT, PRIMARY KEY (kind) NOT ENFORCED);
CREATE TEMPORARY TABLE wide ({columns}, PRIMARY KEY (id) NOT ENFORCED) WITH
  ('connector' = 'postgres-cdc', 'hostname' = '127.0.0.1', 'port' = '{port}', {login}, 'database-name' = '{name}',
   'schema-name' = 'public', 'table-name' = '{table}', 'slot.name' = '{name}_slot', 'heartbeat.interval.ms' = '1000');
CREATE TEMPORARY TABLE wide_copy (id INT, kind STRING, doc STRING, PRIMARY KEY (id) NOT ENFORCED) WITH
  ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{port}/{name}', {login}, 'table-name' = 'wide_copy');
INSERT INTO ods_wide SELECT {select} FROM wide;
INSERT INTO dws_wide SELECT kind, COUNT(*), SUM(CHAR_LENGTH(doc)) FROM ods_wide GROUP BY kind;
INSERT INTO wide_copy SELECT * FROM ods_wide;
"
    );
    program.script("wide.sql", &script)
}

/// The large one is not the last.
const COLUMNS: &str = "id INT, doc STRING, kind STRING";

/// A table with large values beside those of [`prepared`], whose old rows tell the primary key alone.
fn prepared_wide(cluster: &Cluster, name: &str) {
    prepared(cluster, name);
    cluster.sql(
        name,
        "CREATE TABLE wide (id int PRIMARY KEY, kind text, doc text); ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL; \
         INSERT INTO wide SELECT i, 'kind-' || i % 3, repeat(md5(i::text), 400) FROM generate_series(1, 30) i; \
         CREATE TABLE wide_copy (id int PRIMARY KEY, kind text, doc text)",
    );
    assert_eq!(cluster.sql(name, "SELECT relreplident FROM pg_class WHERE relname = 'wide'"), "d");
}

/// Waits until the sink and the layers of [`wide`] hold what `table` does, to the row and column.
fn await_wide(program: &Program, cluster: &Cluster, name: &str, table: &str) {
    let each = |table: &str| format!("SELECT id, kind, MD5(doc) FROM {table}");
    let truth = || rows(cluster, name, &each(table));
    await_equal("the wide copy", || rows(cluster, name, &each("wide_copy")), truth);
    assert_eq!(program.query(&each("ods_wide")), truth());
    let sums = rows(cluster, name, &format!("SELECT kind, count(*), sum(length(doc)) FROM {table} GROUP BY 1"));
    await_equal("the wide DWS", || program.query("SELECT kind, n, letters FROM dws_wide"), || sums.clone());
}

/// The neighbours go on: what changes now comes through them.
fn neighbours_go_on(program: &Program, cluster: &Cluster, name: &str) {
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 100 = 7");
    await_layers(program, cluster, cluster, name);
    let running = "SELECT COUNT(*) FROM system.status.jobs WHERE state = 'RUNNING'";
    assert_eq!(program.query(running), ["6"], "one job alone has failed");
    assert_eq!(program.query("SELECT state FROM system.status.sources"), ["RUNNING"]);
}

/// `START JOB` with the number of the failed job.
fn start_failed(program: &Program) {
    let failed = program.query("SELECT job_id FROM system.status.jobs WHERE state = 'FAILED'").concat();
    program.query(&format!("START JOB {failed}"));
}

/// `DROP JOB` with the number of the failed job.
fn drop_failed(program: &Program) {
    let failed = program.query("SELECT job_id FROM system.status.jobs WHERE state = 'FAILED'").concat();
    program.query(&format!("DROP JOB {failed}"));
}

#[test]
fn unchanged_large_values_are_kept_where_old_rows_tell_the_key_alone() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "large_values");
    prepared_wide(cluster, name);
    let scripts =
        [chain(program, name, cluster.port(), cluster.port()), wide(program, name, "wide", COLUMNS, "id, kind, doc")];
    program.start_all(&scripts);
    await_wide(program, cluster, name, "wide");
    note_writes(cluster, name, &[("wide_copy", "id")]);
    cluster.sql(name, "UPDATE wide SET kind = 'kind-9' WHERE id <= 3");
    cluster.sql(
        name,
        "BEGIN; INSERT INTO wide VALUES (40, 'kind-0', repeat('new', 4000)), (41, 'kind-1', NULL); \
         UPDATE wide SET kind = 'kind-2' WHERE id IN (4, 40); UPDATE wide SET doc = repeat('other', 4000) WHERE id IN (4, 41); \
         UPDATE wide SET kind = 'kind-1' WHERE id IN (4, 41); UPDATE wide SET doc = NULL WHERE id = 5; DELETE FROM wide WHERE id = 6; COMMIT",
    );
    await_wide(program, cluster, name, "wide");
    let written = |ids: &[u32]| ids.iter().map(|id| (format!("wide_copy {id}"), 1)).collect();
    let once: BTreeMap<String, usize> = written(&[1, 2, 3, 4, 40, 41, 5, 6]);
    assert_eq!(writes(cluster, name), once);

    // Under another key nobody tells the value: the contents are compared.
    cluster.sql(name, "UPDATE wide SET id = id + 100 WHERE id IN (7, 8)");
    await_wide(program, cluster, name, "wide");
    assert_eq!(writes(cluster, name), written(&[7, 8, 107, 108]));

    // And also if the program ends between: an open transaction holds up what the comparison is made under.
    let hold = std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            cluster.try_sql(name, "BEGIN; INSERT INTO orders VALUES (7777, 'open', 1); SELECT pg_sleep(300)")
        });
        let sleeps = format!("FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'PgSleep'");
        await_equal("the open transaction", || cluster.sql(name, &format!("SELECT count(*) {sleeps}")), || "1".into());
        cluster.sql(name, "UPDATE wide SET id = id + 100 WHERE id IN (9, 10)");
        let moved = "SELECT COUNT(*) FROM ods_wide WHERE id IN (9, 10)";
        await_equal("the old rows", || program.query(moved), || vec!["0".to_owned()]);
        program.kill();
        cluster.sql(name, &format!("SELECT pg_terminate_backend(pid) {sleeps}"));
        held.join().expect("psql comes to an end")
    });
    assert!(hold.is_err(), "the transaction was ended");
    program.start_all(&scripts);
    await_wide(program, cluster, name, "wide");
    assert_eq!(writes(cluster, name), written(&[9, 10, 109, 110]));
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());

    // What comes while nobody reads is no different.
    cluster.sql(name, "UPDATE wide SET kind = 'kind-5' WHERE id IN (11, 12); UPDATE wide SET id = 113 WHERE id = 13");
    program.start_all(&scripts);
    await_wide(program, cluster, name, "wide");
    assert_eq!(writes(cluster, name), written(&[11, 12, 13, 113]));
    await_layers(program, cluster, cluster, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn columns_that_come_go_and_change_fail_one_job_until_the_remedy() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "columns_change");
    prepared_wide(cluster, name);
    let scripts =
        [chain(program, name, cluster.port(), cluster.port()), wide(program, name, "wide", COLUMNS, "id, kind, doc")];
    program.start_all(&scripts);
    await_wide(program, cluster, name, "wide");

    // Added and dropped ones that are not declared, and a type that still fits.
    cluster.sql(
        name,
        "BEGIN; ALTER TABLE wide ADD extra int DEFAULT 5; INSERT INTO wide VALUES (50, 'kind-1', 'a', 6); COMMIT; \
         UPDATE wide SET extra = 7 WHERE id = 1; ALTER TABLE wide ADD front text DEFAULT 'x'; INSERT INTO wide VALUES (51, 'kind-1', 'b', 6); \
         ALTER TABLE wide DROP extra; INSERT INTO wide VALUES (52, 'kind-2', 'c', 'y'); \
         ALTER TABLE wide ALTER id TYPE bigint; ALTER TABLE wide ALTER kind TYPE varchar(60); INSERT INTO wide VALUES (53, 'kind-2', 'd')",
    );
    await_wide(program, cluster, name, "wide");
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);

    // A value that the wider type takes, and the declared one does not.
    cluster.sql(name, "INSERT INTO wide VALUES (3000000000, 'kind-0', 'far')");
    let told = await_failure(program, "ods_wide");
    let outside = "table public.wide, column id: the value '3000000000' is outside the range of the declared type; change the row in the source, or have such rows kept apart ('on-error' = 'dead-letter' in ";
    assert!(told.starts_with(outside) && told.ends_with(" with a type that holds the value"), "{told}");
    neighbours_go_on(program, cluster, name);
    cluster.sql(name, "UPDATE wide SET id = 54 WHERE id = 3000000000");
    start_failed(program);
    await_wide(program, cluster, name, "wide");

    // Dropped and brought back.
    cluster.sql(name, "ALTER TABLE wide DROP doc; UPDATE wide SET kind = 'kind-3' WHERE id = 2");
    let told = await_failure(program, "ods_wide");
    assert!(told.starts_with("table public.wide has no column 'doc' any more"), "{told}");
    neighbours_go_on(program, cluster, name);
    cluster
        .sql(name, "ALTER TABLE wide ADD doc text; UPDATE wide SET doc = repeat(md5(id::text), 300) WHERE id % 2 = 0");
    start_failed(program);
    await_wide(program, cluster, name, "wide");

    // Retyped, seen in the stream, and changed back.
    cluster
        .sql(name, "ALTER TABLE wide ALTER kind TYPE bytea USING kind::bytea; UPDATE wide SET doc = 'x' WHERE id = 3");
    let told = await_failure(program, "ods_wide");
    assert!(told.starts_with("column public.wide.kind has a new type, which cannot be read as STRING"), "{told}");
    neighbours_go_on(program, cluster, name);
    // As long as it is not mended it is not read, and what is asked for is told again.
    let failed = program.query("SELECT job_id FROM system.status.jobs WHERE state = 'FAILED'").concat();
    let again = program.run(&["run", "-e", &format!("START JOB {failed}")]);
    let said = text(&again.stderr) + &text(&again.stdout) + &await_failure(program, "ods_wide");
    assert!(said.contains("column public.wide.kind has the type bytea, which cannot be read as STRING"), "{said}");
    cluster.sql(name, "ALTER TABLE wide ALTER kind TYPE text USING convert_from(kind, 'UTF8')");
    start_failed(program);
    await_wide(program, cluster, name, "wide");

    // Old rows that tell no key any more, seen at the next start.
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(name, "ALTER TABLE wide REPLICA IDENTITY NOTHING");
    program.serve();
    let told = await_failure(program, "ods_wide");
    let untold =
        "the declared key column 'id' is not told by deletes and updates: table public.wide has no replica identity; ";
    assert!(told.starts_with(untold), "{told}");
    neighbours_go_on(program, cluster, name);
    cluster.sql(name, statement(&told, "ALTER TABLE "));
    start_failed(program);
    cluster.sql(name, "UPDATE wide SET kind = 'kind-2' WHERE id = 10; DELETE FROM wide WHERE id = 11; UPDATE wide SET id = 112 WHERE id = 12");
    await_wide(program, cluster, name, "wide");

    // Renamed for good while the program rests: the table alone fails, and a new declaration takes its place.
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(name, "ALTER TABLE wide RENAME kind TO sort; UPDATE wide SET sort = 'kind-4' WHERE id = 4");
    program.serve();
    let told = await_failure(program, "ods_wide");
    assert!(told.starts_with("table public.wide has no column 'kind'"), "{told}");
    neighbours_go_on(program, cluster, name);
    drop_failed(program);
    let declared = wide(program, name, "wide", "id INT, sort STRING, doc STRING", "id, sort, doc");
    program.query(&std::fs::read_to_string(&declared).expect("the script is there"));
    let view = "CREATE VIEW renamed AS SELECT id, sort AS kind, doc FROM wide";
    cluster.sql(name, view);
    await_wide(program, cluster, name, "renamed");
    cluster.sql(name, "UPDATE wide SET sort = 'kind-7' WHERE id = 5; DELETE FROM wide WHERE id = 6");
    await_wide(program, cluster, name, "renamed");
    await_layers(program, cluster, cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn tables_that_are_renamed_replaced_or_truncated_leave_the_others_running() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "tables_change");
    prepared_wide(cluster, name);
    let scripts =
        [chain(program, name, cluster.port(), cluster.port()), wide(program, name, "wide", COLUMNS, "id, kind, doc")];
    program.start_all(&scripts);
    await_wide(program, cluster, name, "wide");
    await_layers(program, cluster, cluster, name);
    note_writes(cluster, name, &[("wide_copy", "id"), ("copy", "id")]);

    // Renamed, and back; what happens to it in between is compared.
    cluster.sql(name, "ALTER TABLE wide RENAME TO wider");
    let told = await_failure(program, "ods_wide");
    assert!(told.starts_with("database 'tables_change' has no table 'public.wide'"), "{told}");
    neighbours_go_on(program, cluster, name);
    cluster.sql(name, "UPDATE wider SET kind = 'kind-8' WHERE id = 2; DELETE FROM wider WHERE id = 1");
    cluster.sql(name, statement(&told, "ALTER TABLE "));
    writes(cluster, name);
    start_failed(program);
    await_wide(program, cluster, name, "wide");
    let written = |ids: &[u32]| ids.iter().map(|id| (format!("wide_copy {id}"), 1)).collect();
    let compared: BTreeMap<String, usize> = written(&[1, 2]);
    assert_eq!(writes(cluster, name), compared);

    // Another table under the name.
    let from = program.log().len();
    cluster.sql(
        name,
        "BEGIN; ALTER TABLE wide RENAME TO old; CREATE TABLE wide (LIKE old INCLUDING ALL); INSERT INTO wide SELECT * FROM old WHERE id <> 3; \
         UPDATE wide SET kind = 'kind-6' WHERE id = 4; COMMIT; UPDATE wide SET kind = 'kind-7' WHERE id = 5",
    );
    await_wide(program, cluster, name, "wide");
    await_said(program, from, "table public.wide is another one than before: it was replaced, or more or fewer match");
    assert_eq!(writes(cluster, name), written(&[3, 4, 5]));

    // Truncated and filled with nearly the same rows in one transaction, which is one commit here too.
    cluster.sql(
        name,
        "BEGIN; CREATE TEMP TABLE kept AS SELECT * FROM orders; TRUNCATE orders; INSERT INTO orders SELECT * FROM kept WHERE id > 20; \
         UPDATE orders SET amount = 0 WHERE id BETWEEN 21 AND 25; COMMIT",
    );
    await_layers(program, cluster, cluster, name);
    let emptied: BTreeMap<String, usize> = (1..=25).map(|id| (format!("copy {id}"), 1)).collect();
    assert_eq!(writes(cluster, name), emptied);
    cluster.sql(name, "BEGIN; TRUNCATE wide, orders; ROLLBACK; UPDATE wide SET kind = 'kind-1' WHERE id = 5");
    await_wide(program, cluster, name, "wide");
    assert_eq!(writes(cluster, name), written(&[5]));
    cluster.sql(name, "TRUNCATE wide, orders");
    await_layers(program, cluster, cluster, name);
    await_wide(program, cluster, name, "wide");
    assert_eq!(program.query("SELECT COUNT(*) FROM ods"), ["0"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(
        name,
        "INSERT INTO wide VALUES (1, 'k', 'gone'); INSERT INTO orders VALUES (1, 'gone', 1); TRUNCATE wide, orders; \
         INSERT INTO wide VALUES (2, 'k', 'stays'); INSERT INTO orders VALUES (2, 'stays', 1)",
    );
    program.start_all(&scripts);
    await_layers(program, cluster, cluster, name);
    await_wide(program, cluster, name, "wide");

    // Renamed for good: declared anew, as the message says.
    cluster.sql(name, "ALTER TABLE wide RENAME TO wider");
    await_failure(program, "ods_wide");
    neighbours_go_on(program, cluster, name);
    drop_failed(program);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    let [neighbours, _] = scripts;
    program.start_all(&[neighbours, wide(program, name, "wider", COLUMNS, "id, kind, doc")]);
    cluster.sql(name, "INSERT INTO wider VALUES (3, 'k', 'new')");
    await_wide(program, cluster, name, "wider");
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}
