//! What may be called here that Flink 1.20 does not have, or not in that form: the notes of `EXPLAIN PORTABILITY`.
//!
//! The binder asks [`beyond_flink`] with the name as it is written (an alias may be ours alone) and the bound arguments, before
//! it hands them to [`super::resolve`], and keeps the note with the place of the call. The reference cases in
//! `tests/reference/functions` hold both ways: what Flink refuses is refused here or noted.

use gridhouse_base::TypeKind;

use super::{Binding, Param, find};
use crate::expr::Expr;

/// When a call goes beyond Flink.
enum When {
    /// Whatever the arguments are.
    Always,
    /// Where this holds of the arguments.
    If(fn(&[Expr]) -> bool),
}

use When::{Always, If};

/// Names, when they go beyond Flink, and what to write there. A new function that Flink lacks gets a line here.
static NOTES: &[(&str, When, &str)] = &[
    ("LENGTH", Always, "Flink has no LENGTH: write CHAR_LENGTH(text)"),
    ("OCTET_LENGTH", Always, "Flink has no OCTET_LENGTH"),
    ("UCASE", Always, "Flink has no UCASE: write UPPER(text)"),
    ("LCASE", Always, "Flink has no LCASE: write LOWER(text)"),
    ("BTRIM", Always, "BTRIM is new in Flink 2.0: write TRIM(BOTH characters FROM text)"),
    ("TRANSLATE", Always, "TRANSLATE is new in Flink 2.0: write REPLACE for each character"),
    ("STARTSWITH", Always, "STARTSWITH is new in Flink 2.0: write text LIKE 'part%'"),
    ("ENDSWITH", Always, "ENDSWITH is new in Flink 2.0: write text LIKE '%part'"),
    ("NVL", Always, "Flink has no NVL: write COALESCE(a, b)"),
    ("POW", Always, "Flink has no POW: write POWER(x, y)"),
    ("REGEXP_LIKE", Always, "Flink has no REGEXP_LIKE: write REGEXP(text, regex)"),
    ("RLIKE", Always, "Flink has no RLIKE: write REGEXP(text, regex)"),
    ("TRIM", If(|args| args.len() == 2), "Flink has no TRIM(text, characters): write TRIM(BOTH characters FROM text)"),
    ("CONCAT", If(not_all_text), TEXT_ONLY),
    ("||", If(not_all_text), TEXT_ONLY),
    ("CONCAT_WS", If(not_all_text), TEXT_ONLY),
    ("IF", If(nested_results), "Flink's IF takes no arrays, maps or rows: write CASE WHEN … THEN … ELSE … END"),
    ("NULLIF", If(nested_results), "Flink's NULLIF takes no arrays, maps or rows: write CASE WHEN … THEN … END"),
    ("ELT", Always, "ELT is new in Flink 2.0: write CASE index WHEN 1 THEN a WHEN 2 THEN b END"),
    ("PRINTF", Always, "PRINTF is new in Flink 2.0: write CONCAT, LPAD and ROUND"),
    ("UNHEX", Always, "UNHEX is new in Flink 2.0"),
    ("URL_ENCODE", Always, "URL_ENCODE is new in Flink 2.0"),
    ("URL_DECODE", Always, "URL_DECODE is new in Flink 2.0"),
    ("REGEXP_COUNT", Always, "REGEXP_COUNT is new in Flink 2.0"),
    ("REGEXP_INSTR", Always, "REGEXP_INSTR is new in Flink 2.0"),
    ("REGEXP_SUBSTR", Always, "REGEXP_SUBSTR is new in Flink 2.0: write REGEXP_EXTRACT(text, regex, 0)"),
    ("REGEXP_EXTRACT_ALL", Always, "REGEXP_EXTRACT_ALL is new in Flink 2.0"),
    ("JSON_QUOTE", Always, "JSON_QUOTE is new in Flink 2.0: write JSON_STRING(text)"),
    ("JSON_UNQUOTE", Always, "JSON_UNQUOTE is new in Flink 2.0: write JSON_VALUE(text, '$')"),
    ("INSTR", If(|args| args.len() > 2), "INSTR with a start is new in Flink 2.0: write LOCATE(part, text, start)"),
    (
        "%",
        If(|args| args.iter().any(|arg| is_float(arg.kind()))),
        "Flink's % takes no FLOAT or DOUBLE: cast to DECIMAL",
    ),
    (
        "MOD",
        If(|args| args.iter().any(|arg| is_float(arg.kind()))),
        "Flink's MOD takes no FLOAT or DOUBLE: cast to DECIMAL",
    ),
    ("-", If(|args| args.iter().all(|arg| arg.kind().is_datetime())), "Flink wants the unit: write (a - b) DAY"),
    ("=", If(text_and_number), TEXT_AND_NUMBER),
    ("<>", If(text_and_number), TEXT_AND_NUMBER),
    ("IN", If(text_and_number), TEXT_AND_NUMBER),
    ("NOT IN", If(text_and_number), TEXT_AND_NUMBER),
    ("IS DISTINCT FROM", If(text_and_number), TEXT_AND_NUMBER),
    ("IS NOT DISTINCT FROM", If(text_and_number), TEXT_AND_NUMBER),
    ("NULLIF", If(text_and_number), TEXT_AND_NUMBER),
    ("CASE", If(mixed_results), MIXED_RESULTS),
    ("COALESCE", If(mixed_results), MIXED_RESULTS),
    ("IFNULL", If(mixed_results), MIXED_RESULTS),
    ("IF", If(|args| mixed_results(args.get(1..).unwrap_or_default())), MIXED_RESULTS),
    ("GREATEST", If(mixed_results), MIXED_RESULTS),
    ("LEAST", If(mixed_results), MIXED_RESULTS),
    ("DATE", Always, "Flink has no DATE(x): write CAST(x AS DATE)"),
    ("DATEDIFF", Always, "Flink has no DATEDIFF: write TIMESTAMPDIFF(DAY, from, to)"),
    ("DATE_DIFF", Always, "Flink has no DATE_DIFF: write TIMESTAMPDIFF(DAY, from, to)"),
    ("DATE_TRUNC", Always, "Flink has no DATE_TRUNC: write FLOOR(x TO DAY); its weeks start on Sunday"),
    ("DATE_ADD", Always, "Flink has no DATE_ADD: write x + INTERVAL '1' DAY"),
    ("DATE_SUB", Always, "Flink has no DATE_SUB: write x - INTERVAL '1' DAY"),
    ("DAY", Always, "DAY is a reserved word of Flink: write DAYOFMONTH(x)"),
    ("WEEKOFYEAR", Always, "Flink has no WEEKOFYEAR: write WEEK(x)"),
    (
        "UNIX_TIMESTAMP",
        If(any_datetime),
        "Flink's UNIX_TIMESTAMP takes a text: write UNIX_TIMESTAMP(CAST(x AS STRING))",
    ),
    ("TO_DATE", If(any_datetime), "Flink's TO_DATE takes a text: write CAST(x AS DATE)"),
    ("TO_TIMESTAMP", If(any_datetime), "Flink's TO_TIMESTAMP takes a text: write CAST(x AS TIMESTAMP(3))"),
    ("TO_TIMESTAMP_LTZ", If(|args| args.len() == 1), "Flink 1.20 wants the precision: write TO_TIMESTAMP_LTZ(x, 3)"),
    (
        "TO_TIMESTAMP_LTZ",
        If(|args| args.first().is_some_and(|arg| arg.kind().is_text())),
        "Flink 1.20 takes no text here: write CAST(TO_TIMESTAMP(x, pattern) AS TIMESTAMP_LTZ(3))",
    ),
    (
        "DATE_FORMAT",
        If(|args| args.first().is_some_and(|arg| matches!(arg.kind(), TypeKind::Date | TypeKind::Time(_)))),
        "Flink formats no DATE or TIME: write DATE_FORMAT(CAST(x AS TIMESTAMP(3)), pattern)",
    ),
    (
        "FROM_UNIXTIME",
        If(|args| args.first().is_some_and(|arg| !arg.kind().is_integer() && *arg.kind() != TypeKind::Null)),
        "Flink takes whole seconds: write FROM_UNIXTIME(CAST(x AS BIGINT))",
    ),
    ("TIMESTAMPADD", If(fine_unit), FINE_UNIT),
    ("TIMESTAMPDIFF", If(fine_unit), FINE_UNIT),
    (
        "TIMESTAMPDIFF",
        If(|args| {
            let instants = args.iter().filter(|arg| matches!(arg.kind(), TypeKind::TimestampLtz(_))).count();
            instants == 1 || args.iter().any(|arg| matches!(arg.kind(), TypeKind::Time(_)))
        }),
        "Flink wants two DATEs or TIMESTAMPs, or two TIMESTAMP_LTZs: cast one",
    ),
];

