//! Measures the encodings of segments: `cargo run --release -p gridhouse-store --example encodings [rows] [directory]`.
//!
//! Two tables are drawn: 24 columns of device telemetry (a thousand devices, each reporting every five seconds, with jitter;
//! values that wander as measured values do) and a table of rows of about 100 bytes. Per column: bits per value, the form
//! of the first chunk, and median nanoseconds per value to encode, to decode a chunk, to gather every 40th row of a chunk, and to
//! get one value of a chunk at random, from bytes to array. With a directory, the tables are written there as CSV, for
//! comparison with other formats.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use bytes::Bytes;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::random::Random;
use gridhouse_base::{TypeKind, Value};
use gridhouse_store::encoding::{CHUNK_ROWS, Effort, EncodedColumn, GatherColumn, encode};

struct Table {
    name: &'static str,
    columns: Vec<(&'static str, TypeKind)>,
    rows: Vec<Vec<Value>>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rows = arguments.next().map_or(262_144, |rows| rows.parse().expect("a number of rows"));
    let directory = arguments.next();
    for table in [telemetry(rows), hundred_bytes(rows)] {
        measure(&table);
        if let Some(directory) = &directory {
            let path = std::path::Path::new(directory).join(format!("{}.csv", table.name));
            std::fs::write(&path, csv(&table)).expect("the directory can be written");
        }
    }
}

/// What a device is doing.
struct Device {
    volts: f64,
    amperes: f64,
    oil: f64,
    energy: i128,
    tap: i64,
    state: usize,
}

fn telemetry(rows: usize) -> Table {
    use TypeKind::{BigInt, Boolean, Decimal, Double, Float, Int, SmallInt, Timestamp, TinyInt};
    const TEXT: TypeKind = TypeKind::STRING;
    let columns = vec![
        ("event_id", BigInt),
        ("device_id", Int),
        ("device_code", TEXT),
        ("station", TEXT),
        ("measured_at", Timestamp(3)),
        ("received_at", Timestamp(6)),
        ("status", TEXT),
        ("quality", SmallInt),
        ("voltage_a", Double),
        ("voltage_b", Double),
        ("voltage_c", Double),
        ("current_a", Double),
        ("current_b", Double),
        ("current_c", Double),
        ("active_power", Double),
        ("reactive_power", Double),
        ("power_factor", Double),
        ("frequency", Double),
        ("oil_temperature", Float),
        ("energy_kwh", Decimal { precision: 18, scale: 2 }),
        ("tap_position", TinyInt),
        ("breaker_closed", Boolean),
        ("alarm_code", Int),
        ("harmonic_index", Double),
    ];
    let random = &mut Random::new(2026);
    let states = ["RUNNING", "STANDBY", "MAINTENANCE", "FAULT"];
    let devices = 1000;
    let mut all: Vec<Device> = (0..devices)
        .map(|_| Device {
            volts: 10_000.0 + 300.0 * (random.unit() - 0.5),
            amperes: 20.0 + 380.0 * random.unit(),
            oil: 35.0 + 20.0 * random.unit(),
            energy: random.between(1_000_000, 900_000_000).into(),
            tap: random.between(-8, 8),
            state: 0,
        })
        .collect();
    let mut now = 1_790_000_000_000_000_i64;
    let mut order: Vec<usize> = (0..devices).collect();
    let round = |value: f64, places: i32| (value * 10_f64.powi(places)).round() / 10_f64.powi(places);
    let text = |text: String| Value::Text(text.into());
    let normal = |random: &mut Random| (0..4).map(|_| random.unit()).sum::<f64>() - 2.0;
    let row = |i: usize| {
        if i.is_multiple_of(devices) {
            // Devices report in nearly the same order each round.
            for at in 0..devices - 4 {
                order.swap(at, at + random.below(4) as usize);
            }
        }
        let id = order[i % devices];
        let device = &mut all[id];
        now += 3_000 + random.between(0, 4_000);
        device.volts += 5.0 * normal(random) + (10_000.0 - device.volts) * 0.02;
        device.amperes = (device.amperes + 2.0 * normal(random)).clamp(0.0, 600.0);
        device.oil += 0.1 * normal(random);
        if random.chance(0.002) {
            device.state = random.below(4) as usize;
        }
        if random.chance(0.001) {
            device.tap = (device.tap + random.between(-1, 1)).clamp(-8, 8);
        }
        let factor = 0.9 + 0.05 * normal(random).abs().min(1.9);
        let volts = [device.volts, device.volts + 3.0 * normal(random), device.volts + 3.0 * normal(random)];
        let amperes = [device.amperes, device.amperes * 1.01, device.amperes * 0.99 + 0.2 * normal(random)];
        let power = 1.732 * device.volts * device.amperes / 1000.0 * factor;
        device.energy += (power * 100.0 / 720.0) as i128;
        let measured = now / 1000 - random.between(20, 90);
        vec![
            Value::Integer(7_000_000 + i as i64),
            Value::Integer(100_000 + id as i64),
            text(format!("TR-{:02}-{:06}", id % 40, 100_000 + id)),
            text(format!("{} 变电站", ["城东", "城西", "高新", "滨江", "临港"][id % 5])),
            Value::Integer(measured),
            Value::Integer(now),
            text(states[device.state].to_owned()),
            Value::Integer(if random.chance(0.01) { random.between(1, 5) } else { 0 }),
            Value::Double(round(volts[0], 1)),
            Value::Double(round(volts[1], 1)),
            Value::Double(round(volts[2], 1)),
            Value::Double(round(amperes[0], 2)),
            Value::Double(round(amperes[1], 2)),
            Value::Double(round(amperes[2], 2)),
            Value::Double(round(power, 3)),
            Value::Double(round(power * (1.0 - factor * factor).abs().sqrt(), 3)),
            Value::Double(round(factor, 3)),
            Value::Double(round(50.0 + 0.02 * normal(random), 2)),
            Value::Float(round(device.oil, 1) as f32),
            Value::Decimal(device.energy),
            Value::Integer(device.tap),
            Value::Boolean(device.state < 2),
            if random.chance(0.02) { Value::Integer(1000 + random.between(0, 60)) } else { Value::Null },
            Value::Double((0.01 + 0.002 * normal(random)).abs().sqrt()),
        ]
    };
    Table { name: "telemetry", columns, rows: (0..rows).map(row).collect() }
}

fn hundred_bytes(rows: usize) -> Table {
    use TypeKind::{BigInt, Double, Timestamp};
    let columns = vec![
        ("id", BigInt),
        ("name", TypeKind::STRING),
        ("region", TypeKind::STRING),
        ("updated_at", Timestamp(3)),
        ("rated_kw", Double),
        ("load_kw", Double),
        ("peak_kw", Double),
        ("loss_rate", Double),
        ("score", Double),
        ("remark", TypeKind::STRING),
    ];
    let random = &mut Random::new(99);
    let words = ["normal", "checked", "replaced", "meter", "phase", "line", "by", "crew", "ok", "pending", "relay"];
    let regions = ["north", "south", "east", "west", "centre"];
    let cents = |random: &mut Random, limit: i64| Value::Double(random.between(0, limit) as f64 / 100.0);
    let row = |_| {
        let id = random.below(10_000_000) as i64;
        let remark: Vec<&str> = (0..random.between(2, 5)).map(|_| *random.pick(&words)).collect();
        vec![
            Value::Integer(id),
            Value::Text(format!("feeder {id:08}").into()),
            Value::Text(regions[id as usize % 5].into()),
            Value::Integer(1_790_000_000_000 + random.between(0, 86_400_000)),
            Value::Double((random.between(1, 40) * 50) as f64),
            cents(random, 200_000),
            cents(random, 300_000),
            Value::Double(random.between(0, 9_999) as f64 / 10_000.0),
            Value::Double(random.unit()),
            Value::Text(remark.join(" ").into()),
        ]
    };
    Table { name: "hundred_bytes", columns, rows: (0..rows).map(row).collect() }
}

fn measure(table: &Table) {
    let clock = SystemClock::new();
    let time = |work: &mut dyn FnMut()| {
        let from = clock.monotonic();
        work();
        (clock.monotonic() - from).as_nanos() as f64
    };
    let rows = table.rows.len();
    println!("{}: {rows} rows", table.name);
    println!(
        "{:>16} {:>9} {:>7} {:>7} {:>8} {:>8} {:>8} {:>8}  form of the first chunk",
        "column", "bytes", "bits", "Arrow", "encode", "decode", "gather", "single"
    );
    let (mut total, mut total_plain) = (0, 0);
    let random = &mut Random::new(1);
    for (c, (name, kind)) in table.columns.iter().enumerate() {
        let values: Vec<&Value> = table.rows.iter().map(|row| &row[c]).collect();
        let chunks: Vec<ArrayRef> = values.chunks(CHUNK_ROWS).map(|chunk| Value::array_of(chunk, kind)).collect();
        let plain: usize = chunks.iter().map(|chunk| plain_bytes(chunk)).sum();
        let data_type = kind.arrow();
        let mut encoded: Vec<Bytes> = Vec::new();
        let encode_ns = median(chunks.iter().map(|chunk| {
            let mut out = Vec::new();
            let ns = time(&mut || {
                encode(chunk, Effort::Small, &mut out);
            });
            encoded.push(out.into());
            ns / chunk.len() as f64
        }));
        let bytes: usize = encoded.iter().map(Bytes::len).sum();
        let parse = |k: usize| EncodedColumn::parse(encoded[k].clone(), &data_type, chunks[k].len()).expect("sound");
        let rounds = || (0..8).flat_map(|_| chunks.iter().enumerate());
        let decode_ns = median(rounds().map(|(k, chunk)| {
            time(&mut || assert_eq!(parse(k).decode().expect("sound").len(), chunk.len())) / chunk.len() as f64
        }));
        let gather_ns = median(rounds().map(|(k, chunk)| {
            let positions: Vec<u32> = (0..chunk.len() as u32).step_by(40).collect();
            let ns = time(&mut || {
                let mut out = GatherColumn::new(&data_type, positions.len());
                parse(k).gather(&positions, &mut out).expect("sound");
                assert_eq!(out.finish().expect("sound").len(), positions.len());
            });
            ns / positions.len() as f64
        }));
        let single_ns = median((0..200).map(|_| {
            let places: Vec<usize> = (0..100).map(|_| random.below(rows as u64) as usize).collect();
            let mut out = GatherColumn::new(&data_type, places.len());
            let ns = time(&mut || {
                for place in &places {
                    let position = [(place % CHUNK_ROWS) as u32];
                    parse(place / CHUNK_ROWS).gather(&position, &mut out).expect("sound");
                }
            });
            ns / places.len() as f64
        }));
        println!(
            "{name:>16} {bytes:>9} {:>7.2} {:>7.2} {encode_ns:>8.2} {decode_ns:>8.2} {gather_ns:>8.2} {single_ns:>8.2}  {}",
            bytes as f64 * 8.0 / rows as f64,
            plain as f64 * 8.0 / rows as f64,
            parse(0).form()
        );
        total += bytes;
        total_plain += plain;
    }
    println!("{:>16} {total:>9}; {total_plain} as Arrow; {:.2} bytes a row", "all", total as f64 / rows as f64);
}

/// The middle one: what other programs do to the machine meanwhile is left out.
fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What the array's values take in Arrow's own layout, without padding.
fn plain_bytes(array: &dyn Array) -> usize {
    let validity = if array.null_count() > 0 { array.len().div_ceil(8) } else { 0 };
    validity
        + match array.data_type() {
            DataType::Boolean => array.len().div_ceil(8),
            DataType::Utf8 => array.len() * 4 + array.as_string::<i32>().values().len(),
            other => array.len() * other.primitive_width().expect("the tables have plain types"),
        }
}

fn csv(table: &Table) -> String {
    let mut out = table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
    for row in &table.rows {
        out.push('\n');
        for (c, (value, (_, kind))) in row.iter().zip(&table.columns).enumerate() {
            let comma = if c > 0 { "," } else { "" };
            let written = match (value, kind) {
                (Value::Null, _) => write!(out, "{comma}"),
                (Value::Decimal(value), _) => write!(out, "{comma}{}.{:02}", value / 100, value % 100),
                (Value::Double(value), _) => write!(out, "{comma}{value}"),
                (Value::Float(value), _) => write!(out, "{comma}{value}"),
                (Value::Boolean(value), _) => write!(out, "{comma}{value}"),
                (Value::Text(value), _) => write!(out, "{comma}{value}"),
                (Value::Integer(value), _) => write!(out, "{comma}{value}"),
                (other, kind) => unreachable!("{other:?} of {kind} is not in these tables"),
            };
            written.expect("text grows");
        }
    }
    out
}
