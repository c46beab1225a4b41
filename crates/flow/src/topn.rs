//! Top-N: per partition, the rows from `offset` to `offset + limit` in an order; without partition columns, `ORDER BY … LIMIT`.
//!
//! Law: ties are settled by the row's bytes (all columns ascending, NULLs first), so that the answer depends on the rows
//! alone. A row of weight n fills n places. In a tick every touched partition gives out the difference between its old and
//! its new window, once, at the end. With a rank, a row is given out with its place (from 1), so a row that moves is
//! withdrawn at its old place and inserted at its new one.
//!
//! State: a Bag per partition, ordered by sort key and row. All rows are kept, since a withdrawal can bring any of them
//! into the window; over append-only inputs only those within it. A partition is dropped when it has no rows. A touched
//! partition costs time and scratch in proportion to its window.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{ChangeBatch, Error, Result, Schema};

use crate::bag::Bag;
use crate::frozen::{Form, Shared, StateReader};
use crate::hash::HashMode;
use crate::keys::{Keys, Slot};
use crate::operator::{Operator, Output, StateSize, TickContext, missing};
use crate::rows::RowCodec;
use crate::weight::{weighed, weights};

/// A column to order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// The column's index.
    pub column: usize,
    /// Whether larger values come first.
    pub descending: bool,
    /// Whether NULLs come before all values.
    pub nulls_first: bool,
}

/// What a top-N keeps of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopN {
    /// The columns whose equal values form a partition; none: all rows are one.
    pub partition: Vec<usize>,
    /// The order; where it leaves a tie, the row's bytes decide.
    pub order: Vec<SortKey>,
    /// Places skipped.
    pub offset: u64,
    /// Places given out; `None`: all that follow.
    pub limit: Option<u64>,
    /// Whether a row's place within its partition (BIGINT, from 1) follows its columns.
    pub rank: bool,
}

impl TopN {
    /// What the operator is called.
    pub(crate) fn name(&self) -> String {
        match (self.limit, self.offset, self.rank) {
            (Some(limit), 0, _) => format!("top {limit}"),
            (Some(limit), offset, _) => format!("top {limit} after {offset}"),
            (None, 0, true) => "row number".into(),
            (None, 0, false) => "all rows".into(),
            (None, offset, _) => format!("all after {offset}"),
        }
    }
}

/// The operator.
pub(crate) struct TopNOperator {
    spec: TopN,
    append_only: bool,
    index: Keys,
    /// Sort columns in their order, then all columns: the form that rows are ordered in and read back from.
    codec: RowCodec,
    bag: Bag,
    /// Weight of all rows per partition.
    rows: Vec<i64>,
    touched: Vec<bool>,
    /// The partitions touched in this tick with their windows before it.
    before: Vec<(Slot, Window)>,
    suspects: Vec<Slot>,
}

/// The weight of rows in a window; with a rank, one entry per place.
type Window = BTreeMap<(Box<[u8]>, i64), i64>;

impl TopNOperator {
    /// The operator over rows of `input`.
    pub fn new(input: &Schema, spec: TopN, append_only: bool, mode: HashMode) -> Result<Self> {
        let column = |i: usize| {
            let column = input.columns.get(i).ok_or_else(|| Error::internal(format!("there is no column {i}")))?;
            Ok(column.sql_type.kind.arrow())
        };
        let partition = spec.partition.iter().map(|&i| column(i)).collect::<Result<Vec<DataType>>>()?;
        let mut fields = Vec::new();
        for key in &spec.order {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            fields.push((column(key.column)?, options));
        }
        for i in 0..input.len() {
            fields.push((column(i)?, SortOptions::default()));
        }
        Ok(Self {
            spec,
            append_only,
            index: Keys::new(&partition, mode)?,
            codec: RowCodec::new(fields)?,
            bag: Bag::new(false),
            rows: Vec::new(),
            touched: Vec::new(),
            before: Vec::new(),
            suspects: Vec::new(),
        })
    }

    /// One past the last place of the window.
    fn end(&self) -> u64 {
        self.spec.limit.map_or(u64::MAX, |limit| self.spec.offset.saturating_add(limit))
    }

