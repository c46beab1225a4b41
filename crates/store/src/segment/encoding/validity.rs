//! Which rows are NULL.

use arrow_buffer::{BooleanBuffer, NullBuffer, NullBufferBuilder};
use bytes::Bytes;
use gridhouse_base::Result;

use super::choose::{Forms, encode};
use super::ints::Ints;
use super::reader::Reader;
use crate::codec::damaged;

/// No row is NULL; nothing is written.
const NONE: u8 = 0;
/// Every row is NULL; nothing is written, and no values either.
pub(super) const ALL: u8 = 1;
/// A stream of bits, 1 where there is a value.
const SOME: u8 = 2;

/// The byte that stands for `nulls` in the head of a column of `rows` rows.
pub(super) fn code(nulls: Option<&NullBuffer>, rows: usize) -> u8 {
    match nulls.map_or(0, NullBuffer::null_count) {
        _ if rows == 0 => ALL,
        0 => NONE,
        count if count == rows => ALL,
        _ => SOME,
    }
}

/// Appends `nulls`, if there are some.
pub(super) fn encode_nulls(nulls: Option<&NullBuffer>, rows: usize, out: &mut Vec<u8>) {
    if let (SOME, Some(nulls)) = (code(nulls, rows), nulls) {
        let bits: Vec<i64> = nulls.iter().map(i64::from).collect();
        encode(&bits, Forms::NoDictionary, out);
    }
}

/// Which rows of an encoded column are NULL.
#[derive(Clone, Debug)]
pub(super) enum Validity {
    /// None.
    None,
    /// All.
    All,
    /// Those with 0.
    Some(Box<Ints>),
}

impl Validity {
    /// Reads what `code` announces for `rows` rows.
    pub fn parse(code: u8, input: &mut Reader, rows: usize) -> Result<Self> {
        match code {
            NONE if rows > 0 => Ok(Self::None),
            ALL => Ok(Self::All),
            SOME => Ok(Self::Some(Box::new(Ints::parse(input, rows)?))),
            _ => Err(damaged("the head of a column does not say which rows are NULL")),
        }
    }

    /// The rows with a value, as bits, if some are NULL and some are not.
    pub fn bits(&self) -> Result<Option<BooleanBuffer>> {
        match self {
            Self::Some(bits) => decode_bits(bits).map(Some),
            Self::None | Self::All => Ok(None),
        }
    }

    /// Whether `row` has a value.
    pub fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::None => true,
            Self::All => false,
            Self::Some(bits) => bits.get(row) & 1 != 0,
        }
    }

    /// Reads a byte of what tells whether `row` has a value.
    pub fn touch(&self, row: usize) -> u8 {
        match self {
            Self::None | Self::All => 0,
            Self::Some(bits) => bits.touch(row),
        }
    }

    /// Appends all rows to `out`.
    pub fn append_all(&self, rows: usize, out: &mut NullBufferBuilder) -> Result<()> {
        match self {
            Self::None => out.append_n_non_nulls(rows),
            Self::All => out.append_n_nulls(rows),
            Self::Some(bits) => out.append_buffer(&NullBuffer::new(decode_bits(bits)?)),
        }
        Ok(())
    }

    /// Appends the rows at `positions` to `out`.
    pub fn append_at(&self, positions: &[u32], out: &mut NullBufferBuilder) {
        match self {
            Self::None => out.append_n_non_nulls(positions.len()),
            Self::All => out.append_n_nulls(positions.len()),
            Self::Some(_) => positions.iter().for_each(|row| out.append(self.is_valid(*row as usize))),
        }
    }
}

/// All numbers of `ints`, which are 0 or 1, as bits.
pub(super) fn decode_bits(ints: &Ints) -> Result<BooleanBuffer> {
    if let Some(bits) = ints.as_bits() {
        let bytes: Bytes = bits.slice(..ints.len().div_ceil(8));
        return Ok(BooleanBuffer::new(bytes.to_vec().into(), 0, ints.len()));
    }
    let mut values = Vec::new();
    ints.decode_as(|value| value as u8, &mut values)?;
    if values.iter().any(|value| *value > 1) {
        return Err(damaged("bits are neither 0 nor 1"));
    }
    Ok(BooleanBuffer::collect_bool(values.len(), |i| values[i] == 1))
}
