//! What jobs hold, kept with the store's checkpoints, so that a restart need not build it anew.
//!
//! When a checkpoint begins, between two ticks, the operators of all running jobs are frozen ([`attachment`]), which takes next
//! to no time; the bytes are made and written beside it by the thread that makes it. What is kept only saves work: whatever is
//! missing, damaged or of another plan is rebuilt from the job's inputs ([`crate::rebuild`]), visibly.
//!
//! `docs/formats.md` has the bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gridhouse_base::{Error, JobId, Result};
use gridhouse_flow::Frozen;
use gridhouse_store::Attachment;

use crate::job::{Branch, Job};
use crate::records::JobState;
use crate::shared::lock;

/// What an attachment begins with.
const MAGIC: [u8; 8] = *b"GRIDJOB\0";

/// The version of the frame around the states.
const VERSION: u32 = 1;

/// Which `INSERT` of which job.
pub(crate) type InsertKey = (JobId, usize);

/// When the state of a job was last written down, in microseconds since the epoch (the state was as of then), and how many bytes
/// that were.
#[derive(Debug, Default)]
pub(crate) struct LastKept(Mutex<Option<(i64, u64)>>);

impl LastKept {
    /// When and how many bytes, where it was.
    pub(crate) fn get(&self) -> Option<(i64, u64)> {
        *lock(&self.0)
    }

    fn set(&self, micros: i64, bytes: u64) {
        *lock(&self.0) = Some((micros, bytes));
    }
}

/// The states of all running jobs as the last tick, before `now_micros`, has left them.
pub(crate) fn attachment(jobs: &mut BTreeMap<JobId, Job>, now_micros: i64) -> Option<Attachment> {
    let mut last_kept: BTreeMap<JobId, (Arc<LastKept>, u64)> = BTreeMap::new();
    let mut states: Vec<(InsertKey, Frozen)> = Vec::new();
    for (id, job) in jobs.iter_mut().filter(|(_, job)| job.record.state == JobState::Running) {
        for (i, branch) in job.branches.iter_mut().enumerate() {
            let Branch::Flow(flow) = branch else { continue };
            if flow.inputs.is_empty() {
                continue;
            }
            match flow.dataflow.freeze() {
                Ok(frozen) => {
                    last_kept.insert(*id, (job.last_kept.clone(), 0));
                    states.push(((*id, i), frozen));
                }
                Err(error) => tracing::warn!(job = job.record.name, "its state is not kept: {error}"),
            }
        }
    }
    if states.is_empty() {
        return None;
    }
    Some(Box::new(move |out| {
        let failed = |error| Error::unavailable("the states of jobs could not be written").caused_by(error);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&(states.len() as u32).to_le_bytes());
        out.write_all(&head).map_err(failed)?;
        for ((job, insert), frozen) in states {
            // One after the other, so that the bytes of one state are in memory at most.
            let bytes = frozen.bytes()?;
            drop(frozen);
            let mut head = Vec::new();
            head.extend_from_slice(&job.0.to_le_bytes());
            head.extend_from_slice(&(insert as u32).to_le_bytes());
            head.extend_from_slice(&bytes.written_bytes().to_le_bytes());
            out.write_all(&head).map_err(failed)?;
            bytes.write(out)?;
            if let Some((_, written)) = last_kept.get_mut(&job) {
                *written += bytes.written_bytes();
            }
        }
        last_kept.values().for_each(|(last, bytes)| last.set(now_micros, *bytes));
        Ok(())
    }))
}

/// The frozen states of an attachment.
///
/// # Errors
/// `Corrupt` where it is none; `Conflict` where another version wrote it.
pub(crate) fn states(attachment: &[u8]) -> Result<BTreeMap<InsertKey, &[u8]>> {
    let mut rest = attachment;
    let mut take = |len: usize| {
        let (now, later) =
            rest.split_at_checked(len).ok_or_else(|| Error::corrupt("the states of jobs end too early"))?;
        rest = later;
        Ok::<&[u8], Error>(now)
    };
    if take(MAGIC.len())? != MAGIC {
        return Err(Error::corrupt("the states of jobs do not begin like ones"));
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let version = number(take(4)?);
    if version != u64::from(VERSION) {
        return Err(Error::conflict(format!(
            "the states of jobs are of version {version}, and this program reads version {VERSION}"
        )));
    }
    let count = number(take(4)?);
    let mut states = BTreeMap::new();
    for _ in 0..count {
        let job = JobId(number(take(4)?) as u32);
        let insert = number(take(4)?) as usize;
        let len = usize::try_from(number(take(8)?)).map_err(|_| Error::corrupt("a state of a job is too long"))?;
        states.insert((job, insert), take(len)?);
    }
    Ok(states)
}
