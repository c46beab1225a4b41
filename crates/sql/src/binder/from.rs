//! `FROM`: tables, views, common table expressions, subqueries and joins.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Position, Result, Schema};
use gridhouse_expr::functions::resolve as call;
use gridhouse_expr::{Expr, cast};

use super::around::Around;
use super::expr::Env;
use super::scope::Scope;
use super::{Binder, MAX_VIEW_DEPTH, inside};
use crate::ast::{Ident, Join, JoinCondition, JoinType, ObjectName, OptionPair, Query, TableKind, TableRef};
use crate::catalog::{Relation, ViewDef, resolve};
use crate::plan::{JoinKind, Plan, Values};
use crate::script::{parse_expression, parse_query};

impl Binder<'_> {
    /// Everything in `FROM`, joined by its commas; one row without columns where there is no `FROM`.
    pub(super) fn from<'p>(&self, from: &[TableRef], around: &Around<'p>) -> Result<(Plan, Scope<'p>)> {
        let mut items = from.iter();
        let Some(first) = items.next() else { return Ok(nothing(around)) };
        let mut joined = self.table_ref(first, around)?;
        for item in items {
            joined = self.join_with(joined, item, JoinKind::Inner, &JoinCondition::None, item.at, around)?;
        }
        Ok(joined)
    }

    fn table_ref<'p>(&self, table: &TableRef, around: &Around<'p>) -> Result<(Plan, Scope<'p>)> {
        let (plan, mut scope) = match &table.kind {
            TableKind::Join(join) => return self.join(join, around),
            // What may name columns of the tables before it stands behind one row here.
            TableKind::Lateral(_) | TableKind::Unnest { .. } => {
                let none = JoinCondition::None;
                return self.join_with(nothing(around), table, JoinKind::Inner, &none, table.at, around);
            }
            TableKind::Query(query) => {
                let plan = self.bind_query(query, around)?;
                let scope =
                    Scope::of_relation(plan.schema(), table.alias.as_ref().map(|alias| alias.name.as_str()), None);
                (plan, scope)
            }
            TableKind::Named { name, hints, as_of } => {
                if let Some(as_of) = as_of {
                    return Err(Error::invalid("FOR SYSTEM_TIME AS OF stands behind JOIN only")
                        .hint("write FROM l JOIN t FOR SYSTEM_TIME AS OF PROCTIME() AS t ON …; reading a table as of a past moment comes later")
                        .at(as_of.at));
                }
                self.named(name, hints, table.alias.as_ref(), around)?
            }
        };
        scope.outer = around.scope;
        rename_columns(&mut scope, table)?;
        Ok((plan, scope))
    }

    /// `left` joined with `item`, which may name columns of `left` where it is made per row.
    fn join_with<'p>(
        &self,
        (left, left_scope): (Plan, Scope<'p>),
        item: &TableRef,
        kind: JoinKind,
        condition: &JoinCondition,
        at: Position,
        around: &Around<'p>,
    ) -> Result<(Plan, Scope<'p>)> {
        match &item.kind {
            TableKind::Lateral(query) => {
                let per_row = PerRow { item, kind, condition };
                self.lateral((left, left_scope), query, per_row, around)
            }
            TableKind::Unnest { expr, ordinality } => {
                let per_row = PerRow { item, kind, condition };
                self.unnest((left, left_scope), (expr, *ordinality), per_row)
            }
            TableKind::Named { name, hints, as_of: Some(as_of) } => {
                let per_row = PerRow { item, kind, condition };
                self.lookup_join((left, left_scope), (name, hints, as_of), per_row)
            }
            _ => {
                let (right, right_scope) = self.table_ref(item, around)?;
                self.check_relations(&left_scope, &right_scope, item)?;
                self.join_tables(kind, (left, left_scope), (right, right_scope), condition, at, around)
            }
        }
    }

    fn named<'p>(
        &self,
        name: &ObjectName,
        hints: &[OptionPair],
        alias: Option<&Ident>,
        around: &Around<'p>,
    ) -> Result<(Plan, Scope<'p>)> {
        let shown = alias.unwrap_or(name.last()).name.as_str();
        let no_hints = |what: &str| match hints.first() {
            None => Ok(()),
            Some(hint) => Err(Error::invalid(format!("{what} takes no OPTIONS"))
                .hint("put the hint behind the table's name inside it")
                .at(hint.at)),
        };
        if let [single] = name.parts.as_slice()
            && let Some(plan) = around.find(&single.name)
        {
            no_hints("a common table expression")?;
            let scope = Scope::of_relation(plan.schema(), Some(shown), None);
            return Ok((plan, scope));
        }
        let relation = resolve(self.catalog, &self.names, name).map_err(|error| match around.nearest(name) {
            Some(cte) => error.hint(format!("did you mean {cte}?")),
            None => error,
        })?;
        let (plan, path) = match relation {
            Relation::Table(table) => {
                let options = hints.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
                let path = table.path.clone();
                (self.scan(table, options, name)?, path)
            }
            Relation::View(view) => {
                no_hints("a view")?;
                (self.view(&view, name)?, view.path.clone())
            }
        };
        let path = if alias.is_none() { Some(&path) } else { None };
        let scope = Scope::of_relation(plan.schema(), Some(shown), path);
        Ok((plan, scope))
    }

    /// All columns of `table`, computed ones too, in declared order.
    pub(super) fn scan(
        &self,
        table: Arc<TableDef>,
        hints: BTreeMap<String, String>,
        name: &ObjectName,
    ) -> Result<Plan> {
        let physical: Vec<usize> = table.physical().collect();
        let plan = Plan::scan(table.clone(), physical.clone(), hints);
        if physical.len() == table.schema.len() {
            return Ok(plan);
        }
        let scope = Scope::of_relation(plan.schema(), Some(&table.path.object), None);
        let mut columns = Vec::with_capacity(table.schema.len());
        for (i, (column, kind)) in table.schema.columns.iter().zip(&table.column_kinds).enumerate() {
            let expr = match kind {
                ColumnKind::Computed { expression } => {
                    let bound = parse_expression(expression)
                        .and_then(|expr| self.expr(&expr, Env::plain(&scope, "a computed column")))
                        .and_then(|expr| cast::implicit_cast(expr, &column.sql_type));
                    bound.map_err(|error| {
                        inside(error, &format!("computed column {} of {}", column.name, table.path), name.at())
                    })?
                }
                _ => {
                    let index = physical.iter().position(|&p| p == i).unwrap_or_default();
                    Expr::Column { index, sql_type: column.sql_type.clone() }
                }
            };
            columns.push((column.name.clone(), expr));
        }
        Ok(plan.project(columns))
    }

    fn view(&self, view: &ViewDef, name: &ObjectName) -> Result<Plan> {
        let depth = self.view_depth.get();
        if depth >= MAX_VIEW_DEPTH {
            return Err(Error::invalid(format!(
                "views are made of views more than {MAX_VIEW_DEPTH} deep, at {}",
                view.path
            ))
            .hint("look for a view that reads itself, or put the result of an inner one into a table")
            .at(name.at()));
        }
        let inner = Binder::new(self.catalog, view.context.clone(), self.zone);
        inner.view_depth.set(depth + 1);
        let plan = parse_query(&view.text)
            .and_then(|query| inner.bind_query(&query, &Around::default()))
            .map_err(|error| inside(error, &format!("view {}", view.path), name.at()))?;
        if plan.schema().len() != view.schema.len() {
            return Err(Error::conflict(format!(
                "view {} was made with {} columns, its query has {} now",
                view.path,
                view.schema.len(),
                plan.schema().len()
            ))
            .hint(format!("DROP VIEW {} and create it again", view.path))
            .at(name.at()));
        }
        let renamed =
            view.schema.columns.iter().enumerate().map(|(i, column)| (column.name.clone(), plan.column(i))).collect();
        Ok(plan.project(renamed))
    }

    pub(super) fn check_relations(&self, left: &Scope<'_>, right: &Scope<'_>, item: &TableRef) -> Result<()> {
        let named =
            |scope: &Scope<'_>| scope.columns.iter().map(|c| (c.relation.clone(), c.path.clone())).collect::<Vec<_>>();
        let known = named(left);
        let again = named(right)
            .into_iter()
            .find(|(relation, path)| relation.is_some() && known.contains(&(relation.clone(), path.clone())));
        match again {
            Some((Some(relation), _)) => Err(Error::invalid(format!("FROM names {relation} twice"))
                .hint(format!("give one of the two another name: {relation} AS {relation}2"))
                .at(item.at)),
            _ => Ok(()),
        }
    }

    fn join<'p>(&self, join: &Join, around: &Around<'p>) -> Result<(Plan, Scope<'p>)> {
        let left = self.table_ref(&join.left, around)?;
        let kind = match join.kind {
            JoinType::Inner | JoinType::Cross => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
        };
        self.join_with(left, &join.right, kind, &join.condition, join.at, around)
    }

    fn join_tables<'p>(
        &self,
        kind: JoinKind,
        (left, left_scope): (Plan, Scope<'p>),
        (right, right_scope): (Plan, Scope<'p>),
        condition: &JoinCondition,
        at: Position,
        around: &Around<'p>,
    ) -> Result<(Plan, Scope<'p>)> {
        let common: Vec<Ident>;
        let using = match condition {
            JoinCondition::Using(columns) => columns,
            JoinCondition::Natural => {
                let names = |scope: &Scope<'_>| {
                    scope.columns.iter().filter(|c| !c.hidden).map(|c| c.name.clone()).collect::<Vec<_>>()
                };
                let right_names = names(&right_scope);
                let shared = names(&left_scope).into_iter().filter(|name| right_names.contains(name));
                common = shared.map(|name| Ident { name, at }).collect();
                &common
            }
            JoinCondition::On(condition) => {
                let scope = left_scope.joined(right_scope);
                if kind == JoinKind::Inner {
                    // As good as a filter, so that subqueries may stand in it.
                    let (plan, scope) = finish(kind, left, right, None, scope);
                    let restricted = self.restrict(plan, &scope, condition, around, "ON")?;
                    let own: Vec<usize> = (0..scope.columns.len()).collect();
                    return Ok((restricted.select(&own), scope));
                }
                let condition = self.condition(condition, Env::plain(&scope, "ON of an outer join"))?;
                return Ok(finish(kind, left, right, Some(condition), scope));
            }
            JoinCondition::None => return Ok(finish(kind, left, right, None, left_scope.joined(right_scope))),
        };
        self.join_using(kind, (left, left_scope), (right, right_scope), using)
    }

    /// `USING`: equal columns become one, which stands first in `*`.
    fn join_using<'p>(
        &self,
        kind: JoinKind,
        (left, left_scope): (Plan, Scope<'p>),
        (right, right_scope): (Plan, Scope<'p>),
        using: &[Ident],
    ) -> Result<(Plan, Scope<'p>)> {
        let offset = left_scope.columns.len();
        let mut pairs = Vec::with_capacity(using.len());
        for ident in using {
            let parts = std::slice::from_ref(ident);
            pairs.push((left_scope.find(parts)?.index, right_scope.find(parts)?.index + offset));
        }
        let scope = left_scope.joined(right_scope);
        let mut equal = Vec::with_capacity(pairs.len());
        for ((left, right), ident) in pairs.iter().zip(using) {
            equal.push(call("=", vec![scope.expr(*left), scope.expr(*right)]).map_err(|error| error.at(ident.at))?);
        }
        let condition = match equal.len() {
            0 => None,
            1 => equal.pop(),
            _ => Some(Expr::And(equal)),
        };
        let (mut plan, mut scope) = finish(kind, left, right, condition, scope);
        let mut star = Vec::new();
        if kind == JoinKind::Full {
            let mut columns: Vec<(String, Expr)> =
                (0..scope.columns.len()).map(|i| (scope.columns[i].name.clone(), plan.column(i))).collect();
            for (left, right) in &pairs {
                let merged = call("COALESCE", vec![plan.column(*left), plan.column(*right)])?;
                let mut column = scope.columns[*left].clone();
                (column.relation, column.path, column.sql_type) = (None, None, merged.sql_type().clone());
                star.push(scope.columns.len());
                columns.push((column.name.clone(), merged));
                scope.columns.push(column);
            }
            plan = plan.project(columns);
        }
        for (left, right) in &pairs {
            let (shown, other) = if kind == JoinKind::Right { (*right, *left) } else { (*left, *right) };
            scope.columns[other].hidden = true;
            if kind == JoinKind::Full {
                scope.columns[shown].hidden = true;
            } else {
                star.push(shown);
            }
        }
        let merged = |i: &usize| pairs.iter().any(|(left, right)| left == i || right == i);
        star.extend(scope.star.iter().copied().filter(|i| !merged(i)));
        scope.star = star;
        Ok((plan, scope))
    }
}

