//! Ad-hoc queries over one snapshot: on DataFusion where a plan is for it, else as a dataflow in one tick.
//!
//! A query sees the last durable tick, all tables at the same one. Expressions are those of jobs whatever it runs on, and so
//! are the rules of aggregates and of ties, so a query and a job over the same rows cannot disagree.

use std::collections::BTreeMap;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::SortOptions;
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, Error, Result, TableId};
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_flow::{HashMode, TickContext};
use gridhouse_sql::plan::{Plan, SortKey};
use gridhouse_store::Snapshot;

use crate::batch::{self, Running, Wanted, is_plain};
use crate::lower::{Ground, Lowered, lower};
use crate::prepare::Connectors;

/// The zone of `TIMESTAMP_LTZ` in a session or job.
///
/// # Errors
/// `Invalid` for a zone that does not exist.
pub(crate) fn zone_of(settings: &BTreeMap<String, String>) -> Result<chrono_tz::Tz> {
    let Some(name) = settings.get("table.local-time-zone").filter(|name| *name != "default") else {
        return Ok(chrono_tz::UTC);
    };
    name.parse().map_err(|_| {
        Error::invalid(format!("there is no time zone '{name}'")).hint("write it like 'Asia/Shanghai' or 'UTC'")
    })
}

/// What a query reads.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The tables of ours, all at the same tick.
    pub(crate) snapshot: &'a Snapshot,
    /// The stored table of a name.
    pub(crate) table_of: &'a dyn Fn(&ObjectPath) -> Option<TableId>,
    /// The rows of tables that are not in the store.
    pub(crate) given: &'a dyn Fn(TableId) -> Option<Vec<ChangeBatch>>,
    /// Where rows of outside tables are looked up.
    pub(crate) connectors: &'a Connectors,
    /// The query's time and zone.
    pub(crate) context: &'a TickContext,
    /// Where it may run beside the streaming operators.
    pub(crate) running: Option<Running<'a>>,
}

/// The rows of `plan`, in the plan's order, every row as often as it weighs. Where `unique` names columns, at most one row for
/// each of their values, chosen as a job would.
///
/// # Errors
/// What an expression gives for a row that it cannot compute.
pub(crate) fn execute(plan: &Plan, unique: Option<&[usize]>, reading: Reading<'_>) -> Result<Vec<ChangeBatch>> {
    let context = reading.context;
    // A projection over ordered rows (ordered by what is not selected) is applied to them in their order.
    if let Plan::Project(project) = plan
        && unique.is_none()
        && matches!(project.input.as_ref(), Plan::Sort(_) | Plan::Limit(_))
    {
        let eval = EvalContext { now_micros: context.now_micros, zone: context.zone, seed: 0, first_row: 0 };
        let rows = execute(&project.input, None, reading)?;
        let projected = rows.iter().map(|batch| {
            let column = |expr: &Expr| expr.eval(batch.columns(), batch.len(), &eval);
            let columns = project.exprs.iter().map(column).collect::<Result<Vec<_>>>()?;
            Ok(ChangeBatch::insertions(columns, batch.len()))
        });
        return projected.collect();
    }
    // A limit or order at the root is applied to what comes out, so that it need not be kept up to date by an operator.
    let (inner, order, offset, fetch) = if unique.is_some() { (plan, [].as_slice(), 0, None) } else { peel(plan) };
    // Some rows of a result that has no order of its own are the first in the order of their bytes, as in a job; of a table
    // any will do, so that not all are looked at.
    let is_ordered = !order.is_empty() || (offset > 0 || fetch.is_some()) && !is_plain(inner);
    let rows = match reading.running.filter(|_| unique.is_none()) {
        None => None,
        Some(running) => {
            let wanted = Wanted { order, fetch: fetch.map(|fetch| fetch.saturating_add(offset)) };
            batch::execute(inner, wanted, running, &reading)?
        }
    };
    let rows = match rows {
        Some(rows) => rows,
        None => streamed(inner, unique, reading)?,
    };
    let rows = if is_ordered { sorted(rows, order)? } else { rows };
    Ok(cut(rows, offset, fetch))
}

