//! What the publication of a stream holds, and what it leaves out.
//!
//! A stream brings what its publication publishes, and is silent about the rest. So a publication that leaves out a kind of change,
//! some rows, or a declared column is refused by name, with the statement that mends it: what it leaves out would stand here as it was
//! read, without a word. Gridhouse makes and extends the publication of its slot, and alters nothing that somebody else has set.

use std::collections::BTreeMap;

use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result};
use tokio_postgres::{Client, Row};

use super::catalog::OutsideTable;
use super::cdc_options::CdcOptions;
use super::client::{ident, outside};
use super::describe::{Server, statement_name};

/// The first version of PostgreSQL whose publications hold schemas, rows by a condition, and some columns only.
const FINE_GRAINED: i32 = 150_000;

/// A publication.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publication {
    /// Its number (oid).
    pub oid: u32,
    /// Which transaction wrote the catalog's row of it, and with it what is published; 0 where that is not known.
    pub written: u32,
    /// The kinds of changes that it leaves out.
    pub leaves_out: Vec<&'static str>,
    /// Whether changes of partitions come under the name of their root.
    pub via_root: bool,
    /// The tables that it holds.
    pub tables: BTreeMap<u32, Entry>,
}

/// How a publication holds a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// The number of the entry: another one where the table was taken out and put back. The publication's own where that holds
    /// all tables.
    pub number: u32,
    /// Whether it is held with a condition, so that changes of other rows are left out.
    pub has_condition: bool,
    /// The numbers of the columns that are published, where it is not all of them.
    pub columns: Option<Vec<i16>>,
}

impl Publication {
    /// Reads the publication `name`; `None` where there is none.
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<Self>> {
        let context = "the publications cannot be read";
        let sql = "SELECT oid, xmin::text, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, \
                   current_setting('server_version_num')::int FROM pg_publication WHERE pubname = $1";
        let found = client.query_opt(sql, &[&name]).await.map_err(outside(context))?;
        let Some(row) = found else { return Ok(None) };
        let version: i32 = row.get(7);
        let (schema, by_schema) = match version >= FINE_GRAINED {
            true => (
                "s.oid, ",
                "LEFT JOIN pg_publication_namespace s ON s.pnpubid = b.oid AND s.pnnspid = n.oid AND e.oid IS NULL ",
            ),
            false => ("", ""),
        };
        // Columns that older servers do not have are no fields of a row as JSON.
        let sql = format!(
            "SELECT c.oid, COALESCE(e.oid, {schema}b.oid), to_jsonb(e) ->> 'prqual' IS NOT NULL, to_jsonb(e) ->> 'prattrs' \
             FROM pg_publication_tables p \
             JOIN pg_namespace n ON n.nspname = p.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
             JOIN pg_publication b ON b.pubname = p.pubname \
             LEFT JOIN pg_publication_rel e ON e.prpubid = b.oid AND e.prrelid = c.oid {by_schema}WHERE p.pubname = $1"
        );
        let rows = client.query(&sql, &[&name]).await.map_err(outside(context))?;
        let kinds = ["insert", "update", "delete", "truncate"];
        Ok(Some(Self {
            oid: row.get(0),
            written: row.get::<_, &str>(1).parse().unwrap_or_default(),
            leaves_out: kinds
                .into_iter()
                .zip(2..)
                .filter(|(_, i)| !row.get::<_, bool>(i))
                .map(|(kind, _)| kind)
                .collect(),
            via_root: row.get(6),
            tables: rows.iter().map(|row| (row.get(0), Entry::of(row))).collect(),
        }))
    }

