//! The evaluator over batches, folding, printing and rewriting.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, cast::AsArray, types::Int32Type};
use gridhouse_base::{Column, Schema, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_expr::functions::case;

use crate::{call, context, int, text, truth};

fn column(index: usize) -> Expr {
    Expr::column(index, TypeKind::Int.nullable())
}

fn batch() -> Vec<ArrayRef> {
    vec![
        Arc::new(Int32Array::from(vec![Some(6), Some(8), None, Some(10), Some(12)])),
        Arc::new(Int32Array::from(vec![Some(2), Some(0), Some(3), None, Some(4)])),
    ]
}

fn ints(array: &ArrayRef) -> Vec<Option<i32>> {
    array.as_primitive::<Int32Type>().iter().collect()
}

#[test]
fn case_evaluates_a_branch_for_its_rows_only() {
    let quotient = call("/", [column(0), column(1)]);
    let guarded = case(vec![(call("<>", [column(1), int(0)]), quotient.clone())], Some(int(-1))).unwrap();
    assert_eq!(ints(&guarded.eval(&batch(), 5, &context()).unwrap()), [Some(3), Some(-1), None, Some(-1), Some(3)]);
    assert!(quotient.eval(&batch(), 5, &context()).is_err());
    let nested = case(
        vec![
            (call(">", [column(0), int(9)]), int(1)),
            (call("=", [column(1), int(0)]), int(2)),
            (call(">", [quotient, int(2)]), int(3)),
        ],
        None,
    )
    .unwrap();
    assert_eq!(ints(&nested.eval(&batch(), 5, &context()).unwrap()), [Some(3), Some(2), None, Some(1), Some(1)]);
}

#[test]
fn and_and_or_skip_what_is_decided() {
    let quotient = call(">", [call("/", [column(0), column(1)]), int(2)]);
    let and = call("AND", [call("<>", [column(1), int(0)]), quotient.clone()]);
    let result = and.eval(&batch(), 5, &context()).unwrap();
    let expected = BooleanArray::from(vec![Some(true), Some(false), None, None, Some(true)]);
    assert_eq!(result.as_boolean(), &expected);
    let mask = and.eval_mask(&batch(), 5, &context()).unwrap();
    assert_eq!(mask, BooleanArray::from(vec![true, false, false, false, true]));
    let or = call("OR", [call("=", [column(1), int(0)]), quotient]);
    let expected = BooleanArray::from(vec![Some(true), Some(true), None, None, Some(true)]);
    assert_eq!(or.eval(&batch(), 5, &context()).unwrap().as_boolean(), &expected);
}

#[test]
fn an_empty_batch_gives_an_empty_array() {
    let columns: Vec<ArrayRef> = batch().iter().map(|c| c.slice(0, 0)).collect();
    let exprs = [
        call("+", [column(0), column(1)]),
        call("/", [column(0), int(2)]),
        case(vec![(call(">", [column(0), int(1)]), call("+", [column(0), int(1)]))], None).unwrap(),
        call("CONCAT", [text("a"), column(0)]),
        call("AND", [call(">", [column(0), int(1)]), truth(true)]),
        call("RAND", []),
        int(5),
    ];
    for expr in exprs {
        let result = expr.eval(&columns, 0, &context()).unwrap();
        assert_eq!((result.len(), result.data_type()), (0, &expr.kind().arrow()), "{expr}");
    }
}

#[test]
fn constants_fold_and_errors_wait() {
    let ctx = context();
    assert_eq!(call("+", [int(1), int(2)]).fold(&ctx), int(3));
    let expr = call("+", [column(0), call("*", [int(2), int(3)])]);
    assert_eq!(expr.fold(&ctx).to_string(), "$0 + 6");
    let failing = call("/", [int(1), int(0)]);
    assert_eq!(failing.fold(&ctx), failing);
    let open = call(">", [column(0), int(1)]);
    assert_eq!(call("AND", [truth(true), open.clone()]).fold(&ctx), open);
    assert_eq!(call("AND", [truth(false), open.clone()]).fold(&ctx), truth(false));
    assert_eq!(case(vec![(truth(false), column(0))], Some(column(1))).unwrap().fold(&ctx), column(1));
    assert!(!call("NOW", []).is_constant());
}

#[test]
fn expressions_print_stably_and_with_names() {
    let expr =
        call("AND", [call(">", [call("+", [column(0), column(1)]), int(500)]), call("IS NOT NULL", [column(1)])]);
    assert_eq!(expr.to_string(), "(($0 + $1) > 500) AND ($1 IS NOT NULL)");
    let schema =
        Schema::new(vec![Column::new("amount", TypeKind::Int.nullable()), Column::new("电", TypeKind::Int.nullable())]);
    assert_eq!(expr.display_with(&schema).to_string(), "((`amount` + `电`) > 500) AND (`电` IS NOT NULL)");
    assert_eq!(call(">", [column(3), int(500)]).to_string(), "$3 > 500");
    let shown = case(vec![(call("=", [column(0), int(1)]), text("it's"))], None).unwrap().to_string();
    assert_eq!(shown, "CASE WHEN $0 = 1 THEN 'it''s' ELSE NULL END");
    assert_eq!(
        call("UPPER", [call("CONCAT", [text("a"), column(0)])]).to_string(),
        "UPPER(CONCAT('a', CAST($0 AS STRING)))"
    );
}

#[test]
fn columns_are_found_moved_and_replaced() {
    let expr = call("+", [column(0), call("*", [column(2), column(0)])]);
    let mut found = Vec::new();
    expr.for_each_column(|i| found.push(i));
    assert_eq!(found, [0, 2, 0]);
    assert_eq!(expr.map_columns(|i| i + 1).to_string(), "$1 + ($3 * $1)");
    let with = [int(7), column(9), column(1)];
    assert_eq!(expr.substitute(&with).to_string(), "7 + ($1 * 7)");
}

#[test]
fn a_wide_batch_agrees_with_row_by_row_evaluation() {
    // Drawn numbers with NULLs, compared with the same expression over one row at a time.
    let mut random = gridhouse_base::random::Random::new(42);
    let len = 500;
    let mut draw = || -> Vec<Option<i32>> {
        (0..len).map(|_| (!random.chance(0.2)).then(|| random.between(-5, 5) as i32)).collect()
    };
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(draw())), Arc::new(Int32Array::from(draw()))];
    let quotient = call("/", [column(0), column(1)]);
    let exprs = [
        case(
            vec![(call("<>", [column(1), int(0)]), quotient.clone()), (call(">", [column(0), int(2)]), column(0))],
            Some(int(0)),
        )
        .unwrap(),
        call("AND", [call("<>", [column(1), int(0)]), call(">", [quotient, int(1)])]),
        call("COALESCE", [column(0), column(1), int(99)]),
        call("NULLIF", [column(0), column(1)]),
        call("IN", [column(0), int(1), column(1), int(3)]),
        call("GREATEST", [column(0), column(1), int(0)]),
        call("IS DISTINCT FROM", [column(0), column(1)]),
    ];
    for expr in exprs {
        let whole = expr.eval(&columns, len, &context()).unwrap();
        for row in 0..len {
            let one: Vec<ArrayRef> = columns.iter().map(|c| c.slice(row, 1)).collect();
            let alone = expr.eval(&one, 1, &context()).unwrap();
            let kind = expr.kind();
            assert_eq!(Value::from_array(&whole, row, kind), Value::from_array(&alone, 0, kind), "{expr}, row {row}");
        }
    }
}
