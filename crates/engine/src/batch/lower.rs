//! From our plan to DataFusion's logical plan.
//!
//! Types are explicit already and names are made up: every column gets one that no other column of the query has, so that
//! nothing has to be resolved. A filter right above a table hands over those of its leading conditions that a scan applies
//! itself, in the plan's order: what may fail is never reached by rows that an earlier condition keeps out. Ties of an order
//! are settled by all columns, ascending, NULLs first, as the streaming operators do.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_schema::DataType;
use datafusion::common::{Column, JoinType, NullEquality, Result as DfResult, plan_err};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate as DfAggregate, Cast, Expr as DfExpr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SortExpr,
    TableSource, Union, WindowFrame, WindowFunctionDefinition, binary_expr, lit,
};
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, Error, TableId};
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_sql::plan::{
    Aggregate, Join, JoinKind, Limit, Plan, Rank, Scan, SetKind, SetOperation, SortKey, conjuncts,
};
use gridhouse_store::Snapshot;

use super::aggregate::aggregate;
use super::provider::{StoredTable, arrow_schema, record_batch};
use super::scalar::{comparison, wrapped};
use crate::lower::constant_rows;

/// What a plan is lowered upon.
pub(super) struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub table_of: &'a dyn Fn(&ObjectPath) -> Option<TableId>,
    pub given: &'a dyn Fn(TableId) -> Option<Vec<ChangeBatch>>,
    pub context: Arc<EvalContext>,
    /// Becomes true when the query is to end.
    pub stop: Arc<AtomicBool>,
    /// Whether the query joins.
    pub joins: bool,
    /// How many names have been made up.
    pub names: Cell<u64>,
}

fn external(error: Error) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}

/// The first rows of `plan` in an order, all of its columns settling ties.
pub(super) fn first_rows(
    input: LogicalPlan,
    keys: &[SortKey],
    offset: u64,
    fetch: Option<u64>,
) -> DfResult<LogicalPlan> {
    let sorts = order_of(keys, &input.schema().columns());
    let input = LogicalPlanBuilder::from(input);
    // No rows need no order; DataFusion's top-k takes none at all amiss.
    let sorted = if fetch == Some(0) { input } else { input.sort(sorts)? };
    sorted.limit(usize::try_from(offset).unwrap_or(usize::MAX), fetch.map(|fetch| fetch as usize))?.build()
}

/// The order by `keys`, then by all other columns.
fn order_of(keys: &[SortKey], columns: &[Column]) -> Vec<SortExpr> {
    let column = |index: usize| DfExpr::Column(columns[index].clone());
    let own = keys.iter().map(|key| column(key.column).sort(!key.descending, key.nulls_first));
    let others = (0..columns.len()).filter(|&index| !keys.iter().any(|key| key.column == index));
    own.chain(others.map(|index| column(index).sort(true, true))).collect()
}

