//! Aggregation: one row per group, its keys and the results of some aggregate functions; `SELECT DISTINCT` is the case
//! without functions.
//!
//! Law: a group is there while its rows' weights sum to more than 0. In a tick every touched group whose row has changed
//! gives out its old row with -1 and its new one with +1, once, at the end; within a tick nothing is given out. Without
//! keys there is one group, which is there from the first tick on even over nothing (`COUNT` 0, `SUM` NULL).
//!
//! State: the key index and a cell per group ([`cells`]) with its row count and the words of every function. A group's cells are dropped at the end
//! of the tick in which its rows and all its cells have become neutral.

mod accumulator;
mod cells;
mod decimal;
mod distinct;
mod extreme;
mod float;
mod single;

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef, Int32Array, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_ord::cmp;
use arrow_schema::SortOptions;
use chrono_tz::Tz;
use gridhouse_base::{ChangeBatch, Error, Result, Schema, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction};

use crate::failing::row_text;
use crate::filter::is_true;
use crate::frozen::{Form, Shared, StateReader};
use crate::hash::HashMode;
use crate::keys::{Keys, Slot};
use crate::operator::{Operator, Output, StateSize, TickContext, missing};
use crate::rows::{RowCodec, arrow};
use crate::weight::weights;
use accumulator::{Accumulator, Rows, SharedCall, accumulator};
use cells::{Cells, Layout};
use distinct::Distinct;

/// The operator.
pub(crate) struct Aggregate {
    keys: Vec<usize>,
    key_kinds: Vec<TypeKind>,
    calls: Vec<(AggregateCall, Box<dyn Accumulator>)>,
    append_only: bool,
    index: Keys,
    /// The fixed-width state of every group.
    cells: Cells,
    /// Where a cell has the weight of all rows of the group.
    rows_at: usize,
    /// Whether a group was touched in this tick.
    touched: Vec<bool>,
    /// The groups touched in this tick as they were before it, in portions.
    before: Vec<Before>,
    /// Whether the first tick is over: then a grand total has given out its row.
    started: bool,
}

/// Some groups as the last tick left them.
struct Before {
    slots: Vec<Slot>,
    existed: Vec<bool>,
    results: Vec<ArrayRef>,
}

impl Aggregate {
    /// Groups rows of `input` by the columns `keys`. Over an `append_only` input less is kept.
    pub fn new(
        input: &Schema,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        append_only: bool,
        mode: HashMode,
    ) -> Result<Self> {
        let kind = |&i: &usize| {
            let column = input.columns.get(i);
            column.map(|c| c.sql_type.kind.clone()).ok_or_else(|| Error::internal(format!("there is no column {i}")))
        };
        let key_kinds = keys.iter().map(kind).collect::<Result<Vec<_>>>()?;
        let key_types: Vec<_> = key_kinds.iter().map(TypeKind::arrow).collect();
        let mut layout = Layout::default();
        let rows_at = layout.take(1);
        let with_state = |call: AggregateCall| -> Result<(AggregateCall, Box<dyn Accumulator>)> {
            let args: Vec<TypeKind> = call.args.iter().map(kind).collect::<Result<_>>()?;
            if let Some(filter) = &call.filter {
                kind(filter)?;
            }
            let result = &call.sql_type.kind;
            if call.function == AggregateFunction::CountStar && call.filter.is_none() && !call.distinct {
                let rows = Rows { at: rows_at, result: result.arrow() };
                return Ok((call, Box::new(rows) as Box<dyn Accumulator>));
            }
            let plain = accumulator(call.function, &args, result, append_only, &mut layout)?;
            let state: Box<dyn Accumulator> =
                if call.distinct { Box::new(Distinct::new(plain, &args, mode, &mut layout)?) } else { plain };
            Ok((call, state))
        };
        Ok(Self {
            calls: calls.into_iter().map(with_state).collect::<Result<_>>()?,
            append_only,
            cells: layout.cells(),
            rows_at,
            index: Keys::new(&key_types, mode)?,
            keys,
            key_kinds,
            touched: Vec::new(),
            before: Vec::new(),
            started: false,
        })
    }

