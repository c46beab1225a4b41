//! Deterministic simulation: the program's durable parts run against a world that one seed owns, and are crashed, starved
//! and lied to.
//!
//! [`SimFileSystem`] is a disk that keeps only what was synced, and of the rest whatever it likes. [`store`] drives a store
//! on such a disk and compares it with a plain model after every crash. A failure prints the command that repeats it.

pub mod file_system;
pub mod model;
pub mod store;

pub use file_system::SimFileSystem;
