//! Subqueries that name columns of the query around them become plans that do not.
//!
//! A bound subquery holds such names as columns of [`OUTER`] and more. Three ways lead to a plan that can be joined:
//! [`loosen`] takes the conditions on the query around out, whatever they are, where only the existence of rows matters;
//! [`pull`] takes equalities out and groups what is inside by them; [`spread`] computes the subquery for every different row of the
//! columns that it names, which always works and costs a second copy of the query around. What is joined back has one *tie*
//! per leading column: the expression over the query around that this column must equal.
//!
//! The approach is that of Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015).
//!
//! [`spread`]: spread::spread

mod loosen;
mod pull;
mod spread;

use std::collections::BTreeSet;

use gridhouse_base::{Error, Result, SqlType};
use gridhouse_expr::functions::resolve;
use gridhouse_expr::{Expr, Volatility};

pub(super) use loosen::loosen;
pub(super) use spread::or_zero;

use super::aggregate::AGGREGATE;
use super::scope::OUTER;
use crate::plan::{Aggregate, Plan};
pub(super) use crate::plan::{conjunction, conjuncts, filtered};

/// A plan without names of the query right around it.
#[derive(Debug)]
pub(super) struct Tied {
    /// One column per tie, then the columns of the subquery.
    pub plan: Plan,
    /// Whether it took more than equalities, which Flink cannot do.
    pub spread: bool,
    /// What the leading columns must equal.
    pub ties: Vec<Tie>,
}

/// What a column must equal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tie {
    /// Over the query around.
    pub outer: Expr,
    /// Whether NULL equals NULL.
    pub null_safe: bool,
}

impl Tied {
    fn new(plan: Plan, ties: Vec<Tie>) -> Self {
        Self { plan, ties, spread: false }
    }

    /// The conditions that tie the plan's columns, which stand from `offset` on, to the query around.
    pub fn conditions(&self, offset: usize) -> Result<Vec<Expr>> {
        let tied = |(i, tie): (usize, &Tie)| {
            let name = if tie.null_safe { "IS NOT DISTINCT FROM" } else { "=" };
            resolve(name, vec![tie.outer.clone(), shifted_column(&self.plan, i, offset)])
        };
        self.ties.iter().enumerate().map(tied).collect()
    }
}

/// `inner`, a subquery of `outer`, tied to it.
///
/// # Errors
/// `Invalid` where the columns that it names hold random values: they would not be the same twice.
pub(super) fn correlate(outer: &Plan, inner: Plan) -> Result<Tied> {
    if !is_correlated(&inner) {
        return Ok(Tied::new(lifted_plan(inner), Vec::new()));
    }
    if let Some(pulled) = pull::pull(&inner) {
        return Ok(Tied::new(lifted_plan(pulled.plan), pulled.ties));
    }
    let mut random = false;
    outer.for_each_expr(&mut |expr| random |= expr.volatility() == Volatility::Random);
    if random {
        return Err(Error::invalid("a subquery names columns of a query that computes random values")
            .hint("write the random values into a table first"));
    }
    let columns: Vec<usize> = named_columns(&inner).into_iter().collect();
    let all = (0..columns.len()).collect();
    let domain = Plan::aggregate(outer.clone().select(&columns), all, vec![], false);
    // The domain is made of the query around, so it stands in the frame that the lifted plan stands in.
    let plan = spread::spread(inner, &domain, &columns);
    let tie = |&column: &usize| {
        let outer = outer.column(column);
        let null_safe = outer.sql_type().nullable;
        Tie { outer, null_safe }
    };
    Ok(Tied { plan, ties: columns.iter().map(tie).collect(), spread: true })
}

/// An aggregation without groups of a subquery, per value of the ties; the aggregation itself where nothing is named. `None`
/// where it takes more than equalities.
pub(super) fn pulled_groups(node: &Aggregate) -> Option<Tied> {
    let input = pull::pull(&node.input)?;
    if input.ties.is_empty() {
        return Some(Tied::new(lifted_plan(Plan::Aggregate(node.clone())), Vec::new()));
    }
    let groups = pull::grouped(node, input);
    Some(Tied::new(lifted_plan(groups.plan), groups.ties))
}

/// Column `index` of `plan`, whose columns stand from `offset` on.
pub(super) fn shifted_column(plan: &Plan, index: usize, offset: usize) -> Expr {
    Expr::Column { index: index + offset, sql_type: plan.schema().columns[index].sql_type.clone() }
}

/// How many levels out column `index` is.
fn level(index: usize) -> usize {
    if index < AGGREGATE { index / OUTER } else { 0 }
}

/// Whether `expr` names a column of the query right around.
pub(super) fn names_outer(expr: &Expr) -> bool {
    let mut named = false;
    expr.for_each_column(|i| named |= level(i) == 1);
    named
}

/// Whether `expr` names a column of its own input.
fn names_own(expr: &Expr) -> bool {
    let mut named = false;
    expr.for_each_column(|i| named |= i < OUTER);
    named
}

/// Whether `plan` names a column of the query right around it.
pub(super) fn is_correlated(plan: &Plan) -> bool {
    let mut named = false;
    plan.for_each_expr(&mut |expr| named |= names_outer(expr));
    named
}

/// The columns of the query right around that `plan` names.
pub(super) fn named_columns(plan: &Plan) -> BTreeSet<usize> {
    let mut columns = BTreeSet::new();
    plan.for_each_expr(&mut |expr| {
        expr.for_each_column(|i| {
            if level(i) == 1 {
                columns.insert(i - OUTER);
            }
        });
    });
    columns
}

/// `expr` seen from one level further out: columns of the query right around become its own.
pub(super) fn lifted(expr: &Expr) -> Expr {
    expr.map_columns(|i| if level(i) > 0 { i - OUTER } else { i })
}

/// `expr` seen from one level further in: its own columns become those of the query right around.
pub(super) fn deepened_expr(expr: &Expr) -> Expr {
    expr.map_columns(|i| if i < AGGREGATE { i + OUTER } else { i })
}

/// `plan` without names of the query right around, seen from there: names of queries further out come one level nearer.
fn lifted_plan(plan: Plan) -> Plan {
    plan.map_exprs(&lifted)
}

/// `plan` seen from `levels` further in.
pub(super) fn deepened(plan: Plan, levels: usize) -> Plan {
    if levels == 0 {
        return plan;
    }
    plan.map_exprs(&|expr| expr.map_columns(|i| if level(i) > 0 { i + levels * OUTER } else { i }))
}

/// `expr` with columns replaced where `f` gives something else.
pub(super) fn replaced(expr: &Expr, f: &impl Fn(usize, &SqlType) -> Option<Expr>) -> Expr {
    match expr {
        Expr::Column { index, sql_type } => f(*index, sql_type).unwrap_or_else(|| expr.clone()),
        other => other.map_children(&mut |child| replaced(child, f)),
    }
}

/// The columns of `plan` with their names.
fn named(plan: &Plan) -> impl Iterator<Item = (String, Expr)> + '_ {
    plan.schema().columns.iter().enumerate().map(|(i, column)| (column.name.clone(), plan.column(i)))
}
