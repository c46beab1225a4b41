//! Aggregation and DISTINCT.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;
use gridhouse_base::{SqlType, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction as F};

use crate::check::{Plan, hold};
use crate::draw::Row;

const DECIMAL: TypeKind = TypeKind::Decimal { precision: 12, scale: 2 };
const WIDE: TypeKind = TypeKind::Decimal { precision: 38, scale: 0 };
const MEAN: TypeKind = TypeKind::Decimal { precision: 38, scale: 6 };
const SUM: TypeKind = TypeKind::Decimal { precision: 38, scale: 2 };

fn columns() -> Vec<TypeKind> {
    use TypeKind::*;
    vec![Int, TypeKind::STRING, Int, BigInt, DECIMAL, WIDE, Double, Boolean, Timestamp(3), TinyInt, Float]
}

/// A call over one of the columns above.
fn call(random: &mut Random) -> AggregateCall {
    let functions = [F::CountStar, F::Count, F::Sum, F::Avg, F::Min, F::Max];
    loop {
        let (function, arg) = (*random.pick(&functions), random.below(11) as usize);
        let kind = columns()[arg].clone();
        let (args, result) = match function {
            F::CountStar => (vec![], TypeKind::BigInt),
            F::Count => (vec![arg], TypeKind::BigInt),
            F::Min | F::Max => (vec![arg], kind),
            F::Sum if kind == DECIMAL => (vec![arg], SUM),
            F::Avg if kind == DECIMAL => (vec![arg], MEAN),
            F::Sum | F::Avg if kind.is_numeric() => (vec![arg], kind),
            _ => continue,
        };
        let distinct = !args.is_empty() && random.chance(0.3);
        let filter = random.chance(0.3).then_some(7);
        return AggregateCall { function, args, distinct, filter, sql_type: result.nullable() };
    }
}

/// The query, row by row.
pub fn naive(rows: &[Row], keys: &[usize], calls: &[AggregateCall], kinds: &[TypeKind]) -> Vec<Row> {
    let mut groups: BTreeMap<String, (Row, Vec<&Row>)> = BTreeMap::new();
    if keys.is_empty() {
        groups.insert(String::new(), (vec![], vec![]));
    }
    for row in rows {
        let key: Row = keys.iter().map(|&i| row[i].clone()).collect();
        let text = if keys.is_empty() { String::new() } else { format!("{key:?}") };
        groups.entry(text).or_insert((key, vec![])).1.push(row);
    }
    let result = |(mut key, rows): (Row, Vec<&Row>)| {
        key.extend(calls.iter().map(|call| value(call, &rows, kinds)));
        key
    };
    groups.into_values().map(result).collect()
}

fn value(call: &AggregateCall, rows: &[&Row], kinds: &[TypeKind]) -> Value {
    let passed = rows.iter().filter(|row| call.filter.is_none_or(|i| row[i] == Value::Boolean(true)));
    let Some(&arg) = call.args.first() else { return Value::Integer(passed.count() as i64) };
    let mut values: Vec<&Value> = passed.map(|row| &row[arg]).filter(|v| !v.is_null()).collect();
    if call.distinct {
        values.sort_by_key(|v| format!("{v:?}"));
        values.dedup_by_key(|v| format!("{v:?}"));
    }
    match call.function {
        F::CountStar | F::Count => Value::Integer(values.len() as i64),
        _ if values.is_empty() => Value::Null,
        F::Min => values.into_iter().min_by(|a, b| order(a, b)).unwrap().clone(),
        F::Max => values.into_iter().max_by(|a, b| order(a, b)).unwrap().clone(),
        F::Sum => total(&values, &kinds[arg], &call.sql_type, false),
        F::Avg => total(&values, &kinds[arg], &call.sql_type, true),
        F::SingleValue => values[0].clone(),
    }
}

/// The order of two values of one type, neither NULL.
pub fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        other => panic!("{other:?} have no order"),
    }
}

