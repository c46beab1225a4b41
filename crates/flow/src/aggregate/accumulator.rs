//! The accumulators of sums, counts and means: a fixed-width cell per slot, updated a batch at a time.
//!
//! All are sums of weighted values, so a withdrawal takes back exactly what its insertion added, in any order:
//!
//! - integers in 64 bits that wrap; a narrower result takes the low bits, which is the same as wrapping in its own type;
//! - `DECIMAL` in 128 bits where 10¹⁰ rows cannot leave them, else in 256; a result outside its precision is NULL;
//! - `FLOAT`/`DOUBLE` in two doubles (error-free transformations of Knuth and Dekker), with NaN and the infinities counted
//!   apart, since they cannot be taken back from a sum. Where no finite value is left at the end of a tick the cell starts
//!   afresh; until then a sum of finite values that has left the range of a double stays infinite.
//!
//! Means divide at the end: integers towards zero, `DECIMAL` half up (away from zero) to the result's scale.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, make_array};
use arrow_buffer::{Buffer, NullBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use gridhouse_base::{Error, Result, TypeKind};
use gridhouse_expr::AggregateFunction;

use super::extreme;
use super::single::SingleValue;
use crate::frozen::{StateReader, StateWriter};
use crate::keys::Slot;

/// One aggregate function over many groups.
pub(crate) trait Accumulator: Send {
    /// Makes room for slots below `end`; new cells are neutral.
    fn resize(&mut self, end: usize);

    /// Adds `weights[i]` times row `i` of the arguments to the cell at `slots[i]`. Rows of weight 0 are to be ignored; rows
    /// with a NULL argument have it.
    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()>;

    /// The results at `slots`.
    ///
    /// # Errors
    /// `Invalid` where what a group holds has none; only at the end of a tick that is more than a passing state.
    fn results(&self, slots: &[Slot]) -> Result<ArrayRef>;

    /// Ends the tick for the cell at `slot`. Only now does a count of 0 mean that nothing is there: within a tick a
    /// withdrawal may stand for a row that is still to come.
    fn settle(&mut self, _slot: Slot) {}

    /// Whether the cell at `slot` is as if nothing had ever been added.
    fn is_neutral(&self, slot: Slot) -> bool;

    /// Entries beside the cells themselves.
    fn entries(&self) -> usize {
        0
    }

    /// Bytes of memory held.
    fn bytes(&self) -> usize;

    /// Appends the cells at `slots`, which are ascending.
    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()>;

    /// Reads the cells of the slots below `count`; nothing is held yet.
    ///
    /// # Errors
    /// `Corrupt` where they are not cells of this function.
    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()>;
}

/// The accumulator of `function` over arguments of `args`, with results of `result`. Over `append_only` inputs less is kept.
pub(crate) fn accumulator(
    function: AggregateFunction,
    args: &[TypeKind],
    result: &TypeKind,
    append_only: bool,
) -> Result<Box<dyn Accumulator>> {
    let unfit = || Error::internal(format!("{function:?} over {args:?} cannot give {result}"));
    Ok(match (function, args) {
        (AggregateFunction::CountStar, []) | (AggregateFunction::Count, [_, ..]) => {
            Box::new(Count { counts: Vec::new(), result: result.arrow() })
        }
        (AggregateFunction::Min, [arg]) => extreme::accumulator(arg, result, false, append_only)?,
        (AggregateFunction::Max, [arg]) => extreme::accumulator(arg, result, true, append_only)?,
        (AggregateFunction::SingleValue, [arg]) => Box::new(SingleValue::new(arg, result)?),
        (AggregateFunction::Sum | AggregateFunction::Avg, [arg]) => {
            let mean = function == AggregateFunction::Avg;
            match (arg, result) {
                (arg, result) if arg.is_integer() && result.is_integer() => {
                    Box::new(IntegerSum { cells: Vec::new(), mean, result: result.arrow() })
                }
                (TypeKind::Decimal { precision, scale }, TypeKind::Decimal { precision: digits, scale: places }) => {
                    let finish = DecimalResult { mean, from_scale: *scale, precision: *digits, scale: *places };
                    if *precision <= NARROW_PRECISION {
                        Box::new(DecimalSum::<i128> { cells: Vec::new(), finish })
                    } else {
                        Box::new(DecimalSum::<i256> { cells: Vec::new(), finish })
                    }
                }
                (TypeKind::Float | TypeKind::Double, TypeKind::Float | TypeKind::Double) => {
                    Box::new(FloatSum { cells: Vec::new(), mean, narrow: *result == TypeKind::Float })
                }
                _ => return Err(unfit()),
            }
        }
        _ => return Err(unfit()),
    })
}

/// Decimals of up to this many digits are summed in 128 bits: 10²⁸ × 10¹⁰ rows < 2¹²⁷.
const NARROW_PRECISION: u8 = 28;

/// `COUNT(*)` and `COUNT(x)`; which rows count is settled by their weights.
struct Count {
    counts: Vec<i64>,
    result: DataType,
}

impl Accumulator for Count {
    fn resize(&mut self, end: usize) {
        self.counts.resize(end.max(self.counts.len()), 0);
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], _args: &[ArrayRef]) -> Result<()> {
        for (&slot, &weight) in slots.iter().zip(weights) {
            self.counts[slot as usize] += weight;
        }
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        integer_array(slots.iter().map(|&slot| self.counts[slot as usize]).collect(), None, &self.result)
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        self.counts[slot as usize] == 0
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        slots.iter().for_each(|&slot| out.signed(self.counts[slot as usize]));
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        self.counts = (0..count).map(|_| from.signed()).collect::<Result<_>>()?;
        Ok(())
    }
}

