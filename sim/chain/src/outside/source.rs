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
/// The tables that are truncated now and then.
const EMPTIED: [&str; 2] = ["customers", "orders"];
const REGIONS: [&str; 4] = ["north", "south", "east", "west"];

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Change {
    /// A row is inserted, or becomes this.
    Put {
        /// The table.
        table: &'static str,
        /// The whole row.
        row: Row,
        /// Whether its key was not there before.
        is_new: bool,
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
            Change::Put { table, row, .. } => drop(self.of(table).insert(key_of(table, row), row.clone())),
            Change::Remove { table, row } => drop(self.of(table).remove(&key_of(table, row))),
            Change::Truncate { table } => self.of(table).clear(),
        }
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
    /// What stands in it now.
    pub now: SourceTables,
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
        self.log.push(Transaction { position: self.end, changes });
    }

    fn draw(&mut self, random: &mut Random) -> Change {
        let (table, key, row): (&'static str, i64, Row) = match random.below(10) {
            0..=1 => {
                let id = random.below(CUSTOMERS) as i64;
                ("customers", id, vec![id.to_string(), (*random.pick(&REGIONS)).to_owned()])
            }
            2..=6 => {
                let id = random.below(ORDERS) as i64;
                let customer = random.below(CUSTOMERS + 1).to_string();
                let (amount, status) = (random.below(1000).to_string(), (*random.pick(&STATES)).to_owned());
                ("orders", id, vec![id.to_string(), customer, amount, status])
            }
            7 if random.chance(0.05) => return Change::Truncate { table: EMPTIED[random.below(2) as usize] },
            _ => {
                self.readings += 1;
                let row = vec![random.below(DEVICES).to_string(), self.readings.to_string()];
                return Change::Put { table: "readings", row, is_new: true };
            }
        };
        match self.now.of(table).get(&key) {
            Some(there) if random.chance(0.3) => Change::Remove { table, row: there.clone() },
            there => Change::Put { table, row, is_new: there.is_none() },
        }
    }
}
