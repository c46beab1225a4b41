//! The options of `jdbc`: Flink's own keys. What a key does depends on whether the table is written or read.

use std::time::Duration;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result};

use super::client::Target;
use super::url;
use crate::hosts::HostMap;
use crate::options::{Keys, Options, Use};

const READING: &str = "it concerns reading, and the table is written";
const WRITING: &str = "it concerns writing, and the table is read";
const BUFFER: &str = "rows are written as soon as their commit is durable, each commit once";
const RETRIED: &str = "a lost connection is tried again for as long as the job runs";
const STREAMED: &str = "rows are streamed with bounded memory, whatever their number";

const PREFIXES: &[(&str, &str)] = &[("properties.", "the connection is not JDBC's own")];

/// Every key of Flink's `jdbc`, for a table that is written.
static WRITTEN: Keys = Keys {
    connector: "jdbc",
    known: &[
        ("url", Use::Effect),
        ("table-name", Use::Effect),
        ("username", Use::Effect),
        ("password", Use::Effect),
        ("driver", Use::Effect),
        ("compatible-mode", Use::Noted("PostgreSQL has one")),
        ("connection.max-retry-timeout", Use::Noted(RETRIED)),
        ("sink.buffer-flush.max-rows", Use::Noted(BUFFER)),
        ("sink.buffer-flush.interval", Use::Noted(BUFFER)),
        ("sink.max-retries", Use::Noted("a failed write is tried again for as long as the job runs")),
        ("sink.parallelism", Use::Noted("a sink has one writer")),
        ("scan.partition.column", Use::Noted(READING)),
        ("scan.partition.num", Use::Noted(READING)),
        ("scan.partition.lower-bound", Use::Noted(READING)),
        ("scan.partition.upper-bound", Use::Noted(READING)),
        ("scan.fetch-size", Use::Noted(READING)),
        ("scan.auto-commit", Use::Noted(READING)),
        ("scan.parallelism", Use::Noted(READING)),
        ("lookup.cache", Use::Noted(READING)),
        ("lookup.cache.max-rows", Use::Noted(READING)),
        ("lookup.cache.ttl", Use::Noted(READING)),
        ("lookup.cache.caching-missing-key", Use::Noted(READING)),
        ("lookup.max-retries", Use::Noted(READING)),
        ("lookup.partial-cache.max-rows", Use::Noted(READING)),
        ("lookup.partial-cache.expire-after-write", Use::Noted(READING)),
        ("lookup.partial-cache.expire-after-access", Use::Noted(READING)),
        ("lookup.partial-cache.cache-missing-key", Use::Noted(READING)),
        ("filter.handling.policy", Use::Noted(READING)),
    ],
    prefixes: PREFIXES,
};

/// The same keys, for a table that is read.
static READ: Keys = Keys {
    connector: "jdbc",
    known: &[
        ("url", Use::Effect),
        ("table-name", Use::Effect),
        ("username", Use::Effect),
        ("password", Use::Effect),
        ("driver", Use::Effect),
        ("compatible-mode", Use::Noted("PostgreSQL has one")),
        ("connection.max-retry-timeout", Use::Noted(RETRIED)),
        ("sink.buffer-flush.max-rows", Use::Noted(WRITING)),
        ("sink.buffer-flush.interval", Use::Noted(WRITING)),
        ("sink.max-retries", Use::Noted(WRITING)),
        ("sink.parallelism", Use::Noted(WRITING)),
        ("scan.partition.column", Use::Effect),
        ("scan.partition.num", Use::Effect),
        ("scan.partition.lower-bound", Use::Effect),
        ("scan.partition.upper-bound", Use::Effect),
        ("scan.fetch-size", Use::Noted(STREAMED)),
        ("scan.auto-commit", Use::Noted(STREAMED)),
        ("scan.parallelism", Use::Noted("there is one reader")),
        ("lookup.cache", Use::Effect),
        ("lookup.cache.max-rows", Use::Effect),
        ("lookup.cache.ttl", Use::Effect),
        ("lookup.cache.caching-missing-key", Use::Effect),
        ("lookup.max-retries", Use::Effect),
        ("lookup.partial-cache.max-rows", Use::Effect),
        ("lookup.partial-cache.expire-after-write", Use::Effect),
        ("lookup.partial-cache.expire-after-access", Use::Effect),
        ("lookup.partial-cache.cache-missing-key", Use::Effect),
        ("filter.handling.policy", Use::Noted("conditions are evaluated by the server wherever its answer is ours")),
    ],
    prefixes: PREFIXES,
};

