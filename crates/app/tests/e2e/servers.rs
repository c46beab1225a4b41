//! Source and sink on servers of their own: one alone is late, restarts, is killed, or idles, and the other side goes on.

use gridhouse_link::testing::{Cluster, Proxy};

use crate::faults::{chain, prepared};
use crate::layers::{SINKS, await_layers, await_said, each_once, note_writes, rows, writes};
use crate::program::{Program, await_equal, postgres, text};

/// Waits until the source is in this state and both sinks are in that; what those say that wait names the server.
fn await_states(program: &Program, (source, sink): (&str, &str), waited: &Cluster) {
    let states = || {
        let sources = program.query("SELECT state FROM system.status.sources");
        [sources, program.query("SELECT DISTINCT state FROM system.status.sinks")].concat()
    };
    await_equal("the states", states, || vec![source.to_owned(), sink.to_owned()]);
    let told = "SELECT error FROM system.status.sources WHERE error IS NOT NULL \
                UNION ALL SELECT error FROM system.status.sinks WHERE error IS NOT NULL";
    let address = format!("127.0.0.1:{}", waited.port());
    let says = |line: &String| line.contains(&address) && line.contains(" does not answer: ");
    await_equal("what is told", || program.query(told).iter().all(says), || true);
}

/// Waits until nobody waits any more.
fn await_running(program: &Program) {
    let waits = "SELECT state FROM system.status.sources WHERE state <> 'RUNNING' \
                 UNION ALL SELECT state FROM system.status.sinks WHERE state <> 'RUNNING'";
    await_equal("the end of the wait", || program.query(waits), Vec::new);
}

