//! A table of ours as DataFusion sees it: a `TableProvider` over one snapshot.
//!
//! Conditions that the scan applies itself are taken over whole (exact pushdown); a scan reads only the columns that are asked
//! for, in as many parts as there are threads, and says how many rows there are, what its numbers lie between, and by which
//! columns its rows ascend.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef, SortOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result as DfResult, ScalarValue, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr as DfExpr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures_util::stream;
use gridhouse_base::{ChangeBatch, Schema, Value};
use gridhouse_store::{CompareOp, Conjunct, Scan, ScanRequest, TableSnapshot};

use super::numbering::WIDEST;
use super::runtime::stopped;

/// The Arrow schema of columns of ours, under the names `c0`, `c1`, ….
pub(super) fn arrow_schema(schema: &Schema) -> SchemaRef {
    let field =
        |(i, column): (usize, &gridhouse_base::Column)| Field::new(format!("c{i}"), column.sql_type.kind.arrow(), true);
    Arc::new(ArrowSchema::new(schema.columns.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// Rows of ours as DataFusion's.
pub(super) fn record_batch(schema: &SchemaRef, rows: ChangeBatch) -> DfResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?)
}

/// A stored table at one snapshot.
#[derive(Debug)]
pub(super) struct StoredTable {
    table: TableSnapshot,
    schema: SchemaRef,
    /// Columns by which an order of the rows is of use.
    ordered: Vec<usize>,
    /// Whether bounds of its numbers are of use.
    bounded: bool,
    /// Becomes true when the query is to end.
    stop: Arc<AtomicBool>,
}

impl StoredTable {
    /// The table; `ordered` are columns by which the query orders, `bounded` says that it joins.
    pub fn new(table: TableSnapshot, ordered: Vec<usize>, bounded: bool, stop: Arc<AtomicBool>) -> Self {
        let schema = arrow_schema(&table.spec().schema);
        Self { table, schema, ordered, bounded, stop }
    }

    fn statistics_of(&self, columns: &[usize], is_filtered: bool) -> Statistics {
        let rows = self.table.row_count() as usize;
        let known = |&column: &usize| {
            if !self.bounded || !self.schema.field(column).data_type().is_numeric() {
                return ColumnStatistics::new_unknown();
            }
            let statistics = self.table.column_statistics(column);
            let bound = |bound: Option<ArrayRef>| {
                let value = bound.and_then(|bound| ScalarValue::try_from_array(&bound, 0).ok());
                value.map_or(Precision::Absent, Precision::Inexact)
            };
            ColumnStatistics {
                min_value: bound(statistics.min),
                max_value: bound(statistics.max),
                null_count: Precision::Inexact(statistics.nulls),
                ..ColumnStatistics::new_unknown()
            }
        };
        let num_rows = if is_filtered { Precision::Inexact(rows) } else { Precision::Exact(rows) };
        Statistics {
            num_rows,
            total_byte_size: Precision::Inexact(self.table.stored_bytes() as usize),
            column_statistics: columns.iter().map(known).collect(),
        }
    }
}

/// The condition of a scan that `filter` is, if it is one.
pub(super) fn conjunct(filter: &DfExpr, schema: &ArrowSchema) -> Option<Conjunct> {
    let column = |expr: &DfExpr| match expr {
        DfExpr::Column(column) => schema.index_of(&column.name).ok(),
        _ => None,
    };
    let conjunct = match filter {
        DfExpr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let DfExpr::Literal(value, _) = right.as_ref() else { return None };
            let op = match op {
                Operator::Eq => CompareOp::Eq,
                Operator::NotEq => CompareOp::NotEq,
                Operator::Lt => CompareOp::Less,
                Operator::LtEq => CompareOp::LessEq,
                Operator::Gt => CompareOp::Greater,
                Operator::GtEq => CompareOp::GreaterEq,
                _ => return None,
            };
            Conjunct::Compare { column: column(left)?, op, value: value.to_array().ok()? }
        }
        DfExpr::InList(InList { expr, list, negated: false }) => {
            let value = |item: &DfExpr| match item {
                DfExpr::Literal(value, _) => Some(value.clone()),
                _ => None,
            };
            let values = list.iter().map(value).collect::<Option<Vec<_>>>()?;
            Conjunct::InList { column: column(expr)?, values: ScalarValue::iter_to_array(values).ok()? }
        }
        DfExpr::IsNull(expr) => Conjunct::IsNull(column(expr)?),
        DfExpr::IsNotNull(expr) => Conjunct::IsNotNull(column(expr)?),
        _ => return None,
    };
    let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    conjunct.check(&types).is_ok().then_some(conjunct)
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&DfExpr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&DfExpr| match conjunct(filter, &self.schema) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics_of(&(0..self.schema.fields().len()).collect::<Vec<_>>(), false))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[DfExpr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let condition = |filter| {
            let refused = || DataFusionError::Internal(format!("a table was handed the condition {filter}"));
            conjunct(filter, &self.schema).ok_or_else(refused)
        };
        let conjuncts = filters.iter().map(condition).collect::<DfResult<Vec<_>>>()?;
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let statistics = Arc::new(self.statistics_of(&columns, !conjuncts.is_empty()));
        let schema: SchemaRef = Arc::new(self.schema.project(&columns)?);
        let request = ScanRequest { projection: Some(columns.clone()), conjuncts, coded: Vec::new() };
        let most_parts = state.config().target_partitions();
        let external = |error: gridhouse_base::Error| DataFusionError::External(Box::new(error));
        let parts = self.table.partitions(&request, most_parts).map_err(external)?;
        let is_ascending = |column: &&usize| self.table.column_statistics(**column).is_sorted;
        let ascending = self.ordered.iter().filter(is_ascending).filter_map(|column| {
            let place = columns.iter().position(|c| c == column)?;
            let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(place).name(), place));
            Some(vec![PhysicalSortExpr::new(expr, SortOptions { descending: false, nulls_first: true })])
        });
        let equivalences = EquivalenceProperties::new_with_orderings(schema.clone(), ascending.collect::<Vec<_>>());
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(parts.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(TableScan {
            name: self.table.spec().name.clone(),
            parts,
            table: self.table.clone(),
            request,
            most_parts,
            stop: self.stop.clone(),
            schema,
            statistics,
            properties: Arc::new(properties),
        }))
    }
}

