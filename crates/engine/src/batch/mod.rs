//! Ad-hoc queries on DataFusion: large tables are read side by side, with conditions and columns pushed into the scan.
//!
//! Which plans: [`obstacle`]. A plan without obstacle over enough rows is lowered to a logical plan whose types are explicit;
//! expressions stay ours, so that a function means the same in a job and in a query. The rows are those that the streaming
//! operators give, in any order; order and limit at a query's root are applied by the caller. Where a row has no result, the
//! query is run again on the streaming operators, which name it.

mod aggregate;
mod cells;
mod grouping;
mod lower;
mod numbering;
mod obstacle;
mod provider;
mod runtime;
mod scalar;
mod single;
mod sums;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use gridhouse_base::{ChangeBatch, Error, Result};
use gridhouse_expr::EvalContext;
use gridhouse_sql::plan::{Plan, SortKey};

use crate::query::Reading;

pub(crate) use obstacle::obstacle;
pub(crate) use runtime::{QUERY_THREADS, Queries};

/// Below this many rows a query's plan takes longer to make for DataFusion than its rows take on the streaming operators.
pub(crate) const FEW_ROWS: u64 = 16_384;

/// On what a session's queries run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryPath {
    /// DataFusion, where the plan is for it and there are rows enough.
    #[default]
    Chosen,
    /// DataFusion, where the plan is for it; a row that has no result there must have none on the operators.
    DataFusion,
    /// The operators of jobs.
    Operators,
}

/// How the queries of a session run.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    pub queries: &'a Queries,
    pub path: QueryPath,
    pub is_cancelled: &'a dyn Fn() -> bool,
}

/// Some of the rows of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The order.
    pub order: &'a [SortKey],
    /// How many rows suffice, those that are left out among them.
    pub fetch: Option<u64>,
}

/// The stored rows that `plan` reads.
pub(crate) fn rows_read(plan: &Plan, reading: &Reading<'_>) -> u64 {
    let mut rows = 0;
    plan.visit(&mut |node| {
        let Plan::Scan(scan) = node else { return };
        let Some(table) = (reading.table_of)(&scan.table.path) else { return };
        rows += match (reading.given)(table) {
            Some(given) => given.iter().map(|batch| batch.len() as u64).sum(),
            None => reading.snapshot.table(table).map_or(0, |table| table.row_count()),
        };
    });
    rows
}

/// Whether a plan is only rows of tables, filtered and projected, so that a limit need not look at all of them.
pub(crate) fn is_plain(plan: &Plan) -> bool {
    match plan {
        Plan::Scan(_) | Plan::Values(_) => true,
        Plan::Filter(_) | Plan::Project(_) => plan.inputs().into_iter().all(is_plain),
        _ => false,
    }
}

/// The rows of `plan`, or enough of them; `None` where the streaming operators are to give them.
///
/// # Errors
/// `Unavailable` where memory does not suffice or the query is cancelled.
pub(crate) fn execute(
    plan: &Plan,
    wanted: Wanted<'_>,
    running: Running<'_>,
    reading: &Reading<'_>,
) -> Result<Option<Vec<ChangeBatch>>> {
    if running.path == QueryPath::Operators || obstacle(plan).is_some() {
        return Ok(None);
    }
    if running.path == QueryPath::Chosen && rows_read(plan, reading) < FEW_ROWS {
        return Ok(None);
    }
    let context = reading.context;
    let eval = EvalContext { now_micros: context.now_micros, zone: context.zone, seed: 0, first_row: 0 };
    let (joins, stop) = (has_join(plan), Arc::new(AtomicBool::new(false)));
    let ground = lower::Ground {
        snapshot: reading.snapshot,
        table_of: reading.table_of,
        given: reading.given,
        context: Arc::new(eval),
        stop: stop.clone(),
        joins,
        names: Cell::new(0),
    };
    let in_order = wanted.order.is_empty() && is_plain(plan);
    let parts = if in_order && wanted.fetch.is_some() { 1 } else { QUERY_THREADS };
    let outcome = match lowered(plan, wanted, in_order, &ground) {
        Ok(lowered) => running.queries.run(lowered, parts, &stop, running.is_cancelled)?,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(batches) => {
            let rows = batches.iter().filter(|batch| batch.num_rows() > 0);
            let rows = rows.map(|batch| ChangeBatch::insertions(batch.columns().to_vec(), batch.num_rows()));
            Ok(Some(rows.collect()))
        }
        Err(error) => {
            if running.path == QueryPath::DataFusion && !is_ours(&error) {
                return Err(Error::internal(format!("DataFusion does not take the plan: {error}")));
            }
            tracing::debug!(%error, "a query goes to the streaming operators");
            Ok(None)
        }
    }
}

fn lowered(
    plan: &Plan,
    wanted: Wanted<'_>,
    in_order: bool,
    ground: &lower::Ground<'_>,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    let is_nested = plan.schema().columns.iter().any(|column| column.sql_type.kind.arrow().is_nested());
    let node = ground.node(plan, &lower::leading(wanted.order))?;
    lower::check_types(&node, plan.schema())?;
    match wanted.fetch {
        Some(fetch) if in_order => LogicalPlanBuilder::from(node).limit(0, Some(fetch as usize))?.build(),
        Some(fetch) if !is_nested => lower::first_rows(node, wanted.order, 0, Some(fetch)),
        _ => Ok(node),
    }
}

fn has_join(plan: &Plan) -> bool {
    matches!(plan, Plan::Join(_) | Plan::SetOperation(_)) || plan.inputs().into_iter().any(has_join)
}

/// Whether an error is that of a row, or of a table.
fn is_ours(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(error) if error.is::<Error>())
}
