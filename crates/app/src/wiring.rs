//! Makes an engine out of its parts: the one place that names connectors, file system, clock and seed.

use std::sync::{Arc, Mutex};

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_base::{Error, ErrorKind, Result};
use gridhouse_engine::{ConsumerCap, Engine, EngineOptions};
use gridhouse_link::{HostMap, LinkContext, Owner, lookups, scans, sinks, sources};
use gridhouse_store::{Limits, StoreOptions};

use crate::complaint;
use crate::exit::Exit;
use crate::settings::Settings;

/// Opens the data directory of `settings` and brings its jobs back.
///
/// # Errors
/// `Conflict` where another process holds the directory; `Corrupt` where it is damaged; `Unavailable` where the disk
/// refuses; `Invalid` where the host mapping does not fit.
pub fn open(settings: &Settings) -> Result<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut random = random(settings);
    let link = LinkContext {
        hosts: HostMap::new(settings.hosts.clone())?,
        clock: Arc::clone(&clock),
        fs: Arc::new(DiskFileSystem),
        seed: random.bits(),
        print: Arc::new(Mutex::new(std::io::stdout())),
        owner: owner(settings),
    };
    let mut store = StoreOptions::new(&settings.data_dir, Arc::new(DiskFileSystem), Arc::clone(&clock), random.bits());
    store.limits = Limits {
        checkpoint_log_bytes: settings.checkpoint_log_bytes,
        index_bytes: settings.index_bytes,
        compaction_bytes_per_second: settings.compaction_bytes_per_second,
        tick_bytes: settings.tick_bytes,
        ..Limits::default()
    };
    Engine::open(EngineOptions {
        store,
        clock,
        sources: sources(&link),
        sinks: sinks(&link),
        scans: scans(&link),
        lookups: lookups(&link),
        state_bytes: settings.state_bytes,
        consumer_cap: ConsumerCap { bytes: settings.consumer_cap_bytes, age: settings.consumer_cap_age },
        on_fatal: Arc::new(end_at_once),
    })
}

/// The source of everything random, from the seed where one is set.
pub fn random(settings: &Settings) -> Random {
    settings.seed.map_or_else(Random::from_machine, Random::new)
}

/// This process, as others name it to their users.
fn owner(settings: &Settings) -> Owner {
    // As the kernel names the machine; a name that cannot be read spoils nothing but a message.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "(unknown)" } else { host.trim() };
    let path = std::path::absolute(&settings.data_dir).unwrap_or_else(|_| settings.data_dir.clone());
    Owner { host: host.to_owned(), process: std::process::id(), data_dir: path.display().to_string() }
}

/// After a failed sync nothing is known of the disk, and where rows that a change needs are damaged, nothing can be told of the
/// change: only a new start, which reads what is there, can go on.
fn end_at_once(error: Error) {
    eprintln!("{}", complaint::plain(&error));
    let exit = if error.kind() == ErrorKind::Corrupt { Exit::Directory } else { Exit::Outside };
    std::process::exit(exit as i32);
}
