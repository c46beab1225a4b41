//! The example at a glance: for every layer its rows, changes and delay, then the boards as the sink has them.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use gridhouse_base::Result;
use gridhouse_serve::{Client, ResultColumn, RowText};

use crate::cli::nobody;
use crate::demo::chain::Database;
use crate::demo::verify;
use crate::exit::{Exit, Failure};
use crate::script::duration;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::status::thousands;
use crate::table::TablePrinter;
use crate::terminal;

/// The layers by the beginning of their tables' names.
const LAYERS: [(&str, &str); 4] = [("ODS", "ods_"), ("DWD", "dwd_"), ("DWS", "dws_"), ("ADS", "ads_")];

/// How it is shown, and for how long.
pub struct Watch<'a> {
    /// Where the boards are.
    pub sink: &'a Database,
    /// The time between two looks.
    pub interval: Duration,
    /// The end.
    pub duration: Option<Duration>,
    /// A line each time instead of a screen.
    pub plain: bool,
    /// Shown below the screen, or once in front of the lines.
    pub notes: &'a str,
}

/// One line of the picture: a layer, the sources or the sinks.
#[derive(Debug, Default, PartialEq)]
struct Stage {
    name: String,
    /// Rows that live there; the sources and sinks only count what passes.
    rows: Option<u64>,
    /// Changes that went through since the process started.
    changes: u64,
    /// The largest delay of its tables against the source.
    delay_ms: Option<f64>,
}

impl Watch<'_> {
    /// Shows it until a signal comes, the time is over, or a job fails.
    ///
    /// # Errors
    /// Exit code 4 where no process holds the directory or the sink does not answer.
    pub async fn show(&self, settings: &Settings, signals: &Signals) -> Result<Exit, Failure> {
        let mut client = Client::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
        let started = tokio::time::Instant::now();
        let mut before: Option<(Duration, Vec<Stage>)> = None;
        if self.plain {
            println!("{}", self.notes);
        }
        loop {
            let now = started.elapsed();
            let stages = stages(&mut client)?;
            let troubles = troubles(&mut client)?;
            let rates = rates(&stages, before.as_ref(), now);
            let text = if self.plain {
                line(now, &stages, &rates, &verify::loads(self.sink).await?)
            } else {
                let boards = verify::board(self.sink).await?;
                format!("{}\n{boards}{}\n{troubles}", picture(now, &stages, &rates), self.notes)
            };
            write(&text, !self.plain)?;
            if self.plain && !troubles.is_empty() {
                write(&troubles, false)?;
            }
            before = Some((now, stages));
            let left = self.duration.map(|limit| limit.saturating_sub(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Exit::Done);
            }
            // Stays exact to the end: the last look is at the end of the time.
            let pause = left.map_or(self.interval, |left| left.min(self.interval));
            if signals.wait(pause) {
                return Ok(Exit::Done);
            }
        }
    }
}

fn write(text: &str, screen: bool) -> Result<()> {
    let mut out = std::io::stdout();
    let refresh = screen && out.is_terminal();
    let text = if refresh { format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")) } else { format!("{text}\n") };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| gridhouse_base::Error::unavailable("the picture cannot be written").caused_by(error))
}

/// The value of the column `name` in `row`.
fn cell<'a>(columns: &[ResultColumn], row: &'a RowText, name: &str) -> Option<&'a str> {
    let index = columns.iter().position(|column| column.name == name)?;
    row.get(index)?.as_deref()
}

/// Sources, layers and sinks, in the order in which a change travels.
fn stages(client: &mut Client) -> Result<Vec<Stage>> {
    let number = |columns: &[ResultColumn], row: &RowText, name: &str| {
        cell(columns, row, name).and_then(|value| value.parse::<f64>().ok())
    };
    let later = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    let mut found = Vec::new();
    let (columns, rows) = client.table("SELECT * FROM system.status.sources")?;
    let mut source = Stage { name: "source".into(), ..Stage::default() };
    for row in &rows {
        source.changes += number(&columns, row, "rows_in").unwrap_or(0.0) as u64;
    }
    found.push(source);
    let (columns, rows) = client.table("SELECT * FROM system.status.tables")?;
    for (name, prefix) in LAYERS {
        let mut stage = Stage { name: name.into(), rows: Some(0), ..Stage::default() };
        for row in &rows {
            let path = cell(&columns, row, "table_name").unwrap_or_default();
            if !path.rsplit('.').next().unwrap_or_default().starts_with(prefix) {
                continue;
            }
            let live = number(&columns, row, "row_count").unwrap_or(0.0) as u64;
            stage.rows = stage.rows.map(|rows| rows + live);
            stage.changes += number(&columns, row, "changes").unwrap_or(0.0) as u64;
            stage.delay_ms = later(stage.delay_ms, number(&columns, row, "delay_ms"));
        }
        found.push(stage);
    }
    let (columns, rows) = client.table("SELECT * FROM system.status.sinks")?;
    let mut sink = Stage { name: "sink".into(), ..Stage::default() };
    for row in &rows {
        sink.changes += number(&columns, row, "rows_out").unwrap_or(0.0) as u64;
        sink.delay_ms = later(sink.delay_ms, number(&columns, row, "delay_ms"));
    }
    found.push(sink);
    Ok(found)
}

