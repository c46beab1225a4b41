//! What is handed to a table's scan means what the expression means: over a palette of columns, operators and constants.

use std::sync::Arc;

use datafusion::common::Column;
use gridhouse_base::{Schema, TypeKind, Value};
use gridhouse_expr::functions::resolve;
use gridhouse_expr::{EvalContext, Expr};

use super::provider::{arrow_schema, conjunct};
use super::scalar::comparison;

fn columns() -> Vec<(TypeKind, Vec<Value>)> {
    let integers = |values: &[i64]| values.iter().map(|&v| Value::Integer(v)).chain([Value::Null]).collect::<Vec<_>>();
    let doubles = [f64::NAN, f64::NEG_INFINITY, -0.0, 0.0, 1.5, 2.0];
    let texts = ["", "a", "ab", "b", "é", "北"];
    vec![
        (TypeKind::TinyInt, integers(&[-128, -1, 0, 1, 2, 127])),
        (TypeKind::Int, integers(&[i64::from(i32::MIN), -2, -1, 0, 1, 2, 128, 40_000])),
        (TypeKind::BigInt, integers(&[i64::MIN, -1, 0, 1, 2, 3_000_000_000, i64::MAX])),
        (
            TypeKind::Decimal { precision: 6, scale: 2 },
            [-150, -100, 0, 1, 100, 149, 150, 151, 200].map(Value::Decimal).into_iter().chain([Value::Null]).collect(),
        ),
        (TypeKind::Double, doubles.map(Value::Double).into_iter().chain([Value::Null]).collect()),
        (TypeKind::Float, doubles.map(|v| Value::Float(v as f32)).into_iter().chain([Value::Null]).collect()),
        (TypeKind::STRING, texts.map(|v| Value::Text(v.into())).into_iter().chain([Value::Null]).collect()),
        (TypeKind::Date, integers(&[-1, 0, 1, 20_000])),
        (TypeKind::Timestamp(3), integers(&[-1, 0, 1_000, 86_400_000])),
        (TypeKind::Boolean, vec![Value::Boolean(false), Value::Boolean(true), Value::Null]),
    ]
}

fn constants() -> Vec<Expr> {
    let literal = |value: Value, kind: TypeKind| Expr::literal(value, kind.not_null());
    let decimal = |value, precision, scale| literal(Value::Decimal(value), TypeKind::Decimal { precision, scale });
    let mut all = vec![
        decimal(15, 2, 1),
        decimal(-15, 2, 1),
        decimal(20, 2, 1),
        decimal(1_495, 4, 3),
        decimal(1_000, 4, 3),
        decimal(10_i128.pow(20), 21, 0),
        literal(Value::Double(1.5), TypeKind::Double),
        literal(Value::Double(0.0), TypeKind::Double),
        literal(Value::Text("ab".into()), TypeKind::Char(2)),
        literal(Value::Text("1".into()), TypeKind::Char(1)),
        literal(Value::Text("1970-01-02".into()), TypeKind::Char(10)),
        literal(Value::Integer(1), TypeKind::Date),
        literal(Value::Integer(1_000), TypeKind::Timestamp(3)),
        literal(Value::Integer(1_000_001), TypeKind::Timestamp(6)),
        Expr::boolean(true),
        Expr::null(TypeKind::Int),
    ];
    all.extend([-1, 0, 1, 2, 128, 40_000].map(Expr::int));
    all.push(literal(Value::Integer(3_000_000_000), TypeKind::BigInt));
    all
}

#[test]
fn conditions_that_are_handed_over_mean_what_they_meant() {
    let context = EvalContext { now_micros: 0, zone: chrono_tz::UTC, seed: 0, first_row: 0 };
    let (mut handed, mut seen) = (0, 0);
    for (kind, values) in columns() {
        let column = Expr::column(0, kind.clone().nullable());
        let rows = Value::array_of(&values.iter().collect::<Vec<_>>(), &kind);
        let schema = arrow_schema(&Schema::new(vec![gridhouse_base::Column::new("x", kind.clone().nullable())]));
        let name = [Column::new(Some("t"), "c0")];
        let mut conditions: Vec<Expr> = ["IS NULL", "IS NOT NULL"]
            .map(|test| resolve(test, vec![column.clone()]).expect("every column can be tested"))
            .into();
        if kind == TypeKind::Boolean {
            conditions.push(column.clone());
        }
        for constant in constants() {
            for operator in ["=", "<>", "<", "<=", ">", ">="] {
                let pair = vec![column.clone(), constant.clone()];
                conditions.extend(resolve(operator, pair.clone()));
                conditions.extend(resolve(operator, pair.into_iter().rev().collect()));
            }
            let list = vec![column.clone(), constant.clone(), constant, Expr::null(kind.clone())];
            conditions.extend(resolve("IN", list.clone()));
            conditions.extend(resolve("IN", list[..3].to_vec()));
        }
        for condition in conditions {
            let condition = condition.fold(&context);
            seen += 1;
            let Some(form) = comparison(&condition, &name) else { continue };
            let conjunct = conjunct(&form, &schema).unwrap_or_else(|| panic!("{condition} is not taken as {form}"));
            let expected =
                condition.eval_mask(&[Arc::clone(&rows)], rows.len(), &context).expect("comparisons never fail");
            assert_eq!(
                conjunct.mask(&rows).expect("a checked condition"),
                expected,
                "{condition} over {kind} as {form}"
            );
            handed += 1;
        }
    }
    assert!(handed * 3 > seen, "{handed} of {seen} conditions are handed over");
}
