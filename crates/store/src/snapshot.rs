//! What a reader sees: the whole store at one tick boundary, for as long as it holds on to it.
//!
//! A snapshot is a set of shared pointers to immutable batches and bitmaps. Reading takes no lock and never waits for the
//! writer; an old snapshot costs the memory of what has been merged or reclaimed since.

use std::collections::HashMap;
use std::sync::Arc;

use gridhouse_base::{ChangeBatch, CommitId, Error, Result, TableId};

use crate::bucket_view::BucketView;
use crate::cursors::Cursors;
use crate::group::{Entries, LiveGroup};
use crate::meta::Meta;
use crate::scan::Scan;
use crate::spec::TableSpec;
use crate::table::TableShape;

/// The store at a tick boundary, shared by all snapshots of it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub commit: CommitId,
    pub as_of: CommitId,
    pub time_micros: i64,
    /// Ascending by id.
    pub tables: Vec<Arc<TableView>>,
    pub names: Arc<HashMap<String, TableId>>,
    pub meta: Arc<Meta>,
    pub cursors: Arc<Cursors>,
}

impl View {
    pub fn table(&self, id: TableId) -> Option<&Arc<TableView>> {
        self.tables.binary_search_by_key(&id, |table| table.shape.id).ok().map(|i| &self.tables[i])
    }
}

/// A table at a tick boundary.
#[derive(Clone, Debug)]
pub(crate) struct TableView {
    pub shape: Arc<TableShape>,
    pub buckets: Vec<Arc<BucketView>>,
    pub live_rows: u64,
}

impl TableView {
    pub fn groups(&self) -> impl Iterator<Item = &LiveGroup> {
        self.buckets.iter().flat_map(|bucket| &bucket.groups)
    }

    /// All live rows, all columns.
    pub fn live_batches(&self) -> impl Iterator<Item = Result<ChangeBatch>> + '_ {
        Scan::whole(self, None)
    }
}

/// The store at one tick boundary; cheap to clone and to send to other threads.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) view: Arc<View>,
}

impl Snapshot {
    /// The tick; 0 before the first.
    pub fn commit(&self) -> CommitId {
        self.view.commit
    }

    /// The newest source commit that the snapshot reflects.
    pub fn as_of(&self) -> CommitId {
        self.view.as_of
    }

    /// The clock of the tick, in microseconds since the epoch.
    pub fn time_micros(&self) -> i64 {
        self.view.time_micros
    }

    /// All tables, hidden ones and the system table included, by id.
    pub fn tables(&self) -> impl Iterator<Item = TableSnapshot> + '_ {
        self.view.tables.iter().map(|view| TableSnapshot { view: view.clone() })
    }

    /// The table `id`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist at this tick.
    pub fn table(&self, id: TableId) -> Result<TableSnapshot> {
        let view = self.view.table(id).ok_or_else(|| Error::not_found(format!("table {id} does not exist")))?;
        Ok(TableSnapshot { view: view.clone() })
    }

    /// The table called `name`.
    ///
    /// # Errors
    /// `NotFound` if there is none at this tick.
    pub fn table_named(&self, name: &str) -> Result<TableSnapshot> {
        match self.view.names.get(name) {
            Some(&id) => self.table(id),
            None => Err(Error::not_found(format!("table {name} does not exist"))),
        }
    }

    /// The metadata value under `space` and `key`.
    pub fn get(&self, space: &str, key: &str) -> Option<Arc<str>> {
        self.view.meta.get(space, key)
    }

    /// All metadata under `space`, by key.
    pub fn list(&self, space: &str) -> Vec<(String, Arc<str>)> {
        let entries = self.view.meta.space(space).map(|entries| entries.iter());
        entries.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// How far `consumer` has read the log of `table`.
    pub fn cursor(&self, consumer: &str, table: TableId) -> Option<CommitId> {
        self.view.cursors.get(consumer, table)
    }

    /// All cursors: consumer, table, position.
    pub fn cursors(&self) -> impl Iterator<Item = (&str, TableId, CommitId)> {
        self.view.cursors.iter()
    }
}

/// A table at one tick boundary; cheap to clone and to send to other threads.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    pub(crate) view: Arc<TableView>,
}

impl TableSnapshot {
    /// The table's id.
    pub fn id(&self) -> TableId {
        self.view.shape.id
    }

    /// The table's definition.
    pub fn spec(&self) -> &TableSpec {
        &self.view.shape.spec
    }

    /// The number of live rows.
    pub fn row_count(&self) -> u64 {
        self.view.live_rows
    }

    /// The number of log entries that are kept, dead ones and deletions included.
    pub fn entry_count(&self) -> u64 {
        self.view.groups().map(|group| group.entries.len() as u64).sum()
    }

    /// The bytes of memory that the entries take.
    pub fn bytes(&self) -> u64 {
        self.view.groups().map(|group| group.entries.memory_bytes() as u64).sum()
    }

    /// The bytes that the entries take, encoded where they lie in segments.
    pub fn stored_bytes(&self) -> u64 {
        let bytes = |entries: &Entries| match entries {
            Entries::Tail(_) => entries.memory_bytes(),
            Entries::Sealed(group) => group.bytes(),
        };
        self.view.groups().map(|group| bytes(&group.entries) as u64).sum()
    }

    /// The newest commit of which the log has lost an entry; [`TableSnapshot::changes`] can start from here on.
    pub fn log_start(&self) -> CommitId {
        self.view.buckets.iter().map(|bucket| bucket.reclaimed).max().unwrap_or_default()
    }

    /// The live rows in batches of at most 65,536, whole or the columns `projection`, in no particular order.
    pub fn scan(&self, projection: Option<&[usize]>) -> Scan {
        Scan::whole(&self.view, projection)
    }
}
