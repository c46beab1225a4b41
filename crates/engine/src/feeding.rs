//! Who feeds whom: jobs must not feed themselves, and who is the only writer of a table.

use std::collections::BTreeSet;

use gridhouse_base::{Error, JobId, Result, TableId};

use crate::core::Core;
use crate::job::Job;
use crate::prepare::Prepared;

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

    /// Whether nothing else writes into the `INSERT`'s target: no other job, and no other `INSERT` of this one.
    pub(crate) fn is_sole_writer(&self, id: JobId, inserts: &[Prepared], insert: &Prepared) -> bool {
        let target = &insert.bound.target.path;
        let writes = |job: &Job| job.record.inserts.iter().any(|insert| insert.target == *target);
        inserts.iter().filter(|other| other.bound.target.path == *target).count() == 1
            && !self.jobs.iter().any(|(other, job)| *other != id && writes(job))
    }
}
