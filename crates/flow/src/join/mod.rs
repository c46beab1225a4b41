//! Join: pairs of rows with equal keys for which a residual condition is true; outer, semi and anti joins too.
//!
//! Law. Changes arrive one side at a time: a batch `Δl` is joined with the right side as it stands and then added to the
//! left side, and the other way round. So when both sides change in a tick the pairs of `Δl ⋈ r`, then `l ⋈ Δr` with the
//! new `l`, are counted exactly once each, whatever the order of the batches. Weights multiply.
//!
//! - Inner: a withdrawn row withdraws its pairs.
//! - Left, right, full: a row of an outer side that has no match is given out with NULLs for the other side. Its first
//!   match withdraws that row, the loss of its last match gives it out again.
//! - Semi, anti: rows of the left side that have, or have not, a match; each with its own weight, however many matches.
//!
//! NULL in a key column matches nothing, unless the key is null-safe; such a row is given out at once (outer, anti) or
//! dropped (else), and never kept. Without keys every row meets every row.
//!
//! State: a Bag of rows per key and side (of a semi or anti join's right side keys only, if there is no residual
//! condition); for rows whose output depends on having a match, the weight of their matches,
//! counted with the residual condition. A row is dropped when its weight is 0, a key when neither side has rows of it.
//!
//! Where rows may only lie so far apart in time, both sides only grow, and both time columns have watermarks, rows that no
//! later row can meet are dropped ([`expiry`]); rows without a time meet nothing and are not kept.
//!
//! A pair for which the residual condition fails counts as one that does not meet it.

mod expiry;
mod inner;
mod outer;
mod semi;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};
use gridhouse_expr::Expr;

use crate::bag::Bag;
use crate::failing::Failed;
use crate::frozen::{Form, Shared, StateReader, places};
use crate::hash::HashMode;
use crate::keys::{Keys, NO_SLOT, Slot};
use crate::operator::{Operator, Output, StateSize, TOUCHED_ROWS, TickContext, Watermark, missing};
use crate::residual::Residual;
use crate::rows::{EncodedRows, RowCodec};
use crate::weight::weights;
use expiry::Expiry;
use inner::Pairs;
use outer::Lone;

/// Which rows a join gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// Matching pairs, and rows of the left side without match.
    Left,
    /// Matching pairs, and rows of the right side without match.
    Right,
    /// Matching pairs, and rows of both sides without match.
    Full,
    /// Rows of the left side that have a match.
    Semi,
    /// Rows of the left side that have no match.
    Anti,
}

impl JoinKind {
    /// Whether pairs are given out, not only rows of the left side.
    pub(crate) fn gives_pairs(self) -> bool {
        !matches!(self, Self::Semi | Self::Anti)
    }

    /// Whether rows of `side` (0 left, 1 right) without match are given out.
    pub(crate) fn gives_unmatched(self, side: usize) -> bool {
        match self {
            Self::Inner | Self::Semi => false,
            Self::Left | Self::Anti => side == 0,
            Self::Right => side == 1,
            Self::Full => true,
        }
    }

    /// Whether a match is settled by the key alone, so that of the right side only keys are kept.
    fn needs_keys_only(self, has_residual: bool) -> bool {
        !self.gives_pairs() && !has_residual
    }

    /// Whether what is given out for a row of `side` depends on its having a match.
    fn counts_matches(self, side: usize) -> bool {
        self.gives_unmatched(side) || (self == Self::Semi && side == 0)
    }
}

/// A pair of columns whose values must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JoinKey {
    /// The column of the left side.
    pub left: usize,
    /// The column of the right side; of the same type.
    pub right: usize,
    /// Whether NULL equals NULL (`IS NOT DISTINCT FROM`) instead of nothing.
    pub null_safe: bool,
}

impl JoinKey {
    /// The columns are equal, as `=` has it: NULL equals nothing.
    pub fn equal(left: usize, right: usize) -> Self {
        Self { left, right, null_safe: false }
    }
}

/// How far the times of two rows that match may lie apart: `right + lower <= left <= right + upper`.
///
/// It only tells when a row can no longer meet one; the condition itself stands in the residual, or in a key where the times
/// must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeBound {
    /// The time column of the left side.
    pub left: usize,
    /// The time column of the right side.
    pub right: usize,
    /// The least that the left time lies after the right one; may be negative.
    pub lower_millis: i64,
    /// The most.
    pub upper_millis: i64,
}

/// What a join does.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinSpec {
    /// Which rows are given out.
    pub kind: JoinKind,
    /// The columns that must be equal; without any, every row meets every row.
    pub keys: Vec<JoinKey>,
    /// What must be true beside that, over the columns of both sides.
    pub residual: Option<Expr>,
    /// How far apart in time rows that match may lie.
    pub time: Option<TimeBound>,
}

