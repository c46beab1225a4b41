//! The rows of the benchmark: what a row holds follows from its number and its version, so that nothing but versions is kept.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Schema, TypeKind};

/// What kind of rows a table holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Readings of feeders, some rows per feeder: feeder number, feeder name, megawatts, price, moment. Some updates move the
    /// row to another feeder.
    Readings {
        /// How many feeders there are.
        feeders: u64,
    },
    /// The newest reading of each device: device number, device name, megawatts, price, moment.
    Latest,
    /// Devices: number, name, region, rated megawatts.
    Devices,
}

/// An update moves a reading to another feeder once in so many versions.
const VERSIONS_AT_A_FEEDER: u64 = 8;

/// A number that looks random and follows from a row's number, its version and the column.
fn mixed(row: u64, version: u64, column: u64) -> u64 {
    let mut x = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version.rotate_left(40) ^ column.rotate_left(56);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

fn name(number: u64) -> String {
    format!("station {:03}/feeder {number:07}", number % 997)
}

impl Shape {
    /// The columns.
    pub fn schema(self) -> Schema {
        let column = |(name, kind): (&str, TypeKind)| Column::new(name, kind.not_null());
        let (number, text) = (TypeKind::BigInt, TypeKind::STRING);
        let rest = match self {
            Self::Devices => vec![("region", text.clone()), ("rated_mw", TypeKind::Double)],
            _ => {
                let price = TypeKind::Decimal { precision: 10, scale: 2 };
                vec![("load_mw", TypeKind::Double), ("price", price), ("at", TypeKind::BigInt)]
            }
        };
        Schema::new([("id", number), ("name", text)].into_iter().chain(rest).map(column).collect())
    }

    fn key(self, row: u64, version: u64) -> u64 {
        match self {
            Self::Readings { feeders } => (row + version / VERSIONS_AT_A_FEEDER * 7919) % feeders,
            _ => row,
        }
    }

    /// These rows in these versions.
    fn columns(self, rows: &[(u64, u64)]) -> Vec<ArrayRef> {
        let keys = || rows.iter().map(|&(row, version)| self.key(row, version));
        let values = |column: u64| rows.iter().map(move |&(row, version)| mixed(row, version, column));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(keys().map(|key| key as i64)));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(keys().map(name)));
        let megawatts: ArrayRef =
            Arc::new(Float64Array::from_iter_values(values(1).map(|v| (v % 100_000) as f64 / 1e3)));
        if self == Self::Devices {
            let region = rows.iter().map(|&(row, version)| format!("region {:02}", (row + version) % 40));
            return vec![ids, names, Arc::new(StringArray::from_iter_values(region)), megawatts];
        }
        let price = Decimal128Array::from_iter_values(values(2).map(|v| i128::from(v % 1_000_000)));
        let price = price.with_precision_and_scale(10, 2).expect("prices of six digits fit");
        let at = Int64Array::from_iter_values(values(3).map(|v| 1_700_000_000_000 + (v % 86_400_000) as i64));
        vec![ids, names, megawatts, Arc::new(price), Arc::new(at)]
    }
}

/// A table under updates.
pub struct Table {
    shape: Shape,
    versions: Vec<u32>,
}

impl Table {
    /// A table of so many rows in their first version.
    pub fn new(shape: Shape, rows: usize) -> Self {
        Self { shape, versions: vec![0; rows] }
    }

    /// Its rows, inserted, in batches of `len`.
    pub fn load(&self, len: usize) -> impl Iterator<Item = ChangeBatch> + '_ {
        (0..self.versions.len()).step_by(len).map(move |from| {
            let rows: Vec<(u64, u64)> =
                (from..self.versions.len().min(from + len)).map(|row| (row as u64, 0)).collect();
            ChangeBatch::insertions(self.shape.columns(&rows), rows.len())
        })
    }

    /// Updates of random rows, `changes / 2` of them: the old row goes, the new one comes.
    pub fn update(&mut self, random: &mut Random, changes: usize) -> ChangeBatch {
        let mut rows = Vec::with_capacity(changes);
        for _ in 0..changes / 2 {
            let row = random.below(self.versions.len() as u64);
            let version = &mut self.versions[row as usize];
            rows.push((row, u64::from(*version)));
            *version += 1;
            rows.push((row, u64::from(*version)));
        }
        let weights: Int32Array = (0..rows.len()).map(|i| if i % 2 == 0 { -1 } else { 1 }).collect();
        ChangeBatch::new(self.shape.columns(&rows), rows.len(), Some(weights))
    }
}
