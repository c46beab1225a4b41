//! The one public error type.
//!
//! The kind tells the caller what to do next; the message names the object and the value; SQL errors carry a position in
//! the text and a hint with the remedy. An error is logged where it is handled, never where it is passed on.

use std::fmt;

/// The result type of every fallible public function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong (SQL, a row, a setting): change it.
    Invalid,
    /// The named object does not exist: check the name.
    NotFound,
    /// The request contradicts what exists: decide which of the two should hold.
    Conflict,
    /// Something outside (PostgreSQL, disk space, network) does not answer or refuses: mend it, then try again.
    Unavailable,
    /// Bytes on disk or from outside are not what was written: stop and restore.
    Corrupt,
    /// A defect of this program: report it.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        })
    }
}

/// A place in a SQL text: one-based line and column, the column counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// One-based line.
    pub line: u32,
    /// One-based column, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// An error with its kind, a lower-case message, and, where they are known, position, remedy and cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    position: Option<Position>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; the message is lower-case and names the object and the value.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), position: None, hint: None, source: None }))
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The request contradicts what exists.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Something outside does not answer or refuses.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Stored or received bytes are damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A defect of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds the remedy: a sentence or a statement that the user can type.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the place in the SQL text, unless one is known already (the innermost is the most exact).
    pub fn at(mut self, position: Position) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    /// Adds the cause.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `context` and a colon in front of the message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Puts `detail` behind the message: where it happened.
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.message = format!("{} {detail}", self.0.message);
        self
    }

    /// The same error once more, its cause within the message and without the place, which is in the text of one of them: for
    /// whoever else is told of it.
    #[must_use]
    pub fn again(&self) -> Self {
        let (message, hint) = (self.to_string(), self.0.hint.clone());
        Self(Box::new(Inner { kind: self.0.kind, message, position: None, hint, source: None }))
    }

    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without position, hint and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The place in the SQL text.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// The remedy.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// The message, then the cause if there is one. Position and hint are laid out by whoever shows the error.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The name among `names` nearest to `wanted` (edit distance, at most a third of its length, ignoring case), for hints.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).max(1);
    let distances = names.into_iter().map(|name| (distance(&wanted, &name.to_lowercase()), name));
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (j, other) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = j + 1;
        for i in 0..a.len() {
            let substituted = diagonal + usize::from(a[i] != other);
            diagonal = row[i + 1];
            row[i + 1] = substituted.min(row[i] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_close_or_absent() {
        assert_eq!(nearest("tabel-name", ["table-name", "schema-name"]), Some("table-name"));
        assert_eq!(nearest("frobnicate", ["table-name", "schema-name"]), None);
    }

    #[test]
    fn innermost_position_wins() {
        let error = Error::invalid("x").at(Position { line: 2, column: 3 }).at(Position { line: 1, column: 1 });
        assert_eq!(error.position(), Some(Position { line: 2, column: 3 }));
    }
}
