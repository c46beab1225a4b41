//! Extremes of numbers. A group's extreme stands in its cell, so that results need no look at the others; these are in a
//! list ([`super::lists`]) that the cell names.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{ArrayRef, Decimal128Array, Float32Array, Float64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use gridhouse_base::Result;

use super::lists::Lists;
use super::refuse_withdrawals;
use crate::aggregate::accumulator::{Accumulator, SharedCall, integer_array, integers, results_of};
use crate::aggregate::cells::{Cells, Layout};
use crate::blocks::Head;
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;
use crate::operator::TOUCHED_ROWS;

/// A value in the form that it is ordered in.
pub(super) trait Number: Copy + Ord + Default + Send + Sync + 'static {
    /// How many words of a cell it takes.
    const WORDS: usize;

    /// Reads it from a cell.
    fn load(cells: &Cells, slot: Slot, at: usize) -> Self;

    /// Writes it to a cell.
    fn store(self, cells: &mut Cells, slot: Slot, at: usize);

    /// Calls `f` with the values of an array, anything in the place of a NULL.
    fn values(array: &ArrayRef, f: impl FnOnce(&[Self]));

    /// Appends it.
    fn freeze(self, out: &mut StateWriter);

    /// Reads one.
    fn thaw(from: &mut StateReader<'_>) -> Result<Self>;

    /// The array of `values`.
    fn array(values: Vec<Self>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef>;
}

/// Orders the bits of a double like the double; its own inverse.
fn total_order(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl Number for i64 {
    const WORDS: usize = 1;

    #[inline]
    fn load(cells: &Cells, slot: Slot, at: usize) -> Self {
        cells.number(slot, at)
    }

    #[inline]
    fn store(self, cells: &mut Cells, slot: Slot, at: usize) {
        *cells.at_mut(slot, at) = [self as u64];
    }

    fn freeze(self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }

    fn values(array: &ArrayRef, f: impl FnOnce(&[i64])) {
        // The sign of a NaN is an accident of how it was computed; all NaNs are one value here.
        let double = |v: f64| total_order(if v.is_nan() { f64::NAN } else { v }.to_bits() as i64);
        if let Some(array) = array.as_primitive_opt::<Float64Type>() {
            f(&array.values().iter().map(|&v| double(v)).collect::<Vec<_>>());
        } else if let Some(array) = array.as_primitive_opt::<Float32Type>() {
            f(&array.values().iter().map(|&v| double(f64::from(v))).collect::<Vec<_>>());
        } else {
            integers(array, f);
        }
    }

    fn array(values: Vec<Self>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        let doubles = || values.iter().map(|&value| f64::from_bits(total_order(value) as u64));
        Ok(match data_type {
            DataType::Float64 => Arc::new(Float64Array::new(doubles().collect(), nulls)),
            DataType::Float32 => Arc::new(Float32Array::new(doubles().map(|v| v as f32).collect(), nulls)),
            other => return integer_array(values, nulls, other),
        })
    }
}

impl Number for i128 {
    const WORDS: usize = 2;

    #[inline]
    fn load(cells: &Cells, slot: Slot, at: usize) -> Self {
        let &[low, high] = cells.at(slot, at);
        (u128::from(high) << 64 | u128::from(low)) as i128
    }

    #[inline]
    fn store(self, cells: &mut Cells, slot: Slot, at: usize) {
        *cells.at_mut(slot, at) = [self as u64, (self >> 64) as u64];
    }

    fn freeze(self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }

    fn values(array: &ArrayRef, f: impl FnOnce(&[i128])) {
        f(array.as_primitive::<Decimal128Type>().values());
    }

    fn array(values: Vec<Self>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
        Ok(Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(data_type.clone())))
    }
}

/// With retraction. Words of a cell: the head of the group's list, then the extreme.
pub(super) struct Ranked<K> {
    at: usize,
    lists: Lists<K>,
    data_type: DataType,
    largest: bool,
}

impl<K: Number> Ranked<K> {
    /// The largest (`largest`) or smallest values.
    pub fn new(data_type: DataType, largest: bool, layout: &mut Layout) -> Self {
        Self { at: layout.take(1 + K::WORDS), lists: Lists::default(), data_type, largest }
    }

    fn head(&self, cells: &Cells, slot: Slot) -> Head {
        let &[word] = cells.at(slot, self.at);
        Head::from_word(word)
    }
}

impl<K: Number> Accumulator for Ranked<K> {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        K::values(&args[0], |values| {
            for (row, ((&slot, &weight), &value)) in slots.iter().zip(weights).zip(values).enumerate() {
                if row.is_multiple_of(TOUCHED_ROWS) {
                    let soon = slots[row..].iter().take(TOUCHED_ROWS);
                    std::hint::black_box(soon.fold(0, |seen, &slot| seen ^ self.lists.touch(self.head(cells, slot))));
                }
                if weight == 0 {
                    continue;
                }
                let held = K::load(cells, slot, self.at + 1);
                let (head, extreme) = self.lists.add(self.head(cells, slot), held, value, weight, self.largest);
                *cells.at_mut(slot, self.at) = [head.to_word()];
                extreme.unwrap_or_default().store(cells, slot, self.at + 1);
            }
        });
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let extreme = |slot: Slot| self.head(cells, slot).is_marked().then(|| K::load(cells, slot, self.at + 1));
        let (values, nulls) = results_of(slots, extreme);
        K::array(values, nulls, &self.data_type)
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        self.head(cells, slot).is_empty()
    }

    fn entries(&self) -> usize {
        self.lists.items()
    }

    fn bytes(&self) -> usize {
        self.lists.bytes()
    }

    /// In the form of a bag.
    fn share(&mut self) -> SharedCall {
        let (at, lists) = (self.at, self.lists.share());
        Box::new(move |cells, slots, out| {
            for &slot in slots {
                let &[head] = cells.at(slot, at);
                let items = lists.items_of(Head::from_word(head), K::load(cells, slot, at + 1));
                out.varint(items.len() as u64);
                for (value, weight) in items {
                    value.freeze(out);
                    out.signed(weight);
                    out.signed(0);
                }
            }
            Ok(())
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count as Slot {
            let len = from.count()?;
            let mut items: Vec<(K, i64)> = Vec::new();
            for _ in 0..len {
                let (value, weight, matches) = (K::thaw(from)?, from.signed()?, from.signed()?);
                if items.last().is_some_and(|(last, _)| *last >= value) || weight == 0 || matches != 0 {
                    return Err(from.damaged("a value is out of order, without weight, or with matches"));
                }
                items.push((value, weight));
            }
            let (head, extreme) = self.lists.restore(items, self.largest);
            *cells.at_mut(slot, self.at) = [head.to_word()];
            extreme.unwrap_or_default().store(cells, slot, self.at + 1);
        }
        Ok(())
    }
}

/// Without retraction: the best value so far. Words of a cell: 1 where there is one, then the value.
pub(super) struct Latest<K> {
    at: usize,
    data_type: DataType,
    largest: bool,
    of: PhantomData<K>,
}

impl<K: Number> Latest<K> {
    /// The largest (`largest`) or smallest values.
    pub fn new(data_type: DataType, largest: bool, layout: &mut Layout) -> Self {
        Self { at: layout.take(1 + K::WORDS), data_type, largest, of: PhantomData }
    }

    fn best(&self, cells: &Cells, slot: Slot) -> Option<K> {
        (cells.number(slot, self.at) == 1).then(|| K::load(cells, slot, self.at + 1))
    }
}

impl<K: Number> Accumulator for Latest<K> {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        refuse_withdrawals(weights)?;
        K::values(&args[0], |values| {
            for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values) {
                let better = |best: K| if self.largest { value > best } else { value < best };
                if weight != 0 && self.best(cells, slot).is_none_or(better) {
                    *cells.at_mut(slot, self.at) = [1];
                    value.store(cells, slot, self.at + 1);
                }
            }
        });
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let (values, nulls) = results_of(slots, |slot| self.best(cells, slot));
        K::array(values, nulls, &self.data_type)
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        cells.number(slot, self.at) == 0
    }

    fn share(&mut self) -> SharedCall {
        let at = self.at;
        Box::new(move |cells, slots, out| {
            for &slot in slots {
                let is_there = cells.number(slot, at) == 1;
                out.flag(is_there);
                if is_there {
                    K::load(cells, slot, at + 1).freeze(out);
                }
            }
            Ok(())
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count as Slot {
            if from.flag()? {
                cells.set(slot, self.at, [1]);
                K::thaw(from)?.store(cells, slot, self.at + 1);
            }
        }
        Ok(())
    }
}
