//! SUM and AVG by Flink's rules, as accumulators of DataFusion.
//!
//! - Whole numbers are summed in 64 bits that wrap; a narrower result takes the low bits. Means divide towards zero.
//! - `DECIMAL` is summed in 128 bits where 10¹⁰ rows cannot leave them, else in 256; means round half up; what does not fit the
//!   result's precision is NULL.
//! - `FLOAT` and `DOUBLE` are summed in two doubles (error-free transformations of Knuth and Dekker), NaN and the infinities
//!   counted apart, rounded once at the end.
//!
//! The arithmetic is that of the accumulators of `flow` ([`gridhouse_expr::sums`]), without withdrawals, and with partial sums
//! that can be added up.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Decimal256Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array,
};
use arrow_buffer::i256;
use arrow_schema::DataType;
use datafusion::common::{Result as DfResult, exec_err};
use gridhouse_expr::sums::{DecimalResult, NARROW_PRECISION, Specials, TwoDoubles};

use super::cells::{Cell, Selected};

/// A sum of whole numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IntegerSum {
    sum: i64,
    count: i64,
}

impl IntegerSum {
    #[inline]
    fn add(&mut self, value: i64) {
        self.sum = self.sum.wrapping_add(value);
        self.count += 1;
    }
}

/// What a sum becomes.
#[derive(Clone, Debug)]
pub(super) struct SumOf {
    /// Whether the mean is wanted.
    pub mean: bool,
    /// The argument's type.
    pub argument: DataType,
    /// The result's type.
    pub result: DataType,
}

impl Cell for IntegerSum {
    type Rule = SumOf;

    fn state_types(_rule: &SumOf) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn update(cells: &mut [Self], rule: &SumOf, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        macro_rules! add {
            ($t:ty) => {{
                let array = values[0].as_primitive::<$t>();
                let values = array.values();
                rows.each(array.nulls(), |row, group| cells[group].add(i64::from(values[row])));
            }};
        }
        match &rule.argument {
            DataType::Int8 => add!(arrow_array::types::Int8Type),
            DataType::Int16 => add!(arrow_array::types::Int16Type),
            DataType::Int32 => add!(arrow_array::types::Int32Type),
            DataType::Int64 => add!(Int64Type),
            other => return exec_err!("whole numbers cannot be {other}"),
        }
        Ok(())
    }

    fn merge(cells: &mut [Self], _rule: &SumOf, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let (sums, counts) = (states[0].as_primitive::<Int64Type>(), states[1].as_primitive::<Int64Type>());
        rows.each(None, |row, group| {
            let cell = &mut cells[group];
            cell.sum = cell.sum.wrapping_add(sums.value(row));
            cell.count += counts.value(row);
        });
        Ok(())
    }

    fn states(cells: &[Self], _rule: &SumOf) -> DfResult<Vec<ArrayRef>> {
        let sums: Int64Array = cells.iter().map(|cell| Some(cell.sum)).collect();
        let counts: Int64Array = cells.iter().map(|cell| Some(cell.count)).collect();
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn results(cells: &[Self], rule: &SumOf) -> DfResult<ArrayRef> {
        let value = |cell: &Self| match (cell.count, rule.mean) {
            (0, _) => None,
            (count, true) => Some(cell.sum / count),
            (_, false) => Some(cell.sum),
        };
        let values = cells.iter().map(value);
        Ok(match &rule.result {
            DataType::Int8 => Arc::new(values.map(|v| v.map(|v| v as i8)).collect::<Int8Array>()),
            DataType::Int16 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
            DataType::Int32 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
            DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
            other => return exec_err!("a sum of whole numbers cannot be {other}"),
        })
    }
}

/// A sum of decimals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DecimalSum {
    /// What fits 128 bits.
    narrow: i128,
    /// The rest.
    wide: i256,
    count: i64,
}

impl DecimalSum {
    fn sum(&self) -> i256 {
        self.wide.wrapping_add(i256::from_i128(self.narrow))
    }
}

impl Cell for DecimalSum {
    type Rule = SumOf;

    fn state_types(_rule: &SumOf) -> Vec<DataType> {
        vec![DataType::Decimal256(76, 0), DataType::Int64]
    }

    fn update(cells: &mut [Self], rule: &SumOf, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let DataType::Decimal128(precision, _) = &rule.argument else {
            return exec_err!("decimals cannot be {}", rule.argument);
        };
        let array = values[0].as_primitive::<Decimal128Type>();
        let (values, is_narrow) = (array.values(), *precision <= NARROW_PRECISION);
        rows.each(array.nulls(), |row, group| {
            let cell = &mut cells[group];
            cell.count += 1;
            if is_narrow {
                cell.narrow = cell.narrow.wrapping_add(values[row]);
            } else {
                cell.wide = cell.wide.wrapping_add(i256::from_i128(values[row]));
            }
        });
        Ok(())
    }

    fn merge(cells: &mut [Self], _rule: &SumOf, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let (sums, counts) = (states[0].as_primitive::<Decimal256Type>(), states[1].as_primitive::<Int64Type>());
        rows.each(None, |row, group| {
            let cell = &mut cells[group];
            cell.wide = cell.wide.wrapping_add(sums.value(row));
            cell.count += counts.value(row);
        });
        Ok(())
    }

    fn states(cells: &[Self], _rule: &SumOf) -> DfResult<Vec<ArrayRef>> {
        let sums: Decimal256Array = cells.iter().map(|cell| Some(cell.sum())).collect();
        let counts: Int64Array = cells.iter().map(|cell| Some(cell.count)).collect();
        Ok(vec![Arc::new(sums.with_precision_and_scale(76, 0)?), Arc::new(counts)])
    }

