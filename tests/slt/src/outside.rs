//! The outside of a [`crate::House`]: a source that feeds tables by whole transactions, and sinks that collect what jobs give.
//!
//! The source keeps the log of its transactions, so that a killed engine gets again what it had not made durable. A sink adds up
//! changes and complains where a row is withdrawn that is not there; what an older engine still writes is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::{ArrayRef, UInt32Array};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, Column, CommitId, Error, Result, RowKind, SourceId, SqlType, TypeKind, Value};
use gridhouse_flow::connector::{
    ChangelogMode, Found, Lookup, LookupConnector, LookupRequest, MayGoOn, ScanConnector, ScanRequest, ScanRows, Sink,
    SinkChanges, SinkConnector, SinkDescription, SinkWriter, SourceConnector, SourceDescription, SourceEvent,
    SourceEvents, SourcePosition, SourceStream, SourceTable, StreamPlace,
};

use crate::rows::{Bag, Text, shown, text_at, types_of};

/// How long the engine may take to make a transaction durable: far longer than it ever does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many rows a known table has: small whole numbers are what tests draw.
const KNOWN_ROWS: i64 = 8;

/// Changes of one transaction: table by table, in order.
pub type Transaction = Vec<(String, KindBatch)>;

/// The outside; clones share it.
#[derive(Clone, Default)]
pub struct Outside {
    inner: Arc<Mutex<Inner>>,
    moved: Arc<Condvar>,
}

#[derive(Default)]
struct Inner {
    log: Vec<Transaction>,
    streams: Vec<Running>,
    /// How many tables are being brought into the stream; transactions come behind them.
    joining: usize,
    acknowledged: u64,
    collected: BTreeMap<String, Collected>,
    /// Counts engines; an earlier one's sinks are refused.
    epoch: u64,
    complaints: Vec<String>,
}

struct Running {
    source: SourceId,
    events: SourceEvents,
    /// The numbers of the tables in the stream, with their names.
    tables: Vec<(u32, String)>,
}

#[derive(Default)]
struct Collected {
    rows: Bag,
    /// The same rows by key, where the sink has one.
    by_key: BTreeMap<Text, Text>,
    upto: CommitId,
}

impl Outside {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, what: &str, mut waits: impl FnMut(&Inner) -> bool) -> std::result::Result<(), String> {
        let waited = self.moved.wait_timeout_while(self.lock(), PATIENCE, |inner| waits(inner));
        let (_inner, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() { Err(format!("{what} took longer than {} s", PATIENCE.as_secs())) } else { Ok(()) }
    }

    /// Commits a transaction and waits until it is durable inside.
    ///
    /// # Errors
    /// Where that takes too long: a stream failed.
    pub fn commit(&self, transaction: Transaction) -> std::result::Result<(), String> {
        self.send(transaction)?;
        let position = self.lock().log.len() as u64;
        self.wait("a transaction", |inner| inner.acknowledged < position)
    }

    /// Commits a transaction without waiting for anything.
    ///
    /// # Errors
    /// Where a table takes too long to join.
    pub fn send(&self, transaction: Transaction) -> std::result::Result<(), String> {
        self.wait("joining the stream", |inner| inner.joining > 0)?;
        let mut inner = self.lock();
        inner.log.push(transaction.clone());
        let position = inner.log.len() as u64;
        let streams: Vec<_> = inner.streams.iter().map(|s| (s.source, s.events.clone(), s.tables.clone())).collect();
        drop(inner);
        for (source, events, tables) in streams {
            deliver(source, &events, &tables, &transaction, position);
        }
        Ok(())
    }

    /// The rows that the sink table `name` has collected.
    pub fn rows(&self, name: &str) -> Bag {
        self.lock().collected.get(name).map(|collected| collected.rows.clone()).unwrap_or_default()
    }

    /// What sinks have complained about so far.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Nobody listens to the source any more, and sinks that are open are refused.
    pub fn cut(&self) {
        let mut inner = self.lock();
        inner.streams.clear();
        inner.epoch += 1;
    }

    fn join(&self, source: SourceId, table: &SourceTable, events: &SourceEvents) {
        let name = name_of(&table.definition);
        if table.snapshot.is_none() {
            let position = encode(self.lock().log.len() as u64);
            // An engine that is gone does not listen.
            let _ = events.send((source, SourceEvent::SnapshotDone { table: table.id, position }));
        }
        let mut inner = self.lock();
        for stream in inner.streams.iter_mut().filter(|stream| stream.source == source) {
            if !stream.tables.iter().any(|(id, _)| *id == table.id) {
                stream.tables.push((table.id, name.clone()));
            }
        }
    }

