//! Checkpoints: the whole store at one tick, on disk, so that a restart reads the log's end only.
//!
//! A checkpoint is a file that names segments and says which of their entries live, beside everything else that the store
//! knows (`file.rs`). What was only in memory is sealed into a first-level segment first (`seal.rs`). Both happen on a
//! thread of the keeper's (`keeper.rs`), from a view that cannot change, while the writer goes on. A checkpoint counts once
//! its name is durable; then the log below it, older checkpoints and segments that nobody names any more are removed.
//!
//! | what goes wrong | what is found at the next start | what happens |
//! | --- | --- | --- |
//! | a crash while a segment is sealed | a segment that no checkpoint names | it is removed |
//! | a crash after a tick has sealed ahead (`ahead.rs`) | the same | the same; the log has the rows, or never had the tick |
//! | a crash after what is attached was written (`attached.rs`) | a file that no checkpoint names | the same |
//! | a crash while the checkpoint is written | a file under its temporary name | it is removed, the one before counts |
//! | a crash before old files are removed | files that the newest checkpoint does not name | they are removed |
//! | a removal that a crash undid | the same | the same |
//! | a damaged checkpoint | a wrong checksum | the one before, if the log still reaches back to it; else refused |
//! | a damaged or missing file that is attached | a wrong checksum | nothing counts as attached: jobs are rebuilt |
//! | a damaged or missing segment that the checkpoint names | a wrong checksum | refused, with file and offset |

pub(crate) mod attached;
pub(crate) mod compact;
pub(crate) mod file;
pub(crate) mod keeper;
pub(crate) mod load;
mod regroup;
pub(crate) mod replacement;
pub(crate) mod seal;

use std::path::Path;
use std::sync::Arc;

use crate::segment::Segment;
use crate::wal::place::LogPlace;

/// Where the log is to be read from after a checkpoint has been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayStart {
    /// The first frame that may say something new: commits and stages that still wait may stand before the tick.
    pub first: LogPlace,
    /// The tick's frame: ticks up to here are in the checkpoint.
    pub tick_frame: u64,
}

/// A segment that tables lie in.
#[derive(Clone, Debug)]
pub(crate) struct SegmentEntry {
    pub segment: Arc<Segment>,
    /// How many times its rows have been merged: segments of one level are merged by eights, or as many as the limits say.
    pub level: u8,
}

/// The name of checkpoint `number`.
pub(crate) fn checkpoint_name(number: u64) -> String {
    format!("checkpoint-{number:016x}.ghc")
}

/// The name of the file that was attached to checkpoint `number`; later ones may name it too.
pub(crate) fn attachment_name(number: u64) -> String {
    format!("state-{number:016x}.ghj")
}

/// The number in a name of the form `prefix`, 16 hexadecimal digits, `suffix`.
pub(crate) fn number_in(name: &Path, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}
