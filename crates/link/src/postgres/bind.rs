//! Binds the tables of a stream to those of the outside, and has them published.
//!
//! Done at each connection, and whenever contents are wanted: another table may stand under the name by now. What always
//! holds: what is wrong with one table (gone, renamed, another type, too little told of old rows, not ours to publish)
//! fails that table alone, with the remedy, and the others go on. What is wrong with the way to the server, or with all tables at
//! once, is tried again.

use gridhouse_base::{Error, ErrorKind, Result};
use gridhouse_flow::connector::SourceEvent;
use tokio_postgres::Client;

use super::binding::Change;
use super::catalog::{self, Listed, OutsideTable, Relations};
use super::cdc_options::CdcOptions;
use super::client::{Fault, INSUFFICIENT_PRIVILEGE, always_quoted, ident};
use super::decode::CdcTable;
use super::describe;
use super::handover::lost_for;
use super::identity;
use super::publication::{Publication, may_not_publish};
use super::stream::{End, Worker};

impl Worker {
    /// Finds the outside tables of every table. Where they are others than the stored contents are of, these are outdated: rows of
    /// a table that was dropped or replaced while nobody looked are withdrawn by no change.
    pub(super) async fn resolve(&mut self, client: &Client) -> Result<(), End> {
        let mut strayed = Strayed::default();
        let publication = self.options.publication();
        let listed = catalog::list(client, Relations::Tables).await.map_err(End::Lost)?;
        for index in 0..self.decoder.tables.len() {
            let table = &self.decoder.tables[index];
            if table.failed {
                continue;
            }
            let oids = match describe::chosen(&listed, &table.options) {
                Ok(oids) => oids,
                Err(error) => {
                    let error = called_back(error, table, &listed);
                    self.decoder.fail_table(index, error);
                    continue;
                }
            };
            let found = catalog::describe(client, &oids).await.map_err(End::Lost)?;
            if found.len() < oids.len() {
                // Contents of what is left of it would be taken for all of it.
                return Err(End::Lost(Error::unavailable("a table was dropped while it was looked at")));
            }
            let fits = |outside: &OutsideTable| {
                describe::check_columns(&table.definition, outside, &mut Vec::new())?;
                identity::check(&table.definition, outside, outside.holders.iter())
            };
            let unfit = found.iter().map(fits).find_map(Result::err);
            let table = &mut self.decoder.tables[index];
            table.outside = found;
            if let Some(error) = unfit {
                self.decoder.fail_table(index, error);
                continue;
            }
            // What the publication does is not known yet, and counts below.
            let unread = Publication::default();
            if let Some(change) = table.outdated(&table.binding(&unread), &unread)
                && !table.wants_contents
            {
                let why = change.told(&publication, &table.names());
                self.decoder.events.extend(strayed.take(table, why));
            }
        }
        self.tell_strayed(strayed).await
    }

    /// Says of which tables contents are read again, or changes were missed.
    async fn tell_strayed(&mut self, strayed: Strayed) -> Result<(), End> {
        let Some(error) = strayed.error() else { return Ok(()) };
        self.emit_events(&mut None).await?;
        self.emit(SourceEvent::Waiting { error }, None).await
    }

