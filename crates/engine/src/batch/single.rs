//! Two aggregate functions whose meaning is ours: MIN and MAX of floating-point numbers, and SINGLE_VALUE.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array, new_empty_array};
use arrow_schema::DataType;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue, exec_err};
use gridhouse_base::Error;

use super::cells::{Cell, Selected};

/// The least or largest number in IEEE 754's total order: NaN is above everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FloatExtreme {
    best: Option<f64>,
}

/// Which extreme of what.
#[derive(Clone, Debug)]
pub(super) struct ExtremeOf {
    /// The largest instead of the least.
    pub largest: bool,
    /// FLOAT or DOUBLE.
    pub data_type: DataType,
}

impl Cell for FloatExtreme {
    type Rule = ExtremeOf;

    fn state_types(rule: &ExtremeOf) -> Vec<DataType> {
        vec![rule.data_type.clone()]
    }

    fn update(cells: &mut [Self], rule: &ExtremeOf, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let mut add = |group: usize, value: f64| {
            let best = &mut cells[group].best;
            let is_better = best.is_none_or(|best| {
                let order = value.total_cmp(&best);
                if rule.largest { order.is_gt() } else { order.is_lt() }
            });
            if is_better {
                *best = Some(value);
            }
        };
        match &rule.data_type {
            DataType::Float32 => {
                let array = values[0].as_primitive::<Float32Type>();
                rows.each(array.nulls(), |row, group| add(group, f64::from(array.value(row))));
            }
            DataType::Float64 => {
                let array = values[0].as_primitive::<Float64Type>();
                rows.each(array.nulls(), |row, group| add(group, array.value(row)));
            }
            other => return exec_err!("floating-point numbers cannot be {other}"),
        }
        Ok(())
    }

    fn merge(cells: &mut [Self], rule: &ExtremeOf, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        Self::update(cells, rule, states, rows)
    }

    fn states(cells: &[Self], rule: &ExtremeOf) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![Self::results(cells, rule)?])
    }

    fn results(cells: &[Self], rule: &ExtremeOf) -> DfResult<ArrayRef> {
        let values = cells.iter().map(|cell| cell.best);
        Ok(match &rule.data_type {
            DataType::Float32 => Arc::new(values.map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
            _ => Arc::new(values.collect::<Float64Array>()),
        })
    }
}

/// The value of the only row; NULL is a value like others.
#[derive(Clone, Debug, Default)]
pub(super) struct SingleValue {
    value: Option<ScalarValue>,
    rows: i64,
}

impl Cell for SingleValue {
    type Rule = DataType;

    fn state_types(rule: &DataType) -> Vec<DataType> {
        vec![rule.clone(), DataType::Int64]
    }

    fn update(cells: &mut [Self], _rule: &DataType, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let mut failed = Ok(());
        rows.each(None, |row, group| {
            let cell = &mut cells[group];
            cell.rows += 1;
            if cell.rows == 1 {
                match ScalarValue::try_from_array(&values[0], row) {
                    Ok(value) => cell.value = Some(value),
                    Err(error) => failed = Err(error),
                }
            }
        });
        failed
    }

    fn merge(cells: &mut [Self], _rule: &DataType, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()> {
        let counts = states[1].as_primitive::<Int64Type>();
        let mut failed = Ok(());
        rows.each(None, |row, group| {
            let cell = &mut cells[group];
            if counts.value(row) > 0 && cell.rows == 0 {
                match ScalarValue::try_from_array(&states[0], row) {
                    Ok(value) => cell.value = Some(value),
                    Err(error) => failed = Err(error),
                }
            }
            cell.rows += counts.value(row);
        });
        failed
    }

    fn states(cells: &[Self], rule: &DataType) -> DfResult<Vec<ArrayRef>> {
        let counts: Int64Array = cells.iter().map(|cell| Some(cell.rows)).collect();
        Ok(vec![values_of(cells, rule)?, Arc::new(counts)])
    }

    fn results(cells: &[Self], rule: &DataType) -> DfResult<ArrayRef> {
        if let Some(cell) = cells.iter().find(|cell| cell.rows > 1) {
            let error = Error::invalid(format!("a scalar subquery gives {} rows", cell.rows));
            return Err(DataFusionError::External(Box::new(error)));
        }
        values_of(cells, rule)
    }
}

fn values_of(cells: &[SingleValue], rule: &DataType) -> DfResult<ArrayRef> {
    if cells.is_empty() {
        return Ok(new_empty_array(rule));
    }
    let null = ScalarValue::try_from(rule)?;
    ScalarValue::iter_to_array(cells.iter().map(|cell| cell.value.clone().unwrap_or_else(|| null.clone())))
}
