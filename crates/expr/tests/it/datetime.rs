//! Dates, times, intervals and the clock. The session's zone is Asia/Shanghai, UTC+8.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_expr::cast::cast;
use gridhouse_expr::functions::Volatility;

use crate::{
    big, call, check, check_values, context, date, double, instant, int, null, refused, show, text, timestamp,
    try_show, value,
};

fn months(n: i64) -> Expr {
    Expr::literal(Value::Integer(n), TypeKind::IntervalYearMonth.not_null())
}

fn millis(n: i64) -> Expr {
    Expr::literal(Value::Integer(n), TypeKind::IntervalDayTime.not_null())
}

const DAY: i64 = 86_400_000;

#[test]
fn formats_follow_java_patterns() {
    check(vec![
        (call("DATE_FORMAT", [timestamp("2026-01-01 00:00:01"), text("yyyy-MM-dd")]), "STRING", "2026-01-01"),
        (call("DATE_FORMAT", [instant("2026-01-01 00:00:01"), text("yyyyMMdd HH:mm")]), "STRING", "20260101 00:00"),
        (call("DATE_FORMAT", [date("2026-01-01"), text("MM/dd")]), "STRING", "01/01"),
        (call("DATE_FORMAT", [text("2026-01-01 10:00:00"), text("HH")]), "STRING", "10"),
        (call("DATE_FORMAT", [text("nonsense"), text("HH")]), "STRING", "NULL"),
        (call("DATE_FORMAT", [null(), text("HH")]), "STRING", "NULL"),
    ]);
    assert!(refused("DATE_FORMAT", [timestamp("2026-01-01"), text("yyyy-bb")]).message().contains("bb has no meaning"));
}

#[test]
fn parts_are_taken_from_moments() {
    let t = || timestamp("2024-03-05 14:07:09.123");
    let part = |unit: &str| call("EXTRACT", [text(unit), timestamp("2024-03-05 14:07:09.123")]);
    check(vec![(part("YEAR"), "BIGINT NOT NULL", "2024"), (call("YEAR", [t()]), "BIGINT NOT NULL", "2024")]);
    check_values(vec![
        (part("QUARTER"), "1"),
        (part("MONTH"), "3"),
        (part("WEEK"), "10"),
        (part("DAY"), "5"),
        (part("DOY"), "65"),
        (part("DOW"), "3"),
        (part("ISODOW"), "2"),
        (part("HOUR"), "14"),
        (part("MINUTE"), "7"),
        (part("SECOND"), "9"),
        (part("MILLISECOND"), "123"),
        (part("MICROSECOND"), "123000"),
        (part("CENTURY"), "21"),
        (part("MILLENNIUM"), "3"),
        (part("DECADE"), "202"),
        (part("EPOCH"), "1709647629"),
        (call("DAYOFWEEK", [date("2024-03-03")]), "1"),
        (call("HOUR", [instant("2024-03-05 14:07:09")]), "14"),
        (call("HOUR", [value(TypeKind::Time(0), "23:45:00")]), "23"),
        (call("MONTH", [text("2024-03-05")]), "3"),
        (call("EXTRACT", [text("DAY"), millis(3 * DAY + 5)]), "3"),
        (call("EXTRACT", [text("MONTH"), months(14)]), "2"),
    ]);
    assert_eq!(refused("EXTRACT", [text("YEAT"), t()]).remedy(), Some("did you mean YEAR?"));
}