    fn joined(&self) {
        self.lock().joining -= 1;
        self.moved.notify_all();
    }
}

fn deliver(source: SourceId, events: &SourceEvents, tables: &[(u32, String)], changes: &Transaction, position: u64) {
    for (name, batch) in changes {
        for (table, _) in tables.iter().filter(|(_, known)| known == name) {
            let _ = events.send((source, SourceEvent::Rows { table: *table, columns: None, batch: batch.clone() }));
        }
    }
    let _ = events
        .send((source, SourceEvent::Commit { position: encode(position), event_time_micros: 1, received_micros: 1 }));
}

fn name_of(definition: &TableDef) -> String {
    definition.options.get("table").cloned().unwrap_or_else(|| definition.path.object.clone())
}

fn encode(position: u64) -> SourcePosition {
    position.to_be_bytes().to_vec()
}

fn decode(position: &[u8]) -> u64 {
    position.try_into().map_or(0, u64::from_be_bytes)
}

impl SourceConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let keyed = !definition.primary_key.is_empty();
        Ok(SourceDescription {
            stream_key: "feed".into(),
            table_key: name_of(definition),
            shared: true,
            bounded: false,
            mode: if keyed { ChangelogMode::Upsert } else { ChangelogMode::InsertOnly },
            notices: vec![],
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        {
            let mut inner = self.lock();
            inner.streams.retain(|stream| stream.source != source);
            inner.streams.push(Running { source, events: events.clone(), tables: Vec::new() });
            inner.joining += 1;
        }
        let feed = Feed { outside: self.clone(), source, events: events.clone() };
        let outside = self.clone();
        std::thread::spawn(move || {
            for table in &tables {
                outside.join(source, table, &events);
            }
            let names: Vec<(u32, String)> = tables.iter().map(|t| (t.id, name_of(&t.definition))).collect();
            let log = outside.lock().log.clone();
            let from = position.map_or(log.len(), |position| decode(&position) as usize);
            for (i, changes) in log.iter().enumerate().skip(from) {
                deliver(source, &events, &names, changes, i as u64 + 1);
            }
            outside.joined();
        });
        Ok(Box::new(feed))
    }
}

struct Feed {
    outside: Outside,
    source: SourceId,
    events: SourceEvents,
}

impl SourceStream for Feed {
    fn add_table(&self, table: SourceTable) {
        let (outside, source, events) = (self.outside.clone(), self.source, self.events.clone());
        outside.lock().joining += 1;
        std::thread::spawn(move || {
            outside.join(source, &table, &events);
            outside.joined();
        });
    }

    fn remove_table(&self, table: u32) {
        for stream in self.outside.lock().streams.iter_mut().filter(|stream| stream.source == self.source) {
            stream.tables.retain(|(id, _)| *id != table);
        }
    }

    /// Its changes tell whole rows, so that none is ever lacking.
    fn read_again(&self, _: u32) {}

    fn acknowledge(&self, position: SourcePosition) {
        let mut inner = self.outside.lock();
        inner.acknowledged = inner.acknowledged.max(decode(&position));
        self.outside.moved.notify_all();
    }

    fn stop(self: Box<Self>) {}
}

impl SinkConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mode = if definition.primary_key.is_empty() { ChangelogMode::All } else { ChangelogMode::Upsert };
        Ok(SinkDescription { target_key: name_of(definition), mode, exactly_once: true, notices: vec![] })
    }

    fn open(&self, definition: Arc<TableDef>, _: SinkWriter) -> Result<Box<dyn Sink>> {
        let (name, types) = (name_of(&definition), types_of(&definition.schema));
        let key = definition.primary_key.clone();
        Ok(Box::new(Collector { outside: self.clone(), name, types, key, epoch: self.lock().epoch }))
    }
}

struct Collector {
    outside: Outside,
    name: String,
    types: Vec<SqlType>,
    /// The key columns of a sink that takes upserts.
    key: Vec<usize>,
    epoch: u64,
}

