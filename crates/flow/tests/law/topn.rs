//! Top-N with and without partitions, offsets and ranks.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use gridhouse_base::random::Random;
use gridhouse_base::{TypeKind, Value};
use gridhouse_flow::{SortKey, TopN};

use crate::aggregate::order;
use crate::check::{Plan, hold};
use crate::draw::Row;

fn compare(a: &Value, b: &Value, descending: bool, nulls_first: bool) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) if descending => order(b, a),
        (false, false) => order(a, b),
    }
}

fn naive(rows: &[Row], spec: &TopN) -> Vec<Row> {
    let mut partitions: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key: Vec<&Value> = spec.partition.iter().map(|&i| &row[i]).collect();
        partitions.entry(format!("{key:?}")).or_default().push(row.clone());
    }
    let mut result = Vec::new();
    for mut rows in partitions.into_values() {
        rows.sort_by(|a, b| {
            let keyed = spec.order.iter().map(|k| compare(&a[k.column], &b[k.column], k.descending, k.nulls_first));
            let tie = a.iter().zip(b).map(|(a, b)| compare(a, b, false, true));
            keyed.chain(tie).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
        let limit = spec.limit.map_or(usize::MAX, |limit| limit as usize);
        for (place, mut row) in rows.into_iter().enumerate().skip(spec.offset as usize).take(limit) {
            if spec.rank {
                row.push(Value::Integer(place as i64 + 1));
            }
            result.push(row);
        }
    }
    result
}

#[test]
fn windows_follow_their_rows() {
    hold("top-n", 0..400, |random| {
        let key = |column, random: &mut Random| SortKey {
            column,
            descending: random.chance(0.5),
            nulls_first: random.chance(0.5),
        };
        let spec = TopN {
            partition: random.pick(&[vec![], vec![0], vec![1, 0]]).clone(),
            order: random.pick(&[vec![], vec![2], vec![1, 2], vec![3, 0]]).iter().map(|&c| key(c, random)).collect(),
            offset: *random.pick(&[0, 0, 1, 3]),
            limit: *random.pick(&[None, Some(0), Some(1), Some(3), Some(10)]),
            rank: random.chance(0.4),
        };
        let build_spec = spec.clone();
        let kinds = vec![TypeKind::Int, TypeKind::STRING, TypeKind::BigInt, TypeKind::Timestamp(3)];
        Plan {
            inputs: vec![(kinds, random.chance(0.3))],
            build: Box::new(move |b, inputs| b.top_n(inputs[0], build_spec.clone()).unwrap()),
            naive: Box::new(move |tables| naive(&tables[0], &spec)),
            rest: 0,
        }
    });
}
