//! INTERSECT and EXCEPT.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;
use gridhouse_base::{TypeKind, Value};
use gridhouse_flow::{DataflowBuilder, SetKind, SetOperation};

use crate::check::{Plan, hold, tick};
use crate::draw::{Row, batch, rows, schema};

/// The query, row by row: a row of the left side is given out or not by what is left of its like on the right.
fn naive(left: &[Row], right: &[Row], spec: SetOperation) -> Vec<Row> {
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for row in right {
        *others.entry(format!("{row:?}")).or_default() += 1;
    }
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in left {
        let text = format!("{row:?}");
        let partner = match others.get_mut(&text) {
            Some(count) if *count > 0 => {
                *count -= usize::from(spec.all);
                true
            }
            _ => false,
        };
        if partner == (spec.kind == SetKind::Intersect) {
            rows.entry(text).or_default().push(row.clone());
        }
    }
    let times = if spec.all { usize::MAX } else { 1 };
    rows.into_values().flat_map(|rows| rows.into_iter().take(times)).collect()
}

fn plan(random: &mut Random, kind: SetKind) -> Plan {
    let kinds =
        random.pick(&[vec![TypeKind::Int], vec![TypeKind::STRING, TypeKind::Boolean], vec![TypeKind::Double]]).clone();
    let spec = SetOperation { kind, all: random.chance(0.5) };
    Plan {
        inputs: vec![(kinds.clone(), random.chance(0.2)), (kinds.clone(), random.chance(0.2))],
        build: Box::new(move |b, inputs| b.set_operation(inputs[0], inputs[1], spec).unwrap()),
        naive: Box::new(move |tables| naive(&tables[0], &tables[1], spec)),
        rest: 0,
    }
}

#[test]
fn intersections() {
    hold("intersect", 0..300, |random| plan(random, SetKind::Intersect));
}

#[test]
fn differences() {
    hold("except", 0..300, |random| plan(random, SetKind::Except));
}

/// What a tick puts out in which each side changes so.
fn after(spec: SetOperation, left: &[(Value, i32)], right: &[(Value, i32)]) -> Vec<(Row, i64)> {
    let kinds = [TypeKind::Int];
    let mut builder = DataflowBuilder::new(1);
    let (a, b) = (builder.input(schema(&kinds)), builder.input(schema(&kinds)));
    let node = builder.set_operation(a, b, spec).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    for (input, side) in [left, right].into_iter().enumerate() {
        for (value, weight) in side {
            flow.push(input, batch(&[(vec![value.clone()], *weight)], &kinds)).unwrap();
        }
    }
    let out = flow.finish_tick(&tick()).unwrap();
    out[0].iter().flat_map(|batch| rows(batch, flow.output_schema(0))).collect()
}

#[test]
fn null_equals_null_and_a_withdrawal_may_come_first() {
    let (null, one) = (Value::Null, Value::Integer(1));
    let left = [(one.clone(), -1), (null.clone(), 2), (one.clone(), 2)];
    let right = [(null.clone(), 1)];
    let of = |kind, all| after(SetOperation { kind, all }, &left, &right);
    assert_eq!(of(SetKind::Except, true), [(vec![one.clone()], 1), (vec![null.clone()], 1)]);
    assert_eq!(of(SetKind::Except, false), [(vec![one], 1)]);
    assert_eq!(of(SetKind::Intersect, true), [(vec![null.clone()], 1)]);
    assert_eq!(of(SetKind::Intersect, false), [(vec![null], 1)]);
}
