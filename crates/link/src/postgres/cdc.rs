//! The source connector `postgres-cdc`.

use std::sync::Arc;
use std::thread::JoinHandle;

use gridhouse_base::clock::Clock;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, SourceId};
use gridhouse_flow::connector::{
    SourceConnector, SourceDescription, SourceEvents, SourcePosition, SourceStream, SourceTable, StreamPlace,
};

use super::binding::Binding;
use super::cdc_options::CdcOptions;
use super::decode::CdcTable;
use super::describe;
use super::forget::forget;
use super::stream::{Command, Shared, Worker};
use super::timeline::Place;
use crate::LinkContext;
use crate::hosts::HostMap;

/// Changes of PostgreSQL tables through logical replication, `'connector' = 'postgres-cdc'`.
pub struct PostgresCdc {
    hosts: HostMap,
    clock: Arc<dyn Clock>,
}

impl PostgresCdc {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { hosts: context.hosts.clone(), clock: context.clock.clone() }
    }
}

impl SourceConnector for PostgresCdc {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let mut notices = Vec::new();
        let options = CdcOptions::read(definition, &self.hosts, &mut notices)?;
        // Fails early for types that no PostgreSQL type is read as, before anything is asked of the server.
        CdcTable::new(0, Arc::new(definition.clone()), options.clone(), None)?;
        block_on(describe::describe(definition, &options, notices))
    }

    fn stream_options(&self) -> &'static [&'static str] {
        &["slot.name", "debezium.publication.name"]
    }

    fn choosing_options(&self) -> &'static [(&'static str, &'static str)] {
        &[("scan.startup.mode", "initial")]
    }

    fn start(
        &self,
        source: SourceId,
        stream: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let tables = tables.into_iter().map(|table| cdc_table(table, &self.hosts)).collect::<Result<Vec<_>>>()?;
        let options = CdcOptions::read(stream.definition, &self.hosts, &mut Vec::new())?;
        let position = position.as_deref().map(Place::from_position).transpose()?;
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(shared.clone(), source, stream, events, self.clock.clone(), options, tables, position);
        let thread = std::thread::Builder::new().name(format!("cdc-{}", source.0)).spawn(move || worker.run());
        let thread = thread
            .map_err(|error| Error::unavailable("the thread of a source stream could not start").caused_by(error))?;
        Ok(Box::new(CdcStream { shared, thread: Some(thread), hosts: self.hosts.clone() }))
    }

    fn forget(&self, stream: StreamPlace<'_>) -> Result<()> {
        let options = CdcOptions::read(stream.definition, &self.hosts, &mut Vec::new())?;
        block_on(forget(stream, &options))
    }

    /// The slot in its database: one of another database is never taken.
    fn place_name(&self, stream: StreamPlace<'_>) -> Result<String> {
        let options = CdcOptions::read(stream.definition, &self.hosts, &mut Vec::new())?;
        // The key of a stream of one table ends with it.
        Ok(if options.sharing { format!("{}/{}", stream.key, options.slot) } else { stream.key.to_owned() })
    }

    /// The place in the WAL as PostgreSQL writes it: `16/B374D848`.
    fn position_text(&self, position: &[u8]) -> String {
        Place::from_position(position).map_or_else(|error| error.to_string(), |place| place.lsn.to_string())
    }
}

fn cdc_table(table: SourceTable, hosts: &HostMap) -> Result<CdcTable> {
    let options = CdcOptions::read(&table.definition, hosts, &mut Vec::new())?;
    let from = table.snapshot.as_deref().map(Place::from_position).transpose()?;
    let contents_of = table.snapshot.as_deref().and_then(Binding::from_position);
    let mut table = CdcTable::new(table.id, table.definition, options, from)?;
    table.contents_of = contents_of;
    Ok(table)
}

/// The engine's hold on a running stream.
struct CdcStream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    hosts: HostMap,
}

impl CdcStream {
    fn join(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl SourceStream for CdcStream {
    fn add_table(&self, table: SourceTable) {
        // The definition was described before, so its options can be read; were they not, there would be nobody to tell.
        if let Ok(table) = cdc_table(table, &self.hosts) {
            self.shared.command(Command::Add(Box::new(table)));
        }
    }

    fn remove_table(&self, table: u32) {
        self.shared.command(Command::Remove(table));
    }

    fn read_again(&self, table: u32) {
        self.shared.command(Command::ReadAgain(table));
    }

    fn acknowledge(&self, position: SourcePosition) {
        // Positions come from this stream's own events; a foreign one acknowledges nothing.
        if let Ok(position) = Place::from_position(&position) {
            self.shared.acknowledge(position);
        }
    }

    fn stop(mut self: Box<Self>) {
        self.join();
    }
}

impl Drop for CdcStream {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Runs `work` on a runtime of its own: callers are synchronous.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Error::internal("no runtime could be made for a connection").caused_by(error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
