//! Arrow columns built from PostgreSQL's text form, one value at a time, without boxing.
//!
//! One builder per declared Flink type; the same builders serve the copied contents and the stream.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, Time32MillisecondBuilder,
};
use arrow_array::types::{TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType};
use arrow_array::{ArrayRef, DurationMillisecondArray, IntervalYearMonthArray, ListArray, PrimitiveArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};
use gridhouse_base::types::timestamp_unit;
use gridhouse_base::{Error, Result, TypeKind};

use super::text::{self, Misfit, misfit};

/// A column of a declared type under construction.
pub(crate) struct ColumnBuilder {
    kind: TypeKind,
    values: Values,
}

enum Values {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Text(StringBuilder),
    Bytes(BinaryBuilder, Vec<u8>),
    Date(Date32Builder),
    Time(Time32MillisecondBuilder),
    /// Timestamps, and intervals of days, in the unit of their Arrow type.
    Timestamp(Int64Builder, u8),
    Months(Int32Builder),
    Millis(Int64Builder),
    List {
        element: Box<ColumnBuilder>,
        lengths: Vec<usize>,
        nulls: NullBufferBuilder,
    },
}

impl ColumnBuilder {
    /// An empty column of `kind`.
    ///
    /// # Errors
    /// `Invalid` for types that PostgreSQL does not have (`MAP`, `ROW`).
    pub(crate) fn new(kind: &TypeKind) -> Result<Self> {
        let values = match kind {
            TypeKind::Boolean => Values::Boolean(BooleanBuilder::new()),
            TypeKind::TinyInt => Values::Int8(Int8Builder::new()),
            TypeKind::SmallInt => Values::Int16(Int16Builder::new()),
            TypeKind::Int => Values::Int32(Int32Builder::new()),
            TypeKind::BigInt => Values::Int64(Int64Builder::new()),
            TypeKind::Float => Values::Float32(Float32Builder::new()),
            TypeKind::Double => Values::Float64(Float64Builder::new()),
            TypeKind::Decimal { precision, scale } => {
                Values::Decimal(Decimal128Builder::new().with_data_type(kind.arrow()), *precision, *scale)
            }
            TypeKind::Char(_) | TypeKind::Varchar(_) => Values::Text(StringBuilder::new()),
            TypeKind::Binary(_) | TypeKind::Varbinary(_) => Values::Bytes(BinaryBuilder::new(), Vec::new()),
            TypeKind::Date => Values::Date(Date32Builder::new()),
            TypeKind::Time(_) => Values::Time(Time32MillisecondBuilder::new()),
            TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => Values::Timestamp(Int64Builder::new(), *p),
            TypeKind::IntervalYearMonth => Values::Months(Int32Builder::new()),
            TypeKind::IntervalDayTime => Values::Millis(Int64Builder::new()),
            TypeKind::Array(element) => Values::List {
                element: Box::new(Self::new(&element.kind)?),
                lengths: Vec::new(),
                nulls: NullBufferBuilder::new(0),
            },
            TypeKind::Null | TypeKind::Map(..) | TypeKind::Row(_) => {
                return Err(Error::invalid(format!("postgresql has no type that is read as {kind}"))
                    .hint("declare the column as STRING"));
            }
        };
        Ok(Self { kind: kind.clone(), values })
    }

