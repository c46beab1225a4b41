//! What a transaction becomes for those who listen, as `postgres-cdc` decodes it: rows of one table gather, so that those of
//! several tables change places; large values that did not change are left out; what the log does not tell (a large value under
//! another key, which rows of one of two tables there were) has the contents read again, which is said before the commit.

use std::sync::Arc;

use gridhouse_base::random::Random;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, RowKind};
use gridhouse_flow::connector::{SourceEvent, SourceTable};

use super::source::{Change, Database, key_column};
use super::stream::decode;
use super::{NULL, Row, batch_of, is_fit};

/// A table that a stream delivers.
pub(super) struct Table {
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) definition: Arc<TableDef>,
    /// Changes at or before this are in its contents; `None`: there are none yet.
    pub(super) from: Option<u64>,
    /// Whether its contents are read again, though it has some.
    pub(super) is_outdated: bool,
    /// Whether it cannot go on.
    pub(super) has_failed: bool,
    /// Rows that have come and are not told yet, and the columns of which they are, where those are not all.
    gathered: (Option<Vec<usize>>, Vec<(RowKind, Row)>),
}

impl Table {
    pub(super) fn of(table: &SourceTable) -> Self {
        Self {
            id: table.id,
            name: name_of(&table.definition),
            definition: table.definition.clone(),
            from: table.snapshot.as_deref().map(decode),
            is_outdated: false,
            has_failed: false,
            gathered: (None, Vec::new()),
        }
    }

    /// Whether its contents are to be delivered.
    pub(super) fn wants_contents(&self) -> bool {
        !self.has_failed && (self.is_outdated || self.from.is_none())
    }

    /// Whether its contents are of another table than the one that has its name at `position`.
    pub(super) fn is_another(&self, database: &Database, position: u64) -> bool {
        self.from.is_some_and(|from| !database.is_same(self.name, from, position))
    }

    /// Has the contents read again; tells so once.
    pub(super) fn outdate(&mut self) -> Option<SourceEvent> {
        let is_known = std::mem::replace(&mut self.is_outdated, true);
        (!is_known).then_some(SourceEvent::Outdated { table: self.id })
    }

    /// Gives the table up: what was gathered of it is void.
    pub(super) fn fail(&mut self) -> SourceEvent {
        (self.has_failed, self.is_outdated) = (true, false);
        self.forget();
        let error = Error::invalid(format!("table {} is not as it is declared", self.name));
        SourceEvent::TableFailed { table: self.id, error: error.hint("mend it, then START JOB") }
    }

    /// Forgets what was gathered.
    pub(super) fn forget(&mut self) {
        self.gathered = (None, Vec::new());
    }

    /// Tells what was gathered.
    pub(super) fn flush(&mut self) -> Option<SourceEvent> {
        let (columns, rows) = std::mem::take(&mut self.gathered);
        let batch = || batch_of(&self.definition.schema, &rows);
        (!rows.is_empty()).then(|| SourceEvent::Rows { table: self.id, columns, batch: batch() })
    }

    fn push(&mut self, columns: Option<Vec<usize>>, kind: RowKind, row: Row, events: &mut Vec<SourceEvent>) {
        if self.gathered.0 != columns {
            events.extend(self.flush());
        }
        self.gathered.0 = columns;
        self.gathered.1.push((kind, row));
    }

    /// The key of a row, and NULL for all else.
    fn key_alone(&self, row: &Row) -> Row {
        let key = key_column(self.name);
        let only = |(c, text): (usize, &String)| if c == key { text.clone() } else { NULL.to_owned() };
        row.iter().enumerate().map(only).collect()
    }

    /// A deletion, of which the outside may tell the key alone.
    fn remove(&mut self, row: &Row, random: &mut Random, events: &mut Vec<SourceEvent>) {
        let is_key_only = !is_fit(row) || random.chance(0.5);
        let told = if is_key_only { self.key_alone(row) } else { row.clone() };
        self.push(None, RowKind::Delete, told, events);
    }

    /// A row that came to be or is another now.
    fn put(&mut self, row: &Row, before: Option<&Row>, random: &mut Random, events: &mut Vec<SourceEvent>) {
        if !is_fit(row) {
            events.extend(self.flush());
            events.push(rejected(self.id, row));
            // The version before has gone at the source, whatever became of the new one.
            if before.is_some() {
                self.push(None, RowKind::Delete, self.key_alone(row), events);
            }
            return;
        }
        let Some(before) = before else { return self.push(None, RowKind::Insert, row.clone(), events) };
        let is_same = |c: &usize| row[*c] == before[*c];
        let large: Vec<usize> = large_columns(self.name).filter(is_same).collect();
        if large.is_empty() || random.chance(0.5) {
            return self.push(None, RowKind::UpdateAfter, row.clone(), events);
        }
        let mut told = row.clone();
        large.iter().for_each(|&c| NULL.clone_into(&mut told[c]));
        let known = (0..row.len()).filter(|c| !large.contains(c)).collect();
        self.push(Some(known), RowKind::UpdateAfter, told, events);
    }

    /// What a change at `position` means for the table.
    pub(super) fn change(
        &mut self,
        position: u64,
        change: &Change,
        (database, random): (&Database, &mut Random),
        events: &mut Vec<SourceEvent>,
    ) {
        let is_there = self.from.is_some_and(|from| from < position);
        // Of a table that was dropped nothing more is told, and its successor is not known to the log.
        if self.name != change.table() || !is_there || self.has_failed || self.is_another(database, position) {
            return;
        }
        match change {
            Change::Put { row, before, .. } => self.put(row, before.as_ref(), random, events),
            Change::Move { row, before, .. } => {
                self.remove(before, random, events);
                if !large_columns(self.name).is_empty() && random.chance(0.3) {
                    events.extend(self.outdate());
                } else {
                    self.push(None, RowKind::Insert, row.clone(), events);
                }
            }
            Change::Remove { row, .. } => self.remove(row, random, events),
            Change::Truncate { .. } => {
                events.extend(self.flush());
                events.push(SourceEvent::Truncate { table: self.id });
            }
            Change::TruncateOne { .. } => {
                events.extend(self.flush());
                events.extend(self.outdate());
            }
            Change::Replace { .. } => {}
        }
    }
}

/// The table's name outside.
pub(super) fn name_of(definition: &TableDef) -> &'static str {
    match definition.options.get("table").map(String::as_str) {
        Some("customers") => "customers",
        Some("orders") => "orders",
        _ => "readings",
    }
}

/// A row that cannot be read as it is declared.
pub(super) fn rejected(table: u32, row: &Row) -> SourceEvent {
    SourceEvent::Rejected { table, row: row.join("|"), error: Error::invalid("the customer is no number") }
}

/// The columns whose values may be so large that an update need not tell them: those that are text.
fn large_columns(table: &'static str) -> std::ops::Range<usize> {
    match table {
        "customers" => 1..2,
        "orders" => 2..4,
        _ => 0..0,
    }
}
