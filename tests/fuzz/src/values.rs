//! PostgreSQL's text form of values, alone and in the rows of a COPY.

use arrow_array::Array;
use gridhouse_base::random::Random;
use gridhouse_base::{ErrorKind, TypeKind, Value};
use gridhouse_link::testing::{read_copy, read_value};

use crate::corpus::{recorded, tables};
use crate::mutate::{NUMBERS, mutate, one_of};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static VALUES: Kind = Kind {
    name: "values",
    cases: 1_000_000,
    few: 40_000,
    batch: 1,
    // An empty element of an array of arrays is two bytes, and 24 of lengths and places. Builders take 1,024 values at once.
    memory: Memory { bytes: 1 << 20, per_byte: 200 },
    begin: || Box::new(Single { kind: TypeKind::Int }),
};

pub(crate) static COPY: Kind = Kind {
    name: "copy",
    cases: 200_000,
    few: 4_000,
    batch: 1,
    // An empty line is a row of NULLs.
    memory: Memory { bytes: 4 << 20, per_byte: 300 },
    begin: || Box::new(Copied { has_key: true }),
};

const WORDS: [&[u8]; 26] = [
    b"\\N",
    b"\t",
    b"\n",
    b"\\",
    b"\\\\",
    b"{",
    b"}",
    b"{}",
    b"{{",
    b"}}",
    b",",
    b"\"",
    b"NULL",
    b"[0:1]=",
    b"infinity",
    b"-infinity",
    b" BC",
    b"-",
    b":",
    b"+14:00",
    b"24:00:00",
    b"mons",
    b" years ",
    b"\\x",
    b"\xff\xfe",
    "中".as_bytes(),
];

/// The text of a value, mostly a right one.
pub(crate) fn value_text(kind: &TypeKind, random: &mut Random) -> Vec<u8> {
    let number = |random: &mut Random| (random.bits() >> random.below(64)) as i64;
    let digits = |count: u64, random: &mut Random| -> String {
        (0..=random.below(count + 1)).map(|_| char::from(b'0' + random.below(10) as u8)).collect()
    };
    if random.chance(0.02) {
        return one_of(&NUMBERS, random).as_bytes().to_vec();
    }
    let day = |random: &mut Random| {
        format!("{:04}-{:02}-{:02}", 1 + random.below(9_999), 1 + random.below(12), 1 + random.below(28))
    };
    let clock = |random: &mut Random| {
        let micros = random.below(86_400_000_000);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
    };
    let text = match kind {
        TypeKind::Boolean => one_of(&["t", "f"], random).to_owned(),
        TypeKind::TinyInt => (number(random) as i8).to_string(),
        TypeKind::SmallInt => (number(random) as i16).to_string(),
        TypeKind::Int => (number(random) as i32).to_string(),
        TypeKind::BigInt => number(random).to_string(),
        TypeKind::Decimal { precision, scale } => {
            format!("-{}.{}", digits(u64::from(precision - scale), random), digits(u64::from(*scale), random))
        }
        TypeKind::Float | TypeKind::Double => f64::from_bits(random.bits()).to_string(),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => format!("\\x{:016x}", random.bits()),
        TypeKind::Date => day(random),
        TypeKind::Time(_) => clock(random),
        TypeKind::Timestamp(_) => format!("{} {}", day(random), clock(random)),
        TypeKind::TimestampLtz(_) => format!("{} {}+00", day(random), clock(random)),
        TypeKind::IntervalYearMonth => format!("{} years {} mons", random.below(100), random.below(12)),
        TypeKind::IntervalDayTime => format!("{} days -{}", random.below(100), clock(random)),
        TypeKind::Array(element) => {
            let items: Vec<String> = (0..random.below(4))
                .map(|_| {
                    let item = String::from_utf8_lossy(&value_text(&element.kind, random)).into_owned();
                    let is_bare =
                        matches!(element.kind, TypeKind::Array(_)) || !item.contains([',', '"', ' ', '{', '\\']);
                    if is_bare && !item.is_empty() { item } else { format!("{item:?}") }
                })
                .collect();
            format!("{{{}}}", items.join(","))
        }
        _ => {
            one_of(&["", "plain", "中文 🙂", "a,b\"c\\d", "NULL", "longer than anything that fits into eight"], random)
                .to_owned()
        }
    };
    text.into_bytes()
}

