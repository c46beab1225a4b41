//! The look-up join with a table of ours (`FOR SYSTEM_TIME AS OF PROCTIME()`).
//!
//! The table's changes of a tick are applied before its left rows are answered, so the answer is what the table holds at
//! the end of the tick. State: the table's rows, a Bag per key. A row with NULL in a key column finds nothing, unless the
//! key is null-safe.

use arrow_buffer::NullBuffer;
use gridhouse_base::{ChangeBatch, Result, Schema};
use gridhouse_expr::Expr;

use super::{Finder, Partners};
use crate::frozen::{Shared, StateReader};
use crate::hash::HashMode;
use crate::join::{JoinKey, JoinKind, Side, key_types};
use crate::keys::{Keys, NO_SLOT, Slot};
use crate::operator::{CHUNK_ROWS, StateSize, missing};
use crate::weight::weights;

/// A look-up join with a table of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// Inner or left.
    pub kind: JoinKind,
    /// The columns that must be equal.
    pub keys: Vec<JoinKey>,
    /// What must be true beside that, over the columns of both sides.
    pub residual: Option<Expr>,
}

/// The table's rows by key.
pub(crate) struct Table {
    index: Keys,
    /// How to find the keys of a left row.
    left: Side,
    right: Side,
    /// The slots of the left rows that are being answered.
    asked: Vec<Slot>,
    /// Slots where a weight became negative in this tick.
    suspects: Vec<Slot>,
}

impl Table {
    /// The table of `schemas.1`, asked by rows of `schemas.0`.
    ///
    /// # Errors
    /// `Internal` where key columns do not exist or differ in type.
    pub fn new(schemas: [&Schema; 2], keys: &[JoinKey], mode: HashMode) -> Result<Self> {
        Ok(Self {
            index: Keys::new(&key_types(schemas, keys)?, mode)?,
            left: Side::new(0, schemas[0], keys, false, None, false)?,
            right: Side::new(1, schemas[1], keys, false, None, false)?,
            asked: Vec::new(),
            suspects: Vec::new(),
        })
    }

    fn slots(&mut self, left: bool, batch: &ChangeBatch) -> Result<Vec<Slot>> {
        let side = if left { &self.left } else { &self.right };
        let (keys, present): (_, Option<NullBuffer>) = (side.key_columns(batch), side.present(batch));
        let mut slots = Vec::new();
        self.index.resolve(&keys, batch.len(), present.as_ref(), &mut slots)?;
        self.right.bag.resize(self.index.end());
        Ok(slots)
    }

    /// Forgets the keys of which the table has no row.
    fn release(&mut self, slots: &[Slot]) {
        for &slot in slots.iter().filter(|&&slot| slot != NO_SLOT) {
            if self.right.bag.set(slot).is_empty() {
                self.index.release(slot);
            }
        }
    }
}

impl Finder for Table {
    fn find(&mut self, batch: &ChangeBatch, from: usize) -> Result<Partners> {
        if from == 0 {
            self.asked = self.slots(true, batch)?;
        }
        let (mut own, mut rows, mut weights) = (Vec::new(), Vec::<&[u8]>::new(), Vec::new());
        let mut upto = from;
        while upto < batch.len() && own.len() < CHUNK_ROWS {
            if self.asked[upto] != NO_SLOT {
                for (row, held) in self.right.bag.set(self.asked[upto]).iter() {
                    own.push(upto as u32);
                    rows.push(row);
                    weights.push(held.weight);
                }
            }
            upto += 1;
        }
        let columns = self.right.decode(rows)?;
        if upto == batch.len() {
            let asked = std::mem::take(&mut self.asked);
            self.release(&asked);
        }
        Ok(Partners { upto, own, columns, weights })
    }

    fn change(&mut self, batch: &ChangeBatch) -> Result<()> {
        let slots = self.slots(false, batch)?;
        let rows = self.right.codec.encode(batch.columns())?;
        self.right.bag.room_for(batch.len(), rows.bytes())?;
        for (i, (&slot, weight)) in slots.iter().zip(weights(batch)).enumerate() {
            if slot != NO_SLOT {
                let (_, after) = self.right.bag.add(slot, rows.row(i), weight, 0);
                if after < 0 {
                    self.suspects.push(slot);
                }
            }
        }
        self.release(&slots);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let suspects = std::mem::take(&mut self.suspects);
        let negative = |&slot: &Slot| self.right.bag.set(slot).iter().any(|(_, held)| held.weight < 0);
        if suspects.iter().any(negative) { missing("a row of the table") } else { Ok(()) }
    }

    fn spec(&self) -> String {
        let [left, right] = [&self.left, &self.right].map(|side| (&side.keys, &side.strict));
        format!("table {left:?} {right:?}")
    }

    fn key(&mut self) -> Option<(Keys, Vec<usize>)> {
        Some((self.index.share(), self.left.keys.clone()))
    }

    fn share(&mut self) -> Shared {
        let (index, bag) = (self.index.share(), self.right.bag.share());
        Shared::new(move |part, out| {
            let slots = part.slots(&index);
            index.freeze(&slots, None, out);
            bag.freeze(&slots, out);
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        let count = self.index.thaw(from)?;
        let Side { bag, codec, .. } = &mut self.right;
        bag.thaw(count, from, |row| codec.is_row(row))
    }

    fn state(&self) -> StateSize {
        StateSize { rows: self.right.bag.rows(), bytes: self.right.bag.bytes() + self.index.bytes() }
    }
}
