//! The effective change of a table: which rows went and which came, without those that went and came again.
//!
//! A primary-key table keeps the two sides apart, each with its key numbers, so that the changes of several commits in one
//! tick can be reduced to one old and one new row per key.

use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, UInt32Array};
use arrow_ord::cmp::not_distinct;
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Result};
use hashbrown::HashTable;

use crate::tail::rearrange_error;

/// Rows with their key numbers (no numbers for log tables).
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyedRows {
    pub keys: Vec<u128>,
    pub columns: Vec<ArrayRef>,
    pub len: usize,
}

/// What one part did to a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    /// Rows that went: at most one per key.
    pub old: KeyedRows,
    /// Rows that came: at most one per key.
    pub new: KeyedRows,
    /// How many of the old rows were replaced by new ones; these come first, then the deleted ones.
    pub replaced: usize,
}

impl Effect {
    pub fn is_empty(&self) -> bool {
        self.old.len == 0 && self.new.len == 0
    }

    /// Old rows with weight -1, then new ones with +1.
    pub fn into_batch(self) -> Result<ChangeBatch> {
        let weights = || std::iter::repeat_n(-1, self.old.len).chain(std::iter::repeat_n(1, self.new.len));
        if self.old.len == 0 {
            return Ok(ChangeBatch::insertions(self.new.columns, self.new.len));
        }
        let diff: Int32Array = weights().collect();
        if self.new.len == 0 {
            return Ok(ChangeBatch::new(self.old.columns, self.old.len, Some(diff)));
        }
        let pairs = self.old.columns.iter().zip(&self.new.columns);
        let columns = pairs.map(|(old, new)| concat(&[old.as_ref(), new.as_ref()])).collect::<Result<Vec<_>, _>>();
        Ok(ChangeBatch::new(columns.map_err(rearrange_error)?, self.old.len + self.new.len, Some(diff)))
    }
}

/// As many rows as went and came in all, without columns.
pub(crate) fn counted(effects: &[Effect]) -> Option<ChangeBatch> {
    let (old, new) = effects.iter().fold((0, 0), |(old, new), effect| (old + effect.old.len, new + effect.new.len));
    let diff: Int32Array = std::iter::repeat_n(-1, old).chain(std::iter::repeat_n(1, new)).collect();
    (old + new > 0).then(|| ChangeBatch::new(Vec::new(), old + new, Some(diff)))
}

/// Where a row stands among the effects of a tick: effect and position.
type Place = (usize, usize);

/// What a tick did to one key: its first old and its last new row.
struct Net {
    key: u128,
    old: Option<Place>,
    new: Option<Place>,
}

