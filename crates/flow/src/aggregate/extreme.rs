//! `MIN` and `MAX`: an ordered multiset of values per group, so that the next value takes over where the extreme is
//! withdrawn. Over append-only inputs only the extreme is kept.
//!
//! Whole numbers, dates, times and booleans are ordered as 64-bit integers; floats too, by the bits of IEEE 754's total
//! order (NaN above everything); decimals as 128-bit integers; texts and bytes by their bytes.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float32Array, Float64Array};
use arrow_schema::DataType;
use gridhouse_base::{Error, Result, TypeKind};

use super::accumulator::{Accumulator, integer_array, integers, valid};
use crate::bag::{Bag, Item};
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

/// `MIN` or `MAX` (`largest`) over values of `arg`.
pub(super) fn accumulator(
    arg: &TypeKind,
    result: &TypeKind,
    largest: bool,
    append_only: bool,
) -> Result<Box<dyn Accumulator>> {
    let data_type = result.arrow();
    if arg.arrow() != data_type && !(arg.is_text() && result.is_text() || arg.is_bytes() && result.is_bytes()) {
        return Err(Error::internal(format!("an extreme of {arg} cannot be {result}")));
    }
    match arg {
        TypeKind::Decimal { .. } => Ok(of::<i128>(data_type, largest, append_only)),
        kind if kind.is_text() || kind.is_bytes() => Ok(of::<Box<[u8]>>(data_type, largest, append_only)),
        TypeKind::Null | TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => {
            Err(Error::invalid(format!("values of {arg} have no smallest or largest")))
        }
        _ => Ok(of::<i64>(data_type, largest, append_only)),
    }
}

fn of<K: Sortable>(data_type: DataType, largest: bool, append_only: bool) -> Box<dyn Accumulator> {
    if append_only {
        Box::new(Latest { best: Vec::<Option<K>>::new(), data_type, largest })
    } else {
        Box::new(Extreme { bag: Bag::<K>::default(), data_type, largest })
    }
}

/// A value in the form that it is ordered in.
trait Sortable: Item + Clone + Send + std::borrow::Borrow<Self::Probe> + 'static {
    /// How a value is looked for without owning it.
    type Probe: Ord + ?Sized;

    /// Calls `f` with the number and value of every row of `array` that is not NULL.
    fn each(array: &ArrayRef, f: impl FnMut(usize, &Self::Probe));

    /// The value that `probe` stands for.
    fn own(probe: &Self::Probe) -> Self;

    /// Whether this can be a value of an array of `data_type`.
    fn fits(&self, _data_type: &DataType) -> bool {
        true
    }

    /// The array of `values`.
    fn array(values: Vec<Option<&Self>>, data_type: &DataType) -> Result<ArrayRef>;
}

