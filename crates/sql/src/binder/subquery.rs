//! `WHERE`, and in it `IN (SELECT …)` and `EXISTS`: semi and anti joins.
//!
//! A subquery may name columns of the query around it where it is a plain `SELECT … FROM … WHERE`; those conditions then become
//! conditions of the join. `x NOT IN (…)` keeps a row only if no comparison is true or unknown, as SQL demands.

use gridhouse_base::{Error, Result};
use gridhouse_expr::Expr;
use gridhouse_expr::functions::resolve;

use super::Binder;
use super::aggregate::has_aggregate;
use super::expr::Env;
use super::query::Ctes;
use super::scope::{OUTER, Scope};
use crate::ast::{self, ExprKind, Query, QueryBody, Select, SelectItem};
use crate::plan::{JoinKind, Plan};

/// A condition of `WHERE` that asks a subquery.
struct Asked<'q> {
    /// The left side of `IN`; `None` for `EXISTS`.
    operand: Option<&'q ast::Expr>,
    query: &'q Query,
    negated: bool,
    at: gridhouse_base::Position,
}

/// A subquery with what must hold between its rows and those around it.
struct Inner {
    plan: Plan,
    /// Over the rows around (index as there) and the subquery's (behind them).
    conditions: Vec<Expr>,
    /// The selected value in the same space; for `IN`.
    value: Option<Expr>,
}

impl Binder<'_> {
    pub(super) fn where_clause(
        &self,
        plan: Plan,
        scope: &Scope<'_>,
        selection: &ast::Expr,
        ctes: &Ctes<'_>,
    ) -> Result<Plan> {
        let mut plain = Vec::new();
        let mut asked = Vec::new();
        for conjunct in conjuncts(selection) {
            match asks(conjunct) {
                Some(question) => asked.push(question),
                None => plain.push(self.condition(conjunct, Env::plain(scope, "WHERE"))?),
            }
        }
        let mut plan = match plain.len() {
            0 => plan,
            1 => plan.filter(plain.remove(0)),
            _ => plan.filter(Expr::And(plain)),
        };
        for question in asked {
            plan = self.ask(plan, scope, &question, ctes)?;
        }
        Ok(plan)
    }

    fn ask(&self, plan: Plan, scope: &Scope<'_>, question: &Asked<'_>, ctes: &Ctes<'_>) -> Result<Plan> {
        let offset = plan.schema().len();
        let inner = match &question.query.body {
            QueryBody::Select(select) if is_plain(question.query, select) => {
                self.plain_subquery(select, scope, offset, question, ctes)?
            }
            _ => {
                let inner = self.bind_query(question.query, ctes).map_err(|error| {
                    if error.remedy().is_none() {
                        error.hint("columns of the query around cannot be used here yet")
                    } else {
                        error
                    }
                })?;
                if question.operand.is_some() {
                    single_column(inner.schema().len(), question)?;
                }
                let value = question.operand.map(|_| inner.column(0).map_columns(|i| i + offset));
                Inner { plan: inner, conditions: Vec::new(), value }
            }
        };
        let mut conditions = inner.conditions;
        if let (Some(operand), Some(value)) = (question.operand, inner.value) {
            let operand = self.expr(operand, Env::plain(scope, "WHERE"))?;
            let equal = resolve("=", vec![operand, value]).map_err(|error| error.at(question.at))?;
            let unknown_counts = question.negated && equal.sql_type().nullable;
            conditions.push(if unknown_counts { resolve("IS NOT FALSE", vec![equal])? } else { equal });
        }
        let residual = match conditions.len() {
            0 => None,
            1 => conditions.pop(),
            _ => Some(Expr::And(conditions)),
        };
        let kind = if question.negated { JoinKind::Anti } else { JoinKind::Semi };
        Ok(Plan::join(kind, plan, inner.plan, vec![], residual))
    }

    /// `SELECT … FROM … WHERE` that may name columns of the query around it.
    fn plain_subquery(
        &self,
        select: &Select,
        outer: &Scope<'_>,
        offset: usize,
        question: &Asked<'_>,
        ctes: &Ctes<'_>,
    ) -> Result<Inner> {
        let (mut plan, from) = self.from(&select.from, ctes)?;
        let alone = Scope { outer: None, ..from.clone() };
        let around = Scope { columns: outer.columns.clone(), star: outer.star.clone(), outer: None };
        let scope = Scope { outer: Some(&around), ..from };
        let shift = |expr: &Expr| expr.map_columns(|i| if i >= OUTER { i - OUTER } else { i + offset });
        let mut conditions = Vec::new();
        for conjunct in select.selection.iter().flat_map(conjuncts) {
            if let Some(inner) = asks(conjunct) {
                plan = self.ask(plan, &alone, &inner, ctes)?;
                continue;
            }
            let bound = self.condition(conjunct, Env::plain(&scope, "WHERE"))?;
            let mut outer_named = false;
            bound.for_each_column(|i| outer_named |= i >= OUTER);
            if outer_named {
                conditions.push(shift(&bound));
            } else {
                plan = plan.filter(bound);
            }
        }
        let value = match question.operand {
            None => None,
            Some(_) => Some(shift(&self.selected_value(select, &scope, question)?)),
        };
        Ok(Inner { plan, conditions, value })
    }

    fn selected_value(&self, select: &Select, scope: &Scope<'_>, question: &Asked<'_>) -> Result<Expr> {
        match select.items.as_slice() {
            [SelectItem::Expr { expr, .. }] => self.expr(expr, Env::plain(scope, "the select list")),
            [SelectItem::Star(_)] => {
                single_column(scope.star.len(), question)?;
                Ok(scope.expr(scope.star[0]))
            }
            items => {
                single_column(items.len().max(2), question)?;
                Err(Error::internal("a list of several columns was taken for one").at(question.at))
            }
        }
    }
}

fn single_column(width: usize, question: &Asked<'_>) -> Result<()> {
    if width == 1 {
        return Ok(());
    }
    Err(Error::invalid(format!("the query behind IN has {width} columns instead of one"))
        .hint("select one column, or use EXISTS with a condition per column")
        .at(question.query.at))
}

/// Whether conditions on the query around can be taken out of the subquery without changing it.
fn is_plain(query: &Query, select: &Select) -> bool {
    let aggregates =
        select.items.iter().any(|item| matches!(item, SelectItem::Expr { expr, .. } if has_aggregate(expr)));
    let limited = query.limit.is_some() || query.offset.is_some();
    query.with.is_empty() && !limited && select.group_by.is_none() && select.having.is_none() && !aggregates
}

/// The operands of the AND that `expr` is.
fn conjuncts(expr: &ast::Expr) -> Vec<&ast::Expr> {
    match &expr.kind {
        ExprKind::And(operands) => operands.iter().flat_map(conjuncts).collect(),
        _ => vec![expr],
    }
}

fn asks(expr: &ast::Expr) -> Option<Asked<'_>> {
    match &expr.kind {
        ExprKind::Exists(query) => Some(Asked { operand: None, query, negated: false, at: expr.at }),
        ExprKind::InQuery { operand, query, negated } => {
            Some(Asked { operand: Some(operand), query, negated: *negated, at: expr.at })
        }
        ExprKind::Not(inner) => asks(inner).map(|asked| Asked { negated: !asked.negated, ..asked }),
        _ => None,
    }
}
