//! Casts: Flink's own table of cases, implicit casts, and common types.

use gridhouse_base::{SqlType, TypeKind};
use gridhouse_expr::Expr;
use gridhouse_expr::cast::{cast, common_type, implicit_cast};

use crate::{big, context, date, decimal, double, instant, int, null, show, text, timestamp, truth, try_show, value};

fn to(expr: Expr, kind: TypeKind) -> Expr {
    cast(expr, &kind.nullable(), false).unwrap_or_else(|e| panic!("{e}"))
}

fn string(text: &str) -> Expr {
    value(TypeKind::STRING, text)
}

const fn dec(precision: u8, scale: u8) -> TypeKind {
    TypeKind::Decimal { precision, scale }
}

#[test]
fn casts_give_what_flink_gives() {
    use TypeKind::{
        BigInt, Boolean, Char, Date, Double, Float, Int, SmallInt, Time, Timestamp, TimestampLtz, TinyInt, Varchar,
    };
    let cases = [
        (string("1.234"), TinyInt, "1"),
        (decimal(10, 3, "9123.87"), TinyInt, "-93"),
        (int(1_234_567), TinyInt, "-121"),
        (big(12_345_678_901), TinyInt, "53"),
        (double(-123.456789), TinyInt, "-123"),
        (truth(true), TinyInt, "1"),
        (decimal(10, 3, "91235.87"), SmallInt, "25699"),
        (double(123_456.789), SmallInt, "-7616"),
        (decimal(20, 3, "3276913443134.87"), Int, "-146603714"),
        (big(12_345_678_901), Int, "-539222987"),
        (double(9_234_567_891.123_45), Int, "2147483647"),
        (double(f64::NAN), Int, "0"),
        (string("-3276913443134"), BigInt, "-3276913443134"),
        (decimal(20, 3, "3276913443134.87"), BigInt, "3276913443134"),
        (string("-3276913443134"), Float, "-3.2769135E12"),
        (decimal(20, 3, "3276913443134.87"), Double, "3.27691344313487E12"),
        (decimal(30, 20, "123456789.123456789123456789"), Double, "1.2345678912345679E8"),
        (string("123"), Date, "0123-01-01"),
        (string("2021-09-27 12:34:56.123456789"), Date, "2021-09-27"),
        (string("23:45"), Time(0), "23:45:00"),
        (string("12:34:56.123456789"), Time(3), "12:34:56.123"),
        (string("2021-09-27"), Timestamp(9), "2021-09-27 00:00:00.000000000"),
        (string("2021-09-27 12:34:56.123456789"), Timestamp(9), "2021-09-27 12:34:56.123456789"),
        (string("2021-09-27 12:34:56.123"), TimestampLtz(3), "2021-09-27 12:34:56.123"),
        (timestamp("2021-09-27 12:34:56.789"), Timestamp(0), "2021-09-27 12:34:56"),
        (timestamp("2021-09-27 12:34:56.789"), Timestamp(9), "2021-09-27 12:34:56.789000000"),
        (timestamp("2021-09-27 12:34:56.789"), Date, "2021-09-27"),
        (timestamp("1969-12-31 23:59:59.999"), Date, "1969-12-31"),
        (timestamp("2021-09-27 12:34:56.789"), Time(0), "12:34:56"),
        (instant("2021-09-27 02:00:00"), Timestamp(3), "2021-09-27 02:00:00.000"),
        (instant("2021-09-27 02:00:00"), Date, "2021-09-27"),
        (date("2021-09-27"), TimestampLtz(3), "2021-09-27 00:00:00.000"),
        (truth(true), TypeKind::STRING, "TRUE"),
        (decimal(5, 3, "9.87"), TypeKind::STRING, "9.870"),
        (double(100.0), TypeKind::STRING, "100.0"),
        (value(TypeKind::BYTES, "e794b5"), TypeKind::STRING, "电"),
        (text("foo"), Char(6), "foo   "),
        (truth(false), Char(6), "FALSE "),
        (int(-1_234), Char(6), "-1234 "),
        (string("Apache Flink"), Varchar(3), "Apa"),
        (string("国家电网"), Varchar(2), "国家"),
        (double(12_345.678), Varchar(3), "123"),
        (text("true"), Boolean, "TRUE"),
        (string("FalsE"), Boolean, "FALSE"),
        (decimal(5, 3, "0.000"), Boolean, "FALSE"),
        (double(-0.12345678), Boolean, "TRUE"),
        (text("AB"), TypeKind::Binary(4), "41420000"),
        (string("电网"), TypeKind::Varbinary(4), "e794b5e7"),
        (string(" 1.2 "), dec(5, 3), "1.200"),
        (decimal(4, 3, "9.87"), dec(5, 2), "9.87"),
        (int(42), dec(5, 3), "42.000"),
        (double(12.678), dec(5, 3), "12.678"),
        (double(1.005), dec(5, 2), "1.01"),
        (truth(true), dec(5, 3), "1.000"),
    ];
    for (expr, kind, expected) in cases {
        let shown = format!("CAST({expr} AS {kind})");
        assert_eq!(show(&to(expr, kind)), expected, "{shown}");
    }
}

