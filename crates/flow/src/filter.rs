//! Filter: the rows for which a condition is true (neither false nor NULL).
//!
//! Law: linear; a withdrawn row passes if its insertion passed, since the condition depends on the row alone. No state.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use gridhouse_base::{ChangeBatch, Result};
use gridhouse_expr::Expr;

use crate::operator::{Operator, Output, TickContext};

/// The operator.
pub(crate) struct Filter {
    condition: Expr,
    seed: u64,
    rows_seen: u64,
}

impl Filter {
    /// Keeps rows where `condition` is true; `seed` is that of random functions.
    pub fn new(condition: Expr, seed: u64) -> Self {
        Self { condition, seed, rows_seen: 0 }
    }
}

impl Operator for Filter {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let context = ctx.eval(self.seed, self.rows_seen);
        self.rows_seen += batch.len() as u64;
        let passed = self.condition.eval_mask(batch.columns(), batch.len(), &context)?;
        if passed.true_count() > 0 {
            out.push(batch.filter(&passed)?);
        }
        Ok(())
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
