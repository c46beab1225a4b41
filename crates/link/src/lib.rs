//! Connectors: what lies outside, behind the traits of `gridhouse_flow::connector`.
//!
//! Each connector checks its options and the outside before it is used, and answers with the cause and the remedy. Nothing
//! here knows of the store, of jobs or of SQL text.

mod datagen;
mod files;
mod hosts;
mod options;
mod postgres;
mod print;
mod show;
mod stop;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use gridhouse_base::clock::Clock;
use gridhouse_base::fs::FileSystem;
use gridhouse_flow::connector::{LookupConnector, ScanConnector, SinkConnector, SourceConnector};

pub use datagen::Datagen;
pub use files::{FilesReader, FilesWriter};
pub use hosts::HostMap;
pub use postgres::{JdbcReader, JdbcWriter, PostgresCdc};
pub use print::{Blackhole, Print};

/// What connectors take from the program.
#[derive(Clone)]
pub struct LinkContext {
    /// Where the hosts of scripts really are.
    pub hosts: HostMap,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where the connector `filesystem` writes.
    pub fs: Arc<dyn FileSystem>,
    /// The seed of generated data.
    pub seed: u64,
    /// Where `print` writes.
    pub print: Arc<Mutex<dyn Write + Send>>,
    /// Who this is, for people who look for whoever writes a sink.
    pub owner: Owner,
}

/// A process that writes sinks, as others name it to their users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The machine.
    pub host: String,
    /// The number of the process there.
    pub process: u32,
    /// Its data directory, as a whole path.
    pub data_dir: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on host {}, data directory {}", self.process, self.host, self.data_dir)
    }
}

impl fmt::Debug for LinkContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkContext").field("hosts", &self.hosts).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Every kind of source, by the value of `connector`.
pub fn sources(context: &LinkContext) -> BTreeMap<&'static str, Arc<dyn SourceConnector>> {
    BTreeMap::from([
        ("postgres-cdc", Arc::new(PostgresCdc::new(context)) as Arc<dyn SourceConnector>),
        ("datagen", Arc::new(Datagen::new(context))),
        ("filesystem", Arc::new(FilesReader::new(context))),
        ("jdbc", Arc::new(JdbcReader::new(context))),
    ])
}

/// Every kind of sink, by the value of `connector`.
pub fn sinks(context: &LinkContext) -> BTreeMap<&'static str, Arc<dyn SinkConnector>> {
    BTreeMap::from([
        ("jdbc", Arc::new(JdbcWriter::new(context)) as Arc<dyn SinkConnector>),
        ("filesystem", Arc::new(FilesWriter::new(context))),
        ("print", Arc::new(Print::new(context.print.clone()))),
        ("blackhole", Arc::new(Blackhole)),
    ])
}

/// Every kind of table that can be read to its end.
pub fn scans(context: &LinkContext) -> BTreeMap<&'static str, Arc<dyn ScanConnector>> {
    BTreeMap::from([
        ("jdbc", Arc::new(JdbcReader::new(context)) as Arc<dyn ScanConnector>),
        ("filesystem", Arc::new(FilesReader::new(context))),
        ("datagen", Arc::new(Datagen::new(context))),
    ])
}

/// Every kind of table in which rows can be looked up.
pub fn lookups(context: &LinkContext) -> BTreeMap<&'static str, Arc<dyn LookupConnector>> {
    BTreeMap::from([("jdbc", Arc::new(JdbcReader::new(context)) as Arc<dyn LookupConnector>)])
}