impl Ground<'_> {
    fn number(&self) -> u64 {
        self.names.set(self.names.get() + 1);
        self.names.get()
    }

    /// `plan` in DataFusion's form; `ordered` are columns of it by which the query orders first.
    pub fn node(&self, plan: &Plan, ordered: &[usize]) -> DfResult<LogicalPlan> {
        match plan {
            Plan::Scan(scan) => self.scan(scan, &[], ordered),
            Plan::Values(values) => {
                let context =
                    gridhouse_flow::TickContext { now_micros: self.context.now_micros, zone: self.context.zone };
                self.rows(&values.schema, vec![constant_rows(values, &context).map_err(external)?])
            }
            Plan::Filter(filter) => self.filter(&filter.input, &filter.predicate, ordered),
            Plan::Project(project) => {
                let through = |&column: &usize| project.exprs.get(column)?.as_column();
                let ordered: Vec<usize> = ordered.iter().filter_map(through).collect();
                let input = self.node(&project.input, &ordered)?;
                let columns = input.schema().columns();
                let expr = |expr: &Expr| {
                    let value = match expr.as_column() {
                        Some(index) => DfExpr::Column(columns[index].clone()),
                        None => wrapped(expr, &columns, self.number(), &self.context, &self.stop),
                    };
                    value.alias(format!("p{}", self.number()))
                };
                let exprs = project.exprs.iter().map(expr).collect();
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
            }
            Plan::UnionAll(union) => {
                let inputs = union.inputs.iter().map(|input| self.node(input, &[])).collect::<DfResult<Vec<_>>>()?;
                self.union(inputs)
            }
            Plan::Aggregate(aggregate) => self.aggregate(aggregate),
            Plan::Join(join) => self.join(join),
            Plan::SetOperation(operation) => self.set_operation(operation),
            Plan::Rank(rank) => self.rank(rank),
            Plan::Sort(sort) => self.node(&sort.input, &[]),
            Plan::Limit(limit) => self.limit(limit),
            Plan::Unnest(_) | Plan::Probe(_) | Plan::Lookup(_) => {
                plan_err!("this part of a plan is not for DataFusion")
            }
        }
    }

    fn scan(&self, scan: &Scan, filters: &[Expr], ordered: &[usize]) -> DfResult<LogicalPlan> {
        let path = &scan.table.path;
        let Some(table) = (self.table_of)(path) else {
            return Err(external(Error::not_found(format!("table {path} has no rows here"))));
        };
        let stored: Vec<usize> = scan.table.physical().collect();
        let place = |column: &usize| stored.iter().position(|s| s == column).expect("scans read stored columns");
        let columns: Vec<usize> = scan.columns.iter().map(place).collect();
        if let Some(rows) = (self.given)(table) {
            let rows = rows.iter().map(|batch| batch.project(&columns)).collect();
            return self.rows(&scan.schema, rows);
        }
        let snapshot = self.snapshot.table(table).map_err(external)?;
        let ordered = ordered.iter().map(|&column| columns[column]).collect();
        let source = provider_as_source(Arc::new(StoredTable::new(snapshot, ordered, self.joins, self.stop.clone())));
        let name = format!("t{}", self.number());
        let column = |&column: &usize| Column::new(Some(name.clone()), format!("c{column}"));
        let visible: Vec<Column> = columns.iter().map(column).collect();
        let condition = |filter: &Expr| comparison(filter, &visible).map_or_else(|| plan_err!("not a comparison"), Ok);
        let filters = filters.iter().map(condition).collect::<DfResult<Vec<_>>>()?;
        LogicalPlanBuilder::scan_with_filters(name.as_str(), source, Some(columns.clone()), filters)?.build()
    }

    /// Rows that are there already.
    fn rows(&self, schema: &gridhouse_base::Schema, rows: Vec<ChangeBatch>) -> DfResult<LogicalPlan> {
        let arrow = arrow_schema(schema);
        if rows.iter().any(|batch| batch.diff().is_some()) {
            return plan_err!("rows with weights are not for DataFusion");
        }
        let batches = rows.into_iter().map(|rows| record_batch(&arrow, rows)).collect::<DfResult<Vec<_>>>()?;
        let source: Arc<dyn TableSource> = provider_as_source(Arc::new(MemTable::try_new(arrow, vec![batches])?));
        LogicalPlanBuilder::scan(format!("t{}", self.number()), source, None)?.build()
    }

    fn filter(&self, input: &Plan, predicate: &Expr, ordered: &[usize]) -> DfResult<LogicalPlan> {
        let (mut handed, mut kept) = (Vec::new(), conjuncts(predicate.clone()));
        let input = match input {
            Plan::Scan(scan)
                if (self.table_of)(&scan.table.path).is_some_and(|table| (self.given)(table).is_none()) =>
            {
                let columns: Vec<Column> =
                    (0..scan.columns.len()).map(|i| Column::new_unqualified(format!("c{i}"))).collect();
                let leading = kept.iter().take_while(|condition| comparison(condition, &columns).is_some()).count();
                handed.extend(kept.drain(..leading));
                self.scan(scan, &handed, ordered)?
            }
            other => self.node(other, ordered)?,
        };
        if kept.is_empty() {
            return Ok(input);
        }
        let predicate = if kept.len() == 1 { kept.remove(0) } else { Expr::And(kept) };
        let columns = input.schema().columns();
        let predicate = wrapped(&predicate, &columns, self.number(), &self.context, &self.stop);
        LogicalPlanBuilder::from(input).filter(predicate)?.build()
    }

    /// `plan` with names of its own for all columns.
    fn renamed(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        let columns = plan.schema().columns();
        let alias = |column: Column| DfExpr::Column(column).alias(format!("p{}", self.number()));
        let exprs = columns.into_iter().map(alias).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    fn union(&self, inputs: Vec<LogicalPlan>) -> DfResult<LogicalPlan> {
        let mut inputs = inputs.into_iter().map(|input| self.renamed(input)).collect::<DfResult<Vec<_>>>()?;
        if inputs.len() == 1 {
            return Ok(inputs.remove(0));
        }
        Ok(LogicalPlan::Union(Union::try_new(inputs.into_iter().map(Arc::new).collect())?))
    }

    fn aggregate(&self, node: &Aggregate) -> DfResult<LogicalPlan> {
        let input = self.node(&node.input, &[])?;
        let columns = input.schema().columns();
        let keys = node.keys.iter().map(|&key| DfExpr::Column(columns[key].clone())).collect();
        let schema = node.input.schema();
        let calls =
            node.calls.iter().map(|call| aggregate(call, schema, &columns).alias(format!("a{}", self.number())));
        let calls: Vec<DfExpr> = calls.collect();
        Ok(LogicalPlan::Aggregate(DfAggregate::try_new(Arc::new(input), keys, calls)?))
    }

    fn join(&self, join: &Join) -> DfResult<LogicalPlan> {
        let (left, right) = (self.node(&join.left, &[])?, self.node(&join.right, &[])?);
        let (lefts, rights) = (left.schema().columns(), right.schema().columns());
        let kind = match join.kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
            JoinKind::Right => JoinType::Right,
            JoinKind::Full => JoinType::Full,
            JoinKind::Semi => JoinType::LeftSemi,
            JoinKind::Anti => JoinType::LeftAnti,
        };
        let pair: Vec<Column> = lefts.iter().chain(&rights).cloned().collect();
        let residual =
            join.residual.as_ref().map(|expr| wrapped(expr, &pair, self.number(), &self.context, &self.stop));
        let null_equality = match join.keys.first() {
            Some(key) if key.null_safe => NullEquality::NullEqualsNull,
            _ => NullEquality::NullEqualsNothing,
        };
        let keys = |side: &[Column], of: fn(&gridhouse_sql::plan::JoinKey) -> usize| {
            join.keys.iter().map(|key| side[of(key)].clone()).collect::<Vec<Column>>()
        };
        let on = (keys(&lefts, |key| key.left), keys(&rights, |key| key.right));
        let left = LogicalPlanBuilder::from(left);
        match (join.keys.is_empty(), residual) {
            (true, None) if kind == JoinType::Inner => left.cross_join(right)?.build(),
            (true, None) => left.join_on(right, kind, [lit(true)])?.build(),
            (_, residual) => left.join_detailed(right, kind, on, residual, null_equality)?.build(),
        }
    }

    fn set_operation(&self, node: &SetOperation) -> DfResult<LogicalPlan> {
        let left = self.renamed(self.node(&node.left, &[])?)?;
        let right = self.renamed(self.node(&node.right, &[])?)?;
        let (lefts, rights) = (left.schema().columns(), right.schema().columns());
        let keys = lefts.iter().cloned().map(DfExpr::Column).collect();
        let once = LogicalPlan::Aggregate(DfAggregate::try_new(Arc::new(left), keys, Vec::new())?);
        let kind = match node.kind {
            SetKind::Intersect => JoinType::LeftSemi,
            SetKind::Except => JoinType::LeftAnti,
        };
        let on = (lefts, rights);
        LogicalPlanBuilder::from(once).join_detailed(right, kind, on, None, NullEquality::NullEqualsNull)?.build()
    }

    fn limit(&self, limit: &Limit) -> DfResult<LogicalPlan> {
        let (input, keys) = match limit.input.as_ref() {
            Plan::Sort(sort) => (sort.input.as_ref(), sort.keys.as_slice()),
            other => (other, [].as_slice()),
        };
        first_rows(self.node(input, &leading(keys))?, keys, limit.offset, limit.fetch)
    }

    fn rank(&self, rank: &Rank) -> DfResult<LogicalPlan> {
        if rank.partition.is_empty() && !rank.rank {
            let input = self.node(&rank.input, &leading(&rank.order))?;
            return first_rows(input, &rank.order, rank.offset, rank.limit);
        }
        let input = self.node(&rank.input, &[])?;
        let columns = input.schema().columns();
        let name = format!("w{}", self.number());
        let function = WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(row_number_udwf()),
            params: WindowFunctionParams {
                args: Vec::new(),
                partition_by: rank.partition.iter().map(|&column| DfExpr::Column(columns[column].clone())).collect(),
                order_by: order_of(&rank.order, &columns),
                window_frame: WindowFrame::new(Some(false)),
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        };
        let ranked = LogicalPlanBuilder::from(input).window([DfExpr::from(function).alias(name.as_str())])?;
        let place = DfExpr::Column(Column::new_unqualified(name));
        let mut ranked = ranked;
        if rank.offset > 0 {
            ranked = ranked.filter(binary_expr(place.clone(), Operator::Gt, lit(rank.offset)))?;
        }
        if let Some(limit) = rank.limit {
            let last = rank.offset.saturating_add(limit);
            ranked = ranked.filter(binary_expr(place.clone(), Operator::LtEq, lit(last)))?;
        }
        let mut exprs: Vec<DfExpr> = columns.into_iter().map(DfExpr::Column).collect();
        if rank.rank {
            let cast = DfExpr::Cast(Cast::new(Box::new(place), DataType::Int64));
            exprs.push(cast.alias(format!("p{}", self.number())));
        }
        ranked.project(exprs)?.build()
    }
}

/// The first column of an order, where it ascends with NULLs first as rows of a table may.
pub(super) fn leading(keys: &[SortKey]) -> Vec<usize> {
    keys.first().filter(|key| !key.descending).map(|key| key.column).into_iter().collect()
}

/// Checks that `plan` gives columns of the types that `schema` has.
pub(super) fn check_types(plan: &LogicalPlan, schema: &gridhouse_base::Schema) -> DfResult<()> {
    let types: Vec<DataType> = plan.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let expected: Vec<DataType> = schema.columns.iter().map(|column| column.sql_type.kind.arrow()).collect();
    if types == expected { Ok(()) } else { plan_err!("the plan gives {types:?} where the query has {expected:?}") }
}
