//! The sum of rows: a number that depends on which rows there are and how often, not on their order or how they are cut.
//!
//! Every row has a hash of 128 bits; the sum adds them up, each as often as the row weighs, modulo 2^128. So the sums of two
//! lots of changes are equal where their consolidated changes are, and else only by an accident of 1 in 2^128 or so. It is
//! no protection against someone who makes rows for the purpose.

use gridhouse_base::{ChangeBatch, Result, Schema};

use crate::hash::HashMode;
use crate::rows::RowCodec;

/// The seeds of the two halves of a row's hash.
const SEEDS: [u64; 2] = [0x726f_7773, 0x7375_6d73];

/// Sums up rows of one schema.
pub struct RowSum {
    codec: RowCodec,
}

impl RowSum {
    /// For rows of `schema`.
    ///
    /// # Errors
    /// Only defects of ours.
    pub fn new(schema: &Schema) -> Result<Self> {
        Ok(Self { codec: RowCodec::of_schema(schema)? })
    }

    /// The sum of the rows of `batch`; sums of several batches are added with wrapping.
    ///
    /// # Errors
    /// `Internal` where the rows are not of the schema.
    pub fn of(&self, batch: &ChangeBatch) -> Result<u128> {
        let rows = self.codec.encode(batch.columns())?;
        let mut sum = 0_u128;
        for i in 0..batch.len() {
            let [high, low] = SEEDS.map(|seed| HashMode::Seeded(seed).bytes(rows.row(i)));
            let hash = u128::from(high) << 64 | u128::from(low);
            sum = sum.wrapping_add(hash.wrapping_mul(i128::from(batch.weight(i)) as u128));
        }
        Ok(sum)
    }
}

impl std::fmt::Debug for RowSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowSum")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array};
    use gridhouse_base::{Column, TypeKind};

    use super::*;

    fn batch(rows: &[(i64, i32)]) -> ChangeBatch {
        let values = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let weights = Int32Array::from_iter_values(rows.iter().map(|row| row.1));
        ChangeBatch::new(vec![Arc::new(values)], rows.len(), Some(weights))
    }

    #[test]
    fn order_cuts_and_what_cancels_do_not_matter_and_all_else_does() {
        let sum = RowSum::new(&Schema::new(vec![Column::new("c", TypeKind::BigInt.not_null())])).unwrap();
        let of = |rows: &[(i64, i32)]| sum.of(&batch(rows)).unwrap();
        let whole = of(&[(1, 1), (2, 2), (3, -1)]);
        assert_eq!(whole, of(&[(3, -1), (2, 1), (9, 4), (1, 1)]).wrapping_add(of(&[(9, -4), (2, 1)])));
        for other in [&[(1, 1), (2, 2)][..], &[(1, 1), (2, 2), (3, 1)], &[(1, 1), (2, 3), (3, -1)], &[(4, 2)], &[]] {
            assert_ne!(whole, of(other));
        }
        assert_eq!(of(&[]), 0);
    }
}
