//! Checks what a table's snapshot holds against everything that must always be true of it.
//!
//! It reads a snapshot, so it runs beside the writer and other readers, on any thread. A fault is told, not repaired: what is
//! found wrong here is a defect of the program or of the machine, and the way back is a backup.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::Array;
use gridhouse_base::{CommitId, ErrorKind, Result, RowKind};

use crate::bits::Bits;
use crate::bucket_view::BucketView;
use crate::group::Entries;
use crate::segment::Segment;
use crate::snapshot::TableSnapshot;
use crate::table::TableShape;
use crate::tail::TailBatch;

/// What one part of a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The bucket; `None` for what concerns the whole table.
    pub bucket: Option<u16>,
    /// What was checked.
    pub what: &'static str,
    /// How many rows or entries were looked at.
    pub rows: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What is wrong; `None` if nothing is.
    pub fault: Option<String>,
}

/// The first fault that is found, by the part that finds it.
type Fault = Option<String>;

impl TableSnapshot {
    /// Checks every checksum and invariant of the table, part by part.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not answer. What is wrong with the table is no error of the check.
    pub fn check(&self) -> Result<Vec<Checked>> {
        let shape = &self.view.shape;
        let mut parts = Vec::new();
        // A file holds many buckets, and is read once.
        let mut files: BTreeMap<u64, &Arc<Segment>> = BTreeMap::new();
        for group in self.view.groups() {
            if let Entries::Sealed(sealed) = &group.entries {
                files.insert(sealed.segment().number(), sealed.segment());
            }
        }
        for segment in files.into_values() {
            let fault = found(segment.verify())?;
            let (rows, bytes) = (segment.entries(), segment.file_bytes());
            parts.push(Checked { bucket: None, what: "segment", rows, bytes, fault });
        }
        let mut live = 0;
        for (b, bucket) in self.view.buckets.iter().enumerate() {
            let number = Some(b as u16);
            let (mut entries, mut rows, mut bytes) = (0, 0, 0);
            let mut fault = None;
            let mut order = Order::default();
            for group in &bucket.groups {
                entries += group.entries.len() as u64;
                rows += group.alive.count() as u64;
                // What lies in a segment is read group by group, so that memory holds one at a time.
                let batch = match group.entries.to_batch() {
                    Ok(batch) => batch,
                    Err(error) => {
                        fault = fault.or(found(Err(error))?);
                        continue;
                    }
                };
                bytes += batch.bytes as u64;
                fault = fault.or_else(|| order.fault(&batch));
                fault = fault.or_else(|| shape_fault(&batch, shape));
                fault = fault.or_else(|| live_fault(&batch, &group.alive, shape, bucket.reclaimed));
            }
            fault = fault.or_else(|| order.end_fault(bucket));
            live += rows;
            parts.push(Checked { bucket: number, what: "entries", rows: entries, bytes, fault });
            if shape.is_keyed() {
                let fault = match self.key_fault(b as u16) {
                    Ok(fault) => fault,
                    Err(error) => found(Err(error))?,
                };
                parts.push(Checked { bucket: number, what: "keys", rows, bytes, fault });
            }
        }
        let counted = self.view.live_rows;
        let fault = (counted != live).then(|| format!("the table counts {counted} rows, its bitmaps have {live}"));
        parts.push(Checked { bucket: None, what: "count", rows: live, bytes: 0, fault });
        Ok(parts)
    }

    /// Every live key of a bucket belongs there, stands there once, and is found by a look-up.
    fn key_fault(&self, number: u16) -> Result<Fault> {
        let shape = &self.view.shape;
        let mut seen: HashSet<u128> = HashSet::new();
        for rows in self.live_rows_of(number) {
            let rows = rows?;
            let columns = shape.key_columns(rows.columns(), None);
            if let Some(column) = columns.iter().position(|column| column.null_count() > 0) {
                let name = &shape.spec.schema.columns[shape.spec.primary_key[column]].name;
                return Ok(Some(format!("key column {name} holds NULL")));
            }
            let keys = shape.codec.keys(&columns)?;
            if !keys.iter().all(|key| seen.insert(*key)) {
                return Ok(Some("a key lives twice".into()));
            }
            if shape.buckets.is_by_value() {
                let deciding: Vec<_> = shape.buckets.columns().iter().map(|&c| rows.column(c).clone()).collect();
                if let Some(other) = shape.buckets.buckets(&deciding).into_iter().find(|bucket| *bucket != number) {
                    return Ok(Some(format!("a row belongs to bucket {other}")));
                }
            }
            let (found, there) = self.get_batch(&columns)?;
            if found.len() != rows.len() {
                return Ok(Some(format!("a look-up finds {} rows for {} live keys", found.len(), rows.len())));
            }
            if !crate::delta::rows_equal(there.columns(), rows.columns(), rows.len())?
                .iter()
                .all(|same| same == Some(true))
            {
                return Ok(Some("a look-up finds another row than the scan".into()));
            }
        }
        Ok(None)
    }

