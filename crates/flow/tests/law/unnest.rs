//! Unnesting arrays and maps.

use gridhouse_base::random::Random;
use gridhouse_base::{Column, Field, Schema, TypeKind, Value};
use gridhouse_flow::{JoinKind, Unnest};

use crate::check::{Plan, hold};
use crate::draw::{Row, comparable, nested_kinds};

fn naive(rows: &[Row], kind: JoinKind, ordinality: bool, width: usize) -> Vec<Row> {
    let mut result = Vec::new();
    for row in rows {
        let elements: Vec<Row> = match comparable(&row[1]) {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::Row(fields) => fields,
                    Value::Null => vec![Value::Null; width],
                    other => vec![other],
                })
                .collect(),
            Value::Map(entries) => entries.into_iter().map(|(key, value)| vec![key, value]).collect(),
            _ => vec![],
        };
        let mut new: Vec<Row> = Vec::new();
        for (place, element) in elements.into_iter().enumerate() {
            let place = ordinality.then_some(Value::Integer(place as i64 + 1));
            new.push(row.iter().cloned().chain(element).chain(place).collect());
        }
        if new.is_empty() && kind == JoinKind::Left {
            let nulls = vec![Value::Null; width + usize::from(ordinality)];
            new.push([row.clone(), nulls].concat());
        }
        result.extend(new);
    }
    result
}

fn plan(random: &mut Random) -> Plan {
    let row = nested_kinds()[2].clone();
    let rows = TypeKind::Array(Box::new(row.nullable()));
    let collection = random.pick(&[nested_kinds()[0].clone(), nested_kinds()[1].clone(), rows]).clone();
    let kinds = vec![TypeKind::Int, collection.clone()];
    let (kind, ordinality) = (*random.pick(&[JoinKind::Inner, JoinKind::Left]), random.chance(0.5));
    let mut elements: Vec<TypeKind> = match collection {
        TypeKind::Map(key, value) => vec![key.kind, value.kind],
        TypeKind::Array(element) => match element.kind {
            TypeKind::Row(fields) => fields.into_iter().map(|Field { sql_type, .. }| sql_type.kind).collect(),
            other => vec![other],
        },
        _ => unreachable!("a collection was drawn"),
    };
    let width = elements.len();
    elements.extend(ordinality.then_some(TypeKind::Int));
    let schema = Schema::new(elements.into_iter().map(|kind| Column::new("e", kind.nullable())).collect());
    Plan {
        inputs: vec![(kinds, random.chance(0.3))],
        build: Box::new(move |b, inputs| {
            b.unnest(inputs[0], Unnest { expr: 1, kind, ordinality, schema: schema.clone() }).unwrap()
        }),
        naive: Box::new(move |tables| naive(&tables[0], kind, ordinality, width)),
        rest: 0,
    }
}

#[test]
fn collections_are_unnested() {
    hold("unnest", 0..400, plan);
}
