//! The columns of a sink's table as they were when they were written, kept in `gridhouse_sink` beside the commit.
//!
//! A column that somebody drops and adds again is empty in all rows but the next; one that is changed to a type of fewer digits, and
//! back, has rounded values. Neither can be seen in the table afterwards, and nobody writes these rows again. So each claim of
//! the sink compares the columns with those that were written: what always holds is that a column whose values may be lost is on
//! record as such until the table is empty, or until somebody says that it is to stay as it is. Renaming a column and back, adding
//! others and types that hold all values lose nothing.
//!
//! A table under another oid is another one. Where `gridhouse_sink` is the one that it was, the table alone was made anew, or restored,
//! and does not hold what was written; where that is another one too, both were restored from one dump.
//!
//! The record: a line with the oid of the table, the oid of `gridhouse_sink`, and `key` where rows are replaced by key; then a line
//! for each column. An earlier version wrote the first oid alone.

use gridhouse_base::Result;
use gridhouse_base::table::{ColumnKind, TableDef};
use tokio_postgres::Client;

use super::catalog::OutsideTable;
use super::client::Fault;
use super::sink_plan::keeps_values;

/// The columns of a table that are written, in the order of the declaration.
pub(crate) struct Shape {
    oid: u32,
    keyed: bool,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// What there is under the name, if anything.
    outside: Option<Outside>,
}

#[derive(Clone, PartialEq, Eq)]
struct Outside {
    number: i16,
    type_name: String,
    /// Values that were written, and can be declared, are held as they are.
    keeps_values: bool,
}

impl Outside {
    /// A line of the record: the number, the type, and a mark in front where values are lost.
    fn line(&self, is_lost: bool) -> String {
        format!("{}{} {}", if is_lost { "!" } else { "" }, self.number, self.type_name)
    }
}

impl Shape {
    /// Whether the record `before`, in the bookkeeping table `books`, is of another table that stood there under this name.
    fn replaces(&self, before: &str, books: u32) -> bool {
        let mut first = before.split('\n').next().unwrap_or_default().split(' ');
        first.next() != Some(&self.oid.to_string()) && first.next() == Some(&books.to_string())
    }

    /// The columns of `table` that `definition` declares.
    pub(crate) fn of(definition: &TableDef, table: &OutsideTable) -> Self {
        let is_written = |i: &usize| !matches!(definition.column_kinds[*i], ColumnKind::Metadata { .. });
        let column = |i: usize| {
            let declared = &definition.schema.columns[i];
            let outside = table.column(&declared.name).map(|column| Outside {
                number: column.number,
                type_name: column.type_name.replace('\n', " "),
                keeps_values: keeps_values(&declared.sql_type.kind, column),
            });
            Column { name: declared.name.clone(), outside }
        };
        let keyed = !definition.primary_key.is_empty();
        Self { oid: table.oid, keyed, columns: definition.physical().filter(is_written).map(column).collect() }
    }

    /// The record of columns of which every value is as it was written, in the bookkeeping table `books`.
    pub(crate) fn text(&self, books: u32) -> String {
        let lines =
            self.columns.iter().map(|column| column.outside.as_ref().map_or_else(String::new, |o| o.line(false)));
        let first = format!("{} {books}{}", self.oid, if self.keyed { " key" } else { "" });
        std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// The record `before`, brought to how the columns stand, and which are lost. `None` where it is of another table.
    fn compared(&self, before: &str) -> Option<(String, Vec<String>)> {
        let mut lines = before.split('\n');
        let first = lines.next()?;
        let lines: Vec<&str> = (first.split(' ').next()? == self.oid.to_string()).then(|| lines.collect())?;
        if lines.len() != self.columns.len() {
            return None;
        }
        let (mut text, mut lost) = (vec![first.to_owned()], Vec::new());
        for (line, column) in lines.into_iter().zip(&self.columns) {
            let (was_lost, known) = line.strip_prefix('!').map_or((false, line), |known| (true, known));
            let (number, type_name) = known.split_once(' ').unwrap_or((known, ""));
            let Some(outside) = &column.outside else {
                // It may be there under another name, and come back.
                text.push(line.to_owned());
                continue;
            };
            let is_another = !number.is_empty() && number != outside.number.to_string();
            let is_cut = type_name != outside.type_name && !outside.keeps_values;
            let is_lost = was_lost || is_another || is_cut;
            if is_lost {
                lost.push(column.name.clone());
            }
            text.push(outside.line(is_lost));
        }
        Some((text.join("\n"), lost))
    }
}

/// The entry of a sink in `gridhouse_sink`.
pub(crate) struct Entry<'a> {
    /// The bookkeeping table in statements.
    pub books: String,
    /// The store.
    pub store: &'a str,
    /// The sink's name.
    pub sink: &'a str,
}

