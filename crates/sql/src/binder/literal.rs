//! Constants with the types that Flink gives them: `1` INT, `1.5` DECIMAL(2, 1), `1e3` DOUBLE, `'x'` CHAR(1), all NOT NULL.

use chrono_tz::Tz;
use gridhouse_base::types::{MAX_DECIMAL_PRECISION, timestamp_units_per_second};
use gridhouse_base::{Error, Result, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_expr::calendar::Zone;
use gridhouse_expr::text::datetime::{literal_date, literal_time, literal_timestamp};
use gridhouse_expr::text::parse_hex;

use super::interval::interval;
use crate::ast::Literal;

/// The typed form of a constant.
///
/// # Errors
/// `Invalid` where the text is not a value of the type.
pub(super) fn literal(literal: &Literal, zone: Tz) -> Result<Expr> {
    Ok(match literal {
        Literal::Null => Expr::null(TypeKind::Null),
        Literal::Boolean(value) => Expr::boolean(*value),
        Literal::Number(text) => number(text, false)?,
        Literal::Text(text) => Expr::text(text),
        Literal::Hex(digits) => {
            let bytes = parse_hex(digits).ok_or_else(|| {
                Error::invalid(format!("X'{digits}' is no byte string")).hint("two hexadecimal digits make a byte")
            })?;
            let kind = TypeKind::Binary(bytes.len() as u32);
            Expr::literal(Value::Bytes(bytes.into()), kind.not_null())
        }
        Literal::Date(text) => moment(text, literal_date(text), TypeKind::Date, "DATE '2026-01-31'")?,
        Literal::Time(text) => moment(text, literal_time(text), TypeKind::Time(digits(text)), "TIME '23:59:59'")?,
        Literal::Timestamp(text) => {
            let precision = digits(text);
            let value = literal_timestamp(text, timestamp_units_per_second(precision), precision);
            moment(text, value, TypeKind::Timestamp(precision), "TIMESTAMP '2026-01-31 23:59:59.123'")?
        }
        Literal::TimestampLtz(text) => {
            let precision = digits(text);
            let per_second = timestamp_units_per_second(precision);
            let local = literal_timestamp(text, per_second, precision);
            let value = local.map(|local| Zone::new(zone).to_utc(local, per_second));
            moment(text, value, TypeKind::TimestampLtz(precision), "TIMESTAMP_LTZ '2026-01-31 23:59:59.123'")?
        }
        Literal::Interval { negative, value, from, to } => interval(*negative, value, from, *to)?,
    })
}

/// A number; `negative` where a minus sign stands right before it.
///
/// # Errors
/// `Invalid` where it has more digits than any type.
pub(super) fn number(text: &str, negative: bool) -> Result<Expr> {
    let malformed = || Error::invalid(format!("`{text}` is no number")).hint("write 1, 1.5 or 1e3");
    if text.contains(['e', 'E']) {
        let value: f64 = text.parse().map_err(|_| malformed())?;
        if value.is_infinite() {
            return Err(
                Error::invalid(format!("`{text}` is too large for DOUBLE")).hint("the largest is about 1.8e308")
            );
        }
        // As in Flink there is no negative zero among constants.
        let value = if negative && value != 0.0 { -value } else { value };
        return Ok(Expr::literal(Value::Double(value), TypeKind::Double.not_null()));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let too_long = || {
        let hint = format!("DECIMAL has {MAX_DECIMAL_PRECISION} digits; write it with an exponent (1e40) for DOUBLE");
        Error::invalid(format!("`{text}` has too many digits")).hint(hint)
    };
    let significant = digits.trim_start_matches('0');
    if significant.len() > usize::from(MAX_DECIMAL_PRECISION) || fraction.len() > usize::from(MAX_DECIMAL_PRECISION) {
        return Err(too_long());
    }
    let magnitude: i128 = if significant.is_empty() { 0 } else { significant.parse().map_err(|_| too_long())? };
    let value = if negative { -magnitude } else { magnitude };
    if fraction.is_empty() {
        if let Ok(value) = i64::try_from(value) {
            let kind = if i32::try_from(value).is_ok() { TypeKind::Int } else { TypeKind::BigInt };
            return Ok(Expr::literal(Value::Integer(value), kind.not_null()));
        }
        let kind = TypeKind::Decimal { precision: significant.len() as u8, scale: 0 };
        return Ok(Expr::literal(Value::Decimal(value), kind.not_null()));
    }
    // As Calcite counts: every digit that is written, zeros too, as long as there is room.
    let precision = digits.len().min(MAX_DECIMAL_PRECISION.into()) as u8;
    let kind = TypeKind::Decimal { precision, scale: fraction.len() as u8 };
    Ok(Expr::literal(Value::Decimal(value), kind.not_null()))
}

/// How many fraction digits of a second are written, at most nine.
fn digits(text: &str) -> u8 {
    let fraction = text.rsplit_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).count().min(9) as u8
}

/// Whether Flink takes a number of these digits: they fit BIGINT without the point.
pub(super) fn is_long(number: &Expr) -> bool {
    matches!(number.as_literal(), Some(Value::Decimal(unscaled)) if i64::try_from(*unscaled).is_err())
}

fn moment(text: &str, value: Option<i64>, kind: TypeKind, example: &str) -> Result<Expr> {
    match value {
        Some(value) => Ok(Expr::literal(Value::Integer(value), kind.not_null())),
        None => {
            let kind = kind.to_string();
            let name = kind.split('(').next().unwrap_or(&kind);
            Err(Error::invalid(format!("'{text}' is not a valid {name}")).hint(format!("write it like {example}")))
        }
    }
}
