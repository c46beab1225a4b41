//! Dates and times with intervals: `+`, `-` and `*`, and TIMESTAMPADD, which is a sum.
//!
//! Months are added on the calendar, the day cut to the month's length; days and shorter units are fixed lengths. On
//! TIMESTAMP_LTZ months move in UTC, as in Flink. A DATE plus hours stays a DATE and moves by the whole days in them (TIMESTAMPADD
//! makes it a TIMESTAMP instead), as in Flink.

use std::sync::Arc;

use arrow_array::{ArrayRef, PrimitiveArray, types as at};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value};

use super::datetime::Moments;
use super::kernel::{rows, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::calendar::{MILLIS_PER_DAY, add_months, months_between};
use crate::cast::{cast, datetime::integers, text::retyped};
use crate::expr::Expr;

const fn operator(name: &'static str, eval: fn(&Call<'_>) -> Result<ArrayRef>) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Datetime,
        volatility: Volatility::Pure,
        notation: Notation::Infix,
        signatures: &["datetime + interval"],
        binding: Binding::Custom(|function, args| Err(function.wrong_types(&args))),
        eval,
    }
}

/// `datetime + interval` and `interval + interval`; a difference is the sum with the sign changed.
static PLUS: Function = operator("+", |call| add(call, 1));
static MINUS: Function = operator("-", |call| add(call, -1));
static TIMES: Function = operator("*", times);
/// `(a - b) DAY TO SECOND`: the interval between two moments.
static BETWEEN: Function = operator("-", difference);
/// `(a - b) YEAR TO MONTH`: the whole months between two moments.
static MONTHS_BETWEEN: Function = Function { notation: Notation::Call, ..operator("MONTHS_BETWEEN", months_apart) };

/// `(a - b) DAY`, `(a - b) MONTH`: the unit says which kind of interval; a day-time interval keeps all of the difference.
pub(super) fn bind_between(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [unit, left, right] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let months = match unit.as_literal() {
        Some(Value::Text(unit)) => super::datetime::Unit::named(unit).is_some_and(|unit| unit.months().is_some()),
        _ => false,
    };
    if !left.kind().is_datetime() || !right.kind().is_datetime() {
        return Err(function.wrong_types(&[left, right]));
    }
    let difference = bind_minus(function, vec![left, right])?;
    match difference {
        Expr::Call { args, sql_type, .. } if months => {
            Ok(MONTHS_BETWEEN.call(args, SqlType { kind: TypeKind::IntervalYearMonth, nullable: sql_type.nullable }))
        }
        other => Ok(other),
    }
}

/// Whether `+`, `-` or `*` over `args` is about dates or intervals.
pub(super) fn concerns(args: &[Expr]) -> bool {
    args.iter().any(|arg| arg.kind().is_datetime() || arg.kind().is_interval())
}

pub(super) fn bind_plus(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [mut left, mut right] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if left.kind().is_interval() && right.kind().is_datetime() {
        (left, right) = (right, left);
    }
    shifted(function, &PLUS, left, right)
}

pub(super) fn bind_minus(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [left, right] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if left.kind().is_datetime() && right.kind().is_datetime() {
        let types = [left.sql_type().clone(), right.sql_type().clone()];
        let Some(common) = crate::types::common_type(&types) else {
            return Err(function.wrong_types(&[left, right]));
        };
        let args = vec![cast(left, &common, false)?, cast(right, &common, false)?];
        return Ok(BETWEEN.call(args, SqlType { kind: TypeKind::IntervalDayTime, nullable: common.nullable }));
    }
    shifted(function, &MINUS, left, right)
}

/// A date, time or interval moved by an interval.
fn shifted(function: &'static Function, with: &'static Function, left: Expr, right: Expr) -> Result<Expr> {
    let kind = match (left.kind(), right.kind()) {
        (a, b) if a.is_interval() && a == b => a.clone(),
        (TypeKind::Date | TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_), b) if b.is_interval() => {
            left.kind().clone()
        }
        (TypeKind::Time(_), b) if b.is_interval() => left.kind().clone(),
        _ => return Err(function.wrong_types(&[left, right])),
    };
    let nullable = left.sql_type().nullable || right.sql_type().nullable;
    let left = cast(left, &kind.clone().nullable(), false)?;
    Ok(with.call(vec![left, right], SqlType { kind, nullable }))
}

pub(super) fn bind_times(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [mut left, mut right] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if right.kind().is_interval() {
        (left, right) = (right, left);
    }
    if !left.kind().is_interval() || !right.kind().is_integer() {
        return Err(function.wrong_types(&[left, right]));
    }
    let sql_type = left.sql_type().with_nullable(left.sql_type().nullable || right.sql_type().nullable);
    let args = vec![left, cast(right, &TypeKind::BigInt.nullable(), false)?];
    Ok(TIMES.call(args, sql_type))
}

