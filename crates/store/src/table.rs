//! One table as its writer sees it: buckets, key index, and how rows are applied.
//!
//! The order of work for a primary-key table: resolve the part to one outcome per key, look up the rows that the outcomes
//! replace, fill in columns that a partial update leaves alone, drop updates that change nothing, then append the entries,
//! kill what they replace and move the index. Everything that can fail comes before the first change. Applying the same
//! parts in the same order always gives the same row ids, which is what recovery relies on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{CommitId, Error, Result, RowKind, TableId};
use hashbrown::HashTable;

use crate::bucket::BucketFunction;
use crate::bucket_view::BucketView;
use crate::delta::{Effect, KeyedRows, rows_equal, spread, take_rows};
use crate::gather::{Place, gather};
use crate::group::Entries;
use crate::index::{Found, KeyIndex};
use crate::key::KeyCodec;
use crate::snapshot::TableView;
use crate::spec::{TableKind, TableSpec};
use crate::tail::{MAX_BATCH_ROWS, NO_ROW, RowId, TailBatch, rearrange_error};

/// What never changes about a table.
#[derive(Debug)]
pub(crate) struct TableShape {
    pub id: TableId,
    pub spec: TableSpec,
    pub types: Vec<DataType>,
    pub codec: KeyCodec,
    pub buckets: BucketFunction,
}

impl TableShape {
    pub fn new(id: TableId, spec: TableSpec, secret: [u64; 2]) -> Result<Self> {
        spec.check()?;
        let types = spec.schema.columns.iter().map(|column| column.sql_type.kind.arrow()).collect();
        let codec = KeyCodec::new(&spec, secret)?;
        let buckets = BucketFunction::new(&spec)?;
        Ok(Self { id, spec, types, codec, buckets })
    }

    pub fn is_keyed(&self) -> bool {
        self.spec.kind == TableKind::PrimaryKey
    }

    /// Checks that `columns` are those of the table at `listed` (`None`: all), by number and type, with all key columns.
    pub fn check_columns(&self, columns: &[ArrayRef], listed: Option<&[usize]>) -> Result<()> {
        let name = &self.spec.name;
        let expected: Vec<usize> = listed.map_or_else(|| (0..self.types.len()).collect(), <[usize]>::to_vec);
        if columns.len() != expected.len() {
            return Err(Error::invalid(format!(
                "table {name}: {} columns are given where {} are expected",
                columns.len(),
                expected.len()
            )));
        }
        for (i, (column, &at)) in columns.iter().zip(&expected).enumerate() {
            let Some(data_type) = self.types.get(at) else {
                return Err(Error::invalid(format!("table {name} has no column number {at}")));
            };
            if expected[..i].contains(&at) {
                return Err(Error::invalid(format!("table {name}: column number {at} is given twice")));
            }
            if column.data_type() != data_type {
                let column_name = &self.spec.schema.columns[at].name;
                let given = column.data_type();
                return Err(Error::invalid(format!(
                    "table {name}: column {column_name} is {data_type}, {given} is given"
                )));
            }
        }
        if let Some(missing) = self.spec.primary_key.iter().find(|key| !expected.contains(key)) {
            let missing = &self.spec.schema.columns[*missing].name;
            return Err(Error::invalid(format!("table {name}: key column {missing} is not among the given columns"))
                .hint(format!("add {missing} to the column list")));
        }
        if !self.is_keyed() && listed.is_some_and(|listed| listed.len() != self.types.len() || !listed.is_sorted()) {
            return Err(Error::invalid(format!("table {name} has no primary key, so rows cannot be updated in part")));
        }
        Ok(())
    }

    /// The key columns among `columns`, in key order.
    pub fn key_columns(&self, columns: &[ArrayRef], listed: Option<&[usize]>) -> Vec<ArrayRef> {
        let position = |&key: &usize| match listed {
            None => key,
            Some(listed) => listed.iter().position(|&column| column == key).expect("key columns have been checked"),
        };
        self.spec.primary_key.iter().map(|key| columns[position(key)].clone()).collect()
    }

