//! `SUM` and `AVG` of decimals: in 128 bits where 10¹⁰ rows cannot leave them, else in 256. A result outside its precision is
//! NULL. Means divide at the end, half up (away from zero) to the result's scale.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, Decimal128Array};
use arrow_buffer::i256;
use arrow_schema::DataType;
use gridhouse_base::Result;
use gridhouse_expr::sums::{DecimalResult, NARROW_PRECISION};

use super::accumulator::{Accumulator, SharedCall, results_of};
use super::cells::{Cells, Layout};
use crate::frozen::StateReader;
use crate::keys::Slot;

/// The accumulator of decimals of `precision`.
pub(super) fn accumulator(precision: u8, finish: Finish, layout: &mut Layout) -> Box<dyn Accumulator> {
    if precision <= NARROW_PRECISION {
        Box::new(Narrow { at: layout.take(3), finish })
    } else {
        Box::new(Wide { at: layout.take(5), finish })
    }
}

/// How a result is made of a sum, and its type.
pub(super) struct Finish {
    result: DecimalResult,
    precision: u8,
    scale: u8,
}

impl Finish {
    /// The mean (`mean`) or sum of decimals of scale `from`, as a decimal of this precision and scale.
    pub fn new(mean: bool, from: u8, precision: u8, scale: u8) -> Self {
        Self { result: DecimalResult::new(mean, from, precision, scale), precision, scale }
    }

    /// The results that `of` gives for the groups at `slots`.
    #[inline]
    fn array(&self, slots: &[Slot], of: impl Fn(Slot) -> Option<i128>) -> ArrayRef {
        let (values, nulls) = results_of(slots, of);
        let array = Decimal128Array::new(values.into(), nulls);
        Arc::new(array.with_data_type(DataType::Decimal128(self.precision, self.scale as i8)))
    }
}

/// A sum in two words, low half first, and the number of values in it.
struct Narrow {
    at: usize,
    finish: Finish,
}

#[inline]
fn narrow(low: u64, high: u64) -> i128 {
    (u128::from(high) << 64 | u128::from(low)) as i128
}

impl Accumulator for Narrow {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let values = args[0].as_primitive::<Decimal128Type>().values();
        for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values) {
            let [low, high, count] = cells.at_mut(slot, self.at);
            let sum = narrow(*low, *high).wrapping_add(value.wrapping_mul(i128::from(weight)));
            (*low, *high) = (sum as u64, (sum >> 64) as u64);
            *count = count.wrapping_add(weight as u64);
        }
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        Ok(self.finish.array(slots, |slot| {
            let &[low, high, count] = cells.at(slot, self.at);
            let count = count as i64;
            if count > 0 { self.finish.result.of_narrow(narrow(low, high), count) } else { None }
        }))
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        *cells.at(slot, self.at) == [0; 3]
    }

    fn share(&mut self) -> SharedCall {
        share_sums::<2>(self.at)
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        thaw_sums::<2>(cells, self.at, count, from)
    }
}

/// A sum in four words, lowest first, and the number of values in it.
struct Wide {
    at: usize,
    finish: Finish,
}

fn wide([a, b, c, d]: [u64; 4]) -> i256 {
    i256::from_parts(narrow(a, b) as u128, narrow(c, d))
}

impl Accumulator for Wide {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let values = args[0].as_primitive::<Decimal128Type>().values();
        for ((&slot, &weight), &value) in slots.iter().zip(weights).zip(values).filter(|((_, weight), _)| **weight != 0)
        {
            let [a, b, c, d, count] = cells.at_mut(slot, self.at);
            let (sum, value) = (wide([*a, *b, *c, *d]), i256::from_i128(value));
            let sum = match weight {
                1 => sum.wrapping_add(value),
                -1 => sum.wrapping_sub(value),
                _ => sum.wrapping_add(value.wrapping_mul(i256::from_i128(weight.into()))),
            };
            let (low, high) = sum.to_parts();
            (*a, *b, *c, *d) = (low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64);
            *count = count.wrapping_add(weight as u64);
        }
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        Ok(self.finish.array(slots, |slot| {
            let &[a, b, c, d, count] = cells.at(slot, self.at);
            let count = count as i64;
            if count > 0 { self.finish.result.of(wide([a, b, c, d]), count) } else { None }
        }))
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        *cells.at(slot, self.at) == [0; 5]
    }

    fn share(&mut self) -> SharedCall {
        share_sums::<4>(self.at)
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        thaw_sums::<4>(cells, self.at, count, from)
    }
}

/// Sums of `N` words, each with the count in the word after it.
fn share_sums<const N: usize>(at: usize) -> SharedCall {
    Box::new(move |cells, slots, out| {
        for &slot in slots {
            cells.at::<N>(slot, at).iter().for_each(|word| out.put(&word.to_le_bytes()));
            out.signed(cells.number(slot, at + N));
        }
        Ok(())
    })
}

fn thaw_sums<const N: usize>(cells: &mut Cells, at: usize, count: usize, from: &mut StateReader<'_>) -> Result<()> {
    for slot in 0..count as Slot {
        for word in cells.at_mut::<N>(slot, at) {
            *word = u64::from_le_bytes(from.array()?);
        }
        cells.set(slot, at + N, [from.signed()?]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn every_width_divides_alike() {
        let mut random = Random::new(3);
        for (from, scale) in [(2, 6), (0, 6), (4, 2), (2, 2), (10, 38)] {
            for mean in [true, false] {
                let finish = Finish::new(mean, from, 38, scale);
                for _ in 0..2_000 {
                    let magnitude = 1_i128 << random.below(100);
                    let sum = i128::from(random.between(-1_000_000, 1_000_000)).wrapping_mul(magnitude);
                    let count = random.between(1, 1_000);
                    assert_eq!(
                        finish.result.of_narrow(sum, count),
                        finish.result.of(i256::from_i128(sum), count),
                        "{sum} / {count} from scale {from} to {scale}"
                    );
                }
            }
        }
        let finish = Finish::new(true, 2, 38, 2);
        let thirds = [(1, 2), (-1, -2), (5, 3), (-5, -3)].map(|(sum, _)| finish.result.of_narrow(sum, 2));
        assert_eq!(thirds, [Some(1), Some(-1), Some(3), Some(-3)]);
    }
}
