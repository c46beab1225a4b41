//! Distinct types for the numbers that name things, so that one cannot be passed for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One commit of the process: source commits and ticks share one sequence, which starts at 1; 0 is "before everything".
    CommitId, u64, "c"
);
id!(
    /// A table of the store, never reused within a data directory.
    TableId, u32, "t"
);
id!(
    /// A bucket of a table, from 0 to `bucket.num` - 1.
    BucketId, u16, "b"
);
id!(
    /// A continuous job, never reused within a data directory.
    JobId, u32, "j"
);
id!(
    /// A source stream (one per source database, or one per independent source table).
    SourceId, u32, "s"
);

impl CommitId {
    /// The next commit.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
