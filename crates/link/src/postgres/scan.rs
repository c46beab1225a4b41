//! Reads a table to its end with one COPY: the rows stream in the server's text form, a batch at a time.
//!
//! Nothing is read ahead of the consumer but what the socket holds, so memory is bounded by a batch. One statement is one
//! snapshot. Dropping the reader closes the connection, which ends the statement. A server that says nothing is given up as
//! [`super::patience`] says.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, Error, Result};
use gridhouse_flow::connector::{ScanRequest, ScanRows};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, CopyOutStream};

use super::client::{Fault, Target};
use super::copy::{CopyRow, lines};
use super::gather::{Gather, Origin, RowMeta, RowText, misfit_in};
use super::jdbc_options::ReadOptions;
use super::pushdown;
use super::read_plan::{ReadColumn, ReadPlan};

/// A runtime of one's own: callers are synchronous.
pub(crate) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::internal("no runtime could be made for a connection").caused_by(error))
}

/// The rows of a scan.
pub(crate) fn rows(definition: &TableDef, options: &ReadOptions, request: &ScanRequest) -> Result<ScanRows> {
    let runtime = runtime()?;
    let reader = runtime.block_on(Reader::open(definition, options, request))?;
    Ok(Box::new(Rows { reader: Some(reader), runtime }))
}

/// The statement that reads what `request` asks for.
pub(crate) fn statement(plan: &ReadPlan, columns: &[ReadColumn], request: &ScanRequest) -> String {
    let names: Vec<String> = columns.iter().map(ReadColumn::quoted).collect();
    let mut conditions: Vec<String> = plan.limits.iter().cloned().collect();
    conditions.extend(request.filters.iter().filter_map(|filter| pushdown::condition(filter, plan)));
    let mut sql = format!("SELECT {} FROM {}", names.join(", "), plan.quoted());
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    if let Some(limit) = request.limit.filter(|_| request.filters.is_empty()) {
        sql.push_str(&format!(" LIMIT {}", limit.min(i64::MAX as u64)));
    }
    sql
}

struct Rows {
    // Before the runtime: the stream must be gone when the runtime that drives it ends.
    reader: Option<Reader>,
    runtime: Runtime,
}

impl Iterator for Rows {
    type Item = Result<ChangeBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut()?;
        match self.runtime.block_on(reader.next()) {
            Ok(Some(batch)) => {
                let len = batch.len();
                Some(Ok(ChangeBatch::insertions(batch.columns, len)))
            }
            Ok(None) => {
                self.reader = None;
                None
            }
            Err(error) => {
                self.reader = None;
                Some(Err(error))
            }
        }
    }
}

/// The rows of one statement.
pub(crate) struct Reader {
    copy: Pin<Box<CopyOutStream>>,
    /// The connection lives as long as its client.
    _client: Client,
    target: Target,
    pid: i32,
    /// What an error begins with.
    what: String,
    decoder: RowDecoder,
    /// What stands in the stream after its end is not to be read.
    ended: bool,
}

impl Reader {
    /// Starts to read what `request` asks for.
    ///
    /// # Errors
    /// `Unavailable` where the server does not answer, here and with every batch.
    pub(crate) async fn open(definition: &TableDef, options: &ReadOptions, request: &ScanRequest) -> Result<Self> {
        let target = &options.place.target;
        let (client, pid) = target.session().await?;
        let begun = async {
            let plan = ReadPlan::make(&client, definition, options, &mut Vec::new()).await?;
            let columns = plan.select(&request.columns)?;
            let select = statement(&plan, &columns, request);
            let decoder = RowDecoder::new(definition, plan.key(), columns)?;
            let copy = copy_out(&client, &select, &decoder.table).await?;
            Ok::<_, Error>((decoder, copy))
        };
        let what = format!("table {} cannot be read", options.place.table);
        let (decoder, copy) = target.patiently(pid, &what, begun).await??;
        let what = format!("table {} cannot be read", decoder.table);
        Ok(Self { copy, _client: client, target: target.clone(), pid, what, decoder, ended: false })
    }

    /// The next batch; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<KindBatch>> {
        while !self.ended {
            let Some(data) = self.target.patiently(self.pid, &self.what, self.copy.next()).await? else {
                self.ended = true;
                break;
            };
            self.decoder.read(&data.map_err(cannot_be_read(&self.decoder.table))?, |_| Ok(()))?;
            if self.decoder.gather.is_full() {
                return Ok(self.decoder.finish());
            }
        }
        Ok(self.decoder.finish())
    }
}

/// Starts the copying out of the rows of `select`.
pub(crate) async fn copy_out(client: &Client, select: &str, table: &str) -> Result<Pin<Box<CopyOutStream>>> {
    let copy = client.copy_out(&format!("COPY ({select}) TO STDOUT")).await;
    Ok(Box::pin(copy.map_err(cannot_be_read(table))?))
}

/// What an error while reading means.
pub(crate) fn cannot_be_read(table: &str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    let context = format!("table {table} cannot be read");
    move |error| Fault::of(&error).error(&context)
}

/// Rows of copied data become batches.
pub(crate) struct RowDecoder {
    definition: TableDef,
    /// `schema.table`, for messages.
    pub table: String,
    columns: Vec<ReadColumn>,
    origins: Vec<Origin>,
    row: CopyRow,
    /// The batch under construction.
    pub gather: Gather,
}

impl RowDecoder {
    /// A decoder of rows with these columns.
    pub(crate) fn new(definition: &TableDef, table: String, columns: Vec<ReadColumn>) -> Result<Self> {
        let gather = Gather::of(columns.iter().map(|column| &column.kind))?;
        let origins = (0..columns.len()).map(Origin::Attribute).collect();
        Ok(Self { definition: definition.clone(), table, columns, origins, row: CopyRow::default(), gather })
    }

    /// Reads rows; those after the declared columns' values are handed to `rest`, first to last.
    pub(crate) fn read(&mut self, data: &Bytes, mut rest: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let meta = RowMeta { table: "", schema: "", database: "", commit_micros: 0 };
        for line in lines(data) {
            self.row.read(line);
            let text = RowText { bytes: &self.row.bytes, cells: &self.row.cells, fallback: None };
            for (i, column) in self.columns.iter().enumerate().filter(|(_, column)| !column.nullable) {
                if text.value(i).flatten().is_none() {
                    return Err(null(&self.definition, &self.table, &column.name));
                }
            }
            if let Some(more) = text.value(self.columns.len()).flatten().filter(|_| !self.columns.is_empty()) {
                rest(more)?;
            }
            let pushed = self.gather.push(RowKind::Insert, &self.origins, text, meta, None);
            pushed.map_err(|refused| {
                misfit_in(&self.definition, &self.table, &self.columns[refused.column].name, &refused.misfit)
            })?;
        }
        Ok(())
    }

    /// The batch gathered so far; none where there are no rows.
    pub(crate) fn finish(&mut self) -> Option<KindBatch> {
        self.gather.finish().map(|(_, batch)| batch)
    }
}

fn null(definition: &TableDef, table: &str, column: &str) -> Error {
    Error::invalid(format!("table {table}, column {column}: NULL stands in a column that is declared NOT NULL"))
        .hint(format!("declare `{column}` in {} without NOT NULL, or fill the value in the source", definition.path))
}
