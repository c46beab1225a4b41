//! Which columns a name may mean.
//!
//! A scope stands beside a plan: its column `i` is the plan's column `i`. A scope may have an outer one, of the query around a
//! subquery; the columns of the query `n` levels around are told apart by an index of `n` times [`OUTER`] and more.

use gridhouse_base::table::{ObjectPath, quoted};
use gridhouse_base::{Error, Result, Schema, SqlType};
use gridhouse_expr::Expr;

use crate::ast::Ident;
use crate::catalog::suggest;

/// Column indices from here on mean columns of the query around, from twice this on those of the query around that, and so
/// on. Queries nest less deep than 128 levels, so that all of these stay below the other marks.
pub(super) const OUTER: usize = 1 << 32;

/// A column that a name may mean.
#[derive(Clone, Debug)]
pub(super) struct ScopeColumn {
    /// The alias or the last part of the table's name.
    pub relation: Option<String>,
    /// The table's full name, where it has no alias.
    pub path: Option<ObjectPath>,
    /// The column's name.
    pub name: String,
    /// The column's type.
    pub sql_type: SqlType,
    /// Reached by a qualified name only: the other half of a `USING` column.
    pub hidden: bool,
}

/// The columns of one query level.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'p> {
    /// The columns, as in the plan.
    pub columns: Vec<ScopeColumn>,
    /// The columns of `*`, in order.
    pub star: Vec<usize>,
    /// The scope of the query around.
    pub outer: Option<&'p Scope<'p>>,
}

/// What a name was found to be: the column, and how many parts of the name it took.
#[derive(Debug)]
pub(super) struct Found {
    pub index: usize,
    pub parts: usize,
}

impl<'p> Scope<'p> {
    /// The scope of one relation.
    pub fn of_relation(schema: &Schema, relation: Option<&str>, path: Option<&ObjectPath>) -> Self {
        let column = |column: &gridhouse_base::Column| ScopeColumn {
            relation: relation.map(str::to_owned),
            path: path.cloned(),
            name: column.name.clone(),
            sql_type: column.sql_type.clone(),
            hidden: false,
        };
        let columns: Vec<_> = schema.columns.iter().map(column).collect();
        let star = (0..columns.len()).collect();
        Self { columns, star, outer: None }
    }

    /// The columns of `self`, then those of `right`.
    pub fn joined(mut self, right: Self) -> Self {
        let offset = self.columns.len();
        self.columns.extend(right.columns);
        self.star.extend(right.star.into_iter().map(|i| i + offset));
        self
    }

    /// Takes over the types of `schema`, whose nullability a join may have changed.
    pub fn retype(&mut self, schema: &Schema) {
        for (column, typed) in self.columns.iter_mut().zip(&schema.columns) {
            column.sql_type = typed.sql_type.clone();
        }
    }

    /// Column `index` as an expression; [`OUTER`] and more for a scope around.
    pub fn expr(&self, index: usize) -> Expr {
        let mut scope = self;
        for _ in 0..index / OUTER {
            scope = scope.outer.unwrap_or(scope);
        }
        Expr::Column { index, sql_type: scope.columns[index % OUTER].sql_type.clone() }
    }

    /// What `parts` means here, or in the nearest scope around that knows it.
    pub fn find(&self, parts: &[Ident]) -> Result<Found> {
        // The longest qualification wins, wherever it is found; what is left over are fields of a row.
        for taken in (1..=parts.len().min(4)).rev() {
            let (mut scope, mut level) = (Some(self), 0);
            while let Some(here) = scope {
                if let Some(index) = here.find_here(&parts[..taken])? {
                    return Ok(Found { index: index + level * OUTER, parts: taken });
                }
                (scope, level) = (here.outer, level + 1);
            }
        }
        // A query around may have the table, if not the column.
        let (mut told, mut around) = (self, self.outer);
        while let Some(scope) = around {
            let qualifier = &parts[..parts.len() - 1];
            if parts.len() > 1 && self.of_qualifier(qualifier).is_empty() && !scope.of_qualifier(qualifier).is_empty() {
                told = scope;
                break;
            }
            around = scope.outer;
        }
        Err(told.unknown(parts))
    }

