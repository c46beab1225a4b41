//! The dataflow graph: operators from inputs to outputs, run tick by tick.
//!
//! Nodes are added bottom-up, so their numbers are a topological order. `push` lays changes up (their columns are shared,
//! not copied); `finish_tick` runs every node once, in that order, chunk by chunk, and hands out per output the
//! consolidated changes of the tick. After every tick the sum of an output's changes equals the batch answer over the sum
//! of all inputs, for every way of cutting the inputs into ticks and batches.
//!
//! A dataflow that failed has half a tick in its state; it refuses to go on and is to be rebuilt. It has no threads, no
//! clock of its own (one may be lent for statistics) and writes nothing to disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};

use crate::consolidate::{consolidate_by, withdrawn_first};
use crate::failing::{Failed, MOST_FAILING_ROWS, RowError};
use crate::hash::HashMode;
use crate::maps;
use crate::operator::{CHUNK_ROWS, Operator, Output, STEP_ROWS, TickContext, Watermark};
use crate::stats::NodeStats;

/// A running dataflow.
pub struct Dataflow {
    pub(crate) nodes: Vec<Node>,
    /// The node of every input.
    pub(crate) inputs: Vec<usize>,
    /// The node whose changes every output hands out.
    pub(crate) outputs: Vec<usize>,
    /// What each output has got in this tick.
    pub(crate) produced: Vec<Vec<ChangeBatch>>,
    pub(crate) hash: HashMode,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    /// How many batches have been laid up.
    pub(crate) pushed: u64,
    /// The batch that every input got last, and whether more of it may come after this tick.
    pub(crate) last: Vec<(u64, bool)>,
    /// Whether rows for which an expression fails are left out instead of failing the tick.
    pub(crate) keeps_errors: bool,
    /// Rows that were left out since they were last asked for.
    pub(crate) errors: Vec<RowError>,
    /// How many of them in this tick.
    pub(crate) errors_in_tick: usize,
    pub(crate) failed: bool,
    /// Whether operators have been given something of a tick that has not ended.
    pub(crate) is_within: bool,
    /// Another number whenever what operators hold may have changed; no other dataflow of the process has it.
    pub(crate) version: u64,
}

/// The last version given out.
static LAST_VERSION: AtomicU64 = AtomicU64::new(0);

/// A version that nothing else has.
pub(crate) fn new_version() -> u64 {
    LAST_VERSION.fetch_add(1, Ordering::Relaxed) + 1
}

/// An operator in its place.
pub(crate) struct Node {
    pub name: String,
    /// `None`: an input of the dataflow.
    pub operator: Option<Box<dyn Operator>>,
    pub schema: Schema,
    pub append_only: bool,
    /// Whether no two of the rows that the node gives out in a tick are equal.
    pub each_once: bool,
    pub inputs: Vec<usize>,
    /// Who takes this node's output: node and port.
    pub consumers: Vec<(usize, usize)>,
    /// Chunks that wait for this node.
    pub waiting: Vec<Waiting>,
    /// Of what this node gives out, as of the last tick.
    pub watermarks: Vec<Watermark>,
    /// The sum of the weights of all rows for which an expression failed: how many of those that are there now cannot be
    /// computed.
    pub failing: i64,
    pub stats: NodeStats,
}

impl Node {
    /// Whether there is a watermark for a column of what the node gives out.
    pub fn has_watermark(&self, column: usize) -> bool {
        self.watermarks.iter().any(|mark| mark.column == column)
    }

    /// What the node is called in messages.
    pub fn title(&self) -> String {
        match &self.stats.label {
            Some(label) => format!("{} ({label})", self.name),
            None => format!("{} (node {})", self.name, self.stats.node),
        }
    }
}

/// Which piece of a batch is laid up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// It belongs to the same batch as what the input got last.
    pub continues: bool,
    /// More of the batch may follow in the next tick.
    pub goes_on: bool,
}

/// A chunk before a node.
pub(crate) struct Waiting {
    port: usize,
    batch: ChangeBatch,
    /// The number of the batch, laid up by `push`, that it comes from.
    number: u64,
}

impl Dataflow {
    /// Lays up changes of an input for the tick; may be called many times, with batches of any size.
    ///
    /// # Errors
    /// `Internal` where there is no such input, the columns do not fit its schema, or the dataflow has failed before.
    pub fn push(&mut self, input: usize, batch: ChangeBatch) -> Result<()> {
        self.push_piece(input, batch, Piece::default())
    }

