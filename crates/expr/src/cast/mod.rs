//! Casts: which exist, explicit and implicit, and where their kernels are.
//!
//! Source of the rules: Flink 1.20, "Data Types: Casting". Whole numbers wrap when they are narrowed explicitly, as in
//! Flink; a narrowing that the program inserts itself is checked, so that no row changes its value silently. A number that
//! does not fit a DECIMAL becomes NULL. A text that cannot be read, or is too large, fails under CAST and is NULL under TRY_CAST.

pub(crate) mod datetime;
mod nested;
pub(crate) mod numeric;
pub(crate) mod text;

use arrow_array::{ArrayRef, new_null_array};
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value};

use crate::expr::{EvalContext, Expr};
pub use crate::types::common_type;

/// `CAST(expr AS to)`, or `TRY_CAST` where `safe`. The result's nullability follows from the input, not from `to`.
///
/// # Errors
/// `Invalid` where there is no such cast.
pub fn cast(expr: Expr, to: &SqlType, safe: bool) -> Result<Expr> {
    if *expr.kind() == to.kind {
        return Ok(expr);
    }
    if !exists(expr.kind(), &to.kind) {
        return Err(no_cast(&expr, &to.kind));
    }
    if expr.as_literal() == Some(&Value::Null) {
        return Ok(Expr::null(to.kind.clone()));
    }
    let nullable = safe || expr.sql_type().nullable;
    Ok(Expr::Cast { input: Box::new(expr), safe, sql_type: to.with_nullable(nullable) })
}

/// The cast that is inserted where a value of one type meets a place of another: a query's column and a sink's, the two
/// sides of a comparison, an argument and a parameter. The result's nullability follows from the input, not from `to`.
///
/// # Errors
/// `Invalid` where the meaning would not be plain; the message names both types, the hint the explicit cast.
pub fn implicit_cast(expr: Expr, to: &SqlType) -> Result<Expr> {
    let from = expr.kind();
    if *from == to.kind {
        return Ok(expr);
    }
    let literal = from.is_text() && expr.as_literal().is_some() && is_atomic(&to.kind);
    if !literal && !is_implicit(from, &to.kind) {
        let error = Error::invalid(format!("{} ({expr}) does not go into {}", expr.kind(), to.kind));
        return Err(if exists(expr.kind(), &to.kind) {
            error.hint(format!("if you mean it, write CAST(… AS {})", to.kind))
        } else {
            error.hint(format!("give a value of type {}", to.kind))
        });
    }
    if is_narrowing(from, &to.kind) {
        let nullable = expr.sql_type().nullable;
        return Ok(crate::functions::conversion::CHECKED_CAST.call(vec![expr], to.with_nullable(nullable)));
    }
    literal_cast(expr, to)
}

/// CAST, done at once where `expr` is a text literal: what is misspelt in a statement is reported with the statement, not
/// with its first row. An instant waits, as its zone is the session's.
pub(crate) fn literal_cast(expr: Expr, to: &SqlType) -> Result<Expr> {
    let literal = expr.kind().is_text() && expr.as_literal().is_some();
    let cast = cast(expr, to, false)?;
    if !literal || matches!(to.kind, TypeKind::TimestampLtz(_)) {
        return Ok(cast);
    }
    let ctx = EvalContext { now_micros: 0, zone: chrono_tz::Tz::UTC, seed: 0, first_row: 0 };
    let value = Value::from_array(&cast.eval(&[], 1, &ctx)?, 0, &to.kind);
    Ok(Expr::Literal { sql_type: to.with_nullable(value.is_null()), value })
}

/// Whether `expr` could be cast implicitly to `to`.
pub fn can_cast_implicitly(from: &TypeKind, to: &TypeKind) -> bool {
    from == to || is_implicit(from, to)
}

fn no_cast(expr: &Expr, to: &TypeKind) -> Error {
    let from = expr.kind();
    let error = Error::invalid(format!("there is no cast from {from} to {to} ({expr})"));
    match (from, to) {
        (from, TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_)) if from.is_numeric() => {
            error.hint("use TO_TIMESTAMP_LTZ(number, 0) for seconds, TO_TIMESTAMP_LTZ(number, 3) for milliseconds")
        }
        (TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_), to) if to.is_numeric() => {
            error.hint("use UNIX_TIMESTAMP(CAST(x AS STRING)) for seconds")
        }
        (from, _) if from.is_interval() => error.hint("use TIMESTAMPDIFF(unit, from, to) for the number of units"),
        (_, to) if to.is_interval() => error.hint("multiply a unit: x * INTERVAL '1' SECOND"),
        _ => error.hint("go through STRING, or leave the cast away"),
    }
}

fn is_atomic(kind: &TypeKind) -> bool {
    kind.is_text() || kind.is_numeric() || kind.is_datetime() || *kind == TypeKind::Boolean
}

