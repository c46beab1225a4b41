//! The same statements put to a real PostgreSQL, through `psql` and whatever `PGHOST`, `PGPORT`, `PGUSER` and `PGDATABASE` say.
//!
//! A list of statements is translated where the dialects differ in words only, run in a schema of its own, and answered one by
//! one. The database must be in locale C, so that texts have the order that they have here.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::rows::{Bag, Text};

/// What separates the answers in psql's output.
const MARK: &str = "@@ record";
/// What begins the message of a statement that failed.
const FAILED: &str = "@@ error";
/// The schema that is made for a list of statements, and dropped.
const SCHEMA: &str = "gridhouse_slt";

/// What PostgreSQL gives for each of `statements`: rows, or its message.
///
/// # Errors
/// Where there is no PostgreSQL to be reached.
pub fn ask(statements: &[&str]) -> Result<Vec<Result<Vec<Text>, String>>, String> {
    let mut script = format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; SET search_path = {SCHEMA}; SET timezone = 'UTC';\n"
    );
    for (i, sql) in statements.iter().enumerate() {
        let sql = translated(sql);
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
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains(&format!("{MARK} end")) {
        return Err("psql ended early: is there a PostgreSQL, and PGHOST, PGPORT, PGUSER, PGDATABASE set?".into());
    }
    let mut answers: Vec<Result<Vec<Text>, String>> = vec![Ok(Vec::new()); statements.len()];
    let mut at = usize::MAX;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix(MARK) {
            at = number.trim().parse().unwrap_or(usize::MAX);
        } else if at < answers.len() {
            if let Some(error) = line.strip_prefix(FAILED) {
                answers[at] = Err(error.trim().to_owned());
            } else if let Ok(rows) = &mut answers[at] {
                let value = |value: &str| (value != "NULL").then(|| value.to_owned());
                rows.push(line.split('\t').map(value).collect());
            }
        }
    }
    Ok(answers)
}

/// Rows in a form in which PostgreSQL's text and ours are the same.
pub fn normal(rows: &[Text], types: &str) -> Bag {
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
