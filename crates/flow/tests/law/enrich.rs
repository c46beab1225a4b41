//! Look-up joins: what was found when a row came is what is withdrawn when it goes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, UInt32Array};
use gridhouse_base::random::Random;
use gridhouse_base::{Column, Result, Schema, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr, functions};
use gridhouse_flow::connector::{Found, Lookup};
use gridhouse_flow::{CHUNK_ROWS, DataflowBuilder, JoinKey, JoinKind, LookupSpec, NodeId, ProbeSpec};

use crate::aggregate;
use crate::check::{Plan, hold, tick};
use crate::draw::{Row, batch, rows, schema};

fn left_kinds() -> Vec<TypeKind> {
    vec![TypeKind::Int, TypeKind::STRING, TypeKind::Int]
}

/// Copies of left rows with what was found when they came, oldest first. Told the rows that are there after every tick, it
/// finds out which have come and gone.
#[derive(Default)]
struct History(RefCell<Vec<(Row, Vec<Row>)>>);

impl History {
    fn after(&self, now: &[Row], find: impl Fn(&Row) -> Vec<Row>) -> Vec<Row> {
        let mut copies = self.0.borrow_mut();
        let mut change: BTreeMap<String, (Row, i64)> = BTreeMap::new();
        let gone: Vec<(Row, i64)> = copies.iter().map(|(row, _)| (row.clone(), -1)).collect();
        for (row, weight) in now.iter().map(|row| (row.clone(), 1)).chain(gone) {
            change.entry(format!("{row:?}")).or_insert((row, 0)).1 += weight;
        }
        for (row, weight) in change.into_values() {
            for _ in weight..0 {
                let newest = copies.iter().rposition(|(other, _)| format!("{other:?}") == format!("{row:?}")).unwrap();
                copies.remove(newest);
            }
            for _ in 0..weight {
                copies.push((row.clone(), find(&row)));
            }
        }
        copies.iter().flat_map(|(_, answer)| answer.clone()).collect()
    }
}

/// A left row with each partner that passes, or with NULLs.
fn answer(left: &Row, partners: &[Row], kind: JoinKind, width: usize, passes: impl Fn(&Row) -> bool) -> Vec<Row> {
    let mut pairs: Vec<Row> = partners.iter().map(|p| [left.clone(), p.clone()].concat()).filter(passes).collect();
    if pairs.is_empty() && kind == JoinKind::Left {
        pairs.push([left.clone(), vec![Value::Null; width]].concat());
    }
    pairs
}

fn less(row: &Row, a: usize, b: usize) -> bool {
    matches!((&row[a], &row[b]), (Value::Integer(a), Value::Integer(b)) if a < b)
}

/// Column `a` is less than column `b`, both INT.
fn less_expr(a: usize, b: usize) -> Expr {
    let column = |i| Expr::column(i, TypeKind::Int.nullable());
    functions::resolve("<", vec![column(a), column(b)]).unwrap()
}

fn probe_plan(random: &mut Random, append_only: bool) -> Plan {
    let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left]);
    let columns = random.pick(&[vec![], vec![(0, 0)], vec![(1, 1)], vec![(0, 0), (1, 1)]]).clone();
    let key = |(left, right)| JoinKey { left, right, null_safe: false };
    let mut keys: Vec<JoinKey> = columns.into_iter().map(key).collect();
    keys.iter_mut().for_each(|key| key.null_safe = random.chance(0.3));
    let with_residual = random.chance(0.5);
    let (build_keys, history) = (keys.clone(), History::default());
    Plan {
        inputs: vec![(left_kinds(), append_only), (left_kinds(), false)],
        build: Box::new(move |b, inputs| {
            let residual = with_residual.then(|| less_expr(2, 5));
            b.probe(inputs[0], inputs[1], ProbeSpec { kind, keys: build_keys.clone(), residual }).unwrap()
        }),
        naive: Box::new(move |tables| {
            history.after(&tables[0], |left| {
                let equal = |k: &JoinKey, r: &Row| left[k.left] == r[k.right] && (k.null_safe || !r[k.right].is_null());
                let partners = tables[1].iter().filter(|r| keys.iter().all(|k| equal(k, r))).cloned();
                let partners: Vec<Row> = partners.collect();
                answer(left, &partners, kind, 3, |row| !with_residual || less(row, 2, 5))
            })
        }),
        rest: 0,
    }
}

#[test]
fn a_table_is_probed_by_rows_that_come_and_go() {
    hold("probe", 0..300, |random| probe_plan(random, false));
}

#[test]
fn a_table_is_probed_by_rows_that_only_come() {
    hold("append-only probe", 0..150, |random| probe_plan(random, true));
}

