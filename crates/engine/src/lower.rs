//! From the plan to a dataflow: every node becomes its operator, every scan an input.
//!
//! The plan's types are explicit and its columns are indices already, so nothing is decided here but names of operators. A
//! sort without limit has no meaning inside a stream and leaves its input as it is; the order of a query's own rows is made
//! where they are shown.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::ArrayRef;
use gridhouse_base::clock::Clock;
use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, Error, ErrorKind, Result, Schema, TableId, Value};
use gridhouse_expr::EvalContext;
use gridhouse_flow::connector::{Found, Lookup};
use gridhouse_flow::{
    Dataflow, DataflowBuilder, Governor, HashMode, JoinKey, JoinKind as FlowJoin, JoinSpec, LookupSpec, NodeId,
    ProbeSpec, SetKind as FlowSet, SetOperation, SortKey, TickContext, TimeBound, TopN, Unnest,
};
use gridhouse_sql::explain::node_text;
use gridhouse_sql::plan::{self, JoinKind, Limit, Plan, Scan, SetKind, Values};
use gridhouse_sql::properties::is_deterministic;
use gridhouse_sql::watermark_delay_millis;

use crate::awaiting::{LastAway, LookupPlace};
use crate::job::Input;
use crate::prepare::Connectors;
use crate::timed::TimedScans;

/// What a plan is lowered upon.
pub(crate) struct Ground<'a> {
    /// The stored table of a name.
    pub(crate) table_of: &'a dyn Fn(&ObjectPath) -> Option<TableId>,
    /// The time and zone of rows given in the text.
    pub(crate) context: &'a TickContext,
    /// Measures the time that each operator takes.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    /// How operators hash keys.
    pub(crate) hash: HashMode,
    /// Watches over the memory of what operators hold.
    pub(crate) governor: Option<&'a Arc<Governor>>,
    /// Whether rows that cannot be computed are gathered instead of failing the tick.
    pub(crate) keeps_errors: bool,
    /// Whether rows that come after the watermark are left out, so that joins bounded in time need not keep all rows. A query
    /// over rows that are all there has no use for it.
    pub(crate) leaves_late_rows_out: bool,
    /// Where rows of outside tables are looked up.
    pub(crate) connectors: &'a Connectors,
    /// While this is true, the outside is not asked: rows are taken again whose answers are not known any more.
    pub(crate) refuses: Option<&'a Arc<AtomicBool>>,
    /// Where an outside that does not answer is noted, for a job that then waits for it.
    pub(crate) away: Option<&'a LastAway>,
}

/// The dataflow of `plan` with one output, and what its inputs read. Where `unique` names columns, at most one row for each of
/// their values comes out: the largest, column by column.
///
/// # Errors
/// `NotFound` where a table is gone; `Invalid` where an operator cannot work on its input.
pub(crate) fn lower(plan: &Plan, unique: Option<&[usize]>, ground: &Ground<'_>) -> Result<Lowered> {
    let mut builder = DataflowBuilder::new(0).hash_mode(ground.hash);
    if ground.keeps_errors {
        builder = builder.keep_errors();
    }
    if let Some(clock) = &ground.clock {
        builder = builder.clock(clock.clone());
    }
    if let Some(governor) = ground.governor {
        builder = builder.governor(governor.clone());
    }
    let timed = if ground.leaves_late_rows_out { TimedScans::of(plan) } else { TimedScans::default() };
    let mut lowering =
        Lowering { builder, inputs: Vec::new(), lines: BTreeMap::new(), number: 0, done: Vec::new(), timed, ground };
    let mut root = lowering.node(plan)?;
    if let Some(key) = unique {
        let others = (0..plan.schema().len()).filter(|column| !key.contains(column));
        let order = others.map(|column| SortKey { column, descending: true, nulls_first: false }).collect();
        let first = TopN { partition: key.to_vec(), order, limit: Some(1), ..TopN::default() };
        root = lowering.builder.top_n(root, first)?;
    }
    lowering.builder.output(root);
    let Lowering { builder, inputs, lines, .. } = lowering;
    Ok(Lowered { dataflow: builder.build(), inputs, lines })
}

/// A dataflow, what it reads and what its nodes stand for.
pub(crate) struct Lowered {
    pub(crate) dataflow: Dataflow,
    pub(crate) inputs: Vec<Input>,
    /// The part of the plan that a node of the dataflow carries out.
    pub(crate) lines: BTreeMap<NodeId, PlanLine>,
}

/// A node of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanLine {
    /// Its place when the plan is visited, each node before its inputs.
    pub(crate) number: usize,
    /// What it does, as `EXPLAIN` has it.
    pub(crate) text: String,
}

