//! The corpus in every way. `GRIDHOUSE_SLT=joins` replays files with that in their name only, `GRIDHOUSE_SEED` draws otherwise.

use std::path::{Path, PathBuf};

use gridhouse_slt::format::{File, parse};
use gridhouse_slt::replay::{BATCH, Seen, as_jobs, at_once};
use gridhouse_slt::ways::WAYS;

fn corpus() -> Vec<(String, File)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let wanted = std::env::var("GRIDHOUSE_SLT").unwrap_or_default();
    let entries = std::fs::read_dir(&directory).expect("the corpus is beside the tests");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "slt")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name.contains(&wanted) {
            let text = std::fs::read_to_string(path).expect("a readable file");
            files.push((name.clone(), parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
    }
    assert!(!files.is_empty(), "the corpus has a file with `{wanted}` in its name");
    files
}

fn seen(name: &str, file: &File) -> Seen {
    at_once(file).unwrap_or_else(|error| panic!("{name}.slt, at once:\n{error}"))
}

fn replay(way: &str) {
    let way = *WAYS.iter().find(|known| known.name == way).expect("a known way");
    let seed = std::env::var("GRIDHOUSE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut failures = Vec::new();
    for (name, file) in corpus().iter().filter(|(_, file)| !left_out(file, way.name, true)) {
        match as_jobs(file, &seen(name, file), way, seed) {
            Ok(compared) => assert!(compared > 0, "{name}.slt has queries that become jobs"),
            Err(error) => failures.push(format!(
                "{name}.slt, {}: {error}\nrepeat: GRIDHOUSE_SLT={name} GRIDHOUSE_SEED={seed} cargo test -p gridhouse-slt --test corpus {}",
                way.name,
                way.name.replace('-', "_")
            )),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn left_out(file: &File, way: &str, streaming: bool) -> bool {
    file.skip.iter().any(|skip| skip == way || (streaming && skip == "streaming"))
}

#[test]
fn at_once_gives_the_rows_of_the_file() {
    let mut failures = Vec::new();
    for (name, file) in corpus().iter().filter(|(_, file)| !left_out(file, BATCH, false)) {
        if let Err(error) = at_once(file) {
            failures.push(format!("{name}.slt:\n{error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

macro_rules! ways {
    ($($test:ident: $way:literal,)*) => { $(#[test] fn $test() { replay($way); })* };
}

ways! {
    whole: "whole",
    rows: "rows",
    ticks: "ticks",
    detours: "detours",
    restart: "restart",
    kill: "kill",
    hash: "hash",
    hash_rows: "hash-rows",
    rounds: "rounds",
    round_rows: "round-rows",
}

#[test]
fn every_way_has_a_test() {
    let source = include_str!("corpus.rs");
    for way in WAYS {
        assert!(source.contains(&format!(": \"{}\",", way.name)), "{} has no test", way.name);
    }
}
