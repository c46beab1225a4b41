//! A table of the model: the rows that live, and the log of all that was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::{ChangeBatch, RowKind, TableId};
use gridhouse_store::TableKind;

use super::rows::{Key, QUEUE, Row, rows, spec};

/// An entry of a table's log.
pub type Entry = (RowKind, Row);

/// A table of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelTable {
    /// Which table of the name it is: rows for one that was dropped do not go to the next.
    pub id: TableId,
    /// Its kind.
    pub kind: TableKind,
    /// Whether its log is a queue, cut at its slowest cursor.
    pub is_queue: bool,
    by_name: bool,
    /// The live rows of a primary-key table.
    pub keyed: BTreeMap<Key, Row>,
    /// The log by commit, from `begins` on.
    pub log: BTreeMap<u64, Arc<Vec<Entry>>>,
    /// The log up to here was truncated or has expired.
    pub begins: u64,
}

impl ModelTable {
    /// An empty table.
    pub fn new(name: &str, id: TableId) -> Self {
        Self {
            id,
            kind: spec(name).kind,
            is_queue: name == QUEUE,
            by_name: name == "named",
            keyed: BTreeMap::new(),
            log: BTreeMap::new(),
            begins: 0,
        }
    }

    /// The key of `row`.
    pub fn key(&self, row: &Row) -> Key {
        if self.by_name { (row.1.clone().unwrap_or_default(), row.0) } else { (String::new(), row.0) }
    }

    /// Applies one part of a source's commit in tick `commit`: the last row of a key decides. `listed` are the columns that
    /// the rows have.
    pub fn apply(&mut self, commit: u64, part: &[Entry], listed: Option<&[usize]>) {
        if self.kind == TableKind::Log {
            self.append(commit, part.iter().map(|(_, row)| (RowKind::Insert, row.clone())).collect());
            return;
        }
        let keys = part.iter().map(|(_, row)| self.key(row)).collect();
        self.logged(commit, keys, |table| {
            for (kind, row) in part {
                let key = table.key(row);
                if matches!(kind, RowKind::Delete | RowKind::UpdateBefore) {
                    table.keyed.remove(&key);
                    continue;
                }
                let old = table.keyed.get(&key).cloned().unwrap_or((row.0, None, None));
                let has = |column| listed.is_none_or(|listed: &[usize]| listed.contains(&column));
                let name = if has(1) { row.1.clone() } else { old.1 };
                let load = if has(2) { row.2 } else { old.2 };
                table.keyed.insert(key, (row.0, name, load));
            }
        });
    }

    /// Applies a consolidated change: upserts beat deletions of the same key.
    pub fn write(&mut self, commit: u64, change: &[(i32, Row)]) {
        if self.kind == TableKind::Log {
            let times = |(weight, row): &(i32, Row)| (0..*weight).map(|_| (RowKind::Insert, row.clone())).collect();
            let rows: Vec<Vec<Entry>> = change.iter().map(times).collect();
            self.append(commit, rows.concat());
            return;
        }
        let keys = change.iter().map(|(_, row)| self.key(row)).collect();
        self.logged(commit, keys, |table| {
            let upserted: BTreeSet<Key> = change.iter().filter(|c| c.0 > 0).map(|c| table.key(&c.1)).collect();
            for (weight, row) in change {
                let key = table.key(row);
                if *weight > 0 {
                    table.keyed.insert(key, row.clone());
                } else if !upserted.contains(&key) {
                    table.keyed.remove(&key);
                }
            }
        });
    }

    /// Deletes the rows whose keys are not in `parts`, and returns how many there were.
    pub fn delete_others(&mut self, commit: u64, parts: &[Vec<Entry>]) -> usize {
        let kept: BTreeSet<Key> = parts.iter().flatten().map(|(_, row)| self.key(row)).collect();
        let gone: Vec<Key> = self.keyed.keys().filter(|key| !kept.contains(key)).cloned().collect();
        self.logged(commit, gone.clone(), |table| gone.iter().for_each(|key| drop(table.keyed.remove(key))));
        gone.len()
    }

    /// Removes all rows; a log begins anew.
    pub fn truncate(&mut self, commit: u64) {
        if self.kind == TableKind::Log {
            self.log.clear();
            self.begins = commit - 1;
        }
        let keys = self.keyed.keys().cloned().collect();
        self.logged(commit, keys, |table| table.keyed.clear());
    }