impl Sink for Collector {
    fn claim(&mut self, _: MayGoOn<'_>) -> Result<CommitId> {
        Ok(self.outside.lock().collected.get(&self.name).map_or(CommitId(0), |collected| collected.upto))
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        // An error on the way must leave nothing.
        let changes = changes.collect::<Result<Vec<KindBatch>>>()?;
        let mut inner = self.outside.lock();
        let mut complaints = Vec::new();
        if inner.epoch != self.epoch {
            return Err(Error::conflict("another engine has taken over"));
        }
        let collected = inner.collected.entry(self.name.clone()).or_default();
        if collected.upto != from {
            return Err(Error::conflict(format!("{} stands at {}, not {from}", self.name, collected.upto)));
        }
        collected.upto = upto;
        for batch in changes {
            for i in 0..batch.len() {
                let times = match batch.kinds[i] {
                    RowKind::Insert | RowKind::UpdateAfter => 1,
                    RowKind::UpdateBefore | RowKind::Delete => -1,
                };
                let row = text_at(&batch.columns, &self.types, i);
                if self.key.is_empty() {
                    collected.rows.add(row, times);
                    continue;
                }
                let key: Text = self.key.iter().map(|&k| row[k].clone()).collect();
                if let Some(old) = collected.by_key.remove(&key) {
                    collected.rows.add(old, -1);
                } else if times < 0 {
                    complaints.push(format!("{}: {} deleted that was not there", self.name, shown(&row)));
                }
                if times > 0 {
                    collected.rows.add(row.clone(), 1);
                    collected.by_key.insert(key, row);
                }
            }
        }
        let negative = collected.rows.negative().len();
        if negative > 0 {
            complaints.push(format!("{}: {negative} rows withdrawn that were not there", self.name));
        }
        inner.complaints.extend(complaints);
        Ok(())
    }
}

/// A table of a few rows that never change: as many as there are keys that tests draw, all else the same in each.
struct Known {
    definition: Arc<TableDef>,
    request: LookupRequest,
}

impl Known {
    /// The rows, all columns.
    fn rows(definition: &TableDef) -> Vec<Vec<Value>> {
        let row = |i: i64| {
            let column = |(c, column): (usize, &Column)| {
                let is_key = definition.primary_key.contains(&c);
                if is_key { keyed(&column.sql_type.kind, i) } else { one_of(&column.sql_type.kind) }
            };
            definition.schema.columns.iter().enumerate().map(column).collect()
        };
        (0..KNOWN_ROWS).map(row).collect()
    }
}

impl LookupConnector for Outside {
    fn open(&self, definition: Arc<TableDef>, request: LookupRequest) -> Result<Box<dyn Lookup>> {
        Ok(Box::new(Known { definition, request }))
    }
}

impl ScanConnector for Outside {
    fn scan(&self, definition: &TableDef, request: &ScanRequest) -> Result<ScanRows> {
        let rows = Known::rows(definition);
        let column = |column: &usize| {
            let values: Vec<&Value> = rows.iter().map(|row| &row[*column]).collect();
            Value::array_of(&values, &definition.schema.columns[*column].sql_type.kind)
        };
        let columns = request.columns.iter().map(column).collect();
        Ok(Box::new(std::iter::once(Ok(ChangeBatch::insertions(columns, rows.len())))))
    }
}

impl Lookup for Known {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        let rows = Known::rows(&self.definition);
        let kind = |column: &usize| &self.definition.schema.columns[*column].sql_type.kind;
        let (mut numbers, mut found) = (Vec::new(), Vec::new());
        for i in 0..len {
            let wanted: Vec<Value> = keys
                .iter()
                .zip(&self.request.keys)
                .map(|(key, column)| Value::from_array(key, i, kind(column)))
                .collect();
            let meets = |row: &&Vec<Value>| {
                self.request.keys.iter().zip(&wanted).all(|(column, value)| !value.is_null() && row[*column] == *value)
            };
            for row in rows.iter().filter(meets) {
                numbers.push(i as u32);
                found.push(row);
            }
        }
        let column =
            |column: &usize| Value::array_of(&found.iter().map(|row| &row[*column]).collect::<Vec<_>>(), kind(column));
        let columns = self.request.columns.iter().map(column).collect();
        Ok(Found { keys: UInt32Array::from(numbers), columns })
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A key of a known row.
fn keyed(kind: &TypeKind, i: i64) -> Value {
    match kind {
        TypeKind::Decimal { scale, .. } => Value::Decimal(i128::from(i) * 10_i128.pow(u32::from(*scale))),
        kind if kind.is_text() => Value::Text(i.to_string().as_str().into()),
        kind if kind.is_integer() || kind.is_datetime() => Value::Integer(i),
        other => one_of(other),
    }
}

/// Some value of a kind.
fn one_of(kind: &TypeKind) -> Value {
    match kind {
        TypeKind::Boolean => Value::Boolean(true),
        TypeKind::Float => Value::Float(1.5),
        TypeKind::Double => Value::Double(1.5),
        TypeKind::Decimal { .. } => Value::Decimal(7),
        kind if kind.is_text() => Value::Text("known".into()),
        kind if kind.is_integer() || kind.is_datetime() => Value::Integer(7),
        _ => Value::Null,
    }
}
