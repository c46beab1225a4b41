//! Reads the log back: which frames count, where to cut, and when to refuse.
//!
//! The rule. Frames are read in order up to the first bad one, number N. In a file that has a successor, N is durable if it
//! is below the successor's `first_frame`, so a bad frame there is damage. In the last file, N was torn by the crash and
//! everything from it on is cut, unless a later good frame says that N was durable (`synced_upto` ≥ N; sync notes exist
//! for that). Damage is never skipped over: the store refuses to open with kind `Corrupt`, and says how to go on by hand.
//!
//! | what the disk did | what is seen | decision |
//! | --- | --- | --- |
//! | lost or tore the last writes before a crash | bad frame, no proof behind it | cut |
//! | kept later writes but lost earlier ones | bad frame, later frames that do not prove it | cut |
//! | rotted, misplaced or lost what was synced | bad frame, a later proof or a later file | refuse |
//! | rotted the very end without a proof behind it | same as torn | cut; a clean stop leaves a sync note to prevent it |
//! | lost a file's header after frames followed it | no header, but frames behind it | refuse |
//! | crashed while a file was begun | no header, no frames, last file | the file is removed |

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::{Error, Result};

use crate::checkpoint::ReplayStart;

use super::frame::{
    BadFrame, FILE_HEAD_BYTES, FRAME_ALIGN, FRAME_HEAD_BYTES, FRAME_MAGIC, FileHead, Frame, read_frame,
};
use super::place::FramePlace;
use super::writer::disk_error;
use super::{file_name, file_number};

/// Where reading the log ended.
#[derive(Default)]
pub(crate) struct LogEnd {
    /// The store's id, if the log has begun.
    pub store: Option<u128>,
    /// The files, each with its first frame; ascending.
    pub files: Vec<(u64, u64)>,
    /// The number of the first frame that is not there.
    pub next_frame: u64,
    /// The last file and where its last good frame ends.
    pub tail: Option<(Arc<dyn File>, u64)>,
}

