//! Sessions, catalog, jobs and ticks: where SQL, operators and tables meet.
//!
//! [`Engine`] owns one data directory. [`Session`]s run SQL text against it, each with its own current catalog, settings and
//! temporary objects; any number may run at once on threads of their own. One core thread owns everything that changes.

mod analyze;
mod awaiting;
mod batch;
mod boot;
mod catalog;
mod check;
mod core;
mod cut;
mod ddl;
mod dead;
mod deltas;
mod dml;
mod engine;
mod feeding;
mod finish;
mod follow;
mod handover;
mod held;
mod history;
mod job;
mod kept;
mod keyed;
mod known;
mod lacking;
mod landing;
mod launch;
mod lineage;
mod lower;
mod on_key;
pub mod outcome;
mod outside;
mod passing;
mod place;
mod prepare;
mod query;
mod rebuild;
mod records;
mod rejected;
mod retention;
mod retire;
mod session;
mod shape;
mod shared;
mod show;
mod sink;
mod stream;
mod system;
mod tick;
mod timed;
mod trace;
mod wiring;
pub mod worker;
mod writers;

pub use batch::QueryPath;
pub use engine::{DEFAULT_STATE_BYTES, Engine, EngineOptions, Tuning};
pub use outcome::{Outcome, StatementReport};
pub use retention::ConsumerCap;
pub use session::Session;
