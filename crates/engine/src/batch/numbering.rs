//! Numbers for the values of a column that a query groups by: what its accumulators are indexed with.
//!
//! Texts that come as codes are looked at once per dictionary; a row then costs one place in a table. Whole numbers that lie
//! close together are places in such a table themselves. Texts of a dictionary may be those of no row, so it is noted which
//! numbers have been given to one.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::DataType;
use datafusion::common::{Result as DfResult, exec_err};
use hashbrown::{DefaultHashBuilder, HashTable};

/// The largest distance between whole numbers that are places in a table: it stays in a second-level cache.
pub(super) const WIDEST: u64 = 1 << 16;

/// A value that has no number yet.
const NONE: u32 = u32::MAX;

/// Numbers for the values of a column.
pub(super) enum Numbering {
    Texts(Texts),
    Whole(Whole),
}

impl Numbering {
    /// One for texts.
    pub fn of_texts() -> Self {
        Self::Texts(Texts::default())
    }

    /// One for whole numbers from `least` to `most`, which are at most [`WIDEST`] apart.
    pub fn of_whole(least: i64, most: i64) -> Self {
        Self::Whole(Whole {
            least,
            places: vec![NONE; most.abs_diff(least) as usize + 1],
            values: Vec::new(),
            null: NONE,
        })
    }

    /// Puts the number of each row of `column` into `out`.
    pub fn number(&mut self, column: &ArrayRef, out: &mut Vec<usize>) -> DfResult<()> {
        out.clear();
        match self {
            Self::Texts(texts) => texts.number(column, out),
            Self::Whole(whole) => match column.data_type() {
                DataType::Int8 => whole.number::<Int8Type>(column, out),
                DataType::Int16 => whole.number::<Int16Type>(column, out),
                DataType::Int32 => whole.number::<Int32Type>(column, out),
                DataType::Int64 => whole.number::<Int64Type>(column, out),
                other => exec_err!("rows are not grouped by places of {other}"),
            },
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.seen.len(),
            Self::Whole(whole) => whole.values.len(),
        }
    }

    /// The value of every number, as a column of `data_type`, and which of them a row has; none: all.
    pub fn values(&self, data_type: &DataType) -> DfResult<(ArrayRef, Option<BooleanArray>)> {
        match self {
            Self::Texts(texts) => Ok(texts.values()),
            Self::Whole(whole) => Ok((
                match data_type {
                    DataType::Int8 => whole.values::<Int8Type>(),
                    DataType::Int16 => whole.values::<Int16Type>(),
                    DataType::Int32 => whole.values::<Int32Type>(),
                    DataType::Int64 => whole.values::<Int64Type>(),
                    other => return exec_err!("places are not those of {other}"),
                },
                None,
            )),
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        match self {
            Self::Texts(texts) => *texts = Texts::default(),
            Self::Whole(whole) => {
                whole.places.fill(NONE);
                whole.values.clear();
                whole.null = NONE;
            }
        }
    }

    /// Its memory in bytes, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.size(),
            Self::Whole(whole) => size_of_val(&*whole.places) + whole.values.capacity() * size_of::<Option<i64>>(),
        }
    }
}

/// Texts with their numbers.
pub(super) struct Texts {
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The texts, one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The number of NULL, which has an empty text.
    null: u32,
    /// Which numbers a row has.
    seen: Vec<bool>,
    /// The dictionary that came last, with the numbers of its texts.
    known: Option<(ArrayRef, Vec<u32>)>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            null: NONE,
            seen: Vec::new(),
            known: None,
        }
    }
}

