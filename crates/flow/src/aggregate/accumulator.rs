//! What an aggregate function asks of its state, and the accumulators of counts and of sums of whole numbers.
//!
//! Sums are sums of weighted values, so a withdrawal takes back exactly what its insertion added, in any order. Whole numbers
//! are summed in 64 bits that wrap; a narrower result takes the low bits, which is the same as wrapping in its own type.
//! Means divide at the end, here towards zero.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, make_array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use gridhouse_base::{Error, Result, TypeKind};
use gridhouse_expr::AggregateFunction;

use super::cells::{Cells, Layout};
use super::single::SingleValue;
use super::{decimal, extreme, float};
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

/// Appends what an accumulator held, when it was shared, of the groups at some slots, which are ascending.
pub(crate) type SharedCall = Box<dyn Fn(&Cells, &[Slot], &mut StateWriter) -> Result<()> + Send>;

/// One aggregate function over many groups. What has a fixed width lies in the groups' cells, the rest in the accumulator.
pub(crate) trait Accumulator: Send {
    /// Makes room for slots below `end`; what is beside the cells is neutral there.
    fn resize(&mut self, _end: usize) {}

    /// Adds `weights[i]` times row `i` of the arguments to the group at `slots[i]`. Rows of weight 0 are to be ignored; rows
    /// with a NULL argument have it.
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()>;

    /// The results at `slots`.
    ///
    /// # Errors
    /// `Invalid` where what a group holds has none; only at the end of a tick that is more than a passing state.
    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef>;

    /// Ends the tick for the groups at `slots`. Only now does a count of 0 mean that nothing is there: within a tick a
    /// withdrawal may stand for a row that is still to come.
    fn settle(&mut self, _cells: &mut Cells, _slots: &[Slot]) {}

    /// Whether the group at `slot` is as if nothing had ever been added.
    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool;

    /// Entries beside the cells.
    fn entries(&self) -> usize {
        0
    }

    /// Bytes of memory held beside the cells.
    fn bytes(&self) -> usize {
        0
    }

    /// What is held, as it is now.
    fn share(&mut self) -> SharedCall;

    /// Reads what is held of the groups at the slots below `count`, whose cells are there and empty.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be that of this function.
    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()>;
}

/// The accumulator of `function` over arguments of `args`, with results of `result`, its words in cells of `layout`. Over
/// `append_only` inputs less is kept.
pub(super) fn accumulator(
    function: AggregateFunction,
    args: &[TypeKind],
    result: &TypeKind,
    append_only: bool,
    layout: &mut Layout,
) -> Result<Box<dyn Accumulator>> {
    let unfit = || Error::internal(format!("{function:?} over {args:?} cannot give {result}"));
    Ok(match (function, args) {
        (AggregateFunction::CountStar, []) | (AggregateFunction::Count, [_, ..]) => {
            Box::new(Count { at: layout.take(1), result: result.arrow() })
        }
        (AggregateFunction::Min, [arg]) => extreme::accumulator(arg, result, false, append_only, layout)?,
        (AggregateFunction::Max, [arg]) => extreme::accumulator(arg, result, true, append_only, layout)?,
        (AggregateFunction::SingleValue, [arg]) => Box::new(SingleValue::new(arg, result)?),
        (AggregateFunction::Sum | AggregateFunction::Avg, [arg]) => {
            let mean = function == AggregateFunction::Avg;
            match (arg, result) {
                (arg, result) if arg.is_integer() && result.is_integer() => {
                    Box::new(IntegerSum { at: layout.take(2), mean, result: result.arrow() })
                }
                (TypeKind::Decimal { precision, scale }, TypeKind::Decimal { precision: digits, scale: places }) => {
                    let finish = decimal::Finish::new(mean, *scale, *digits, *places);
                    decimal::accumulator(*precision, finish, layout)
                }
                (TypeKind::Float | TypeKind::Double, TypeKind::Float | TypeKind::Double) => {
                    Box::new(float::FloatSum::new(mean, *result == TypeKind::Float, layout))
                }
                _ => return Err(unfit()),
            }
        }
        _ => return Err(unfit()),
    })
}

/// Of what `COUNT(*)` without a condition needs nothing is kept: it is the number of the group's rows, at this place of its
/// cell.
pub(super) struct Rows {
    pub at: usize,
    pub result: DataType,
}

impl Accumulator for Rows {
    fn update(&mut self, _cells: &mut Cells, _slots: &[Slot], _weights: &[i64], _args: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        integer_array(slots.iter().map(|&slot| cells.number(slot, self.at)).collect(), None, &self.result)
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        cells.number(slot, self.at) == 0
    }

    /// The group's rows are written with the group.
    fn share(&mut self) -> SharedCall {
        Box::new(|_, _, _| Ok(()))
    }

    fn thaw(&mut self, _cells: &mut Cells, _count: usize, _from: &mut StateReader<'_>) -> Result<()> {
        Ok(())
    }
}