    fn is_total(&self) -> bool {
        self.keys.is_empty()
    }

    /// Finds the group of every row of a batch and remembers those that it touches first in this tick.
    fn touch(&mut self, columns: &[ArrayRef], len: usize) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.index.resolve(columns, len, None, &mut slots)?;
        let end = self.index.end();
        self.cells.resize(end);
        self.touched.resize(end, false);
        self.calls.iter_mut().for_each(|(_, state)| state.resize(end));
        let mut first = Vec::new();
        for &slot in &slots {
            if !std::mem::replace(&mut self.touched[slot as usize], true) {
                first.push(slot);
            }
        }
        if !first.is_empty() {
            let results = self.results(&first)?;
            let existed = first.iter().map(|&slot| self.exists(slot, self.started)).collect();
            self.before.push(Before { slots: first, existed, results });
        }
        Ok(slots)
    }

    fn exists(&self, slot: Slot, started: bool) -> bool {
        if self.is_total() { started } else { self.cells.number(slot, self.rows_at) > 0 }
    }

    fn results(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.calls.iter().map(|(_, state)| state.results(&self.cells, slots)).collect()
    }

    /// The results of groups at the end of a tick; an error names the group.
    fn final_results(&self, slots: &[Slot], zone: Tz) -> Result<Vec<ArrayRef>> {
        self.results(slots).map_err(|error| {
            if self.is_total() {
                return error;
            }
            let culprit = slots.iter().find_map(|&slot| self.results(&[slot]).err().map(|error| (slot, error)));
            let Some((slot, error)) = culprit else { return error };
            match self.index.columns(&[slot]) {
                Ok(keys) => error.detail(format!("in group {}", row_text(&keys, 0, &self.key_kinds, zone))),
                Err(other) => other,
            }
        })
    }

    /// Gives out what has changed in some groups.
    fn emit(&self, before: &Before, zone: Tz, out: &mut Output) -> Result<()> {
        let now = self.final_results(&before.slots, zone)?;
        let mut changed = vec![false; before.slots.len()];
        for (old, new) in before.results.iter().zip(&now) {
            differing(old, new)?.set_indices().for_each(|i| changed[i] = true);
        }
        let (mut withdrawn, mut inserted) = (Vec::new(), Vec::new());
        for (i, &slot) in before.slots.iter().enumerate() {
            let (was, is) = (before.existed[i], self.exists(slot, true));
            if was && (changed[i] || !is) {
                withdrawn.push(i as u32);
            }
            if is && (changed[i] || !was) {
                inserted.push(i as u32);
            }
        }
        let keys = self.index.columns(&before.slots)?;
        for (rows, results, weight) in [(withdrawn, &before.results, -1), (inserted, &now, 1)] {
            let diff = (weight != 1).then(|| Int32Array::from(vec![weight; before.slots.len()]));
            let all = ChangeBatch::new(keys.iter().chain(results).cloned().collect(), before.slots.len(), diff);
            if rows.len() == all.len() {
                out.push(all);
            } else if !rows.is_empty() {
                out.push(all.take(&UInt32Array::from(rows))?);
            }
        }
        Ok(())
    }

    /// Drops the groups that have become neutral; tells whether all touched ones are sound.
    fn settle(&mut self, slots: &[Slot]) -> bool {
        let mut sound = true;
        self.calls.iter_mut().for_each(|(_, state)| state.settle(&mut self.cells, slots));
        for &slot in slots {
            self.touched[slot as usize] = false;
            let rows = self.cells.number(slot, self.rows_at);
            let neutral = rows == 0 && self.calls.iter().all(|(_, state)| state.is_neutral(&self.cells, slot));
            sound &= rows > 0 || neutral;
            if neutral && !self.is_total() {
                self.index.release(slot);
            }
        }
        sound
    }
}

