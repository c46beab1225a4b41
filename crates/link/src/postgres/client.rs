//! Ordinary connections to PostgreSQL, and what its errors mean to the user.
//!
//! Every session of Gridhouse has the same settings, so that text forms are the same everywhere. Connections are plain TCP;
//! a setting that asks for TLS is refused rather than ignored. The password reaches no message.

use std::fmt;
use std::time::Duration;

use gridhouse_base::{Error, ErrorKind, Result};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};

use super::keywords::is_reserved;

/// How long a connection may take to come about: three lost SYN packets (1 + 2 + 4 s) and some time for the server.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which the kernel probes a connection, how often it does so then, and how long sent bytes may stay
/// unacknowledged: a connection whose other end is gone is noticed within a minute.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// The same asked of the server, so that it notices when we are gone and what we had locked is free again.
const SERVER_KEEPALIVE: &str =
    "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4 -c tcp_user_timeout=40s";

/// How long a server may say nothing to a running statement before it is asked whether it still works on it, where the
/// options do not say: long enough that few statements are asked about, short enough that nobody waits for minutes.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// Settings of every session: the readers of text forms know these forms only.
pub(crate) const SESSION: [(&str, &str); 5] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
];

/// Takes away what limits of time an administrator has set for the role, the database or the server, whichever of them this server
/// knows: contents take as long to copy as they are large, and what is cancelled would be begun again for ever. A server that is gone
/// is noticed by its silence. Sent by itself, and not as options of the connection: servers refuse those that they do not know, and
/// poolers leave them out.
pub(crate) const WITHOUT_LIMITS: &str = "SELECT set_config(name, '0', false) FROM pg_settings WHERE setting <> '0' AND name IN \
    ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";

/// PostgreSQL's code for a role that lacks a right.
pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// PostgreSQL's code where a role, a database or the server has no room for another connection.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// PostgreSQL's own number of connections for replication.
const WAL_SENDERS: u32 = 10;

/// A PostgreSQL server and how to enter it.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it really is; more than one are tried in order.
    pub hosts: Vec<(String, u16)>,
    /// How the script calls it: `host:port`.
    pub shown: String,
    /// The role.
    pub username: String,
    /// The password; none where the server asks for none.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// Of several hosts take one that takes writes.
    pub writable: bool,
    /// How long the server may be silent before it is asked whether it still works, and then is given up.
    pub silence: Duration,
}

/// Never shows the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgresql {}@{}/{}", self.username, self.shown, self.database)
    }
}

impl Target {
    /// `postgresql at host:port`, with the real place where it differs.
    pub(crate) fn place(&self) -> String {
        let real: Vec<String> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let real = real.join(",");
        if real == self.shown {
            format!("postgresql at {real}")
        } else {
            format!("postgresql at {} (mapped to {real})", self.shown)
        }
    }

    /// Connects for work that takes as long as it takes, whatever limits an administrator has set.
    pub(crate) async fn connect(&self) -> Result<Client> {
        let client = self.connect_within_limits().await?;
        let limit = self.silence.min(CONNECT_TIMEOUT * 2);
        match tokio::time::timeout(limit, client.batch_execute(WITHOUT_LIMITS)).await {
            Err(_) => Err(self.no_answer("no answer in time")),
            Ok(Err(error)) => Err(self.connect_error(&Fault::of(&error))),
            Ok(Ok(())) => Ok(client),
        }
    }

