//! Rows whose output depends on having a match: outer, semi and anti joins.
//!
//! With `m` the weight of a row's matches and `w` its own, a row without match is given out `w · [m ≤ 0]` times (outer,
//! anti) or `w · [m > 0]` times (semi). The functions below give out the difference when `w` or `m` changes.

use arrow_array::{ArrayRef, BooleanArray, UInt32Array, new_null_array};
use gridhouse_base::{ChangeBatch, Result};

use super::{Delta, Join};
use crate::keys::NO_SLOT;
use crate::operator::Output;
use crate::weight::weighed;

/// Rows that gained their first or lost their last match, as bytes with the weights to give out.
#[derive(Default)]
pub(super) struct Lone {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    weights: Vec<i64>,
}

impl Lone {
    /// A row of `weight` had a match (`before`) and has none now, or the other way round. A lost match brings back the
    /// unmatched row, or takes away the matched one.
    pub fn switch(&mut self, row: &[u8], weight: i64, before: bool, unmatched: bool) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
        self.weights.push(if before == unmatched { weight } else { -weight });
    }
}

impl Join {
    /// Rows `from..` of a batch, whose matches weigh `matches`, come or go: gives out those that count.
    pub(super) fn give_own(
        &self,
        own: usize,
        delta: &Delta<'_>,
        from: usize,
        matches: &[i64],
        out: &mut Output,
    ) -> Result<()> {
        let unmatched = self.kind.gives_unmatched(own);
        let counts = |&(_, &m): &(usize, &i64)| (m <= 0) == unmatched;
        let rows: Vec<u32> = matches.iter().enumerate().filter(counts).map(|(i, _)| (from + i) as u32).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let taken = delta.batch.take(&UInt32Array::from(rows))?;
        let (len, weights) = (taken.len(), taken.diff().cloned());
        out.push(ChangeBatch::new(self.alone(own, taken.columns().to_vec(), len), len, weights));
        Ok(())
    }

    /// Rows `from..upto` of a batch come or go: counts them as matches of the other side's rows, in the order in which the
    /// pairs were found, and gives out the rows that gained their first or lost their last match.
    pub(super) fn switch_others(
        &mut self,
        own: usize,
        delta: &Delta<'_>,
        from: usize,
        upto: usize,
        passed: Option<&BooleanArray>,
        out: &mut Output,
    ) -> Result<()> {
        let other = 1 - own;
        let unmatched = self.kind.gives_unmatched(other);
        let mut pair = 0;
        let mut lone = Lone::default();
        for i in from..upto {
            if delta.slots[i] == NO_SLOT {
                continue;
            }
            self.sides[other].bag.for_each_match(delta.slots[i], |row, weight, matches| {
                let counts = passed.is_none_or(|passed| passed.value(pair));
                pair += 1;
                if counts {
                    let before = *matches > 0;
                    *matches += delta.weights[i];
                    if before != (*matches > 0) {
                        lone.switch(row, weight, before, unmatched);
                    }
                }
            });
        }
        self.give_lone(other, &lone, out)
    }

    /// Gives out gathered rows of `side`.
    pub(super) fn give_lone(&self, side: usize, lone: &Lone, out: &mut Output) -> Result<()> {
        let len = lone.weights.len();
        if len > 0 {
            let starts = [0].into_iter().chain(lone.ends.iter().copied());
            let rows = starts.zip(&lone.ends).map(|(start, &end)| &lone.bytes[start..end]);
            let columns = self.sides[side].decode(rows)?;
            out.push(weighed(self.alone(side, columns, len), &lone.weights)?);
        }
        Ok(())
    }

    /// Rows of `side` as the join gives them out without a partner.
    fn alone(&self, side: usize, columns: Vec<ArrayRef>, len: usize) -> Vec<ArrayRef> {
        if !self.kind.gives_pairs() {
            return columns;
        }
        let nulls = self.sides[1 - side].types.iter().map(|t| new_null_array(t, len)).collect();
        let sides = if side == 0 { [columns, nulls] } else { [nulls, columns] };
        sides.concat()
    }
}
