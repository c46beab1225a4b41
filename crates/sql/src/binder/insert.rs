//! `INSERT`, `UPDATE`, `DELETE`: columns by position, implicit casts, NOT NULL.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, TableDef, quoted};
use gridhouse_base::{Column, Error, Position, Result, Schema, TypeKind, Value};
use gridhouse_expr::text::parse_value;
use gridhouse_expr::{Expr, cast::implicit_cast};

use super::around::Around;
use super::expr::Env;
use super::from::unique;
use super::scope::Scope;
use super::{Binder, inside};
use crate::ast::{self, Assignment, Delete, Ident, Insert, QueryBody, SelectItem, Update, ValuesRow};
use crate::catalog::suggest;
use crate::optimizer::fold;
use crate::plan::{BoundDelete, BoundInsert, BoundUpdate, Plan, Project, Values, written_columns};
use crate::script::parse_expression;

impl Binder<'_> {
    /// A bound `INSERT`, its plan optimised.
    ///
    /// # Errors
    /// As [`Binder::query`], and where the query's columns do not fit the table's.
    pub fn insert(&self, insert: &Insert) -> Result<BoundInsert> {
        let target = self.table(&insert.table)?;
        let written = written_columns(&target);
        let columns = match &insert.columns {
            None => written.clone(),
            Some(idents) => self.target_columns(&target, idents)?,
        };
        let on_key = match &insert.on_conflict {
            Some(clause) => self.on_key(&target, &columns, clause)?,
            None => None,
        };
        let plan = match &insert.query.body {
            QueryBody::Values(rows) if is_bare(&insert.query) => self.insert_values(&target, &columns, rows)?,
            _ => {
                let plan = self.bind_query(&insert.query, &Around::default())?;
                self.insert_query(&target, &columns, plan, insert)?
            }
        };
        let (plan, columns) = complete(&target, &written, columns, plan, (insert, on_key.is_some()))?;
        let delivered = columns.as_deref().unwrap_or(&written);
        let nullable = |(i, &column): (usize, &usize)| {
            let strict = !target.schema.columns[column].sql_type.nullable;
            (strict && plan.schema().columns[i].sql_type.nullable).then_some(i)
        };
        let not_null = delivered.iter().enumerate().filter_map(nullable).collect();
        let hints: BTreeMap<_, _> = insert.hints.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        Ok(BoundInsert { hints, not_null, on_key, plan: self.tidied(plan, false), columns, target })
    }

    fn target_columns(&self, target: &TableDef, idents: &[Ident]) -> Result<Vec<usize>> {
        unique(idents)?;
        idents.iter().map(|ident| writable_column(target, ident)).collect()
    }

    /// `VALUES` are typed by the columns that they go into, so that a text may stand for a date.
    fn insert_values(&self, target: &TableDef, columns: &[usize], rows: &[ValuesRow]) -> Result<Plan> {
        let scope = Scope::default();
        let mut bound = Vec::with_capacity(rows.len());
        for row in rows {
            if row.values.len() != columns.len() {
                return Err(wrong_count(target, columns, row.values.len(), "the row", row.at));
            }
            let mut values = Vec::with_capacity(columns.len());
            for (i, (written, &column)) in row.values.iter().zip(columns).enumerate() {
                let expr = self.expr(written, Env::plain(&scope, "VALUES"))?;
                let given = expr.sql_type().kind.clone();
                let name = format!("value {} ({given})", i + 1);
                let value = self.fit(expr, target, column, &name, written.at)?;
                if value.kind() != &given && given.is_text() && !value.kind().is_text() {
                    self.note(format!("Flink wants a {} here, not a text", value.kind()), written.at);
                }
                values.push(value);
            }
            bound.push(values);
        }
        let columns = columns.iter().enumerate().map(|(i, &column)| {
            let declared = &target.schema.columns[column];
            let nullable = bound.iter().any(|row| row[i].sql_type().nullable);
            Column::new(declared.name.clone(), declared.sql_type.with_nullable(nullable))
        });
        let schema = Arc::new(Schema::new(columns.collect()));
        Ok(Plan::Values(Values { rows: bound, schema }))
    }

    /// The query's columns, cast to those of the table.
    fn insert_query(&self, target: &TableDef, columns: &[usize], plan: Plan, insert: &Insert) -> Result<Plan> {
        let width = plan.schema().len();
        if width != columns.len() {
            return Err(wrong_count(target, columns, width, "the query", insert.query.at));
        }
        let schema = plan.schema().clone();
        // A projection is cast in place, so that its literals are seen as literals.
        let (input, exprs) = match plan {
            Plan::Project(Project { input, exprs, .. }) => (*input, exprs),
            plan => {
                let exprs = (0..width).map(|i| plan.column(i)).collect();
                (plan, exprs)
            }
        };
        let mut named = Vec::with_capacity(width);
        for (i, (expr, &column)) in exprs.into_iter().zip(columns).enumerate() {
            let source = &schema.columns[i];
            let name = format!("query column {} ({} {})", i + 1, quoted(&source.name), source.sql_type.kind);
            let at = item_position(&insert.query, i).unwrap_or(insert.query.at);
            named.push((target.schema.columns[column].name.clone(), self.fit(expr, target, column, &name, at)?));
        }
        Ok(input.project(named))
    }

    /// `expr` in the type of the target's column; `name` says what it is.
    pub(super) fn fit(&self, expr: Expr, target: &TableDef, column: usize, name: &str, at: Position) -> Result<Expr> {
        let declared = &target.schema.columns[column];
        let place = || format!("column {} {} of {}", quoted(&declared.name), declared.sql_type.kind, target.path);
        if expr.as_literal().is_some_and(Value::is_null) && !declared.sql_type.nullable {
            return Err(Error::invalid(format!(
                "column {} of {} does not take NULL",
                quoted(&declared.name),
                target.path
            ))
            .hint("give a value, or declare the column without NOT NULL and outside the primary key")
            .at(at));
        }
        let from = expr.kind().clone();
        let written = match expr.as_literal() {
            Some(Value::Text(text)) if !declared.sql_type.kind.is_text() => Some(text.clone()),
            _ => None,
        };
        // A text that stands for another type is read now, not when the first row comes.
        if let Some(text) = written {
            parse_value(&text, &declared.sql_type.kind, self.zone)
                .map_err(|error| error.context(place()).hint(example(&declared.sql_type.kind)).at(at))?;
        }
        implicit_cast(expr, &declared.sql_type).map_err(|error| {
            let hint = match error.remedy() {
                Some(hint) => hint.to_owned(),
                None => format!("write CAST(… AS {}) around the {from} value", declared.sql_type.kind),
            };
            Error::invalid(format!("{name} does not fit {}", place())).hint(hint).at(at)
        })
    }

    /// A bound `UPDATE`.
    ///
    /// # Errors
    /// As [`Binder::query`]; `Invalid` where the table has no key, or a key column is assigned.
    pub fn update(&self, update: &Update) -> Result<BoundUpdate> {
        let table = self.table(&update.table)?;
        let at = update.table.at();
        if table.primary_key.is_empty() {
            return Err(Error::invalid(format!("{} has no primary key: its rows cannot be updated", table.path))
                .hint("create the table with PRIMARY KEY (…) NOT ENFORCED")
                .at(at));
        }
        let scope = Scope::of_relation(&table.schema, Some(&table.path.object), Some(&table.path));
        let columns = self.own_columns(&table, &scope, at)?;
        let idents: Vec<Ident> = update.assignments.iter().map(|assignment| assignment.column.clone()).collect();
        unique(&idents)?;
        let mut assignments = Vec::with_capacity(update.assignments.len());
        for Assignment { column, value } in &update.assignments {
            let index = writable_column(&table, column)?;
            if table.primary_key.contains(&index) {
                return Err(Error::invalid(format!(
                    "{column} is part of the primary key of {} and cannot be updated",
                    table.path
                ))
                .hint("DELETE the row and INSERT it with its new key")
                .at(column.at));
            }
            let bound = self.expr(value, Env::plain(&scope, "SET"))?;
            let name = format!("the value ({})", bound.kind());
            let fitted = self.fit(bound, &table, index, &name, value.at)?.substitute(&columns);
            assignments.push((index, fold(&fitted, self.zone)));
        }
        let predicate = self.row_condition(update.selection.as_ref(), &scope, &columns)?;
        Ok(BoundUpdate { table, assignments, predicate })
    }

    /// A bound `DELETE`.
    ///
    /// # Errors
    /// As [`Binder::query`]; `Invalid` where the table has no key.
    pub fn delete(&self, delete: &Delete) -> Result<BoundDelete> {
        let table = self.table(&delete.table)?;
        let at = delete.table.at();
        if table.primary_key.is_empty() {
            return Err(Error::invalid(format!("{} has no primary key: its rows cannot be deleted", table.path))
                .hint("create the table with PRIMARY KEY (…) NOT ENFORCED, or give it a 'table.log.ttl'")
                .at(at));
        }
        let scope = Scope::of_relation(&table.schema, Some(&table.path.object), Some(&table.path));
        let columns = self.own_columns(&table, &scope, at)?;
        let predicate = self.row_condition(delete.selection.as_ref(), &scope, &columns)?;
        Ok(BoundDelete { table, predicate })
    }

    fn row_condition(
        &self,
        selection: Option<&ast::Expr>,
        scope: &Scope<'_>,
        columns: &[Expr],
    ) -> Result<Option<Expr>> {
        let Some(selection) = selection else { return Ok(None) };
        let bound = self.condition(selection, Env::plain(scope, "WHERE"))?.substitute(columns);
        Ok(Some(fold(&bound, self.zone)))
    }

    /// Every column of the table over its stored columns: computed ones are spelt out.
    pub(super) fn own_columns(&self, table: &TableDef, scope: &Scope<'_>, at: Position) -> Result<Vec<Expr>> {
        let own = |(i, kind): (usize, &ColumnKind)| match kind {
            ColumnKind::Computed { expression } => parse_expression(expression)
                .and_then(|expr| self.expr(&expr, Env::plain(scope, "a computed column")))
                .map_err(|error| {
                    inside(error, &format!("computed column {} of {}", table.schema.columns[i].name, table.path), at)
                }),
            _ => Ok(scope.expr(i)),
        };
        table.column_kinds.iter().enumerate().map(own).collect()
    }
}