/// `COUNT(*)` and `COUNT(x)`; which rows count is settled by their weights.
struct Count {
    at: usize,
    result: DataType,
}

impl Accumulator for Count {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], _args: &[ArrayRef]) -> Result<()> {
        for (&slot, &weight) in slots.iter().zip(weights) {
            cells.add(slot, self.at, weight);
        }
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        integer_array(slots.iter().map(|&slot| cells.number(slot, self.at)).collect(), None, &self.result)
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        cells.number(slot, self.at) == 0
    }

    fn share(&mut self) -> SharedCall {
        let at = self.at;
        Box::new(move |cells, slots, out| {
            slots.iter().for_each(|&slot| out.signed(cells.number(slot, at)));
            Ok(())
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count as Slot {
            cells.set(slot, self.at, [from.signed()?]);
        }
        Ok(())
    }
}

/// `SUM` and `AVG` of integers: the sum and the number of values in it.
struct IntegerSum {
    at: usize,
    mean: bool,
    result: DataType,
}

impl Accumulator for IntegerSum {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        integers(&args[0], |values| {
            for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values) {
                let [sum, count] = cells.at_mut(slot, self.at);
                *sum = sum.wrapping_add(value.wrapping_mul(weight) as u64);
                *count = count.wrapping_add(weight as u64);
            }
        });
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let (values, nulls) = results_of(slots, |slot| {
            let [sum, count] = cells.at(slot, self.at).map(|word| word as i64);
            (count > 0).then(|| if self.mean { sum / count } else { sum })
        });
        integer_array(values, nulls, &self.result)
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        *cells.at(slot, self.at) == [0; 2]
    }

    fn share(&mut self) -> SharedCall {
        let at = self.at;
        Box::new(move |cells, slots, out| {
            for &slot in slots {
                let held: &[u64; 2] = cells.at(slot, at);
                held.iter().for_each(|&word| out.signed(word as i64));
            }
            Ok(())
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count as Slot {
            cells.set(slot, self.at, [from.signed()?, from.signed()?]);
        }
        Ok(())
    }
}

/// The values of an array of whole numbers (dates, times, timestamps and booleans among them) as 64-bit integers.
pub(super) fn integers<R>(array: &ArrayRef, f: impl FnOnce(&[i64]) -> R) -> R {
    let data = array.to_data();
    if let Some(values) = array.as_boolean_opt() {
        return f(&(0..array.len()).map(|i| i64::from(values.value(i))).collect::<Vec<_>>());
    }
    match array.data_type().primitive_width() {
        Some(1) => f(&data.buffer::<i8>(0)[..array.len()].iter().map(|&v| i64::from(v)).collect::<Vec<_>>()),
        Some(2) => f(&data.buffer::<i16>(0)[..array.len()].iter().map(|&v| i64::from(v)).collect::<Vec<_>>()),
        Some(4) => f(&data.buffer::<i32>(0)[..array.len()].iter().map(|&v| i64::from(v)).collect::<Vec<_>>()),
        _ => f(&data.buffer::<i64>(0)[..array.len()]),
    }
}

/// An array of whole numbers of `data_type`, each cut to its width.
pub(super) fn integer_array(values: Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    let len = values.len();
    let buffer = match data_type {
        DataType::Int64 => return Ok(Arc::new(Int64Array::new(values.into(), nulls))),
        DataType::Boolean => {
            let values = values.iter().map(|&v| v != 0).collect();
            return Ok(Arc::new(BooleanArray::new(values, nulls)));
        }
        other => match other.primitive_width() {
            Some(1) => Buffer::from_vec(values.iter().map(|&v| v as i8).collect::<Vec<_>>()),
            Some(2) => Buffer::from_vec(values.iter().map(|&v| v as i16).collect::<Vec<_>>()),
            Some(4) => Buffer::from_vec(values.iter().map(|&v| v as i32).collect::<Vec<_>>()),
            Some(8) => Buffer::from_vec(values),
            _ => return Err(Error::internal(format!("{other} does not hold whole numbers"))),
        },
    };
    let data = ArrayData::builder(data_type.clone()).len(len).add_buffer(buffer).nulls(nulls);
    Ok(make_array(data.build().map_err(crate::rows::arrow)?))
}

/// The result of every slot, the neutral value where there is none; and which are there, `None` where all are.
#[inline]
pub(super) fn results_of<T: Default>(slots: &[Slot], of: impl Fn(Slot) -> Option<T>) -> (Vec<T>, Option<NullBuffer>) {
    let mut missing = false;
    let mut there = Vec::with_capacity(slots.len());
    let values = slots.iter().map(|&slot| {
        let result = of(slot);
        missing |= result.is_none();
        there.push(result.is_some());
        result.unwrap_or_default()
    });
    let values = values.collect();
    (values, missing.then(|| there.into()))
}
