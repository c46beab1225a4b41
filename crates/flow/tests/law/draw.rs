//! Drawn tables: rows of small domains with NULLs and duplicates, changed by insertions, deletions and updates.

use arrow_array::Int32Array;
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Field, Schema, TypeKind, Value};

/// A row.
pub type Row = Vec<Value>;

/// A table as it stands, and how it changes.
pub struct Table {
    pub kinds: Vec<TypeKind>,
    pub rows: Vec<Row>,
    pub append_only: bool,
}

impl Table {
    pub fn new(kinds: &[TypeKind], append_only: bool) -> Self {
        Self { kinds: kinds.to_vec(), rows: Vec::new(), append_only }
    }

    /// Applies some changes and returns them.
    pub fn change(&mut self, random: &mut Random, count: u64) -> Vec<(Row, i32)> {
        let mut changes = Vec::new();
        for _ in 0..count {
            let kind = random.below(if self.append_only { 3 } else { 8 });
            if kind >= 3 && !self.rows.is_empty() {
                let gone = self.rows.swap_remove(random.below(self.rows.len() as u64) as usize);
                changes.push((gone.clone(), -1));
                if kind >= 6 {
                    // An update: some columns change, others stay.
                    let fresh = self.draw(random);
                    let row: Row =
                        gone.into_iter().zip(fresh).map(|(a, b)| if random.chance(0.5) { a } else { b }).collect();
                    self.insert(row, &mut changes);
                }
            } else if kind == 2 && !self.rows.is_empty() {
                let row = random.pick(&self.rows).clone();
                self.insert(row, &mut changes);
            } else {
                let row = self.draw(random);
                self.insert(row, &mut changes);
            }
        }
        changes
    }

    /// Deletes every row.
    pub fn clear(&mut self) -> Vec<(Row, i32)> {
        self.rows.drain(..).map(|row| (row, -1)).collect()
    }

    fn insert(&mut self, row: Row, changes: &mut Vec<(Row, i32)>) {
        self.rows.push(row.clone());
        changes.push((row, 1));
    }

    fn draw(&self, random: &mut Random) -> Row {
        self.kinds.iter().map(|kind| if random.chance(0.15) { Value::Null } else { value(kind, random) }).collect()
    }
}

/// A value from a domain small enough that rows meet, with the extremes of the type in it.
fn value(kind: &TypeKind, random: &mut Random) -> Value {
    let small = random.between(-3, 6);
    let rare = random.chance(0.1);
    match kind {
        TypeKind::Boolean => Value::Boolean(small > 1),
        TypeKind::TinyInt => Value::Integer(if rare { 127 } else { small }),
        TypeKind::Int => Value::Integer(if rare { i64::from(i32::MAX) - 1 } else { small }),
        TypeKind::BigInt => Value::Integer(if rare { i64::MAX } else { small * 1_000_000_007 }),
        TypeKind::Decimal { precision: 38, .. } => Value::Decimal(if rare {
            small.signum() as i128 * (10_i128.pow(38) - 1)
        } else {
            i128::from(small) * 1_000
        }),
        TypeKind::Decimal { .. } => Value::Decimal(i128::from(small) * 333),
        TypeKind::Float => Value::Float(if rare { f32::NAN } else { small as f32 / 4.0 }),
        TypeKind::Double => {
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            Value::Double(if rare { *random.pick(&special) } else { small as f64 / 4.0 })
        }
        TypeKind::Varchar(_) => {
            Value::Text(["", "a", "ab", "b", "电网", "变电站 110kV"][small.rem_euclid(6) as usize].into())
        }
        TypeKind::Timestamp(_) => Value::Integer(1_700_000_000_000 + small),
        TypeKind::Array(element) => {
            let item = |random: &mut Random| {
                if random.chance(0.2) { Value::Null } else { value(&element.kind, random) }
            };
            Value::Array((0..small.clamp(0, 3)).map(|_| item(random)).collect())
        }
        TypeKind::Row(fields) => Value::Row(fields.iter().map(|field| value(&field.sql_type.kind, random)).collect()),
        TypeKind::Map(key, item) => {
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for _ in 0..small.clamp(0, 3) {
                let (key, item) = (value(&key.kind, random), value(&item.kind, random));
                if entries.iter().all(|(other, _)| *other != key) {
                    entries.push((key, item));
                }
            }
            Value::Map(entries)
        }
        other => panic!("no values are drawn for {other}"),
    }
}

