//! What a stretch of work took: wall-clock time, CPU seconds of all threads, memory of its own, bytes on disk.
//!
//! Making up rows is no part of what is measured: it happens inside [`Meter::aside`], whose time and whose thread's CPU time are
//! taken off. Whatever other threads do meanwhile still counts.

use std::path::Path;
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures from its making on.
#[derive(Debug)]
pub struct Meter {
    clock: SystemClock,
    cpu: Duration,
    aside_wall: Duration,
    aside_cpu: Duration,
}

impl Meter {
    /// Begins.
    #[expect(clippy::new_without_default, reason = "a meter that runs is no default value")]
    pub fn new() -> Self {
        let (aside_wall, aside_cpu) = (Duration::ZERO, Duration::ZERO);
        Self { clock: SystemClock::new(), cpu: cpu(ClockId::ProcessCPUTime), aside_wall, aside_cpu }
    }

    /// Does something that is not measured.
    pub fn aside<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let (wall, thread) = (self.clock.monotonic(), cpu(ClockId::ThreadCPUTime));
        let result = what();
        self.aside_wall += self.clock.monotonic() - wall;
        self.aside_cpu += cpu(ClockId::ThreadCPUTime) - thread;
        result
    }

    /// Takes off CPU time that another thread spent on what is not measured.
    pub fn deduct(&mut self, cpu: Duration) {
        self.aside_cpu += cpu;
    }

    /// Seconds by the clock on the wall.
    pub fn wall_s(&self) -> f64 {
        (self.clock.monotonic() - self.aside_wall).as_secs_f64()
    }

    /// CPU seconds of all threads.
    pub fn cpu_s(&self) -> f64 {
        (cpu(ClockId::ProcessCPUTime) - self.cpu).saturating_sub(self.aside_cpu).as_secs_f64()
    }

    /// Prints what a stretch took as a line of JSON, with `more` fields of its own.
    pub fn report(&self, figure: &str, rows: u64, more: &Value) {
        let mut line = json!({
            "figure": figure,
            "rows": rows,
            "wall_s": self.wall_s(),
            "cpu_s": self.cpu_s(),
            "anon_bytes": anon_bytes(),
        });
        if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
            line.extend(more.clone());
        }
        println!("{line}");
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

/// Bytes of memory of this process that belong to no file.
pub fn anon_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Bytes that the files of a directory take, by the beginning of their names.
///
/// # Errors
/// Where the directory cannot be read.
pub fn disk_bytes(dir: &Path) -> std::io::Result<Value> {
    let mut total = 0;
    let mut by_kind = serde_json::Map::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let size = entry.metadata()?.len();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind: String = name.chars().take_while(|c| c.is_alphabetic()).collect();
        let sum = by_kind.get(&kind).and_then(Value::as_u64).unwrap_or(0) + size;
        by_kind.insert(kind, sum.into());
        total += size;
    }
    Ok(json!({ "total": total, "by_kind": by_kind }))
}
