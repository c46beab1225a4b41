//! Numbers as text and back, in the forms of Java: `1.0E10`, `-0.05`, `NaN`.

use std::fmt::Write;

use gridhouse_base::TypeKind;

/// Appends a DOUBLE as `Double.toString` writes it: the shortest digits that read back as the same number, plain between
/// 0.001 and 10,000,000, else with an exponent.
pub fn write_double(out: &mut String, value: f64) {
    if value.is_finite() {
        let shortest = format!("{:e}", value.abs());
        // Java has two digits at least, and chooses the nearest of those that read back: 4.9E-324, not 5.0E-324. The smallest
        // numbers are the only ones with a choice.
        let shortest =
            if value.is_subnormal() && !shortest.contains('.') { format!("{:.1e}", value.abs()) } else { shortest };
        write_java(out, value.is_sign_negative(), &shortest);
    } else {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
    }
}

/// Appends a FLOAT as `Float.toString` writes it.
pub fn write_float(out: &mut String, value: f32) {
    if value.is_finite() {
        write_java(out, value.is_sign_negative(), &format!("{:e}", value.abs()));
    } else {
        write_double(out, value.into());
    }
}

/// `scientific` is Rust's shortest form, `d.ddde±x`.
fn write_java(out: &mut String, negative: bool, scientific: &str) {
    if negative {
        out.push('-');
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match exponent {
        0..7 => {
            let whole = exponent as usize;
            out.push_str(first);
            out.push_str(&rest[..whole.min(rest.len())]);
            (rest.len()..whole).for_each(|_| out.push('0'));
            out.push('.');
            out.push_str(if rest.len() > whole { &rest[whole..] } else { "0" });
        }
        -3..0 => {
            out.push_str("0.");
            (exponent..-1).for_each(|_| out.push('0'));
            out.push_str(first);
            out.push_str(rest);
        }
        _ => {
            let rest = if rest.is_empty() { "0" } else { rest };
            let _ = write!(out, "{first}.{rest}E{exponent}");
        }
    }
}

/// Appends a decimal with all digits of its scale and no exponent.
pub fn write_decimal(out: &mut String, unscaled: i128, scale: u8) {
    if unscaled < 0 {
        out.push('-');
    }
    let digits = unscaled.unsigned_abs();
    if scale == 0 {
        let _ = write!(out, "{digits}");
        return;
    }
    let factor = 10u128.pow(scale.min(38).into());
    let _ = write!(out, "{}.{:0width$}", digits / factor, digits % factor, width = scale as usize);
}

/// Reads a whole number as Flink's CAST does: surrounding blanks and a fraction (of digits) are dropped.
pub fn parse_integer(text: &str, kind: &TypeKind) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if digits.is_empty() && (fraction.is_empty() || whole.len() != digits.len()) {
        return None;
    }
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let value: i64 = if digits.is_empty() { 0 } else { whole.parse().ok()? };
    let (low, high) = integer_range(kind);
    (low..=high).contains(&value).then_some(value)
}

/// The smallest and the largest value of an integer kind.
pub fn integer_range(kind: &TypeKind) -> (i64, i64) {
    match kind {
        TypeKind::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        TypeKind::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        TypeKind::Int => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Reads a DOUBLE as `Double.parseDouble` does (without hexadecimal forms).
pub fn parse_double(text: &str) -> Option<f64> {
    java_float(text)?.parse().ok()
}

/// Reads a FLOAT as `Float.parseFloat` does (without hexadecimal forms).
pub fn parse_float(text: &str) -> Option<f32> {
    java_float(text)?.parse().ok()
}

/// The text in Rust's grammar, if it is in Java's.
fn java_float(text: &str) -> Option<&str> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "NaN" || unsigned == "Infinity" {
        return Some(text);
    }
    // Rust also reads `inf`, `nan` and the like, Java also a type suffix.
    let bare = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    bare.bytes().all(plain).then_some(bare)
}

/// A number of decimal digits as it is written: `unscaled × 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// The digits without the point.
    pub unscaled: i128,
    /// Digits after the point; negative for trailing zeros that are left out.
    pub scale: i32,
}