    /// Adds NULL.
    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::Boolean(b) => b.append_null(),
            Values::Int8(b) => b.append_null(),
            Values::Int16(b) => b.append_null(),
            Values::Int32(b) | Values::Months(b) => b.append_null(),
            Values::Int64(b) | Values::Timestamp(b, _) | Values::Millis(b) => b.append_null(),
            Values::Float32(b) => b.append_null(),
            Values::Float64(b) => b.append_null(),
            Values::Decimal(b, ..) => b.append_null(),
            Values::Text(b) => b.append_null(),
            Values::Bytes(b, _) => b.append_null(),
            Values::Date(b) => b.append_null(),
            Values::Time(b) => b.append_null(),
            Values::List { lengths, nulls, .. } => {
                lengths.push(0);
                nulls.append_null();
            }
        }
    }

    /// Adds the value whose text form is `bytes`, or NULL after a misfit: the column has one row more in any case.
    pub(crate) fn append_text(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let added = self.try_append(bytes);
        // An array has added its row already, over the elements that fitted.
        if added.is_err() && !matches!(self.values, Values::List { .. }) {
            self.append_null();
        }
        added
    }

    fn try_append(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Boolean(b) => b.append_value(text::boolean(bytes)?),
            Values::Int8(b) => b.append_value(text::integer(bytes, i8::MIN.into(), i8::MAX.into())? as i8),
            Values::Int16(b) => b.append_value(text::integer(bytes, i16::MIN.into(), i16::MAX.into())? as i16),
            Values::Int32(b) => b.append_value(text::integer(bytes, i32::MIN.into(), i32::MAX.into())? as i32),
            Values::Int64(b) => b.append_value(text::integer(bytes, i64::MIN, i64::MAX)?),
            Values::Float32(b) => b.append_value(text::float(bytes)?),
            Values::Float64(b) => b.append_value(text::float(bytes)?),
            Values::Decimal(b, precision, scale) => b.append_value(text::decimal(bytes, *precision, *scale)?),
            Values::Text(b) => b.append_value(std::str::from_utf8(bytes).map_err(|_| misfit(bytes, "is not UTF-8"))?),
            Values::Bytes(b, scratch) => {
                text::bytes(bytes, scratch)?;
                b.append_value(scratch.as_slice());
            }
            Values::Date(b) => b.append_value(text::date(bytes)?),
            Values::Time(b) => b.append_value(text::time_millis(bytes)?),
            Values::Timestamp(b, p) => {
                b.append_value(in_unit(text::timestamp_micros(bytes)?, *p).ok_or_else(|| {
                    misfit(bytes, "is outside the range of its precision (of nanoseconds: 1677-09-21 … 2262-04-11)")
                })?)
            }
            Values::Months(b) => {
                let (months, micros) = text::interval(bytes)?;
                let months = i32::try_from(months).ok().filter(|_| micros == 0);
                b.append_value(
                    months.ok_or_else(|| misfit(bytes, "is not a number of months; declare the column as STRING"))?,
                );
            }
            Values::Millis(b) => {
                let (months, micros) = text::interval(bytes)?;
                if months != 0 {
                    return Err(misfit(
                        bytes,
                        "has months, which are not a number of seconds; declare the column as STRING",
                    ));
                }
                b.append_value(micros.div_euclid(1000));
            }
            Values::List { element, lengths, nulls } => {
                let mut count = 0;
                let read = list(bytes, element, &mut count);
                lengths.push(count);
                nulls.append(read.is_ok());
                read?;
            }
        }
        Ok(())
    }

    /// Adds a timestamp given in microseconds since the epoch, or a text where the column is text; for metadata columns.
    pub(crate) fn append_meta(&mut self, value: Meta<'_>) -> Result<(), Misfit> {
        match (&mut self.values, value) {
            (Values::Timestamp(b, p), Meta::Micros(micros)) => {
                b.append_option(in_unit(micros, *p));
                Ok(())
            }
            (Values::Int64(b), Meta::Micros(micros)) => {
                b.append_value(micros.div_euclid(1000));
                Ok(())
            }
            (_, Meta::Text(text)) => self.append_text(text.as_bytes()),
            (_, Meta::Micros(micros)) => {
                self.append_null();
                Err(Misfit(format!("the time {micros} µs does not fit {}", self.kind)))
            }
        }
    }

    /// The column; the builder is empty again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            Values::Boolean(b) => Arc::new(b.finish()),
            Values::Int8(b) => Arc::new(b.finish()),
            Values::Int16(b) => Arc::new(b.finish()),
            Values::Int32(b) => Arc::new(b.finish()),
            Values::Int64(b) => Arc::new(b.finish()),
            Values::Float32(b) => Arc::new(b.finish()),
            Values::Float64(b) => Arc::new(b.finish()),
            Values::Decimal(b, ..) => Arc::new(b.finish()),
            Values::Text(b) => Arc::new(b.finish()),
            Values::Bytes(b, _) => Arc::new(b.finish()),
            Values::Date(b) => Arc::new(b.finish()),
            Values::Time(b) => Arc::new(b.finish()),
            Values::Timestamp(b, _) => {
                let (_, values, nulls) = b.finish().into_parts();
                let DataType::Timestamp(unit, zone) = self.kind.arrow() else {
                    unreachable!("a timestamp maps to one")
                };
                match unit {
                    TimeUnit::Nanosecond => {
                        Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(values, nulls).with_timezone_opt(zone))
                    }
                    TimeUnit::Microsecond => {
                        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_timezone_opt(zone))
                    }
                    _ => {
                        Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(values, nulls).with_timezone_opt(zone))
                    }
                }
            }
            Values::Months(b) => {
                let (_, values, nulls) = b.finish().into_parts();
                Arc::new(IntervalYearMonthArray::new(values, nulls))
            }
            Values::Millis(b) => {
                let (_, values, nulls) = b.finish().into_parts();
                Arc::new(DurationMillisecondArray::new(values, nulls))
            }
            Values::List { element, lengths, nulls } => {
                let DataType::List(field) = self.kind.arrow() else { unreachable!("an array maps to a list") };
                let offsets = OffsetBuffer::from_lengths(lengths.drain(..));
                Arc::new(ListArray::new(field, offsets, element.finish(), nulls.finish()))
            }
        }
    }
}

