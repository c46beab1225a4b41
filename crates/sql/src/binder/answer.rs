//! How a subquery in an expression is answered: the plan that the expression stands over is joined with it.
//!
//! The plan's columns stay where they are; what answers stands behind them. A value comes from a left join with the one row
//! that there may be, `EXISTS` from one with the different rows that there are, marked. An aggregate without groups always has a row:
//! its correlated form is a left join with groups, whose missing counts are zero.

use std::cell::RefCell;

use gridhouse_base::{Position, Result, TypeKind};
use gridhouse_expr::functions::{case, resolve};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr};

use super::Binder;
use super::correlate::{
    Tied, conjunction, correlate, deepened_expr, is_correlated, lifted, or_zero, pulled_groups, shifted_column,
};
use super::pending::{Asked, Pending, Question};
use crate::plan::{Aggregate, JoinKind, Plan};
use crate::properties::upsert_keys;

impl Binder<'_> {
    /// `plan` with answers to the subqueries that are `wanted`, which are noted in `pending`.
    pub(super) fn answer(&self, mut plan: Plan, pending: &RefCell<Pending>, wanted: &[bool]) -> Result<Plan> {
        for (index, wanted) in wanted.iter().enumerate() {
            let (mut asked, known) = {
                let pending = pending.borrow();
                (pending.asked[index].clone(), pending.answers[index].is_some())
            };
            if !wanted || known {
                continue;
            }
            if let Question::In { operands, .. } = &mut asked.question {
                operands.iter_mut().for_each(|operand| *operand = pending.borrow().answered(operand));
            }
            let at = asked.at;
            let (answered, value) = self.apply(plan, asked).map_err(|error| error.at(at))?;
            plan = answered;
            pending.borrow_mut().answers[index] = Some(value);
        }
        Ok(plan)
    }

    /// `inner`, a subquery of `outer`, tied to it.
    pub(super) fn tied(&self, outer: &Plan, inner: Plan, at: Position) -> Result<Tied> {
        let tied = correlate(outer, inner).map_err(|error| error.at(at))?;
        if tied.spread {
            self.note("Flink takes subqueries that are tied to the query around by equalities only: write a join", at);
        }
        Ok(tied)
    }

    /// `outer` with what `asked` asks, and the answer over it.
    fn apply(&self, outer: Plan, asked: Asked) -> Result<(Plan, Expr)> {
        match asked.question {
            Question::Value => self.value(outer, asked.plan, asked.at),
            Question::Exists => self.exists(outer, asked.plan, asked.at),
            Question::In { operands, exact } => self.is_in(outer, asked.plan, (&operands, exact), asked.at),
        }
    }

    fn value(&self, outer: Plan, inner: Plan, at: Position) -> Result<(Plan, Expr)> {
        if is_correlated(&inner)
            && let Some(total) = Total::of(&inner)
            && let Some(joined) = total.join(&outer)
        {
            let JoinedTotal { plan, conditions, mut exprs } = joined?;
            let value = exprs.remove(0);
            let value = match conjunction(conditions) {
                Some(condition) => case(vec![(condition, value)], None)?,
                None => value,
            };
            return Ok((plan, value));
        }
        let mut tied = self.tied(&outer, inner, at)?;
        let ties = tied.ties.len();
        let unique = upsert_keys(&tied.plan).iter().any(|key| key.iter().all(|&column| column < ties));
        let mut kind = JoinKind::Left;
        if !unique {
            tied.plan = single(tied.plan, ties);
        }
        if ties == 0 && has_one_row(&tied.plan) {
            kind = JoinKind::Inner;
        }
        let index = outer.schema().len() + ties;
        let sql_type = tied.plan.schema().columns[ties].sql_type.with_nullable(true);
        Ok((tie(outer, tied, kind)?, Expr::Column { index, sql_type }))
    }

    fn exists(&self, outer: Plan, inner: Plan, at: Position) -> Result<(Plan, Expr)> {
        let inner = rows_only(inner);
        if let Some(total) = Total::of(&inner) {
            if total.conditions.is_empty() {
                return Ok((outer, Expr::boolean(true)));
            }
            if let Some(joined) = total.join(&outer) {
                let JoinedTotal { plan, conditions, .. } = joined?;
                let condition = conjunction(conditions).unwrap_or_else(|| Expr::boolean(true));
                return Ok((plan, resolve("IS TRUE", vec![condition])?));
            }
        }
        let mut tied = self.tied(&outer, inner, at)?;
        let (width, ties) = (outer.schema().len(), tied.ties.len());
        let kind = if ties == 0 {
            // The smallest of ones: it changes only when the first row comes or the last one goes.
            let one = tied.plan.project(vec![("$one".to_owned(), Expr::int(1))]);
            let call = AggregateCall {
                function: AggregateFunction::Min,
                args: vec![0],
                distinct: false,
                filter: None,
                sql_type: TypeKind::Int.nullable(),
            };
            tied.plan = Plan::aggregate(one, vec![], vec![("$found".to_owned(), call)], true);
            JoinKind::Inner
        } else {
            let groups = Plan::aggregate(tied.plan, (0..ties).collect(), vec![], false);
            let columns = groups.schema().columns.iter().enumerate().map(|(i, c)| (c.name.clone(), groups.column(i)));
            let columns = columns.chain([("$found".to_owned(), Expr::boolean(true))]).collect();
            tied.plan = groups.project(columns);
            JoinKind::Left
        };
        let found = filled(shifted_column(&tied.plan, ties, width));
        Ok((tie(outer, tied, kind)?, resolve("IS NOT NULL", vec![found])?))
    }

    /// Whether `operands` are a row of `inner`: true, false, or (where `exact`) unknown.
    fn is_in(
        &self,
        outer: Plan,
        inner: Plan,
        (operands, exact): (&[Expr], bool),
        at: Position,
    ) -> Result<(Plan, Expr)> {
        let equal = |(i, operand): (usize, &Expr)| resolve("=", vec![deepened_expr(operand), inner.column(i)]);
        let equal = operands.iter().enumerate().map(equal).collect::<Result<Vec<_>>>()?;
        let nullable = equal.iter().any(|expr| expr.sql_type().nullable);
        let all = conjunction(equal).unwrap_or_else(|| Expr::boolean(true));
        let (mut plan, found) = self.exists(outer, inner.clone().filter(all.clone()), at)?;
        if !exact || !nullable {
            return Ok((plan, found));
        }
        let mut unknown = Vec::new();
        if let [operand] = operands {
            if operand.sql_type().nullable {
                let (wider, any) = self.exists(plan, inner.clone(), at)?;
                plan = wider;
                unknown.push(Expr::And(vec![resolve("IS NULL", vec![operand.clone()])?, any]));
            }
            if inner.column(0).sql_type().nullable {
                let empty = resolve("IS NULL", vec![inner.column(0)])?;
                let (wider, any) = self.exists(plan, inner.filter(empty), at)?;
                plan = wider;
                unknown.push(any);
            }
        } else {
            let (wider, any) = self.exists(plan, inner.filter(resolve("IS UNKNOWN", vec![all])?), at)?;
            plan = wider;
            unknown.push(any);
        }
        let unknown = if unknown.len() == 1 { unknown.remove(0) } else { Expr::Or(unknown) };
        let branches = vec![(found, Expr::boolean(true)), (unknown, Expr::null(TypeKind::Boolean))];
        let answer = case(branches, Some(Expr::boolean(false)))?;
        Ok((plan, answer))
    }
}

