//! Hostile bytes: whatever stands in the files of a data directory, a store gives rows or says what is damaged. It never
//! panics, and takes no more memory than the files account for.
//!
//! Files of a real life are tampered with, and mostly their checksums are made right again (`forge.rs`): a checksum guards
//! against chance, not against whoever makes files. What the rows are is not asked here; that a flipped bit never gives a
//! wrong row is for [`crate::runs`].

mod forge;
mod tamper;

use std::sync::Arc;

use arrow_array::ArrayRef;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, ManualClock};
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, CommitId, ErrorKind, Result, RowKind, SourceId, TableId};
use gridhouse_store::{Limits, Nobody, Part, ScanRequest, SourceCommit, Store, StoreOptions, TableKind, TableSnapshot};

use crate::file_system::SimFileSystem;
use crate::memory;
use crate::model::{Row, columns, drawn_request};
use crate::simulation::{DIR, Simulation};

/// How many directories are made of one life.
const ATTACKS: u64 = 40;

/// Memory that a store may take whatever its files are: buffers of writers.
const MOST_MEMORY: u64 = 8 << 20;

/// Bytes of memory for each byte of the files: they are read whole, decoded and made anew, and the simulated disk keeps copies.
const MEMORY_PER_BYTE: u64 = 50;

/// Reads at most so many rows of a table, and of its log: what a few forged bytes may multiply, nobody waits for.
const MOST_ROWS: usize = 200_000;

/// Attacks a store that has lived by `seed`; how often something was refused, and how many rows were read.
pub(crate) fn attack(seed: u64, is_told: bool) -> (u64, u64) {
    let mut random = Random::new(seed ^ 0x4057_11e5);
    let mut life = Simulation::new(seed);
    for _ in 0..2 {
        life.run(10 + random.below(30)).expect("nothing stops the machine");
        if random.chance(0.5) {
            life.close().expect("nothing stops the machine");
        }
        life.kill();
    }
    let (mut refused, mut read) = (0, 0);
    for number in 0..ATTACKS {
        let fs = life.fs.fork();
        let what = tamper::tamper_some(&fs, &mut random);
        if is_told {
            eprintln!("{number}: {what:?}");
        }
        let draws = Random::new(random.bits());
        let ((refusals, rows), most) = memory::most_of(|| Victim { random: draws, refusals: 0, rows: 0 }.live(&fs));
        let allowed = MOST_MEMORY + fs.used() * MEMORY_PER_BYTE;
        assert!(most <= allowed, "{most} bytes of memory for files of {}, after {what:?}", fs.used());
        refused += refusals;
        read += rows;
    }
    // A short life may have left nothing that must be refused: the end of a log may be torn.
    assert!(refused + read > 0, "nothing came of it");
    (refused, read)
}

/// A store that opens what it finds and does everything with it.
struct Victim {
    random: Random,
    refusals: u64,
    rows: u64,
}

