//! Primary keys as 128-bit numbers, which is all that the key index and point look-ups compare.
//!
//! A key of at most 8 bytes of fixed width is its own number, exactly. Every other key is hashed with SipHash-1-3 to 128
//! bits under keys that the store draws when it opens, so nobody outside can construct a collision, and an accidental one
//! among 10^9 keys has a probability below 10^-20. The numbers live in memory only and are never written to disk.

use std::hash::Hasher;

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, downcast_primitive};
use arrow_schema::DataType;
use gridhouse_base::{Error, Result, TypeKind};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::key_hash::KeyHasher;
use crate::spec::TableSpec;

/// Turns rows' primary-key columns into numbers.
#[derive(Clone, Debug)]
pub(crate) struct KeyCodec {
    table: String,
    names: Vec<String>,
    exact: bool,
    secret: [u64; 2],
}

/// Bytes of a value of `kind` if they are always the same number and at most 16.
fn fixed_width(kind: &TypeKind) -> Option<usize> {
    match kind {
        TypeKind::Boolean => Some(1),
        kind => kind.arrow().primitive_width(),
    }
}

impl KeyCodec {
    /// The codec of `spec`'s primary key.
    pub fn new(spec: &TableSpec, secret: [u64; 2]) -> Result<Self> {
        let mut total = 0;
        let mut names = Vec::new();
        for &i in &spec.primary_key {
            let column = &spec.schema.columns[i];
            let kind = &column.sql_type.kind;
            let width = fixed_width(kind);
            if width.is_none() && !kind.is_text() && !kind.is_bytes() {
                return Err(Error::invalid(format!(
                    "table {}: column {} of type {kind} cannot be part of a primary key",
                    spec.name, column.name
                )));
            }
            total += width.unwrap_or(usize::MAX / MAX_KEY_COLUMNS);
            names.push(column.name.clone());
        }
        if names.len() > MAX_KEY_COLUMNS {
            return Err(Error::invalid(format!(
                "table {}: a primary key has at most {MAX_KEY_COLUMNS} columns, this one has {}",
                spec.name,
                names.len()
            )));
        }
        Ok(Self { table: spec.name.clone(), names, exact: total <= 8, secret })
    }

    /// The hash by which keys are spread, in memory and in files.
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher::of_secret(self.secret)
    }

    /// Whether every key fits 64 bits exactly.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The keys of all rows; `columns` are the key columns in key order.
    ///
    /// # Errors
    /// `Invalid` if a key column holds NULL.
    pub fn keys(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        let rows = columns.first().map_or(0, |column| column.len());
        for (column, name) in columns.iter().zip(&self.names) {
            if column.null_count() > 0 {
                let row = (0..rows).find(|&row| column.is_null(row)).unwrap_or(0);
                return Err(Error::invalid(format!(
                    "table {}: key column {name} is NULL in row {} of {rows}",
                    self.table,
                    row + 1
                )));
            }
        }
        let parts: Vec<KeyPart<'_>> = columns.iter().map(|column| KeyPart::new(column.as_ref())).collect();
        Ok(if self.exact { exact_keys(&parts, rows) } else { self.hashed_keys(&parts, rows) })
    }

    fn hashed_keys(&self, parts: &[KeyPart<'_>], rows: usize) -> Vec<u128> {
        let mut scratch = Vec::new();
        let hash = |row| {
            scratch.clear();
            for part in parts {
                part.append(row, &mut scratch);
            }
            let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
            hasher.write(&scratch);
            hasher.finish128().as_u128()
        };
        (0..rows).map(hash).collect()
    }
}

/// The most columns in a primary key; far above what anyone declares, and it keeps the width sum from overflowing.
const MAX_KEY_COLUMNS: usize = 64;

