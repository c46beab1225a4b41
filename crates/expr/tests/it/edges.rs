//! No function panics: every function is called with every combination of awkward values that its binder accepts.

use chrono_tz::Tz;
use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::functions::{all, resolve};
use gridhouse_expr::text::format_value;
use gridhouse_expr::{EvalContext, Expr};

use crate::context;

fn awkward() -> Vec<Expr> {
    let mut values = Vec::new();
    let mut add = |kind: TypeKind, value: Value| values.push(Expr::literal(value, kind.nullable()));
    for n in [i64::from(i8::MIN), 127] {
        add(TypeKind::TinyInt, Value::Integer(n));
    }
    for n in [i64::from(i32::MIN), -1, 0, 3, i64::from(i32::MAX)] {
        add(TypeKind::Int, Value::Integer(n));
    }
    for n in [i64::MIN, 0, i64::MAX] {
        add(TypeKind::BigInt, Value::Integer(n));
        add(TypeKind::Timestamp(3), Value::Integer(n));
        add(TypeKind::TimestampLtz(9), Value::Integer(n));
        add(TypeKind::IntervalDayTime, Value::Integer(n));
    }
    for n in [i64::from(i32::MIN), 0, i64::from(i32::MAX)] {
        add(TypeKind::Date, Value::Integer(n));
        add(TypeKind::IntervalYearMonth, Value::Integer(n));
    }
    add(TypeKind::Time(0), Value::Integer(86_399_000));
    for x in [f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, -0.0, 1e300] {
        add(TypeKind::Double, Value::Double(x));
    }
    add(TypeKind::Float, Value::Float(f32::MAX));
    let largest = 10i128.pow(38) - 1;
    for (scale, unscaled) in [(0, largest), (38, -largest), (2, 0), (6, 1_500_000)] {
        add(TypeKind::Decimal { precision: 38, scale }, Value::Decimal(unscaled));
    }
    for text in ["", " ", "DAY", "yyyy-MM-dd", "2024-02-30", "国家电网🔌", "%_\\", "(", "-1", "UTC"] {
        add(TypeKind::STRING, Value::Text(text.into()));
    }
    add(TypeKind::Boolean, Value::Boolean(true));
    add(TypeKind::Int, Value::Null);
    add(TypeKind::STRING, Value::Null);
    add(TypeKind::Null, Value::Null);
    values
}

/// Evaluates as a constant and over a column, formats the result; errors are fine, panics are not.
fn exercise(expr: &Expr, ctx: &EvalContext) {
    for (columns, expr) in [(vec![], expr.clone()), over_columns(expr)] {
        let len = if columns.is_empty() { 1 } else { 2 };
        if let Ok(array) = expr.eval(&columns, len, ctx) {
            assert_eq!(array.len(), len, "{expr}");
            assert_eq!(array.data_type(), &expr.kind().arrow(), "{expr}");
            let _ = format_value(&array, 0, expr.kind(), Tz::Asia__Shanghai);
        }
    }
    let _ = expr.to_string();
}

fn over_columns(expr: &Expr) -> (Vec<arrow_array::ArrayRef>, Expr) {
    let (expr, columns) = crate::columns_for_literals(expr);
    (columns.into_iter().map(|c| c.slice(0, 2)).collect(), expr)
}

#[test]
fn functions_of_one_and_two_arguments_never_panic() {
    let (values, ctx) = (awkward(), context());
    for function in all() {
        let _ = resolve(function.name, vec![]).map(|expr| exercise(&expr, &ctx));
        for a in &values {
            let _ = resolve(function.name, vec![a.clone()]).map(|expr| exercise(&expr, &ctx));
            for b in &values {
                if let Ok(expr) = resolve(function.name, vec![a.clone(), b.clone()]) {
                    exercise(&expr, &ctx);
                }
            }
        }
    }
}

#[test]
fn functions_of_three_arguments_never_panic() {
    let (values, ctx) = (awkward(), context());
    for function in all() {
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                // A part of the combinations, another one for each pair, keeps the test short.
                for c in values.iter().skip((i + j) % 13).step_by(13) {
                    if let Ok(expr) = resolve(function.name, vec![a.clone(), b.clone(), c.clone()]) {
                        exercise(&expr, &ctx);
                    }
                }
            }
        }
    }
}

#[test]
fn casts_never_panic() {
    let ctx = context();
    let targets = [
        TypeKind::TinyInt,
        TypeKind::Int,
        TypeKind::BigInt,
        TypeKind::Float,
        TypeKind::Double,
        TypeKind::Decimal { precision: 38, scale: 38 },
        TypeKind::Decimal { precision: 1, scale: 0 },
        TypeKind::Char(3),
        TypeKind::STRING,
        TypeKind::BYTES,
        TypeKind::Boolean,
        TypeKind::Date,
        TypeKind::Time(3),
        TypeKind::Timestamp(0),
        TypeKind::Timestamp(9),
        TypeKind::TimestampLtz(6),
        TypeKind::IntervalDayTime,
    ];
    for value in awkward() {
        for target in &targets {
            for safe in [false, true] {
                if let Ok(expr) = gridhouse_expr::cast::cast(value.clone(), &target.clone().nullable(), safe) {
                    exercise(&expr, &ctx);
                }
            }
        }
    }
}
