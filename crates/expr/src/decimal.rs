//! Arithmetic on decimals as unscaled 128-bit numbers: exact in the middle, rounded half up once, `None` where the result
//! has more digits than its type (Flink's NULL).

use arrow_buffer::i256;

/// 10 to the power of a scale, at most 38.
pub fn power(scale: u8) -> i128 {
    10i128.pow(scale.min(38).into())
}

/// The smallest magnitude that has more than `precision` digits.
pub fn limit(precision: u8) -> u128 {
    10u128.pow(precision.min(38).into())
}

fn fitting(value: i128, precision: u8) -> Option<i128> {
    (value.unsigned_abs() < limit(precision)).then_some(value)
}

/// `value / divisor`, rounded half away from zero; `divisor` is positive. In 64 bits where these suffice, which is several
/// times as fast.
#[inline]
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    // Twice the rest could overflow; half of the divisor could not.
    let away = |rest: u128, divisor: u128| rest >= divisor.div_ceil(2);
    if let (Ok(value), Ok(divisor)) = (i64::try_from(value), i64::try_from(divisor)) {
        // A divisor is positive, so the quotient exists even for the smallest number.
        let (quotient, rest) = (value / divisor, value % divisor);
        let step = if away(rest.unsigned_abs().into(), divisor.unsigned_abs().into()) { value.signum() } else { 0 };
        return i128::from(quotient) + i128::from(step);
    }
    let (quotient, rest) = (value / divisor, value % divisor);
    quotient + if away(rest.unsigned_abs(), divisor.unsigned_abs()) { value.signum() } else { 0 }
}

/// The same number at another scale.
pub fn rescale(value: i128, from: u8, precision: u8, to: u8) -> Option<i128> {
    let scaled =
        if to >= from { value.checked_mul(power(to - from))? } else { divide_half_up(value, power(from - to)) };
    fitting(scaled, precision)
}

/// A sum of decimals of scales `s` and `t`.
pub fn add(a: i128, s: u8, b: i128, t: u8, precision: u8, scale: u8) -> Option<i128> {
    let common = s.max(t);
    let exact = (|| {
        let a = a.checked_mul(power(common - s))?;
        let b = b.checked_mul(power(common - t))?;
        a.checked_add(b)
    })();
    match exact {
        Some(sum) => rescale(sum, common, precision, scale),
        None => {
            let a = i256::from_i128(a).checked_mul(wide_power(common - s))?;
            let b = i256::from_i128(b).checked_mul(wide_power(common - t))?;
            rescale_wide(a.checked_add(b)?, common.into(), precision, scale)
        }
    }
}

/// A product of decimals of scales `s` and `t`.
pub fn multiply(a: i128, s: u8, b: i128, t: u8, precision: u8, scale: u8) -> Option<i128> {
    match a.checked_mul(b) {
        Some(product) if s + t <= 38 => rescale(product, s + t, precision, scale),
        _ => {
            let product = i256::from_i128(a).checked_mul(i256::from_i128(b))?;
            rescale_wide(product, u32::from(s) + u32::from(t), precision, scale)
        }
    }
}

/// A quotient of decimals of scales `s` and `t`; `b` is not 0.
pub fn divide(a: i128, s: u8, b: i128, t: u8, precision: u8, scale: u8) -> Option<i128> {
    // a / 10^s / (b / 10^t) = a * 10^(scale + t - s) / b at the wanted scale.
    let shift = i32::from(scale) + i32::from(t) - i32::from(s);
    let narrow = u8::try_from(shift).ok().filter(|&shift| shift <= 38).and_then(|shift| a.checked_mul(power(shift)));
    if let Some(dividend) = narrow {
        let (dividend, divisor) = if b < 0 { (dividend.checked_neg()?, b.checked_neg()?) } else { (dividend, b) };
        return fitting(divide_half_up(dividend, divisor), precision);
    }
    let (mut dividend, mut divisor) = (i256::from_i128(a), i256::from_i128(b));
    if shift >= 0 {
        dividend = dividend.checked_mul(wide_power(shift.min(76) as u8))?;
    } else {
        divisor = divisor.checked_mul(wide_power((-shift) as u8))?;
    }
    if divisor < i256::ZERO {
        (dividend, divisor) = (dividend.wrapping_neg(), divisor.wrapping_neg());
    }
    fitting(divide_wide(dividend, divisor)?, precision)
}

