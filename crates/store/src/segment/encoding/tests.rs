//! Columns of every type and of many shapes come back whole and singly; damaged bytes never do harm.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray, UInt32Array};
use arrow_select::take::take;
use bytes::Bytes;
use gridhouse_base::random::Random;
use gridhouse_base::{ErrorKind, Field, TypeKind, Value};

use super::*;

fn encoded(array: &ArrayRef) -> (Vec<u8>, Encoded) {
    let mut out = Vec::new();
    let seen = encode(array, Effort::Small, &mut out);
    assert!(out.len().is_multiple_of(8), "a column of {} takes {} bytes", array.data_type(), out.len());
    (out, seen)
}

/// Encodes `array` and checks that it comes back whole and row by row, and that what was seen of it is true.
fn check(array: &ArrayRef) -> usize {
    let (bytes, seen) = encoded(array);
    let size = bytes.len();
    let column = EncodedColumn::parse(bytes.into(), array.data_type(), array.len()).unwrap();
    let whole = column.decode().unwrap();
    assert_eq!(whole.to_data(), array.to_data(), "{} rows of {}", array.len(), array.data_type());
    whole.to_data().validate_full().unwrap();
    // Backwards, and every third row twice.
    let positions: Vec<u32> =
        (0..array.len() as u32).rev().flat_map(|row| if row % 3 == 0 { vec![row; 2] } else { vec![row] }).collect();
    let mut out = GatherColumn::new(array.data_type(), positions.len());
    let (front, back) = positions.split_at(positions.len() / 2);
    column.gather(front, &mut out).unwrap();
    column.gather(back, &mut out).unwrap();
    assert_eq!(out.len(), positions.len());
    let expected = take(array, &UInt32Array::from(positions), None).unwrap();
    assert_eq!(out.finish().unwrap().to_data(), expected.to_data(), "single rows of {}", array.data_type());

    assert_eq!(seen.nulls as usize, array.logical_nulls().map_or(0, |nulls| nulls.null_count()));
    for bound in [&seen.min, &seen.max].into_iter().flatten() {
        assert_eq!((bound.len(), bound.null_count(), bound.data_type()), (1, 0, array.data_type()));
    }
    size
}

fn types() -> Vec<TypeKind> {
    let int = TypeKind::Int.nullable();
    vec![
        TypeKind::Null,
        TypeKind::Boolean,
        TypeKind::TinyInt,
        TypeKind::SmallInt,
        TypeKind::Int,
        TypeKind::BigInt,
        TypeKind::Float,
        TypeKind::Double,
        TypeKind::Decimal { precision: 12, scale: 2 },
        TypeKind::Decimal { precision: 38, scale: 6 },
        TypeKind::Char(4),
        TypeKind::STRING,
        TypeKind::Binary(4),
        TypeKind::BYTES,
        TypeKind::Date,
        TypeKind::Time(3),
        TypeKind::Timestamp(3),
        TypeKind::Timestamp(6),
        TypeKind::TimestampLtz(9),
        TypeKind::IntervalYearMonth,
        TypeKind::IntervalDayTime,
        TypeKind::Array(Box::new(int.clone())),
        TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(int.clone())),
        TypeKind::Row(vec![Field { name: "a".into(), sql_type: int }]),
    ]
}

/// 峰 and 平 begin with the same byte, which is no text; a NULL between them is read as what all texts begin with.
#[test]
fn what_texts_share_ends_between_characters() {
    let rows = |texts: &[Option<&str>]| check(&(Arc::new(StringArray::from(texts.to_vec())) as ArrayRef));
    rows(&[Some("时段峰"), None, Some("时段平")]);
    rows(&[None, Some("峰"), Some("平"), None]);
    let long = "a".to_owned() + &"电".repeat(100);
    rows(&[None, Some(&long), Some(&(long.clone() + "网")), None]);
    // Names of their own, so that no dictionary is made of them.
    let many: Vec<Option<String>> =
        (0..3_000).map(|i| (i % 3 > 0).then(|| format!("时段{}{i}", ["峰", "平"][i % 2]))).collect();
    rows(&many.iter().map(Option::as_deref).collect::<Vec<_>>());
}