/// Groups that change withdraw their old rows, in a tick in which the table changes too, and the answers are summed up above.
#[test]
fn a_table_is_probed_by_groups_that_change() {
    hold("probe by groups", 0..150, |random| {
        let count = || AggregateCall {
            function: AggregateFunction::CountStar,
            args: vec![],
            distinct: false,
            filter: None,
            sql_type: TypeKind::BigInt.not_null(),
        };
        let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left]);
        let history = History::default();
        Plan {
            inputs: vec![(left_kinds(), false), (left_kinds(), false)],
            build: Box::new(move |b, inputs| {
                let groups = b.aggregate(inputs[0], vec![0], vec![count()]).unwrap();
                let spec = ProbeSpec { kind, keys: vec![JoinKey::equal(0, 0)], residual: None };
                let probed = b.probe(groups, inputs[1], spec).unwrap();
                b.aggregate(probed, vec![0, 1], vec![count()]).unwrap()
            }),
            naive: Box::new(move |tables| {
                let groups = aggregate::naive(&tables[0], &[0], &[count()], &left_kinds());
                let probed = history.after(&groups, |left| {
                    let partners = tables[1].iter().filter(|r| !r[0].is_null() && r[0] == left[0]).cloned();
                    answer(left, &partners.collect::<Vec<_>>(), kind, 3, |_| true)
                });
                aggregate::naive(&probed, &[0, 1], &[count()], &left_kinds())
            }),
            rest: 0,
        }
    });
}

/// An outside whose rows depend on a version: the key `k` has `(k + version) mod 3` rows.
struct Versioned {
    version: Arc<AtomicI64>,
    /// How many keys each call asked for.
    asked: Arc<Mutex<Vec<usize>>>,
}

fn outside_rows(key: i64, version: i64) -> Vec<Row> {
    (0..(key + version).rem_euclid(3)).map(|i| vec![Value::Integer(key), Value::Integer(version * 10 + i)]).collect()
}

impl Lookup for Versioned {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        let version = self.version.load(Ordering::SeqCst);
        self.asked.lock().unwrap().push(len);
        let asked: Vec<Value> = (0..len).map(|i| Value::from_array(&keys[0], i, &TypeKind::Int)).collect();
        let (mut numbers, mut found) = (Vec::new(), Vec::new());
        for (number, key) in asked.iter().enumerate() {
            let Value::Integer(key) = key else { panic!("a NULL key is asked for") };
            assert!(!asked[..number].contains(&Value::Integer(*key)), "a key is asked for twice: {asked:?}");
            for row in outside_rows(*key, version) {
                numbers.push(number as u32);
                found.push((row, 1));
            }
        }
        let found = batch(&found, &[TypeKind::Int, TypeKind::Int]);
        Ok(Found { keys: UInt32Array::from(numbers), columns: found.columns().to_vec() })
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

fn found_schema() -> Schema {
    let column = |name: &str| Column::new(name, TypeKind::Int.not_null());
    Schema::new(vec![column("k"), column("v")])
}

fn lookup(b: &mut DataflowBuilder, left: NodeId, outside: Versioned, kind: JoinKind, residual: bool) -> NodeId {
    let residual = residual.then(|| less_expr(2, 4));
    b.lookup(left, Box::new(outside), LookupSpec { kind, keys: vec![0], residual, schema: found_schema() }).unwrap()
}

fn lookup_plan(random: &mut Random, append_only: bool) -> Plan {
    let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left]);
    let with_residual = random.chance(0.5);
    let version = Arc::new(AtomicI64::new(0));
    let (theirs, history) = (version.clone(), History::default());
    Plan {
        inputs: vec![(left_kinds(), append_only)],
        build: Box::new(move |b, inputs| {
            let outside = Versioned { version: theirs.clone(), asked: Arc::default() };
            lookup(b, inputs[0], outside, kind, with_residual)
        }),
        naive: Box::new(move |tables| {
            let now = version.load(Ordering::SeqCst);
            let rows = history.after(&tables[0], |left| {
                let partners = if let Value::Integer(key) = left[0] { outside_rows(key, now) } else { vec![] };
                answer(left, &partners, kind, 2, |row| !with_residual || less(row, 2, 4))
            });
            version.store(now + 1, Ordering::SeqCst);
            rows
        }),
        rest: 0,
    }
}

#[test]
fn the_outside_is_asked_by_rows_that_come_and_go() {
    hold("look-up", 0..200, |random| lookup_plan(random, false));
}

#[test]
fn the_outside_is_asked_by_rows_that_only_come() {
    hold("append-only look-up", 0..100, |random| lookup_plan(random, true));
}

