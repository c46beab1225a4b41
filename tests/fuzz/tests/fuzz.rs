//! Some thousand cases for every decoder; `bench/fuzz` has millions.

use gridhouse_fuzz::run::Run;
use gridhouse_fuzz::{KINDS, kind};
use gridhouse_sim::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting;

fn some(name: &str) {
    let kind = kind(name).expect("there is such a decoder");
    let run = Run { kind, seed: 1, from: 0, cases: kind.few };
    let tally = run.make(|_| ());
    assert_eq!(tally.failed, 0, "{run}");
    let least = kind.few / 50;
    assert!(tally.taken > least && tally.refused > least, "the inputs are right and wrong: {tally:?}");
}

#[test]
fn server() {
    some("server");
}

#[test]
fn pgoutput() {
    some("pgoutput");
}

#[test]
fn values() {
    some("values");
}

#[test]
fn copy() {
    some("copy");
}

#[test]
fn files() {
    some("files");
}

#[test]
fn sql() {
    some("sql");
}

#[test]
fn statements() {
    some("statements");
}

#[test]
fn lookups() {
    some("lookups");
}

#[test]
fn socket() {
    some("socket");
}

#[test]
fn client() {
    some("client");
}

#[test]
fn every_decoder_is_named_here() {
    let own = include_str!("fuzz.rs");
    for kind in KINDS {
        assert!(own.contains(&format!("some(\"{}\")", kind.name)), "{} has a test", kind.name);
    }
}

#[test]
fn options() {
    some("options");
}
