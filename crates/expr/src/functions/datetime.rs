//! Parts of dates and times: EXTRACT and its short forms, FLOOR and CEIL to a unit, DATE_TRUNC, TIMESTAMPDIFF and
//! TIMESTAMPADD, DATEDIFF.
//!
//! TIMESTAMP_LTZ is taken apart in the session's zone. Weeks are those of ISO 8601, except that FLOOR and CEIL cut at
//! Sundays, as in Flink; DATE_TRUNC cuts at Mondays, as in PostgreSQL, whose function it is. CEIL to a month or longer looks at
//! the day alone, and to seconds or longer at whole milliseconds; to a decade or longer, or from a DATE to days, it always goes
//! on to the next. All of this is Flink's. Not so the EPOCH of a TIMESTAMP_LTZ: here it is that of the moment, where Flink 1.20
//! counts the seconds of the local time.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, types as at};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value, error::nearest};

use super::interval::{self, from_integers, timestamp_add};
use super::kernel::{rows, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Volatility, lowered};
use crate::calendar::{Civil, MILLIS_PER_DAY, Zone, civil, day_of_year, days, iso_week, iso_weekday, months_between};
use crate::cast::{cast, datetime::integers};
use crate::expr::Expr;

/// A unit of time, or a part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A thousand years.
    Millennium,
    /// A hundred years.
    Century,
    /// Ten years.
    Decade,
    /// A year.
    Year,
    /// The year of the ISO week.
    IsoYear,
    /// Three months.
    Quarter,
    /// A month.
    Month,
    /// Seven days.
    Week,
    /// The number of the day in its year.
    Doy,
    /// The day of the week, Sunday is 1.
    Dow,
    /// The day of the week, Monday is 1.
    IsoDow,
    /// A day.
    Day,
    /// An hour.
    Hour,
    /// A minute.
    Minute,
    /// A second.
    Second,
    /// A thousandth of a second.
    Millisecond,
    /// A millionth of a second.
    Microsecond,
    /// A thousand-millionth of a second.
    Nanosecond,
    /// Seconds since 1970.
    Epoch,
}

const UNITS: [(&str, Unit); 22] = [
    ("MILLENNIUM", Unit::Millennium),
    ("CENTURY", Unit::Century),
    ("DECADE", Unit::Decade),
    ("YEAR", Unit::Year),
    ("ISOYEAR", Unit::IsoYear),
    ("QUARTER", Unit::Quarter),
    ("MONTH", Unit::Month),
    ("WEEK", Unit::Week),
    ("DOY", Unit::Doy),
    ("DAYOFYEAR", Unit::Doy),
    ("DOW", Unit::Dow),
    ("DAYOFWEEK", Unit::Dow),
    ("ISODOW", Unit::IsoDow),
    ("DAY", Unit::Day),
    ("DAYOFMONTH", Unit::Day),
    ("HOUR", Unit::Hour),
    ("MINUTE", Unit::Minute),
    ("SECOND", Unit::Second),
    ("MILLISECOND", Unit::Millisecond),
    ("MICROSECOND", Unit::Microsecond),
    ("NANOSECOND", Unit::Nanosecond),
    ("EPOCH", Unit::Epoch),
];

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(UNITS.iter().find(|(_, unit)| unit == self).map_or("", |(name, _)| name))
    }
}