    /// It publishes every kind of change.
    ///
    /// # Errors
    /// `Invalid`, with the statement that its owner is to type.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        if self.leaves_out.is_empty() {
            return Ok(());
        }
        let kinds = self.leaves_out.join(", ");
        Err(Error::invalid(format!("publication '{name}' leaves out changes of the kind {kinds}")).hint(format!(
            "as its owner: ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')",
            ident(name)
        )))
    }

    /// It publishes every row of `table`, with the declared columns.
    ///
    /// # Errors
    /// `Invalid`, with the statement that its owner is to type.
    pub(crate) fn check_table(&self, name: &str, definition: &TableDef, table: &OutsideTable) -> Result<()> {
        let (key, publication) = (table.key(), ident(name));
        if table.partitioned && !self.via_root {
            return Err(Error::invalid(format!(
                "publication '{name}' publishes the partitions of table {key} each by its own name"
            ))
            .hint(format!("as its owner: ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)")));
        }
        let Some(entry) = self.tables.get(&table.oid) else { return Ok(()) };
        let only = if table.partitioned { "" } else { "ONLY " };
        let whole = format!(
            "as its owner: ALTER PUBLICATION {publication} DROP TABLE {only}{0}; ALTER PUBLICATION {publication} ADD TABLE {only}{0}",
            statement_name(table)
        );
        if entry.has_condition {
            let message = format!(
                "publication '{name}' holds table {key} with a condition, and leaves out changes of other rows"
            );
            return Err(Error::invalid(message).hint(whole));
        }
        let Some(published) = &entry.columns else { return Ok(()) };
        let is_column = |i: &usize| !matches!(definition.column_kinds[*i], ColumnKind::Metadata { .. });
        let declared = definition.physical().filter(is_column).map(|i| &definition.schema.columns[i].name);
        let left_out =
            declared.filter_map(|name| table.column(name)).find(|column| !published.contains(&column.number));
        match left_out {
            None => Ok(()),
            Some(column) => Err(Error::invalid(format!(
                "publication '{name}' leaves out the declared column {key}.{}",
                column.name
            ))
            .hint(whole)),
        }
    }
}

impl Entry {
    fn of(row: &Row) -> Self {
        // `1 3` or `[1, 3]`, by the version.
        let numbers = |text: String| -> Vec<i16> {
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
        };
        Self { number: row.get(1), has_condition: row.get(2), columns: row.get::<_, Option<String>>(3).map(numbers) }
    }
}

/// What the publication of `options` leaves out, and whether tables that it does not hold yet can be added.
pub(crate) async fn check(
    client: &Client,
    server: &Server,
    options: &CdcOptions,
    definition: &TableDef,
    tables: &[OutsideTable],
) -> Result<()> {
    let name = options.publication();
    let publication = Publication::read(client, &name).await?;
    let user = &options.target.username;
    if let Some(publication) = &publication {
        publication.check(&name)?;
        tables.iter().try_for_each(|table| publication.check_table(&name, definition, table))?;
    }
    let held = |table: &&OutsideTable| publication.as_ref().is_some_and(|held| held.tables.contains_key(&table.oid));
    let missing: Vec<&OutsideTable> = tables.iter().filter(|table| !held(table)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if publication.is_none() && !server.may_create {
        return Err(may_not_publish(options));
    }
    if let Some(table) = missing.iter().find(|table| !table.owned) {
        let names: Vec<String> = tables.iter().map(statement_name).collect();
        return Err(Error::invalid(format!("role '{user}' does not own table {} and cannot publish it", table.key()))
            .hint(format!(
                "type as its owner `CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)`; \
                 or `ALTER TABLE {} OWNER TO {}`",
                ident(&name),
                names.join(", "),
                statement_name(table),
                ident(user)
            )));
    }
    Ok(())
}

/// The role may not make the publication.
pub(crate) fn may_not_publish(options: &CdcOptions) -> Error {
    let (user, database) = (&options.target.username, &options.target.database);
    Error::invalid(format!("role '{user}' may not create the publication '{}'", options.publication())).hint(format!(
        "GRANT CREATE ON DATABASE {} TO {}",
        ident(database),
        ident(user)
    ))
}