/// Where two arrays hold different values; NULL is a value like others.
fn differing(a: &ArrayRef, b: &ArrayRef) -> Result<BooleanBuffer> {
    if !a.data_type().is_nested() {
        return Ok(cmp::distinct(a, b).map_err(arrow)?.values().clone());
    }
    let codec = RowCodec::new([(a.data_type().clone(), SortOptions::default())])?;
    let (old, new) = (codec.encode(std::slice::from_ref(a))?, codec.encode(std::slice::from_ref(b))?);
    Ok(BooleanBuffer::collect_bool(a.len(), |i| old.row(i) != new.row(i)))
}

/// The weights that count for a call: 0 where its filter is not true or an argument is NULL (which to a single value is a
/// value like others).
fn counted<'a>(call: &AggregateCall, columns: &[ArrayRef], weights: &'a [i64]) -> Cow<'a, [i64]> {
    let mut counted = Cow::Borrowed(weights);
    if let Some(filter) = call.filter {
        let passed = is_true(&columns[filter]);
        counted = weights.iter().enumerate().map(|(i, &w)| if passed.value(i) { w } else { 0 }).collect();
    }
    let skips_null = call.function != AggregateFunction::SingleValue;
    for &arg in call.args.iter().filter(|_| skips_null) {
        if columns[arg].logical_null_count() > 0 {
            let nulls = columns[arg].logical_nulls();
            let valid = |i| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(i));
            counted.to_mut().iter_mut().enumerate().filter(|(i, _)| !valid(*i)).for_each(|(_, w)| *w = 0);
        }
    }
    counted
}

impl Operator for Aggregate {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&i| batch.column(i).clone()).collect();
        let slots = self.touch(&keys, batch.len())?;
        let weights = weights(batch);
        for (&slot, &weight) in slots.iter().zip(&weights) {
            self.cells.add(slot, self.rows_at, weight);
        }
        for (call, state) in &mut self.calls {
            let args: Vec<ArrayRef> = call.args.iter().map(|&i| batch.column(i).clone()).collect();
            state.update(&mut self.cells, &slots, &counted(call, batch.columns(), &weights), &args)?;
        }
        Ok(())
    }

    fn finish(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        if self.is_total() && !self.started {
            self.touch(&[], 1)?;
        }
        let touched = std::mem::take(&mut self.before);
        for before in &touched {
            self.emit(before, ctx.zone, out)?;
        }
        self.started = true;
        let mut sound = true;
        for before in &touched {
            sound &= self.settle(&before.slots);
        }
        if sound { Ok(()) } else { missing("a row") }
    }

    fn gives_each_row_once(&self) -> bool {
        true
    }

    fn state(&self) -> StateSize {
        let entries: usize = self.calls.iter().map(|(_, state)| state.entries()).sum();
        let beside: usize = self.calls.iter().map(|(_, state)| state.bytes()).sum();
        let own = self.cells.bytes() + self.touched.capacity();
        StateSize { rows: self.index.live() + entries, bytes: own + beside + self.index.bytes() }
    }

    fn form(&self) -> Form {
        ("aggregate", 2)
    }

    fn spec(&self) -> String {
        let calls: Vec<&AggregateCall> = self.calls.iter().map(|(call, _)| call).collect();
        format!("{:?} {calls:?} {}", self.keys, self.append_only)
    }

    fn share(&mut self) -> Shared {
        let (index, cells) = (self.index.share(), self.cells.share());
        let (started, rows_at) = (self.started, self.rows_at);
        let calls: Vec<SharedCall> = self.calls.iter_mut().map(|(_, state)| state.share()).collect();
        Shared::new(move |part, out| {
            let slots = part.slots(&index);
            out.flag(started);
            index.freeze(&slots, None, out);
            slots.iter().for_each(|&slot| out.signed(cells.number(slot, rows_at)));
            calls.iter().try_for_each(|freeze| freeze(&cells, &slots, out))
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.started = from.flag()?;
        let count = self.index.thaw(from)?;
        if self.is_total() && count > 1 {
            return Err(from.damaged("a grand total has several groups"));
        }
        self.touched.resize(count, false);
        self.cells.resize(count);
        for slot in 0..count as Slot {
            self.cells.set(slot, self.rows_at, [from.signed()?]);
        }
        self.calls.iter_mut().try_for_each(|(_, state)| state.thaw(&mut self.cells, count, from))
    }
}