struct Lowering<'a> {
    builder: DataflowBuilder,
    inputs: Vec<Input>,
    lines: BTreeMap<NodeId, PlanLine>,
    /// How many nodes of the plan have been begun.
    number: usize,
    /// The parts of the plan that are built.
    done: Vec<(&'a Plan, Vec<bool>, NodeId)>,
    /// The tables whose late rows are left out.
    timed: TimedScans<'a>,
    ground: &'a Ground<'a>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, plan: &'a Plan) -> Result<NodeId> {
        let number = self.number;
        let timed = self.timed.within(plan);
        if let Some((.., node)) = self.done.iter().find(|(done, marks, _)| *done == plan && *marks == timed) {
            // The same part of a plan twice (a common table expression, the query around a subquery) is computed once.
            let node = *node;
            plan.visit(&mut |_| self.number += 1);
            return Ok(node);
        }
        self.number += 1;
        let node = self.operator(plan)?;
        if is_deterministic(plan) {
            self.done.push((plan, timed, node));
        }
        // A node that adds nothing of its own leaves the line to its input.
        if let Entry::Vacant(line) = self.lines.entry(node) {
            let text = node_text(plan);
            self.builder.label(node, &text);
            line.insert(PlanLine { number, text });
        }
        Ok(node)
    }

    fn operator(&mut self, plan: &'a Plan) -> Result<NodeId> {
        match plan {
            Plan::Scan(scan) => self.scan(scan),
            Plan::Values(values) => {
                let rows = constant_rows(values, self.ground.context)?;
                Ok(self.builder.values((*values.schema).clone(), rows))
            }
            Plan::Filter(filter) => {
                let input = self.node(&filter.input)?;
                Ok(self.builder.filter(input, filter.predicate.clone()))
            }
            Plan::Project(project) => {
                let input = self.node(&project.input)?;
                Ok(self.builder.map(input, project.exprs.clone()))
            }
            Plan::UnionAll(union) => {
                let inputs = union.inputs.iter().map(|input| self.node(input)).collect::<Result<Vec<_>>>()?;
                self.builder.union(inputs)
            }
            Plan::Aggregate(aggregate) => {
                let input = self.node(&aggregate.input)?;
                if aggregate.calls.is_empty() && aggregate.keys.len() == aggregate.input.schema().len() {
                    return self.builder.distinct(input);
                }
                self.builder.aggregate(input, aggregate.keys.clone(), aggregate.calls.clone())
            }
            Plan::Join(join) => {
                let left = self.node(&join.left)?;
                let right = self.node(&join.right)?;
                let kind = match join.kind {
                    JoinKind::Inner => FlowJoin::Inner,
                    JoinKind::Left => FlowJoin::Left,
                    JoinKind::Right => FlowJoin::Right,
                    JoinKind::Full => FlowJoin::Full,
                    JoinKind::Semi => FlowJoin::Semi,
                    JoinKind::Anti => FlowJoin::Anti,
                };
                let time = join.time.map(|time| TimeBound {
                    left: time.left,
                    right: time.right,
                    lower_millis: time.lower_millis,
                    upper_millis: time.upper_millis,
                });
                let (keys, residual) = (join_keys(&join.keys), join.residual.clone());
                self.builder.join(left, right, JoinSpec { kind, keys, residual, time })
            }
            Plan::SetOperation(operation) => {
                let left = self.node(&operation.left)?;
                let right = self.node(&operation.right)?;
                let kind = match operation.kind {
                    SetKind::Intersect => FlowSet::Intersect,
                    SetKind::Except => FlowSet::Except,
                };
                self.builder.set_operation(left, right, SetOperation { kind, all: operation.all })
            }
            Plan::Rank(rank) => {
                let input = self.node(&rank.input)?;
                let order = rank.order.iter().map(sort_key).collect();
                let (partition, offset, limit) = (rank.partition.clone(), rank.offset, rank.limit);
                self.builder.top_n(input, TopN { partition, order, offset, limit, rank: rank.rank })
            }
            Plan::Unnest(unnest) => {
                let input = self.node(&unnest.input)?;
                let columns = unnest.schema.columns[unnest.input.schema().len()..].to_vec();
                let (expr, kind) = (unnest.column, matching(unnest.outer));
                let spec = Unnest { expr, kind, ordinality: unnest.ordinality, schema: Schema::new(columns) };
                self.builder.unnest(input, spec)
            }
            Plan::Probe(probe) => {
                let left = self.node(&probe.left)?;
                let right = self.node(&probe.right)?;
                let (kind, keys) = (matching(probe.outer), join_keys(&probe.keys));
                self.builder.probe(left, right, ProbeSpec { kind, keys, residual: probe.residual.clone() })
            }
            Plan::Lookup(lookup) => {
                let input = self.node(&lookup.input)?;
                let own = lookup.keys.iter().map(|(own, _)| *own).collect();
                let place = LookupPlace::of(lookup, self.ground.connectors)?;
                let open = place.open();
                let outside = open.map_err(|error| error.context(format!("table {}", place.definition.path)))?;
                let refuses = self.ground.refuses.cloned().unwrap_or_default();
                let asked = Asked { outside, place, refuses, away: self.ground.away.cloned() };
                let columns = lookup.schema.columns[lookup.input.schema().len()..].to_vec();
                let (kind, schema) = (matching(lookup.outer), Schema::new(columns));
                let spec = LookupSpec { kind, keys: own, residual: lookup.residual.clone(), schema };
                self.builder.lookup(input, Box::new(asked), spec)
            }
            Plan::Sort(sort) => self.node(&sort.input),
            Plan::Limit(limit) => self.limit(limit),
        }
    }

    fn scan(&mut self, scan: &Scan) -> Result<NodeId> {
        let path = &scan.table.path;
        let table =
            (self.ground.table_of)(path).ok_or_else(|| Error::not_found(format!("table {path} has no rows here")))?;
        let stored: Vec<usize> = scan.table.physical().collect();
        let position = |column: &usize| stored.iter().position(|s| s == column).expect("scans read stored columns");
        let columns = scan.columns.iter().map(position).collect();
        let in_order = self.timed.contains(scan);
        self.inputs.push(Input { path: path.clone(), table, columns, in_order });
        let schema = (*scan.schema).clone();
        let append_only = is_append_only(&scan.table);
        let input = if append_only { self.builder.append_only_input(schema) } else { self.builder.input(schema) };
        let time = scan.table.watermark.as_ref().and_then(|w| scan.columns.iter().position(|&c| c == w.column));
        match (time, watermark_delay_millis(&scan.table)) {
            (Some(column), Some(delay)) if in_order => self.builder.event_time(input, column, delay),
            _ => Ok(input),
        }
    }

    fn limit(&mut self, limit: &'a Limit) -> Result<NodeId> {
        let (input, keys) = match limit.input.as_ref() {
            Plan::Sort(sort) => {
                // The sort is a part of the limit's operator.
                self.number += 1;
                (self.node(&sort.input)?, sort.keys.as_slice())
            }
            other => (self.node(other)?, [].as_slice()),
        };
        let order = keys.iter().map(sort_key).collect();
        let top = TopN { order, offset: limit.offset, limit: limit.fetch, ..TopN::default() };
        self.builder.top_n(input, top)
    }
}

