//! Columns that texts and byte strings are read into.
//!
//! Arrow's own builders take text that is known to be UTF-8. So text is looked at where it is stored, and no array is made
//! without.

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use gridhouse_base::{Error, Result};

use crate::codec::damaged;

/// A column of texts or byte strings that grows.
pub(super) trait TextOut {
    /// `str` or bytes.
    type Value: ?Sized;
    /// `bytes` as a value, if they are one.
    fn check(bytes: &[u8]) -> Result<&Self::Value>;
    /// The bytes of a value.
    fn bytes(value: &Self::Value) -> &[u8];
    /// How many bytes the column has.
    fn used(&self) -> usize;
    /// Appends a value; the column then has less than 2 GiB.
    fn append(&mut self, value: &Self::Value);
    /// Appends NULL.
    fn append_null(&mut self);
}

impl TextOut for StringBuilder {
    type Value = str;

    fn check(bytes: &[u8]) -> Result<&str> {
        std::str::from_utf8(bytes).map_err(|error| damaged("a text is not UTF-8").caused_by(error))
    }

    fn bytes(value: &str) -> &[u8] {
        value.as_bytes()
    }

    fn used(&self) -> usize {
        self.values_slice().len()
    }

    #[inline]
    fn append(&mut self, value: &str) {
        self.append_value(value);
    }

    fn append_null(&mut self) {
        Self::append_null(self);
    }
}

impl TextOut for BinaryBuilder {
    type Value = [u8];

    fn check(bytes: &[u8]) -> Result<&[u8]> {
        Ok(bytes)
    }

    fn bytes(value: &[u8]) -> &[u8] {
        value
    }

    fn used(&self) -> usize {
        self.values_slice().len()
    }

    #[inline]
    fn append(&mut self, value: &[u8]) {
        self.append_value(value);
    }

    fn append_null(&mut self) {
        Self::append_null(self);
    }
}

/// Appends `value`, if the column then still has offsets of 31 bits.
#[inline]
pub(super) fn push<T: TextOut>(out: &mut T, value: &T::Value) -> Result<()> {
    if out.used() + T::bytes(value).len() > i32::MAX as usize {
        return Err(too_much_text());
    }
    out.append(value);
    Ok(())
}

/// What is said of a column whose offsets would not fit 31 bits.
pub(super) fn too_much_text() -> Error {
    let hint = "read fewer rows at once, or fewer columns of long texts";
    Error::invalid("a column of the rows that are read holds more than 2 GiB of text").hint(hint)
}
