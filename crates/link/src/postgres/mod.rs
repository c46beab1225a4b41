//! PostgreSQL: changes in (`postgres-cdc`), results out, contents and look-ups in (`jdbc`).

mod bind;
mod binding;
mod books;
mod catalog;
mod cdc;
mod cdc_options;
mod client;
mod columns;
mod connection;
mod copy;
mod decode;
mod describe;
mod forget;
mod gather;
mod handover;
mod identity;
mod jdbc;
mod jdbc_options;
mod jdbc_source;
mod keywords;
mod look;
mod lookup;
mod lookup_cache;
mod lookup_keys;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod offline;
mod parameters;
mod patience;
mod pgoutput;
mod publication;
mod pushdown;
mod read_plan;
mod running;
mod scan;
mod shape;
mod sink;
mod sink_plan;
mod standing;
mod stream;
mod text;
mod timeline;
mod types;
mod url;

pub use cdc::PostgresCdc;
pub use jdbc::{JdbcReader, JdbcWriter};
