//! How the server forgets a stream that is nobody's any more: its replication slot is dropped, which holds back WAL, and the
//! publication that was made for it.
//!
//! Only what is the stream's own goes: a slot of its kind in its database on its cluster that nobody else reads by now, and the
//! publication only where the role owns it and the options do not name it.

use std::time::Duration;

use gridhouse_base::{Error, ErrorKind, Result};
use gridhouse_flow::connector::StreamPlace;
use tokio_postgres::Client;

use super::cdc_options::CdcOptions;
use super::client::{Fault, always_quoted, ident, literal, outside};
use super::describe;
use super::patience::LOCK_WAIT;
use super::stream::session_name;

/// How often a slot that is still in use is tried to be dropped, and the pause between two attempts: the server's process ends
/// within moments of our own connection, or a few seconds where it is in the midst of decoding.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);

/// How long all of it may take at most, apart from connecting.
const PATIENCE: Duration = Duration::from_secs(20);

/// PostgreSQL's code for a slot that is in use.
const IN_USE: &str = "55006";

/// Drops slot and publication of a stream.
///
/// # Errors
/// Why they are there still, with the statement that drops the slot; `Invalid` where the server refuses the connection.
pub(super) async fn forget(stream: StreamPlace<'_>, options: &CdcOptions) -> Result<()> {
    let connected = options.target.connect().await;
    let is_refused = connected.as_ref().is_err_and(|error| error.kind() == ErrorKind::Invalid);
    let dropped = match connected {
        Ok(client) => {
            let drop = tokio::time::timeout(PATIENCE, drop_all(&client, stream, options)).await;
            drop.unwrap_or_else(|_| Err(options.target.silent()))
        }
        Err(error) => Err(error),
    };
    dropped.map_err(|error| {
        let (slot, place) = (&options.slot, options.target.place());
        let what =
            format!("replication slot '{slot}' of {place} is not dropped yet, and holds back WAL there: {error}");
        let remedy = error.remedy().map(|remedy| format!("{remedy}; ")).unwrap_or_default();
        let statement = format!("SELECT pg_drop_replication_slot({})", literal(slot));
        match is_refused {
            true => Error::invalid(what).hint(format!(
                "{remedy}where the options are to be corrected, run the INSERT with them, and DROP JOB again; or type there: \
                 {statement}; it is tried again in an hour, and at the next start"
            )),
            false => Error::unavailable(what).hint(format!("{remedy}it is tried again; or type there: {statement}")),
        }
    })
}

async fn drop_all(client: &Client, stream: StreamPlace<'_>, options: &CdcOptions) -> Result<()> {
    let limits = format!("SET lock_timeout = {}", LOCK_WAIT.min(options.target.silence / 2).as_millis());
    client.batch_execute(&limits).await.map_err(outside("the session cannot be set up"))?;
    let server = describe::server(client).await?;
    if server.in_recovery {
        return Err(Error::unavailable("it is a standby, and slots are the primary's")
            .hint("promote it, or start the primary there"));
    }
    if describe::stream_key(&server, options) != stream.key {
        let (slot, key) = (&options.slot, stream.key);
        tracing::warn!(
            "{} is another cluster than the one that stream {key} was read from: where that one still stands, type there \
             SELECT pg_drop_replication_slot({})",
            options.target.place(),
            literal(slot)
        );
        return Ok(());
    }
    if let Some(pid) = drop_slot(client, &options.slot, &session_name(stream.store)).await? {
        let (slot, place) = (&options.slot, options.target.place());
        tracing::warn!(
            "replication slot '{slot}' of {place} has another reader by now (the server's process {pid}), and stays"
        );
        return Ok(());
    }
    if options.publication.is_some() {
        return Ok(());
    }
    let publication = options.publication();
    let own = "SELECT 1 FROM pg_publication p JOIN pg_roles r ON r.oid = p.pubowner \
               WHERE p.pubname = $1 AND r.rolname = current_user";
    let own = client.query_opt(own, &[&publication]).await.map_err(outside("the publications cannot be read"))?;
    if own.is_none() {
        return Ok(());
    }
    let drop = format!("DROP PUBLICATION IF EXISTS {}", always_quoted(&publication));
    client.batch_execute(&drop).await.map_err(outside(&drop))
}

/// Drops the slot, unless others than `own` read it; gives the server's process that does so for them.
async fn drop_slot(client: &Client, slot: &str, own: &str) -> Result<Option<i32>> {
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = current_database()";
    let mut attempts = 1;
    loop {
        let Err(error) = client.query(drop, &[&slot]).await else { return Ok(None) };
        let fault = Fault::of(&error);
        let is_in_use = fault.code.as_deref() == Some(IN_USE);
        if is_in_use && let Some(pid) = other_reader(client, slot, own).await? {
            return Ok(Some(pid));
        }
        if !is_in_use || attempts == ATTEMPTS {
            let error = fault.error("it cannot be dropped");
            return Err(match fault.code.as_deref() {
                Some("42501") => {
                    let row = client.query_one("SELECT current_user::text", &[]).await;
                    let user: String = row.map_err(outside("the role cannot be read"))?.get(0);
                    error.hint(format!("ALTER ROLE {} REPLICATION", ident(&user)))
                }
                _ => error,
            });
        }
        attempts += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The server's process that reads the slot for others than `own`: of theirs a role without rights sees no name.
async fn other_reader(client: &Client, slot: &str, own: &str) -> Result<Option<i32>> {
    let sql = "SELECT a.pid FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
               WHERE s.slot_name = $1 AND a.application_name IS DISTINCT FROM $2";
    let found = client.query_opt(sql, &[&slot, &own]).await.map_err(outside("the replication slots cannot be read"))?;
    Ok(found.map(|row| row.get(0)))
}