    /// The live rows of one bucket.
    fn live_rows_of(&self, number: u16) -> crate::scan::Scan {
        let mut view = (*self.view).clone();
        for (b, bucket) in view.buckets.iter_mut().enumerate() {
            if b != usize::from(number) {
                *bucket = Default::default();
            }
        }
        TableSnapshot { view: Arc::new(view) }.scan(None)
    }
}

/// What is damaged is a fault that is found; that the disk does not answer is an error.
fn found(result: Result<()>) -> Result<Fault> {
    match result {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// Sequence numbers and commits ascend, and none is used that is still to come.
#[derive(Default)]
struct Order {
    last_seq: Option<u64>,
    last_commit: CommitId,
}

impl Order {
    fn fault(&mut self, batch: &TailBatch) -> Fault {
        for i in 0..batch.len {
            let seq = batch.seq(i);
            if let Some(last) = self.last_seq.filter(|last| *last >= seq) {
                return Some(format!("entry {seq} stands behind entry {last}"));
            }
            if batch.position(seq) != Some(i) {
                return Some(format!("entry {seq} is not found by its number"));
            }
            self.last_seq = Some(seq);
        }
        let mut next = 0;
        for (commit, from, to) in batch.runs() {
            if from != next || to < from || to > batch.len {
                return Some(format!("{commit} has the entries {from} to {to}, where {next} is next"));
            }
            if commit < self.last_commit {
                return Some(format!("{commit} stands behind {}", self.last_commit));
            }
            (next, self.last_commit) = (to, commit);
        }
        (next != batch.len).then(|| format!("{} entries belong to no commit", batch.len - next))
    }

    fn end_fault(&self, bucket: &BucketView) -> Fault {
        let last = self.last_seq.filter(|last| *last >= bucket.next_seq);
        last.map(|last| format!("entry {last} is there, though {} is to come next", bucket.next_seq))
    }
}

/// Every column has the table's type and a value, or NULL, for every entry.
fn shape_fault(batch: &TailBatch, shape: &TableShape) -> Fault {
    if batch.columns.len() != shape.types.len() {
        return Some(format!("{} columns where {} belong", batch.columns.len(), shape.types.len()));
    }
    for (column, (array, expected)) in batch.columns.iter().zip(&shape.types).enumerate() {
        let name = &shape.spec.schema.columns[column].name;
        if array.data_type() != expected {
            return Some(format!("column {name} is {}, not {expected}", array.data_type()));
        }
        if array.len() != batch.len {
            return Some(format!("column {name} has {} values for {} entries", array.len(), batch.len));
        }
        if let Err(error) = array.to_data().validate_full() {
            return Some(format!("column {name}: {error}"));
        }
    }
    None
}

/// The bitmap counts right; no deletion lives, and nothing dies or is deleted in a table without key but what has expired.
fn live_fault(batch: &TailBatch, alive: &Bits, shape: &TableShape, reclaimed: CommitId) -> Fault {
    let set = (0..batch.len).filter(|&i| alive.get(i)).count();
    if set != alive.count() {
        return Some(format!("a bitmap counts {} and has {set}", alive.count()));
    }
    for (commit, from, to) in batch.runs() {
        for i in from..to {
            let (seq, lives) = (batch.seq(i), alive.get(i));
            if lives && batch.is_delete(i) {
                return Some(format!("entry {seq} is a deletion and lives"));
            }
            if !shape.is_keyed() && (batch.kind(i) != RowKind::Insert || (!lives && commit > reclaimed)) {
                return Some(format!("entry {seq} of a table without key is dead or deleted"));
            }
        }
    }
    None
}
