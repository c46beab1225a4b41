//! Whether the rows that a sink finds in its table may be written to, from the first commit on or from where it was.
//!
//! What always holds: a sink whose entry in `gridhouse_sink` is gone although it wrote the table, and one whose table another
//! store wrote, never adds to rows that are there: they would be there twice. With a key the rows of another store are taken
//! over, since each is replaced as its key is written; those whose key is never written stay, which is said. A table that no
//! entry speaks of is the user's own, and is added to.

use gridhouse_base::{Error, Result};
use tokio_postgres::Client;

use super::client::{ident, literal, outside};
use super::sink_plan::Plan;

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Nothing.
    None,
    /// Some row.
    Some,
    /// The role may add to the table but not look at it.
    Unseen,
}

/// What the table of `plan` holds.
pub(crate) async fn rows(client: &Client, plan: &Plan) -> Result<Rows, tokio_postgres::Error> {
    let may_look = "SELECT has_table_privilege($1::oid, 'SELECT')";
    if !client.query_one(may_look, &[&plan.oid]).await?.get::<_, bool>(0) {
        return Ok(Rows::Unseen);
    }
    let some = format!("SELECT EXISTS (SELECT FROM {})", plan.name());
    Ok(if client.query_one(&some, &[]).await?.get(0) { Rows::Some } else { Rows::None })
}

/// The sink that claims its table.
pub(crate) struct Asking<'a> {
    /// Its store.
    pub store: &'a str,
    /// Its name.
    pub sink: &'a str,
    /// The role that it writes as.
    pub role: &'a str,
    /// Its store remembers that it had written the table, of which no entry tells any more.
    pub is_lost: bool,
}

/// A sink may begin at the first commit beside the rows that are there.
///
/// # Errors
/// `Conflict` with the statements that empty the table, where rows would be written twice.
pub(crate) async fn check_unwritten(client: &Client, plan: &Plan, rows: Rows, asking: Asking<'_>) -> Result<()> {
    let Asking { store, sink, role, is_lost } = asking;
    if rows == Rows::None {
        return Ok(());
    }
    let (books, table, name) = (plan.bookkeeping(), plan.key(), plan.name());
    if is_lost {
        return Err(match rows {
            Rows::Unseen => unseen(
                plan,
                role,
                format!(
                    "the entry of sink {sink} in {books} is gone, but table {table} may hold rows that it wrote, which role '{role}' may not look at"
                ),
            ),
            _ => Error::conflict(format!(
                "the entry of sink {sink} in {books} is gone, but table {table} holds rows: it was restored without it, or somebody deleted the entry"
            ))
            .hint(format!("empty the table there, and it is written anew: TRUNCATE {name}; then START JOB here")),
        });
    }
    let Some(other) = OtherStore::newest(client, plan, store, None).await? else { return Ok(()) };
    let OtherStore { owner, upto } = other;
    let told = format!("table {table} was written by another data directory{owner} up to commit {upto}");
    let forget = format!("DELETE FROM {books} WHERE target = {} AND store <> {}", literal(&table), literal(store));
    if !plan.key.is_empty() {
        tracing::warn!(
            sink,
            "{told}, and holds rows; those that this one does not write stay; to have none of them, type there \
             `TRUNCATE {name}; {forget}` while the job is stopped"
        );
        return Ok(());
    }
    Err(match rows {
        Rows::Unseen => unseen(plan, role, format!("{told}, and may hold rows, which role '{role}' may not look at")),
        _ => Error::conflict(format!(
            "{told}, and holds rows: it has no key, so that what both write would be there twice"
        ))
        .hint(format!(
            "to have it written anew, type there `TRUNCATE {name}; {forget}`; to add to its rows on purpose, the DELETE alone; \
             then START JOB here"
        )),
    })
}

/// A sink may go on behind the commit `upto` that it wrote itself, having claimed the table at `claimed` the last time: no other
/// store has written it since. What that one added, replaced and deleted nobody would put right.
///
/// # Errors
/// `Conflict` with the statements that lead on, where one has.
pub(crate) async fn check_written(
    client: &Client,
    plan: &Plan,
    rows: Rows,
    Asking { store, role, .. }: Asking<'_>,
    (upto, claimed): (i64, &str),
) -> Result<()> {
    if rows == Rows::None && !plan.key.is_empty() {
        return Ok(());
    }
    let Some(other) = OtherStore::newest(client, plan, store, Some(claimed)).await? else { return Ok(()) };
    let (books, table, name) = (plan.bookkeeping(), plan.key(), plan.name());
    let told = format!(
        "table {table} was written by another data directory{} up to commit {} of its own, since this one wrote it up to commit {upto}",
        other.owner, other.upto
    );
    if rows == Rows::Unseen {
        return Err(unseen(plan, role, told));
    }
    let forget = format!("DELETE FROM {books} WHERE target = {}", literal(&table));
    let others = format!("{forget} AND store <> {}", literal(store));
    let emptied = format!("TRUNCATE {name}");
    let anew = if plan.key.is_empty() { format!("{emptied}; {forget}") } else { emptied };
    Err(Error::conflict(format!("{told}: what that one changed would stay, or be there twice")).hint(format!(
        "to have it written anew, type there `{anew}`; to go on with its rows as they are, type there `{others}`; then START JOB here"
    )))
}

/// Where the role cannot see whether there are rows.
fn unseen(plan: &Plan, role: &str, told: String) -> Error {
    Error::conflict(told).hint(format!(
        "type there `GRANT SELECT ON {}.{} TO {}`; then START JOB here",
        ident(&plan.schema),
        ident(&plan.table),
        ident(role)
    ))
}

/// The entry of another store for the same table.
struct OtherStore {
    /// Who it was, in brackets, where it left word.
    owner: String,
    upto: i64,
}

impl OtherStore {
    /// The one that claimed the table last, of those that have written it and, where a moment is given, claimed it after that.
    async fn newest(client: &Client, plan: &Plan, store: &str, since: Option<&str>) -> Result<Option<Self>> {
        // The column may not be there, and then a row as JSON has no such field.
        let sql = format!(
            "SELECT upto::bigint, to_jsonb(b) ->> 'claimed_by' FROM {} b WHERE target = $1 AND store <> $2 AND upto > 0 \
             AND COALESCE(claimed_at, 'infinity') > COALESCE($3::text::timestamptz, '-infinity') ORDER BY claimed_at DESC LIMIT 1",
            plan.bookkeeping()
        );
        let row = client.query_opt(&sql, &[&plan.key(), &store, &since]).await;
        let row = row.map_err(outside("the entries of other sinks cannot be read"))?;
        let owner = |who: Option<String>| who.map(|who| format!(" ({who})")).unwrap_or_default();
        Ok(row.map(|row| Self { owner: owner(row.get(1)), upto: row.get(0) }))
    }
}
