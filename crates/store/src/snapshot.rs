//! What a reader sees: the whole store at one tick boundary, for as long as it holds on to it.
//!
//! A snapshot is a set of shared pointers to immutable batches and bitmaps. Reading takes no lock and never waits for the
//! writer; an old snapshot costs the memory of what has been merged or reclaimed since.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, TableId, TypeKind, Value};

use crate::bucket_view::{BatchRef, BucketView};
use crate::cursors::Cursors;
use crate::meta::Meta;
use crate::scan::Scan;
use crate::spec::TableSpec;
use crate::table::TableShape;
use crate::tail::RowId;

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
    pub(crate) fn batches(&self) -> impl Iterator<Item = &BatchRef> {
        self.buckets.iter().flat_map(|bucket| &bucket.batches)
    }

    /// All live rows, all columns.
    pub fn live_batches(&self) -> impl Iterator<Item = Result<ChangeBatch>> + '_ {
        Scan::whole(self.batches(), None)
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
        self.view.batches().map(|batch| batch.data.len as u64).sum()
    }

    /// The bytes of memory that the entries take.
    pub fn bytes(&self) -> u64 {
        self.view.batches().map(|batch| batch.data.bytes as u64).sum()
    }

    /// The newest commit of which the log has lost an entry; [`TableSnapshot::changes`] can start from here on.
    pub fn log_start(&self) -> CommitId {
        self.view.buckets.iter().map(|bucket| bucket.reclaimed).max().unwrap_or_default()
    }

    /// The live rows in batches of at most 65,536, whole or the columns `projection`, in no particular order.
    pub fn scan(&self, projection: Option<&[usize]>) -> Scan {
        Scan::whole(self.view.batches(), projection)
    }

    /// The live row with primary key `key` (values in key order).
    ///
    /// # Errors
    /// `Invalid` if the table has no primary key, or the values are not of the key's number and types, or one is NULL.
    pub fn get(&self, key: &[Value]) -> Result<Option<Vec<Value>>> {
        let spec = self.spec();
        if key.len() != spec.primary_key.len() {
            let (name, columns) = (&spec.name, spec.primary_key.len());
            return Err(Error::invalid(format!("table {name}: {} values are given for a key of {columns}", key.len())));
        }
        let kind = |column: &usize| &spec.schema.columns[*column].sql_type.kind;
        if let Some((column, value)) = spec.primary_key.iter().zip(key).find(|(c, v)| !fits(v, kind(c))) {
            let column = &spec.schema.columns[*column];
            let (name, column_name, sql_type) = (&spec.name, &column.name, &column.sql_type);
            return Err(Error::invalid(format!("table {name}: {value:?} is no value of {column_name} {sql_type}")));
        }
        let columns: Vec<ArrayRef> = spec.primary_key.iter().zip(key).map(|(c, v)| v.to_array(kind(c), 1)).collect();
        let (found, rows) = self.get_batch(&columns)?;
        if found.is_empty() {
            return Ok(None);
        }
        let columns = rows.columns().iter().zip(&spec.schema.columns);
        Ok(Some(columns.map(|(array, column)| Value::from_array(array, 0, &column.sql_type.kind)).collect()))
    }

    /// The live rows with the primary keys in `keys` (the key columns in key order): the positions in `keys` that have one,
    /// and their rows in that order.
    ///
    /// # Errors
    /// `Invalid` if the table has no primary key, or `keys` are not its columns, or one is NULL.
    pub fn get_batch(&self, keys: &[ArrayRef]) -> Result<(Vec<u32>, ChangeBatch)> {
        let shape = &self.view.shape;
        let spec = &shape.spec;
        if !shape.is_keyed() {
            return Err(Error::invalid(format!("table {} has no primary key to look rows up by", spec.name)));
        }
        shape.check_columns(keys, Some(&spec.primary_key))?;
        let numbers = shape.codec.keys(keys)?;
        let buckets = if shape.buckets.is_by_value() {
            let position =
                |c: &usize| spec.primary_key.iter().position(|key| key == c).expect("bucket keys are key columns");
            let deciding: Vec<ArrayRef> = shape.buckets.columns().iter().map(|c| keys[position(c)].clone()).collect();
            shape.buckets.buckets(&deciding)
        } else {
            vec![0; numbers.len()]
        };
        let mut found = Vec::new();
        let mut sources: Vec<ChangeBatch> = Vec::new();
        let mut known: HashMap<(u16, usize), usize> = HashMap::new();
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (i, (&number, &bucket)) in numbers.iter().zip(&buckets).enumerate() {
            let Some((batch, position)) = self.find(number, bucket)? else { continue };
            let source = *known.entry((bucket, batch)).or_insert_with(|| {
                let data = &self.view.buckets[usize::from(bucket)].batches[batch].data;
                sources.push(ChangeBatch::insertions(data.columns.clone(), data.len));
                sources.len() - 1
            });
            found.push(i as u32);
            places.push((source, position));
        }
        if found.is_empty() {
            return Ok((found, ChangeBatch::empty(&spec.schema)));
        }
        let column = |c: usize| {
            let parts: Vec<_> = sources.iter().map(|source| source.column(c).as_ref()).collect();
            arrow_select::interleave::interleave(&parts, &places).map_err(crate::tail::rearrange_error)
        };
        let columns = (0..spec.schema.len()).map(column).collect::<Result<Vec<_>>>()?;
        let rows = ChangeBatch::insertions(columns, found.len());
        Ok((found, rows))
    }

    /// Batch and position of the live row with key number `number`, newest batches first.
    fn find(&self, number: u128, bucket: u16) -> Result<Option<(usize, usize)>> {
        let shape = &self.view.shape;
        let short = number as u64;
        for (b, batch) in self.view.buckets[usize::from(bucket)].batches.iter().enumerate().rev() {
            let lookup = lookup_of(shape, batch)?;
            let start = lookup.partition_point(|&(key, _)| key < short);
            for &(_, position) in lookup[start..].iter().take_while(|&&(key, _)| key == short) {
                let position = position as usize;
                if batch.alive.get(position) && (shape.codec.is_exact() || key_at(shape, batch, position)? == number) {
                    return Ok(Some((b, position)));
                }
            }
        }
        Ok(None)
    }

    /// The log above commit `after`, commit by commit: `+I`, `+U` and `-D` entries for a primary-key table (`-D` rows hold
    /// the key only), all appended rows for a log table. Superseded entries may be missing where no cursor keeps them.
    ///
    /// # Errors
    /// `Conflict` if entries above `after` have been reclaimed: the reader must start over from a snapshot.
    pub fn changes(&self, after: CommitId) -> Result<Changes> {
        let start = self.log_start();
        if after < start {
            let name = &self.spec().name;
            return Err(Error::conflict(format!(
                "the log of table {name} after {after} is gone, it begins at {start}"
            ))
            .hint("read the table's rows first, then the log from that commit on; a cursor keeps it"));
        }
        let mut runs = Vec::new();
        for (b, bucket) in self.view.buckets.iter().enumerate() {
            let first = bucket.batches.partition_point(|batch| batch.data.last_commit() <= after);
            for batch in &bucket.batches[first..] {
                for (commit, from, to) in batch.data.runs().filter(|run| run.0 > after) {
                    runs.push((commit, b, RowId::new(b as u16, batch.data.seq(from)), batch.clone(), from, to));
                }
            }
        }
        runs.sort_by_key(|&(commit, b, first, ..)| (commit, b, first));
        let runs: Vec<_> = runs.into_iter().map(|(commit, _, _, batch, from, to)| (commit, batch, from, to)).collect();
        Ok(Changes { runs: runs.into_iter() })
    }
}

