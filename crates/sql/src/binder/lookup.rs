//! Look-up joins: `JOIN t FOR SYSTEM_TIME AS OF l.proctime AS d ON d.id = l.id`.
//!
//! Every row of the left side meets the table as it is when the row comes; what the table does afterwards changes nothing. So
//! the result depends on when rows came, and is recorded, not computed again.

use std::collections::BTreeMap;

use gridhouse_base::table::ColumnKind;
use gridhouse_base::{Error, Position, Result};
use gridhouse_expr::Expr;
use gridhouse_expr::cast::implicit_cast;
use gridhouse_expr::functions::{case, resolve as call};
use gridhouse_expr::types::merged_type;

use super::correlate::{conjunction, conjuncts};
use super::expr::Env;
use super::from::{PerRow, rename_columns};
use super::scope::Scope;
use super::{Binder, inside};
use crate::ast::{self, JoinCondition, ObjectName, OptionPair};
use crate::catalog::{Relation, resolve};
use crate::plan::{JoinKey, Lookup, Plan};
use crate::properties::{TimeAttribute, time_attribute};
use crate::script::parse_expression;

/// A condition between the two sides, taken apart.
struct Condition {
    /// An expression over the left side, and the column of the table's schema that equals it.
    keys: Vec<(Expr, usize)>,
    /// All else, over the left side's columns, then all of the table's.
    residual: Vec<Expr>,
}

impl Binder<'_> {
    pub(super) fn lookup_join<'p>(
        &self,
        (left, left_scope): (Plan, Scope<'p>),
        (name, hints, as_of): (&ObjectName, &[OptionPair], &ast::Expr),
        per_row: PerRow<'_>,
    ) -> Result<(Plan, Scope<'p>)> {
        let outer = per_row.outer("FOR SYSTEM_TIME AS OF")?;
        self.check_moment(&left, &left_scope, as_of)?;
        let table = match resolve(self.catalog, &self.names, name)? {
            Relation::Table(table) => table,
            Relation::View(view) => {
                return Err(Error::invalid(format!("{} is a view: nothing can be looked up in it", view.path))
                    .hint("look up in the table behind it, or leave FOR SYSTEM_TIME AS OF out: a regular join keeps up with changes")
                    .at(name.at()));
            }
        };
        let alias = per_row.item.alias.as_ref();
        let shown = alias.unwrap_or(name.last()).name.as_str();
        let path = if alias.is_none() { Some(&table.path) } else { None };
        let mut right_scope = Scope::of_relation(&table.schema, Some(shown), path);
        rename_columns(&mut right_scope, per_row.item)?;
        self.check_relations(&left_scope, &right_scope, per_row.item)?;
        let width = left_scope.columns.len();
        let on = self.lookup_condition(&per_row, &left_scope, &right_scope)?;
        let scope = left_scope.joined(right_scope);

        // The table's columns over those that are stored, which stand behind the left side's.
        let physical: Vec<usize> = table.physical().collect();
        let stored = |column: usize| {
            let place = physical.iter().position(|&p| p == column).unwrap_or_default();
            Expr::Column { index: width + place, sql_type: table.schema.columns[column].sql_type.clone() }
        };
        let own = Scope::of_relation(&table.schema, Some(&table.path.object), None);
        let spelt = |(i, kind): (usize, &ColumnKind)| match kind {
            ColumnKind::Computed { expression } => {
                let bound = parse_expression(expression)
                    .and_then(|expr| self.expr(&expr, Env::plain(&own, "a computed column")))
                    .and_then(|expr| implicit_cast(expr, &table.schema.columns[i].sql_type));
                let all: Vec<Expr> = (0..table.schema.len()).map(stored).collect();
                bound.map(|expr| expr.substitute(&all)).map_err(|error| {
                    let what = format!("computed column {} of {}", table.schema.columns[i].name, table.path);
                    inside(error, &what, name.at())
                })
            }
            _ => Ok(stored(i)),
        };
        let columns: Vec<Expr> = table.column_kinds.iter().enumerate().map(spelt).collect::<Result<_>>()?;
        let condition = take_apart(on, width, &columns, &physical);
        if condition.keys.is_empty() {
            return Err(Error::invalid(format!("the look-up in {} has no key", table.path))
                .hint("compare a column of it for equality with the left side: ON d.id = l.id")
                .at(per_row.item.at));
        }
        let (left, keys, extra) = with_keys(left, condition.keys);
        // Added keys stand between the left side and the table.
        let moved =
            |expr: &Expr| expr.map_columns(|i| if (width..super::scope::OUTER).contains(&i) { i + extra } else { i });
        let residual = conjunction(condition.residual.iter().map(moved).collect());
        let hints: BTreeMap<_, _> = hints.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        let first_key = keys[0].1;
        let found = if table.connector().is_none() {
            let place = |column: usize| physical.iter().position(|&p| p == column).unwrap_or_default();
            let key = |&(left, column): &(usize, usize)| JoinKey { left, right: place(column), null_safe: false };
            let keys = keys.iter().map(key).collect();
            Plan::probe(left, Plan::scan(table.clone(), physical.clone(), hints), outer, keys, residual)
        } else {
            let schema = left.schema().clone();
            let columns = physical.clone();
            let table = table.clone();
            Plan::lookup(Lookup { input: Box::new(left), table, columns, hints, outer, keys, residual, schema })
        };
        let mut named: Vec<(String, Expr)> =
            (0..width).map(|i| (scope.columns[i].name.clone(), found.column(i))).collect();
        let given: Vec<Expr> = (0..found.schema().len()).map(|i| found.column(i)).collect();
        let key_found = moved(&stored(first_key)).substitute(&given);
        for (i, expr) in columns.iter().enumerate() {
            let expr = moved(expr).substitute(&given);
            let computed = matches!(table.column_kinds[i], ColumnKind::Computed { .. });
            // Nothing is computed for a row that found nothing.
            let expr = if computed && outer {
                case(vec![(call("IS NOT NULL", vec![key_found.clone()])?, expr)], None)?
            } else {
                expr
            };
            named.push((table.schema.columns[i].name.clone(), expr));
        }
        let plan = found.project(named);
        let mut scope = scope;
        scope.retype(plan.schema());
        Ok((plan, scope))
    }

    /// That the moment of a look-up is the one when the row comes.
    fn check_moment(&self, left: &Plan, scope: &Scope<'_>, as_of: &ast::Expr) -> Result<()> {
        let moment = self.expr(as_of, Env::plain(scope, "FOR SYSTEM_TIME AS OF"))?;
        let attribute = match &moment {
            Expr::Call { function, .. } if function.name == "PROCTIME" => {
                self.note("Flink wants a column that is PROCTIME() here, not the call", as_of.at);
                Some(TimeAttribute::Processing)
            }
            Expr::Column { index, .. } if *index < left.schema().len() => time_attribute(left, *index),
            _ => None,
        };
        match attribute {
            Some(TimeAttribute::Processing) => Ok(()),
            Some(TimeAttribute::Row) => Err(Error::invalid("a join as of the row time is not supported yet")
                .hint("look up as of the moment the row comes: FOR SYSTEM_TIME AS OF l.proctime, with proctime AS PROCTIME() in the table")
                .at(as_of.at)),
            None => Err(Error::invalid("FOR SYSTEM_TIME AS OF wants the processing time of the left side")
                .hint("declare a column proctime AS PROCTIME() in its table, or write FOR SYSTEM_TIME AS OF PROCTIME()")
                .at(as_of.at)),
        }
    }

    /// What `ON` or `USING` says, over the columns of both sides.
    fn lookup_condition(&self, per_row: &PerRow<'_>, left: &Scope<'_>, right: &Scope<'_>) -> Result<Vec<Expr>> {
        let scope = left.clone().joined(right.clone());
        match per_row.condition {
            JoinCondition::On(condition) => Ok(conjuncts(self.condition(condition, Env::plain(&scope, "ON"))?)),
            JoinCondition::None => Ok(Vec::new()),
            JoinCondition::Using(_) | JoinCondition::Natural => Err(no_using(per_row.item.at)),
        }
    }
}