    /// The rows of `keys` (the key columns, in key order) by bucket.
    pub fn by_bucket(&self, keys: &[ArrayRef], rows: usize) -> BTreeMap<u16, Vec<u32>> {
        if !self.buckets.is_by_value() || self.spec.bucket_count == 1 {
            return BTreeMap::from([(0, (0..rows as u32).collect())]);
        }
        let position =
            |c: &usize| self.spec.primary_key.iter().position(|key| key == c).expect("bucket keys are key columns");
        let deciding: Vec<ArrayRef> = self.buckets.columns().iter().map(|c| keys[position(c)].clone()).collect();
        let mut members: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for (row, bucket) in self.buckets.buckets(&deciding).into_iter().enumerate() {
            members.entry(bucket).or_default().push(row as u32);
        }
        members
    }

    /// Checks that a source's rows can be applied later, when it is too late to refuse them.
    pub fn check_source_rows(&self, batch: &KindBatch, listed: Option<&[usize]>) -> Result<()> {
        self.check_columns(&batch.columns, listed)?;
        if self.is_keyed() {
            self.codec.keys(&self.key_columns(&batch.columns, listed)).map(|_| ())
        } else if let Some(kind) =
            batch.kinds.iter().find(|kind| matches!(kind, RowKind::Delete | RowKind::UpdateBefore))
        {
            Err(Error::invalid(format!("table {} is append-only, {} cannot be applied", self.spec.name, kind.short()))
                .hint("declare a primary key"))
        } else {
            Ok(())
        }
    }
}

/// What a row asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Upsert,
    Delete,
    Nothing,
}

/// Rows to apply: values, and what each asks for.
pub(crate) struct Rows<'a> {
    pub columns: &'a [ArrayRef],
    /// The columns that are given; `None` means all.
    pub listed: Option<&'a [usize]>,
    pub len: usize,
    pub intent: &'a dyn Fn(usize) -> Intent,
    /// Whether an upsert beats a deletion of the same key wherever it stands (a consolidated change has no order), instead
    /// of the last row of the key deciding.
    pub upsert_wins: bool,
}

/// How much is to be known of what rows do to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// They are the log of an earlier tick, and known to be effective: nothing is read.
    Known,
    /// Rows that change nothing are left out. Nobody asks for the old rows.
    Effective,
    /// As well, and the old rows are wanted.
    Rows,
}

/// A table under its writer's hands.
#[derive(Debug)]
pub(crate) struct Table {
    pub shape: Arc<TableShape>,
    pub buckets: Vec<Arc<BucketView>>,
    index: Option<KeyIndex>,
    secret: u64,
    pub live_rows: u64,
    /// Bytes of the entries in memory that have been appended since the last tick, or since they were last sealed.
    pub fresh_bytes: usize,
}

/// One outcome per key: the deciding row.
struct Outcome {
    key: u128,
    row: u32,
    upsert: bool,
    /// A deletion came before the deciding upsert, so a partial update finds no old values.
    fresh: bool,
}

/// An upsert with the row that it replaces.
#[derive(Clone, Copy)]
struct Upsert {
    row: u32,
    old: Option<RowId>,
    fresh: bool,
}

impl Table {
    pub fn new(shape: Arc<TableShape>, secret: u64) -> Self {
        let buckets = (0..shape.spec.bucket_count).map(|_| Arc::default()).collect();
        let index = shape.is_keyed().then(|| KeyIndex::new(shape.codec.is_exact(), secret, true));
        Self { shape, buckets, index, secret, live_rows: 0, fresh_bytes: 0 }
    }

    /// The table as it is in `view`.
    pub fn of_view(view: &TableView, secret: u64) -> Result<Self> {
        let mut table = Self::new(view.shape.clone(), secret);
        table.revert(view)?;
        Ok(table)
    }

