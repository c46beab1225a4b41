//! `DISTINCT` within an aggregate: the inner accumulator sees an argument once, however often it is there.
//!
//! Law: a weight per (group, arguments) is kept; the inner accumulator is told +1 where it becomes positive and -1 where it
//! ceases to be. An entry is dropped when its weight is 0.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use gridhouse_base::{Result, TypeKind};

use super::accumulator::{Accumulator, SharedCall};
use super::cells::{Cells, Layout};
use crate::frozen::{StateReader, places};
use crate::hash::HashMode;
use crate::keys::{Keys, NO_SLOT, Slot};
use crate::pages::Pages;

/// The wrapper around an accumulator.
pub(super) struct Distinct {
    inner: Box<dyn Accumulator>,
    /// (group, arguments) → place in `weights`.
    index: Keys,
    weights: Pages<i64, 12>,
    /// Where a group's cell has the number of its entries, so that it is known to be neutral.
    entries_at: usize,
}

impl Distinct {
    /// Wraps `inner`, whose arguments are of `args`.
    pub fn new(inner: Box<dyn Accumulator>, args: &[TypeKind], mode: HashMode, layout: &mut Layout) -> Result<Self> {
        let types: Vec<DataType> = [DataType::UInt32].into_iter().chain(args.iter().map(TypeKind::arrow)).collect();
        Ok(Self { inner, index: Keys::new(&types, mode)?, weights: Pages::default(), entries_at: layout.take(1) })
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, end: usize) {
        self.inner.resize(end);
    }

    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(slots.to_vec()))];
        columns.extend(args.iter().cloned());
        let counted: NullBuffer = weights.iter().map(|&w| w != 0).collect();
        let mut places = Vec::new();
        self.index.resolve(&columns, slots.len(), Some(&counted), &mut places)?;
        self.weights.resize(self.index.end(), 0);
        let mut toggles = vec![0; slots.len()];
        for (i, &place) in places.iter().enumerate() {
            if place != NO_SLOT {
                let held = &mut self.weights[place as usize];
                let before = *held;
                *held += weights[i];
                toggles[i] = i64::from(*held > 0) - i64::from(before > 0);
                cells.add(slots[i], self.entries_at, i64::from(before == 0) - i64::from(*held == 0));
            }
        }
        // Released only now, since later rows of this batch may have come back to the same entry.
        for &place in &places {
            if place != NO_SLOT && self.weights[place as usize] == 0 {
                self.index.release(place);
            }
        }
        self.inner.update(cells, slots, &toggles, args)
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        self.inner.results(cells, slots)
    }

    fn settle(&mut self, cells: &mut Cells, slots: &[Slot]) {
        self.inner.settle(cells, slots);
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        cells.number(slot, self.entries_at) == 0 && self.inner.is_neutral(cells, slot)
    }

    fn entries(&self) -> usize {
        self.index.live() + self.inner.entries()
    }

    fn bytes(&self) -> usize {
        self.weights.bytes() + self.index.bytes() + self.inner.bytes()
    }

    /// The entries of groups, each with the place of its group among the slots.
    fn share(&mut self) -> SharedCall {
        let (index, weights, inner) = (self.index.share(), self.weights.share(), self.inner.share());
        Box::new(move |cells, slots, out| {
            let places = places(slots, cells.end());
            let entries = index.live_slots();
            let groups = match entries.is_empty() {
                true => Vec::new(),
                false => index.columns(&entries)?[0].as_primitive::<UInt32Type>().values().to_vec(),
            };
            let placed = entries.iter().zip(&groups);
            let placed = placed.filter_map(|(&entry, &group)| Some((entry, places[group as usize]?)));
            let (entries, groups): (Vec<Slot>, Vec<u32>) = placed.unzip();
            index.freeze(&entries, Some(&groups), out);
            entries.iter().for_each(|&entry| out.signed(weights[entry as usize]));
            inner(cells, slots, out)
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        let entries = self.index.thaw(from)?;
        if entries > 0 {
            for &group in self.index.first_column()?.as_primitive::<UInt32Type>().values() {
                if group as usize >= count {
                    return Err(from.damaged("a value belongs to a group that is not there"));
                }
                cells.add(group, self.entries_at, 1);
            }
        }
        for _ in 0..entries {
            self.weights.push(from.signed()?);
        }
        self.inner.thaw(cells, count, from)
    }
}
