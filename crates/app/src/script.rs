//! Runs scripts through a client and says what became of each statement.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use gridhouse_base::{Error, Position, Result};
use gridhouse_serve::{Client, Event, JobReport, Report};

use crate::complaint;
use crate::exit::Exit;
use crate::redact::redacted;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::terminal::{self, cut, one_line};

/// A SQL text and the name that errors give it.
pub struct Script {
    /// `pipeline.sql`, `-e`, `<stdin>`.
    pub name: String,
    /// The SQL.
    pub text: String,
}

impl Script {
    /// The script without what stands before a place; what follows keeps its line and column.
    pub fn from(&self, at: Position) -> Self {
        let mut text = String::with_capacity(self.text.len());
        for (line, number) in self.text.split_inclusive('\n').zip(1..) {
            for (c, column) in line.chars().zip(1..) {
                let kept = c == '\n' || (number, column) >= (at.line, at.column);
                text.push(if kept { c } else { ' ' });
            }
        }
        Self { name: self.name.clone(), text }
    }

    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// `NotFound` where it cannot be read, `Invalid` where it is not UTF-8.
    pub fn read(path: &PathBuf) -> Result<Self> {
        let standard_input = path.as_os_str() == "-";
        let name = if standard_input { "<stdin>".into() } else { path.display().to_string() };
        let mut bytes = Vec::new();
        let read = if standard_input {
            io::stdin().lock().read_to_end(&mut bytes).map(drop)
        } else {
            std::fs::read(path).map(|read| bytes = read)
        };
        read.map_err(|error| Error::not_found(format!("the script {name} cannot be read")).caused_by(error))?;
        // Editors on other systems put a byte order mark in front.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            Error::invalid(format!("the script {name} is not UTF-8 in line {line}")).hint("save it as UTF-8")
        })?;
        Ok(Self { name, text: text.into() })
    }
}

/// What a script left behind.
#[derive(Debug, Default)]
pub struct Aftermath {
    /// The continuous jobs that it began or resumed.
    pub jobs: Vec<JobReport>,
    /// The code of the statement that stopped it, if one did.
    pub failed: Option<Exit>,
    /// Where that statement begins.
    pub failed_at: Option<Position>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// A line per statement with its place: scripts.
    Places,
    /// Results, notices and times: the shell.
    Results,
}

/// Runs `script` and shows what it gives on `out`, errors on standard error. Rows that arrive after Ctrl-C are not shown.
///
/// # Errors
/// `Unavailable` where the process that holds the directory has gone, or the output cannot be written.
pub fn run(
    client: &mut Client,
    script: &Script,
    talk: Talk,
    signals: &Signals,
    out: &mut dyn Write,
) -> Result<Aftermath> {
    run_again(client, script, (talk, None), signals, out)
}

/// As [`run`]; where the outside of the statement at `told` still does not answer, that is not told once more.
///
/// # Errors
/// As [`run`].
pub fn run_again(
    client: &mut Client,
    script: &Script,
    (talk, told): (Talk, Option<Position>),
    signals: &Signals,
    out: &mut dyn Write,
) -> Result<Aftermath> {
    let (width, aftermath) = (terminal::width(), Aftermath::default());
    let mut teller =
        Teller { script, talk, told, signals, out, width, notices: Vec::new(), report: None, table: None, aftermath };
    let mut written = Ok(());
    let ran = client.run(&script.text, &mut |event| {
        if written.is_ok() {
            written = teller.tell(event);
        }
    });
    ran?;
    written.map_err(|error| Error::unavailable("the result cannot be written").caused_by(error))?;
    Ok(teller.aftermath)
}

struct Teller<'a> {
    script: &'a Script,
    talk: Talk,
    told: Option<Position>,
    signals: &'a Signals,
    out: &'a mut dyn Write,
    width: Option<usize>,
    notices: Vec<String>,
    report: Option<Report>,
    table: Option<TablePrinter>,
    aftermath: Aftermath,
}

