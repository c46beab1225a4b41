//! Damage under a whole chain, with a source whose slot is there and sinks that are full: who stops, what is said, and that each way
//! back leads to rows that agree, when it is followed as it is told.

use std::path::PathBuf;
use std::process::Command;

use gridhouse_link::testing::Cluster;

use crate::damage::{change, files, offset};
use crate::events;
use crate::faults::{await_failure, chain, copied, follow, prepared};
use crate::layers::{await_layers, await_said, between};
use crate::program::{Program, await_equal, postgres, text};

/// Rows of the source, so many that the segment of `ods` is the largest.
const ROWS: u32 = 20_000;

/// The script of a chain with [`events`] beside it.
fn chain_with_events(program: &Program, cluster: &Cluster, name: &str) -> PathBuf {
    prepared(cluster, name);
    cluster.sql(
        name,
        &format!("INSERT INTO orders SELECT i, 'region-' || i % 5, i % 1000 FROM generate_series(1001, {ROWS}) i"),
    );
    events::table(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    let whole = std::fs::read_to_string(&script).expect("the script is there") + &events::script(cluster.port(), name);
    program.script("chain.sql", &whole)
}

/// Everything that the source and the made-up rows say has come to the layers and to the sinks.
fn await_everything(program: &Program, cluster: &Cluster, name: &str) {
    await_layers(program, cluster, cluster, name);
    events::await_all(program, cluster, name, "ods_events");
}

/// A chain that has taken everything in and was stopped; gives its script.
fn stopped(program: &mut Program, cluster: &Cluster, name: &str) -> PathBuf {
    let script = chain_with_events(program, cluster, name);
    program.start(&script);
    await_everything(program, cluster, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    script
}

/// Damages the rows of `ods`, which stand before the keys that every change needs, and before what is read at a start; gives the file
/// and the place.
fn damage_rows(program: &Program) -> (PathBuf, u64) {
    let length = |path: &PathBuf| std::fs::metadata(path).expect("the segment").len();
    let segment = files(program, "seg-").into_iter().max_by_key(length).expect("a clean stop has sealed the rows");
    let place = length(&segment) / 8;
    change(&segment, place as usize);
    (segment, place)
}

/// The program has ended by itself, since it cannot go on with what is damaged, and has said so behind the first `from` bytes of its
/// log.
fn assert_ends(program: &mut Program, from: usize, (segment, place): &(PathBuf, u64)) {
    assert_eq!(program.ended(), Some(5), "{}", program.log());
    let log = program.log();
    let damaged = format!("segment {} is damaged at offset ", segment.display());
    let told = log[from..].lines().find(|line| line.contains(&damaged)).unwrap_or_else(|| panic!("{log}"));
    assert!(offset(told) <= *place, "{told}");
    assert!(log[from..].contains("restore the data directory from a backup"), "{log}");
}

/// The sinks of these jobs find that they were written by what is lost here, and are written anew by the words of their messages; then
/// everything runs.
fn write_anew(program: &mut Program, cluster: &Cluster, name: &str, jobs: &[&str]) {
    for job in jobs {
        let told = await_failure(program, job);
        assert!(told.contains("by a later state, or another copy, of this data directory"), "{told}");
        follow(program, cluster, name, &told);
    }
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0");
    await_everything(program, cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}

/// Removes the data directory as it is told.
fn remove(program: &Program) {
    std::fs::remove_dir_all(program.data_dir()).expect("the directory can be removed");
}

#[test]
fn damaged_rows_fail_the_job_that_needs_them_and_end_the_process_where_a_change_does_until_a_copy_is_restored() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "damaged_rows");
    let script = stopped(program, cluster, name);
    copied(&program.data_dir(), &program.path("backup"));
    let damaged = damage_rows(program);
    let segment = format!("segment {} is damaged at offset ", damaged.0.display());
    // Without its kept state a job reads all rows of its table.
    files(program, "state-").iter().for_each(|path| std::fs::remove_file(path).expect("it can be removed"));

    // The job that needs the rows fails by name, a new one is refused, and the others go on.
    program.serve();
    let told = await_failure(program, "dws");
    assert!(told.contains(&segment) && offset(&told) <= damaged.1, "{told}");
    assert!(told.contains("restore the data directory from a backup"), "{told}");
    let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
    assert_eq!(program.query(states), ["FAILED|1", "RUNNING|5"]);
    let twin = "CREATE TABLE twin (region STRING, amount DECIMAL(20, 2), last INT, PRIMARY KEY (region) NOT ENFORCED)";
    let twin = format!("{twin}; INSERT INTO twin SELECT region, SUM(amount), MAX(id) FROM ods GROUP BY region");
    let output = program.run(&["sql", "-e", &twin]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains(&segment), "{said}");
    cluster.sql(name, "INSERT INTO orders VALUES (900000, 'region-0', 1)");
    let newest = "SELECT max(n) FROM events";
    let before = cluster.sql(name, newest);
    let sinks_go_on = || {
        let copy = cluster.sql(name, "SELECT count(*) FROM copy WHERE id = 900000");
        copy == "1" && cluster.sql(name, newest) != before
    };
    await_equal("the other sinks", sinks_go_on, || true);
    assert_eq!(program.query(states), ["FAILED|1", "RUNNING|5"]);

    // A change that needs the rows can be neither carried out nor left out, now and at each start.
    let mut from = program.log().len();
    cluster.sql(name, "UPDATE orders SET amount = amount + 1");
    assert_ends(program, from, &damaged);
    from = program.log().len();
    program.start(&script);
    assert_ends(program, from, &damaged);

    // The copy is older than what two of the sinks have.
    remove(program);
    copied(&program.path("backup"), &program.data_dir());
    program.start(&script);
    write_anew(program, cluster, name, &["copy", "events_sink"]);
}

#[test]
fn a_table_with_damaged_rows_is_dropped_and_filled_anew_while_others_run() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "table_dropped");
    let script = stopped(program, cluster, name);
    let (segment, _) = damage_rows(program);
    let from = program.log().len();
    program.start(&script);
    // Said before the stop too: while the script still runs, it would begin anew what is dropped.
    await_said(program, from, "6 jobs run");
    let output = program.run(&["sql", "-e", "SELECT MAX(id), SUM(amount), MAX(region) FROM ods"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("segment {} is damaged at offset ", segment.display())), "{said}");
    assert!(
        said.contains("if the table can be filled again from its sources, drop it and create it anew instead"),
        "{said}"
    );
    // Each refusal names the job that is to go before.
    let mut dropped = Vec::new();
    loop {
        let output = program.run(&["sql", "-e", "DROP TABLE ods"]);
        if output.status.success() {
            break;
        }
        let said = text(&output.stderr);
        let job = between(&said, "DROP JOB ", " first").to_owned();
        assert!(!dropped.contains(&job), "{said}");
        program.query(&format!("DROP JOB {job}"));
        dropped.push(job);
    }
    dropped.sort();
    assert_eq!(dropped, ["1", "2", "4"]);
    cluster.sql(name, "TRUNCATE copy; DELETE FROM orders WHERE id <= 100; UPDATE orders SET amount = amount + 1");
    let output = program.run(&["run", "--detach", "-f", &script.display().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    await_everything(program, cluster, name);
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0");
    await_everything(program, cluster, name);
    let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
    assert_eq!(program.query(states), ["RUNNING|6"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn a_directory_that_is_removed_is_filled_anew_beside_its_old_slot_and_full_sinks() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "directory_removed");
    let script = stopped(program, cluster, name);
    let damaged = damage_rows(program);
    // Rows and a group that the sinks hold and nobody will tell a new directory of.
    cluster.sql(
        name,
        "DELETE FROM orders WHERE id <= 100; UPDATE orders SET region = 'region-new' WHERE region = 'region-4'; \
         UPDATE orders SET amount = amount + 1; INSERT INTO orders VALUES (900000, 'region-new', 1)",
    );
    let from = program.log().len();
    program.start(&script);
    assert_ends(program, from, &damaged);
    let slots = format!("SELECT slot_name FROM pg_replication_slots WHERE database = '{name}'");
    let slot = format!("{name}_slot");
    assert_eq!(cluster.sql(name, &slots), slot);

    remove(program);
    let from = program.log().len();
    program.start(&script);
    // Without a key nothing is written beside what is there.
    let told = await_failure(program, "events_sink");
    let other = format!("data directory {}", program.data_dir().display());
    let is_told = |told: &str, table: &str| {
        told.contains(&format!("table public.{table} was written by another data directory (process "))
            && told.contains(&other)
    };
    assert!(is_told(&told, "events"), "{told}");
    cluster.sql(name, between(&told, "to have it written anew, type there `", "`"));
    program.query("START JOB 6");
    events::await_all(program, cluster, name, "ods_events");
    // With a key rows are replaced, and those that nobody writes any more stay, of which the log warns.
    let news = "SELECT count(*) FROM copy JOIN orders USING (id, region, amount)";
    await_equal("the copy", || cluster.sql(name, news), || cluster.sql(name, "SELECT count(*) FROM orders"));
    let stays = "SELECT count(*) FROM copy WHERE id <= 100";
    assert_eq!(cluster.sql(name, stays), "100");
    let groups = "SELECT string_agg(region, ' ' ORDER BY region) FROM board";
    let both = "region-0 region-1 region-2 region-3 region-4 region-new";
    await_equal("the board", || cluster.sql(name, groups), || both.to_owned());
    for (job, table) in [(3, "board"), (4, "copy")] {
        let line = await_said(program, from, &format!("table public.{table} was written by another data directory"));
        assert!(is_told(&line, table) && line.contains("those that this one does not write stay"), "{line}");
        program.query(&format!("STOP JOB {job}"));
        cluster.sql(name, between(&line, "to have none of them, type there `", "` while the job is stopped"));
        program.query(&format!("START JOB {job}"));
    }
    await_everything(program, cluster, name);
    // The stream goes on through the slot that was there.
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0");
    await_everything(program, cluster, name);
    assert_eq!(cluster.sql(name, &slots), slot);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}

#[test]
fn a_log_that_is_given_up_from_the_damage_on_is_made_good_by_the_source() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "log_given_up");
    let script = chain_with_events(program, cluster, name);
    program.start(&script);
    await_everything(program, cluster, name);
    for change in ["(900000, 'region-marked', 1)", "(900001, 'region-later', 1)"] {
        cluster.sql(name, &format!("DELETE FROM orders WHERE id = 500; INSERT INTO orders VALUES {change}"));
        await_everything(program, cluster, name);
    }
    program.kill();
    let marked = |log: &PathBuf| {
        let bytes = std::fs::read(log).expect("the log can be read");
        bytes.windows(13).position(|window| window == b"region-marked")
    };
    let logs = files(program, "wal-");
    let (log, at) = logs.iter().find_map(|log| Some((log, marked(log)?))).expect("the row is in the log");
    change(log, at);
    let from = program.log().len();
    program.start(&script);
    assert_eq!(program.ended(), Some(5), "{}", program.log());
    let told = program.log()[from..].to_owned();
    assert!(told.contains(&format!("the log is damaged: {} at offset ", log.display())), "{told}");
    let command = between(&told, "copy the directory, then `", "` and remove the wal files with higher numbers");
    assert_eq!(command, format!("truncate -s {} {}", offset(&told), log.display()));
    assert!(Command::new("sh").args(["-c", command]).status().is_ok_and(|status| status.success()), "{command}");
    for higher in logs.iter().filter(|other| *other > log) {
        std::fs::remove_file(higher).expect("the log can be removed");
    }
    program.start(&script);
    write_anew(program, cluster, name, &["board", "copy", "events_sink"]);
}
