//! What the engine keeps in the store's metadata, as JSON: catalog objects, streams and jobs.
//!
//! A record is written in the same tick as the change that it describes, so metadata and tables never disagree. Fields may
//! be added with `#[serde(default)]`; a record that cannot be read is `Corrupt`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::handover::Before;
use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{CommitId, Error, JobId, Result, SourceId, TableId};
use gridhouse_flow::connector::ChangelogMode;
use gridhouse_sql::ViewDef;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The metadata space of catalogs; keys are catalog names.
pub const CATALOGS: &str = "catalogs";
/// The metadata space of databases; keys are `catalog\u{1}database`.
pub const DATABASES: &str = "databases";
/// The metadata space of tables and views; keys are `catalog\u{1}database\u{1}object`.
pub const OBJECTS: &str = "objects";
/// The metadata space of source streams; keys are source ids.
pub const STREAMS: &str = "streams";
/// The metadata space of jobs; keys are job ids.
pub const JOBS: &str = "jobs";
/// The metadata space of numbers that are never given out again; keys are what they number.
pub const COUNTERS: &str = "counters";

/// What to do where a record is damaged.
pub(crate) const WAY_BACK: &str = "restore the data directory from a backup; or remove it and run the scripts again, which reads \
                                   everything from the sources";
/// The same, where it concerns one job alone.
pub(crate) const WAY_BACK_OF_JOB: &str = "DROP JOB, and run its script again";

/// A definition that many hold is written and read like one of its own.
mod shared {
    use super::{Arc, TableDef};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(definition: &Arc<TableDef>, serializer: S) -> Result<S::Ok, S::Error> {
        definition.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<TableDef>, D::Error> {
        TableDef::deserialize(deserializer).map(Arc::new)
    }
}

/// A catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogRecord {
    /// The `WITH` options.
    pub options: BTreeMap<String, String>,
    /// The database that `USE CATALOG` makes current.
    pub default_database: String,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// The `WITH` options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The comment.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A table or a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ObjectRecord {
    /// A table; one without connector has rows in the store.
    Table {
        /// The definition.
        #[serde(with = "shared")]
        definition: Arc<TableDef>,
        /// Its rows, for a table without connector.
        table: Option<TableId>,
    },
    /// A view.
    View(ViewDef),
}

/// A source stream and its tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The stream's id.
    pub id: SourceId,
    /// The connector.
    pub connector: String,
    /// What the stream is at the outside.
    pub stream_key: String,
    /// The job and `INSERT` that it belongs to, where each reader has a stream of its own.
    #[serde(default)]
    pub owner: Option<String>,
    /// Its tables.
    pub tables: Vec<StreamTableRecord>,
    /// The number of the next table of this stream.
    pub next_table: u32,
    /// The options that name what the stream has at the outside, of the table that it was made for; while it has nothing there, those
    /// that were named last. `None` where there is no such table yet, and in a record from before they were kept.
    #[serde(default)]
    pub options: Option<BTreeMap<String, String>>,
    /// Whether it has something at the outside, or was about to make it.
    #[serde(default)]
    pub has_place: bool,
    /// How the outside is reached that is yet to forget the stream, which is nobody's any more.
    #[serde(default)]
    pub leaving: Option<TableDef>,
}

/// A table of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamTableRecord {
    /// The number by which events name it.
    pub id: u32,
    /// What the table is at the outside.
    pub table_key: String,
    /// The definition that its events follow.
    pub definition: TableDef,
    /// The store's table where its rows land.
    pub landing: TableId,
    /// The job that it lands for directly; `None` for a hidden landing table that several jobs may read.
    pub job: Option<JobId>,
    /// The position of the contents that the store holds.
    pub snapshot: Option<Vec<u8>>,
    /// The position of contents that are about to arrive, and the commit that brings them: where the store has come to that commit when
    /// it is opened, they are there, and must not be added once more.
    #[serde(default)]
    pub arriving: Option<(Vec<u8>, CommitId)>,
    /// Whether rows of the source may be missing here: one could not be read, or was deleted here.
    #[serde(default)]
    pub may_lack: bool,
}

/// A continuous job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job's id.
    pub id: JobId,
    /// Its label (`pipeline.name`, or made from the target).
    pub name: String,
    /// Its `INSERT` statements; several for a statement set.
    pub inserts: Vec<InsertRecord>,
    /// What the statements were read under.
    pub environment: Environment,
    /// Whether it should run.
    pub state: JobState,
    /// Up to where a job that does not run has seen its inputs.
    pub cursor: CommitId,
}