/// `x` moved by `count` units.
pub(super) fn timestamp_add(
    function: &'static Function,
    unit: super::datetime::Unit,
    count: Expr,
    x: Expr,
) -> Result<Expr> {
    let (kind, factor) = match unit.months() {
        Some(months) => (TypeKind::IntervalYearMonth, months),
        None => match unit.millis() {
            Some(millis) => (TypeKind::IntervalDayTime, millis),
            None => return Err(Error::invalid(format!("{} does not know the unit {unit}", function.name))),
        },
    };
    // Hours have no place in a DATE: the result is a moment.
    let days = factor % MILLIS_PER_DAY == 0;
    let nullable = count.sql_type().nullable;
    let one = Expr::literal(Value::Integer(factor), kind.clone().not_null());
    let interval = match count.as_literal() {
        Some(Value::Integer(n)) => Expr::literal(Value::Integer(n.saturating_mul(factor)), SqlType { kind, nullable }),
        _ => bind_times(function, vec![one, count])?,
    };
    let result_nullable = nullable || x.sql_type().nullable;
    if *x.kind() == TypeKind::Date && !days && interval.kind() == &TypeKind::IntervalDayTime {
        let moment = cast(x, &TypeKind::Timestamp(6).nullable(), false)?;
        let sql_type = SqlType { kind: TypeKind::Timestamp(6), nullable: result_nullable };
        return Ok(PLUS.call(vec![moment, interval], sql_type));
    }
    shifted(function, &PLUS, x, interval)
}

/// 64-bit values as the Arrow type of `kind`.
pub(super) fn from_integers(values: PrimitiveArray<at::Int64Type>, kind: &TypeKind) -> ArrayRef {
    match kind {
        TypeKind::Date => Arc::new(values.unary::<_, at::Date32Type>(|v| v as i32)),
        TypeKind::Time(_) => Arc::new(values.unary::<_, at::Time32MillisecondType>(|v| v as i32)),
        TypeKind::IntervalYearMonth => Arc::new(values.unary::<_, at::IntervalYearMonthType>(|v| v as i32)),
        TypeKind::IntervalDayTime => Arc::new(values.reinterpret_cast::<at::DurationMillisecondType>()),
        TypeKind::Int => Arc::new(values.unary::<_, at::Int32Type>(|v| v as i32)),
        kind => retyped(values, kind),
    }
}

fn add(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (left, right) = (integers(&call.args[0].array), integers(&call.args[1].array));
    let (left, right) = (left.values(), right.values());
    let kind = &call.sql_type.kind;
    let months = *call.kind(1) == TypeKind::IntervalYearMonth;
    let per_second = match kind {
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => timestamp_units_per_second(*p),
        _ => 1_000,
    };
    let move_by = |value: i64, by: i64| -> Option<i64> {
        Some(match kind {
            TypeKind::Date if months => add_months(value, by),
            TypeKind::Date => value.checked_add(by / MILLIS_PER_DAY)?,
            TypeKind::Time(_) if months => value,
            TypeKind::Time(_) => value.checked_add(by % MILLIS_PER_DAY)?.rem_euclid(MILLIS_PER_DAY),
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) if months => {
                let day = per_second * 86_400;
                add_months(value.div_euclid(day), by).checked_mul(day)?.checked_add(value.rem_euclid(day))?
            }
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
                value.checked_add(by.checked_mul(per_second / 1_000)?)?
            }
            _ => value.checked_add(by)?,
        })
    };
    let valid = valid_rows(call.args, call.len);
    let moved = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let (value, by) = (left[call.args[0].at(i)], right[call.args[1].at(i)]);
        let moved = by.checked_mul(sign).and_then(|by| move_by(value, by));
        moved.map(Some).ok_or_else(|| {
            let shown = |arg: usize| {
                let operand = &call.args[arg];
                crate::text::format_value(&operand.array, operand.at(i), call.kind(arg), call.ctx.zone)
                    .unwrap_or_default()
            };
            Error::invalid(format!("{} {} {} does not fit {kind}", shown(0), call.function.name, shown(1)))
        })
    })?;
    Ok(from_integers(moved, kind))
}

fn times(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (integers(&call.args[0].array), integers(&call.args[1].array));
    let valid = valid_rows(call.args, call.len);
    let product = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let (a, b) = (left.value(call.args[0].at(i)), right.value(call.args[1].at(i)));
        Ok(Some(a.wrapping_mul(b)))
    })?;
    Ok(from_integers(product, &call.sql_type.kind))
}

fn difference(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (integers(&call.args[0].array), integers(&call.args[1].array));
    let millis = |value: i64, kind: &TypeKind| match kind {
        TypeKind::Date => value.saturating_mul(MILLIS_PER_DAY),
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => value.div_euclid(timestamp_units_per_second(*p) / 1_000),
        _ => value,
    };
    let valid = valid_rows(call.args, call.len);
    let between = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let (a, b) = (left.value(call.args[0].at(i)), right.value(call.args[1].at(i)));
        Ok(Some(millis(a, call.kind(0)).wrapping_sub(millis(b, call.kind(1)))))
    })?;
    Ok(from_integers(between, &call.sql_type.kind))
}

fn months_apart(call: &Call<'_>) -> Result<ArrayRef> {
    let (mut left, mut right) = (Moments::new(call, 0), Moments::new(call, 1));
    let valid = valid_rows(call.args, call.len);
    let months = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        Ok(Some(months_between(left.at(call.args[0].at(i)), right.at(call.args[1].at(i)))))
    })?;
    Ok(from_integers(months, &call.sql_type.kind))
}
