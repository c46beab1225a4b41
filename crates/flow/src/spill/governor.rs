//! One budget of memory for the state of all dataflows that share a governor.
//!
//! Whatever can be written to disk apart is a *piece*: an operator, or one hash partition of it. Pieces tell how many bytes
//! they hold and when they were last touched. Between two ticks the owner asks whether the budget is exceeded
//! ([`Governor::choose`] then marks the pieces that were not touched for longest, whoever they belong to), and lets every
//! dataflow write its marked ones out ([`crate::Dataflow::relieve`]). Pieces below a least size stay, since their files
//! would cost more than they free.
//!
//! Files are made for this run of the program only: what an earlier one left behind is removed at the start, and nothing
//! is synced.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gridhouse_base::fs::{File, FileSystem};
use gridhouse_base::{Error, Result};

use crate::frozen::{Plain, StateWriter};

/// Into how many hash partitions an operator is cut whose state does not fit. At a hundred times the budget of a gigabyte a
/// partition holds 400 MB, which is what one touched key costs then; below that, a chunk of changes over many keys is still
/// cut into pieces of hundreds of rows.
const PARTS: u32 = 256;

/// An operator that holds less than this is not written out.
const LEAST_BYTES: usize = 4 << 20;

/// So much state that cannot leave memory is let in whatever the budget is: smaller budgets are for tests.
const LEAST_ANCHORED_BYTES: usize = 64 << 20;

/// How much of the budget is left in use where it was exceeded, in percent: room for some ticks before the next time.
const LOW_WATER_PERCENT: usize = 90;

/// The largest buffer between a state and its file.
const BUFFER_BYTES: usize = 1 << 20;

/// Rows that wait for partitions may take this share of the budget.
const WAITING_SHARE: usize = 8;

/// Watches over the memory of state; see the head of this file.
pub struct Governor {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    budget: usize,
    parts: u32,
    least_bytes: usize,
    /// Bytes that all pieces hold in memory.
    used: AtomicUsize,
    /// Those of them that cannot leave memory.
    anchored: AtomicUsize,
    /// Bytes of rows that wait for partitions of all operators.
    waiting: AtomicUsize,
    /// Bytes of all files.
    spilled: AtomicU64,
    /// The number of the last touch.
    touches: AtomicU64,
    /// The number of the last file.
    files: AtomicU64,
    pieces: Mutex<Vec<Weak<Piece>>>,
}

impl Governor {
    /// A governor over `budget_bytes` of memory that keeps what does not fit in files of `dir`, which is its own: it is
    /// emptied now, and made once it is needed.
    ///
    /// # Errors
    /// `Unavailable` where the directory cannot be emptied.
    pub fn new(fs: Arc<dyn FileSystem>, dir: &Path, budget_bytes: usize) -> Result<Arc<Self>> {
        Self::cut_into(fs, dir, budget_bytes, PARTS, LEAST_BYTES)
    }

    /// As [`Governor::new`]; an operator is cut into `parts` where it holds at least `least_bytes`.
    ///
    /// # Errors
    /// As [`Governor::new`].
    ///
    /// # Panics
    /// If `parts` is 0.
    pub fn cut_into(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        budget_bytes: usize,
        parts: u32,
        least_bytes: usize,
    ) -> Result<Arc<Self>> {
        assert!(parts > 0, "an operator is cut into one part at least");
        // Where it cannot be listed it is not there yet; if it is, the first file says what is wrong.
        for name in fs.list(dir).unwrap_or_default() {
            let path = dir.join(name);
            fs.remove(&path).map_err(|error| cannot("removed", &path, error))?;
        }
        Ok(Arc::new(Self {
            fs,
            dir: dir.into(),
            budget: budget_bytes,
            parts,
            least_bytes,
            used: AtomicUsize::new(0),
            anchored: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            spilled: AtomicU64::new(0),
            touches: AtomicU64::new(0),
            files: AtomicU64::new(0),
            pieces: Mutex::new(Vec::new()),
        }))
    }

