//! The nouns that every other crate shares: ids, SQL types, schemas, change batches, time, errors and the outside world
//! (file system, clock, randomness) as arguments.
//!
//! Nothing here knows of tables on disk, of SQL text or of operators. Everything here is expensive to change: formats and
//! crates above are built on it.

pub mod batch;
pub mod clock;
pub mod error;
pub mod fs;
pub mod ids;
pub mod panics;
pub mod quantity;
pub mod random;
pub mod schema;
pub mod table;
pub mod types;
pub mod value;

pub use batch::{ChangeBatch, RowKind};
pub use error::{Error, ErrorKind, Position, Result};
pub use ids::{BucketId, CommitId, JobId, SourceId, TableId};
pub use schema::{Column, Schema};
pub use types::{Field, SqlType, TypeKind};
pub use value::Value;