/// Why a text is no decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecimal {
    /// It is not a number.
    Malformed,
    /// It has more digits before the point than the type.
    TooLarge,
}

/// Reads a decimal of `precision` and `scale`; further fraction digits are rounded half up.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_decimal(text: &str, precision: u8, scale: u8) -> Result<i128, NoDecimal> {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| NoDecimal::Malformed)?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first() {
        Some(b'-') => (true, &mantissa[1..]),
        Some(b'+') => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(NoDecimal::Malformed);
    }
    // Position of the point, counted in digits from the left.
    let point = whole.len() as i64 + i64::from(exponent);
    let wanted = point + i64::from(scale);
    let mut unscaled: i128 = 0;
    let mut round_up = false;
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let value = i128::from(digit - b'0');
        if (i as i64) < wanted {
            unscaled = unscaled.checked_mul(10).and_then(|u| u.checked_add(value)).ok_or(NoDecimal::TooLarge)?;
        } else {
            round_up = i as i64 == wanted && value >= 5;
            break;
        }
    }
    let missing = wanted - (whole.len() + fraction.len()) as i64;
    if missing > 0 && unscaled != 0 {
        let factor = u32::try_from(missing).ok().and_then(|n| 10i128.checked_pow(n)).ok_or(NoDecimal::TooLarge)?;
        unscaled = unscaled.checked_mul(factor).ok_or(NoDecimal::TooLarge)?;
    }
    unscaled = unscaled.checked_add(i128::from(round_up)).ok_or(NoDecimal::TooLarge)?;
    if unscaled >= 10i128.pow(precision.min(38).into()) {
        return Err(NoDecimal::TooLarge);
    }
    Ok(if negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (12_345.678_901, "12345.678901"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (1e10, "1.0E10"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.05, "0.05"),
            (-1.5e-7, "-1.5E-7"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            let mut out = String::new();
            write_double(&mut out, value);
            assert_eq!(out, text);
        }
        let mut out = String::new();
        write_float(&mut out, -123.456);
        assert_eq!(out, "-123.456");
    }

    #[test]
    fn decimals_keep_their_scale() {
        for (unscaled, scale, text) in
            [(-5, 2, "-0.05"), (9_870, 3, "9.870"), (0, 2, "0.00"), (i128::MAX, 0, &i128::MAX.to_string())]
        {
            let mut out = String::new();
            write_decimal(&mut out, unscaled, scale);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn decimals_are_read_and_rounded_half_up() {
        assert_eq!(parse_decimal(" 12.345 ", 10, 2), Ok(1_235));
        assert_eq!(parse_decimal("-12.345", 10, 2), Ok(-1_235));
        assert_eq!(parse_decimal("1.5E3", 10, 2), Ok(150_000));
        assert_eq!(parse_decimal("0.0000001", 10, 2), Ok(0));
        assert_eq!(parse_decimal("5E-3", 10, 2), Ok(1));
        assert_eq!(parse_decimal("999.995", 5, 2), Err(NoDecimal::TooLarge));
        assert_eq!(parse_decimal("1e999999999", 38, 2), Err(NoDecimal::TooLarge));
        let largest = format!("{}.5", i128::MAX);
        assert_eq!(parse_decimal(&largest, 38, 0), Err(NoDecimal::TooLarge), "rounding does not turn it round");
        assert_eq!(parse_decimal("1.2.3", 5, 2), Err(NoDecimal::Malformed));
        assert_eq!(parse_decimal("", 5, 2), Err(NoDecimal::Malformed));
    }

    #[test]
    fn integers_drop_their_fraction() {
        assert_eq!(parse_integer(" 1.234 ", &TypeKind::TinyInt), Some(1));
        assert_eq!(parse_integer("-130", &TypeKind::TinyInt), None);
        for bad in ["", " ", "-", "+-1", "1.x", "foo", "１"] {
            assert_eq!(parse_integer(bad, &TypeKind::Int), None, "{bad}");
        }
    }
}
