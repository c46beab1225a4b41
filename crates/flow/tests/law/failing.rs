//! Rows for which an expression fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array};
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, ErrorKind, TypeKind, Value};
use gridhouse_expr::{Expr, functions};
use gridhouse_flow::{CHUNK_ROWS, Dataflow, DataflowBuilder, JoinKind, JoinSpec, NodeId};

use crate::check::{Answer, multiset, thawed, tick};
use crate::draw::{Row, Table, batch, batches, rows, schema};

fn int(i: usize) -> Expr {
    Expr::column(i, TypeKind::Int.nullable())
}

/// `x / y`, which fails where y is 0.
fn ratio(x: usize, y: usize) -> Expr {
    functions::resolve("/", vec![int(x), int(y)]).unwrap()
}

fn positive(value: Expr) -> Expr {
    functions::resolve(">", vec![value, Expr::int(0)]).unwrap()
}

const KINDS: [TypeKind; 2] = [TypeKind::Int, TypeKind::Int];

fn map(b: &mut DataflowBuilder, inputs: &[NodeId]) -> NodeId {
    b.map(inputs[0], vec![ratio(0, 1), int(0)])
}

fn filter(b: &mut DataflowBuilder, inputs: &[NodeId]) -> NodeId {
    b.filter(inputs[0], positive(ratio(0, 1)))
}

fn join(b: &mut DataflowBuilder, inputs: &[NodeId]) -> NodeId {
    let spec = JoinSpec::on(JoinKind::Left, &[(0, 0)]).with_residual(Some(positive(ratio(1, 3))));
    b.join(inputs[0], inputs[1], spec).unwrap()
}

type Build = fn(&mut DataflowBuilder, &[NodeId]) -> NodeId;

#[test]
fn the_first_row_that_fails_is_named() {
    for (build, operator) in [(map as Build, "map"), (filter as Build, "filter")] {
        let mut builder = DataflowBuilder::new(1);
        let input = builder.input(schema(&KINDS));
        let node = build(&mut builder, &[input]);
        builder.label(node, "the ratio");
        builder.output(node);
        let mut flow = builder.build();
        let row = |i: i64| (vec![Value::Integer(i), Value::Integer(i64::from(i != 1234 && i != 60_000))], 1);
        flow.push(0, batch(&(0..CHUNK_ROWS as i64).map(row).collect::<Vec<_>>(), &KINDS)).unwrap();
        let error = flow.finish_tick(&tick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.starts_with(operator) && text.contains("the ratio"), "{text}");
        assert!(text.ends_with("in row (1234, 0)"), "{text}");
    }
}

#[test]
fn a_long_row_is_cut() {
    let mut builder = DataflowBuilder::new(1).keep_errors();
    let kinds = [TypeKind::STRING, TypeKind::Int];
    let input = builder.input(schema(&kinds));
    let node = builder.map(input, vec![functions::resolve("/", vec![int(1), int(1)]).unwrap()]);
    builder.output(node);
    let mut flow = builder.build();
    flow.push(0, batch(&[(vec![Value::Text("站".repeat(5000).into()), Value::Integer(0)], 1)], &kinds)).unwrap();
    assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty());
    let errors = flow.take_errors();
    assert!(errors[0].row.ends_with("站…)") && errors[0].row.chars().count() < 500, "{}", errors[0].row);
}

/// An expression may fail whatever the row is.
#[test]
fn all_rows_may_fail() {
    let wrong = || Expr::Cast { input: Box::new(Expr::text("x")), safe: false, sql_type: TypeKind::Int.not_null() };
    for filters in [false, true] {
        let mut builder = DataflowBuilder::new(1).keep_errors();
        let input = builder.input(schema(&KINDS));
        let node =
            if filters { builder.filter(input, positive(wrong())) } else { builder.map(input, vec![int(0), wrong()]) };
        builder.output(node);
        let mut flow = builder.build();
        let row = |i| (vec![Value::Integer(i), Value::Null], 2);
        flow.push(0, batch(&[row(1), row(2), row(3)], &KINDS)).unwrap();
        assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty());
        let errors = flow.take_errors();
        assert_eq!((errors.len(), errors[2].row.as_str(), errors[2].weight), (3, "(3, NULL)", 2));
        assert!(flow.take_errors().is_empty() && flow.stats()[1].errors == 6);
    }
}

/// The rows that fail, in every partition of the changes, are those that fail now; all others are as if those were not
/// there.
#[test]
fn with_kept_errors_everything_else_goes_on() {
    for (name, build, inputs) in [("map", map as Build, 1), ("filter", filter as Build, 1), ("join", join as Build, 2)]
    {
        for seed in 0..60 {
            if let Err(why) = run(seed, build, inputs) {
                panic!("{name} with kept errors breaks the law with seed {seed}: {why}");
            }
        }
    }
}

