//! Holds the corpus against a real PostgreSQL: where its SQL means the same, its rows must be the file's.
//!
//! `cargo run -p gridhouse-slt --example postgres -- [--fill] [FILE …]`, with `psql` on the path and `PGHOST`, `PGPORT`,
//! `PGUSER`, `PGDATABASE` naming a database in locale C that may be written to; `tests/slt-postgres.sh` starts one. With
//! `--fill`, queries without rows get ours, if PostgreSQL gives the same; rows of queries that PostgreSQL does not take are
//! filled in too and shown, to be judged by whoever wrote them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use gridhouse_slt::House;
use gridhouse_slt::format::{Expect, File, Record, parse};
use gridhouse_slt::replay::read_row;
use gridhouse_slt::rows::{Bag, Text, shown};

/// What separates the answers in psql's output.
const MARK: &str = "@@ record";
/// What begins the message of a statement that failed.
const FAILED: &str = "@@ error";
/// The schema that is made for each file, and dropped.
const SCHEMA: &str = "gridhouse_slt";

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
    let mut house = House::new(1, false);
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

/// Rows in a form in which PostgreSQL's text and ours are the same.
fn normal(rows: &[Text], types: &str) -> Bag {
    let value = |(value, letter): (&Option<String>, char)| {
        let text = value.as_deref()?;
        Some(match letter {
            'B' if text.eq_ignore_ascii_case("t") || text.eq_ignore_ascii_case("true") => "TRUE".to_owned(),
            'B' => "FALSE".to_owned(),
            'R' => text.parse::<f64>().map_or(text.to_owned(), |number| format!("{number:?}")),
            'T' if is_moment(text) => text.split('.').next().unwrap_or(text).to_owned() + fraction(text),
            _ => text.to_owned(),
        })
    };
    Bag::of(rows.iter().map(|row| row.iter().zip(types.chars()).map(value).collect()))
}

/// Whether a text looks like a time or timestamp with a fraction.
fn is_moment(text: &str) -> bool {
    text.rsplit_once('.')
        .is_some_and(|(head, tail)| head.contains(':') && tail.chars().all(|c| c.is_ascii_digit()) && !tail.is_empty())
}

/// The fraction of a moment without zeros at its end.
fn fraction(text: &str) -> &str {
    let at = text.rfind('.').unwrap_or(text.len());
    text[at..].trim_end_matches('0').trim_end_matches('.')
}

/// What PostgreSQL gives for the queries of a file, by the number of their record.
fn ask(file: &File) -> Result<BTreeMap<usize, Result<Vec<Text>, String>>, String> {
    let takes = |record: &Record| record.applies("postgres", false) && !matches!(record.expect, Expect::Error(_));
    let mut script = format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; SET search_path = {SCHEMA}; SET timezone = 'UTC';\n"
    );
    for (i, record) in file.records.iter().enumerate().filter(|(_, record)| takes(record)) {
        let sql = translated(&record.sql);
        script += &format!("\\echo {MARK} {i}\n{sql}\n;\n\\if :ERROR\n\\echo {FAILED} :LAST_ERROR_MESSAGE\n\\endif\n");
    }
    script += &format!("\\echo {MARK} end\nDROP SCHEMA {SCHEMA} CASCADE;\n");
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-F", "\t", "-P", "null=NULL"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("psql: {error}"))?;
    let mut stdin = child.stdin.take().expect("the pipe was asked for");
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("psql: {error}"))?;
    writer.join().expect("writing does not panic").map_err(|error| format!("psql: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.contains(&format!("{MARK} end")) {
        return Err("psql ended early: is there a PostgreSQL, and PGHOST, PGPORT, PGUSER, PGDATABASE set?".into());
    }
    let mut answers = BTreeMap::new();
    let mut at = None;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix(MARK) {
            at = number.trim().parse::<usize>().ok();
            if let Some(at) = at {
                answers.insert(at, Ok(Vec::new()));
            }
        } else if let Some(error) = line.strip_prefix(FAILED) {
            answers.extend(at.map(|at| (at, Err(error.trim().to_owned()))));
        } else if let Some(Ok(rows)) = at.and_then(|at| answers.get_mut(&at)) {
            let value = |value: &str| (value != "NULL").then(|| value.to_owned());
            rows.push(line.split('\t').map(value).collect());
        }
    }
    let failed = answers.iter().find_map(|(i, answer)| match answer {
        Err(error) if matches!(file.records[*i].expect, Expect::Ok) => Some((file.records[*i].line, error.clone())),
        _ => None,
    });
    match failed {
        Some((line, error)) => Err(format!("line {line}: PostgreSQL: {error}")),
        None => Ok(answers),
    }
}

/// The statement in PostgreSQL's words.
fn translated(sql: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("STRING", "TEXT"),
        ("DOUBLE", "DOUBLE PRECISION"),
        ("BYTES", "BYTEA"),
        ("TINYINT", "SMALLINT"),
        ("TIMESTAMP_LTZ", "TIMESTAMPTZ"),
        ("ENFORCED", ""),
        ("MINUS", "EXCEPT"),
        ("CHAR_LENGTH", "LENGTH"),
    ];
    let mut out = String::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in sql.chars().chain(['\n']) {
        if !quoted && (c.is_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        let other = WORDS.iter().find(|(ours, _)| word.eq_ignore_ascii_case(ours)).map(|(_, theirs)| *theirs);
        out += other.unwrap_or(&word);
        word.clear();
        quoted ^= c == '\'';
        out.push(if c == '`' && !quoted { '"' } else { c });
    }
    out.replace("NOT \n", "\n").replace("NOT ,", ",").replace("NOT )", ")")
}
