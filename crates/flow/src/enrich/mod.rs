//! Look-up joins: every row of the left side with the rows that the other side holds at that moment.
//!
//! Law. Only changes of the left side give output. What the other side does later does not change what was given out for a
//! row: that is kept and withdrawn exactly when the row goes. So the sum of the output is, for every left row that is there,
//! what was found when it came (of equal rows that came at different moments the newest goes first). The answer belongs to
//! the class *recorded*: it depends on when the rows came. A left row that comes and goes within a tick is never asked for.
//! Inner: a row without partner gives nothing; left: it is given out with NULLs.
//!
//! State: the answers per left row that is there, as row bytes, in [`given`]; over a left side that only grows none are
//! kept. What is found where is settled by a [`Finder`]: [`probe`] a table of ours, [`lookup`] what lies outside.

mod given;
pub mod lookup;
pub mod probe;

use arrow_array::{ArrayRef, UInt32Array, new_null_array};
use arrow_schema::DataType;
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};
use gridhouse_expr::Expr;

use crate::consolidate::consolidate_by;
use crate::failing::Failed;
use crate::frozen::{Form, Shared, StateReader};
use crate::hash::HashMode;
use crate::join::JoinKind;
use crate::keys::Keys;
use crate::operator::{CHUNK_ROWS, Operator, Output, StateSize, TickContext, Watermark, missing};
use crate::residual::Residual;
use crate::rows::{RowCodec, arrow};
use crate::weight::{product, weighed, weighed_where, weights};
use given::{Answer, Given, Partner};

/// The other side of a look-up join.
pub(crate) trait Finder: Send {
    /// The partners of the rows `from..` of a batch of the left side, for as many rows as fit into a chunk of pairs. A batch
    /// is asked for from 0 to its end, and nothing changes in between.
    fn find(&mut self, batch: &ChangeBatch, from: usize) -> Result<Partners>;

    /// Takes changes of the other side, where they come through the dataflow.
    fn change(&mut self, batch: &ChangeBatch) -> Result<()>;

    /// Ends a tick.
    fn finish(&mut self) -> Result<()>;

    /// What is held of the other side.
    fn state(&self) -> StateSize;

    /// All that the finder was built from, in words.
    fn spec(&self) -> String;

    /// The form of the key that state is cut by, and the columns of the left side that hold it; `None` where it is never cut.
    fn key(&mut self) -> Option<(Keys, Vec<usize>)>;

    /// What is held of the other side, as it is now, between two ticks.
    fn share(&mut self) -> Shared;

    /// Takes what was shared; nothing is held yet.
    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()>;
}

/// What was found for some rows.
pub(crate) struct Partners {
    /// One past the last row of the batch that was asked for.
    pub upto: usize,
    /// The row of the batch, per pair; ascending.
    pub own: Vec<u32>,
    /// The other side's columns, per pair.
    pub columns: Vec<ArrayRef>,
    /// How many times the partner is there, per pair.
    pub weights: Vec<i64>,
}

/// The operator.
pub(crate) struct Enrich<F> {
    finder: F,
    left_join: bool,
    residual: Option<Residual>,
    /// The types of the other side's columns.
    types: Vec<DataType>,
    left: Schema,
    mode: HashMode,
    /// Changes of the left side in this tick and answers, where the left side withdraws rows.
    recorded: Option<Recorded>,
}

struct Recorded {
    /// The other side's columns as bytes.
    codec: RowCodec,
    given: Given,
    changes: Vec<ChangeBatch>,
}

/// Pairs that are withdrawn: row of the batch, the other side's row, weight.
#[derive(Default)]
struct Gone<'a> {
    own: Vec<u32>,
    rows: Vec<&'a [u8]>,
    weights: Vec<i64>,
}

/// What the two kinds of look-up join have in common.
#[derive(Clone)]
pub(crate) struct EnrichSpec {
    pub kind: JoinKind,
    pub residual: Option<Expr>,
    /// Whether the left side never withdraws a row.
    pub append_only: bool,
    pub mode: HashMode,
    pub seed: u64,
}

