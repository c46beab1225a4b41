//! Holds the corpus against a real PostgreSQL: where its SQL means the same, its rows must be the file's.
//!
//! `cargo run -p gridhouse-slt --example postgres -- [--fill] [FILE …]`, with `psql` on the path and `PGHOST`, `PGPORT`,
//! `PGUSER`, `PGDATABASE` naming a database in locale C that may be written to; `tests/slt-postgres.sh` starts one. With
//! `--fill`, queries without rows get ours, if PostgreSQL gives the same; rows of queries that PostgreSQL does not take are
//! filled in too and shown, to be judged by whoever wrote them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gridhouse_slt::House;
use gridhouse_slt::format::{Expect, File, Record, parse};
use gridhouse_slt::psql::{self, normal};
use gridhouse_slt::replay::read_row;
use gridhouse_slt::rows::{Text, shown};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fill = arguments.iter().any(|argument| argument == "--fill");
    let mut paths: Vec<PathBuf> = arguments.iter().filter(|a| !a.starts_with("--")).map(PathBuf::from).collect();
    if paths.is_empty() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let entries = std::fs::read_dir(directory).expect("the corpus is there");
        paths = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
    }
    let mut wrong = 0;
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match check(&text, fill) {
            Ok((checked, filled)) => {
                println!("{}: {checked} queries agree", path.display());
                if fill && filled != text {
                    std::fs::write(path, filled).expect("the file can be written");
                }
            }
            Err(complaints) => {
                wrong += 1;
                println!("{}:\n{complaints}", path.display());
            }
        }
    }
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Compares a file's queries; gives how many agree and the text with rows filled in.
fn check(text: &str, fill: bool) -> Result<(usize, String), String> {
    let file: File = parse(text)?;
    let portable = !file.skip.iter().any(|skip| skip == "postgres");
    let theirs = if portable { ask(&file)? } else { BTreeMap::new() };
    let mut house = House::new(1, false, 0);
    let (mut agree, mut complaints, mut filled) = (0, String::new(), BTreeMap::new());
    for (i, record) in file.records.iter().enumerate() {
        let ours = record.applies("batch", false).then(|| house.run(&record.sql));
        let Expect::Rows { rows, types, .. } = &record.expect else { continue };
        let missing = fill && rows.is_empty();
        let mine: Vec<Text> = match ours {
            Some(Ok(answer)) if missing => answer.rows.into_iter().map(|row| row.text).collect(),
            Some(Err(error)) if missing => {
                complaints += &format!("line {}: {error}\n{}\n", record.line, record.sql);
                continue;
            }
            _ => rows.iter().map(|row| read_row(row)).collect(),
        };
        match theirs.get(&i) {
            Some(Ok(rows)) => {
                let (mine, rows) = (normal(&mine, types), normal(rows, types));
                if mine != rows {
                    complaints += &format!("line {}: {}\n{}", record.line, record.sql, rows.difference(&mine));
                    continue;
                }
                agree += 1;
            }
            Some(Err(error)) => {
                complaints += &format!("line {}: PostgreSQL: {error}\n{}\n", record.line, record.sql);
                continue;
            }
            None if missing => {
                let shown: Vec<String> = mine.iter().map(shown).collect();
                println!("to be judged, line {}: {}\n{}\n", record.line, record.sql, shown.join("\n"));
            }
            None => {}
        }
        if missing {
            filled.insert(record.line, mine.iter().map(shown).collect::<Vec<_>>());
        }
    }
    if complaints.is_empty() { Ok((agree, with_rows(text, &file, &filled))) } else { Err(complaints) }
}

/// The text with rows behind the queries that begin on the given lines.
fn with_rows(text: &str, file: &File, filled: &BTreeMap<usize, Vec<String>>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut behind: BTreeMap<usize, &Vec<String>> = BTreeMap::new();
    for record in file.records.iter().filter(|record| filled.contains_key(&record.line)) {
        let mark = (record.line..lines.len()).find(|&i| lines[i] == "----").expect("a query has a mark");
        behind.insert(mark, &filled[&record.line]);
    }
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        out += line;
        out.push('\n');
        for row in behind.get(&i).into_iter().flat_map(|rows| rows.iter()) {
            out += row;
            out.push('\n');
        }
    }
    out
}

/// What PostgreSQL gives for the queries of a file, by the number of their record.
fn ask(file: &File) -> Result<BTreeMap<usize, Result<Vec<Text>, String>>, String> {
    let takes = |record: &Record| record.applies("postgres", false) && !matches!(record.expect, Expect::Error(_));
    let records: Vec<(usize, &Record)> = file.records.iter().enumerate().filter(|(_, record)| takes(record)).collect();
    let answers = psql::ask(&records.iter().map(|(_, record)| record.sql.as_str()).collect::<Vec<_>>())?;
    for ((_, record), answer) in records.iter().zip(&answers) {
        if let (Expect::Ok, Err(error)) = (&record.expect, answer) {
            return Err(format!("line {}: PostgreSQL: {error}", record.line));
        }
    }
    Ok(records.iter().map(|(i, _)| *i).zip(answers).collect())
}
