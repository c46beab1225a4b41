//! The solutions, compared with what a real Fluss and Flink made of the same contents and steps: every row of every board and
//! the rows of every layer, as `tests/reference/solutions.py` recorded them.

use std::path::PathBuf;

use gridhouse_link::testing::SUPERUSER;

use crate::program::{Program, await_equal, database, postgres};

/// The size and the seed with which `solutions.py` fills the source and makes the steps.
const SIZE: u32 = 200;
const SEED: u32 = 1;

/// Steps in one call of psql.
const STEPS_AT_ONCE: u64 = 200;

fn root() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is")).join("../..")
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a directory, in order.
fn names(path: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

/// A recorded row as psql shows it here: a value that is not there is empty.
fn row(line: &str) -> String {
    line.split('|').map(|value| if value == "NULL" { "" } else { value }).collect::<Vec<_>>().join("|")
}

/// The recorded stages of a solution: the last step before each, and its name.
fn stages(name: &str) -> Vec<(u64, String)> {
    let mut stages: Vec<(u64, String)> = names(root().join("tests/reference/solutions").join(name))
        .into_iter()
        .map(|stage| (stage.strip_prefix("step-").and_then(|step| step.parse().ok()).expect("step-N"), stage))
        .collect();
    stages.sort();
    stages
}

/// Fills in the script of a solution; its slot names get the solution's name, because the tests share a server.
fn script(program: &Program, name: &str, source: &str, sink: &str) -> PathBuf {
    let mut text = read(root().join("solutions").join(name).join("pipeline.sql")).replace("@FLUSS@", "fluss:9123");
    for (side, database) in [("SOURCE", source), ("SINK", sink)] {
        let port = postgres().port().to_string();
        let (user, password) = SUPERUSER;
        for (place, value) in
            [("HOST", "127.0.0.1"), ("PORT", &port), ("USER", user), ("PASSWORD", password), ("DATABASE", database)]
        {
            text = text.replace(&format!("@{side}_{place}@"), value);
        }
    }
    program.script("pipeline.sql", &text.replace("'slot.name' = '", "'slot.name' = 'recorded_"))
}

/// Fills the source, runs the script, makes the steps, and compares boards and layers at every recorded stage.
fn compare(name: &str) {
    let files = root().join("solutions").join(name);
    let (source, sink) =
        (format!("recorded_{}", name.replace('-', "_")), format!("recorded_{}_b", name.replace('-', "_")));
    database(&source);
    database(&sink);
    postgres().sql(&source, &read(files.join("source.sql")));
    postgres().sql(&sink, &read(files.join("sink.sql")));
    postgres().sql(&source, &format!("SELECT solution_fill({SIZE}, {SEED})"));
    let mut program = Program::new();
    let script = script(&program, name, &source, &sink);
    program.start(&script);
    let mut done = 0;
    for (step, stage) in stages(name) {
        while done < step {
            let last = step.min(done + STEPS_AT_ONCE);
            // Each step is a transaction of its own.
            let steps = format!(
                "DO $$ BEGIN FOR n IN {}..{last} LOOP PERFORM solution_step({SEED}, n); COMMIT; END LOOP; END $$",
                done + 1
            );
            postgres().sql(&source, &steps);
            done = last;
        }
        let recorded = root().join("tests/reference/solutions").join(name).join(&stage);
        for file in names(recorded.clone()) {
            let table = file.strip_suffix(".tsv").expect("recorded tables are .tsv").to_owned();
            let text = read(recorded.join(&file)).replace('\t', "|");
            if table == "layers" {
                for line in text.lines() {
                    let (layer, rows) = line.split_once('|').expect("a table and its rows");
                    let query = format!("SELECT COUNT(*) FROM {layer}");
                    await_equal(
                        &format!("{name} {stage}: {layer}"),
                        || program.query(&query),
                        || vec![rows.to_owned()],
                    );
                }
                continue;
            }
            let mut lines = text.lines();
            let columns = lines.next().expect("the names of the columns").replace('|', ", ");
            let wanted = sorted(lines.map(row));
            let query = format!("SELECT {columns} FROM {table}");
            let found = || sorted(postgres().sql(&sink, &query).lines().map(str::to_owned));
            await_equal(&format!("{name} {stage}: {table}"), found, || wanted.clone());
        }
    }
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

#[test]
fn the_first_chain_gives_the_rows_of_a_real_fluss_and_flink() {
    compare("first-chain");
}

#[test]
fn commerce_gives_the_rows_of_a_real_fluss_and_flink() {
    compare("commerce");
}

#[test]
fn customer_service_gives_the_rows_of_a_real_fluss_and_flink() {
    compare("customer-service");
}

#[test]
fn power_equipment_gives_the_rows_of_a_real_fluss_and_flink() {
    compare("power-equipment");
}

#[test]
fn every_solution_is_recorded() {
    let solutions = names(root().join("solutions"));
    let solutions: Vec<String> = solutions
        .into_iter()
        .filter(|name| root().join("solutions").join(name).join("solution.toml").exists())
        .collect();
    assert_eq!(names(root().join("tests/reference/solutions")), solutions);
}