/// What a join makes anew for every row of its left side.
pub(super) struct PerRow<'q> {
    /// The right side as it is written.
    pub item: &'q TableRef,
    /// Which rows stay.
    pub kind: JoinKind,
    /// `ON`
    pub condition: &'q JoinCondition,
}

impl PerRow<'_> {
    /// Whether rows of the left side that meet nothing stay.
    ///
    /// # Errors
    /// `Invalid` for a kind of join that has no meaning here.
    pub fn outer(&self, what: &str) -> Result<bool> {
        match self.kind {
            JoinKind::Inner => Ok(false),
            JoinKind::Left => Ok(true),
            _ => Err(Error::invalid(format!("{what} goes with CROSS JOIN, JOIN and LEFT JOIN only"))
                .hint("it is made for every row of the left side, so no row of it can be alone")
                .at(self.item.at)),
        }
    }
}

/// One row without columns, for a query without `FROM`.
fn nothing<'p>(around: &Around<'p>) -> (Plan, Scope<'p>) {
    let one = Plan::Values(Values { rows: vec![vec![]], schema: Arc::new(Schema::default()) });
    (one, Scope { outer: around.scope, ..Scope::default() })
}

/// Gives the columns of `scope` the names of `AS t (a, b)`.
pub(super) fn rename_columns(scope: &mut Scope<'_>, table: &TableRef) -> Result<()> {
    if table.columns.is_empty() {
        return Ok(());
    }
    if table.columns.len() != scope.columns.len() {
        let error = format!("the list names {}, the table has {} columns", table.columns.len(), scope.columns.len());
        return Err(Error::invalid(error).hint("name every column once").at(table.columns[0].at));
    }
    unique(&table.columns)?;
    for (column, ident) in scope.columns.iter_mut().zip(&table.columns) {
        column.name.clone_from(&ident.name);
    }
    Ok(())
}

