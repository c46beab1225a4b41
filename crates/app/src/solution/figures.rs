//! What the boards show, as the sink has it: key figures and whole boards.

use std::io::Write;

use gridhouse_base::Result;
use gridhouse_serve::ResultColumn;
use tokio_postgres::Client;

use crate::language::Language;
use crate::solution::database::Database;
use crate::solution::folder::Solution;
use crate::status::thousands;
use crate::table::TablePrinter;
use crate::terminal;

/// Shown where a board is empty.
const NONE: &str = "–";

/// Every key figure with its value: `load rate 61.2 %`.
///
/// # Errors
/// `Invalid` where a figure's query does not run; `Unavailable` where the sink does not answer.
pub async fn figures(solution: &Solution, sink: &Database, client: &Client, language: Language) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (i, figure) in solution.definition.figure.iter().enumerate() {
        let value = sink.value(client, &figure.sql).await.map_err(|error| {
            error.context(format!(
                "{}: figure {} ({})",
                solution.path("solution.toml"),
                i + 1,
                figure.title(Language::English)
            ))
        })?;
        let value = value.map_or_else(|| NONE.into(), |value| grouped(&value));
        let unit = figure.unit(language);
        let blank = if unit.is_empty() { "" } else { " " };
        found.push(format!("{} {value}{blank}{unit}", figure.title(language)));
    }
    Ok(found)
}

/// `-1234567.50` as `-1,234,567.50`; a text that is no number stays.
fn grouped(value: &str) -> String {
    let (sign, digits) = value.strip_prefix('-').map_or(("", value), |digits| ("-", digits));
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |at| digits.split_at(at));
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes().skip(1)).all(|b| b.is_ascii_digit());
    if is_number { format!("{sign}{}{fraction}", thousands(whole)) } else { value.into() }
}

/// The boards as tables.
///
/// # Errors
/// As [`figures`].
pub async fn boards(solution: &Solution, sink: &Database, client: &Client, language: Language) -> Result<String> {
    let mut text = Vec::new();
    for board in &solution.definition.board {
        let (names, rows) = sink
            .rows(client, &board.shown)
            .await
            .map_err(|error| error.context(format!("{}: board `{}`", solution.path("solution.toml"), board.table)))?;
        let is_number = |i: usize| rows.iter().all(|row| row[i].as_ref().is_none_or(|v| v.parse::<f64>().is_ok()));
        let column = |(i, name): (usize, String)| ResultColumn { is_number: is_number(i), name };
        let mut printer = TablePrinter::new(names.into_iter().enumerate().map(column).collect(), terminal::width());
        let in_memory = "memory takes every byte";
        writeln!(text, "{} · {}", board.title(language), board.table).expect(in_memory);
        for row in rows {
            printer.row(row, &mut text).expect(in_memory);
        }
        printer.finish(&mut text).expect(in_memory);
        text.push(b'\n');
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_and_texts_stay() {
        let shown = ["1234567.50", "-1234", "0.5", "华东", "", "2026-01-01"].map(grouped);
        assert_eq!(shown, ["1,234,567.50", "-1,234", "0.5", "华东", "", "2026-01-01"]);
    }
}