impl Unit {
    /// The unit called `name`, in singular or plural, with or without ODBC's `SQL_TSI_`, ignoring case.
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.trim().to_uppercase();
        let upper = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        let find = |name: &str| UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
        find(upper).or_else(|| find(upper.strip_suffix('S')?))
    }

    /// Its length in months, if it has one.
    pub(super) fn months(self) -> Option<i64> {
        Some(match self {
            Self::Millennium => 12_000,
            Self::Century => 1_200,
            Self::Decade => 120,
            Self::Year => 12,
            Self::Quarter => 3,
            Self::Month => 1,
            _ => return None,
        })
    }

    /// Its length in milliseconds, if it has a fixed one of at least one.
    pub(super) fn millis(self) -> Option<i64> {
        Some(match self {
            Self::Week => 7 * MILLIS_PER_DAY,
            Self::Day => MILLIS_PER_DAY,
            Self::Hour => 3_600_000,
            Self::Minute => 60_000,
            Self::Second => 1_000,
            Self::Millisecond => 1,
            _ => return None,
        })
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
        family: Family::Datetime,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    custom("EXTRACT", &[], &["EXTRACT(unit FROM x)"], bind_extract, extract),
    custom("YEAR", &[], &["YEAR(x)"], bind_part, lowered),
    custom("QUARTER", &[], &["QUARTER(x)"], bind_part, lowered),
    custom("MONTH", &[], &["MONTH(x)"], bind_part, lowered),
    custom("WEEK", &["WEEKOFYEAR"], &["WEEK(x)"], bind_part, lowered),
    custom("DAYOFYEAR", &[], &["DAYOFYEAR(x)"], bind_part, lowered),
    custom("DAYOFMONTH", &["DAY"], &["DAYOFMONTH(x)"], bind_part, lowered),
    custom("DAYOFWEEK", &[], &["DAYOFWEEK(x)"], bind_part, lowered),
    custom("HOUR", &[], &["HOUR(x)"], bind_part, lowered),
    custom("MINUTE", &[], &["MINUTE(x)"], bind_part, lowered),
    custom("SECOND", &[], &["SECOND(x)"], bind_part, lowered),
    custom("DATE_TRUNC", &[], &["DATE_TRUNC('unit', x)", "DATE_TRUNC(x, 'unit')"], bind_trunc, cut),
    custom("TIMESTAMPDIFF", &[], &["TIMESTAMPDIFF(unit, from, to)"], bind_diff, diff),
    custom("TIMESTAMPADD", &[], &["TIMESTAMPADD(unit, count, x)"], bind_add, lowered),
    custom("DATEDIFF", &["DATE_DIFF"], &["DATEDIFF(to, from)", "DATEDIFF(unit, from, to)"], bind_datediff, lowered),
    custom("DATE_ADD", &[], &["DATE_ADD(date, days)", "DATE_ADD(x, INTERVAL '1' DAY)"], bind_date_add, lowered),
    custom("DATE_SUB", &[], &["DATE_SUB(date, days)", "DATE_SUB(x, INTERVAL '1' DAY)"], bind_date_add, lowered),
    custom("OVERLAPS", &[], &["(from, to) OVERLAPS (from, to)"], bind_overlaps, lowered),
    custom("INTERVAL BETWEEN", &[], &["(a - b) DAY"], interval::bind_between, lowered),
    custom("DATE", &[], &["DATE(x)"], |f, a| bind_convert(f, a, TypeKind::Date), lowered),
];

/// The unit in the text literal that stands first.
fn unit(function: &'static Function, arg: &Expr) -> Result<Unit> {
    let Some(Value::Text(name)) = arg.as_literal() else {
        return Err(Error::invalid(format!("the unit of {} is not a name but {arg}", function.name))
            .hint(function.signatures.join(", or ")));
    };
    Unit::named(name).ok_or_else(|| {
        let error = Error::invalid(format!("{} does not know the unit {name}", function.name));
        match nearest(name, UNITS.iter().map(|(name, _)| *name)) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE and SECOND are units"),
        }
    })
}

/// `expr` as a date or time; a text is read as a timestamp.
pub(super) fn moment(function: &'static Function, expr: Expr) -> Result<Expr> {
    match expr.kind() {
        kind if kind.is_text() || *kind == TypeKind::Null => cast(expr, &TypeKind::Timestamp(3).nullable(), false),
        kind if kind.is_datetime() => Ok(expr),
        _ => Err(function.wrong_types(&[expr])),
    }
}

fn bind_extract(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [name, x] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let unit = unit(function, &name)?;
    let x = if x.kind().is_interval() { x } else { moment(function, x)? };
    let of_time = matches!(unit, Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond);
    let fits = match x.kind() {
        TypeKind::Time(_) => of_time,
        TypeKind::IntervalYearMonth => matches!(unit, Unit::Year | Unit::Quarter | Unit::Month),
        TypeKind::IntervalDayTime => of_time || unit == Unit::Day,
        _ => true,
    };
    if !fits {
        return Err(Error::invalid(format!("{} has no {unit}", x.kind())).hint("take it from a DATE or TIMESTAMP"));
    }
    let nullable = x.sql_type().nullable;
    let name = Expr::text(&unit.to_string());
    Ok(function.call(vec![name, x], SqlType { kind: TypeKind::BigInt, nullable }))
}

fn bind_part(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [x] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    super::resolve("EXTRACT", vec![Expr::text(function.name), x])
}

