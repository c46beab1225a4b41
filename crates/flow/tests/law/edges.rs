//! Single cases: nothing at all, large ticks, rows that were never there, statistics.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array};
use gridhouse_base::clock::SystemClock;
use gridhouse_base::{ChangeBatch, ErrorKind, Schema, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{CHUNK_ROWS, DataflowBuilder, JoinKind, JoinSpec, TopN, consolidate};

use crate::check::{Answer, tick};
use crate::draw::{batch, rows, schema};

fn call(function: AggregateFunction, args: Vec<usize>) -> AggregateCall {
    AggregateCall { function, args, distinct: false, filter: None, sql_type: TypeKind::BigInt.nullable() }
}

#[test]
fn a_total_over_nothing_is_a_row_from_the_first_tick_on() {
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&[TypeKind::BigInt]));
    let calls = vec![call(AggregateFunction::CountStar, vec![]), call(AggregateFunction::Sum, vec![0])];
    let total = builder.aggregate(input, vec![], calls).unwrap();
    builder.output(total);
    let mut flow = builder.build();
    let first = flow.finish_tick(&tick()).unwrap();
    assert_eq!(rows(&first[0][0], flow.output_schema(0)), [(vec![Value::Integer(0), Value::Null], 1)]);
    assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty(), "nothing changed, nothing is given out");
}

#[test]
fn a_change_that_cancels_within_its_tick_leaves_the_dataflow_silent() {
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&[TypeKind::BigInt]));
    let grouped = builder.aggregate(input, vec![0], vec![call(AggregateFunction::CountStar, vec![])]).unwrap();
    builder.output(input);
    builder.output(grouped);
    let mut flow = builder.build();
    let row = vec![Value::Integer(5)];
    flow.push(0, batch(&[(row.clone(), -1)], &[TypeKind::BigInt])).unwrap();
    flow.push(0, batch(&[(row, 1)], &[TypeKind::BigInt])).unwrap();
    assert!(flow.finish_tick(&tick()).unwrap().iter().all(Vec::is_empty));
    assert_eq!(flow.stats().iter().map(|node| node.state.rows).sum::<usize>(), 0);
}

#[test]
fn a_tick_of_many_chunks_groups_and_joins_every_row_once() {
    let count = 3 * CHUNK_ROWS as i64 + 17;
    let mut builder = DataflowBuilder::new(1).clock(Arc::new(SystemClock::new()));
    let kinds = [TypeKind::BigInt, TypeKind::BigInt];
    let (left, right) = (builder.input(schema(&kinds)), builder.input(schema(&kinds)));
    let joined = builder.join(left, right, JoinSpec::on(JoinKind::Inner, &[(0, 0)])).unwrap();
    let grouped = builder.aggregate(joined, vec![1], vec![call(AggregateFunction::Sum, vec![3])]).unwrap();
    builder.output(joined);
    builder.output(grouped);
    let mut flow = builder.build();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let groups: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|i| i % 10)));
    flow.push(0, ChangeBatch::insertions(vec![numbers.clone(), groups], count as usize)).unwrap();
    flow.push(1, ChangeBatch::insertions(vec![numbers.clone(), numbers], count as usize)).unwrap();
    let outputs = flow.finish_tick(&tick()).unwrap();
    assert_eq!(outputs[0].iter().map(ChangeBatch::len).sum::<usize>(), count as usize);
    assert!(outputs[0].iter().all(|batch| batch.len() <= CHUNK_ROWS));
    let sums = rows(&outputs[1][0], flow.output_schema(1));
    let sum = |(row, _): &(Vec<Value>, i64)| if let Value::Integer(sum) = row[1] { sum } else { 0 };
    assert_eq!((sums.len(), sums.iter().map(sum).sum::<i64>()), (10, count * (count - 1) / 2));

    let stats = flow.stats();
    assert_eq!((stats[2].rows_in, stats[2].rows_out), (2 * count as u64, count as u64));
    assert_eq!((stats[2].state.rows, stats[3].state.rows), (2 * count as usize, 10));
    assert!(stats[2].busy_nanos > 0 && stats[2].inputs == [0, 1]);
    assert!(flow.state_bytes() > 16 * 2 * count as usize);
}

#[cfg(debug_assertions)]
#[test]
fn a_withdrawal_of_a_row_that_was_never_there_names_the_operator() {
    for kind in ["group by", "join", "top 3"] {
        let mut builder = DataflowBuilder::new(1);
        let input = builder.input(schema(&[TypeKind::BigInt]));
        let node = match kind {
            "group by" => builder.distinct(input).unwrap(),
            "join" => builder.join(input, input, JoinSpec::on(JoinKind::Left, &[(0, 0)])).unwrap(),
            _ => builder.top_n(input, TopN { limit: Some(3), ..TopN::default() }).unwrap(),
        };
        builder.output(node);
        let mut flow = builder.build();
        flow.push(0, batch(&[(vec![Value::Integer(5)], -1)], &[TypeKind::BigInt])).unwrap();
        let error = flow.finish_tick(&tick()).unwrap_err();
        let name = if kind == "group by" { "distinct" } else { kind };
        assert!(error.kind() == ErrorKind::Internal && error.message().contains(name), "{error}");
        assert!(flow.finish_tick(&tick()).is_err(), "a failed dataflow does not go on");
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_before_it_does_harm() {
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&[TypeKind::BigInt]));
    builder.output(input);
    let mut flow = builder.build();
    let wrong: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    assert!(flow.push(0, ChangeBatch::insertions(vec![wrong], 1)).is_err());
    assert!(flow.push(1, ChangeBatch::empty(&schema(&[TypeKind::BigInt]))).is_err());
    assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty());
}

