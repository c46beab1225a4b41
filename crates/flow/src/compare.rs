//! Rows hashed and compared where they lie in their columns, without being turned into bytes first.
//!
//! Two rows are equal here if `arrow-row` gives them the same bytes: NULL equals NULL, floats are compared by their bits (so
//! the two zeros differ), maps as the lists of their entries. Values of nested types do go through row bytes, column by
//! column.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::Result;

use crate::hash::{HashMode, fold_in};
use crate::rows::{EncodedRows, RowCodec};

/// What stands for a NULL in a hash.
const NULL_WORD: u64 = 0x510e_527f_ade6_82d1;

/// Columns whose rows are to be compared.
pub(crate) struct Comparison {
    columns: Vec<Column>,
    len: usize,
}

struct Column {
    values: Values,
    nulls: Option<NullBuffer>,
}

enum Values {
    /// A column of bare NULLs: all are equal.
    Nothing,
    Bits(BooleanBuffer),
    /// Values of 1, 2, 4, 8 or 16 bytes.
    Fixed(ArrayData, usize),
    /// Texts and bytes: offsets and what they point into.
    Bytes(ArrayData),
    Rows(EncodedRows),
}

impl Comparison {
    /// A comparison of the rows of `columns`, which have `len` of them.
    pub fn of(columns: &[ArrayRef], len: usize) -> Result<Self> {
        Ok(Self { columns: columns.iter().map(Column::of).collect::<Result<_>>()?, len })
    }

    /// The hash of every row.
    pub fn hashes(&self, mode: HashMode) -> Vec<u64> {
        let HashMode::Seeded(seed) = mode else { return vec![0; self.len] };
        let mut hashes = vec![mode.words([seed]); self.len];
        self.columns.iter().for_each(|column| column.add_to(&mut hashes, mode));
        hashes
    }

    /// Whether two rows are equal.
    #[inline]
    pub fn equal(&self, a: usize, b: usize) -> bool {
        self.columns.iter().all(|column| column.equal(a, b))
    }
}

impl Column {
    fn of(column: &ArrayRef) -> Result<Self> {
        let values = match column.data_type() {
            DataType::Null => Values::Nothing,
            DataType::Boolean => Values::Bits(column.as_boolean().values().clone()),
            DataType::Utf8 | DataType::Binary => Values::Bytes(column.to_data()),
            other => match other.primitive_width() {
                Some(width @ (1 | 2 | 4 | 8 | 16)) => Values::Fixed(column.to_data(), width),
                _ => {
                    let codec = RowCodec::new([(other.clone(), SortOptions::default())])?;
                    Values::Rows(codec.encode(std::slice::from_ref(column))?)
                }
            },
        };
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Ok(Self { values, nulls })
    }

    fn add_to(&self, hashes: &mut [u64], mode: HashMode) {
        macro_rules! add {
            ($word:expr) => {{
                let word = $word;
                match &self.nulls {
                    None => hashes.iter_mut().enumerate().for_each(|(i, hash)| *hash = fold_in(*hash, word(i))),
                    Some(nulls) => hashes.iter_mut().enumerate().for_each(|(i, hash)| {
                        *hash = fold_in(*hash, if nulls.is_valid(i) { word(i) } else { NULL_WORD });
                    }),
                }
            }};
        }
        macro_rules! add_fixed {
            ($data:expr, $t:ty) => {{
                let values = &$data.buffer::<$t>(0)[..hashes.len()];
                add!(|i: usize| u64::from(values[i]))
            }};
        }
        match &self.values {
            Values::Nothing => {}
            Values::Bits(bits) => add!(|i| u64::from(bits.value(i))),
            Values::Fixed(data, 1) => add_fixed!(data, u8),
            Values::Fixed(data, 2) => add_fixed!(data, u16),
            Values::Fixed(data, 4) => add_fixed!(data, u32),
            Values::Fixed(data, 8) => add_fixed!(data, u64),
            Values::Fixed(data, _) => {
                let values = &data.buffer::<u128>(0)[..hashes.len()];
                add!(|i: usize| fold_in(values[i] as u64, (values[i] >> 64) as u64))
            }
            Values::Bytes(data) => {
                let (offsets, bytes) = (data.buffer::<i32>(0), data.buffers()[1].as_slice());
                add!(|i: usize| mode.bytes(&bytes[offsets[i] as usize..offsets[i + 1] as usize]))
            }
            Values::Rows(rows) => add!(|i| mode.bytes(rows.row(i))),
        }
    }

    #[inline]
    fn equal(&self, a: usize, b: usize) -> bool {
        if let Some(nulls) = &self.nulls {
            match (nulls.is_valid(a), nulls.is_valid(b)) {
                (true, true) => {}
                (x, y) => return x == y,
            }
        }
        fn same<T: arrow_buffer::ArrowNativeType + PartialEq>(data: &ArrayData, a: usize, b: usize) -> bool {
            let values = data.buffer::<T>(0);
            values[a] == values[b]
        }
        match &self.values {
            Values::Nothing => true,
            Values::Bits(bits) => bits.value(a) == bits.value(b),
            Values::Fixed(data, 1) => same::<u8>(data, a, b),
            Values::Fixed(data, 2) => same::<u16>(data, a, b),
            Values::Fixed(data, 4) => same::<u32>(data, a, b),
            Values::Fixed(data, 8) => same::<u64>(data, a, b),
            Values::Fixed(data, _) => same::<i128>(data, a, b),
            Values::Bytes(data) => {
                let (offsets, bytes) = (data.buffer::<i32>(0), data.buffers()[1].as_slice());
                let value = |i: usize| &bytes[offsets[i] as usize..offsets[i + 1] as usize];
                value(a) == value(b)
            }
            Values::Rows(rows) => rows.row(a) == rows.row(b),
        }
    }
}