/// Whether CAST knows the pair.
fn exists(from: &TypeKind, to: &TypeKind) -> bool {
    use TypeKind::{Array, Boolean, Date, Map, Null, Row, Time, Timestamp, TimestampLtz};
    if from == to || *from == Null {
        return true;
    }
    match (from, to) {
        (_, to) if to.is_text() => true,
        (from, to) if from.is_text() => is_atomic(to) || to.is_bytes(),
        (from, to) if from.is_numeric() || *from == Boolean => to.is_numeric() || *to == Boolean,
        (from, to) if from.is_bytes() => to.is_bytes(),
        (Date, Timestamp(_) | TimestampLtz(_)) => true,
        (Time(_), Time(_) | Timestamp(_) | TimestampLtz(_)) => true,
        (Timestamp(_) | TimestampLtz(_), to) => to.is_datetime(),
        (Array(a), Array(b)) => exists(&a.kind, &b.kind),
        (Map(k, v), Map(l, w)) => exists(&k.kind, &l.kind) && exists(&v.kind, &w.kind),
        (Row(xs), Row(ys)) => {
            xs.len() == ys.len() && xs.iter().zip(ys).all(|(x, y)| exists(&x.sql_type.kind, &y.sql_type.kind))
        }
        _ => false,
    }
}

/// Whether the cast may be inserted.
fn is_implicit(from: &TypeKind, to: &TypeKind) -> bool {
    use TypeKind::{Array, Date, Decimal, Map, Null, Row, Time, Timestamp, TimestampLtz};
    if from == to || *from == Null {
        return true;
    }
    match (from, to) {
        (from, to) if to.is_text() => is_atomic(from),
        (Decimal { scale, .. }, to) if to.is_integer() => *scale == 0,
        (TypeKind::Float | TypeKind::Double, to) if to.is_integer() => false,
        (from, to) if from.is_numeric() => to.is_numeric(),
        (from, to) if from.is_bytes() => to.is_bytes(),
        (Date, Timestamp(_) | TimestampLtz(_)) | (Time(_), Time(_)) => true,
        (Timestamp(_) | TimestampLtz(_), to) => to.is_datetime(),
        (Array(a), Array(b)) => is_implicit(&a.kind, &b.kind),
        (Map(k, v), Map(l, w)) => is_implicit(&k.kind, &l.kind) && is_implicit(&v.kind, &w.kind),
        (Row(xs), Row(ys)) => {
            xs.len() == ys.len() && xs.iter().zip(ys).all(|(x, y)| is_implicit(&x.sql_type.kind, &y.sql_type.kind))
        }
        _ => false,
    }
}

/// Whether a whole number may not fit.
fn is_narrowing(from: &TypeKind, to: &TypeKind) -> bool {
    let rank = |kind: &TypeKind| match kind {
        TypeKind::TinyInt => 1,
        TypeKind::SmallInt => 2,
        TypeKind::Int => 3,
        TypeKind::BigInt => 4,
        TypeKind::Decimal { .. } => 5,
        _ => 0,
    };
    to.is_integer() && rank(from) > rank(to)
}

/// Whether the cast cannot fail and costs next to nothing: a wider text or number.
pub(crate) fn is_cheap(from: &TypeKind, to: &TypeKind) -> bool {
    match (from, to) {
        (TypeKind::Char(m) | TypeKind::Varchar(m), TypeKind::Varchar(n)) => m <= n,
        (from, to) => from.is_integer() && to.is_numeric() && !is_narrowing(from, to),
    }
}

/// `array`, of SQL kind `from`, as `to`.
///
/// # Errors
/// `Invalid` where a value has no form in `to` and the cast is not `safe`; `Internal` where there is no such cast.
pub fn cast_array(array: &ArrayRef, from: &TypeKind, to: &TypeKind, safe: bool, ctx: &EvalContext) -> Result<ArrayRef> {
    use TypeKind::{Boolean, Decimal};
    if from == to {
        return Ok(array.clone());
    }
    if *from == TypeKind::Null {
        return Ok(new_null_array(&to.arrow(), array.len()));
    }
    match (from, to) {
        (_, to) if to.is_text() => Ok(text::to_text(array, from, to, ctx.zone)),
        (from, to) if from.is_text() => text::from_text(array, to, safe, ctx.zone),
        (from, to) if from.is_bytes() && to.is_bytes() => Ok(text::bytes_to_bytes(array, to)),
        (Decimal { scale, .. }, Decimal { precision, scale: wanted }) => {
            Ok(numeric::rescale(array, *scale, *precision, *wanted))
        }
        (from, to) if from.is_numeric() || *from == Boolean => numeric::cast(array, from, to, safe),
        (from, to) if from.is_datetime() && to.is_datetime() => datetime::cast(array, from, to, safe, ctx.zone),
        (from, to) => nested::cast(array, from, to, safe, ctx),
    }
}

/// The error for a kernel that is asked for a cast which [`exists`] denies.
fn unknown(from: &TypeKind, to: &TypeKind) -> Error {
    Error::internal(format!("no kernel casts {from} to {to}"))
}
