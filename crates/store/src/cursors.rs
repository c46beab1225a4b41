//! Cursors of consumers: how far each reader of a table's log has come.
//!
//! They are what retention asks: entries above the slowest cursor of a table are kept, whether they live or not.

use std::collections::BTreeMap;

use gridhouse_base::{CommitId, TableId};

/// The cursors of every table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursors {
    tables: BTreeMap<TableId, BTreeMap<String, CommitId>>,
}

impl Cursors {
    pub fn set(&mut self, consumer: &str, table: TableId, upto: CommitId) {
        let cursors = self.tables.entry(table).or_default();
        match cursors.get_mut(consumer) {
            Some(cursor) => *cursor = upto,
            None => drop(cursors.insert(consumer.to_string(), upto)),
        }
    }

    pub fn forget(&mut self, consumer: &str, table: Option<TableId>) {
        for (id, cursors) in &mut self.tables {
            if table.is_none_or(|table| table == *id) {
                cursors.remove(consumer);
            }
        }
        self.tables.retain(|_, cursors| !cursors.is_empty());
    }

    pub fn forget_table(&mut self, table: TableId) {
        self.tables.remove(&table);
    }

    pub fn get(&self, consumer: &str, table: TableId) -> Option<CommitId> {
        self.tables.get(&table)?.get(consumer).copied()
    }

    /// The slowest cursor of `table`.
    pub fn slowest(&self, table: TableId) -> Option<CommitId> {
        self.tables.get(&table)?.values().min().copied()
    }

    /// All cursors: consumer, table, position.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TableId, CommitId)> {
        self.tables
            .iter()
            .flat_map(|(&table, cursors)| cursors.iter().map(move |(name, &upto)| (name.as_str(), table, upto)))
    }
}
