//! Rows for which an expression has no result: found, left out, summed up, and named where they are still there.
//!
//! A batch is evaluated as a whole. Only where that fails it is halved until the rows that fail stand alone, so that rows
//! that do not fail cost nothing. The rows that fail are left out, and everything else goes on. An expression depends on its
//! row alone, so the withdrawal of a row that failed fails in the same way and gives the same error with the opposite
//! weight: the sum of all errors is what the rows that are there now would give.
//!
//! Within a tick an operator may be given rows that are taken back (a left join gives a row with NULLs until its match
//! comes), and they may fail. So failures are judged by their sum once the operator has run: only what is left of it fails
//! the tick, or is handed out where the dataflow keeps errors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use chrono_tz::Tz;
use gridhouse_base::{ChangeBatch, Error, ErrorKind, Result, Schema, TypeKind};
use gridhouse_expr::EvalContext;
use gridhouse_expr::text::format_value;

use crate::frozen::{Shared, StateReader};
use crate::operator::TickContext;

/// The most characters of a row that a message shows: enough to know the row by, little enough for a line of a log, and a
/// chunk of rows that all fail stays within some tens of megabytes.
const ROW_TEXT_CHARS: usize = 400;

/// The most different rows that may fail in a tick: far more than anyone reads, and what is handed out stays within some
/// tens of megabytes.
pub(crate) const MOST_FAILING_ROWS: usize = 100_000;

/// The most bytes that the rows which fail in one operator may take while it runs, those among them that are still to be
/// taken back: about half a million rows of common width.
const MOST_GATHERED_BYTES: usize = 256 * 1024 * 1024;

/// What a gathered row takes beside its texts, about.
const FAILURE_BYTES: usize = 256;

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

impl Failed {
    /// The error, naming the row.
    pub fn named(self) -> Error {
        self.error.detail(format!("in row {}", self.row))
    }

    /// The error where more than `most` rows failed, of which this is the first.
    pub fn one_of_more_than(self, most: usize) -> Error {
        self.named().context(format!("more than {most} rows cannot be computed, the first of them"))
    }
}

/// Rows that failed, with the sum of their weights per row and message.
#[derive(Default)]
pub(crate) struct Failures {
    sums: BTreeMap<(String, String), (Error, i64)>,
    bytes: usize,
}

impl Failures {
    pub fn add(&mut self, row: String, error: Error, weight: i64) -> Result<()> {
        let key = (row, error.to_string());
        let bytes = key.0.len() + 2 * key.1.len() + FAILURE_BYTES;
        match self.sums.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((error, weight));
                self.bytes += bytes;
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().1 += weight;
                if entry.get().1 == 0 {
                    entry.remove();
                    self.bytes -= bytes;
                }
            }
        }
        if self.bytes <= MOST_GATHERED_BYTES {
            return Ok(());
        }
        let most = self.sums.len() - 1;
        Err(self
            .take()
            .next()
            .map_or_else(|| Error::internal("nothing fills the memory"), |f| f.one_of_more_than(most)))
    }

    /// The rows whose weights do not sum up to 0, in their order as texts.
    pub fn take(&mut self) -> impl Iterator<Item = Failed> + use<> {
        let Self { sums, .. } = std::mem::take(self);
        sums.into_iter().map(|((row, _), (error, weight))| Failed { row, error, weight })
    }
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
    failures: Failures,
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
        Self { kinds, seed, rows_seen: 0, failures: Failures::default() }
    }

    /// How many rows it has seen, which random functions go on from. Between ticks no failed row is held.
    pub fn share(&self) -> Shared {
        let rows_seen = self.rows_seen;
        Shared::new(move |_, out| {
            out.varint(rows_seen);
            Ok(())
        })
    }

    /// Reads what was shared.
    ///
    /// # Errors
    /// `Corrupt` where it is damaged.
    pub fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.rows_seen = from.tally()?;
        Ok(())
    }

    /// The rows gathered since the last call, as far as they were not taken back.
    pub fn take_failed(&mut self) -> Vec<Failed> {
        self.failures.take().collect()
    }

    /// Evaluates `eval` over the rows of `batch`, whose weights `weight` tells, or over those of them for which it does not
    /// fail; `None` where it fails for all of them. Rows that fail are gathered.
    ///
    /// # Errors
    /// `Invalid` where too many rows fail, naming the first; always a defect of ours.
    pub fn evaluate<T>(
        &mut self,
        batch: &ChangeBatch,
        weight: impl Fn(usize) -> i64,
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
        let context = |offset: usize| ctx.eval(self.seed, first_row + offset as u64);
        find(batch, 0, &|part, offset| eval(part, &context(offset)).map(|_| ()), &mut failing)?;
        if failing.is_empty() {
            return Err(whole);
        }
        let mut sound = vec![true; batch.len()];
        for (row, error) in failing {
            sound[row] = false;
            let text = row_text(batch.columns(), row, &self.kinds, ctx.zone);
            self.failures.add(text, error, weight(row))?;
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
    /// `Invalid` where that holds for too many rows, naming the first.
    pub fn refuse(&mut self, batch: &ChangeBatch, row: usize, error: Error, zone: Tz) -> Result<()> {
        let text = row_text(batch.columns(), row, &self.kinds, zone);
        self.failures.add(text, error, batch.weight(row).into())
    }
}

/// Finds the rows of `batch`, which begins at `offset`, for which `eval` fails.
fn find(
    batch: &ChangeBatch,
    offset: usize,
    eval: &dyn Fn(&ChangeBatch, usize) -> Result<()>,
    failing: &mut Vec<(usize, Error)>,
) -> Result<()> {
    if batch.is_empty() {
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
            find(&batch.slice(0, half), offset, eval, failing)?;
            find(&batch.slice(half, batch.len() - half), offset + half, eval, failing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_taken_back_make_room_and_others_are_bounded() {
        let error = || Error::invalid("x".repeat(MOST_GATHERED_BYTES / 32));
        let mut failures = Failures::default();
        for number in 0..40 {
            for weight in [2, -1, -1] {
                failures.add(format!("({number})"), error(), weight).unwrap();
            }
        }
        assert_eq!((failures.bytes, failures.take().count()), (0, 0));
        let refused = (0..40).find_map(|number| failures.add(format!("({number})"), error(), 1).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.message().starts_with("more than 15 rows cannot be computed"), "{}", &refused.message()[..80]);
        assert!(refused.message().ends_with("in row (0)"));
    }
}