/// A value of each type.
struct Single {
    kind: TypeKind,
}

impl Decoder for Single {
    fn draw(&mut self, random: &mut Random) -> Input {
        let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
        let precision = 1 + random.below(38) as u8;
        self.kind = random
            .pick(&[
                TypeKind::Boolean,
                TypeKind::TinyInt,
                TypeKind::Int,
                TypeKind::BigInt,
                TypeKind::Decimal { precision, scale: random.clone().below(u64::from(precision) + 1) as u8 },
                TypeKind::Float,
                TypeKind::Double,
                TypeKind::STRING,
                TypeKind::BYTES,
                TypeKind::Date,
                TypeKind::Time(3),
                TypeKind::Timestamp(0),
                TypeKind::Timestamp(6),
                TypeKind::Timestamp(9),
                TypeKind::TimestampLtz(3),
                TypeKind::IntervalYearMonth,
                TypeKind::IntervalDayTime,
                array(TypeKind::STRING),
                array(array(TypeKind::Int)),
                array(array(array(TypeKind::Timestamp(3)))),
            ])
            .clone();
        let mut text = value_text(&self.kind, random);
        let other = value_text(&self.kind, random);
        if random.chance(0.8) {
            mutate(&mut text, &other, &WORDS, random);
        }
        vec![text]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let value = match read_value(&self.kind, &input[0]) {
            Ok(value) => value,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert!(error.message().len() < 1_000, "a message is short whatever the value is");
                return false;
            }
        };
        // What a value says of itself is read as the same value.
        let again = match (&value, &self.kind) {
            (Value::Integer(n), TypeKind::TinyInt | TypeKind::Int | TypeKind::BigInt) => Some(n.to_string()),
            (Value::Decimal(n), TypeKind::Decimal { precision, scale }) => {
                assert!(n.unsigned_abs() < 10_u128.pow(u32::from(*precision)), "{n} of {}", self.kind);
                Some(format!("{n}e-{scale}"))
            }
            (Value::Bytes(bytes), _) => {
                Some(format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            (Value::Double(x), _) => Some(x.to_string()),
            _ => None,
        };
        if let Some(again) = again {
            let read = read_value(&self.kind, again.as_bytes()).expect("it was a value");
            // NaN is not equal to itself.
            assert_eq!(format!("{read:?}"), format!("{value:?}"), "{again}");
        }
        true
    }
}

/// Rows of a COPY.
struct Copied {
    has_key: bool,
}

impl Decoder for Copied {
    fn draw(&mut self, random: &mut Random) -> Input {
        self.has_key = random.chance(0.7);
        let [readings, _] = tables(self.has_key, false);
        let mut rows = Vec::new();
        for _ in 0..=random.below(4) {
            if random.chance(0.5) {
                rows.extend(random.pick(&recorded().rows).clone());
                continue;
            }
            for (i, column) in readings.schema.columns.iter().enumerate() {
                rows.extend_from_slice(if i == 0 { b"" } else { b"\t" });
                let text = value_text(&column.sql_type.kind, random);
                if random.chance(0.15) { rows.extend_from_slice(b"\\N") } else { rows.extend(escaped(&text)) }
            }
            rows.push(b'\n');
        }
        let other = random.pick(&recorded().rows).clone();
        if random.chance(0.8) {
            mutate(&mut rows, &other, &WORDS, random);
        }
        vec![rows]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let [readings, _] = tables(self.has_key, false);
        match read_copy(&readings, &input[0]) {
            Ok(batches) => {
                for batch in &batches {
                    for column in &batch.columns {
                        assert_eq!(column.len(), batch.len());
                        column.to_data().validate_full().expect("a column holds what it says");
                    }
                }
                true
            }
            Err(error) => {
                assert!(error.kind() == ErrorKind::Invalid && error.remedy().is_some(), "{error}");
                false
            }
        }
    }
}

/// A value as COPY writes it.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out
}
