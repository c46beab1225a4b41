//! Floating-point numbers as whole multiples of a power of ten.
//!
//! What instruments deliver are decimals with a few places: 231.4 is 2314 × 10⁻¹, and 2314 packs. A value is taken as such a
//! multiple only if dividing back gives its very bits (after ALP, Afroozeh et al., SIGMOD 2023, which multiplies by inverse
//! powers; a division is rounded correctly, so that one exponent is enough). What does not come back, like -0.0, NaN and
//! values with more places than the rest, is listed as it is.

use bytes::Bytes;
use gridhouse_base::Result;

use super::choose::{Forms, encode};
use super::ints::{Ints, Positions};
use super::reader::Reader;
use crate::codec::{damaged, put_u32};

/// The powers of ten by which values are scaled, all of them exact.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Adding and taking away 1.5 × 2⁵² rounds a number below 2⁵¹ to a whole one, without a call.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// Multiples beyond this are listed as they are.
const LARGEST: f64 = 2_251_799_813_685_248.0;
/// How many values tell the exponent.
const SAMPLE: usize = 256;

/// `f32` or `f64`.
pub(super) trait Float: Copy + Default + PartialOrd {
    /// Bytes of a value.
    const BYTES: usize;
    /// Exponents that can pay: more places than digits never do.
    const EXPONENTS: usize;
    fn widened(self) -> f64;
    fn narrowed(value: f64) -> Self;
    fn to_bits_i64(self) -> i64;
    fn from_bits_i64(bits: i64) -> Self;
}

impl Float for f64 {
    const BYTES: usize = 8;
    const EXPONENTS: usize = 16;

    fn widened(self) -> f64 {
        self
    }

    fn narrowed(value: f64) -> Self {
        value
    }

    fn to_bits_i64(self) -> i64 {
        self.to_bits() as i64
    }

    fn from_bits_i64(bits: i64) -> Self {
        Self::from_bits(bits as u64)
    }
}

impl Float for f32 {
    const BYTES: usize = 4;
    const EXPONENTS: usize = 8;

    fn widened(self) -> f64 {
        f64::from(self)
    }

    fn narrowed(value: f64) -> Self {
        value as Self
    }

    fn to_bits_i64(self) -> i64 {
        i64::from(self.to_bits() as i32)
    }

    fn from_bits_i64(bits: i64) -> Self {
        Self::from_bits(bits as u32)
    }
}

/// `multiple` / `power`. A whole number below 2⁵¹ becomes a floating-point number by being laid into the low bits of
/// [`ROUNDING`]: two additions, which go two or four at a time, where the machine's conversion goes one by one.
#[inline(always)]
fn unscaled<T: Float>(multiple: i64, power: f64) -> T {
    let whole = f64::from_bits((ROUNDING.to_bits() as i64).wrapping_add(multiple) as u64) - ROUNDING;
    T::narrowed(whole / power)
}

/// The multiple of 1 / `power` that is exactly `value`.
#[inline(always)]
fn scaled<T: Float>(value: T, power: f64) -> Option<i64> {
    let product = value.widened() * power;
    let rounded = (product + ROUNDING) - ROUNDING;
    let multiple = rounded as i64;
    let exact = rounded.abs() < LARGEST && unscaled::<T>(multiple, power).to_bits_i64() == value.to_bits_i64();
    exact.then_some(multiple)
}

