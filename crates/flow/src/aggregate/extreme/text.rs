//! Extremes of texts and bytes.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use gridhouse_base::{Error, Result};

use super::refuse_withdrawals;
use crate::aggregate::accumulator::{Accumulator, SharedCall};
use crate::aggregate::cells::Cells;
use crate::bag::Bag;
use crate::frozen::StateReader;
use crate::keys::Slot;
use crate::pages::Pages;

/// With retraction.
pub(super) struct RankedText {
    bag: Bag,
    data_type: DataType,
    largest: bool,
}

impl RankedText {
    /// The largest (`largest`) or smallest texts.
    pub fn new(data_type: DataType, largest: bool) -> Self {
        Self { bag: Bag::new(false), data_type, largest }
    }
}

impl Accumulator for RankedText {
    fn resize(&mut self, end: usize) {
        self.bag.resize(end);
    }

    fn update(&mut self, _cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        self.bag.room_for(slots.len(), value_bytes(&args[0]))?;
        each(&args[0], |i, value| {
            if weights[i] != 0 {
                self.bag.add(slots[i], value, weights[i], 0);
            }
        });
        Ok(())
    }

    fn results(&self, _cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let best = |&slot: &Slot| {
            let set = self.bag.set(slot);
            if self.largest { set.last() } else { set.first() }
        };
        array(slots.iter().map(best), &self.data_type)
    }

    fn is_neutral(&self, _cells: &Cells, slot: Slot) -> bool {
        self.bag.set(slot).is_empty()
    }

    fn entries(&self) -> usize {
        self.bag.rows()
    }

    fn bytes(&self) -> usize {
        self.bag.bytes()
    }

    fn share(&mut self) -> SharedCall {
        let bag = self.bag.share();
        Box::new(move |_, slots, out| {
            bag.freeze(slots, out);
            Ok(())
        })
    }

    fn thaw(&mut self, _cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        self.bag.thaw(count, from, |value| fits(value, &self.data_type))
    }
}

/// Without retraction: the best value so far.
pub(super) struct LatestText {
    /// By slot, few to a page since each is a piece of memory of its own.
    best: Pages<Option<Box<[u8]>>, 7>,
    value_bytes: usize,
    data_type: DataType,
    largest: bool,
}

impl LatestText {
    /// The largest (`largest`) or smallest texts.
    pub fn new(data_type: DataType, largest: bool) -> Self {
        Self { best: Pages::default(), value_bytes: 0, data_type, largest }
    }
}

impl Accumulator for LatestText {
    fn resize(&mut self, end: usize) {
        self.best.resize(end, None);
    }

    fn update(&mut self, _cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        refuse_withdrawals(weights)?;
        let largest = self.largest;
        each(&args[0], |i, value| {
            let best = &mut self.best[slots[i] as usize];
            let better = |best: &[u8]| if largest { value > best } else { value < best };
            if weights[i] != 0 && best.as_deref().is_none_or(better) {
                self.value_bytes = self.value_bytes - best.as_ref().map_or(0, |best| best.len()) + value.len();
                *best = Some(value.into());
            }
        });
        Ok(())
    }

    fn results(&self, _cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        array(slots.iter().map(|&slot| self.best[slot as usize].as_deref()), &self.data_type)
    }

    fn is_neutral(&self, _cells: &Cells, slot: Slot) -> bool {
        self.best[slot as usize].is_none()
    }

    fn bytes(&self) -> usize {
        // The allocator rounds every value up and puts a head before it, 16 bytes together.
        self.best.bytes() + self.best.len() * 16 + self.value_bytes
    }

    fn share(&mut self) -> SharedCall {
        let best = self.best.share();
        Box::new(move |_, slots, out| {
            for &slot in slots {
                let best = &best[slot as usize];
                out.flag(best.is_some());
                best.iter().for_each(|value| out.bytes(value));
            }
            Ok(())
        })
    }

    fn thaw(&mut self, _cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for _ in 0..count {
            let best = if from.flag()? { Some(from.bytes()?) } else { None };
            if best.as_ref().is_some_and(|value| !fits(value, &self.data_type)) {
                return Err(from.damaged("a value is not of its type"));
            }
            self.value_bytes += best.as_ref().map_or(0, |value| value.len());
            self.best.push(best);
        }
        Ok(())
    }
}

/// Whether this can be a value of an array of `data_type`.
fn fits(value: &[u8], data_type: &DataType) -> bool {
    data_type == &DataType::Binary || std::str::from_utf8(value).is_ok()
}

/// Calls `f` with the number and value of every row of `array` that is not NULL.
fn each(array: &ArrayRef, mut f: impl FnMut(usize, &[u8])) {
    let rows = (0..array.len()).filter(|&i| array.is_valid(i));
    match array.as_string_opt::<i32>() {
        Some(array) => rows.for_each(|i| f(i, array.value(i).as_bytes())),
        None => {
            let array = array.as_binary::<i32>();
            rows.for_each(|i| f(i, array.value(i)));
        }
    }
}

/// The bytes of all values of `array` together.
fn value_bytes(array: &ArrayRef) -> usize {
    let offsets =
        array.as_string_opt::<i32>().map_or_else(|| array.as_binary::<i32>().offsets(), |texts| texts.offsets());
    offsets.last().map_or(0, |&end| (end - offsets[0]) as usize)
}

/// The array of `values`.
fn array<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, data_type: &DataType) -> Result<ArrayRef> {
    if data_type == &DataType::Binary {
        let mut builder = BinaryBuilder::new();
        values.for_each(|v| builder.append_option(v));
        return Ok(Arc::new(builder.finish()));
    }
    let mut builder = StringBuilder::new();
    for value in values {
        let text = value.map(std::str::from_utf8).transpose();
        builder.append_option(text.map_err(|e| Error::internal("a text in state is not UTF-8").caused_by(e))?);
    }
    Ok(Arc::new(builder.finish()))
}
