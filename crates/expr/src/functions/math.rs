//! Functions of numbers: rounding, powers, logarithms, angles, signs and random numbers.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, PrimitiveArray, cast::AsArray, types as at};
use gridhouse_base::random::Random;
use gridhouse_base::types::MAX_DECIMAL_PRECISION;
use gridhouse_base::{Result, SqlType, TypeKind, Value};

use super::kernel::{binary, make_texts, numbers, rows, unary, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Nulls, Param, Volatility, datetime, returns};
use crate::cast::{implicit_cast, numeric::decimal_from_double};
use crate::decimal;
use crate::expr::Expr;

const fn doubles(
    name: &'static str,
    signatures: &'static [&'static str],
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    fixed(name, &[], signatures, &[Param::Double], returns::double, eval)
}

const fn fixed(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    params: &'static [Param],
    returns: fn(&[Expr]) -> TypeKind,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Arithmetic,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Fixed { params, required: params.len(), variadic: false, returns, nulls: Nulls::Strict },
        eval,
    }
}

const fn custom(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Arithmetic,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

const fn random(function: Function, required: usize) -> Function {
    let Binding::Fixed { params, variadic, returns, .. } = function.binding else { return function };
    Function {
        volatility: Volatility::Random,
        binding: Binding::Fixed { params, required, variadic, returns, nulls: Nulls::Never },
        ..function
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    custom("ABS", &[], &["ABS(x)"], bind_same, abs),
    custom("SIGN", &[], &["SIGN(x)"], bind_same, sign),
    custom("CEIL", &["CEILING"], &["CEIL(x)", "CEIL(datetime TO unit)"], bind_whole, ceil),
    custom("FLOOR", &[], &["FLOOR(x)", "FLOOR(datetime TO unit)"], bind_whole, floor),
    custom("ROUND", &[], &["ROUND(x)", "ROUND(x, digits)"], bind_round, |c| round(c, decimal::rescale)),
    custom("TRUNCATE", &[], &["TRUNCATE(x)", "TRUNCATE(x, digits)"], bind_round, |c| round(c, truncated)),
    fixed("POWER", &["POW"], &["POWER(x, y)"], &[Param::Double, Param::Double], returns::double, |c| {
        pair(c, f64::powf)
    }),
    fixed("ATAN2", &[], &["ATAN2(y, x)"], &[Param::Double, Param::Double], returns::double, |c| pair(c, f64::atan2)),
    doubles("SQRT", &["SQRT(x)"], |c| map(c, f64::sqrt)),
    doubles("EXP", &["EXP(x)"], |c| map(c, f64::exp)),
    doubles("LN", &["LN(x)"], |c| map(c, f64::ln)),
    doubles("LOG10", &["LOG10(x)"], |c| map(c, f64::log10)),
    doubles("LOG2", &["LOG2(x)"], |c| map(c, |x| x.ln() / 2f64.ln())),
    custom("LOG", &[], &["LOG(x)", "LOG(base, x)"], bind_log, |c| pair(c, |base, x| x.ln() / base.ln())),
    doubles("SIN", &["SIN(x)"], |c| map(c, f64::sin)),
    doubles("COS", &["COS(x)"], |c| map(c, f64::cos)),
    doubles("TAN", &["TAN(x)"], |c| map(c, f64::tan)),
    doubles("COT", &["COT(x)"], |c| map(c, |x| 1.0 / x.tan())),
    doubles("ASIN", &["ASIN(x)"], |c| map(c, f64::asin)),
    doubles("ACOS", &["ACOS(x)"], |c| map(c, f64::acos)),
    doubles("ATAN", &["ATAN(x)"], |c| map(c, f64::atan)),
    doubles("SINH", &["SINH(x)"], |c| map(c, f64::sinh)),
    doubles("COSH", &["COSH(x)"], |c| map(c, f64::cosh)),
    doubles("TANH", &["TANH(x)"], |c| map(c, f64::tanh)),
    doubles("DEGREES", &["DEGREES(x)"], |c| map(c, f64::to_degrees)),
    doubles("RADIANS", &["RADIANS(x)"], |c| map(c, f64::to_radians)),
    fixed("PI", &[], &["PI()"], &[], returns::double, |c| constant(c, std::f64::consts::PI)),
    fixed("E", &[], &["E()"], &[], returns::double, |c| constant(c, std::f64::consts::E)),
    fixed("BIN", &[], &["BIN(x)"], &[Param::BigInt], returns::string, bin),
    random(fixed("RAND", &[], &["RAND()", "RAND(seed)"], &[Param::Int], returns::double, rand), 0),
    random(
        fixed(
            "RAND_INTEGER",
            &[],
            &["RAND_INTEGER(limit)", "RAND_INTEGER(seed, limit)"],
            &[Param::Int, Param::Int],
            returns::int,
            rand_integer,
        ),
        1,
    ),
    random(fixed("UUID", &[], &["UUID()"], &[], |_| TypeKind::Char(36), uuid), 0),
];

fn map(call: &Call<'_>, f: fn(f64) -> f64) -> Result<ArrayRef> {
    Ok(Arc::new(unary::<at::Float64Type, at::Float64Type>(call, f)))
}

fn pair(call: &Call<'_>, f: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    Ok(Arc::new(binary::<at::Float64Type, at::Float64Type, at::Float64Type>(call, f)))
}

fn constant(call: &Call<'_>, value: f64) -> Result<ArrayRef> {
    Ok(Value::Double(value).to_array(&TypeKind::Double, call.len))
}

/// A bare NULL is an INT here.
fn number(function: &'static Function, arg: Expr) -> Result<Expr> {
    if *arg.kind() == TypeKind::Null {
        return implicit_cast(arg, &TypeKind::Int.nullable());
    }
    if arg.kind().is_numeric() { Ok(arg) } else { Err(function.wrong_types(&[arg])) }
}

fn bind_same(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let arg = number(function, arg)?;
    let sql_type = arg.sql_type().clone();
    Ok(function.call(vec![arg], sql_type))
}

/// FLOOR and CEIL: whole numbers stay, decimals lose their fraction digits; with a unit they cut a date or time.
fn bind_whole(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() == 2 {
        return datetime::bind_cut(function, args);
    }
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let arg = number(function, arg)?;
    let kind = match arg.kind() {
        TypeKind::Decimal { precision, .. } => TypeKind::Decimal { precision: *precision, scale: 0 },
        kind if kind.is_integer() => return Ok(arg),
        kind => kind.clone(),
    };
    let nullable = arg.sql_type().nullable;
    Ok(function.call(vec![arg], SqlType { kind, nullable }))
}

fn bind_log(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    match args.len() {
        1 => super::resolve("LN", args),
        2 => {
            let nullable = args.iter().any(|arg| arg.sql_type().nullable);
            let double = |arg: Expr| implicit_cast(number(function, arg)?, &TypeKind::Double.nullable());
            let args = args.into_iter().map(double).collect::<Result<Vec<_>>>()?;
            Ok(function.call(args, SqlType { kind: TypeKind::Double, nullable }))
        }
        n => Err(function.wrong_count(n)),
    }
}

/// The value and the number of digits, which is 0 where it is left out.
fn with_digits(function: &'static Function, mut args: Vec<Expr>) -> Result<(Expr, Expr)> {
    let digits = match args.len() {
        1 => Expr::int(0),
        2 => args.remove(1),
        n => return Err(function.wrong_count(n)),
    };
    if !digits.kind().is_integer() && *digits.kind() != TypeKind::Null {
        return Err(function.wrong_types(&[args.remove(0), digits]));
    }
    let x = number(function, args.remove(0))?;
    Ok((x, implicit_cast(digits, &TypeKind::Int.nullable())?))
}

fn bind_round(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let (x, digits) = with_digits(function, args)?;
    let nullable = x.sql_type().nullable || digits.sql_type().nullable;
    let kind = match (x.kind(), digits.as_literal()) {
        (TypeKind::Decimal { precision, scale }, Some(Value::Integer(digits))) => {
            rounded_type(*precision, *scale, *digits)
        }
        (kind, _) => kind.clone(),
    };
    Ok(function.call(vec![x, digits], SqlType { kind, nullable }))
}

/// Rounding may carry into one more digit.
fn rounded_type(precision: u8, scale: u8, digits: i64) -> TypeKind {
    if digits >= i64::from(scale) {
        TypeKind::Decimal { precision, scale }
    } else {
        let kept = digits.max(0) as u8;
        TypeKind::Decimal { precision: (1 + precision - scale + kept).min(MAX_DECIMAL_PRECISION), scale: kept }
    }
}

fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(match call.kind(0) {
        TypeKind::TinyInt => Arc::new(unary::<at::Int8Type, at::Int8Type>(call, i8::wrapping_abs)),
        TypeKind::SmallInt => Arc::new(unary::<at::Int16Type, at::Int16Type>(call, i16::wrapping_abs)),
        TypeKind::Int => Arc::new(unary::<at::Int32Type, at::Int32Type>(call, i32::wrapping_abs)),
        TypeKind::BigInt => Arc::new(unary::<at::Int64Type, at::Int64Type>(call, i64::wrapping_abs)),
        TypeKind::Float => Arc::new(unary::<at::Float32Type, at::Float32Type>(call, f32::abs)),
        TypeKind::Double => Arc::new(unary::<at::Float64Type, at::Float64Type>(call, f64::abs)),
        _ => decimals(call, i128::wrapping_abs),
    })
}

fn decimals(call: &Call<'_>, f: impl Fn(i128) -> i128) -> ArrayRef {
    let result = unary::<at::Decimal128Type, at::Decimal128Type>(call, f);
    Arc::new(result.with_data_type(call.sql_type.kind.arrow()))
}

fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let float = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
    Ok(match call.kind(0) {
        TypeKind::TinyInt => Arc::new(unary::<at::Int8Type, at::Int8Type>(call, i8::signum)),
        TypeKind::SmallInt => Arc::new(unary::<at::Int16Type, at::Int16Type>(call, i16::signum)),
        TypeKind::Int => Arc::new(unary::<at::Int32Type, at::Int32Type>(call, i32::signum)),
        TypeKind::BigInt => Arc::new(unary::<at::Int64Type, at::Int64Type>(call, i64::signum)),
        TypeKind::Float => Arc::new(unary::<at::Float32Type, at::Float32Type>(call, |x| float(x.into()) as f32)),
        TypeKind::Double => Arc::new(unary::<at::Float64Type, at::Float64Type>(call, float)),
        TypeKind::Decimal { precision, scale } => {
            let (one, limit) = (decimal::power(*scale), decimal::limit(*precision));
            // DECIMAL(2, 2) has no 1; such a sign is NULL.
            let signs = call.args[0].array.as_primitive::<at::Decimal128Type>();
            let signs = signs.unary_opt::<_, at::Decimal128Type>(|v| {
                Some(v.signum() * one).filter(|sign| sign.unsigned_abs() < limit)
            });
            Arc::new(signs.with_data_type(call.sql_type.kind.arrow()))
        }
        kind => unreachable!("{kind} is no number"),
    })
}

