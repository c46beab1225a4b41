//! Other judges than the query itself: rows split in three by a predicate, and a real PostgreSQL.

use super::{Failure, History, case, queries_of};
use crate::House;
use crate::draws::Draws;
use crate::generate;
use crate::psql::{ask, normal};
use crate::replay::letter;
use crate::rows::Text;
use crate::tables::{Change, Table};
use crate::ways::transaction;

/// Predicates per round.
const SPLITS: u64 = 8;

/// The house at the end of the history of `seed`, in one tick.
fn at_the_end(seed: u64) -> Result<(House, History), String> {
    let history = History::draw(&mut Draws::new(!seed));
    let mut house = House::new(1, false, 0);
    house.run(generate::TABLES)?;
    for table in &history.tables {
        house.run(&table.feed())?;
    }
    let mut changes = Vec::new();
    for (i, contents) in history.contents().into_iter().enumerate() {
        changes.extend(contents.into_values().map(|row| (i, Change::Put(row))));
    }
    house.tick(transaction(&history.tables, &changes))?;
    Ok((house, history))
}

fn failure(seed: u64, sql: String, difference: String, history: &History) -> Failure {
    let command = format!("cargo run -p gridhouse-slt --example law -- --seed {seed} --rounds 1");
    Failure { sql, history: history.to_string(), difference, command }
}

/// Predicates that do not split rows in three.
///
/// # Panics
/// If the house cannot be furnished.
pub fn splitting(seed: u64) -> Vec<Failure> {
    let (mut house, history) = at_the_end(seed).expect("the house is furnished");
    let mut failures = Vec::new();
    for i in 0..SPLITS {
        let mut draws = Draws::new(seed.wrapping_mul(7_000_003).wrapping_add(i));
        let parts = generate::partition(&mut draws);
        if let Err(difference) = case::partition(&parts, &mut house) {
            failures.push(failure(seed, format!("{} WHERE {}", parts.0, parts.2), difference, &history));
        }
    }
    failures
}

/// Queries of the round whose rows are not PostgreSQL's; a query that only one of them takes is no failure.
///
/// # Panics
/// If there is no PostgreSQL.
pub fn differing(seed: u64) -> Vec<Failure> {
    let (mut house, history) = at_the_end(seed).expect("the house is furnished");
    let queries = queries_of(seed);
    let mut statements: Vec<String> = generate::TABLES.split_terminator(';').map(str::to_owned).collect();
    for (table, contents) in history.tables.iter().zip(history.contents()) {
        statements.extend(contents.into_values().map(|row| insertion(table, &row.text)));
    }
    let furniture = statements.len();
    statements.extend(queries.iter().map(|(sql, _)| sql.clone()));
    let answers = ask(&statements.iter().map(String::as_str).collect::<Vec<_>>()).expect("PostgreSQL answers");
    if let Some((sql, Err(error))) = statements.iter().zip(&answers).take(furniture).find(|(_, answer)| answer.is_err())
    {
        panic!("PostgreSQL does not take {sql}: {error}");
    }
    let mut failures = Vec::new();
    for ((sql, _), theirs) in queries.iter().zip(&answers[furniture..]) {
        let (Ok(ours), Ok(theirs)) = (house.run(sql), theirs) else { continue };
        // The scale of a decimal is another where two scales meet; its value must not be.
        let letters: String =
            ours.types.iter().map(|t| letter(&t.kind)).map(|l| if l == 'D' { 'R' } else { l }).collect();
        let rows: Vec<Text> = ours.rows.into_iter().map(|row| row.text).collect();
        let (ours, theirs) = (normal(&rows, &letters), normal(theirs, &letters));
        if ours != theirs {
            let difference = format!("PostgreSQL gives other rows:\n{}", theirs.difference(&ours));
            failures.push(failure(seed, sql.clone(), difference, &history));
        }
    }
    failures
}

/// A row as an INSERT that PostgreSQL takes.
fn insertion(table: &Table, row: &Text) -> String {
    let value = |value: &Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    };
    format!("INSERT INTO {} VALUES ({})", table.name, row.iter().map(value).collect::<Vec<_>>().join(", "))
}