/// A sum and the number of values in it; they are always needed together.
#[derive(Clone, Copy, Default)]
struct Summed<T> {
    sum: T,
    count: i64,
}

/// `SUM` and `AVG` of integers.
struct IntegerSum {
    cells: Vec<Summed<i64>>,
    mean: bool,
    result: DataType,
}

impl Accumulator for IntegerSum {
    fn resize(&mut self, end: usize) {
        self.cells.resize(end.max(self.cells.len()), Summed::default());
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        integers(&args[0], |values| {
            for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values) {
                let cell = &mut self.cells[slot as usize];
                cell.sum = cell.sum.wrapping_add(value.wrapping_mul(weight));
                cell.count += weight;
            }
        });
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let cells = || slots.iter().map(|&slot| self.cells[slot as usize]);
        let value = |cell: Summed<i64>| match (self.mean, cell.count) {
            (_, count) if count <= 0 => 0,
            (true, count) => cell.sum / count,
            (false, _) => cell.sum,
        };
        integer_array(cells().map(value).collect(), valid(cells().map(|cell| cell.count > 0)), &self.result)
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        let cell = &self.cells[slot as usize];
        cell.count == 0 && cell.sum == 0
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Summed<i64>>()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        for &slot in slots {
            let cell = self.cells[slot as usize];
            out.signed(cell.sum);
            out.signed(cell.count);
        }
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        let cell = |_| Ok(Summed { sum: from.signed()?, count: from.signed()? });
        self.cells = (0..count).map(cell).collect::<Result<_>>()?;
        Ok(())
    }
}

/// A number wide enough for sums of decimals.
trait Wide: Copy + Default + Send + PartialEq {
    fn add(&mut self, value: i128, weight: i64);
    fn widest(self) -> i256;
    fn freeze(self, out: &mut StateWriter);
    fn thaw(from: &mut StateReader<'_>) -> Result<Self>;
}

impl Wide for i128 {
    #[inline]
    fn add(&mut self, value: i128, weight: i64) {
        *self = self.wrapping_add(value.wrapping_mul(i128::from(weight)));
    }

    fn widest(self) -> i256 {
        i256::from_i128(self)
    }

    fn freeze(self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }
}

impl Wide for i256 {
    #[inline]
    fn add(&mut self, value: i128, weight: i64) {
        let value = i256::from_i128(value);
        *self = match weight {
            1 => self.wrapping_add(value),
            -1 => self.wrapping_sub(value),
            _ => self.wrapping_add(value.wrapping_mul(i256::from_i128(i128::from(weight)))),
        };
    }

    fn widest(self) -> i256 {
        self
    }

    fn freeze(self, out: &mut StateWriter) {
        out.put(&self.to_le_bytes());
    }

