//! The database that is the source: its committed transactions, in order, each at a position of its log; and its slot, which
//! holds the log from the position on that was acknowledged.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;

use super::Row;

/// How many customers, orders and devices there are at most: few, so that keys come again and groups come and go.
const CUSTOMERS: u64 = 6;
const ORDERS: u64 = 24;
const DEVICES: u64 = 4;

/// What orders can be; void ones do not come through.
const STATES: [&str; 4] = ["open", "paid", "void", "sent"];
/// The tables with keys, of which more happens than that rows come and go.
pub(super) const KEYED: [&str; 2] = ["customers", "orders"];
const REGIONS: [&str; 4] = ["north", "south", "east", "west"];

/// What the customer of an order begins with that cannot be read as a number.
const UNFIT: &str = "unfit-";

/// Whether a row can be read as it is declared.
pub fn is_fit(row: &Row) -> bool {
    !row.iter().any(|text| text.starts_with(UNFIT))
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Change {
    /// A row is inserted, or becomes this.
    Put {
        /// The table.
        table: &'static str,
        /// The whole row.
        row: Row,
        /// What stood under its key.
        before: Option<Row>,
    },
    /// A row goes on under another key.
    Move {
        /// The table.
        table: &'static str,
        /// The whole row.
        row: Row,
        /// The row under the key before.
        before: Row,
    },
    /// The row with this key goes.
    Remove {
        /// The table.
        table: &'static str,
        /// The whole row.
        row: Row,
    },
    /// All rows of the table go.
    Truncate {
        /// The table.
        table: &'static str,
    },
    /// The table is two at the source, one of rows with odd keys and one of rows with even ones, and all rows of one go.
    TruncateOne {
        /// The table.
        table: &'static str,
        /// Which.
        odd: bool,
    },
    /// The table is dropped, and another takes its name. None of that is told by a log.
    Replace {
        /// The table.
        table: &'static str,
        /// The rows of the new one.
        rows: Vec<Row>,
    },
}

impl Change {
    /// The table that it is of.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Put { table, .. }
            | Self::Move { table, .. }
            | Self::Remove { table, .. }
            | Self::Truncate { table }
            | Self::TruncateOne { table, .. }
            | Self::Replace { table, .. } => table,
        }
    }
}

/// A committed transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Where in the log it ends.
    pub position: u64,
    /// What it does.
    pub changes: Vec<Change>,
}

/// What the tables hold: rows by key, and rows without key.
#[derive(Clone, Debug, Default)]
pub struct SourceTables {
    /// `customers (id, region)`.
    pub customers: BTreeMap<i64, Row>,
    /// `orders (id, customer, amount, status)`.
    pub orders: BTreeMap<i64, Row>,
    /// `readings (device, n)`, with `n` by itself.
    pub readings: BTreeMap<i64, Row>,
}

impl SourceTables {
    /// The rows of a table.
    pub fn rows(&self, table: &str) -> Vec<Row> {
        let rows = match table {
            "customers" => &self.customers,
            "orders" => &self.orders,
            _ => &self.readings,
        };
        rows.values().cloned().collect()
    }

    fn of(&mut self, table: &str) -> &mut BTreeMap<i64, Row> {
        match table {
            "customers" => &mut self.customers,
            "orders" => &mut self.orders,
            _ => &mut self.readings,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { table, row, .. } => self.put(table, row),
            Change::Move { table, row, before } => {
                self.of(table).remove(&key_of(table, before));
                self.put(table, row);
            }
            Change::Remove { table, row } => drop(self.of(table).remove(&key_of(table, row))),
            Change::Truncate { table } => self.of(table).clear(),
            Change::TruncateOne { table, odd } => self.of(table).retain(|key, _| (key % 2 == 1) != *odd),
            Change::Replace { table, rows } => {
                self.of(table).clear();
                rows.iter().for_each(|row| self.put(table, row));
            }
        }
    }

    fn put(&mut self, table: &str, row: &Row) {
        self.of(table).insert(key_of(table, row), row.clone());
    }
}

/// The column that tells a table's rows apart.
pub(super) fn key_column(table: &str) -> usize {
    usize::from(table == "readings")
}

fn key_of(table: &str, row: &Row) -> i64 {
    row[key_column(table)].parse().expect("keys are numbers")
}

