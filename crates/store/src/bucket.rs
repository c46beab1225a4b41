//! Which bucket a row belongs to: the same as in Fluss when its lake format is Paimon, so that a row's bucket is the same
//! here, on a Fluss cluster and in the Paimon table that it is tiered to.
//!
//! The bucket key is laid out as a Paimon `BinaryRow` (a row-kind byte and null bits, padded to 8 bytes; then 8 bytes per
//! field; then longer values, each padded to 8 bytes) and hashed with Murmur3 (32 bits, seed 42, whole little-endian
//! words, no tail); the bucket is the absolute value of the signed remainder by `bucket.num`. Sources of the layout:
//! Apache Paimon's `BinaryRow` and `AbstractBinaryWriter`, and Apache Fluss's `PaimonKeyEncoder` and
//! `PaimonBucketingFunction`. Values of text columns are hashed as they are stored.

use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use arrow_data::ArrayData;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, TypeKind};

use crate::spec::TableSpec;

/// The seed that Flink, Fluss and Paimon share.
const MURMUR_SEED: u32 = 42;

/// Values of at most this many bytes are kept in the field's own 8 bytes.
const MAX_INLINE_BYTES: usize = 7;

/// Decimals of at most this precision are kept as a 64-bit number.
const MAX_COMPACT_DECIMAL: u8 = 18;

/// Assigns rows to buckets.
#[derive(Clone, Debug)]
pub(crate) struct BucketFunction {
    count: u16,
    columns: Vec<usize>,
    forms: Vec<FieldForm>,
}

/// How a field is laid out.
#[derive(Clone, Copy, Debug)]
enum FieldForm {
    Boolean,
    /// The value's little-endian bytes, at most 8.
    Plain,
    Bytes,
    CompactDecimal,
    WideDecimal,
    /// A timestamp of precision at most 3: its milliseconds.
    Millis,
    /// A finer timestamp with this many units in a millisecond.
    Fine(i64),
}

impl BucketFunction {
    /// The bucket function of `spec`.
    pub fn new(spec: &TableSpec) -> Result<Self> {
        let columns = spec.bucket_columns().to_vec();
        let mut forms = Vec::with_capacity(columns.len());
        for &i in &columns {
            let column = &spec.schema.columns[i];
            forms.push(match &column.sql_type.kind {
                TypeKind::Boolean => FieldForm::Boolean,
                TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => FieldForm::Plain,
                TypeKind::Float | TypeKind::Double | TypeKind::Date | TypeKind::Time(_) => FieldForm::Plain,
                TypeKind::Decimal { precision, .. } if *precision <= MAX_COMPACT_DECIMAL => FieldForm::CompactDecimal,
                TypeKind::Decimal { .. } => FieldForm::WideDecimal,
                TypeKind::Char(_) | TypeKind::Varchar(_) | TypeKind::Binary(_) | TypeKind::Varbinary(_) => {
                    FieldForm::Bytes
                }
                TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => match timestamp_units_per_second(*p) / 1000 {
                    1 => FieldForm::Millis,
                    units => FieldForm::Fine(units),
                },
                other => {
                    return Err(Error::invalid(format!(
                        "table {}: column {} of type {other} cannot be part of the bucket key",
                        spec.name, column.name
                    )));
                }
            });
        }
        Ok(Self { count: spec.bucket_count, columns, forms })
    }

    /// The columns that decide, by their numbers in the table.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether the row's values decide its bucket; if not, [`BucketFunction::of_commit`] does.
    pub fn is_by_value(&self) -> bool {
        self.count > 1 && !self.columns.is_empty()
    }

    /// The bucket of all rows of a commit where no column decides.
    pub fn of_commit(&self, commit: u64) -> u16 {
        (commit % u64::from(self.count)) as u16
    }

