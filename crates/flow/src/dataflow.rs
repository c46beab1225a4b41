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

use gridhouse_base::clock::Clock;
use gridhouse_base::{ChangeBatch, Column, Error, Result, Schema};
use gridhouse_expr::{AggregateCall, Expr};

use crate::aggregate::Aggregate;
use crate::consolidate::consolidate_by;
use crate::filter::Filter;
use crate::hash::HashMode;
use crate::map::Map;
use crate::operator::{CHUNK_ROWS, Operator, Output, StateSize, TickContext};
use crate::stats::NodeStats;
use crate::union::Union;
use crate::values::Values;

/// A node of a dataflow under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

/// Collects nodes bottom-up; see [`DataflowBuilder::build`].
pub struct DataflowBuilder {
    nodes: Vec<Node>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    seed: u64,
    hash: HashMode,
    clock: Option<Arc<dyn Clock>>,
}

struct Node {
    name: String,
    /// `None`: an input of the dataflow.
    operator: Option<Box<dyn Operator>>,
    schema: Schema,
    append_only: bool,
    inputs: Vec<usize>,
    /// Who takes this node's output: node and port.
    consumers: Vec<(usize, usize)>,
    /// Chunks that wait for this node, with their ports.
    waiting: Vec<(usize, ChangeBatch)>,
    stats: NodeStats,
}

impl Default for DataflowBuilder {
    fn default() -> Self {
        Self::new(0)
    }
}

