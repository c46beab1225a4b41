//! Dates and times from text and to text: DATE_FORMAT, TO_DATE, TO_TIMESTAMP, TO_TIMESTAMP_LTZ, UNIX_TIMESTAMP,
//! FROM_UNIXTIME, CONVERT_TZ. What cannot be read is NULL, as in Flink (UNIX_TIMESTAMP: the smallest BIGINT).
//!
//! TIMESTAMPs are written and read with the strict patterns of `java.time`, texts and seconds with the lenient ones of
//! `SimpleDateFormat`; see [`crate::text::pattern`].

use std::sync::Arc;

use arrow_array::{ArrayRef, types as at};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, TypeKind, Value};

use super::datetime::moment;
use super::interval::from_integers;
use super::kernel::{Texts, make_texts, numbers, rows, texts, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::calendar::{Zone, days};
use crate::cast::{cast, datetime::integers, implicit_cast};
use crate::expr::Expr;
use crate::text::datetime::{parse_date, parse_timestamp};
use crate::text::pattern::{Formatter, LocalTime, ShownZone, SimpleFormat};

const SECONDS: &str = "yyyy-MM-dd HH:mm:ss";

const fn custom(
    name: &'static str,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Datetime,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    custom("DATE_FORMAT", &["DATE_FORMAT(x, 'pattern')"], bind_format, format),
    custom("TO_DATE", &["TO_DATE(text)", "TO_DATE(text, 'pattern')"], bind_to_date, to_date),
    custom("TO_TIMESTAMP", &["TO_TIMESTAMP(text)", "TO_TIMESTAMP(text, 'pattern')"], bind_to_timestamp, to_timestamp),
    custom(
        "TO_TIMESTAMP_LTZ",
        &["TO_TIMESTAMP_LTZ(number, 0 or 3)", "TO_TIMESTAMP_LTZ(text, 'pattern')"],
        bind_ltz,
        ltz,
    ),
    custom(
        "UNIX_TIMESTAMP",
        &["UNIX_TIMESTAMP()", "UNIX_TIMESTAMP(text, 'pattern')", "UNIX_TIMESTAMP(x)"],
        bind_unix,
        unix,
    ),
    custom(
        "FROM_UNIXTIME",
        &["FROM_UNIXTIME(seconds)", "FROM_UNIXTIME(seconds, 'pattern')"],
        bind_from_unix,
        from_unix,
    ),
    custom("CONVERT_TZ", &["CONVERT_TZ(text, from_zone, to_zone)"], bind_convert_tz, convert_tz),
];

/// The clock's seconds, which UNIX_TIMESTAMP() without arguments is.
static UNIX_NOW: Function = Function {
    name: "UNIX_TIMESTAMP",
    aliases: &[],
    family: Family::Datetime,
    volatility: Volatility::Clock,
    notation: Notation::Call,
    signatures: &["UNIX_TIMESTAMP()"],
    binding: Binding::Custom(bind_unix),
    eval: |call| Ok(Value::Integer(call.ctx.now_micros.div_euclid(1_000_000)).to_array(&TypeKind::BigInt, call.len)),
};

fn text(function: &'static Function, arg: Expr) -> Result<Expr> {
    match arg.kind() {
        kind if kind.is_text() => Ok(arg),
        TypeKind::Null => cast(arg, &TypeKind::STRING.nullable(), false),
        _ => Err(function.wrong_types(&[arg])),
    }
}

/// A wrong pattern is reported with the statement where it is a constant.
fn check<P>(pattern: Option<&Expr>, compile: impl Fn(&str) -> Result<P>) -> Result<()> {
    if let Some(Value::Text(pattern)) = pattern.and_then(Expr::as_literal) {
        compile(pattern)?;
    }
    Ok(())
}

/// Patterns of an argument; the last one is kept compiled, as it is nearly always the same for all rows.
struct Patterns<'a, P, F: Fn(&str) -> Result<P>> {
    texts: Option<Texts<'a>>,
    compile: F,
    compiled: Option<(&'a str, P)>,
}

impl<'a, P, F: Fn(&str) -> Result<P>> Patterns<'a, P, F> {
    /// The patterns of argument `i`, or the usual one where it is left out.
    fn new(call: &'a Call<'_>, i: usize, compile: F) -> Self {
        Self { texts: (call.args.len() > i).then(|| texts(call, i)), compile, compiled: None }
    }

    fn at(&mut self, row: usize) -> Result<&P> {
        let source = self.texts.as_ref().map_or(SECONDS, |texts| texts.at(row));
        let compiled = match self.compiled.take() {
            Some((known, pattern)) if known == source => pattern,
            _ => (self.compile)(source)?,
        };
        Ok(&self.compiled.insert((source, compiled)).1)
    }
}

/// A local time as units since 1970.
fn in_units(time: LocalTime, per_second: i64) -> Option<i64> {
    time.day.checked_mul(86_400 * per_second)?.checked_add(time.nanos / (1_000_000_000 / per_second))
}

/// Units since 1970 as a local time.
fn local_time(value: i64, per_second: i64) -> LocalTime {
    let day = per_second * 86_400;
    LocalTime { day: value.div_euclid(day), nanos: value.rem_euclid(day) * (1_000_000_000 / per_second) }
}

/// The milliseconds since 1970 of what a lenient pattern has read; in `zone`, unless the text named an offset.
fn instant((time, offset): (LocalTime, Option<i64>), zone: &mut Zone) -> Option<i64> {
    let millis = in_units(time, 1_000)?;
    let offset = offset.unwrap_or_else(|| zone.late_offset_of_local(millis.div_euclid(1_000)));
    millis.checked_sub(offset * 1_000)
}

/// Appends the moment `utc_seconds` in `zone`.
fn write_instant(out: &mut String, pattern: &SimpleFormat, utc_seconds: i64, zone: &mut Zone) {
    let offset_seconds = zone.offset(utc_seconds);
    let name = if pattern.shows_zone() { zone.short_name(utc_seconds) } else { String::new() };
    let time = local_time(utc_seconds.saturating_add(offset_seconds), 1);
    pattern.write(out, time, &ShownZone { offset_seconds, name });
}

fn bind_format(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [x, pattern] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let pattern = text(function, pattern)?;
    if x.kind().is_text() {
        check(Some(&pattern), SimpleFormat::new)?;
        return Ok(function.call(vec![x, pattern], TypeKind::STRING.nullable()));
    }
    check(Some(&pattern), Formatter::new)?;
    let x = moment(function, x)?;
    Ok(function.call(vec![x, pattern], TypeKind::STRING.nullable()))
}

fn format(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0).is_text() {
        return reformat(call);
    }
    let kind = call.kind(0);
    let operand = &call.args[0];
    let values = integers(&operand.array);
    let mut zone = matches!(kind, TypeKind::TimestampLtz(_)).then(|| Zone::new(call.ctx.zone));
    let per_second = match kind {
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => timestamp_units_per_second(*p),
        _ => 1_000,
    };
    let mut patterns = Patterns::new(call, 1, Formatter::new);
    let result = make_texts(call, |i, out| {
        let value = values.value(operand.at(i));
        let time = match (kind, zone.as_mut()) {
            (TypeKind::Date, _) => LocalTime { day: value, nanos: 0 },
            (_, Some(zone)) => local_time(zone.to_local(value, per_second), per_second),
            _ => local_time(value, per_second),
        };
        patterns.at(i)?.write(out, time);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// DATE_FORMAT of a text: read as `yyyy-MM-dd HH:mm:ss`, which leaves out fractions, then written.
fn reformat(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let reader = SimpleFormat::new(SECONDS)?;
    let mut patterns = Patterns::new(call, 1, SimpleFormat::new);
    let utc = ShownZone { offset_seconds: 0, name: "UTC".into() };
    let result = make_texts(call, |i, out| {
        let Some((time, _)) = reader.read(text.at(i)) else { return Ok(false) };
        patterns.at(i)?.write(out, time, &utc);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// One or two texts.
fn bind_texts<P>(
    function: &'static Function,
    args: Vec<Expr>,
    kind: TypeKind,
    compile: impl Fn(&str) -> Result<P>,
) -> Result<Expr> {
    if args.is_empty() || args.len() > 2 {
        return Err(function.wrong_count(args.len()));
    }
    let args = args.into_iter().map(|arg| text(function, arg)).collect::<Result<Vec<_>>>()?;
    check(args.get(1), compile)?;
    Ok(function.call(args, kind.nullable()))
}

fn bind_to_date(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    match args.as_slice() {
        [x] if x.kind().is_datetime() => cast(x.clone(), &TypeKind::Date.nullable(), false),
        _ => bind_texts(function, args, TypeKind::Date, SimpleFormat::new),
    }
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let mut patterns = Patterns::new(call, 1, SimpleFormat::new);
    let mut utc = Zone::new(chrono_tz::Tz::UTC);
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Date32Type>(call.len, valid.as_ref(), |i| {
        let day = if call.args.len() == 1 {
            parse_date(text.at(i))
        } else {
            let read = patterns.at(i)?.read(text.at(i));
            read.and_then(|read| instant(read, &mut utc)).map(|millis| millis.div_euclid(86_400_000))
        };
        Ok(day.and_then(|day| i32::try_from(day).ok()))
    })?;
    Ok(Arc::new(result))
}

fn bind_to_timestamp(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    match args.as_slice() {
        [x] if x.kind().is_datetime() => cast(x.clone(), &TypeKind::Timestamp(3).nullable(), false),
        _ => bind_texts(function, args, TypeKind::Timestamp(3), Formatter::for_reading),
    }
}

/// A text by the strict pattern; where it does not fit, as `java.sql.Timestamp` reads it: `1999-9-10 5:20:10`.
fn read_timestamp(pattern: &Formatter, text: &str) -> Option<i64> {
    pattern.read(text).and_then(|time| in_units(time, 1_000)).or_else(|| sql_timestamp(text.trim()))
}

/// `yyyy-M-d`, alone or with ` H:m:s[.fraction]`; what is beyond its range rolls over.
fn sql_timestamp(text: &str) -> Option<i64> {
    let number = |text: &str, most: usize| {
        let plain = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year = parts.next().filter(|year| year.len() == 4).and_then(|year| number(year, 4))?;
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2).filter(|day| (1..=31).contains(day))?;
    let day = days(year, month as u8, day);
    let Some(time) = time else { return day.checked_mul(86_400_000) };
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 4)?, number(parts.next()?, 4)?);
    let seconds = parts.next()?;
    let (second, millis) = match seconds.split_once('.') {
        None => (number(seconds, 4)?, 0),
        Some((second, fraction)) => {
            let digits = number(fraction, 9)?;
            (number(second, 4)?, digits * 10i64.pow(9 - fraction.len() as u32) / 1_000_000)
        }
    };
    day.checked_mul(86_400_000)?.checked_add(((hour * 60 + minute) * 60 + second) * 1_000 + millis)
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let mut patterns = Patterns::new(call, 1, Formatter::for_reading);
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        Ok(if call.args.len() == 1 {
            parse_timestamp(text.at(i), 1_000, 3)
        } else {
            read_timestamp(patterns.at(i)?, text.at(i))
        })
    })?;
    Ok(from_integers(result, &call.sql_type.kind))
}

fn bind_ltz(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let kind = TypeKind::TimestampLtz(3);
    if args.first().is_some_and(|arg| arg.kind().is_text()) {
        return bind_texts(function, args, kind, Formatter::for_reading);
    }
    let (number, precision) = match args.len() {
        1 => (args[0].clone(), Expr::int(3)),
        2 => (args[0].clone(), args[1].clone()),
        n => return Err(function.wrong_count(n)),
    };
    if !number.kind().is_numeric() || !precision.kind().is_integer() {
        return Err(function.wrong_types(&args));
    }
    if let Some(Value::Integer(other)) = precision.as_literal()
        && *other != 0
        && *other != 3
    {
        return Err(no_precision(*other));
    }
    // A decimal loses its fraction, as in Flink; a floating-point number keeps milliseconds.
    let number = match number.kind() {
        TypeKind::Float | TypeKind::Double => implicit_cast(number, &TypeKind::Double.nullable())?,
        _ => cast(number, &TypeKind::BigInt.nullable(), false)?,
    };
    let args = vec![number, implicit_cast(precision, &TypeKind::Int.nullable())?];
    Ok(function.call(args, kind.nullable()))
}

fn no_precision(precision: i64) -> Error {
    Error::invalid(format!("TO_TIMESTAMP_LTZ does not take the precision {precision}"))
        .hint("0 stands for seconds, 3 for milliseconds")
}

/// The years 0 to 9999, in milliseconds.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

fn ltz(call: &Call<'_>) -> Result<ArrayRef> {
    let valid = valid_rows(call.args, call.len);
    if call.kind(0).is_text() {
        let text = texts(call, 0);
        let mut patterns = Patterns::new(call, 1, Formatter::for_reading);
        let mut zone = Zone::new(call.ctx.zone);
        let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
            let local = if call.args.len() == 1 {
                parse_timestamp(text.at(i), 1_000, 3)
            } else {
                read_timestamp(patterns.at(i)?, text.at(i))
            };
            Ok(local.map(|local| zone.to_utc(local, 1_000)))
        })?;
        return Ok(from_integers(result, &call.sql_type.kind));
    }
    let precision = numbers::<at::Int32Type>(call, 1);
    let whole = *call.kind(0) == TypeKind::BigInt;
    let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let factor = match precision.at(i) {
            0 => 1_000,
            3 => 1,
            other => return Err(no_precision(other.into())),
        };
        let millis = if whole {
            numbers::<at::Int64Type>(call, 0).at(i).checked_mul(factor)
        } else {
            Some((numbers::<at::Float64Type>(call, 0).at(i) * factor as f64) as i64)
        };
        Ok(millis.filter(|millis| YEARS.contains(millis)))
    })?;
    Ok(from_integers(result, &call.sql_type.kind))
}

