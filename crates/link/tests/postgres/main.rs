//! The PostgreSQL connectors against a real PostgreSQL: one cluster, a database per test.

mod altered;
mod catalog_faults;
mod cdc;
mod cdc_faults;
mod describe;
mod engine;
mod failover;
mod forget;
mod jdbc_read;
mod limits;
mod network;
mod network_read;
mod no_contents;
mod partitions;
mod publications;
mod remedies;
mod setup;
mod sink;
mod sink_books;
mod sink_faults;
mod sink_owners;
mod types;
