//! No SQL text panics: the statements of the whole repository with parts cut out, doubled, swapped and strewn with odd words,
//! and soups of such words, read and bound, and run in an engine with tables.
//!
//! A panic prints the text. `GRIDHOUSE_SEED` draws others, `GRIDHOUSE_FUZZ` sets how many times as many texts.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use gridhouse_base::random::Random;
use gridhouse_slt::House;
use gridhouse_slt::format::parse;
use gridhouse_slt::generate;
use gridhouse_sql::{is_complete, parse_script, redact};

/// Texts that are read only.
const READ: u64 = 40_000;
/// Texts that are run.
const RUN: u64 = 4_000;
/// An engine is used for so many of them: what one of them drops, the others miss.
const PER_HOUSE: u64 = 60;
/// Longer statements are cut, so that a mutation is felt.
const MAX_WORDS: usize = 400;

const ODD: &[&str] = &[
    "NULL",
    "NOT",
    "SELECT",
    "FROM",
    "(SELECT",
    "JOIN",
    "LEFT",
    "ON",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "IN",
    "EXISTS",
    "CASE",
    "WHEN",
    "END",
    "OVER (PARTITION BY a ORDER BY b)",
    "ROW_NUMBER()",
    "INTERVAL '1' DAY",
    "INTERVAL '9999999999' YEAR",
    "X'0'",
    "ARRAY[1, 2]",
    "MAP['a', 1]",
    "ROW(1, 'x')",
    "ARRAY[",
    "[1]",
    ".f",
    "CAST(",
    "AS",
    "INT",
    "DECIMAL(38, 38)",
    "DECIMAL(99, 1)",
    "TIMESTAMP '9999-12-31 23:59:59.999'",
    "TIMESTAMP '0000-00-00 00:00:00'",
    "DATE '2026-02-30'",
    "1e999",
    "-9223372036854775808",
    "99999999999999999999999999999999999999999",
    "0.00000000000000000000000000000000000000001",
    "''",
    "'",
    "`",
    "\"",
    "/*",
    "*/",
    "/*+ OPTIONS('a'='b') */",
    "--",
    ";",
    ",",
    "..",
    "中文",
    "，",
    "；",
    "\u{0}",
    "\u{feff}",
    "😀",
    "\n",
    "::",
    "=>",
    "||",
    "<>",
    "!=",
    "<=>",
    "%",
    "$1",
    "@x",
    "#",
    "{",
    "}",
    "*",
    "COUNT(DISTINCT",
    "FILTER (WHERE",
    "UNION ALL",
    "INTERSECT ALL",
    "EXCEPT",
    "WITH",
    "VALUES",
    "UNNEST(",
    "LATERAL",
    "CROSS JOIN",
    "FOR SYSTEM_TIME AS OF PROCTIME()",
    "BETWEEN",
    "LIKE '%' ESCAPE ''",
    "SIMILAR TO '('",
    "REGEXP_REPLACE('a', '(', '')",
    "TUMBLE(",
    "MATCH_RECOGNIZE (",
    "WATERMARK FOR ts AS ts",
    "PRIMARY KEY (",
    "EXTRACT(EPOCH FROM",
    "TIMESTAMPADD(",
    "SUBSTRING('a' FROM -1 FOR 0)",
    "OVERLAY('a' PLACING 'b' FROM 99)",
    "POSITION('' IN '')",
    "REPEAT('ab', 1000)",
    "LPAD('a', 5000, '北')",
];

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Every statement of the repository: corpus, solutions, reference, recorded errors, code in the documents.
fn statements() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for directory in ["tests", "solutions", "docs", "crates/sql/tests", "crates/expr/tests", "crates/engine/tests"] {
        gather(&root.join(directory), &mut files);
    }
    files.sort();
    let mut found = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("slt") => {
                found.extend(parse(&text).expect("a corpus file").records.into_iter().map(|record| record.sql))
            }
            Some("sql") => found.extend(text.split(";\n").map(str::to_owned)),
            Some("md") => {
                found.extend(text.split("```").skip(1).step_by(2).map(|code| code.trim_start_matches("sql").to_owned()))
            }
            Some("txt") => {
                found.extend(text.split("\n\n").filter_map(|case| case.split("\n----").next()).map(str::to_owned))
            }
            _ => {}
        }
    }
    let found: Vec<String> = found.into_iter().filter(|text| !text.trim().is_empty()).collect();
    assert!(found.len() > 300, "the repository is full of SQL: {}", found.len());
    found
}

