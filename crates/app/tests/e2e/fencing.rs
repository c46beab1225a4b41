//! Who writes a sink, and which: of two processes the older is fenced, and a standby that takes over gets what it lacks.

use gridhouse_link::testing::{Cluster, Proxy};

use crate::faults::{await_failure, await_sink, await_sink_of, chain, copied, prepared};
use crate::program::{Program, await_equal, postgres, text};

#[test]
fn the_older_of_two_processes_with_one_sink_is_fenced() {
    let (cluster, name) = (postgres(), "two_owners");
    prepared(cluster, name);
    let [older, newer] = &mut [Program::new(), Program::new()];
    let script = chain(older, name, cluster.port(), cluster.port());
    older.start(&script);
    await_sink(cluster, name);

    // The newer has a directory and a slot of its own, and the sinks of the older.
    let text_of = std::fs::read_to_string(&script).expect("the script is there");
    let other = newer.script("chain.sql", &text_of.replace("two_owners_slot", "two_owners_other_slot"));
    newer.start(&other);
    let claims = || cluster.sql(name, "SELECT count(*), count(DISTINCT store) FROM gridhouse_sink");
    await_equal("the claims of the newer", claims, || "4|2".to_owned());
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id = 17");
    for table in ["board", "copy"] {
        let told = await_failure(older, table);
        let (host, newer) = (std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name"), newer.owner());
        let fenced = format!(
            "sink public.{table} is fenced: another process has taken it over: process {} on host {}, data directory {} (claimed ",
            newer.0,
            host.trim(),
            newer.1.display()
        );
        assert!(told.contains(&fenced), "{told}");
        assert!(told.contains("stop the other process that writes this table, then START JOB here"), "{told}");
    }
    await_sink(cluster, name);
    // Only the older's jobs with these sinks have failed, and its status says so.
    let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
    assert_eq!(older.query(states), ["FAILED|2", "RUNNING|2"]);
    assert_eq!(newer.query(states), ["RUNNING|4"]);
    let status = older.run(&["status"]);
    let shown = text(&status.stdout);
    assert!(status.status.success() && shown.contains("FAILED") && shown.contains("is fenced"), "{shown}");
    let before = cluster.sql(name, "SELECT count(*), sum(amount) FROM copy");

    // Nothing of the older comes through any more, whatever it reads.
    cluster.sql(name, "UPDATE orders SET amount = 0 WHERE id = 1");
    await_sink(cluster, name);
    assert_ne!(cluster.sql(name, "SELECT count(*), sum(amount) FROM copy"), before);

    // As the message says: the newer is stopped, and the older takes the sinks back. A row that came and went meanwhile is one of which
    // the older would not know that the sinks have it, so it has the tables emptied.
    cluster.sql(name, "INSERT INTO orders VALUES (6000, 'region-new', 7)");
    await_sink(cluster, name);
    assert_eq!(newer.interrupt(), Some(0), "{}", newer.log());
    cluster.sql(name, "DELETE FROM orders WHERE id % 10 = 0; INSERT INTO orders VALUES (5000, 'region-new', 7)");
    older.query("START JOB 3; START JOB 4");
    for table in ["board", "copy"] {
        let written = format!("table public.{table} was written by another data directory");
        await_equal("what the older finds", || await_failure(older, table).contains(&written), || true);
        let told = await_failure(older, table);
        let (_, typed) = told.split_once("to have it written anew, type there `").expect("a statement");
        cluster.sql(name, typed.split('`').next().expect("its end"));
    }
    older.query("START JOB 3; START JOB 4");
    await_sink(cluster, name);
    assert_eq!(older.query(states), ["RUNNING|4"]);
    assert!(matches!(older.interrupt(), Some(0 | 3)), "{}", older.log());
    cluster.sql(name, "SELECT pg_drop_replication_slot('two_owners_other_slot')");
}

#[test]
fn an_older_copy_that_comes_up_beside_its_owner_is_refused_and_fences_nobody() {
    let (cluster, name) = (postgres(), "copy_beside");
    prepared(cluster, name);
    let [owner, copy] = &mut [Program::new(), Program::new()];
    let script = chain(owner, name, cluster.port(), cluster.port());
    owner.start(&script);
    await_sink(cluster, name);
    assert_eq!(owner.interrupt(), Some(0), "{}", owner.log());
    copied(&owner.data_dir(), &copy.data_dir());
    owner.serve();
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id = 17");
    await_sink(cluster, name);
    let claims = || cluster.sql(name, "SELECT sink, epoch, claimed_at, claimed_by FROM gridhouse_sink ORDER BY 1");
    let before = claims();

    copy.serve();
    for table in ["board", "copy"] {
        let told = await_failure(copy, table);
        assert!(told.contains("by a later state, or another copy, of this data directory"), "{told}");
    }
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0; DELETE FROM orders WHERE id = 18");
    await_sink(cluster, name);
    assert_eq!(claims(), before, "nobody has claimed anything");
    assert_eq!(owner.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    for program in [copy, owner] {
        assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    }
}

#[test]
fn a_sink_that_fails_over_to_a_standby_gets_what_that_lacks() {
    let (source, name) = (postgres(), "sink_failover");
    prepared(source, name);
    let sink = Cluster::start(&[]);
    prepared(&sink, name);
    let way = Proxy::start(sink.port());
    let program = &mut Program::new();
    let script = chain(program, name, source.port(), way.port());
    program.start(&script);
    await_sink_of(source, &sink, name);
    let standby = sink.standby();
    await_sink_of(source, &standby, name);
    // The standby stops following, so that it lacks the last transactions when it takes over.
    standby.down("fast");
    source.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0; DELETE FROM orders WHERE id < 30");
    await_sink_of(source, &sink, name);
    sink.kill();
    source.sql(name, "INSERT INTO orders VALUES (3000, 'meanwhile', 3)");
    let waits = "SELECT COUNT(*) FROM system.status.sinks WHERE state = 'WAITING'";
    await_equal("the wait", || program.query(waits), || vec!["2".to_owned()]);
    standby.up();
    way.lead_to(standby.port());
    standby.promote();
    await_sink_of(source, &standby, name);
    let told = program.log();
    assert!(told.contains("failed over") || told.contains("its database was restored"), "{told}");
    source.sql(name, "UPDATE orders SET region = 'region-0' WHERE id % 5 = 3");
    await_sink_of(source, &standby, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
