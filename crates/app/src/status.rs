//! `gridhouse status`, `jobs` and `tables`: the status tables of the running process, laid out for people.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use gridhouse_base::Result;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_serve::{Client, ResultColumn, RowText};

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::terminal;

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Show it again and again, with rates
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    interval: u64,
}

/// How a column's value is laid out.
#[derive(Clone, Copy)]
enum Form {
    Text,
    /// A count of rows; with its growth per second while it is watched.
    Count,
    Bytes,
    Millis,
}

/// One status table and what is shown of it; the first column names the row.
#[derive(Clone, Copy)]
pub struct Section {
    title: &'static str,
    table: &'static str,
    columns: &'static [(&'static str, &'static str, Form)],
}

/// The jobs.
pub const JOBS: Section = Section {
    title: "Jobs",
    table: "jobs",
    columns: &[
        ("job_id", "job", Form::Text),
        ("name", "name", Form::Text),
        ("state", "state", Form::Text),
        ("rows_in", "rows in", Form::Count),
        ("rows_out", "rows out", Form::Count),
        ("state_bytes", "state", Form::Bytes),
        ("busy_ms", "busy", Form::Millis),
        ("error", "error", Form::Text),
    ],
};

/// The tables of every layer.
pub const TABLES: Section = Section {
    title: "Tables",
    table: "tables",
    columns: &[
        ("table_name", "table", Form::Text),
        ("kind", "kind", Form::Text),
        ("row_count", "rows", Form::Count),
        ("changes", "changes", Form::Count),
        ("bytes", "on disk", Form::Bytes),
        ("memory_bytes", "in memory", Form::Bytes),
    ],
};

/// The streams that come in.
pub const SOURCES: Section = Section {
    title: "Sources",
    table: "sources",
    columns: &[
        ("source_id", "source", Form::Text),
        ("stream", "stream", Form::Text),
        ("state", "state", Form::Text),
        ("position", "position", Form::Text),
        ("rows_in", "rows in", Form::Count),
        ("lag_ms", "delay", Form::Millis),
        ("error", "error", Form::Text),
    ],
};

/// The outside tables that are written.
pub const SINKS: Section = Section {
    title: "Sinks",
    table: "sinks",
    columns: &[
        ("sink_id", "sink", Form::Text),
        ("target", "target", Form::Text),
        ("state", "state", Form::Text),
        ("upto", "up to", Form::Text),
        ("rows_out", "rows out", Form::Count),
        ("lag_ms", "delay", Form::Millis),
        ("error", "error", Form::Text),
    ],
};

/// Everything.
pub const ALL: [Section; 4] = [SOURCES, TABLES, JOBS, SINKS];