/// What became of the columns that were written.
#[derive(Default)]
pub(crate) struct Changed {
    /// Columns whose values may be lost.
    pub lost: Vec<String>,
    /// Columns that are not there under their name.
    missing: Vec<String>,
    /// The table is another one than was written, and nothing else was restored with it.
    pub is_replaced: bool,
}

impl Changed {
    /// What is to be done beside the mending of the table, where rows were written.
    pub(crate) fn remedy(&self, table: &str) -> Option<String> {
        let columns: Vec<&str> = self.lost.iter().chain(&self.missing).map(String::as_str).collect();
        (!columns.is_empty()).then(|| {
            format!(
                "the rows that are in {table} lack the values of {}, unless it is renamed back: to have all of them written anew, \
                 empty the table there too; then START JOB here",
                columns.join(", ")
            )
        })
    }
}

impl Entry<'_> {
    /// Puts a shape on record.
    pub(crate) async fn put(&self, client: &Client, text: &str) -> Result<(), tokio_postgres::Error> {
        let note = format!("UPDATE {} SET shape = $3 WHERE store = $1 AND sink = $2", self.books);
        client.execute(&note, &[&self.store, &self.sink, &text]).await.map(drop)
    }

    /// The table `target` is empty: has the store's other sinks that replace its rows by key write it from the start too. Those whose
    /// records an earlier version wrote do so if they are the first to look.
    pub(crate) async fn refill_others(&self, client: &Client, target: &str) -> Result<(), tokio_postgres::Error> {
        let anew = format!(
            "UPDATE {} b SET upto = 0, history = NULL WHERE target = $1 AND store = $2 AND sink <> $3 AND upto > 0 \
             AND split_part(to_jsonb(b) ->> 'shape', E'\\n', 1) LIKE '% key'",
            self.books
        );
        client.execute(&anew, &[&target, &self.store, &self.sink]).await.map(drop)
    }

    /// Compares the columns with those that were written, and puts on record which of them are lost.
    ///
    /// # Errors
    /// Those of the server.
    pub(crate) async fn note(&self, client: &Client, shape: &Shape) -> Result<Changed> {
        let books = &self.books;
        let failed =
            |error: tokio_postgres::Error| Fault::of(&error).error("the columns that were written cannot be read");
        let there = client.query_one("SELECT to_regclass($1::text)::oid", &[books]).await.map_err(failed)?;
        let Some(oid) = there.get::<_, Option<u32>>(0) else { return Ok(Changed::default()) };
        // The column may not be there, and then a row as JSON has no such field.
        let sql = format!("SELECT to_jsonb(b) ->> 'shape' FROM {books} b WHERE store = $1 AND sink = $2 AND upto > 0");
        let row = client.query_opt(&sql, &[&self.store, &self.sink]).await.map_err(failed)?;
        let Some(before) = row.and_then(|row| row.get::<_, Option<String>>(0)) else {
            return Ok(Changed::default());
        };
        let Some((text, lost)) = shape.compared(&before) else {
            return Ok(Changed { is_replaced: shape.replaces(&before, oid), ..Changed::default() });
        };
        if text != before && !lost.is_empty() {
            self.put(client, &text).await.map_err(failed)?;
        }
        let missing = shape.columns.iter().filter(|column| column.outside.is_none()).map(|column| column.name.clone());
        Ok(Changed { lost, missing: missing.collect(), is_replaced: false })
    }
}
