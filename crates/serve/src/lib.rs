//! The PostgreSQL wire protocol on a Unix socket in the data directory: how psql, drivers and Gridhouse's own commands talk
//! to the process that holds the directory.
//!
//! [`Server`] gives every connection a session and a thread of its own. [`Client`] is the other end, for the commands of
//! this program; it asks for a report of each statement, which other clients never see. The crate knows what a session
//! gives ([`gridhouse_engine::StatementReport`]) and nothing of how it comes about.

pub mod address;
pub mod client;
mod connection;
mod frame;
pub mod report;
mod server;
mod sqlstate;
mod text;
mod types;

pub use client::{Client, Event, Interrupt, ResultColumn, RowText};
pub use report::{JobReport, Report};
pub use server::{NewSession, RunScript, Server};

/// The name that PostgreSQL clients look for when they are given the data directory as host: `psql -h <data-dir>`.
pub const SOCKET_NAME: &str = ".s.PGSQL.5432";