fn bind_unix(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Ok(UNIX_NOW.call(args, TypeKind::BigInt.not_null()));
    }
    if args.len() == 1 && args[0].kind().is_datetime() && !matches!(args[0].kind(), TypeKind::Time(_)) {
        // Seconds of a moment: local times are those of the session's zone.
        let instant = cast(args[0].clone(), &TypeKind::TimestampLtz(3).nullable(), false)?;
        return super::resolve("EXTRACT", vec![Expr::text("EPOCH"), instant]);
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let call = bind_texts(function, args, TypeKind::BigInt, SimpleFormat::new)?;
    match call {
        Expr::Call { function, args, sql_type } => {
            Ok(Expr::Call { function, args, sql_type: sql_type.with_nullable(nullable) })
        }
        other => Ok(other),
    }
}

fn unix(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let mut patterns = Patterns::new(call, 1, SimpleFormat::new);
    let mut zone = Zone::new(call.ctx.zone);
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Int64Type>(call.len, valid.as_ref(), |i| {
        let read = patterns.at(i)?.read(text.at(i));
        Ok(Some(read.and_then(|read| instant(read, &mut zone)).map_or(i64::MIN, |millis| millis / 1_000)))
    })?;
    Ok(Arc::new(result))
}

fn bind_from_unix(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() || args.len() > 2 {
        return Err(function.wrong_count(args.len()));
    }
    if !args[0].kind().is_numeric() && *args[0].kind() != TypeKind::Null {
        return Err(function.wrong_types(&args));
    }
    let seconds = cast(args.remove(0), &TypeKind::BigInt.nullable(), false)?;
    let mut cast_args = vec![seconds];
    if let Some(pattern) = args.pop() {
        let pattern = text(function, pattern)?;
        check(Some(&pattern), SimpleFormat::new)?;
        cast_args.push(pattern);
    }
    Ok(function.call(cast_args, TypeKind::STRING.nullable()))
}

