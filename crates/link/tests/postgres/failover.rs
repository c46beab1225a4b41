//! The way to the source leads to another server that took over: what it does not have is taken back, and what it has is not
//! read again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::table::TableDef;
use gridhouse_flow::connector::SourceConnector;
use gridhouse_link::PostgresCdc;
use gridhouse_link::testing::{Cluster, Proxy};

use crate::engine::{Durable, Engine};
use crate::network::table;
use crate::setup::{Db, context};

/// A port on which nobody listens.
const NOWHERE: u16 = 1;

/// A source that `standbys` follow, with a table of one row that a stream has read and a second one that has followed.
struct Scene {
    cluster: Arc<Cluster>,
    db: Db,
    standbys: Vec<Cluster>,
    proxy: Proxy,
    engine: Engine,
    definition: TableDef,
    stream_key: String,
}

impl Scene {
    fn new(name: &str, standbys: usize) -> Self {
        // What an old slot still needs of the catalog must not be cleaned up meanwhile.
        let cluster = Arc::new(Cluster::start(&["autovacuum = off"]));
        let db = Db::within(cluster.clone(), name);
        db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
        let standbys: Vec<Cluster> = (0..standbys).map(|_| cluster.standby()).collect();
        let proxy = Proxy::start(cluster.port());
        let definition = table(&db, &proxy);
        let stream_key = PostgresCdc::new(&context()).describe(&definition).unwrap().stream_key;
        let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
        engine.until_rows(1, &["1|a"]);
        db.sql("INSERT INTO t VALUES (2, 'b')");
        engine.until_rows(1, &["1|a", "2|b"]);
        let scene = Self { cluster, db, standbys, proxy, engine, definition, stream_key };
        scene.follow();
        scene
    }

