//! `gridhouse check`: has the running process check every checksum and invariant of its tables, and says per table what was found.

use std::io::Write;

use clap::Args;
use gridhouse_base::Error;
use gridhouse_serve::{Client, ResultColumn};

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::status::thousands;
use crate::table::TablePrinter;
use crate::terminal;

/// The verdict where nothing is wrong; any other says what is.
const SOUND: &str = "ok";

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The table, written as in SQL [default: all tables, the program's own too]
    table: Option<String>,
    /// Show every part of every check
    #[arg(long)]
    parts: bool,
}

/// What was found of one table.
struct Found {
    table: String,
    rows: u64,
    bytes: u64,
    faults: Vec<String>,
}

fn written<T>(result: std::io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Error::unavailable("the result cannot be written").caused_by(error).into())
}

/// Checks a table, or all.
///
/// # Errors
/// Exit code 4 where no process holds the directory, 5 where something is wrong with a table.
pub fn check(settings: &Settings, args: &CheckArgs) -> Result<Exit, Failure> {
    let mut client = Client::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
    let statement =
        args.table.as_ref().map_or_else(|| "CHECK TABLES".to_owned(), |table| format!("CHECK TABLE {table}"));
    let (columns, rows) = client.table(&statement)?;
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let [Some(table), Some(bucket), Some(what), Some(count), Some(bytes), Some(verdict)] =
        ["table_name", "bucket", "what", "rows", "bytes", "verdict"].map(place)
    else {
        return Err(Error::internal("the answer to CHECK TABLE lacks a column").into());
    };
    let mut found: Vec<Found> = Vec::new();
    for row in &rows {
        let text = |at: usize| row[at].as_deref().unwrap_or_default();
        let number = |at: usize| text(at).parse::<u64>().unwrap_or(0);
        if found.last().is_none_or(|last| last.table != text(table)) {
            found.push(Found { table: text(table).to_owned(), rows: 0, bytes: 0, faults: Vec::new() });
        }
        let last = found.last_mut().expect("it was pushed just now");
        // The other parts look at the same rows in turn.
        last.rows = if text(what) == "count" { number(count) } else { last.rows };
        last.bytes += number(bytes);
        if text(verdict) != SOUND {
            let place = if text(bucket).is_empty() { String::new() } else { format!("bucket {}, ", text(bucket)) };
            last.faults.push(format!("{place}{}: {}", text(what), text(verdict)));
        }
    }
    let mut out = std::io::stdout();
    if args.parts {
        let mut printer = TablePrinter::new(columns, terminal::width());
        for row in rows {
            written(printer.row(row, &mut out))?;
        }
        written(printer.finish(&mut out))?;
    } else {
        let head = |name: &str, is_number| ResultColumn { name: name.into(), is_number };
        let heads = vec![head("table", false), head("rows", true), head("bytes read", true), head("verdict", false)];
        let mut printer = TablePrinter::new(heads, terminal::width());
        for table in &found {
            let verdict = if table.faults.is_empty() { SOUND.to_owned() } else { table.faults.join("; ") };
            let (rows, bytes) = (thousands(&table.rows.to_string()), thousands(&table.bytes.to_string()));
            written(printer.row(vec![Some(table.table.clone()), Some(rows), Some(bytes), Some(verdict)], &mut out))?;
        }
        written(printer.finish(&mut out))?;
    }
    written(out.flush())?;
    let damaged: Vec<&str> =
        found.iter().filter(|table| !table.faults.is_empty()).map(|table| table.table.as_str()).collect();
    if damaged.is_empty() {
        return Ok(Exit::Done);
    }
    let error = Error::corrupt(format!("something is wrong with {}", damaged.join(", ")));
    Err(Failure::new(
        Exit::Directory,
        error.hint("restore the data directory from a backup, and look at the machine's memory and disk"),
    ))
}
