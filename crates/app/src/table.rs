//! Result tables fitted to the terminal.
//!
//! Widths come from the first rows ([`SAMPLE_ROWS`]); later rows follow as they come, so a large result needs little memory.
//! Where the columns do not fit, the widest are cut; where even that does not help, each row is shown as a record.

use std::io::{self, Write};

use gridhouse_serve::{ResultColumn, RowText};

use crate::terminal::{cells, cut};

/// Rows that are gathered before the first is shown.
const SAMPLE_ROWS: usize = 1_000;

/// A cut column keeps at least this many cells; narrower tells nothing.
const MIN_CELLS: usize = 6;

/// A result on its way to the screen.
pub struct TablePrinter {
    columns: Vec<ResultColumn>,
    waiting: Vec<Vec<String>>,
    layout: Option<Layout>,
    rows: u64,
    width: Option<usize>,
}

enum Layout {
    Table(Vec<usize>),
    Records { name_cells: usize },
}

impl TablePrinter {
    /// A result with `columns` for an output of `width` cells; `None`: as wide as need be.
    pub fn new(columns: Vec<ResultColumn>, width: Option<usize>) -> Self {
        Self { columns, waiting: Vec::new(), layout: None, rows: 0, width }
    }

    /// Takes one row.
    ///
    /// # Errors
    /// What writing gives.
    pub fn row(&mut self, row: RowText, out: &mut dyn Write) -> io::Result<()> {
        self.rows += 1;
        self.waiting.push(row.into_iter().map(shown).collect());
        if self.layout.is_some() || self.waiting.len() >= SAMPLE_ROWS { self.print_waiting(out) } else { Ok(()) }
    }

    /// Shows what is left, and gives the number of rows.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<u64> {
        self.print_waiting(out)?;
        Ok(self.rows)
    }

    fn print_waiting(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => {
                let layout = self.lay_out();
                if let Layout::Table(widths) = &layout {
                    self.head(widths, out)?;
                }
                layout
            }
        };
        let first = self.rows - self.waiting.len() as u64 + 1;
        for (number, row) in (first..).zip(std::mem::take(&mut self.waiting)) {
            match &layout {
                Layout::Table(widths) => self.line(&row, widths, out)?,
                Layout::Records { name_cells } => self.record(number, &row, *name_cells, out)?,
            }
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn lay_out(&self) -> Layout {
        let natural = |i: usize| {
            let widest = self.waiting.iter().map(|row| cells(&row[i])).max().unwrap_or(0);
            widest.max(cells(&self.columns[i].name))
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(natural).collect();
        let Some(width) = self.width else { return Layout::Table(widths) };
        // Each column has a blank on either side, and a line between two.
        let frame = (self.columns.len() * 3).saturating_sub(1);
        match fitted(&widths, width.saturating_sub(frame)) {
            Some(widths) => Layout::Table(widths),
            None => Layout::Records { name_cells: self.columns.iter().map(|c| cells(&c.name)).max().unwrap_or(0) },
        }
    }

    fn head(&self, widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = self.columns.iter().map(|column| one_cell(&column.name)).collect();
        self.line(&names, widths, out)?;
        let lines: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        writeln!(out, "{}", lines.join("┼"))
    }

    fn line(&self, row: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for (i, (value, &width)) in row.iter().zip(widths).enumerate() {
            // Later rows may be wider than the sample; without a terminal they are shown whole.
            let value = if self.width.is_some() { cut(value, width) } else { value.clone() };
            let blanks = " ".repeat(width.saturating_sub(cells(&value)));
            line.push_str(if i == 0 { " " } else { " │ " });
            if self.columns[i].is_number {
                line.push_str(&blanks);
                line.push_str(&value);
            } else {
                line.push_str(&value);
                line.push_str(&blanks);
            }
        }
        writeln!(out, "{}", line.trim_end())
    }

    fn record(&self, number: u64, row: &[String], name_cells: usize, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "── row {number} ──")?;
        for (column, value) in self.columns.iter().zip(row) {
            let blanks = " ".repeat(name_cells - cells(&column.name));
            let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(name_cells + 4).max(MIN_CELLS));
            writeln!(out, " {}{blanks} │ {}", one_cell(&column.name), cut(value, room))?;
        }
        Ok(())
    }
}

