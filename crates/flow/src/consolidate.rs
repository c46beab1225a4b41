//! Consolidation: equal rows become one with the sum of their weights, and rows of weight 0 vanish.
//!
//! Withdrawn rows come before inserted ones, so that a reader that applies the rows one after the other to a keyed table
//! never removes a row that it has just written. Within the two parts rows stand in the order of their first appearance.

use arrow_array::UInt32Array;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::hash::HashMode;
use crate::rows::RowCodec;
use crate::weight::weighed;

/// The sum of `batches`, whose rows are of `schema`. Where nothing is withdrawn, equal rows may stay apart, and so do the
/// parts of a row that is there more often than a batch can say.
///
/// # Errors
/// `Invalid` where there are more than 2³² rows or one is there more often than can be handed on; `Internal` where columns
/// do not fit the schema.
pub fn consolidate(batches: &[ChangeBatch], schema: &Schema) -> Result<ChangeBatch> {
    consolidate_by(batches, schema, HashMode::Seeded(0))
}

pub(crate) fn consolidate_by(batches: &[ChangeBatch], schema: &Schema, mode: HashMode) -> Result<ChangeBatch> {
    let filled: Vec<ChangeBatch> = batches.iter().filter(|batch| !batch.is_empty()).cloned().collect();
    if filled.is_empty() {
        return Ok(ChangeBatch::empty(schema));
    }
    let all = ChangeBatch::concat(&filled)?;
    let Some(weights) = all.diff() else { return Ok(all) };
    if weights.values().iter().all(|&w| w == 1) {
        return Ok(ChangeBatch::insertions(all.columns().to_vec(), all.len()));
    }
    if u32::try_from(all.len()).is_err() {
        let error = Error::invalid(format!("{} changes of one tick are more than can be summed up at once", all.len()));
        return Err(error.hint("give fewer rows out: add a condition, or aggregate them"));
    }
    let rows = RowCodec::of_schema(schema)?.encode(all.columns())?;
    // One entry per different row: its hash and its place in `first` and `sums`.
    let mut table: HashTable<(u64, u32)> = HashTable::with_capacity(all.len());
    let (mut first, mut sums) = (Vec::<u32>::new(), Vec::<i64>::new());
    for (i, &weight) in weights.values().iter().enumerate() {
        let row = rows.row(i);
        let hash = mode.bytes(row);
        let same = |&(h, at): &(u64, u32)| h == hash && rows.row(first[at as usize] as usize) == row;
        match table.entry(hash, same, |&(h, _)| h) {
            Entry::Occupied(entry) => sums[entry.get().1 as usize] += i64::from(weight),
            Entry::Vacant(entry) => {
                entry.insert((hash, first.len() as u32));
                first.push(i as u32);
                sums.push(i64::from(weight));
            }
        }
    }
    let withdrawn = (0..first.len()).filter(|&i| sums[i] < 0);
    let order: Vec<usize> = withdrawn.chain((0..first.len()).filter(|&i| sums[i] > 0)).collect();
    let indices: UInt32Array = order.iter().map(|&i| first[i]).collect::<Vec<_>>().into();
    let sums: Vec<i64> = order.iter().map(|&i| sums[i]).collect();
    let kept = ChangeBatch::insertions(all.columns().to_vec(), all.len()).take(&indices)?;
    weighed(kept.columns().to_vec(), &sums)
}
