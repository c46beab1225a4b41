//! Incremental operators over change batches, their state and ticks, and the traits through which rows come in and go out.
//!
//! Synchronous and single-purpose: no threads, no clock of its own, no tables on disk.

pub mod builder;
pub mod connector;
pub mod dataflow;
pub mod enrich;
pub mod event_time;
pub mod hash;
pub mod join;
pub mod operator;
pub mod set_operation;
pub mod spill;
pub mod stats;
pub mod topn;
pub mod unnest;

mod aggregate;
mod arena;
mod bag;
mod blocks;
mod compare;
mod consolidate;
mod difference;
mod failing;
mod fill;
mod filter;
mod frozen;
mod keys;
mod map;
mod maps;
mod packing;
mod pages;
mod residual;
mod row_sum;
mod rows;
mod slots;
mod sorted;
mod union;
mod values;
mod weight;

pub use builder::{DataflowBuilder, NodeId};
pub use consolidate::consolidate;
pub use dataflow::{Dataflow, Piece};
pub use difference::Difference;
pub use enrich::lookup::LookupSpec;
pub use enrich::probe::ProbeSpec;
pub use failing::RowError;
pub use frozen::{Earlier, FilePlaces, Frozen, KeptState, KeptWriter, Span};
pub use hash::HashMode;
pub use join::{JoinKey, JoinKind, JoinSpec, TimeBound};
pub use operator::{CHUNK_ROWS, StateSize, TickContext};
pub use row_sum::RowSum;
pub use set_operation::{SetKind, SetOperation};
pub use spill::Governor;
pub use stats::NodeStats;
pub use topn::{SortKey, TopN};
pub use unnest::Unnest;
