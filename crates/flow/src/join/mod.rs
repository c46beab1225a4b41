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
//! NULL in a key column matches nothing, so such a row is given out at once (outer, anti) or dropped (else), and never
//! kept. Without keys every row meets every row.
//!
//! State: a Bag of rows per key and side (of a semi or anti join's right side keys only, if there is no residual
//! condition); for rows whose output depends on having a match, the weight of their matches,
//! counted with the residual condition. A row is dropped when its weight is 0, a key when neither side has rows of it.

mod inner;
mod outer;
mod semi;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};
use gridhouse_expr::Expr;

use crate::bag::Bag;
use crate::hash::HashMode;
use crate::keys::{Keys, NO_SLOT, Slot};
use crate::operator::{Operator, Output, StateSize, TickContext, missing, weights};
use crate::rows::{EncodedRows, RowCodec};
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
    fn needs_keys_only(self, residual: Option<&Expr>) -> bool {
        !self.gives_pairs() && residual.is_none()
    }

    /// Whether what is given out for a row of `side` depends on its having a match.
    fn counts_matches(self, side: usize) -> bool {
        self.gives_unmatched(side) || (self == Self::Semi && side == 0)
    }
}

/// The operator.
pub(crate) struct Join {
    kind: JoinKind,
    residual: Option<Expr>,
    seed: u64,
    pairs_seen: u64,
    /// Key → slot, shared by both sides.
    index: Keys,
    sides: [Side; 2],
    /// Sides and slots where a weight became negative in this tick.
    suspects: Vec<(usize, Slot)>,
}

struct Side {
    keys: Vec<usize>,
    types: Vec<DataType>,
    /// The columns that are kept.
    kept: Vec<usize>,
    codec: RowCodec,
    bag: Bag<Box<[u8]>>,
}

impl Join {
    /// Joins rows of `left` and `right` where the columns `keys` (left, right) are equal and `residual`, over the columns
    /// of both, is true.
    pub fn new(
        schemas: [&Schema; 2],
        kind: JoinKind,
        keys: &[(usize, usize)],
        residual: Option<Expr>,
        mode: HashMode,
        seed: u64,
    ) -> Result<Self> {
        let types = schemas.map(|s| s.columns.iter().map(|c| c.sql_type.kind.arrow()).collect::<Vec<_>>());
        let mut key_types = Vec::new();
        for &(left, right) in keys {
            let (Some(a), Some(b)) = (types[0].get(left), types[1].get(right)) else {
                return Err(Error::internal(format!("there are no key columns {left} and {right}")));
            };
            if a != b {
                return Err(Error::internal(format!("a key of {a} cannot be compared with one of {b} without a cast")));
            }
            key_types.push(a.clone());
        }
        let side = |side: usize, keys: Vec<usize>| {
            let keys_only = side == 1 && kind.needs_keys_only(residual.as_ref());
            let kept = if keys_only { keys.clone() } else { (0..schemas[side].len()).collect() };
            let codec = RowCodec::of_schema(&schemas[side].project(&kept))?;
            Ok(Side { keys, types: types[side].clone(), kept, codec, bag: Bag::default() })
        };
        Ok(Self {
            kind,
            seed,
            pairs_seen: 0,
            index: Keys::new(&key_types, mode)?,
            sides: [side(0, keys.iter().map(|key| key.0).collect())?, side(1, keys.iter().map(|key| key.1).collect())?],
            residual,
            suspects: Vec::new(),
        })
    }

    /// Changes of one side meet the rows of the other and are then added to their own.
    fn meet(&mut self, own: usize, delta: &Delta<'_>, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let other = 1 - own;
        let mut from = 0;
        while from < delta.batch.len() {
            let pairs = Pairs::find(&self.sides[other].bag, &delta.slots, from);
            let upto = pairs.upto;
            let passed = self.give_pairs(own, delta, &pairs, ctx, out)?;
            let matches = pairs.matches(passed.as_ref());
            self.pairs_seen += pairs.len() as u64;
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

    /// Adds rows `from..` of a batch to their side, with the weight of their matches as far as it is counted.
    fn keep(&mut self, own: usize, delta: &Delta<'_>, from: usize, upto: usize, matches: &[i64]) {
        for i in from..upto {
            let slot = delta.slots[i];
            if slot == NO_SLOT {
                continue;
            }
            let row = delta.rows.row(i);
            let matched = matches.get(i - from).copied().unwrap_or(0);
            let (_, after) = self.sides[own].bag.add(slot, row, delta.weights[i], matched, || row.into());
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

/// Rows without NULL in `keys`; `None` where that is all of them.
fn with_keys(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls = keys.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.logical_nulls().as_ref()));
    nulls.filter(|nulls| nulls.null_count() > 0)
}

impl Operator for Join {
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let own = port;
        let keys: Vec<ArrayRef> = self.sides[own].keys.iter().map(|&i| batch.column(i).clone()).collect();
        let present = with_keys(&keys);
        let mut slots = Vec::new();
        self.index.resolve(&keys, batch.len(), present.as_ref(), &mut slots)?;
        self.sides.iter_mut().for_each(|side| side.bag.resize(self.index.end()));
        let kept: Vec<ArrayRef> = self.sides[own].kept.iter().map(|&i| batch.column(i).clone()).collect();
        let rows = self.sides[own].codec.encode(&kept)?;
        let delta = Delta { batch, rows, weights: weights(batch), slots };
        if own == 1 && self.kind.needs_keys_only(self.residual.as_ref()) {
            self.switch_keys(&delta, out)?;
        } else {
            self.meet(own, &delta, ctx, out)?;
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

    fn state(&self) -> StateSize {
        let [left, right] = [&self.sides[0].bag, &self.sides[1].bag];
        StateSize { rows: left.items() + right.items(), bytes: left.bytes() + right.bytes() + self.index.bytes() }
    }
}
