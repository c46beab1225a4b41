//! SQL types as PostgreSQL names them on the wire.
//!
//! A PostgreSQL client decides by these numbers how it parses a text value. What PostgreSQL lacks goes as the nearest type
//! that holds every value: TINYINT as int2, MAP and ROW as json.

use gridhouse_base::types::MAX_LENGTH;
use gridhouse_base::{SqlType, TypeKind};
use pgwire::messages::data::{FORMAT_CODE_TEXT, FieldDescription};

/// `json`, which stands for MAP and ROW.
pub(crate) const JSON: u32 = 114;
const TEXT: u32 = 25;

/// The finest fraction of a second that PostgreSQL's type modifier can state.
const MAX_FRACTION_DIGITS: u8 = 6;

/// How a column of `sql_type` is announced.
pub(crate) fn field(name: &str, sql_type: &SqlType) -> FieldDescription {
    let (oid, size, modifier) = describe(&sql_type.kind);
    FieldDescription::new(crate::frame::without_zero(name), 0, 0, oid, size, modifier, FORMAT_CODE_TEXT)
}

/// Type number, size in bytes (-1: varies) and type modifier (-1: none).
fn describe(kind: &TypeKind) -> (u32, i16, i32) {
    match kind {
        TypeKind::Null => (TEXT, -1, -1),
        TypeKind::Boolean => (16, 1, -1),
        TypeKind::TinyInt | TypeKind::SmallInt => (21, 2, -1),
        TypeKind::Int => (23, 4, -1),
        TypeKind::BigInt => (20, 8, -1),
        TypeKind::Float => (700, 4, -1),
        TypeKind::Double => (701, 8, -1),
        // Precision and scale share the modifier, four bytes of header are added: `numeric_typmod_in` in PostgreSQL.
        TypeKind::Decimal { precision, scale } => (1700, -1, ((i32::from(*precision) << 16) | i32::from(*scale)) + 4),
        TypeKind::Char(n) => (1042, -1, length_modifier(*n)),
        TypeKind::Varchar(MAX_LENGTH) => (TEXT, -1, -1),
        TypeKind::Varchar(n) => (1043, -1, length_modifier(*n)),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => (17, -1, -1),
        TypeKind::Date => (1082, 4, -1),
        TypeKind::Time(p) => (1083, 8, fraction_modifier(*p)),
        TypeKind::Timestamp(p) => (1114, 8, fraction_modifier(*p)),
        TypeKind::TimestampLtz(p) => (1184, 8, fraction_modifier(*p)),
        TypeKind::IntervalYearMonth | TypeKind::IntervalDayTime => (1186, 16, -1),
        TypeKind::Array(element) => (array_of(&element.kind), -1, -1),
        TypeKind::Map(..) | TypeKind::Row(_) => (JSON, -1, -1),
    }
}

fn length_modifier(n: u32) -> i32 {
    i32::try_from(n).map_or(-1, |n| n.saturating_add(4))
}

fn fraction_modifier(p: u8) -> i32 {
    if p <= MAX_FRACTION_DIGITS { i32::from(p) } else { -1 }
}

/// The type number of an array of `element`; arrays of arrays have their element's, as in PostgreSQL.
fn array_of(element: &TypeKind) -> u32 {
    match element {
        TypeKind::Boolean => 1000,
        TypeKind::TinyInt | TypeKind::SmallInt => 1005,
        TypeKind::Int => 1007,
        TypeKind::BigInt => 1016,
        TypeKind::Float => 1021,
        TypeKind::Double => 1022,
        TypeKind::Decimal { .. } => 1231,
        TypeKind::Char(_) => 1014,
        TypeKind::Null | TypeKind::Varchar(_) => 1009,
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => 1001,
        TypeKind::Date => 1182,
        TypeKind::Time(_) => 1183,
        TypeKind::Timestamp(_) => 1115,
        TypeKind::TimestampLtz(_) => 1185,
        TypeKind::IntervalYearMonth | TypeKind::IntervalDayTime => 1187,
        TypeKind::Array(inner) => array_of(&inner.kind),
        TypeKind::Map(..) | TypeKind::Row(_) => 199,
    }
}

/// Whether a column of the type number `oid` holds numbers, which tables show right-aligned.
pub(crate) fn is_number(oid: u32) -> bool {
    matches!(oid, 20 | 21 | 23 | 700 | 701 | 1700)
}
