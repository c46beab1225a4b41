//! The operators `+ - * / %` and the sign.
//!
//! Whole numbers wrap, as in Flink; a division by zero fails for exact numbers and is infinite for floating-point ones.
//! Decimals follow Flink's precision and scale rules; a result with more digits than its type is NULL. `+` and `-` on dates
//! and intervals are in [`super::interval`], functions of numbers in [`super::math`].

use std::sync::Arc;

use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, types as at};
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::{binary, try_binary, unary};
use super::{Binding, Call, Family, Function, Notation, Volatility, interval};
use crate::cast::{cast, implicit_cast};
use crate::decimal;
use crate::expr::Expr;
use crate::types::{as_decimal, common_type, decimal_product, decimal_quotient, decimal_remainder, decimal_sum};

const fn operator(
    name: &'static str,
    aliases: &'static [&'static str],
    notation: Notation,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Arithmetic,
        volatility: Volatility::Pure,
        notation,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    operator("+", &[], Notation::Infix, &["number + number", "datetime + interval"], bind_plus, plus),
    operator("-", &[], Notation::Infix, &["number - number", "datetime - interval"], bind_minus, minus),
    operator("*", &[], Notation::Infix, &["number * number", "number * interval"], bind_times, times),
    operator("/", &[], Notation::Infix, &["number / number"], |f, a| bind_numbers(f, a, decimal_quotient), divide),
    operator("%", &["MOD"], Notation::Infix, &["number % number", "MOD(number, number)"], bind_remainder, remainder),
    operator("UNARY MINUS", &["UNARY -"], Notation::Prefix("-"), &["-x"], bind_sign, negate),
    operator("UNARY PLUS", &["UNARY +"], Notation::Prefix("+"), &["+x"], bind_plus_sign, super::lowered),
];

fn bind_plus(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if interval::concerns(&args) {
        return interval::bind_plus(function, args);
    }
    bind_numbers(function, args, decimal_sum)
}

fn bind_minus(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if interval::concerns(&args) {
        return interval::bind_minus(function, args);
    }
    bind_numbers(function, args, decimal_sum)
}

fn bind_times(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if interval::concerns(&args) {
        return interval::bind_times(function, args);
    }
    bind_numbers(function, args, decimal_product)
}

type DecimalRule = fn((u8, u8), (u8, u8)) -> TypeKind;

/// Two numbers in their common type; decimals keep their own scales, and `rule` says the result's.
fn bind_numbers(function: &'static Function, args: Vec<Expr>, rule: DecimalRule) -> Result<Expr> {
    if args.len() != 2 {
        return Err(function.wrong_count(args.len()));
    }
    let numeric = |arg: &Expr| arg.kind().is_numeric() || *arg.kind() == TypeKind::Null;
    if !args.iter().all(numeric) {
        let text = args.iter().any(|arg| arg.kind().is_text());
        let error = function.wrong_types(&args);
        return Err(if text && function.name == "+" {
            error.hint("join texts with ||, or cast the text to a number")
        } else {
            error
        });
    }
    let types: Vec<SqlType> = args.iter().map(|arg| arg.sql_type().clone()).collect();
    let mut common = common_type(&types).ok_or_else(|| function.wrong_types(&args))?;
    if common.kind == TypeKind::Null {
        common.kind = TypeKind::Int;
    }
    if !matches!(common.kind, TypeKind::Decimal { .. }) {
        let args = args.into_iter().map(|arg| implicit_cast(arg, &common)).collect::<Result<Vec<_>>>()?;
        return Ok(function.call(args, common));
    }
    let as_decimals = |arg: Expr| match as_decimal(arg.kind()) {
        Some((precision, scale)) => implicit_cast(arg, &TypeKind::Decimal { precision, scale }.nullable()),
        None => cast(arg, &common, false),
    };
    let args = args.into_iter().map(as_decimals).collect::<Result<Vec<_>>>()?;
    let (Some(a), Some(b)) = (as_decimal(args[0].kind()), as_decimal(args[1].kind())) else {
        return Err(function.wrong_types(&args));
    };
    Ok(function.call(args, SqlType { kind: rule(a, b), nullable: common.nullable }))
}

