//! How the binder learns what exists: a trait that whoever keeps the catalog implements.
//!
//! Names are case-sensitive, as in Flink. A name of one part is looked up in the current database, one of two parts in the
//! current catalog. An unknown name is reported with the nearest name that exists.

use std::sync::Arc;

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ObjectPath, TableDef, quoted};
use gridhouse_base::{Error, Result, Schema};
use serde::{Deserialize, Serialize};

use crate::ast::{Ident, ObjectName};

/// What exists.
pub trait Catalog {
    /// The table or view at `path`; temporary objects hide others.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    fn relation(&self, path: &ObjectPath) -> Result<Option<Relation>>;

    /// The names of all catalogs.
    fn catalogs(&self) -> Vec<String>;

    /// The names of a catalog's databases; `None` where there is no such catalog.
    fn databases(&self, catalog: &str) -> Option<Vec<String>>;

    /// The names of a database's tables and views, temporary ones too; `None` where there is no such database.
    fn relations(&self, catalog: &str, database: &str) -> Option<Vec<String>>;
}

/// A table or a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// A table.
    Table(Arc<TableDef>),
    /// A view.
    View(Arc<ViewDef>),
}

/// The definition of a view: its text is bound again where it is used, in the context in which it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewDef {
    /// The full name.
    pub path: ObjectPath,
    /// The query's text.
    pub text: String,
    /// What unqualified names in the text mean.
    pub context: NameContext,
    /// The columns as they were when the view was made; their names win over the query's.
    pub schema: Schema,
    /// The comment.
    pub comment: Option<String>,
}

/// What names of one and two parts mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NameContext {
    /// The current catalog.
    pub catalog: String,
    /// The current database within it.
    pub database: String,
}

impl NameContext {
    /// The full path of a table's or view's name.
    ///
    /// # Errors
    /// `Invalid` for a name of more than three parts.
    pub fn path(&self, name: &ObjectName) -> Result<ObjectPath> {
        match name.parts.as_slice() {
            [object] => Ok(ObjectPath::new(&self.catalog, &self.database, &object.name)),
            [database, object] => Ok(ObjectPath::new(&self.catalog, &database.name, &object.name)),
            [catalog, database, object] => Ok(ObjectPath::new(&catalog.name, &database.name, &object.name)),
            _ => Err(Error::invalid(format!("{name} has too many parts"))
                .hint("a table is named catalog.database.table, database.table or table")
                .at(name.at())),
        }
    }

    /// The catalog and database that a database's name means.
    ///
    /// # Errors
    /// `Invalid` for a name of more than two parts.
    pub fn database(&self, name: &ObjectName) -> Result<(String, String)> {
        match name.parts.as_slice() {
            [database] => Ok((self.catalog.clone(), database.name.clone())),
            [catalog, database] => Ok((catalog.name.clone(), database.name.clone())),
            _ => Err(Error::invalid(format!("{name} has too many parts"))
                .hint("a database is named catalog.database or database")
                .at(name.at())),
        }
    }
}

/// The table or view that `name` means.
///
/// # Errors
/// `NotFound` with the nearest name.
pub fn resolve(catalog: &dyn Catalog, context: &NameContext, name: &ObjectName) -> Result<Relation> {
    let path = context.path(name)?;
    if let Some(relation) = catalog.relation(&path)? {
        return Ok(relation);
    }
    check_database(catalog, &path.catalog, &path.database, &name.parts)?;
    let known = catalog.relations(&path.catalog, &path.database).unwrap_or_default();
    let error = Error::not_found(format!("there is no table or view {path}"));
    Err(suggest(error, &path.object, &known, "SHOW TABLES lists what exists").at(name.last().at))
}

/// That the database exists.
///
/// # Errors
/// `NotFound` with the nearest name; `parts` are the written ones, for the place.
pub fn check_database(catalog: &dyn Catalog, catalog_name: &str, database: &str, parts: &[Ident]) -> Result<()> {
    let place = |name: &str| parts.iter().find(|part| part.name == name).unwrap_or(&parts[0]).at;
    let Some(databases) = catalog.databases(catalog_name) else {
        let error = Error::not_found(format!("there is no catalog {}", quoted(catalog_name)));
        let error = suggest(error, catalog_name, &catalog.catalogs(), "SHOW CATALOGS lists what exists");
        return Err(error.at(place(catalog_name)));
    };
    if databases.iter().any(|name| name == database) {
        return Ok(());
    }
    let error = Error::not_found(format!("there is no database {}.{}", quoted(catalog_name), quoted(database)));
    Err(suggest(error, database, &databases, "SHOW DATABASES lists what exists").at(place(database)))
}

/// Adds what the user may have meant by `wanted`, or `otherwise`.
pub(crate) fn suggest<S: AsRef<str>>(error: Error, wanted: &str, known: &[S], otherwise: &str) -> Error {
    let names = || known.iter().map(AsRef::as_ref).filter(|name| *name != wanted);
    if let Some(same) = names().find(|name| name.to_lowercase() == wanted.to_lowercase()) {
        return error.hint(format!("names are case-sensitive: did you mean {}?", quoted(same)));
    }
    match nearest(wanted, names()) {
        Some(name) => error.hint(format!("did you mean {}?", quoted(name))),
        None if otherwise.is_empty() => error,
        None => error.hint(otherwise),
    }
}
