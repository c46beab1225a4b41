//! Streams of whole numbers, the substance of most columns: integers and times as they are, decimals and floating-point
//! numbers as multiples of a power of ten, codes of dictionaries, lengths of texts, validity.
//!
//! | form | value i | made for |
//! | --- | --- | --- |
//! | packed | base + number i | anything within a range; a range of one value takes no bits |
//! | linear | base + (slope × i >> shift) + number i | sequences, and times that go on evenly |
//! | patched | as packed, but for listed rows | a range that a few values leave |
//! | runs | the value of the run that i falls into | values that stay for a while; columns that are mostly NULL |
//! | dictionary | value of code i | few values, far apart |
//!
//! All arithmetic wraps around at 64 bits. Streams within streams (values of runs, codes) are of simpler forms, so that
//! reading never goes deeper than [`MAX_DEPTH`]. Access to one value takes constant time, plus a binary search over patches
//! or runs.

use bytes::Bytes;
use gridhouse_base::Result;

use super::bits;
use super::reader::Reader;
use crate::codec::damaged;

/// Dictionaries within runs (or runs within dictionaries), and packed or patched numbers in those, whose patches are packed.
const MAX_DEPTH: usize = 4;

pub(super) const PACKED: u8 = 0;
pub(super) const LINEAR: u8 = 1;
pub(super) const PATCHED: u8 = 2;
pub(super) const RUNS: u8 = 3;
pub(super) const DICTIONARY: u8 = 4;

/// Unsigned numbers of one width.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    bytes: Bytes,
    width: u8,
}

impl Packed {
    fn parse(input: &mut Reader, count: usize, width: u8) -> Result<Self> {
        if !bits::is_width(width) {
            return Err(damaged("packed numbers have a width that is never written"));
        }
        Ok(Self { bytes: input.bytes(bits::packed_bytes(count, width))?, width })
    }

    #[inline(always)]
    fn get(&self, i: usize) -> u64 {
        bits::get(&self.bytes, self.width, i)
    }

    #[inline(always)]
    fn touch(&self, i: usize) -> u8 {
        self.bytes.get(i * usize::from(self.width) / 8).copied().unwrap_or_default()
    }
}

/// A stream of whole numbers over shared bytes.
#[derive(Clone, Debug)]
pub(super) struct Ints {
    rows: usize,
    base: i64,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Packed),
    Linear { packed: Packed, slope: i64, shift: u8 },
    Patched { packed: Packed, patches: Box<Positions>, values: Box<Ints> },
    Runs { lasts: Packed, values: Box<Ints> },
    Dictionary { codes: Box<Ints>, values: Box<Ints> },
}

/// The straight line of the linear form.
#[inline(always)]
pub(super) fn line(slope: i64, shift: u8, i: usize) -> i64 {
    slope.wrapping_mul(i as i64) >> shift
}

impl Ints {
    /// Reads a stream of `rows` numbers.
    pub fn parse(input: &mut Reader, rows: usize) -> Result<Self> {
        Self::parse_at(input, rows, 0)
    }