impl JoinSpec {
    /// A join of `kind` on these pairs of columns (left, right).
    pub fn on(kind: JoinKind, keys: &[(usize, usize)]) -> Self {
        let keys = keys.iter().map(|&(left, right)| JoinKey::equal(left, right)).collect();
        Self { kind, keys, residual: None, time: None }
    }

    /// The same join with a further condition.
    pub fn with_residual(self, residual: Option<Expr>) -> Self {
        Self { residual, ..self }
    }
}

/// The operator.
pub(crate) struct Join {
    kind: JoinKind,
    residual: Option<Residual>,
    /// Key → slot, shared by both sides.
    index: Keys,
    sides: [Side; 2],
    /// How far apart in time rows that match may lie, where rows are dropped by it.
    time: Option<TimeBound>,
    /// Sides and slots where a weight became negative in this tick.
    suspects: Vec<(usize, Slot)>,
}

/// One side of a join: where its keys stand, and its rows by key.
pub(crate) struct Side {
    pub keys: Vec<usize>,
    /// Those of the keys in which NULL matches nothing.
    pub strict: Vec<usize>,
    types: Vec<DataType>,
    /// The columns that are kept; the time comes first where rows are dropped by it.
    kept: Vec<usize>,
    pub codec: RowCodec,
    pub bag: Bag,
    expiry: Option<Expiry>,
}

impl Join {
    /// Joins rows of `schemas` (left, right) as `spec` says. Rows are dropped by their time only where both inputs promise
    /// (`timed`) that they withdraw nothing and that no time comes after the watermark of its column.
    pub fn new(schemas: [&Schema; 2], spec: JoinSpec, timed: bool, mode: HashMode, seed: u64) -> Result<Self> {
        let JoinSpec { kind, keys, residual, time } = spec;
        // Rows with equal times are no time apart, so such a key holds every bound that lets equal times pass.
        let in_keys = |time: &TimeBound| {
            let same = |key: &JoinKey| (key.left, key.right, key.null_safe) == (time.left, time.right, false);
            (time.lower_millis..=time.upper_millis).contains(&0) && keys.iter().any(same)
        };
        if residual.is_none() && time.as_ref().is_some_and(|time| !in_keys(time)) {
            return Err(Error::internal("a bound in time is no condition: the residual or a key has to hold it"));
        }
        let time = time.filter(|_| timed);
        let key_types = key_types(schemas, &keys)?;
        let keys_only = kind.needs_keys_only(residual.is_some());
        let pairs = Schema::new(schemas.iter().flat_map(|schema| schema.columns.clone()).collect());
        Ok(Self {
            kind,
            index: Keys::new(&key_types, mode)?,
            sides: [
                Side::new(0, schemas[0], &keys, false, time.as_ref(), kind.counts_matches(0))?,
                Side::new(1, schemas[1], &keys, keys_only, time.as_ref(), kind.counts_matches(1))?,
            ],
            time,
            residual: residual.map(|condition| Residual::new(condition, &pairs, seed)),
            suspects: Vec::new(),
        })
    }

    /// Changes of one side meet the rows of the other and are then added to their own.
    fn meet(&mut self, own: usize, delta: &Delta<'_>, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let other = 1 - own;
        let mut from = 0;
        while from < delta.batch.len() {
            let Self { kind, sides, residual, .. } = self;
            let pairs = Pairs::find(&sides[other].bag, &delta.slots, from);
            let upto = pairs.upto;
            let passed = pairs.give(*kind, &sides[other], residual.as_mut(), own, delta, ctx, out)?;
            let matches = pairs.matches(passed.as_ref());
            if self.kind.counts_matches(own) {
                self.give_own(own, delta, from, &matches, out)?;
            }
            if self.kind.counts_matches(other) {
                self.switch_others(own, delta, from, upto, passed.as_ref(), out)?;
            }
            self.keep(own, delta, from, upto, &matches);
            from = upto;
        }
        Ok(())
    }

    /// Drops the rows of a side that cannot meet any row of the other that is after its `watermark`.
    fn expire(&mut self, side: usize, watermark: i128) -> Result<()> {
        let Some(expiry) = &mut self.sides[side].expiry else { return Ok(()) };
        let Some(due) = expiry.due(watermark)? else { return Ok(()) };
        for slot in due.slots {
            self.sides[side].bag.drop_below(slot, &due.below);
            if self.sides.iter().all(|side| side.bag.set(slot).is_empty()) {
                self.index.release(slot);
            }
        }
        Ok(())
    }

