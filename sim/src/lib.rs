//! Deterministic simulation: the program's durable parts run against a world that one seed owns, and are crashed, starved
//! and lied to.
//!
//! [`SimFileSystem`] is a disk that keeps only what was synced, and of the rest whatever it likes. [`Simulation`] drives a
//! store on such a disk and compares it with a plain model. `hostile` tampers with its files. [`runs`] are whole
//! runs, each named by what repeats it.

pub mod by_thousands;
pub mod file_system;
mod hostile;
pub mod memory;
pub mod model;
pub mod runs;
pub mod simulation;

pub use file_system::{Cut, SimFileSystem};
pub use simulation::Simulation;
