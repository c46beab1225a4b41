//! Columns as bytes: the form that rows have in the log.
//!
//! Not Arrow IPC, whose smallest batch is ten times the size of a one-row frame. Every buffer is little-endian and starts
//! at a multiple of its element's width (8 at most), counted from the start of the frame's payload; `docs/formats.md` has
//! the byte table. Decoding trusts nothing: whatever the bytes are, it returns rows or `Corrupt`, never panics, and takes
//! memory in proportion to the bytes (at most 128 times as much: a column of NULL decimals has one bit per 16-byte value).

use arrow_array::{Array, ArrayRef, cast::AsArray, make_array, new_null_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;
use gridhouse_base::{Error, Result};

/// All rows have a value: no validity bits.
const NO_NULLS: u8 = 0;
/// Validity bits come first.
const SOME_NULLS: u8 = 1;
/// Every row is NULL: validity bits only.
const ALL_NULL: u8 = 2;

/// Appends `columns`, which have `rows` rows each.
pub(crate) fn encode_columns(columns: &[ArrayRef], out: &mut Vec<u8>) {
    let mut heads = Vec::with_capacity(columns.len());
    for column in columns {
        collect_heads(column.as_ref(), &mut heads);
    }
    put_u32(out, heads.len() as u32);
    out.extend_from_slice(&heads);
    for column in columns {
        encode_array(column.as_ref(), out);
    }
}

fn head_of(array: &dyn Array) -> u8 {
    match array.null_count() {
        0 => NO_NULLS,
        nulls if nulls == array.len() => ALL_NULL,
        _ => SOME_NULLS,
    }
}

/// The part of a list's or map's child array that its rows use.
fn used_child(array: &dyn Array) -> (Vec<i32>, ArrayRef) {
    let (offsets, child): (&[i32], ArrayRef) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (list.value_offsets(), list.values().clone())
        }
        _ => {
            let map = array.as_map();
            (map.value_offsets(), std::sync::Arc::new(map.entries().clone()))
        }
    };
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    (offsets.iter().map(|offset| offset - first).collect(), child.slice(first as usize, (last - first) as usize))
}

fn collect_heads(array: &dyn Array, heads: &mut Vec<u8>) {
    let head = head_of(array);
    heads.push(head);
    if head == ALL_NULL {
        return;
    }
    match array.data_type() {
        DataType::List(_) | DataType::Map(_, _) => collect_heads(used_child(array).1.as_ref(), heads),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().for_each(|child| collect_heads(child.as_ref(), heads))
        }
        _ => {}
    }
}

fn encode_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let packed = bits.sliced();
    let bytes = bits.len().div_ceil(8);
    out.extend_from_slice(&packed.as_slice()[..bytes]);
    if !bits.len().is_multiple_of(8) {
        *out.last_mut().expect("there is a last byte") &= (1 << (bits.len() % 8)) - 1;
    }
}

fn encode_offsets(offsets: &[i32], out: &mut Vec<u8>) {
    align(out, 4);
    let first = offsets[0];
    out.reserve(offsets.len() * 4);
    for offset in offsets {
        out.extend_from_slice(&(offset - first).to_le_bytes());
    }
}

fn encode_array(array: &dyn Array, out: &mut Vec<u8>) {
    let head = head_of(array);
    if let (SOME_NULLS | ALL_NULL, Some(nulls)) = (head, array.nulls()) {
        encode_bits(nulls.inner(), out);
    }
    if head == ALL_NULL {
        return;
    }
    match array.data_type() {
        DataType::Boolean => encode_bits(array.as_boolean().values(), out),
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            encode_offsets(text.value_offsets(), out);
            out.extend_from_slice(used_bytes(text.value_offsets(), text.value_data()));
        }
        DataType::Binary => {
            let binary = array.as_binary::<i32>();
            encode_offsets(binary.value_offsets(), out);
            out.extend_from_slice(used_bytes(binary.value_offsets(), binary.value_data()));
        }
        DataType::List(_) | DataType::Map(_, _) => {
            let (offsets, child) = used_child(array);
            encode_offsets(&offsets, out);
            encode_array(child.as_ref(), out);
        }
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|child| encode_array(child.as_ref(), out)),
        DataType::Null => {}
        other => {
            let width = other.primitive_width().expect("every other SQL type has a fixed width");
            align(out, width.min(8));
            let data = array.to_data();
            let bytes = data.buffers()[0].as_slice();
            out.extend_from_slice(&bytes[data.offset() * width..(data.offset() + data.len()) * width]);
        }
    }
}

