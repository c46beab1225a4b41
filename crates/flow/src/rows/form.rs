//! Whether bytes are a row in `arrow-row`'s form.
//!
//! The decoder takes it for granted that bytes come from its own encoder, and panics where they do not. So rows that come
//! back from a disk are checked here first. The form, as `arrow-row` documents it: of every field a byte that says whether
//! it is NULL, then its value; a fixed width in order-preserving bytes; texts and bytes in blocks, four of 8 and then of
//! 32, each with a byte that says how much of it counts or that another follows; lists as such byte strings, one per
//! element, with an empty one at the end; rows field by field. In descending fields all bits but the NULL byte are turned.

use arrow_schema::{DataType, SortOptions};

/// The byte before a value of fixed width, and before a row.
const VALID: u8 = 1;

/// The byte of an empty string of bytes.
const EMPTY: u8 = 1;

/// The byte before a string of bytes that is not empty.
const NON_EMPTY: u8 = 2;

/// The second byte of a value of the type of bare NULL.
const NULL_VALUE: u8 = 3;

/// The byte behind a block that another follows.
const CONTINUED: u8 = 0xff;

/// The lengths of the first blocks and of those that follow.
const SHORT_BLOCK: usize = 8;
const SHORT_BLOCKS: usize = 4;
const LONG_BLOCK: usize = 32;

/// Whether `bytes` are a row of these fields, and nothing but that.
pub(super) fn is_row(fields: &[(DataType, SortOptions)], bytes: &[u8]) -> bool {
    let (mut rest, mut value) = (bytes, Vec::new());
    for (data_type, options) in fields {
        let Some(after) = skip(data_type, *options, rest, &mut value) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// What follows a field; `None` where the bytes are not one. `value` is scratch.
fn skip<'a>(data_type: &DataType, options: SortOptions, bytes: &'a [u8], value: &mut Vec<u8>) -> Option<&'a [u8]> {
    match data_type {
        DataType::Null => {
            let turn = if options.descending { 0xff } else { 0 };
            bytes.strip_prefix(&[NON_EMPTY ^ turn, NULL_VALUE ^ turn])
        }
        DataType::Utf8 | DataType::Binary => {
            let (_, rest) = string(options, bytes, value)?;
            (data_type == &DataType::Binary || std::str::from_utf8(value).is_ok()).then_some(rest)
        }
        DataType::List(element) => {
            let nulls_first = options.nulls_first != options.descending;
            let inner = [(element.data_type().clone(), SortOptions { descending: false, nulls_first })];
            let (mut kind, mut rest) = string(options, bytes, value)?;
            while kind == Kind::Filled {
                if !is_row(&inner, value) {
                    return None;
                }
                (kind, rest) = string(options, rest, value)?;
                if kind == Kind::Null {
                    return None;
                }
            }
            Some(rest)
        }
        DataType::Struct(fields) => {
            let mut rest = sentinel(options, bytes)?;
            for field in fields {
                rest = skip(field.data_type(), options, rest, value)?;
            }
            Some(rest)
        }
        DataType::Boolean => sentinel(options, bytes)?.get(1..),
        other => sentinel(options, bytes)?.get(other.primitive_width()?..),
    }
}

/// What follows the byte that says NULL or not.
fn sentinel(options: SortOptions, bytes: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = bytes.split_first()?;
    (first == VALID || first == null(options)).then_some(rest)
}

fn null(options: SortOptions) -> u8 {
    if options.nulls_first { 0 } else { 0xff }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Empty,
    Filled,
}

/// A string of bytes, put into `value`, and what follows it.
fn string<'a>(options: SortOptions, bytes: &'a [u8], value: &mut Vec<u8>) -> Option<(Kind, &'a [u8])> {
    value.clear();
    let turn = if options.descending { 0xff } else { 0 };
    let (&first, mut rest) = bytes.split_first()?;
    if first == null(options) {
        return Some((Kind::Null, rest));
    }
    match first ^ turn {
        EMPTY => return Some((Kind::Empty, rest)),
        NON_EMPTY => {}
        _ => return None,
    }
    for number in 0.. {
        let size = if number < SHORT_BLOCKS { SHORT_BLOCK } else { LONG_BLOCK };
        let block = rest.get(..size)?;
        let end = rest.get(size)? ^ turn;
        rest = &rest[size + 1..];
        let len = if end == CONTINUED { size } else { usize::from(end) };
        if len == 0 || len > size {
            return None;
        }
        value.extend(block[..len].iter().map(|byte| byte ^ turn));
        if end != CONTINUED {
            break;
        }
    }
    Some((Kind::Filled, rest))
}

