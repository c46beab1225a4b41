//! Columns of segments as bytes, with access to single values.
//!
//! [`encode`] chooses a form for a chunk of at most [`CHUNK_ROWS`] rows and tells what it saw on the way (NULLs, smallest and
//! largest value, order). [`EncodedColumn`] reads it again, as a whole or value by value, straight from mapped bytes. The type
//! and the number of rows stand elsewhere. Parsing and reading trust nothing: whatever the bytes are, they yield rows or
//! `Corrupt`, and memory in proportion to the rows. Why these forms and not others, with figures:
//! `docs/decisions/0009-encodings-of-segments.md`; the byte tables: `docs/formats.md`.
//!
//! Nothing here is compressed by a general method (Zstandard, LZ4): that would take away access to single values and cost
//! most of the speed of a scan.

mod bits;
mod choose;
mod flat;
mod floats;
mod gather;
mod ints;
mod physical;
mod reader;
mod symbols;
#[cfg(test)]
mod tests;
mod text;
mod text_out;
mod validity;
mod write;

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, StringArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::filter::FilterPredicate;
use arrow_select::take::take;
use bytes::Bytes;
use gridhouse_base::{Error, Result};

use crate::codec::{Input, damaged, decode_columns};
use crate::tail::rearrange_error;
use floats::{Decimals, Float};
use gather::Values;
use ints::Ints;
use physical::Physical;
use reader::Reader;
use text::{RolledOut, Rows, TextColumn, Texts};
use validity::{Validity, decode_bits};

pub use gather::GatherColumn;
pub use text::GroupTexts;
pub use write::{Effort, Encoded, encode, encode_within};

/// The most rows that one encoded column holds. Readers skip by chunk and verify by chunk: at 8,192 rows a chunk of 8-byte
/// values fits a core's second-level cache, and its head and checksum cost less than a hundredth of a bit per value.
pub const CHUNK_ROWS: usize = 8_192;

/// What stands behind the head of a column.
mod kind {
    /// Nothing: every row is NULL.
    pub const NULLS: u8 = 0;
    /// A stream of whole numbers: integers, times, booleans, bits of floating-point numbers.
    pub const INTS: u8 = 1;
    /// 16 bytes, then a stream of what is to be added to them: decimals.
    pub const WIDE_INTS: u8 = 2;
    /// 16 bytes per row: decimals too far apart.
    pub const WIDE: u8 = 3;
    /// Floating-point numbers as multiples of a power of ten.
    pub const DECIMALS: u8 = 4;
    /// Texts.
    pub const TEXTS: u8 = 5;
    /// A dictionary of texts, and codes: in a group's first chunk, perhaps that of all its chunks.
    pub const TEXT_DICTIONARY: u8 = 6;
    /// A nested type in the log's form.
    pub const NESTED: u8 = 7;
    /// Codes of the dictionary in the first chunk of the group.
    pub const GROUP_CODES: u8 = 8;
}

/// An encoded column over bytes that it shares; cheap to make.
#[derive(Clone, Debug)]
pub struct EncodedColumn {
    data_type: DataType,
    rows: usize,
    validity: Validity,
    body: Body,
}

/// What is not in most columns lies apart: a look-up makes and moves one of these for each column of its row.
#[derive(Clone, Debug)]
enum Body {
    Nulls,
    Ints(Ints),
    WideInts { base: Box<i128>, ints: Ints },
    Wide(Bytes),
    Decimals(Box<Decimals>),
    Text(Box<TextColumn>),
    Nested(Bytes),
}

impl EncodedColumn {
    /// Reads what [`encode`] wrote for `rows` rows of `data_type`; `bytes` end where the column ends.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not such a column.
    pub fn parse(bytes: Bytes, data_type: &DataType, rows: usize) -> Result<Self> {
        Self::parse_within(bytes, data_type, rows, &|| Err(damaged("a column has no other chunk to find its texts in")))
    }

