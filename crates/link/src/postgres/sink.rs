//! An open `jdbc` sink: writes each stretch of commits in one transaction, exactly once, fenced.
//!
//! Beside the tables that it writes stands the table `gridhouse_sink`: per store and sink the commit `upto` which the
//! target was written, and an `epoch`. Claiming the sink raises the epoch (and that of every other store's sink on the same
//! target, so that of two processes that believe they own it the older is fenced). A write moves `upto` in the same
//! transaction as the rows, and only from the expected commit in the expected epoch: where that row is not there, a division
//! by zero fails the whole transaction on the server. So a small write is one round trip: begin, delete, upsert, move and
//! commit are sent together, and commit cannot succeed where the move failed.
//!
//! Whatever happens to the connection, `position` tells afterwards whether the transaction was committed.

use std::sync::Arc;

use futures_util::future::join5;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, Value};
use gridhouse_flow::connector::{Sink, SinkChanges, SinkWriter};
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::client::{Fault, outside};
use super::jdbc_options::JdbcOptions;
use super::parameters::{Parameter, array_type, parameter};
use super::sink_plan::{self, Plan};

/// Rows of one statement at most: large enough that the round trip does not count, small enough that parameters of wide
/// rows stay within tens of megabytes.
const STATEMENT_ROWS: usize = 16_384;

/// Bytes of parameters after which a large write waits for the server before it prepares more.
const STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// How long a claim waits for a transaction of the previous owner: a server notices a dead client within this time only
/// where `tcp_user_timeout` says so; else the claim is tried again.
const CLAIM_WAIT: &str = "10s";

/// Key of the advisory lock under which the bookkeeping table is made: "gridhous" as bytes.
const LOCK: i64 = 0x6772_6964_686f_7573;

pub(crate) struct JdbcSink {
    definition: Arc<TableDef>,
    options: JdbcOptions,
    writer: SinkWriter,
    open: Option<Open>,
    runtime: Runtime,
}

/// A connection that has claimed the sink.
struct Open {
    client: Client,
    plan: Plan,
    epoch: i64,
    insert: Statement,
    delete: Option<Statement>,
    advance: Statement,
}

