//! The store under the simulator, as much of it as fits into a minute; `bench/crash` does more. One seed decides everything;
//! a failure prints the command that repeats it.

use gridhouse_sim::Simulation;
use gridhouse_sim::memory::Counting;
use gridhouse_sim::runs::{Kind, Run, every_point};

#[global_allocator]
static MEMORY: Counting = Counting;

fn make_all(runs: impl IntoIterator<Item = Run>) {
    let failed: Vec<String> =
        runs.into_iter().filter(|run| !run.make(false)).take(1).map(|run| format!("bench/crash {run}")).collect();
    assert!(failed.is_empty(), "to repeat: {failed:?}");
}

#[test]
fn a_crash_at_every_operation_loses_nothing() {
    make_all((0..2).flat_map(|seed| every_point(seed).expect("without a crash it goes well")));
}

#[test]
fn many_crashes_and_faults_lose_nothing() {
    make_all((0..300).map(|seed| Run { seed, kind: Kind::Lives }));
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    make_all((0..40).map(|seed| Run { seed, kind: Kind::Flips }));
}

#[test]
fn large_tables_cross_groups_and_chunks() {
    make_all((0..2).map(|seed| Run { seed, kind: Kind::Wide }));
}

#[test]
fn hostile_files_are_refused_or_read_without_panic_in_bounded_memory() {
    // With 472 a look-up in what was forged finds more rows than there are keys.
    make_all((0..12).chain([472]).map(|seed| Run { seed, kind: Kind::Hostile }));
    let (bytes, most) = gridhouse_sim::memory::most_of(|| vec![1_u8; 1 << 20]);
    assert!(most >= bytes.len() as u64, "memory is counted here");
}

#[test]
fn the_same_seed_does_the_same() {
    let digest = |seed| {
        let mut simulation = Simulation::new(seed);
        simulation.run(40).expect("nothing stops the machine");
        simulation.close().expect("nothing stops the machine");
        (simulation.fs.operations(), simulation.fs.digest())
    };
    for seed in 0..20 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(0), digest(1), "seeds differ");
}
