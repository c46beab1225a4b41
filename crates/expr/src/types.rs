//! Which type several types have in common, and the precision and scale of decimal results.
//!
//! Follows Flink 1.20, which has two rules: Calcite's "least restrictive" type for CASE, IF, operators, constructors and set
//! operations, and its own merging (`LogicalTypeMerging`) for COALESCE, GREATEST and the like. They differ where FLOAT meets
//! DOUBLE: Calcite holds both to be equally wide and takes the first. Where Flink would refuse (a number and a text in one CASE)
//! a plain answer is given (text), as portability is reported elsewhere.

use gridhouse_base::types::MAX_DECIMAL_PRECISION;
use gridhouse_base::{Field, SqlType, TypeKind};

/// The type that all of `types` can be cast to without loss where there is one; nullable if any is. `None` where the
/// types have nothing in common (a DATE and a number). Of FLOAT and DOUBLE the first one counts, as in Calcite.
pub fn common_type(types: &[SqlType]) -> Option<SqlType> {
    common(types, Floats::First)
}

/// Like [`common_type`], but FLOAT and DOUBLE are DOUBLE, as where Flink merges types itself and where values are compared.
pub fn merged_type(types: &[SqlType]) -> Option<SqlType> {
    common(types, Floats::Wider)
}

/// Which of FLOAT and DOUBLE counts.
#[derive(Clone, Copy, PartialEq)]
enum Floats {
    First,
    Wider,
}

fn common(types: &[SqlType], floats: Floats) -> Option<SqlType> {
    let nullable = types.iter().any(|t| t.nullable || t.kind == TypeKind::Null);
    let mut kinds = types.iter().map(|t| &t.kind);
    let first = kinds.next()?.clone();
    let kind = kinds.try_fold(first, |common, kind| common_kind(&common, kind, floats))?;
    Some(SqlType { kind, nullable })
}

fn common_kind(a: &TypeKind, b: &TypeKind, floats: Floats) -> Option<TypeKind> {
    use TypeKind::{
        Array, Binary, Char, Date, Decimal, Double, Float, Map, Null, Row, Time, Timestamp, TimestampLtz, Varbinary,
        Varchar,
    };
    if a == b {
        return Some(a.clone());
    }
    Some(match (a, b) {
        (Null, other) | (other, Null) => other.clone(),
        (Char(m) | Varchar(m), Char(n) | Varchar(n)) => Varchar(*m.max(n)),
        (Binary(m) | Varbinary(m), Binary(n) | Varbinary(n)) => Varbinary(*m.max(n)),
        (x, y) if x.is_numeric() && y.is_numeric() => match (x, y) {
            (Float, Double) | (Double, Float) if floats == Floats::First => x.clone(),
            (Double, _) | (_, Double) | (Float, Decimal { .. }) | (Decimal { .. }, Float) => Double,
            (Float, _) | (_, Float) => Float,
            (Decimal { .. }, _) | (_, Decimal { .. }) => {
                let ((p, s), (q, t)) = (as_decimal(x)?, as_decimal(y)?);
                let scale = s.max(t);
                let whole = (p - s).max(q - t);
                // Digits before the point are kept at the expense of those after it.
                let precision = (whole + scale).min(MAX_DECIMAL_PRECISION);
                Decimal { precision, scale: scale.min(MAX_DECIMAL_PRECISION - whole) }
            }
            _ => {
                if integer_rank(x) >= integer_rank(y) {
                    x.clone()
                } else {
                    y.clone()
                }
            }
        },
        (Time(m), Time(n)) => Time(*m.max(n)),
        (Timestamp(m), Timestamp(n)) => Timestamp(*m.max(n)),
        (TimestampLtz(m) | Timestamp(m), TimestampLtz(n) | Timestamp(n)) => TimestampLtz(*m.max(n)),
        (Date, other @ (Timestamp(_) | TimestampLtz(_))) | (other @ (Timestamp(_) | TimestampLtz(_)), Date) => {
            other.clone()
        }
        (Array(x), Array(y)) => Array(Box::new(common(&[(**x).clone(), (**y).clone()], floats)?)),
        (Map(k, v), Map(l, w)) => {
            let key = common(&[(**k).clone(), (**l).clone()], floats)?;
            Map(Box::new(key), Box::new(common(&[(**v).clone(), (**w).clone()], floats)?))
        }
        (Row(xs), Row(ys)) if xs.len() == ys.len() => {
            let field = |(x, y): (&Field, &Field)| {
                let sql_type = common(&[x.sql_type.clone(), y.sql_type.clone()], floats)?;
                Some(Field { name: x.name.clone(), sql_type })
            };
            Row(xs.iter().zip(ys).map(field).collect::<Option<_>>()?)
        }
        (Char(_) | Varchar(_), other) | (other, Char(_) | Varchar(_)) if is_atomic(other) => TypeKind::STRING,
        _ => return None,
    })
}