fn total(values: &[&Value], kind: &TypeKind, result: &SqlType, mean: bool) -> Value {
    let n = values.len();
    let integers = || values.iter().map(|v| if let Value::Integer(v) = v { *v } else { unreachable!() });
    let decimals = || values.iter().map(|v| if let Value::Decimal(v) = v { *v } else { unreachable!() });
    let floats = || {
        values.iter().map(|v| match v {
            Value::Float(v) => f64::from(*v),
            Value::Double(v) => *v,
            _ => unreachable!(),
        })
    };
    match kind {
        TypeKind::TinyInt if !mean => Value::Integer(i64::from(integers().fold(0_i8, |s, v| s.wrapping_add(v as i8)))),
        TypeKind::Int if !mean => Value::Integer(i64::from(integers().fold(0_i32, |s, v| s.wrapping_add(v as i32)))),
        kind if kind.is_integer() => {
            let sum = integers().fold(0_i64, i64::wrapping_add);
            Value::Integer(if mean { sum / n as i64 } else { sum })
        }
        TypeKind::Decimal { scale, .. } => {
            let TypeKind::Decimal { scale: to, .. } = result.kind else { unreachable!() };
            let up = 10_i128.pow(u32::from(to - scale));
            let parts = if mean { n as i128 } else { 1 };
            match mean_of(decimals().map(|v| v * up), parts) {
                Some(v) => Value::Decimal(v),
                None => Value::Null,
            }
        }
        TypeKind::Float => Value::Float((floats().sum::<f64>() / if mean { n as f64 } else { 1.0 }) as f32),
        TypeKind::Double => Value::Double(floats().sum::<f64>() / if mean { n as f64 } else { 1.0 }),
        other => panic!("{other} is not summed"),
    }
}

/// The sum of `values` divided by `parts`, half away from zero; `None` beyond 38 digits. Sums beyond 128 bits are kept in
/// two limbs of base 10¹⁹.
fn mean_of(values: impl Iterator<Item = i128>, parts: i128) -> Option<i128> {
    let base = 10_i128.pow(19);
    let (mut high, mut low) = (0, 0);
    for value in values {
        high += value.div_euclid(base);
        low += value.rem_euclid(base);
    }
    high += low.div_euclid(base);
    low = low.rem_euclid(base);
    let negative = high < 0;
    if negative {
        (high, low) = (-high - i128::from(low > 0), if low > 0 { base - low } else { 0 });
    }
    let rest = (high % parts) * base + low;
    let value = (high / parts).checked_mul(base)? + rest / parts + i128::from(rest % parts * 2 >= parts);
    let fits = value < 10_i128.pow(38);
    fits.then_some(if negative { -value } else { value })
}

const KEYS: &[&[usize]] =
    &[&[], &[0], &[1], &[0, 1], &[3], &[3, 8], &[3, 3, 8, 3], &[7, 9], &[4], &[5, 4], &[6], &[10, 2]];

fn plan(random: &mut Random, append_only: bool) -> Plan {
    let keys = random.pick(KEYS).to_vec();
    let calls: Vec<AggregateCall> = (0..random.below(5)).map(|_| call(random)).collect();
    let (build_keys, build_calls, rest) = (keys.clone(), calls.clone(), usize::from(keys.is_empty()));
    Plan {
        inputs: vec![(columns(), append_only)],
        build: Box::new(move |b, inputs| b.aggregate(inputs[0], build_keys.clone(), build_calls.clone()).unwrap()),
        naive: Box::new(move |tables| naive(&tables[0], &keys, &calls, &columns())),
        rest,
    }
}

#[test]
fn aggregation_with_retraction() {
    hold("aggregation", 0..600, |random| plan(random, false));
}

#[test]
fn aggregation_over_append_only_input() {
    hold("append-only aggregation", 0..200, |random| plan(random, true));
}

#[test]
fn distinct_rows() {
    hold("distinct", 0..200, |random| {
        let kinds = if random.chance(0.5) { vec![TypeKind::Int] } else { vec![TypeKind::STRING, TypeKind::Double] };
        Plan {
            inputs: vec![(kinds, random.chance(0.3))],
            build: Box::new(|b, inputs| b.distinct(inputs[0]).unwrap()),
            naive: Box::new(|tables| {
                let keys: Vec<usize> = (0..tables[0].first().map_or(0, Vec::len)).collect();
                if tables[0].is_empty() { vec![] } else { naive(&tables[0], &keys, &[], &[]) }
            }),
            rest: 0,
        }
    });
}