    /// Makes sure that the publication holds every table; whether it was there. Tables that it did not hold want their
    /// contents.
    pub(super) async fn publish(&mut self, client: &Client, options: &CdcOptions) -> Result<bool, End> {
        let name = options.publication();
        let published = Publication::read(client, &name).await.map_err(End::Lost)?;
        if let Some(published) = &published {
            // No table can go on without what it leaves out, so the stream waits; what was changed meanwhile is compared then.
            published.check(&name).map_err(End::Lost)?;
        } else {
            // Also without a table: a stream cannot be read without its publication.
            let sql = format!("CREATE PUBLICATION {} WITH (publish_via_partition_root = true)", always_quoted(&name));
            client.batch_execute(&sql).await.map_err(|error| {
                let fault = Fault::of(&error);
                let lacks_right = fault.code.as_deref() == Some(INSUFFICIENT_PRIVILEGE);
                End::Lost(if lacks_right { may_not_publish(options) } else { fault.error(&sql) })
            })?;
        }
        let before = published.clone().unwrap_or_default();
        let mut added: Vec<u32> = Vec::new();
        let mut strayed = Strayed::default();
        for index in 0..self.decoder.tables.len() {
            let table = &mut self.decoder.tables[index];
            if table.failed {
                continue;
            }
            let left_out = |outside| before.check_table(&name, &table.definition, outside);
            if published.is_some()
                && let Some(error) = table.outside.iter().map(left_out).find_map(Result::err)
            {
                self.decoder.fail_table(index, error);
                continue;
            }
            let missing: Vec<OutsideTable> =
                table.outside.iter().filter(|outside| !before.tables.contains_key(&outside.oid)).cloned().collect();
            let was_out = (!missing.is_empty() && !table.reads_contents()).then_some(Change::HeldAnew);
            if let Some(change) = table.outdated(&table.binding(&before), &before).or(was_out)
                && !table.wants_contents
            {
                let why = change.told(&name, &table.names());
                self.decoder.events.extend(strayed.take(table, why));
            }
            if !missing.is_empty() {
                // What it did not publish is missing; on record before it does again and nothing tells that any more.
                self.decoder.events.extend(table.want_contents());
                self.emit_events(&mut None).await?;
            }
            for outside in missing {
                if added.contains(&outside.oid) {
                    continue;
                }
                match add(client, &name, &outside).await? {
                    None => added.push(outside.oid),
                    Some(refused) => {
                        self.decoder.fail_table(index, refused);
                        break;
                    }
                }
            }
        }
        self.tell_strayed(strayed).await?;
        self.published = match added.is_empty() {
            true => before,
            false => Publication::read(client, &name).await.map_err(End::Lost)?.unwrap_or_default(),
        };
        Ok(published.is_some())
    }
}

/// Tables of which changes were missed, and why.
#[derive(Default)]
pub(super) struct Strayed {
    why: Vec<String>,
    /// Those whose contents are never read, so that the changes are lost.
    lacking: Vec<String>,
}

impl Strayed {
    /// Takes a table in, and has its contents read again; what is to be put on record for that.
    pub(super) fn take(&mut self, table: &mut CdcTable, why: String) -> Option<SourceEvent> {
        self.why.push(why);
        if !table.reads_contents() {
            self.lacking.push(table.definition.path.to_string());
        }
        table.want_contents()
    }

    /// What is said of them, if there are any.
    pub(super) fn error(self) -> Option<Error> {
        let why = self.why.join("; ");
        let some_read = self.lacking.len() < self.why.len();
        let again = if some_read { "; its contents are read again and compared" } else { "" };
        (!self.why.is_empty()).then(|| lost_for(Error::unavailable(format!("{why}{again}")), &self.lacking))
    }
}

/// PostgreSQL's code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// Adds a table to a publication; gives why the server refuses.
async fn add(client: &Client, publication: &str, table: &OutsideTable) -> Result<Option<Error>, End> {
    let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", always_quoted(publication), published_name(table));
    let Err(error) = client.batch_execute(&sql).await else { return Ok(None) };
    let fault = Fault::of(&error);
    let passes = match fault.code.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => false,
        // Dropped a moment ago: whoever looks again sees that.
        Some(UNDEFINED_TABLE) => true,
        _ => fault.kind() == ErrorKind::Unavailable,
    };
    if passes {
        return Err(End::Lost(fault.error(&sql)));
    }
    let what = format!("table {} cannot be added to publication '{publication}'", table.key());
    Ok(Some(
        Error::invalid(format!("{what}: {}", fault.message)).hint(format!("as a superuser: {sql}; then START JOB")),
    ))
}

/// A table as a publication names it: a plain table without the tables that inherit from it, as it is copied too.
pub(super) fn published_name(table: &OutsideTable) -> String {
    let only = if table.partitioned { "" } else { "ONLY " };
    format!("{only}{}.{}", always_quoted(&table.schema), always_quoted(&table.name))
}

/// The error of a table that is not found any more; where it has only another name now, with the statement that gives the
/// old one back.
pub(super) fn called_back(error: Error, table: &CdcTable, listed: &[Listed]) -> Error {
    let [before] = table.outside.as_slice() else { return error };
    let Some(now) = listed.iter().find(|listed| listed.oid == before.oid) else { return error };
    let mut remedy = format!("it is called {}.{} now: ", now.schema, now.name);
    if now.name != before.name {
        let (schema, from, to) = (ident(&now.schema), ident(&now.name), ident(&before.name));
        remedy += &format!("ALTER TABLE {schema}.{from} RENAME TO {to}; ");
    }
    if now.schema != before.schema {
        let (from, name, to) = (ident(&now.schema), ident(&before.name), ident(&before.schema));
        remedy += &format!("ALTER TABLE {from}.{name} SET SCHEMA {to}; ");
    }
    error.hint(remedy + "then START JOB")
}