/// How a constant of `kind` is written.
fn example(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Date => "write it like DATE '2026-01-31'",
        TypeKind::Time(_) => "write it like TIME '23:59:59'",
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => "write it like TIMESTAMP '2026-01-31 23:59:59.123'",
        TypeKind::Boolean => "write TRUE or FALSE",
        _ => "write the value without quotes",
    }
}

/// Nothing but its body.
fn is_bare(query: &ast::Query) -> bool {
    query.with.is_empty() && query.order_by.is_empty() && query.limit.is_none() && query.offset.is_none()
}

pub(super) fn writable_column(target: &TableDef, ident: &Ident) -> Result<usize> {
    let names: Vec<&str> = target.schema.columns.iter().map(|column| column.name.as_str()).collect();
    let Some(index) = target.schema.index_of(&ident.name) else {
        let error = Error::not_found(format!("there is no column {ident} in {}", target.path));
        return Err(suggest(error, &ident.name, &names, &format!("the columns are {}", names.join(", "))).at(ident.at));
    };
    if !written_columns(target).contains(&index) {
        let what =
            if matches!(target.column_kinds[index], ColumnKind::Computed { .. }) { "computed" } else { "virtual" };
        return Err(Error::invalid(format!("column {ident} of {} is {what} and cannot be written", target.path))
            .hint("leave it out")
            .at(ident.at));
    }
    Ok(index)
}

