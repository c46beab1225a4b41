//! Incremental operators over change batches, their state and ticks, and the traits through which rows come in and go out.
//!
//! Synchronous and single-purpose: no threads, no clock of its own, no tables on disk.

pub mod connector;
pub mod dataflow;
pub mod hash;
pub mod operator;
pub mod stats;

mod aggregate;
mod arena;
mod bag;
mod consolidate;
mod filter;
mod keys;
mod map;
mod rows;
mod union;
mod values;

pub use consolidate::consolidate;
pub use dataflow::{Dataflow, DataflowBuilder, NodeId};
pub use operator::{CHUNK_ROWS, StateSize, TickContext};
