//! Keys of fixed-width columns as one to three words.
//!
//! Columns lie side by side, widest first, then a bit per column that says NULL. So equal keys are equal words, and two
//! NULLs are equal. A single 8-byte column keeps its NULL outside, so that it needs one word only.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use gridhouse_base::Result;

/// Where each column of a fixed-width key lies in its words.
#[derive(Clone)]
pub(crate) struct Packing {
    /// One to three.
    pub words: usize,
    /// The columns, in the key's order.
    pub columns: Vec<Packed>,
    /// Whether NULL of the only column is kept outside the word.
    pub null_outside: bool,
}

/// One column's place.
#[derive(Clone)]
pub(crate) struct Packed {
    data_type: DataType,
    /// Width of the value in bits; 1 for BOOLEAN.
    bits: usize,
    word: usize,
    shift: usize,
    /// Word and bit that say whether the value is NULL.
    pub null_word: usize,
    pub null_shift: usize,
}

impl Packing {
    /// `None` where a column has no fixed width or the key is longer than three words.
    pub fn of(types: &[DataType]) -> Option<Self> {
        let width = |t: &DataType| match t {
            DataType::Boolean => Some(1),
            other => other.primitive_width().map(|bytes| bytes * 8),
        };
        let widths: Vec<usize> = types.iter().map(width).collect::<Option<_>>()?;
        if widths.iter().any(|&bits| bits > 128) {
            return None;
        }
        // Widest first: then no value straddles a word except the 128-bit ones, which fill two.
        let mut order: Vec<usize> = (0..types.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(widths[i]));
        let mut places = vec![0; types.len()];
        let mut used = 0;
        for &i in &order {
            places[i] = used;
            used += widths[i];
        }
        let null_outside = types.len() == 1 && widths[0] == 64;
        let null_base = used;
        if !null_outside {
            used += types.len();
        }
        if used > 192 {
            return None;
        }
        let columns = types.iter().enumerate().map(|(i, data_type)| Packed {
            data_type: data_type.clone(),
            bits: widths[i],
            word: places[i] / 64,
            shift: places[i] % 64,
            null_word: (null_base + i) / 64,
            null_shift: (null_base + i) % 64,
        });
        Some(Self { words: used.div_ceil(64).max(1), columns: columns.collect(), null_outside })
    }

    /// The keys of all rows; NULL is a zero value with its bit set.
    pub fn pack<const N: usize>(&self, columns: &[ArrayRef], len: usize) -> Vec<[u64; N]> {
        let mut keys = vec![[0_u64; N]; len];
        for (packed, column) in self.columns.iter().zip(columns) {
            packed.pack(column, &mut keys, self.null_outside);
        }
        keys
    }
}

impl Packed {
    /// Puts another number into a UINT32 column of a key.
    pub fn replace_u32<const N: usize>(&self, key: &mut [u64; N], value: u32) {
        debug_assert_eq!(self.bits, 32, "the column holds a number of 32 bits");
        let cleared = key[self.word] & !(u64::from(u32::MAX) << self.shift);
        key[self.word] = cleared | u64::from(value) << self.shift;
    }

    fn pack<const N: usize>(&self, column: &ArrayRef, keys: &mut [[u64; N]], null_outside: bool) {
        let data = column.to_data();
        let (word, shift) = (self.word, self.shift);
        macro_rules! put {
            ($t:ty) => {{
                let values = data.buffer::<$t>(0);
                match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                    None => keys.iter_mut().zip(values).for_each(|(key, &v)| key[word] |= u64::from(v) << shift),
                    Some(nulls) => {
                        for (i, key) in keys.iter_mut().enumerate() {
                            if nulls.is_valid(i) {
                                key[word] |= u64::from(values[i]) << shift;
                            }
                        }
                    }
                }
            }};
        }
        match self.bits {
            1 => {
                let values = column.as_boolean();
                for (i, key) in keys.iter_mut().enumerate() {
                    key[word] |= u64::from(values.is_valid(i) && values.value(i)) << shift;
                }
            }
            8 => put!(u8),
            16 => put!(u16),
            32 => put!(u32),
            64 => put!(u64),
            _ => {
                let values = data.buffer::<i128>(0);
                for (i, key) in keys.iter_mut().enumerate() {
                    if column.is_valid(i) {
                        key[word] = values[i] as u64;
                        key[word + 1] = (values[i] >> 64) as u64;
                    }
                }
            }
        }
        if column.null_count() > 0 && !null_outside {
            for (i, key) in keys.iter_mut().enumerate() {
                key[self.null_word] |= u64::from(column.is_null(i)) << self.null_shift;
            }
        }
    }

    /// The column's values in `keys`, NULL where `nulls` says so.
    pub fn unpack<const N: usize>(&self, keys: &[[u64; N]], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let (word, shift) = (self.word, self.shift);
        macro_rules! get {
            ($t:ty) => {
                Buffer::from_vec(keys.iter().map(|key| (key[word] >> shift) as $t).collect::<Vec<$t>>())
            };
        }
        let buffer = match self.bits {
            1 => {
                let values = BooleanBuffer::collect_bool(keys.len(), |i| (keys[i][word] >> shift) & 1 == 1);
                return Ok(Arc::new(BooleanArray::new(values, nulls)));
            }
            8 => get!(u8),
            16 => get!(u16),
            32 => get!(u32),
            64 => get!(u64),
            _ => {
                let value = |key: &[u64; N]| (u128::from(key[word + 1]) << 64 | u128::from(key[word])) as i128;
                Buffer::from_vec(keys.iter().map(value).collect::<Vec<i128>>())
            }
        };
        let data = ArrayData::builder(self.data_type.clone()).len(keys.len()).add_buffer(buffer).nulls(nulls);
        Ok(make_array(data.build().map_err(crate::rows::arrow)?))
    }
}
