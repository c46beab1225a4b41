//! What came about in runs, so that a test can insist on having seen all of it.

use std::fmt;
use std::ops::AddAssign;

use gridhouse_flow::connector::SourceEvent;

/// What a source tells beside rows, whole transactions and where it stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told([u64; Told::WORDS.len()]);

impl Told {
    /// The names of what is counted.
    pub const WORDS: [&str; 9] = [
        "truncated",
        "partial",
        "rejected",
        "outdated",
        "aborted",
        "lost",
        "missed",
        "failed tables",
        "failed streams",
    ];

    /// Counts an event.
    pub fn note(&mut self, event: &SourceEvent) {
        let word = match event {
            SourceEvent::Truncate { .. } => "truncated",
            SourceEvent::Rows { columns: Some(_), .. } => "partial",
            SourceEvent::Rejected { .. } => "rejected",
            SourceEvent::Outdated { .. } => "outdated",
            SourceEvent::SnapshotAborted { .. } => "aborted",
            SourceEvent::Waiting { .. } => "lost",
            SourceEvent::Missed { .. } => "missed",
            SourceEvent::TableFailed { .. } => "failed tables",
            SourceEvent::Failed { .. } => "failed streams",
            _ => return,
        };
        let at = Self::WORDS.iter().position(|known| *known == word).expect("each of these is counted");
        self.0[at] += 1;
    }

    /// What was never told.
    pub fn lacking(&self) -> Vec<&'static str> {
        Self::WORDS.into_iter().zip(self.0).filter(|(_, times)| *times == 0).map(|(word, _)| word).collect()
    }
}

/// What became of jobs and runs, so that a test can insist on having seen all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Recoveries after which everything was compared.
    pub recoveries: u64,
    /// Jobs that went on with a state that was kept.
    pub restored: u64,
    /// Jobs that were rebuilt.
    pub rebuilt: u64,
    /// Jobs whose query was replaced.
    pub replaced: u64,
    /// Writes that outside tables took.
    pub writes: u64,
    /// Writers that found that another has taken over.
    pub fenced: u64,
    /// Directories or files that were refused, as they must be.
    pub refused: u64,
    /// What sources told.
    pub told: Told,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.recoveries += other.recoveries;
        self.restored += other.restored;
        self.rebuilt += other.rebuilt;
        self.replaced += other.replaced;
        self.writes += other.writes;
        self.fenced += other.fenced;
        self.refused += other.refused;
        self.told.0.iter_mut().zip(other.told.0).for_each(|(times, more)| *times += more);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recoveries, restored, rebuilt, replaced, writes, fenced, refused, told } = self;
        write!(f, "{recoveries} recoveries, {restored} jobs restored, {rebuilt} rebuilt, {replaced} replaced, ")?;
        write!(f, "{writes} writes outside, {fenced} fenced, {refused} refused; sources told")?;
        let told = Told::WORDS.into_iter().zip(told.0).map(|(word, times)| format!(" {times} {word}"));
        f.write_str(&told.collect::<Vec<_>>().join(","))
    }
}