fn shown(value: Option<String>) -> String {
    value.map_or_else(|| "NULL".into(), |value| one_cell(&value))
}

/// A value on one line: line ends and control characters are made visible.
fn one_cell(value: &str) -> String {
    if !value.contains(|c: char| c.is_control()) {
        return value.into();
    }
    value.replace("\r\n", "↵").replace('\n', "↵").replace(|c: char| c.is_control(), "\u{fffd}")
}

/// Widths that together take at most `room`, the widest cut first; `None` where they would become too narrow.
fn fitted(widths: &[usize], room: usize) -> Option<Vec<usize>> {
    let total: usize = widths.iter().sum();
    if total <= room {
        return Some(widths.to_vec());
    }
    let least: usize = widths.iter().map(|&width| width.min(MIN_CELLS)).sum();
    if least > room {
        return None;
    }
    // The largest limit under which everything fits; what is left over goes to the columns that were cut, in order.
    let sum_under = |limit: usize| widths.iter().map(|&width| width.min(limit)).sum::<usize>();
    let limit = (MIN_CELLS..=room).rev().find(|&limit| sum_under(limit) <= room)?;
    let mut left = room - sum_under(limit);
    let cut = |&width: &usize| {
        let extra = usize::from(width > limit && left > 0);
        left -= extra;
        width.min(limit) + extra
    };
    Some(widths.iter().map(cut).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(columns: &[(&str, bool)], rows: &[&[Option<&str>]], width: Option<usize>) -> String {
        let columns = columns.iter().map(|&(name, is_number)| ResultColumn { name: name.into(), is_number }).collect();
        let mut printer = TablePrinter::new(columns, width);
        let mut out = Vec::new();
        for row in rows {
            printer.row(row.iter().map(|value| value.map(str::to_owned)).collect(), &mut out).unwrap();
        }
        assert_eq!(printer.finish(&mut out).unwrap(), rows.len() as u64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_also_with_wide_characters() {
        let rows: [&[Option<&str>]; 2] = [&[Some("华东"), Some("7")], &[Some("north"), None]];
        let expected = " 区域  │    n\n───────┼──────\n 华东  │    7\n north │ NULL\n";
        assert_eq!(print(&[("区域", false), ("n", true)], &rows, Some(80)), expected);
    }

    #[test]
    fn the_widest_columns_give_way_first() {
        let long = "x".repeat(50);
        let rows: [&[Option<&str>]; 1] = [&[Some("short"), Some(&long)]];
        let text = print(&[("a", false), ("b", false)], &rows, Some(30));
        assert!(text.lines().all(|line| cells(line) <= 30), "{text}");
        assert!(text.contains("short") && text.contains("xxx…"), "{text}");
        let whole = print(&[("a", false), ("b", false)], &rows, None);
        assert!(whole.contains(&long), "a pipe gets every character");
    }

    #[test]
    fn too_many_columns_become_records() {
        let names: Vec<String> = (0..20).map(|i| format!("column_{i}")).collect();
        let columns: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
        let row = vec![Some("some value"); 20];
        let text = print(&columns, &[&row, &row], Some(40));
        assert!(text.contains("── row 2 ──") && text.contains(" column_19 │ some value"), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let text = print(&[("a", false)], &[&[Some("x\u{1b}[2J\ny")]], Some(80));
        assert!(text.contains("x\u{fffd}[2J↵y"), "{text:?}");
    }

    #[test]
    fn rows_behind_the_sample_are_shown_too() {
        let row: &[Option<&str>] = &[Some("1")];
        let rows = vec![row; SAMPLE_ROWS * 2 + 5];
        assert_eq!(print(&[("n", true)], &rows, Some(80)).lines().count(), SAMPLE_ROWS * 2 + 5 + 2);
    }
}
