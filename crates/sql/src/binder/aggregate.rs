//! Aggregates and groups.
//!
//! An expression over groups is bound as if over rows; its aggregates become columns from [`AGGREGATE`] on. Afterwards every
//! part that equals a group key becomes the key's column, and what is left must not name a column of the rows.

use std::cell::RefCell;

use gridhouse_base::{Error, Position, Result, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr, aggregate, cast};

use super::Binder;
use super::correlate::named_columns;
use super::expr::Env;
use super::pending::{Asked, Nest, Pending, Question, SUBQUERY, Window};
use super::scope::{OUTER, Scope};
use crate::ast::{self, Call, ExprKind};
use crate::plan::Plan;

/// Column indices from here on mean aggregates of the same query level.
pub(super) const AGGREGATE: usize = 1 << 41;

/// Names of aggregates that there are, and of Flink's that come later.
const KNOWN: &[&str] = &["COUNT", "SUM", "AVG", "MIN", "MAX"];
const LATER: &[&str] = &[
    "COLLECT",
    "LISTAGG",
    "FIRST_VALUE",
    "LAST_VALUE",
    "STDDEV",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "VARIANCE",
    "VAR_POP",
    "VAR_SAMP",
    "ARRAY_AGG",
    "JSON_OBJECTAGG",
    "JSON_ARRAYAGG",
    "APPROX_COUNT_DISTINCT",
    "GROUPING",
    "GROUP_ID",
    "GROUPING_ID",
];

/// Whether `name` (upper-case) is an aggregate's.
pub(super) fn is_aggregate(name: &str) -> bool {
    KNOWN.contains(&name) || LATER.contains(&name)
}

/// One aggregate over expressions of the rows.
#[derive(Clone, Debug, PartialEq)]
struct OverRows {
    call: AggregateCall,
    args: Vec<Expr>,
    filter: Option<Expr>,
}

/// The aggregates of one query level, each once.
#[derive(Debug, Default)]
pub(super) struct Aggregates {
    pending: Vec<OverRows>,
    /// Whether there are keys: then every group has a row.
    pub grouped: bool,
}

impl Aggregates {
    /// The arguments and filters of all.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.pending.iter().flat_map(|pending| pending.args.iter().chain(&pending.filter))
    }
}

impl Binder<'_> {
    pub(super) fn aggregate_call(&self, call: &Call, env: Env<'_>) -> Result<Expr> {
        let at = call.written.at;
        if LATER.contains(&call.name.as_str()) {
            return Err(Error::invalid(format!("{}(…) is not supported yet", call.name))
                .hint("the aggregates are COUNT, SUM, AVG, MIN and MAX")
                .at(at));
        }
        let Some(aggregates) = env.aggregates else {
            let remedy = match env.clause {
                "WHERE" => "filter groups with HAVING",
                "an aggregate" => "aggregate in a subquery first",
                _ => "compute it in a subquery with GROUP BY",
            };
            return Err(Error::invalid(format!("{}(…) cannot stand in {}", call.name, env.clause)).hint(remedy).at(at));
        };
        if call.star && call.name != "COUNT" {
            return Err(Error::invalid(format!("{}(*) has no meaning", call.name)).hint("name the column").at(at));
        }
        if call.args.is_empty() && !call.star {
            let hint = if call.name == "COUNT" { "write COUNT(*)" } else { "name the column" };
            return Err(Error::invalid(format!("{}() lacks its argument", call.name)).hint(hint).at(at));
        }
        let nest = env.nest.map(|nest| Nest { windows: None, ..nest });
        let inner = Env { scope: env.scope, aggregates: None, nest, clause: "an aggregate", truth: false };
        let args = call.args.iter().map(|arg| self.expr(arg, inner)).collect::<Result<Vec<_>>>()?;
        let filter_env = Env { clause: "FILTER (WHERE …)", ..inner };
        let filter = call.filter.as_ref().map(|filter| self.condition(filter, filter_env)).transpose()?;
        let types: Vec<_> = args.iter().map(|arg| arg.sql_type().clone()).collect();
        let mut aggregates = aggregates.borrow_mut();
        // A filter may leave a group without rows.
        let grouped = aggregates.grouped && filter.is_none();
        let resolved = aggregate::resolve(&call.name, &types, call.distinct, grouped).map_err(|error| error.at(at))?;
        let cast_args = args.into_iter().zip(&resolved.arg_types).map(|(arg, to)| cast::implicit_cast(arg, to));
        let args = cast_args.collect::<Result<Vec<_>>>().map_err(|error| error.at(at))?;
        // DISTINCT changes nothing for the smallest and the largest.
        let distinct = call.distinct && !matches!(call.name.as_str(), "MIN" | "MAX");
        let sql_type = resolved.sql_type.clone();
        let call = AggregateCall {
            function: resolved.function,
            args: Vec::new(),
            distinct,
            filter: None,
            sql_type: resolved.sql_type,
        };
        let pending = OverRows { call, args, filter };
        let index = match aggregates.pending.iter().position(|known| *known == pending) {
            Some(index) => index,
            None => {
                aggregates.pending.push(pending);
                aggregates.pending.len() - 1
            }
        };
        Ok(Expr::Column { index: AGGREGATE + index, sql_type })
    }
}

