//! The disk of the source is full: its server stops, and everything goes on once there is room and it is started again.

use std::os::unix::fs::symlink;
use std::process::Command;

use gridhouse_link::testing::Cluster;

use crate::disks::{Disk, may_mount};
use crate::faults::{await_sink, chain, prepared};
use crate::program::{Program, await_equal};

/// A disk that holds the log of a server that rests, and not one transaction of some megabytes more.
const SMALL_MEGABYTES: u32 = 96;

#[test]
fn a_source_whose_disk_is_full_is_waited_for_and_nothing_is_lost() {
    if !may_mount("source_disk::a_source_whose_disk_is_full_is_waited_for_and_nothing_is_lost") {
        return;
    }
    let cluster = Cluster::start(&["max_wal_size = 32MB", "min_wal_size = 32MB"]);
    let name = "full_source";
    prepared(&cluster, name);
    cluster.sql(name, "CREATE TABLE wide (t text)");
    cluster.down("fast");
    let disk = Disk::new(cluster.directory().join("log_disk"), SMALL_MEGABYTES);
    let (own, moved) = (cluster.directory().join("data/pg_wal"), cluster.directory().join("log_disk/pg_wal"));
    let status = Command::new("cp").arg("-a").args([&own, &moved]).status().expect("cp runs");
    assert!(status.success(), "the server's log can be moved");
    std::fs::remove_dir_all(&own).and_then(|()| symlink(&moved, &own)).expect("the server's log can be moved");
    cluster.up();
    let program = &mut Program::new();
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(&cluster, name);

    // What is committed before is kept, the transaction that fills the disk is not.
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0");
    let fill = "INSERT INTO wide SELECT repeat(md5(i::text), 30) FROM generate_series(1, 400000) i; \
                INSERT INTO orders VALUES (9999, 'never', 1)";
    // The server comes back by itself once or twice, until it has no room to do even that.
    await_equal("the end of the server", || cluster.try_sql(name, fill).map_err(|_| ()), || Err(()));
    let log = std::fs::read_to_string(cluster.directory().join("log")).expect("the server's log can be read");
    assert!(log.contains("No space left on device"), "{log}");
    // First that the connection was closed, then, as it is tried again, what the server says or that it says nothing.
    let address = format!("127.0.0.1:{}", cluster.port());
    let told = || program.query("SELECT state, error FROM system.status.sources").concat();
    let is_told = |told: String| {
        told.starts_with("WAITING|")
            && told.contains(&address)
            && (told.contains("does not answer") || told.contains("recovery"))
    };
    await_equal("the wait", || is_told(told()), || true);
    let ods = program.query("SELECT COUNT(*), SUM(amount) FROM ods");
    assert_eq!(ods, ["1000|501000.00"], "what came before is there");

    disk.resize(1_000);
    // It is on its way back by itself, or had no room even for that and has ended.
    let is_back = || {
        if !cluster.directory().join("data/postmaster.pid").exists() {
            cluster.up();
        }
        cluster.try_sql(name, "SELECT 1").is_ok()
    };
    await_equal("the server", is_back, || true);
    cluster.sql(name, "DELETE FROM orders WHERE id % 9 = 0; INSERT INTO orders VALUES (2000, 'after', 5)");
    await_sink(&cluster, name);
    assert_eq!(program.query("SELECT COUNT(*) FROM ods WHERE region = 'never'"), ["0"]);
    // Neither of one table nor of all.
    assert!(!program.log().contains("read again"), "{}", program.log());
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    // Before its disk is taken away.
    cluster.down("immediate");
}