fn gather(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            gather(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// A text that is a little wrong, or very.
fn mutated(statements: &[String], random: &mut Random) -> String {
    if random.chance(0.1) {
        let words = 1 + random.below(40);
        return (0..words).map(|_| *random.pick(ODD)).collect::<Vec<_>>().join(" ");
    }
    let text = random.pick(statements);
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', '(', ')', ',', '.', '\'']).take(MAX_WORDS).collect();
    let other = random.pick(statements);
    let others: Vec<&str> = other.split_inclusive([' ', '\n', '(', ')', ',', '.', '\'']).take(MAX_WORDS).collect();
    for _ in 0..=random.below(5) {
        if words.is_empty() {
            break;
        }
        let at = random.below(words.len() as u64) as usize;
        match random.below(8) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at]),
            2 => {
                let with = random.below(words.len() as u64) as usize;
                words.swap(at, with);
            }
            3 => words.truncate(at + 1),
            4 => {
                // A piece of another statement in the place of a piece of this one.
                let from = random.below(others.len() as u64) as usize;
                let piece = &others[from..(from + 1 + random.below(8) as usize).min(others.len())];
                let end = (at + random.below(4) as usize).min(words.len());
                drop(words.splice(at..end, piece.iter().copied()));
            }
            5 => words[at] = *random.pick(ODD),
            _ => {
                words.insert(at, " ");
                words.insert(at, *random.pick(ODD));
            }
        }
    }
    let mut text: String = words.concat();
    if random.chance(0.05) {
        // Cut anywhere, also inside a word or a quoted text.
        let at = random.below(text.chars().count().max(1) as u64) as usize;
        text = text.chars().take(at).collect();
    }
    text
}

/// Runs `body`; a panic names the text.
fn told<T>(text: &str, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| panic!("this text panics:\n{text}\n"))
}

#[test]
fn no_text_panics_when_it_is_read() {
    let statements = statements();
    let mut random = Random::new(setting("GRIDHOUSE_SEED", 1));
    let mut read = 0;
    for _ in 0..READ * setting("GRIDHOUSE_FUZZ", 1) {
        let text = mutated(&statements, &mut random);
        told(&text, || {
            let _ = (is_complete(&text), redact(&text));
            for parsed in parse_script(&text) {
                match parsed {
                    Ok(parsed) => {
                        assert_eq!(text[parsed.range.clone()], parsed.text);
                        read += 1;
                    }
                    Err(error) => assert!(error.position().is_some(), "{error} has no position"),
                }
            }
        });
    }
    assert!(read > READ / 50, "mutations leave statements that can be read: {read}");
}

#[test]
fn no_text_stops_the_engine() {
    let statements = statements();
    let mut random = Random::new(setting("GRIDHOUSE_SEED", 1));
    let (mut house, mut done) = (House::new(1, false, 0), 0);
    for i in 0..RUN * setting("GRIDHOUSE_FUZZ", 1) {
        if i % PER_HOUSE == 0 {
            house = furnished();
        }
        let text = mutated(&statements, &mut random);
        let answer = told(&text, || house.run(&text));
        let error = answer.err().unwrap_or_default();
        done += u64::from(error.is_empty());
        for blame in ["internal", "the engine has stopped", "the engine stopped"] {
            assert!(
                !error.starts_with(blame) && !error.contains("engine has stopped"),
                "{error}\nis the answer to:\n{text}"
            );
        }
    }
    assert!(done > RUN / 100, "some of them still work: {done}");
}

fn furnished() -> House {
    let mut house = House::new(1, false, 0);
    house.run(generate::TABLES).expect("tables");
    house
        .run(
            "INSERT INTO t VALUES (1, 1, 2, 'a', 1.50, 0.5, TRUE, TIMESTAMP '2026-01-01 00:00:00', DATE '2026-01-01');
             INSERT INTO v VALUES (1, 1, 'a', TIMESTAMP '2026-01-01 00:00:00', 2), (2, NULL, NULL, NULL, NULL);
             INSERT INTO l VALUES (1, 'a', 5);",
        )
        .expect("rows");
    house
}