    /// The newest commit of which the log has lost an entry.
    pub fn log_start(&self) -> CommitId {
        self.buckets.iter().map(|bucket| bucket.reclaimed).max().unwrap_or_default()
    }

    /// What readers see of the table now.
    pub fn view(&self) -> TableView {
        TableView { shape: self.shape.clone(), buckets: self.buckets.clone(), live_rows: self.live_rows }
    }

    /// Goes back to `view`, which is an earlier state of the same table. The index holds the rows in memory from then on, and
    /// finds those in segments there.
    pub fn revert(&mut self, view: &TableView) -> Result<()> {
        self.buckets = view.buckets.clone();
        self.live_rows = view.live_rows;
        self.fresh_bytes = 0;
        if self.index.is_none() {
            return Ok(());
        }
        let sealed = self.buckets.iter().any(|bucket| !bucket.sections.is_empty());
        let mut index = KeyIndex::new(self.shape.codec.is_exact(), self.secret, !sealed);
        for (b, bucket) in self.buckets.iter().enumerate() {
            for group in &bucket.groups {
                let Entries::Tail(batch) = &group.entries else { continue };
                let keys = self.shape.codec.keys(&self.shape.key_columns(&batch.columns, None))?;
                for i in (0..batch.len).filter(|&i| group.alive.get(i)) {
                    index.set(keys[i], RowId::new(b as u16, batch.seq(i)));
                }
            }
        }
        self.index = Some(index);
        Ok(())
    }

    /// The memory of the key index in bytes.
    pub fn index_bytes(&self) -> usize {
        self.index.as_ref().map_or(0, KeyIndex::bytes)
    }

    /// Makes the index forget keys whose rows lie in segments until it takes at most `budget` bytes.
    pub fn shrink_index(&mut self, budget: usize) {
        let in_memory = |row: RowId| row.seq() >= self.buckets[usize::from(row.bucket())].sealed_end();
        if let Some(index) = &mut self.index {
            index.shrink(budget, &in_memory);
        }
    }

    /// Applies rows of `commit` and returns what changed. Old rows have columns only where they are wanted.
    pub fn apply(&mut self, rows: &Rows<'_>, commit: CommitId, detail: Detail) -> Result<Effect> {
        if self.shape.is_keyed() { self.apply_keyed(rows, commit, detail) } else { self.apply_log(rows, commit) }
    }

    fn apply_log(&mut self, rows: &Rows<'_>, commit: CommitId) -> Result<Effect> {
        let wanted: Vec<u32> =
            (0..rows.len).filter(|&i| (rows.intent)(i) == Intent::Upsert).map(|i| i as u32).collect();
        let columns = if wanted.len() == rows.len { rows.columns.to_vec() } else { take_rows(rows.columns, &wanted)? };
        self.append_entries(&columns, wanted.len(), &vec![None; wanted.len()], false, commit)?;
        self.live_rows += wanted.len() as u64;
        let new = KeyedRows { keys: Vec::new(), columns, len: wanted.len() };
        Ok(Effect { old: KeyedRows::default(), new, replaced: 0 })
    }