/// What the kernels need of the unit and of the moments of argument `i`: a day and nanoseconds within it.
pub(super) struct Moments {
    values: arrow_array::Int64Array,
    per_second: i64,
    days_only: bool,
    zone: Option<Zone>,
}

impl Moments {
    pub(super) fn new(call: &Call<'_>, i: usize) -> Self {
        let kind = call.kind(i);
        let per_second = match kind {
            TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => timestamp_units_per_second(*p),
            _ => 1_000,
        };
        let zone = matches!(kind, TypeKind::TimestampLtz(_)).then(|| Zone::new(call.ctx.zone));
        let values = integers(&call.args[i].array);
        Self { values, per_second, days_only: *kind == TypeKind::Date, zone }
    }

    /// Day, and time within the day in units of `per_second`, local.
    pub(super) fn at(&mut self, row: usize) -> (i64, i64) {
        let value = self.values.value(row);
        if self.days_only {
            return (value, 0);
        }
        let local = self.zone.as_mut().map_or(value, |zone| zone.to_local(value, self.per_second));
        let day = self.per_second * 86_400;
        (local.div_euclid(day), local.rem_euclid(day))
    }
}

fn unit_of(call: &Call<'_>) -> Result<Unit> {
    unit(call.function, &call.exprs[0])
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(call)?;
    let valid = valid_rows(call.args, call.len);
    let interval = call.kind(1).is_interval();
    let operand = &call.args[1];
    let mut moments = Moments::new(call, 1);
    let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let row = operand.at(i);
        if interval {
            return Ok(Some(interval_part(unit, moments.values.value(row))));
        }
        let (day, time) = moments.at(row);
        Ok(Some(part(unit, day, time, moments.per_second, moments.values.value(row), moments.days_only)))
    })?;
    Ok(Arc::new(result))
}

fn interval_part(unit: Unit, value: i64) -> i64 {
    match unit {
        Unit::Year => value / 12,
        Unit::Quarter => (value % 12 + 2) / 3,
        Unit::Month => value % 12,
        Unit::Day => value / MILLIS_PER_DAY,
        Unit::Hour => value % MILLIS_PER_DAY / 3_600_000,
        Unit::Minute => value % 3_600_000 / 60_000,
        Unit::Second => value % 60_000 / 1_000,
        _ => value % 1_000,
    }
}

fn part(unit: Unit, day: i64, time: i64, per_second: i64, value: i64, days_only: bool) -> i64 {
    let Civil { year, month, day: day_of_month } = civil(day);
    let fraction = time % per_second;
    let seconds = time / per_second;
    match unit {
        Unit::Millennium => (year + if year > 0 { 999 } else { -999 }) / 1_000,
        Unit::Century => (year + if year > 0 { 99 } else { -99 }) / 100,
        Unit::Decade => year.div_euclid(10),
        Unit::Year => year,
        Unit::IsoYear => iso_week(day).0,
        Unit::Quarter => (i64::from(month) + 2) / 3,
        Unit::Month => month.into(),
        Unit::Week => iso_week(day).1.into(),
        Unit::Doy => day_of_year(day),
        Unit::Dow => i64::from(iso_weekday(day)) % 7 + 1,
        Unit::IsoDow => iso_weekday(day).into(),
        Unit::Day => day_of_month.into(),
        Unit::Hour => seconds / 3_600,
        Unit::Minute => seconds / 60 % 60,
        Unit::Second => seconds % 60,
        Unit::Millisecond => fraction * 1_000 / per_second,
        Unit::Microsecond => fraction * 1_000 * 1_000 / per_second,
        Unit::Nanosecond => fraction * (1_000_000_000 / per_second),
        Unit::Epoch if days_only => value.saturating_mul(86_400),
        // Towards 1970, as in Flink.
        Unit::Epoch => value / per_second,
    }
}

/// FLOOR, CEIL and DATE_TRUNC: the unit, then what is cut.
pub(super) fn bind_cut(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [name, x] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let unit = unit(function, &name)?;
    let x = moment(function, x)?;
    let cuttable = unit.months().is_some() || unit.millis().is_some();
    let within_day = unit.millis().is_some_and(|millis| millis < MILLIS_PER_DAY);
    match x.kind() {
        _ if !cuttable => {
            return Err(Error::invalid(format!("{} does not cut to {unit}", function.name))
                .hint("cut to YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE or SECOND"));
        }
        // A time has no days to cut, and a date no hours.
        TypeKind::Time(_) if !within_day => return Ok(x),
        TypeKind::Date if within_day => return Ok(x),
        _ => {}
    }
    let sql_type = x.sql_type().clone();
    Ok(function.call(vec![Expr::text(&unit.to_string()), x], sql_type))
}

