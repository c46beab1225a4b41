//! `SELECT`: select list, `WHERE`, `GROUP BY`, `HAVING`, `DISTINCT`, and the keys of `ORDER BY`.

use std::cell::RefCell;

use gridhouse_base::{Error, Result};
use gridhouse_expr::Expr;

use super::Binder;
use super::aggregate::{AGGREGATE, Aggregates, Groups, check_groupable, has_aggregate};
use super::around::Around;
use super::expr::Env;
use super::over::with_places;
use super::pending::{Nest, Pending, SUBQUERY, WINDOW};
use super::query::{ordinal, sort_key};
use super::scope::Scope;
use crate::ast::{self, ExprKind, Literal, ObjectName, OrderItem, Select, SelectItem};
use crate::plan::{Plan, SortKey};

/// A bound `SELECT`, not yet sorted.
pub(super) struct Selected {
    /// The plan; columns behind the visible ones are there to sort by.
    pub plan: Plan,
    /// How many columns are shown.
    pub visible: usize,
    /// What to sort by.
    pub keys: Vec<SortKey>,
}

/// One column of the select list.
struct Item<'q> {
    name: String,
    /// Over the rows; aggregates are placeholders.
    expr: Expr,
    written: Written<'q>,
}

/// What a column of the select list was written as.
#[derive(Clone, Copy)]
enum Written<'q> {
    Expr(&'q ast::Expr),
    /// `*` or `t.*`
    Star(gridhouse_base::Position),
}

