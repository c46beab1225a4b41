//! Which form a stream of whole numbers takes, and writing it.
//!
//! One pass finds range and changes; a sorted sample tells which other forms could pay; only those are counted out exactly.
//! The form with the fewest bits wins, but one whose single values take a search must save something for it. The sample is
//! taken at even steps: the same numbers always give the same bytes.

use hashbrown::HashMap;

use super::bits;
use super::ints::{DICTIONARY, LINEAR, PACKED, PATCHED, Positions, RUNS, line};

/// How many values the sample has. A hundredth of the rows stand out in it five times: enough to tell outliers from the rest.
const SAMPLE: usize = 512;
/// Bits of a stream's head.
const HEAD_BITS: u64 = 128;
/// Bits behind the point of a slope: over a chunk (8,192 rows) the rounding of the slope then adds up to half a unit.
const SLOPE_SHIFT: u8 = 13;
/// A slope with a fraction is kept to 37 bits before the point, so that slope × row stays within 63 bits.
const LARGEST_SLOPE: i128 = 1 << 37;
/// Numbers beyond this get no slope: the differences of smaller ones cannot overflow.
const LARGEST_ON_A_LINE: u64 = 1 << 61;

/// Which forms of more than one part may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forms {
    /// All.
    Any,
    /// No dictionary: for codes of one, and for values of runs in one.
    NoDictionary,
    /// No runs: for the values of runs.
    NoRuns,
    /// Packed, linear or patched.
    Direct,
    /// Packed or linear: for what must be found without a search.
    Straight,
}

/// A form with what it needs to be written.
enum Choice {
    Packed,
    Linear { slope: i64, shift: u8, base: i64, width: u8 },
    Patched { base: i64, width: u8 },
    Runs(usize),
    Dictionary(Vec<i64>),
}

/// Appends `values` in the smallest of `forms`.
pub(super) fn encode(values: &[i64], forms: Forms, out: &mut Vec<u8>) {
    let (min, max) = values.iter().fold((i64::MAX, i64::MIN), |(min, max), v| (min.min(*v), max.max(*v)));
    let (min, width) =
        if values.is_empty() { (0, 0) } else { (min, bits::width_of((max as u64).wrapping_sub(min as u64))) };
    let choice = if width == 0 { Choice::Packed } else { choose(values, forms, min, width) };
    match choice {
        Choice::Packed => {
            head(PACKED, width, 0, 0, min, out);
            bits::pack(values.iter().map(|v| v.wrapping_sub(min) as u64), width, out);
        }
        Choice::Linear { slope, shift, base, width } => {
            head(LINEAR, width, shift, 0, base, out);
            out.extend_from_slice(&slope.to_le_bytes());
            let rest = |(i, v): (usize, &i64)| v.wrapping_sub(line(slope, shift, i)).wrapping_sub(base) as u64;
            bits::pack(values.iter().enumerate().map(rest), width, out);
        }
        Choice::Patched { base, width } => {
            let limit = 1_u64 << width;
            let above = |v: i64| v.wrapping_sub(base) as u64;
            let patches: Vec<usize> = (0..values.len()).filter(|i| above(values[*i]) >= limit).collect();
            head(PATCHED, width, 0, patches.len() as u32, base, out);
            let packed = values.iter().map(|v| if above(*v) < limit { above(*v) } else { 0 });
            bits::pack(packed, width, out);
            Positions::encode(patches.iter().copied(), out);
            encode(&patches.iter().map(|i| values[*i]).collect::<Vec<_>>(), Forms::Straight, out);
        }
        Choice::Runs(count) => {
            let mut lasts: Vec<u64> = Vec::with_capacity(count);
            lasts.extend((1..values.len()).filter(|i| values[*i] != values[*i - 1]).map(|i| i as u64 - 1));
            lasts.push(values.len() as u64 - 1);
            let width = bits::width_of(values.len() as u64 - 1);
            head(RUNS, width, 0, count as u32, 0, out);
            bits::pack(lasts.iter().copied(), width, out);
            let forms = if forms == Forms::NoDictionary { Forms::Direct } else { Forms::NoRuns };
            encode(&lasts.iter().map(|last| values[*last as usize]).collect::<Vec<_>>(), forms, out);
        }
        Choice::Dictionary(known) => {
            head(DICTIONARY, 0, 0, known.len() as u32, 0, out);
            encode(&known, Forms::Direct, out);
            let codes: HashMap<i64, i64> = known.iter().enumerate().map(|(code, v)| (*v, code as i64)).collect();
            let forms = if forms == Forms::NoRuns { Forms::Direct } else { Forms::NoDictionary };
            encode(&values.iter().map(|v| codes[v]).collect::<Vec<_>>(), forms, out);
        }
    }
    out.resize(out.len().next_multiple_of(8), 0);
}

fn head(form: u8, width: u8, shift: u8, count: u32, base: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[form, width, shift, 0]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&base.to_le_bytes());
}

