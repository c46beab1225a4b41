//! Union: all rows of all inputs (`UNION ALL`).
//!
//! Law: linear; weights add up downstream. No state.

use gridhouse_base::{ChangeBatch, Result};

use crate::operator::{Operator, Output, TickContext};

/// The operator.
pub(crate) struct Union;

impl Operator for Union {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        out.push(batch.clone());
        Ok(())
    }
}