    /// Whether more memory is used than the budget allows.
    pub fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.budget
    }

    /// Bytes of memory that the state under this governor holds, estimated.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of state that lie in files.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// Marks the pieces that were not touched for longest, until without them the budget has some room again; tells whether
    /// there are any.
    pub fn choose(&self) -> bool {
        if !self.is_over() {
            return false;
        }
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.retain(|piece| piece.strong_count() > 0);
        let mut held: Vec<Arc<Piece>> = pieces.iter().filter_map(Weak::upgrade).collect();
        drop(pieces);
        held.retain(|piece| piece.is_worth_leaving());
        held.sort_by_key(|piece| piece.touched.load(Ordering::Relaxed));
        let goal = self.budget / 100 * LOW_WATER_PERCENT;
        let mut rest = self.used_bytes();
        let mut chosen = false;
        for piece in held {
            if rest <= goal {
                break;
            }
            rest = rest.saturating_sub(piece.bytes.load(Ordering::Relaxed));
            piece.leaves.store(true, Ordering::Relaxed);
            chosen = true;
        }
        chosen
    }

    /// Into how many parts an operator is cut.
    pub(crate) fn parts(&self) -> u32 {
        self.parts
    }

    /// A piece that holds nothing yet: a whole operator, or a part of one.
    pub(crate) fn piece(self: &Arc<Self>, whole: bool) -> Arc<Piece> {
        let piece = self.made(if whole { self.least_bytes } else { 0 }, false);
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&piece));
        piece
    }

    /// A piece that holds nothing yet and will never leave memory.
    pub(crate) fn anchored_piece(self: &Arc<Self>) -> Arc<Piece> {
        self.made(0, true)
    }

    fn made(self: &Arc<Self>, least_bytes: usize, is_anchored: bool) -> Arc<Piece> {
        Arc::new(Piece {
            governor: self.clone(),
            least_bytes,
            is_anchored,
            bytes: AtomicUsize::new(0),
            touched: AtomicU64::new(0),
            leaves: AtomicBool::new(false),
        })
    }

    /// Whether as many rows wait for partitions, of whatever operators, as may while a tick goes on. Each time that an operator
    /// lets its own in, most of its partitions are read and written.
    pub(crate) fn has_many_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.budget / WAITING_SHARE
    }

    /// More rows wait for partitions.
    pub(crate) fn wait(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Rows do not wait any more.
    pub(crate) fn end_wait(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that cannot leave memory.
    pub(crate) fn anchored_bytes(&self) -> usize {
        self.anchored.load(Ordering::Relaxed)
    }

    /// The most bytes that may not be able to leave memory.
    pub(crate) fn most_anchored_bytes(&self) -> usize {
        self.budget.max(LEAST_ANCHORED_BYTES)
    }

    /// Writes a state into a file of its own.
    ///
    /// # Errors
    /// `Unavailable` where the disk takes no more.
    pub(crate) fn keep(self: &Arc<Self>, state: &StateWriter) -> Result<Arc<SpillFile>> {
        let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.dir.join(format!("spill-{number}"));
        self.fs.create_dir_all(&self.dir).map_err(|error| cannot("written", &path, error))?;
        let file = self.fs.create(&path).map_err(|error| cannot("written", &path, error))?;
        // From here on the file is removed whatever happens.
        let mut kept = SpillFile { governor: self.clone(), number, path, file, len: 0 };
        let mut out = Appending { file: &*kept.file, at: 0, buffer: Vec::new() };
        state.write(&mut Plain(&mut out)).map_err(|error| cannot("written", &kept.path, error))?;
        out.flush().map_err(|error| cannot("written", &kept.path, error))?;
        kept.len = out.at;
        self.spilled.fetch_add(kept.len, Ordering::Relaxed);
        Ok(Arc::new(kept))
    }
}

impl std::fmt::Debug for Governor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (used, spilled) = (self.used_bytes(), self.spilled_bytes());
        f.debug_struct("Governor")
            .field("budget", &self.budget)
            .field("used", &used)
            .field("spilled", &spilled)
            .finish()
    }
}

fn cannot(what: &str, path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable(format!("spilled state in {} cannot be {what}", path.display()))
        .hint("make room, or mend the disk, then START JOB")
        .caused_by(error)
}

/// Something that can be written out on its own.
pub(crate) struct Piece {
    governor: Arc<Governor>,
    /// Held by less, it stays.
    least_bytes: usize,
    /// Whether it never leaves.
    is_anchored: bool,
    bytes: AtomicUsize,
    touched: AtomicU64,
    leaves: AtomicBool,
}

impl Piece {
    /// It was touched just now and holds so many bytes.
    pub fn touch(&self, bytes: usize) {
        self.touched.store(self.governor.touches.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.hold(bytes);
    }

    /// It holds so many bytes of memory.
    pub fn hold(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.governor.used.fetch_add(bytes, Ordering::Relaxed);
        self.governor.used.fetch_sub(before, Ordering::Relaxed);
        if self.is_anchored {
            self.governor.anchored.fetch_add(bytes, Ordering::Relaxed);
            self.governor.anchored.fetch_sub(before, Ordering::Relaxed);
        }
    }

    /// Whether enough is held to be worth a file.
    pub fn is_worth_leaving(&self) -> bool {
        self.bytes() >= self.least_bytes.max(1)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of the last touch.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    /// Whether it was chosen to be written out; asked once.
    pub fn leaves(&self) -> bool {
        self.leaves.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// A state in a file, which never changes and is removed with the last reader.
pub(crate) struct SpillFile {
    governor: Arc<Governor>,
    /// No other file of the governor has it.
    number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
}

impl SpillFile {
    /// Its number, which no other file of its governor has, whenever it is asked for.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The file's length.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Its bytes.
    ///
    /// # Errors
    /// `Unavailable` where they cannot be read.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `Unavailable` where they cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| cannot("read", &self.path, error))
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.governor.spilled.fetch_sub(self.len, Ordering::Relaxed);
        // What stays behind is removed at the next start.
        let _ = self.governor.fs.remove(&self.path);
    }
}

/// Writes to the end of a file.
struct Appending<'a> {
    file: &'a dyn File,
    at: u64,
    buffer: Vec<u8>,
}

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
