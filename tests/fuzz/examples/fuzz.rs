//! Hostile bytes by the million: `cargo run -p gridhouse-fuzz --example fuzz -- [--decoder NAME] [--cases N] [--seed S] [--from N]`.
//!
//! Every stretch of cases runs in a process of its own, since a stack that overflows ends the whole of it, and is watched: one
//! that does not come on is a failure too. Ends with status 1 where anything failed, each with the command that repeats it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Mutex;
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_fuzz::run::Run;
use gridhouse_fuzz::{KINDS, kind};
use gridhouse_sim::by_thousands::{Arguments, failures, status};
use gridhouse_sim::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting;

/// Cases of a stretch: enough that starting a process does not count.
const STRETCH: u64 = 10_000;

/// A case that takes longer hangs: a slow one takes a second on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a stretch is looked at.
const LOOK: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments = match Arguments::checked(&["--decoder", "--cases", "--seed", "--from", "--told"]) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("bench/fuzz: {wrong}");
            return ExitCode::from(2);
        }
    };
    let number = |name: &str| arguments.number(name);
    let (seed, from) = (number("--seed").unwrap_or(1), number("--from").unwrap_or(0));
    let kinds = match arguments.word("--decoder") {
        None => KINDS.to_vec(),
        Some(name) => {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            vec![kind(name).unwrap_or_else(|| panic!("--decoder is one of {}, not {name}", names.join(", ")))]
        }
    };
    if let Some(progress) = arguments.word("--told") {
        let progress = File::options().write(true).open(progress).expect("the file of progress can be opened");
        let run = Run { kind: kinds[0], seed, from, cases: number("--cases").unwrap_or(1) };
        let tally = run.make(|case| progress.write_all_at(&case.to_le_bytes(), 0).expect("progress can be told"));
        println!("{} {} {}", tally.taken, tally.refused, tally.most_bytes);
        return status(tally.failed);
    }
    let mut failed = 0;
    for kind in kinds {
        let clock = SystemClock::new();
        let cases = number("--cases").unwrap_or(kind.cases);
        let step = STRETCH.next_multiple_of(kind.batch);
        let stretches: Vec<Run> = (from..from + cases)
            .step_by(step as usize)
            .map(|begin| Run { kind, seed, from: begin, cases: step.min(from + cases - begin) })
            .collect();
        let sums = all(&stretches);
        println!(
            "{}: {cases} cases from {from}, {} taken, {} refused, {} KB at most, {} failed, {} s",
            kind.name,
            sums[0],
            sums[1],
            sums[2] >> 10,
            sums[3],
            clock.monotonic().as_secs()
        );
        failed += sums[3];
    }
    status(failed)
}

/// Makes the runs on all cores: taken, refused, most memory, and how many runs failed.
fn all(runs: &[Run]) -> [u64; 4] {
    let sums = Mutex::new([0; 4]);
    failures(runs, |run| {
        let made = apart(&run);
        let mut sums = sums.lock().expect("nobody panics with the lock");
        for (i, (sum, more)) in sums.iter_mut().zip(made).enumerate() {
            *sum = if i == 2 { (*sum).max(more) } else { *sum + more };
        }
        made[3] == 0
    });
    sums.into_inner().expect("nobody panics with the lock")
}

/// Makes a run in a process of its own.
fn apart(run: &Run) -> [u64; 4] {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let progress = directory.path().join("progress");
    File::create(&progress).and_then(|file| file.write_all_at(&run.from.to_le_bytes(), 0)).expect("a file can be made");
    let said = directory.path().join("said");
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--decoder", run.kind.name, "--told"])
        .arg(&progress)
        .args(["--seed", &run.seed.to_string(), "--from", &run.from.to_string(), "--cases", &run.cases.to_string()])
        .stdout(File::create(&said).expect("a file can be made"))
        .spawn()
        .expect("this program starts");
    let end = wait(&mut child, &progress);
    let case = read(&progress);
    match end {
        Some(status) if status.code().is_some_and(|code| code < 2) => {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
            let mut number = || numbers.next().unwrap_or(0);
            [number(), number(), number(), u64::from(!status.success())]
        }
        Some(status) => {
            eprintln!("case {case} of {} ended the process: {status}\nto repeat: {}\n", run.kind.name, run.upto(case));
            [0, 0, 0, 1]
        }
        None => {
            eprintln!("case {case} of {} hangs\nto repeat: {}\n", run.kind.name, run.upto(case));
            [0, 0, 0, 1]
        }
    }
}

/// Waits for the end of a run; none where it does not come on, and is ended.
fn wait(child: &mut Child, progress: &Path) -> Option<std::process::ExitStatus> {
    let clock = SystemClock::new();
    let mut last = (read(progress), clock.monotonic());
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let (case, now) = (read(progress), clock.monotonic());
        if case != last.0 {
            last = (case, now);
        }
        if now.saturating_sub(last.1) > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::park_timeout(LOOK);
    }
}

/// The case that is under way.
fn read(progress: &Path) -> u64 {
    let bytes = std::fs::read(progress).unwrap_or_default();
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
