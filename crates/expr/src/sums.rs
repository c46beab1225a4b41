//! What SUM and AVG come to: the arithmetic that accumulators share, whoever keeps the state and however rows come and go.
//!
//! Decimals are summed exactly and divided once at the end, half up (away from zero) to the result's scale; what does not fit the
//! result's precision is NULL. Floating-point numbers are summed in two doubles (error-free transformations of Knuth and
//! Dekker) and rounded once; NaN and the infinities are counted apart, since they cannot be taken back from a sum.

use arrow_buffer::i256;

use crate::decimal::divide_half_up;

/// Decimals of up to this many digits are summed in 128 bits: 10²⁸ × 10¹⁰ rows < 2¹²⁷.
pub const NARROW_PRECISION: u8 = 28;

/// How the result of a decimal SUM or AVG is made of the exact sum.
#[derive(Clone, Debug)]
pub struct DecimalResult {
    mean: bool,
    /// By what the sum is multiplied, and then divided (a mean by the count too), to get to the result's scale.
    up: Option<i256>,
    down: Option<i256>,
    /// `up` where it is below 2⁶³ and `down` is 1: the common case, computed in narrower numbers.
    narrow_up: Option<i64>,
    /// Results lie below this and above its opposite.
    limit: u128,
}

impl DecimalResult {
    /// The mean (`mean`) or sum of decimals of scale `from`, as a decimal of this precision and scale.
    pub fn new(mean: bool, from: u8, precision: u8, scale: u8) -> Self {
        let power = |exponent: u8| i256::from_i128(10).checked_pow(exponent.into());
        let (up, down) = (power(scale.saturating_sub(from)), power(from.saturating_sub(scale)));
        let narrow_up = up.filter(|_| from <= scale).and_then(i256::to_i128).and_then(|up| up.try_into().ok());
        Self { mean, up, down, narrow_up, limit: 10_u128.pow(precision.into()) }
    }

    /// The result over the sum of `count` values, unscaled; `None` where it does not fit.
    pub fn of(&self, sum: i256, count: i64) -> Option<i128> {
        let divisor = if self.mean { self.down?.checked_mul(i256::from_i128(count.into()))? } else { self.down? };
        self.checked(half_up(sum.checked_mul(self.up?)?, divisor)?.to_i128()?)
    }

    /// As [`DecimalResult::of`] over a sum in 128 bits.
    #[inline]
    pub fn of_narrow(&self, sum: i128, count: i64) -> Option<i128> {
        if let (Ok(sum), Some(up)) = (i64::try_from(sum), self.narrow_up) {
            let sum = i128::from(sum) * i128::from(up);
            return self.checked(if self.mean { divide_half_up(sum, count.into()) } else { sum });
        }
        self.of(i256::from_i128(sum), count)
    }

    #[inline]
    fn checked(&self, value: i128) -> Option<i128> {
        (value.unsigned_abs() < self.limit).then_some(value)
    }
}

/// `value / divisor`, rounded half away from zero; `divisor` is positive.
fn half_up(value: i256, divisor: i256) -> Option<i256> {
    if divisor == i256::ONE {
        return Some(value);
    }
    if let (Some(value), Some(divisor)) = (value.to_i128(), divisor.to_i128()) {
        return Some(i256::from_i128(divide_half_up(value, divisor)));
    }
    let quotient = value.checked_div(divisor)?;
    let rest = value.checked_rem(divisor)?.checked_abs()?;
    let away = rest.checked_add(rest)? >= divisor;
    let step = if value < i256::ZERO { i256::MINUS_ONE } else { i256::ONE };
    if away { quotient.checked_add(step) } else { Some(quotient) }
}

/// How many values of a group are not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specials {
    /// How many are NaN.
    pub nans: i64,
    /// How many are infinite.
    pub positive_infinities: i64,
    /// How many are negative and infinite.
    pub negative_infinities: i64,
}

impl Specials {
    /// Counts `value`, which is not finite, `weight` times.
    pub fn add(&mut self, value: f64, weight: i64) {
        let counter = match value {
            v if v.is_nan() => &mut self.nans,
            v if v > 0.0 => &mut self.positive_infinities,
            _ => &mut self.negative_infinities,
        };
        *counter += weight;
    }

    /// All of them.
    pub fn count(self) -> i64 {
        self.nans + self.positive_infinities + self.negative_infinities
    }
}

/// A sum of finite numbers as an unevaluated sum of two doubles.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoDoubles {
    /// The sum, rounded.
    pub high: f64,
    /// What rounding has left out.
    pub low: f64,
}

impl TwoDoubles {
    /// The sum with `value` and its own rounding error.
    #[inline]
    #[must_use]
    pub fn plus(self, value: f64, error: f64) -> Self {
        let (high, rest) = two_sum(self.high, value);
        let (high, low) = two_sum(high, rest + (self.low + error));
        Self { high, low }
    }

    /// As [`TwoDoubles::plus`] of a value without an error, in half the steps: what rounding has left out is not carried into
    /// the rounded sum. To be [tidied](TwoDoubles::tidied) before it is used, and now and then between (`low` is rounded itself:
    /// over some thousand values that is no matter).
    #[inline]
    pub fn add(&mut self, value: f64) {
        let (high, rest) = two_sum(self.high, value);
        self.high = high;
        self.low += rest;
    }