    /// Adds rows `from..` of a batch to their side, with the weight of their matches as far as it is counted.
    fn keep(&mut self, own: usize, delta: &Delta<'_>, from: usize, upto: usize, matches: &[i64]) {
        for i in from..upto {
            let slot = delta.slots[i];
            if (i - from).is_multiple_of(TOUCHED_ROWS) {
                self.sides[own].bag.touch(&delta.slots[i..upto.min(i + TOUCHED_ROWS)]);
            }
            if slot == NO_SLOT {
                continue;
            }
            let matched = matches.get(i - from).copied().unwrap_or(0);
            let (_, after) = self.sides[own].bag.add(slot, delta.rows.row(i), delta.weights[i], matched);
            if after < 0 {
                self.suspects.push((own, slot));
            }
        }
    }
}

/// A batch of changes of one side, with what is known of its rows.
struct Delta<'a> {
    batch: &'a ChangeBatch,
    rows: EncodedRows,
    weights: Vec<i64>,
    /// The slot of every row's key, none where a key column is NULL.
    slots: Vec<Slot>,
}

/// The types of the key columns.
///
/// # Errors
/// `Internal` where they do not exist or differ between the sides.
pub(crate) fn key_types(schemas: [&Schema; 2], keys: &[JoinKey]) -> Result<Vec<DataType>> {
    let data_type = |side: usize, column: usize| schemas[side].columns.get(column).map(|c| c.sql_type.kind.arrow());
    let of = |&JoinKey { left, right, .. }: &JoinKey| match (data_type(0, left), data_type(1, right)) {
        (Some(a), Some(b)) if a == b => Ok(a),
        (Some(a), Some(b)) => {
            Err(Error::internal(format!("a key of {a} cannot be compared with one of {b} without a cast")))
        }
        _ => Err(Error::internal(format!("there are no key columns {left} and {right}"))),
    };
    keys.iter().map(of).collect()
}

impl Side {
    /// Side `number` (0 left, 1 right) of a join; where `keys_only`, of a row only its key is kept; with `time`, rows are
    /// dropped by it; `counts_matches` where rows' output depends on them.
    pub fn new(
        number: usize,
        schema: &Schema,
        keys: &[JoinKey],
        keys_only: bool,
        time: Option<&TimeBound>,
        counts_matches: bool,
    ) -> Result<Self> {
        let expiry = time.map(|time| Expiry::new(number, schema, time)).transpose()?;
        let column = |key: &JoinKey| if number == 0 { key.left } else { key.right };
        let time = expiry.iter().map(|expiry| expiry.column);
        let strict = keys.iter().filter(|key| !key.null_safe).map(column).chain(time.clone()).collect();
        let keys: Vec<usize> = keys.iter().map(column).collect();
        let rest = if keys_only { keys.clone() } else { (0..schema.len()).collect() };
        let kept: Vec<usize> = time.chain(rest).collect();
        let types = schema.columns.iter().map(|c| c.sql_type.kind.arrow()).collect();
        let codec = RowCodec::of_schema(&schema.project(&kept))?;
        Ok(Self { keys, strict, types, kept, codec, bag: Bag::new(counts_matches), expiry })
    }

    /// The columns of kept rows, which are whole.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let mut columns = self.codec.decode(rows)?;
        Ok(columns.split_off(usize::from(self.expiry.is_some())))
    }

    /// The key columns of a batch of this side.
    pub fn key_columns(&self, batch: &ChangeBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|&i| batch.column(i).clone()).collect()
    }

    /// The rows of a batch that can match at all; `None` where that is all of them.
    pub fn present(&self, batch: &ChangeBatch) -> Option<NullBuffer> {
        let nulls = |i: &usize| batch.column(*i).logical_nulls();
        let all = self.strict.iter().fold(None, |all, i| NullBuffer::union(all.as_ref(), nulls(i).as_ref()));
        all.filter(|nulls| nulls.null_count() > 0)
    }
}

