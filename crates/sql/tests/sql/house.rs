//! A catalog in memory and the little that a session does, enough to run scripts against the binder.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{Error, Result};
use gridhouse_sql::ast::Statement;
use gridhouse_sql::{Binder, BoundInsert, Catalog, NameContext, Plan, Relation, explain, explain_insert, parse_script};

/// What exists, and what names mean.
pub struct House {
    databases: Vec<(String, String)>,
    relations: BTreeMap<ObjectPath, Relation>,
    pub names: NameContext,
}

/// What a statement gave.
#[derive(Debug)]
pub enum Given {
    Done,
    Query(Plan),
    Insert(BoundInsert),
    Text(String),
}

impl Catalog for House {
    fn relation(&self, path: &ObjectPath) -> Result<Option<Relation>> {
        Ok(self.relations.get(path).cloned())
    }

    fn catalogs(&self) -> Vec<String> {
        let mut names: Vec<String> = self.databases.iter().map(|(catalog, _)| catalog.clone()).collect();
        names.dedup();
        names
    }

    fn databases(&self, catalog: &str) -> Option<Vec<String>> {
        let own: Vec<String> = self.databases.iter().filter(|(c, _)| c == catalog).map(|(_, d)| d.clone()).collect();
        (!own.is_empty()).then_some(own)
    }

    fn relations(&self, catalog: &str, database: &str) -> Option<Vec<String>> {
        let of = |path: &&ObjectPath| path.catalog == catalog && path.database == database;
        Some(self.relations.keys().filter(of).map(|path| path.object.clone()).collect())
    }
}

impl House {
    pub fn empty() -> Self {
        let names = NameContext { catalog: "default_catalog".into(), database: "default_database".into() };
        let databases = vec![("default_catalog".into(), "default_database".into())];
        Self { databases, relations: BTreeMap::new(), names }
    }

    /// The tables that most tests are about.
    pub fn furnished() -> Self {
        let mut house = Self::empty();
        for given in house.run(TABLES) {
            given.expect("the tables of the tests can be made");
        }
        house
    }

    /// Runs the statements of `script` as far as they can be read and bound.
    pub fn run(&mut self, script: &str) -> Vec<Result<Given>> {
        parse_script(script).map(|parsed| self.statement(&parsed?.statement)).collect()
    }