/// Functions that take dates and times; where they stand among the arguments.
static MOMENTS: &[(&str, std::ops::RangeFrom<usize>)] = &[
    ("EXTRACT", 1..),
    ("YEAR", 0..),
    ("QUARTER", 0..),
    ("MONTH", 0..),
    ("WEEK", 0..),
    ("DAYOFYEAR", 0..),
    ("DAYOFMONTH", 0..),
    ("DAYOFWEEK", 0..),
    ("HOUR", 0..),
    ("MINUTE", 0..),
    ("SECOND", 0..),
    ("TIMESTAMPADD", 2..),
    ("TIMESTAMPDIFF", 1..),
    ("FLOOR", 1..),
    ("CEIL", 1..),
    ("CEILING", 1..),
];

/// Comparisons in which Flink does not cast a DATE to a TIMESTAMP.
const COMPARISONS: &[&str] = &[
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "IS DISTINCT FROM",
    "IS NOT DISTINCT FROM",
    "BETWEEN",
    "NOT BETWEEN",
    "IN",
    "NOT IN",
    "NULLIF",
    "CASE",
    "IF",
];

const TEXT_AND_NUMBER: &str = "Flink compares no text with a number here: write CAST";
const MIXED_RESULTS: &str = "Flink mixes no texts with other types here: write CAST(… AS STRING)";
const DATE_AND_TIMESTAMP: &str = "Flink mixes no DATE with a TIMESTAMP here: write CAST(… AS TIMESTAMP(3))";
const TEXT_AS_MOMENT: &str = "Flink takes no text for a date or time here: write CAST(… AS TIMESTAMP(3))";
const FINE_UNIT: &str = "Flink counts in SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR only";

