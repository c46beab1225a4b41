//! Joins of every kind.

use gridhouse_base::random::Random;
use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::{Expr, functions};
use gridhouse_flow::{JoinKey, JoinKind, JoinSpec};

use crate::check::{Plan, hold};
use crate::draw::Row;

pub fn columns() -> Vec<TypeKind> {
    vec![TypeKind::Int, TypeKind::STRING, TypeKind::Int, TypeKind::BigInt]
}

/// The query, row by row.
pub fn naive(
    left: &[Row],
    right: &[Row],
    right_len: usize,
    left_len: usize,
    kind: JoinKind,
    keys: &[JoinKey],
    residual: impl Fn(&Row) -> bool,
) -> Vec<Row> {
    let joined = |l: &Row, r: &Row| -> Row { l.iter().chain(r).cloned().collect() };
    let meets = |l: &Row, r: &Row| {
        let equal = |k: &JoinKey| l[k.left] == r[k.right] && (k.null_safe || !l[k.left].is_null());
        keys.iter().all(equal) && residual(&joined(l, r))
    };
    let mut rows = Vec::new();
    for l in left {
        let partners: Vec<&Row> = right.iter().filter(|r| meets(l, r)).collect();
        match kind {
            JoinKind::Semi => rows.extend((!partners.is_empty()).then(|| l.clone())),
            JoinKind::Anti => rows.extend(partners.is_empty().then(|| l.clone())),
            _ => {
                rows.extend(partners.iter().map(|r| joined(l, r)));
                if partners.is_empty() && matches!(kind, JoinKind::Left | JoinKind::Full) {
                    rows.push(joined(l, &vec![Value::Null; right_len]));
                }
            }
        }
    }
    if matches!(kind, JoinKind::Right | JoinKind::Full) {
        let lone = right.iter().filter(|r| !left.iter().any(|l| meets(l, r)));
        rows.extend(lone.map(|r| joined(&vec![Value::Null; left_len], r)));
    }
    rows
}

fn less(row: &Row, a: usize, b: usize) -> bool {
    matches!((&row[a], &row[b]), (Value::Integer(a), Value::Integer(b)) if a < b)
}

fn plan(random: &mut Random, kind: JoinKind) -> Plan {
    let keys: &[&[(usize, usize)]] = &[&[], &[(0, 0)], &[(0, 2)], &[(1, 1)], &[(0, 0), (1, 1)], &[(3, 3)]];
    let keys: Vec<(usize, usize)> = random.pick(keys).to_vec();
    let mut keys = JoinSpec::on(kind, &keys).keys;
    keys.iter_mut().for_each(|key| key.null_safe = random.chance(0.3));
    let with_residual = random.chance(0.5);
    let spec = JoinSpec { kind, keys: keys.clone(), residual: None, time: None };
    Plan {
        inputs: vec![(columns(), false), (columns(), false)],
        build: Box::new(move |b, inputs| {
            let column = |i| Expr::column(i, TypeKind::Int.nullable());
            let residual = with_residual.then(|| functions::resolve("<", vec![column(2), column(6)]).unwrap());
            b.join(inputs[0], inputs[1], spec.clone().with_residual(residual)).unwrap()
        }),
        naive: Box::new(move |tables| {
            let residual = |row: &Row| !with_residual || less(row, 2, 6);
            naive(&tables[0], &tables[1], 4, 4, kind, &keys, residual)
        }),
        rest: 0,
    }
}

#[test]
fn inner_joins() {
    hold("inner join", 0..150, |random| plan(random, JoinKind::Inner));
}

#[test]
fn left_joins() {
    hold("left join", 0..150, |random| plan(random, JoinKind::Left));
}

#[test]
fn right_joins() {
    hold("right join", 0..150, |random| plan(random, JoinKind::Right));
}

#[test]
fn full_joins() {
    hold("full join", 0..150, |random| plan(random, JoinKind::Full));
}

#[test]
fn semi_joins() {
    hold("semi join", 0..150, |random| plan(random, JoinKind::Semi));
}

#[test]
fn anti_joins() {
    hold("anti join", 0..150, |random| plan(random, JoinKind::Anti));
}

#[test]
fn a_table_joined_with_itself() {
    hold("self join", 0..100, |random| {
        let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti]);
        Plan {
            inputs: vec![(columns(), false)],
            build: Box::new(move |b, inputs| b.join(inputs[0], inputs[0], JoinSpec::on(kind, &[(0, 2)])).unwrap()),
            naive: Box::new(move |tables| naive(&tables[0], &tables[0], 4, 4, kind, &[JoinKey::equal(0, 2)], |_| true)),
            rest: 0,
        }
    });
}
