//! A chain whose source begins with `latest-offset`, so that contents are never read: what it has stays through every fault, what is
//! lost is said, and the remedies can be typed.

use crate::faults::{await_failure, chain, prepared};
use crate::layers::{await_said, rows, statement};
use crate::program::{Program, await_equal, postgres};

const NAME: &str = "without_contents";

/// Waits until the sink and the layers hold these rows as the source has them, and nothing more.
fn await_only(program: &Program, ids: &str) {
    let cluster = postgres();
    let truth = || rows(cluster, NAME, &format!("SELECT id, md5(region), amount FROM orders WHERE id IN ({ids})"));
    await_equal("the copy", || rows(cluster, NAME, "SELECT id, md5(region), amount FROM copy"), truth);
    assert_eq!(program.query("SELECT id, MD5(region), amount FROM ods"), truth());
    let sums = format!("SELECT md5(region), count(*), sum(amount) FROM orders WHERE id IN ({ids}) GROUP BY region");
    let board = || rows(cluster, NAME, "SELECT md5(region), n, amount FROM board");
    await_equal("the board", board, || rows(cluster, NAME, &sums));
}

#[test]
fn a_chain_that_reads_no_contents_keeps_what_it_has_and_says_what_it_lost() {
    let program = &mut Program::new();
    let cluster = postgres();
    prepared(cluster, NAME);
    cluster.sql(
        NAME,
        "ALTER TABLE orders ALTER region SET STORAGE EXTERNAL; UPDATE orders SET region = repeat('far', 3000) WHERE id <= 5",
    );
    let initial = chain(program, NAME, cluster.port(), cluster.port());
    let text = std::fs::read_to_string(initial).expect("the script is there");
    let from_now = "'scan.startup.mode' = 'latest-offset', 'heartbeat.interval.ms'";
    let script = program.script("latest.sql", &text.replace("'heartbeat.interval.ms'", from_now));
    program.start(&script);
    let states = "SELECT state FROM system.status.sources";
    await_equal("the source", || program.query(states), || vec!["RUNNING".to_owned()]);
    cluster.sql(NAME, "INSERT INTO orders VALUES (2000, 'new', 1), (2001, repeat('new', 3000), 2)");
    await_only(program, "2000, 2001");

    // An update of a row from before, which does not tell its large value.
    cluster.sql(NAME, "BEGIN; UPDATE orders SET amount = 7 WHERE id = 1; DELETE FROM orders WHERE id = 2000; COMMIT");
    let told = await_failure(program, "ods");
    let untold = "table public.orders, column region: an update does not tell its large value, which it leaves unchanged, and contents \
                  are not read; ALTER TABLE public.orders REPLICA IDENTITY FULL; then START JOB; ";
    let then = ".orders then goes on with the changes from then on: its 'scan.startup.mode' asks for no contents, so what changed until \
                then is lost for it, and its rows stay";
    assert!(told.starts_with(untold) && told.ends_with(then), "{told}");
    cluster.sql(NAME, "INSERT INTO orders VALUES (2000, 'new', 1)");
    cluster.sql(NAME, statement(&told, "ALTER TABLE "));
    let job = program.query("SELECT job_id FROM system.status.jobs WHERE state = 'FAILED'").concat();
    let from = program.log().len();
    program.query(&format!("START JOB {job}"));
    let goes_on =
        "ods goes on without the contents of its source: its rows stay, and what changed meanwhile is lost for it";
    await_said(program, from, goes_on);
    cluster.sql(NAME, "UPDATE orders SET amount = 8 WHERE id = 2");
    await_only(program, "2, 2000, 2001");

    // Stopped by hand: the same.
    program.query(&format!("STOP JOB {job}"));
    cluster.sql(NAME, "UPDATE orders SET amount = 9 WHERE id = 3");
    let from = program.log().len();
    program.query(&format!("START JOB {job}"));
    await_said(program, from, goes_on);
    cluster.sql(NAME, "UPDATE orders SET amount = 9 WHERE id = 4; DELETE FROM orders WHERE id = 2001");
    await_only(program, "2, 4, 2000");

    // What comes while the program rests is not lost, and nothing is said of it.
    // A job has failed meanwhile, which `run` saw if it looked just then.
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(NAME, "UPDATE orders SET amount = 9 WHERE id = 5; DELETE FROM orders WHERE id = 2000");
    let from = program.log().len();
    program.start(&script);
    await_only(program, "2, 4, 5");
    assert!(!program.log()[from..].contains("lost"), "{}", program.log());
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}
