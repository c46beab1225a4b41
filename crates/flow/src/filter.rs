//! Filter: the rows for which a condition is true (neither false nor NULL).
//!
//! Law: linear; a withdrawn row passes if its insertion passed, since the condition depends on the row alone. No state.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use gridhouse_base::{ChangeBatch, Result, Schema};
use gridhouse_expr::Expr;

use crate::failing::{Failed, Guard};
use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, TickContext, Watermark};

/// The operator.
pub(crate) struct Filter {
    condition: Expr,
    guard: Guard,
}

impl Filter {
    /// Keeps rows of `input` where `condition` is true; `seed` is that of random functions.
    pub fn new(condition: Expr, input: &Schema, seed: u64) -> Self {
        Self { condition, guard: Guard::new(input, seed) }
    }
}

impl Operator for Filter {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let condition = &self.condition;
        let passed = self.guard.evaluate(
            batch,
            |row| batch.weight(row).into(),
            ctx,
            |rows, context| condition.eval_mask(rows.columns(), rows.len(), context),
        )?;
        let Some(passed) = passed else { return Ok(()) };
        let batch = passed.rest.as_ref().map_or(batch, |(_, rest)| rest);
        if passed.value.true_count() > 0 {
            out.push(batch.filter(&passed.value)?);
        }
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        Ok(inputs[0].to_vec())
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.guard.take_failed()
    }

    fn form(&self) -> Form {
        ("filter", 1)
    }

    fn spec(&self) -> String {
        format!("{:?}", self.condition)
    }

    fn share(&mut self) -> Shared {
        self.guard.share()
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.guard.thaw(from)
    }
}

/// Where a BOOLEAN column is true; a column of the type of bare NULL is true nowhere.
pub(crate) fn is_true(column: &ArrayRef) -> BooleanArray {
    if column.data_type() == &DataType::Null {
        return BooleanArray::new(arrow_buffer::BooleanBuffer::new_unset(column.len()), None);
    }
    let column = column.as_boolean();
    match column.nulls() {
        Some(nulls) => BooleanArray::new(column.values() & nulls.inner(), None),
        None => column.clone(),
    }
}