/// A value of a metadata column.
#[derive(Clone, Copy)]
pub(crate) enum Meta<'a> {
    /// A name.
    Text(&'a str),
    /// A time, microseconds since the epoch.
    Micros(i64),
}

/// Microseconds in the Arrow unit of precision `p`; digits beyond the precision are cut off.
fn in_unit(micros: i64, p: u8) -> Option<i64> {
    let step = 10_i64.pow(6 - u32::from(p.min(6)));
    let cut = micros.div_euclid(step).checked_mul(step)?;
    match timestamp_unit(p) {
        TimeUnit::Nanosecond => cut.checked_mul(1000),
        TimeUnit::Microsecond => Some(cut),
        _ => Some(cut.div_euclid(1000)),
    }
}

/// The deepest nesting of an array that is read: PostgreSQL's own limit (`MAXDIM`).
const MAX_DEPTH: usize = 6;

/// Reads an array in text form (PostgreSQL documentation, "Array Input and Output Syntax") into `element`; `count` is how many
/// elements were added, also after a misfit.
fn list(bytes: &[u8], element: &mut ColumnBuilder, count: &mut usize) -> Result<(), Misfit> {
    // `[0:2]={…}`: the bounds have no meaning in Flink.
    let start =
        if bytes.first() == Some(&b'[') { bytes.iter().position(|&c| c == b'=').map_or(0, |at| at + 1) } else { 0 };
    let body = &bytes[start..];
    let wrong = |what: &str| misfit(bytes, &format!("is not an array{what}"));
    let inner = body.strip_prefix(b"{").and_then(|body| body.strip_suffix(b"}")).ok_or_else(|| wrong(""))?;
    let nested = matches!(element.values, Values::List { .. });
    let (mut at, mut scratch) = (0, Vec::new());
    if inner.is_empty() {
        return Ok(());
    }
    loop {
        match inner.get(at) {
            Some(b'{') if nested => {
                let end = at + closing(&inner[at..]).ok_or_else(|| wrong(""))?;
                *count += 1;
                element.append_text(&inner[at..=end])?;
                at = end + 1;
            }
            Some(b'{') => return Err(wrong(" of one dimension; declare the column as ARRAY<ARRAY<…>> or STRING")),
            Some(b'"') => {
                scratch.clear();
                at += 1;
                loop {
                    match inner.get(at) {
                        Some(b'\\') => {
                            scratch.push(*inner.get(at + 1).ok_or_else(|| wrong(""))?);
                            at += 2;
                        }
                        Some(b'"') => break,
                        Some(&byte) => {
                            scratch.push(byte);
                            at += 1;
                        }
                        None => return Err(wrong("")),
                    }
                }
                at += 1;
                *count += 1;
                element.append_text(&scratch)?;
            }
            _ => {
                let end = inner[at..].iter().position(|&c| c == b',').map_or(inner.len(), |len| at + len);
                match &inner[at..end] {
                    b"NULL" => {
                        element.append_null();
                        *count += 1;
                    }
                    value => {
                        *count += 1;
                        element.append_text(value)?;
                    }
                }
                at = end;
            }
        }
        match inner.get(at) {
            None => return Ok(()),
            Some(b',') => at += 1,
            Some(_) => return Err(wrong("")),
        }
    }
}