    /// The bucket of every row; `columns` are the deciding columns, in order.
    pub fn buckets(&self, columns: &[ArrayRef]) -> Vec<u16> {
        let data: Vec<ArrayData> = columns.iter().map(|column| column.to_data()).collect();
        let rows = columns.first().map_or(0, |column| column.len());
        let mut row_bytes = Vec::new();
        let bucket = |row| {
            self.layout(columns, &data, row, &mut row_bytes);
            let hash = murmur3(&row_bytes) as i32;
            (i64::from(hash) % i64::from(self.count)).unsigned_abs() as u16
        };
        (0..rows).map(bucket).collect()
    }

    /// Lays out row `row` into `out`.
    fn layout(&self, columns: &[ArrayRef], data: &[ArrayData], row: usize, out: &mut Vec<u8>) {
        let null_bytes = (self.forms.len() + 63 + 8) / 64 * 8;
        out.clear();
        out.resize(null_bytes + 8 * self.forms.len(), 0);
        for (i, (column, form)) in columns.iter().zip(&self.forms).enumerate() {
            let slot = null_bytes + 8 * i;
            if column.is_null(row) {
                // The first byte is the row kind, which is +I (zero) in a key.
                out[(i + 8) / 8] |= 1 << ((i + 8) % 8);
                continue;
            }
            match form {
                FieldForm::Boolean => out[slot] = u8::from(column.as_boolean().value(row)),
                FieldForm::Plain => {
                    let bytes = fixed_bytes(&data[i], row);
                    out[slot..slot + bytes.len()].copy_from_slice(bytes);
                }
                FieldForm::Millis => out[slot..slot + 8].copy_from_slice(fixed_bytes(&data[i], row)),
                FieldForm::Fine(units_per_milli) => {
                    let units =
                        i64::from_le_bytes(fixed_bytes(&data[i], row).try_into().expect("timestamps have 8 bytes"));
                    let nanos = units.rem_euclid(*units_per_milli) * (1_000_000 / units_per_milli);
                    put_reference(out, slot, nanos as u32);
                    out.extend_from_slice(&units.div_euclid(*units_per_milli).to_le_bytes());
                }
                FieldForm::CompactDecimal => {
                    let value = column.as_primitive::<at::Decimal128Type>().value(row) as i64;
                    out[slot..slot + 8].copy_from_slice(&value.to_le_bytes());
                }
                FieldForm::WideDecimal => {
                    let value = column.as_primitive::<at::Decimal128Type>().value(row);
                    let bytes = value.to_be_bytes();
                    let minimal = minimal_twos_complement(&bytes);
                    put_reference(out, slot, minimal.len() as u32);
                    out.extend_from_slice(minimal);
                    out.resize(out.len() + 16 - minimal.len(), 0);
                }
                FieldForm::Bytes => put_bytes(out, slot, variable_bytes(&data[i], row)),
            }
        }
    }
}

fn fixed_bytes(data: &ArrayData, row: usize) -> &[u8] {
    let width = data.data_type().primitive_width().expect("the column has a fixed width");
    let start = (data.offset() + row) * width;
    &data.buffers()[0].as_slice()[start..start + width]
}

fn variable_bytes(data: &ArrayData, row: usize) -> &[u8] {
    let offsets = data.buffer::<i32>(0);
    &data.buffers()[1].as_slice()[offsets[row] as usize..offsets[row + 1] as usize]
}

