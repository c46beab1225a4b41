//! Builds a dataflow bottom-up, node by node.
//!
//! Every node knows the columns that it gives out and whether it ever withdraws a row; operators over append-only nodes
//! keep less. Operators over two inputs, and those that put columns beside a row, are in [`joins`].

mod joins;

use std::sync::Arc;

use gridhouse_base::clock::Clock;
use gridhouse_base::{ChangeBatch, Column, Error, Result, Schema, TypeKind};
use gridhouse_expr::{AggregateCall, Expr};

use crate::aggregate::Aggregate;
use crate::dataflow::{Dataflow, Node, new_version};
use crate::event_time::EventTime;
use crate::filter::Filter;
use crate::hash::HashMode;
use crate::keys::Keys;
use crate::map::Map;
use crate::operator::Operator;
use crate::spill::{Anchored, Governor, Spilling};
use crate::stats::NodeStats;
use crate::topn::{TopN, TopNOperator};
use crate::union::Union;
use crate::values::Values;

/// A node of a dataflow under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

impl NodeId {
    /// Its number among the nodes, as in their statistics.
    pub fn number(self) -> usize {
        self.0
    }
}

/// Collects nodes bottom-up; see [`DataflowBuilder::build`].
pub struct DataflowBuilder {
    nodes: Vec<Node>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    seed: u64,
    hash: HashMode,
    clock: Option<Arc<dyn Clock>>,
    governor: Option<Arc<Governor>>,
    keeps_errors: bool,
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
        let (nodes, inputs, outputs) = (Vec::new(), Vec::new(), Vec::new());
        Self { nodes, inputs, outputs, seed, hash, clock: None, governor: None, keeps_errors: false }
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

    /// What keyed operators hold is watched over by `governor`, which sends parts of it to disk where memory is short.
    pub fn governor(mut self, governor: Arc<Governor>) -> Self {
        self.governor = Some(governor);
        self
    }

    /// Rows for which an expression fails are left out and gathered ([`Dataflow::take_errors`]) instead of failing the tick.
    pub fn keep_errors(mut self) -> Self {
        self.keeps_errors = true;
        self
    }

