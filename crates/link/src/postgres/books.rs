//! The table `gridhouse_sink`, in which a sink keeps how far its target was written, and who claims it.
//!
//! It stands in the schema of the tables that are written, and is made when the first sink there begins. What always holds: a table of
//! an earlier version, or one that an administrator made for a role that may not make tables, does as long as it has the columns that
//! decide what is written. Who claims a sink is for people: where there is no column for it, nothing but a message is poorer. Where there is
//! none for the shape of the target, columns that are changed there are noticed only while a sink is connected.

use gridhouse_base::{Error, ErrorKind, Result};
use tokio_postgres::Client;

use super::client::{Target, always_quoted, ident, outside};
use super::sink_plan::Plan;

/// What a sink does with it.
const NEEDED: [&str; 3] = ["SELECT", "INSERT", "UPDATE"];

/// Its name.
const BOOKKEEPING: &str = "gridhouse_sink";

/// Its name in statements, where it stands in `schema`.
pub(crate) fn name_in(schema: &str) -> String {
    format!("{}.{}", always_quoted(schema), always_quoted(BOOKKEEPING))
}

/// The bookkeeping table of `schema` must be there and the role may use it, or the role may make it.
///
/// # Errors
/// Of the kind `lacking` where the role lacks a right that a `GRANT` gives at any time; with the statement in any case.
pub(crate) async fn check(client: &Client, schema: &str, target: &Target, lacking: ErrorKind) -> Result<()> {
    // A right on some of its columns may be enough: what is refused here, the server refuses for certain.
    let rights = NEEDED.map(|right| format!("has_any_column_privilege(c.oid, '{right}')"));
    let sql = format!(
        "SELECT has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'), c.oid IS NOT NULL, \
         ARRAY[{}] FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = '{BOOKKEEPING}' \
         WHERE n.nspname = $1",
        rights.join(", ")
    );
    let row = client.query_one(&sql, &[&schema]).await.map_err(outside("the rights on the schema cannot be read"))?;
    let (may_use, may_create, is_there): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let (role, name) = (&target.username, format!("{}.{BOOKKEEPING}", ident(schema)));
    if !may_use {
        return Err(Error::new(lacking, format!("role '{role}' lacks USAGE on schema {schema}")).hint(format!(
            "GRANT USAGE ON SCHEMA {} TO {}",
            ident(schema),
            ident(role)
        )));
    }
    if !is_there && !may_create {
        return Err(Error::invalid(format!(
            "role '{role}' may not create the table {schema}.{BOOKKEEPING}, in which a sink keeps how far it was written"
        ))
        .hint(format!("GRANT CREATE ON SCHEMA {} TO {}", ident(schema), ident(role))));
    }
    let has: Vec<Option<bool>> = row.get(3);
    match NEEDED.iter().zip(has).find(|(_, has)| *has == Some(false)) {
        None => Ok(()),
        Some((right, _)) => Err(Error::new(
            lacking,
            format!(
                "role '{role}' lacks {right} on table {schema}.{BOOKKEEPING}, in which a sink keeps how far it was written"
            ),
        )
        .hint(format!("GRANT {} ON {name} TO {}", NEEDED.join(", "), ident(role)))),
    }
}

/// What a bookkeeping table keeps beside what decides what is written.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Its oid: another one under the same name is another table.
    pub oid: u32,
    /// Who claims a sink.
    pub owner: bool,
    /// The columns of the target as they were written.
    pub shape: bool,
}

/// Makes the bookkeeping table where it is missing, and gives one of an earlier version what it lacks. A table that an
/// administrator made for a role that may only write it is taken as it is.
pub(crate) async fn make(client: &Client, books: &str) -> Result<Kept, tokio_postgres::Error> {
    let has = |column: &str| {
        format!(
            "EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = '{column}' AND NOT attisdropped)"
        )
    };
    let sql = format!(
        "SELECT {}, {}, {}, pg_has_role(c.relowner, 'USAGE'), c.oid FROM pg_class c WHERE c.oid = to_regclass($1::text)",
        has("history"),
        has("claimed_by"),
        has("shape")
    );
    let Some(row) = client.query_opt(&sql, &[&books]).await? else {
        let columns = "store text, sink text, target text NOT NULL, upto bigint NOT NULL, epoch bigint NOT NULL, \
                       claimed_at timestamptz NOT NULL DEFAULT now(), history text, claimed_by text, shape text";
        client.batch_execute(&format!("CREATE TABLE {books} ({columns}, PRIMARY KEY (store, sink))")).await?;
        let made = client.query_one("SELECT to_regclass($1::text)::oid", &[&books]).await?;
        return Ok(Kept { oid: made.get(0), owner: true, shape: true });
    };
    let (has_history, has_owner, has_shape): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let is_ours: bool = row.get(3);
    let add = |column: &str| format!("ALTER TABLE {books} ADD COLUMN {column} text");
    if !has_history {
        client.batch_execute(&add("history")).await?;
    }
    if !has_owner && is_ours {
        client.batch_execute(&add("claimed_by")).await?;
    }
    if !has_shape && is_ours {
        client.batch_execute(&add("shape")).await?;
    }
    Ok(Kept { oid: row.get(4), owner: has_owner || is_ours, shape: has_shape || is_ours })
}

/// Who claimed the target of `plan` last, where they left word of it, and when: the same sink under another process, or a sink of
/// another store. `mine` is the store, the sink and the owner that ask.
pub(crate) async fn newest_owner(
    client: &Client,
    plan: &Plan,
    (store, sink, owner): (String, &str, &str),
) -> Option<(Option<String>, String)> {
    // The column may not be there, and then a row as JSON has no such field.
    let sql = format!(
        "SELECT to_jsonb(b) ->> 'claimed_by', claimed_at::text FROM {} b WHERE target = $1 AND (store <> $2 OR sink = $3) \
         AND to_jsonb(b) ->> 'claimed_by' IS DISTINCT FROM $4 ORDER BY claimed_at DESC LIMIT 1",
        plan.bookkeeping()
    );
    let row = client.query_opt(&sql, &[&plan.key(), &store, &sink, &owner]).await;
    row.ok()?.map(|row| (row.get(0), row.get(1)))
}