    fn apply_keyed(&mut self, rows: &Rows<'_>, commit: CommitId, detail: Detail) -> Result<Effect> {
        let key_columns = self.shape.key_columns(rows.columns, rows.listed);
        let keys = self.shape.codec.keys(&key_columns)?;
        let outcomes = resolve(&keys, rows);
        let mut upserts: Vec<Upsert> = Vec::with_capacity(outcomes.len());
        let mut up_keys: Vec<u128> = Vec::with_capacity(outcomes.len());
        let mut deletes = Vec::new();
        let wanted: Vec<u128> = outcomes.iter().map(|outcome| outcome.key).collect();
        let deciding = |i: &u32| outcomes[*i as usize].row;
        let columns = |which: &[u32]| take_rows(&key_columns, &which.iter().map(deciding).collect::<Vec<_>>());
        let (olds, sealed) = self.rows_of(&columns, &wanted)?;
        let index = self.index.as_mut().expect("a primary-key table has an index");
        for i in sealed {
            let row = olds[i as usize].expect("it has been found");
            index.remember(wanted[i as usize], row);
        }
        for (outcome, old) in outcomes.iter().zip(olds) {
            if outcome.upsert {
                up_keys.push(outcome.key);
                upserts.push(Upsert { row: outcome.row, old, fresh: outcome.fresh });
            } else if let Some(old) = old {
                deletes.push((outcome, old));
            }
        }
        // Old rows: first those that upserts replace, then those that are deleted.
        let replaced: Vec<RowId> = upserts.iter().filter_map(|upsert| upsert.old).collect();
        let needs_old = detail == Detail::Rows || rows.listed.is_some();
        let old_ids: Vec<RowId> = replaced.iter().copied().chain(deletes.iter().map(|(_, old)| *old)).collect();
        let old_places = self.places(&old_ids);
        let old_columns = if needs_old { self.gather(&old_places)? } else { Vec::new() };
        let mut new_columns = self.full_rows(rows, &upserts, &old_columns)?;
        let mut up_olds: Vec<Option<RowId>> = upserts.iter().map(|upsert| upsert.old).collect();
        let mut old_keep: Option<Vec<u32>> = None;
        if detail != Detail::Known && !replaced.is_empty() {
            let same = self.unchanged(&new_columns, &up_olds, &old_columns, &old_places[..replaced.len()])?;
            if same.contains(&true) {
                let kept: Vec<u32> = (0..up_keys.len()).filter(|&i| !same[i]).map(|i| i as u32).collect();
                let mut old_at = 0;
                let mut keep = Vec::new();
                for (old, &same) in up_olds.iter().zip(&same) {
                    if old.is_some() {
                        keep.extend((!same).then_some(old_at));
                        old_at += 1;
                    }
                }
                keep.extend(old_at..old_ids.len() as u32);
                new_columns = take_rows(&new_columns, &kept)?;
                up_keys = kept.iter().map(|&i| up_keys[i as usize]).collect();
                up_olds = kept.iter().map(|&i| up_olds[i as usize]).collect();
                old_keep = Some(keep);
            }
        }
        let (old_places, old_columns) = match old_keep {
            None => (old_places, old_columns),
            Some(keep) => {
                let places = keep.iter().map(|&i| old_places[i as usize]).collect();
                (places, if needs_old { take_rows(&old_columns, &keep)? } else { old_columns })
            }
        };
        let delete_keys: Vec<u128> = deletes.iter().map(|(outcome, _)| outcome.key).collect();
        let delete_olds: Vec<Option<RowId>> = deletes.iter().map(|(_, old)| Some(*old)).collect();
        let delete_rows: Vec<u32> = deletes.iter().map(|(outcome, _)| outcome.row).collect();
        let delete_columns = self.deletion_rows(rows, &delete_rows)?;

        let new_ids = self.append_entries(&new_columns, up_keys.len(), &up_olds, false, commit)?;
        self.append_entries(&delete_columns, delete_keys.len(), &delete_olds, true, commit)?;
        for old in &old_places {
            let bucket = Arc::make_mut(&mut self.buckets[usize::from(old.bucket)]);
            bucket.kill(old.group as usize, old.position as usize);
        }
        let index = self.index.as_mut().expect("a primary-key table has an index");
        up_keys.iter().zip(&new_ids).for_each(|(&key, &id)| index.set(key, id));
        delete_keys.iter().for_each(|&key| index.remove(key));
        self.live_rows = self.live_rows + up_keys.len() as u64 - old_places.len() as u64;

        let replaced_keys = up_keys.iter().zip(&up_olds).filter(|(_, old)| old.is_some()).map(|(key, _)| *key);
        let deleted = delete_keys.len();
        let old_keys: Vec<u128> = replaced_keys.chain(delete_keys).collect();
        let (old_len, new_len) = (old_keys.len(), up_keys.len());
        Ok(Effect {
            old: KeyedRows { keys: old_keys, columns: old_columns, len: old_len },
            new: KeyedRows { keys: up_keys, columns: new_columns, len: new_len },
            replaced: old_len - deleted,
        })
    }

