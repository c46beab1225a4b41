//! The catalog in memory: an immutable value that a change replaces, so that sessions bind against one state while
//! others go on.
//!
//! It always equals what the store's metadata holds at the last tick. Names are case-sensitive, as in Flink.

use std::collections::BTreeMap;

use std::sync::Arc;

use gridhouse_base::table::ObjectPath;
use gridhouse_base::{Result, TableId};
use gridhouse_sql::catalog::Relation;

use crate::dead;
use crate::records::{CatalogRecord, DatabaseRecord, ObjectRecord};

/// Flink's catalog that is there from the start.
pub const DEFAULT_CATALOG: &str = "default_catalog";
/// The database of [`DEFAULT_CATALOG`].
pub const DEFAULT_DATABASE: &str = "default_database";
/// The catalog of the virtual tables that show the engine's state.
pub const SYSTEM_CATALOG: &str = "system";

/// Catalogs, databases, tables and views.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(crate) catalogs: BTreeMap<String, CatalogRecord>,
    pub(crate) databases: BTreeMap<(String, String), DatabaseRecord>,
    pub(crate) objects: BTreeMap<ObjectPath, ObjectRecord>,
}

impl Catalog {
    /// The table or view at `path`.
    pub fn object(&self, path: &ObjectPath) -> Option<&ObjectRecord> {
        self.objects.get(path)
    }

    /// The store's table behind `path`, if it is a table with rows here.
    pub fn table_id(&self, path: &ObjectPath) -> Option<TableId> {
        match self.objects.get(path)? {
            ObjectRecord::Table { table, .. } => *table,
            ObjectRecord::View(_) => None,
        }
    }

    /// The table that holds the dead letters of a target, if there is one.
    pub(crate) fn letters_of(&self, target: &ObjectPath) -> Option<TableId> {
        let wanted = dead::table_of(target);
        match self.objects.get(&wanted.path)? {
            ObjectRecord::Table { definition, table } if definition.schema == wanted.schema => *table,
            _ => None,
        }
    }

    /// The objects of a database.
    pub fn objects_of<'a>(&'a self, catalog: &'a str, database: &'a str) -> impl Iterator<Item = &'a ObjectRecord> {
        let inside = move |path: &ObjectPath| path.catalog == catalog && path.database == database;
        self.objects.iter().filter(move |(path, _)| inside(path)).map(|(_, record)| record)
    }

    /// The names of a catalog's databases; `None` where there is no such catalog.
    pub fn databases_of(&self, catalog: &str) -> Option<Vec<String>> {
        self.catalogs.get(catalog)?;
        Some(self.databases.keys().filter(|(owner, _)| owner == catalog).map(|(_, name)| name.clone()).collect())
    }
}

/// The catalog as one session sees it: its temporary objects hide others of the same name.
pub(crate) struct Scope<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) temporary: &'a BTreeMap<ObjectPath, ObjectRecord>,
}

impl gridhouse_sql::catalog::Catalog for Scope<'_> {
    fn relation(&self, path: &ObjectPath) -> Result<Option<Relation>> {
        let found = self.temporary.get(path).or_else(|| self.catalog.object(path));
        Ok(found.map(|record| match record {
            ObjectRecord::Table { definition, .. } => Relation::Table(definition.clone()),
            ObjectRecord::View(view) => Relation::View(Arc::new(view.clone())),
        }))
    }

    fn catalogs(&self) -> Vec<String> {
        self.catalog.catalogs.keys().cloned().collect()
    }

    fn databases(&self, catalog: &str) -> Option<Vec<String>> {
        self.catalog.databases_of(catalog)
    }

    fn relations(&self, catalog: &str, database: &str) -> Option<Vec<String>> {
        let key = (catalog.to_owned(), database.to_owned());
        self.catalog.databases.get(&key)?;
        let durable = self.catalog.objects_of(catalog, database).map(|record| record.path().object.clone());
        let mut names: std::collections::BTreeSet<String> = durable.collect();
        let inside = |path: &&ObjectPath| path.catalog == catalog && path.database == database;
        names.extend(self.temporary.keys().filter(inside).map(|path| path.object.clone()));
        Some(names.into_iter().collect())
    }
}