impl JdbcSink {
    pub(crate) fn new(definition: Arc<TableDef>, options: JdbcOptions, writer: SinkWriter) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Error::internal("no runtime could be made for a sink").caused_by(error))?;
        Ok(Self { definition, options, writer, open: None, runtime })
    }

    fn store(&self) -> String {
        format!("{:032x}", self.writer.store)
    }

    async fn claim(&self) -> Result<(Open, CommitId)> {
        let client = self.options.target.connect().await?;
        let plan = sink_plan::plan(&client, &self.definition, &self.options, &mut Vec::new()).await?;
        sink_plan::check_bookkeeping(&client, &plan, &self.options.target).await?;
        let books = plan.bookkeeping();
        let context = format!("sink {} cannot be claimed", plan.key());
        let failed = |error: tokio_postgres::Error| Fault::of(&error).error(&context);
        client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL lock_timeout = '{CLAIM_WAIT}'; SELECT pg_advisory_xact_lock({LOCK}); \
                 CREATE TABLE IF NOT EXISTS {books} (store text, sink text, target text NOT NULL, upto bigint NOT NULL, \
                 epoch bigint NOT NULL, claimed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (store, sink))"
            ))
            .await
            .map_err(failed)?;
        let (store, target) = (self.store(), plan.key());
        let sql = format!(
            "INSERT INTO {books} AS b (store, sink, target, upto, epoch) VALUES ($1, $2, $3, 0, 1) \
             ON CONFLICT (store, sink) DO UPDATE SET epoch = b.epoch + 1, target = EXCLUDED.target, claimed_at = now() \
             RETURNING upto, epoch"
        );
        let row = client.query_one(&sql, &[&store, &self.writer.sink, &target]).await.map_err(failed)?;
        let fence_others = format!("UPDATE {books} SET epoch = epoch + 1 WHERE target = $1 AND store <> $2");
        client.execute(&fence_others, &[&target, &store]).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
        let (upto, epoch): (i64, i64) = (row.get(0), row.get(1));

        let types: Vec<Type> = plan.columns.iter().map(|column| array_type(&column.kind)).collect();
        let insert = client.prepare_typed(&plan.insert_sql(), &types).await.map_err(failed)?;
        let delete = if plan.key.is_empty() {
            None
        } else {
            let types: Vec<Type> = plan.key.iter().map(|&k| types[k].clone()).collect();
            Some(client.prepare_typed(&plan.delete_sql(), &types).await.map_err(failed)?)
        };
        let advance = format!(
            "WITH moved AS (UPDATE {books} SET upto = $1 WHERE store = $2 AND sink = $3 AND upto = $4 AND epoch = $5 \
             RETURNING 1) SELECT 1 / count(*)::int FROM moved"
        );
        let types = [Type::INT8, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
        let advance = client.prepare_typed(&advance, &types).await.map_err(failed)?;
        Ok((Open { client, plan, epoch, insert, delete, advance }, CommitId(upto as u64)))
    }

    async fn write_all(&self, open: &Open, from: CommitId, upto: CommitId, mut chunks: Chunks<'_, '_>) -> Result<()> {
        let changes = &chunks.next(open)?;
        let (store, from, upto) = (self.store(), from.0 as i64, upto.0 as i64);
        let move_on: [&(dyn ToSql + Sync); 5] = [&upto, &store, &self.writer.sink, &from, &open.epoch];
        let deletes: Vec<&[usize]> = changes.deleted.chunks(STATEMENT_ROWS).collect();
        let inserts: Vec<&[usize]> = changes.written.chunks(STATEMENT_ROWS).collect();
        let small = chunks.is_done && deletes.len() <= 1 && inserts.len() <= 1;
        let (begin, last_delete, last_insert) = if small {
            ("BEGIN", deletes.first().copied(), inserts.first().copied())
        } else {
            open.client.batch_execute("BEGIN").await.map_err(outside("the sink's transaction cannot begin"))?;
            self.write_rows(open, changes).await?;
            while !chunks.is_done {
                self.write_rows(open, &chunks.next(open)?).await?;
            }
            ("SELECT", None, None)
        };
        let delete = async {
            match (last_delete, &open.delete) {
                (Some(rows), Some(statement)) => execute(&open.client, statement, &open.deleted(changes, rows)).await,
                _ => Ok(()),
            }
        };
        let insert = async {
            match last_insert {
                Some(rows) => execute(&open.client, &open.insert, &open.inserted(changes, rows)).await,
                None => Ok(()),
            }
        };
        let advance = open.client.query(&open.advance, &move_on);
        // Each is sent when it is first polled, and this polls them in order.
        let (begun, deleted, inserted, advanced, committed) =
            join5(open.client.batch_execute(begin), delete, insert, advance, open.client.batch_execute("COMMIT")).await;
        begun.map_err(outside("the sink's transaction cannot begin"))?;
        if let Err(error) = deleted.and(inserted) {
            return Err(self.data_error(open, &Fault::of(&error), changes).await);
        }
        if let Err(error) = advanced {
            let fault = Fault::of(&error);
            return Err(if fault.code.as_deref() == Some("22012") {
                self.fenced(open, from).await
            } else {
                fault.error(&open.plan.key())
            });
        }
        committed.map_err(|error| Fault::of(&error).error(&format!("sink {}: the commit", open.plan.key())))
    }

    /// The statements of a part of a write of many rows, one after the other, in a transaction that stays open.
    async fn write_rows(&self, open: &Open, changes: &Changes) -> Result<()> {
        for rows in changes.deleted.chunks(STATEMENT_ROWS) {
            if let Some(statement) = &open.delete {
                let done = execute(&open.client, statement, &open.deleted(changes, rows)).await;
                self.or_data_error(open, done, changes).await?;
            }
        }
        for rows in changes.written.chunks(STATEMENT_ROWS) {
            let mut rest = rows;
            while !rest.is_empty() {
                // Wide rows: fewer of them at once.
                let mut take = rest.len();
                let mut parameters = open.inserted(changes, rest);
                while take > 1 && parameters.iter().map(Parameter::len).sum::<usize>() > STATEMENT_BYTES {
                    take = take.div_ceil(4);
                    parameters = open.inserted(changes, &rest[..take]);
                }
                let done = execute(&open.client, &open.insert, &parameters).await;
                self.or_data_error(open, done, changes).await?;
                rest = &rest[take..];
            }
        }
        Ok(())
    }

    async fn or_data_error(
        &self,
        open: &Open,
        done: Result<(), tokio_postgres::Error>,
        changes: &Changes,
    ) -> Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(error) => Err(self.data_error(open, &Fault::of(&error), changes).await),
        }
    }

    /// Who has taken over.
    async fn fenced(&self, open: &Open, from: i64) -> Error {
        let sql = format!(
            "SELECT upto, epoch, claimed_at::text FROM {} WHERE store = $1 AND sink = $2",
            open.plan.bookkeeping()
        );
        let found = open.client.query_opt(&sql, &[&self.store(), &self.writer.sink]).await.ok().flatten();
        let why = match &found {
            None => "its entry in gridhouse_sink is gone".to_owned(),
            Some(row) if row.get::<_, i64>(1) != open.epoch => {
                format!("another process has taken it over (its own claim: {} UTC)", row.get::<_, &str>(2))
            }
            Some(row) => format!("it stands at commit {} instead of {from}", row.get::<_, i64>(0)),
        };
        Error::conflict(format!("sink {} is fenced: {why}", open.plan.key()))
            .hint("stop the other process that writes this table, then START JOB here")
    }

    /// The error of a row that does not fit, with the row: the server names neither it nor always the column, so the rows
    /// are tried in halves, each try rolled back.
    async fn data_error(&self, open: &Open, fault: &Fault, changes: &Changes) -> Error {
        let table = open.plan.key();
        if fault.kind() != gridhouse_base::ErrorKind::Invalid {
            return fault.error(&format!("sink {table}"));
        }
        let column = fault.column.as_ref().map(|name| format!(", column {name}")).unwrap_or_default();
        let mut rows = changes.written.as_slice();
        let mut found = fault.clone();
        if open.client.batch_execute("ROLLBACK").await.is_err() {
            rows = &[];
        }
        while rows.len() > 1 {
            let (first, second) = rows.split_at(rows.len() / 2);
            match self.attempt(open, changes, first).await {
                Some(fault) => (rows, found) = (first, fault),
                None => rows = second,
            }
        }
        let row = match rows {
            [row] => format!(", row {}", changes.show(&open.plan, *row)),
            _ => String::new(),
        };
        found.error(&format!("sink {table}{column}{row}"))
    }

    /// Whether writing `rows` fails; nothing stays.
    async fn attempt(&self, open: &Open, changes: &Changes, rows: &[usize]) -> Option<Fault> {
        for rows in rows.chunks(STATEMENT_ROWS) {
            open.client.batch_execute("BEGIN").await.ok()?;
            let done = execute(&open.client, &open.insert, &open.inserted(changes, rows)).await;
            open.client.batch_execute("ROLLBACK").await.ok()?;
            if let Err(error) = done {
                return Some(Fault::of(&error));
            }
        }
        None
    }
}

