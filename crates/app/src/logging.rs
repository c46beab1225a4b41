//! The log: plain lines on standard error.

use tracing_subscriber::filter::LevelFilter;

/// Begins to write what is at least as important as `level`.
pub fn start(level: LevelFilter) {
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    lines.with_ansi(false).init();
}
