//! `SUM` and `AVG` of `FLOAT` and `DOUBLE`: in two doubles (error-free transformations of Knuth and Dekker), with NaN and the
//! infinities counted apart, since they cannot be taken back from a sum. Where no finite value is left at the end of a tick
//! the cell starts afresh; until then a sum of finite values that has left the range of a double stays infinite.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, Float32Array, Float64Array};
use gridhouse_base::Result;
use gridhouse_expr::sums::{Specials, TwoDoubles};

use super::accumulator::{Accumulator, SharedCall, results_of};
use super::cells::{Cells, Layout};
use crate::frozen::StateReader;
use crate::keys::Slot;
use crate::sorted::Sorted;

/// The accumulator: the two parts of the sum of the finite values and the number of all values, in three words.
pub(super) struct FloatSum {
    at: usize,
    mean: bool,
    narrow: bool,
    /// What cannot be summed, of the few groups that have it.
    specials: Sorted<Slot, Specials>,
}

impl FloatSum {
    /// The mean (`mean`) or sum, as a `FLOAT` (`narrow`) or `DOUBLE`.
    pub fn new(mean: bool, narrow: bool, layout: &mut Layout) -> Self {
        Self { at: layout.take(3), mean, narrow, specials: Sorted::default() }
    }

    #[inline]
    fn add(&mut self, cells: &mut Cells, slot: Slot, value: f64, weight: i64) {
        let [high, low, count] = cells.at_mut(slot, self.at);
        *count = count.wrapping_add(weight as u64);
        if value.is_finite() {
            // The product's rounding error by a fused multiply-add; exact, since weights are far below 2⁵³.
            let (product, error) = match weight {
                1 => (value, 0.0),
                -1 => (-value, 0.0),
                _ => {
                    let product = value * weight as f64;
                    (product, value.mul_add(weight as f64, -product))
                }
            };
            let sum = TwoDoubles { high: f64::from_bits(*high), low: f64::from_bits(*low) }.plus(product, error);
            (*high, *low) = (sum.high.to_bits(), sum.low.to_bits());
            return;
        }
        self.add_special(slot, value, weight);
    }

    #[cold]
    fn add_special(&mut self, slot: Slot, value: f64, weight: i64) {
        let mut specials = self.specials(slot);
        specials.add(value, weight);
        if specials == Specials::default() {
            self.specials.remove(&slot);
        } else {
            self.specials.insert(slot, specials);
        }
    }

    fn specials(&self, slot: Slot) -> Specials {
        if self.specials.is_empty() {
            Specials::default()
        } else {
            self.specials.get(&slot).copied().unwrap_or_default()
        }
    }
}

impl Accumulator for FloatSum {
    fn update(&mut self, cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let rows = slots.iter().zip(weights);
        match args[0].as_primitive_opt::<Float64Type>() {
            Some(array) => {
                for ((&slot, &weight), &value) in rows.zip(array.values()).filter(|((_, weight), _)| **weight != 0) {
                    self.add(cells, slot, value, weight);
                }
            }
            None => {
                let values = args[0].as_primitive::<Float32Type>().values();
                for ((&slot, &weight), &value) in rows.zip(values).filter(|((_, weight), _)| **weight != 0) {
                    self.add(cells, slot, f64::from(value), weight);
                }
            }
        }
        Ok(())
    }

    fn results(&self, cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let (values, nulls) = results_of(slots, |slot| {
            let &[high, low, count] = cells.at(slot, self.at);
            let (sum, count) = (TwoDoubles { high: f64::from_bits(high), low: f64::from_bits(low) }, count as i64);
            let specials = self.specials(slot);
            (count > 0).then(|| if self.mean { sum.mean(specials, count) } else { sum.sum(specials) })
        });
        Ok(if self.narrow {
            Arc::new(Float32Array::new(values.iter().map(|&value| value as f32).collect(), nulls))
        } else {
            Arc::new(Float64Array::new(values.into(), nulls))
        })
    }

    fn settle(&mut self, cells: &mut Cells, slots: &[Slot]) {
        for &slot in slots {
            let specials = self.specials(slot).count();
            let [high, low, count] = cells.at_mut(slot, self.at);
            if *count as i64 == specials {
                (*high, *low) = (0, 0);
            }
        }
    }

    fn is_neutral(&self, cells: &Cells, slot: Slot) -> bool {
        cells.number(slot, self.at + 2) == 0 && self.specials(slot) == Specials::default()
    }

    fn bytes(&self) -> usize {
        self.specials.len() * size_of::<(Slot, Specials)>()
    }

    fn share(&mut self) -> SharedCall {
        let (at, specials) = (self.at, self.specials.clone());
        Box::new(move |cells, slots, out| {
            for &slot in slots {
                let &[high, low, count] = cells.at(slot, at);
                let Specials { nans, positive_infinities, negative_infinities } =
                    specials.get(&slot).copied().unwrap_or_default();
                out.put(&high.to_le_bytes());
                out.put(&low.to_le_bytes());
                let counts = [count as i64, nans, positive_infinities, negative_infinities];
                counts.into_iter().for_each(|count| out.signed(count));
            }
            Ok(())
        })
    }

    fn thaw(&mut self, cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        for slot in 0..count as Slot {
            let [high, low] = [u64::from_le_bytes(from.array()?), u64::from_le_bytes(from.array()?)];
            *cells.at_mut(slot, self.at) = [high, low, from.signed()? as u64];
            let specials = Specials {
                nans: from.signed()?,
                positive_infinities: from.signed()?,
                negative_infinities: from.signed()?,
            };
            if specials != Specials::default() {
                self.specials.insert(slot, specials);
            }
        }
        Ok(())
    }
}
