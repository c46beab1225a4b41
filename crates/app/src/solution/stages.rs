//! How far a solution's changes have come: its source, its layers and its sinks as the running process counts them.

use std::time::Duration;

use gridhouse_base::Result;
use gridhouse_serve::{Client, ResultColumn, RowText};

use crate::solution::definition::Definition;

/// One part of the way: a layer, the source or the sinks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Rows that live there; the source and the sinks only count what passes.
    pub rows: Option<u64>,
    /// Changes that went through since the process started.
    pub changes: u64,
    /// The largest delay of its tables against the source.
    pub delay_ms: Option<f64>,
}

/// Source, ODS, DWD, DWS, ADS, sink: in the order in which a change travels.
pub const STAGES: usize = 6;

/// The status tables of the process at one moment.
pub struct Status {
    tables: (Vec<ResultColumn>, Vec<RowText>),
    sources: (Vec<ResultColumn>, Vec<RowText>),
    sinks: (Vec<ResultColumn>, Vec<RowText>),
    jobs: (Vec<ResultColumn>, Vec<RowText>),
}

/// What of a process belongs to a solution.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// The beginning of the key of its source stream.
    pub stream: Option<String>,
    /// The names of its sinks.
    pub sinks: Vec<String>,
}

impl Status {
    /// Asks the process.
    ///
    /// # Errors
    /// `Unavailable` where it has gone.
    pub fn ask(house: &mut Client) -> Result<Self> {
        let mut table = |name: &str| house.table(&format!("SELECT * FROM system.status.{name}"));
        Ok(Self { tables: table("tables")?, sources: table("sources")?, sinks: table("sinks")?, jobs: table("jobs")? })
    }

    /// Whether the process has a table of the solution.
    pub fn holds(&self, definition: &Definition) -> bool {
        let (columns, rows) = &self.tables;
        rows.iter().any(|row| {
            let name = cell(columns, row, "table_name").unwrap_or_default();
            definition.tables().any(|table| table == name)
        })
    }

    /// The stages of a solution.
    pub fn stages(&self, definition: &Definition, share: &Share) -> [Stage; STAGES] {
        let mut stages: [Stage; STAGES] = Default::default();
        let (columns, rows) = &self.sources;
        for row in rows {
            let stream = cell(columns, row, "stream").unwrap_or_default();
            if share.stream.as_deref().is_some_and(|own| is_stream(stream, own)) {
                stages[0].changes += number(columns, row, "rows_in").unwrap_or(0.0) as u64;
            }
        }
        let (columns, rows) = &self.tables;
        for (stage, layer) in stages[1..].iter_mut().zip(&definition.layer) {
            for row in rows {
                let name = cell(columns, row, "table_name").unwrap_or_default();
                if layer.tables.iter().any(|table| table == name) {
                    stage.rows =
                        Some(stage.rows.unwrap_or(0) + number(columns, row, "row_count").unwrap_or(0.0) as u64);
                    stage.changes += number(columns, row, "changes").unwrap_or(0.0) as u64;
                    stage.delay_ms = later(stage.delay_ms, number(columns, row, "delay_ms"));
                }
            }
        }
        let (columns, rows) = &self.sinks;
        for row in rows {
            if share.sinks.iter().any(|name| cell(columns, row, "sink_id") == Some(name)) {
                let sink = &mut stages[STAGES - 1];
                sink.changes += number(columns, row, "rows_out").unwrap_or(0.0) as u64;
                sink.delay_ms = later(sink.delay_ms, number(columns, row, "delay_ms"));
            }
        }
        stages
    }

    /// What does not run as it should, a line each; empty where all is well.
    pub fn troubles(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (what, (columns, rows), id) in
            [("source", &self.sources, "stream"), ("job", &self.jobs, "name"), ("sink", &self.sinks, "target")]
        {
            for row in rows {
                if let Some(error) = cell(columns, row, "error") {
                    let (name, state) =
                        (cell(columns, row, id).unwrap_or(""), cell(columns, row, "state").unwrap_or(""));
                    found.push(crate::redact::redacted(&format!("{what} {name} {state}: {error}")));
                }
            }
        }
        found
    }
}

/// Whether `stream` is the stream of the database `own`, shared or not.
fn is_stream(stream: &str, own: &str) -> bool {
    stream.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn later(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The value of the column `name` in `row`.
fn cell<'a>(columns: &[ResultColumn], row: &'a RowText, name: &str) -> Option<&'a str> {
    let index = columns.iter().position(|column| column.name == name)?;
    row.get(index)?.as_deref()
}

fn number(columns: &[ResultColumn], row: &RowText, name: &str) -> Option<f64> {
    cell(columns, row, name).and_then(|value| value.parse().ok())
}

/// Changes per second of each stage since `before`.
pub fn rates(now: &[Stage; STAGES], before: Option<&[Stage; STAGES]>, passed: Duration) -> [Option<f64>; STAGES] {
    let seconds = passed.as_secs_f64().max(0.001);
    std::array::from_fn(|i| before.map(|old| now[i].changes.saturating_sub(old[i].changes) as f64 / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solution::folder::Folder;

    fn result(names: &[&str], rows: &[&[&str]]) -> (Vec<ResultColumn>, Vec<RowText>) {
        let columns = names.iter().map(|&name| ResultColumn { name: name.into(), is_number: false }).collect();
        let row = |row: &&[&str]| row.iter().map(|&value| (!value.is_empty()).then(|| value.to_owned())).collect();
        (columns, rows.iter().map(row).collect())
    }

    #[test]
    fn each_solution_gets_its_own_part_of_the_process() {
        let status = Status {
            tables: result(
                &["table_name", "row_count", "changes", "delay_ms"],
                &[
                    &["fluss.grid.ods_devices", "10", "12", "1.5"],
                    &["fluss.grid.ods_alarms", "5", "6", "2.5"],
                    &["fluss.shop.ods_orders", "99", "99", "99"],
                ],
            ),
            sources: result(
                &["stream", "rows_in", "state", "error"],
                &[
                    &["postgres-cdc/7/grid", "20", "STREAMING", ""],
                    &["postgres-cdc/7/grid_2", "1000", "WAITING", "password=geheim refused"],
                    &["postgres-cdc/7/grid/slot_a", "3", "STREAMING", ""],
                ],
            ),
            sinks: result(
                &["sink_id", "rows_out", "delay_ms", "error"],
                &[&["4/0/b", "7", "9", ""], &["5/0/b", "70", "", ""]],
            ),
            jobs: result(&["name", "state", "error"], &[]),
        };
        let definition = Folder::built_in().open("first-chain").unwrap().definition;
        assert!(status.holds(&definition));
        let share = Share { stream: Some("postgres-cdc/7/grid".into()), sinks: vec!["4/0/b".into()] };
        let stages = status.stages(&definition, &share);
        assert_eq!(stages[0], Stage { rows: None, changes: 23, delay_ms: None });
        assert_eq!(stages[1], Stage { rows: Some(15), changes: 18, delay_ms: Some(2.5) });
        assert_eq!(stages[2], Stage::default(), "a layer without tables has no rows");
        assert_eq!(stages[5], Stage { rows: None, changes: 7, delay_ms: Some(9.0) });
        let mut before = stages.clone();
        before[1].changes = 10;
        assert_eq!(rates(&stages, Some(&before), Duration::from_secs(2))[1], Some(4.0));
        assert_eq!(status.troubles(), ["source postgres-cdc/7/grid_2 WAITING: password=**** refused"]);
    }
}
