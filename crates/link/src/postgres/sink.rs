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

mod chunks;
mod claim;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::new_null_array;
use futures_util::future::join5;
use gridhouse_base::table::TableDef;
use gridhouse_base::{CommitId, Error, ErrorKind, Result};
use gridhouse_flow::connector::{MayGoOn, Sink, SinkChanges, SinkWriter};
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use self::chunks::{Changes, Chunks, ROW_BYTES, STATEMENT_BYTES, bytes_sent};
use super::books;
use super::catalog::MARK;
use super::client::{Fault, INSUFFICIENT_PRIVILEGE, always_quoted, literal, outside};
use super::jdbc_options::JdbcOptions;
use super::parameters::{Parameter, parameter};
use super::patience::{LOCK_WAIT, lock_holder};
use super::sink_plan::{self, Plan, PlanColumn};
use crate::Owner;

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
    /// The outside has had rows of this writer.
    filled: bool,
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
    under: Option<Under>,
}

/// What the column `history` of an entry tells. An earlier version wrote it with rows only.
#[derive(Clone, Copy)]
struct Under {
    /// The history of the store under which the outside was last written.
    history: u64,
    /// Whether it has had rows of this writer.
    filled: bool,
}

impl Under {
    fn text(self) -> String {
        format!("{}{:016x}", if self.filled { "" } else { "-" }, self.history)
    }

