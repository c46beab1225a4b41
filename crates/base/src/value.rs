//! Single values, for literals, look-up keys and messages; rows in motion are columns, never these.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder, Int16Builder,
    Int32Builder, Int64Builder, StringBuilder,
};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, ListArray, MapArray, NullArray, StructArray, cast::AsArray, make_array,
    new_empty_array, types as at,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};

use crate::types::TypeKind;

/// A value of some SQL type; the type stands beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL
    Null,
    /// `BOOLEAN`
    Boolean(bool),
    /// An integer type; `DATE` in days, `TIME` in milliseconds, timestamps in the unit of their precision, intervals in
    /// months or milliseconds.
    Integer(i64),
    /// `FLOAT`
    Float(f32),
    /// `DOUBLE`
    Double(f64),
    /// `DECIMAL`, without its point.
    Decimal(i128),
    /// `CHAR`, `VARCHAR`
    Text(Arc<str>),
    /// `BINARY`, `VARBINARY`
    Bytes(Arc<[u8]>),
    /// `ARRAY`
    Array(Vec<Value>),
    /// `MAP`, in order of entry.
    Map(Vec<(Value, Value)>),
    /// `ROW`
    Row(Vec<Value>),
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value at `row` of `array`, whose SQL kind is `kind`.
    ///
    /// # Panics
    /// If `array` is not of `kind`'s Arrow type.
    pub fn from_array(array: &dyn Array, row: usize, kind: &TypeKind) -> Self {
        if matches!(kind, TypeKind::Null) || array.is_null(row) {
            return Self::Null;
        }
        match kind {
            TypeKind::Null => Self::Null,
            TypeKind::Boolean => Self::Boolean(array.as_boolean().value(row)),
            TypeKind::Float => Self::Float(array.as_primitive::<at::Float32Type>().value(row)),
            TypeKind::Double => Self::Double(array.as_primitive::<at::Float64Type>().value(row)),
            TypeKind::Decimal { .. } => Self::Decimal(array.as_primitive::<at::Decimal128Type>().value(row)),
            TypeKind::Char(_) | TypeKind::Varchar(_) => Self::Text(array.as_string::<i32>().value(row).into()),
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => Self::Bytes(array.as_binary::<i32>().value(row).into()),
            TypeKind::Array(element) => {
                let items = array.as_list::<i32>().value(row);
                Self::Array((0..items.len()).map(|i| Self::from_array(&items, i, &element.kind)).collect())
            }
            TypeKind::Map(key, value) => {
                let entries = array.as_map().value(row);
                let entry = |i| {
                    let key = Self::from_array(entries.column(0), i, &key.kind);
                    (key, Self::from_array(entries.column(1), i, &value.kind))
                };
                Self::Map((0..entries.len()).map(entry).collect())
            }
            TypeKind::Row(fields) => {
                let columns = array.as_struct().columns();
                let field =
                    |(column, field): (&ArrayRef, &crate::Field)| Self::from_array(column, row, &field.sql_type.kind);
                Self::Row(columns.iter().zip(fields).map(field).collect())
            }
            _ => Self::Integer(integer_at(array, row)),
        }
    }

    /// An array of `len` copies of this value in the Arrow type of `kind`.
    ///
    /// # Panics
    /// If the value does not belong to `kind`.
    pub fn to_array(&self, kind: &TypeKind, len: usize) -> ArrayRef {
        match (self, kind) {
            // Constants of conditions, for the most part: no list of them, no builder.
            (Self::Integer(value), TypeKind::BigInt) => Arc::new(Int64Array::from(vec![*value; len])),
            (Self::Integer(value), TypeKind::Int) => Arc::new(Int32Array::from(vec![*value as i32; len])),
            _ => Self::array_of(&vec![self; len], kind),
        }
    }

    /// An array of `values` in the Arrow type of `kind`.
    ///
    /// # Panics
    /// If a value does not belong to `kind`.
    pub fn array_of(values: &[&Self], kind: &TypeKind) -> ArrayRef {
        macro_rules! build {
            ($builder:expr, $pattern:pat => $value:expr) => {{
                let mut builder = $builder;
                for value in values {
                    match value {
                        Self::Null => builder.append_null(),
                        $pattern => builder.append_value($value),
                        other => panic!("{other:?} is not a value of {kind}"),
                    }
                }
                Arc::new(builder.finish()) as ArrayRef
            }};
        }
        match kind {
            TypeKind::Null => Arc::new(NullArray::new(values.len())),
            TypeKind::Boolean => build!(BooleanBuilder::new(), Self::Boolean(v) => *v),
            TypeKind::TinyInt => build!(Int8Builder::new(), Self::Integer(v) => *v as i8),
            TypeKind::SmallInt => build!(Int16Builder::new(), Self::Integer(v) => *v as i16),
            TypeKind::Int => build!(Int32Builder::new(), Self::Integer(v) => *v as i32),
            TypeKind::Date | TypeKind::Time(_) | TypeKind::IntervalYearMonth => {
                retyped(build!(Int32Builder::new(), Self::Integer(v) => *v as i32), kind)
            }
            TypeKind::BigInt => build!(Int64Builder::new(), Self::Integer(v) => *v),
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) | TypeKind::IntervalDayTime => {
                retyped(build!(Int64Builder::new(), Self::Integer(v) => *v), kind)
            }
            TypeKind::Float => build!(Float32Builder::new(), Self::Float(v) => *v),
            TypeKind::Double => build!(Float64Builder::new(), Self::Double(v) => *v),
            TypeKind::Decimal { .. } => {
                build!(Decimal128Builder::new().with_data_type(kind.arrow()), Self::Decimal(v) => *v)
            }
            TypeKind::Char(_) | TypeKind::Varchar(_) => build!(StringBuilder::new(), Self::Text(v) => v),
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => build!(BinaryBuilder::new(), Self::Bytes(v) => v),
            TypeKind::Array(element) => {
                let lists =
                    values.iter().map(|value| if let Self::Array(items) = value { items.as_slice() } else { &[] });
                let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[Self]>::len));
                let items = Self::array_of(&lists.flatten().collect::<Vec<_>>(), &element.kind);
                let DataType::List(field) = kind.arrow() else { unreachable!("an array maps to a list") };
                Arc::new(ListArray::new(field, offsets, items, nulls(values)))
            }
            TypeKind::Map(key, value) => {
                let maps = values.iter().map(|v| if let Self::Map(entries) = v { entries.as_slice() } else { &[] });
                let offsets = OffsetBuffer::from_lengths(maps.clone().map(<[(Self, Self)]>::len));
                let keys = Self::array_of(&maps.clone().flatten().map(|(k, _)| k).collect::<Vec<_>>(), &key.kind);
                let items = Self::array_of(&maps.flatten().map(|(_, v)| v).collect::<Vec<_>>(), &value.kind);
                let DataType::Map(field, ordered) = kind.arrow() else { unreachable!("a map maps to a map") };
                let DataType::Struct(fields) = field.data_type().clone() else { unreachable!("entries are structs") };
                let entries = StructArray::new(fields, vec![keys, items], None);
                Arc::new(MapArray::new(field, offsets, entries, nulls(values), ordered))
            }
            TypeKind::Row(fields) => {
                let column = |(i, field): (usize, &crate::Field)| {
                    let at = |value: &&Self| if let Self::Row(items) = value { items[i].clone() } else { Self::Null };
                    let items: Vec<Self> = values.iter().map(at).collect();
                    Self::array_of(&items.iter().collect::<Vec<_>>(), &field.sql_type.kind)
                };
                let columns = fields.iter().enumerate().map(column).collect();
                let DataType::Struct(arrow_fields) = kind.arrow() else { unreachable!("a row maps to a struct") };
                if fields.is_empty() {
                    return Arc::new(StructArray::new_empty_fields(values.len(), nulls(values)));
                }
                Arc::new(StructArray::new(arrow_fields, columns, nulls(values)))
            }
        }
    }
}

