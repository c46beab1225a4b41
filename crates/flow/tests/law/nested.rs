//! MAP, ARRAY and ROW columns, as keys and as what comes along.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{JoinKey, JoinKind, JoinSpec, SetKind, SetOperation, TopN};

use crate::aggregate;
use crate::check::{Plan, hold};
use crate::draw::{Row, comparable, nested_kinds};
use crate::join;

fn columns() -> Vec<TypeKind> {
    [TypeKind::Int].into_iter().chain(nested_kinds()).collect()
}

fn ordered(rows: &[Row]) -> Vec<Row> {
    rows.iter().map(|row| row.iter().map(comparable).collect()).collect()
}

#[test]
fn joins_on_nested_columns_and_with_them() {
    hold("nested join", 0..120, |random| {
        let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti]);
        let keys = *random.pick(&[0, 1, 2, 3, 4]);
        let keys = vec![JoinKey { left: keys, right: keys, null_safe: random.chance(0.5) }];
        let spec = JoinSpec { kind, keys: keys.clone(), residual: None, time: None };
        Plan {
            inputs: vec![(columns(), false), (columns(), false)],
            build: Box::new(move |b, inputs| b.join(inputs[0], inputs[1], spec.clone()).unwrap()),
            naive: Box::new(move |tables| {
                join::naive(&ordered(&tables[0]), &ordered(&tables[1]), 5, 5, kind, &keys, |_| true)
            }),
            rest: 0,
        }
    });
}

#[test]
fn groups_of_nested_keys() {
    hold("nested group by", 0..120, |random| {
        let keys = random.pick(&[vec![1], vec![2], vec![3], vec![4, 0], vec![0, 1, 2, 3, 4]]).clone();
        let (function, sql_type) = (AggregateFunction::Count, TypeKind::BigInt.not_null());
        let call = AggregateCall {
            function,
            args: vec![*random.pick(&[1, 2, 3])],
            distinct: random.chance(0.5),
            filter: None,
            sql_type,
        };
        let (build_keys, build_call) = (keys.clone(), call.clone());
        Plan {
            inputs: vec![(columns(), random.chance(0.2))],
            build: Box::new(move |b, inputs| {
                b.aggregate(inputs[0], build_keys.clone(), vec![build_call.clone()]).unwrap()
            }),
            naive: Box::new(move |tables| {
                aggregate::naive(&ordered(&tables[0]), &keys, std::slice::from_ref(&call), &columns())
            }),
            rest: 0,
        }
    });
}

#[test]
fn whole_rows_with_nested_values_are_compared() {
    hold("nested except", 0..120, |random| {
        let spec = SetOperation { kind: SetKind::Except, all: true };
        let kind = random.pick(&nested_kinds()).clone();
        Plan {
            inputs: vec![(vec![kind.clone()], false), (vec![kind], false)],
            build: Box::new(move |b, inputs| b.set_operation(inputs[0], inputs[1], spec).unwrap()),
            naive: Box::new(|tables| {
                let mut others = ordered(&tables[1]);
                let mut left = ordered(&tables[0]);
                left.retain(|row| match others.iter().position(|other| format!("{other:?}") == format!("{row:?}")) {
                    Some(at) => {
                        others.swap_remove(at);
                        false
                    }
                    None => true,
                });
                left
            }),
            rest: 0,
        }
    });
}

/// With a row for every key the place is settled by the key alone, so nothing depends on the order of nested values.
#[test]
fn a_top_n_carries_nested_values() {
    hold("nested top-n", 0..120, |_| Plan {
        inputs: vec![(columns(), false)],
        build: Box::new(|b, inputs| b.top_n(inputs[0], TopN { partition: vec![1], ..TopN::default() }).unwrap()),
        naive: Box::new(|tables| ordered(&tables[0])),
        rest: 0,
    });
}

#[test]
fn an_equal_map_in_another_order_takes_the_first_back() {
    use gridhouse_flow::consolidate;

    use crate::draw::{batch, schema};

    let kinds = [nested_kinds()[0].clone()];
    let entry = |key: &str, value| (Value::Text(key.into()), Value::Integer(value));
    let one = vec![Value::Map(vec![entry("a", 1), entry("b", 2)])];
    let other = vec![Value::Map(vec![entry("b", 2), entry("a", 1)])];
    let changes = batch(&[(one, 1), (other, -1)], &kinds);
    assert!(consolidate(&[changes], &schema(&kinds)).unwrap().is_empty());
}