fn ceil(call: &Call<'_>) -> Result<ArrayRef> {
    whole(call, f64::ceil, |v, factor| v.div_euclid(factor) + i128::from(v.rem_euclid(factor) != 0))
}

fn floor(call: &Call<'_>) -> Result<ArrayRef> {
    whole(call, f64::floor, i128::div_euclid)
}

fn whole(call: &Call<'_>, float: fn(f64) -> f64, exact: fn(i128, i128) -> i128) -> Result<ArrayRef> {
    if call.args.len() == 2 {
        return datetime::cut(call);
    }
    Ok(match call.kind(0) {
        TypeKind::Float => Arc::new(unary::<at::Float32Type, at::Float32Type>(call, |x| float(x.into()) as f32)),
        TypeKind::Double => Arc::new(unary::<at::Float64Type, at::Float64Type>(call, float)),
        TypeKind::Decimal { scale, .. } => {
            let factor = decimal::power(*scale);
            decimals(call, |v| exact(v, factor))
        }
        kind => unreachable!("{kind} is whole already"),
    })
}

/// Like [`decimal::rescale`], but cut towards zero.
fn truncated(value: i128, from: u8, precision: u8, to: u8) -> Option<i128> {
    if to >= from {
        return decimal::rescale(value, from, precision, to);
    }
    Some(value / decimal::power(from - to)).filter(|v| v.unsigned_abs() < decimal::limit(precision))
}

