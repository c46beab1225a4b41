//! Telemetry of 2,000 devices in 24 columns: a row per device every 15 seconds, roughly in the order of time.
//!
//! The values behave as such values do: names that repeat, readings with a fixed number of decimals that wander slowly, counters
//! that grow, states that hardly ever change, an alarm now and then.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int32Array, Int64Array, TimestampMillisecondArray,
};
use gridhouse_base::{Column, Schema, TypeKind};

use crate::draw::{draw, put_digits, wave};
use crate::readings::START_MILLIS;

/// How many devices there are.
pub const DEVICES: u64 = 2_000;

/// Milliseconds between two rows of a device.
pub const EVERY_MILLIS: i64 = 15_000;

/// What an alarm says.
const ALARMS: [&str; 4] = ["OVERLOAD", "UNDERVOLTAGE", "COMMUNICATION", "DOOR OPEN"];

/// The columns with their SQL types.
pub const COLUMNS: [(&str, &str); 24] = [
    ("device_id", "BIGINT"),
    ("seen", "TIMESTAMP(3)"),
    ("site", "STRING"),
    ("feeder", "STRING"),
    ("state", "INT"),
    ("quality", "SMALLINT"),
    ("volt_a_kv", "DOUBLE"),
    ("volt_b_kv", "DOUBLE"),
    ("volt_c_kv", "DOUBLE"),
    ("current_a", "DOUBLE"),
    ("current_b", "DOUBLE"),
    ("current_c", "DOUBLE"),
    ("active_kw", "DOUBLE"),
    ("reactive_kvar", "DOUBLE"),
    ("power_factor", "DOUBLE"),
    ("frequency_hz", "DOUBLE"),
    ("energy_kwh", "BIGINT"),
    ("temperature_c", "DOUBLE"),
    ("humidity", "INT"),
    ("tap_position", "INT"),
    ("breaker_closed", "BOOLEAN"),
    ("alarm", "STRING"),
    ("firmware", "STRING"),
    ("signal_dbm", "INT"),
];

/// The columns.
pub fn schema() -> Schema {
    let kind = |name: &str| match name {
        "BIGINT" => TypeKind::BigInt,
        "TIMESTAMP(3)" => TypeKind::Timestamp(3),
        "STRING" => TypeKind::STRING,
        "INT" => TypeKind::Int,
        "SMALLINT" => TypeKind::SmallInt,
        "DOUBLE" => TypeKind::Double,
        _ => TypeKind::Boolean,
    };
    Schema::new(COLUMNS.iter().map(|(name, sql_type)| Column::new(*name, kind(sql_type).nullable())).collect())
}

/// One row's place: which row, device and round it is.
struct Place {
    seed: u64,
    row: u64,
    device: u64,
    round: u64,
}

impl Place {
    /// A number of this row.
    fn noise(&self, column: u64) -> u64 {
        draw(self.seed, 64 + column, self.row)
    }

    /// A number of this device.
    fn own(&self, column: u64) -> u64 {
        draw(self.seed, 128 + column, self.device)
    }

    /// How loaded the device is, from 0 to 720 and back within six hours.
    fn load(&self) -> u64 {
        wave(self.round + self.own(10) % 1440, 720)
    }

    fn volt(&self, column: u64) -> f64 {
        let slow = wave(self.round + self.own(7) % 2000, 1000) / 4;
        (10_000 + self.own(6) % 400 + slow + self.noise(column) % 21) as f64 / 1000.0
    }

    fn current(&self, column: u64) -> f64 {
        (self.own(9) % 2000 + self.load() * 2 + self.noise(column) % 50) as f64 / 10.0
    }
}

/// The rows `first..first + count`.
pub fn rows(seed: u64, first: u64, count: u64) -> Vec<ArrayRef> {
    let places: Vec<Place> =
        (first..first + count).map(|row| Place { seed, row, device: row % DEVICES, round: row / DEVICES }).collect();
    let long = |f: &dyn Fn(&Place) -> i64| -> ArrayRef { Arc::new(places.iter().map(f).collect::<Int64Array>()) };
    let int = |f: &dyn Fn(&Place) -> u64| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(places.iter().map(|p| f(p) as i32)))
    };
    let double =
        |f: &dyn Fn(&Place) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(places.iter().map(f))) };
    let text = |f: &dyn Fn(&Place, &mut Vec<u8>)| -> ArrayRef {
        let mut builder = StringBuilder::new();
        let mut bytes = Vec::new();
        for place in &places {
            bytes.clear();
            f(place, &mut bytes);
            let value = std::str::from_utf8(&bytes).expect("letters and digits are UTF-8");
            builder.append_option((!value.is_empty()).then_some(value));
        }
        Arc::new(builder.finish())
    };
    let seen = places.iter().map(|p| START_MILLIS + p.round as i64 * EVERY_MILLIS + (p.noise(1) % 500) as i64);
    let quality = places.iter().map(|p| if p.noise(5) % 1000 < 3 { 64 } else { 192 });
    vec![
        long(&|p| 100_000 + p.device as i64),
        Arc::new(TimestampMillisecondArray::from_iter_values(seen)),
        text(&|p, out| {
            out.extend_from_slice(b"substation-");
            put_digits(out, p.device / 40, 5);
        }),
        text(&|p, out| {
            out.push(b'F');
            put_digits(out, p.device % 40, 3);
        }),
        int(&|p| if p.noise(4) % 1000 < 5 { 2 } else { 1 }),
        Arc::new(Int16Array::from_iter_values(quality)),
        double(&|p| p.volt(6)),
        double(&|p| p.volt(7)),
        double(&|p| p.volt(8)),
        double(&|p| p.current(9)),
        double(&|p| p.current(10)),
        double(&|p| p.current(11)),
        double(&|p| (p.own(12) % 20_000 + p.load() * 20 + p.noise(12) % 200) as f64 / 10.0),
        double(&|p| (p.own(13) % 5_000 + p.load() * 4 + p.noise(13) % 100) as f64 / 10.0),
        double(&|p| (900 + p.noise(14) % 100) as f64 / 1000.0),
        double(&|p| (49_950 + draw(p.seed, 200, p.round) % 100 + p.noise(15) % 3) as f64 / 1000.0),
        long(&|p| (p.own(16) % 10_000_000 + p.round * (10 + p.own(17) % 20) + p.noise(16) % 10) as i64),
        double(&|p| {
            let slow = wave(p.round + p.own(19) % 5760, 2880) / 16;
            (150 + p.own(18) % 200 + slow + p.noise(17) % 5) as f64 / 10.0
        }),
        int(&|p| 30 + p.own(20) % 40 + p.noise(18) % 5),
        int(&|p| 1 + (p.own(21) % 17 + p.round / 500) % 17),
        Arc::new(places.iter().map(|p| Some(p.noise(20) % 2000 != 0)).collect::<BooleanArray>()),
        text(&|p, out| {
            if p.noise(21) % 500 == 0 {
                out.extend_from_slice(ALARMS[(p.noise(21) / 500 % 4) as usize].as_bytes());
            }
        }),
        text(&|p, out| {
            out.extend_from_slice(b"v2.");
            put_digits(out, p.own(22) % 5, 1);
            out.push(b'.');
            put_digits(out, p.own(23) % 10, 1);
        }),
        int(&|p| (50 + p.own(24) % 30 + p.noise(23) % 9).wrapping_neg()),
    ]
}
