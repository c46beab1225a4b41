//! Look-ups by primary key in a snapshot.
//!
//! A key's number is looked for in the batches in memory, newest first, each of which sorts its keys when it is first asked,
//! and then in the key runs of the segments. Whatever is found counts only if the snapshot's bitmap says that it lives, so at
//! most one row does.

use arrow_array::ArrayRef;
use gridhouse_base::{ChangeBatch, Error, Result, TypeKind, Value};

use crate::gather::{Place, gather};
use crate::group::LiveGroup;
use crate::snapshot::TableSnapshot;
use crate::table::TableShape;
use crate::tail::TailBatch;

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
        for (bucket, members) in shape.by_bucket(keys, numbers.len()) {
            let wanted: Vec<u128> = members.iter().map(|&i| numbers[i as usize]).collect();
            for (&i, place) in members.iter().zip(self.find(bucket, &wanted)?) {
                found.extend(place.map(|(group, position)| (i, Place { bucket, group, position })));
            }
        }
        found.sort_unstable_by_key(|&(i, _)| i);
        let (found, places): (Vec<u32>, Vec<Place>) = found.into_iter().unzip();
        let columns = gather(&self.view.buckets, &shape.types, &places, projection)?;
        let rows = ChangeBatch::insertions(columns, found.len());
        Ok((found, rows))
    }

    /// For each key number the group and the position of its live row in `bucket`.
    fn find(&self, bucket: u16, keys: &[u128]) -> Result<Vec<Option<(u32, u32)>>> {
        let shape = &self.view.shape;
        let bucket = &self.view.buckets[usize::from(bucket)];
        let mut found = vec![None; keys.len()];
        let sealed = bucket.sealed_groups();
        for (i, &key) in keys.iter().enumerate() {
            for (g, group) in bucket.groups.iter().enumerate().skip(sealed).rev() {
                let batch = group.entries.tail().expect("behind the sealed groups all are in memory");
                if let Some(position) = position_of(shape, group, batch, key)? {
                    found[i] = Some((g as u32, position as u32));
                    break;
                }
            }
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|&i| found[i].is_none()).collect();
        if sealed > 0 && !missing.is_empty() {
            let wanted: Vec<u128> = missing.iter().map(|&i| keys[i]).collect();
            for (i, place) in missing.into_iter().zip(bucket.find_sealed(&wanted)?) {
                found[i] = place;
            }
        }
        Ok(found)
    }
}

/// The position of the live row with key number `number` in a batch in memory.
fn position_of(shape: &TableShape, group: &LiveGroup, batch: &TailBatch, number: u128) -> Result<Option<usize>> {
    let short = number as u64;
    let lookup = lookup_of(shape, batch)?;
    let start = lookup.partition_point(|&(key, _)| key < short);
    for &(_, position) in lookup[start..].iter().take_while(|&&(key, _)| key == short) {
        let position = position as usize;
        if group.alive.get(position) && (shape.codec.is_exact() || key_at(shape, batch, position)? == number) {
            return Ok(Some(position));
        }
    }
    Ok(None)
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

fn lookup_of<'a>(shape: &TableShape, batch: &'a TailBatch) -> Result<&'a [(u64, u32)]> {
    if let Some(lookup) = batch.lookup.get() {
        return Ok(lookup);
    }
    let keys = shape.codec.keys(&shape.key_columns(&batch.columns, None))?;
    let rows = (0..batch.len).filter(|&i| !batch.is_delete(i));
    let mut lookup: Vec<(u64, u32)> = rows.map(|i| (keys[i] as u64, i as u32)).collect();
    lookup.sort_unstable();
    Ok(batch.lookup.get_or_init(|| lookup.into()))
}
