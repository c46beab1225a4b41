//! Queries through one history.

use std::collections::BTreeMap;

use gridhouse_base::SqlType;
use gridhouse_engine::QueryPath;

use super::History;
use crate::House;
use crate::generate;
use crate::replay::job;
use crate::rows::Bag;
use crate::ways::{After, transaction};

/// Answers that are larger than this are not worth the time.
const MAX_ROWS: usize = 3_000;

/// What became of a query.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It kept the law.
    Kept {
        /// How often that was looked at.
        compared: u64,
        /// How many rows that were.
        rows: u64,
    },
    /// It cannot be a query, or not a job, or fails on the rows; why.
    Rejected(String),
    /// It broke the law; how.
    Broken(String),
}

struct Running {
    types: Vec<SqlType>,
    started: bool,
    verdict: Verdict,
}

/// Takes `queries` through `history`; a verdict for each.
///
/// # Errors
/// Where the engine itself gives up, and so nothing can be said of the single query.
pub fn run(queries: &[String], history: &History) -> Result<Vec<Verdict>, String> {
    let mut house = House::new(1, history.constant_hash, history.round_rows);
    house.run(generate::TABLES)?;
    for table in &history.tables {
        house.run(&table.feed())?;
    }
    let mut running = Vec::new();
    for sql in queries {
        let (types, verdict) = match house.run(sql) {
            Ok(answer) => (answer.types, Verdict::Kept { compared: 0, rows: 0 }),
            Err(error) => (Vec::new(), refused(error)),
        };
        running.push(Running { types, started: false, verdict });
    }
    begin(&mut house, queries, &mut running, 0)?;
    for (i, step) in history.steps.iter().enumerate() {
        if i == history.late {
            begin(&mut house, queries, &mut running, 1)?;
        }
        let ticked = house.tick(transaction(&history.tables, &step.changes));
        let ticked = ticked.and_then(|()| match step.after {
            After::Nothing => Ok(()),
            After::Restart => house.restart(),
            After::Kill => house.kill(),
        });
        if let Err(error) = ticked.and_then(|()| house.settle()) {
            let named = (0..queries.len()).find(|q| error.starts_with(&format!("{}:", name(*q))));
            match named {
                Some(query) => running[query].verdict = Verdict::Broken(error),
                None => return Err(error),
            }
        }
        let failed = failures(&mut house)?;
        for (q, sql) in queries.iter().enumerate() {
            if running[q].started {
                compare(&mut house, q, sql, i, failed.get(&q), &mut running[q].verdict);
            }
        }
    }
    for (sql, query) in queries.iter().zip(&mut running) {
        if matches!(query.verdict, Verdict::Kept { .. }) {
            plain(&mut house, sql, &mut query.verdict);
        }
    }
    Ok(running.into_iter().map(|query| query.verdict).collect())
}

fn name(query: usize) -> String {
    format!("result_{query}")
}

/// Begins the jobs whose number has that remainder by two; a lone query begins at once and is never late.
fn begin(house: &mut House, queries: &[String], running: &mut [Running], remainder: usize) -> Result<(), String> {
    for (q, sql) in queries.iter().enumerate().filter(|(q, _)| q % 2 == remainder) {
        let query = &mut running[q];
        if !matches!(query.verdict, Verdict::Kept { .. }) {
            continue;
        }
        match house.run(&job(&name(q), &query.types, sql)) {
            Ok(_) => query.started = true,
            Err(error) => query.verdict = refused(format!("as a job: {error}")),
        }
    }
    Ok(())
}

/// Jobs that have failed, with why.
fn failures(house: &mut House) -> Result<BTreeMap<usize, String>, String> {
    let mut failed = BTreeMap::new();
    for line in house.failed_jobs()? {
        let number =
            line.split_once("result_").map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
        let number: Option<usize> = number.and_then(|digits: String| digits.parse().ok());
        match number {
            Some(number) => drop(failed.insert(number, line)),
            None => return Err(line),
        }
    }
    Ok(failed)
}

