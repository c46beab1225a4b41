//! What a look-up remembers: the rows of keys that were asked for lately.
//!
//! The least recently used goes first when there are more rows than allowed; a key without rows counts as one. Times are
//! those of a monotonic clock that the caller reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::Value;

use super::jdbc_options::CacheOptions;

/// The rows of a key.
pub(crate) type Answer = Arc<[Vec<Value>]>;

struct Entry {
    answer: Answer,
    written: Duration,
    used: Duration,
    /// Its place in the order of use.
    turn: u64,
}

/// A cache by encoded key.
pub(crate) struct Cache {
    options: CacheOptions,
    entries: HashMap<Vec<u8>, Entry>,
    by_turn: BTreeMap<u64, Vec<u8>>,
    next_turn: u64,
    rows: u64,
}

fn weight(answer: &Answer) -> u64 {
    (answer.len() as u64).max(1)
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new(options: CacheOptions) -> Self {
        Self { options, entries: HashMap::new(), by_turn: BTreeMap::new(), next_turn: 0, rows: 0 }
    }

    /// The rows of `key` where they are remembered and not too old.
    pub(crate) fn get(&mut self, key: &[u8], now: Duration) -> Option<Answer> {
        let old =
            |limit: Option<Duration>, since: Duration| limit.is_some_and(|limit| now.saturating_sub(since) >= limit);
        let entry = self.entries.get_mut(key)?;
        if old(self.options.after_write, entry.written) || old(self.options.after_access, entry.used) {
            self.remove(key);
            return None;
        }
        if let Some(key) = self.by_turn.remove(&entry.turn) {
            self.by_turn.insert(self.next_turn, key);
        }
        (entry.used, entry.turn) = (now, self.next_turn);
        self.next_turn += 1;
        Some(entry.answer.clone())
    }

    /// Remembers the rows of `key`.
    pub(crate) fn put(&mut self, key: Vec<u8>, answer: Answer, now: Duration) {
        self.remove(&key);
        if answer.is_empty() && !self.options.missing || weight(&answer) > self.options.max_rows {
            return;
        }
        self.rows += weight(&answer);
        self.by_turn.insert(self.next_turn, key.clone());
        self.entries.insert(key, Entry { answer, written: now, used: now, turn: self.next_turn });
        self.next_turn += 1;
        while self.rows > self.options.max_rows {
            let Some(oldest) = self.by_turn.first_key_value().map(|(_, key)| key.clone()) else { break };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_turn.remove(&entry.turn);
            self.rows -= weight(&entry.answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_rows: u64, write: Option<u64>, access: Option<u64>, missing: bool) -> Cache {
        let seconds = |s: Option<u64>| s.map(Duration::from_secs);
        Cache::new(CacheOptions { max_rows, after_write: seconds(write), after_access: seconds(access), missing })
    }

    fn answer(rows: usize) -> Answer {
        vec![vec![Value::Integer(1)]; rows].into()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = cache(4, None, None, true);
        cache.put(b"a".to_vec(), answer(2), at(0));
        cache.put(b"b".to_vec(), answer(0), at(0));
        assert!(cache.get(b"a", at(1)).is_some());
        cache.put(b"c".to_vec(), answer(2), at(2));
        assert!(cache.get(b"b", at(3)).is_none(), "b was used before a");
        assert_eq!(cache.get(b"a", at(3)).unwrap().len(), 2);
        cache.put(b"d".to_vec(), answer(5), at(4));
        assert!(cache.get(b"d", at(4)).is_none(), "more rows than the cache may hold");
        assert_eq!(cache.rows, 4);
    }

    #[test]
    fn answers_grow_old() {
        let mut cache = cache(10, Some(10), Some(4), false);
        cache.put(b"a".to_vec(), answer(1), at(0));
        for second in [3, 6, 9] {
            assert!(cache.get(b"a", at(second)).is_some(), "{second}");
        }
        assert!(cache.get(b"a", at(10)).is_none(), "written ten seconds ago");
        cache.put(b"a".to_vec(), answer(1), at(20));
        assert!(cache.get(b"a", at(24)).is_none(), "not used for four seconds");
        cache.put(b"a".to_vec(), answer(0), at(30));
        assert!(cache.get(b"a", at(30)).is_none(), "that a key is missing is not remembered");
        assert_eq!((cache.rows, cache.by_turn.len()), (0, 0));
    }
}
