//! No function panics, whatever it is called with; what it gives has the type and the length that it says.
//!
//! Every registered function is called with drawn numbers of arguments of drawn types, as constants and over columns: NULL,
//! empty, huge, negative, infinite, not ASCII. A failure names the seed; `GRIDHOUSE_SEED=… cargo test -p gridhouse-expr fuzz`
//! repeats it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::ArrayRef;
use chrono_tz::Tz;
use gridhouse_base::random::Random;
use gridhouse_base::{Field, TypeKind, Value};
use gridhouse_expr::functions::{self, Function, beyond_flink, resolve};
use gridhouse_expr::{EvalContext, Expr};

/// How often each function is called; most draws are refused by the types.
const CALLS: usize = 600;
const ROWS: usize = 5;

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "abc",
    "ABC",
    "1",
    "-1",
    "1.5",
    "1e400",
    "NaN",
    "电网",
    "😀é",
    "a,b,c",
    "a=1,b=2",
    "%",
    "_%",
    "\\",
    "(",
    "[a-z]+",
    "(a)(b)?",
    "(?=a)a",
    "$1",
    "$.a",
    "lax $..a[*]",
    "$[",
    "{\"a\":[1,{\"b\":null}]}",
    "[1,2",
    "DAY",
    "MONTH",
    "YEAR",
    "BOTH",
    "OBJECT",
    "NULL",
    "ERROR",
    "DEFAULT",
    "STRING",
    "ARRAY<STRING>",
    "yyyy-MM-dd",
    "HH:mm",
    "'",
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "2024-02-29",
    "2024-02-29 23:59:60",
    "9999-12-31 23:59:59.999",
    "true",
    "UTF-16",
    "GBK",
    "http://u:p@h:1/a?b=c#d",
    "HOST",
    "QUERY",
    "%5.2f|%-3d|%s",
    "%99999999d",
    "\n\r\u{85}",
    "a\u{300}",
    "aGVsbG8=",
    "x{2}",
    "$.a[?(@ > 1 && @.b == 'x')]",
];

const FIRST: &[&str] = &["DAY", "MONTH", "HOUR", "SECOND", "BOTH", "TRAILING", "NULL", "ABSENT"];

const WHOLE: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    5,
    10,
    37,
    100,
    255,
    256,
    -128,
    127,
    32_767,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    1_700_000_000,
];

const DOUBLES: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.5,
    1e-300,
    1e300,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e18,
    38.0,
];

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

fn text(random: &mut Random) -> &'static str {
    TEXTS[random.below(TEXTS.len() as u64) as usize]
}

fn kind(random: &mut Random, depth: usize) -> TypeKind {
    use TypeKind as T;
    let atoms = 20;
    match random.below(if depth == 0 { atoms } else { atoms + 3 }) {
        0 | 1 => T::STRING,
        2 => T::Char(3),
        3 => T::Varchar(5),
        4 | 5 => T::Int,
        6 => T::BigInt,
        7 => T::SmallInt,
        8 => T::TinyInt,
        9 => T::Double,
        10 => T::Float,
        11 => T::Decimal { precision: 10, scale: 2 },
        12 => T::Decimal { precision: 38, scale: 18 },
        13 => T::Boolean,
        14 => T::Date,
        15 => T::Time(0),
        16 => T::Timestamp([0, 3, 6, 9][random.below(4) as usize]),
        17 => T::TimestampLtz([0, 3, 6, 9][random.below(4) as usize]),
        18 => [T::BYTES, T::Binary(2), T::IntervalYearMonth, T::IntervalDayTime][random.below(4) as usize].clone(),
        19 => T::Null,
        20 => T::Array(Box::new(kind(random, depth - 1).nullable())),
        21 => T::Map(Box::new(T::STRING.not_null()), Box::new(kind(random, depth - 1).nullable())),
        _ => T::Row(vec![Field { name: "a".into(), sql_type: kind(random, depth - 1).nullable() }]),
    }
}