    /// Drops the entries of commits up to `upto` from a log, and returns how many rows they were.
    pub fn trim(&mut self, upto: u64) -> u64 {
        let kept = self.log.split_off(&(upto + 1));
        let gone = std::mem::replace(&mut self.log, kept);
        self.begins = self.begins.max(upto);
        gone.values().map(|entries| entries.len() as u64).sum()
    }

    /// All rows, sorted; of a queue, those that it has ever had.
    pub fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = match self.kind {
            TableKind::PrimaryKey => self.keyed.values().cloned().collect(),
            TableKind::Log => {
                self.log.values().flat_map(|entries| entries.iter().map(|(_, row)| row.clone())).collect()
            }
        };
        rows.sort();
        rows
    }

    /// Rows that must be there, sorted: all, or those of a queue above `log_start`.
    pub fn required(&self, log_start: u64) -> Vec<Row> {
        if !self.is_queue {
            return self.sorted();
        }
        let mut rows: Vec<Row> =
            self.log.range(log_start + 1..).flat_map(|(_, log)| log.iter().map(|e| e.1.clone())).collect();
        rows.sort();
        rows
    }

    /// Takes an effective change as the store reports it, and insists that it is one: what goes was there, what comes was
    /// not. The log is left alone.
    pub fn follow(&mut self, commit: u64, change: &ChangeBatch) {
        let rows = rows(change.columns());
        if self.kind == TableKind::Log {
            self.withdraw(rows.iter().enumerate().filter(|(i, _)| change.weight(*i) < 0).map(|(_, row)| row));
        }
        for withdrawn in [true, false] {
            for (i, row) in rows.iter().enumerate().filter(|(i, _)| (change.weight(*i) < 0) == withdrawn) {
                assert_eq!(change.weight(i).abs(), 1, "an effective change moves single rows");
                let key = self.key(row);
                match (self.kind, withdrawn) {
                    (TableKind::PrimaryKey, true) => {
                        assert_eq!(self.keyed.remove(&key).as_ref(), Some(row), "a withdrawn row was there");
                    }
                    (TableKind::PrimaryKey, false) => {
                        assert_eq!(self.keyed.insert(key, row.clone()), None, "a row of that key was not there");
                    }
                    (TableKind::Log, true) => {}
                    (TableKind::Log, false) => self.append(commit, vec![(RowKind::Insert, row.clone())]),
                }
            }
        }
    }

    /// Takes `rows` out of the log, each once: the newest that are equal, since older ones may have expired unseen.
    fn withdraw<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) {
        let mut left: BTreeMap<&Row, usize> = BTreeMap::new();
        rows.for_each(|row| *left.entry(row).or_default() += 1);
        if left.is_empty() {
            return;
        }
        for entries in self.log.values_mut().rev() {
            Arc::make_mut(entries).retain(|(_, row)| match left.get_mut(row) {
                Some(times) if *times > 0 => {
                    *times -= 1;
                    false
                }
                _ => true,
            });
        }
        assert!(left.values().all(|times| *times == 0), "a withdrawn row was there: {left:?}");
    }

    fn append(&mut self, commit: u64, entries: Vec<Entry>) {
        if !entries.is_empty() {
            Arc::make_mut(self.log.entry(commit).or_default()).extend(entries);
        }
    }

    /// Runs `act` and logs what it comes to for each of `keys`.
    fn logged(&mut self, commit: u64, keys: Vec<Key>, act: impl FnOnce(&mut Self)) {
        let before: BTreeMap<Key, Option<Row>> =
            keys.into_iter().map(|key| (key.clone(), self.keyed.get(&key).cloned())).collect();
        act(self);
        let mut entries = Vec::new();
        for (key, old) in before {
            match (old, self.keyed.get(&key)) {
                (old, Some(new)) if old.as_ref() == Some(new) => {}
                (Some(_), Some(new)) => entries.push((RowKind::UpdateAfter, new.clone())),
                (None, Some(new)) => entries.push((RowKind::Insert, new.clone())),
                (Some(old), None) => entries.push((RowKind::Delete, (old.0, old.1.filter(|_| self.by_name), None))),
                (None, None) => {}
            }
        }
        self.append(commit, entries);
    }
}