/// DATE_TRUNC takes its arguments in both orders: PostgreSQL's and BigQuery's.
fn bind_trunc(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let names_unit = |arg: &Expr| matches!(arg.as_literal(), Some(Value::Text(name)) if Unit::named(name).is_some());
    match <[Expr; 2]>::try_from(args) {
        Ok([x, name]) if !names_unit(&x) && names_unit(&name) => bind_cut(function, vec![name, x]),
        Ok(args) => bind_cut(function, args.into()),
        Err(args) => Err(function.wrong_count(args.len())),
    }
}

/// The first day of the unit that holds `day`, and the first one of the next.
fn day_range(unit: Unit, day: i64, monday: bool) -> (i64, i64) {
    let Civil { year, month, .. } = civil(day);
    let years = |start: i64, length: i64| (days(start, 1, 1), days(start + length, 1, 1));
    let months = |first: u8, length: u8| {
        let next = first + length;
        let end = if next > 12 { days(year + 1, next - 12, 1) } else { days(year, next, 1) };
        (days(year, first, 1), end)
    };
    match unit {
        Unit::Millennium => years((year - 1).div_euclid(1_000) * 1_000 + 1, 1_000),
        Unit::Century => years((year - 1).div_euclid(100) * 100 + 1, 100),
        Unit::Decade => years(year.div_euclid(10) * 10, 10),
        Unit::Year => years(year, 1),
        Unit::Quarter => months((month - 1) / 3 * 3 + 1, 3),
        Unit::Month => months(month, 1),
        Unit::Week => {
            let weekday = i64::from(iso_weekday(day));
            let start = day.saturating_sub(if monday { weekday - 1 } else { weekday % 7 });
            (start, start.saturating_add(7))
        }
        _ => (day, day.saturating_add(1)),
    }
}

/// Whether CEIL leaves `day` where it is.
fn is_ceiling(unit: Unit, day: i64, days_only: bool) -> bool {
    let Civil { month, day: day_of_month, .. } = civil(day);
    match unit {
        Unit::Year | Unit::Quarter => month == 1 && day_of_month == 1,
        Unit::Month => day_of_month == 1,
        Unit::Week => iso_weekday(day) == 7,
        Unit::Day => !days_only,
        _ => false,
    }
}

pub(super) fn cut(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(call)?;
    let up = call.function.name == "CEIL";
    let monday = call.function.name == "DATE_TRUNC";
    let valid = valid_rows(call.args, call.len);
    let operand = &call.args[1];
    let mut moments = Moments::new(call, 1);
    let per_second = moments.per_second;
    let within_day = unit.millis().filter(|millis| *millis < MILLIS_PER_DAY);
    let days_only = moments.days_only;
    let day_length = per_second * 86_400;
    // Units of the column to a millisecond, below which CEIL does not look.
    let fine = if up && unit != Unit::Millisecond { (per_second / 1_000).max(1) } else { 1 };
    let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let row = operand.at(i);
        let value = moments.values.value(row);
        let (day, time) = moments.at(row);
        let local = if let Some(millis) = within_day {
            // A unit finer than the column's own leaves it alone.
            let step = (millis.saturating_mul(per_second) / 1_000).max(1);
            let floor = time - time % step;
            let time = if up && floor != time - time % fine { floor + step } else { floor };
            day.saturating_mul(day_length).saturating_add(time)
        } else {
            let (start, end) = day_range(unit, day, monday);
            let stays = is_ceiling(unit, day, days_only) && (unit != Unit::Day || time - time % fine == 0);
            let day = if up && !stays { end } else { start };
            if days_only { day } else { day.saturating_mul(day_length) }
        };
        if matches!(call.kind(1), TypeKind::Time(_)) {
            return Ok(Some(local.rem_euclid(day_length)));
        }
        Ok(Some(match moments.zone.as_mut() {
            // Within an hour that occurs twice the offset of the moment itself is the right one.
            Some(zone) if within_day.is_some() => local - (zone.to_local(value, per_second) - value),
            Some(zone) => zone.to_utc(local, per_second),
            None => local,
        }))
    })?;
    Ok(from_integers(result, &call.sql_type.kind))
}

