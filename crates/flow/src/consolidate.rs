//! Consolidation: equal rows become one with the sum of their weights, and rows of weight 0 vanish.
//!
//! Withdrawn rows come before inserted ones, so that a reader that applies the rows one after the other to a keyed table
//! never removes a row that it has just written. Within the two parts rows stand in the order of their first appearance.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};

use crate::compare::Comparison;
use crate::hash::HashMode;
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
    let sums = sums_of_equal_rows(&all, weights.values(), mode)?;
    let with = |holds: fn(i64) -> bool| sums.iter().enumerate().filter(move |&(_, &sum)| holds(sum));
    let order: Vec<u32> = with(|sum| sum < 0).chain(with(|sum| sum > 0)).map(|(i, _)| i as u32).collect();
    if order.len() == all.len() && order.is_sorted() {
        return weighed(all.columns().to_vec(), &sums);
    }
    let sums: Vec<i64> = order.iter().map(|&i| sums[i as usize]).collect();
    let kept = ChangeBatch::insertions(all.columns().to_vec(), all.len()).take(&order.into())?;
    weighed(kept.columns().to_vec(), &sums)
}

/// All rows of `batches`, no two of which are equal, in the same order as consolidation gives them.
pub(crate) fn withdrawn_first(batches: &[ChangeBatch], schema: &Schema) -> Result<ChangeBatch> {
    let [mut withdrawn, mut inserted] = [Vec::new(), Vec::new()];
    for batch in batches.iter().filter(|batch| !batch.is_empty()) {
        let is_withdrawn: Option<BooleanArray> =
            batch.diff().map(|diff| diff.values().iter().map(|&weight| Some(weight < 0)).collect());
        match is_withdrawn.as_ref().map_or(0, BooleanArray::true_count) {
            0 => inserted.push(batch.clone()),
            all if all == batch.len() => withdrawn.push(batch.clone()),
            _ => {
                let is_withdrawn = is_withdrawn.unwrap_or_else(|| BooleanBuffer::new_unset(batch.len()).into());
                withdrawn.push(batch.filter(&is_withdrawn)?);
                inserted.push(batch.filter(&BooleanArray::new(!is_withdrawn.values(), None))?);
            }
        }
    }
    withdrawn.append(&mut inserted);
    if withdrawn.is_empty() { Ok(ChangeBatch::empty(schema)) } else { ChangeBatch::concat(&withdrawn) }
}

/// The sum of the weights of all rows that equal it at the first of them, 0 at the others.
fn sums_of_equal_rows(rows: &ChangeBatch, weights: &[i32], mode: HashMode) -> Result<Vec<i64>> {
    const FREE: u32 = u32::MAX;
    let comparison = Comparison::of(rows.columns(), rows.len())?;
    let hashes = comparison.hashes(mode);
    // Open addressing, at most half full: the number of the first row with a hash, looked for from the hash's place on.
    let mut table = vec![FREE; (rows.len() * 2).next_power_of_two()];
    let mask = table.len() - 1;
    let mut sums = vec![0; rows.len()];
    for (i, (&hash, &weight)) in hashes.iter().zip(weights).enumerate() {
        let mut place = hash as usize & mask;
        let first = loop {
            match table[place] {
                FREE => {
                    table[place] = i as u32;
                    break i;
                }
                other if hashes[other as usize] == hash && comparison.equal(other as usize, i) => break other as usize,
                _ => place = (place + 1) & mask,
            }
        };
        sums[first] += i64::from(weight);
    }
    Ok(sums)
}
