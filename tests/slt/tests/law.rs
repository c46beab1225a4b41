//! Some hundreds of drawn queries under the law; `bench/law` takes ten thousand. `GRIDHOUSE_SEED` draws others.

use std::path::Path;

use gridhouse_slt::law::{QUERIES_PER_ROUND, Report, round, solutions, splitting};

/// How many rounds each of the tests takes.
const ROUNDS: u64 = 16;

/// How many histories each pipeline of a solution takes.
const PIPELINE_SEEDS: u64 = 2;

fn seed() -> u64 {
    std::env::var("GRIDHOUSE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Rounds from `first` on.
fn rounds(first: u64) {
    let mut report = Report::default();
    for seed in first..first + ROUNDS {
        report.add(round(seed, true));
    }
    let told: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{} queries break the law\n\n{}", told.len(), told.join("\n\n"));
    let drawn = ROUNDS * QUERIES_PER_ROUND;
    assert!(
        report.checked * 2 > drawn,
        "most drawn queries are taken: {} of {drawn}; {:?}",
        report.checked,
        report.rejected
    );
    assert!(report.rows > report.compared, "there are rows to compare: {report:?}");
}

#[test]
fn drawn_queries_keep_the_law() {
    rounds(seed());
}

#[test]
fn other_drawn_queries_keep_the_law() {
    rounds(seed() + ROUNDS);
}

#[test]
fn predicates_split_rows_in_three() {
    for seed in seed()..seed() + 4 * ROUNDS {
        let failures = splitting(seed);
        let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}", told.join("\n\n"));
    }
}

/// Every solution's pipeline, and the seeds that it is taken through.
#[test]
fn pipelines_of_the_solutions_keep_the_law() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pipelines = vec![root.join("tests/reference/pipeline/pipeline.sql")];
    for entry in std::fs::read_dir(root.join("solutions")).expect("there are solutions") {
        pipelines.push(entry.expect("an entry").path().join("pipeline.sql"));
    }
    pipelines.retain(|path| path.exists());
    pipelines.sort();
    assert!(pipelines.len() > 1, "solutions have a pipeline.sql");
    let mut failures = Vec::new();
    for path in &pipelines {
        let text = std::fs::read_to_string(path).expect("a readable file");
        let schema = std::fs::read_to_string(path.with_file_name("source.sql")).expect("a readable file");
        for seed in seed()..seed() + PIPELINE_SEEDS {
            match solutions::check(&text, &schema, seed) {
                Ok(compared) => assert!(compared > 0, "{}: nothing came through", path.display()),
                Err(error) => failures.push(format!(
                    "{}: {error}\nrepeat: GRIDHOUSE_SEED={seed} cargo test -p gridhouse-slt --test law pipelines",
                    path.display()
                )),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
