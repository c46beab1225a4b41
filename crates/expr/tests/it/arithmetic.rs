//! Operators and functions of numbers.

use gridhouse_base::{ErrorKind, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_expr::functions::Volatility;

use crate::{big, call, check, check_values, context, decimal, double, int, null, refused, show, text, try_show};

fn tiny(value: i64) -> Expr {
    Expr::literal(Value::Integer(value), TypeKind::TinyInt.not_null())
}

#[test]
fn whole_numbers_keep_their_type_and_wrap() {
    check(vec![
        (call("+", [int(1), int(2)]), "INT NOT NULL", "3"),
        (call("+", [int(i32::MAX.into()), int(1)]), "INT NOT NULL", "-2147483648"),
        (call("*", [big(i64::MAX), int(2)]), "BIGINT NOT NULL", "-2"),
        (call("+", [tiny(127), tiny(1)]), "TINYINT NOT NULL", "-128"),
        (call("/", [int(7), int(2)]), "INT NOT NULL", "3"),
        (call("/", [int(-7), int(2)]), "INT NOT NULL", "-3"),
        (call("/", [int(i32::MIN.into()), int(-1)]), "INT NOT NULL", "-2147483648"),
        (call("%", [int(-7), int(3)]), "INT NOT NULL", "-1"),
        (call("MOD", [big(7), int(4)]), "INT NOT NULL", "3"),
        (call("%", [big(i64::MIN), big(-1)]), "BIGINT NOT NULL", "0"),
        (call("-", [int(1), null()]), "INT", "NULL"),
        (call("UNARY MINUS", [int(i32::MIN.into())]), "INT NOT NULL", "-2147483648"),
        (call("+", [int(1), double(0.5)]), "DOUBLE NOT NULL", "1.5"),
        (call("/", [double(1.0), double(0.0)]), "DOUBLE NOT NULL", "Infinity"),
        (call("/", [double(0.0), int(0)]), "DOUBLE NOT NULL", "NaN"),
    ]);
}

#[test]
fn decimals_follow_flinks_precision_rules() {
    check(vec![
        (call("+", [decimal(12, 2, "1.25"), decimal(10, 3, "2.125")]), "DECIMAL(14, 3) NOT NULL", "3.375"),
        (call("-", [decimal(5, 2, "1.00"), int(3)]), "DECIMAL(13, 2) NOT NULL", "-2.00"),
        (call("*", [decimal(5, 2, "1.50"), decimal(4, 1, "2.5")]), "DECIMAL(10, 3) NOT NULL", "3.750"),
        (call("/", [decimal(5, 2, "1.00"), decimal(3, 0, "3")]), "DECIMAL(9, 6) NOT NULL", "0.333333"),
        (call("/", [decimal(12, 2, "2.00"), int(3)]), "DECIMAL(23, 13) NOT NULL", "0.6666666666667"),
        (call("*", [decimal(30, 20, "1.5"), decimal(30, 20, "2")]), "DECIMAL(38, 17) NOT NULL", "3.00000000000000000"),
        (call("/", [decimal(30, 20, "1"), decimal(30, 20, "3")]), "DECIMAL(38, 8) NOT NULL", "0.33333333"),
        (call("%", [decimal(5, 2, "7.50"), int(2)]), "DECIMAL(5, 2) NOT NULL", "1.50"),
        (call("+", [decimal(5, 2, "1.50"), double(1.0)]), "DOUBLE NOT NULL", "2.5"),
    ]);
    let nines = "99999999999999999999999999999999999999";
    let overflow = call("+", [decimal(38, 0, nines), decimal(38, 0, "1")]);
    assert_eq!(overflow.eval(&[], 1, &context()).unwrap().null_count(), 1, "too many digits are NULL");
}

#[test]
fn division_by_zero_names_the_dividend_and_spares_null_rows() {
    for zero in [call("/", [int(5), int(0)]), call("%", [int(5), int(0)])] {
        let error = try_show(&zero).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().starts_with("division by zero: 5 "), "{error}");
    }
    let error = try_show(&call("/", [decimal(5, 2, "1.50"), decimal(2, 0, "0")])).unwrap_err();
    assert!(error.message().starts_with("division by zero: 1.50 / 0"), "{error}");
    assert_eq!(show(&call("/", [null(), int(0)])), "NULL");
    assert_eq!(refused("+", [text("a"), int(1)]).message(), "+ does not take these types: CHAR(1) + INT");
}

