//! Conditions that a scan applies itself: comparisons of a column with constants.
//!
//! They mean what SQL means by them, and exactly that: a row passes where the condition is TRUE, so NULL passes `IS NULL`
//! only. Exact numbers, dates and times are compared by value, texts and bytes by their bytes, floating-point numbers as
//! IEEE 754 says (`NaN` equals nothing, `-0.0 = 0.0`). The same condition tells from the statistics of many rows whether one
//! of them can pass at all. A constant has the column's own Arrow type: making it so is the caller's work.

use std::cmp::Ordering;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Scalar, cast::AsArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_ord::cmp;
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_ord::sort::sort;
use arrow_schema::{ArrowError, DataType, SortOptions};
use gridhouse_base::{Error, Result};

/// Lists of up to this many values are compared one by one, longer ones searched: a kernel's comparison costs about an eighth
/// of a step of the search.
const SHORT_LIST: usize = 24;

/// How a column compares with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Less,
    /// `<=`
    LessEq,
    /// `>`
    Greater,
    /// `>=`
    GreaterEq,
}

impl CompareOp {
    /// The operator as it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
        }
    }
}

/// One condition on one column; see the file's head for its meaning.
#[derive(Clone, Debug)]
pub enum Conjunct {
    /// The column compared with a constant.
    Compare {
        /// The table's column.
        column: usize,
        /// How.
        op: CompareOp,
        /// The constant: one row of the column's type. NULL lets nothing pass.
        value: ArrayRef,
    },
    /// The column equals one of some constants.
    InList {
        /// The table's column.
        column: usize,
        /// The constants, of the column's type; NULL among them equals nothing.
        values: ArrayRef,
    },
    /// The column is NULL.
    IsNull(usize),
    /// The column is not NULL.
    IsNotNull(usize),
}

/// What is known of a column over some rows; rows that are no longer alive may be among them.
#[derive(Clone, Debug)]
pub struct ColumnStatistics {
    /// How many rows there are.
    pub rows: usize,
    /// How many of them are NULL in this column.
    pub nulls: usize,
    /// One row that no value is below, if there is a value and its least is known. Where floating-point numbers are ordered,
    /// NaN may count as the largest (with its sign: the least) or be left out.
    pub min: Option<ArrayRef>,
    /// One row that no value is above, likewise.
    pub max: Option<ArrayRef>,
    /// Whether the values ascend from row to row, none of them NULL.
    pub is_sorted: bool,
}

impl Conjunct {
    /// The column that is looked at.
    pub fn column(&self) -> usize {
        match self {
            Self::Compare { column, .. } | Self::InList { column, .. } | Self::IsNull(column) => *column,
            Self::IsNotNull(column) => *column,
        }
    }

    /// Checks that the condition fits columns of `types`.
    ///
    /// # Errors
    /// `Invalid` where there is no such column, a constant is of another type, or values of the type have no order.
    pub fn check(&self, types: &[DataType]) -> Result<()> {
        let column = self.column();
        let Some(data_type) = types.get(column) else {
            return Err(Error::invalid(format!("a condition names column number {column} of {}", types.len())));
        };
        let (given, rows) = match self {
            Self::Compare { value, .. } => (value, Some(1)),
            Self::InList { values, .. } => (values, None),
            Self::IsNull(_) | Self::IsNotNull(_) => return Ok(()),
        };
        if data_type.is_nested() || given.data_type() != data_type {
            let given = given.data_type();
            return Err(Error::invalid(format!(
                "column number {column} of {data_type} cannot be compared with {given}"
            )));
        }
        if rows.is_some_and(|rows| rows != given.len()) {
            return Err(Error::invalid(format!("column number {column} is compared with {} values", given.len())));
        }
        Ok(())
    }

    /// Where the condition is true of `column`'s values; the mask holds no NULL.
    ///
    /// # Errors
    /// `Internal` where the condition has not been checked.
    pub fn mask(&self, column: &ArrayRef) -> Result<BooleanArray> {
        let values = match self {
            Self::Compare { value, .. } if value.is_null(0) => BooleanBuffer::new_unset(column.len()),
            Self::Compare { op, value, .. } => compared(column, *op, value)?,
            Self::InList { values, .. } => listed(column, values)?,
            Self::IsNull(_) => match column.logical_nulls() {
                Some(nulls) => !nulls.inner(),
                None => BooleanBuffer::new_unset(column.len()),
            },
            Self::IsNotNull(_) => match column.logical_nulls() {
                Some(nulls) => nulls.into_inner(),
                None => BooleanBuffer::new_set(column.len()),
            },
        };
        Ok(BooleanArray::new(values, None))
    }

    /// Whether a row among those of `statistics` can pass; `false` only where none does.
    pub fn may_match(&self, statistics: &ColumnStatistics) -> bool {
        let has_values = statistics.nulls < statistics.rows;
        match self {
            Self::IsNull(_) => statistics.nulls > 0,
            Self::IsNotNull(_) => has_values,
            Self::Compare { op, value, .. } => has_values && value.is_valid(0) && within(*op, value, 0, statistics),
            Self::InList { values, .. } => {
                let found = |i| values.is_valid(i) && within(CompareOp::Eq, values, i, statistics);
                has_values && (0..values.len()).any(found)
            }
        }
    }
}

