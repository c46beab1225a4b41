//! The options of `postgres-cdc`: Flink CDC's own keys.

use std::time::Duration;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result};
use regex::{Regex, RegexBuilder};

use super::client::{SILENCE, Target};
use crate::hosts::HostMap;
use crate::options::{Keys, Options, Use};

const CHUNKS: &str = "contents are copied under one snapshot, not in chunks";
const POOL: &str = "a stream has one connection, and one more while contents are copied";

/// Every key of Flink CDC's `postgres-cdc`, and `slot.sharing`, which is ours.
static KEYS: Keys = Keys {
    connector: "postgres-cdc",
    known: &[
        ("hostname", Use::Effect),
        ("port", Use::Effect),
        ("username", Use::Effect),
        ("password", Use::Effect),
        ("database-name", Use::Effect),
        ("schema-name", Use::Effect),
        ("table-name", Use::Effect),
        ("slot.name", Use::Effect),
        ("slot.sharing", Use::Effect),
        ("decoding.plugin.name", Use::Effect),
        ("scan.startup.mode", Use::Effect),
        ("scan.incremental.snapshot.enabled", Use::Effect),
        ("heartbeat.interval.ms", Use::Effect),
        ("changelog-mode", Use::Effect),
        ("on-error", Use::Effect),
        ("debezium.publication.name", Use::Effect),
        ("scan.incremental.snapshot.chunk.size", Use::Noted(CHUNKS)),
        ("scan.incremental.snapshot.chunk.key-column", Use::Noted(CHUNKS)),
        ("scan.incremental.snapshot.backfill.skip", Use::Noted(CHUNKS)),
        ("scan.incremental.snapshot.unbounded-chunk-first.enabled", Use::Noted(CHUNKS)),
        ("scan.incremental.close-idle-reader.enabled", Use::Noted(CHUNKS)),
        ("scan.snapshot.fetch.size", Use::Noted(CHUNKS)),
        ("scan.read-changelog-as-append-only.enabled", Use::Noted("changes are delivered as changes")),
        ("scan.newly-added-table.enabled", Use::Noted("tables may be added at any time")),
        ("scan.lsn-commit.checkpoints-num-delay", Use::Noted("a position is acknowledged as soon as it is durable")),
        (
            "scan.include-partitioned-tables.enabled",
            Use::Noted("partitioned tables are always read through their root"),
        ),
        ("table-id.include-database", Use::Noted("it concerns pipelines only")),
        ("chunk-meta.group.size", Use::Noted(CHUNKS)),
        ("chunk-key.even-distribution.factor.upper-bound", Use::Noted(CHUNKS)),
        ("chunk-key.even-distribution.factor.lower-bound", Use::Noted(CHUNKS)),
        ("split-key.even-distribution.factor.upper-bound", Use::Noted(CHUNKS)),
        ("split-key.even-distribution.factor.lower-bound", Use::Noted(CHUNKS)),
        ("connect.timeout", Use::Effect),
        ("connect.max-retries", Use::Noted("a lost connection is tried again for as long as the job runs")),
        ("connection.pool.size", Use::Noted(POOL)),
        ("property-version", Use::Noted("there is one version")),
    ],
    prefixes: &[("debezium.", "the stream is read by Gridhouse itself, not by Debezium"), ("jdbc.properties.", POOL)],
};

/// How often an idle stream reports its position where the option does not say: Flink CDC's own 30 s.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A server that is busy may well be silent for less than this: Flink CDC's own lower bound of `connect.timeout`.
const LEAST_SILENCE: Duration = Duration::from_millis(250);

/// Where a table begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Startup {
    /// With its contents.
    Initial,
    /// Empty, with the changes from now on.
    Latest,
    /// Empty, with the changes since the slot's acknowledged position.
    Committed,
}

/// The options of one source table.
#[derive(Clone, Debug)]
pub(crate) struct CdcOptions {
    /// The server.
    pub target: Target,
    /// The pattern of schemas, as written.
    pub schemas: String,
    /// The pattern of tables, as written.
    pub tables: String,
    /// The replication slot.
    pub slot: String,
    /// The publication that the user wants, if any.
    pub publication: Option<String>,
    /// Whether tables of the database share one stream.
    pub sharing: bool,
    /// Where the table begins.
    pub startup: Startup,
    /// How often an idle stream reports its position.
    pub heartbeat: Duration,
    /// Whether rows that do not fit their declared types are kept apart, instead of ending the stream.
    pub dead_letters: bool,
}