impl Texts {
    fn number(&mut self, column: &ArrayRef, out: &mut Vec<usize>) -> DfResult<()> {
        if let Some(texts) = column.as_string_opt::<i32>() {
            for row in 0..texts.len() {
                let number = if texts.is_null(row) { self.null() } else { self.intern(texts.value(row).as_bytes()) };
                self.seen[number as usize] = true;
                out.push(number as usize);
            }
            return Ok(());
        }
        let Some(coded) = column.as_dictionary_opt::<Int32Type>() else {
            return exec_err!("rows are not grouped by texts of {}", column.data_type());
        };
        let is_known = |(texts, _): &(ArrayRef, Vec<u32>)| Arc::ptr_eq(texts, coded.values());
        let known = match self.known.take().filter(is_known) {
            Some(known) => known,
            None => {
                let texts: &StringArray = coded.values().as_string();
                let numbers = (0..texts.len()).map(|text| self.intern(texts.value(text).as_bytes())).collect();
                (coded.values().clone(), numbers)
            }
        };
        let codes = coded.keys();
        let nulls = codes.nulls().filter(|nulls| nulls.null_count() > 0);
        let null = if nulls.is_some() { self.null() } else { NONE };
        let (numbers, seen) = (&known.1, &mut self.seen);
        match nulls {
            None => out.extend(codes.values().iter().map(|&code| {
                let number = numbers[code as usize] as usize;
                seen[number] = true;
                number
            })),
            Some(nulls) => out.extend(codes.values().iter().zip(nulls).map(|(&code, is_valid)| {
                let number = if is_valid { numbers[code as usize] } else { null } as usize;
                seen[number] = true;
                number
            })),
        }
        self.known = Some(known);
        Ok(())
    }

    fn text(bytes: &[u8], ends: &[usize], number: u32) -> (usize, usize) {
        let number = number as usize;
        let start = if number == 0 { 0 } else { ends[number - 1] };
        debug_assert!(ends[number] <= bytes.len(), "texts lie one behind the other");
        (start, ends[number])
    }

    fn intern(&mut self, text: &[u8]) -> u32 {
        let (bytes, ends, null) = (&self.bytes, &self.ends, self.null);
        let hash = self.hasher.hash_one(text);
        let is_it = |&number: &u32| {
            let (start, end) = Self::text(bytes, ends, number);
            &bytes[start..end] == text && number != null
        };
        if let Some(&number) = self.numbers.find(hash, is_it) {
            return number;
        }
        let number = self.next(text);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.numbers.insert_unique(hash, number, |&number| {
            let (start, end) = Self::text(bytes, ends, number);
            hasher.hash_one(&bytes[start..end])
        });
        number
    }

    fn null(&mut self) -> u32 {
        if self.null == NONE {
            self.null = self.next(&[]);
        }
        self.null
    }

    fn next(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        self.seen.push(false);
        (self.seen.len() - 1) as u32
    }

    fn values(&self) -> (ArrayRef, Option<BooleanArray>) {
        let mut values = StringBuilder::with_capacity(self.ends.len(), self.bytes.len());
        for number in 0..self.ends.len() as u32 {
            let (start, end) = Self::text(&self.bytes, &self.ends, number);
            match std::str::from_utf8(&self.bytes[start..end]) {
                Ok(text) if number != self.null => values.append_value(text),
                _ => values.append_null(),
            }
        }
        let seen = self.seen.contains(&false).then(|| BooleanArray::from(self.seen.clone()));
        (Arc::new(values.finish()), seen)
    }

    fn size(&self) -> usize {
        let known = self.known.as_ref().map_or(0, |(texts, numbers)| texts.get_array_memory_size() + 4 * numbers.len());
        let lists = self.bytes.capacity() + self.ends.capacity() * size_of::<usize>() + self.seen.capacity();
        lists + self.numbers.allocation_size() + known
    }
}

/// Whole numbers that lie close together.
pub(super) struct Whole {
    least: i64,
    /// The number of each from the least on.
    places: Vec<u32>,
    /// What each number stands for.
    values: Vec<Option<i64>>,
    /// The number of NULL.
    null: u32,
}

