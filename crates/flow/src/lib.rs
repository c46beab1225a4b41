//! Incremental operators over change batches, their state and ticks, and the traits through which rows come in and go out.
//!
//! Synchronous and single-purpose: no threads, no clock of its own, no tables on disk.

pub mod connector;