/// Compares a job's rows with its query's at this moment.
fn compare(house: &mut House, q: usize, sql: &str, tick: usize, failed: Option<&String>, verdict: &mut Verdict) {
    let Verdict::Kept { compared, rows } = verdict else { return };
    let expected = match house.run(sql) {
        Ok(answer) if answer.rows.len() > MAX_ROWS => {
            *verdict = Verdict::Rejected("it gives too many rows".into());
            return;
        }
        Ok(answer) => Bag::of(answer.rows.into_iter().map(|row| row.text)),
        Err(error) => {
            *verdict = refused(error);
            return;
        }
    };
    if let Some(why) = failed {
        *verdict = Verdict::Broken(format!("tick {}: the job failed, the query does not: {why}", tick + 1));
        return;
    }
    let got = house.outside.rows(&name(q));
    *compared += 1;
    *rows += expected.len() as u64;
    if expected != got {
        let difference = expected.difference(&got);
        *verdict = Verdict::Broken(format!("tick {}: the job's rows are not the query's:\n{difference}", tick + 1));
    }
}

/// Compares the optimised plan with the plan as it is bound, and with DataFusion.
fn plain(house: &mut House, sql: &str, verdict: &mut Verdict) {
    let bag = |answer: crate::house::Answer| Bag::of(answer.rows.into_iter().map(|row| row.text));
    match (house.run(sql).map(bag), house.run_plain(sql).map(bag)) {
        (Ok(optimised), Ok(plain)) if optimised == plain => match house.run_on(QueryPath::DataFusion, sql).map(bag) {
            Ok(other) if other == optimised => {}
            Ok(other) => {
                let difference = optimised.difference(&other);
                *verdict = Verdict::Broken(format!("DataFusion gives other rows than the operators:\n{difference}"));
            }
            Err(error) => *verdict = Verdict::Broken(format!("on DataFusion it fails: {error}")),
        },
        (Ok(optimised), Ok(plain)) => {
            let difference = plain.difference(&optimised);
            *verdict =
                Verdict::Broken(format!("the optimised plan gives other rows than the plan as bound:\n{difference}"));
        }
        (Ok(_), Err(error)) => *verdict = Verdict::Broken(format!("without the optimiser it fails: {error}")),
        (Err(error), _) => *verdict = refused(error),
    }
}

/// A query that is not taken is no failure, unless the program blames itself.
fn refused(error: String) -> Verdict {
    if error.contains("internal") { Verdict::Broken(error) } else { Verdict::Rejected(general(&error)) }
}

/// A message without what is particular to the query, so that the same reasons add up.
fn general(error: &str) -> String {
    let mut text = String::new();
    let mut quoted = false;
    for word in error.split_whitespace() {
        let plain = !word.contains(|c: char| c.is_ascii_digit()) && !quoted;
        quoted ^= word.matches(['\'', '`']).count() % 2 == 1;
        text += if plain { word } else { "…" };
        text.push(' ');
    }
    text.chars().take(150).collect()
}

/// Checks a predicate over the rows of `history`'s end: those for which it is true, false and unknown are all rows, and as many
/// are counted as are selected. `None` where the query is not taken.
///
/// # Errors
/// What does not add up.
pub fn partition(parts: &(String, String, String), house: &mut House) -> Result<bool, String> {
    let (select, from, predicate) = parts;
    let mut bag = |sql: &str| house.run(sql).map(|answer| Bag::of(answer.rows.into_iter().map(|row| row.text)));
    let split = format!(
        "{select} WHERE {predicate} UNION ALL {select} WHERE NOT ({predicate}) UNION ALL {select} WHERE ({predicate}) IS NULL"
    );
    let (whole, parts) = match (bag(select), bag(&split)) {
        (Ok(whole), Ok(parts)) => (whole, parts),
        (Err(error), _) | (_, Err(error)) if error.contains("internal") => return Err(error),
        _ => return Ok(false),
    };
    if whole != parts {
        return Err(format!("{select}\nsplit by {predicate}\n{}", whole.difference(&parts)));
    }
    let selected = bag(&format!("SELECT COUNT(*) FROM {from} WHERE {predicate}"));
    let counted = bag(&format!("SELECT COALESCE(SUM(CASE WHEN {predicate} THEN 1 ELSE 0 END), 0) FROM {from}"));
    match (selected, counted) {
        (Ok(selected), Ok(counted)) if selected == counted => Ok(true),
        (Ok(selected), Ok(counted)) => {
            Err(format!("FROM {from}\nselected or counted by {predicate}\n{}", selected.difference(&counted)))
        }
        (Err(error), _) | (_, Err(error)) if error.contains("internal") => Err(error),
        _ => Ok(false),
    }
}