/// The groups of a query level.
pub(super) struct Groups {
    /// The keys over the rows, each once.
    pub keys: Vec<Expr>,
    /// Their names.
    pub names: Vec<String>,
    /// Whether there is no `GROUP BY`, or an empty one.
    pub grand_total: bool,
}

impl Groups {
    /// The aggregation of `input`: a projection to keys, arguments and filters, and the aggregates over it.
    ///
    /// Subqueries that keys and arguments ask are answered by `input`, as `pending` says.
    pub fn plan(&self, input: Plan, aggregates: &RefCell<Aggregates>, pending: &Pending) -> Plan {
        let aggregates = aggregates.borrow();
        let keys = self.keys.iter().map(|key| pending.answered(key));
        let mut columns: Vec<(String, Expr)> = self.names.iter().cloned().zip(keys).collect();
        let names: Vec<String> = input.schema().columns.iter().map(|column| column.name.clone()).collect();
        let mut place = |expr: &Expr| {
            let expr = pending.answered(expr);
            if let Some(index) = columns.iter().position(|(_, known)| *known == expr) {
                return index;
            }
            let index = columns.len();
            let own = expr.as_column().and_then(|i| names.get(i).cloned());
            columns.push((own.unwrap_or_else(|| format!("$a{index}")), expr));
            index
        };
        let mut calls = Vec::with_capacity(aggregates.pending.len());
        for (i, pending) in aggregates.pending.iter().enumerate() {
            let args = pending.args.iter().map(&mut place).collect();
            let filter = pending.filter.as_ref().map(&mut place);
            calls.push((format!("$g{i}"), AggregateCall { args, filter, ..pending.call.clone() }));
        }
        if calls.is_empty() && self.grand_total {
            // `HAVING` without aggregates still makes one row; something has to count for it.
            let call = AggregateCall {
                function: AggregateFunction::CountStar,
                args: vec![],
                distinct: false,
                filter: None,
                sql_type: TypeKind::BigInt.not_null(),
            };
            calls.push(("$g0".to_owned(), call));
        }
        let keys = (0..self.keys.len()).collect();
        Plan::aggregate(input.project(columns), keys, calls, self.grand_total)
    }

    /// `expr`, bound over the rows, over the columns of the aggregation.
    ///
    /// # Errors
    /// `Invalid` where it names a column that is neither a key nor inside an aggregate.
    pub fn over_groups(&self, expr: &Expr, written: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
        let mut stray = None;
        let rewritten = self.rewrite(expr, &mut stray);
        match stray {
            None => Ok(rewritten),
            Some(index) => Err(self.stray(index, written, scope)),
        }
    }

    /// `plan`, a subquery that names columns of the rows, over the columns of the aggregation; so are the values that are
    /// looked for in it.
    ///
    /// # Errors
    /// `Invalid` where it names a column that is not a key.
    pub fn subquery_over_groups(&self, asked: &Asked, scope: &Scope<'_>) -> Result<Asked> {
        let mut over = asked.clone();
        let place = |column: usize| self.keys.iter().position(|key| key.as_column() == Some(column));
        let stray = named_columns(&asked.plan).into_iter().find(|&column| place(column).is_none());
        if let Some(index) = stray {
            let written = ast::Expr { kind: ExprKind::Literal(ast::Literal::Null), at: asked.at };
            return Err(self.stray(index, &written, scope));
        }
        over.plan = over.plan.map_exprs(&|expr| {
            expr.map_columns(|i| match i.checked_sub(OUTER) {
                Some(column) if column < OUTER => OUTER + place(column).unwrap_or(column),
                _ => i,
            })
        });
        if let Question::In { operands, .. } = &mut over.question {
            let written = ast::Expr { kind: ExprKind::Literal(ast::Literal::Null), at: asked.at };
            for operand in operands {
                *operand = self.over_groups(operand, &written, scope)?;
            }
        }
        Ok(over)
    }

    /// What windows are made of, over the columns of the aggregation.
    ///
    /// # Errors
    /// As [`Groups::over_groups`].
    pub fn windows_over_groups(&self, windows: &mut [Window], select: &ast::Select, scope: &Scope<'_>) -> Result<()> {
        let written = ast::Expr { kind: ExprKind::Literal(ast::Literal::Null), at: select.at };
        for window in windows {
            for expr in window.partition.iter_mut().chain(window.order.iter_mut().map(|(expr, ..)| expr)) {
                *expr = self.over_groups(expr, &written, scope)?;
            }
        }
        Ok(())
    }

