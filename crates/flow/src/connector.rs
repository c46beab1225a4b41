//! How rows come in and go out: the traits that connectors implement and the engine drives.
//!
//! A *source stream* is one ordered flow of transactions (all tables of one PostgreSQL database, one generator, one file)
//! with a position that grows. Several source tables may share a stream. The engine makes what a stream delivers durable
//! and then acknowledges positions; after a restart it starts the stream at its last durable position, so that nothing is
//! lost and nothing is counted twice. A *sink* is written in transactions that carry the commit up to which it then agrees
//! with the store; it keeps that number itself, beside the data. A *scan* reads the rows of an outside table once, for one
//! query. A *look-up* answers keys with the rows that the outside holds at that moment.
//!
//! Connectors may use threads and async runtimes inside; what they show here is synchronous. Every channel is bounded: a
//! source that outruns the engine waits.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use arrow_array::{ArrayRef, UInt32Array};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, SourceId};
use gridhouse_expr::Expr;

/// An opaque position in a source stream; only its connector compares positions.
pub type SourcePosition = Vec<u8>;

/// What kinds of change a table delivers or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogMode {
    /// Only `+I`.
    InsertOnly,
    /// `+I`/`+U` with the whole row, `-D` with at least the key; needs a primary key.
    Upsert,
    /// `+I`, `-U`, `+U`, `-D`, all with whole rows.
    All,
}

/// What a connector found out about a source table before it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDescription {
    /// Names the stream that the table comes through, by what the outside is, never by host, port or password:
    /// `postgres-cdc/<system identifier>/<database>`. Tables with equal keys share a stream.
    pub stream_key: String,
    /// Names the table within the stream: `public.orders`.
    pub table_key: String,
    /// Whether tables with equal stream keys come through one stream. Otherwise each use of the table has a stream of its own
    /// (a generator generates for each reader).
    pub shared: bool,
    /// Whether the source ends by itself.
    pub bounded: bool,
    /// What it delivers.
    pub mode: ChangelogMode,
    /// Things that the user should know: "slot.name is noted but the stream uses …".
    pub notices: Vec<String>,
}

/// A table of a stream that is started.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// The number that events name the table by; chosen by the engine, the same after a restart.
    pub id: u32,
    /// The definition; events deliver its physical columns (metadata columns among them), in order.
    pub definition: Arc<TableDef>,
    /// The position of the snapshot that the store already holds; changes at or before it are not delivered again. `None`:
    /// the contents must be delivered first. A stream that no tables share then begins anew, wherever it stood before.
    pub snapshot: Option<SourcePosition>,
}

/// A stream, and how its outside is reached.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlace<'a> {
    /// Its key, as [`SourceConnector::describe`] gave it.
    pub key: &'a str,
    /// The definition by whose options the outside is reached: of one of its tables, with the stream's own options
    /// ([`SourceConnector::stream_options`]) in place of the table's.
    pub definition: &'a TableDef,
    /// The id of the store that reads it, by which its connections are told from those of others.
    pub store: u128,
}

