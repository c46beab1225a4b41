//! Semi and anti joins without residual condition: a row's matches are then settled by its key alone.
//!
//! So of the right side only keys and their weights are kept, and a change there touches the left rows of its key only
//! where the key appears or disappears, not with every row of it.

use gridhouse_base::Result;

use super::{Delta, Join, Lone};
use crate::keys::NO_SLOT;
use crate::operator::Output;

impl Join {
    /// Rows of the right side come or go.
    pub(super) fn switch_keys(&mut self, delta: &Delta<'_>, out: &mut Output) -> Result<()> {
        let unmatched = self.kind.gives_unmatched(0);
        let mut lone = Lone::default();
        for (i, &slot) in delta.slots.iter().enumerate() {
            if slot == NO_SLOT {
                continue;
            }
            let (before, after) = self.sides[1].bag.add(slot, delta.rows.row(i), delta.weights[i], 0);
            if after < 0 {
                self.suspects.push((1, slot));
            }
            if (before > 0) != (after > 0) {
                for (row, held) in self.sides[0].bag.set(slot).iter() {
                    lone.switch(row, held.weight, before > 0, unmatched);
                }
            }
        }
        self.give_lone(0, &lone, out)
    }
}