/// Shows `sections`, once or again and again.
///
/// # Errors
/// Exit code 4 where no process holds the directory.
pub fn status(settings: &Settings, args: &WatchArgs, sections: &[Section]) -> Result<Exit, Failure> {
    let mut client = Client::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
    let mut out = std::io::stdout();
    let mut seen = Seen::new();
    if !args.watch {
        written(out.write_all(once(&mut client, sections)?.as_bytes()))?;
        return Ok(Exit::Done);
    }
    let signals = Signals::listen()?;
    let refresh = out.is_terminal();
    loop {
        let text = page(&mut client, sections, &mut seen)?;
        // Home, the page with every line cleared behind it, then the rest of the screen cleared: no flicker.
        let text = if refresh { format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")) } else { text };
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
        if signals.wait(Duration::from_secs(args.interval.max(1))) {
            return Ok(Exit::Done);
        }
    }
}

/// `sections` as text, once.
///
/// # Errors
/// What the status tables give.
pub fn once(client: &mut Client, sections: &[Section]) -> Result<String> {
    page(client, sections, &mut Seen::new())
}

fn written(result: std::io::Result<()>) -> Result<()> {
    result.map_err(|error| gridhouse_base::Error::unavailable("the status cannot be written").caused_by(error))
}

/// Counts at the last look, for rates.
struct Seen {
    clock: SystemClock,
    at: Option<Duration>,
    counts: HashMap<(&'static str, String, usize), f64>,
}

impl Seen {
    fn new() -> Self {
        Self { clock: SystemClock::new(), at: None, counts: HashMap::new() }
    }
}

/// All sections as text.
fn page(client: &mut Client, sections: &[Section], seen: &mut Seen) -> Result<String> {
    let now = seen.clock.monotonic();
    let passed = seen.at.replace(now).map(|before| (now - before).as_secs_f64());
    let mut text = Vec::new();
    for section in sections {
        let names: Vec<&str> = section.columns.iter().map(|(name, ..)| *name).collect();
        let mut rows = client.rows(&format!("SELECT {} FROM system.status.{}", names.join(", "), section.table))?;
        rows.sort_by_cached_key(order);
        let column = |&(_, title, form): &(&str, &'static str, Form)| ResultColumn {
            name: title.into(),
            is_number: !matches!(form, Form::Text),
        };
        let into_memory = |result: std::io::Result<()>| result.expect("memory takes every byte");
        into_memory(writeln!(text, "{}", section.title));
        let mut table = TablePrinter::new(section.columns.iter().map(column).collect(), terminal::width());
        if rows.is_empty() {
            into_memory(writeln!(text, " none\n"));
            continue;
        }
        for row in rows {
            into_memory(table.row(laid_out(section, row, passed, seen), &mut text));
        }
        table.finish(&mut text).expect("memory takes every byte");
        text.push(b'\n');
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Numbers by value, then text.
fn order(row: &RowText) -> (Option<u64>, String) {
    let first = row.first().cloned().flatten().unwrap_or_default();
    (first.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok(), first)
}

fn laid_out(section: &Section, row: RowText, passed: Option<f64>, seen: &mut Seen) -> RowText {
    let id = row.first().cloned().flatten().unwrap_or_default();
    let value = |(i, value): (usize, Option<String>)| {
        let value = value.unwrap_or_default();
        let number = value.parse::<f64>().ok();
        Some(match (section.columns.get(i).map(|(.., form)| *form), number) {
            (Some(Form::Count), Some(number)) => {
                let before = seen.counts.insert((section.table, id.clone(), i), number);
                let rate = passed.zip(before).map(|(passed, before)| (number - before) / passed.max(0.001));
                match rate.map(f64::round).filter(|&rate| rate != 0.0) {
                    Some(rate) => format!("{} ({:+}/s)", thousands(&value), rate as i64),
                    None => thousands(&value),
                }
            }
            (Some(Form::Bytes), Some(number)) => bytes(number),
            (Some(Form::Millis), Some(number)) => {
                crate::script::duration(Duration::from_secs_f64(number.max(0.0) / 1e3))
            }
            _ => value,
        })
    };
    row.into_iter().enumerate().map(value).collect()
}

/// `1234567` as `1,234,567`.
fn thousands(digits: &str) -> String {
    let mut grouped = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1_024.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{number:.1} {unit}") };
        }
        number /= 1_024.0;
    }
    format!("{number:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_laid_out_for_people() {
        assert_eq!([thousands("7"), thousands("1234"), thousands("1234567")], ["7", "1,234", "1,234,567"]);
        assert_eq!([bytes(17.0), bytes(1_536.0), bytes(5e9)], ["17 B", "1.5 KiB", "4.7 GiB"]);
    }

    #[test]
    fn watched_counts_show_their_rate() {
        let mut seen = Seen::new();
        let row = |rows_in: &str| {
            let text = ["1", "ods", "running", rows_in, "0", "0", "1500", ""];
            text.map(|value| Some(value.to_owned())).to_vec()
        };
        let first = laid_out(&JOBS, row("1000"), None, &mut seen);
        assert_eq!((first[3].as_deref(), first[6].as_deref()), (Some("1,000"), Some("1.50 s")));
        let second = laid_out(&JOBS, row("3000"), Some(2.0), &mut seen);
        assert_eq!(second[3].as_deref(), Some("3,000 (+1000/s)"));
    }

    #[test]
    fn rows_are_ordered_by_number() {
        let mut rows: Vec<RowText> = ["j10", "j9", "fluss.a"].map(|id| vec![Some(id.to_owned())]).to_vec();
        rows.sort_by_cached_key(order);
        assert_eq!(rows.concat().into_iter().flatten().collect::<Vec<_>>(), ["fluss.a", "j9", "j10"]);
    }
}
