//! Subqueries: bound where they stand, and `WHERE`, whose own `IN (SELECT …)` and `EXISTS` become semi and anti joins.
//!
//! Anywhere else a subquery is noted and answered later, see [`super::answer`]. `x NOT IN (…)` keeps a row only if no comparison
//! is true or unknown, as SQL demands.

use std::cell::RefCell;

use gridhouse_base::{Error, Position, Result, TypeKind};
use gridhouse_expr::Expr;
use gridhouse_expr::functions::resolve;

use super::Binder;
use super::answer::{Total, rows_only};
use super::around::Around;
use super::correlate::{conjunction, filtered, is_correlated, lifted, loosen, shifted_column};
use super::expr::Env;
use super::pending::{Asked, Nest, Pending, Question, SUBQUERY, WINDOW};
use super::scope::{OUTER, Scope};
use crate::ast::{self, ExprKind, Query};
use crate::plan::{JoinKind, Plan};

/// A condition of `WHERE` that asks a subquery and nothing else.
struct Condition<'q> {
    /// The left side of `IN`; `None` for `EXISTS`.
    operand: Option<&'q ast::Expr>,
    query: &'q Query,
    negated: bool,
    at: Position,
}

impl Binder<'_> {
    /// `(SELECT …)` as a value.
    pub(super) fn scalar_subquery(&self, query: &Query, at: Position, env: Env<'_>) -> Result<Expr> {
        let nest = nest_of(env, at)?;
        let plan = self.bind_subquery(query, env.scope, nest)?;
        if plan.schema().len() != 1 {
            return Err(Error::invalid(format!("the query has {} columns instead of one value", plan.schema().len()))
                .hint("select one column")
                .at(query.at));
        }
        let sql_type = plan.schema().columns[0].sql_type.with_nullable(true);
        Ok(nest.pending.borrow_mut().ask(Asked { question: Question::Value, plan, at }, sql_type))
    }

    /// `EXISTS (SELECT …)` as a value.
    pub(super) fn exists_value(&self, query: &Query, at: Position, env: Env<'_>) -> Result<Expr> {
        let nest = nest_of(env, at)?;
        let plan = self.bind_subquery(query, env.scope, nest)?;
        let asked = Asked { question: Question::Exists, plan, at };
        Ok(nest.pending.borrow_mut().ask(asked, TypeKind::Boolean.not_null()))
    }

    /// `a [NOT] IN (SELECT …)` as a value.
    pub(super) fn in_value(
        &self,
        operand: &ast::Expr,
        query: &Query,
        negated: bool,
        at: Position,
        env: Env<'_>,
    ) -> Result<Expr> {
        let nest = nest_of(env, at)?;
        let operands = self.in_operands(operand, Env { truth: false, ..env })?;
        let plan = self.bind_subquery(query, env.scope, nest)?;
        check_width(&plan, operands.len(), query)?;
        let equal = equalities(&operands, &columns_of(&plan, 0), at)?;
        // In a filter an IN that is unknown is as good as one that is false, unless it is negated.
        let exact = (!env.truth || negated) && equal.iter().any(|expr| expr.sql_type().nullable);
        let sql_type = if exact { TypeKind::Boolean.nullable() } else { TypeKind::Boolean.not_null() };
        let asked = Asked { question: Question::In { operands, exact }, plan, at };
        let answer = nest.pending.borrow_mut().ask(asked, sql_type);
        if negated { resolve("NOT", vec![answer]) } else { Ok(answer) }
    }

    /// `a` or `(a, b)` before `IN (SELECT …)`.
    fn in_operands(&self, operand: &ast::Expr, env: Env<'_>) -> Result<Vec<Expr>> {
        let written = match &operand.kind {
            ExprKind::Row(items) => items.as_slice(),
            _ => std::slice::from_ref(operand),
        };
        let operands = written.iter().map(|item| self.expr(item, env)).collect::<Result<Vec<_>>>()?;
        let mut placed = false;
        operands.iter().for_each(|operand| operand.for_each_column(|i| placed |= i >= WINDOW));
        if placed {
            return Err(Error::invalid("ROW_NUMBER() OVER cannot be compared with a query at once")
                .hint("select it in a query inside, and compare around that")
                .at(operand.at));
        }
        Ok(operands)
    }

    fn bind_subquery(&self, query: &Query, scope: &Scope<'_>, nest: Nest<'_>) -> Result<Plan> {
        self.bind_query(query, &Around::subquery(nest.around, scope))
    }

    pub(super) fn where_clause(
        &self,
        plan: Plan,
        scope: &Scope<'_>,
        selection: &ast::Expr,
        around: &Around<'_>,
    ) -> Result<Plan> {
        self.restrict(plan, scope, selection, around, "WHERE")
    }

    /// `plan` where `selection` holds; columns that it gained stand behind those of `scope`.
    pub(super) fn restrict(
        &self,
        plan: Plan,
        scope: &Scope<'_>,
        selection: &ast::Expr,
        around: &Around<'_>,
        clause: &'static str,
    ) -> Result<Plan> {
        let pending = RefCell::new(Pending::default());
        let nest = Nest { pending: &pending, around, windows: None };
        let env = Env { scope, aggregates: None, nest: Some(nest), clause, truth: true };
        let (mut plain, mut asking, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for conjunct in conjuncts(selection) {
            if let Some(condition) = asks(conjunct) {
                joined.push(condition);
                continue;
            }
            let bound = self.condition(conjunct, env)?;
            let mut asks = false;
            bound.for_each_column(|i| asks |= i >= SUBQUERY);
            if asks { asking.push(bound) } else { plain.push(bound) }
        }
        let mut plan = filtered(plan, plain);
        for condition in joined {
            plan = self.semi_join(plan, &condition, env, nest)?;
        }
        let wanted = pending.borrow().asked_by(&asking);
        plan = self.answer(plan, &pending, &wanted)?;
        let asking = asking.iter().map(|condition| pending.borrow().answered(condition)).collect();
        Ok(filtered(plan, asking))
    }

    fn semi_join(&self, plan: Plan, condition: &Condition<'_>, env: Env<'_>, nest: Nest<'_>) -> Result<Plan> {
        let at = condition.at;
        let inner_env = Env { truth: false, ..env };
        let operands = condition.operand.map(|operand| self.in_operands(operand, inner_env)).transpose()?;
        let inner = self.bind_subquery(condition.query, env.scope, nest)?;
        let operands = operands.unwrap_or_default();
        let inner = match condition.operand {
            Some(_) => {
                check_width(&inner, operands.len(), condition.query)?;
                inner
            }
            None => rows_only(inner),
        };
        if Total::of(&inner).is_some() && (is_correlated(&inner) || operands.is_empty()) {
            // A row that is always there is not found by a join with the rows it is made of.
            let question = if operands.is_empty() {
                Question::Exists
            } else {
                Question::In { operands, exact: condition.negated }
            };
            let asked = Asked { question, plan: inner, at };
            let answer = nest.pending.borrow_mut().ask(asked, TypeKind::Boolean.nullable());
            let answer = if condition.negated { resolve("NOT", vec![answer])? } else { answer };
            let wanted = nest.pending.borrow().asked_by([&answer]);
            let plan = self.answer(plan, nest.pending, &wanted)?;
            let answer = nest.pending.borrow().answered(&answer);
            return Ok(plan.filter(answer));
        }
        let wanted = nest.pending.borrow().asked_by(&operands);
        let plan = self.answer(plan, nest.pending, &wanted)?;
        let operands: Vec<Expr> = operands.iter().map(|operand| nest.pending.borrow().answered(operand)).collect();
        let width = plan.schema().len();
        // Own columns of the subquery stand behind the plan's; marked ones are the plan's.
        let moved = |expr: &Expr| lifted(&expr.map_columns(|i| if i < OUTER { i + width } else { i }));
        let (inner, columns, mut conditions) = match loosen(&inner) {
            Some(loose) => {
                let columns: Vec<Expr> = loose.columns.iter().map(moved).collect();
                (loose.plan, columns, loose.conditions.iter().map(moved).collect::<Vec<_>>())
            }
            None => {
                let tied = self.tied(&plan, inner, at)?;
                let conditions = tied.conditions(width)?;
                let columns = columns_of(&tied.plan, width).split_off(tied.ties.len());
                (tied.plan, columns, conditions)
            }
        };
        for equal in equalities(&operands, &columns, at)? {
            let unknown_counts = condition.negated && equal.sql_type().nullable;
            conditions.push(if unknown_counts && operands.len() == 1 {
                resolve("IS NOT FALSE", vec![equal])?
            } else {
                equal
            });
        }
        if condition.negated && operands.len() > 1 {
            // A whole row is a partner unless it surely differs.
            let split = conditions.len() - operands.len();
            let equal = conjunction(conditions.split_off(split));
            conditions.extend(equal.map(|equal| resolve("IS NOT FALSE", vec![equal])).transpose()?);
        }
        let kind = if condition.negated { JoinKind::Anti } else { JoinKind::Semi };
        Ok(Plan::join(kind, plan, inner, vec![], conjunction(conditions)))
    }
}

