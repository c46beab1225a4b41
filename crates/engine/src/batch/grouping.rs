//! Grouping by one column of a table right where it is read.
//!
//! DataFusion hashes and compares the key of every row. Where a table's scan can tell more about the key, this takes the place
//! of the first of its two steps of grouping: texts that are stored as codes are looked at once per dictionary, and whole
//! numbers that lie close together not at all ([`Numbering`]). What comes out is what the first step gives, the states of
//! the accumulators by key, and goes to the second as usual. A key may come out several times, so memory is bounded: when there
//! are many groups, they are handed on and forgotten.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures_util::stream;
use gridhouse_store::Scan;

use super::numbering::Numbering;
use super::provider::{KeyForm, TableScan};
use super::runtime::stopped;

/// How many groups are kept before they are handed on: their accumulators stay in a second-level cache, more or less.
const MOST_GROUPS: usize = 1 << 16;

/// After how many batches other queries have their turn.
const BATCHES_AT_ONCE: usize = 16;

/// Puts [`GroupedScan`] into plans.
#[derive(Debug)]
pub(super) struct GroupWhereRead;

impl PhysicalOptimizerRule for GroupWhereRead {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let replaced = |plan: Arc<dyn ExecutionPlan>| {
            Ok(match GroupedScan::of(&plan)? {
                Some(grouped) => Transformed::yes(Arc::new(grouped) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(plan),
            })
        };
        plan.transform_down(replaced).data()
    }