fn used_bytes<'a>(offsets: &[i32], bytes: &'a [u8]) -> &'a [u8] {
    &bytes[offsets[0] as usize..offsets[offsets.len() - 1] as usize]
}

/// Reads the columns of `types`, `rows` rows each.
pub(crate) fn decode_columns(types: &[DataType], rows: usize, input: &mut Input<'_>) -> Result<Vec<ArrayRef>> {
    let count = input.u32()? as usize;
    let mut heads = input.bytes(count)?.iter().copied();
    let columns = types.iter().map(|t| decode_array(t, rows, &mut heads, input)).collect::<Result<Vec<_>>>()?;
    if heads.next().is_some() {
        return Err(damaged("columns have more heads than arrays"));
    }
    Ok(columns)
}

fn decode_bits(rows: usize, input: &mut Input<'_>) -> Result<BooleanBuffer> {
    let bytes = input.bytes(rows.div_ceil(8))?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, rows))
}

fn decode_offsets(rows: usize, input: &mut Input<'_>) -> Result<(Buffer, usize)> {
    input.align(4)?;
    let count = rows.checked_add(1).ok_or_else(|| damaged("an array has too many rows"))?;
    let buffer = aligned(input.bytes(count.checked_mul(4).ok_or_else(|| damaged("an array has too many rows"))?)?);
    let offsets = ScalarBuffer::<i32>::new(buffer.clone(), 0, count);
    if offsets[0] != 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(damaged("offsets of an array do not ascend from zero"));
    }
    Ok((buffer, offsets[rows] as usize))
}

/// A copy that starts at an address fit for every type.
fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

fn decode_array(
    data_type: &DataType,
    rows: usize,
    heads: &mut dyn Iterator<Item = u8>,
    input: &mut Input<'_>,
) -> Result<ArrayRef> {
    let head = heads.next().ok_or_else(|| damaged("columns have fewer heads than arrays"))?;
    if head > ALL_NULL {
        return Err(damaged("the head of a column is unknown"));
    }
    let nulls = if head == NO_NULLS || *data_type == DataType::Null {
        None
    } else {
        Some(NullBuffer::new(decode_bits(rows, input)?))
    };
    if head == ALL_NULL {
        if nulls.is_some_and(|nulls| nulls.null_count() != rows) {
            return Err(damaged("a column of NULLs holds a value"));
        }
        return Ok(new_null_array(data_type, rows));
    }
    let mut buffers = Vec::new();
    let mut children = Vec::new();
    match data_type {
        DataType::Boolean => buffers.push(decode_bits(rows, input)?.into_inner()),
        DataType::Utf8 | DataType::Binary => {
            let (offsets, length) = decode_offsets(rows, input)?;
            buffers.push(offsets);
            buffers.push(Buffer::from(input.bytes(length)?));
        }
        DataType::List(field) | DataType::Map(field, _) => {
            let (offsets, length) = decode_offsets(rows, input)?;
            buffers.push(offsets);
            children.push(decode_array(field.data_type(), length, heads, input)?.to_data());
        }
        DataType::Struct(fields) => {
            for field in fields {
                children.push(decode_array(field.data_type(), rows, heads, input)?.to_data());
            }
        }
        DataType::Null => {}
        other => {
            let width = other.primitive_width().ok_or_else(|| damaged("a column has a type that is never stored"))?;
            input.align(width.min(8))?;
            let length = rows.checked_mul(width).ok_or_else(|| damaged("an array has too many rows"))?;
            buffers.push(aligned(input.bytes(length)?));
        }
    }
    let nulls = nulls.map(|nulls| nulls.into_inner().into_inner());
    let data = ArrayData::try_new(data_type.clone(), rows, nulls, 0, buffers, children);
    data.map(make_array).map_err(|error| damaged("a column is not well formed").caused_by(error))
}

/// `Corrupt` with a message that the caller puts file and offset in front of.
pub(crate) fn damaged(message: &str) -> Error {
    Error::corrupt(message)
}

/// Pads `out` with zeros to a multiple of `width`.
pub(crate) fn align(out: &mut Vec<u8>, width: usize) {
    out.resize(out.len().next_multiple_of(width), 0);
}

/// Appends a little-endian `u16`.
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a little-endian `u32`.
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a little-endian `u64`.
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length (`u32`) and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).expect("callers check lengths"));
    out.extend_from_slice(bytes);
}

