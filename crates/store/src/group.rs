//! A group of neighbouring entries of one bucket, wherever they lie, with its bitmap of those that live.
//!
//! The entries never change; the bitmap is copied when a reader shares it. Memory and segments answer the same questions
//! here, so that nothing above this file asks where an entry is.

use std::sync::Arc;

use gridhouse_base::{CommitId, Result};

use crate::bits::Bits;
use crate::segment::Group;
use crate::tail::TailBatch;

/// Entries in memory or in a segment.
#[derive(Clone, Debug)]
pub(crate) enum Entries {
    Tail(Arc<TailBatch>),
    Sealed(Group),
}

impl Entries {
    pub fn len(&self) -> usize {
        match self {
            Self::Tail(batch) => batch.len,
            Self::Sealed(group) => group.len(),
        }
    }

    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Tail(batch) => batch.first_seq,
            Self::Sealed(group) => group.first_seq(),
        }
    }

    pub fn seq(&self, i: usize) -> u64 {
        match self {
            Self::Tail(batch) => batch.seq(i),
            Self::Sealed(group) => group.seq(i),
        }
    }

    /// Where the entry with sequence number `seq` is, if it is one of these.
    pub fn position(&self, seq: u64) -> Option<usize> {
        match self {
            Self::Tail(batch) => batch.position(seq),
            Self::Sealed(group) => group.position(seq),
        }
    }

    pub fn first_commit(&self) -> CommitId {
        match self {
            Self::Tail(batch) => batch.first_commit(),
            Self::Sealed(group) => group.first_commit(),
        }
    }

    pub fn last_commit(&self) -> CommitId {
        match self {
            Self::Tail(batch) => batch.last_commit(),
            Self::Sealed(group) => group.last_commit(),
        }
    }

    /// The commits with the entries `from..to` of each, ascending.
    pub fn runs(&self) -> Vec<(CommitId, usize, usize)> {
        match self {
            Self::Tail(batch) => batch.runs().collect(),
            Self::Sealed(group) => group.runs().collect(),
        }
    }

    /// The entries' memory in bytes; what lies in a segment takes none.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Tail(batch) => batch.bytes,
            Self::Sealed(_) => 0,
        }
    }

    /// The number of chunks.
    pub fn chunks(&self) -> usize {
        match self {
            Self::Tail(_) => 1,
            Self::Sealed(group) => group.chunks(),
        }
    }

    /// The entries in memory.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn to_batch(&self) -> Result<Arc<TailBatch>> {
        match self {
            Self::Tail(batch) => Ok(batch.clone()),
            Self::Sealed(group) => group.to_batch().map(Arc::new),
        }
    }

    /// The batch, if the entries are in memory.
    pub fn tail(&self) -> Option<&Arc<TailBatch>> {
        match self {
            Self::Tail(batch) => Some(batch),
            Self::Sealed(_) => None,
        }
    }
}

/// Entries with their bitmap of those that live.
#[derive(Clone, Debug)]
pub(crate) struct LiveGroup {
    /// The first entry's sequence number, here so that a search over many groups stays within one stretch of memory.
    pub first_seq: u64,
    pub entries: Entries,
    pub alive: Arc<Bits>,
}

impl LiveGroup {
    pub fn new(entries: Entries, alive: Arc<Bits>) -> Self {
        assert_eq!(entries.len(), alive.len(), "there is a bit for every entry");
        Self { first_seq: entries.first_seq(), entries, alive }
    }

    /// A batch in memory.
    pub fn tail(batch: TailBatch, alive: Bits) -> Self {
        Self::new(Entries::Tail(Arc::new(batch)), Arc::new(alive))
    }

    /// The positions of the entries that are needed (`None`: all of them are), and the newest commit of those that are not.
    pub fn needed(&self, floor: CommitId) -> (Option<Vec<u32>>, CommitId) {
        if self.alive.is_full() || self.entries.first_commit() > floor {
            return (None, CommitId(0));
        }
        let mut kept = Vec::with_capacity(self.entries.len());
        let mut gone = CommitId(0);
        for (commit, from, to) in self.entries.runs() {
            for i in from..to {
                if commit > floor || self.alive.get(i) {
                    kept.push(i as u32);
                } else {
                    gone = commit;
                }
            }
        }
        (Some(kept), gone)
    }
}
