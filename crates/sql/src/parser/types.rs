//! Types as Flink spells them.
//!
//! Defaults are those of Flink's SQL parser (not of its type strings): `VARCHAR` is `STRING`, `CHAR` is `CHAR(1)`, `DECIMAL` is
//! `DECIMAL(10, 0)`, `TIMESTAMP` has 6 digits, `TIME` none.

use gridhouse_base::types::{MAX_DECIMAL_PRECISION, MAX_LENGTH};
use gridhouse_base::{Error, Field, Position, Result, SqlType, TypeKind};

use super::Parser;

/// The words that begin a type, for hints.
const TYPE_NAMES: &[&str] = &[
    "ARRAY",
    "BIGINT",
    "BINARY",
    "BOOLEAN",
    "BYTES",
    "CHAR",
    "DATE",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "MAP",
    "NUMERIC",
    "ROW",
    "SMALLINT",
    "STRING",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TINYINT",
    "VARBINARY",
    "VARCHAR",
];

/// Names from other systems and Flink's for them.
const FOREIGN: &[(&str, &str)] = &[
    ("BIGSERIAL", "BIGINT"),
    ("BLOB", "BYTES"),
    ("BOOL", "BOOLEAN"),
    ("BYTEA", "BYTES"),
    ("CLOB", "STRING"),
    ("DATETIME", "TIMESTAMP(0)"),
    ("FLOAT4", "FLOAT"),
    ("FLOAT8", "DOUBLE"),
    ("INT2", "SMALLINT"),
    ("INT4", "INT"),
    ("INT8", "BIGINT"),
    ("JSON", "STRING"),
    ("JSONB", "STRING"),
    ("LONG", "BIGINT"),
    ("LONGTEXT", "STRING"),
    ("NUMBER", "DECIMAL"),
    ("NVARCHAR", "VARCHAR"),
    ("SERIAL", "INT"),
    ("TEXT", "STRING"),
    ("TIMESTAMPTZ", "TIMESTAMP_LTZ(6)"),
    ("UUID", "STRING"),
    ("VARCHAR2", "VARCHAR"),
];

