//! The connector `jdbc`, for PostgreSQL: a sink, a table that is read to its end, and one in which rows are looked up.

use std::fmt;
use std::sync::Arc;

use gridhouse_base::clock::Clock;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, ErrorKind, Result, SourceId};
use gridhouse_flow::connector::{
    ChangelogMode, Lookup, LookupConnector, LookupRequest, ScanConnector, ScanRequest, ScanRows, Sink, SinkConnector,
    SinkDescription, SinkWriter, SourceConnector, SourceDescription, SourceEvents, SourcePosition, SourceStream,
    SourceTable, StreamPlace,
};

use super::books;
use super::cdc::block_on;
use super::client::outside;
use super::jdbc_options::{JdbcOptions, ReadOptions};
use super::jdbc_source;
use super::lookup::JdbcLookup;
use super::read_plan::ReadPlan;
use super::scan;
use super::sink::JdbcSink;
use super::sink_plan::{self, Plan};
use crate::hosts::HostMap;
use crate::{LinkContext, Owner};

/// PostgreSQL tables as sinks, `'connector' = 'jdbc'`.
#[derive(Debug)]
pub struct JdbcWriter {
    hosts: HostMap,
    owner: Owner,
}

impl JdbcWriter {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { hosts: context.hosts.clone(), owner: context.owner.clone() }
    }
}

/// PostgreSQL tables and views that are read, to their end or by key, `'connector' = 'jdbc'`.
pub struct JdbcReader {
    hosts: HostMap,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for JdbcReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JdbcReader").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl JdbcReader {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { hosts: context.hosts.clone(), clock: context.clock.clone() }
    }
}

/// The server's own name, the same after a restore or a fail-over.
async fn system_identifier(client: &tokio_postgres::Client) -> Result<String> {
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    let row = client.query_one(sql, &[]).await.map_err(outside("the server cannot be identified"))?;
    Ok(row.get(0))
}

impl SinkConnector for JdbcWriter {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mut notices = Vec::new();
        let options = JdbcOptions::written(definition, &self.hosts, &mut notices)?;
        let mode = if definition.primary_key.is_empty() { ChangelogMode::InsertOnly } else { ChangelogMode::Upsert };
        block_on(async {
            let (client, pid) = options.target.session().await?;
            let looked = async {
                let found = sink_plan::find(&client, definition, &options).await?;
                let plan = sink_plan::plan(&client, definition, &options, found, &mut notices).await?;
                books::check(&client, &plan.schema, &options.target, ErrorKind::Invalid).await?;
                Ok::<_, Error>((plan, system_identifier(&client).await?))
            };
            let what = format!("sink {}", options.table);
            let (plan, system) = options.target.patiently(pid, &what, looked).await??;
            let target_key = format!("postgres/{system}/{}/{}", options.target.database, plan.key());
            Ok(SinkDescription { target_key, mode, exactly_once: true, notices })
        })
    }

    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>> {
        let options = JdbcOptions::written(&definition, &self.hosts, &mut Vec::new())?;
        Ok(Box::new(JdbcSink::new(definition, options, writer, &self.owner)?))
    }
}

impl Plan {
    /// `schema.table`
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

impl ScanConnector for JdbcReader {
    fn scan(&self, definition: &TableDef, request: &ScanRequest) -> Result<ScanRows> {
        let options = ReadOptions::read(definition, &self.hosts, &mut Vec::new())?;
        scan::rows(definition, &options, request)
    }
}

impl LookupConnector for JdbcReader {
    fn open(&self, definition: Arc<TableDef>, request: LookupRequest) -> Result<Box<dyn Lookup>> {
        let options = ReadOptions::read(&definition, &self.hosts, &mut Vec::new())?;
        Ok(Box::new(JdbcLookup::new(definition, options, request, self.clock.clone())?))
    }
}

impl SourceConnector for JdbcReader {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let mut notices = Vec::new();
        let options = ReadOptions::read(definition, &self.hosts, &mut notices)?;
        block_on(async {
            let target = &options.place.target;
            let (client, pid) = target.session().await?;
            let looked = async {
                let plan = ReadPlan::make(&client, definition, &options, &mut notices).await?;
                Ok::<_, Error>((plan, system_identifier(&client).await?))
            };
            let what = format!("table {} cannot be read", options.place.table);
            let (plan, system) = target.patiently(pid, &what, looked).await??;
            Ok(SourceDescription {
                stream_key: format!("jdbc/{system}/{}/{}", options.place.target.database, plan.key()),
                table_key: plan.key(),
                shared: false,
                bounded: true,
                mode: ChangelogMode::InsertOnly,
                notices,
            })
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        _: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        jdbc_source::start(source, tables, &self.hosts, events)
    }
}
