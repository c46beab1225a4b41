//! Tables on one machine: a write-ahead log, log and primary-key tables with buckets, snapshots at tick boundaries, recovery.
//!
//! One thread owns the [`Store`] and writes: sources' commits ([`Store::append_source`]), which wait, and ticks
//! ([`Store::tick`]), which apply them, write the rows that follow from them, and are published whole. Any number of threads
//! read through a [`Reader`]; what they see is the last tick that a [`Syncer`] has made durable. After any crash the store
//! is at a tick boundary at or after the last durable one, and every source goes on from the position that belongs to it.
//!
//! Rows that have cooled down lie in segments, which a checkpoint names; a [`Keeper`] makes them beside the writer, which takes
//! its results between ticks ([`Store::maintain`]). The store knows nothing of SQL, jobs or options; what others want to keep
//! goes into metadata rows ([`Tick::put`]), or is attached to a checkpoint ([`Attachment`]).

mod ahead;
mod bits;
mod bucket;
mod bucket_view;
mod cells;
mod changes;
mod check;
mod checkpoint;
mod codec;
mod condition;
mod cursors;
mod delta;
mod find;
mod follow;
mod gather;
mod group;
mod index;
mod key;
mod key_hash;
mod lookup;
mod maintenance;
mod meta;
mod payload;
mod pending;
mod replay;
mod scan;
mod segment;
mod snapshot;
mod source;
mod spec;
mod state;
mod store;
mod sync;
mod table;
mod tail;
mod tail_keys;
#[cfg(test)]
mod tests;
mod tick;
mod trim;
mod usage;
mod wal;

pub use changes::Changes;
pub use check::Checked;
pub use checkpoint::attached::{Attached, Attaching, Attachment};
pub use checkpoint::keeper::Keeper;
pub use condition::{ColumnStatistics, CompareOp, Conjunct};
pub use follow::{Follow, Nobody};
pub use maintenance::{Limits, TableWritten, Written};
pub use meta::SYSTEM_TABLE;
pub use pending::{AppliedRows, AppliedStep};
pub use scan::{Scan, ScanRequest};
pub use segment::encoding;
pub use snapshot::{Snapshot, TableSnapshot};
pub use source::{Part, SourceCommit, SourcePosition, StageUse};
pub use spec::{MAX_BUCKETS, MAX_COLUMNS, TableKind, TableSpec};
pub use store::{DEFAULT_WAL_FILE_BYTES, Store, StoreOptions};
pub use sync::{Reader, Syncer};
pub use tail::RowId;
pub use tick::Tick;
pub use usage::{LogLag, TableStorage};
pub use wal::verify::LogSpan;
