//! What programs that make runs by the thousand share: their arguments, and the runs on all cores.

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

    /// As many seeds as the number behind `name` says, from `--from` on, in portions that are told about together.
    pub fn portions(&self, name: &str) -> Vec<Vec<u64>> {
        let from = self.number("--from").unwrap_or(0);
        let seeds: Vec<u64> = (from..from + self.number(name).unwrap_or(0)).collect();
        seeds.chunks(TOGETHER).map(<[u64]>::to_vec).collect()
    }
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
