//! Writing a column: its head, its NULLs, its values, and what was seen of them.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef, cast::AsArray, make_array};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::DataType;

use super::choose::{self, Forms};
use super::floats::{Float, encode_decimals};
use super::gather::{GatherColumn, Values};
use super::physical::Physical;
use super::text::{self, GroupTexts, Written};
use super::{CHUNK_ROWS, kind, validity};
use crate::codec::encode_columns;

/// The longest text that is kept as smallest or largest value: longer ones are left out, never cut.
const LONGEST_BOUND: usize = 256;

/// What [`encode`] saw of a column.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// How many rows are NULL.
    pub nulls: u32,
    /// Whether there is no NULL and no value is smaller than the one before it. Never for nested types.
    pub is_sorted: bool,
    /// One row: the smallest value. Exact where it is known; not known for nested types, for texts if one bound is longer
    /// than 256 bytes, for floating-point numbers if one is NaN. Text is compared by its bytes. A zero among the
    /// floating-point bounds has the sign that makes it a bound for both zeros.
    pub min: Option<ArrayRef>,
    /// One row: the largest value, likewise.
    pub max: Option<ArrayRef>,
}

/// How hard it is tried to make a column small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What costs most for what it saves is left out, the symbols of texts: for a file that will soon be merged into another.
    Quick,
    /// Everything.
    Small,
}

/// Appends `column`, which has at most [`CHUNK_ROWS`] rows, to `out`, whose length must be a multiple of 8; it is one again
/// afterwards.
///
/// # Panics
/// If it has more rows, or a type that tables do not have.
pub fn encode(column: &dyn Array, effort: Effort, out: &mut Vec<u8>) -> Encoded {
    encode_part(column, effort, None, out)
}

