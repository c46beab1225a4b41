//! Where the time of a change goes between its source and the sinks: what the last ticks, and the sinks' writes, did when.
//!
//! Always on. A tick that carries a source's commit leaves a note of one moment per step, of the oldest commit that it carries;
//! a sink's write leaves three. That is a dozen readings of the clock and a hundred bytes a tick. The notes are of the process,
//! not of the store: a restart begins with none.
//!
//! Moments are of the machine's clock, since the first one is the source's. Where that runs apart from ours, the first step
//! says so, and only it.

use std::collections::VecDeque;
use std::time::Duration;

use gridhouse_base::{CommitId, JobId};

/// How many ticks, and how many writes of sinks, are remembered: some seconds of a busy chain, and below a megabyte with tens of
/// jobs.
const REMEMBERED: usize = 1_024;

/// A source's commit on its way to the tick; all in microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When its rows changed at the source.
    pub(crate) changed: i64,
    /// When the connector took the last of it from the outside.
    pub(crate) received: i64,
    /// When the core took it from the connector.
    pub(crate) taken: i64,
    /// When it was in the log.
    pub(crate) logged: i64,
}

/// A tick that carried a source's commit.
#[derive(Clone, Debug)]
pub(crate) struct TickNote {
    pub(crate) commit: CommitId,
    /// Of the oldest commit among those that it carried.
    pub(crate) arrival: Arrival,
    pub(crate) begun: i64,
    /// How long sources' rows were applied to the tables in which they land.
    pub(crate) applying: Duration,
    /// The jobs that had something to do, in their order.
    pub(crate) jobs: Vec<(JobId, Duration)>,
    pub(crate) published: i64,
    durable: Option<i64>,
}

impl TickNote {
    /// A tick that is not durable yet.
    pub(crate) fn new(commit: CommitId, arrival: Arrival, work: Work, published: i64) -> Self {
        let Work { begun, applying, jobs } = work;
        Self { commit, arrival, begun, applying, jobs, published, durable: None }
    }
}

/// What a tick under way has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) begun: i64,
    pub(crate) applying: Duration,
    pub(crate) jobs: Vec<(JobId, Duration)>,
}

impl Work {
    /// A job has taken so long, in this round of the tick.
    pub(crate) fn job(&mut self, id: JobId, took: Duration) {
        match self.jobs.iter_mut().find(|(job, _)| *job == id) {
            Some((_, sum)) => *sum += took,
            None => self.jobs.push((id, took)),
        }
    }
}

/// A write of a sink.
#[derive(Clone, Debug)]
pub(crate) struct WriteNote {
    pub(crate) sink: String,
    /// It wrote what changed after this commit,
    pub(crate) from: CommitId,
    /// up to this one.
    pub(crate) upto: CommitId,
    /// When it began to look for changes.
    pub(crate) woke: i64,
    /// When it had read them.
    pub(crate) read: i64,
    /// When the outside had committed them.
    pub(crate) written: i64,
}

/// The notes.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    ticks: VecDeque<TickNote>,
    writes: VecDeque<WriteNote>,
    /// Everything up to here was durable at this moment, or before.
    durable: (CommitId, i64),
}

/// A step of a change on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) commit: CommitId,
    pub(crate) changed: i64,
    /// Its place among the steps of the commit.
    pub(crate) number: usize,
    pub(crate) word: &'static str,
    /// Whose step it is, where there are several.
    pub(crate) job: Option<JobId>,
    pub(crate) sink: Option<String>,
    /// How long it took.
    pub(crate) micros: i64,
    /// How long after the source's commit it ended.
    pub(crate) after_micros: i64,
}

fn remember<T>(notes: &mut VecDeque<T>, note: T) {
    if notes.len() == REMEMBERED {
        notes.pop_front();
    }
    notes.push_back(note);
}

impl Trace {
    /// A tick has been published; it may be durable already.
    pub(crate) fn ticked(&mut self, mut note: TickNote) {
        let (commit, at) = self.durable;
        note.durable = (note.commit <= commit).then_some(at.max(note.published));
        remember(&mut self.ticks, note);
    }

    /// Everything up to `commit` is durable since `at`.
    pub(crate) fn synced(&mut self, commit: CommitId, at: i64) {
        self.durable = (commit, at);
        for note in self.ticks.iter_mut().rev().take_while(|note| note.durable.is_none()) {
            if note.commit <= commit {
                note.durable = Some(at);
            }
        }
    }

