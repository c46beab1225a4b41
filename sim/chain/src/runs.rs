//! Whole runs of the simulation, as the tests and `bench/crash` make them. A run is named by the words that repeat it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gridhouse_sim::Cut;

use crate::life::{Life, Step};
use crate::scenes;
use crate::tally::Tally;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A small life, crashed in one operation of the disk.
    Point {
        /// The operation.
        at: u64,
        /// How much of it happens.
        cut: Cut,
    },
    /// The same small life, in which one operation of the disk fails and the next would not.
    Fault {
        /// The operation.
        at: u64,
    },
    /// Several lives with crashes, failing operations, full disks and an outside that fails, all at random.
    Lives,
    /// An older copy of the data directory takes its place.
    Copies,
    /// Two processes believe that they own the outside.
    Owners,
    /// Bits of a well-kept directory are flipped.
    Flips,
}

impl Kind {
    /// Those that a seed alone tells, with the words that name them.
    pub const PLAIN: [(&str, Self); 4] = [
        ("--chain", Self::Lives),
        ("--chain-copies", Self::Copies),
        ("--chain-owners", Self::Owners),
        ("--chain-flips", Self::Flips),
    ];
}

/// A run of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What all choices come from.
    pub seed: u64,
    /// What is done.
    pub kind: Kind,
}

/// Setting up the chain is crashed everywhere for one seed of so many.
const SETTING_UP_EVERY: u64 = 5;

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Point { at, cut } = self.kind {
            write!(f, "--chain-point {at} --cut {}", format!("{cut:?}").to_lowercase())?;
        }
        if let Kind::Fault { at } = self.kind {
            write!(f, "--chain-fault {at}")?;
        }
        if let Some((words, _)) = Kind::PLAIN.iter().find(|(_, kind)| *kind == self.kind) {
            f.write_str(words)?;
        }
        write!(f, " --seed {}", self.seed)
    }
}

impl Run {
    /// Makes the run; `is_told` tells each step. `None` if something went wrong; then it has been said what, and what repeats
    /// the run.
    pub fn make(self, is_told: bool) -> Option<Tally> {
        let made = catch_unwind(AssertUnwindSafe(|| match self.kind {
            Kind::Point { at, cut } => crash_at(self.seed, at, cut, is_told),
            Kind::Fault { at } => fail_at(self.seed, at, is_told),
            Kind::Lives => lives(self.seed, is_told),
            Kind::Copies => scenes::older_copy(self.seed, is_told),
            Kind::Owners => scenes::two_owners(self.seed, is_told),
            Kind::Flips => scenes::flips(self.seed, is_told),
        }));
        if made.is_err() {
            eprintln!("failed; to repeat: bench/crash {self}\n");
        }
        made.ok()
    }
}

/// Every crash point of the small life of `seed`: each operation of the disk, with each cut and as one that fails; those of
/// setting the chain up only for some seeds, since they are more than half. `None` where the life goes wrong without a crash; then
/// it has been said what repeats it.
pub fn every_point(seed: u64) -> Option<Vec<Run>> {
    let points = catch_unwind(|| points(seed));
    if points.is_err() {
        eprintln!("failed without a crash; to repeat: bench/crash --chain-points 1 --from {seed}\n");
    }
    points.ok()
}

fn points(seed: u64) -> Vec<Run> {
    let mut life = Life::new(seed);
    if !seed.is_multiple_of(SETTING_UP_EVERY) {
        life.open().expect("nothing stops the machine");
    }
    let first = life.house.fs.operations() + 1;
    small_life(&mut life).expect("nothing stops the machine");
    let last = life.house.fs.operations();
    assert!(last > first + 40, "the life is more than {} operations", last - first);
    let cuts = |at| Cut::ALL.map(|cut| Kind::Point { at, cut }).into_iter().chain([Kind::Fault { at }]);
    (first..=last).flat_map(cuts).map(|kind| Run { seed, kind }).collect()
}

/// What is crashed everywhere: a chain that is set up, takes changes in, is killed, recovers, is stopped and goes on.
fn small_life(life: &mut Life) -> Step {
    life.run(12)?;
    life.kill();
    life.run(6)?;
    life.catch_up()?;
    life.close()?;
    life.run(4)?;
    life.close()
}

fn crash_at(seed: u64, at: u64, cut: Cut, is_told: bool) -> Tally {
    let mut life = Life::new(seed);
    life.is_told = is_told;
    life.house.fs.crash_at(at, cut);
    let _ = small_life(&mut life);
    assert!(life.house.fs.is_crashed(), "the machine stops");
    life.recover();
    life.tally
}

fn fail_at(seed: u64, at: u64, is_told: bool) -> Tally {
    let mut life = Life::new(seed);
    life.is_told = is_told;
    life.house.fs.fail_at(at);
    // Whether that ends the process depends on what it was.
    let _ = small_life(&mut life);
    life.recover();
    life.tally
}

fn lives(seed: u64, is_told: bool) -> Tally {
    let mut life = Life::new(seed ^ 0xc4a1);
    life.is_told = is_told;
    for _ in 0..1 + life.random.below(4) {
        life.draw_faults();
        if life.random.chance(0.7) {
            life.plan_crash(120);
        }
        let now = life.house.fs.operations();
        if life.random.chance(0.2) {
            let at = now + 1 + life.random.below(80);
            life.house.fs.fail_at(at);
        }
        if life.random.chance(0.15) {
            let probability = life.random.unit();
            life.house.fs.set_failing_removes(probability);
        }
        if life.random.chance(0.2) {
            let room = life.random.below(60_000);
            life.house.fs.set_capacity(Some(life.house.fs.used() + room));
        }
        let steps = 10 + life.random.below(50);
        let mut is_over = life.run(steps).is_err();
        life.house.fs.set_capacity(None);
        // What was full or failed has been healed: the same process goes on.
        if !is_over && life.random.chance(0.3) {
            is_over = life.catch_up().is_err();
        }
        if !is_over && life.random.chance(0.3) {
            let _ = life.close();
        }
        life.recover();
    }
    life.tally
}