fn run(seed: u64, build: Build, inputs: usize) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut tables: Vec<Table> = (0..inputs).map(|_| Table::new(&KINDS, false)).collect();
    let new = || {
        let mut builder = DataflowBuilder::new(seed).keep_errors();
        let ids: Vec<NodeId> = (0..inputs).map(|_| builder.input(schema(&KINDS))).collect();
        let node = build(&mut builder, &ids);
        builder.output(node);
        builder.build()
    };
    let mut flow = new();
    let (mut answer, mut errors) = (Answer::default(), BTreeMap::<(String, String), i64>::new());
    for _ in 0..1 + random.below(6) {
        for (input, table) in tables.iter_mut().enumerate() {
            let count = random.below(12);
            for batch in batches(table.change(&mut random, count), &KINDS, &mut random) {
                flow.push(input, batch).map_err(|e| e.to_string())?;
            }
        }
        let out = flow.finish_tick(&tick()).map_err(|e| e.to_string())?;
        answer.add(&out[0], flow.output_schema(0))?;
        for error in flow.take_errors() {
            *errors.entry((error.row, error.error.to_string())).or_default() += error.weight;
        }
        errors.retain(|_, weight| *weight != 0);
        // The same in one piece; the rows that fail there are found by evaluating them one by one.
        let mut whole = new();
        for (input, table) in tables.iter().enumerate() {
            for row in &table.rows {
                whole.push(input, batch(&[(row.clone(), 1)], &KINDS)).map_err(|e| e.to_string())?;
            }
        }
        let mut wanted = Answer::default();
        wanted.add(&whole.finish_tick(&tick()).map_err(|e| e.to_string())?[0], whole.output_schema(0))?;
        if wanted.multiset() != answer.multiset() {
            return Err(format!("wanted {:?}, got {:?}", wanted.multiset(), answer.multiset()));
        }
        let failing = failing_rows(&tables);
        let got = multiset(errors.iter().map(|((row, _), weight)| (vec![Value::Text(row.as_str().into())], *weight)));
        if failing != got {
            return Err(format!("rows that fail: wanted {failing:?}, got {got:?}"));
        }
        if random.chance(0.3) {
            let errors = flow.stats().last().map(|node| node.errors);
            flow = thawed(&mut flow, new());
            assert_eq!(flow.stats().last().map(|node| node.errors), errors);
        }
    }
    Ok(())
}

/// Rows, or pairs of two inputs' rows with equal first columns, whose divisor is 0 and whose dividend is not NULL.
fn failing_rows(tables: &[Table]) -> BTreeMap<String, i64> {
    let zero = |a: &Value, b: &Value| !a.is_null() && *b == Value::Integer(0);
    let text = |row: &Row| {
        let value = |v: &Value| if let Value::Integer(i) = v { i.to_string() } else { "NULL".into() };
        vec![Value::Text(format!("({})", row.iter().map(value).collect::<Vec<String>>().join(", ")).into())]
    };
    let rows: Vec<Row> = match tables {
        [only] => only.rows.iter().filter(|row| zero(&row[0], &row[1])).cloned().collect(),
        [left, right, ..] => {
            let pairs = left.rows.iter().flat_map(|l| right.rows.iter().map(move |r| [l.clone(), r.clone()].concat()));
            pairs.filter(|p| !p[0].is_null() && p[0] == p[2] && zero(&p[1], &p[3])).collect()
        }
        [] => vec![],
    };
    multiset(rows.iter().map(|row| (text(row), 1)))
}

/// `l.v / COALESCE(r.v, 0)` over a join of `kind` by the first column: fails for a row of the left side without a match.
fn shares(kind: JoinKind, keeps: bool) -> Dataflow {
    let mut builder = DataflowBuilder::new(1);
    if keeps {
        builder = builder.keep_errors();
    }
    let (left, right) = (builder.input(schema(&KINDS)), builder.input(schema(&KINDS)));
    let joined = builder.join(left, right, JoinSpec::on(kind, &[(0, 0)])).unwrap();
    let divisor = functions::resolve("COALESCE", vec![int(3), Expr::int(0)]).unwrap();
    let node = builder.map(joined, vec![int(0), functions::resolve("/", vec![int(1), divisor]).unwrap()]);
    builder.output(node);
    builder.build()
}

fn pair(a: i64, b: i64) -> Row {
    vec![Value::Integer(a), Value::Integer(b)]
}

fn change(flow: &mut Dataflow, input: usize, changes: &[(Row, i32)]) {
    flow.push(input, batch(changes, &KINDS)).unwrap();
}

