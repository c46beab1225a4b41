//! `gridhouse solution` and `gridhouse verify`: prepares, feeds, shows and checks solutions, which are folders of SQL. Nothing
//! here knows a particular one; `solutions/README.md` says what a folder holds.

mod database;
mod definition;
mod expected;
mod figures;
mod folder;
mod generate;
mod prepare;
mod stages;
mod verify;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use gridhouse_base::{Error, Result};
use gridhouse_serve::{Client as House, ResultColumn};

use crate::cli::nobody;
use crate::exit::{Exit, Failure};
use crate::language::Language;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::{complaint, terminal};
use database::{Database, Databases, PLACE};
use folder::{Folder, Solution};

#[derive(Debug, Args)]
pub struct SolutionArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: SolutionCommand,
}

#[derive(Debug, Args)]
struct Common {
    /// A directory with solutions, or the folder of one, instead of those that are built in
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The language of what is shown [setting `language`]
    #[arg(long, global = true, value_name = "LANGUAGE")]
    lang: Option<Language>,
}

#[derive(Debug, Args)]
struct Places {
    /// The source database: postgres://user:password@host:port/database; `{database}` stands for the solution's [setting
    /// `solution_source`]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The sink database [setting `solution_sink`]
    #[arg(long, value_name = "URL")]
    sink: Option<String>,
}