/// Orders the bits of a double like the double; its own inverse.
fn total_order(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl Sortable for i64 {
    type Probe = i64;

    fn each(array: &ArrayRef, mut f: impl FnMut(usize, &i64)) {
        // The sign of a NaN is an accident of how it was computed; all NaNs are one value here.
        let double = |v: f64| total_order(if v.is_nan() { f64::NAN } else { v }.to_bits() as i64);
        let rows = (0..array.len()).filter(|&i| array.is_valid(i));
        if let Some(array) = array.as_primitive_opt::<Float64Type>() {
            rows.for_each(|i| f(i, &double(array.value(i))));
        } else if let Some(array) = array.as_primitive_opt::<Float32Type>() {
            rows.for_each(|i| f(i, &double(f64::from(array.value(i)))));
        } else {
            integers(array, |values| rows.for_each(|i| f(i, &values[i])));
        }
    }

    fn own(probe: &i64) -> Self {
        *probe
    }

    fn array(values: Vec<Option<&Self>>, data_type: &DataType) -> Result<ArrayRef> {
        let double = |value: &i64| f64::from_bits(total_order(*value) as u64);
        Ok(match data_type {
            DataType::Float64 => Arc::new(values.iter().map(|v| v.map(double)).collect::<Float64Array>()),
            DataType::Float32 => Arc::new(values.iter().map(|v| v.map(|v| double(v) as f32)).collect::<Float32Array>()),
            other => {
                let nulls = valid(values.iter().map(Option::is_some));
                return integer_array(values.iter().map(|v| v.copied().unwrap_or(0)).collect(), nulls, other);
            }
        })
    }
}

impl Sortable for i128 {
    type Probe = i128;

    fn each(array: &ArrayRef, mut f: impl FnMut(usize, &i128)) {
        let array = array.as_primitive::<Decimal128Type>();
        (0..array.len()).filter(|&i| array.is_valid(i)).for_each(|i| f(i, &array.value(i)));
    }

    fn own(probe: &i128) -> Self {
        *probe
    }

    fn array(values: Vec<Option<&Self>>, data_type: &DataType) -> Result<ArrayRef> {
        let array: Decimal128Array = values.iter().map(|v| v.copied()).collect();
        Ok(Arc::new(array.with_data_type(data_type.clone())))
    }
}

impl Sortable for Box<[u8]> {
    type Probe = [u8];

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

    fn own(probe: &[u8]) -> Self {
        probe.into()
    }

    fn fits(&self, data_type: &DataType) -> bool {
        data_type == &DataType::Binary || std::str::from_utf8(self).is_ok()
    }

    fn array(values: Vec<Option<&Self>>, data_type: &DataType) -> Result<ArrayRef> {
        if data_type == &DataType::Binary {
            let mut builder = BinaryBuilder::new();
            values.iter().for_each(|v| builder.append_option(*v));
            return Ok(Arc::new(builder.finish()));
        }
        let mut builder = StringBuilder::new();
        for value in values {
            let text = value.map(|bytes| std::str::from_utf8(bytes)).transpose();
            builder.append_option(text.map_err(|e| Error::internal("a text in state is not UTF-8").caused_by(e))?);
        }
        Ok(Arc::new(builder.finish()))
    }
}

/// With retraction.
struct Extreme<K> {
    bag: Bag<K>,
    data_type: DataType,
    largest: bool,
}

impl<K: Sortable> Accumulator for Extreme<K> {
    fn resize(&mut self, end: usize) {
        self.bag.resize(end);
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        K::each(&args[0], |i, value| {
            if weights[i] != 0 {
                self.bag.add(slots[i], value, weights[i], 0, || K::own(value));
            }
        });
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let best = |&slot: &Slot| {
            let set = self.bag.set(slot);
            if self.largest { set.last() } else { set.first() }
        };
        K::array(slots.iter().map(best).collect(), &self.data_type)
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        self.bag.set(slot).is_empty()
    }

    fn entries(&self) -> usize {
        self.bag.items()
    }

    fn bytes(&self) -> usize {
        self.bag.bytes()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        self.bag.freeze(slots, out);
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        self.bag.thaw(count, from, |value| value.fits(&self.data_type))
    }
}

/// Without retraction: the best value so far.
struct Latest<K> {
    best: Vec<Option<K>>,
    data_type: DataType,
    largest: bool,
}

impl<K: Sortable> Accumulator for Latest<K> {
    fn resize(&mut self, end: usize) {
        self.best.resize(end.max(self.best.len()), None);
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        if let Some(weight) = weights.iter().find(|&&w| w < 0) {
            return Err(Error::internal(format!("an append-only input withdraws a row (weight {weight})")));
        }
        let largest = self.largest;
        K::each(&args[0], |i, value| {
            let best = &mut self.best[slots[i] as usize];
            let better = best.as_ref().is_none_or(|best| {
                let best: &K::Probe = best.borrow();
                if largest { value > best } else { value < best }
            });
            if weights[i] != 0 && better {
                *best = Some(K::own(value));
            }
        });
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        K::array(slots.iter().map(|&slot| self.best[slot as usize].as_ref()).collect(), &self.data_type)
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        self.best[slot as usize].is_none()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        for &slot in slots {
            let best = &self.best[slot as usize];
            out.flag(best.is_some());
            best.iter().for_each(|value| value.freeze(out));
        }
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for _ in 0..count {
            let best = if from.flag()? { Some(K::thaw(from)?) } else { None };
            if best.as_ref().is_some_and(|value| !value.fits(&self.data_type)) {
                return Err(from.damaged("a value is not of its type"));
            }
            self.best.push(best);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let heap: usize = self.best.first().and_then(Option::as_ref).map_or(0, Item::heap_bytes);
        self.best.capacity() * (size_of::<Option<K>>() + heap)
    }
}