/// Appends `values` as decimals, if that pays; says whether it did.
///
/// | bytes | what |
/// | --- | --- |
/// | 4 | exponent e, 0 to 15 |
/// | 4 | number of exceptions, x |
/// | … | stream of the multiples |
/// | 2 x | rows of the exceptions, then zeros to a multiple of 8 |
/// | w x | their values, then zeros to a multiple of 8 |
pub(super) fn encode_decimals<T: Float>(values: &[T], out: &mut Vec<u8>) -> bool {
    let step = values.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<T> = values.iter().copied().step_by(step).collect();
    let come_back = |e: usize| sample.iter().filter(|v| scaled(**v, POWERS[e]).is_some()).count();
    // The smallest exponent that does nearly as well as any: a few odd values shall not widen the others.
    let counts: Vec<usize> = (0..T::EXPONENTS).map(come_back).collect();
    let most = *counts.iter().max().expect("there are exponents");
    if most * 8 < sample.len() * 7 {
        return false;
    }
    let exponent = counts.iter().position(|count| count + sample.len() / 64 >= most).expect("one has the most");
    let power = POWERS[exponent];

    let mut exceptions = Vec::new();
    let mut multiples = Vec::with_capacity(values.len());
    let mut last = sample.iter().find_map(|v| scaled(*v, power)).unwrap_or(0);
    for (row, value) in values.iter().enumerate() {
        match scaled(*value, power) {
            Some(multiple) => last = multiple,
            None => exceptions.push(row),
        }
        multiples.push(last);
    }
    if exceptions.len() * 8 > values.len() {
        return false;
    }
    let start = out.len();
    put_u32(out, exponent as u32);
    put_u32(out, exceptions.len() as u32);
    encode(&multiples, Forms::Any, out);
    Positions::encode(exceptions.iter().copied(), out);
    for row in &exceptions {
        out.extend_from_slice(&values[*row].to_bits_i64().to_le_bytes()[..T::BYTES]);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let pays = out.len() - start < values.len() * T::BYTES;
    if !pays {
        out.truncate(start);
    }
    pays
}

/// Floating-point numbers as [`encode_decimals`] wrote them.
#[derive(Clone, Debug)]
pub(super) struct Decimals {
    power: f64,
    multiples: Ints,
    exceptions: Positions,
    /// The exceptions' values.
    raw: Bytes,
}

impl Decimals {
    /// Reads `rows` values of `width` bytes.
    pub fn parse(input: &mut Reader, rows: usize, width: usize) -> Result<Self> {
        let power = POWERS.get(input.u32()? as usize).copied();
        let power = power.ok_or_else(|| damaged("decimals have an exponent that is never written"))?;
        let count = input.u32()? as usize;
        if count > rows {
            return Err(damaged("decimals have more exceptions than rows"));
        }
        let multiples = Ints::parse(input, rows)?;
        let exceptions = Positions::parse(input, count)?;
        let raw = input.bytes(count * width)?;
        input.align()?;
        Ok(Self { power, multiples, exceptions, raw })
    }

    /// The form in a few words.
    pub fn form(&self) -> String {
        format!("decimals by {}, {}, {} aside", self.power, self.multiples.form(), self.exceptions.len())
    }

    fn exception<T: Float>(&self, i: usize) -> T {
        let mut bits = [0; 8];
        bits[..T::BYTES].copy_from_slice(&self.raw[i * T::BYTES..(i + 1) * T::BYTES]);
        T::from_bits_i64(i64::from_le_bytes(bits))
    }

    /// The value in `row`.
    #[inline]
    pub fn get<T: Float>(&self, row: usize) -> T {
        if self.exceptions.len() > 0
            && let Some(i) = self.exceptions.find(row)
        {
            return self.exception(i);
        }
        unscaled(self.multiples.get(row), self.power)
    }

    /// Reads a byte of the value in `row`.
    pub fn touch(&self, row: usize) -> u8 {
        self.multiples.touch(row)
    }

    /// All values, appended to `out`.
    pub fn decode<T: Float>(&self, out: &mut Vec<T>) -> Result<()> {
        let from = out.len();
        let power = self.power;
        self.multiples.decode_as(move |multiple| unscaled(multiple, power), out)?;
        for (i, row) in self.exceptions.ascending(self.multiples.len())?.enumerate() {
            out[from + row] = self.exception(i);
        }
        Ok(())
    }
}