    fn results(cells: &[Self], rule: &SumOf) -> DfResult<ArrayRef> {
        let (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) = (&rule.argument, &rule.result)
        else {
            return exec_err!("a sum of {} cannot be {}", rule.argument, rule.result);
        };
        let of = DecimalResult::new(rule.mean, from.unsigned_abs(), *precision, to.unsigned_abs());
        let value = |cell: &Self| if cell.count == 0 { None } else { of.of(cell.sum(), cell.count) };
        let values: Decimal128Array = cells.iter().map(value).collect();
        Ok(Arc::new(values.with_precision_and_scale(*precision, *to)?))
    }
}

/// After how many values of a group its sum is tidied.
const TIDY_EVERY: i64 = 4_096;

/// A sum of floating-point numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct FloatSum {
    sum: TwoDoubles,
    count: i64,
    /// Few sums have any: they take no place beside the others.
    specials: Option<Box<Specials>>,
}

impl FloatSum {
    fn specials(&self) -> Specials {
        self.specials.as_deref().copied().unwrap_or_default()
    }

    /// Adds a value that is finite.
    #[inline]
    fn add_finite(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1;
        if self.count % TIDY_EVERY == 0 {
            self.sum = self.sum.tidied();
        }
    }

    #[inline]
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.add_finite(value);
        } else {
            self.count += 1;
            self.specials.get_or_insert_default().add(value, 1);
        }
    }
}

/// Whether no value is NaN or infinite: times zero, these are NaN.
fn are_finite(values: &[f64]) -> bool {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut zeros = [0.0; 8];
    for block in blocks {
        for (zero, value) in zeros.iter_mut().zip(block) {
            *zero += value * 0.0;
        }
    }
    zeros.iter().chain(rest).all(|value| value.is_finite())
}

impl Cell for FloatSum {
    type Rule = SumOf;

    fn state_types(_rule: &SumOf) -> Vec<DataType> {
        let mut types = vec![DataType::Float64; 2];
        types.extend(vec![DataType::Int64; 4]);
        types
    }

    fn update(cells: &mut [Self], rule: &SumOf, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        match &rule.argument {
            DataType::Float32 => {
                let array = values[0].as_primitive::<Float32Type>();
                let values = array.values();
                rows.each(array.nulls(), |row, group| cells[group].add(f64::from(values[row])));
            }
            DataType::Float64 => {
                let array = values[0].as_primitive::<Float64Type>();
                let values = array.values();
                if let Some(groups) = rows.all(array.nulls()).filter(|_| are_finite(values)) {
                    groups.iter().zip(values).for_each(|(&group, &value)| cells[group].add_finite(value));
                    return Ok(());
                }
                rows.each(array.nulls(), |row, group| cells[group].add(values[row]));
            }
            other => return exec_err!("floating-point numbers cannot be {other}"),
        }
        Ok(())
    }

    fn update_all(cell: &mut Self, _rule: &SumOf, values: &[ArrayRef]) -> bool {
        let Some(array) = values[0].as_primitive_opt::<Float64Type>().filter(|array| array.null_count() == 0) else {
            return false;
        };
        let Some(sum) = TwoDoubles::of(array.values()) else { return false };
        cell.sum = cell.sum.plus(sum.high, sum.low);
        cell.count += array.len() as i64;
        true
    }

    fn merge(cells: &mut [Self], _rule: &SumOf, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let (high, low) = (states[0].as_primitive::<Float64Type>(), states[1].as_primitive::<Float64Type>());
        let counts: Vec<_> = states[2..].iter().map(|state| state.as_primitive::<Int64Type>()).collect();
        rows.each(None, |row, group| {
            let cell = &mut cells[group];
            cell.sum = cell.sum.plus(high.value(row), low.value(row));
            cell.count += counts[0].value(row);
            let [nans, positive_infinities, negative_infinities] = [1, 2, 3].map(|i| counts[i].value(row));
            let more = Specials { nans, positive_infinities, negative_infinities };
            if more.count() > 0 {
                let specials = cell.specials.get_or_insert_default();
                specials.nans += more.nans;
                specials.positive_infinities += more.positive_infinities;
                specials.negative_infinities += more.negative_infinities;
            }
        });
        Ok(())
    }

    fn states(cells: &[Self], _rule: &SumOf) -> DfResult<Vec<ArrayRef>> {
        let doubles = |of: fn(&Self) -> f64| -> ArrayRef {
            Arc::new(cells.iter().map(|cell| Some(of(cell))).collect::<Float64Array>())
        };
        let counts = |of: fn(&Self) -> i64| -> ArrayRef {
            Arc::new(cells.iter().map(|cell| Some(of(cell))).collect::<Int64Array>())
        };
        Ok(vec![
            doubles(|cell| cell.sum.tidied().high),
            doubles(|cell| cell.sum.tidied().low),
            counts(|cell| cell.count),
            counts(|cell| cell.specials().nans),
            counts(|cell| cell.specials().positive_infinities),
            counts(|cell| cell.specials().negative_infinities),
        ])
    }

    fn results(cells: &[Self], rule: &SumOf) -> DfResult<ArrayRef> {
        let result = |cell: &Self| match rule.mean {
            true => cell.sum.tidied().mean(cell.specials(), cell.count),
            false => cell.sum.tidied().sum(cell.specials()),
        };
        let value = |cell: &Self| (cell.count > 0).then(|| result(cell));
        let values = cells.iter().map(value);
        Ok(match &rule.result {
            DataType::Float32 => Arc::new(values.map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
            DataType::Float64 => Arc::new(values.collect::<Float64Array>()),
            other => return exec_err!("a sum of floating-point numbers cannot be {other}"),
        })
    }
}