impl Open {
    fn inserted(&self, changes: &Changes, rows: &[usize]) -> Vec<Parameter> {
        let columns = self.plan.columns.iter();
        columns.map(|column| parameter(changes.batch.column(column.index), &column.kind, rows)).collect()
    }

    fn deleted(&self, changes: &Changes, rows: &[usize]) -> Vec<Parameter> {
        let columns = self.plan.key.iter().map(|&k| &self.plan.columns[k]);
        columns.map(|column| parameter(changes.batch.column(column.index), &column.kind, rows)).collect()
    }
}

impl Sink for JdbcSink {
    fn position(&mut self) -> Result<CommitId> {
        self.open = None;
        let (open, position) = self.runtime.block_on(self.claim())?;
        self.open = Some(open);
        Ok(position)
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let open = self.open.take().ok_or_else(|| {
            Error::unavailable(format!("sink {} has no connection", self.options.table))
                .hint("ask for its position first")
        })?;
        let chunks = Chunks { changes, is_done: false };
        self.runtime.block_on(self.write_all(&open, from, upto, chunks))?;
        // Only a connection whose transaction is over is used again.
        self.open = Some(open);
        Ok(())
    }
}

/// The rows of a write as they come: enough for a statement at a time, so that memory is bounded and a small write is known to be
/// one.
struct Chunks<'a, 'b> {
    changes: &'a mut SinkChanges<'b>,
    /// Nothing comes any more.
    is_done: bool,
}