    pub fn table(&self, object: &str) -> &TableDef {
        match self.relations.iter().find(|(path, _)| path.object == object) {
            Some((_, Relation::Table(table))) => table,
            _ => panic!("there is no table {object}"),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<Given> {
        let utc = chrono_tz::Tz::UTC;
        let binder = || Binder::new(self, self.names.clone(), utc);
        match statement {
            Statement::CreateTable(create) => {
                let table = binder().define_table(create)?;
                self.relations.insert(table.path.clone(), Relation::Table(Arc::new(table)));
            }
            Statement::CreateView(create) => {
                let view = binder().define_view(create)?;
                self.relations.insert(view.path.clone(), Relation::View(Arc::new(view)));
            }
            Statement::CreateCatalog(create) => self.databases.push((create.name.name.clone(), "fluss".into())),
            Statement::CreateDatabase(create) => {
                let database = self.names.database(&create.name)?;
                self.databases.push(database);
            }
            Statement::UseCatalog(catalog) => {
                let Some(databases) = self.databases(&catalog.name) else {
                    return Err(Error::not_found(format!("there is no catalog {catalog}")).at(catalog.at));
                };
                self.names = NameContext { catalog: catalog.name.clone(), database: databases[0].clone() };
            }
            Statement::Use(database) => {
                let (catalog, database) = self.names.database(database)?;
                self.names = NameContext { catalog, database };
            }
            Statement::Query(query) => return binder().query(query).map(Given::Query),
            Statement::Insert(insert) => return binder().insert(insert).map(Given::Insert),
            Statement::StatementSet(inserts) => {
                let texts: Result<Vec<String>> =
                    inserts.iter().map(|insert| binder().insert(insert).map(|bound| explain_insert(&bound))).collect();
                return texts.map(|texts| Given::Text(texts.concat()));
            }
            Statement::Update(update) => {
                let bound = binder().update(update)?;
                let set = bound.assignments.iter().map(|(i, expr)| {
                    format!("{}={}", bound.table.schema.columns[*i].name, expr.display_with(&bound.table.schema))
                });
                let set = set.collect::<Vec<_>>().join(", ");
                return Ok(Given::Text(format!(
                    "Update {} {set}{}",
                    bound.table.path,
                    predicate(&bound.table, &bound.predicate)
                )));
            }
            Statement::Delete(delete) => {
                let bound = binder().delete(delete)?;
                return Ok(Given::Text(format!(
                    "Delete {}{}",
                    bound.table.path,
                    predicate(&bound.table, &bound.predicate)
                )));
            }
            _ => {}
        }
        Ok(Given::Done)
    }

    /// The explained plan of the last statement of `script`.
    pub fn plan(&mut self, script: &str) -> String {
        let given = self.run(script).pop().expect("there is a statement");
        match given {
            Ok(Given::Query(plan)) => explain(&plan),
            Ok(Given::Insert(insert)) => explain_insert(&insert),
            Ok(Given::Text(text)) => text,
            Ok(Given::Done) => panic!("{script} has no plan"),
            Err(error) => panic!("{script}\nfails: {}", shown(&error)),
        }
    }

    /// The error of the last statement of `script`, as a user sees it.
    pub fn error(&mut self, script: &str) -> String {
        match self.run(script).pop().expect("there is a statement") {
            Ok(given) => format!("does not fail: {given:?}"),
            Err(error) => shown(&error),
        }
    }
}

fn predicate(table: &TableDef, predicate: &Option<gridhouse_expr::Expr>) -> String {
    predicate.as_ref().map(|expr| format!(" where {}", expr.display_with(&table.schema))).unwrap_or_default() + "\n"
}

/// `line:column kind: message | hint`
pub fn shown(error: &Error) -> String {
    let position = error.position().map_or_else(|| "?".to_owned(), |position| position.to_string());
    format!("{position} {}: {error} | {}", error.kind(), error.remedy().unwrap_or("no hint"))
}

const TABLES: &str = "
CREATE TABLE orders (
  order_id BIGINT, customer_id BIGINT, region STRING, status STRING, amount DECIMAL(12, 2), updated_at TIMESTAMP(3),
  PRIMARY KEY (order_id) NOT ENFORCED);
CREATE TABLE customers (customer_id BIGINT PRIMARY KEY NOT ENFORCED, name STRING NOT NULL, level INT, `城市` STRING);
CREATE TABLE readings (id BIGINT, load_mw DOUBLE, at_time TIMESTAMP(3));
CREATE TABLE small (a INT, b INT NOT NULL, c STRING);
CREATE TABLE other (a INT, d BIGINT, c STRING);
CREATE TABLE doubled (id BIGINT, twice AS id * 2, note STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE clicks (id BIGINT, item BIGINT, at_time TIMESTAMP(3), proctime AS PROCTIME(),
  WATERMARK FOR at_time AS at_time - INTERVAL '5' SECOND);
CREATE TABLE sights (id BIGINT, item BIGINT, at_time TIMESTAMP(3), WATERMARK FOR at_time AS at_time - INTERVAL '5' SECOND);
CREATE TABLE items (item BIGINT, price DECIMAL(10, 2), name STRING, label AS UPPER(name), PRIMARY KEY (item) NOT ENFORCED)
  WITH ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://host/db', 'table-name' = 'items');
CREATE TABLE nested (id BIGINT, tags ARRAY<STRING>, parts ARRAY<ROW<part STRING, qty INT>>, attrs MAP<STRING, INT>,
  place ROW<city STRING, pos ROW<x INT, y INT>>);
CREATE VIEW paid AS SELECT order_id, amount FROM orders WHERE status = 'paid';
";