/// A reader of a frame's payload that never runs past its end.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all bytes have been read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes have not been read yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| damaged("a frame ends in the middle of a value"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("exactly so many bytes were taken"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian `u16`.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bytes after their length.
    pub fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    /// Text after its length.
    pub fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.sized()?).map_err(|error| damaged("a text is not UTF-8").caused_by(error))
    }

    /// Skips padding to a multiple of `width`.
    pub fn align(&mut self, width: usize) -> Result<()> {
        self.bytes(self.at.next_multiple_of(width) - self.at).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;
    use gridhouse_base::{ErrorKind, Field, TypeKind, Value};

    use super::*;

    fn sample() -> (Vec<TypeKind>, Vec<ArrayRef>) {
        let int = TypeKind::Int.nullable();
        let kinds = vec![
            TypeKind::Boolean,
            TypeKind::BigInt,
            TypeKind::STRING,
            TypeKind::BYTES,
            TypeKind::Decimal { precision: 38, scale: 6 },
            TypeKind::TimestampLtz(3),
            TypeKind::Array(Box::new(int.clone())),
            TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(int.clone())),
            TypeKind::Row(vec![Field { name: "a".into(), sql_type: int }]),
            TypeKind::SmallInt,
        ];
        let row = |i: i64| {
            vec![
                Value::Boolean(i % 2 == 0),
                Value::Integer(i),
                Value::Text(format!("变电站 {i}").into()),
                Value::Bytes(vec![i as u8; i as usize].into()),
                Value::Decimal(-i128::from(i) << 70),
                Value::Integer(i * 1000),
                Value::Array(vec![Value::Integer(i), Value::Null]),
                Value::Map(vec![(Value::Text("k".into()), Value::Integer(i))]),
                Value::Row(vec![Value::Integer(i)]),
                Value::Null,
            ]
        };
        let rows: Vec<Vec<Value>> = (0..11).map(|i| if i == 4 { vec![Value::Null; 10] } else { row(i) }).collect();
        let column =
            |(c, kind): (usize, &TypeKind)| Value::array_of(&rows.iter().map(|row| &row[c]).collect::<Vec<_>>(), kind);
        let columns = kinds.iter().enumerate().map(column).collect();
        (kinds, columns)
    }

    fn decode(kinds: &[TypeKind], rows: usize, bytes: &[u8]) -> Result<Vec<ArrayRef>> {
        let types: Vec<DataType> = kinds.iter().map(TypeKind::arrow).collect();
        decode_columns(&types, rows, &mut Input::new(bytes))
    }

    #[test]
    fn every_type_survives_whole_and_sliced() {
        let (kinds, columns) = sample();
        for (from, len) in [(0, 11), (3, 5), (4, 1), (10, 1), (11, 0)] {
            let columns: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, len)).collect();
            let mut bytes = Vec::new();
            encode_columns(&columns, &mut bytes);
            let back = decode(&kinds, len, &bytes).unwrap();
            for ((a, b), kind) in columns.iter().zip(&back).zip(&kinds) {
                for row in 0..len {
                    assert_eq!(Value::from_array(a, row, kind), Value::from_array(b, row, kind), "{kind} row {row}");
                }
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_without_panic() {
        let (kinds, columns) = sample();
        let mut bytes = Vec::new();
        encode_columns(&columns, &mut bytes);
        let mut random = Random::new(3);
        for _ in 0..3000 {
            let mut hostile = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(hostile.len() as u64) as usize;
                hostile[at] = random.bits() as u8;
            }
            hostile.truncate(random.below(hostile.len() as u64 + 1) as usize + 40);
            let rows = if random.chance(0.1) { random.below(u64::from(u32::MAX)) as usize } else { 11 };
            if let Err(error) = decode(&kinds, rows, &hostile) {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn one_row_is_small() {
        let kinds = [TypeKind::BigInt, TypeKind::Double, TypeKind::Timestamp(6), TypeKind::STRING];
        let values = [Value::Integer(1), Value::Double(0.5), Value::Integer(7), Value::Text("line-1".into())];
        let columns: Vec<ArrayRef> = kinds.iter().zip(&values).map(|(k, v)| v.to_array(k, 1)).collect();
        let mut bytes = Vec::new();
        encode_columns(&columns, &mut bytes);
        assert!(bytes.len() <= 4 + 4 + 24 + 8 + 6, "{} bytes", bytes.len());
    }
}