/// The remainder of numbers without fraction has the divisor's type.
fn bind_remainder(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let divisor = args.get(1).map(|arg| arg.kind().clone());
    let call = bind_numbers(function, args, decimal_remainder)?;
    let whole = call.kind().is_integer() || matches!(call.kind(), TypeKind::Decimal { scale: 0, .. });
    match divisor {
        Some(kind) if kind.is_integer() && whole => cast(call, &kind.nullable(), false),
        _ => Ok(call),
    }
}

fn bind_sign(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !arg.kind().is_numeric() && !arg.kind().is_interval() {
        return Err(function.wrong_types(&[arg]));
    }
    let sql_type = arg.sql_type().clone();
    Ok(function.call(vec![arg], sql_type))
}

fn bind_plus_sign(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let mut args = args;
    match args.pop() {
        Some(arg) if args.is_empty() && arg.kind().is_numeric() => Ok(arg),
        Some(arg) => Err(function.wrong_types(&[arg])),
        None => Err(function.wrong_count(0)),
    }
}

fn done<T: ArrowPrimitiveType>(array: PrimitiveArray<T>) -> Result<ArrayRef> {
    Ok(Arc::new(array))
}

/// Calls `$kernel` with the Arrow type of the result.
macro_rules! by_type {
    ($call:expr, $int:ident, $float:expr, $decimal:expr) => {
        match &$call.sql_type.kind {
            TypeKind::TinyInt => done(binary::<at::Int8Type, at::Int8Type, at::Int8Type>($call, i8::$int)),
            TypeKind::SmallInt => done(binary::<at::Int16Type, at::Int16Type, at::Int16Type>($call, i16::$int)),
            TypeKind::Int => done(binary::<at::Int32Type, at::Int32Type, at::Int32Type>($call, i32::$int)),
            TypeKind::BigInt => done(binary::<at::Int64Type, at::Int64Type, at::Int64Type>($call, i64::$int)),
            TypeKind::Float => {
                done(binary::<at::Float32Type, at::Float32Type, at::Float32Type>($call, |a, b| $float(a, b)))
            }
            TypeKind::Double => {
                done(binary::<at::Float64Type, at::Float64Type, at::Float64Type>($call, |a, b| $float(a, b)))
            }
            _ => decimals($call, $decimal),
        }
    };
}

/// The scales of the two operands and the precision and scale of the result.
fn decimal_shape(call: &Call<'_>) -> (u8, u8, u8, u8) {
    let scale = |i: usize| as_decimal(call.kind(i)).map_or(0, |(_, scale)| scale);
    let (precision, wanted) = as_decimal(&call.sql_type.kind).unwrap_or((38, 0));
    (scale(0), scale(1), precision, wanted)
}

type DecimalKernel = fn(i128, u8, i128, u8, u8, u8) -> Option<i128>;

fn decimals(call: &Call<'_>, kernel: DecimalKernel) -> Result<ArrayRef> {
    let (s, t, precision, scale) = decimal_shape(call);
    let result = try_binary::<at::Decimal128Type, at::Decimal128Type, at::Decimal128Type>(call, |a, b| {
        Ok(kernel(a, s, b, t, precision, scale))
    })?;
    done(result.with_data_type(call.sql_type.kind.arrow()))
}

fn plus(call: &Call<'_>) -> Result<ArrayRef> {
    by_type!(call, wrapping_add, |a, b| a + b, decimal::add)
}

fn minus(call: &Call<'_>) -> Result<ArrayRef> {
    by_type!(call, wrapping_sub, |a, b| a - b, |a, s, b, t, p, q| decimal::add(a, s, -b, t, p, q))
}