    /// As [`Dataflow::push`], where `batch` is a piece of what would be laid up at once if it were not so large: what is judged
    /// batch by batch (which rows are late) is judged as if it were.
    ///
    /// # Errors
    /// As [`Dataflow::push`].
    pub fn push_piece(&mut self, input: usize, batch: ChangeBatch, piece: Piece) -> Result<()> {
        self.check_alive()?;
        let Some(&node) = self.inputs.get(input) else {
            return Err(Error::internal(format!("the dataflow has no input {input}")));
        };
        let schema = &self.nodes[node].schema;
        let fits = batch.columns().len() == schema.len()
            && batch.columns().iter().zip(&schema.columns).all(|(a, c)| *a.data_type() == c.sql_type.kind.arrow());
        if !fits {
            let got: Vec<_> = batch.columns().iter().map(|column| column.data_type()).collect();
            return Err(Error::internal(format!("input {input} wants {schema:?} and was given {got:?}")));
        }
        self.last.resize(self.inputs.len(), (0, false));
        if !piece.continues || self.last[input].0 == 0 {
            self.pushed += 1;
            self.last[input].0 = self.pushed;
        }
        self.last[input].1 = piece.goes_on;
        self.distribute(node, vec![batch], self.last[input].0);
        Ok(())
    }

    /// Runs the tick and hands out, per output, its consolidated changes in batches of at most [`CHUNK_ROWS`] rows,
    /// withdrawn rows first.
    ///
    /// # Errors
    /// What an operator reports (a division by zero, a row that does not fit), naming the operator and the first row for
    /// which an expression fails; rows that are taken back within the tick do not count. Where errors are kept, only too
    /// many such rows fail the tick. The dataflow is then of no further use.
    pub fn finish_tick(&mut self, ctx: &TickContext) -> Result<Vec<Vec<ChangeBatch>>> {
        self.check_alive()?;
        self.failed = true;
        self.version = new_version();
        self.errors_in_tick = 0;
        for node in 0..self.nodes.len() {
            self.run(node, ctx).map_err(|error| error.context(self.nodes[node].title()))?;
        }
        let was_worked = std::mem::take(&mut self.is_within);
        self.last.iter_mut().for_each(|(_, goes_on)| *goes_on = false);
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (produced, &node) in self.produced.iter_mut().zip(&self.outputs) {
            let (produced, Node { schema, each_once, .. }) = (std::mem::take(produced), &self.nodes[node]);
            // Where a tick was worked off in pieces, operators may have given out what they took back later.
            let all = if *each_once && !was_worked {
                withdrawn_first(&produced, schema)?
            } else {
                consolidate_by(&produced, schema, self.hash)?
            };
            outputs.push(pieces(all, CHUNK_ROWS).collect());
        }
        self.failed = false;
        Ok(outputs)
    }

    /// The rows that were left out because an expression failed for them, since the last call, or with a negative weight
    /// those that were and are gone; none where errors are not kept. Rows that came and went within a tick are not among
    /// them. To be called after every tick: they are held until then.
    pub fn take_errors(&mut self) -> Vec<RowError> {
        std::mem::take(&mut self.errors)
    }

