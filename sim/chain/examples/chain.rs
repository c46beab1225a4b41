//! The whole chain crashed by the thousand: `cargo run -p gridhouse-sim-chain --example chain -- [--chain SEEDS]
//! [--chain-points SEEDS] [--chain-copies SEEDS] [--chain-owners SEEDS] [--chain-flips SEEDS] [--from SEED]`.
//!
//! With `--seed`, one run is repeated and each of its steps told. Ends with status 1 where anything failed.

use std::process::ExitCode;
use std::sync::Mutex;

use gridhouse_sim::by_thousands::{Arguments, failures, status};
use gridhouse_sim_chain::runs::{Kind, Run, every_point};
use gridhouse_sim_chain::tally::Tally;

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    if let Some(seed) = arguments.number("--seed") {
        let point = arguments.number("--chain-point").map(|at| Kind::Point { at, cut: arguments.cut() });
        let fault = arguments.number("--chain-fault").map(|at| Kind::Fault { at });
        let kind = point.or(fault).or(arguments.kind(&Kind::PLAIN)).unwrap_or(Kind::Lives);
        return status(u64::from(Run { seed, kind }.make(true).is_none()));
    }
    let mut failed = 0;
    for seed in arguments.seeds("--chain-points") {
        failed += every_point(seed)
            .map_or(1, |runs| make_all(&format!("every crash point of the chain of seed {seed}"), &runs));
    }
    status(failed + arguments.make_kinds(&Kind::PLAIN, |seed, kind| Run { seed, kind }, make_all))
}

/// Makes the runs, and returns how many failed.
fn make_all(what: &str, runs: &[Run]) -> u64 {
    let all = Mutex::new(Tally::default());
    let failed = failures(runs, |run| match run.make(false) {
        Some(tally) => {
            *all.lock().expect("nobody panics here") += tally;
            true
        }
        None => false,
    });
    println!("{what}: {} runs, {failed} failures; {}", runs.len(), all.into_inner().expect("nobody panics here"));
    failed
}
