//! The engine's workers in the hands of a simulation: none of them does anything but when it is given a turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridhouse_base::Result;
use gridhouse_base::random::Random;
use gridhouse_engine::worker::{Turn, Worker, Workers};

/// The worker that does what sessions ask for.
pub const CORE: &str = "core";

/// The worker that makes durable what they wait for.
pub const SYNC: &str = "sync";

/// How many rounds of turns something may take to come to rest: far more than any life here needs, so that work without end
/// is found.
const MOST_ROUNDS: usize = 100_000;

/// The workers of one engine; clones share them.
#[derive(Clone)]
pub struct Turns {
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Draws the order of turns where nobody asks for one.
    random: Arc<Mutex<Random>>,
}

struct Entry {
    name: Arc<str>,
    /// Away while it has its turn, and when it has ended.
    worker: Option<Box<dyn Worker>>,
    has_ended: bool,
}

impl Workers for Turns {
    fn start(&self, name: String, worker: Box<dyn Worker>) -> Result<()> {
        self.entries().push(Entry { name: name.into(), worker: Some(worker), has_ended: false });
        Ok(())
    }
}

impl Turns {
    /// Nobody yet; the order of turns comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { entries: Arc::default(), random: Arc::new(Mutex::new(Random::new(seed))) }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody's number once, in a drawn order.
    fn order(&self) -> Vec<usize> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..self.entries().len()).collect();
        random.shuffle(&mut order);
        order
    }

    /// Gives worker number `i` a turn, which may start others.
    fn give(&self, i: usize) -> Turn {
        let worker = self.entries().get_mut(i).and_then(|entry| entry.worker.take());
        let Some(mut worker) = worker else { return Turn::Ended };
        let turn = worker.turn(false);
        if turn == Turn::Ended {
            drop(worker);
            if let Some(entry) = self.entries().get_mut(i) {
                entry.has_ended = true;
            }
        } else if let Some(entry) = self.entries().get_mut(i) {
            entry.worker = Some(worker);
        }
        turn
    }

    /// Gives a drawn worker a turn; tells its name and what became of it.
    pub fn give_one(&self, random: &mut Random) -> Option<(Arc<str>, Turn)> {
        self.entries().retain(|entry| !entry.has_ended);
        let count = self.entries().len();
        if count == 0 {
            return None;
        }
        let i = random.below(count as u64) as usize;
        let name = self.entries()[i].name.clone();
        Some((name, self.give(i)))
    }

    /// Gives the worker of this name a turn; false where there was nothing to do for it.
    pub fn give_to(&self, name: &str) -> bool {
        let worker = self.entries().iter().position(|entry| &*entry.name == name);
        worker.is_some_and(|worker| self.give(worker) == Turn::Worked)
    }

    /// Gives all workers `but` one turns, in an order that is drawn for each round, until none has anything to do, or `is_over`,
    /// which is told of each turn, says that this is the end of it.
    ///
    /// # Panics
    /// If that never happens.
    pub fn until_quiet(&self, but: Option<&str>, is_over: &mut dyn FnMut(&str, Turn) -> bool) {
        for _ in 0..MOST_ROUNDS {
            self.entries().retain(|entry| !entry.has_ended);
            let mut is_quiet = true;
            // Whoever starts meanwhile has a turn in the next round.
            for i in self.order() {
                let name = self.entries()[i].name.clone();
                if but == Some(&*name) {
                    continue;
                }
                let turn = self.give(i);
                is_quiet &= turn != Turn::Worked;
                if is_over(&name, turn) {
                    return;
                }
            }
            if is_quiet {
                return;
            }
        }
        let names: Vec<Arc<str>> = self.entries().iter().map(|entry| entry.name.clone()).collect();
        panic!("the workers {names:?} never come to rest");
    }

    /// Drops all workers as they are, as the end of a process does.
    pub fn kill(&self) {
        let gone = std::mem::take(&mut *self.entries());
        drop(gone);
    }
}
