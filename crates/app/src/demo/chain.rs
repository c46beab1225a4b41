//! The databases of the example: how they are named, reached and prepared, and the script with their names filled in.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use gridhouse_base::{Error, Result};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

const SOURCE_SQL: &str = include_str!("../../../../solutions/first-chain/source.sql");
const SINK_SQL: &str = include_str!("../../../../solutions/first-chain/sink.sql");
const PIPELINE_SQL: &str = include_str!("../../../../solutions/first-chain/pipeline.sql");

/// The regions in which devices stand.
pub const REGIONS: [&str; 7] = ["华东", "华北", "华中", "华南", "西北", "东北", "西南"];

/// The types of devices.
pub const DEVICE_TYPES: [&str; 5] = ["变压器", "输电线路", "断路器", "发电机组", "储能站"];

/// How many readings a device keeps.
pub const SLOTS: u32 = 4;

/// A Fluss address at which nothing needs to be: the catalog is a name for the embedded store.
const FLUSS: &str = "fluss-coordinator:9123";

/// A PostgreSQL database that the user named by a URL.
pub struct Database {
    role: &'static str,
    config: Config,
    host: String,
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

    fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    fn name(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// `source database grid at 127.0.0.1:5432`
    fn shown(&self) -> String {
        format!("{} database {} at {}:{}", self.role, self.name(), self.host, self.port())
    }

    /// Connects.
    ///
    /// # Errors
    /// `Unavailable` with the server's reason.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|error| self.failed(error))?;
        // The task ends with the client; what goes wrong on the way is seen by the client's own calls.
        tokio::spawn(connection);
        Ok(client)
    }

    /// An error of this database, with the server's own words.
    pub fn failed(&self, error: tokio_postgres::Error) -> Error {
        let words = error.as_db_error().map(|db| db.message().to_owned());
        let failed = Error::unavailable(format!("the {} failed", self.shown()));
        match words {
            Some(words) => failed.caused_by(words),
            None => failed.caused_by(error),
        }
    }

    /// Runs `sql` (any number of statements) and gives the rows of its last query, with the names of their columns.
    ///
    /// # Errors
    /// `Unavailable` with the server's reason.
    pub async fn rows(&self, client: &Client, sql: &str) -> Result<(Vec<String>, Vec<Vec<Option<String>>>)> {
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        for message in client.simple_query(sql).await.map_err(|error| self.failed(error))? {
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

    /// The one value that `sql` gives.
    ///
    /// # Errors
    /// As [`Database::rows`].
    pub async fn value(&self, client: &Client, sql: &str) -> Result<String> {
        let (_, rows) = self.rows(client, sql).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default())
    }
}

/// Makes the tables, fills the source where it is empty, and writes the script to `output`.
///
/// # Errors
/// `Unavailable` where a database or the disk refuses; `Invalid` where the source does not allow logical decoding.
pub async fn prepare(source: &Database, sink: &Database, size: u32, output: &Path) -> Result<()> {
    let client = source.connect().await?;
    let wal_level = source.value(&client, "SHOW wal_level").await?;
    if wal_level != "logical" {
        let error = Error::invalid(format!("wal_level of the {} is {wal_level}, not logical", source.shown()));
        return Err(error.hint("run `ALTER SYSTEM SET wal_level = logical` there as superuser and restart the server"));
    }
    client.batch_execute(SOURCE_SQL).await.map_err(|error| source.failed(error))?;
    let present = source.value(&client, "SELECT COUNT(*) FROM devices").await?;
    if present == "0" {
        client.batch_execute(&fill(size)).await.map_err(|error| source.failed(error))?;
        println!("filled the {} with {size} devices and {} readings", source.shown(), size * SLOTS);
    } else {
        println!("the {} holds {present} devices already", source.shown());
    }
    let client = sink.connect().await?;
    client.batch_execute(SINK_SQL).await.map_err(|error| sink.failed(error))?;
    println!("the {} is ready", sink.shown());
    write_script(source, sink, output)
        .map_err(|error| Error::unavailable(format!("{} cannot be written", output.display())).caused_by(error))
}

/// The SQL that fills the source with `size` devices. The same at any place: values come from the device's number.
fn fill(size: u32) -> String {
    let array = |items: &[&str]| items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
    let (regions, types) = (array(&REGIONS), array(&DEVICE_TYPES));
    let (region_count, type_count) = (REGIONS.len(), DEVICE_TYPES.len());
    // 7919 and 104729 are primes: neighbouring devices get values that look unrelated.
    format!(
        "BEGIN;
         INSERT INTO devices
           SELECT i, (ARRAY[{types}])[1 + i * 31 % {type_count}] || '-' || lpad(i::text, 6, '0'),
                  (ARRAY[{regions}])[1 + i * 7919 % {region_count}], (ARRAY[{types}])[1 + i * 31 % {type_count}],
                  100 + i * 104729 % 9000 / 10.0, 'online', TIMESTAMP '2026-01-01'
           FROM generate_series(1::bigint, {size}) i;
         INSERT INTO readings
           SELECT i, s, round((100 + i * 104729 % 9000 / 10.0) * (30 + (i * 13 + s * 7919) % 55) / 100.0, 2),
                  220 + (i * 17 + s) % 20 / 10.0, 20 + (i * 7 + s * 11) % 500 / 10.0,
                  TIMESTAMP '2026-01-01' + s * INTERVAL '15 minutes'
           FROM generate_series(1::bigint, {size}) i, generate_series(0, {SLOTS} - 1) s;
         COMMIT;
         ANALYZE devices, readings, alarms;"
    )
}

/// The script with the databases' names in place of its `@…@`, readable by the owner alone: it holds passwords.
fn write_script(source: &Database, sink: &Database, output: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut text = PIPELINE_SQL.replace("@FLUSS@", FLUSS);
    for (prefix, database) in [("SOURCE", source), ("SINK", sink)] {
        let password = String::from_utf8_lossy(database.config.get_password().unwrap_or_default()).into_owned();
        let port = database.port().to_string();
        let user = database.config.get_user().unwrap_or_default();
        let parts = [
            ("HOST", database.host.as_str()),
            ("PORT", &port),
            ("USER", user),
            ("PASSWORD", &password),
            ("DATABASE", database.name()),
        ];
        for (part, value) in parts {
            text = text.replace(&format!("@{prefix}_{part}@"), &value.replace('\'', "''"));
        }
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(output)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_gets_every_name_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("pipeline.sql");
        let source = Database::parse("source", "postgres://u:it's@h1:6543/grid").unwrap();
        let sink = Database::parse("sink", "postgresql://v@h2/boards").unwrap();
        write_script(&source, &sink, &output).unwrap();
        let text = std::fs::read_to_string(&output).unwrap();
        assert!(!text.replace("@…@", "").contains('@'), "every place is filled in");
        for expected in
            ["'hostname' = 'h1', 'port' = '6543'", "'password' = 'it''s'", "jdbc:postgresql://h2:5432/boards"]
        {
            assert!(text.contains(expected), "{expected}");
        }
        assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn urls_without_a_part_are_refused_without_their_password() {
        for url in ["nonsense", "postgres://u:geheim@h", "postgres://h/db", "postgres://u:geheim@%2Ftmp/db"] {
            let error = Database::parse("source", url).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
