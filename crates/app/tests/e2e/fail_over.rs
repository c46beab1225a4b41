//! Source and sink fail over to a standby in mid-stream: a transaction is half received, or a write of a sink under way, and the
//! writer at the source goes on through kill and promotion. Afterwards everything is as the new primary, or the source, says.

use std::sync::atomic::{AtomicBool, Ordering};

use gridhouse_link::testing::{Cluster, Proxy};

use crate::events;
use crate::faults::{await_sink_of, chain, prepared};
use crate::layers::{await_layers, await_said};
use crate::program::{Program, await_equal, postgres};

/// Rows of a transaction that does not fit between what is still let through and what the server's and our buffers hold: some 5 MB.
const BULK_ROWS: u32 = 60_000;

/// What passes of [`BULK_ROWS`] before nothing does any more.
const HALF_BYTES: u64 = 1 << 20;

/// Writes small transactions until it is stopped, to whichever of some servers takes them; the ids that come are above those of the
/// contents and below [`bulk_id`].
struct Writer<'a> {
    servers: &'a [&'a Cluster],
    name: &'a str,
    is_done: &'a AtomicBool,
}

/// The first id of the large transaction of a round.
fn bulk_id(round: u32) -> u32 {
    1_000_000 * (round + 1)
}

impl Writer<'_> {
    fn write(&self, round: u32) {
        for i in (0..90_000).take_while(|_| !self.is_done.load(Ordering::SeqCst)) {
            let (id, other) = (100_000 * (round + 1) + i, 1 + i % 900);
            let sql = format!(
                "BEGIN; INSERT INTO orders VALUES ({id}, 'region-new', {i}); DELETE FROM orders WHERE id = {other} AND {i} % 3 = 0; \
                 UPDATE orders SET region = 'region-' || id % 7, amount = amount + 1 WHERE id = {other} + 50; COMMIT"
            );
            // Whether a statement came through is asked of the server alone, in the end.
            let _ = self.servers.iter().any(|server| server.try_sql(self.name, &sql).is_ok());
        }
    }

    /// Waits until more of what is written has come to a server.
    fn await_more(&self, server: &Cluster) {
        let newest = || {
            let id = server.sql(self.name, &format!("SELECT max(id) FROM orders WHERE id < {}", bulk_id(0)));
            id.parse::<u32>().expect("a number")
        };
        let before = newest();
        await_equal("more rows", || newest() > before + 3, || true);
    }
}