/// Writes where the value's bytes begin (the end of `out`) and their number into the field.
fn put_reference(out: &mut [u8], slot: usize, size: u32) {
    let reference = ((out.len() as u64) << 32) | u64::from(size);
    out[slot..slot + 8].copy_from_slice(&reference.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, slot: usize, value: &[u8]) {
    if value.len() <= MAX_INLINE_BYTES {
        out[slot..slot + value.len()].copy_from_slice(value);
        out[slot + 7] = 0x80 | value.len() as u8;
        return;
    }
    put_reference(out, slot, value.len() as u32);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// The shortest big-endian two's complement form, at least one byte, as Java's `BigInteger.toByteArray`.
fn minimal_twos_complement(bytes: &[u8; 16]) -> &[u8] {
    let redundant = |i: usize| {
        let filler = if bytes[i + 1] & 0x80 == 0 { 0x00 } else { 0xff };
        bytes[i] == filler
    };
    let skip = (0..15).take_while(|&i| redundant(i)).count();
    &bytes[skip..]
}

/// Murmur3 with 32 bits over whole words; `bytes` has a multiple of 4 bytes.
fn murmur3(bytes: &[u8]) -> u32 {
    debug_assert_eq!(bytes.len() % 4, 0, "a binary row is padded to 8 bytes");
    let mut hash = MURMUR_SEED;
    for word in bytes.chunks_exact(4) {
        let mut mixed = u32::from_le_bytes(word.try_into().expect("a word has 4 bytes"));
        mixed = mixed.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, Int32Array, StringArray, TimestampMicrosecondArray};
    use gridhouse_base::{Column, Schema};

    use super::*;

    fn layout(kinds: &[TypeKind], columns: Vec<ArrayRef>) -> Vec<u8> {
        let fields =
            kinds.iter().enumerate().map(|(i, k)| Column::new(format!("c{i}"), k.clone().nullable())).collect();
        let mut spec = TableSpec::log("t", Schema::new(fields));
        spec.bucket_key = (0..kinds.len()).collect();
        let data: Vec<ArrayData> = columns.iter().map(|column| column.to_data()).collect();
        let mut out = Vec::new();
        BucketFunction::new(&spec).unwrap().layout(&columns, &data, 0, &mut out);
        out
    }

    /// Known answers from Apache Fluss: the hash of the empty string, and the buckets that its own tests expect for these
    /// bytes under Paimon's bucketing.
    #[test]
    fn murmur_gives_the_known_answers() {
        let bucket = |bytes: &[u8], n: i32| (murmur3(bytes) as i32 % n).abs();
        assert_eq!(murmur3(&[]), 0x087f_cd5c);
        assert_eq!(bucket(&[0, 10, 10, 10], 12), 11);
        assert_eq!(bucket(b"2bb87d68-baf9-4e64-90f9-f80910419fa6", 16), 12);
    }

    #[test]
    fn rows_are_laid_out_as_paimon_does() {
        let int = layout(&[TypeKind::Int], vec![Arc::new(Int32Array::from(vec![42]))]);
        assert_eq!(int, [[0u8; 8], [42, 0, 0, 0, 0, 0, 0, 0]].concat());

        let short = layout(&[TypeKind::STRING], vec![Arc::new(StringArray::from(vec!["hi"]))]);
        assert_eq!(short, [[0u8; 8], [b'h', b'i', 0, 0, 0, 0, 0, 0x82]].concat());

        let long = layout(&[TypeKind::STRING], vec![Arc::new(StringArray::from(vec!["substation"]))]);
        assert_eq!(long[8..16], [10, 0, 0, 0, 16, 0, 0, 0]);
        assert_eq!(&long[16..], b"substation\0\0\0\0\0\0");

        let null = layout(
            &[TypeKind::Int, TypeKind::Int],
            vec![Arc::new(Int32Array::from(vec![None])), Arc::new(Int32Array::from(vec![7]))],
        );
        assert_eq!(null, [[0u8, 1, 0, 0, 0, 0, 0, 0], [0; 8], [7, 0, 0, 0, 0, 0, 0, 0]].concat());

        let wide = TypeKind::Decimal { precision: 20, scale: 0 };
        let decimal = Decimal128Array::from(vec![-300]).with_precision_and_scale(20, 0).unwrap();
        let decimal = layout(&[wide], vec![Arc::new(decimal)]);
        assert_eq!(decimal[8..16], [2, 0, 0, 0, 16, 0, 0, 0]);
        assert_eq!(decimal[16..], [0xfe, 0xd4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

        let micros = layout(&[TypeKind::Timestamp(6)], vec![Arc::new(TimestampMicrosecondArray::from(vec![-1]))]);
        // One microsecond before the epoch is millisecond -1 and 999,000 ns.
        assert_eq!(micros[8..16], [0x58, 0x3e, 0x0f, 0, 16, 0, 0, 0]);
        assert_eq!(micros[16..], [0xff; 8]);
    }
}
