//! How single values are made up.

use gridhouse_base::random::Random;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{TypeKind, Value};

/// How the values of a column, or of a part of one, come about.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The kind.
    pub kind: TypeKind,
    /// The rule.
    pub make: Make,
    /// How often the value is NULL instead.
    pub null_rate: f64,
}

/// A rule for values.
#[derive(Clone, Debug)]
pub(crate) enum Make {
    /// One more with each row.
    Sequence {
        /// The first.
        start: i64,
    },
    /// Numbers between two, both included.
    Whole { min: i64, max: i64 },
    /// Decimals without their point.
    Decimal { min: i128, max: i128 },
    /// Numbers with a fraction.
    Real { min: f64, max: f64 },
    /// Hexadecimal digits.
    Text { length: u64, varying: bool },
    /// Bytes.
    Bytes { length: u64, varying: bool },
    /// Truth values.
    Truth,
    /// The clock's time less up to so many milliseconds.
    Past { max_millis: i64 },
    /// So many elements.
    Array { length: u64, element: Box<Field> },
    /// So many entries; fewer where keys are drawn twice.
    Map { length: u64, key: Box<Field>, value: Box<Field> },
    /// A value per field.
    Row(Vec<Field>),
}

impl Field {
    /// The value in row `row`, made at `now_micros`.
    pub(crate) fn value(&self, row: u64, random: &mut Random, now_micros: i64) -> Value {
        if self.null_rate > 0.0 && random.chance(self.null_rate) {
            return Value::Null;
        }
        match (&self.make, &self.kind) {
            (Make::Sequence { start }, kind) => sequence(start.wrapping_add(row as i64), kind),
            (Make::Whole { min, max }, _) => Value::Integer(random.between(*min, *max)),
            (Make::Decimal { min, max }, _) => Value::Decimal(between(*min, *max, random)),
            (Make::Real { min, max }, TypeKind::Float) => Value::Float((min + random.unit() * (max - min)) as f32),
            (Make::Real { min, max }, _) => Value::Double(min + random.unit() * (max - min)),
            (Make::Text { length, varying }, _) => {
                let digits = (0..drawn(*length, *varying, random))
                    .map(|_| char::from_digit(random.below(16) as u32, 16).unwrap_or('0'));
                Value::Text(digits.collect::<String>().into())
            }
            (Make::Bytes { length, varying }, _) => {
                Value::Bytes((0..drawn(*length, *varying, random)).map(|_| random.bits() as u8).collect())
            }
            (Make::Truth, _) => Value::Boolean(random.chance(0.5)),
            (Make::Past { max_millis }, kind) => past(*max_millis, kind, random, now_micros),
            (Make::Array { length, element }, _) => {
                Value::Array((0..*length).map(|_| element.value(row, random, now_micros)).collect())
            }
            (Make::Map { length, key, value }, _) => {
                let mut entries: Vec<(Value, Value)> = Vec::new();
                for _ in 0..*length {
                    let entry = (key.value(row, random, now_micros), value.value(row, random, now_micros));
                    if entries.iter().all(|(known, _)| *known != entry.0) {
                        entries.push(entry);
                    }
                }
                Value::Map(entries)
            }
            (Make::Row(fields), _) => {
                Value::Row(fields.iter().map(|field| field.value(row, random, now_micros)).collect())
            }
        }
    }
}

fn sequence(n: i64, kind: &TypeKind) -> Value {
    match kind {
        TypeKind::Char(_) | TypeKind::Varchar(_) => Value::Text(n.to_string().into()),
        TypeKind::Float => Value::Float(n as f32),
        TypeKind::Double => Value::Double(n as f64),
        TypeKind::Decimal { scale, .. } => Value::Decimal(i128::from(n) * 10_i128.pow(u32::from(*scale))),
        _ => Value::Integer(n),
    }
}

/// A length: the given one, or from one up to it.
fn drawn(length: u64, varying: bool, random: &mut Random) -> u64 {
    if varying && length > 1 { 1 + random.below(length) } else { length }
}

/// A number between two, both included; they are less than 10³⁸ from zero, so their distance fits 128 bits.
fn between(min: i128, max: i128, random: &mut Random) -> i128 {
    let span = (max.wrapping_sub(min) as u128).saturating_add(1);
    let drawn = u128::from(random.bits()) << 64 | u128::from(random.bits());
    min.wrapping_add((drawn % span) as i128)
}

fn past(max_millis: i64, kind: &TypeKind, random: &mut Random, now_micros: i64) -> Value {
    let back = if max_millis > 0 { random.between(0, max_millis) } else { 0 };
    let millis = now_micros.div_euclid(1000).saturating_sub(back);
    Value::Integer(match kind {
        TypeKind::Date => millis.div_euclid(86_400_000),
        TypeKind::Time(_) => millis.rem_euclid(86_400_000),
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
            let units = millis.saturating_mul(timestamp_units_per_second(*p) / 1000);
            gridhouse_expr::text::datetime::cut(units, timestamp_units_per_second(*p), *p)
        }
        _ => millis,
    })
}
