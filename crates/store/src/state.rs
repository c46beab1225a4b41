//! The store's state in memory, and every way in which it changes. The live path and recovery call the same functions in
//! the same order, which is why a replayed store has the same tables, row ids and metadata.
//!
//! Nothing here writes to disk or publishes to readers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, RowKind, SourceId, TableId};

use crate::cursors::Cursors;
use crate::delta::{Effect, consolidate};
use crate::meta::{Meta, SYSTEM_TABLE, system_spec};
use crate::pending::{Pending, Progress, Stage};
use crate::snapshot::View;
use crate::source::{Part, SourcePosition};
use crate::spec::{TableKind, TableSpec};
use crate::table::{Detail, Intent, Rows, Table, TableShape};
use crate::wal::place::LogPlace;

/// Everything that the store knows.
pub(crate) struct State {
    /// The secrets of key hashing.
    pub secret: [u64; 2],
    pub tables: BTreeMap<TableId, Table>,
    pub names: Arc<HashMap<String, TableId>>,
    pub next_table: u32,
    pub meta: Arc<Meta>,
    pub cursors: Arc<Cursors>,
    pub pending: VecDeque<Pending>,
    /// Bytes of rows of waiting commits that are in memory.
    pub waiting_bytes: usize,
    /// How far the first of them has been applied in the tick under way.
    pub progress: Progress,
    /// Those that the tick under way has applied.
    pub applied: Vec<Pending>,
    pub stages: BTreeMap<u64, Stage>,
    pub positions: Arc<BTreeMap<SourceId, SourcePosition>>,
    /// The last commit of any kind.
    pub last_commit: CommitId,
    /// Tables whose rows have changed since the last view.
    pub touched: BTreeSet<TableId>,
    /// The last tick.
    pub view: Arc<View>,
    /// The frame that published it, 0 if there is none.
    pub tick_frame: u64,
    /// Where the frame behind it stands, or will stand.
    pub tick_end: LogPlace,
}

impl State {
    /// An empty store; `random` gives the secrets of key hashing.
    pub fn new(random: &mut Random) -> Result<Self> {
        Self::with_secret([random.bits(), random.bits()])
    }

    /// An empty store with these secrets of key hashing.
    pub fn with_secret(secret: [u64; 2]) -> Result<Self> {
        let shape = Arc::new(TableShape::new(SYSTEM_TABLE, system_spec(), secret)?);
        let table = Table::new(shape, secret[0]);
        let names = Arc::new(HashMap::from([(table.shape.spec.name.clone(), SYSTEM_TABLE)]));
        let view = View {
            commit: CommitId(0),
            as_of: CommitId(0),
            time_micros: 0,
            tables: vec![Arc::new(table.view())],
            names: names.clone(),
            meta: Arc::default(),
            cursors: Arc::default(),
        };
        Ok(Self {
            secret,
            tables: BTreeMap::from([(SYSTEM_TABLE, table)]),
            names,
            next_table: 1,
            meta: Arc::default(),
            cursors: Arc::default(),
            pending: VecDeque::new(),
            waiting_bytes: 0,
            progress: Progress::default(),
            applied: Vec::new(),
            stages: BTreeMap::new(),
            positions: Arc::default(),
            last_commit: CommitId(0),
            touched: BTreeSet::new(),
            view: Arc::new(view),
            tick_frame: 0,
            tick_end: LogPlace::default(),
        })
    }

    pub fn table(&self, id: TableId) -> Result<&Table> {
        self.tables.get(&id).ok_or_else(|| Error::not_found(format!("table {id} does not exist")))
    }

    /// The table, marked as touched.
    fn touch(&mut self, id: TableId) -> Result<&mut Table> {
        let table = self.tables.get_mut(&id).ok_or_else(|| Error::not_found(format!("table {id} does not exist")))?;
        self.touched.insert(id);
        Ok(table)
    }

    pub fn create_table(&mut self, id: TableId, spec: TableSpec) -> Result<()> {
        if let Some(other) = self.names.get(&spec.name) {
            return Err(Error::conflict(format!("table {} exists already, as {other}", spec.name)));
        }
        if id.0 < self.next_table || id.0 == u32::MAX {
            return Err(Error::internal(format!("table id {id} has been used before, or none is left")));
        }
        let name = spec.name.clone();
        let shape = Arc::new(TableShape::new(id, spec, self.secret)?);
        self.tables.insert(id, Table::new(shape, self.secret[0]));
        Arc::make_mut(&mut self.names).insert(name, id);
        self.next_table = id.0 + 1;
        self.touched.insert(id);
        Ok(())
    }

    pub fn drop_table(&mut self, id: TableId) -> Result<Table> {
        if id == SYSTEM_TABLE {
            return Err(Error::invalid("the system table cannot be dropped"));
        }
        let table = self.tables.remove(&id).ok_or_else(|| Error::not_found(format!("table {id} does not exist")))?;
        Arc::make_mut(&mut self.names).remove(&table.shape.spec.name);
        Arc::make_mut(&mut self.cursors).forget_table(id);
        self.touched.insert(id);
        Ok(table)
    }