    /// The column of this level that `parts` name.
    fn find_here(&self, parts: &[Ident]) -> Result<Option<usize>> {
        let (qualifier, name) = (&parts[..parts.len() - 1], &parts[parts.len() - 1]);
        let fits = |column: &ScopeColumn| column.name == name.name && column.qualified_by(qualifier);
        let seen = |i: &usize| !qualifier.is_empty() || !self.columns[*i].hidden;
        let mut matches = (0..self.columns.len()).filter(|&i| fits(&self.columns[i])).filter(seen);
        let Some(index) = matches.next() else { return Ok(None) };
        match matches.next() {
            Some(other) => Err(self.ambiguous(name, index, other)),
            None => Ok(Some(index)),
        }
    }

    /// The columns of `qualifier.*`; empty where there is no such relation.
    pub fn of_qualifier(&self, qualifier: &[Ident]) -> Vec<usize> {
        (0..self.columns.len()).filter(|&i| self.columns[i].qualified_by(qualifier)).collect()
    }

    fn ambiguous(&self, name: &Ident, first: usize, second: usize) -> Error {
        let shown = |i: usize| match &self.columns[i].relation {
            Some(relation) => format!("{}.{name}", quoted(relation)),
            None => format!("column {}", i + 1),
        };
        let (first, second) = (shown(first), shown(second));
        let hint = if first == second {
            format!("rename one of the two where they come from: … AS other_{}", name.name)
        } else {
            format!("write {first} or {second}")
        };
        Error::invalid(format!("column {name} is ambiguous")).hint(hint).at(name.at)
    }

    fn unknown(&self, parts: &[Ident]) -> Error {
        let name = &parts[parts.len() - 1];
        if let [qualifier, ..] = parts
            && parts.len() > 1
        {
            let qualifiers = &parts[..parts.len() - 1];
            let of_relation = self.of_qualifier(qualifiers);
            if of_relation.is_empty() {
                let relations = self.relations();
                let error = Error::not_found(format!(
                    "there is no table {} in FROM",
                    quoted(&qualifiers[qualifiers.len() - 1].name)
                ));
                let otherwise = match relations.as_slice() {
                    [] if self.columns.is_empty() => "there is no FROM".to_owned(),
                    [] => "FROM has nothing with a name: give it one, … AS x".to_owned(),
                    known => format!("FROM has {}", known.join(", ")),
                };
                return suggest(error, &qualifier.name, &relations, &otherwise).at(qualifier.at);
            }
            let names: Vec<&str> = of_relation.iter().map(|&i| self.columns[i].name.as_str()).collect();
            let error = Error::not_found(format!(
                "there is no column {name} in {}",
                quoted(&qualifiers[qualifiers.len() - 1].name)
            ));
            return suggest(error, &name.name, &names, &listed(&names)).at(name.at);
        }
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let error = Error::not_found(format!("there is no column {name}"));
        if names.is_empty() {
            return error.hint(format!("there is no FROM; a text stands in quotes: '{}'", name.name)).at(name.at);
        }
        suggest(error, &name.name, &names, &format!("{}; a text stands in quotes: '{}'", listed(&names), name.name))
            .at(name.at)
    }

    fn relations(&self) -> Vec<&str> {
        let mut relations: Vec<&str> = self.columns.iter().filter_map(|column| column.relation.as_deref()).collect();
        relations.dedup();
        relations
    }
}

impl ScopeColumn {
    /// Whether `qualifier` names the relation of this column.
    fn qualified_by(&self, qualifier: &[Ident]) -> bool {
        let path = |parts: &[&str]| match (&self.path, parts) {
            (Some(path), [database, object]) => path.database == *database && path.object == *object,
            (Some(path), [catalog, database, object]) => {
                path.catalog == *catalog && path.database == *database && path.object == *object
            }
            _ => false,
        };
        let names: Vec<&str> = qualifier.iter().map(|ident| ident.name.as_str()).collect();
        match names.as_slice() {
            [] => true,
            [relation] => self.relation.as_deref() == Some(relation),
            longer => path(longer),
        }
    }
}

/// The columns for a hint; a wide table is cut.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let dots = if names.len() > SHOWN { ", …" } else { "" };
    let names: Vec<_> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    format!("the columns are {}{dots}", names.join(", "))
}
