//! Sinks whose outside was emptied, forgotten or changed: each message, and what it says is to be typed, typed.

use gridhouse_link::testing::Cluster;

use crate::faults::{await_failure, await_sink, chain, prepared};
use crate::layers::{between, statement};
use crate::program::{Program, await_equal, postgres, sorted_lines};

fn update(cluster: &Cluster, name: &str, below: u32) {
    cluster.sql(name, &format!("UPDATE orders SET amount = amount + 1 WHERE id < {below}"));
}

/// Waits until the program has on record that the sink on `ods` has all that there is: from then on nothing of the log is kept for it.
fn await_cursor(program: &Program) {
    let consumers = "SELECT DISTINCT state FROM system.status.consumers";
    await_equal("what consumers lack", || program.query(consumers), || vec!["CURRENT".to_owned()]);
}

#[test]
fn a_sink_from_an_older_copy_than_the_log_reaches_is_written_anew_by_the_words_of_the_message() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "older_than_the_log");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    // A quarter of that is kept for an outside that loses its last transactions: less than is written here.
    program.script("gridhouse.toml", "consumer_cap_size = \"128 kb\"\n");
    program.start(&script);
    await_sink(cluster, name);
    let book = "SELECT * FROM gridhouse_sink WHERE sink LIKE '%copy'";
    cluster.sql(name, &format!("CREATE TABLE saved AS SELECT * FROM copy; CREATE TABLE saved_book AS {book}"));
    // What nobody reads any more of rows that were replaced goes with the next checkpoint, as a stop makes one.
    for _ in 0..2 {
        update(cluster, name, 1_001);
        await_sink(cluster, name);
        await_cursor(program);
    }
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    let restore = "BEGIN; DELETE FROM copy; INSERT INTO copy SELECT * FROM saved; \
                   UPDATE gridhouse_sink g SET upto = s.upto FROM saved_book s WHERE s.sink = g.sink; COMMIT";
    cluster.sql(name, restore);
    program.serve();
    update(cluster, name, 10);
    let told = await_failure(program, "copy");
    assert!(told.contains("was last written at ") && told.contains("no longer goes back that far"), "{told}");
    let emptied = between(&told, "type there `", "`, then START JOB 4 here");
    assert!(emptied.starts_with("TRUNCATE \"public\".\"copy\"; DELETE FROM "), "{emptied}");
    cluster.sql(name, emptied);
    program.query("START JOB 4");
    await_sink(cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// The sink of the copy finds that values of `amount` are lost, and is written anew as it says.
fn start_and_write_anew(program: &mut Program, cluster: &Cluster, name: &str) {
    program.query("START JOB 4");
    let told = await_failure(program, "copy");
    let lost = "table public.copy: the values of amount in the rows that are there are lost: ";
    assert!(told.contains(lost), "{told}");
    cluster.sql(name, between(&told, "to have the table written anew, type there `", "`"));
    program.query("START JOB 4");
    await_sink(cluster, name);
}

#[test]
fn an_entry_that_somebody_deletes_and_a_column_that_somebody_drops_are_told_and_mended_as_told() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "entries");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);
    // A row goes that the sink holds, and nobody tells that to one that begins anew.
    cluster.sql(name, "DELETE FROM gridhouse_sink WHERE sink LIKE '%copy'; DELETE FROM orders WHERE id = 500");
    let told = await_failure(program, "copy");
    let gone = "is gone, but table public.copy holds rows: it was restored without it, or somebody deleted the entry";
    assert!(told.contains("the entry of sink ") && told.contains(gone), "{told}");
    assert!(program.log().contains("in gridhouse_sink is gone; it is claimed anew"), "{}", program.log());
    cluster.sql(name, between(&told, "it is written anew: ", "; then START JOB"));
    program.query("START JOB 4");
    await_sink(cluster, name);

    cluster.sql(name, "ALTER TABLE copy DROP amount");
    update(cluster, name, 20);
    let told = await_failure(program, "copy");
    assert!(told.contains("table public.copy has no column 'amount'"), "{told}");
    let log = program.log();
    let changed = between(&log, "table public.copy has changed (", "); it is looked at again");
    assert!(changed.contains("\"amount\""), "the server's own words: {changed}");
    let anew = "the rows that are in public.copy lack the values of amount, unless it is renamed back";
    assert!(told.contains(anew) && told.ends_with("empty the table there too; then START JOB here"), "{told}");
    cluster.sql(name, statement(&told, "ALTER TABLE"));
    // The column is new and empty, so the rows are to be written again.
    start_and_write_anew(program, cluster, name);

    // Emptied while it runs: the next write finds out.
    cluster.sql(name, "TRUNCATE copy");
    update(cluster, name, 30);
    await_sink(cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);

    // A type that rounds is refused before anything is written to it, and what it has rounded is written again.
    cluster.sql(name, "UPDATE orders SET amount = amount + 0.25 WHERE id = 600");
    await_sink(cluster, name);
    cluster.sql(name, "ALTER TABLE copy ALTER amount TYPE numeric(12, 0)");
    update(cluster, name, 30);
    let told = await_failure(program, "copy");
    let rounds = "column public.copy.amount has the type numeric(12,0), to which DECIMAL(10, 2) cannot be written";
    assert!(told.contains(rounds), "{told}");
    cluster.sql(name, statement(&told, "ALTER TABLE").split(", or CAST").next().unwrap_or_default());
    start_and_write_anew(program, cluster, name);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}

