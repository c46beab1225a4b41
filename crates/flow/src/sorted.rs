//! An ordered map in chunks that a copy shares with its original until one of them changes a chunk.
//!
//! What a standard tree does, but a copy costs a pointer a chunk, and a change after it the copying of one. Made for tens to
//! millions of entries; a chunk below a quarter is put together with its neighbour on removal, where both fit into half of one.

use std::borrow::Borrow;
use std::sync::Arc;

/// The most entries of a chunk: few enough that moving or copying them costs little, enough that a chunk's own head and
/// pointer do not count.
const CHUNK: usize = 128;

/// The map.
#[derive(Clone)]
pub(crate) struct Sorted<K, V> {
    /// None is empty.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

/// Where an entry is, or would be.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    chunk: usize,
    at: usize,
}

/// The entries of a map in order.
pub(crate) type Entries<'a, K, V> = std::iter::FlatMap<
    std::slice::Iter<'a, Arc<Vec<(K, V)>>>,
    std::slice::Iter<'a, (K, V)>,
    fn(&'a Arc<Vec<(K, V)>>) -> std::slice::Iter<'a, (K, V)>,
>;

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Sorted<K, V> {
    /// A map of entries whose keys ascend.
    pub fn of(entries: Vec<(K, V)>) -> Self {
        let mut sorted = Self { chunks: Vec::new(), len: entries.len() };
        let mut entries = entries.into_iter();
        loop {
            let chunk: Vec<(K, V)> = entries.by_ref().take(CHUNK / 2).collect();
            if chunk.is_empty() {
                return sorted;
            }
            sorted.chunks.push(Arc::new(chunk));
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where a key is; `Err` where it would be.
    pub fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        let after = self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key);
        let chunk = after.saturating_sub(1);
        let Some(entries) = self.chunks.get(chunk) else { return Err(Place { chunk, at: 0 }) };
        let found = entries.binary_search_by(|(held, _)| held.borrow().cmp(key));
        found.map(|at| Place { chunk, at }).map_err(|at| Place { chunk, at })
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|Place { chunk, at }| &self.chunks[chunk][at].1)
    }

    /// The value at a place where an entry is, to be changed.
    pub fn value_mut(&mut self, Place { chunk, at }: Place) -> &mut V {
        &mut Arc::make_mut(&mut self.chunks[chunk])[at].1
    }

    /// Inserts an entry at the place where [`Sorted::find`] says that it would be.
    pub fn insert_at(&mut self, Place { chunk, at }: Place, key: K, value: V) {
        self.len += 1;
        let Some(shared) = self.chunks.get_mut(chunk) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            return;
        };
        let entries = Arc::make_mut(shared);
        if entries.len() < CHUNK {
            entries.insert(at, (key, value));
        } else if at == CHUNK {
            // Keys that only ascend leave full chunks behind.
            self.chunks.insert(chunk + 1, Arc::new(vec![(key, value)]));
        } else {
            let mut upper = entries.split_off(CHUNK / 2);
            match at.checked_sub(CHUNK / 2) {
                Some(at) => upper.insert(at, (key, value)),
                None => entries.insert(at, (key, value)),
            }
            self.chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    /// Removes the entry at a place where one is.
    pub fn remove_at(&mut self, Place { chunk, at }: Place) -> (K, V) {
        self.len -= 1;
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        let gone = entries.remove(at);
        if entries.is_empty() {
            self.chunks.remove(chunk);
        } else if entries.len() < CHUNK / 4 && self.chunks.len() > 1 {
            let first = chunk.min(self.chunks.len() - 2);
            if self.chunks[first].len() + self.chunks[first + 1].len() <= CHUNK / 2 {
                let next = self.chunks.remove(first + 1);
                Arc::make_mut(&mut self.chunks[first]).extend_from_slice(&next);
            }
        }
        gone
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(place) => *self.value_mut(place) = value,
            Err(place) => self.insert_at(place, key, value),
        }
    }

    /// Removes a key, if it is there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|place| self.remove_at(place))
    }

    /// Removes the largest entry.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let chunk = self.chunks.len().checked_sub(1)?;
        Some(self.remove_at(Place { chunk, at: self.chunks[chunk].len() - 1 }))
    }

    /// Takes out the entries whose keys are below `bound`.
    pub fn take_below<Q: Ord + ?Sized>(&mut self, bound: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let (Ok(Place { chunk, at }) | Err(Place { chunk, at })) = self.find(bound);
        let mut below = Self { chunks: self.chunks.drain(..chunk).collect(), len: 0 };
        if at > 0 {
            let entries = Arc::make_mut(&mut self.chunks[0]);
            below.chunks.push(Arc::new(entries.drain(..at).collect()));
            if entries.is_empty() {
                self.chunks.remove(0);
            }
        }
        below.len = below.chunks.iter().map(|chunk| chunk.len()).sum();
        self.len -= below.len;
        below
    }

    /// All entries in order.
    pub fn iter(&self) -> Entries<'_, K, V> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Calls `f` with every entry in order, whose value it may change.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(&K, &mut V)) {
        for chunk in &mut self.chunks {
            Arc::make_mut(chunk).iter_mut().for_each(|(key, value)| f(key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhouse_base::random::Random;

    use super::*;

    #[test]
    fn the_map_agrees_with_a_plain_one_and_copies_stay_as_they_were() {
        for (seed, range) in [(1, 30), (2, 700), (3, 700), (4, 100_000)] {
            let mut random = Random::new(seed);
            let mut plain: BTreeMap<i64, u64> = (0..range / 2).map(|key| (key, 0)).collect();
            let mut sorted = Sorted::of(plain.clone().into_iter().collect());
            let mut copies = Vec::new();
            for round in 0..6_000 {
                let key = random.between(0, range);
                // It grows and shrinks in turn.
                let grows = round / 1_000 % 2 == 0;
                match random.below(40) {
                    0 => {
                        sorted.for_each_mut(|key, value| *value ^= *key as u64);
                        plain.iter_mut().for_each(|(key, value)| *value ^= *key as u64);
                    }
                    1 if copies.len() < 8 => copies.push((sorted.clone(), plain.clone())),
                    2 => assert_eq!(sorted.pop_last(), plain.pop_last()),
                    3 if !grows => {
                        let bound = key / 8;
                        let rest = plain.split_off(&bound);
                        let below = sorted.take_below(&bound);
                        assert!(below.iter().cloned().eq(std::mem::replace(&mut plain, rest)), "{seed} {round}");
                    }
                    n if grows || n < 8 => {
                        sorted.insert(key, round);
                        plain.insert(key, round);
                    }
                    _ => assert_eq!(sorted.remove(&key).map(|(_, value)| value), plain.remove(&key)),
                }
                let asked = random.between(0, range);
                assert_eq!(sorted.get(&asked), plain.get(&asked), "seed {seed}, round {round}");
                assert_eq!((sorted.len(), sorted.is_empty()), (plain.len(), plain.is_empty()));
                if round % 50 == 0 {
                    assert!(sorted.iter().rev().cloned().eq(plain.clone().into_iter().rev()), "{seed} {round}");
                    assert!(sorted.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
                    assert!(sorted.chunks.len() <= 2 + sorted.len() / (CHUNK / 8), "{seed} {round}");
                }
            }
            for (copy, plain) in copies {
                assert!(copy.iter().cloned().eq(plain), "seed {seed}: a copy has changed");
            }
        }
    }
}