impl CdcOptions {
    /// Reads and checks the options of `definition`.
    pub(crate) fn read(definition: &TableDef, hosts: &HostMap, notices: &mut Vec<String>) -> Result<Self> {
        let options = Options::check(&KEYS, &definition.options, notices)?;
        let hostname = options.required("hostname")?;
        let port = u16::try_from(options.number("port", 5432)?)
            .map_err(|_| Error::invalid("option 'port' is larger than 65535").hint("PostgreSQL's own port is 5432"))?;
        let plugin = options.get("decoding.plugin.name").unwrap_or("pgoutput");
        match plugin {
            "pgoutput" => {}
            "decoderbufs" | "wal2json" | "wal2json_rds" | "wal2json_streaming" | "wal2json_rds_streaming" => {
                notices.push(format!("pgoutput is used in place of the plug-in '{plugin}'; it needs no installation"));
            }
            other => {
                return Err(
                    Error::invalid(format!("option 'decoding.plugin.name' is '{other}'")).hint("write 'pgoutput'")
                );
            }
        }
        if !options.flag("scan.incremental.snapshot.enabled", true)? {
            notices
                .push("contents are copied without locks, as with 'scan.incremental.snapshot.enabled' = 'true'".into());
        }
        if options.word("changelog-mode", "all", &["all", "upsert"])? == "upsert" && definition.primary_key.is_empty() {
            return Err(Error::invalid("option 'changelog-mode' is 'upsert' and the table has no primary key")
                .hint("declare PRIMARY KEY (…) NOT ENFORCED, or leave the option out"));
        }
        let startup = match options.word(
            "scan.startup.mode",
            "initial",
            &[
                "initial",
                "latest-offset",
                "committed-offset",
                "snapshot",
                "earliest-offset",
                "timestamp",
                "specific-offset",
            ],
        )? {
            "initial" => Startup::Initial,
            "latest-offset" => Startup::Latest,
            "committed-offset" => Startup::Committed,
            other => {
                return Err(Error::invalid(format!("'scan.startup.mode' = '{other}' is not supported"))
                    .hint("write 'initial' (contents, then changes), 'latest-offset' or 'committed-offset'"));
            }
        };
        let slot = options.get("slot.name").unwrap_or("gridhouse").to_owned();
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if slot.is_empty() || slot.len() > 63 || !slot.chars().all(fine) {
            return Err(Error::invalid(format!("'{slot}' is not a name for a replication slot"))
                .hint("'slot.name' takes 1 to 63 lower-case letters, digits and underscores"));
        }
        Ok(Self {
            target: Target {
                hosts: vec![hosts.resolve(hostname, port)],
                shown: format!("{hostname}:{port}"),
                username: options.required("username")?.to_owned(),
                password: options.get("password").map(str::to_owned),
                database: options.required("database-name")?.to_owned(),
                writable: false,
                silence: options.duration("connect.timeout", SILENCE)?.max(LEAST_SILENCE),
            },
            schemas: options.required("schema-name")?.to_owned(),
            tables: options.required("table-name")?.to_owned(),
            slot,
            publication: options.get("debezium.publication.name").map(str::to_owned),
            sharing: options.flag("slot.sharing", true)?,
            startup,
            dead_letters: options.word("on-error", "fail", &["fail", "dead-letter"])? == "dead-letter",
            heartbeat: options.duration("heartbeat.interval.ms", HEARTBEAT)?.max(Duration::from_secs(1)),
        })
    }

    /// The publication of the stream.
    pub(crate) fn publication(&self) -> String {
        // PostgreSQL cuts names at 63 bytes; cutting here keeps comparisons true.
        let mut name = self.publication.clone().unwrap_or_else(|| format!("gridhouse_{}", self.slot));
        name.truncate(63);
        name
    }

    /// What matches the tables of the source.
    pub(crate) fn pattern(&self) -> Result<Pattern> {
        Ok(Pattern { schema: anchored("schema-name", &self.schemas)?, table: anchored("table-name", &self.tables)? })
    }
}

/// Patterns of schema and table names; both match the whole name.
pub(crate) struct Pattern {
    schema: (Regex, Regex),
    table: (Regex, Regex),
}

impl Pattern {
    /// Whether they match exactly.
    pub(crate) fn exact(&self, schema: &str, table: &str) -> bool {
        self.schema.0.is_match(schema) && self.table.0.is_match(table)
    }

    /// Whether they match but for upper and lower case.
    pub(crate) fn ignoring_case(&self, schema: &str, table: &str) -> bool {
        self.schema.1.is_match(schema) && self.table.1.is_match(table)
    }

    /// Whether the schema matches, case aside.
    pub(crate) fn schema(&self, schema: &str) -> bool {
        self.schema.1.is_match(schema)
    }
}

/// The most bytes that a compiled pattern of names may have: far more than names call for, and little enough that a pattern which
/// repeats itself by the thousand is refused before it takes the memory.
const MOST_PATTERN_BYTES: usize = 256 << 10;

fn anchored(key: &str, pattern: &str) -> Result<(Regex, Regex)> {
    let compile = |flags: &str| {
        let whole = format!("^{flags}(?:{pattern})$");
        RegexBuilder::new(&whole).size_limit(MOST_PATTERN_BYTES).build().map_err(|_| {
            Error::invalid(format!("option '{key}' is '{pattern}', which is not a pattern that can be used"))
                .hint("write a name, or a short regular expression without look-around and back-references")
        })
    };
    Ok((compile("")?, compile("(?i)")?))
}
