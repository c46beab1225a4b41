//! What becomes of logs as they grow old: rows of log tables expire after their `table.log.ttl`, and a consumer that is further
//! behind than its cap no longer holds back the log that it has not read.
//!
//! When a commit was made is known by moments that are noted now and then: at each, the last commit. They are kept with the
//! metadata, the older the fewer. What expires is decided once, here, and is on record by commit; so a replay does the same.
//! Expiry is no change: jobs are not told, and what they have made of a row stands.
//!
//! A clock that is set must not decide what is kept. So moments are told in *passed time*, a count of our own: while the process
//! runs it goes with the monotonic clock, whatever the clock on the wall says. From one process to the next only the wall can
//! tell how much has passed; it is believed up to [`LONGEST_REST_MICROS`], and never backwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::{CommitId, Result, TableId};
use gridhouse_store::{LogLag, Snapshot, TableSnapshot};
use serde::{Deserialize, Serialize};

use crate::boot::bind;
use crate::core::Core;
use crate::held::{forget_sink, held_name, is_held};
use crate::records::{JobState, decode, encode};
use crate::wiring::sink_name;

/// The metadata space of moments; keys are commits.
const MOMENTS: &str = "moments";
/// The metadata space of consumers that were too slow; keys are `consumer\u{1}table`.
const LOST: &str = "lost_consumers";

/// The key of the last look among them: how much has passed may be known though nothing was committed.
const LOOKED: &str = "looked";
/// How often a look is noted where no moment is: a crash loses at most this much of what has passed.
const LOOK_MICROS: i64 = 3_600_000_000;

/// How often a moment is noted, unless rows expire sooner: what expires does so at most this much too late.
const MOMENT_MICROS: i64 = 10_000_000;
/// A time to live is told apart in this many steps.
const STEPS: i64 = 8;
/// How many moments are kept before old ones are thinned out.
const MOST_MOMENTS: usize = 512;
/// An old moment is needed only as precisely as this part of its age.
const PRECISION: i64 = 32;

/// The most that may have passed between a process and the next one, however far apart the clock on the wall puts them. A machine
/// that was off for longer finds its rows younger than they are, and one whose clock is years ahead as it starts takes a day too much.
const LONGEST_REST_MICROS: i64 = 86_400_000_000;

/// How far a consumer may be behind before the log is no longer kept for it.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerCap {
    /// Bytes that it has not read.
    pub bytes: u64,
    /// The age of the oldest of them.
    pub age: Duration,
}

/// 16 GB fit beside the tables on a small disk; seven days are Fluss's own `table.log.ttl`.
impl Default for ConsumerCap {
    fn default() -> Self {
        Self { bytes: 16 << 30, age: Duration::from_secs(7 * 86_400) }
    }
}

/// A consumer that was too slow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LostRecord {
    pub(crate) consumer: String,
    pub(crate) table: TableId,
    /// Where it stood.
    pub(crate) upto: CommitId,
}

impl LostRecord {
    fn key(&self) -> String {
        format!("{}\u{1}{}", self.consumer, self.table.0)
    }
}

/// Moments in passed time, each with the last commit then; ascending.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    marks: Vec<(CommitId, i64)>,
    /// The tick in which this was last written down; it is no news.
    own: CommitId,
    /// The passed time at a reading of the monotonic clock.
    begun: (i64, Duration),
    /// The passed time that was put on record last.
    looked: i64,
}

impl Moments {
    /// Those that are on record, with passed time going on from the last of them.
    pub(crate) fn of(snapshot: &Snapshot, clock: &dyn Clock) -> Self {
        let wall = clock.now_micros();
        let (mut marks, mut last) = (Vec::new(), (wall, wall));
        for (key, value) in snapshot.list(MOMENTS) {
            // Written before there was passed time: it began as the time of the wall.
            let (time, at) = value.split_once(' ').unwrap_or((&value, &value));
            let (Ok(time), Ok(at)) = (time.parse::<i64>(), at.parse::<i64>()) else { continue };
            if let Ok(commit) = key.parse() {
                marks.push((CommitId(commit), time));
                last = (time, at);
            } else if key == LOOKED && time > last.0 {
                // Moments come first.
                last = (time, at);
            }
        }
        let (looked, at) = last;
        let passed = looked.saturating_add(wall.saturating_sub(at).clamp(0, LONGEST_REST_MICROS));
        Self { marks, own: CommitId(0), begun: (passed, clock.monotonic()), looked }
    }