#[test]
fn a_chunk_asks_once_for_each_key_and_a_row_that_cancels_asks_for_nothing() {
    let asked = Arc::<Mutex<Vec<usize>>>::default();
    let outside = Versioned { version: Arc::new(AtomicI64::new(1)), asked: asked.clone() };
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&left_kinds()));
    let node = lookup(&mut builder, input, outside, JoinKind::Inner, false);
    builder.output(node);
    let mut flow = builder.build();
    let row = |key: Value, id| vec![key, Value::Null, Value::Integer(id)];
    let many = (0..1000).map(|id| (row(Value::Integer(id % 5), id), 1));
    let all: Vec<_> = many.chain([(row(Value::Null, 7), 1), (row(Value::Integer(99), 8), 1)]).collect();
    flow.push(0, batch(&all, &left_kinds())).unwrap();
    flow.push(0, batch(&[(row(Value::Integer(99), 8), -1)], &left_kinds())).unwrap();
    flow.finish_tick(&tick()).unwrap();
    assert_eq!(*asked.lock().unwrap(), [5]);
    // Nothing is asked for when rows go: what they had got is known.
    let gone: Vec<_> = all[..1000].iter().map(|(row, _)| (row.clone(), -1)).collect();
    flow.push(0, batch(&gone, &left_kinds())).unwrap();
    flow.finish_tick(&tick()).unwrap();
    assert_eq!((asked.lock().unwrap().len(), flow.stats()[1].state.rows), (1, 1));
}

#[test]
fn an_error_of_the_condition_is_taken_back_with_its_row() {
    let mut builder = DataflowBuilder::new(1).keep_errors();
    let kinds = [TypeKind::Int, TypeKind::Int];
    let (left, right) = (builder.input(schema(&kinds)), builder.input(schema(&kinds)));
    let column = |i| Expr::column(i, TypeKind::Int.nullable());
    let ratio = functions::resolve("/", vec![column(1), column(3)]).unwrap();
    let residual = Some(functions::resolve(">", vec![ratio, Expr::int(0)]).unwrap());
    let spec = ProbeSpec { kind: JoinKind::Left, keys: vec![JoinKey::equal(0, 0)], residual };
    let node = builder.probe(left, right, spec).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    let row = |a, b| vec![Value::Integer(a), Value::Integer(b)];
    let alone = [row(1, 5), vec![Value::Null, Value::Null]].concat();
    for weight in [1, -1] {
        flow.push(0, batch(&[(row(1, 5), weight)], &kinds)).unwrap();
        flow.push(1, batch(&[(row(1, if weight > 0 { 0 } else { 3 }), 1)], &kinds)).unwrap();
        let out = flow.finish_tick(&tick()).unwrap();
        assert_eq!(rows(&out[0][0], flow.output_schema(0)), [(alone.clone(), weight.into())]);
        let errors = flow.take_errors();
        assert_eq!((errors.len(), errors[0].weight, errors[0].row.as_str()), (1, weight.into(), "(1, 5, 1, 0)"));
    }
}

/// An outside in which every key has very many rows.
struct Crowded(i64);

impl Lookup for Crowded {
    fn lookup(&mut self, keys: &[ArrayRef], len: usize) -> Result<Found> {
        let numbers: Vec<u32> = (0..len as u32).flat_map(|number| (0..self.0).map(move |_| number)).collect();
        let key = |number: &u32| Value::from_array(&keys[0], *number as usize, &TypeKind::Int);
        let rows = numbers.iter().zip((0..self.0).cycle());
        let found: Vec<_> = rows.map(|(number, i)| (vec![key(number), Value::Integer(i)], 1)).collect();
        let found = batch(&found, &[TypeKind::Int, TypeKind::Int]);
        Ok(Found { keys: UInt32Array::from(numbers), columns: found.columns().to_vec() })
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The pairs of one chunk of left rows come in pieces, each no larger than a chunk and the matches of one row.
#[test]
fn a_key_with_very_many_rows_outside_does_not_make_all_pairs_at_once() {
    const MATCHES: i64 = 1_000;
    let mut builder = DataflowBuilder::new(1);
    let input = builder.append_only_input(schema(&left_kinds()));
    let spec = LookupSpec { kind: JoinKind::Left, keys: vec![0], residual: None, schema: found_schema() };
    let node = builder.lookup(input, Box::new(Crowded(MATCHES)), spec).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    let key = |id: i64| if id % 10 == 9 { Value::Null } else { Value::Integer(id % 2) };
    let left: Vec<_> = (0..200).map(|id| (vec![key(id), Value::Null, Value::Integer(id)], 1)).collect();
    flow.push(0, batch(&left, &left_kinds())).unwrap();
    let out = flow.finish_tick(&tick()).unwrap();
    assert!(out[0].iter().all(|batch| batch.len() <= CHUNK_ROWS));
    assert_eq!(out[0].iter().map(|batch| batch.len() as i64).sum::<i64>(), 180 * MATCHES + 20);
    let mut counts = BTreeMap::<String, i64>::new();
    for batch in &out[0] {
        for (row, _) in rows(batch, flow.output_schema(0)) {
            assert!(row[0] == row[3], "{row:?}");
            *counts.entry(format!("{:?}", row[2])).or_default() += 1;
        }
    }
    assert!(counts.len() == 200 && counts.values().all(|&count| count == MATCHES || count == 1));
}
