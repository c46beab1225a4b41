//! The whole chain crashed by the thousand: `cargo run -p gridhouse-sim-chain --example chain -- [--chain SEEDS]
//! [--chain-points SEEDS] [--chain-copies SEEDS] [--chain-owners SEEDS] [--chain-flips SEEDS] [--from SEED]`.
//!
//! With `--seed`, one run is repeated and each of its steps told. Ends with status 1 where anything failed.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gridhouse_sim::Cut;
use gridhouse_sim_chain::runs::{Kind, Run, every_point};
use gridhouse_sim_chain::tally::Tally;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = |name: &str| arguments.iter().position(|argument| argument == name);
    let number = |name: &str| {
        let text = arguments.get(at(name)? + 1).map(String::as_str).unwrap_or_default();
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")))
    };
    if let Some(seed) = number("--seed") {
        let cut = match at("--cut").and_then(|i| arguments.get(i + 1)).map(String::as_str) {
            Some("before") => Cut::Before,
            Some("after") => Cut::After,
            _ => Cut::Within,
        };
        let plain = Kind::PLAIN.iter().find(|(words, _)| at(words).is_some()).map_or(Kind::Lives, |(_, kind)| *kind);
        let kind = number("--chain-point").map_or(plain, |at| Kind::Point { at, cut });
        return status(u64::from(Run { seed, kind }.make(true).is_none()));
    }
    let from = number("--from").unwrap_or(0);
    let seeds = |name| from..from + number(name).unwrap_or(0);
    let mut failures = 0;
    for seed in seeds("--chain-points") {
        failures += make_all(&format!("every crash point of the chain of seed {seed}"), &every_point(seed));
    }
    for (words, kind) in Kind::PLAIN {
        let runs: Vec<Run> = seeds(words).map(|seed| Run { seed, kind }).collect();
        for some in runs.chunks(1000) {
            failures += make_all(&format!("{} from seed {}", &words[2..], some[0].seed), some);
        }
    }
    status(failures)
}

fn status(failures: u64) -> ExitCode {
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the runs on all cores, and returns how many failed.
fn make_all(what: &str, runs: &[Run]) -> u64 {
    let (next, failures, all) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Tally::default()));
    let work = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            match run.make(false) {
                Some(tally) => *all.lock().expect("nobody panics here") += tally,
                None => drop(failures.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (failures, all) = (failures.into_inner(), all.into_inner().expect("nobody panics here"));
    println!("{what}: {} runs, {failures} failures; {all}", runs.len());
    failures
}