/// The cheapest form of `values`, of which the smallest is `min` and the others take `width` bits above it.
fn choose(values: &[i64], forms: Forms, min: i64, width: u8) -> Choice {
    let rows = values.len() as u64;
    let mut best = (rows * u64::from(width), Choice::Packed);
    let consider = |best: &mut (u64, Choice), bits: u64, choice: Choice| {
        if bits < best.0 {
            *best = (bits, choice);
        }
    };
    if let Some((bits, choice)) = linear(values, width) {
        consider(&mut best, bits, choice);
    }
    if forms == Forms::Straight {
        return best.1;
    }
    let step = values.len().div_ceil(SAMPLE);
    let mut sample: Vec<i64> = values.iter().copied().step_by(step).collect();
    sample.sort_unstable();
    if let Some((bits, choice)) = patched(values, &sample, min, width) {
        // One in sixteen for the search.
        consider(&mut best, bits + bits / 16, choice);
    }
    if matches!(forms, Forms::Any | Forms::NoDictionary) {
        let runs = 1 + values.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let bits = runs as u64 * u64::from(width + bits::width_of(rows)) + HEAD_BITS;
        consider(&mut best, bits + bits / 16, Choice::Runs(runs));
    }
    if matches!(forms, Forms::Any | Forms::NoRuns)
        && let Some((bits, choice)) = dictionary(values, &sample, width, best.0)
    {
        consider(&mut best, bits + bits / 16, choice);
    }
    best.1
}

/// Bits that `values` take beside a straight line through the first and the last.
fn linear(values: &[i64], width: u8) -> Option<(u64, Choice)> {
    let (first, last) = (*values.first()?, *values.last()?);
    let steps = values.len() as i128 - 1;
    let rise = i128::from(last) - i128::from(first);
    if steps < 2 || rise == 0 {
        return None;
    }
    let (slope, shift) = match (rise << SLOPE_SHIFT) / steps {
        slope if slope.abs() < LARGEST_SLOPE << SLOPE_SHIFT => (slope as i64, SLOPE_SHIFT),
        slope => (i64::try_from(slope >> SLOPE_SHIFT).ok()?, 0),
    };
    let range = |step: usize| {
        (0..values.len()).step_by(step).try_fold((i64::MAX, i64::MIN), |(min, max), i| {
            let rest = values[i].wrapping_sub(line(slope, shift, i));
            let is_near = values[i].unsigned_abs().max(rest.unsigned_abs()) <= LARGEST_ON_A_LINE;
            is_near.then(|| (min.min(rest), max.max(rest)))
        })
    };
    // A few rows tell whether the line leads anywhere.
    let (low, high) = range(values.len().div_ceil(32))?;
    if bits::width_of((high - low) as u64) >= width {
        return None;
    }
    let (base, high) = range(1)?;
    let width = bits::width_of((high - base) as u64);
    let bits = values.len() as u64 * u64::from(width) + 64;
    Some((bits, Choice::Linear { slope, shift, base, width }))
}

/// Bits that `values` take if a few stand aside from a narrower range.
fn patched(values: &[i64], sample: &[i64], min: i64, width: u8) -> Option<(u64, Choice)> {
    let (low, high) = (sample[sample.len() / 16], sample[sample.len() - 1 - sample.len() / 16]);
    if bits::width_of(high.wrapping_sub(low) as u64) + 2 > width {
        return None;
    }
    let cost_of_patch = 16 + u64::from(width);
    let with_base = |base: i64| {
        let mut of_width = [0_u64; 65];
        for value in values {
            of_width[64 - value.wrapping_sub(base).cast_unsigned().leading_zeros() as usize] += 1;
        }
        // All wider than a width are patches; values below the base wrap around and are as wide as can be.
        let mut patches = 0;
        let mut best: Option<(u64, Choice)> = None;
        for (narrower, count) in (0..64_u8).zip(&of_width[1..]).rev() {
            patches += count;
            let bits = values.len() as u64 * u64::from(narrower) + patches * cost_of_patch + HEAD_BITS;
            if bits::is_width(narrower) && best.as_ref().is_none_or(|(least, _)| bits < *least) {
                best = Some((bits, Choice::Patched { base, width: narrower }));
            }
        }
        best
    };
    let bases = [min, sample[0], low];
    bases.iter().filter_map(|base| with_base(*base)).min_by_key(|(bits, _)| *bits)
}

/// Bits that `values` take as codes of their distinct ones, if that is less than `limit`.
fn dictionary(values: &[i64], sample: &[i64], width: u8, limit: u64) -> Option<(u64, Choice)> {
    let rows = values.len() as u64;
    let cost = |distinct: usize| {
        let codes = u64::from(bits::width_of(distinct as u64 - 1));
        rows * codes + distinct as u64 * u64::from(width) + 2 * HEAD_BITS
    };
    let in_sample = 1 + sample.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Where nearly every value of the sample is new, most of the rest are too.
    if cost(in_sample) >= limit || (values.len() > SAMPLE && in_sample > sample.len() - sample.len() / 32) {
        return None;
    }
    let mut known: HashMap<i64, ()> = HashMap::with_capacity(2 * in_sample);
    for value in values {
        if known.insert(*value, ()).is_none() && known.len().is_multiple_of(64) && cost(known.len()) >= limit {
            return None;
        }
    }
    let mut known: Vec<i64> = known.into_keys().collect();
    known.sort_unstable();
    Some((cost(known.len()), Choice::Dictionary(known)))
}