/// Whether a value between the least and the largest can compare so with row `i` of `constants`, which is not NULL.
fn within(op: CompareOp, constants: &ArrayRef, i: usize, statistics: &ColumnStatistics) -> bool {
    let (Some(min), Some(max)) = (&statistics.min, &statistics.max) else { return true };
    let (Some(least), Some(largest)) = (order_of(min, 0, constants, i), order_of(max, 0, constants, i)) else {
        // A constant or bound that is NaN tells nothing.
        return true;
    };
    match op {
        CompareOp::Eq => least.is_le() && largest.is_ge(),
        // NaN, which may be outside the bounds, differs from every constant.
        CompareOp::NotEq => constants.data_type().is_floating() || !(least.is_eq() && largest.is_eq()),
        CompareOp::Less => least.is_lt(),
        CompareOp::LessEq => least.is_le(),
        CompareOp::Greater => largest.is_gt(),
        CompareOp::GreaterEq => largest.is_ge(),
    }
}

/// The order of a value of `a` and one of `b`, neither NULL; `None` where there is none.
pub(crate) fn order_of(a: &ArrayRef, i: usize, b: &ArrayRef, j: usize) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_primitive_opt::<Float64Type>(), b.as_primitive_opt::<Float64Type>()) {
        return a.value(i).partial_cmp(&b.value(j));
    }
    if let (Some(a), Some(b)) = (a.as_primitive_opt::<Float32Type>(), b.as_primitive_opt::<Float32Type>()) {
        return a.value(i).partial_cmp(&b.value(j));
    }
    let order: DynComparator = make_comparator(a, b, SortOptions::default()).ok()?;
    Some(order(i, j))
}

fn refused(error: ArrowError) -> Error {
    Error::internal("a condition could not be applied").caused_by(error)
}

fn compared(column: &ArrayRef, op: CompareOp, value: &ArrayRef) -> Result<BooleanBuffer> {
    match column.data_type() {
        DataType::Float32 => return compared_floats::<Float32Type>(column, op, value),
        DataType::Float64 => return compared_floats::<Float64Type>(column, op, value),
        _ => {}
    }
    let kernel = match op {
        CompareOp::Eq => cmp::eq,
        CompareOp::NotEq => cmp::neq,
        CompareOp::Less => cmp::lt,
        CompareOp::LessEq => cmp::lt_eq,
        CompareOp::Greater => cmp::gt,
        CompareOp::GreaterEq => cmp::gt_eq,
    };
    let result = kernel(column, &Scalar::new(value.clone())).map_err(refused)?;
    Ok(truths(result.values(), result.nulls()))
}

fn truths(values: &BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls {
        Some(nulls) => values & nulls.inner(),
        None => values.clone(),
    }
}

fn compared_floats<T: ArrowPrimitiveType>(column: &ArrayRef, op: CompareOp, value: &ArrayRef) -> Result<BooleanBuffer>
where
    T::Native: PartialOrd,
{
    let (Some(column), Some(value)) = (column.as_primitive_opt::<T>(), value.as_primitive_opt::<T>()) else {
        return Err(Error::internal("a condition compares a floating-point column with a constant of another type"));
    };
    let (values, constant) = (column.values(), value.value(0));
    let bits = |test: fn(T::Native, T::Native) -> bool| {
        BooleanBuffer::collect_bool(values.len(), |i| test(values[i], constant))
    };
    let bits = match op {
        CompareOp::Eq => bits(|a, b| a == b),
        CompareOp::NotEq => bits(|a, b| a != b),
        CompareOp::Less => bits(|a, b| a < b),
        CompareOp::LessEq => bits(|a, b| a <= b),
        CompareOp::Greater => bits(|a, b| a > b),
        CompareOp::GreaterEq => bits(|a, b| a >= b),
    };
    Ok(truths(&bits, column.nulls()))
}

