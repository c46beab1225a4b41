//! Map: every row becomes the values of some expressions over it, with the same weight.
//!
//! Law: linear; a withdrawn row withdraws its image. No state. Expressions must give the same values for a row whenever
//! they see it, except over append-only inputs; the binder sees to that.

use gridhouse_base::{ChangeBatch, Result, Schema};
use gridhouse_expr::Expr;

use crate::failing::{Failed, Guard};
use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, TickContext, Watermark};

/// The operator.
pub(crate) struct Map {
    expressions: Vec<Expr>,
    guard: Guard,
}

impl Map {
    /// Evaluates `expressions` over rows of `input`; `seed` is that of random functions.
    pub fn new(expressions: Vec<Expr>, input: &Schema, seed: u64) -> Self {
        Self { expressions, guard: Guard::new(input, seed) }
    }
}

impl Operator for Map {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let expressions = &self.expressions;
        let columns = self.guard.evaluate(
            batch,
            |row| batch.weight(row).into(),
            ctx,
            |rows, context| {
                expressions.iter().map(|e| e.eval(rows.columns(), rows.len(), context)).collect::<Result<Vec<_>>>()
            },
        )?;
        let Some(columns) = columns else { return Ok(()) };
        let batch = columns.rest.as_ref().map_or(batch, |(_, rest)| rest);
        out.push(batch.with_columns(columns.value));
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        let passes = |(column, expression): (usize, &Expr)| {
            let from = expression.as_column()?;
            inputs[0].iter().find(|watermark| watermark.column == from).map(|found| Watermark { column, ..*found })
        };
        Ok(self.expressions.iter().enumerate().filter_map(passes).collect())
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.guard.take_failed()
    }

    fn form(&self) -> Form {
        ("map", 1)
    }

    fn spec(&self) -> String {
        format!("{:?}", self.expressions)
    }

    fn share(&mut self) -> Shared {
        self.guard.share()
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.guard.thaw(from)
    }
}