#[test]
fn rows_without_columns_are_counted_and_consolidated() {
    let mut builder = DataflowBuilder::new(1);
    let left = builder.input(Schema::default());
    let right = builder.input(schema(&[TypeKind::BigInt]));
    let joined = builder.join(left, right, JoinSpec::on(JoinKind::Inner, &[])).unwrap();
    let total = builder.aggregate(joined, vec![], vec![call(AggregateFunction::CountStar, vec![])]).unwrap();
    builder.output(total);
    let mut flow = builder.build();
    flow.push(0, ChangeBatch::new(vec![], 2, Some(vec![3, -1].into()))).unwrap();
    flow.push(1, batch(&[(vec![Value::Integer(1)], 1), (vec![Value::Null], 1)], &[TypeKind::BigInt])).unwrap();
    let mut answer = Answer::default();
    answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
    assert_eq!(answer.multiset(), crate::check::multiset([(vec![Value::Integer(4)], 1)]));

    let parts = [ChangeBatch::new(vec![], 2, Some(vec![3, -1].into())), ChangeBatch::insertions(vec![], 1)];
    let whole = consolidate(&parts, &Schema::default()).unwrap();
    assert_eq!((whole.len(), whole.weight(0)), (1, 3));
}

#[test]
fn a_dataflow_can_be_moved_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<gridhouse_flow::Dataflow>();
}

/// A key that is there many times on the right changes the left rows only when it appears and when it is gone.
#[test]
fn a_semi_join_keeps_one_entry_per_key_of_the_right_side() {
    let mut builder = DataflowBuilder::new(1);
    let kinds = [TypeKind::BigInt, TypeKind::BigInt];
    let (left, right) = (builder.input(schema(&kinds)), builder.input(schema(&kinds)));
    let node = builder.join(left, right, JoinSpec::on(JoinKind::Semi, &[(0, 0)])).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    let row = |k, v| vec![Value::Integer(k), Value::Integer(v)];
    flow.push(0, batch(&[(row(1, 1), 1), (row(1, 2), 2)], &kinds)).unwrap();
    let many: Vec<_> = (0..1000).map(|v| (row(1, v), 1)).collect();
    flow.push(1, batch(&many, &kinds)).unwrap();
    assert_eq!(flow.finish_tick(&tick()).unwrap()[0][0].len(), 2);
    assert_eq!((flow.stats()[2].rows_out, flow.stats()[2].state.rows), (2, 3));
    let fewer: Vec<_> = many[1..].iter().map(|(row, _)| (row.clone(), -1)).collect();
    flow.push(1, batch(&fewer, &kinds)).unwrap();
    assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty());
    flow.push(1, batch(&[(row(1, 0), -1)], &kinds)).unwrap();
    let gone = flow.finish_tick(&tick()).unwrap();
    assert_eq!(rows(&gone[0][0], flow.output_schema(0)), [(row(1, 1), -1), (row(1, 2), -2)]);
}

#[test]
fn a_nan_is_larger_than_every_number_whatever_its_sign() {
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&[TypeKind::Double]));
    let extreme = |function| AggregateCall { sql_type: TypeKind::Double.nullable(), ..call(function, vec![0]) };
    let calls = vec![extreme(AggregateFunction::Min), extreme(AggregateFunction::Max)];
    let node = builder.aggregate(input, vec![], calls).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    let values = [-f64::NAN, f64::INFINITY, 1.5].map(|v| (vec![Value::Double(v)], 1));
    flow.push(0, batch(&values, &[TypeKind::Double])).unwrap();
    let result = flow.finish_tick(&tick()).unwrap();
    assert_eq!(format!("{:?}", rows(&result[0][0], flow.output_schema(0))), "[([Double(1.5), Double(NaN)], 1)]");
}

/// Constant rows are a node without inputs too, but no input.
#[test]
fn inputs_are_told_from_constant_rows() {
    let mut builder = DataflowBuilder::new(1);
    let constants = builder.values(schema(&[TypeKind::BigInt]), batch(&[(vec![Value::Null], 1)], &[TypeKind::BigInt]));
    let first = builder.input(schema(&[TypeKind::BigInt]));
    let both = builder.union(vec![constants, first]).unwrap();
    let second = builder.input(schema(&[TypeKind::BigInt]));
    builder.output(both);
    assert_eq!(builder.build().input_nodes().collect::<Vec<_>>(), [first.number(), second.number()]);
}
