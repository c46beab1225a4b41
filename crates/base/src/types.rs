//! Flink's SQL types and their Arrow mapping.
//!
//! The mapping is total and fixed: the same SQL type always has the same Arrow type, in memory, in the WAL and in segments.
//! Source of names, bounds and text forms: Flink 1.20, "Data Types". `STRING` is `VARCHAR(2147483647)` and `BYTES` is
//! `VARBINARY(2147483647)`, as in Flink.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// The length that stands for "unbounded" in `VARCHAR` and `VARBINARY`.
pub const MAX_LENGTH: u32 = 2_147_483_647;

/// The largest precision of a `DECIMAL`.
pub const MAX_DECIMAL_PRECISION: u8 = 38;

/// A SQL type: a kind and whether NULL belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SqlType {
    /// The kind with its parameters.
    pub kind: TypeKind,
    /// Whether NULL belongs to the type.
    pub nullable: bool,
}

/// A SQL type without its nullability.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TypeKind {
    /// The type of a bare `NULL`.
    Null,
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`, 8 bits.
    TinyInt,
    /// `SMALLINT`, 16 bits.
    SmallInt,
    /// `INT`, 32 bits.
    Int,
    /// `BIGINT`, 64 bits.
    BigInt,
    /// `FLOAT`, IEEE 754 with 32 bits.
    Float,
    /// `DOUBLE`, IEEE 754 with 64 bits.
    Double,
    /// `DECIMAL(p, s)`, 1 ≤ p ≤ 38, 0 ≤ s ≤ p.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `CHAR(n)`, padded with blanks, n in characters.
    Char(u32),
    /// `VARCHAR(n)`, n in characters.
    Varchar(u32),
    /// `BINARY(n)`, n in bytes.
    Binary(u32),
    /// `VARBINARY(n)`, n in bytes.
    Varbinary(u32),
    /// `DATE`
    Date,
    /// `TIME(p)`; milliseconds at most, as in Flink's runtime.
    Time(u8),
    /// `TIMESTAMP(p)`, without zone.
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(p)`, an instant.
    TimestampLtz(u8),
    /// `INTERVAL YEAR TO MONTH`, in months.
    IntervalYearMonth,
    /// `INTERVAL DAY TO SECOND(3)`, in milliseconds.
    IntervalDayTime,
    /// `ARRAY<t>`
    Array(Box<SqlType>),
    /// `MAP<k, v>`
    Map(Box<SqlType>, Box<SqlType>),
    /// `ROW<name t, …>`
    Row(Vec<Field>),
}

/// A named field of a `ROW`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// The name, case-sensitive.
    pub name: String,
    /// The type.
    pub sql_type: SqlType,
}

impl TypeKind {
    /// `STRING`, that is `VARCHAR(2147483647)`.
    pub const STRING: Self = Self::Varchar(MAX_LENGTH);
    /// `BYTES`, that is `VARBINARY(2147483647)`.
    pub const BYTES: Self = Self::Varbinary(MAX_LENGTH);

    /// The type of this kind that holds NULL too.
    pub fn nullable(self) -> SqlType {
        SqlType { kind: self, nullable: true }
    }

    /// The type of this kind without NULL.
    pub fn not_null(self) -> SqlType {
        SqlType { kind: self, nullable: false }
    }

    /// `TINYINT`, `SMALLINT`, `INT` or `BIGINT`.
    pub fn is_integer(&self) -> bool {
        matches!(self, Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt)
    }

    /// An integer, `DECIMAL`, `FLOAT` or `DOUBLE`.
    pub fn is_numeric(&self) -> bool {
        self.is_integer() || matches!(self, Self::Decimal { .. } | Self::Float | Self::Double)
    }