    fn window(&self, slot: Slot) -> Window {
        let (mut window, end) = (Window::new(), self.end());
        let mut place = 0;
        for (row, held) in self.bag.set(slot).iter() {
            if place >= end {
                break;
            }
            let after = place.saturating_add(held.weight.max(0) as u64);
            let (from, upto) = (place.max(self.spec.offset), after.min(end));
            place = after;
            if from < upto && self.spec.rank {
                window.extend((from..upto).map(|place| ((row.into(), place as i64 + 1), 1)));
            } else if from < upto {
                window.insert((row.into(), 0), (upto - from) as i64);
            }
        }
        window
    }

    /// Drops the rows behind the window; nothing can bring them back.
    fn trim(&mut self, slot: Slot) {
        let end = self.end();
        while let Some(last) = self.bag.set(slot).iter().next_back().map(|(_, held)| held.weight) {
            let rest = self.rows[slot as usize] - last;
            if rest < 0 || (rest as u64) < end {
                break;
            }
            self.bag.pop_last(slot);
            self.rows[slot as usize] = rest;
        }
    }
}

impl Operator for TopNOperator {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        let partition: Vec<ArrayRef> = self.spec.partition.iter().map(|&i| batch.column(i).clone()).collect();
        let mut slots = Vec::new();
        self.index.resolve(&partition, batch.len(), None, &mut slots)?;
        self.bag.resize(self.index.end());
        self.rows.resize(self.index.end(), 0);
        self.touched.resize(self.index.end(), false);
        for &slot in &slots {
            if !std::mem::replace(&mut self.touched[slot as usize], true) {
                self.before.push((slot, self.window(slot)));
            }
        }
        let order = self.spec.order.iter().map(|key| batch.column(key.column));
        let columns: Vec<ArrayRef> = order.chain(batch.columns()).cloned().collect();
        let rows = self.codec.encode(&columns)?;
        self.bag.room_for(batch.len(), rows.bytes())?;
        for (i, (&slot, weight)) in slots.iter().zip(weights(batch)).enumerate() {
            let (_, after) = self.bag.add(slot, rows.row(i), weight, 0);
            self.rows[slot as usize] += weight;
            if after < 0 {
                self.suspects.push(slot);
            }
            if self.append_only {
                self.trim(slot);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        let (mut rows, mut weights, mut ranks) = (Vec::<Box<[u8]>>::new(), Vec::new(), Vec::new());
        let mut sound = true;
        for slot in std::mem::take(&mut self.suspects) {
            sound &= self.bag.set(slot).iter().all(|(_, held)| held.weight >= 0);
        }
        for (slot, before) in std::mem::take(&mut self.before) {
            let mut change = self.window(slot);
            for (entry, weight) in before {
                *change.entry(entry).or_default() -= weight;
            }
            for ((row, rank), weight) in change.into_iter().filter(|(_, weight)| *weight != 0) {
                rows.push(row);
                ranks.push(rank);
                weights.push(weight);
            }
            self.touched[slot as usize] = false;
            if self.bag.set(slot).is_empty() {
                self.index.release(slot);
            }
        }
        if !rows.is_empty() {
            let mut columns = self.codec.decode(rows.iter().map(|row| &**row))?.split_off(self.spec.order.len());
            if self.spec.rank {
                columns.push(Arc::new(Int64Array::from(ranks)));
            }
            out.push(weighed(columns, &weights)?);
        }
        if sound { Ok(()) } else { missing("a row") }
    }

    fn gives_each_row_once(&self) -> bool {
        true
    }

    fn state(&self) -> StateSize {
        let own = self.rows.capacity() * size_of::<i64>() + self.touched.capacity();
        StateSize { rows: self.bag.rows(), bytes: own + self.bag.bytes() + self.index.bytes() }
    }

    fn form(&self) -> Form {
        ("top", 1)
    }

    fn spec(&self) -> String {
        format!("{:?}", self.spec)
    }

    fn share(&mut self) -> Shared {
        let (index, bag) = (self.index.share(), self.bag.share());
        Shared::new(move |part, out| {
            let slots = part.slots(&index);
            index.freeze(&slots, None, out);
            bag.freeze(&slots, out);
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        let count = self.index.thaw(from)?;
        self.bag.thaw(count, from, |row| self.codec.is_row(row))?;
        self.touched.resize(count, false);
        let slots = 0..count as Slot;
        let rows = |slot| self.bag.set(slot).iter().fold(0_i64, |sum, (_, held)| sum.wrapping_add(held.weight));
        self.rows = slots.map(rows).collect();
        Ok(())
    }
}