impl Chunks<'_, '_> {
    fn next(&mut self, open: &Open) -> Result<Changes> {
        let (mut batches, mut rows) = (Vec::new(), 0);
        while rows < STATEMENT_ROWS {
            let Some(batch) = self.changes.next() else {
                self.is_done = true;
                break;
            };
            let batch = batch?;
            rows += batch.len();
            batches.push(batch);
        }
        Changes::gather(&batches, !open.plan.key.is_empty(), &open.plan)
    }
}

/// The rows of a write, or of a part of it.
struct Changes {
    batch: ChangeBatch,
    written: Vec<usize>,
    deleted: Vec<usize>,
}

impl Changes {
    fn gather(changes: &[KindBatch], keyed: bool, plan: &Plan) -> Result<Self> {
        let batches: Vec<ChangeBatch> = changes
            .iter()
            .filter(|batch| !batch.is_empty())
            .map(|batch| ChangeBatch::insertions(batch.columns.clone(), batch.len()))
            .collect();
        let kinds = changes.iter().flat_map(|batch| batch.kinds.iter());
        let (mut written, mut deleted) = (Vec::new(), Vec::new());
        for (row, kind) in kinds.enumerate() {
            match kind {
                RowKind::Insert | RowKind::UpdateAfter => written.push(row),
                RowKind::Delete if keyed => deleted.push(row),
                RowKind::UpdateBefore if keyed => {}
                RowKind::Delete | RowKind::UpdateBefore => {
                    return Err(Error::invalid(format!(
                        "table {} is declared without a key and can only be added to",
                        plan.key()
                    ))
                    .hint("declare PRIMARY KEY (…) NOT ENFORCED in the sink table"));
                }
            }
        }
        let batch =
            if batches.is_empty() { ChangeBatch::new(Vec::new(), 0, None) } else { ChangeBatch::concat(&batches)? };
        Ok(Self { batch, written, deleted })
    }

    /// A row for a message: its key, or all of it.
    fn show(&self, plan: &Plan, row: usize) -> String {
        let shown: Vec<usize> = if plan.key.is_empty() { (0..plan.columns.len()).collect() } else { plan.key.clone() };
        let parts = shown.iter().map(|&i| {
            let column = &plan.columns[i];
            let value = Value::from_array(self.batch.column(column.index), row, &column.kind);
            let mut text = format!("{} = ", column.name);
            crate::show::value(&value, &column.kind, &mut text);
            text
        });
        format!("({})", parts.collect::<Vec<_>>().join(", "))
    }
}

async fn execute(
    client: &Client,
    statement: &Statement,
    parameters: &[Parameter],
) -> Result<(), tokio_postgres::Error> {
    client.execute_raw(statement, parameters).await.map(|_| ())
}
