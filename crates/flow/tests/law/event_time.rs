//! Watermarks, late rows, and joins bounded in time.

use gridhouse_base::random::Random;
use gridhouse_base::{ErrorKind, TypeKind, Value};
use gridhouse_expr::{Expr, functions};
use gridhouse_flow::{Dataflow, DataflowBuilder, JoinKey, JoinKind, JoinSpec, Piece, TimeBound};

use crate::check::{Answer, multiset, thawed, tick};
use crate::draw::{Row, batch, rows, schema};
use crate::join;

const START: i64 = 1_700_000_000_000;

fn kinds(precision: u8) -> [TypeKind; 3] {
    [TypeKind::Timestamp(precision), TypeKind::Int, TypeKind::Int]
}

/// Commits of a source whose times rise, but not always.
fn commits(random: &mut Random, count: usize, millis_per_unit: i64) -> Vec<Vec<Row>> {
    let mut now = START;
    let mut id = 0;
    let mut commit = |random: &mut Random| {
        let mut row = |random: &mut Random| {
            now += random.between(0, 2_000);
            id += 1;
            let time = (now - random.between(0, 6_000)) * millis_per_unit;
            let key = if random.chance(0.1) { Value::Null } else { Value::Integer(random.between(0, 3)) };
            vec![Value::Integer(time), key, Value::Integer(id)]
        };
        (0..1 + random.below(4)).map(|_| row(random)).collect()
    };
    (0..count).map(|_| commit(random)).collect()
}

/// The rows that are not late: not at or before the watermark as of the end of the commit before.
fn on_time(commits: &[Vec<Row>], delay: i64) -> Vec<Row> {
    let time = |row: &Row| if let Value::Integer(time) = row[0] { time } else { unreachable!() };
    let (mut latest, mut kept) = (i64::MIN / 2, Vec::new());
    for commit in commits {
        kept.extend(commit.iter().filter(|row| time(row) > latest - delay).cloned());
        latest = latest.max(commit.iter().map(time).max().unwrap());
    }
    kept
}

#[test]
fn which_rows_are_late_depends_on_commits_alone() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let commits = commits(&mut random, 40, 1);
        let wanted = on_time(&commits, 1_500);
        for ticks_of in [1, 3, 100] {
            let build = || {
                let mut builder = DataflowBuilder::new(1);
                let input = builder.append_only_input(schema(&kinds(3)));
                let even = Expr::boolean(true);
                let filtered = builder.filter(input, even);
                let node = builder.event_time(filtered, 0, 1_500).unwrap();
                builder.output(node);
                builder.build()
            };
            let mut flow = build();
            let mut answer = Answer::default();
            for some in commits.chunks(ticks_of) {
                for commit in some {
                    let commit: Vec<_> = commit.iter().map(|row| (row.clone(), 1)).collect();
                    // A commit that comes in pieces, with ticks between, is judged as one.
                    let cut = if ticks_of == 3 { random.below(commit.len() as u64) as usize } else { 0 };
                    if cut > 0 {
                        let piece = Piece { continues: false, goes_on: true };
                        flow.push_piece(0, batch(&commit[..cut], &kinds(3)), piece).unwrap();
                        answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
                    }
                    let piece = Piece { continues: cut > 0, goes_on: false };
                    flow.push_piece(0, batch(&commit[cut..], &kinds(3)), piece).unwrap();
                }
                answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
                if random.chance(0.2) {
                    flow = thawed(&mut flow, build());
                }
            }
            assert_eq!(answer.multiset(), multiset(wanted.iter().map(|row| (row.clone(), 1))), "seed {seed}");
            let late = commits.iter().map(Vec::len).sum::<usize>() - wanted.len();
            let stats = &flow.stats()[2];
            assert_eq!((stats.late_rows, stats.name.as_str()), (late as u64, "watermark"));
            let time = |row: &Row| if let Value::Integer(time) = row[0] { time } else { 0 };
            assert_eq!(stats.watermark_millis, commits.iter().flatten().map(time).max().map(|latest| latest - 1_500));
        }
    }
}

