//! One marked change, timed on its way: from the commit in the source through every layer into the sink, and taken back.

use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_serve::Client as House;
use tokio::time::Instant;

use crate::signals::Signals;
use crate::solution::definition::{Board, LAYERS, Mark};
use crate::solution::expected::Kind;
use crate::solution::verify::check::{Check, Wanted};
use crate::solution::verify::compare;

/// How often arrival is looked at: what the times are good for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a change took since its COMMIT was sent; `None`: it did not arrive in time.
pub struct Timing {
    /// The source said that it was committed.
    pub committed: Duration,
    /// A table of ODS, DWD, DWS, ADS had it.
    pub layers: [Option<Duration>; LAYERS.len()],
    /// Every board that it changes had its new rows.
    pub sink: Option<Duration>,
}

impl Timing {
    /// Whether it arrived everywhere.
    pub fn is_whole(&self) -> bool {
        self.layers.iter().all(Option::is_some) && self.sink.is_some()
    }
}

/// A board that the change touches, with its rows after it.
type Touched<'a> = (&'a Board, Wanted);

/// Makes the marked change of `check`'s solution and waits, at most `patience`, until it is everywhere; then takes it back.
///
/// # Errors
/// `Invalid` where the change does not run or touches no board; the source is then as before.
pub async fn time(
    check: &Check<'_>,
    mark: &Mark,
    house: &mut House,
    patience: Duration,
    signals: &Signals,
) -> Result<Timing> {
    let before = boards(check).await?;
    let commits = last_commits(check, house)?;
    check.change("change", &mark.change).await?;
    // The transaction sees its own change: so the new figures are known before anybody can have them.
    let touched = match touched(check, &before).await {
        Ok(touched) if !touched.is_empty() => touched,
        other => {
            check.roll_back().await?;
            other?;
            let place = check.solution.path("solution.toml");
            let error = Error::invalid(format!("{place}: the change of `mark.change` does not reach any board"));
            return Err(error.hint("take a change of a row that counts in a board"));
        }
    };
    let sent = Instant::now();
    check.commit().await?;
    let mut timing = Timing { committed: sent.elapsed(), layers: [None; LAYERS.len()], sink: None };
    while !timing.is_whole() && sent.elapsed() < patience && !signals.stop() {
        let now = last_commits(check, house)?;
        let passed = sent.elapsed();
        for (layer, arrived) in timing.layers.iter_mut().enumerate() {
            if arrived.is_none() && now[layer] != commits[layer] {
                *arrived = Some(passed);
            }
        }
        if timing.sink.is_none() && arrived(check, &touched).await? {
            timing.sink = Some(sent.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    check.change("undo", &mark.undo).await?;
    check.commit().await?;
    Ok(timing)
}

async fn boards<'a>(check: &Check<'a>) -> Result<Vec<Touched<'a>>> {
    let solution = check.solution;
    let mut found = Vec::new();
    for board in &solution.definition.board {
        found.push((board, check.wanted(solution.expected.needed(Kind::Board, &board.table)?).await?));
    }
    Ok(found)
}

/// The boards that are no longer as `before`.
async fn touched<'a>(check: &Check<'a>, before: &[Touched<'a>]) -> Result<Vec<Touched<'a>>> {
    let after = boards(check).await?;
    let differs = |(old, new): &(&Touched<'_>, Touched<'_>)| {
        !compare::differences(&new.1.columns, &[], &old.1.rows, &new.1.rows).is_empty()
    };
    Ok(before.iter().zip(after).filter(differs).map(|(_, new)| new).collect())
}

async fn arrived(check: &Check<'_>, touched: &[Touched<'_>]) -> Result<bool> {
    for (board, wanted) in touched {
        let found = check.board_rows(board, wanted).await?;
        if !compare::differences(&wanted.columns, &[], &wanted.rows, &found).is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// For each layer the last commits of its tables.
fn last_commits(check: &Check<'_>, house: &mut House) -> Result<Vec<Vec<(String, String)>>> {
    let rows = house.rows("SELECT table_name, last_commit FROM system.status.tables")?;
    let of_layer = |tables: &Vec<String>| {
        let mut commits: Vec<(String, String)> = Vec::new();
        for row in &rows {
            if let [Some(table), commit] = row.as_slice()
                && tables.contains(table)
            {
                commits.push((table.clone(), commit.clone().unwrap_or_default()));
            }
        }
        commits
    };
    Ok(check.solution.definition.layer.iter().map(|layer| of_layer(&layer.tables)).collect())
}