#[test]
fn moments_are_cut_to_units() {
    let t = || timestamp("2024-03-05 14:07:09.123");
    check(vec![
        (call("FLOOR", [text("HOUR"), t()]), "TIMESTAMP(3) NOT NULL", "2024-03-05 14:00:00.000"),
        (call("CEIL", [text("HOUR"), t()]), "TIMESTAMP(3) NOT NULL", "2024-03-05 15:00:00.000"),
        (call("FLOOR", [text("DAY"), t()]), "TIMESTAMP(3) NOT NULL", "2024-03-05 00:00:00.000"),
        (call("CEIL", [text("MONTH"), t()]), "TIMESTAMP(3) NOT NULL", "2024-04-01 00:00:00.000"),
        (call("FLOOR", [text("WEEK"), t()]), "TIMESTAMP(3) NOT NULL", "2024-03-03 00:00:00.000"),
        (call("DATE_TRUNC", [text("week"), t()]), "TIMESTAMP(3) NOT NULL", "2024-03-04 00:00:00.000"),
        (call("DATE_TRUNC", [t(), text("MONTH")]), "TIMESTAMP(3) NOT NULL", "2024-03-01 00:00:00.000"),
        (
            call("DATE_TRUNC", [text("DAY"), text("2024-03-05 14:00:00")]),
            "TIMESTAMP(3) NOT NULL",
            "2024-03-05 00:00:00.000",
        ),
        (call("FLOOR", [text("QUARTER"), date("2024-06-30")]), "DATE NOT NULL", "2024-04-01"),
        (call("FLOOR", [text("YEAR"), date("2024-06-30")]), "DATE NOT NULL", "2024-01-01"),
        (call("CEIL", [text("YEAR"), date("2024-01-01")]), "DATE NOT NULL", "2024-01-01"),
        (
            call("FLOOR", [text("DAY"), instant("2024-03-05 03:00:00")]),
            "TIMESTAMP_LTZ(3) NOT NULL",
            "2024-03-05 00:00:00.000",
        ),
        (call("FLOOR", [text("MINUTE"), value(TypeKind::Time(0), "12:44:31")]), "TIME(0) NOT NULL", "12:44:00"),
        (call("CEIL", [text("MINUTE"), value(TypeKind::Time(0), "12:44:31")]), "TIME(0) NOT NULL", "12:45:00"),
    ]);
}

#[test]
fn moments_move_by_intervals() {
    check(vec![
        (call("+", [date("2024-01-31"), months(1)]), "DATE NOT NULL", "2024-02-29"),
        (call("+", [date("2024-01-31"), millis(DAY)]), "DATE NOT NULL", "2024-02-01"),
        (call("+", [date("2024-01-31"), millis(3_600_000)]), "DATE NOT NULL", "2024-01-31"),
        (call("+", [date("2024-01-31"), millis(25 * 3_600_000)]), "DATE NOT NULL", "2024-02-01"),
        (call("-", [timestamp("2024-03-01 00:00:00"), millis(1)]), "TIMESTAMP(3) NOT NULL", "2024-02-29 23:59:59.999"),
        (call("-", [timestamp("2024-03-31 10:00:00"), months(1)]), "TIMESTAMP(3) NOT NULL", "2024-02-29 10:00:00.000"),
        (
            call("+", [millis(DAY), instant("2024-03-05 03:00:00")]),
            "TIMESTAMP_LTZ(3) NOT NULL",
            "2024-03-06 03:00:00.000",
        ),
        (call("+", [value(TypeKind::Time(0), "23:30:00"), millis(3_600_000)]), "TIME(0) NOT NULL", "00:30:00"),
        (call("*", [int(3), millis(DAY)]), "INTERVAL DAY TO SECOND(3) NOT NULL", "+3 00:00:00.000"),
        (call("+", [months(1), months(11)]), "INTERVAL YEAR TO MONTH NOT NULL", "+1-00"),
        (
            call("-", [timestamp("2024-03-02 01:00:00"), timestamp("2024-03-01 00:00:00")]),
            "INTERVAL DAY TO SECOND(3) NOT NULL",
            "+1 01:00:00.000",
        ),
        (call("TIMESTAMPADD", [text("WEEK"), int(1), date("2003-01-02")]), "DATE NOT NULL", "2003-01-09"),
        (call("TIMESTAMPADD", [text("MONTH"), int(-1), date("2024-03-31")]), "DATE NOT NULL", "2024-02-29"),
        (
            call("TIMESTAMPADD", [text("MINUTE"), int(5), date("2024-03-31")]),
            "TIMESTAMP(6) NOT NULL",
            "2024-03-31 00:05:00.000000",
        ),
        (call("DATE_ADD", [date("2024-02-28"), int(2)]), "DATE NOT NULL", "2024-03-01"),
        (call("DATE_SUB", [text("2024-03-01"), int(1)]), "DATE NOT NULL", "2024-02-29"),
    ]);
    let far = call("+", [value(TypeKind::Timestamp(9), "2262-01-01 00:00:00"), months(1_200)]);
    assert_eq!(
        try_show(&far).unwrap_err().message(),
        "2262-01-01 00:00:00.000000000 + +100-00 does not fit TIMESTAMP(9)"
    );
}

