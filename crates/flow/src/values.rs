//! Values: constant rows.
//!
//! Law: the rows come in the first tick, once, and are never withdrawn. State: the rows until then.

use gridhouse_base::{ChangeBatch, Result};

use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, TickContext};

/// The operator.
pub(crate) struct Values {
    rows: Option<ChangeBatch>,
}

impl Values {
    /// Gives out `rows` in the first tick.
    pub fn new(rows: ChangeBatch) -> Self {
        Self { rows: Some(rows) }
    }
}

impl Operator for Values {
    fn push(&mut self, _port: usize, _batch: &ChangeBatch, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        out.extend(self.rows.take());
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn form(&self) -> Form {
        ("values", 1)
    }

    fn spec(&self) -> String {
        String::new()
    }

    fn share(&mut self) -> Shared {
        let given = self.rows.is_none();
        Shared::new(move |_, out| {
            out.flag(given);
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        if from.flag()? {
            self.rows = None;
        }
        Ok(())
    }
}