    fn rewrite(&self, expr: &Expr, stray: &mut Option<usize>) -> Expr {
        if let Some(key) = self.keys.iter().position(|key| key == expr) {
            return Expr::Column { index: key, sql_type: expr.sql_type().clone() };
        }
        match expr {
            // Answered over the groups.
            Expr::Column { index, .. } if *index >= SUBQUERY => expr.clone(),
            // A column of a query around is the same for all rows.
            Expr::Column { index, .. } if *index >= OUTER && *index < AGGREGATE => expr.clone(),
            Expr::Column { index, sql_type } if *index >= AGGREGATE => {
                Expr::Column { index: index - AGGREGATE + self.keys.len(), sql_type: sql_type.clone() }
            }
            Expr::Column { index, .. } => {
                stray.get_or_insert(*index);
                expr.clone()
            }
            other => other.map_children(&mut |child| self.rewrite(child, stray)),
        }
    }

    fn stray(&self, index: usize, written: &ast::Expr, scope: &Scope<'_>) -> Error {
        let name = scope
            .columns
            .get(index)
            .map_or_else(String::new, |column| gridhouse_base::table::quoted(&column.name).into_owned());
        let at = place_of(written, index, scope).unwrap_or(written.at);
        let hint = format!("add {name} to GROUP BY, or take MIN({name}) or MAX({name})");
        Error::invalid(format!("column {name} is neither in GROUP BY nor inside an aggregate")).hint(hint).at(at)
    }
}

/// Where `written` names column `index` outside of aggregates.
fn place_of(written: &ast::Expr, index: usize, scope: &Scope<'_>) -> Option<Position> {
    let mut place = None;
    visit(written, &mut |expr| match &expr.kind {
        ExprKind::Name(parts) => {
            if place.is_none() && scope.find(parts).is_ok_and(|found| found.index == index) {
                place = Some(expr.at);
            }
            true
        }
        ExprKind::Call(call) => !is_aggregate(&call.name) || call.over.is_some(),
        _ => true,
    });
    place
}

/// Calls `seen` for `expr` and, where it says so, for the expressions in it; subqueries are left out.
pub(super) fn visit(expr: &ast::Expr, seen: &mut impl FnMut(&ast::Expr) -> bool) {
    if !seen(expr) {
        return;
    }
    let mut all = |exprs: &[&ast::Expr]| exprs.iter().for_each(|expr| visit(expr, seen));
    match &expr.kind {
        ExprKind::Name(_) | ExprKind::Literal(_) | ExprKind::Exists(_) | ExprKind::Subquery(_) => {}
        ExprKind::And(exprs)
        | ExprKind::Or(exprs)
        | ExprKind::Row(exprs)
        | ExprKind::Array(exprs)
        | ExprKind::Map(exprs) => {
            exprs.iter().for_each(|expr| visit(expr, seen));
        }
        ExprKind::Not(operand)
        | ExprKind::Sign { operand, .. }
        | ExprKind::Is { operand, .. }
        | ExprKind::InQuery { operand, .. }
        | ExprKind::Field { operand, .. }
        | ExprKind::Cast { input: operand, .. } => all(&[operand]),
        ExprKind::Binary { left, right, .. } | ExprKind::IsDistinct { left, right, .. } => all(&[left, right]),
        ExprKind::Index { operand, index } => all(&[operand, index]),
        ExprKind::Between { operand, low, high, .. } => all(&[operand, low, high]),
        ExprKind::InList { operand, list, .. } => {
            visit(operand, seen);
            list.iter().for_each(|expr| visit(expr, seen));
        }
        ExprKind::Like { operand, pattern, escape, .. } => {
            all(&[operand, pattern]);
            if let Some(escape) = escape {
                visit(escape, seen);
            }
        }
        ExprKind::Case { operand, branches, otherwise } => {
            for expr in operand.iter().chain(otherwise) {
                visit(expr, seen);
            }
            for (when, then) in branches {
                visit(when, seen);
                visit(then, seen);
            }
        }
        ExprKind::Call(call) => {
            call.args.iter().chain(&call.filter).for_each(|expr| visit(expr, seen));
            if let Some(over) = &call.over {
                over.partition_by.iter().for_each(|expr| visit(expr, seen));
                over.order_by.iter().for_each(|item| visit(&item.expr, seen));
            }
        }
    }
}

/// Whether an aggregate stands in `expr`.
pub(super) fn has_aggregate(expr: &ast::Expr) -> bool {
    let mut found = false;
    visit(expr, &mut |expr| {
        if let ExprKind::Call(call) = &expr.kind {
            found |= is_aggregate(&call.name) && call.over.is_none();
        }
        !found
    });
    found
}

/// The kinds that can be grouped by and compared for equality.
pub(super) fn check_groupable(expr: &Expr, what: &str, at: Position) -> Result<()> {
    match expr.kind() {
        TypeKind::Map(..) => Err(Error::invalid(format!("{what} cannot be a MAP")).hint("use its parts").at(at)),
        _ => Ok(()),
    }
}
