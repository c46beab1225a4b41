//! What the line editor knows of SQL: where a statement ends, and how words are completed.

use std::collections::HashMap;

use gridhouse_serve::Client;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::cell::RefCell;

/// Names that are offered at most.
const MAX_CANDIDATES: usize = 100;

/// Keywords that people type; completion is a help, not a grammar.
const KEYWORDS: &str = "AND AS ASC BEGIN STATEMENT SET BETWEEN BIGINT BOOLEAN BY CASE CAST CATALOG COALESCE COUNT CREATE \
    CURRENT_TIMESTAMP DATABASE DATE DECIMAL DELETE DESC DESCRIBE DISTINCT DOUBLE DROP ELSE END ENFORCED EXECUTE EXISTS \
    EXPLAIN FALSE FILTER FROM FULL GROUP HAVING IF IN INNER INSERT INT INTERVAL INTO IS JOB JOBS JOIN KEY LEFT LIKE LIMIT \
    MAX MIN NOT NULL ON OR ORDER OUTER PARTITIONED PRIMARY REPLACE RESET RIGHT SELECT SHOW START STOP STRING SUM TABLE \
    TABLES TEMPORARY THEN TIMESTAMP TRUE UNION ALL UPDATE USE USING VALUES VARCHAR VIEW WATERMARK WHEN WHERE WITH";

/// The line editor's helper; owns the connection, because completion asks for names.
pub struct SqlHelper {
    names: RefCell<Names>,
    client: RefCell<Client>,
}

#[derive(Default)]
struct Names {
    /// The tables of every layer, by their whole names.
    tables: Option<Vec<String>>,
    /// The tables and views of the current database, by their own names.
    near: Option<Vec<String>>,
    columns: HashMap<String, Vec<String>>,
}

impl SqlHelper {
    /// A helper over `client`.
    pub fn new(client: Client) -> Self {
        Self { names: RefCell::default(), client: RefCell::new(client) }
    }

    /// The connection.
    pub fn client(&mut self) -> &mut Client {
        self.client.get_mut()
    }

    /// Names may have changed.
    pub fn forget_names(&mut self) {
        *self.names.get_mut() = Names::default();
    }

    /// The tables, and the columns of those that `line` mentions.
    fn candidates(&self, line: &str) -> Vec<String> {
        let (mut names, mut client) = (self.names.borrow_mut(), self.client.borrow_mut());
        let first = |rows: Vec<gridhouse_serve::RowText>| {
            rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect::<Vec<_>>()
        };
        let tables = names.tables.get_or_insert_with(|| {
            // Without an answer there are no names to offer; the next statement will say why.
            client.rows("SELECT table_name FROM system.status.tables").map(first).unwrap_or_default()
        });
        let tables = tables.clone();
        let near = names.near.get_or_insert_with(|| client.rows("SHOW TABLES").map(first).unwrap_or_default());
        let mut found: Vec<String> = tables.iter().chain(near.iter()).cloned().collect();
        for table in tables.iter().filter(|table| line.contains(last_part(table))) {
            found.push(last_part(table).into());
            let columns = names
                .columns
                .entry(table.clone())
                .or_insert_with(|| client.rows(&format!("DESCRIBE {table}")).map(first).unwrap_or_default());
            found.extend(columns.iter().cloned());
        }
        found
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start = word_start(&line[..at]);
        let word = &line[start..at];
        if word.is_empty() {
            return Ok((at, Vec::new()));
        }
        let lower = word.to_lowercase();
        let as_typed = |keyword: &str| if word == lower { keyword.to_lowercase() } else { keyword.to_owned() };
        let keywords = KEYWORDS.split_whitespace().map(as_typed);
        let mut found: Vec<String> = self.candidates(line).into_iter().chain(keywords).collect();
        found.retain(|name| name.to_lowercase().starts_with(&lower) && name != word);
        found.sort();
        found.dedup();
        found.truncate(MAX_CANDIDATES);
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

/// Where the word at the end of `text` begins; a dotted name is one word.
fn word_start(text: &str) -> usize {
    let in_word = |c: char| c.is_alphanumeric() || "_.`\\".contains(c);
    text.char_indices().rev().take_while(|&(_, c)| in_word(c)).last().map_or(text.len(), |(at, _)| at)
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let whole = is_whole(context.input());
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Highlighter for SqlHelper {}

impl Helper for SqlHelper {}

/// Whether `text` is ready to be run: a command of the shell, nothing, or SQL whose last statement ends with `;` and whose
/// statement set ends with `END;`.
fn is_whole(text: &str) -> bool {
    let trimmed = text.trim();
    let first = trimmed.split(|c: char| c.is_whitespace() || c == ';').next().unwrap_or("").to_ascii_lowercase();
    if trimmed.is_empty() || trimmed.starts_with('\\') || ["quit", "exit", "help"].contains(&first.as_str()) {
        return true;
    }
    let Some(code) = without_quotes(trimmed) else { return false };
    let code = code.trim().to_ascii_uppercase();
    if !code.ends_with(';') {
        return false;
    }
    let statements: Vec<String> =
        code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let begins = |text: &&String| text.starts_with("BEGIN STATEMENT SET") || text.starts_with("EXECUTE STATEMENT SET");
    let sets = statements.iter().filter(begins).count();
    let ends = statements.iter().filter(|text| text.as_str() == "END").count();
    ends >= sets
}

/// `text` with blanks for quoted parts and comments; `None` where one is still open.
fn without_quotes(text: &str) -> Option<String> {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (open, close) = match c {
            '\'' => ("'", "'"),
            '`' => ("`", "`"),
            '"' => ("\"", "\""),
            '-' if rest.starts_with("--") => ("--", "\n"),
            '/' if rest.starts_with("/*") => ("/*", "*/"),
            _ => {
                code.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        let inside = &rest[open.len()..];
        rest = match inside.find(close) {
            Some(end) => &inside[end + close.len()..],
            // A line comment ends with the text.
            None if open == "--" => "",
            None => return None,
        };
        code.push(' ');
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_whole_when_its_last_statement_is() {
        for whole in [
            "",
            "\\d",
            "quit",
            "SELECT 1;",
            "SELECT ';' ;",
            "SELECT 1; -- done",
            "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;",
            "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; END;",
            "SELECT '中文';",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for open in [
            "SELECT 1",
            "SELECT 'a;",
            "SELECT 1 /* ;",
            "-- only;",
            "SELECT `x;",
            "BEGIN STATEMENT SET; INSERT INTO a SELECT 1;",
            "SELECT 1 -- ;",
        ] {
            assert!(!is_whole(open), "{open}");
        }
    }

    #[test]
    fn a_dotted_name_is_one_word() {
        assert_eq!(word_start("SELECT * FROM fluss.shop.od"), 14);
        assert_eq!(word_start("SELECT "), 7);
        assert_eq!(word_start("华东"), 0);
    }
}
