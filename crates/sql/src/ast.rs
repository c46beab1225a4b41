//! Statements as they are written: names unresolved, expressions untyped, every part with its place in the text.
//!
//! The parser builds these, the binder reads them. Types are resolved already, since a type's name means the same everywhere.

mod query;
mod statement;

pub use query::*;
pub use statement::*;

use std::fmt;

use gridhouse_base::Position;
use gridhouse_base::table::quoted;

/// A name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The name without its quotes, case kept.
    pub name: String,
    /// Where it stands.
    pub at: Position,
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.name))
    }
}

/// The name of a table, view or database: one to three parts, never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The parts, outermost first.
    pub parts: Vec<Ident>,
}

impl ObjectName {
    /// Where the name starts.
    pub fn at(&self) -> Position {
        self.parts[0].at
    }

    /// The last part.
    pub fn last(&self) -> &Ident {
        &self.parts[self.parts.len() - 1]
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if i == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// A `'key' = 'value'` pair of a `WITH` clause or an `OPTIONS` hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionPair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where the key stands.
    pub at: Position,
}

/// What the parser accepts beyond Flink's grammar, or something that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The message.
    pub message: String,
    /// Where.
    pub at: Position,
}