/// Whether `value` is one of `kind`, as far as kinds go that a key can have; NULL is refused later, by name.
fn fits(value: &Value, kind: &TypeKind) -> bool {
    match value {
        Value::Null => true,
        Value::Boolean(_) => *kind == TypeKind::Boolean,
        Value::Integer(_) => kind.is_integer() || kind.is_datetime() || kind.is_interval(),
        Value::Float(_) => *kind == TypeKind::Float,
        Value::Double(_) => *kind == TypeKind::Double,
        Value::Decimal(_) => matches!(kind, TypeKind::Decimal { .. }),
        Value::Text(_) => kind.is_text(),
        Value::Bytes(_) => kind.is_bytes(),
        Value::Array(_) | Value::Map(_) | Value::Row(_) => false,
    }
}

fn key_at(shape: &TableShape, batch: &BatchRef, position: usize) -> Result<u128> {
    let columns = shape.key_columns(&batch.data.columns, None);
    let row: Vec<ArrayRef> = columns.iter().map(|column| column.slice(position, 1)).collect();
    Ok(shape.codec.keys(&row)?[0])
}

fn lookup_of<'a>(shape: &TableShape, batch: &'a BatchRef) -> Result<&'a [(u64, u32)]> {
    if let Some(lookup) = batch.data.lookup.get() {
        return Ok(lookup);
    }
    let keys = shape.codec.keys(&shape.key_columns(&batch.data.columns, None))?;
    let rows = (0..batch.data.len).filter(|&i| !batch.data.is_delete(i));
    let mut lookup: Vec<(u64, u32)> = rows.map(|i| (keys[i] as u64, i as u32)).collect();
    lookup.sort_unstable();
    Ok(batch.data.lookup.get_or_init(|| lookup.into()))
}

/// Log entries in commit order; made by [`TableSnapshot::changes`]. A commit may come in several batches.
#[derive(Debug)]
pub struct Changes {
    runs: std::vec::IntoIter<(CommitId, BatchRef, usize, usize)>,
}

impl Iterator for Changes {
    type Item = (CommitId, KindBatch);

    fn next(&mut self) -> Option<Self::Item> {
        let (commit, batch, from, to) = self.runs.next()?;
        let columns = batch.data.columns.iter().map(|column| column.slice(from, to - from)).collect();
        let kinds: Arc<[_]> = (from..to).map(|i| batch.data.kind(i)).collect();
        Some((commit, KindBatch { columns, kinds }))
    }
}