/// What somebody does to the sink's table, what is said of it, and how the statement begins that mends it.
const CHANGES: [(&str, &str, &str); 3] = [
    (
        "ALTER TABLE copy DROP CONSTRAINT copy_pkey",
        "table public.copy has no primary key and no unique index over exactly the declared key (id)",
        "ALTER TABLE public.copy ADD PRIMARY KEY",
    ),
    (
        "ALTER TABLE copy ADD needed int; UPDATE copy SET needed = 0; ALTER TABLE copy ALTER needed SET NOT NULL",
        "column public.copy.needed is NOT NULL without a default, and ",
        "ALTER TABLE public.copy ALTER COLUMN needed DROP NOT NULL",
    ),
    (
        "ALTER TABLE copy ALTER region TYPE int USING length(region)",
        "column public.copy.region has the type integer, to which STRING cannot be written",
        "ALTER TABLE public.copy ALTER COLUMN region TYPE text",
    ),
];

#[test]
fn a_sink_table_that_loses_its_key_or_does_not_fit_any_more_is_mended_by_the_statement_of_the_message() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "sink_unfit");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);
    for (change, wrong, mend) in CHANGES {
        cluster.sql(name, change);
        update(cluster, name, 30);
        let told = await_failure(program, "copy");
        assert!(told.contains(wrong), "{told}");
        // The board of the same layers goes on.
        let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
        assert_eq!(program.query(states), ["FAILED|1", "RUNNING|3"]);
        let statement = statement(&told, mend);
        cluster.sql(name, statement.split(", or ").next().unwrap_or_default());
        if change.contains("USING") {
            // What it made of the values it does not take back, and an empty table is written anew.
            cluster.sql(name, "TRUNCATE copy");
        }
        program.query("START JOB 4");
        await_sink_columns(cluster, name);
    }
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}

/// As [`await_sink`], of the declared columns: one that somebody added stays.
fn await_sink_columns(cluster: &Cluster, name: &str) {
    let rows = |table| cluster.sql(name, &format!("SELECT id, region, amount FROM {table} ORDER BY id"));
    await_equal("the copy", || rows("copy") == rows("orders"), || true);
}