    /// The live row of each of `keys`: from the index where it knows, else from the segments; `columns` gives the key columns of
    /// those that are looked for there. Second, which of them came from there.
    pub fn rows_of(
        &self,
        columns: &dyn Fn(&[u32]) -> Result<Vec<ArrayRef>>,
        keys: &[u128],
    ) -> Result<(Vec<Option<RowId>>, Vec<u32>)> {
        let index = self.index.as_ref().expect("a primary-key table has an index");
        let mut found = vec![None; keys.len()];
        let mut unknown: Vec<u32> = Vec::new();
        for (i, &key) in keys.iter().enumerate() {
            match index.get(key) {
                Found::Row(row) => found[i] = Some(row),
                Found::Nothing => {}
                Found::Unknown => unknown.push(i as u32),
            }
        }
        if unknown.is_empty() {
            return Ok((found, Vec::new()));
        }
        let columns = columns(&unknown)?;
        for (bucket, members) in self.shape.by_bucket(&columns, unknown.len()) {
            let view = &self.buckets[usize::from(bucket)];
            let wanted: Vec<u128> = members.iter().map(|&m| keys[unknown[m as usize] as usize]).collect();
            for (member, place) in members.iter().zip(view.find_sealed(&wanted)?) {
                let Some((group, position)) = place else { continue };
                let seq = view.groups[group as usize].entries.seq(position as usize);
                found[unknown[*member as usize] as usize] = Some(RowId::new(bucket, seq));
            }
        }
        unknown.retain(|&i| found[i as usize].is_some());
        Ok((found, unknown))
    }

    /// The whole rows that `upserts` come to: columns that are not given keep the old value or become NULL. `old_columns`
    /// begins with the old rows of those upserts that have one.
    fn full_rows(&self, rows: &Rows<'_>, upserts: &[Upsert], old_columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let in_order = upserts.len() == rows.len && upserts.iter().enumerate().all(|(i, up)| i == up.row as usize);
        let given = if in_order {
            rows.columns.to_vec()
        } else {
            take_rows(rows.columns, &upserts.iter().map(|upsert| upsert.row).collect::<Vec<_>>())?
        };
        let Some(listed) = rows.listed else { return Ok(given) };
        let mut olds = 0;
        let place = |upsert: &Upsert| {
            olds += usize::from(upsert.old.is_some());
            if upsert.old.is_some() && !upsert.fresh { (0, olds - 1) } else { (1, 0) }
        };
        let places: Vec<(usize, usize)> = upserts.iter().map(place).collect();
        let column = |c: usize| {
            if let Some(i) = listed.iter().position(|&column| column == c) {
                return Ok(given[i].clone());
            }
            let null = new_null_array(&self.shape.types[c], 1);
            interleave(&[old_columns[c].as_ref(), null.as_ref()], &places).map_err(rearrange_error)
        };
        (0..self.shape.types.len()).map(column).collect()
    }

