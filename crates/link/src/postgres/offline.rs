//! What decodes PostgreSQL's bytes, without a server: for tests that feed it what no server would send.
//!
//! The same code as between a connection and the engine; only the connection is left out.

use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, TypeKind, Value};
use gridhouse_flow::connector::SourceEvent;

use super::catalog::OutsideTable;
use super::cdc::block_on;
use super::cdc_options::CdcOptions;
use super::client::{Fault, SILENCE, Target};
use super::columns::ColumnBuilder;
use super::connection::{Connection, STREAM_ENDED};
use super::copy::{CopyRow, lines};
use super::decode::{CdcTable, Decoder};
use super::gather::{Gather, Origin, RowMeta, RowText, misfit_error};
use super::identity::Holder;
use super::jdbc_options::{JdbcOptions, ReadOptions};
use super::pgoutput::{Frame, Lsn, frame};
use super::timeline::{History, Place};
use crate::hosts::HostMap;

/// The decoder of a replication stream.
pub struct StreamDecoder(Decoder);

impl StreamDecoder {
    /// A decoder of the tables `tables`, each read from the outside table with its number and replica identity.
    ///
    /// # Errors
    /// Those of the definitions.
    pub fn new(tables: &[(Arc<TableDef>, u32, char)]) -> Result<Self> {
        let mut decoder = Decoder::new("recorded".into());
        for (number, (definition, oid, replica_identity)) in (1..).zip(tables) {
            let options = CdcOptions::read(definition, &HostMap::default(), &mut Vec::new())?;
            let mut table = CdcTable::new(number, definition.clone(), options, Some(Place::default()))?;
            table.outside.push(OutsideTable {
                oid: *oid,
                schema: "public".into(),
                name: definition.path.object.clone(),
                file: 1,
                partitioned: false,
                holders: vec![Holder {
                    oid: *oid,
                    schema: "public".into(),
                    name: definition.path.object.clone(),
                    tells_all: *replica_identity == 'f',
                    told: Vec::new(),
                }],
                owned: true,
                readable: true,
                reachable: true,
                filtered: false,
                columns: Vec::new(),
                primary_key: Vec::new(),
            });
            decoder.tables.push(table);
        }
        Ok(Self(decoder))
    }

    /// Takes a frame of the copy stream, as the connection hands it over.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        match frame(bytes)? {
            Frame::Data { payload } => self.0.message(payload)?,
            Frame::KeepAlive { end, .. } if !self.0.in_transaction() => self.0.reached = self.0.reached.max(end),
            Frame::KeepAlive { .. } => {}
        }
        if self.0.group_is_full() && !self.0.in_transaction() {
            self.0.end_group();
        }
        Ok(())
    }

    /// What has been decoded up to the end of the last transaction; nothing within one but what is full.
    pub fn events(&mut self) -> Vec<SourceEvent> {
        if !self.0.in_transaction() {
            self.0.end_group();
        }
        std::mem::take(&mut self.0.events).into()
    }
}

/// Goes through what a stream begins with at the server that listens on `port` of this machine: logs in, asks for its history,
/// starts the copy stream and reads that to its end. The frames of the stream.
///
/// # Errors
/// What the server refuses, or what is wrong with what it sends.
pub fn read_server(port: u16) -> Result<Vec<Vec<u8>>> {
    let target = Target {
        hosts: vec![("127.0.0.1".into(), port)],
        shown: "recorded".into(),
        username: "reader".into(),
        password: Some("secret".into()),
        database: "recorded".into(),
        writable: false,
        silence: SILENCE,
    };
    let failed = |fault: Fault| fault.error("recorded");
    let mut frames = Vec::new();
    let read = async {
        let mut connection =
            Connection::open(&target, "gridhouse").await.map_err(|fault| target.connect_error(&fault))?;
        History::read(&mut connection).await.map_err(failed)?;
        connection.start_replication("slot", "publication", Lsn(1)).await.map_err(failed)?;
        loop {
            match connection.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => {
                    connection.readable().await.map_err(failed)?;
                    connection.take_available().map_err(failed)?;
                }
                Err(fault) if fault.message == STREAM_ENDED => return Ok(()),
                Err(fault) => return Err(failed(fault)),
            }
        }
    };
    block_on(read)?;
    Ok(frames)
}

/// Reads copied rows of a table whose columns are those of `definition`.
///
/// # Errors
/// `Invalid` for a value that does not fit, naming column and value.
pub fn read_copy(definition: &TableDef, data: &[u8]) -> Result<Vec<KindBatch>> {
    let mut gather = Gather::new(definition)?;
    let origins: Vec<Origin> = (0..definition.physical().count()).map(Origin::Attribute).collect();
    let meta = RowMeta { table: "", schema: "", database: "", commit_micros: 0 };
    let (mut row, mut batches) = (CopyRow::default(), Vec::new());
    for line in lines(data) {
        row.read(line);
        let text = RowText { bytes: &row.bytes, cells: &row.cells, fallback: None };
        let pushed = gather.push(RowKind::Insert, &origins, text, meta, None);
        pushed.map_err(|refused| misfit_error(definition, "recorded", (refused.column, refused.misfit)))?;
        if gather.is_full() {
            batches.extend(gather.finish().map(|(_, batch)| batch));
        }
    }
    batches.extend(gather.finish().map(|(_, batch)| batch));
    Ok(batches)
}

/// Reads a single value in text form.
///
/// # Errors
/// `Invalid`, saying what the text is not.
pub fn read_value(kind: &TypeKind, text: &[u8]) -> Result<Value> {
    let mut builder = ColumnBuilder::new(kind)?;
    builder.append_text(text).map_err(|misfit| Error::invalid(misfit.0))?;
    Ok(Value::from_array(&builder.finish(), 0, kind))
}

/// Reads the options of a `jdbc` or `postgres-cdc` table, as is done before anybody is asked: URLs, durations, numbers, patterns.
///
/// # Errors
/// What is wrong with the first of them.
pub fn read_options(definition: &TableDef) -> Result<()> {
    let (hosts, mut notices) = (HostMap::default(), Vec::new());
    if definition.options.get("connector").is_some_and(|connector| connector == "jdbc") {
        JdbcOptions::written(definition, &hosts, &mut notices)?;
        ReadOptions::read(definition, &hosts, &mut notices)?;
    } else {
        CdcOptions::read(definition, &hosts, &mut notices)?.pattern()?.exact("public", "readings");
    }
    Ok(())
}
