//! Map: every row becomes the values of some expressions over it, with the same weight.
//!
//! Law: linear; a withdrawn row withdraws its image. No state. Expressions must give the same values for a row whenever
//! they see it, except over append-only inputs; the binder sees to that.

use gridhouse_base::{ChangeBatch, Result};
use gridhouse_expr::Expr;

use crate::operator::{Operator, Output, TickContext};

/// The operator.
pub(crate) struct Map {
    expressions: Vec<Expr>,
    seed: u64,
    rows_seen: u64,
}

impl Map {
    /// Evaluates `expressions`; `seed` is that of random functions.
    pub fn new(expressions: Vec<Expr>, seed: u64) -> Self {
        Self { expressions, seed, rows_seen: 0 }
    }
}

impl Operator for Map {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let context = ctx.eval(self.seed, self.rows_seen);
        self.rows_seen += batch.len() as u64;
        let columns = self.expressions.iter().map(|e| e.eval(batch.columns(), batch.len(), &context));
        out.push(batch.with_columns(columns.collect::<Result<_>>()?));
        Ok(())
    }
}