/// What a stream tells the engine. `Rows` gather until a `Commit` takes them all.
#[derive(Debug)]
pub enum SourceEvent {
    /// Contents of a table under a snapshot; gathered apart from the stream until `SnapshotDone` swaps them in.
    SnapshotRows {
        /// The table.
        table: u32,
        /// Rows, all `+I`.
        batch: KindBatch,
    },
    /// The table's contents are complete as of `position`; what the store holds of the table is corrected by the difference.
    SnapshotDone {
        /// The table.
        table: u32,
        /// Where the stream goes on for this table.
        position: SourcePosition,
    },
    /// The table's contents are not asked for: the stream goes on for it at `position`, and what the store holds of it stays.
    SnapshotLeftOut {
        /// The table.
        table: u32,
        /// Where the stream goes on for this table.
        position: SourcePosition,
    },
    /// The contents gathered so far for this table are void; a new snapshot begins.
    SnapshotAborted {
        /// The table.
        table: u32,
    },
    /// Changes of transactions that the next `Commit` ends; in order.
    Rows {
        /// The table.
        table: u32,
        /// Where only some columns are known (unchanged large values of an update), their indices; the others keep their
        /// stored values.
        columns: Option<Vec<usize>>,
        /// The changes, with all columns, whatever stands in those that are not known. In upsert mode `-U` is left out.
        batch: KindBatch,
    },
    /// A row that cannot be read as declared, at this place in the order; only from tables with `'on-error' =
    /// 'dead-letter'`. It belongs to the next `Commit` or `SnapshotDone`, as the rows around it do.
    Rejected {
        /// The table.
        table: u32,
        /// The row as the outside has it.
        row: String,
        /// Why.
        error: Error,
    },
    /// All rows of a table are gone (`TRUNCATE`), at this place in the order.
    Truncate {
        /// The table.
        table: u32,
    },
    /// Everything since the last `Commit` is whole transactions and ends here.
    Commit {
        /// The position after them.
        position: SourcePosition,
        /// When the newest of them was committed at the source, microseconds since the epoch.
        event_time_micros: i64,
        /// When the last of them was taken from the outside, microseconds since the epoch.
        received_micros: i64,
    },
    /// Nothing for these tables up to `position`. Made durable like a commit's position, then acknowledged: a stream whose
    /// outside stands beyond what the store remembers must take it for a store that was restored, and compare contents.
    Idle {
        /// The position reached.
        position: SourcePosition,
    },
    /// Changes were missed for good: what the store holds of `tables` is of no position any more. Their contents follow, also
    /// after a restart; the stream's position is that of the first of them.
    Missed {
        /// The tables.
        tables: Vec<u32>,
    },
    /// What the store holds of a table is incomplete from the next `Commit` on, or may be already: its contents follow, also
    /// after a restart, and are compared. The stream's position stands. Until then `Rows` of some columns are passed over, since
    /// the row that they change may be missing.
    Outdated {
        /// The table.
        table: u32,
    },
    /// What the stream has at its outside for good is its own from now on: it is about to be made, or was there and free. Where that
    /// is another's the stream waits, and tells nothing.
    Placed,
    /// How far the stream is behind the outside; every so often.
    Lag(SourceLag),
    /// The outside does not answer; the stream tries again by itself. Rows since the last `Commit` are void.
    Waiting {
        /// Why.
        error: Error,
    },
    /// The outside answers again.
    Connected,
    /// One table cannot go on without the user; the others do. What was delivered of it since the last `Commit` is void, and
    /// nothing more of it comes until it is left out and brought in again, with its contents.
    TableFailed {
        /// The table.
        table: u32,
        /// Why, with the remedy.
        error: Error,
    },
    /// The stream cannot go on without the user. Rows since the last `Commit` are void.
    Failed {
        /// Why, with the remedy.
        error: Error,
    },
    /// A bounded source has delivered everything; follows its last `Commit`.
    Finished,
}

/// How far a stream is behind its outside, and what the outside keeps for it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLag {
    /// What keeps its log there for this stream, for people: `replication slot 'orders' of postgresql at host:5432`.
    pub keeper: Arc<str>,
    /// Bytes that the outside has written and that have not been acknowledged.
    pub behind_bytes: u64,
    /// Bytes of its log that the outside keeps because of this stream.
    pub kept_bytes: u64,
    /// How many it keeps at most; `None`: without limit, until its disk is full.
    pub cap_bytes: Option<u64>,
    /// Everything that the outside had written at this moment has been acknowledged, in the clock's monotonic time.
    pub caught_up: Duration,
}

/// Where a stream sends its events.
pub type SourceEvents = SyncSender<(SourceId, SourceEvent)>;

/// What the engine asks of a kind of source.
pub trait SourceConnector: Send + Sync {
    /// Checks the options against the outside (names, types, settings of the server) and names the stream. May block for
    /// as long as the outside takes to answer.
    ///
    /// # Errors
    /// `Invalid` with the remedy for wrong options or a definition that does not fit; `Unavailable` where the outside does
    /// not answer.
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription>;

    /// Options of a table that are its stream's: they name what the stream has at the outside (a replication slot). A stream
    /// keeps those of the table that it was made for, whatever tables it has later, as soon as it [has](SourceEvent::Placed) what they
    /// name; from then on it runs also while all of its tables rest, so that the outside keeps nothing for it, and is
    /// [forgotten](Self::forget) there at its end. Without any it has nothing there.
    fn stream_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Names what a stream has at its outside: where two streams have the same name, only one of them can have it.
    ///
    /// # Errors
    /// `Invalid` where the options cannot be read.
    fn place_name(&self, stream: StreamPlace<'_>) -> Result<String> {
        let own = self.stream_options().iter().filter_map(|name| stream.definition.options.get(*name));
        Ok(own.fold(stream.key.to_owned(), |name, value| format!("{name}/{value}")))
    }

