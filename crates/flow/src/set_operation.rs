//! `INTERSECT` and `EXCEPT`, with and without `ALL`: whole rows of two inputs, in which NULL equals NULL.
//!
//! Law: with `l` and `r` the weights of a row on the two sides (a negative one counts as 0), the row is given out
//! `min(l, r)` times (INTERSECT ALL), `max(l - r, 0)` times (EXCEPT ALL), once where both are there (INTERSECT), or once
//! where only `l` is (EXCEPT). In a tick every touched row gives out the difference once, at the end, so the order of
//! changes and their sides within a tick do not matter. A row that comes to the right side of an EXCEPT withdraws.
//!
//! State: two weights per different row. A row is dropped at the end of the tick in which both are 0.

use gridhouse_base::{ChangeBatch, Result, Schema};

use crate::frozen::{Form, Shared, StateReader};
use crate::hash::HashMode;
use crate::keys::{Keys, Slot};
use crate::operator::{Operator, Output, StateSize, TickContext, missing};
use crate::pages::Pages;
use crate::weight::{weighed, weights};

/// Which rows a set operation gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Rows that both inputs have.
    Intersect,
    /// Rows that the left input has and the right one has not.
    Except,
}

/// A set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetOperation {
    /// Which rows are given out.
    pub kind: SetKind,
    /// Whether equal rows count one by one.
    pub all: bool,
}

impl SetOperation {
    /// The operation as it is written in SQL, in small letters.
    pub(crate) fn name(self) -> &'static str {
        match (self.kind, self.all) {
            (SetKind::Intersect, false) => "intersect",
            (SetKind::Intersect, true) => "intersect all",
            (SetKind::Except, false) => "except",
            (SetKind::Except, true) => "except all",
        }
    }

    /// How many times a row is given out that the inputs have this many times.
    fn weight(self, [left, right]: [i64; 2]) -> i64 {
        let (left, right) = (left.max(0), right.max(0));
        match (self.kind, self.all) {
            (SetKind::Intersect, true) => left.min(right),
            (SetKind::Intersect, false) => i64::from(left > 0 && right > 0),
            (SetKind::Except, true) => (left - right).max(0),
            (SetKind::Except, false) => i64::from(left > 0 && right == 0),
        }
    }
}

/// The operator.
pub(crate) struct SetOperator {
    spec: SetOperation,
    /// Row → slot.
    index: Keys,
    /// The row's weight on the left and the right side.
    weights: Pages<[i64; 2], 11>,
    touched: Vec<bool>,
    /// The rows touched in this tick with how many times they were given out before it.
    before: Vec<(Slot, i64)>,
}

impl SetOperator {
    /// The operator over two inputs with rows of `schema`.
    pub fn new(schema: &Schema, spec: SetOperation, mode: HashMode) -> Result<Self> {
        let types: Vec<_> = schema.columns.iter().map(|column| column.sql_type.kind.arrow()).collect();
        let index = Keys::new(&types, mode)?;
        Ok(Self { spec, index, weights: Pages::default(), touched: Vec::new(), before: Vec::new() })
    }
}

impl Operator for SetOperator {
    fn push(&mut self, port: usize, batch: &ChangeBatch, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        let mut slots = Vec::new();
        self.index.resolve(batch.columns(), batch.len(), None, &mut slots)?;
        self.weights.resize(self.index.end(), [0; 2]);
        self.touched.resize(self.index.end(), false);
        for (&slot, weight) in slots.iter().zip(weights(batch)) {
            let held = &mut self.weights[slot as usize];
            if !std::mem::replace(&mut self.touched[slot as usize], true) {
                self.before.push((slot, self.spec.weight(*held)));
            }
            held[port] += weight;
        }
        Ok(())
    }

    fn finish(&mut self, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        let (mut rows, mut changes, mut sound) = (Vec::new(), Vec::new(), true);
        let touched = std::mem::take(&mut self.before);
        for &(slot, before) in &touched {
            self.touched[slot as usize] = false;
            let held = self.weights[slot as usize];
            sound &= held.iter().all(|&weight| weight >= 0);
            let change = self.spec.weight(held) - before;
            if change != 0 {
                rows.push(slot);
                changes.push(change);
            }
        }
        if !rows.is_empty() {
            out.push(weighed(self.index.columns(&rows)?, &changes)?);
        }
        for &(slot, _) in touched.iter().filter(|&&(slot, _)| self.weights[slot as usize] == [0; 2]) {
            self.index.release(slot);
        }
        if sound { Ok(()) } else { missing("a row") }
    }

    fn gives_each_row_once(&self) -> bool {
        true
    }

    fn state(&self) -> StateSize {
        let own = self.weights.bytes() + self.touched.capacity();
        StateSize { rows: self.index.live(), bytes: own + self.index.bytes() }
    }

    fn form(&self) -> Form {
        ("set operation", 1)
    }

    fn spec(&self) -> String {
        format!("{:?}", self.spec)
    }

    fn share(&mut self) -> Shared {
        let (index, weights) = (self.index.share(), self.weights.share());
        Shared::new(move |part, out| {
            let slots = part.slots(&index);
            index.freeze(&slots, None, out);
            for &slot in &slots {
                weights[slot as usize].iter().for_each(|&weight| out.signed(weight));
            }
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        let count = self.index.thaw(from)?;
        self.touched.resize(count, false);
        for _ in 0..count {
            self.weights.push([from.signed()?, from.signed()?]);
        }
        Ok(())
    }
}