#[test]
fn differences_count_whole_units() {
    check(vec![
        (
            call("TIMESTAMPDIFF", [text("DAY"), timestamp("2003-01-02 10:00:00"), timestamp("2003-01-03 10:00:00")]),
            "INT NOT NULL",
            "1",
        ),
        (call("TIMESTAMPDIFF", [text("MONTH"), date("2024-01-31"), date("2024-02-29")]), "INT NOT NULL", "1"),
        (
            call("TIMESTAMPDIFF", [text("MONTH"), timestamp("2024-01-15 10:00:00"), timestamp("2024-02-15 09:00:00")]),
            "INT NOT NULL",
            "0",
        ),
        (
            call("TIMESTAMPDIFF", [text("HOUR"), date("2024-01-02"), timestamp("2024-01-01 22:30:00")]),
            "INT NOT NULL",
            "-1",
        ),
        (call("TIMESTAMPDIFF", [text("YEAR"), date("2020-02-29"), date("2024-02-28")]), "INT NOT NULL", "3"),
        (call("DATEDIFF", [text("2024-03-01"), date("2024-02-28")]), "INT NOT NULL", "2"),
        (call("DATEDIFF", [text("HOUR"), date("2024-02-28"), date("2024-03-01")]), "INT NOT NULL", "48"),
        (call("DATE", [timestamp("2024-03-01 23:00:00")]), "DATE NOT NULL", "2024-03-01"),
        (call("DATE", [text("2024-03-01 23:00:00")]), "DATE NOT NULL", "2024-03-01"),
    ]);
}

#[test]
fn texts_and_seconds_become_moments() {
    check(vec![
        (call("TO_DATE", [text("2024-03-05")]), "DATE", "2024-03-05"),
        (call("TO_DATE", [text("05/03/2024"), text("dd/MM/yyyy")]), "DATE", "2024-03-05"),
        (call("TO_DATE", [text("soon")]), "DATE", "NULL"),
        (call("TO_TIMESTAMP", [text("2024-03-05 10:00:00.5")]), "TIMESTAMP(3)", "2024-03-05 10:00:00.500"),
        (call("TO_TIMESTAMP", [text("20240305"), text("yyyyMMdd")]), "TIMESTAMP(3)", "2024-03-05 00:00:00.000"),
        (call("TO_TIMESTAMP", [text("x")]), "TIMESTAMP(3)", "NULL"),
        (call("TO_TIMESTAMP_LTZ", [int(0), int(0)]), "TIMESTAMP_LTZ(3)", "1970-01-01 08:00:00.000"),
        (call("TO_TIMESTAMP_LTZ", [big(1_500), int(3)]), "TIMESTAMP_LTZ(3)", "1970-01-01 08:00:01.500"),
        (call("TO_TIMESTAMP_LTZ", [double(1.5), int(0)]), "TIMESTAMP_LTZ(3)", "1970-01-01 08:00:01.500"),
        (call("TO_TIMESTAMP_LTZ", [big(i64::MAX), int(0)]), "TIMESTAMP_LTZ(3)", "NULL"),
        (call("UNIX_TIMESTAMP", [text("1970-01-01 08:00:01")]), "BIGINT NOT NULL", "1"),
        (call("UNIX_TIMESTAMP", [text("x")]), "BIGINT NOT NULL", "-9223372036854775808"),
        (call("UNIX_TIMESTAMP", [timestamp("1970-01-01 08:00:01")]), "BIGINT NOT NULL", "1"),
        (call("UNIX_TIMESTAMP", []), "BIGINT NOT NULL", "1709647629"),
        (call("FROM_UNIXTIME", [int(44)]), "STRING", "1970-01-01 08:00:44"),
        (call("FROM_UNIXTIME", [big(0), text("yyyy")]), "STRING", "1970"),
        (
            call("CONVERT_TZ", [text("1970-01-01 00:00:00"), text("UTC"), text("America/Los_Angeles")]),
            "STRING",
            "1969-12-31 16:00:00",
        ),
    ]);
    assert!(refused("CONVERT_TZ", [text("x"), text("Mars"), text("UTC")]).message().contains("'Mars'"));
    assert!(refused("TO_TIMESTAMP_LTZ", [int(0), int(6)]).message().contains("precision 6"));
}