/// `MAP<STRING, INT>`, `ARRAY<INT>`, `ROW<a INT, b STRING>` and `ARRAY<MAP<STRING, INT>>`.
pub fn nested_kinds() -> Vec<TypeKind> {
    let int = TypeKind::Int.nullable();
    let map = TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(int.clone()));
    let field = |name: &str, sql_type| Field { name: name.into(), sql_type };
    let row = TypeKind::Row(vec![field("a", int.clone()), field("b", TypeKind::STRING.nullable())]);
    vec![map.clone(), TypeKind::Array(Box::new(int)), row, TypeKind::Array(Box::new(map.nullable()))]
}

/// A value as rows are compared by: the entries of maps in the order of their keys.
pub fn comparable(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(comparable).collect()),
        Value::Row(items) => Value::Row(items.iter().map(comparable).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().map(|(k, v)| (comparable(k), comparable(v))).collect();
            entries.sort_by_key(|(key, _)| format!("{key:?}"));
            Value::Map(entries)
        }
        other => other.clone(),
    }
}

/// The schema of nullable columns of these kinds.
pub fn schema(kinds: &[TypeKind]) -> Schema {
    Schema::new(kinds.iter().enumerate().map(|(i, k)| Column::new(format!("c{i}"), k.clone().nullable())).collect())
}

/// Changes as batches, in any order and cut anywhere. Equal rows may be merged; rows of weight 0 may be among them.
pub fn batches(mut changes: Vec<(Row, i32)>, kinds: &[TypeKind], random: &mut Random) -> Vec<ChangeBatch> {
    for i in (1..changes.len()).rev() {
        changes.swap(i, random.below(i as u64 + 1) as usize);
    }
    if random.chance(0.3) {
        let mut merged: Vec<(Row, i32)> = Vec::new();
        for (row, weight) in changes {
            match merged.iter_mut().find(|(other, _)| format!("{other:?}") == format!("{row:?}")) {
                Some((_, sum)) => *sum += weight,
                None => merged.push((row, weight)),
            }
        }
        changes = merged;
    }
    let mut batches = Vec::new();
    while !changes.is_empty() {
        let len = 1 + random.below(changes.len() as u64) as usize;
        let part: Vec<_> = changes.drain(..len).collect();
        batches.push(batch(&part, kinds));
    }
    batches
}

/// Weighted rows as one batch.
pub fn batch(rows: &[(Row, i32)], kinds: &[TypeKind]) -> ChangeBatch {
    let column = |i: usize| {
        let values: Vec<&Value> = rows.iter().map(|(row, _)| &row[i]).collect();
        Value::array_of(&values, &kinds[i])
    };
    let columns = (0..kinds.len()).map(column).collect();
    let weights: Int32Array = rows.iter().map(|(_, weight)| *weight).collect();
    let diff = rows.iter().any(|(_, weight)| *weight != 1).then_some(weights);
    ChangeBatch::new(columns, rows.len(), diff)
}

/// A batch as weighted rows.
pub fn rows(batch: &ChangeBatch, schema: &Schema) -> Vec<(Row, i64)> {
    let value = |i: usize, c: usize| Value::from_array(batch.column(c), i, &schema.columns[c].sql_type.kind);
    let row = |i: usize| ((0..schema.len()).map(|c| value(i, c)).collect(), i64::from(batch.weight(i)));
    (0..batch.len()).map(row).collect()
}