    /// The columns of an output.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn output_schema(&self, output: usize) -> &Schema {
        &self.nodes[self.outputs[output]].schema
    }

    /// What every node has done since the start and what it holds, in the order of the nodes.
    pub fn stats(&self) -> Vec<NodeStats> {
        let of = |node: &Node| {
            let mut stats = node.stats.clone();
            stats.errors = node.failing.max(0) as u64;
            if let Some(operator) = &node.operator {
                (stats.state, stats.late_rows) = (operator.state(), operator.late_rows());
                stats.spilled_bytes = operator.spilled_bytes();
            }
            let lowest = node.watermarks.iter().map(|mark| mark.nanos).min().filter(|&nanos| nanos > Watermark::NONE);
            stats.watermark_millis = lowest.and_then(|nanos| nanos.div_euclid(1_000_000).try_into().ok());
            stats
        };
        self.nodes.iter().map(of).collect()
    }

    /// The node of every input, in the order of the inputs.
    pub fn input_nodes(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().copied()
    }

    /// Changed rows taken and given out by every node since the start, in the order of the nodes.
    pub fn counters(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.nodes.iter().map(|node| (node.stats.rows_in, node.stats.rows_out))
    }

    /// Bytes of memory that all operators hold between ticks, estimated.
    pub fn state_bytes(&self) -> usize {
        self.nodes.iter().filter_map(|node| node.operator.as_ref()).map(|operator| operator.state().bytes).sum()
    }

    /// Bytes of state that lie in files.
    pub fn spilled_bytes(&self) -> u64 {
        self.nodes.iter().filter_map(|node| node.operator.as_ref()).map(|operator| operator.spilled_bytes()).sum()
    }

    /// Writes out what the governor of memory has chosen ([`crate::Governor::choose`]). To be called between ticks.
    ///
    /// # Errors
    /// `Unavailable` where the disk takes no more; what was not written out is still held.
    pub fn relieve(&mut self) -> Result<()> {
        let operators = self.nodes.iter_mut().filter_map(|node| node.operator.as_mut());
        operators.into_iter().try_for_each(|operator| operator.relieve())
    }

    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("the dataflow has failed in an earlier tick and is to be rebuilt"));
        }
        Ok(())
    }

    /// Gives a node what waits for it.
    fn take_in(&mut self, node: usize, ctx: &TickContext) -> Result<()> {
        let clock = self.clock.clone();
        let now = || clock.as_ref().map(|clock| clock.monotonic());
        let mut waiting = std::mem::take(&mut self.nodes[node].waiting);
        let Some(operator) = &self.nodes[node].operator else { return Ok(()) };
        let keeps = !operator.is_stateless();
        waiting.sort_by_key(|chunk| operator.turn(chunk.port));
        let mut busy = Duration::ZERO;
        for Waiting { port, batch, number } in waiting {
            let mut out = Output::new();
            let started = now();
            let Node { operator: Some(operator), stats, .. } = &mut self.nodes[node] else { unreachable!("checked") };
            stats.rows_in += batch.len() as u64;
            operator.begin_batch(number);
            let batch = if keeps { maps::ordered(&batch)? } else { batch };
            operator.push(port, &batch, ctx, &mut out)?;
            busy += now().zip(started).map_or(Duration::ZERO, |(end, start)| end.saturating_sub(start));
            self.distribute(node, out, number);
        }
        self.nodes[node].stats.busy_nanos += busy.as_nanos() as u64;
        Ok(())
    }

    /// Gives a node what waits for it, in the middle of a tick.
    pub(crate) fn work_node(&mut self, node: usize, ctx: &TickContext) -> Result<()> {
        self.take_in(node, ctx)?;
        let mut out = Output::new();
        if let Some(operator) = &mut self.nodes[node].operator {
            operator.work(ctx, &mut out)?;
        }
        self.distribute(node, out, self.pushed);
        Ok(())
    }

    fn run(&mut self, node: usize, ctx: &TickContext) -> Result<()> {
        self.take_in(node, ctx)?;
        if self.nodes[node].operator.is_none() {
            return Ok(());
        }
        let clock = self.clock.clone();
        let now = || clock.as_ref().map(|clock| clock.monotonic());
        let mut out = Output::new();
        let started = now();
        let (before, this) = self.nodes.split_at_mut(node);
        let Node { operator: Some(operator), inputs, watermarks, .. } = &mut this[0] else { unreachable!("checked") };
        let inputs: Vec<&[Watermark]> = inputs.iter().map(|&input| before[input].watermarks.as_slice()).collect();
        operator.finish(ctx, &mut out)?;
        operator.leave_open(&self.last);
        *watermarks = operator.advance(&inputs)?;
        let busy = now().zip(started).map_or(Duration::ZERO, |(end, start)| end.saturating_sub(start));
        self.nodes[node].stats.busy_nanos += busy.as_nanos() as u64;
        self.gather_failed(node)?;
        self.distribute(node, out, self.pushed);
        Ok(())
    }

    /// Takes over the rows that a node left out in this tick.
    ///
    /// # Errors
    /// Where errors are not kept, that of the first row; where they are, if there are too many.
    fn gather_failed(&mut self, node: usize) -> Result<()> {
        let Node { operator: Some(operator), stats, name, failing, .. } = &mut self.nodes[node] else { return Ok(()) };
        let failed = operator.take_failed();
        self.errors_in_tick += failed.len();
        let too_many = self.errors_in_tick > MOST_FAILING_ROWS;
        for failed in failed {
            if too_many {
                return Err(failed.one_of_more_than(MOST_FAILING_ROWS));
            }
            if !self.keeps_errors {
                return Err(failed.named());
            }
            let Failed { row, error, weight } = failed;
            *failing += weight;
            let operator = stats.label.as_ref().unwrap_or(name).clone();
            self.errors.push(RowError { node, operator, row, error, weight });
        }
        Ok(())
    }

    /// Lays a node's output before its consumers and the outputs that hand it out, in chunks.
    fn distribute(&mut self, node: usize, batches: Vec<ChangeBatch>, number: u64) {
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            self.nodes[node].stats.rows_out += batch.len() as u64;
            for consumer in 0..self.nodes[node].consumers.len() {
                let (consumer, port) = self.nodes[node].consumers[consumer];
                let chunks = pieces(batch.clone(), STEP_ROWS).map(|batch| Waiting { port, batch, number });
                self.nodes[consumer].waiting.extend(chunks);
            }
            for (output, produced) in self.produced.iter_mut().enumerate() {
                if self.outputs[output] == node {
                    produced.push(batch.clone());
                }
            }
        }
    }
}

/// A batch in pieces of at most so many rows.
fn pieces(batch: ChangeBatch, rows: usize) -> impl Iterator<Item = ChangeBatch> {
    let len = batch.len();
    (0..len)
        .step_by(rows)
        .map(move |from| if len <= rows { batch.clone() } else { batch.slice(from, rows.min(len - from)) })
}
