//! Whole runs of the simulation, as the tests and `bench/crash` make them. A run is named by the words that repeat it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use gridhouse_base::random::Random;

use crate::file_system::Cut;
use crate::hostile::attack;
use crate::simulation::{MOST_EARLIER, Simulation, Step};

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A small life of a store, crashed in one operation of the disk.
    Point {
        /// The operation.
        at: u64,
        /// How much of it happens.
        cut: Cut,
    },
    /// Several lives with crashes, failing operations and full disks, all at random.
    Lives,
    /// One bit of a well-kept store is flipped, in `FLIPS` different places.
    Flips,
    /// Some lives with large tables.
    Wide,
    /// The files of a life are tampered with.
    Hostile,
}

/// A run of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What all choices come from.
    pub seed: u64,
    /// What is done.
    pub kind: Kind,
}

/// How many bits are flipped in a run.
const FLIPS: u64 = 30;

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Point { at, cut } => write!(f, "--point {at} --cut {}", format!("{cut:?}").to_lowercase())?,
            Kind::Lives => f.write_str("--lives")?,
            Kind::Flips => f.write_str("--flips")?,
            Kind::Wide => f.write_str("--wide")?,
            Kind::Hostile => f.write_str("--hostile")?,
        }
        write!(f, " --seed {}", self.seed)
    }
}

impl Run {
    /// Makes the run; `is_told` tells each step. False if the store did something wrong; then it has been said what, and
    /// what repeats the run.
    pub fn make(self, is_told: bool) -> bool {
        let is_right = catch_unwind(AssertUnwindSafe(|| self.go(is_told))).is_ok();
        if !is_right {
            eprintln!("failed; to repeat: bench/crash {self}\n");
        }
        is_right
    }

    fn go(self, is_told: bool) {
        match self.kind {
            Kind::Point { at, cut } => crash_at(self.seed, at, cut, is_told),
            Kind::Lives => lives(self.seed, is_told),
            Kind::Flips => flips(self.seed, is_told),
            Kind::Wide => wide(self.seed, is_told),
            Kind::Hostile => drop(attack(self.seed, is_told)),
        }
    }
}

/// Every crash point of the small life of `seed`: each operation of the disk, with each cut. `None` where the life goes wrong without a
/// crash; then it has been said what repeats it.
pub fn every_point(seed: u64) -> Option<Vec<Run>> {
    let points = catch_unwind(|| points(seed));
    if points.is_err() {
        eprintln!("failed without a crash; to repeat: bench/crash --points 1 --from {seed}\n");
    }
    points.ok()
}

fn points(seed: u64) -> Vec<Run> {
    let mut simulation = Simulation::new(seed);
    small_life(&mut simulation).expect("nothing stops the machine");
    let operations = simulation.fs.operations();
    assert!(operations > 20, "the life is more than {operations} operations");
    let cuts = |at| Cut::ALL.map(|cut| Run { seed, kind: Kind::Point { at, cut } });
    (1..=operations).flat_map(cuts).collect()
}

/// What is crashed everywhere: a store that is begun, killed, recovered, closed and opened again.
fn small_life(simulation: &mut Simulation) -> Step {
    simulation.run(25)?;
    simulation.kill();
    simulation.run(12)?;
    simulation.close()?;
    simulation.run(8)?;
    simulation.close()
}

fn crash_at(seed: u64, at: u64, cut: Cut, is_told: bool) {
    let mut simulation = Simulation::new(seed);
    simulation.is_told = is_told;
    simulation.fs.crash_at(at, cut);
    let _ = small_life(&mut simulation);
    assert!(simulation.fs.is_crashed(), "the machine stops");
    recover_and_go_on(&mut simulation, 6);
}

