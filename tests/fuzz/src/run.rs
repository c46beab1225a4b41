//! Runs of cases, as the tests and `bench/fuzz` make them. A failure is told with the command that repeats it.
//!
//! What a decoder does on other threads is its doing too: a panic there fails the case, even if it is caught there, and memory is
//! counted over all threads. So a run is alone in its process.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gridhouse_base::random::Random;
use gridhouse_sim::memory;

use crate::{Decoder, Input, Kind};

/// The stack that cases have: that of the threads which the program runs a client's statements on.
const STACK_BYTES: usize = 2 << 20;

/// A run that has failed so often is not gone on with.
const MOST_FAILURES: u64 = 10;

/// Bytes of a piece of input that a message shows.
const SHOWN_BYTES: usize = 2_000;

/// Panics of this process since they are counted, whoever catches them.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn count_panics() {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            tell(panic);
        }));
    });
}

/// Panics since the number `told` was brought up to date, which this does.
fn new_panics(told: &mut u64) -> u64 {
    let now = PANICS.load(Ordering::SeqCst);
    now - std::mem::replace(told, now)
}

/// Whether a run is under way.
static RUNS: AtomicBool = AtomicBool::new(false);

/// The only run of the process.
struct Alone;

impl Alone {
    fn begin() -> Self {
        assert!(!RUNS.swap(true, Ordering::SeqCst), "a run is alone in its process");
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        RUNS.store(false, Ordering::SeqCst);
    }
}

/// Cases one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What decodes.
    pub kind: &'static Kind,
    /// What all is drawn from.
    pub seed: u64,
    /// The number of the first case; a batch begins there.
    pub from: u64,
    /// How many.
    pub cases: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Inputs that were taken.
    pub taken: u64,
    /// Inputs that were refused.
    pub refused: u64,
    /// Cases in which the decoder did what it should not.
    pub failed: u64,
    /// The most memory that a case took.
    pub most_bytes: u64,
}

/// The words that repeat the run.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, seed, from, cases } = self;
        write!(f, "bench/fuzz --decoder {} --seed {seed} --from {from} --cases {cases}", kind.name)
    }
}

impl Run {
    /// The run up to the case `case`, from the batch that it is in.
    pub fn upto(&self, case: u64) -> Self {
        let from = (case - case % self.kind.batch).max(self.from);
        Self { from, cases: case + 1 - from, ..*self }
    }

    /// Makes the run, on a thread with the stack of a client's; `begun` is told the number of each case before it.
    ///
    /// # Panics
    /// If there is no thread, or another run is under way.
    pub fn make(self, begun: impl Fn(u64) + Sync) -> Tally {
        let _alone = Alone::begin();
        count_panics();
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(self.kind.name.into()).stack_size(STACK_BYTES);
            let running = thread.spawn_scoped(scope, || self.go(&begun)).expect("a thread can be made");
            running.join().expect("panics of cases are caught")
        })
    }

    fn go(self, begun: &dyn Fn(u64)) -> Tally {
        let mut tally = Tally::default();
        let mut decoder: Option<Box<dyn Decoder>> = None;
        let mut told = PANICS.load(Ordering::SeqCst);
        for case in self.from..self.from + self.cases {
            begun(case);
            if case % self.kind.batch == 0 && case > self.from {
                tally.failed += self.end(decoder.take(), case - 1, &mut told);
            }
            let decoder_now = decoder.get_or_insert_with(self.kind.begin);
            let input = decoder_now.draw(&mut self.random(case));
            let decoded = catch_unwind(AssertUnwindSafe(|| memory::most_of_all(|| decoder_now.decode(&input))));
            let panics = new_panics(&mut told);
            let bytes: usize = input.iter().map(Vec::len).sum();
            let allowed = self.kind.memory.bytes + bytes as u64 * self.kind.memory.per_byte;
            match decoded {
                Ok((taken, most)) if panics == 0 && most <= allowed => {
                    *(if taken { &mut tally.taken } else { &mut tally.refused }) += 1;
                    tally.most_bytes = tally.most_bytes.max(most);
                    continue;
                }
                Ok(_) if panics > 0 => eprintln!("another thread has panicked, or a panic was caught"),
                Ok((_, most)) => eprintln!("{most} bytes of memory for an input of {bytes}, more than {allowed}"),
                // Its message has been told by the hook.
                Err(_) => {}
            }
            tally.failed += 1;
            eprintln!("{}\nto repeat: {}\n", shown(&input), self.upto(case));
            // What it is like after a panic nobody knows.
            decoder = None;
            new_panics(&mut told);
            if tally.failed >= MOST_FAILURES {
                break;
            }
        }
        tally.failed += self.end(decoder, self.from + self.cases - 1, &mut told);
        tally
    }

    /// Ends a batch after its case `last`; how often that failed.
    fn end(self, decoder: Option<Box<dyn Decoder>>, last: u64, told: &mut u64) -> u64 {
        drop(decoder);
        let failed = u64::from(new_panics(told) > 0);
        if failed > 0 {
            eprintln!("a panic after the last case\nto repeat: {}\n", self.upto(last));
        }
        failed
    }

    /// Each case draws from numbers of its own.
    fn random(&self, case: u64) -> Random {
        let name = self.kind.name.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte));
        Random::new(Random::new(self.seed ^ name.rotate_left(32)).bits() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

fn shown(input: &Input) -> String {
    let piece = |bytes: &Vec<u8>| {
        let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
        format!("  {}{more}", bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii())
    };
    format!("the input:\n{}", input.iter().map(piece).collect::<Vec<_>>().join("\n"))
}
