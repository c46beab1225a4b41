//! The keys of a look-up: as bytes by which answers are remembered and checked, and as arrays in a statement.
//!
//! The server's comparison may be wider than ours (a text under a collation, a timestamp that is cut when it is read): the
//! statement finds at least the rows that match, and what was read is compared again, as bytes.

use gridhouse_base::{Error, Result, TypeKind, Value};

use super::client::literal;
use super::pushdown::is_uuid;
use super::read_plan::{Compared, ReadColumn};
use super::types::PgClass;
use crate::show;

/// A column that is compared with keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumn {
    column: ReadColumn,
    compared: Compared,
    /// The type of the array in which keys travel.
    travels_as: &'static str,
    /// The side of the table in the comparison.
    side: String,
}

/// The least and the greatest value of the outside that may be read as a key.
type Bounds = (String, String);

const DAY_MICROS: i64 = 86_400_000_000;
/// What stands for the infinities of dates and timestamps: days of 9999-12-31 and 0001-01-01.
const LAST_DAY: i64 = 2_932_896;
const FIRST_DAY: i64 = -719_162;

impl KeyColumn {
    /// How `column` is compared.
    ///
    /// # Errors
    /// `Invalid` where values cannot be found by what they are read as.
    pub(crate) fn new(column: ReadColumn) -> Result<Self> {
        let compared = column.compared();
        let name = format!("t.{}", column.quoted());
        let (travels_as, side) = match (compared, &column.kind) {
            (Compared::Truth, _) => ("bool", name),
            (Compared::Whole, _) => ("int8", name),
            (Compared::Exact | Compared::Rounded, _) => ("numeric", name),
            (Compared::Float, TypeKind::Float) => ("float4", name),
            (Compared::Float, _) => ("float8", name),
            (Compared::Text, _) => ("text", name),
            (Compared::Padded, _) => ("bpchar", name),
            (Compared::Bytes, _) => ("bytea", name),
            (Compared::Day, _) => ("date", name),
            (Compared::TimeOfDay, _) => ("time", name),
            (Compared::Moment { .. }, _) => {
                (if column.outside.class == PgClass::Timestamptz { "timestamptz" } else { "timestamp" }, name)
            }
            (Compared::Uuid, _) => ("uuid", name),
            // Not a cast to text, which for some types is another form than the one that is read.
            (Compared::Shown, _) => ("text", format!("format('%s', {name})")),
            (Compared::Unrelated, kind) => {
                return Err(Error::invalid(format!(
                    "rows cannot be looked up by the column {}, of type {} and declared as {kind}",
                    column.name, column.outside.type_name
                ))
                .hint(format!(
                    "declare `{}` as {}, or look up by another column",
                    column.name,
                    column.outside.class.suggestion()
                )));
            }
        };
        Ok(Self { column, compared, travels_as, side })
    }

