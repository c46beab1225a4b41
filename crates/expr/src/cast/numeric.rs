//! Casts among numbers and truth values.
//!
//! Whole numbers wrap, floating-point numbers are cut towards zero and clamped to 32 or 64 bits (as in Java), decimals are
//! rounded half up and become NULL where they do not fit.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Decimal128Array, PrimitiveArray, cast::AsArray, types as at,
};
use gridhouse_base::{Error, Result, TypeKind};

use super::unknown;
use crate::decimal;
use crate::text::number;

pub(super) fn cast(array: &ArrayRef, from: &TypeKind, to: &TypeKind, safe: bool) -> Result<ArrayRef> {
    match from {
        TypeKind::TinyInt => from_integer(array.as_primitive::<at::Int8Type>(), to),
        TypeKind::SmallInt => from_integer(array.as_primitive::<at::Int16Type>(), to),
        TypeKind::Int => from_integer(array.as_primitive::<at::Int32Type>(), to),
        TypeKind::BigInt => from_integer(array.as_primitive::<at::Int64Type>(), to),
        TypeKind::Float => from_float(array.as_primitive::<at::Float32Type>(), to, safe),
        TypeKind::Double => from_float(array.as_primitive::<at::Float64Type>(), to, safe),
        TypeKind::Decimal { scale, .. } => from_decimal(array.as_primitive::<at::Decimal128Type>(), *scale, to),
        TypeKind::Boolean => {
            let source = array.as_boolean();
            let numbers = (0..source.len()).map(|i| source.is_valid(i).then(|| i8::from(source.value(i))));
            from_integer(&numbers.collect::<PrimitiveArray<at::Int8Type>>(), to)
        }
        _ => Err(unknown(from, to)),
    }
}

fn unary<S: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    array: &PrimitiveArray<S>,
    f: impl Fn(S::Native) -> T::Native,
) -> ArrayRef {
    Arc::new(array.unary::<_, T>(f))
}

fn truth<S: ArrowPrimitiveType>(array: &PrimitiveArray<S>, f: impl Fn(S::Native) -> bool) -> ArrayRef {
    Arc::new(BooleanArray::from_unary(array, f))
}

fn with_kind(array: Decimal128Array, to: &TypeKind) -> ArrayRef {
    Arc::new(array.with_data_type(to.arrow()))
}

fn from_integer<S: ArrowPrimitiveType>(array: &PrimitiveArray<S>, to: &TypeKind) -> Result<ArrayRef>
where
    S::Native: Into<i64> + Copy,
{
    let wide = |v: S::Native| -> i64 { v.into() };
    Ok(match to {
        TypeKind::TinyInt => unary::<S, at::Int8Type>(array, |v| wide(v) as i8),
        TypeKind::SmallInt => unary::<S, at::Int16Type>(array, |v| wide(v) as i16),
        TypeKind::Int => unary::<S, at::Int32Type>(array, |v| wide(v) as i32),
        TypeKind::BigInt => unary::<S, at::Int64Type>(array, wide),
        TypeKind::Float => unary::<S, at::Float32Type>(array, |v| wide(v) as f32),
        TypeKind::Double => unary::<S, at::Float64Type>(array, |v| wide(v) as f64),
        TypeKind::Boolean => truth(array, |v| wide(v) != 0),
        TypeKind::Decimal { precision, scale } => {
            let limit = decimal::limit(*precision);
            let factor = decimal::power(*scale);
            let scaled = |v| i128::from(wide(v)).checked_mul(factor).filter(|u| u.unsigned_abs() < limit);
            with_kind(array.unary_opt::<_, at::Decimal128Type>(scaled), to)
        }
        _ => return Err(Error::internal(format!("no kernel casts a whole number to {to}"))),
    })
}

fn from_float<S: ArrowPrimitiveType>(array: &PrimitiveArray<S>, to: &TypeKind, safe: bool) -> Result<ArrayRef>
where
    S::Native: Into<f64> + Copy,
{
    let wide = |v: S::Native| -> f64 { v.into() };
    Ok(match to {
        TypeKind::TinyInt => unary::<S, at::Int8Type>(array, |v| (wide(v) as i32) as i8),
        TypeKind::SmallInt => unary::<S, at::Int16Type>(array, |v| (wide(v) as i32) as i16),
        TypeKind::Int => unary::<S, at::Int32Type>(array, |v| wide(v) as i32),
        TypeKind::BigInt => unary::<S, at::Int64Type>(array, |v| wide(v) as i64),
        TypeKind::Float => unary::<S, at::Float32Type>(array, |v| wide(v) as f32),
        TypeKind::Double => unary::<S, at::Float64Type>(array, wide),
        TypeKind::Boolean => truth(array, |v| wide(v) != 0.0),
        TypeKind::Decimal { precision, scale } => {
            if !safe && let Some(bad) = array.iter().flatten().map(wide).find(|v| !v.is_finite()) {
                return Err(Error::invalid(format!("{bad} is not a valid {to}")).hint("TRY_CAST gives NULL instead"));
            }
            let read = |v| decimal_from_double(wide(v), *precision, *scale);
            with_kind(array.unary_opt::<_, at::Decimal128Type>(read), to)
        }
        _ => return Err(Error::internal(format!("no kernel casts a floating-point number to {to}"))),
    })
}

/// The decimal nearest to the shortest digits of `value`, which is what a reader sees.
pub(crate) fn decimal_from_double(value: f64, precision: u8, scale: u8) -> Option<i128> {
    number::parse_decimal(&format!("{value:e}"), precision, scale).ok()
}

fn from_decimal(array: &Decimal128Array, scale: u8, to: &TypeKind) -> Result<ArrayRef> {
    let factor = decimal::power(scale);
    // Java keeps the low 64 bits, then the low bits of the narrower type.
    let whole = |v: i128| (v / factor) as i64;
    Ok(match to {
        TypeKind::TinyInt => unary::<_, at::Int8Type>(array, |v| whole(v) as i8),
        TypeKind::SmallInt => unary::<_, at::Int16Type>(array, |v| whole(v) as i16),
        TypeKind::Int => unary::<_, at::Int32Type>(array, |v| whole(v) as i32),
        TypeKind::BigInt => unary::<_, at::Int64Type>(array, whole),
        TypeKind::Float => unary::<_, at::Float32Type>(array, |v| decimal::to_double(v, scale) as f32),
        TypeKind::Double => unary::<_, at::Float64Type>(array, |v| decimal::to_double(v, scale)),
        TypeKind::Boolean => truth(array, |v| v != 0),
        _ => return Err(Error::internal(format!("no kernel casts a decimal to {to}"))),
    })
}

/// Decimals of another precision and scale, rounded half up; NULL where they do not fit.
pub(super) fn rescale(array: &ArrayRef, from: u8, precision: u8, scale: u8) -> ArrayRef {
    let array = array.as_primitive::<at::Decimal128Type>();
    let to = TypeKind::Decimal { precision, scale };
    let rescaled = array.unary_opt::<_, at::Decimal128Type>(|v| decimal::rescale(v, from, precision, scale));
    with_kind(rescaled, &to)
}
