//! What a slot that does not come about waits for: it is made once every transaction of the cluster that had written something has
//! ended, in whichever database, and those that were prepared for two-phase commit too, which outlive their sessions.
//!
//! Which of them is the oldest is told by its number. Numbers are shown to every role; since when a transaction is open, only to those
//! that may see the sessions of others.

use gridhouse_base::{Error, Result};
use tokio_postgres::{Client, Row};

use super::client::{ident, literal, outside};

const WAITS: &str = "the snapshot of the contents waits for the transactions that run in the source";

/// The error for a slot that waits, with the oldest transaction that runs; `role` is who asks.
///
/// # Errors
/// `Unavailable` where the server does not answer.
pub(super) async fn oldest(client: &Client, role: &str) -> Result<Error> {
    let sql = "SELECT pid, who, open, gid, base FROM ( \
               SELECT age(backend_xid), pid, usename::text AS who, (now() - xact_start)::text AS open, NULL AS gid, datname::text AS base \
               FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
               UNION ALL SELECT age(transaction), 0, owner::text, (now() - prepared)::text, gid, database::text FROM pg_prepared_xacts \
               ) running ORDER BY age DESC LIMIT 1";
    let found = client.query_opt(sql, &[]).await.map_err(outside(WAITS))?;
    Ok(found.map_or_else(|| Error::unavailable(WAITS), |row| told(&row, role)))
}

fn told(row: &Row, role: &str) -> Error {
    let text = |i: usize| row.get::<_, Option<&str>>(i);
    let (pid, who, open): (i32, &str, Option<&str>) = (row.get(0), text(1).unwrap_or("?"), text(2));
    if let Some(gid) = text(3) {
        let (gid, base, open) = (literal(gid), text(4).unwrap_or("?"), open.unwrap_or("?"));
        return Error::unavailable(format!(
            "{WAITS}; the oldest is the prepared transaction {gid} ({who}), open for {open}"
        ))
        .hint(format!(
            "in database {base}, as {who} or a superuser: COMMIT PREPARED {gid}, or to undo it: ROLLBACK PREPARED {gid}"
        ));
    }
    let ended = format!("commit it, or end it there: SELECT pg_terminate_backend({pid})");
    match open {
        Some(open) => {
            Error::unavailable(format!("{WAITS}; the oldest is that of process {pid} ({who}), open for {open}"))
                .hint(ended)
        }
        None => Error::unavailable(format!(
            "{WAITS}; the oldest is that of process {pid} ({who}), open since a time that is not shown to role '{role}'"
        ))
        .hint(format!("to be shown what it does: GRANT pg_read_all_stats TO {}; {ended}", ident(role))),
    }
}
