//! The ways in which the same rows come: at once, one by one, in drawn portions, through detours.
//!
//! A way turns "tables hold this, and are to hold that" into transactions. Whatever the way, the tables end the same.

use gridhouse_base::Value;
use gridhouse_base::random::Random;

use crate::outside::Transaction;
use crate::rows::Row;
use crate::tables::{Change, Contents, Table};

/// A way of replaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name in `skipif`.
    pub name: &'static str,
    /// How changes are cut into transactions.
    pub cut: Cut,
    /// What happens to the engine after a tick.
    pub after: After,
    /// Whether every key of state has the same hash.
    pub constant_hash: bool,
    /// How many source rows a tick passes through the jobs at once; 0: as many as usual.
    pub round_rows: usize,
}

/// How changes are cut into transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of them in one.
    Whole,
    /// One each.
    Rows,
    /// A drawn number of changes of drawn tables.
    Drawn,
    /// As `Drawn`, with rows that are wrong or superfluous first, and put right later.
    Detours,
}

/// What happens after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// The engine is stopped and opened.
    Restart,
    /// The machine stops and starts.
    Kill,
}

/// All streaming ways.
pub const WAYS: [Way; 10] = [
    Way { name: "whole", cut: Cut::Whole, after: After::Nothing, constant_hash: false, round_rows: 0 },
    Way { name: "rows", cut: Cut::Rows, after: After::Nothing, constant_hash: false, round_rows: 0 },
    Way { name: "ticks", cut: Cut::Drawn, after: After::Nothing, constant_hash: false, round_rows: 0 },
    Way { name: "detours", cut: Cut::Detours, after: After::Nothing, constant_hash: false, round_rows: 0 },
    Way { name: "restart", cut: Cut::Drawn, after: After::Restart, constant_hash: false, round_rows: 0 },
    Way { name: "kill", cut: Cut::Detours, after: After::Kill, constant_hash: false, round_rows: 0 },
    Way { name: "hash", cut: Cut::Detours, after: After::Nothing, constant_hash: true, round_rows: 0 },
    Way { name: "hash-rows", cut: Cut::Rows, after: After::Nothing, constant_hash: true, round_rows: 0 },
    Way { name: "rounds", cut: Cut::Whole, after: After::Nothing, constant_hash: false, round_rows: 3 },
    Way { name: "round-rows", cut: Cut::Detours, after: After::Restart, constant_hash: false, round_rows: 1 },
];

/// A change of the table with a number.
type Numbered = (usize, Change);

/// The transactions that lead tables from `now` to `wanted`; `now` follows.
pub fn transactions(
    cut: Cut,
    tables: &[Table],
    now: &mut [Contents],
    wanted: &[Contents],
    random: &mut Random,
) -> Vec<Transaction> {
    let mut all: Vec<Vec<Numbered>> = Vec::new();
    if tables.iter().zip(&*now).zip(wanted).all(|((table, now), wanted)| table.way(now, wanted).is_empty()) {
        return Vec::new();
    }
    if cut == Cut::Detours {
        let steps: Vec<Numbered> = detours(tables, now, wanted, random);
        for (table, change) in &steps {
            tables[*table].apply(&mut now[*table], change);
        }
        all.extend(portions(steps, random));
    }
    let mut changes: Vec<Numbered> = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        changes.extend(table.way(&now[i], &wanted[i]).into_iter().map(|change| (i, change)));
    }
    for (table, change) in &changes {
        tables[*table].apply(&mut now[*table], change);
    }
    match cut {
        Cut::Whole => all.push(changes),
        Cut::Rows => all.extend(changes.into_iter().map(|change| vec![change])),
        Cut::Drawn | Cut::Detours => {
            random.shuffle(&mut changes);
            all.extend(portions(changes, random));
        }
    }
    all.into_iter().filter(|changes| !changes.is_empty()).map(|changes| transaction(tables, &changes)).collect()
}

/// Changes as a transaction: runs of changes of one table become batches.
pub fn transaction(tables: &[Table], changes: &[Numbered]) -> Transaction {
    let mut batches: Transaction = Vec::new();
    for run in changes.chunk_by(|a, b| a.0 == b.0) {
        let table = &tables[run[0].0];
        let changes: Vec<Change> = run.iter().map(|(_, change)| change.clone()).collect();
        batches.push((table.name.clone(), table.batch(&changes)));
    }
    batches
}

/// Wrong rows for what will be there, rows that will not be there, and rows that are there taken away.
fn detours(tables: &[Table], now: &[Contents], wanted: &[Contents], random: &mut Random) -> Vec<Numbered> {
    let mut steps = Vec::new();
    for (i, table) in tables.iter().enumerate().filter(|(_, table)| !table.key.is_empty()) {
        let known: Vec<&Row> = now[i].values().chain(wanted[i].values()).collect();
        if known.is_empty() {
            continue;
        }
        for _ in 0..known.len().min(40) {
            let row = *random.pick(&known);
            let change = match random.below(4) {
                0 => Change::Delete(row.clone()),
                1 => Change::Put(row.clone()),
                2 => Change::Put(mixed(table, row, &known, false, random)),
                _ => Change::Put(mixed(table, row, &known, true, random)),
            };
            steps.push((i, change));
        }
    }
    random.shuffle(&mut steps);
    steps
}

/// `row` with some of its values taken from other rows, or made NULL; with another key where `elsewhere`.
fn mixed(table: &Table, row: &Row, known: &[&Row], elsewhere: bool, random: &mut Random) -> Row {
    let mut values = row.values.clone();
    for (c, value) in values.iter_mut().enumerate().filter(|(c, _)| !table.key.contains(c)) {
        match random.below(8) {
            0..=3 => *value = random.pick(known).values[c].clone(),
            4 if table.types[c].nullable => *value = Value::Null,
            _ => {}
        }
    }
    if elsewhere {
        for &c in &table.key {
            values[c] = match &values[c] {
                // Every type of whole number has room for this.
                Value::Integer(n) => Value::Integer((n + 1 + random.below(20) as i64).rem_euclid(100)),
                Value::Text(_) => Value::Text(["x", "y", "z", "北"][random.below(4) as usize].into()),
                _ => random.pick(known).values[c].clone(),
            };
        }
    }
    table.row(values)
}

/// Pieces of drawn length.
fn portions(changes: Vec<Numbered>, random: &mut Random) -> Vec<Vec<Numbered>> {
    let mut pieces: Vec<Vec<Numbered>> = Vec::new();
    let mut left = 0;
    for change in changes {
        if left == 0 || pieces.is_empty() {
            pieces.push(Vec::new());
            left = 1 + random.below(6);
        }
        pieces.last_mut().expect("a piece was begun").push(change);
        left -= 1;
    }
    pieces
}