    /// Reads what [`encode_within`] wrote too, a chunk of a group; `first` gives the bytes of the same column in the first chunk
    /// of the group.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not such a column; those of `first`.
    pub fn parse_within(
        bytes: Bytes,
        data_type: &DataType,
        rows: usize,
        first: &dyn Fn() -> Result<Bytes>,
    ) -> Result<Self> {
        if rows > CHUNK_ROWS {
            return Err(damaged(&format!("a column chunk has {rows} rows; {CHUNK_ROWS} is the most")));
        }
        let physical = Physical::of(data_type).ok_or_else(|| damaged("a column has a type that is never stored"))?;
        let input = &mut Reader::new(bytes);
        let [kind, nulls, ..] = input.array::<8>()?;
        let validity = Validity::parse(nulls, input, rows)?;
        if matches!(validity, Validity::All) != (kind == kind::NULLS) {
            return Err(damaged("a column of NULLs has values, or another has none"));
        }
        let float_width = if physical == Physical::F32 { f32::BYTES } else { f64::BYTES };
        let body = match (kind, physical) {
            (kind::NULLS, _) => Body::Nulls,
            (
                kind::INTS,
                Physical::Bool
                | Physical::I8
                | Physical::I16
                | Physical::I32
                | Physical::I64
                | Physical::F32
                | Physical::F64,
            ) => Body::Ints(Ints::parse(input, rows)?),
            (kind::WIDE_INTS, Physical::I128) => {
                let base = Box::new(i128::from_le_bytes(input.array()?));
                Body::WideInts { base, ints: Ints::parse(input, rows)? }
            }
            (kind::WIDE, Physical::I128) => Body::Wide(input.bytes(rows * 16)?),
            (kind::DECIMALS, Physical::F32 | Physical::F64) => {
                Body::Decimals(Box::new(Decimals::parse(input, rows, float_width)?))
            }
            (kind::TEXTS, Physical::Text | Physical::Binary) => {
                Body::Text(Box::new(TextColumn::Texts(Texts::parse(input, rows)?)))
            }
            (kind::TEXT_DICTIONARY, Physical::Text | Physical::Binary) => {
                Body::Text(Box::new(TextColumn::parse_dictionary(input, rows)?))
            }
            (kind::GROUP_CODES, Physical::Text | Physical::Binary) => {
                Body::Text(Box::new(TextColumn::parse_codes(input, rows, first()?)?))
            }
            (kind::NESTED, Physical::Nested) => Body::Nested(input.rest()),
            _ => return Err(damaged("a column has an encoding that its type never has")),
        };
        input.end()?;
        Ok(Self { data_type: data_type.clone(), rows, validity, body })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The form that the rows have, in a few words, for people who look into a file.
    pub fn form(&self) -> String {
        match &self.body {
            Body::Nulls => "nulls".to_owned(),
            Body::Ints(ints) => ints.form(),
            Body::WideInts { ints, .. } => format!("16 bytes and {}", ints.form()),
            Body::Wide(_) => "16 bytes each".to_owned(),
            Body::Decimals(decimals) => decimals.form(),
            Body::Text(texts) => texts.form(),
            Body::Nested(_) => "as in the log".to_owned(),
        }
    }

    /// Whether `bytes`, of a column, lead to the first chunk of its group.
    pub fn leads_to_first(bytes: &[u8]) -> bool {
        bytes.first() == Some(&kind::GROUP_CODES)
    }

    /// Whether `bytes`, of a column, hold codes of texts.
    pub fn is_coded(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(&(kind::TEXT_DICTIONARY | kind::GROUP_CODES)))
    }

    /// Whether the rows are codes of the dictionary in the first chunk of their group.
    pub fn has_group_codes(&self) -> bool {
        matches!(&self.body, Body::Text(texts) if matches!(texts.as_ref(), TextColumn::Dictionary { is_shared: true, .. }))
    }

    /// The codes of the rows, if they are texts with a dictionary; a number that cannot be a code comes as -1.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold codes.
    pub fn codes(&self) -> Result<Option<Int32Array>> {
        let Body::Text(texts) = &self.body else { return Ok(None) };
        let Some(codes) = texts.codes()? else { return Ok(None) };
        Ok(Some(Int32Array::new(codes.into(), self.validity.bits()?.map(NullBuffer::new))))
    }

    /// The texts that [`Self::codes`] stand for.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold texts.
    pub fn dictionary(&self) -> Result<Option<ArrayRef>> {
        let Body::Text(texts) = &self.body else { return Ok(None) };
        let Some(values) = texts.values()? else { return Ok(None) };
        self.texts_array(values, None).map(Some)
    }

    /// All rows.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold such rows.
    pub fn decode(&self) -> Result<ArrayRef> {
        match &self.body {
            Body::Text(texts) => self.texts(texts, Rows::All(self.rows)),
            Body::Nested(bytes) => self.decode_nested(bytes),
            _ => {
                let mut out = GatherColumn::new(&self.data_type, self.rows);
                self.append(&mut out)?;
                out.finish()
            }
        }
    }

