//! Window functions: `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …)`.
//!
//! Only places of rows are computed. A filter on the place around them makes a Top-N or a deduplication, as in Flink; without
//! one every row keeps its place, which Flink's streams refuse. What else stands before `OVER` is refused with a remedy.

use gridhouse_base::{Error, Result};
use gridhouse_expr::Expr;

use super::Binder;
use super::aggregate::{check_groupable, is_aggregate};
use super::expr::Env;
use super::pending::{Pending, WINDOW, Window};
use crate::ast::{Call, NamedWindow, Over};
use crate::plan::{Plan, SortKey};

/// Flink's window functions that are no aggregates.
const FUNCTIONS: &[&str] = &[
    "ROW_NUMBER",
    "RANK",
    "DENSE_RANK",
    "PERCENT_RANK",
    "CUME_DIST",
    "NTILE",
    "LAG",
    "LEAD",
    "FIRST_VALUE",
    "LAST_VALUE",
    "NTH_VALUE",
];

/// Whether `name` (upper-case) only has a meaning with `OVER`.
pub(super) fn is_window_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

impl Binder<'_> {
    pub(super) fn window_call(&self, call: &Call, env: Env<'_>) -> Result<Expr> {
        let at = call.written.at;
        let name = &call.name;
        let Some(over) = &call.over else {
            return Err(Error::invalid(format!("{name}() needs OVER"))
                .hint(format!("write {name}() OVER (PARTITION BY … ORDER BY …)"))
                .at(at));
        };
        if name != "ROW_NUMBER" {
            return Err(not_yet(name).at(at));
        }
        let nest = env.nest.and_then(|nest| Some((nest.pending, nest.windows?)));
        let Some((pending, windows)) = nest else {
            return Err(Error::invalid(format!("{name}() OVER cannot stand in {}", env.clause))
                .hint("select it in a query inside, and filter or group around that: SELECT … FROM (SELECT …, ROW_NUMBER() OVER (…) AS rn FROM t) WHERE rn = 1")
                .at(at));
        };
        if !call.args.is_empty() || call.star || call.distinct || call.filter.is_some() {
            return Err(Error::invalid("ROW_NUMBER takes no arguments").hint("write ROW_NUMBER() OVER (…)").at(at));
        }
        let over = named_window(over, windows)?;
        if let Some(frame) = &over.frame {
            return Err(Error::invalid("ROW_NUMBER() takes no ROWS or RANGE").hint("remove it").at(frame.at));
        }
        if over.order_by.is_empty() {
            return Err(Error::invalid("ROW_NUMBER() needs an ORDER BY in its OVER clause, as in Flink")
                .hint("say which row is the first: OVER (PARTITION BY … ORDER BY time DESC)")
                .at(over.at));
        }
        // A window function cannot be asked by another one.
        let inner =
            Env { nest: env.nest.map(|nest| super::pending::Nest { windows: None, ..nest }), clause: "OVER", ..env };
        let mut window = Window { partition: Vec::new(), order: Vec::new() };
        for written in &over.partition_by {
            let expr = self.expr(written, inner)?;
            check_groupable(&expr, "PARTITION BY", written.at)?;
            window.partition.push(expr);
        }
        for item in &over.order_by {
            let expr = self.expr(&item.expr, inner)?;
            check_groupable(&expr, "ORDER BY", item.expr.at)?;
            window.order.push((expr, item.descending, item.nulls_first.unwrap_or(!item.descending)));
        }
        self.ranked_at.set(self.ranked_at.get().or(Some(at)));
        Ok(pending.borrow_mut().place(window))
    }
}

fn not_yet(name: &str) -> Error {
    let error = Error::invalid(format!("{name}(…) OVER is not supported yet"));
    if is_aggregate(name) {
        return error
            .hint("aggregate with GROUP BY in a query of its own and join it; ROW_NUMBER() OVER (…) gives places");
    }
    error.hint("ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) is what there is")
}

/// An aggregate with `OVER`.
pub(super) fn over_aggregate(call: &Call) -> Error {
    not_yet(&call.name).at(call.written.at)
}

/// `over` with what the named window that it begins with says.
fn named_window(over: &Over, windows: &[NamedWindow]) -> Result<Over> {
    let Some(name) = &over.window else { return Ok(over.clone()) };
    let Some(named) = windows.iter().find(|window| window.name.name == name.name) else {
        let known: Vec<&str> = windows.iter().map(|window| window.name.name.as_str()).collect();
        let error = Error::not_found(format!("there is no window {name}"));
        return Err(crate::catalog::suggest(error, &name.name, &known, "WINDOW w AS (…) names one").at(name.at));
    };
    // A window may begin with one that is named before it, never with itself.
    let before = windows.iter().position(|window| window.name.name == name.name).unwrap_or_default();
    let base = named_window(&named.over, &windows[..before])?;
    let mut merged = over.clone();
    merged.window = None;
    if !over.partition_by.is_empty() || (!base.order_by.is_empty() && !over.order_by.is_empty()) {
        return Err(Error::invalid(format!("the window {name} says that already"))
            .hint("leave out what the named window has, or write the window anew")
            .at(over.at));
    }
    merged.partition_by = base.partition_by;
    if merged.order_by.is_empty() {
        merged.order_by = base.order_by;
    }
    merged.frame = merged.frame.or(base.frame);
    Ok(merged)
}

/// `plan` with a column for the places in every window; gives `exprs` with those columns.
pub(super) fn with_places(mut plan: Plan, exprs: Vec<Expr>, pending: &Pending) -> (Plan, Vec<Expr>) {
    let mut places = Vec::with_capacity(pending.windows.len());
    for (n, window) in pending.windows.iter().enumerate() {
        let mut columns: Vec<(String, Expr)> =
            (0..plan.schema().len()).map(|i| (plan.schema().columns[i].name.clone(), plan.column(i))).collect();
        let width = columns.len();
        let mut column = |expr: &Expr| {
            let expr = pending.answered(expr);
            if let Some(index) = columns.iter().position(|(_, known)| *known == expr) {
                return index;
            }
            columns.push((format!("$w{}", columns.len()), expr));
            columns.len() - 1
        };
        let mut partition: Vec<usize> = window.partition.iter().map(&mut column).collect();
        partition.sort_unstable();
        partition.dedup();
        let order: Vec<SortKey> = window
            .order
            .iter()
            .map(|(expr, descending, nulls_first)| SortKey {
                column: column(expr),
                descending: *descending,
                nulls_first: *nulls_first,
            })
            .collect();
        let input = if columns.len() == width { plan } else { plan.project(columns) };
        plan = Plan::rank(input, partition, order, (0, None), Some(&format!("$rank{n}")));
        places.push(plan.column(plan.schema().len() - 1));
    }
    let replace =
        |expr: &Expr| super::correlate::replaced(expr, &|index, _| places.get(index.checked_sub(WINDOW)?).cloned());
    let exprs = exprs.iter().map(replace).collect();
    (plan, exprs)
}