fn from_unix(call: &Call<'_>) -> Result<ArrayRef> {
    let seconds = numbers::<at::Int64Type>(call, 0);
    let mut patterns = Patterns::new(call, 1, SimpleFormat::new);
    let mut zone = Zone::new(call.ctx.zone);
    let result = make_texts(call, |i, out| {
        write_instant(out, patterns.at(i)?, seconds.at(i), &mut zone);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn bind_convert_tz(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 3 {
        return Err(function.wrong_count(args.len()));
    }
    let args = args.into_iter().map(|arg| text(function, arg)).collect::<Result<Vec<_>>>()?;
    for zone in &args[1..] {
        if let Some(Value::Text(name)) = zone.as_literal() {
            named_zone(name)?;
        }
    }
    Ok(function.call(args, TypeKind::STRING.nullable()))
}

/// Java takes a name that it does not know for UTC; here it is an error.
fn named_zone(name: &str) -> Result<Zone> {
    Zone::named(name).ok_or_else(|| {
        Error::invalid(format!("there is no time zone '{name}'"))
            .hint("use a name such as 'Asia/Shanghai' or 'UTC', or an offset such as 'GMT+08:00'")
    })
}

fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (texts(call, 0), texts(call, 1), texts(call, 2));
    let pattern = SimpleFormat::new(SECONDS)?;
    // Zones are nearly always the same for all rows; their offsets are remembered.
    let mut zones: Option<(&str, &str, Zone, Zone)> = None;
    let result = make_texts(call, |i, out| {
        let (source, target) = (from.at(i), to.at(i));
        if !zones.as_ref().is_some_and(|(a, b, ..)| *a == source && *b == target) {
            zones = Some((source, target, named_zone(source)?, named_zone(target)?));
        }
        let Some((_, _, from, to)) = zones.as_mut() else { return Ok(false) };
        let Some(millis) = pattern.read(text.at(i)).and_then(|read| instant(read, from)) else { return Ok(false) };
        write_instant(out, &pattern, millis.div_euclid(1_000), to);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}
