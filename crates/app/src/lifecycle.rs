//! Processes: holding a directory without a script, in the foreground or in the background, and stopping the holder.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::{Error, Result};
use gridhouse_serve::Client;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::exit::{Exit, Failure};
use crate::house::{House, absolute, shown};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::status;

/// The log of a process in the background, in its data directory.
const LOG_NAME: &str = "gridhouse.log";

/// How often a starting or stopping process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many bytes from the end of a log are shown when a process did not start.
const LOG_TAIL_BYTES: usize = 2_000;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Leave the terminal: a session of its own, for a process in the background
    #[arg(long, hide = true)]
    background: bool,
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// How long the process may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// Holds the directory until a signal comes.
///
/// # Errors
/// Exit code 5 where another process holds it.
pub fn serve(settings: &Settings, args: &ServeArgs) -> Result<Exit, Failure> {
    if args.background {
        // Already the leader of a session: nothing to leave.
        let _ = rustix::process::setsid();
    }
    let signals = Signals::listen()?;
    let (house, client) = House::enter(settings, &signals)?;
    if !house.is_own() {
        let dir = shown(&settings.data_dir);
        let error = Error::conflict(format!("process {} holds {dir} already", client.process()));
        return Err(Failure::new(Exit::Directory, error.hint(format!("`gridhouse --data-dir {dir} stop` stops it"))));
    }
    drop(client);
    let dir = absolute(&settings.data_dir);
    println!("process {} holds {dir}; Ctrl-C stops it. Look: gridhouse --data-dir {dir} sql", std::process::id());
    signals.wait_for_stop();
    tell_what_sources_keep(settings);
    house.leave()?;
    Ok(Exit::Done)
}

/// Sees to it that a process in the background holds the directory, and waits until it answers.
///
/// # Errors
/// What its log says where it does not start.
pub fn start_in_background(settings: &Settings, flags: &[String], signals: &Signals) -> Result<(), Failure> {
    if Client::connect(&settings.data_dir)?.is_some() {
        return Ok(());
    }
    let log = settings.data_dir.join(LOG_NAME);
    let refused =
        |error: std::io::Error| Error::unavailable("a process in the background cannot be started").caused_by(error);
    // What earlier processes said is not why this one did not start.
    let before = std::fs::metadata(&log).map_or(0, |about| about.len());
    let mut child = spawn(settings, flags).map_err(refused)?;
    loop {
        if Client::connect(&settings.data_dir)?.is_some() {
            println!("process {} holds {}; its log is {}", child.id(), shown(&settings.data_dir), log.display());
            return Ok(());
        }
        if let Some(status) = child.try_wait().map_err(refused)? {
            let said = last_said(&log, before);
            let error =
                Error::unavailable(format!("the process in the background did not start:\n{}", said.trim_end()));
            let exit = if status.code() == Some(Exit::Directory as i32) { Exit::Directory } else { Exit::Outside };
            return Err(Failure::new(exit, error));
        }
        // Recovery may take its time; the user may not want to wait for it.
        if signals.wait(LOOK_EVERY) {
            return Err(Error::unavailable(format!("process {} still starts", child.id())).into());
        }
    }
}

/// The last whole lines that were logged from byte `from` on.
fn last_said(log: &Path, from: u64) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let said = &text[usize::try_from(from).unwrap_or_default().min(text.len())..];
    let mut tail = &said[said.len().saturating_sub(LOG_TAIL_BYTES)..];
    if tail.len() < said.len()
        && let Some(end) = tail.iter().position(|&byte| byte == b'\n')
    {
        tail = &tail[end + 1..];
    }
    String::from_utf8_lossy(tail).into_owned()
}