/// Where the table is.
#[derive(Clone, Debug)]
pub(crate) struct JdbcOptions {
    /// The server.
    pub target: Target,
    /// The table's schema where it is named.
    pub schema: Option<String>,
    /// The table's name.
    pub table: String,
}

/// What the options of a table that is read say.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    /// Where the table is.
    pub place: JdbcOptions,
    /// Only rows whose column is within the bounds, both included: Flink reads no others either.
    pub partition: Option<Partition>,
    /// What a look-up remembers, and how often it tries.
    pub lookup: LookupOptions,
}

/// `scan.partition.*`
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// The column.
    pub column: String,
    /// The least value that is read.
    pub lower: i64,
    /// The greatest value that is read.
    pub upper: i64,
}

/// `lookup.*`
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupOptions {
    /// How often a look-up is tried again when the server does not answer.
    pub max_retries: u64,
    /// What is remembered; `None`: nothing.
    pub cache: Option<CacheOptions>,
}

/// What a look-up remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheOptions {
    /// How many rows at most; a key without rows counts as one.
    pub max_rows: u64,
    /// How long after it was read.
    pub after_write: Option<Duration>,
    /// How long after it was last used.
    pub after_access: Option<Duration>,
    /// Whether it is remembered that a key has no rows.
    pub missing: bool,
}

/// Rows that a cache holds where the options set no limit: some hundred megabytes of usual rows.
const CACHED_ROWS: u64 = 1_000_000;

/// Flink's default of `lookup.max-retries`.
const MAX_RETRIES: u64 = 3;

impl JdbcOptions {
    /// The options of a table that is written.
    pub(crate) fn written(definition: &TableDef, hosts: &HostMap, notices: &mut Vec<String>) -> Result<Self> {
        Self::of(&Options::check(&WRITTEN, &definition.options, notices)?, hosts)
    }

    fn of(options: &Options<'_>, hosts: &HostMap) -> Result<Self> {
        if let Some(driver) = options.get("driver").filter(|driver| *driver != "org.postgresql.Driver") {
            return Err(Error::invalid(format!(
                "option 'driver' is '{driver}', and connector 'jdbc' is for PostgreSQL only"
            ))
            .hint("leave 'driver' out, or write 'org.postgresql.Driver'"));
        }
        let url = url::read(options.required("url")?, options.get("username"), options.get("password"), hosts)?;
        let name = options.required("table-name")?;
        let (schema, table) = match name.split_once('.') {
            Some((schema, table)) => (Some(unquoted(schema)), unquoted(table)),
            None => (url.schema, unquoted(name)),
        };
        Ok(Self { target: url.target, schema, table })
    }
}

fn unquoted(name: &str) -> String {
    let name = name.trim();
    name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name).replace("\"\"", "\"")
}

impl ReadOptions {
    /// The options of a table that is read.
    pub(crate) fn read(definition: &TableDef, hosts: &HostMap, notices: &mut Vec<String>) -> Result<Self> {
        let options = Options::check(&READ, &definition.options, notices)?;
        Ok(Self {
            place: JdbcOptions::of(&options, hosts)?,
            partition: partition(&options)?,
            lookup: lookup(&options)?,
        })
    }
}

fn partition(options: &Options<'_>) -> Result<Option<Partition>> {
    const KEYS: [&str; 4] =
        ["scan.partition.column", "scan.partition.num", "scan.partition.lower-bound", "scan.partition.upper-bound"];
    let Some(missing) = KEYS.iter().find(|key| options.get(key).is_none()) else {
        options.number(KEYS[1], 1)?;
        let (lower, upper) = (options.integer(KEYS[2], i64::MIN)?, options.integer(KEYS[3], i64::MAX)?);
        if lower > upper {
            return Err(Error::invalid(format!("option '{}' is {lower}, above '{}' = {upper}", KEYS[2], KEYS[3]))
                .hint("swap them"));
        }
        return Ok(Some(Partition { column: options.required(KEYS[0])?.to_owned(), lower, upper }));
    };
    match KEYS.iter().find(|key| options.get(key).is_some()) {
        None => Ok(None),
        Some(given) => Err(Error::invalid(format!("option '{given}' stands without '{missing}'"))
            .hint(format!("name all of {}, or none", KEYS.join(", ")))),
    }
}