fn nulls(values: &[&Value]) -> Option<NullBuffer> {
    Some(values.iter().map(|value| !value.is_null()).collect::<NullBuffer>())
}

/// The same buffers under the Arrow type of `kind`, which has the same width.
fn retyped(array: ArrayRef, kind: &TypeKind) -> ArrayRef {
    if array.is_empty() {
        return new_empty_array(&kind.arrow());
    }
    let data = array.to_data().into_builder().data_type(kind.arrow());
    make_array(data.build().expect("an array keeps its buffers under a type of the same width"))
}

fn integer_at(array: &dyn Array, row: usize) -> i64 {
    match array.data_type() {
        DataType::Int8 => i64::from(array.as_primitive::<at::Int8Type>().value(row)),
        DataType::Int16 => i64::from(array.as_primitive::<at::Int16Type>().value(row)),
        DataType::Int32 => i64::from(array.as_primitive::<at::Int32Type>().value(row)),
        DataType::Int64 => array.as_primitive::<at::Int64Type>().value(row),
        DataType::Date32 => i64::from(array.as_primitive::<at::Date32Type>().value(row)),
        DataType::Time32(_) => i64::from(array.as_primitive::<at::Time32MillisecondType>().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<at::TimestampMillisecondType>().value(row)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<at::TimestampMicrosecondType>().value(row)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<at::TimestampNanosecondType>().value(row),
        DataType::Interval(_) => i64::from(array.as_primitive::<at::IntervalYearMonthType>().value(row)),
        DataType::Duration(_) => array.as_primitive::<at::DurationMillisecondType>().value(row),
        other => panic!("{other} does not hold whole numbers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_through_arrays() {
        let int = TypeKind::Int.nullable();
        let row = TypeKind::Row(vec![crate::Field { name: "a".into(), sql_type: int.clone() }]);
        let cases = [
            (TypeKind::Timestamp(3), vec![Value::Integer(5), Value::Null]),
            (TypeKind::Decimal { precision: 12, scale: 2 }, vec![Value::Decimal(-125), Value::Null]),
            (
                TypeKind::Array(Box::new(int.clone())),
                vec![Value::Array(vec![Value::Integer(1), Value::Null]), Value::Null],
            ),
            (
                TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(int)),
                vec![Value::Map(vec![(Value::Text("k".into()), Value::Integer(7))]), Value::Null],
            ),
            (row, vec![Value::Row(vec![Value::Integer(1)]), Value::Null]),
        ];
        for (kind, values) in cases {
            let array = Value::array_of(&values.iter().collect::<Vec<_>>(), &kind);
            assert_eq!(array.data_type(), &kind.arrow());
            let back: Vec<Value> = (0..values.len()).map(|i| Value::from_array(&array, i, &kind)).collect();
            assert_eq!(back, values);
        }
    }
}
