//! The book of a writer to files: up to which commit its table was written, and which files are still to be made visible.
//!
//! It lies in `_gridhouse/<writer>` below the table's directory, where others may get at it, so what is read of it is checked.
//! Its first line is JSON, its second the CRC-32C of the first in eight hexadecimal digits; an earlier version wrote no second
//! line, nor the history. Whatever the bytes are, what it asks for is done to the writer's own files below the table's directory alone. And a
//! book that does not go with the files that are there is refused: to believe it would write rows twice.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use gridhouse_base::fs::Lock;
use gridhouse_base::{CommitId, Error, Result};
use gridhouse_flow::connector::SinkWriter;
use serde::{Deserialize, Serialize};

use super::disk::Disk;

/// Where books are kept, below the table's directory.
pub(super) const BOOKS: &str = "_gridhouse";

/// Bytes that a name has at most, and a path, on the file systems that there are (`NAME_MAX` and `PATH_MAX` of Linux).
const NAME_BYTES: usize = 255;
const PATH_BYTES: usize = 4_096;

/// A file that is to be made visible: directory below the table's, hidden name, name.
pub(super) type Pending = (PathBuf, String, String);

/// How far a writer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    pub(super) store: String,
    pub(super) sink: String,
    /// Whoever claims the sink raises it.
    pub(super) epoch: u64,
    pub(super) upto: u64,
    /// The history of the store that wrote it; none where nothing was written yet, or by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<u64>,
    pub(super) pending: Vec<Pending>,
}

/// A writer's files: their names, and where its book is.
#[derive(Clone)]
pub(super) struct Shelf {
    disk: Disk,
    root: PathBuf,
    store: String,
    sink: String,
    /// Names the writer's files.
    name: String,
}