/// A left row that comes before its match, and one whose match is replaced row by row, are for a while without one.
#[test]
fn rows_that_a_join_takes_back_within_the_tick_do_not_fail_it() {
    for (kind, keeps) in [JoinKind::Left, JoinKind::Full].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut flow = shares(kind, keeps);
        change(&mut flow, 0, &[(pair(1, 100), 1), (pair(2, 100), 2)]);
        change(&mut flow, 1, &[(pair(1, 5), 1), (pair(2, 10), 1)]);
        let mut answer = Answer::default();
        answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
        // The match of 1 goes before the new one comes; 2 changes on both sides; 3 comes and goes.
        change(&mut flow, 1, &[(pair(1, 5), -1)]);
        change(&mut flow, 0, &[(pair(3, 1), 1), (pair(2, 100), -1)]);
        change(&mut flow, 1, &[(pair(2, 10), -1)]);
        change(&mut flow, 1, &[(pair(1, 4), 1), (pair(2, 50), 1)]);
        change(&mut flow, 0, &[(pair(3, 1), -1), (pair(2, 200), 1)]);
        answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
        let wanted = [(pair(1, 25), 1), (pair(2, 2), 1), (pair(2, 4), 1)];
        assert_eq!(answer.multiset(), multiset(wanted), "{kind:?}");
        assert!(flow.take_errors().is_empty() && flow.stats()[3].errors == 0);
    }
}

#[test]
fn a_row_that_still_fails_at_the_end_of_the_tick_is_named_among_those_that_do_not() {
    let mut flow = shares(JoinKind::Full, false);
    change(&mut flow, 0, &[(pair(1, 100), 1), (pair(2, 100), 1), (pair(3, 100), 1)]);
    change(&mut flow, 1, &[(pair(1, 5), 1), (pair(3, 5), 1)]);
    let error = flow.finish_tick(&tick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().ends_with("in row (2, 100, NULL, NULL)"), "{error}");
}

#[test]
fn an_error_is_counted_while_its_row_is_there() {
    let mut flow = shares(JoinKind::Left, true);
    let errors = |flow: &mut Dataflow| -> Vec<(String, i64)> {
        flow.take_errors().into_iter().map(|error| (error.row, error.weight)).collect()
    };
    change(&mut flow, 0, &[(pair(1, 100), 1), (pair(2, 7), 2)]);
    flow.finish_tick(&tick()).unwrap();
    let alone = |a, b| format!("({a}, {b}, NULL, NULL)");
    assert_eq!(errors(&mut flow), [(alone(1, 100), 1), (alone(2, 7), 2)]);
    assert_eq!(flow.stats()[3].errors, 3);
    // A match makes the one right, and the other fails for another reason.
    change(&mut flow, 1, &[(pair(1, 50), 1), (pair(2, 0), 1)]);
    let out = flow.finish_tick(&tick()).unwrap();
    assert_eq!(rows(&out[0][0], flow.output_schema(0)), [(pair(1, 2), 1)]);
    assert_eq!(errors(&mut flow), [(alone(1, 100), -1), ("(2, 7, 2, 0)".into(), 2), (alone(2, 7), -2)]);
    assert_eq!(flow.stats()[3].errors, 2);
    change(&mut flow, 1, &[(pair(2, 0), -1), (pair(2, 7), 1)]);
    flow.finish_tick(&tick()).unwrap();
    assert_eq!((errors(&mut flow), flow.stats()[3].errors), (vec![("(2, 7, 2, 0)".into(), -2)], 0));
}

/// Many rows may fail in a tick, kept or not, and are found without trying them all again and again; but not any number.
#[test]
fn too_many_rows_that_fail_fail_the_tick_though_errors_are_kept() {
    let many = |from: i32, count: i32| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(from..from + count)),
            Arc::new(Int32Array::from_iter_values((0..count).map(|_| 0))),
        ];
        ChangeBatch::insertions(columns, count as usize)
    };
    for keeps in [true, false] {
        let mut builder = DataflowBuilder::new(1);
        if keeps {
            builder = builder.keep_errors();
        }
        let input = builder.input(schema(&KINDS));
        let node = map(&mut builder, &[input]);
        builder.output(node);
        let mut flow = builder.build();
        if keeps {
            flow.push(0, many(1, 100_000)).unwrap();
            assert!(flow.finish_tick(&tick()).unwrap()[0].is_empty());
            assert_eq!((flow.take_errors().len(), flow.stats()[1].errors), (100_000, 100_000));
        }
        flow.push(0, many(1, 100_001)).unwrap();
        let error = flow.finish_tick(&tick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("more than 100000 rows cannot be computed"), "{text}");
        assert!(text.ends_with("in row (1, 0)"), "{text}");
    }
}
