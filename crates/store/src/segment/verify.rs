//! Looks at every byte of a segment: whether checksums, statistics and invariants hold, and every key is found.
//!
//! Reading a segment believes its checksums; this does not believe the writer either. It takes as much memory as one
//! group, and a byte for each entry that a later one killed.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Scalar, cast::AsArray};
use arrow_ord::cmp::{gt, lt};
use arrow_ord::ord::make_comparator;
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{Error, Result, RowKind};

use super::file::{SectionMeta, Segment, place_of};
use super::footer::GroupRecord;
use super::group::Group;
use super::section::Section;
use super::statistics::ChunkStats;
use crate::tail::NO_ROW;

impl Segment {
    /// Verifies every section.
    ///
    /// # Errors
    /// `Corrupt` with file, offset, table, bucket and what is wrong there.
    pub fn verify(self: &Arc<Self>) -> Result<()> {
        (0..self.sections().len()).try_for_each(|section| self.section(section).verify())
    }
}

impl Section {
    /// Verifies the groups and key runs of the section.
    ///
    /// # Errors
    /// `Corrupt` with file, offset, table, bucket and what is wrong there.
    pub fn verify(&self) -> Result<()> {
        let (segment, meta) = (self.segment(), self.meta());
        for run in &meta.runs {
            (0..run.block_count()).try_for_each(|block| segment.recompare_block(meta, run, block))?;
        }
        // From the newest group to the oldest, so that what later entries killed is known when a group's turn comes.
        let mut killed: Vec<Option<Vec<bool>>> = vec![None; meta.groups.len()];
        for group in (0..meta.groups.len()).rev() {
            let checked = self.group(group);
            verify_entries(segment, meta, &checked)?;
            verify_columns(segment, meta, &checked)?;
            if meta.shape.is_keyed() {
                self.note_killed(&checked, &mut killed)?;
                self.verify_keys(group, &checked, killed[group].take())?;
            }
        }
        Ok(())
    }

    /// Notes which entries of this section the entries of `group` killed.
    fn note_killed(&self, group: &Group, killed: &mut [Option<Vec<bool>>]) -> Result<()> {
        let groups = &self.segment().groups[self.groups()];
        for i in 0..group.len() {
            let prev = group.prev(i)?;
            let owner = groups.partition_point(|state| state.record.first_seq <= prev).checked_sub(1);
            let Some(owner) = owner.filter(|_| prev != NO_ROW) else { continue };
            if let Some(position) = self.group(owner).position(prev) {
                killed[owner].get_or_insert_with(|| vec![false; groups[owner].record.len])[position] = true;
            }
        }
        Ok(())
    }

    /// Every entry that somebody may see alive is found by its key.
    fn verify_keys(&self, number: usize, group: &Group, killed: Option<Vec<bool>>) -> Result<()> {
        let (segment, meta) = (self.segment(), self.meta());
        let shape = &meta.shape;
        let columns = shape.spec.primary_key.iter().map(|&c| group.whole_column(c)).collect::<Result<Vec<_>>>()?;
        let numbers = shape.codec.keys(&columns).map_err(|error| {
            let offset = segment.footer.piece(record_of(segment, group).pieces).offset;
            segment.damage(offset, &place_of(meta, "keys"), error.message())
        })?;
        let hasher = shape.codec.hasher();
        let hashes: Vec<u64> = numbers.into_iter().map(|number| hasher.hash(number)).collect();
        let mut found = killed.unwrap_or_else(|| vec![false; group.len()]);
        self.candidates_of(&hashes, &mut |i, g, position| found[i] |= (g, position) == (number, i))?;
        match (0..group.len()).find(|&i| !found[i] && !group.is_delete(i)) {
            None => Ok(()),
            Some(i) => {
                let what = format!("it does not lead to the entry with number {}", group.seq(i));
                Err(segment.damage(meta.runs[0].offset, &place_of(meta, "key run"), &what))
            }
        }
    }
}

fn record_of<'a>(segment: &'a Segment, group: &Group) -> &'a GroupRecord {
    &segment.groups[group.index()].record
}

