//! Queries: `WITH`, set operations, `VALUES`, `ORDER BY`, `LIMIT`.

use std::cell::RefCell;
use std::sync::Arc;

use gridhouse_base::{Column, Error, Position, Result, Schema, SqlType, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_expr::cast::{common_type, implicit_cast};

use super::Binder;
use super::aggregate::check_groupable;
use super::around::Around;
use super::expr::Env;
use super::from::renamed;
use super::pending::{Nest, Pending};
use super::scope::Scope;
use super::select::Selected;
use crate::ast::{self, ExprKind, Literal, OrderItem, Query, QueryBody, SetOperator, ValuesRow};
use crate::plan::{Limit, Plan, SetKind, Sort, SortKey, UnionAll, Values};

impl Binder<'_> {
    pub(super) fn bind_query(&self, query: &Query, around: &Around<'_>) -> Result<Plan> {
        let mut inner = Around::inside(around);
        for cte in &query.with {
            if inner.has_own(&cte.name.name) {
                let error = Error::invalid(format!("WITH names {} twice", cte.name));
                return Err(error.hint("rename one of the two").at(cte.name.at));
            }
            let plan = renamed(self.bind_query(&cte.query, &inner)?, &cte.columns, &cte.query)?;
            inner.add(&cte.name.name, plan);
        }
        let selected = match &query.body {
            QueryBody::Select(select) => self.select(select, &query.order_by, &inner)?,
            body => {
                let plan = self.body(body, &inner)?;
                let keys = self.order_by_output(&query.order_by, &plan)?;
                Selected { visible: plan.schema().len(), plan, keys }
            }
        };
        let Selected { mut plan, visible, keys } = selected;
        if !keys.is_empty() {
            plan = Plan::Sort(Sort { input: Box::new(plan), keys });
        }
        let fetch = query.limit.as_ref().map(|limit| self.row_count(limit, "LIMIT")).transpose()?;
        let offset = query.offset.as_ref().map(|offset| self.row_count(offset, "OFFSET")).transpose()?.unwrap_or(0);
        if fetch.is_some() || offset > 0 {
            plan = Plan::Limit(Limit { input: Box::new(plan), fetch, offset });
        }
        let shown: Vec<usize> = (0..visible).collect();
        Ok(plan.select(&shown))
    }

    fn body(&self, body: &QueryBody, around: &Around<'_>) -> Result<Plan> {
        match body {
            QueryBody::Select(select) => {
                let Selected { plan, .. } = self.select(select, &[], around)?;
                Ok(plan)
            }
            QueryBody::Values(rows) => self.values(rows, around),
            QueryBody::Table(name) => {
                let table = ast::TableRef {
                    kind: ast::TableKind::Named { name: name.clone(), hints: Vec::new(), as_of: None },
                    alias: None,
                    columns: Vec::new(),
                    at: name.at(),
                };
                Ok(self.from(&[table], around)?.0)
            }
            QueryBody::Query(query) => self.bind_query(query, around),
            QueryBody::SetOperation { operator: SetOperator::Union, all, left, right, at } => {
                self.union(*all, left, right, *at, around)
            }
            QueryBody::SetOperation { operator, all, left, right, at } => {
                let (kind, word) = match operator {
                    SetOperator::Intersect => (SetKind::Intersect, "INTERSECT"),
                    _ => (SetKind::Except, "EXCEPT"),
                };
                let inputs = vec![self.body(left, around)?, self.body(right, around)?];
                let (mut inputs, schema) = one_type(inputs, word, *at)?;
                for (i, column) in schema.columns.iter().enumerate() {
                    let column = Expr::Column { index: i, sql_type: column.sql_type.clone() };
                    check_groupable(&column, &format!("column {} of {word}", i + 1), *at)?;
                }
                let right = inputs.remove(1);
                Ok(Plan::set_operation(kind, *all, inputs.remove(0), right, schema))
            }
        }
    }

    fn union(&self, all: bool, left: &QueryBody, right: &QueryBody, at: Position, around: &Around<'_>) -> Result<Plan> {
        let mut inputs = Vec::new();
        for side in [left, right] {
            match self.body(side, around)? {
                // UNION ALL of UNION ALL is one.
                Plan::UnionAll(inner) => inputs.extend(inner.inputs),
                plan => inputs.push(plan),
            }
        }
        let (inputs, schema) = one_type(inputs, "UNION", at)?;
        let width = schema.len();
        let union = Plan::UnionAll(UnionAll { inputs, schema });
        if all {
            return Ok(union);
        }
        for i in 0..width {
            check_groupable(&union.column(i), &format!("column {} of UNION", i + 1), at)?;
        }
        let keys = (0..width).collect();
        Ok(Plan::aggregate(union, keys, vec![], false))
    }

    fn values(&self, rows: &[ValuesRow], around: &Around<'_>) -> Result<Plan> {
        let width = rows[0].values.len();
        let scope = Scope { outer: around.scope, ..Scope::default() };
        let pending = RefCell::new(Pending::default());
        let nest = Nest { pending: &pending, around, windows: None };
        let mut bound = Vec::with_capacity(rows.len());
        for row in rows {
            if row.values.len() != width {
                return Err(Error::invalid(format!(
                    "a row of VALUES has {} values, the first one {width}",
                    row.values.len()
                ))
                .hint("give every row the same number of values")
                .at(row.at));
            }
            let env = Env { nest: Some(nest), ..Env::plain(&scope, "VALUES") };
            bound.push(row.values.iter().map(|value| self.expr(value, env)).collect::<Result<Vec<_>>>()?);
        }
        let mut columns = Vec::with_capacity(width);
        for i in 0..width {
            let types: Vec<SqlType> = bound.iter().map(|row| row[i].sql_type().clone()).collect();
            let sql_type = common_type(&types)
                .ok_or_else(|| no_common(&format!("column {} of VALUES", i + 1), &types, rows[0].values[i].at))?;
            columns.push(Column::new(format!("EXPR${i}"), sql_type));
        }
        for (row, written) in bound.iter_mut().zip(rows) {
            for ((value, column), written) in row.iter_mut().zip(&columns).zip(&written.values) {
                let expr = std::mem::replace(value, Expr::boolean(false));
                *value = implicit_cast(expr, &column.sql_type).map_err(|error| error.at(written.at))?;
            }
        }
        let schema = Arc::new(Schema::new(columns));
        let mut outside = false;
        bound.iter().flatten().for_each(|expr| expr.for_each_column(|_| outside = true));
        if !outside {
            return Ok(Plan::Values(Values { rows: bound, schema }));
        }
        // Rows that ask subqueries or name columns around are computed, each from one row without columns.
        let mut inputs = Vec::with_capacity(bound.len());
        for row in &bound {
            let one = Plan::Values(Values { rows: vec![vec![]], schema: Arc::new(Schema::default()) });
            let own = RefCell::new(pending.borrow().unanswered());
            let wanted = own.borrow().asked_by(row);
            let plan = self.answer(one, &own, &wanted)?;
            let values = row.iter().map(|value| own.borrow().answered(value));
            let names = schema.columns.iter().map(|column| column.name.clone());
            inputs.push(plan.project(names.zip(values).collect()));
        }
        Ok(Plan::UnionAll(UnionAll { inputs, schema }))
    }

    /// `ORDER BY` over something that is no `SELECT`: by output columns only.
    fn order_by_output(&self, items: &[OrderItem], plan: &Plan) -> Result<Vec<SortKey>> {
        let scope = Scope::of_relation(plan.schema(), None, None);
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            let column = match &item.expr.kind {
                ExprKind::Literal(Literal::Number(text)) => ordinal(text, plan.schema().len(), item.expr.at)?,
                ExprKind::Name(parts) => scope.find(parts)?.index,
                _ => {
                    return Err(Error::invalid("ORDER BY behind a set operation names a column of the result")
                        .hint("name or number an output column, or order in a query around it")
                        .at(item.expr.at));
                }
            };
            keys.push(sort_key(item, column));
        }
        Ok(keys)
    }

    fn row_count(&self, expr: &ast::Expr, clause: &'static str) -> Result<u64> {
        let bound = self.expr(expr, Env::plain(&Scope::default(), clause))?;
        match bound.as_literal() {
            Some(Value::Integer(n)) if bound.kind().is_integer() && *n >= 0 => Ok(*n as u64),
            _ => Err(Error::invalid(format!("{clause} wants a whole number, not {bound}"))
                .hint(format!("write {clause} 10"))
                .at(expr.at)),
        }
    }
}

