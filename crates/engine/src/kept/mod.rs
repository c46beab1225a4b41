//! What jobs hold, kept with the store's checkpoints, so that a restart need not build it anew.
//!
//! When a checkpoint begins, between two ticks, the operators of all running jobs are frozen ([`attachment`]), which takes next
//! to no time; the bytes are made and written beside it by the thread that makes it. Only those are written that differ from
//! what was kept before; the rest is named where it stands, in files of earlier checkpoints ([`directory`]). A state that no
//! tick has touched since is not looked at.
//!
//! What is kept only saves work: whatever is missing, damaged or of another plan is rebuilt from the job's inputs
//! ([`crate::rebuild`]), visibly.
//!
//! `docs/formats.md` has the bytes.

mod directory;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use gridhouse_base::{Error, JobId, Result};
use gridhouse_flow::{Earlier, FilePlaces, Frozen, KeptState, KeptWriter};
use gridhouse_store::{Attached, Attaching, Attachment};

use crate::job::{Branch, Job};
use crate::records::JobState;
use crate::shared::lock;
pub(crate) use directory::InsertKey;
use directory::{Directory, Stored, files, head, put_directory};

/// What was kept of a job the last time.
#[derive(Debug, Default)]
pub(crate) struct LastKept(Mutex<(Option<KeptFigures>, BTreeMap<usize, LastWritten>)>);

/// How much was kept of a job, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptFigures {
    /// The state was as of then, in microseconds since the epoch.
    pub(crate) micros: i64,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// How many of them were written then; the others stood there already.
    pub(crate) written: u64,
}

/// What this process remembers of a state that it has written; a restart goes on without it.
#[derive(Clone, Debug, Default)]
struct LastWritten {
    /// The checkpoint that it was written for. Only if that is the one before does the rest mean anything.
    checkpoint: u64,
    /// The state's version then.
    version: u64,
    /// Where files of spilled state stand in it.
    files: FilePlaces,
}

impl LastKept {
    /// How much was kept and when, where anything was.
    pub(crate) fn get(&self) -> Option<KeptFigures> {
        lock(&self.0).0
    }

    fn last_written(&self, insert: usize) -> LastWritten {
        lock(&self.0).1.get(&insert).cloned().unwrap_or_default()
    }

    /// Notes what was written of an `INSERT`'s state.
    fn note(&self, insert: usize, written: LastWritten) {
        lock(&self.0).1.insert(insert, written);
    }

    fn set(&self, figures: KeptFigures) {
        lock(&self.0).0 = Some(figures);
    }
}

/// The state of an `INSERT`, to be kept.
struct ToKeep {
    key: InsertKey,
    frozen: Frozen,
    last: Arc<LastKept>,
}

/// The states of all running jobs as the last tick, before `now_micros`, has left them.
pub(crate) fn attachment(jobs: &mut BTreeMap<JobId, Job>, now_micros: i64) -> Option<Attachment> {
    let mut states: Vec<ToKeep> = Vec::new();
    for (id, job) in jobs.iter_mut().filter(|(_, job)| job.record.state == JobState::Running) {
        for (i, branch) in job.branches.iter_mut().enumerate() {
            let Branch::Flow(flow) = branch else { continue };
            if flow.inputs.is_empty() {
                continue;
            }
            match flow.dataflow.freeze() {
                Ok(frozen) => states.push(ToKeep { key: (*id, i), frozen, last: job.last_kept.clone() }),
                Err(error) => tracing::warn!(job = job.record.name, "its state is not kept: {error}"),
            }
        }
    }
    if states.is_empty() {
        return None;
    }
    Some(Box::new(move |Attaching { number, earlier, out }| {
        let (last_number, earlier) = (earlier.number(), files(earlier));
        let before = Directory::read(&earlier)
            .inspect_err(|error| tracing::warn!("the states of jobs are written whole: {error}"))
            .unwrap_or_default();
        let stays = before.worth_naming(&earlier);
        let mut file = StateFile { number, out, len: 0, is_broken: false };
        file.put(&head())?;
        let mut stored: BTreeMap<InsertKey, Stored> = BTreeMap::new();
        let mut figures: BTreeMap<JobId, (Arc<LastKept>, KeptFigures)> = BTreeMap::new();
        for ToKeep { key, frozen, last } in states {
            let is_before = |written: &LastWritten| last_number == Some(written.checkpoint);
            let known = Some(last.last_written(key.1)).filter(is_before).unwrap_or_default();
            let old = before.states.get(&key);
            let is_same = known.version == frozen.version();
            let kept = match old.filter(|old| is_same && old.spans.iter().all(|span| stays.contains(&span.file))) {
                Some(old) => KeptState { spans: old.spans.clone(), len: old.len, written: 0, files: known.files },
                None => {
                    let earlier = old.and_then(|old| {
                        Earlier::of(&old.spans, &|file| earlier.get(&file).copied(), &|file| stays.contains(&file))
                    });
                    match file.keep(&frozen, earlier.unwrap_or_default(), &known.files) {
                        Ok(kept) => kept,
                        Err(error) if file.is_broken => return Err(error),
                        Err(error) => {
                            // The checkpoint is worth more than this state, which is rebuilt if it comes to that.
                            tracing::warn!(job = key.0.0, "its state is not kept: {error}");
                            continue;
                        }
                    }
                }
            };
            let (_, sums) = figures
                .entry(key.0)
                .or_insert_with(|| (last.clone(), KeptFigures { micros: now_micros, bytes: 0, written: 0 }));
            (sums.bytes, sums.written) = (sums.bytes + kept.len, sums.written + kept.written);
            last.note(key.1, LastWritten { checkpoint: number, version: frozen.version(), files: kept.files });
            stored.insert(key, Stored { len: kept.len, spans: kept.spans });
        }
        let directory = put_directory(&stored, number, file.len);
        file.put(&directory)?;
        figures.into_values().for_each(|(last, figures)| last.set(figures));
        let named = stored.values().flat_map(|state| &state.spans).map(|span| span.file);
        Ok(named.filter(|file| *file != number).collect())
    }))
}

/// The file that is written for a checkpoint.
struct StateFile<'a> {
    number: u64,
    out: &'a mut dyn Write,
    len: u64,
    /// The disk takes no more.
    is_broken: bool,
}

impl Write for StateFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes).inspect_err(|_| self.is_broken = true)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush().inspect_err(|_| self.is_broken = true)
    }
}

impl StateFile<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = |error| Error::unavailable("the states of jobs could not be written").caused_by(error);
        self.write_all(bytes).map_err(failed)
    }

    /// Writes what a state does not share with an earlier one.
    fn keep(&mut self, frozen: &Frozen, earlier: Earlier<'_>, known: &FilePlaces) -> Result<KeptState> {
        let at = (self.number, self.len);
        frozen.keep(KeptWriter::new(earlier, known, self, at))
    }
}

/// The states in what is attached to a checkpoint: their bytes, in parts.
///
/// # Errors
/// As [`Directory::read`].
pub(crate) fn states(attached: &Attached) -> Result<BTreeMap<InsertKey, Vec<&[u8]>>> {
    let files = files(attached);
    let directory = Directory::read(&files)?;
    Ok(directory.states.iter().map(|(key, state)| (*key, state.parts(&files))).collect())
}