    /// The rows of which the bits in `wanted` are 1, which `filter` was made of. Texts that are not wanted are not looked at.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold such rows.
    pub fn decode_where(&self, wanted: &BooleanBuffer, filter: &FilterPredicate) -> Result<ArrayRef> {
        match &self.body {
            Body::Text(texts) => self.texts(texts, Rows::Some(wanted)),
            _ => filter.filter(&self.decode()?).map_err(rearrange_error),
        }
    }

    fn texts(&self, texts: &TextColumn, rows: Rows<'_>) -> Result<ArrayRef> {
        let valid = self.validity.bits()?;
        let rolled_out = texts.roll_out(rows, valid.as_ref())?;
        let nulls = match (valid, rows) {
            (Some(valid), Rows::Some(wanted)) => {
                Some(wanted.set_indices().map(|row| valid.value(row)).collect::<BooleanBuffer>())
            }
            (valid, _) => valid,
        };
        self.texts_array(rolled_out, nulls.map(NullBuffer::new).filter(|nulls| nulls.null_count() > 0))
    }

    fn texts_array(&self, texts: RolledOut, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let (offsets, bytes) = texts.into_parts();
        let no_text = |error| damaged("a text is not UTF-8").caused_by(error);
        if self.data_type == DataType::Utf8 {
            return Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(no_text)?));
        }
        Ok(Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(no_text)?))
    }

    /// Appends all rows, which are neither texts nor nested, to `out`.
    fn append(&self, out: &mut GatherColumn) -> Result<()> {
        match (&self.body, &mut out.values) {
            (Body::Nulls, values) => values.append_nulls(self.rows, &self.data_type),
            (Body::Ints(ints), Values::Bool(bits)) => bits.append_buffer(&decode_bits(ints)?),
            (Body::Ints(ints), Values::I8(values)) => ints.decode_as(|v| v as i8, values)?,
            (Body::Ints(ints), Values::I16(values)) => ints.decode_as(|v| v as i16, values)?,
            (Body::Ints(ints), Values::I32(values)) => ints.decode_as(|v| v as i32, values)?,
            (Body::Ints(ints), Values::I64(values)) => ints.decode_as(|v| v, values)?,
            (Body::Ints(ints), Values::F32(values)) => ints.decode_as(f32::from_bits_i64, values)?,
            (Body::Ints(ints), Values::F64(values)) => ints.decode_as(f64::from_bits_i64, values)?,
            (Body::WideInts { base, ints }, Values::I128(values)) => {
                let base = **base;
                ints.decode_as(move |v| base.wrapping_add(i128::from(v)), values)?;
            }
            (Body::Wide(bytes), Values::I128(values)) => {
                values.extend(bytes.as_chunks::<16>().0.iter().map(|value| i128::from_le_bytes(*value)));
            }
            (Body::Decimals(decimals), Values::F32(values)) => decimals.decode(values)?,
            (Body::Decimals(decimals), Values::F64(values)) => decimals.decode(values)?,
            _ => unreachable!("parsing and gathering agree on what a type's values are"),
        }
        self.validity.append_all(self.rows, &mut out.nulls)
    }

    /// How many steps it takes to touch a row: where its parts are, then what these lead to.
    pub const TOUCHES: usize = 2;

    /// Reads a byte of what `row` is made of and step number `step` reaches, so that it is at hand when the row is gathered. For
    /// a row or a step that is not there, nothing.
    pub fn touch(&self, row: usize, step: usize) -> u8 {
        if row >= self.rows {
            return 0;
        }
        match (&self.body, step) {
            (Body::Ints(ints) | Body::WideInts { ints, .. }, 0) => ints.touch(row) ^ self.validity.touch(row),
            (Body::Wide(bytes), 0) => bytes[row * 16] ^ self.validity.touch(row),
            (Body::Decimals(decimals), 0) => decimals.touch(row) ^ self.validity.touch(row),
            (Body::Text(texts), 0) => texts.touch(row) ^ self.validity.touch(row),
            (Body::Text(texts), 1) => texts.touch_bytes(row),
            _ => 0,
        }
    }

    /// Appends the rows at `positions` to `out`. Values of nested types are not found singly: all are decoded for them.
    ///
    /// # Errors
    /// `Corrupt` if the bytes do not hold such rows.
    ///
    /// # Panics
    /// If a position is not below the number of rows, or `out` is of another type.
    pub fn gather(&self, positions: &[u32], out: &mut GatherColumn) -> Result<()> {
        fn each<T>(positions: &[u32], out: &mut Vec<T>, get: impl Fn(usize) -> T) {
            out.extend(positions.iter().map(|row| get(*row as usize)));
        }
        self.assert_type(out);
        assert!(positions.iter().all(|row| (*row as usize) < self.rows), "positions lie in a chunk of {}", self.rows);
        match (&self.body, &mut out.values) {
            (Body::Nested(bytes), Values::Nested(pieces)) => {
                let positions = UInt32Array::from(positions.to_vec());
                let taken = take(&self.decode_nested(bytes)?, &positions, None);
                pieces.push(taken.map_err(|error| Error::internal("rows cannot be taken").caused_by(error))?);
                return Ok(());
            }
            (Body::Nulls, values) => values.append_nulls(positions.len(), &self.data_type),
            (Body::Ints(ints), Values::Bool(bits)) => {
                positions.iter().for_each(|row| bits.append(ints.get(*row as usize) & 1 != 0));
            }
            (Body::Ints(ints), Values::I8(values)) => each(positions, values, |row| ints.get(row) as i8),
            (Body::Ints(ints), Values::I16(values)) => each(positions, values, |row| ints.get(row) as i16),
            (Body::Ints(ints), Values::I32(values)) => each(positions, values, |row| ints.get(row) as i32),
            (Body::Ints(ints), Values::I64(values)) => each(positions, values, |row| ints.get(row)),
            (Body::Ints(ints), Values::F32(values)) => {
                each(positions, values, |row| f32::from_bits_i64(ints.get(row)));
            }
            (Body::Ints(ints), Values::F64(values)) => {
                each(positions, values, |row| f64::from_bits_i64(ints.get(row)));
            }
            (Body::WideInts { base, ints }, Values::I128(values)) => {
                each(positions, values, |row| base.wrapping_add(i128::from(ints.get(row))));
            }
            (Body::Wide(bytes), Values::I128(values)) => {
                let all = bytes.as_chunks::<16>().0;
                each(positions, values, |row| i128::from_le_bytes(all[row]));
            }
            (Body::Decimals(decimals), Values::F32(values)) => each(positions, values, |row| decimals.get(row)),
            (Body::Decimals(decimals), Values::F64(values)) => each(positions, values, |row| decimals.get(row)),
            (Body::Text(texts), Values::Text(values)) => {
                return texts.append_at(positions, |row| self.validity.is_valid(row), values);
            }
            (Body::Text(texts), Values::Binary(values)) => {
                return texts.append_at(positions, |row| self.validity.is_valid(row), values);
            }
            _ => unreachable!("parsing and gathering agree on what a type's values are"),
        }
        self.validity.append_at(positions, &mut out.nulls);
        Ok(())
    }

    /// Whether [`Self::u64_at`] can be asked: the column has whole numbers only.
    pub fn is_whole_numbers(&self) -> bool {
        matches!((&self.body, &self.validity), (Body::Ints(_), Validity::None))
    }

    /// The number at `row` of a column of whole numbers without NULLs, as a number of 64 bits without sign.
    ///
    /// Where bytes contradict themselves (a code outside of its dictionary) this is some number; [`Self::decode`] finds it out.
    ///
    /// # Panics
    /// If the column is of another type or has NULLs, or `row` is not below the number of rows.
    #[inline]
    pub fn u64_at(&self, row: usize) -> u64 {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        match (&self.body, &self.validity) {
            (Body::Ints(ints), Validity::None) => ints.get(row) as u64,
            _ => panic!("a column of {} is not one of whole numbers without NULLs", self.data_type),
        }
    }

    fn assert_type(&self, out: &GatherColumn) {
        assert_eq!(out.data_type, self.data_type, "values are gathered into a column of their own type");
    }

    fn decode_nested(&self, bytes: &Bytes) -> Result<ArrayRef> {
        let mut input = Input::new(bytes);
        let mut columns = decode_columns(std::slice::from_ref(&self.data_type), self.rows, &mut input)?;
        input.align(8)?;
        if !input.is_at_end() {
            return Err(damaged("an encoded column has bytes behind its end"));
        }
        Ok(columns.remove(0))
    }
}
