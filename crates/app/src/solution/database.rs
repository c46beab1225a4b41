//! The PostgreSQL databases of a solution: how they are named and reached, and what their errors say.

use gridhouse_base::{Error, Result};
use tokio_postgres::config::Host;
use tokio_postgres::error::{ErrorPosition, SqlState};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// Stands for the solution's database in a URL that serves several solutions.
pub const PLACE: &str = "{database}";

/// Classes of SQLSTATE that speak of the request, not of the server: unsupported feature, data, constraint, syntax or name,
/// PL/pgSQL. Source: PostgreSQL's manual, appendix A.
const REFUSALS: [&str; 5] = ["0A", "22", "23", "42", "P0"];

/// A row of a result as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A PostgreSQL database that the user named by a URL.
pub struct Database {
    role: &'static str,
    config: Config,
    host: String,
}

/// The two databases of a solution.
pub struct Databases {
    /// Where the business happens.
    pub source: Database,
    /// Where the boards are.
    pub sink: Database,
}

impl Database {
    /// The database at `url`; `role` names it in messages.
    ///
    /// # Errors
    /// `Invalid` where the URL lacks a part or has one that a script cannot hold.
    pub fn parse(role: &'static str, url: &str) -> Result<Self> {
        let hint = "it should be like postgres://user:password@127.0.0.1:5432/database";
        let invalid = |what: &str| Error::invalid(format!("the {role} URL {what}")).hint(hint);
        let config: Config = url.parse().map_err(|_| invalid("cannot be read"))?;
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            [Host::Unix(_)] => return Err(invalid("names a socket; the script needs a host")),
            _ => return Err(invalid("should name one host")),
        };
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(invalid("should name a user and a database"));
        }
        Ok(Self { role, config, host })
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    /// The user.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The password; empty where there is none.
    pub fn password(&self) -> String {
        String::from_utf8_lossy(self.config.get_password().unwrap_or_default()).into_owned()
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// `source database grid at 127.0.0.1:5432`
    pub fn shown(&self) -> String {
        format!("{} database {} at {}:{}", self.role, self.name(), self.host, self.port())
    }

    /// Connects. Texts of dates and instants come as Gridhouse writes them.
    ///
    /// # Errors
    /// `Unavailable` with the server's reason.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|error| self.failed(&error))?;
        // The task ends with the client; what goes wrong on the way is seen by the client's own calls.
        tokio::spawn(connection);
        let settings = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET client_min_messages = 'warning'";
        client.batch_execute(settings).await.map_err(|error| self.failed(&error))?;
        Ok(client)
    }

    /// An error of this database, with the server's own words.
    pub fn failed(&self, error: &tokio_postgres::Error) -> Error {
        let Some(db) = error.as_db_error() else {
            let failed = Error::unavailable(format!("the {} failed", self.shown()));
            return failed.caused_by(error.to_string());
        };
        let failed = match db.code() {
            // The server is there and says what is wrong with the request: trying again does not help.
            code if REFUSALS.contains(&&code.code()[..2]) => Error::invalid(format!("the {} refused", self.shown())),
            _ => Error::unavailable(format!("the {} failed", self.shown())),
        };
        let mut words = db.message().to_owned();
        words.extend(db.detail().map(|detail| format!(" ({detail})")));
        words.extend(db.where_().and_then(|place| place.lines().next()).map(|place| format!(" in {place}")));
        let failed = failed.caused_by(words);
        match (db.hint(), db.code()) {
            (_, code) if *code == SqlState::INVALID_CATALOG_NAME => {
                failed.hint(format!("make it: CREATE DATABASE {};", self.name()))
            }
            (Some(hint), _) => failed.hint(hint),
            (None, _) => failed,
        }
    }

    /// An error of this database in `sql`, which begins in line `first` of the file `path`.
    pub fn failed_in(&self, error: &tokio_postgres::Error, path: &str, first: usize, sql: &str) -> Error {
        let position = error.as_db_error().and_then(|db| db.position()).and_then(|position| match position {
            ErrorPosition::Original(at) => Some(*at as usize),
            ErrorPosition::Internal { .. } => None,
        });
        let before: String = sql.chars().take(position.map_or(0, |at| at.saturating_sub(1))).collect();
        let line = first + before.matches('\n').count();
        let column = position.map(|_| before.chars().rev().take_while(|&c| c != '\n').count() + 1);
        let place = column.map_or(format!("{path}:{line}"), |column| format!("{path}:{line}:{column}"));
        self.failed(error).context(place)
    }

    /// Runs `sql` (any number of statements) and gives the rows of its last query, with the names of their columns.
    ///
    /// # Errors
    /// What the server says.
    pub async fn rows(&self, client: &Client, sql: &str) -> Result<(Vec<String>, Vec<Row>)> {
        rows(client, sql).await.map_err(|error| self.failed(&error))
    }

    /// The one value that `sql` gives; `None` for NULL or no row.
    ///
    /// # Errors
    /// What the server says.
    pub async fn value(&self, client: &Client, sql: &str) -> Result<Option<String>> {
        let (_, rows) = self.rows(client, sql).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }
}

/// Runs `sql` and gives the rows of its last query as text, with the names of their columns.
///
/// # Errors
/// What the server says.
pub async fn rows(client: &Client, sql: &str) -> Result<(Vec<String>, Vec<Row>), tokio_postgres::Error> {
    let (mut names, mut rows) = (Vec::new(), Vec::new());
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns.iter().map(|column| column.name().to_owned()).collect();
                rows.clear();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
            }
            _ => {}
        }
    }
    Ok((names, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_a_part_are_refused_without_their_password() {
        for url in ["nonsense", "postgres://u:geheim@h", "postgres://h/db", "postgres://u:geheim@%2Ftmp/db"] {
            let error = Database::parse("source", url).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