    /// The sum with what rounding has left out carried over.
    #[inline]
    #[must_use]
    pub fn tidied(self) -> Self {
        let (high, low) = two_sum(self.high, self.low);
        Self { high, low }
    }

    /// The sum of some thousand values; `None` where one of them, or the sum, is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        // Several sums side by side: an addition need not wait for the one before it.
        const LANES: usize = 8;
        let (mut high, mut low) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            for lane in 0..LANES {
                // As in `two_sum`; what is not finite leaves NaN behind.
                let sum = high[lane] + block[lane];
                let part = sum - high[lane];
                low[lane] += (high[lane] - (sum - part)) + (block[lane] - part);
                high[lane] = sum;
            }
        }
        let total = rest.iter().fold(Self::default(), |total, &value| total.plus(value, 0.0));
        let total = high.into_iter().zip(low).fold(total, |total, (high, low)| total.plus(high, low));
        (total.high.is_finite() && total.low.is_finite()).then_some(total)
    }

    /// The SUM over these and the values that are not finite.
    pub fn sum(self, specials: Specials) -> f64 {
        self.with(specials).high
    }

    /// The AVG over `count` values in all, at least one.
    pub fn mean(self, specials: Specials, count: i64) -> f64 {
        let Self { high, low } = self.with(specials);
        let count = count as f64;
        let quotient = high / count;
        if !quotient.is_finite() {
            return quotient;
        }
        let rest = (-quotient).mul_add(count, high) + low;
        quotient + rest / count
    }

    fn with(self, specials: Specials) -> Self {
        let Specials { nans, positive_infinities, negative_infinities } = specials;
        let only = |high: f64| Self { high, low: 0.0 };
        if nans > 0 || (positive_infinities > 0 && negative_infinities > 0) {
            only(f64::NAN)
        } else if positive_infinities > 0 {
            only(f64::INFINITY)
        } else if negative_infinities > 0 {
            only(f64::NEG_INFINITY)
        } else {
            self
        }
    }
}

/// `a + b` and its rounding error.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if !sum.is_finite() {
        return (sum, 0.0);
    }
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_away_from_zero_and_know_their_precision() {
        let mean = DecimalResult::new(true, 2, 10, 4);
        assert_eq!(mean.of_narrow(-1, 3), Some(-33));
        assert_eq!(mean.of_narrow(1, 8), Some(13), "0.00125 becomes 0.0013");
        assert_eq!(mean.of(i256::from_i128(-1), 8), Some(-13));
        let sum = DecimalResult::new(false, 0, 3, 0);
        assert_eq!((sum.of_narrow(999, 1), sum.of_narrow(1000, 1)), (Some(999), None));
        let far = DecimalResult::new(false, 38, 38, 0);
        let most = i256::from_i128(10_i128.pow(38) - 1).checked_mul(i256::from_i128(10_i128.pow(10))).unwrap();
        assert_eq!(far.of(most, 1), Some(10_i128.pow(10)), "256 bits do not overflow");
    }

    #[test]
    fn what_rounding_leaves_out_is_not_lost() {
        let values = [1e16, 1.0, -1e16, 1.0];
        let total = values.into_iter().fold(TwoDoubles::default(), |total, value| total.plus(value, 0.0));
        assert_eq!(total.sum(Specials::default()), 2.0);
        assert_eq!(total.mean(Specials::default(), 4), 0.5);
        let mut specials = Specials::default();
        specials.add(f64::INFINITY, 1);
        assert_eq!(total.mean(specials, 5), f64::INFINITY);
        specials.add(f64::NEG_INFINITY, 1);
        assert!(total.sum(specials).is_nan());
        specials.add(f64::INFINITY, -1);
        assert_eq!((total.sum(specials), specials.count()), (f64::NEG_INFINITY, 1));
    }

    #[test]
    fn sums_in_fewer_steps_are_the_same_sums() {
        let mut random = gridhouse_base::random::Random::new(3);
        for rows in [0, 1, 7, 8, 9, 4_096, 8_191] {
            let value = |_| {
                (random.between(-1_000_000_000, 1_000_000_000) as f64) * 10_f64.powi(random.between(-20, 20) as i32)
            };
            let values: Vec<f64> = (0..rows).map(value).collect();
            let exact = values.iter().fold(TwoDoubles::default(), |total, &value| total.plus(value, 0.0));
            let mut added = TwoDoubles::default();
            values.iter().for_each(|&value| added.add(value));
            let (added, of) = (added.tidied(), TwoDoubles::of(&values).unwrap());
            assert_eq!((added.high, of.high), (exact.high, exact.high), "{rows} values");
        }
        let mut values = vec![1.0; 100];
        for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            for place in [0, 50, 99] {
                values[place] = special;
                values[(place + 8) % 100] = special;
                assert!(TwoDoubles::of(&values).is_none(), "{special} in row {place}");
                values.fill(1.0);
            }
        }
    }
}
