//! The law for whole pipelines: a solution's own text, with drawn changes in its source tables.
//!
//! The outside tables of a `pipeline.sql` are put in the hands of the test, everything else runs as it stands. After every few
//! ticks a second house gets the sources' rows in one piece and runs each `INSERT` once, in batch mode, layer by layer; every
//! table and every sink must then hold the same rows in both.

use std::collections::BTreeSet;

use gridhouse_base::{SqlType, TypeKind, Value};
use gridhouse_sql::ast::{CreateTable, Statement};
use gridhouse_sql::parse_script;

use crate::House;
use crate::draws::Draws;
use crate::rows::Bag;
use crate::tables::{Change, Contents, Table, definition};
use crate::ways::transaction;

/// How many ticks a history has.
const TICKS: usize = 12;

/// After how many ticks the second house is built.
const LOOK_EVERY: usize = 4;

/// A pipeline, taken apart.
struct Pipeline {
    /// Statements that make something or set something.
    furniture: Vec<String>,
    /// `INSERT`s and statement sets that read sources, and those that do not, each in order.
    fed: Vec<String>,
    derived: Vec<String>,
    /// All `INSERT`s one by one.
    single: Vec<String>,
    sources: Vec<Table>,
    /// Tables of the house, by the names that the pipeline gives them.
    stored: Vec<String>,
    sinks: Vec<String>,
    /// Texts that the pipeline compares with: without them, filters would let nothing pass.
    words: Vec<String>,
}

/// Takes the pipeline of `text` through a drawn history; gives how many rows were compared. `schema` is the text that makes the
/// tables at the source: what is NOT NULL there is never NULL here.
///
/// # Errors
/// What differs, or fails.
pub fn check(text: &str, schema: &str, seed: u64) -> Result<usize, String> {
    let pipeline = Pipeline::read(text, schema)?;
    let mut draws = Draws::new(seed);
    let mut house = House::new(seed, draws.chance(1, 4), draws.below(4) as usize);
    house.hold_clock();
    for statement in pipeline.furniture.iter().chain(&pipeline.fed).chain(&pipeline.derived) {
        house.run(statement).map_err(|error| format!("{error}\n{statement}"))?;
    }
    let mut contents = vec![Contents::new(); pipeline.sources.len()];
    let mut compared = 0;
    for tick in 0..TICKS {
        let mut changes = Vec::new();
        for _ in 0..if tick == 0 { 60 } else { 1 + draws.below(12) } {
            let i = draws.below(pipeline.sources.len() as u32) as usize;
            let change = pipeline.change(i, &contents[i], &mut draws);
            pipeline.sources[i].apply(&mut contents[i], &change);
            changes.push((i, change));
        }
        house.tick(transaction(&pipeline.sources, &changes))?;
        match draws.below(8) {
            6 => house.restart()?,
            7 => house.kill()?,
            _ => {}
        }
        house.settle()?;
        if let Some(failed) = house.failed_jobs()?.first() {
            return Err(format!("tick {}: a job failed: {failed}", tick + 1));
        }
        if (tick + 1) % LOOK_EVERY == 0 {
            let mut other = pipeline.at_once(&contents).map_err(|error| format!("at once: {error}"))?;
            compared +=
                pipeline.compare(&mut house, &mut other).map_err(|error| format!("tick {}: {error}", tick + 1))?;
        }
    }
    Ok(compared)
}