    fn read(text: &str) -> Option<Self> {
        let (filled, number) = text.strip_prefix('-').map_or((true, text), |number| (false, number));
        u64::from_str_radix(number, 16).ok().map(|history| Self { history, filled })
    }
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
            filled: false,
            remade: Cell::new(false),
            replanned: Cell::new(false),
        })
    }

    fn store(&self) -> String {
        format!("{:032x}", self.writer.store)
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
            "SELECT FROM {} WHERE store = $1 AND sink = $2 AND upto = $3::bigint AND epoch = $4::bigint \
             AND COALESCE(to_regclass($5)::oid, 0) = $6 AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $6 AND {MARK} = $7)",
            open.plan.bookkeeping()
        );
        let (store, table) = (self.store(), open.plan.name());
        let (oid, mark) = (&open.plan.oid, &open.plan.mark);
        let wanted: [&(dyn ToSql + Sync); 7] = [&store, &self.writer.sink, &upto, &open.epoch, &table, oid, mark];
        match open.client.query_opt(&sql, &wanted).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.fenced(open, upto).await),
            Err(error) => Err(self.bookless(open, &Fault::of(&error)).await),
        }
    }

    /// Writes everything in one transaction; returns whether the outside has had rows of this writer then.
    async fn write_all(&self, open: &Open, from: CommitId, upto: CommitId, mut chunks: Chunks<'_, '_>) -> Result<bool> {
        let changes = &chunks.next(&open.plan)?;
        let mut leaves_rows = !changes.written.is_empty();
        let mut whole = None;
        if chunks.is_done && changes.is_small() {
            // A write without rows has no columns either.
            let deleted = (!changes.deleted.is_empty()).then(|| open.deleted(changes, &changes.deleted));
            let inserted = (!changes.written.is_empty()).then(|| open.inserted(changes, &changes.written));
            // As they are sent, values may take more bytes than here.
            let has_room = |parameters: &Vec<Parameter>| bytes_sent(parameters) <= STATEMENT_BYTES;
            let fits = deleted.iter().chain(&inserted).all(has_room);
            whole = fits.then_some((deleted, inserted));
        }
        let begin = if whole.is_some() {
            BEGIN
        } else {
            open.client.batch_execute(BEGIN).await.map_err(outside("the sink's transaction cannot begin"))?;
            self.write_rows(open, changes).await?;
            while !chunks.is_done {
                let changes = chunks.next(&open.plan)?;
                leaves_rows |= !changes.written.is_empty();
                self.write_rows(open, &changes).await?;
            }
            "SELECT"
        };
        let (store, from, upto) = (self.store(), from.0 as i64, upto.0 as i64);
        // A table without a key is not looked at whether it is empty, so every move counts there.
        let filled = self.definition.primary_key.is_empty() || leaves_rows || self.filled;
        let (under, table) = (Under { history: self.writer.history, filled }.text(), open.plan.name());
        let (oid, mark) = (&open.plan.oid, &open.plan.mark);
        let move_on: [&(dyn ToSql + Sync); 9] =
            [&upto, &store, &self.writer.sink, &from, &open.epoch, &under, &table, oid, mark];
        // Each is sent when it is first polled, and they are polled in order. What fails before it is sent the server knows
        // nothing of, and would commit what comes after it.
        let unsent = Cell::new(false);
        let begun = in_order(&unsent, open.client.batch_execute(begin));
        let (delete, insert) = whole.unwrap_or_default();
        let deleted = in_order(&unsent, async {
            match (&delete, &open.delete) {
                (Some(parameters), Some(statement)) => execute(&open.client, statement, parameters).await,
                _ => Ok(()),
            }
        });
        let inserted = in_order(&unsent, async {
            match &insert {
                Some(parameters) => execute(&open.client, &open.insert, parameters).await,
                None => Ok(()),
            }
        });
        let advanced = in_order(&unsent, open.client.query(&open.advance, &move_on));
        let committed = in_order(&unsent, open.client.batch_execute("COMMIT"));
        let (begun, deleted, inserted, advanced, committed) =
            join5(begun, deleted, inserted, advanced, committed).await;
        begun.transpose().map_err(outside("the sink's transaction cannot begin"))?;
        if let Err(error) = deleted.transpose().and(inserted.transpose()) {
            return Err(self.data_error(open, &Fault::of(&error), changes).await);
        }
        if let Err(error) = advanced.transpose() {
            let fault = Fault::of(&error);
            return Err(match fault.code.as_deref() {
                Some("22012") => self.fenced(open, from).await,
                _ => self.bookless(open, &fault).await,
            });
        }
        committed
            .transpose()
            .map_err(|error| Fault::of(&error).error(&format!("sink {}: the commit", open.plan.key())))?;
        Ok(filled)
    }

    /// The statements of a part of a write of many rows, one after the other, in a transaction that stays open.
    async fn write_rows(&self, open: &Open, changes: &Changes) -> Result<()> {
        if let Some(statement) = &open.delete {
            self.write_some(open, changes, statement, &changes.deleted, |rows| open.deleted(changes, rows)).await?;
        }
        self.write_some(open, changes, &open.insert, &changes.written, |rows| open.inserted(changes, rows)).await
    }

    /// Executes `statement` for `rows`, in as many parts as it takes.
    async fn write_some(
        &self,
        open: &Open,
        changes: &Changes,
        statement: &Statement,
        rows: &[usize],
        prepared: impl Fn(&[usize]) -> Vec<Parameter>,
    ) -> Result<()> {
        let mut rest = rows;
        while let [row, ..] = rest {
            let (take, parameters) = changes.fitting(rest, &prepared);
            let bytes = bytes_sent(&parameters);
            if bytes > ROW_BYTES {
                let row = if open.plan.key.is_empty() { String::new() } else { changes.show(&open.plan, *row) };
                return Err(Error::invalid(format!(
                    "sink {}: a row {row} has {bytes} bytes, and postgresql takes no more than {ROW_BYTES} at once",
                    open.plan.key()
                ))
                .hint("make its values shorter in the query; then START JOB"));
            }
            let done = execute(&open.client, statement, &parameters).await;
            self.or_data_error(open, done, changes).await?;
            rest = &rest[take..];
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

    /// Which right on the bookkeeping table, or on its schema, was taken back, or what else became of it.
    async fn bookless(&self, open: &Open, fault: &Fault) -> Error {
        let told = fault.error(&format!("sink {}", open.plan.key()));
        if fault.kind() != ErrorKind::Invalid && fault.code.as_deref() != Some(INSUFFICIENT_PRIVILEGE) {
            return told;
        }
        // The transaction has failed, and nothing is answered within it.
        let _ = open.client.batch_execute("ROLLBACK").await;
        let (schema, target) = (&open.plan.schema, &self.options.target);
        let lacking = books::check(&open.client, schema, target, ErrorKind::Unavailable).await;
        lacking.err().unwrap_or(told)
    }

    /// Who has taken over, or what has become of the table.
    async fn fenced(&self, open: &Open, from: i64) -> Error {
        let key = open.plan.key();
        // The transaction has failed, and nothing is answered within it.
        let _ = open.client.batch_execute("ROLLBACK").await;
        let sql = format!(
            "SELECT COALESCE(upto::bigint, 0), COALESCE(epoch::bigint, 0), COALESCE(claimed_at::text, '?') FROM {} \
             WHERE store = $1 AND sink = $2",
            open.plan.bookkeeping()
        );
        let entry = match open.client.query_opt(&sql, &[&self.store(), &self.writer.sink]).await {
            Ok(entry) => entry,
            Err(error) => return self.bookless(open, &Fault::of(&error)).await,
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
        let mut rest = rows;
        while !rest.is_empty() {
            let (take, parameters) = changes.fitting(rest, |rows| open.inserted(changes, rows));
            if let Some(fault) = self.attempt_parameters(open, &parameters).await {
                return Some(fault);
            }
            rest = &rest[take..];
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
    fn claim(&mut self, may_go_on: MayGoOn<'_>) -> Result<CommitId> {
        self.open = None;
        let target = &self.options.target;
        let limit = target.silence * CLAIM_SILENCES + LOCK_WAIT;
        let claimed = self.runtime.block_on(async {
            let claimed =
                tokio::time::timeout(limit, self.claimed(may_go_on)).await.unwrap_or_else(|_| Err(target.silent()));
            if claimed.is_err() {
                tokio::time::sleep(CLOSING).await;
            }
            claimed
        });
        // A table that does not fit has been told as such; after it was mended a statement may find it changed again.
        self.replanned.set(self.replanned.get() && claimed.is_ok());
        let Claim { open, upto, under } = claimed?;
        (self.history, self.filled) = (under.map(|under| under.history), under.is_some_and(|under| under.filled));
        self.remade.set(false);
        self.open = Some(open);
        Ok(upto)
    }

    fn history(&self) -> Option<u64> {
        self.history
    }

    fn was_filled(&self) -> bool {
        self.filled
    }

    fn emptied_by(&self) -> Option<String> {
        self.open.as_ref().map(|open| self.emptying(&open.plan))
    }

    fn look(&mut self, upto: CommitId) -> Result<()> {
        self.on_claimed(async |sink, open| sink.looked(open, upto.0 as i64).await)
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let chunks = Chunks { changes, is_done: false };
        let filled = self.on_claimed(async |sink, open| sink.write_all(open, from, upto, chunks).await)?;
        self.replanned.set(false);
        (self.history, self.filled) = (Some(self.writer.history), filled);
        // From now on an entry that is gone is one that was lost, whatever the store remembered as it began.
        self.writer.written |= filled;
        Ok(())
    }
}

/// Carries out `part`, unless what goes before it in a transaction failed while it was to be sent.
async fn in_order<T, E>(unsent: &Cell<bool>, part: impl Future<Output = Result<T, E>>) -> Option<Result<T, E>> {
    if unsent.get() {
        return None;
    }
    let done = part.await;
    // An error of the server comes when all that follows was sent long ago.
    unsent.set(unsent.get() || done.is_err());
    Some(done)
}

async fn execute(
    client: &Client,
    statement: &Statement,
    parameters: &[Parameter],
) -> Result<(), tokio_postgres::Error> {
    client.execute_raw(statement, parameters).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join3;

    use super::*;

    #[test]
    fn nothing_is_sent_behind_a_part_that_could_not_be() {
        let (unsent, sent) = (Cell::new(false), Cell::new(0));
        let part = |can_be_sent: bool| {
            let sent = &sent;
            in_order(&unsent, async move {
                sent.set(sent.get() + u32::from(can_be_sent));
                if can_be_sent { Ok(()) } else { Err("a value that cannot be written down") }
            })
        };
        let done = join3(part(true), part(false), part(true)).now_or_never();
        let refused = Err("a value that cannot be written down");
        assert_eq!(done, Some((Some(Ok(())), Some(refused), None)));
        assert_eq!(sent.get(), 1);
    }
}