/// What does not run as it should, a line each; empty where all is well.
fn troubles(client: &mut Client) -> Result<String> {
    let mut found = String::new();
    for (table, id) in [("sources", "stream"), ("jobs", "name"), ("sinks", "target")] {
        let (columns, rows) = client.table(&format!("SELECT * FROM system.status.{table}"))?;
        for row in &rows {
            if let Some(error) = cell(&columns, row, "error") {
                let (name, state) = (cell(&columns, row, id).unwrap_or(""), cell(&columns, row, "state").unwrap_or(""));
                found.push_str(&crate::redact::redacted(&format!("{table}: {name} {state}: {error}\n")));
            }
        }
    }
    Ok(found)
}

/// Changes per second of each stage since the last look.
fn rates(stages: &[Stage], before: Option<&(Duration, Vec<Stage>)>, now: Duration) -> Vec<Option<f64>> {
    let Some((then, old)) = before else { return vec![None; stages.len()] };
    let seconds = (now - *then).as_secs_f64().max(0.001);
    let rate = |stage: &Stage| {
        let old = old.iter().find(|old| old.name == stage.name)?;
        Some(stage.changes.saturating_sub(old.changes) as f64 / seconds)
    };
    stages.iter().map(rate).collect()
}

fn delay(stage: &Stage) -> Option<String> {
    stage.delay_ms.map(|ms| duration(Duration::from_secs_f64(ms.max(0.0) / 1_000.0)))
}

fn picture(now: Duration, stages: &[Stage], rates: &[Option<f64>]) -> String {
    let column = |(name, is_number): (&str, bool)| ResultColumn { name: name.into(), is_number };
    let columns = [("layer", false), ("rows", true), ("changes", true), ("per second", true), ("delay", true)];
    let mut table = TablePrinter::new(columns.map(column).to_vec(), terminal::width());
    let mut text = Vec::new();
    let in_memory = "memory takes every byte";
    writeln!(text, "Gridhouse, {} s", now.as_secs()).expect(in_memory);
    for (stage, rate) in stages.iter().zip(rates) {
        let row = [
            Some(stage.name.clone()),
            Some(stage.rows.map_or_else(String::new, |rows| thousands(&rows.to_string()))),
            Some(thousands(&stage.changes.to_string())),
            Some(rate.map_or_else(String::new, |rate| thousands(&format!("{rate:.0}")))),
            Some(delay(stage).unwrap_or_default()),
        ];
        table.row(row.to_vec(), &mut text).expect(in_memory);
    }
    table.finish(&mut text).expect(in_memory);
    String::from_utf8_lossy(&text).into_owned()
}

/// `   12 s  source 4,321 (+200/s)  ODS 9,002 rows (+200/s) 12 ms  …  sink 77 (+3/s) 20 ms  华东 512.20 kW, …`
fn line(now: Duration, stages: &[Stage], rates: &[Option<f64>], loads: &[(String, String)]) -> String {
    let mut parts = vec![format!("{:>5} s", now.as_secs())];
    for (stage, rate) in stages.iter().zip(rates) {
        let mut part = match stage.rows {
            Some(rows) => format!("{} {} rows", stage.name, thousands(&rows.to_string())),
            None => format!("{} {}", stage.name, thousands(&stage.changes.to_string())),
        };
        part.extend(rate.map(|rate| format!(" (+{rate:.0}/s)")));
        part.extend(delay(stage).map(|delay| format!(" {delay}")));
        parts.push(part);
    }
    let load = |(region, active_kw): &(String, String)| format!("{region} {active_kw} kW");
    parts.push(loads.iter().map(load).collect::<Vec<_>>().join(", "));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_holds_every_stage_with_its_rate() {
        let stage = |changes| Stage { name: "ODS".into(), rows: Some(1_500), changes, delay_ms: Some(12.0) };
        let before = (Duration::from_secs(10), vec![stage(100)]);
        let now = Duration::from_secs(12);
        let stages = vec![stage(500)];
        let rates = rates(&stages, Some(&before), now);
        let shown = line(now, &stages, &rates, &[("华东".into(), "77.50".into())]);
        assert_eq!(shown, "   12 s  ODS 1,500 rows (+200/s) 12 ms  华东 77.50 kW");
    }
}
