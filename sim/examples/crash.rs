//! Crashes by the thousand: `cargo run -p gridhouse-sim --example crash -- [--points SEEDS] [--lives SEEDS]
//! [--flips SEEDS] [--wide SEEDS] [--hostile SEEDS] [--from SEED]`.
//!
//! With `--seed`, one run is repeated and each of its steps told. Ends with status 1 where anything failed.

use std::process::ExitCode;

use gridhouse_sim::by_thousands::{Arguments, failures};
use gridhouse_sim::memory::Counting;
use gridhouse_sim::runs::{Kind, Run, every_point};

#[global_allocator]
static MEMORY: Counting = Counting;

const KINDS: [(&str, Kind); 4] =
    [("--lives", Kind::Lives), ("--flips", Kind::Flips), ("--wide", Kind::Wide), ("--hostile", Kind::Hostile)];

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    if let Some(seed) = arguments.number("--seed") {
        let plain = KINDS.iter().find(|(words, _)| arguments.has(words)).map_or(Kind::Lives, |(_, kind)| *kind);
        let kind = arguments.number("--point").map_or(plain, |at| Kind::Point { at, cut: arguments.cut() });
        return status(u64::from(!Run { seed, kind }.make(true)));
    }
    let mut failed = 0;
    for seed in arguments.portions("--points").concat() {
        failed += make_all(&format!("every crash point of seed {seed}"), &every_point(seed));
    }
    for (words, kind) in KINDS {
        for seeds in arguments.portions(words) {
            let runs: Vec<Run> = seeds.iter().map(|&seed| Run { seed, kind }).collect();
            failed += make_all(&format!("{} from seed {}", &words[2..], seeds[0]), &runs);
        }
    }
    status(failed)
}

fn status(failed: u64) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the runs, and returns how many failed.
fn make_all(what: &str, runs: &[Run]) -> u64 {
    let failed = failures(runs, |run| run.make(false));
    println!("{what}: {} runs, {failed} failures", runs.len());
    failed
}