fn lookup(options: &Options<'_>) -> Result<LookupOptions> {
    let time = |key| options.get(key).map(|_| options.duration(key, Duration::ZERO)).transpose();
    let limit = |key| options.number(key, CACHED_ROWS);
    let cache = if options.word("lookup.cache", "NONE", &["NONE", "PARTIAL"])? == "PARTIAL" {
        Some(CacheOptions {
            max_rows: limit("lookup.partial-cache.max-rows")?,
            after_write: time("lookup.partial-cache.expire-after-write")?,
            after_access: time("lookup.partial-cache.expire-after-access")?,
            missing: options.flag("lookup.partial-cache.cache-missing-key", true)?,
        })
    } else if options.integer("lookup.cache.max-rows", -1)? > 0 {
        // The older keys: both limits together, the time with a default.
        let ttl = options.duration("lookup.cache.ttl", Duration::from_secs(10))?;
        (!ttl.is_zero())
            .then(|| -> Result<_> {
                Ok(CacheOptions {
                    max_rows: limit("lookup.cache.max-rows")?,
                    after_write: Some(ttl),
                    after_access: None,
                    missing: options.flag("lookup.cache.caching-missing-key", true)?,
                })
            })
            .transpose()?
    } else {
        None
    };
    Ok(LookupOptions { max_retries: options.number("lookup.max-retries", MAX_RETRIES)?, cache })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::table::ObjectPath;
    use gridhouse_base::{Column, Schema, TypeKind};

    fn read(pairs: &[(&str, &str)]) -> Result<ReadOptions> {
        let base = [("url", "jdbc:postgresql://h/d"), ("table-name", "s.t"), ("username", "u")];
        let definition = TableDef {
            path: ObjectPath::new("c", "d", "t"),
            schema: Schema::new(vec![Column::new("id", TypeKind::Int.nullable())]),
            column_kinds: vec![gridhouse_base::table::ColumnKind::Physical],
            primary_key: vec![],
            partitioned_by: vec![],
            watermark: None,
            options: base.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            comment: None,
        };
        ReadOptions::read(&definition, &HostMap::default(), &mut Vec::new())
    }

    #[test]
    fn caches_by_new_and_old_keys() {
        assert!(read(&[]).unwrap().lookup.cache.is_none());
        let new = read(&[("lookup.cache", "partial"), ("lookup.partial-cache.expire-after-access", "5 min")]).unwrap();
        let cache = new.lookup.cache.unwrap();
        assert_eq!((cache.max_rows, cache.after_access), (CACHED_ROWS, Some(Duration::from_secs(300))));
        let old = read(&[("lookup.cache.max-rows", "100")]).unwrap().lookup.cache.unwrap();
        assert_eq!((old.max_rows, old.after_write, old.missing), (100, Some(Duration::from_secs(10)), true));
        assert!(read(&[("lookup.cache.max-rows", "100"), ("lookup.cache.ttl", "0 s")]).unwrap().lookup.cache.is_none());
        assert!(read(&[("lookup.cache", "FULL")]).unwrap_err().message().contains("'FULL'"));
    }

    #[test]
    fn partitions_need_all_their_keys() {
        let error = read(&[("scan.partition.column", "id")]).unwrap_err();
        assert_eq!(error.message(), "option 'scan.partition.column' stands without 'scan.partition.num'");
        let all = [
            ("scan.partition.column", "id"),
            ("scan.partition.num", "3"),
            ("scan.partition.lower-bound", "-5"),
            ("scan.partition.upper-bound", "10"),
        ];
        assert_eq!(read(&all).unwrap().partition.unwrap().lower, -5);
    }
}
