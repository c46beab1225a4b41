//! What can happen to the slot, the publication and the connection of a source, with the whole chain behind: everything heals, only
//! what differs reaches the sinks, and what is told can be typed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use gridhouse_link::testing::{Cluster, Proxy};

use crate::faults::{chain, prepared};
use crate::layers::{SINKS, await_layers, await_said, each_once, note_writes, rows, statement, writes};
use crate::program::{Program, await_equal, postgres, text};

/// Changes of 6 rows in the regions 0, 2 and 3: two each of updates, deletes and new rows.
fn change(cluster: &Cluster, name: &str, round: u32) {
    let first = 10 + 100 * round;
    cluster.sql(
        name,
        &format!(
            "BEGIN; UPDATE orders SET amount = amount + 1 WHERE id IN ({first}, {}); DELETE FROM orders WHERE id IN ({}, {}); \
             INSERT INTO orders VALUES ({}, 'region-2', 1), ({}, 'region-3', NULL); COMMIT",
            first + 5,
            first + 10,
            first + 15,
            5_002 + 10 * round,
            5_003 + 10 * round
        ),
    );
}

/// What [`change`] makes the sinks write, where each row is written once; the last change comes through the stream.
fn changed(round: u32) -> BTreeMap<String, usize> {
    let first = 10 + 100 * round;
    let ids = [first, first + 5, first + 10, first + 15, 5_002 + 10 * round, 5_003 + 10 * round, 1];
    each_once(ids, &["region-0", "region-1", "region-2", "region-3"])
}

/// Waits for the layers, then for one more change through the stream, behind which nothing of what came before is under way.
fn settle(program: &Program, source: &Cluster, sink: &Cluster, name: &str) {
    await_layers(program, source, sink, name);
    source.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id = 1");
    await_layers(program, source, sink, name);
}

