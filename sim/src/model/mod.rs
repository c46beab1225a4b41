//! A plain model of the store: rows in maps, one after the other, no columns, no cleverness.

mod check;
mod rows;
mod scan;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::TableId;

pub use check::{assert_rows, check_table, faults};
pub use rows::{LARGE_IDS, NAMES, QUEUE, Row, SMALL_IDS, TABLES, columns, rows, spec};
pub(crate) use scan::drawn_request;
pub use table::{Entry, ModelTable};

/// The metadata space of the simulation.
pub const SPACE: &str = "jobs";

/// A whole store at a tick boundary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The newest source commit that is reflected.
    pub as_of: u64,
    /// The clock of the tick.
    pub time_micros: i64,
    /// Tables that exist.
    pub tables: BTreeMap<String, Arc<ModelTable>>,
    /// Metadata of the one simulated space.
    pub meta: BTreeMap<String, String>,
    /// How far each consumer has read each table.
    pub cursors: BTreeMap<(String, TableId), u64>,
}

impl Model {
    /// The table `id`, if it still exists.
    pub fn table_mut(&mut self, id: TableId) -> Option<&mut ModelTable> {
        self.tables.values_mut().find(|table| table.id == id).map(Arc::make_mut)
    }

    /// The slowest cursor of table `id`.
    pub fn slowest(&self, id: TableId) -> Option<u64> {
        self.cursors.iter().filter(|((_, table), _)| *table == id).map(|(_, upto)| *upto).min()
    }
}
