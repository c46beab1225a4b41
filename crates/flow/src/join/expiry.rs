//! Dropping the rows of a time-bounded join that no on-time row can meet any more.
//!
//! With `right + lower <= left <= right + upper` and the watermarks `wl`, `wr` (no later time is at or before them): a left
//! row can still meet a right one while `left - lower > wr`, a right row a left one while `right + upper > wl`. So a left
//! row goes once its time is at or before `wr + lower`, a right row once its is at or before `wl - upper`. What was given
//! out for it stays; of an outer or anti join's row without match this is settled then.
//!
//! Rows of such a join are ordered by time within their key, so the oldest go without a look at the others. Which keys have
//! old rows is noted by spans of time: a row is dropped once its whole span is over, so at most a span more is kept than
//! could still be met.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, make_array};
use arrow_data::ArrayData;
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{Result, Schema};

use super::TimeBound;
use crate::event_time::nanos_per_unit;
use crate::frozen::{StateReader, StateWriter};
use crate::keys::{NO_SLOT, Slot};
use crate::operator::Watermark;
use crate::rows::{RowCodec, arrow};

/// Into how many spans the time is cut that rows can be apart: the more, the less is kept too long, and the more often a key
/// with rows all along is visited.
const SPANS: i64 = 64;

/// The shortest span, so that bounds of a few milliseconds do not make a note for each.
const SHORTEST_SPAN_MILLIS: i64 = 1_000;

/// When the rows of one side go.
pub(super) struct Expiry {
    /// The side's time column.
    pub column: usize,
    /// What is added to the other side's watermark for the time at or before which rows go, nanoseconds.
    shift_nanos: i128,
    nanos_per_unit: i128,
    /// The length of a span, in the column's unit.
    span: i64,
    data_type: DataType,
    codec: RowCodec,
    pub noted: Noted,
}

/// By number of the span: the slots that have got rows of it. Copies share the slots of spans that do not change any more.
#[derive(Clone, Default)]
pub(super) struct Noted(BTreeMap<i64, Arc<Vec<Slot>>>);

/// Rows that are to be dropped.
pub(super) struct Due {
    /// The slots that have some.
    pub slots: Vec<Slot>,
    /// Rows whose bytes are below these.
    pub below: Box<[u8]>,
}

impl Expiry {
    /// The expiry of side `number` (0 left, 1 right), with rows of `schema`.
    ///
    /// # Errors
    /// `Internal` where the time column holds no time.
    pub fn new(number: usize, schema: &Schema, bound: &TimeBound) -> Result<Self> {
        let column = if number == 0 { bound.left } else { bound.right };
        let unit = nanos_per_unit(schema, column)?;
        let shift = if number == 0 { bound.lower_millis } else { bound.upper_millis.saturating_neg() };
        let apart = bound.upper_millis.saturating_sub(bound.lower_millis);
        let span_millis = (apart / SPANS).max(SHORTEST_SPAN_MILLIS);
        let data_type = schema.columns[column].sql_type.kind.arrow();
        Ok(Self {
            column,
            shift_nanos: i128::from(shift) * 1_000_000,
            nanos_per_unit: unit.into(),
            span: span_millis.saturating_mul(1_000_000 / unit),
            codec: RowCodec::new([(data_type.clone(), SortOptions::default())])?,
            data_type,
            noted: Noted::default(),
        })
    }

    /// Notes rows that are kept: their times and the slots of their keys.
    pub fn note(&mut self, column: &ArrayRef, slots: &[Slot]) {
        let data = column.to_data();
        let times = &data.buffer::<i64>(0)[..slots.len()];
        for (&slot, time) in slots.iter().zip(times).filter(|&(&slot, _)| slot != NO_SLOT) {
            let noted = Arc::make_mut(self.noted.0.entry(time.div_euclid(self.span)).or_default());
            if noted.last() != Some(&slot) {
                noted.push(slot);
            }
        }
    }

    /// What is to be dropped now that the other side's watermark is `watermark`.
    pub fn due(&mut self, watermark: i128) -> Result<Option<Due>> {
        if watermark <= Watermark::NONE {
            return Ok(None);
        }
        let bound = (watermark + self.shift_nanos).div_euclid(self.nanos_per_unit);
        let bound = bound.clamp(i64::MIN.into(), i128::from(i64::MAX) - 1) as i64;
        let mut slots = Vec::new();
        while let Some(first) = self.noted.0.first_entry()
            && first.key().saturating_add(1).saturating_mul(self.span).saturating_sub(1) <= bound
        {
            slots.extend_from_slice(&first.remove());
        }
        if slots.is_empty() {
            return Ok(None);
        }
        slots.sort_unstable();
        slots.dedup();
        let next = Int64Array::from(vec![bound + 1]);
        let next = ArrayData::builder(self.data_type.clone()).len(1).add_buffer(next.values().inner().clone());
        let next = make_array(next.build().map_err(arrow)?);
        Ok(Some(Due { slots, below: self.codec.encode(&[next])?.row(0).into() }))
    }

    /// Reads notes about slots below `count`.
    ///
    /// # Errors
    /// `Corrupt` where they are damaged.
    pub fn thaw(&mut self, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for _ in 0..from.count()? {
            let (span, len) = (from.signed()?, from.count()?);
            let slot = |_| match from.varint()? {
                slot if slot < count as u64 => Ok(slot as Slot),
                _ => Err(from.damaged("a key that is not there is to be dropped")),
            };
            let slots = (0..len).map(slot).collect::<Result<Vec<_>>>()?;
            Arc::make_mut(self.noted.0.entry(span).or_default()).extend(slots);
        }
        Ok(())
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.noted.0.values().map(|slots| slots.capacity() * size_of::<Slot>() + 64).sum()
    }
}

impl Noted {
    /// Appends the notes about slots that have one of `places`, which becomes their number.
    pub fn freeze(&self, places: &[Option<u32>], out: &mut StateWriter) {
        out.varint(self.0.len() as u64);
        for (span, slots) in &self.0 {
            let slots: Vec<u32> = slots.iter().filter_map(|&slot| places[slot as usize]).collect();
            out.signed(*span);
            out.varint(slots.len() as u64);
            slots.iter().for_each(|&slot| out.varint(slot.into()));
        }
    }
}
