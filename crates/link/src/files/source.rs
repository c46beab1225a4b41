//! The rows of files as a source of continuous jobs.
//!
//! The position is the file that is read, the place within it, and which files are done: in a directory that is watched by
//! a digest of each path (a new file may come before others in any order), else by the order of paths. Each batch is a
//! commit that carries the position after it, so a restart goes on with the next row. A file that was read is not read again,
//! also when it has grown since: files are to be put in place whole, by renaming them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::clock::Clock;
use gridhouse_base::{Error, ErrorKind, Result, SourceId};
use gridhouse_flow::connector::{SourceEvent, SourceEvents, SourcePosition, SourceStream, SourceTable};

use super::layout::{self, FileInfo};
use super::options::FileOptions;
use super::reader::{FileReader, Place, ReadPlan};
use crate::stop::Stop;

/// How long a source waits before it tries again.
const RETRY: Duration = Duration::from_secs(2);

/// The version of the position's form.
const VERSION: u8 = 1;

/// How far the files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The file that is read; in a directory that is not watched all before it are done.
    current: Option<(PathBuf, Place)>,
    /// Digests of the files that are done, where the directory is watched.
    done: BTreeSet<u128>,
}

impl Progress {
    fn encode(&self) -> SourcePosition {
        let mut bytes = vec![VERSION];
        let (path, place) = match &self.current {
            Some((path, place)) => (path.as_os_str().as_encoded_bytes(), *place),
            None => (&[][..], Place::default()),
        };
        bytes.extend_from_slice(&place.offset.to_be_bytes());
        bytes.extend_from_slice(&place.line.to_be_bytes());
        bytes.extend_from_slice(&(path.len() as u32).to_be_bytes());
        bytes.extend_from_slice(path);
        self.done.iter().for_each(|digest| bytes.extend_from_slice(&digest.to_be_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let read = || {
            let (&version, rest) = bytes.split_first()?;
            let (offset, rest) = rest.split_first_chunk::<8>()?;
            let (line, rest) = rest.split_first_chunk::<8>()?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (path, digests) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            let place = Place { offset: u64::from_be_bytes(*offset), line: u64::from_be_bytes(*line) };
            let path = std::os::unix::ffi::OsStrExt::from_bytes(path);
            let current = (!<std::ffi::OsStr>::is_empty(path)).then(|| (PathBuf::from(path), place));
            let (digests, rest) = digests.as_chunks::<16>();
            let done = digests.iter().map(|digest| u128::from_be_bytes(*digest)).collect();
            (version == VERSION && rest.is_empty()).then_some(Self { current, done })
        };
        read().ok_or_else(|| Error::corrupt("a stored position of files is damaged"))
    }
}

/// A digest of a path: FNV-1a with 128 bits, which no two paths of a directory share by chance.
fn digest(path: &std::path::Path) -> u128 {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for &byte in path.as_os_str().as_encoded_bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash
}

pub(crate) fn start(
    source: SourceId,
    tables: Vec<SourceTable>,
    position: Option<SourcePosition>,
    events: SourceEvents,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn SourceStream>> {
    let [table] = <[SourceTable; 1]>::try_from(tables)
        .map_err(|_| Error::invalid("tables of files do not share a stream").hint("start each by itself"))?;
    let options = FileOptions::read(&table.definition, &mut Vec::new())?;
    let columns = table.definition.physical().collect();
    let plan = Arc::new(ReadPlan::new(table.definition.clone(), options, columns)?);
    // Where nothing of it is held, all of it is read, wherever an earlier reader stood.
    let position = position.filter(|_| table.snapshot.is_some());
    let progress = position.as_deref().map(Progress::decode).transpose()?.unwrap_or_default();
    let stop = Stop::default();
    let worker = Worker { source, table, plan, progress, events, clock, stop: stop.clone() };
    let thread = std::thread::Builder::new().name(format!("files-{}", source.0)).spawn(move || worker.run());
    let thread =
        thread.map_err(|error| Error::unavailable("the thread of a source could not start").caused_by(error))?;
    Ok(Box::new(FileStream { stop, thread: Some(thread) }))
}

struct Worker {
    source: SourceId,
    table: SourceTable,
    plan: Arc<ReadPlan>,
    progress: Progress,
    events: SourceEvents,
    clock: Arc<dyn Clock>,
    stop: Stop,
}

/// Why a reading ended before its time.
enum End {
    Stopped,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    fn send(&self, event: SourceEvent) -> Result<(), End> {
        if self.stop.stopped() {
            return Err(End::Stopped);
        }
        self.events.send((self.source, event)).map_err(|_| End::Stopped)
    }

    fn run(mut self) {
        let table = self.table.id;
        if self.table.snapshot.is_none() {
            let position = self.progress.encode();
            if self.send(SourceEvent::SnapshotDone { table, position }).is_err() {
                return;
            }
        }
        loop {
            let error = match self.read_all() {
                Ok(()) => match self.plan.options().monitor {
                    Some(interval) if !self.stop.wait(interval) => continue,
                    Some(_) => return,
                    None => {
                        let _ = self.send(SourceEvent::Finished);
                        return;
                    }
                },
                Err(End::Stopped) => return,
                Err(End::Failed(error)) => error,
            };
            if error.kind() != ErrorKind::Unavailable {
                let _ = self.send(SourceEvent::Failed { error });
                return;
            }
            if self.send(SourceEvent::Waiting { error }).is_err() || self.stop.wait(RETRY) {
                return;
            }
        }
    }

    /// Reads what there is now.
    fn read_all(&mut self) -> Result<(), End> {
        let mut files = layout::list(self.plan.options())?;
        self.send(SourceEvent::Connected)?;
        if self.plan.options().monitor.is_some() {
            // What is gone need not be remembered.
            let there: BTreeSet<u128> = files.iter().map(|file| digest(&file.path)).collect();
            self.progress.done.retain(|digest| there.contains(digest));
        }
        if let Some((path, _)) = &self.progress.current
            && let Some(at) = files.iter().position(|file| file.path == *path)
            && self.plan.options().monitor.is_some()
        {
            // What was begun is finished first: the position remembers one file.
            files[..=at].rotate_right(1);
        }
        for file in files {
            let place = match &self.progress.current {
                Some((path, place)) if *path == file.path => *place,
                Some((path, _)) if self.plan.options().monitor.is_none() && file.path < *path => continue,
                _ => Place::default(),
            };
            if !self.progress.done.contains(&digest(&file.path)) {
                self.read(file, place)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: FileInfo, place: Place) -> Result<(), End> {
        if place.offset > file.bytes {
            return Err(End::Failed(
                Error::invalid(format!("file {} has become shorter than what was read of it", file.path.display()))
                    .hint("put files in place whole and do not change them; START JOB after the file is restored"),
            ));
        }
        let path = file.path.clone();
        let mut reader = FileReader::open(self.plan.clone(), file, place)?;
        let table = self.table.id;
        loop {
            let piece = reader.piece()?;
            let empty = piece.len == 0 && piece.rejected.is_empty();
            if piece.len > 0 {
                let batch = KindBatch::new(piece.columns, vec![RowKind::Insert; piece.len]);
                self.send(SourceEvent::Rows { table, columns: None, batch })?;
            }
            for (row, error) in piece.rejected {
                self.send(SourceEvent::Rejected { table, row, error })?;
            }
            self.progress.current = Some((path.clone(), reader.place()));
            if piece.ended && self.plan.options().monitor.is_some() {
                self.progress.done.insert(digest(&path));
                self.progress.current = None;
            }
            let position = self.progress.encode();
            self.send(if empty {
                SourceEvent::Idle { position }
            } else {
                let now = self.clock.now_micros();
                SourceEvent::Commit { position, event_time_micros: now, received_micros: now }
            })?;
            if piece.ended {
                return Ok(());
            }
        }
    }
}

struct FileStream {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl SourceStream for FileStream {
    fn add_table(&self, _: SourceTable) {}

    fn read_again(&self, _: u32) {}

    fn remove_table(&self, _: u32) {
        self.stop.signal();
    }

    fn acknowledge(&self, _: SourcePosition) {}

    fn stop(mut self: Box<Self>) {
        self.stop.signal();
        // A reader that waits for room in the queue ends when the queue is read or dropped; it is not waited for.
        drop(self.thread.take());
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        self.stop.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::random::Random;

    #[test]
    fn positions_survive_and_damaged_ones_are_told() {
        let progress = Progress {
            current: Some(("/tmp/a".into(), Place { offset: 7, line: 2 })),
            done: BTreeSet::from([digest("/tmp/b".as_ref()), digest("/tmp/c".as_ref())]),
        };
        assert_eq!(Progress::decode(&progress.encode()).unwrap(), progress);
        assert_eq!(Progress::decode(&Progress::default().encode()).unwrap(), Progress::default());
        let mut random = Random::new(5);
        for _ in 0..10_000 {
            let mut bytes = progress.encode();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.bits() as u8;
            bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
            let _ = Progress::decode(&bytes);
        }
    }
}
