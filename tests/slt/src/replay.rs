//! A file of the corpus, replayed: at once, or as jobs while its rows come in some way.
//!
//! At once, its records are run in order. As jobs, the tables and views are made first, then every query becomes a job that
//! writes into a sink; the rows that the tables hold at each query are then fed by transactions. After every tick each job's
//! rows must be those that its query gives at that moment, and where the file has the query, those that stand in the file.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;
use gridhouse_base::{SqlType, TypeKind};
use gridhouse_engine::QueryPath;
use gridhouse_sql::ast::Statement;
use gridhouse_sql::parse_script;

use crate::House;
use crate::format::{Expect, File, Record};
use crate::rows::{Bag, Text, shown};
use crate::tables::{Contents, Table, definition};
use crate::ways::{After, Way, transactions};

/// What the batch replay learned, for the others.
pub struct Seen {
    /// The tables of the file.
    pub tables: Vec<Table>,
    /// What they hold at each record.
    states: BTreeMap<usize, Vec<Contents>>,
    /// The columns of each query, by its text.
    types: BTreeMap<String, Vec<SqlType>>,
}

/// The name of the way that replays at once.
pub const BATCH: &str = "batch";

/// Runs the records of a file in order, queries optimised and not, and on DataFusion.
///
/// # Errors
/// Every record that does not do what is expected, with its line.
pub fn at_once(file: &File) -> Result<Seen, String> {
    let mut house = House::new(1, false, 0);
    let mut complaints = Vec::new();
    let mut seen = Seen { tables: Vec::new(), states: BTreeMap::new(), types: BTreeMap::new() };
    for (i, record) in file.records.iter().enumerate().filter(|(_, record)| record.applies(BATCH, false)) {
        let answer = house.run(&record.sql);
        match (&record.expect, answer) {
            (Expect::Ok, Ok(_)) => seen.tables.extend(definition(&record.sql).as_ref().map(Table::of)),
            (Expect::Error(part), Err(error)) if error.contains(part) => {
                if let Ok(answer) = house.run_on(QueryPath::DataFusion, &record.sql)
                    && !answer.types.is_empty()
                {
                    complaints.push(format!("line {}: on DataFusion it succeeds\n{}", record.line, record.sql));
                }
            }
            (Expect::Error(part), got) => {
                let got = got.map_or_else(|error| error, |_| "succeeds".into());
                complaints.push(format!("line {}: expected an error with `{part}`, but it {got}", record.line));
            }
            (Expect::Ok, Err(error)) => complaints.push(format!("line {}: {error}\n{}", record.line, record.sql)),
            (Expect::Rows { .. }, Err(error)) => {
                complaints.push(format!("line {}: {error}\n{}", record.line, record.sql));
            }
            (Expect::Rows { types, ordered, rows }, Ok(answer)) => {
                let letters: String = answer.types.iter().map(|t| letter(&t.kind)).collect();
                if *types != letters {
                    complaints.push(format!("line {}: the columns are {letters}, not {types}", record.line));
                }
                let got: Vec<Text> = answer.rows.into_iter().map(|row| row.text).collect();
                complaints.extend(compare(record, rows, &got, *ordered));
                match house.run_on(QueryPath::DataFusion, &record.sql) {
                    Ok(other) => {
                        let other: Vec<Text> = other.rows.into_iter().map(|row| row.text).collect();
                        let complaint = compare(record, rows, &other, *ordered);
                        complaints.extend(complaint.map(|complaint| format!("on DataFusion: {complaint}")));
                    }
                    Err(error) => {
                        complaints.push(format!("line {}: on DataFusion: {error}\n{}", record.line, record.sql))
                    }
                }
                let plain = house.run_plain(&record.sql).map(|answer| answer.rows.into_iter().map(|row| row.text));
                match plain {
                    Ok(plain) if Bag::of(plain.clone()) == Bag::of(got.clone()) => {}
                    Ok(plain) => complaints.push(format!(
                        "line {}: the plan as it is bound gives other rows than the optimised one\n{}{}",
                        record.line,
                        record.sql,
                        Bag::of(got).difference(&Bag::of(plain))
                    )),
                    Err(error) => complaints.push(format!("line {}: not optimised: {error}", record.line)),
                }
                let states = seen.tables.iter().map(|table| table.read(&mut house)).collect::<Result<Vec<_>, _>>()?;
                seen.states.insert(i, states);
                seen.types.insert(record.sql.clone(), answer.types);
            }
        }
    }
    if complaints.is_empty() { Ok(seen) } else { Err(complaints.join("\n")) }
}