/// Opens again after a crash, however often that takes, and goes on to a clean end.
fn recover_and_go_on(simulation: &mut Simulation, steps: u64) {
    recover(simulation);
    simulation.check().expect("nothing is damaged");
    simulation.run(steps).expect("nothing stops the machine any more");
    simulation.close().expect("nothing stops the machine any more");
    simulation.open().expect("nothing stops the machine any more");
    simulation.check().expect("nothing is damaged");
    simulation.tidy_up().expect("nothing stops the machine any more");
    simulation.check().expect("nothing is damaged");
    assert_tidy(simulation);
}

/// Nothing is left behind by what went wrong before.
fn assert_tidy(simulation: &Simulation) {
    let files = simulation.fs.files();
    let count = |prefix: &str| {
        let is_one = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        files.iter().filter(|(path, _)| is_one(path)).count()
    };
    let counts = [("checkpoint-", 1), ("state-", 1 + MOST_EARLIER), ("wal-", 3), ("seg-", 40)];
    for (prefix, most) in counts {
        assert!(count(prefix) <= most, "{} files {prefix}… are left: {files:?}", count(prefix));
    }
}

fn recover(simulation: &mut Simulation) {
    simulation.crash();
    while simulation.open().is_err() {
        simulation.crash();
    }
}

fn lives(seed: u64, is_told: bool) {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut simulation = Simulation::new(seed);
    simulation.is_told = is_told;
    for _ in 0..1 + random.below(5) {
        let now = simulation.fs.operations();
        if random.chance(0.8) {
            simulation.fs.crash_at(now + 1 + random.below(80), *random.pick(&Cut::ALL));
        }
        if random.chance(0.3) {
            simulation.fs.fail_at(now + 1 + random.below(60));
        }
        if random.chance(0.2) {
            simulation.fs.set_failing_removes(random.unit());
        }
        if random.chance(0.2) {
            simulation.fs.set_capacity(Some(simulation.fs.used() + random.below(40_000)));
        }
        let is_stopped = simulation.run(10 + random.below(50)).is_err();
        simulation.fs.set_capacity(None);
        if !is_stopped && random.chance(0.3) {
            let _ = simulation.close();
        }
        recover(&mut simulation);
    }
    recover_and_go_on(&mut simulation, 20);
}

fn wide(seed: u64, is_told: bool) {
    let mut random = Random::new(seed ^ 0x71de);
    let mut simulation = Simulation::wide(seed);
    simulation.is_told = is_told;
    for _ in 0..2 {
        let now = simulation.fs.operations();
        simulation.fs.crash_at(now + 20 + random.below(150), *random.pick(&Cut::ALL));
        let is_stopped = simulation.run(25).is_err();
        if !is_stopped && random.chance(0.3) {
            let _ = simulation.close();
        }
        recover(&mut simulation);
    }
    recover_and_go_on(&mut simulation, 12);
}

fn flips(seed: u64, is_told: bool) {
    let mut random = Random::new(seed ^ 0xb17);
    let mut whole = Simulation::new(seed);
    whole.is_told = is_told;
    for _ in 0..2 {
        whole.run(25).expect("nothing stops the machine");
        whole.close().expect("nothing stops the machine");
    }
    let mut refused = 0;
    for _ in 0..FLIPS {
        let mut simulation = whole.fork(random.bits());
        let files: Vec<_> = simulation.fs.files().into_iter().filter(|(_, length)| *length > 0).collect();
        let (path, length) = random.pick(&files);
        let bit = random.below(*length as u64 * 8) as usize;
        if is_told {
            eprintln!("flip bit {} of byte {} of {}", bit % 8, bit / 8, path.display());
        }
        simulation.fs.flip_bit(path, bit);
        simulation.is_damaged = true;
        let outcome = simulation.open().and_then(|()| simulation.faults()).and_then(|faults| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            assert!(faults.iter().all(|fault| fault.contains(&*name)), "{name} is damaged, not: {faults:?}");
            // What a check does not find harms nobody.
            simulation.is_damaged = !faults.is_empty();
            simulation.run(8).and_then(|()| simulation.check())
        });
        refused += u64::from(outcome.is_err());
    }
    assert!(refused > 0, "some of the flips hit what counts");
}