/// The rows of `plan` on the streaming operators, as they come out.
fn streamed(plan: &Plan, unique: Option<&[usize]>, reading: Reading<'_>) -> Result<Vec<ChangeBatch>> {
    let context = reading.context;
    let ground = Ground {
        table_of: reading.table_of,
        context,
        clock: None,
        governor: None,
        hash: HashMode::Seeded(0),
        keeps_errors: false,
        leaves_late_rows_out: false,
        connectors: reading.connectors,
        refuses: None,
        away: None,
    };
    let Lowered { mut dataflow, inputs, .. } = lower(plan, unique, &ground)?;
    for (i, input) in inputs.iter().enumerate() {
        if let Some(rows) = (reading.given)(input.table) {
            for batch in rows {
                dataflow.push(i, batch.project(&input.columns))?;
            }
            continue;
        }
        for batch in reading.snapshot.table(input.table)?.scan(Some(&input.columns)) {
            dataflow.push(i, batch?)?;
        }
    }
    let out = dataflow.finish_tick(context)?.into_iter().next().unwrap_or_default();
    unweighted(out)
}

/// The plan below the order and limit at its root, and those.
fn peel(plan: &Plan) -> (&Plan, &[SortKey], u64, Option<u64>) {
    match plan {
        Plan::Limit(limit) => match limit.input.as_ref() {
            Plan::Sort(sort) => (&sort.input, &sort.keys, limit.offset, limit.fetch),
            other => (other, &[], limit.offset, limit.fetch),
        },
        Plan::Sort(sort) => (&sort.input, &sort.keys, 0, None),
        other => (other, &[], 0, None),
    }
}

/// Rows as often as they weigh.
fn unweighted(batches: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    let mut rows = Vec::with_capacity(batches.len());
    for batch in batches {
        let single = (0..batch.len()).all(|i| batch.weight(i) == 1);
        let plain = ChangeBatch::insertions(batch.columns().to_vec(), batch.len());
        if single {
            rows.push(plain);
            continue;
        }
        let mut indices = Vec::with_capacity(batch.len());
        for i in 0..batch.len() {
            let weight = usize::try_from(batch.weight(i))
                .map_err(|_| Error::internal("a query gave a row fewer times than never"))?;
            indices.extend(std::iter::repeat_n(i as u32, weight));
        }
        rows.push(plain.take(&UInt32Array::from(indices))?);
    }
    Ok(rows)
}

/// All rows in one batch, in order; equal rows in the order of their bytes, so that the answer is always the same.
pub(crate) fn sorted(rows: Vec<ChangeBatch>, order: &[SortKey]) -> Result<Vec<ChangeBatch>> {
    if rows.is_empty() {
        return Ok(rows);
    }
    let internal = |error: arrow_schema::ArrowError| Error::internal("rows could not be ordered").caused_by(error);
    let all = ChangeBatch::concat(&rows)?;
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for key in order {
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        fields.push(SortField::new_with_options(all.column(key.column).data_type().clone(), options));
        columns.push(all.column(key.column).clone());
    }
    for column in all.columns() {
        if RowConverter::supports_fields(&[SortField::new(column.data_type().clone())]) {
            fields.push(SortField::new(column.data_type().clone()));
            columns.push(column.clone());
        }
    }
    let converter = RowConverter::new(fields).map_err(internal)?;
    let keys = converter.convert_columns(&columns).map_err(internal)?;
    let mut indices: Vec<u32> = (0..all.len() as u32).collect();
    indices.sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    Ok(vec![all.take(&UInt32Array::from(indices))?])
}

/// Leaves out the first `offset` rows and all after `fetch` more.
pub(crate) fn cut(rows: Vec<ChangeBatch>, offset: u64, fetch: Option<u64>) -> Vec<ChangeBatch> {
    let (mut skip, mut left) = (offset as usize, fetch.map_or(usize::MAX, |fetch| fetch as usize));
    let mut kept = Vec::new();
    for batch in rows {
        let start = skip.min(batch.len());
        skip -= start;
        let len = (batch.len() - start).min(left);
        left -= len;
        if len > 0 {
            kept.push(batch.slice(start, len));
        }
    }
    kept
}