/// What a real Flink gives with the session in Europe/Berlin; but FLOOR to a day or month finds the local midnight, where Flink
/// uses the offset of the moment itself.
#[test]
fn an_hour_may_be_missing_or_occur_twice() {
    let ltz = |x: Expr| cast(x, &TypeKind::TimestampLtz(3).nullable(), false).unwrap();
    let seconds = |n: i64| call("TO_TIMESTAMP_LTZ", [big(n), int(0)]);
    let cases = [
        (ltz(text("2024-03-31 02:30:00")), "2024-03-31 03:30:00.000"),
        (call("EXTRACT", [text("EPOCH"), ltz(text("2024-10-27 02:30:00"))]), "1729989000"),
        (call("UNIX_TIMESTAMP", [text("2024-03-31 02:30:00")]), "1711848600"),
        (call("UNIX_TIMESTAMP", [text("2024-10-27 02:30:00")]), "1729992600"),
        (call("FROM_UNIXTIME", [big(1_711_846_800)]), "2024-03-31 03:00:00"),
        (call("FROM_UNIXTIME", [big(1_729_990_800), text("HH:mm Z z")]), "02:00 +0100 CET"),
        (seconds(1_711_850_400), "2024-03-31 04:00:00.000"),
        (call("FLOOR", [text("HOUR"), seconds(1_729_994_400)]), "2024-10-27 03:00:00.000"),
        (call("FLOOR", [text("DAY"), seconds(1_711_850_400)]), "2024-03-31 00:00:00.000"),
        (call("CEIL", [text("DAY"), seconds(1_711_850_400)]), "2024-04-01 00:00:00.000"),
        (call("FLOOR", [text("MONTH"), seconds(1_711_850_400)]), "2024-03-01 00:00:00.000"),
        (call("+", [seconds(1_711_760_400), millis(DAY)]), "2024-03-31 03:00:00.000"),
        (call("+", [seconds(1_711_760_400), months(1)]), "2024-04-30 03:00:00.000"),
        (
            call("TIMESTAMPDIFF", [text("HOUR"), ltz(text("2024-03-31 00:00:00")), ltz(text("2024-04-01 00:00:00"))]),
            "23",
        ),
        (call("HOUR", [seconds(1_711_850_400)]), "4"),
        (call("DATE_FORMAT", [seconds(1_711_850_400), text("HH:mm")]), "04:00"),
    ];
    let zone = chrono_tz::Tz::Europe__Berlin;
    let berlin = gridhouse_expr::EvalContext { zone, ..context() };
    for (expr, expected) in cases {
        let array = expr.eval(&[], 1, &berlin).unwrap_or_else(|error| panic!("{expr}: {error}"));
        let shown = gridhouse_expr::text::format_value(&array, 0, expr.kind(), zone);
        assert_eq!(shown.as_deref(), Some(expected), "{expr}");
    }
}

#[test]
fn the_clock_is_that_of_the_tick() {
    let cases = [
        ("CURRENT_TIMESTAMP", "TIMESTAMP_LTZ(3) NOT NULL", "2024-03-05 22:07:09.123"),
        ("NOW", "TIMESTAMP_LTZ(3) NOT NULL", "2024-03-05 22:07:09.123"),
        ("LOCALTIMESTAMP", "TIMESTAMP(3) NOT NULL", "2024-03-05 22:07:09.123"),
        ("CURRENT_DATE", "DATE NOT NULL", "2024-03-05"),
        ("CURRENT_TIME", "TIME(0) NOT NULL", "22:07:09"),
    ];
    for (name, sql_type, expected) in cases {
        let expr = call(name, []);
        assert_eq!(expr.volatility(), Volatility::Clock);
        assert_eq!(expr.fold(&context()), expr, "{name} is no constant");
        assert_eq!(expr.sql_type().to_string(), sql_type);
        assert_eq!(show(&expr), expected, "{name}");
    }
}