    /// Says what a node stands for, in the user's words; shown with its figures and in its errors.
    pub fn label(&mut self, node: NodeId, text: impl Into<String>) {
        self.nodes[node.0].stats.label = Some(text.into());
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

    /// The rows of `input` with their time in `column` (a timestamp), whose watermark follows the largest time by a delay. Over
    /// an input that only grows, rows that come after the watermark are left out and counted, and operators above drop what
    /// no on-time row can meet; over others nothing changes. Rows that are filtered out below do not move the watermark, so
    /// this belongs right above what is read. See [`crate::event_time`].
    ///
    /// # Errors
    /// `Internal` where the column holds no time.
    pub fn event_time(&mut self, input: NodeId, column: usize, delay_millis: i64) -> Result<NodeId> {
        let node = &self.nodes[input.0];
        let operator = EventTime::new(&node.schema, column, delay_millis)?;
        if !node.append_only {
            return Ok(input);
        }
        let schema = node.schema.clone();
        Ok(self.add("watermark".into(), Some(Box::new(operator)), schema, true, &[input]))
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
                Expr::Column { index, .. } => self.nodes[input.0].schema.columns.get(*index).map(|c| c.name.clone()),
                _ => None,
            };
            Column::new(name.unwrap_or_else(|| format!("EXPR${i}")), e.sql_type().clone())
        };
        let schema = Schema::new(expressions.iter().enumerate().map(column).collect());
        let append_only = self.nodes[input.0].append_only;
        // Rows that differ stay different where all their columns stay.
        let stays = |column| expressions.iter().any(|expression| expression.as_column() == Some(column));
        let each_once = self.nodes[input.0].each_once && (0..self.nodes[input.0].schema.len()).all(stays);
        let operator = Map::new(expressions, self.schema(input), self.node_seed());
        let node = self.add("map".into(), Some(Box::new(operator)), schema, append_only, &[input]);
        self.nodes[node.0].each_once = each_once;
        node
    }

    /// The rows for which `condition` is true.
    pub fn filter(&mut self, input: NodeId, condition: Expr) -> NodeId {
        let Node { schema, append_only, .. } = &self.nodes[input.0];
        let (schema, append_only) = (schema.clone(), *append_only);
        let operator = Filter::new(condition, &schema, self.node_seed());
        let node = self.add("filter".into(), Some(Box::new(operator)), schema, append_only, &[input]);
        self.nodes[node.0].each_once = self.nodes[input.0].each_once;
        node
    }

    /// All rows of all `inputs` (at least one), as `UNION ALL`.
    ///
    /// # Errors
    /// `Internal` where the inputs' columns differ in type.
    pub fn union(&mut self, inputs: Vec<NodeId>) -> Result<NodeId> {
        let schema = self.common_schema("union", &inputs)?;
        let append_only = inputs.iter().all(|node| self.nodes[node.0].append_only);
        Ok(self.add("union".into(), Some(Box::new(Union)), schema, append_only, &inputs))
    }

    /// The columns of rows that come from any of `inputs`: those of the first, NULL where one of them can be.
    fn common_schema(&self, operation: &str, inputs: &[NodeId]) -> Result<Schema> {
        let types = |node: &NodeId| {
            let columns = &self.nodes[node.0].schema.columns;
            columns.iter().map(|c| c.sql_type.kind.arrow()).collect::<Vec<_>>()
        };
        let Some(first) = inputs.first() else {
            return Err(Error::internal(format!("{operation} of nothing has no columns")));
        };
        if let Some(other) = inputs.iter().find(|node| types(node) != types(first)) {
            let (a, b) = (self.schema(*first), self.schema(*other));
            return Err(Error::internal(format!("{operation} joins rows of different types: {a:?} and {b:?}")));
        }
        let mut schema = self.nodes[first.0].schema.clone();
        for node in inputs {
            for (column, other) in schema.columns.iter_mut().zip(&self.nodes[node.0].schema.columns) {
                column.sql_type.nullable |= other.sql_type.nullable;
            }
        }
        Ok(schema)
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
        let (schema, append_only, hash) = (node.schema.clone(), node.append_only, self.hash);
        let (own_keys, own_calls) = (keys.clone(), calls.clone());
        let fresh = move |_| {
            let operator = Aggregate::new(&schema, own_keys.clone(), own_calls.clone(), append_only, hash)?;
            Ok(Box::new(operator) as Box<dyn Operator>)
        };
        let operator = self.keyed(fresh, &[(input, keys.clone())]).map_err(|error| error.context(name))?;
        let node = &self.nodes[input.0];
        let mut schema = node.schema.project(&keys);
        let result = |(i, call): (usize, &AggregateCall)| Column::new(format!("EXPR${i}"), call.sql_type.clone());
        schema.columns.extend(calls.iter().enumerate().map(result));
        // Without functions a group's row never changes, so over an append-only input none is ever withdrawn.
        let append_only = node.append_only && calls.is_empty();
        Ok(self.add(name.into(), Some(operator), schema, append_only, &[input]))
    }

    /// The first rows of every partition in an order; with a rank, that column follows (`rank`, BIGINT).
    ///
    /// # Errors
    /// `Internal` where a column does not exist.
    pub fn top_n(&mut self, input: NodeId, spec: TopN) -> Result<NodeId> {
        let node = &self.nodes[input.0];
        let mut schema = node.schema.clone();
        if spec.rank {
            schema.columns.push(Column::new("rank", TypeKind::BigInt.not_null()));
        }
        let name = spec.name();
        let (rows, append_only, hash, partition) =
            (node.schema.clone(), node.append_only, self.hash, spec.partition.clone());
        let fresh = move |_| {
            let operator = TopNOperator::new(&rows, spec.clone(), append_only, hash)?;
            Ok(Box::new(operator) as Box<dyn Operator>)
        };
        let operator = self.keyed(fresh, &[(input, partition)]).map_err(|error| error.context(&name))?;
        Ok(self.add(name, Some(operator), schema, false, &[input]))
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
            pushed: 0,
            last: Vec::new(),
            keeps_errors: self.keeps_errors,
            errors: Vec::new(),
            errors_in_tick: 0,
            failed: false,
            is_within: false,
            version: new_version(),
        }
    }

    /// An operator whose inputs' rows have their keys in these columns, all of the same types. Where memory is watched over
    /// it can be cut by them; `fresh` makes the operator of a part.
    fn keyed(
        &self,
        fresh: impl Fn(u32) -> Result<Box<dyn Operator>> + Send + 'static,
        inputs: &[(NodeId, Vec<usize>)],
    ) -> Result<Box<dyn Operator>> {
        let Some(governor) = &self.governor else { return fresh(0) };
        let Some((first, columns)) = inputs.first().filter(|(_, columns)| !columns.is_empty()) else {
            return Ok(self.anchored(fresh(0)?));
        };
        // Columns that do not exist are for the operator to refuse.
        let whole = fresh(0)?;
        let types: Vec<_> =
            self.schema(*first).project(columns).columns.iter().map(|column| column.sql_type.kind.arrow()).collect();
        let columns = inputs.iter().map(|(_, columns)| columns.clone()).collect();
        let keys = Keys::new(&types, self.hash)?;
        Ok(Box::new(Spilling::new(Box::new(fresh), whole, keys, columns, governor.clone())?))
    }

    /// An operator whose state cannot be cut.
    fn anchored(&self, operator: Box<dyn Operator>) -> Box<dyn Operator> {
        match &self.governor {
            Some(governor) => Box::new(Anchored::new(operator, governor.clone())),
            None => operator,
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
        let inputs: Vec<usize> = inputs.iter().map(|node| node.0).collect();
        let stats = NodeStats::new(self.nodes.len(), &name, inputs.clone());
        let (consumers, waiting, mut operator) = (Vec::new(), Vec::new(), operator);
        let marks: Vec<_> = inputs.iter().map(|&input| self.nodes[input].watermarks.as_slice()).collect();
        // Before the first tick nothing is held, so nothing can fail.
        let watermarks = operator.as_mut().and_then(|operator| operator.advance(&marks).ok()).unwrap_or_default();
        let failing = 0;
        let each_once = operator.as_ref().is_some_and(|operator| operator.gives_each_row_once());
        let node = Node {
            name,
            operator,
            schema,
            append_only,
            each_once,
            inputs,
            consumers,
            waiting,
            watermarks,
            failing,
            stats,
        };
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}
