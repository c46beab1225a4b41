//! The `gridhouse` program: commands, settings, wiring and shutdown. The only crate that names concrete parts.
//!
//! Every command talks to a data directory through its socket, also the one whose own process holds the directory: so a
//! script means the same whoever runs it, and psql sees what the program's own commands see.

mod check;
mod cli;
mod complaint;
mod exit;
mod house;
mod language;
mod lifecycle;
mod logging;
mod redact;
mod run;
mod script;
mod settings;
mod shell;
mod signals;
mod solution;
mod status;
mod table;
mod terminal;
mod trace;
mod wiring;

use clap::Parser;

fn main() -> std::process::ExitCode {
    gridhouse_base::panics::end_the_process();
    // Usage errors end in here, with exit code 2.
    let cli = cli::Cli::parse();
    match cli.carry_out() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{}", complaint::plain(&failure.error));
            failure.exit.into()
        }
    }
}