fn listed(column: &ArrayRef, values: &ArrayRef) -> Result<BooleanBuffer> {
    let is_float = column.data_type().is_floating();
    if values.len() <= SHORT_LIST || is_float {
        let mut found = BooleanBuffer::new_unset(column.len());
        for i in (0..values.len()).filter(|&i| values.is_valid(i)) {
            found = &found | &compared(column, CompareOp::Eq, &values.slice(i, 1))?;
        }
        return Ok(found);
    }
    let sorted = sort(values, Some(SortOptions { descending: false, nulls_first: true })).map_err(refused)?;
    let first = sorted.null_count();
    let order = make_comparator(column, &sorted, SortOptions::default()).map_err(refused)?;
    let is_in = |row: usize| {
        let (mut low, mut high) = (first, sorted.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match order(row, middle) {
                Ordering::Equal => return true,
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
            }
        }
        false
    };
    Ok(BooleanBuffer::collect_bool(column.len(), |row| column.is_valid(row) && is_in(row)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    const OPS: [CompareOp; 6] =
        [CompareOp::Eq, CompareOp::NotEq, CompareOp::Less, CompareOp::LessEq, CompareOp::Greater, CompareOp::GreaterEq];

    fn bits(conjunct: &Conjunct, column: &ArrayRef) -> Vec<bool> {
        conjunct.check(&[column.data_type().clone()]).unwrap();
        let mask = conjunct.mask(column).unwrap();
        assert_eq!(mask.null_count(), 0);
        mask.values().iter().collect()
    }

    fn compare(op: CompareOp, value: ArrayRef) -> Conjunct {
        Conjunct::Compare { column: 0, op, value }
    }

    #[test]
    fn null_passes_only_the_test_for_it() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let value: ArrayRef = Arc::new(Int64Array::from(vec![3]));
        assert_eq!(bits(&compare(CompareOp::NotEq, value.clone()), &column), [true, false, false]);
        assert_eq!(bits(&compare(CompareOp::GreaterEq, value), &column), [false, false, true]);
        assert_eq!(bits(&Conjunct::IsNull(0), &column), [false, true, false]);
        assert_eq!(bits(&Conjunct::IsNotNull(0), &column), [true, false, true]);
        let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        for op in OPS {
            assert_eq!(bits(&compare(op, null.clone()), &column), [false; 3]);
        }
        let values: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(3)]));
        assert_eq!(bits(&Conjunct::InList { column: 0, values }, &column), [false, false, true]);
    }

    #[test]
    fn floats_compare_by_ieee_754() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -0.0, 0.0, 1.0]));
        let zero: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
        assert_eq!(bits(&compare(CompareOp::Eq, zero.clone()), &column), [false, true, true, false]);
        assert_eq!(bits(&compare(CompareOp::Less, zero.clone()), &column), [false; 4]);
        assert_eq!(bits(&compare(CompareOp::NotEq, zero), &column), [true, false, false, true]);
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
        assert_eq!(bits(&compare(CompareOp::Eq, nan.clone()), &column), [false; 4]);
        assert_eq!(bits(&Conjunct::InList { column: 0, values: nan }, &column), [false; 4]);
    }

    #[test]
    fn long_lists_find_what_short_ones_find() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("馈线7"), None, Some(""), Some("b1"), Some("b")]));
        let mut all: Vec<Option<String>> = (0..40).map(|i| Some(format!("b{i}"))).collect();
        all.extend([None, Some(String::new()), Some("馈线7".into())]);
        let long: ArrayRef = Arc::new(StringArray::from(all));
        let long = Conjunct::InList { column: 0, values: long };
        assert_eq!(bits(&long, &texts), [true, false, true, true, false]);
    }

    /// Whatever passes the condition, its statistics let it pass: over small sets of values with every operator.
    #[test]
    fn statistics_never_rule_out_a_row_that_passes() {
        let palette = [None, Some(f64::NAN), Some(-1.0), Some(-0.0), Some(0.0), Some(2.5)];
        let mut ruled_out = 0;
        for mask in 1_u32..1 << palette.len() {
            let rows: Vec<_> = (0..palette.len()).filter(|i| mask >> i & 1 == 1).map(|i| palette[i]).collect();
            let numbers: Vec<f64> = rows.iter().flatten().copied().filter(|v| !v.is_nan()).collect();
            let bound = |value: Option<f64>| value.map(|v| Arc::new(Float64Array::from(vec![v])) as ArrayRef);
            let statistics = ColumnStatistics {
                rows: rows.len(),
                nulls: rows.iter().filter(|v| v.is_none()).count(),
                min: bound(numbers.iter().copied().min_by(f64::total_cmp)),
                max: bound(numbers.iter().copied().max_by(f64::total_cmp)),
                is_sorted: false,
            };
            let column: ArrayRef = Arc::new(Float64Array::from(rows));
            let constants = [f64::NAN, -1.0, 0.0, -0.0, 1.0, 2.5, 9.0];
            let mut conjuncts = vec![Conjunct::IsNull(0), Conjunct::IsNotNull(0)];
            for constant in constants {
                let value: ArrayRef = Arc::new(Float64Array::from(vec![constant]));
                conjuncts.extend(OPS.map(|op| compare(op, value.clone())));
                conjuncts.push(Conjunct::InList { column: 0, values: value });
            }
            for conjunct in conjuncts {
                let passes = bits(&conjunct, &column).contains(&true);
                let may = conjunct.may_match(&statistics);
                assert!(may || !passes, "{conjunct:?} over {column:?}");
                ruled_out += usize::from(!may);
            }
        }
        assert!(ruled_out > 500, "statistics rule out {ruled_out}");
    }

    #[test]
    fn a_constant_of_another_type_is_refused() {
        let value: ArrayRef = Arc::new(Int64Array::from(vec![3]));
        let error = compare(CompareOp::Eq, value.clone()).check(&[DataType::Int32]).unwrap_err();
        assert_eq!(error.message(), "column number 0 of Int32 cannot be compared with Int64");
        assert!(Conjunct::InList { column: 1, values: value }.check(&[DataType::Int64]).is_err());
    }
}
