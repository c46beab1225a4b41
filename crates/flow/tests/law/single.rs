//! `SINGLE_VALUE`.

use gridhouse_base::{ErrorKind, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{Dataflow, DataflowBuilder};

use crate::check::{multiset, tick};
use crate::draw::{Row, batch, nested_kinds, rows, schema};

fn flow(kinds: &[TypeKind], keys: Vec<usize>) -> Dataflow {
    let arg = kinds.len() - 1;
    let sql_type = kinds[arg].clone().nullable();
    let function = AggregateFunction::SingleValue;
    let call = AggregateCall { function, args: vec![arg], distinct: false, filter: None, sql_type };
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(kinds));
    let node = builder.aggregate(input, keys, vec![call]).unwrap();
    builder.output(node);
    builder.build()
}

fn step(flow: &mut Dataflow, kinds: &[TypeKind], changes: &[(Row, i32)]) -> Vec<(Row, i64)> {
    for change in changes {
        flow.push(0, batch(std::slice::from_ref(change), kinds)).unwrap();
    }
    let out = flow.finish_tick(&tick()).unwrap();
    out[0].iter().flat_map(|batch| rows(batch, flow.output_schema(0))).collect()
}

#[test]
fn the_only_value_or_null_and_a_new_row_may_come_before_the_old_one_goes() {
    let kinds = [TypeKind::Int];
    let mut flow = flow(&kinds, vec![]);
    let (null, one, two) = (vec![Value::Null], vec![Value::Integer(1)], vec![Value::Integer(2)]);
    assert_eq!(step(&mut flow, &kinds, &[]), [(null.clone(), 1)]);
    assert_eq!(step(&mut flow, &kinds, &[(one.clone(), 1)]), [(null.clone(), -1), (one.clone(), 1)]);
    let moved = step(&mut flow, &kinds, &[(two.clone(), 1), (one.clone(), -1)]);
    assert_eq!(moved, [(one, -1), (two.clone(), 1)]);
    assert_eq!(step(&mut flow, &kinds, &[(two.clone(), -1), (null.clone(), 1)]), [(two, -1), (null, 1)]);
}

#[test]
fn every_type_is_a_single_value() {
    for kind in nested_kinds().into_iter().chain([TypeKind::STRING, TypeKind::Double, TypeKind::Boolean]) {
        let kinds = [TypeKind::Int, kind.clone()];
        let mut random = gridhouse_base::random::Random::new(3);
        let mut table = crate::draw::Table::new(&kinds, true);
        let mut flow = flow(&kinds, vec![0]);
        let value = loop {
            let drawn = table.change(&mut random, 1).remove(0).0;
            if !drawn.contains(&Value::Null) {
                break drawn;
            }
        };
        assert_eq!(multiset(step(&mut flow, &kinds, &[(value.clone(), 1)])), multiset([(value.clone(), 1)]), "{kind}");
        assert_eq!(multiset(step(&mut flow, &kinds, &[(value.clone(), -1)])), multiset([(value, -1)]), "{kind}");
        assert_eq!(flow.stats()[1].state.rows, 0, "{kind}");
    }
}

#[test]
fn a_second_row_is_an_error_that_shows_values_and_group_even_if_it_is_equal_or_null() {
    let (int, null) = (Value::Integer, Value::Null);
    for (second, shown) in [(int(6), "5 and 6"), (int(5), "all of them 5"), (null, "NULL and 5")] {
        let kinds = [TypeKind::Int, TypeKind::Int];
        let mut flow = flow(&kinds, vec![0]);
        step(&mut flow, &kinds, &[(vec![int(7), int(5)], 1)]);
        flow.push(0, batch(&[(vec![int(8), int(1)], 1), (vec![int(7), second], 1)], &kinds)).unwrap();
        let error = flow.finish_tick(&tick()).unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::Invalid && text.contains("more than one row"), "{text}");
        assert!(text.contains(shown) && text.ends_with("in group (7)"), "{text}");
    }
}
