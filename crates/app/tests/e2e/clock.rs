//! The clock of a running process is set: what is accepted, kept and written goes on as if it had not been.
//!
//! Only for the program itself, by `libfaketime`, which stands between it and the machine's clock of the day; the monotonic one
//! goes on. Where that library is missing the test is left out, and says so past the test runner.

use std::io::Write;
use std::path::PathBuf;

use crate::faults::{await_sink, chain, prepared};
use crate::program::{Program, await_equal, postgres};

/// Where Debian puts the library, below the directory of the machine's kind.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

fn library() -> Option<PathBuf> {
    let kinds = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    kinds.map(|kind| kind.path().join(LIBRARY)).find(|library| library.exists())
}

#[test]
fn a_clock_that_is_set_under_a_running_process_changes_no_row_and_no_order() {
    let Some(library) = library() else {
        let left_out = "\nLEFT OUT: the clock of a running process is set, for which libfaketime is needed: apt-get install libfaketime\n";
        // Nothing is to be done about a screen that is gone.
        let _ = std::io::stderr().write_all(left_out.as_bytes());
        return;
    };
    let program = &mut Program::new();
    let offset = program.script("offset", "+0");
    program.environment = vec![
        ("LD_PRELOAD", library.into()),
        ("FAKETIME_TIMESTAMP_FILE", offset.into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("NO_FAKE_STAT", "1".into()),
    ];
    let (cluster, name) = (postgres(), "set_clock");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    let kept = "CREATE TABLE IF NOT EXISTS readings (n INT) WITH ('table.log.ttl' = '1 h');\n";
    let text = kept.to_owned() + &std::fs::read_to_string(&script).expect("the script is there");
    let script = program.script("chain.sql", &text);
    program.start(&script);
    await_sink(cluster, name);
    // `YEAR(…)` of the program, beside that of the server, whose clock nobody sets.
    let year = |program: &Program| program.query("SELECT EXTRACT(YEAR FROM CURRENT_TIMESTAMP)").concat();
    let now: i32 = cluster.sql(name, "SELECT extract(year FROM now())").parse().expect("a year");
    // Back by years, ahead by years, back again by a day, and as it was: each while everything runs.
    for (n, (set, years)) in (1..).zip([("-5y", -5), ("+5y", 5), ("-1d", 0), ("+0", 0)]) {
        program.script("offset", set);
        let is_set = || (year(program).parse::<i32>().expect("a year") - now - years).abs() <= 1;
        await_equal("the clock", is_set, || true);
        program.query(&format!("INSERT INTO readings VALUES ({n})"));
        cluster.sql(
            name,
            &format!(
                "UPDATE orders SET amount = amount + 1 WHERE id % 7 = {n}; DELETE FROM orders WHERE id = 100 * {n}; \
                 INSERT INTO orders VALUES ({n} + 5000, 'region-{set}', {n})"
            ),
        );
        await_sink(cluster, name);
        // An hour has not passed, nor the week for which a log is kept for its reader.
        assert_eq!(program.query("SELECT COUNT(*) FROM readings"), [n.to_string()], "with the clock set {set}");
        let consumers = "SELECT DISTINCT state FROM system.status.consumers WHERE state = 'LOST'";
        assert_eq!(program.query(consumers), Vec::<String>::new(), "with the clock set {set}");
        assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
        let shown = program.run(&["status"]);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    }
    // It stops while the clock is right, and starts while it is a year back.
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
    program.script("offset", "-1y");
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id = 500");
    program.start(&script);
    await_sink(cluster, name);
    assert_eq!(program.query("SELECT COUNT(*) FROM readings"), ["4"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