/// What a column is like that a query groups by, where a scan can tell more than its values.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyForm {
    /// Texts, most of which are stored as codes.
    Texts,
    /// Whole numbers, all of them between these, which are not far apart.
    Whole { least: i64, most: i64 },
}

/// Reads a stored table.
#[derive(Debug)]
pub(super) struct TableScan {
    pub name: String,
    /// Each is read by a clone of its own: a plan may be carried out more than once.
    parts: Vec<Scan>,
    table: TableSnapshot,
    /// What is read, in so many parts at most.
    request: ScanRequest,
    most_parts: usize,
    pub stop: Arc<AtomicBool>,
    schema: SchemaRef,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for TableScan {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableScan: {}, {} conditions", self.name, self.request.conjuncts.len())
    }
}

impl TableScan {
    /// The number in the table of the scan's column `place`.
    fn column(&self, place: usize) -> Option<usize> {
        self.request.projection.as_ref()?.get(place).copied()
    }

    /// What the scan's column `place` is like.
    pub fn key_form(&self, place: usize) -> Option<KeyForm> {
        let column = self.column(place)?;
        let kind = &self.table.spec().schema.columns[column].sql_type.kind;
        match self.schema.field(place).data_type() {
            DataType::Utf8 => self.table.has_codes(column).then_some(KeyForm::Texts),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                let known = self.table.column_statistics(column);
                let bound = |bound: Option<ArrayRef>| match Value::from_array(&bound?, 0, kind) {
                    Value::Integer(bound) => Some(bound),
                    _ => None,
                };
                let (least, most) = (bound(known.min)?, bound(known.max)?);
                (least <= most && most.abs_diff(least) < WIDEST).then_some(KeyForm::Whole { least, most })
            }
            _ => None,
        }
    }

    /// The scan's parts, with the codes of its column `place` where it has some.
    pub fn parts_by_codes(&self, place: usize) -> DfResult<Vec<Scan>> {
        let request = ScanRequest { coded: self.column(place).into_iter().collect(), ..self.request.clone() };
        let parts = self.table.partitions(&request, self.most_parts);
        parts.map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl ExecutionPlan for TableScan {
    fn name(&self) -> &str {
        "TableScan"
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

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let external = |error: gridhouse_base::Error| DataFusionError::External(Box::new(error));
        let (schema, stop) = (self.schema.clone(), self.stop.clone());
        // Where no row can meet the conditions there is one part without rows.
        let batches = self.parts.get(partition).cloned().into_iter().flatten();
        let rows = batches.map(move |rows| {
            stopped(&stop)?;
            record_batch(&schema, rows.map_err(external)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(rows))))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DfResult<Arc<Statistics>> {
        Ok(match partition {
            None => self.statistics.clone(),
            Some(_) => Arc::new(Statistics::new_unknown(&self.schema)),
        })
    }
}
