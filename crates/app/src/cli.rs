//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit::{Exit, Failure};
use crate::settings::{Origins, Settings};
use crate::{check, house, lifecycle, logging, run, shell, solution, status, trace};

/// A real-time streamhouse for power grids: Flink SQL over Fluss tables, on one machine.
#[derive(Debug, Parser)]
#[command(name = "gridhouse", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The directory that holds the tables and jobs [setting `data_dir`]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// The settings file [default: gridhouse.toml in the current directory, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDHOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one setting; `gridhouse settings` lists them
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run SQL, then keep its continuous jobs going until Ctrl-C
    Run(run::RunArgs),
    /// Hold the data directory and keep its jobs going, without a script
    Serve(lifecycle::ServeArgs),
    /// Stop the process that holds the data directory, cleanly
    Stop(lifecycle::StopArgs),
    /// An interactive SQL shell
    Sql(shell::SqlArgs),
    /// Jobs, tables, sources and sinks: rows in and out, delay
    Status(status::WatchArgs),
    /// The continuous jobs
    Jobs(status::WatchArgs),
    /// The tables of every layer with their row counts
    Tables(status::WatchArgs),
    /// Where the time of a change goes, from the source's commit to the sink's
    Trace(trace::TraceArgs),
    /// Check every checksum and invariant of the tables, while they are in use
    Check(check::CheckArgs),
    /// The settings, their values and where these come from
    Settings {
        /// Print the reference as Markdown instead (docs/settings.md)
        #[arg(long)]
        markdown: bool,
    },
    /// The solutions: whole chains as folders of SQL, with source, generator and boards
    Solution(solution::SolutionArgs),
    /// Compare every figure of the boards, and every layer, with the source; the generators wait meanwhile
    Verify(solution::VerifyArgs),
}

impl Cli {
    /// Reads the settings and carries out the command.
    ///
    /// # Errors
    /// What the user should read, with the exit code.
    pub fn carry_out(self) -> Result<Exit, Failure> {
        let usage = |error| Failure::new(Exit::Usage, error);
        let mut flags = self.common.set;
        flags.extend(self.common.data_dir.map(|dir| format!("data_dir={dir}")));
        let environment = |name: &str| std::env::var(name).ok();
        let (settings, origins) =
            Settings::gather(self.common.config.as_deref(), &environment, &flags).map_err(usage)?;
        logging::start(settings.log);
        match self.command {
            Command::Run(args) => run::run(&settings, &flags, &args),
            Command::Serve(args) => lifecycle::serve(&settings, &args),
            Command::Stop(args) => lifecycle::stop(&settings, &args),
            Command::Sql(args) => shell::sql(&settings, &args),
            Command::Status(args) => status::status(&settings, &args, &status::ALL),
            Command::Jobs(args) => status::status(&settings, &args, &[status::JOBS]),
            Command::Tables(args) => {
                let sections = [status::TABLES, status::SOURCES, status::SINKS, status::STORAGE, status::DISK];
                status::status(&settings, &args, &sections)
            }
            Command::Trace(args) => trace::trace(&settings, &args),
            Command::Check(args) => check::check(&settings, &args),
            Command::Settings { markdown } => {
                show_settings(&settings, &origins, markdown);
                Ok(Exit::Done)
            }
            Command::Solution(args) => solution::carry_out(&settings, args),
            Command::Verify(args) => solution::verify(&settings, &args),
        }
    }
}

fn show_settings(settings: &Settings, origins: &Origins, markdown: bool) {
    if markdown {
        print!("{}", crate::settings::markdown());
    } else {
        print!("{}", settings.listing(origins));
    }
}

/// What is said where a command needs a running process and there is none.
pub fn nobody(settings: &Settings) -> Failure {
    let error = gridhouse_base::Error::unavailable(format!("no process holds {}", house::shown(&settings.data_dir)));
    let hint = "start one with `gridhouse run -f script.sql` or `gridhouse serve`, or name its directory by --data-dir";
    Failure::new(Exit::Outside, error.hint(hint))
}
