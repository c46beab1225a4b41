//! Finding the pairs of a batch with the other side's rows, judging them by the residual condition, giving them out.

use arrow_array::{ArrayRef, BooleanArray, UInt32Array};
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Result};

use super::{Delta, JoinKind, Side};
use crate::bag::Bag;
use crate::keys::{NO_SLOT, Slot};
use crate::operator::{Output, STEP_ROWS, TOUCHED_ROWS, TickContext};
use crate::residual::Residual;
use crate::rows::arrow;
use crate::weight::{product, weighed_where};

/// Candidate pairs of some rows of a batch: all rows of the other side with the same key, in order.
///
/// Rows are taken until there are [`STEP_ROWS`] pairs, so that scratch memory is bounded by that plus the matches of one
/// row.
pub(super) struct Pairs<'a> {
    /// One past the last row of the batch that was taken.
    pub upto: usize,
    from: usize,
    /// The row of the batch, per pair.
    own: Vec<u32>,
    /// The bytes of the other side's row, per pair.
    other: Vec<&'a [u8]>,
    /// The weight of the other side's row, per pair.
    weights: Vec<i64>,
}

impl<'a> Pairs<'a> {
    /// The pairs of the rows `from..` of a batch, whose keys are at `slots`, with the rows in `bag`.
    pub fn find(bag: &'a Bag, slots: &[Slot], from: usize) -> Self {
        let mut pairs = Self { upto: from, from, own: Vec::new(), other: Vec::new(), weights: Vec::new() };
        while pairs.upto < slots.len() && pairs.own.len() < STEP_ROWS {
            if (pairs.upto - from).is_multiple_of(TOUCHED_ROWS) {
                bag.touch(&slots[pairs.upto..slots.len().min(pairs.upto + TOUCHED_ROWS)]);
            }
            let slot = slots[pairs.upto];
            if slot != NO_SLOT {
                for (row, held) in bag.set(slot).iter() {
                    pairs.own.push(pairs.upto as u32);
                    pairs.other.push(row);
                    pairs.weights.push(held.weight);
                }
            }
            pairs.upto += 1;
        }
        pairs
    }

    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// The weight of the matches of every row taken; pairs that are not `passed` do not count.
    pub fn matches(&self, passed: Option<&BooleanArray>) -> Vec<i64> {
        let mut matches = vec![0; self.upto - self.from];
        for (i, (&own, &weight)) in self.own.iter().zip(&self.weights).enumerate() {
            if passed.is_none_or(|passed| passed.value(i)) {
                matches[own as usize - self.from] += weight;
            }
        }
        matches
    }

    /// Gives out the pairs, where the join does, and tells which passed the residual condition (`None`: there is none).
    #[expect(clippy::too_many_arguments, reason = "the parts of a join, which are borrowed apart")]
    pub fn give(
        &self,
        kind: JoinKind,
        other_side: &Side,
        residual: Option<&mut Residual>,
        own: usize,
        delta: &Delta<'_>,
        ctx: &TickContext,
        out: &mut Output,
    ) -> Result<Option<BooleanArray>> {
        if self.len() == 0 || (!kind.gives_pairs() && residual.is_none()) {
            return Ok(None);
        }
        let mut columns = [Vec::new(), Vec::new()];
        let each_once = self.own.iter().enumerate().all(|(i, &row)| self.from + i == row as usize);
        columns[own] = if each_once {
            delta.batch.columns().iter().map(|column| column.slice(self.from, self.len())).collect()
        } else {
            let indices = UInt32Array::from(self.own.clone());
            let taken = delta.batch.columns().iter().map(|column| take(column, &indices, None).map_err(arrow));
            taken.collect::<Result<Vec<ArrayRef>>>()?
        };
        columns[1 - own] = other_side.decode(self.other.iter().copied())?;
        let weight = |(&own, &other): (&u32, &i64)| product(delta.weights[own as usize], other);
        let weights = self.own.iter().zip(&self.weights).map(weight).collect::<Result<Vec<i64>>>()?;
        let all = ChangeBatch::insertions(columns.concat(), self.len());
        let passed = match residual {
            Some(residual) => Some(residual.judge(&all, &weights, ctx)?.passed),
            None => None,
        };
        if kind.gives_pairs() {
            out.push(weighed_where(&all, &weights, passed.as_ref())?);
        }
        Ok(passed)
    }
}
