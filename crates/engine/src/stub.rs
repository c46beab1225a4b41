//! The engine's face while its inside is being built.

use std::ops::ControlFlow;

use gridhouse_base::{Error, Result};

use crate::outcome::StatementReport;

/// One data directory, its jobs, sources and sinks. Cloning gives another handle on the same engine.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// A new session: current catalog `default_catalog`, database `default_database`, no temporary objects.
    pub fn session(&self) -> Session {
        Session {}
    }

    /// Stops sources, jobs and sinks cleanly, makes everything durable and releases the directory.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn stop(&self) -> Result<()> {
        Err(Error::internal("not built"))
    }
}

/// A place to run SQL: current catalog and database, settings, temporary objects.
pub struct Session {}

impl Session {
    /// Runs the statements of `script` one after the other and reports each; stops at the first that fails, or where
    /// `each` breaks.
    pub fn run(&mut self, script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>) {
        let _ = (script, each);
    }
}