    /// Options of a table that say which of its rows come, each with what it means where it is left out. Uses of one table that
    /// differ in them do not share what has come.
    fn choosing_options(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Starts a stream for `tables` (at least one, unless it has [options of its own](Self::stream_options)) at its last durable
    /// position; `None`: it never ran. Returns at once; connecting and retrying go on in the background and are reported as events.
    ///
    /// # Errors
    /// `Invalid` where the tables cannot share a stream.
    fn start(
        &self,
        source: SourceId,
        stream: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>>;

    /// Takes away what a stream that is nobody's any more, and does not run, has at the outside (its replication slot), unless
    /// another reader has it by now. May be done again; may block for as long as the outside takes to answer.
    ///
    /// # Errors
    /// Why it is there still, with what is to be typed at the outside to do it by hand; it is tried again. `Invalid` where the
    /// outside refuses to be asked so: rarely then.
    fn forget(&self, stream: StreamPlace<'_>) -> Result<()> {
        let _ = stream;
        Ok(())
    }

    /// A position for people; hexadecimal digits where the connector has no other form.
    fn position_text(&self, position: &[u8]) -> String {
        position.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A running stream. Dropping it stops it without waiting.
pub trait SourceStream: Send {
    /// Brings one more table into the stream; its contents follow as a snapshot.
    fn add_table(&self, table: SourceTable);

    /// Leaves a table out from now on.
    fn remove_table(&self, table: u32);

    /// Delivers the contents of a table again, while its changes go on: the engine lacks a row of which the stream told a part.
    fn read_again(&self, table: u32);

    /// Everything up to `position` is durable here; the outside may forget it.
    fn acknowledge(&self, position: SourcePosition);

    /// Stops, waiting for the connection to close; the position stays at the outside.
    fn stop(self: Box<Self>);
}

/// Who writes to a sink: the store's own id and a name that is unique within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkWriter {
    /// The store's id.
    pub store: u128,
    /// The sink's name within the store.
    pub sink: String,
    /// The store's history: it begins anew with every start, so that a store which was restored from a copy can be told from
    /// the one that went on. Kept by the outside beside the commit.
    pub history: u64,
    /// Whether the store remembers that the outside was written before.
    pub written: bool,
}

/// What a sink is to write, batch by batch, as it is read from a table's log: a transaction of any size passes in bounded
/// memory. An error ends the write; nothing of it may stay.
pub type SinkChanges<'a> = dyn Iterator<Item = Result<KindBatch>> + 'a;

/// What a connector found out about a sink table before it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkDescription {
    /// What the sink is at the outside, never by host, port or password.
    pub target_key: String,
    /// What it takes.
    pub mode: ChangelogMode,
    /// Whether it keeps the commit up to which it was written, so that nothing is written twice.
    pub exactly_once: bool,
    /// Things that the user should know.
    pub notices: Vec<String>,
}

/// What the engine asks of a kind of sink.
pub trait SinkConnector: Send + Sync {
    /// Checks the options against the outside (table, columns, types, key).
    ///
    /// # Errors
    /// `Invalid` with the remedy; `Unavailable` where the outside does not answer.
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription>;

    /// Opens the sink for one writer. The connection is made by the first call of the sink.
    ///
    /// # Errors
    /// `Invalid` for wrong options.
    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>>;
}

/// Where an outside stands that a writer is about to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest commit that it holds for this writer.
    pub upto: CommitId,
    /// As [`Sink::history`].
    pub history: Option<u64>,
    /// As [`Sink::emptied_by`].
    pub emptied_by: Option<String>,
}

/// Whether a writer may go on from where the outside stands.
pub type MayGoOn<'a> = &'a dyn Fn(&Standing) -> Result<()>;

/// An open sink, driven by a thread of its own. After `Unavailable` the engine claims it again and goes on from there.
pub trait Sink: Send {
    /// Claims the sink for this writer: an older process that still writes is fenced from now on. The newest commit that the
    /// outside holds for it, 0 where it was never written. `may_go_on` is asked before, and a claim that it refuses changes
    /// nothing at the outside and fences nobody. Where the outside keeps nothing, it need not be asked.
    ///
    /// # Errors
    /// `Unavailable` where the outside does not answer; `Conflict` where another store owns the sink; those of `may_go_on`.
    fn claim(&mut self, may_go_on: MayGoOn<'_>) -> Result<CommitId>;

    /// Claims the sink wherever the outside stands.
    ///
    /// # Errors
    /// As [`Sink::claim`].
    fn position(&mut self) -> Result<CommitId> {
        self.claim(&|_| Ok(()))
    }

    /// The history of the store under which the outside was last written, known after `claim`. `None` where nothing was
    /// ever written, or it keeps none.
    fn history(&self) -> Option<u64> {
        None
    }

    /// Whether the outside has had rows of this writer, known after `claim`. As long as it had none, none are missing.
    fn was_filled(&self) -> bool {
        self.history().is_some()
    }

    /// What is to be typed at the outside, known after `claim`, so that it is written from its beginning: statements that
    /// empty it and forget how far it was written. `None` where it knows no statements.
    fn emptied_by(&self) -> Option<String> {
        None
    }

    /// Writes, in one outside transaction, what changed in the commits after `from` up to `upto`. In upsert mode a key is written
    /// at most once, as `+I`/`+U`, and never withdrawn after that; its `-D` may come before, repeatedly, and for a row that
    /// the outside does not have. Else rows come in order.
    ///
    /// # Errors
    /// `Unavailable` where the outside does not answer (nothing is known of the transaction); `Conflict` where another
    /// process has taken over; `Invalid` where a row does not fit, naming row and column; those of `changes`.
    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()>;

    /// Looks whether the outside still stands at `upto`, where this writer has left it, and still is this writer's. Asked now and
    /// then while there is nothing to write: an outside that was restored meanwhile would go unnoticed until there is.
    ///
    /// # Errors
    /// As [`Sink::write_changes`]; `Unavailable` also where it stands elsewhere, so that its position is asked for again.
    fn look(&mut self, upto: CommitId) -> Result<()> {
        let _ = upto;
        Ok(())
    }

    /// As [`Sink::write_changes`], of changes that are at hand.
    ///
    /// # Errors
    /// As [`Sink::write_changes`].
    fn write(&mut self, from: CommitId, upto: CommitId, changes: &[KindBatch]) -> Result<()> {
        self.write_changes(from, upto, &mut changes.iter().cloned().map(Ok))
    }
}

/// What one query wants of an outside table.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// The columns, as indices into the definition's schema: physical and metadata columns only.
    pub columns: Vec<usize>,
    /// Conditions that rows must meet, over the definition's columns. The query applies them itself too: a scan may leave out
    /// rows that fail one, and need not.
    pub filters: Vec<Expr>,
    /// How many rows are enough; only given without `filters`.
    pub limit: Option<u64>,
}

/// The rows of a scan, batch by batch; dropping it ends the reading.
pub type ScanRows = Box<dyn Iterator<Item = Result<ChangeBatch>> + Send>;

/// What the engine asks of a kind of outside table that can be read to its end.
pub trait ScanConnector: Send + Sync {
    /// The rows that the outside holds now, with the columns of `request` in its order, all inserted once.
    ///
    /// # Errors
    /// `Invalid` with the remedy for wrong options, a table that does not fit or one that has no end; `Unavailable` where the
    /// outside does not answer. The same from the rows, naming the one that does not fit.
    fn scan(&self, definition: &TableDef, request: &ScanRequest) -> Result<ScanRows>;
}

/// What a look-up asks for, fixed when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupRequest {
    /// The columns that are compared with the keys, as indices into the definition's schema; never empty.
    pub keys: Vec<usize>,
    /// The columns that are wanted.
    pub columns: Vec<usize>,
}