impl Pipeline {
    fn read(text: &str, schema: &str) -> Result<Self, String> {
        let mut pipeline = Self {
            furniture: Vec::new(),
            fed: Vec::new(),
            derived: Vec::new(),
            single: Vec::new(),
            sources: Vec::new(),
            stored: Vec::new(),
            sinks: Vec::new(),
            words: words(text),
        };
        for parsed in parse_script(text) {
            let parsed = parsed.map_err(|error| format!("{error} at {:?}", error.position()))?;
            match &parsed.statement {
                Statement::CreateTable(create) => pipeline.table(create, &parsed.text, text, schema)?,
                Statement::Insert(_) | Statement::StatementSet(_) => {
                    if let Statement::StatementSet(inserts) = &parsed.statement {
                        // At once, each layer must stand before the next is made from it.
                        pipeline.single.extend(inserts.iter().map(|insert| insert.text.clone()));
                    } else {
                        pipeline.single.push(parsed.text.clone());
                    }
                    if pipeline.is_fed(&parsed.text) {
                        pipeline.fed.push(parsed.text)
                    } else {
                        pipeline.derived.push(parsed.text)
                    }
                }
                _ => pipeline.furniture.push(parsed.text),
            }
        }
        Ok(pipeline)
    }

    /// Whether a statement reads a source.
    fn is_fed(&self, statement: &str) -> bool {
        let mut names = statement.split(|c: char| !c.is_alphanumeric() && c != '_');
        names.any(|word| self.sources.iter().any(|source| source.name == word))
    }

    /// Takes in a table; one of the outside gets a connector of ours.
    fn table(&mut self, create: &CreateTable, statement: &str, text: &str, schema: &str) -> Result<(), String> {
        let name = create.name.to_string();
        let Some(connector) = create.options.iter().find(|option| option.key == "connector") else {
            self.stored.push(name);
            self.furniture.push(statement.to_owned());
            return Ok(());
        };
        let at = statement.rfind("WITH (").ok_or_else(|| format!("{name} has no WITH ("))?;
        let (columns, object) = (&statement[..at], &create.name.last().name);
        let looked_up = text.contains(&format!("{object} FOR SYSTEM_TIME"));
        let (kind, list) = match connector.value.as_str() {
            "postgres-cdc" | "datagen" => {
                let definition = definition(columns).ok_or_else(|| format!("{name} is not understood"))?;
                let mut source = Table::of(&definition);
                for (name, of) in source.columns.iter().zip(&mut source.types) {
                    of.nullable &= !is_never_null(schema, name);
                }
                self.sources.push(source);
                ("feed", None)
            }
            _ if looked_up => ("known", None),
            _ => ("collect", Some(&mut self.sinks)),
        };
        if let Some(list) = list {
            list.push(object.clone());
        }
        self.furniture.push(format!("{columns} WITH ('connector' = '{kind}', 'table' = '{object}')"));
        Ok(())
    }

    /// A house in which the sources' rows came at once and every `INSERT` ran once.
    fn at_once(&self, contents: &[Contents]) -> Result<House, String> {
        let mut house = House::new(1, false, 0);
        house.hold_clock();
        for statement in self.furniture.iter().chain(&self.fed) {
            house.run(statement)?;
        }
        let rows = |(i, contents): (usize, &Contents)| {
            contents.values().map(move |row| (i, Change::Put(row.clone()))).collect::<Vec<_>>()
        };
        let changes: Vec<(usize, Change)> = contents.iter().enumerate().flat_map(rows).collect();
        house.tick(transaction(&self.sources, &changes))?;
        house.run("SET 'execution.runtime-mode' = 'batch'")?;
        for statement in self.single.iter().filter(|statement| !self.is_fed(statement)) {
            house.run(statement)?;
        }
        Ok(house)
    }

    /// Compares all tables and sinks; gives how many rows they have.
    fn compare(&self, house: &mut House, other: &mut House) -> Result<usize, String> {
        let mut rows = 0;
        for table in &self.stored {
            let read = |house: &mut House| {
                let answer = house.run(&format!("SELECT * FROM {table}"))?;
                Ok::<_, String>(Bag::of(answer.rows.into_iter().map(|row| row.text)))
            };
            let (job, at_once) = (read(house)?, read(other)?);
            rows += at_once.len();
            if job != at_once {
                return Err(format!("{table} is not what its queries give at once:\n{}", at_once.difference(&job)));
            }
        }
        for sink in &self.sinks {
            let (job, at_once) = (house.outside.rows(sink), other.outside.rows(sink));
            rows += at_once.len();
            if job != at_once {
                return Err(format!(
                    "sink {sink} has not what its queries give at once:\n{}",
                    at_once.difference(&job)
                ));
            }
        }
        Ok(rows)
    }