    /// `CHAR` or `VARCHAR`.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Char(_) | Self::Varchar(_))
    }

    /// `BINARY` or `VARBINARY`.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::Binary(_) | Self::Varbinary(_))
    }

    /// `DATE`, `TIME`, `TIMESTAMP` or `TIMESTAMP_LTZ`.
    pub fn is_datetime(&self) -> bool {
        matches!(self, Self::Date | Self::Time(_) | Self::Timestamp(_) | Self::TimestampLtz(_))
    }

    /// One of the two interval types.
    pub fn is_interval(&self) -> bool {
        matches!(self, Self::IntervalYearMonth | Self::IntervalDayTime)
    }

    /// The Arrow type that holds values of this kind.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Null => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::TinyInt => DataType::Int8,
            Self::SmallInt => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
            Self::Char(_) | Self::Varchar(_) => DataType::Utf8,
            Self::Binary(_) | Self::Varbinary(_) => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time(_) => DataType::Time32(TimeUnit::Millisecond),
            Self::Timestamp(p) => DataType::Timestamp(timestamp_unit(*p), None),
            Self::TimestampLtz(p) => DataType::Timestamp(timestamp_unit(*p), Some("UTC".into())),
            Self::IntervalYearMonth => DataType::Interval(IntervalUnit::YearMonth),
            Self::IntervalDayTime => DataType::Duration(TimeUnit::Millisecond),
            Self::Array(element) => DataType::List(Arc::new(element.arrow_field("element"))),
            Self::Map(key, value) => {
                let key = ArrowField::new("key", key.kind.arrow(), false);
                let entries = Fields::from(vec![key, value.arrow_field("value")]);
                DataType::Map(Arc::new(ArrowField::new("entries", DataType::Struct(entries), false)), false)
            }
            Self::Row(fields) => DataType::Struct(fields.iter().map(|f| f.sql_type.arrow_field(&f.name)).collect()),
        }
    }
}

/// The Arrow unit of a timestamp of precision `p`: milliseconds to 3, microseconds to 6, nanoseconds to 9.
pub fn timestamp_unit(p: u8) -> TimeUnit {
    match p {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// How many of the timestamp's Arrow units make a second, for precision `p`.
pub fn timestamp_units_per_second(p: u8) -> i64 {
    match timestamp_unit(p) {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

impl SqlType {
    /// The same type, nullable or not.
    pub fn with_nullable(&self, nullable: bool) -> Self {
        Self { kind: self.kind.clone(), nullable }
    }

    /// An Arrow field of this type. Rows of a deletion hold NULL outside the key, so every Arrow field but a map's key
    /// is nullable; the SQL nullability is checked where rows are accepted.
    pub fn arrow_field(&self, name: &str) -> ArrowField {
        ArrowField::new(name, self.kind.arrow(), true)
    }
}

/// Flink's text form: `DECIMAL(12, 2) NOT NULL`.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, if self.nullable { "" } else { " NOT NULL" })
    }
}

impl fmt::Display for TypeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::TinyInt => f.write_str("TINYINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Char(n) => write!(f, "CHAR({n})"),
            Self::Varchar(MAX_LENGTH) => f.write_str("STRING"),
            Self::Varchar(n) => write!(f, "VARCHAR({n})"),
            Self::Binary(n) => write!(f, "BINARY({n})"),
            Self::Varbinary(MAX_LENGTH) => f.write_str("BYTES"),
            Self::Varbinary(n) => write!(f, "VARBINARY({n})"),
            Self::Date => f.write_str("DATE"),
            Self::Time(p) => write!(f, "TIME({p})"),
            Self::Timestamp(p) => write!(f, "TIMESTAMP({p})"),
            Self::TimestampLtz(p) => write!(f, "TIMESTAMP_LTZ({p})"),
            Self::IntervalYearMonth => f.write_str("INTERVAL YEAR TO MONTH"),
            Self::IntervalDayTime => f.write_str("INTERVAL DAY TO SECOND(3)"),
            Self::Array(element) => write!(f, "ARRAY<{element}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Row(fields) => {
                f.write_str("ROW<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}` {}", field.name.replace('`', "``"), field.sql_type)?;
                }
                f.write_str(">")
            }
        }
    }
}