    fn name(&self) -> &str {
        "group_where_read"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// An argument of an aggregate function.
#[derive(Clone, Debug)]
enum Argument {
    /// A column of the scan.
    Column(usize),
    Constant(Arc<dyn PhysicalExpr>),
}

/// Reads a table and groups its rows by one of its columns.
#[derive(Debug)]
struct GroupedScan {
    name: String,
    /// Each is read by a clone of its own.
    parts: Vec<Scan>,
    stop: Arc<AtomicBool>,
    /// The column of the scan that is grouped by, and what it is like.
    key: (usize, KeyForm),
    functions: Vec<(Arc<AggregateFunctionExpr>, Vec<Argument>)>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl GroupedScan {
    /// What `plan` does, if it is a first step of grouping that this can do.
    fn of(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Option<Self>> {
        let Some(node) = plan.downcast_ref::<AggregateExec>().filter(|node| *node.mode() == AggregateMode::Partial)
        else {
            return Ok(None);
        };
        let (scan, projection) = match node.input().downcast_ref::<ProjectionExec>() {
            Some(projection) => (projection.input().downcast_ref::<TableScan>(), Some(projection.expr())),
            None => (node.input().downcast_ref::<TableScan>(), None),
        };
        // The place of an expression that is a column, through a projection of columns.
        let place = |expr: &Arc<dyn PhysicalExpr>| {
            let place = expr.downcast_ref::<Column>()?.index();
            match projection {
                Some(exprs) => Some(exprs.get(place)?.expr.downcast_ref::<Column>()?.index()),
                None => Some(place),
            }
        };
        let by = node.group_expr();
        let [(key, _)] = by.expr() else { return Ok(None) };
        let is_plain =
            by.is_single() && node.limit_options().is_none() && node.filter_expr().iter().all(Option::is_none);
        let (Some(scan), Some(key), true) = (scan, place(key), is_plain) else { return Ok(None) };
        let mut functions = Vec::with_capacity(node.aggr_expr().len());
        for function in node.aggr_expr() {
            let is_simple =
                !function.is_distinct() && function.order_bys().is_empty() && function.groups_accumulator_supported();
            let argument = |expr: &Arc<dyn PhysicalExpr>| match expr.downcast_ref::<Literal>() {
                Some(_) => Some(Argument::Constant(expr.clone())),
                // The key comes in another form than the function expects.
                None => place(expr).filter(|&place| place != key).map(Argument::Column),
            };
            let arguments: Option<Vec<Argument>> = function.expressions().iter().map(argument).collect();
            let Some(arguments) = arguments.filter(|_| is_simple) else { return Ok(None) };
            functions.push((function.clone(), arguments));
        }
        let Some(form) = scan.key_form(key) else { return Ok(None) };
        Ok(Some(Self {
            name: scan.name.clone(),
            parts: scan.parts_by_codes(key)?,
            stop: scan.stop.clone(),
            key: (key, form),
            functions,
            schema: plan.schema(),
            properties: plan.properties().clone(),
        }))
    }
}

impl DisplayAs for GroupedScan {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupedScan: {} by {:?}", self.name, self.key)
    }
}

impl ExecutionPlan for GroupedScan {
    fn name(&self) -> &str {
        "GroupedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let accumulators = self.functions.iter().map(|(function, _)| function.create_groups_accumulator());
        let groups = Groups {
            // Where no row can meet the conditions there is one part without rows.
            scan: self.parts.get(partition).cloned(),
            stop: self.stop.clone(),
            key: self.key.0,
            arguments: self.functions.iter().map(|(_, arguments)| arguments.clone()).collect(),
            numbering: self.key.1.numbering(),
            accumulators: accumulators.collect::<DfResult<_>>()?,
            numbers: Vec::new(),
            most_groups: MOST_GROUPS,
            reservation: MemoryConsumer::new(format!("groups of {}", self.name)).register(context.memory_pool()),
            schema: self.schema.clone(),
            nothing: RecordBatch::new_empty(Arc::new(ArrowSchema::empty())),
        };
        let batches = stream::try_unfold(groups, |mut groups| async move {
            loop {
                for _ in 0..BATCHES_AT_ONCE {
                    match groups.step()? {
                        Step::Read => {}
                        Step::Full(batch) => return Ok(Some((batch, groups))),
                        Step::End => return Ok(None),
                    }
                }
                tokio::task::yield_now().await;
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }
}

/// The groups of a part so far.
struct Groups {
    /// What is left to be read.
    scan: Option<Scan>,
    stop: Arc<AtomicBool>,
    key: usize,
    arguments: Vec<Vec<Argument>>,
    numbering: Numbering,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The group of each row of the batch under way.
    numbers: Vec<usize>,
    /// How many groups are kept.
    most_groups: usize,
    reservation: MemoryReservation,
    schema: SchemaRef,
    /// What constants are evaluated upon.
    nothing: RecordBatch,
}

/// What became of a batch.
enum Step {
    /// Its rows are in their groups.
    Read,
    /// They are, and all groups have been given out.
    Full(RecordBatch),
    /// There was none, and no group is left.
    End,
}

impl Groups {
    fn step(&mut self) -> DfResult<Step> {
        stopped(&self.stop)?;
        let Some(rows) = self.scan.as_mut().and_then(Iterator::next) else {
            self.scan = None;
            return Ok(if self.numbering.len() > 0 { Step::Full(self.given_out()?) } else { Step::End });
        };
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let mut numbers = std::mem::take(&mut self.numbers);
        self.numbering.number(rows.column(self.key), &mut numbers)?;
        let groups = self.numbering.len();
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(&self.arguments) {
            let value = |argument: &Argument| match argument {
                Argument::Column(column) => Ok(rows.column(*column).clone()),
                Argument::Constant(expr) => expr.evaluate(&self.nothing)?.into_array(rows.len()),
            };
            let values = arguments.iter().map(value).collect::<DfResult<Vec<ArrayRef>>>()?;
            accumulator.update_batch(&values, &numbers, None, groups)?;
        }
        self.numbers = numbers;
        let accumulated: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        self.reservation.try_resize(self.numbering.size() + accumulated)?;
        if groups >= self.most_groups { self.given_out().map(Step::Full) } else { Ok(Step::Read) }
    }

    /// All groups, which are forgotten.
    fn given_out(&mut self) -> DfResult<RecordBatch> {
        let (keys, seen) = self.numbering.values(self.schema.field(0).data_type())?;
        let mut columns = vec![keys];
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.numbering.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        self.numbering.clear();
        Ok(match seen {
            None => batch,
            Some(seen) => filter_record_batch(&batch, &seen)?,
        })
    }
}

impl KeyForm {
    fn numbering(&self) -> Numbering {
        match *self {
            Self::Texts => Numbering::of_texts(),
            Self::Whole { least, most } => Numbering::of_whole(least, most),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Array, Int64Array, StringArray};
    use arrow_schema::{DataType, Field};
    use datafusion::common::JoinType;
    use datafusion::common::tree_node::TreeNodeRecursion;
    use datafusion::datasource::provider_as_source;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
    use datafusion::functions_aggregate::count::{count, count_udaf};
    use datafusion::logical_expr::{LogicalPlanBuilder, col};
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::joins::HashJoinExec;
    use gridhouse_base::clock::{Clock, SystemClock};
    use gridhouse_base::fs::DiskFileSystem;
    use gridhouse_base::random::Random;
    use gridhouse_base::{ChangeBatch, Column as TableColumn, Schema, TypeKind};
    use gridhouse_store::{ScanRequest, Store, StoreOptions, TableSnapshot, TableSpec};

    use super::super::provider::StoredTable;
    use super::super::runtime::state;
    use super::*;

    type Rows = Vec<(Option<String>, Option<i64>)>;

    /// Rows of a site, or of none, and a load; sites come from the 800 of their third of the rows.
    fn rows(count: usize) -> Rows {
        let mut random = Random::new(8);
        let row = |i: usize| {
            let site = i * 3 / count * 800 + random.below(800) as usize;
            let site = (!i.is_multiple_of(19)).then(|| format!("site {site:05}"));
            (site, (!i.is_multiple_of(7)).then_some(i as i64))
        };
        (0..count).map(row).collect()
    }

    /// A table of `sealed`, which are in segments, and `tail`, which are in memory.
    fn table(dir: &std::path::Path, sealed: &Rows, tail: &Rows) -> TableSnapshot {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut store = Store::open(StoreOptions::new(dir.to_owned(), Arc::new(DiskFileSystem), clock, 1)).unwrap();
        let schema = Schema::new(vec![
            TableColumn::new("site", TypeKind::STRING.nullable()),
            TableColumn::new("load", TypeKind::BigInt.nullable()),
        ]);
        let mut tick = store.tick().unwrap();
        let id = tick.create_table(TableSpec::log("t", schema)).unwrap();
        tick.publish().unwrap();
        for (i, rows) in [sealed, tail].into_iter().enumerate() {
            let sites: StringArray = rows.iter().map(|(site, _)| site.as_deref()).collect();
            let loads: Int64Array = rows.iter().map(|(_, load)| *load).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(sites), Arc::new(loads)];
            let mut tick = store.tick().unwrap();
            tick.write(id, &ChangeBatch::insertions(columns, rows.len())).unwrap();
            tick.publish().unwrap();
            store.sync().unwrap();
            if i == 0 {
                store.checkpoint(&mut || None).unwrap();
            }
        }
        store.reader().snapshot().table(id).unwrap()
    }

    fn groups(table: &TableSnapshot, most_groups: usize, pool: &Arc<dyn MemoryPool>) -> Groups {
        let scanned = Arc::new(ArrowSchema::new(vec![
            Field::new("site", DataType::Utf8, true),
            Field::new("load", DataType::Int64, true),
        ]));
        let load: Arc<dyn PhysicalExpr> = Arc::new(Column::new("load", 1));
        let count = AggregateExprBuilder::new(count_udaf(), vec![load]).schema(scanned).alias("n").build().unwrap();
        let mut fields = vec![Arc::new(Field::new("site", DataType::Utf8, true))];
        fields.extend(count.state_fields().unwrap());
        Groups {
            scan: Some(table.scan_where(&ScanRequest { coded: vec![0], ..ScanRequest::default() }).unwrap()),
            stop: Arc::default(),
            key: 0,
            arguments: vec![vec![Argument::Column(1)]],
            numbering: Numbering::of_texts(),
            accumulators: vec![count.create_groups_accumulator().unwrap()],
            numbers: Vec::new(),
            most_groups,
            reservation: MemoryConsumer::new("groups").register(pool),
            schema: Arc::new(ArrowSchema::new(fields)),
            nothing: RecordBatch::new_empty(Arc::new(ArrowSchema::empty())),
        }
    }

    #[test]
    fn groups_are_counted_whole_however_often_they_are_given_out() {
        let dir = tempfile::tempdir().unwrap();
        let all = rows(60_000);
        let (sealed, tail) = (all[..55_000].to_vec(), all[55_000..].to_vec());
        let table = table(dir.path(), &sealed, &tail);
        assert!(table.has_codes(0) && !table.has_codes(1));
        let mut expected: BTreeMap<Option<String>, i64> = BTreeMap::new();
        for (site, load) in &all {
            *expected.entry(site.clone()).or_default() += i64::from(load.is_some());
        }
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        for (most_groups, least_batches) in [(1 << 16, 1), (2_000, 2), (1, 6)] {
            let mut groups = groups(&table, most_groups, &pool);
            let (mut found, mut batches): (BTreeMap<Option<String>, i64>, usize) = (BTreeMap::new(), 0);
            loop {
                let batch = match groups.step().unwrap() {
                    Step::Read => continue,
                    Step::Full(batch) => batch,
                    Step::End => break,
                };
                batches += 1;
                let (sites, counts) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
                let mut sites_here: Vec<Option<&str>> = sites.iter().collect();
                sites_here.sort_unstable();
                sites_here.dedup();
                assert_eq!(sites_here.len(), sites.len(), "a key comes once in a batch");
                for (site, count) in sites.iter().zip(counts) {
                    *found.entry(site.map(str::to_owned)).or_default() += count.unwrap();
                }
            }
            assert_eq!(found, expected, "{most_groups} groups at most");
            assert!(batches >= least_batches, "{batches} batches of {most_groups} groups");
        }
    }

    #[test]
    fn a_join_gathers_the_groups_of_a_small_table_and_not_the_large_one() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let devices = table(dirs[0].path(), &rows(20_000), &rows(10));
        let telemetry = table(dirs[1].path(), &rows(200_000), &rows(10));
        let scan = |name: &str, table: TableSnapshot| {
            let provider = Arc::new(StoredTable::new(table, Vec::new(), true, Arc::default()));
            LogicalPlanBuilder::scan(name, provider_as_source(provider), None).unwrap()
        };
        let groups =
            scan("devices", devices).aggregate(vec![col("devices.c0")], vec![count(col("devices.c1"))]).unwrap();
        let on = (vec!["devices.c0"], vec!["telemetry.c0"]);
        let telemetry = scan("telemetry", telemetry).build().unwrap();
        let plan = groups.join(telemetry, JoinType::Inner, on, None).unwrap().build().unwrap();
        let threads = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let plan = threads.block_on(state(&Arc::default(), 2).create_physical_plan(&plan)).unwrap();
        let mut gathered = Vec::new();
        plan.apply(|node| {
            if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                gathered.push(displayable(join.left().as_ref()).indent(false).to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        assert!(gathered.len() == 1 && gathered[0].contains("GroupedScan: t by"), "{gathered:?}");
    }

    #[test]
    fn groups_that_memory_does_not_hold_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(dir.path(), &rows(20_000), &rows(10));
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10_000));
        let mut groups = groups(&table, 1 << 16, &pool);
        let error = groups.step().err().expect("10 kB are too few");
        assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    }
}
