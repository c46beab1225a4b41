//! `gridhouse demo`: the living example of `solutions/first-chain`: its schemas, its generator, its board and its check.

mod chain;
mod generate;
mod verify;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use gridhouse_base::random::Random;
use gridhouse_base::{Error, Result};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::signals::Signals;
use chain::Database;

#[derive(Debug, Args)]
pub struct DemoArgs {
    #[command(subcommand)]
    command: DemoCommand,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Make the source and sink tables, fill the source, write the script
    Prepare {
        #[command(flatten)]
        databases: Databases,
        /// Devices; each has a few readings
        #[arg(long, value_name = "DEVICES", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
        size: u32,
        /// Where the script is written; its databases are filled in
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Change the source as a living grid would, until Ctrl-C; the number of rows stays bounded
    Generate {
        /// The source database
        #[arg(long, value_name = "URL", env = "GRIDHOUSE_DEMO_SOURCE", hide_env_values = true)]
        source: String,
        /// Changed rows per second
        #[arg(long, value_name = "ROWS", default_value_t = 200)]
        rate: u32,
        /// The seed of the changes
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        seed: u64,
        /// End after this time
        #[arg(long, value_name = "SECONDS")]
        duration: Option<u64>,
        /// End after this many changed rows
        #[arg(long, value_name = "ROWS")]
        rows: Option<u64>,
    },
    /// Show the board tables of the sink
    Board {
        /// The sink database
        #[arg(long, value_name = "URL", env = "GRIDHOUSE_DEMO_SINK", hide_env_values = true)]
        sink: String,
    },
    /// Show rows, rates and delay of every layer and the boards, again and again
    Watch {
        /// The sink database
        #[arg(long, value_name = "URL", env = "GRIDHOUSE_DEMO_SINK", hide_env_values = true)]
        sink: String,
        /// Seconds between two looks [default: 2; plain: 10]
        #[arg(long, value_name = "SECONDS")]
        interval: Option<u64>,
        /// End after this time
        #[arg(long, value_name = "SECONDS")]
        duration: Option<u64>,
        /// One line each time instead of a screen
        #[arg(long)]
        plain: bool,
        /// A text that is shown below (plain: once, at the start)
        #[arg(long, value_name = "TEXT", default_value = "")]
        notes: String,
    },
    /// Compare every figure of the sink, and the counts of the layers, with the source; the generator waits meanwhile
    Verify {
        #[command(flatten)]
        databases: Databases,
        /// How long the sink may take to agree
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
struct Databases {
    /// The source database: postgres://user:password@host:port/database
    #[arg(long, value_name = "URL", env = "GRIDHOUSE_DEMO_SOURCE", hide_env_values = true)]
    source: String,
    /// The sink database
    #[arg(long, value_name = "URL", env = "GRIDHOUSE_DEMO_SINK", hide_env_values = true)]
    sink: String,
}

/// Carries out one of the commands.
///
/// # Errors
/// `Unavailable` where a database does not answer; `Invalid` where it does not fit.
pub fn carry_out(settings: &Settings, args: DemoArgs) -> Result<Exit, Failure> {
    let signals = Signals::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::unavailable("no runtime for the databases").caused_by(error))?;
    let usage = |error| Failure::new(Exit::Usage, error);
    match args.command {
        DemoCommand::Prepare { databases, size, output } => {
            let source = Database::parse("source", &databases.source).map_err(usage)?;
            let sink = Database::parse("sink", &databases.sink).map_err(usage)?;
            runtime.block_on(chain::prepare(&source, &sink, size, &output))?;
            Ok(Exit::Done)
        }
        DemoCommand::Generate { source, rate, seed, duration, rows } => {
            let source = Database::parse("source", &source).map_err(usage)?;
            let limits = generate::Limits { rate: rate.max(1), duration: duration.map(Duration::from_secs), rows };
            runtime.block_on(generate::generate(&source, limits, Random::new(seed), &signals))?;
            Ok(Exit::Done)
        }
        DemoCommand::Board { sink } => {
            let sink = Database::parse("sink", &sink).map_err(usage)?;
            print!("{}", runtime.block_on(verify::board(&sink))?);
            Ok(Exit::Done)
        }
        DemoCommand::Watch { sink, interval, duration, plain, notes } => {
            let sink = Database::parse("sink", &sink).map_err(usage)?;
            let interval = Duration::from_secs(interval.unwrap_or(if plain { 10 } else { 2 }).max(1));
            let duration = duration.map(Duration::from_secs);
            let watch = watch::Watch { sink: &sink, interval, duration, plain, notes: &notes };
            runtime.block_on(watch.show(settings, &signals))
        }
        DemoCommand::Verify { databases, timeout } => {
            let source = Database::parse("source", &databases.source).map_err(usage)?;
            let sink = Database::parse("sink", &databases.sink).map_err(usage)?;
            let patience = Duration::from_secs(timeout);
            let agree = runtime.block_on(verify::verify(settings, &source, &sink, patience, &signals))?;
            Ok(if agree { Exit::Done } else { Exit::Statement })
        }
    }
}
