//! Weights of rows: numbers of 64 bits inside operators, of 32 bits in batches.
//!
//! A row that is there more often than a batch can say stands in it several times, with a part of its weight each; to
//! every reader the sum counts.

use arrow_array::{ArrayRef, BooleanArray, Int32Array};
use gridhouse_base::{ChangeBatch, Error, Result};

/// The largest part of a weight that one row of a batch carries. Its opposite fits too.
const LARGEST_PART: i64 = i32::MAX as i64;

/// The most rows that one heavy row becomes, so that a few rows of absurd weights do not fill the memory.
const MOST_PARTS: i64 = 1_000;

/// The weights of a batch as numbers.
pub(crate) fn weights(batch: &ChangeBatch) -> Vec<i64> {
    match batch.diff() {
        Some(diff) => diff.values().iter().map(|&w| i64::from(w)).collect(),
        None => vec![1; batch.len()],
    }
}

/// The weight of a pair of rows.
///
/// # Errors
/// `Invalid` where it leaves the range of numbers.
pub(crate) fn product(own: i64, other: i64) -> Result<i64> {
    own.checked_mul(other).ok_or_else(|| too_heavy(format!("{own} times {other}")))
}

/// Rows with their weights.
///
/// # Errors
/// `Invalid` where a row is there more often than can be handed on.
pub(crate) fn weighed(columns: Vec<ArrayRef>, weights: &[i64]) -> Result<ChangeBatch> {
    let len = weights.len();
    if weights.iter().all(|&weight| weight == 1) {
        return Ok(ChangeBatch::insertions(columns, len));
    }
    let is_light = |weight: &i64| (-LARGEST_PART..=LARGEST_PART).contains(weight);
    if weights.iter().all(is_light) {
        let diff: Int32Array = weights.iter().map(|&weight| weight as i32).collect::<Vec<_>>().into();
        return Ok(ChangeBatch::new(columns, len, Some(diff)));
    }
    let (mut rows, mut diff) = (Vec::<u32>::new(), Vec::<i32>::new());
    for (row, &weight) in weights.iter().enumerate() {
        if weight.unsigned_abs() > (LARGEST_PART * MOST_PARTS) as u64 {
            return Err(too_heavy(weight.to_string()));
        }
        let mut rest = weight;
        while rest != 0 {
            let part = rest.clamp(-LARGEST_PART, LARGEST_PART);
            rows.push(row as u32);
            diff.push(part as i32);
            rest -= part;
        }
    }
    let rows = ChangeBatch::insertions(columns, len).take(&rows.into())?;
    Ok(ChangeBatch::new(rows.columns().to_vec(), diff.len(), Some(diff.into())))
}

/// Those of `rows`, whose own weights do not count, that `passed`, or all of them, with their weights.
///
/// # Errors
/// `Invalid` where a row is there more often than can be handed on.
pub(crate) fn weighed_where(rows: &ChangeBatch, weights: &[i64], passed: Option<&BooleanArray>) -> Result<ChangeBatch> {
    let Some(passed) = passed else { return weighed(rows.columns().to_vec(), weights) };
    let kept: Vec<i64> = weights.iter().enumerate().filter(|&(i, _)| passed.value(i)).map(|(_, &w)| w).collect();
    weighed(rows.filter(passed)?.columns().to_vec(), &kept)
}

fn too_heavy(weight: String) -> Error {
    Error::invalid(format!("a row is there {weight} times, which is more often than it can be handed on"))
        .hint("use keys or conditions of the join under which fewer equal rows meet, or count them with GROUP BY first")
}