impl Parser<'_> {
    /// A type with its nullability and any `ARRAY` or `MULTISET` behind it.
    pub(super) fn sql_type(&mut self) -> Result<SqlType> {
        self.nested(|parser| {
            let at = parser.at();
            let mut sql_type = parser.type_kind()?.nullable();
            loop {
                if parser.accept_all(&["NOT", "NULL"]) {
                    sql_type.nullable = false;
                } else if parser.accept("NULL") {
                    sql_type.nullable = true;
                } else if parser.accept("ARRAY") {
                    sql_type = TypeKind::Array(Box::new(sql_type)).nullable();
                } else if parser.peek_is("MULTISET") {
                    return Err(multiset(at));
                } else {
                    return Ok(sql_type);
                }
            }
        })
    }

    pub(super) fn type_kind(&mut self) -> Result<TypeKind> {
        let at = self.at();
        let Some(word) = self.peek_word() else {
            return Err(self.unexpected("a type"));
        };
        self.advance();
        let kind = match word.as_str() {
            "BOOLEAN" => TypeKind::Boolean,
            "TINYINT" => TypeKind::TinyInt,
            "SMALLINT" => TypeKind::SmallInt,
            "INT" | "INTEGER" => TypeKind::Int,
            "BIGINT" => TypeKind::BigInt,
            "FLOAT" | "REAL" => TypeKind::Float,
            "DOUBLE" => {
                self.accept("PRECISION");
                TypeKind::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "CHAR" | "CHARACTER" if self.accept("VARYING") => TypeKind::Varchar(self.length(MAX_LENGTH)?),
            "CHAR" | "CHARACTER" => TypeKind::Char(self.length(1)?),
            "VARCHAR" => TypeKind::Varchar(self.length(MAX_LENGTH)?),
            "STRING" => TypeKind::STRING,
            "BINARY" if self.accept("VARYING") => TypeKind::Varbinary(self.length(MAX_LENGTH)?),
            "BINARY" => TypeKind::Binary(self.length(1)?),
            "VARBINARY" => TypeKind::Varbinary(self.length(MAX_LENGTH)?),
            "BYTES" => TypeKind::BYTES,
            "DATE" => TypeKind::Date,
            "TIME" => {
                let precision = self.fraction(0)?;
                self.without_time_zone()?;
                TypeKind::Time(precision)
            }
            "TIMESTAMP" => self.timestamp(at)?,
            "TIMESTAMP_LTZ" => TypeKind::TimestampLtz(self.fraction(6)?),
            "INTERVAL" => self.interval_type()?,
            "ARRAY" => {
                self.expect_symbol("<")?;
                let element = self.sql_type()?;
                self.close_angle()?;
                TypeKind::Array(Box::new(element))
            }
            "MAP" => {
                self.expect_symbol("<")?;
                let key = self.sql_type()?;
                self.expect_symbol(",")?;
                let value = self.sql_type()?;
                self.close_angle()?;
                TypeKind::Map(Box::new(key), Box::new(value))
            }
            "ROW" => self.row_type()?,
            "MULTISET" => return Err(multiset(at)),
            "RAW" | "VARIANT" | "GEOMETRY" => {
                return Err(Error::invalid(format!("the type {word} is not supported"))
                    .hint("use STRING or BYTES")
                    .at(at));
            }
            _ => return Err(unknown_type(&word, at)),
        };
        Ok(kind)
    }

    fn decimal(&mut self) -> Result<TypeKind> {
        let at = self.at();
        if !self.accept_symbol("(") {
            return Ok(TypeKind::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.whole_number("a precision")?;
        let scale = if self.accept_symbol(",") { self.whole_number("a scale")? } else { 0 };
        self.expect_symbol(")")?;
        if precision == 0 || precision > MAX_DECIMAL_PRECISION.into() || scale > precision {
            return Err(Error::invalid(format!("DECIMAL({precision}, {scale}) is out of range"))
                .hint("the precision is 1 to 38, the scale 0 to the precision")
                .at(at));
        }
        Ok(TypeKind::Decimal { precision: precision as u8, scale: scale as u8 })
    }

    fn length(&mut self, default: u32) -> Result<u32> {
        let at = self.at();
        if !self.accept_symbol("(") {
            return Ok(default);
        }
        let length = self.whole_number("a length")?;
        self.expect_symbol(")")?;
        if length == 0 || length > MAX_LENGTH {
            return Err(Error::invalid(format!("the length {length} is out of range"))
                .hint(format!("it is 1 to {MAX_LENGTH}"))
                .at(at));
        }
        Ok(length)
    }

    fn fraction(&mut self, default: u8) -> Result<u8> {
        let at = self.at();
        if !self.accept_symbol("(") {
            return Ok(default);
        }
        let digits = self.whole_number("a number of fractional digits")?;
        self.expect_symbol(")")?;
        u8::try_from(digits).ok().filter(|&digits| digits <= 9).ok_or_else(|| {
            Error::invalid(format!("{digits} fractional digits are out of range")).hint("it is 0 to 9").at(at)
        })
    }

    fn without_time_zone(&mut self) -> Result<()> {
        if self.accept("WITHOUT") { self.expect_all(&["TIME", "ZONE"]) } else { Ok(()) }
    }

    fn timestamp(&mut self, at: Position) -> Result<TypeKind> {
        let precision = self.fraction(6)?;
        if self.accept_all(&["WITH", "LOCAL", "TIME", "ZONE"]) {
            return Ok(TypeKind::TimestampLtz(precision));
        }
        if self.peek_all(&["WITH", "TIME", "ZONE"]) {
            return Err(Error::invalid("TIMESTAMP WITH TIME ZONE is not supported, as in Flink")
                .hint(format!("use TIMESTAMP_LTZ({precision}), an instant shown in the session's time zone"))
                .at(at));
        }
        self.without_time_zone()?;
        Ok(TypeKind::Timestamp(precision))
    }

    fn interval_type(&mut self) -> Result<TypeKind> {
        let at = self.at();
        let mut units = Vec::new();
        loop {
            let Some(unit) = self.peek_word() else { return Err(self.unexpected("a unit")) };
            self.advance();
            if self.peek_symbol("(") {
                self.fraction(0)?;
            }
            units.push(unit);
            if units.len() == 2 || !self.accept("TO") {
                break;
            }
        }
        let months = |unit: &String| ["YEAR", "MONTH"].contains(&unit.as_str());
        let times = |unit: &String| ["DAY", "HOUR", "MINUTE", "SECOND"].contains(&unit.as_str());
        if units.iter().all(months) {
            Ok(TypeKind::IntervalYearMonth)
        } else if units.iter().all(times) {
            Ok(TypeKind::IntervalDayTime)
        } else {
            let hint = "write INTERVAL YEAR TO MONTH or INTERVAL DAY TO SECOND(3)";
            Err(Error::invalid(format!("INTERVAL {} is no type", units.join(" TO "))).hint(hint).at(at))
        }
    }

    fn row_type(&mut self) -> Result<TypeKind> {
        let angle = self.accept_symbol("<");
        if !angle {
            self.expect_symbol("(")?;
        }
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let name = self.ident("a field's name")?;
            let sql_type = self.sql_type()?;
            if let crate::parser::TokenKind::Text(_) = self.token().kind {
                self.advance();
            }
            if fields.iter().any(|field| field.name == name.name) {
                return Err(Error::invalid(format!("the row has two fields called {name}"))
                    .hint("rename one")
                    .at(name.at));
            }
            fields.push(Field { name: name.name, sql_type });
            if !self.accept_symbol(",") {
                break;
            }
        }
        if angle {
            self.close_angle()?
        } else {
            self.expect_symbol(")")?
        }
        Ok(TypeKind::Row(fields))
    }

    /// One `>`. The tokenizer joins `>>`, as at the end of `ARRAY<ARRAY<INT>>`; the second half is remembered.
    fn close_angle(&mut self) -> Result<()> {
        if self.half_angle {
            self.half_angle = false;
            self.advance();
            return Ok(());
        }
        if self.peek_symbol(">>") {
            self.half_angle = true;
            return Ok(());
        }
        self.expect_symbol(">")
    }
}

fn multiset(at: Position) -> Error {
    Error::invalid("the type MULTISET is not supported").hint("use ARRAY<t>, or MAP<t, INT> with the counts").at(at)
}

fn unknown_type(word: &str, at: Position) -> Error {
    let error = Error::invalid(format!("{word} is no type")).at(at);
    if let Some((_, ours)) = FOREIGN.iter().find(|(foreign, _)| *foreign == word) {
        return error.hint(format!("in Flink it is {ours}"));
    }
    match gridhouse_base::error::nearest(word, TYPE_NAMES.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("the types are {}", TYPE_NAMES.join(", "))),
    }
}