#[test]
fn what_cannot_be_read_fails_and_is_null_when_tried() {
    let cases = [
        (string("foo"), TypeKind::Int, "'foo' is not a valid INT"),
        (string("-130"), TypeKind::TinyInt, "'-130' is not a valid TINYINT"),
        (string(""), TypeKind::Boolean, "'' is not a valid BOOLEAN"),
        (string("2021/09/27"), TypeKind::Date, "'2021/09/27' is not a valid DATE"),
        (string("123"), TypeKind::Timestamp(3), "'123' is not a valid TIMESTAMP(3)"),
        (string("2021-09-27"), TypeKind::Time(0), "'2021-09-27' is not a valid TIME(0)"),
        (string("1000"), dec(5, 2), "'1000' is too large for DECIMAL(5, 2)"),
        (string("2300-01-01"), TypeKind::Timestamp(9), "'2300-01-01' does not fit TIMESTAMP(9), which ends in 2262"),
        (string("Apache"), dec(5, 3), "'Apache' is not a valid DECIMAL(5, 3)"),
        (string("电网"), TypeKind::Double, "'电网' is not a valid DOUBLE"),
    ];
    for (expr, kind, message) in cases {
        assert_eq!(try_show(&to(expr.clone(), kind.clone())).unwrap_err().message(), message);
        let tried = cast(expr, &kind.nullable(), true).unwrap();
        assert_eq!(show(&tried), "NULL", "{tried}");
        assert!(tried.sql_type().nullable);
    }
}

#[test]
fn decimals_that_do_not_fit_are_null() {
    for expr in [int(1_000), decimal(10, 1, "999.9"), double(1e30)] {
        let narrow = to(expr, dec(3, 0));
        assert_eq!(narrow.eval(&[], 1, &context()).unwrap().null_count(), 1, "{narrow}");
    }
}

#[test]
fn there_are_no_casts_between_strangers() {
    let error = cast(int(1), &TypeKind::Timestamp(3).nullable(), false).unwrap_err();
    assert_eq!(error.message(), "there is no cast from INT to TIMESTAMP(3) (1)");
    assert!(error.remedy().unwrap().contains("TO_TIMESTAMP_LTZ"));
    assert!(cast(date("2024-01-01"), &TypeKind::Time(0).nullable(), false).is_err());
}