/// A look-up whose outside may be away. That takes the job out, which waits for it, and does not fail the tick of all jobs.
struct Asked {
    outside: Box<dyn Lookup>,
    place: LookupPlace,
    refuses: Arc<AtomicBool>,
    away: Option<LastAway>,
}

impl Lookup for Asked {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Error::conflict(format!("{} would have to be asked again", self.place.definition.path)));
        }
        self.outside.lookup(keys, len).map_err(|error| {
            let is_away = error.kind() == ErrorKind::Unavailable;
            if is_away && let Some(away) = &self.away {
                away.set(self.place.clone());
            }
            let told = Error::new(
                if is_away { ErrorKind::Conflict } else { error.kind() },
                format!("look-up in {}: {error}", self.place.definition.path),
            );
            match error.remedy() {
                Some(hint) => told.hint(hint),
                None if is_away => told.hint("see whether its server runs and can be reached"),
                None => told,
            }
        })
    }

    fn check(&mut self) -> Result<()> {
        self.outside.check()
    }
}

fn sort_key(key: &plan::SortKey) -> SortKey {
    SortKey { column: key.column, descending: key.descending, nulls_first: key.nulls_first }
}

fn join_keys(keys: &[plan::JoinKey]) -> Vec<JoinKey> {
    keys.iter().map(|key| JoinKey { left: key.left, right: key.right, null_safe: key.null_safe }).collect()
}

/// Whether rows without a match stay.
fn matching(outer: bool) -> FlowJoin {
    if outer { FlowJoin::Left } else { FlowJoin::Inner }
}

/// Whether a table only grows.
pub(crate) fn is_append_only(table: &TableDef) -> bool {
    table.primary_key.is_empty()
}

/// The rows that a `VALUES` gives.
pub(crate) fn constant_rows(values: &Values, context: &TickContext) -> Result<ChangeBatch> {
    let context = EvalContext { now_micros: context.now_micros, zone: context.zone, seed: 0, first_row: 0 };
    let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity(values.rows.len()); values.schema.len()];
    for row in &values.rows {
        for (column, expr) in columns.iter_mut().zip(row) {
            let value = expr.eval(&[], 1, &context)?;
            column.push(Value::from_array(&value, 0, &expr.sql_type().kind));
        }
    }
    let array = |(values, column): (&Vec<Value>, &gridhouse_base::Column)| {
        Value::array_of(&values.iter().collect::<Vec<_>>(), &column.sql_type.kind)
    };
    let arrays = columns.iter().zip(&values.schema.columns).map(array).collect();
    Ok(ChangeBatch::insertions(arrays, values.rows.len()))
}