fn no_using(at: Position) -> Error {
    Error::invalid("a look-up join says its condition with ON").hint("write ON d.id = l.id").at(at)
}

/// Keys are equalities of a stored column of the table with something of the left side, in the column's kind.
fn take_apart(on: Vec<Expr>, width: usize, columns: &[Expr], physical: &[usize]) -> Condition {
    let mut condition = Condition { keys: Vec::new(), residual: Vec::new() };
    for conjunct in on {
        match key(&conjunct, width).filter(|(_, column)| physical.contains(column)) {
            Some(key) => condition.keys.push(key),
            None => condition.residual.push(super::correlate::replaced(&conjunct, &|index, _| {
                columns.get(index.checked_sub(width)?).cloned()
            })),
        }
    }
    condition
}

fn key(conjunct: &Expr, width: usize) -> Option<(Expr, usize)> {
    let Expr::Call { function, args, .. } = conjunct else { return None };
    let [a, b] = args.as_slice() else { return None };
    if function.name != "=" {
        return None;
    }
    let of_table = |expr: &Expr| {
        // A cast that only forgets NOT NULL or widens a text changes no value.
        expr.as_column().filter(|&i| (width..super::scope::OUTER).contains(&i)).map(|i| i - width)
    };
    let of_left = |expr: &Expr| {
        let (mut some, mut only) = (false, true);
        expr.for_each_column(|i| (some, only) = (true, only && i < width));
        some && only
    };
    let (left, column, kind) = match (of_table(a), of_table(b)) {
        (Some(column), None) if of_left(b) => (b, column, a.sql_type()),
        (None, Some(column)) if of_left(a) => (a, column, b.sql_type()),
        _ => return None,
    };
    if left.kind() == &kind.kind {
        return Some((left.clone(), column));
    }
    let common = merged_type(&[left.sql_type().clone(), kind.clone()])?;
    (common.kind == kind.kind).then(|| implicit_cast(left.clone(), kind).ok().map(|left| (left, column)))?
}

/// `left` with a column for every key, the keys as columns, and how many columns were added.
fn with_keys(left: Plan, keys: Vec<(Expr, usize)>) -> (Plan, Vec<(usize, usize)>, usize) {
    let width = left.schema().len();
    let mut columns: Vec<(String, Expr)> =
        (0..width).map(|i| (left.schema().columns[i].name.clone(), left.column(i))).collect();
    let mut pairs = Vec::with_capacity(keys.len());
    for (expr, column) in keys {
        let index = match expr.as_column() {
            Some(index) => index,
            None => {
                columns.push((format!("$l{}", columns.len()), expr));
                columns.len() - 1
            }
        };
        pairs.push((index, column));
    }
    let extra = columns.len() - width;
    (if extra == 0 { left } else { left.project(columns) }, pairs, extra)
}
