//! Sessions, catalog, jobs and ticks: where SQL, operators and tables meet.
//!
//! [`Engine`] owns one data directory. [`Session`]s run SQL text against it, each with its own current catalog, settings and
//! temporary objects; any number may run at once on threads of their own.

pub mod outcome;
mod stub;

pub use outcome::{Outcome, StatementReport};
pub use stub::{Engine, Session};