    /// The bounds of what is read as `value`; `None`: nothing can be.
    fn bounds(&self, value: &Value) -> Option<Bounds> {
        let same = |text: String| Some((text.clone(), text));
        let kind = &self.column.kind;
        match (self.compared, value) {
            (Compared::Rounded, Value::Decimal(unscaled)) => {
                let TypeKind::Decimal { scale, .. } = kind else { return None };
                // A half of the last digit to either side; with a digit more it is a whole number.
                let half = |n: i128| format!("{n}e-{}", u32::from(*scale) + 1);
                let tenfold = unscaled.checked_mul(10)?;
                Some((half(tenfold - 5), half(tenfold + 5)))
            }
            (Compared::Text | Compared::Padded | Compared::Shown, Value::Text(text)) => {
                if text.contains('\0') {
                    None
                } else {
                    same(text.to_string())
                }
            }
            (Compared::Uuid, Value::Text(text)) => {
                if is_uuid(text) {
                    same(text.to_string())
                } else {
                    None
                }
            }
            (Compared::Bytes, Value::Bytes(bytes)) => {
                same(format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            (Compared::Day, Value::Integer(days)) => {
                let text = shown(value, kind);
                match *days {
                    LAST_DAY => Some((text, "infinity".into())),
                    FIRST_DAY => Some(("-infinity".into(), text)),
                    days if (FIRST_DAY..LAST_DAY).contains(&days) => same(text),
                    _ => None,
                }
            }
            (Compared::TimeOfDay, Value::Integer(millis)) => {
                let low = shown(value, &TypeKind::Time(3));
                let high = shown(&Value::Integer(millis * 1_000 + 999), &TypeKind::Timestamp(6));
                // The time of the first day.
                Some((low, high.split_once('T')?.1.to_owned()))
            }
            (Compared::Moment { unit_micros }, Value::Integer(units)) => {
                let (TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)) = kind else { return None };
                let per_second = gridhouse_base::types::timestamp_units_per_second(*p);
                let micros = if per_second > 1_000_000 {
                    units.div_euclid(per_second / 1_000_000)
                } else {
                    units.checked_mul(1_000_000 / per_second)?
                };
                self.moments(micros, unit_micros)
            }
            (_, value) => same(shown(value, kind)),
        }
    }

    fn moments(&self, micros: i64, unit_micros: i64) -> Option<Bounds> {
        let zone = if self.column.outside.class == PgClass::Timestamptz { "+00" } else { "" };
        let text = |micros: i64| format!("{}{zone}", shown(&Value::Integer(micros), &TypeKind::Timestamp(6)));
        let last = (LAST_DAY + 1) * DAY_MICROS;
        if !(FIRST_DAY * DAY_MICROS..last).contains(&micros) {
            return None;
        }
        let low = if micros == FIRST_DAY * DAY_MICROS { "-infinity".into() } else { text(micros) };
        let high = micros + unit_micros - 1;
        Some((low, if high >= last - 1 { "infinity".into() } else { text(high) }))
    }
}

fn shown(value: &Value, kind: &TypeKind) -> String {
    let mut text = String::new();
    show::value(value, kind, &mut text);
    text
}

/// The join of the table `t` with the keys `u`, which have a number `n` each; `None` where no key can match. A key that
/// cannot match is left out.
pub(crate) fn join(columns: &[KeyColumn], keys: &[(usize, &[Value])], table: &str) -> Option<String> {
    let mut lows = vec![String::from("{"); columns.len()];
    let mut highs = lows.clone();
    let mut ranged = vec![false; columns.len()];
    let mut numbers = String::from("{");
    for (number, values) in keys {
        let bounds = columns.iter().zip(*values).map(|(column, value)| column.bounds(value));
        let Some(bounds) = bounds.collect::<Option<Vec<Bounds>>>() else { continue };
        for (i, (low, high)) in bounds.into_iter().enumerate() {
            ranged[i] |= low != high;
            element(&low, &mut lows[i]);
            element(&high, &mut highs[i]);
        }
        element(&number.to_string(), &mut numbers);
    }
    if numbers.len() == 1 {
        return None;
    }
    let array = |text: String, travels_as: &str| format!("{}::{travels_as}[]", literal(&(text + "}")));
    let (mut arrays, mut names, mut conditions) = (vec![array(numbers, "int4")], vec!["n".to_owned()], Vec::new());
    for (i, column) in columns.iter().enumerate() {
        arrays.push(array(std::mem::take(&mut lows[i]), column.travels_as));
        names.push(format!("k{i}"));
        if ranged[i] {
            arrays.push(array(std::mem::take(&mut highs[i]), column.travels_as));
            names.push(format!("h{i}"));
            conditions.push(format!("{0} >= u.k{i} AND {0} <= u.h{i}", column.side));
        } else {
            conditions.push(format!("{} = u.k{i}", column.side));
        }
    }
    Some(format!(
        "FROM unnest({}) AS u({}) JOIN {table} AS t ON {}",
        arrays.join(", "),
        names.join(", "),
        conditions.join(" AND ")
    ))
}

/// Adds an element to an array in text form.
fn element(text: &str, array: &mut String) {
    if array.len() > 1 {
        array.push(',');
    }
    array.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            array.push('\\');
        }
        array.push(c);
    }
    array.push('"');
}

/// Adds the bytes of a key's value: equal values, equal bytes. `false` where the value equals nothing (NULL, NaN).
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) -> bool {
    let mut bytes = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Boolean(truth) => out.push(u8::from(*truth)),
        Value::Integer(number) => out.extend_from_slice(&number.to_be_bytes()),
        // 0 and -0 are equal.
        Value::Float(number) => out.extend_from_slice(&(number + 0.0).to_bits().to_be_bytes()),
        Value::Double(number) => out.extend_from_slice(&(number + 0.0).to_bits().to_be_bytes()),
        Value::Decimal(number) => out.extend_from_slice(&number.to_be_bytes()),
        Value::Text(text) => bytes(text.as_bytes()),
        Value::Bytes(content) => bytes(content),
        Value::Null | Value::Array(_) | Value::Map(_) | Value::Row(_) => return false,
    }
    !matches!(value, Value::Float(number) if number.is_nan())
        && !matches!(value, Value::Double(number) if number.is_nan())
}