    /// Waits until the standbys have what the source has.
    fn follow(&self) {
        let written = self.db.sql("SELECT pg_current_wal_lsn()");
        let clock = SystemClock::new();
        for standby in &self.standbys {
            while standby.sql("postgres", &format!("SELECT pg_last_wal_replay_lsn() >= '{written}'")) != "t" {
                assert!(clock.monotonic() < Duration::from_secs(30), "the standby does not follow");
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }

    /// What the standbys never see: the end of the source's life, far behind them in the WAL, which the stream takes in.
    fn diverge(&mut self) {
        self.standbys.iter().for_each(|standby| standby.down("fast"));
        self.db.sql("SELECT pg_switch_wal()");
        self.db.sql("UPDATE t SET v = 'lost with the primary'; INSERT INTO t VALUES (3, 'too')");
        self.engine.until("the last transactions", |e| e.rows(1).len() == 3);
        self.cluster.down("immediate");
    }

    fn told(&self, what: &str) -> bool {
        self.engine.waiting.iter().any(|told| told.contains(what))
    }
}

/// Writes to a server until its WAL has passed all that the stream has seen, a row of `t` first.
fn pass(engine: &Engine, server: &Cluster, database: &str, row: &str) {
    server.sql(database, &format!("INSERT INTO t VALUES ({row})"));
    let bytes = engine.durable.position.as_ref().unwrap().first_chunk().unwrap();
    let read = u64::from_be_bytes(*bytes);
    let passed = format!("SELECT pg_current_wal_lsn() > '{:X}/{:X}'", read >> 32, read & 0xFFFF_FFFF);
    while server.sql(database, &passed) != "t" {
        server.sql(database, "CREATE TABLE filler (); DROP TABLE filler; SELECT pg_switch_wal()");
    }
}

#[test]
fn a_standby_takes_over_without_the_last_transactions() {
    let mut scene = Scene::new("failover", 1);
    scene.diverge();
    let standby = scene.standbys.remove(0);
    standby.up();
    scene.proxy.lead_to(standby.port());
    scene.engine.until("the standby", |e| {
        e.waiting.iter().any(|told| told.contains("is a standby, and changes are read from a primary"))
    });
    standby.promote();
    scene.engine.until_rows(1, &["1|a", "2|b"]);
    assert_eq!(scene.engine.missed, 1, "{:?}", scene.engine.waiting);
    assert!(scene.told("the source left timeline 1 at "), "{:?}", scene.engine.waiting);
    standby.sql("failover", "INSERT INTO t VALUES (4, 'd')");
    scene.engine.until_rows(1, &["1|a", "2|b", "4|d"]);
    assert!(scene.engine.failed.is_none(), "{:?}", scene.engine.failed);
    scene.engine.stop();
}

#[test]
fn a_slot_of_the_same_name_on_another_timeline_hides_nothing() {
    let mut scene = Scene::new("hidden", 2);
    let second = scene.standbys.remove(1);
    second.down("fast");
    scene.db.sql("UPDATE t SET v = 'later' WHERE id = 2");
    scene.engine.until_rows(1, &["1|a", "2|later"]);
    scene.follow();
    scene.diverge();
    // Slot, publication and table are there, and the WAL is beyond all that was read: only the timeline tells.
    let take_over = |scene: &Scene, standby: &Cluster, row: &str| {
        standby.up();
        standby.promote();
        standby.sql("hidden", "SELECT pg_create_logical_replication_slot('hidden_slot', 'pgoutput')");
        pass(&scene.engine, standby, &scene.db.name, row);
        scene.proxy.lead_to(standby.port());
    };
    let first = scene.standbys.remove(0);
    take_over(&scene, &first, "4, 'd'");
    scene.engine.until_rows(1, &["1|a", "2|later", "4|d"]);
    assert!(
        scene.engine.waiting.iter().any(|told| {
            told.starts_with("the source left timeline 1 at ")
                && told.contains(", before what is stored (")
                && told.contains(", and is on timeline 2: it was failed over or restored without the last transactions; the contents of all tables are read again and compared")
        }),
        "{:?}",
        scene.engine.waiting
    );
    assert_eq!(scene.engine.missed, 1);
    first.sql("hidden", "UPDATE t SET v = 'e' WHERE id = 4");
    scene.engine.until_rows(1, &["1|a", "2|later", "4|e"]);
    // Stopped and started there it goes on where it was.
    let durable = scene.engine.stop();
    first.sql("hidden", "DELETE FROM t WHERE id = 1");
    scene.engine = Engine::resume(&scene.stream_key, &[scene.definition.clone()], durable);
    scene.engine.until_rows(1, &["2|later", "4|e"]);
    assert_eq!((scene.engine.snapshots, scene.engine.missed), (0, 0), "{:?}", scene.engine.waiting);
    // Another standby that was promoted by itself has a timeline 2 too, which is another one.
    take_over(&scene, &second, "5, 'other'");
    first.down("immediate");
    scene.engine.until_rows(1, &["1|a", "2|b", "5|other"]);
    assert!(
        scene.told("the source is on timeline 2, which does not come from timeline 2 of what is stored ("),
        "{:?}",
        scene.engine.waiting
    );
    scene.engine.stop();
}

#[test]
fn a_slot_that_came_along_goes_on_without_reading_contents_again() {
    let mut scene = Scene::new("switchover", 1);
    let standby = scene.standbys.remove(0);
    // A server that is shut down sends everything before, to the stream and to the standby.
    let stopper = scene.cluster.clone();
    let stop = std::thread::spawn(move || stopper.down("fast"));
    scene.engine.until("the end of the connection", |e| !e.waiting.is_empty());
    stop.join().unwrap();
    standby.down("fast");
    standby.bring_slot(&scene.cluster, "switchover_slot");
    standby.up();
    standby.promote();
    let taken_over = standby.sql("switchover", "SELECT pg_current_wal_lsn()");
    standby.sql("switchover", "UPDATE t SET v = 'c' WHERE id = 2; INSERT INTO t VALUES (3, 'd')");
    scene.proxy.lead_to(standby.port());
    scene.engine.until_rows(1, &["1|a", "2|c", "3|d"]);
    assert_eq!((scene.engine.snapshots, scene.engine.missed), (1, 0), "{:?}", scene.engine.waiting);
    let position = scene.engine.durable.position.as_ref().unwrap();
    assert_eq!(position[8..12], 2_u32.to_be_bytes(), "it is known as one of the new timeline");
    let there = Db { cluster: Arc::new(standby), name: "switchover".into() };
    there.until_one(&format!(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'switchover_slot' AND confirmed_flush_lsn > '{taken_over}'"
    ));
    scene.engine.stop();
}

/// Writes transactions that each change all rows of `t`, to whichever server `to` is, until it is told to stop. Nothing that fails
/// is tried again.
struct Writer {
    to: Arc<Mutex<Option<Arc<Cluster>>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    fn start(db: &Db) -> Self {
        let to = Arc::new(Mutex::new(Some(db.cluster.clone())));
        let (target, name) = (to.clone(), db.name.clone());
        let thread = std::thread::spawn(move || {
            for round in 1.. {
                let Some(cluster) = target.lock().unwrap().clone() else { return };
                let update = format!("UPDATE t SET v = rpad('{round} ', 1000, md5(id::text || {round}))");
                // Some are rolled back, which is never told.
                let end = if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
                let _ = cluster.try_sql(&name, &format!("BEGIN; {update}; {end}"));
            }
        });
        Self { to, thread }
    }

    fn turn_to(&self, cluster: &Arc<Cluster>) {
        *self.to.lock().unwrap() = Some(cluster.clone());
    }

    fn stop(self) {
        *self.to.lock().unwrap() = None;
        self.thread.join().unwrap();
    }
}

#[test]
fn a_standby_takes_over_while_transactions_are_half_sent() {
    const ROWS: usize = 3_000;
    let mut scene = Scene::new("under_way", 1);
    scene.db.sql(&format!("INSERT INTO t SELECT g, 'new' FROM generate_series(3, {ROWS}) g"));
    scene.engine.until("the rows", |e| e.rows(1).len() == ROWS);
    scene.follow();
    let writer = Writer::start(&scene.db);
    let begun = scene.engine.commits;
    scene.engine.until("the writer", |e| e.commits > begun + 3);
    let standby = Arc::new(scene.standbys.remove(0));
    // It falls behind, and the stream goes on.
    standby.down("fast");
    let left = scene.engine.commits;
    scene.engine.until("what the standby lacks", |e| e.commits > left + 3);
    // Nobody takes events for a while: the queue, the sockets and the proxy fill with more than ten transactions of 3 MB, of which the
    // last is cut off by the end of the source.
    let written = scene.db.sql("SELECT pg_current_wal_lsn()");
    let filled = format!("SELECT (pg_current_wal_lsn() - '{written}' > 50000000)::int");
    scene.db.until_one(&filled);
    scene.cluster.kill();
    scene.engine.until("the end of the connection", |e| !e.waiting.is_empty());
    standby.up();
    standby.promote();
    // Its clients find it before the stream does.
    writer.turn_to(&standby);
    let there = Db { cluster: standby.clone(), name: "under_way".into() };
    let lost = there.sql("SELECT v FROM t WHERE id = 1");
    there.until_one(&format!("SELECT count(*) FROM t WHERE id = 1 AND v <> '{lost}'"));
    scene.proxy.lead_to(standby.port());
    scene.engine.until("the standby", |e| e.missed == 1);
    let found = scene.engine.commits;
    scene.engine.until("its stream", |e| e.commits > found + 3);
    writer.stop();
    let rows = there.sql("SELECT id, v FROM t");
    scene.engine.until_rows(1, &rows.lines().collect::<Vec<_>>());
    assert_eq!((scene.engine.missed, scene.engine.snapshots), (1, 2), "{:?}", scene.engine.waiting);
    assert!(scene.told("the source left timeline 1 at "), "{:?}", scene.engine.waiting);
    assert!(scene.engine.failed.is_none(), "{:?}", scene.engine.failed);
    scene.engine.stop();
}

#[test]
fn a_source_that_is_restored_to_a_point_in_time_takes_back_what_came_after() {
    let cluster = Arc::new(Cluster::start(&["archive_mode = on"]));
    cluster.archive();
    let db = Db::within(cluster.clone(), "in_time");
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let proxy = Proxy::start(cluster.port());
    let definition = table(&db, &proxy);
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until_rows(1, &["1|a"]);
    let key = PostgresCdc::new(&context()).describe(&definition).unwrap().stream_key;
    let durable = engine.stop();
    // The slot is in the back-up.
    cluster.down("fast");
    cluster.back_up();
    cluster.up();
    let mut engine = Engine::resume(&key, std::slice::from_ref(&definition), durable);
    db.sql("INSERT INTO t VALUES (2, 'b')");
    engine.until_rows(1, &["1|a", "2|b"]);
    db.sql("SELECT pg_create_restore_point('before the mistake')");
    db.sql("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'spoilt'; INSERT INTO t VALUES (3, 'c')");
    engine.until_rows(1, &["2|spoilt", "3|c"]);
    // Under the stream, which waits until the server has been written to again beyond all that was read: slot and publication are
    // there, and only the timeline tells.
    let stopper = cluster.clone();
    let stop = std::thread::spawn(move || stopper.down("fast"));
    engine.until("the end of the connection", |e| !e.waiting.is_empty());
    stop.join().unwrap();
    proxy.lead_to(NOWHERE);
    cluster.restore_to("before the mistake");
    pass(&engine, &cluster, "in_time", "5, 'e'");
    proxy.lead_to(cluster.port());
    engine.until_rows(1, &["1|a", "2|b", "5|e"]);
    let told = |what: &str| engine.waiting.iter().any(|told| told.contains(what));
    assert!(
        told("the source left timeline 1 at ") && told("restored without the last transactions"),
        "{:?}",
        engine.waiting
    );
    assert_eq!(engine.missed, 1, "{:?}", engine.waiting);
    db.sql("INSERT INTO t VALUES (4, 'd'); DELETE FROM t WHERE id = 2");
    engine.until_rows(1, &["1|a", "4|d", "5|e"]);
    assert_eq!((engine.missed, engine.failed.as_deref()), (1, None), "{:?}", engine.waiting);
    engine.stop();
}

#[test]
fn another_cluster_is_waited_for_to_go_away_and_nothing_is_read_from_it() {
    let db = Db::new("elsewhere");
    let other = Db::within(Arc::new(Cluster::start(&[])), "elsewhere");
    for db in [&db, &other] {
        db.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    }
    db.sql("INSERT INTO t VALUES (1, 'a')");
    other.sql("INSERT INTO t VALUES (9, 'foreign')");
    let proxy = Proxy::start(db.cluster.port());
    let definition = table(&db, &proxy);
    let key = |definition| PostgresCdc::new(&context()).describe(definition).unwrap().stream_key;
    let here = key(&definition);
    let mut engine = Engine::start(std::slice::from_ref(&definition), Durable::default());
    engine.until_rows(1, &["1|a"]);
    proxy.lead_to(other.cluster.port());
    let there = key(&definition);
    let told = format!(
        " is another cluster than the one that this stream was read from ({there} instead of {here}) [start the right server there; \
         or DROP JOB for the jobs that read it (SHOW JOBS has their numbers), and run the script again]"
    );
    engine.until("the other cluster", |e| e.waiting.iter().any(|waits| waits.ends_with(&told)));
    assert_eq!(other.sql("SELECT count(*) FROM pg_replication_slots"), "0", "nothing is made there");
    db.sql("UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'c')");
    proxy.lead_to(db.cluster.port());
    engine.until_rows(1, &["1|b", "2|c"]);
    assert_eq!((engine.snapshots, engine.missed), (1, 0), "{:?}", engine.waiting);
    engine.stop();
}