/// A remainder with the sign of `a`; `b` is not 0.
pub fn remainder(a: i128, s: u8, b: i128, t: u8, precision: u8, scale: u8) -> Option<i128> {
    let common = s.max(t);
    let a = i256::from_i128(a).checked_mul(wide_power(common - s))?;
    let b = i256::from_i128(b).checked_mul(wide_power(common - t))?;
    rescale_wide(a.checked_rem(b)?, common.into(), precision, scale)
}

/// Orders numbers of different scales.
pub fn compare(a: i128, s: u8, b: i128, t: u8) -> std::cmp::Ordering {
    if s == t {
        return a.cmp(&b);
    }
    let common = s.max(t);
    let (a, b) = (i256::from_i128(a), i256::from_i128(b));
    // 128 bits times 10^38 fit 256 bits.
    a.wrapping_mul(wide_power(common - s)).cmp(&b.wrapping_mul(wide_power(common - t)))
}

/// The nearest double.
pub fn to_double(value: i128, scale: u8) -> f64 {
    // Both are exact in a double, so one division rounds once.
    if value.unsigned_abs() < 1 << 53 && scale <= 22 {
        return value as f64 / 10f64.powi(scale.into());
    }
    format!("{value}e-{scale}").parse().unwrap_or(f64::NAN)
}

fn wide_power(exponent: u8) -> i256 {
    let low = exponent.min(38);
    let power_of = |n: u8| i256::from_i128(power(n));
    power_of(low).wrapping_mul(power_of((exponent - low).min(38)))
}

fn rescale_wide(value: i256, from: u32, precision: u8, to: u8) -> Option<i128> {
    let to = u32::from(to);
    if to >= from {
        let scaled = value.checked_mul(wide_power((to - from) as u8))?;
        return fitting(scaled.to_i128()?, precision);
    }
    fitting(divide_wide(value, wide_power((from - to) as u8))?, precision)
}

/// `value / divisor`, rounded half away from zero; `divisor` is positive.
fn divide_wide(value: i256, divisor: i256) -> Option<i128> {
    let quotient = value.checked_div(divisor)?;
    let rest = value.checked_rem(divisor)?.wrapping_abs();
    let up = rest >= divisor.wrapping_sub(rest);
    let step = match (up, value < i256::ZERO) {
        (false, _) => i256::ZERO,
        (true, false) => i256::ONE,
        (true, true) => i256::MINUS_ONE,
    };
    quotient.checked_add(step)?.to_i128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_up_and_away_from_zero() {
        assert_eq!(rescale(1_235, 2, 10, 1), Some(124));
        assert_eq!(rescale(-1_235, 2, 10, 1), Some(-124));
        assert_eq!(rescale(1_234, 2, 10, 1), Some(123));
        assert_eq!(rescale(999, 2, 2, 1), None);
        assert_eq!(rescale(3, 0, 38, 37), Some(3 * power(37)));
        assert_eq!(rescale(i128::MAX, 0, 38, 38), None);
    }

    #[test]
    fn quotients_are_exact_to_the_last_digit() {
        // 1.00 / 3 = 0.3333333…
        assert_eq!(divide(100, 2, 3, 0, 38, 13), Some(3_333_333_333_333));
        assert_eq!(divide(-200, 2, 3, 0, 38, 2), Some(-67));
        assert_eq!(divide(200, 2, -3, 0, 38, 2), Some(-67));
        let big = 10i128.pow(37);
        assert_eq!(divide(big, 0, big, 0, 38, 6), Some(1_000_000));
        assert_eq!(divide(big, 0, 1, 20, 38, 6), None);
    }

    #[test]
    fn wide_products_keep_their_digits() {
        let a = 123_456_789_012_345_678_901_234_567i128;
        assert_eq!(multiply(a, 10, 1_000_000_000_000, 12, 38, 10), Some(a));
        assert_eq!(multiply(a, 0, a, 0, 38, 0), None);
        assert_eq!(add(i128::MAX / 2, 0, i128::MAX / 2, 0, 38, 0), None);
        assert_eq!(remainder(-750, 2, 2, 0, 10, 2), Some(-150));
        assert_eq!(compare(150, 2, 15, 1), std::cmp::Ordering::Equal);
        assert_eq!(compare(i128::MAX, 0, i128::MIN, 38), std::cmp::Ordering::Greater);
    }

    #[test]
    fn doubles_are_the_nearest() {
        assert_eq!(to_double(9_870, 3), 9.87);
        assert_eq!(to_double(12_345_678_912_345_678_912_345_678_900, 20), 1.234_567_891_234_567_9E8);
    }
}