impl Operator for Join {
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let own = port;
        let keys = self.sides[own].key_columns(batch);
        let present = self.sides[own].present(batch);
        let mut slots = Vec::new();
        self.index.resolve(&keys, batch.len(), present.as_ref(), &mut slots)?;
        self.sides.iter_mut().for_each(|side| side.bag.resize(self.index.end()));
        let kept: Vec<ArrayRef> = self.sides[own].kept.iter().map(|&i| batch.column(i).clone()).collect();
        let rows = self.sides[own].codec.encode(&kept)?;
        self.sides[own].bag.room_for(batch.len(), rows.bytes())?;
        let delta = Delta { batch, rows, weights: weights(batch), slots };
        if own == 1 && self.kind.needs_keys_only(self.residual.is_some()) {
            self.switch_keys(&delta, out)?;
        } else {
            self.meet(own, &delta, ctx, out)?;
        }
        if let Some(expiry) = &mut self.sides[own].expiry {
            expiry.note(batch.column(expiry.column), &delta.slots);
        }
        for &slot in delta.slots.iter().filter(|&&slot| slot != NO_SLOT) {
            if self.sides.iter().all(|side| side.bag.set(slot).is_empty()) {
                self.index.release(slot);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        let suspects = std::mem::take(&mut self.suspects);
        let negative = |&(side, slot): &(usize, Slot)| self.sides[side].bag.set(slot).iter().any(|(_, w)| w.weight < 0);
        match suspects.iter().find(|suspect| negative(suspect)) {
            Some((0, _)) => missing("a row of the left side"),
            Some(_) => missing("a row of the right side"),
            None => Ok(()),
        }
    }

    /// The side first that rows of the other are matched against, where only one side's rows are: they are then given out
    /// without a match only if there is none at the end of the tick, instead of being taken back within it.
    fn turn(&self, port: usize) -> usize {
        match self.kind {
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti => 1 - port,
            JoinKind::Right => port,
            JoinKind::Inner | JoinKind::Full => 0,
        }
    }

    /// Drops the rows that no later row can meet. A pair has a new row, whose time is after its side's watermark, and one
    /// whose time lies within the bounds of that; so the times of both sides in later pairs are bounded too. Rows with
    /// NULLs for the other side are withdrawn later, so outer and anti joins promise nothing.
    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        let Some(time) = self.time else { return Ok(Vec::new()) };
        let of = |side: usize, column: usize| inputs[side].iter().find(|mark| mark.column == column);
        let (Some(left), Some(right)) = (of(0, time.left), of(1, time.right)) else { return Ok(Vec::new()) };
        self.expire(0, right.nanos)?;
        self.expire(1, left.nanos)?;
        let after = |nanos: i128, millis: i64| (nanos + i128::from(millis) * 1_000_000).max(Watermark::NONE);
        let lefts = Watermark { column: time.left, nanos: left.nanos.min(after(right.nanos, time.lower_millis)) };
        let rights = after(left.nanos, time.upper_millis.saturating_neg()).min(right.nanos);
        let column = self.sides[0].types.len() + time.right;
        Ok(match self.kind {
            JoinKind::Inner => vec![lefts, Watermark { column, nanos: rights }],
            JoinKind::Semi => vec![lefts],
            _ => Vec::new(),
        })
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.residual.as_mut().map_or(Vec::new(), |residual| residual.guard.take_failed())
    }

    fn state(&self) -> StateSize {
        let [left, right] = [&self.sides[0].bag, &self.sides[1].bag];
        let noted: usize = self.sides.iter().filter_map(|side| side.expiry.as_ref()).map(Expiry::bytes).sum();
        let bytes = left.bytes() + right.bytes() + self.index.bytes() + noted;
        StateSize { rows: left.rows() + right.rows(), bytes }
    }

    fn form(&self) -> Form {
        ("join", 1)
    }

    fn spec(&self) -> String {
        let Self { kind, residual, time, .. } = self;
        let condition = residual.as_ref().map(|residual| &residual.condition);
        let [left, right] = &self.sides;
        let keys = [(&left.keys, &left.strict, &left.kept), (&right.keys, &right.strict, &right.kept)];
        format!("{kind:?} {keys:?} {condition:?} {time:?}")
    }

    fn share(&mut self) -> Shared {
        let guard = self.residual.as_ref().map(|residual| residual.guard.share());
        let index = self.index.share();
        let sides = self.sides.each_mut().map(|side| {
            let noted = side.expiry.as_ref().map(|expiry| expiry.noted.clone());
            (side.bag.share(), noted)
        });
        Shared::new(move |part, out| {
            guard.iter().try_for_each(|guard| guard.freeze(part, out))?;
            let slots = part.slots(&index);
            index.freeze(&slots, None, out);
            for (bag, noted) in &sides {
                bag.freeze(&slots, out);
                if let Some(noted) = noted {
                    noted.freeze(&places(&slots, index.end()), out);
                }
            }
            Ok(())
        })
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        if let Some(residual) = &mut self.residual {
            residual.guard.thaw(from)?;
        }
        let count = self.index.thaw(from)?;
        for Side { bag, codec, expiry, .. } in &mut self.sides {
            bag.thaw(count, from, |row| codec.is_row(row))?;
            if let Some(expiry) = expiry {
                expiry.thaw(count, from)?;
            }
        }
        Ok(())
    }
}