    /// For each new row, whether it equals the one that it would replace, at `places` for those that have one. Column by column,
    /// numbers first, and only for rows that are still undecided: mostly the first column decides. Old values are taken
    /// from `old_columns` if they are there.
    fn unchanged(
        &self,
        new_columns: &[ArrayRef],
        olds: &[Option<RowId>],
        old_columns: &[ArrayRef],
        places: &[Place],
    ) -> Result<Vec<bool>> {
        // Of the undecided rows: where the new one is, and which of the old ones it is compared with.
        let mut new_rows: Vec<u32> = (0..olds.len()).filter(|&i| olds[i].is_some()).map(|i| i as u32).collect();
        let mut old_rows: Vec<u32> = (0..places.len() as u32).collect();
        let mut columns: Vec<usize> =
            (0..self.shape.types.len()).filter(|c| !self.shape.spec.primary_key.contains(c)).collect();
        columns.sort_by_key(|&c| self.shape.types[c].primitive_width().is_none());
        for c in columns {
            if new_rows.is_empty() {
                break;
            }
            let old = if old_columns.is_empty() {
                let places: Vec<Place> = old_rows.iter().map(|&i| places[i as usize]).collect();
                gather(&self.buckets, &self.shape.types, &places, Some(&[c]))?
            } else {
                take_some(&[old_columns[c].slice(0, places.len())], &old_rows)?
            };
            let new = take_some(std::slice::from_ref(&new_columns[c]), &new_rows)?;
            let equal = rows_equal(&old, &new, new_rows.len())?;
            if equal.true_count() < new_rows.len() {
                let keep = |rows: &[u32]| (0..rows.len()).filter(|&i| equal.value(i)).map(|i| rows[i]).collect();
                (new_rows, old_rows) = (keep(&new_rows), keep(&old_rows));
            }
        }
        let mut same = vec![false; olds.len()];
        new_rows.iter().for_each(|&i| same[i as usize] = true);
        Ok(same)
    }

    /// Deletion entries: the key, and NULL elsewhere.
    fn deletion_rows(&self, rows: &Rows<'_>, delete_rows: &[u32]) -> Result<Vec<ArrayRef>> {
        if delete_rows.is_empty() {
            return Ok(Vec::new());
        }
        let keys = take_rows(&self.shape.key_columns(rows.columns, rows.listed), delete_rows)?;
        let column = |c: usize| match self.shape.spec.primary_key.iter().position(|&key| key == c) {
            Some(i) => keys[i].clone(),
            None => new_null_array(&self.shape.types[c], delete_rows.len()),
        };
        Ok((0..self.shape.types.len()).map(column).collect())
    }

