//! The sink alone is out of reach, or comes back from a back-up, under running jobs: each row is written once, and what is lacking
//! again.

use std::path::Path;

use gridhouse_link::testing::{Cluster, Proxy};

use crate::faults::{chain, prepared};
use crate::layers::{SINKS, await_layers, await_said, each_once, note_writes, writes};
use crate::program::{Program, await_equal, postgres};

/// Has the sinks of a script give their server up after two seconds of silence.
fn impatient(script: &Path, name: &str) {
    let text = std::fs::read_to_string(script).expect("the script is there");
    let short = text.replace(&format!("/{name}', "), &format!("/{name}?socketTimeout=2', "));
    assert_ne!(short, text);
    std::fs::write(script, short).expect("the script can be written");
}

/// Rows of `copy` that [`change`] has touched.
fn changed(id: u32) -> [u32; 3] {
    [id, id + 1, id + 500]
}

/// Changes a row, deletes another and moves a third to another region.
fn change(source: &Cluster, name: &str, id: u32) {
    let [grown, gone, moved] = changed(id);
    source.sql(
        name,
        &format!(
            "BEGIN; UPDATE orders SET amount = amount + 1 WHERE id = {grown}; DELETE FROM orders WHERE id = {gone}; \
             UPDATE orders SET region = 'region-moved' WHERE id = {moved}; COMMIT"
        ),
    );
}

/// Waits until both sinks wait and say `words`, and the layers go on all the same.
fn await_wait(program: &Program, source: &Cluster, name: &str, words: &str) {
    let told = "SELECT state || '|' || error FROM system.status.sinks";
    let waits = |line: &String| line.starts_with("WAITING|") && line.contains(words);
    await_equal(words, || program.query(told).iter().filter(|line| waits(line)).count(), || 2);
    let ods = "SELECT count(*), sum(amount) FROM ods";
    await_equal("the ODS", || program.query(ods), || vec![source.sql(name, &ods.replace("ods", "orders"))]);
}

/// Waits until nothing is lacking, and checks that the rows of `copy` that changed were written once.
fn settle(program: &Program, source: &Cluster, sink: &Cluster, name: &str, ids: &[u32]) {
    await_layers(program, source, sink, name);
    let states = "SELECT DISTINCT state FROM system.status.sinks";
    await_equal("the end of the wait", || program.query(states), || vec!["RUNNING".to_owned()]);
    let mut written = writes(sink, name);
    written.retain(|what, _| what.starts_with("copy"));
    assert_eq!(written, each_once(ids.iter().copied().flat_map(changed), &[]));
}

#[test]
fn a_sink_whose_network_is_frozen_cut_or_forgotten_gets_each_row_once() {
    let (source, sink, name) = (postgres(), &Cluster::start(&[]), "sink_network");
    prepared(source, name);
    prepared(sink, name);
    let way = Proxy::start(sink.port());
    let program = &mut Program::new();
    let script = chain(program, name, source.port(), way.port());
    impatient(&script, name);
    program.start(&script);
    await_layers(program, source, sink, name);
    note_writes(sink, name, &SINKS);
    let address = format!("postgresql at 127.0.0.1:{} ", way.port());

    // Nothing passes, and nobody is told that it does not.
    way.freeze(true);
    change(source, name, 10);
    await_wait(program, source, name, &address);
    change(source, name, 20);
    way.freeze(false);
    settle(program, source, sink, name, &[10, 20]);

    // Something between has forgotten the connections: the server sees them end, and nothing comes from it any more.
    let from = program.log().len();
    way.forget();
    change(source, name, 30);
    settle(program, source, sink, name, &[30]);
    let told = await_said(program, from, "is cut: the server knows nothing of what is waited for");
    assert!(told.contains(&address), "{told}");

    // Cut, and refused from then on.
    way.lead_to(1);
    change(source, name, 40);
    await_wait(program, source, name, "does not answer: ");
    change(source, name, 50);
    way.lead_to(sink.port());
    settle(program, source, sink, name, &[40, 50]);
    let log = program.log();
    assert!(!log.contains("claimed anew") && !log.contains("written again"), "{log}");
    assert_eq!(program.interrupt(), Some(0), "{log}");
}

#[test]
fn a_sink_that_comes_back_from_a_back_up_under_running_jobs_gets_what_it_lacks() {
    let (source, sink, name) = (postgres(), &Cluster::start(&[]), "sink_back_up");
    prepared(source, name);
    prepared(sink, name);
    let program = &mut Program::new();
    let script = chain(program, name, source.port(), sink.port());
    program.start(&script);
    await_layers(program, source, sink, name);
    note_writes(sink, name, &SINKS);
    sink.down("fast");
    sink.back_up();
    sink.up();
    change(source, name, 10);
    settle(program, source, sink, name, &[10]);

    // Nothing changes meanwhile, so that nothing is to be written: it is noticed by looking.
    let from = program.log().len();
    sink.kill();
    sink.restore();
    sink.up();
    settle(program, source, sink, name, &[10]);
    let told = await_said(program, from, "it was restored from a back-up, failed over, or was emptied");
    assert!(told.contains("what it lacks is written again"), "{told}");
    change(source, name, 20);
    settle(program, source, sink, name, &[20]);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