/// The sort key of `item` on `column`. As in Flink, NULL is the smallest value.
pub(super) fn sort_key(item: &OrderItem, column: usize) -> SortKey {
    let nulls_first = item.nulls_first.unwrap_or(!item.descending);
    SortKey { column, descending: item.descending, nulls_first }
}

/// The column that a position in the select list names.
pub(super) fn ordinal(text: &str, width: usize, at: Position) -> Result<usize> {
    match text.parse::<usize>() {
        Ok(n) if (1..=width).contains(&n) => Ok(n - 1),
        _ => Err(Error::invalid(format!("there is no column {text} in the select list"))
            .hint(format!("positions are 1 to {width}"))
            .at(at)),
    }
}

fn no_common(what: &str, types: &[SqlType], at: Position) -> Error {
    let mut kinds: Vec<String> = Vec::new();
    for sql_type in types {
        let kind = sql_type.kind.to_string();
        if sql_type.kind != TypeKind::Null && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Error::invalid(format!("{what} has types that do not go together: {}", kinds.join(", ")))
        .hint("cast them to one type: CAST(… AS STRING)")
        .at(at)
}

/// `inputs` of a set operation with columns of the same kinds, and the schema of the whole.
fn one_type(inputs: Vec<Plan>, word: &str, at: Position) -> Result<(Vec<Plan>, Arc<Schema>)> {
    let width = inputs[0].schema().len();
    if let Some(other) = inputs.iter().find(|input| input.schema().len() != width) {
        return Err(Error::invalid(format!("{word} of {width} and {} columns", other.schema().len()))
            .hint("give all sides the same number of columns")
            .at(at));
    }
    let mut columns = Vec::with_capacity(width);
    for i in 0..width {
        let types: Vec<SqlType> = inputs.iter().map(|input| input.schema().columns[i].sql_type.clone()).collect();
        let name = inputs[0].schema().columns[i].name.clone();
        let sql_type = common_type(&types)
            .ok_or_else(|| no_common(&format!("column {} ({name}) of {word}", i + 1), &types, at))?;
        columns.push(Column::new(name, sql_type));
    }
    let schema = Arc::new(Schema::new(columns));
    let inputs = inputs.into_iter().map(|input| cast_columns(input, &schema).map_err(|error| error.at(at)));
    Ok((inputs.collect::<Result<_>>()?, schema))
}

/// `plan` with its columns cast to the kinds of `schema`.
fn cast_columns(plan: Plan, schema: &Schema) -> Result<Plan> {
    let fits = plan
        .schema()
        .columns
        .iter()
        .zip(&schema.columns)
        .all(|(has, wanted)| has.sql_type.kind == wanted.sql_type.kind);
    if fits {
        return Ok(plan);
    }
    let cast =
        |(i, column): (usize, &Column)| Ok((column.name.clone(), implicit_cast(plan.column(i), &column.sql_type)?));
    let columns = schema.columns.iter().enumerate().map(cast).collect::<Result<Vec<_>>>()?;
    Ok(plan.project(columns))
}
