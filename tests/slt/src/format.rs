//! The files of the corpus: the format of sqllogictest.
//!
//! Records stand between empty lines. `statement ok` and `statement error [part of the message]` are followed by SQL;
//! `query TYPES [nosort]` by SQL, a line `----` and the rows, values between tabs. TYPES has a letter per column: `I` whole
//! number, `D` decimal, `R` floating point, `B` boolean, `T` everything else. Without `nosort` the order does not matter.
//! `skipif WAY` and `onlyif WAY` lines before a record name ways of replaying it, or `streaming` for all ways but `batch`, or
//! `postgres` for the check of the expected rows; `skipif` at the head of a file, before an empty line, is for the whole file.
//! Lines that begin with `#` are comments.

/// A file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Ways that leave the file out.
    pub skip: Vec<String>,
    /// Its records.
    pub records: Vec<Record>,
}

/// A statement or a query.
#[derive(Clone, Debug)]
pub struct Record {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The SQL text.
    pub sql: String,
    /// What is expected of it.
    pub expect: Expect,
    /// Ways that leave it out.
    pub skip: Vec<String>,
    /// Where not empty, the only ways that take it.
    pub only: Vec<String>,
}

/// What is expected of a record.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It succeeds.
    Ok,
    /// It fails, with this in its message.
    Error(String),
    /// It gives rows.
    Rows {
        /// A letter per column.
        types: String,
        /// Whether the order counts.
        ordered: bool,
        /// The rows as written.
        rows: Vec<String>,
    },
}

impl Record {
    /// Whether `way` takes it; `streaming` says whether that is a streaming way.
    pub fn applies(&self, way: &str, streaming: bool) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == way || (streaming && name == "streaming"));
        !named(&self.skip) && (self.only.is_empty() || named(&self.only))
    }
}

/// Reads a file.
///
/// # Errors
/// What is wrong, with the line.
pub fn parse(text: &str) -> Result<File, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut file = File::default();
    let (mut skip, mut only) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        let words: Vec<&str> = line.split_whitespace().collect();
        at += 1;
        match words.as_slice() {
            [] => {
                if file.records.is_empty() {
                    file.skip.append(&mut skip);
                }
            }
            [first, ..] if first.starts_with('#') => {}
            ["skipif", way] => skip.push((*way).to_owned()),
            ["onlyif", way] => only.push((*way).to_owned()),
            ["statement", "ok"] | ["statement", "error", ..] | ["query", _] | ["query", _, "nosort"] => {
                let start = at;
                let is_query = words[0] == "query";
                while at < lines.len() && !lines[at].trim().is_empty() && lines[at] != "----" {
                    at += 1;
                }
                let sql = lines[start..at].join("\n").trim_end().trim_end_matches(';').to_owned();
                let mut rows = Vec::new();
                if at < lines.len() && lines[at] == "----" {
                    at += 1;
                    while at < lines.len() && !lines[at].is_empty() {
                        rows.push(lines[at].to_owned());
                        at += 1;
                    }
                } else if is_query {
                    return Err(format!("line {start}: the query has no `----` and rows"));
                }
                let expect = match words.as_slice() {
                    ["query", types, rest @ ..] => {
                        Expect::Rows { types: (*types).to_owned(), ordered: !rest.is_empty(), rows }
                    }
                    ["statement", "ok"] => Expect::Ok,
                    _ => Expect::Error(words[2..].join(" ")),
                };
                let (skip, only) = (std::mem::take(&mut skip), std::mem::take(&mut only));
                file.records.push(Record { line: start, sql, expect, skip, only });
            }
            _ => return Err(format!("line {at}: `{line}` does not begin a record")),
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text = "# what for\nskipif postgres\n\nstatement ok\nCREATE TABLE t (\n a INT);\n\nskipif kill\nquery IT nosort\nSELECT 1,\n 'x'\n----\n1\tx\n\nstatement error no such\nSELECT x\n";
        let file = parse(text).unwrap();
        assert_eq!(file.skip, ["postgres"]);
        assert_eq!(file.records.len(), 3);
        assert_eq!(file.records[0].sql, "CREATE TABLE t (\n a INT)");
        assert!(!file.records[1].applies("kill", true) && file.records[1].applies("rows", true));
        let Expect::Rows { types, ordered, rows } = &file.records[1].expect else { panic!("a query") };
        assert_eq!((types.as_str(), *ordered, rows.as_slice()), ("IT", true, ["1\tx".to_owned()].as_slice()));
        assert!(matches!(&file.records[2].expect, Expect::Error(part) if part == "no such"));
        assert!(parse("quer I\n").unwrap_err().contains("line 1"));
        assert!(parse("query I\nSELECT 1\n").unwrap_err().contains("----"));
    }
}