impl DataflowBuilder {
    /// An empty graph; `seed` fixes hashes and random functions.
    pub fn new(seed: u64) -> Self {
        let hash = HashMode::Seeded(seed);
        Self { nodes: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), seed, hash, clock: None }
    }

    /// Hashes keys in another way; for tests.
    pub fn hash_mode(mut self, mode: HashMode) -> Self {
        self.hash = mode;
        self
    }

    /// Measures the time spent per node by `clock`.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The columns that a node gives out.
    pub fn schema(&self, node: NodeId) -> &Schema {
        &self.nodes[node.0].schema
    }

    /// Whether a node never withdraws a row.
    pub fn is_append_only(&self, node: NodeId) -> bool {
        self.nodes[node.0].append_only
    }

    /// An input; inputs are numbered from 0 in the order of these calls.
    pub fn input(&mut self, schema: Schema) -> NodeId {
        self.add_input(schema, false)
    }

    /// An input that never withdraws a row; operators over it keep less.
    pub fn append_only_input(&mut self, schema: Schema) -> NodeId {
        self.add_input(schema, true)
    }

    fn add_input(&mut self, schema: Schema, append_only: bool) -> NodeId {
        let name = format!("input {}", self.inputs.len());
        let node = self.add(name, None, schema, append_only, &[]);
        self.inputs.push(node.0);
        node
    }

    /// Constant rows, given out in the first tick.
    pub fn values(&mut self, schema: Schema, rows: ChangeBatch) -> NodeId {
        let append_only = (0..rows.len()).all(|i| rows.weight(i) > 0);
        self.add("values".into(), Some(Box::new(Values::new(rows))), schema, append_only, &[])
    }

    /// The values of `expressions` over every row.
    pub fn map(&mut self, input: NodeId, expressions: Vec<Expr>) -> NodeId {
        let column = |(i, e): (usize, &Expr)| {
            let name = match e {
                Expr::Column { index, .. } => self.nodes[input.0].schema.columns[*index].name.clone(),
                _ => format!("EXPR${i}"),
            };
            Column::new(name, e.sql_type().clone())
        };
        let schema = Schema::new(expressions.iter().enumerate().map(column).collect());
        let append_only = self.nodes[input.0].append_only;
        let operator = Map::new(expressions, self.node_seed());
        self.add("map".into(), Some(Box::new(operator)), schema, append_only, &[input])
    }

    /// The rows for which `condition` is true.
    pub fn filter(&mut self, input: NodeId, condition: Expr) -> NodeId {
        let Node { schema, append_only, .. } = &self.nodes[input.0];
        let (schema, append_only) = (schema.clone(), *append_only);
        let operator = Filter::new(condition, self.node_seed());
        self.add("filter".into(), Some(Box::new(operator)), schema, append_only, &[input])
    }

    /// All rows of all `inputs` (at least one), as `UNION ALL`.
    ///
    /// # Errors
    /// `Internal` where the inputs' columns differ in type.
    pub fn union(&mut self, inputs: Vec<NodeId>) -> Result<NodeId> {
        let types = |node: &NodeId| {
            let columns = &self.nodes[node.0].schema.columns;
            columns.iter().map(|c| c.sql_type.kind.arrow()).collect::<Vec<_>>()
        };
        let Some(first) = inputs.first() else { return Err(Error::internal("a union of nothing has no columns")) };
        if let Some(other) = inputs.iter().find(|node| types(node) != types(first)) {
            let (a, b) = (self.schema(*first), self.schema(*other));
            return Err(Error::internal(format!("a union joins rows of different types: {a:?} and {b:?}")));
        }
        let mut schema = self.nodes[first.0].schema.clone();
        for node in &inputs {
            for (column, other) in schema.columns.iter_mut().zip(&self.nodes[node.0].schema.columns) {
                column.sql_type.nullable |= other.sql_type.nullable;
            }
        }
        let append_only = inputs.iter().all(|node| self.nodes[node.0].append_only);
        Ok(self.add("union".into(), Some(Box::new(Union)), schema, append_only, &inputs))
    }

    /// One row per group of equal `keys` (columns of the input): the keys, then the calls' results.
    ///
    /// # Errors
    /// `Invalid` where a function cannot work on its arguments; `Internal` where a column does not exist.
    pub fn aggregate(&mut self, input: NodeId, keys: Vec<usize>, calls: Vec<AggregateCall>) -> Result<NodeId> {
        let name = if keys.is_empty() { "aggregate" } else { "group by" };
        self.add_aggregate(name, input, keys, calls)
    }

    /// Every different row once.
    ///
    /// # Errors
    /// `Invalid` where rows cannot be compared.
    pub fn distinct(&mut self, input: NodeId) -> Result<NodeId> {
        let keys: Vec<usize> = (0..self.nodes[input.0].schema.len()).collect();
        if keys.is_empty() {
            return Err(Error::internal("rows without columns cannot be told apart"));
        }
        self.add_aggregate("distinct", input, keys, Vec::new())
    }

    fn add_aggregate(
        &mut self,
        name: &str,
        input: NodeId,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
    ) -> Result<NodeId> {
        let node = &self.nodes[input.0];
        let operator = Aggregate::new(&node.schema, keys.clone(), calls.clone(), node.append_only, self.hash);
        let operator = operator.map_err(|error| error.context(name))?;
        let mut schema = node.schema.project(&keys);
        let result = |(i, call): (usize, &AggregateCall)| Column::new(format!("EXPR${i}"), call.sql_type.clone());
        schema.columns.extend(calls.iter().enumerate().map(result));
        // Without functions a group's row never changes, so over an append-only input none is ever withdrawn.
        let append_only = node.append_only && calls.is_empty();
        Ok(self.add(name.into(), Some(Box::new(operator)), schema, append_only, &[input]))
    }

    /// Hands out a node's changes; outputs are numbered from 0 in the order of these calls.
    pub fn output(&mut self, node: NodeId) -> usize {
        self.outputs.push(node.0);
        self.outputs.len() - 1
    }

    /// The graph, ready to run.
    pub fn build(self) -> Dataflow {
        let mut nodes = self.nodes;
        for consumer in 0..nodes.len() {
            for (port, producer) in nodes[consumer].inputs.clone().into_iter().enumerate() {
                nodes[producer].consumers.push((consumer, port));
            }
        }
        let produced = vec![Vec::new(); self.outputs.len()];
        Dataflow {
            nodes,
            inputs: self.inputs,
            outputs: self.outputs,
            produced,
            hash: self.hash,
            clock: self.clock,
            failed: false,
        }
    }

    fn node_seed(&self) -> u64 {
        self.hash_seed(self.nodes.len() as u64)
    }

    fn hash_seed(&self, node: u64) -> u64 {
        HashMode::Seeded(self.seed).words([node])
    }

    fn add(
        &mut self,
        name: String,
        operator: Option<Box<dyn Operator>>,
        schema: Schema,
        append_only: bool,
        inputs: &[NodeId],
    ) -> NodeId {
        let stats = NodeStats::new(self.nodes.len(), &name, inputs.iter().map(|node| node.0).collect());
        let inputs = inputs.iter().map(|node| node.0).collect();
        let (consumers, waiting) = (Vec::new(), Vec::new());
        self.nodes.push(Node { name, operator, schema, append_only, inputs, consumers, waiting, stats });
        NodeId(self.nodes.len() - 1)
    }
}

/// A running dataflow.
pub struct Dataflow {
    nodes: Vec<Node>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// What each output has got in this tick.
    produced: Vec<Vec<ChangeBatch>>,
    hash: HashMode,
    clock: Option<Arc<dyn Clock>>,
    failed: bool,
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
        let mut busy = std::time::Duration::ZERO;
        for (port, batch) in waiting {
            let mut out = Output::new();
            let started = now();
            let Node { operator: Some(operator), stats, .. } = &mut self.nodes[node] else { unreachable!("checked") };
            stats.rows_in += batch.len() as u64;
            operator.push(port, &batch, ctx, &mut out)?;
            busy += now().zip(started).map_or(std::time::Duration::ZERO, |(end, start)| end.saturating_sub(start));
            self.distribute(node, out);
        }
        let mut out = Output::new();
        let started = now();
        if let Some(operator) = &mut self.nodes[node].operator {
            operator.finish(ctx, &mut out)?;
        }
        busy += now().zip(started).map_or(std::time::Duration::ZERO, |(end, start)| end.saturating_sub(start));
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
