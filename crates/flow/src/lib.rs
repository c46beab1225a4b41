//! Incremental operators over change batches, their state and ticks, and the traits through which rows come in and go out.
//!
//! Synchronous and single-purpose: no threads, no clock of its own, no tables on disk.

pub mod builder;
pub mod connector;
pub mod dataflow;
pub mod hash;
pub mod join;
pub mod operator;
pub mod stats;
pub mod topn;

mod aggregate;
mod arena;
mod bag;
mod consolidate;
mod filter;
mod keys;
mod map;
mod packing;
mod rows;
mod union;
mod values;

pub use builder::{DataflowBuilder, NodeId};
pub use consolidate::consolidate;
pub use dataflow::Dataflow;
pub use hash::HashMode;
pub use join::JoinKind;
pub use operator::{CHUNK_ROWS, StateSize, TickContext};
pub use stats::NodeStats;
pub use topn::{SortKey, TopN};
