//! Which PostgreSQL type may be read as which Flink type.
//!
//! Total both ways: every PostgreSQL type has at least `STRING` (its text form; `bytea` has `BYTES`), and a pair that has
//! no meaning is refused with the type to declare instead. The table in `docs/connectors.md` is the same list in words.

use gridhouse_base::TypeKind;

/// What a PostgreSQL type is to the mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PgClass {
    /// `boolean`
    Bool,
    /// `smallint`, `integer`, `bigint`, `oid`: whole numbers of this many bits.
    Whole(u8),
    /// `real`, `double precision`
    Float(u8),
    /// `numeric`
    Numeric,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time` without zone
    Time,
    /// `timestamp` without zone
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval`
    Interval,
    /// `bit`, `bit varying`
    Bit,
    /// `text`, `varchar`, `char`, `name`
    Text,
    /// An array.
    Array(Box<PgClass>),
    /// All else: exchanged in text form.
    Other,
}

impl PgClass {
    /// The class of a built-in type, `None` for types that an extension or a user made (and for rare built-in ones that
    /// are `Other` anyway). Oids: PostgreSQL `pg_type.dat`.
    pub(crate) fn of_builtin(oid: u32) -> Option<Self> {
        let element = match oid {
            1000 => 16,
            1005 => 21,
            1007 => 23,
            1016 => 20,
            1028 => 26,
            1021 => 700,
            1022 => 701,
            1231 => 1700,
            1001 => 17,
            1182 => 1082,
            1183 => 1083,
            1115 => 1114,
            1185 => 1184,
            1187 => 1186,
            1561 => 1560,
            1563 => 1562,
            1009 => 25,
            1015 => 1043,
            1014 => 1042,
            1003 => 19,
            199 | 3807 | 2951 | 1041 | 651 | 1040 | 1270 | 791 | 143 => 114,
            _ => 0,
        };
        if element != 0 {
            return Self::of_builtin(element).map(|class| Self::Array(Box::new(class)));
        }
        Some(match oid {
            16 => Self::Bool,
            21 => Self::Whole(16),
            23 => Self::Whole(32),
            20 | 26 => Self::Whole(64),
            700 => Self::Float(32),
            701 => Self::Float(64),
            1700 => Self::Numeric,
            17 => Self::Bytea,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1186 => Self::Interval,
            1560 | 1562 => Self::Bit,
            18 | 19 | 25 | 1042 | 1043 => Self::Text,
            114 | 142 | 2950 | 3802 | 869 | 650 | 829 | 774 | 790 | 1266 => Self::Other,
            _ => return None,
        })
    }

    /// The Flink type that suits best, for remedies.
    pub(crate) fn suggestion(&self) -> String {
        match self {
            Self::Bool => "BOOLEAN".into(),
            Self::Whole(16) => "SMALLINT".into(),
            Self::Whole(32) => "INT".into(),
            Self::Whole(_) => "BIGINT".into(),
            Self::Float(32) => "FLOAT".into(),
            Self::Float(_) => "DOUBLE".into(),
            Self::Numeric => "DECIMAL(38, 18) or STRING".into(),
            Self::Bytea => "BYTES".into(),
            Self::Date => "DATE".into(),
            Self::Time => "TIME(3)".into(),
            Self::Timestamp => "TIMESTAMP(6)".into(),
            Self::Timestamptz => "TIMESTAMP_LTZ(6)".into(),
            Self::Array(element) => format!("ARRAY<{}> or STRING", element.suggestion()),
            Self::Interval | Self::Bit | Self::Text | Self::Other => "STRING".into(),
        }
    }
}

/// Whether a value may be read as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Every value, as it is.
    Exact,
    /// With a meaning that the user should know of.
    Noted(&'static str),
    /// Not at all.
    Refused,
}

const NARROW: &str = "a value that does not fit stops the source with an error";

/// Whether values of `class` may be declared as `kind`.
pub(crate) fn readable(class: &PgClass, kind: &TypeKind) -> Fit {
    use PgClass as P;
    use TypeKind as K;
    match (class, kind) {
        (P::Bytea, K::Binary(_) | K::Varbinary(_)) => Fit::Exact,
        (P::Bytea, _) => Fit::Refused,
        (_, K::Char(_) | K::Varchar(_)) => Fit::Exact,
        (P::Bool | P::Bit, K::Boolean) => Fit::Exact,
        (P::Whole(bits), K::TinyInt | K::SmallInt | K::Int | K::BigInt) => {
            let wide = match kind {
                K::TinyInt => 8,
                K::SmallInt => 16,
                K::Int => 32,
                _ => 64,
            };
            if *bits <= wide { Fit::Exact } else { Fit::Noted(NARROW) }
        }
        (P::Numeric, K::TinyInt | K::SmallInt | K::Int | K::BigInt) => Fit::Noted(NARROW),
        (P::Whole(_) | P::Numeric | P::Float(_), K::Decimal { .. }) => Fit::Exact,
        (P::Float(64) | P::Numeric | P::Whole(64), K::Float) => {
            Fit::Noted("digits beyond the precision of FLOAT are lost")
        }
        (P::Numeric, K::Double) => Fit::Noted("digits beyond the precision of DOUBLE are lost"),
        (P::Whole(_) | P::Float(_), K::Float | K::Double) => Fit::Exact,
        (P::Date, K::Date) | (P::Time, K::Time(_)) | (P::Timestamp, K::Timestamp(_)) => Fit::Exact,
        (P::Timestamptz, K::TimestampLtz(_)) => Fit::Exact,
        (P::Timestamptz, K::Timestamp(_)) => Fit::Noted("the instant is read as date and time in UTC"),
        (P::Timestamp, K::TimestampLtz(_)) => Fit::Noted("date and time are read as an instant in UTC"),
        (P::Interval, K::IntervalYearMonth | K::IntervalDayTime) => Fit::Noted(NARROW),
        (P::Array(class), K::Array(element)) => readable(class, &element.kind),
        _ => Fit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_follow_their_elements() {
        let int_array = PgClass::of_builtin(1007).unwrap();
        assert_eq!(int_array, PgClass::Array(Box::new(PgClass::Whole(32))));
        let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
        assert_eq!(readable(&int_array, &array(TypeKind::BigInt)), Fit::Exact);
        assert_eq!(readable(&int_array, &array(TypeKind::Boolean)), Fit::Refused);
        assert_eq!(readable(&int_array, &TypeKind::STRING), Fit::Exact);
        assert_eq!(PgClass::of_builtin(99_999), None);
    }

    #[test]
    fn every_class_has_a_type_that_reads_it() {
        let string = TypeKind::STRING;
        for oid in [16, 20, 21, 23, 25, 700, 701, 1700, 1082, 1083, 1114, 1184, 1186, 1560, 2950, 3802, 1009] {
            assert_eq!(readable(&PgClass::of_builtin(oid).unwrap(), &string), Fit::Exact);
        }
        assert_eq!(readable(&PgClass::Bytea, &string), Fit::Refused);
        assert_eq!(readable(&PgClass::Bytea, &TypeKind::BYTES), Fit::Exact);
    }
}
