//! The files of a table: which there are, and what their paths tell.
//!
//! Directories are looked through to the bottom; names that begin with `.` or `_` are hidden, as in Flink. Partition columns
//! stand in the path as `name=value`, escaped as Hive does.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, TypeKind, Value};

use super::options::FileOptions;
use super::scalar::{self, Style};

/// How deep directories are looked through: no path is deeper, and a link that leads back ends here.
const MAX_DEPTH: usize = 64;

/// Files of one table at most; each costs a look at every listing.
pub(crate) const MAX_FILES: usize = 1_000_000;

const STYLE: Style = Style { separator: ' ', milliseconds: true };

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct FileInfo {
    /// Its whole path.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was last changed.
    pub modified_millis: i64,
}

/// The files of a table in the order of their paths.
///
/// # Errors
/// `NotFound` where the path does not exist; `Unavailable` where it cannot be read.
pub(crate) fn list(options: &FileOptions) -> Result<Vec<FileInfo>> {
    let root = &options.path;
    let mut files = Vec::new();
    let meta = std::fs::metadata(root).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(format!("there is no file or directory {}", root.display()))
            .hint("correct the option 'path', or create it"),
        _ => cannot(root, error),
    })?;
    if meta.is_file() {
        files.push(info(root.clone(), &meta));
    } else {
        walk(root, options, 0, &mut files)?;
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(directory: &Path, options: &FileOptions, depth: usize, files: &mut Vec<FileInfo>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).map_err(|error| cannot(directory, error))? {
        let entry = entry.map_err(|error| cannot(directory, error))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"_") {
            continue;
        }
        let path = entry.path();
        // What went away meanwhile is not there.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.is_dir() {
            walk(&path, options, depth + 1, files)?;
        } else if meta.is_file() && options.pattern.as_ref().is_none_or(|p| p.is_match(&path.to_string_lossy())) {
            if files.len() == MAX_FILES {
                return Err(Error::invalid(format!("{} holds more than {MAX_FILES} files", options.path.display()))
                    .hint("move those that were read elsewhere, or name a 'source.path.regex-pattern'"));
            }
            files.push(info(path, &meta));
        }
    }
    Ok(())
}

fn info(path: PathBuf, meta: &std::fs::Metadata) -> FileInfo {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    FileInfo { path, bytes: meta.len(), modified_millis: since.map_or(0, |since| since.as_millis() as i64) }
}

/// The error for a file or directory that cannot be read or written: what is waited for, but for a name that cannot be.
pub(crate) fn cannot(path: &Path, error: std::io::Error) -> Error {
    let told = format!("{} cannot be read or written", path.display());
    let remedy = match error.kind() {
        ErrorKind::StorageFull => "make room on its disk",
        ErrorKind::QuotaExceeded => "make room there for the user that this program runs as, or raise its quota",
        ErrorKind::ReadOnlyFilesystem => {
            "mount its file system for writing; where it was, the kernel's log says which error of the disk ended that"
        }
        ErrorKind::PermissionDenied => "let the user that this program runs as read and write it",
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "mount the file system, or make the directory, in which it should be, or correct the option 'path'"
        }
        ErrorKind::InvalidFilename => {
            return Error::invalid(told).caused_by(error).hint(
                "the name is too long: shorten the value of the partition column in the query, or the option 'path'",
            );
        }
        _ => "check the disk and its file system",
    };
    Error::unavailable(told).caused_by(error).hint(remedy)
}

/// The values of the partition columns of a file.
///
/// # Errors
/// `Invalid` where the path does not tell one.
pub(crate) fn partition(definition: &TableDef, options: &FileOptions, path: &Path) -> Result<Vec<Value>> {
    let column = |&i: &usize| {
        let column = &definition.schema.columns[i];
        let parts = path.parent().into_iter().flat_map(Path::components).rev();
        let found = parts.filter_map(|part| {
            let text = part.as_os_str().to_str()?;
            let (name, value) = text.split_once('=')?;
            (unescape(name) == column.name).then(|| unescape(value))
        });
        let Some(text) = found.take(1).next() else {
            return Err(Error::invalid(format!(
                "the path {} does not tell the partition column '{}'",
                path.display(),
                column.name
            ))
            .hint(format!("files of this table lie in directories '{}=…'", column.name)));
        };
        if text == options.default_partition {
            return Ok(Value::Null);
        }
        read(&text, &column.sql_type.kind).map_err(|what| {
            Error::invalid(format!(
                "the path {} does not tell the partition column '{}': {what}",
                path.display(),
                column.name
            ))
            .hint("rename the directory, or declare the column as STRING")
        })
    };
    definition.partitioned_by.iter().map(column).collect()
}

fn read(text: &str, kind: &TypeKind) -> Result<Value, String> {
    match scalar::read(text, kind, STYLE) {
        Ok(Value::Null) => Err(format!("'{text}' is not a value of {kind}")),
        read => read,
    }
}

/// The directory of a partition, below the table's own.
pub(crate) fn directory(definition: &TableDef, options: &FileOptions, values: &[Value]) -> PathBuf {
    let mut path = PathBuf::new();
    for (&i, value) in definition.partitioned_by.iter().zip(values) {
        let column = &definition.schema.columns[i];
        let mut text = String::new();
        scalar::write(value, &column.sql_type.kind, STYLE, &mut text);
        // An empty text is no name; Hive and Flink take it for NULL.
        let text = if value.is_null() || text.is_empty() { options.default_partition.clone() } else { escape(&text) };
        path.push(format!("{}={text}", escape(&column.name)));
    }
    path
}

/// Characters that cannot stand in a directory's name, or have a meaning there (Hive, `FileUtils.escapePathName`).
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            out.push_str(&format!("%{:02X}", c as u32));
        } else {
            out.push(c);
        }
    }
    // These are names of other directories.
    if matches!(out.as_str(), "." | "..") { out.replace('.', "%2E") } else { out }
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partitions_survive() {
        for text in ["a/b", "100%", "..", ".", "x=y", "线路", "a%2Fb", "\u{1}"] {
            assert_eq!(unescape(&escape(text)), text);
            assert!(!escape(text).contains('/') && escape(text) != "..", "{text}");
        }
    }
}
