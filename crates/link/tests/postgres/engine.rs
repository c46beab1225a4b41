//! The smallest engine that takes a source stream's events by the rules of the trait: rows wait for their commit, contents
//! are staged and compared, a lost connection voids what was not committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::table::TableDef;
use gridhouse_base::{SourceId, Value};
use gridhouse_flow::connector::{
    SourceConnector, SourceEvent, SourceLag, SourcePosition, SourceStream, SourceTable, StreamPlace,
};
use gridhouse_link::PostgresCdc;

use crate::setup::context;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// What survives a crash of the engine.
#[derive(Clone, Default)]
pub struct Durable {
    pub position: Option<SourcePosition>,
    pub tables: BTreeMap<u32, Table>,
}

#[derive(Clone)]
pub struct Table {
    pub definition: Arc<TableDef>,
    pub snapshot: Option<SourcePosition>,
    /// Rows with how often they are there.
    pub rows: BTreeMap<String, (Vec<Value>, i64)>,
}

pub struct Engine {
    pub durable: Durable,
    pub waiting: Vec<String>,
    pub failed: Option<String>,
    /// What tables that failed alone said, by table.
    pub table_failures: BTreeMap<u32, String>,
    pub commits: usize,
    pub snapshots: usize,
    /// How often contents were left out.
    pub left_out: usize,
    pub truncates: usize,
    pub connected: usize,
    pub placed: bool,
    pub largest_batch: usize,
    pub partial: usize,
    pub idles: usize,
    pub missed: usize,
    pub outdated: usize,
    pub aborted: usize,
    pub lag: Option<SourceLag>,
    /// Rows that do not fit, with the reason.
    pub rejected: Vec<String>,
    pending: Vec<SourceEvent>,
    staged: BTreeMap<u32, Vec<Vec<Value>>>,
    events: Receiver<(SourceId, SourceEvent)>,
    stream: Option<Box<dyn SourceStream>>,
    stream_key: String,
    definition: TableDef,
    clock: SystemClock,
}