fn bind_diff(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [name, from, to] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let unit = unit(function, &name)?;
    if unit.months().is_none() && unit.millis().is_none() {
        return Err(Error::invalid(format!("{} does not count in {unit}", function.name)));
    }
    let (from, to) = (moment(function, from)?, moment(function, to)?);
    let types = [from.sql_type().clone(), to.sql_type().clone()];
    let common = crate::types::common_type(&types)
        .filter(|t| t.kind.is_datetime())
        .ok_or_else(|| function.wrong_types(&[from.clone(), to.clone()]))?;
    let args = vec![Expr::text(&unit.to_string()), cast(from, &common, false)?, cast(to, &common, false)?];
    Ok(function.call(args, SqlType { kind: TypeKind::Int, nullable: common.nullable }))
}

fn diff(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit_of(call)?;
    let valid = valid_rows(call.args, call.len);
    let (mut from, mut to) = (Moments::new(call, 1), Moments::new(call, 2));
    let per_second = from.per_second;
    let result = rows::<at::Int32Type>(call.len, valid.as_ref(), |i| {
        let (a, b) = (from.at(call.args[1].at(i)), to.at(call.args[2].at(i)));
        let difference = match unit.months() {
            Some(months) => months_between(b, a) / months,
            None => {
                let (x, y) = (from.values.value(call.args[1].at(i)), to.values.value(call.args[2].at(i)));
                let millis = unit.millis().unwrap_or(1);
                let apart = i128::from(y) - i128::from(x);
                let in_millis = if from.days_only {
                    apart * i128::from(MILLIS_PER_DAY)
                } else {
                    apart * 1_000 / i128::from(per_second)
                };
                (in_millis / i128::from(millis)) as i64
            }
        };
        Ok(Some(difference as i32))
    })?;
    Ok(Arc::new(result))
}

fn bind_add(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [name, count, x] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let unit = unit(function, &name)?;
    if !count.kind().is_integer() {
        return Err(function.wrong_types(&[name, count, x]));
    }
    let x = moment(function, x)?;
    timestamp_add(function, unit, count, x)
}

/// MySQL's `DATEDIFF(to, from)` in days, and the form with a unit, which is TIMESTAMPDIFF.
fn bind_datediff(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() == 3 {
        return super::resolve("TIMESTAMPDIFF", args);
    }
    let [to, from] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let date = |x: Expr| cast(moment(function, x)?, &TypeKind::Date.nullable(), false);
    super::resolve("TIMESTAMPDIFF", vec![Expr::text("DAY"), date(from)?, date(to)?])
}

/// Two periods, each from a moment to a moment or over an interval: whether they touch.
fn bind_overlaps(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [a, b, c, d] = <[Expr; 4]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    // The ends may stand in either order.
    let period = |from: Expr, to: Expr| {
        let to = if to.kind().is_interval() { super::resolve("+", vec![from.clone(), to])? } else { to };
        if !from.kind().is_datetime() || !to.kind().is_datetime() {
            return Err(function.wrong_types(&[from, to]));
        }
        let ordered = super::resolve("<=", vec![from.clone(), to.clone()])?;
        let start = super::case(vec![(ordered.clone(), from.clone())], Some(to.clone()))?;
        let end = super::case(vec![(ordered, to)], Some(from))?;
        Ok((start, end))
    };
    let ((first, first_end), (second, second_end)) = (period(a, b)?, period(c, d)?);
    let halves = vec![super::resolve(">=", vec![first_end, second])?, super::resolve(">=", vec![second_end, first])?];
    super::resolve("AND", halves)
}

fn bind_date_add(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() == 3 && function.name == "DATE_ADD" {
        return super::resolve("TIMESTAMPADD", args);
    }
    let [x, count] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let back = function.name == "DATE_SUB";
    if count.kind().is_interval() {
        let x = moment(function, x)?;
        return super::resolve(if back { "-" } else { "+" }, vec![x, count]);
    }
    let x = cast(moment(function, x)?, &TypeKind::Date.nullable(), false)?;
    let count = if back { super::resolve("UNARY MINUS", vec![count])? } else { count };
    super::resolve("TIMESTAMPADD", vec![Expr::text("DAY"), count, x])
}

fn bind_convert(function: &'static Function, args: Vec<Expr>, to: TypeKind) -> Result<Expr> {
    let [x] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !x.kind().is_text() && !x.kind().is_datetime() && *x.kind() != TypeKind::Null {
        return Err(function.wrong_types(&[x]));
    }
    cast(x, &to.nullable(), false)
}