/// Ends the writer also where the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `test` while the writer writes.
fn beside_the_writer(servers: &[&Cluster], name: &str, round: u32, test: impl FnOnce(&Writer<'_>)) {
    let is_done = AtomicBool::new(false);
    let writer = Writer { servers, name, is_done: &is_done };
    std::thread::scope(|scope| {
        let _done = Done(&is_done);
        scope.spawn(|| writer.write(round));
        test(&writer);
    });
}

/// Commits a transaction of [`BULK_ROWS`] and waits until a half of it, or of what it makes a sink write, has passed `way`.
fn half(way: &Proxy, source: &Cluster, name: &str, round: u32) {
    way.freeze_after(HALF_BYTES);
    let first = bulk_id(round);
    source.sql(
        name,
        &format!(
            "INSERT INTO orders SELECT {first} + i, 'region-bulk', 1 FROM generate_series(1, {BULK_ROWS}) i; \
             UPDATE orders SET amount = 7 WHERE id = 999"
        ),
    );
    await_equal("a half", || way.is_frozen(), || true);
}

fn bulk(server: &Cluster, name: &str, table: &str, round: u32) -> String {
    let (first, last) = (bulk_id(round), bulk_id(round) + BULK_ROWS);
    server.sql(name, &format!("SELECT count(*) FROM {table} WHERE id BETWEEN {first} AND {last}"))
}

/// The primary is killed while half of a transaction has come from it, and `standby` takes over; one that lags has not got that
/// transaction, nor some of those before it that are stored here.
fn source_fails_over(
    program: &Program,
    way: &Proxy,
    [source, standby]: [&Cluster; 2],
    sink: &Cluster,
    name: &str,
    round: u32,
    lags: bool,
) {
    beside_the_writer(&[source, standby], name, round, |writer| {
        writer.await_more(standby);
        if lags {
            standby.down("fast");
            let newest = source.sql(name, &format!("SELECT max(id) FROM orders WHERE id < {}", bulk_id(0)));
            let further = format!("SELECT COUNT(*) > 5 FROM ods WHERE id > {newest} AND id < {}", bulk_id(0));
            await_equal("what the standby lacks", || program.query(&further), || vec!["t".to_owned()]);
        }
        half(way, source, name, round);
        if !lags {
            await_equal("the standby", || bulk(standby, name, "orders", round), || BULK_ROWS.to_string());
        }
        source.kill();
        if lags {
            standby.up();
        }
        way.lead_to(standby.port());
        way.freeze(false);
        standby.promote();
        // The new primary is written before, while and after contents are compared.
        writer.await_more(standby);
    });
    await_layers(program, standby, sink, name);
    let wanted = if lags { 0 } else { BULK_ROWS }.to_string();
    assert_eq!(bulk(standby, name, "orders", round), wanted);
    let ods = format!("SELECT COUNT(*) FROM ods WHERE id > {}", bulk_id(round));
    assert_eq!(program.query(&ods), [wanted]);
}

#[test]
fn a_source_that_fails_over_in_the_midst_of_a_transaction_under_load_agrees_again() {
    let (source, sink, name) = (&Cluster::start(&[]), postgres(), "source_mid_stream");
    prepared(source, name);
    prepared(sink, name);
    let way = &Proxy::start(source.port());
    let program = &mut Program::new();
    let script = chain(program, name, way.port(), sink.port());
    program.start(&script);
    await_layers(program, source, sink, name);
    let second = &source.standby();
    source_fails_over(program, way, [source, second], sink, name, 0, true);
    let told = program.log();
    let left = |line: &str| line.contains("the source left timeline 1 at ") && line.contains("and is on timeline 2");
    assert!(told.lines().any(left), "{told}");

    let third = &second.standby();
    let from = program.log().len();
    source_fails_over(program, way, [second, third], sink, name, 1, false);
    await_said(program, from, "the contents of all tables are read again and compared");
    // The stream of the last one goes on.
    third.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0");
    await_layers(program, third, sink, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// The sink's primary is killed while it has half of what is to be written, and `standby` takes over; one that lags has not got some
/// of the commits before that either.
fn sink_fails_over(way: &Proxy, source: &Cluster, [sink, standby]: [&Cluster; 2], name: &str, round: u32, lags: bool) {
    beside_the_writer(&[source], name, round, |writer| {
        writer.await_more(source);
        if lags {
            standby.down("fast");
            let newest = |cluster: &Cluster| {
                let last =
                    "SELECT (SELECT max(n) FROM events), (SELECT count(*) FROM copy WHERE region = 'region-new')";
                let told = cluster.sql(name, last);
                let (events, copy) = told.split_once('|').expect("two numbers");
                (events.parse::<u64>().expect("a number"), copy.parse::<u64>().expect("a number"))
            };
            let before = newest(sink);
            let is_further = || newest(sink).0 > before.0 + 20 && newest(sink).1 > before.1;
            await_equal("what the standby lacks", is_further, || true);
        }
        half(way, source, name, round);
        let writes = "SELECT count(*) > 0 FROM pg_stat_activity WHERE xact_start IS NOT NULL AND wait_event = 'ClientRead' \
                      AND pid <> pg_backend_pid()";
        await_equal("a write that is under way", || sink.sql(name, writes), || "t".to_owned());
        assert_eq!(bulk(sink, name, "copy", round), "0", "a half of a transaction is not there");
        sink.kill();
        writer.await_more(source);
        if lags {
            standby.up();
        }
        way.lead_to(standby.port());
        way.freeze(false);
        standby.promote();
        await_equal("the rows of the write", || bulk(standby, name, "copy", round), || BULK_ROWS.to_string());
    });
}

#[test]
fn a_sink_that_fails_over_in_the_midst_of_a_write_under_load_has_each_row_once() {
    let (source, sink, name) = (postgres(), &Cluster::start(&[]), "sink_mid_stream");
    prepared(source, name);
    prepared(sink, name);
    events::table(sink, name);
    let way = &Proxy::start(sink.port());
    let program = &mut Program::new();
    let script = chain(program, name, source.port(), way.port());
    let text = std::fs::read_to_string(&script).expect("the script is there");
    let script = program.script("chain.sql", &(text + &events::script(way.port(), name)));
    program.start(&script);
    await_sink_of(source, sink, name);
    events::await_all(program, sink, name, "ods_events");
    let second = &sink.standby();
    sink_fails_over(way, source, [sink, second], name, 0, true);
    await_layers(program, source, second, name);
    events::await_all(program, second, name, "ods_events");
    let told = program.log();
    assert!(told.contains("failed over") || told.contains("its database was restored"), "{told}");

    let third = &second.standby();
    sink_fails_over(way, source, [second, third], name, 1, false);
    await_layers(program, source, third, name);
    events::await_all(program, third, name, "ods_events");
    // The jobs go on with the last one.
    source.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0");
    await_layers(program, source, third, name);
    events::await_all(program, third, name, "ods_events");
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