#[test]
fn implicit_casts_are_forgiving_but_never_silent() {
    let into = |expr: Expr, kind: TypeKind| implicit_cast(expr, &kind.nullable());
    assert_eq!(show(&into(big(5), TypeKind::Int).unwrap()), "5");
    assert_eq!(into(big(5), TypeKind::SmallInt).unwrap().to_string(), "CHECKED_CAST(5:BIGINT AS SMALLINT)");
    let error = try_show(&into(big(3_000_000_000), TypeKind::Int).unwrap()).unwrap_err();
    assert_eq!(error.message(), "BIGINT value 3000000000 does not fit INT");
    assert_eq!(show(&into(instant("2024-01-01 00:00:00"), TypeKind::Timestamp(3)).unwrap()), "2024-01-01 00:00:00.000");
    assert_eq!(show(&into(int(5), TypeKind::STRING).unwrap()), "5");
    assert_eq!(show(&into(text("2024-01-01"), TypeKind::Date).unwrap()), "2024-01-01");
    assert_eq!(show(&into(null(), TypeKind::Date).unwrap()), "NULL");
    let column = Expr::column(0, TypeKind::STRING.nullable());
    let error = into(column, TypeKind::Int).unwrap_err();
    assert_eq!(error.message(), "STRING ($0) does not go into INT");
    assert_eq!(error.remedy(), Some("if you mean it, write CAST(… AS INT)"));
    assert!(into(double(1.5), TypeKind::Int).is_err());
    let kept = into(int(1), TypeKind::BigInt).unwrap();
    assert_eq!(kept.sql_type().to_string(), "BIGINT NOT NULL");
}

#[test]
fn common_types_follow_flink() {
    use TypeKind::{BigInt, Char, Date, Double, Float, Int, Null, SmallInt, Timestamp, TimestampLtz, Varchar};
    let cases = [
        (vec![Int, BigInt], Some("BIGINT NOT NULL")),
        (vec![SmallInt, dec(5, 2)], Some("DECIMAL(7, 2) NOT NULL")),
        (vec![dec(38, 0), dec(10, 5)], Some("DECIMAL(38, 0) NOT NULL")),
        (vec![dec(10, 5), Double], Some("DOUBLE NOT NULL")),
        (vec![dec(10, 5), Float], Some("DOUBLE NOT NULL")),
        (vec![Int, Float], Some("FLOAT NOT NULL")),
        (vec![Char(2), Char(3)], Some("VARCHAR(3) NOT NULL")),
        (vec![Char(2), Char(2)], Some("CHAR(2) NOT NULL")),
        (vec![Char(5), Varchar(3)], Some("VARCHAR(5) NOT NULL")),
        (vec![Date, Timestamp(3)], Some("TIMESTAMP(3) NOT NULL")),
        (vec![Timestamp(3), TimestampLtz(6)], Some("TIMESTAMP_LTZ(6) NOT NULL")),
        (vec![Null, Int], Some("INT")),
        (vec![Int, TypeKind::STRING], Some("STRING NOT NULL")),
        (vec![Int, Date], None),
    ];
    for (kinds, expected) in cases {
        let types: Vec<SqlType> = kinds.into_iter().map(TypeKind::not_null).collect();
        assert_eq!(common_type(&types).map(|t| t.to_string()).as_deref(), expected, "{types:?}");
    }
}

#[test]
fn nested_values_are_cast_element_by_element() {
    use gridhouse_base::{Field, Value};
    let ints = TypeKind::Array(Box::new(TypeKind::Int.nullable()));
    let texts = TypeKind::Array(Box::new(TypeKind::STRING.nullable()));
    let list = Expr::literal(Value::Array(vec![Value::Integer(-123), Value::Null]), ints.not_null());
    assert_eq!(show(&to(list.clone(), texts)), "[-123, NULL]");
    assert_eq!(show(&to(list, TypeKind::STRING)), "[-123, NULL]");
    let map = TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(TypeKind::Int.nullable()));
    let entries = vec![(Value::Text("a".into()), Value::Integer(1)), (Value::Text("b".into()), Value::Null)];
    assert_eq!(show(&to(Expr::literal(Value::Map(entries), map.not_null()), TypeKind::STRING)), "{a=1, b=NULL}");
    let row = |kind: TypeKind| TypeKind::Row(vec![Field { name: "f".into(), sql_type: kind.nullable() }]);
    let value = Expr::literal(Value::Row(vec![Value::Integer(7)]), row(TypeKind::Int).not_null());
    assert_eq!(show(&to(value.clone(), row(TypeKind::BigInt))), "(7)");
    assert_eq!(show(&to(value, TypeKind::STRING)), "(7)");
}