/// FNV-1a with 64 bits of store and sink; the book holds both in full and is compared.
fn fingerprint(writer: &SinkWriter) -> u64 {
    let bytes = writer.store.to_be_bytes().into_iter().chain(writer.sink.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The second line of a book, from the end of the first.
fn sum(line: &[u8]) -> String {
    format!("\n{:08x}\n", crc32c::crc32c(line))
}

/// A path as it is typed in a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

impl Shelf {
    /// That of `writer`, whose table is in the directory `root` of `disk`.
    pub(super) fn of(root: PathBuf, writer: &SinkWriter, disk: Disk) -> Self {
        let name = format!("{:016x}", fingerprint(writer));
        Self { disk, root, store: format!("{:032x}", writer.store), sink: writer.sink.clone(), name }
    }

    /// The book's path.
    pub(super) fn path(&self) -> PathBuf {
        self.root.join(BOOKS).join(&self.name)
    }

    /// Keeps everybody else who writes under this name from the book and its files, as long as it lives. `None` where somebody
    /// else does that. A process that ends, however it does, lets go of it.
    ///
    /// # Errors
    /// `Unavailable` where the file cannot be locked.
    pub(super) fn lock(&self) -> Result<Option<Box<dyn Lock>>> {
        self.disk.lock(&self.path().with_extension("lock"))
    }

    /// The book of a writer that has not written yet.
    pub(super) fn new_book(&self) -> Book {
        Book { store: self.store.clone(), sink: self.sink.clone(), ..Book::default() }
    }

    /// The name of the file `number` of the write up to `upto`.
    pub(super) fn file_name(&self, upto: CommitId, number: usize) -> String {
        format!("part-{}-{}-{number}", self.name, upto.0)
    }

    /// The name under which a file is hidden until the book names it.
    pub(super) fn hidden(name: &str) -> String {
        format!(".{name}.inprogress")
    }

    /// Whether a file of this name is one of this writer's that is not visible yet.
    pub(super) fn is_hidden(&self, name: &str) -> bool {
        name.starts_with(&format!(".part-{}-", self.name)) && name.ends_with(".inprogress")
    }

    /// The commit up to which the write went that a visible file of this writer is of.
    pub(super) fn written_with(&self, name: &str) -> Option<u64> {
        let (upto, number) =
            name.strip_prefix("part-")?.strip_prefix(&self.name)?.strip_prefix('-')?.split_once('-')?;
        number.parse::<u64>().ok().and(upto.parse().ok())
    }

    /// What is typed in a shell to have the table written from its beginning.
    pub(super) fn emptied_by(&self) -> String {
        let find = format!("find {} -name 'part-{}-*' -delete", quoted(&self.root), self.name);
        format!("{find}; rm -f {}", quoted(&self.path()))
    }

    /// What to do about a book that cannot be used.
    fn remedy(&self) -> String {
        format!(
            "restore it as it was when the newest of the files was written; or, to have the table written anew, type in a shell `{}`, then START JOB here",
            self.emptied_by()
        )
    }

    /// The error for a file that the book asks to make visible as `visible`, and that has neither that name nor its hidden one.
    pub(super) fn gone(&self, visible: &Path) -> Error {
        let taken = match visible.parent() {
            Some(directory) => format!("mkdir -p {} && touch {}", quoted(directory), quoted(visible)),
            None => format!("touch {}", quoted(visible)),
        };
        Error::corrupt(format!(
            "{} is gone with its rows, and the book of its sink, {}, says that they are written",
            visible.display(),
            self.path().display()
        ))
        .hint(format!(
            "put it back; or, where whoever reads these files has taken it, type in a shell `{taken}`; or, to have the table written anew, `{}`; then START JOB here",
            self.emptied_by()
        ))
    }

    /// The book, where there is one.
    ///
    /// # Errors
    /// `Corrupt` where it is damaged, `Conflict` where it is another sink's, `Unavailable` where it cannot be read.
    pub(super) fn book(&self) -> Result<Option<Book>> {
        let path = self.path();
        let Some(bytes) = self.disk.read(&path)? else { return Ok(None) };
        let damaged = |what: &str| {
            Error::corrupt(format!("{} is not the book of a sink: {what}", path.display())).hint(self.remedy())
        };
        let line = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) if bytes[end..] != *sum(&bytes[..end]).as_bytes() => {
                return Err(damaged("its checksum is wrong"));
            }
            Some(end) => &bytes[..end],
            None => &bytes,
        };
        let book: Book = serde_json::from_slice(line).map_err(|error| damaged("it cannot be read").caused_by(error))?;
        if book.store != self.store || book.sink != self.sink {
            return Err(Error::conflict(format!("{} is the book of another sink", path.display()))
                .hint("choose another 'path'"));
        }
        if !book.pending.iter().all(|pending| self.is_own(pending)) {
            return Err(damaged("it names files that this sink does not write"));
        }
        if book.epoch == u64::MAX {
            return Err(damaged("it was claimed oftener than that can be"));
        }
        Ok(Some(book))
    }

    /// Whether a file is this writer's and below the table's directory, wherever that is.
    fn is_own(&self, (below, hidden, name): &Pending) -> bool {
        let has_room = |part: &OsStr| part.len() <= NAME_BYTES;
        let is_below = below.components().all(|part| matches!(part, Component::Normal(part) if has_room(part)));
        is_below
            && below.as_os_str().len() <= PATH_BYTES
            && self.written_with(name).is_some()
            && *hidden == Self::hidden(name)
    }

    /// That the book goes with the file `name` of this writer, which is visible in `directory`: a file of a later write, or any
    /// where there is no book, tells that the book is gone or an older one.
    ///
    /// # Errors
    /// `Conflict` where it does not.
    pub(super) fn check_visible(&self, book: Option<&Book>, directory: &Path, name: &str) -> Result<()> {
        let Some(written) = self.written_with(name) else { return Ok(()) };
        let told = match book {
            Some(book) if written <= book.upto => return Ok(()),
            Some(book) => format!("only goes to {}", CommitId(book.upto)),
            None => "is gone".to_owned(),
        };
        let (file, book) = (directory.join(name), self.path());
        Err(Error::conflict(format!(
            "{} was written at {}, and the book of its sink, {}, {told}: going on would write rows twice",
            file.display(),
            CommitId(written),
            book.display()
        ))
        .hint(self.remedy()))
    }

    /// The bytes of a book.
    pub(super) fn text(book: &Book) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec(book).map_err(|error| Error::internal("a book cannot be written").caused_by(error))?;
        let sum = sum(&text);
        text.extend_from_slice(sum.as_bytes());
        Ok(text)
    }
}
