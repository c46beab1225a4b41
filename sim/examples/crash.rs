//! Crashes by the thousand: `cargo run -p gridhouse-sim --example crash -- [--points SEEDS] [--lives SEEDS]
//! [--flips SEEDS] [--wide SEEDS] [--hostile SEEDS] [--from SEED]`.
//!
//! With `--seed`, one run is repeated and each of its steps told. Ends with status 1 where anything failed.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use gridhouse_sim::Cut;
use gridhouse_sim::memory::Counting;
use gridhouse_sim::runs::{Kind, Run, every_point};

#[global_allocator]
static MEMORY: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = |name: &str| arguments.iter().position(|argument| argument == name);
    let number = |name: &str| {
        let text = arguments.get(at(name)? + 1).map(String::as_str).unwrap_or_default();
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")))
    };
    if let Some(seed) = number("--seed") {
        let cut = at("--cut").and_then(|i| arguments.get(i + 1)).map(String::as_str);
        let cut = match cut {
            Some("before") => Cut::Before,
            Some("after") => Cut::After,
            _ => Cut::Within,
        };
        let kind = match number("--point") {
            Some(at) => Kind::Point { at, cut },
            None if at("--flips").is_some() => Kind::Flips,
            None if at("--wide").is_some() => Kind::Wide,
            None if at("--hostile").is_some() => Kind::Hostile,
            None => Kind::Lives,
        };
        return status(u64::from(!Run { seed, kind }.make(true)));
    }
    let from = number("--from").unwrap_or(0);
    let seeds = |name| from..from + number(name).unwrap_or(0);
    let mut failures = 0;
    for seed in seeds("--points") {
        failures += make_all(&format!("every crash point of seed {seed}"), &every_point(seed));
    }
    let kinds =
        [("--lives", Kind::Lives), ("--flips", Kind::Flips), ("--wide", Kind::Wide), ("--hostile", Kind::Hostile)];
    for (name, kind) in kinds {
        let runs: Vec<Run> = seeds(name).map(|seed| Run { seed, kind }).collect();
        for some in runs.chunks(1000) {
            failures += make_all(&format!("{} from seed {}", &name[2..], some[0].seed), some);
        }
    }
    status(failures)
}

fn status(failures: u64) -> ExitCode {
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the runs on all cores, and returns how many failed.
fn make_all(what: &str, runs: &[Run]) -> u64 {
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if !run.make(false) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner();
    println!("{what}: {} runs, {failures} failures", runs.len());
    failures
}