#[derive(Debug, Subcommand)]
enum SolutionCommand {
    /// The solutions that there are
    List {
        /// Name and database alone, with a tab between, a line each: for scripts
        #[arg(long)]
        plain: bool,
    },
    /// Write a solution's files into a directory, as a beginning of your own
    Export {
        /// The solution
        name: String,
        /// The directory; it is created
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Make the source and sink tables, fill the source, write the script
    Prepare {
        /// The solution
        name: String,
        #[command(flatten)]
        places: Places,
        /// How large the source is filled; `list` says what it counts [default: the solution's own]
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
        size: Option<u32>,
        /// The seed of the first contents
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        seed: i32,
        /// Where the script is written; its databases are filled in
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// The Fluss cluster that the script names; Gridhouse needs none there
        #[arg(long, value_name = "HOST:PORT", default_value = prepare::FLUSS)]
        fluss: String,
    },
    /// Change the sources as a living business would, until Ctrl-C; the number of rows stays bounded
    Generate {
        /// The solutions
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// The source database: postgres://user:password@host:port/database; `{database}` stands for the solution's [setting
        /// `solution_source`]
        #[arg(long, value_name = "URL")]
        source: Option<String>,
        /// Changed rows per second of each solution; 0: as fast as the source allows
        #[arg(long, value_name = "ROWS", default_value_t = 200)]
        rate: u32,
        /// The seed of the changes
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        seed: i32,
        /// End after this time
        #[arg(long, value_name = "SECONDS")]
        duration: Option<u64>,
        /// End after this many steps of each solution; a step is a transaction
        #[arg(long, value_name = "NUMBER")]
        steps: Option<u64>,
    },
    /// Show the boards as the sink has them
    Board {
        /// The solutions
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// The sink database [setting `solution_sink`]
        #[arg(long, value_name = "URL")]
        sink: Option<String>,
    },
    /// Show rows, rates and delay of every layer and the key figures, again and again
    Watch {
        /// The solutions [default: those whose tables the running process has]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        places: Places,
        /// Seconds between two looks [default: 2; plain: 10]
        #[arg(long, value_name = "SECONDS")]
        interval: Option<u64>,
        /// End after this time
        #[arg(long, value_name = "SECONDS")]
        duration: Option<u64>,
        /// A line for each solution each time instead of a screen
        #[arg(long)]
        plain: bool,
        /// A text that is shown below (plain: once, at the start)
        #[arg(long, value_name = "TEXT", default_value = "")]
        notes: String,
    },
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    common: Common,
    /// The solutions [default: those whose tables the running process has]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    places: Places,
    /// How long layers and sink may take to agree
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// Compare the sink alone: for a chain that does not run here, but on a real Fluss and Flink
    #[arg(long)]
    sink_only: bool,
    /// Change nothing in the source, and so time nothing
    #[arg(long)]
    no_change: bool,
}

fn usage(error: Error) -> Failure {
    Failure::new(Exit::Usage, error)
}

/// Carries out `gridhouse solution`.
///
/// # Errors
/// `Unavailable` where a database does not answer; `Invalid` where a database or a solution does not fit.
pub fn carry_out(settings: &Settings, args: SolutionArgs) -> Result<Exit, Failure> {
    let desk = Desk::new(settings, &args.common)?;
    let (signals, language) = (&desk.signals, desk.language);
    match args.command {
        SolutionCommand::List { plain: true } => {
            for solution in desk.folder.open_all(&[])? {
                println!("{}\t{}", solution.name(), solution.definition.database);
            }
        }
        SolutionCommand::List { plain: false } => list(&desk.folder, language)?,
        SolutionCommand::Export { name, output } => export(&desk.folder, &name, &output)?,
        SolutionCommand::Prepare { name, places, size, seed, output, fluss } => {
            let (solution, databases) = desk.pair(desk.folder.open(&name)?, &places, false)?;
            let size = size.unwrap_or(solution.definition.size);
            let wanted = prepare::Wanted { size, seed, output: &output, fluss: &fluss, language };
            desk.runtime.block_on(prepare::prepare(&solution, &databases, &wanted))?;
        }
        SolutionCommand::Generate { names, source, rate, seed, duration, steps } => {
            let mut sources = Vec::new();
            for name in &names {
                let solution = desk.folder.open(name)?;
                sources.push((name.clone(), desk.source(&solution, source.as_deref(), names.len() > 1)?));
            }
            let duration = duration.map(Duration::from_secs);
            let limits = generate::Limits { rate, seed, duration, steps, language };
            desk.runtime.block_on(generate::generate(sources, limits, signals))?;
        }
        SolutionCommand::Board { names, sink } => {
            for name in &names {
                let solution = desk.folder.open(name)?;
                let sink = desk.sink(&solution, sink.as_deref(), names.len() > 1)?;
                let shown = desk.runtime.block_on(async {
                    let client = sink.connect().await?;
                    figures::boards(&solution, &sink, &client, language).await
                });
                print!("{}", shown?);
            }
        }
        SolutionCommand::Watch { names, places, interval, duration, plain, notes } => {
            let interval = Duration::from_secs(interval.unwrap_or(if plain { 10 } else { 2 }).max(1));
            let duration = duration.map(Duration::from_secs);
            let watch = watch::Watch { interval, duration, plain, notes: &notes, language };
            let solutions = desk.running(&names, &places)?;
            return desk.runtime.block_on(watch.show(solutions, settings, signals));
        }
    }
    Ok(Exit::Done)
}

/// Carries out `gridhouse verify`: every solution is checked, also where an earlier one is wrong.
///
/// # Errors
/// Exit code 4 where no process holds the directory or a database does not answer, 1 where something does not fit; a solution
/// whose figures differ ends it with exit code 1.
pub fn verify(settings: &Settings, args: &VerifyArgs) -> Result<Exit, Failure> {
    let desk = Desk::new(settings, &args.common)?;
    let patience = Duration::from_secs(args.timeout);
    let options = verify::Options { patience, mark: !args.no_change, language: desk.language };
    let (mut house, solutions) = if args.sink_only {
        let mut solutions = Vec::new();
        for solution in desk.folder.open_all(&args.names)? {
            solutions.push(desk.pair(solution, &args.places, args.names.len() != 1)?);
        }
        (None, solutions)
    } else {
        let house = House::connect(&settings.data_dir)?.ok_or_else(|| nobody(settings))?;
        (Some(house), desk.running(&args.names, &args.places)?)
    };
    let mut exit = Exit::Done;
    for (solution, databases) in &solutions {
        let checked =
            desk.runtime.block_on(verify::verify(solution, databases, house.as_mut(), options, &desk.signals));
        match checked {
            Ok(true) => {}
            Ok(false) => exit = Exit::Statement,
            Err(error) => {
                exit = Exit::of_statement(&error);
                eprintln!("{}", complaint::plain(&error.context(solution.name())));
            }
        }
        if desk.signals.stop() {
            break;
        }
    }
    Ok(exit)
}

/// What every command here works with.
struct Desk<'a> {
    settings: &'a Settings,
    folder: Folder,
    language: Language,
    signals: Signals,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Desk<'a> {
    fn new(settings: &'a Settings, common: &Common) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::unavailable("no runtime for the databases").caused_by(error))?;
        let language = common.lang.unwrap_or_else(|| settings.shown_language());
        let folder = Folder::at(common.dir.as_deref());
        Ok(Self { settings, folder, language, signals: Signals::listen()?, runtime })
    }

    fn source(&self, solution: &Solution, flag: Option<&str>, several: bool) -> Result<Database, Failure> {
        let url = flag.unwrap_or(&self.settings.solution_source);
        database("source", "--source", url, &solution.definition.database, several).map_err(usage)
    }

    fn sink(&self, solution: &Solution, flag: Option<&str>, several: bool) -> Result<Database, Failure> {
        let url = flag.unwrap_or(&self.settings.solution_sink);
        database("sink", "--sink", url, &solution.definition.database, several).map_err(usage)
    }