type Rescale = fn(i128, u8, u8, u8) -> Option<i128>;

/// `value` at `scale`, kept to `digits` digits after the point (before it where negative), at the same scale.
fn kept(value: i128, scale: u8, digits: i32, rescale: Rescale) -> Option<i128> {
    let dropped = i32::from(scale).saturating_sub(digits);
    if dropped <= 0 {
        return Some(value);
    }
    if dropped > 38 {
        return Some(0);
    }
    let dropped = dropped as u8;
    rescale(value, dropped, 38, 0)?.checked_mul(decimal::power(dropped))
}

fn round(call: &Call<'_>, rescale: Rescale) -> Result<ArrayRef> {
    let digits = numbers::<at::Int32Type>(call, 1);
    let valid = valid_rows(call.args, call.len);
    macro_rules! integers {
        ($arrow:ty) => {{
            let x = numbers::<$arrow>(call, 0);
            Arc::new(rows::<$arrow>(call.len, valid.as_ref(), |i| {
                Ok(kept(x.at(i).into(), 0, digits.at(i), rescale).map(|v| v as _))
            })?)
        }};
    }
    Ok(match call.kind(0) {
        TypeKind::TinyInt => integers!(at::Int8Type),
        TypeKind::SmallInt => integers!(at::Int16Type),
        TypeKind::Int => integers!(at::Int32Type),
        TypeKind::BigInt => integers!(at::Int64Type),
        TypeKind::Float => {
            let x = numbers::<at::Float32Type>(call, 0);
            Arc::new(rows::<at::Float32Type>(call.len, valid.as_ref(), |i| {
                // The digits of the widened FLOAT, as in Flink: 1.555 is a little less than that.
                let shown = f64::from(x.at(i));
                Ok(Some(round_double(shown, digits.at(i), rescale) as f32))
            })?)
        }
        TypeKind::Double => {
            let x = numbers::<at::Float64Type>(call, 0);
            Arc::new(rows::<at::Float64Type>(call.len, valid.as_ref(), |i| {
                Ok(Some(round_double(x.at(i), digits.at(i), rescale)))
            })?)
        }
        TypeKind::Decimal { scale, .. } => {
            let TypeKind::Decimal { precision, scale: wanted } = call.sql_type.kind else {
                unreachable!("stays decimal")
            };
            let x = numbers::<at::Decimal128Type>(call, 0);
            let result = rows::<at::Decimal128Type>(call.len, valid.as_ref(), |i| {
                Ok(kept(x.at(i), *scale, digits.at(i), rescale)
                    .and_then(|v| decimal::rescale(v, *scale, precision, wanted)))
            })?;
            Arc::new(result.with_data_type(call.sql_type.kind.arrow()))
        }
        kind => unreachable!("{kind} is no number"),
    })
}