    fn parse_at(input: &mut Reader, rows: usize, depth: usize) -> Result<Self> {
        if depth == MAX_DEPTH {
            return Err(damaged("numbers are nested deeper than they are ever written"));
        }
        let [form, width, shift, _] = input.array()?;
        let count = input.u32()? as usize;
        let base = input.i64()?;
        if count > rows {
            return Err(damaged("numbers have more parts than rows"));
        }
        let inner = |input: &mut Reader, count| Self::parse_at(input, count, depth + 1).map(Box::new);
        let form = match form {
            PACKED => Form::Packed(Packed::parse(input, rows, width)?),
            LINEAR => {
                let slope = input.i64()?;
                if shift > 63 {
                    return Err(damaged("the slope of numbers has more than 63 bits behind its point"));
                }
                Form::Linear { packed: Packed::parse(input, rows, width)?, slope, shift }
            }
            PATCHED => {
                let packed = Packed::parse(input, rows, width)?;
                let patches = Box::new(Positions::parse(input, count)?);
                Form::Patched { packed, patches, values: inner(input, count)? }
            }
            RUNS if count > 0 => {
                Form::Runs { lasts: Packed::parse(input, count, width)?, values: inner(input, count)? }
            }
            DICTIONARY if count > 0 => Form::Dictionary { values: inner(input, count)?, codes: inner(input, rows)? },
            _ => return Err(damaged("numbers have a form that is never written")),
        };
        input.align()?;
        Ok(Self { rows, base, form })
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The form in a few words.
    pub fn form(&self) -> String {
        match &self.form {
            Form::Packed(packed) if packed.width == 0 => "constant".to_owned(),
            Form::Packed(packed) => format!("packed {}", packed.width),
            Form::Linear { packed, .. } => format!("linear {}", packed.width),
            Form::Patched { packed, values, .. } => format!("patched {}, {} aside", packed.width, values.len()),
            Form::Runs { values, .. } => format!("{} runs of {}", values.len(), values.form()),
            Form::Dictionary { codes, values } => format!("dictionary of {}, {}", values.len(), codes.form()),
        }
    }

    /// The number in `row`. Bytes that contradict themselves give some number; [`Self::decode`] finds them out.
    #[inline]
    pub fn get(&self, row: usize) -> i64 {
        debug_assert!(row < self.rows, "row {row} of {}", self.rows);
        match &self.form {
            Form::Packed(packed) => self.base.wrapping_add(packed.get(row) as i64),
            _ => self.get_slowly(row),
        }
    }

    /// Reads a byte of the number in `row`, if it stands at a place of its own.
    #[inline]
    pub fn touch(&self, row: usize) -> u8 {
        match &self.form {
            Form::Packed(packed) | Form::Linear { packed, .. } | Form::Patched { packed, .. } => packed.touch(row),
            Form::Dictionary { codes, .. } => codes.touch(row),
            Form::Runs { .. } => 0,
        }
    }

    fn get_slowly(&self, row: usize) -> i64 {
        match &self.form {
            Form::Packed(packed) => self.base.wrapping_add(packed.get(row) as i64),
            Form::Linear { packed, slope, shift } => {
                self.base.wrapping_add(line(*slope, *shift, row)).wrapping_add(packed.get(row) as i64)
            }
            Form::Patched { packed, patches, values } => match patches.find(row) {
                Some(patch) => values.get(patch),
                None => self.base.wrapping_add(packed.get(row) as i64),
            },
            Form::Runs { lasts, values } => {
                let (mut low, mut high) = (0, values.len() - 1);
                while low < high {
                    let middle = (low + high) / 2;
                    if lasts.get(middle) < row as u64 { low = middle + 1 } else { high = middle }
                }
                values.get(low)
            }
            Form::Dictionary { codes, values } => {
                let code = usize::try_from(codes.get(row)).unwrap_or(usize::MAX);
                values.get(code.min(values.len() - 1))
            }
        }
    }

    /// All numbers, appended to `out` as `of` makes them.
    pub fn decode_as<T: Copy>(&self, of: impl Fn(i64) -> T + Copy, out: &mut Vec<T>) -> Result<()> {
        let base = self.base;
        out.reserve(self.rows);
        match &self.form {
            Form::Packed(packed) => bits::unpack(&packed.bytes, packed.width, self.rows, |_, numbers| {
                out.extend(numbers.iter().map(|n| of(base.wrapping_add(*n as i64))));
            }),
            Form::Linear { packed, slope, shift } => {
                let (slope, shift) = (*slope, *shift);
                bits::unpack(&packed.bytes, packed.width, self.rows, |start, numbers| {
                    let value = |row, n| base.wrapping_add(line(slope, shift, row)).wrapping_add(n);
                    out.extend((start..).zip(numbers).map(|(row, n)| of(value(row, *n as i64))));
                });
            }
            _ => {
                let mut values = Vec::with_capacity(self.rows);
                self.decode_parts(&mut values)?;
                out.extend(values.into_iter().map(of));
            }
        }
        Ok(())
    }

    /// All numbers, appended to `out`.
    pub fn decode(&self, out: &mut Vec<i64>) -> Result<()> {
        match &self.form {
            Form::Packed(_) | Form::Linear { .. } => self.decode_as(|value| value, out),
            _ => self.decode_parts(out),
        }
    }

    /// All numbers of a form with streams within it, appended to `out`.
    fn decode_parts(&self, out: &mut Vec<i64>) -> Result<()> {
        let base = self.base;
        let from = out.len();
        match &self.form {
            Form::Packed(_) | Form::Linear { .. } => unreachable!("there are no streams within these forms"),
            Form::Patched { packed, patches, values } => {
                bits::unpack(&packed.bytes, packed.width, self.rows, |_, numbers| {
                    out.extend(numbers.iter().map(|n| base.wrapping_add(*n as i64)));
                });
                for (patch, row) in patches.ascending(self.rows)?.enumerate() {
                    out[from + row] = values.get(patch);
                }
            }
            Form::Runs { lasts, values } => {
                for run in 0..values.len() {
                    let end = lasts.get(run).saturating_add(1);
                    let there = (out.len() - from) as u64;
                    if end <= there || end > self.rows as u64 {
                        return Err(damaged("runs of numbers do not follow each other"));
                    }
                    out.resize(from + end as usize, values.get(run));
                }
                if out.len() - from != self.rows {
                    return Err(damaged("runs of numbers end before the rows do"));
                }
            }
            Form::Dictionary { codes, values } => {
                let mut known = Vec::with_capacity(values.len());
                values.decode(&mut known)?;
                codes.decode(out)?;
                for value in &mut out[from..] {
                    let code = usize::try_from(*value).ok().and_then(|code| known.get(code));
                    *value = *code.ok_or_else(|| damaged("a code is not in its dictionary"))?;
                }
            }
        }
        Ok(())
    }

    /// The sum of the numbers in the rows `from..to`.
    pub fn sum(&self, from: usize, to: usize) -> i64 {
        match &self.form {
            Form::Packed(packed) => {
                let numbers = if packed.width == 0 {
                    0
                } else {
                    (from..to).fold(0, |sum: u64, row| sum.wrapping_add(packed.get(row)))
                };
                self.base.wrapping_mul((to - from) as i64).wrapping_add(numbers as i64)
            }
            _ => (from..to).fold(0_i64, |sum, row| sum.wrapping_add(self.get(row))),
        }
    }

    /// If all numbers are 0 or 1 and stand as single bits: those bits, lowest first.
    pub fn as_bits(&self) -> Option<&Bytes> {
        match &self.form {
            Form::Packed(packed) if packed.width == 1 && self.base == 0 => Some(&packed.bytes),
            _ => None,
        }
    }
}

/// Ascending rows, two bytes each.
#[derive(Clone, Debug)]
pub(super) struct Positions(Bytes);

impl Positions {
    /// Appends `rows`.
    pub fn encode(rows: impl Iterator<Item = usize>, out: &mut Vec<u8>) {
        for row in rows {
            out.extend_from_slice(&u16::try_from(row).expect("a chunk has fewer rows").to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(8), 0);
    }

    /// Reads `count` rows.
    pub fn parse(input: &mut Reader, count: usize) -> Result<Self> {
        let positions = Self(input.bytes(count * 2)?);
        input.align()?;
        Ok(positions)
    }

    fn pairs(&self) -> &[[u8; 2]] {
        self.0.as_chunks::<2>().0
    }

    /// Where `row` stands among them.
    #[inline]
    pub fn find(&self, row: usize) -> Option<usize> {
        self.pairs().binary_search_by_key(&row, |pair| usize::from(u16::from_le_bytes(*pair))).ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// The rows, checked to ascend and to be below `rows`.
    pub fn ascending(&self, rows: usize) -> Result<impl Iterator<Item = usize>> {
        let all = self.pairs().iter().map(|pair| usize::from(u16::from_le_bytes(*pair)));
        if !all.clone().is_sorted_by(|a, b| a < b) || all.clone().next_back().is_some_and(|last| last >= rows) {
            return Err(damaged("rows with values of their own do not ascend"));
        }
        Ok(all)
    }
}