/// A value of `kind`; a literal's text is as long as its type says, a column's is not longer.
fn value(random: &mut Random, kind: &TypeKind, nulls: bool) -> Value {
    use TypeKind as T;
    if *kind == T::Null || (nulls && random.below(5) == 0) {
        return Value::Null;
    }
    let whole = *pick(random, WHOLE);
    match kind {
        T::Boolean => Value::Boolean(random.below(2) == 0),
        T::TinyInt => Value::Integer(i64::from(whole as i8)),
        T::SmallInt => Value::Integer(i64::from(whole as i16)),
        T::Int | T::IntervalYearMonth => Value::Integer(i64::from(whole as i32)),
        // From the year 1 to the year 9999, as SQL has it.
        T::Date => Value::Integer(whole.rem_euclid(3_652_059) - 719_162),
        T::Time(_) => Value::Integer(whole.rem_euclid(86_400_000)),
        T::Timestamp(p) | T::TimestampLtz(p) => {
            let second = gridhouse_base::types::timestamp_units_per_second(*p);
            // Nanoseconds reach from 1677 to 2262 only.
            let range = if second == 1_000_000_000 { 9_000_000_000 } else { 250_000_000_000 };
            Value::Integer((whole.rem_euclid(2 * range) - range) / 2 * second + whole.rem_euclid(second))
        }
        T::BigInt | T::IntervalDayTime => Value::Integer(whole),
        T::Float => Value::Float(*pick(random, DOUBLES) as f32),
        T::Double => Value::Double(*pick(random, DOUBLES)),
        T::Decimal { precision, .. } => {
            let limit = 10i128.pow(u32::from(*precision));
            Value::Decimal([0, 1, -1, limit - 1, 1 - limit, 12_345][random.below(6) as usize])
        }
        T::Char(n) => Value::Text(format!("{:<1$}", cut(text(random), *n), *n as usize).into()),
        T::Varchar(n) => Value::Text(cut(text(random), *n).into()),
        T::Binary(n) => Value::Bytes(vec![0xff; *n as usize].into()),
        T::Varbinary(_) => Value::Bytes(text(random).as_bytes().into()),
        T::Array(element) => Value::Array((0..random.below(4)).map(|_| value(random, &element.kind, true)).collect()),
        T::Map(key, item) => Value::Map(
            (0..random.below(4)).map(|_| (value(random, &key.kind, false), value(random, &item.kind, true))).collect(),
        ),
        T::Row(fields) => Value::Row(fields.iter().map(|field| value(random, &field.sql_type.kind, true)).collect()),
        T::Null => Value::Null,
    }
}

fn cut(text: &str, n: u32) -> String {
    text.chars().take(n as usize).collect()
}

/// An argument: a literal, or a column whose values are added to `columns`.
fn argument(random: &mut Random, kind: TypeKind, columns: &mut Vec<ArrayRef>) -> Expr {
    if kind == TypeKind::Null {
        return Expr::null(TypeKind::Null);
    }
    if random.below(2) == 0 {
        let value = value(random, &kind, false);
        return match &value {
            Value::Text(text) if kind == TypeKind::STRING => Expr::text(text),
            _ => Expr::literal(value, kind.not_null()),
        };
    }
    let nulls = random.below(2) == 0;
    let values: Vec<Value> = (0..ROWS).map(|_| value(random, &kind, nulls)).collect();
    columns.push(Value::array_of(&values.iter().collect::<Vec<_>>(), &kind));
    let sql_type = if nulls { kind.nullable() } else { kind.not_null() };
    Expr::column(columns.len() - 1, sql_type)
}

/// One call of `function`; whether it was accepted.
fn call(random: &mut Random, function: &'static Function) -> bool {
    let mut columns = Vec::new();
    let count = 1 + random.below(4) as usize - usize::from(random.below(8) == 0);
    let mut args: Vec<Expr> = Vec::with_capacity(count);
    for i in 0..count {
        // Many functions want a word first, or two of a kind.
        if i == 0 && random.below(5) == 0 {
            args.push(Expr::text(FIRST[random.below(FIRST.len() as u64) as usize]));
            continue;
        }
        let kind = match args.last() {
            Some(last) if random.below(2) == 0 => last.kind().clone(),
            _ => kind(random, 2),
        };
        args.push(argument(random, kind, &mut columns));
    }
    let _ = beyond_flink(function.name, &args);
    let Ok(expr) = resolve(function.name, args) else { return false };
    let ctx = EvalContext { now_micros: 1_709_647_629_123_456, zone: Tz::Asia__Shanghai, seed: 7, first_row: 0 };
    for expr in [&expr, &expr.fold(&ctx)] {
        let Ok(array) = expr.eval(&columns, ROWS, &ctx) else { continue };
        assert_eq!(array.data_type(), &expr.kind().arrow(), "{expr} yields its type");
        assert_eq!(array.len(), ROWS, "{expr} yields a value per row");
    }
    true
}

#[test]
fn no_function_panics() {
    let seed = std::env::var("GRIDHOUSE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    let mut never = Vec::new();
    for function in functions::all() {
        let mut accepted = 0;
        for i in 0..CALLS {
            let own = seed ^ (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let one = AssertUnwindSafe(|| call(&mut Random::new(own), function));
            match catch_unwind(one) {
                Ok(taken) => accepted += usize::from(taken),
                Err(_) => {
                    panic!("{} panics with GRIDHOUSE_SEED={seed}, call {i}; its message stands above", function.name)
                }
            }
        }
        if accepted == 0 {
            never.push(function.name);
        }
    }
    // Those take a shape of arguments that chance does not hit; they have cases of their own.
    let shy = ["FIELD", "JSON_VALUE", "JSON_QUERY", "MAP_FROM_ARRAYS"];
    never.retain(|name| !shy.contains(name));
    assert!(never.len() * 10 < functions::all().count(), "never accepted: {never:?}");
}
