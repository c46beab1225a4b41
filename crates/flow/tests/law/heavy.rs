//! Rows that are there more often than a batch can say in one weight.

use gridhouse_base::{ErrorKind, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr, functions};
use gridhouse_flow::{
    Dataflow, DataflowBuilder, JoinKey, JoinKind, JoinSpec, NodeId, ProbeSpec, SetKind, SetOperation,
};

use crate::check::{multiset, tick};
use crate::draw::{Row, batch, rows, schema};

const KINDS: [TypeKind; 2] = [TypeKind::Int, TypeKind::Int];

fn row(key: i64, value: i64) -> Row {
    vec![Value::Integer(key), Value::Integer(value)]
}

fn condition() -> Expr {
    let int = |i| Expr::column(i, TypeKind::Int.nullable());
    functions::resolve("<", vec![int(1), int(3)]).unwrap()
}

fn flow(build: impl Fn(&mut DataflowBuilder, [NodeId; 2]) -> NodeId) -> Dataflow {
    let mut builder = DataflowBuilder::new(1);
    let inputs = [builder.input(schema(&KINDS)), builder.input(schema(&KINDS))];
    let node = build(&mut builder, inputs);
    let count = AggregateCall {
        function: AggregateFunction::CountStar,
        args: vec![],
        distinct: false,
        filter: None,
        sql_type: TypeKind::BigInt.not_null(),
    };
    let count = builder.aggregate(node, vec![], vec![count]).unwrap();
    builder.output(node);
    builder.output(count);
    builder.build()
}

/// How many rows the output has gained, and the count that an operator above has of them.
fn finish(flow: &mut Dataflow) -> (i64, i64) {
    let out = flow.finish_tick(&tick()).unwrap();
    let gained = out[0].iter().flat_map(|batch| rows(batch, flow.output_schema(0))).map(|(_, weight)| weight).sum();
    let counted = multiset(out[1].iter().flat_map(|batch| rows(batch, flow.output_schema(1))));
    let now: Vec<&String> = counted.iter().filter(|(_, weight)| **weight > 0).map(|(row, _)| row).collect();
    let digits: String = now[0].chars().filter(char::is_ascii_digit).collect();
    (gained, digits.parse().unwrap())
}

#[test]
fn a_pair_that_is_there_three_thousand_million_times_is_counted_and_withdrawn() {
    let join = |kind: JoinKind, residual: bool| {
        flow(move |builder, [left, right]| {
            let spec = JoinSpec::on(kind, &[(0, 0)]).with_residual(residual.then(condition));
            builder.join(left, right, spec).unwrap()
        })
    };
    let probe = |residual: bool| {
        flow(move |builder, [left, right]| {
            let residual = residual.then(condition);
            let spec = ProbeSpec { kind: JoinKind::Left, keys: vec![JoinKey::equal(0, 0)], residual };
            builder.probe(left, right, spec).unwrap()
        })
    };
    let flows = [
        ("inner join", join(JoinKind::Inner, false)),
        ("full join with a condition", join(JoinKind::Full, true)),
        ("probe", probe(false)),
        ("probe with a condition", probe(true)),
    ];
    for (name, mut flow) in flows {
        flow.push(0, batch(&[(row(1, 1), 3_000_000)], &KINDS)).unwrap();
        flow.push(1, batch(&[(row(1, 2), 1_000)], &KINDS)).unwrap();
        assert_eq!(finish(&mut flow), (3_000_000_000, 3_000_000_000), "{name}");
        flow.push(0, batch(&[(row(1, 1), -2_000_000)], &KINDS)).unwrap();
        assert_eq!(finish(&mut flow), (-2_000_000_000, 1_000_000_000), "{name}");
        flow.push(0, batch(&[(row(1, 1), -1_000_000)], &KINDS)).unwrap();
        flow.push(1, batch(&[(row(1, 2), -1_000)], &KINDS)).unwrap();
        assert_eq!(finish(&mut flow), (-1_000_000_000, 0), "{name}");
        assert_eq!(flow.stats()[2].state.rows, 0, "{name}");
    }
}

/// The sums of several weights, where nothing is multiplied.
#[test]
fn a_row_that_comes_again_and_again_is_not_too_heavy_for_a_batch() {
    let all = SetOperation { kind: SetKind::Except, all: true };
    let mut flow = flow(|builder, [left, right]| builder.set_operation(left, right, all).unwrap());
    for _ in 0..3 {
        flow.push(0, batch(&[(row(1, 1), 2_000_000_000)], &KINDS)).unwrap();
    }
    assert_eq!(finish(&mut flow), (6_000_000_000, 6_000_000_000));
    for _ in 0..3 {
        flow.push(1, batch(&[(row(1, 1), 2_000_000_000)], &KINDS)).unwrap();
    }
    assert_eq!(finish(&mut flow), (-6_000_000_000, 0));
}

#[test]
fn a_weight_beyond_all_use_is_refused_and_not_taken_for_a_fault_outside() {
    for times in [1, 3] {
        let mut flow =
            flow(|builder, [left, right]| builder.join(left, right, JoinSpec::on(JoinKind::Inner, &[(0, 0)])).unwrap());
        for _ in 0..times {
            flow.push(0, batch(&[(row(1, 1), i32::MAX)], &KINDS)).unwrap();
            flow.push(1, batch(&[(row(1, 2), i32::MAX)], &KINDS)).unwrap();
        }
        let error = flow.finish_tick(&tick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().starts_with("join") && error.remedy().is_some(), "{error}");
    }
}