    /// The passed time now, in microseconds from an arbitrary moment; never goes back.
    fn now(&self, clock: &dyn Clock) -> i64 {
        let (passed, begun) = self.begun;
        let since = clock.monotonic().saturating_sub(begun).as_micros();
        passed.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// The newest commit that is known to be made at `micros` or before.
    fn made_by(&self, micros: i64) -> Option<CommitId> {
        let later = self.marks.partition_point(|(_, time)| *time <= micros);
        self.marks[..later].last().map(|(commit, _)| *commit)
    }

    /// When a commit was made at the latest, if that is known.
    fn time_of(&self, commit: CommitId) -> Option<i64> {
        self.marks.get(self.marks.partition_point(|(mark, _)| *mark < commit)).map(|(_, time)| *time)
    }

    /// Whether another moment is to be noted: something was committed, and the last one is `every` ago.
    fn is_due(&self, last: CommitId, now: i64, every: i64) -> bool {
        let noted = self.marks.last();
        last > self.own.max(noted.map_or(CommitId(0), |mark| mark.0)) && noted.is_none_or(|mark| now - mark.1 >= every)
    }

    /// What a look now puts on record; `None` where nothing has an age.
    fn look(&mut self, clock: &dyn Clock) -> Option<String> {
        if self.marks.is_empty() {
            return None;
        }
        self.looked = self.now(clock);
        Some(format!("{} {}", self.looked, clock.now_micros()))
    }

    /// Takes out and gives the moments that are older than anyone asks for, or nearer to others than their age calls for.
    fn thin_out(&mut self, now: i64, longest: i64) -> Vec<CommitId> {
        let mut gone = Vec::new();
        let past = self.marks.partition_point(|(_, time)| *time <= now - longest).saturating_sub(1);
        gone.extend(self.marks.drain(..past).map(|mark| mark.0));
        if self.marks.len() > MOST_MOMENTS {
            let mut i = 1;
            while i + 1 < self.marks.len() {
                let apart = self.marks[i + 1].1 - self.marks[i - 1].1;
                if apart < (now - self.marks[i].1) / PRECISION {
                    gone.push(self.marks.remove(i).0);
                } else {
                    i += 1;
                }
            }
        }
        gone
    }
}

/// A reader of a table's log.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) table: TableId,
    pub(crate) upto: CommitId,
    pub(crate) lag: LogLag,
    /// The age of the oldest entry that it has not read, as far as that is known.
    pub(crate) lag_micros: i64,
    pub(crate) is_lost: bool,
    /// How many unread bytes are kept for it; `None`: all that have not expired.
    pub(crate) cap_bytes: Option<u64>,
    /// How long they are kept for it, or at all.
    pub(crate) cap_micros: i64,
}

impl Core {
    /// The reader `name` of a table's log, which has read it up to `upto`.
    fn consumer(&self, name: String, log: &TableSnapshot, upto: CommitId) -> Consumer {
        let lag = log.lag(upto);
        let made = lag.oldest.and_then(|oldest| self.moments.time_of(oldest));
        let lag_micros = made.map_or(0, |made| (self.moments.now(&*self.clock) - made).max(0));
        let cap_micros = i64::try_from(self.consumer_cap.age.as_micros()).unwrap_or(i64::MAX / 2);
        let (is_lost, cap_bytes) = (lag.is_lost, Some(self.consumer_cap.bytes));
        Consumer { name, table: log.id(), upto, lag, lag_micros, is_lost, cap_bytes, cap_micros }
    }

