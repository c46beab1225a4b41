//! The sum of very many changes: what is left of them once equal rows are one, without holding them all in memory.
//!
//! Rows are laid up as bytes in lots, by a hash of their key; where they are too many the largest lots go to disk. In the end
//! one lot after the other is summed up. A lot's withdrawn rows come out before its others, so that whoever writes them into a
//! keyed table never removes a row that he has just written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};

use crate::frozen::{StateReader, StateWriter};
use crate::hash::HashMode;
use crate::keys::Keys;
use crate::operator::STEP_ROWS;
use crate::rows::RowCodec;
use crate::spill::{Governor, SpillFile};
use crate::weight::{weighed, weights};

/// Into how many lots rows fall. One is in memory as a whole in the end: a gigabyte of changes is 16 MB then.
const LOTS: u32 = 64;

/// The most bytes that wait in memory: beside them, files of about a sixty-fourth are not too small.
const MOST_BYTES: usize = 64 << 20;

/// Bytes before a row's own: its weight and length.
const HEAD_BYTES: usize = 12;

/// Changes of rows of one schema, to be summed up.
pub struct Difference {
    codec: RowCodec,
    key: Vec<usize>,
    /// Tells the lots of keys.
    keys: Keys,
    governor: Arc<Governor>,
    most_bytes: usize,
    lots: Vec<Lot>,
    held: usize,
}

/// The changes of some keys.
#[derive(Default)]
struct Lot {
    rows: Vec<u8>,
    files: Vec<Arc<SpillFile>>,
}

impl Difference {
    /// Of rows of `schema`, whose key stands in the columns `key`; what does not fit goes where `governor` keeps such things.
    ///
    /// # Errors
    /// `Internal` where there is no key, or no such column.
    pub fn new(schema: &Schema, key: Vec<usize>, governor: Arc<Governor>) -> Result<Self> {
        Self::with_room(schema, key, governor, MOST_BYTES)
    }

    fn with_room(schema: &Schema, key: Vec<usize>, governor: Arc<Governor>, most_bytes: usize) -> Result<Self> {
        if key.is_empty() || key.iter().any(|&column| column >= schema.len()) {
            return Err(Error::internal(format!("rows cannot be told apart by the columns {key:?}")));
        }
        let types: Vec<_> = key.iter().map(|&column| schema.columns[column].sql_type.kind.arrow()).collect();
        let (codec, keys) = (RowCodec::of_schema(schema)?, Keys::new(&types, HashMode::Seeded(0))?);
        let lots = (0..LOTS).map(|_| Lot::default()).collect();
        Ok(Self { codec, key, keys, governor, most_bytes, lots, held: 0 })
    }

    /// Takes in changes.
    ///
    /// # Errors
    /// `Unavailable` where the disk takes no more.
    pub fn add(&mut self, batch: &ChangeBatch) -> Result<()> {
        let columns: Vec<ArrayRef> = self.key.iter().map(|&column| batch.column(column).clone()).collect();
        let lots = self.keys.parts_of_rows(&columns, batch.len(), LOTS)?;
        let rows = self.codec.encode(batch.columns())?;
        for (i, (lot, weight)) in lots.into_iter().zip(weights(batch)).enumerate() {
            let (row, out) = (rows.row(i), &mut self.lots[lot as usize].rows);
            out.extend_from_slice(&weight.to_le_bytes());
            out.extend_from_slice(&(row.len() as u32).to_le_bytes());
            out.extend_from_slice(row);
            self.held += HEAD_BYTES + row.len();
        }
        while self.held > self.most_bytes {
            let Some(lot) = self.lots.iter_mut().max_by_key(|lot| lot.rows.len()) else { break };
            let mut out = StateWriter::default();
            out.bytes(&lot.rows);
            lot.files.push(self.governor.keep(&out)?);
            self.held -= lot.rows.len();
            lot.rows = Vec::new();
        }
        Ok(())
    }

