//! The whole chain under the simulator, as much of it as fits into seconds; `bench/crash` does more. One seed decides
//! everything; a failure prints the command that repeats it.

use gridhouse_sim_chain::Life;
use gridhouse_sim_chain::runs::{Kind, Run, every_point};
use gridhouse_sim_chain::tally::Tally;

fn make_all(runs: impl IntoIterator<Item = Run>) -> Tally {
    let mut all = Tally::default();
    for run in runs {
        match run.make(false) {
            Some(tally) => all += tally,
            None => panic!("to repeat: bench/crash {run}"),
        }
    }
    all
}

#[test]
fn a_crash_anywhere_in_a_small_life_loses_nothing() {
    make_all(every_point(0).expect("without a crash it goes well").into_iter().step_by(9));
}

#[test]
fn many_crashes_and_faults_lose_nothing() {
    let all = make_all((0..100).map(|seed| Run { seed, kind: Kind::Lives }));
    assert!(all.restored > 0 && all.rebuilt > 0 && all.replaced > 0 && all.writes > 0, "{all}");
    assert!(all.told.lacking().is_empty(), "never told: {:?}", all.told.lacking());
}

#[test]
fn an_older_copy_of_the_directory_is_found_out() {
    let all = make_all((0..20).map(|seed| Run { seed, kind: Kind::Copies }));
    assert!(all.refused > 0, "{all}");
}

#[test]
fn of_two_owners_the_older_is_fenced() {
    let all = make_all((0..20).map(|seed| Run { seed, kind: Kind::Owners }));
    assert!(all.fenced > 0, "{all}");
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let all = make_all((0..10).map(|seed| Run { seed, kind: Kind::Flips }));
    assert!(all.refused > 0 && all.recoveries > 0, "{all}");
}

#[test]
fn the_same_seed_does_the_same() {
    let digest = |seed| {
        let mut life = Life::new(seed);
        life.draw_faults();
        life.run(40).expect("nothing stops the machine");
        life.close().expect("nothing stops the machine");
        (life.house.fs.operations(), life.house.fs.digest())
    };
    for seed in 0..5 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(0), digest(1), "seeds differ");
}
