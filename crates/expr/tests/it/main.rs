//! What the functions, casts and operators answer, family by family, as tables of calls and expected texts.
//!
//! Every case is evaluated three ways: as a constant, over columns (with a NULL row in between), and after folding; all
//! must agree.

mod aggregates;
mod arithmetic;
mod casts;
mod choices;
mod comparison;
mod datetime;
mod documents;
mod edges;
mod evaluation;
mod fuzz;
mod patterns;
mod strings;

use std::cell::RefCell;

use arrow_array::ArrayRef;
use chrono_tz::Tz;
use gridhouse_base::{Error, TypeKind, Value};
use gridhouse_expr::functions::datetime::Unit;
use gridhouse_expr::functions::resolve;
use gridhouse_expr::text::{format_value, parse_value};
use gridhouse_expr::{EvalContext, Expr};

/// 2024-03-05 14:07:09.123456 UTC, in Shanghai 22:07:09.
const NOW: i64 = 1_709_647_629_123_456;

fn context() -> EvalContext {
    EvalContext { now_micros: NOW, zone: Tz::Asia__Shanghai, seed: 7, first_row: 0 }
}

fn int(value: i64) -> Expr {
    Expr::literal(Value::Integer(value), TypeKind::Int.not_null())
}

fn big(value: i64) -> Expr {
    Expr::literal(Value::Integer(value), TypeKind::BigInt.not_null())
}

fn double(value: f64) -> Expr {
    Expr::literal(Value::Double(value), TypeKind::Double.not_null())
}

fn text(value: &str) -> Expr {
    Expr::text(value)
}

fn null() -> Expr {
    Expr::null(TypeKind::Null)
}

fn truth(value: bool) -> Expr {
    Expr::boolean(value)
}

/// A literal of `kind`, read from text in the session's zone.
fn value(kind: TypeKind, text: &str) -> Expr {
    let value = parse_value(text, &kind, Tz::Asia__Shanghai).expect("a test's literal is valid");
    Expr::literal(value, kind.not_null())
}

fn decimal(precision: u8, scale: u8, text: &str) -> Expr {
    value(TypeKind::Decimal { precision, scale }, text)
}

fn timestamp(text: &str) -> Expr {
    value(TypeKind::Timestamp(3), text)
}

fn instant(text: &str) -> Expr {
    value(TypeKind::TimestampLtz(3), text)
}

fn date(text: &str) -> Expr {
    value(TypeKind::Date, text)
}

fn call<const N: usize>(name: &str, args: [Expr; N]) -> Expr {
    resolve(name, args.to_vec()).unwrap_or_else(|e| panic!("{name}: {e} ({:?})", e.remedy()))
}

fn refused<const N: usize>(name: &str, args: [Expr; N]) -> Error {
    resolve(name, args.to_vec()).expect_err("the call must not resolve")
}

/// The text of a constant expression's value, after checking that columns and folding agree.
fn show(expr: &Expr) -> String {
    try_show(expr).unwrap_or_else(|e| panic!("{expr}: {e}"))
}

fn try_show(expr: &Expr) -> Result<String, Error> {
    let ctx = context();
    let constant = expr.eval(&[], 1, &ctx)?;
    assert_eq!(constant.data_type(), &expr.kind().arrow(), "{expr} yields its type");
    let shown = shown(&constant, 0, expr.kind());

    let (over_columns, columns) = columns_for_literals(expr);
    let array = over_columns.eval(&columns, 3, &ctx)?;
    assert_eq!(array.len(), 3, "{expr}");
    assert_eq!(shown_at(&array, 0, &over_columns), shown, "{expr} over columns");
    assert_eq!(shown_at(&array, 2, &over_columns), shown, "{expr} over columns, last row");
    assert!(expr.sql_type().nullable || shown != "NULL", "{expr} is {} and NULL", expr.sql_type());

    let folded = expr.fold(&ctx);
    if expr.is_constant() {
        assert!(matches!(folded, Expr::Literal { .. }), "{expr} folds");
    }
    assert_eq!(shown_at(&folded.eval(&[], 1, &ctx)?, 0, &folded), shown, "{expr} folded");
    Ok(shown)
}

fn shown_at(array: &ArrayRef, row: usize, expr: &Expr) -> String {
    shown(array, row, expr.kind())
}

fn shown(array: &ArrayRef, row: usize, kind: &TypeKind) -> String {
    format_value(array, row, kind, Tz::Asia__Shanghai).unwrap_or_else(|| "NULL".into())
}

/// The expression with columns `[value, NULL, value]` in place of its literals; units stay, as they are no values.
fn columns_for_literals(expr: &Expr) -> (Expr, Vec<ArrayRef>) {
    let columns = RefCell::new(Vec::new());
    let replaced = replace(expr, &columns);
    (replaced, columns.into_inner())
}

fn replace(expr: &Expr, columns: &RefCell<Vec<ArrayRef>>) -> Expr {
    match expr {
        Expr::Literal { value: Value::Text(name), .. } if Unit::named(name).is_some() => expr.clone(),
        Expr::Literal { value, sql_type } => {
            let mut columns = columns.borrow_mut();
            columns.push(Value::array_of(&[value, &Value::Null, value], &sql_type.kind));
            Expr::column(columns.len() - 1, sql_type.with_nullable(true))
        }
        other => other.map_children(&mut |child| replace(child, columns)),
    }
}

/// Checks a table of (expression, its type, its text).
fn check(cases: Vec<(Expr, &str, &str)>) {
    for (expr, sql_type, expected) in cases {
        assert_eq!(expr.sql_type().to_string(), sql_type, "type of {expr}");
        assert_eq!(show(&expr), expected, "{expr}");
    }
}

/// Checks a table of (expression, its text).
fn check_values(cases: Vec<(Expr, &str)>) {
    for (expr, expected) in cases {
        assert_eq!(show(&expr), expected, "{expr}");
    }
}
