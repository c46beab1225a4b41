//! What the dataflow asks of an operator.
//!
//! The change-stream law of every operator: let `I` be the sum of everything pushed into its inputs since the start and
//! `O` the sum of everything it has given out. After every `finish`, `O` equals the operator's batch answer over `I`.
//! Between two `finish` calls an operator may give out changes that later ones take back; it may also see withdrawals
//! before the rows that they withdraw. It must not depend on how the input is cut into batches or ordered within a tick.

use chrono_tz::Tz;
use gridhouse_base::{ChangeBatch, Error, Result};
use gridhouse_expr::EvalContext;

use crate::failing::Failed;
use crate::frozen::{Form, Shared, StateReader};

/// The most rows of a batch that a dataflow hands out, and of pairs that an operator makes at once. It bounds scratch memory
/// (at 64 columns of 16 bytes, 64 MiB).
pub const CHUNK_ROWS: usize = 65_536;

/// The most rows that an operator is given at once; larger batches are cut. At 100 bytes a row, they and what is computed
/// from them stay in the processor's second cache.
pub(crate) const STEP_ROWS: usize = 8_192;

/// How many rows' state is fetched from memory side by side before it is worked on row by row: enough to keep the memory
/// busy, few enough to stay in the first cache until they are looked at.
pub(crate) const TOUCHED_ROWS: usize = 256;

/// What all operators may know of the tick they run in.
#[derive(Clone, Debug)]
pub struct TickContext {
    /// The clock of the tick, microseconds since the epoch.
    pub now_micros: i64,
    /// The zone of the session that the job belongs to.
    pub zone: Tz,
}

impl TickContext {
    /// What expressions may know: the clock of the tick, and for random values the operator's seed and its first row's
    /// number.
    pub(crate) fn eval(&self, seed: u64, first_row: u64) -> EvalContext {
        EvalContext { now_micros: self.now_micros, zone: self.zone, seed, first_row }
    }
}

/// Where an operator puts its output.
pub(crate) type Output = Vec<ChangeBatch>;

/// What an operator holds between ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Entries: groups, distinct values, rows of a join's side.
    pub rows: usize,
    /// Bytes of memory, estimated.
    pub bytes: usize,
}

/// What is known of the times that are still to come in a column: none of them will be at or before `nanos`.
///
/// Only nodes that never withdraw a row have watermarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// The column that holds the time.
    pub column: usize,
    /// Nanoseconds since the epoch; [`Watermark::NONE`] where no row has been seen.
    pub nanos: i128,
}

impl Watermark {
    /// Before all times, and far enough from the end of numbers that a bound can be added.
    pub const NONE: i128 = i128::MIN / 4;
}

/// An incremental operator. See the head of this file for what it promises.
pub(crate) trait Operator: Send {
    /// Takes at most [`STEP_ROWS`] rows of one input.
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()>;

    /// Ends the tick: what is still owed is given out.
    fn finish(&mut self, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// What is held.
    fn state(&self) -> StateSize {
        StateSize::default()
    }

    /// Whether rows are neither kept nor compared, so that the form of their values is of no matter.
    fn is_stateless(&self) -> bool {
        false
    }

    /// Whether no two of the rows that are given out in a tick are equal.
    fn gives_each_row_once(&self) -> bool {
        false
    }

    /// In which order the inputs are to come within a tick: those with the smallest number first.
    fn turn(&self, _port: usize) -> usize {
        0
    }

    /// Whether rows are answered by what the input of the first turn holds at that moment, so that its rows must all be there.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// The tick is long, and more of it follows: what need not be held until its end may be given out or leave memory.
    fn work(&mut self, _ctx: &TickContext, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// The rows that follow belong to the batch `number` of those that were laid up.
    fn begin_batch(&mut self, _number: u64) {}

    /// Per input of the dataflow the batch that it got last, and whether more of it may come after this tick. Told before the
    /// watermarks are asked for.
    fn leave_open(&mut self, _last: &[(u64, bool)]) {}

    /// Takes the watermarks of the inputs at the end of a tick's rows, drops what no row can meet any more, and gives the
    /// watermarks of what is given out. Also called once before the first tick.
    fn advance(&mut self, _inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        Ok(Vec::new())
    }

    /// Rows left out so far because they came too late.
    fn late_rows(&self) -> u64 {
        0
    }

    /// What the bytes of what is held ([`Operator::share`]) are; the number is another whenever they mean something else.
    fn form(&self) -> Form;

    /// All that the operator was built from, in words, so that a frozen state of another one is told from its own.
    fn spec(&self) -> String;

    /// What is held, as it is now, between two ticks. Must take little time however much that is.
    fn share(&mut self) -> Shared;

    /// Takes what [`Shared::freeze`] wrote; nothing is held yet.
    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()>;

    /// Writes out what the governor of memory has chosen.
    fn relieve(&mut self) -> Result<()> {
        Ok(())
    }

    /// Bytes of state that lie in files.
    fn spilled_bytes(&self) -> u64 {
        0
    }

    /// The rows that were left out since the last call because an expression failed for them.
    fn take_failed(&mut self) -> Vec<Failed> {
        Vec::new()
    }
}

/// The error for a withdrawal of a row that is not there. Only debug builds raise it: state is a plain sum of weights, so
/// it stays right whatever the order, and a release build goes on as if the row were still to come.
pub(crate) fn missing(what: &str) -> Result<()> {
    if cfg!(debug_assertions) {
        return Err(Error::internal(format!("{what} was withdrawn that had never been there")));
    }
    Ok(())
}