#[test]
fn rounding_keeps_or_derives_types() {
    check(vec![
        (call("ROUND", [decimal(5, 3, "1.235"), int(2)]), "DECIMAL(5, 2) NOT NULL", "1.24"),
        (call("ROUND", [decimal(5, 3, "-1.235"), int(2)]), "DECIMAL(5, 2) NOT NULL", "-1.24"),
        (call("ROUND", [decimal(3, 2, "9.99")]), "DECIMAL(2, 0) NOT NULL", "10"),
        (call("ROUND", [double(2.5)]), "DOUBLE NOT NULL", "3.0"),
        (call("ROUND", [double(1.005), int(2)]), "DOUBLE NOT NULL", "1.01"),
        (call("ROUND", [int(1_250), int(-2)]), "INT NOT NULL", "1300"),
        (call("TRUNCATE", [decimal(5, 3, "1.999"), int(1)]), "DECIMAL(4, 1) NOT NULL", "1.9"),
        (call("TRUNCATE", [double(-42.345), int(2)]), "DOUBLE NOT NULL", "-42.34"),
        (call("CEIL", [decimal(5, 2, "-1.50")]), "DECIMAL(5, 0) NOT NULL", "-1"),
        (call("FLOOR", [decimal(5, 2, "-1.50")]), "DECIMAL(5, 0) NOT NULL", "-2"),
        (call("CEILING", [double(1.2)]), "DOUBLE NOT NULL", "2.0"),
        (call("FLOOR", [int(3)]), "INT NOT NULL", "3"),
        (call("ABS", [decimal(5, 2, "-1.50")]), "DECIMAL(5, 2) NOT NULL", "1.50"),
        (call("ABS", [int(-3)]), "INT NOT NULL", "3"),
        (call("SIGN", [decimal(5, 2, "-1.50")]), "DECIMAL(5, 2) NOT NULL", "-1.00"),
        (call("SIGN", [double(-0.5)]), "DOUBLE NOT NULL", "-1.0"),
    ]);
}

#[test]
fn functions_of_doubles() {
    check_values(vec![
        (call("POWER", [int(2), int(10)]), "1024.0"),
        (call("SQRT", [int(2)]), "1.4142135623730951"),
        (call("LN", [double(1.0)]), "0.0"),
        (call("LOG10", [int(1_000)]), "3.0"),
        (call("LOG2", [int(8)]), "3.0"),
        (call("LOG2", [int(10)]), "3.3219280948873626"),
        (call("LOG", [int(1), int(100)]), "Infinity"),
        (call("LOG", [int(-1)]), "NaN"),
        (call("HEX", [int(-1)]), "FFFFFFFFFFFFFFFF"),
        (call("HEX", [text("ö")]), "C3B6"),
        (call("ROUND", [int(123), int(-2)]), "100"),
        (call("TRUNCATE", [int(42), int(-3)]), "0"),
        (call("ROUND", [decimal(6, 3, "-125.315"), int(2)]), "-125.32"),
        (call("LOG", [int(2), int(8)]), "3.0"),
        (call("EXP", [int(0)]), "1.0"),
        (call("PI", []), "3.141592653589793"),
        (call("SIN", [int(0)]), "0.0"),
        (call("DEGREES", [call("PI", [])]), "180.0"),
        (call("BIN", [int(12)]), "1100"),
        (call("HEX", [int(255)]), "FF"),
        (call("GREATEST", [int(1), big(3), int(2)]), "3"),
        (call("LEAST", [decimal(5, 2, "1.50"), int(2)]), "1.50"),
        (call("GREATEST", [int(1), null(), int(2)]), "NULL"),
    ]);
}

#[test]
fn random_numbers_depend_on_the_row_not_on_the_batch() {
    let rand = call("RAND", []);
    assert_eq!(rand.volatility(), Volatility::Random);
    let ctx = context();
    let whole = rand.eval(&[], 4, &ctx).unwrap();
    let later = rand.eval(&[], 2, &gridhouse_expr::EvalContext { first_row: 2, ..ctx.clone() }).unwrap();
    assert_eq!(whole.slice(2, 2).to_data(), later.to_data());
    let shown: Vec<String> = (0..4).map(|i| crate::shown(&whole, i, rand.kind())).collect();
    assert_ne!(shown[0], shown[1]);
    let limited = call("RAND_INTEGER", [int(10)]).eval(&[], 100, &ctx).unwrap();
    let small = (0..100).all(|i| crate::shown(&limited, i, &TypeKind::Int).len() == 1);
    assert!(small, "below 10 there are single digits only");
    let uuid = crate::shown(&call("UUID", []).eval(&[], 1, &ctx).unwrap(), 0, &TypeKind::STRING);
    assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'));
    let same = call("=", [call("RAND", []), call("RAND", [])]);
    assert_eq!(same.eval_mask(&[], 50, &ctx).unwrap().true_count(), 0, "each RAND() has values of its own");
}