/// Reads all frames in order into `take`, which is told the store's id, decides about the end, and makes what was read durable. One
/// file is in memory at a time.
///
/// # Errors
/// `Corrupt` if a frame that was durable is damaged, `Conflict` if another version wrote the log, `Unavailable` if the disk
/// does not answer, or what `take` returns, with file and offset.
pub(crate) fn read_log(
    fs: &dyn FileSystem,
    dir: &Path,
    (store, start): (Option<u128>, Option<ReplayStart>),
    take: &mut dyn FnMut(&Frame<'_>, &FramePlace, u128) -> Result<()>,
) -> Result<LogEnd> {
    let names = fs.list(dir).map_err(|error| disk_error("could not list", dir, error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    // Files below a checkpoint's start were to be removed; a crash may have brought some of them back.
    let first_file = start.map_or(0, |start| start.first.file);
    let (below, mut numbers): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|&number| number < first_file);
    let mut files = Vec::new();
    for &number in &numbers {
        files.push(open_file(fs, dir, number)?);
    }
    // A file without header is a beginning that a crash interrupted, unless frames follow.
    if let Some(last) = files.last_mut()
        && last.head.is_none()
    {
        last.load()?;
        last.refuse_if_frames()?;
        fs.remove(&last.path).map_err(|error| disk_error("could not remove", &last.path, error))?;
        files.pop();
        numbers.pop();
    }
    let mut end = LogEnd { store, next_frame: 1, ..LogEnd::default() };
    if let Some(start) = start
        && numbers.first() != Some(&start.first.file)
    {
        let path = dir.join(file_name(start.first.file));
        return Err(Error::corrupt(format!("the log is damaged: {} is missing", path.display()))
            .hint("restore the data directory from a backup"));
    }
    let mut last_good = None;
    let stops: Vec<Option<u64>> = files.iter().map(|file| file.head.map(|head| head.first_frame)).collect();
    let count = files.len();
    for (i, file) in files.iter_mut().enumerate() {
        let head = file.head.ok_or_else(|| file.damage(0, "its header is damaged"))?;
        if head.number != file.number || numbers[i] != numbers[0] + i as u64 {
            return Err(file.damage(0, "it does not belong at this place of the log, or the file before it is missing"));
        }
        if i == 0 && head.first_frame > start.map_or(1, |start| start.first.frame) {
            return Err(file.damage(0, "the files before it are missing"));
        }
        if end.store.is_some_and(|store| store != head.store) {
            return Err(file.damage(0, "it belongs to another store"));
        }
        let stop = stops.get(i + 1).copied().flatten();
        end.store = Some(head.store);
        end.files.push((head.number, head.first_frame));
        file.load()?;
        // Of a checkpoint's first file only what it needs is read: damage before that is no matter.
        let (mut at, first) = (FILE_HEAD_BYTES, head.first_frame);
        end.next_frame = first;
        if let Some(start) = start.filter(|_| i == 0) {
            at = usize::try_from(start.first.offset).unwrap_or(usize::MAX);
            end.next_frame = start.first.frame;
            if at > file.bytes.len() {
                let what = format!("the checkpoint says that the log goes on at offset {at}, but the file ends before");
                return Err(file.damage(file.bytes.len(), &what));
            }
        }
        let good = file.read_frames(&head, at, stop, &mut end.next_frame, take)?;
        end.tail = Some((file.file.clone(), good.end as u64));
        if i + 1 == count {
            last_good = Some(good);
        } else {
            file.bytes = Vec::new();
        }
    }
    if let (Some(start), Some(last)) = (start, files.last())
        && end.next_frame <= start.tick_frame
    {
        let at = end.tail.as_ref().map_or(0, |(_, at)| *at as usize);
        let (frame, tick) = (end.next_frame, start.tick_frame);
        return Err(
            last.damage(at, &format!("frame {frame} is missing, and the checkpoint proves frames up to {tick}"))
        );
    }
    for number in below {
        // What cannot be removed now is found again at the next start.
        let _ = fs.remove(&dir.join(file_name(number)));
    }
    if let (Some(last), Some(good)) = (files.last(), last_good) {
        last.make_durable(good)?;
    }
    Ok(end)
}

/// A log file.
struct LogFile {
    number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    head: Option<FileHead>,
    /// All of it, while it is being read.
    bytes: Vec<u8>,
}

fn open_file(fs: &dyn FileSystem, dir: &Path, number: u64) -> Result<LogFile> {
    let path = dir.join(file_name(number));
    let read = || {
        let file = fs.open(&path)?;
        let mut bytes = vec![0; file.len()?.min(FILE_HEAD_BYTES as u64) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((file, bytes))
    };
    let (file, bytes) = read().map_err(|error| disk_error("could not read", &path, error))?;
    let head = FileHead::decode(&bytes).map_err(|version| {
        Error::conflict(format!("{} has format version {version}, which this program does not read", path.display()))
            .hint("open the data directory with the version of gridhouse that wrote it")
    })?;
    Ok(LogFile { number, path, file, head, bytes: Vec::new() })
}

/// The good frames of a file.
struct GoodFrames {
    /// Where the first one begins of which no frame says that it is durable.
    unproven: usize,
    /// Where the last one ends.
    end: usize,
}

impl LogFile {
    /// Reads the file into memory.
    fn load(&mut self) -> Result<()> {
        let read = || {
            let mut bytes = vec![0; usize::try_from(self.file.len()?).map_err(std::io::Error::other)?];
            self.file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        self.bytes = read().map_err(|error| disk_error("could not read", &self.path, error))?;
        Ok(())
    }

    /// Makes the file's good frames durable, for which the next file's header will vouch: a killed process leaves bytes in
    /// the system's memory only. If a sync has failed before, the system may take those bytes for written, so that another
    /// sync would do nothing and say that all is well; hence they are written once more.
    fn make_durable(&self, good: GoodFrames) -> Result<()> {
        let write = || {
            self.file.write_all_at(&self.bytes[..FILE_HEAD_BYTES], 0)?;
            if good.unproven < good.end {
                self.file.write_all_at(&self.bytes[good.unproven..good.end], good.unproven as u64)?;
            }
            self.file.sync_data()
        };
        write().map_err(|error| disk_error("could not sync the log", &self.path, error))
    }

    fn read_frames(
        &self,
        head: &FileHead,
        mut at: usize,
        stop: Option<u64>,
        next_frame: &mut u64,
        take: &mut dyn FnMut(&Frame<'_>, &FramePlace, u128) -> Result<()>,
    ) -> Result<GoodFrames> {
        let mut unproven: VecDeque<(u64, usize)> = VecDeque::new();
        while stop.is_none_or(|stop| *next_frame < stop) {
            let frame = match read_frame(&self.bytes[at.min(self.bytes.len())..], head.salt) {
                Ok(frame) if frame.head.number == *next_frame => frame,
                Err(BadFrame::Unknown(version)) => {
                    let message = format!("{} has a frame of version {version} at offset {at}", self.path.display());
                    let hint = "open the data directory with the version of gridhouse that wrote it";
                    return Err(Error::conflict(message).hint(hint));
                }
                Ok(_) | Err(BadFrame::Torn) => {
                    self.judge_end(head, stop, *next_frame, at)?;
                    break;
                }
            };
            let place = FramePlace {
                file: self.file.clone(),
                file_number: self.number,
                offset: at as u64,
                bytes: FRAME_HEAD_BYTES + frame.payload.len(),
                salt: head.salt,
                frame: frame.head.number,
            };
            take(&frame, &place, head.store)
                .map_err(|error| error.context(format!("{} at offset {at}", self.path.display())))?;
            while unproven.front().is_some_and(|(number, _)| *number <= frame.head.synced_upto) {
                unproven.pop_front();
            }
            unproven.push_back((*next_frame, at));
            *next_frame += 1;
            at += frame.size;
        }
        Ok(GoodFrames { unproven: unproven.front().map_or(at, |(_, place)| *place), end: at })
    }

    /// Decides what a bad frame `number` at `at` means.
    fn judge_end(&self, head: &FileHead, stop: Option<u64>, number: u64, at: usize) -> Result<()> {
        if let Some(stop) = stop {
            return Err(
                self.damage(at, &format!("frame {number} is damaged, and the next file proves frames below {stop}"))
            );
        }
        for frame in self.frames_after(at, head.salt) {
            if frame.head.synced_upto >= number && frame.head.number > number {
                let proof = frame.head.number;
                return Err(self
                    .damage(at, &format!("frame {number} is damaged, and frame {proof} proves that it was durable")));
            }
        }
        Ok(())
    }

    /// Good frames anywhere behind `at`.
    fn frames_after(&self, at: usize, salt: u64) -> impl Iterator<Item = Frame<'_>> {
        self.places_after(at).filter_map(move |place| read_frame(&self.bytes[place..], salt).ok())
    }

    /// Where a frame may begin, at or behind `at`.
    fn places_after(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let start = at.next_multiple_of(FRAME_ALIGN).min(self.bytes.len());
        let magic = FRAME_MAGIC.to_le_bytes();
        let places = self.bytes[start..].chunks(FRAME_ALIGN).enumerate();
        places.filter(move |(_, bytes)| bytes.starts_with(&magic)).map(move |(i, _)| start + i * FRAME_ALIGN)
    }

    /// Refuses a file whose header is gone although frames were written behind it. The salt is unknown here, so a frame
    /// vouches for itself.
    fn refuse_if_frames(&self) -> Result<()> {
        for place in self.places_after(FILE_HEAD_BYTES) {
            let salt = self.bytes.get(place + 24..place + 32).map(|bytes| bytes.try_into().expect("8 bytes"));
            let salt = u64::from_le_bytes(salt.unwrap_or_default());
            if !matches!(read_frame(&self.bytes[place..], salt), Err(BadFrame::Torn)) {
                return Err(self.damage(0, "its header is damaged"));
            }
        }
        Ok(())
    }

    fn damage(&self, at: usize, what: &str) -> Error {
        let path = self.path.display();
        Error::corrupt(format!("the log is damaged: {path} at offset {at}: {what}")).hint(format!(
            "restore the data directory from a backup. To give up everything from here on instead: copy the directory, \
             then `truncate -s {at} {path}` and remove the wal files with higher numbers; sources are read again from \
             the position that is left"
        ))
    }
}