impl Engine {
    /// Describes the tables and starts their stream where `durable` left it.
    pub fn start(definitions: &[TableDef], durable: Durable) -> Self {
        let connector = PostgresCdc::new(&context());
        let keys: Vec<String> = definitions.iter().map(|d| connector.describe(d).unwrap().stream_key).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "tables of one database share a stream: {keys:?}");
        Self::resume(&keys[0], definitions, durable)
    }

    /// Starts the stream without asking the source first, as after a crash.
    pub fn resume(stream_key: &str, definitions: &[TableDef], mut durable: Durable) -> Self {
        for (id, definition) in (1..).zip(definitions) {
            let table = || Table { definition: Arc::new(definition.clone()), snapshot: None, rows: BTreeMap::new() };
            durable.tables.entry(id).or_insert_with(table);
        }
        Self::reached(stream_key, &definitions[0], durable)
    }

    /// Starts the stream with the tables of `durable`, perhaps none.
    pub fn reached(stream_key: &str, definition: &TableDef, durable: Durable) -> Self {
        let connector = PostgresCdc::new(&context());
        let (sender, events) = sync_channel(4);
        let source_table = |(id, table): (&u32, &Table)| SourceTable {
            id: *id,
            definition: table.definition.clone(),
            snapshot: table.snapshot.clone(),
        };
        let tables = durable.tables.iter().map(source_table).collect();
        let place = StreamPlace { key: stream_key, definition, store: 7 };
        let stream = connector.start(SourceId(1), place, tables, durable.position.clone(), sender).unwrap();
        Self {
            durable,
            waiting: Vec::new(),
            failed: None,
            table_failures: BTreeMap::new(),
            commits: 0,
            snapshots: 0,
            left_out: 0,
            truncates: 0,
            connected: 0,
            placed: false,
            largest_batch: 0,
            partial: 0,
            idles: 0,
            missed: 0,
            outdated: 0,
            aborted: 0,
            lag: None,
            rejected: Vec::new(),
            pending: Vec::new(),
            staged: BTreeMap::new(),
            events,
            stream: Some(stream),
            stream_key: stream_key.to_owned(),
            definition: definition.clone(),
            clock: SystemClock::new(),
        }
    }

    pub fn add(&mut self, id: u32, definition: TableDef) {
        let definition = Arc::new(definition);
        let table = Table { definition: definition.clone(), snapshot: None, rows: BTreeMap::new() };
        self.durable.tables.insert(id, table);
        self.stream.as_ref().unwrap().add_table(SourceTable { id, definition, snapshot: None });
    }

    /// Brings a table in again that was left out, as `START JOB` does: its rows stay until its contents come.
    pub fn bring_back(&mut self, id: u32) {
        let definition = self.durable.tables[&id].definition.clone();
        self.stream.as_ref().unwrap().add_table(SourceTable { id, definition, snapshot: None });
    }

    /// Takes events until `done`, or fails the test.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = self.clock.monotonic();
        while !done(self) {
            let left = DEADLINE.saturating_sub(self.clock.monotonic() - start);
            match self.events.recv_timeout(left) {
                Ok((_, event)) => self.take(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what} did not come; waiting {:?}, failed {:?}", self.waiting, self.failed)
                }
            }
        }
    }

    /// Waits until table `id` holds `rows`, written as psql writes them.
    pub fn until_rows(&mut self, id: u32, rows: &[&str]) {
        let mut wanted: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
        wanted.sort();
        let mut seen = self.rows(id);
        let start = self.clock.monotonic();
        while seen != wanted {
            let left = DEADLINE.saturating_sub(self.clock.monotonic() - start);
            if let Ok((_, event)) = self.events.recv_timeout(left) {
                self.take(event);
            } else {
                panic!(
                    "table {id} has {seen:#?} instead of {wanted:#?}; waiting {:?}, failed {:?}",
                    self.waiting, self.failed
                );
            }
            seen = self.rows(id);
        }
    }

    /// What table `id` said when it failed, once it has; forgotten by asking.
    pub fn until_table_failed(&mut self, id: u32) -> String {
        self.until("the failure of a table", |e| e.table_failures.contains_key(&id));
        self.failed = None;
        self.table_failures.remove(&id).unwrap()
    }

    /// The rows of table `id`, sorted, values between `|`.
    pub fn rows(&self, id: u32) -> Vec<String> {
        let table = &self.durable.tables[&id];
        let line = |row: &Vec<Value>| row.iter().map(show).collect::<Vec<_>>().join("|");
        let mut lines: Vec<String> =
            table.rows.values().flat_map(|(row, count)| vec![line(row); usize::try_from(*count).unwrap()]).collect();
        lines.sort();
        lines
    }

    /// How many rows of contents of table `id` are here and not yet swapped in.
    pub fn staged(&self, id: u32) -> usize {
        self.staged.get(&id).map_or(0, Vec::len)
    }

    pub fn acknowledge(&self) {
        if let Some(position) = &self.durable.position {
            self.stream.as_ref().unwrap().acknowledge(position.clone());
        }
    }

    /// Stops the stream properly; what is durable.
    pub fn stop(mut self) -> Durable {
        // The queue is dropped first: a worker that waits for room must not hold up the stop.
        self.stream.take().unwrap().stop();
        self.durable
    }

    pub fn forget(mut self) {
        self.stream.take().unwrap().stop();
        let place = StreamPlace { key: &self.stream_key, definition: &self.definition, store: 7 };
        PostgresCdc::new(&context()).forget(place).unwrap();
    }

    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::SnapshotRows { table, batch } => {
                self.largest_batch = self.largest_batch.max(batch.len());
                let definition = self.durable.tables[&table].definition.clone();
                self.staged.entry(table).or_default().extend(rows_of(&definition, &batch).map(|(_, row)| row));
            }
            SourceEvent::SnapshotDone { table, position } => {
                let rows = self.staged.remove(&table).unwrap_or_default();
                let table = self.durable.tables.get_mut(&table).unwrap();
                table.snapshot = Some(position);
                table.rows.clear();
                for row in rows {
                    table.change(RowKind::Insert, row, None);
                }
                self.snapshots += 1;
            }
            SourceEvent::SnapshotLeftOut { table, position } => {
                assert!(!self.staged.contains_key(&table), "contents that are left out are not sent");
                self.durable.tables.get_mut(&table).unwrap().snapshot = Some(position);
                self.left_out += 1;
            }
            SourceEvent::SnapshotAborted { table } => {
                self.aborted += 1;
                self.staged.remove(&table);
            }
            SourceEvent::Commit { ref position, .. } => {
                let position = position.clone();
                assert!(self.durable.position.as_ref().is_none_or(|before| *before < position), "positions grow");
                for event in std::mem::take(&mut self.pending) {
                    self.apply(event);
                }
                self.commits += 1;
                self.durable.position = Some(position);
                self.acknowledge();
            }
            SourceEvent::Idle { position } => {
                assert!(self.pending.is_empty(), "an idle stream has nothing open");
                self.idles += 1;
                self.durable.position = Some(position);
                self.acknowledge();
            }
            SourceEvent::Missed { tables } => {
                for table in tables {
                    self.durable.tables.get_mut(&table).unwrap().snapshot = None;
                }
                self.durable.position = None;
                self.missed += 1;
            }
            SourceEvent::Outdated { table } => {
                self.durable.tables.get_mut(&table).unwrap().snapshot = None;
                self.outdated += 1;
            }
            SourceEvent::Lag(lag) => self.lag = Some(lag),
            SourceEvent::TableFailed { table, error } => {
                let of_table = |event: &SourceEvent| matches!(event, SourceEvent::Rows { table: t, .. } | SourceEvent::Truncate { table: t } if *t == table);
                self.pending.retain(|event| !of_table(event));
                self.staged.remove(&table);
                self.durable.tables.get_mut(&table).unwrap().snapshot = None;
                self.stream.as_ref().unwrap().remove_table(table);
                let hint = error.remedy().map(|hint| format!(" [{hint}]")).unwrap_or_default();
                self.failed = Some(format!("{error}{hint}"));
                self.table_failures.insert(table, format!("{error}{hint}"));
            }
            SourceEvent::Waiting { error } => {
                self.pending.clear();
                let hint = error.remedy().map(|hint| format!(" [{hint}]")).unwrap_or_default();
                self.waiting.push(format!("{error}{hint}"));
            }
            SourceEvent::Failed { error } => {
                self.pending.clear();
                let hint = error.remedy().map(|hint| format!(" [{hint}]")).unwrap_or_default();
                self.failed = Some(format!("{error}{hint}"));
            }
            SourceEvent::Rejected { table, row, error } => self.rejected.push(format!("{table}: {row}: {error}")),
            SourceEvent::Connected => self.connected += 1,
            SourceEvent::Placed => self.placed = true,
            SourceEvent::Finished => panic!("a stream of changes never ends"),
            event @ (SourceEvent::Rows { .. } | SourceEvent::Truncate { .. }) => self.pending.push(event),
        }
    }

    fn apply(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Rows { table, columns, batch } => {
                self.largest_batch = self.largest_batch.max(batch.len());
                self.partial += usize::from(columns.is_some());
                let table = self.durable.tables.get_mut(&table).unwrap();
                for (kind, row) in rows_of(&table.definition.clone(), &batch) {
                    table.change(kind, row, columns.as_deref());
                }
            }
            SourceEvent::Truncate { table } => {
                self.truncates += 1;
                self.durable.tables.get_mut(&table).unwrap().rows.clear();
            }
            _ => unreachable!("only rows and truncates wait for a commit"),
        }
    }
}