impl Victim {
    /// How often it was refused something, and how many rows it has read.
    fn live(mut self, fs: &SimFileSystem) -> (u64, u64) {
        for _ in 0..2 {
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_800_000_000_000_000));
            let mut options = StoreOptions::new(DIR, Arc::new(fs.clone()), clock, self.random.bits());
            options.limits = Limits {
                checkpoint_log_bytes: 500,
                index_bytes: 400,
                tick_bytes: *self.random.pick(&[200, 64 << 20]),
                ..Limits::default()
            };
            let begin = |_: &_, _: &_| Ok(Some(Nobody));
            let opened = Store::open_with(options, begin);
            if let Err(error) = &opened {
                assert!(error.remedy().is_some(), "what to do about it: {error}");
            }
            let Some((mut store, _)) = self.judge(opened) else { break };
            self.read(&store);
            self.write(&mut store);
            self.read(&store);
            let closed = store.close();
            self.judge(closed);
        }
        (self.refusals, self.rows)
    }

    /// What was asked for, or nothing where the files are damaged.
    fn judge<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(error) => {
                // A store that has met damage while it wrote has stopped, and tells that it has.
                let has_stopped = error.kind() == ErrorKind::Unavailable && error.to_string().contains("has stopped");
                let is_refusal = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict);
                assert!(is_refusal || has_stopped, "damaged files are no {:?}: {error}", error.kind());
                self.refusals += 1;
                None
            }
        }
    }

    fn read(&mut self, store: &Store) {
        let snapshot = store.ordered_snapshot();
        for table in snapshot.tables() {
            let _ = (table.lag(CommitId(1)), table.storage(), snapshot.cursors().count());
            let checked = table.check();
            self.judge(checked);
            self.read_rows(&table);
            self.read_log(&table);
        }
    }

    fn read_rows(&mut self, table: &TableSnapshot) {
        let whole = [ScanRequest::default(), drawn_request(&mut self.random)];
        for request in whole {
            let parts = table.partitions(&request, 2);
            // A column that was given another type has no such constants.
            let is_other = parts.as_ref().is_err_and(|error| error.kind() == ErrorKind::Invalid);
            let Some(parts) = (if is_other { None } else { self.judge(parts) }) else { continue };
            let mut left = MOST_ROWS;
            for batch in parts.into_iter().flatten() {
                let Some(batch) = self.judge(batch) else { break };
                self.rows += batch.len() as u64;
                if request.projection.is_none() && table.spec().kind == TableKind::PrimaryKey {
                    self.look_up(table, &batch);
                }
                left = left.saturating_sub(batch.len());
                if left == 0 {
                    break;
                }
            }
        }
    }

    fn look_up(&mut self, table: &TableSnapshot, rows: &ChangeBatch) {
        let some = rows.len().min(50);
        let keys: Vec<ArrayRef> =
            table.spec().primary_key.iter().map(|&column| rows.column(column).slice(0, some)).collect();
        // A key may have become NULL, and is refused then like any that a user gives.
        match table.get_columns(&keys, Some(&[0])) {
            Err(error) if error.kind() == ErrorKind::Invalid => {}
            found => drop(self.judge(found)),
        }
    }

    fn read_log(&mut self, table: &TableSnapshot) {
        let changes = table.changes(table.log_start());
        let Some(changes) = self.judge(changes) else { return };
        let mut left = MOST_ROWS;
        for entry in changes {
            let Some((_, batch)) = self.judge(entry) else { return };
            left = left.saturating_sub(batch.len());
            if left == 0 {
                return;
            }
        }
    }

    /// Commits to every table that takes our rows, applies all that waits, and makes the files anew.
    fn write(&mut self, store: &mut Store) {
        let rows: Vec<Row> = (0..5).map(|i| (i, Some("north".to_string()), Some(3))).collect();
        let tables: Vec<TableId> = store.ordered_snapshot().tables().map(|table| table.id()).collect();
        let part = |table| Part::new(table, KindBatch::new(columns(&rows, None), vec![RowKind::Insert; rows.len()]));
        let parts: Vec<Part> =
            tables.iter().map(|&table| part(table)).filter(|p| store.check_part(p).is_ok()).collect();
        let taken: Vec<TableId> = parts.iter().map(|part| part.table).collect();
        let source = SourceId(7);
        let commit = SourceCommit { source, position: vec![1], event_time_micros: 1, parts, stages: Vec::new() };
        let appended = store.append_source(commit);
        self.judge(appended);
        let ticked = store.tick().and_then(|mut tick| {
            while tick.apply_step(1_000)?.is_some() {}
            for &table in &taken {
                tick.write(table, &ChangeBatch::insertions(columns(&rows, None), rows.len()))?;
            }
            tick.put("jobs", "1", Some("{}"));
            tick.publish()
        });
        self.judge(ticked);
        for _ in 0..20 {
            let maintained = store.maintain(&mut || None);
            let is_busy = self.judge(maintained).unwrap_or(false);
            let has_worked = store.keeper().work();
            if let Some(trouble) = store.take_trouble() {
                self.judge(Err::<(), _>(trouble));
            }
            if !is_busy && !has_worked {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_what_is_tampered_with_is_refused_and_some_read() {
        let (refused, read) = (0..3).map(|seed| attack(seed, false)).fold((0, 0), |sum, (r, n)| (sum.0 + r, sum.1 + n));
        assert!(refused > 0 && read > 0, "{refused} refusals, {read} rows");
    }
}
