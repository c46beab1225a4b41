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
mod pgoutput;
mod stream;
mod text;
mod types;

pub use cdc::PostgresCdc;
