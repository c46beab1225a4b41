//! Look-ups by primary key in a snapshot.
//!
//! A key's number is looked for in the batches in memory, each of which makes a table of its keys when it is first asked
//! (`tail_keys.rs`), and then in the key runs of the segments (`find.rs`). Whatever is found counts only if the snapshot's bitmap says that it lives, so at
//! most one row does.

use std::hint::black_box;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Error, Result, TypeKind, Value};

use crate::bits::Bits;
use crate::gather::{Place, gather};
use crate::snapshot::TableSnapshot;
use crate::table::TableShape;
use crate::tail::{TailBatch, rearrange_error};
use crate::tail_keys::TailKeys;

impl TableSnapshot {
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
        self.get_columns(keys, None)
    }

    /// As [`TableSnapshot::get_batch`], of every row the columns `projection` only.
    ///
    /// # Errors
    /// As [`TableSnapshot::get_batch`].
    pub fn get_columns(&self, keys: &[ArrayRef], projection: Option<&[usize]>) -> Result<(Vec<u32>, ChangeBatch)> {
        let shape = &self.view.shape;
        let spec = &shape.spec;
        if !shape.is_keyed() {
            return Err(Error::invalid(format!("table {} has no primary key to look rows up by", spec.name)));
        }
        shape.check_columns(keys, Some(&spec.primary_key))?;
        let numbers = shape.codec.keys(keys)?;
        let mut found: Vec<(u32, Place)> = Vec::with_capacity(numbers.len());
        let mut are_compared = true;
        for (bucket, members) in shape.by_bucket(keys, numbers.len()) {
            let wanted: Vec<u128> = members.iter().map(|&i| numbers[i as usize]).collect();
            are_compared &= self.find(bucket, &wanted, &mut |i, group, position| {
                found.push((members[i], Place { bucket, group, position }));
            })?;
        }
        found.sort_unstable_by_key(|&(i, _)| i);
        let (mut found, places): (Vec<u32>, Vec<Place>) = found.into_iter().unzip();
        let all: Vec<usize>;
        let wanted = match projection {
            Some(projection) => projection,
            None => {
                all = (0..shape.types.len()).collect();
                &all
            }
        };
        // What the key says itself is read only if it is still to be compared: then with all other columns, so that it is not
        // waited for apart.
        let key_of = |column: &usize| spec.primary_key.iter().position(|key| key == column);
        let mut columns: Vec<usize> = wanted.iter().copied().filter(|column| key_of(column).is_none()).collect();
        let others = columns.len();
        if !are_compared {
            columns.extend(&spec.primary_key);
        }
        let mut read = gather(&self.view.buckets, &shape.types, &places, Some(&columns))?;
        let own = read.split_off(others);
        let mut kept = None;
        if !are_compared {
            let is_right: Vec<bool> = {
                let own = shape.codec.keys(&own)?;
                found.iter().zip(own).map(|(&i, number)| numbers[i as usize] == number).collect()
            };
            if is_right.contains(&false) {
                let rows: Vec<u32> = (0..found.len() as u32).filter(|&row| is_right[row as usize]).collect();
                found = rows.iter().map(|&row| found[row as usize]).collect();
                kept = Some(UInt32Array::from(rows));
            }
        }
        let is_all = found.len() == numbers.len();
        let asked = (!is_all).then(|| UInt32Array::from(found.clone()));
        let pick = |column: &ArrayRef, rows: &Option<UInt32Array>| match rows {
            Some(rows) => take(column, rows, None).map_err(rearrange_error),
            None => Ok(column.clone()),
        };
        let mut read = read.iter();
        let column = |column: &usize| match key_of(column) {
            Some(key) => pick(&keys[key], &asked),
            None => pick(read.next().ok_or_else(|| Error::internal("a column was not read"))?, &kept),
        };
        let columns = wanted.iter().map(column).collect::<Result<Vec<_>>>()?;
        let rows = ChangeBatch::insertions(columns, found.len());
        Ok((found, rows))
    }

    /// Gives `take` for the key numbers in `keys` the number of each that has a live row in `bucket`, with the row's group and
    /// position. Returns whether their keys have been compared; if not, what is given may be other rows, or several of a key, whose
    /// keys have the same hash.
    fn find(&self, bucket: u16, keys: &[u128], take: &mut dyn FnMut(usize, u32, u32)) -> Result<bool> {
        let shape = &self.view.shape;
        let bucket = &self.view.buckets[usize::from(bucket)];
        let mut missing: Vec<usize> = (0..keys.len()).collect();
        let sealed = bucket.sealed_groups();
        let mut tails = Vec::with_capacity(bucket.groups.len() - sealed);
        for (g, group) in bucket.groups.iter().enumerate().skip(sealed) {
            let batch = group.entries.tail().expect("behind the sealed groups all are in memory");
            tails.push(Tail { group: g as u32, alive: &group.alive, batch, keys: keys_of(shape, batch)? });
        }
        if !tails.is_empty() {
            let hasher = shape.codec.hasher();
            let mut found = |i: &usize| -> Result<bool> {
                let (key, hash) = (keys[*i], hasher.hash(keys[*i]));
                // All batches are asked at once: the processor waits for what they say together.
                black_box(tails.iter().fold(0, |seen, tail| seen ^ tail.keys.touch(hash)));
                for tail in &tails {
                    if let Some(position) = tail.position_of(shape, hash, key)? {
                        take(*i, tail.group, position as u32);
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let mut left = Vec::with_capacity(missing.len());
            for i in missing {
                if !found(&i)? {
                    left.push(i);
                }
            }
            missing = left;
        }
        if sealed == 0 || missing.is_empty() {
            return Ok(true);
        }
        let wanted: Vec<u128> = missing.iter().map(|&i| keys[i]).collect();
        if bucket.are_few(wanted.len()) {
            for (group, position, i) in bucket.candidates(&wanted)? {
                take(missing[i], group as u32, position as u32);
            }
            return Ok(false);
        }
        for (i, place) in missing.into_iter().zip(bucket.find_sealed(&wanted)?) {
            if let Some((group, position)) = place {
                take(i, group, position);
            }
        }
        Ok(true)
    }
}

/// A batch in memory that look-ups ask.
struct Tail<'a> {
    group: u32,
    alive: &'a Bits,
    batch: &'a TailBatch,
    keys: &'a TailKeys,
}

impl Tail<'_> {
    /// The position of the live row with the key number `key`, which has `hash`.
    fn position_of(&self, shape: &TableShape, hash: u64, key: u128) -> Result<Option<usize>> {
        for position in self.keys.positions(hash, key) {
            if self.alive.get(position) && (shape.codec.is_exact() || key_at(shape, self.batch, position)? == key) {
                return Ok(Some(position));
            }
        }
        Ok(None)
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

fn key_at(shape: &TableShape, batch: &TailBatch, position: usize) -> Result<u128> {
    let columns = shape.key_columns(&batch.columns, None);
    let row: Vec<ArrayRef> = columns.iter().map(|column| column.slice(position, 1)).collect();
    Ok(shape.codec.keys(&row)?[0])
}

fn keys_of<'a>(shape: &TableShape, batch: &'a TailBatch) -> Result<&'a TailKeys> {
    if let Some(keys) = batch.keys.get() {
        return Ok(keys);
    }
    let numbers = shape.codec.keys(&shape.key_columns(&batch.columns, None))?;
    Ok(batch.keys.get_or_init(|| TailKeys::new(batch, &numbers, shape.codec.hasher())))
}