/// What the engine asks of a kind of outside table in which rows are looked up by key.
pub trait LookupConnector: Send + Sync {
    /// Checks the options and opens a look-up. The connection is made by the first call of the look-up.
    ///
    /// # Errors
    /// `Invalid` with the remedy for wrong options or a table that does not fit.
    fn open(&self, definition: Arc<TableDef>, request: LookupRequest) -> Result<Box<dyn Lookup>>;
}

/// The answers to a batch of keys: the matching rows, each with the number of the key that it answers. A key may have none, one
/// or many; they come in the order of the keys.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key's number within the batch, per row.
    pub keys: UInt32Array,
    /// The wanted columns.
    pub columns: Vec<ArrayRef>,
}

/// An open look-up, used by one operator. It may remember answers for as long as its options allow.
pub trait Lookup: Send {
    /// The rows whose key columns equal `keys` (one array per key column, of the columns' types, `len` long). A key that holds
    /// NULL finds nothing. Blocks for as long as the outside takes, within the limits of its options.
    ///
    /// # Errors
    /// `Unavailable` where the outside does not answer after the retries that its options allow; `Invalid` where a row does not
    /// fit its declared type, naming it.
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found>;

    /// Asks once whether rows can be looked up now.
    ///
    /// # Errors
    /// `Unavailable` where the outside does not answer, `Invalid` where its table does not fit.
    fn check(&mut self) -> Result<()>;
}