/// A number of some shape for every row: all forms of streams are drawn.
fn numbers(random: &mut Random, rows: usize) -> Vec<i64> {
    let start = random.between(-1000, 1000);
    let step = random.between(-50, 50);
    let wide = i64::MAX >> random.below(64);
    let known: Vec<i64> = (0..1 + random.below(40)).map(|_| random.between(-wide, wide)).collect();
    let shape = random.below(8);
    let mut last = start;
    let draw = |row: usize| {
        last = match shape {
            0 => start,
            1 => start + step * row as i64,
            2 => start + step * row as i64 + random.between(0, 9),
            3 => *random.pick(&known),
            4 if random.chance(0.05) => *random.pick(&known),
            5 if random.chance(0.03) => random.between(-wide, wide),
            5 => random.between(0, 20),
            6 => random.between(-wide, wide),
            7 => random.bits() as i64,
            _ => last,
        };
        last
    };
    (0..rows).map(draw).collect()
}

fn value(kind: &TypeKind, n: i64, random: &mut Random) -> Value {
    match kind {
        TypeKind::Null => Value::Null,
        TypeKind::Boolean => Value::Boolean(n & 1 == 1),
        TypeKind::Float if random.chance(0.02) => Value::Float(f32::from_bits(random.bits() as u32)),
        TypeKind::Float => Value::Float((n % 100_000) as f32 / 10.0),
        TypeKind::Double if random.chance(0.02) => Value::Double(f64::from_bits(random.bits())),
        TypeKind::Double => Value::Double((n % 1_000_000_000) as f64 / 1000.0),
        TypeKind::Decimal { precision: 12, .. } => Value::Decimal(i128::from(n % 1_000_000_000_000)),
        TypeKind::Decimal { .. } => Value::Decimal(i128::from(n) << 40),
        TypeKind::Char(_) | TypeKind::Varchar(_) => Value::Text(format!("馈线 {n}").into()),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => Value::Bytes(n.to_le_bytes()[..(n & 7) as usize].into()),
        TypeKind::Array(element) => {
            Value::Array((0..n.rem_euclid(4)).map(|i| value(&element.kind, n + i, random)).collect())
        }
        TypeKind::Map(_, value_type) => {
            Value::Map(vec![(Value::Text(format!("k{n}").into()), value(&value_type.kind, n, random))])
        }
        TypeKind::Row(fields) => Value::Row(fields.iter().map(|f| value(&f.sql_type.kind, n, random)).collect()),
        _ => Value::Integer(n),
    }
}

fn drawn(kind: &TypeKind, rows: usize, random: &mut Random) -> ArrayRef {
    let nulls = *random.pick(&[0.0, 0.0, 0.01, 0.5, 0.95, 1.0]);
    let values: Vec<Value> = numbers(random, rows)
        .into_iter()
        .map(|n| if random.chance(nulls) { Value::Null } else { value(kind, n, random) })
        .collect();
    Value::array_of(&values.iter().collect::<Vec<_>>(), kind)
}

#[test]
fn drawn_columns_of_every_type_come_back() {
    let mut random = Random::new(11);
    for kind in types() {
        for rows in [0, 1, 2, 7, 33, 700, 2000] {
            for _ in 0..if rows > 100 { 12 } else { 4 } {
                check(&drawn(&kind, rows, &mut random));
            }
        }
        check(&drawn(&kind, CHUNK_ROWS, &mut random));
        check(&drawn(&kind, 1000, &mut random).slice(123, 456));
        check(&drawn(&kind, 1000, &mut random).slice(1000, 0));
    }
}

#[test]
fn odd_floating_point_numbers_keep_their_bits() {
    let odd = [
        0.0,
        -0.0,
        f64::NAN,
        f64::from_bits(0xFFF8_0000_0000_1234),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::MAX,
        9_007_199_254_740_993.0,
        0.1 + 0.2,
    ];
    for share in [1, 3, 50] {
        let double = |i: usize| {
            if i.is_multiple_of(share) { odd[i / share % odd.len()] } else { 230.0 + (i % 97) as f64 / 10.0 }
        };
        check(&(Arc::new(Float64Array::from_iter_values((0..3000).map(double))) as ArrayRef));
        let float = |i: usize| double(i) as f32;
        check(&(Arc::new(Float32Array::from_iter_values((0..3000).map(float))) as ArrayRef));
    }
}

