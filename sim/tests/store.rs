//! The store under the simulator. One seed decides everything; a failure prints the command that repeats it.
//!
//! `GRIDHOUSE_SIM_SCALE=n` runs n times as many seeds, `GRIDHOUSE_SIM_SEED=n` only one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use gridhouse_base::ErrorKind;
use gridhouse_base::clock::ManualClock;
use gridhouse_base::fs::FileSystem;
use gridhouse_base::random::Random;
use gridhouse_sim::store::{DIR, Simulation, log_files};
use gridhouse_store::{Store, StoreOptions};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// The seeds to run: the one that is asked for, or `count` times the scale.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match variable("GRIDHOUSE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count * variable("GRIDHOUSE_SIM_SCALE").unwrap_or(1),
    }
}

/// Runs `check`; if it fails, prints how to repeat it.
fn repeatable(test: &str, seed: u64, detail: &str, check: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
        eprintln!(
            "failed with seed {seed}{detail}; to repeat: GRIDHOUSE_SIM_SEED={seed} cargo test -p gridhouse-sim {test}"
        );
        resume_unwind(panic);
    }
}

/// Opens again after a crash, however often that takes, and goes on to a clean end.
fn recover_and_go_on(simulation: &mut Simulation, steps: u64) {
    simulation.crash();
    while simulation.open().is_err() {
        simulation.crash();
    }
    simulation.check();
    simulation.run(steps).expect("nothing stops the machine any more");
    simulation.close().expect("nothing stops the machine any more");
    simulation.open().expect("nothing stops the machine any more");
    simulation.check();
}

#[test]
fn a_crash_at_every_operation_loses_nothing() {
    const STEPS: u64 = 40;
    for seed in seeds(4) {
        let mut whole = Simulation::new(seed);
        whole.run(STEPS).expect("nothing stops the machine");
        let operations = whole.fs.operations();
        assert!(operations > 20, "the run does something: {operations} operations");
        for operation in 1..=operations {
            repeatable("a_crash_at_every_operation", seed, &format!(", crash at {operation}"), || {
                let mut simulation = Simulation::new(seed);
                simulation.fs.crash_at(operation);
                simulation.run(STEPS).expect_err("the machine stops");
                recover_and_go_on(&mut simulation, 6);
            });
        }
    }
}

#[test]
fn many_crashes_and_faults_lose_nothing() {
    for seed in seeds(300) {
        repeatable("many_crashes_and_faults", seed, "", || {
            let mut random = Random::new(seed ^ 0x5eed);
            let mut simulation = Simulation::new(seed);
            for _ in 0..1 + random.below(5) {
                let now = simulation.fs.operations();
                if random.chance(0.8) {
                    simulation.fs.crash_at(now + 1 + random.below(80));
                }
                if random.chance(0.3) {
                    simulation.fs.fail_at(now + 1 + random.below(60));
                }
                let is_small = random.chance(0.2);
                if is_small {
                    simulation.fs.set_capacity(Some(simulation.fs.used() + random.below(40_000)));
                }
                let stopped = simulation.run(10 + random.below(50)).is_err();
                simulation.fs.set_capacity(None);
                if !stopped && random.chance(0.3) {
                    let _ = simulation.close();
                }
                simulation.crash();
                while simulation.open().is_err() {
                    simulation.crash();
                }
            }
            recover_and_go_on(&mut simulation, 20);
        });
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    for seed in seeds(40) {
        repeatable("a_flipped_bit", seed, "", || {
            let mut random = Random::new(seed ^ 0xb17);
            let mut simulation = Simulation::new(seed);
            for _ in 0..2 {
                simulation.run(25).expect("nothing stops the machine");
                simulation.close().expect("nothing stops the machine");
            }
            let open =
                |fs: Arc<dyn FileSystem>| Store::open(StoreOptions::new(DIR, fs, Arc::new(ManualClock::new(0)), 1));
            let expected =
                open(Arc::new(simulation.fs.fork())).expect("an unharmed store opens").ordered_snapshot().commit();
            let mut refused = 0;
            for _ in 0..30 {
                let fs = simulation.fs.fork();
                let (path, length) = random.pick(&log_files(&fs)).clone();
                fs.flip_bit(&path, random.below(length as u64 * 8) as usize);
                match open(Arc::new(fs)) {
                    Ok(store) => assert_eq!(store.ordered_snapshot().commit(), expected, "nothing is silently lost"),
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                        assert!(error.remedy().is_some(), "{error}");
                        let named = ["wal-", "checkpoint-", "seg-"].iter().any(|name| error.message().contains(name));
                        assert!(named, "{error}");
                    }
                }
            }
            assert!(refused > 0, "some of the flips hit what counts");
        });
    }
}
