//! `MIN` and `MAX`: an ordered multiset of values per group, so that the next value takes over where the extreme is
//! withdrawn. Over append-only inputs only the extreme is kept.
//!
//! Whole numbers, dates, times and booleans are ordered as 64-bit integers; floats too, by the bits of IEEE 754's total
//! order (NaN above everything); decimals as 128-bit integers; texts and bytes by their bytes.

mod lists;
mod number;
mod text;

use gridhouse_base::{Error, Result, TypeKind};

use super::accumulator::Accumulator;
use super::cells::Layout;
use number::{Latest, Ranked};
use text::{LatestText, RankedText};

/// `MIN` or `MAX` (`largest`) over values of `arg`.
pub(super) fn accumulator(
    arg: &TypeKind,
    result: &TypeKind,
    largest: bool,
    append_only: bool,
    layout: &mut Layout,
) -> Result<Box<dyn Accumulator>> {
    let data_type = result.arrow();
    if arg.arrow() != data_type && !(arg.is_text() && result.is_text() || arg.is_bytes() && result.is_bytes()) {
        return Err(Error::internal(format!("an extreme of {arg} cannot be {result}")));
    }
    Ok(match (arg, append_only) {
        (TypeKind::Null | TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_), _) => {
            return Err(Error::invalid(format!("values of {arg} have no smallest or largest")));
        }
        (TypeKind::Decimal { .. }, false) => Box::new(Ranked::<i128>::new(data_type, largest, layout)),
        (TypeKind::Decimal { .. }, true) => Box::new(Latest::<i128>::new(data_type, largest, layout)),
        (kind, false) if kind.is_text() || kind.is_bytes() => Box::new(RankedText::new(data_type, largest)),
        (kind, true) if kind.is_text() || kind.is_bytes() => Box::new(LatestText::new(data_type, largest)),
        (_, false) => Box::new(Ranked::<i64>::new(data_type, largest, layout)),
        (_, true) => Box::new(Latest::<i64>::new(data_type, largest, layout)),
    })
}

/// The error for a withdrawal where there can be none.
fn refuse_withdrawals(weights: &[i64]) -> Result<()> {
    match weights.iter().find(|&&weight| weight < 0) {
        Some(weight) => Err(Error::internal(format!("an append-only input withdraws a row (weight {weight})"))),
        None => Ok(()),
    }
}