fn nest_of(env: Env<'_>, at: Position) -> Result<Nest<'_>> {
    env.nest.ok_or_else(|| {
        Error::invalid(format!("a query cannot stand in {}", env.clause))
            .hint("put its result into a table or a view first, and join with that")
            .at(at)
    })
}

/// All columns of `plan`, which stand from `offset` on.
fn columns_of(plan: &Plan, offset: usize) -> Vec<Expr> {
    (0..plan.schema().len()).map(|i| shifted_column(plan, i, offset)).collect()
}

fn equalities(operands: &[Expr], columns: &[Expr], at: Position) -> Result<Vec<Expr>> {
    let equal = |(operand, column): (&Expr, &Expr)| {
        resolve("=", vec![operand.clone(), column.clone()]).map_err(|error| error.at(at))
    };
    operands.iter().zip(columns).map(equal).collect()
}

fn check_width(plan: &Plan, operands: usize, query: &Query) -> Result<()> {
    let width = plan.schema().len();
    if width == operands {
        return Ok(());
    }
    let wanted = if operands == 1 { "one".to_owned() } else { operands.to_string() };
    let plural = if width == 1 { "" } else { "s" };
    let error = Error::invalid(format!("the query behind IN has {width} column{plural} instead of {wanted}"));
    let hint = if operands == 1 {
        "select one column, or compare rows: (a, b) IN (SELECT x, y …)".to_owned()
    } else {
        format!("select {operands} columns, one for each value before IN")
    };
    Err(error.hint(hint).at(query.at))
}

/// The operands of the AND that `expr` is.
fn conjuncts(expr: &ast::Expr) -> Vec<&ast::Expr> {
    match &expr.kind {
        ExprKind::And(operands) => operands.iter().flat_map(conjuncts).collect(),
        _ => vec![expr],
    }
}

fn asks(expr: &ast::Expr) -> Option<Condition<'_>> {
    match &expr.kind {
        ExprKind::Exists(query) => Some(Condition { operand: None, query, negated: false, at: expr.at }),
        ExprKind::InQuery { operand, query, negated } => {
            Some(Condition { operand: Some(operand), query, negated: *negated, at: expr.at })
        }
        ExprKind::Not(inner) => asks(inner).map(|asked| Condition { negated: !asked.negated, ..asked }),
        _ => None,
    }
}
