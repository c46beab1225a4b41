//! Casts among dates, times, timestamps and instants.
//!
//! A coarser precision cuts towards the past. Between TIMESTAMP and TIMESTAMP_LTZ the session's zone translates. A moment
//! that 64 bits of nanoseconds cannot hold fails, as it has no form in the type.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, PrimitiveArray, cast::AsArray, types as at};
use arrow_schema::{DataType, TimeUnit};
use chrono_tz::Tz;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, TypeKind};

use super::text::retyped;
use super::unknown;
use crate::calendar::{MILLIS_PER_DAY, Zone};
use crate::text::datetime::{cut, write_timestamp};

/// The 64-bit values of a date, time or timestamp column, whatever its unit.
pub(crate) fn integers(array: &ArrayRef) -> PrimitiveArray<at::Int64Type> {
    match array.data_type() {
        DataType::Date32 => array.as_primitive::<at::Date32Type>().unary(i64::from),
        DataType::Time32(_) => array.as_primitive::<at::Time32MillisecondType>().unary(i64::from),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<at::TimestampMillisecondType>().reinterpret_cast()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<at::TimestampMicrosecondType>().reinterpret_cast()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<at::TimestampNanosecondType>().reinterpret_cast()
        }
        DataType::Interval(_) => array.as_primitive::<at::IntervalYearMonthType>().unary(i64::from),
        DataType::Duration(_) => array.as_primitive::<at::DurationMillisecondType>().reinterpret_cast(),
        DataType::Int8 => array.as_primitive::<at::Int8Type>().unary(i64::from),
        DataType::Int16 => array.as_primitive::<at::Int16Type>().unary(i64::from),
        DataType::Int32 => array.as_primitive::<at::Int32Type>().unary(i64::from),
        DataType::Int64 => array.as_primitive::<at::Int64Type>().clone(),
        other => unreachable!("{other} holds no whole numbers"),
    }
}

/// Values in `per_second` of one kind in the units of another; `None` where they do not fit.
fn convert(value: i64, from: i64, to: i64) -> Option<i64> {
    if to >= from { value.checked_mul(to / from) } else { Some(value.div_euclid(from / to)) }
}

pub(super) fn cast(array: &ArrayRef, from: &TypeKind, to: &TypeKind, safe: bool, zone: Tz) -> Result<ArrayRef> {
    let mut zone = Zone::new(zone);
    let values = integers(array);
    let source_per_second = match from {
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => timestamp_units_per_second(*p),
        _ => 1_000,
    };
    let from_instant = matches!(from, TypeKind::TimestampLtz(_));
    match to {
        TypeKind::Date | TypeKind::Time(_) => {
            let wanted_time = if let TypeKind::Time(p) = to { Some(*p) } else { None };
            let part = |value: i64| {
                let local = if from_instant { zone.to_local(value, source_per_second) } else { value };
                match wanted_time {
                    None => local.div_euclid(source_per_second * 86_400) as i32,
                    Some(precision) => {
                        let millis = convert(local, source_per_second, 1_000).unwrap_or(0).rem_euclid(MILLIS_PER_DAY);
                        cut(millis, 1_000, precision) as i32
                    }
                }
            };
            let mut part = part;
            let parts: Vec<i32> = values.values().iter().map(|&v| part(v)).collect();
            let nulls = values.nulls().cloned();
            Ok(if wanted_time.is_some() {
                Arc::new(PrimitiveArray::<at::Time32MillisecondType>::new(parts.into(), nulls))
            } else {
                Arc::new(PrimitiveArray::<at::Date32Type>::new(parts.into(), nulls))
            })
        }
        TypeKind::Timestamp(precision) | TypeKind::TimestampLtz(precision) => {
            let per_second = timestamp_units_per_second(*precision);
            let to_instant = matches!(to, TypeKind::TimestampLtz(_));
            let mut result = Vec::with_capacity(values.len());
            for value in &values {
                let Some(value) = value else {
                    result.push(None);
                    continue;
                };
                let converted = match from {
                    TypeKind::Date => value.checked_mul(86_400 * per_second),
                    _ => convert(value, source_per_second, per_second),
                };
                let Some(converted) = converted else {
                    if safe {
                        result.push(None);
                        continue;
                    }
                    return Err(out_of_range(value, from, source_per_second, to));
                };
                let translated = match (from_instant, to_instant) {
                    (true, false) => zone.to_local(converted, per_second),
                    (false, true) => zone.to_utc(converted, per_second),
                    _ => converted,
                };
                result.push(Some(cut(translated, per_second, *precision)));
            }
            Ok(retyped(result.into_iter().collect(), to))
        }
        _ => Err(unknown(from, to)),
    }
}

fn out_of_range(value: i64, from: &TypeKind, per_second: i64, to: &TypeKind) -> Error {
    let mut text = String::new();
    match from {
        TypeKind::Date => crate::text::datetime::write_date(&mut text, value),
        _ => write_timestamp(&mut text, value, per_second, 0),
    }
    Error::invalid(format!("{text} does not fit {to}")).hint("use a precision of at most 6, whose range is wider")
}
