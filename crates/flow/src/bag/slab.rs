//! Rows as bytes in growing pages, with the weight of each.
//!
//! A row takes a head of 8 bytes, 8 more where matches are counted, and its bytes, rounded up to 8. The place of a row that is
//! gone is given to the next one of its size: up to 512 bytes sizes are exact, above they come in steps of an eighth. Where
//! sizes change, or rows become fewer, places can lie idle; the owner moves all rows to new pages where that is more than
//! half of them ([`Slab::is_wasteful`]).

use super::Weight;
use crate::pages::{BytePages, PAGE_BYTES};
use crate::sorted::Sorted;

/// A row's number: its address, in units of [`UNIT`] bytes.
pub(super) type RowId = u32;

/// Rows begin at multiples of this many bytes, so that 2³² places reach 32 GiB.
const UNIT: usize = 8;

/// Stands where there is no row.
const NONE: RowId = RowId::MAX;

/// Addresses end here.
const MOST_BYTES: usize = NONE as usize * UNIT;

/// Up to this many units every size is one of its own.
const EXACT_UNITS: usize = 64;

/// The number of sizes: those up to [`EXACT_UNITS`], then eight per doubling up to 2³² units.
const SIZES: usize = EXACT_UNITS + 8 * 27;

/// Stands in a row's head for a weight that does not fit there.
const HEAVY: i32 = i32::MIN;

/// Below this many idle bytes moving is not worth its while.
const WASTE_AT_LEAST: usize = 64 * 1024;

/// Rows by number.
pub(super) struct Slab {
    bytes: BytePages,
    /// By size: the row that was freed last; the first bytes of a free row name the one that was freed before it.
    free: Vec<RowId>,
    rows: usize,
    /// Bytes of all places that were given out, in use or free again.
    placed: usize,
    /// Bytes of places that hold a row.
    used: usize,
    /// Bytes before a row's own: length, weight and, where they are counted, matches.
    head_bytes: usize,
    /// The weights that do not fit into 32 bits.
    heavy: Sorted<RowId, i64>,
}

impl Slab {
    /// An empty buffer; only where `counts_matches` they are kept.
    pub fn new(counts_matches: bool) -> Self {
        let head_bytes = if counts_matches { 16 } else { 8 };
        let (bytes, heavy) = (BytePages::default(), Sorted::default());
        Self { bytes, free: vec![NONE; SIZES], rows: 0, placed: 0, used: 0, head_bytes, heavy }
    }

    /// Whether matches are kept.
    pub fn counts_matches(&self) -> bool {
        self.head_bytes > 8
    }

    /// The size class of a row of `len` bytes and its bytes with head, rounded up.
    fn size(&self, len: usize) -> (usize, usize) {
        let units = (self.head_bytes + len).div_ceil(UNIT);
        if units <= EXACT_UNITS {
            return (units - 1, units * UNIT);
        }
        let step = units.ilog2() - 3;
        let units = units.div_ceil(1 << step) << step;
        let (doubling, eighth) = (units.ilog2(), units >> (units.ilog2() - 3) & 7);
        (EXACT_UNITS + (doubling - EXACT_UNITS.ilog2()) as usize * 8 + eighth, units * UNIT)
    }

    /// Puts a row.
    pub fn put(&mut self, row: &[u8], weight: Weight) -> RowId {
        let (size, bytes) = self.size(row.len());
        let id = match self.free[size] {
            NONE => {
                let at = self.bytes.place(bytes);
                assert!(at + bytes <= MOST_BYTES, "rows were let in beyond what `Bag::room_for` allows");
                self.placed += bytes;
                (at / UNIT) as RowId
            }
            id => {
                self.free[size] = u32::from_le_bytes(self.array(id, 0));
                id
            }
        };
        self.rows += 1;
        self.used += bytes;
        let head_bytes = self.head_bytes;
        let place = self.bytes.at_mut(id as usize * UNIT);
        place[..4].copy_from_slice(&(row.len() as u32).to_le_bytes());
        place[head_bytes..][..row.len()].copy_from_slice(row);
        self.set_weight(id, weight.weight);
        if self.counts_matches() {
            self.set_matches(id, weight.matches);
        }
        id
    }

    fn array<const N: usize>(&self, id: RowId, offset: usize) -> [u8; N] {
        *self.bytes.at(id as usize * UNIT)[offset..].first_chunk().expect("a row has its head")
    }

    /// A row's bytes.
    #[inline]
    pub fn row(&self, id: RowId) -> &[u8] {
        let place = self.bytes.at(id as usize * UNIT);
        let len = u32::from_le_bytes(*place.first_chunk().expect("a row has its head")) as usize;
        &place[self.head_bytes..][..len]
    }