/// A DATE where there is no time, else a TIMESTAMP.
fn date_or_timestamp(text: &str) -> Expr {
    if text.contains(' ') { timestamp(text) } else { date(text) }
}

#[test]
fn differences_are_flinks_for_every_unit() {
    let cases = [
        ("DAY", "2018-07-03 11:11:11", "2018-07-05 11:11:11", "2"),
        ("DAY", "2016-06-15", "2016-06-16 11:11:11", "1"),
        ("DAY", "2016-06-15 11:00:00", "2016-06-19", "3"),
        ("HOUR", "2018-07-03 11:11:11", "2018-07-04 12:12:11", "25"),
        ("HOUR", "2016-06-15", "2016-06-12", "-72"),
        ("MINUTE", "2016-06-15", "2016-06-16 11:11:11", "2111"),
        ("SECOND", "2016-06-15 11:00:00", "2016-06-19", "306000"),
        ("WEEK", "2018-05-03 11:11:11", "2018-07-03 11:12:12", "8"),
        ("WEEK", "2016-08-15", "2016-06-18", "-8"),
        ("MONTH", "2016-06-15 11:00:00", "2018-05-19", "23"),
        ("SQL_TSI_MONTH", "2016-06-15", "2018-03-18", "21"),
        ("QUARTER", "2018-01-03 11:11:11", "2018-09-05 11:11:11", "2"),
        ("QUARTER", "2016-06-15", "2018-06-16 11:11:11", "8"),
        ("QUARTER", "2016-06-15 11:00:00", "2018-05-19", "7"),
    ];
    for (unit, from, to, expected) in cases {
        let expr = call("TIMESTAMPDIFF", [text(unit), date_or_timestamp(from), date_or_timestamp(to)]);
        assert_eq!(show(&expr), expected, "{expr}");
    }
}

#[test]
fn sums_are_flinks_for_every_unit() {
    let start = "2017-11-29 22:58:58.998";
    let cases = [
        ("YEAR", -1_000, "1017-11-29 22:58:58.998"),
        ("QUARTER", 1, "2018-02-28 22:58:58.998"),
        ("QUARTER", -61, "2002-08-29 22:58:58.998"),
        ("MONTH", 3, "2018-02-28 22:58:58.998"),
        ("MONTH", -1_000, "1934-07-29 22:58:58.998"),
        ("WEEK", -61, "2016-09-28 22:58:58.998"),
        ("DAY", -1_000, "2015-03-05 22:58:58.998"),
        ("HOUR", 3, "2017-11-30 01:58:58.998"),
        ("MINUTE", -1_000, "2017-11-29 06:18:58.998"),
        ("SQL_TSI_SECOND", -61, "2017-11-29 22:57:57.998"),
    ];
    for (unit, count, expected) in cases {
        assert_eq!(show(&call("TIMESTAMPADD", [text(unit), int(count), timestamp(start)])), expected, "{unit} {count}");
    }
    let time = |text: &str| value(TypeKind::Time(0), text);
    check_values(vec![
        (call("TIMESTAMPADD", [text("MINUTE"), int(1), time("23:59:59")]), "00:00:59"),
        (call("TIMESTAMPADD", [text("SECOND"), int(-1), time("00:00:00")]), "23:59:59"),
        (call("TIMESTAMPADD", [text("DAY"), int(15), time("23:59:59")]), "23:59:59"),
        (call("TIMESTAMPADD", [text("YEAR"), int(10), time("23:59:59")]), "23:59:59"),
        (call("TIMESTAMPADD", [text("MONTH"), int(5), date("2016-01-31")]), "2016-06-30"),
    ]);
}
