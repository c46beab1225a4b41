//! State that cannot be cut, since it has no key: grand totals, top-N without partitions, cross joins, and what a look-up join
//! has found outside.
//!
//! Law: that of the operator inside. Its memory counts against the budget, so that others leave for it, but it cannot leave
//! itself. Where all such state together is more than the budget, the operator that still grows refuses to: its job fails
//! with the reason instead of taking the memory of the machine.

use std::sync::Arc;

use gridhouse_base::{ChangeBatch, Error, Result};

use super::Governor;
use super::governor::Piece;
use crate::failing::Failed;
use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, StateSize, TickContext, Watermark};

/// An operator that stays in memory.
pub(crate) struct Anchored {
    operator: Box<dyn Operator>,
    governor: Arc<Governor>,
    piece: Arc<Piece>,
}

impl Anchored {
    /// `operator` under `governor`.
    pub fn new(operator: Box<dyn Operator>, governor: Arc<Governor>) -> Self {
        let piece = governor.anchored_piece();
        Self { operator, governor, piece }
    }

    /// Tells the governor how much is held.
    ///
    /// # Errors
    /// `Invalid` where it has grown and that is too much.
    fn note(&self) -> Result<()> {
        let (before, bytes) = (self.piece.bytes(), self.operator.state().bytes);
        self.piece.touch(bytes);
        let (anchored, most) = (self.governor.anchored_bytes(), self.governor.most_anchored_bytes());
        if bytes <= before || anchored <= most {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "state without a key cannot leave memory, and there is more of it than the {} MiB that state may take: {} MiB, {} MiB \
             of them here",
            most >> 20,
            anchored >> 20,
            bytes >> 20
        ))
        .hint("group or partition by a column, or raise job_state_memory"))
    }
}

impl Operator for Anchored {
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        self.operator.push(port, batch, ctx, out)
    }

    fn finish(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        self.operator.finish(ctx, out)?;
        self.note()
    }

    fn work(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        self.operator.work(ctx, out)?;
        self.note()
    }

    fn state(&self) -> StateSize {
        self.operator.state()
    }

    fn is_stateless(&self) -> bool {
        self.operator.is_stateless()
    }

    fn gives_each_row_once(&self) -> bool {
        self.operator.gives_each_row_once()
    }

    fn turn(&self, port: usize) -> usize {
        self.operator.turn(port)
    }

    fn answers_at_once(&self) -> bool {
        self.operator.answers_at_once()
    }

    fn begin_batch(&mut self, number: u64) {
        self.operator.begin_batch(number);
    }

    fn leave_open(&mut self, last: &[(u64, bool)]) {
        self.operator.leave_open(last);
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        self.operator.advance(inputs)
    }

    fn late_rows(&self) -> u64 {
        self.operator.late_rows()
    }

    fn form(&self) -> Form {
        self.operator.form()
    }

    fn spec(&self) -> String {
        self.operator.spec()
    }

    fn share(&mut self) -> Shared {
        self.operator.share()
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.operator.thaw(from)?;
        self.note()
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.operator.take_failed()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gridhouse_base::ErrorKind;
    use gridhouse_base::fs::DiskFileSystem;

    use super::*;

    /// Holds so many bytes.
    struct Holds(usize);

    impl Operator for Holds {
        fn push(&mut self, _: usize, batch: &ChangeBatch, _: &TickContext, _: &mut Output) -> Result<()> {
            self.0 = self.0.wrapping_add_signed(batch.weight(0) as isize * (40 << 20));
            Ok(())
        }

        fn state(&self) -> StateSize {
            StateSize { rows: 1, bytes: self.0 }
        }

        fn form(&self) -> Form {
            ("holds", 1)
        }

        fn spec(&self) -> String {
            String::new()
        }

        fn share(&mut self) -> Shared {
            Shared::nothing()
        }

        fn thaw(&mut self, _: &mut StateReader<'_>) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_grows_beyond_the_budget_is_refused_and_what_shrinks_is_not() {
        let dir = Path::new("/nowhere");
        let governor = Governor::new(Arc::new(DiskFileSystem), dir, 100 << 20).unwrap();
        let mut operators = [0, 0].map(|bytes| Anchored::new(Box::new(Holds(bytes)), governor.clone()));
        let ctx = TickContext { now_micros: 0, zone: chrono_tz::UTC };
        let mut step = |which: usize, weight: i32| {
            let batch = ChangeBatch::new(Vec::new(), 1, Some(vec![weight].into()));
            operators[which].push(0, &batch, &ctx, &mut Output::new()).unwrap();
            operators[which].finish(&ctx, &mut Output::new())
        };
        step(0, 1).unwrap();
        step(1, 1).unwrap();
        assert_eq!(governor.used_bytes(), 80 << 20);
        let error = step(1, 1).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.remedy().is_some(), "{error}");
        assert!(error.message().contains("120 MiB, 80 MiB of them here"), "{error}");
        step(1, -1).unwrap();
        step(0, -1).unwrap();
        step(1, 1).unwrap();
        assert!(!governor.choose(), "nothing of it can leave");
        drop(operators);
        assert_eq!((governor.used_bytes(), governor.anchored_bytes()), (0, 0));
    }
}
