//! The tables that a test writes: their definitions, what they hold, and the transactions that change that.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::{ObjectPath, TableDef, quoted};
use gridhouse_base::{Result, RowKind, SqlType, Value};
use gridhouse_sql::ast::Statement;
use gridhouse_sql::{Binder, Catalog, NameContext, Relation, parse_script};

use crate::House;
use crate::rows::{Row, Text};

/// A table that is fed.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, without catalog and database.
    pub name: String,
    /// Names of the stored columns.
    pub columns: Vec<String>,
    /// Their types.
    pub types: Vec<SqlType>,
    /// The key as positions among them; empty for a table that keeps every row.
    pub key: Vec<usize>,
}

/// What a table holds: rows by key, or by number where there is no key.
pub type Contents = BTreeMap<Text, Row>;

/// One change of a table.
#[derive(Clone, Debug)]
pub enum Change {
    /// The row is there from now on, in place of one with its key.
    Put(Row),
    /// The row with this one's key is gone.
    Delete(Row),
}

/// A catalog with nothing in it but the default database.
struct Nothing;

impl Catalog for Nothing {
    fn relation(&self, _: &ObjectPath) -> Result<Option<Relation>> {
        Ok(None)
    }

    fn catalogs(&self) -> Vec<String> {
        vec!["default_catalog".into()]
    }

    fn databases(&self, catalog: &str) -> Option<Vec<String>> {
        (catalog == "default_catalog").then(|| vec!["default_database".into()])
    }

    fn relations(&self, _: &str, _: &str) -> Option<Vec<String>> {
        Some(vec![])
    }
}

/// The definition that the statement `sql` gives, if it makes a stored table.
pub fn definition(sql: &str) -> Option<TableDef> {
    let Statement::CreateTable(create) = parse_script(sql).next()?.ok()?.statement else { return None };
    let names = NameContext { catalog: "default_catalog".into(), database: "default_database".into() };
    let nothing = Arc::new(Nothing);
    let table = Binder::new(nothing.as_ref(), names, chrono_tz::UTC).define_table(&create).ok()?;
    table.connector().is_none().then_some(table)
}

impl Table {
    /// The table of a definition.
    pub fn of(definition: &TableDef) -> Self {
        let stored: Vec<usize> = definition.physical().collect();
        let column = |&i: &usize| &definition.schema.columns[i];
        let place = |key: &usize| stored.iter().position(|stored| stored == key).expect("a key is stored");
        Self {
            name: definition.path.object.clone(),
            columns: stored.iter().map(|i| column(i).name.clone()).collect(),
            types: stored.iter().map(|i| column(i).sql_type.clone()).collect(),
            key: definition.primary_key.iter().map(place).collect(),
        }
    }

    /// The statements that let the outside feed the table.
    pub fn feed(&self) -> String {
        let column = |(name, t): (&String, &SqlType)| format!("{} {t}", quoted(name));
        let mut columns: Vec<String> = self.columns.iter().zip(&self.types).map(column).collect();
        let names = |places: &[usize]| places.iter().map(|&k| quoted(&self.columns[k])).collect::<Vec<_>>().join(", ");
        if !self.key.is_empty() {
            columns.push(format!("PRIMARY KEY ({}) NOT ENFORCED", names(&self.key)));
        }
        let (name, all) = (&self.name, names(&(0..self.columns.len()).collect::<Vec<_>>()));
        format!(
            "CREATE TEMPORARY TABLE `feed of {name}` ({}) WITH ('connector' = 'feed', 'table' = '{name}');
             INSERT INTO {} ({all}) SELECT {all} FROM `feed of {name}`;",
            columns.join(", "),
            quoted(name)
        )
    }

    /// The key of a row.
    pub fn key_of(&self, row: &Row) -> Text {
        self.key.iter().map(|&k| row.text[k].clone()).collect()
    }

    /// What the table holds now.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self, house: &mut House) -> std::result::Result<Contents, String> {
        let columns = self.columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let answer = house.run(&format!("SELECT {columns} FROM {}", quoted(&self.name)))?;
        let mut contents = Contents::new();
        for row in answer.rows {
            let key = if self.key.is_empty() { number(contents.len()) } else { self.key_of(&row) };
            contents.insert(key, row);
        }
        Ok(contents)
    }

    /// The row of `values`.
    pub fn row(&self, values: Vec<Value>) -> Row {
        let columns: Vec<_> = values.iter().zip(&self.types).map(|(value, t)| value.to_array(&t.kind, 1)).collect();
        Row { text: crate::rows::text_at(&columns, &self.types, 0), values }
    }

    /// Changes as a batch of the source.
    pub fn batch(&self, changes: &[Change]) -> KindBatch {
        let row = |change: &Change| match change {
            Change::Put(row) | Change::Delete(row) => row.clone(),
        };
        let rows: Vec<Row> = changes.iter().map(row).collect();
        let column = |(c, t): (usize, &SqlType)| {
            Value::array_of(&rows.iter().map(|row| &row.values[c]).collect::<Vec<_>>(), &t.kind)
        };
        let kind = |change: &Change| match change {
            Change::Put(_) if self.key.is_empty() => RowKind::Insert,
            Change::Put(_) => RowKind::UpdateAfter,
            Change::Delete(_) => RowKind::Delete,
        };
        KindBatch::new(
            self.types.iter().enumerate().map(column).collect(),
            changes.iter().map(kind).collect::<Vec<_>>(),
        )
    }

    /// Applies a change to `contents`.
    pub fn apply(&self, contents: &mut Contents, change: &Change) {
        match change {
            Change::Put(row) if self.key.is_empty() => drop(contents.insert(number(contents.len()), row.clone())),
            Change::Put(row) => drop(contents.insert(self.key_of(row), row.clone())),
            Change::Delete(row) => drop(contents.remove(&self.key_of(row))),
        }
    }

    /// The changes that lead from `now` to `wanted`. Rows of a table without key are only added.
    pub fn way(&self, now: &Contents, wanted: &Contents) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.key.is_empty() {
            // Both are numbered in the order in which the store gives them, so what is new is found by counting.
            let mut had: BTreeMap<&Text, usize> = BTreeMap::new();
            now.values().for_each(|row| *had.entry(&row.text).or_default() += 1);
            for row in wanted.values() {
                match had.get_mut(&row.text).filter(|times| **times > 0) {
                    Some(times) => *times -= 1,
                    None => changes.push(Change::Put(row.clone())),
                }
            }
            return changes;
        }
        let gone = now.iter().filter(|(key, _)| !wanted.contains_key(*key));
        changes.extend(gone.map(|(_, row)| Change::Delete(row.clone())));
        let new = wanted.iter().filter(|(key, row)| now.get(*key).is_none_or(|had| had.text != row.text));
        changes.extend(new.map(|(_, row)| Change::Put(row.clone())));
        changes
    }
}

fn number(n: usize) -> Text {
    vec![Some(format!("{n:08}"))]
}
