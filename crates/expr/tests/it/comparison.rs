//! Comparisons, NULL tests, BETWEEN, IN and three-valued logic.

use gridhouse_base::{ErrorKind, TypeKind};
use gridhouse_expr::Expr;

use crate::{
    big, call, check, check_values, date, decimal, double, instant, int, null, refused, text, timestamp, truth, value,
};

#[test]
fn values_are_compared_across_types() {
    check(vec![
        (call("=", [int(1), big(1)]), "BOOLEAN NOT NULL", "TRUE"),
        (call(">", [decimal(12, 2, "500.25"), int(500)]), "BOOLEAN NOT NULL", "TRUE"),
        (
            call("<", [decimal(38, 0, "99999999999999999999999999999999999999"), decimal(38, 38, "0.5")]),
            "BOOLEAN NOT NULL",
            "FALSE",
        ),
        (call("=", [decimal(5, 2, "1.50"), decimal(4, 1, "1.5")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [double(0.0), double(-0.0)]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [double(f64::NAN), double(f64::NAN)]), "BOOLEAN NOT NULL", "FALSE"),
        (call("<>", [double(f64::NAN), double(1.0)]), "BOOLEAN NOT NULL", "TRUE"),
        (call(">=", [double(f64::NAN), double(1.0)]), "BOOLEAN NOT NULL", "FALSE"),
        (call("=", [text("abc"), value(TypeKind::STRING, "abc")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("<", [text("Z"), text("a")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [text("电网"), text("电网")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("!=", [int(1), int(2)]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [int(1), null()]), "BOOLEAN", "NULL"),
        (call("=", [null(), null()]), "BOOLEAN", "NULL"),
        (call(">", [timestamp("2024-01-01 00:00:00.001"), date("2024-01-01")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [instant("2024-01-01 08:00:00"), timestamp("2024-01-01 08:00:00")]), "BOOLEAN NOT NULL", "TRUE"),
        (call(">=", [timestamp("2024-01-02 00:00:00"), text("2024-01-01")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [int(1), text("1.5")]), "BOOLEAN NOT NULL", "FALSE"),
        (call("=", [int(1), text(" 1 ")]), "BOOLEAN NOT NULL", "TRUE"),
        (call("=", [truth(true), truth(false)]), "BOOLEAN NOT NULL", "FALSE"),
    ]);
}

#[test]
fn null_tests_know_every_value() {
    check(vec![
        (call("IS NULL", [null()]), "BOOLEAN NOT NULL", "TRUE"),
        (call("IS NOT NULL", [int(1)]), "BOOLEAN NOT NULL", "TRUE"),
        (call("IS DISTINCT FROM", [int(1), null()]), "BOOLEAN NOT NULL", "TRUE"),
        (call("IS NOT DISTINCT FROM", [int(1), int(1)]), "BOOLEAN NOT NULL", "TRUE"),
    ]);
    let nulls = [null(), null()].map(|n| gridhouse_expr::cast::cast(n, &TypeKind::Int.nullable(), false).unwrap());
    assert_eq!(crate::show(&call("IS NOT DISTINCT FROM", nulls)), "TRUE");
}

#[test]
fn ranges_and_lists_follow_three_valued_logic() {
    check_values(vec![
        (call("BETWEEN", [int(5), int(1), int(5)]), "TRUE"),
        (call("BETWEEN", [int(5), int(6), null()]), "FALSE"),
        (call("BETWEEN", [int(5), int(1), null()]), "NULL"),
        (call("NOT BETWEEN", [int(5), int(6), null()]), "TRUE"),
        (call("BETWEEN", [call("+", [int(2), int(3)]), int(1), int(4)]), "FALSE"),
        (call("IN", [int(2), int(1), big(2), int(3)]), "TRUE"),
        (call("IN", [int(4), int(1), null(), int(3)]), "NULL"),
        (call("NOT IN", [int(4), int(1), int(2)]), "TRUE"),
        (call("NOT IN", [int(1), int(1), null()]), "FALSE"),
        (call("IN", [text("b"), text("a"), text("bb"), text("b")]), "TRUE"),
        (call("IN", [date("2024-01-01"), text("2024-01-01"), text("2024-02-01")]), "TRUE"),
    ]);
}

#[test]
fn and_or_not_follow_three_valued_logic() {
    let values = [Some(true), Some(false), None];
    let operand = |v: Option<bool>| v.map_or_else(null, truth);
    let shown = |v: Option<bool>| v.map_or("NULL", |v| if v { "TRUE" } else { "FALSE" });
    for a in values {
        for b in values {
            let and = if a == Some(false) || b == Some(false) { Some(false) } else { a.and(b) };
            let or = if a == Some(true) || b == Some(true) { Some(true) } else { a.and(b) };
            check_values(vec![
                (call("AND", [operand(a), operand(b)]), shown(and)),
                (call("OR", [operand(a), operand(b)]), shown(or)),
            ]);
        }
        check_values(vec![
            (call("NOT", [operand(a)]), shown(a.map(|v| !v))),
            (call("IS TRUE", [operand(a)]), shown(Some(a == Some(true)))),
            (call("IS NOT TRUE", [operand(a)]), shown(Some(a != Some(true)))),
            (call("IS FALSE", [operand(a)]), shown(Some(a == Some(false)))),
            (call("IS NOT FALSE", [operand(a)]), shown(Some(a != Some(false)))),
            (call("IS UNKNOWN", [operand(a)]), shown(Some(a.is_none()))),
        ]);
    }
}

#[test]
fn what_cannot_be_compared_says_so() {
    let error = refused("=", [date("2024-01-01"), int(5)]);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.message(), "= does not take these types: DATE = INT");
    assert_eq!(refused("AND", [int(1), truth(true)]).message(), "AND does not take these types: INT AND BOOLEAN");
    let error = refused("<", [Expr::column(0, TypeKind::Timestamp(3).nullable()), text("2024-13-01")]);
    assert_eq!(error.message(), "'2024-13-01' is not a valid TIMESTAMP(3)");
    let error = refused("CONCATT", [text("a")]);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.remedy(), Some("did you mean CONCAT?"));
}