/// Replays a file as jobs; `seed` draws what `way` leaves open. Gives how often a job's rows were compared with its query's.
///
/// # Errors
/// Everything that differs, with its line.
pub fn as_jobs(file: &File, seen: &Seen, way: Way, seed: u64) -> Result<usize, String> {
    let mut compared = 0;
    let mut random = Random::new(seed);
    let mut house = House::new(seed, way.constant_hash, way.round_rows);
    let takes = |record: &&Record| record.applies(way.name, true);
    for record in file.records.iter().filter(takes).filter(|record| !is_data(record)) {
        if matches!(record.expect, Expect::Ok) {
            house.run(&record.sql).map_err(|error| format!("line {}: {error}", record.line))?;
        }
    }
    for table in &seen.tables {
        house.run(&table.feed())?;
    }
    let mut jobs: BTreeMap<&str, String> = BTreeMap::new();
    for record in file.records.iter().filter(takes) {
        if !matches!(record.expect, Expect::Rows { .. }) || jobs.contains_key(record.sql.as_str()) {
            continue;
        }
        let Some(types) = seen.types.get(&record.sql) else { continue };
        let name = format!("result_{}", record.line);
        house
            .run(&job(&name, types, &record.sql))
            .map_err(|error| format!("line {}: as a job: {error}\n{}", record.line, record.sql))?;
        jobs.insert(&record.sql, name);
    }
    let mut now: Vec<Contents> = vec![Contents::new(); seen.tables.len()];
    for (i, record) in file.records.iter().enumerate().filter(|(_, record)| takes(record)) {
        let (Some(states), Expect::Rows { rows, .. }) = (seen.states.get(&i), &record.expect) else { continue };
        // Tables that the file makes later are still empty here.
        let mut wanted = states.clone();
        wanted.resize(now.len(), Contents::new());
        for transaction in transactions(way.cut, &seen.tables, &mut now, &wanted, &mut random) {
            house.tick(transaction)?;
            match way.after {
                After::Nothing => {}
                After::Restart => house.restart()?,
                After::Kill => house.kill()?,
            }
            house.settle()?;
            if let Some(failed) = house.failed_jobs()?.first() {
                return Err(format!("a job failed: {failed}"));
            }
            for (sql, name) in &jobs {
                let expected = Bag::of(house.run(sql)?.rows.into_iter().map(|row| row.text));
                let got = house.outside.rows(name);
                compared += 1;
                if expected != got {
                    let difference = expected.difference(&got);
                    return Err(format!(
                        "{name}: the job's rows are not the query's at that moment\n{sql}\n{difference}"
                    ));
                }
            }
        }
        if let Some(name) = jobs.get(record.sql.as_str()) {
            let got = house.outside.rows(name);
            let expected = Bag::of(rows.iter().map(|row| read_row(row)));
            if expected != got {
                return Err(format!("line {}: {}\n{}", record.line, record.sql, expected.difference(&got)));
            }
        }
    }
    Ok(compared)
}

/// The statements that make a query a job whose changes are collected under `name`.
pub fn job(name: &str, types: &[SqlType], sql: &str) -> String {
    let column = |(i, t): (usize, &SqlType)| {
        let kind = if t.kind == TypeKind::Null { TypeKind::STRING } else { t.kind.clone() };
        format!("c{i} {kind}")
    };
    let columns: Vec<String> = types.iter().enumerate().map(column).collect();
    format!(
        "CREATE TEMPORARY TABLE {name} ({}) WITH ('connector' = 'collect'); INSERT INTO {name} {sql};",
        columns.join(", ")
    )
}

/// Whether a record changes rows of the file's tables.
fn is_data(record: &Record) -> bool {
    let statement = parse_script(&record.sql).next().and_then(Result::ok).map(|parsed| parsed.statement);
    matches!(
        statement,
        Some(
            Statement::Insert(_)
                | Statement::StatementSet(_)
                | Statement::Update(_)
                | Statement::Delete(_)
                | Statement::Truncate(_)
                | Statement::Check(_)
        )
    )
}

/// The letter of a column in a `query` line.
pub fn letter(kind: &TypeKind) -> char {
    match kind {
        TypeKind::Boolean => 'B',
        TypeKind::Decimal { .. } => 'D',
        TypeKind::Float | TypeKind::Double => 'R',
        kind if kind.is_integer() => 'I',
        _ => 'T',
    }
}

/// What is written in a file as a row's text.
pub fn read_row(line: &str) -> Text {
    let value = |text: &str| match text {
        "NULL" => None,
        "(empty)" => Some(String::new()),
        text => Some(text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")),
    };
    line.split('\t').map(value).collect()
}

fn compare(record: &Record, rows: &[String], got: &[Text], ordered: bool) -> Option<String> {
    let expected: Vec<Text> = rows.iter().map(|row| read_row(row)).collect();
    if ordered && expected != got {
        let got: Vec<String> = got.iter().map(shown).collect();
        return Some(format!("line {}: {}\n  gives in order\n{}", record.line, record.sql, got.join("\n")));
    }
    let (expected, bag) = (Bag::of(expected), Bag::of(got.iter().cloned()));
    (expected != bag).then(|| format!("line {}: {}\n{}", record.line, record.sql, expected.difference(&bag)))
}
