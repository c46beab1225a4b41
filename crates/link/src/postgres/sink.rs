//! An open `jdbc` sink: writes each stretch of commits in one transaction, exactly once, fenced.
//!
//! Beside the tables that it writes stands the table `gridhouse_sink`: per store and sink the commit `upto` which the
//! target was written, and an `epoch`. Claiming the sink raises the epoch (and that of every other store's sink on the same
//! target, so that of two processes that believe they own it the older is fenced). A write moves `upto` in the same
//! transaction as the rows, and only from the expected commit in the expected epoch: where that row is not there, a division
//! by zero fails the whole transaction on the server. So a small write is one round trip: begin, delete, upsert, move and
//! commit are sent together, and commit cannot succeed where the move failed. The move also fails where another table has
//! taken the name of the one that was claimed, and where that one was emptied, rewritten or given a column since: then it is
//! looked at again. What was changed in its columns, and whether their values can still be those that were written, is the
//! matter of [`shape`].
//!
//! Whatever happens to the connection, `position` tells afterwards whether the transaction was committed. A table with a key
//! that is empty though it was written (emptied, or made anew) is written from the start again: upserts into an empty table
//! are right at any time. Of a table that is only added to nobody can tell: rows may have been taken out on purpose. One that
//! holds rows although its entry is gone is never begun anew: see [`standing`].

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::new_null_array;
use futures_util::future::join5;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, CommitId, Error, ErrorKind, Result, Value};
use gridhouse_flow::connector::{Sink, SinkChanges, SinkWriter};
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::books;
use super::catalog::MARK;
use super::client::{Fault, INSUFFICIENT_PRIVILEGE, always_quoted, literal, outside};
use super::jdbc_options::JdbcOptions;
use super::parameters::{Parameter, array_type, parameter};
use super::patience::{LOCK_WAIT, lock_holder, session_pid};
use super::shape::{self, Shape};
use super::sink_plan::{self, Plan, PlanColumn};
use super::standing::{self, Asking, Rows};
use crate::Owner;

/// Rows of one statement at most: large enough that the round trip does not count, small enough that parameters of wide
/// rows stay within tens of megabytes.
const STATEMENT_ROWS: usize = 16_384;

/// Bytes of parameters after which a large write waits for the server before it prepares more.
const STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// How many silences a claim may last: it waits for locks, and asks several things.
const CLAIM_SILENCES: u32 = 2;

/// Connections live on the sink's runtime, which runs only while something is asked of it. One that is given up gets this
/// long to say good-bye, so that the server rolls its transaction back and frees its locks at once.
const CLOSING: Duration = Duration::from_millis(20);

/// How long the server keeps an open transaction of ours that says nothing: far longer than the next statement of a large
/// write takes to prepare, short enough that the locks of a client that is gone do not stand for hours.
const IDLE_TRANSACTION: &str = "60s";

/// How a write begins, whatever the server's default is: the move is to see what others have done to the table until the rows
/// before it had locked it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// PostgreSQL's code for a NULL in a column that takes none.
const NOT_NULL_VIOLATION: &str = "23502";

/// Key of the advisory lock under which the bookkeeping table is made: "gridhous" as bytes.
const LOCK: i64 = 0x6772_6964_686f_7573;

pub(crate) struct JdbcSink {
    definition: Arc<TableDef>,
    options: JdbcOptions,
    writer: SinkWriter,
    /// Who claims it.
    owner: String,
    open: Option<Open>,
    runtime: Runtime,
    /// The history of the store under which the outside was last written.
    history: Option<u64>,
    /// Another table has taken the claimed one's name, so that what is in it is not what was written.
    remade: Cell<bool>,
    /// A statement did not fit the table any more; the next claim looks at it again.
    replanned: Cell<bool>,
}

/// A connection that has claimed the sink.
struct Open {
    client: Client,
    pid: i32,
    plan: Plan,
    epoch: i64,
    insert: Statement,
    delete: Option<Statement>,
    advance: Statement,
}