fn spawn(settings: &Settings, flags: &[String]) -> std::io::Result<Child> {
    std::fs::create_dir_all(&settings.data_dir)?;
    let log = OpenOptions::new().create(true).append(true).open(settings.data_dir.join(LOG_NAME))?;
    let mut command = Command::new(std::env::current_exe()?);
    if !flags.iter().any(|flag| flag.starts_with("log=")) && std::env::var_os("GRIDHOUSE_LOG").is_none() {
        command.arg("--set").arg("log=info");
    }
    for flag in flags {
        command.arg("--set").arg(flag);
    }
    command.args(["serve", "--background"]).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log).spawn()
}

/// Whether the process still does something: one that has ended but that its parent has not asked about does not.
fn lives(pid: Pid) -> bool {
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        // The state follows the name in parentheses, which may hold anything.
        stat.rsplit(')').next().is_some_and(|rest| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
    };
    test_kill_process(pid).is_ok() && !ended()
}

/// Says what the sources keep for us while nobody runs: a stopped reader fills the disk of its source.
///
/// Over a connection of its own, since the one that was interrupted refuses its next statement.
pub fn tell_what_sources_keep(settings: &Settings) {
    let Ok(Some(mut client)) = Client::connect(&settings.data_dir) else { return };
    let sql = "SELECT keeper, kept_bytes, cap_bytes FROM system.status.sources WHERE keeper IS NOT NULL";
    // Whoever stops is not held up because nothing can be said.
    for row in client.rows(sql).unwrap_or_default() {
        let [Some(keeper), Some(kept), cap] = row.as_slice() else { continue };
        let size = |text: &str| status::bytes(text.parse().unwrap_or_default());
        let limit = match cap {
            Some(cap) => format!("up to {}; beyond that all contents are read again", size(cap)),
            None => "without limit, until that server's disk is full".to_owned(),
        };
        println!("note: from now on {keeper} holds back WAL there ({} now), {limit}", size(kept));
        println!("  hint: start again soon, or DROP JOB before stopping for good");
    }
    let sql = "SELECT error FROM system.status.sources WHERE state = 'LEAVING' AND error IS NOT NULL";
    for row in client.rows(sql).unwrap_or_default() {
        if let [Some(why)] = row.as_slice() {
            println!("note: {why}");
        }
    }
}

/// Stops the process that holds the directory and waits until it has gone.
///
/// # Errors
/// Exit code 4 where it does not stop in time.
pub fn stop(settings: &Settings, args: &StopArgs) -> Result<Exit, Failure> {
    let dir = shown(&settings.data_dir);
    let Some(client) = Client::connect(&settings.data_dir)? else {
        println!("no process holds {dir}");
        return Ok(Exit::Done);
    };
    let process = client.process();
    drop(client);
    tell_what_sources_keep(settings);
    let pid = Pid::from_raw(process).ok_or_else(|| Error::corrupt(format!("{process} is no process number")))?;
    let refused = |error: rustix::io::Errno| {
        Error::unavailable(format!("process {process} cannot be stopped")).caused_by(std::io::Error::from(error))
    };
    kill_process(pid, Signal::TERM).map_err(refused)?;
    let clock = SystemClock::new();
    let signals = Signals::listen()?;
    while lives(pid) {
        if clock.monotonic() > Duration::from_secs(args.timeout) {
            let error = Error::unavailable(format!("process {process} still runs after {} s", args.timeout));
            return Err(error
                .hint(format!("wait for it, or end it by `kill -9 {process}`: nothing durable is lost"))
                .into());
        }
        if signals.wait(LOOK_EVERY) {
            return Ok(Exit::Done);
        }
    }
    println!("process {process} has stopped; {dir} is free");
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_the_last_start_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join(LOG_NAME);
        std::fs::write(&log, "an old error\nwhy it failed\nand a hint\n").unwrap();
        assert_eq!(last_said(&log, 13), "why it failed\nand a hint\n");
        assert_eq!(last_said(&log, 1_000), "", "somebody emptied the log meanwhile");
        let long = format!("{}\nwhy it failed\n", "x".repeat(LOG_TAIL_BYTES));
        std::fs::write(&log, &long).unwrap();
        assert_eq!(last_said(&log, 0), "why it failed\n", "no line without its beginning");
    }
}
