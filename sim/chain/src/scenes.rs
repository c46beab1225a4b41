//! Lives in which somebody does to the data directory what nobody should: runs it twice, puts an older copy in its place, or
//! damages it. Each ends with a refusal that says what to do, or with everything right; after the remedy with everything right.

use gridhouse_base::random::Random;
use gridhouse_sim::SimFileSystem;
use gridhouse_store::Store;

use crate::life::Life;
use crate::tally::Tally;

/// How many bits are flipped in a run.
const FLIPS: u64 = 8;

/// What an outside table is known by, and the job that writes it.
const WRITERS: [(&str, u64); 3] = [("board", 8), ("counts", 9), ("trail", 10)];

/// The one among them whose outside has no key.
const FOLLOWER: u64 = 9;

/// A life whose source can be compared anew: of a log nobody knows which rows are missing.
fn comparable(seed: u64, is_told: bool) -> Life {
    let mut life = Life::new(seed);
    life.is_told = is_told;
    life.form.has_log = false;
    life.form.shape(&mut life.house.outside.world());
    life.toggles = false;
    life.house.outside.world().forgives_loss = true;
    life
}

/// The last tick that a data directory holds.
fn last_tick(life: &Life, fs: &SimFileSystem) -> u64 {
    let store = Store::open(life.house.store_options(fs.fork())).expect("a copy can be opened");
    store.ordered_snapshot().commit().0
}

/// A copy of the directory is made; the directory goes on; then the copy takes its place.
pub(crate) fn older_copy(seed: u64, is_told: bool) -> Tally {
    let mut life = comparable(seed ^ 0x01d, is_told);
    let steps = 10 + life.random.below(20);
    life.run(steps).expect("nothing stops the machine");
    let is_clean = life.random.chance(0.5);
    if is_clean {
        life.close().expect("nothing stops the machine");
    }
    let copy = life.house.fs.fork();
    copy.restart();
    let tick = last_tick(&life, &copy);
    let writes =
        |life: &Life| WRITERS.map(|(name, _)| life.house.outside.world().targets.get(name).map_or(0, |t| t.writes));
    let before = writes(&life);
    let steps = 5 + life.random.below(20);
    life.run(steps).expect("nothing stops the machine");
    if life.random.chance(0.7) {
        life.catch_up().expect("nothing stops the machine");
    }
    life.kill();
    life.tell(|| "an older copy takes the directory's place".into());
    life.house.fs = copy;
    let after = writes(&life);
    let mut expected = Vec::new();
    for (i, (name, job)) in WRITERS.into_iter().enumerate() {
        let world = life.house.outside.world();
        let Some(target) = world.targets.get(name) else { continue };
        // Each start is a history of its own, so even the first commits after a clean stop are told apart.
        let is_later = is_clean && before[i] != after[i];
        let beyond = target.books.values().any(|book| book.upto > tick || (is_later && book.history.is_some()));
        // An empty table with a key is written anew in any case, which is right.
        if beyond && !(target.rows.is_empty() && name != "counts") {
            expected.push(job);
        }
    }
    life.tally.refused += heal(&mut life, Some(&expected));
    life.tally
}

/// Two processes on two copies of one directory, each of which believes that it owns the outside.
pub(crate) fn two_owners(seed: u64, is_told: bool) -> Tally {
    let mut life = comparable(seed ^ 0x2, is_told);
    let steps = 10 + life.random.below(20);
    life.run(steps).expect("nothing stops the machine");
    life.house.until_quiet();
    let outside = life.house.outside.clone();
    for _ in 0..3 {
        outside.world().database.commit(&mut life.random);
    }
    // The older one has this before it yet.
    outside.world().send(12);
    for _ in 0..life.random.below(6) {
        life.house.turns.give_one(&mut life.random);
    }
    let copy = life.house.fs.fork();
    copy.restart();
    let seed = life.random.bits();
    let other = life.house.beside(copy, seed);
    let mut older = std::mem::replace(&mut life.house, other);
    life.tell(|| "a second process begins on a copy".into());
    life.house.open().expect("the copy can be opened");
    for _ in 0..life.random.below(60) {
        if life.random.chance(0.5) {
            life.house.turns.give_one(&mut life.random);
        } else {
            older.turns.give_one(&mut life.random);
        }
    }
    life.house.until_quiet();
    older.until_quiet();
    let mut jobs = older.run("SELECT job_id, state, error FROM system.status.jobs").expect("the older one answers");
    jobs.retain(|job| job[1] != "RUNNING");
    for job in &jobs {
        assert!(job[2].contains("is fenced"), "the older process says of job {}: {}", job[0], job[2]);
    }
    life.tally.fenced += jobs.len() as u64;
    older.kill();
    life.tally.refused += heal(&mut life, None);
    life.tally
}