#[test]
fn a_row_without_a_time_fails_and_rows_that_may_be_withdrawn_are_never_late() {
    let mut builder = DataflowBuilder::new(1);
    let input = builder.append_only_input(schema(&kinds(3)));
    let node = builder.event_time(input, 0, 0).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    flow.push(0, batch(&[(vec![Value::Null, Value::Integer(1), Value::Null], 1)], &kinds(3))).unwrap();
    let error = flow.finish_tick(&tick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().ends_with("the row time c0 is NULL in row (NULL, 1, NULL)"), "{error}");

    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema(&kinds(3)));
    let node = builder.event_time(input, 0, 0).unwrap();
    builder.output(node);
    let mut flow = builder.build();
    let row = |time| vec![Value::Integer(time), Value::Null, Value::Null];
    flow.push(0, batch(&[(row(50), 1)], &kinds(3))).unwrap();
    flow.push(0, batch(&[(row(10), 1)], &kinds(3))).unwrap();
    assert_eq!(flow.finish_tick(&tick()).unwrap()[0][0].len(), 2);
}

/// `l.t BETWEEN r.t + lower AND r.t + upper`.
fn within(lower: i64, upper: i64, precision: [u8; 2]) -> Expr {
    let time = |i: usize, p: u8| Expr::column(i, TypeKind::Timestamp(p).nullable());
    let moved = |millis: i64| {
        let interval = Expr::literal(Value::Integer(millis), TypeKind::IntervalDayTime.not_null());
        functions::resolve("+", vec![time(3, precision[1]), interval]).unwrap()
    };
    let compare = |op: &str, bound: Expr| functions::resolve(op, vec![time(0, precision[0]), bound]).unwrap();
    Expr::And(vec![compare(">=", moved(lower)), compare("<=", moved(upper))])
}

fn bounded_join(kind: JoinKind, keys: &[JoinKey], (lower, upper): (i64, i64), precision: [u8; 2]) -> Dataflow {
    let mut builder = DataflowBuilder::new(1);
    let mut side = |precision: u8| {
        let input = builder.append_only_input(schema(&kinds(precision)));
        builder.event_time(input, 0, 1_500).unwrap()
    };
    let (left, right) = (side(precision[0]), side(precision[1]));
    let time = Some(TimeBound { left: 0, right: 0, lower_millis: lower, upper_millis: upper });
    let residual = Some(within(lower, upper, precision));
    let node = builder.join(left, right, JoinSpec { kind, keys: keys.to_vec(), residual, time }).unwrap();
    builder.output(node);
    builder.build()
}

const KINDS: [JoinKind; 6] =
    [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::Semi, JoinKind::Anti];

#[test]
fn a_join_bounded_in_time_is_exact_though_it_forgets() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let kind = *random.pick(&KINDS);
        let keys = [vec![], vec![JoinKey::equal(1, 1)], vec![JoinKey { left: 1, right: 1, null_safe: true }]];
        let keys = random.pick(&keys).clone();
        let bounds = *random.pick(&[(-3_000, 3_000), (0, 5_000), (-4_000, -1_000), (2_000, 2_000), (0, 0)]);
        let precision = *random.pick(&[[3, 3], [3, 6], [9, 3]]);
        let unit = |p: u8| [1, 1_000, 1_000_000][usize::from(p / 3 - 1)];
        let sides = precision.map(|p| commits(&mut random, 30, unit(p)));
        let accepted = [0, 1].map(|side| on_time(&sides[side], 1_500 * unit(precision[side])));
        let millis = |row: &Row, at: usize, side: usize| match row[at] {
            Value::Integer(time) => time / unit(precision[side]),
            _ => unreachable!("every row has a time"),
        };
        let meets = |row: &Row| {
            let apart = millis(row, 0, 0) - millis(row, 3, 1);
            (bounds.0..=bounds.1).contains(&apart)
        };
        let wanted = join::naive(&accepted[0], &accepted[1], 3, 3, kind, &keys, meets);
        let mut flow = bounded_join(kind, &keys, bounds, precision);
        let mut answer = Answer::default();
        let mut next = [0, 0];
        while next != [30, 30] {
            // One side may be far ahead of the other.
            let side = random.below(2) as usize;
            if next[side] < 30 {
                let commit: Vec<_> = sides[side][next[side]].iter().map(|row| (row.clone(), 1)).collect();
                let cut = random.below(commit.len() as u64) as usize;
                if cut > 0 {
                    let piece = Piece { continues: false, goes_on: true };
                    flow.push_piece(side, batch(&commit[..cut], &kinds(precision[side])), piece).unwrap();
                    answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
                }
                let piece = Piece { continues: cut > 0, goes_on: false };
                flow.push_piece(side, batch(&commit[cut..], &kinds(precision[side])), piece).unwrap();
                next[side] += 1;
            }
            if random.chance(0.3) || next == [30, 30] {
                answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
                if random.chance(0.3) {
                    flow = thawed(&mut flow, bounded_join(kind, &keys, bounds, precision));
                }
            }
        }
        let wanted = multiset(wanted.into_iter().map(|row| (row, 1)));
        assert_eq!(answer.multiset(), wanted, "seed {seed}, {kind:?}, {bounds:?}");
    }
}

