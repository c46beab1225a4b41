//! How a command ends: the exit codes that scripts can rely on.

use std::process::ExitCode;

use gridhouse_base::{Error, ErrorKind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped by Ctrl-C.
    Done = 0,
    /// A statement failed.
    Statement = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// A job of this run failed.
    Job = 3,
    /// Something outside (PostgreSQL, a process, the disk) does not answer.
    Outside = 4,
    /// The data directory is locked or corrupt.
    Directory = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The code for a statement that failed with `error`.
    pub fn of_statement(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Outside,
            ErrorKind::Corrupt => Self::Directory,
            _ => Self::Statement,
        }
    }
}

/// An error that ends the command, with its code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is said about it.
    pub error: Error,
}

impl Failure {
    /// `error` with `exit`.
    pub fn new(exit: Exit, error: Error) -> Self {
        Self { exit, error }
    }
}

/// Where nothing more is known, the error's kind decides.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { exit: Exit::of_statement(&error), error }
    }
}
