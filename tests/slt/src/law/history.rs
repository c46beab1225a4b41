//! Drawn histories of the generator's tables: transactions of few rows with few values, so that rows meet, change and go.

use std::fmt;

use gridhouse_base::Value;

use crate::draws::Draws;
use crate::generate;
use crate::rows::shown;
use crate::tables::{Change, Contents, Table, definition};
use crate::ways::After;

/// One tick.
#[derive(Clone, Debug)]
pub struct Step {
    /// Changes, each of the table with its number.
    pub changes: Vec<(usize, Change)>,
    /// What happens to the engine afterwards.
    pub after: After,
}

/// Ticks one after the other.
#[derive(Clone, Debug)]
pub struct History {
    /// The tables that change.
    pub tables: Vec<Table>,
    /// The ticks.
    pub steps: Vec<Step>,
    /// Before which of them the second half of the jobs begins.
    pub late: usize,
    /// Whether all keys of state have the same hash.
    pub constant_hash: bool,
    /// How many source rows a tick passes through the jobs at once; 0: as many as usual.
    pub round_rows: usize,
}

impl History {
    /// A history of the generator's tables.
    pub fn draw(draws: &mut Draws) -> Self {
        let tables: Vec<Table> =
            generate::TABLES.split_inclusive(';').filter_map(definition).map(|d| Table::of(&d)).collect();
        let mut contents = vec![Contents::new(); tables.len()];
        let ticks = 4 + draws.below(7) as usize;
        let mut steps = Vec::new();
        for tick in 0..ticks {
            // A tick of one change shows what a large one hides, and the other way round.
            let changes = if tick == 0 { 30 } else { *draws.pick(&[1, 2, 4, 12]) };
            let mut step = Step { changes: Vec::new(), after: After::Nothing };
            for _ in 0..changes {
                let i = draws.below(tables.len() as u32) as usize;
                let change = change(&tables[i], &contents[i], draws);
                tables[i].apply(&mut contents[i], &change);
                step.changes.push((i, change));
            }
            step.after = match draws.below(20) {
                18 => After::Restart,
                19 => After::Kill,
                _ => After::Nothing,
            };
            steps.push(step);
        }
        let late = draws.below(ticks as u32) as usize;
        let constant_hash = draws.chance(1, 8);
        let round_rows = [0, 0, 0, 0, 1, 3][draws.below(6) as usize];
        Self { tables, steps, late, constant_hash, round_rows }
    }

    /// What the tables hold at the end.
    pub fn contents(&self) -> Vec<Contents> {
        let mut contents = vec![Contents::new(); self.tables.len()];
        for (table, change) in self.steps.iter().flat_map(|step| &step.changes) {
            self.tables[*table].apply(&mut contents[*table], change);
        }
        contents
    }
}

/// A change that makes sense: rows that are there are changed and taken away, others come.
fn change(table: &Table, contents: &Contents, draws: &mut Draws) -> Change {
    if !table.key.is_empty() && !contents.is_empty() {
        let there: Vec<_> = contents.values().collect();
        match draws.below(8) {
            0..=2 => return Change::Delete((*draws.pick(&there)).clone()),
            3..=5 => {
                // Another row under the same key: some columns change, or none.
                let mut values = draws.pick(&there).values.clone();
                for (c, value) in values.iter_mut().enumerate().filter(|(c, _)| !table.key.contains(c)) {
                    if draws.chance(1, 3) {
                        *value = drawn(table, c, draws);
                    }
                }
                return Change::Put(table.row(values));
            }
            _ => {}
        }
    }
    let values = (0..table.columns.len()).map(|c| drawn(table, c, draws)).collect();
    Change::Put(table.row(values))
}

/// A value of a column, from a handful.
fn drawn(table: &Table, column: usize, draws: &mut Draws) -> Value {
    let is_key = table.key.contains(&column);
    if !is_key && draws.chance(1, 5) {
        return Value::Null;
    }
    let few = |draws: &mut Draws, values: &[i64]| Value::Integer(*draws.pick(values));
    use gridhouse_base::TypeKind as Kind;
    match &table.types[column].kind {
        Kind::Int if is_key && table.key.len() == 1 => Value::Integer(i64::from(draws.below(12))),
        Kind::Int => few(draws, &[1, 2, 0, 3, -1]),
        Kind::BigInt => few(draws, &[1, 2, 0, 5]),
        Kind::Decimal { scale, .. } => {
            // 0, 1, 1.5, -2.2(5), in the column's own scale.
            let hundredths = [100_i128, 0, 150, -225][draws.below(4) as usize];
            Value::Decimal(if *scale == 1 { hundredths / 10 } else { hundredths })
        }
        Kind::Double => Value::Double(*draws.pick(&[1.0, 0.0, 0.5, -2.0])),
        Kind::Boolean => Value::Boolean(draws.chance(1, 2)),
        Kind::Date => few(draws, &[20_513, 20_514, 20_515, 0]),
        Kind::Timestamp(_) => few(draws, &[1_772_325_000_000, 1_772_415_000_000, 1_772_505_000_000, 0]),
        _ => Value::Text((*draws.pick(&["a", "b", "ab", "", "北", "B"])).into()),
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i == self.late {
                writeln!(f, "  jobs of the second half begin")?;
            }
            let change = |(table, change): &(usize, Change)| {
                let (sign, row) = match change {
                    Change::Put(row) => ('+', row),
                    Change::Delete(row) => ('-', row),
                };
                format!("{sign}{}({})", self.tables[*table].name, shown(&row.text).replace('\t', ", "))
            };
            writeln!(f, "  tick: {}", step.changes.iter().map(change).collect::<Vec<_>>().join(" "))?;
            if step.after != After::Nothing {
                writeln!(f, "  {:?}", step.after)?;
            }
        }
        if self.constant_hash {
            writeln!(f, "  one hash for all keys")?;
        }
        if self.round_rows > 0 { writeln!(f, "  rounds of {} rows", self.round_rows) } else { Ok(()) }
    }
}
