//! The rows of a write, in parts that have room in one statement.
//!
//! What always holds: a statement has at most [`STATEMENT_ROWS`] rows, and [`STATEMENT_BYTES`] of parameters where it has more than
//! one row. So the memory that a write takes here and there does not depend on how much is written, and only a single row can be too large
//! for the server.

use gridhouse_base::batch::{KindBatch, RowKind, bytes_of};
use gridhouse_base::{ChangeBatch, Error, Result, Value};
use gridhouse_flow::connector::SinkChanges;

use crate::postgres::parameters::Parameter;
use crate::postgres::sink_plan::Plan;

/// Rows of one statement at most: large enough that the round trip does not count.
pub(super) const STATEMENT_ROWS: usize = 16_384;

/// Bytes of the parameters of one statement at most, as long as it has more than one row: a few copies of them are nothing for
/// a process, and the server, which takes messages of a gigabyte, has room to work on them.
pub(super) const STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of one row at most: PostgreSQL closes the connection at a message of more than what it allocates at once (`MaxAllocSize` in its
/// `memutils.h`, 1 GiB), which also holds the names and formats of the parameters.
pub(super) const ROW_BYTES: usize = (1 << 30) - (1 << 16);

/// Bytes of parameters.
pub(super) fn bytes_sent(parameters: &[Parameter]) -> usize {
    parameters.iter().map(Parameter::len).sum()
}

/// The rows of a write as they come: enough for a statement at a time, so that memory is bounded and a small write is known to be
/// one.
pub(super) struct Chunks<'a, 'b> {
    pub(super) changes: &'a mut SinkChanges<'b>,
    /// Nothing comes any more.
    pub(super) is_done: bool,
}

impl Chunks<'_, '_> {
    pub(super) fn next(&mut self, plan: &Plan) -> Result<Changes> {
        let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while rows < STATEMENT_ROWS && bytes < STATEMENT_BYTES {
            let Some(batch) = self.changes.next() else {
                self.is_done = true;
                break;
            };
            let batch = batch?;
            rows += batch.len();
            bytes += bytes_of(&batch.columns);
            batches.push(batch);
        }
        Changes::gather(&batches, plan)
    }
}

/// The rows of a write, or of a part of it.
pub(super) struct Changes {
    pub(super) batch: ChangeBatch,
    pub(super) written: Vec<usize>,
    pub(super) deleted: Vec<usize>,
    bytes: usize,
}

impl Changes {
    fn gather(changes: &[KindBatch], plan: &Plan) -> Result<Self> {
        let keyed = !plan.key.is_empty();
        let batches: Vec<ChangeBatch> = changes
            .iter()
            .filter(|batch| !batch.is_empty())
            .map(|batch| ChangeBatch::insertions(batch.columns.clone(), batch.len()))
            .collect();
        let kinds = changes.iter().flat_map(|batch| batch.kinds.iter());
        let (mut written, mut deleted) = (Vec::new(), Vec::new());
        for (row, kind) in kinds.enumerate() {
            match kind {
                RowKind::Insert | RowKind::UpdateAfter => written.push(row),
                RowKind::Delete if keyed => deleted.push(row),
                RowKind::UpdateBefore if keyed => {}
                RowKind::Delete | RowKind::UpdateBefore => {
                    return Err(Error::invalid(format!(
                        "table {} is declared without a key and can only be added to",
                        plan.key()
                    ))
                    .hint("declare PRIMARY KEY (…) NOT ENFORCED in the sink table"));
                }
            }
        }
        let batch =
            if batches.is_empty() { ChangeBatch::new(Vec::new(), 0, None) } else { ChangeBatch::concat(&batches)? };
        let bytes = bytes_of(batch.columns());
        Ok(Self { batch, written, deleted, bytes })
    }

    /// Whether one statement that deletes and one that inserts may do.
    pub(super) fn is_small(&self) -> bool {
        self.deleted.len().max(self.written.len()) <= STATEMENT_ROWS && self.bytes <= STATEMENT_BYTES
    }

    /// How many of `rows`, from the first, go with one statement, and its parameters as `prepared` makes them: as many as have room
    /// in it, and one in any case.
    pub(super) fn fitting(
        &self,
        rows: &[usize],
        prepared: impl Fn(&[usize]) -> Vec<Parameter>,
    ) -> (usize, Vec<Parameter>) {
        // By what a row takes on average, so that little more is prepared than is sent.
        let some = STATEMENT_BYTES * self.batch.len().max(1) / self.bytes.max(1);
        let mut take = rows.len().min(STATEMENT_ROWS).min(some.max(1));
        loop {
            let parameters = prepared(&rows[..take]);
            if take == 1 || bytes_sent(&parameters) <= STATEMENT_BYTES {
                return (take, parameters);
            }
            take = take.div_ceil(4);
        }
    }

    /// A row for a message: its key, or all of it.
    pub(super) fn show(&self, plan: &Plan, row: usize) -> String {
        let shown: Vec<usize> = if plan.key.is_empty() { (0..plan.columns.len()).collect() } else { plan.key.clone() };
        let parts = shown.iter().map(|&i| {
            let column = &plan.columns[i];
            let value = Value::from_array(self.batch.column(column.index), row, &column.kind);
            let mut text = format!("{} = ", column.name);
            crate::show::value(&value, &column.kind, &mut text);
            text
        });
        format!("({})", parts.collect::<Vec<_>>().join(", "))
    }
}