    /// Applies a source's rows, or logged rows of an earlier tick.
    pub fn apply_part(&mut self, part: &Part, commit: CommitId, detail: Detail) -> Result<Effect> {
        let kinds = &part.batch.kinds;
        let intent = |row: usize| match kinds[row] {
            RowKind::Insert | RowKind::UpdateAfter => Intent::Upsert,
            RowKind::UpdateBefore | RowKind::Delete => Intent::Delete,
        };
        let rows = Rows {
            columns: &part.batch.columns,
            listed: part.columns.as_deref(),
            len: part.batch.len(),
            intent: &intent,
            upsert_wins: false,
        };
        self.apply(part.table, &rows, commit, detail)
    }

    pub fn apply(&mut self, table: TableId, rows: &Rows<'_>, commit: CommitId, detail: Detail) -> Result<Effect> {
        let detail = if table == SYSTEM_TABLE { Detail::Rows } else { detail };
        let effect = self.touch(table)?.apply(rows, commit, detail)?;
        if table == SYSTEM_TABLE && !effect.is_empty() {
            Arc::make_mut(&mut self.meta).follow(&effect.clone().into_batch()?);
        }
        Ok(effect)
    }

    /// Removes all rows of a table.
    pub fn truncate(&mut self, table: TableId, commit: CommitId) -> Result<Option<ChangeBatch>> {
        if table == SYSTEM_TABLE {
            return Err(Error::invalid("the system table cannot be truncated"));
        }
        let effects = self.touch(table)?.truncate(commit)?;
        consolidate(effects, false)
    }

    /// Drops the entries of commits up to `upto` from a log table; gives how many rows they were.
    pub fn trim_log(&mut self, id: TableId, upto: CommitId) -> Result<u64> {
        let table = self.touch(id)?;
        if table.shape.is_keyed() {
            let name = &table.shape.spec.name;
            return Err(Error::invalid(format!("table {name} has a primary key: its rows do not expire by their age")));
        }
        Ok(table.trim(upto))
    }

    /// Takes back everything that the tick under way has done to a table.
    pub fn restore(&mut self, id: TableId) -> Result<()> {
        if id == SYSTEM_TABLE {
            return Err(Error::invalid("the system table cannot be taken back alone"));
        }
        let view = self.view.clone();
        let Some(before) = view.table(id) else {
            return Err(Error::invalid(format!(
                "table {id} has been made in this tick, so there is nothing to go back to"
            )));
        };
        self.touch(id)?.revert(before)
    }

    /// The commit from which on the log of a table is kept, whatever a restart does. It never goes back: whoever registers above
    /// it finds what it wants.
    pub fn log_floor(&self, id: TableId) -> Result<CommitId> {
        let table = self.table(id)?;
        let start = table.log_start();
        match self.view.table(id) {
            Some(_) if table.shape.is_keyed() || table.shape.spec.hidden => {
                Ok(start.max(self.view.cursors.slowest(id).unwrap_or(self.view.commit)))
            }
            // The log of a log table is cut by operations that are on record; a table that this tick has made is whole.
            _ => Ok(start),
        }
    }

    pub fn set_cursor(&mut self, consumer: &str, table: TableId, upto: CommitId) {
        Arc::make_mut(&mut self.cursors).set(consumer, table, upto);
    }

    pub fn forget_cursor(&mut self, consumer: &str, table: Option<TableId>) {
        Arc::make_mut(&mut self.cursors).forget(consumer, table);
    }

    /// Ends a tick, whose frame stands before `end`: merges and reclaims in the tables that changed, and makes the view that readers will get.
    pub fn finish_tick(&mut self, commit: CommitId, as_of: CommitId, time_micros: i64, end: LogPlace) -> Result<()> {
        for id in &self.touched {
            let Some(table) = self.tables.get_mut(id) else { continue };
            let slowest = self.cursors.slowest(*id);
            let is_queue = table.shape.spec.kind == TableKind::Log && table.shape.spec.hidden && slowest.is_some();
            table.maintain(slowest.unwrap_or(commit), is_queue)?;
        }
        let table_view = |(id, table): (&TableId, &Table)| match self.view.table(*id) {
            Some(view) if !self.touched.contains(id) => view.clone(),
            _ => Arc::new(table.view()),
        };
        let view = View {
            commit,
            as_of,
            time_micros,
            tables: self.tables.iter().map(table_view).collect(),
            names: self.names.clone(),
            meta: self.meta.clone(),
            cursors: self.cursors.clone(),
        };
        self.view = Arc::new(view);
        (self.tick_frame, self.tick_end) = (end.frame - 1, end);
        self.touched.clear();
        self.applied.clear();
        self.last_commit = commit;
        Ok(())
    }

    /// Undoes everything since the last view; `dropped` are tables that were dropped since. Rebuilds the key index of every
    /// touched table.
    pub fn revert(&mut self, dropped: Vec<Table>) -> Result<()> {
        let view = self.view.clone();
        for table in dropped {
            self.tables.insert(table.shape.id, table);
        }
        self.tables.retain(|id, _| view.table(*id).is_some());
        for id in std::mem::take(&mut self.touched) {
            if let (Some(table), Some(view)) = (self.tables.get_mut(&id), view.table(id)) {
                table.revert(view)?;
            }
        }
        self.names = view.names.clone();
        self.meta = view.meta.clone();
        self.cursors = view.cursors.clone();
        self.wait_again();
        Ok(())
    }
}