/// An aggregation without groups, with what is computed from it: one row for every row around.
pub(super) struct Total {
    node: Aggregate,
    /// What must hold for the row to be there, over the aggregation.
    conditions: Vec<Expr>,
    /// What is selected, over the aggregation.
    exprs: Vec<Expr>,
}

/// A total beside the rows around.
struct JoinedTotal {
    plan: Plan,
    /// What must hold for the total's row to be there, over the plan.
    conditions: Vec<Expr>,
    /// What is selected, over the plan.
    exprs: Vec<Expr>,
}

impl Total {
    /// `plan` as one, if it is one.
    pub fn of(plan: &Plan) -> Option<Self> {
        match plan {
            Plan::Aggregate(node) if node.grand_total => {
                let exprs = (0..node.schema.len()).map(|i| plan.column(i)).collect();
                Some(Self { node: node.clone(), conditions: Vec::new(), exprs })
            }
            Plan::Project(node) => {
                let mut total = Self::of(&node.input)?;
                total.exprs = node.exprs.iter().map(|expr| expr.substitute(&total.exprs)).collect();
                Some(total)
            }
            Plan::Filter(node) => {
                let mut total = Self::of(&node.input)?;
                total.conditions.push(node.predicate.substitute(&total.exprs));
                Some(total)
            }
            Plan::Sort(node) => Self::of(&node.input),
            Plan::Limit(node) if node.offset == 0 && node.fetch != Some(0) => Self::of(&node.input),
            _ => None,
        }
    }

