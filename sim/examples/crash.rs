//! Crashes by the thousand: `cargo run -p gridhouse-sim --example crash -- [--points SEEDS] [--lives SEEDS]
//! [--flips SEEDS] [--wide SEEDS] [--hostile SEEDS] [--from SEED]`.
//!
//! With `--seed`, one run is repeated and each of its steps told. Ends with status 1 where anything failed.

use std::process::ExitCode;

use gridhouse_sim::by_thousands::{Arguments, failures, status};
use gridhouse_sim::memory::Counting;
use gridhouse_sim::runs::{Kind, Run, every_point};

#[global_allocator]
static MEMORY: Counting = Counting;

const KINDS: [(&str, Kind); 4] =
    [("--lives", Kind::Lives), ("--flips", Kind::Flips), ("--wide", Kind::Wide), ("--hostile", Kind::Hostile)];

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    if let Some(seed) = arguments.number("--seed") {
        let plain = arguments.kind(&KINDS).unwrap_or(Kind::Lives);
        let kind = arguments.number("--point").map_or(plain, |at| Kind::Point { at, cut: arguments.cut() });
        return status(u64::from(!Run { seed, kind }.make(true)));
    }
    let mut failed = 0;
    for seed in arguments.seeds("--points") {
        failed += every_point(seed).map_or(1, |runs| make_all(&format!("every crash point of seed {seed}"), &runs));
    }
    status(failed + arguments.make_kinds(&KINDS, |seed, kind| Run { seed, kind }, make_all))
}

/// Makes the runs, and returns how many failed.
fn make_all(what: &str, runs: &[Run]) -> u64 {
    let failed = failures(runs, |run| run.make(false));
    println!("{what}: {} runs, {failed} failures", runs.len());
    failed
}
