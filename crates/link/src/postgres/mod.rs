//! PostgreSQL: changes in (`postgres-cdc`), results out (`jdbc`).

mod catalog;
mod cdc;
mod cdc_options;
mod client;
mod columns;
mod connection;
mod copy;
mod decode;
mod describe;
mod gather;
mod handover;
mod jdbc;
mod parameters;
mod pgoutput;
mod sink;
mod sink_plan;
mod stream;
mod text;
mod types;
mod url;

pub use cdc::PostgresCdc;
pub use jdbc::Jdbc;
