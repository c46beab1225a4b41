//! Who feeds whom: jobs must not feed themselves, and who is the only writer of a table.

use std::collections::BTreeSet;

use gridhouse_base::{Error, JobId, Result, TableId};

use crate::core::Core;
use crate::job::Job;
use crate::prepare::{Prepared, Route};
use crate::records::{JobState, StreamTableRecord};
use crate::stream::Stream;
use crate::wiring::chosen_alike;

/// What is read and what is written from it.
type Edge = (BTreeSet<TableId>, BTreeSet<TableId>);

/// The tables that changes of `from` come to.
fn reached(from: BTreeSet<TableId>, edges: &[&Edge]) -> BTreeSet<TableId> {
    let mut reached = from;
    loop {
        let before = reached.len();
        for (reads, writes) in edges {
            if !reads.is_disjoint(&reached) {
                reached.extend(writes);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

impl Core {
    /// Refuses a job whose output would reach one of its inputs.
    pub(crate) fn check_circle(&self, id: JobId, inserts: &[Prepared]) -> Result<()> {
        let own = |insert: &Prepared| {
            let reads = insert.bound.plan.tables().iter().filter_map(|t| self.catalog.table_id(&t.path)).collect();
            let target = &insert.bound.target.path;
            let letters = if insert.dead_letters { self.catalog.letters_of(target) } else { None };
            let writes = self.catalog.table_id(target).into_iter().chain(letters).collect();
            (reads, writes)
        };
        let own: Vec<Edge> = inserts.iter().map(own).collect();
        let others: Vec<Edge> =
            self.jobs.iter().filter(|(other, _)| **other != id).map(|(_, job)| (job.read(), job.written())).collect();
        let all: Vec<&Edge> = own.iter().chain(&others).collect();
        // The job runs as one, so what comes back to it through others must not have come from it.
        let targets: BTreeSet<TableId> = own.iter().flat_map(|(_, writes)| writes.iter().copied()).collect();
        let outside = reached(targets.clone(), &others.iter().collect::<Vec<_>>());
        let returned: BTreeSet<TableId> = outside.difference(&targets).copied().collect();
        for (insert, (reads, writes)) in inserts.iter().zip(&own) {
            let feeds_itself = !reads.is_disjoint(&reached(writes.clone(), &all)) || !reads.is_disjoint(&returned);
            if feeds_itself {
                let target = &insert.bound.target.path;
                return Err(Error::conflict(format!("this INSERT into {target} would feed itself")).hint(
                    "write into a table that none of its inputs is made from, or run it once: SET 'execution.runtime-mode' = 'batch'",
                ));
            }
        }
        Ok(())
    }

    /// Refuses two landings of one source in one table with a key, where a filter leaves rows out: what one leaves out may have passed
    /// before, and is deleted, though the other lets it pass.
    ///
    /// # Errors
    /// `Invalid` with the way to write it.
    pub(crate) fn check_filters(&self, id: JobId, inserts: &[Prepared]) -> Result<()> {
        let lands = |insert: &Prepared| match &insert.route {
            Route::Landing(landing) if !insert.bound.target.primary_key.is_empty() => Some(landing.has_filter()),
            _ => None,
        };
        let mut others: Vec<Prepared> = Vec::new();
        for (_, job) in self.jobs.iter().filter(|(other, _)| **other != id) {
            let targets = || job.record.inserts.iter().map(|insert| &insert.target);
            if targets().any(|target| inserts.iter().any(|insert| insert.bound.target.path == *target)) {
                // One that cannot be bound any more does not run either.
                others.extend(crate::boot::bind(self, &job.record).unwrap_or_default());
            }
        }
        for (i, insert) in inserts.iter().enumerate() {
            let Some(filters) = lands(insert) else { continue };
            let description = |insert: &Prepared| {
                let description = &insert.sources[0].description;
                (description.stream_key.clone(), description.table_key.clone())
            };
            for other in inserts[..i].iter().chain(&others) {
                let Some(other_filters) = lands(other) else { continue };
                let target = &insert.bound.target.path;
                if (filters || other_filters)
                    && other.bound.target.path == *target
                    && description(other) == description(insert)
                {
                    let source = &insert.sources[0].definition.path;
                    return Err(Error::invalid(format!(
                        "two INSERTs let different rows of {source} into {target}: a row that one leaves out would be deleted \
                         though the other lets it in"
                    ))
                    .hint("write one INSERT, with both conditions in its WHERE or with UNION ALL between the two SELECTs"));
                }
            }
        }
        Ok(())
    }

    /// Whether a job that runs takes the same rows of its sources as they are declared now, so that nothing of them is to come again.
    pub(crate) fn reads_on(&self, id: JobId, inserts: &[Prepared]) -> bool {
        let is_alike = |(stream, known): (&Stream, &StreamTableRecord)| {
            let mut now = inserts.iter().flat_map(|insert| &insert.sources).filter(|source| {
                let description = &source.description;
                description.stream_key == stream.record.stream_key && description.table_key == known.table_key
            });
            now.all(|source| chosen_alike(&self.connectors, &known.definition, &source.definition))
        };
        let tables =
            self.streams.values().flat_map(|stream| stream.record.tables.iter().map(move |table| (stream, table)));
        self.jobs.get(&id).is_some_and(|job| job.record.state == JobState::Running)
            && tables.filter(|(_, table)| table.job == Some(id)).all(is_alike)
    }

    /// Tables that a job reads, also while it waits and has no operators.
    pub(crate) fn read_by(&self, job: &Job) -> BTreeSet<TableId> {
        let mut read = job.read();
        if matches!(job.record.state, JobState::Waiting(_)) {
            // One that cannot be bound any more does not go on either.
            let inserts = crate::boot::bind(self, &job.record).unwrap_or_default();
            let tables = inserts.iter().flat_map(|insert| insert.bound.plan.tables());
            read.extend(tables.filter_map(|table| self.catalog.table_id(&table.path)));
        }
        read
    }

    /// Whether nothing else writes into the `INSERT`'s target: no other job, and no other `INSERT` of this one.
    pub(crate) fn is_sole_writer(&self, id: JobId, inserts: &[Prepared], insert: &Prepared) -> bool {
        let target = &insert.bound.target.path;
        let writes = |job: &Job| job.record.inserts.iter().any(|insert| insert.target == *target);
        inserts.iter().filter(|other| other.bound.target.path == *target).count() == 1
            && !self.jobs.iter().any(|(other, job)| *other != id && writes(job))
    }
}