impl<F: Finder> Enrich<F> {
    /// Rows of `left` with what `finder` finds, rows of `other`.
    ///
    /// # Errors
    /// `Internal` where the kind is neither inner nor left.
    pub fn new(left: &Schema, other: &Schema, finder: F, spec: EnrichSpec) -> Result<Self> {
        if !matches!(spec.kind, JoinKind::Inner | JoinKind::Left) {
            return Err(Error::internal(format!("a look-up join is inner or left, not {:?}", spec.kind)));
        }
        let pairs = Schema::new(left.columns.iter().chain(&other.columns).cloned().collect());
        let recorded = if spec.append_only {
            None
        } else {
            let given = Given::new(left, spec.mode)?;
            Some(Recorded { codec: RowCodec::of_schema(other)?, given, changes: Vec::new() })
        };
        Ok(Self {
            finder,
            left_join: spec.kind == JoinKind::Left,
            residual: spec.residual.map(|condition| Residual::new(condition, &pairs, spec.seed)),
            types: other.columns.iter().map(|column| column.sql_type.kind.arrow()).collect(),
            left: left.clone(),
            mode: spec.mode,
            recorded,
        })
    }

    /// Finds partners for rows that have come, gives out the pairs and remembers them.
    fn answer(&mut self, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let own_weights = weights(batch);
        let mut from = 0;
        while from < batch.len() {
            let found = self.finder.find(batch, from)?;
            let (pairs, pair_weights) = pairs(batch, &own_weights, &found)?;
            let judged = match &mut self.residual {
                Some(residual) => Some(residual.judge(&pairs, &pair_weights, ctx)?),
                None => None,
            };
            let passes = |pair: usize| judged.as_ref().is_none_or(|judged| judged.passed.value(pair));
            let mut partnered = vec![false; found.upto - from];
            for (pair, &own) in found.own.iter().enumerate() {
                partnered[own as usize - from] |= passes(pair);
            }
            out.push(weighed_where(&pairs, &pair_weights, judged.as_ref().map(|judged| &judged.passed))?);
            if self.left_join {
                let alone = (from..found.upto).filter(|&i| !partnered[i - from]).map(|i| i as u32);
                self.give_alone(&batch.take(&alone.collect::<Vec<_>>().into())?, out);
            }
            if let Some(Recorded { codec, given, .. }) = &mut self.recorded {
                let rows = codec.encode(&found.columns)?;
                let mut answers: Vec<Answer> = Vec::with_capacity(found.upto - from);
                answers.extend(own_weights[from..found.upto].iter().map(|&copies| Answer::empty(copies)));
                let mut failed = vec![false; found.own.len()];
                judged.iter().flat_map(|judged| &judged.failed).for_each(|&pair| failed[pair] = true);
                for (pair, &own) in found.own.iter().enumerate().filter(|&(pair, _)| passes(pair) || failed[pair]) {
                    let partner =
                        Partner { row: rows.row(pair).into(), weight: found.weights[pair], failed: failed[pair] };
                    answers[own as usize - from].partners.push(partner);
                }
                given.add(&batch.slice(from, found.upto - from), answers)?;
            }
            from = found.upto;
        }
        Ok(())
    }

    /// Rows of the left side with NULLs for the other.
    fn give_alone(&self, rows: &ChangeBatch, out: &mut Output) {
        if !rows.is_empty() {
            let nulls = self.types.iter().map(|data_type| new_null_array(data_type, rows.len()));
            out.push(rows.with_columns(rows.columns().iter().cloned().chain(nulls).collect()));
        }
    }

