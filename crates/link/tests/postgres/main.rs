//! The PostgreSQL connectors against a real PostgreSQL: one cluster, a database per test.

mod cdc;
mod cdc_faults;
mod describe;
mod engine;
mod jdbc_read;
mod setup;
mod sink;
mod types;
