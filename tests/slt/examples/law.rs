//! Many drawn queries against the law: `cargo run -p gridhouse-slt --example law -- [--queries N] [--rounds N] [--seed N]
//! [--postgres]`; `bench/law` builds it for speed.
//!
//! With `--postgres`, the rows of each query at the end of its history are also held against a real PostgreSQL (see
//! [`gridhouse_slt::psql`]). Ends with status 1 where anything failed.

use std::process::ExitCode;

use gridhouse_slt::law::{QUERIES_PER_ROUND, Report, differing, round, splitting};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        let text = arguments.get(at + 1).unwrap_or_else(|| panic!("{name} takes a number"));
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} takes a number, not {text}")))
    };
    let seed = number("--seed").unwrap_or(1);
    let rounds = number("--rounds").or(number("--queries").map(|n| n.div_ceil(QUERIES_PER_ROUND))).unwrap_or(20);
    let postgres = arguments.iter().any(|argument| argument == "--postgres");
    let mut report = Report::default();
    for round_seed in seed..seed + rounds {
        let mut next = round(round_seed, true);
        next.failures.extend(splitting(round_seed));
        if postgres {
            next.failures.extend(differing(round_seed));
        }
        for failure in &next.failures {
            println!("\nround {round_seed}\n{failure}");
        }
        report.add(next);
    }
    println!(
        "\n{} queries in {rounds} rounds from seed {seed}, {} comparisons of {} rows, {} failures",
        report.checked,
        report.compared,
        report.rows,
        report.failures.len()
    );
    let mut rejected: Vec<_> = report.rejected.iter().collect();
    rejected.sort_by_key(|(_, times)| std::cmp::Reverse(times.0));
    println!("{} were not taken:", report.rejections());
    for (why, (times, sample)) in rejected.iter().take(30) {
        println!("{times:6} {why}\n       {sample}");
    }
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