impl Whole {
    fn number<T: ArrowPrimitiveType<Native: Into<i64>>>(
        &mut self,
        column: &ArrayRef,
        out: &mut Vec<usize>,
    ) -> DfResult<()> {
        let column = column.as_primitive::<T>();
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        for (row, &value) in column.values().iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                if self.null == NONE {
                    self.null = self.values.len() as u32;
                    self.values.push(None);
                }
                out.push(self.null as usize);
                continue;
            }
            let value: i64 = value.into();
            let Some(place) = self.places.get_mut(value.wrapping_sub(self.least) as u64 as usize) else {
                return exec_err!("{value} lies outside of what a column is said to hold");
            };
            if *place == NONE {
                *place = self.values.len() as u32;
                self.values.push(Some(value));
            }
            out.push(*place as usize);
        }
        Ok(())
    }

    fn values<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(&self) -> ArrayRef {
        let value = |value: &Option<i64>| value.and_then(|value| T::Native::try_from(value).ok());
        Arc::new(self.values.iter().map(value).collect::<PrimitiveArray<T>>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::{DictionaryArray, Int32Array};
    use gridhouse_base::random::Random;

    use super::*;

    /// What each row of `columns` is said to be, by way of its number; numbers without a row must be marked.
    fn said(numbering: &mut Numbering, columns: &[ArrayRef], data_type: &DataType) -> Vec<Option<String>> {
        let mut numbers = Vec::new();
        let mut some = Vec::new();
        for column in columns {
            numbering.number(column, &mut some).unwrap();
            assert_eq!(some.len(), column.len());
            numbers.append(&mut some);
        }
        let (values, seen) = numbering.values(data_type).unwrap();
        assert_eq!((values.len(), values.data_type()), (numbering.len(), data_type));
        for number in 0..numbering.len() {
            assert_eq!(seen.as_ref().is_none_or(|seen| seen.value(number)), numbers.contains(&number), "{number}");
        }
        let text = |number: &usize| match values.as_string_opt::<i32>() {
            _ if values.is_null(*number) => None,
            Some(texts) => Some(texts.value(*number).to_owned()),
            None => Some(values.as_primitive::<Int32Type>().value(*number).to_string()),
        };
        let distinct: BTreeMap<Option<String>, usize> = numbers.iter().map(|number| (text(number), *number)).collect();
        assert!(numbers.iter().all(|number| distinct[&text(number)] == *number), "a value has one number");
        numbers.iter().map(text).collect()
    }

    #[test]
    fn texts_have_one_number_however_they_come() {
        let mut random = Random::new(3);
        let mut numbering = Numbering::of_texts();
        for _ in 0..2 {
            let (mut columns, mut expected): (Vec<ArrayRef>, Vec<Option<String>>) = (Vec::new(), Vec::new());
            let mut texts: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "b"]));
            for round in 0..40 {
                if round % 3 == 0 {
                    let name = |i: i32| if i == 0 { String::new() } else { format!("name {}", random.below(500)) };
                    let mut some: Vec<String> = (0..200).map(name).collect();
                    some.sort();
                    some.dedup();
                    texts = Arc::new(StringArray::from(some));
                }
                let codes: Int32Array =
                    (0..70).map(|_| random.chance(0.8).then(|| random.below(texts.len() as u64) as i32)).collect();
                let rows = DictionaryArray::new(codes, texts.clone());
                let plain: StringArray = rows.downcast_dict::<StringArray>().unwrap().into_iter().collect();
                expected.extend(plain.iter().map(|text| text.map(str::to_owned)));
                let is_plain = round % 4 == 1;
                columns.push(if is_plain { Arc::new(plain) } else { Arc::new(rows) });
            }
            assert_eq!(said(&mut numbering, &columns, &DataType::Utf8), expected);
            numbering.clear();
            assert_eq!(numbering.len(), 0);
        }
    }

    #[test]
    fn whole_numbers_have_one_number_and_nothing_lies_outside() {
        let mut numbering = Numbering::of_whole(-3, 4);
        let rows = vec![Some(4), None, Some(-3), Some(4), None, Some(0)];
        let column: ArrayRef = Arc::new(Int32Array::from(rows.clone()));
        let expected: Vec<Option<String>> = rows.iter().map(|row| row.map(|row| row.to_string())).collect();
        assert_eq!(
            said(&mut numbering, &[column.clone(), column.clone()], &DataType::Int32),
            [expected.clone(), expected].concat()
        );
        for outside in [-4, 5, i32::MIN, i32::MAX] {
            let column: ArrayRef = Arc::new(Int32Array::from(vec![outside]));
            assert!(numbering.number(&column, &mut Vec::new()).is_err());
        }
    }
}
