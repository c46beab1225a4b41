//! Jobs whose input ends: they are done once everything has arrived at their targets.
//!
//! A job ends only if nothing that it reads can ever change again: its own sources have delivered everything, and it reads no
//! table that others may still write. Its sinks are given the time to take the last rows.

use gridhouse_base::table::ObjectPath;
use gridhouse_base::{CommitId, JobId, Result};

use crate::core::Core;
use crate::job::{Branch, Job};
use crate::records::JobState;
use crate::shared::lock;
use crate::stream::StreamState;

impl Core {
    /// Ends the jobs whose sources have all ended and whose sinks hold everything.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn finish_jobs(&mut self) -> Result<()> {
        if !self.streams.values().any(|stream| stream.state == StreamState::Finished) {
            return Ok(());
        }
        self.tick()?;
        let over: Vec<JobId> = self.jobs.iter().filter(|(_, job)| self.is_over(job)).map(|(id, _)| *id).collect();
        for id in over {
            self.halt(id, JobState::Finished)?;
        }
        Ok(())
    }

    fn is_over(&self, job: &Job) -> bool {
        let ended = |source| self.streams.get(&source).is_some_and(|stream| stream.state == StreamState::Finished);
        let mut sources = job.record.inserts.iter().flat_map(|insert| &insert.sources).peekable();
        if job.record.state != JobState::Running || sources.peek().is_none() {
            return false;
        }
        sources.all(|used| ended(used.source)) && !self.reads_tables(job) && self.has_arrived(job)
    }

    /// Whether the job reads a table that belongs to users.
    fn reads_tables(&self, job: &Job) -> bool {
        let paths: Vec<&ObjectPath> = self.catalog.objects.keys().collect();
        job.branches.iter().any(|branch| match branch {
            Branch::Landing { .. } => false,
            Branch::Relay { .. } => true,
            Branch::Flow(flow) => {
                let of_user = |table| paths.iter().any(|path| self.catalog.table_id(path) == Some(table));
                flow.inputs.iter().any(|input| of_user(input.table))
            }
        })
    }

    /// Whether the job's sinks have taken the last change of what they read.
    fn has_arrived(&self, job: &Job) -> bool {
        let snapshot = self.store.ordered_snapshot();
        let outboxes = job.record.inserts.iter().filter_map(|insert| insert.outbox);
        job.sinks.iter().zip(outboxes).all(|(sink, outbox)| {
            // What an earlier process has left to be written counts too. What is no longer in the log was taken.
            let last = snapshot.table(outbox).ok().and_then(|table| table.newest_commit(CommitId(u64::MAX)));
            let status = lock(&sink.status);
            // One that does not answer may have lost what it had.
            status.error.is_none() && last.is_none_or(|last| status.upto.max(status.read) >= last)
        })
    }
}
