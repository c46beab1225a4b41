//! What programs that make runs by the thousand share: their arguments, and the runs on all cores.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::file_system::Cut;

/// Runs that are told about together.
const TOGETHER: usize = 1000;

/// The words that the program was started with.
#[derive(Clone, Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Those of this process, which takes `known` options and no others, each with a word behind it.
    ///
    /// # Errors
    /// What is wrong with them, for the user.
    pub fn checked(known: &[&str]) -> Result<Self, String> {
        let arguments = Self::of_process();
        for pair in arguments.0.chunks(2) {
            if !known.contains(&pair[0].as_str()) {
                return Err(format!("there is no option {}; there are {}", pair[0], known.join(", ")));
            }
            if pair.len() == 1 {
                return Err(format!("{} wants a word behind it", pair[0]));
            }
        }
        Ok(arguments)
    }

    /// Whether `name` is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    /// The word behind `name`, if that is there; nothing if it is the last.
    pub fn word(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        Some(self.0.get(at + 1).map_or("", String::as_str))
    }

    /// The number behind `name`, if that is there.
    ///
    /// # Panics
    /// If no number stands behind it.
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.word(name)?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}")))
    }

    /// How much of an operation happens: what stands behind `--cut`.
    pub fn cut(&self) -> Cut {
        match self.word("--cut") {
            Some("before") => Cut::Before,
            Some("after") => Cut::After,
            _ => Cut::Within,
        }
    }

    /// The kind among `kinds` whose word is there.
    pub fn kind<K: Copy>(&self, kinds: &[(&str, K)]) -> Option<K> {
        kinds.iter().find(|(word, _)| self.has(word)).map(|(_, kind)| *kind)
    }

    /// As many seeds as the number behind `name` says, from `--from` on.
    pub fn seeds(&self, name: &str) -> Vec<u64> {
        let from = self.number("--from").unwrap_or(0);
        (from..from + self.number(name).unwrap_or(0)).collect()
    }

    /// Has `make` make all runs of the `kinds` whose words are there, in portions that are told about together; returns how many
    /// failed.
    pub fn make_kinds<K: Copy, R>(
        &self,
        kinds: &[(&str, K)],
        run: impl Fn(u64, K) -> R,
        make: impl Fn(&str, &[R]) -> u64,
    ) -> u64 {
        let mut failed = 0;
        for &(word, kind) in kinds {
            for seeds in self.seeds(word).chunks(TOGETHER) {
                let runs: Vec<R> = seeds.iter().map(|&seed| run(seed, kind)).collect();
                failed += make(&format!("{} from seed {}", &word[2..], seeds[0]), &runs);
            }
        }
        failed
    }
}

/// What a program ends with of whose runs so many failed.
pub fn status(failed: u64) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the runs on all cores, and returns of how many `make` says that they failed.
pub fn failures<R: Copy + Sync>(runs: &[R], make: impl Fn(R) -> bool + Sync) -> u64 {
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if !make(*run) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    failures.into_inner()
}