    /// Appends entries to their buckets and returns their row ids; `olds` are the rows that they replace.
    fn append_entries(
        &mut self,
        columns: &[ArrayRef],
        len: usize,
        olds: &[Option<RowId>],
        deletes: bool,
        commit: CommitId,
    ) -> Result<Vec<RowId>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let shape = self.shape.clone();
        let mut ids = vec![RowId(0); len];
        let mut batches: Vec<(usize, TailBatch)> = Vec::new();
        let mut add = |bucket: usize, first_seq: u64, rows: Option<&[u32]>, columns: Vec<ArrayRef>, count: usize| {
            let row_at = |i: usize| rows.map_or(i, |rows| rows[i] as usize);
            for start in (0..count).step_by(MAX_BATCH_ROWS) {
                let size = MAX_BATCH_ROWS.min(count - start);
                let prev = shape.is_keyed().then(|| {
                    (start..start + size).map(|i| olds[row_at(i)].map_or(NO_ROW, RowId::seq)).collect::<Arc<[u64]>>()
                });
                let part = columns.iter().map(|column| column.slice(start, size)).collect();
                let seq = first_seq + start as u64;
                batches.push((bucket, TailBatch::new(seq, part, size, deletes, prev, commit)));
            }
            for i in 0..count {
                ids[row_at(i)] = RowId::new(bucket as u16, first_seq + i as u64);
            }
        };
        if shape.buckets.is_by_value() {
            let deciding: Vec<ArrayRef> = shape.buckets.columns().iter().map(|&c| columns[c].clone()).collect();
            let mut members: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            for (row, bucket) in shape.buckets.buckets(&deciding).into_iter().enumerate() {
                members.entry(bucket).or_default().push(row as u32);
            }
            for (bucket, rows) in members {
                let part = take_rows(columns, &rows)?;
                add(usize::from(bucket), self.buckets[usize::from(bucket)].next_seq, Some(&rows), part, rows.len());
            }
        } else {
            let bucket = usize::from(if shape.is_keyed() { 0 } else { shape.buckets.of_commit(commit.0) });
            add(bucket, self.buckets[bucket].next_seq, None, columns.to_vec(), len);
        }
        for (bucket, batch) in batches {
            self.fresh_bytes += batch.bytes;
            Arc::make_mut(&mut self.buckets[bucket]).append(batch);
        }
        Ok(ids)
    }

    /// Where the rows `ids` are. Appending does not move them.
    fn places(&self, ids: &[RowId]) -> Vec<Place> {
        let place = |id: &RowId| {
            let (group, position) = self.buckets[usize::from(id.bucket())].locate(id.seq());
            Place { bucket: id.bucket(), group: group as u32, position: position as u32 }
        };
        ids.iter().map(place).collect()
    }

    /// The rows at `places`, all columns.
    fn gather(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        gather(&self.buckets, &self.shape.types, places, None)
    }

    /// Removes all rows and returns them. A primary-key table logs a deletion per row; a log table forgets its entries.
    pub fn truncate(&mut self, commit: CommitId) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        let view = self.view();
        for batch in view.live_batches() {
            let batch = batch?;
            if self.shape.is_keyed() {
                let rows = Rows {
                    columns: batch.columns(),
                    listed: None,
                    len: batch.len(),
                    intent: &|_| Intent::Delete,
                    upsert_wins: false,
                };
                effects.push(self.apply_keyed(&rows, commit, Detail::Rows)?);
            } else {
                let old = KeyedRows { keys: Vec::new(), columns: batch.columns().to_vec(), len: batch.len() };
                effects.push(Effect { old, ..Effect::default() });
            }
        }
        if !self.shape.is_keyed() {
            for bucket in &mut self.buckets {
                let bucket = Arc::make_mut(bucket);
                bucket.groups.clear();
                // Rows that this tick appends afterwards belong to its log.
                bucket.reclaimed = CommitId(commit.0 - 1);
            }
            self.live_rows = 0;
        }
        Ok(effects)
    }

    /// Merges and reclaims below `floor`; `cut` also drops live rows of a log that is only a queue.
    pub fn maintain(&mut self, floor: CommitId, cut: bool) -> Result<()> {
        self.fresh_bytes = 0;
        for bucket in &mut self.buckets {
            let bucket = Arc::make_mut(bucket);
            if cut {
                self.live_rows -= bucket.cut(floor) as u64;
            }
            bucket.maintain(floor)?;
        }
        Ok(())
    }
}

/// The rows at `rows` of some columns, without copying where they are all there are.
fn take_some(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let all = columns.first().is_some_and(|column| column.len() == rows.len())
        && rows.iter().enumerate().all(|(i, &row)| i == row as usize);
    if all { Ok(columns.to_vec()) } else { take_rows(columns, rows) }
}

/// The deciding row of each key, in the order in which keys first appear.
fn resolve(keys: &[u128], rows: &Rows<'_>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(rows.len);
    let mut by_key: HashTable<u32> = HashTable::with_capacity(rows.len);
    for (row, &key) in keys.iter().enumerate() {
        let upsert = match (rows.intent)(row) {
            Intent::Upsert => true,
            Intent::Delete => false,
            Intent::Nothing => continue,
        };
        let row = row as u32;
        match by_key.find(spread(key), |&i| outcomes[i as usize].key == key) {
            Some(&i) => {
                let outcome = &mut outcomes[i as usize];
                if upsert || !(rows.upsert_wins && outcome.upsert) {
                    (outcome.row, outcome.upsert) = (row, upsert);
                    outcome.fresh |= !upsert;
                }
            }
            None => {
                by_key.insert_unique(spread(key), outcomes.len() as u32, |&i| spread(outcomes[i as usize].key));
                outcomes.push(Outcome { key, row, upsert, fresh: !upsert });
            }
        }
    }
    outcomes
}
