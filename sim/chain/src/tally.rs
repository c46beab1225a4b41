//! What came about in runs, so that a test can insist on having seen all of it.

use std::fmt;
use std::ops::AddAssign;

/// What became of jobs and runs, so that a test can insist on having seen all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Recoveries after which everything was compared.
    pub recoveries: u64,
    /// Jobs that went on with a state that was kept.
    pub restored: u64,
    /// Jobs that were rebuilt.
    pub rebuilt: u64,
    /// Writes that outside tables took.
    pub writes: u64,
    /// Writers that found that another has taken over.
    pub fenced: u64,
    /// Directories or files that were refused, as they must be.
    pub refused: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.recoveries += other.recoveries;
        self.restored += other.restored;
        self.rebuilt += other.rebuilt;
        self.writes += other.writes;
        self.fenced += other.fenced;
        self.refused += other.refused;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recoveries, restored, rebuilt, writes, fenced, refused } = self;
        write!(f, "{recoveries} recoveries, {restored} jobs restored, {rebuilt} rebuilt, {writes} writes outside, ")?;
        write!(f, "{fenced} fenced, {refused} refused")
    }
}