fn exact_keys(parts: &[KeyPart<'_>], rows: usize) -> Vec<u128> {
    let mut keys = vec![0u128; rows];
    let mut shift = 0;
    for part in parts {
        match *part {
            KeyPart::Bits { array } => {
                for (row, key) in keys.iter_mut().enumerate() {
                    *key |= u128::from(array.value(row)) << shift;
                }
                shift += 8;
            }
            KeyPart::Fixed { bytes, width } => {
                for (key, value) in keys.iter_mut().zip(bytes.chunks_exact(width)) {
                    let mut wide = [0; 8];
                    wide[..width].copy_from_slice(value);
                    *key |= u128::from(u64::from_le_bytes(wide)) << shift;
                }
                shift += 8 * width;
            }
            KeyPart::Variable { .. } => unreachable!("an exact key has columns of fixed width only"),
        }
    }
    keys
}

/// One key column, its buffers laid bare.
enum KeyPart<'a> {
    Bits { array: &'a arrow_array::BooleanArray },
    Fixed { bytes: &'a [u8], width: usize },
    Variable { offsets: &'a [i32], bytes: &'a [u8] },
}

impl<'a> KeyPart<'a> {
    fn new(array: &'a dyn Array) -> Self {
        macro_rules! fixed {
            ($t:ty) => {{
                let values = array.as_primitive::<$t>().values();
                Self::Fixed { bytes: values.inner().as_slice(), width: size_of::<<$t as ArrowPrimitiveType>::Native>() }
            }};
        }
        downcast_primitive! {
            array.data_type() => (fixed),
            DataType::Boolean => Self::Bits { array: array.as_boolean() },
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                Self::Variable { offsets: texts.value_offsets(), bytes: texts.value_data() }
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>();
                Self::Variable { offsets: values.value_offsets(), bytes: values.value_data() }
            }
            other => unreachable!("no key has a column of {other}"),
        }
    }

    /// Appends an unambiguous form of the value: columns of variable width carry their length.
    fn append(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Bits { array } => out.push(u8::from(array.value(row))),
            Self::Fixed { bytes, width } => out.extend_from_slice(&bytes[row * width..(row + 1) * width]),
            Self::Variable { offsets, bytes } => {
                let value = &bytes[offsets[row] as usize..offsets[row + 1] as usize];
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array, StringArray};
    use gridhouse_base::{Column, ErrorKind, Schema};

    use super::*;

    fn codec(kinds: &[TypeKind]) -> KeyCodec {
        let columns =
            kinds.iter().enumerate().map(|(i, k)| Column::new(format!("k{i}"), k.clone().not_null())).collect();
        let spec = TableSpec::primary_key("t", Schema::new(columns), (0..kinds.len()).collect());
        KeyCodec::new(&spec, [1, 2]).unwrap()
    }

    #[test]
    fn short_keys_are_exact() {
        let codec = codec(&[TypeKind::Int, TypeKind::Int]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![1, -1])), Arc::new(Int32Array::from(vec![2, 0]))];
        assert!(codec.is_exact());
        assert_eq!(codec.keys(&columns).unwrap(), vec![0x0000_0002_0000_0001, 0xffff_ffff]);
        let sliced: Vec<ArrayRef> = columns.iter().map(|c| c.slice(1, 1)).collect();
        assert_eq!(codec.keys(&sliced).unwrap(), vec![0xffff_ffff]);
    }

    #[test]
    fn text_keys_do_not_run_into_each_other() {
        let codec = codec(&[TypeKind::STRING, TypeKind::STRING]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["a", "ab"])), Arc::new(StringArray::from(vec!["bc", "c"]))];
        let keys = codec.keys(&columns).unwrap();
        assert!(!codec.is_exact());
        assert_ne!(keys[0], keys[1]);
        let sliced: Vec<ArrayRef> = columns.iter().map(|c| c.slice(1, 1)).collect();
        assert_eq!(codec.keys(&sliced).unwrap(), keys[1..]);
    }

    #[test]
    fn null_in_a_key_is_refused() {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![Some(1), None]))];
        let error = codec(&[TypeKind::BigInt]).keys(&columns).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.message(), "table t: key column k0 is NULL in row 2 of 2");
    }
}