#[test]
fn extreme_numbers_come_back() {
    let extremes = [i64::MIN, i64::MAX, 0, -1, i64::MIN + 1, 1 << 61, -(1 << 61), 1 << 56];
    for share in [1, 2, 100] {
        let number = |i: usize| if i.is_multiple_of(share) { extremes[i / share % extremes.len()] } else { 7 };
        for rows in [1, 2, 3, 9, 5000] {
            check(&(Arc::new(Int64Array::from_iter_values((0..rows).map(number))) as ArrayRef));
            check(&(Arc::new(Int64Array::from_iter_values((1..=rows).map(number))) as ArrayRef));
        }
    }
    let descending = Int64Array::from_iter_values((0..5000).map(|i| i64::MAX - i * 1_000_003));
    check(&(Arc::new(descending) as ArrayRef));
    let steep = Int64Array::from_iter_values((0..100).map(|i| i * (1_i64 << 54)));
    check(&(Arc::new(steep) as ArrayRef));
    for wide in [[i128::MIN, i128::MAX], [i128::MIN + 4, i128::MAX], [-1, i128::MAX], [i128::MIN, i128::MIN + 5]] {
        let wide = Decimal128Array::from_iter_values(wide).with_data_type(DataType::Decimal128(38, 0));
        check(&(Arc::new(wide) as ArrayRef));
    }
}

#[test]
fn what_instruments_deliver_is_small() {
    let bits = |array: ArrayRef| check(&array) as f64 * 8.0 / CHUNK_ROWS as f64;
    let rows = CHUNK_ROWS as i64;
    let mut random = Random::new(5);
    let longs = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let sequence = bits(longs((0..rows).map(|i| 1_700_000_000_000 + 1000 * i).collect()));
    assert!(sequence < 0.1, "{sequence} bits per number of a sequence");
    let uneven = bits(longs((0..rows).map(|i| 1_700_000_000_000 + 997 * i / 3 + random.between(0, 3)).collect()));
    assert!(uneven < 3.1, "{uneven} bits per time with a jitter of two bits");
    let outliers =
        bits(longs((0..rows).map(|_| if random.chance(0.004) { -999_999 } else { random.between(0, 200) }).collect()));
    assert!(outliers < 8.5, "{outliers} bits per number of eight bits with an outlier now and then");
    let held = bits(longs((0..rows).map(|i| (i / 500) * (i / 500) * 7_919).collect()));
    assert!(held < 0.2, "{held} bits per value that is held for 500 rows");
    let volts: Vec<f64> = (0..rows).map(|_| random.between(22_000, 24_000) as f64 / 100.0).collect();
    let volts = bits(Arc::new(Float64Array::from(volts)));
    assert!(volts < 11.1, "{volts} bits per voltage of eleven bits");
    let states = StringArray::from_iter_values((0..rows).map(|_| *random.pick(&["RUNNING", "STANDBY", "FAULT"])));
    let states = bits(Arc::new(states));
    assert!(states < 2.2, "{states} bits per state");
    let sparse: Int64Array = (0..rows).map(|i| (i % 100 == 0).then(|| random.between(0, 1000))).collect();
    let sparse = bits(Arc::new(sparse));
    assert!(sparse < 0.8, "{sparse} bits per value of a sparse column");
}