/// The same for the rows from `start` on of a group whose texts have a dictionary of their own.
///
/// # Panics
/// As [`encode`]; also if these are not rows of that group.
pub fn encode_within(
    column: &dyn Array,
    effort: Effort,
    (group, start): (&GroupTexts<'_>, usize),
    out: &mut Vec<u8>,
) -> Encoded {
    encode_part(column, effort, Some((group, start)), out)
}

fn encode_part(
    column: &dyn Array,
    effort: Effort,
    group: Option<(&GroupTexts<'_>, usize)>,
    out: &mut Vec<u8>,
) -> Encoded {
    let rows = column.len();
    assert!(rows <= CHUNK_ROWS, "a chunk of {rows} rows");
    assert!(out.len().is_multiple_of(8), "columns start at multiples of 8, not at {}", out.len());
    let physical = Physical::of(column.data_type()).expect("columns of tables have one of the stored types");
    let nulls = if physical == Physical::Null { Some(NullBuffer::new_null(rows)) } else { column.logical_nulls() };
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let count = nulls.as_ref().map_or(0, NullBuffer::null_count);

    let head = out.len();
    // A nested type's NULLs are part of its own form, unless there is nothing else.
    let separate = physical != Physical::Nested || count == rows;
    let outside = nulls.as_ref().filter(|_| separate);
    out.extend_from_slice(&[0, validity::code(outside, rows), 0, 0, 0, 0, 0, 0]);
    validity::encode_nulls(outside, rows, out);
    let mut seen = Encoded { nulls: count as u32, ..Encoded::default() };
    if count == rows {
        seen.is_sorted = rows == 0;
        return seen;
    }
    let mut writer = Writer { column, effort, group, nulls: nulls.as_ref(), out, seen: &mut seen };
    let kind = match physical {
        Physical::Null => unreachable!("every row of the type NULL is NULL"),
        Physical::Bool => writer.booleans(),
        Physical::I8 => writer.ints::<i8>(),
        Physical::I16 => writer.ints::<i16>(),
        Physical::I32 => writer.ints::<i32>(),
        Physical::I64 => writer.ints::<i64>(),
        Physical::I128 => writer.wide_ints(),
        Physical::F32 => writer.floats::<f32>(),
        Physical::F64 => writer.floats::<f64>(),
        Physical::Text | Physical::Binary => writer.texts(),
        Physical::Nested => {
            encode_columns(&[make_array(column.to_data())], writer.out);
            kind::NESTED
        }
    };
    out[head] = kind;
    out.resize(out.len().next_multiple_of(8), 0);
    seen
}

struct Writer<'a> {
    column: &'a dyn Array,
    effort: Effort,
    /// The dictionary of its group, and its first row there.
    group: Option<(&'a GroupTexts<'a>, usize)>,
    nulls: Option<&'a NullBuffer>,
    out: &'a mut Vec<u8>,
    seen: &'a mut Encoded,
}

impl Writer<'_> {
    /// The rows' values; a NULL row has that of the row before, so that it costs as little as can be.
    fn filled<T: ArrowNativeType>(&self) -> Vec<T> {
        let data = self.column.to_data();
        let mut values = data.buffer::<T>(0)[..data.len()].to_vec();
        if let Some(nulls) = self.nulls {
            fill(&mut values, nulls);
        }
        values
    }

    fn booleans(&mut self) -> u8 {
        let bits = self.column.as_boolean().values();
        let mut values: Vec<i64> = bits.iter().map(i64::from).collect();
        if let Some(nulls) = self.nulls {
            fill(&mut values, nulls);
        }
        self.see(&values, |value, out| {
            let Values::Bool(bits) = out else { unreachable!("a bound has its column's type") };
            bits.append(value != 0);
        });
        choose::encode(&values, Forms::NoDictionary, self.out);
        kind::INTS
    }

    fn ints<T: ArrowNativeType + Into<i64> + TryFrom<i64>>(&mut self) -> u8 {
        let values: Vec<i64> = self.filled::<T>().into_iter().map(Into::into).collect();
        let unsigned = *self.column.data_type() == DataType::UInt64;
        if !unsigned {
            self.see(&values, |value, out| match out {
                Values::I8(values) => values.push(value as i8),
                Values::I16(values) => values.push(value as i16),
                Values::I32(values) => values.push(value as i32),
                Values::I64(values) => values.push(value),
                _ => unreachable!("a bound has its column's type"),
            });
        }
        choose::encode(&values, Forms::Any, self.out);
        kind::INTS
    }

    fn wide_ints(&mut self) -> u8 {
        let values = self.filled::<i128>();
        let (min, max) = self.see(&values, |value, out| {
            let Values::I128(values) = out else { unreachable!("a bound has its column's type") };
            values.push(value);
        });
        if max.checked_sub(min).is_none_or(|spread| i64::try_from(spread).is_err()) {
            values.iter().for_each(|value| self.out.extend_from_slice(&value.to_le_bytes()));
            return kind::WIDE;
        }
        self.out.extend_from_slice(&min.to_le_bytes());
        let above: Vec<i64> = values.iter().map(|value| (value - min) as i64).collect();
        choose::encode(&above, Forms::Any, self.out);
        kind::WIDE_INTS
    }

    fn floats<T: Float + ArrowNativeType + Pushed>(&mut self) -> u8 {
        let values = self.filled::<T>();
        if !values.iter().any(|value| value.widened().is_nan()) {
            let (min, max) = self.range(&values);
            let is_zero = |value: T| value.widened() == 0.0;
            let low = if is_zero(min) { T::narrowed(-0.0) } else { min };
            let high = if is_zero(max) { T::narrowed(0.0) } else { max };
            self.bound(low, high, T::push);
            // By the numbers' total order too, in which -0.0 comes before 0.0.
            let ascends = values.is_sorted_by(|a, b| a.widened().total_cmp(&b.widened()).is_le());
            self.seen.is_sorted = self.nulls.is_none() && ascends;
        }
        if encode_decimals(&values, self.out) {
            return kind::DECIMALS;
        }
        let bits: Vec<i64> = values.into_iter().map(Float::to_bits_i64).collect();
        choose::encode(&bits, Forms::Any, self.out);
        kind::INTS
    }

    fn texts(&mut self) -> u8 {
        let nulls = self.nulls;
        let is_value = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        if let Some((group, start)) = self.group {
            let rows = (start, self.column.len());
            let (min, max, ascends) = group.encode(rows, &is_value, self.effort, self.out);
            self.seen.is_sorted = nulls.is_none() && ascends;
            self.text_bounds(min, max);
            return if start == 0 { kind::TEXT_DICTIONARY } else { kind::GROUP_CODES };
        }
        let column = self.column;
        let texts = text::texts_of(column, &is_value);
        let written = text::encode_column(&texts, &is_value, self.effort, self.out);
        let values = || texts.iter().copied().enumerate().filter(|(row, _)| is_value(*row)).map(|(_, text)| text);
        let (min, max) = match &written {
            Written::Dictionary(values) => (values[0], values[values.len() - 1]),
            Written::Texts => {
                let first = values().next().expect("a row has a value");
                values().fold((first, first), |(min, max), text| (min.min(text), max.max(text)))
            }
        };
        self.seen.is_sorted = self.nulls.is_none() && texts.is_sorted();
        self.text_bounds(min, max);
        match written {
            Written::Dictionary(_) => kind::TEXT_DICTIONARY,
            Written::Texts => kind::TEXTS,
        }
    }

    fn text_bounds(&mut self, min: &[u8], max: &[u8]) {
        if min.len() <= LONGEST_BOUND && max.len() <= LONGEST_BOUND {
            self.bound(min, max, |text, out| match out {
                Values::Text(out) => out.append_value(str::from_utf8(text).expect("a column of text is UTF-8")),
                Values::Binary(out) => out.append_value(text),
                _ => unreachable!("a bound has its column's type"),
            });
        }
    }

    /// The smallest and the largest of `values`, none of which is NaN; notes whether they are sorted.
    fn range<T: Copy + PartialOrd>(&mut self, values: &[T]) -> (T, T) {
        self.seen.is_sorted = self.nulls.is_none() && values.is_sorted();
        values.iter().fold((values[0], values[0]), |(min, max), value| {
            let is_less = value.partial_cmp(&min) == Some(Ordering::Less);
            let is_more = value.partial_cmp(&max) == Some(Ordering::Greater);
            (if is_less { *value } else { min }, if is_more { *value } else { max })
        })
    }

    fn see<T: Copy + PartialOrd>(&mut self, values: &[T], push: impl Fn(T, &mut Values)) -> (T, T) {
        let (min, max) = self.range(values);
        self.bound(min, max, push);
        (min, max)
    }

    fn bound<T>(&mut self, min: T, max: T, push: impl Fn(T, &mut Values)) {
        let one = |value: T| {
            let mut column = GatherColumn::new(self.column.data_type(), 1);
            push(value, &mut column.values);
            column.nulls.append_non_null();
            column.finish().expect("a value of a column is one")
        };
        (self.seen.min, self.seen.max) = (Some(one(min)), Some(one(max)));
    }
}

/// Gives NULL rows the value of the row before, and those at the start that of the first row with one.
fn fill<T: Copy>(values: &mut [T], nulls: &NullBuffer) {
    let mut last = nulls.valid_indices().next().map(|row| values[row]);
    for (row, value) in values.iter_mut().enumerate() {
        match last {
            Some(last) if nulls.is_null(row) => *value = last,
            _ => last = Some(*value),
        }
    }
}

/// A value that a bound is made of.
trait Pushed {
    fn push(self, out: &mut Values);
}

impl Pushed for f32 {
    fn push(self, out: &mut Values) {
        let Values::F32(values) = out else { unreachable!("a bound has its column's type") };
        values.push(self);
    }
}

impl Pushed for f64 {
    fn push(self, out: &mut Values) {
        let Values::F64(values) = out else { unreachable!("a bound has its column's type") };
        values.push(self);
    }
}