/// Rounds the decimal digits that a reader sees, as Java's `BigDecimal.valueOf` does; numbers beyond 38 digits stay.
fn round_double(value: f64, digits: i32, rescale: Rescale) -> f64 {
    /// A double has at most 17 significant digits; this many fraction digits tell values from 1e-18 on apart.
    const SCALE: u8 = 18;
    if !value.is_finite() || digits >= i32::from(SCALE) {
        return value;
    }
    match decimal_from_double(value, MAX_DECIMAL_PRECISION, SCALE).and_then(|v| kept(v, SCALE, digits, rescale)) {
        Some(rounded) => decimal::to_double(rounded, SCALE),
        None => value,
    }
}

fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    let x = numbers::<at::Int64Type>(call, 0);
    let texts = make_texts(call, |i, out| {
        *out = format!("{:b}", x.at(i));
        Ok(true)
    })?;
    Ok(Arc::new(texts))
}

/// A generator of its own for each row, so that a row's value does not depend on how rows are batched.
fn generator(call: &Call<'_>, row: usize, salt: i32) -> Random {
    let number = call.numbers.map_or(row as u64, |numbers| numbers.value(row).into());
    let row = call.ctx.first_row.wrapping_add(number);
    // Neighbouring rows must not have neighbouring seeds: multiply by a large odd number (Fibonacci hashing).
    let mixed = row.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random =
        Random::new(call.ctx.seed ^ mixed ^ ((salt as u64) << 32) ^ call.place.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    random.bits();
    random
}

fn integer_at(call: &Call<'_>, arg: usize, row: usize) -> Option<i32> {
    let operand = call.args.get(arg)?;
    let array = operand.array.as_primitive::<at::Int32Type>();
    let row = operand.at(row);
    array.is_valid(row).then(|| array.value(row))
}

fn rand(call: &Call<'_>) -> Result<ArrayRef> {
    let value = |row| generator(call, row, integer_at(call, 0, row).unwrap_or(0)).unit();
    Ok(Arc::new(
        (0..call.len)
            .map(value)
            .collect::<Vec<f64>>()
            .into_iter()
            .map(Some)
            .collect::<PrimitiveArray<at::Float64Type>>(),
    ))
}

fn rand_integer(call: &Call<'_>) -> Result<ArrayRef> {
    let value = |row| {
        let (salt, limit) = match call.args.len() {
            1 => (0, integer_at(call, 0, row)),
            _ => (integer_at(call, 0, row).unwrap_or(0), integer_at(call, 1, row)),
        };
        // Java refuses a limit below 1; NULL keeps the other rows.
        let limit = limit.filter(|&limit| limit > 0)?;
        Some(generator(call, row, salt).below(limit as u64) as i32)
    };
    Ok(Arc::new((0..call.len).map(value).collect::<PrimitiveArray<at::Int32Type>>()))
}

fn uuid(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = make_texts(call, |row, out| {
        let mut random = generator(call, row, 0);
        let (high, low) = (random.bits(), random.bits());
        // Version 4, variant 10 (RFC 9562).
        let (high, low) = ((high & !0xF000) | 0x4000, (low & !(0b11 << 62)) | (0b10 << 62));
        *out = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        );
        Ok(true)
    })?;
    Ok(Arc::new(texts))
}