    fn change(&self, i: usize, contents: &Contents, draws: &mut Draws) -> Change {
        let table = &self.sources[i];
        if !table.key.is_empty() && !contents.is_empty() {
            let there: Vec<_> = contents.values().collect();
            match draws.below(6) {
                0 => return Change::Delete((*draws.pick(&there)).clone()),
                1 | 2 => {
                    let mut values = draws.pick(&there).values.clone();
                    for (c, value) in values.iter_mut().enumerate().filter(|(c, _)| !table.key.contains(c)) {
                        if draws.chance(1, 3) {
                            *value = self.value(&table.types[c], false, draws);
                        }
                    }
                    return Change::Put(table.row(values));
                }
                _ => {}
            }
        }
        let value = |c: usize| self.value(&table.types[c], table.key.contains(&c), draws);
        Change::Put(table.row((0..table.columns.len()).map(value).collect()))
    }

    fn value(&self, of: &SqlType, is_key: bool, draws: &mut Draws) -> Value {
        if of.nullable && !is_key && draws.chance(1, 12) {
            return Value::Null;
        }
        match &of.kind {
            TypeKind::Decimal { precision, scale } => {
                let whole = i128::from(*draws.pick(&[1_u8, 7, 95, 12, 40])) * 10_i128.pow(u32::from(*scale));
                Value::Decimal(whole.min(10_i128.pow(u32::from(*precision)) - 1))
            }
            TypeKind::Double => Value::Double(*draws.pick(&[1.0, 0.5, 95.0])),
            TypeKind::Float => Value::Float(*draws.pick(&[1.0, 0.5, 95.0])),
            TypeKind::Boolean => Value::Boolean(draws.chance(1, 2)),
            // Days and moments around new year 2026, some of them in the same hour.
            TypeKind::Date => Value::Integer(20_454 + i64::from(draws.below(3))),
            TypeKind::Timestamp(precision) | TypeKind::TimestampLtz(precision) => {
                let minutes = i64::from(draws.below(3 * 24 * 4)) * 15;
                let scale = if *precision <= 3 {
                    1_000
                } else if *precision <= 6 {
                    1_000_000
                } else {
                    1_000_000_000
                };
                Value::Integer((1_767_200_000 + minutes * 60) * scale)
            }
            kind if kind.is_text() => match draws.below(4) {
                3 => Value::Text((*draws.pick(&["a", "b", "华东", ""])).into()),
                _ => Value::Text(draws.pick(&self.words).as_str().into()),
            },
            kind if kind.is_integer() => Value::Integer(i64::from(draws.below(8))),
            _ => Value::Null,
        }
    }
}

/// Whether some table of `schema` has a column of this name that is NOT NULL.
fn is_never_null(schema: &str, column: &str) -> bool {
    schema.match_indices(column).any(|(at, _)| {
        let rest = schema[at + column.len()..].split(['\n', ';']).next().unwrap_or_default();
        let begins = schema[..at].ends_with([' ', '\n', '(']) && rest.starts_with(' ');
        let declaration = rest.split(", ").next().unwrap_or_default().to_uppercase();
        begins && (declaration.contains("NOT NULL") || declaration.contains("PRIMARY KEY"))
    })
}

/// The texts in quotes that look like values, each once.
fn words(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or(line)).collect();
    let code = code.join("\n");
    let quoted = code.split('\'').skip(1).step_by(2);
    let plain =
        |word: &&str| !word.is_empty() && word.len() < 24 && !word.contains(['@', '.', '/', ':', '%', '-', '\n']);
    let words: BTreeSet<String> = quoted.filter(plain).map(str::to_owned).collect();
    if words.is_empty() { vec!["a".into()] } else { words.into_iter().collect() }
}