    fn thaw(from: &mut StateReader<'_>) -> Result<Self> {
        Ok(Self::from_le_bytes(from.array()?))
    }
}

/// `SUM` and `AVG` of decimals.
struct DecimalSum<T> {
    cells: Vec<Summed<T>>,
    finish: DecimalResult,
}

struct DecimalResult {
    mean: bool,
    from_scale: u8,
    precision: u8,
    scale: u8,
}

impl<T: Wide> Accumulator for DecimalSum<T> {
    fn resize(&mut self, end: usize) {
        self.cells.resize(end.max(self.cells.len()), Summed::default());
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let values = args[0].as_primitive::<Decimal128Type>().values();
        for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values) {
            if weight != 0 {
                let cell = &mut self.cells[slot as usize];
                cell.sum.add(value, weight);
                cell.count += weight;
            }
        }
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let result = |&slot: &Slot| {
            let cell = self.cells[slot as usize];
            if cell.count > 0 { self.finish.of(cell.sum.widest(), cell.count) } else { None }
        };
        let values: Decimal128Array = slots.iter().map(result).collect();
        let kind = DataType::Decimal128(self.finish.precision, self.finish.scale as i8);
        Ok(Arc::new(values.with_data_type(kind)))
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        let cell = &self.cells[slot as usize];
        cell.count == 0 && cell.sum == T::default()
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Summed<T>>()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        for &slot in slots {
            let cell = self.cells[slot as usize];
            cell.sum.freeze(out);
            out.signed(cell.count);
        }
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        let cell = |_| Ok(Summed { sum: T::thaw(from)?, count: from.signed()? });
        self.cells = (0..count).map(cell).collect::<Result<_>>()?;
        Ok(())
    }
}

impl DecimalResult {
    /// The sum or mean as a decimal of the result's type, `None` where it does not fit.
    fn of(&self, sum: i256, count: i64) -> Option<i128> {
        let ten = i256::from_i128(10);
        let up = ten.checked_pow(u32::from(self.scale.saturating_sub(self.from_scale)))?;
        let down = ten.checked_pow(u32::from(self.from_scale.saturating_sub(self.scale)))?;
        let divisor = if self.mean { down.checked_mul(i256::from_i128(i128::from(count)))? } else { down };
        let value = half_up(sum.checked_mul(up)?, divisor)?.to_i128()?;
        (value.unsigned_abs() < 10_u128.pow(u32::from(self.precision))).then_some(value)
    }
}

/// `value / divisor`, rounded half away from zero; `divisor` is positive.
fn half_up(value: i256, divisor: i256) -> Option<i256> {
    if divisor == i256::ONE {
        return Some(value);
    }
    if let (Some(value), Some(divisor)) = (value.to_i128(), divisor.to_i128()) {
        let (quotient, rest) = (value / divisor, value % divisor);
        let away = rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
        return Some(i256::from_i128(quotient + if away { value.signum() } else { 0 }));
    }
    let quotient = value.checked_div(divisor)?;
    let rest = value.checked_rem(divisor)?.checked_abs()?;
    let away = rest.checked_add(rest)? >= divisor;
    let step = if value < i256::ZERO { i256::MINUS_ONE } else { i256::ONE };
    if away { quotient.checked_add(step) } else { Some(quotient) }
}

/// A sum of floats as an unevaluated sum of two doubles, and what cannot be summed.
#[derive(Clone, Copy, Default)]
struct FloatCell {
    high: f64,
    low: f64,
    count: i64,
    nans: i64,
    positive_infinities: i64,
    negative_infinities: i64,
}

impl FloatCell {
    #[inline]
    fn add(&mut self, value: f64, weight: i64) {
        self.count += weight;
        if value.is_finite() {
            // The product's rounding error by a fused multiply-add; exact, since weights are far below 2⁵³.
            let (product, error) = match weight {
                1 => (value, 0.0),
                -1 => (-value, 0.0),
                _ => {
                    let product = value * weight as f64;
                    (product, value.mul_add(weight as f64, -product))
                }
            };
            let (high, rest) = two_sum(self.high, product);
            let (high, low) = two_sum(high, rest + (self.low + error));
            (self.high, self.low) = (high, low);
        } else if value.is_nan() {
            self.nans += weight;
        } else if value > 0.0 {
            self.positive_infinities += weight;
        } else {
            self.negative_infinities += weight;
        }
    }