/// What a claim found.
struct Claim {
    open: Open,
    upto: CommitId,
    history: Option<u64>,
}

impl JdbcSink {
    pub(crate) fn new(
        definition: Arc<TableDef>,
        options: JdbcOptions,
        writer: SinkWriter,
        owner: &Owner,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Error::internal("no runtime could be made for a sink").caused_by(error))?;
        Ok(Self {
            definition,
            options,
            writer,
            owner: owner.to_string(),
            open: None,
            runtime,
            history: None,
            remade: Cell::new(false),
            replanned: Cell::new(false),
        })
    }

    /// The history under which the outside has rows once changes are written, which leave rows or not.
    fn history_after(&self, leaves_rows: bool) -> Option<u64> {
        // A table without a key is not looked at whether it is empty, so every move counts there.
        let has_rows = self.definition.primary_key.is_empty() || leaves_rows || self.history.is_some();
        has_rows.then_some(self.writer.history)
    }

    fn store(&self) -> String {
        format!("{:032x}", self.writer.store)
    }

    async fn claim(&self) -> Result<Claim> {
        let client = self.options.target.connect().await?;
        let pid = session_pid(&client).await?;
        let found = sink_plan::find(&client, &self.definition, &self.options).await?;
        // What is taken back under a job may be given back at any time, and then it goes on.
        books::check(&client, &found.table.schema, &self.options.target, ErrorKind::Unavailable).await?;
        let shape = Shape::of(&self.definition, &found.table);
        let (store, books) = (self.store(), books::name_in(&found.table.schema));
        let entry = shape::Entry { books: books.clone(), store: &store, sink: &self.writer.sink };
        let changed = entry.note(&client, &shape).await?;
        let remedy = changed.remedy(&found.table.key());
        let plan = sink_plan::plan(&client, &self.definition, &self.options, found, &mut Vec::new()).await;
        let plan = plan.map_err(|error| match (error.remedy().map(str::to_owned), remedy) {
            (Some(hint), Some(more)) => error.hint(format!("{hint}; {more}")),
            _ => error,
        })?;
        let context = format!("sink {} cannot be claimed", plan.key());
        let failed = |error: tokio_postgres::Error| Fault::of(&error).error(&context);
        client
            .batch_execute(&format!(
                "SET lock_timeout = '{}s'; SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION}'; \
                 BEGIN; SELECT pg_advisory_xact_lock({LOCK})",
                LOCK_WAIT.as_secs()
            ))
            .await
            .map_err(failed)?;
        let kept = books::make(&client, &books).await.map_err(failed)?;
        let target = plan.key();
        let (column, value, set) =
            if kept.owner { (", claimed_by", ", $4", ", claimed_by = $4") } else { ("", "", "") };
        let sql = format!(
            "INSERT INTO {books} AS b (store, sink, target, upto, epoch{column}) VALUES ($1, $2, $3, 0, 1{value}) \
             ON CONFLICT (store, sink) DO UPDATE SET epoch = b.epoch + 1, target = EXCLUDED.target, claimed_at = now(){set} \
             RETURNING upto, epoch, history, xmax = 0"
        );
        let claim: [&(dyn ToSql + Sync); 4] = [&store, &self.writer.sink, &target, &self.owner];
        let claim = if kept.owner { &claim[..] } else { &claim[..3] };
        let row = client.query_one(&sql, claim).await.map_err(failed)?;
        let fence_others = format!("UPDATE {books} SET epoch = epoch + 1 WHERE target = $1 AND store <> $2");
        client.execute(&fence_others, &[&target, &store]).await.map_err(failed)?;
        let (mut upto, epoch): (i64, i64) = (row.get(0), row.get(1));
        let history = row.get::<_, Option<&str>>(2).and_then(|text| u64::from_str_radix(text, 16).ok());
        let rows = standing::rows(&client, &plan).await.map_err(failed)?;
        if upto == 0 {
            let is_lost = row.get(3) && self.writer.written;
            let (sink, role) = (self.writer.sink.as_str(), self.options.target.username.as_str());
            standing::check_unwritten(&client, &plan, rows, Asking { store: &store, sink, role, is_lost }).await?;
        }
        if !plan.key.is_empty() && upto > 0 && (rows == Rows::None || self.remade.get()) {
            let anew = format!("UPDATE {books} SET upto = 0, history = NULL WHERE store = $1 AND sink = $2");
            client.execute(&anew, &[&store, &self.writer.sink]).await.map_err(failed)?;
            // The history is told all the same: rows were written under it, which are gone.
            upto = 0;
        }
        if upto > 0 && rows != Rows::None && !changed.lost.is_empty() {
            let lost = Error::conflict(format!(
                "table {target}: the values of {} in the rows that are there are lost: dropped and added again, or changed to a type \
                 that does not hold them and back",
                changed.lost.join(", ")
            ));
            return Err(lost.hint(format!(
                "to have the table written anew, type there `{}`; to leave its rows as they are, type there `UPDATE {books} SET \
                 shape = NULL WHERE store = {} AND sink = {}`; then START JOB here",
                self.emptying(&plan),
                literal(&store),
                literal(&self.writer.sink)
            )));
        }
        if kept.shape {
            entry.put(&client, &shape.text()).await.map_err(failed)?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;

        let types: Vec<Type> = plan.columns.iter().map(|column| array_type(&column.kind)).collect();
        let insert = client.prepare_typed(&plan.insert_sql(), &types).await.map_err(failed)?;
        let delete = if plan.key.is_empty() {
            None
        } else {
            let types: Vec<Type> = plan.key.iter().map(|&k| types[k].clone()).collect();
            Some(client.prepare_typed(&plan.delete_sql(), &types).await.map_err(failed)?)
        };
        let advance = format!(
            "WITH moved AS (UPDATE {books} SET upto = $1, history = $6 WHERE store = $2 AND sink = $3 AND upto = $4 \
             AND epoch = $5 RETURNING 1) SELECT 1 / (count(*)::int * (COALESCE(to_regclass($7)::oid, 0) = $8 \
             AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $8 AND {MARK} = $9))::int) FROM moved"
        );
        let (text, number) = (Type::TEXT, Type::INT8);
        let first = [number.clone(), text.clone(), text.clone(), number.clone(), number, text.clone(), text.clone()];
        let types: Vec<Type> = first.into_iter().chain([Type::OID, text]).collect();
        let advance = client.prepare_typed(&advance, &types).await.map_err(failed)?;
        Ok(Claim {
            open: Open { client, pid, plan, epoch, insert, delete, advance },
            upto: CommitId(upto as u64),
            history,
        })
    }

    /// Carries out `work` on the connection that has claimed the sink. Only one whose transaction is over is used again.
    fn on_claimed<T>(&mut self, work: impl AsyncFnOnce(&Self, &Open) -> Result<T>) -> Result<T> {
        let open = self.open.take().ok_or_else(|| {
            Error::unavailable(format!("sink {} has no connection", self.options.table))
                .hint("ask for its position first")
        })?;
        let what = format!("sink {}", open.plan.key());
        let sink = &*self;
        let (open, done) = sink.runtime.block_on(async {
            match sink.options.target.patiently(open.pid, &what, work(sink, &open)).await {
                Ok(Ok(done)) => Ok((open, done)),
                Ok(Err(error)) | Err(error) => {
                    drop(open);
                    tokio::time::sleep(CLOSING).await;
                    Err(error)
                }
            }
        })?;
        self.open = Some(open);
        Ok(done)
    }

    /// Whether the outside is as this claim has left it.
    async fn looked(&self, open: &Open, upto: i64) -> Result<()> {
        let sql = format!(
            "SELECT FROM {} WHERE store = $1 AND sink = $2 AND upto = $3 AND epoch = $4 \
             AND COALESCE(to_regclass($5)::oid, 0) = $6 AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $6 AND {MARK} = $7)",
            open.plan.bookkeeping()
        );
        let (store, table) = (self.store(), open.plan.name());
        let (oid, mark) = (&open.plan.oid, &open.plan.mark);
        let wanted: [&(dyn ToSql + Sync); 7] = [&store, &self.writer.sink, &upto, &open.epoch, &table, oid, mark];
        match open.client.query_opt(&sql, &wanted).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.fenced(open, upto).await),
            Err(error) => Err(Fault::of(&error).error(&format!("sink {}", open.plan.key()))),
        }
    }

    /// Writes everything in one transaction; returns the history under which the outside then has rows.
    async fn write_all(
        &self,
        open: &Open,
        from: CommitId,
        upto: CommitId,
        mut chunks: Chunks<'_, '_>,
    ) -> Result<Option<u64>> {
        let changes = &chunks.next(open)?;
        let mut leaves_rows = !changes.written.is_empty();
        let deletes: Vec<&[usize]> = changes.deleted.chunks(STATEMENT_ROWS).collect();
        let inserts: Vec<&[usize]> = changes.written.chunks(STATEMENT_ROWS).collect();
        let small = chunks.is_done && deletes.len() <= 1 && inserts.len() <= 1;
        let (begin, last_delete, last_insert) = if small {
            (BEGIN, deletes.first().copied(), inserts.first().copied())
        } else {
            open.client.batch_execute(BEGIN).await.map_err(outside("the sink's transaction cannot begin"))?;
            self.write_rows(open, changes).await?;
            while !chunks.is_done {
                let changes = chunks.next(open)?;
                leaves_rows |= !changes.written.is_empty();
                self.write_rows(open, &changes).await?;
            }
            ("SELECT", None, None)
        };
        let (store, from, upto) = (self.store(), from.0 as i64, upto.0 as i64);
        // Under no history as long as there were no rows: then there is nothing that could be missed.
        let history = self.history_after(leaves_rows);
        let (under, table) = (history.map(|number| format!("{number:016x}")), open.plan.name());
        let (oid, mark) = (&open.plan.oid, &open.plan.mark);
        let move_on: [&(dyn ToSql + Sync); 9] =
            [&upto, &store, &self.writer.sink, &from, &open.epoch, &under, &table, oid, mark];
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
            return Err(match fault.code.as_deref() {
                Some("22012") => self.fenced(open, from).await,
                Some(INSUFFICIENT_PRIVILEGE) => self.bookless(open, &fault).await,
                _ => fault.error(&open.plan.key()),
            });
        }
        committed.map_err(|error| Fault::of(&error).error(&format!("sink {}: the commit", open.plan.key())))?;
        Ok(history)
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

    /// Which right on the bookkeeping table, or on its schema, was taken back.
    async fn bookless(&self, open: &Open, fault: &Fault) -> Error {
        // The transaction has failed, and nothing is answered within it.
        let _ = open.client.batch_execute("ROLLBACK").await;
        let (schema, target) = (&open.plan.schema, &self.options.target);
        let lacking = books::check(&open.client, schema, target, ErrorKind::Unavailable).await;
        lacking.err().unwrap_or_else(|| fault.error(&format!("sink {}", open.plan.key())))
    }

    /// Who has taken over, or what has become of the table.
    async fn fenced(&self, open: &Open, from: i64) -> Error {
        let key = open.plan.key();
        // The transaction has failed, and nothing is answered within it.
        let _ = open.client.batch_execute("ROLLBACK").await;
        let sql = format!(
            "SELECT upto, epoch, claimed_at::text FROM {} WHERE store = $1 AND sink = $2",
            open.plan.bookkeeping()
        );
        let entry = match open.client.query_opt(&sql, &[&self.store(), &self.writer.sink]).await {
            Ok(entry) => entry,
            Err(error) => return Fault::of(&error).error(&format!("sink {key}")),
        };
        // First of all: whoever is fenced must not claim the sink again, whatever became of the table.
        if let Some(row) = entry.as_ref().filter(|row| row.get::<_, i64>(1) > open.epoch) {
            let mine = (self.store(), self.writer.sink.as_str(), self.owner.as_str());
            let newest = books::newest_owner(&open.client, &open.plan, mine).await;
            let (who, at) = newest.unwrap_or_else(|| (None, row.get(2)));
            let who = who.map(|who| format!(": {who}")).unwrap_or_default();
            return Error::conflict(format!(
                "sink {key} is fenced: another process has taken it over{who} (claimed {at} UTC)"
            ))
            .hint("stop the other process that writes this table, then START JOB here");
        }
        let same = format!(
            "SELECT COALESCE(to_regclass($1)::oid, 0) = $2, EXISTS (SELECT FROM pg_class c WHERE c.oid = $2 AND {MARK} = $3)"
        );
        let (mut is_same, mut is_unaltered) = (true, true);
        if let Ok(row) = open.client.query_one(&same, &[&open.plan.name(), &open.plan.oid, &open.plan.mark]).await {
            (is_same, is_unaltered) = (row.get(0), row.get(1));
        }
        if !is_same {
            self.remade.set(true);
            return Error::unavailable(format!(
                "table {key} was dropped or replaced while it was written; it is looked at again"
            ));
        }
        match entry {
            // Claimed anew, which also tells whether the rows can be what was written.
            None => {
                Error::unavailable(format!("the entry of sink {key} in gridhouse_sink is gone; it is claimed anew"))
            }
            Some(_) if !is_unaltered => Error::unavailable(format!(
                "table {key} was emptied or altered while it was written; it is looked at again"
            )),
            // Nobody but a claim moves the epoch, and nobody but its owner the commit.
            Some(row) => Error::unavailable(format!(
                "sink {key} stands at commit {} instead of {from}: its database was restored; it is claimed anew",
                row.get::<_, i64>(0)
            )),
        }
    }

    /// What is typed at the sink so that its table is written from the beginning.
    fn emptying(&self, plan: &Plan) -> String {
        format!(
            "TRUNCATE {}; DELETE FROM {} WHERE store = {} AND sink = {}",
            plan.name(),
            plan.bookkeeping(),
            literal(&self.store()),
            literal(&self.writer.sink)
        )
    }

    /// The error of a row that does not fit, with the row: the server names neither it nor always the column, so the rows
    /// are tried in halves, each try rolled back.
    async fn data_error(&self, open: &Open, fault: &Fault, changes: &Changes) -> Error {
        let table = open.plan.key();
        if fault.code.as_deref() == Some("55P03") {
            let context = format!("sink {table} waits");
            if open.client.batch_execute("ROLLBACK").await.is_ok()
                && let Some(holder) = lock_holder(&open.client, open.plan.oid).await
            {
                return holder.context(context);
            }
            return fault.error(&context);
        }
        if fault.code.as_deref() == Some(INSUFFICIENT_PRIVILEGE) {
            return self.bookless(open, fault).await;
        }
        if fault.kind() != ErrorKind::Invalid {
            return fault.error(&format!("sink {table}"));
        }
        // A column without a value that the sink does not write is one that somebody added.
        let is_added = |name: &String| !open.plan.columns.iter().any(|column| column.name == *name);
        let has_changed = match fault.code.as_deref() {
            Some(NOT_NULL_VIOLATION) => fault.column.as_ref().is_some_and(is_added),
            code => code.is_some_and(|code| code.starts_with("42")),
        };
        if has_changed && !self.replanned.replace(true) {
            // Not a row's fault. The claim that follows compares declaration and table, and has the exact remedy.
            return Error::unavailable(format!("table {table} has changed ({}); it is looked at again", fault.message));
        }
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
        let of_value = found.code.as_deref().is_some_and(|code| code.starts_with("22"));
        let (column, row) = match rows {
            [row] if of_value => (self.column_at_fault(open, changes, *row, &found).await, Some(*row)),
            [row] => (None, Some(*row)),
            _ => (None, None),
        };
        let row = row.map(|row| changes.show(&open.plan, row));
        let name = column.map(|column| column.name.as_str()).or(found.column.as_deref());
        let error = found.error(&match (name, row) {
            (Some(column), Some(row)) => format!("sink {table}, column {column}, row {row}"),
            (Some(column), None) => format!("sink {table}, column {column}"),
            (None, Some(row)) => format!("sink {table}, row {row}"),
            (None, None) => format!("sink {table}"),
        });
        if error.remedy().is_some() {
            return error;
        }
        let name = open.plan.name();
        error.hint(match column {
            Some(column) => format!(
                "ALTER TABLE {name} ALTER COLUMN {} TYPE {} there, or make the value fit in the query; then START JOB",
                always_quoted(&column.name),
                sink_plan::pg_type(&column.kind)
            ),
            None => format!(
                "table {name} itself refuses the row: mend its rule there or the row in the query; then START JOB"
            ),
        })
    }

    /// The column whose value the server cannot take as `fault` says: with this value alone, and NULL everywhere else, it
    /// says the same. Types are applied before any rule of the table is looked at.
    async fn column_at_fault<'a>(
        &self,
        open: &'a Open,
        changes: &Changes,
        row: usize,
        fault: &Fault,
    ) -> Option<&'a PlanColumn> {
        for column in &open.plan.columns {
            let alone = open.plan.columns.iter().map(|other| {
                let values = changes.batch.column(other.index);
                if other.index == column.index {
                    parameter(values, &other.kind, &[row])
                } else {
                    parameter(&new_null_array(values.data_type(), 1), &other.kind, &[0])
                }
            });
            let refused = self.attempt_parameters(open, &alone.collect::<Vec<_>>()).await;
            if refused.is_some_and(|refused| refused.code == fault.code) {
                return Some(column);
            }
        }
        None
    }

    /// Whether writing `rows` fails; nothing stays.
    async fn attempt(&self, open: &Open, changes: &Changes, rows: &[usize]) -> Option<Fault> {
        for rows in rows.chunks(STATEMENT_ROWS) {
            if let Some(fault) = self.attempt_parameters(open, &open.inserted(changes, rows)).await {
                return Some(fault);
            }
        }
        None
    }

    async fn attempt_parameters(&self, open: &Open, parameters: &[Parameter]) -> Option<Fault> {
        open.client.batch_execute("BEGIN").await.ok()?;
        let done = execute(&open.client, &open.insert, parameters).await;
        open.client.batch_execute("ROLLBACK").await.ok()?;
        done.err().map(|error| Fault::of(&error))
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
        let target = &self.options.target;
        let limit = target.silence * CLAIM_SILENCES + LOCK_WAIT;
        let claimed = self.runtime.block_on(async {
            let claimed = tokio::time::timeout(limit, self.claim()).await.unwrap_or_else(|_| Err(target.silent()));
            if claimed.is_err() {
                tokio::time::sleep(CLOSING).await;
            }
            claimed
        });
        // A table that does not fit has been told as such; after it was mended a statement may find it changed again.
        self.replanned.set(self.replanned.get() && claimed.is_ok());
        let Claim { open, upto, history } = claimed?;
        self.history = history;
        self.remade.set(false);
        self.open = Some(open);
        Ok(upto)
    }

    fn history(&self) -> Option<u64> {
        self.history
    }

    fn emptied_by(&self) -> Option<String> {
        self.open.as_ref().map(|open| self.emptying(&open.plan))
    }

    fn look(&mut self, upto: CommitId) -> Result<()> {
        self.on_claimed(async |sink, open| sink.looked(open, upto.0 as i64).await)
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let chunks = Chunks { changes, is_done: false };
        let history = self.on_claimed(async |sink, open| sink.write_all(open, from, upto, chunks).await)?;
        self.replanned.set(false);
        self.history = history;
        // From now on an entry that is gone is one that was lost, whatever the store remembered as it began.
        self.writer.written |= history.is_some();
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