/// Where the brace that opens `bytes` is closed.
fn closing(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut at) = (0, false, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        if depth > MAX_DEPTH {
            return None;
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::Value;

    fn read(kind: TypeKind, texts: &[&str]) -> Vec<Value> {
        let mut builder = ColumnBuilder::new(&kind).unwrap();
        for text in texts {
            if *text == "-" { builder.append_null() } else { builder.append_text(text.as_bytes()).unwrap() }
        }
        let array = builder.finish();
        assert_eq!(array.data_type(), &kind.arrow());
        (0..array.len()).map(|row| Value::from_array(&array, row, &kind)).collect()
    }

    #[test]
    fn timestamps_take_the_unit_of_their_precision() {
        let text = ["2026-01-01 00:00:01.234567", "-"];
        let second = 1_767_225_601;
        assert_eq!(read(TypeKind::Timestamp(0), &text), [Value::Integer(second * 1000), Value::Null]);
        assert_eq!(read(TypeKind::Timestamp(3), &text)[0], Value::Integer(second * 1000 + 234));
        assert_eq!(read(TypeKind::TimestampLtz(6), &text)[0], Value::Integer(second * 1_000_000 + 234_567));
        assert_eq!(read(TypeKind::Timestamp(9), &text)[0], Value::Integer(second * 1_000_000_000 + 234_567_000));
    }

    #[test]
    fn the_first_moments_of_time_are_refused_where_they_cannot_be_cut() {
        let mut builder = ColumnBuilder::new(&TypeKind::Timestamp(3)).unwrap();
        // The smallest number of microseconds; cut to a millisecond it would be smaller still.
        let misfit = builder.append_text(b"290309-12-22 00:00:00.224192+04:00:55 BC").unwrap_err();
        assert!(misfit.0.contains("outside the range of its precision"), "{misfit:?}");
    }

    #[test]
    fn arrays_with_quotes_nulls_and_dimensions() {
        let texts = TypeKind::Array(Box::new(TypeKind::STRING.nullable()));
        let value = read(texts.clone(), &[r#"{a,NULL,"NULL","b \"c\", d",""}"#, "{}", "-", "[0:1]={x,y}"]);
        let text = |t: &str| Value::Text(t.into());
        let first = vec![text("a"), Value::Null, text("NULL"), text("b \"c\", d"), text("")];
        assert_eq!(value[..3], [Value::Array(first), Value::Array(vec![]), Value::Null]);
        assert_eq!(value[3], Value::Array(vec![text("x"), text("y")]));
        let nested = TypeKind::Array(Box::new(TypeKind::Array(Box::new(TypeKind::Int.nullable())).nullable()));
        let rows =
            vec![Value::Array(vec![Value::Integer(1), Value::Integer(2)]), Value::Array(vec![Value::Integer(3)])];
        assert_eq!(read(nested, &["{{1,2},{3}}"]), [Value::Array(rows)]);
        let mut builder = ColumnBuilder::new(&texts).unwrap();
        for wrong in ["", "{", "{a", "a}", "{{a}}", "{\"a}", "{\"a\"b}"] {
            assert!(builder.append_text(wrong.as_bytes()).is_err(), "{wrong}");
        }
        builder.append_text(b"{z}").unwrap();
        let array = builder.finish();
        assert_eq!((array.len(), array.null_count()), (8, 7), "a misfit leaves NULL, and the next value is right");
        assert_eq!(Value::from_array(&array, 7, &texts), Value::Array(vec![text("z")]));
    }
}
