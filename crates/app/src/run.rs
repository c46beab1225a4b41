//! `gridhouse run`: runs scripts, then keeps what they began going.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::{Error, Result};
use gridhouse_serve::Client;

use crate::exit::{Exit, Failure};
use crate::house::{House, absolute};
use crate::script::{Aftermath, Script, Talk};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{lifecycle, script};

/// How often a statement is tried again that found nobody.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// How often the jobs of the run are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A script; may be given several times, all run in one session
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// SQL, run after the files
    #[arg(short, long, value_name = "SQL")]
    execute: Vec<String>,
    /// Scripts too; `-` is standard input
    #[arg(value_name = "SCRIPT")]
    scripts: Vec<PathBuf>,
    /// Leave the jobs to a process in the background and return
    #[arg(long)]
    detach: bool,
    /// How long a statement is tried again whose source or sink does not answer: a database may start later than we do
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

impl RunArgs {
    fn scripts(&self) -> Result<Vec<Script>, Failure> {
        let usage = |error| Failure::new(Exit::Usage, error);
        let mut paths: Vec<PathBuf> = self.file.iter().chain(&self.scripts).cloned().collect();
        if paths.is_empty() && self.execute.is_empty() {
            if std::io::stdin().is_terminal() {
                let error = Error::invalid("there is nothing to run");
                return Err(usage(error.hint("name a script by -f, give SQL by -e, or type into `gridhouse sql`")));
            }
            paths.push("-".into());
        }
        let mut scripts = paths.iter().map(Script::read).collect::<Result<Vec<_>>>().map_err(usage)?;
        scripts.extend(self.execute.iter().map(|sql| Script { name: "-e".into(), text: sql.clone() }));
        Ok(scripts)
    }
}

/// Runs the scripts of `args`; `flags` are handed on to a process in the background.
///
/// # Errors
/// What keeps the directory from being opened, with its exit code.
pub fn run(settings: &Settings, flags: &[String], args: &RunArgs) -> Result<Exit, Failure> {
    let scripts = args.scripts()?;
    let signals = Signals::listen()?;
    if args.detach {
        lifecycle::start_in_background(settings, flags, &signals)?;
    }
    let (house, mut client) = House::enter(settings, &signals)?;
    signals.interrupts(Some(client.interrupt()));
    let ended = carry_out(settings, &house, &mut client, &scripts, args, &signals);
    signals.interrupts(None);
    if house.is_own() {
        lifecycle::tell_what_sources_keep(settings);
    }
    drop(client);
    let left = house.leave();
    let exit = ended?;
    left?;
    Ok(exit)
}

fn carry_out(
    settings: &Settings,
    house: &House,
    client: &mut Client,
    scripts: &[Script],
    args: &RunArgs,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let mut jobs = BTreeMap::new();
    let mut failed = None;
    for script in scripts {
        let patience = Duration::from_secs(args.wait);
        let aftermath = patiently(client, script, patience, signals)?;
        jobs.extend(aftermath.jobs.into_iter().map(|job| (job.id.0, job.name)));
        failed = aftermath.failed;
        if failed.is_some() || signals.stop() {
            break;
        }
    }
    if signals.stop() {
        return Ok(Exit::Done);
    }
    if let Some(exit) = failed {
        if !jobs.is_empty() {
            let fate = if house.is_own() { "stop now and go on with the next run" } else { "go on" };
            eprintln!("the jobs that the script began before the error {fate}");
        }
        return Ok(exit);
    }
    if jobs.is_empty() {
        return Ok(Exit::Done);
    }
    let dir = absolute(&settings.data_dir);
    let (count, plural) = (jobs.len(), if jobs.len() == 1 { " runs" } else { "s run" });
    if args.detach {
        println!("{count} job{plural} in process {}; `gridhouse --data-dir {dir} stop` stops it", client.process());
        return Ok(Exit::Done);
    }
    let what = if house.is_own() { "stops cleanly" } else { "returns, the jobs go on" };
    println!("{count} job{plural}; Ctrl-C {what}. Look: gridhouse --data-dir {dir} sql | status, psql -h {dir}");
    Ok(keep_going(client, jobs, signals)?)
}

/// Runs a script. A statement whose outside does not answer is tried again for a while, and the script goes on from there.
fn patiently(client: &mut Client, script: &Script, patience: Duration, signals: &Signals) -> Result<Aftermath> {
    let clock = SystemClock::new();
    let mut left = Script { name: script.name.clone(), text: script.text.clone() };
    let (mut all, mut told, mut until) = (Aftermath::default(), None, Duration::ZERO);
    loop {
        let Aftermath { jobs, failed, failed_at } =
            script::run_again(client, &left, (Talk::Places, told), signals, &mut std::io::stdout())?;
        all.jobs.extend(jobs);
        all.failed = failed;
        let (Some(Exit::Outside), Some(at)) = (failed, failed_at) else { return Ok(all) };
        let is_new = told.replace(at) != Some(at);
        if is_new {
            until = clock.monotonic() + patience;
        }
        if clock.monotonic() >= until || signals.stop() {
            if !is_new {
                eprintln!("{}:{}: given up after {} s", script.name, at.line, patience.as_secs());
            }
            return Ok(all);
        }
        if is_new {
            eprintln!("it is tried again for {} s (--wait); Ctrl-C stops", patience.as_secs());
        }
        if signals.wait(TRY_EVERY) {
            return Ok(all);
        }
        left = left.from(at);
    }
}

/// The state of a job as the status table names it.
enum JobState {
    Running,
    Ended,
    Failed,
}

impl JobState {
    fn of(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "failed" => Self::Failed,
            "finished" | "stopped" | "dropped" => Self::Ended,
            _ => Self::Running,
        }
    }
}

/// Waits until every job of `jobs` has ended or the user stops; says at once where one fails.
fn keep_going(client: &mut Client, mut jobs: BTreeMap<u32, String>, signals: &Signals) -> Result<Exit> {
    let mut exit = Exit::Done;
    while !jobs.is_empty() && !signals.wait(LOOK_EVERY) {
        let rows = match client.rows("SELECT job_id, state, error FROM system.status.jobs") {
            // The statement was interrupted by the signal that ends the wait.
            Err(_) if signals.stop() => break,
            other => other?,
        };
        let mut missing: Vec<u32> = jobs.keys().copied().collect();
        for row in rows {
            let [Some(id), Some(state), error] = row.as_slice() else { continue };
            let Ok(id) = id.trim_start_matches('j').parse() else { continue };
            missing.retain(|&known| known != id);
            match (JobState::of(state), jobs.get(&id)) {
                (JobState::Running, _) | (_, None) => continue,
                (JobState::Ended, Some(name)) => println!("job j{id} {name} has ended"),
                (JobState::Failed, Some(name)) => {
                    exit = Exit::Job;
                    let why = error.as_deref().unwrap_or("no cause is known");
                    let cause = crate::redact::redacted(why);
                    eprintln!("job j{id} {name} failed: {cause}\n  hint: `START JOB j{id}` goes on from where it was");
                }
            }
            jobs.remove(&id);
        }
        for id in missing {
            if let Some(name) = jobs.remove(&id) {
                println!("job j{id} {name} has ended");
            }
        }
    }
    Ok(exit)
}