impl Teller<'_> {
    fn tell(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Notice(notice) => self.notices.push(notice),
            Event::Report(report) => {
                self.aftermath.jobs.extend(report.job.clone());
                self.report = Some(report);
            }
            Event::Columns(columns) => {
                self.head("ok", None)?;
                self.table = Some(TablePrinter::new(columns, self.width));
            }
            // The process has often sent a whole result before Ctrl-C reaches it; the terminal is what is slow.
            Event::Row(_) if self.signals.stop() => {}
            Event::Row(row) => {
                if let Some(table) = &mut self.table {
                    table.row(row, self.out)?;
                }
            }
            Event::Complete(tag) => self.complete(&tag)?,
            Event::Failed(error) => self.failed(&error)?,
        }
        Ok(())
    }

    fn complete(&mut self, tag: &str) -> io::Result<()> {
        let elapsed = self.report.as_ref().map(|report| duration(report.elapsed)).unwrap_or_default();
        if let Some(table) = self.table.take() {
            let rows = table.finish(self.out)?;
            let plural = if rows == 1 { "" } else { "s" };
            let broken = if self.signals.stop() { ", more were not shown" } else { "" };
            writeln!(self.out, "({rows} row{plural}{broken}, {elapsed})\n")?;
        } else {
            self.head("ok", Some(tag))?;
        }
        self.report = None;
        self.out.flush()
    }

    /// The line of a statement, and its notices.
    fn head(&mut self, verdict: &str, tag: Option<&str>) -> io::Result<()> {
        let Some(report) = &self.report else { return Ok(()) };
        let job = report.job.as_ref();
        let mut line = match self.talk {
            Talk::Places => format!("{verdict}  {}:{}  ", self.script.name, report.position.line),
            Talk::Results => String::new(),
        };
        let rows = tag.and_then(rows_of).map(|rows| format!(", {rows} row{}", if rows == 1 { "" } else { "s" }));
        let after = match (tag, job) {
            (None, _) => String::new(),
            (Some(_), Some(job)) => {
                let how = if job.resumed { "goes on" } else { "runs" };
                format!("  ({})  job {} {} {how}", duration(report.elapsed), job.id, job.name)
            }
            (Some(_), None) => format!("  ({}{})", duration(report.elapsed), rows.unwrap_or_default()),
        };
        let room = self.width.unwrap_or(160).saturating_sub(terminal::cells(&line) + terminal::cells(&after)).max(20);
        if self.talk == Talk::Places || tag.is_some() {
            line.push_str(&cut(&gist(&report.text), room));
            writeln!(self.out, "{}{after}", line)?;
        }
        for notice in self.notices.drain(..) {
            writeln!(self.out, "    note: {}", redacted(&notice))?;
        }
        Ok(())
    }

    fn failed(&mut self, error: &Error) -> io::Result<()> {
        let exit = Exit::of_statement(error);
        self.aftermath.failed = Some(exit);
        self.aftermath.failed_at = self.report.as_ref().map(|report| report.position);
        if let Some(table) = self.table.take() {
            table.finish(self.out)?;
        }
        for notice in self.notices.drain(..) {
            writeln!(self.out, "    note: {}", redacted(&notice))?;
        }
        self.out.flush()?;
        if exit == Exit::Outside && self.told.is_some() && self.told == self.aftermath.failed_at {
            return Ok(());
        }
        // Without a place of its own the error is at least the statement's.
        let text = complaint::in_script(error, &self.script.name, &self.script.text);
        match (error.position(), self.report.take()) {
            (None, Some(report)) => {
                let Position { line, column } = report.position;
                let rest = text.strip_prefix(&self.script.name).unwrap_or(&text);
                eprintln!("{}:{line}:{column}{rest}", self.script.name);
            }
            _ => eprintln!("{text}"),
        }
        Ok(())
    }
}

/// The rows in a command tag: `INSERT 0 3`, `DELETE 2`.
fn rows_of(tag: &str) -> Option<u64> {
    let mut words = tag.split(' ');
    let rows = matches!(words.next(), Some("INSERT" | "UPDATE" | "DELETE"));
    if rows { words.next_back()?.parse().ok() } else { None }
}

/// What a statement is about, on one line: up to its columns or its query.
fn gist(text: &str) -> String {
    let line = redacted(&one_line(text));
    let upper = line.to_ascii_uppercase();
    let end = if upper.starts_with("CREATE") && !upper.contains(" AS SELECT") {
        [line.find(" ("), line.find('('), upper.find(" WITH")].into_iter().flatten().min()
    } else if upper.starts_with("INSERT") {
        upper.find(" SELECT ").or_else(|| upper.find(" VALUES")).or_else(|| upper.find(" WITH "))
    } else {
        None
    };
    line[..end.unwrap_or(line.len())].trim_end().into()
}

/// `0.4 ms`, `12 ms`, `1.25 s`, `2 min 5 s`.
pub fn duration(elapsed: Duration) -> String {
    let ms = elapsed.as_secs_f64() * 1_000.0;
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 1_000.0 => format!("{ms:.0} ms"),
        _ if ms < 100_000.0 => format!("{:.2} s", ms / 1_000.0),
        _ => format!("{} min {} s", elapsed.as_secs() / 60, elapsed.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gist_names_the_object() {
        let cases = [
            (
                "CREATE TABLE fluss.shop.ods_orders (\n  id BIGINT) WITH ('a' = 'b')",
                "CREATE TABLE fluss.shop.ods_orders",
            ),
            ("CREATE CATALOG fluss WITH ('type' = 'fluss')", "CREATE CATALOG fluss"),
            ("INSERT INTO a.b\n  SELECT * FROM c", "INSERT INTO a.b"),
            ("SET 'x.password' = 'y'", "SET 'x.password' = '****'"),
        ];
        for (text, expected) in cases {
            assert_eq!(gist(text), expected);
        }
    }

    #[test]
    fn what_is_left_of_a_script_keeps_its_places() {
        let script = Script { name: "a.sql".into(), text: "SET 'é' = '1'; INSERT\nINTO a; SELECT 1;\n".into() };
        let left = script.from(Position { line: 1, column: 16 });
        assert_eq!(left.text, format!("{}INSERT\nINTO a; SELECT 1;\n", " ".repeat(15)));
        assert_eq!(
            script.from(Position { line: 2, column: 9 }).text,
            format!("{}\n        SELECT 1;\n", " ".repeat(21))
        );
    }

    #[test]
    fn durations_are_short() {
        let of = |micros| duration(Duration::from_micros(micros));
        assert_eq!([of(412), of(12_400), of(1_250_000), of(125_000_000)], ["0.4 ms", "12 ms", "1.25 s", "2 min 5 s"]);
    }
}
