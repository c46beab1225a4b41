//! The disks of Gridhouse itself and of the sink are full: each is told, and everything goes on once there is room.

use std::process::Command;

use crate::disks::{Disk, may_mount};
use crate::faults::{await_failure, await_sink, chain, prepared};
use crate::program::{Program, await_equal, postgres};

#[test]
fn full_disks_are_told_and_nothing_is_lost() {
    if !may_mount("own_disk::full_disks_are_told_and_nothing_is_lost") {
        return;
    }
    let program = &mut Program::new();
    let own = Disk::new(program.data_dir(), 20);
    let (cluster, name) = (postgres(), "full_disks");
    prepared(cluster, name);
    let space = cluster.directory().join("space");
    let theirs = Disk::new(space.clone(), 3);
    let owned = Command::new("chown").arg("--reference").arg(cluster.directory()).arg(&space).status();
    assert!(owned.is_ok_and(|status| status.success()), "the directory can be given to the server");
    cluster.sql(name, &format!("CREATE TABLESPACE small LOCATION '{}'", space.display()));
    cluster.sql(
        name,
        "ALTER TABLE copy SET TABLESPACE small; ALTER TABLE copy ADD COLUMN filler text DEFAULT repeat('x', 500)",
    );
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    cluster.sql(name, "INSERT INTO orders SELECT i, 'region-' || i % 5, i FROM generate_series(1001, 8000) i");
    let waits = || program.query("SELECT error FROM system.status.sinks WHERE state = 'WAITING'").concat();
    await_equal("the sink's disk", || waits().contains("No space left on device"), || true);
    theirs.resize(60);
    let count = |table: &str| cluster.sql(name, &format!("SELECT count(*), sum(amount) FROM {table}"));
    await_equal("the copy", || count("copy"), || count("orders"));

    // Its own disk.
    cluster.sql(name, "ALTER TABLE copy SET TABLESPACE pg_default; ALTER TABLE copy DROP filler");
    cluster.sql(
        name,
        "INSERT INTO orders SELECT i, repeat('wide ', 30) || i % 5, i FROM generate_series(10001, 150000) i",
    );
    assert_eq!(program.ended(), Some(4), "{}", program.log());
    let log = program.log();
    assert!(
        log.contains("No space left on device") && log.contains("hint: free disk space, then start again"),
        "{log}"
    );
    own.resize(400);
    program.start(&script);
    await_sink(cluster, name);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    cluster.sql(name, "DROP TABLE copy");
    cluster.sql(name, "DROP TABLESPACE small");
}

/// A layer with a row for each order, whose state does not fit in the memory that it may take.
const LARGE: &str = "CREATE TABLE IF NOT EXISTS each (id INT, region STRING, n BIGINT, amount DECIMAL(20, 2), PRIMARY KEY (id, region) NOT ENFORCED);
INSERT INTO each SELECT id, region, COUNT(*), SUM(amount) FROM ods GROUP BY id, region;
";

#[test]
fn state_that_finds_no_room_on_its_disk_fails_its_job_alone() {
    if !may_mount("own_disk::state_that_finds_no_room_on_its_disk_fails_its_job_alone") {
        return;
    }
    let program = &mut Program::new();
    program.script("gridhouse.toml", "job_state_memory = \"1 mb\"\n");
    let _spilled = Disk::new(program.data_dir().join("spill"), 60);
    let (cluster, name) = (postgres(), "spilled");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    let text = std::fs::read_to_string(&script).expect("the script is there");
    let script = program.script("chain.sql", &(text + LARGE));
    program.start(&script);
    let insert = |from: u32, upto: u32| {
        let ids = format!("generate_series({from}, {upto}) i");
        cluster.sql(name, &format!("INSERT INTO orders SELECT i, 'region-' || i % 5, i FROM {ids}"));
    };
    insert(1_001, 100_000);
    let large = || program.query("SELECT COUNT(*), SUM(n), SUM(amount) FROM each");
    let truth = || vec![cluster.sql(name, "SELECT count(*), count(*), sum(amount) FROM orders")];
    await_equal("the large layer", large, truth);
    let spilled = "SELECT spilled_bytes > 1000000 FROM system.status.jobs WHERE name LIKE '%.each'";
    await_equal("the state on its disk", || program.query(spilled), || vec!["t".to_owned()]);

    let ballast = program.data_dir().join("spill/ballast");
    let full = std::fs::write(&ballast, vec![1; 60 << 20]).map_err(|error| error.kind());
    assert_eq!(full, Err(std::io::ErrorKind::StorageFull));
    insert(100_001, 200_000);
    let told = await_failure(program, "each");
    let dir = program.data_dir().join("spill").display().to_string();
    assert!(told.contains(&format!("spilled state in {dir}/spill-")), "{told}");
    assert!(told.contains(" cannot be written: ") && told.contains("No space left on device"), "{told}");
    assert!(told.ends_with("make room, or mend the disk, then START JOB"), "{told}");
    // The others go on.
    await_sink(cluster, name);
    cluster.sql(name, "DELETE FROM orders WHERE id % 10 = 3; UPDATE orders SET amount = amount + 1 WHERE id < 500");
    await_sink(cluster, name);
    let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
    assert_eq!(program.query(states), ["FAILED|1", "RUNNING|4"]);

    std::fs::remove_file(&ballast).expect("room can be made");
    program.query("START JOB j5");
    await_equal("the large layer", large, truth);
    await_equal("the state on its disk", || program.query(spilled), || vec!["t".to_owned()]);
    cluster.sql(name, "DELETE FROM orders WHERE id % 7 = 1");
    await_equal("the large layer", large, truth);
    await_sink(cluster, name);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}