#[cfg(test)]
mod tests {
    use arrow_array::ArrayRef;
    use gridhouse_base::random::Random;
    use gridhouse_base::{Field, TypeKind, Value};

    use crate::rows::RowCodec;

    use super::*;

    fn kinds() -> Vec<TypeKind> {
        let field = |name: &str, kind: TypeKind| Field { name: name.into(), sql_type: kind.nullable() };
        let row = TypeKind::Row(vec![field("a", TypeKind::Int), field("b", TypeKind::STRING)]);
        let list = TypeKind::Array(Box::new(row.clone().nullable()));
        let map = TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(TypeKind::BigInt.nullable()));
        vec![
            TypeKind::Boolean,
            TypeKind::TinyInt,
            TypeKind::BigInt,
            TypeKind::Double,
            TypeKind::Decimal { precision: 20, scale: 2 },
            TypeKind::STRING,
            TypeKind::Timestamp(6),
            row,
            list,
            map,
        ]
    }

    fn value(kind: &TypeKind, random: &mut Random) -> Value {
        if random.chance(0.2) {
            return Value::Null;
        }
        let number = random.between(-9, 9);
        match kind {
            TypeKind::Boolean => Value::Boolean(number > 0),
            TypeKind::Double => Value::Double(number as f64),
            TypeKind::Decimal { .. } => Value::Decimal(i128::from(number) << 60),
            TypeKind::Varchar(_) => Value::Text("站b".repeat(random.below(30) as usize).into()),
            TypeKind::Row(fields) => Value::Row(fields.iter().map(|f| value(&f.sql_type.kind, random)).collect()),
            TypeKind::Array(element) => {
                Value::Array((0..random.below(4)).map(|_| value(&element.kind, random)).collect())
            }
            TypeKind::Map(_, item) => {
                let key = |i: u64| Value::Text(format!("{i}").into());
                Value::Map((0..random.below(4)).map(|i| (key(i), value(&item.kind, random))).collect())
            }
            _ => Value::Integer(number),
        }
    }

    /// Every row that is encoded is one; changed bytes are either refused or can be decoded without a panic.
    #[test]
    fn encoded_rows_are_rows_and_whatever_passes_can_be_decoded() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let kinds = kinds();
            let options =
                |random: &mut Random| SortOptions { descending: random.chance(0.5), nulls_first: random.chance(0.5) };
            let fields: Vec<_> = kinds.iter().map(|kind| (kind.arrow(), options(&mut random))).collect();
            let codec = RowCodec::new(fields).unwrap();
            let columns: Vec<ArrayRef> = kinds
                .iter()
                .map(|kind| {
                    let values: Vec<Value> = (0..20).map(|_| value(kind, &mut random)).collect();
                    Value::array_of(&values.iter().collect::<Vec<_>>(), kind)
                })
                .collect();
            let rows = codec.encode(&columns).unwrap();
            let (mut passed, mut refused) = (0, 0);
            for i in 0..20 {
                assert!(codec.is_row(rows.row(i)), "seed {seed}");
                for _ in 0..50 {
                    let mut bytes = rows.row(i).to_vec();
                    let at = random.below(bytes.len() as u64) as usize;
                    match random.below(3) {
                        0 => bytes[at] = random.bits() as u8,
                        1 => bytes.truncate(at),
                        _ => bytes.insert(at, random.bits() as u8),
                    }
                    if codec.is_row(&bytes) {
                        // Maps with a NULL for a key are refused here, by an error.
                        let _ = codec.decode([bytes.as_slice()]);
                        passed += 1;
                    } else {
                        refused += 1;
                    }
                }
            }
            assert!(passed > 50 && refused > 200, "seed {seed}: {passed} passed, {refused} refused");
        }
    }
}
