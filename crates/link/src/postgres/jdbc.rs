//! The sink connector `jdbc`, for PostgreSQL: options, checks, opening.

use std::sync::Arc;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result};
use gridhouse_flow::connector::{ChangelogMode, Sink, SinkConnector, SinkDescription, SinkWriter};

use super::cdc::block_on;
use super::client::{Target, outside};
use super::sink::JdbcSink;
use super::sink_plan::{self, Plan};
use super::url;
use crate::LinkContext;
use crate::hosts::HostMap;
use crate::options::{Keys, Options, Use};

const READING: &str = "it concerns reading, and the table is written";
const BUFFER: &str = "rows are written as soon as their commit is durable, each commit once";

/// Every key of Flink's `jdbc`.
static KEYS: Keys = Keys {
    connector: "jdbc",
    known: &[
        ("url", Use::Effect),
        ("table-name", Use::Effect),
        ("username", Use::Effect),
        ("password", Use::Effect),
        ("driver", Use::Effect),
        ("compatible-mode", Use::Noted("PostgreSQL has one")),
        ("connection.max-retry-timeout", Use::Noted("a lost connection is tried again for as long as the job runs")),
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
    prefixes: &[("properties.", "the connection is not JDBC's own")],
};

/// What a sink's options say.
#[derive(Clone, Debug)]
pub(crate) struct SinkOptions {
    /// The server.
    pub target: Target,
    /// The table's schema where it is named.
    pub schema: Option<String>,
    /// The table's name.
    pub table: String,
}

impl SinkOptions {
    fn read(definition: &TableDef, hosts: &HostMap, notices: &mut Vec<String>) -> Result<Self> {
        let options = Options::check(&KEYS, &definition.options, notices)?;
        if let Some(driver) = options.get("driver").filter(|driver| *driver != "org.postgresql.Driver") {
            return Err(Error::invalid(format!(
                "option 'driver' is '{driver}', and connector 'jdbc' writes to PostgreSQL only"
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

/// PostgreSQL tables as sinks, `'connector' = 'jdbc'`.
#[derive(Debug)]
pub struct Jdbc {
    hosts: HostMap,
}

impl Jdbc {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { hosts: context.hosts.clone() }
    }
}

impl SinkConnector for Jdbc {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mut notices = Vec::new();
        let options = SinkOptions::read(definition, &self.hosts, &mut notices)?;
        let mode = if definition.primary_key.is_empty() { ChangelogMode::InsertOnly } else { ChangelogMode::Upsert };
        block_on(async {
            let client = options.target.connect().await?;
            let plan = sink_plan::plan(&client, definition, &options, &mut notices).await?;
            sink_plan::check_bookkeeping(&client, &plan, &options.target).await?;
            let sql = "SELECT system_identifier::text FROM pg_control_system()";
            let row = client.query_one(sql, &[]).await.map_err(outside("the server cannot be identified"))?;
            let target_key = format!("postgres/{}/{}/{}", row.get::<_, &str>(0), options.target.database, plan.key());
            Ok(SinkDescription { target_key, mode, exactly_once: true, notices })
        })
    }

    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>> {
        let options = SinkOptions::read(&definition, &self.hosts, &mut Vec::new())?;
        Ok(Box::new(JdbcSink::new(definition, options, writer)?))
    }
}

impl Plan {
    /// `schema.table`
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}
