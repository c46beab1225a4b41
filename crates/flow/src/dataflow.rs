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
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};

use crate::consolidate::consolidate_by;
use crate::hash::HashMode;
use crate::operator::{CHUNK_ROWS, Operator, Output, StateSize, TickContext};
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
    pub(crate) failed: bool,
}

/// An operator in its place.
pub(crate) struct Node {
    pub name: String,
    /// `None`: an input of the dataflow.
    pub operator: Option<Box<dyn Operator>>,
    pub schema: Schema,
    pub append_only: bool,
    pub inputs: Vec<usize>,
    /// Who takes this node's output: node and port.
    pub consumers: Vec<(usize, usize)>,
    /// Chunks that wait for this node, with their ports.
    pub waiting: Vec<(usize, ChangeBatch)>,
    pub stats: NodeStats,
}

impl Dataflow {
    /// Lays up changes of an input for the tick; may be called many times, with batches of any size.
    ///
    /// # Errors
    /// `Internal` where there is no such input, the columns do not fit its schema, or the dataflow has failed before.
    pub fn push(&mut self, input: usize, batch: ChangeBatch) -> Result<()> {
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
        self.distribute(node, vec![batch]);
        Ok(())
    }

    /// Runs the tick and hands out, per output, its consolidated changes in batches of at most [`CHUNK_ROWS`] rows,
    /// withdrawn rows first.
    ///
    /// # Errors
    /// What an operator reports (a division by zero, a row that does not fit), naming the operator; the dataflow is then
    /// of no further use.
    pub fn finish_tick(&mut self, ctx: &TickContext) -> Result<Vec<Vec<ChangeBatch>>> {
        self.check_alive()?;
        self.failed = true;
        for node in 0..self.nodes.len() {
            self.run(node, ctx).map_err(|error| error.context(format!("{} (node {node})", self.nodes[node].name)))?;
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (produced, &node) in self.produced.iter_mut().zip(&self.outputs) {
            let all = consolidate_by(&std::mem::take(produced), &self.nodes[node].schema, self.hash)?;
            outputs.push(chunks(all).collect());
        }
        self.failed = false;
        Ok(outputs)
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
            stats.state = node.operator.as_ref().map_or(StateSize::default(), |operator| operator.state());
            stats
        };
        self.nodes.iter().map(of).collect()
    }

    /// Changed rows taken and given out by every node since the start, in the order of the nodes.
    pub fn counters(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.nodes.iter().map(|node| (node.stats.rows_in, node.stats.rows_out))
    }

    /// Bytes of memory that all operators hold between ticks, estimated.
    pub fn state_bytes(&self) -> usize {
        self.nodes.iter().filter_map(|node| node.operator.as_ref()).map(|operator| operator.state().bytes).sum()
    }

    fn check_alive(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("the dataflow has failed in an earlier tick and is to be rebuilt"));
        }
        Ok(())
    }

    fn run(&mut self, node: usize, ctx: &TickContext) -> Result<()> {
        let clock = self.clock.clone();
        let now = || clock.as_ref().map(|clock| clock.monotonic());
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        if self.nodes[node].operator.is_none() {
            return Ok(());
        }
        let mut busy = Duration::ZERO;
        for (port, batch) in waiting {
            let mut out = Output::new();
            let started = now();
            let Node { operator: Some(operator), stats, .. } = &mut self.nodes[node] else { unreachable!("checked") };
            stats.rows_in += batch.len() as u64;
            operator.push(port, &batch, ctx, &mut out)?;
            busy += now().zip(started).map_or(Duration::ZERO, |(end, start)| end.saturating_sub(start));
            self.distribute(node, out);
        }
        let mut out = Output::new();
        let started = now();
        if let Some(operator) = &mut self.nodes[node].operator {
            operator.finish(ctx, &mut out)?;
        }
        busy += now().zip(started).map_or(Duration::ZERO, |(end, start)| end.saturating_sub(start));
        self.nodes[node].stats.busy_nanos += busy.as_nanos() as u64;
        self.distribute(node, out);
        Ok(())
    }

    /// Lays a node's output before its consumers and the outputs that hand it out, in chunks.
    fn distribute(&mut self, node: usize, batches: Vec<ChangeBatch>) {
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            self.nodes[node].stats.rows_out += batch.len() as u64;
            for consumer in 0..self.nodes[node].consumers.len() {
                let (consumer, port) = self.nodes[node].consumers[consumer];
                self.nodes[consumer].waiting.extend(chunks(batch.clone()).map(|chunk| (port, chunk)));
            }
            for (output, produced) in self.produced.iter_mut().enumerate() {
                if self.outputs[output] == node {
                    produced.push(batch.clone());
                }
            }
        }
    }
}

/// A batch in pieces of at most [`CHUNK_ROWS`] rows.
fn chunks(batch: ChangeBatch) -> impl Iterator<Item = ChangeBatch> {
    let len = batch.len();
    (0..len)
        .step_by(CHUNK_ROWS)
        .map(move |from| if len <= CHUNK_ROWS { batch.clone() } else { batch.slice(from, CHUNK_ROWS.min(len - from)) })
}
