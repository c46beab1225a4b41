//! `ON DUPLICATE KEY UPDATE` and `ON CONFLICT`: what an insert does with a key that is there already.
//!
//! An insert into a table with a key replaces the row that has the key; where the clause says just that, it adds nothing. Else
//! the row that is there gets the assignments, which may name its columns and, by `VALUES(c)` or `EXCLUDED.c`, those that were to be
//! inserted.

use gridhouse_base::table::{TableDef, quoted};
use gridhouse_base::{Error, Result};
use gridhouse_expr::Expr;

use super::Binder;
use super::expr::Env;
use super::from::unique;
use super::insert::writable_column;
use super::scope::Scope;
use crate::ast::{self, Assignment, ExprKind, Ident, OnConflict};
use crate::optimizer::fold;

/// The name of the row that was to be inserted.
pub(super) const EXCLUDED: &str = "EXCLUDED";

impl Binder<'_> {
    /// What `clause` does with the row that is there, where that is not what the insert of `columns` does anyway.
    ///
    /// # Errors
    /// `Invalid` for a table without key, a wrong key, an assignment to a key column, and as [`Binder::update`].
    pub(super) fn on_key(
        &self,
        target: &TableDef,
        columns: &[usize],
        clause: &OnConflict,
    ) -> Result<Option<Vec<(usize, Expr)>>> {
        check_key(target, clause)?;
        let first_row = target.options.get("table.merge-engine").is_some_and(|engine| engine == "first_row");
        let Some(update) = &clause.update else {
            return Ok((!first_row).then(Vec::new));
        };
        if target.connector().is_some() {
            check_plain(target, columns, clause, update)?;
            return Ok(None);
        }
        let idents: Vec<Ident> = update.iter().map(|assignment| assignment.column.clone()).collect();
        unique(&idents)?;
        if is_plain(target, columns, update)? {
            return Ok(None);
        }
        let own = Scope::of_relation(&target.schema, Some(&target.path.object), Some(&target.path));
        let mut given = Scope::of_relation(&target.schema, Some(EXCLUDED), None);
        // Reached by `EXCLUDED.c` and `VALUES(c)`; a bare name is the row that is there.
        given.columns.iter_mut().for_each(|column| column.hidden = true);
        // A column that is not given is NULL in the row that was to be inserted.
        for (i, column) in given.columns.iter_mut().enumerate() {
            column.sql_type.nullable |= !columns.contains(&i);
        }
        // Computed columns are not stored: each is spelt out, over the row that it belongs to.
        let spelt = self.own_columns(target, &own, clause.at)?;
        let width = target.schema.len();
        let shifted: Vec<Expr> = spelt.iter().map(|expr| expr.map_columns(|i| i + width)).collect();
        let columns_of_both: Vec<Expr> = spelt.into_iter().chain(shifted).collect();
        let scope = own.joined(given);
        let mut assignments = Vec::with_capacity(update.len());
        for Assignment { column, value } in update {
            let index = writable_column(target, column)?;
            if target.primary_key.contains(&index) {
                return Err(Error::invalid(format!(
                    "{column} is part of the primary key of {} and cannot be set",
                    target.path
                ))
                .hint("leave it out: the row that has the key keeps it")
                .at(column.at));
            }
            let bound = self.expr(value, Env::plain(&scope, "ON DUPLICATE KEY UPDATE"))?;
            let name = format!("the value ({})", bound.kind());
            let fitted = self.fit(bound.substitute(&columns_of_both), target, index, &name, value.at)?;
            assignments.push((index, fold(&fitted, self.zone)));
        }
        Ok(Some(assignments))
    }
}

fn check_key(target: &TableDef, clause: &OnConflict) -> Result<()> {
    if target.primary_key.is_empty() {
        return Err(Error::invalid(format!("{} has no primary key: there are no conflicts", target.path))
            .hint("leave the clause out, or create the table with PRIMARY KEY (…) NOT ENFORCED")
            .at(clause.at));
    }
    for key in &clause.keys {
        if !target.schema.index_of(&key.name).is_some_and(|index| target.primary_key.contains(&index)) {
            let names: Vec<_> = target.primary_key.iter().map(|&i| quoted(&target.schema.columns[i].name)).collect();
            return Err(Error::invalid(format!("{key} is not part of the primary key of {}", target.path))
                .hint(format!("the key is ({})", names.join(", ")))
                .at(key.at));
        }
    }
    Ok(())
}

/// Whether every column that is inserted is set to the inserted value, and no other one is set.
fn is_plain(target: &TableDef, columns: &[usize], update: &[Assignment]) -> Result<bool> {
    let mut assigned = Vec::with_capacity(update.len());
    for Assignment { column, value } in update {
        if !is_inserted_value(value, &column.name) {
            return Ok(false);
        }
        assigned.push(writable_column(target, column)?);
    }
    let given = |column: &&usize| !target.primary_key.contains(column);
    Ok(columns.iter().filter(given).all(|column| assigned.contains(column))
        && assigned.iter().all(|column| columns.contains(column)))
}

/// An outside table takes whole rows only.
fn check_plain(target: &TableDef, columns: &[usize], clause: &OnConflict, update: &[Assignment]) -> Result<()> {
    if is_plain(target, columns, update)? {
        return Ok(());
    }
    Err(Error::invalid(format!("{} lies outside: a row that is there can only be replaced", target.path))
        .hint("set every column to the inserted value: c = VALUES(c)")
        .at(clause.at))
}

/// `VALUES(column)` or `EXCLUDED.column`
fn is_inserted_value(value: &ast::Expr, column: &str) -> bool {
    match &value.kind {
        ExprKind::Call(call) if call.name == "VALUES" => match call.args.as_slice() {
            [ast::Expr { kind: ExprKind::Name(parts), .. }] => parts.len() == 1 && parts[0].name == column,
            _ => false,
        },
        ExprKind::Name(parts) => {
            parts.len() == 2 && parts[0].name.eq_ignore_ascii_case(EXCLUDED) && parts[1].name == column
        }
        _ => false,
    }
}