    /// The jobs that read logs whose rows expire. Nothing is kept for them: one that stands still for longer than rows live loses
    /// some.
    pub(crate) fn readers_of_expiring_logs(&self) -> Vec<Consumer> {
        let snapshot = self.store.ordered_snapshot();
        let mut readers = Vec::new();
        for (id, job) in self.jobs.iter().filter(|(_, job)| job.record.state != JobState::Finished) {
            let is_running = job.record.state == JobState::Running;
            let read: BTreeSet<TableId> = if is_running {
                job.flow_inputs().collect()
            } else {
                let inserts = bind(self, &job.record).unwrap_or_default();
                let paths = inserts.iter().flat_map(|insert| insert.bound.plan.tables());
                paths.filter_map(|table| self.catalog.table_id(&table.path)).collect()
            };
            for log in read.into_iter().filter_map(|table| snapshot.table(table).ok()) {
                let Some(ttl_ms) = log.spec().log_ttl_ms else { continue };
                let upto = if is_running { snapshot.commit() } else { job.record.cursor };
                let reader = self.consumer(format!("{}/{}", id.0, job.record.name), &log, upto);
                let cap_micros = i64::try_from(ttl_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
                readers.push(Consumer { cap_bytes: None, cap_micros, ..reader });
            }
        }
        readers
    }

    /// Every consumer that a log is kept for, with its lag.
    pub(crate) fn consumers(&self) -> Vec<Consumer> {
        let snapshot = self.store.ordered_snapshot();
        let mut consumers = Vec::new();
        let mut add = |name: &str, table: TableId, upto: CommitId, is_lost: bool| {
            let Ok(log) = snapshot.table(table) else { return };
            let consumer = self.consumer(name.to_owned(), &log, upto);
            consumers.push(Consumer { is_lost: is_lost || consumer.is_lost, ..consumer });
        };
        let behind = snapshot.cursors().filter(|(name, ..)| !is_held(name));
        behind.for_each(|(name, table, upto)| add(name, table, upto, false));
        for lost in lost_consumers(&snapshot) {
            if snapshot.cursor(&lost.consumer, lost.table).is_none() {
                add(&lost.consumer, lost.table, lost.upto, true);
            }
        }
        consumers
    }

    /// What is kept of logs for outsides that may go back behind where they were taken over from them.
    fn kept_for_going_back(&self, snapshot: &Snapshot) -> Vec<Consumer> {
        let mut kept = Vec::new();
        for (id, job) in &self.jobs {
            for (i, insert) in job.record.inserts.iter().enumerate() {
                let Some(before) = insert.before.as_ref().filter(|before| !before.is_owed) else { continue };
                let name = held_name(&sink_name(*id, i, &insert.target));
                if let (Some(upto), Ok(log)) = (snapshot.cursor(&name, before.table), snapshot.table(before.table)) {
                    kept.push(self.consumer(name, &log, upto));
                }
            }
        }
        kept
    }

    /// Lets go of what has expired, and of what is kept for consumers beyond their cap alone.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn keep_logs(&mut self) -> Result<()> {
        let snapshot = self.store.ordered_snapshot();
        let expiring: Vec<(TableId, i64)> = snapshot
            .tables()
            .filter_map(|table| Some((table.id(), i64::try_from(table.spec().log_ttl_ms?).ok()?.checked_mul(1_000)?)))
            .collect();
        if expiring.is_empty() && snapshot.cursors().next().is_none() && snapshot.list(LOST).is_empty() {
            return Ok(());
        }
        // What waits is taken in first, so that the tick below holds nothing that could expire itself.
        self.tick()?;
        let snapshot = self.store.ordered_snapshot();
        let (now, wall) = (self.moments.now(&*self.clock), self.clock.now_micros());
        let mut consumers = self.consumers();
        consumers.extend(self.kept_for_going_back(&snapshot));
        let cap = self.consumer_cap;
        let cap_micros = i64::try_from(cap.age.as_micros()).unwrap_or(i64::MAX / 2);
        let shortest = expiring.iter().map(|(_, ttl)| *ttl).min().unwrap_or(i64::MAX);
        let longest = expiring.iter().map(|(_, ttl)| *ttl).max().unwrap_or(0).max(cap_micros);
        let is_wanted = !expiring.is_empty() || consumers.iter().any(|consumer| consumer.lag.rows > 0);
        let every = MOMENT_MICROS.min(shortest / STEPS).max(1);
        let mut noted = None;
        if is_wanted && self.moments.is_due(snapshot.commit(), now, every) {
            self.moments.marks.push((snapshot.commit(), now));
            noted = Some((snapshot.commit(), now));
        }
        let looked = match noted {
            Some((_, at)) => {
                self.moments.looked = at;
                None
            }
            None if now - self.moments.looked >= LOOK_MICROS => self.moments.look(&*self.clock),
            None => None,
        };
        let forgotten = if noted.is_some() { self.moments.thin_out(now, longest) } else { Vec::new() };

        let mut trims: Vec<(TableId, CommitId)> = Vec::new();
        for (id, ttl) in &expiring {
            // Up to what goes and no further: a reader that has seen all of it has lost nothing.
            if let Some(upto) = self.moments.made_by(now.saturating_sub(*ttl))
                && let Some(upto) = snapshot.table(*id)?.newest_commit(upto)
            {
                trims.push((*id, upto));
            }
        }
        let too_slow = |consumer: &&Consumer| {
            consumer.lag.rows > 0 && (consumer.lag.bytes > cap.bytes || consumer.lag_micros > cap_micros)
        };
        let mut lost = Vec::new();
        for consumer in consumers.iter().filter(|consumer| !consumer.is_lost).filter(too_slow) {
            tracing::warn!(
                consumer = consumer.name,
                rows = consumer.lag.rows,
                bytes = consumer.lag.bytes,
                "the consumer is further behind than its cap: the log is no longer kept for it"
            );
            let Consumer { name, table, upto, .. } = consumer;
            lost.push(LostRecord { consumer: name.clone(), table: *table, upto: *upto });
        }
        let known: BTreeMap<String, Option<TableId>> = self.sinks().collect();
        // One whose job was replaced may read a table of its own by now.
        let reads = |record: &LostRecord| {
            known.get(&record.consumer).is_some_and(|outbox| outbox.is_none_or(|outbox| outbox == record.table))
        };
        let found: Vec<LostRecord> = lost_consumers(&snapshot)
            .into_iter()
            // One that tells again how far it has come has caught up after all.
            .filter(|record| {
                snapshot.cursor(&record.consumer, record.table).is_some()
                    || !reads(record)
                    || snapshot.table(record.table).is_err()
            })
            .collect();
        // A hidden queue is read by its consumer alone, and nothing else would ever empty it.
        for consumer in consumers.iter().filter(|consumer| consumer.is_lost && consumer.lag.rows > 0) {
            let log = snapshot.table(consumer.table)?;
            let is_read = snapshot.cursors().any(|(_, table, _)| table == consumer.table);
            if log.spec().hidden && log.spec().primary_key.is_empty() && !is_read {
                trims.push((consumer.table, snapshot.commit()));
            }
        }
        if noted.is_none()
            && looked.is_none()
            && forgotten.is_empty()
            && trims.is_empty()
            && lost.is_empty()
            && found.is_empty()
        {
            return Ok(());
        }
        self.moments.own = self.tick_writing(|tick, _| {
            if let Some((commit, micros)) = noted {
                tick.put(MOMENTS, &format!("{:020}", commit.0), Some(&format!("{micros} {wall}")));
            }
            if let Some(looked) = looked {
                tick.put(MOMENTS, LOOKED, Some(&looked));
            }
            for commit in forgotten {
                tick.put(MOMENTS, &format!("{:020}", commit.0), None);
            }
            for (table, upto) in trims {
                tick.trim_log(table, upto)?;
            }
            for record in lost {
                forget_sink(tick, &record.consumer, Some(record.table))?;
                tick.put(LOST, &record.key(), Some(&encode(&record)));
            }
            for record in found {
                tick.put(LOST, &record.key(), None);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Puts on record how much has passed, for the next process.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn look_last(&mut self) -> Result<()> {
        match self.moments.look(&*self.clock) {
            Some(looked) => self.tick_with(|tick| tick.put(MOMENTS, LOOKED, Some(&looked))),
            None => Ok(()),
        }
    }

    /// The names of all sinks, each with the hidden table that it is read from; `None` where that is a user's.
    fn sinks(&self) -> impl Iterator<Item = (String, Option<TableId>)> + '_ {
        self.jobs.iter().flat_map(|(id, job)| {
            let inserts = job.record.inserts.iter().enumerate();
            inserts.map(|(i, insert)| (sink_name(*id, i, &insert.target), insert.outbox))
        })
    }
}

/// The consumers that were too slow, and have not caught up since.
pub(crate) fn lost_consumers(snapshot: &Snapshot) -> Vec<LostRecord> {
    let records = snapshot.list(LOST);
    records.iter().filter_map(|(key, text)| decode::<LostRecord>(LOST, key, text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_tell_what_was_made_by_then_and_grow_fewer_with_age() {
        let mut moments = Moments::default();
        let second = 1_000_000;
        for i in 0..100_000_i64 {
            let now = i * 10 * second;
            assert!(moments.is_due(CommitId(i as u64 * 3 + 1), now, 10 * second));
            moments.marks.push((CommitId(i as u64 * 3 + 1), now));
            assert!(!moments.is_due(CommitId(i as u64 * 3 + 2), now + 9 * second, 10 * second), "it is too soon");
            assert!(
                !moments.is_due(CommitId(i as u64 * 3 + 1), now + 99 * second, 10 * second),
                "nothing has happened"
            );
            moments.thin_out(now, 900_000 * second);
        }
        assert!(moments.marks.len() <= 2 * MOST_MOMENTS, "{} moments", moments.marks.len());
        let now = 999_990 * second;
        for age in [0, 10, 100, 5_000, 90_000, 800_000] {
            let wanted = now - age * second;
            let commit = moments.made_by(wanted).unwrap();
            let made = (commit.0 as i64 - 1) / 3 * 10 * second;
            assert!(made <= wanted, "what is younger does not expire");
            let late = (wanted - made) / second;
            assert!(late <= 10 + age / 8, "what is {age} s old expires {late} s late");
            assert!(moments.time_of(commit).unwrap() == made);
        }
    }
}