    /// Connects; the connection lives on the current runtime and is closed when the client is dropped.
    pub(crate) async fn connect_within_limits(&self) -> Result<Client> {
        let mut config = Config::new();
        for (host, port) in &self.hosts {
            config.host(host).port(*port);
        }
        let settings: Vec<String> = SESSION.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        config
            .user(&self.username)
            .dbname(&self.database)
            .application_name("gridhouse")
            .options(format!("{} {SERVER_KEEPALIVE}", settings.join(" ")))
            .connect_timeout(CONNECT_TIMEOUT.min(self.silence))
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .tcp_user_timeout(USER_TIMEOUT)
            .ssl_mode(SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password);
        }
        if self.writable {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let connected = tokio::time::timeout(self.silence.min(CONNECT_TIMEOUT * 2), config.connect(NoTls)).await;
        let (client, connection) = match connected {
            Err(_) => return Err(self.no_answer("no answer in time")),
            Ok(Err(error)) => return Err(self.connect_error(&Fault::of(&error))),
            Ok(Ok(pair)) => pair,
        };
        // The task ends with the client; an error of the connection shows as an error of the running query.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }

    pub(crate) fn no_answer(&self, why: &str) -> Error {
        Error::unavailable(format!("{} does not answer: {why}", self.place())).hint(
            "check that the server runs and listens there (port, listen_addresses in postgresql.conf), and the host mapping in the settings",
        )
    }

    /// What an error while connecting means.
    pub(crate) fn connect_error(&self, fault: &Fault) -> Error {
        let (place, user, database) = (self.place(), &self.username, &self.database);
        match fault.code.as_deref() {
            None if fault.message.contains("password missing") => {
                Error::invalid(format!("{place} asks for a password of role '{user}' and none is given"))
                    .hint("set the option 'password'")
            }
            None => self.no_answer(&fault.message),
            Some("28P01") => Error::invalid(format!("{place} refuses the password of role '{user}'")).hint(format!(
                "correct 'username' and 'password', or set it there: ALTER ROLE {} PASSWORD '…'",
                ident(user)
            )),
            Some("28000") if fault.message.contains("pg_hba.conf") => {
                Error::invalid(format!("{place}: {}", fault.message))
                    .hint(format!("add a line to pg_hba.conf and reload: host {database} {user} samenet scram-sha-256"))
            }
            Some("28000") => Error::invalid(format!("{place}: {}", fault.message))
                .hint(format!(
                    "let the role log in there: ALTER ROLE {0} LOGIN; or create it: CREATE ROLE {0} LOGIN REPLICATION PASSWORD '…'",
                    ident(user)
                )),
            Some("3D000") => Error::invalid(format!("{place} has no database '{database}'"))
                .hint(format!("correct the name, or create it there: CREATE DATABASE {}", ident(database))),
            Some(INSUFFICIENT_PRIVILEGE) => fault
                .error(&place)
                .hint(format!("GRANT CONNECT ON DATABASE {} TO {}", ident(database), ident(user))),
            Some(TOO_MANY_CONNECTIONS) => Error::unavailable(format!("{place} has no free connection: {}", fault.message))
                .hint(self.more_connections(fault)),
            Some(_) => fault.error(&place),
        }
    }
}

impl Target {
    /// How there are more connections where `fault` says that there are too many. Its text may be in any language.
    fn more_connections(&self, fault: &Fault) -> String {
        let (database, user) = (ident(&self.database), ident(&self.username));
        match fault.routine.as_deref() {
            Some("InitializeSessionUserId") => {
                format!("close some of the role's, or let it have more: ALTER ROLE {user} CONNECTION LIMIT -1")
            }
            Some("CheckMyDatabase") => {
                format!("close some to the database, or let it have more: ALTER DATABASE {database} CONNECTION LIMIT -1")
            }
            _ if fault.message.contains("max_wal_senders") => {
                let digits: String = fault.message.chars().filter(char::is_ascii_digit).collect();
                let more = digits.parse().map_or(WAL_SENDERS, |now: u32| now.saturating_mul(2).max(WAL_SENDERS));
                format!(
                    "stop a standby or another reader of changes (pg_stat_replication has them), or type there: \
                     ALTER SYSTEM SET max_wal_senders = {more}; then restart the server"
                )
            }
            _ => "close some, or raise max_connections there (ALTER SYSTEM SET max_connections = …) and restart the server"
                .to_owned(),
        }
    }
}

/// An error of PostgreSQL or of the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The SQLSTATE; `None`: the connection, not the server.
    pub code: Option<String>,
    /// The message with its detail.
    pub message: String,
    /// The server's own hint.
    pub hint: Option<String>,
    /// The column that the server names.
    pub column: Option<String>,
    /// The function of the server that refused it.
    pub routine: Option<String>,
}

impl Fault {
    /// What is told by an error of an ordinary connection.
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self {
                code: Some(db.code().code().to_owned()),
                message: match db.detail() {
                    Some(detail) => format!("{} ({detail})", db.message()),
                    None => db.message().to_owned(),
                },
                hint: db.hint().map(str::to_owned),
                column: db.column().map(str::to_owned),
                routine: db.routine().map(str::to_owned),
            },
            None => {
                let mut message = error.to_string();
                // The library keeps the reason in its cause; where the text repeats it, once is enough.
                let mut cause = std::error::Error::source(error);
                while let Some(inner) = cause {
                    let text = inner.to_string();
                    if !message.contains(&text) {
                        message = format!("{message}: {text}");
                    }
                    cause = inner.source();
                }
                Self::lost(message)
            }
        }
    }

    /// An error of the way to the server.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), hint: None, column: None, routine: None }
    }

    /// What the caller should do: connections, shutdowns, full disks, conflicts of locks and lacking resources pass by
    /// themselves or are mended outside; all else is wrong in the request.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.code.as_deref() {
            None => ErrorKind::Unavailable,
            Some("55006" | "55P03" | "25006" | "57014" | INSUFFICIENT_PRIVILEGE) => ErrorKind::Unavailable,
            Some(code) => match &code[..2.min(code.len())] {
                "08" | "53" | "57" | "58" | "40" | "28" | "3D" | "XX" => ErrorKind::Unavailable,
                _ => ErrorKind::Invalid,
            },
        }
    }

    /// Whether it is a matter of the connection, of other sessions or of what the server has room for, and not of what was asked:
    /// the same may do a moment later.
    pub(crate) fn passes(&self) -> bool {
        match self.code.as_deref() {
            None | Some("55006" | "55P03") => true,
            // Connections and log-ins; states of a transaction; conflicts; resources; shutdowns and cancelled statements.
            Some(code) => matches!(&code[..2.min(code.len())], "08" | "25" | "28" | "3D" | "40" | "53" | "57"),
        }
    }

    /// The error of the house for it, `context` in front.
    pub(crate) fn error(&self, context: &str) -> Error {
        let error = Error::new(self.kind(), format!("{context}: {}", self.message));
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// Turns an error of a query into one of the house.
pub(crate) fn outside(context: &str) -> impl FnOnce(tokio_postgres::Error) -> Error + '_ {
    move |error| Fault::of(&error).error(context)
}

/// `name` quoted as a PostgreSQL identifier; plain lower-case names that are not reserved stay as they are.
pub(crate) fn ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    if plain { name.to_owned() } else { always_quoted(name) }
}

/// `name` in double quotes, safe for keywords too.
pub(crate) fn always_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a PostgreSQL string literal.
pub(crate) fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