/// What tells entries apart fits together.
fn verify_entries(segment: &Segment, meta: &SectionMeta, group: &Group) -> Result<()> {
    let record = record_of(segment, group);
    let places = record.places(meta.shape.types.len());
    for piece in record.pieces..places.end {
        segment.recompare_piece(piece, || match piece.checked_sub(places.deletes) {
            None => group.place((piece - record.pieces) / record.chunks(), (piece - record.pieces) % record.chunks()),
            Some(_) => place_of(meta, "entries"),
        })?;
    }
    let wrong = |piece: usize, what: &str| {
        Err(segment.damage(segment.footer.piece(piece.min(places.end - 1)).offset, &place_of(meta, "entries"), what))
    };
    if (1..group.len()).any(|i| group.seq(i) <= group.seq(i - 1)) {
        return wrong(places.seqs, "sequence numbers do not ascend");
    }
    if (group.seq(0), group.seq(group.len() - 1)) != (group.first_seq(), group.last_seq()) {
        return wrong(places.seqs, "sequence numbers are not those that the footer says");
    }
    let mut last = (None, 0);
    for (commit, from, to) in group.runs() {
        if last.0 >= Some(commit) || from != last.1 || from >= to {
            return wrong(places.starts, "commits do not ascend, or have no entries");
        }
        last = (Some(commit), to);
    }
    if last != (Some(group.last_commit()), group.len()) || group.commit_at(0) != group.first_commit() {
        return wrong(places.commits, "commits are not those that the footer says");
    }
    for i in 0..group.len() {
        let (prev, kind) = (group.prev(i)?, group.kind(i));
        let fits = match kind {
            RowKind::Insert => prev == NO_ROW,
            RowKind::UpdateAfter => prev < group.seq(i),
            _ => prev == NO_ROW || prev < group.seq(i),
        };
        if !fits {
            return wrong(places.prev, &format!("entry {} has a kind that does not fit what it killed", group.seq(i)));
        }
    }
    Ok(())
}

/// Columns can be read, and their statistics are true.
fn verify_columns(segment: &Segment, meta: &SectionMeta, group: &Group) -> Result<()> {
    for column in 0..meta.shape.types.len() {
        for chunk in 0..group.chunks() {
            let (values, stats) = (group.column(column, chunk)?, group.stats(column, chunk)?);
            let offset =
                segment.footer.piece(record_of(segment, group).pieces + column * group.chunks() + chunk).offset;
            let wrong = |what: &str| segment.damage(offset, &group.place(column, chunk), what);
            if values.len() != group.chunk_rows(chunk) || values.null_count() != stats.nulls {
                return Err(wrong("the number of rows or of NULLs is not what the footer says"));
            }
            if stats.is_sorted && !is_sorted(&values).map_err(|error| wrong(error.message()))? {
                return Err(wrong("the rows are not in order, though the footer says so"));
            }
            if !within_bounds(&values, &stats).map_err(|error| wrong(error.message()))? {
                return Err(wrong("values lie outside the bounds that the footer says"));
            }
        }
    }
    Ok(())
}

fn compare_error(error: arrow_schema::ArrowError) -> Error {
    Error::internal("values could not be compared").caused_by(error)
}

/// Floating-point zeros are equal whatever their sign, unlike in Arrow's order; NaN is never in order with anything.
fn is_sorted(values: &ArrayRef) -> Result<bool> {
    let unsigned: ArrayRef = match values.data_type() {
        DataType::Float32 => Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| v + 0.0)),
        DataType::Float64 => Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v + 0.0)),
        _ => values.clone(),
    };
    let values = &unsigned;
    let compare = make_comparator(values, values, SortOptions::default()).map_err(compare_error)?;
    Ok(values.null_count() == 0 && (1..values.len()).all(|i| compare(i - 1, i).is_le()))
}

fn within_bounds(values: &ArrayRef, stats: &ChunkStats) -> Result<bool> {
    let (Some(min), Some(max)) = (&stats.min, &stats.max) else { return Ok(true) };
    let below = lt(values, &Scalar::new(min.clone())).map_err(compare_error)?;
    let above = gt(values, &Scalar::new(max.clone())).map_err(compare_error)?;
    Ok(below.true_count() == 0 && above.true_count() == 0)
}
