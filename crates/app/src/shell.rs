//! `gridhouse sql`: type SQL, see tables.

mod input;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use gridhouse_base::{Error, Result};
use gridhouse_serve::Client;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use crate::exit::{Exit, Failure};
use crate::house::{House, absolute};
use crate::language::Language;
use crate::script::{self, Script, Talk};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::status;
use input::SqlHelper;

/// How many entries the history file keeps.
const HISTORY_ENTRIES: usize = 2_000;

const HELP: &str = "\
SQL ends with `;` and may span lines. Tab completes keywords, tables and columns.
  \\d          tables            \\d NAME    columns of a table
  \\dv         views             \\l         databases
  \\jobs       jobs              \\status   sources, tables, jobs, sinks
  \\i FILE     run a script      \\?        this help
  \\q          leave (also Ctrl-D); Ctrl-C drops the line or stops the statement
";

#[derive(Debug, Args)]
pub struct SqlArgs {
    /// Run this SQL and return; may be given several times
    #[arg(short, long, value_name = "SQL")]
    execute: Vec<String>,
}

/// Runs the shell, or the SQL of `args`.
///
/// # Errors
/// What keeps the directory from being opened, with its exit code.
pub fn sql(settings: &Settings, args: &SqlArgs) -> Result<Exit, Failure> {
    let signals = Signals::listen()?;
    let (house, client) = House::enter(settings, &signals)?;
    if args.execute.is_empty() && std::io::stdin().is_terminal() {
        return at_terminal(settings, house, client, signals);
    }
    let ended = if !args.execute.is_empty() {
        let scripts = args.execute.iter().map(|sql| Script { name: "-e".into(), text: sql.clone() });
        run_all(client, scripts.collect(), &signals)
    } else {
        Script::read(&PathBuf::from("-")).and_then(|script| run_all(client, vec![script], &signals))
    };
    let left = house.leave();
    let exit = ended?;
    left?;
    Ok(exit)
}

/// Runs the shell on the terminal. SIGTERM cannot interrupt the line editor, so that a thread of its own stops the house.
fn at_terminal(settings: &Settings, house: House, client: Client, signals: Signals) -> Result<Exit, Failure> {
    let is_own = house.is_own();
    let house = Arc::new(Mutex::new(Some(house)));
    let leave = {
        let house = Arc::clone(&house);
        move || house.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), House::leave)
    };
    let (ending, leave_at_end) = (signals.clone(), leave.clone());
    let as_found = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let end = move || {
        ending.wait_for_end();
        if let Some(as_found) = as_found {
            // The line editor has the terminal in another mode while it waits.
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &as_found);
        }
        println!();
        let exit = match leave_at_end() {
            Ok(()) => Exit::Done,
            Err(error) => {
                eprintln!("{}", crate::complaint::plain(&error));
                Exit::of_statement(&error)
            }
        };
        std::process::exit(exit as i32);
    };
    let refused = |error| Error::unavailable("a thread cannot be started").caused_by(error);
    std::thread::Builder::new().name("shell-end".into()).spawn(end).map_err(refused)?;
    let ended = interactive(settings, is_own, client, &signals);
    let left = leave();
    let exit = ended?;
    left?;
    Ok(exit)
}

fn run_all(mut client: Client, scripts: Vec<Script>, signals: &Signals) -> Result<Exit> {
    signals.interrupts(Some(client.interrupt()));
    for script in scripts {
        let aftermath = script::run(&mut client, &script, Talk::Results, signals, &mut std::io::stdout())?;
        if let Some(exit) = aftermath.failed {
            return Ok(if signals.stop() { Exit::Done } else { exit });
        }
    }
    Ok(Exit::Done)
}

fn interactive(settings: &Settings, is_own: bool, client: Client, signals: &Signals) -> Result<Exit> {
    let terminal = |error: ReadlineError| Error::unavailable("the terminal cannot be used").caused_by(error);
    let config = Config::builder().max_history_size(HISTORY_ENTRIES).map_err(terminal)?.auto_add_history(true).build();
    let mut editor: Editor<SqlHelper, FileHistory> = Editor::with_config(config).map_err(terminal)?;
    let dir = absolute(&settings.data_dir);
    let whose = if is_own { "this process holds it".into() } else { format!("process {}", client.process()) };
    println!("Gridhouse {} on {dir} ({whose}). \\? helps, \\q leaves.", env!("CARGO_PKG_VERSION"));
    if is_own {
        println!("Continuous jobs run for as long as this shell; `gridhouse serve` keeps them going without it.");
    }
    editor.set_helper(Some(SqlHelper::new(client)));
    let history = history_file();
    if let Some(history) = &history {
        // There is none before the first use.
        let _ = editor.load_history(history);
    }
    while !signals.stop() {
        let line = match editor.readline("gridhouse> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        };
        let Some(helper) = editor.helper_mut() else { break };
        if carry_out(helper, line.trim(), settings.shown_language(), signals)? {
            break;
        }
    }
    if let Some(history) = &history
        && let Err(error) = save_history(&mut editor, history)
    {
        tracing::warn!(%error, "the history could not be saved");
    }
    Ok(Exit::Done)
}

/// Carries out one input; whether the shell ends.
fn carry_out(helper: &mut SqlHelper, line: &str, language: Language, signals: &Signals) -> Result<bool> {
    let bare = line.trim_end_matches(';').trim_end();
    let (word, rest) = bare.split_once(char::is_whitespace).unwrap_or((bare, ""));
    let script = match (word.to_ascii_lowercase().as_str(), rest.trim()) {
        ("", _) => return Ok(false),
        ("\\q" | "quit" | "exit", _) => return Ok(true),
        ("\\?" | "help", _) => {
            print!("{HELP}");
            return Ok(false);
        }
        ("\\jobs", _) => Script { name: "\\jobs".into(), text: "SHOW JOBS".into() },
        ("\\status", _) => {
            print!("{}", status::once(helper.client(), &status::ALL, language)?);
            return Ok(false);
        }
        ("\\l", _) => Script { name: "\\l".into(), text: "SHOW DATABASES".into() },
        ("\\dv", _) => Script { name: "\\dv".into(), text: "SHOW VIEWS".into() },
        ("\\d" | "\\dt", "") => {
            let text = "SELECT table_name, kind, row_count FROM system.status.tables".into();
            Script { name: "\\d".into(), text }
        }
        ("\\d" | "\\dt", table) => Script { name: "\\d".into(), text: format!("DESCRIBE {table}") },
        ("\\i", file) => match Script::read(&PathBuf::from(file)) {
            Ok(script) => script,
            Err(error) => {
                eprintln!("{}", crate::complaint::plain(&error));
                return Ok(false);
            }
        },
        (word, _) if word.starts_with('\\') => {
            eprintln!("{word} is not a command; \\? lists them");
            return Ok(false);
        }
        _ => Script { name: "sql".into(), text: line.into() },
    };
    signals.interrupts(Some(helper.client().interrupt()));
    let ran = script::run(helper.client(), &script, Talk::Results, signals, &mut std::io::stdout());
    signals.interrupts(None);
    // Ctrl-C while a statement ran was meant for the statement.
    signals.forget();
    helper.forget_names();
    ran.map(|_| false)
}

/// Where the history is kept: the user's state directory.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let directory = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?.join("gridhouse");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// Saves the history so that only the user can read it.
fn save_history(editor: &mut Editor<SqlHelper, FileHistory>, path: &PathBuf) -> Result<(), ReadlineError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)?.flush()?;
    editor.save_history(path)
}