fn is_atomic(kind: &TypeKind) -> bool {
    kind.is_numeric() || kind.is_datetime() || *kind == TypeKind::Boolean
}

fn integer_rank(kind: &TypeKind) -> u8 {
    match kind {
        TypeKind::TinyInt => 0,
        TypeKind::SmallInt => 1,
        TypeKind::Int => 2,
        _ => 3,
    }
}

/// Precision and scale of an exact number seen as a decimal.
pub(crate) fn as_decimal(kind: &TypeKind) -> Option<(u8, u8)> {
    Some(match kind {
        TypeKind::TinyInt => (3, 0),
        TypeKind::SmallInt => (5, 0),
        TypeKind::Int => (10, 0),
        TypeKind::BigInt => (19, 0),
        TypeKind::Decimal { precision, scale } => (*precision, *scale),
        _ => return None,
    })
}

/// Flink's adjustment of a result beyond 38 digits: fraction digits give way, down to six.
fn adjusted(precision: u32, scale: u32) -> TypeKind {
    let max = u32::from(MAX_DECIMAL_PRECISION);
    if precision <= max {
        return TypeKind::Decimal { precision: precision as u8, scale: scale as u8 };
    }
    let whole = precision - scale;
    let scale = max.saturating_sub(whole).max(scale.min(6));
    TypeKind::Decimal { precision: MAX_DECIMAL_PRECISION, scale: scale as u8 }
}

/// The kind of a sum or difference of decimals.
pub(crate) fn decimal_sum(a: (u8, u8), b: (u8, u8)) -> TypeKind {
    let ((p, s), (q, t)) = (wide(a), wide(b));
    let scale = s.max(t);
    adjusted((p - s).max(q - t) + scale + 1, scale)
}

/// The kind of a product of decimals.
pub(crate) fn decimal_product(a: (u8, u8), b: (u8, u8)) -> TypeKind {
    let ((p, s), (q, t)) = (wide(a), wide(b));
    adjusted(p + q + 1, s + t)
}

/// The kind of a quotient of decimals.
pub(crate) fn decimal_quotient(a: (u8, u8), b: (u8, u8)) -> TypeKind {
    let ((p, s), (q, t)) = (wide(a), wide(b));
    let scale = 6.max(s + q + 1);
    adjusted(p - s + t + scale, scale)
}

/// The kind of a remainder of decimals.
pub(crate) fn decimal_remainder(a: (u8, u8), b: (u8, u8)) -> TypeKind {
    let ((p, s), (q, t)) = (wide(a), wide(b));
    if s == 0 && t == 0 {
        return TypeKind::Decimal { precision: b.0, scale: 0 };
    }
    let scale = s.max(t);
    adjusted((p - s).min(q - t) + scale, scale)
}

fn wide((precision, scale): (u8, u8)) -> (u32, u32) {
    (precision.into(), scale.into())
}
