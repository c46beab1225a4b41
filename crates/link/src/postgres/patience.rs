//! Waiting for a server that may be gone.
//!
//! A statement may take as long as it takes, so no time limit of ours can tell a slow server from a lost connection: between
//! the two ends there may be something that still takes our bytes and passes nothing on. After a silence the server is
//! therefore asked, over a second connection, whether the session works on something, or has done so within that silence: work of many
//! statements may be between two of them. Nor does one work that waits for us to take what it has sent, while nothing of it comes. Only where
//! it does not, or nobody answers there either, is the connection given up. What a lock holds up is not given up here; sessions bound that
//! by `lock_timeout`.

use std::pin::pin;
use std::time::Duration;

use gridhouse_base::{Error, Result};
use tokio_postgres::Client;

use super::client::{Target, outside};

/// An answer may be under way while the server is asked: it gets this much longer.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How long a statement waits for a lock before it fails and is tried again: what holds it is then told.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

impl Target {
    /// Connects as [`Target::connect`] does; with the session's number, under which [`Target::patiently`] asks for it.
    ///
    /// # Errors
    /// `Unavailable` where the server says nothing.
    pub(crate) async fn session(&self) -> Result<(Client, i32)> {
        let made = tokio::time::timeout(self.silence * 2, async {
            let client = self.connect().await?;
            let pid = session_pid(&client).await?;
            Ok((client, pid))
        });
        made.await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Waits for `work`, statements of the session `pid` of the server; `what` names it in the error.
    ///
    /// # Errors
    /// `Unavailable` where the server does not work on it.
    pub(crate) async fn patiently<T>(&self, pid: i32, what: &str, work: impl Future<Output = T>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(self.silence, &mut work).await {
                return Ok(done);
            }
            let Err(gone) = self.check_working(pid).await else { continue };
            return match tokio::time::timeout(UNDER_WAY.min(self.silence), &mut work).await {
                Ok(done) => Ok(done),
                Err(_) => Err(gone.context(what)),
            };
        }
    }

    /// The session works on something, or has of late.
    async fn check_working(&self, pid: i32) -> Result<()> {
        let asked = tokio::time::timeout(self.silence * 2, async {
            let client = self.connect().await?;
            // A server that does not track activities (state `disabled`) can only be known to be there.
            let sql = "SELECT state NOT LIKE 'idle%' AND wait_event IS DISTINCT FROM 'ClientWrite' \
                       OR state_change > now() - make_interval(secs => $2) FROM pg_stat_activity WHERE pid = $1";
            client
                .query_opt(sql, &[&pid, &self.silence.as_secs_f64()])
                .await
                .map_err(outside("the server's sessions cannot be read"))
        });
        match asked.await {
            Err(_) => Err(self.silent()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Some(row))) if row.get::<_, Option<bool>>(0) == Some(true) => Ok(()),
            Ok(Ok(_)) => Err(Error::unavailable(format!(
                "the connection to {} is cut: the server knows nothing of what is waited for",
                self.place()
            ))
            .hint(
                "nothing is lost; if it happens again, look at what is between the two machines (firewall, proxy, NAT)",
            )),
        }
    }

    /// The error for a server that says nothing.
    pub(crate) fn silent(&self) -> Error {
        self.no_answer(&format!("silent for {} s", self.silence.as_secs().max(1)))
    }
}

/// The number of the client's own session at the server.
pub(crate) async fn session_pid(client: &Client) -> Result<i32> {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    Ok(row.map_err(outside("the session's number cannot be read"))?.get(0))
}

/// Who holds a lock on the relation `oid`, for the error of a statement that waited for it in vain.
pub(crate) async fn lock_holder(client: &Client, oid: u32) -> Option<Error> {
    let sql = "SELECT a.pid, a.usename::text, a.application_name::text, (now() - a.xact_start)::text \
               FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
               WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted AND l.mode <> 'AccessShareLock' \
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
               AND a.pid <> pg_backend_pid() ORDER BY a.xact_start LIMIT 1";
    let row = client.query_opt(sql, &[&oid]).await.ok().flatten()?;
    let (pid, user, program, age): (i32, Option<&str>, Option<&str>, Option<&str>) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let (user, program, age) = (user.unwrap_or("?"), program.unwrap_or("?"), age.unwrap_or("?"));
    Some(
        Error::unavailable(format!(
            "a lock on it is held by process {pid} of the server ({user}, {program}), in a transaction open for {age}"
        ))
        .hint(format!("commit that transaction, or end it there: SELECT pg_terminate_backend({pid})")),
    )
}
