//! What `FROM` makes anew for every row before it: `LATERAL (query)` and `UNNEST(array)`.

use std::sync::Arc;

use gridhouse_base::{Column, Error, Result, Schema, SqlType, TypeKind, Value};
use gridhouse_expr::Expr;

use super::Binder;
use super::around::Around;
use super::correlate::conjunction;
use super::expr::Env;
use super::from::{PerRow, rename_columns};
use super::scope::{OUTER, Scope};
use crate::ast::{self, JoinCondition, Query};
use crate::plan::{Plan, Unnest};

impl Binder<'_> {
    /// `left` with the rows that `query` gives for each of its rows.
    pub(super) fn lateral<'p>(
        &self,
        (left, left_scope): (Plan, Scope<'p>),
        query: &Query,
        per_row: PerRow<'_>,
        around: &Around<'p>,
    ) -> Result<(Plan, Scope<'p>)> {
        per_row.outer("LATERAL")?;
        let inner = self.bind_query(query, &Around::subquery(around, &left_scope))?;
        let alias = per_row.item.alias.as_ref().map(|alias| alias.name.as_str());
        let mut right_scope = Scope::of_relation(inner.schema(), alias, None);
        rename_columns(&mut right_scope, per_row.item)?;
        self.check_relations(&left_scope, &right_scope, per_row.item)?;
        let (width, inner_width) = (left_scope.columns.len(), right_scope.columns.len());
        let mut scope = left_scope.joined(right_scope);
        let tied = self.tied(&left, inner, query.at)?;
        let ties = tied.ties.len();
        let mut conditions = tied.conditions(width)?;
        if let Some(condition) = self.on_condition(&per_row, &scope, "LATERAL")? {
            conditions.push(condition.map_columns(|i| if (width..OUTER).contains(&i) { i + ties } else { i }));
        }
        let joined = Plan::join(per_row.kind, left, tied.plan, vec![], conjunction(conditions));
        let shown: Vec<usize> = (0..width).chain((0..inner_width).map(|i| width + ties + i)).collect();
        let plan = joined.select(&shown);
        scope.retype(plan.schema());
        Ok((plan, scope))
    }

    /// `left` with the elements of `expr`, each in a row of its own.
    pub(super) fn unnest<'p>(
        &self,
        (left, left_scope): (Plan, Scope<'p>),
        (expr, ordinality): (&ast::Expr, bool),
        per_row: PerRow<'_>,
    ) -> Result<(Plan, Scope<'p>)> {
        let outer = per_row.outer("UNNEST")?;
        let operand = self.expr(expr, Env::plain(&left_scope, "UNNEST"))?;
        let mut elements = element_columns(operand.sql_type(), per_row.item).ok_or_else(|| {
            Error::invalid(format!("UNNEST wants an ARRAY or a MAP, not {}", operand.kind()))
                .hint("name a column of such a type, or write ARRAY[…]")
                .at(expr.at)
        })?;
        if ordinality {
            self.note("Flink 1.20 has no WITH ORDINALITY", per_row.item.at);
            elements.push(Column::new("ORDINALITY", TypeKind::Int.not_null()));
        }
        elements.iter_mut().for_each(|column| column.sql_type.nullable |= outer);
        let alias = per_row.item.alias.as_ref().map(|alias| alias.name.as_str());
        let mut right_scope = Scope::of_relation(&Schema::new(elements.clone()), alias, None);
        rename_columns(&mut right_scope, per_row.item)?;
        self.check_relations(&left_scope, &right_scope, per_row.item)?;
        let width = left_scope.columns.len();
        let scope = left_scope.joined(right_scope);
        let condition = self.on_condition(&per_row, &scope, "UNNEST")?;
        if outer && condition.is_some() {
            return Err(Error::invalid("LEFT JOIN UNNEST takes ON TRUE only, as in Flink")
                .hint("filter in a query around it")
                .at(per_row.item.at));
        }
        let (input, column) = match operand.as_column() {
            Some(index) if index < OUTER => (left, index),
            _ => {
                let names = left.schema().columns.iter().enumerate();
                let mut columns: Vec<(String, Expr)> =
                    names.map(|(i, column)| (column.name.clone(), left.column(i))).collect();
                columns.push(("$unnest".to_owned(), operand));
                (left.project(columns), width)
            }
        };
        let wide = input.schema().len();
        let count = elements.len();
        let schema = Schema::new(input.schema().columns.iter().cloned().chain(elements).collect());
        let unnest = Unnest { input: Box::new(input), column, outer, ordinality, schema: Arc::new(schema) };
        let shown: Vec<usize> = (0..width).chain(wide..wide + count).collect();
        let mut plan = Plan::Unnest(unnest).select(&shown);
        if let Some(condition) = condition {
            plan = plan.filter(condition);
        }
        Ok((plan, scope))
    }

    /// The condition of `ON`; `None` where there is none, or where it is TRUE.
    fn on_condition(&self, per_row: &PerRow<'_>, scope: &Scope<'_>, what: &str) -> Result<Option<Expr>> {
        match per_row.condition {
            JoinCondition::None => Ok(None),
            JoinCondition::On(condition) => {
                let bound = self.condition(condition, Env::plain(scope, "ON"))?;
                Ok((bound.as_literal() != Some(&Value::Boolean(true))).then_some(bound))
            }
            JoinCondition::Using(_) | JoinCondition::Natural => {
                Err(Error::invalid(format!("{what} does not go with USING or NATURAL"))
                    .hint("write CROSS JOIN, or LEFT JOIN … ON TRUE")
                    .at(per_row.item.at))
            }
        }
    }
}

/// The columns that an ARRAY or MAP is unfolded to.
fn element_columns(sql_type: &SqlType, item: &ast::TableRef) -> Option<Vec<Column>> {
    let alias = item.alias.as_ref().map_or("EXPR$0", |alias| alias.name.as_str());
    Some(match &sql_type.kind {
        TypeKind::Array(element) => match &element.kind {
            // A row that is NULL has no fields.
            TypeKind::Row(fields) => fields
                .iter()
                .map(|field| {
                    let nullable = field.sql_type.nullable || element.nullable;
                    Column::new(field.name.clone(), field.sql_type.with_nullable(nullable))
                })
                .collect(),
            _ => vec![Column::new(alias, (**element).clone())],
        },
        TypeKind::Map(key, value) => vec![Column::new("KEY", (**key).clone()), Column::new("VALUE", (**value).clone())],
        _ => return None,
    })
}