/// One `INSERT` of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InsertRecord {
    /// The statement's text.
    pub text: String,
    /// Where it writes.
    pub target: ObjectPath,
    /// The identity of target and bound plan.
    pub fingerprint: String,
    /// The hidden table that an outside target is read from, if it is not a table of the user's.
    pub outbox: Option<TableId>,
    /// Where the outside tables that it reads come in.
    pub sources: Vec<SourceUse>,
    /// What an outside target takes.
    pub sink: Option<SinkMode>,
    /// What an outside target is at the outside; empty in a record from before that was kept.
    #[serde(default)]
    pub target_key: String,
    /// Whether an outside target does not keep how far it was written.
    #[serde(default)]
    pub forgets: bool,
    /// Where the log that an outside target is written from began when that was set up. A sink that is known to stand
    /// there has written nothing yet.
    #[serde(default)]
    pub begun: CommitId,
    /// The table from which an outside target was written before this one, until the outside has been taken over and will not go
    /// back behind that.
    #[serde(default)]
    pub before: Option<Before>,
    /// The user's table that an outside target is copied from. `None` where it has a hidden one, and in a record from before
    /// that was kept.
    #[serde(default)]
    pub copied: Option<TableId>,
    /// How far an outside that holds rows must have been written, so that the table that it is written from tells all that it
    /// lacks. One that stands before that was written from another table.
    #[serde(default)]
    pub tells_from: CommitId,
}

impl InsertRecord {
    /// As the field says, also in a record from before it was kept.
    pub(crate) fn tells_from(&self) -> CommitId {
        let taken_over = self.before.as_ref().map_or(CommitId(0), |before| CommitId(before.until.0 + 1));
        self.tells_from.max(taken_over)
    }

    /// The hidden tables that its outside target is read from, or is yet to be taken over from.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = TableId> {
        let before = self.before.as_ref().filter(|before| before.hidden).map(|before| before.table);
        self.outbox.into_iter().chain(before)
    }
}

/// An outside table that an `INSERT` reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceUse {
    /// The name under which the statement reads it.
    pub path: ObjectPath,
    /// Its stream.
    pub source: SourceId,
    /// Its number within the stream.
    pub table: u32,
}

/// What an outside target takes; [`ChangelogMode`] as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkMode {
    /// Only new rows.
    InsertOnly,
    /// Whole rows by key.
    Upsert,
    /// Every change.
    All,
}

impl From<ChangelogMode> for SinkMode {
    fn from(mode: ChangelogMode) -> Self {
        match mode {
            ChangelogMode::InsertOnly => Self::InsertOnly,
            ChangelogMode::Upsert => Self::Upsert,
            ChangelogMode::All => Self::All,
        }
    }
}

impl From<SinkMode> for ChangelogMode {
    fn from(mode: SinkMode) -> Self {
        match mode {
            SinkMode::InsertOnly => Self::InsertOnly,
            SinkMode::Upsert => Self::Upsert,
            SinkMode::All => Self::All,
        }
    }
}

/// Whether a job should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It runs whenever the engine runs.
    Running,
    /// The user stopped it.
    Stopped,
    /// It met an error and waits for `START JOB`.
    Failed(String),
    /// An outside that it asks does not answer; it goes on by itself once that does.
    Waiting(String),
    /// Its bounded input has ended.
    Finished,
}

impl JobState {
    /// Whether it runs, or does so by itself as soon as it can.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self, Self::Running | Self::Waiting(_))
    }

    /// The word that users see.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Failed(_) => "FAILED",
            Self::Waiting(_) => "WAITING",
            Self::Finished => "FINISHED",
        }
    }
}

/// What a statement's text was read under.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The current catalog.
    pub catalog: String,
    /// The current database.
    pub database: String,
    /// The settings that shape the plan.
    pub settings: BTreeMap<String, String>,
    /// Definitions of the temporary tables and views that the statement names.
    pub temporary: Vec<ObjectRecord>,
}

impl ObjectRecord {
    /// The full name.
    pub fn path(&self) -> &ObjectPath {
        match self {
            Self::Table { definition, .. } => &definition.path,
            Self::View(view) => &view.path,
        }
    }
}

/// The metadata key of an object.
pub fn object_key(path: &ObjectPath) -> String {
    format!("{}\u{1}{}\u{1}{}", path.catalog, path.database, path.object)
}

/// The metadata key of a database.
pub fn database_key(catalog: &str, database: &str) -> String {
    format!("{catalog}\u{1}{database}")
}

/// The record as JSON.
pub fn encode<T: Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("a record has string keys and no failing serializer")
}

/// The record that `text` holds.
///
/// # Errors
/// `Corrupt` where the text is not such a record.
pub fn decode<T: DeserializeOwned>(space: &str, key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::corrupt(format!("the record `{}` of `{space}` cannot be read", key.replace('\u{1}', ".")))
            .hint(WAY_BACK)
            .caused_by(error)
    })
}
