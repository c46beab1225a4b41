//! `INTERVAL` constants: `INTERVAL '1-6' YEAR TO MONTH` in months, `INTERVAL '1 10:30' DAY TO MINUTE` in milliseconds.

use gridhouse_base::{Error, Result, TypeKind, Value};
use gridhouse_expr::Expr;

/// The units of the day-time intervals, from large to small, with their milliseconds.
const DAY_TIME: [(&str, i64); 4] = [("DAY", 86_400_000), ("HOUR", 3_600_000), ("MINUTE", 60_000), ("SECOND", 1_000)];

/// The typed form of `INTERVAL [-]'value' from [TO to]`.
///
/// # Errors
/// `Invalid` where the text does not fit the units.
pub(crate) fn interval(negative: bool, value: &str, from: &str, to: Option<&str>) -> Result<Expr> {
    let wrong = || {
        let units = to.map_or(from.to_owned(), |to| format!("{from} TO {to}"));
        let hint =
            "write it like INTERVAL '10' SECOND, INTERVAL '1 10:30' DAY TO MINUTE or INTERVAL '1-6' YEAR TO MONTH";
        Error::invalid(format!("'{value}' is no interval of {units}")).hint(hint)
    };
    let text = value.trim();
    let (minus, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let sign = if minus == negative { 1 } else { -1 };
    let (kind, amount) = match (from, to) {
        ("YEAR", None) => (TypeKind::IntervalYearMonth, whole(text).and_then(|n| n.checked_mul(12))),
        ("QUARTER", None) => (TypeKind::IntervalYearMonth, whole(text).and_then(|n| n.checked_mul(3))),
        ("MONTH", None) => (TypeKind::IntervalYearMonth, whole(text)),
        ("YEAR", Some("MONTH")) => (TypeKind::IntervalYearMonth, years_and_months(text)),
        ("WEEK", None) => (TypeKind::IntervalDayTime, whole(text).and_then(|n| n.checked_mul(7 * 86_400_000))),
        ("MILLISECOND", None) => (TypeKind::IntervalDayTime, whole(text)),
        _ => (TypeKind::IntervalDayTime, day_time(text, from, to.unwrap_or(from))),
    };
    let amount = amount.ok_or_else(wrong)?;
    if kind == TypeKind::IntervalYearMonth && i32::try_from(amount).is_err() {
        return Err(wrong());
    }
    Ok(Expr::literal(Value::Integer(sign * amount), kind.not_null()))
}

fn whole(text: &str) -> Option<i64> {
    // At most 18 digits: a sign cannot overflow them.
    (text.len() <= 18 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn years_and_months(text: &str) -> Option<i64> {
    let (years, months) = text.split_once('-')?;
    let months = whole(months).filter(|&months| months < 12)?;
    whole(years)?.checked_mul(12)?.checked_add(months)
}

/// `1 10:30:15.5`, from one unit to another.
fn day_time(text: &str, from: &str, to: &str) -> Option<i64> {
    let index = |unit: &str| DAY_TIME.iter().position(|(name, _)| *name == unit);
    let (first, last) = (index(from)?, index(to)?);
    if first > last {
        return None;
    }
    let mut rest = text;
    let mut total: i64 = 0;
    for (i, (unit, millis)) in DAY_TIME.iter().enumerate().take(last + 1).skip(first) {
        let part = if i == last {
            rest
        } else {
            let (part, tail) = rest.split_once(if *unit == "DAY" { ' ' } else { ':' })?;
            rest = tail.trim_start();
            part
        };
        let (part, fraction) =
            if *unit == "SECOND" { part.split_once('.').unwrap_or((part, "0")) } else { (part, "0") };
        let amount = whole(part)?;
        let limit = [i64::MAX, 24, 60, 60][i];
        if i > first && amount >= limit {
            return None;
        }
        total = total.checked_add(amount.checked_mul(*millis)?)?;
        if *unit == "SECOND" {
            // Milliseconds are what an interval holds; further digits are cut.
            let digits: String = fraction.chars().chain("00".chars()).take(3).collect();
            whole(fraction)?;
            total = total.checked_add(whole(&digits)?)?;
        }
    }
    Some(total)
}