#[test]
fn what_happens_to_slot_and_publication_while_nobody_looks_is_compared() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "slot_faults");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_layers(program, cluster, cluster, name);
    note_writes(cluster, name, &SINKS);
    let faults = [
        (
            "SELECT pg_drop_replication_slot('slot_faults_slot')",
            "replication slot 'slot_faults_slot' is gone; the contents of all tables are read again and compared",
        ),
        (
            "DROP PUBLICATION gridhouse_slot_faults_slot",
            "publication 'gridhouse_slot_faults_slot' is gone; the contents of all tables are read again and compared",
        ),
        (
            "SELECT pg_drop_replication_slot('slot_faults_slot'); DROP PUBLICATION gridhouse_slot_faults_slot",
            "replication slot 'slot_faults_slot' is gone; the contents of all tables are read again and compared",
        ),
        ("SELECT pg_replication_slot_advance('slot_faults_slot', pg_current_wal_lsn())", "ahead of what is stored"),
    ];
    for (round, (fault, told)) in (0..).zip(faults) {
        assert_eq!(program.interrupt(), Some(0), "{}", program.log());
        let from = program.log().len();
        change(cluster, name, round);
        cluster.sql(name, fault);
        program.start(&script);
        settle(program, cluster, cluster, name);
        await_said(program, from, told);
        assert_eq!(writes(cluster, name), changed(round), "{fault}");
    }
    // Made again with a history that the slot does not know.
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    let from = program.log().len();
    cluster.sql(name, "DROP PUBLICATION gridhouse_slot_faults_slot");
    change(cluster, name, 5);
    cluster.sql(name, "CREATE PUBLICATION gridhouse_slot_faults_slot FOR TABLE orders");
    program.start(&script);
    settle(program, cluster, cluster, name);
    await_said(program, from, "replication slot 'slot_faults_slot' cannot be read on: ");
    assert_eq!(writes(cluster, name), changed(5));

    // Under the running stream.
    let from = program.log().len();
    cluster.sql(
        name,
        "BEGIN; DROP PUBLICATION gridhouse_slot_faults_slot; UPDATE orders SET amount = 9 WHERE id = 2; COMMIT",
    );
    change(cluster, name, 6);
    settle(program, cluster, cluster, name);
    await_said(program, from, "the contents of all tables are read again and compared");
    let mut wanted = changed(6);
    wanted.insert("copy 2".into(), 1);
    assert_eq!(writes(cluster, name), wanted);
    let states = "SELECT DISTINCT state FROM system.status.jobs";
    assert_eq!(program.query(states), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn a_slot_in_use_is_waited_for_and_freed_by_the_statement_of_the_message() {
    let (program, thief) = (&mut Program::new(), &mut Program::new());
    let (cluster, name) = (postgres(), "slot_used");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_layers(program, cluster, cluster, name);
    note_writes(cluster, name, &SINKS);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());

    // A reader that confirms nothing: nothing is missed.
    let from = program.log().len();
    let reader = cluster.read_slot(name, "slot_used_slot", "gridhouse_slot_used_slot");
    let used = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'slot_used_slot' AND active";
    await_equal("the other reader", || cluster.sql(name, used).is_empty(), || false);
    change(cluster, name, 0);
    program.start(&script);
    let told =
        format!("replication slot 'slot_used_slot' is in use by the server's process {}", cluster.sql(name, used));
    let line = await_said(program, from, &told);
    let waits = || program.query("SELECT state FROM system.status.sources WHERE error LIKE '%is in use by%'");
    await_equal("the wait", waits, || vec!["WAITING".to_owned()]);
    cluster.sql(name, statement(&line, "SELECT pg_terminate_backend("));
    settle(program, cluster, cluster, name);
    assert_eq!(writes(cluster, name), changed(0));
    assert!(!program.log()[from..].contains("read again and compared"), "{}", program.log());
    drop(reader);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());

    // Another Gridhouse, which is stopped as the message says: what it has taken from the slot is compared.
    let text = std::fs::read_to_string(&script).expect("the script is there");
    let sources = text.split("CREATE TEMPORARY TABLE board").next().unwrap_or_default();
    let other = thief.script("other.sql", &format!("{sources}INSERT INTO ods SELECT * FROM orders;"));
    thief.start(&other);
    let theirs = || thief.query("SELECT COUNT(*), SUM(amount) FROM ods");
    let truth = || cluster.sql(name, "SELECT count(*), sum(amount) FROM orders");
    await_equal("the other's ODS", || theirs().concat(), truth);
    change(cluster, name, 1);
    await_equal("the other's ODS", || theirs().concat(), truth);
    let from = program.log().len();
    program.start(&script);
    await_said(program, from, "is in use by the server's process");
    assert_eq!(thief.interrupt(), Some(0), "{}", thief.log());
    settle(program, cluster, cluster, name);
    await_said(program, from, "ahead of what is stored");
    assert_eq!(writes(cluster, name), changed(1));
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// Two directories name the same slot: it is the first one's, whatever is typed at the second and whoever is away.
#[test]
fn a_slot_of_another_directory_is_left_to_it() {
    let (program, second) = (&mut Program::new(), &mut Program::new());
    let (cluster, name) = (postgres(), "slot_shared");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_layers(program, cluster, cluster, name);
    let text = std::fs::read_to_string(&script).expect("the script is there");
    let sources = text.split("CREATE TEMPORARY TABLE board").next().unwrap_or_default();
    let reading = |slot: &str| {
        let text = format!("{sources}INSERT INTO ods SELECT * FROM orders;");
        text.replace("slot_shared_slot", slot)
    };
    let states = |second: &Program| second.query("SELECT state || '|' || error FROM system.status.sources").concat();
    second.serve();
    assert_eq!(states(second), "");
    second.query(&reading("slot_shared_slot"));
    await_equal("the wait", || states(second).contains("|replication slot 'slot_shared_slot' is in use by"), || true);
    // It does not become the other's because its reader is away.
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    await_equal("the wait", || states(second).contains("slot 'slot_shared_slot' is another data directory's"), || true);
    second.query("DROP JOB 1");
    assert_eq!(second.query("SELECT stream FROM system.status.sources").len(), 0);
    assert_eq!(second.interrupt(), Some(0), "{}", second.log());
    let slots = || {
        cluster.sql(name, &format!("SELECT slot_name FROM pg_replication_slots WHERE database = '{name}' ORDER BY 1"))
    };
    assert_eq!(slots(), "slot_shared_slot");
    let from = program.log().len();
    program.start(&script);
    settle(program, cluster, cluster, name);
    assert!(!program.log()[from..].contains("read again and compared"), "{}", program.log());

    // What is told to one that waits can be done.
    second.serve();
    assert_eq!(states(second), "");
    second.query(&reading("slot_shared_slot"));
    let told = "or choose another 'slot.name' in the script, and run it again";
    await_equal("the wait", || states(second).contains(told), || true);
    second.query(&reading("slot_shared_own"));
    let ods = || second.query("SELECT COUNT(*), SUM(amount) FROM ods").concat();
    await_equal("the ODS", ods, || cluster.sql(name, "SELECT count(*), sum(amount) FROM orders"));
    assert_eq!(slots(), "slot_shared_own\nslot_shared_slot");
    second.query("DROP JOB 2");
    await_equal("the slots", slots, || "slot_shared_slot".to_owned());
    settle(program, cluster, cluster, name);
    assert!(!program.log()[from..].contains("read again and compared"), "{}", program.log());
    assert_eq!(second.interrupt(), Some(0), "{}", second.log());
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// The script with a source that is given up after two seconds of silence.
fn impatient(script: &Path) {
    let text = std::fs::read_to_string(script).expect("the script is there");
    let short = "'heartbeat.interval.ms' = '1000', 'connect.timeout' = '2 s'";
    std::fs::write(script, text.replace("'heartbeat.interval.ms' = '1000'", short)).expect("the script can be written");
}

/// Sends a signal to a process of a server.
fn signal(pid: &str, signal: &str) {
    let status = Command::new("kill").args([signal, pid]).status().expect("kill runs");
    assert!(status.success(), "the process takes signals");
}

#[test]
fn a_half_open_source_goes_on_where_it_was_and_an_invalidated_slot_is_compared() {
    let settings = ["max_slot_wal_keep_size = 1MB", "min_wal_size = 32MB", "max_wal_size = 32MB"];
    let (source, sink, name) = (&Cluster::start(&settings), postgres(), "half_open");
    prepared(source, name);
    prepared(sink, name);
    source.sql(name, "CREATE TABLE other (v text)");
    let way = Proxy::start(source.port());
    let program = &mut Program::new();
    let script = chain(program, name, way.port(), sink.port());
    impatient(&script);
    program.start(&script);
    await_layers(program, source, sink, name);
    note_writes(sink, name, &SINKS);
    let silent = format!("postgresql at 127.0.0.1:{} does not answer: silent for 2 s", way.port());
    let waits = |words: &str| {
        let told = || program.query("SELECT state || '|' || error FROM system.status.sources").concat();
        await_equal(words, || told().starts_with("WAITING|") && told().contains(words), || true);
    };

    // Nothing passes, and nobody is told that it does not.
    way.freeze(true);
    change(source, name, 0);
    waits(&silent);
    way.freeze(false);
    settle(program, source, sink, name);
    assert_eq!(writes(sink, name), changed(0));

    // One process of the server hangs, and with it the slot.
    let reads = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'half_open_slot' AND active";
    let pid = source.sql(name, reads);
    signal(&pid, "-STOP");
    change(source, name, 1);
    waits(&format!("replication slot 'half_open_slot' is in use by the server's process {pid}"));
    signal(&pid, "-CONT");
    settle(program, source, sink, name);
    assert_eq!(writes(sink, name), changed(1));
    assert!(program.log().contains(&silent), "{}", program.log());
    assert!(!program.log().contains("read again and compared"), "{}", program.log());

    // Unreachable for so long that the server gives the slot up.
    way.freeze(true);
    change(source, name, 2);
    let is_lost = || {
        source.sql(name, "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
        source.sql(name, "SELECT pg_switch_wal()");
        source.sql(name, "CHECKPOINT");
        source.sql(name, "SELECT wal_status FROM pg_replication_slots")
    };
    await_equal("the slot", is_lost, || "lost".to_owned());
    way.freeze(false);
    settle(program, source, sink, name);
    let invalidated = "replication slot 'half_open_slot' was invalidated by the server; the contents of all tables are read again and compared";
    assert!(program.log().contains(invalidated), "{}", program.log());
    assert_eq!(writes(sink, name), changed(2));
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn a_source_that_fails_over_takes_back_what_the_new_primary_lacks() {
    let (source, sink, name) = (&Cluster::start(&[]), postgres(), "source_failover");
    prepared(source, name);
    prepared(sink, name);
    let way = Proxy::start(source.port());
    let program = &mut Program::new();
    let script = chain(program, name, way.port(), sink.port());
    program.start(&script);
    await_layers(program, source, sink, name);
    let standby = source.standby();
    // The standby stops following in the midst of transactions, and the primary goes on with more.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..5_000).take_while(|_| !done.load(Ordering::SeqCst)) {
                let (id, other) = (2_000 + i, 1 + i % 900);
                let values = format!("({id}, 'region-new', {i})");
                source.sql(
                    name,
                    &format!(
                        "BEGIN; INSERT INTO orders VALUES {values}; DELETE FROM orders WHERE id = {other}; COMMIT"
                    ),
                );
            }
        });
        let newest = |cluster: &Cluster| cluster.sql(name, "SELECT max(id) FROM orders");
        let before = newest(source);
        await_equal("the standby", || newest(&standby) > before, || true);
        standby.down("fast");
        let further = format!("SELECT COUNT(*) > 5 FROM ods WHERE id > {}", newest(source));
        await_equal("what the standby lacks", || program.query(&further), || vec!["t".to_owned()]);
        done.store(true, Ordering::SeqCst);
    });
    await_layers(program, source, sink, name);
    note_writes(sink, name, &SINKS);
    let before = rows(source, name, "SELECT * FROM orders");
    source.kill();
    standby.up();
    way.lead_to(standby.port());
    let from = program.log().len();
    await_said(program, from, "is a standby, and changes are read from a primary");
    standby.promote();
    await_layers(program, &standby, sink, name);
    let after = rows(&standby, name, "SELECT * FROM orders");
    let (gone, came) =
        (before.iter().filter(|row| !after.contains(row)), after.iter().filter(|row| !before.contains(row)));
    let id = |row: &String| row.split('|').next().and_then(|id| id.parse::<u32>().ok()).expect("a number");
    let differing: BTreeSet<u32> = gone.chain(came).map(id).collect();
    assert!(differing.len() > 5, "the standby lacks transactions: {differing:?}");
    standby.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id = 1000");
    await_layers(program, &standby, sink, name);
    let mut written = writes(sink, name);
    written.retain(|what, _| what.starts_with("copy"));
    assert_eq!(written, each_once(differing.into_iter().chain([1_000]), &[]));
    let left = "and is on timeline 2: it was failed over or restored without the last transactions; \
                the contents of all tables are read again and compared";
    let healed = |line: &str| line.contains("the source left timeline 1 at ") && line.contains(left);
    assert!(program.log().lines().any(healed), "{}", program.log());
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn a_source_that_is_left_while_it_is_down_forgets_its_slot_later() {
    let cluster = Cluster::start(&[]);
    let (program, name) = (&mut Program::new(), "slot_left");
    prepared(&cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_layers(program, &cluster, &cluster, name);
    let reading = "SELECT job_id FROM system.status.jobs WHERE statement LIKE 'INSERT INTO ods%'";
    let job = program.query(reading).concat();
    cluster.down("immediate");
    program.query(&format!("DROP JOB {job}"));
    let left = "SELECT error FROM system.status.sources WHERE state = 'LEAVING' AND error IS NOT NULL";
    await_equal("the attempt", || program.query(left).len(), || 1);
    let statement = "or type there: SELECT pg_drop_replication_slot('slot_left_slot')";
    let stopped = program.run(&["stop"]);
    let said = text(&stopped.stdout);
    assert!(said.contains("note: replication slot 'slot_left_slot' of postgresql at 127.0.0.1:"), "{said}");
    assert!(said.contains(statement), "{said}");
    program.ended();
    cluster.up();
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_left_slot'";
    assert_eq!(cluster.sql(name, slots), "1");
    program.serve();
    await_equal("the slot", || cluster.sql(name, slots), || "0".to_owned());
    await_equal("the sources", || program.query("SELECT stream FROM system.status.sources").len(), || 0);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
