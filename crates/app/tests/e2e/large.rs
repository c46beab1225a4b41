//! A transaction of a million rows, and large changes of these: whole or not there to whoever looks, in the layers and in the
//! sinks, in bounded memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::faults::{await_sink, chain, prepared};
use crate::layers::{LAYERS, rows};
use crate::program::{Program, await_equal, postgres};

const MEGABYTE: u64 = 1 << 20;

/// Rows of the largest transaction.
const ROWS: u64 = 1_000_000;

/// What the program may hold in memory beyond what it rests with, by the defaults of its settings:
/// - what has been logged since the last checkpoint, up to four times over (`checkpoint_log_size`, 64 MB);
/// - what a tick leaves in tables before it seals ahead (`tick_memory`, 64 MB);
/// - 32 bytes for each key of the one layer that has many;
/// - two sinks that gather up to 16 MB each.
///
/// The rows of one transaction take 140 MB as text. A program that held them all, instead of sealing ahead, was seen to need 460 MB.
const MOST_MEMORY: u64 = (4 * 64 + 64 + 2 * 16) * MEGABYTE + 32 * ROWS;

/// How often memory is looked at meanwhile.
const MEMORY_LOOK: Duration = Duration::from_millis(20);

/// How often rows are summed up meanwhile. A million take a core for some 50 ms, at four places.
const ROWS_LOOK: Duration = Duration::from_millis(500);

/// Ends the looks also where the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until the sinks agree with the source in what can be asked for quickly.
fn await_figures(name: &str) {
    let cluster = postgres();
    let figures = |table: &str| cluster.sql(name, &format!("SELECT count(*), sum(id), sum(amount) FROM {table}"));
    let wanted = figures("orders");
    await_equal("the copy", || figures("copy"), || wanted.clone());
    let wanted = cluster.sql(name, "SELECT count(*), sum(amount) FROM orders");
    await_equal("the board", || cluster.sql(name, "SELECT sum(n), sum(amount) FROM board"), || wanted.clone());
}

/// Carries out `sql` at the source and waits until the sinks agree. Meanwhile the rows of both sinks and of both layers are
/// looked at again and again: each shows one of two `sums` of their amounts, and the layers agree. Gives the most memory.
fn whole_or_nothing(program: &Program, name: &str, sql: &str, sums: &[String; 2]) -> u64 {
    let cluster = postgres();
    let is_done = AtomicBool::new(false);
    let looks = |what: &str, look: &dyn Fn() -> String| {
        let mut looked = 0;
        // However fast it is, what it leaves is looked at too.
        while looked < 3 || !is_done.load(Ordering::SeqCst) {
            let sum = look();
            assert!(sums.contains(&sum), "{what} shows {sum}, a part of a transaction between {sums:?}");
            looked += 1;
            std::thread::park_timeout(ROWS_LOOK);
        }
    };
    std::thread::scope(|scope| {
        let done = Done(&is_done);
        let memory = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(Ordering::SeqCst) {
                most = most.max(program.memory_bytes());
                std::thread::park_timeout(MEMORY_LOOK);
            }
            most
        });
        let sum = |table: &str| cluster.sql(name, &format!("SELECT sum(amount) FROM {table}"));
        let copy = scope.spawn(move || looks("the copy", &|| sum("copy")));
        let board = scope.spawn(move || looks("the board", &|| sum("board")));
        let layers = scope.spawn(|| {
            looks("a layer", &|| {
                let both =
                    program.query("SELECT (SELECT SUM(amount) FROM ods), (SELECT SUM(amount) FROM dws)").concat();
                let (ods, dws) = both.split_once('|').expect("two sums");
                assert_eq!(ods, dws, "the layers agree at every moment");
                ods.to_owned()
            });
        });
        cluster.sql(name, sql);
        await_figures(name);
        drop(done);
        for look in [copy, board, layers] {
            look.join().expect("only whole transactions are seen");
        }
        memory.join().expect("the memory was looked at")
    })
}

#[test]
fn a_transaction_of_a_million_rows_is_whole_or_not_there_and_needs_bounded_memory() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "a_million");
    prepared(cluster, name);
    cluster.sql(name, "DELETE FROM orders; INSERT INTO orders VALUES (0, 'first', 0)");
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);
    let rest = program.memory_bytes();
    let insert = format!(
        "INSERT INTO orders SELECT i, 'region-' || i % 5 || repeat(' north', 20), i % 1000 FROM generate_series(1, {ROWS}) i"
    );
    // Each with the sum of amounts that there will be.
    let changes = [
        (insert.as_str(), format!("SELECT sum(i % 1000)::numeric(20, 2) FROM generate_series(1, {ROWS}) i")),
        (
            "UPDATE orders SET amount = amount + 1 WHERE id % 10 = 1",
            "SELECT sum(amount + (id % 10 = 1)::int) FROM orders".to_owned(),
        ),
        ("DELETE FROM orders WHERE id > 900000", "SELECT sum(amount) FROM orders WHERE id <= 900000".to_owned()),
    ];
    for (sql, will_be) in changes {
        let sums = ["SELECT sum(amount) FROM orders", &will_be].map(|sum| cluster.sql(name, sum));
        assert_ne!(sums[0], sums[1], "the change shows in the sum");
        let most = whole_or_nothing(program, name, sql, &sums);
        println!("{} MB, of which {} MB at rest; {} MB more are allowed", most >> 20, rest >> 20, MOST_MEMORY >> 20);
        assert!(most < rest + MOST_MEMORY, "{most} bytes in memory for {sql}");
    }
    await_sink(cluster, name);
    for (layer, truth) in LAYERS {
        // A million rows are too many to be shown.
        assert!(program.query(layer) == rows(cluster, name, truth), "{layer} gives other rows");
    }
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