    /// Hands out what is left, in batches of few thousand rows.
    ///
    /// # Errors
    /// Those of `each`; `Unavailable` and `Corrupt` where what lies on disk cannot be read.
    pub fn finish(self, mut each: impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
        for lot in self.lots {
            let mut pieces: Vec<Box<[u8]>> = Vec::new();
            for file in &lot.files {
                let bytes = file.read()?;
                let parts = [&bytes[..]];
                let mut from = StateReader::new(&parts)?;
                pieces.push(from.bytes()?);
                from.end()?;
            }
            pieces.push(lot.rows.into());
            let mut sums: BTreeMap<&[u8], i64> = BTreeMap::new();
            for piece in &pieces {
                let mut rest = &piece[..];
                while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
                    let (weight, len) = head.split_at(8);
                    let weight = i64::from_le_bytes(weight.try_into().expect("eight bytes"));
                    let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
                    let ends = || Error::corrupt("changes that were laid up end within a row");
                    let (row, later) = after.split_at_checked(len).ok_or_else(ends)?;
                    *sums.entry(row).or_default() += weight;
                    rest = later;
                }
            }
            let left = |sign: i64| sums.iter().filter(move |(_, weight)| weight.signum() == sign);
            let order: Vec<(&[u8], i64)> = left(-1).chain(left(1)).map(|(row, weight)| (*row, *weight)).collect();
            for part in order.chunks(STEP_ROWS) {
                let columns = self.codec.decode(part.iter().map(|(row, _)| *row))?;
                let weights: Vec<i64> = part.iter().map(|(_, weight)| *weight).collect();
                each(weighed(columns, &weights)?)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Difference").field("held", &self.held).finish()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int32Array, Int64Array};
    use gridhouse_base::fs::DiskFileSystem;
    use gridhouse_base::random::Random;
    use gridhouse_base::{Column, TypeKind};

    use super::*;

    #[test]
    fn what_is_left_is_the_sum_in_memory_and_on_disk_and_withdrawals_come_first() {
        let column = |name: &str| Column::new(name, TypeKind::BigInt.nullable());
        let schema = Schema::new(["k", "v"].map(column).to_vec());
        let dir = std::env::temp_dir().join(format!("gridhouse-difference-{}", std::process::id()));
        for room in [usize::MAX, 50_000] {
            let governor = Governor::new(Arc::new(DiskFileSystem), &dir, 0).unwrap();
            let mut random = Random::new(7);
            let mut difference = Difference::with_room(&schema, vec![0], governor.clone(), room).unwrap();
            let mut plain: BTreeMap<(i64, i64), i64> = BTreeMap::new();
            for _ in 0..60 {
                let mut draw = |_| (random.between(0, 300), random.between(0, 3), *random.pick(&[-2, -1, 1, 2]));
                let rows: Vec<(i64, i64, i32)> = (0..500).map(&mut draw).collect();
                rows.iter().for_each(|&(k, v, weight)| *plain.entry((k, v)).or_default() += i64::from(weight));
                let column = |f: fn(&(i64, i64, i32)) -> i64| -> ArrayRef {
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(f)))
                };
                let weights = Int32Array::from_iter_values(rows.iter().map(|row| row.2));
                let columns = vec![column(|row| row.0), column(|row| row.1)];
                difference.add(&ChangeBatch::new(columns, rows.len(), Some(weights))).unwrap();
            }
            assert_eq!(governor.spilled_bytes() > 0, room < usize::MAX);
            plain.retain(|_, weight| *weight != 0);
            let (mut got, mut inserted) = (BTreeMap::new(), std::collections::BTreeSet::new());
            difference
                .finish(|batch| {
                    let [k, v] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>().clone());
                    for row in 0..batch.len() {
                        let weight = i64::from(batch.weight(row));
                        if weight > 0 {
                            inserted.insert(k.value(row));
                        } else {
                            assert!(!inserted.contains(&k.value(row)), "a withdrawal comes after its successor");
                        }
                        assert_eq!(got.insert((k.value(row), v.value(row)), weight), None);
                    }
                    Ok(())
                })
                .unwrap();
            assert_eq!(got, plain);
            assert_eq!(governor.spilled_bytes(), 0, "nothing is left on disk");
        }
        // Nothing else is to be left of it.
        let _ = std::fs::remove_dir(&dir);
    }
}