    /// A row's weight.
    #[inline]
    pub fn weight(&self, id: RowId) -> i64 {
        match i32::from_le_bytes(self.array(id, 4)) {
            HEAVY => self.heavy.get(&id).copied().unwrap_or_default(),
            weight => weight.into(),
        }
    }

    /// What is remembered of a row.
    #[inline]
    pub fn weight_and_matches(&self, id: RowId) -> Weight {
        let matches = if self.counts_matches() { i64::from_le_bytes(self.array(id, 8)) } else { 0 };
        Weight { weight: self.weight(id), matches }
    }

    /// Sets a row's weight.
    #[inline]
    pub fn set_weight(&mut self, id: RowId, weight: i64) {
        let light = i32::try_from(weight).ok().filter(|&light| light != HEAVY);
        if light.is_none() {
            self.heavy.insert(id, weight);
        } else if !self.heavy.is_empty() {
            self.heavy.remove(&id);
        }
        self.bytes.at_mut(id as usize * UNIT)[4..8].copy_from_slice(&light.unwrap_or(HEAVY).to_le_bytes());
    }

    /// Sets a row's matches, which are counted here.
    #[inline]
    pub fn set_matches(&mut self, id: RowId, matches: i64) {
        assert!(self.counts_matches(), "matches are kept only where a bag was made for it");
        self.bytes.at_mut(id as usize * UNIT)[8..16].copy_from_slice(&matches.to_le_bytes());
    }

    /// The first bytes of a row, as a number; to have them fetched from memory.
    #[inline]
    pub fn touch(&self, id: RowId) -> u64 {
        u64::from_le_bytes(self.array(id, 0))
    }

    /// Forgets a row.
    pub fn free(&mut self, id: RowId) {
        self.rows -= 1;
        if !self.heavy.is_empty() {
            self.heavy.remove(&id);
        }
        if self.rows == 0 {
            *self = Self::new(self.counts_matches());
            return;
        }
        let len = u32::from_le_bytes(self.array(id, 0)) as usize;
        let (size, bytes) = self.size(len);
        self.used -= bytes;
        self.bytes.at_mut(id as usize * UNIT)[..4].copy_from_slice(&self.free[size].to_le_bytes());
        self.free[size] = id;
    }

    /// Whether `bytes` more, with heads and rounded up, have an address.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        // What is left free at the ends of pages is less than what begins the next ones.
        self.bytes.end() + 2 * bytes + PAGE_BYTES <= MOST_BYTES
    }

    /// A copy to be read, which has the same pages until they are changed.
    pub fn share(&mut self) -> Self {
        let fresh = Self::new(self.counts_matches());
        let (bytes, heavy) = (self.bytes.share(), self.heavy.clone());
        Self { bytes, rows: self.rows, placed: self.placed, used: self.used, heavy, ..fresh }
    }

    /// Whether more than half of the places lies idle. What is left over at the ends of pages cannot be won back by moving.
    pub fn is_wasteful(&self) -> bool {
        let idle = self.placed - self.used;
        idle > WASTE_AT_LEAST && idle > self.used
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.bytes.end()
    }
}

#[cfg(test)]
mod tests {
    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn places_are_given_out_again_and_rows_stay_whole() {
        let mut random = Random::new(5);
        for counts_matches in [false, true] {
            let mut slab = Slab::new(counts_matches);
            let mut plain: Vec<(RowId, Vec<u8>, Weight)> = Vec::new();
            for round in 0..30_000 {
                if plain.len() < 300 || (plain.len() < 400 && random.chance(0.5)) {
                    let longest = if random.chance(0.05) { 9_000 } else { 200 };
                    let len = random.below(longest) as usize;
                    let row: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
                    let heavy = [i64::MAX, i64::from(i32::MIN), i64::from(i32::MIN) - 1, i64::from(i32::MAX) + 1, -1];
                    let matches = if counts_matches { random.bits() as i64 } else { 0 };
                    let weight = Weight { weight: *random.pick(&heavy), matches };
                    plain.push((slab.put(&row, weight), row, weight));
                } else {
                    let (id, row, weight) = plain.swap_remove(random.below(plain.len() as u64) as usize);
                    assert_eq!((slab.row(id), slab.weight_and_matches(id)), (&row[..], weight), "round {round}");
                    slab.free(id);
                }
            }
            let used: usize = plain.iter().map(|(_, row, _)| slab.size(row.len()).1).sum();
            assert_eq!(slab.used, used);
            for (id, row, weight) in plain {
                assert_eq!((slab.row(id), slab.weight_and_matches(id)), (&row[..], weight));
                slab.set_weight(id, 7);
                assert_eq!(slab.weight(id), 7);
                slab.free(id);
            }
            assert_eq!((slab.bytes(), slab.heavy.len()), (0, 0), "nothing is left");
        }
    }
}