fn wrong_count(target: &TableDef, columns: &[usize], width: usize, what: &str, at: Position) -> Error {
    let names: Vec<_> = columns.iter().map(|&column| quoted(&target.schema.columns[column].name)).collect();
    let plural = if width == 1 { "" } else { "s" };
    Error::invalid(format!("{what} has {width} column{plural}, {} takes {}", target.path, columns.len()))
        .hint(format!("give {}; or name the columns that you give behind the table", names.join(", ")))
        .at(at)
}

/// Where the query's column `index` is written; `None` behind a star or inside a set operation.
fn item_position(query: &ast::Query, index: usize) -> Option<Position> {
    let QueryBody::Select(select) = &query.body else { return None };
    let plain = select.items.iter().take(index + 1).all(|item| matches!(item, SelectItem::Expr { .. }));
    match select.items.get(index) {
        Some(SelectItem::Expr { expr, .. }) if plain => Some(expr.at),
        _ => None,
    }
}

/// Fills the columns that the statement does not name: a partial update of a managed table with a key leaves them as they are,
/// anywhere else, and where `whole` rows are wanted, they are NULL.
fn complete(
    target: &TableDef,
    written: &[usize],
    columns: Vec<usize>,
    plan: Plan,
    (insert, whole): (&Insert, bool),
) -> Result<(Plan, Option<Vec<usize>>)> {
    if columns == written {
        return Ok((plan, None));
    }
    let at = insert.columns.as_ref().and_then(|idents| idents.first()).map_or(insert.at, |ident| ident.at);
    let missing = || written.iter().filter(|column| !columns.contains(column));
    for &column in missing() {
        let name = quoted(&target.schema.columns[column].name);
        if target.primary_key.contains(&column) {
            return Err(Error::invalid(format!("key column {name} of {} is not given", target.path))
                .hint("every row needs its whole primary key")
                .at(at));
        }
        if !target.schema.columns[column].sql_type.nullable {
            return Err(Error::invalid(format!("column {name} of {} is NOT NULL and is not given", target.path))
                .hint(format!("add {name} to the column list"))
                .at(at));
        }
    }
    let all = missing().next().is_none();
    if !all && !whole && target.connector().is_none() && !target.primary_key.is_empty() {
        return Ok((plan, Some(columns)));
    }
    let full = written.iter().map(|column| {
        let declared = &target.schema.columns[*column];
        let expr = match columns.iter().position(|given| given == column) {
            Some(i) => plan.column(i),
            None => Expr::null(declared.sql_type.kind.clone()),
        };
        (declared.name.clone(), expr)
    });
    let full = full.collect();
    Ok((plan.project(full), None))
}