    fn pair(&self, solution: Solution, places: &Places, several: bool) -> Result<(Solution, Databases), Failure> {
        let source = self.source(&solution, places.source.as_deref(), several)?;
        let sink = self.sink(&solution, places.sink.as_deref(), several)?;
        Ok((solution, Databases { source, sink }))
    }

    /// The solutions `names`, or all whose tables the running process has.
    fn running(&self, names: &[String], places: &Places) -> Result<Vec<(Solution, Databases)>, Failure> {
        let mut house = House::connect(&self.settings.data_dir)?.ok_or_else(|| nobody(self.settings))?;
        let status = stages::Status::ask(&mut house)?;
        let mut solutions = self.folder.open_all(names)?;
        if names.is_empty() {
            solutions.retain(|solution| status.holds(&solution.definition));
        }
        let missing = solutions.iter().find(|solution| !status.holds(&solution.definition));
        if missing.is_some() || solutions.is_empty() {
            let name = missing.map_or("NAME", Solution::name);
            let dir = crate::house::shown(&self.settings.data_dir);
            let error = match missing {
                Some(solution) => format!("the process of {dir} has no table of the solution {}", solution.name()),
                None => format!("the process of {dir} has no table of any solution"),
            };
            let hint = format!("`gridhouse solution prepare {name} …` writes its script, `gridhouse run -f` starts it");
            return Err(Error::not_found(error).hint(hint).into());
        }
        let several = solutions.len() > 1;
        solutions.into_iter().map(|solution| self.pair(solution, places, several)).collect()
    }
}

/// The database of a role for the solution whose Fluss database is `name`.
fn database(role: &'static str, flag: &str, url: &str, name: &str, several: bool) -> Result<Database> {
    let setting = format!("solution_{role}");
    if url.is_empty() {
        let error = Error::invalid(format!("no {role} database is named"));
        let hint = format!("give {flag} postgres://user:password@host:5432/database, or the setting `{setting}`");
        return Err(error.hint(hint));
    }
    if several && !url.contains(PLACE) {
        let error = Error::invalid(format!("several solutions cannot share one {role} database"));
        return Err(
            error.hint(format!("write {PLACE} in its URL ({flag} or setting `{setting}`), or name one solution"))
        );
    }
    Database::parse(role, &url.replace(PLACE, name))
}

fn list(folder: &Folder, language: Language) -> Result<()> {
    let heads = [
        language.pick("solution", "方案"),
        language.pick("title", "名称"),
        language.pick("usual size", "默认规模"),
        language.pick("what", "内容"),
    ];
    let column = |name: &str| ResultColumn { name: name.into(), is_number: false };
    let mut table = TablePrinter::new(heads.map(column).to_vec(), terminal::width());
    let mut out = std::io::stdout().lock();
    let unwritable = |error| Error::unavailable("the list cannot be written").caused_by(error);
    for solution in folder.open_all(&[])? {
        let definition = &solution.definition;
        let size = format!("{} {}", definition.size, definition.size_unit(language));
        let row = [solution.name(), definition.title(language), &size, definition.summary(language)];
        table.row(row.map(|value| Some(value.to_owned())).to_vec(), &mut out).map_err(unwritable)?;
    }
    table.finish(&mut out).map_err(unwritable)?;
    Ok(())
}

fn export(folder: &Folder, name: &str, output: &Path) -> Result<()> {
    let (_, files) = folder.files(name)?;
    let unwritable = |error| Error::unavailable(format!("{} cannot be written", output.display())).caused_by(error);
    std::fs::create_dir_all(output).map_err(unwritable)?;
    let present = files.keys().find(|file| output.join(file).exists());
    if let Some(file) = present {
        let error = Error::conflict(format!("{} is there already", output.join(file).display()));
        return Err(error.hint("name another directory"));
    }
    let own = folder::folder_name(output)?;
    for (file, text) in files {
        // A solution is called as its folder.
        let text = text.replacen(&format!("name = \"{name}\""), &format!("name = \"{own}\""), 1);
        std::fs::write(output.join(file), text).map_err(unwritable)?;
    }
    println!("{}", output.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_serves_several_solutions_only_with_a_place_for_their_database() {
        let open =
            |url: &str, several| database("source", "--source", url, "shop", several).map(|d| d.name().to_owned());
        assert_eq!(open("postgres://u@h/{database}", true).unwrap(), "shop");
        assert_eq!(open("postgres://u@h/{database}_boards", false).unwrap(), "shop_boards");
        assert_eq!(open("postgres://u@h/own", false).unwrap(), "own");
        assert!(open("postgres://u@h/own", true).unwrap_err().remedy().is_some_and(|hint| hint.contains("{database}")));
        assert!(open("", false).unwrap_err().remedy().is_some_and(|hint| hint.contains("solution_source")));
    }
}
