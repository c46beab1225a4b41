//! Plans of several operators: what one gives out, noise included, is what the next one takes.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr, functions};
use gridhouse_flow::{JoinKey, JoinKind, JoinSpec};

use crate::aggregate;
use crate::check::{Plan, hold};
use crate::draw::{Row, batch, schema};
use crate::join::{self, columns};

fn int(i: usize) -> Expr {
    Expr::column(i, TypeKind::Int.nullable())
}

fn count() -> AggregateCall {
    let (function, args, sql_type) = (AggregateFunction::CountStar, vec![], TypeKind::BigInt.not_null());
    AggregateCall { function, args, distinct: false, filter: None, sql_type }
}

fn sum(arg: usize) -> AggregateCall {
    let (function, args, sql_type) = (AggregateFunction::Sum, vec![arg], TypeKind::Int.nullable());
    AggregateCall { function, args, distinct: false, filter: None, sql_type }
}

fn integer(value: &Value) -> Option<i64> {
    if let Value::Integer(value) = value { Some(*value) } else { None }
}

#[test]
fn filtered_branches_of_one_input_and_constant_rows_in_a_union() {
    hold("union", 0..150, |_| Plan {
        inputs: vec![(columns(), false)],
        build: Box::new(|b, inputs| {
            let small = b.filter(inputs[0], functions::resolve("<", vec![int(0), Expr::int(2)]).unwrap());
            let ordered = b.filter(inputs[0], functions::resolve("<", vec![int(0), int(2)]).unwrap());
            let small = b.map(small, vec![int(0), Expr::int(7)]);
            let ordered = b.map(ordered, vec![int(2), int(0)]);
            let kinds = [TypeKind::Int, TypeKind::Int];
            let constant = (vec![Value::Integer(1), Value::Null], 1);
            let values = b.values(schema(&kinds), batch(&[constant.clone(), constant], &kinds));
            b.union(vec![small, ordered, values]).unwrap()
        }),
        naive: Box::new(|tables| {
            let mut rows = vec![vec![Value::Integer(1), Value::Null]; 2];
            for row in &tables[0] {
                let (a, b) = (integer(&row[0]), integer(&row[2]));
                rows.extend(a.is_some_and(|a| a < 2).then(|| vec![row[0].clone(), Value::Integer(7)]));
                rows.extend(a.zip(b).is_some_and(|(a, b)| a < b).then(|| vec![row[2].clone(), row[0].clone()]));
            }
            rows
        }),
        rest: 0,
    });
}

/// `SELECT k, count(*), sum(x) FROM (SELECT l.*, g.n FROM l LEFT JOIN (SELECT k, count(*) n FROM r GROUP BY k) g …) GROUP BY n`:
/// every layer takes the retractions of the one below.
#[test]
fn a_layered_chain_of_joins_and_aggregates() {
    hold("chain", 0..150, |_| Plan {
        inputs: vec![(columns(), false), (columns(), false)],
        build: Box::new(|b, inputs| {
            let counts = b.aggregate(inputs[1], vec![0], vec![count()]).unwrap();
            let wide = b.join(inputs[0], counts, JoinSpec::on(JoinKind::Left, &[(0, 0)])).unwrap();
            let grouped = b.aggregate(wide, vec![5], vec![count(), sum(2)]).unwrap();
            b.join(grouped, counts, JoinSpec::on(JoinKind::Full, &[(0, 1)])).unwrap()
        }),
        naive: Box::new(|tables| {
            let counts = aggregate::naive(&tables[1], &[0], &[count()], &columns());
            let wide = join::naive(&tables[0], &counts, 2, 4, JoinKind::Left, &[JoinKey::equal(0, 0)], |_| true);
            let mut kinds = columns();
            kinds.extend([TypeKind::Int, TypeKind::BigInt]);
            let grouped: Vec<Row> = aggregate::naive(&wide, &[5], &[count(), sum(2)], &kinds);
            join::naive(&grouped, &counts, 2, 3, JoinKind::Full, &[JoinKey::equal(0, 1)], |_| true)
        }),
        rest: 0,
    });
}
