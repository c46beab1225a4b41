//! Some thousand cases for every decoder; `bench/fuzz` has millions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gridhouse_base::random::Random;
use gridhouse_fuzz::run::{Run, Tally};
use gridhouse_fuzz::{Decoder, Input, KINDS, Kind, Memory, kind};
use gridhouse_sim::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting;

/// Runs are alone in their process, and so is a failure to be told.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn some(name: &str) {
    let _alone = alone();
    let kind = kind(name).expect("there is such a decoder");
    let run = Run { kind, seed: 1, from: 0, cases: kind.few };
    let tally = run.make(|_| ());
    assert_eq!(tally.failed, 0, "{run}");
    let least = kind.few / 50;
    assert!(tally.taken > least && tally.refused > least, "the inputs are right and wrong: {tally:?}");
}

#[test]
fn server() {
    some("server");
}

#[test]
fn pgoutput() {
    some("pgoutput");
}

#[test]
fn values() {
    some("values");
}

#[test]
fn copy() {
    some("copy");
}

#[test]
fn files() {
    some("files");
}

#[test]
fn sql() {
    some("sql");
}

#[test]
fn statements() {
    some("statements");
}

#[test]
fn lookups() {
    some("lookups");
}

#[test]
fn socket() {
    some("socket");
}

#[test]
fn client() {
    some("client");
}

#[test]
fn books() {
    some("books");
}

#[test]
fn states() {
    some("states");
}

#[test]
fn every_decoder_is_named_here() {
    let own = include_str!("fuzz.rs");
    for kind in KINDS {
        assert!(own.contains(&format!("some(\"{}\")", kind.name)), "{} has a test", kind.name);
    }
}

#[test]
fn options() {
    some("options");
}

/// Does something on another thread.
struct Elsewhere(fn());

impl Decoder for Elsewhere {
    fn draw(&mut self, _: &mut Random) -> Input {
        Input::new()
    }

    fn decode(&mut self, _: &Input) -> bool {
        std::thread::spawn(self.0).join().is_ok()
    }
}

#[test]
fn what_other_threads_do_is_the_decoders_doing() {
    let _alone = alone();
    let failed = |begin: fn() -> Box<dyn Decoder>| {
        let memory = Memory { bytes: 200 << 10, per_byte: 0 };
        let kind = Box::leak(Box::new(Kind { name: "elsewhere", cases: 0, few: 0, batch: 2, memory, begin }));
        let Tally { taken, failed, .. } = Run { kind, seed: 1, from: 0, cases: 4 }.make(|_| ());
        (taken, failed)
    };
    assert_eq!(failed(|| Box::new(Elsewhere(|| {}))), (4, 0));
    assert_eq!(failed(|| Box::new(Elsewhere(|| panic!("and caught by whoever joins")))), (0, 4));
    assert_eq!(failed(|| Box::new(Elsewhere(|| drop(std::hint::black_box(vec![1_u8; 1 << 20]))))), (0, 4));
}