    /// A sink has written.
    pub(crate) fn wrote(&mut self, note: WriteNote) {
        remember(&mut self.writes, note);
    }

    /// Every step of the ticks that are durable, the oldest first.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for note in &self.ticks {
            if let Some(durable) = note.durable {
                self.steps_of(note, durable, &mut steps);
            }
        }
        steps
    }

    fn steps_of(&self, note: &TickNote, durable: i64, steps: &mut Vec<Step>) {
        let Arrival { changed, received, taken, logged } = note.arrival;
        let mut number = 0;
        let mut last = changed;
        let mut step = |word, job, sink, from: i64, until: i64| {
            number += 1;
            let (micros, after_micros) = (until - from, until - changed);
            steps.push(Step { commit: note.commit, changed, number, word, job, sink, micros, after_micros });
            until
        };
        for (word, until) in
            [("received", received), ("handed over", taken), ("logged", logged), ("tick begun", note.begun)]
        {
            last = step(word, None, None, last, until);
        }
        // Rounds take turns with applying and with every job: what is told is the sum of each.
        last = step("applied", None, None, last, last + note.applying.as_micros() as i64);
        for (job, took) in &note.jobs {
            last = step("job", Some(*job), None, last, last + took.as_micros() as i64);
        }
        step("published", None, None, last, note.published);
        step("durable", None, None, note.published, durable);
        let took_it = |write: &&WriteNote| write.from < note.commit && note.commit <= write.upto;
        for write in self.writes.iter().filter(took_it) {
            let sink = || Some(write.sink.clone());
            step("sink awake", None, sink(), durable, write.woke);
            step("sink read", None, sink(), write.woke, write.read);
            step("sink written", None, sink(), write.read, write.written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(commit: u64, at: i64) -> TickNote {
        let arrival = Arrival { changed: at, received: at + 10, taken: at + 15, logged: at + 20 };
        let mut work = Work { begun: at + 21, applying: Duration::from_micros(4), jobs: Vec::new() };
        for took in [3, 2] {
            work.job(JobId(7), Duration::from_micros(took));
        }
        TickNote::new(CommitId(commit), arrival, work, at + 40)
    }

    fn told(trace: &Trace, commit: u64) -> Vec<(&'static str, i64, i64)> {
        let steps = trace.steps().into_iter().filter(|step| step.commit == CommitId(commit));
        steps.map(|step| (step.word, step.micros, step.after_micros)).collect()
    }

    #[test]
    fn a_change_is_followed_from_its_source_to_its_sinks() {
        let mut trace = Trace::default();
        trace.ticked(tick(5, 1_000));
        trace.ticked(tick(6, 2_000));
        assert_eq!(told(&trace, 5), [], "nothing is told before it is durable");
        trace.synced(CommitId(5), 1_100);
        let (sink, from, upto) = ("s".to_owned(), CommitId(3), CommitId(5));
        trace.wrote(WriteNote { sink, from, upto, woke: 1_110, read: 1_130, written: 1_500 });
        let expected = [
            ("received", 10, 10),
            ("handed over", 5, 15),
            ("logged", 5, 20),
            ("tick begun", 1, 21),
            ("applied", 4, 25),
            ("job", 5, 30),
            ("published", 10, 40),
            ("durable", 60, 100),
            ("sink awake", 10, 110),
            ("sink read", 20, 130),
            ("sink written", 370, 500),
        ];
        assert_eq!(told(&trace, 5), expected);
        assert_eq!(told(&trace, 6), []);
    }

    #[test]
    fn a_tick_may_be_durable_before_it_is_noted() {
        let mut trace = Trace::default();
        trace.synced(CommitId(9), 900);
        trace.ticked(tick(9, 1_000));
        assert_eq!(told(&trace, 9).last(), Some(&("durable", 0, 40)));
    }

    #[test]
    fn old_notes_go() {
        let mut trace = Trace::default();
        for commit in 0..2 * REMEMBERED as u64 {
            trace.ticked(tick(commit, 0));
            trace.synced(CommitId(commit), 50);
        }
        assert_eq!(told(&trace, REMEMBERED as u64 - 1), []);
        assert_eq!(told(&trace, REMEMBERED as u64).len(), 8);
    }
}