/// The source.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// Everything that was ever committed, in order; the model's copy, which nobody forgets.
    pub log: Vec<Transaction>,
    /// The end of its log.
    pub end: u64,
    /// What lies at or before this has been acknowledged, and is forgotten.
    pub confirmed: u64,
    /// What lies before this was lost with a slot; the one that there is now begins here.
    pub begins: u64,
    /// What stands in it now.
    pub now: SourceTables,
    /// Whether there are orders that cannot be read as they are declared.
    pub has_unfit: bool,
    /// Those that there ever were.
    pub unfit: Vec<Row>,
    /// Where in the log tables were replaced under their names.
    replaced: Vec<(&'static str, u64)>,
    /// The number of the last reading.
    readings: i64,
}

impl Database {
    /// What the tables held at `position`.
    pub fn at(&self, position: u64) -> SourceTables {
        let mut tables = SourceTables::default();
        let until = self.log.iter().take_while(|transaction| transaction.position <= position);
        until.flat_map(|transaction| &transaction.changes).for_each(|change| tables.apply(change));
        tables
    }

    /// Somebody writes what nobody here is concerned with.
    pub fn go_on(&mut self, random: &mut Random) {
        self.end += 1 + random.below(100);
    }

    /// Whether a table is the same one at both positions.
    pub fn is_same(&self, table: &str, first: u64, last: u64) -> bool {
        !self.replaced.iter().any(|(replaced, at)| *replaced == table && first < *at && *at <= last)
    }

    /// Commits a drawn transaction.
    pub fn commit(&mut self, random: &mut Random) {
        let count = if random.chance(0.05) { 40 } else { 1 + random.below(6) };
        let mut changes = Vec::new();
        for _ in 0..count {
            let change = self.draw(random);
            self.now.apply(&change);
            changes.push(change);
        }
        self.go_on(random);
        let replaced = changes.iter().filter(|change| matches!(change, Change::Replace { .. }));
        self.replaced.extend(replaced.map(|change| (change.table(), self.end)));
        self.log.push(Transaction { position: self.end, changes });
    }

    fn draw(&mut self, random: &mut Random) -> Change {
        let (table, key, mut row): (&'static str, i64, Row) = match random.below(10) {
            0..=1 => self.draw_customer(random),
            2..=6 => self.draw_order(random),
            7 if random.chance(0.07) => return self.draw_emptying(random),
            _ => {
                self.readings += 1;
                let row = vec![random.below(DEVICES).to_string(), self.readings.to_string()];
                return Change::Put { table: "readings", row, before: None };
            }
        };
        match self.now.of(table).get(&key).cloned() {
            Some(there) if random.chance(0.3) => Change::Remove { table, row: there },
            Some(there) if random.chance(0.1) && is_fit(&there) => {
                let (_, to, _) = if table == "orders" { self.draw_order(random) } else { self.draw_customer(random) };
                let mut row = there.clone();
                row[key_column(table)] = to.to_string();
                if self.now.of(table).contains_key(&to) {
                    return Change::Remove { table, row: there };
                }
                Change::Move { table, row, before: there }
            }
            before => {
                if let Some(before) = &before
                    && table == "orders"
                    && random.chance(0.5)
                {
                    row[2].clone_from(&before[2]);
                }
                if !is_fit(&row) {
                    self.unfit.push(row.clone());
                }
                Change::Put { table, row, before }
            }
        }
    }

    fn draw_customer(&self, random: &mut Random) -> (&'static str, i64, Row) {
        let id = random.below(CUSTOMERS) as i64;
        ("customers", id, vec![id.to_string(), (*random.pick(&REGIONS)).to_owned()])
    }

    fn draw_order(&self, random: &mut Random) -> (&'static str, i64, Row) {
        let id = random.below(ORDERS) as i64;
        let customer = match self.has_unfit && random.chance(0.1) {
            true => format!("{UNFIT}{}", self.unfit.len()),
            false => random.below(CUSTOMERS + 1).to_string(),
        };
        let (amount, status) = (random.below(1000).to_string(), (*random.pick(&STATES)).to_owned());
        ("orders", id, vec![id.to_string(), customer, amount, status])
    }

    /// All rows of a table go at once, in one way or another.
    fn draw_emptying(&mut self, random: &mut Random) -> Change {
        let table = *random.pick(&KEYED);
        match random.below(3) {
            0 => Change::Truncate { table },
            1 => Change::TruncateOne { table, odd: random.chance(0.5) },
            _ => {
                let drawn = |_| if table == "orders" { self.draw_order(random) } else { self.draw_customer(random) };
                let rows: Vec<Row> = (0..4).map(drawn).map(|(_, _, row)| row).filter(is_fit).collect();
                Change::Replace { table, rows }
            }
        }
    }
}