#[test]
fn a_source_or_a_sink_that_is_late_stops_or_is_killed_alone_is_waited_for() {
    let (source, sink, name) = (&Cluster::start(&["fsync = on"]), &Cluster::start(&["fsync = on"]), "alone");
    prepared(source, name);
    prepared(sink, name);
    note_writes(sink, name, &SINKS);
    let program = &mut Program::new();
    let script = chain(program, name, source.port(), sink.port());

    // Both late at the first start, one after the other: the layers are filled before there is a sink.
    source.down("fast");
    sink.down("fast");
    program.start(&script);
    let late = |cluster: &Cluster| format!("postgresql at 127.0.0.1:{} does not answer: ", cluster.port());
    program.await_log(&late(source));
    program.await_log("it is tried again for 60 s (--wait); Ctrl-C stops");
    assert!(!program.log().contains(&late(sink)), "{}", program.log());
    source.up();
    program.await_log(&late(sink));
    let await_ods = |program: &Program| {
        let orders = || rows(source, name, "SELECT id, region, amount FROM orders");
        await_equal("the ODS", || program.query("SELECT id, region, amount FROM ods"), orders);
    };
    await_ods(program);
    sink.up();
    await_layers(program, source, sink, name);
    program.await_log("4 jobs run");
    let regions = ["region-0", "region-1", "region-2", "region-3", "region-4"];
    assert_eq!(writes(sink, name), each_once(1..=1_000, &regions));

    // Late at a later start: the sink alone, then the source alone.
    let change = |id: u32| {
        source.sql(
            name,
            &format!("UPDATE orders SET amount = amount + 1 WHERE id = {id}; DELETE FROM orders WHERE id = {id} + 5"),
        );
    };
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    sink.down("fast");
    change(10);
    program.start(&script);
    await_states(program, ("RUNNING", "WAITING"), sink);
    await_ods(program);
    sink.up();
    await_layers(program, source, sink, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    source.down("fast");
    program.start(&script);
    await_states(program, ("WAITING", "RUNNING"), source);
    source.up();
    change(20);
    await_layers(program, source, sink, name);

    // Under the running jobs: stopped, and killed.
    let ends: [fn(&Cluster); 2] = [|cluster| cluster.down("fast"), Cluster::kill];
    for (end, id) in ends.into_iter().zip([30, 40]) {
        await_running(program);
        end(sink);
        change(id);
        await_states(program, ("RUNNING", "WAITING"), sink);
        await_ods(program);
        sink.up();
        await_layers(program, source, sink, name);
        await_running(program);
        change(id + 20);
        end(source);
        await_states(program, ("WAITING", "RUNNING"), source);
        source.up();
        await_layers(program, source, sink, name);
    }
    let ids = [10, 20, 30, 40, 50, 60].into_iter().flat_map(|id| [id, id + 5]);
    let mut written = writes(sink, name);
    written.retain(|what, _| what.starts_with("copy"));
    assert_eq!(written, each_once(ids, &[]));
    let log = program.log();
    assert!(!log.contains("read again and compared") && !log.contains("written again"), "{log}");
    assert_eq!(program.interrupt(), Some(0), "{log}");
}

#[test]
fn a_source_that_only_others_write_forgets_its_log_under_the_default_heartbeat() {
    let (cluster, name) = (&Cluster::start(&[]), "idle");
    prepared(cluster, name);
    cluster.sql(name, "CREATE TABLE unread (t text)");
    cluster.sql("postgres", "CREATE DATABASE foreign_writes");
    cluster.sql("foreign_writes", "CREATE TABLE unread (t text)");
    let program = &mut Program::new();
    let script = chain(program, name, cluster.port(), cluster.port());
    let text = std::fs::read_to_string(&script).expect("the script is there");
    let default = text.replace(", 'heartbeat.interval.ms' = '1000'", "");
    assert_ne!(default, text);
    std::fs::write(&script, default).expect("the script can be written");
    program.start(&script);
    await_layers(program, cluster, cluster, name);
    let fill = "INSERT INTO unread SELECT repeat('x', 1000) FROM generate_series(1, 5000)";
    cluster.sql(name, fill);
    cluster.sql("foreign_writes", fill);
    let written = cluster.sql(name, "SELECT pg_current_wal_lsn()");
    let is_free = format!(
        "SELECT restart_lsn >= '{written}' AND confirmed_flush_lsn >= '{written}' FROM pg_replication_slots WHERE slot_name = 'idle_slot'"
    );
    // What a slot keeps begins at running transactions, which the server logs every 15 s, or at a checkpoint.
    let forgotten = || {
        cluster.sql(name, "CHECKPOINT");
        cluster.sql(name, &is_free)
    };
    await_equal("what the slot keeps", forgotten, || "t".to_owned());
    let kept = "SELECT kept_bytes < 5000000 AND lag_bytes < 5000000 FROM system.status.sources";
    await_equal("what the status tells", || program.query(kept), || vec!["t".to_owned()]);
    cluster.sql(name, "DELETE FROM orders WHERE id = 4");
    await_layers(program, cluster, cluster, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn another_cluster_at_the_address_is_refused_and_read_once_the_user_says_so() {
    let (old, new, sink, name) = (Cluster::start(&[]), Cluster::start(&[]), postgres(), "another_cluster");
    for cluster in [&old, &new, sink] {
        prepared(cluster, name);
    }
    new.sql(
        name,
        "UPDATE orders SET amount = amount + 1 WHERE id = 10; DELETE FROM orders WHERE id = 11; \
         INSERT INTO orders VALUES (2000, 'region-2', 1)",
    );
    let (program, way) = (&mut Program::new(), Proxy::start(old.port()));
    let script = chain(program, name, way.port(), sink.port());
    program.start(&script);
    await_layers(program, &old, sink, name);
    note_writes(sink, name, &SINKS);

    let from = program.log().len();
    old.down("fast");
    way.lead_to(new.port());
    let told = await_said(program, from, " is another cluster than the one that this stream was read from (");
    let remedy = "start the right server there; or DROP JOB for the jobs that read it (SHOW JOBS has their numbers), and run the script again";
    assert!(told.contains(remedy), "{told}");
    assert_eq!(program.query("SELECT state FROM system.status.sources"), ["WAITING"]);
    assert!(writes(sink, name).is_empty(), "nothing is read from it");
    // The right one is back: as if nothing had been.
    old.up();
    way.lead_to(old.port());
    old.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id = 3");
    await_layers(program, &old, sink, name);
    assert_eq!(writes(sink, name), each_once([3], &["region-3"]));
    old.down("fast");
    way.lead_to(new.port());
    await_equal("the wait", || program.query("SELECT state FROM system.status.sources"), || vec!["WAITING".to_owned()]);

    // As the message says.
    let reads = program.run(&["sql", "-e", "SHOW JOBS"]);
    assert!(text(&reads.stdout).contains("ods"), "{}", text(&reads.stdout));
    let job = program.query("SELECT job_id FROM system.status.jobs WHERE name LIKE '%ods'").concat();
    program.query(&format!("DROP JOB {job}"));
    program.query(&std::fs::read_to_string(&script).expect("the script is there"));
    await_layers(program, &new, sink, name);
    let differences = each_once([3, 10, 11, 2000], &["region-0", "region-1", "region-2", "region-3"]);
    assert_eq!(writes(sink, name), differences, "only the differences have flowed");
    new.sql(name, "DELETE FROM orders WHERE id = 20; UPDATE orders SET amount = 0 WHERE id = 21");
    await_layers(program, &new, sink, name);
    assert_eq!(writes(sink, name), each_once([20, 21], &["region-0", "region-1"]));
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