fn times(call: &Call<'_>) -> Result<ArrayRef> {
    by_type!(call, wrapping_mul, |a, b| a * b, decimal::multiply)
}

fn by_zero(call: &Call<'_>, dividend: impl std::fmt::Display) -> Error {
    let text =
        call.exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(&format!(" {} ", call.function.name));
    Error::invalid(format!("division by zero: {dividend} {} 0 in {text}", call.function.name))
        .hint("guard the divisor: a / NULLIF(b, 0)")
}

macro_rules! checked_by_type {
    ($call:expr, $int:ident, $float:expr, $decimal:expr) => {
        match &$call.sql_type.kind {
            TypeKind::TinyInt => checked_by_type!(@int $call, $int, at::Int8Type),
            TypeKind::SmallInt => checked_by_type!(@int $call, $int, at::Int16Type),
            TypeKind::Int => checked_by_type!(@int $call, $int, at::Int32Type),
            TypeKind::BigInt => checked_by_type!(@int $call, $int, at::Int64Type),
            TypeKind::Float => {
                done(binary::<at::Float32Type, at::Float32Type, at::Float32Type>($call, |a, b| $float(a, b)))
            }
            TypeKind::Double => {
                done(binary::<at::Float64Type, at::Float64Type, at::Float64Type>($call, |a, b| $float(a, b)))
            }
            _ => {
                let (s, t, precision, scale) = decimal_shape($call);
                let kernel: DecimalKernel = $decimal;
                let result = try_binary::<at::Decimal128Type, at::Decimal128Type, at::Decimal128Type>($call, |a, b| {
                    if b == 0 {
                        let mut shown = String::new();
                        crate::text::number::write_decimal(&mut shown, a, s);
                        return Err(by_zero($call, shown));
                    }
                    Ok(kernel(a, s, b, t, precision, scale))
                })?;
                done(result.with_data_type($call.sql_type.kind.arrow()))
            }
        }
    };
    (@int $call:expr, $int:ident, $arrow:ty) => {
        done(try_binary::<$arrow, $arrow, $arrow>($call, |a, b| {
            if b == 0 { Err(by_zero($call, a)) } else { Ok(Some(a.$int(b))) }
        })?)
    };
}

fn divide(call: &Call<'_>) -> Result<ArrayRef> {
    checked_by_type!(call, wrapping_div, |a, b| a / b, decimal::divide)
}

fn remainder(call: &Call<'_>) -> Result<ArrayRef> {
    checked_by_type!(call, wrapping_rem, |a, b| a % b, decimal::remainder)
}

fn negate(call: &Call<'_>) -> Result<ArrayRef> {
    match &call.sql_type.kind {
        TypeKind::TinyInt => done(unary::<at::Int8Type, at::Int8Type>(call, i8::wrapping_neg)),
        TypeKind::SmallInt => done(unary::<at::Int16Type, at::Int16Type>(call, i16::wrapping_neg)),
        TypeKind::Int => done(unary::<at::Int32Type, at::Int32Type>(call, i32::wrapping_neg)),
        TypeKind::BigInt => done(unary::<at::Int64Type, at::Int64Type>(call, i64::wrapping_neg)),
        TypeKind::Float => done(unary::<at::Float32Type, at::Float32Type>(call, |v| -v)),
        TypeKind::Double => done(unary::<at::Float64Type, at::Float64Type>(call, |v| -v)),
        TypeKind::IntervalYearMonth => {
            done(unary::<at::IntervalYearMonthType, at::IntervalYearMonthType>(call, i32::wrapping_neg))
        }
        TypeKind::IntervalDayTime => {
            done(unary::<at::DurationMillisecondType, at::DurationMillisecondType>(call, i64::wrapping_neg))
        }
        kind => {
            let negated = unary::<at::Decimal128Type, at::Decimal128Type>(call, i128::wrapping_neg);
            done(negated.with_data_type(kind.arrow()))
        }
    }
}
