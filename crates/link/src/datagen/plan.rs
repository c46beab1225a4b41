//! What the options of a `datagen` table say: Flink's own keys.
//!
//! Parts of nested columns have keys of their own: `fields.<array>.element.…`, `fields.<map>.key.…`, `fields.<map>.value.…`,
//! `fields.<row>.<field>.…`. Each type has its own options; a key that fits none is an error that names the nearest.

use std::hash::{DefaultHasher, Hash, Hasher};

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::error::nearest;
use gridhouse_base::quantity::duration;
use gridhouse_base::random::Random;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::types::MAX_LENGTH;
use gridhouse_base::{Error, Result, TypeKind, Value};
use gridhouse_expr::text::number::{integer_range, parse_decimal};

use super::make::{Field, Make};

/// Flink's default rate.
const ROWS_PER_SECOND: u64 = 10_000;

/// Flink's default length of texts and bytes that may have any.
const TEXT_LENGTH: u64 = 100;

/// Flink's default length of arrays and maps.
const COLLECTION_LENGTH: u64 = 3;

/// The longest value: more is a slip of the pen.
const LENGTH_LIMIT: u64 = 1 << 20;

/// Flink's range of intervals of months.
const MONTHS: i64 = 120_000;

const TABLE_KEYS: [&str; 3] = ["rows-per-second", "number-of-rows", "scan.parallelism"];

/// What the options of a table say.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    fields: Vec<Field>,
    /// Rows per second.
    pub rate: u64,
    /// How many rows there are; `None`: no end.
    pub rows: Option<u64>,
    salt: u64,
}

impl Plan {
    /// Reads the options of `definition`.
    pub(crate) fn read(definition: &TableDef, seed: u64, notices: &mut Vec<String>) -> Result<Self> {
        let mut keys = Keys { definition, known: Vec::new() };
        let number = |key: &str| definition.options.get(key).map(|text| parse::<u64>(key, text)).transpose();
        let mut rows = number("number-of-rows")?;
        let mut fields = Vec::new();
        for i in definition.physical() {
            let column = &definition.schema.columns[i];
            if matches!(definition.column_kinds[i], ColumnKind::Metadata { .. }) {
                return Err(Error::invalid(format!(
                    "connector 'datagen' has no metadata for the column '{}'",
                    column.name
                ))
                .hint("leave the column out"));
            }
            let (field, length) = keys.field(&column.name, &column.sql_type.kind, true)?;
            rows = match (rows, length) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if field.null_rate > 0.0 && !column.sql_type.nullable {
                return Err(Error::invalid(format!(
                    "option 'fields.{}.null-rate' is set, and the column is declared NOT NULL",
                    column.name
                ))
                .hint("leave one of them out"));
            }
            fields.push(field);
        }
        keys.check(notices)?;
        let mut hasher = DefaultHasher::new();
        (seed, definition.path.to_string()).hash(&mut hasher);
        let rate = number("rows-per-second")?.unwrap_or(ROWS_PER_SECOND).max(1);
        Ok(Self { fields, rate, rows, salt: hasher.finish() })
    }

    /// Rows `from..to`, made at `now_micros`.
    pub(crate) fn batch(&self, from: u64, to: u64, now_micros: i64) -> KindBatch {
        let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity((to - from) as usize); self.fields.len()];
        for row in from..to {
            // Golden-ratio steps keep neighbouring rows' generators apart.
            let mut random = Random::new(self.salt ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for (field, column) in self.fields.iter().zip(&mut columns) {
                column.push(field.value(row, &mut random, now_micros));
            }
        }
        let array =
            |(field, column): (&Field, &Vec<Value>)| Value::array_of(&column.iter().collect::<Vec<_>>(), &field.kind);
        let arrays = self.fields.iter().zip(&columns).map(array).collect();
        KindBatch::new(arrays, vec![RowKind::Insert; (to - from) as usize])
    }
}

/// The options of fields, and which of them there can be.
struct Keys<'a> {
    definition: &'a TableDef,
    known: Vec<String>,
}

impl<'a> Keys<'a> {
    /// The value of `fields.<name>.<what>`, which is a key of this table from now on.
    fn get(&mut self, name: &str, what: &str) -> (String, Option<&'a str>) {
        let key = format!("fields.{name}.{what}");
        let value = self.definition.options.get(&key).map(String::as_str);
        self.known.push(key.clone());
        (key, value)
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, what: &str, default: T) -> Result<T> {
        let (key, value) = self.get(name, what);
        value.map_or(Ok(default), |text| parse(&key, text))
    }

