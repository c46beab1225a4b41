//! Rows picked from all over a table: old rows of updates, look-ups by key.
//!
//! Sealed rows are read in the order in which they lie, so that a chunk is touched once, and then put into the order asked
//! for together with those in memory. A column at a time: only what is asked for is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use gridhouse_base::Result;

use crate::bucket_view::BucketView;
use crate::group::Entries;
use crate::segment::encoding::GatherColumn;
use crate::tail::rearrange_error;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub bucket: u16,
    pub group: u32,
    pub position: u32,
}

/// The rows at `places`, in that order: columns of `types`, all of them or those at `columns`.
///
/// # Errors
/// `Corrupt` if a segment is damaged there.
pub(crate) fn gather(
    buckets: &[Arc<BucketView>],
    types: &[DataType],
    places: &[Place],
    columns: Option<&[usize]>,
) -> Result<Vec<ArrayRef>> {
    let plan = Plan::new(buckets, places);
    let column = |c: usize| plan.column(c, &types[c]);
    match columns {
        None => (0..types.len()).map(column).collect(),
        Some(columns) => columns.iter().map(|&c| column(c)).collect(),
    }
}

/// Which rows are read from where, for every column alike.
struct Plan<'a> {
    /// Batches in memory that rows come from.
    tails: Vec<&'a [ArrayRef]>,
    /// Sealed groups that rows come from, each with the positions to read.
    sealed: Vec<(&'a crate::segment::Group, Vec<u32>)>,
    /// The number of sealed rows.
    sealed_rows: usize,
    /// For every row: the source (batches in memory first, then one for all sealed rows) and the position there.
    order: Vec<(usize, usize)>,
}

impl<'a> Plan<'a> {
    fn new(buckets: &'a [Arc<BucketView>], places: &[Place]) -> Self {
        let mut tails: Vec<&[ArrayRef]> = Vec::new();
        let mut known: BTreeMap<(u16, u32), usize> = BTreeMap::new();
        let mut last: Option<((u16, u32), usize)> = None;
        let mut order = Vec::with_capacity(places.len());
        let mut in_segments: Vec<(Place, u32)> = Vec::new();
        for (row, place) in places.iter().enumerate() {
            match &buckets[usize::from(place.bucket)].groups[place.group as usize].entries {
                Entries::Tail(batch) => {
                    let name = (place.bucket, place.group);
                    let source = match last {
                        Some((known_name, source)) if known_name == name => source,
                        _ => *known.entry(name).or_insert_with(|| {
                            tails.push(&batch.columns);
                            tails.len() - 1
                        }),
                    };
                    last = Some((name, source));
                    order.push((source, place.position as usize));
                }
                Entries::Sealed(_) => {
                    in_segments.push((*place, row as u32));
                    order.push((0, 0));
                }
            }
        }
        in_segments.sort_unstable();
        let source = tails.len();
        let mut sealed: Vec<(&crate::segment::Group, Vec<u32>)> = Vec::new();
        let mut at = None;
        for (i, (place, row)) in in_segments.iter().enumerate() {
            let name = (place.bucket, place.group);
            if at != Some(name) {
                let group = &buckets[usize::from(place.bucket)].groups[place.group as usize];
                let Entries::Sealed(group) = &group.entries else { unreachable!("it was sealed a moment ago") };
                sealed.push((group, Vec::new()));
                at = Some(name);
            }
            sealed.last_mut().expect("just pushed").1.push(place.position);
            order[*row as usize] = (source, i);
        }
        Self { tails, sealed, sealed_rows: in_segments.len(), order }
    }

    fn column(&self, c: usize, data_type: &DataType) -> Result<ArrayRef> {
        if self.order.is_empty() {
            return Ok(new_empty_array(data_type));
        }
        let mut gathered = None;
        if self.sealed_rows > 0 {
            let mut out = GatherColumn::new(data_type, self.sealed_rows);
            for (group, positions) in &self.sealed {
                group.gather(c, positions, &mut out)?;
            }
            gathered = Some(out.finish()?);
        }
        let parts = self.tails.iter().map(|columns| columns[c].as_ref());
        let parts: Vec<&dyn Array> = parts.chain(gathered.as_deref()).collect();
        interleave(&parts, &self.order).map_err(rearrange_error)
    }
}
