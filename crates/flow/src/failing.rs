//! Rows for which an expression has no result: found, named and, where the dataflow keeps errors, left out.
//!
//! A batch is evaluated as a whole. Only where that fails it is halved until the rows that fail stand alone, so that rows
//! that do not fail cost nothing. Without kept errors the first such row is named in the error of the tick. With them the
//! rows are gathered with their errors and weights, and everything else goes on. An expression depends on its row alone, so
//! the withdrawal of a row that failed fails in the same way and gives the same error with the opposite weight: the sum
//! of all errors is what the rows that are there now would give.

use std::fmt::Write;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use chrono_tz::Tz;
use gridhouse_base::{ChangeBatch, Error, ErrorKind, Result, Schema, TypeKind};
use gridhouse_expr::EvalContext;
use gridhouse_expr::text::format_value;

use crate::operator::TickContext;

/// The most characters of a row that a message shows: enough to know the row by, little enough for a line of a log, and a
/// chunk of rows that all fail stays within some tens of megabytes.
const ROW_TEXT_CHARS: usize = 400;

/// A row that an operator left out because an expression failed for it.
#[derive(Debug)]
pub struct RowError {
    /// The operator's node.
    pub node: usize,
    /// What the operator is: its label, or its name.
    pub operator: String,
    /// The row that the operator was given, in Flink's text form; of a join, the pair.
    pub row: String,
    /// Why it failed.
    pub error: Error,
    /// How many times the row came; negative where it was withdrawn.
    pub weight: i64,
}

/// A row that failed, before the dataflow adds where.
pub(crate) struct Failed {
    /// The row in words.
    pub row: String,
    /// Why.
    pub error: Error,
    /// The row's weight.
    pub weight: i64,
}

/// A row in words, `(1, 华东, NULL)`, cut where it is long.
pub(crate) fn row_text(columns: &[ArrayRef], row: usize, kinds: &[TypeKind], zone: Tz) -> String {
    let mut text = String::from("(");
    for (i, (column, kind)) in columns.iter().zip(kinds).enumerate() {
        let value = format_value(column, row, kind, zone);
        let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, value.as_deref().unwrap_or("NULL"));
        if text.len() > 4 * ROW_TEXT_CHARS {
            break;
        }
    }
    match text.char_indices().nth(ROW_TEXT_CHARS) {
        Some((end, _)) => format!("{}…)", &text[..end]),
        None => text + ")",
    }
}

/// Evaluates expressions of one operator and looks after the rows for which they fail.
pub(crate) struct Guard {
    kinds: Vec<TypeKind>,
    seed: u64,
    rows_seen: u64,
    keeps: bool,
    failed: Vec<Failed>,
}

/// What an evaluation gave.
pub(crate) struct Evaluated<T> {
    /// The result over the rows that did not fail.
    pub value: T,
    /// Where rows were left out: which are still there, and those.
    pub rest: Option<(BooleanArray, ChangeBatch)>,
}

impl Guard {
    /// For expressions over rows of `schema`; `seed` is that of random functions.
    pub fn new(schema: &Schema, seed: u64) -> Self {
        let kinds = schema.columns.iter().map(|column| column.sql_type.kind.clone()).collect();
        Self { kinds, seed, rows_seen: 0, keeps: false, failed: Vec::new() }
    }

    /// From now on rows that fail are gathered.
    pub fn keep(&mut self) {
        self.keeps = true;
    }

    /// The rows gathered since the last call.
    pub fn take_failed(&mut self) -> Vec<Failed> {
        std::mem::take(&mut self.failed)
    }

    /// Evaluates `eval` over the rows of `batch`, or over those of them for which it does not fail; `None` where it fails for
    /// all of them.
    ///
    /// # Errors
    /// Where errors are not kept, that of the first row that fails, naming it; always a defect of ours.
    pub fn evaluate<T>(
        &mut self,
        batch: &ChangeBatch,
        ctx: &TickContext,
        eval: impl Fn(&ChangeBatch, &EvalContext) -> Result<T>,
    ) -> Result<Option<Evaluated<T>>> {
        let first_row = self.rows_seen;
        self.rows_seen += batch.len() as u64;
        let whole = match eval(batch, &ctx.eval(self.seed, first_row)) {
            Ok(value) => return Ok(Some(Evaluated { value, rest: None })),
            Err(error) => error,
        };
        let mut failing = Vec::new();
        let wanted = if self.keeps { usize::MAX } else { 1 };
        let context = |offset: usize| ctx.eval(self.seed, first_row + offset as u64);
        find(batch, 0, wanted, &|part, offset| eval(part, &context(offset)).map(|_| ()), &mut failing)?;
        if failing.is_empty() {
            return Err(whole);
        }
        let text = |row: usize| row_text(batch.columns(), row, &self.kinds, ctx.zone);
        if !self.keeps {
            let (row, error) = failing.remove(0);
            return Err(error.detail(format!("in row {}", text(row))));
        }
        let mut sound = vec![true; batch.len()];
        for (row, error) in failing {
            sound[row] = false;
            self.failed.push(Failed { row: text(row), error, weight: batch.weight(row).into() });
        }
        let sound = BooleanArray::new(BooleanBuffer::from(sound), None);
        let rest = batch.filter(&sound)?;
        if rest.is_empty() {
            return Ok(None);
        }
        let value = eval(&rest, &ctx.eval(self.seed, first_row))?;
        Ok(Some(Evaluated { value, rest: Some((sound, rest)) }))
    }

    /// Notes that row `row` of `batch` cannot be used.
    ///
    /// # Errors
    /// Where errors are not kept, this one, naming the row.
    pub fn refuse(&mut self, batch: &ChangeBatch, row: usize, error: Error, zone: Tz) -> Result<()> {
        let text = row_text(batch.columns(), row, &self.kinds, zone);
        if !self.keeps {
            return Err(error.detail(format!("in row {text}")));
        }
        self.failed.push(Failed { row: text, error, weight: batch.weight(row).into() });
        Ok(())
    }
}

/// Finds up to `wanted` rows of `batch`, which begins at `offset`, for which `eval` fails.
fn find(
    batch: &ChangeBatch,
    offset: usize,
    wanted: usize,
    eval: &dyn Fn(&ChangeBatch, usize) -> Result<()>,
    failing: &mut Vec<(usize, Error)>,
) -> Result<()> {
    if failing.len() >= wanted || batch.is_empty() {
        return Ok(());
    }
    match eval(batch, offset) {
        Ok(()) => Ok(()),
        // Only what a row can be blamed for is.
        Err(error) if error.kind() != ErrorKind::Invalid => Err(error),
        Err(error) if batch.len() == 1 => {
            failing.push((offset, error));
            Ok(())
        }
        Err(_) => {
            let half = batch.len() / 2;
            find(&batch.slice(0, half), offset, wanted, eval, failing)?;
            find(&batch.slice(half, batch.len() - half), offset + half, wanted, eval, failing)
        }
    }
}