#[test]
fn a_join_bounded_in_time_holds_no_more_after_a_week_than_after_an_hour() {
    for kind in KINDS {
        let mut flow = bounded_join(kind, &[JoinKey::equal(1, 1)], (-10_000, 10_000), [3, 3]);
        let mut held = Vec::new();
        let mut bytes = Vec::new();
        for minute in 0..600_i64 {
            for side in 0..2 {
                // A new key all the time: the keys must go too.
                let row = |i: i64| {
                    let key = Value::Integer(minute * 10 + i / 6);
                    (vec![Value::Integer(START + minute * 60_000 + i * 1_000), key, Value::Integer(side)], 1)
                };
                flow.push(side as usize, batch(&(0..60).map(row).collect::<Vec<_>>(), &kinds(3))).unwrap();
            }
            flow.finish_tick(&tick()).unwrap();
            if minute % 50 == 30 {
                flow = thawed(&mut flow, bounded_join(kind, &[JoinKey::equal(1, 1)], (-10_000, 10_000), [3, 3]));
            }
            let join = flow.stats().pop().unwrap();
            held.push(join.state.rows);
            bytes.push(join.state.bytes);
        }
        let most = |of: &[usize]| of.iter().max().copied().unwrap_or(0);
        assert!(most(&held) <= 2 * 60, "{kind:?}: {}", most(&held));
        assert!(most(&bytes) <= 2 * most(&bytes[..10]), "{kind:?}: {} then {}", most(&bytes[..10]), most(&bytes));
    }
}

/// The time of an inner join's pairs is bounded too, so a join above it forgets as well.
#[test]
fn a_chain_of_bounded_joins_forgets_at_every_step() {
    let mut builder = DataflowBuilder::new(1);
    let mut input = || {
        let input = builder.append_only_input(schema(&kinds(3)));
        builder.event_time(input, 0, 0).unwrap()
    };
    let (a, b, c) = (input(), input(), input());
    let time = |left| Some(TimeBound { left, right: 0, lower_millis: -5_000, upper_millis: 5_000 });
    let spec = |left: usize, width: usize| {
        let column = |i| Expr::column(i, TypeKind::Timestamp(3).nullable());
        let moved = |millis: i64| {
            let interval = Expr::literal(Value::Integer(millis), TypeKind::IntervalDayTime.not_null());
            functions::resolve("+", vec![column(width), interval]).unwrap()
        };
        let from = functions::resolve(">=", vec![column(left), moved(-5_000)]).unwrap();
        let upto = functions::resolve("<=", vec![column(left), moved(5_000)]).unwrap();
        let residual = Some(Expr::And(vec![from, upto]));
        JoinSpec { kind: JoinKind::Inner, keys: vec![], residual, time: time(left) }
    };
    let ab = builder.join(a, b, spec(0, 3)).unwrap();
    let moved = builder.map(ab, vec![Expr::int(1), Expr::column(3, TypeKind::Timestamp(3).nullable())]);
    let abc = builder.join(moved, c, spec(1, 2)).unwrap();
    builder.output(abc);
    let mut flow = builder.build();
    let mut given = 0;
    for second in 0..300_i64 {
        for side in 0..3 {
            let row = vec![Value::Integer(START + second * 1_000), Value::Null, Value::Integer(second)];
            flow.push(side, batch(&[(row, 1)], &kinds(3))).unwrap();
        }
        let out = flow.finish_tick(&tick()).unwrap();
        given +=
            out[0].iter().flat_map(|batch| rows(batch, flow.output_schema(0))).map(|(_, w)| w as usize).sum::<usize>();
        let held: usize = flow.stats().iter().map(|node| node.state.rows).sum();
        assert!(held < 200, "{held} rows after {second} seconds");
    }
    // Every row of b with the (at most eleven) rows of a and of c around it.
    let near = |second: i64| (second - 5..=second + 5).filter(|s| (0..300).contains(s)).count();
    assert_eq!(given, (0..300).map(|second| near(second) * near(second)).sum::<usize>());
}