impl Binder<'_> {
    pub(super) fn select(&self, select: &Select, order_by: &[OrderItem], around: &Around<'_>) -> Result<Selected> {
        let (plan, scope) = self.from(&select.from, around)?;
        let plan = match &select.selection {
            Some(selection) => self.where_clause(plan, &scope, selection, around)?,
            None => plan,
        };
        let listed =
            select.items.iter().any(|item| matches!(item, SelectItem::Expr { expr, .. } if has_aggregate(expr)));
        let aggregated = select.group_by.is_some()
            || select.having.is_some()
            || listed
            || order_by.iter().any(|item| has_aggregate(&item.expr));
        let aggregates = RefCell::new(Aggregates::default());
        aggregates.borrow_mut().grouped = select.group_by.as_ref().is_some_and(|keys| !keys.is_empty());
        let pending = RefCell::new(Pending::default());
        let nest = Nest { pending: &pending, around, windows: Some(&select.windows) };
        let aggregates_here = aggregated.then_some(&aggregates);
        let env = |clause| Env { scope: &scope, aggregates: aggregates_here, nest: Some(nest), clause, truth: false };
        let items = self.items(select, &scope, env("the select list"))?;
        let visible = items.len();

        // What is sorted by: a visible column, or one more expression over the rows.
        let mut extra: Vec<(Expr, &ast::Expr)> = Vec::new();
        let mut keys = Vec::with_capacity(order_by.len());
        for item in order_by {
            let column = match self.output_column(&item.expr, &items)? {
                Some(column) => column,
                None => {
                    let bound = self.expr(&item.expr, env("ORDER BY"))?;
                    check_groupable(&bound, "ORDER BY", item.expr.at)?;
                    let known = items.iter().map(|item| &item.expr).chain(extra.iter().map(|(expr, _)| expr));
                    match known.into_iter().position(|expr| *expr == bound) {
                        Some(column) => column,
                        None => {
                            extra.push((bound, &item.expr));
                            visible + extra.len() - 1
                        }
                    }
                }
            };
            if select.distinct && column >= visible {
                return Err(Error::invalid("SELECT DISTINCT is ordered by something that it does not select")
                    .hint("add it to the select list")
                    .at(item.expr.at));
            }
            keys.push(sort_key(item, column));
        }

        let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
        let (plan, exprs) = if aggregated {
            self.grouped(plan, &scope, select, (&items, &extra), &aggregates, nest)?
        } else {
            (plan, items.into_iter().map(|item| item.expr).chain(extra.into_iter().map(|(expr, _)| expr)).collect())
        };
        let all = vec![true; pending.borrow().asked.len()];
        let plan = self.answer(plan, &pending, &all)?;
        let exprs = exprs.iter().map(|expr| pending.borrow().answered(expr)).collect();
        let (plan, exprs) = with_places(plan, exprs, &pending.borrow());
        let hidden = (0..).map(|i| format!("$o{i}"));
        let mut plan = plan.project(names.into_iter().chain(hidden).zip(exprs).collect());
        if select.distinct {
            for (i, column) in plan.schema().columns.iter().enumerate() {
                check_groupable(&plan.column(i), &format!("DISTINCT column {}", column.name), select.at)?;
            }
            let all = (0..visible).collect();
            plan = Plan::aggregate(plan, all, vec![], false);
        }
        Ok(Selected { plan, visible, keys })
    }

    /// The aggregation, its `HAVING`, and the output expressions over it.
    fn grouped(
        &self,
        plan: Plan,
        scope: &Scope<'_>,
        select: &Select,
        (items, extra): (&[Item<'_>], &[(Expr, &ast::Expr)]),
        aggregates: &RefCell<Aggregates>,
        nest: Nest<'_>,
    ) -> Result<(Plan, Vec<Expr>)> {
        let pending = nest.pending;
        let inner = Nest { windows: None, ..nest };
        let groups = self.groups(select, scope, items, inner)?;
        let having_env = Env { scope, aggregates: Some(aggregates), nest: Some(inner), clause: "HAVING", truth: true };
        let having = select.having.as_ref().map(|having| Ok::<_, Error>((self.condition(having, having_env)?, having)));
        let having = having.transpose()?;
        let mut exprs = Vec::with_capacity(items.len() + extra.len());
        for item in items {
            exprs.push(match item.written {
                Written::Expr(written) => groups.over_groups(&item.expr, written, scope)?,
                Written::Star(at) => {
                    let place = ast::Expr { kind: ExprKind::Literal(Literal::Null), at };
                    groups.over_groups(&item.expr, &place, scope)?
                }
            });
        }
        for (expr, written) in extra {
            exprs.push(groups.over_groups(expr, written, scope)?);
        }
        let having = having.map(|(expr, written)| groups.over_groups(&expr, written, scope)).transpose()?;
        // What keys and arguments ask is answered per row, all else per group.
        let before = pending.borrow().asked_by(groups.keys.iter().chain(aggregates.borrow().exprs()));
        let plan = self.answer(plan, pending, &before)?;
        let mut plan = groups.plan(plan, aggregates, &pending.borrow());
        // The same subquery may stand on both sides of the aggregation; an answer per row is none per group.
        let above = pending.borrow().asked_by(exprs.iter().chain(&having));
        for (index, (before, above)) in before.iter().zip(above).enumerate() {
            if !before || above {
                let over = groups.subquery_over_groups(&pending.borrow().asked[index], scope)?;
                let mut pending = pending.borrow_mut();
                pending.asked[index] = over;
                pending.answers[index] = None;
            }
        }
        groups.windows_over_groups(&mut pending.borrow_mut().windows, select, scope)?;
        if let Some(having) = having {
            let wanted = pending.borrow().asked_by([&having]);
            plan = self.answer(plan, pending, &wanted)?;
            let having = pending.borrow().answered(&having);
            plan = plan.filter(having);
        }
        Ok((plan, exprs))
    }

    fn items<'q>(&self, select: &'q Select, scope: &Scope<'_>, env: Env<'_>) -> Result<Vec<Item<'q>>> {
        let mut items = Vec::with_capacity(select.items.len());
        for item in &select.items {
            match item {
                SelectItem::Star(at) => {
                    if scope.star.is_empty() {
                        return Err(Error::invalid("* without FROM names nothing")
                            .hint("add FROM, or name values")
                            .at(*at));
                    }
                    let of = |&i: &usize| Item {
                        name: scope.columns[i].name.clone(),
                        expr: scope.expr(i),
                        written: Written::Star(*at),
                    };
                    items.extend(scope.star.iter().map(of));
                }
                SelectItem::QualifiedStar(name) => items.extend(self.qualified_star(name, scope)?),
                SelectItem::Expr { expr, alias } => {
                    let bound = self.expr(expr, env)?;
                    let name = match (alias, &expr.kind) {
                        (Some(alias), _) => alias.name.clone(),
                        (None, ExprKind::Name(parts)) => parts[parts.len() - 1].name.clone(),
                        _ => format!("EXPR${}", items.len()),
                    };
                    items.push(Item { name, expr: bound, written: Written::Expr(expr) });
                }
            }
        }
        Ok(items)
    }

    fn qualified_star<'q>(&self, name: &ObjectName, scope: &Scope<'_>) -> Result<Vec<Item<'q>>> {
        let columns = scope.of_qualifier(&name.parts);
        if columns.is_empty() {
            let mut parts = name.parts.clone();
            parts.push(parts[parts.len() - 1].clone());
            return Err(scope
                .find(&parts)
                .map(|_| ())
                .err()
                .unwrap_or_else(|| Error::not_found(format!("there is no table {name} in FROM")))
                .at(name.at()));
        }
        let of = |i: usize| Item {
            name: scope.columns[i].name.clone(),
            expr: scope.expr(i),
            written: Written::Star(name.at()),
        };
        Ok(columns.into_iter().map(of).collect())
    }

    /// The keys of `GROUP BY`. Beyond Flink a key may be a position in the select list or an alias.
    fn groups(&self, select: &Select, scope: &Scope<'_>, items: &[Item<'_>], nest: Nest<'_>) -> Result<Groups> {
        let env = Env { nest: Some(nest), ..Env::plain(scope, "GROUP BY") };
        let written = select.group_by.as_deref().unwrap_or_default();
        let mut groups = Groups { keys: Vec::new(), names: Vec::new(), grand_total: written.is_empty() };
        for key in written {
            let (expr, name) = match &key.kind {
                ExprKind::Literal(Literal::Number(text)) => {
                    self.note("Flink does not group by positions: repeat the expression", key.at);
                    let item = &items[ordinal(text, items.len(), key.at)?];
                    (item.expr.clone(), item.name.clone())
                }
                ExprKind::Name(parts) if parts.len() == 1 && scope.find(parts).is_err() => {
                    match items
                        .iter()
                        .find(|item| item.name == parts[0].name && matches!(item.written, Written::Expr(_)))
                    {
                        Some(item) => {
                            self.note("Flink does not group by aliases: repeat the expression", key.at);
                            (item.expr.clone(), item.name.clone())
                        }
                        None => (self.expr(key, env)?, String::new()),
                    }
                }
                _ => {
                    let expr = self.expr(key, env)?;
                    let name = expr.as_column().and_then(|i| scope.columns.get(i)).map(|column| column.name.clone());
                    (expr, name.unwrap_or_else(|| format!("$k{}", groups.keys.len())))
                }
            };
            let (mut over_aggregate, mut over_window) = (false, false);
            expr.for_each_column(|i| {
                over_aggregate |= (AGGREGATE..SUBQUERY).contains(&i);
                over_window |= i >= WINDOW;
            });
            if over_aggregate || over_window {
                let what = if over_window { "a window function" } else { "an aggregate" };
                return Err(Error::invalid(format!("GROUP BY cannot group by {what}"))
                    .hint("group by columns of FROM; compute the rest in a query inside")
                    .at(key.at));
            }
            check_groupable(&expr, "a GROUP BY key", key.at)?;
            if !groups.keys.contains(&expr) {
                groups.keys.push(expr);
                groups.names.push(name);
            }
        }
        Ok(groups)
    }

    /// The visible column that an item of `ORDER BY` names by position or by its output name.
    fn output_column(&self, expr: &ast::Expr, items: &[Item<'_>]) -> Result<Option<usize>> {
        match &expr.kind {
            ExprKind::Literal(Literal::Number(text)) => ordinal(text, items.len(), expr.at).map(Some),
            ExprKind::Name(parts) if parts.len() == 1 => {
                let named = (0..items.len()).filter(|&i| items[i].name == parts[0].name).collect::<Vec<_>>();
                match named.as_slice() {
                    [] => Ok(None),
                    [one] => Ok(Some(*one)),
                    [first, rest @ ..] if rest.iter().all(|&i| items[i].expr == items[*first].expr) => Ok(Some(*first)),
                    _ => {
                        Err(Error::invalid(format!("ORDER BY {} is ambiguous: the select list has it twice", parts[0]))
                            .hint("give one of the two another alias, or name the position")
                            .at(expr.at))
                    }
                }
            }
            _ => Ok(None),
        }
    }
}