fn finish<'p>(
    kind: JoinKind,
    left: Plan,
    right: Plan,
    condition: Option<Expr>,
    mut scope: Scope<'p>,
) -> (Plan, Scope<'p>) {
    let plan = Plan::join(kind, left, right, vec![], condition);
    scope.retype(plan.schema());
    (plan, scope)
}

/// That no name is given twice.
pub(super) fn unique(idents: &[Ident]) -> Result<()> {
    for (i, ident) in idents.iter().enumerate() {
        if idents[..i].iter().any(|earlier| earlier.name == ident.name) {
            return Err(Error::invalid(format!("column {ident} is named twice"))
                .hint("name each column once")
                .at(ident.at));
        }
    }
    Ok(())
}

/// The schema of `plan` with other names.
pub(super) fn renamed(plan: Plan, names: &[Ident], query: &Query) -> Result<Plan> {
    if names.is_empty() {
        return Ok(plan);
    }
    unique(names)?;
    if names.len() != plan.schema().len() {
        let error = format!("the list names {}, the query has {} columns", names.len(), plan.schema().len());
        return Err(Error::invalid(error).hint("name every column of the query once").at(query.at));
    }
    let columns = names.iter().enumerate().map(|(i, ident)| (ident.name.clone(), plan.column(i))).collect();
    Ok(plan.project(columns))
}
