//! Union: all rows of all inputs (`UNION ALL`).
//!
//! Law: linear; weights add up downstream. No state.

use gridhouse_base::{ChangeBatch, Result};

use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, TickContext, Watermark};

/// The operator.
pub(crate) struct Union;

impl Operator for Union {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        out.push(batch.clone());
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        true
    }

    /// The lowest of all inputs, where every input has one for the column.
    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        let lowest = |first: &Watermark| {
            let same = inputs.iter().map(|marks| marks.iter().find(|mark| mark.column == first.column));
            let nanos = same.map(|mark| Some(mark?.nanos)).collect::<Option<Vec<_>>>()?.into_iter().min()?;
            Some(Watermark { column: first.column, nanos })
        };
        Ok(inputs[0].iter().filter_map(lowest).collect())
    }

    fn form(&self) -> Form {
        ("union", 1)
    }

    fn spec(&self) -> String {
        String::new()
    }

    fn share(&mut self) -> Shared {
        Shared::nothing()
    }

    fn thaw(&mut self, _from: &mut StateReader<'_>) -> Result<()> {
        Ok(())
    }
}
