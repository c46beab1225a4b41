//! Rows picked from all over a table: old rows of updates, look-ups by key.
//!
//! Sealed rows are read in the order in which they lie, so that a chunk is touched once, and then put into the order asked
//! for together with those in memory. Only the columns that are asked for are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use gridhouse_base::Result;

use crate::bucket_view::BucketView;
use crate::group::Entries;
use crate::segment::Picks;
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
    match columns {
        Some(columns) => plan.columns(columns, types),
        None => plan.columns(&(0..types.len()).collect::<Vec<usize>>(), types),
    }
}

/// Which rows are read from where, for every column alike.
struct Plan<'a> {
    /// Batches in memory that rows come from.
    tails: Vec<&'a [ArrayRef]>,
    /// The sealed rows, in the order in which they lie.
    sealed: Picks<'a>,
    /// For every row: the source (batches in memory first, then one for all sealed rows) and the position there.
    order: Vec<(usize, usize)>,
}

impl<'a> Plan<'a> {
    fn new(buckets: &'a [Arc<BucketView>], places: &[Place]) -> Self {
        let entries = |place: &Place| &buckets[usize::from(place.bucket)].groups[place.group as usize].entries;
        let mut tails: Vec<&[ArrayRef]> = Vec::new();
        let mut known: BTreeMap<(u16, u32), usize> = BTreeMap::new();
        let mut last: Option<((u16, u32), usize)> = None;
        let mut order = Vec::with_capacity(places.len());
        let mut in_segments: Vec<(Place, u32)> = Vec::new();
        for (row, place) in places.iter().enumerate() {
            match entries(place) {
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
        let mut sealed = Picks::default();
        for (i, (place, row)) in in_segments.iter().enumerate() {
            let Entries::Sealed(group) = entries(place) else { unreachable!("it was sealed a moment ago") };
            sealed.push(group, place.position);
            order[*row as usize] = (source, i);
        }
        Self { tails, sealed, order }
    }

    fn columns(&self, columns: &[usize], types: &[DataType]) -> Result<Vec<ArrayRef>> {
        if self.order.is_empty() {
            return Ok(columns.iter().map(|&c| new_empty_array(&types[c])).collect());
        }
        let sealed = if self.sealed.len() > 0 { self.sealed.columns(columns)? } else { Vec::new() };
        // Rows that are read as they are asked for need not be put in order.
        if self.tails.is_empty() && self.order.iter().enumerate().all(|(i, &(_, at))| at == i) {
            return Ok(sealed);
        }
        let column = |(i, &c): (usize, &usize)| {
            let parts = self.tails.iter().map(|columns| columns[c].as_ref());
            let parts: Vec<&dyn Array> = parts.chain(sealed.get(i).map(AsRef::as_ref)).collect();
            interleave(&parts, &self.order).map_err(rearrange_error)
        };
        columns.iter().enumerate().map(column).collect()
    }
}