#[test]
fn output_without_a_key_that_is_no_longer_kept_comes_from_a_new_job_as_the_message_says() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "no_longer_kept");
    prepared(cluster, name);
    cluster.sql(name, "CREATE TABLE pairs (a bigint, b bigint)");
    let url = format!("jdbc:postgresql://127.0.0.1:{}/{name}", cluster.port());
    let insert = "INSERT INTO pairs SELECT l.n, r.m FROM l JOIN r ON l.n = r.n";
    let sink = format!(
        "CREATE TABLE pairs (a BIGINT, b BIGINT) WITH ('connector' = 'jdbc', 'url' = '{url}', 'table-name' = 'pairs', \
         'username' = 'postgres', 'password' = 'postgres')"
    );
    program.serve();
    let tables = "CREATE TABLE l (n BIGINT); CREATE TABLE r (n BIGINT, m BIGINT)";
    program.query(&format!(
        "{tables}; {sink}; {insert}; INSERT INTO l VALUES (1), (1), (2); INSERT INTO r VALUES (1, 10), (2, 20)"
    ));
    let pairs = || sorted_lines(&cluster.sql(name, "SELECT a, b FROM pairs"));
    await_equal("the pairs", pairs, || ["1|10", "1|10", "2|20"].map(str::to_owned).to_vec());
    // What was written is let go of as the sink has told how far it came, which it does when it rests or stops.
    program.query("STOP JOB 1; START JOB 1; STOP JOB 1");
    cluster.sql(name, "TRUNCATE pairs; DELETE FROM gridhouse_sink");
    program.query("INSERT INTO r VALUES (2, 30); START JOB 1");
    let failed = || program.query("SELECT error FROM system.status.jobs WHERE state = 'FAILED'").concat();
    await_equal("the failure", || failed().contains("is no longer kept"), || true);
    let told = failed();
    assert!(told.contains("is to be written from its beginning, but what its job put out up to "), "{told}");
    program.query(between(&told, "gives all of its rows: type ", " here"));
    cluster.sql(name, between(&told, "type there `", "`"));
    assert!(told.ends_with("then run the INSERT again here"), "{told}");
    program.query(insert);
    await_equal("the pairs", pairs, || ["1|10", "1|10", "2|20", "2|30"].map(str::to_owned).to_vec());
    program.interrupt();
}

#[test]
fn rows_without_a_key_are_not_written_beside_those_that_are_there() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "keyless");
    prepared(cluster, name);
    cluster.sql(name, "CREATE TABLE lines (n bigint); INSERT INTO lines VALUES (0)");
    let url = format!("jdbc:postgresql://127.0.0.1:{}/{name}", cluster.port());
    let script = format!(
        "CREATE TABLE t (n BIGINT); CREATE TABLE lines (n BIGINT) WITH ('connector' = 'jdbc', 'url' = '{url}', \
         'table-name' = 'lines', 'username' = 'postgres', 'password' = 'postgres'); INSERT INTO lines SELECT n FROM t; \
         INSERT INTO t VALUES (1), (2)"
    );
    let lines = || cluster.sql(name, "SELECT string_agg(n::text, ' ' ORDER BY n) FROM lines");
    let await_lines = |wanted: &str| await_equal("the lines", lines, || wanted.to_owned());
    program.serve();
    program.query(&script);
    await_lines("0 1 2");
    cluster.sql(name, "DELETE FROM gridhouse_sink");
    program.query("INSERT INTO t VALUES (3)");
    let gone = "is gone, but table public.lines holds rows: it was restored without it, or somebody deleted the entry";
    for _ in 0..2 {
        let told = await_failure(program, "lines");
        assert!(told.contains(gone), "{told}");
        assert_eq!(lines(), "0 1 2");
        program.query("START JOB 1");
    }
    let told = await_failure(program, "lines");
    cluster.sql(name, between(&told, "it is written anew: ", "; then START JOB"));
    program.query("START JOB 1");
    await_lines("1 2 3");
    program.interrupt();

    // The same script in a new data directory.
    let other = &mut Program::new();
    other.serve();
    other.query(&script);
    let told = await_failure(other, "lines");
    assert!(told.contains("table public.lines was written by another data directory"), "{told}");
    assert_eq!(lines(), "1 2 3");
    cluster.sql(name, between(&told, "to have it written anew, type there `", "`"));
    other.query("START JOB 1");
    await_lines("1 2");
    other.interrupt();
}