/// Joins on equal row times, without any other condition: the key holds the bound.
#[test]
fn a_join_on_equal_row_times_is_exact_though_it_forgets() {
    for kind in KINDS {
        for further in [vec![], vec![JoinKey::equal(1, 1)]] {
            let mut builder = DataflowBuilder::new(1);
            let mut side = || {
                let input = builder.append_only_input(schema(&kinds(3)));
                builder.event_time(input, 0, 1_500).unwrap()
            };
            let (left, right) = (side(), side());
            let keys = [vec![JoinKey::equal(0, 0)], further.clone()].concat();
            let time = Some(TimeBound { left: 0, right: 0, lower_millis: 0, upper_millis: 0 });
            let spec = JoinSpec { kind, keys: keys.clone(), residual: None, time };
            let node = builder.join(left, right, spec).unwrap();
            builder.output(node);
            let mut flow = builder.build();
            let (mut answer, mut all) = (Answer::default(), [Vec::new(), Vec::new()]);
            for second in 0..400_i64 {
                for (side, all) in all.iter_mut().enumerate() {
                    // Every row comes up to a second late; some seconds have a row on one side alone.
                    if (second + side as i64) % 5 == 0 {
                        continue;
                    }
                    let time = START + (second - second % 2) * 1_000;
                    let row = vec![Value::Integer(time), Value::Integer(second % 3), Value::Integer(second)];
                    flow.push(side, batch(&[(row.clone(), 1)], &kinds(3))).unwrap();
                    all.push(row);
                }
                answer.add(&flow.finish_tick(&tick()).unwrap()[0], flow.output_schema(0)).unwrap();
                let held = flow.stats()[4].state.rows;
                assert!(held <= 16, "{kind:?}: {held} rows after {second} seconds");
            }
            let wanted = join::naive(&all[0], &all[1], 3, 3, kind, &keys, |_| true);
            let wanted = multiset(wanted.into_iter().map(|row| (row, 1)));
            assert_eq!(answer.multiset(), wanted, "{kind:?}, {further:?}");
        }
    }
}

#[test]
fn a_bound_in_time_that_no_condition_holds_is_refused() {
    let bound = |lower_millis, upper_millis| TimeBound { left: 0, right: 0, lower_millis, upper_millis };
    let cases = [
        (vec![], bound(0, 0), false),
        (vec![JoinKey::equal(1, 1)], bound(0, 0), false),
        (vec![JoinKey { left: 0, right: 0, null_safe: true }], bound(0, 0), false),
        (vec![JoinKey::equal(0, 0)], bound(1, 5), false),
        (vec![JoinKey::equal(0, 0)], bound(-1, 5), true),
    ];
    for (keys, time, fits) in cases {
        let mut builder = DataflowBuilder::new(1);
        let (left, right) = (builder.input(schema(&kinds(3))), builder.input(schema(&kinds(3))));
        let spec = JoinSpec { kind: JoinKind::Inner, keys, residual: None, time: Some(time) };
        assert_eq!(builder.join(left, right, spec.clone()).is_ok(), fits, "{spec:?}");
    }
}