impl Table {
    fn change(&mut self, kind: RowKind, mut row: Vec<Value>, known: Option<&[usize]>) {
        let key_columns = &self.definition.primary_key;
        if key_columns.is_empty() {
            let step = if matches!(kind, RowKind::Insert | RowKind::UpdateAfter) { 1 } else { -1 };
            let key = format!("{row:?}");
            let entry = self.rows.entry(key.clone()).or_insert((row, 0));
            entry.1 += step;
            assert!(entry.1 >= 0, "a row is withdrawn only where it is: {:?}", entry.0);
            if entry.1 == 0 {
                self.rows.remove(&key);
            }
            return;
        }
        let key = format!("{:?}", key_columns.iter().map(|&k| &row[k]).collect::<Vec<_>>());
        if kind == RowKind::Delete {
            self.rows.remove(&key);
            return;
        }
        assert_ne!(kind, RowKind::UpdateBefore, "an upsert stream has no -U");
        if let Some(known) = known {
            let stored = &self.rows[&key].0;
            for i in (0..row.len()).filter(|i| !known.contains(i)) {
                row[i] = stored[i].clone();
            }
        }
        self.rows.insert(key, (row, 1));
    }
}

fn rows_of<'a>(definition: &'a TableDef, batch: &'a KindBatch) -> impl Iterator<Item = (RowKind, Vec<Value>)> + 'a {
    let kinds: Vec<_> = definition.physical().map(|i| &definition.schema.columns[i].sql_type.kind).collect();
    (0..batch.len()).map(move |row| {
        let values = batch.columns.iter().zip(&kinds).map(|(column, kind)| Value::from_array(column, row, kind));
        (batch.kinds[row], values.collect())
    })
}

pub fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Decimal(n) => n.to_string(),
        Value::Boolean(b) => b.to_string(),
        Value::Double(x) => x.to_string(),
        other => format!("{other:?}"),
    }
}