    /// Withdraws what was given out for rows that go. A pair for which the condition failed fails again, so that its error
    /// is taken back.
    fn withdraw(&mut self, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<bool> {
        let Some(recorded) = &mut self.recorded else { return Ok(false) };
        let taken = recorded.given.take(batch)?;
        let (mut alone, mut alone_weights) = (Vec::<u32>::new(), Vec::<i64>::new());
        // The pairs that were given out, and those for which the condition failed.
        let mut sides: [Gone<'_>; 2] = Default::default();
        for (own, answer) in &taken.answers {
            if answer.partners.iter().all(|partner| partner.failed) {
                alone.push(*own);
                alone_weights.push(-answer.copies);
            }
            for partner in &answer.partners {
                let gone = &mut sides[usize::from(partner.failed)];
                gone.own.push(*own);
                gone.rows.push(&partner.row);
                gone.weights.push(product(-answer.copies, partner.weight)?);
            }
        }
        let plain = ChangeBatch::insertions(batch.columns().to_vec(), batch.len());
        for (failed, gone) in sides.iter().enumerate() {
            for part in (0..gone.own.len()).step_by(CHUNK_ROWS) {
                let upto = (part + CHUNK_ROWS).min(gone.own.len());
                let columns = recorded.codec.decode(gone.rows[part..upto].iter().copied())?;
                let own = plain.take(&gone.own[part..upto].to_vec().into())?;
                let columns = own.columns().iter().cloned().chain(columns).collect();
                let weights = &gone.weights[part..upto];
                if failed == 0 {
                    out.push(weighed(columns, weights)?);
                } else if let Some(residual) = &mut self.residual {
                    residual.judge(&ChangeBatch::insertions(columns, upto - part), weights, ctx)?;
                }
            }
        }
        if self.left_join && !alone.is_empty() {
            let rows = plain.take(&UInt32Array::from(alone))?;
            self.give_alone(&weighed(rows.columns().to_vec(), &alone_weights)?, out);
        }
        Ok(taken.complete)
    }
}

/// The pairs of rows of a batch with what was found for them, and their weights.
fn pairs(batch: &ChangeBatch, own_weights: &[i64], found: &Partners) -> Result<(ChangeBatch, Vec<i64>)> {
    let indices = UInt32Array::from(found.own.clone());
    let taken = batch.columns().iter().map(|column| take(column, &indices, None).map_err(arrow));
    let mut columns = taken.collect::<Result<Vec<ArrayRef>>>()?;
    columns.extend(found.columns.iter().cloned());
    let weight = |(&own, &other): (&u32, &i64)| product(own_weights[own as usize], other);
    let weights = found.own.iter().zip(&found.weights).map(weight).collect::<Result<_>>()?;
    Ok((ChangeBatch::insertions(columns, found.own.len()), weights))
}

impl<F: Finder> Operator for Enrich<F> {
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        if port == 1 {
            return self.finder.change(batch);
        }
        match &mut self.recorded {
            Some(recorded) => recorded.changes.push(batch.clone()),
            None => self.answer(batch, ctx, out)?,
        }
        Ok(())
    }

    fn finish(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let mut sound = true;
        if let Some(recorded) = &mut self.recorded {
            let changes = std::mem::take(&mut recorded.changes);
            let changes = consolidate_by(&changes, &self.left, self.mode)?;
            let gone = (0..changes.len()).take_while(|&i| changes.weight(i) < 0).count();
            for (from, upto, withdrawn) in [(0, gone, true), (gone, changes.len(), false)] {
                for start in (from..upto).step_by(CHUNK_ROWS) {
                    let part = changes.slice(start, CHUNK_ROWS.min(upto - start));
                    if withdrawn {
                        sound &= self.withdraw(&part, ctx, out)?;
                    } else {
                        self.answer(&part, ctx, out)?;
                    }
                }
            }
        }
        self.finder.finish()?;
        if sound { Ok(()) } else { missing("a row of the left side") }
    }

    fn state(&self) -> StateSize {
        let (other, given) = (self.finder.state(), self.recorded.as_ref().map(|recorded| recorded.given.state()));
        let given = given.unwrap_or_default();
        StateSize { rows: other.rows + given.rows, bytes: other.bytes + given.bytes }
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    /// The other side first: a row and its partner that come in one tick meet.
    fn turn(&self, port: usize) -> usize {
        1 - port
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        Ok(inputs[0].to_vec())
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        self.residual.as_mut().map_or(Vec::new(), |residual| residual.guard.take_failed())
    }

    fn form(&self) -> Form {
        ("look-up join", 1)
    }

    fn spec(&self) -> String {
        let condition = self.residual.as_ref().map(|residual| &residual.condition);
        let (finder, recorded) = (self.finder.spec(), self.recorded.is_some());
        format!("{} {condition:?} {:?} {recorded} {finder}", self.left_join, self.types)
    }

    fn share(&mut self) -> Shared {
        let guard = self.residual.as_ref().map(|residual| residual.guard.share());
        let key = self.finder.key();
        let given = self.recorded.as_mut().map(|recorded| recorded.given.share(key));
        let all: Vec<Shared> = guard.into_iter().chain([self.finder.share()]).chain(given).collect();
        Shared::new(move |part, out| all.iter().try_for_each(|shared| shared.freeze(part, out)))
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        if let Some(residual) = &mut self.residual {
            residual.guard.thaw(from)?;
        }
        self.finder.thaw(from)?;
        if let Some(Recorded { codec, given, .. }) = &mut self.recorded {
            given.thaw(from, |row| codec.is_row(row))?;
        }
        Ok(())
    }
}