const TEXT_ONLY: &str = "Flink wants a text here: write CAST(… AS STRING)";
const TYPED_NULL: &str = "Flink wants a type for NULL: write CAST(NULL AS …)";

/// Functions that take NULL without a type in Flink too.
const UNTYPED_NULLS: &[&str] = &[
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "IS NULL",
    "IS NOT NULL",
    "IS DISTINCT FROM",
    "IS NOT DISTINCT FROM",
    "BETWEEN",
    "NOT BETWEEN",
    "ARRAY",
    "MAP",
    "COALESCE",
    "IFNULL",
    "GREATEST",
    "LEAST",
    "IN",
    "NOT IN",
    "CASE",
    "JSON_EXISTS",
    "JSON_VALUE",
    "JSON_QUERY",
];

/// Functions whose texts may be numbers in Flink too.
const ANYTHING: &[&str] = &["IS_ALPHA", "IS_DIGIT", "IS_DECIMAL"];

fn not_all_text(args: &[Expr]) -> bool {
    args.iter().any(|arg| !arg.kind().is_text() && *arg.kind() != TypeKind::Null)
}

fn is_float(kind: &TypeKind) -> bool {
    matches!(kind, TypeKind::Float | TypeKind::Double)
}

fn any_datetime(args: &[Expr]) -> bool {
    args.iter().any(|arg| arg.kind().is_datetime())
}

fn text_and_number(args: &[Expr]) -> bool {
    args.iter().any(|arg| arg.kind().is_text()) && args.iter().any(|arg| arg.kind().is_numeric())
}

fn mixed_results(args: &[Expr]) -> bool {
    let text = |arg: &Expr| arg.kind().is_text();
    let other = |arg: &Expr| !text(arg) && *arg.kind() != TypeKind::Null;
    args.iter().any(text) && args.iter().any(other)
}

fn date_and_timestamp(args: &[Expr]) -> bool {
    let timestamp = |arg: &Expr| matches!(arg.kind(), TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_));
    args.iter().any(|arg| *arg.kind() == TypeKind::Date) && args.iter().any(timestamp)
}

/// Whether the unit that stands first is shorter than a second, or longer than a year.
fn fine_unit(args: &[Expr]) -> bool {
    let unit = match args.first().and_then(Expr::as_literal) {
        Some(gridhouse_base::Value::Text(name)) => super::datetime::Unit::named(name),
        _ => None,
    };
    use super::datetime::Unit::{Day, Hour, Minute, Month, Quarter, Second, Week, Year};
    unit.is_some_and(|unit| ![Year, Quarter, Month, Week, Day, Hour, Minute, Second].contains(&unit))
}

fn nested_results(args: &[Expr]) -> bool {
    args.iter().any(|arg| matches!(arg.kind(), TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_)))
}

/// What to tell of a name that is only here, whatever it is called with.
pub fn only_here(name: &str) -> Option<&'static str> {
    NOTES.iter().find(|(known, when, _)| *known == name && matches!(when, Always)).map(|(.., note)| *note)
}

/// What to tell about a call of the function or operator written `name` if Flink 1.20 would refuse it.
pub fn beyond_flink(name: &str, args: &[Expr]) -> Option<&'static str> {
    let upper = name.to_uppercase();
    let applies = |when: &When| match when {
        Always => true,
        If(test) => test(args),
    };
    if let Some((.., note)) = NOTES.iter().find(|(known, when, _)| *known == upper && applies(when)) {
        return Some(note);
    }
    if COMPARISONS.contains(&upper.as_str()) && date_and_timestamp(args) {
        return Some(DATE_AND_TIMESTAMP);
    }
    if let Some((_, places)) = MOMENTS.iter().find(|(known, _)| *known == upper)
        && args.iter().skip(places.start).any(|arg| arg.kind().is_text())
    {
        return Some(TEXT_AS_MOMENT);
    }
    let function = find(&upper)?;
    if let Binding::Fixed { params, .. } = &function.binding
        && !ANYTHING.contains(&function.name)
    {
        let lenient = |i: usize| params.get(i).or(params.last()) == Some(&Param::AnyText);
        let text = |kind: &TypeKind| kind.is_text() || *kind == TypeKind::Null;
        if args.iter().enumerate().any(|(i, arg)| lenient(i) && !text(arg.kind())) {
            return Some(TEXT_ONLY);
        }
    }
    let untyped = args.iter().any(|arg| *arg.kind() == TypeKind::Null);
    (untyped && !UNTYPED_NULLS.contains(&function.name)).then_some(TYPED_NULL)
}