    /// `outer` with the aggregates for each of its rows; conditions and expressions over that. `None` where the groups depend
    /// on the query around by more than equalities.
    fn join(&self, outer: &Plan) -> Option<Result<JoinedTotal>> {
        let width = outer.schema().len();
        let groups = pulled_groups(&self.node)?;
        let ties = groups.ties.len();
        let call = |(i, call): (usize, &AggregateCall)| {
            let column = shifted_column(&groups.plan, ties + i, width);
            if ties == 0 { column } else { or_zero(call.function, filled(column)) }
        };
        let calls: Vec<Expr> = self.node.calls.iter().enumerate().map(call).collect();
        let over = |expr: &Expr| lifted(&expr.substitute(&calls));
        let (conditions, exprs) = (self.conditions.iter().map(over).collect(), self.exprs.iter().map(over).collect());
        let kind = if ties == 0 { JoinKind::Inner } else { JoinKind::Left };
        Some(tie(outer.clone(), groups, kind).map(|plan| JoinedTotal { plan, conditions, exprs }))
    }
}

/// `expr` as a left join gives it out.
fn filled(expr: Expr) -> Expr {
    match expr {
        Expr::Column { index, sql_type } => Expr::Column { index, sql_type: sql_type.with_nullable(true) },
        other => other,
    }
}

/// `outer` with the rows of `inner` that are tied to it.
fn tie(outer: Plan, inner: Tied, kind: JoinKind) -> Result<Plan> {
    let conditions = inner.conditions(outer.schema().len())?;
    Ok(Plan::join(kind, outer, inner.plan, vec![], conjunction(conditions)))
}

/// The one value of `plan`, per value of its first `ties` columns; more than one is an error when it happens.
fn single(plan: Plan, ties: usize) -> Plan {
    let column = plan.schema().columns[ties].clone();
    let call = AggregateCall {
        function: AggregateFunction::SingleValue,
        args: vec![ties],
        distinct: false,
        filter: None,
        sql_type: column.sql_type.with_nullable(true),
    };
    Plan::aggregate(plan, (0..ties).collect(), vec![(column.name, call)], ties == 0)
}

/// Whether `plan` always has one row.
fn has_one_row(plan: &Plan) -> bool {
    match plan {
        Plan::Aggregate(node) => node.grand_total,
        Plan::Values(node) => node.rows.len() == 1,
        Plan::Project(node) => has_one_row(&node.input),
        Plan::Join(node) => match node.kind {
            JoinKind::Inner => node.residual.is_none() && has_one_row(&node.left) && has_one_row(&node.right),
            JoinKind::Left => has_one_row(&node.left) && upsert_keys(&node.right).iter().any(Vec::is_empty),
            _ => false,
        },
        _ => false,
    }
}

/// `plan` as far as it matters whether it has rows.
pub(super) fn rows_only(plan: Plan) -> Plan {
    match plan {
        Plan::Project(node) => rows_only(*node.input),
        Plan::Sort(node) => rows_only(*node.input),
        Plan::Limit(node) if node.offset == 0 && node.fetch != Some(0) => rows_only(*node.input),
        Plan::Aggregate(node) if !node.grand_total => rows_only(*node.input),
        other => other,
    }
}