    /// How a column comes about, and how many rows its sequence has. Parts of a column have no `kind`.
    fn field(&mut self, name: &str, kind: &TypeKind, whole: bool) -> Result<(Field, Option<u64>)> {
        let null_rate: f64 = self.parsed(name, "null-rate", 0.0)?;
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(Error::invalid(format!("option 'fields.{name}.null-rate' is {null_rate}"))
                .hint("write a number between 0 and 1"));
        }
        let of = |make| Field { kind: kind.clone(), make, null_rate };
        if whole {
            let (key, value) = self.get(name, "kind");
            match value.unwrap_or("random") {
                "random" => {}
                "sequence" => {
                    let (make, rows) = self.sequence(name, kind)?;
                    return Ok((of(make), Some(rows)));
                }
                other => {
                    return Err(
                        Error::invalid(format!("option '{key}' is '{other}'")).hint("write 'random' or 'sequence'")
                    );
                }
            }
        }
        Ok((of(self.random(name, kind)?), None))
    }

    fn sequence(&mut self, name: &str, kind: &TypeKind) -> Result<(Make, u64)> {
        if !(kind.is_numeric() || kind.is_text()) {
            return Err(Error::invalid(format!("a sequence cannot fill the column '{name}' of type {kind}"))
                .hint("leave 'kind' out"));
        }
        let mut bound = |what: &str| -> Result<i64> {
            let (key, value) = self.get(name, what);
            let text = value.ok_or_else(|| {
                Error::invalid(format!("a sequence needs the option '{key}'")).hint("name its start and its end")
            })?;
            parse(&key, text)
        };
        let (start, end) = (bound("start")?, bound("end")?);
        let (low, high) = match kind {
            TypeKind::Decimal { precision, scale } => {
                let limit = 10_i128.pow(u32::from(precision - scale)) - 1;
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                (-limit, limit)
            }
            kind => integer_range(kind),
        };
        if start < low || end > high {
            return Err(Error::invalid(format!(
                "the sequence {start} … {end} of the column '{name}' does not fit {kind}"
            ))
            .hint("choose a wider type, or other bounds"));
        }
        Ok((Make::Sequence { start }, u64::try_from(i128::from(end) - i128::from(start) + 1).unwrap_or(0)))
    }

    fn random(&mut self, name: &str, kind: &TypeKind) -> Result<Make> {
        Ok(match kind {
            TypeKind::Boolean => Make::Truth,
            kind if kind.is_integer() => self.between(name, integer_range(kind), integer_range(kind))?,
            TypeKind::IntervalYearMonth => self.between(name, (0, MONTHS), (i32::MIN.into(), i32::MAX.into()))?,
            TypeKind::IntervalDayTime => self.between(name, (i64::MIN, i64::MAX), (i64::MIN, i64::MAX))?,
            TypeKind::Float => self.real(name, f32::MIN_POSITIVE.into(), f32::MAX.into())?,
            TypeKind::Double => self.real(name, f64::MIN_POSITIVE, f64::MAX)?,
            TypeKind::Decimal { precision, scale } => self.decimal(name, *precision, *scale)?,
            TypeKind::Char(n) => Make::Text { length: u64::from(*n).min(LENGTH_LIMIT), varying: false },
            TypeKind::Binary(n) => Make::Bytes { length: u64::from(*n).min(LENGTH_LIMIT), varying: false },
            TypeKind::Varchar(n) => {
                let (length, varying) = self.varying(name, *n)?;
                Make::Text { length, varying }
            }
            TypeKind::Varbinary(n) => {
                let (length, varying) = self.varying(name, *n)?;
                Make::Bytes { length, varying }
            }
            TypeKind::Date | TypeKind::Time(_) => Make::Past { max_millis: 0 },
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
                let (key, value) = self.get(name, "max-past");
                let past = value.map(|text| {
                    duration(text).ok_or_else(|| {
                        Error::invalid(format!("option '{key}' is '{text}'")).hint("write a duration, as in '5 min'")
                    })
                });
                let past = past.transpose()?.unwrap_or_default();
                Make::Past { max_millis: i64::try_from(past.as_millis()).unwrap_or(i64::MAX) }
            }
            TypeKind::Array(element) => Make::Array {
                length: self.length(name, COLLECTION_LENGTH)?,
                element: Box::new(self.field(&format!("{name}.element"), &element.kind, false)?.0),
            },
            TypeKind::Map(key, value) => {
                let length = self.length(name, COLLECTION_LENGTH)?;
                let mut key = self.field(&format!("{name}.key"), &key.kind, false)?.0;
                // A key is never NULL here.
                key.null_rate = 0.0;
                Make::Map {
                    length,
                    key: Box::new(key),
                    value: Box::new(self.field(&format!("{name}.value"), &value.kind, false)?.0),
                }
            }
            TypeKind::Row(fields) => {
                let field = |f: &gridhouse_base::Field| -> Result<Field> {
                    Ok(self.field(&format!("{name}.{}", f.name), &f.sql_type.kind, false)?.0)
                };
                Make::Row(fields.iter().map(field).collect::<Result<_>>()?)
            }
            other => {
                return Err(Error::invalid(format!("datagen cannot fill the column '{name}' of type {other}"))
                    .hint("leave the column out, or compute it from others"));
            }
        })
    }

    fn between(&mut self, name: &str, default: (i64, i64), limit: (i64, i64)) -> Result<Make> {
        let (min, max) = (self.parsed(name, "min", default.0)?, self.parsed(name, "max", default.1)?);
        ordered(name, min <= max)?;
        if min < limit.0 || max > limit.1 {
            return Err(Error::invalid(format!(
                "options 'fields.{name}.min' and '.max' are {min} and {max}, beyond the type"
            ))
            .hint(format!("stay within {} and {}", limit.0, limit.1)));
        }
        Ok(Make::Whole { min, max })
    }

    fn real(&mut self, name: &str, low: f64, high: f64) -> Result<Make> {
        let (min, max) = (self.parsed(name, "min", low)?, self.parsed(name, "max", high)?);
        ordered(name, min <= max)?;
        if !(max - min).is_finite() || max > high || min < -high {
            return Err(Error::invalid(format!("options 'fields.{name}.min' and '.max' are {min} and {max}"))
                .hint("choose numbers of the type whose difference is one too"));
        }
        Ok(Make::Real { min, max })
    }

    fn decimal(&mut self, name: &str, precision: u8, scale: u8) -> Result<Make> {
        let widest = 10_i128.pow(u32::from(precision)) - 1;
        let mut bound = |what: &str, default: i128| {
            let (key, value) = self.get(name, what);
            value.map_or(Ok(default), |text| {
                parse_decimal(text, precision, scale).map_err(|_| {
                    Error::invalid(format!(
                        "option '{key}' is '{text}', which does not fit DECIMAL({precision}, {scale})"
                    ))
                    .hint("write a number, as in '100.5'")
                })
            })
        };
        let (min, max) = (bound("min", -widest)?, bound("max", widest)?);
        ordered(name, min <= max)?;
        Ok(Make::Decimal { min, max })
    }

    fn length(&mut self, name: &str, default: u64) -> Result<u64> {
        let length = self.parsed(name, "length", default)?;
        if length <= LENGTH_LIMIT {
            return Ok(length);
        }
        Err(Error::invalid(format!("option 'fields.{name}.length' is {length}"))
            .hint(format!("at most {LENGTH_LIMIT}")))
    }

    /// The length of a text or of bytes with at most `limit` places, and whether it varies.
    fn varying(&mut self, name: &str, limit: u32) -> Result<(u64, bool)> {
        let default = if limit == MAX_LENGTH { TEXT_LENGTH } else { u64::from(limit).min(LENGTH_LIMIT) };
        let length = self.length(name, default)?;
        if length > u64::from(limit) {
            return Err(Error::invalid(format!(
                "option 'fields.{name}.length' is {length}, more than the type's {limit}"
            ))
            .hint("choose a smaller one, or declare a longer type"));
        }
        let (key, value) = self.get(name, "var-len");
        match value.map(str::to_lowercase).as_deref() {
            None | Some("false") => Ok((length, false)),
            Some("true") => Ok((length, true)),
            Some(other) => Err(Error::invalid(format!("option '{key}' is '{other}'")).hint("write 'true' or 'false'")),
        }
    }

    /// Every key that is given is one that there is.
    fn check(&self, notices: &mut Vec<String>) -> Result<()> {
        for key in self.definition.options.keys().filter(|key| *key != "connector") {
            if key == "scan.parallelism" {
                notices.push("option 'scan.parallelism' has no effect: there is one reader".into());
            }
            if TABLE_KEYS.contains(&key.as_str()) || self.known.contains(key) {
                continue;
            }
            let error = Error::invalid(format!("connector 'datagen' has no option '{key}'"));
            let names = || TABLE_KEYS.into_iter().chain(self.known.iter().map(String::as_str));
            if let Some(near) = nearest(key, names()) {
                return Err(error.hint(format!("did you mean '{near}'?")));
            }
            let of_column = key.rsplit_once('.').map(|(column, _)| format!("{column}."));
            let mut known: Vec<&str> =
                names().filter(|name| of_column.as_ref().is_some_and(|column| name.starts_with(column))).collect();
            if known.is_empty() {
                known = TABLE_KEYS.into_iter().chain(["fields.<column>.kind, .min, .max, …"]).collect();
            }
            return Err(error.hint(format!("known options: {}", known.join(", "))));
        }
        Ok(())
    }
}

fn ordered(name: &str, ordered: bool) -> Result<()> {
    if ordered {
        return Ok(());
    }
    Err(Error::invalid(format!("option 'fields.{name}.min' is larger than 'fields.{name}.max'")).hint("swap them"))
}

fn parse<T: std::str::FromStr>(key: &str, text: &str) -> Result<T> {
    text.trim()
        .parse()
        .map_err(|_| Error::invalid(format!("option '{key}' is '{text}'")).hint("write a number, as in '100'"))
}
