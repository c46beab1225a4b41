//! Rows of 96 bytes with a key, as `cluster/bench` gives them to Fluss: a meter's last reading.
//!
//! A row is a function of its key and of the number of the write, so that every later write of a key changes it.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, TimestampMillisecondArray};
use gridhouse_base::{Column, Schema, TypeKind};

use crate::draw::{Shuffle, draw, put_digits, put_hex};

/// The moment of the first write, 2026-01-01 00:00:00, in milliseconds.
pub const START_MILLIS: i64 = 1_767_225_600_000;

/// How many sites there are.
pub const SITES: u64 = 5_000;

/// Bytes of a row's values.
pub const ROW_BYTES: u64 = 96;

/// The columns, as SQL declares them.
pub const COLUMNS: &str =
    "id BIGINT NOT NULL, site STRING, load_mw DOUBLE, volt_kv DOUBLE, state INT, seen TIMESTAMP(3), note STRING";

/// The columns.
pub fn schema() -> Schema {
    let column = |name: &str, kind: TypeKind| Column::new(name, kind.nullable());
    Schema::new(vec![
        Column::new("id", TypeKind::BigInt.not_null()),
        column("site", TypeKind::STRING),
        column("load_mw", TypeKind::Double),
        column("volt_kv", TypeKind::Double),
        column("state", TypeKind::Int),
        column("seen", TypeKind::Timestamp(3)),
        column("note", TypeKind::STRING),
    ])
}

/// Which key each write has: first every key once, in an order that looks random, then keys again in another order.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    count: u64,
    first: Shuffle,
    again: Shuffle,
}

impl Keys {
    /// `count` keys.
    pub fn new(seed: u64, count: u64) -> Self {
        Self { count, first: Shuffle::new(seed, count), again: Shuffle::new(seed + 1, count) }
    }

    /// The key of write `write`.
    pub fn of(&self, write: u64) -> u64 {
        let order = if write < self.count { self.first } else { self.again };
        order.at(write % self.count)
    }
}

/// The rows of the writes from `first_write` on, whose keys are `keys`.
pub fn rows(seed: u64, first_write: u64, keys: &[u64]) -> Vec<ArrayRef> {
    let count = keys.len();
    let mut site = StringBuilder::with_capacity(count, count * 16);
    let mut note = StringBuilder::with_capacity(count, count * 44);
    let mut text = Vec::with_capacity(64);
    let mut append = |builder: &mut StringBuilder, make: &dyn Fn(&mut Vec<u8>)| {
        text.clear();
        make(&mut text);
        builder.append_value(std::str::from_utf8(&text).expect("letters and digits are UTF-8"));
    };
    for (&key, write) in keys.iter().zip(first_write..) {
        append(&mut site, &|text| {
            text.extend_from_slice(b"substation-");
            put_digits(text, draw(seed, 1, key) % SITES, 5);
        });
        append(&mut note, &|text| {
            text.extend_from_slice(b"checked by crew-");
            put_digits(text, draw(seed, 6, write) % 10_000, 4);
            text.extend_from_slice(b", reading ");
            put_hex(text, draw(seed, 7, write), 14);
        });
    }
    let writes = || first_write..first_write + count as u64;
    let load = writes().map(|w| (draw(seed, 2, w) % 500_000) as f64 / 1000.0);
    let volt = writes().map(|w| (100_000 + draw(seed, 3, w) % 20_000) as f64 / 1000.0);
    vec![
        Arc::new(keys.iter().map(|&key| key as i64).collect::<Int64Array>()),
        Arc::new(site.finish()),
        Arc::new(Float64Array::from_iter_values(load)),
        Arc::new(Float64Array::from_iter_values(volt)),
        Arc::new(Int32Array::from_iter_values(writes().map(|w| (draw(seed, 4, w) % 8) as i32))),
        Arc::new(TimestampMillisecondArray::from_iter_values(writes().map(|w| START_MILLIS + 10 * w as i64))),
        Arc::new(note.finish()),
    ]
}