    fn finite(&self) -> i64 {
        self.count - self.nans - self.positive_infinities - self.negative_infinities
    }

    fn sum(&self) -> (f64, f64) {
        if self.nans > 0 || (self.positive_infinities > 0 && self.negative_infinities > 0) {
            (f64::NAN, 0.0)
        } else if self.positive_infinities > 0 {
            (f64::INFINITY, 0.0)
        } else if self.negative_infinities > 0 {
            (f64::NEG_INFINITY, 0.0)
        } else {
            (self.high, self.low)
        }
    }

    fn mean(&self) -> f64 {
        let (high, low) = self.sum();
        let count = self.count as f64;
        let quotient = high / count;
        if !quotient.is_finite() {
            return quotient;
        }
        let rest = (-quotient).mul_add(count, high) + low;
        quotient + rest / count
    }
}

/// `a + b` and its rounding error.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if !sum.is_finite() {
        return (sum, 0.0);
    }
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// `SUM` and `AVG` of floats.
struct FloatSum {
    cells: Vec<FloatCell>,
    mean: bool,
    narrow: bool,
}

impl Accumulator for FloatSum {
    fn resize(&mut self, end: usize) {
        self.cells.resize(end.max(self.cells.len()), FloatCell::default());
    }

    fn update(&mut self, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let mut add = |i: usize, value: f64| {
            if weights[i] != 0 {
                self.cells[slots[i] as usize].add(value, weights[i]);
            }
        };
        match args[0].as_primitive_opt::<Float64Type>() {
            Some(array) => array.values().iter().enumerate().for_each(|(i, &v)| add(i, v)),
            None => {
                let array = args[0].as_primitive::<Float32Type>();
                array.values().iter().enumerate().for_each(|(i, &v)| add(i, f64::from(v)));
            }
        }
        Ok(())
    }

    fn results(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let cells = || slots.iter().map(|&slot| &self.cells[slot as usize]);
        let value = |cell: &FloatCell| if self.mean { cell.mean() } else { cell.sum().0 };
        let nulls = valid(cells().map(|cell| cell.count > 0));
        Ok(if self.narrow {
            Arc::new(Float32Array::new(cells().map(|cell| value(cell) as f32).collect(), nulls))
        } else {
            Arc::new(Float64Array::new(cells().map(value).collect(), nulls))
        })
    }

    fn settle(&mut self, slot: Slot) {
        let cell = &mut self.cells[slot as usize];
        if cell.finite() == 0 {
            (cell.high, cell.low) = (0.0, 0.0);
        }
    }

    fn is_neutral(&self, slot: Slot) -> bool {
        let cell = &self.cells[slot as usize];
        cell.count == 0 && cell.nans == 0 && cell.positive_infinities == 0 && cell.negative_infinities == 0
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<FloatCell>()
    }

    fn freeze(&self, slots: &[Slot], out: &mut StateWriter) -> Result<()> {
        for &slot in slots {
            let cell = &self.cells[slot as usize];
            out.put(&cell.high.to_bits().to_le_bytes());
            out.put(&cell.low.to_bits().to_le_bytes());
            let counts = [cell.count, cell.nans, cell.positive_infinities, cell.negative_infinities];
            counts.into_iter().for_each(|count| out.signed(count));
        }
        Ok(())
    }

    fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        let cell = |_| {
            Ok(FloatCell {
                high: f64::from_bits(u64::from_le_bytes(from.array()?)),
                low: f64::from_bits(u64::from_le_bytes(from.array()?)),
                count: from.signed()?,
                nans: from.signed()?,
                positive_infinities: from.signed()?,
                negative_infinities: from.signed()?,
            })
        };
        self.cells = (0..count).map(cell).collect::<Result<_>>()?;
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

/// Which results are there, `None` where all are.
pub(super) fn valid(flags: impl Iterator<Item = bool>) -> Option<NullBuffer> {
    let nulls: NullBuffer = flags.collect();
    (nulls.null_count() > 0).then_some(nulls)
}
