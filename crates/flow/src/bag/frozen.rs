//! A Bag in a frozen state: slot by slot the number of rows, then each row with its weight and that of its matches.

use gridhouse_base::{Error, Result};

use super::{Bag, Weight};
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

impl Bag {
    /// Writes the multisets at `slots`.
    pub fn freeze(&self, slots: &[Slot], out: &mut StateWriter) {
        for &slot in slots {
            out.varint(self.set(slot).len() as u64);
            for (row, held) in self.set(slot).iter() {
                out.bytes(row);
                out.signed(held.weight);
                out.signed(held.matches);
            }
        }
    }

    /// Reads the multisets of the slots below `count` into this Bag, which has none. Rows that `accept` does not are damage.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not such multisets.
    pub fn thaw(&mut self, count: usize, from: &mut StateReader<'_>, accept: impl Fn(&[u8]) -> bool) -> Result<()> {
        if !self.heads.is_empty() {
            return Err(Error::internal("rows can only be read into a state that is empty"));
        }
        for _ in 0..count {
            let len = from.count()?;
            let mut rows: Vec<(Box<[u8]>, Weight)> = Vec::new();
            for _ in 0..len {
                let row = from.bytes()?;
                let held = Weight { weight: from.signed()?, matches: from.signed()? };
                let in_order = rows.last().is_none_or(|(last, _)| *last < row);
                let has_place = held.matches == 0 || self.slab.counts_matches();
                if !in_order || held.weight == 0 || !has_place || !accept(&row) {
                    return Err(from.damaged("a row is out of order, without weight, or not of its kind"));
                }
                rows.push((row, held));
            }
            self.room_for(len, rows.iter().map(|(row, _)| row.len()).sum())?;
            let head = self.kept(rows);
            self.heads.push(head);
        }
        Ok(())
    }
}