#[test]
fn bounds_and_order_are_those_of_the_values() {
    let mut random = Random::new(3);
    for _ in 0..200 {
        let rows = 1 + random.below(300) as usize;
        let array = drawn(&TypeKind::BigInt, rows, &mut random);
        let (_, seen) = encoded(&array);
        let values: Vec<i64> = array.as_primitive::<Int64Type>().iter().flatten().collect();
        let one = |bound: &Option<ArrayRef>| bound.as_ref().map(|bound| bound.as_primitive::<Int64Type>().value(0));
        assert_eq!(one(&seen.min), values.iter().min().copied());
        assert_eq!(one(&seen.max), values.iter().max().copied());
        assert_eq!(seen.is_sorted, values.len() == rows && values.is_sorted());
    }
    let seen = |array: ArrayRef| encoded(&array).1;
    let text = |bound: Option<ArrayRef>| bound.map(|bound| bound.as_string::<i32>().value(0).to_owned());
    let names = seen(Arc::new(StringArray::from(vec![Some("b"), None, Some("é"), Some("a")])));
    assert_eq!((text(names.min), text(names.max), names.is_sorted), (Some("a".into()), Some("é".into()), false));
    assert!(seen(Arc::new(StringArray::from(vec!["a", "a", "b"]))).is_sorted);
    let long = "x".repeat(300);
    let long = seen(Arc::new(StringArray::from(vec!["a", &long])));
    assert!(long.min.is_none() && long.max.is_none());
    let double = |bound: Option<ArrayRef>| bound.map(|bound| bound.as_primitive::<Float64Type>().value(0).to_bits());
    let zeros = seen(Arc::new(Float64Array::from(vec![0.0, 0.0])));
    assert_eq!((double(zeros.min), double(zeros.max)), (Some((-0.0_f64).to_bits()), Some(0.0_f64.to_bits())));
    assert!(!seen(Arc::new(Float64Array::from(vec![0.0, -0.0]))).is_sorted);
    let not_a_number = seen(Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])));
    assert!(not_a_number.min.is_none() && not_a_number.max.is_none() && !not_a_number.is_sorted);
    let wide = [Value::Decimal(i128::MAX / 3), Value::Decimal(-i128::MAX / 3)];
    let wide = Value::array_of(&wide.iter().collect::<Vec<_>>(), &TypeKind::Decimal { precision: 38, scale: 0 });
    let wide = seen(wide);
    assert_eq!(wide.min.unwrap().as_primitive::<Decimal128Type>().value(0), -i128::MAX / 3);
}

/// The chunks of a group's column, each as bytes.
fn chunks_of(column: &ArrayRef, effort: Effort) -> Option<Vec<Bytes>> {
    let group = GroupTexts::of(column.as_ref())?;
    let starts = (0..column.len()).step_by(CHUNK_ROWS);
    let chunk = |start: usize| {
        let rows = column.slice(start, CHUNK_ROWS.min(column.len() - start));
        let mut out = Vec::new();
        let seen = encode_within(rows.as_ref(), effort, (&group, start), &mut out);
        assert!(out.len().is_multiple_of(8));
        assert_eq!(seen.nulls as usize, rows.null_count());
        if rows.null_count() < rows.len() {
            let texts = || rows.as_string::<i32>().iter().flatten();
            let bound = |bound: &Option<ArrayRef>| bound.as_ref().unwrap().as_string::<i32>().value(0).to_owned();
            assert_eq!(
                (bound(&seen.min), bound(&seen.max)),
                (texts().min().unwrap().into(), texts().max().unwrap().into())
            );
            assert_eq!(seen.is_sorted, rows.null_count() == 0 && texts().is_sorted());
        }
        Bytes::from(out)
    };
    Some(starts.map(chunk).collect())
}

