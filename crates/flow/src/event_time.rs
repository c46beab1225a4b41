//! Event time: the watermark of a time column, and the rows that come after it.
//!
//! Law. The watermark is the largest time seen minus a delay, as of the end of the last batch that was laid up; a row is
//! late if its time is not after the watermark as of the end of the batch before its own. The engine lays up one batch per
//! commit of a source, a large one in pieces, so which rows are late depends on the source's commits alone and never on
//! ticks. Late rows are left out and counted. A row without a time cannot be placed and fails.
//!
//! Only rows that are never withdrawn can be late: leaving out the withdrawal of a row that was let in would keep it for
//! ever. So over an input that withdraws rows nothing is left out and there is no watermark, and operators above keep
//! what they have. State: two numbers.

use arrow_array::{Array, BooleanArray};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{ChangeBatch, Error, Result, Schema, TypeKind};

use crate::failing::{Failed, Guard};
use crate::frozen::{Form, Shared, StateReader};
use crate::operator::{Operator, Output, TickContext, Watermark};

/// The operator.
pub(crate) struct EventTime {
    column: usize,
    name: String,
    nanos_per_unit: i64,
    delay_nanos: i128,
    guard: Guard,
    /// The number of the batch that rows come from now.
    batch: u64,
    /// The largest time seen, in the column's unit.
    latest: Option<i64>,
    /// That as of the end of the batch before.
    latest_before: Option<i64>,
    /// More rows of the batch may come.
    is_open: bool,
    late_rows: u64,
}

/// The length of the unit that a time column counts in.
///
/// # Errors
/// `Internal` where the column is missing or holds no time.
pub(crate) fn nanos_per_unit(schema: &Schema, column: usize) -> Result<i64> {
    match schema.columns.get(column).map(|column| &column.sql_type.kind) {
        Some(TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) => Ok(1_000_000_000 / timestamp_units_per_second(*p)),
        other => Err(Error::internal(format!("column {column} ({other:?}) holds no time"))),
    }
}

impl EventTime {
    /// Rows of `input`, which are never withdrawn, with their time in `column`.
    ///
    /// # Errors
    /// `Internal` where the column holds no time.
    pub fn new(input: &Schema, column: usize, delay_millis: i64) -> Result<Self> {
        Ok(Self {
            column,
            nanos_per_unit: nanos_per_unit(input, column)?,
            name: input.columns[column].name.clone(),
            delay_nanos: i128::from(delay_millis) * 1_000_000,
            guard: Guard::new(input, 0),
            batch: 0,
            latest: None,
            latest_before: None,
            is_open: false,
            late_rows: 0,
        })
    }

    fn nanos(&self, time: i64) -> i128 {
        i128::from(time) * i128::from(self.nanos_per_unit)
    }

    /// The watermark where the largest time is `latest`, in nanoseconds.
    fn watermark(&self, latest: Option<i64>) -> i128 {
        latest.map_or(Watermark::NONE, |latest| self.nanos(latest) - self.delay_nanos)
    }
}

impl Operator for EventTime {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let column = batch.column(self.column);
        let data = column.to_data();
        let times = &data.buffer::<i64>(0)[..batch.len()];
        let watermark = self.watermark(self.latest_before);
        let mut kept = Vec::with_capacity(batch.len());
        for (row, &time) in times.iter().enumerate() {
            if batch.weight(row) < 0 {
                return Err(Error::internal("an append-only input withdraws a row"));
            }
            if column.is_null(row) {
                let error = Error::invalid(format!("the row time {} is NULL", self.name))
                    .hint("filter such rows out before the watermark, or give a time with COALESCE");
                self.guard.refuse(batch, row, error, ctx.zone)?;
                kept.push(false);
                continue;
            }
            let late = self.nanos(time) <= watermark;
            self.late_rows += if late { batch.weight(row) as u64 } else { 0 };
            kept.push(!late);
            self.latest = self.latest.max(Some(time));
        }
        out.push(batch.filter(&BooleanArray::from(kept))?);
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn begin_batch(&mut self, number: u64) {
        if number != self.batch {
            self.batch = number;
            self.latest_before = self.latest;
        }
    }

    fn leave_open(&mut self, last: &[(u64, bool)]) {
        self.is_open = last.contains(&(self.batch, true));
    }

    /// Where whatever comes next comes in another batch, all that has been seen counts.
    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        let others = inputs[0].iter().filter(|mark| mark.column != self.column).copied();
        let latest = if self.is_open { self.latest_before } else { self.latest };
        let own = Watermark { column: self.column, nanos: self.watermark(latest) };
        Ok(others.chain([own]).collect())
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.guard.take_failed()
    }

    fn form(&self) -> Form {
        ("watermark", 1)
    }

    fn spec(&self) -> String {
        format!("{} {}", self.column, self.delay_nanos)
    }

    fn share(&mut self) -> Shared {
        let (numbers, times) = ([self.batch, self.late_rows], [self.latest, self.latest_before]);
        Shared::new(move |_, out| {
            numbers.into_iter().for_each(|number| out.varint(number));
            for time in times {
                out.flag(time.is_some());
                out.signed(time.unwrap_or_default());
            }
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.batch = from.varint()?;
        self.late_rows = from.tally()?;
        for time in [&mut self.latest, &mut self.latest_before] {
            let (known, value) = (from.flag()?, from.signed()?);
            *time = known.then_some(value);
        }
        Ok(())
    }
}