/// Reduces the effects of successive commits on one table to a consolidated change. `has_keys` is false for log tables.
pub(crate) fn consolidate(mut effects: Vec<Effect>, has_keys: bool) -> Result<Option<ChangeBatch>> {
    effects.retain(|effect| !effect.is_empty());
    if effects.len() <= 1 || !has_keys {
        let batches = effects.into_iter().map(Effect::into_batch).collect::<Result<Vec<_>>>()?;
        return if batches.is_empty() { Ok(None) } else { ChangeBatch::concat(&batches).map(Some) };
    }
    let mut nets: Vec<Net> = Vec::new();
    let mut by_key: HashTable<u32> = HashTable::new();
    for (e, effect) in effects.iter().enumerate() {
        for (i, &key) in effect.old.keys.iter().enumerate() {
            match find_net(&mut by_key, &mut nets, key) {
                (net, true) => net.old = Some((e, i)),
                (net, false) => net.new = None,
            }
        }
        for (i, &key) in effect.new.keys.iter().enumerate() {
            find_net(&mut by_key, &mut nets, key).0.new = Some((e, i));
        }
    }
    let old_places: Vec<Place> = nets.iter().filter_map(|net| net.old).collect();
    let new_places: Vec<Place> = nets.iter().filter_map(|net| net.new).collect();
    let old = gather(&effects, |effect| &effect.old, &old_places)?;
    let new = gather(&effects, |effect| &effect.new, &new_places)?;
    // Pairs of both sides are compared, and left out where the row came back to what it was.
    let (mut o, mut n) = (0u32, 0u32);
    let (mut pairs_old, mut pairs_new) = (Vec::new(), Vec::new());
    for net in &nets {
        if net.old.is_some() && net.new.is_some() {
            pairs_old.push(o);
            pairs_new.push(n);
        }
        o += u32::from(net.old.is_some());
        n += u32::from(net.new.is_some());
    }
    let same = rows_equal(&take_rows(&old, &pairs_old)?, &take_rows(&new, &pairs_new)?, pairs_old.len())?;
    let drop_same = |columns: Vec<ArrayRef>, len: usize, pairs: &[u32]| {
        let mut keep = vec![true; len];
        pairs.iter().enumerate().for_each(|(i, &row)| keep[row as usize] = !same.value(i));
        let keep = BooleanArray::from(keep);
        let columns =
            columns.iter().map(|c| filter(c, &keep)).collect::<Result<Vec<_>, _>>().map_err(rearrange_error)?;
        Ok(KeyedRows { keys: Vec::new(), columns, len: keep.true_count() })
    };
    let old = drop_same(old, old_places.len(), &pairs_old)?;
    let new = drop_same(new, new_places.len(), &pairs_new)?;
    let net = Effect { old, new, replaced: 0 };
    if net.is_empty() { Ok(None) } else { net.into_batch().map(Some) }
}

/// The entry of `key`, and whether it has just been made.
fn find_net<'a>(by_key: &mut HashTable<u32>, nets: &'a mut Vec<Net>, key: u128) -> (&'a mut Net, bool) {
    let found = by_key.find(spread(key), |&i| nets[i as usize].key == key).copied();
    let (i, is_new) = match found {
        Some(i) => (i, false),
        None => {
            let i = nets.len() as u32;
            nets.push(Net { key, old: None, new: None });
            by_key.insert_unique(spread(key), i, |&i| spread(nets[i as usize].key));
            (i, true)
        }
    };
    (&mut nets[i as usize], is_new)
}

/// A hash of a key number for tables that live as long as one call. Exact keys are often consecutive, hence the mixing.
pub(crate) fn spread(key: u128) -> u64 {
    let product = u128::from(key as u64 ^ (key >> 64) as u64) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64).rotate_left(32)
}

fn gather(effects: &[Effect], side: impl Fn(&Effect) -> &KeyedRows, places: &[Place]) -> Result<Vec<ArrayRef>> {
    let width = effects.iter().map(|effect| side(effect).columns.len()).max().unwrap_or(0);
    let column = |c: usize| {
        // An effect without rows on this side may have no columns; its neighbour's stand in and are never referred to.
        let stand_in = effects.iter().find_map(|e| side(e).columns.get(c)).expect("some effect has columns");
        let parts: Vec<&dyn Array> =
            effects.iter().map(|e| side(e).columns.get(c).unwrap_or(stand_in).as_ref()).collect();
        interleave(&parts, places).map_err(rearrange_error)
    };
    (0..width).map(column).collect()
}

/// The rows at `rows` of each column.
pub(crate) fn take_rows(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows.to_vec());
    columns.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>().map_err(rearrange_error)
}

/// Row by row, whether all columns agree; NULL equals NULL, and floating-point numbers are compared by their bits.
pub(crate) fn rows_equal(a: &[ArrayRef], b: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
    let mut equal = vec![true; rows];
    for (a, b) in a.iter().zip(b) {
        if !equal.contains(&true) {
            break;
        }
        if a.data_type().is_nested() {
            for (row, equal) in equal.iter_mut().enumerate().filter(|(_, equal)| **equal) {
                *equal = a.slice(row, 1).to_data() == b.slice(row, 1).to_data();
            }
            continue;
        }
        let same = not_distinct(a, b).map_err(rearrange_error)?;
        equal.iter_mut().enumerate().for_each(|(row, equal)| *equal &= same.value(row));
    }
    Ok(BooleanArray::from(equal))
}