#[test]
fn chunks_of_a_group_share_a_dictionary() {
    let mut random = Random::new(41);
    // Some NULLs; texts in which the chunks differ; a chunk of NULLs; texts in order; empty ones.
    let row = |i: usize, random: &mut Random| match i / CHUNK_ROWS {
        1 => None,
        2 => Some(format!("feeder {:05}", i / 9)),
        3 => Some("x".repeat(random.below(3) as usize)),
        chunk => random.chance(0.9).then(|| format!("feeder {:05} of {chunk}", random.below(900))),
    };
    let texts: StringArray = (0..5 * CHUNK_ROWS + 77).map(|i| row(i, &mut random)).collect();
    let column: ArrayRef = Arc::new(texts);
    for effort in [Effort::Small, Effort::Quick] {
        let chunks = chunks_of(&column, effort).expect("most texts come many times");
        let first = || Ok(chunks[0].clone());
        let mut shared: Option<ArrayRef> = None;
        for (i, bytes) in chunks.iter().enumerate() {
            let rows = column.slice(i * CHUNK_ROWS, CHUNK_ROWS.min(column.len() - i * CHUNK_ROWS));
            let read = EncodedColumn::parse_within(bytes.clone(), &DataType::Utf8, rows.len(), &first).unwrap();
            assert_eq!(&read.decode().unwrap(), &rows, "chunk {i}");
            let positions: Vec<u32> = (0..rows.len() as u32).rev().collect();
            let mut singly = GatherColumn::new(&DataType::Utf8, rows.len());
            read.gather(&positions, &mut singly).unwrap();
            let expected = take(&rows, &UInt32Array::from(positions), None).unwrap();
            assert_eq!(&singly.finish().unwrap(), &expected, "single rows of chunk {i}");
            assert_eq!(EncodedColumn::leads_to_first(bytes), read.has_group_codes());
            assert_eq!(read.has_group_codes(), i > 1, "a chunk of NULLs has no codes");
            let Some(codes) = read.codes().unwrap() else { continue };
            let texts = read.dictionary().unwrap().unwrap();
            assert_eq!(&take(&texts, &codes, None).unwrap(), &rows, "codes of chunk {i}");
            assert_eq!(shared.get_or_insert(texts.clone()), &texts, "chunk {i} has the same texts");
        }
        let alone = EncodedColumn::parse(chunks[2].clone(), &DataType::Utf8, CHUNK_ROWS);
        assert_eq!(alone.unwrap_err().kind(), ErrorKind::Corrupt);
        let third = || Ok(chunks[2].clone());
        let elsewhere = EncodedColumn::parse_within(chunks[3].clone(), &DataType::Utf8, CHUNK_ROWS, &third);
        assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn groups_of_many_texts_have_no_dictionary() {
    let all = |text: &dyn Fn(usize) -> Option<String>, rows: usize| -> ArrayRef {
        Arc::new((0..rows).map(text).collect::<StringArray>())
    };
    let has = |column: ArrayRef| GroupTexts::of(column.as_ref()).is_some();
    let rows = 4 * CHUNK_ROWS;
    assert!(has(all(&|i| Some(format!("meter {:06}", i % 100)), rows)));
    assert!(!has(all(&|i| Some(format!("meter {i:06}")), rows)), "all differ");
    assert!(!has(all(&|i| Some(format!("meter {:06}", i % (CHUNK_ROWS + 1))), rows)), "more than a chunk has rows");
    assert!(!has(all(&|i| Some(format!("meter {:06}", i % 100)), CHUNK_ROWS)), "one chunk has its own");
    assert!(!has(all(&|i| Some("m".repeat(5_000 + i % 2)), rows)), "texts are long");
    assert!(!has(all(&|i| (i >= CHUNK_ROWS).then(|| format!("meter {:06}", i % 100)), rows)), "no text in front");
    assert!(!has(all(&|_| None, rows)));
}

#[test]
fn own_numbers_are_read_singly() {
    let values: Vec<i64> = (0..1000).map(|i| (1_i64 << 47) + i + i / 100 * 5).collect();
    let (bytes, _) = encoded(&(Arc::new(Int64Array::from(values.clone())) as ArrayRef));
    let column = EncodedColumn::parse(bytes.into(), &DataType::Int64, 1000).unwrap();
    assert!((0..1000).all(|row| column.u64_at(row) == values[row] as u64));
}

#[test]
fn hostile_bytes_are_refused_without_panic() {
    let mut random = Random::new(17);
    let mut refused = 0;
    for round in 0..4000 {
        let kinds = types();
        let kind = &kinds[round % kinds.len()];
        let rows = 1 + random.below(200) as usize;
        let array = drawn(kind, rows, &mut random);
        let mut bytes = encoded(&array).0;
        if random.chance(0.1) {
            bytes = (0..random.below(400)).map(|_| random.bits() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first %= 9;
            }
        }
        for _ in 0..=random.below(4) {
            // Heads lie in front: most of what can go wrong is there.
            let reach = if random.chance(0.5) { 64 } else { bytes.len() as u64 };
            if let Some(byte) = bytes.get_mut(random.below(reach.max(1)) as usize) {
                *byte = if random.chance(0.5) { random.bits() as u8 } else { *byte ^ (1 << random.below(8)) };
            }
        }
        if random.chance(0.2) {
            bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        }
        let rows = if random.chance(0.1) { random.below(20_000) as usize } else { rows };
        let outcome = EncodedColumn::parse(Bytes::from(bytes), &kind.arrow(), rows).and_then(|column| {
            let positions: Vec<u32> = (0..rows as u32).collect();
            let mut singly = GatherColumn::new(&kind.arrow(), rows);
            let singly = column.gather(&positions, &mut singly).and_then(|()| singly.finish());
            let whole = column.decode()?;
            assert_eq!(whole.len(), rows);
            // What decodes whole is the same singly.
            assert_eq!(whole.to_data(), singly?.to_data(), "{kind}");
            Ok(())
        });
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused} of 4000 were refused");
}
