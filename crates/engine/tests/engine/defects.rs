//! A panic outside a statement: the process ends at once, with a message, and what it had answered is there when it is started
//! again.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use gridhouse_base::panics;

use crate::house::{House, await_rows, ok, rows};

/// Names the file in which the process that is to end says where its data directory is.
const TOLD_IN: &str = "GRIDHOUSE_TEST_TOLD_IN";

/// The signal of `abort`.
const SIGABRT: i32 = 6;

#[test]
fn a_panic_of_the_core_ends_the_process_and_loses_nothing() {
    if let Some(told_in) = std::env::var_os(TOLD_IN) {
        live_until_the_core_panics(PathBuf::from(told_in));
    }
    // This program again, as the process that ends.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let told_in = directory.path().join("told");
    let name = "defects::a_panic_of_the_core_ends_the_process_and_loses_nothing";
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", name, "--nocapture"])
        .env(TOLD_IN, &told_in)
        .output()
        .expect("this program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("thread 'core'") && said.contains("the clock is broken"), "{said}");

    let left = PathBuf::from(std::fs::read_to_string(&told_in).expect("it told where its directory is"));
    let house = House::left_in(&left);
    std::fs::remove_dir_all(&left).expect("what it left can be removed");
    let session = &mut house.session();
    assert_eq!(rows(session, "SELECT * FROM a"), ["1|x", "2|y", "3|x"]);
    await_rows(session, "SELECT * FROM sums", &["x|2", "y|1"]);
    ok(session, "INSERT INTO a VALUES (4, 'y')");
    await_rows(session, "SELECT * FROM sums", &["x|2", "y|2"]);
}

fn live_until_the_core_panics(told_in: PathBuf) -> ! {
    panics::end_the_process();
    let house = House::new();
    std::fs::write(told_in, house.dir.path().to_string_lossy().as_bytes()).expect("the file can be written");
    let session = &mut house.session();
    ok(
        session,
        "CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE sums (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         INSERT INTO sums SELECT v, COUNT(*) FROM a GROUP BY v;
         INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'x')",
    );
    house.break_clock();
    let answered = ok(session, "INSERT INTO a VALUES (9, 'z')");
    panic!("the core goes on without a clock: {answered}");
}