/// Opens, insists that the writers `expected` and no others refuse to go on, since the outside has seen what is lost here, does
/// as they say, and insists that all is well. Gives how many refused.
fn heal(life: &mut Life, expected: Option<&[u64]>) -> u64 {
    life.open().expect("the copy can be opened");
    let outside = life.house.outside.clone();
    while outside.world().send(16) > 0 {
        life.house.until_quiet();
    }
    life.house.until_quiet();
    let jobs =
        life.house.run("SELECT job_id, state, error FROM system.status.jobs ORDER BY job_id").expect("it answers");
    let refusing: Vec<u64> =
        jobs.iter().filter(|job| job[1] != "RUNNING").map(|job| job[0].parse().expect("a number")).collect();
    for job in jobs.iter().filter(|job| job[1] != "RUNNING") {
        // What a job puts out without a key may be kept no longer: then only a new job gives all of it.
        let ways = ["START JOB", "DROP JOB"].map(|way| format!("{way} {}", job[0]));
        let is_told = job[2].contains("restored from an older copy") && ways.iter().any(|way| job[2].contains(way));
        assert!(is_told, "job {} says: {}", job[0], job[2]);
    }
    if let Some(expected) = expected {
        assert_eq!(refusing, expected, "who has seen what is lost here: {jobs:?}");
    }
    for (name, job) in WRITERS.into_iter().filter(|(_, job)| refusing.contains(job)) {
        life.tell(|| format!("empty {name} and start job {job}"));
        outside.world().targets.remove(name);
        life.house.run(&format!("START JOB {job}")).expect("the job starts");
    }
    if refusing.contains(&FOLLOWER) {
        begin_anew(life);
    }
    life.catch_up().expect("nothing stops the machine");
    life.close().expect("nothing stops the machine");
    life.open().expect("nothing stops the machine");
    life.catch_up().expect("nothing stops the machine");
    life.tally.recoveries += 1;
    refusing.len() as u64
}

/// Has the job begin anew that follows every change without a key: what came to be while it rested has passed it by, and what it
/// had put out is kept only until it is written, which it says where that is asked for again.
fn begin_anew(life: &mut Life) {
    life.house.until_quiet();
    let error = format!("SELECT error FROM system.status.jobs WHERE state <> 'RUNNING' AND job_id = {FOLLOWER}");
    let failed = life.house.run(&error).expect("it answers");
    for error in failed.concat() {
        assert!(error.contains("DROP JOB") && error.contains("run the INSERT again"), "job {FOLLOWER} says: {error}");
        life.tally.refused += 1;
    }
    life.tell(|| format!("drop job {FOLLOWER}, empty its outside, and run the script again"));
    life.house.run(&format!("DROP JOB {FOLLOWER}")).expect("the job is dropped");
    life.house.outside.world().targets.remove("counts");
    life.house.run(&life.form.script()).expect("the script can be run again");
}

/// Bits of a well-kept directory are flipped, each in a copy of its own.
pub(crate) fn flips(seed: u64, is_told: bool) -> Tally {
    let mut whole = comparable(seed ^ 0xb17, is_told);
    for _ in 0..2 {
        let steps = 10 + whole.random.below(20);
        whole.run(steps).expect("nothing stops the machine");
        whole.close().expect("nothing stops the machine");
    }
    for _ in 0..FLIPS {
        let seed = whole.random.bits();
        let mut life = whole.fork(seed);
        let files: Vec<_> = life.house.fs.files().into_iter().filter(|(_, length)| *length > 0).collect();
        let (path, length) = life.random.pick(&files).clone();
        let bit = life.random.below(length as u64 * 8) as usize;
        life.tell(|| format!("flip bit {} of byte {} of {}", bit % 8, bit / 8, path.display()));
        life.house.fs.flip_bit(&path, bit);
        life.is_damaged = true;
        let outcome = life.run(5).and_then(|()| life.catch_up());
        whole.tally.refused += u64::from(outcome.is_err());
        whole.tally += Tally { recoveries: u64::from(outcome.is_ok()), ..life.tally };
    }
    whole.tally
}

impl Life {
    /// The same life on a disk and with an outside of its own, with nothing open.
    fn fork(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let outside = self.house.outside.fork(random.bits());
        let mut house = self.house.beside(self.house.fs.fork(), random.bits());
        house.outside = outside;
        Self { house, tally: Tally::default(), random, ..*self }
    }
}
