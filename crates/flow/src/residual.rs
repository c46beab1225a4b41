//! The residual condition of a join: what pairs of rows must meet beside equal keys.

use arrow_array::BooleanArray;
use arrow_array::builder::BooleanBufferBuilder;
use arrow_buffer::BooleanBuffer;
use gridhouse_base::{ChangeBatch, Result, Schema};
use gridhouse_expr::Expr;

use crate::failing::Guard;
use crate::operator::TickContext;

/// A condition over the columns of both sides.
pub(crate) struct Residual {
    pub condition: Expr,
    /// Looks after pairs for which the condition fails.
    pub guard: Guard,
}

/// What became of some pairs.
pub(crate) struct Judged {
    /// Which meet the condition.
    pub passed: BooleanArray,
    /// The pairs for which it failed; they count as pairs that do not meet it.
    pub failed: Vec<usize>,
}

impl Residual {
    /// `condition` over rows of `pairs`; `seed` is that of random functions.
    pub fn new(condition: Expr, pairs: &Schema, seed: u64) -> Self {
        Self { condition, guard: Guard::new(pairs, seed) }
    }

    /// Judges pairs, whose weights are these.
    ///
    /// # Errors
    /// `Invalid` where the condition fails for too many pairs.
    pub fn judge(&mut self, pairs: &ChangeBatch, weights: &[i64], ctx: &TickContext) -> Result<Judged> {
        let condition = &self.condition;
        let judged = self.guard.evaluate(
            pairs,
            |pair| weights[pair],
            ctx,
            |pairs, context| condition.eval_mask(pairs.columns(), pairs.len(), context),
        )?;
        let Some(judged) = judged else {
            let none = BooleanArray::new(BooleanBuffer::new_unset(pairs.len()), None);
            return Ok(Judged { passed: none, failed: (0..pairs.len()).collect() });
        };
        let Some((sound, _)) = judged.rest else { return Ok(Judged { passed: judged.value, failed: Vec::new() }) };
        let mut passed = BooleanBufferBuilder::new(pairs.len());
        let (mut failed, mut next) = (Vec::new(), 0);
        for pair in 0..pairs.len() {
            if sound.value(pair) {
                passed.append(judged.value.value(next));
                next += 1;
            } else {
                passed.append(false);
                failed.push(pair);
            }
        }
        Ok(Judged { passed: BooleanArray::new(passed.finish(), None), failed })
    }
}
