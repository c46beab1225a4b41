//! `gridhouse verify`: is what the boards show what the source says? Every row of every board, every layer, and how long a
//! change takes from the source to the boards, while everything runs.

mod check;
mod compare;
mod mark;
mod report;

use std::time::Duration;

use gridhouse_base::Result;
use gridhouse_serve::Client as House;
use tokio::time::Instant;

use crate::language::Language;
use crate::signals::Signals;
use crate::solution::database::Databases;
use crate::solution::folder::Solution;
use check::{Check, Outcome, quoted_path};
use mark::Timing;

/// How often sink and layers are looked at until they agree.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the check is done.
#[derive(Clone, Copy)]
pub struct Options {
    /// How long layers and sink may take to agree, and a change to arrive.
    pub patience: Duration,
    /// Whether a change is made and timed.
    pub mark: bool,
    /// The language of the report.
    pub language: Language,
}

/// What was found of a solution.
struct Findings {
    /// Rows of each table of the source, in the order of the definition.
    source: Vec<u64>,
    /// Each table of each layer: layer, table, count there and as it should be, rows where they were compared.
    layers: Vec<LayerFinding>,
    /// Each board of the sink.
    boards: Vec<(String, Outcome)>,
    /// How long it took until the boards agreed, after the source stood still.
    settled: Duration,
    /// How long the marked change took; `None` where none was made.
    timing: Option<Timing>,
}

struct LayerFinding {
    layer: String,
    table: String,
    wanted: u64,
    found: u64,
    rows: Option<Outcome>,
}

impl LayerFinding {
    fn agrees(&self) -> bool {
        self.wanted == self.found && self.rows.as_ref().is_none_or(Outcome::agrees)
    }
}

impl Findings {
    /// Whether the rows agree everywhere.
    fn agrees(&self) -> bool {
        self.layers.iter().all(LayerFinding::agrees) && self.boards.iter().all(|(_, outcome)| outcome.agrees())
    }

    /// Whether there is nothing to complain about.
    fn is_well(&self) -> bool {
        self.agrees() && self.timing.as_ref().is_none_or(Timing::is_whole)
    }
}

/// Checks `solution` and prints what was compared; whether everything agrees. Without a `house` only the sink is compared.
///
/// # Errors
/// `Unavailable` where a database or the process does not answer; `Invalid` with file and line where a query of the solution does
/// not run.
pub async fn verify(
    solution: &Solution,
    databases: &Databases,
    mut house: Option<&mut House>,
    options: Options,
    signals: &Signals,
) -> Result<bool> {
    let check = Check::begin(solution, databases, options.patience).await?;
    let (mut boards, settled) = boards(&check, options.patience, signals).await?;
    let mut timing = None;
    if let (true, true, Some(mark), Some(house)) =
        (options.mark, agree(&boards), &solution.definition.mark, house.as_deref_mut())
    {
        timing = Some(mark::time(&check, mark, house, options.patience, signals).await?);
        // The change was taken back: everything has to agree again.
        (boards, _) = self::boards(&check, options.patience, signals).await?;
    }
    let compared_layers = house.is_some();
    let layers = match house {
        Some(house) => layers(&check, house, options.patience, signals).await?,
        None => Vec::new(),
    };
    let mut source = Vec::new();
    for table in &solution.definition.source {
        source.push(check.source_count(&table.table).await?);
    }
    let findings = Findings { source, layers, boards, settled, timing };
    report::print(solution, &findings, compared_layers, options.language);
    Ok(findings.is_well())
}

fn agree(boards: &[(String, Outcome)]) -> bool {
    boards.iter().all(|(_, outcome)| outcome.agrees())
}

/// Compares the boards again and again until they agree or time is over; and how long that took.
async fn boards(
    check: &Check<'_>,
    patience: Duration,
    signals: &Signals,
) -> Result<(Vec<(String, Outcome)>, Duration)> {
    let started = Instant::now();
    loop {
        let mut boards = Vec::new();
        for board in &check.solution.definition.board {
            boards.push((board.table.clone(), check.board(board).await?));
        }
        let passed = started.elapsed();
        if agree(&boards) || passed > patience || signals.stop() {
            return Ok((boards, passed));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Compares every table of every layer, each until it agrees or time is over.
async fn layers(
    check: &Check<'_>,
    house: &mut House,
    patience: Duration,
    signals: &Signals,
) -> Result<Vec<LayerFinding>> {
    let started = Instant::now();
    let mut found = Vec::new();
    for layer in &check.solution.definition.layer {
        for table in &layer.tables {
            let finding = loop {
                let finding = self::layer(check, house, &layer.name, table).await?;
                if finding.agrees() || started.elapsed() > patience || signals.stop() {
                    break finding;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            found.push(finding);
        }
    }
    Ok(found)
}

async fn layer(check: &Check<'_>, house: &mut House, layer: &str, table: &str) -> Result<LayerFinding> {
    let wanted = check.wanted_count(table).await?;
    let counted = house.rows(&format!("SELECT COUNT(*) FROM {}", quoted_path(table)))?;
    let found = counted.first().and_then(|row| row.first()?.as_deref()?.parse().ok()).unwrap_or(0);
    let rows = check.layer_rows(house, table).await?;
    Ok(LayerFinding { layer: layer.into(), table: table.into(), wanted, found, rows })
}
